//! InfluxDB line protocol: one line per reading, the points as fields.

use bytes::Bytes;

use super::SentTime;
use super::json::{number, put};
use crate::reading::{Quality, Reading, Value};

/// `weather,gateway=barn-7 temperature=21.5,pulses=17i,seq="17-1842" 1795186265123000000`. A point that is not good
/// has a field `<point>_quality`; one without a value has no field of its own. `time_quality` stands there only when
/// it is not good. The time is in nanoseconds, as the protocol has it by default.
#[must_use]
pub fn encode(gateway: &str, reading: &Reading, time: SentTime) -> Bytes {
    let mut line = String::with_capacity(64 + 24 * reading.samples.len());
    key(&mut line, &reading.device, &[',', ' ']);
    line.push_str(",gateway=");
    key(&mut line, gateway, KEY);
    line.push(' ');
    for sample in &reading.samples {
        if let Some(value) = &sample.value {
            key(&mut line, &sample.point, KEY);
            line.push('=');
            field(&mut line, value);
            line.push(',');
        }
        if sample.quality != Quality::Good {
            key(&mut line, &format!("{}_quality", sample.point), KEY);
            put(&mut line, format_args!("=\"{}\",", sample.quality.as_str()));
        }
    }
    if let Some(quality) = time.quality {
        put(&mut line, format_args!("time_quality=\"{quality}\","));
    }
    put(&mut line, format_args!("seq=\"{}\" {}", reading.seq, nanos(time)));
    Bytes::from(line)
}

const KEY: &[char] = &[',', '=', ' '];

fn nanos(time: SentTime) -> i64 {
    time.time.as_millis().saturating_mul(1_000_000)
}

/// A backslash can't be escaped in a name, and would take the character behind it along; a name has one line.
fn key(line: &mut String, name: &str, special: &[char]) {
    for character in name.chars() {
        if special.contains(&character) {
            line.push('\\');
        }
        line.push(if character == '\\' || character.is_control() { '_' } else { character });
    }
}

fn field(line: &mut String, value: &Value) {
    match value {
        Value::Number(value) => number(line, *value),
        Value::Integer(value) => put(line, format_args!("{value}i")),
        Value::Bool(value) => put(line, format_args!("{value}")),
        Value::Text(text) => {
            line.push('"');
            for character in text.chars() {
                if matches!(character, '"' | '\\') {
                    line.push('\\');
                }
                // Some readers end the line at a line break, quotes or not.
                line.push(if matches!(character, '\n' | '\r') { ' ' } else { character });
            }
            line.push('"');
        }
    }
}
