//! What must hold in the simulation: at every moment, and when all is drained.

use std::collections::{HashMap, HashSet};

use super::*;

impl Sim {
    pub(super) fn note_memory_lost(&mut self) {
        let drops = self.bridge.status(self.now()).drops;
        // Also where there are too many: what is sent at QoS 0 in the same turn counts as done only when its bytes are out.
        if drops.memory_full != self.memory_lost.len() as u64 {
            let in_window: HashSet<u64> = self.bridge.window.of(0).map(|(no, ..)| no).collect();
            let kept = |no: &u64| {
                let bridge = self.bridge.streams.get(0).queue.holds(*no) || in_window.contains(no);
                bridge
                    || self.done.contains(no)
                    || self.written_in_life.contains(no)
                    || self.disk.records.contains_key(no)
                    // The disk had it from a life before, and dropped it.
                    || self.dropped.contains(&self.numbers[no])
            };
            self.memory_lost = self.numbers.keys().copied().filter(|no| !kept(no)).collect();
        }
    }

    pub(super) fn check(&mut self) {
        let max = sim_config(self.version).memory_bytes_max;
        assert!(
            self.bridge.streams.get(0).queue.memory_bytes() <= 2 * max,
            "memory: {}",
            self.bridge.streams.get(0).queue.memory_bytes()
        );
        assert!(self.bridge.window.bytes() <= max);
        let status = self.bridge.status(self.now());
        let drops = status.drops;
        self.note_memory_lost();
        assert_eq!(drops.memory_full, self.memory_lost.len() as u64, "dropped from memory");
        // Whatever came in is delivered, waiting, or counted as lost, at every moment.
        let gone = drops.disk_full + drops.memory_full + drops.refused + drops.too_large + drops.damaged;
        assert_eq!(
            self.start_records + self.appended,
            status.backlog_records + status.delivered + gone,
            "the account: {status:?}"
        );
        if !self.chaos.store_fails && self.chaos.disk_cap.is_none() {
            assert_eq!(drops.disk_full + drops.memory_full, 0, "lost without need");
            let waiting =
                self.numbers.len() - self.done.iter().filter(|no| self.numbers.contains_key(no)).count();
            assert_eq!(status.backlog_records, waiting as u64, "backlog");
        }
        assert_eq!(drops.damaged, 0);
    }

    pub(super) fn finish(&mut self) {
        assert!(self.is_drained(), "not drained: {:?}", self.bridge.status(self.now()));
        let status = self.bridge.status(self.now());
        assert_eq!((status.backlog_bytes, status.inflight), (0, 0));
        let taken: HashSet<Id> = self.broker.taken.iter().map(|(_, payload)| id_of(payload)).collect();
        let may_lose = self.chaos.disk_cap.is_some() || self.chaos.store_fails;
        let mut lost = 0;
        for (id, qos) in &self.all {
            if taken.contains(id) || self.refused.contains(id) || *qos == QoS::AtMostOnce {
                continue;
            }
            lost += 1;
            let promised =
                self.safe.contains(id) || self.committed.contains(id) || !self.at_crash.contains(id);
            let dropped = self.dropped.contains(id);
            let in_memory_only =
                self.chaos.store_fails && !self.safe.contains(id) && !self.committed.contains(id);
            assert!(!promised || dropped || (may_lose && in_memory_only), "{id} is lost");
        }
        if self.life == 0 && !self.chaos.qos0 {
            assert_eq!(lost, status.drops.disk_full + status.drops.memory_full, "losses are counted");
        }
        if self.life == 0 {
            let unwritten =
                |no: &&u64| !self.written_in_life.contains(no) && !self.refused.contains(&self.numbers[no]);
            let elided = self.done.iter().filter(unwritten).count() as u64;
            assert_eq!(status.elided, elided, "elided");
        }
        // What was refused together comes again, behind what was on its way then.
        let come_again = self.chaos.refuse && self.chaos.batch;
        if self.chaos.drain == DrainOrder::OldestFirst && !come_again {
            self.check_order();
        }
        self.check_duplicates();
        let status_topic = &self.broker.retained["fieldgate/gw/status"];
        assert!(status_topic.contains("online"), "{status_topic}");
    }

    pub(super) fn check_order(&self) {
        let mut last: HashMap<&str, u64> = HashMap::new();
        let mut seen = HashSet::new();
        for (topic, payload) in &self.broker.taken {
            let id = id_of(payload);
            let Some((_, count)) = id.rsplit_once(':').filter(|_| self.keeps_order(topic)) else {
                continue;
            };
            let count: u64 = count.parse().unwrap();
            if seen.insert(id.clone()) {
                let before = last.insert(topic, count).unwrap_or(0);
                assert!(count > before, "{topic}: {count} comes after {before}");
            }
        }
    }

    /// A QoS 0 record that a cut took may come from disk again after a crash.
    pub(super) fn keeps_order(&self, topic: &str) -> bool {
        // What goes before its turn keeps its order only as far as the disk has none of it.
        let high = self.chaos.priority && topic == "data/2";
        topic.starts_with("data/") && !high && (topic != "data/zero" || self.life == 0)
    }

    pub(super) fn check_duplicates(&self) {
        let records = self.broker.times.iter().filter(|((topic, _), _)| topic.starts_with("data/"));
        let twice: usize = records.map(|(_, times)| times - 1).sum();
        assert!(twice <= self.duplicates_allowed, "{twice} duplicates, {} allowed", self.duplicates_allowed);
    }
}
