//! Readings that share a message.

use super::rig::Rig;
use super::*;
use crate::mqtt::{Property, PropertyId};
use crate::reading::{Quality, Reading, Sample, Seq, Value};

const BATCH: Batch = Batch { messages_max: 3, bytes_max: 1_000, wait_max: Duration::from_secs(10) };

fn reading(topic: &str, number: u64, text: &str, now: Now) -> Message {
    let value = Some(Value::Text(text.into()));
    let reading = Reading {
        device: Arc::from("d"),
        seq: Seq { run: Run(7), number },
        boot: BootId::default(),
        mono: now.mono,
        wall: now.wall,
        trust: now.trust,
        samples: vec![Sample { point: Arc::from("p"), value, quality: Quality::Good }],
    };
    Message { reading: Some(Arc::new(reading)), ..message(topic, "") }
}

fn batched(batch: Batch, version: Version) -> Config {
    let maps = vec![Mapping { batch: Some(batch), ..mapping("data/#", "", "") }];
    Config { maps, ..config(version) }
}

impl Rig {
    fn batches(config: Config) -> Self {
        let mut rig = Self::new(config, Backlog::default());
        rig.connect(false);
        rig.ack_slot();
        rig.clear();
        rig
    }

    fn read_on(&mut self, topic: &str, number: u64) {
        let message = reading(topic, number, "x", self.now);
        self.input(Input::Append { message, token: None });
    }

    fn reads(&mut self, numbers: std::ops::RangeInclusive<u64>) {
        numbers.for_each(|number| self.read_on("data/a", number));
    }

    /// Which readings each message brought since `clear`, its identifier and DUP.
    fn shared(&self) -> Vec<(Vec<u64>, u16, bool)> {
        let numbers = |payload: &str| {
            let all: Vec<serde_json::Value> = serde_json::from_str(payload).unwrap();
            let number = |one: &serde_json::Value| one["seq"].as_str()?.strip_prefix("7-")?.parse().ok();
            all.iter().map(|one| number(one).unwrap()).collect()
        };
        self.records().into_iter().map(|(payload, id, dup)| (numbers(&payload), id, dup)).collect()
    }

    fn together(&self) -> Vec<Vec<u64>> {
        self.shared().into_iter().map(|(numbers, ..)| numbers).collect()
    }

    /// Acknowledges what was sent since `clear`, until nothing comes.
    fn ack_all(&mut self) -> Vec<Vec<u64>> {
        let mut all = Vec::new();
        loop {
            let sent = self.shared();
            self.clear();
            if sent.is_empty() {
                return all;
            }
            for (numbers, id, _) in sent {
                all.push(numbers);
                self.puback(id);
            }
        }
    }
}

#[test]
fn readings_of_a_topic_wait_for_each_other_until_they_are_enough() {
    let mut rig = Rig::batches(batched(BATCH, Version::V5));
    rig.reads(1..=2);
    rig.read_on("data/b", 1);
    assert_eq!(rig.together(), Vec::<Vec<u64>>::new());
    rig.reads(3..=3);
    let [(numbers, id, _)] = &rig.shared()[..] else { panic!("{:?}", rig.got) };
    assert_eq!(*numbers, [1, 2, 3]);
    assert_eq!((rig.status().inflight, rig.status().backlog_records), (1, 4));
    rig.puback(*id);
    assert_eq!((rig.status().delivered, rig.status().backlog_records), (3, 1));
}

#[test]
fn the_oldest_waits_no_longer_than_it_may() {
    let mut rig = Rig::batches(batched(BATCH, Version::V5));
    rig.reads(1..=1);
    rig.pass(9_000);
    rig.reads(2..=2);
    rig.pass(900);
    assert_eq!(rig.together(), Vec::<Vec<u64>>::new());
    rig.pass(200);
    assert_eq!(rig.together(), [[1, 2]]);
}

#[test]
fn what_waits_for_its_batch_is_written_as_ever() {
    let mut rig = Rig::batches(batched(BATCH, Version::V5));
    rig.reads(1..=2);
    rig.pass(1_100);
    let written = rig.done.iter().find_map(|output| match output {
        Output::Commit(records) => Some(records.len()),
        _ => None,
    });
    assert_eq!((written, rig.together().len()), (Some(2), 0));
}

#[test]
fn what_is_no_reading_goes_as_it_is_and_overtakes_none_of_its_topic() {
    let mut rig = Rig::batches(batched(BATCH, Version::V5));
    rig.reads(1..=2);
    rig.append("plain");
    let payloads = rig.payloads();
    assert_eq!(payloads.len(), 2);
    assert!(payloads[0].starts_with("[{") && payloads[1] == "plain", "{payloads:?}");
}

#[test]
fn a_backlog_waits_for_nothing_and_goes_in_order() {
    let mut rig = Rig::new(batched(BATCH, Version::V5), Backlog::default());
    rig.reads(1..=8);
    rig.connect(false);
    rig.ack_slot();
    assert_eq!(rig.ack_all(), [vec![1, 2, 3], vec![4, 5, 6], vec![7, 8]]);
    assert_eq!((rig.status().delivered, rig.status().backlog_records), (8, 0));
}

#[test]
fn a_message_is_no_larger_than_the_map_says_or_upstream_accepts() {
    let check = |bytes_max, limit: Option<u32>, expected: &[&[u64]]| {
        let config = batched(Batch { bytes_max, messages_max: 50, ..BATCH }, Version::V5);
        let mut rig = Rig::new(config, Backlog::default());
        for number in 1..=5 {
            let message = reading("data/a", number, &"x".repeat(100), rig.now);
            rig.input(Input::Append { message, token: None });
        }
        let limits = limit.map(|bytes| Property::U32(PropertyId::MaximumPacketSize, bytes));
        rig.connect_with(false, limits.as_slice());
        rig.ack_slot();
        let max = limit.map_or(bytes_max, |limit| usize::try_from(limit).unwrap() - 10);
        let all = rig.payloads();
        assert!(all.iter().all(|payload| payload.len() <= max.max(170)), "{all:?}");
        assert_eq!(rig.ack_all(), expected);
    };
    check(10_000, None, &[&[1, 2, 3, 4, 5]]);
    check(400, None, &[&[1, 2], &[3, 4], &[5]]);
    check(10_000, Some(600), &[&[1, 2, 3], &[4, 5]]);
    check(100, None, &[&[1], &[2], &[3], &[4], &[5]]);
}

#[test]
fn upstream_that_accepts_less_than_before_gets_them_singly() {
    let mut rig = Rig::batches(batched(Batch { messages_max: 4, ..BATCH }, Version::V5));
    rig.reads(1..=4);
    rig.cut();
    rig.connect_with(true, &[Property::U32(PropertyId::MaximumPacketSize, 250)]);
    rig.ack_status();
    assert_eq!(rig.ack_all(), [[1], [2], [3], [4]]);
    assert_eq!((rig.status().delivered, rig.status().drops.total()), (4, 0));
}

#[test]
fn after_a_cut_the_same_readings_come_under_the_same_identifier() {
    for kept in [true, false] {
        let mut rig = Rig::batches(batched(BATCH, Version::V5));
        rig.reads(1..=7);
        let before = rig.shared();
        rig.cut();
        rig.connect(kept);
        rig.ack_status();
        let again = rig.shared();
        assert_eq!(
            again[..2].iter().map(|(numbers, ..)| numbers.clone()).collect::<Vec<_>>(),
            [[1, 2, 3], [4, 5, 6]]
        );
        assert!(again[..2].iter().all(|(.., dup)| *dup == kept));
        if kept {
            assert!(before.iter().zip(&again).all(|(old, new)| old.1 == new.1), "{before:?} {again:?}");
        }
        assert_eq!(rig.status().resent, if kept { 6 } else { 0 });
        rig.ack_all();
        assert_eq!(rig.status().delivered, 7);
    }
}

#[test]
fn one_that_is_refused_takes_no_other_with_it() {
    let mut rig = Rig::batches(batched(BATCH, Version::V5));
    rig.reads(1..=3);
    let id = rig.shared()[0].1;
    rig.clear();
    rig.refuse(id, ReasonCode::PayloadFormatInvalid);
    assert_eq!(rig.together(), [[1], [2], [3]]);
    for (numbers, id, _) in rig.shared() {
        let reason = if numbers == [2] { ReasonCode::PayloadFormatInvalid } else { ReasonCode::Success };
        rig.refuse(id, reason);
    }
    let status = rig.status();
    assert_eq!((status.delivered, status.drops.refused, status.backlog_records), (2, 1, 0));
    let letters: Vec<String> =
        status.dead_letters.iter().map(|one| String::from_utf8(one.payload.to_vec()).unwrap()).collect();
    assert!(letters.len() == 1 && letters[0].contains(r#""seq":"7-2""#), "{letters:?}");
}

#[test]
fn a_message_that_upstream_closes_at_is_found_among_those_it_came_with() {
    let mut rig = Rig::batches(batched(BATCH, Version::V5));
    rig.reads(1..=3);
    let closes = [0xE0, 2, ReasonCode::PayloadFormatInvalid.as_u8(), 0];
    let mut alone = false;
    for _ in 0..10 {
        let mut at = 0;
        while let Some((numbers, id, _)) = rig.shared().get(at).cloned() {
            at += 1;
            alone |= numbers == [2];
            if !numbers.contains(&2) {
                rig.puback(id);
            }
        }
        if rig.together().iter().any(|numbers| numbers.contains(&2)) {
            rig.bytes(&closes);
            rig.attempt();
            rig.connect(false);
            rig.ack_status();
            rig.pass(5_100);
        }
    }
    let status = rig.status();
    assert!(alone, "never alone");
    assert_eq!((status.delivered, status.drops.refused, status.backlog_records), (2, 1, 0), "{status:?}");
}

#[test]
fn at_qos_0_they_share_a_message_too() {
    let mut config = batched(BATCH, Version::V311);
    config.maps[0].qos_max = QoS::AtMostOnce;
    let mut rig = Rig::batches(config);
    rig.reads(1..=3);
    assert_eq!(rig.shared(), [(vec![1, 2, 3], 0, false)]);
    assert_eq!((rig.status().delivered, rig.status().backlog_records), (3, 0));
}

#[test]
fn many_topics_wait_within_the_window_and_the_oldest_go_when_it_is_full() {
    let mut rig = Rig::batches(batched(BATCH, Version::V5));
    // A window of 4 with 3 in each.
    for topic in 0..11 {
        rig.read_on(&format!("data/{topic}"), topic);
    }
    assert_eq!(rig.together(), Vec::<Vec<u64>>::new());
    rig.read_on("data/11", 11);
    rig.read_on("data/12", 12);
    assert_eq!(rig.together(), [[0], [1], [2], [3]]);
    rig.ack_all();
    rig.pass(10_000);
    rig.ack_all();
    assert_eq!((rig.status().delivered, rig.status().backlog_records), (13, 0));
}

#[test]
fn what_is_too_old_joins_no_batch() {
    let mut config = batched(BATCH, Version::V5);
    config.maps[0].expiry = Some(Duration::from_secs(60));
    let mut rig = Rig::new(config, Backlog::default());
    rig.reads(1..=2);
    rig.pass(61_000);
    rig.attempt();
    rig.reads(3..=4);
    rig.connect(false);
    rig.ack_slot();
    assert_eq!(rig.ack_all(), [[3, 4]]);
    assert_eq!((rig.status().delivered, rig.status().drops.expired), (2, 2));
}

#[test]
fn a_receipt_counts_readings() {
    let config = Config { receipts: true, ..batched(BATCH, Version::V5) };
    let mut rig = Rig::batches(config);
    rig.input(Input::Closed { error: "connection reset" });
    rig.reads(1..=8);
    rig.attempt();
    rig.connect(false);
    rig.ack_status();
    rig.ack_all();
    let receipt: serde_json::Value =
        serde_json::from_str(rig.status().receipt.as_deref().expect("a receipt")).unwrap();
    assert_eq!((&receipt["stored"], &receipt["sent"]), (&8.into(), &8.into()), "{receipt}");
    assert_eq!((&receipt["devices"][0]["first"], &receipt["devices"][0]["last"]), (&1.into(), &8.into()));
}
