//! The size of packets, in both directions.

use crate::raw::{BOTH, Connect, Lan, Publish, V, packet, subscribe, varint};

fn small(id: &str, max: u8) -> Connect {
    Connect::new(V::V5, id).property(&[0x27, 0, 0, 0, max])
}

#[test]
fn statement_45_a_message_above_the_clients_maximum_is_not_sent_and_holds_no_place() {
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V5, "publisher");
    let mut s = lan.connect(&small("s", 40).property(&[0x21, 0, 1]));
    s.subscribe("t", 2);
    for qos in [1, 2, 0] {
        // Two bytes of header, three of topic, two of identifier, one of properties.
        let overhead = if qos > 0 { 8 } else { 6 };
        for _ in 0..2 {
            publisher.say("t", qos, &"x".repeat(41 - overhead));
        }
        s.nothing();
        let fits = "x".repeat(40 - overhead);
        publisher.say("t", qos, &fits);
        s.take_text(&fits);
    }
    s.nothing();
}

#[test]
fn statement_46_a_packet_above_the_servers_maximum_ends_the_connection_at_its_header() {
    let lan = Lan::start("packet_max = \"10000 B\"");
    for v in BOTH {
        let mut client = lan.join(v, "a");
        if v == V::V5 {
            assert_eq!(client.connack_property(0x27).unwrap()[..4], 10_000u32.to_be_bytes());
        }
        let fits = Publish::new("t", "x".repeat(10_000 - 3 - 3 - usize::from(v == V::V5))).bytes(v);
        assert_eq!(fits.len(), 10_000);
        client.send(&fits);
        client.nothing();
        client.send(&[&[0x30][..], &varint(10_001 - 3)].concat());
        client.closed(0x95);
    }
}

#[test]
fn statement_47_words_are_left_out_where_they_do_not_fit_or_are_not_wanted() {
    let lan = Lan::start("");
    let reason = |client: &mut crate::raw::Client| {
        client.send(&Publish::new("$SYS/x", "x").qos(1, 5).bytes(V::V5));
        client.packet()
    };
    let told = reason(&mut lan.join(V::V5, "wants"));
    assert_eq!(told[..5], [0x40, u8::try_from(told.len() - 2).unwrap(), 0, 5, 0x87]);
    assert_eq!(told[6], 0x1F, "a reason string");
    let mut small = lan.connect(&small("small", 20));
    let mut unwilling = lan.connect(&Connect::new(V::V5, "unwilling").property(&[0x17, 0]));
    for client in [&mut small, &mut unwilling] {
        assert_eq!(reason(client), [0x40, 3, 0, 5, 0x87]);
        client.send(&subscribe(V::V5, 9, &[], &[(b"a/#/b", 0)]));
        client.expect(&[0x90, 4, 0, 9, 0, 0x8F]);
        client.send(&[0xC1, 0]);
        assert_eq!(client.rest(), [0xE0, 1, 0x81]);
    }
    // CONNACK, too.
    let refused = small_and_refused(&lan);
    assert_eq!(refused, [0x20, 3, 0, 0x8C, 0]);
}

fn small_and_refused(lan: &Lan) -> Vec<u8> {
    let connect = Connect::new(V::V5, "a").property(&[0x17, 0]).property(&[0x15, 0, 1, b'X']);
    lan.answer(&connect.bytes())
}

#[test]
fn statement_48_lengths_are_no_longer_than_the_standard_has_them() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut client = lan.join(v, "a");
        client.send(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]);
        client.closed(0x81);
    }
    // A property length in a longer form than needed.
    let mut client = lan.join(V::V5, "a");
    client.send(&packet(0x30, &[0, 1, b't', 0x80, 0, b'x']));
    client.closed(0x81);
    // A first packet of 256 MiB: closed at its first byte, or at its length.
    for first in [0x30, 0x20, 0x82, 0x10] {
        assert!(lan.answer(&[first, 0xFF, 0xFF, 0xFF, 0x7F]).is_empty(), "{first:02X}");
    }
}
