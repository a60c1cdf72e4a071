//! What people see who look at the broker.

use super::*;
use crate::broker::look::CONSUMERS_MAX;
use crate::broker::watch::{CHANGES_MAX, PAYLOAD_BYTES_MAX, TOPICS_MAX, WATCHED_FOR};

fn ids(bench: &Bench, from: u32, max: usize) -> (Vec<String>, Option<u32>) {
    let found = bench.broker.clients(bench.now.mono, from, max);
    (found.clients.iter().map(|client| client.client_id.to_string()).collect(), found.next)
}

#[test]
fn clients_come_some_at_a_time_and_those_who_are_away_are_among_them() {
    let mut bench = Bench::new();
    bench.join(0, connect(V311, "a"));
    bench.join(1, resume_for(V5, "b", 3_600));
    bench.join(2, connect(V5, "c"));
    bench.subscribe(1, "t", Q1);
    bench.cut(1);
    bench.send(2, message("t", Q1, 1, "waits"));
    bench.wait(secs(5));
    let (first, next) = ids(&bench, 0, 2);
    assert_eq!(first, ["a", "b"]);
    assert_eq!(ids(&bench, next.unwrap(), 2), (vec!["c".to_owned()], None));
    let away = &bench.broker.clients(bench.now.mono, 1, 1).clients[0];
    assert!(away.connected.is_none());
    assert_eq!((away.away, away.queued, away.subscriptions), (Some(secs(5)), (1, 6), 1));
    let there = &bench.broker.clients(bench.now.mono, 0, 1).clients[0];
    let connected = there.connected.as_ref().unwrap();
    assert_eq!((connected.version, connected.seen, there.away), (V311, secs(5), None));
}

#[test]
fn a_client_that_is_kicked_is_told_and_keeps_its_session() {
    let mut bench = Bench::new();
    bench.join(0, resume_for(V5, "a", 3_600));
    let conn = bench.broker.connection_of("a").unwrap();
    bench.handle(Input::Kick { conn });
    bench.expect_disconnect(0, ReasonCode::AdministrativeAction);
    bench.handle(Input::Closed { conn });
    assert_eq!(bench.broker.connection_of("a"), None);
    assert_eq!(ids(&bench, 0, 10).0, ["a"]);
}

#[test]
fn the_consumers_of_a_topic_are_those_who_would_get_it() {
    let mut bench = Bench::with(forwarding(&[("t/#", 4)]));
    for (c, id, filter) in
        [(0, "a", "t/+"), (1, "b", "u"), (2, "c", "$share/g/t/x"), (3, "d", "$share/g/t/x")]
    {
        bench.join(c, connect(V5, id));
        bench.subscribe(c, filter, Q1);
    }
    let found = bench.broker.consumers("t/x");
    let seen: Vec<(&str, Option<usize>)> =
        found.clients.iter().map(|one| (&*one.client_id, one.share)).collect();
    assert_eq!(seen, [("a", None), ("c", Some(0)), ("d", Some(0))]);
    assert_eq!((found.outboxes, found.closed, found.more), (vec![OutboxId(4)], None, 0));
    assert!(bench.broker.consumers("nobody").clients.is_empty());
    assert!(bench.broker.consumers("gw/status").closed.is_some());
    assert!(bench.broker.consumers("$SYS/x").closed.is_some());
    for c in 4..4 + u32::try_from(CONSUMERS_MAX).unwrap() - 2 {
        // All of them came from nowhere: no bound of an address holds.
        if !bench.join(c, connect(V5, &format!("e{c}"))) {
            return;
        }
        bench.subscribe(c, "t/x", Q0);
    }
    let many = bench.broker.consumers("t/x");
    assert!(many.clients.len() <= CONSUMERS_MAX);
}

#[test]
fn retained_messages_come_in_the_order_of_topics_some_at_a_time_without_what_has_expired() {
    let mut bench = Bench::new();
    for topic in ["a/1", "a/2", "a/3", "b"] {
        bench.handle(Input::Local(local(topic, Q0, true, "1234567890")));
    }
    bench.handle(Input::Local(local("$SYS/x", Q0, true, "s")));
    bench.handle(Input::Local(local("a/2", Q0, true, "")));
    let list = |prefix: &str, after: Option<&str>, max| {
        let page = bench.broker.held(bench.now.mono, prefix, after, max, 4);
        let topics: Vec<String> = page.messages.iter().map(|held| held.topic.to_string()).collect();
        (topics, page.next.map(|topic| topic.to_string()))
    };
    let own = |topics: &[&str]| topics.iter().map(|topic| (*topic).to_owned()).collect::<Vec<_>>();
    assert_eq!(list("", None, 10), (own(&["a/1", "a/3", "b"]), None));
    assert_eq!(list("a/", None, 10), (own(&["a/1", "a/3"]), None));
    assert_eq!(list("", None, 2), (own(&["a/1", "a/3"]), Some("a/3".to_owned())));
    assert_eq!(list("", Some("a/3"), 2), (own(&["b"]), None));
    assert_eq!(list("$", None, 2), (own(&["$SYS/x"]), None));
    let held = bench.broker.held(bench.now.mono, "b", None, 1, 4).messages.remove(0);
    assert_eq!((held.payload.as_slice(), held.bytes), (&b"1234"[..], 10));
    assert_eq!(bench.broker.held_at(bench.now.mono, "b").unwrap().payload, b"1234567890");
    assert!(bench.broker.held_at(bench.now.mono, "a/2").is_none());
}

#[test]
fn it_is_told_which_retained_messages_the_gateway_keeps_itself() {
    let mut bench = Bench::new();
    for (topic, is_own) in [
        ("gw/status", true),
        ("gw/health", true),
        ("gw/receipt", true),
        ("$SYS/x", true),
        ("gw/data/gone", false),
        ("gw/info/gone", false),
        ("gw/statusse", false),
        ("a/gw/status", false),
    ] {
        bench.handle(Input::Local(local(topic, Q0, true, "1")));
        assert_eq!(bench.broker.held_at(bench.now.mono, topic).unwrap().is_own, is_own, "{topic}");
    }
}

#[test]
fn the_bounds_say_how_near_they_are() {
    let mut bench = Bench::new();
    bench.join(0, connect(V5, "a"));
    bench.handle(Input::Local(local("a", Q0, true, "123")));
    let house = bench.broker.house();
    let bound = |name: &str| house.bounds.iter().find(|near| near.name == name).unwrap();
    assert_eq!((bound("connections_max").used, bound("connections_max").max), (1, 500));
    assert_eq!((bound("retained_max").used, bound("retained_bytes_max").used), (1, 4));
    assert!(house.is_open);
    assert_eq!(house.doors.iter().map(|door| door.clients).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn topics_are_remembered_from_the_first_look_until_nobody_looks_any_more() {
    let mut bench = Bench::new();
    bench.handle(Input::Local(local("kept", Q0, true, "1")));
    bench.handle(Input::Local(local("before", Q0, false, "1")));
    let first = bench.broker.look_at_topics(bench.now.mono, "", 0);
    assert_eq!(first.seen.iter().map(|seen| (&*seen.topic, seen.ago)).collect::<Vec<_>>(), [("kept", None)]);
    bench.handle(Input::Local(local("a/b", Q1, false, "2")));
    bench.handle(Input::Local(local("a/b", Q1, false, "3")));
    bench.handle(Input::Local(local("$SYS/x", Q0, true, "4")));
    bench.handle(Input::Local(local("c", Q0, false, &"x".repeat(PAYLOAD_BYTES_MAX + 1))));
    bench.wait(secs(2));
    let next = bench.broker.look_at_topics(bench.now.mono, "a", first.change);
    let [seen] = &next.seen[..] else { panic!("{next:?}") };
    assert_eq!((&*seen.topic, seen.messages, seen.ago, &*seen.payload), ("a/b", 2, Some(secs(2)), &b"3"[..]));
    let other = bench.broker.look_at_topics(bench.now.mono, "c", first.change);
    assert_eq!(
        (other.seen[0].bytes, other.seen[0].payload.len()),
        (PAYLOAD_BYTES_MAX + 1, PAYLOAD_BYTES_MAX)
    );
    assert!(bench.broker.look_at_topics(bench.now.mono, "", next.change).seen.is_empty());
    bench.wait(WATCHED_FOR);
    bench.handle(Input::Memory { used: 1, budget: None });
    bench.handle(Input::Local(local("late", Q0, false, "5")));
    let again = bench.broker.look_at_topics(bench.now.mono, "", next.change);
    assert_eq!(again.seen.iter().map(|seen| &*seen.topic).collect::<Vec<_>>(), ["kept"]);
}

#[test]
fn however_many_topics_change_an_answer_and_the_memory_of_them_are_bounded() {
    let mut bench = Bench::new();
    bench.broker.look_at_topics(bench.now.mono, "", 0);
    for number in 0..TOPICS_MAX + 10 {
        bench.handle(Input::Local(local(&format!("t/{number}"), Q0, false, "1")));
    }
    let (mut after, mut topics) = (0, BTreeSet::new());
    loop {
        let found = bench.broker.look_at_topics(bench.now.mono, "", after);
        assert!(found.seen.len() <= CHANGES_MAX);
        assert_eq!((found.topics, found.forgotten), (TOPICS_MAX, 10));
        topics.extend(found.seen.iter().map(|seen| seen.topic.to_string()));
        after = found.change;
        if !found.more {
            break;
        }
    }
    assert_eq!(topics.len(), TOPICS_MAX);
    assert!(topics.contains("t/2009") && !topics.contains("t/9"));
}
