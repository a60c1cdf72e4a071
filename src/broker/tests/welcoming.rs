//! CONNACK waits for the disk exactly where it promises something that must be there, and nothing overtakes it.

use super::persistence::Kept;
use super::*;

/// Sends a CONNECT. Whether its CONNACK waits for the disk.
fn waits(k: &mut Kept, c: u32, connect: Connect<'_>) -> bool {
    k.bench.open(c);
    k.bench.send(c, Packet::Connect(connect));
    k.bench.paused.contains(&c)
}

/// Has the next batch written and acknowledged.
fn commit(k: &mut Kept) {
    k.wait(millis(200));
    let number = k.write().expect("a batch");
    k.bench.handle(Input::Persisted { number });
}

fn with_will(connect: Connect<'_>) -> Connect<'_> {
    Connect { will: will("w", "gone"), ..connect }
}

/// What a client had: nothing, or a session that was made so and is on disk; then what it asks for, and whether that
/// waits.
#[test]
fn connack_waits_where_it_promises_something_that_is_not_on_disk() {
    type Made = fn() -> Connect<'static>;
    let rows: [(Option<Made>, Made, bool); 12] = [
        (None, || connect(V311, "c"), false),
        (None, || connect(V5, "c"), false),
        (None, || resume(V311, "c"), true),
        (None, || resume(V5, "c"), true),
        (None, || with_will(connect(V311, "c")), true),
        (Some(|| resume(V5, "c")), || resume(V5, "c"), false),
        (Some(|| resume(V311, "c")), || resume(V311, "c"), false),
        (Some(|| resume(V311, "c")), || connect(V311, "c"), true),
        (Some(|| resume(V5, "c")), || resume_for(V5, "c", 60), true),
        (Some(|| resume(V5, "c")), || resume_for(V5, "c", 0), true),
        (Some(|| resume(V5, "c")), || with_will(resume(V5, "c")), true),
        (Some(|| with_will(resume(V5, "c"))), || resume(V5, "c"), true),
    ];
    for (number, (before, after, expected)) in rows.into_iter().enumerate() {
        for still_connected in [false, true] {
            let mut k = Kept::new();
            if let Some(before) = before {
                k.join(1, before());
                k.settle();
                if !still_connected {
                    k.bench.disconnect(1);
                    k.settle();
                }
            }
            // A will that was taken back with DISCONNECT is not there any more.
            let expected = expected && (number != 11 || still_connected);
            assert_eq!(waits(&mut k, 2, after()), expected, "row {number}, connected: {still_connected}");
            if expected {
                k.bench.nothing(2);
                commit(&mut k);
            }
            k.bench.welcomed(2);
            let stays = after().clean_start
                || after().properties.number(PropertyId::SessionExpiryInterval) == Some(0);
            if !expected {
                continue;
            }
            // What CONNACK has said holds from then on.
            k.crash();
            k.bench.join(3, connect(V311, "watcher"));
            k.bench.subscribe(3, "w", Q0);
            let stats = k.bench.broker.stats();
            assert_eq!(stats.sessions_offline, u64::from(!stays), "row {number}");
        }
    }
}

#[test]
fn a_will_goes_out_after_a_crash_that_comes_right_behind_connack() {
    let mut k = Kept::new();
    k.sleeper(V311, Q1);
    let will = Some(Will { qos: Q1, ..will("t/w", "gone").unwrap() });
    assert!(waits(&mut k, 2, Connect { will, ..connect(V5, "willed") }));
    commit(&mut k);
    k.bench.welcomed(2);
    k.crash();
    k.settle();
    assert!(k.join(1, resume(V311, "sleeper")));
    k.bench.expect(1, message("t/w", Q1, 1, "gone"));
}

#[test]
fn nothing_overtakes_a_connack_that_waits() {
    let mut k = Kept::new();
    k.sleeper(V5, Q1);
    k.bench.join(9, connect(V5, "publisher"));
    k.bench.send(9, message("t/a", Q1, 1, "first"));
    k.settle();
    k.bench.expect(9, puback(1));
    assert!(waits(&mut k, 1, with_will(resume(V5, "sleeper"))));
    // It need not wait for CONNACK with what it sends (3.1.4-5).
    k.bench.send(1, Packet::PingReq);
    k.bench.send(1, message("t/b", Q1, 7, "own"));
    for (qos, id) in [(Q0, 0), (Q1, 2)] {
        k.bench.send(9, message("t/a", qos, id, "second"));
    }
    k.bench.nothing(1);
    commit(&mut k);
    assert!(k.bench.welcomed(1));
    k.bench.expect(1, message("t/a", Q1, 1, "first"));
    k.bench.expect(1, message("t/a", Q1, 2, "second"));
    k.bench.expect(1, Packet::PingResp);
    k.bench.expect(1, message("t/b", Q1, 3, "own"));
    for id in 1..=3 {
        k.bench.send(1, puback(id));
    }
    k.bench.expect(1, puback(7));
    k.bench.expect(9, puback(2));
    assert!(k.bench.paused.is_empty());
}

#[test]
fn who_is_gone_or_taken_over_while_its_connack_waits_gets_nothing_and_leaves_nothing() {
    let mut k = Kept::new();
    assert!(waits(&mut k, 1, with_will(resume(V5, "a"))));
    assert!(waits(&mut k, 2, with_will(resume(V5, "a"))));
    // No DISCONNECT: it has got no CONNACK (3.14.0-1).
    k.bench.expect_closed(1);
    k.bench.cut(1);
    assert!(waits(&mut k, 3, with_will(connect(V311, "b"))));
    k.bench.cut(3);
    k.settle();
    k.bench.nothing(3);
    // There was a session already: that of the connection before.
    assert!(k.bench.welcomed(2));
    k.bench.disconnect(2);
    assert!(!k.join(4, connect(V5, "a")));
    k.bench.disconnect(4);
    k.settle();
    assert!(k.disk.is_empty(), "{:?}", k.disk);
    assert!(k.bench.paused.is_empty());
}

#[test]
fn a_disk_that_fails_or_stalls_keeps_nobody_out() {
    for fails in [true, false] {
        let mut k = Kept::new();
        assert!(waits(&mut k, 1, resume(V5, "a")));
        k.wait(millis(1_900));
        k.bench.nothing(1);
        let (number, _) = k.bench.batches.pop_front().unwrap();
        if fails {
            k.bench.handle(Input::PersistFailed { number, lost: false });
            k.bench.welcomed(1);
            assert!(!waits(&mut k, 2, resume(V5, "b")), "as long as it fails");
            k.bench.welcomed(2);
        } else {
            k.wait(millis(100));
            k.bench.welcomed(1);
        }
        k.bench.send(1, Packet::PingReq);
        k.bench.expect(1, Packet::PingResp);
    }
}
