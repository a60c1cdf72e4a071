//! Time is honest: a gateway that begins in 1970 sends its readings with right times once the clock is right, also those
//! that waited on disk; and no step of the clock makes anything believe that time has passed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use support::{
    Gateway, Mosquitto, Process, Pty, Received, Tap, eventually, fieldgate, json_device, upstream,
};

/// The wall clock of a gateway.
struct FakeClock {
    file: PathBuf,
}

impl FakeClock {
    /// Gives a gateway that hasn't started yet a clock of its own. Its config must leave trust to the kernel.
    fn of(gateway: &mut Gateway) -> Self {
        let library = gateway.dir.path().join("clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shim/clock.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
        Process::run_well("cc", &mut cc);
        let clock = Self { file: gateway.dir.path().join("clock") };
        gateway.set_env("LD_PRELOAD", library.to_str().unwrap());
        gateway.set_env("FIELDGATE_CLOCK", clock.file.to_str().unwrap());
        let config = std::fs::read_to_string(gateway.config()).unwrap();
        let config = config.replace("trust = \"always\"", "trust = \"auto\"");
        std::fs::write(gateway.config(), config).unwrap();
        clock
    }

    /// It is ahead of the real one by so many seconds, and the kernel says that it is synchronised or that it isn't.
    fn set(&self, ahead: i64, is_synced: bool) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{ahead} {}", u8::from(is_synced))).unwrap();
        // In one step, so that nobody reads half of it.
        std::fs::rename(new, &self.file).unwrap();
    }
}

/// How far the time of a reading is from the real one, in seconds.
fn off(message: &Received, real: Timestamp) -> f64 {
    let time: Timestamp = message.json()["time"].as_str().unwrap().parse().unwrap();
    time.duration_since(real).as_secs_f64()
}

fn number(message: &Received) -> u64 {
    message.json()["values"]["n"].as_u64().unwrap_or(u64::MAX)
}

#[test]
fn readings_of_1970_leave_the_outbox_with_right_times_once_the_clock_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(dir.path());
    let port = mosquitto.port;
    // The gateway may be back at the upstream before any subscriber is: this one's session waits there.
    Tap::register(port, &Gateway::topic("data/#"), "collector", &[]);
    mosquitto.stop();
    let sensor = Pty::open();
    let mut gateway = Gateway::new(&(json_device("d", sensor.path()) + &upstream(port)));
    let clock = FakeClock::of(&mut gateway);
    clock.set(-Timestamp::now().as_second(), false);
    gateway.start_again();
    let lan = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    gateway.wait("the port is open", |status| status["ports"][0]["state"] == "open");

    let mut taken = Vec::new();
    for n in 0..3 {
        taken.push(Timestamp::now());
        sensor.line(&format!(r#"{{"n":{n}}}"#));
        gateway.wait_readings("d", n + 1);
    }
    let first = lan.wait("a subscriber on the LAN is told honestly", |message| number(message) == 0).json();
    assert!(first["time"].as_str().unwrap().starts_with("1970-01-01T"), "{first}");
    assert_eq!(first["time_quality"], "unsynced");
    gateway.wait("they are on disk", |status| {
        let backlog = &status["upstreams"][0]["backlog"];
        backlog["messages"] == 3 && backlog["in_memory_only"] == 0
    });
    // The gateway crashes, in the same boot.
    gateway.kill9();
    sensor.release();
    gateway.start_again();
    gateway.wait("the port is open", |status| status["ports"][0]["state"] == "open");
    taken.push(Timestamp::now());
    sensor.line(r#"{"n":3}"#);
    gateway.wait_readings("d", 1);

    clock.set(0, true);
    gateway.wait("the gateway knows that its clock is right", |status| status["clock"] == "synced");
    taken.push(Timestamp::now());
    sensor.line(r#"{"n":4}"#);
    mosquitto.start_again();
    let tap = Tap::resume(port, &Gateway::topic("data/#"), "collector", &[]);
    gateway.wait_drained();
    tap.wait("the last one", |message| number(message) == 4);
    for (n, real) in (0..).zip(taken) {
        let message = tap.wait("each of them", |message| number(message) == n);
        let off = off(&message, real);
        // From just before the line was written to when it was read, on a busy machine.
        assert!((-0.01..5.0).contains(&off), "reading {n} is {off} s off: {}", message.payload);
        let quality = message.json()["time_quality"].clone();
        assert_eq!(quality == "corrected", n < 4, "{}", message.payload);
    }
}

/// What a receiver sends five times a second, from a thread of its own.
struct Receiver {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    fn start(pty: &Pty, status: char) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (pty, stopping) = (pty.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let now = Timestamp::now().to_zoned(TimeZone::UTC);
                let body = format!(
                    "GNRMC,{},{status},4916.45,N,12311.12,W,0.0,0.0,{},,,A",
                    now.strftime("%H%M%S.%3f"),
                    now.strftime("%d%m%y")
                );
                let sum = body.bytes().fold(0_u8, |sum, byte| sum ^ byte);
                pty.write(format!("${body}*{sum:02X}\r\n").as_bytes());
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_satellite_receiver_vouches_for_the_time_of_readings_that_wait_and_no_longer_than_it_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(dir.path());
    let port = mosquitto.port;
    Tap::register(port, &Gateway::topic("data/d"), "collector", &[]);
    mosquitto.stop();
    let (sensor, gps) = (Pty::open(), Pty::open());
    let config = json_device("d", sensor.path())
        + &format!(
            "[[port]]\nname = \"gps-line\"\npath = \"{}\"\n[[device]]\nname = \"gps1\"\nport = \"gps-line\"\n\
             profile = \"nmea-gps\"\n[time.gnss]\ndevice = \"gps1\"\nhold = \"10s\"\n",
            gps.path().display()
        )
        + &upstream(port);
    let mut gateway = Gateway::new(&config);
    let clock = FakeClock::of(&mut gateway);
    clock.set(-Timestamp::now().as_second(), false);
    gateway.start_again();
    let open = |status: &serde_json::Value| {
        let ports = status["ports"].as_array().unwrap();
        ports.iter().all(|port| port["state"] == "open")
    };
    gateway.wait("the ports are open", open);
    // Without a fix a receiver's clock may say anything.
    let lost = Receiver::start(&gps, 'V');
    let before = Timestamp::now();
    sensor.line(r#"{"n":0}"#);
    gateway.wait_readings("d", 1);
    let status = gateway.wait_readings("gps1", 15);
    assert_eq!((&status["clock"], &status["clock_source"]["kind"]), (&"unsynced".into(), &"nobody".into()));
    drop(lost);

    let fixed = Receiver::start(&gps, 'A');
    let status = gateway.wait("the receiver is believed", |status| status["clock"] == "synced");
    let source = &status["clock_source"];
    assert_eq!((&source["kind"], &source["device"]), (&"gnss".into(), &"gps1".into()), "{source}");
    let ahead = source["ahead_ms"].as_i64().unwrap();
    assert!((ahead / 1_000 - Timestamp::now().as_second()).abs() < 60, "{ahead} ms ahead of 1970");
    let shown = fieldgate().arg("status").arg("--socket").arg(gateway.socket()).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("clock synced by gnss gps1, "), "{shown}");
    let within = Timestamp::now();
    sensor.line(r#"{"n":1}"#);
    gateway.wait_readings("d", 2);
    mosquitto.start_again();
    let tap = Tap::resume(port, &Gateway::topic("data/d"), "collector", &[]);
    gateway.wait_drained();
    for (n, real, quality) in [(0, before, Some("corrected")), (1, within, None)] {
        let message = tap.wait("the reading", |message| number(message) == n);
        let off = off(&message, real);
        // A receiver tells its time a moment before the bytes are read.
        assert!((-1.0..5.0).contains(&off), "reading {n} is {off} s off: {}", message.payload);
        assert_eq!(message.json()["time_quality"].as_str(), quality, "{}", message.payload);
    }

    drop(fixed);
    let begun = Instant::now();
    gateway.wait("nobody vouches any more", |status| status["clock"] == "unsynced");
    assert!(begun.elapsed() > Duration::from_secs(8), "{:?}", begun.elapsed());
    sensor.line(r#"{"n":2}"#);
    let message = tap.wait("an honest reading", |message| number(message) == 2);
    assert_eq!(message.json()["time_quality"], "unsynced");
    // The kernel's word goes before.
    clock.set(0, true);
    gateway.wait("the kernel is right", |status| status["clock_source"]["kind"] == "kernel");
    let _again = Receiver::start(&gps, 'A');
    let readings = gateway.wait("the receiver is heard", open)["devices"].clone();
    let heard = support::find(&readings, "gps1")["readings"].as_u64().unwrap();
    let status = gateway.wait_readings("gps1", heard + 20);
    assert_eq!(status["clock_source"]["kind"], "kernel");
}

#[test]
fn a_step_of_the_clock_by_an_hour_lets_no_time_pass() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let sensor = Pty::open();
    let config = json_device("d", sensor.path()).replace("points", "stale_after = \"20s\"\npoints");
    let upstream = upstream(mosquitto.port) + "keep_alive = \"20s\"\n";
    let mut gateway = Gateway::new(&(config + &upstream));
    let clock = FakeClock::of(&mut gateway);
    clock.set(0, true);
    gateway.start_again();
    gateway.wait_online();
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let lan = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    gateway.wait("the port is open", |status| status["ports"][0]["state"] == "open");
    let mut n = 0;
    for ahead in [0, 3_600, 0, -3_600, 0] {
        clock.set(ahead, true);
        for _ in 0..20 {
            sensor.line(&format!(r#"{{"n":{n}}}"#));
            let real = Timestamp::now();
            let message = tap.wait("the reading", |message| number(message) == n);
            let off = off(&message, real) - f64::from(i32::try_from(ahead).unwrap());
            assert!(off.abs() < 10.0, "reading {n} is {off} s off after a step to {ahead}");
            n += 1;
        }
    }
    eventually("the LAN has all of them", || (lan.messages().len() == 100).then_some(()));
    let numbers: Vec<u64> = tap.messages().iter().map(number).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<u64>>(), "once each, in order, none of them stale");
    let status = gateway.ask("status");
    assert_eq!(status["upstreams"][0]["state"], "online");
    let log = gateway.log();
    for trouble in ["stale", "connection lost", "timed out", "down"] {
        assert!(!log.contains(trouble), "{trouble}:\n{log}");
    }
}
