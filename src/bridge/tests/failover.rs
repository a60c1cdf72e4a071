//! Several addresses of one upstream.

use super::rig::Rig;
use super::*;
use crate::bridge::Failover;

fn rig(failover: Failover) -> Rig {
    let places = ["a:1883", "b:1883", "c:1883"].into_iter().map(Arc::from).collect();
    let settings = Config { places, failover, ..config(Version::V5) };
    Rig::new(settings, Backlog::default())
}

/// The addresses that were asked for since `clear`.
fn asked(rig: &Rig) -> Vec<usize> {
    let address =
        |output: &Output| if let Output::Connect { address } = output { Some(*address) } else { None };
    rig.done.iter().filter_map(address).collect()
}

fn probes(rig: &Rig) -> usize {
    rig.done.iter().filter(|output| matches!(output, Output::Probe { .. })).count()
}

fn refuse(rig: &mut Rig) {
    rig.input(Input::ConnectFailed { error: "connection refused", permanent: false });
}

#[test]
fn the_next_address_is_tried_at_once_and_only_a_whole_round_backs_off() {
    let mut rig = rig(Failover::InOrder);
    assert_eq!((asked(&rig), &*rig.status().place), (vec![0], "a:1883"));
    for expected in [1, 2] {
        rig.clear();
        refuse(&mut rig);
        rig.pass(60);
        assert_eq!(asked(&rig), [expected]);
    }
    rig.clear();
    // The first wait of the backoff is a random share of one second.
    refuse(&mut rig);
    rig.pass(49);
    assert!(asked(&rig).is_empty());
    rig.pass(1_000);
    assert_eq!(asked(&rig), [0]);
}

#[test]
fn a_lost_connection_begins_again_with_the_first_address() {
    let mut rig = rig(Failover::InOrder);
    refuse(&mut rig);
    rig.pass(60);
    rig.connect(false);
    assert_eq!((rig.status().state, &*rig.status().place), (LinkState::Online, "b:1883"));
    rig.clear();
    rig.input(Input::Closed { error: "reset" });
    rig.pass(1_000);
    assert_eq!(asked(&rig), [0]);
}

#[test]
fn the_first_address_is_gone_back_to_once_it_has_answered_for_long_enough() {
    let mut rig = rig(Failover::InOrder);
    refuse(&mut rig);
    rig.pass(60);
    rig.connect(false);
    rig.ack_slot();
    for n in 0..=12 {
        rig.clear();
        // An upstream that answers pings.
        rig.pass(15_000);
        rig.bytes(&super::upstream::pingresp(Version::V5));
        rig.pass(15_000);
        rig.bytes(&super::upstream::pingresp(Version::V5));
        assert_eq!(probes(&rig), 1, "each 30 s, round {n}");
        // It flaps once in the second minute; from then on it answers.
        rig.input(Input::Probed { answered: n != 1 });
        let answered_s = if n > 1 { (n - 2) * 30 } else { 0 };
        assert_eq!(rig.closes(), answered_s >= 300, "round {n}");
    }
    assert!(rig.closes(), "after ten rounds that were answered");
    let offline = Notice::Offline { error: "its first address is back: going there".into() };
    assert_eq!(rig.notices(), [offline]);
    rig.clear();
    rig.pass(60);
    assert_eq!(asked(&rig), [0], "without a wait");
}

#[test]
fn shuffled_addresses_are_never_probed() {
    let mut rig = rig(Failover::Shuffle);
    refuse(&mut rig);
    rig.pass(60);
    rig.connect(false);
    rig.ack_slot();
    for _ in 0..100 {
        rig.pass(15_000);
        rig.bytes(&super::upstream::pingresp(Version::V5));
    }
    assert_eq!((probes(&rig), rig.status().state), (0, LinkState::Online));
}
