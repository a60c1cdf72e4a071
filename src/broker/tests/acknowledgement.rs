//! When PUBACK and PUBREC may leave: the rules of acknowledgement.

use super::*;

fn receipt(qos: QoS, id: u16, reason: ReasonCode) -> Packet<'static> {
    if qos == Q1 { Packet::PubAck(ack(id, reason)) } else { Packet::PubRec(ack(id, reason)) }
}

#[test]
fn an_acknowledgement_waits_until_every_outbox_has_the_message() {
    for version in [V31, V311, V5] {
        for qos in [Q1, Q2] {
            let mut t = Bench::with(forwarding(&[("a/#", 0), ("a/b", 1), ("+/b", 1), ("c", 2)]));
            t.join(1, connect(version, "p"));
            t.send(1, message("a/b", qos, 7, "x"));
            let outboxes: Vec<u16> = t.forwards.iter().map(|(outbox, ..)| outbox.0).collect();
            assert_eq!(outboxes, [0, 1], "one copy for each outbox");
            let tokens: BTreeSet<_> = t.forwards.iter().map(|(.., token)| token.unwrap()).collect();
            assert_eq!(tokens.len(), 1);
            assert_eq!(&*t.forwards[0].1.topic, "a/b");
            assert_eq!((t.forwards[0].1.qos, &t.forwards[0].1.payload[..]), (qos, &b"x"[..]));
            t.answer(true);
            t.nothing(1);
            t.answer(true);
            t.expect(1, receipt(qos, 7, ReasonCode::Success));
            // A token that was answered before is nobody's.
            t.answer_token(*tokens.first().unwrap(), true);
            t.nothing(1);
        }
    }
}

#[test]
fn nobody_waits_for_qos_0_or_for_the_gateway_itself() {
    let mut t = Bench::with(forwarding(&[("#", 0)]));
    t.join(1, connect(V311, "p"));
    t.send(1, message("a", Q0, 0, "x"));
    t.handle(Input::Local(local("gw/data/scale", Q1, true, "21.5")));
    assert_eq!(t.forwards.len(), 2);
    assert!(t.forwards.iter().all(|(.., token)| token.is_none()));
    assert!(t.forwards[1].1.retain);
}

#[test]
fn a_message_that_concerns_no_outbox_is_acknowledged_at_once_but_in_order() {
    for version in [V31, V311, V5] {
        let mut t = Bench::with(forwarding(&[("up/#", 0)]));
        t.join(1, connect(version, "p"));
        t.send(1, message("lan", Q1, 1, ""));
        t.expect(1, puback(1));
        t.send(1, message("up/1", Q1, 2, ""));
        t.send(1, message("lan", Q1, 3, ""));
        t.send(1, message("up/2", Q1, 4, ""));
        // The other kind does not wait for this one.
        t.send(1, message("lan", Q2, 5, ""));
        t.expect(1, pubrec(5));
        t.send(1, message("up/3", Q2, 6, ""));
        t.send(1, message("lan", Q2, 7, ""));
        t.nothing(1);
        let second = t.forwards[1].2.unwrap();
        t.answer_token(second, true);
        t.nothing(1);
        t.answer(true);
        t.expect(1, puback(2));
        t.expect(1, puback(3));
        t.expect(1, puback(4));
        t.forwards.pop_front();
        t.answer(true);
        t.expect(1, pubrec(6));
        t.expect(1, pubrec(7));
    }
}

#[test]
fn a_publish_before_disconnect_or_end_of_file_is_kept() {
    for normal in [true, false] {
        let mut t = Bench::with(forwarding(&[("up", 0)]));
        t.join(1, connect(V311, "p"));
        t.send(1, message("up", Q1, 1, "last words"));
        if normal {
            t.disconnect(1)
        } else {
            t.cut(1)
        }
        assert_eq!(t.forwards.len(), 1);
        t.answer(true);
        t.nothing(1);
        t.join(1, connect(V311, "p"));
        t.nothing(1);
    }
}

#[test]
fn what_had_to_wait_counts_when_the_connection_ends() {
    // Paused by unacknowledged messages; then the client says goodbye and is gone.
    let config = Config { receive_max: 2, ..forwarding(&[("up", 0)]) };
    let mut t = Bench::with(config);
    t.join(9, connect(V311, "watcher"));
    t.subscribe(9, "#", Q0);
    t.join(1, Connect { will: will("w", "gone"), ..connect(V311, "p") });
    for id in 1..=4 {
        t.send(1, message("up", Q1, id, "x"));
    }
    t.send(1, Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY }));
    assert!(t.paused.contains(&1));
    assert_eq!(t.forwards.len(), 2);
    t.cut(1);
    assert_eq!(t.forwards.len(), 4);
    for _ in 0..4 {
        t.expect(9, message("up", Q0, 0, "x"));
    }
    t.nothing(9);
    for _ in 0..4 {
        t.answer(true);
    }
    t.nothing(1);
    assert!(!t.closed.contains(&1), "the shell knows that it is gone");
}

#[test]
fn a_full_outbox_is_told_to_a_5_0_client() {
    for qos in [Q1, Q2] {
        let mut t = Bench::with(forwarding(&[("up", 0), ("up", 1)]));
        t.join(1, connect(V5, "p"));
        t.send(1, message("up", qos, 1, ""));
        let token = t.forwards[0].2.unwrap();
        t.answer_token(token, false);
        t.expect(1, receipt(qos, 1, ReasonCode::QuotaExceeded));
        t.answer_token(token, true);
        t.nothing(1);
        // The exchange is over: the identifier stands for a new message.
        t.send(1, message("up", qos, 1, "again"));
        assert_eq!(t.forwards.len(), 4);
    }
}

#[test]
fn a_full_outbox_leaves_a_3_x_client_unacknowledged_until_it_is_closed() {
    for (version, qos) in [(V31, Q1), (V311, Q1), (V311, Q2)] {
        let mut t = Bench::with(Config { receive_max: 4, ..forwarding(&[("up", 0)]) });
        t.join(1, Connect { keep_alive: 5, ..connect(version, "p") });
        t.send(1, message("up", qos, 1, ""));
        t.answer(false);
        for id in 2..=6 {
            t.send(1, message("lan", qos, id, ""));
        }
        t.nothing(1);
        assert!(t.paused.contains(&1), "reading stops at the limit");
        t.wait(millis(29_999));
        assert!(t.closed.is_empty(), "its keep alive stands still meanwhile");
        t.wait(millis(1));
        t.expect_closed(1);
    }
}

#[test]
fn a_3_x_client_is_read_again_when_less_is_open() {
    let mut t = Bench::with(Config { receive_max: 4, ..forwarding(&[("up", 0)]) });
    t.join(1, Connect { keep_alive: 5, ..connect(V311, "p") });
    let many: Vec<u8> = (1..=10).flat_map(|id| encoded(&message("up", Q1, id, "x"), V311)).collect();
    t.bytes(1, &many);
    assert_eq!((t.forwards.len(), t.paused.contains(&1)), (4, true));
    t.wait(secs(60));
    assert!(t.closed.is_empty(), "keep alive is suspended while we don't read");
    for id in 1..=10 {
        t.answer(true);
        t.expect(1, puback(id));
    }
    assert!(t.paused.is_empty());
    t.wait(millis(7_500));
    t.expect_closed(1);
}

#[test]
fn a_5_0_client_above_receive_maximum_is_disconnected() {
    for qos in [Q1, Q2] {
        let mut t = Bench::with(Config { receive_max: 3, ..forwarding(&[("up", 0)]) });
        t.join(1, connect(V5, "p"));
        for id in 1..=3 {
            t.send(1, message("up", qos, id, ""));
        }
        t.answer(true);
        t.expect(1, receipt(qos, 1, ReasonCode::Success));
        if qos == Q2 {
            // Its place is free only with PUBCOMP.
            t.send(1, pubrel(1));
            t.expect(1, pubcomp(1));
        }
        t.send(1, message("up", qos, 4, ""));
        t.send(1, message("up", Q0, 0, ""));
        t.nothing(1);
        t.send(1, message("up", qos, 5, ""));
        t.expect_disconnect(1, ReasonCode::ReceiveMaximumExceeded);
    }
}

#[test]
fn an_unanswered_qos_2_message_is_known_again_after_a_reconnect() {
    for version in [V31, V311, V5] {
        let mut t = Bench::with(forwarding(&[("up", 0)]));
        t.join(2, connect(V311, "sub"));
        t.subscribe(2, "up", Q0);
        t.join(1, resume(version, "p"));
        t.send(1, message("up", Q2, 7, "x"));
        t.cut(1);
        t.join(1, resume(version, "p"));
        t.send(1, dup("up", Q2, 7, "x"));
        t.nothing(1);
        t.answer(true);
        t.expect(1, pubrec(7));
        t.send(1, dup("up", Q2, 7, "x"));
        t.expect(1, pubrec(7));
        t.send(1, pubrel(7));
        t.expect(1, pubcomp(7));
        t.expect(2, message("up", Q0, 0, "x"));
        t.nothing(2);
        assert!(t.forwards.is_empty());
        // After PUBCOMP the identifier is new, whatever DUP says.
        t.send(1, dup("up", Q2, 7, "y"));
        t.expect(2, message("up", Q0, 0, "y"));
    }
}

#[test]
fn the_gateways_own_topics_are_closed_to_clients() {
    for topic in
        ["gw/data/scale", "gw/status", "gw/health", "gw/receipt", "gw/info/x", "$SYS/x", "$share/g/t", "$"]
    {
        for version in [V31, V311, V5] {
            let mut t = Bench::with(forwarding(&[("#", 0), ("$SYS/#", 0)]));
            t.join(2, connect(V5, "sub"));
            t.subscribe(2, "#", Q2);
            t.subscribe(2, "$SYS/#", Q2);
            t.join(1, connect(version, "p"));
            t.send(1, retained(topic, Q0, 0, "x"));
            let reason = if version == V5 { ReasonCode::NotAuthorized } else { ReasonCode::Success };
            t.send(1, message(topic, Q1, 1, "x"));
            t.expect(1, Packet::PubAck(ack(1, reason)));
            t.send(1, message(topic, Q2, 2, "x"));
            t.expect(1, Packet::PubRec(ack(2, reason)));
            if version != V5 {
                t.send(1, pubrel(2));
                t.expect(1, pubcomp(2));
            }
            t.nothing(1);
            t.nothing(2);
            assert!(t.closed.is_empty() && t.forwards.is_empty());
            let stats = t.broker.stats();
            assert_eq!((stats.publish_denied, stats.retained), (3, 0));
        }
    }
}

#[test]
fn an_alias_does_not_lead_around_the_own_topics() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "p"));
    let alias = properties(&[Property::U16(PropertyId::TopicAlias, 1)]);
    for topic in ["gw/status", ""] {
        let publish = Publish { properties: alias, ..publish(topic, Q1, 1, "x") };
        t.send(1, Packet::Publish(publish));
        t.expect(1, Packet::PubAck(ack(1, ReasonCode::NotAuthorized)));
    }
}
