//! The machine's work, and what lies between it and the sockets, so done that a panic costs one connection. Whose work
//! it was says the machine, see [`crate::broker::broken`].

use super::{Core, Shard, change, index};
use crate::broker::broken::Work;
use crate::broker::{ConnId, Input};
use crate::io::panics::Panics;

/// What the log calls it.
const WHAT: &str = "broker";

impl Shard {
    /// Gives the machine one input and carries out what it says. False if a panic has cut that short.
    pub(in crate::io) fn input(&self, input: Input<'_>) -> bool {
        let mut core = self.core.borrow_mut();
        let now = core.clock.now();
        let is_whole = {
            let Core { broker, out, .. } = &mut *core;
            self.panics.catch(WHAT, || broker.handle(now, input, out)).is_some()
        };
        if !is_whole {
            self.cut_short(&mut core, None);
        }
        self.after_input(&mut core);
        is_whole
    }

    /// Does work on what came from one connection, or goes to it; the machine may be at work in it. `None` if it
    /// panics: the connection is closed then.
    pub(super) fn work_on<T>(
        &self,
        core: &mut Core,
        conn: ConnId,
        work: impl FnOnce(&mut Core) -> T,
    ) -> Option<T> {
        let done = self.panics.catch(WHAT, || work(core));
        if done.is_none() {
            self.cut_short(core, Some(conn));
        }
        done
    }

    fn cut_short(&self, core: &mut Core, at_hand: Option<ConnId>) {
        core.out.cut_short();
        match core.broker.cut_short().or(at_hand.map(Work::Connection)) {
            Some(Work::Connection(conn)) => {
                // Nothing more is said to it: what waits for it may not be whole.
                core.out.release(conn);
                change(core, conn, |slot| slot.broken = true);
            }
            Some(Work::Single) | None => {}
            Some(Work::Everybody) => self.panics.give_up(),
        }
    }

    /// The connection's task has ended: its number is free from now on. Should the machine not even get to the end of
    /// that, the number isn't used again; how many those can be, the bound on panics says.
    pub(in crate::io) fn closed(&self, conn: ConnId) {
        let mut is_forgotten = self.input(Input::Closed { conn });
        let mut core = self.core.borrow_mut();
        if !is_forgotten {
            let now = core.clock.now().mono;
            is_forgotten = self.panics.catch(WHAT, || core.broker.forget(now, conn)).is_some();
            self.timer.notify_one();
        }
        core.out.release(conn);
        if let Some(slot) = core.slots.get_mut(index(conn)) {
            slot.link = None;
            if is_forgotten {
                core.free.push(conn);
            } else {
                core.lost += 1;
            }
        }
        self.closed.notify_one();
    }

    /// Who catches panics on this thread.
    pub(in crate::io) fn panics(&self) -> &Panics {
        &self.panics
    }
}
