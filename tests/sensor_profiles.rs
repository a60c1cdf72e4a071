//! What sensors that send bytes mean, by their profiles alone: captures of real devices against values that other
//! decoders read from them, whole streams and damaged ones.
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

use std::path::Path;

use fieldgate::config::{Facts, Source, parse, render};
use fieldgate::reading::{Quality, Sample, Value};
use fieldgate::sensor::{DeviceConfig, Piece, Trial};
use fieldgate::time::Mono;
use serde_json::Value as Json;

fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap()
}

fn rows(name: &str) -> Vec<Json> {
    let text = String::from_utf8(read(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A device of two lines and, perhaps, more.
fn device(profile: &str, more: &str) -> DeviceConfig {
    let text = format!(
        "[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[[device]]\nname = \"d\"\nport = \"p\"\nprofile = \"{profile}\"\n{more}\n"
    );
    let source = Source { file: "f".into(), text };
    let config = parse(&[source], &Facts { default_id: "gw".into(), ..Facts::default() });
    config.unwrap_or_else(|mistakes| panic!("{}", render(&mistakes))).devices.remove(0)
}

/// What became of a stream.
#[derive(Debug, Default, PartialEq)]
struct Found {
    frames: Vec<(Vec<u8>, Vec<Sample>)>,
    without_values: usize,
    bad: usize,
    skipped: usize,
}

/// Feeds a stream in pieces of this many bytes.
fn decode(device: &DeviceConfig, stream: &[u8], piece: usize) -> Found {
    let mut trial = Trial::new(device);
    let mut found = Found::default();
    let mut take = |piece: Piece<'_>| match piece {
        Piece::Frame { bytes, values: Ok(samples) } => found.frames.push((bytes.to_vec(), samples)),
        Piece::Frame { .. } => found.without_values += 1,
        Piece::Bad { .. } => found.bad += 1,
        Piece::Skipped(bytes) => found.skipped += bytes.len(),
    };
    for piece in stream.chunks(piece) {
        trial.push(Mono::ZERO, piece, &mut take);
    }
    trial.finish(&mut take);
    found
}

fn number(samples: &[Sample], point: &str) -> f64 {
    let sample = samples.iter().find(|sample| &*sample.point == point);
    match sample.map(|sample| (&sample.value, sample.quality)) {
        Some((Some(Value::Number(number)), Quality::Good)) => *number,
        other => panic!("{point}: {other:?}"),
    }
}

/// Compares each frame with the oracle's row: (our name, its name).
fn check(profile: &str, file: &str, names: &[(&str, &str)]) {
    let device = device(profile, "");
    let rows = rows(&format!("{file}.expected.jsonl"));
    let stream = read(&format!("{file}.bin"));
    for piece in [1, 7, stream.len()] {
        let found = decode(&device, &stream, piece);
        assert_eq!((found.frames.len(), found.bad, found.skipped), (rows.len(), 0, 0), "{profile}");
        for ((_, samples), row) in found.frames.iter().zip(&rows) {
            assert_eq!(
                row["values"].as_object().unwrap().len(),
                names.len(),
                "{profile}: every value is compared"
            );
            for (ours, theirs) in names {
                let (value, expected) = (number(samples, ours), row["values"][theirs].as_f64().unwrap());
                // An f32 as the oracle widens it, and its shortest decimal, differ by less than this.
                let close = (value - expected).abs() <= expected.abs() * 1e-7;
                assert!(close, "{profile} {ours}: {value}, the oracle says {expected}");
            }
        }
    }
}

#[test]
fn dust_sensors_of_plantower_read_as_another_decoder_reads_them() {
    let mass = [
        ("pm1_cf1", "raw01"),
        ("pm25_cf1", "raw25"),
        ("pm10_cf1", "raw10"),
        ("pm1", "pm01"),
        ("pm25", "pm25"),
        ("pm10", "pm10"),
    ];
    check("pms3003", "plantower/pms3003", &mass);
    let counts = ["n0_3", "n0_5", "n1_0", "n2_5", "n5_0", "n10_0"].map(|name| (name, name));
    let all = [&mass[..], &counts[..]].concat();
    check("pms5003", "plantower/pmsx003", &all);
    check("pms7003", "plantower/pmsx003", &all);
}

#[test]
fn a_stream_with_damage_gives_exactly_the_good_frames() {
    let rows = rows("plantower/pmsx003.expected.jsonl");
    let stream = read("plantower/stream-damaged.bin");
    for piece in [1, 5, stream.len()] {
        let found = decode(&device("pms5003", ""), &stream, piece);
        let frames: Vec<String> = found.frames.iter().map(|(bytes, _)| hex(bytes)).collect();
        let expected: Vec<&str> =
            [1, 2, 4, 5, 7].iter().map(|n| rows[*n]["frame"].as_str().unwrap()).collect();
        assert_eq!(frames, expected);
        // The frame that was cut and the one with a flipped bit.
        assert_eq!(found.bad, 2);
    }
}

#[test]
fn noise_gives_nothing() {
    let noise = read("plantower/noise-real.bin");
    for profile in ["pms5003", "pms3003", "sds011", "mh-z19", "sps30"] {
        assert_eq!(decode(&device(profile, ""), &noise, 16).frames.len(), 0, "{profile}");
    }
}

#[test]
fn nova_sds011_reads_measurements_alone_and_its_sum_wraps() {
    check("sds011", "sds011/sds011", &[("pm25", "pm25"), ("pm10", "pm10")]);
    for row in rows("sds011/extra-frames.jsonl") {
        let found = decode(&device("sds011", ""), &unhex(row["frame"].as_str().unwrap()), 10);
        match row["values"].as_object() {
            None => assert_eq!(found.frames, [], "{row}"),
            Some(values) => {
                for (name, expected) in values {
                    assert_eq!(Some(number(&found.frames[0].1, name)), expected.as_f64(), "{row}");
                }
            }
        }
    }
}

#[test]
fn winsen_mh_z19_reads_old_and_new_firmware() {
    check("mh-z19", "mhz19/mhz19b", &[("co2", "CO2")]);
    for row in rows("mhz19/mhz19c-frames.jsonl") {
        let found = decode(&device("mh-z19", ""), &unhex(row["frame"].as_str().unwrap()), 9);
        assert_eq!(found.frames.len(), usize::from(row["checksum_ok"].as_bool().unwrap()), "{row}");
        if let Some((_, samples)) = found.frames.first() {
            assert_eq!(Some(number(samples, "co2")), row["values"]["CO2"].as_f64());
        }
    }
}

#[test]
fn sensirion_sps30_reads_stuffed_frames_of_floats() {
    let names = [
        ("pm1", "pm01"),
        ("pm25", "pm25"),
        ("pm4", "pm04"),
        ("pm10", "pm10"),
        ("n0_5", "n0_5"),
        ("n1_0", "n1_0"),
        ("n2_5", "n2_5"),
        ("n4_0", "n4_0"),
        ("n10_0", "n10_0"),
        ("typical_size", "diam"),
    ];
    check("sps30", "sps30/sps30", &names);
}

#[test]
fn scales_and_sdi12_sensors_read_as_their_manuals_say() {
    for row in rows("lines/scales.jsonl") {
        let (line, expected) = (row["line"].as_str().unwrap(), &row["expected"]);
        let profile = if line.contains("GS") || line.contains("NT") { "scale-st-gs" } else { "scale-and" };
        let found = decode(&device(profile, ""), line.as_bytes(), 4);
        let samples = &found.frames[0].1;
        let stable = samples.iter().find(|sample| &*sample.point == "stable").unwrap();
        let status = expected["status"].as_str().unwrap();
        assert_eq!(stable.value, Some(Value::Bool(status == "stable")), "{line}");
        let weight = samples.iter().find(|sample| &*sample.point == "weight").unwrap();
        let value = expected["value"].as_f64();
        assert_eq!(weight.value, value.map(Value::Number), "{line}");
        if let Some(mode) = expected["mode"].as_str() {
            let sample = samples.iter().find(|sample| &*sample.point == "mode").unwrap();
            assert_eq!(sample.value, Some(Value::Text(mode.to_owned())), "{line}");
        }
    }
    for row in rows("lines/sdi12.jsonl") {
        let found = decode(&device("sdi12", ""), row["reply"].as_str().unwrap().as_bytes(), 4);
        match row["values"].as_array() {
            None => assert_eq!((found.frames.len(), found.without_values), (0, 1), "{row}"),
            Some(values) => {
                for (index, expected) in values.iter().enumerate() {
                    let name = format!("v{}", index + 1);
                    assert_eq!(Some(number(&found.frames[0].1, &name)), expected.as_f64(), "{row}");
                }
            }
        }
    }
}

#[test]
fn a_config_comes_before_its_profile_point_by_point() {
    let more = "only = [\"pm10\", \"pm25\"]\n[[device.points]]\nname = \"pm25\"\nscale = 0.5\nevery = \"1min\"\n\
        [[device.points]]\nname = \"version\"\nat = 28\ntype = \"u8\"";
    let found = decode(&device("pms5003", more), &read("plantower/pmsx003.bin"), 32);
    let samples = &found.frames[0].1;
    let names: Vec<&str> = samples.iter().map(|sample| &*sample.point).collect();
    assert_eq!(names, ["pm10", "pm25", "version"]);
    let values = ["pm10", "pm25", "version"].map(|name| number(samples, name));
    assert_eq!(values, [8.0, 4.0, 151.0]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
