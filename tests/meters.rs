//! Meters that must be asked: IEC 62056-21 with its change of the rate, and wired M-Bus with both kinds of addresses, from a
//! line to MQTT.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fieldgate::config::{Facts, Source, parse, render};
use fieldgate::sensor::MeterSimulator;
use serde_json::{Value as Json, json};
use support::{Gateway, Mosquitto, Process, Pty, Python, Tap, eventually, find};

/// What the meters heard, and at which rate of the line.
struct Heard {
    baud: u32,
    bytes: Vec<u8>,
}

/// Meters on one pseudo-terminal, and what they were sent.
struct Line {
    pty: Pty,
    heard: Arc<Mutex<Vec<Heard>>>,
    /// How many of them, from the first on, don't answer.
    dead: Arc<Mutex<Vec<usize>>>,
    stop: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
}

impl Line {
    /// The meters that these devices are asked for.
    fn open(config: &str) -> Self {
        let pty = Pty::open();
        pty.forget();
        let source = Source { file: "f".into(), text: config.to_owned() };
        let facts = Facts { default_id: "gw".into(), ..Facts::default() };
        let config = parse(&[source], &facts).unwrap_or_else(|mistakes| panic!("{}", render(&mistakes)));
        let mut meters: Vec<MeterSimulator> =
            config.devices.iter().map(|device| MeterSimulator::new(device, 300).unwrap()).collect();
        let (heard, dead) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let stop = Arc::new(AtomicBool::new(false));
        let carrier = std::thread::spawn({
            let (pty, heard, dead, stop) = (pty.clone(), heard.clone(), dead.clone(), stop.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let bytes = pty.taken();
                    if bytes.is_empty() {
                        std::thread::sleep(Duration::from_millis(1));
                        continue;
                    }
                    let baud = pty.baud();
                    heard.lock().unwrap().push(Heard { baud, bytes: bytes.clone() });
                    for (index, meter) in meters.iter_mut().enumerate() {
                        for answer in meter.hear(baud, &bytes) {
                            if !dead.lock().unwrap().contains(&index) {
                                std::thread::sleep(answer.after);
                                pty.write(&answer.read_at(pty.baud()));
                            }
                        }
                    }
                }
            }
        });
        Self { pty, heard, dead, stop, carrier: Some(carrier) }
    }

    fn count(&self, request: &[u8]) -> usize {
        let heard = self.heard.lock().unwrap();
        let all: Vec<u8> = heard.iter().flat_map(|heard| heard.bytes.clone()).collect();
        all.windows(request.len()).filter(|part| part == &request).count()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
    }
}

fn port(name: &str, path: &std::path::Path, more: &str) -> String {
    format!("[[port]]\nname = \"{name}\"\npath = \"{}\"\n{more}\n", path.display())
}

fn device(name: &str, port: &str, more: &str) -> String {
    format!("[[device]]\nname = \"{name}\"\nport = \"{port}\"\n{more}\n")
}

/// The values of the next reading of a device that has this one.
fn wait_values(tap: &Tap, device: &str, point: &str) -> Json {
    let topic = Gateway::topic(&format!("data/{device}"));
    let is_it =
        |message: &support::Received| message.topic == topic && !message.json()["values"][point].is_null();
    tap.wait(&format!("{device} with {point}"), is_it).json()["values"].clone()
}

#[test]
fn an_iec_62056_21_meter_is_read_by_its_profile_alone_at_the_rate_that_it_proposes() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let link = dir.path().join("meter");
    let mut simulate = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
    simulate.args(["simulate", "iec62056-21-meter", "--link"]).arg(&link);
    let _meter = Process::start("meter", &mut simulate);
    eventually("the meter is there", || link.exists().then_some(()));
    let config = port("head", &link, "")
        + &device("house", "head", "profile = \"iec62056-21-meter\"\nevery = \"2s\"")
        + &support::upstream(mosquitto.port);
    let gateway = Gateway::start(&config);
    let first = wait_values(&tap, "house", "energy_import");
    let energy = |values: &Json| values["energy_import"].as_f64().unwrap();
    assert!((12_345.7..12_346.0).contains(&energy(&first)), "{first}");
    assert_eq!((&first["voltage_l1"], &first["energy_export"]), (&json!(230.4), &json!(0)));
    let topic = Gateway::topic("data/house");
    tap.wait("the next readout, after the line was set back", |message| {
        message.topic == topic && energy(&message.json()["values"]) > energy(&first)
    });
    let status = gateway.ask("status");
    let bus = find(&status["buses"][0]["devices"], "house");
    assert!(bus["answers"].as_u64() >= Some(2), "{bus}");
}

#[test]
fn meters_that_share_a_line_are_signed_on_to_by_number_and_never_faster_than_the_head_can_do() {
    let devices = device(
        "a",
        "head",
        "profile = \"iec62056-21-meter\"\npoll = { address = 11111111, baud_max = 2400 }\nevery = \"1s\"",
    ) + &device(
        "b",
        "head",
        "profile = \"iec62056-21-meter\"\npoll = { address = \"22222222\", wake_up = true }\nevery = \"1s\"",
    );
    let line = Line::open(&(port("head", std::path::Path::new("/dev/head"), "") + &devices));
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let config = port("head", line.pty.path(), "") + &devices + &support::upstream(mosquitto.port);
    let _gateway = Gateway::start(&config);
    for name in ["a", "b"] {
        let values = wait_values(&tap, name, "energy_import");
        assert!(values["energy_import"].as_f64().unwrap() > 12_345.7, "{values}");
    }
    assert!(line.count(b"/?11111111!\r\n") >= 1);
    assert!(line.count(b"\x06030\r\n") >= 1, "2400 baud for the one with a slow head");
    assert!(line.count(b"\x06050\r\n") >= 1, "9600 for the other");
    let heard = line.heard.lock().unwrap();
    assert!(heard.iter().all(|heard| heard.baud == 300), "everything that is sent, is sent at 300 baud");
    let woken: usize = heard.iter().map(|heard| heard.bytes.iter().filter(|byte| **byte == 0).count()).sum();
    assert!(woken >= 66, "{woken}");
}

#[test]
fn slaves_of_an_mbus_are_read_by_address_and_by_number_and_a_dead_one_costs_the_others_little() {
    let meter = "profile = \"mbus-meter\"\nevery = \"1s\"\ntimeout = \"300ms\"\n[[device.points]]\nname = \"energy_s1\"\noptional = true\n";
    let with = |poll: &str| meter.replace("every", &format!("poll = {poll}\nevery"));
    let devices = device("dead", "bus", &with("{ address = 9 }"))
        + &device("one", "bus", &with("{ address = 5 }"))
        + &device("two", "bus", &with("{ address = 17 }"))
        + &device("three", "bus", &with("{ address = \"998877FF\", manufacturer = \"KAM\" }"));
    let line = Line::open(&(port("bus", std::path::Path::new("/dev/bus"), "") + &devices));
    line.dead.lock().unwrap().push(0);
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let config = port("bus", line.pty.path(), "") + &devices + &support::upstream(mosquitto.port);
    let mut gateway = Gateway::start(&config);
    for (name, id) in [("one", "12345605"), ("two", "12345617"), ("three", "99887700")] {
        let values = wait_values(&tap, name, "energy");
        assert_eq!((&values["meter_id"], &values["energy"]), (&json!(id), &json!(37_352)), "{values}");
        assert_eq!(
            (&values["flow_temperature"], &values["energy_s1"]),
            (&json!(101.6), &json!(36_000)),
            "both telegrams"
        );
    }
    let counts = |status: &Json| {
        let of = |name: &str| find(&status["buses"][0]["devices"], name)["answers"].as_u64().unwrap();
        [of("one"), of("two"), of("three"), of("dead")]
    };
    let before = counts(&gateway.ask("status"));
    let begun = Instant::now();
    let status = gateway
        .wait("ten more of each", |status| (0..3).all(|index| counts(status)[index] >= before[index] + 10));
    // Each second one of each, however often the dead one is asked; a busy machine may need longer.
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(counts(&status)[3], 0);
    let error = find(&status["buses"][0]["devices"], "dead")["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("no answer to the"), "{error}");
    // It comes back.
    line.dead.lock().unwrap().clear();
    assert_eq!(wait_values(&tap, "dead", "energy")["meter_id"], "12345609");
}

#[test]
fn an_independent_master_reads_the_simulated_slave_as_the_gateway_does() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("slave");
    let mut simulate = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
    simulate.args(["simulate", "mbus-meter", "--link"]).arg(&link);
    let _slave = Process::start("slave", &mut simulate);
    eventually("the slave is there", || link.exists().then_some(()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/py/formats/mbus_master.py");
    let mut master = Command::new(Python::Formats.interpreter());
    let output = master.arg(script).arg(&link).arg("12345601F418FFFF").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["by_address"]["identification"], "0x12, 0x34, 0x56, 0x01", "{told}");
    assert_eq!(told["by_address"]["manufacturer"], "FGT");
    assert_eq!(told["by_address"]["energy"], 37_352_000.0, "in Wh");
    assert_eq!(told["by_address"]["flow_temperature"], 101.6);
    assert_eq!(told["by_number"]["energy"], 37_353_000.0, "selected by its number, asked once more");
    assert_eq!(told["stranger"], Json::Null, "another number selects nobody");
}
