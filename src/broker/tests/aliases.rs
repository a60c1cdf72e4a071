//! Topic aliases towards clients.

use super::*;

/// A subscriber of `#` that allows so many aliases, and packets of so many bytes.
fn subscriber(t: &mut Bench, aliases: u16, packet_max: u32) {
    let list = [
        Property::U16(PropertyId::TopicAliasMaximum, aliases),
        Property::U32(PropertyId::MaximumPacketSize, packet_max),
    ];
    t.join(2, Connect { properties: properties(&list), ..connect(V5, "s") });
    t.subscribe(2, "#", Q1);
}

/// Topic and alias of the next message; its payload is checked.
#[track_caller]
fn named(t: &mut Bench, payload: &str) -> (String, Option<u32>) {
    let bytes = t.next(2).expect("a message");
    let Packet::Publish(publish) = decode(frame(&bytes, 1 << 20).unwrap().unwrap(), V5).unwrap() else {
        panic!("no PUBLISH: {bytes:?}")
    };
    assert_eq!(publish.payload, payload.as_bytes());
    if let Some(id) = publish.packet_id {
        let id = id.get();
        t.send(2, puback(id));
    }
    (publish.topic.to_owned(), publish.properties.number(PropertyId::TopicAlias))
}

fn full(topic: &str, alias: u32) -> (String, Option<u32>) {
    (topic.to_owned(), Some(alias))
}

#[test]
fn a_client_that_allows_aliases_gets_the_topic_once() {
    for qos in [Q0, Q1] {
        let mut t = Bench::new();
        t.join(1, connect(V5, "p"));
        subscriber(&mut t, 2, 1_000);
        let id = if qos == Q0 { 0 } else { 1 };
        for (topic, expected) in [
            ("room/1", full("room/1", 1)),
            ("room/1", full("", 1)),
            ("room/2", full("room/2", 2)),
            ("room/2", full("", 2)),
            ("abc", ("abc".to_owned(), None)),
            ("room/3", ("room/3".to_owned(), None)),
            ("room/1", full("", 1)),
        ] {
            t.send(1, message(topic, qos, id, "x"));
            t.next(1);
            assert_eq!(named(&mut t, "x"), expected);
        }
    }
}

#[test]
fn nobody_gets_more_aliases_than_allowed_by_either_side_and_nobody_before_5() {
    for (theirs, ours, expected) in [(0, 16, 0), (3, 16, 3), (100, 4, 4), (5, 0, 0)] {
        let mut t = Bench::with(Config { topic_alias_max: ours, ..config() });
        t.join(1, connect(V311, "p"));
        subscriber(&mut t, theirs, 1_000);
        let mut highest = 0;
        for n in 0..40 {
            let topic = format!("topic/{}", n % 20);
            t.send(1, message(&topic, Q0, 0, "x"));
            highest = highest.max(named(&mut t, "x").1.unwrap_or(0));
        }
        assert_eq!(highest, expected, "{theirs} {ours}");
    }
    let mut t = Bench::new();
    t.join(1, connect(V311, "p"));
    t.join(2, connect(V311, "s"));
    t.subscribe(2, "#", Q0);
    for _ in 0..2 {
        t.send(1, message("room/1", Q0, 0, "x"));
        t.expect(2, message("room/1", Q0, 0, "x"));
    }
}

#[test]
fn a_message_dropped_for_its_size_or_age_leaves_no_alias_behind() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "p"));
    subscriber(&mut t, 4, 40);
    let large = "x".repeat(40);
    for (qos, id) in [(Q0, 0), (Q1, 1)] {
        let topic = format!("topic/of/{id}");
        t.send(1, message(&topic, qos, id, &large));
        t.next(1);
        t.nothing(2);
        t.send(1, message(&topic, qos, id, "small"));
        t.next(1);
        assert_eq!(named(&mut t, "small").0, topic, "the first that is sent carries the topic");
        t.send(1, message(&topic, qos, id, "small"));
        t.next(1);
        assert_eq!(named(&mut t, "small").0, "");
    }
    // What fits without an alias, but not while setting one, goes without.
    let exact = "x".repeat(40 - 2 - 2 - "exact/topic".len() - 1);
    t.send(1, message("exact/topic", Q0, 0, &exact));
    assert_eq!(named(&mut t, &exact), ("exact/topic".to_owned(), None));
    // An expired message in the queue.
    let mut t = Bench::new();
    t.join(1, connect(V5, "p"));
    let list = [
        Property::U32(PropertyId::SessionExpiryInterval, 60),
        Property::U16(PropertyId::TopicAliasMaximum, 4),
    ];
    let back = || Connect { clean_start: false, properties: properties(&list), ..connect(V5, "s") };
    t.join(2, back());
    t.subscribe(2, "#", Q1);
    t.cut(2);
    let expiry = properties(&[Property::U32(PropertyId::MessageExpiryInterval, 1)]);
    t.send(1, Packet::Publish(Publish { properties: expiry, ..publish("room/1", Q1, 1, "old") }));
    t.send(1, message("room/1", Q1, 2, "new"));
    t.wait(secs(2));
    t.join(2, back());
    assert_eq!(named(&mut t, "new"), full("room/1", 1));
}

#[test]
fn aliases_end_with_the_connection_and_stand_beside_subscription_identifiers() {
    let list = [
        Property::U32(PropertyId::SessionExpiryInterval, 60),
        Property::U16(PropertyId::TopicAliasMaximum, 4),
    ];
    let back = || Connect { clean_start: false, properties: properties(&list), ..connect(V5, "s") };
    let mut t = Bench::new();
    t.join(1, connect(V5, "p"));
    t.join(2, back());
    t.subscribe_with(2, "room/+", options(Q1), Some(7));
    for (n, topic) in [(1, "room/1"), (2, "")] {
        t.send(1, message("room/1", Q1, n, "x"));
        t.next(1);
        let bytes = t.next(2).unwrap();
        let Packet::Publish(publish) = decode(frame(&bytes, 1_000).unwrap().unwrap(), V5).unwrap() else {
            panic!("no PUBLISH")
        };
        assert_eq!(publish.topic, topic);
        assert_eq!(publish.properties.number(PropertyId::SubscriptionIdentifier), Some(7));
        assert_eq!(publish.properties.number(PropertyId::TopicAlias), Some(1));
    }
    t.cut(2);
    t.join(2, back());
    assert_eq!(named(&mut t, "x").0, "room/1", "sent again with its topic");
    assert_eq!(named(&mut t, "x").0, "");
}
