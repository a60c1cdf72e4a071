//! SenML (RFC 8428), as JSON and as CBOR: a pack of records with one base name and one base time.
//!
//! Each point is a record. What SenML has no field for are records too: `seq`, `<point>/quality` of a point that is not
//! good, `time_quality` where that is not good. A reading whose time nobody knows, but whose age is known, has a
//! relative time (RFC 8428, 4.5.3), made anew each time it is sent.

use bytes::Bytes;

use super::json::{number, put, string};
use super::{About, SentTime};
use crate::reading::{Quality, Reading, Value};

/// Times below are relative to now (RFC 8428, 4.5.3).
const RELATIVE_BELOW_MS: i64 = (1 << 28) * 1_000;

/// Units that may stand in `u`: those registered for SenML (RFC 8428, 12.1; RFC 8798 and the registry's secondary
/// units). Another unit is left out, since a reader may refuse the pack for it; `info` names it.
const REGISTERED: &[&str] = &[
    "m", "kg", "g", "s", "A", "K", "cd", "mol", "Hz", "rad", "sr", "N", "Pa", "J", "W", "C", "V", "F", "Ohm",
    "S", "Wb", "T", "H", "Cel", "lm", "lx", "Bq", "Gy", "Sv", "kat", "m2", "m3", "m/s", "m/s2", "m3/s",
    "W/m2", "cd/m2", "bit", "bit/s", "lat", "lon", "pH", "dB", "dBW", "count", "/", "%RH", "%EL", "EL",
    "1/s", "S/m", "B", "VA", "VAs", "var", "vars", "J/m", "kg/m3", "deg", "NTU", "ms", "min", "h", "MHz",
    "kW", "kVA", "kvar", "Ah", "Wh", "kWh", "varh", "kvarh", "kVAh", "Wh/km", "KiB", "GB", "Mbit/s", "B/s",
    "MB/s", "mV", "mA", "dBm", "ug/m3", "mm/h", "m/h", "ppm", "/100", "/1000", "hPa", "mm", "cm", "km",
    "km/h", "ppb", "ppt", "VAh", "mg/l", "ug/l", "g/l", "l", "l/s", "%", "1/min", "beat/min",
];

/// A record behind the base fields.
struct Record<'a> {
    name: String,
    unit: Option<&'a str>,
    value: Held<'a>,
}

enum Held<'a> {
    Value(&'a Value),
    Text(String),
}

/// A pack as JSON.
#[must_use]
pub fn encode_json(gateway: &str, about: &About, reading: &Reading, time: SentTime) -> Bytes {
    let mut text = String::with_capacity(96 + 48 * reading.samples.len());
    text.push_str("[{\"bn\":");
    string(&mut text, &base_name(gateway, &reading.device));
    if let Some(millis) = base_time(time) {
        put(&mut text, format_args!(",\"bt\":{}", seconds(millis)));
    }
    for (index, record) in records(about, reading, time).iter().enumerate() {
        text.push_str(if index == 0 { ",\"n\":" } else { ",{\"n\":" });
        string(&mut text, &record.name);
        if let Some(unit) = record.unit {
            text.push_str(",\"u\":");
            string(&mut text, unit);
        }
        match &record.value {
            Held::Value(Value::Number(value)) => {
                text.push_str(",\"v\":");
                number(&mut text, *value);
            }
            Held::Value(Value::Integer(value)) => put(&mut text, format_args!(",\"v\":{value}")),
            Held::Value(Value::Bool(value)) => put(&mut text, format_args!(",\"vb\":{value}")),
            Held::Value(Value::Text(value)) | Held::Text(value) => {
                text.push_str(",\"vs\":");
                string(&mut text, value);
            }
        }
        text.push('}');
    }
    text.push(']');
    Bytes::from(text)
}

/// Labels of RFC 8428, 6.
mod label {
    pub(super) const BASE_NAME: i64 = -2;
    pub(super) const BASE_TIME: i64 = -3;
    pub(super) const NAME: i64 = 0;
    pub(super) const UNIT: i64 = 1;
    pub(super) const VALUE: i64 = 2;
    pub(super) const STRING: i64 = 3;
    pub(super) const BOOL: i64 = 4;
}

/// A pack as CBOR.
#[must_use]
pub fn encode_cbor(gateway: &str, about: &About, reading: &Reading, time: SentTime) -> Bytes {
    let records = records(about, reading, time);
    let mut out = Vec::with_capacity(64 + 32 * reading.samples.len());
    cbor::array(&mut out, records.len());
    for (index, record) in records.iter().enumerate() {
        let base_time = base_time(time).filter(|_| index == 0);
        let fields = 2 + usize::from(record.unit.is_some());
        let base_fields = usize::from(index == 0) + usize::from(base_time.is_some());
        cbor::map(&mut out, fields + base_fields);
        if index == 0 {
            cbor::integer(&mut out, label::BASE_NAME);
            cbor::text(&mut out, &base_name(gateway, &reading.device));
        }
        if let Some(millis) = base_time {
            cbor::integer(&mut out, label::BASE_TIME);
            cbor::float(&mut out, seconds(millis).parse().unwrap_or_default());
        }
        cbor::integer(&mut out, label::NAME);
        cbor::text(&mut out, &record.name);
        if let Some(unit) = record.unit {
            cbor::integer(&mut out, label::UNIT);
            cbor::text(&mut out, unit);
        }
        match &record.value {
            Held::Value(Value::Number(value)) => {
                cbor::integer(&mut out, label::VALUE);
                cbor::float(&mut out, *value);
            }
            Held::Value(Value::Integer(value)) => {
                cbor::integer(&mut out, label::VALUE);
                cbor::integer(&mut out, *value);
            }
            Held::Value(Value::Bool(value)) => {
                cbor::integer(&mut out, label::BOOL);
                cbor::bool(&mut out, *value);
            }
            Held::Value(Value::Text(value)) | Held::Text(value) => {
                cbor::integer(&mut out, label::STRING);
                cbor::text(&mut out, value);
            }
        }
    }
    Bytes::from(out)
}

fn records<'a>(about: &'a About, reading: &'a Reading, time: SentTime) -> Vec<Record<'a>> {
    let said = |name: String, text: String| Record { name, unit: None, value: Held::Text(text) };
    let mut records = Vec::with_capacity(reading.samples.len() + 1);
    for sample in &reading.samples {
        let point = name(&sample.point);
        if let Some(value) = &sample.value {
            let is_number = matches!(value, Value::Number(_) | Value::Integer(_));
            let unit = about.unit(&sample.point).filter(|unit| is_number && REGISTERED.contains(unit));
            records.push(Record { name: point.clone(), unit, value: Held::Value(value) });
        }
        if sample.quality != Quality::Good {
            records.push(said(format!("{point}/quality"), sample.quality.as_str().to_owned()));
        }
    }
    records.push(said("seq".to_owned(), reading.seq.to_string()));
    if let Some(quality) = time.quality {
        records.push(said("time_quality".to_owned(), quality.to_owned()));
    }
    records
}

/// Milliseconds since 1970, or, negative, before now. `None`: neither is known.
fn base_time(time: SentTime) -> Option<i64> {
    match (time.quality, time.age) {
        // Zero is now, and so is what was taken in this millisecond.
        (Some("unsynced"), Some(age)) => {
            Some(i64::try_from(age.as_millis()).unwrap_or(i64::MAX).saturating_neg())
        }
        _ => Some(time.time.as_millis()).filter(|millis| *millis >= RELATIVE_BELOW_MS),
    }
}

/// `1795186265.123`.
fn seconds(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let (whole, rest) = (millis.unsigned_abs() / 1_000, millis.unsigned_abs() % 1_000);
    format!("{sign}{whole}.{rest:03}")
}

/// What all names of a device begin with. A name begins with a letter or a digit (RFC 8428, 4.5.1).
fn base_name(gateway: &str, device: &str) -> String {
    let base = format!("{}/{}/", name(gateway), name(device));
    if base.starts_with(|first: char| first.is_ascii_alphanumeric()) { base } else { format!("x{base}") }
}

/// Letters, digits and `-:./_` may stand in a name (RFC 8428, 4.5.1).
fn name(word: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.' | '/' | '_');
    word.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// As much of CBOR (RFC 8949) as SenML takes.
mod cbor {
    pub(super) fn array(out: &mut Vec<u8>, len: usize) {
        head(out, 4, u64::try_from(len).unwrap_or(u64::MAX));
    }

    pub(super) fn map(out: &mut Vec<u8>, len: usize) {
        head(out, 5, u64::try_from(len).unwrap_or(u64::MAX));
    }

    pub(super) fn text(out: &mut Vec<u8>, text: &str) {
        head(out, 3, u64::try_from(text.len()).unwrap_or(u64::MAX));
        out.extend_from_slice(text.as_bytes());
    }

    pub(super) fn integer(out: &mut Vec<u8>, number: i64) {
        // Type 1 holds -1 - n, which is n with all bits turned.
        if number < 0 {
            head(out, 1, (!number).cast_unsigned())
        } else {
            head(out, 0, number.cast_unsigned())
        }
    }

    pub(super) fn bool(out: &mut Vec<u8>, flag: bool) {
        out.push(if flag { 0xF5 } else { 0xF4 });
    }

    pub(super) fn float(out: &mut Vec<u8>, number: f64) {
        out.push(0xFB);
        out.extend_from_slice(&number.to_be_bytes());
    }

    /// RFC 8949, 3: the type in three bits, then the number in as few bytes as hold it.
    fn head(out: &mut Vec<u8>, kind: u8, number: u64) {
        let kind = kind << 5;
        let bytes = number.to_be_bytes();
        let [.., a, b, c, d] = bytes;
        match number {
            0..=23 => out.push(kind | d),
            24..=0xFF => out.extend_from_slice(&[kind | 24, d]),
            0x100..=0xFFFF => out.extend_from_slice(&[kind | 25, c, d]),
            0x1_0000..=0xFFFF_FFFF => out.extend_from_slice(&[kind | 26, a, b, c, d]),
            _ => {
                out.push(kind | 27);
                out.extend_from_slice(&bytes);
            }
        }
    }
}
