//! What sensors send, through a port to payloads: the lines under `fixtures/` and what they mean.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use fieldgate::ingest;
use fieldgate::reading::{Quality, Reading, Run, Value};
use fieldgate::sensor::{
    DataBits, DecodeConfig, DeviceConfig, FlowControl, FramingConfig, Input, LineEnd, Output, Parity,
    PointConfig, PointType, Points, Port, PortConfig, PortKind, StopBits,
};
use fieldgate::time::{BootId, ClockTrust, Mono, Now, Timestamp};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lines").join(name)).unwrap()
}

fn now(seconds: u64) -> Now {
    let span = Duration::from_secs(seconds);
    let wall = Timestamp::from_millis(1_795_186_265_000).plus(span);
    Now { mono: Mono::ZERO + span, wall, trust: ClockTrust::Synced }
}

/// Opens a port with this one device, feeds the bytes after a quiet second and returns the readings; there must be
/// no bad line.
fn readings(name: &str, decode: DecodeConfig, points: Points, bytes: &[u8]) -> Vec<Reading> {
    let port = PortConfig {
        name: "com1".into(),
        kind: PortKind::Serial,
        path: "/dev/ttyUSB0".into(),
        usb: None,
        baud: 9600,
        data_bits: DataBits::Eight,
        parity: Parity::None,
        stop_bits: StopBits::One,
        flow_control: FlowControl::None,
        dtr: None,
        rts: None,
        echo: false,
        gap: None,
        rs485: None,
    };
    let device = DeviceConfig {
        name: name.into(),
        port: "com1".into(),
        framing: FramingConfig::Line { end: LineEnd::Any, bytes_max: 4096 },
        check: None,
        decode,
        points,
        stale_after: Duration::from_secs(60),
        poll: None,
        commands: Vec::new(),
    };
    let mut port = Port::new(port, vec![device], Run(17), BootId([7; 16]), 1, now(0));
    port.handle(now(0), Input::Opened);
    port.handle(now(1), Input::Bytes(bytes));
    let mut readings = Vec::new();
    while let Some(output) = port.poll_output() {
        match output {
            Output::Send(_) | Output::Done { .. } => panic!("nobody commands here"),
            Output::Reading(reading) => readings.push(reading),
            Output::Open | Output::Notice(fieldgate::sensor::Notice::PortOpened) => {}
            Output::Notice(notice) => panic!("{notice:?}"),
        }
    }
    let status = port.status(now(1));
    assert_eq!(status.devices[0].bad_lines, 0);
    assert_eq!(status.bytes, u64::try_from(bytes.len()).unwrap());
    readings
}

fn payload(reading: &Reading) -> String {
    let message = ingest::message("fieldgate/gw-1", reading.clone(), BootId([7; 16]), now(1));
    String::from_utf8(message.payload.to_vec()).unwrap()
}

fn value<'a>(reading: &'a Reading, point: &str) -> (Option<&'a Value>, Quality) {
    let sample = reading.samples.iter().find(|sample| &*sample.point == point).unwrap();
    (sample.value.as_ref(), sample.quality)
}

fn number(reading: &Reading, point: &str) -> f64 {
    match value(reading, point) {
        (Some(Value::Number(number)), Quality::Good) => *number,
        other => panic!("{point}: {other:?}"),
    }
}

fn kind(name: &str, kind: PointType) -> PointConfig {
    PointConfig { kind, ..PointConfig::named(name) }
}

fn scale_decoder() -> DecodeConfig {
    let pattern = r"^(?<status>ST|US|OL),(?:(?<mode>GS|NT),)?(?:(?<weight>[+-]\s*[0-9.]+)\s*(?<unit>k?g))?";
    DecodeConfig::Regex(fieldgate::sensor::Pattern(regex::Regex::new(pattern).unwrap()))
}

#[test]
fn scales_say_what_their_manuals_say() {
    let text = String::from_utf8(fixture("scales.jsonl")).unwrap();
    let points = || {
        Points::List(vec![
            PointConfig::named("weight"),
            kind("status", PointType::Text),
            PointConfig { optional: true, ..kind("mode", PointType::Text) },
            PointConfig { optional: true, ..kind("unit", PointType::Text) },
        ])
    };
    let mut rows = 0;
    for row in text.lines() {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let line = row["line"].as_str().unwrap();
        let expected = &row["expected"];
        let readings = readings("scale", scale_decoder(), points(), line.as_bytes());
        assert_eq!(readings.len(), 1, "{line}");
        let reading = &readings[0];
        match expected["value"].as_f64() {
            Some(weight) => assert_eq!(number(reading, "weight"), weight, "{line}"),
            None => assert_eq!(value(reading, "weight"), (None, Quality::Invalid), "{line}"),
        }
        let word = |point: &str| match reading.samples.iter().find(|sample| &*sample.point == point) {
            Some(sample) => match &sample.value {
                Some(Value::Text(word)) => Some(word.clone()),
                other => panic!("{point}: {other:?}"),
            },
            None => None,
        };
        let status = match expected["status"].as_str().unwrap() {
            "stable" => "ST",
            "unstable" => "US",
            "overload" => "OL",
            other => panic!("{other}"),
        };
        let mode = expected["mode"].as_str().map(|mode| if mode == "gross" { "GS" } else { "NT" });
        assert_eq!(word("status").as_deref(), Some(status), "{line}");
        assert_eq!(word("mode").as_deref(), mode, "{line}");
        assert_eq!(word("unit").as_deref(), expected["unit"].as_str(), "{line}");
        rows += 1;
    }
    assert_eq!(rows, 5);
}

#[test]
fn every_line_of_the_weather_station_is_a_reading() {
    let bytes = fixture("weather-station.jsonl");
    let at = |name: &str, from: &str| PointConfig { from: from.into(), ..PointConfig::named(name) };
    let points = vec![
        at("temperature", "temperature"),
        at("humidity", "/humidity"),
        at("pressure", "pressure"),
        at("wind", "/wind/speed"),
        at("gust", "/wind/gust"),
        at("direction", "/wind/direction"),
        at("rain", "rain"),
    ];
    let readings = readings("weather", DecodeConfig::Json, Points::List(points), &bytes);
    assert_eq!(readings.len(), 60);
    assert_eq!(
        payload(&readings[0]),
        r#"{"time":"2026-11-20T14:51:06.000Z","seq":"17-1","values":{"temperature":6.78,"humidity":81,"pressure":1009.38,"wind":3.4,"gust":4.4,"direction":234,"rain":12.4}}"#
    );
    let text = String::from_utf8(bytes).unwrap();
    for (line, reading) in text.lines().zip(&readings) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for (point, expected) in [
            ("temperature", &line["temperature"]),
            ("humidity", &line["humidity"]),
            ("pressure", &line["pressure"]),
            ("wind", &line["wind"]["speed"]),
            ("gust", &line["wind"]["gust"]),
            ("direction", &line["wind"]["direction"]),
            ("rain", &line["rain"]),
        ] {
            assert_eq!(Some(number(reading, point)), expected.as_f64(), "{point}");
        }
    }
}

#[test]
fn every_line_of_the_scale_is_a_reading() {
    let bytes = fixture("scale.txt");
    let grams = PointConfig {
        from: "weight".into(),
        scale: "1000".parse().unwrap(),
        ..kind("grams", PointType::Integer)
    };
    let points = vec![PointConfig::named("weight"), grams, kind("status", PointType::Text)];
    let readings = readings("scale", scale_decoder(), Points::List(points), &bytes);
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!((text.lines().count(), readings.len()), (62, 62));
    for (line, reading) in text.lines().zip(&readings) {
        let digits: String =
            line[6..].chars().filter(|character| "-.0123456789".contains(*character)).collect();
        assert_eq!(number(reading, "weight"), digits.parse::<f64>().unwrap(), "{line}");
        let grams = digits.replace('.', "").parse().unwrap();
        assert_eq!(value(reading, "grams"), (Some(&Value::Integer(grams)), Quality::Good), "{line}");
        assert_eq!(value(reading, "status").0, Some(&Value::Text(line[..2].into())), "{line}");
    }
}

#[test]
fn every_line_of_the_arduino_is_a_reading() {
    let bytes = fixture("arduino.txt");
    let decode = || DecodeConfig::KeyValue { pair: '=', separator: None };
    let points = vec![
        PointConfig { from: "t".into(), ..PointConfig::named("temperature") },
        kind("light", PointType::Integer),
        kind("door", PointType::Bool),
        PointConfig { from: "up".into(), scale: "0.001".parse().unwrap(), ..PointConfig::named("uptime") },
    ];
    let listed = readings("arduino", decode(), Points::List(points), &bytes);
    let all = readings("arduino", decode(), Points::All, &bytes);
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!((text.lines().count(), listed.len(), all.len()), (60, 60, 60));
    let mut open = 0;
    for ((line, listed), all) in text.lines().zip(&listed).zip(&all) {
        let words: Vec<(&str, &str)> = line.split(' ').map(|pair| pair.split_once('=').unwrap()).collect();
        let word = |key: &str| words.iter().find(|(known, _)| *known == key).unwrap().1;
        assert_eq!(number(listed, "temperature"), word("t").parse::<f64>().unwrap());
        assert_eq!(value(listed, "light").0, Some(&Value::Integer(word("light").parse().unwrap())));
        assert_eq!(value(listed, "door").0, Some(&Value::Bool(word("door") == "closed")));
        let (seconds, millis) = word("up").split_at(word("up").len() - 3);
        assert_eq!(number(listed, "uptime"), format!("{seconds}.{millis}").parse::<f64>().unwrap());
        open += usize::from(word("door") == "open");
        let names: Vec<&str> = all.samples.iter().map(|sample| &*sample.point).collect();
        assert_eq!(names, ["t", "h", "light", "door", "soil", "up"]);
        assert_eq!(number(all, "up"), word("up").parse::<f64>().unwrap());
    }
    assert_eq!(open, 6);
}
