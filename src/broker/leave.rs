//! How connections end: DISCONNECT, errors, the end of the socket; and what then becomes of session and will.

use tracing::info;

use super::connect::{cap_expiry, expiry_from_wire};
use super::connection::Phase;
use super::session::SessionIdx;
use super::timer::Owner;
use super::{Broker, ConnId, Cx, Event, Sink};
use crate::mqtt::{Disconnect, Packet, Properties, PropertyId, ReasonCode, Version};

impl Broker {
    /// A client's DISCONNECT.
    pub(super) fn disconnect_in<S: Sink>(
        &mut self,
        conn: ConnId,
        disconnect: &Disconnect<'_>,
        cx: &mut Cx<'_, S>,
    ) {
        let Some(idx) = self.conns.get(conn).and_then(|c| c.session) else { return };
        let wanted = disconnect.properties.number(PropertyId::SessionExpiryInterval);
        if let (Some(seconds), Some(session)) = (wanted, self.sessions.get_mut(idx)) {
            if !session.is_persistent() && seconds > 0 {
                // 3.14.2.2.2: a session that was to end can't be kept after all.
                return self.fail(conn, ReasonCode::ProtocolError, cx);
            }
            session.expiry = cap_expiry(expiry_from_wire(seconds), self.config.session_expiry_max);
        }
        // 3.14.4-3: only a normal disconnection takes the will back.
        let keeps_will = disconnect.reason != ReasonCode::Success;
        self.end_connection(conn, None, keeps_will, cx);
    }

    /// Ends a connection that broke the protocol.
    pub(super) fn fail<S: Sink>(&mut self, conn: ConnId, reason: ReasonCode, cx: &mut Cx<'_, S>) {
        self.fail_for(conn, reason, reason.words(), cx);
    }

    /// As [`Broker::fail`], with a cause that says more than the reason code.
    pub(super) fn fail_for<S: Sink>(
        &mut self,
        conn: ConnId,
        reason: ReasonCode,
        why: &str,
        cx: &mut Cx<'_, S>,
    ) {
        if let Some(c) = self.conns.get(conn) {
            info!(
                target: "fieldgate::event::connection",
                conn = conn.0, peer = &*c.peer, reason = why, "connection broke the protocol"
            );
            self.stats.protocol_errors += 1;
        }
        self.say_goodbye(conn, reason, why, cx);
        self.close(conn, None, cx);
    }

    /// DISCONNECT, for a client of 5.0 that has got its CONNACK (3.14.0-1).
    pub(super) fn say_goodbye<S: Sink>(
        &mut self,
        conn: ConnId,
        reason: ReasonCode,
        why: &str,
        cx: &mut Cx<'_, S>,
    ) {
        let Some(c) = self.conns.get(conn) else { return };
        if let (Version::V5, Phase::Ready, None) = (c.version, &c.phase, &c.connack) {
            let disconnect = Disconnect { reason, properties: Properties::EMPTY };
            self.send_with_words(conn, &Packet::Disconnect(disconnect), Some(why), cx);
        }
    }

    /// Ends a connection from our side. 5.0 is told why, if it has got its CONNACK (3.14.0-1).
    pub(super) fn close<S: Sink>(&mut self, conn: ConnId, reason: Option<ReasonCode>, cx: &mut Cx<'_, S>) {
        self.end_connection(conn, reason, true, cx);
    }

    fn end_connection<S: Sink>(
        &mut self,
        conn: ConnId,
        reason: Option<ReasonCode>,
        keeps_will: bool,
        cx: &mut Cx<'_, S>,
    ) {
        let Some(c) = self.conns.get(conn) else { return };
        if c.is_closing() {
            return;
        }
        if let Some(reason) = reason {
            self.say_goodbye(conn, reason, reason.words(), cx);
        }
        let Some(c) = self.conns.get_mut(conn) else { return };
        let gone = c.gone;
        c.phase = Phase::Closing;
        c.held = Default::default();
        (c.pubacks, c.pubrecs) = Default::default();
        self.timers.disarm(&mut c.armed, Owner::Conn(conn));
        self.leave_receivers(conn);
        self.detach(conn, keeps_will, cx);
        self.let_publishers_go(conn);
        if !gone {
            self.events.push_back(Event::Close { conn });
        }
    }

    /// Parts session and connection. The session ends now or gets its deadline; the will goes out now or waits
    /// for its delay or the session's end, whichever is first (3.1.2-8).
    pub(super) fn detach<S: Sink>(&mut self, conn: ConnId, keeps_will: bool, cx: &mut Cx<'_, S>) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        let Some(idx) = c.session.take() else { return };
        let will = c.will.take().filter(|_| keeps_will);
        self.conns.ready = self.conns.ready.saturating_sub(1);
        let Some(session) = self.sessions.get_mut(idx) else { return };
        info!(
            target: "fieldgate::event::connection",
            conn = conn.0, client_id = &*session.client_id, "client disconnected"
        );
        session.forget_connection(cx.now);
        if !session.is_persistent() {
            session.will = will;
            return self.end_session(idx, cx);
        }
        session.ends_at = session.expiry.map(|expiry| cx.now + expiry);
        match will {
            Some(will) if will.delay.is_zero() => self.publish_will(*will, idx, cx),
            Some(will) => {
                session.will_at = Some(cx.now + will.delay);
                session.will = Some(will);
            }
            None => {}
        }
        self.keep_session(idx);
        self.arm_session(idx);
        if self.sessions.offline() > self.config.sessions_max
            && let Some(oldest) = self.sessions.oldest_offline()
        {
            self.end_session(oldest, cx);
        }
    }

    /// Does what is due for a session: its end, or its will.
    pub(super) fn session_due<S: Sink>(&mut self, idx: SessionIdx, cx: &mut Cx<'_, S>) {
        let Some(session) = self.sessions.get_mut(idx) else { return };
        if session.ends_at.is_some_and(|at| at <= cx.now) {
            #[cfg(test)]
            super::broken::stub::strike(session.client_id.as_bytes(), super::broken::stub::WHEN_DUE);
            self.stats.sessions_expired += 1;
            return self.end_session(idx, cx);
        }
        if session.will_at.is_some_and(|at| at <= cx.now) {
            session.will_at = None;
            if let Some(will) = session.will.take() {
                self.publish_will(*will, idx, cx);
            }
            self.keep_session(idx);
        }
        self.arm_session(idx);
    }

    /// Ends a session, with all that was kept for it. A will that was still waiting goes out.
    pub(super) fn end_session<S: Sink>(&mut self, idx: SessionIdx, cx: &mut Cx<'_, S>) {
        let Some(session) = self.sessions.get_mut(idx) else { return };
        self.timers.disarm(&mut session.armed, Owner::Session(idx));
        let filters = std::mem::take(&mut session.filters);
        for filter in filters.iter() {
            self.routes.remove(filter, idx);
        }
        if let Some(will) = session.will.take() {
            self.publish_will(*will, idx, cx);
        }
        if let Some(session) = self.sessions.remove(idx) {
            self.queued.note(session.queue_bytes(), 0);
            self.forget_session(&session, filters.into_iter());
        }
    }

    pub(super) fn arm_session(&mut self, idx: SessionIdx) {
        if let Some(session) = self.sessions.get_mut(idx)
            && let Some(at) = session.deadline()
        {
            self.timers.arm_no_later_than(&mut session.armed, Owner::Session(idx), at);
        }
    }

    /// Tells every client that the gateway stops.
    pub(super) fn shutdown<S: Sink>(&mut self, cx: &mut Cx<'_, S>) {
        for conn in self.conns.ids() {
            self.close(conn, Some(ReasonCode::ServerShuttingDown), cx);
        }
        self.journal.flush();
        self.commit();
    }
}
