//! Records that are on disk only: read back in order, given up when they are damaged, missing or dropped.

use super::{EMPTY_READ_RETRY, EMPTY_READS_MAX, Queue, READ_BYTES, Reading, Said, Since, Taken, Tally};
use crate::bridge::outputs::Outputs;
use crate::bridge::words::Output;
use crate::record::{self, RecordNo, StoredRecord};
use crate::time::{Mono, Timestamp};

impl Queue {
    /// Everything on disk was read. What was believed to be there and was not found is lost.
    pub(super) fn disk_is_exhausted(&mut self) {
        self.drops.damaged += self.disk.records;
        self.disk = Tally::default();
        self.send_next = self.send_next.max(self.mem_first);
        self.passed();
    }

    /// The read that is due, if any.
    pub(in crate::bridge) fn read(&mut self, now: Mono) -> Option<Output> {
        if !self.wants_read() || self.read_at.is_some_and(|at| now < at) {
            return None;
        }
        self.read_at = None;
        if self.back.is_some() {
            let before = self.back_reads_below()?;
            self.reading = Some(Reading { from: before, end: before, back: true, stale: false });
            return Some(Output::ReadBack { before: RecordNo(before), bytes_max: READ_BYTES });
        }
        self.read_next = self.read_next.max(self.send_next);
        self.reading = Some(Reading { from: self.read_next, end: self.mem_first, back: false, stale: false });
        Some(Output::Read { from: RecordNo(self.read_next), bytes_max: READ_BYTES })
    }

    pub(super) fn wants_read(&self) -> bool {
        let is_there = match self.back {
            Some(_) => self.back_reads_below().is_some(),
            None => self.read_next.max(self.send_next) < self.mem_first,
        };
        is_there && self.reading.is_none() && self.loaded_bytes < READ_BYTES / 2
    }

    pub(in crate::bridge) fn read_answer(&mut self, now: Mono, from: RecordNo, records: Vec<StoredRecord>) {
        let asked = |reading: &mut Reading| !reading.back && reading.from == from.0;
        let Some(reading) = self.reading.take_if(asked).filter(|reading| !reading.stale) else { return };
        // A drop may have moved the place on meanwhile: then the answer may be an old one, and is asked anew.
        let mut found = self.read_next > reading.from;
        for stored in records {
            let no = stored.no.0;
            if no < self.read_next || no >= reading.end {
                continue;
            }
            found = true;
            self.read_next = no + 1;
            if self.ahead.contains(no) {
                continue;
            }
            let size = stored.bytes.len();
            self.disk.take(size);
            match record::decode(&stored.bytes) {
                Ok(message) => {
                    self.loaded_bytes += size;
                    let since = record::wall_of(&stored.bytes).map_or(Since::Unknown, Since::Wall);
                    self.loaded.push_back(Taken { no, size, message, since, ahead: false });
                }
                Err(_) => {
                    self.drops.damaged += 1;
                    self.done_log.push(no, size);
                }
            }
        }
        if found {
            self.empty_reads = 0;
            return;
        }
        if !self.asks_again(now) {
            self.read_next = self.read_next.max(reading.end);
        }
    }

    /// Nothing was found where records should be: whether it is asked once more.
    pub(super) fn asks_again(&mut self, now: Mono) -> bool {
        self.empty_reads += 1;
        let again = self.disk.records > 0 && self.empty_reads < EMPTY_READS_MAX;
        if again {
            self.read_at = Some(now + EMPTY_READ_RETRY);
        } else {
            self.empty_reads = 0;
        }
        again
    }

    /// A person wants stored records gone. The store must know what is done by then, so that it counts right.
    pub(in crate::bridge) fn purge(
        &mut self,
        now: Mono,
        before: Option<Timestamp>,
        in_window: impl Iterator<Item = u64>,
        out: &mut Outputs,
    ) {
        if let Some(ack) = self.ack(now, true, in_window) {
            out.push_of(self.stream, ack);
        }
        self.purging = Some(self.done_log.mark());
        out.push_of(self.stream, Output::Purge { before });
    }

    pub(in crate::bridge) fn purged(&mut self) {
        if let Some(told) = self.purging.take() {
            self.done_log.told(told);
        }
    }

    /// Everything up to here was dropped by the store before.
    pub(in crate::bridge) const fn dropped_to(&self) -> u64 {
        self.dropped_to
    }

    /// The store dropped its oldest. What the window still has in flight is not lost by that.
    pub(in crate::bridge) fn dropped(
        &mut self,
        up_to: RecordNo,
        said: Said,
        window: Tally,
        out: &mut Outputs,
    ) {
        let up_to = up_to.0.min(self.committed);
        self.dropped_to = self.dropped_to.max(up_to);
        self.read_next = self.read_next.max(self.send_next);
        // The store counts as lost what it did not yet know to be done, what is in flight, and what was read.
        let mut known = self.done_log.dropped(up_to).plus(window);
        let mut gone = Tally::default();
        let loaded_bytes = &mut self.loaded_bytes;
        self.loaded.retain(|taken| {
            if taken.no <= up_to {
                *loaded_bytes -= taken.size;
                gone.add(taken.size);
            }
            taken.no > up_to
        });
        let in_memory = self.memory.range(self.send_next..=up_to.max(self.send_next)).map(|(&no, _)| no);
        let in_memory: Vec<u64> = in_memory.filter(|&no| no <= up_to && !self.ahead.contains(no)).collect();
        for no in in_memory {
            if let Some(held) = self.forget(no) {
                gone.add(held.size);
            }
        }
        known = known.plus(gone);
        let from_disk = if up_to + 1 >= self.mem_first {
            self.disk
        } else if up_to < self.read_next && self.back.is_none() {
            Tally::default()
        } else {
            let lost = said.all.minus(known);
            Tally { records: lost.records.min(self.disk.records), bytes: lost.bytes.min(self.disk.bytes) }
        };
        self.disk = self.disk.minus(from_disk);
        self.read_next = self.read_next.max(up_to + 1);
        if self.loaded.is_empty() || self.back.is_some() {
            self.send_next = self.send_next.max(up_to + 1);
            self.passed();
        }
        let lost = gone.plus(from_disk).records;
        let expired = said.expired.min(lost);
        let purged = said.purged.min(lost - expired);
        let full = lost - expired - purged;
        self.drops.expired += expired;
        self.drops.purged += purged;
        self.drops.disk_full += full;
        for (count, reason) in [(full, "disk_full"), (expired, "expired")] {
            if count > 0 {
                self.tell_dropping(reason, out);
            }
        }
    }
}
