//! A link that comes and goes: nothing is lost, order holds, and only what was in the window may come twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod support;

use std::time::Duration;

use support::{Gateway, Mosquitto, Pty, Relay, Tap, json_device, upstream};

/// Messages that may be unacknowledged when the link is cut.
const WINDOW: usize = 100;

#[test]
fn a_link_that_comes_and_goes_loses_nothing_and_repeats_at_most_its_window_per_cut() {
    const READINGS: usize = 4_000;
    const SEED: u64 = 7;
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let relay = Relay::to(mosquitto.port);
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let sensor = Pty::open();
    let upstream = upstream(relay.port) + &format!("inflight_max = {WINDOW}\n");
    let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream));
    gateway.wait_online();

    let player = sensor.play(READINGS, 400, |number| format!(r#"{{"n":{number}}}"#));
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut cuts = 0;
    let taken = |gateway: &Gateway| gateway.ask("readings")[0]["readings"].as_u64().unwrap();
    while taken(&gateway) < READINGS as u64 {
        // How long the link is there and away is the case that is tested, not something to wait for.
        std::thread::sleep(Duration::from_millis(random.u64(20..600)));
        relay.cut();
        cuts += 1;
        std::thread::sleep(Duration::from_millis(random.u64(0..900)));
        relay.open();
    }
    player.finish();
    gateway.wait_drained();
    let status = gateway.ask("status");
    let last = serde_json::Value::from(READINGS - 1);
    tap.wait("the last reading", |message| message.json()["values"]["n"] == last);

    let arrived: Vec<usize> = tap
        .messages()
        .iter()
        .map(|message| message.json()["values"]["n"].to_string().parse().unwrap())
        .collect();
    let mut next = 0;
    for number in &arrived {
        assert!(*number <= next, "{number} came before {next} (seed {SEED})");
        next = next.max(number + 1);
    }
    assert_eq!(next, READINGS, "all arrived, in order (seed {SEED})");
    let repeated = arrived.len() - READINGS;
    println!("{READINGS} readings, {cuts} cuts: none lost, {repeated} came twice");
    assert!(cuts >= 5, "{cuts} cuts are no flapping");
    assert!(repeated <= cuts * WINDOW, "{repeated} repeated in {cuts} cuts (seed {SEED})");
    let drops = status["upstreams"][0]["drops"].as_object().unwrap();
    assert!(drops.values().all(|count| count == 0), "{drops:?}");
}
