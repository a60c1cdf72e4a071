//! How a backlog drains: shares, pace, what is too old.

use super::rig::Rig;
use super::*;
use crate::mqtt::{Property, PropertyId};
use crate::ranges::Ranges;
use crate::record::{self, RecordNo, StoredRecord};

const V5: Version = Version::V5;

/// Offline with `count` records, `b1` …, then online with the birth acknowledged.
fn drained_from(config: Config, count: usize) -> Rig {
    let mut rig = Rig::new(config, Backlog::default());
    for n in 1..=count {
        rig.append(&format!("b{n}"));
    }
    rig.connect(false);
    rig.ack_slot();
    rig
}

/// Acknowledges what is on its way, in order, until `count` records were sent in all.
fn flow(rig: &mut Rig, count: usize) {
    let mut answered = 0;
    while rig.records().len() < count {
        let id = rig.records().get(answered).expect("something is on its way").1;
        answered += 1;
        rig.puback(id);
    }
}

fn interleaved(share: u8) -> Config {
    Config { drain: DrainOrder::Interleave, live_share: share, ..config(V5) }
}

#[test]
fn live_messages_have_their_share_while_a_backlog_drains() {
    for (share, expected) in [(50, 20), (25, 10), (90, 36)] {
        let mut rig = drained_from(interleaved(share), 100);
        for n in 1..=100 {
            rig.append(&format!("l{n}"));
        }
        flow(&mut rig, 44);
        let payloads = rig.payloads();
        let live: Vec<_> = payloads[4..].iter().filter(|payload| payload.starts_with('l')).collect();
        assert!(live.len().abs_diff(expected) <= 1, "{share} %: {payloads:?}");
        // In order among themselves, and so is the backlog.
        for (lane, start) in [('b', 1), ('l', 1)] {
            let numbers = payloads.iter().filter_map(|payload| payload.strip_prefix(lane));
            let numbers: Vec<usize> = numbers.map(|number| number.parse().unwrap()).collect();
            assert_eq!(numbers, (start..start + numbers.len()).collect::<Vec<_>>());
        }
        flow(&mut rig, 200);
        let ids: Vec<u16> = rig.records().iter().map(|(_, id, _)| *id).collect();
        for id in &ids[196..] {
            rig.puback(*id);
        }
        let status = rig.status();
        assert_eq!((status.backlog_records, status.delivered), (0, 200), "{status:?}");
    }
}

#[test]
fn oldest_first_keeps_live_messages_behind_the_backlog() {
    let mut rig = drained_from(config(V5), 20);
    rig.append("l1");
    flow(&mut rig, 21);
    assert_eq!(rig.payloads()[20], "l1");
}

#[test]
fn a_live_message_that_is_done_is_never_written_while_the_backlog_is() {
    let mut rig = drained_from(interleaved(50), 20);
    rig.append("l1");
    let ids: Vec<u16> = rig.records().iter().map(|(_, id, _)| *id).collect();
    rig.puback(ids[0]);
    let (_, id, _) =
        rig.records().into_iter().find(|(payload, ..)| payload == "l1").expect("it has its share");
    rig.puback(id);
    rig.pass(1_000);
    let committed = rig.done.iter().find_map(|output| match output {
        Output::Commit(records) => Some(records.clone()),
        _ => None,
    });
    let numbers: Vec<u64> = committed.unwrap().iter().map(|stored| stored.no.0).collect();
    assert_eq!(numbers, (2..=20).collect::<Vec<_>>());
    assert!(!rig.done.contains(&Output::Ack { up_to: RecordNo(21), beyond: Ranges::default() }));
}

#[test]
fn what_is_retained_upstream_is_not_overwritten_by_an_interleaved_backlog() {
    for (drain, expected) in
        [(DrainOrder::Interleave, [false, true]), (DrainOrder::OldestFirst, [true, true])]
    {
        let mut rig = Rig::new(Config { drain, ..config(V5) }, Backlog::default());
        let retained = |payload: &str| Message { retain: true, ..message("data/a", payload) };
        rig.input(Input::Append { message: retained("b1"), token: None });
        rig.connect(false);
        rig.input(Input::Append { message: retained("l1"), token: None });
        let seen = rig.publishes().into_iter().filter(|seen| seen.topic == "data/a");
        let seen: Vec<(String, bool)> = seen.map(|seen| (seen.payload, seen.retain)).collect();
        assert_eq!(seen, [("b1".to_owned(), expected[0]), ("l1".to_owned(), expected[1])], "{drain:?}");
    }
}

#[test]
fn a_backlog_keeps_its_pace_and_what_comes_behind_it_does_not_have_to() {
    let mut config = Config { inflight_max: 100, ..config(V5) };
    config.drain_messages_max = Some(10);
    let mut rig = drained_from(config, 30);
    let burst = rig.records().len();
    assert!(burst <= 2, "{burst}");
    rig.pass(1_000);
    assert!((10..=12).contains(&rig.records().len()), "{}", rig.records().len());
    rig.pass(2_000);
    assert_eq!(rig.records().len(), 30);
    for n in 1..=30 {
        rig.append(&format!("l{n}"));
    }
    assert_eq!(rig.records().len(), 60, "what is live has no pace");

    // By bytes: a record of about 100 bytes, 1,000 bytes a second.
    let mut config = Config { inflight_max: 100, ..super::config(V5) };
    config.drain_bytes_max = Some(1_000);
    let mut rig = Rig::new(config, Backlog::default());
    for _ in 0..30 {
        rig.append(&"x".repeat(78));
    }
    rig.connect(false);
    rig.ack_slot();
    rig.pass(1_000);
    assert!((8..=13).contains(&rig.records().len()), "{}", rig.records().len());
}

#[test]
fn what_is_older_than_its_map_allows_is_dropped_and_counted_from_memory_and_from_disk() {
    let expiring = || {
        let map = Mapping { expiry: Some(Duration::from_secs(60)), ..mapping("data/#", "", "") };
        Config { maps: vec![map], ..config(V5) }
    };
    let mut rig = Rig::new(expiring(), Backlog::default());
    rig.append_token("old", 1);
    rig.pass(61_000);
    rig.append("new");
    rig.attempt();
    rig.connect(false);
    assert_eq!(rig.payloads(), ["new"]);
    assert_eq!(rig.status().drops.expired, 1);
    assert_eq!(rig.status().backlog_records, 1);

    let now = at(0).wall;
    let stored = |no: u64, payload: &str, age_s: Option<u64>| StoredRecord {
        no: RecordNo(no),
        bytes: record::encode_at(
            &message("data/a", payload),
            age_s.map(|age| now.minus(Duration::from_secs(age))),
        ),
    };
    let records = vec![stored(1, "old", Some(100)), stored(2, "undated", None), stored(3, "new", Some(10))];
    let bytes = records.iter().map(|stored| stored.bytes.len() as u64).sum();
    let backlog = Backlog { last: RecordNo(3), records: 3, bytes, oldest: Some(now), ..Backlog::default() };
    let mut rig = Rig::new(expiring(), backlog);
    rig.connect(false);
    rig.input(Input::Read { from: RecordNo(1), records });
    assert_eq!(rig.payloads(), ["undated", "new"]);
    assert_eq!(rig.status().drops.expired, 1);
}

#[test]
fn what_has_high_priority_goes_before_a_backlog_and_before_what_came_earlier() {
    let urgent = |config: Config| {
        let high = Mapping { high: true, ..mapping("data/alarm", "", "") };
        Config { maps: vec![high, mapping("data/#", "", "")], ..config }
    };
    let alarm = |payload: &str| Input::Append { message: message("data/alarm", payload), token: None };
    for base in [config(V5), interleaved(50)] {
        let mut rig = Rig::new(urgent(base), Backlog::default());
        for n in 1..=10 {
            rig.append(&format!("b{n}"));
        }
        rig.input(alarm("a1"));
        rig.append("b11");
        rig.input(alarm("a2"));
        rig.connect(false);
        rig.ack_slot();
        assert_eq!(rig.payloads(), ["a1", "a2", "b1", "b2"]);
        rig.input(alarm("a3"));
        flow(&mut rig, 6);
        assert_eq!(rig.payloads()[4], "a3");
        flow(&mut rig, 14);
        let ids: Vec<u16> = rig.records().iter().map(|(_, id, _)| *id).collect();
        for id in &ids[10..] {
            rig.puback(*id);
        }
        assert_eq!((rig.status().backlog_records, rig.status().delivered), (0, 14));
    }
}

#[test]
fn what_has_high_priority_goes_also_when_the_days_bytes_are_used_up() {
    let high = Mapping { high: true, ..mapping("data/alarm", "", "") };
    let maps = vec![high, mapping("data/#", "", "")];
    let mut rig = Rig::new(Config { maps, bytes_per_day_max: Some(100), ..config(V5) }, Backlog::default());
    rig.connect(false);
    rig.ack_slot();
    rig.append("waits");
    assert_eq!(rig.payloads(), [""; 0]);
    rig.input(Input::Append { message: message("data/alarm", "goes"), token: None });
    assert_eq!(rig.payloads(), ["goes"]);
}

fn newest_first() -> Config {
    Config { drain: DrainOrder::NewestFirst, ..config(V5) }
}

/// What the store was last told to be done: up to where, and what behind that.
fn told(rig: &Rig) -> Option<(u64, Ranges)> {
    rig.done.iter().rev().find_map(|output| match output {
        Output::Ack { up_to, beyond } => Some((up_to.0, beyond.clone())),
        _ => None,
    })
}

#[test]
fn the_newest_go_first_and_what_is_live_before_all_of_them() {
    let mut rig = drained_from(newest_first(), 20);
    assert_eq!(rig.payloads(), ["b20", "b19", "b18", "b17"], "as many as may be on their way");
    rig.append("l1");
    rig.append("l2");
    flow(&mut rig, 22);
    let mut expected: Vec<String> = vec!["b20".into(), "b19".into(), "b18".into(), "b17".into()];
    expected.extend(["l1".into(), "l2".into()]);
    expected.extend((1..=16).rev().map(|n| format!("b{n}")));
    assert_eq!(rig.payloads(), expected);
}

#[test]
fn the_store_is_told_what_is_done_out_of_turn_and_a_restart_sends_only_the_rest() {
    let stored = |no: u64| StoredRecord {
        no: RecordNo(no),
        bytes: record::encode(&message("data/a", &format!("b{no}"))),
    };
    let bytes = (1..=20).map(|no| stored(no).bytes.len() as u64).sum();
    let backlog = Backlog { last: RecordNo(20), records: 20, bytes, ..Backlog::default() };
    let mut rig = Rig::new(newest_first(), backlog);
    rig.connect(false);
    rig.ack_slot();
    let asked = |rig: &Rig| {
        rig.done.iter().rev().find_map(|output| match output {
            Output::ReadBack { before, .. } => Some(*before),
            _ => None,
        })
    };
    assert_eq!(asked(&rig), Some(RecordNo(21)));
    rig.input(Input::ReadBack { before: RecordNo(21), records: (9..=20).rev().map(stored).collect() });
    flow(&mut rig, 8);
    assert_eq!(rig.payloads().last().unwrap(), "b13");
    rig.pass(1_000);
    // 13 to 16 are on their way.
    assert_eq!(told(&rig), Some((0, [(17, 20)].into_iter().collect())));

    let beyond: Ranges = [(17, 20)].into_iter().collect();
    let records = 16;
    let backlog =
        Backlog { beyond, last: RecordNo(20), records, bytes: bytes / 20 * 16, ..Backlog::default() };
    let mut rig = Rig::new(newest_first(), backlog);
    rig.connect(false);
    rig.ack_slot();
    assert_eq!(asked(&rig), Some(RecordNo(17)), "it goes on below what is done");
    rig.input(Input::ReadBack { before: RecordNo(17), records: (1..=16).rev().map(stored).collect() });
    flow(&mut rig, 16);
    let ids: Vec<u16> = rig.records().iter().map(|(_, id, _)| *id).collect();
    for id in &ids[12..] {
        rig.puback(*id);
    }
    assert_eq!(rig.payloads(), (1..=16).rev().map(|n| format!("b{n}")).collect::<Vec<_>>());
    assert_eq!(told(&rig), Some((20, Ranges::default())), "the cursor runs over what was done before");
    assert_eq!(rig.status().backlog_records, 0);
}

#[test]
fn a_record_that_stays_unanswered_holds_back_only_what_would_come_twice_without_bound() {
    let mut rig = drained_from(
        Config {
            inflight_max: 5,
            ack_timeout: Duration::from_secs(600),
            memory_bytes_max: 16 << 20,
            ..newest_first()
        },
        9_000,
    );
    let first = rig.records()[0].1;
    let mut answered = 1;
    while let Some((_, id, _)) = rig.records().get(answered).cloned() {
        answered += 1;
        assert_ne!(id, first);
        rig.puback(id);
    }
    let sent = rig.records().len();
    assert!((4_090..=4_110).contains(&sent), "{sent}");
    rig.puback(first);
    assert!(rig.records().len() > sent, "it goes on");
}

#[test]
fn what_a_publisher_gave_a_time_to_live_goes_with_the_rest_of_it_and_not_when_it_is_over() {
    let mortal = |payload: &str, seconds: u32| {
        let mut properties = PropertiesBuf::new();
        properties.push(Property::U32(PropertyId::MessageExpiryInterval, seconds));
        properties.push(Property::Str(PropertyId::ContentType, "x"));
        Message { properties, ..message("data/a", payload) }
    };
    let mut rig = Rig::new(config(V5), Backlog::default());
    for (payload, seconds) in [("a", 5), ("b", 60), ("c", 3_600)] {
        rig.input(Input::Append {
            message: mortal(payload, seconds),
            token: Some(SafeToken(u64::from(seconds))),
        });
    }
    rig.append("for ever");
    rig.pass(20_500);
    rig.connect(false);
    rig.ack_slot();
    let left = |rig: &Rig| -> Vec<(String, Option<u32>)> {
        let seen = rig.publishes().into_iter().filter(|seen| seen.topic == "data/a");
        seen.map(|seen| (seen.payload, seen.expiry)).collect()
    };
    let expected = [("b".to_owned(), Some(40)), ("c".to_owned(), Some(3_580)), ("for ever".to_owned(), None)];
    assert_eq!(left(&rig), expected);
    assert_eq!((rig.status().drops.expired, rig.status().backlog_records), (1, 3));

    // On its way when the link went: upstream may have had it, so it goes again, with nothing left at last.
    rig.input(Input::Closed { error: "gone" });
    rig.clear();
    rig.pass(50_000);
    rig.attempt();
    rig.connect(true);
    rig.ack_slot();
    assert_eq!(left(&rig)[0], ("b".to_owned(), Some(0)));
    // Where upstream has forgotten us, it is a new message, and its time is over.
    let mut rig = Rig::new(config(V5), Backlog::default());
    rig.connect(false);
    rig.ack_slot();
    rig.input(Input::Append { message: mortal("d", 5), token: None });
    assert_eq!(left(&rig), [("d".to_owned(), Some(5))]);
    rig.input(Input::Closed { error: "gone" });
    rig.clear();
    rig.pass(20_000);
    rig.attempt();
    rig.connect(false);
    rig.ack_slot();
    assert_eq!((left(&rig), rig.status().drops.expired), (Vec::new(), 1));
}

#[test]
fn live_records_that_were_written_while_a_backlog_drains_do_not_come_again_after_a_crash() {
    let mut rig = drained_from(interleaved(90), 20);
    for n in 1..=3 {
        rig.append(&format!("l{n}"));
    }
    rig.pass(1_000);
    let up_to = rig.done.iter().rev().find_map(|output| match output {
        Output::Commit(records) => records.last().map(|last| last.no),
        _ => None,
    });
    rig.input(Input::Committed { up_to: up_to.unwrap() });
    let ids = rig.records();
    let of = |wanted: &str| ids.iter().find(|(payload, ..)| payload == wanted).map(|(_, id, _)| *id);
    rig.puback(of("b1").unwrap());
    let live: Vec<u16> =
        rig.records().iter().filter(|(payload, ..)| payload.starts_with('l')).map(|(_, id, _)| *id).collect();
    assert!(!live.is_empty(), "{:?}", rig.payloads());
    rig.puback(live[0]);
    rig.pass(1_000);
    let (acked, beyond) = told(&rig).unwrap();
    assert_eq!(acked, 1);
    assert!(beyond.contains(21) && beyond.count_within(2, 20) == 0, "{beyond:?}");
}

#[test]
fn a_purge_in_the_middle_of_a_newest_first_drain_counts_what_was_not_on_its_way() {
    let stored = |no: u64| StoredRecord {
        no: RecordNo(no),
        bytes: record::encode(&message("data/a", &format!("b{no}"))),
    };
    let bytes = (1..=20).map(|no| stored(no).bytes.len() as u64).sum();
    let backlog = Backlog { last: RecordNo(20), records: 20, bytes, ..Backlog::default() };
    let mut rig = Rig::new(newest_first(), backlog);
    rig.connect(false);
    rig.ack_slot();
    rig.input(Input::ReadBack { before: RecordNo(21), records: (9..=20).rev().map(stored).collect() });
    let id = rig.records()[0].1;
    rig.puback(id);
    // 20 is done, 16 to 19 are on their way, 9 to 15 were read, 1 to 8 are on disk only.
    rig.input(Input::Purge { before: None });
    assert_eq!(told(&rig), Some((0, [(20, 20)].into_iter().collect())));
    rig.input(Input::Purged);
    rig.input(Input::Dropped { up_to: RecordNo(20), records: 19, bytes, expired: 0, purged: 19 });
    let status = rig.status();
    assert_eq!((status.drops.purged, status.backlog_records, status.drops.damaged), (15, 4, 0), "{status:?}");
    let ids: Vec<u16> = rig.records().iter().map(|(_, id, _)| *id).collect();
    for id in &ids[1..] {
        rig.puback(*id);
    }
    rig.append("l1");
    assert_eq!(rig.payloads(), ["b20", "b19", "b18", "b17", "b16", "l1"]);
    assert_eq!((rig.status().delivered, rig.status().backlog_records), (5, 1));
}
