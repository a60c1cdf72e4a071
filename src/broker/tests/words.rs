//! What clients are told beside success and failure: reason strings, "no matching subscribers", the bounds of
//! properties.

use super::*;
use crate::mqtt::PropertyLimits;

/// Joins as client 1 with these properties in CONNECT.
fn join(t: &mut Bench, list: &[Property<'_>]) {
    t.join(1, Connect { properties: properties(list), ..connect(V5, "a") });
}

/// Reason code and reason string of the next packet to client 1.
#[track_caller]
pub(super) fn told(t: &mut Bench) -> (u8, Option<String>) {
    let bytes = t.next(1).expect("an answer");
    let packet = decode(frame(&bytes, 1 << 20).unwrap().unwrap(), V5).unwrap();
    let (code, properties) = match &packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => {
            (ack.reason.as_u8(), ack.properties)
        }
        Packet::SubAck(suback) => (suback.codes[0], suback.properties),
        Packet::ConnAck(connack) => (connack.reason.as_u8(), connack.properties),
        Packet::Disconnect(disconnect) => (disconnect.reason.as_u8(), disconnect.properties),
        other => panic!("{other:?}"),
    };
    (code, properties.string(PropertyId::ReasonString).map(str::to_owned))
}

pub(super) fn words(code: u8, text: &str) -> (u8, Option<String>) {
    (code, Some(text.to_owned()))
}

#[test]
fn a_refusal_is_told_in_words() {
    let mut t = Bench::new();
    join(&mut t, &[]);
    t.send(1, message("$SYS/x", Q1, 1, "x"));
    assert_eq!(told(&mut t), words(0x87, "not authorized"));
    t.send(1, subscribe(1, &[("a/#/b", Q0)]));
    assert_eq!(told(&mut t), words(0x8F, "topic filter invalid"));
    t.send(1, pubrel(9));
    assert_eq!(told(&mut t), words(0x92, "packet identifier not found"));
    t.subscribe(1, "t", Q0);
    t.send(1, message("t", Q1, 1, "x"));
    t.next(1);
    assert_eq!(told(&mut t), (0, None), "a success needs no words");
    t.bytes(1, &[0xC1, 0]);
    assert_eq!(told(&mut t), words(0x81, "malformed packet: reserved flags of the fixed header"));
    t.expect_closed(1);
    let mut t = Bench::new();
    t.open(1);
    let method = properties(&[Property::Str(PropertyId::AuthenticationMethod, "KERBEROS")]);
    t.send(1, Packet::Connect(Connect { properties: method, ..connect(V5, "a") }));
    assert_eq!(told(&mut t), words(0x8C, "bad authentication method"));
}

#[test]
fn a_client_that_wants_no_words_or_has_no_room_gets_the_code_alone() {
    let no_words = Property::U8(PropertyId::RequestProblemInformation, 0);
    let no_room = Property::U32(PropertyId::MaximumPacketSize, 20);
    for property in [no_words, no_room] {
        let mut t = Bench::new();
        t.open(1);
        let properties = properties(&[property]);
        t.send(1, Packet::Connect(Connect { properties, ..connect(V5, "a") }));
        t.next(1);
        t.send(1, message("$SYS/x", Q1, 1, "x"));
        assert_eq!(told(&mut t), (0x87, None));
        t.send(1, subscribe(1, &[("a/#/b", Q0)]));
        assert_eq!(told(&mut t), (0x8F, None));
        t.bytes(1, &[0xC1, 0]);
        assert_eq!(told(&mut t), (0x81, None));
        t.expect_closed(1);
    }
}

#[test]
fn a_publisher_is_told_that_nobody_was_concerned() {
    let mut t = Bench::with(forwarding(&[("up/#", 0)]));
    t.join(2, connect(V5, "s"));
    t.subscribe(2, "plain", Q0);
    t.subscribe(2, "$share/g/shared", Q0);
    join(&mut t, &[]);
    for (id, (topic, expected)) in
        (1..).zip([("plain", 0), ("shared", 0), ("elsewhere", 0x10), ("plain/x", 0x10), ("up/x", 0)])
    {
        for qos in [Q1, Q2] {
            t.send(1, message(topic, qos, id, "x"));
            if topic == "up/x" {
                t.answer(true);
            }
            assert_eq!(told(&mut t), (expected, None), "{topic}");
            if qos == Q2 {
                // It is no failure: the exchange goes on.
                t.send(1, pubrel(id));
                t.expect(1, pubcomp(id));
            }
        }
    }
    t.join(3, connect(V311, "old"));
    t.send(3, message("elsewhere", Q1, 1, "x"));
    assert_eq!(t.next(3).unwrap(), [0x40, 2, 0, 1]);
}

#[test]
fn properties_are_bounded_in_number_and_bytes_while_they_are_read() {
    let limits = PropertyLimits { user_max: 3, bytes_max: 100 };
    let value = "v".repeat(60);
    for (count, value, expected) in [
        (3, "v", None),
        (4, "v", Some("more than 3 user properties")),
        (1, &value, None),
        (2, &value, Some("properties of 132 bytes, 100 are allowed")),
    ] {
        let mut t = Bench::with(Config { properties: limits, ..config() });
        join(&mut t, &[]);
        let user = vec![Property::User("k", value); count];
        let properties = properties(&user);
        t.send(1, Packet::Publish(Publish { properties, ..publish("t", Q1, 1, "x") }));
        match expected {
            None => t.expect(1, puback(1)),
            Some(why) => {
                assert_eq!(told(&mut t), words(0x97, why));
                t.expect_closed(1);
            }
        }
        // A CONNECT and its will have the same bounds.
        t.open(1);
        t.send(1, Packet::Connect(Connect { properties, ..connect(V5, "b") }));
        if expected.is_none() {
            assert!(!t.welcomed(1));
        } else {
            t.expect_closed(1)
        }
        t.open(1);
        let will = Some(Will { properties, ..will("t", "x").unwrap() });
        t.send(1, Packet::Connect(Connect { will, ..connect(V5, "c") }));
        if expected.is_none() { assert!(!t.welcomed(1)) } else { t.expect_closed(1) }
    }
}

#[test]
fn a_longest_keep_alive_holds_for_all() {
    let capped = || Config { keep_alive_max: Some(secs(10)), ..config() };
    for (wanted, server) in [(5, None), (10, None), (11, Some(10)), (0, Some(10))] {
        let mut t = Bench::with(capped());
        t.open(1);
        t.send(1, Packet::Connect(Connect { keep_alive: wanted, ..connect(V5, "a") }));
        let bytes = t.next(1).unwrap();
        let Packet::ConnAck(connack) = decode(frame(&bytes, 1_000).unwrap().unwrap(), V5).unwrap() else {
            panic!("no CONNACK")
        };
        assert_eq!(connack.properties.number(PropertyId::ServerKeepAlive), server, "{wanted}");
        let silence = Duration::from_millis(u64::from(server.unwrap_or(u32::from(wanted))) * 1_500);
        t.wait(silence - millis(1));
        assert!(!t.closed.contains(&1));
        t.wait(millis(1));
        assert!(t.closed.contains(&1));
        // 3.x can't be told.
        let mut t = Bench::with(capped());
        t.open(1);
        t.send(1, Packet::Connect(Connect { keep_alive: wanted, ..connect(V311, "a") }));
        let code = if server.is_some() { 2 } else { 0 };
        assert_eq!(t.next(1).unwrap(), [0x20, 2, 0, code], "{wanted}");
    }
}

#[test]
fn above_the_bound_of_all_queues_the_longest_pays_first() {
    // Each message has 10 bytes.
    let mut t = Bench::with(Config { queues_bytes_max: 100, ..config() });
    t.join(1, connect(V5, "p"));
    for (c, filter) in [(2, "long"), (3, "tiny")] {
        t.join(c, resume(V5, filter));
        t.subscribe(c, filter, Q1);
        t.cut(c);
    }
    let publish = |t: &mut Bench, topic: &str, n: u16| {
        t.send(1, message(topic, Q1, n, &format!("{n:06}")));
        t.expect(1, puback(n));
    };
    (1..=2).for_each(|n| publish(&mut t, "tiny", n));
    (1..=20).for_each(|n| publish(&mut t, "long", n));
    assert_eq!(t.broker.queued_bytes(), 100);
    assert_eq!(t.broker.stats().dropped_queue_full, 12);
    publish(&mut t, "tiny", 3);
    assert_eq!(t.broker.stats().dropped_queue_full, 13);
    t.join(3, resume(V5, "tiny"));
    for (id, n) in (1..).zip(1..=3) {
        t.expect(3, message("tiny", Q1, id, &format!("{n:06}")));
    }
    t.join(2, resume(V5, "long"));
    for (id, n) in (1..).zip(14..=20) {
        t.expect(2, message("long", Q1, id, &format!("{n:06}")));
    }
    assert_eq!(t.broker.queued_bytes(), 0);
    // A session's end gives its bytes back.
    t.cut(2);
    t.join(4, Connect { properties: Properties::EMPTY, ..connect(V5, "other") });
    publish(&mut t, "long", 1);
    assert_eq!(t.broker.queued_bytes(), 10);
    t.join(2, connect(V5, "long"));
    assert_eq!(t.broker.queued_bytes(), 0);
}
