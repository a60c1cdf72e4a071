//! Session expiry.

use std::time::Duration;

use crate::raw::{Connect, Lan, V};

fn wait(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[test]
fn statement_10_a_session_lives_as_long_as_its_expiry_says() {
    let lan = Lan::start("");
    let connect = Connect::new(V::V5, "s").resume_for(2);
    let mut publisher = lan.join(V::V5, "publisher");
    let mut s = lan.connect(&connect);
    s.subscribe("t", 1);
    s.cut();
    publisher.say("t", 1, "kept");
    wait(1_000);
    let mut s = lan.connect(&connect);
    assert_eq!(s.connack[2], 1);
    s.take_text("kept");
    s.nothing();
    s.cut();
    publisher.say("t", 1, "lost");
    wait(2_500);
    let mut s = lan.connect(&connect);
    assert_eq!(s.connack[2], 0);
    publisher.say("t", 1, "unheard");
    s.nothing();
}

#[test]
fn statement_11_disconnect_may_shorten_the_expiry_but_not_revive_a_session() {
    let lan = Lan::start("");
    let mut s = lan.join(V::V5, "s");
    s.send(&[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 10]);
    s.closed(0x82);
    let (s, present) = lan.resume(V::V5, "s");
    assert!(!present);
    s.disconnect_with(&[0, 5, 0x11, 0, 0, 0, 0]);
    let (_s, present) = lan.resume(V::V5, "s");
    assert!(!present);
}

#[test]
fn statement_12_the_expiry_counts_from_the_end_of_the_connection() {
    let lan = Lan::start("");
    let mut s = lan.connect(&Connect::new(V::V5, "s").resume_for(1));
    s.subscribe("t", 1);
    wait(2_200);
    lan.join(V::V5, "publisher").say("t", 1, "x");
    s.take_text("x");
    s.cut();
    let s = lan.connect(&Connect::new(V::V5, "s").resume_for(1));
    assert_eq!(s.connack[2], 1);
}

#[test]
fn statement_13_an_absent_expiry_is_0_and_the_largest_is_for_ever() {
    let lan = Lan::start("");
    let absent = Connect { clean: false, ..Connect::new(V::V5, "s") };
    for _ in 0..2 {
        let s = lan.connect(&absent);
        assert_eq!(s.connack[2], 0);
        s.cut();
    }
    let for_ever = Connect::new(V::V5, "s").resume_for(u32::MAX);
    lan.connect(&for_ever).cut();
    wait(1_200);
    assert_eq!(lan.connect(&for_ever).connack[2], 1);
}
