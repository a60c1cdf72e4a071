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

use jiff::Timestamp;
use support::{Gateway, Mosquitto, Process, Pty, Received, Tap, eventually, json_device, upstream};

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
    let tap_dir = tempfile::tempdir().unwrap();
    let port = mosquitto.port;
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
    let tap = Tap::subscribe(port, &Gateway::topic("data/#"));
    gateway.wait_drained();
    tap.wait("the last one", |message| number(message) == 4);
    drop(tap_dir);
    for (n, real) in (0..).zip(taken) {
        let message = tap.wait("each of them", |message| number(message) == n);
        let off = off(&message, real);
        // From just before the line was written to when it was read, on a busy machine.
        assert!((-0.01..5.0).contains(&off), "reading {n} is {off} s off: {}", message.payload);
        let quality = message.json()["time_quality"].clone();
        assert_eq!(quality == "corrected", n < 4, "{}", message.payload);
    }
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
