//! Deadlines of connections and sessions, at most one each, so that nothing here grows with traffic. What a
//! deadline means is decided where it is handled.

use std::collections::BTreeSet;

use super::ConnId;
use super::session::SessionIdx;
use crate::time::Mono;

/// Whose deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// A connection: connect timeout, keep alive, stalled reader, refused publisher.
    Conn(ConnId),
    /// A session without connection: will delay, session expiry.
    Session(SessionIdx),
}

/// All deadlines in order of time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Mono, Owner)>,
}

impl Timers {
    /// Moves `owner`'s deadline, which is remembered in `armed`, to `at` unless an earlier one is armed already:
    /// a deadline that moves away (keep alive) costs nothing until the old one is reached.
    pub(super) fn arm_no_later_than(&mut self, armed: &mut Option<Mono>, owner: Owner, at: Mono) {
        if armed.is_some_and(|armed| armed <= at) {
            return;
        }
        self.disarm(armed, owner);
        self.due.insert((at, owner));
        *armed = Some(at);
    }

    /// Forgets `owner`'s deadline.
    pub(super) fn disarm(&mut self, armed: &mut Option<Mono>, owner: Owner) {
        if let Some(at) = armed.take() {
            self.due.remove(&(at, owner));
        }
    }

    /// The earliest.
    pub(super) fn next(&self) -> Option<Mono> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes one that is due. Its owner must clear what it remembers as armed.
    pub(super) fn pop_due(&mut self, now: Mono) -> Option<Owner> {
        let (at, owner) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.remove(&(at, owner));
        Some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Owner = Owner::Conn(ConnId(1));

    #[test]
    fn a_later_deadline_keeps_the_armed_one_and_an_earlier_one_replaces_it() {
        let (mut timers, mut armed) = (Timers::default(), None);
        timers.arm_no_later_than(&mut armed, A, Mono::from_nanos(50));
        timers.arm_no_later_than(&mut armed, A, Mono::from_nanos(90));
        assert_eq!(timers.next(), Some(Mono::from_nanos(50)));
        timers.arm_no_later_than(&mut armed, A, Mono::from_nanos(20));
        assert_eq!(timers.next(), Some(Mono::from_nanos(20)));
        assert_eq!(timers.pop_due(Mono::from_nanos(19)), None);
        assert_eq!(timers.pop_due(Mono::from_nanos(20)), Some(A));
        assert_eq!(timers.next(), None, "one owner has one entry");
    }
}
