//! Devices that are simulated: frames made from a config are those that the config, and the maker's manual, describe.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests"
)]

use fieldgate::config::{Facts, Source, parse, profile, render};
use fieldgate::reading::{Quality, Sample};
use fieldgate::sensor::{DeviceConfig, Piece, Points, SimulateError, Simulator, Trial};
use fieldgate::time::Mono;

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
        let frame = simulator.frame();
        assert_eq!((frame.len(), &frame[..4]), (32, [0x42, 0x4d, 0, 28].as_slice()));
        let sum: u16 = frame[..30].iter().map(|byte| u16::from(*byte)).sum();
        assert_eq!(frame[30..], sum.to_be_bytes());
    }
}

#[test]
fn every_profile_is_simulated_or_says_that_it_needs_a_capture() {
    let mut simulated = Vec::new();
    for profile in profile::profiles(&[]) {
        if profile.source.text.contains("\n[file]\n") {
            continue;
        }
        let config = device(&format!("profile = \"{}\"\n", profile.name));
        match Simulator::new(config.clone()) {
            Ok(mut simulator) => {
                let mut trial = Trial::new(&config);
                let mut good = 0;
                for _ in 0..200 {
                    let frame = simulator.frame();
                    let mut take = |piece: Piece<'_>| match piece {
                        Piece::Frame { values: Ok(values), .. } if all_good(&values) => good += 1,
                        piece => panic!("{}: {piece:?}", profile.name),
                    };
                    trial.push(Mono::ZERO, &frame, &mut take);
                    trial.finish(&mut take);
                }
                assert_eq!(good, 200, "{}", profile.name);
                simulated.push(profile.name);
            }
            Err(error) => {
                assert!(
                    matches!(error, SimulateError::NotFromConfig { .. } | SimulateError::Registers),
                    "{}: {error}",
                    profile.name
                )
            }
        }
    }
    for name in ["json-lines", "key-value", "mh-z19", "pms3003", "pms5003", "pms7003", "sds011", "sps30"] {
        assert!(simulated.iter().any(|known| known == name), "{name} is not simulated, but {simulated:?}");
    }
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
    let refused = Simulator::new(device("profile = \"nmea-gps\"\n")).unwrap_err();
    assert!(refused.to_string().contains("--capture"), "{refused}");
}
