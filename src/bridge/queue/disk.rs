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
        self.read_next = self.read_next.max(self.send_next);
        self.reading = Some(Reading { from: self.read_next, end: self.mem_first });
        Some(Output::Read { from: RecordNo(self.read_next), bytes_max: READ_BYTES })
    }

    pub(super) fn wants_read(&self) -> bool {
        let from = self.read_next.max(self.send_next);
        self.reading.is_none() && from < self.mem_first && self.loaded_bytes < READ_BYTES / 2
    }

    pub(in crate::bridge) fn read_answer(&mut self, now: Mono, from: RecordNo, records: Vec<StoredRecord>) {
        let Some(reading) = self.reading.take_if(|reading| reading.from == from.0) else { return };
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
                    self.done_on_disk.add(size);
                }
            }
        }
        if found {
            self.empty_reads = 0;
            return;
        }
        self.empty_reads += 1;
        if self.disk.records > 0 && self.empty_reads < EMPTY_READS_MAX {
            self.read_at = Some(now + EMPTY_READ_RETRY);
            return;
        }
        self.empty_reads = 0;
        self.read_next = self.read_next.max(reading.end);
    }

    /// A person wants stored records gone. The store must know what is done by then, so that it counts right.
    pub(in crate::bridge) fn purge(&mut self, now: Mono, before: Option<Timestamp>, out: &mut Outputs) {
        if let Some(ack) = self.ack(now, true) {
            out.push(ack);
        }
        self.purging = Some(self.done_on_disk);
        out.push(Output::Purge { before });
    }

    pub(in crate::bridge) fn purged(&mut self) {
        if let Some(done) = self.purging.take() {
            self.done_at_commit = done;
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
        let ahead = self.ahead.dropped(up_to);
        let mut known = self.done_on_disk.minus(self.done_at_commit).plus(window).plus(ahead);
        let mut gone = Tally::default();
        while self.loaded.front().is_some_and(|taken| taken.no <= up_to) {
            if let Some(taken) = self.loaded.pop_front() {
                self.loaded_bytes -= taken.size;
                gone.add(taken.size);
            }
        }
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
        } else if up_to < self.read_next {
            Tally::default()
        } else {
            let lost = said.all.minus(known);
            Tally { records: lost.records.min(self.disk.records), bytes: lost.bytes.min(self.disk.bytes) }
        };
        self.disk = self.disk.minus(from_disk);
        self.read_next = self.read_next.max(up_to + 1);
        if self.loaded.is_empty() {
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
