//! Bytes that crashed brokers. Each must end its connection at most, and nothing else.

use crate::raw::{BOTH, Connect, Lan, Publish, V, Will, ack, packet, subscribe, text, unsubscribe};

/// Sends the bytes on a connection of their own that was let in; it must end.
#[track_caller]
fn ends(lan: &Lan, v: V, bytes: &[u8]) {
    let mut client = lan.join(v, "a");
    client.try_send(bytes);
    client.ended();
}

#[track_caller]
fn alive(lan: &Lan) {
    let mut client = lan.join(V::V311, "well-behaved");
    client.subscribe("alive", 0);
    client.send(&Publish::new("alive", "x").bytes(V::V311));
    client.take_text("x");
}

#[test]
fn fault_16_an_empty_topic_ends_the_connection() {
    let lan = Lan::start("");
    for v in BOTH {
        for qos in 0..=2 {
            ends(&lan, v, &Publish::new("", "x").qos(qos, 1).bytes(v));
        }
        ends(&lan, v, &[0x30, 0]);
        ends(&lan, v, &[0x30, 2, 0, 0]);
    }
    alive(&lan);
}

#[test]
fn fault_17_an_empty_topic_without_alias_is_a_protocol_error() {
    let lan = Lan::start("");
    let mut client = lan.join(V::V5, "a");
    client.send(&Publish::new("", "x").bytes(V::V5));
    client.closed(0x82);
}

#[test]
fn fault_18_what_only_servers_send_crashes_nothing() {
    let lan = Lan::start("");
    let crash = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3C\x03\x21\x00\x14\x00\x00\x29\x02\x00\x01\xE0\x00";
    let mut client = lan.open(V::V5);
    client.try_send(crash);
    client.rest();
    for v in BOTH {
        for kind in [0x00, 0x20, 0x90, 0xB0, 0xD0, 0xF0] {
            for flags in 0..16 {
                for body in [&[][..], &[0, 1], &[0, 1, 0, 0]] {
                    ends(&lan, v, &packet(kind | flags, body));
                }
            }
            assert!(lan.answer(&packet(kind, &[0, 1, 0])).is_empty());
        }
    }
    alive(&lan);
}

#[test]
fn fault_19_dollar_topics_crash_nothing() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut client = lan.join(v, "a");
        for topic in ["$", "$x", "$share", "$share/g/t", "$SYS/x", "$SYS", "$CONTROL/x", "$$", "$/"] {
            let code = client.subscribe_with(&[], topic.as_bytes(), 0);
            assert!(code == 0 || topic == "$share", "{topic}");
            client.send(&Publish::new(topic, "x").qos(1, 1).bytes(v));
            client.expect_ack(0x40, 1, if v == V::V5 { 0x87 } else { 0 });
            client.nothing();
        }
    }
    alive(&lan);
}

#[test]
fn fault_20_a_length_of_five_bytes_ends_the_connection() {
    let lan = Lan::start("");
    for v in BOTH {
        for first in [0x30, 0x82, 0xA2, 0x62, 0xC0, 0xE0] {
            ends(&lan, v, &[first, 0x80, 0x80, 0x80, 0x80, 0x01]);
        }
    }
    ends(&lan, V::V5, &packet(0x30, b"\x00\x01t\x80\x80\x80\x80\x01x"));
    ends(&lan, V::V5, &packet(0x82, b"\x00\x01\x80\x80\x80\x80\x01\x00\x01t\x00"));
    ends(&lan, V::V5, &packet(0xE0, b"\x00\x80\x80\x80\x80\x01"));
    assert!(lan.answer(b"\x10\x80\x80\x80\x80\x01").is_empty());
    assert!(
        lan.answer(&packet(0x10, b"\x00\x04MQTT\x05\x02\x00\x00\x80\x80\x80\x80\x01\x00\x01a")).is_empty()
    );
    alive(&lan);
}

/// A valid packet of each kind that a client may send.
fn valid(v: V) -> Vec<Vec<u8>> {
    let pair = [&[0x26][..], &text("k"), &text("v")].concat();
    let (of_message, of_subscribe): (&[u8], &[u8]) = if v == V::V5 {
        (b"\x01\x01\x02\x00\x00\x00\x09\x08\x00\x01r\x09\x00\x01c", b"\x0B\x07")
    } else {
        (&[], &[])
    };
    let publish =
        Publish::new("a/b", "payload").property(of_message).property(if v == V::V5 { &pair } else { &[] });
    let mut packets = vec![
        publish.clone().bytes(v),
        publish.clone().qos(1, 5).bytes(v),
        publish.qos(2, 6).bytes(v),
        subscribe(v, 7, of_subscribe, &[(b"a/+", 1), (b"$share/g/#", 2)]),
        unsubscribe(v, 8, &["a/+", "b"]),
        ack(0x40, 1),
        ack(0x50, 2),
        ack(0x62, 3),
        ack(0x70, 4),
        vec![0xC0, 0],
        vec![0xE0, 0],
    ];
    if v == V::V5 {
        packets.push(b"\x40\x0B\x00\x01\x10\x07\x1F\x00\x04text".to_vec());
        packets.push(b"\xE0\x07\x04\x05\x11\x00\x00\x00\x00".to_vec());
        packets.push(b"\xF0\x06\x18\x04\x15\x00\x01x".to_vec());
    }
    packets
}

#[test]
fn fault_21_packets_cut_or_changed_at_every_byte_crash_nothing() {
    let lan = Lan::start("");
    let changes: &[fn(u8) -> u8] = &[|byte| byte ^ 1, |byte| byte ^ 0x80, |_| 0xFF, |_| 0];
    for v in BOTH {
        let will = Will { qos: 1, ..Will::new("w", "x") };
        let connect = Connect::new(v, "a").user("", "").will(will).keep_alive(60).bytes();
        for at in 0..connect.len() {
            let mut client = lan.open(v);
            client.try_send(&connect[..at]);
            client.cut();
            for change in changes {
                let mut changed = connect.clone();
                changed[at] = change(changed[at]);
                let mut client = lan.open(v);
                client.try_send(&changed);
                client.cut();
            }
        }
        for packet in valid(v) {
            for at in 0..packet.len() {
                let mut client = lan.join(v, "b");
                client.try_send(&packet[..at]);
                client.cut();
                for change in changes {
                    let mut changed = packet.clone();
                    changed[at] = change(changed[at]);
                    let mut client = lan.join(v, "b");
                    client.try_send(&changed);
                    client.cut();
                }
            }
        }
        alive(&lan);
    }
}

#[test]
fn fault_22_empty_and_missing_names_and_passwords_crash_nothing() {
    let (_dir, users) = crate::takeover::users(&["known"]);
    let fields = [None, Some(Vec::new()), Some(b"known".to_vec())];
    // One broker for each name, since whoever fails again under the same name waits for the answer.
    std::thread::scope(|scope| {
        for v in BOTH {
            for user in &fields {
                let (users, fields) = (&users, &fields);
                scope.spawn(move || {
                    let lan = Lan::start(users);
                    for password in fields {
                        let connect = Connect {
                            user: user.clone(),
                            password: password.clone(),
                            ..Connect::new(v, "a")
                        };
                        let answer = lan_answer(&lan, &connect);
                        let let_in = answer.get(3) == Some(&0);
                        let expected = user.is_none() && (password.is_none() || v == V::V5);
                        assert_eq!(let_in, expected, "{connect:?}: {answer:?}");
                    }
                    // Flags that promise what isn't there.
                    for flags in [0x40, 0x80, 0xC0] {
                        let bytes = Connect::new(v, "a").flip(flags).bytes();
                        assert!(lan.answer(&bytes).is_empty(), "{flags:02X}");
                    }
                    alive(&lan);
                });
            }
        }
    });
    let lan = Lan::start(&users);
    lan.connect(&Connect::new(V::V311, "a").user("known", "known's")).nothing();
}

/// The answer to a CONNECT, whether it lets the client in or not.
fn lan_answer(lan: &Lan, connect: &Connect) -> Vec<u8> {
    let mut client = lan.open(connect.v);
    client.send(&connect.bytes());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    client.packet_by(deadline).unwrap_or_default()
}

#[test]
fn fault_23_a_property_longer_than_its_block_is_malformed() {
    let lan = Lan::start("");
    for body in [
        &b"\x00\x01t\x03\x03\x00\x09x"[..],
        b"\x00\x01t\x05\x26\x00\x01k\x00",
        b"\x00\x01t\x7Fx",
        b"\x00\x01t\x02\x02\x00",
        b"\x00\x01t\x01\x09",
    ] {
        let mut client = lan.join(V::V5, "a");
        client.send(&packet(0x30, body));
        client.closed(0x81);
    }
    alive(&lan);
}

#[test]
fn fault_24_a_receive_maximum_of_0_is_an_error_and_others_hold_as_they_stand() {
    let lan = Lan::start("inflight_max = 100\nqueue_messages_max = 1000");
    let connect = |max: [u8; 2]| Connect::new(V::V5, "s").property(&[0x21, max[0], max[1]]);
    assert!(lan.answer(&connect([0, 0]).bytes()).is_empty());
    let mut publisher = lan.join(V::V5, "publisher");
    for (max, window) in [([0, 1], 1), ([0, 99], 99), ([0xFF, 0xFF], 100), ([0x80, 0], 100)] {
        let mut s = lan.connect(&connect(max));
        s.subscribe("t", 1);
        (0..120).for_each(|_| publisher.say("t", 1, "x"));
        (0..window).for_each(|_| assert_eq!(s.message().text(), "x"));
        s.nothing();
        s.cut();
    }
}

#[test]
fn fault_25_malformed_shares_crash_nothing() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut client = lan.join(v, "a");
        for filter in [
            "$share",
            "$share/",
            "$share//t",
            "$share/+/t",
            "$share/#",
            "$share/g/",
            "$share/g",
            "$share/g/#/x",
        ] {
            assert!(client.subscribe_with(&[], filter.as_bytes(), 0) >= 0x80, "{filter}");
            client.unsubscribe(filter);
        }
        client.nothing();
    }
    assert_eq!(lan.count("subscriptions"), 0);
    alive(&lan);
}

#[test]
fn fault_28_a_second_connect_is_a_protocol_error() {
    let lan = Lan::start("");
    for v in BOTH {
        for second in BOTH {
            let mut client = lan.join(v, "a");
            client.send(&Connect::new(second, "b").bytes());
            client.closed(0x82);
            // Also in the same segment as the first.
            let both = [Connect::new(v, "a").bytes(), Connect::new(second, "b").bytes()].concat();
            assert_eq!(lan.answer(&both)[0], 0x20);
        }
    }
    alive(&lan);
}

/// Each bound of the broker: its key, the least and the most that the config takes.
const BOUNDS: &[(&str, &str, &str)] = &[
    ("packet_max", "\"1 KiB\"", "\"16 MiB\""),
    ("first_packet_max", "\"256 B\"", "\"1 MiB\""),
    ("connect_timeout", "\"100ms\"", "\"60s\""),
    ("connections_max", "1", "65000"),
    ("inflight_max", "1", "65535"),
    ("receive_max", "1", "65535"),
    ("queue_messages_max", "1", "1000000"),
    ("queue_max", "\"1 KiB\"", "\"1 GiB\""),
    ("queues_max", "\"1 KiB\"", "\"1 GiB\""),
    ("out_buffer_max", "\"4 KiB\"", "\"64 MiB\""),
    ("out_buffer_stall_max", "\"100ms\"", "\"10min\""),
    ("client_id_max", "\"23 B\"", "\"65535 B\""),
    ("topic_max", "\"16 B\"", "\"65535 B\""),
    ("topic_levels_max", "1", "1024"),
    ("subscriptions_max", "1", "100000"),
    ("filters_per_packet_max", "1", "100000"),
    ("will_max", "\"0 B\"", "\"1 MiB\""),
    ("topic_alias_max", "0", "65535"),
    ("user_properties_max", "0", "10000"),
    ("properties_max", "\"256 B\"", "\"1 MiB\""),
    ("keep_alive_max", "\"1s\"", "\"65535s\""),
    ("retained_messages_max", "0", "1000000"),
    ("retained_max", "\"0 B\"", "\"1 GiB\""),
    ("sessions_max", "1", "100000"),
    ("session_expiry_max", "\"1s\"", "\"3650d\""),
];

/// What a single client can do under any bounds.
fn smoke(config: &str) {
    let lan = Lan::start(config);
    let aliases = Connect::new(V::V5, "only").property(&[0x22, 0xFF, 0xFF]).property(&[0x21, 0xFF, 0xFF]);
    for connect in [aliases.clone(), aliases.resume()] {
        let mut client = lan.connect(&connect);
        client.subscribe("only", 2);
        for qos in 0..=2 {
            for payload in ["x", "y"] {
                let publish = Publish::new("only", payload).qos(qos, 5).bytes(V::V5);
                client.send(&publish);
                let mut came = 0;
                while came < if qos > 0 { 2 } else { 1 } {
                    let packet = client.packet();
                    match packet[0] >> 4 {
                        3 => {
                            let id = if qos > 0 { packet_id(&packet) } else { 0 };
                            match qos {
                                1 => client.send(&ack(0x40, id)),
                                2 => client.send(&[0x50, 3, id.to_be_bytes()[0], id.to_be_bytes()[1], 0x80]),
                                _ => {}
                            }
                        }
                        4 => {
                            assert!(packet.get(4).is_none_or(|code| *code < 0x80), "{config}: {packet:02X?}")
                        }
                        5 => {
                            client.send(&ack(0x62, 5));
                            came -= 1;
                        }
                        7 => {}
                        other => panic!("{config}: {other} {packet:02X?}"),
                    }
                    came += 1;
                }
            }
        }
        client.publish(&Publish::new("kept", "kept").retain());
        client.unsubscribe("only");
        client.subscribe("kept", 0);
        client.send(&[0xC0, 0]);
        while client.packet()[0] != 0xD0 {}
        client.cut();
    }
    lan.gateway.ask("status");
}

/// The packet identifier of a PUBLISH, whose remaining length takes one byte.
fn packet_id(publish: &[u8]) -> u16 {
    let at = 4 + usize::from(publish[2]) * 256 + usize::from(publish[3]);
    u16::from(publish[at]) << 8 | u16::from(publish[at + 1])
}

#[test]
fn fault_30_unusual_settings_serve_a_client_all_the_same() {
    let line = |(key, value): (&str, &str)| format!("{key} = {value}\n");
    let least: Vec<String> = BOUNDS.iter().map(|(key, least, _)| line((key, least))).collect();
    let most: Vec<String> = BOUNDS.iter().map(|(key, _, most)| line((key, most))).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| smoke(&least.concat()));
        scope.spawn(|| smoke(&most.concat()));
        for half in least.chunks(least.len().div_ceil(2)) {
            scope.spawn(move || half.iter().for_each(|line| smoke(line)));
        }
    });
    most.iter().for_each(|line| match line.starts_with("first_packet_max") {
        // It may not be more than all packets.
        true => smoke(&format!("packet_max = \"1 MiB\"\n{line}")),
        false => smoke(line),
    });
}
