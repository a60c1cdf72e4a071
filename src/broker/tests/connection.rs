//! CONNECT, its refusals, keep alive, takeover, DISCONNECT.

use super::*;

fn refused(c: u32, t: &mut Bench, reason: ReasonCode) {
    t.expect(c, Packet::ConnAck(ConnAck { session_present: false, reason, properties: Properties::EMPTY }));
    t.expect_closed(c);
}

#[test]
fn every_refusal_has_its_code_and_closes() {
    let long = "x".repeat(129);
    let with = |list: &[Property<'_>]| Connect { properties: properties(list), ..connect(V5, "c") };
    let own_will = Connect { will: will("gw/status", "offline"), ..connect(V311, "c") };
    let dollar_will = Connect { will: will("$SYS/x", "x"), ..connect(V5, "c") };
    for (connect, expected) in [
        (connect(V5, &long), ReasonCode::ClientIdentifierNotValid),
        (connect(V311, &long), ReasonCode::ClientIdentifierNotValid),
        (Connect { clean_start: false, ..connect(V311, "") }, ReasonCode::ClientIdentifierNotValid),
        (connect(V31, ""), ReasonCode::ClientIdentifierNotValid),
        (Connect { user_name: Some(&long), ..connect(V5, "c") }, ReasonCode::BadUserNameOrPassword),
        (
            with(&[Property::Str(PropertyId::AuthenticationMethod, "SCRAM")]),
            ReasonCode::BadAuthenticationMethod,
        ),
        (own_will.clone(), ReasonCode::NotAuthorized),
        (Connect { version: V5, ..own_will }, ReasonCode::NotAuthorized),
        (dollar_will, ReasonCode::NotAuthorized),
    ] {
        let mut t = Bench::new();
        t.open(1);
        t.send(1, Packet::Connect(connect.clone()));
        refused(1, &mut t, expected);
        assert_eq!(t.broker.stats().connects_refused, 1, "{connect:?}");
        assert_eq!(t.broker.stats().clients_connected, 0);
    }
}

#[test]
fn an_unsupported_version_gets_return_code_1() {
    for level in [0, 2, 3, 6, 0x7F] {
        let mut t = Bench::new();
        t.open(1);
        t.bytes(1, &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 0, 0, 1, b'a']);
        assert_eq!(t.next(1), Some(vec![0x20, 2, 0, 1]), "level {level}");
        t.expect_closed(1);
    }
}

#[test]
fn a_version_that_the_listener_does_not_take_is_refused_in_its_own_words() {
    let mut config = config();
    config.listeners[0].versions = vec![V311];
    for (version, expected) in [(V31, 1), (V5, 0x84)] {
        let mut t = Bench::with(config.clone());
        t.open(1);
        t.send(1, Packet::Connect(connect(version, "a")));
        let answer = t.next(1).unwrap();
        assert_eq!((answer[0], answer[2], answer[3]), (0x20, 0, expected));
        t.expect_closed(1);
    }
    Bench::with(config).join(1, connect(V311, "a"));
}

#[test]
fn a_name_proved_by_certificate_stands_whatever_the_client_says_and_no_password_is_asked() {
    let mut t = Bench::new();
    let certified = |t: &mut Bench, c: u32, name: &str| {
        t.handle(Input::Open {
            conn: ConnId(c),
            listener: ListenerId(1),
            peer: "10.0.0.7:1",
            certified: Some(name),
            from: None,
        });
    };
    let claims = Connect { user_name: Some("admin"), password: Some(b"x"), ..connect(V5, "plc") };
    certified(&mut t, 1, "plc-7");
    t.send(1, Packet::Connect(claims));
    assert!(!t.welcomed(1), "let in, without a session from before");
    assert!(t.authentications.is_empty());
    // Its session is its own: another name can't take it.
    certified(&mut t, 2, "plc-8");
    t.send(2, Packet::Connect(connect(V5, "plc")));
    refused(2, &mut t, ReasonCode::ClientIdentifierNotValid);
    certified(&mut t, 3, &"x".repeat(129));
    t.send(3, Packet::Connect(connect(V5, "long")));
    refused(3, &mut t, ReasonCode::BadUserNameOrPassword);
}

#[test]
fn a_listener_that_checks_no_users_takes_any_name_and_rules_hold_for_it() {
    let mut config = config();
    config.listeners[0].check_users = false;
    // Without allow_anonymous, which the config demands, names are checked all the same.
    config.listeners[1].check_users = false;
    config.acl = Arc::new(acl::Acl::of(acl::parse_file(b"user ann\ntopic readwrite a/#\n").unwrap()));
    let mut t = Bench::with(config);
    let named = |name| Connect { user_name: Some(name), password: Some(b"whatever"), ..connect(V5, name) };
    t.join(1, named("ann"));
    t.join(2, named("bob"));
    assert!(t.authentications.is_empty(), "nobody is asked");
    t.open_at(3, 1);
    t.send(3, Packet::Connect(named("eve")));
    assert_eq!(t.authentications.len(), 1);
    t.subscribe(1, "a/#", QoS::AtLeastOnce);
    t.send(2, subscribe(1, &[("a/#", QoS::AtLeastOnce)]));
    t.expect(2, suback(1, &[0x87]));
}

#[test]
fn a_listener_may_take_the_user_name_for_the_client_identifier() {
    let mut config = config();
    for listener in &mut config.listeners {
        (listener.allow_anonymous, listener.check_users, listener.client_id_from_user) = (true, false, true);
    }
    config.client_id_prefixes = vec!["plc-".to_owned()];
    let mut t = Bench::with(config);
    let named = |name, client_id| Connect { user_name: Some(name), ..connect(V311, client_id) };
    t.join(1, named("plc-1", "same"));
    t.join(2, named("plc-2", "same"));
    assert_eq!(t.broker.stats().clients_connected, 2, "nobody threw the other out");
    t.open(3);
    t.send(3, Packet::Connect(named("other", "plc-3")));
    refused(3, &mut t, ReasonCode::ClientIdentifierNotValid);
    t.open(4);
    t.send(4, Packet::Connect(connect(V311, "plc-4")));
    refused(4, &mut t, ReasonCode::NotAuthorized);
}

#[test]
fn a_listener_takes_so_many_clients_only() {
    let mut config = config();
    config.listeners[0].connections_max = Some(2);
    config.listeners[1].allow_anonymous = true;
    let mut t = Bench::with(config);
    t.join(1, connect(V311, "a"));
    t.join(2, connect(V311, "b"));
    t.open(3);
    t.send(3, Packet::Connect(connect(V5, "c")));
    refused(3, &mut t, ReasonCode::QuotaExceeded);
    // Elsewhere there is room, but who comes from there needs a place here.
    t.open_at(4, 1);
    t.send(4, Packet::Connect(connect(V311, "c")));
    t.welcomed(4);
    t.open(5);
    t.send(5, Packet::Connect(connect(V5, "c")));
    refused(5, &mut t, ReasonCode::QuotaExceeded);
    // A client's own place can be taken over.
    t.join(6, connect(V311, "b"));
    t.handle(Input::Closed { conn: ConnId(1) });
    t.join(7, connect(V311, "d"));
}

#[test]
fn an_anonymous_client_is_refused_where_the_listener_wants_users() {
    for version in [V31, V311, V5] {
        let mut t = Bench::new();
        t.open_at(1, 1);
        t.send(1, Packet::Connect(connect(version, "a")));
        refused(1, &mut t, ReasonCode::NotAuthorized);
        // A listener that the config doesn't know lets nobody in.
        t.open_at(2, 9);
        t.send(2, Packet::Connect(connect(version, "a")));
        refused(2, &mut t, ReasonCode::NotAuthorized);
    }
}

#[test]
fn a_user_is_let_in_after_the_answer_and_its_further_packets_wait() {
    let mut t = Bench::new();
    t.join(2, connect(V311, "watcher"));
    t.subscribe(2, "#", Q0);
    t.open_at(1, 1);
    let user = Connect { user_name: Some("ann"), password: Some(b"pw"), ..connect(V5, "a") };
    let mut bytes = encoded(&Packet::Connect(user.clone()), V5);
    bytes.extend(encoded(&message("t", Q0, 0, "x"), V5));
    let last = encoded(&message("t", Q0, 0, "y"), V5);
    bytes.extend(&last[..3]);
    t.send(2, Packet::PingReq);
    t.expect(2, Packet::PingResp);
    t.versions.insert(1, V5);
    t.bytes(1, &bytes);
    t.bytes(1, &last[3..]);
    assert_eq!(t.authentications, [(1, "ann".to_owned(), b"pw".to_vec())]);
    assert!(t.paused.contains(&1), "nothing is read while the password is checked");
    t.nothing(1);
    t.nothing(2);
    t.handle(Input::Authenticated { conn: ConnId(1), accepted: true });
    assert!(!t.welcomed(1));
    t.expect(2, message("t", Q0, 0, "x"));
    t.expect(2, message("t", Q0, 0, "y"));
    assert!(t.paused.is_empty());
    // An answer that nobody asked for changes nothing.
    t.handle(Input::Authenticated { conn: ConnId(1), accepted: false });
    assert!(t.closed.is_empty());
}

#[test]
fn a_wrong_password_is_refused_and_nothing_behind_it_is_routed() {
    for version in [V31, V311, V5] {
        let mut t = Bench::new();
        t.join(2, connect(V311, "watcher"));
        t.subscribe(2, "#", Q0);
        t.open(1);
        let user = Connect { user_name: Some("ann"), ..connect(version, "a") };
        t.send(1, Packet::Connect(user));
        t.send(1, message("t", Q0, 0, "x"));
        assert_eq!(t.authentications, [(1, "ann".to_owned(), Vec::new())]);
        t.handle(Input::Authenticated { conn: ConnId(1), accepted: false });
        refused(1, &mut t, ReasonCode::BadUserNameOrPassword);
        t.bytes(1, &encoded(&message("t", Q0, 0, "x"), version));
        t.nothing(2);
        t.cut(1);
    }
}

#[test]
fn a_failed_login_does_not_touch_the_session_of_that_name() {
    let mut t = Bench::new();
    t.open(1);
    let ann = Connect { user_name: Some("ann"), ..resume(V5, "meter") };
    t.send(1, Packet::Connect(ann.clone()));
    t.handle(Input::Authenticated { conn: ConnId(1), accepted: true });
    assert!(!t.welcomed(1));
    t.subscribe(1, "t", Q1);
    t.open(2);
    t.send(2, Packet::Connect(Connect { clean_start: true, ..ann.clone() }));
    t.handle(Input::Authenticated { conn: ConnId(2), accepted: false });
    refused(2, &mut t, ReasonCode::BadUserNameOrPassword);
    t.nothing(1);
    assert!(!t.closed.contains(&1));
    assert_eq!(t.broker.stats().subscriptions, 1);
}

#[test]
fn another_user_cannot_take_a_session_by_its_client_id() {
    for (version, clean_start) in [(V5, true), (V5, false), (V311, true), (V311, false)] {
        let mut t = Bench::new();
        let login = |t: &mut Bench, c: u32, user: Option<&'static str>| {
            t.open(c);
            t.send(c, Packet::Connect(Connect { user_name: user, clean_start, ..resume(version, "meter") }));
            if user.is_some() {
                t.handle(Input::Authenticated { conn: ConnId(c), accepted: true });
            }
        };
        login(&mut t, 1, Some("ann"));
        t.welcomed(1);
        t.subscribe(1, "t", Q1);
        for user in [Some("bob"), None] {
            login(&mut t, 2, user);
            refused(2, &mut t, ReasonCode::ClientIdentifierNotValid);
            t.cut(2);
        }
        assert!(t.closed.contains(&2) && !t.closed.contains(&1));
        login(&mut t, 3, Some("ann"));
        assert_eq!(t.welcomed(3), !clean_start);
    }
}

#[test]
fn above_the_limit_of_connections_only_a_takeover_gets_in() {
    for version in [V311, V5] {
        let mut t = Bench::with(Config { connections_max: 2, ..config() });
        t.join(1, connect(version, "a"));
        t.join(2, connect(version, "b"));
        t.open(3);
        t.send(3, Packet::Connect(connect(version, "c")));
        refused(
            3,
            &mut t,
            if version == V5 { ReasonCode::QuotaExceeded } else { ReasonCode::ServerUnavailable },
        );
        t.join(4, connect(version, "b"));
        t.cut(1);
        t.join(5, connect(version, "c"));
        assert_eq!(t.broker.stats().clients_connected, 2);
    }
}

#[test]
fn a_client_without_identifier_gets_its_own() {
    let mut t = Bench::new();
    let mut ids = BTreeSet::new();
    for c in [1, 2] {
        t.open(c);
        t.send(c, Packet::Connect(connect(V5, "")));
        let bytes = t.next(c).unwrap();
        let packet = decode(frame(&bytes, 1000).unwrap().unwrap(), V5).unwrap();
        let Packet::ConnAck(connack) = packet else { panic!("{packet:?}") };
        ids.insert(connack.properties.string(PropertyId::AssignedClientIdentifier).unwrap().to_owned());
    }
    assert_eq!(ids.len(), 2);
    // 3.1.1 can't be told its identifier, but is let in.
    assert!(!t.join(3, connect(V311, "")));
    assert!(!t.join(4, connect(V311, "")));
    assert_eq!(t.broker.stats().clients_connected, 4);
}

#[test]
fn connack_tells_the_limits_of_the_server() {
    let config = Config { session_expiry_max: Some(secs(100)), topic_alias_max: 4, ..config() };
    let mut t = Bench::with(config);
    t.open(1);
    t.send(1, Packet::Connect(resume_for(V5, "a", 200)));
    let told = properties(&[
        Property::U32(PropertyId::SessionExpiryInterval, 100),
        Property::U16(PropertyId::ReceiveMaximum, 32),
        Property::U32(PropertyId::MaximumPacketSize, 256 * 1024),
        Property::U16(PropertyId::TopicAliasMaximum, 4),
    ]);
    t.expect(
        1,
        Packet::ConnAck(ConnAck { session_present: false, reason: ReasonCode::Success, properties: told }),
    );
    t.cut(1);
    t.wait(secs(99));
    assert!(t.join(1, resume_for(V5, "a", 100)), "it is kept as long as was told");
    t.cut(1);
    t.wait(secs(100));
    assert!(!t.join(1, resume_for(V5, "a", 100)));
}

#[test]
fn silence_ends_at_one_and_a_half_keep_alives_whatever_the_server_sends() {
    for version in [V31, V311, V5] {
        let mut t = Bench::new();
        t.join(1, Connect { keep_alive: 2, will: will("w", "gone"), ..connect(version, "a") });
        t.join(2, connect(V311, "b"));
        t.subscribe(1, "#", Q0);
        t.subscribe(2, "w", Q0);
        t.wait(millis(2_500));
        t.send(2, message("t", Q0, 0, "x"));
        t.expect(1, message("t", Q0, 0, "x"));
        // Half a packet is none.
        t.bytes(1, &[0xC0]);
        t.wait(millis(499));
        assert!(!t.closed.contains(&1));
        t.wait(millis(1));
        if version == V5 {
            t.expect_disconnect(1, ReasonCode::KeepAliveTimeout);
        } else {
            t.expect_closed(1);
        }
        t.expect(2, message("w", Q0, 0, "gone"));
    }
}

#[test]
fn any_whole_packet_restarts_the_keep_alive() {
    let mut t = Bench::new();
    t.join(1, Connect { keep_alive: 2, ..connect(V311, "a") });
    for packet in
        [Packet::PingReq, message("t", Q0, 0, "x"), puback(9), subscribe(1, &[("t", Q0)]), pubcomp(3)]
    {
        t.wait(millis(2_900));
        t.send(1, packet);
    }
    t.wait(millis(2_900));
    assert!(t.closed.is_empty());
    t.wait(millis(100));
    assert!(t.closed.contains(&1));
}

#[test]
fn keep_alive_zero_never_times_out() {
    let mut t = Bench::new();
    for (c, version) in [(1, V31), (2, V311), (3, V5)] {
        t.join(c, connect(version, ["a", "b", "c"][c as usize - 1]));
    }
    t.wait(secs(400_000));
    assert!(t.closed.is_empty());
    assert_eq!(t.broker.next_deadline(), None);
}

#[test]
fn a_connection_that_does_not_connect_is_closed_in_time() {
    let mut t = Bench::new();
    t.open(1);
    t.bytes(1, &[0x10, 0x20, 0x00]);
    t.wait(millis(4_999));
    assert!(t.closed.is_empty());
    t.wait(millis(1));
    t.expect_closed(1);
    t.open(2);
    t.send(2, Packet::Connect(Connect { user_name: Some("ann"), ..connect(V5, "a") }));
    t.wait(secs(35));
    t.expect_closed(2);
}

#[test]
fn a_takeover_serves_the_new_connection_and_ends_the_old_one() {
    for version in [V31, V311, V5] {
        for clean in [true, false] {
            let mut t = Bench::new();
            t.join(3, connect(V311, "watcher"));
            t.subscribe(3, "t", Q0);
            let hello = Connect { clean_start: clean, ..resume(version, "a") };
            t.join(1, hello.clone());
            let present = t.join(2, hello.clone());
            assert_eq!(present, !clean && version != V31);
            if version == V5 {
                t.expect_disconnect(1, ReasonCode::SessionTakenOver);
            } else {
                t.expect_closed(1);
            }
            t.send(2, message("t", Q0, 0, "from the new"));
            t.expect(3, message("t", Q0, 0, "from the new"));
            t.cut(1);
            t.send(2, Packet::PingReq);
            t.expect(2, Packet::PingResp);
            assert_eq!(t.broker.stats().clients_connected, 2);
        }
    }
}

#[test]
fn many_takeovers_in_a_row_leave_one_client() {
    let mut t = Bench::new();
    for c in 1..=50 {
        t.join(c, resume(V5, "same"));
        t.subscribe(c, "t", Q1);
    }
    for c in 1..50 {
        t.expect_disconnect(c, ReasonCode::SessionTakenOver);
        t.cut(c);
    }
    t.send(50, message("t", Q0, 0, "x"));
    t.expect(50, message("t", Q0, 0, "x"));
    let stats = t.broker.stats();
    assert_eq!((stats.clients_connected, stats.sessions_offline, stats.subscriptions), (1, 0, 1));
}

#[test]
fn a_shutdown_tells_every_client() {
    let mut t = Bench::new();
    t.join(1, resume(V5, "a"));
    t.join(2, connect(V311, "b"));
    t.open(3);
    t.handle(Input::Shutdown);
    t.expect_disconnect(1, ReasonCode::ServerShuttingDown);
    t.expect_closed(2);
    t.expect_closed(3);
    assert_eq!(t.broker.stats().sessions_offline, 1);
}

#[test]
fn a_number_that_is_used_again_starts_afresh() {
    let mut t = Bench::new();
    t.join(1, connect(V5, "a"));
    t.subscribe(1, "t", Q0);
    t.cut(1);
    t.open(1);
    t.bytes(1, &encoded(&message("t", Q0, 0, "x"), V5));
    t.expect_closed(1);
    // A number that the shell may not use is closed at once.
    t.open(70_000);
    t.expect_closed(70_000);
}
