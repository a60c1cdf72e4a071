//! Receive maximum and flow control.

use crate::raw::{Client, Connect, Lan, Publish, V, ack};

/// A subscriber of `t` that allows so many unacknowledged messages.
fn narrow(lan: &Lan, window: u8) -> Client {
    let mut client = lan.connect(&Connect::new(V::V5, "s").resume().property(&[0x21, 0, window]));
    client.subscribe("t", 2);
    client
}

#[test]
fn statement_41_no_more_is_unacknowledged_than_the_client_allows() {
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V5, "publisher");
    let mut s = narrow(&lan, 2);
    for n in 0..5 {
        publisher.say("t", 1, &n.to_string());
    }
    let (first, second) = (s.message(), s.message());
    assert_eq!((first.text(), second.text()), ("0", "1"));
    s.nothing();
    s.send(&ack(0x40, second.id));
    assert_eq!(s.take_text("2").qos, 1);
    s.take_text("3");
    s.take_text("4");
    s.nothing();
    s.send(&ack(0x40, first.id));
    s.nothing();
    // QoS 2: PUBREC with a success holds its place until PUBCOMP; with a failure it gives it back.
    for n in 0..4 {
        publisher.say("t", 2, &n.to_string());
    }
    let (first, second) = (s.message(), s.message());
    s.nothing();
    s.send(&ack(0x50, first.id));
    s.expect_ack(0x62, first.id, 0);
    s.nothing();
    let id = second.id.to_be_bytes();
    s.send(&[0x50, 3, id[0], id[1], 0x80]);
    let third = s.message();
    assert_eq!(third.text(), "2");
    s.nothing();
    s.send(&ack(0x70, first.id));
    assert_eq!(s.message().text(), "3");
    s.nothing();
}

#[test]
fn statement_42_a_full_window_stops_nothing_else() {
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V5, "publisher");
    let mut s = narrow(&lan, 1);
    publisher.say("t", 1, "1");
    publisher.say("t", 1, "2");
    let first = s.message();
    s.nothing();
    s.subscribe("u", 0);
    publisher.say("t", 0, "now");
    assert_eq!((s.message().text(), first.qos), ("now", 1));
    publisher.say("u", 2, "too");
    assert_eq!(s.message().text(), "too");
    for qos in [1, 2] {
        s.say("elsewhere", qos, "x");
    }
    assert_eq!(s.unsubscribe("u"), 0);
    s.send(&ack(0x40, first.id));
    s.take_text("2");
}

#[test]
fn statement_43_a_client_that_exceeds_the_servers_receive_maximum_is_closed() {
    for (broker, max) in [("", 32), ("receive_max = 3", 3)] {
        let lan = Lan::start(broker);
        let mut client = lan.join(V::V5, "a");
        assert_eq!(client.connack_property(0x21).unwrap()[..2], [0, u8::try_from(max).unwrap()]);
        for id in 1..=max {
            client.send(&Publish::new("t", "x").qos(2, id).bytes(V::V5));
            client.expect_accepted(0x50, id);
        }
        // Those that are open may be sent again, QoS 0 does not count, and PUBREL makes room.
        client.send(&Publish::new("t", "x").qos(2, 1).dup().bytes(V::V5));
        client.expect_accepted(0x50, 1);
        client.say("t", 0, "x");
        client.send(&ack(0x62, 1));
        client.expect_ack(0x70, 1, 0);
        client.say("t", 1, "x");
        client.send(&Publish::new("t", "x").qos(2, 1).bytes(V::V5));
        client.expect_accepted(0x50, 1);
        client.send(&Publish::new("t", "x").qos(2, max + 1).bytes(V::V5));
        client.closed(0x93);
    }
}

#[test]
fn statement_44_a_window_of_0_is_refused_and_a_window_starts_afresh_with_each_connection() {
    let lan = Lan::start("");
    let answer = lan.answer(&Connect::new(V::V5, "a").property(&[0x21, 0, 0]).bytes());
    assert!(answer.is_empty() || answer[3] == 0x82, "{answer:?}");
    let mut publisher = lan.join(V::V5, "publisher");
    let mut s = narrow(&lan, 2);
    for n in 0..3 {
        publisher.say("t", 1, &n.to_string());
    }
    assert_eq!((s.message().text(), s.message().text()), ("0", "1"));
    s.nothing();
    s.cut();
    let mut s = lan.connect(&Connect::new(V::V5, "s").resume().property(&[0x21, 0, 1]));
    for n in 0..3 {
        let message = s.message();
        assert_eq!((message.text(), message.dup), (n.to_string().as_str(), n < 2));
        s.nothing();
        s.send(&ack(0x40, message.id));
    }
    s.nothing();
}
