//! The main job, with an outage of the upstream and a crash of the gateway in the middle of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests and their helpers"
)]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use support::{Gateway, Mosquitto, Pty, Received, Relay, Tap, json_device, publish, publish_with, upstream};

const READINGS: usize = 10_000;
const PER_SECOND: u32 = 500;

/// Readings are on disk at most this long after they were taken: the default of `buffer.commit_interval`.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// A commit that is due takes its own time on a busy disk, and so does a line on its way through the terminal.
const COMMIT_TAKES_AT_MOST: Duration = Duration::from_millis(500);

#[test]
fn an_outage_and_a_crash_cost_nothing_but_what_was_younger_than_the_commit_interval() {
    let dir = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(dir.path());
    let filter = Gateway::topic("data/#");
    Tap::register(mosquitto.port, &filter, "collector", &[]);
    let sensor = Pty::open();
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream(mosquitto.port)));
    gateway.wait_online();

    let start = Instant::now();
    let until = |seconds| {
        let due = start + Duration::from_secs(seconds);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    };
    let player = sensor.play(READINGS, PER_SECOND, |number| format!(r#"{{"n":{number}}}"#));
    until(3);
    mosquitto.stop();
    until(6);
    let before = gateway.ask("status")["upstreams"][0].clone();
    let killed = Instant::now();
    gateway.kill9();
    sensor.release();
    gateway.start_again();
    gateway.wait("the port is open again", |status| status["ports"][0]["state"] == "open");
    let back = Instant::now();
    until(13);
    mosquitto.start_again();
    let played = player.finish();
    gateway.wait("the last reading is taken", |status| status["readings"][0]["values"]["n"] == READINGS - 1);
    let status = gateway.wait_drained();
    gateway.stop();

    publish(mosquitto.port, &Gateway::topic("data/end"), "end");
    let collector = Tap::resume(mosquitto.port, &filter, "collector", &[]);
    collector.wait_payload("end");
    let messages = collector.messages();
    let arrived = first_occurrences(&messages);

    let readings = messages.len() - 1;
    let lost: Vec<usize> = (0..READINGS).filter(|number| !arrived.contains_key(number)).collect();
    let safe = safe_readings(&before);
    println!(
        "{} of {READINGS} readings arrived, {} of them more than once. The crash took {}: {safe} were safe, the \
         gateway was away for {} ms; the oldest that it took had been sent {:?} before.",
        arrived.len(),
        readings - arrived.len(),
        lost.len(),
        (back - killed).as_millis(),
        lost.first().map(|&number| killed.saturating_duration_since(played[number])),
    );
    assert!(lost.iter().all(|&number| number >= safe), "a reading that was safe is lost: {lost:?}");
    for number in lost {
        let before = killed.saturating_duration_since(played[number]);
        assert!(
            before <= COMMIT_INTERVAL + COMMIT_TAKES_AT_MOST,
            "reading {number} was {before:?} old when the gateway was killed, and is lost"
        );
        assert!(played[number] <= back, "reading {number} was sent when the gateway was back, and is lost");
    }
    // What only the disk can have brought through the crash: taken in the outage, and older than the bound.
    let outage = start + Duration::from_secs(4)..killed - COMMIT_INTERVAL - COMMIT_TAKES_AT_MOST;
    let through_disk = (0..READINGS).filter(|&number| outage.contains(&played[number])).count();
    assert!(through_disk > 100, "only {through_disk} readings had to come through the crash");
    assert_eq!(status["upstreams"][0]["drops"]["damaged"], 0);
}

#[test]
fn crashes_while_the_upstream_is_there_cost_only_what_was_on_its_way() {
    const COUNT: usize = 2_500;
    // Online a reading waits for its PUBACK alone, not for a commit.
    const ON_ITS_WAY: Duration = Duration::from_millis(300);
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let filter = Gateway::topic("data/#");
    let tap = Tap::subscribe(mosquitto.port, &filter);
    let sensor = Pty::open();
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream(mosquitto.port)));
    gateway.wait_online();
    let player = sensor.play(COUNT, PER_SECOND, |number| format!(r#"{{"n":{number}}}"#));
    let mut away = Vec::new();
    for crash in 1..=3_usize {
        // At any moment of a commit interval.
        let count = u64::try_from(COUNT * crash / 4 + crash * 37).unwrap();
        tap.wait("the next stretch", |message| message.json()["values"]["n"].as_u64() >= Some(count));
        let killed = Instant::now();
        gateway.kill9();
        sensor.release();
        gateway.start_again();
        gateway.wait("the port is open again", |status| status["ports"][0]["state"] == "open");
        away.push(killed..Instant::now());
    }
    let played = player.finish();
    gateway.wait("the last reading is taken", |status| status["readings"][0]["values"]["n"] == COUNT - 1);
    gateway.wait_drained();
    publish(mosquitto.port, &Gateway::topic("data/end"), "{}");
    tap.wait_payload("{}");
    let messages = tap.messages();
    let arrived = first_occurrences(&messages);
    let lost: Vec<usize> = (0..COUNT).filter(|number| !arrived.contains_key(number)).collect();
    println!(
        "{} of {COUNT} readings arrived, {} of them more than once; three crashes took {}",
        arrived.len(),
        messages.len() - 1 - arrived.len(),
        lost.len()
    );
    for number in lost {
        let at = played[number];
        let explained = away.iter().any(|away| (away.start - ON_ITS_WAY..=away.end).contains(&at));
        assert!(explained, "reading {number} is lost, and no crash explains it");
    }
    assert_eq!(gateway.ask("status")["run"], 4);
}

#[test]
fn an_upstream_that_comes_back_without_its_memory_still_gets_every_reading() {
    const FIRST: usize = 300;
    const SECOND: usize = 900;
    let dir = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(dir.path());
    let relay = Relay::to(mosquitto.port);
    let filter = Gateway::topic("data/#");
    let before = Tap::subscribe(mosquitto.port, &filter);
    let sensor = Pty::open();
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream(relay.port)));
    gateway.wait_online();

    let player = sensor.play(FIRST + SECOND, PER_SECOND, |number| format!(r#"{{"n":{number}}}"#));
    before.wait("the first readings", |message| message.json()["values"]["n"] == FIRST);
    // In the middle of the stream, with readings in flight.
    relay.cut();
    gateway.wait("the gateway sees the cut", |status| status["upstreams"][0]["state"] != "online");
    publish(mosquitto.port, &Gateway::topic("data/marker"), "{}");
    before.wait_payload("{}");
    let mut messages = before.messages();
    mosquitto.stop();
    mosquitto.forget();
    mosquitto.start_again();
    // The subscriber is there before the gateway is, so that nothing can pass it by.
    let after = Tap::subscribe(mosquitto.port, &filter);
    player.finish();
    gateway.wait_readings("scale", u64::try_from(FIRST + SECOND).unwrap());
    relay.open();
    gateway.wait_drained();
    publish(mosquitto.port, &Gateway::topic("data/marker"), "{}");
    after.wait_payload("{}");
    messages.extend(after.messages());

    let arrived = first_occurrences(&messages);
    let lost: Vec<usize> = (0..FIRST + SECOND).filter(|number| !arrived.contains_key(number)).collect();
    let readings = messages.len() - 2;
    println!("{} readings arrived, {} of them twice", arrived.len(), readings - arrived.len());
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(gateway.log().contains("session_present=false"), "the upstream had forgotten the session");
}

/// How many readings the gateway held to be safe: acknowledged upstream, or on disk. They are the first ones, since
/// commits and acknowledgements go in order.
fn safe_readings(upstream: &Json) -> usize {
    let count = |value: &Json| usize::try_from(value.as_u64().unwrap()).unwrap();
    let backlog = &upstream["backlog"];
    count(&upstream["delivered"]) + count(&backlog["messages"]) - count(&backlog["in_memory_only"])
}

#[test]
fn a_lan_message_that_was_acknowledged_survives_a_crash_right_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(dir.path());
    Tap::register(mosquitto.port, "lan/#", "collector", &[]);
    let map = "[[upstream.map]]\nfilter = \"lan/#\"\n";
    let mut gateway = Gateway::start(&(upstream(mosquitto.port) + map));
    gateway.wait_online();
    let mut expected = Vec::new();
    // Once with the upstream there, then without it, where only the disk can keep a message.
    for round in 0..6 {
        if round == 1 {
            mosquitto.stop();
            gateway.wait("the upstream is away", |status| status["upstreams"][0]["state"] != "online");
        }
        for qos in ["1", "2"] {
            let payload = format!("round {round}, QoS {qos}");
            // mosquitto_pub ends when it has its acknowledgement.
            publish_with(gateway.lan_port, "lan/a", &payload, &["-q", qos]);
            gateway.kill9();
            gateway.start_again();
            expected.push(payload);
        }
    }
    mosquitto.start_again();
    gateway.wait_drained();
    publish(mosquitto.port, "lan/end", "end");
    let collector = Tap::resume(mosquitto.port, "lan/#", "collector", &[]);
    collector.wait_payload("end");
    let mut got: Vec<String> = collector.messages().into_iter().map(|message| message.payload).collect();
    assert_eq!(got.pop().as_deref(), Some("end"));
    got.dedup();
    assert_eq!(got, expected);
}

/// Number of a reading to its place among the messages, first occurrences only; these are in the order in which
/// the sensor sent them, and each carries the identity that no other reading has.
fn first_occurrences(messages: &[Received]) -> BTreeMap<usize, usize> {
    let mut first = BTreeMap::new();
    let mut seqs = BTreeMap::new();
    let mut last = None;
    for (place, message) in messages.iter().enumerate() {
        if message.topic != Gateway::topic("data/scale") {
            continue;
        }
        let json = message.json();
        let number = usize::try_from(json["values"]["n"].as_u64().expect("a number")).unwrap();
        let seq = json["seq"].as_str().expect("a seq").to_owned();
        assert_eq!(*seqs.entry(seq.clone()).or_insert(number), number, "{seq} stands for two readings");
        if let std::collections::btree_map::Entry::Vacant(entry) = first.entry(number) {
            entry.insert(place);
            assert!(last < Some(number), "reading {number} came first after {last:?}");
            last = Some(number);
        }
    }
    assert_eq!(seqs.len(), first.len(), "a reading came under two identities");
    first
}
