//! Retained messages.

use super::*;

#[test]
fn a_new_subscriber_gets_the_retained_message_with_retain_1() {
    for version in [V31, V311, V5] {
        for (published, granted) in [(Q0, Q2), (Q1, Q0), (Q1, Q1), (Q2, Q1), (Q2, Q2)] {
            let mut t = Bench::new();
            t.join(1, connect(version, "p"));
            t.join(2, connect(version, "s"));
            t.send(1, retained("t", published, u16::from(published > Q0), "x"));
            // It outlives its publisher's clean session.
            t.cut(1);
            t.subscribe(2, "t", granted);
            let qos = published.min(granted);
            t.expect(2, retained("t", qos, u16::from(qos > Q0), "x"));
            t.nothing(2);
        }
    }
}

#[test]
fn a_live_copy_has_retain_0_unless_the_subscription_keeps_it() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "p"));
    t.join(2, connect(V5, "s"));
    t.join(3, connect(V5, "rap"));
    t.subscribe(2, "t", Q0);
    t.subscribe_with(3, "t", SubscribeOptions { retain_as_published: true, ..options(Q0) }, None);
    t.send(1, retained("t", Q0, 0, "x"));
    t.expect(2, message("t", Q0, 0, "x"));
    t.expect(3, retained("t", Q0, 0, "x"));
    t.send(1, message("t", Q0, 0, "y"));
    t.expect(2, message("t", Q0, 0, "y"));
    t.expect(3, message("t", Q0, 0, "y"));
}

#[test]
fn an_empty_payload_clears_and_is_delivered_but_not_kept() {
    let mut t = Bench::new();
    t.join(1, connect(V311, "p"));
    t.join(2, connect(V311, "s"));
    t.subscribe(2, "t", Q0);
    t.send(1, retained("t", Q0, 0, "x"));
    t.expect(2, message("t", Q0, 0, "x"));
    // RETAIN 0 leaves it alone, also when empty.
    t.send(1, message("t", Q0, 0, ""));
    t.expect(2, message("t", Q0, 0, ""));
    assert_eq!(t.broker.stats().retained, 1);
    t.send(1, retained("t", Q0, 0, ""));
    t.expect(2, message("t", Q0, 0, ""));
    assert_eq!(t.broker.stats().retained, 0);
    t.join(3, connect(V311, "late"));
    t.subscribe(3, "#", Q0);
    t.nothing(3);
}

#[test]
fn retain_handling_decides_when_retained_messages_are_sent() {
    for (handling, first, again) in [
        (RetainHandling::Always, true, true),
        (RetainHandling::IfNew, true, false),
        (RetainHandling::Never, false, false),
    ] {
        let mut t = Bench::new();
        t.handle(Input::Local(local("t", Q0, true, "x")));
        t.join(1, resume(V5, "s"));
        let options = SubscribeOptions { retain_handling: handling, ..options(Q0) };
        t.subscribe_with(1, "t", options, None);
        assert_eq!(t.next(1).is_some(), first, "{handling:?}");
        t.subscribe_with(1, "t", options, None);
        assert_eq!(t.next(1).is_some(), again, "{handling:?}");
        t.cut(1);
        assert!(t.join(1, resume(V5, "s")));
        t.subscribe_with(1, "t", options, None);
        assert_eq!(t.next(1).is_some(), again, "{handling:?} after a reconnect");
        t.send(1, unsubscribe(2, &["t"]));
        t.expect(1, unsuback(2, &[0]));
        t.subscribe_with(1, "t", options, None);
        assert_eq!(t.next(1).is_some(), first, "{handling:?} after unsubscribe");
    }
}

#[test]
fn a_shared_subscription_gets_no_retained_messages() {
    let mut t = Bench::new();
    t.handle(Input::Local(local("t", Q0, true, "x")));
    t.join(1, connect(V5, "s"));
    t.subscribe(1, "$share/g/t", Q0);
    t.nothing(1);
}

#[test]
fn a_retained_message_expires() {
    let mut t = Bench::new();
    let expiring = |seconds| {
        let properties = properties(&[Property::U32(PropertyId::MessageExpiryInterval, seconds)]);
        Packet::Publish(Publish { properties, retain: true, ..publish("t", Q0, 0, "x") })
    };
    t.join(1, connect(V5, "p"));
    t.send(1, expiring(2));
    for (c, id, at) in [(2, "a", Some(2)), (3, "b", Some(1)), (4, "c", None)] {
        t.join(c, connect(V5, id));
        t.subscribe(c, "#", Q1);
        if let Some(seconds) = at {
            t.expect(c, expiring(seconds));
        }
        t.nothing(c);
        t.wait(secs(1));
    }
}

#[test]
fn the_store_of_retained_messages_is_bounded_and_says_so() {
    let mut t = Bench::with(Config { retained_max: 2, retained_bytes_max: 60, ..config() });
    t.join(1, connect(V311, "p"));
    t.join(2, connect(V311, "s"));
    t.subscribe(2, "#", Q0);
    let large = "x".repeat(60);
    for (topic, payload, refused) in
        [("a", "1", 0), ("b", "1", 0), ("c", "1", 1), ("b", "2", 1), ("b", large.as_str(), 2), ("c", "1", 2)]
    {
        t.send(1, retained(topic, Q0, 0, payload));
        t.expect(2, message(topic, Q0, 0, payload));
        assert_eq!(t.broker.stats().retained_refused, refused, "{topic}");
    }
    assert_eq!(t.broker.stats().retained, 2);
}

#[test]
fn many_retained_messages_go_out_as_fast_as_the_client_reads() {
    let mut t = Bench::with(Config { out_buffer_bytes_max: 2_000, ..config() });
    for n in 0..1_000 {
        t.handle(Input::Local(local(
            &format!("t/{n:04}"),
            if n % 2 == 0 { Q0 } else { Q1 },
            true,
            "0123456789",
        )));
    }
    t.join(1, connect(V311, "s"));
    t.stuck.insert(1);
    t.subscribe(1, "t/#", Q1);
    assert!(t.sink.buffered(ConnId(1)) < 2_100, "no more than the mark waits in the buffer");
    t.stuck.remove(&1);
    t.handle(Input::Tick);
    let mut topics = BTreeSet::new();
    while let Some(bytes) = t.next(1) {
        let packet = decode(frame(&bytes, 1_000).unwrap().unwrap(), V311).unwrap();
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        assert!(publish.retain && topics.insert(publish.topic.to_owned()), "{}", publish.topic);
        if let Some(id) = publish.packet_id {
            t.send(1, puback(id.get()));
        }
    }
    assert_eq!(topics.len(), 1_000);
    assert_eq!(t.broker.stats().dropped_queue_full, 0);
}

#[test]
fn many_retained_messages_go_out_in_portions_so_that_others_have_their_turn() {
    let mut t = Bench::new();
    t.join(1, connect(V311, "p"));
    for n in 0..600 {
        t.send(1, retained(&format!("kept/{n:03}"), Q0, 0, "x"));
    }
    t.join(2, connect(V311, "s"));
    t.subscribe(2, "kept/#", Q0);
    let portion = |t: &mut Bench| std::iter::from_fn(|| t.next(2)).count();
    assert_eq!(portion(&mut t), 250);
    t.wait(millis(0));
    assert_eq!(portion(&mut t), 0);
    t.wait(millis(1));
    assert_eq!(portion(&mut t), 350);
    t.wait(secs(1));
    assert_eq!(portion(&mut t), 0);
    // Whoever goes away in between gets no more, and nothing is left of it.
    t.subscribe(2, "kept/#", Q0);
    assert_eq!(portion(&mut t), 250);
    t.cut(2);
    t.wait(secs(1));
    assert_eq!(portion(&mut t), 0);
}
