//! Sessions: what is kept, for how long, in what order it comes back, and the bounds of queues.

use super::*;

#[test]
fn session_present_tells_whether_there_was_a_session() {
    for version in [V311, V5] {
        let mut t = Bench::new();
        assert!(!t.join(1, resume(version, "a")));
        t.subscribe(1, "t", Q1);
        t.cut(1);
        assert!(t.join(1, resume(version, "a")));
        t.disconnect(1);
        assert!(t.join(1, resume(version, "a")), "a normal disconnection keeps it too");
        t.cut(1);
        t.join(2, connect(V311, "p"));
        t.send(2, message("t", Q1, 1, "queued"));
        assert!(!t.join(1, connect(version, "a")));
        t.nothing(1);
        t.cut(1);
        assert!(!t.join(1, resume(version, "a")), "a clean session leaves nothing");
        t.nothing(1);
        t.send(2, message("t", Q1, 2, "x"));
        t.nothing(1);
    }
    // 3.1 keeps sessions, but has no flag for it.
    let mut t = Bench::new();
    t.join(1, resume(V31, "a"));
    t.subscribe(1, "t", Q1);
    t.cut(1);
    assert!(!t.join(1, resume(V31, "a")));
    t.send(1, message("t", Q0, 0, "x"));
    t.expect(1, message("t", Q0, 0, "x"));
}

#[test]
fn a_session_ends_when_its_expiry_has_passed_since_the_connection() {
    for (expiry, away, present) in [
        (Some(2), 1, true),
        (Some(2), 2, false),
        (Some(2), 4, false),
        (Some(0), 0, false),
        (None, 0, false),
        (Some(u32::MAX), 100_000_000, true),
        (Some(u32::MAX - 1), 100_000_000, true),
    ] {
        let mut t = Bench::new();
        let hello = match expiry {
            Some(expiry) => resume_for(V5, "a", expiry),
            None => Connect { clean_start: false, ..connect(V5, "a") },
        };
        t.join(1, hello.clone());
        t.subscribe(1, "t", Q1);
        // It does not run while the client is connected.
        t.wait(secs(10));
        t.send(1, message("t", Q0, 0, "x"));
        t.expect(1, message("t", Q0, 0, "x"));
        t.cut(1);
        t.wait(secs(away));
        assert_eq!(t.broker.stats().sessions_offline, u64::from(present));
        assert_eq!(t.join(1, hello), present, "{expiry:?} after {away} s");
        assert_eq!(t.broker.stats().subscriptions, u64::from(present));
    }
}

#[test]
fn an_overdue_session_is_not_found_even_if_no_tick_came() {
    let mut t = Bench::new();
    t.join(1, resume_for(V5, "a", 2));
    t.cut(1);
    t.now.mono = t.now.mono + secs(3);
    assert!(!t.join(1, resume_for(V5, "a", 2)));
}

#[test]
fn disconnect_may_change_the_expiry_but_not_bring_a_session_to_life() {
    let goodbye = |t: &mut Bench, c: u32, expiry: u32| {
        let properties = properties(&[Property::U32(PropertyId::SessionExpiryInterval, expiry)]);
        t.send(c, Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties }));
    };
    let mut t = Bench::new();
    t.join(1, resume_for(V5, "a", 0));
    goodbye(&mut t, 1, 10);
    t.expect_disconnect(1, ReasonCode::ProtocolError);
    t.cut(1);
    for (asked, changed, away, present) in
        [(60, 0, 0, false), (60, 5, 4, true), (60, 5, 6, false), (5, 60, 50, true)]
    {
        t.join(1, resume_for(V5, "a", asked));
        goodbye(&mut t, 1, changed);
        t.expect_closed(1);
        t.cut(1);
        t.wait(secs(away));
        assert_eq!(t.join(1, resume_for(V5, "a", 0)), present, "{asked} then {changed}, {away} s later");
        t.cut(1);
    }
}

#[test]
fn older_sessions_end_by_the_cap_too() {
    let mut t = Bench::with(Config { session_expiry_max: Some(secs(60)), ..config() });
    t.join(1, resume(V311, "a"));
    t.cut(1);
    t.wait(secs(59));
    assert!(t.join(1, resume(V311, "a")));
    t.cut(1);
    t.wait(secs(61));
    assert!(!t.join(1, resume(V311, "a")));
}

#[test]
fn the_session_that_is_offline_for_longest_makes_room() {
    let mut t = Bench::with(Config { sessions_max: 2, ..config() });
    for id in ["a", "b", "c"] {
        t.join(1, resume(V5, id));
        t.wait(secs(1));
        t.cut(1);
    }
    assert_eq!(t.broker.stats().sessions_offline, 2);
    for (id, present) in [("a", false), ("b", true), ("c", true)] {
        let clean_start = false;
        t.open(2);
        t.send(2, Packet::Connect(Connect { clean_start, ..connect(V5, id) }));
        assert_eq!(t.welcomed(2), present, "{id}");
        t.cut(2);
    }
}

#[test]
fn messages_for_an_absent_client_wait_in_order_and_qos_0_does_not() {
    for version in [V31, V311, V5] {
        let mut t = Bench::new();
        t.join(1, resume(version, "s"));
        t.subscribe(1, "t/#", Q2);
        t.disconnect(1);
        t.join(2, connect(version, "p"));
        t.send(2, message("t/1", Q1, 1, "one"));
        t.send(2, message("t/0", Q0, 0, "zero"));
        t.send(2, message("t/2", Q2, 2, "two"));
        t.send(2, retained("t/3", Q1, 3, "three"));
        t.join(1, resume(version, "s"));
        t.expect(1, message("t/1", Q1, 1, "one"));
        t.expect(1, message("t/2", Q2, 2, "two"));
        t.expect(1, message("t/3", Q1, 3, "three"));
        t.nothing(1);
    }
}

#[test]
fn what_was_under_way_is_sent_again_with_dup_and_the_same_identifier() {
    for version in [V31, V311, V5] {
        let mut t = Bench::new();
        t.join(1, resume(version, "s"));
        t.subscribe(1, "t", Q2);
        t.join(2, connect(version, "p"));
        for (id, qos) in [(1, Q1), (2, Q2), (3, Q2), (4, Q1), (5, Q2)] {
            t.send(2, message("t", qos, id, "x"));
            t.expect(1, message("t", qos, id, "x"));
        }
        t.send(1, pubrec(2));
        t.expect(1, pubrel(2));
        t.send(1, puback(4));
        t.send(1, Packet::PubRec(ack(5, ReasonCode::Success)));
        t.expect(1, pubrel(5));
        t.send(1, pubcomp(5));
        // Never again on the same connection.
        t.wait(secs(100));
        t.nothing(1);
        t.cut(1);
        t.send(2, message("t", Q1, 6, "new"));
        t.join(1, resume(version, "s"));
        t.expect(1, dup("t", Q1, 1, "x"));
        t.expect(1, pubrel(2));
        t.expect(1, dup("t", Q2, 3, "x"));
        t.expect(1, message("t", Q1, 6, "new"));
        t.nothing(1);
    }
}

#[test]
fn a_pubrec_with_a_failure_ends_the_exchange() {
    let mut t = Bench::new();
    let list =
        [Property::U32(PropertyId::SessionExpiryInterval, 60), Property::U16(PropertyId::ReceiveMaximum, 1)];
    let hello = Connect { clean_start: false, properties: properties(&list), ..connect(V5, "s") };
    t.join(1, hello.clone());
    t.subscribe(1, "t", Q2);
    t.join(2, connect(V5, "p"));
    t.send(2, message("t", Q2, 1, "x"));
    t.send(2, message("t", Q2, 2, "y"));
    t.expect(1, message("t", Q2, 1, "x"));
    t.nothing(1);
    t.send(1, Packet::PubRec(ack(1, ReasonCode::UnspecifiedError)));
    t.expect(1, message("t", Q2, 2, "y"));
    t.cut(1);
    t.join(1, hello);
    t.expect(1, dup("t", Q2, 2, "y"));
    t.nothing(1);
}

#[test]
fn a_full_queue_drops_its_oldest_messages_and_counts_them() {
    let by_number = Config { queue_messages_max: 3, ..config() };
    let by_bytes = Config { queue_bytes_max: 35, ..config() };
    for config in [by_number, by_bytes] {
        let mut t = Bench::with(config);
        t.join(1, resume(V311, "s"));
        t.subscribe(1, "t", Q1);
        t.cut(1);
        t.join(2, connect(V311, "p"));
        for (id, payload) in
            [(1, "message 01"), (2, "message 02"), (3, "message 03"), (4, "message 04"), (5, "message 05")]
        {
            t.send(2, message("t", Q1, id, payload));
            t.expect(2, puback(id));
        }
        assert_eq!(t.broker.stats().dropped_queue_full, 2);
        t.join(1, resume(V311, "s"));
        for (id, payload) in [(1, "message 03"), (2, "message 04"), (3, "message 05")] {
            t.expect(1, message("t", Q1, id, payload));
        }
        t.nothing(1);
    }
}

#[test]
fn order_is_kept_through_a_reconnect_with_a_window_of_one() {
    for qos in [Q1, Q2] {
        let list = [
            Property::U32(PropertyId::SessionExpiryInterval, 60),
            Property::U16(PropertyId::ReceiveMaximum, 1),
        ];
        let hello = Connect { clean_start: false, properties: properties(&list), ..connect(V5, "s") };
        let mut t = Bench::new();
        t.join(1, hello.clone());
        t.subscribe(1, "t", Q2);
        t.join(2, connect(V311, "p"));
        for n in 0..1_000 {
            t.send(2, message("t", qos, 1, &n.to_string()));
            t.send(2, pubrel(1));
        }
        let mut got = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(bytes) = t.next(1) {
            match decode(frame(&bytes, 1_000).unwrap().unwrap(), V5).unwrap() {
                Packet::Publish(publish) => {
                    let id = publish.packet_id.unwrap().get();
                    got.push(String::from_utf8(publish.payload.to_vec()).unwrap());
                    if got.len() % 300 == 0 && seen.insert(got.len()) {
                        // Broken before the answer: it comes again, first.
                        t.cut(1);
                        t.join(1, hello.clone());
                        got.pop();
                        continue;
                    }
                    t.send(1, if qos == Q1 { puback(id) } else { pubrec(id) });
                }
                Packet::PubRel(ack) => t.send(1, pubcomp(ack.packet_id.get())),
                other => panic!("{other:?}"),
            }
        }
        let wanted: Vec<String> = (0..1_000).map(|n: i32| n.to_string()).collect();
        assert_eq!(got, wanted);
        assert_eq!(seen.len(), 3);
    }
}

#[test]
fn a_session_goes_on_under_another_version() {
    let mut t = Bench::new();
    t.join(1, resume(V311, "s"));
    t.subscribe(1, "t", Q1);
    t.cut(1);
    t.join(2, connect(V5, "p"));
    let user = properties(&[Property::User("k", "v")]);
    t.send(2, Packet::Publish(Publish { properties: user, ..publish("t", Q1, 1, "x") }));
    assert!(t.join(1, resume(V5, "s")));
    t.expect(1, Packet::Publish(Publish { properties: user, ..publish("t", Q1, 1, "x") }));
    t.cut(1);
    assert!(t.join(1, resume(V311, "s")));
    t.expect(1, dup("t", Q1, 1, "x"));
}

#[test]
fn nothing_is_left_of_clients_that_came_and_went() {
    let mut t = Bench::new();
    for n in 0..200 {
        let id = format!("client {n}");
        t.join(1, Connect { keep_alive: 60, ..resume_for(V5, &id, 5) });
        t.subscribe(1, &format!("{n}/#"), Q1);
        t.send(1, message(&format!("{n}/x"), Q2, 7, "x"));
        t.cut(1);
    }
    t.wait(secs(6));
    let stats = t.broker.stats();
    assert_eq!((stats.clients_connected, stats.sessions_offline, stats.subscriptions), (0, 0, 0));
    assert_eq!(t.broker.next_deadline(), None);
    assert_eq!(t.broker.routes.nodes_in_use(), 1);
}
