//! `fieldgate simulate` as others see it: Modbus masters and readers of meters that know nothing of fieldgate, and the
//! gateway itself on the other end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use fieldgate::config::{Facts, Source, parse, profile, render};
use fieldgate::sensor::{Ask, CellType, DeviceConfig, Motion, Points, Simulator, WordOrder};
use fieldgate::time::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Value as Json, json};
use support::{Gateway, Process, Python, eventually, fieldgate, free_port};

/// When the frames are made, for those that tell the time.
const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_000);

fn device(profile: &str) -> DeviceConfig {
    let text = format!(
        "[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[[device]]\nname = \"d\"\nport = \"p\"\nprofile = \"{profile}\"\n"
    );
    let source = Source { file: "f".into(), text };
    let facts = Facts { default_id: "gw".into(), ..Facts::default() };
    parse(&[source], &facts).unwrap_or_else(|mistakes| panic!("{}", render(&mistakes))).devices.remove(0)
}

/// A simulator that runs until the test ends; and what it printed first.
fn simulate(arguments: &[&str]) -> (Process, String) {
    let process = Process::start("simulate", fieldgate().arg("simulate").args(arguments));
    let said =
        eventually("the simulator says where it is", || process.text().lines().next().map(str::to_owned));
    (process, said)
}

/// What a script read.
fn python(python: Python, script: &str, arguments: &[&str]) -> Json {
    let folder = if python == Python::Pymodbus { "pymodbus" } else { "formats" };
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/py").join(folder).join(script);
    let output =
        Command::new(python.interpreter()).arg(path).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A Modbus profile: its unit, what to ask, the values that are set, and what each is in the register.
struct Plan {
    unit: u8,
    reads: Vec<Json>,
    set: Vec<String>,
    expected: BTreeMap<String, f64>,
}

fn plan(device: &DeviceConfig) -> Option<Plan> {
    let Ask::Registers { unit_id, .. } = device.poll.as_ref()?.ask else { return None };
    let Points::List(points) = &device.points else { return None };
    let mut plan = Plan { unit: unit_id, reads: Vec::new(), set: Vec::new(), expected: BTreeMap::new() };
    for (index, point) in points.iter().enumerate() {
        let register = point.register.unwrap();
        let cell = point.cell.unwrap();
        if cell.mask.is_some() || !point.map.is_empty() || !cell.kind.is_number() {
            continue;
        }
        let steps = Decimal::from(100 + 7 * i64::try_from(index).unwrap());
        let is_float = matches!(cell.kind, CellType::F32 | CellType::F64);
        let steps = if is_float { steps + Decimal::new(25, 2) } else { steps };
        let value = steps * point.scale + point.offset;
        let kind = match cell.kind {
            CellType::F32 => "FLOAT32".to_owned(),
            CellType::F64 => "FLOAT64".to_owned(),
            kind => kind.name().replace('u', "UINT").replace('i', "INT"),
        };
        let order = if cell.word_order == WordOrder::LowFirst { "little" } else { "big" };
        plan.reads.push(json!([&*point.name, register.function.code(), register.address, kind, order]));
        plan.set.extend(["--set".to_owned(), format!("{}={value}", point.name)]);
        plan.expected.insert(point.name.to_string(), steps.to_string().parse().unwrap());
    }
    Some(plan)
}

#[test]
fn pymodbus_reads_every_register_of_every_modbus_profile_as_it_was_set() {
    let dir = tempfile::tempdir().unwrap();
    let mut asked = 0;
    for (number, profile) in profile::profiles(&[]).into_iter().enumerate() {
        if profile.source.text.contains("\n[file]\n") {
            continue;
        }
        let Some(plan) = plan(&device(&profile.name)) else { continue };
        assert!(!plan.reads.is_empty(), "{}", profile.name);
        let spec = dir.path().join(format!("{}.json", profile.name));
        std::fs::write(&spec, json!({ "unit": plan.unit, "reads": plan.reads }).to_string()).unwrap();
        let mut arguments: Vec<&str> = plan.set.iter().map(String::as_str).collect();
        // Both ways in turn.
        let over_tcp = number % 2 == 1;
        arguments.push(&profile.name);
        arguments.extend(over_tcp.then_some(["--listen", "127.0.0.1:0"]).into_iter().flatten());
        let (_simulator, place) = simulate(&arguments);
        let (kind, place) = match over_tcp {
            true => ("tcp", place.rsplit(':').next().unwrap()),
            false => ("serial", place.as_str()),
        };
        let read = python(Python::Pymodbus, "ask.py", &[kind, place, spec.to_str().unwrap()]);
        for (name, expected) in &plan.expected {
            assert_eq!(read[name].as_f64(), Some(*expected), "{} {name}: {read}", profile.name);
        }
        asked += 1;
    }
    assert!(asked >= 7, "{asked}");
}

/// A frame with these values.
fn frame(profile: &str, set: &[(&str, &str)]) -> String {
    let mut simulator = Simulator::new(device(profile)).unwrap();
    for (point, value) in set {
        simulator.set(point, Motion::parse(value).unwrap()).unwrap();
    }
    simulator.frame(NOW).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn near(found: &Json, expected: f64) -> bool {
    found.as_f64().is_some_and(|found| (found - expected).abs() < 1e-6 * expected.abs().max(1.0))
}

#[test]
fn readers_that_know_nothing_of_fieldgate_read_simulated_meters_and_receivers_as_they_were_set() {
    let gps = frame(
        "nmea-gps",
        &[
            ("latitude", "-33.8568"),
            ("longitude", "151.2153"),
            ("speed", "5.1444"),
            ("altitude", "4.5"),
            ("satellites", "11"),
        ],
    );
    let read = python(Python::Formats, "sensors.py", &["nmea", &gps]);
    for (name, expected) in [
        ("latitude", -33.8568),
        ("longitude", 151.2153),
        ("knots", 10.0),
        ("altitude", 4.5),
        ("satellites", 11.0),
    ] {
        assert!(near(&read[name], expected), "{name}: {read}");
    }
    assert_eq!((&read["utc"], &read["is_valid"]), (&json!("2026-11-20T14:51:05Z"), &json!(true)));

    let meter = frame(
        "dsmr-p1",
        &[
            ("power_import", "1234"),
            ("energy_import_1", "4321.987"),
            ("voltage_l1", "229.5"),
            ("gas", "112.384"),
        ],
    );
    let read = python(Python::Formats, "sensors.py", &["dsmr", &meter]);
    for (name, expected) in
        [("power_import", 1.234), ("energy_import_1", 4321.987), ("voltage_l1", 229.5), ("gas", 112.384)]
    {
        assert!(near(&read[name], expected), "{name}: {read}");
    }
    assert_eq!((&read["time"], &read["unit"]), (&json!("2026-11-20T14:51:05Z"), &json!("kW")));

    let meter =
        frame("sml-meter", &[("energy_import", "1234.5678"), ("power", "-250.5"), ("current_l1", "1.25")]);
    let read = python(Python::Formats, "sensors.py", &["sml", &meter]);
    for (code, expected) in [("1.8.0", 1_234_567.8), ("16.7.0", -250.5), ("31.7.0", 1.25)] {
        assert!(near(&read[code], expected), "{code}: {read}");
    }

    let meter =
        frame("mbus-meter", &[("energy", "37351"), ("flow_temperature", "61.25"), ("volume", "12.345")]);
    let read = python(Python::Formats, "sensors.py", &["mbus", &meter]);
    let number = |name: &str| read[format!("VIFUnit.{name}")].clone();
    assert!(near(&number("ENERGY_WH")[0], 37_351_000.0), "{read}");
    assert!(near(&number("FLOW_TEMPERATURE")[0], 61.25), "{read}");
    assert!(near(&number("VOLUME")[0], 12.345), "{read}");

    let battery = frame(
        "ve-direct",
        &[("voltage", "12.065"), ("current", "-7.625"), ("relay", "on"), ("power", "-92")],
    );
    let read = python(Python::Formats, "sensors.py", &["vedirect", &battery]);
    assert_eq!(
        (&read["V"], &read["I"], &read["Relay"], &read["P"]),
        (&json!("12065"), &json!("-7625"), &json!("ON"), &json!("-92"))
    );
}

#[test]
fn the_gateway_reads_simulated_slaves_on_a_noisy_line_and_in_tcp_and_finds_a_slow_one_late() {
    let dir = tempfile::tempdir().unwrap();
    let link = |name: &str| dir.path().join(name).display().to_string();
    let (noisy, slow) = (link("noisy"), link("slow"));
    let (_noisy, _) = simulate(&[
        "pzem-016",
        "--set",
        "voltage=231.5",
        "--fault",
        "noise=1%",
        "--fault",
        "echo",
        "--link",
        &noisy,
    ]);
    let (_slow, _) = simulate(&["senseair-s8", "--fault", "slow=800ms", "--link", &slow]);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let (_tcp, _) = simulate(&["eastron-sdm630", "--rate", "10", "--listen", &address]);
    let config = format!(
        "[[port]]\nname = \"noisy\"\npath = \"{noisy}\"\necho = true\n\
         [[device]]\nname = \"meter\"\nport = \"noisy\"\nprofile = \"pzem-016\"\nevery = \"200ms\"\ntimeout = \"1s\"\n\
         [[port]]\nname = \"slow\"\npath = \"{slow}\"\n\
         [[device]]\nname = \"air\"\nport = \"slow\"\nprofile = \"senseair-s8\"\nevery = \"1s\"\ntimeout = \"300ms\"\n\
         [[port]]\nname = \"lan\"\nkind = \"tcp\"\naddress = \"{address}\"\n\
         [[device]]\nname = \"grid\"\nport = \"lan\"\nprofile = \"eastron-sdm630\"\nevery = \"200ms\"\ntimeout = \"5s\"\n"
    );
    let mut gateway = Gateway::start(&config);
    let status = gateway.wait_readings("meter", 8);
    let values = |status: &Json, device: &str| {
        let readings = status["readings"].as_array().unwrap();
        readings.iter().find(|reading| reading["device"] == device).map(|reading| reading["values"].clone())
    };
    assert_eq!(values(&status, "meter").unwrap()["voltage"], 231.5, "{status}");
    let first = gateway.wait_readings("grid", 1);
    let first = values(&first, "grid").unwrap();
    gateway.wait("the values move", |status| values(status, "grid").is_some_and(|values| values != first));
    let bus = |status: &Json, port: &str| {
        let buses = status["buses"].as_array().unwrap();
        buses.iter().find(|bus| bus["port"] == port).unwrap()["devices"][0].clone()
    };
    // Its answers come, and are none: too late for what was asked.
    gateway.wait("the slow one is offline", |status| {
        let slow = bus(status, "slow");
        slow["offline"] == true && slow["late_answers"].as_u64().is_some_and(|late| late > 0)
    });
    gateway.stop();
}

#[test]
fn what_cannot_be_simulated_so_is_refused_in_words() {
    for (arguments, expected) in [
        (&["pms5003", "--fault", "late"][..], "sends by itself"),
        (&["pms5003", "--listen", "127.0.0.1:0"], "only a device with registers"),
        (&["pms5003", "--set", "pm99=1"], "no point \"pm99\", but pm1_cf1"),
        (&["pms5003", "--set", "pm1"], "write POINT=VALUE"),
        (&["pms5003", "--set", "pm1=sine:9..3"], "is not two numbers"),
        (&["pms5003", "--fault", "slow"], "write dead, echo, late"),
        (&["pms5003", "--fault", "noise=2"], "write noise=1%"),
        (&["pms5003", "--rate", "0"], "write frames a second"),
        (&["pms5003", "--rate", "2", "--every", "500"], "cannot be used with"),
    ] {
        let output = fieldgate().arg("simulate").args(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_dead_device_says_nothing_and_ends_when_it_would_have_said_enough() {
    let begin = std::time::Instant::now();
    let output =
        fieldgate().args(["simulate", "sds011", "--rate", "20", "--count", "5", "--fault", "dead"]).output();
    assert!(output.unwrap().status.success());
    assert!(begin.elapsed() >= Duration::from_millis(200), "five frames take their time");
}
