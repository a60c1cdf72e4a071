//! Session takeover, session present, what may be the first packet.

use crate::raw::{BOTH, Connect, Lan, Publish, V, Will, packet};

#[test]
fn statement_01_a_second_client_with_the_id_takes_over_and_is_served() {
    let lan = Lan::start("");
    let mut witness = lan.join(V::V5, "witness");
    witness.subscribe("#", 1);
    for v in BOTH {
        let mut a = lan.join(v, "same");
        let mut b = lan.join(v, "same");
        a.closed(0x8E);
        b.say("t", 1, "from b");
        witness.take_text("from b");
        b.nothing();
    }
}

#[test]
fn statement_02_a_takeover_sends_the_will_unless_its_delay_outlives_it() {
    let lan = Lan::start("");
    let mut witness = lan.join(V::V5, "witness");
    witness.subscribe("will", 0);
    for v in BOTH {
        let with_will = Connect::new(v, "same").will(Will::new("will", "gone"));
        let _a = lan.connect(&with_will);
        let mut b = lan.join(v, "same");
        b.nothing();
        witness.take_text("gone");
        witness.nothing();
    }
    let patient = Connect::new(V::V5, "patient").resume().will(Will::new("will", "gone").delay(60));
    let _a = lan.connect(&patient);
    let (mut b, present) = lan.resume(V::V5, "patient");
    assert!(present);
    b.nothing();
    witness.nothing();
}

#[test]
fn statement_03_session_present_is_told_exactly_when_there_is_a_session() {
    let lan = Lan::start("");
    for v in BOTH {
        let clean = Connect::new(v, format!("{v:?}"));
        let keep = clean.clone().resume();
        for (connect, flags) in [(&keep, 0), (&keep, 1), (&keep, 1), (&clean, 0), (&keep, 0), (&keep, 1)] {
            let client = lan.connect(connect);
            assert_eq!(client.connack[2], flags, "{connect:?}");
            if v == V::V311 {
                assert_eq!(client.connack, [0x20, 2, flags, 0]);
            }
            client.cut();
        }
    }
}

#[test]
fn statement_04_a_clean_start_throws_queue_and_subscriptions_away() {
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V5, "publisher");
    for v in BOTH {
        let (mut s, _) = lan.resume(v, "s");
        s.subscribe("t", 1);
        s.cut();
        publisher.say("t", 1, "queued");
        lan.join(v, "s").cut();
        let (mut s, present) = lan.resume(v, "s");
        assert!(!present);
        publisher.say("t", 1, "later");
        s.nothing();
    }
}

#[test]
fn statement_05_an_empty_id_is_refused_or_gets_one_assigned() {
    let lan = Lan::start("");
    let keep = Connect { clean: false, ..Connect::new(V::V311, "") };
    assert_eq!(lan.answer(&keep.bytes()), [0x20, 2, 0, 2]);
    assert_eq!(lan.join(V::V311, "").connack, [0x20, 2, 0, 0]);
    let id = |client: &crate::raw::Client| {
        let value = client.connack_property(0x12).expect("an assigned client identifier");
        value[2..2 + usize::from(value[1])].to_vec()
    };
    let (a, b) = (lan.join(V::V5, ""), lan.connect(&Connect::new(V::V5, "").resume()));
    assert!(!id(&a).is_empty() && id(&a) != id(&b));
    assert_eq!(lan.join(V::V5, "own").connack_property(0x12), None);
}

#[test]
fn statement_06_a_version_that_does_not_exist_is_refused_in_the_form_that_all_know() {
    let lan = Lan::start("");
    let mut level_6 = Connect::new(V::V311, "a").bytes();
    level_6[8] = 6;
    assert_eq!(lan.answer(&level_6), [0x20, 2, 0, 1]);
    let mut other_name = Connect::new(V::V5, "a").bytes();
    other_name[4] = b'X';
    assert!(lan.answer(&other_name).is_empty());
}

#[test]
fn statement_07_connect_is_the_first_packet_and_comes_once() {
    let lan = Lan::start("");
    assert!(lan.answer(&[0xC0, 0]).is_empty());
    assert!(lan.answer(&Publish::new("t", "x").bytes(V::V311)).is_empty());
    for v in [V::V31, V::V311, V::V5] {
        let mut client = lan.join(v, "twice");
        client.send(&Connect::new(v, "twice").bytes());
        client.closed(0x82);
    }
}

#[test]
fn statement_08_what_follows_a_refused_connect_is_not_processed() {
    let lan = Lan::start("");
    let mut witness = lan.join(V::V5, "witness");
    witness.subscribe("#", 0);
    let refused_3 = Connect { clean: false, ..Connect::new(V::V311, "") };
    let refused_5 = Connect::new(V::V5, "a").property(&[0x15, 0, 1, b'X']);
    for connect in [refused_3, refused_5] {
        let answer = lan.answer(&[connect.bytes(), Publish::new("t", "x").bytes(connect.v)].concat());
        assert_eq!(answer[0], 0x20);
        assert_ne!(answer[3], 0);
        witness.nothing();
    }
}

#[test]
fn statement_09_reserved_connect_flags_and_a_lone_password_are_refused() {
    let lan = Lan::start("");
    for v in [V::V31, V::V311, V::V5] {
        assert!(lan.answer(&Connect::new(v, "a").flip(1).bytes()).is_empty(), "{v:?}");
    }
    let lone = |v| Connect { password: Some(b"secret".to_vec()), ..Connect::new(v, "a") };
    assert!(lan.answer(&lone(V::V311).bytes()).is_empty());
    // 5.0 allows it; this listener lets everybody in who has no name.
    lan.connect(&lone(V::V5)).nothing();
    // Nor is a CONNECT with something behind its last field one.
    let bytes = Connect::new(V::V311, "a").bytes();
    assert!(lan.answer(&packet(0x10, &[&bytes[2..], &[0]].concat())).is_empty());
}
