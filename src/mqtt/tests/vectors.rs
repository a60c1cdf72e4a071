//! Packets as bytes, written by hand from the standards, with what they mean.

use super::*;
use PropertyId as P;
use Version::{V5, V31, V311};

/// A packet in the form that we write.
pub(super) struct Vector {
    pub(super) version: Version,
    pub(super) bytes: Vec<u8>,
    packet: Packet<'static>,
}

fn row(version: Version, bytes: &str, packet: Packet<'static>) -> Vector {
    Vector { version, bytes: hex(bytes), packet }
}

const USER: Property<'_> = Property::User("a", "b");
const USER_HEX: &str = "26 0001 61 0001 62";

/// At least one of each type and version, and one with every property.
pub(super) fn all() -> Vec<Vector> {
    [connects(), connacks(), publishes(), acks(), subscribes(), unsubscribes(), ends()]
        .into_iter()
        .flatten()
        .collect()
}

fn connect(version: Version) -> Connect<'static> {
    Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive: 60,
        client_id: "c",
        will: None,
        user_name: None,
        password: None,
        properties: Properties::EMPTY,
    }
}

fn will(qos: QoS, retain: bool) -> Will<'static> {
    Will { topic: "w", payload: b"x", qos, retain, properties: Properties::EMPTY }
}

fn connects() -> Vec<Vector> {
    let full = |version, will| Connect {
        will: Some(will),
        user_name: Some("u"),
        password: Some(b"p"),
        ..connect(version)
    };
    let properties = props(&[
        Property::U32(P::SessionExpiryInterval, 10),
        Property::U16(P::ReceiveMaximum, 20),
        Property::U32(P::MaximumPacketSize, 4096),
        Property::U16(P::TopicAliasMaximum, 10),
        Property::U8(P::RequestResponseInformation, 1),
        Property::U8(P::RequestProblemInformation, 0),
        USER,
        Property::Str(P::AuthenticationMethod, "m"),
        Property::Bin(P::AuthenticationData, &[1, 2]),
    ]);
    let will_properties = props(&[
        Property::U32(P::WillDelayInterval, 5),
        Property::U8(P::PayloadFormatIndicator, 1),
        Property::U32(P::MessageExpiryInterval, 60),
        Property::Str(P::ContentType, "t"),
        Property::Str(P::ResponseTopic, "r"),
        Property::Bin(P::CorrelationData, &[0]),
        USER,
    ]);
    let rich_will = Will { properties: will_properties, ..will(QoS::ExactlyOnce, true) };
    let rich = "10 5e 0004 4d515454 05 f6 003c \
        24 11 0000000a 21 0014 27 00001000 22 000a 19 01 17 00 26 0001 61 0001 62 15 0001 6d 16 0002 0102 0001 63 \
        1f 18 00000005 01 01 02 0000003c 03 0001 74 08 0001 72 09 0001 00 26 0001 61 0001 62 0001 77 0001 78 \
        0001 75 0001 70";
    vec![
        row(V31, "10 0f 0006 4d5149736470 03 02 003c 0001 63", Packet::Connect(connect(V31))),
        row(
            V31,
            "10 1b 0006 4d5149736470 03 ee 003c 0001 63 0001 77 0001 78 0001 75 0001 70",
            Packet::Connect(full(V31, will(QoS::AtLeastOnce, true))),
        ),
        row(
            V311,
            "10 0c 0004 4d515454 04 00 0000 0000",
            Packet::Connect(Connect { clean_start: false, keep_alive: 0, client_id: "", ..connect(V311) }),
        ),
        row(
            V311,
            "10 19 0004 4d515454 04 d4 ffff 0001 63 0001 77 0001 78 0001 75 0001 70",
            Packet::Connect(Connect {
                clean_start: false,
                keep_alive: 0xFFFF,
                ..full(V311, will(QoS::ExactlyOnce, false))
            }),
        ),
        row(
            V31,
            "10 0f 0006 4d5149736470 83 02 003c 0001 63",
            Packet::Connect(Connect { bridge: true, ..connect(V31) }),
        ),
        row(
            V311,
            "10 0d 0004 4d515454 84 02 003c 0001 63",
            Packet::Connect(Connect { bridge: true, ..connect(V311) }),
        ),
        row(V5, "10 0e 0004 4d515454 05 02 003c 00 0001 63", Packet::Connect(connect(V5))),
        row(
            V5,
            "10 11 0004 4d515454 05 42 003c 00 0001 63 0001 70",
            Packet::Connect(Connect { password: Some(b"p"), ..connect(V5) }),
        ),
        row(V5, rich, Packet::Connect(Connect { properties, ..full(V5, rich_will) })),
    ]
}

fn connack(session_present: bool, reason: ReasonCode) -> Packet<'static> {
    Packet::ConnAck(ConnAck { session_present, reason, properties: Properties::EMPTY })
}

fn connacks() -> Vec<Vector> {
    let properties = props(&[
        Property::U32(P::SessionExpiryInterval, 1),
        Property::U16(P::ReceiveMaximum, 2),
        Property::U8(P::MaximumQoS, 1),
        Property::U8(P::RetainAvailable, 0),
        Property::U32(P::MaximumPacketSize, 100),
        Property::Str(P::AssignedClientIdentifier, "id"),
        Property::U16(P::TopicAliasMaximum, 3),
        Property::Str(P::ReasonString, "ok"),
        USER,
        Property::U8(P::WildcardSubscriptionAvailable, 1),
        Property::U8(P::SubscriptionIdentifierAvailable, 0),
        Property::U8(P::SharedSubscriptionAvailable, 1),
        Property::U16(P::ServerKeepAlive, 30),
        Property::Str(P::ResponseInformation, "r"),
        Property::Str(P::ServerReference, "s"),
        Property::Str(P::AuthenticationMethod, "m"),
        Property::Bin(P::AuthenticationData, b"d"),
    ]);
    let rich = "20 41 01 00 3e 11 00000001 21 0002 24 01 25 00 27 00000064 12 0002 6964 22 0003 1f 0002 6f6b \
        26 0001 61 0001 62 28 01 29 00 2a 01 13 001e 1a 0001 72 1c 0001 73 15 0001 6d 16 0001 64";
    let rich_packet =
        Packet::ConnAck(ConnAck { session_present: true, reason: ReasonCode::Success, properties });
    vec![
        row(V31, "20 02 00 00", connack(false, ReasonCode::Success)),
        row(V31, "20 02 00 05", connack(false, ReasonCode::NotAuthorized)),
        row(V311, "20 02 01 00", connack(true, ReasonCode::Success)),
        row(V311, "20 02 00 01", connack(false, ReasonCode::UnsupportedProtocolVersion)),
        row(V311, "20 02 00 02", connack(false, ReasonCode::ClientIdentifierNotValid)),
        row(V311, "20 02 00 03", connack(false, ReasonCode::ServerUnavailable)),
        row(V311, "20 02 00 04", connack(false, ReasonCode::BadUserNameOrPassword)),
        row(V5, "20 03 00 00 00", connack(false, ReasonCode::Success)),
        row(V5, "20 03 00 87 00", connack(false, ReasonCode::NotAuthorized)),
        row(V5, rich, rich_packet),
    ]
}

fn publish(
    topic: &'static str,
    qos: QoS,
    packet_id: Option<u16>,
    payload: &'static [u8],
) -> Publish<'static> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: packet_id.map(id),
        properties: Properties::EMPTY,
        payload,
    }
}

fn publishes() -> Vec<Vector> {
    let again = Publish { dup: true, retain: true, ..publish("a/b", QoS::AtLeastOnce, Some(0x1234), b"hi") };
    let properties = props(&[
        Property::U8(P::PayloadFormatIndicator, 1),
        Property::U32(P::MessageExpiryInterval, 60),
        Property::U16(P::TopicAlias, 7),
        Property::Str(P::ResponseTopic, "r"),
        Property::Bin(P::CorrelationData, &[0, 0xFF]),
        USER,
        Property::User("a", "c"),
        Property::Varint(P::SubscriptionIdentifier, 2),
        Property::Varint(P::SubscriptionIdentifier, 268_435_455),
        Property::Str(P::ContentType, "t"),
    ]);
    let rich = "35 36 0003 612f62 0001 2c 01 01 02 0000003c 23 0007 08 0001 72 09 0002 00ff 26 0001 61 0001 62 \
        26 0001 61 0001 63 0b 02 0b ffffff7f 03 0001 74 6869";
    let rich_packet =
        Publish { retain: true, properties, ..publish("a/b", QoS::ExactlyOnce, Some(1), b"hi") };
    let alias = props(&[Property::U16(P::TopicAlias, 1)]);
    let by_alias = Publish { properties: alias, ..publish("", QoS::AtMostOnce, None, b"") };
    vec![
        row(V31, "32 07 0003 612f62 0001", Packet::Publish(publish("a/b", QoS::AtLeastOnce, Some(1), b""))),
        row(V311, "30 05 0003 612f62", Packet::Publish(publish("a/b", QoS::AtMostOnce, None, b""))),
        row(V311, "3b 09 0003 612f62 1234 6869", Packet::Publish(again)),
        row(
            V311,
            "34 07 0003 612f62 ffff",
            Packet::Publish(publish("a/b", QoS::ExactlyOnce, Some(0xFFFF), b"")),
        ),
        // 1.5.4-3: U+FEFF stays.
        row(
            V311,
            "30 07 0005 efbbbf2f61",
            Packet::Publish(publish("\u{FEFF}/a", QoS::AtMostOnce, None, b"")),
        ),
        // Control characters and non-characters are let through.
        row(
            V5,
            "30 0a 0006 010a7fefbfbf 00 00",
            Packet::Publish(publish("\u{1}\n\u{7F}\u{FFFF}", QoS::AtMostOnce, None, b"\0")),
        ),
        row(V5, "30 08 0003 612f62 00 6869", Packet::Publish(publish("a/b", QoS::AtMostOnce, None, b"hi"))),
        row(V5, "30 06 0000 03 23 0001", Packet::Publish(by_alias)),
        row(V5, rich, Packet::Publish(rich_packet)),
    ]
}

fn acks() -> Vec<Vector> {
    type Make = fn(Ack<'static>) -> Packet<'static>;
    let types: [(&str, Make, &str, ReasonCode); 4] = [
        ("40", Packet::PubAck, "97", ReasonCode::QuotaExceeded),
        ("50", Packet::PubRec, "10", ReasonCode::NoMatchingSubscribers),
        ("62", Packet::PubRel, "92", ReasonCode::PacketIdentifierNotFound),
        ("70", Packet::PubComp, "92", ReasonCode::PacketIdentifierNotFound),
    ];
    let reason_string = Property::Str(P::ReasonString, "x");
    let mut rows = Vec::new();
    for (first, make, code, reason) in types {
        let ack = |reason, list: &[_]| make(Ack { packet_id: id(258), reason, properties: props(list) });
        for version in VERSIONS {
            rows.push(row(version, &format!("{first} 02 0102"), ack(ReasonCode::Success, &[])));
        }
        rows.push(row(V5, &format!("{first} 03 0102 {code}"), ack(reason, &[])));
        rows.push(row(
            V5,
            &format!("{first} 0f 0102 {code} 0b 1f 0001 78 {USER_HEX}"),
            ack(reason, &[reason_string, USER]),
        ));
        rows.push(row(
            V5,
            &format!("{first} 08 0102 00 04 1f 0001 78"),
            ack(ReasonCode::Success, &[reason_string]),
        ));
    }
    rows
}

fn filter(filter: &'static str, qos: QoS) -> SubscribeFilter<'static> {
    SubscribeFilter { filter, options: SubscribeOptions { qos, ..Default::default() } }
}

fn subscribes() -> Vec<Vector> {
    let subscribe = |list: &[_], filters| {
        Packet::Subscribe(Subscribe { packet_id: id(10), properties: props(list), filters })
    };
    let suback =
        |list: &[_], codes| Packet::SubAck(SubAck { packet_id: id(10), properties: props(list), codes });
    let all_options = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::IfNew,
    };
    let never = SubscribeOptions {
        qos: QoS::ExactlyOnce,
        retain_handling: RetainHandling::Never,
        ..Default::default()
    };
    let rich_filters = vec![
        SubscribeFilter { filter: "a/#", options: all_options },
        SubscribeFilter { filter: "$share/g/t", options: never },
        filter("+", QoS::AtMostOnce),
    ];
    let subscription = Property::Varint(P::SubscriptionIdentifier, 268_435_455);
    let reason_string = Property::Str(P::ReasonString, "x");
    vec![
        row(V31, "82 06 000a 0001 23 00", subscribe(&[], vec![filter("#", QoS::AtMostOnce)])),
        row(
            V311,
            "82 0e 000a 0003 612f62 01 0003 632f64 02",
            subscribe(&[], vec![filter("a/b", QoS::AtLeastOnce), filter("c/d", QoS::ExactlyOnce)]),
        ),
        row(
            V5,
            "82 26 000a 0c 0b ffffff7f 26 0001 61 0001 62 0003 612f23 1d 000a 2473686172652f672f74 22 0001 2b 00",
            subscribe(&[subscription, USER], rich_filters),
        ),
        row(V31, "90 03 000a 01", suback(&[], &[1])),
        row(V311, "90 06 000a 00 01 02 80", suback(&[], &[0, 1, 2, 0x80])),
        row(V5, "90 04 000a 00 00", suback(&[], &[0])),
        row(
            V5,
            "90 13 000a 0b 1f 0001 78 26 0001 61 0001 62 00 01 02 80 9e",
            suback(&[reason_string, USER], &[0, 1, 2, 0x80, 0x9E]),
        ),
    ]
}

fn unsubscribes() -> Vec<Vector> {
    let unsubscribe = |list: &[_], filters| {
        Packet::Unsubscribe(Unsubscribe { packet_id: id(10), properties: props(list), filters })
    };
    let unsuback =
        |list: &[_], codes| Packet::UnsubAck(UnsubAck { packet_id: id(10), properties: props(list), codes });
    let reason_string = Property::Str(P::ReasonString, "x");
    vec![
        row(V31, "a2 05 000a 0001 23", unsubscribe(&[], vec!["#"])),
        row(V311, "a2 0c 000a 0003 612f62 0003 632f64", unsubscribe(&[], vec!["a/b", "c/d"])),
        row(V5, "a2 0d 000a 07 26 0001 61 0001 62 0001 23", unsubscribe(&[USER], vec!["#"])),
        row(V31, "b0 02 000a", unsuback(&[], &[])),
        row(V311, "b0 02 000a", unsuback(&[], &[])),
        row(V5, "b0 05 000a 00 00 11", unsuback(&[], &[0, 0x11])),
        row(
            V5,
            "b0 11 000a 0b 1f 0001 78 26 0001 61 0001 62 00 11 87",
            unsuback(&[reason_string, USER], &[0, 0x11, 0x87]),
        ),
    ]
}

fn ends() -> Vec<Vector> {
    let disconnect = |reason, list: &[_]| Packet::Disconnect(Disconnect { reason, properties: props(list) });
    let auth = |reason, list: &[_]| Packet::Auth(Auth { reason, properties: props(list) });
    let method = Property::Str(P::AuthenticationMethod, "m");
    let reason_string = Property::Str(P::ReasonString, "x");
    let mut rows = Vec::new();
    for version in VERSIONS {
        rows.push(row(version, "c0 00", Packet::PingReq));
        rows.push(row(version, "d0 00", Packet::PingResp));
        rows.push(row(version, "e0 00", disconnect(ReasonCode::Success, &[])));
    }
    rows.extend([
        row(V5, "e0 01 04", disconnect(ReasonCode::DisconnectWithWillMessage, &[])),
        row(
            V5,
            "e0 16 9d 14 11 0000000a 1f 0001 78 26 0001 61 0001 62 1c 0001 73",
            disconnect(
                ReasonCode::ServerMoved,
                &[
                    Property::U32(P::SessionExpiryInterval, 10),
                    reason_string,
                    USER,
                    Property::Str(P::ServerReference, "s"),
                ],
            ),
        ),
        row(V5, "f0 00", auth(ReasonCode::Success, &[])),
        row(V5, "f0 06 19 04 15 0001 6d", auth(ReasonCode::ReAuthenticate, &[method])),
        row(
            V5,
            "f0 16 18 14 15 0001 6d 16 0002 0102 1f 0001 78 26 0001 61 0001 62",
            auth(
                ReasonCode::ContinueAuthentication,
                &[method, Property::Bin(P::AuthenticationData, &[1, 2]), reason_string, USER],
            ),
        ),
    ]);
    rows
}

#[test]
fn a_packet_is_read_from_its_bytes_and_written_to_them() {
    for Vector { version, bytes, packet } in all() {
        assert_eq!(read(&bytes, version), Ok(packet.clone()), "{version:?} {bytes:02x?}");
        assert_eq!(write(&packet, version), bytes, "{version:?} {packet:?}");
    }
}

#[test]
fn every_packet_type_of_every_version_has_a_vector() {
    let vectors = all();
    for version in VERSIONS {
        for kind in 1..=15 {
            let there =
                vectors.iter().any(|vector| vector.version == version && vector.bytes[0] >> 4 == kind);
            assert_eq!(there, kind != 15 || version == V5, "{version:?} {kind}");
        }
    }
}

#[test]
fn connect_tells_its_own_version() {
    for vector in all() {
        if let Packet::Connect(_) = vector.packet {
            for version in VERSIONS {
                assert_eq!(read(&vector.bytes, version).as_ref(), Ok(&vector.packet));
            }
        }
    }
}

/// Forms that others may send and we don't.
#[test]
fn longer_and_older_forms_mean_the_same() {
    let check = |version, theirs: &str, ours: &str| {
        let (theirs, ours) = (hex(theirs), hex(ours));
        assert_eq!(read(&theirs, version), read(&ours, version), "{theirs:02x?}");
        assert_eq!(write(&read(&theirs, version).unwrap(), version), ours);
    };
    check(V5, "40 03 0001 00", "40 02 0001");
    check(V5, "40 04 0001 00 00", "40 02 0001");
    check(V5, "62 04 0001 92 00", "62 03 0001 92");
    check(V5, "e0 01 00", "e0 00");
    check(V5, "e0 02 00 00", "e0 00");
    check(V5, "f0 02 00 00", "f0 00");
    // 3.1: DUP on what is repeated.
    check(V31, "6a 02 0001", "62 02 0001");
    check(V31, "8a 06 000a 0001 23 00", "82 06 000a 0001 23 00");
    check(V31, "aa 05 000a 0001 23", "a2 05 000a 0001 23");
    // 3.1: CONNACK's first byte is reserved.
    check(V31, "20 02 01 00", "20 02 00 00");
    // 3.1: the packet may end before a user name or password that the flags promise.
    check(V31, "10 0f 0006 4d5149736470 03 c2 003c 0001 63", "10 0f 0006 4d5149736470 03 02 003c 0001 63");
    check(
        V31,
        "10 12 0006 4d5149736470 03 c2 003c 0001 63 0001 75",
        "10 12 0006 4d5149736470 03 82 003c 0001 63 0001 75",
    );
    // 3.x: a padded remaining length.
    check(V311, "c0 80 00", "c0 00");
    check(V311, "30 85 80 80 00 0003 612f62", "30 05 0003 612f62");
    check(V311, "10 8c 00 0004 4d515454 04 00 0000 0000", "10 0c 0004 4d515454 04 00 0000 0000");
}

#[test]
fn what_a_version_does_not_have_is_left_out() {
    let check = |version, packet: &Packet<'_>, bytes: &str| {
        assert_eq!(write(packet, version), hex(bytes), "{version:?} {packet:?}");
    };
    let properties = props(&[USER]);
    let refused = Ack { packet_id: id(1), reason: ReasonCode::QuotaExceeded, properties };
    check(V311, &Packet::PubAck(refused), "40 02 0001");
    let codes = &[0, 1, 2, 0x80, 0x97];
    check(V311, &Packet::SubAck(SubAck { packet_id: id(1), properties, codes }), "90 07 0001 00 01 02 80 80");
    let codes = &[0, 0x11];
    check(V31, &Packet::UnsubAck(UnsubAck { packet_id: id(1), properties, codes }), "b0 02 0001");
    let moved = Disconnect { reason: ReasonCode::ServerMoved, properties };
    check(V311, &Packet::Disconnect(moved), "e0 00");
    let connack = |session_present, reason| Packet::ConnAck(ConnAck { session_present, reason, properties });
    check(V31, &connack(true, ReasonCode::Success), "20 02 00 00");
    check(V311, &connack(true, ReasonCode::Success), "20 02 01 00");
    check(V311, &connack(false, ReasonCode::QuotaExceeded), "20 02 00 03");
    check(V311, &connack(false, ReasonCode::Banned), "20 02 00 05");
    let dup = Publish { dup: true, ..publish("a", QoS::AtMostOnce, None, b"") };
    check(V311, &Packet::Publish(dup), "30 03 0001 61");
}
