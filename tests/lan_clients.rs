//! LAN clients on the gateway's broker: mosquitto_pub, mosquitto_sub and paho-mqtt, in every protocol version.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use support::{Gateway, Process, Python, Received, Tap, eventually, publish_with};

/// What each version needs so that a session outlives its connection.
const VERSIONS: [(&str, &[&str]); 3] = [("mqttv31", &[]), ("mqttv311", &[]), ("mqttv5", &["-x", "3600"])];

#[test]
fn mosquitto_pub_and_sub_round_trip_in_every_version_and_qos() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port;
    for (subscribing, _) in VERSIONS {
        let tap = Tap::subscribe_with(port, &format!("lan/{subscribing}"), &["-V", subscribing]);
        for (publishing, _) in VERSIONS {
            for qos in 0..=2 {
                let payload = format!("{publishing} with QoS {qos}");
                let topic = format!("lan/{subscribing}");
                publish_with(port, &topic, &payload, &["-V", publishing, "-q", &qos.to_string()]);
                let got = tap.wait_payload(&payload);
                assert_eq!((got.qos, got.retain), (qos, false), "{payload} to {subscribing}");
            }
        }
        let payloads: Vec<String> = tap.messages().into_iter().map(|message| message.payload).collect();
        assert_eq!(payloads.len(), 9, "each arrives once: {payloads:?}");
    }
}

#[test]
fn retained_messages_reach_later_subscribers_until_they_are_cleared() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port;
    for (version, _) in VERSIONS {
        let (topic, filter) = (format!("kept/{version}/a"), format!("kept/{version}/#"));
        let early = Tap::subscribe_with(port, &filter, &["-V", version]);
        publish_with(port, &topic, "first", &["-V", version, "-q", "1", "-r"]);
        publish_with(port, &topic, "second", &["-V", version, "-q", "1", "-r"]);
        assert!(!early.wait_payload("second").retain, "{version}: it was subscribed before");
        let late = Tap::subscribe_with(port, &filter, &["-V", version]);
        assert!(late.wait_payload("second").retain, "{version}: it came from the store");
        // An empty payload clears; a marker behind it shows that nothing else came.
        publish_with(port, &topic, "", &["-V", version, "-q", "1", "-r"]);
        let after = Tap::subscribe_with(port, &filter, &["-V", version]);
        publish_with(port, &format!("kept/{version}/marker"), "marker", &["-V", version, "-q", "1"]);
        after.wait_payload("marker");
        late.wait_payload("marker");
        assert_eq!(payloads(&after), ["marker"], "{version}");
        assert_eq!(payloads(&late), ["second", "", "marker"], "{version}: only the last one was kept");
    }
}

#[test]
fn a_durable_subscriber_gets_all_it_missed_once_and_in_order() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port;
    for (version, more) in VERSIONS {
        let arguments: Vec<&str> = ["-V", version].into_iter().chain(more.iter().copied()).collect();
        let (topic, client_id) = (format!("durable/{version}"), format!("durable-{version}"));
        Tap::register(port, &topic, &client_id, &arguments);
        let mut publisher = Python::Paho2
            .start("publisher.py", &[&port.to_string(), "burst", &topic, "", "--count", "200", "--qos", "1"]);
        publisher.wait_line("published 200");
        publish_with(port, &topic, "twice", &["-q", "2"]);
        let tap = Tap::resume(port, &topic, &client_id, &arguments);
        let last = tap.wait_payload("twice");
        assert_eq!(last.qos, 2, "{version}");
        let expected: Vec<String> =
            (0..200).map(|number| number.to_string()).chain(["twice".to_owned()]).collect();
        assert_eq!(payloads(&tap), expected, "{version}");
    }
}

#[test]
fn a_will_is_published_when_a_client_dies_and_not_when_it_leaves() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port;
    let tap = Tap::subscribe(port, "wills/#");
    for (version, _) in VERSIONS {
        let topic = format!("wills/{version}");
        let will = |payload: &'static str, topic: &str| {
            let arguments =
                ["-V", version, "--will-topic", topic, "--will-payload", payload, "--will-qos", "1"];
            Tap::subscribe_with(port, "nothing", &arguments)
        };
        will("left", &topic).leave();
        will("died", &topic).kill();
        tap.wait(&format!("the will of a {version} client that died"), |message| {
            message.topic == topic && message.payload == "died"
        });
    }
    // With MQTT 5, mosquitto_sub leaves with 0x04, "disconnect with will message": it asks for its will.
    let expected = ["mqttv31 died", "mqttv311 died", "mqttv5 left", "mqttv5 died"];
    let got: Vec<String> = tap
        .messages()
        .iter()
        .map(|message| format!("{} {}", &message.topic["wills/".len()..], message.payload))
        .collect();
    assert_eq!(got, expected);
}

#[test]
fn paho_clients_of_both_generations_round_trip_in_every_version_and_qos() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port.to_string();
    for python in [Python::Paho1, Python::Paho2] {
        for protocol in ["3", "4", "5"] {
            let topic = format!("paho/{python:?}/{protocol}");
            let mut subscriber =
                python.start("subscriber.py", &[&port, "listener", &topic, "--protocol", protocol]);
            subscriber.wait_line("subscribed");
            let mut publishers: Vec<Process> = ["0", "1", "2"]
                .map(|qos| {
                    let client_id = format!("speaker-{qos}");
                    let payload = format!("q{qos}-");
                    let arguments = [
                        &port,
                        &client_id,
                        &topic,
                        &payload,
                        "--protocol",
                        protocol,
                        "--qos",
                        qos,
                        "--count",
                        "30",
                    ];
                    python.start("publisher.py", &arguments)
                })
                .into();
            for publisher in &mut publishers {
                publisher.wait_line("published 30");
            }
            let messages = eventually(&format!("{topic}: all 90 arrive"), || {
                let messages = support::received(&subscriber);
                (messages.len() >= 90).then_some(messages)
            });
            for qos in 0..=2_u8 {
                let got: Vec<&str> = messages
                    .iter()
                    .filter(|message| message.qos == qos)
                    .map(|message| message.payload.as_str())
                    .collect();
                let expected: Vec<String> = (0..30).map(|number| format!("q{qos}-{number}")).collect();
                assert_eq!(got, expected, "{topic}: each once, in order");
            }
        }
    }
}

fn payloads(tap: &Tap) -> Vec<String> {
    tap.messages().into_iter().map(|Received { payload, .. }| payload).collect()
}
