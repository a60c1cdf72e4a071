//! Flags, packets that clients may not send, properties, AUTH, DISCONNECT.

use std::time::Duration;

use crate::raw::{BOTH, Connect, Lan, Publish, V, Will, ack, subscribe};

#[test]
fn statement_72_reserved_flags_end_the_connection() {
    let lan = Lan::start("");
    for v in BOTH {
        let sub = subscribe(v, 1, &[], &[(b"t", 0)]);
        let unsub = crate::raw::unsubscribe(v, 1, &["t"]);
        for (packet, first) in
            [(&sub, 0x80), (&sub, 0x83), (&unsub, 0xA0), (&ack(0x62, 1), 0x60), (&ack(0x40, 1), 0x41)]
        {
            let mut client = lan.join(v, "a");
            client.send(&[&[first], &packet[1..]].concat());
            client.closed(0x81);
        }
        for first in (0xC1..=0xCF).chain(0xE1..=0xEF) {
            let mut client = lan.join(v, "a");
            client.send(&[first, 0]);
            client.closed(0x81);
        }
    }
}

#[test]
fn statement_73_reserved_subscription_options_and_empty_subscribes_end_the_connection() {
    let lan = Lan::start("");
    for v in BOTH {
        let options: &[u8] =
            if v == V::V5 { &[0x40, 0x80, 0x03, 0x30] } else { &[0x03, 0x04, 0x08, 0x10, 0x80] };
        for options in options {
            let mut client = lan.join(v, "a");
            client.send(&subscribe(v, 1, &[], &[(b"t", *options)]));
            client.ended();
        }
        let mut client = lan.join(v, "a");
        client.send(&subscribe(v, 1, &[], &[]));
        client.ended();
    }
}

#[test]
fn statement_74_what_only_servers_send_ends_that_connection_alone() {
    let lan = Lan::start("");
    let mut witness = lan.join(V::V5, "witness");
    witness.subscribe("t", 0);
    for v in BOTH {
        for bytes in [
            &[0x20, 4, 0, 0, 0, 0][..],
            &[0x20, 2, 0, 0],
            &[0x20, 3, 0, 0, 0],
            &[0x90, 3, 0, 1, 0],
            &[0x90, 4, 0, 1, 0, 0],
            &[0xB0, 2, 0, 1],
            &[0xB0, 4, 0, 1, 0, 0],
            &[0xD0, 0],
            &[0x00, 0],
            &[0xF0, 0],
        ] {
            let mut client = lan.join(v, "a");
            client.send(bytes);
            client.ended();
            lan.join(V::V5, "other").say("t", 0, "alive");
            witness.take_text("alive");
        }
    }
}

#[test]
fn statement_75_a_property_stands_once_and_only_where_it_belongs() {
    let lan = Lan::start("");
    for property in
        [&[0x11, 0, 0, 0, 1][..], &[0x21, 0, 9], &[0x27, 0, 0, 1, 0], &[0x22, 0, 1], &[0x17, 1], &[0x19, 1]]
    {
        let once = Connect::new(V::V5, "a").property(property);
        lan.connect(&once).cut();
        assert!(lan.answer(&once.property(property).bytes()).is_empty(), "{property:02X?}");
    }
    for property in
        [&[0x01, 1][..], &[0x12, 0, 1, b'x'], &[0x0B, 1], &[0x24, 1], &[0x7F, 1], &[0x00], &[0x17, 2]]
    {
        assert!(
            lan.answer(&Connect::new(V::V5, "a").property(property).bytes()).is_empty(),
            "{property:02X?}"
        );
    }
    for (properties, code) in [
        (&[0x01, 1, 0x01, 1][..], 0x82),
        (&[0x02, 0, 0, 0, 9, 0x02, 0, 0, 0, 9], 0x82),
        (&[0x23, 0, 1, 0x23, 0, 1], 0x82),
        (&[0x01, 2], 0x82),
        (&[0x11, 0, 0, 0, 1], 0x81),
        (&[0x13, 0, 1], 0x81),
        (&[0x1F, 0, 1, b'x'], 0x81),
        (&[0x7E, 1], 0x81),
        (&[0x05], 0x81),
        (&[0x02, 0, 0], 0x81),
    ] {
        let mut client = lan.join(V::V5, "a");
        client.send(&Publish::new("t", "x").property(properties).bytes(V::V5));
        client.closed(code);
    }
}

#[test]
fn statement_76_properties_of_a_message_travel_unaltered_and_in_order() {
    let lan = Lan::start("");
    let properties =
        b"\x26\x00\x01b\x00\x012\x08\x00\x02to\x26\x00\x01a\x00\x011\x01\x01\x26\x00\x01b\x00\x012\
                       \x03\x00\x04text\x09\x00\x03\x00\xFF\x01\x26\x00\x00\x00\x00";
    let mut publisher = lan.join(V::V5, "publisher");
    let mut live = lan.join(V::V5, "live");
    live.subscribe("t", 1);
    let (mut away, _) = lan.resume(V::V5, "away");
    away.subscribe("t", 1);
    away.cut();
    let mut old = lan.join(V::V311, "old");
    old.subscribe("t", 1);
    let message = Publish::new("t", "x").qos(1, 0).retain().property(properties);
    publisher.publish(&message);
    assert_eq!(live.take_text("x").properties, properties);
    old.take_text("x");
    let (mut away, _) = lan.resume(V::V5, "away");
    assert_eq!(away.take_text("x").properties, properties);
    let mut late = lan.join(V::V5, "late");
    late.subscribe("t", 1);
    assert_eq!(late.take_text("x").properties, properties);
    let will = Will { properties: properties.to_vec(), ..Will::new("t", "gone") };
    lan.connect(&Connect::new(V::V5, "w").will(will.delay(1))).cut();
    assert_eq!(live.take_text("gone").properties, properties);
}

#[test]
fn statement_77_auth_has_no_place_without_a_method_and_a_method_is_refused() {
    let lan = Lan::start("");
    for bytes in [&[0xF0, 0][..], &[0xF0, 2, 0x18, 0], &[0xF0, 6, 0x19, 4, 0x15, 0, 1, b'X']] {
        let mut client = lan.join(V::V5, "a");
        client.send(bytes);
        client.closed(0x82);
    }
    let answer = lan.answer(&Connect::new(V::V5, "a").property(b"\x15\x00\x05SCRAM").bytes());
    assert_eq!((answer[0], answer[3]), (0x20, 0x8C));
    // Data without a method is no CONNECT at all.
    assert!(lan.answer(&Connect::new(V::V5, "a").property(b"\x16\x00\x01x").bytes()).is_empty());
}

#[test]
fn statement_78_no_disconnect_comes_before_connack_and_none_has_a_session_expiry() {
    let mut lan = Lan::start("connect_timeout = \"300ms\"");
    // Silence, a partial packet, a malformed one, one that is too large.
    for bytes in [&[][..], &[0x10, 20, 0, 4], &[0x10, 0], &[0x10, 0xFF, 0xFF, 0xFF, 0x7F]] {
        assert!(lan.answer(bytes).is_empty(), "{bytes:02X?}");
    }
    let mut taken_over = lan.resume(V::V5, "a").0;
    let _taking = lan.resume(V::V5, "a");
    let mut wrong = lan.join(V::V5, "b");
    wrong.send(&[0x00, 0]);
    let mut at_stop = lan.resume(V::V5, "c").0;
    let mut old = lan.join(V::V311, "d");
    let mut disconnects = vec![(taken_over.packet(), 0x8E), (wrong.packet(), 0x81)];
    std::thread::sleep(Duration::from_millis(50));
    lan.gateway.stop();
    disconnects.push((at_stop.packet(), 0x8B));
    old.eof();
    for (got, code) in disconnects {
        assert_eq!((got[0], got[2]), (0xE0, code));
        // Nothing but the reason string.
        assert!(got.len() == 3 || got[4] == 0x1F, "{got:02X?}");
        let text = usize::from(got[5]) * 256 + usize::from(got[6]);
        assert_eq!(got.len(), 7 + text, "{got:02X?}");
    }
}

#[test]
fn statement_80_whatever_comes_before_suback_the_codes_are_right() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut publisher = lan.join(v, "publisher");
        publisher.publish(&Publish::new("kept", "kept").retain());
        let mut s = lan.join(v, "s");
        s.send(&subscribe(v, 8, &[], &[(b"kept", 0), (b"t", 1)]));
        let (mut codes, mut kept) = (None, 0);
        while codes.is_none() || kept == 0 {
            let packet = s.packet();
            match packet[0] {
                0x90 => codes = Some(packet[packet.len() - 2..].to_vec()),
                0x31 => kept += 1,
                other => panic!("{other:02X}"),
            }
        }
        assert_eq!((codes.unwrap(), kept), (vec![0, 1], 1));
        s.nothing();
    }
}
