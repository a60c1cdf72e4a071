//! Sessions, their messages and retained messages survive `kill -9` from the moment that they were acknowledged: real
//! clients, the real gateway, its real store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::collections::BTreeMap;

use support::{Gateway, PATIENCE, Process, Python, Tap, client, eventually, publish_with};

/// A subscriber with a persistent session.
fn subscribe(port: u16) -> Tap {
    Tap::resume(port, "plant/#", "sleeper", &[])
}

fn payloads(tap: &Tap) -> Vec<String> {
    tap.messages().into_iter().map(|message| message.payload).collect()
}

#[test]
fn what_was_acknowledged_for_an_absent_session_arrives_after_a_kill_and_qos_2_once() {
    let mut gateway = Gateway::start("");
    Tap::register(gateway.lan_port, "plant/#", "sleeper", &[]);
    let mut sent = Vec::new();
    for number in 0..12 {
        let qos = if number % 3 == 0 { "1" } else { "2" };
        let payload = format!("message {number}");
        // It ends well only with its PUBACK, or PUBCOMP.
        publish_with(gateway.lan_port, "plant/pump", &payload, &["-q", qos]);
        sent.push(payload);
        if number % 4 == 3 {
            gateway.kill9();
            gateway.start_again();
        }
    }
    let tap = subscribe(gateway.lan_port);
    for payload in &sent {
        tap.wait_payload(payload);
    }
    // mosquitto_sub shows a message with QoS 2 once it has PUBREL, so the order says nothing.
    let (mut got, mut expected) = (payloads(&tap), sent);
    got.sort();
    expected.sort();
    assert_eq!(got, expected, "each once");
    drop(tap);
    // Long enough that its acknowledgements are on disk.
    gateway.stop();
    gateway.start_again();
    publish_with(gateway.lan_port, "plant/pump", "the last", &["-q", "2"]);
    let tap = subscribe(gateway.lan_port);
    tap.wait_payload("the last");
    assert_eq!(payloads(&tap), ["the last"], "what it had acknowledged does not come again");
}

#[test]
fn retained_messages_are_there_after_a_kill_as_they_were_acknowledged() {
    let mut gateway = Gateway::start("");
    let port = gateway.lan_port;
    let retain = |topic: &str, payload: &str| publish_with(port, topic, payload, &["-q", "1", "-r"]);
    retain("r/kept", "old");
    retain("r/kept", "new");
    retain("r/cleared", "x");
    publish_with(port, "r/cleared", "", &["-q", "1", "-r"]);
    gateway.kill9();
    gateway.start_again();
    let tap = Tap::subscribe(port, "r/#");
    tap.wait_payload("new");
    publish_with(port, "r/end", "end", &["-q", "1"]);
    tap.wait_payload("end");
    assert_eq!(payloads(&tap), ["new", "end"]);
    drop(tap);

    // A clean stop keeps those that nobody was promised as well.
    publish_with(port, "r/unpromised", "kept too", &["-r"]);
    gateway.stop();
    gateway.start_again();
    Tap::subscribe(port, "r/unpromised").wait_payload("kept too");
}

#[test]
fn without_persistence_nothing_outlives_the_gateway() {
    let mut gateway = Gateway::start("[broker]\npersistence = false\n");
    let port = gateway.lan_port;
    publish_with(port, "r/kept", "x", &["-q", "1", "-r"]);
    gateway.stop();
    gateway.start_again();
    let tap = Tap::subscribe(port, "r/#");
    publish_with(port, "r/end", "end", &["-q", "1"]);
    tap.wait_payload("end");
    assert_eq!(payloads(&tap), ["end"]);
    assert!(!gateway.data_dir().join("state").exists());
}

#[test]
fn the_will_of_a_client_that_was_connected_at_a_kill_goes_out_at_the_next_start() {
    let mut gateway = Gateway::start("");
    let port = gateway.lan_port.to_string();
    Tap::register(gateway.lan_port, "plant/#", "sleeper", &[]);
    let mut command = client("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &port, "-t", "x", "-i", "willed", "-c", "-q", "1", "-d"]);
    command.args(["--will-topic", "plant/state", "--will-payload", "offline", "--will-qos", "1"]);
    let mut willed = Process::start("mosquitto_sub", &mut command);
    // SUBACK comes once the session is on disk, and its will with it.
    eventually("it is subscribed", || willed.text().contains("Subscribed").then_some(()));
    gateway.kill9();
    willed.kill9();
    gateway.start_again();
    subscribe(gateway.lan_port).wait_payload("offline");
}

/// Twenty kills under load: a client with a persistent session publishes with QoS 1 and 2, another one with a persistent
/// session subscribes, and both come back after each kill.
#[test]
fn twenty_kills_under_load_lose_nothing_that_was_acknowledged_and_double_no_qos_2() {
    let mut gateway = Gateway::start("");
    let port = gateway.lan_port.to_string();
    let run = |role: &str| Python::Paho2.start("durable.py", &[role, &port]);
    let mut subscriber = run("subscriber");
    eventually("it is subscribed", || subscriber.text().contains("subscribed").then_some(()));
    let mut publisher = run("publisher");
    let acknowledged =
        |publisher: &Process| publisher.text().lines().filter(|l| l.starts_with("ack ")).count();
    for round in 0..20_usize {
        let before = acknowledged(&publisher);
        // A little load between two kills, cut at another moment each time.
        let more = 3 + round * 7 % 30;
        eventually("messages are acknowledged", || (acknowledged(&publisher) >= before + more).then_some(()));
        gateway.kill9();
        gateway.start_again();
    }
    publisher.signal(rustix::process::Signal::TERM);
    assert!(publisher.wait_end(PATIENCE).success(), "{}", publisher.text());
    let sent: Vec<String> =
        publisher.text().lines().filter_map(|line| line.strip_prefix("ack ").map(str::to_owned)).collect();
    assert!(sent.len() > 20 * 3);
    let got = eventually("all that was acknowledged arrives", || {
        let text = subscriber.text();
        let got: Vec<String> =
            text.lines().filter_map(|line| line.strip_prefix("got ").map(str::to_owned)).collect();
        sent.iter().all(|payload| got.contains(payload)).then_some(got)
    });
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for payload in &got {
        *times.entry(payload).or_default() += 1;
    }
    let doubled: Vec<_> =
        times.iter().filter(|(payload, times)| payload.starts_with("2-") && **times > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    subscriber.kill9();
}
