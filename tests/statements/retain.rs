//! Retained messages.

use std::time::Duration;

use crate::raw::{BOTH, Lan, Publish, V};

#[test]
fn statement_24_retain_handling_says_when_retained_messages_are_sent() {
    let lan = Lan::start("");
    lan.join(V::V5, "publisher").publish(&Publish::new("t", "kept").retain());
    let (mut s, _) = lan.resume(V::V5, "s");
    for (name, options, expected) in
        [("always", 0x00, true), ("always", 0x00, true), ("new", 0x10, false), ("never", 0x20, false)]
    {
        s.subscribe("t", options);
        if expected {
            assert!(s.take_text("kept").retain, "{name}");
        }
        s.nothing();
    }
    s.unsubscribe("t");
    s.subscribe("t", 0x10);
    s.take_text("kept");
    s.cut();
    let (mut s, present) = lan.resume(V::V5, "s");
    assert!(present);
    s.subscribe("t", 0x10);
    s.nothing();
    s.unsubscribe("t");
    s.subscribe("t", 0x20);
    s.nothing();
}

#[test]
fn statement_25_live_copies_have_retain_as_the_subscription_wants_and_kept_ones_have_it_set() {
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V5, "publisher");
    for (v, options, live) in [(V::V311, 0, false), (V::V5, 0x00, false), (V::V5, 0x08, true)] {
        let mut s = lan.join(v, "s");
        s.subscribe("t", options);
        for retain in [false, true] {
            publisher.publish(&Publish { retain, ..Publish::new("t", "x") });
            assert_eq!(s.take_text("x").retain, live && retain, "{v:?} {options:02X}");
        }
        let mut late = lan.join(v, "late");
        late.subscribe("t", options);
        assert!(late.take_text("x").retain);
        publisher.publish(&Publish::new("t", "").retain());
    }
}

#[test]
fn statement_26_an_empty_retained_message_is_forwarded_clears_and_is_not_kept() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut publisher = lan.join(v, "publisher");
        let mut s = lan.join(v, "s");
        s.subscribe("t", 1);
        publisher.publish(&Publish::new("t", "kept").retain());
        s.take_text("kept");
        publisher.publish(&Publish::new("t", "").qos(1, 0).retain());
        assert!(!s.take_text("").retain);
        for filter in ["t", "#", "+"] {
            let mut late = lan.join(v, "late");
            late.subscribe(filter, 0);
            late.nothing();
        }
    }
}

#[test]
fn statement_27_a_message_without_retain_leaves_the_kept_one_alone() {
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V311, "publisher");
    publisher.publish(&Publish::new("t", "kept").retain());
    publisher.say("t", 0, "live");
    publisher.say("t", 1, "");
    let mut late = lan.join(V::V5, "late");
    late.subscribe("t", 0);
    late.take_text("kept");
    late.nothing();
}

#[test]
fn statement_28_subscribing_again_loses_no_message_and_sends_the_kept_one_again() {
    const MESSAGES: u32 = 300;
    let lan = Lan::start("");
    for v in BOTH {
        lan.join(v, "keeper").publish(&Publish::new("kept", "kept").retain());
        let mut s = lan.join(v, "s");
        // Not "#": the gateway's own messages would take part.
        s.subscribe("+", 1);
        s.take_text("kept");
        let mut publisher = lan.join(v, "publisher");
        let publishing = std::thread::spawn(move || {
            (0..MESSAGES).for_each(|n| publisher.say("live", 1, &n.to_string()));
        });
        let (mut next, mut kept, mut subscribed) = (0, 0, 0);
        while next < MESSAGES || kept < 10 {
            if subscribed < 10 && next >= subscribed * 20 {
                s.send(&crate::raw::subscribe(v, 5, &[], &[(b"+", 1)]));
                subscribed += 1;
            }
            let packet = s.packet();
            match packet[0] >> 4 {
                9 => continue,
                3 => {}
                _ => panic!("{packet:?}"),
            }
            let body = String::from_utf8_lossy(&packet).into_owned();
            if body.ends_with("kept") {
                kept += 1;
                continue;
            }
            let id = [packet[8], packet[9]];
            s.send(&[0x40, 2, id[0], id[1]]);
            let text = body.trim_start_matches(|c: char| !c.is_ascii()).to_owned();
            assert!(text.ends_with(&next.to_string()), "{next} is missing: {packet:?}");
            next += 1;
        }
        publishing.join().unwrap();
        s.nothing();
    }
}

#[test]
fn statement_29_retained_messages_survive_their_publishers_session() {
    let lan = Lan::start("");
    for v in [V::V31, V::V311] {
        let mut publisher = lan.join(v, "publisher");
        publisher.publish(&Publish::new("t", "kept").retain());
        publisher.disconnect();
        let mut late = lan.join(v, "late");
        late.subscribe("t", 0);
        assert!(late.take_text("kept").retain);
    }
}

#[test]
fn statement_30_a_kept_message_ages_and_a_shared_subscription_gets_none() {
    let lan = Lan::start("");
    let kept = Publish::new("t", "kept").retain().property(&[2, 0, 0, 0, 2]);
    lan.join(V::V5, "publisher").publish(&kept);
    lan.join(V::V5, "publisher").publish(&Publish::new("plain", "plain").retain());
    let mut s = lan.join(V::V5, "s");
    s.subscribe("$share/g/#", 1);
    s.nothing();
    std::thread::sleep(Duration::from_millis(1_100));
    let mut s = lan.join(V::V5, "s");
    s.subscribe("t", 0);
    assert_eq!(s.take_text("kept").properties, [2, 0, 0, 0, 1]);
    std::thread::sleep(Duration::from_millis(1_000));
    let mut s = lan.join(V::V5, "s");
    s.subscribe("t", 0);
    s.nothing();
    s.subscribe("plain", 0);
    assert!(s.take_text("plain").properties.is_empty(), "no expiry of the broker's own");
}
