//! Records that are sent before their turn: those of high priority, live ones while a backlog drains, and a backlog whose
//! newest go first (`back.rs`).
//!
//! What is done out of turn is told to the store as ranges beside its cursor ([`Queue::beyond`]), so that a crash brings
//! none of it again but what was acknowledged since the store last wrote that down, within the last two seconds.

use std::collections::BTreeSet;

use super::{Queue, Taken};
use crate::ranges::{Ranges, STORED_RANGES_MAX};

/// Stretches of records that were taken out of turn, with others in between: one more per outage within an outage, and
/// per record of high priority. Beyond, what is left goes in its turn. Records in flight cut them into more ranges; the
/// store has room for some.
const STRETCHES_MAX: usize = 200;

const _: () = assert!(STRETCHES_MAX < STORED_RANGES_MAX, "the store keeps all of them");

/// What was sent before its turn.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// The next live record; `None` while no backlog stands before it.
    pub(super) next: Option<u64>,
    /// In memory, of high priority, and not sent.
    pub(super) high: BTreeSet<u64>,
    /// What was taken, and what isn't there in between; what is done up to the cursor is forgotten.
    pub(super) taken: Ranges,
}

impl Ahead {
    pub(super) fn contains(&self, no: u64) -> bool {
        self.taken.contains(no)
    }

    pub(super) fn is_full(&self) -> bool {
        self.taken.len() >= STRETCHES_MAX
    }
}

impl Queue {
    /// Whether a record belongs to what waited when the link came.
    pub(in crate::bridge) const fn is_backlog(&self, no: u64) -> bool {
        no < self.backlog_end
    }

    /// Whether records of the backlog are still to be sent.
    pub(in crate::bridge) const fn is_draining(&self) -> bool {
        self.send_next < self.backlog_end
    }

    /// Whether the whole backlog is done.
    pub(in crate::bridge) const fn is_backlog_done(&self) -> bool {
        self.acked + 1 >= self.backlog_end
    }

    /// The next live record, before its turn.
    pub(in crate::bridge) fn take_live(&mut self) -> Option<Taken> {
        let from = self.ahead.next.filter(|_| !self.ahead.is_full())?;
        let ahead = &self.ahead;
        let no = self.memory.range(from..).map(|(&no, _)| no).find(|&no| !ahead.contains(no))?;
        self.ahead.next = Some(no + 1);
        self.take_ahead(no, no)
    }

    /// The next record of high priority, before its turn. What is on disk only keeps its place.
    pub(in crate::bridge) fn take_high(&mut self) -> Option<Taken> {
        let no = self.ahead.high.first().copied().filter(|_| !self.ahead.is_full())?;
        self.take_ahead(no, no)
    }

    /// Takes a record out of memory before its turn; behind it, up to `last`, there is nothing that still waits.
    pub(super) fn take_ahead(&mut self, no: u64, last: u64) -> Option<Taken> {
        self.ahead.taken.insert(no, last);
        self.ahead.high.remove(&no);
        self.passed();
        let held = self.memory.get(&no)?;
        self.unsent.take(held.size);
        Some(Taken { no, size: held.size, message: held.message.clone(), since: held.since(), ahead: true })
    }

    /// Sent, or in the window.
    pub(super) fn is_sent(&self, no: u64) -> bool {
        no < self.send_next || self.ahead.contains(no)
    }

    /// The place in the order of numbers moved on, or what stands there was taken before its turn.
    pub(super) fn passed(&mut self) {
        if let Some((_, last)) = self.ahead.taken.around(self.send_next) {
            self.send_next = last + 1;
        }
        self.ahead.next = self.ahead.next.filter(|&next| next > self.send_next);
    }

    /// A record that was sent before its turn is done, and leaves memory at once: unless it is written already it never
    /// will be.
    pub(in crate::bridge) fn done_ahead(&mut self, no: u64, size: usize, delivered: bool) {
        self.count_done(no, size, delivered);
        self.beyond_due |= no > self.acked && no <= self.written();
        self.forget(no);
    }

    /// What is done behind the cursor, given what is in the window.
    pub(super) fn beyond(&self, in_window: impl Iterator<Item = u64>) -> Ranges {
        let mut beyond = self.ahead.taken.clone();
        for no in in_window {
            beyond.remove(no);
        }
        beyond
    }
}
