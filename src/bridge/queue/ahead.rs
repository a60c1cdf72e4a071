//! Records that are sent before their turn: those of high priority, and live ones while a backlog drains.
//!
//! The store keeps one cursor, so a live record that was written before its acknowledgement came stays on disk until the
//! backlog before it is done, and comes twice if the gateway crashes meanwhile. These are few: a live record is usually
//! acknowledged before its commit is due, and then never written.

use std::collections::{BTreeMap, BTreeSet};

use super::{Queue, Taken, Tally};

/// Stretches of live records with a backlog in between: one more per outage within an outage. Beyond, live records
/// wait for their turn.
const STRETCHES_MAX: usize = 256;
/// Live records that are done, on disk, and not yet covered by the cursor; 32 bytes each. Beyond, live records wait for
/// their turn. They are also the most that can come twice after a crash.
const WRITTEN_MAX: usize = 4_096;

/// What was sent before its turn.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// The next live record; `None` while no backlog stands before it.
    pub(super) next: Option<u64>,
    /// In memory, of high priority, and not sent.
    pub(super) high: BTreeSet<u64>,
    /// First and last of what was taken, ascending; what lies before the queue's own place is forgotten.
    stretches: BTreeMap<u64, u64>,
    /// Done, written, and not covered by the cursor: with their bytes.
    written: BTreeMap<u64, usize>,
}

impl Ahead {
    pub(super) fn contains(&self, no: u64) -> bool {
        self.stretches.range(..=no).next_back().is_some_and(|(_, &last)| last >= no)
    }

    fn take(&mut self, no: u64) {
        let behind = self.stretches.remove(&(no + 1)).unwrap_or(no);
        match self.stretches.range_mut(..no).next_back() {
            Some((_, last)) if *last + 1 == no => *last = behind,
            _ => drop(self.stretches.insert(no, behind)),
        }
        self.high.remove(&no);
    }

    /// Everything before `send_next` had its turn.
    fn pass(&mut self, send_next: u64) {
        while self.stretches.first_key_value().is_some_and(|(_, &last)| last < send_next) {
            self.stretches.pop_first();
        }
        self.next = self.next.filter(|&next| next > send_next);
    }

    fn is_full(&self) -> bool {
        self.stretches.len() >= STRETCHES_MAX || self.written.len() >= WRITTEN_MAX
    }

    /// A commit failed: what it held was not written after all.
    pub(super) fn not_written(&mut self, committed: u64) {
        drop(self.written.split_off(&(committed + 1)));
    }

    /// Everything up to here was dropped by the store: how much of it was done.
    pub(super) fn dropped(&mut self, up_to: u64) -> Tally {
        let left = self.written.split_off(&(up_to + 1));
        let mut tally = Tally::default();
        for size in std::mem::replace(&mut self.written, left).into_values() {
            tally.add(size);
        }
        tally
    }
}

impl Queue {
    /// The link is there: everything that waits is the backlog. With `interleave` what comes from now on doesn't wait
    /// for its end.
    pub(in crate::bridge) fn begin_drain(&mut self, interleave: bool) {
        self.backlog_end = self.next;
        self.ahead.next = Some(self.next).filter(|&next| interleave && self.send_next < next);
    }

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
        self.ahead.pass(self.send_next);
        let from = self.ahead.next.filter(|_| !self.ahead.is_full())?;
        let ahead = &self.ahead;
        let no = self.memory.range(from..).map(|(&no, _)| no).find(|&no| !ahead.contains(no))?;
        self.ahead.next = Some(no + 1);
        self.take_ahead(no)
    }

    /// The next record of high priority, before its turn. What is on disk only keeps its place.
    pub(in crate::bridge) fn take_high(&mut self) -> Option<Taken> {
        let no = self.ahead.high.first().copied().filter(|_| !self.ahead.is_full())?;
        self.take_ahead(no)
    }

    fn take_ahead(&mut self, no: u64) -> Option<Taken> {
        self.ahead.take(no);
        let held = self.memory.get(&no)?;
        self.unsent.take(held.size);
        Some(Taken { no, size: held.size, message: held.message.clone(), since: held.since(), ahead: true })
    }

    /// Sent, or in the window.
    pub(super) fn is_sent(&self, no: u64) -> bool {
        no < self.send_next || self.ahead.contains(no)
    }

    /// The place in the order of numbers moved on.
    pub(super) fn passed(&mut self) {
        self.ahead.pass(self.send_next);
    }

    /// A live record is done, and leaves memory at once: unless it is written already it never will be.
    pub(in crate::bridge) fn live_done(&mut self, no: u64, size: usize, delivered: bool) {
        match &mut self.committing {
            _ if no <= self.dropped_to => {}
            _ if no <= self.acked => self.count_done(no, size, delivered),
            _ if no <= self.committed => drop(self.ahead.written.insert(no, size)),
            Some(committing) if no <= committing.up_to => {
                committing.delivered += u64::from(delivered);
                self.ahead.written.insert(no, size);
            }
            _ => self.elided += u64::from(delivered),
        }
        self.forget(no);
    }

    /// The cursor covers more: what was done ahead of it counts as done on disk.
    pub(super) fn cover_ahead(&mut self) {
        let left = self.ahead.written.split_off(&(self.acked + 1));
        for (no, size) in std::mem::replace(&mut self.ahead.written, left) {
            match &mut self.committing {
                _ if no <= self.dropped_to => {}
                Some(committing) if no > self.committed => committing.done.add(size),
                _ => self.done_on_disk.add(size),
            }
        }
    }
}
