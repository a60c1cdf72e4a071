//! Clients that break the rules, and bytes that come cut.

use super::*;

#[test]
fn a_first_packet_other_than_connect_is_closed_on_its_first_byte() {
    for first in (0..=255u8).filter(|first| *first != 0x10) {
        let mut t = Bench::new();
        t.open(1);
        t.bytes(1, &[first]);
        t.expect_closed(1);
        assert_eq!(t.broker.stats().protocol_errors, 1);
    }
}

#[test]
fn a_first_packet_that_claims_too_much_is_closed_by_its_header() {
    for bytes in
        [&[0x10, 0xFF, 0xFF, 0xFF, 0x7F][..], &[0x10, 0xFF, 0xFF, 0xFF, 0xFF], &[0x10, 0x80, 0x80, 0x02]]
    {
        let mut t = Bench::new();
        t.open(1);
        t.bytes(1, bytes);
        t.expect_closed(1);
    }
}

#[test]
fn what_a_client_may_not_send_ends_its_connection_alone() {
    let raw: &[(&[u8], &str)] = &[
        (&[0x20, 4, 0, 0, 0, 0], "CONNACK"),
        (&[0x20, 2, 0, 0], "short CONNACK"),
        (&[0x90, 4, 0, 1, 0, 0], "SUBACK"),
        (&[0xB0, 4, 0, 1, 0, 0], "UNSUBACK"),
        (&[0xD0, 0], "PINGRESP"),
        (&[0xF0, 0], "AUTH"),
        (&[0x00, 0], "reserved 0"),
        (&[0x80, 6, 0, 1, 0, 0, 1, b'a'], "SUBSCRIBE flags"),
        (&[0xC1, 0], "PINGREQ flags"),
        (&[0xE1, 0], "DISCONNECT flags"),
        (&[0x60, 2, 0, 1], "PUBREL flags"),
        (&[0x36, 5, 0, 1, b't', 0, 1], "QoS 3"),
        (&[0x38, 3, 0, 1, b't'], "DUP with QoS 0"),
        (&[0x30, 4, 0, 1, b'#', 0], "wildcard"),
        (&[0x30, 3, 0, 0, 0], "empty topic"),
        (&[0xC0, 0xFF, 0xFF, 0xFF, 0xFF, 1], "five length bytes"),
    ];
    for version in [V311, V5] {
        for (bytes, what) in raw {
            let mut t = Bench::new();
            t.join(1, connect(version, "a"));
            t.join(2, connect(version, "b"));
            t.bytes(1, bytes);
            if version == V5 {
                assert_eq!(t.next(1).map(|packet| packet[0]), Some(0xE0), "{what}");
            }
            t.expect_closed(1);
            t.send(2, Packet::PingReq);
            t.expect(2, Packet::PingResp);
            assert_eq!(t.broker.stats().protocol_errors, 1, "{what}");
        }
    }
}

#[test]
fn a_second_connect_is_a_protocol_error() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "a"));
    t.send(1, Packet::Connect(connect(V5, "b")));
    t.expect_disconnect(1, ReasonCode::ProtocolError);
}

#[test]
fn a_packet_above_the_maximum_is_refused_by_its_header() {
    let mut t = Bench::with(Config { packet_bytes_max: 1_000, ..config() });
    t.join(1, connect(V5, "a"));
    t.join(2, connect(V311, "b"));
    for c in [1, 2] {
        t.bytes(c, &[0x30, 0xE6, 0x07]);
    }
    t.expect_disconnect(1, ReasonCode::PacketTooLarge);
    t.expect_closed(2);
    t.join(1, connect(V311, "a"));
    let largest = "x".repeat(1_000 - 3 - 3);
    t.send(1, message("t", Q0, 0, &largest));
    assert!(!t.closed.contains(&1));
}

#[test]
fn what_comes_after_the_end_is_ignored() {
    let mut t = Bench::new();
    t.join(2, connect(V311, "watcher"));
    t.subscribe(2, "#", Q0);
    t.join(1, connect(V311, "a"));
    let mut bytes = encoded(&message("t", Q0, 0, "x"), V311);
    bytes.extend([0xE0, 0]);
    bytes.extend(encoded(&message("t", Q0, 0, "y"), V311));
    t.bytes(1, &bytes);
    t.bytes(1, &encoded(&message("t", Q0, 0, "z"), V311));
    t.expect(2, message("t", Q0, 0, "x"));
    t.nothing(2);
    t.expect_closed(1);
}

fn session_script(version: Version) -> Vec<u8> {
    let long = "long ".repeat(60);
    let script = [
        Packet::Connect(Connect { keep_alive: 30, will: will("w", "gone"), ..connect(version, "a") }),
        subscribe(1, &[("t/#", Q2), ("u", Q1)]),
        message("t/0", Q0, 0, "zero"),
        message("t/1", Q1, 7, "one"),
        message("t/2", Q2, 8, "two"),
        pubrel(8),
        puback(1),
        pubrec(2),
        Packet::PingReq,
        message("u", Q1, 9, &long),
        unsubscribe(2, &["u"]),
        pubcomp(2),
        message("u", Q1, 10, ""),
        Packet::PubRel(ack(99, ReasonCode::Success)),
        Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY }),
    ];
    script.iter().flat_map(|packet| encoded(packet, version)).collect()
}

#[test]
fn a_session_cut_anywhere_gives_the_same_answers_as_in_one_piece() {
    for version in [V31, V311, V5] {
        let bytes = session_script(version);
        let run = |pieces: &[&[u8]]| {
            let mut t = Bench::new();
            t.open(1);
            for piece in pieces {
                t.bytes(1, piece);
            }
            assert!(t.closed.contains(&1));
            (t.sink.sent.remove(&ConnId(1)).unwrap(), t.broker.stats())
        };
        let whole = run(&[&bytes]);
        assert!(whole.0.len() > 300, "{}", whole.0.len());
        assert_eq!(whole.1.protocol_errors, 0);
        for at in 0..bytes.len() {
            assert_eq!(run(&[&bytes[..at], &bytes[at..]]), whole, "cut at {at}");
        }
        for size in [1, 2, 3, 7] {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(run(&pieces), whole, "pieces of {size}");
        }
    }
}

#[test]
fn a_session_with_any_byte_changed_never_panics() {
    for version in [V311, V5] {
        let bytes = session_script(version);
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xFF, 0x10] {
                let mut t = Bench::new();
                t.open(1);
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                t.bytes(1, &bytes);
                t.cut(1);
                t.wait(secs(100));
                assert_eq!(t.broker.stats().clients_connected, 0);
            }
        }
    }
}
