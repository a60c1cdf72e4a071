//! Scripts for commits, elision, reading back, and the clean stop.

use super::rig::Rig;
use super::upstream::{Got, pingresp};
use super::*;
use crate::record::{self, RecordNo, StoredRecord};

fn commits(rig: &Rig) -> Vec<Vec<u64>> {
    let numbers = |output: &Output| match output {
        Output::Commit(records) => Some(records.iter().map(|stored| stored.no.0).collect()),
        _ => None,
    };
    rig.done.iter().filter_map(numbers).collect()
}

fn safe(rig: &Rig) -> Vec<u64> {
    let tokens = |output: &Output| match output {
        Output::Safe(tokens) => tokens.iter().map(|token| token.0).collect(),
        _ => Vec::new(),
    };
    rig.done.iter().flat_map(tokens).collect()
}

fn acks(rig: &Rig) -> Vec<u64> {
    let ack = |output: &Output| if let Output::Ack { up_to, .. } = output { Some(up_to.0) } else { None };
    rig.done.iter().filter_map(ack).collect()
}

fn reads(rig: &Rig) -> Vec<u64> {
    let read = |output: &Output| if let Output::Read { from, .. } = output { Some(from.0) } else { None };
    rig.done.iter().filter_map(read).collect()
}

fn stored(no: u64) -> StoredRecord {
    StoredRecord { no: RecordNo(no), bytes: record::encode(&message("data/a", &no.to_string())) }
}

fn backlog(acked: u64, last: u64, records: u64) -> Backlog {
    let bytes = records * stored(1).bytes.len() as u64;
    Backlog {
        acked: RecordNo(acked),
        last: RecordNo(last),
        records,
        bytes,
        oldest: Some(at(0).wall),
        ..Backlog::default()
    }
}

/// Online, with what was sent so far acknowledged by `puback`.
fn ids(rig: &Rig) -> Vec<u16> {
    rig.publishes().iter().filter(|seen| !seen.retain).filter_map(|seen| seen.id).collect()
}

fn measure_round_trip(rig: &mut Rig, millis: u64) {
    for _ in 0..60 {
        rig.clear();
        rig.append("0");
        let id = ids(rig)[0];
        rig.pass(millis);
        rig.puback(id);
    }
    rig.clear();
}

#[test]
fn a_commit_is_due_when_something_waits_long_enough() {
    // State, whether a token waits, and after how many milliseconds the commit comes.
    type Prepare = fn() -> Rig;
    let offline: Prepare = || {
        let mut rig = Rig::new(config(Version::V311), Backlog::default());
        rig.clear();
        rig
    };
    let long_offline: Prepare = || {
        let mut rig = Rig::new(config(Version::V311), Backlog::default());
        rig.pass(60_000);
        rig.clear();
        rig
    };
    let online: Prepare = || {
        let mut config = config(Version::V311);
        config.commit_interval = Duration::from_secs(2);
        let mut rig = Rig::new(config, Backlog::default());
        rig.connect(false);
        rig.clear();
        rig
    };
    let fast: Prepare = || {
        let mut rig = Rig::online(Version::V311);
        measure_round_trip(&mut rig, 20);
        rig
    };
    let slow: Prepare = || {
        let mut rig = Rig::online(Version::V311);
        measure_round_trip(&mut rig, 900);
        rig
    };
    let rows: [(&str, Prepare, bool, u64); 8] = [
        ("offline", offline, false, 1000),
        ("offline", offline, true, 250),
        ("long offline", long_offline, false, 1000),
        ("long offline", long_offline, true, 1000),
        ("online, no round trip yet", online, false, 2000),
        ("online, no round trip yet", online, true, 250),
        ("online, 20 ms", fast, true, 80),
        ("online, 900 ms", slow, true, 1000),
    ];
    for (name, prepare, token, expected) in rows {
        let mut rig = prepare();
        if token {
            rig.append_token("x", 1)
        } else {
            rig.append("x")
        }
        let begun = rig.now.mono;
        for _ in 0..3000 {
            if !commits(&rig).is_empty() {
                break;
            }
            rig.pass(1);
        }
        let took = rig.now.mono.since(begun).as_millis() as u64;
        assert!((expected..=expected + expected / 20).contains(&took), "{name}, token {token}: {took} ms");
        assert_eq!(safe(&rig), [0; 0]);
        let up_to = RecordNo(commits(&rig)[0][0]);
        rig.input(Input::Committed { up_to });
        assert_eq!(safe(&rig).len(), usize::from(token));
    }
}

#[test]
fn what_upstream_acknowledges_in_time_is_never_written() {
    let mut rig = Rig::online(Version::V311);
    rig.append_token("1", 1);
    rig.append_token("2", 2);
    let ids = ids(&rig);
    // Out of order: the second is safe, but stays behind the first.
    rig.puback(ids[1]);
    assert_eq!(safe(&rig), [2]);
    assert_eq!((rig.status().elided, rig.status().backlog_records, rig.status().unsafe_records), (0, 1, 1));
    rig.puback(ids[0]);
    assert_eq!(safe(&rig), [2, 1]);
    assert_eq!((rig.status().elided, rig.status().delivered, rig.status().unsafe_records), (2, 2, 0));
    rig.pass(10_000);
    assert_eq!((commits(&rig), acks(&rig)), (Vec::<Vec<u64>>::new(), vec![]));
}

#[test]
fn a_record_behind_one_that_waits_is_written_with_it() {
    let mut rig = Rig::online(Version::V311);
    for n in 1..=3 {
        rig.append(&n.to_string());
    }
    let ids = ids(&rig);
    rig.puback(ids[1]);
    rig.pass(1000);
    assert_eq!(commits(&rig), [[1, 2, 3]]);
    // Delivered while the commit is under way: neither elided nor yet to be acknowledged.
    rig.puback(ids[0]);
    assert_eq!((rig.status().elided, acks(&rig)), (0, vec![]));
    rig.input(Input::Committed { up_to: RecordNo(3) });
    assert_eq!(acks(&rig), [2]);
    rig.puback(ids[2]);
    assert_eq!(acks(&rig), [2, 3]);
}

#[test]
fn a_failing_store_is_told_once_and_asked_again_ever_more_slowly() {
    let patient = Config { ack_timeout: Duration::from_secs(600), ..config(Version::V311) };
    let mut rig = Rig::new(patient, Backlog::default());
    rig.connect(false);
    rig.ack_slot();
    rig.clear();
    rig.append_token("1", 1);
    let ids = ids(&rig);
    rig.pass(250);
    let mut waits = Vec::new();
    for _ in 0..7 {
        assert_eq!(commits(&rig), [[1]]);
        let notices = rig.notices().len();
        rig.input(Input::CommitFailed { error: "no space left" });
        if !waits.is_empty() {
            assert_eq!(rig.notices().len(), notices, "told again");
        }
        rig.done.retain(|output| !matches!(output, Output::Commit(_)));
        let begun = rig.now.mono;
        while commits(&rig).is_empty() {
            rig.pass(500);
            rig.bytes(&pingresp(Version::V311));
            if rig.now.mono.since(begun) > Duration::from_secs(29) {
                break;
            }
        }
        waits.push(rig.now.mono.since(begun).as_secs());
        if commits(&rig).is_empty() {
            break;
        }
    }
    assert_eq!(waits[..4], [1, 2, 4, 8]);
    let failing = Notice::StoreFailing { error: "no space left".into() };
    assert_eq!(rig.notices().iter().filter(|notice| **notice == failing).count(), 1);
    let degraded = |seen: &super::upstream::Seen| seen.payload.contains("degraded");
    assert!(rig.publishes().iter().any(degraded), "the status topic says so");
    // Upstream saves what the store can't.
    rig.puback(ids[0]);
    assert_eq!(safe(&rig), [1]);
}

#[test]
fn memory_is_bounded_when_the_store_fails_and_the_oldest_go() {
    let mut rig = Rig::new(config(Version::V311), Backlog::default());
    rig.clear();
    let payload = "x".repeat(1000);
    for n in 1..=200 {
        rig.append_token(&payload, n);
        if !commits(&rig).is_empty() {
            rig.input(Input::CommitFailed { error: "read-only" });
            rig.done.retain(|output| !matches!(output, Output::Commit(_)));
        }
        assert!(rig.bridge.streams.get(0).queue.memory_bytes() <= 64 * 1024);
    }
    let status = rig.status();
    assert_eq!(status.backlog_records + status.drops.memory_full, 200);
    assert!(status.drops.memory_full > 100);
    assert_eq!(
        rig.notices().iter().filter(|n| matches!(n, Notice::Dropping { reason: "memory_full" })).count(),
        1
    );
    assert_eq!(safe(&rig), [0; 0], "nothing lost is called safe");
    let refused: Vec<u64> = rig
        .done
        .iter()
        .filter_map(|output| match output {
            Output::Refused(tokens) => Some(tokens.iter().map(|token| token.0)),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(refused, (1..=status.drops.memory_full).collect::<Vec<_>>(), "whoever waits is told");
    rig.pass(30_000);
    let up_to = RecordNo(*commits(&rig)[0].last().unwrap());
    rig.input(Input::Committed { up_to });
    assert_eq!(safe(&rig).len() as u64, status.backlog_records);
    assert!(rig.notices().contains(&Notice::StoreWorks));
}

#[test]
fn a_backlog_is_read_in_order_before_what_is_new() {
    let mut rig = Rig::new(config(Version::V311), backlog(10, 14, 3));
    assert_eq!((rig.status().backlog_records, rig.status().unsafe_records), (3, 0));
    rig.pass(5000);
    assert_eq!(rig.status().backlog_oldest, Some(Duration::from_secs(5)));
    assert_eq!(reads(&rig), [0; 0], "nothing is read while upstream is away");
    rig.append("new");
    rig.connect(false);
    assert_eq!(reads(&rig), [11]);
    // A gap is normal: it was elided in an earlier start.
    rig.input(Input::Read { from: RecordNo(11), records: vec![stored(12), stored(13)] });
    assert_eq!(rig.payloads(), ["12", "13"]);
    assert_eq!(reads(&rig), [11, 14]);
    rig.input(Input::Read { from: RecordNo(14), records: vec![stored(14)] });
    assert_eq!(rig.payloads(), ["12", "13", "14", "new"]);
    for id in ids(&rig) {
        rig.puback(id);
    }
    assert_eq!(rig.status().backlog_records, 0);
    assert_eq!(rig.status().drops, Drops::default());
    assert_eq!(acks(&rig).last(), Some(&15));
}

#[test]
fn damaged_and_missing_records_are_counted_and_stop_nothing() {
    let mut rig = Rig::new(config(Version::V311), backlog(0, 5, 5));
    rig.connect(false);
    let damaged = StoredRecord { no: RecordNo(2), bytes: Bytes::from_static(b"\xFFgarbage") };
    rig.input(Input::Read { from: RecordNo(1), records: vec![stored(1), damaged, stored(3)] });
    assert_eq!(rig.status().drops.damaged, 1);
    rig.append("new");
    // Nothing where two should be: asked again, in case the disk had a hiccup; then given up.
    for _ in 0..3 {
        assert_eq!(reads(&rig).last(), Some(&4));
        rig.done.clear();
        rig.input(Input::Read { from: RecordNo(4), records: vec![] });
        rig.pass(1000);
    }
    assert_eq!(rig.status().drops.damaged, 3);
    assert_eq!(rig.payloads(), ["1", "3", "new"]);
}

#[test]
fn what_the_store_drops_is_counted_and_what_is_in_flight_still_goes() {
    let mut rig = Rig::new(config(Version::V311), backlog(0, 20, 20));
    rig.connect(false);
    rig.input(Input::Read { from: RecordNo(1), records: (1..=4).map(stored).collect() });
    assert_eq!(rig.payloads(), ["1", "2", "3", "4"]);
    rig.puback(ids(&rig)[0]);
    rig.input(Input::Read { from: RecordNo(5), records: (5..=7).map(stored).collect() });
    assert_eq!(rig.payloads().last().unwrap(), "5");
    // Up to 10: one is done, four are in flight, two were read, three are only on disk.
    let bytes = 10 * stored(1).bytes.len() as u64;
    rig.input(Input::Dropped { up_to: RecordNo(10), records: 10, bytes, expired: 0, purged: 0 });
    assert_eq!(rig.status().drops.disk_full, 5);
    assert_eq!(rig.status().backlog_records, 14);
    assert!(rig.notices().contains(&Notice::Dropping { reason: "disk_full" }));
    rig.clear();
    for id in [2, 3, 4, 5, 6, 7] {
        rig.puback(id);
    }
    assert_eq!(rig.status().backlog_records, 10);
    assert_eq!(reads(&rig).last(), None, "the read before was not answered yet");
    rig.input(Input::Read { from: RecordNo(8), records: (11..=12).map(stored).collect() });
    assert_eq!(rig.payloads(), ["11", "12"]);
}

#[test]
fn acknowledgements_reach_the_store_at_most_once_a_second_while_draining() {
    let mut rig = Rig::new(config(Version::V311), backlog(0, 100, 100));
    rig.connect(false);
    rig.input(Input::Read { from: RecordNo(1), records: (1..=100).map(stored).collect() });
    let mut next = 0;
    for _ in 0..99 {
        let id = ids(&rig)[next];
        next += 1;
        rig.puback(id);
        rig.pass(30);
    }
    let told = acks(&rig);
    assert!((3..=4).contains(&told.len()), "{told:?}");
    let id = ids(&rig)[next];
    rig.puback(id);
    assert_eq!(acks(&rig).last(), Some(&100), "when nothing waits, at once");
}

#[test]
fn a_clean_stop_says_offline_and_leaves_everything_written() {
    for version in [Version::V311, Version::V5] {
        let mut rig = Rig::online(version);
        rig.append_token("1", 1);
        rig.clear();
        rig.input(Input::Stop);
        let farewell = rig.publishes().pop().unwrap();
        for word in [r#""state":"offline""#, r#""epoch":"7-1""#, r#""reason":"stopped""#] {
            assert!(farewell.payload.contains(word), "{}", farewell.payload);
        }
        assert!(farewell.retain && farewell.topic == "fieldgate/gw/status");
        assert_eq!(commits(&rig), [[1]]);
        rig.puback(farewell.id.unwrap());
        assert_eq!(rig.got.last(), Some(&Got::Disconnect(ReasonCode::Success)));
        assert!(!rig.done.contains(&Output::Stopped));
        rig.input(Input::Committed { up_to: RecordNo(1) });
        assert_eq!(rig.done.last(), Some(&Output::Stopped));
        assert_eq!(safe(&rig), [1]);
        assert_eq!((rig.status().state, rig.status().unsafe_records), (LinkState::Stopped, 0));
        assert_eq!(rig.bridge.next_deadline(), None);
    }
}

#[test]
fn a_stop_ends_in_time_whatever_is_dead() {
    // Upstream answers nothing, the store answers nothing.
    for version in [Version::V311, Version::V5] {
        let mut rig = Rig::online(version);
        rig.append("1");
        rig.clear();
        rig.input(Input::Stop);
        rig.pass(1999);
        assert!(!rig.done.contains(&Output::Close));
        rig.pass(1);
        assert!(rig.done.contains(&Output::Close));
        // Nobody acknowledged the offline status: the will must say it.
        let disconnects: Vec<_> = rig.got.iter().filter(|got| matches!(got, Got::Disconnect(_))).collect();
        match version {
            Version::V5 => assert_eq!(disconnects, [&Got::Disconnect(ReasonCode::DisconnectWithWillMessage)]),
            _ => assert_eq!(disconnects, [&Got::Ping; 0]),
        }
        rig.pass(1000);
        assert_eq!(rig.done.last(), Some(&Output::Stopped));
        assert_eq!(rig.status().unsafe_records, 1);
    }
    // Not connected, nothing to write: at once.
    let mut rig = Rig::new(config(Version::V311), Backlog::default());
    rig.input(Input::Stop);
    assert_eq!(rig.done, [Output::Connect { address: 0 }, Output::Close, Output::Stopped]);
}
