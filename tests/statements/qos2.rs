//! QoS 1 and 2: exchanges, redelivery, DUP, ordering.

use crate::raw::{BOTH, Client, Connect, Lan, Publish, V, ack, packet, subscribe, unsubscribe};

fn twice(v: V, id: u16, payload: &str, dup: bool) -> Vec<u8> {
    Publish { dup, ..Publish::new("t", payload).qos(2, id) }.bytes(v)
}

#[test]
fn statement_65_a_qos_2_message_that_is_sent_again_is_delivered_once() {
    let lan = Lan::start("");
    let mut s = lan.join(V::V5, "s");
    s.subscribe("t", 2);
    for v in BOTH {
        for reconnect in [false, true] {
            let (mut p, _) = lan.resume(v, "p");
            p.send(&twice(v, 7, "once", false));
            p.expect_ack(0x50, 7, 0);
            if reconnect {
                p.cut();
                p = lan.resume(v, "p").0;
            }
            p.send(&twice(v, 7, "once", true));
            p.expect_ack(0x50, 7, 0);
            p.send(&ack(0x62, 7));
            p.expect_ack(0x70, 7, 0);
            s.take_text("once");
            s.nothing();
            p.cut();
        }
    }
}

#[test]
fn statement_66_after_pubcomp_a_packet_identifier_is_new() {
    let lan = Lan::start("");
    let mut s = lan.join(V::V5, "s");
    s.subscribe("t", 0);
    for v in BOTH {
        let mut p = lan.join(v, "p");
        for (payload, dup) in [("one", false), ("two", false), ("three", true)] {
            p.send(&twice(v, 7, payload, dup));
            p.expect_ack(0x50, 7, 0);
            p.send(&ack(0x62, 7));
            p.expect_ack(0x70, 7, 0);
            s.take_text(payload);
        }
        s.nothing();
    }
}

#[test]
fn statement_67_a_pubrel_for_an_unknown_identifier_is_answered() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut p = lan.join(v, "p");
        p.send(&ack(0x62, 99));
        p.expect_ack(0x70, 99, if v == V::V5 { 0x92 } else { 0 });
        p.nothing();
    }
}

#[test]
fn statement_68_what_was_under_way_is_sent_again_on_reconnect_with_dup_and_only_then() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut publisher = lan.join(v, "publisher");
        let (mut s, _) = lan.resume(v, "s");
        s.subscribe("t", 2);
        for (qos, payload) in [(1, "one"), (2, "two"), (2, "released")] {
            publisher.say("t", qos, payload);
        }
        let (one, two, released) = (s.message(), s.message(), s.message());
        s.send(&ack(0x50, released.id));
        s.expect_ack(0x62, released.id, 0);
        s.nothing();
        s.cut();
        let (mut s, present) = lan.resume(v, "s");
        assert!(present);
        for before in [one.clone(), two.clone()] {
            assert_eq!(s.message(), crate::raw::Message { dup: true, ..before }, "{v:?}");
        }
        s.expect_ack(0x62, released.id, 0);
        s.nothing();
        s.send(&ack(0x40, one.id));
        s.send(&ack(0x50, two.id));
        s.expect_ack(0x62, two.id, 0);
        s.send(&ack(0x70, two.id));
        s.send(&ack(0x70, released.id));
        s.nothing();
        s.cut();
        lan.resume(v, "s").0.nothing();
        lan.join(v, "s").cut();
    }
}

#[test]
fn statement_69_after_pubrec_the_message_is_never_sent_again() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut publisher = lan.join(v, "publisher");
        let (mut s, _) = lan.resume(v, "s");
        s.subscribe("t", 2);
        publisher.say("t", 2, "x");
        let id = s.message().id;
        s.send(&ack(0x50, id));
        s.expect_ack(0x62, id, 0);
        for _ in 0..3 {
            s.cut();
            s = lan.resume(v, "s").0;
            s.expect_ack(0x62, id, 0);
            s.nothing();
        }
        s.send(&ack(0x70, id));
        s.nothing();
        s.cut();
        lan.join(v, "s").cut();
    }
    // A PUBREC with a failure ends the exchange at once.
    let (mut s, _) = lan.resume(V::V5, "s");
    s.subscribe("t", 2);
    lan.join(V::V5, "publisher").say("t", 2, "x");
    let id = s.message().id.to_be_bytes();
    s.send(&[0x50, 3, id[0], id[1], 0x80]);
    s.nothing();
    s.cut();
    lan.resume(V::V5, "s").0.nothing();
}

#[test]
fn statement_70_dup_is_not_passed_on_and_impossible_flags_end_the_connection() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut s = lan.join(v, "s");
        s.subscribe("t", 2);
        let mut p = lan.join(v, "p");
        p.send(&Publish::new("t", "1").qos(1, 1).dup().bytes(v));
        p.expect_ack(0x40, 1, 0);
        assert!(!s.take_text("1").dup);
        p.say("t", 0, "0");
        assert!(!s.take_text("0").dup);
        for (first, body) in [
            (0x38, &b"\x00\x01tx"[..]),
            (0x36, b"\x00\x01t\x00\x01x"),
            (0x3E, b"\x00\x01t\x00\x01x"),
            (0x32, b"\x00\x01t\x00\x00\x00x"),
            (0x34, b"\x00\x01t\x00\x00\x00x"),
        ] {
            let mut p = lan.join(v, "p");
            p.send(&packet(first, body));
            p.ended();
        }
        for bytes in
            [subscribe(v, 0, &[], &[(b"t", 0)]), unsubscribe(v, 0, &["t"]), ack(0x62, 0), ack(0x40, 0)]
        {
            let mut p = lan.join(v, "p");
            p.send(&bytes);
            p.ended();
        }
        s.nothing();
    }
}

/// A subscriber with a window of 1.
fn slow(lan: &Lan, v: V) -> Client {
    let connect = Connect::new(v, "s").resume();
    lan.connect(&if v == V::V5 { connect.property(&[0x21, 0, 1]) } else { connect })
}

#[test]
fn statement_71_order_is_kept_also_over_a_cut_and_redeliveries_come_first() {
    const MESSAGES: usize = 1_000;
    let lan = Lan::start("inflight_max = 1\nqueue_messages_max = 10000");
    for (v, qos) in [(V::V311, 1), (V::V5, 1), (V::V5, 2)] {
        let mut s = slow(&lan, v);
        s.subscribe("t", qos);
        let mut publisher = lan.join(v, "publisher");
        let publishing = std::thread::spawn(move || {
            (0..MESSAGES).for_each(|n| publisher.say("t", qos, &n.to_string()));
        });
        for n in 0..MESSAGES {
            if n == MESSAGES / 2 {
                let first = s.message();
                assert_eq!((first.text(), first.dup), (n.to_string().as_str(), false));
                s.cut();
                s = slow(&lan, v);
                assert!(s.take_text(&n.to_string()).dup);
                continue;
            }
            assert_eq!(s.take().text(), n.to_string());
        }
        publishing.join().unwrap();
        s.nothing();
        s.cut();
        lan.join(v, "s").cut();
    }
    let mut s = lan.join(V::V5, "s");
    s.subscribe("t", 0);
    let mut publisher = lan.join(V::V5, "publisher");
    let all: Vec<u8> = (0..MESSAGES).flat_map(|n| Publish::new("t", n.to_string()).bytes(V::V5)).collect();
    publisher.send(&all);
    (0..MESSAGES).for_each(|n| assert_eq!(s.take().text(), n.to_string()));
}
