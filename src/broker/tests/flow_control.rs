//! Windows, full buffers, paused publishers.

use super::*;

fn narrow(window: u16) -> Connect<'static> {
    let list = [
        Property::U32(PropertyId::SessionExpiryInterval, 60),
        Property::U16(PropertyId::ReceiveMaximum, window),
    ];
    Connect { clean_start: false, properties: properties(&list), ..connect(V5, "s") }
}

/// A broker with a mark of 1,000 bytes, a publisher 1 and a subscriber 2 that does not read.
fn stuck(version: Version) -> Bench {
    let mut t = Bench::with(Config { out_buffer_bytes_max: 1_000, ..config() });
    t.join(1, connect(version, "p"));
    t.join(2, resume(version, "s"));
    t.subscribe(2, "t", Q1);
    t.stuck.insert(2);
    t
}

fn payload(bytes: usize) -> String {
    "x".repeat(bytes)
}

#[test]
fn no_more_is_unacknowledged_than_the_client_allows() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "p"));
    t.join(2, narrow(2));
    t.subscribe(2, "t", Q2);
    for id in 1..=5 {
        t.send(1, message("t", if id == 2 { Q2 } else { Q1 }, id, "x"));
    }
    t.expect(2, message("t", Q1, 1, "x"));
    t.expect(2, message("t", Q2, 2, "x"));
    t.nothing(2);
    // A full window holds nothing else.
    t.send(2, Packet::PingReq);
    t.expect(2, Packet::PingResp);
    t.send(1, message("t", Q0, 0, "now"));
    t.expect(2, message("t", Q0, 0, "now"));
    t.send(2, message("u", Q1, 1, "own"));
    t.expect(2, puback(1));
    t.subscribe(2, "v", Q0);
    t.send(2, puback(1));
    t.expect(2, message("t", Q1, 3, "x"));
    t.nothing(2);
    // PUBREC frees no place, PUBCOMP does.
    t.send(2, pubrec(2));
    t.expect(2, pubrel(2));
    t.nothing(2);
    t.send(2, pubcomp(2));
    t.expect(2, message("t", Q1, 4, "x"));
    t.nothing(2);
    // On the next connection the window starts afresh, and what is sent again takes its places.
    t.cut(2);
    t.join(2, narrow(1));
    t.expect(2, dup("t", Q1, 3, "x"));
    t.nothing(2);
    t.send(2, puback(3));
    t.expect(2, dup("t", Q1, 4, "x"));
    t.send(2, puback(4));
    t.expect(2, message("t", Q1, 5, "x"));
}

#[test]
fn our_own_bound_holds_where_the_client_has_none() {
    for version in [V31, V311, V5] {
        let mut t = Bench::with(Config { inflight_max: 3, ..config() });
        t.join(1, connect(version, "p"));
        t.join(2, connect(version, "s"));
        t.subscribe(2, "t", Q1);
        for id in 1..=5 {
            t.send(1, message("t", Q1, id, "x"));
        }
        for id in 1..=3 {
            t.expect(2, message("t", Q1, id, "x"));
        }
        t.nothing(2);
        t.send(2, puback(2));
        t.expect(2, message("t", Q1, 4, "x"));
    }
}

#[test]
fn a_full_receiver_stops_its_publisher_until_it_has_drained() {
    for version in [V311, V5] {
        let mut t = stuck(version);
        let large = payload(400);
        for n in 1..=3 {
            assert!(!t.paused.contains(&1), "message {n}");
            t.send(1, message("t", Q0, 0, &large));
        }
        assert_eq!(t.paused, BTreeSet::from([1]));
        // What the shell had read before it stopped waits.
        t.send(1, message("t", Q0, 0, "held"));
        t.send(1, message("other", Q1, 1, "held too"));
        t.nothing(1);
        t.stuck.remove(&2);
        t.handle(Input::Tick);
        assert!(t.paused.is_empty());
        for _ in 0..3 {
            t.expect(2, message("t", Q0, 0, &large));
        }
        t.expect(2, message("t", Q0, 0, "held"));
        t.expect(1, puback(1));
        assert_eq!(t.broker.stats().dropped_queue_full, 0);
    }
}

#[test]
fn a_full_receiver_does_not_concern_others() {
    let mut t = stuck(V311);
    t.join(3, connect(V311, "other publisher"));
    t.join(4, connect(V311, "other subscriber"));
    t.subscribe(4, "#", Q0);
    for _ in 0..3 {
        t.send(1, message("t", Q0, 0, &payload(400)));
    }
    t.send(3, message("u", Q0, 0, "x"));
    for _ in 0..3 {
        t.expect(4, message("t", Q0, 0, &payload(400)));
    }
    t.expect(4, message("u", Q0, 0, "x"));
    assert_eq!(t.paused, BTreeSet::from([1]));
}

#[test]
fn a_publisher_goes_on_when_its_full_receiver_is_gone() {
    for version in [V311, V5] {
        let mut t = stuck(version);
        for _ in 0..3 {
            t.send(1, message("t", Q0, 0, &payload(400)));
        }
        t.cut(2);
        assert!(t.paused.is_empty());
    }
}

#[test]
fn a_receiver_that_stays_full_is_closed() {
    for version in [V311, V5] {
        let mut t = stuck(version);
        for _ in 0..3 {
            t.send(1, message("t", Q0, 0, &payload(400)));
        }
        t.wait(millis(9_999));
        assert!(t.closed.is_empty());
        t.wait(millis(1));
        assert!(t.closed.contains(&2) && t.paused.is_empty());
        for _ in 0..3 {
            t.expect(2, message("t", Q0, 0, &payload(400)));
        }
        if version == V5 {
            t.expect_disconnect(2, ReasonCode::QuotaExceeded);
        } else {
            t.expect_closed(2);
        }
        // Its session stays.
        t.cut(2);
        t.stuck.clear();
        assert!(t.join(2, resume(version, "s")));
    }
}

#[test]
fn a_slow_receiver_holds_its_publishers_for_a_moment_and_then_loses_qos_0_itself() {
    for version in [V311, V5] {
        let mut t = stuck(version);
        let large = payload(400);
        for _ in 0..3 {
            t.send(1, message("t", Q0, 0, &large));
        }
        t.wait(millis(39));
        assert!(t.paused.contains(&1));
        t.wait(millis(1));
        assert!(t.paused.is_empty());
        assert_eq!(t.broker.stats().receivers_left_behind, 1);
        // Up to twice the mark it gets what comes, then it loses it.
        for _ in 0..2 {
            t.send(1, message("t", Q0, 0, &large));
        }
        t.send(1, message("t", Q0, 0, "lost"));
        assert_eq!((t.broker.stats().dropped_queue_full, t.paused.len()), (1, 0));
        // It drains, too late to be waited for the next time.
        t.stuck.remove(&2);
        t.handle(Input::Tick);
        for _ in 0..5 {
            t.expect(2, message("t", Q0, 0, &large));
        }
        t.stuck.insert(2);
        for _ in 0..5 {
            t.send(1, message("t", Q0, 0, &large));
        }
        t.send(1, message("t", Q0, 0, "lost"));
        assert_eq!((t.broker.stats().dropped_queue_full, t.paused.len()), (2, 0));
        // It drains at once: it has kept up, and is waited for again.
        t.stuck.remove(&2);
        t.handle(Input::Tick);
        t.stuck.insert(2);
        for _ in 0..3 {
            t.send(1, message("t", Q0, 0, &large));
        }
        assert!(t.paused.contains(&1));
        assert_eq!(t.broker.stats().dropped_queue_full, 2);
    }
}

#[test]
fn a_receiver_that_has_drained_unnoticed_is_not_closed() {
    let mut t = stuck(V311);
    for _ in 0..3 {
        t.send(1, message("t", Q0, 0, &payload(400)));
    }
    t.sink.pending.insert(ConnId(2), 10);
    t.wait(secs(20));
    assert!(t.closed.is_empty() && t.paused.is_empty());
}

#[test]
fn what_cannot_be_paused_is_dropped_at_twice_the_mark() {
    let mut t = stuck(V311);
    let large = payload(500);
    for _ in 0..10 {
        t.handle(Input::Local(local("t", Q0, false, &large)));
    }
    let mut got = 0;
    while t.next(2).is_some() {
        got += 1;
    }
    assert_eq!(got, 4, "2,000 bytes and the one that crosses it");
    assert_eq!(t.broker.stats().dropped_queue_full, 6);
    assert!(t.paused.is_empty());
}

#[test]
fn messages_with_qos_1_wait_in_the_session_while_the_buffer_is_full() {
    let mut t = stuck(V5);
    let large = payload(400);
    for id in 1..=6 {
        t.send(1, message("t", Q1, id, &large));
        t.expect(1, puback(id));
    }
    for id in 1..=3 {
        t.expect(2, message("t", Q1, id, &large));
    }
    t.nothing(2);
    assert!(t.paused.is_empty(), "nobody has to wait for what is kept");
    t.stuck.clear();
    t.handle(Input::Tick);
    for id in 4..=6 {
        t.expect(2, message("t", Q1, id, &large));
    }
    t.nothing(2);
}

#[test]
fn a_client_that_asks_without_reading_is_not_read_either_and_then_closed() {
    let mut t = Bench::with(Config { out_buffer_bytes_max: 100, ..config() });
    t.join(1, connect(V311, "a"));
    t.stuck.insert(1);
    let many: Vec<u8> = [0xC0, 0].repeat(10_000);
    for piece in many.chunks(10_000) {
        t.bytes(1, piece);
    }
    assert!(t.paused.contains(&1));
    assert!(t.sink.buffered(ConnId(1)) <= 102);
    t.wait(secs(10));
    assert!(t.closed.contains(&1));
}

#[test]
fn a_publisher_that_waits_for_itself_goes_on() {
    let mut t = Bench::with(Config { out_buffer_bytes_max: 1_000, ..config() });
    t.join(1, connect(V311, "a"));
    t.subscribe(1, "t", Q0);
    t.stuck.insert(1);
    for _ in 0..5 {
        t.send(1, message("t", Q0, 0, &payload(400)));
    }
    assert!(t.paused.contains(&1));
    t.stuck.clear();
    t.handle(Input::Tick);
    assert!(t.paused.is_empty());
    for _ in 0..5 {
        t.expect(1, message("t", Q0, 0, &payload(400)));
    }
}

#[test]
fn a_shell_that_reads_on_while_paused_is_bounded() {
    let mut t = stuck(V311);
    for _ in 0..3 {
        t.send(1, message("t", Q0, 0, &payload(400)));
    }
    let piece = [0xC0, 0].repeat(30_000);
    for _ in 0..20 {
        if !t.closed.contains(&1) {
            t.bytes(1, &piece);
        }
    }
    assert!(t.closed.contains(&1));
}

#[test]
fn two_that_are_full_must_both_drain() {
    let mut t = stuck(V311);
    t.join(3, connect(V311, "s2"));
    t.subscribe(3, "t", Q0);
    t.stuck.insert(3);
    for _ in 0..3 {
        t.send(1, message("t", Q0, 0, &payload(400)));
    }
    t.stuck.remove(&2);
    t.handle(Input::Tick);
    assert!(t.paused.contains(&1));
    t.stuck.remove(&3);
    t.handle(Input::Tick);
    assert!(t.paused.is_empty());
    // The publisher may also go first.
    t.stuck.extend([2, 3]);
    for _ in 0..3 {
        t.send(1, message("t", Q0, 0, &payload(400)));
    }
    t.cut(1);
    t.stuck.clear();
    t.handle(Input::Tick);
    t.join(1, connect(V311, "p"));
    t.send(1, message("t", Q0, 0, "x"));
    assert!(t.paused.is_empty());
}
