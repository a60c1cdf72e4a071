//! The default payload: one small flat JSON object per reading.

use std::fmt::Write;

use bytes::Bytes;

use super::SentTime;
use crate::reading::{Quality, Reading, Sample, Value};

/// `{"time":"2026-11-20T14:51:05.123Z","seq":"17-1842","values":{"temperature":21.5,"humidity":61}}`.
/// `quality` (an object of the points that are not good) and `time_quality` appear only when not good. A point
/// without a value is `null`. The points stand in the order of the reading.
#[must_use]
pub fn encode(reading: &Reading, time: SentTime) -> Bytes {
    let mut text = String::with_capacity(96 + 32 * reading.samples.len());
    put_reading(&mut text, reading, time);
    Bytes::from(text)
}

/// An array of such objects, in the order given.
#[must_use]
pub fn encode_all<'a>(readings: impl Iterator<Item = (&'a Reading, SentTime)>) -> Bytes {
    let mut text = String::from("[");
    for (index, (reading, time)) in readings.enumerate() {
        if index > 0 {
            text.push(',');
        }
        put_reading(&mut text, reading, time);
    }
    text.push(']');
    Bytes::from(text)
}

fn put_reading(text: &mut String, reading: &Reading, time: SentTime) {
    put(text, format_args!("{{\"time\":\"{}\",\"seq\":\"{}\",\"values\":", time.time, reading.seq));
    object(text, reading.samples.iter(), |text, sample| value(text, sample.value.as_ref()));
    let mut bad = reading.samples.iter().filter(|sample| sample.quality != Quality::Good).peekable();
    if bad.peek().is_some() {
        text.push_str(",\"quality\":");
        object(text, bad, |text, sample| string(text, sample.quality.as_str()));
    }
    if let Some(quality) = time.quality {
        text.push_str(",\"time_quality\":");
        string(text, quality);
    }
    text.push('}');
}

/// An object with one member per sample, named by its point.
fn object<'a>(
    text: &mut String,
    samples: impl Iterator<Item = &'a Sample>,
    member: impl Fn(&mut String, &Sample),
) {
    text.push('{');
    for (index, sample) in samples.enumerate() {
        if index > 0 {
            text.push(',');
        }
        string(text, &sample.point);
        text.push(':');
        member(text, sample);
    }
    text.push('}');
}

/// A JSON value; `null` for none.
pub(super) fn value(text: &mut String, value: Option<&Value>) {
    match value {
        None => text.push_str("null"),
        Some(Value::Number(number)) => self::number(text, *number),
        Some(Value::Integer(number)) => put(text, format_args!("{number}")),
        Some(Value::Bool(state)) => put(text, format_args!("{state}")),
        Some(Value::Text(word)) => string(text, word),
    }
}

/// The shortest digits that give the number back; an exponent where plain digits would be mostly zeros. JSON has no
/// NaN and no infinity (RFC 8259, 6): those would be `null`.
pub(super) fn number(text: &mut String, number: f64) {
    let size = number.abs();
    if !number.is_finite() {
        text.push_str("null");
    } else if number == 0.0 || (1e-5..1e16).contains(&size) {
        put(text, format_args!("{number}"));
    } else {
        put(text, format_args!("{number:e}"));
    }
}

/// A JSON string (RFC 8259, 7).
pub(super) fn string(text: &mut String, word: &str) {
    text.push('"');
    for character in word.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\0'..='\x1f' => put(text, format_args!("\\u{:04x}", u32::from(character))),
            _ => text.push(character),
        }
    }
    text.push('"');
}

/// Writing to a string can't fail.
pub(super) fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _infallible = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::reading::{Run, Seq};
    use crate::time::{BootId, ClockTrust, Mono, Timestamp};

    fn reading(samples: Vec<(&str, Option<Value>, Quality)>) -> Reading {
        let sample =
            |(point, value, quality): (&str, _, _)| Sample { point: Arc::from(point), value, quality };
        Reading {
            device: "station".into(),
            seq: Seq { run: Run(17), number: 1842 },
            boot: BootId::default(),
            mono: Mono::ZERO,
            wall: Timestamp::default(),
            trust: ClockTrust::Synced,
            samples: samples.into_iter().map(sample).collect(),
        }
    }

    fn encoded(reading: &Reading, quality: Option<&'static str>) -> String {
        let time = SentTime { time: Timestamp::from_millis(1_795_186_265_123), quality, age: None };
        String::from_utf8(encode(reading, time).to_vec()).unwrap()
    }

    fn value_text(value: Value) -> String {
        let whole = encoded(&reading(vec![("p", Some(value), Quality::Good)]), None);
        let value =
            whole.strip_prefix(r#"{"time":"2026-11-20T14:51:05.123Z","seq":"17-1842","values":{"p":"#);
        value.unwrap().strip_suffix("}}").unwrap().to_owned()
    }

    #[test]
    fn a_good_reading_is_time_seq_and_values_in_order() {
        let reading = reading(vec![
            ("temperature", Some(Value::Number(21.5)), Quality::Good),
            ("humidity", Some(Value::Number(61.0)), Quality::Good),
            ("count", Some(Value::Integer(i64::MAX)), Quality::Good),
            ("door", Some(Value::Bool(false)), Quality::Good),
            ("state", Some(Value::Text("a \"b\"".into())), Quality::Good),
        ]);
        let expected = concat!(
            r#"{"time":"2026-11-20T14:51:05.123Z","seq":"17-1842","values":{"temperature":21.5,"humidity":61,"#,
            r#""count":9223372036854775807,"door":false,"state":"a \"b\""}}"#
        );
        assert_eq!(encoded(&reading, None), expected);
    }

    #[test]
    fn what_is_not_good_is_said() {
        let reading = reading(vec![
            ("t", None, Quality::Invalid),
            ("h", Some(Value::Number(120.0)), Quality::OutOfRange),
            ("p", Some(Value::Number(1013.25)), Quality::Good),
        ]);
        let expected = concat!(
            r#"{"time":"2026-11-20T14:51:05.123Z","seq":"17-1842","values":{"t":null,"h":120,"p":1013.25},"#,
            r#""quality":{"t":"invalid","h":"out_of_range"},"time_quality":"corrected"}"#
        );
        assert_eq!(encoded(&reading, Some("corrected")), expected);
    }

    #[test]
    fn a_reading_without_points_is_an_empty_object() {
        let expected =
            r#"{"time":"2026-11-20T14:51:05.123Z","seq":"17-1842","values":{},"time_quality":"unsynced"}"#;
        assert_eq!(encoded(&reading(vec![]), Some("unsynced")), expected);
    }

    #[test]
    fn several_readings_are_an_array_of_the_same_objects() {
        let time = SentTime { time: Timestamp::from_millis(1_795_186_265_123), quality: None, age: None };
        let readings = [
            reading(vec![("t", Some(Value::Integer(1)), Quality::Good)]),
            reading(vec![("t", None, Quality::Invalid)]),
        ];
        let text = |count| {
            let all = encode_all(readings.iter().take(count).map(|reading| (reading, time)));
            String::from_utf8(all.to_vec()).unwrap()
        };
        let [one, other] = readings.each_ref().map(|reading| encoded(reading, None));
        assert_eq!(text(0), "[]");
        assert_eq!(text(1), format!("[{one}]"));
        assert_eq!(text(2), format!("[{one},{other}]"));
    }

    #[test]
    fn numbers_print_shortest() {
        let check = |number: f64, expected: &str| assert_eq!(value_text(Value::Number(number)), expected);
        check(21.5, "21.5");
        check(61.0, "61");
        check(-0.1, "-0.1");
        check(0.0, "0");
        check(242.7, "242.7");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e21, "1e21");
        check(1.5e300, "1.5e300");
        check(-9.999_999e25, "-9.999999e25");
        check(1e15, "1000000000000000");
        check(0.000_01, "0.00001");
        check(0.000_001_5, "1.5e-6");
        check(5e-324, "5e-324");
        check(f64::NAN, "null");
        check(f64::NEG_INFINITY, "null");
    }

    #[test]
    fn strings_are_escaped() {
        let check = |text: &str, expected: &str| assert_eq!(value_text(Value::Text(text.into())), expected);
        check("a\"b\\c/", r#""a\"b\\c/""#);
        check("\n\r\t\u{1}\u{1f}\u{7f}", "\"\\n\\r\\t\\u0001\\u001f\u{7f}\"");
        check("ä€😀", "\"ä€😀\"");
        let name = encoded(&reading(vec![("a\"\n", None, Quality::Good)]), None);
        assert!(name.contains(r#""values":{"a\"\n":null}"#), "{name}");
    }

    proptest! {
        #[test]
        fn another_reader_gets_the_values_back(number in any::<f64>(), integer in any::<i64>(), text in ".{0,20}") {
            let number = if number.is_finite() { number } else { 0.0 };
            prop_assert_eq!(value_text(Value::Number(number)).parse::<f64>().unwrap(), number);
            let whole = encoded(
                &reading(vec![
                    ("n", Some(Value::Number(number)), Quality::Good),
                    ("i", Some(Value::Integer(integer)), Quality::Good),
                    (&text, Some(Value::Text(text.clone())), Quality::Good),
                ]),
                None,
            );
            let tree: serde_json::Value = serde_json::from_str(&whole).unwrap();
            prop_assert!(tree["values"][&text].is_string() || text == "n" || text == "i");
            if text != "i" {
                prop_assert_eq!(tree["values"]["i"].as_i64(), Some(integer));
            }
            prop_assert!(tree["values"]["n"].is_number() || text == "n");
        }
    }
}
