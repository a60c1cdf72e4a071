//! The model of the store: one operation after the other, each of them on disk when it is done and not before; what a
//! crash finds under way is there, or not, or (of an outbox) in part.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fieldgate::record::{self, RecordNo, StoredRecord};
use fieldgate::state::Change;
use fieldgate::{bridge, broker};

use super::plan::Fault;
use super::truth::id_of_message;
use super::world::{Event, World};

#[derive(Debug)]
pub enum Op {
    Commit(Vec<StoredRecord>),
    Read(RecordNo, usize),
    Ack(RecordNo),
    Persist(u64, Vec<Change>),
}

#[derive(Debug, Default)]
pub struct Disk {
    pub records: BTreeMap<u64, Bytes>,
    pub cursor: u64,
    cursor_synced: u64,
    pub state: BTreeMap<Vec<u8>, Bytes>,
    pub ops: VecDeque<Op>,
    op_no: u64,
    pub full: bool,
}

impl World {
    pub fn disk_op(&mut self, op: Op) {
        if self.plan.fault == Fault::AcknowledgesBeforeWriting && !self.disk.full {
            match &op {
                Op::Commit(records) => {
                    let up_to = records.last().unwrap().no;
                    self.tell_bridge(bridge::Input::Committed { up_to });
                }
                Op::Persist(number, _) => self.tell_broker(broker::Input::Persisted { number: *number }),
                _ => {}
            }
        }
        self.disk.ops.push_back(op);
        if self.disk.ops.len() == 1 {
            self.next_op();
        }
        let count = |wanted: fn(&Op) -> bool| self.disk.ops.iter().filter(|op| wanted(op)).count();
        if self.plan.fault == Fault::None {
            assert!(count(|op| matches!(op, Op::Commit(_))) <= 1, "two commits under way");
            assert!(count(|op| matches!(op, Op::Read(..))) <= 1, "two reads under way");
            assert!(count(|op| matches!(op, Op::Persist(..))) <= 1, "two batches under way");
        }
    }

    fn next_op(&mut self) {
        self.disk.op_no += 1;
        let stalls = self.plan.disk_slow && self.time > 2_000_000 && self.chance(60);
        let micros = if stalls { self.random.u64(500_000..4_000_000) } else { self.random.u64(50..15_000) };
        self.happened.stalls += u64::from(stalls);
        self.after(micros, Event::Disk(self.disk.op_no));
    }

    pub fn disk_done(&mut self, op_no: u64) {
        if op_no != self.disk.op_no {
            return;
        }
        let Some(op) = self.disk.ops.pop_front() else { return };
        if !self.disk.ops.is_empty() {
            self.next_op();
        }
        let early = self.plan.fault == Fault::AcknowledgesBeforeWriting;
        match op {
            Op::Commit(_) if self.disk.full => {
                self.happened.commits_failed += 1;
                self.tell_bridge(bridge::Input::CommitFailed { error: "disk full" });
            }
            Op::Persist(number, _) if self.disk.full => {
                self.tell_broker(broker::Input::PersistFailed { number, lost: false });
            }
            Op::Commit(records) => {
                let up_to = records.last().unwrap().no;
                self.write(records);
                if !early {
                    self.tell_bridge(bridge::Input::Committed { up_to });
                }
                self.drop_oldest();
            }
            Op::Persist(number, changes) => {
                self.persist(changes);
                if !early {
                    self.tell_broker(broker::Input::Persisted { number });
                }
            }
            Op::Read(from, bytes_max) => self.read(from, bytes_max),
            Op::Ack(up_to) => {
                let dropped = self.plan.outbox_max.is_some();
                assert!(dropped || up_to.0 >= self.disk.cursor, "the cursor goes back to {}", up_to.0);
                for stored in self.disk.records.range(..=up_to.0).map(|(_, stored)| stored) {
                    let id = id_of_message(&record::decode(stored).unwrap());
                    let done = self.truth.is_taken(&id) || self.truth.is_refused(&id);
                    assert!(done || id.contains("zero"), "{id} is forgotten, and upstream never had it");
                }
                self.disk.cursor = self.disk.cursor.max(up_to.0);
                if self.random.bool() {
                    self.disk.sync_cursor();
                }
            }
        }
    }

    fn write(&mut self, records: Vec<StoredRecord>) {
        for stored in records {
            self.truth.committed(&id_of_message(&record::decode(&stored.bytes).unwrap()));
            self.disk.records.insert(stored.no.0, stored.bytes);
        }
    }

    fn persist(&mut self, mut changes: Vec<Change>) {
        if self.plan.fault == Fault::TearsState {
            changes.truncate(changes.len().div_ceil(2));
        }
        for change in changes {
            match change.value {
                Some(value) => drop(self.disk.state.insert(change.key, value)),
                None => drop(self.disk.state.remove(&change.key)),
            }
        }
    }

    fn read(&mut self, from: RecordNo, bytes_max: usize) {
        let (mut records, mut bytes) = (Vec::new(), 0);
        for (no, stored) in self.disk.records.range(from.0..) {
            if bytes >= bytes_max / 16 {
                break;
            }
            bytes += stored.len();
            records.push(StoredRecord { no: RecordNo(*no), bytes: stored.clone() });
        }
        self.happened.read_back += records.len() as u64;
        self.tell_bridge(bridge::Input::Read { from, records });
    }

    /// The outbox is larger than it may be: its oldest quarter goes, acknowledged or not.
    fn drop_oldest(&mut self) {
        let Some(max) = self.plan.outbox_max else { return };
        if self.disk.records.values().map(Bytes::len).sum::<usize>() <= max {
            return;
        }
        let (mut gone, mut up_to, mut records, mut bytes) = (0, 0, 0, 0);
        while gone < max / 4 {
            let Some((no, stored)) = self.disk.records.pop_first() else { break };
            gone += stored.len();
            up_to = no;
            if no > self.disk.cursor {
                records += 1;
                bytes += stored.len() as u64;
                self.truth.dropped(&id_of_message(&record::decode(&stored).unwrap()));
            }
        }
        self.disk.cursor = self.disk.cursor.max(up_to);
        self.disk.cursor_synced = self.disk.cursor_synced.max(up_to);
        self.happened.dropped += records;
        self.tell_bridge(bridge::Input::Dropped {
            up_to: RecordNo(up_to),
            records,
            bytes,
            expired: 0,
            purged: 0,
        });
    }

    /// What is on disk when the power comes back.
    pub fn disk_after_crash(&mut self) -> bridge::Backlog {
        let under_way = std::mem::take(&mut self.disk.ops).into_iter().next();
        self.disk.op_no += 1;
        match under_way {
            Some(Op::Commit(mut records)) if !self.disk.full && self.plan.fault == Fault::None => {
                records.truncate(self.random.usize(0..=records.len()));
                self.write(records);
            }
            Some(Op::Persist(_, changes))
                if !self.disk.full
                    && self.plan.fault != Fault::AcknowledgesBeforeWriting
                    && self.random.bool() =>
            {
                self.persist(changes);
            }
            _ => {}
        }
        self.disk.cursor = self.disk.cursor_synced;
        let left = || self.disk.records.range(self.disk.cursor + 1..);
        bridge::Backlog {
            acked: RecordNo(self.disk.cursor),
            last: RecordNo(left().next_back().map_or(self.disk.cursor, |(no, _)| *no)),
            records: left().count() as u64,
            bytes: left().map(|(_, stored)| stored.len() as u64).sum(),
            oldest: Some(self.now().wall),
        }
    }
}

impl Disk {
    fn sync_cursor(&mut self) {
        self.cursor_synced = self.cursor;
        self.records = self.records.split_off(&(self.cursor + 1));
    }
}
