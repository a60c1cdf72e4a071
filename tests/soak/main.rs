//! A day of a site, compressed: sensors, clients of the LAN that come and go, an upstream that is cut off at random, configs
//! that change and a page that is looked at. Nothing is lost, only what was on its way at a cut comes twice, and at the end
//! the service takes what it took at the beginning.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "tests"
)]

mod lan;
#[path = "../raw/mod.rs"]
mod raw;
mod sample;
#[path = "../support/mod.rs"]
mod support;
mod tally;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use lan::{publisher, subscriber};
use sample::{Sample, sample};
use support::http::{Http, web_config};
use support::{Gateway, Mosquitto, Pty, Relay, eventually, free_port, json_device, publish, within};
use tally::Upstream;

/// How long it runs; MINUTES says otherwise.
const MINUTES: u64 = 30;
/// Sensors that send a reading every ten seconds, for a day.
const SENSORS: usize = 20;
const READINGS_EACH: usize = 8_640;
/// Devices of the LAN that publish once a minute, for a day.
const PUBLISHERS: usize = 20;
const MESSAGES_EACH: usize = 1_440;
/// They come, publish so many and go.
const MESSAGES_A_VISIT: usize = 12;
/// Cuts of the upstream: one every quarter of an hour.
const OUTAGES: u32 = 96;
/// Changes of the config: two an hour.
const RELOADS: u32 = 48;
/// How often the page is looked at, and the service is measured.
const LOOKS: u32 = 1_440;
/// What upstream gets twice after a cut, at most: `inflight_max`.
const WINDOW: usize = 100;
/// Between the second tenth of the time and the last one the resident memory may grow by this.
const GROWTH_BYTES_MAX: f64 = 4_000_000.0;
/// What a busy machine needs to hand over the last of it.
const LAST_MAX: Duration = Duration::from_secs(300);

/// The machines, and what is told of them.
struct Site {
    gateway: Gateway,
    relay: Relay,
    upstream: Upstream,
    sensors: Vec<Pty>,
    spare: Pty,
    page: Http,
    web: String,
    _mosquitto: Mosquitto,
}

impl Site {
    fn new(dir: &Path) -> Self {
        let mosquitto = Mosquitto::start(dir);
        let relay = Relay::to(mosquitto.port);
        let upstream = Upstream::new(mosquitto.port);
        let sensors: Vec<Pty> = (0..SENSORS).map(|_| Pty::open()).collect();
        let (plain, tls) = (free_port(), free_port());
        let gateway = Gateway::new("");
        let page = Http::new(plain, None);
        let web = web_config(plain, tls, "");
        let mut site =
            Self { gateway, relay, upstream, sensors, spare: Pty::open(), page, web, _mosquitto: mosquitto };
        site.gateway.configure(&site.config(0));
        site.gateway.start_again();
        site.page.claim(&site.gateway);
        site.gateway.wait_online();
        site
    }

    /// The config of a day has changed so often: a port with a sensor comes and goes, and so does an interval.
    fn config(&self, change: u32) -> String {
        let mut text = self.web.clone();
        for (number, pty) in self.sensors.iter().enumerate() {
            text += &json_device(&format!("sensor-{number}"), pty.path());
        }
        if change % 2 == 1 {
            text += &json_device("spare", self.spare.path());
        }
        text += &format!(
            "[health]\nevery = \"{}s\"\n\n[[upstream]]\nname = \"up\"\nhost = \"127.0.0.1\"\nport = {}\n\
             backoff_min = \"100ms\"\nbackoff_max = \"2s\"\ninflight_max = {WINDOW}\n\n",
            1 + change % 7,
            self.relay.port
        );
        for filter in [Gateway::topic("data/#"), "plant/#".to_owned()] {
            text += &format!("[[upstream.map]]\nfilter = \"{filter}\"\n\n");
        }
        text
    }
}

/// Does something so many times, spread over the time, until it is over or the test has failed.
fn spread(span: Duration, times: u32, failed: &AtomicBool, mut act: impl FnMut(u32)) {
    let began = Instant::now();
    for number in 0..times {
        let due = began + span.mul_f64(f64::from(number) / f64::from(times));
        while Instant::now() < due {
            if failed.load(Ordering::Relaxed) {
                return;
            }
            sleep(due.saturating_duration_since(Instant::now()).min(Duration::from_secs(1)));
        }
        act(number);
    }
}

/// The others end as well where one of them panics.
fn watched<T>(failed: &AtomicBool, act: impl FnOnce() -> T) -> T {
    struct Alarm<'a>(&'a AtomicBool);
    impl Drop for Alarm<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.store(true, Ordering::Relaxed);
            }
        }
    }
    let _alarm = Alarm(failed);
    act()
}

/// The sensors' lines.
fn play(site: &Site, span: Duration, failed: &AtomicBool) {
    spread(span, (SENSORS * READINGS_EACH) as u32, failed, |number| {
        let (sensor, number) = (number as usize % SENSORS, number as usize / SENSORS);
        site.sensors[sensor].line(&format!(r#"{{"n":{number}}}"#));
    });
}

/// Each cut is somewhere in its share of the time, for up to half of it.
fn cut(site: &Site, span: Duration, seed: u64, failed: &AtomicBool) {
    let mut random = fastrand::Rng::with_seed(seed);
    let share = span / OUTAGES;
    spread(span, OUTAGES, failed, |_| {
        sleep(share.mul_f64(random.f64() * 0.45));
        site.relay.cut();
        sleep(share.mul_f64(random.f64() * 0.5));
        site.relay.open();
    });
}

/// Whoever looks at the page, and what the service takes meanwhile.
fn look(site: &Site, span: Duration, failed: &AtomicBool) -> Vec<Sample> {
    let (pid, data) = (site.gateway.pid(), site.gateway.data_dir());
    let mut samples = Vec::new();
    spread(span, LOOKS, failed, |_| {
        for path in ["/api/v1/status", "/api/v1/sensors"] {
            assert_eq!(site.page.get(path).status, 200, "{path}");
        }
        samples.push(sample(pid, &data));
    });
    samples
}

/// A day within `span`; what was measured.
fn day(site: &Site, span: Duration, seed: u64) -> Vec<Sample> {
    let (failed, there) = (&AtomicBool::new(false), &AtomicUsize::new(0));
    let port = site.gateway.lan_port;
    let samples = scope(|scope| {
        let stays = scope.spawn(|| watched(failed, || subscriber(port, "stays", usize::MAX, there)));
        let returns = scope.spawn(|| watched(failed, || subscriber(port, "returns", 500, there)));
        // Their sessions are there before anything is published.
        eventually("the subscribers are there", || (there.load(Ordering::SeqCst) == 2).then_some(()));
        let mut threads = Vec::new();
        for number in 0..PUBLISHERS {
            threads.push(scope.spawn(move || watched(failed, || publisher(port, number, span, failed))));
        }
        threads.push(scope.spawn(|| watched(failed, || play(site, span, failed))));
        threads.push(scope.spawn(|| watched(failed, || cut(site, span, seed, failed))));
        threads.push(scope.spawn(|| {
            watched(failed, || {
                spread(span, RELOADS, failed, |number| {
                    site.gateway.take_config(&site.config(number + 1));
                });
            });
        }));
        let looks = scope.spawn(|| watched(failed, || look(site, span, failed)));
        let failures: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().err()).collect();
        assert!(failures.is_empty(), "{} threads have failed", failures.len());
        publish(port, "plant/end", "the end");
        for (name, tally) in [("stays", stays.join().unwrap()), ("returns", returns.join().unwrap())] {
            assert!(tally.has(PUBLISHERS, MESSAGES_EACH), "{name}: {:?}", tally.behind(MESSAGES_EACH));
            assert_eq!(tally.again(), 0, "{name} got messages twice");
        }
        looks.join().unwrap()
    });
    let (readings, messages) = (&site.upstream.readings, &site.upstream.messages);
    within(LAST_MAX, "all is upstream", || {
        (readings.has(SENSORS, READINGS_EACH) && messages.has(PUBLISHERS, MESSAGES_EACH)).then_some(())
    });
    let again = readings.again() + messages.again();
    println!(
        "{} readings, {} messages of the LAN, {OUTAGES} cuts, {RELOADS} configs: none lost, {again} came twice upstream",
        SENSORS * READINGS_EACH,
        PUBLISHERS * MESSAGES_EACH
    );
    assert!(again <= OUTAGES as usize * WINDOW, "{again} came twice");
    samples
}

#[test]
#[ignore = "takes half an hour"]
fn a_day_in_half_an_hour_loses_nothing_and_costs_at_its_end_what_it_cost_at_its_beginning() {
    let minutes = std::env::var("MINUTES").map_or(MINUTES, |text| text.parse().unwrap());
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |text| text.parse().unwrap());
    println!("SEED={seed}, {minutes} minutes");
    let dir = tempfile::tempdir().unwrap();
    let mut site = Site::new(dir.path());
    let samples = day(&site, Duration::from_secs(minutes * 60), seed);
    let tenth = samples.len() / 10;
    assert!(tenth > 10, "{} samples", samples.len());
    let (first, last) = (&samples[tenth..2 * tenth], &samples[samples.len() - tenth..]);
    let mean = |part: &[Sample]| part.iter().map(|one| one.resident as f64).sum::<f64>() / part.len() as f64;
    let least = |part: &[Sample], what: fn(&Sample) -> u64| part.iter().map(what).min().unwrap();
    let most = |part: &[Sample], what: fn(&Sample) -> u64| part.iter().map(what).max().unwrap();
    for (when, part) in [("second tenth", first), ("last tenth", last)] {
        println!(
            "{when}: {:.0} kB resident, {}..{} descriptors, {}..{} threads, {}..{} kB of disk",
            mean(part) / 1000.0,
            least(part, |one| one.descriptors),
            most(part, |one| one.descriptors),
            least(part, |one| one.threads),
            most(part, |one| one.threads),
            least(part, |one| one.disk) / 1000,
            most(part, |one| one.disk) / 1000,
        );
    }
    assert!(mean(last) < mean(first) + GROWTH_BYTES_MAX, "memory grows");
    // Clients come and go and the spare port too, so that the least tells what nobody gives back.
    assert!(
        least(last, |one| one.descriptors) <= least(first, |one| one.descriptors),
        "descriptors stay open"
    );
    assert!(least(last, |one| one.threads) <= least(first, |one| one.threads), "threads stay");
    assert!(most(last, |one| one.disk) <= most(first, |one| one.disk) * 3 / 2 + 4_000_000, "the disk fills");
    let status = site.gateway.wait_drained();
    let drops = status["upstreams"][0]["drops"].as_object().unwrap();
    assert!(drops.values().all(|count| *count == 0), "{drops:?}");
    site.gateway.stop();
}
