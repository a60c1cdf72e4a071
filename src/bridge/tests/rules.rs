//! Scripts for the link, the window and what upstream may do. Each test is one conversation.

use super::rig::Rig;
use super::upstream::{Got, connack, pingresp, receive_maximum, write};
use super::*;
use crate::mqtt::{Ack, Disconnect, Packet, Properties, Property, PropertyId, Publish};

const V5: Version = Version::V5;
const V311: Version = Version::V311;

#[test]
fn birth_and_will_carry_the_same_epoch_and_birth_comes_first() {
    for version in [V311, V5] {
        let mut rig = Rig::new(config(version), Backlog::default());
        assert_eq!(rig.done, [Output::Connect { address: 0 }]);
        rig.append("1");
        rig.input(Input::Slot {
            topic: Arc::from("fieldgate/gw/health"),
            payload: Bytes::from_static(b"old"),
        });
        rig.input(Input::Slot {
            topic: Arc::from("fieldgate/gw/health"),
            payload: Bytes::from_static(b"new"),
        });
        rig.connect(false);
        let Some(Got::Connect { clean: false, will }) = rig.got.first().cloned() else {
            panic!("{:?}", rig.got)
        };
        assert_eq!(will.0, "fieldgate/gw/status");
        assert!(will.1.contains(r#""state":"offline""#) && will.1.contains(r#""epoch":"7-1""#), "{}", will.1);
        let publishes = rig.publishes();
        assert_eq!(publishes[0].topic, "fieldgate/gw/status");
        for word in [r#""state":"online""#, r#""epoch":"7-1""#, r#""instance":"abcd""#, r#""health":"ok""#] {
            assert!(publishes[0].payload.contains(word), "{}", publishes[0].payload);
        }
        assert!(publishes[0].retain && publishes[0].id.is_some());
        // The record does not wait for the birth's PUBACK; the slot does, and only its newest value goes.
        assert_eq!(rig.payloads(), ["1"]);
        rig.ack_slot();
        assert_eq!(rig.slots().last().unwrap().payload, "new");
        assert_eq!(rig.slots().len(), 2);
        rig.cut();
        rig.connect(true);
        assert!(rig.slots()[0].payload.contains(r#""epoch":"7-2""#));
        assert!(matches!(
            rig.notices()[0],
            Notice::Online { session_present: true, backlog: 1, away: Some(_) }
        ));
    }
}

#[test]
fn a_kept_session_gets_the_window_again_with_dup_and_the_same_identifiers() {
    for version in [V311, V5] {
        let mut rig = Rig::online(version);
        for n in 1..=6 {
            rig.append(&n.to_string());
        }
        // Inflight 5, one place of it for slots.
        assert_eq!(rig.payloads(), ["1", "2", "3", "4"]);
        let sent = rig.records();
        rig.puback(sent[1].1);
        rig.cut();
        rig.connect(true);
        let again: Vec<_> = [0, 2, 3].map(|i| (sent[i].0.clone(), sent[i].1, true)).into();
        assert_eq!(rig.records(), again);
        assert_eq!(rig.status().resent, 3);
        rig.puback(sent[0].1);
        assert_eq!(rig.payloads(), ["1", "3", "4", "5", "6"]);
    }
}

#[test]
fn a_lost_session_gets_the_window_as_new_and_before_anything_else() {
    let mut rig = Rig::online(V311);
    for n in 1..=6 {
        rig.append(&n.to_string());
    }
    rig.cut();
    rig.append("7");
    rig.connect(false);
    let records = rig.records();
    assert_eq!(rig.payloads(), ["1", "2", "3", "4"]);
    assert!(records.iter().all(|(.., dup)| !dup));
}

#[test]
fn a_full_window_leaves_a_place_for_slots() {
    let mut rig = Rig::online(V311);
    for n in 1..=6 {
        rig.append(&n.to_string());
    }
    rig.clear();
    rig.input(Input::Slot { topic: Arc::from("fieldgate/gw/health"), payload: Bytes::from_static(b"h") });
    assert_eq!(rig.slots().len(), 1);
}

#[test]
fn upstreams_receive_maximum_bounds_everything_in_flight() {
    for (maximum, expected) in [(1, 0), (2, 1), (3, 2), (100, 4)] {
        let mut rig = Rig::new(config(V5), Backlog::default());
        rig.connect_with(false, &[receive_maximum(maximum)]);
        for n in 1..=9 {
            rig.append(&n.to_string());
        }
        assert_eq!(rig.payloads().len(), expected, "receive maximum {maximum}");
        rig.ack_slot();
        assert_eq!(rig.payloads().len(), expected.max(1));
    }
}

#[test]
fn mappings_rename_and_lower_and_the_first_that_matches_counts() {
    let mut config = config(V311);
    config.maps = vec![
        Mapping { retain: RetainRule::Never, ..mapping("data/b/#", "data/", "site/") },
        Mapping { qos_max: QoS::AtMostOnce, ..mapping("data/+", "", "raw/") },
        mapping("fieldgate/gw/#", "fieldgate/", "up/"),
    ];
    let mut rig = Rig::new(config, Backlog::default());
    rig.connect(false);
    let retained = Message { retain: true, qos: QoS::ExactlyOnce, ..message("data/b/c", "x") };
    rig.input(Input::Append { message: retained, token: None });
    rig.input(Input::Append { message: message("data/d", "y"), token: None });
    rig.input(Input::Append { message: message("other", "z"), token: Some(SafeToken(9)) });
    rig.ack_slot();
    let seen: Vec<_> = rig.publishes().into_iter().map(|s| (s.topic, s.id.is_some(), s.retain)).collect();
    let expected = [("up/gw/status", true, true), ("site/b/c", true, false), ("raw/data/d", false, false)];
    assert_eq!(seen, expected.map(|(topic, id, retain)| (topic.to_owned(), id, retain)));
    assert!(rig.done.contains(&Output::Safe(vec![SafeToken(9)])));
    // What went at QoS 0 is done; only the other waits.
    assert_eq!(rig.status().backlog_records, 1);
}

#[test]
fn upstreams_limits_are_kept() {
    let limits = [
        Property::U8(PropertyId::MaximumQoS, 0),
        Property::U8(PropertyId::RetainAvailable, 0),
        Property::U32(PropertyId::MaximumPacketSize, 300),
    ];
    let mut rig = Rig::new(config(V5), Backlog::default());
    rig.connect_with(false, &limits);
    rig.append_token(&"x".repeat(400), 1);
    rig.append("small");
    let seen: Vec<_> = rig.publishes().into_iter().map(|s| (s.id, s.retain, s.payload)).collect();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1], (None, false, "small".to_owned()));
    assert!(seen[0].0.is_none() && !seen[0].1);
    assert_eq!((rig.status().drops.too_large, rig.status().backlog_records), (1, 0));
    assert!(matches!(&rig.notices()[..], [Notice::Online { .. }, Notice::MessageRefused { .. }]));
    assert!(rig.done.contains(&Output::Safe(vec![SafeToken(1)])));
}

#[test]
fn a_refused_message_is_counted_and_the_next_goes_on() {
    use ReasonCode::*;
    let reasons = [
        UnspecifiedError,
        ImplementationSpecificError,
        NotAuthorized,
        TopicNameInvalid,
        PacketTooLarge,
        PayloadFormatInvalid,
    ];
    for reason in reasons {
        let mut rig = Rig::online(V5);
        rig.append_token("1", 1);
        rig.append("2");
        let sent = rig.records();
        rig.refuse(sent[0].1, reason);
        assert_eq!(rig.status().drops.refused, 1);
        let refused = Notice::MessageRefused { topic: "data/a".into(), reason: reason.words() };
        assert_eq!(rig.notices(), [refused]);
        assert!(rig.done.contains(&Output::Safe(vec![SafeToken(1)])));
        rig.puback(sent[1].1);
        assert_eq!((rig.status().backlog_records, rig.status().delivered, rig.status().elided), (0, 1, 1));
    }
}

#[test]
fn a_used_up_quota_is_waited_for_and_the_order_is_kept() {
    let mut rig = Rig::online(V5);
    for n in 1..=5 {
        rig.append(&n.to_string());
    }
    let sent = rig.records();
    for (_, id, _) in &sent {
        rig.refuse(*id, ReasonCode::QuotaExceeded);
    }
    rig.clear();
    rig.pass(900);
    assert_eq!(rig.payloads(), [""; 0]);
    rig.pass(100);
    assert_eq!(rig.records().len(), 1, "one asks whether the others may follow");
    assert_eq!((rig.payloads()[0].as_str(), rig.records()[0].2), ("1", false));
    rig.refuse(rig.records()[0].1, ReasonCode::QuotaExceeded);
    rig.clear();
    rig.pass(1900);
    assert_eq!(rig.payloads(), [""; 0]);
    rig.pass(100);
    rig.puback(rig.records()[0].1);
    assert_eq!(rig.payloads(), ["1", "2", "3", "4", "5"]);
    assert_eq!(rig.status().drops, Drops::default());
}

#[test]
fn a_missing_puback_makes_the_link_anew() {
    let mut rig = Rig::online(V311);
    rig.append("1");
    // The upstream lives: it answers pings, and acknowledges nothing.
    for _ in 0..29 {
        rig.pass(1000);
        let version = rig.version;
        rig.bytes(&pingresp(version));
    }
    assert!(!rig.closes());
    rig.pass(1000);
    assert!(rig.closes());
    assert_eq!(rig.notices(), [Notice::Offline { error: "no PUBACK for 30 s".into() }]);
}

#[test]
fn a_silent_link_is_pinged_and_then_dead_at_one_and_a_half_keep_alives() {
    let mut rig = Rig::online(V311);
    rig.pass(29_999);
    assert_eq!(rig.got, []);
    rig.pass(1);
    assert_eq!(rig.got, [Got::Ping]);
    rig.pass(14_999);
    assert!(!rig.closes());
    rig.pass(1);
    assert!(rig.closes());
    let mut alive = Rig::online(V311);
    for _ in 0..20 {
        alive.pass(30_000);
        alive.bytes(&pingresp(V311));
    }
    assert!(!alive.closes());
    assert_eq!(alive.got.len(), 20);
}

#[test]
fn the_servers_keep_alive_replaces_ours() {
    let mut rig = Rig::new(config(V5), Backlog::default());
    rig.connect_with(false, &[Property::U16(PropertyId::ServerKeepAlive, 4)]);
    rig.ack_slot();
    rig.clear();
    rig.pass(4000);
    assert_eq!(rig.got, [Got::Ping]);
}

#[test]
fn what_no_server_may_send_ends_the_connection_and_the_next_session_is_clean() {
    let publish = |qos, id| Publish {
        dup: false,
        qos,
        retain: false,
        topic: "t",
        packet_id: PacketId::new(id),
        properties: Properties::EMPTY,
        payload: b"",
    };
    let ack = || Ack {
        packet_id: PacketId::new(1).unwrap(),
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    };
    let rows: [(Vec<u8>, &str); 7] = [
        (write(&Packet::PubRec(ack()), V311), "QoS 2"),
        (write(&Packet::PubComp(ack()), V311), "QoS 2"),
        (write(&Packet::PingReq, V311), "only clients send"),
        (connack(V311, false, ReasonCode::Success, &[]), "second CONNACK"),
        (vec![0xF0, 0], "upstream sent a"),
        (vec![0x40, 1, 0], "upstream sent a"),
        (vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F], "upstream sent a packet of"),
    ];
    for (bytes, words) in rows {
        let mut rig = Rig::online(V311);
        rig.append("1");
        rig.bytes(&bytes);
        assert!(rig.closes(), "{bytes:?}");
        let error = rig.status().error.unwrap();
        assert!(error.contains(words), "{error}");
        rig.attempt();
        rig.input(Input::Connected);
        assert!(matches!(rig.got[0], Got::Connect { clean: true, .. }));
        // It got no CONNACK: the clean session is still owed.
        rig.cut();
        rig.connect(false);
        assert!(matches!(rig.got[0], Got::Connect { clean: true, .. }));
        assert_eq!(rig.payloads(), ["1"]);
        rig.cut();
        rig.connect(true);
        assert!(matches!(rig.got[0], Got::Connect { clean: false, .. }));
    }
    // Leftovers of another session harm nobody.
    let mut rig = Rig::online(V311);
    rig.puback(77);
    rig.bytes(&write(&Packet::Publish(publish(QoS::AtMostOnce, 0)), V311));
    rig.bytes(&write(&Packet::Publish(publish(QoS::AtLeastOnce, 9)), V311));
    rig.bytes(&write(&Packet::Publish(publish(QoS::ExactlyOnce, 10)), V311));
    rig.bytes(&write(&Packet::PubRel(Ack { packet_id: PacketId::new(10).unwrap(), ..ack() }), V311));
    assert!(!rig.closes());
    let words: Vec<_> = rig.got.iter().map(|got| format!("{got:?}")).collect();
    assert_eq!(words.len(), 3);
    assert!(
        words[0].contains("PubAck") && words[1].contains("PubRec") && words[2].contains("PubComp"),
        "{words:?}"
    );
}

#[test]
fn refusals_are_told_once_in_words_and_retried_slowly_where_people_must_help() {
    use ReasonCode::*;
    let rows = [
        (BadUserNameOrPassword, true),
        (NotAuthorized, true),
        (ClientIdentifierNotValid, true),
        (ServerUnavailable, false),
    ];
    for (reason, slow) in rows {
        let mut rig = Rig::new(config(V311), Backlog::default());
        let mut waits = Vec::new();
        let mut told = 0;
        for _ in 0..8 {
            rig.clear();
            rig.input(Input::Connected);
            rig.bytes(&connack(V311, false, reason, &[]));
            assert!(rig.closes());
            told += rig.notices().len();
            if let [Notice::Refused { error, .. }] = &rig.notices()[..] {
                assert!(error.contains(reason.words()), "{error}");
            }
            assert!(rig.status().error.unwrap().contains(reason.words()));
            waits.push(rig.status().retry_in.unwrap());
            rig.attempt();
        }
        assert_eq!(told, 1);
        if slow {
            assert!(waits[0] >= Duration::from_secs(30), "{waits:?}");
            assert!(
                waits[7] >= Duration::from_secs(450) && waits[7] <= Duration::from_secs(900),
                "{waits:?}"
            );
        } else {
            assert!(
                waits[0] <= Duration::from_secs(1) && waits.iter().all(|w| *w <= Duration::from_secs(60))
            );
        }
    }
}

#[test]
fn a_kick_right_after_connack_does_not_make_a_hot_loop() {
    let mut rig = Rig::new(config(V5), Backlog::default());
    let taken_over = Disconnect { reason: ReasonCode::SessionTakenOver, properties: Properties::EMPTY };
    for _ in 0..30 {
        rig.connect(false);
        rig.bytes(&write(&Packet::Disconnect(taken_over.clone()), V5));
        assert!(rig.status().error.unwrap().contains(ReasonCode::SessionTakenOver.words()));
        rig.attempt();
    }
    assert!(rig.now.mono > Mono::ZERO + Duration::from_secs(120), "30 kicks in {:?}", rig.now.mono);
    // After a minute online the next failure is the first again.
    rig.connect(false);
    rig.ack_slot();
    for _ in 0..61 {
        rig.pass(1000);
        rig.bytes(&pingresp(V5));
    }
    rig.input(Input::Closed { error: "eof" });
    assert!(rig.status().retry_in.unwrap() <= Duration::from_secs(1));
}

#[test]
fn attempts_that_get_no_answer_end_in_time() {
    let mut rig = Rig::new(config(V311), Backlog::default());
    rig.pass(10_000);
    assert!(rig.closes());
    rig.attempt();
    rig.input(Input::Connected);
    rig.pass(10_000);
    assert!(rig.closes());
    assert_eq!(rig.status().error.unwrap(), "no CONNACK in time");
    rig.clear();
    // The answer to an attempt that was given up is not taken for a new one.
    let mut late = Rig::new(config(V311), Backlog::default());
    late.pass(10_000);
    late.clear();
    late.input(Input::Connected);
    assert_eq!((late.done, late.got), (vec![Output::Close], vec![]));
}

#[test]
fn a_will_that_upstream_does_not_understand_is_made_smaller() {
    let mut rig = Rig::new(config(V5), Backlog::default());
    rig.input(Input::Connected);
    rig.bytes(&connack(V5, false, ReasonCode::RetainNotSupported, &[]));
    assert!(rig.status().retry_in.unwrap() <= Duration::from_secs(1));
    rig.attempt();
    rig.connect_with(false, &[Property::U8(PropertyId::RetainAvailable, 0)]);
    assert_eq!(rig.status().state, LinkState::Online);
    assert!(!rig.publishes()[0].retain);
}

#[test]
fn qos_0_is_paced_by_pings() {
    let mut rig = Rig::online(V311);
    for n in 0..250 {
        let message = Message { qos: QoS::AtMostOnce, ..message("data/a", &n.to_string()) };
        rig.input(Input::Append { message, token: None });
    }
    assert_eq!(rig.payloads().len(), 100);
    assert_eq!(rig.got.last(), Some(&Got::Ping));
    rig.bytes(&pingresp(V311));
    assert_eq!(rig.payloads().len(), 200);
    rig.bytes(&pingresp(V311));
    assert_eq!(rig.payloads().len(), 250);
}

#[test]
fn a_message_at_which_upstream_closes_is_sent_alone_and_then_given_up() {
    // Upstream says nothing: a hundred connections. It says that the packet is too large: alone once is enough.
    for (version, says, connections) in [(V311, None, 100), (V5, Some(ReasonCode::PacketTooLarge), 2)] {
        let mut rig = Rig::online(version);
        rig.append_token("poison", 1);
        rig.append("2");
        for connection in 1..=connections {
            assert_eq!(rig.status().drops.refused, 0);
            if connection > 2 || (connection == 2 && says.is_some()) {
                // Some of the connections are quiet at first.
                rig.pass(5_000);
                assert_eq!(rig.payloads(), ["poison"], "alone");
            }
            rig.ack_status();
            match says {
                Some(reason) => {
                    let disconnect = Disconnect { reason, properties: Properties::EMPTY };
                    rig.bytes(&write(&Packet::Disconnect(disconnect), version));
                    rig.attempt();
                }
                None => rig.cut(),
            }
            rig.connect(true);
        }
        rig.pass(5_000);
        assert_eq!(rig.status().drops.refused, 1);
        assert_eq!(rig.payloads(), ["2"]);
    }
    // A network that cuts, and an upstream that takes a record now and then: nothing is given up.
    let mut rig = Rig::online(V311);
    for n in 1..=30 {
        rig.append(&n.to_string());
    }
    for n in 0..260 {
        rig.ack_status();
        if n % 80 == 0 {
            rig.pass(5_000);
            let id = rig.records()[0].1;
            rig.puback(id);
        }
        rig.cut();
        rig.connect(true);
    }
    assert_eq!(rig.status().drops, Drops::default());
}

#[test]
fn a_message_of_a_topic_that_upstream_took_is_given_up_within_minutes_but_only_one_of_it() {
    let mut rig = Rig::online(V311);
    rig.append("good");
    let id = rig.records()[0].1;
    rig.puback(id);
    rig.clear();
    for (payload, proven) in [("poison", true), ("poison too", false)] {
        rig.append(payload);
        let (begun, refused) = (rig.now.mono, rig.status().drops.refused);
        let mut connections = 0;
        while rig.status().drops.refused == refused {
            rig.ack_status();
            rig.pass(5_000);
            assert_eq!(rig.payloads(), [payload], "a trial sends it after a while");
            rig.cut();
            rig.connect(true);
            connections += 1;
        }
        let letter = rig.status().dead_letters.last().cloned().unwrap();
        assert_eq!(letter.payload, payload);
        assert_eq!(letter.reason, "upstream closes the connection each time that it is sent, without a word");
        // The first took minutes. The second had no proof of its own, so there was an hour to mend the rights in.
        let took = rig.now.mono.since(begun);
        assert_eq!(connections, if proven { 12 } else { 100 });
        assert_eq!(took < Duration::from_secs(600), proven, "{payload}: {took:?}");
    }
}

#[test]
fn topics_go_by_alias_within_a_connection_and_in_full_on_the_next() {
    let mut rig = Rig::new(Config { topic_alias_max: 2, ..config(V5) }, Backlog::default());
    let allow = |max| [Property::U16(PropertyId::TopicAliasMaximum, max)];
    let topics = |rig: &Rig| -> Vec<String> {
        rig.publishes().into_iter().filter(|seen| !seen.retain).map(|seen| seen.topic).collect()
    };
    let append = |rig: &mut Rig, topic: &str| {
        rig.input(Input::Append { message: message(topic, "1"), token: None });
        let id = rig.records().last().unwrap().1;
        rig.puback(id);
    };
    for (max, seen) in [
        (9, ["data/a", "", "data/b", "data/c", "data/c", ""]),
        (1, ["data/a", "", "data/b", "data/c", "data/c", "data/b"]),
        (0, ["data/a", "data/a", "data/b", "data/c", "data/c", "data/b"]),
    ] {
        rig.connect_with(false, &allow(max));
        rig.ack_slot();
        for topic in ["data/a", "data/a", "data/b", "data/c", "data/c", "data/b"] {
            append(&mut rig, topic);
        }
        assert_eq!(topics(&rig), seen, "{max} allowed");
        rig.cut();
    }
    // What was on its way goes in full on the next connection.
    rig.connect_with(false, &allow(9));
    rig.append("1");
    rig.append("2");
    assert_eq!(topics(&rig), ["data/a", ""]);
    rig.cut();
    rig.connect_with(true, &allow(9));
    assert_eq!(topics(&rig), ["data/a", ""]);
    // The first with an alias is three bytes longer: too long here, so it goes without.
    rig.cut();
    let name = "data/".to_owned() + &"x".repeat(100);
    rig.connect_with(true, &[allow(9)[0], Property::U32(PropertyId::MaximumPacketSize, 114)]);
    rig.clear();
    rig.input(Input::Append { message: message(&name, "12"), token: None });
    assert_eq!((topics(&rig), rig.status().drops), (vec![name], Drops::default()));
}

#[test]
fn a_network_that_cuts_before_anything_is_sent_proves_nothing_against_a_message() {
    let mut rig = Rig::online(V311);
    rig.append("good");
    let id = rig.records()[0].1;
    rig.puback(id);
    rig.append("innocent");
    let mut sent = 0;
    for _ in 0..90 {
        rig.ack_status();
        rig.pass(1_000);
        sent += rig.payloads().len();
        rig.cut();
        rig.connect(true);
    }
    assert_eq!(rig.status().drops, Drops::default());
    assert!((45..=50).contains(&sent), "each other connection sends it at once: {sent}");
}

#[test]
fn a_reading_is_encoded_when_it_is_sent_with_the_time_as_then_known() {
    use crate::reading::{Quality, Reading, Sample, Seq, Value};
    use crate::time::ClockTrust;
    let sample = Sample { point: "t".into(), value: Some(Value::Number(21.5)), quality: Quality::Good };
    let reading = Reading {
        device: "d".into(),
        seq: Seq { run: Run(7), number: 1 },
        boot: BootId::default(),
        mono: Mono::ZERO,
        wall: Timestamp::from_millis(0),
        trust: ClockTrust::Unsynced,
        samples: vec![sample],
    };
    let mut rig = Rig::new(config(V311), Backlog::default());
    let message =
        Message { reading: Some(Arc::new(reading)), ..message("data/d", "as LAN clients got it in 1970") };
    rig.input(Input::Append { message, token: None });
    rig.pass(5000);
    rig.connect(false);
    let payload = &rig.payloads()[0];
    // The clock is right by now, five seconds after the reading.
    assert!(payload.contains("2026-11-20T14:51:05.000Z") && payload.contains("corrected"), "{payload}");
}
