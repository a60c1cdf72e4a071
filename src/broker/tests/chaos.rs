//! Random sessions under many seeds: whatever happened, nothing is left hanging. A failing seed is printed.

use super::*;
use crate::mqtt::topic;

const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "up/1", "b", "gw/data/x"];
const FILTERS: [&str; 8] = ["#", "a/#", "+/b", "a/+/c", "up/+", "b", "$share/g/a/#", "+"];

pub(super) fn join(t: &mut Bench, rng: &mut fastrand::Rng, c: u32) {
    t.stuck.remove(&c);
    if t.sink.sent.contains_key(&ConnId(c)) {
        t.cut(c);
    }
    let version = [V31, V311, V5][c as usize % 3];
    let id = ["c0", "c1", "c2", "c3", "c4"][rng.usize(..5)];
    let hello = if rng.bool() { connect(version, id) } else { resume_for(version, id, 20) };
    t.open(c);
    t.send(c, Packet::Connect(Connect { will: will("a/b", "will"), keep_alive: 100, ..hello }));
}

/// What a well-behaved client answers.
pub(super) fn answer_all(t: &mut Bench, c: u32) {
    while let Some(bytes) = t.next(c) {
        match decode(frame(&bytes, 1 << 20).unwrap().unwrap(), t.versions[&c]).unwrap() {
            Packet::Publish(publish) => match (publish.qos, publish.packet_id) {
                (Q1, Some(id)) => t.send(c, puback(id.get())),
                (Q2, Some(id)) => t.send(c, pubrec(id.get())),
                _ => {}
            },
            Packet::PubRec(ack) if !ack.reason.is_error() => t.send(c, pubrel(ack.packet_id.get())),
            Packet::PubRel(ack) => t.send(c, pubcomp(ack.packet_id.get())),
            _ => {}
        }
    }
}

pub(super) fn step(t: &mut Bench, rng: &mut fastrand::Rng, next_id: &mut u16) {
    let c = rng.u32(..5);
    match rng.u32(..20) {
        0 => join(t, rng, c),
        1 if t.sink.sent.contains_key(&ConnId(c)) => t.cut(c),
        2..=3 => t.send(c, subscribe(1, &[(FILTERS[rng.usize(..8)], [Q0, Q1, Q2][rng.usize(..3)])])),
        4 => t.send(c, unsubscribe(1, &[FILTERS[rng.usize(..8)]])),
        5 => _ = t.stuck.insert(c),
        6 => _ = t.stuck.remove(&c),
        7..=8 => answer_all(t, c),
        9..=11 => {
            if let Some((_, _, Some(token))) = t.forwards.pop_front() {
                t.answer_token(token, rng.u32(..30) > 0);
            }
        }
        12 => t.wait(millis(rng.u64(..5_000))),
        13 => t.handle(Input::Local(local("gw/data/x", Q1, rng.bool(), "reading"))),
        _ => {
            let qos = [Q0, Q1, Q2][rng.usize(..3)];
            *next_id = next_id.checked_add(1).unwrap_or(1);
            let id = if qos == Q0 { 0 } else { *next_id };
            let payload = "x".repeat(rng.usize(..200));
            let publish =
                Publish { retain: rng.u8(..8) == 0, ..publish(TOPICS[rng.usize(..6)], qos, id, &payload) };
            t.send(c, Packet::Publish(publish));
        }
    }
}

/// Another config, with any bound, and with rules that not everybody keeps.
fn reconfigure(t: &mut Bench, rng: &mut fastrand::Rng, base: &Config) {
    let mut config = Config {
        out_buffer_bytes_max: rng.usize(50..2_000),
        receive_max: rng.u16(1..10),
        inflight_max: rng.u16(1..10),
        queue_messages_max: rng.usize(0..20),
        queues_bytes_max: rng.usize(0..4_000),
        sessions_max: rng.usize(0..5),
        subscriptions_max: rng.usize(0..5),
        topic_alias_max: rng.u16(0..5),
        topic_levels_max: rng.usize(1..4),
        retained_max: rng.usize(0..4),
        connect_timeout: secs(rng.u64(1..9)),
        out_buffer_stall_max: secs(rng.u64(1..20)),
        ..base.clone()
    };
    match rng.u8(..8) {
        0 => config.client_id_prefixes = vec!["c0".into(), "c1".into()],
        1 => config.listeners[0].allow_anonymous = false,
        2 => config.listeners[0].versions = vec![V5],
        3 => config.listeners[0].connections_max = Some(2),
        _ => {}
    }
    let moved = match rng.u8(..8) {
        0 => vec![None, Some(ListenerId(1))],
        _ => vec![Some(ListenerId(0)), Some(ListenerId(1))],
    };
    take_over(t, config, moved);
}

fn take_over(t: &mut Bench, config: Config, moved: Vec<Option<ListenerId>>) {
    t.mark = config.out_buffer_bytes_max;
    t.handle(Input::Reconfigure(Box::new(Reconfigure {
        config,
        moved,
        users: Default::default(),
        own_users: Default::default(),
    })));
}

#[test]
fn whatever_happens_nothing_hangs_and_nothing_is_left() {
    for seed in 0..150 {
        run_seed(seed, false);
    }
}

#[test]
fn whatever_the_config_becomes_nothing_hangs_and_nothing_is_left() {
    for seed in 0..150 {
        run_seed(seed, true);
    }
}

fn run_seed(seed: u64, reconfigures: bool) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let config =
        Config { out_buffer_bytes_max: 600, receive_max: 5, inflight_max: 3, ..forwarding(&[("up/#", 0)]) };
    let mut t = Bench::with(config.clone());
    for c in 0..5 {
        join(&mut t, &mut rng, c);
    }
    let mut next_id = 0;
    for _ in 0..600 {
        step(&mut t, &mut rng, &mut next_id);
        if reconfigures && rng.u8(..20) == 0 {
            reconfigure(&mut t, &mut rng, &config);
        }
    }
    if reconfigures {
        take_over(&mut t, config, vec![Some(ListenerId(0)), Some(ListenerId(1))]);
    }
    // Everybody reads, everything is safe: nobody may stay paused.
    t.stuck.clear();
    while let Some((_, _, token)) = t.forwards.pop_front() {
        if let Some(token) = token {
            t.answer_token(token, true);
        }
    }
    for c in (0..5).chain(0..5) {
        t.handle(Input::Tick);
        answer_all(&mut t, c);
        while let Some((_, _, token)) = t.forwards.pop_front() {
            if let Some(token) = token {
                t.answer_token(token, true);
            }
        }
    }
    t.wait(secs(40));
    let hanging: Vec<_> = t.paused.difference(&t.closed).collect();
    assert!(hanging.is_empty(), "seed {seed}: {hanging:?} stay paused");
    for c in 0..5 {
        t.cut(c);
    }
    t.wait(secs(30));
    // 3.x sessions stay for ever; a clean start ends them.
    for id in ["c0", "c1", "c2", "c3", "c4"] {
        t.stuck.clear();
        t.join(0, connect(V311, id));
        t.cut(0);
    }
    let stats = t.broker.stats();
    assert_eq!(
        (stats.clients_connected, stats.sessions_offline, stats.subscriptions),
        (0, 0, 0),
        "seed {seed}"
    );
    assert_eq!(t.broker.routes.nodes_in_use(), 1, "seed {seed}");
    assert_eq!(t.broker.next_deadline(), None, "seed {seed}");
}

#[test]
fn the_trie_agrees_with_matching_one_filter_at_a_time() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut word = |levels: &[&str]| {
        let levels: Vec<&str> = (0..rng.usize(1..5)).map(|_| levels[rng.usize(..levels.len())]).collect();
        levels.join("/")
    };
    let mut t = Bench::with(Config { subscriptions_max: 500, ..config() });
    t.join(1, connect(V5, "s"));
    let mut filters = BTreeSet::new();
    for _ in 0..300 {
        let filter = word(&["a", "b", "+", "", "$x"]);
        filters.insert(filter.clone());
        filters.insert(format!("{filter}/#"));
    }
    filters.remove("");
    let filters: Vec<String> = filters.into_iter().collect();
    for (id, filter) in (1..).zip(&filters) {
        t.subscribe_with(1, filter, options(Q0), Some(id));
    }
    for _ in 0..500 {
        let name = word(&["a", "b", "c", "", "$x"]);
        if name.is_empty() {
            continue;
        }
        let wanted: Vec<u32> = (1..)
            .zip(&filters)
            .filter(|(_, filter)| topic::matches(filter, &name))
            .map(|(id, _)| id)
            .collect();
        t.handle(Input::Local(local(&name, Q0, false, "x")));
        let got: Vec<u32> = t.next(1).map_or_else(Vec::new, |bytes| {
            let packet = decode(frame(&bytes, 1 << 20).unwrap().unwrap(), V5).unwrap();
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            let id = |property| match property {
                Property::Varint(PropertyId::SubscriptionIdentifier, id) => Some(id),
                _ => None,
            };
            publish.properties.iter().filter_map(id).collect()
        });
        assert_eq!(got, wanted, "{name}");
    }
}
