//! What becomes of the machine when a panic has cut its work short. Nothing panics by our own rules; a fault of ours, or
//! of a library, must not end more than what it happened in.
//!
//! What is half done by then is judged by whose work it was ([`Work`]). A connection's is its own: it is closed as if the
//! client were gone, so its session, its will and those who wait for it take the way that they always take. Something
//! single (a deadline of a session, a message of the gateway, an acknowledgement of the disk for one message) stays
//! undone. Whatever concerns everybody (rules, settings, what is on disk) can't be put right from here.

use super::connection::Held;
use super::timer::Owner;
use super::{Broker, ConnId, Input};
use crate::time::Mono;

/// Whose work the machine is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A connection's.
    Connection(ConnId),
    /// Something single that nobody needs to answer for.
    Single,
    /// Everybody's.
    Everybody,
}

impl Work {
    pub(super) const fn of(input: &Input<'_>) -> Self {
        match input {
            Input::Open { conn, .. }
            | Input::Bytes { conn, .. }
            | Input::Closed { conn }
            | Input::Drained { conn }
            | Input::Authenticated { conn, .. }
            | Input::NotJudged { conn }
            | Input::TurnOut { conn }
            | Input::Kick { conn } => Self::Connection(*conn),
            Input::Safe { .. }
            | Input::Refused { .. }
            | Input::Local(_)
            | Input::Bridged { .. }
            | Input::Memory { .. } => Self::Single,
            Input::Persisted { .. }
            | Input::PersistFailed { .. }
            | Input::Access(_)
            | Input::Reconfigure(_)
            | Input::Shutdown
            | Input::Tick => Self::Everybody,
        }
    }

    pub(super) const fn of_deadline(owner: Owner) -> Self {
        match owner {
            Owner::Conn(conn) => Self::Connection(conn),
            Owner::Session(_) => Self::Single,
        }
    }
}

impl Broker {
    /// The work on an input, or on a deadline, was cut short by a panic. Tells whose it was; a connection must be closed
    /// then. Nothing more of what it has sent is looked at.
    pub fn cut_short(&mut self) -> Option<Work> {
        // They may be half made; each is made anew when it is wanted.
        self.local_memo = None;
        self.routes.forget_routes();
        let work = self.at_work.take();
        if let Some(Work::Connection(conn)) = work
            && let Some(c) = self.conns.get_mut(conn)
        {
            c.held = Held::default();
            c.memo = None;
        }
        work
    }

    /// The other way out for a connection, where a panic has cut [`Input::Closed`] short as well. Its session and its
    /// will, as far as they are left, are dealt with at the next tick.
    pub fn forget(&mut self, now: Mono, conn: ConnId) {
        self.leave_receivers(conn);
        self.let_publishers_go(conn);
        let Some(mut c) = self.conns.remove(conn) else { return };
        self.timers.disarm(&mut c.armed, Owner::Conn(conn));
        self.doorman.leave(c.from, c.was_let_in);
        let Some(idx) = c.session else { return };
        self.conns.ready = self.conns.ready.saturating_sub(1);
        let Some(session) = self.sessions.get_mut(idx) else { return };
        session.forget_connection(now);
        session.ends_at = session.expiry.map(|expiry| now + expiry);
        if let Some(will) = c.will {
            session.will_at = Some(now + will.delay);
            session.will = Some(will);
        }
        self.arm_session(idx);
    }
}

/// Panics for the tests of this program, and in them alone: where a name says so.
#[cfg(test)]
pub(crate) mod stub {
    /// In what a client sends: its bytes can't be worked on.
    pub(crate) const AT_ONCE: &str = "panic-at-once";
    /// In a client identifier: the end of its connection can't be worked on.
    pub(crate) const AT_THE_END: &str = "panic-at-the-end";
    /// In a client identifier: the end of its session can't be worked on.
    pub(crate) const WHEN_DUE: &str = "panic-when-due";
    /// In what a client sends: the codec of its connection can't go on.
    pub(crate) const IN_CODEC: &str = "panic-in-codec";

    /// In what an upstream sends.
    pub(crate) const IN_LINK: &str = "panic-in-link";
    /// In what a sensor sends.
    pub(crate) const ON_LINE: &str = "panic-on-line";

    pub(crate) fn strike(bytes: &[u8], word: &str) {
        assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "struck");
    }
}
