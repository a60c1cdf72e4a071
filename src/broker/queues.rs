//! The bounds of sessions' queues, and who pays there: of a single queue, what its config says; of all together, the
//! session with the largest.

use tracing::warn;

use super::config::QueueFull;
use super::session::{Mark, Outbound, SessionIdx};
use super::{Broker, Cx, Sink, count};
use crate::mqtt::ReasonCode;

/// What waits in all queues, and who pays at the bound.
#[derive(Debug, Default)]
pub(super) struct Queued {
    bytes: usize,
    /// The one with the largest queue when it was last looked for, and the bytes below which it is looked for
    /// again: looking costs a walk over all sessions.
    payer: Option<(SessionIdx, usize)>,
}

impl Queued {
    /// All that waits.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A queue, or a whole session, has changed.
    pub(super) fn note(&mut self, before: usize, after: usize) {
        self.bytes = self.bytes.saturating_add(after).saturating_sub(before);
    }
}

impl Broker {
    /// Puts a message into a session's queue, and holds its bounds.
    pub(super) fn enqueue(&mut self, idx: SessionIdx, outbound: Outbound) {
        let (messages_max, bytes_max) = (self.config.queue_messages_max, self.config.queue_bytes_max);
        let Some(session) = self.sessions.get_mut(idx) else { return };
        let before = session.queue_bytes();
        let bytes = outbound.kept.bytes();
        let is_full = session.queue.len() >= messages_max || before.saturating_add(bytes) > bytes_max;
        let policy = match &session.user_name {
            Some(user) => self.config.queue_full_of.get(user).copied(),
            None => None,
        };
        let policy = policy.unwrap_or(self.config.queue_full);
        // A message that has no room even in an empty queue doesn't cost those that have.
        if is_full && (policy != QueueFull::DropOldest || bytes > bytes_max) {
            let serial = session.serial;
            if policy == QueueFull::Disconnect && !self.overflowing.contains(&serial) {
                self.overflowing.push(serial);
            }
            self.stats.dropped_queue_full += 1;
            self.forget_outbound(idx, outbound.mark);
            return self.say_full(idx);
        }
        let dropped = session.enqueue(outbound, messages_max, bytes_max);
        let after = session.queue_bytes();
        self.queued.note(before, after);
        self.count_dropped(idx, dropped);
        self.hold_total();
    }

    /// Holds the bounds of all queues: they may be lower now.
    pub(super) fn hold_queues(&mut self) {
        let (messages_max, bytes_max) = (self.config.queue_messages_max, self.config.queue_bytes_max);
        for idx in self.sessions.indexes() {
            let Some(session) = self.sessions.get_mut(idx) else { continue };
            let before = session.queue_bytes();
            let dropped = session.trim(messages_max, bytes_max);
            let after = session.queue_bytes();
            self.queued.note(before, after);
            self.count_dropped(idx, dropped);
        }
        self.hold_total();
    }

    fn count_dropped(&mut self, idx: SessionIdx, dropped: Vec<Mark>) {
        for mark in dropped {
            self.stats.dropped_queue_full += 1;
            self.forget_outbound(idx, mark);
            self.say_full(idx);
        }
    }

    fn hold_total(&mut self) {
        let dropped = self.drop_queued_down_to(self.config.queues_bytes_max);
        if dropped > 0 {
            self.stats.dropped_queue_full += count(dropped);
            if let Some(more) = self.throttles.queues.is_due(self.journal.now.mono) {
                warn!(more, "all queues together are full; messages of the largest are dropped");
            }
        }
    }

    fn say_full(&mut self, idx: SessionIdx) {
        if let Some(session) = self.sessions.get(idx)
            && let Some(more) = self.throttles.queues.is_due(self.journal.now.mono)
        {
            warn!(
                client_id = &*session.client_id,
                more, "a client's queue is full; a message for it is dropped"
            );
        }
    }

    /// Drops the oldest messages of the largest queues until no more than this waits in all; tells how many.
    pub(super) fn drop_queued_down_to(&mut self, bytes_max: usize) -> usize {
        let mut messages = 0;
        while self.queued.bytes > bytes_max {
            let Some(payer) = self.payer() else { break };
            let Some(dropped) = self.dequeue(payer) else { break };
            messages += 1;
            self.forget_outbound(payer, dropped.mark);
        }
        messages
    }

    /// Ends the sessions whose queue was full and that are to end then. Not while a message is being handed out: a will
    /// is a message too.
    pub(super) fn end_overflowing<S: Sink>(&mut self, cx: &mut Cx<'_, S>) {
        while let Some(serial) = self.overflowing.pop() {
            let Some(idx) = self.sessions.find_serial(serial) else { continue };
            self.stats.sessions_overflowed += 1;
            if let Some(conn) = self.sessions.get(idx).and_then(|session| session.conn) {
                self.close(conn, Some(ReasonCode::QuotaExceeded), cx);
            }
            if self.sessions.find_serial(serial) == Some(idx) {
                self.end_session(idx, cx);
            }
        }
    }

    /// Puts a message that was in a session's queue before a restart at its end.
    pub(super) fn requeue(&mut self, idx: SessionIdx, outbound: Outbound) {
        let Some(session) = self.sessions.get_mut(idx) else { return };
        let before = session.queue_bytes();
        session.requeue(outbound);
        let after = session.queue_bytes();
        self.queued.note(before, after);
    }

    /// Takes the oldest message out of a session's queue.
    pub(super) fn dequeue(&mut self, idx: SessionIdx) -> Option<Outbound> {
        let session = self.sessions.get_mut(idx)?;
        let before = session.queue_bytes();
        let outbound = session.dequeue();
        let after = session.queue_bytes();
        self.queued.note(before, after);
        outbound
    }

    /// The session with the largest queue, or one that has lost less than a quarter since it was.
    fn payer(&mut self) -> Option<SessionIdx> {
        if let Some((idx, until)) = self.queued.payer
            && self.sessions.get(idx).is_some_and(|session| session.queue_bytes() > until)
        {
            return Some(idx);
        }
        let (idx, bytes) = self.sessions.largest_queue()?;
        self.queued.payer = Some((idx, bytes / 4 * 3));
        Some(idx)
    }

    #[cfg(test)]
    pub(super) fn queued_bytes(&self) -> usize {
        self.queued.bytes
    }
}
