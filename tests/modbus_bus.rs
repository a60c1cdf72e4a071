//! Modbus as it is used: pymodbus as slaves on a line and as a TCP server, the built gateway as master.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use support::{
    BusLine, Gateway, Habit, Process, Pty, Python, eventually, fieldgate, find, free_port, within,
};

/// Starts slaves with these values, and waits until they listen.
fn slaves(gateway_dir: &Path, kind: &str, place: &str, devices: &Json) -> Process {
    let spec = gateway_dir.join(format!("slaves-{kind}.json"));
    std::fs::write(&spec, json!({ "devices": devices }).to_string()).unwrap();
    let process = Python::Pymodbus.start("slaves.py", &[kind, place, spec.to_str().unwrap()]);
    eventually("pymodbus listens", || process.text().contains("ready").then_some(()));
    process
}

fn serial_port(path: &Path) -> String {
    format!("[[port]]\nname = \"bus\"\npath = \"{}\"\nbaud = 115200\n\n", path.display())
}

fn point(name: &str, function: u8, address: u16, more: &str) -> String {
    format!("[[device.points]]\nname = \"{name}\"\nfunction = {function}\naddress = {address}\n{more}\n")
}

fn device(name: &str, unit: u8, keys: &str) -> String {
    format!(
        "[[device]]\nname = \"{name}\"\nport = \"bus\"\ndecode = \"registers\"\nunit_id = {unit}\n{keys}\n"
    )
}

/// The values of a device's last reading.
fn values(status: &Json, device: &str) -> Json {
    let readings = status["readings"].as_array().unwrap();
    let found = readings.iter().find(|reading| reading["device"] == device);
    found.map_or(Json::Null, |reading| reading["values"].clone())
}

/// Every type and word order: name, function, address, keys of the point, pymodbus's type and order, value.
fn every_type() -> Vec<(&'static str, u8, u16, &'static str, &'static str, &'static str, Json)> {
    let (big, little) = ("word_order = \"high-word-first\"", "word_order = \"low-word-first\"");
    vec![
        ("u16", 3, 0, "type = \"u16\"", "UINT16", "big", json!(65_535)),
        ("i16", 3, 1, "type = \"i16\"\nscale = 0.1", "INT16", "big", json!(-101)),
        ("u32", 3, 2, "type = \"u32\"", "UINT32", "big", json!(4_000_000_001_u32)),
        ("u32_low", 3, 4, concat_keys("u32", little), "UINT32", "little", json!(138_730)),
        ("i32", 3, 6, "type = \"i32\"", "INT32", "big", json!(-2_000_000_001)),
        ("i32_low", 3, 8, concat_keys("i32", little), "INT32", "little", json!(-7)),
        ("u64", 3, 10, "type = \"u64\"", "UINT64", "big", json!(9_007_199_254_740_993_u64)),
        ("u64_low", 3, 14, concat_keys("u64", little), "UINT64", "little", json!(77)),
        ("i64", 3, 18, "type = \"i64\"", "INT64", "big", json!(-9_007_199_254_740_993_i64)),
        ("i64_low", 3, 22, concat_keys("i64", little), "INT64", "little", json!(-78)),
        ("f32", 4, 0, concat_keys("f32", big), "FLOAT32", "big", json!(230.2)),
        ("f32_low", 4, 2, concat_keys("f32", little), "FLOAT32", "little", json!(-0.125)),
        ("f64", 4, 4, "type = \"f64\"", "FLOAT64", "big", json!(1_234.567_89)),
        ("f64_low", 4, 8, concat_keys("f64", little), "FLOAT64", "little", json!(-1e-9)),
        ("text", 4, 12, "type = \"string\"\nlength = 10", "STRING", "big", json!("SDM630-M  ")),
        ("relay", 1, 5, "", "BITS", "", json!(true)),
        ("contact", 2, 9, "", "BITS", "", json!(true)),
        ("off", 2, 10, "", "BITS", "", json!(false)),
    ]
}

fn concat_keys(kind: &str, order: &str) -> &'static str {
    Box::leak(format!("type = \"{kind}\"\n{order}").into_boxed_str())
}

fn expected(name: &str, value: &Json) -> Json {
    match name {
        "i16" => json!(-10.1),
        "text" => json!("SDM630-M"),
        _ => value.clone(),
    }
}

fn is_same(one: &Json, other: &Json) -> bool {
    match (one.as_i64(), other.as_i64(), one.as_f64(), other.as_f64()) {
        (Some(one), Some(other), ..) => one == other,
        (.., Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

fn check_every_type(gateway: &mut Gateway) {
    let status = gateway.wait_readings("all", 2);
    let seen = values(&status, "all");
    for (name, .., value) in every_type() {
        assert!(is_same(&seen[name], &expected(name, &value)), "{name}: {} for {value}", seen[name]);
    }
}

fn all_types_device() -> String {
    let mut text = device("all", 1, "every = \"500ms\"\ntimeout = \"5s\"");
    for (name, function, address, keys, ..) in every_type() {
        text += &point(name, function, address, keys);
    }
    text
}

fn all_types_spec() -> Json {
    let row = |(_, function, address, _, kind, order, value): (_, u8, u16, _, &str, &str, Json)| {
        json!([function, address, kind, order, value])
    };
    json!({ "1": every_type().into_iter().map(row).collect::<Vec<_>>() })
}

#[test]
fn every_type_and_word_order_reads_as_pymodbus_was_told_on_a_serial_line() {
    let line = BusLine::open([]);
    let config = serial_port(line.gateway_path()) + &all_types_device();
    let mut gateway = Gateway::new(&config);
    let place = line.slaves_path().to_str().unwrap().to_owned();
    let _slaves = slaves(gateway.dir.path(), "serial", &place, &all_types_spec());
    gateway.start_again();
    check_every_type(&mut gateway);
    let status = gateway.ask("status");
    let bus = &status["buses"][0];
    assert_eq!((&bus["port"], &bus["devices"][0]["name"]), (&json!("bus"), &json!("all")));
    assert!(bus["devices"][0]["latency_p50_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{bus:#}");
    assert!(bus["devices"][0]["answers"].as_u64().unwrap() >= 8, "four functions, two cycles: {bus:#}");
    let shown = Process::run("status", fieldgate().arg("status").arg("--config").arg(gateway.config())).1;
    let line = shown.lines().find(|line| line.starts_with("bus bus ")).unwrap_or_else(|| panic!("{shown}"));
    assert!(line.contains("load ") && line.contains(" requests"), "{line}");
    let line = shown.lines().find(|line| line.trim_start().starts_with("all ") && line.contains("latency"));
    assert!(line.is_some_and(|line| line.contains("0 CRC errors")), "{shown}");
    gateway.stop();
}

#[test]
fn modbus_tcp_reads_the_same_and_comes_back_after_its_server() {
    let port = free_port();
    let config = format!(
        "[[port]]\nname = \"bus\"\nkind = \"tcp\"\naddress = \"127.0.0.1:{port}\"\n\n{}",
        all_types_device()
    );
    let mut gateway = Gateway::new(&config);
    let server = slaves(gateway.dir.path(), "tcp", &port.to_string(), &all_types_spec());
    gateway.start_again();
    check_every_type(&mut gateway);
    drop(server);
    gateway.wait("the port is down", |status| status["ports"][0]["state"] == "down");
    let before = find(&gateway.ask("status")["devices"], "all")["readings"].as_u64().unwrap();
    let _server = slaves(gateway.dir.path(), "tcp", &port.to_string(), &all_types_spec());
    gateway.wait_readings("all", before + 2);
    check_every_type(&mut gateway);
    gateway.stop();
}

/// The register map of a profile as its maker has it: rows of name, function, address, type, order, scale.
fn map(name: &str) -> Vec<Vec<String>> {
    let path = format!("{}/fixtures/modbus/maps/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn each_profile_reads_what_pymodbus_holds_by_the_makers_map() {
    let profiles = [
        ("eastron-sdm120", "eastron-sdm120"),
        ("eastron-sdm230", "eastron-sdm230"),
        ("eastron-sdm630", "eastron-sdm630"),
        ("eastron-sdm72d", "eastron-sdm72"),
        ("pzem-004t-v3", "pzem-004t-v3"),
        ("pzem-016", "pzem-004t-v3"),
        ("senseair-s8", "senseair-s8"),
        ("soil-4in1", "soil-4in1"),
    ];
    let line = BusLine::open([]);
    let mut config = serial_port(line.gateway_path());
    let mut spec = serde_json::Map::new();
    let mut wanted = Vec::new();
    for (index, (profile, file)) in profiles.iter().enumerate() {
        let unit = index + 1;
        writeln!(
            config,
            "[[device]]\nname = \"{profile}\"\nport = \"bus\"\nprofile = \"{profile}\"\nunit_id = {unit}\n\
             every = \"2s\"\ntimeout = \"5s\"\n"
        )
        .unwrap();
        let mut rows = Vec::new();
        for (number, row) in map(file).iter().enumerate() {
            let (name, kind) = (&row[0], &row[4]);
            let raw = match (name.as_str(), kind.as_str()) {
                ("alarm", _) => json!(0xFFFF),
                (_, "f32") => json!(0.5 + number as f64),
                (_, "i16") => json!(-101),
                (_, "u32") => json!(100_000 + number),
                _ => json!(1_000 + number),
            };
            let datatype = match kind.as_str() {
                "f32" => "FLOAT32",
                "u32" => "UINT32",
                "i16" => "INT16",
                _ => "UINT16",
            };
            let order = if row[5] == "little" { "little" } else { "big" };
            let (function, address): (u8, u16) = (row[1].parse().unwrap(), row[2].parse().unwrap());
            rows.push(json!([function, address, datatype, order, raw]));
            let scale: f64 = row[6].parse().unwrap();
            let value = match name.as_str() {
                "alarm" => json!(true),
                _ => json!((raw.as_f64().unwrap() * scale * 1e6).round() / 1e6),
            };
            wanted.push(((*profile).to_owned(), name.clone(), value));
        }
        spec.insert(unit.to_string(), Json::Array(rows));
    }
    let mut gateway = Gateway::new(&config);
    let place = line.slaves_path().to_str().unwrap().to_owned();
    let _slaves = slaves(gateway.dir.path(), "serial", &place, &Json::Object(spec));
    gateway.start_again();
    // The first reading has every point, also the slow ones.
    let mut first: std::collections::BTreeMap<String, Json> = std::collections::BTreeMap::new();
    gateway.wait("each profile has a reading", |status| {
        for (profile, _) in &profiles {
            let seen = values(status, profile);
            let is_first = find(&status["devices"], profile)["readings"] == 1;
            if is_first && seen.as_object().is_some_and(|seen| !seen.is_empty()) {
                first.entry((*profile).to_owned()).or_insert(seen);
            }
        }
        first.len() == profiles.len()
    });
    for (profile, name, value) in &wanted {
        let seen = &first[profile][name];
        assert!(is_same(seen, value), "{profile} {name}: {seen} for {value}");
    }
    assert!(wanted.len() > 90, "{}", wanted.len());
    gateway.stop();
}

/// A device with a protocol of its own: answers to these bytes with those, from a thread that ends with the test.
fn answers(pty: &Pty, question: &'static [u8], answers: Vec<Vec<u8>>) {
    let pty = pty.clone();
    std::thread::spawn(move || {
        let (mut heard, mut answers) = (Vec::new(), answers.into_iter().cycle());
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(60) {
            heard.extend(pty.taken());
            if heard.ends_with(question) {
                heard.clear();
                pty.write(&answers.next().unwrap());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    });
}

#[test]
fn a_device_with_a_protocol_of_its_own_is_asked_by_its_profile() {
    let capture = format!("{}/fixtures/mhz19/mhz19b.bin", env!("CARGO_MANIFEST_DIR"));
    let frames: Vec<Vec<u8>> = std::fs::read(capture).unwrap().chunks(9).map(<[u8]>::to_vec).collect();
    let expected: Vec<u16> = frames.iter().map(|f| u16::from_be_bytes([f[2], f[3]])).collect();
    let pty = Pty::open();
    let question = &[0xff, 0x01, 0x86, 0, 0, 0, 0, 0, 0x79];
    // Before each answer something that looks like the beginning of one, and whose check is wrong.
    let noisy = frames.iter().map(|frame| [&[0xff, 0x86, 1, 2, 3, 4, 5, 6, 7][..], frame].concat());
    answers(&pty, question, noisy.collect());
    let config = serial_port(pty.path()).replace("115200", "9600")
        + "[[device]]\nname = \"co2\"\nport = \"bus\"\nprofile = \"mh-z19\"\nevery = \"300ms\"\ntimeout = \"5s\"\n";
    let mut gateway = Gateway::start(&config);
    let status = gateway.wait_readings("co2", 5);
    let co2 = values(&status, "co2")["co2"].as_f64().unwrap();
    assert!(expected.iter().any(|value| f64::from(*value) == co2), "{co2} is none of {expected:?}");
    let slave = &status["buses"][0]["devices"][0];
    assert!(slave["answers"].as_u64() >= Some(5) && slave["crc_errors"].as_u64() >= Some(5), "{slave:#}");
    gateway.stop();
}

#[test]
fn a_transceiver_that_nobody_can_switch_is_told_in_words() {
    // A pseudo-terminal has no RTS, neither by the driver nor by hand.
    let pty = Pty::open();
    let port = serial_port(pty.path()).replace("\n\n", "\nrs485 = { rts = \"on-send\" }\n\n");
    let config = port + &device("d", 1, "") + &point("x", 3, 0, "type = \"u16\"");
    let mut gateway = Gateway::start(&config);
    let status = gateway.wait("the port is down", |status| status["ports"][0]["state"] == "down");
    let error = status["ports"][0]["error"].as_str().unwrap();
    assert!(error.starts_with("can't write"), "{error}");
    assert!(gateway.log().contains("the driver can't switch the transceiver"), "{}", gateway.log());
    gateway.stop();
}

#[test]
fn of_twenty_devices_the_dead_the_slow_the_late_and_the_echoing_cost_the_others_one_timeout_at_most() {
    const EVERY: Duration = Duration::from_secs(4);
    const TIMEOUT: Duration = Duration::from_millis(400);
    // What a busy machine adds to pymodbus's answers and to our looks.
    const BUSY: Duration = Duration::from_millis(1_500);
    let late = TIMEOUT + Duration::from_millis(60);
    let line = BusLine::open([
        (4, Habit { is_dead: true, ..Habit::default() }),
        (9, Habit { is_dead: true, ..Habit::default() }),
        (10, Habit { is_dead: true, ..Habit::default() }),
        (6, Habit { delay: Duration::from_millis(800), ..Habit::default() }),
        (13, Habit { delay: late, ..Habit::default() }),
        (15, Habit { echoes: true, ..Habit::default() }),
    ]);
    let mut config = serial_port(line.gateway_path());
    let mut spec = serde_json::Map::new();
    for unit in 1..=20_u8 {
        let timeout = if unit == 6 { "3s".to_owned() } else { format!("{}ms", TIMEOUT.as_millis()) };
        let keys = format!("every = \"4s\"\ntimeout = \"{timeout}\"\nretries = 0");
        config += &device(&format!("d{unit}"), unit, &keys);
        config += &point("x", 4, u16::from(unit), "type = \"u16\"");
        spec.insert(unit.to_string(), json!([[4, unit, "UINT16", "big", 1_000 + u16::from(unit)]]));
    }
    let mut gateway = Gateway::new(&config);
    let place = line.slaves_path().to_str().unwrap().to_owned();
    let _slaves = slaves(gateway.dir.path(), "serial", &place, &Json::Object(spec));
    gateway.start_again();
    let well: Vec<u8> = (1..=20).filter(|unit| ![4, 9, 10, 13].contains(unit)).collect();
    // From here on it is known who is sick.
    gateway.wait("everybody was asked twice", |status| {
        status["buses"][0]["devices"]
            .as_array()
            .unwrap()
            .iter()
            .all(|slave| slave["requests"].as_u64() >= Some(2))
    });
    let begin = Instant::now();
    within(Duration::from_secs(60), "five cycles have passed", || {
        (begin.elapsed() > EVERY * 5).then_some(())
    });
    let status = gateway.ask("status");
    let requests = line.requests();
    for unit in &well {
        let times: Vec<Instant> =
            requests.iter().filter(|r| r.bytes[0] == *unit && r.at >= begin).map(|r| r.at).collect();
        assert!(times.len() >= 4, "d{unit} was asked {} times", times.len());
        for pair in times.windows(2) {
            let gap = pair[1] - pair[0];
            assert!(gap < EVERY + TIMEOUT + Duration::from_millis(800) + BUSY, "d{unit} waited {gap:?}");
        }
        let value = &values(&status, &format!("d{unit}"))["x"];
        assert!(is_same(value, &json!(1_000 + u16::from(*unit))), "d{unit}: {value}");
    }
    let slaves = &status["buses"][0]["devices"];
    for unit in [4, 9, 10] {
        let slave = find(slaves, &format!("d{unit}"));
        assert_eq!((&slave["answers"], slave["timeouts"].as_u64() > Some(1)), (&json!(0), true), "{slave:#}");
    }
    let slave = find(slaves, "d13");
    assert!(slave["late_answers"].as_u64() >= Some(1), "{slave:#}");
    assert_eq!(values(&status, "d13"), json!({}), "a late answer is no answer");
    assert_eq!(find(slaves, "d15")["echoes"], true);
    assert!(find(slaves, "d6")["latency_max_ms"].as_f64() >= Some(800.0));
    // A dead one that comes back is heard again.
    line.set(4, Habit::default());
    gateway.wait_readings("d4", 1);
    gateway.stop();
}
