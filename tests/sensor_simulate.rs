//! Devices that are simulated: frames made from a config are those that the config, and the maker's manual, describe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

use std::time::Duration;

use fieldgate::config::{Facts, Source, parse, profile, render};
use fieldgate::reading::{Quality, Sample};
use fieldgate::sensor::{
    Asked, DeviceConfig, Faults, Motion, Piece, Points, SimulateError, Simulator, Slave, Transport, Trial,
};
use fieldgate::time::{Mono, Now, Timestamp};

/// When the frames are made, for those that tell the time.
const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_000);

fn all_good(values: &[Sample]) -> bool {
    values.iter().all(|sample| sample.quality != Quality::Invalid)
}

fn device(text: &str) -> DeviceConfig {
    let text =
        format!("[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[[device]]\nname = \"d\"\nport = \"p\"\n{text}");
    let source = Source { file: "f".into(), text };
    let facts = Facts { default_id: "gw".into(), ..Facts::default() };
    parse(&[source], &facts).unwrap_or_else(|mistakes| panic!("{}", render(&mistakes))).devices.remove(0)
}

#[test]
fn frames_of_a_dust_sensor_are_as_its_manual_says() {
    let mut simulator = Simulator::new(device("profile = \"pms5003\"\n")).unwrap();
    for _ in 0..100 {
        let frame = simulator.frame(NOW).unwrap();
        assert_eq!((frame.len(), &frame[..4]), (32, [0x42, 0x4d, 0, 28].as_slice()));
        let sum: u16 = frame[..30].iter().map(|byte| u16::from(*byte)).sum();
        assert_eq!(frame[30..], sum.to_be_bytes());
    }
}

#[test]
fn every_profile_is_simulated_and_reads_what_it_is_made_to_send() {
    let mut simulated = 0;
    for profile in profile::profiles(&[]) {
        if profile.source.text.contains("\n[file]\n") {
            continue;
        }
        simulated += 1;
        let config = device(&format!("profile = \"{}\"\n", profile.name));
        let points: Vec<String> = match &config.points {
            Points::List(points) => points.iter().map(|point| point.name.to_string()).collect(),
            Points::All => Vec::new(),
        };
        let mut seen = std::collections::BTreeSet::new();
        match Simulator::new(config.clone()) {
            Ok(mut simulator) => {
                let mut trial = Trial::new(&config);
                let mut good = 0;
                for _ in 0..200 {
                    let frame = simulator.frame(NOW).unwrap();
                    let mut take = |piece: Piece<'_>| match piece {
                        Piece::Frame { values: Ok(values), .. } if all_good(&values) => {
                            good += 1;
                            seen.extend(values.into_iter().map(|value| value.point.to_string()));
                        }
                        piece => panic!("{}: {piece:?}", profile.name),
                    };
                    trial.push(Mono::ZERO, &frame, &mut take);
                    trial.finish(&mut take);
                }
                // A receiver sends three sentences, a battery monitor several blocks.
                assert!(good >= 200, "{}: {good}", profile.name);
            }
            Err(SimulateError::Registers) => {
                let slave = Slave::new(&config, Duration::from_secs(1));
                assert!(slave.is_ok(), "{}: {slave:?}", profile.name);
                continue;
            }
            Err(error) => panic!("{}: {error}", profile.name),
        }
        let missing: Vec<_> = points.iter().filter(|point| !seen.contains(*point)).collect();
        let allowed: &[&str] = match &*profile.name {
            // Its time, and how long it has run, have forms of their own.
            "mbus-meter" => &["time", "operating_time"],
            _ => &[],
        };
        assert!(
            missing.iter().all(|point| allowed.contains(&point.as_str())),
            "{}: {missing:?}",
            profile.name
        );
    }
    assert!(simulated >= 20, "{simulated}");
}

#[test]
fn odd_devices_read_what_they_are_said_to_send() {
    for text in [
        "decode = { kind = \"csv\", separator = \";\", columns = [\"a\", \"b\"] }\n\
         points = [{ name = \"b\" }, { name = \"x\", from = 4, type = \"bool\" }]\n",
        "decode = \"json\"\npoints = [{ name = \"t\", from = \"/bme/t\", min = -5, max = 5 }, \
         { name = \"s\", map = { ON = true, OFF = false } }, { name = \"w\", type = \"text\" }]\n",
        "decode = { kind = \"key-value\", pair = \":\", separator = \"|\" }\npoints = [{ name = \"n\", type = \"integer\" }]\n",
        "framing = { kind = \"packet\", sync = \"7e\", length = { at = 1, type = \"u8\", add = 3 }, end = \"7f\" }\n\
         check = { kind = \"crc16-modbus\", at = -3 }\ndecode = { kind = \"binary\", endian = \"little\" }\n\
         points = [{ name = \"low\", at = 2, type = \"u8\", mask = 15 }, \
         { name = \"high\", at = 2, type = \"u8\", mask = 240, shift = 4, max = 10, min = 0 }, \
         { name = \"flag\", at = 3, type = \"bit\", bit = 3 }, { name = \"word\", at = 4, type = \"string\", length = 10 }, \
         { name = \"f\", at = 14, type = \"f32\" }, { name = \"d\", at = 18, type = \"bcd\", length = 2 }]\n",
        "framing = { kind = \"gap\", idle = \"50ms\" }\ndecode = { kind = \"binary\" }\n\
         points = [{ name = \"n\", at = 0, type = \"i32\", scale = 0.01, offset = -40 }]\n",
    ] {
        let mut device = device(text);
        if let Points::List(points) = &mut device.points {
            points.iter_mut().filter(|point| &*point.name == "low").for_each(|point| point.max = Some(15.0));
        }
        let made = Simulator::new(device);
        assert!(made.is_ok(), "{text}\n{:?}", made.err());
    }
    let refused = Simulator::new(device(
        "decode = { kind = \"regex\", pattern = '^(?<t>[0-9.]+);x\\b\\B' }\npoints = [{ name = \"t\" }]\n",
    ));
    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains("--capture"), "{refused}");
}

/// The values of one frame.
fn read(config: &DeviceConfig, frame: &[u8]) -> Vec<(String, String)> {
    let mut trial = Trial::new(config);
    let mut read = Vec::new();
    let mut take = |piece: Piece<'_>| {
        if let Piece::Frame { values: Ok(values), .. } = piece {
            read.extend(
                values.into_iter().map(|sample| (sample.point.to_string(), format!("{:?}", sample.value))),
            );
        }
    };
    trial.push(Mono::ZERO, frame, &mut take);
    trial.finish(&mut take);
    read
}

#[test]
fn a_value_that_is_set_is_read_and_bounds_are_kept() {
    for (profile, point, value, expected) in [
        ("pms5003", "pm25", "17", "Number(17.0)"),
        ("scale-and", "weight", "81.72", "Number(81.72)"),
        ("scale-and", "stable", "false", "Bool(false)"),
        ("scale-st-gs", "mode", "net", "Text(\"net\")"),
        ("sdi12", "v3", "-2.5", "Number(-2.5)"),
        ("nmea-gps", "latitude", "-33.8568", "Number(-33.8568)"),
        ("nmea-gps", "altitude", "4.5", "Number(4.5)"),
        ("dsmr-p1", "power_import", "1234", "Number(1234.0)"),
        ("dsmr-p1", "gas", "12.345", "Number(12.345)"),
        ("dsmr-p1", "meter_id", "E0012", "Text(\"E0012\")"),
        ("sml-meter", "energy_import", "1234.5678", "Number(1234.5678)"),
        ("sml-meter", "power", "-250.5", "Number(-250.5)"),
        ("iec62056-21-meter", "energy_import_1", "65.3", "Number(65.3)"),
        ("mbus-meter", "flow_temperature", "61.25", "Number(61.25)"),
        ("mbus-meter", "energy", "37351", "Number(37351.0)"),
        ("ve-direct", "voltage", "12.065", "Number(12.065)"),
        ("ve-direct", "relay", "on", "Bool(true)"),
        ("ve-direct", "product_id", "0xA05F", "Text(\"0xA05F\")"),
    ] {
        let config = device(&format!("profile = \"{profile}\"\n"));
        let mut simulator = Simulator::new(config.clone()).unwrap();
        simulator.set(point, Motion::parse(value).unwrap()).unwrap();
        let frame = simulator.frame(NOW).unwrap();
        let values = read(&config, &frame);
        let found = values.iter().find(|(name, _)| name == point).map(|(_, value)| value.as_str());
        assert_eq!(found, Some(format!("Some({expected})").as_str()), "{profile} {point}: {values:?}");
    }
    let config = device("decode = \"json\"\npoints = [{ name = \"t\", unit = \"Cel\" }]\n");
    for shape in ["sine", "ramp", "noise"] {
        let mut simulator = Simulator::new(config.clone()).unwrap();
        simulator.set("t", Motion::parse(&format!("{shape}:-2..3.5")).unwrap()).unwrap();
        let mut seen = Vec::new();
        for _ in 0..120 {
            let frame = String::from_utf8(simulator.frame(NOW).unwrap()).unwrap();
            let json: serde_json::Value = serde_json::from_str(&frame).unwrap();
            seen.push(json["t"].as_f64().unwrap());
        }
        assert!(seen.iter().all(|value| (-2.0..=3.5).contains(value)), "{shape}: {seen:?}");
        let (low, high) =
            (seen.iter().copied().fold(9.0, f64::min), seen.iter().copied().fold(-9.0, f64::max));
        assert!(high - low > 4.0, "{shape} moves: {low} to {high}");
    }
    assert!(Motion::parse("sine:3..2").is_err() && Motion::parse("sine:x").is_err());
    let mut simulator = Simulator::new(config).unwrap();
    let error = simulator.set("u", Motion::parse("1").unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "the device has no point \"u\", but t");
}

fn now(millis: u64) -> Now {
    Now { mono: Mono::from_nanos(millis * 1_000_000), wall: NOW, ..Now::default() }
}

/// A request with its CRC.
fn rtu(bytes: &[u8]) -> Vec<u8> {
    let crc = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS).checksum(bytes);
    [bytes, &crc.to_le_bytes()].concat()
}

fn slave(faults: Faults) -> Asked {
    let config = device("profile = \"pzem-016\"\n");
    let mut slave = Slave::new(&config, Duration::from_secs(1)).unwrap();
    slave.set("voltage", Motion::parse("231.5").unwrap()).unwrap();
    slave.set("power", Motion::parse("70000.1").unwrap()).unwrap();
    Asked::slave(slave, Transport::Rtu, faults, 1)
}

/// Everything that it says until then.
fn said(asked: &mut Asked, millis: u64) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| asked.poll(now(millis).mono)).map(|(_, bytes)| bytes).collect()
}

#[test]
fn a_simulated_slave_answers_as_modbus_says_and_refuses_what_it_has_not() {
    let mut asked = slave(Faults::default());
    for (request, expected) in [
        (rtu(&[1, 4, 0, 0, 0, 1]), rtu(&[1, 4, 2, 0x09, 0x0b])),
        // 700001 with its low word first, as this meter sends it.
        (rtu(&[1, 4, 0, 3, 0, 2]), rtu(&[1, 4, 4, 0xae, 0x61, 0x00, 0x0a])),
        (rtu(&[1, 4, 0, 10, 0, 1]), rtu(&[1, 0x84, 2])),
        (rtu(&[1, 3, 0, 0, 0, 1]), rtu(&[1, 0x83, 2])),
        (rtu(&[1, 4, 0, 0, 0, 0]), rtu(&[1, 0x84, 3])),
        (rtu(&[1, 4, 0, 0, 0, 126]), rtu(&[1, 0x84, 3])),
        (rtu(&[1, 7, 0, 0, 0, 0]), rtu(&[1, 0x87, 1])),
    ] {
        asked.push(now(0), 0, &request).unwrap();
        assert_eq!(said(&mut asked, 0), [expected], "{request:02x?}");
    }
    // Another unit, a broadcast, and a request that was damaged.
    asked.push(now(0), 0, &rtu(&[2, 4, 0, 0, 0, 1])).unwrap();
    asked.push(now(0), 0, &rtu(&[0, 6, 0, 0, 0, 1])).unwrap();
    asked.push(now(0), 0, &[1, 4, 0, 0, 0, 1, 0, 0]).unwrap();
    assert_eq!(said(&mut asked, 0), Vec::<Vec<u8>>::new());
    // What is left of it is forgotten by the next, which comes in pieces.
    let request = rtu(&[1, 4, 0, 0, 0, 1]);
    asked.push(now(1_000), 0, &request[..3]).unwrap();
    asked.push(now(1_010), 0, &request[3..]).unwrap();
    assert_eq!(said(&mut asked, 1_010).len(), 1);
}

#[test]
fn what_is_written_to_a_simulated_slave_is_read_again() {
    let config = device(
        "decode = \"registers\"\nunit_id = 9\npoints = [{ name = \"setpoint\", function = 3, address = 5, type = \"u16\" }, \
         { name = \"mode\", function = 3, address = 6, type = \"u16\" }, { name = \"relay\", function = 1, address = 2 }, \
         { name = \"lamp\", function = 1, address = 3 }]\n",
    );
    let slave = Slave::new(&config, Duration::from_secs(1)).unwrap();
    let mut asked = Asked::slave(slave, Transport::Rtu, Faults::default(), 1);
    for (request, expected) in [
        (rtu(&[9, 6, 0, 5, 0x12, 0x34]), rtu(&[9, 6, 0, 5, 0x12, 0x34])),
        (rtu(&[9, 3, 0, 5, 0, 1]), rtu(&[9, 3, 2, 0x12, 0x34])),
        (rtu(&[9, 16, 0, 5, 0, 2, 4, 0, 1, 0, 2]), rtu(&[9, 16, 0, 5, 0, 2])),
        (rtu(&[9, 3, 0, 5, 0, 2]), rtu(&[9, 3, 4, 0, 1, 0, 2])),
        (rtu(&[9, 15, 0, 2, 0, 2, 1, 0b10]), rtu(&[9, 15, 0, 2, 0, 2])),
        (rtu(&[9, 1, 0, 2, 0, 2]), rtu(&[9, 1, 1, 0b10])),
        (rtu(&[9, 5, 0, 2, 0xff, 0]), rtu(&[9, 5, 0, 2, 0xff, 0])),
        (rtu(&[9, 1, 0, 2, 0, 2]), rtu(&[9, 1, 1, 0b11])),
        (rtu(&[9, 5, 0, 2, 1, 0]), rtu(&[9, 0x85, 3])),
        (rtu(&[9, 6, 0, 7, 0, 0]), rtu(&[9, 0x86, 2])),
    ] {
        asked.push(now(0), 0, &request).unwrap();
        assert_eq!(said(&mut asked, 0), [expected], "{request:02x?}");
    }
}

#[test]
fn each_fault_of_a_simulated_device_does_what_it_is_called() {
    let request = rtu(&[1, 4, 0, 0, 0, 1]);
    let answer = rtu(&[1, 4, 2, 0x09, 0x0b]);
    let ask = |faults: Faults| {
        let mut asked = slave(faults);
        asked.push(now(0), 0, &request).unwrap();
        asked
    };
    assert!(said(&mut ask(Faults { is_dead: true, ..Faults::default() }), 9_999).is_empty());
    let mut slow = ask(Faults { slow: Duration::from_millis(800), ..Faults::default() });
    assert!(said(&mut slow, 799).is_empty());
    assert_eq!(slow.deadline(), Some(now(800).mono));
    assert_eq!(said(&mut slow, 800), std::slice::from_ref(&answer));
    let mut echo = ask(Faults { echoes: true, ..Faults::default() });
    assert_eq!(said(&mut echo, 0), [request.clone(), answer.clone()]);
    let mut late = ask(Faults { is_late: true, ..Faults::default() });
    assert!(said(&mut late, 500).is_empty());
    late.push(now(1_000), 0, &rtu(&[1, 4, 0, 7, 0, 1])).unwrap();
    assert_eq!(said(&mut late, 1_000), std::slice::from_ref(&answer), "the answer to the request of before");
    let mut noisy = ask(Faults { noise: 1.0, ..Faults::default() });
    let heard = said(&mut noisy, 0).remove(0);
    assert!(heard.len() == answer.len() && heard.iter().zip(&answer).all(|(one, other)| one != other));
    // A device that is asked by bytes of its own.
    let config = device("profile = \"mh-z19\"\n");
    let simulator = Simulator::new(config.clone()).unwrap();
    let mut asked = Asked::frames(simulator, Faults::default(), 1).unwrap();
    asked.push(now(0), 0, &[0xff, 1, 0x86, 0, 0]).unwrap();
    assert!(said(&mut asked, 0).is_empty());
    asked.push(now(1), 0, &[0, 0, 0, 0x79]).unwrap();
    let frame = said(&mut asked, 1).remove(0);
    assert_eq!((frame.len(), &frame[..2], read(&config, &frame).len()), (9, [0xff, 0x86].as_slice(), 1));
}
