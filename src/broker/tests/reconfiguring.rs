//! Other settings while clients are connected: who has to go, who stays, and which bound holds from when.

use std::collections::HashSet;

use super::persistence::{Kept, persistent};
use super::*;
use crate::broker::acl::{Acl, parse_file};

fn reconfigured(t: &mut Bench, config: Config, moved: &[Option<u16>], users: &[&str]) {
    t.handle(Input::Reconfigure(Box::new(Reconfigure {
        config,
        moved: moved.iter().map(|to| to.map(ListenerId)).collect(),
        users: users.iter().map(|user| (*user).to_owned()).collect::<HashSet<_>>(),
        own_users: Default::default(),
    })));
}

const SAME: [Option<u16>; 2] = [Some(0), Some(1)];

/// DISCONNECT with this code, whatever it says in words, and closed.
#[track_caller]
fn expect_out(t: &mut Bench, c: u32, code: u8) {
    let got = t.next(c).expect("a DISCONNECT");
    assert_eq!((got[0], got[2]), (0xE0, code), "{got:02X?}");
    t.expect_closed(c);
}

#[track_caller]
fn expect_stays(t: &mut Bench, c: u32) {
    assert!(!t.closed.contains(&c), "client {c} was closed");
    t.send(c, Packet::PingReq);
    t.expect(c, Packet::PingResp);
}

fn user<'a>(version: Version, id: &'a str, name: &'a str) -> Connect<'a> {
    Connect { user_name: Some(name), password: Some(b"x"), ..connect(version, id) }
}

fn join_as(t: &mut Bench, c: u32, connect: Connect<'_>) {
    t.open_at(c, 1);
    t.send(c, Packet::Connect(connect));
    t.handle(Input::Authenticated { conn: ConnId(c), accepted: true });
    t.welcomed(c);
}

#[test]
fn a_user_who_is_gone_is_out_and_the_others_stay() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "nobody"));
    join_as(&mut t, 2, user(V5, "a", "ann"));
    join_as(&mut t, 3, user(V5, "b", "bob"));
    join_as(&mut t, 4, user(V311, "c", "bob"));
    t.handle(Input::Open {
        conn: ConnId(5),
        listener: ListenerId(0),
        peer: "p",
        from: None,
        certified: Some("eve"),
    });
    t.send(5, Packet::Connect(connect(V5, "e")));
    t.welcomed(5);
    reconfigured(&mut t, config(), &SAME, &["ann", "new"]);
    expect_out(&mut t, 3, 0x87);
    t.expect_closed(4);
    for c in [1, 2, 5] {
        expect_stays(&mut t, c);
    }
    assert_eq!(t.broker.stats().disconnected_by_reload, 2);
}

#[test]
fn whose_name_nobody_checked_stays_until_names_are_checked() {
    let mut open = config();
    open.listeners[0].check_users = false;
    let mut t = Bench::with(open.clone());
    t.join(1, user(V5, "a", "ann"));
    t.join(2, connect(V5, "nobody"));
    reconfigured(&mut t, open, &SAME, &[]);
    expect_stays(&mut t, 1);
    reconfigured(&mut t, config(), &SAME, &["ann"]);
    expect_out(&mut t, 1, 0x87);
    expect_stays(&mut t, 2);
}

#[test]
fn who_would_not_be_let_in_any_more_is_out() {
    let policy = |change: &dyn Fn(&mut Config)| {
        let mut config = config();
        change(&mut config);
        config
    };
    for (new, code) in [
        (policy(&|config| config.listeners[0].allow_anonymous = false), 0x87),
        (policy(&|config| config.client_id_prefixes = vec!["meter-".into()]), 0x87),
        (policy(&|config| config.listeners[0].versions = vec![V311]), 0x98),
    ] {
        let mut t = Bench::new();
        t.join(1, connect(V5, "gone"));
        join_as(&mut t, 2, user(V5, "meter-1", "ann"));
        reconfigured(&mut t, new, &SAME, &["ann"]);
        expect_out(&mut t, 1, code);
        expect_stays(&mut t, 2);
    }
}

#[test]
fn a_listener_that_is_gone_takes_its_clients_with_it_and_the_others_keep_theirs() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "one"));
    t.open(2);
    join_as(&mut t, 3, user(V5, "two", "ann"));
    t.open_at(4, 1);
    t.send(4, Packet::Connect(user(V5, "three", "ann")));
    let mut new = config();
    new.listeners.remove(0);
    new.listeners[0].connections_max = Some(1);
    reconfigured(&mut t, new, &[None, Some(0)], &["ann"]);
    expect_out(&mut t, 1, 0x98);
    t.expect_closed(2);
    expect_stays(&mut t, 3);
    // It is counted where it is now: there is room for one.
    t.handle(Input::Authenticated { conn: ConnId(4), accepted: true });
    assert_eq!(t.next(4).unwrap()[3], 0x97);
    t.expect_closed(4);
}

#[test]
fn a_login_under_way_is_judged_by_the_new_settings() {
    let mut t = Bench::new();
    t.open_at(1, 1);
    t.send(1, Packet::Connect(user(V5, "gauge", "ann")));
    t.open_at(2, 1);
    t.send(2, Packet::Connect(user(V5, "meter", "ann")));
    let new = Config { client_id_prefixes: vec!["meter".into()], ..config() };
    reconfigured(&mut t, new, &SAME, &[]);
    assert_eq!(t.next(1).unwrap()[3], 0x87);
    t.expect_closed(1);
    t.handle(Input::Authenticated { conn: ConnId(2), accepted: true });
    t.welcomed(2);
}

#[test]
fn new_rules_hold_for_old_subscriptions_and_for_publishing() {
    let rules = |file: &str| Arc::new(Acl::of(parse_file(file.as_bytes()).unwrap()));
    let mut t = Bench::with(Config { acl: rules("topic #\n"), ..config() });
    t.join(1, connect(V5, "a"));
    t.join(2, connect(V5, "b"));
    t.subscribe(1, "#", Q0);
    t.send(2, message("x", Q0, 0, "1"));
    t.expect(1, message("x", Q0, 0, "1"));
    reconfigured(&mut t, Config { acl: rules("topic write #\ntopic deny y\n"), ..config() }, &SAME, &[]);
    t.send(2, message("x", Q0, 0, "2"));
    t.nothing(1);
    t.send(2, message("y", Q1, 7, "3"));
    t.expect(2, Packet::PubAck(ack(7, ReasonCode::NotAuthorized)));
    reconfigured(&mut t, Config { acl: rules("topic #\n"), ..config() }, &SAME, &[]);
    t.send(2, message("x", Q0, 0, "4"));
    t.expect(1, message("x", Q0, 0, "4"));
}

#[test]
fn queues_above_a_lowered_bound_lose_their_oldest_messages_and_that_is_counted() {
    for (new, left) in
        [(Config { queue_messages_max: 3, ..config() }, 3), (Config { queues_bytes_max: 1, ..config() }, 0)]
    {
        let mut t = Bench::new();
        t.join(1, Connect { clean_start: false, ..connect(V311, "sleeper") });
        t.subscribe(1, "t", Q1);
        t.cut(1);
        t.join(2, connect(V311, "p"));
        for number in 0..10u8 {
            t.send(2, message("t", Q1, 1, std::str::from_utf8(&[b'0' + number]).unwrap()));
            t.expect(2, puback(1));
        }
        assert_eq!(t.broker.stats().stored_messages, 10);
        reconfigured(&mut t, new, &SAME, &[]);
        let stats = t.broker.stats();
        assert_eq!((stats.stored_messages, stats.dropped_queue_full), (left, 10 - left));
        assert_eq!(t.broker.queued_bytes() == 0, left == 0);
        t.join(1, Connect { clean_start: false, ..connect(V311, "sleeper") });
        for number in 10 - left..10 {
            let id = u16::try_from(number + 1 + left - 10).unwrap();
            t.expect(1, message("t", Q1, id, &number.to_string()));
        }
        t.nothing(1);
    }
}

#[test]
fn what_a_client_was_told_holds_until_it_comes_back() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "a"));
    let small = Config { packet_bytes_max: 100, first_packet_bytes_max: 100, topic_alias_max: 0, ..config() };
    reconfigured(&mut t, Config { receive_max: 1, ..small }, &SAME, &[]);
    let long = "x".repeat(200);
    let aliased = properties(&[Property::U16(PropertyId::TopicAlias, 16)]);
    t.send(1, Packet::Publish(Publish { properties: aliased, ..publish("t", Q0, 0, &long) }));
    t.send(1, message("t", Q2, 1, "x"));
    assert_eq!(t.next(1).unwrap()[2..5], [0, 1, 0x10], "a PUBREC: nobody wants it");
    t.send(1, message("t", Q2, 2, "x"));
    assert_eq!(t.next(1).unwrap()[2..5], [0, 2, 0x10], "a PUBREC: nobody wants it");
    expect_stays(&mut t, 1);
    t.join(2, connect(V5, "b"));
    t.send(2, message("t", Q0, 0, &long));
    t.expect_disconnect(2, ReasonCode::PacketTooLarge);
}

#[test]
fn bounds_hold_from_their_next_use() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "a"));
    t.subscribe(1, "one", Q0);
    t.send(1, retained("r", Q0, 0, "kept"));
    let new = Config { subscriptions_max: 1, retained_max: 1, inflight_max: 1, ..config() };
    reconfigured(&mut t, Config { topic_levels_max: 2, ..new }, &SAME, &[]);
    t.send(1, subscribe(1, &[("one", Q1), ("two", Q1)]));
    t.expect(1, suback(1, &[1, 0x97]));
    t.send(1, message("a/b/c", Q1, 5, "x"));
    t.expect(1, Packet::PubAck(ack(5, ReasonCode::TopicNameInvalid)));
    t.send(1, retained("s", Q0, 0, "not kept"));
    assert_eq!((t.broker.stats().retained, t.broker.stats().retained_refused), (1, 1));
    // One at a time now, and more again later.
    for text in ["1", "2", "3"] {
        t.handle(Input::Local(local("one", Q1, false, text)));
    }
    t.expect(1, message("one", Q1, 1, "1"));
    t.nothing(1);
    reconfigured(&mut t, config(), &SAME, &[]);
    t.expect(1, message("one", Q1, 2, "2"));
    t.expect(1, message("one", Q1, 3, "3"));
}

#[test]
fn a_shorter_time_counts_for_those_who_wait_already() {
    let mut t = Bench::new();
    t.open(1);
    t.wait(Duration::from_secs(2));
    reconfigured(&mut t, Config { connect_timeout: Duration::from_secs(1), ..config() }, &SAME, &[]);
    t.wait(Duration::from_millis(1));
    t.expect_closed(1);
}

#[test]
fn sessions_above_a_lowered_bound_end_with_the_one_that_is_away_for_longest() {
    let mut t = Bench::new();
    for c in 1..=3 {
        let id = format!("c{c}");
        t.join(c, Connect { clean_start: false, ..connect(V311, &id) });
        t.wait(Duration::from_secs(1));
        t.cut(c);
    }
    reconfigured(&mut t, Config { sessions_max: 1, ..config() }, &SAME, &[]);
    assert_eq!(t.broker.stats().sessions_offline, 1);
    assert!(t.join(4, Connect { clean_start: false, ..connect(V311, "c3") }));
    assert!(!t.join(5, Connect { clean_start: false, ..connect(V311, "c1") }));
}

#[test]
fn what_a_lowered_bound_has_dropped_does_not_come_back_after_a_crash() {
    let mut k = Kept::new();
    k.sleeper(V311, Q1);
    k.bench.join(2, connect(V5, "p"));
    for number in 0..5 {
        k.bench.send(2, message("t/a", Q1, 1, &number.to_string()));
        k.settle();
        k.bench.expect(2, puback(1));
    }
    let new = Config { queue_messages_max: 2, sessions_max: 1, ..persistent() };
    // What outlives the process does so from start to end.
    reconfigured(&mut k.bench, Config { persistence: false, ..new }, &SAME, &[]);
    k.settle();
    k.crash();
    assert_eq!(k.bench.broker.stats().stored_messages, 2);
    k.bench.join(1, resume(V311, "sleeper"));
    let mut got = Vec::new();
    while let Some(bytes) = k.bench.next(1) {
        got.push(*bytes.last().unwrap());
    }
    assert_eq!(got, b"34");
}
