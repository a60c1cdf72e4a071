//! Properties and reason codes against the standard's tables, typed a second time from the standard's text.

use super::wire::kind::{
    AUTH, CONNACK, CONNECT, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE,
    UNSUBACK, UNSUBSCRIBE, WILL,
};
use super::*;

/// Table 2-4: identifier, a value, packets.
pub(super) const TABLE_2_4: [(u8, &str, &[u8]); 27] = [
    (0x01, "01", &[PUBLISH, WILL]),
    (0x02, "0000003c", &[PUBLISH, WILL]),
    (0x03, "0001 61", &[PUBLISH, WILL]),
    (0x08, "0001 61", &[PUBLISH, WILL]),
    (0x09, "0001 ff", &[PUBLISH, WILL]),
    (0x0B, "8001", &[PUBLISH, SUBSCRIBE]),
    (0x11, "00000000", &[CONNECT, CONNACK, DISCONNECT]),
    (0x12, "0001 61", &[CONNACK]),
    (0x13, "0000", &[CONNACK]),
    (0x15, "0001 61", &[CONNECT, CONNACK, AUTH]),
    (0x16, "0001 ff", &[CONNECT, CONNACK, AUTH]),
    (0x17, "00", &[CONNECT]),
    (0x18, "ffffffff", &[WILL]),
    (0x19, "01", &[CONNECT]),
    (0x1A, "0001 61", &[CONNACK]),
    (0x1C, "0001 61", &[CONNACK, DISCONNECT]),
    (0x1F, "0001 61", &[CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH]),
    (0x21, "ffff", &[CONNECT, CONNACK]),
    (0x22, "0000", &[CONNECT, CONNACK]),
    (0x23, "ffff", &[PUBLISH]),
    (0x24, "01", &[CONNACK]),
    (0x25, "00", &[CONNACK]),
    (
        0x26,
        "0001 61 0001 62",
        &[
            WILL,
            CONNECT,
            CONNACK,
            PUBLISH,
            PUBACK,
            PUBREC,
            PUBREL,
            PUBCOMP,
            SUBSCRIBE,
            SUBACK,
            UNSUBSCRIBE,
            UNSUBACK,
            DISCONNECT,
            AUTH,
        ],
    ),
    (0x27, "00000001", &[CONNECT, CONNACK]),
    (0x28, "01", &[CONNACK]),
    (0x29, "00", &[CONNACK]),
    (0x2A, "01", &[CONNACK]),
];

/// A packet (or will) of this type with these properties, otherwise right.
fn with_properties(kind: u8, list: &[u8]) -> Vec<u8> {
    let list = [&[u8::try_from(list.len()).unwrap()], list].concat();
    let method = |list: &[u8]| [&[list[0] + 4, 0x15, 0, 1, b'm'], &list[1..]].concat();
    match kind {
        WILL => packet(0x10, &[b"\0\x04MQTT\x05\x04\0\0\0\0\0", &list, b"\0\x01w\0\0"]),
        // Authentication data wants its method.
        CONNECT if list.get(1) == Some(&0x16) => {
            packet(0x10, &[b"\0\x04MQTT\x05\0\0\0", &method(&list), b"\0\0"])
        }
        CONNECT => packet(0x10, &[b"\0\x04MQTT\x05\0\0\0", &list, b"\0\0"]),
        CONNACK => packet(0x20, &[&[0, 0], &list]),
        PUBLISH => packet(0x30, &[b"\0\x01t", &list]),
        PUBREL => packet(0x62, &[&[0, 1, 0], &list]),
        PUBACK | PUBREC | PUBCOMP => packet(kind << 4, &[&[0, 1, 0], &list]),
        SUBSCRIBE => packet(0x82, &[&[0, 1], &list, b"\0\x01f\0"]),
        UNSUBSCRIBE => packet(0xA2, &[&[0, 1], &list, b"\0\x01f"]),
        SUBACK | UNSUBACK => packet(kind << 4, &[&[0, 1], &list, &[0]]),
        DISCONNECT => packet(0xE0, &[&[0], &list]),
        AUTH if list.get(1) == Some(&0x15) => packet(0xF0, &[&[0x18], &list]),
        AUTH => packet(0xF0, &[&[0x18], &method(&list)]),
        _ => unreachable!("{kind} has no properties"),
    }
}

const WITH_PROPERTIES: [u8; 14] = [
    WILL,
    CONNECT,
    CONNACK,
    PUBLISH,
    PUBACK,
    PUBREC,
    PUBREL,
    PUBCOMP,
    SUBSCRIBE,
    SUBACK,
    UNSUBSCRIBE,
    UNSUBACK,
    DISCONNECT,
    AUTH,
];

#[test]
fn a_property_stands_where_table_2_4_puts_it() {
    for (id, value, packets) in TABLE_2_4 {
        for kind in WITH_PROPERTIES {
            let one = [vec![id], hex(value)].concat();
            let allowed = packets.contains(&kind);
            let misplaced = DecodeError::Malformed("a property that this packet can't have");
            let expected = if allowed { Ok(()) } else { Err(misplaced) };
            assert_eq!(
                read(&with_properties(kind, &one), Version::V5).map(drop),
                expected,
                "{id:02x} in {kind}"
            );
            if !allowed {
                continue;
            }
            let repeats = id == 0x26 || (id == 0x0B && kind == PUBLISH);
            let twice = DecodeError::Protocol("a property stands twice");
            let expected = if repeats { Ok(()) } else { Err(twice) };
            let both = [one.clone(), one].concat();
            assert_eq!(
                read(&with_properties(kind, &both), Version::V5).map(drop),
                expected,
                "{id:02x} in {kind}"
            );
        }
    }
}

#[test]
fn only_the_properties_of_table_2_4_exist() {
    let known: Vec<u8> = TABLE_2_4.iter().map(|(id, ..)| *id).collect();
    let mut names = Vec::new();
    for id in 0..=255 {
        let found = PropertyId::from_u8(id);
        assert_eq!(found.is_some(), known.contains(&id), "{id:02x}");
        if let Some(property) = found {
            assert_eq!(property.as_u8(), id);
            names.push(property.name());
        } else {
            let refused = read(&with_properties(CONNACK, &[id]), Version::V5).map(drop);
            assert_eq!(refused, Err(DecodeError::Malformed("an unknown property")));
        }
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 27, "a name of its own for each");
}

#[test]
fn values_are_found_by_name_and_type() {
    use PropertyId as P;
    let list = props(&[
        Property::U8(P::PayloadFormatIndicator, 1),
        Property::User("k", "v"),
        Property::Str(P::ContentType, "text"),
        Property::Bin(P::CorrelationData, b"\0\xFF"),
        Property::Varint(P::SubscriptionIdentifier, 300),
        Property::Varint(P::SubscriptionIdentifier, 2),
        Property::U32(P::MessageExpiryInterval, u32::MAX),
    ]);
    assert_eq!(list.number(P::PayloadFormatIndicator), Some(1));
    assert_eq!(list.number(P::SubscriptionIdentifier), Some(300)); // the first
    assert_eq!(list.number(P::MessageExpiryInterval), Some(u32::MAX));
    assert_eq!(list.number(P::TopicAlias), None);
    assert_eq!(list.number(P::ContentType), None);
    assert_eq!(list.string(P::ContentType), Some("text"));
    assert_eq!(list.string(P::CorrelationData), None);
    assert_eq!(list.string(P::ResponseTopic), None);
    assert_eq!(list.string(P::UserProperty), None);
    assert_eq!(list.binary(P::CorrelationData), Some(b"\0\xFF".as_slice()));
    assert_eq!(list.binary(P::ContentType), None);
    assert_eq!(list.iter().count(), 7);
    assert_eq!(list.to_buf().as_properties(), list);
    assert!(Properties::EMPTY.is_empty() && Properties::EMPTY.iter().next().is_none());
    assert_eq!(format!("{:?}", props(&[Property::User("k", "v")])), "[User(\"k\", \"v\")]");
}

#[test]
fn what_can_not_stand_on_the_wire_is_not_pushed() {
    use PropertyId as P;
    let long = "a".repeat(65_536);
    let refused = [
        Property::U8(P::PayloadFormatIndicator, 2),
        Property::U8(P::ReceiveMaximum, 1),
        Property::U16(P::ReceiveMaximum, 0),
        Property::U32(P::MaximumPacketSize, 0),
        Property::U32(P::SubscriptionIdentifier, 1),
        Property::Varint(P::SubscriptionIdentifier, 0),
        Property::Varint(P::SubscriptionIdentifier, 268_435_456),
        Property::Str(P::CorrelationData, "a"),
        Property::Str(P::UserProperty, "a"),
        Property::Bin(P::ContentType, b"a"),
        Property::Str(P::ContentType, "a\0"),
        Property::Str(P::ContentType, &long),
        Property::Str(P::ResponseTopic, "a/+"),
        Property::Bin(P::CorrelationData, long.as_bytes()),
        Property::User(&long, ""),
        Property::User("", &long),
        Property::User("\0", ""),
    ];
    let mut buf = PropertiesBuf::new();
    for property in refused {
        assert!(!buf.push(property), "{property:?}");
        assert_eq!(buf, PropertiesBuf::new());
    }
    assert!(buf.push(Property::Str(P::ContentType, &long[1..])));
    assert_eq!(buf.as_properties().string(P::ContentType).map(str::len), Some(65_535));
}

#[test]
fn only_what_travels_with_a_message_is_forwarded_unaltered_and_in_order() {
    use PropertyId as P;
    let travelling = [
        Property::User("k", "1"),
        Property::Str(P::ContentType, "t"),
        Property::U8(P::PayloadFormatIndicator, 1),
        Property::User("k", "1"),
        Property::Bin(P::CorrelationData, b"c"),
        Property::Str(P::ResponseTopic, "r"),
        Property::U32(P::MessageExpiryInterval, 5),
        Property::User("a", ""),
    ];
    let mut all = vec![Property::U16(P::TopicAlias, 3), Property::U32(P::WillDelayInterval, 9)];
    all.extend(travelling);
    all.push(Property::Varint(P::SubscriptionIdentifier, 4));
    let mut forwarded = PropertiesBuf::new();
    forwarded.push_forwardable(props(&all));
    assert_eq!(forwarded.as_properties().iter().collect::<Vec<_>>(), travelling);
    for (id, _, packets) in TABLE_2_4 {
        let property = PropertyId::from_u8(id).unwrap();
        let in_message = packets.contains(&PUBLISH) && packets.contains(&WILL);
        assert_eq!(property.is_forwardable(), in_message, "{property:?}");
    }
}

#[test]
fn stored_properties_are_checked_as_those_of_a_publish() {
    let check =
        |bytes: &str, good| assert_eq!(PropertiesBuf::from_stored(&hex(bytes)).is_some(), good, "{bytes}");
    check("", true);
    check("26 0001 61 0001 62 01 01", true);
    check("18 00000000", false);
    check("01 01 01 01", false);
    check("01 02", false);
    check("03 0001 ff", false);
    check("01", false);
    let bytes = hex("26 0001 61 0001 62 01 01");
    assert_eq!(PropertiesBuf::from_stored(&bytes).unwrap().as_properties().as_bytes(), bytes);
}

/// Table 2-6, with DISCONNECT and SUBACK for the other names of 0x00.
pub(super) const TABLE_2_6: [(u8, &[u8]); 43] = [
    (0x00, &[CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK, AUTH, DISCONNECT, SUBACK]),
    (0x01, &[SUBACK]),
    (0x02, &[SUBACK]),
    (0x04, &[DISCONNECT]),
    (0x10, &[PUBACK, PUBREC]),
    (0x11, &[UNSUBACK]),
    (0x18, &[AUTH]),
    (0x19, &[AUTH]),
    (0x80, &[CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT]),
    (0x81, &[CONNACK, DISCONNECT]),
    (0x82, &[CONNACK, DISCONNECT]),
    (0x83, &[CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT]),
    (0x84, &[CONNACK]),
    (0x85, &[CONNACK]),
    (0x86, &[CONNACK]),
    (0x87, &[CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT]),
    (0x88, &[CONNACK]),
    (0x89, &[CONNACK, DISCONNECT]),
    (0x8A, &[CONNACK]),
    (0x8B, &[DISCONNECT]),
    (0x8C, &[CONNACK, DISCONNECT]),
    (0x8D, &[DISCONNECT]),
    (0x8E, &[DISCONNECT]),
    (0x8F, &[SUBACK, UNSUBACK, DISCONNECT]),
    (0x90, &[CONNACK, PUBACK, PUBREC, DISCONNECT]),
    (0x91, &[PUBACK, PUBREC, SUBACK, UNSUBACK]),
    (0x92, &[PUBREL, PUBCOMP]),
    (0x93, &[DISCONNECT]),
    (0x94, &[DISCONNECT]),
    (0x95, &[CONNACK, DISCONNECT]),
    (0x96, &[DISCONNECT]),
    (0x97, &[CONNACK, PUBACK, PUBREC, SUBACK, DISCONNECT]),
    (0x98, &[DISCONNECT]),
    (0x99, &[CONNACK, PUBACK, PUBREC, DISCONNECT]),
    (0x9A, &[CONNACK, DISCONNECT]),
    (0x9B, &[CONNACK, DISCONNECT]),
    (0x9C, &[CONNACK, DISCONNECT]),
    (0x9D, &[CONNACK, DISCONNECT]),
    (0x9E, &[SUBACK, DISCONNECT]),
    (0x9F, &[CONNACK, DISCONNECT]),
    (0xA0, &[DISCONNECT]),
    (0xA1, &[SUBACK, DISCONNECT]),
    (0xA2, &[SUBACK, DISCONNECT]),
];

/// A packet of this type with this reason code, otherwise right.
fn with_reason(kind: u8, code: u8) -> Vec<u8> {
    match kind {
        CONNACK => packet(0x20, &[&[0, code, 0]]),
        PUBREL => packet(0x62, &[&[0, 1, code]]),
        PUBACK | PUBREC | PUBCOMP => packet(kind << 4, &[&[0, 1, code]]),
        SUBACK | UNSUBACK => packet(kind << 4, &[&[0, 1, 0, 0, code]]),
        DISCONNECT => packet(0xE0, &[&[code]]),
        _ => packet(0xF0, &[&[code, 4, 0x15, 0, 1, b'm']]),
    }
}

#[test]
fn a_reason_code_stands_where_table_2_6_puts_it() {
    let refused = Err(DecodeError::Protocol("a reason code that this packet can't carry"));
    for code in 0..=255 {
        let row = TABLE_2_6.iter().find(|(known, _)| *known == code);
        assert_eq!(ReasonCode::from_u8(code).map(ReasonCode::as_u8), row.map(|(known, _)| *known));
        for kind in [CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH] {
            let expected =
                if row.is_some_and(|(_, packets)| packets.contains(&kind)) { Ok(()) } else { refused };
            assert_eq!(
                read(&with_reason(kind, code), Version::V5).map(drop),
                expected,
                "{code:02x} in {kind}"
            );
        }
    }
}

#[test]
fn reason_codes_have_words() {
    let mut all: Vec<&str> = Vec::new();
    for (code, _) in TABLE_2_6 {
        let reason = ReasonCode::from_u8(code).unwrap();
        assert_eq!(reason.is_error(), code >= 0x80);
        all.push(reason.words());
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 43, "words of its own for each");
    assert_eq!(ReasonCode::BadUserNameOrPassword.words(), "bad user name or password");
    assert_eq!(ReasonCode::NotAuthorized.to_string(), "not authorized (0x87)");
}

#[test]
fn return_codes_of_3_x_come_back_as_themselves() {
    for code in 0..=255 {
        let reason = ReasonCode::from_connack_v3(code);
        assert_eq!(reason.is_some(), code <= 5);
        if let Some(reason) = reason {
            assert_eq!(reason.to_connack_v3(), Some(code));
        }
    }
    let check = |reason: ReasonCode, code| assert_eq!(reason.to_connack_v3(), code, "{reason}");
    check(ReasonCode::QuotaExceeded, Some(3));
    check(ReasonCode::ServerBusy, Some(3));
    check(ReasonCode::Banned, Some(5));
    for reason in [ReasonCode::MalformedPacket, ReasonCode::ProtocolError, ReasonCode::PacketTooLarge] {
        check(reason, None);
    }
}
