//! How the bytes of a line arrive makes no difference to what is read, and no bytes do harm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::time::Duration;

use fieldgate::reading::{Reading, Run};
use fieldgate::sensor::{
    DataBits, DecodeConfig, DeviceConfig, FlowControl, FramingConfig, Input, LineEnd, Notice, Output, Parity,
    Pattern, PointConfig, Points, Port, PortConfig, PortKind, PortStatus, StopBits,
};
use fieldgate::time::{BootId, Now};
use proptest::prelude::*;

/// The formats, each with a good line for a number.
const FORMATS: [&str; 4] = ["json", "keyvalue", "csv", "regex"];

fn device(format: &str, end: &LineEnd, all: bool) -> DeviceConfig {
    let decode = match format {
        "json" => DecodeConfig::Json,
        "keyvalue" => DecodeConfig::KeyValue { pair: '=', separator: None },
        "csv" => DecodeConfig::Csv { separator: ',', columns: vec!["t".into(), "h".into()] },
        _ => DecodeConfig::Regex(Pattern(regex::Regex::new("^ST,(?<t>[+-][ 0-9.]+)kg(?<h>.*)").unwrap())),
    };
    let points = if all {
        Points::All
    } else {
        Points::List(vec![PointConfig::named("t"), PointConfig { optional: true, ..PointConfig::named("h") }])
    };
    DeviceConfig {
        name: format.into(),
        port: "com1".into(),
        framing: FramingConfig::Line { end: end.clone(), bytes_max: 80 },
        check: None,
        decode,
        points,
        stale_after: Duration::from_secs(60),
        poll: None,
        commands: Vec::new(),
    }
}

fn line(format: &str, number: u32) -> String {
    match format {
        "json" => format!("{{\"t\":{number},\"h\":\"ä\"}}"),
        "keyvalue" => format!("t={number} h=6"),
        "csv" => format!("{number}, 6"),
        _ => format!("ST,+  {number}kg"),
    }
}

/// A port that is open, with its first line behind it.
fn open(devices: Vec<DeviceConfig>) -> Port {
    let config = PortConfig {
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
    let mut port = Port::new(config, devices, Run(17), BootId([7; 16]), 1, Now::default());
    port.handle(Now::default(), Input::Opened);
    port.handle(Now::default(), Input::Bytes(b"\xffcut\r\n"));
    while port.poll_output().is_some() {}
    port
}

/// Everything that comes of a stream cut into these inputs.
fn told(devices: &[DeviceConfig], inputs: &[&[u8]]) -> (Vec<Reading>, Vec<Notice>, PortStatus) {
    let mut port = open(devices.to_vec());
    let (mut readings, mut notices) = (Vec::new(), Vec::new());
    for input in inputs {
        port.handle(Now::default(), Input::Bytes(input));
        while let Some(output) = port.poll_output() {
            match output {
                Output::Send(_) | Output::Done { .. } => panic!("nobody commands here"),
                Output::Reading(reading) => readings.push(reading),
                Output::Notice(notice) => notices.push(notice),
                Output::Open => panic!("the port is open"),
            }
        }
    }
    (readings, notices, port.status(Now::default()))
}

fn cut<'a>(bytes: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut inputs = Vec::new();
    let mut rest = bytes;
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (input, after) = rest.split_at((*length).min(rest.len()));
        inputs.push(input);
        rest = after;
    }
    inputs
}

/// A stream of good lines and of what is not.
fn stream(format: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => (0u32..100_000).prop_map(move |number| format!("{}\r\n", line(format, number)).into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..60),
        1 => "[{}\":,=a-z0-9+.\\- ]{0,40}\n".prop_map(String::into_bytes),
        1 => (0usize..300).prop_map(|length| vec![b'7'; length]),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn how_the_stream_is_cut_makes_no_difference(
        (format, bytes) in prop::sample::select(FORMATS.to_vec()).prop_flat_map(|format| (Just(format), stream(format))),
        lengths in prop::collection::vec(1usize..50, 1..30),
        end in prop::sample::select(vec![LineEnd::Any, LineEnd::Exact(b"\r\n".to_vec())]),
        all in any::<bool>(),
        several in any::<bool>(),
    ) {
        let mut devices = vec![device(format, &end, all)];
        if several {
            devices.push(DeviceConfig { name: "second".into(), ..device("keyvalue", &end, !all) });
        }
        let whole = told(&devices, &[&bytes]);
        prop_assert_eq!(&told(&devices, &cut(&bytes, &lengths)), &whole);
        prop_assert_eq!(&told(&devices, &cut(&bytes, &[1])), &whole);
        let (readings, notices, status) = whole;
        for device in &status.devices {
            let seqs = readings.iter().filter(|reading| reading.device == device.name).map(|reading| reading.seq.number);
            prop_assert!(seqs.eq(1..=device.readings), "numbers without gap");
        }
        let bad = status.bad_lines + status.devices.iter().map(|device| device.bad_lines).sum::<u64>();
        prop_assert_eq!(notices.len(), usize::from(bad > 0), "one notice, as all is one moment");
    }

    #[test]
    fn good_lines_between_garbage_are_all_read_and_the_rest_is_counted(
        format in prop::sample::select(FORMATS.to_vec()),
        garbage in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..120), 1..20),
        lengths in prop::collection::vec(1usize..50, 1..30),
    ) {
        let (mut bytes, mut bad) = (Vec::new(), 0);
        for (number, noise) in (0u32..).zip(&garbage) {
            // Whatever the noise is, it ends in a byte that no format takes.
            bytes.extend(noise.iter().filter(|byte| !b"\r\n".contains(byte)));
            bytes.extend_from_slice(b"\xff\r\n");
            bad += 1;
            bytes.extend_from_slice(format!("{}\r\n", line(format, number)).as_bytes());
        }
        let devices = [device(format, &LineEnd::Any, false)];
        let (readings, notices, status) = told(&devices, &cut(&bytes, &lengths));
        prop_assert_eq!(readings.len(), garbage.len());
        for (number, reading) in (0u32..).zip(&readings) {
            let expected = fieldgate::reading::Value::Number(number.into());
            prop_assert_eq!(reading.samples[0].value.as_ref(), Some(&expected));
        }
        prop_assert_eq!((status.devices[0].bad_lines, notices.len()), (bad, 1));
    }
}
