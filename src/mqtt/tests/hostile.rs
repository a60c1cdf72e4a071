//! Cut, changed and oversized input: nothing panics, nothing reads past its packet, nothing waits for a body that
//! would be refused.

use proptest::prelude::*;

use super::*;

/// Decodes, and if that gives a packet: it borrows from `body` alone, and survives a round trip.
fn check_no_harm(first: u8, body: &[u8], version: Version) {
    let frame = Frame { first, body, len: body.len() + 2 };
    let Ok(packet) = decode(frame, version) else { return };
    let range = body.as_ptr_range();
    for slice in borrowed(&packet) {
        let inside =
            slice.is_empty() || (range.start <= slice.as_ptr() && slice.as_ptr_range().end <= range.end);
        assert!(inside, "{version:?} {first:02x} {body:02x?}");
    }
    let bytes = write(&packet, version);
    assert_eq!(read(&bytes, version), Ok(packet));
}

/// All that a connection does with its bytes.
fn check_stream(mut bytes: &[u8], version: Version) {
    while let Ok(Some(frame)) = frame(bytes, ANY_SIZE) {
        check_no_harm(frame.first, frame.body, version);
        assert!(frame.len >= 2);
        bytes = &bytes[frame.len..];
    }
}

#[test]
fn a_packet_cut_anywhere_is_incomplete() {
    for vector in vectors::all() {
        for len in 0..vector.bytes.len() {
            assert_eq!(frame(&vector.bytes[..len], ANY_SIZE), Ok(None), "{:02x?}", &vector.bytes[..len]);
        }
        let two = [vector.bytes.clone(), vector.bytes.clone()].concat();
        let frame = frame(&two, ANY_SIZE).unwrap().unwrap();
        assert_eq!(frame.len, vector.bytes.len());
        assert_eq!(frame.body, &vector.bytes[vector.bytes.len() - frame.body.len()..]);
    }
}

#[test]
fn a_body_cut_anywhere_does_no_harm() {
    for vector in vectors::all() {
        let whole = frame(&vector.bytes, ANY_SIZE).unwrap().unwrap();
        for len in 0..whole.body.len() {
            for version in VERSIONS {
                check_no_harm(whole.first, &whole.body[..len], version);
            }
        }
    }
}

#[test]
fn a_packet_with_any_byte_changed_does_no_harm() {
    for vector in vectors::all() {
        for at in 0..vector.bytes.len() {
            let mut bytes = vector.bytes.clone();
            for value in 0..=255 {
                bytes[at] = value;
                check_stream(&bytes, vector.version);
            }
        }
    }
}

#[test]
fn a_packet_of_another_version_does_no_harm() {
    for vector in vectors::all() {
        for version in VERSIONS {
            for first in 0..=255 {
                check_no_harm(first, &vector.bytes[2..], version);
            }
        }
    }
}

#[test]
fn an_oversized_packet_is_refused_by_its_header() {
    let too_large = |bytes, max| Err(DecodeError::PacketTooLarge { bytes, max });
    let check = |bytes: &str, max, expected| assert_eq!(frame(&hex(bytes), max), expected, "{bytes} {max}");
    check("10 ff ff ff 7f", 1_000, too_large(268_435_460, 1_000));
    check("30 ff ff ff", 1_000, Ok(None)); // the length could still be a shorter one's long form
    check("30 7f", 128, too_large(129, 128));
    check("30 7f", 129, Ok(None));
    check("30 80 01", 130, too_large(131, 130));
    check("30 80 01", 131, Ok(None));
    check("c0 00", 1, too_large(2, 1));
    assert!(matches!(frame(&hex("c0 00"), 2), Ok(Some(Frame { first: 0xC0, body: [], len: 2 }))));
}

#[test]
fn a_remaining_length_of_five_bytes_is_refused_before_the_fifth() {
    let refused = Err(DecodeError::Malformed("a variable byte integer is longer than four bytes"));
    assert_eq!(frame(&hex("30 ff ff ff ff 01"), ANY_SIZE), refused);
    assert_eq!(frame(&hex("30 80 80 80 80"), ANY_SIZE), refused);
    assert_eq!(frame(&hex("30 80 80 80"), ANY_SIZE), Ok(None));
    assert_eq!(frame(&[], ANY_SIZE), Ok(None));
    assert_eq!(frame(&[0x30], ANY_SIZE), Ok(None));
}

#[test]
fn what_does_not_fit_is_not_written() {
    let long = "a".repeat(65_536);
    let huge = vec![0; 268_435_456];
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "a",
        packet_id: None,
        properties: Properties::EMPTY,
        payload: b"",
    };
    let refused =
        ConnAck { session_present: false, reason: ReasonCode::ProtocolError, properties: Properties::EMPTY };
    let auth = Auth { reason: ReasonCode::Success, properties: Properties::EMPTY };
    let filter = SubscribeFilter { filter: &long, options: SubscribeOptions::default() };
    let subscribe = Subscribe { packet_id: id(1), properties: Properties::EMPTY, filters: vec![filter] };
    let rows = [
        (Packet::Publish(Publish { topic: &long, ..publish.clone() }), EncodeError::FieldTooLong),
        (Packet::Publish(Publish { payload: &huge, ..publish }), EncodeError::PacketTooLong),
        (Packet::Subscribe(subscribe), EncodeError::FieldTooLong),
        (Packet::ConnAck(refused), EncodeError::NotInThisVersion),
        (Packet::Auth(auth), EncodeError::NotInThisVersion),
    ];
    for (packet, error) in rows {
        let mut out = b"before".to_vec();
        assert_eq!(encode(&packet, Version::V311, &mut out), Err(error));
        assert_eq!(encoded_len(&packet, Version::V311), Err(error));
        assert_eq!(out, b"before");
    }
}

proptest! {
    #[test]
    fn noise_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for version in VERSIONS {
            check_stream(&bytes, version);
        }
    }

    #[test]
    fn a_noisy_body_does_no_harm(first: u8, body in proptest::collection::vec(0_u8..48, 0..60)) {
        for version in VERSIONS {
            check_no_harm(first, &body, version);
        }
    }
}
