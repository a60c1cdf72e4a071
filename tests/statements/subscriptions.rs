//! Subscriptions: overlapping ones, identifiers, options, replacing and ending.

use crate::raw::{BOTH, Client, Connect, Lan, Publish, V, packet, subscribe, unsubscribe};

#[test]
fn statement_49_overlapping_subscriptions_give_the_highest_qos() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut s = lan.join(v, "s");
        s.subscribe("a/#", 2);
        s.subscribe("a/+", 1);
        lan.join(v, "publisher").say("a/b", 2, "x");
        assert_eq!(s.take_text("x").qos, 2);
        s.nothing();
    }
}

#[test]
fn statement_50_a_copy_has_the_identifiers_of_the_clients_own_matching_subscriptions() {
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V5, "publisher");
    let mut other = lan.join(V::V5, "other");
    assert_eq!(other.subscribe_with(&[0x0B, 9], b"#", 0), 0);
    let mut s = lan.join(V::V5, "s");
    assert_eq!(s.subscribe_with(&[0x0B, 2], b"a/#", 1), 1);
    assert_eq!(s.subscribe_with(&[0x0B, 3], b"a/+", 1), 1);
    s.subscribe("b", 1);
    for (topic, ids) in [("a/b", &[0x0B, 2, 0x0B, 3][..]), ("a/b/c", &[0x0B, 2]), ("b", &[])] {
        publisher.say(topic, 1, "x");
        assert_eq!(s.take_text("x").properties, ids, "{topic}");
        s.nothing();
        assert_eq!(other.take_text("x").properties, [0x0B, 9]);
    }
    let mut old = lan.join(V::V311, "old");
    old.subscribe("a/#", 0);
    publisher.say("a/b", 0, "x");
    assert!(old.take_text("x").properties.is_empty());
}

#[test]
fn statement_51_an_identifier_is_1_to_268435455_stands_once_and_can_be_replaced() {
    let lan = Lan::start("");
    for properties in [&[0x0B, 0][..], &[0x0B, 1, 0x0B, 2]] {
        let mut s = lan.join(V::V5, "s");
        s.send(&subscribe(V::V5, 1, properties, &[(b"t", 0)]));
        s.closed(0x82);
    }
    let mut publisher = lan.join(V::V5, "publisher");
    let mut s = lan.join(V::V5, "s");
    for id in [&[0x0B, 1][..], &[0x0B, 0xFF, 0xFF, 0xFF, 0x7F], &[]] {
        s.subscribe_with(id, b"t", 0);
        publisher.say("t", 0, "x");
        assert_eq!(s.take_text("x").properties, id);
    }
}

#[test]
fn statement_52_identifiers_are_the_servers_to_send_and_belong_to_the_session() {
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V5, "publisher");
    publisher.send(&Publish::new("t", "x").property(&[0x0B, 1]).bytes(V::V5));
    publisher.closed(0x82);
    let mut publisher = lan.join(V::V5, "publisher");
    publisher.publish(&Publish::new("t", "kept").retain());
    let (mut s, _) = lan.resume(V::V5, "s");
    s.subscribe_with(&[0x0B, 5], b"t", 1);
    assert_eq!(s.take_text("kept").properties, [0x0B, 5]);
    s.cut();
    publisher.say("t", 1, "queued");
    let (mut s, present) = lan.resume(V::V5, "s");
    assert!(present);
    assert_eq!(s.take_text("queued").properties, [0x0B, 5]);
    publisher.say("t", 0, "live");
    assert_eq!(s.take_text("live").properties, [0x0B, 5]);
}

#[test]
fn statement_53_no_local_keeps_a_clients_own_messages_back_and_only_those() {
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V5, "publisher");
    let (mut s, _) = lan.resume(V::V5, "s");
    s.subscribe_with(&[0x0B, 1], b"t/+", 0x04);
    s.say("t/a", 1, "own");
    s.nothing();
    publisher.say("t/a", 1, "other's");
    s.take_text("other's");
    // With an overlap only the other subscription counts.
    s.subscribe_with(&[0x0B, 2], b"t/#", 0);
    s.send(&Publish::new("t/a", "own").bytes(V::V5));
    assert_eq!(s.take_text("own").properties, [0x0B, 2]);
    s.nothing();
    // It is the client that counts, not the connection: a will is its own message.
    s.unsubscribe("t/#");
    s.cut();
    let will = crate::raw::Will::new("t/will", "will");
    lan.connect(&Connect::new(V::V5, "s").resume().will(will)).cut();
    let (mut s, _) = lan.resume(V::V5, "s");
    s.nothing();
}

#[test]
fn statement_54_subscribing_again_replaces_the_qos() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut publisher = lan.join(v, "publisher");
        let mut s = lan.join(v, "s");
        for qos in [2, 0, 1] {
            s.subscribe("t", qos);
            publisher.say("t", 2, "x");
            assert_eq!(s.take_text("x").qos, qos);
            s.nothing();
        }
    }
}

#[test]
fn statement_55_a_copy_has_the_lower_qos_and_each_filter_its_code_in_order() {
    let lan = Lan::start("");
    for v in [V::V31, V::V311, V::V5] {
        let mut publisher = lan.join(v, "publisher");
        let mut s = lan.join(v, "s");
        for granted in 0..=2 {
            s.subscribe("t", granted);
            for published in 0..=2 {
                publisher.say("t", published, "x");
                assert_eq!(s.take_text("x").qos, granted.min(published), "{v:?} {published} {granted}");
            }
        }
        let refused = if v == V::V5 { 0x8F } else { 0x80 };
        s.send(&subscribe(v, 3, &[], &[(b"a", 2), (b"b/#/c", 0), (b"c", 0), (b"d", 1), (b"a", 1)]));
        let suback = s.packet();
        assert_eq!((suback[0], &suback[2..4]), (0x90, &[0, 3][..]));
        assert_eq!(suback[suback.len() - 5..], [2, refused, 0, 1, 1]);
    }
}

#[test]
fn statement_56_unsubscribing_takes_exactly_the_filter_that_it_names() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut publisher = lan.join(v, "publisher");
        let mut s = lan.join(v, "s");
        s.subscribe("a/#", 0);
        s.subscribe("a/+", 0);
        s.send(&unsubscribe(v, 6, &["unknown", "a/+", "a/b"]));
        match v {
            V::V5 => s.expect(&[0xB0, 6, 0, 6, 0, 0x11, 0, 0x11]),
            _ => s.expect(&[0xB0, 2, 0, 6]),
        }
        publisher.say("a/b", 0, "x");
        s.take_text("x");
        s.nothing();
        s.unsubscribe("a/#");
        publisher.say("a/b", 0, "x");
        s.nothing();
        let none: &[u8] = if v == V::V5 { &[0, 7, 0] } else { &[0, 7] };
        s.send(&packet(0xA2, none));
        Client::ended(&mut s);
    }
}
