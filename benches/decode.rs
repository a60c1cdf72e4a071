//! How fast bytes of sensors become values, by kind of framing and decoder: framing, check, decoding, scaling and the
//! samples, on one core. Run with:
//!
//! ```text
//! cargo bench --bench decode
//! ```
//! A serial line at 115,200 baud brings 0.0115 MB/s.
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

use std::time::{Duration, Instant};

use fieldgate::config::{Facts, Source, parse, render};
use fieldgate::sensor::{DeviceConfig, Piece, Trial};
use fieldgate::time::Mono;

/// One stream is as long as this, at least.
const STREAM_BYTES: usize = 1 << 20;

/// Bytes that a read gives.
const READ_BYTES: usize = 1024;

/// Each kind is measured for this long.
const SPAN: Duration = Duration::from_secs(1);

struct Case {
    name: &'static str,
    device: &'static str,
    frame: fn(&mut fastrand::Rng) -> Vec<u8>,
}

const CASES: [Case; 9] = [
    Case { name: "line, json, 5 points", device: JSON, frame: json },
    Case { name: "line, json, *", device: "decode = \"json\"\npoints = \"*\"", frame: json },
    Case { name: "line, key-value, *", device: "profile = \"key-value\"", frame: key_value },
    Case {
        name: "line, csv, 3 points",
        device: "decode = { kind = \"csv\", columns = [\"t\", \"h\", \"p\"] }\n\
            points = [{ name = \"t\" }, { name = \"h\" }, { name = \"p\" }]",
        frame: |rng| {
            format!("{}.{},{},{}.2\n", rng.u8(10..40), rng.u8(0..10), rng.u8(20..90), rng.u16(950..1050))
                .into()
        },
    },
    Case {
        name: "line, regex (scale-st-gs)",
        device: "profile = \"scale-st-gs\"",
        frame: |rng| format!("ST,GS,+{:3}.{:03}kg\r\n", rng.u8(0..200), rng.u16(0..1000)).into(),
    },
    Case { name: "packet, sum16, binary, 12 points (pms5003)", device: "profile = \"pms5003\"", frame: dust },
    Case { name: "packet, crc16-modbus, binary, 4 f32", device: FLOATS, frame: floats },
    Case { name: "stuffed, sum8, binary, 10 f32 (sps30)", device: "profile = \"sps30\"", frame: stuffed },
    Case { name: "telegram, crc16-arc, obis, 6 points", device: TELEGRAM, frame: telegram },
];

const JSON: &str = "decode = \"json\"\npoints = [{ name = \"temperature\", unit = \"Cel\" }, { name = \"humidity\" }, \
    { name = \"pressure\", scale = 0.01 }, { name = \"speed\", from = \"/wind/speed\" }, { name = \"rain\" }]";

const FLOATS: &str = "framing = { kind = \"packet\", sync = \"a5 10\", length = 20 }\ncheck = \"crc16-modbus\"\n\
    decode = \"binary\"\npoints = [{ name = \"a\", at = 2, type = \"f32\" }, { name = \"b\", at = 6, type = \"f32\" }, \
    { name = \"c\", at = 10, type = \"f32\" }, { name = \"d\", at = 14, type = \"f32\" }]";

const TELEGRAM: &str = "framing = { kind = \"telegram\", start = \"/\", end = \"\\r\\n!\", tail = 4 }\n\
    check = { kind = \"crc16-arc\", over = [0, -4], at = -4, hex = true }\ndecode = \"obis\"\npoints = [\
    { name = \"l1\", from = \"1-0:1.8.1\" }, { name = \"l2\", from = \"1-0:1.8.2\" }, { name = \"l3\", from = \"1-0:2.8.1\" }, \
    { name = \"l4\", from = \"1-0:2.8.2\" }, { name = \"l5\", from = \"1-0:1.7.0\" }, { name = \"l6\", from = \"1-0:32.7.0\" }]";

fn json(rng: &mut fastrand::Rng) -> Vec<u8> {
    format!(
        "{{\"temperature\":{}.{},\"humidity\":{},\"pressure\":{},\"wind\":{{\"speed\":{}.5,\"dir\":{}}},\"rain\":0.25}}\n",
        rng.u8(10..40),
        rng.u8(0..10),
        rng.u8(20..90),
        rng.u32(95_000..105_000),
        rng.u8(0..20),
        rng.u16(0..360)
    )
    .into()
}

fn key_value(rng: &mut fastrand::Rng) -> Vec<u8> {
    format!(
        "t={}.{} h={} light={} door=closed\r\n",
        rng.u8(10..40),
        rng.u8(0..10),
        rng.u8(20..90),
        rng.u16(0..1023)
    )
    .into()
}

fn dust(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut frame = vec![0x42, 0x4d, 0, 28];
    frame.extend((0..26).map(|_| rng.u8(..)));
    let sum: u16 = frame.iter().map(|byte| u16::from(*byte)).sum();
    frame.extend(sum.to_be_bytes());
    frame
}

fn floats(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut frame = vec![0xa5, 0x10];
    frame.extend((0..4).flat_map(|_| (rng.f32() * 250.0).to_be_bytes()));
    let crc = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS).checksum(&frame);
    frame.extend(crc.to_le_bytes());
    frame
}

fn stuffed(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut body = vec![0, 3, 0, 40];
    body.extend((0..10).flat_map(|_| (rng.f32() * 50.0).to_be_bytes()));
    body.push(!body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
    let mut frame = vec![0x7e];
    for byte in body {
        match byte {
            0x7e | 0x7d => frame.extend([0x7d, byte ^ 0x20]),
            other => frame.push(other),
        }
    }
    frame.push(0x7e);
    frame
}

fn telegram(rng: &mut fastrand::Rng) -> Vec<u8> {
    let lines: String =
        ["1.8.1", "1.8.2", "2.8.1", "2.8.2", "1.7.0", "32.7.0", "52.7.0", "72.7.0", "31.7.0", "51.7.0"]
            .iter()
            .map(|code| format!("1-0:{code}({:06}.{:03}*kWh)\r\n", rng.u32(0..999_999), rng.u16(0..1000)))
            .collect();
    let text = format!("/KFM5KAIFA-METER\r\n\r\n1-3:0.2.8(50)\r\n{}!", lines);
    let crc = crc::Crc::<u16>::new(&crc::CRC_16_ARC).checksum(text.as_bytes());
    format!("{text}{crc:04X}\r\n").into()
}

fn device(text: &str) -> DeviceConfig {
    let text = format!(
        "[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[[device]]\nname = \"d\"\nport = \"p\"\n{text}\n"
    );
    let config =
        parse(&[Source { file: "f".into(), text }], &Facts { default_id: "gw".into(), ..Facts::default() });
    config.unwrap_or_else(|mistakes| panic!("{}", render(&mistakes))).devices.remove(0)
}

fn main() {
    println!("{:45} {:>8} {:>12} {:>10}", "", "MB/s", "frames/s", "ns/frame");
    for case in &CASES {
        let device = device(case.device);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut stream = Vec::new();
        let mut sent = 0_usize;
        while stream.len() < STREAM_BYTES {
            stream.extend((case.frame)(&mut rng));
            sent += 1;
        }
        let mut trial = Trial::new(&device);
        let (mut frames, mut bytes, begin) = (0_usize, 0_usize, Instant::now());
        let mut rounds = 0;
        while begin.elapsed() < SPAN {
            for piece in stream.chunks(READ_BYTES) {
                trial.push(Mono::ZERO, piece, |piece| {
                    frames += usize::from(matches!(piece, Piece::Frame { values: Ok(_), .. }));
                });
            }
            bytes += stream.len();
            rounds += 1;
        }
        let seconds = begin.elapsed().as_secs_f64();
        assert_eq!(frames, sent * rounds, "{}: every frame is decoded", case.name);
        println!(
            "{:45} {:8.1} {:12.0} {:10.0}",
            case.name,
            bytes as f64 / 1e6 / seconds,
            frames as f64 / seconds,
            seconds * 1e9 / frames as f64
        );
    }
}
