//! The model of the store: one operation after the other, each of them on disk when it is done and not before; what a
//! crash finds under way is there, or not, or (of an outbox) in part.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fieldgate::bridge::StreamNo;
use fieldgate::ranges::Ranges;
use fieldgate::record::{self, RecordNo, StoredRecord};
use fieldgate::state::Change;
use fieldgate::{bridge, broker};

use super::plan::Fault;
use super::truth::id_of_message;
use super::world::{Event, World};

#[derive(Debug)]
pub enum Op {
    Commit(StreamNo, Vec<StoredRecord>),
    Read(StreamNo, RecordNo, usize),
    ReadBack(StreamNo, RecordNo, usize),
    Ack(StreamNo, RecordNo, Ranges),
    Persist(u64, Vec<Change>),
}

/// The outbox of one stream.
#[derive(Debug, Default)]
pub struct Log {
    pub records: BTreeMap<u64, Bytes>,
    cursor: u64,
    cursor_synced: u64,
    /// What is done behind the cursor.
    beyond: Ranges,
    beyond_synced: Ranges,
}

#[derive(Debug, Default)]
pub struct Disk {
    /// The default stream's, and another one's.
    pub logs: [Log; 2],
    pub state: BTreeMap<Vec<u8>, Bytes>,
    pub ops: VecDeque<Op>,
    op_no: u64,
    pub full: bool,
}

impl World {
    pub fn disk_op(&mut self, op: Op) {
        if self.plan.fault == Fault::AcknowledgesBeforeWriting && !self.disk.full {
            match &op {
                Op::Commit(stream, records) => {
                    let up_to = records.last().unwrap().no;
                    self.tell_stream(*stream, bridge::Input::Committed { up_to });
                }
                Op::Persist(number, _) => self.tell_broker(broker::Input::Persisted { number: *number }),
                _ => {}
            }
        }
        self.disk.ops.push_back(op);
        if self.disk.ops.len() == 1 {
            self.next_op();
        }
        let count = |wanted: &dyn Fn(&Op) -> bool| self.disk.ops.iter().filter(|op| wanted(op)).count();
        if self.plan.fault == Fault::None {
            for stream in 0..2 {
                let commit = |op: &Op| matches!(op, Op::Commit(of, _) if *of == stream);
                assert!(count(&commit) <= 1, "two commits under way");
                let read = |op: &Op| matches!(op, Op::Read(of, ..) | Op::ReadBack(of, ..) if *of == stream);
                assert!(count(&read) <= 1, "two reads under way");
            }
            assert!(count(&|op| matches!(op, Op::Persist(..))) <= 1, "two batches under way");
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
            Op::Commit(stream, _) if self.disk.full => {
                self.happened.commits_failed += 1;
                self.tell_stream(stream, bridge::Input::CommitFailed { error: "disk full" });
            }
            Op::Persist(number, _) if self.disk.full => {
                self.tell_broker(broker::Input::PersistFailed { number, lost: false });
            }
            Op::Commit(stream, records) => {
                let up_to = records.last().unwrap().no;
                self.write(stream, records);
                if !early {
                    self.tell_stream(stream, bridge::Input::Committed { up_to });
                }
                self.drop_oldest(stream);
            }
            Op::Persist(number, changes) => {
                self.persist(changes);
                if !early {
                    self.tell_broker(broker::Input::Persisted { number });
                }
            }
            Op::Read(stream, from, bytes_max) => self.read(stream, from, bytes_max),
            Op::ReadBack(stream, before, bytes_max) => self.read_back(stream, before, bytes_max),
            Op::Ack(stream, up_to, beyond) => {
                let log = &mut self.disk.logs[usize::from(stream)];
                let dropped = self.plan.outbox_max.is_some();
                assert!(dropped || up_to.0 >= log.cursor, "the cursor goes back to {}", up_to.0);
                let done = |no: &u64| *no <= up_to.0 || beyond.contains(*no);
                for (_, stored) in log.records.iter().filter(|(no, _)| done(no)) {
                    let id = id_of_message(&record::decode(stored).unwrap());
                    let done = self.truth.is_taken(&id) || self.truth.is_refused(&id);
                    assert!(done || id.contains("zero"), "{id} is forgotten, and upstream never had it");
                }
                log.cursor = log.cursor.max(up_to.0);
                log.beyond.add(&beyond);
                if self.random.bool() {
                    log.sync_cursor();
                }
            }
        }
    }

    fn write(&mut self, stream: StreamNo, records: Vec<StoredRecord>) {
        let log = &mut self.disk.logs[usize::from(stream)];
        for stored in records {
            self.truth.committed(&id_of_message(&record::decode(&stored.bytes).unwrap()));
            log.records.insert(stored.no.0, stored.bytes);
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

    fn read(&mut self, stream: StreamNo, from: RecordNo, bytes_max: usize) {
        let (mut records, mut bytes) = (Vec::new(), 0);
        for (no, stored) in self.log(stream).records.range(from.0..) {
            if bytes >= bytes_max / 16 {
                break;
            }
            bytes += stored.len();
            records.push(StoredRecord { no: RecordNo(*no), bytes: stored.clone() });
        }
        self.happened.read_back += records.len() as u64;
        self.tell_stream(stream, bridge::Input::Read { from, records });
    }

    fn read_back(&mut self, stream: StreamNo, before: RecordNo, bytes_max: usize) {
        let (mut records, mut bytes) = (Vec::new(), 0);
        let log = self.log(stream);
        let open = log.records.range(..before.0).rev();
        for (no, stored) in open.filter(|(no, _)| !log.is_done(**no)) {
            if bytes >= bytes_max / 16 {
                break;
            }
            bytes += stored.len();
            records.push(StoredRecord { no: RecordNo(*no), bytes: stored.clone() });
        }
        self.happened.read_backwards += records.len() as u64;
        self.tell_stream(stream, bridge::Input::ReadBack { before, records });
    }

    /// The outbox is larger than it may be: its oldest quarter goes, acknowledged or not.
    fn drop_oldest(&mut self, stream: StreamNo) {
        let Some(max) = self.plan.outbox_max else { return };
        let log = &mut self.disk.logs[usize::from(stream)];
        if log.records.values().map(Bytes::len).sum::<usize>() <= max {
            return;
        }
        let (mut gone, mut up_to, mut records, mut bytes) = (0, 0, 0, 0);
        while gone < max / 4 {
            let Some((no, stored)) = log.records.pop_first() else { break };
            gone += stored.len();
            up_to = no;
            if !log.is_done(no) {
                records += 1;
                bytes += stored.len() as u64;
                self.truth.dropped(&id_of_message(&record::decode(&stored).unwrap()));
            }
        }
        log.cursor = log.cursor.max(up_to);
        log.cursor_synced = log.cursor_synced.max(up_to);
        self.happened.dropped += records;
        self.tell_stream(
            stream,
            bridge::Input::Dropped { up_to: RecordNo(up_to), records, bytes, expired: 0, purged: 0 },
        );
    }

    /// What is on disk when the power comes back.
    pub fn disk_after_crash(&mut self) -> Vec<bridge::Backlog> {
        let under_way = std::mem::take(&mut self.disk.ops).into_iter().next();
        self.disk.op_no += 1;
        match under_way {
            Some(Op::Commit(stream, mut records)) if !self.disk.full && self.plan.fault == Fault::None => {
                records.truncate(self.random.usize(0..=records.len()));
                self.write(stream, records);
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
        let oldest = Some(self.now().wall);
        let backlog = |log: &mut Log| {
            log.cursor = log.cursor_synced;
            log.beyond = log.beyond_synced.clone();
            let left = || log.records.iter().filter(|(no, _)| !log.is_done(**no));
            let last = left().next_back().map_or(log.cursor, |(no, _)| *no);
            bridge::Backlog {
                acked: RecordNo(log.cursor),
                beyond: log.beyond.clone(),
                last: RecordNo(last).max(log.beyond.last().unwrap_or_default()),
                records: left().count() as u64,
                bytes: left().map(|(_, stored)| stored.len() as u64).sum(),
                oldest,
            }
        };
        self.disk.logs.iter_mut().map(backlog).collect()
    }

    fn log(&self, stream: StreamNo) -> &Log {
        &self.disk.logs[usize::from(stream)]
    }
}

impl Log {
    pub fn is_done(&self, no: u64) -> bool {
        no <= self.cursor || self.beyond.contains(no)
    }

    fn sync_cursor(&mut self) {
        self.cursor_synced = self.cursor;
        self.records = self.records.split_off(&(self.cursor + 1));
        self.beyond_synced = self.beyond.clone();
        let beyond = &self.beyond_synced;
        self.records.retain(|no, _| !beyond.contains(*no));
    }
}
