//! Messages through the broker: QoS both ways, properties, aliases, packet size.

use super::*;

#[test]
fn a_copy_has_the_lower_of_published_and_granted_qos() {
    for published in [Q0, Q1, Q2] {
        for granted in [Q0, Q1, Q2] {
            for version in [V31, V311, V5] {
                let mut t = Bench::new();
                t.join(1, connect(version, "p"));
                t.join(2, connect(version, "s"));
                t.subscribe(2, "t", granted);
                t.send(1, message("t", published, u16::from(published > Q0) * 9, "x"));
                let qos = published.min(granted);
                t.expect(2, message("t", qos, u16::from(qos > Q0), "x"));
                t.nothing(2);
            }
        }
    }
}

#[test]
fn qos_1_and_2_complete_in_both_directions() {
    for version in [V31, V311, V5] {
        let mut t = Bench::new();
        t.join(1, connect(version, "p"));
        t.join(2, connect(version, "s"));
        t.subscribe(2, "t", Q2);
        t.send(1, message("t", Q1, 9, "one"));
        t.expect(1, puback(9));
        t.expect(2, message("t", Q1, 1, "one"));
        t.send(2, puback(1));
        t.send(1, message("t", Q2, 9, "two"));
        t.expect(1, pubrec(9));
        t.send(1, pubrel(9));
        t.expect(1, pubcomp(9));
        t.expect(2, message("t", Q2, 2, "two"));
        t.send(2, pubrec(2));
        t.expect(2, pubrel(2));
        t.send(2, pubrec(2));
        t.expect(2, pubrel(2));
        t.send(2, pubcomp(2));
        t.nothing(1);
        t.nothing(2);
    }
}

#[test]
fn a_repeated_qos_2_publish_is_delivered_once() {
    for version in [V31, V311, V5] {
        let mut t = Bench::new();
        t.join(1, resume(version, "p"));
        t.join(2, connect(version, "s"));
        t.subscribe(2, "t", Q0);
        t.send(1, message("t", Q2, 7, "x"));
        t.expect(1, pubrec(7));
        t.send(1, dup("t", Q2, 7, "x"));
        t.expect(1, pubrec(7));
        t.cut(1);
        t.join(1, resume(version, "p"));
        t.send(1, dup("t", Q2, 7, "x"));
        t.expect(1, pubrec(7));
        t.send(1, pubrel(7));
        t.expect(1, pubcomp(7));
        t.expect(2, message("t", Q0, 0, "x"));
        t.nothing(2);
    }
}

#[test]
fn answers_for_unknown_identifiers_close_nothing() {
    for version in [V31, V311, V5] {
        let unknown = if version == V5 { ReasonCode::PacketIdentifierNotFound } else { ReasonCode::Success };
        let mut t = Bench::new();
        t.join(1, connect(version, "a"));
        t.send(1, pubrel(5));
        t.expect(1, Packet::PubComp(ack(5, unknown)));
        t.send(1, pubrec(6));
        t.expect(1, Packet::PubRel(ack(6, unknown)));
        t.send(1, puback(7));
        t.send(1, pubcomp(8));
        t.nothing(1);
        assert!(t.closed.is_empty());
    }
}

#[test]
fn dup_of_the_publisher_is_not_passed_on() {
    let mut t = Bench::new();
    t.join(1, connect(V311, "p"));
    t.join(2, connect(V311, "s"));
    t.subscribe(2, "t", Q1);
    t.send(1, dup("t", Q1, 1, "x"));
    t.expect(2, message("t", Q1, 1, "x"));
}

#[test]
fn properties_travel_unaltered_and_in_order() {
    let travelling = properties(&[
        Property::User("b", "1"),
        Property::U8(PropertyId::PayloadFormatIndicator, 1),
        Property::Str(PropertyId::ContentType, "text/plain"),
        Property::User("a", "2"),
        Property::Str(PropertyId::ResponseTopic, "re/ply"),
        Property::Bin(PropertyId::CorrelationData, &[0, 255]),
        Property::User("b", "1"),
    ]);
    let mut t = Bench::with(forwarding(&[("t", 0)]));
    t.join(1, connect(V5, "p"));
    t.join(2, connect(V5, "s"));
    t.join(3, connect(V311, "old"));
    t.subscribe(2, "t", Q1);
    t.subscribe(3, "t", Q0);
    // Even where the payload is not the UTF-8 that it claims to be.
    let publish = Publish { properties: travelling, payload: &[0xFF], ..publish("t", Q1, 1, "") };
    t.send(1, Packet::Publish(publish.clone()));
    t.expect(2, Packet::Publish(publish.clone()));
    t.expect(
        3,
        Packet::Publish(Publish { properties: Properties::EMPTY, packet_id: None, qos: Q0, ..publish }),
    );
    assert_eq!(t.forwards[0].1.properties.as_properties(), travelling);
}

#[test]
fn an_alias_stands_for_its_topic_and_is_not_passed_on() {
    let aliased = |topic: &'static str, alias: u16| {
        let properties =
            properties(&[Property::U16(PropertyId::TopicAlias, alias), Property::User("k", "v")]);
        Packet::Publish(Publish { properties, ..publish(topic, Q0, 0, "x") })
    };
    let plain = |topic: &'static str| {
        let properties = properties(&[Property::User("k", "v")]);
        Packet::Publish(Publish { properties, ..publish(topic, Q0, 0, "x") })
    };
    let mut t = Bench::new();
    t.join(1, resume(V5, "p"));
    t.join(2, connect(V5, "s"));
    t.subscribe(2, "#", Q0);
    for (topic, alias, seen) in [
        ("a", 1, "a"),
        ("", 1, "a"),
        ("b", 16, "b"),
        ("", 1, "a"),
        ("c", 1, "c"),
        ("", 1, "c"),
        ("", 16, "b"),
    ] {
        t.send(1, aliased(topic, alias));
        t.expect(2, plain(seen));
    }
    // It ends with the connection.
    t.cut(1);
    t.join(1, resume(V5, "p"));
    t.send(1, aliased("", 1));
    t.expect_disconnect(1, ReasonCode::ProtocolError);
    for (alias, reason) in [(17, ReasonCode::TopicAliasInvalid), (0, ReasonCode::TopicAliasInvalid)] {
        t.cut(1);
        t.join(1, resume(V5, "p"));
        t.send(1, aliased("a", alias));
        t.expect_disconnect(1, reason);
    }
    t.nothing(2);
}

#[test]
fn a_client_may_not_send_subscription_identifiers_or_wildcards_to_answer_to() {
    for bytes in [
        &[0x30, 7, 0, 1, b't', 2, 0x0B, 1, b'x'][..],
        &[0x30, 12, 0, 1, b't', 7, 0x08, 0, 4, b'r', b'e', b'/', b'#', b'x'],
    ] {
        let mut t = Bench::new();
        t.join(1, connect(V5, "p"));
        t.bytes(1, bytes);
        assert_eq!(t.next(1).map(|packet| packet[0]), Some(0xE0));
        t.expect_closed(1);
    }
}

#[test]
fn a_copy_above_the_clients_maximum_is_dropped_and_holds_no_place() {
    let mut t = Bench::new();
    let list =
        [Property::U32(PropertyId::MaximumPacketSize, 40), Property::U16(PropertyId::ReceiveMaximum, 1)];
    t.join(2, Connect { properties: properties(&list), ..connect(V5, "s") });
    t.subscribe(2, "t/1", Q1);
    t.subscribe(2, "t/0", Q0);
    t.join(1, connect(V5, "p"));
    // Fixed header 2, topic 5, identifier 2, property length 1.
    for (payload, fits) in [(30, true), (31, false), (30, true)] {
        let payload = "x".repeat(payload);
        t.send(1, message("t/1", Q1, 1, &payload));
        t.expect(1, puback(1));
        if fits {
            let bytes = t.next(2).unwrap();
            assert_eq!(bytes.len(), 40);
            t.send(2, puback(u16::from_be_bytes([bytes[7], bytes[8]])));
        }
        t.nothing(2);
    }
    for (payload, fits) in [(32, true), (33, false)] {
        t.send(1, message("t/0", Q0, 0, &"x".repeat(payload)));
        assert_eq!(t.next(2).map(|bytes| bytes.len()), fits.then_some(40));
    }
    assert_eq!(t.broker.stats().dropped_too_large, 2);
}

#[test]
fn a_topic_above_the_limits_is_refused() {
    let deep = "/".repeat(128);
    let long = "x".repeat(1_025);
    for topic in [deep.as_str(), long.as_str()] {
        let mut t = Bench::new();
        t.join(1, connect(V5, "a"));
        t.send(1, message(topic, Q1, 1, ""));
        t.expect(1, Packet::PubAck(ack(1, ReasonCode::TopicNameInvalid)));
        t.join(2, connect(V311, "b"));
        t.send(2, message(topic, Q1, 1, ""));
        t.expect_closed(2);
        t.send(1, message(&topic[1..], Q1, 2, ""));
        t.expect(1, puback(2));
    }
}

#[test]
fn expiry_counts_down_while_a_message_waits() {
    let expiring = |seconds: u32, qos: QoS, id: u16| {
        let properties = properties(&[
            Property::User("k", "v"),
            Property::U32(PropertyId::MessageExpiryInterval, seconds),
        ]);
        Packet::Publish(Publish { properties, ..publish("t", qos, id, "x") })
    };
    let mut t = Bench::new();
    t.join(1, connect(V5, "p"));
    t.join(2, resume(V5, "s"));
    t.subscribe(2, "t", Q1);
    t.send(1, expiring(10, Q1, 1));
    t.expect(2, expiring(10, Q1, 1));
    t.send(2, puback(1));
    t.cut(2);
    t.send(1, expiring(10, Q1, 2));
    t.send(1, expiring(3, Q1, 3));
    t.wait(secs(4));
    t.join(2, resume(V5, "s"));
    t.expect(2, expiring(6, Q1, 2));
    t.nothing(2);
    assert_eq!(t.broker.stats().dropped_expired, 1);
}

#[test]
fn open_qos_2_exchanges_of_a_3_x_client_are_bounded() {
    let mut t = Bench::new();
    t.join(1, connect(V311, "a"));
    for id in 1..=4_096 {
        t.send(1, message("t", Q2, id, ""));
        t.expect(1, pubrec(id));
    }
    t.send(1, message("t", Q2, 4_097, ""));
    t.expect_closed(1);
}
