//! Filters, options, identifiers, overlapping and shared subscriptions.

use super::*;

#[test]
fn filters_match_by_the_rules_of_the_standard() {
    for (filter, topic, expected) in [
        ("a/#", "a", true),
        ("a/#", "a/", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("a/+", "a/", true),
        ("a/+", "a", false),
        ("/+", "/x", true),
        ("+/+", "/x", true),
        ("+", "/x", false),
        ("+/b/+", "a/b/c", true),
        ("+/b/+", "a/b", false),
        ("#", "/", true),
        ("a", "A", false),
        ("a//b", "a/b", false),
        ("a/", "a", false),
        ("\u{e9}", "e\u{301}", false),
        ("\u{feff}a", "\u{feff}a", true),
    ] {
        let mut t = Bench::new();
        t.join(1, connect(V5, "a"));
        t.subscribe(1, filter, Q0);
        t.send(1, message(topic, Q0, 0, "x"));
        assert_eq!(t.next(1).is_some(), expected, "{filter} {topic}");
        // The same through the filter that a retained message is found by.
        t.send(1, retained(topic, Q0, 0, "x"));
        while t.next(1).is_some() {}
        t.subscribe(1, filter, Q0);
        assert_eq!(t.next(1).is_some(), expected, "{filter} {topic}, retained");
    }
}

#[test]
fn wildcards_in_the_first_level_match_no_dollar_topics() {
    for (filter, expected) in [
        ("#", false),
        ("+/x", false),
        ("+/#", false),
        ("$SYS/#", true),
        ("$SYS/+", true),
        ("$share/g/#", false),
    ] {
        let mut t = Bench::new();
        t.join(1, connect(V5, "a"));
        t.subscribe(1, filter, Q0);
        t.handle(Input::Local(local("$SYS/x", Q0, true, "live")));
        assert_eq!(t.next(1).is_some(), expected, "{filter}");
        t.subscribe(1, filter, Q0);
        assert_eq!(t.next(1).is_some(), expected, "{filter}, retained");
    }
}

#[test]
fn bad_filters_are_refused_one_by_one() {
    let long = "x".repeat(1_025);
    let deep = "/".repeat(128);
    let bad = [
        "a#",
        "a/#/b",
        "a+",
        "+a/b",
        "#/",
        "$share//t",
        "$share/g",
        "$share/g/",
        "$share/+/t",
        "$share/a#/t",
        &long,
        &deep,
    ];
    for (version, code) in [(V31, 0x80), (V311, 0x80), (V5, 0x8F)] {
        for filter in bad {
            let mut t = Bench::new();
            t.join(1, connect(version, "a"));
            t.send(1, subscribe(3, &[("ok/1", Q1), (filter, Q0), ("ok/2", Q2)]));
            t.expect(1, suback(3, &[1, code, 2]));
            assert_eq!(t.broker.stats().subscriptions, 2, "{filter}");
        }
    }
}

#[test]
fn a_session_has_a_limit_of_subscriptions() {
    for (version, code) in [(V311, 0x80), (V5, 0x97)] {
        let mut t = Bench::with(Config { subscriptions_max: 2, ..config() });
        t.join(1, connect(version, "a"));
        t.send(1, subscribe(1, &[("a", Q0), ("b", Q0), ("c", Q0), ("a", Q1)]));
        t.expect(1, suback(1, &[0, 0, code, 1]));
        t.send(1, unsubscribe(2, &["b"]));
        t.next(1).unwrap();
        t.subscribe(1, "c", Q0);
    }
}

#[test]
fn the_filters_of_one_packet_have_a_limit() {
    for (version, code) in [(V311, 0x80), (V5, 0x97)] {
        let mut t = Bench::with(Config { filters_per_packet_max: 2, ..config() });
        t.join(1, connect(version, "a"));
        t.send(1, subscribe(1, &[("a", Q0), ("b", Q1), ("c", Q0), ("a", Q1)]));
        t.expect(1, suback(1, &[0, 1, code, code]));
        assert_eq!(t.broker.stats().subscriptions_refused, 2);
        // The next packet has its own.
        t.subscribe(1, "c", Q0);
    }
}

#[test]
fn overlapping_subscriptions_give_one_copy_at_the_highest_qos() {
    for version in [V31, V311, V5] {
        let mut t = Bench::new();
        t.join(1, connect(version, "p"));
        t.join(2, connect(version, "s"));
        t.subscribe(2, "a/#", Q2);
        t.subscribe(2, "a/+", Q1);
        t.subscribe(2, "a/b", Q0);
        t.send(1, message("a/b", Q2, 1, "x"));
        t.expect(2, message("a/b", Q2, 1, "x"));
        t.nothing(2);
        t.send(2, unsubscribe(2, &["a/#"]));
        t.expect(2, unsuback(2, if version == V5 { &[0] } else { &[] }));
        t.send(1, message("a/b", Q2, 2, "x"));
        t.expect(2, message("a/b", Q1, 2, "x"));
    }
}

#[test]
fn a_copy_carries_the_identifiers_of_all_that_matched() {
    let ids = |list: &[u32]| {
        let list: Vec<_> =
            list.iter().map(|id| Property::Varint(PropertyId::SubscriptionIdentifier, *id)).collect();
        Packet::Publish(Publish { properties: properties(&list), ..publish("a/b", Q0, 0, "x") })
    };
    let mut t = Bench::new();
    t.join(1, connect(V5, "p"));
    t.join(2, connect(V5, "s"));
    t.join(3, connect(V5, "other"));
    t.subscribe_with(2, "a/#", options(Q0), Some(2));
    t.subscribe_with(2, "a/+", options(Q0), Some(268_435_455));
    t.subscribe_with(2, "+/b", options(Q0), None);
    t.subscribe_with(3, "a/b", options(Q0), Some(9));
    t.subscribe_with(3, "c", options(Q0), Some(4));
    t.send(1, message("a/b", Q0, 0, "x"));
    t.expect(2, ids(&[2, 268_435_455]));
    t.expect(3, ids(&[9]));
    t.subscribe_with(2, "a/#", options(Q0), Some(5));
    t.subscribe_with(2, "a/+", options(Q0), None);
    t.subscribe_with(3, "a/b", options(Q0), None);
    t.send(1, message("a/b", Q0, 0, "x"));
    t.expect(2, ids(&[5]));
    t.expect(3, ids(&[]));
}

#[test]
fn identifiers_come_back_with_the_session_and_stand_on_retained_copies() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "p"));
    t.join(2, resume(V5, "s"));
    t.send(1, retained("t", Q1, 1, "x"));
    t.subscribe_with(2, "t", options(Q1), Some(3));
    let id = properties(&[Property::Varint(PropertyId::SubscriptionIdentifier, 3)]);
    t.expect(2, Packet::Publish(Publish { retain: true, properties: id, ..publish("t", Q1, 1, "x") }));
    t.send(2, puback(1));
    t.cut(2);
    t.send(1, message("t", Q1, 2, "y"));
    t.join(2, resume(V5, "s"));
    t.expect(2, Packet::Publish(Publish { properties: id, ..publish("t", Q1, 2, "y") }));
}

#[test]
fn identifier_zero_is_a_protocol_error() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "a"));
    t.bytes(1, &[0x82, 9, 0, 1, 2, 0x0B, 0, 0, 1, b't', 0]);
    t.expect_disconnect(1, ReasonCode::ProtocolError);
}

#[test]
fn no_local_keeps_back_own_messages_of_that_subscription_alone() {
    let no_local = SubscribeOptions { no_local: true, ..options(Q2) };
    let mut t = Bench::new();
    t.join(1, resume(V5, "a"));
    t.join(2, connect(V5, "b"));
    t.subscribe_with(1, "t/#", no_local, Some(1));
    t.send(1, message("t/x", Q0, 0, "own"));
    t.nothing(1);
    t.send(2, message("t/x", Q0, 0, "other"));
    assert!(t.next(1).is_some());
    // A second subscription without No Local gives the copy, at its own QoS and with its own identifier.
    t.subscribe_with(1, "t/x", options(Q1), Some(2));
    t.send(1, message("t/x", Q2, 9, "own"));
    let id = properties(&[Property::Varint(PropertyId::SubscriptionIdentifier, 2)]);
    t.expect(1, Packet::Publish(Publish { properties: id, ..publish("t/x", Q1, 1, "own") }));
    t.expect(1, pubrec(9));
    t.nothing(1);
}

#[test]
fn resubscribing_replaces_the_options() {
    for version in [V31, V311, V5] {
        let mut t = Bench::new();
        t.join(1, connect(version, "p"));
        t.join(2, connect(version, "s"));
        t.subscribe(2, "t", Q2);
        t.subscribe(2, "t", Q0);
        t.send(1, message("t", Q2, 1, "x"));
        t.expect(2, message("t", Q0, 0, "x"));
        t.nothing(2);
        assert_eq!(t.broker.stats().subscriptions, 1);
    }
}

#[test]
fn unsubscribe_names_the_filter_exactly() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "a"));
    t.subscribe(1, "a/#", Q0);
    t.subscribe(1, "$share/g/a/b", Q0);
    t.send(1, unsubscribe(2, &["a/+", "a/b", "$share/h/a/b", "a#", "$share/g/a/b"]));
    t.expect(1, unsuback(2, &[0x11, 0x11, 0x11, 0x8F, 0]));
    t.send(1, message("a/b", Q0, 0, "x"));
    t.expect(1, message("a/b", Q0, 0, "x"));
    t.nothing(1);
    t.join(2, connect(V311, "b"));
    t.send(2, unsubscribe(2, &["nothing"]));
    t.expect(2, unsuback(2, &[]));
    assert_eq!(t.broker.stats().subscriptions, 1);
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_member() {
    let mut t = Bench::new();
    t.join(9, connect(V311, "p"));
    for (c, id) in [(1, "a"), (2, "b"), (3, "c")] {
        t.join(c, connect(V5, id));
    }
    t.subscribe(1, "$share/g/t", Q1);
    t.subscribe(2, "$share/g/t", Q0);
    t.subscribe(1, "$share/other/t", Q0);
    t.subscribe(3, "t", Q0);
    t.subscribe(1, "t", Q0);
    for _ in 0..10 {
        t.send(9, message("t", Q1, 1, "x"));
    }
    let mut counts = [0; 3];
    for c in [1, 2, 3] {
        while let Some(packet) = t.next(c) {
            counts[c as usize - 1] += 1;
            if packet[0] & 0x06 == 2 {
                t.send(c, puback(u16::from_be_bytes([packet[5], packet[6]])));
            }
        }
    }
    assert_eq!(counts, [10 + 10 + 5, 5, 10]);
}

#[test]
fn a_shared_subscription_prefers_members_that_are_connected() {
    let mut t = Bench::new();
    t.join(9, connect(V311, "p"));
    t.join(1, resume(V5, "a"));
    t.join(2, resume(V5, "b"));
    t.subscribe(1, "$share/g/t", Q1);
    t.subscribe(2, "$share/g/t", Q1);
    t.cut(2);
    for id in 1..=4 {
        t.send(9, message("t", Q1, id, "x"));
        t.expect(1, message("t", Q1, id, "x"));
        t.send(1, puback(id));
    }
    t.cut(1);
    t.send(9, message("t", Q1, 5, "late"));
    t.join(1, resume(V5, "a"));
    t.join(2, resume(V5, "b"));
    assert_eq!(
        usize::from(t.next(1).is_some()) + usize::from(t.next(2).is_some()),
        1,
        "kept for one of them"
    );
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "a"));
    let options = SubscribeOptions { no_local: true, ..options(Q0) };
    let filters = vec![SubscribeFilter { filter: "$share/g/t", options }];
    t.send(1, Packet::Subscribe(Subscribe { packet_id: pid(1), properties: Properties::EMPTY, filters }));
    t.expect_disconnect(1, ReasonCode::ProtocolError);
}

#[test]
fn the_trie_gives_its_nodes_back() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "a"));
    let filters: Vec<String> = (0..100).map(|n| format!("{n}/b/{n}/+/#")).collect();
    for round in 0..3 {
        for filter in &filters {
            t.subscribe(1, filter, Q0);
        }
        for filter in &filters {
            t.send(1, unsubscribe(2, &[filter]));
            t.expect(1, unsuback(2, &[0]));
        }
        assert_eq!(t.broker.routes.nodes_in_use(), 1, "round {round}");
    }
}
