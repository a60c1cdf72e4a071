//! An acknowledgement means safe: what a LAN client was told is kept survives an outage with a `kill -9` in it, and
//! what can't be kept isn't acknowledged.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::{
    Gateway, Mosquitto, PATIENCE, Process, Tap, client, eventually, publish, publish_with, upstream,
};

/// An upstream that takes what LAN clients publish below `plant`.
fn upstream_of_plant(port: u16) -> String {
    format!("{}[[upstream.map]]\nfilter = \"plant/#\"\n", upstream(port))
}

#[test]
fn what_a_lan_client_was_acknowledged_arrives_upstream_after_an_outage_and_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(dir.path());
    Tap::register(mosquitto.port, "plant/#", "collector", &[]);
    let mut gateway = Gateway::start(&upstream_of_plant(mosquitto.port));
    gateway.wait_online();
    mosquitto.stop();
    gateway.wait("the outage is noticed", |status| status["upstreams"][0]["state"] != "online");

    // mosquitto_pub ends well only with its PUBACK, or PUBCOMP.
    let mut sent = Vec::new();
    for number in 0..12 {
        let qos = if number % 3 == 0 { "2" } else { "1" };
        let payload = format!("message {number}");
        publish_with(gateway.lan_port, "plant/pump", &payload, &["-q", qos]);
        sent.push(payload);
    }
    gateway.kill9();
    gateway.start_again();
    mosquitto.start_again();
    gateway.wait_online();
    gateway.wait_drained();

    let collector = Tap::resume(mosquitto.port, "plant/#", "collector", &[]);
    for payload in &sent {
        collector.wait_payload(payload);
    }
    let mut first = Vec::new();
    for message in collector.messages() {
        if !first.contains(&message.payload) {
            first.push(message.payload);
        }
    }
    assert_eq!(first, sent, "in the order of publishing");
}

#[test]
fn an_acknowledgement_waits_until_upstream_has_it_where_the_disk_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, "plant/#");
    let mut gateway = Gateway::new(&upstream_of_plant(mosquitto.port));
    // A file stands where the store should be: nothing can be written, and the gateway runs all the same.
    std::fs::write(gateway.data_dir(), "in the way").unwrap();
    gateway.start_again();
    gateway.wait_online();
    publish(gateway.lan_port, "plant/online", "acknowledged by upstream");
    tap.wait_payload("acknowledged by upstream");
    drop(tap);

    mosquitto.stop();
    gateway.wait("the outage is noticed", |status| status["upstreams"][0]["state"] != "online");
    let mut waiting = Process::start("mosquitto_pub", &mut publisher(gateway.lan_port, "plant/offline"));
    let backlog = |gateway: &Gateway| gateway.ask("backlog")[0]["messages"].as_u64();
    eventually("it is in the outbox's memory", || (backlog(&gateway) == Some(1)).then_some(()));
    // Longer than any commit interval.
    let until = Instant::now() + Duration::from_secs(2);
    eventually("two seconds pass", || (Instant::now() > until).then_some(()));
    assert!(waiting.is_running(), "acknowledged although it is nowhere safe: {}", waiting.text());
    // What goes nowhere durable waits for nobody.
    publish(gateway.lan_port, "elsewhere", "at once");

    mosquitto.start_again();
    assert!(waiting.wait_end(PATIENCE).success(), "acknowledged once upstream has it: {}", waiting.text());
}

fn publisher(port: u16, topic: &str) -> Command {
    let mut command = client("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-t", topic, "-m", "waits"]);
    command
}
