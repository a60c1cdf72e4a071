//! Wills and their delay.

use std::time::{Duration, Instant};

use crate::raw::{BOTH, Client, Connect, Lan, V, Will, subscribe};

fn wait(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// A gateway, and one who gets all wills.
fn start() -> (Lan, Client) {
    let lan = Lan::start("");
    let mut witness = lan.join(V::V5, "witness");
    witness.subscribe("will/#", 1);
    (lan, witness)
}

/// Cuts a client with this delay and expiry; gives when its will came.
fn will_after(lan: &Lan, witness: &mut Client, delay: u32, expiry: u32) -> Duration {
    let will = Will::new("will/a", "gone").delay(delay);
    let client = lan.connect(&Connect::new(V::V5, "a").expiry(expiry).will(will));
    let start = Instant::now();
    client.cut();
    witness.take_text("gone");
    start.elapsed()
}

#[test]
fn statement_14_a_will_waits_for_its_delay_and_no_longer() {
    let (lan, mut witness) = start();
    let after = will_after(&lan, &mut witness, 2, 60);
    assert!(after >= Duration::from_secs(2) && after < Duration::from_secs(4), "{after:?}");
}

#[test]
fn statement_15_a_will_does_not_outwait_its_session() {
    let (lan, mut witness) = start();
    let after = will_after(&lan, &mut witness, 60, 0);
    assert!(after < Duration::from_secs(1), "{after:?}");
    let after = will_after(&lan, &mut witness, 60, 1);
    assert!(after >= Duration::from_secs(1) && after < Duration::from_secs(3), "{after:?}");
}

#[test]
fn statement_16_a_client_that_is_back_in_time_has_no_will() {
    let (lan, mut witness) = start();
    let connect = Connect::new(V::V5, "a").resume_for(60).will(Will::new("will/a", "gone").delay(1));
    lan.connect(&connect).cut();
    let mut back = lan.connect(&Connect::new(V::V5, "a").resume_for(60));
    wait(1_500);
    witness.nothing();
    back.nothing();
}

#[test]
fn statement_17_disconnect_normal_drops_the_will_and_0x04_sends_it() {
    let (lan, mut witness) = start();
    for v in BOTH {
        lan.connect(&Connect::new(v, "a").will(Will::new("will/a", "gone"))).disconnect();
        witness.nothing();
    }
    let with_will = Connect::new(V::V5, "a").will(Will::new("will/a", "gone"));
    lan.connect(&with_will).disconnect_with(&[0]);
    witness.nothing();
    lan.connect(&with_will).disconnect_with(&[4]);
    witness.take_text("gone");
}

#[test]
fn statement_18_a_retained_will_is_kept_and_an_empty_one_clears() {
    let (lan, mut witness) = start();
    for v in BOTH {
        for (payload, kept) in [("gone", true), ("", false)] {
            let will = Will::new("will/kept", payload).retain();
            lan.connect(&Connect::new(v, "a").will(will)).cut();
            assert!(!witness.take_text(payload).retain);
            let mut late = lan.join(v, "late");
            late.subscribe("will/kept", 0);
            if kept {
                assert!(late.take_text("gone").retain);
            }
            late.nothing();
        }
    }
}

#[test]
fn statement_19_will_flags_that_contradict_each_other_and_bad_will_topics_are_refused() {
    let (lan, mut witness) = start();
    for v in BOTH {
        for bits in [0x08, 0x10, 0x18, 0x20] {
            assert!(lan.answer(&Connect::new(v, "a").flip(bits).bytes()).is_empty(), "{v:?} {bits:02X}");
        }
        let will_qos_3 = Connect::new(v, "a").will(Will::new("will/a", "x")).flip(0x18);
        assert!(lan.answer(&will_qos_3.bytes()).is_empty());
        for topic in ["", "will/+", "#", "will/#"] {
            let answer = lan.answer(&Connect::new(v, "a").will(Will::new(topic, "x")).bytes());
            assert!(answer.is_empty() || answer[3] >= 0x80, "{v:?} {topic:?}: {answer:?}");
        }
    }
    witness.nothing();
}

#[test]
fn statement_20_a_silent_client_is_closed_after_1_5_keep_alives_and_its_will_sent() {
    let (lan, mut witness) = start();
    for (v, delay) in [(V::V311, 0), (V::V5, 1)] {
        let mut will = Will::new("will/a", "gone");
        if delay > 0 {
            will = will.delay(delay);
        }
        let connect = Connect::new(v, "a").keep_alive(1).will(will);
        let connect = if v == V::V5 { connect.expiry(60) } else { connect };
        let mut client = lan.connect(&connect);
        let start = Instant::now();
        client.closed(0x8D);
        let closed = start.elapsed();
        assert!(
            closed >= Duration::from_millis(1_000) && closed < Duration::from_millis(3_000),
            "{closed:?}"
        );
        witness.take_text("gone");
        let told = start.elapsed();
        assert!(
            told >= closed + Duration::from_secs(u64::from(delay)) - Duration::from_millis(50),
            "{told:?}"
        );
        assert!(told < closed + Duration::from_secs(u64::from(delay) + 2), "{told:?}");
    }
    // Whoever speaks, lives.
    let mut client = lan.connect(&Connect::new(V::V311, "b").keep_alive(1).will(Will::new("will/b", "gone")));
    for _ in 0..3 {
        wait(800);
        client.send(&subscribe(V::V311, 1, &[], &[(b"t", 0)]));
        client.expect(&[0x90, 3, 0, 1, 0]);
    }
    witness.nothing();
}
