//! When CONNACK goes out: at once, or when it is on disk what it promises. It promises a session that outlives its
//! connection, a will, and that what was there before is gone. A client that comes back to its session as it was waits
//! for nothing: the disk has it.

use std::time::Duration;

use super::connection::Connection;
use super::journal::Waiter;
use super::session::{Session, SessionIdx};
use super::{Broker, ConnId, Cx, Sink};
use crate::mqtt::{ConnAck, Packet, PropertiesBuf, ReasonCode};
use crate::state::Key;

/// A disk that takes longer keeps no client out: what can't be kept is held back message by message.
pub(super) const WELCOME_WITHIN: Duration = Duration::from_secs(2);

/// What a client had before its CONNECT.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    serial: u64,
    on_disk: bool,
    will: bool,
    expiry: Option<Duration>,
}

impl Broker {
    pub(super) fn before(&self, session: &Session) -> Before {
        let connection = session.conn.and_then(|conn| self.conns.get(conn));
        Before {
            serial: session.serial,
            on_disk: session.on_disk,
            will: session.will.is_some() || connection.is_some_and(|c| c.will.is_some()),
            expiry: session.expiry,
        }
    }

    /// What must be on disk, or gone from it, before a client is told that it is connected.
    pub(super) fn waits_for(
        &self,
        conn: ConnId,
        idx: SessionIdx,
        before: Option<Before>,
        present: bool,
    ) -> Option<Key> {
        if !self.journal.is_enabled() || self.journal.is_failing() {
            return None;
        }
        let session = self.sessions.get(idx)?;
        let key = Key::Session(session.serial);
        let has_will = self.conns.get(conn).is_some_and(|c| c.will.is_some());
        let before = before.filter(|before| before.on_disk);
        match before {
            _ if has_will => Some(key),
            Some(before) if present => {
                let is_new = before.will || before.expiry != session.expiry;
                (is_new || self.journal.is_under_way(&key)).then_some(key)
            }
            _ if session.is_persistent() => Some(key),
            Some(before) => Some(Key::Session(before.serial)),
            None => None,
        }
    }

    pub(super) fn welcome_when_safe<S: Sink>(
        &mut self,
        conn: ConnId,
        idx: SessionIdx,
        connack: (bool, PropertiesBuf),
        waits_for: Option<Key>,
        cx: &mut Cx<'_, S>,
    ) {
        let visitor = self.visitor(idx);
        let class = self.urgency(idx);
        let Some(c) = self.conns.get_mut(conn) else { return };
        c.connack = Some(Box::new(connack));
        match waits_for.zip(visitor) {
            None => self.welcome(conn, cx),
            Some((key, visitor)) => {
                c.pause.welcome = true;
                self.tell_pause(conn);
                self.arm_conn(conn);
                self.journal.touch(key, class, Some(Waiter::ConnAck(visitor)));
            }
        }
    }

    /// Sends the CONNACK, if it has not gone out yet, and what has waited behind it.
    pub(super) fn welcome<S: Sink>(&mut self, conn: ConnId, cx: &mut Cx<'_, S>) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        let Some(connack) = c.connack.take() else { return };
        let idx = c.session;
        if std::mem::take(&mut c.pause.welcome) {
            self.resumable.push(conn);
        }
        let (session_present, properties) = &*connack;
        let properties = properties.as_properties();
        let connack = ConnAck { session_present: *session_present, reason: ReasonCode::Success, properties };
        self.send(conn, &Packet::ConnAck(connack), cx);
        self.arm_conn(conn);
        if let Some(idx) = idx {
            self.pump(idx, cx);
        }
    }
}

impl Connection {
    /// Whether it may be sent anything.
    pub(super) const fn is_welcomed(&self) -> bool {
        self.connack.is_none()
    }
}
