//! Maps that bring messages in, and both ways, with a real broker: as upstream, and as a bridge into the gateway.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::collections::BTreeMap;

use support::{Gateway, Mosquitto, Relay, Tap, free_port, publish, publish_with, upstream};

/// `lan/#` here is `cloud/#` there.
const BOTH: &str = "[[upstream.map]]\nfilter = \"lan/#\"\ndirection = \"both\"\nlocal_prefix = \"lan/\"\n\
                    remote_prefix = \"cloud/\"\nqos = 2\n";

fn payloads(tap: &Tap) -> Vec<String> {
    tap.messages().into_iter().map(|message| message.payload).collect()
}

/// How often each payload came.
fn times(tap: &Tap) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for payload in payloads(tap) {
        *times.entry(payload).or_default() += 1;
    }
    times
}

fn inward_is_subscribed(gateway: &mut Gateway) {
    gateway.wait("messages come in", |status| {
        let upstream = &status["upstreams"][0];
        upstream["state"] == "online"
            && upstream["inward"]["not_subscribed"].as_array().is_some_and(Vec::is_empty)
    });
}

/// A message there and back shows that all before it went its way: one stream keeps its order.
fn settle(lan: &Tap, cloud: &Tap, gateway: &Gateway, mosquitto: &Mosquitto, name: &str) {
    let (up, down) = (format!("{name} up"), format!("{name} down"));
    publish(gateway.lan_port, "lan/mark", &up);
    cloud.wait_payload(&up);
    publish(mosquitto.port, "cloud/mark", &down);
    lan.wait_payload(&down);
}

#[test]
fn messages_go_both_ways_under_other_names_and_none_comes_back() {
    for version in ["3.1.1", "5"] {
        let dir = tempfile::tempdir().unwrap();
        let mosquitto = Mosquitto::start(dir.path());
        publish_with(mosquitto.port, "cloud/kept", "retained there", &["-q", "1", "-r"]);
        let config = format!("{}version = \"{version}\"\n{BOTH}", upstream(mosquitto.port));
        let mut gateway = Gateway::start(&config);
        inward_is_subscribed(&mut gateway);
        let (lan, cloud) =
            (Tap::subscribe(gateway.lan_port, "lan/#"), Tap::subscribe(mosquitto.port, "cloud/#"));
        lan.wait_payload("retained there");
        for number in 0..20 {
            let qos = (number % 3).to_string();
            publish_with(gateway.lan_port, "lan/a/b", &format!("up {number}"), &["-q", &qos]);
            publish_with(mosquitto.port, "cloud/a/b", &format!("down {number}"), &["-q", &qos]);
        }
        publish_with(gateway.lan_port, "lan/state", "up retained", &["-q", "1", "-r"]);
        publish_with(mosquitto.port, "cloud/state2", "down retained", &["-q", "1", "-r"]);
        for mark in ["first", "second"] {
            settle(&lan, &cloud, &gateway, &mosquitto, mark);
        }
        for (tap, topics) in [(&lan, "lan/"), (&cloud, "cloud/")] {
            let times = times(tap);
            assert!(times.values().all(|times| *times == 1), "MQTT {version}: {topics}: {times:?}");
            assert_eq!(times.keys().filter(|payload| payload.starts_with("up ")).count(), 21);
            assert_eq!(times.keys().filter(|payload| payload.starts_with("down ")).count(), 21);
            assert!(tap.messages().iter().all(|message| message.topic.starts_with(topics)));
        }
        // QoS as published, at most the map's; upwards 2 goes as 1.
        let qos = |tap: &Tap, payload: &str| tap.wait_payload(payload).qos;
        assert_eq!([0, 1, 2].map(|n| qos(&lan, &format!("down {n}"))), [0, 1, 2], "MQTT {version}");
        assert_eq!([0, 1, 2].map(|n| qos(&cloud, &format!("up {n}"))), [0, 1, 1], "MQTT {version}");
        // Retained on the other side, too: also behind a crash of the gateway.
        Tap::subscribe(mosquitto.port, "cloud/state").wait("kept", |message| message.retain);
        gateway.kill9();
        mosquitto_is_cut_off_from(&mut gateway, &config);
        let late = Tap::subscribe(gateway.lan_port, "lan/#");
        late.wait("kept", |message| message.retain && message.payload == "down retained");
    }
}

/// Starts the gateway without an upstream that could send anything again.
fn mosquitto_is_cut_off_from(gateway: &mut Gateway, config: &str) {
    let port = free_port();
    let (before, rest) = config.split_once("port = ").unwrap();
    let (_, behind) = rest.split_once('\n').unwrap();
    gateway.configure(&format!("{before}port = {port}\n{behind}"));
    gateway.start_again();
}

#[test]
fn nothing_is_lost_either_way_while_each_side_is_killed_in_turn() {
    const STATE: &str = "$SYS/broker/connection/gw/state";
    for version in ["3.1.1", "5"] {
        let dir = tempfile::tempdir().unwrap();
        let mut mosquitto = Mosquitto::start(dir.path());
        let relay = Relay::to(mosquitto.port);
        let config = format!(
            "{}version = \"{version}\"\nnotification_topic = \"{STATE}\"\n{BOTH}",
            upstream(relay.port)
        );
        let mut gateway = Gateway::start(&config);
        inward_is_subscribed(&mut gateway);
        let state = Tap::subscribe(gateway.lan_port, STATE);
        state.wait("the link is there", |message| message.retain && message.payload == "1");
        relay.cut();
        state.wait_payload("0");
        relay.open();
        inward_is_subscribed(&mut gateway);
        drop(state);
        Tap::subscribe(gateway.lan_port, STATE).wait("it is there again", |message| message.payload == "1");
        Tap::register(gateway.lan_port, "lan/#", "lan-reader", &[]);
        Tap::register(mosquitto.port, "cloud/#", "cloud-reader", &[]);
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for round in 0..5 {
            let send = |port: u16, topic: &str, sent: &mut Vec<String>| {
                for qos in ["1", "2", "1", "2"] {
                    let payload = format!("{topic} {round} {}", sent.len());
                    publish_with(port, topic, &payload, &["-q", qos]);
                    sent.push(payload);
                }
            };
            send(gateway.lan_port, "lan/x", &mut up);
            send(mosquitto.port, "cloud/y", &mut down);
            match round {
                0 | 3 => {
                    gateway.kill9();
                    send(mosquitto.port, "cloud/y", &mut down);
                    gateway.start_again();
                }
                1 => {
                    mosquitto.stop();
                    send(gateway.lan_port, "lan/x", &mut up);
                    mosquitto.start_again();
                }
                2 => {
                    relay.cut();
                    send(gateway.lan_port, "lan/x", &mut up);
                    send(mosquitto.port, "cloud/y", &mut down);
                    relay.open();
                }
                _ => {}
            }
        }
        let lan = Tap::resume(gateway.lan_port, "lan/#", "lan-reader", &[]);
        let cloud = Tap::resume(mosquitto.port, "cloud/#", "cloud-reader", &[]);
        up.iter().for_each(|payload| drop(cloud.wait_payload(payload)));
        down.iter().for_each(|payload| drop(lan.wait_payload(payload)));
        gateway.wait_drained();
        settle(&lan, &cloud, &gateway, &mosquitto, "end");
        // Up is at least once; down QoS 2 was exactly once but where the gateway itself was killed.
        let more = |tap: &Tap| payloads(tap).len() - times(tap).len();
        println!(
            "MQTT {version}: {} up, {} came twice; {} down, {} came twice",
            up.len(),
            more(&cloud),
            down.len(),
            more(&lan)
        );
        assert!(more(&cloud) + more(&lan) < up.len(), "it does not go round");
    }
}

#[test]
fn a_bridge_of_mosquitto_into_the_gateway_goes_both_ways_and_loses_nothing() {
    for version in ["mqttv311", "mqttv50"] {
        let dir = tempfile::tempdir().unwrap();
        let mut gateway = Gateway::start("");
        let port = free_port();
        let bridge = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nconnection gateway\naddress 127.0.0.1:{}\n\
             bridge_protocol_version {version}\ntopic # both 2 lan/ cloud/\ncleansession false\n\
             restart_timeout 1\nremote_clientid bridge\nlocal_clientid local-bridge\n",
            gateway.lan_port
        );
        let mut mosquitto = Mosquitto::start_with(dir.path(), port, &bridge);
        let near = Tap::subscribe(mosquitto.port, "lan/#");
        let far = Tap::subscribe(gateway.lan_port, "cloud/#");
        // It is subscribed once something comes.
        support::eventually("the bridge is there", || {
            publish(gateway.lan_port, "cloud/probe", "probe");
            payloads(&near).contains(&"probe".to_owned()).then_some(())
        });
        for number in 0..20 {
            let qos = (number % 3).to_string();
            publish_with(mosquitto.port, "lan/a", &format!("out {number}"), &["-q", &qos]);
            publish_with(gateway.lan_port, "cloud/b", &format!("in {number}"), &["-q", &qos]);
        }
        publish(mosquitto.port, "lan/mark", "mark out");
        publish(gateway.lan_port, "cloud/mark", "mark in");
        for tap in [&near, &far] {
            tap.wait_payload("mark out");
            tap.wait_payload("mark in");
            let times = times(tap);
            let once =
                times.iter().filter(|(payload, times)| **times == 1 && payload.as_str() != "probe").count();
            assert_eq!(once, 42, "{version}: {times:?}");
        }
        drop((near, far));
        // Each side away in turn, with sessions on both.
        Tap::register(mosquitto.port, "lan/#", "near", &[]);
        Tap::register(gateway.lan_port, "cloud/#", "far", &[]);
        gateway.kill9();
        for number in 0..10 {
            publish_with(mosquitto.port, "lan/a", &format!("late out {number}"), &["-q", "2"]);
        }
        gateway.start_again();
        // Over 5.0 this broker asks for a session that ends with the connection: nothing can wait for it.
        let keeps_session = version == "mqttv311";
        mosquitto.stop();
        for number in 0..10 {
            publish_with(gateway.lan_port, "cloud/b", &format!("late in {number}"), &["-q", "2"]);
        }
        mosquitto.start_again();
        let near = Tap::resume(mosquitto.port, "lan/#", "near", &[]);
        let far = Tap::resume(gateway.lan_port, "cloud/#", "far", &[]);
        for number in 0..10 {
            if keeps_session {
                near.wait_payload(&format!("late in {number}"));
            }
            far.wait_payload(&format!("late out {number}"));
        }
    }
}

#[test]
fn two_gateways_in_a_row_pass_messages_both_ways_without_a_loop() {
    for version in ["3.1.1", "5"] {
        let mut second = Gateway::start("");
        // Both are called the same, and the second one's own topics are closed to the first.
        let own = "[[upstream.map]]\nfilter = \"fieldgate/gw/#\"\nremote_prefix = \"sites/first/\"\n";
        let config = format!(
            "{}version = \"{version}\"\nclient_id = \"first\"\n{BOTH}{own}",
            upstream(second.lan_port)
        );
        let mut first = Gateway::start(&config);
        inward_is_subscribed(&mut first);
        let (near, far) =
            (Tap::subscribe(first.lan_port, "lan/#"), Tap::subscribe(second.lan_port, "cloud/#"));
        for number in 0..10 {
            publish(first.lan_port, "lan/a", &format!("up {number}"));
            publish(second.lan_port, "cloud/a", &format!("down {number}"));
        }
        for mark in ["one", "two"] {
            publish(first.lan_port, "lan/mark", &format!("{mark} up"));
            far.wait_payload(&format!("{mark} up"));
            publish(second.lan_port, "cloud/mark", &format!("{mark} down"));
            near.wait_payload(&format!("{mark} down"));
        }
        for tap in [&near, &far] {
            let times = times(tap);
            assert!(
                times.values().all(|times| *times == 1) && times.len() == 24,
                "MQTT {version}: {times:?}"
            );
        }
        first.stop();
        second.stop();
    }
}
