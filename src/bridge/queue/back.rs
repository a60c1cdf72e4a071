//! A backlog whose newest go first: from its end backwards through memory, then through what is on disk. What comes
//! meanwhile is live and goes at once; the order of each topic is reversed within the backlog.
//!
//! ```text
//!   send_next │   on disk   │ loaded (newest first) │ back ──▶ taken │ live ─▶ next
//!             └─ reading ◀──┴───────────────────────┴────────────────┘
//! ```

use super::{Queue, Reading, Since, Taken};
use crate::bridge::config::DrainOrder;
use crate::record::{self, RecordNo, StoredRecord};
use crate::time::Mono;

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Back {
    /// All of the backlog from here on was taken.
    at: u64,
    /// All from here on was read, or is in memory.
    read: u64,
}

impl Queue {
    /// The link is there: everything that waits is the backlog. Unless all goes in order, what comes from now on doesn't
    /// wait for its end.
    pub(in crate::bridge) fn begin_drain(&mut self, order: DrainOrder) {
        self.backlog_end = self.next;
        let waits = self.send_next < self.next;
        self.ahead.next = Some(self.next).filter(|_| order != DrainOrder::OldestFirst && waits);
        if order == DrainOrder::NewestFirst && waits {
            self.turn_round(Some(Back { at: self.next, read: self.next }));
        }
    }

    /// Reads in another direction from now on: what was read the other way is on disk again.
    fn turn_round(&mut self, back: Option<Back>) {
        for taken in std::mem::take(&mut self.loaded) {
            self.disk.add(taken.size);
        }
        self.loaded_bytes = 0;
        self.read_next = self.send_next;
        self.read_at = None;
        self.empty_reads = 0;
        if let Some(reading) = &mut self.reading {
            reading.stale = true;
        }
        self.back = back;
    }

    /// The next record of the backlog; `None` if there is none, or it must be read first.
    pub(in crate::bridge) fn take_backlog(&mut self) -> Option<Taken> {
        let Some(mut back) = self.back else { return self.take() };
        if self.ahead.is_full() {
            // There is no room to note further gaps: the rest goes from its other end.
            self.turn_round(None);
            return self.take();
        }
        if back.at > self.mem_first {
            let floor = self.mem_first.max(self.send_next).min(back.at);
            let ahead = &self.ahead;
            let mut waiting = self.memory.range(floor..back.at).rev().map(|(&no, _)| no);
            if let Some(no) = waiting.find(|&no| !ahead.contains(no)) {
                self.back = Some(Back { at: no, ..back });
                return self.take_ahead(no, back.at - 1);
            }
            self.ahead.taken.insert(floor, back.at - 1);
            back.at = floor;
            self.back = Some(back);
        }
        if let Some(mut taken) = self.loaded.pop_front() {
            self.loaded_bytes -= taken.size;
            self.ahead.taken.insert(taken.no, back.at - 1);
            self.back = Some(Back { at: taken.no, ..back });
            self.passed();
            taken.ahead = true;
            return Some(taken);
        }
        if self.back_reads_below().is_some() {
            return None;
        }
        // All was read: between here and the front there is nothing.
        self.ahead.taken.insert(self.send_next, back.at - 1);
        self.passed();
        self.turn_round(None);
        self.take()
    }

    /// Below which record the next read begins; `None` if nothing can be there.
    pub(super) fn back_reads_below(&self) -> Option<u64> {
        let back = self.back.filter(|back| back.at <= self.mem_first)?;
        let read = back.at.min(back.read);
        let below = self.ahead.taken.around(read.saturating_sub(1)).map_or(read, |(first, _)| first);
        (below > self.send_next).then_some(below)
    }

    /// The answer to a read backwards.
    pub(in crate::bridge) fn read_back_answer(
        &mut self,
        now: Mono,
        before: RecordNo,
        records: Vec<StoredRecord>,
    ) {
        let asked = |reading: &mut Reading| reading.back && reading.from == before.0;
        let Some(reading) = self.reading.take_if(asked) else { return };
        let Some(mut back) = self.back.filter(|_| !reading.stale) else { return };
        let found = !records.is_empty();
        for stored in records {
            let no = stored.no.0;
            if no >= back.read.min(back.at) {
                continue;
            }
            back.read = no;
            if no < self.send_next || self.ahead.contains(no) {
                continue;
            }
            let size = stored.bytes.len();
            self.disk.take(size);
            match record::decode(&stored.bytes) {
                Ok(message) => {
                    self.loaded_bytes += size;
                    let since = record::wall_of(&stored.bytes).map_or(Since::Unknown, Since::Wall);
                    self.loaded.push_back(Taken { no, size, message, since, ahead: true });
                }
                Err(_) => {
                    self.drops.damaged += 1;
                    self.ahead.taken.insert(no, no);
                    self.done_log.push(no, size);
                }
            }
        }
        self.back = Some(back);
        if !found && !self.asks_again(now) {
            self.back = Some(Back { read: self.send_next, ..back });
        }
    }
}
