//! The client machine against a broker of bytes: invented time, no socket.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;

use super::message::{Event, Message, Settings};
use super::session::Session;
use crate::mqtt::{
    self, Ack, ConnAck, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property, PropertyId,
    Publish, QoS, ReasonCode, SubAck, SubscribeOptions, Version,
};
use crate::time::Mono;

fn settings(version: Version) -> Settings {
    Settings {
        version,
        client_id: "me".into(),
        clean_start: true,
        keep_alive: 10,
        user_name: None,
        password: None,
        will: None,
        inflight_max: 2,
        subscribe: Vec::new(),
        unsubscribe: Vec::new(),
        connect_properties: PropertiesBuf::new(),
        subscribe_properties: PropertiesBuf::new(),
        unsubscribe_properties: PropertiesBuf::new(),
        disconnect_properties: PropertiesBuf::new(),
        traced: false,
    }
}

fn message(payload: &'static str, qos: QoS) -> Message {
    Message {
        topic: "t".into(),
        payload: Bytes::from_static(payload.as_bytes()),
        qos,
        retain: false,
        properties: PropertiesBuf::new(),
        packet_id: None,
    }
}

fn at(seconds: u64) -> Mono {
    Mono::ZERO + Duration::from_secs(seconds)
}

fn id(id: u16) -> PacketId {
    PacketId(NonZeroU16::new(id).unwrap())
}

fn ack(packet_id: u16) -> Ack<'static> {
    Ack { packet_id: id(packet_id), reason: ReasonCode::Success, properties: Properties::EMPTY }
}

fn publish(payload: &'static str, qos: QoS, packet_id: Option<u16>, dup: bool) -> Packet<'static> {
    Packet::Publish(Publish {
        dup,
        qos,
        retain: false,
        topic: "t",
        packet_id: packet_id.map(id),
        properties: Properties::EMPTY,
        payload: payload.as_bytes(),
    })
}

fn give(session: &mut Session, packet: &Packet<'_>) -> Result<(), String> {
    let mut bytes = Vec::new();
    mqtt::encode(packet, session.version(), &mut bytes).unwrap();
    // Cut anywhere.
    let (start, end) = bytes.split_at(bytes.len() / 2);
    session.bytes(at(1), start)?;
    session.bytes(at(1), end)
}

fn welcome(session: &mut Session, session_present: bool, properties: &PropertiesBuf) {
    session.open(at(0));
    assert!(sent(session).first().unwrap().starts_with("CONNECT"));
    let properties = properties.as_properties();
    let connack = ConnAck { session_present, reason: ReasonCode::Success, properties };
    give(session, &Packet::ConnAck(connack)).unwrap();
    assert_eq!(session.poll_event(), Some(Event::Connected));
}

/// The packets that the machine has sent, in lines.
fn sent(session: &mut Session) -> Vec<String> {
    let bytes = session.take_output();
    let mut rest: &[u8] = &bytes;
    let mut lines = Vec::new();
    while let Some(frame) = mqtt::frame(rest, usize::MAX).unwrap() {
        lines.push(mqtt::decode(frame, session.version()).unwrap().describe().to_string());
        rest = &rest[frame.len..];
    }
    lines
}

fn ready(version: Version) -> Session {
    let mut session = Session::new(settings(version));
    welcome(&mut session, false, &PropertiesBuf::new());
    session
}

#[test]
fn messages_leave_in_order_and_no_more_than_the_window_at_once() {
    let mut session = ready(Version::V311);
    for (payload, qos) in [
        ("a", QoS::AtLeastOnce),
        ("bb", QoS::ExactlyOnce),
        ("ccc", QoS::AtMostOnce),
        ("dddd", QoS::AtLeastOnce),
        ("eeeee", QoS::AtMostOnce),
    ] {
        session.publish(at(1), message(payload, qos));
    }
    let expected = [
        r#"PUBLISH "t" m1 q1 r0 d0, 1 bytes"#,
        r#"PUBLISH "t" m2 q2 r0 d0, 2 bytes"#,
        r#"PUBLISH "t" q0 r0 d0, 3 bytes"#,
    ];
    assert_eq!(sent(&mut session), expected);
    assert_eq!(session.backlog(), 2);
    give(&mut session, &Packet::PubAck(ack(1))).unwrap();
    let expected = [r#"PUBLISH "t" m3 q1 r0 d0, 4 bytes"#, r#"PUBLISH "t" q0 r0 d0, 5 bytes"#];
    assert_eq!(sent(&mut session), expected);
    give(&mut session, &Packet::PubRec(ack(2))).unwrap();
    assert_eq!(sent(&mut session), ["PUBREL m2"]);
    give(&mut session, &Packet::PubComp(ack(2))).unwrap();
    assert!(!session.is_settled());
    give(&mut session, &Packet::PubAck(ack(3))).unwrap();
    assert!(session.is_settled());
}

#[test]
fn what_was_under_way_is_sent_again_on_the_next_connection() {
    for (session_present, expected) in [
        (true, vec![r#"PUBLISH "t" m1 q1 r0 d1, 1 bytes"#, "PUBREL m2"]),
        // A broker that has forgotten the session has still taken what it confirmed with PUBREC.
        (false, vec![r#"PUBLISH "t" m1 q1 r0 d0, 1 bytes"#]),
    ] {
        let mut session = ready(Version::V311);
        session.publish(at(1), message("a", QoS::AtLeastOnce));
        session.publish(at(1), message("b", QoS::ExactlyOnce));
        give(&mut session, &Packet::PubRec(ack(2))).unwrap();
        session.lost();
        assert!(!session.is_ready());
        welcome(&mut session, session_present, &PropertiesBuf::new());
        assert_eq!(sent(&mut session), expected);
    }
}

#[test]
fn a_message_with_qos_2_is_told_once_however_often_it_comes() {
    let mut session = ready(Version::V311);
    for dup in [false, true] {
        give(&mut session, &publish("x", QoS::ExactlyOnce, Some(5), dup)).unwrap();
        assert_eq!(session.poll_event(), None);
    }
    for times in 0..2 {
        give(&mut session, &Packet::PubRel(ack(5))).unwrap();
        let told = matches!(session.poll_event(), Some(Event::Message(message)) if message.payload == "x");
        assert_eq!(told, times == 0);
    }
    assert_eq!(sent(&mut session), ["PUBREC m5", "PUBREC m5", "PUBCOMP m5", "PUBCOMP m5"]);
}

#[test]
fn the_limits_of_connack_hold_for_messages_and_pings() {
    let mut properties = PropertiesBuf::new();
    for property in [
        Property::U16(PropertyId::ReceiveMaximum, 1),
        Property::U32(PropertyId::MaximumPacketSize, 30),
        Property::U8(PropertyId::MaximumQoS, 1),
        Property::U8(PropertyId::RetainAvailable, 0),
        Property::U16(PropertyId::ServerKeepAlive, 3),
    ] {
        assert!(properties.push(property));
    }
    let mut session = Session::new(settings(Version::V5));
    welcome(&mut session, false, &properties);
    let long = "0123456789012345678901234567890123456789";
    for (message, part) in [
        (message("x", QoS::ExactlyOnce), "QoS 1 at most"),
        (Message { retain: true, ..message("x", QoS::AtMostOnce) }, "retained"),
        (message(long, QoS::AtMostOnce), "30 bytes"),
    ] {
        session.publish(at(1), message);
        match session.poll_event() {
            Some(Event::Undelivered { why, .. }) => assert!(why.contains(part), "{why}"),
            other => panic!("{part}: {other:?}"),
        }
    }
    session.publish(at(1), message("x", QoS::AtLeastOnce));
    session.publish(at(1), message("y", QoS::AtLeastOnce));
    assert_eq!(sent(&mut session).len(), 1, "a receive maximum of 1");
    assert_eq!(session.next_deadline(), Some(at(4)));
}

#[test]
fn a_silent_connection_is_tried_out_and_given_up() {
    let mut session = ready(Version::V311);
    assert_eq!(session.next_deadline(), Some(at(10)));
    session.tick(at(9)).unwrap();
    assert!(sent(&mut session).is_empty());
    session.tick(at(10)).unwrap();
    assert_eq!(sent(&mut session), ["PINGREQ"]);
    assert_eq!(session.next_deadline(), Some(at(20)));
    give(&mut session, &Packet::PingResp).unwrap();
    session.tick(at(20)).unwrap();
    assert_eq!(sent(&mut session), ["PINGREQ"]);
    assert!(session.tick(at(30)).unwrap_err().contains("doesn't answer"));
    let mut session = Session::new(settings(Version::V311));
    session.open(at(0));
    assert!(session.tick(at(20)).unwrap_err().contains("CONNECT"), "no CONNACK either");
}

#[test]
fn topic_aliases_are_resolved_as_far_as_they_were_allowed() {
    let mut settings = settings(Version::V5);
    assert!(settings.connect_properties.push(Property::U16(PropertyId::TopicAliasMaximum, 2)));
    let mut session = Session::new(settings);
    welcome(&mut session, false, &PropertiesBuf::new());
    let mut with_alias = |topic: &'static str, alias: u16| {
        let mut properties = PropertiesBuf::new();
        assert!(properties.push(Property::U16(PropertyId::TopicAlias, alias)));
        let result = give(
            &mut session,
            &Packet::Publish(Publish {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: false,
                topic,
                packet_id: None,
                properties: properties.as_properties(),
                payload: b"",
            }),
        );
        result.map(|()| match session.poll_event() {
            Some(Event::Message(message)) => message.topic,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(with_alias("a/b", 2).unwrap(), "a/b");
    assert_eq!(with_alias("", 2).unwrap(), "a/b");
    assert!(with_alias("", 1).unwrap_err().contains("alias"));
    assert!(with_alias("c", 3).unwrap_err().contains("alias"));
}

#[test]
fn subscriptions_are_made_on_each_connection_and_their_answers_told() {
    let mut settings = settings(Version::V5);
    settings.subscribe = vec![
        ("a/#".into(), SubscribeOptions::default()),
        ("b".into(), SubscribeOptions { qos: QoS::ExactlyOnce, ..Default::default() }),
    ];
    settings.unsubscribe = vec!["old".into()];
    let mut session = Session::new(settings);
    for (subscribe, unsubscribe) in [(1, 2), (3, 4)] {
        welcome(&mut session, false, &PropertiesBuf::new());
        let expected = [
            format!(r#"SUBSCRIBE m{subscribe}, "a/#" q0, "b" q2"#),
            format!(r#"UNSUBSCRIBE m{unsubscribe}, "old""#),
        ];
        assert_eq!(sent(&mut session), expected);
        let answer = SubAck { packet_id: id(subscribe), properties: Properties::EMPTY, codes: &[0, 0x87] };
        give(&mut session, &Packet::SubAck(answer)).unwrap();
        assert_eq!(session.poll_event(), Some(Event::Subscribed { codes: vec![0, 0x87] }));
        session.lost();
    }
}

#[test]
fn refusals_and_the_brokers_goodbye_are_told() {
    let mut properties = PropertiesBuf::new();
    assert!(properties.push(Property::Str(PropertyId::ReasonString, "not you")));
    let words = Some("not you".to_owned());
    let mut session = Session::new(settings(Version::V5));
    session.open(at(0));
    let reason = ReasonCode::NotAuthorized;
    let properties = properties.as_properties();
    give(&mut session, &Packet::ConnAck(ConnAck { session_present: false, reason, properties })).unwrap();
    assert_eq!(session.poll_event(), Some(Event::Refused { reason, words: words.clone() }));
    let mut session = ready(Version::V5);
    let reason = ReasonCode::ServerShuttingDown;
    give(&mut session, &Packet::Disconnect(Disconnect { reason, properties })).unwrap();
    assert_eq!(session.poll_event(), Some(Event::Ended { reason, words }));
}

#[test]
fn words_that_the_code_has_anyway_are_not_told_twice() {
    for (words, expected) in [
        ("not authorized", "not authorized (0x87)"),
        ("topic a is ann's", "not authorized (0x87): topic a is ann's"),
    ] {
        let mut properties = PropertiesBuf::new();
        assert!(properties.push(Property::Str(PropertyId::ReasonString, words)));
        let mut session = ready(Version::V5);
        session.publish(at(1), message("x", QoS::AtLeastOnce));
        let ack = Ack { reason: ReasonCode::NotAuthorized, properties: properties.as_properties(), ..ack(1) };
        give(&mut session, &Packet::PubAck(ack)).unwrap();
        assert!(matches!(session.poll_event(), Some(Event::Undelivered { why, .. }) if why == expected));
    }
}

#[test]
fn a_refused_message_is_told_with_the_brokers_reason() {
    for (qos, is_rec) in [(QoS::AtLeastOnce, false), (QoS::ExactlyOnce, true)] {
        let mut session = ready(Version::V5);
        session.publish(at(1), message("x", qos));
        let ack = Ack { reason: ReasonCode::QuotaExceeded, ..ack(1) };
        give(&mut session, &if is_rec { Packet::PubRec(ack) } else { Packet::PubAck(ack) }).unwrap();
        assert!(matches!(session.poll_event(), Some(Event::Undelivered { why, .. }) if why.contains("0x97")));
        assert!(session.is_settled());
    }
}

#[test]
fn what_is_no_mqtt_ends_the_connection_in_words() {
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n"[..], &[0x20, 0x02, 0x00], &[0x30, 0x03, 0, 1, b't']] {
        let mut session = Session::new(settings(Version::V311));
        session.open(at(0));
        let result = session.bytes(at(0), bytes).and_then(|()| session.bytes(at(0), &[0xFF; 300]));
        assert!(result.is_err(), "{bytes:?}");
    }
}
