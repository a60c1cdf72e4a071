//! The models of the simulation: what upstream and the store do.

use std::collections::BTreeMap;

use super::super::upstream::{Got, Seen, connack, pingresp, puback, read, receive_maximum};
use super::*;

impl Sim {
    // The upstream.

    pub(super) fn upstream(&mut self, conn: u64, bytes: &[u8]) {
        for got in read(bytes, self.version) {
            match got {
                Got::Connect { clean, .. } => {
                    assert!(!self.greeted);
                    self.greeted = true;
                    let present = self.broker.session && !clean;
                    self.broker.session = true;
                    let limits = if self.version == Version::V5 { vec![receive_maximum(5)] } else { vec![] };
                    self.reply(conn, connack(self.version, present, ReasonCode::Success, &limits));
                }
                Got::Publish(seen) => self.publish(conn, &seen),
                Got::Ping => self.reply(conn, pingresp(self.version)),
                Got::Disconnect(_) => {}
                Got::Other(what) => panic!("the bridge sent {what}"),
            }
        }
    }

    pub(super) fn publish(&mut self, conn: u64, seen: &Seen) {
        let ids = ids_of(&seen.topic, &seen.payload);
        let id = ids[0].clone();
        let is_record = seen.topic.starts_with("data/");
        let Some(packet) = seen.id else {
            self.take(seen, &ids);
            return;
        };
        if is_record && self.version == Version::V5 {
            if let Some((head, times)) = &mut self.broker.quota {
                if *head == id && *times == 0 {
                    self.broker.quota = None;
                } else {
                    *times = times.saturating_sub(u32::from(*head == id));
                    return self.reply(conn, puback(self.version, packet, ReasonCode::QuotaExceeded));
                }
            } else if self.chaos.quota && self.chance(60) {
                self.broker.quota = Some((id, self.random.u32(0..3)));
                return self.reply(conn, puback(self.version, packet, ReasonCode::QuotaExceeded));
            }
            // Whether it is refused is the message's fate, also when it comes twice.
            if self.chaos.refuse && ids.iter().any(|id| id.ends_with("13")) {
                return self.reply(conn, puback(self.version, packet, ReasonCode::NotAuthorized));
            }
        }
        self.take(seen, &ids);
        if self.chaos.lose_packets && self.chance(200) {
            return;
        }
        self.reply(conn, puback(self.version, packet, ReasonCode::Success));
    }

    /// Records are known by their names.
    fn take(&mut self, seen: &Seen, ids: &[Id]) {
        if !seen.topic.starts_with("data/") {
            return self.broker.take(seen);
        }
        for id in ids {
            self.broker.take(&Seen { payload: id.clone(), ..seen.clone() });
        }
    }

    pub(super) fn reply(&mut self, conn: u64, bytes: Vec<u8>) {
        let micros = self.random.u64(100..30_000);
        let overtakes = self.chaos.reorder && self.greeted && bytes[0] == 0x40 && self.random.bool();
        let arrives = self.time + micros;
        if overtakes {
            let after_connack = self.last_to_bridge.min(arrives).max(self.time + 1);
            return self.at_micros(after_connack.max(arrives), Event::ToBridge(conn, bytes));
        }
        self.last_to_bridge = arrives.max(self.last_to_bridge + 1);
        self.at_micros(self.last_to_bridge, Event::ToBridge(conn, bytes));
    }

    // The store.

    pub(super) fn store_op(&mut self, op: Op) {
        self.ops.push_back(op);
        if self.ops.len() == 1 {
            self.next_op();
        }
        let commits = self.ops.iter().filter(|op| matches!(op, Op::Commit(_))).count();
        let reads = self.ops.iter().filter(|op| matches!(op, Op::Read(..) | Op::ReadBack(..))).count();
        assert!(commits <= 1 && reads <= 1, "more than one commit or read under way");
    }

    pub(super) fn next_op(&mut self) {
        self.op_no += 1;
        let micros = self.random.u64(50..40_000);
        self.after(micros, Event::Store(self.op_no));
    }

    pub(super) fn store(&mut self) {
        let op = self.ops.pop_front().unwrap();
        let now = self.now();
        match op {
            Op::Commit(_) if self.store_broken => {
                self.bridge.handle(now, Input::CommitFailed { error: "disk full" });
            }
            Op::Commit(records) => {
                let up_to = records.last().unwrap().no;
                let dropped = self.write(records);
                self.bridge.handle(now, Input::Committed { up_to });
                if let Some((up_to, records, bytes)) = dropped {
                    self.bridge.handle(
                        now,
                        Input::Dropped { up_to: RecordNo(up_to), records, bytes, expired: 0, purged: 0 },
                    );
                }
            }
            Op::Read(from, bytes_max) => {
                let mut records = Vec::new();
                let mut bytes = 0;
                for (no, stored) in self.disk.records.range(from.0..) {
                    if bytes >= bytes_max / 16 {
                        break;
                    }
                    bytes += stored.len();
                    records.push(StoredRecord { no: RecordNo(*no), bytes: stored.clone() });
                }
                self.read_back += records.len() as u64;
                self.bridge.handle(now, Input::Read { from, records });
            }
            Op::ReadBack(before, bytes_max) => {
                let mut records = Vec::new();
                let mut bytes = 0;
                let open = self.disk.records.range(self.disk.cursor + 1..before.0.max(self.disk.cursor + 1));
                for (no, stored) in open.rev().filter(|(no, _)| !self.disk.beyond.contains(**no)) {
                    if bytes >= bytes_max / 16 {
                        break;
                    }
                    bytes += stored.len();
                    records.push(StoredRecord { no: RecordNo(*no), bytes: stored.clone() });
                }
                self.read_back += records.len() as u64;
                self.read_backwards += records.len() as u64;
                self.bridge.handle(now, Input::ReadBack { before, records });
            }
            Op::Ack(up_to, beyond) => {
                let prefix = self.prefix();
                assert!(up_to.0 <= prefix, "Ack {} though only {prefix} is done", up_to.0);
                for (first, last) in beyond.iter() {
                    for (no, id) in self.numbers.range(first..=last) {
                        let gone = self.dropped.contains(id) || self.memory_lost.contains(no);
                        assert!(self.done.contains(no) || gone, "{no} is told to be done");
                    }
                }
                assert!(beyond.len() <= crate::ranges::STORED_RANGES_MAX);
                self.disk.cursor = self.disk.cursor.max(up_to.0);
                self.disk.beyond.add(&beyond);
                if self.random.bool() {
                    self.sync_cursor();
                }
            }
        }
        if !self.ops.is_empty() {
            self.next_op();
        }
    }

    pub(super) fn sync_cursor(&mut self) {
        self.disk.cursor_synced = self.disk.cursor;
        self.disk.records = self.disk.records.split_off(&(self.disk.cursor + 1));
        self.disk.beyond_synced = self.disk.beyond.clone();
        let beyond = &self.disk.beyond_synced;
        self.disk.records.retain(|no, _| !beyond.contains(*no));
    }

    pub(super) fn write(&mut self, records: Vec<StoredRecord>) -> Option<(u64, u64, u64)> {
        for stored in records {
            let id = self.numbers[&stored.no.0].clone();
            self.committed.insert(id.clone());
            self.stored_ever.insert(id);
            self.written_in_life.insert(stored.no.0);
            self.disk.records.insert(stored.no.0, stored.bytes);
        }
        let cap = self.chaos.disk_cap?;
        let bytes: usize = self.disk.records.values().map(Bytes::len).sum();
        if bytes <= cap {
            return None;
        }
        // A quarter goes at once, as a generation does.
        let (mut gone, mut lost, mut lost_bytes, mut up_to) = (0, 0, 0, 0);
        while gone < cap / 4 {
            let Some((no, stored)) = self.disk.records.pop_first() else { break };
            gone += stored.len();
            up_to = no;
            if no > self.disk.cursor && !self.disk.beyond.contains(no) {
                lost += 1;
                lost_bytes += stored.len() as u64;
                if !self.done.contains(&no) {
                    self.dropped.insert(self.numbers[&no].clone());
                }
            }
        }
        self.disk.cursor = self.disk.cursor.max(up_to);
        self.disk.cursor_synced = self.disk.cursor_synced.max(up_to);
        Some((up_to, lost, lost_bytes))
    }

    pub(super) fn crash(&mut self) {
        if self.calm {
            return;
        }
        // A commit under way may have reached the disk.
        if let Some(Op::Commit(records)) = self.ops.front()
            && !self.store_broken
            && self.random.bool()
        {
            let records = records.clone();
            self.write(records);
        }
        self.ops.clear();
        self.op_no += 1;
        self.end_connection();
        self.disk.cursor = self.disk.cursor_synced;
        self.disk.beyond = self.disk.beyond_synced.clone();
        let left: Vec<u64> = self
            .disk
            .records
            .keys()
            .copied()
            .filter(|no| *no > self.disk.cursor && !self.disk.beyond.contains(*no))
            .collect();
        for no in &left {
            if self.broker.times.keys().any(|(_, payload)| id_of(payload) == self.numbers[no]) {
                self.duplicates_allowed += 1;
            }
        }
        let survivors: BTreeMap<u64, Id> = left.iter().map(|no| (*no, self.numbers[no].clone())).collect();
        for id in self.numbers.values() {
            if !survivors.values().any(|have| have == id) {
                self.at_crash.insert(id.clone());
            }
        }
        let last = left.last().copied().unwrap_or(self.disk.cursor);
        let last = self.disk.beyond.last().unwrap_or_default().0.max(last);
        let bytes = left.iter().map(|no| self.disk.records[no].len() as u64).sum();
        let backlog = Backlog {
            acked: RecordNo(self.disk.cursor),
            beyond: self.disk.beyond.clone(),
            last: RecordNo(last),
            records: left.len() as u64,
            bytes,
            oldest: Some(self.now().wall),
        };
        self.life += 1;
        self.number_by_id = survivors.iter().map(|(no, id)| (id.clone(), *no)).collect();
        self.numbers = survivors;
        self.done.clear();
        self.memory_lost.clear();
        self.written_in_life.clear();
        self.next_no = last + 1;
        self.start_records = left.len() as u64;
        self.appended = 0;
        let seed = self.seed + self.life;
        self.bridge = Bridge::new(drain_config(self.version, &self.chaos), backlog, seed, self.now());
    }
}
