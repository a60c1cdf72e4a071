//! What the codecs' tests share: captures, and what a stream gives.

use super::*;
use crate::reading::Value;

macro_rules! captures {
    ($($name:literal,)*) => {
        &[$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/", $name)))),*]
    };
}

/// Every capture of `fixtures/` that is a codec's, and what independent decoders read in it.
const CAPTURES: &[(&str, &[u8])] = captures![
    "dsmr/be-fluvius.expected.json",
    "dsmr/be-fluvius.telegram",
    "dsmr/sagemcom-t210-dr.expected.json",
    "dsmr/sagemcom-t210-dr.telegram",
    "dsmr/stream.bin",
    "dsmr/unpadded-crc.expected.json",
    "dsmr/unpadded-crc.telegram",
    "dsmr/v2_2.expected.json",
    "dsmr/v2_2.telegram",
    "dsmr/v3.expected.json",
    "dsmr/v3.telegram",
    "dsmr/v4_2.expected.json",
    "dsmr/v4_2.telegram",
    "dsmr/v5-bad-crc.expected.json",
    "dsmr/v5-bad-crc.telegram",
    "dsmr/v5-two-mbus.expected.json",
    "dsmr/v5-two-mbus.telegram",
    "dsmr/v5.expected.json",
    "dsmr/v5.telegram",
    "iec62056-21/easymeter-q3d-mode-d.txt",
    "iec62056-21/landisgyr-e350-bad-bcc.bin",
    "iec62056-21/landisgyr-e350-readout.bin",
    "iec62056-21/landisgyr-e350-readout.expected.json",
    "mbus/abb_f95.bin",
    "mbus/abb_f95.expected.json",
    "mbus/allmess_cf50.bin",
    "mbus/allmess_cf50.expected.json",
    "mbus/application_busy.bin",
    "mbus/application_busy.expected.json",
    "mbus/electricity-meter-1.bin",
    "mbus/electricity-meter-1.expected.json",
    "mbus/elv_temp_humid.bin",
    "mbus/elv_temp_humid.expected.json",
    "mbus/invalid_length.bin",
    "mbus/invalid_length.expected.json",
    "mbus/kamstrup_multical_601.bin",
    "mbus/kamstrup_multical_601.expected.json",
    "mbus/too_short_header.bin",
    "mbus/too_short_header.expected.json",
    "nmea/bu353-glonass.expected.jsonl",
    "nmea/bu353-glonass.nmea",
    "nmea/bu353s4.expected.jsonl",
    "nmea/bu353s4.nmea",
    "nmea/damaged.expected.jsonl",
    "nmea/damaged.nmea",
    "nmea/edge-sentences.expected.jsonl",
    "nmea/edge-sentences.nmea",
    "nmea/garmin38.expected.jsonl",
    "nmea/garmin38.nmea",
    "nmea/moving-vehicle.expected.jsonl",
    "nmea/moving-vehicle.nmea",
    "nmea/mtk-3301.expected.jsonl",
    "nmea/mtk-3301.nmea",
    "nmea/ublox-m8n-nofix.expected.jsonl",
    "nmea/ublox-m8n-nofix.nmea",
    "sml/DZG_DVS-7420.2V.G2_mtr1_error.bin",
    "sml/DZG_DVS-7420.2V.G2_mtr1_error.expected.json",
    "sml/DZG_DVS-7420.2V.G2_mtr2_neg.bin",
    "sml/DZG_DVS-7420.2V.G2_mtr2_neg.expected.json",
    "sml/EMH-ED300L_consumption.bin",
    "sml/EMH-ED300L_consumption.expected.json",
    "sml/EMH-ED300L_delivery.bin",
    "sml/EMH-ED300L_delivery.expected.json",
    "sml/EMH_eHZ-GW8E2A500AK2.bin",
    "sml/EMH_eHZ-GW8E2A500AK2.expected.json",
    "sml/EasyMeter_Q3A_A1064V1009.bin",
    "sml/EasyMeter_Q3A_A1064V1009.expected.json",
    "sml/HOLLEY_DTZ541-BDBA_without_PIN.bin",
    "sml/HOLLEY_DTZ541-BDBA_without_PIN.expected.json",
    "sml/ISKRA_MT175_eHZ.bin",
    "sml/ISKRA_MT175_eHZ.expected.json",
    "sml/ITRON_OpenWay-3.HZ_with_PIN.bin",
    "sml/ITRON_OpenWay-3.HZ_with_PIN.expected.json",
    "vedirect/bmv702.bin",
    "vedirect/bmv702.expected.jsonl",
    "vedirect/hex-frames.jsonl",
    "vedirect/smartsolar-100-20.bin",
    "vedirect/smartsolar-100-20.expected.jsonl",
    "vedirect/smartsolar-with-hex.bin",
    "vedirect/smartsolar-with-hex.expected.jsonl",
];

/// A capture of `fixtures/`.
pub(super) fn capture(name: &str) -> Vec<u8> {
    let found = CAPTURES.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no capture {name}")).1.to_vec()
}

/// What an independent decoder read in it.
pub(super) fn expected(name: &str) -> serde_json::Value {
    serde_json::from_slice(&capture(name)).unwrap()
}

/// The same, a value for each line.
pub(super) fn expected_lines(name: &str) -> Vec<serde_json::Value> {
    let text = String::from_utf8(capture(name)).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Frames and faults of a stream that arrives in pieces of this size.
pub(super) fn cut(kind: CodecKind, bytes: &[u8], size: usize) -> (Vec<Vec<u8>>, Vec<Fault>) {
    let mut codec = Codec::new(kind);
    let (mut frames, mut faults) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        codec.push(piece, |found| match found {
            Ok(frame) => frames.push(frame.to_vec()),
            Err((fault, _)) => faults.push(fault),
        });
    }
    (frames, faults)
}

/// Frames and faults of a stream; however it is cut, they are the same.
pub(super) fn frames(kind: CodecKind, bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<Fault>) {
    let whole = cut(kind, bytes, bytes.len());
    for size in [1, 7, 64] {
        assert_eq!(cut(kind, bytes, size), whole, "{kind:?} in pieces of {size}");
    }
    whole
}

/// The value of a field as a point without scale reads it.
pub(super) fn value(fields: &[Field<'_>], name: &str) -> Option<Value> {
    let field = fields.iter().find(|field| field.name == name)?;
    crate::sensor::point::guess("x".into(), &field.raw).value
}

pub(super) fn unit<'f>(fields: &'f [Field<'_>], name: &str) -> Option<&'f str> {
    fields.iter().find(|field| field.name == name)?.unit.as_deref()
}

pub(super) fn number(fields: &[Field<'_>], name: &str) -> Option<f64> {
    match value(fields, name)? {
        Value::Number(number) => Some(number),
        other => panic!("{name} is {other:?}"),
    }
}

pub(super) fn text(fields: &[Field<'_>], name: &str) -> Option<String> {
    match value(fields, name)? {
        Value::Text(text) => Some(text),
        other => panic!("{name} is {other:?}"),
    }
}

/// The same number, but for what a binary fraction makes of it.
#[track_caller]
pub(super) fn near(found: Option<f64>, expected: f64, what: &str) {
    let found = found.unwrap_or_else(|| panic!("{what}: no value, {expected} expected"));
    assert!(
        (found - expected).abs() <= 1e-6 * expected.abs().max(1.0),
        "{what}: {found}, {expected} expected"
    );
}
