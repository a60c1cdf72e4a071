//! What breaks a rule of one packet, and as what it is refused.

use super::*;
use DecodeError::{Malformed, Protocol, TopicNameInvalid, UnsupportedVersion};
use Version::{V5, V31, V311};

const SHORT: DecodeError = Malformed("the packet ends inside a field");
const BEHIND: DecodeError = Malformed("bytes behind the last field");
const FLAGS: DecodeError = Malformed("reserved flags of the fixed header");
const TYPE: DecodeError = Malformed("a packet type that doesn't exist");
const ID_0: DecodeError = Protocol("packet identifier 0");
const REASON: DecodeError = Protocol("a reason code that this packet can't carry");
const TWICE: DecodeError = Protocol("a property stands twice");
const MISPLACED: DecodeError = Malformed("a property that this packet can't have");
const UNKNOWN: DecodeError = Malformed("an unknown property");
const RANGE: DecodeError = Protocol("a property is out of its range");
const UTF8: DecodeError = Malformed("a string is not well-formed UTF-8");
const TOPIC_UTF8: DecodeError = Malformed("a topic name is not well-formed UTF-8");
const NUL: DecodeError = Malformed("a string contains U+0000");
const LONG_VARINT: DecodeError = Malformed("a variable byte integer is longer than needed");

fn check(versions: &[Version], bytes: &str, expected: DecodeError) {
    for version in versions {
        assert_eq!(read(&hex(bytes), *version), Err(expected), "{version:?} {bytes}");
    }
}

#[test]
fn flags_of_the_fixed_header() {
    let fixed = [
        "21 02 0000",
        "41 02 0001",
        "42 02 0001",
        "52 02 0001",
        "60 02 0001",
        "63 02 0001",
        "72 02 0001",
        "80 06 0001 0001 23 00",
        "83 06 0001 0001 23 00",
        "92 03 0001 00",
        "a0 05 0001 0001 23",
        "b2 02 0001",
        "c1 00",
        "c8 00",
        "d1 00",
        "e1 00",
        "e8 00",
        "1f 0c 0004 4d515454 04 00 0000 0000",
    ];
    for bytes in fixed {
        check(&VERSIONS, bytes, FLAGS);
    }
    check(&[V311, V5], "6a 02 0001", FLAGS); // DUP, which 3.1 alone has
    check(&[V31], "4a 02 0001", FLAGS);
    check(&[V5], "f1 00", FLAGS);
    check(&VERSIONS, "00 00", TYPE);
    check(&[V31, V311], "f0 00", TYPE);
}

#[test]
fn connect() {
    let all = &[V5];
    let reserved = Malformed("the reserved flag of CONNECT");
    let will = Malformed("will QoS or will retain without a will");
    check(all, "10 0c 0004 4d515454 04 01 0000 0000", reserved);
    check(all, "10 0d 0004 4d515454 05 01 0000 00 0000", reserved);
    check(all, "10 0e 0006 4d5149736470 03 01 0000 0000", reserved);
    check(all, "10 0c 0004 4d515454 04 08 0000 0000", will);
    check(all, "10 0c 0004 4d515454 04 10 0000 0000", will);
    check(all, "10 0d 0004 4d515454 05 20 0000 00 0000", will);
    check(all, "10 12 0004 4d515454 04 1c 0000 0000 0001 77 0001 78", Malformed("will QoS 3"));
    let password = Malformed("a password without a user name");
    check(all, "10 0f 0004 4d515454 04 40 0000 0000 0001 70", password);
    check(all, "10 11 0006 4d5149736470 03 40 0000 0000 0001 70", password);
    // Name and level.
    for level in ["00", "03", "06", "85", "ff"] {
        check(all, &format!("10 0c 0004 4d515454 {level} 00 0000 0000"), UnsupportedVersion);
    }
    check(all, "10 0e 0006 4d5149736470 04 00 0000 0000", UnsupportedVersion);
    check(all, "10 07 0004 4d515454 06", UnsupportedVersion); // whatever a later version has behind it
    let name = Malformed("not the protocol name of MQTT");
    check(all, "10 0c 0004 4d717474 04 00 0000 0000", name);
    check(all, "10 0d 0005 4d51545454 04 00 0000 0000", name);
    check(all, "10 08 0000 04 00 0000 0000", name);
    // Missing and surplus bytes.
    check(all, "10 00", SHORT);
    check(all, "10 0a 0004 4d515454 04 00 0000", SHORT);
    check(all, "10 0c 0004 4d515454 04 80 0000 0000", SHORT); // 3.1.1: the user name is missing
    check(all, "10 0c 0004 4d515454 04 04 0000 0000", SHORT);
    check(all, "10 0c 0004 4d515454 04 00 0000 0001", SHORT);
    check(all, "10 0d 0004 4d515454 04 00 0000 0000 00", BEHIND);
    check(all, "10 0f 0004 4d515454 04 00 0000 0000 0001 75", BEHIND);
    // The will's topic.
    check(all, "10 11 0004 4d515454 04 04 0000 0000 0000 0001 78", Malformed("an empty will topic"));
    check(all, "10 12 0004 4d515454 04 04 0000 0000 0001 23 0001 78", TopicNameInvalid);
    check(all, "10 12 0004 4d515454 04 04 0000 0000 0001 2b 0001 78", TopicNameInvalid);
    // Authentication data needs a method; the order doesn't matter.
    check(
        all,
        "10 11 0004 4d515454 05 00 0000 04 16 0001 64 0000",
        Protocol("authentication data without a method"),
    );
    assert!(read(&hex("10 15 0004 4d515454 05 00 0000 08 16 0001 64 15 0001 6d 0000"), V5).is_ok());
}

#[test]
fn connack() {
    check(&[V311, V5], "20 03 02 00 00", Malformed("reserved flags of CONNACK"));
    check(&[V31, V311], "20 02 00 06", Malformed("a return code above 5"));
    check(&[V311], "20 02 01 05", Protocol("session present in a refusal"));
    check(&[V5], "20 03 01 87 00", Protocol("session present in a refusal"));
    check(&[V5], "20 03 00 8e 00", REASON);
    check(&[V5], "20 03 00 01 00", REASON);
    check(&[V5], "20 02 00 00", SHORT);
    check(&[V31, V311], "20 03 00 00 00", BEHIND);
    check(&[V31, V311], "20 01 00", SHORT);
    // A 3.1.1 server's answer to a CONNECT of 5.0.
    check(&[V5], "20 02 00 01", UnsupportedVersion);
}

#[test]
fn publish() {
    let all = &VERSIONS;
    check(all, "36 06 0001 61 0001 00", Malformed("QoS 3"));
    check(all, "3f 06 0001 61 0001 00", Malformed("QoS 3"));
    check(all, "38 04 0001 61 00", Malformed("DUP at QoS 0"));
    check(all, "32 06 0001 61 0000 00", ID_0);
    check(all, "34 06 0001 61 0000 00", ID_0);
    check(all, "32 03 0001 61", SHORT);
    check(all, "32 04 0001 61 00", SHORT);
    check(all, "30 03 0002 61", SHORT);
    check(all, "30 01 00", SHORT);
    check(all, "30 06 0003 612f2b 00", TopicNameInvalid);
    check(all, "30 04 0001 23 00", TopicNameInvalid);
    check(all, "30 05 0002 2b61 00", TopicNameInvalid);
    check(&[V31, V311], "30 02 0000", Malformed("an empty topic name"));
    let neither = Protocol("neither a topic name nor a topic alias");
    check(&[V5], "30 03 0000 00", neither);
    check(&[V5], "30 05 0000 02 01 01", neither);
    check(&[V5], "30 03 0001 61", SHORT); // no property length
    check(&[V5], "30 05 0001 61 8000", LONG_VARINT); // 1.5.5-1
    check(&[V5], "30 08 0001 61 ffffffff 00", Malformed("a variable byte integer is longer than four bytes"));
    check(&[V5], "30 05 0001 61 02 01", SHORT); // properties longer than the packet
    check(&[V5], "30 05 0001 61 01 02", SHORT); // a property cut short
    // Topic alias 0 has a reason code of its own, and is the receiver's to refuse.
    assert!(read(&hex("30 07 0001 61 03 23 0000"), V5).is_ok());
    let response = Protocol("the response topic is no topic name");
    check(&[V5], "30 08 0001 61 04 08 0001 23", response);
    check(&[V5], "30 08 0001 61 04 08 0001 2b", response);
    check(&[V5], "30 07 0001 61 03 08 0000", response);
}

#[test]
fn acknowledgements() {
    for first in ["40", "50", "62", "70"] {
        check(&VERSIONS, &format!("{first} 02 0000"), ID_0);
        check(&VERSIONS, &format!("{first} 01 00"), SHORT);
        check(&VERSIONS, &format!("{first} 00"), SHORT);
        check(&[V31, V311], &format!("{first} 03 0001 00"), BEHIND);
        check(&[V5], &format!("{first} 03 0001 01"), REASON);
        check(&[V5], &format!("{first} 03 0001 ff"), REASON);
        check(&[V5], &format!("{first} 05 0001 00 00 00"), BEHIND);
        check(&[V5], &format!("{first} 04 0001 00 01"), SHORT);
        check(&[V5], &format!("{first} 05 0001 00 8000"), LONG_VARINT);
    }
    check(&[V5], "40 03 0001 92", REASON);
    check(&[V5], "62 03 0001 10", REASON);
}

#[test]
fn subscribe_and_suback() {
    let old = &[V31, V311];
    check(&VERSIONS, "82 07 0000 00 0001 23 00", ID_0);
    check(old, "82 02 0001", Protocol("no topic filter"));
    check(&[V5], "82 03 0001 00", Protocol("no topic filter"));
    check(old, "82 05 0001 0000 00", Malformed("an empty topic filter"));
    check(&[V5], "82 06 0001 00 0000 00", Malformed("an empty topic filter"));
    check(old, "82 05 0001 0001 23", SHORT); // no QoS
    check(old, "82 07 0001 0001 23 00 00", SHORT); // half a filter more
    for options in ["04", "08", "10", "20", "40", "80", "ff"] {
        check(old, &format!("82 06 0001 0001 23 {options}"), Malformed("reserved subscription options"));
    }
    check(old, "82 06 0001 0001 23 03", Malformed("QoS 3"));
    check(&[V5], "82 07 0001 00 0001 23 03", Protocol("QoS 3"));
    check(&[V5], "82 07 0001 00 0001 23 40", Malformed("reserved subscription options"));
    check(&[V5], "82 07 0001 00 0001 23 80", Malformed("reserved subscription options"));
    check(&[V5], "82 07 0001 00 0001 23 30", Protocol("retain handling 3"));
    let no_local = Protocol("no local on a shared subscription");
    check(&[V5], "82 10 0001 00 000a 2473686172652f672f74 04", no_local);
    // 3.8.2.1.2
    check(&[V5], "82 09 0001 02 0b00 0001 23 00", RANGE);
    check(&[V5], "82 0b 0001 04 0b01 0b02 0001 23 00", TWICE);
    check(&[V5], "82 0b 0001 04 0b ff8000 0001 23 00", LONG_VARINT);
    check(&VERSIONS, "90 04 0000 00 00", ID_0);
    check(old, "90 02 0001", Malformed("no reason code"));
    check(&[V5], "90 03 0001 00", Malformed("no reason code"));
    check(old, "90 03 0001 03", REASON);
    check(old, "90 03 0001 87", REASON);
    check(&[V5], "90 04 0001 00 03", REASON);
    check(&[V5], "90 05 0001 00 00 11", REASON);
}

#[test]
fn unsubscribe_and_unsuback() {
    let old = &[V31, V311];
    check(&VERSIONS, "a2 06 0000 00 0001 23", ID_0);
    check(old, "a2 02 0001", Protocol("no topic filter"));
    check(&[V5], "a2 03 0001 00", Protocol("no topic filter"));
    check(old, "a2 04 0001 0000", Malformed("an empty topic filter"));
    check(old, "a2 06 0001 0001 23 00", SHORT);
    check(&VERSIONS, "b0 04 0000 00 00", ID_0);
    check(old, "b0 03 0001 00", BEHIND);
    check(&[V5], "b0 02 0001", SHORT);
    check(&[V5], "b0 03 0001 00", Malformed("no reason code"));
    check(&[V5], "b0 04 0001 00 01", REASON);
}

#[test]
fn pings_disconnect_and_auth() {
    check(&VERSIONS, "c0 01 00", BEHIND);
    check(&VERSIONS, "d0 01 00", BEHIND);
    check(&[V31, V311], "e0 01 00", BEHIND);
    check(&[V5], "e0 01 01", REASON);
    check(&[V5], "e0 01 84", REASON);
    check(&[V5], "e0 03 00 00 00", BEHIND);
    check(&[V5], "e0 03 00 01 11", SHORT);
    let method = Protocol("AUTH without an authentication method");
    check(&[V5], "f0 01 00", SHORT);
    check(&[V5], "f0 02 18 00", method);
    check(&[V5], "f0 06 00 04 1f 0001 78", method);
    check(&[V5], "f0 06 01 04 15 0001 6d", REASON);
    check(&[V5], "f0 07 18 04 15 0001 6d 00", BEHIND);
}

#[test]
fn properties() {
    let connect = |properties: &str| {
        let list = hex(properties);
        let len = u8::try_from(list.len()).unwrap();
        let bytes = packet(0x10, &[&hex("0004 4d515454 05 00 0000"), &[len], &list, &hex("0000")]);
        read(&bytes, V5).map(drop)
    };
    let refused = |properties: &str, expected| assert_eq!(connect(properties), Err(expected), "{properties}");
    assert_eq!(connect("11 00000000 21 0001 27 00000001 22 0000 17 01 19 00"), Ok(()));
    refused("11 00000000 11 00000000", TWICE);
    refused("21 0001 21 0002", TWICE);
    refused("15 0001 61 15 0001 61", TWICE);
    refused("21 0000", RANGE); // receive maximum 0
    refused("27 00000000", RANGE); // maximum packet size 0
    refused("17 02", RANGE);
    refused("19 ff", RANGE);
    refused("01 01", MISPLACED);
    refused("12 0001 61", MISPLACED);
    refused("18 00000000", MISPLACED);
    refused("23 0001", MISPLACED);
    for id in ["00", "04", "0a", "0c", "10", "1e", "20", "2b", "3f", "40", "7f"] {
        refused(&format!("{id} 00"), UNKNOWN);
    }
    refused("91 00 00000000", UNKNOWN); // 0x11 in two bytes
    check(&[V5], "30 06 0001 61 02 01 02", RANGE);
    check(&[V5], "30 08 0001 61 04 01 00 01 00", TWICE);
    check(&[V5], "20 05 00 00 02 24 02", RANGE);
    check(&[V5], "20 05 00 00 02 25 02", RANGE);
    check(&[V5], "20 05 00 00 02 28 02", RANGE);
    check(&[V5], "20 05 00 00 02 29 02", RANGE);
    check(&[V5], "20 05 00 00 02 2a 02", RANGE);
}

/// What stands where a string stands, and what the codec says to it.
type Place = (&'static str, Version, fn(&[u8]) -> Vec<u8>, DecodeError);

/// Every place of a string: topic, filter, client identifier, user name, will topic, string properties.
const PLACES: [Place; 15] = [
    ("topic", V31, |text| packet(0x30, &[&field(text)]), TOPIC_UTF8),
    ("topic", V311, |text| packet(0x30, &[&field(text)]), TOPIC_UTF8),
    ("topic", V5, |text| packet(0x30, &[&field(text), &[0]]), TOPIC_UTF8),
    ("filter", V311, |text| packet(0x82, &[&[0, 1], &field(text), &[0]]), UTF8),
    ("filter", V5, |text| packet(0x82, &[&[0, 1, 0], &field(text), &[0]]), UTF8),
    ("unsubscribe", V311, |text| packet(0xA2, &[&[0, 1], &field(text)]), UTF8),
    ("client", V311, |text| packet(0x10, &[b"\0\x04MQTT\x04\0\0\0", &field(text)]), UTF8),
    ("user", V311, |text| packet(0x10, &[b"\0\x04MQTT\x04\x80\0\0\0\0", &field(text)]), UTF8),
    ("will", V311, |text| packet(0x10, &[b"\0\x04MQTT\x04\x04\0\0\0\0", &field(text), b"\0\0"]), TOPIC_UTF8),
    ("content type", V5, |text| with_property(0x03, &field(text)), UTF8),
    ("response topic", V5, |text| with_property(0x08, &field(text)), UTF8),
    ("user property's name", V5, |text| with_property(0x26, &[field(text), field(b"v")].concat()), UTF8),
    ("user property's value", V5, |text| with_property(0x26, &[field(b"n"), field(text)].concat()), UTF8),
    (
        "reason string",
        V5,
        |text| {
            let value = field(text);
            packet(0xE0, &[&[0x87, u8::try_from(value.len() + 1).unwrap(), 0x1F], &value])
        },
        UTF8,
    ),
    (
        "authentication method",
        V5,
        |text| {
            let value = field(text);
            packet(0xF0, &[&[0x18, u8::try_from(value.len() + 1).unwrap(), 0x15], &value])
        },
        UTF8,
    ),
];

fn with_property(id: u8, value: &[u8]) -> Vec<u8> {
    packet(0x30, &[&field(b"t"), &[u8::try_from(value.len() + 1).unwrap(), id], value])
}

#[test]
fn strings_are_well_formed_utf8_without_nul() {
    // 1.5.4-1: over-long, surrogates (both ends, and a pair), above U+10FFFF, never a byte of UTF-8, a lone
    // continuation, cut short at the end and in the middle.
    let bad: [&[u8]; 13] = [
        b"\xC0\x80",
        b"\xC1\xBF",
        b"\xE0\x80\x80",
        b"\xF0\x80\x80\x80",
        b"\xED\xA0\x80",
        b"\xED\xBF\xBF",
        b"\xED\xA0\xBD\xED\xB8\x80",
        b"\xF4\x90\x80\x80",
        b"\xF8\x88\x80\x80\x80",
        b"\xFF",
        b"\x80",
        b"\xE2\x82",
        b"\xE2\x82/",
    ];
    // 1.5.4-3, and what SHOULD NOT be sent, but may: control characters, non-characters.
    let good: [&[u8]; 6] =
        [b"\xEF\xBB\xBF", b"\x01\x1F\x7F", b"\xC2\x80", b"\xEF\xBF\xBF", b"\xF4\x8F\xBF\xBF", b"e\xCC\x81"];
    for (place, version, make, expected) in PLACES {
        for text in bad {
            for around in [[b"".as_slice(), text, b""], [b"ab", text, b"cd"]] {
                assert_eq!(read(&make(&around.concat()), version), Err(expected), "{place} {around:02x?}");
            }
        }
        for text in [b"\0".as_slice(), b"a\0", b"\0a", b"a\0b"] {
            assert_eq!(read(&make(text), version), Err(NUL), "{place} {text:02x?}");
        }
        for text in good {
            let bytes = make(text);
            let packet = read(&bytes, version).unwrap_or_else(|error| panic!("{place} {text:02x?}: {error}"));
            assert!(borrowed(&packet).contains(&text), "{place}: not byte for byte: {packet:?}");
        }
    }
}

#[test]
fn five_demands_the_shortest_remaining_length() {
    let padded = Malformed("the remaining length is longer than needed");
    check(&[V5], "c0 80 00", padded);
    check(&[V5], "30 84 00 0001 61 00", padded);
    check(&VERSIONS, "10 8d 00 0004 4d515454 05 00 0000 00 0000", padded);
}

#[test]
fn an_error_names_its_reason_code() {
    let check = |error: DecodeError, reason, words: &str| {
        assert_eq!(error.reason(), reason);
        assert_eq!(error.to_string(), words);
    };
    check(SHORT, ReasonCode::MalformedPacket, "malformed packet: the packet ends inside a field");
    check(ID_0, ReasonCode::ProtocolError, "protocol error: packet identifier 0");
    check(TopicNameInvalid, ReasonCode::TopicNameInvalid, "topic name with a wildcard");
    check(UnsupportedVersion, ReasonCode::UnsupportedProtocolVersion, "unsupported protocol version");
    check(
        DecodeError::PacketTooLarge { bytes: 300, max: 200 },
        ReasonCode::PacketTooLarge,
        "packet of 300 bytes, 200 are allowed",
    );
}
