//! An upstream that sends the gateway elsewhere, is wanted at times only, takes topic aliases, or can't stomach a message.
//! With a real Mosquitto, and with an upstream written by hand for what Mosquitto never does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests and their helpers"
)]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use fieldgate::mqtt::{self, Packet, Version};
use serde_json::Value as Json;
use support::{
    Gateway, Hello, Mosquitto, Process, Relay, Tap, Wire, eventually, fieldgate, free_port, publish, within,
};

fn upstream(port: u16, keys: &str) -> String {
    format!(
        "[[upstream]]\nname = \"cloud\"\nhost = \"127.0.0.1\"\nport = {port}\nbackoff_min = \"100ms\"\n\
         backoff_max = \"1s\"\n{keys}\n[[upstream.map]]\nfilter = \"d/#\"\n"
    )
}

/// An upstream that says one thing to each client and closes.
fn says(answer: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            if matches!(stream.read(&mut buffer), Ok(1..)) {
                let _ = stream.write_all(&answer);
                // Until the client has gone.
                while matches!(stream.read(&mut buffer), Ok(1..)) {}
            }
        }
    });
    port
}

/// CONNACK with a reason and a Server Reference (5.0, 3.2.2.3.16).
fn refer(reason: u8, place: &str) -> Vec<u8> {
    let length = u8::try_from(place.len()).unwrap();
    let mut packet = vec![0x20, length + 6, 0, reason, length + 3, 0x1C, 0, length];
    packet.extend(place.as_bytes());
    packet
}

fn state(status: &Json) -> &str {
    status["upstreams"][0]["state"].as_str().unwrap_or_default()
}

#[test]
fn an_upstream_sends_the_gateway_to_another_server_that_is_allowed_and_to_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, "d/#");
    let place = format!("127.0.0.1:{}", mosquitto.port);
    for (reason, allowed) in [(0x9C, true), (0x9D, true), (0x9C, false)] {
        let from = says(refer(reason, &format!("elsewhere.example:1 {place}")));
        let hosts = if allowed { format!("redirect_hosts = [\"{place}\"]") } else { String::new() };
        let mut gateway = Gateway::start(&upstream(from, &format!("version = \"5\"\n{hosts}")));
        publish(gateway.lan_port, "d/x", &format!("{reason} {allowed}"));
        if allowed {
            let status = gateway.wait_online();
            assert_eq!(status["upstreams"][0]["address"], place);
            tap.wait_payload(&format!("{reason} {allowed}"));
        } else {
            let words = "to follow it, write redirect_hosts = [\"elsewhere.example:1\"]";
            gateway.wait("the refusal is told", |status| {
                status["upstreams"][0]["error"].as_str().is_some_and(|error| error.contains(words))
            });
        }
        gateway.stop();
    }
    assert!(tap.messages().iter().all(|message| message.payload != "156 false"));
}

#[test]
fn a_lazy_upstream_is_connected_only_while_messages_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, "d/#");
    let status_tap = Tap::subscribe(mosquitto.port, &Gateway::topic("status"));
    let keys = "start = \"lazy\"\nthreshold = 3\nidle_timeout = \"1s\"";
    let mut gateway = Gateway::start(&upstream(mosquitto.port, keys));
    for round in 1..=2 {
        publish(gateway.lan_port, "d/x", "first");
        publish(gateway.lan_port, "d/x", "second");
        let status = gateway.wait("two wait", |status| status["upstreams"][0]["backlog"]["messages"] == 2);
        assert_eq!((state(&status), &status["problems"]), ("idle", &Json::Array(Vec::new())));
        publish(gateway.lan_port, "d/x", &format!("third {round}"));
        tap.wait_payload(&format!("third {round}"));
        gateway.wait("idle again", |status| {
            state(status) == "idle" && status["upstreams"][0]["connections"] == round
        });
        let is_idle = |message: &support::Received| {
            let status = message.json();
            status["state"] == "offline"
                && status["reason"] == "idle"
                && status["epoch"] == format!("1-{round}")
        };
        status_tap.wait("upstream is told", is_idle);
    }
    // A person can have it connected without messages.
    assert!(connect(&gateway, "cloud").0);
    gateway.wait("it was connected", |status| status["upstreams"][0]["connections"] == 3);
    gateway.stop();
}

/// `fieldgate upstream NAME connect`: whether it went well, and what it said.
fn connect(gateway: &Gateway, name: &str) -> (bool, String) {
    let mut command = fieldgate();
    command.args(["upstream", name, "connect", "--config"]).arg(gateway.config());
    let (status, text) = Process::run("fieldgate", &mut command);
    (status.success(), text)
}

#[test]
fn an_upstream_that_is_wanted_once_stays_away_until_a_person_wants_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, "d/#");
    let relay = Relay::to(mosquitto.port);
    let mut gateway = Gateway::start(&upstream(relay.port, "start = \"once\""));
    gateway.wait_online();
    relay.cut();
    let status = gateway.wait("it has ended", |status| state(status) == "ended");
    let problem = status["problems"][0].as_str().unwrap();
    assert!(problem.contains("fieldgate upstream cloud connect begins another"), "{problem}");
    relay.open();
    publish(gateway.lan_port, "d/x", "waits");
    let (good, text) = connect(&gateway, "clod");
    assert!(!good && text.contains("there is no upstream \"clod\""), "{text}");
    assert_eq!((state(&gateway.ask("status")), relay.connections()), ("ended", 1));
    let (good, text) = connect(&gateway, "cloud");
    assert!(good && text.contains("upstream cloud: connecting"), "{text}");
    tap.wait_payload("waits");
    gateway.stop();
}

#[test]
fn topics_that_go_by_alias_save_their_bytes_and_arrive_in_full() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let listener = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_topic_alias 50\n");
    let mosquitto = Mosquitto::start_with(dir.path(), port, &listener);
    let name = |n: usize| format!("d/plant-2/line-{}/temperature", n % 10);
    let round = |max: u32| {
        let tap = Tap::subscribe(mosquitto.port, "d/#");
        let health = Tap::subscribe_with(mosquitto.port, &Gateway::topic("+"), &["-R"]);
        let keys =
            format!("version = \"5\"\nwatch_status = false\ntopic_alias_max = {max}\nhealth_every = \"1d\"");
        let mut gateway = Gateway::start(&upstream(mosquitto.port, &keys));
        gateway.wait_online();
        // The first one goes out with the connection, the next in a day.
        health.wait("the first word of health", |message| message.topic == Gateway::topic("health"));
        let told = health.messages().len();
        let begun = gateway.ask("status")["upstreams"][0]["traffic"]["sent_today"].as_u64().unwrap();
        let (mut wire, code) =
            Wire::connect(gateway.lan_port, 4, Hello { client_id: "lan", ..Hello::default() });
        assert_eq!(code, 0);
        for n in 0..500 {
            wire.publish(&name(n), &format!("{n}"), false);
        }
        tap.wait_payload("499");
        let status = gateway.wait_drained();
        let got: Vec<_> = tap.messages().iter().map(|message| message.topic.clone()).collect();
        assert_eq!(got, (0..500).map(name).collect::<Vec<_>>());
        let sent = status["upstreams"][0]["traffic"]["sent_today"].as_u64().unwrap() - begun;
        publish(mosquitto.port, &Gateway::topic("marker"), "marker");
        health.wait_payload("marker");
        let is_alone = health.messages().len() == told + 1;
        gateway.stop();
        tap.kill();
        is_alone.then_some(sent)
    };
    // On a busy machine a word of health may go out in between, and would be counted.
    let alone = |max| (0..10).find_map(|_| round(max)).expect("a round without a word of health");
    let sent = [alone(0), alone(64)];
    println!("500 messages of 3 bytes, 10 topics of 28 bytes: {} bytes, by alias {}", sent[0], sent[1]);
    // 490 times the topic, less the property, and 10 times the property more.
    assert!(sent[0] - sent[1] >= 490 * (28 - 3) - 10 * 3 - 100, "{sent:?}");
    assert!(sent[1] * 2 < sent[0], "{sent:?}");
}

/// A 3.1.1 upstream that closes without a word when it gets a certain payload; what it took.
fn touchy(poison: &'static [u8]) -> (u16, std::sync::mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (took, taken) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let took = took.clone();
            std::thread::spawn(move || serve_touchy(stream, poison, &took));
        }
    });
    (port, taken)
}

fn serve_touchy(mut stream: TcpStream, poison: &[u8], took: &std::sync::mpsc::Sender<Vec<u8>>) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..read]);
        while let Some(frame) = mqtt::frame(&bytes, usize::MAX).unwrap() {
            let used = frame.len;
            let answer = match mqtt::decode(frame, Version::V311).unwrap() {
                Packet::Connect(_) => vec![0x20, 2, 0, 0],
                Packet::PingReq => vec![0xD0, 0],
                Packet::Publish(publish) if publish.payload == poison => return,
                Packet::Publish(publish) => {
                    let _ = took.send(publish.payload.to_vec());
                    let [high, low] = publish.packet_id.unwrap().get().to_be_bytes();
                    vec![0x40, 2, high, low]
                }
                _ => Vec::new(),
            };
            let _ = stream.write_all(&answer);
            bytes.drain(..used);
        }
    }
}

#[test]
fn a_message_at_which_a_3_1_1_upstream_closes_each_time_becomes_a_dead_letter_and_the_rest_goes_on() {
    let (port, taken) = touchy(b"poison");
    let mut gateway = Gateway::start(&upstream(port, "watch_status = false"));
    gateway.wait_online();
    for payload in ["before", "poison", "after"] {
        publish(gateway.lan_port, "d/x", payload);
    }
    within(Duration::from_secs(120), "the rest goes on", || {
        taken.try_iter().any(|payload| payload == b"after").then_some(())
    });
    gateway.wait_drained();
    let letters = gateway.ask("deadletters");
    let letter = &letters[0]["refused"][0];
    assert_eq!(letter["topic"], "d/x");
    assert_eq!(letter["reason"], "upstream closes the connection each time that it is sent, without a word");
    assert_eq!(letters[0]["refused"].as_array().unwrap().len(), 1);
    eventually("the log has it", || {
        gateway.log().contains("upstream refused a message for good").then_some(())
    });
    gateway.stop();
}
