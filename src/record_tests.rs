//! Records: round trips, layout 1 as bytes, damage.

use proptest::prelude::*;

use super::*;
use crate::mqtt::{Property, PropertyId};

fn weather() -> Message {
    Message {
        topic: "fieldgate/g1/data/weather".into(),
        payload: Bytes::new(),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: PropertiesBuf::new(),
        reading: Some(Arc::new(Reading {
            device: "weather".into(),
            seq: Seq { run: Run(17), number: 1842 },
            boot: BootId([0xA0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
            mono: Mono::from_nanos(3_600_000_000_123),
            wall: Timestamp::from_millis(1_795_186_265_123),
            trust: ClockTrust::Synced,
            samples: vec![
                sample("temperature", Some(Value::Number(21.5)), Quality::Good),
                sample("count", Some(Value::Integer(-3)), Quality::Good),
                sample("rain", Some(Value::Bool(true)), Quality::Good),
                sample("door", Some(Value::Bool(false)), Quality::Good),
                sample("state", Some(Value::Text("café".into())), Quality::Good),
                sample("wind", Some(Value::Number(999.0)), Quality::OutOfRange),
                sample("light", None, Quality::Invalid),
            ],
        })),
    }
}

fn sample(point: &str, value: Option<Value>, quality: Quality) -> Sample {
    Sample { point: point.into(), value, quality }
}

fn command() -> Message {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::U8(PropertyId::PayloadFormatIndicator, 1));
    properties.push(Property::User("from", "page"));
    Message {
        topic: "shop/lamp".into(),
        payload: Bytes::from_static(b"on\0\xFF"),
        qos: QoS::ExactlyOnce,
        retain: false,
        properties,
        reading: None,
    }
}

/// Layout 1, as first released. These bytes may never be edited: they lie on people's flash.
const WEATHER_V1: &str = "01010d c6b08497bf68 196669656c64676174652f67312f646174612f77656174686572 0777656174686572 11 \
    b20e a00102030405060708090a0b0c0d0e0f fbc0e285e368 07 0b74656d7065726174757265 \
    040000000000803540 05636f756e74 0805 047261696e 10 04646f6f72 0c 057374617465 1405636166c3a9 \
    0477696e64 060000000000388f40 056c69676874 01";
const COMMAND_V1: &str = "010202 0973686f702f6c616d70 0f010126000466726f6d000470616765 046f6e00ff";

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect::<Vec<u8>>()
        .into()
}

#[test]
fn layout_1_is_read_and_written_for_ever() {
    for (stored, message) in [(WEATHER_V1, weather()), (COMMAND_V1, command())] {
        let stored = hex(stored);
        assert_eq!(decode(&stored).unwrap(), message);
        assert_eq!(encode(&message), stored, "{:02x?}", encode(&message).as_ref());
    }
}

#[test]
fn the_payload_is_a_part_of_the_record_and_no_copy() {
    let stored = hex(COMMAND_V1);
    let payload = decode(&stored).unwrap().payload;
    assert_eq!(payload.as_ptr(), stored[stored.len() - 4..].as_ptr());
}

#[test]
fn a_reading_comes_back_without_the_payload_that_was_made_at_intake() {
    let with_payload = Message { payload: Bytes::from_static(b"{\"values\":{}}"), ..weather() };
    assert_eq!(encode(&with_payload), encode(&weather()));
}

#[test]
fn a_number_that_is_not_finite_costs_its_value_and_not_the_reading() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut message = weather();
        let reading = Arc::make_mut(message.reading.as_mut().unwrap());
        reading.samples = vec![sample("t", Some(Value::Number(number)), Quality::Good)];
        let kept = decode(&encode(&message)).unwrap().reading.unwrap();
        assert_eq!(kept.samples, [sample("t", None, Quality::Invalid)]);
    }
}

#[test]
fn a_message_keeps_the_time_of_its_arrival_where_that_is_known() {
    let at = Timestamp::from_millis(1_795_186_265_123);
    let message = decode(&hex(COMMAND_V1)).unwrap();
    let dated = encode_at(&message, Some(at));
    assert_eq!((dated.get(1), wall_of(&dated)), (Some(&3), Some(at)));
    assert_eq!(decode(&dated).unwrap(), message);
    assert_eq!(encode_at(&message, None), hex(COMMAND_V1));
    let weather = decode(&hex(WEATHER_V1)).unwrap();
    assert_eq!(encode_at(&weather, Some(at)), hex(WEATHER_V1), "a reading has a time of its own");
}

#[test]
fn only_a_reading_has_a_wall_clock() {
    assert_eq!(wall_of(&hex(WEATHER_V1)), Some(Timestamp::from_millis(1_795_186_265_123)));
    assert_eq!(wall_of(&hex(COMMAND_V1)), None);
    assert_eq!(wall_of(&[]), None);
}

#[test]
fn damage_is_told_in_words() {
    let check = |stored: &str, expected: RecordError| {
        assert_eq!(decode(&hex(stored)), Err(expected), "{stored}");
    };
    let damaged = RecordError::Damaged;
    check("", damaged("it ends inside a field"));
    check("00", damaged("layout 0"));
    check("02 02 00 0161 00 00", RecordError::UnknownVersion(2));
    check("ff", RecordError::UnknownVersion(255));
    check("01 00 00", damaged("neither a reading nor a message"));
    check("01 03 00", damaged("it ends inside a field"));
    check("01 04 00", damaged("neither a reading nor a message"));
    check("01 02 03 0161 00 00", damaged("QoS 3"));
    check("01 02 08 0161 00 00", damaged("unknown flags")); // a message has no clock
    check("01 01 10 00 0161", damaged("unknown flags"));
    check("01 02 00 00 00 00", damaged("the topic is no topic name"));
    check("01 02 00 0123 00 00", damaged("the topic is no topic name"));
    check("01 02 00 01ff 00 00", damaged("a text is not UTF-8"));
    check("01 02 00 0161 02 0102 00", damaged("the properties are not those of a PUBLISH"));
    check("01 02 00 0161 02 2101 00", damaged("the properties are not those of a PUBLISH"));
    check("01 02 00 0161 00 00 00", damaged("bytes behind the last field"));
    check("01 02 00 0161 00 01", damaged("it ends inside a field"));
    check("01 02 00 0161 00 ffffffffffffffffff01", damaged("it ends inside a field"));
    check("01 02 00 0161 00 ffffffffffffffffff02", damaged("an integer of more than 64 bits"));
    let reading = |samples: &str| format!("01 01 00 00 0161 0164 01 01 {} 00 {samples}", "00".repeat(16));
    assert!(decode(&hex(&reading("00"))).unwrap().reading.unwrap().samples.is_empty());
    check(&reading("ffffffffffffffff7f"), damaged("it ends inside a field"));
    check(&reading("01 0170 18"), damaged("an unknown type of value"));
    check(&reading("01 0170 04 000000000000f07f"), damaged("a number that is not finite"));
    check(&reading("01 0170 00 00"), damaged("bytes behind the last field"));
}

#[test]
fn a_record_cut_anywhere_is_damaged() {
    for stored in [hex(WEATHER_V1), hex(COMMAND_V1)] {
        for len in 0..stored.len() {
            assert!(decode(&stored.slice(..len)).is_err(), "cut at {len}");
        }
    }
}

/// Whatever still decodes is a message that the rest of the gateway can live with: it encodes and decodes to
/// itself again.
fn check_no_harm(bytes: Vec<u8>) {
    if let Ok(message) = decode(&bytes.into()) {
        assert_eq!(decode(&encode(&message)), Ok(message));
    }
}

#[test]
fn a_record_with_any_byte_changed_does_no_harm() {
    for stored in [hex(WEATHER_V1), hex(COMMAND_V1)] {
        for at in 0..stored.len() {
            for value in 0..=255 {
                let mut bytes = stored.to_vec();
                bytes[at] = value;
                check_no_harm(bytes);
            }
        }
    }
}

#[test]
fn the_last_record_number_has_no_successor_but_itself() {
    assert_eq!(RecordNo(1).next(), RecordNo(2));
    assert_eq!(RecordNo(u64::MAX).next(), RecordNo(u64::MAX));
}

fn any_qos() -> impl Strategy<Value = QoS> {
    (0_u8..3).prop_map(|level| QoS::from_u8(level).unwrap())
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let number = any::<f64>().prop_filter("finite", |number| number.is_finite());
    let value = prop_oneof![
        number.prop_map(Value::Number),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Bool),
        ".{0,20}".prop_map(Value::Text),
    ];
    let quality = prop_oneof![
        Just(Quality::Good),
        Just(Quality::Invalid),
        Just(Quality::OutOfRange),
        Just(Quality::Stale),
        Just(Quality::Overrun)
    ];
    (".{0,8}", proptest::option::of(value), quality).prop_map(|(point, value, quality)| Sample {
        point: point.into(),
        value,
        quality,
    })
}

fn any_reading() -> impl Strategy<Value = Reading> {
    let identity = (".{1,8}", any::<u64>(), any::<u64>(), any::<[u8; 16]>());
    let times = (any::<u64>(), any::<i64>(), any::<bool>());
    (identity, times, proptest::collection::vec(any_sample(), 0..6)).prop_map(
        |((device, run, number, boot), (mono, wall, synced), samples)| Reading {
            device: device.into(),
            seq: Seq { run: Run(run), number },
            boot: BootId(boot),
            mono: Mono::from_nanos(mono),
            wall: Timestamp::from_millis(wall),
            trust: if synced { ClockTrust::Synced } else { ClockTrust::Unsynced },
            samples,
        },
    )
}

fn any_message() -> impl Strategy<Value = Message> {
    let content = prop_oneof![
        any_reading().prop_map(|reading| (Bytes::new(), Vec::new(), Some(Arc::new(reading)))),
        (
            proptest::collection::vec(any::<u8>(), 0..300),
            proptest::collection::vec(("[a-z]{0,5}", "[a-z]{0,5}"), 0..4)
        )
            .prop_map(|(payload, users)| (Bytes::from(payload), users, None)),
    ];
    ("[^\\x00+#]{1,40}", any_qos(), any::<bool>(), content).prop_map(
        |(topic, qos, retain, (payload, users, reading))| {
            let mut properties = PropertiesBuf::new();
            for (name, value) in &users {
                assert!(properties.push(Property::User(name, value)));
            }
            Message { topic: topic.into(), payload, qos, retain, properties, reading }
        },
    )
}

proptest! {
    #[test]
    fn what_was_stored_comes_back(message in any_message()) {
        prop_assert_eq!(decode(&encode(&message)), Ok(message));
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check_no_harm(bytes);
    }

    #[test]
    fn no_bytes_behind_a_good_head_do_harm(
        kind in 1_u8..3,
        flags in 0_u8..16,
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        check_no_harm([vec![1, kind, flags], bytes].concat());
    }
}
