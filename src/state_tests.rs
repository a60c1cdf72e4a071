//! Every kind of value comes back as it was; released bytes are read for ever; damage is told.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::layout::KEY_TEXT_BYTES_MAX;
use super::*;
use crate::mqtt::{PropertiesBuf, Property, RetainHandling};
use crate::record::RecordError;

const WALL: Timestamp = Timestamp::from_millis(1_795_186_265_123);
const SPAN: Span = Span { left: Duration::from_millis(90_000), wall: WALL, trust: ClockTrust::Synced };

fn message(topic: &str) -> Message {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::User("a", "b"));
    Message {
        topic: topic.into(),
        payload: Bytes::from_static(b"21.5"),
        qos: QoS::ExactlyOnce,
        retain: true,
        properties,
        reading: None,
    }
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn values() -> Vec<Value> {
    let stored = Stored { message: message("a/b"), expires: Some(SPAN) };
    let plain = StoredSession {
        serial: 7,
        client_id: "plc".into(),
        user_name: None,
        home: None,
        expiry: None,
        connected: true,
        ends: None,
        sent: 0,
        will: None,
    };
    let full = StoredSession {
        user_name: Some("user".into()),
        home: Some(Home { listener: "lan".into(), own_users: true }),
        expiry: Some(Duration::from_secs(3600)),
        connected: false,
        ends: Some(SPAN),
        sent: 300,
        will: Some((message("will"), SPAN)),
        ..plain.clone()
    };
    let options = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::Never,
    };
    let outbound = Outbound::Message {
        stored: Stored { expires: None, ..stored.clone() },
        qos: QoS::ExactlyOnce,
        retain: true,
        identifiers: vec![1, 300],
    };
    vec![
        Value::Retained(stored),
        Value::Session(Box::new(plain)),
        Value::Session(Box::new(full)),
        Value::Subscription {
            serial: 7,
            filter: TopicFilter::parse("$share/g/a/+/#").unwrap(),
            options,
            id: NonZeroU32::new(9),
        },
        Value::Subscription {
            serial: 7,
            filter: TopicFilter::parse("#").unwrap(),
            options: SubscribeOptions::default(),
            id: None,
        },
        Value::Outbound { serial: 7, number: 70_000, outbound },
        Value::Outbound { serial: 7, number: 1, outbound: Outbound::Released },
        Value::Incoming { serial: 7, packet_id: id(65_535), fingerprint: None },
        Value::Outbound {
            serial: 7,
            number: 2,
            outbound: Outbound::Shared {
                body: 300,
                qos: QoS::AtLeastOnce,
                retain: true,
                identifiers: vec![9],
            },
        },
        Value::Body { number: 300, stored: Stored { message: message("a"), expires: Some(SPAN) } },
        Value::Incoming { serial: 7, packet_id: id(1), fingerprint: Some(300) },
    ]
}

#[test]
fn every_value_comes_back_as_it_was() {
    for value in values() {
        assert_eq!(Value::decode(&value.encode()), Ok(value));
    }
}

#[test]
fn bytes_that_end_early_go_on_or_are_of_a_later_layout_are_refused() {
    for value in values() {
        let bytes = value.encode();
        for end in 0..bytes.len() {
            assert!(Value::decode(&bytes.slice(..end)).is_err(), "{value:?} up to {end}");
        }
        let longer = Bytes::from([&bytes[..], &[0]].concat());
        assert!(Value::decode(&longer).is_err());
        let later = Bytes::from([&[3], &bytes[1..]].concat());
        assert_eq!(Value::decode(&later), Err(RecordError::UnknownVersion(3)));
    }
}

#[test]
fn changed_bytes_never_panic() {
    for value in values() {
        let bytes = value.encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.to_vec();
                bad[at] ^= 1 << bit;
                drop(Value::decode(&Bytes::from(bad)));
            }
        }
    }
}

#[test]
fn layout_1_is_what_was_released() {
    let check = |value: &Value, expected: &[u8]| assert_eq!(value.encode(), expected, "{value:?}");
    let all = values();
    check(&all[7], &[1, 5, 7, 0xFF, 0xFF, 3]);
    check(&all[6], &[1, 4, 7, 1, 1]);
    check(&all[4], &[1, 3, 7, 1, b'#', 0, 0]);
    check(&all[3], b"\x01\x03\x07\x0e$share/g/a/+/#\x2d\x09");
    check(&all[1], b"\x01\x02\x07\x03plc\x04\x00");
    let span = b"\x90\xbf\x05\xc6\xb0\x84\x97\xbf\x68\x01";
    let retained = [&b"\x01\x01\x01"[..], span, b"\x14\x01\x02\x06\x03a/b\x07\x26\x00\x01a\x00\x01b\x0421.5"];
    check(&all[0], &retained.concat());
}

#[test]
fn layout_2_is_what_was_released() {
    let all = values();
    assert_eq!(all[8].encode(), &[2, 4, 7, 2, 5, 1, 9, 0xAC, 0x02][..]);
    let span = b"\x90\xbf\x05\xc6\xb0\x84\x97\xbf\x68\x01";
    let body =
        [&b"\x02\x06\xac\x02\x01"[..], span, b"\x12\x01\x02\x06\x01a\x07\x26\x00\x01a\x00\x01b\x0421.5"];
    assert_eq!(all[9].encode(), body.concat());
    assert_eq!(all[10].encode(), &[2, 5, 7, 1, 0xAC, 0x02][..]);
}

#[test]
fn keys_are_short_and_each_place_has_its_own() {
    let long = "x".repeat(KEY_TEXT_BYTES_MAX);
    let topic = |text: &str| Key::Retained(text.into());
    let keys = [
        topic("a"),
        topic("b"),
        topic(&long),
        topic(&format!("{long}y")),
        topic(&format!("{long}z")),
        topic(&format!("{long}{long}{long}")),
        Key::Session(1),
        Key::Session(2),
        Key::Subscription(1, "a".into()),
        Key::Subscription(2, "a".into()),
        Key::Subscription(1, format!("{long}y").into()),
        Key::Outbound(1, 1),
        Key::Outbound(1, 2),
        Key::Incoming(1, id(1)),
        Key::Incoming(1, id(2)),
        Key::Body(1),
        Key::Body(2),
    ];
    let encoded: std::collections::BTreeSet<Vec<u8>> = keys.iter().map(Key::encode).collect();
    assert_eq!(encoded.len(), keys.len());
    assert!(encoded.iter().all(|key| key.len() <= 226));
}

#[test]
fn a_span_shrinks_by_the_wall_clock_where_both_looks_at_it_were_right() {
    let check = |trusts: [ClockTrust; 2], seconds: i64, expected: u64| {
        let [then, now] = trusts;
        let wall = Timestamp::from_millis(WALL.as_millis() + seconds * 1000);
        let left = Span { trust: then, ..SPAN }.left_at(Now { wall, trust: now, ..Now::default() });
        assert_eq!(left, Duration::from_secs(expected));
    };
    let (good, bad) = (ClockTrust::Synced, ClockTrust::Unsynced);
    check([good, good], 30, 60);
    check([good, good], 300, 0);
    check([good, good], -30, 90);
    check([bad, good], 30, 90);
    check([good, bad], 30, 90);
}
