//! Messages of upstreams, and clients that are bridges.

use super::*;
use crate::message::Ticket;

fn bridged(topic: &str, qos: QoS, ticket: u64) -> Input<'static> {
    let ticket = (qos > Q0).then_some(Ticket(ticket));
    Input::Bridged { from: OutboxId(1), message: local(topic, qos, false, "x"), ticket }
}

#[test]
fn an_upstreams_message_goes_to_the_lan_and_to_other_upstreams_but_never_back() {
    let mut t = Bench::with(forwarding(&[("a/#", 0), ("a/#", 1), ("only/#", 1)]));
    t.join(1, connect(V311, "s"));
    t.subscribe(1, "#", Q1);
    t.handle(bridged("a/b", Q1, 7));
    t.expect(1, message("a/b", Q1, 1, "x"));
    let outboxes: Vec<u16> = t.forwards.iter().map(|(outbox, ..)| outbox.0).collect();
    assert_eq!(outboxes, [0]);
    assert!(t.accepted.is_empty(), "the other outbox doesn't have it yet");
    t.answer(true);
    assert_eq!(t.accepted, [(7, true)]);
    t.handle(bridged("only/x", Q1, 8));
    assert!(t.forwards.is_empty());
    assert_eq!(t.accepted, [(7, true), (8, true)]);
}

#[test]
fn an_upstream_is_told_that_another_one_cant_keep_its_message() {
    let mut t = Bench::with(forwarding(&[("a/#", 0)]));
    t.handle(bridged("a/b", Q2, 7));
    t.answer(false);
    assert_eq!(t.accepted, [(7, false)]);
}

#[test]
fn an_upstream_writes_neither_to_the_gateways_own_topics_nor_to_sys() {
    let mut t = Bench::with(forwarding(&[]));
    t.join(1, connect(V311, "s"));
    t.subscribe(1, "#", Q1);
    t.subscribe(1, "$SYS/#", Q1);
    for (number, topic) in
        (1..).zip(["gw/data/scale", "gw/status", "gw/health", "gw/info/x", "$SYS/broker/uptime"])
    {
        t.handle(bridged(topic, Q1, number));
        t.nothing(1);
        // It would only come again.
        assert_eq!(t.accepted.last(), Some(&(number, true)));
    }
    t.handle(bridged("gw/cmd/scale/tare", Q0, 0));
    t.expect(1, message("gw/cmd/scale/tare", Q0, 0, "x"));
}

#[test]
fn a_client_that_says_it_is_a_bridge_gets_nothing_of_its_own_and_retain_as_published() {
    for version in [V31, V311] {
        for bridge in [false, true] {
            let mut t = Bench::new();
            t.join(1, Connect { bridge, ..connect(version, "b") });
            t.join(2, connect(V311, "other"));
            t.subscribe(1, "a/#", Q0);
            t.send(1, message("a/own", Q0, 0, "x"));
            if !bridge {
                t.expect(1, message("a/own", Q0, 0, "x"));
            }
            t.nothing(1);
            t.send(2, retained("a/b", Q0, 0, "x"));
            t.expect(1, if bridge { retained("a/b", Q0, 0, "x") } else { message("a/b", Q0, 0, "x") });
        }
    }
}

#[test]
fn an_upstreams_message_for_an_absent_session_and_a_retained_one_wait_for_the_disk() {
    let mut k = super::persistence::Kept::new();
    k.join(1, resume(V311, "sleeper"));
    k.bench.send(1, subscribe(1, &[("a/#", Q1)]));
    k.settle();
    k.bench.cut(1);
    k.settle();
    k.bench.handle(bridged("a/b", Q1, 7));
    let retained = local("r", Q1, true, "kept");
    k.bench.handle(Input::Bridged { from: OutboxId(1), message: retained, ticket: Some(Ticket(8)) });
    assert!(k.bench.accepted.is_empty());
    k.settle();
    let mut accepted = k.bench.accepted.clone();
    accepted.sort_unstable();
    assert_eq!(accepted, [(7, true), (8, true)]);
}
