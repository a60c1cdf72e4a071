//! Who must wait: publishers while a receiver's buffer is full, acknowledgements until every outbox has the
//! message, in the order of arrival (rules of acknowledgement (a), (b), (f)).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::connection::{Connection, PendingAck, Phase};
use super::rare::Rare;
use super::session::SessionIdx;
use super::{Broker, ConnId, Cx, Event, Sink};
use crate::message::{OutboxId, SafeToken, Ticket};
use crate::mqtt::{AckKind, PacketId, QoS, ReasonCode, Version};
use crate::time::Mono;

/// So long a receiver whose buffer is full may keep the publishers of its QoS 0 messages waiting; whoever takes half of
/// `out_buffer_bytes_max` within it (3 MB/s by default) slows them down and loses nothing. From then on what is above twice
/// that mark is dropped.
pub(super) const HELD_FOR_MAX: Duration = Duration::from_millis(40);

/// Whose acknowledgement a token stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Publisher {
    /// A client's.
    Client(Exchange),
    /// An upstream's.
    Upstream(OutboxId, Ticket),
}

/// A client's message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) session: SessionIdx,
    pub(super) serial: u64,
    pub(super) packet_id: PacketId,
    pub(super) qos: QoS,
}

/// The tokens that outboxes have not answered.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    last: u64,
    waiting: HashMap<SafeToken, (Publisher, usize)>,
}

impl Tokens {
    /// A token that nobody has to answer yet.
    pub(super) fn make(&mut self, by: Publisher) -> SafeToken {
        self.last += 1;
        let token = SafeToken(self.last);
        self.waiting.insert(token, (by, 0));
        token
    }

    /// So many more outboxes or things on disk have to answer it.
    pub(super) fn expect_more(&mut self, token: SafeToken, more: usize) {
        if let Some((_, waiting)) = self.waiting.get_mut(&token) {
            *waiting = waiting.saturating_add(more);
        }
    }
}

impl Connection {
    fn pending(&mut self, kind: AckKind) -> &mut VecDeque<PendingAck> {
        if kind == AckKind::PubRec { &mut self.pubrecs } else { &mut self.pubacks }
    }

    /// Messages of this client that we have not acknowledged.
    fn unacknowledged(&self) -> usize {
        self.pubacks.len() + self.pubrecs.len()
    }
}

impl Broker {
    /// Acknowledges a message, once `token` (if any) is safe and all before it are acknowledged.
    pub(super) fn acknowledge<S: Sink>(
        &mut self,
        conn: ConnId,
        kind: AckKind,
        packet_id: PacketId,
        token: Option<SafeToken>,
        reason: ReasonCode,
        cx: &mut Cx<'_, S>,
    ) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        let receive_max = usize::from(c.told.receive_max);
        let pending = c.pending(kind);
        if token.is_none() && pending.is_empty() {
            return self.acknowledge_with(conn, kind, packet_id, reason, cx);
        }
        let outcome = token.is_none().then_some(reason);
        // That nobody was concerned is told only at once.
        let later = if reason.is_error() { reason } else { ReasonCode::Success };
        pending.push_back(PendingAck { packet_id, token, reason: later, outcome });
        if c.version != Version::V5 && c.unacknowledged() >= receive_max {
            // 3.x has no Receive Maximum: it is not read from until less is open.
            c.pause.window = true;
            self.tell_pause(conn);
        }
    }

    /// One outbox has answered, or something is on disk that had to be.
    pub(super) fn settle<S: Sink>(&mut self, token: SafeToken, safe: bool, cx: &mut Cx<'_, S>) {
        let Some((by, waiting)) = self.tokens.waiting.get_mut(&token) else { return };
        *waiting = waiting.saturating_sub(1);
        if safe && *waiting > 0 {
            return;
        }
        let by = *by;
        self.tokens.waiting.remove(&token);
        let by = match by {
            Publisher::Client(by) => by,
            Publisher::Upstream(from, ticket) => {
                self.events.push_back(Event::Accepted { from, ticket, safe });
                return;
            }
        };
        let Some(session) = self.sessions.get_mut(by.session).filter(|s| s.serial == by.serial) else {
            return;
        };
        session.released_at = Some(cx.now);
        if by.qos == QoS::ExactlyOnce
            && let Some(incoming) = session.incoming.get_mut(&by.packet_id)
            && incoming.token == Some(token)
        {
            incoming.token = None;
            if !safe {
                // The client ends the exchange when it is told. If it never is, it sends the message again.
                (incoming.unforwarded, incoming.refused) = (true, true);
                incoming.seen = false;
            }
        }
        let Some(conn) = session.conn else { return };
        let Some(c) = self.conns.get_mut(conn) else { return };
        let kind = if by.qos == QoS::ExactlyOnce { AckKind::PubRec } else { AckKind::PubAck };
        let is_v5 = c.version == Version::V5;
        let Some(pending) = c.pending(kind).iter_mut().find(|pending| pending.token == Some(token)) else {
            return;
        };
        match (safe, is_v5) {
            (true, _) => pending.outcome = Some(pending.reason),
            (false, true) => pending.outcome = Some(ReasonCode::QuotaExceeded),
            (false, false) => {
                // 3.x can't be told, and what isn't kept is never acknowledged.
                c.refused_at.get_or_insert(cx.now);
                self.arm_conn(conn);
            }
        }
        self.flush_acknowledgements(conn, kind, cx);
    }

    fn flush_acknowledgements<S: Sink>(&mut self, conn: ConnId, kind: AckKind, cx: &mut Cx<'_, S>) {
        loop {
            let Some(c) = self.conns.get_mut(conn) else { return };
            let pending = c.pending(kind);
            let Some(&PendingAck { packet_id, outcome: Some(reason), .. }) = pending.front() else { break };
            pending.pop_front();
            self.acknowledge_with(conn, kind, packet_id, reason, cx);
        }
        if let Some(c) = self.conns.get_mut(conn)
            && c.pause.window
            && c.unacknowledged() <= usize::from(c.told.receive_max / 2)
        {
            c.pause.window = false;
            self.resumable.push(conn);
        }
    }

    /// A connection's buffer is above the mark.
    pub(super) fn now_full(&mut self, conn: ConnId, now: Mono) {
        if let Some(c) = self.conns.get_mut(conn)
            && c.full_since.is_none()
        {
            c.full_since = Some(now);
            self.arm_conn(conn);
        }
    }

    /// Stops reading from a publisher until `receiver` has drained.
    pub(super) fn hold_publisher(&mut self, publisher: ConnId, receiver: ConnId) {
        let Some(c) = self.conns.get_mut(publisher) else { return };
        if c.gone || c.is_closing() || c.pause.receivers.contains(&receiver) {
            return;
        }
        // Who doesn't read what it has asked for itself waits for as long as that takes.
        if publisher != receiver && self.conns.get(receiver).is_some_and(|c| c.lags) {
            return;
        }
        let Some(c) = self.conns.get_mut(publisher) else { return };
        c.pause.receivers.push(receiver);
        self.tell_pause(publisher);
        if let Some(c) = self.conns.get_mut(receiver) {
            c.waiters.push(publisher);
        }
        self.arm_conn(receiver);
    }

    /// A connection's buffer is above the mark for so long that nobody else shall wait for it any more: a reader that is
    /// slow, or dead, slows down no one but itself.
    pub(super) fn falls_behind(&mut self, receiver: ConnId) {
        let Some(c) = self.conns.get_mut(receiver) else { return };
        c.lags = true;
        self.stats.receivers_left_behind += 1;
        let (itself, others): (Vec<_>, Vec<_>) =
            c.waiters.take().into_iter().partition(|publisher| *publisher == receiver);
        c.waiters = Rare::from(itself);
        self.let_go(receiver, others);
    }

    /// A connection's buffer fell below half of its mark.
    pub(super) fn drained<S: Sink>(&mut self, conn: ConnId, cx: &mut Cx<'_, S>) {
        if let Some(c) = self.conns.get_mut(conn)
            && let Some(since) = c.full_since
        {
            c.lags = cx.now.since(since) >= HELD_FOR_MAX;
        }
        self.let_publishers_go(conn);
        let idx = self.conns.get_mut(conn).and_then(|c| c.session);
        if let Some(idx) = idx {
            self.pump(idx, cx);
        }
    }

    /// The publishers that waited for `receiver` need not any more.
    pub(super) fn let_publishers_go(&mut self, receiver: ConnId) {
        let Some(c) = self.conns.get_mut(receiver) else { return };
        c.full_since = None;
        let waiters = c.waiters.take();
        self.let_go(receiver, waiters);
    }

    fn let_go(&mut self, receiver: ConnId, publishers: Vec<ConnId>) {
        for publisher in publishers {
            if let Some(c) = self.conns.get_mut(publisher) {
                c.pause.receivers.retain(|waited_for| *waited_for != receiver);
                self.resumable.push(publisher);
            }
        }
    }

    /// A publisher that goes away waits for nobody.
    pub(super) fn leave_receivers(&mut self, publisher: ConnId) {
        let Some(c) = self.conns.get_mut(publisher) else { return };
        for receiver in c.pause.receivers.take() {
            if let Some(c) = self.conns.get_mut(receiver) {
                c.waiters.retain(|waiter| *waiter != publisher);
            }
        }
    }

    pub(super) fn tell_pause(&mut self, conn: ConnId) {
        if let Some(c) = self.conns.get_mut(conn)
            && !c.gone
            && !c.is_closing()
            && !c.pause.told
        {
            c.pause.told = true;
            self.events.push_back(Event::Pause { conn });
        }
    }

    /// Reads on where nothing holds any more: first what had come in before the pause.
    pub(super) fn resume_ready<S: Sink>(&mut self, cx: &mut Cx<'_, S>) {
        while let Some(conn) = self.resumable.pop() {
            let Some(c) = self.conns.get_mut(conn) else { continue };
            if !c.pause.told || c.pause.holds() || !matches!(c.phase, Phase::Ready) {
                continue;
            }
            // The silence was ours.
            c.last_seen = cx.now;
            self.feed_held(conn, cx);
            let Some(c) = self.conns.get_mut(conn) else { continue };
            if c.pause.holds() || c.is_closing() {
                continue;
            }
            c.pause.told = false;
            self.arm_conn(conn);
            self.events.push_back(Event::Resume { conn });
        }
    }
}
