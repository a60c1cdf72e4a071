//! Any valid packet of any version is written to bytes that are read as that packet, and written the same again.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::properties::{TABLE_2_4, TABLE_2_6};
use super::wire::kind;
use super::*;

/// A string that lives as long as the tests.
fn text(pattern: &'static str) -> impl Strategy<Value = &'static str> {
    pattern.prop_map(|text| &*text.leak())
}

fn any_text() -> impl Strategy<Value = &'static str> {
    prop_oneof![text("[^\\x00]{0,12}"), text("[a-z]{120,140}")]
}

fn bytes(max: usize) -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..max).prop_map(|bytes| &*bytes.leak())
}

fn topic_name() -> impl Strategy<Value = &'static str> {
    text("[^\\x00+#]{1,12}")
}

fn any_qos() -> impl Strategy<Value = QoS> {
    (0_u8..3).prop_map(|level| QoS::from_u8(level).unwrap())
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1_u16..).prop_map(id)
}

fn any_version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V31), Just(Version::V311), Just(Version::V5)]
}

/// One property with a value of its type within its range.
fn property(id: u8) -> BoxedStrategy<Property<'static>> {
    let number = |max: u32| prop_oneof![1..=max, Just(1), Just(max)];
    let property = PropertyId::from_u8(id).unwrap();
    match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2A => {
            (0_u8..2).prop_map(move |n| Property::U8(property, n)).boxed()
        }
        0x13 | 0x21..=0x23 => {
            number(0xFFFF).prop_map(move |n| Property::U16(property, n.try_into().unwrap())).boxed()
        }
        0x02 | 0x11 | 0x18 | 0x27 => number(u32::MAX).prop_map(move |n| Property::U32(property, n)).boxed(),
        0x0B => number(268_435_455).prop_map(move |n| Property::Varint(property, n)).boxed(),
        0x08 => topic_name().prop_map(move |name| Property::Str(property, name)).boxed(),
        0x09 | 0x16 => bytes(200).prop_map(move |data| Property::Bin(property, data)).boxed(),
        0x26 => (any_text(), any_text()).prop_map(|(name, value)| Property::User(name, value)).boxed(),
        _ => any_text().prop_map(move |text| Property::Str(property, text)).boxed(),
    }
}

/// A choice of the properties that `kind` may have, in any order; user properties more than once.
fn properties(version: Version, kind: u8) -> BoxedStrategy<Properties<'static>> {
    if version != Version::V5 {
        return Just(Properties::EMPTY).boxed();
    }
    let allowed = TABLE_2_4.iter().filter(move |(.., packets)| packets.contains(&kind));
    let mut list: Vec<_> = allowed.map(|(id, ..)| option::of(property(*id))).collect();
    list.push(option::of(property(0x26)));
    if kind == kind::PUBLISH {
        list.push(option::of(property(0x0B)));
    }
    let list = list.prop_map(move |list| {
        let mut list: Vec<_> = list.into_iter().flatten().collect();
        let has = |list: &[Property<'_>], wanted| {
            list.iter().any(
                |property| matches!(property, Property::Str(id, _) | Property::Bin(id, _) if *id == wanted),
            )
        };
        let needs_method = kind == kind::AUTH || has(&list, PropertyId::AuthenticationData);
        if needs_method && !has(&list, PropertyId::AuthenticationMethod) {
            list.push(Property::Str(PropertyId::AuthenticationMethod, "m"));
        }
        list
    });
    prop_oneof![1 => Just(Vec::new()), 4 => list.prop_shuffle()].prop_map(|list| props(&list)).boxed()
}

fn codes_of(kind: u8) -> Vec<u8> {
    TABLE_2_6.iter().filter(|(_, packets)| packets.contains(&kind)).map(|(code, _)| *code).collect()
}

fn reason(version: Version, kind: u8) -> BoxedStrategy<ReasonCode> {
    let codes = match (version, kind) {
        (Version::V5, _) => codes_of(kind),
        (_, kind::CONNACK) => {
            let to_v5 = |code| ReasonCode::from_connack_v3(code).unwrap().as_u8();
            (0..=5).map(to_v5).collect()
        }
        _ => vec![0],
    };
    proptest::sample::select(codes).prop_map(|code| ReasonCode::from_u8(code).unwrap()).boxed()
}

fn codes(version: Version, kind: u8) -> BoxedStrategy<&'static [u8]> {
    let codes = match (version, kind) {
        (Version::V5, _) => codes_of(kind),
        (_, kind::SUBACK) => vec![0, 1, 2, 0x80],
        _ => return Just([].as_slice()).boxed(),
    };
    vec(proptest::sample::select(codes), 1..6).prop_map(|codes| &*codes.leak()).boxed()
}

fn any_connect(version: Version) -> BoxedStrategy<Packet<'static>> {
    let will = (topic_name(), bytes(30), any_qos(), any::<bool>(), properties(version, kind::WILL)).prop_map(
        |(topic, payload, qos, retain, properties)| Will { topic, payload, qos, retain, properties },
    );
    let fields = (any::<bool>(), any::<u16>(), any_text(), option::of(will));
    let who = (option::of(any_text()), option::of(bytes(20)));
    (fields, who, properties(version, kind::CONNECT))
        .prop_map(move |((clean_start, keep_alive, client_id, will), (user_name, password), properties)| {
            let password = password.filter(|_| user_name.is_some() || version == Version::V5);
            Packet::Connect(Connect {
                version,
                bridge: false,
                clean_start,
                keep_alive,
                client_id,
                will,
                user_name,
                password,
                properties,
            })
        })
        .boxed()
}

fn any_publish(version: Version) -> BoxedStrategy<Packet<'static>> {
    let flags = (any::<bool>(), any_qos(), any::<bool>());
    let payload = prop_oneof![bytes(40), bytes(20_000)];
    (flags, topic_name(), any::<bool>(), packet_id(), properties(version, kind::PUBLISH), payload)
        .prop_map(|((dup, qos, retain), topic, by_alias, packet_id, properties, payload)| {
            let has_alias = properties.number(PropertyId::TopicAlias).is_some();
            Packet::Publish(Publish {
                dup: dup && qos != QoS::AtMostOnce,
                qos,
                retain,
                topic: if by_alias && has_alias { "" } else { topic },
                packet_id: (qos != QoS::AtMostOnce).then_some(packet_id),
                properties,
                payload,
            })
        })
        .boxed()
}

fn any_ack(version: Version) -> BoxedStrategy<Packet<'static>> {
    let of = |kind, make: fn(Ack<'static>) -> Packet<'static>| {
        (packet_id(), reason(version, kind), properties(version, kind))
            .prop_map(move |(packet_id, reason, properties)| make(Ack { packet_id, reason, properties }))
    };
    prop_oneof![
        of(kind::PUBACK, Packet::PubAck),
        of(kind::PUBREC, Packet::PubRec),
        of(kind::PUBREL, Packet::PubRel),
        of(kind::PUBCOMP, Packet::PubComp),
    ]
    .boxed()
}

fn filter(version: Version) -> impl Strategy<Value = SubscribeFilter<'static>> {
    let retain_handling =
        prop_oneof![Just(RetainHandling::Always), Just(RetainHandling::IfNew), Just(RetainHandling::Never)];
    let filters = prop_oneof![text("[^\\x00]{1,12}"), text("\\$share/[a-z]/[a-z]{1,5}")];
    (filters, any_qos(), any::<bool>(), any::<bool>(), retain_handling).prop_map(
        move |(filter, qos, no_local, retain_as_published, retain_handling)| {
            let no_local = no_local && !filter.starts_with("$share/");
            let all = SubscribeOptions { qos, no_local, retain_as_published, retain_handling };
            let before_5 = SubscribeOptions { qos, ..Default::default() };
            SubscribeFilter { filter, options: if version == Version::V5 { all } else { before_5 } }
        },
    )
}

fn any_subscription(version: Version) -> BoxedStrategy<Packet<'static>> {
    let subscribe = (packet_id(), properties(version, kind::SUBSCRIBE), vec(filter(version), 1..5)).prop_map(
        |(packet_id, properties, filters)| Packet::Subscribe(Subscribe { packet_id, properties, filters }),
    );
    let suback = (packet_id(), properties(version, kind::SUBACK), codes(version, kind::SUBACK))
        .prop_map(|(packet_id, properties, codes)| Packet::SubAck(SubAck { packet_id, properties, codes }));
    let filters = vec(text("[^\\x00]{1,12}"), 1..5);
    let unsubscribe = (packet_id(), properties(version, kind::UNSUBSCRIBE), filters).prop_map(
        |(packet_id, properties, filters)| {
            Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters })
        },
    );
    let unsuback = (packet_id(), properties(version, kind::UNSUBACK), codes(version, kind::UNSUBACK))
        .prop_map(|(packet_id, properties, codes)| {
            Packet::UnsubAck(UnsubAck { packet_id, properties, codes })
        });
    prop_oneof![subscribe, suback, unsubscribe, unsuback].boxed()
}

fn any_connack(version: Version) -> BoxedStrategy<Packet<'static>> {
    (any::<bool>(), reason(version, kind::CONNACK), properties(version, kind::CONNACK))
        .prop_map(move |(session_present, reason, properties)| {
            let possible = reason == ReasonCode::Success && version != Version::V31;
            Packet::ConnAck(ConnAck { session_present: session_present && possible, reason, properties })
        })
        .boxed()
}

fn any_end(version: Version) -> BoxedStrategy<Packet<'static>> {
    let disconnect = (reason(version, kind::DISCONNECT), properties(version, kind::DISCONNECT))
        .prop_map(|(reason, properties)| Packet::Disconnect(Disconnect { reason, properties }));
    let auth = (reason(Version::V5, kind::AUTH), properties(Version::V5, kind::AUTH)).prop_map(
        |(reason, properties)| {
            let reason = if properties.is_empty() { ReasonCode::Success } else { reason };
            Packet::Auth(Auth { reason, properties })
        },
    );
    if version == Version::V5 { prop_oneof![disconnect, auth].boxed() } else { disconnect.boxed() }
}

/// Any packet that has fields.
fn any_packet() -> impl Strategy<Value = (Version, Packet<'static>)> {
    any_version().prop_flat_map(|version| {
        let packet = prop_oneof![
            any_connect(version),
            any_connack(version),
            any_publish(version),
            any_ack(version),
            any_subscription(version),
            any_end(version),
        ];
        (Just(version), packet)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_was_written_is_read((version, packet) in any_packet()) {
        let bytes = write(&packet, version);
        let again = read(&bytes, version);
        prop_assert_eq!(again.as_ref(), Ok(&packet));
        prop_assert_eq!(write(&again.unwrap(), version), bytes);
    }

    #[test]
    fn properties_are_what_was_pushed(list in vec(any_property(), 0..8)) {
        prop_assert_eq!(props(&list).iter().collect::<Vec<_>>(), list);
    }

    /// One encoding serves many receivers: only the identifier differs, and it stands where the layout says.
    #[test]
    fn a_publish_tells_where_its_identifier_stands(
        (version, packet) in any_version().prop_flat_map(|version| (Just(version), any_publish(version))),
        other in packet_id(),
    ) {
        let Packet::Publish(publish) = packet else { unreachable!() };
        let mut out = b"before".to_vec();
        let blank = Publish { packet_id: None, ..publish.clone() };
        let layout = encode::publish(&blank, version, &mut out).unwrap();
        let bytes = &mut out[6..];
        prop_assert_eq!(bytes.len(), layout.len);
        prop_assert_eq!(layout.packet_id_at.is_some(), publish.qos != QoS::AtMostOnce);
        if let Some(at) = layout.packet_id_at {
            bytes[at..at + 2].copy_from_slice(&other.get().to_be_bytes());
        }
        let expected = Publish { packet_id: layout.packet_id_at.map(|_| other), ..publish };
        prop_assert_eq!(read(bytes, version), Ok(Packet::Publish(expected)));
    }

    #[test]
    fn a_receivers_own_properties_follow_those_of_the_message(
        packet in any_publish(Version::V5),
        subscription in 1_u32..268_435_456,
    ) {
        let Packet::Publish(publish) = packet else { unreachable!() };
        let own = props(&[Property::Varint(PropertyId::SubscriptionIdentifier, subscription)]);
        let mut out = Vec::new();
        encode::publish_with(&publish, own, Version::V5, &mut out).unwrap();
        let all: Vec<_> = publish.properties.iter().chain(own.iter()).collect();
        prop_assert_eq!(read(&out, Version::V5), Ok(Packet::Publish(Publish { properties: props(&all), ..publish.clone() })));
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let named = Publish { topic: "t", ..publish };
        encode::publish_with(&named, own, Version::V311, &mut with).unwrap();
        encode::publish(&named, Version::V311, &mut without).unwrap();
        prop_assert_eq!(with, without);
    }
}

fn any_property() -> impl Strategy<Value = Property<'static>> {
    let ids: Vec<u8> = TABLE_2_4.iter().map(|(id, ..)| *id).collect();
    proptest::sample::select(ids).prop_flat_map(property)
}
