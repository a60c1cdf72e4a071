//! A backlog whose newest go first: after an outage, through a crash in the middle of the drain, into a real Mosquitto.

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

use support::{Gateway, Mosquitto, Pty, Received, Relay, Tap, json_device, upstream};

/// Readings of the outage.
const BACKLOG: u64 = 4_000;
/// How many of them upstream takes per second.
const PER_SECOND: u64 = 400;
/// Messages in flight, by default.
const WINDOW: u64 = 20;

fn number(message: &Received) -> Option<u64> {
    message.topic.ends_with("/data/scale").then(|| message.json()["values"]["n"].as_u64())?
}

fn numbers(tap: &Tap) -> Vec<u64> {
    tap.messages().iter().filter_map(number).collect()
}

#[test]
fn a_crash_in_the_middle_of_a_newest_first_drain_loses_nothing_and_repeats_only_the_last_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let relay = Relay::to(mosquitto.port);
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let sensor = Pty::open();
    let upstream =
        upstream(relay.port) + &format!("drain = \"newest-first\"\ndrain_messages_max = {PER_SECOND}\n");
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream));
    gateway.wait_online();
    relay.cut();
    gateway.wait("offline", |status| status["upstreams"][0]["state"] != "online");
    let count = usize::try_from(BACKLOG).unwrap();
    sensor.play(count, 2_000, |number| format!(r#"{{"n":{number}}}"#)).finish();
    gateway.wait("the backlog is on disk", |status| {
        let backlog = &status["upstreams"][0]["backlog"];
        backlog["messages"] == BACKLOG && backlog["in_memory_only"] == 0
    });
    relay.open();
    // What is live doesn't wait.
    tap.wait("the drain begins", |message| number(message).is_some());
    let sent = Instant::now();
    sensor.line(r#"{"n":1000000}"#);
    let live = tap.wait("the live reading", |message| number(message) == Some(1_000_000));
    assert!(live.at.saturating_duration_since(sent) < Duration::from_secs(2));
    let waiting = gateway.ask("status")["upstreams"][0]["backlog"]["messages"].as_u64().unwrap();
    assert!(waiting > BACKLOG / 2, "only {waiting} waited when the live reading had come");
    // In the middle.
    support::within(Duration::from_secs(60), "half of it is there", || {
        (numbers(&tap).len() > count / 2).then_some(())
    });
    gateway.kill9();
    let before = numbers(&tap);
    sensor.release();
    gateway.start_again();
    gateway.wait_drained();
    let last = tap.wait("the oldest reading", |message| number(message) == Some(0));
    assert!(last.json()["seq"].is_string());

    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    let all = numbers(&tap);
    for number in &all {
        *times.entry(*number).or_default() += 1;
    }
    let lost: Vec<u64> = (0..BACKLOG).filter(|number| !times.contains_key(number)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    let twice: u64 = times.values().map(|times| times - 1).sum();
    println!("{} arrived before the crash, {} in all, {twice} of them twice", before.len(), all.len());
    // What was in flight, and what was acknowledged since the cursor was last written: within a second, and on a busy
    // machine perhaps two.
    assert!(twice <= WINDOW + 2 * PER_SECOND, "{twice} came twice of {} before the crash", before.len());
    // Backwards, on either side of the crash.
    for part in [&all[..before.len()], &all[before.len()..]] {
        let backlog: Vec<u64> = part.iter().copied().filter(|number| *number < BACKLOG).collect();
        assert!(backlog.is_sorted_by(|a, b| a > b), "{backlog:?}");
    }
}
