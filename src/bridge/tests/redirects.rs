//! An upstream that names another server.

use super::rig::Rig;
use super::upstream::{connack, write};
use super::*;
use crate::bridge::redirect::{Allowed, Place};
use crate::mqtt::{Disconnect, Packet, Property, PropertyId};

const V5: Version = Version::V5;

fn rig(places: &[&str]) -> Rig {
    let redirects = vec![Allowed { host: "*.r".into(), port: 1883 }, Allowed { host: "x".into(), port: 9 }];
    let places = places.iter().map(|place| Arc::from(*place)).collect();
    Rig::new(Config { redirects, places, ..config(V5) }, Backlog::default())
}

/// Where connections were asked for since `clear`.
fn asked(rig: &Rig) -> Vec<String> {
    let place = |output: &Output| match output {
        Output::Connect { address } => Some(format!("#{address}")),
        Output::ConnectTo(place) => Some(place.to_string()),
        _ => None,
    };
    rig.done.iter().filter_map(place).collect()
}

fn refer(rig: &mut Rig, reason: ReasonCode, reference: &str) {
    rig.clear();
    rig.input(Input::Connected);
    rig.bytes(&connack(V5, false, reason, &[Property::Str(PropertyId::ServerReference, reference)]));
}

fn send_away(rig: &mut Rig, reason: ReasonCode, reference: &str) {
    rig.clear();
    let mut properties = PropertiesBuf::new();
    properties.push(Property::Str(PropertyId::ServerReference, reference));
    let disconnect = Disconnect { reason, properties: properties.as_properties() };
    rig.bytes(&write(&Packet::Disconnect(disconnect), V5));
}

fn fail(rig: &mut Rig) {
    rig.input(Input::ConnectFailed { error: "connection refused", permanent: false });
}

/// The next place that is asked for, and how long that took.
fn next(rig: &mut Rig) -> (String, Duration) {
    let begun = rig.now.mono;
    while asked(rig).is_empty() {
        rig.pass(50);
    }
    let place = asked(rig).remove(0);
    rig.clear();
    (place, rig.now.mono.since(begun))
}

#[test]
fn another_server_is_used_for_one_connection_and_a_moved_one_until_the_end() {
    for (reason, afterwards) in [(ReasonCode::UseAnotherServer, "#0"), (ReasonCode::ServerMoved, "b.r:1883")]
    {
        let mut rig = rig(&["a:1883"]);
        refer(&mut rig, reason, "no.example:1 b.r x:9");
        assert!(rig.closes());
        assert_eq!(&*rig.status().place, "b.r:1883");
        let (place, took) = next(&mut rig);
        assert_eq!(place, "b.r:1883", "the first of those that are allowed");
        assert!(took <= Duration::from_millis(100), "{took:?}");
        rig.connect(false);
        rig.ack_slot();
        assert_eq!((rig.status().state, &*rig.status().place), (LinkState::Online, "b.r:1883"));
        rig.pass(20_000);
        rig.input(Input::Closed { error: "reset" });
        assert_eq!(next(&mut rig).0, afterwards);
    }
}

#[test]
fn an_upstream_that_sends_away_while_online_is_obeyed_after_a_random_wait() {
    let mut rig = rig(&["a:1883"]);
    rig.connect(false);
    rig.ack_slot();
    rig.append("1");
    send_away(&mut rig, ReasonCode::UseAnotherServer, "x:9");
    assert!(rig.closes());
    assert!(rig.status().retry_in.unwrap() <= Duration::from_secs(1));
    assert_eq!(next(&mut rig).0, "x:9");
    rig.connect(false);
    assert_eq!(rig.payloads(), ["1"]);
}

#[test]
fn a_moved_server_that_is_away_takes_turns_with_the_configured_ones() {
    let mut rig = rig(&["a:1883", "b:1883"]);
    refer(&mut rig, ReasonCode::ServerMoved, "x:9");
    let mut seen = Vec::new();
    for _ in 0..7 {
        seen.push(next(&mut rig).0);
        fail(&mut rig);
    }
    assert_eq!(seen, ["x:9", "#0", "#1", "x:9", "#0", "#1", "x:9"]);
    assert!(rig.now.mono > Mono::ZERO + Duration::from_secs(1), "it backs off: {:?}", rig.now.mono);
}

#[test]
fn what_is_not_allowed_is_told_with_what_to_write_and_not_followed() {
    for (reference, words) in [
        (Some("evil.example:1883"), "write redirect_hosts = [\"evil.example:1883\"]"),
        (Some("b.r:1884"), "write redirect_hosts = [\"b.r:1884\"]"),
        (Some("mqtt://b.r"), "is no host"),
        (None, "it doesn't say where"),
    ] {
        let mut rig = rig(&["a:1883"]);
        match reference {
            Some(reference) => refer(&mut rig, ReasonCode::UseAnotherServer, reference),
            None => {
                rig.input(Input::Connected);
                rig.bytes(&connack(V5, false, ReasonCode::UseAnotherServer, &[]));
            }
        }
        let error = rig.status().error.unwrap();
        assert!(error.contains(words), "{error}");
        assert!(rig.status().retry_in.unwrap() >= Duration::from_secs(30), "only people can mend it");
        assert_eq!(next(&mut rig).0, "#0");
    }
}

#[test]
fn servers_that_send_us_in_a_circle_are_left_alone_for_a_while() {
    let mut rig = rig(&["a:1883"]);
    for hop in 1..=5 {
        refer(&mut rig, ReasonCode::UseAnotherServer, if hop % 2 == 0 { "x:9" } else { "b.r" });
        assert!(next(&mut rig).1 <= Duration::from_millis(100), "hop {hop}");
    }
    refer(&mut rig, ReasonCode::UseAnotherServer, "x:9");
    assert!(rig.status().error.unwrap().contains("the 6th time in a row"));
    let (place, took) = next(&mut rig);
    assert_eq!(place, "#0");
    assert!(took >= Duration::from_secs(30), "{took:?}");
    // A connection that lasted ends the count.
    refer(&mut rig, ReasonCode::UseAnotherServer, "x:9");
    assert_eq!(next(&mut rig).0, "x:9");
    rig.connect(false);
    rig.ack_slot();
    for _ in 0..4 {
        rig.pass(20_000);
        rig.bytes(&super::upstream::pingresp(V5));
    }
    for _ in 0..5 {
        send_away(&mut rig, ReasonCode::UseAnotherServer, "x:9");
        assert_eq!(next(&mut rig).0, "x:9");
        rig.connect(false);
    }
    assert_eq!(Place { host: "::1".into(), port: 1 }.to_string(), "[::1]:1");
}
