//! Listeners with users or rules of their own: whose session a client gets, and which rules hold for it.

use super::persistence::{Kept, persistent};
use super::*;
use crate::broker::acl::{Acl, parse_file};

fn acl(file: &str) -> Arc<Acl> {
    Arc::new(Acl::of(parse_file(file.as_bytes()).unwrap()))
}

/// Listeners: for all, `users` with the broker's users, `a` and `b` with their own.
fn with_own(config: Config) -> Config {
    let mut config = config;
    for name in ["a", "b"] {
        config.listeners.push(ListenerPolicy {
            name: name.into(),
            own_users: true,
            ..ListenerPolicy::default()
        });
    }
    config
}

fn ann(version: Version) -> Connect<'static> {
    Connect { user_name: Some("ann"), password: Some(b"x"), ..resume(version, "x") }
}

/// What CONNACK says, and whether there was a session.
fn come(k: &mut Kept, c: u32, listener: u16, connect: Connect<'_>) -> (u8, bool) {
    k.bench.open_at(c, listener);
    k.bench.send(c, Packet::Connect(connect));
    k.bench.handle(Input::Authenticated { conn: ConnId(c), accepted: true });
    k.settle();
    let connack = k.bench.next(c).expect("a CONNACK");
    (connack[3], connack[2] == 1)
}

#[test]
fn users_of_one_name_at_two_listeners_are_two_users_also_after_a_restart() {
    let mut k = Kept::with(with_own(persistent()));
    assert_eq!(come(&mut k, 1, 2, ann(V5)), (0, false));
    k.subscribe(1, "t", Q1);
    for connected in [true, false] {
        for (c, listener) in [(2, 3), (3, 1)] {
            assert_eq!(come(&mut k, c, listener, ann(V5)), (0x85, false), "at listener {listener}");
            let anew = Connect { clean_start: true, ..ann(V5) };
            assert_eq!(come(&mut k, c + 10, listener, anew), (0x85, false), "at listener {listener}");
        }
        if connected {
            k.bench.cut(1);
        }
    }
    k.settle();
    k.crash();
    assert_eq!(come(&mut k, 2, 3, ann(V5)), (0x85, false));
    assert_eq!(come(&mut k, 3, 1, ann(V5)), (0x85, false));
    assert_eq!(come(&mut k, 1, 2, ann(V5)), (0, true));
    // A listener that has no users of its own any more leaves sessions that are nobody's.
    k.bench.cut(1);
    k.settle();
    let mut changed = with_own(persistent());
    changed.listeners[2].own_users = false;
    k.crash_into(changed);
    assert_eq!(come(&mut k, 3, 1, ann(V5)), (0, false));
    assert_eq!(come(&mut k, 4, 2, ann(V5)), (0, true), "both have the broker's users now");
}

#[test]
fn a_login_is_judged_by_the_users_of_its_listener_and_never_by_those_of_before() {
    let mut t = Bench::with(with_own(config()));
    let asked = |t: &mut Bench, c: u32, listener: u16| {
        t.open_at(c, listener);
        let bytes = encoded(&Packet::Connect(ann(V5)), V5);
        t.broker.handle(t.now, Input::Bytes { conn: ConnId(c), bytes: &bytes }, &mut t.sink);
        let users = std::iter::from_fn(|| t.broker.poll_event()).find_map(|event| match event {
            Event::Authenticate { users, .. } => Some(users),
            _ => None,
        });
        users.expect("it is asked")
    };
    for (c, listener, expected) in [(1, 1, None), (2, 2, Some("a")), (3, 3, Some("b"))] {
        assert_eq!(asked(&mut t, c, listener).as_deref(), expected);
    }
    let mut changed = with_own(config());
    changed.listeners[2].own_users = false;
    let moved = (0..4).map(|place| Some(ListenerId(place))).collect();
    t.handle(Input::Reconfigure(Box::new(Reconfigure {
        config: changed,
        moved,
        users: Default::default(),
        own_users: Default::default(),
    })));
    t.handle(Input::Authenticated { conn: ConnId(2), accepted: true });
    let refused = t.next(2).expect("a CONNACK");
    assert_eq!(refused[3], 0x89, "busy: it comes again, and is judged by the others");
    t.handle(Input::Authenticated { conn: ConnId(3), accepted: true });
    assert_eq!(t.next(3).expect("a CONNACK")[3], 0);
}

#[test]
fn rules_of_a_listener_hold_for_who_came_in_there_also_while_it_is_away_and_after_a_restart() {
    let rules = |config: Config| Config {
        acl: acl("pattern readwrite common/#\n"),
        own_rules: [("a".into(), acl("pattern readwrite own/#\n"))].into(),
        ..with_own(config)
    };
    let mut k = Kept::with(rules(persistent()));
    k.join(9, connect(V5, "publisher"));
    assert_eq!(come(&mut k, 1, 2, ann(V5)), (0, false));
    k.bench.send(1, subscribe(7, &[("own/t", Q1), ("common/t", Q1), ("#", Q1)]));
    k.settle();
    k.bench.expect(1, suback(7, &[1, 0x87, 1]));
    k.bench.send(1, message("common/t", Q1, 1, "x"));
    k.bench.expect(1, Packet::PubAck(ack(1, ReasonCode::NotAuthorized)));
    k.bench.send(1, message("own/t", Q0, 0, "mine"));
    k.bench.nothing(9);
    k.bench.cut(1);
    k.settle();
    for crash in [false, true] {
        if crash {
            k.crash();
            k.join(9, connect(V5, "publisher"));
        }
        // It may not read this one, so it doesn't even wait; the other waits.
        k.bench.send(9, message("common/t", Q0, 0, "x"));
        assert_eq!(k.bench.broker.queued_bytes(), 0, "after a crash: {crash}");
    }
    // Rules that change are found by the listener's name.
    let changed = rules(persistent());
    let changed = Config { own_rules: [("a".into(), acl("pattern readwrite common/#\n"))].into(), ..changed };
    k.bench.handle(Input::Access(changed.rules()));
    k.bench.send(9, message("common/t", Q1, 1, "for both"));
    k.settle();
    k.bench.expect(9, puback(1));
    assert_eq!(come(&mut k, 1, 2, ann(V5)), (0, true));
    k.bench.expect(1, message("common/t", Q1, 1, "for both"));
}
