//! What happens at each bound that one client, one address or all together may reach.

use super::memory::Shedding;
use super::*;

fn from(text: &str) -> Option<std::net::IpAddr> {
    Some(text.parse().unwrap())
}

impl Bench {
    /// Knocks, and opens if that is allowed.
    fn open_from(&mut self, c: u32, address: &str) -> doorman::Knock {
        let knock = self.broker.knock(self.now.mono, from(address));
        if matches!(knock, doorman::Knock::Enter) {
            let from = from(address);
            self.handle(Input::Open {
                conn: ConnId(c),
                listener: ListenerId(0),
                peer: address,
                certified: None,
                from,
            });
        }
        knock
    }

    /// So many percent of the memory are taken.
    fn memory(&mut self, percent: u64) {
        self.handle(Input::Memory { used: percent * 1_000_000, budget: Some(100_000_000) });
    }

    #[track_caller]
    fn refused(&mut self, c: u32, connect: Connect<'_>, reason: ReasonCode) {
        self.open(c);
        self.send(c, Packet::Connect(connect));
        let connack = ConnAck { session_present: false, reason, properties: Properties::EMPTY };
        self.expect(c, Packet::ConnAck(connack));
        self.expect_closed(c);
        self.cut(c);
    }
}

#[test]
fn an_address_has_so_many_clients_and_so_many_that_are_not_let_in_yet() {
    let arrivals =
        Arrivals { clients_per_address_max: 2, half_open_per_address_max: 3, ..Arrivals::default() };
    let mut t = Bench::with(Config { arrivals, ..config() });
    for c in 1..=3 {
        assert_eq!(t.open_from(c, "10.0.0.1"), doorman::Knock::Enter);
    }
    assert_eq!(t.open_from(4, "10.0.0.1"), doorman::Knock::TooManyHalfOpen);
    assert_eq!(t.broker.stats().arrivals_half_open, 1);
    for (c, name) in [(1, "one"), (2, "two")] {
        t.send(c, Packet::Connect(connect(V5, name)));
        t.welcomed(c);
    }
    t.send(3, Packet::Connect(connect(V5, "three")));
    let reason = ReasonCode::QuotaExceeded;
    t.expect(3, Packet::ConnAck(ConnAck { session_present: false, reason, properties: Properties::EMPTY }));
    t.expect_closed(3);
    t.cut(3);
    // Whoever takes over its own session takes no more places.
    assert_eq!(t.open_from(4, "10.0.0.1"), doorman::Knock::Enter);
    t.send(4, Packet::Connect(connect(V5, "one")));
    t.welcomed(4);
    t.cut(1);
    t.cut(2);
    assert_eq!(t.open_from(5, "10.0.0.1"), doorman::Knock::Enter);
    t.send(5, Packet::Connect(connect(V5, "five")));
    t.welcomed(5);
    t.cut(4);
    t.cut(5);
    for c in 1..=3 {
        assert_eq!(t.open_from(c, "10.0.0.1"), doorman::Knock::Enter, "all places are free again");
    }
    t.broker.gone_before_open(from("10.0.0.1"));
    assert_eq!(t.broker.knock(t.now.mono, from("10.0.0.1")), doorman::Knock::Enter);
}

#[test]
fn whoever_publishes_too_fast_is_held_and_closed_after_30_seconds() {
    let publish_rate = PublishRate { messages_max: Some(10), bytes_max: None };
    for version in [V311, V5] {
        let mut t = Bench::with(Config { publish_rate, ..config() });
        t.join(1, connect(version, "p"));
        let start = t.now.mono;
        let mut sent = 0;
        while !t.closed.contains(&1) {
            if t.paused.contains(&1) {
                t.wait(millis(100));
            } else {
                t.send(1, message("t", Q0, 0, "x"));
                sent += 1;
            }
        }
        let span = t.now.mono.since(start);
        assert!((secs(30)..secs(32)).contains(&span), "{span:?}");
        assert!((300..350).contains(&sent), "{sent}");
        if version == V5 {
            t.expect_disconnect(1, ReasonCode::MessageRateTooHigh);
        } else {
            t.expect_closed(1);
        }
        assert_eq!(t.broker.stats().publishers_closed, 1);
        // A burst that fits, and then again, is nothing.
        t.cut(1);
        t.join(1, connect(version, "p"));
        for _ in 0..50 {
            (0..10).for_each(|_| t.send(1, message("t", Q0, 0, "x")));
            assert!(!t.paused.contains(&1));
            t.wait(secs(1));
        }
    }
}

/// What waits for a session that is away, under a policy, after five messages where three fit.
fn left_of_five(policy: QueueFull, user: bool) -> (Bench, bool, Vec<String>) {
    let mut settings = Config { queue_messages_max: 3, ..config() };
    if user {
        settings.queue_full_of.insert("plc".into(), policy);
    } else {
        settings.queue_full = policy;
    }
    let mut t = Bench::with(settings);
    t.join(1, connect(V5, "p"));
    let away = Connect { user_name: Some("plc"), ..resume(V5, "s") };
    t.open(2);
    t.send(2, Packet::Connect(away.clone()));
    t.handle(Input::Authenticated { conn: ConnId(2), accepted: true });
    t.welcomed(2);
    t.subscribe(2, "t", Q1);
    t.cut(2);
    for id in 1..=5 {
        t.send(1, message("t", Q1, id, &id.to_string()));
        t.expect(1, puback(id));
    }
    t.open(2);
    t.send(2, Packet::Connect(away));
    t.handle(Input::Authenticated { conn: ConnId(2), accepted: true });
    let present = t.welcomed(2);
    let mut got = Vec::new();
    while let Some(bytes) = t.next(2) {
        let Packet::Publish(publish) = decode(frame(&bytes, 1 << 20).unwrap().unwrap(), V5).unwrap() else {
            panic!("no PUBLISH")
        };
        got.push(String::from_utf8(publish.payload.to_vec()).unwrap());
    }
    (t, present, got)
}

#[test]
fn a_full_queue_loses_what_its_policy_says() {
    for user in [false, true] {
        let (t, present, got) = left_of_five(QueueFull::DropOldest, user);
        assert_eq!((present, got.join(" ").as_str()), (true, "3 4 5"));
        assert_eq!(t.broker.stats().dropped_queue_full, 2);
        let (t, present, got) = left_of_five(QueueFull::DropNewest, user);
        assert_eq!((present, got.join(" ").as_str()), (true, "1 2 3"));
        assert_eq!(t.broker.stats().dropped_queue_full, 2);
        let (t, present, got) = left_of_five(QueueFull::Disconnect, user);
        assert_eq!((present, got.len()), (false, 0), "it learns that something is missing");
        assert_eq!(t.broker.stats().sessions_overflowed, 1);
        assert_eq!(t.broker.queued_bytes(), 0);
    }
}

#[test]
fn a_connected_client_that_must_not_miss_anything_is_disconnected_and_its_will_goes_out() {
    let settings =
        Config { queue_messages_max: 2, queue_full: QueueFull::Disconnect, inflight_max: 1, ..config() };
    let mut t = Bench::with(settings);
    t.join(1, connect(V5, "p"));
    t.join(3, connect(V5, "other"));
    t.subscribe(3, "#", Q0);
    t.join(2, Connect { will: will("t", "gone"), ..resume(V5, "s") });
    t.subscribe(2, "t", Q1);
    for id in 1..=4 {
        t.send(1, message("t", Q1, id, "x"));
        t.expect(1, puback(id));
        t.expect(3, message("t", Q0, 0, "x"));
    }
    t.expect(2, message("t", Q1, 1, "x"));
    t.expect_disconnect(2, ReasonCode::QuotaExceeded);
    t.expect(3, message("t", Q0, 0, "gone"));
    t.cut(2);
    assert!(!t.join(2, resume(V5, "s")), "its session has ended");
}

#[test]
fn a_message_that_is_larger_than_a_queue_costs_no_other_message_its_place() {
    let mut t = Bench::with(Config { queue_bytes_max: 100, ..config() });
    t.join(1, connect(V5, "p"));
    t.join(2, resume(V5, "s"));
    t.subscribe(2, "t", Q1);
    let large = "x".repeat(500);
    t.send(1, message("t", Q1, 1, &large));
    t.expect(2, message("t", Q1, 1, &large));
    t.send(2, puback(1));
    t.cut(2);
    t.send(1, message("t", Q1, 2, "small"));
    t.send(1, message("t", Q1, 3, &large));
    t.join(2, resume(V5, "s"));
    t.expect(2, message("t", Q1, 2, "small"));
    t.nothing(2);
    assert_eq!(t.broker.stats().dropped_queue_full, 1);
}

#[test]
fn a_message_that_can_not_be_retained_is_delivered_and_its_publisher_told() {
    let settings = Config { retained_message_bytes_max: 100, retained_max: 2, ..config() };
    let mut t = Bench::with(settings);
    t.join(1, connect(V5, "p"));
    t.join(2, connect(V311, "old"));
    t.join(3, connect(V5, "s"));
    t.subscribe(3, "#", Q0);
    let large = "x".repeat(200);
    t.send(1, retained("a", Q1, 1, "first"));
    t.expect(1, puback(1));
    t.expect(3, message("a", Q0, 0, "first"));
    t.send(1, retained("a", Q1, 2, &large));
    t.expect(1, Packet::PubAck(ack(2, ReasonCode::QuotaExceeded)));
    t.expect(3, message("a", Q0, 0, &large));
    assert_eq!(t.broker.stats().retained, 0, "what was there before isn't the last one any more");
    // QoS 2 is done once it is delivered; MQTT 3 can't be told.
    t.send(1, retained("a", Q2, 3, &large));
    t.expect(1, pubrec(3));
    t.expect(3, message("a", Q0, 0, &large));
    t.send(2, retained("a", Q1, 4, &large));
    t.expect(2, puback(4));
    assert_eq!(t.broker.stats().retained_refused, 3);
    for (topic, id, reason) in
        [("b", 5, ReasonCode::Success), ("c", 6, ReasonCode::Success), ("d", 7, ReasonCode::QuotaExceeded)]
    {
        t.send(1, retained(topic, Q1, id, "x"));
        t.expect(1, Packet::PubAck(ack(id, reason)));
    }
}

#[test]
fn a_user_has_so_many_retained_messages_and_gets_room_by_clearing_some() {
    let mut t = Bench::with(Config { retained_per_user_max: 2, ..config() });
    for (c, user) in [(1, "one"), (2, "two")] {
        t.open(c);
        t.send(c, Packet::Connect(Connect { user_name: Some(user), ..connect(V5, user) }));
        t.handle(Input::Authenticated { conn: ConnId(c), accepted: true });
        t.welcomed(c);
    }
    let mut say = |c, topic, payload, kept| {
        t.send(c, retained(topic, Q1, 1, payload));
        let reason = if kept { ReasonCode::Success } else { ReasonCode::QuotaExceeded };
        t.expect(c, Packet::PubAck(ack(1, reason)));
    };
    say(1, "a", "x", true);
    say(1, "b", "x", true);
    say(1, "c", "x", false);
    say(1, "a", "y", true);
    say(2, "c", "x", true);
    say(1, "a", "", true);
    say(1, "d", "x", true);
    say(1, "e", "x", false);
    // Whoever publishes it last has it.
    say(2, "b", "x", true);
    say(1, "e", "x", true);
    say(2, "f", "x", false);
}

#[test]
fn subscriptions_of_all_clients_have_a_bound() {
    let mut t = Bench::with(Config { subscriptions_total_max: 3, ..config() });
    for c in 1..=2 {
        t.join(c, connect(V5, &c.to_string()));
        t.subscribe(c, "a", Q0);
    }
    t.subscribe(1, "b", Q0);
    t.subscribe(1, "b", Q1);
    t.send(2, subscribe(9, &[("c", Q0), ("a", Q1)]));
    t.expect(2, suback(9, &[0x97, 1]));
    t.cut(1);
    t.subscribe(2, "c", Q0);
    assert_eq!(t.broker.stats().subscriptions_refused, 1);
}

#[test]
fn a_will_has_a_limit_that_counts_its_topic_and_properties() {
    let settings = || Config { will_bytes_max: 10, ..config() };
    let content = |version| match version {
        V5 => properties(&[Property::Str(PropertyId::ContentType, "t")]),
        _ => Properties::EMPTY,
    };
    for (version, payload, refused) in
        [(V5, "123", false), (V5, "1234", true), (V311, "1234567", false), (V311, "12345678", true)]
    {
        let mut t = Bench::with(settings());
        t.open(1);
        let last = Will { properties: content(version), ..will("a/b", payload).unwrap() };
        t.send(1, Packet::Connect(Connect { will: Some(last), ..connect(version, "a") }));
        match (version, refused) {
            (V5, true) => assert_eq!(t.next(1).unwrap()[3], 0x95),
            (_, true) => t.nothing(1),
            (_, false) => assert!(!t.welcomed(1)),
        }
        assert_eq!(t.broker.stats().connects_refused, u64::from(refused), "{version:?} {payload}");
    }
}

#[test]
fn spans_that_a_client_asks_for_are_cut_where_the_config_says() {
    let settings = Config {
        anonymous_session_expiry_max: Some(secs(60)),
        session_expiry_max: Some(secs(600)),
        will_delay_max: Some(secs(5)),
        ..config()
    };
    let mut t = Bench::with(settings);
    t.join(9, connect(V5, "listening"));
    t.subscribe(9, "gone", Q0);
    let delay = properties(&[Property::U32(PropertyId::WillDelayInterval, 1_000)]);
    let late = Will { properties: delay, ..will("gone", "x").unwrap() };
    t.open(1);
    t.send(1, Packet::Connect(Connect { will: Some(late), ..resume_for(V5, "nameless", 3_000) }));
    let connack = t.next(1).unwrap();
    assert!(connack.windows(5).any(|part| part == [0x11, 0, 0, 0, 60]), "it is told: {connack:?}");
    t.cut(1);
    t.wait(millis(4_900));
    t.nothing(9);
    t.wait(millis(200));
    t.expect(9, message("gone", Q0, 0, "x"));
    t.wait(secs(50));
    assert!(t.join(1, resume_for(V5, "nameless", 3_000)));
    t.cut(1);
    t.wait(secs(61));
    assert!(!t.join(1, resume_for(V5, "nameless", 3_000)));
    // Who has a name has the other bound.
    let named = Connect { user_name: Some("plc"), ..resume_for(V5, "named", 3_000) };
    for present in [false, true] {
        t.open(2);
        t.send(2, Packet::Connect(named.clone()));
        t.handle(Input::Authenticated { conn: ConnId(2), accepted: true });
        assert_eq!(t.welcomed(2), present);
        t.cut(2);
        t.wait(secs(500));
    }
}

#[test]
fn response_information_is_told_to_those_who_ask() {
    let told = |settings: Config, asks: Option<u8>| {
        let mut t = Bench::with(settings);
        t.open(1);
        let asks = asks.map(|asks| Property::U8(PropertyId::RequestResponseInformation, asks));
        let properties = properties(asks.as_slice());
        t.send(1, Packet::Connect(Connect { properties, user_name: Some("plc"), ..connect(V5, "one") }));
        t.handle(Input::Authenticated { conn: ConnId(1), accepted: true });
        let bytes = t.next(1).unwrap();
        match decode(frame(&bytes, 1 << 20).unwrap().unwrap(), V5).unwrap() {
            Packet::ConnAck(connack) => {
                connack.properties.string(PropertyId::ResponseInformation).map(str::to_owned)
            }
            other => panic!("{other:?}"),
        }
    };
    let settings = || Config { response_information: Some("replies/%u/%c".into()), ..config() };
    assert_eq!(told(settings(), Some(1)).as_deref(), Some("replies/plc/one"));
    assert_eq!(told(settings(), Some(0)), None);
    assert_eq!(told(settings(), None), None);
    assert_eq!(told(config(), Some(1)), None);
}

#[test]
fn when_memory_runs_short_it_is_given_up_in_order() {
    let mut t = Bench::with(Config { out_buffer_bytes_max: 1_000, queue_messages_max: 1_000, ..config() });
    t.join(1, connect(V5, "p"));
    t.join(2, resume(V5, "away"));
    t.subscribe(2, "q", Q1);
    t.cut(2);
    let kib = "x".repeat(1_024);
    for n in 0..100 {
        t.send(1, message("q", Q1, n + 1, &kib));
        t.expect(1, puback(n + 1));
    }
    t.send(1, retained("kept", Q1, 1, "x"));
    t.expect(1, puback(1));
    t.memory(69);
    assert_eq!(t.broker.stats().shedding, Shedding::Nothing);

    // Nothing new.
    t.memory(70);
    assert_eq!(t.broker.stats().shedding, Shedding::Growth);
    t.send(1, retained("new", Q1, 1, "x"));
    t.expect(1, Packet::PubAck(ack(1, ReasonCode::QuotaExceeded)));
    t.send(1, retained("kept", Q1, 1, "y"));
    t.expect(1, puback(1));
    t.handle(Input::Local(local("gw/health", Q1, true, "mine")));
    assert_eq!(t.broker.stats().retained, 2);
    t.refused(5, resume(V5, "new"), ReasonCode::QuotaExceeded);
    t.join(5, connect(V5, "passing"));
    assert!(t.join(2, resume(V311, "away")), "who has a session may go on with it");
    t.cut(2);
    let before = t.broker.queued_bytes();
    assert!(before > 70_000, "nothing queued is dropped yet: {before}");

    // No newcomers, and half of what is queued.
    t.memory(85);
    assert_eq!(t.broker.stats().shedding, Shedding::Newcomers);
    let after = t.broker.queued_bytes();
    assert!(after <= before / 2 && after > before / 3, "{after} of {before}");
    t.refused(6, connect(V311, "late"), ReasonCode::ServerUnavailable);
    t.refused(6, connect(V5, "late"), ReasonCode::QuotaExceeded);
    t.memory(80);
    assert!(t.broker.queued_bytes() <= after / 2, "and half again, as long as that is so");
    t.send(1, Packet::PingReq);
    t.expect(1, Packet::PingResp);

    // The costliest clients: one that is sent much and reads nothing, not those that cost nothing.
    t.subscribe(5, "slow", Q0);
    t.stuck.insert(5);
    t.send(1, message("slow", Q0, 0, &"x".repeat(50_000)));
    t.memory(95);
    assert!(t.next(5).is_some());
    t.expect_disconnect(5, ReasonCode::QuotaExceeded);
    t.cut(5);
    assert!(!t.closed.contains(&1));

    // And back.
    t.memory(64);
    t.join(6, resume(V5, "late"));
    let stats = t.broker.stats();
    assert_eq!((stats.shedding, stats.closed_for_memory), (Shedding::Nothing, 1));
    assert_eq!(stats.refused_for_memory, 4);
    assert!(stats.dropped_for_memory > 60, "{}", stats.dropped_for_memory);
}

#[test]
fn what_many_wait_with_counts_once_when_it_is_given_back() {
    const MB: usize = 1_000_000;
    let settings = Config {
        queue_bytes_max: 100 * MB,
        queues_bytes_max: 1_000 * MB,
        packet_bytes_max: 8 * MB,
        ..config()
    };
    let mut t = Bench::with(settings);
    t.join(1, connect(V5, "p"));
    for c in 2..=11 {
        t.join(c, resume(V5, &c.to_string()));
        t.subscribe(c, "t", Q1);
        t.cut(c);
    }
    let large = "x".repeat(4 * MB);
    for id in 1..=8 {
        t.send(1, message("t", Q1, id, &large));
    }
    // Ten sessions wait with the same 32 MB, of 86 MB that are taken. They lose half of it, 16 MB, which the allocator
    // keeps: 70 MB are taken then, and not 160 MB less.
    for (percent, expected) in [
        (86, Shedding::Newcomers),
        (86, Shedding::Growth),
        (86, Shedding::Growth),
        (100, Shedding::Growth),
        (101, Shedding::Newcomers),
    ] {
        t.memory(percent);
        assert_eq!(t.broker.stats().shedding, expected, "{percent} %");
    }
}

#[test]
fn while_memory_is_short_qos_0_to_the_slow_is_dropped_at_once() {
    for (short, expected) in [(false, 0), (true, 1)] {
        let mut t = Bench::with(Config { out_buffer_bytes_max: 1_000, ..config() });
        t.join(1, connect(V5, "p"));
        t.join(3, connect(V5, "another"));
        t.join(2, connect(V5, "s"));
        t.subscribe(2, "t", Q0);
        t.stuck.insert(2);
        t.memory(if short { 75 } else { 10 });
        t.send(1, message("t", Q0, 0, &"x".repeat(1_100)));
        t.send(3, message("t", Q0, 0, "x"));
        assert_eq!(t.broker.stats().dropped_queue_full, expected);
    }
}
