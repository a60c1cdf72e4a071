//! Topic aliases.

use crate::raw::{Connect, Lan, Publish, V, Will};
use crate::support::{Mosquitto, Tap, upstream};

fn aliased(topic: &str, alias: u16, payload: &str) -> Vec<u8> {
    Publish::new(topic, payload).alias(alias).bytes(V::V5)
}

#[test]
fn statement_36_aliases_out_of_range_or_unknown_end_the_connection() {
    let lan = Lan::start("");
    let mut witness = lan.join(V::V5, "witness");
    witness.subscribe("#", 0);
    for (topic, alias, code) in [("t", 0, 0x94), ("t", 17, 0x94), ("t", 0xFFFF, 0x94), ("", 1, 0x82)] {
        let mut client = lan.join(V::V5, "a");
        assert_eq!(client.connack_property(0x22).unwrap()[..2], [0, 16]);
        client.send(&aliased(topic, alias, "x"));
        client.closed(code);
    }
    let none = Lan::start("topic_alias_max = 0");
    let mut client = none.join(V::V5, "a");
    assert_eq!(client.connack_property(0x22), None);
    client.send(&aliased("t", 1, "x"));
    client.closed(0x94);
    witness.nothing();
}

#[test]
fn statement_37_aliases_end_with_the_connection() {
    let lan = Lan::start("");
    let mut witness = lan.join(V::V5, "witness");
    witness.subscribe("#", 0);
    let (mut client, _) = lan.resume(V::V5, "a");
    client.send(&aliased("t", 1, "first"));
    client.nothing();
    client.cut();
    let (mut client, present) = lan.resume(V::V5, "a");
    assert!(present);
    client.send(&aliased("", 1, "second"));
    client.closed(0x82);
    witness.take_text("first");
    witness.nothing();
}

#[test]
fn statement_38_the_highest_alias_works_and_an_alias_can_be_given_another_topic() {
    let lan = Lan::start("");
    let mut witness = lan.join(V::V5, "witness");
    witness.subscribe("#", 0);
    let mut client = lan.join(V::V5, "a");
    for (topic, alias, expected) in [
        ("one", 16, "one"),
        ("", 16, "one"),
        ("two", 16, "two"),
        ("", 16, "two"),
        ("three", 1, "three"),
        ("", 1, "three"),
    ] {
        client.send(&aliased(topic, alias, "x"));
        client.nothing();
        assert_eq!(witness.take().topic, expected.as_bytes());
    }
}

#[test]
fn statement_39_aliases_are_set_as_far_as_the_client_allows_and_only_by_what_is_sent() {
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V5, "publisher");
    let mut none = lan.join(V::V5, "none");
    none.subscribe("room/+", 0);
    let mut some =
        lan.connect(&Connect::new(V::V5, "some").property(&[0x22, 0, 2]).property(&[0x27, 0, 0, 0, 60]));
    some.subscribe("room/+", 1);
    let large = "x".repeat(60);
    publisher.say("room/one", 1, &large);
    none.take_text(&large);
    let mut known = [const { Vec::new() }; 3];
    for n in 0..30 {
        let topic = ["room/one", "room/two", "room/three"][n % 3];
        publisher.say(topic, u8::try_from(n % 2).unwrap(), "x");
        let plain = none.take_text("x");
        assert_eq!((plain.topic.as_slice(), plain.properties.as_slice()), (topic.as_bytes(), &[][..]));
        let short = some.take_text("x");
        let alias = match short.properties[..] {
            [] => 0,
            [0x23, 0, alias @ 1..=2] => usize::from(alias),
            ref other => panic!("{other:02X?}"),
        };
        if !short.topic.is_empty() {
            known[alias] = short.topic.clone();
        }
        assert!(alias > 0 || !short.topic.is_empty());
        let meant = if short.topic.is_empty() { &known[alias] } else { &short.topic };
        assert_eq!(meant, topic.as_bytes());
    }
    assert!(!known[2].is_empty(), "no alias was ever set");
}

#[test]
fn statement_40_no_copy_carries_the_senders_alias() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let map = "[[upstream.map]]\nfilter = \"room/#\"\n";
    let mut lan = Lan::start(&format!("\n{}\n{map}", upstream(mosquitto.port)));
    lan.gateway.wait_online();
    let tap = Tap::subscribe(mosquitto.port, "room/#");
    let mut client = lan.connect(&Connect::new(V::V5, "a").will(Will::new("room/will", "gone")));
    for (topic, payload) in [("room/one", "first"), ("", "second")] {
        client.send(&Publish::new(topic, payload).alias(1).retain().qos(1, 5).bytes(V::V5));
        client.expect_ack(0x40, 5, 0);
    }
    let mut late = lan.join(V::V5, "late");
    late.subscribe("room/#", 0);
    let kept = late.take_text("second");
    assert_eq!((kept.topic.as_slice(), kept.properties.as_slice()), (&b"room/one"[..], &[][..]));
    client.cut();
    let will = late.take_text("gone");
    assert_eq!((will.topic.as_slice(), will.properties.as_slice()), (&b"room/will"[..], &[][..]));
    for payload in ["first", "second"] {
        assert_eq!(tap.wait_payload(payload).topic, "room/one");
    }
}
