//! Shared subscriptions.

use crate::raw::{Client, Lan, V, subscribe};

#[test]
fn statement_31_a_malformed_share_is_refused() {
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V5, "publisher");
    for filter in ["$share//t", "$share/g", "$share/g/", "$share/+/t", "$share/a#/t"] {
        let mut s = lan.join(V::V5, "s");
        assert_eq!(s.subscribe_with(&[], filter.as_bytes(), 1), 0x8F, "{filter}");
        publisher.say("t", 1, "x");
        s.nothing();
    }
}

#[test]
fn statement_32_no_local_on_a_share_is_a_protocol_error() {
    let lan = Lan::start("");
    let mut s = lan.join(V::V5, "s");
    s.send(&subscribe(V::V5, 1, &[], &[(b"$share/g/t", 0x04)]));
    s.closed(0x82);
}

/// All that has come, by payload.
fn drain(client: &mut Client) -> Vec<String> {
    let mut got = Vec::new();
    client.send(&[0xC0, 0]);
    loop {
        let packet = client.packet();
        if packet == [0xD0, 0] {
            return got;
        }
        assert_eq!(packet[0] & 0xF6, 0x30, "{packet:?}");
        got.push(String::from_utf8_lossy(&packet[packet.len() - 2..]).into_owned());
    }
}

#[test]
fn statement_33_each_message_goes_to_one_member_and_to_every_plain_subscriber() {
    let lan = Lan::start("");
    let (mut a, mut b) = (lan.join(V::V5, "a"), lan.join(V::V5, "b"));
    let mut plain = lan.join(V::V5, "plain");
    a.subscribe("$share/g/t", 0);
    b.subscribe("$share/g/t", 0);
    b.subscribe("t", 0);
    plain.subscribe("t", 0);
    let mut publisher = lan.join(V::V5, "publisher");
    let sent: Vec<String> = (10..40).map(|n| n.to_string()).collect();
    sent.iter().for_each(|payload| publisher.say("t", 0, payload));
    assert_eq!(drain(&mut plain), sent);
    let (of_a, of_b) = (drain(&mut a), drain(&mut b));
    assert!(!of_a.is_empty() && of_b.len() > sent.len(), "{} {}", of_a.len(), of_b.len());
    let mut of_group = [of_a, of_b].concat();
    of_group.sort();
    // b has its own copy of each as well.
    let mut twice = [sent.clone(), sent].concat();
    twice.sort();
    assert_eq!(of_group, twice);
}

#[test]
fn statement_34_what_a_member_took_is_its_own() {
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V5, "publisher");
    let (mut a, _) = lan.resume(V::V5, "a");
    a.subscribe("$share/g/t", 2);
    for qos in [1, 2] {
        publisher.say("t", qos, "x");
        let first = a.message();
        assert_eq!((first.qos, first.dup), (qos, false));
        let mut b = lan.join(V::V5, "b");
        b.subscribe("$share/g/t", 2);
        a.cut();
        b.nothing();
        let (again, present) = lan.resume(V::V5, "a");
        a = again;
        assert!(present);
        let second = a.message();
        assert_eq!((second.qos, second.dup, second.id), (qos, true, first.id));
        b.nothing();
        if qos == 1 {
            // A refusal is final, too.
            let id = first.id.to_be_bytes();
            a.send(&[0x40, 3, id[0], id[1], 0x80]);
            a.nothing();
            b.nothing();
            a.cut();
            a = lan.resume(V::V5, "a").0;
            a.nothing();
        } else {
            // The member's session ends: nobody else gets it.
            a.cut();
            a = lan.join(V::V5, "a");
            a.nothing();
            b.nothing();
        }
        b.cut();
    }
}

#[test]
fn statement_35_each_copy_has_its_members_qos_and_unsubscribing_names_the_share() {
    let lan = Lan::start("");
    let (mut low, mut high) = (lan.join(V::V5, "low"), lan.join(V::V5, "high"));
    low.subscribe("$share/g/t", 0);
    high.subscribe("$share/g/t", 2);
    let mut publisher = lan.join(V::V5, "publisher");
    for _ in 0..2 {
        publisher.say("t", 2, "x");
    }
    assert_eq!(low.message().qos, 0);
    assert_eq!(high.take().qos, 2);
    low.nothing();
    high.nothing();
    assert_eq!(high.unsubscribe("t"), 0x11);
    assert_eq!(high.unsubscribe("$share/h/t"), 0x11);
    assert_eq!(high.unsubscribe("$share/g/t"), 0);
    for _ in 0..2 {
        publisher.say("t", 2, "x");
        low.message();
    }
    high.nothing();
}
