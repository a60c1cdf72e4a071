//! Frames of bytes through a port: silence that ends them, what is told of damage and of noise, several devices on a
//! line, and points with a pace of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use fieldgate::config::{Facts, Source, parse, render};
use fieldgate::reading::{Quality, Run, Value};
use fieldgate::sensor::{Input, Notice, Output, Port};
use fieldgate::time::{BootId, ClockTrust, Mono, Now, Timestamp};

fn at(ms: u64) -> Now {
    let span = Duration::from_millis(ms);
    let wall = Timestamp::from_millis(1_795_186_265_000).plus(span);
    Now { mono: Mono::ZERO + span, wall, trust: ClockTrust::Synced }
}

/// A port that opened at 0 with these devices.
fn port(devices: &str) -> Port {
    let text = format!("[[port]]\nname = \"p\"\npath = \"/dev/p\"\n{devices}\n");
    let config =
        parse(&[Source { file: "f".into(), text }], &Facts { default_id: "gw".into(), ..Facts::default() });
    let mut config = config.unwrap_or_else(|mistakes| panic!("{}", render(&mistakes)));
    let mut port = Port::new(config.ports.remove(0), config.devices, Run(1), BootId([7; 16]), 1, at(0));
    port.handle(at(0), Input::Opened);
    told(&mut port);
    port
}

/// What comes out, in words.
fn told(port: &mut Port) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(output) = port.poll_output() {
        match output {
            Output::Send(_) | Output::Done { .. } => panic!("nobody commands here"),
            Output::Reading(reading) => {
                let mut text = reading.device.to_string();
                for sample in &reading.samples {
                    let value = match (&sample.value, sample.quality) {
                        (Some(Value::Number(number)), Quality::Good) => number.to_string(),
                        (Some(Value::Bool(flag)), Quality::Good) => flag.to_string(),
                        (_, quality) => quality.as_str().to_owned(),
                    };
                    text += &format!(" {}={value}", sample.point);
                }
                words.push(text);
            }
            Output::Notice(Notice::BadLines { source, error, .. }) => {
                words.push(format!("bad {source}: {error}"))
            }
            Output::Open | Output::Notice(_) => {}
        }
    }
    words
}

fn feed(port: &mut Port, ms: u64, bytes: &[u8]) -> Vec<String> {
    port.handle(at(ms), Input::Bytes(bytes));
    told(port)
}

const GAP: &str = "[[device]]\nname = \"d\"\nport = \"p\"\nframing = { kind = \"gap\", idle = \"20ms\" }\n\
    check = \"sum8\"\ndecode = \"binary\"\npoints = [{ name = \"a\", at = 0, type = \"u16\" }]";

#[test]
fn silence_ends_a_frame_at_the_deadline() {
    let mut port = port(GAP);
    assert_eq!(feed(&mut port, 1_000, &[1]), [""; 0]);
    assert_eq!(feed(&mut port, 1_010, &[2, 3]), [""; 0]);
    assert_eq!(port.next_deadline(), Some(at(1_030).mono));
    port.handle(at(1_030), Input::Tick);
    assert_eq!(told(&mut port), ["d a=258"]);
    assert_ne!(port.next_deadline(), Some(at(1_030).mono), "nothing is under way");
    // The timer came late, and the next frame with it.
    feed(&mut port, 2_000, &[0, 7, 7]);
    assert_eq!(feed(&mut port, 2_100, &[0, 8, 9]), ["d a=7"]);
    port.handle(at(2_200), Input::Tick);
    assert_eq!(told(&mut port), ["bad d: check sum8: computed 8, found 9"]);
    let status = port.status(at(2_200));
    assert_eq!((status.devices[0].readings, status.devices[0].bad_lines), (2, 1));
}

#[test]
fn a_frame_that_was_under_way_when_the_port_opened_is_nobodys_fault_and_noise_is() {
    let mut port = port("[[device]]\nname = \"d\"\nport = \"p\"\nprofile = \"sds011\"");
    let frame = [0xaa, 0xc0, 6, 0, 7, 0, 0x58, 0xd9, 0x3e, 0xab];
    assert_eq!(feed(&mut port, 10, &frame[4..]), [""; 0]);
    assert_eq!(feed(&mut port, 20, &frame), ["d pm25=0.6 pm10=0.7"]);
    let noise = feed(&mut port, 30, b"garbage");
    assert_eq!(noise, ["bad d: 7 bytes that are no frame (are baud rate, parity and framing right?)"]);
    assert_eq!(feed(&mut port, 40, &frame), ["d pm25=0.6 pm10=0.7"]);
    // At the wrong baud rate there is never a frame: that is told, and not only that the device is stale.
    let mut port = self::port("[[device]]\nname = \"d\"\nport = \"p\"\nprofile = \"sds011\"");
    assert_eq!(feed(&mut port, 10, &[0xfe; 8]), [""; 0]);
    assert_eq!(feed(&mut port, 20, &[0xfe; 8]).len(), 1);
}

#[test]
fn devices_of_several_kinds_of_frame_share_a_line() {
    let mut port = port(
        "[[device]]\nname = \"a\"\nport = \"p\"\nprofile = \"pms3003\"\nonly = [\"pm25\"]\n\
         [[device]]\nname = \"b\"\nport = \"p\"\nprofile = \"sds011\"",
    );
    let mut dust = vec![0x42, 0x4d, 0, 20];
    dust.extend([0; 8]);
    dust.extend([0, 9]);
    dust.extend([0; 8]);
    let sum: u16 = dust.iter().map(|byte| u16::from(*byte)).sum();
    dust.extend(sum.to_be_bytes());
    let nova = [0xaa, 0xc0, 6, 0, 7, 0, 0x58, 0xd9, 0x3e, 0xab];
    let words = feed(&mut port, 1_000, &[&dust[..], &nova].concat());
    assert!(
        words.contains(&"a pm25=9".to_owned()) && words.contains(&"b pm25=0.6 pm10=0.7".to_owned()),
        "{words:?}"
    );
}

#[test]
fn a_point_with_a_pace_takes_part_when_it_is_due() {
    let mut port = port(
        "[[device]]\nname = \"d\"\nport = \"p\"\ndecode = \"csv\"\n\
         points = [{ name = \"fast\", from = 1 }, { name = \"slow\", from = 2, every = \"10s\" }]\n",
    );
    let mut with_slow = Vec::new();
    for second in 1..=40 {
        let words = feed(&mut port, second * 1_000, b"1,2\n");
        assert_eq!(words.len(), 1);
        if words[0].contains("slow") {
            with_slow.push(second);
        }
    }
    assert_eq!(with_slow, [1, 11, 21, 31]);
    assert_eq!(port.status(at(40_000)).devices[0].readings, 40);

    // Where no point is due there is no reading, and the device is fresh all the same.
    let mut port = self::port(
        "[[device]]\nname = \"d\"\nport = \"p\"\ndecode = \"csv\"\nstale_after = \"2s\"\n\
         points = [{ name = \"slow\", from = 1, every = \"10s\" }]\n",
    );
    let readings: usize = (1..=15).map(|second| feed(&mut port, second * 1_000, b"5\n").len()).sum();
    let status = port.status(at(15_500));
    assert_eq!((readings, status.devices[0].readings, status.devices[0].stale), (2, 2, false));
}

#[test]
fn maps_invalid_values_and_bits_say_what_bytes_mean() {
    let mut port = port(
        "[[device]]\nname = \"d\"\nport = \"p\"\nframing = { kind = \"packet\", sync = \"a5\", length = 6 }\ndecode = \"binary\"\n\
         points = [{ name = \"t\", at = 1, type = \"i16\", scale = 0.01, precision = 1, invalid = [0x7fff] },\n\
         { name = \"on\", at = 3, type = \"bit\", bit = 1 },\n\
         { name = \"fan\", at = 3, type = \"u8\", mask = 0xf0, shift = 4, map = { 0 = 0, 1 = 50, 2 = 100 } },\n\
         { name = \"ok\", at = 4, type = \"u8\", map = { 1 = true } },\n\
         { name = \"digits\", at = 5, type = \"bcd\", length = 1 }]",
    );
    let words = feed(&mut port, 1_000, &[0xa5, 0x08, 0x6b, 0x22, 1, 0x42]);
    assert_eq!(words, ["d t=21.6 on=true fan=100 ok=true digits=42"]);
    let words = feed(&mut port, 1_001, &[0xa5, 0x7f, 0xff, 0x31, 2, 0xff]);
    assert_eq!(words, ["d t=invalid on=false fan=invalid ok=invalid digits=invalid"]);
    let words = feed(&mut port, 1_002, &[0xa5, 0xff, 0x9c, 0x00, 1, 0x00]);
    assert_eq!(words, ["d t=-1 on=false fan=0 ok=true digits=0"]);
}
