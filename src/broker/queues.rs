//! The bound on all sessions' queues together: where it is reached, the session with the largest queue pays. The
//! bound of a single queue is the session's own.

use super::Broker;
use super::session::{Outbound, SessionIdx};

/// What waits in all queues, and who pays at the bound.
#[derive(Debug, Default)]
pub(super) struct Queued {
    bytes: usize,
    /// The one with the largest queue when it was last looked for, and the bytes below which it is looked for
    /// again: looking costs a walk over all sessions.
    payer: Option<(SessionIdx, usize)>,
}

impl Queued {
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
        let dropped = session.enqueue(outbound, messages_max, bytes_max);
        let after = session.queue_bytes();
        self.queued.note(before, after);
        for mark in dropped {
            self.stats.dropped_queue_full += 1;
            self.forget_outbound(idx, mark);
        }
        while self.queued.bytes > self.config.queues_bytes_max {
            let Some(payer) = self.payer() else { return };
            let Some(dropped) = self.dequeue(payer) else { return };
            self.stats.dropped_queue_full += 1;
            self.forget_outbound(payer, dropped.mark);
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
