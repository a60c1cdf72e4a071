//! Rights along every way that a message takes, and what becomes of them when the rules change.

use super::*;
use crate::broker::acl::{Acl, parse_file};

fn acl(file: &str) -> Arc<Acl> {
    Arc::new(Acl::of(parse_file(file.as_bytes()).unwrap()))
}

/// A broker with the rules of an ACL file; its topics without a user are for clients without one.
fn with_rules(file: &str) -> Bench {
    Bench::with(Config { acl: acl(file), ..config() })
}

#[test]
fn a_denied_publish_is_told_to_version_5_and_acknowledged_to_version_3() {
    for (version, qos, answer) in [
        (V5, Q1, Some(Packet::PubAck(ack(1, ReasonCode::NotAuthorized)))),
        (V5, Q2, Some(Packet::PubRec(ack(1, ReasonCode::NotAuthorized)))),
        (V5, Q0, None),
        (V311, Q1, Some(puback(1))),
        (V311, Q2, Some(pubrec(1))),
        (V31, Q0, None),
    ] {
        let mut t = with_rules("topic read #\ntopic write open\n");
        t.join(1, connect(version, "a"));
        t.join(2, connect(V5, "b"));
        t.subscribe(2, "#", Q0);
        let id = if qos == Q0 { 0 } else { 1 };
        t.send(1, message("closed", qos, id, "x"));
        if let Some(answer) = answer {
            t.expect(1, answer);
        }
        t.nothing(1);
        t.nothing(2);
        assert_eq!(t.broker.stats().publish_denied, 1);
        t.send(1, message("open", Q0, 0, "x"));
        t.expect(2, message("open", Q0, 0, "x"));
    }
}

#[test]
fn each_filter_of_a_subscribe_is_judged_for_itself() {
    for (version, denied) in [(V5, 0x87), (V311, 0x80)] {
        let mut t = with_rules("topic read a/#\ntopic read c\n");
        t.join(1, connect(version, "a"));
        t.send(1, subscribe(7, &[("a/x", Q0), ("b", Q0), ("c", Q1)]));
        t.expect(1, suback(7, &[0, denied, 1]));
        t.send(1, subscribe(8, &[("$share/g/b", Q0), ("$share/g/a/#", Q0), ("#", Q2)]));
        t.expect(1, suback(8, &[denied, 0, 2]));
    }
}

#[test]
fn a_wide_subscription_gets_what_may_be_read_and_nothing_else() {
    let mut t = with_rules("topic read a/#\ntopic deny a/secret\nuser root\ntopic #\n");
    t.join(1, connect(V5, "a"));
    t.subscribe(1, "#", Q1);
    t.subscribe(1, "$share/g/+/+", Q0);
    for (topic, qos) in [("a/secret", Q0), ("b/x", Q0), ("a/secret", Q1)] {
        t.handle(Input::Local(local(topic, qos, true, "no")));
        t.nothing(1);
    }
    t.handle(Input::Local(local("a", Q0, false, "yes")));
    t.expect(1, message("a", Q0, 0, "yes"));
    // Retained messages are judged one by one as well.
    t.handle(Input::Local(local("a/b/c", Q0, true, "yes")));
    t.expect(1, message("a/b/c", Q0, 0, "yes"));
    t.subscribe(1, "#", Q1);
    t.expect(1, retained("a/b/c", Q0, 0, "yes"));
    t.nothing(1);
}

#[test]
fn a_member_of_a_shared_subscription_who_may_not_read_is_passed_over() {
    let mut t = with_rules("pattern read %c/#\npattern read all/#\npattern deny all/c1\n");
    for number in [1, 2] {
        t.join(number, connect(V5, &format!("c{number}")));
        t.subscribe(number, "$share/g/all/+", Q0);
    }
    for _ in 0..4 {
        t.handle(Input::Local(local("all/c1", Q0, false, "x")));
        t.nothing(1);
        t.nothing(2);
    }
    let mut t = Bench::with(Config { acl: acl("pattern read all/%c\n"), ..config() });
    for number in [1, 2] {
        t.join(number, connect(V5, &format!("c{number}")));
        t.subscribe(number, "$share/g/all/+", Q0);
    }
    for _ in 0..4 {
        t.handle(Input::Local(local("all/c2", Q0, false, "x")));
        t.nothing(1);
        t.expect(2, message("all/c2", Q0, 0, "x"));
    }
}

#[test]
fn an_alias_stands_for_its_topic_in_the_rules_too() {
    let mut t = with_rules("topic read #\ntopic write open\n");
    t.join(1, connect(V5, "a"));
    t.join(2, connect(V5, "b"));
    t.subscribe(2, "#", Q0);
    let aliased = |topic: &'static str, alias, id| {
        let properties = properties(&[Property::U16(PropertyId::TopicAlias, alias)]);
        Packet::Publish(Publish { properties, ..publish(topic, Q1, id, "x") })
    };
    t.send(1, aliased("closed", 1, 1));
    t.expect(1, Packet::PubAck(ack(1, ReasonCode::NotAuthorized)));
    t.send(1, aliased("open", 2, 2));
    t.expect(1, puback(2));
    t.send(1, aliased("", 1, 3));
    t.expect(1, Packet::PubAck(ack(3, ReasonCode::NotAuthorized)));
    t.send(1, aliased("", 2, 4));
    t.expect(1, puback(4));
    t.expect(2, message("open", Q0, 0, "x"));
    t.expect(2, message("open", Q0, 0, "x"));
    t.nothing(2);
}

#[test]
fn a_will_is_judged_at_connect_and_when_it_fires() {
    for version in [V31, V311, V5] {
        let mut t = with_rules("topic write open\n");
        t.open(1);
        t.send(1, Packet::Connect(Connect { will: will("closed", "w"), ..connect(version, "a") }));
        let reason = ReasonCode::NotAuthorized;
        t.expect(
            1,
            Packet::ConnAck(ConnAck { session_present: false, reason, properties: Properties::EMPTY }),
        );
        t.expect_closed(1);
    }
    // At once, delayed, at the session's end, and by a takeover.
    for how in ["cut", "delay", "session end", "takeover"] {
        let mut t = with_rules("topic write wills\ntopic read #\n");
        t.join(9, connect(V5, "watcher"));
        t.subscribe(9, "#", Q0);
        let delay = properties(&[Property::U32(PropertyId::WillDelayInterval, 10)]);
        let wanted = will("wills", "w").unwrap();
        let wanted =
            if how == "cut" || how == "takeover" { wanted } else { Will { properties: delay, ..wanted } };
        let expiry = if how == "session end" { 5 } else { 100 };
        t.join(1, Connect { will: Some(wanted), ..resume_for(V5, "a", expiry) });
        let revoked = how != "cut";
        if revoked {
            t.handle(Input::Access(acl("topic read #\n").into()));
        }
        if how == "takeover" {
            t.join(2, resume_for(V5, "a", 100));
        } else {
            t.cut(1);
            t.wait(secs(60));
        }
        if revoked {
            t.nothing(9);
            assert_eq!(t.broker.stats().publish_denied, 1, "{how}");
        } else {
            t.expect(9, message("wills", Q0, 0, "w"));
        }
    }
}

#[test]
fn rules_that_change_hold_for_every_way_to_a_client() {
    let mut t = with_rules("topic readwrite #\n");
    // One who is connected and has a full window, one who is away with messages under way and queued.
    t.join(1, connect(V5, "a"));
    t.subscribe(1, "#", Q0);
    t.join(2, resume(V5, "away"));
    t.subscribe(2, "#", Q1);
    t.join(3, connect(V5, "publisher"));
    t.send(3, message("t", Q1, 1, "under way"));
    t.expect(3, puback(1));
    t.expect(1, message("t", Q0, 0, "under way"));
    t.expect(2, message("t", Q1, 1, "under way"));
    t.cut(2);
    for payload in ["queued 1", "queued 2"] {
        t.send(3, message("t", Q1, 1, payload));
        t.expect(3, puback(1));
        t.expect(1, message("t", Q0, 0, payload));
    }
    t.send(3, message("still", Q1, 1, "queued 3"));
    t.expect(3, puback(1));
    t.expect(1, message("still", Q0, 0, "queued 3"));
    t.handle(Input::Local(local("t", Q0, true, "kept")));
    t.expect(1, message("t", Q0, 0, "kept"));

    t.handle(Input::Access(acl("topic readwrite #\ntopic deny t\n").into()));
    assert!(t.closed.is_empty(), "nobody is disconnected");
    // Live.
    t.handle(Input::Local(local("t", Q1, false, "x")));
    t.nothing(1);
    // Retained.
    t.subscribe(1, "t/#", Q0);
    t.nothing(1);
    // Publishing.
    t.send(3, message("t", Q1, 1, "x"));
    t.expect(3, Packet::PubAck(ack(1, ReasonCode::NotAuthorized)));
    // Subscribing.
    t.send(1, subscribe(3, &[("t", Q0)]));
    t.expect(1, suback(3, &[0x87]));
    // Under way and queued: only what may still be read.
    assert!(t.join(2, resume(V5, "away")));
    t.expect(2, message("still", Q1, 2, "queued 3"));
    t.nothing(2);
    assert_eq!(t.broker.stats().dropped_revoked, 3);
    // Given back, the subscription of before works again.
    t.handle(Input::Access(Arc::new(Acl::open()).into()));
    t.handle(Input::Local(local("t", Q0, false, "again")));
    t.expect(1, message("t", Q0, 0, "again"));
}

#[test]
fn a_client_without_a_name_matches_no_pattern_with_a_name_in_it() {
    let mut t = with_rules("pattern readwrite u/%u\npattern readwrite c/%c\n");
    t.join(1, connect(V5, "a"));
    for topic in ["u/", "u/%u", "u/a"] {
        t.send(1, message(topic, Q1, 1, "x"));
        t.expect(1, Packet::PubAck(ack(1, ReasonCode::NotAuthorized)));
    }
    t.send(1, message("c/a", Q1, 1, "x"));
    t.expect(1, puback(1));
}

#[test]
fn own_topics_stay_closed_whatever_the_rules_say() {
    let mut t = with_rules("topic readwrite #\ntopic readwrite gw/#\n");
    t.join(1, connect(V5, "a"));
    t.send(1, message("gw/status", Q1, 1, "x"));
    t.expect(1, Packet::PubAck(ack(1, ReasonCode::NotAuthorized)));
}

#[test]
fn client_identifiers_must_begin_as_the_config_says() {
    let prefixes = vec!["meter-".to_owned(), "auto-1".to_owned()];
    for (version, client_id, refused) in [
        (V5, "meter-1", false),
        (V5, "meter", true),
        (V311, "xmeter-1", true),
        (V31, "Meter-1", true),
        (V5, "", true),
    ] {
        let mut t = Bench::with(Config { client_id_prefixes: prefixes.clone(), ..config() });
        if !refused {
            t.join(1, connect(version, client_id));
            continue;
        }
        t.open(1);
        t.send(1, Packet::Connect(connect(version, client_id)));
        let reason = ReasonCode::ClientIdentifierNotValid;
        t.expect(
            1,
            Packet::ConnAck(ConnAck { session_present: false, reason, properties: Properties::EMPTY }),
        );
        t.expect_closed(1);
    }
}

#[test]
fn a_login_that_cannot_be_judged_is_told_that_the_server_is_busy() {
    for version in [V31, V311, V5] {
        let mut t = Bench::new();
        t.open_at(1, 1);
        let login = Connect { user_name: Some("u"), password: Some(b"p"), ..connect(version, "a") };
        t.send(1, Packet::Connect(login));
        assert_eq!(t.authentications.len(), 1);
        t.handle(Input::NotJudged { conn: ConnId(1) });
        let reason = ReasonCode::ServerBusy;
        t.expect(
            1,
            Packet::ConnAck(ConnAck { session_present: false, reason, properties: Properties::EMPTY }),
        );
        t.expect_closed(1);
        // Too late, or of nobody: no harm.
        t.handle(Input::NotJudged { conn: ConnId(1) });
        t.handle(Input::NotJudged { conn: ConnId(7) });
    }
}
