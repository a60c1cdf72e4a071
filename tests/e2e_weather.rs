//! A network that is late, slow, silent and wrong between the gateway and its upstream: nothing is lost, order holds, only
//! what was in the window may come twice, and upstream is not stormed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::path::Path;
use std::time::Duration;

use support::{Cut, Gateway, Mosquitto, Proxy, Pty, Tap, Weather, eventually, json_device};

/// Messages that may be unacknowledged when a connection ends: `inflight_max`.
const WINDOW: usize = 100;

/// Everything for one run: what is dropped last comes last.
struct Rig {
    gateway: Gateway,
    tap: Tap,
    proxy: Proxy,
    sensor: Pty,
    _mosquitto: Mosquitto,
}

impl Rig {
    fn new(dir: &Path, settings: &str) -> Self {
        let mosquitto = Mosquitto::start(dir);
        let proxy = Proxy::to(mosquitto.port);
        let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
        let sensor = Pty::open();
        let upstream = format!(
            "[[upstream]]\nname = \"up\"\nhost = \"127.0.0.1\"\nport = {}\ninflight_max = {WINDOW}\n{settings}\n",
            proxy.port
        );
        let mut gateway = Gateway::start(&(json_device("scale", sensor.path()) + &upstream));
        gateway.wait_online();
        Self { gateway, tap, proxy, sensor, _mosquitto: mosquitto }
    }

    /// Waits until all is upstream; what came, number by number, how many connections there were.
    fn finish(&mut self, readings: usize, seed: u64) -> usize {
        self.proxy.set(Weather::Fair);
        self.gateway.wait_drained();
        let last = serde_json::Value::from(readings - 1);
        self.tap.wait("the last reading", |message| message.json()["values"]["n"] == last);
        let messages = self.tap.messages();
        let numbers = messages.iter().map(|message| message.json()["values"]["n"].as_u64().unwrap() as usize);
        let mut next = 0;
        for number in numbers {
            assert!(number <= next, "{number} came before {next} (seed {seed})");
            next = next.max(number + 1);
        }
        assert_eq!(next, readings, "all arrived (seed {seed})");
        let status = self.gateway.ask("status");
        let drops = status["upstreams"][0]["drops"].as_object().unwrap();
        assert!(drops.values().all(|count| count == 0), "{drops:?}");
        messages.len() - readings
    }
}

/// So many cuts at random instants, each after some weather: the seconds between connections, how many there were, and how
/// many readings came twice.
fn cuts(count: usize, settings: &str, readings: usize, up_max: u64, seed: u64) -> (Vec<f64>, usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(dir.path(), settings);
    let mut random = fastrand::Rng::with_seed(seed);
    let player = rig.sensor.play(readings, 200, |number| format!(r#"{{"n":{number}}}"#));
    let mut ends = 0;
    while ends < count {
        let before = rig.proxy.came().len();
        rig.proxy.set(match random.u8(0..12) {
            0 => Weather::Delay(Duration::from_millis(random.u64(1..30))),
            1 => Weather::Stall,
            2 => Weather::HalfOpen,
            3 => Weather::Trickle,
            4 => Weather::Corrupt,
            _ => Weather::Fair,
        });
        // How long the link is there is the case that is tested, not something to wait for.
        std::thread::sleep(Duration::from_millis(random.u64(0..up_max)));
        rig.proxy.cut(if random.bool() { Cut::Fin } else { Cut::Rst });
        rig.proxy.set(Weather::Fair);
        ends += 1;
        eventually("the gateway comes back", || (rig.proxy.came().len() > before).then_some(()));
    }
    player.finish();
    let repeated = rig.finish(readings, seed);
    let came = rig.proxy.came();
    assert!(came.len() > count, "{} connections in {count} cuts", came.len());
    // What bytes that were changed end is another end.
    assert!(repeated <= (came.len() - 1) * WINDOW, "{repeated} repeated, {} connections", came.len());
    let gaps = came.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    (gaps, came.len(), repeated)
}

#[test]
fn five_hundred_cuts_at_random_instants_lose_nothing_and_repeat_at_most_the_window_per_cut() {
    const READINGS: usize = 6_000;
    // Time is compressed tenfold: the waits between attempts are a random share of 100 ms instead of a second.
    let settings = "backoff_min = \"100ms\"\nbackoff_max = \"100ms\"";
    let (gaps, connections, repeated) = cuts(500, settings, READINGS, 60, 11);
    // The shortest wait is 50 ms, whatever the draw; a little less for the proxy's own clock.
    let shortest = gaps.iter().copied().fold(f64::MAX, f64::min);
    assert!(shortest >= 0.045, "two connections within {shortest} s");
    println!(
        "{READINGS} readings, {connections} connections: none lost, {repeated} came twice; {:.1} connections a second",
        gaps.len() as f64 / gaps.iter().sum::<f64>()
    );
}

/// The same in real time, with the waits as they are by default.
#[test]
#[ignore = "takes a quarter of an hour; tests/heavy/run plays it"]
fn cuts_in_real_time_bring_at_most_one_connection_a_second() {
    const READINGS: usize = 40_000;
    let settings = "backoff_min = \"1s\"\nbackoff_max = \"4s\"";
    let (gaps, connections, repeated) = cuts(200, settings, READINGS, 1_000, 12);
    let rate = gaps.len() as f64 / gaps.iter().sum::<f64>();
    println!(
        "{READINGS} readings, {connections} connections: none lost, {repeated} came twice; {rate:.2} a second"
    );
    assert!(rate <= 1.0, "{rate} connections a second");
}

#[test]
fn a_link_that_is_silent_or_nearly_so_is_made_anew_and_nothing_is_lost() {
    const READINGS: usize = 300;
    for weather in [Weather::Stall, Weather::HalfOpen, Weather::Trickle] {
        let dir = tempfile::tempdir().unwrap();
        let settings =
            "backoff_min = \"100ms\"\nbackoff_max = \"200ms\"\nkeep_alive = \"2s\"\nack_timeout = \"2s\"";
        let mut rig = Rig::new(dir.path(), settings);
        let before = rig.proxy.came().len();
        rig.proxy.set(weather);
        let player = rig.sensor.play(READINGS, 200, |number| format!(r#"{{"n":{number}}}"#));
        player.finish();
        eventually("the gateway gives the link up", || (rig.proxy.came().len() > before).then_some(()));
        let repeated = rig.finish(READINGS, 0);
        let ends = rig.proxy.came().len() - 1;
        assert!(repeated <= ends * WINDOW, "{weather:?}: {repeated} repeated in {ends} ends");
        println!("{weather:?}: none lost, {repeated} came twice, {ends} connections ended");
    }
}
