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

use std::collections::HashSet;

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

/// The fixture's gateway was killed; it had put each message with each of its sessions.
#[test]
fn what_an_older_layout_has_kept_is_all_there_and_goes_on_in_the_present_one() {
    let mut gateway = Gateway::new("");
    std::fs::create_dir(gateway.data_dir()).unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/store/state-layout-1.tar.gz");
    let mut tar = std::process::Command::new("tar");
    Process::run_well("tar", tar.arg("-xzf").arg(fixture).arg("-C").arg(gateway.data_dir()));
    gateway.start_again();
    let port = gateway.lan_port;
    let tap = Tap::subscribe(port, "plant/state");
    tap.wait_payload("retained");
    let new = format!("message 4 {}", "y".repeat(5_000));
    publish_with(port, "plant/pump", &new, &["-q", "2"]);
    gateway.kill9();
    gateway.start_again();
    let old = (1..=3).map(|number| format!("message {number} {}", "x".repeat(200)));
    let mut expected: Vec<String> = old.chain([new]).collect();
    expected.sort();
    for client_id in ["sleeper-a", "sleeper-b"] {
        let tap = Tap::resume(port, "plant/pump", client_id, &[]);
        let got = eventually("all of them arrive", || {
            let mut got = payloads(&tap);
            got.retain(|payload| payload != "retained");
            (got.len() >= expected.len()).then_some(got)
        });
        let mut got = got;
        got.sort();
        assert_eq!(got, expected);
    }
}

/// Kills under load: a client with a persistent session publishes with QoS 1 and 2 and retained, another one with a
/// persistent session subscribes, and both come back after each kill; a third one is away all the time. Nothing that was
/// acknowledged may be missing, and nothing with QoS 2 may come twice.
fn kill_under_load(rounds: usize) {
    let mut gateway = Gateway::start(
        "[broker]\nqueue_messages_max = 1000000\nqueue_max = \"64 MiB\"\nqueues_max = \"256 MiB\"\n",
    );
    let port = gateway.lan_port.to_string();
    Tap::register(gateway.lan_port, "load/#", "sleeper", &[]);
    let run = |role: &str| Python::Paho2.start("durable.py", &[role, &port]);
    let mut subscriber = run("subscriber");
    eventually("it is subscribed", || subscriber.text().contains("subscribed").then_some(()));
    let mut publisher = run("publisher");
    let acknowledged =
        |publisher: &Process| publisher.text().lines().filter(|l| l.starts_with("ack ")).count();
    for round in 0..rounds {
        let before = acknowledged(&publisher);
        // A little load between two kills, cut at another moment each time.
        let more = 3 + round * 7 % 30;
        eventually("messages are acknowledged", || (acknowledged(&publisher) >= before + more).then_some(()));
        gateway.kill9();
        gateway.start_again();
    }
    publisher.signal(rustix::process::Signal::TERM);
    assert!(publisher.wait_end(PATIENCE).success(), "{}", publisher.text());
    gateway.kill9();
    gateway.start_again();
    let text = publisher.text();
    let (retained, sent): (Vec<&str>, Vec<&str>) = text
        .lines()
        .filter_map(|line| line.strip_prefix("ack "))
        .partition(|payload| payload.starts_with('r'));
    assert!(sent.len() > rounds * 3 && retained.len() > 1);

    let got = eventually("all that was acknowledged arrives", || {
        let text = subscriber.text();
        let got: Vec<String> =
            text.lines().filter_map(|line| line.strip_prefix("got ").map(str::to_owned)).collect();
        let there: HashSet<&str> = got.iter().map(String::as_str).collect();
        sent.iter().all(|payload| there.contains(payload)).then_some(got)
    });
    assert_eq!(doubled(&got), Vec::<&str>::new());
    subscriber.kill9();
    let tap = Tap::resume(gateway.lan_port, "load/#", "sleeper", &[]);
    let got = eventually("it arrives at the one that was away", || {
        let got = payloads(&tap);
        let there: HashSet<&str> = got.iter().map(String::as_str).collect();
        sent.iter().all(|payload| there.contains(payload)).then_some(got)
    });
    assert_eq!(doubled(&got), Vec::<&str>::new());

    let tap = Tap::subscribe(gateway.lan_port, "state/x");
    let number = |payload: &str| payload[2..].parse::<u64>().unwrap();
    let kept = eventually("the retained message is there", || payloads(&tap).first().map(|p| number(p)));
    let last = retained.iter().map(|payload| number(payload)).max().unwrap();
    assert!(kept >= last, "{kept}, but {last} was acknowledged");
}

/// QoS 2 payloads that came more than once.
fn doubled(got: &[String]) -> Vec<&str> {
    let mut there = HashSet::new();
    got.iter().map(String::as_str).filter(|p| p.starts_with("2-") && !there.insert(*p)).collect()
}

#[test]
fn ten_kills_under_load_lose_nothing_that_was_acknowledged_and_double_no_qos_2() {
    kill_under_load(10);
}

#[test]
#[ignore = "takes minutes"]
fn fifty_kills_under_load_lose_nothing_that_was_acknowledged_and_double_no_qos_2() {
    kill_under_load(50);
}
