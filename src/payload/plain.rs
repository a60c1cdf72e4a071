//! The value alone: for dashboards and rules that take a number from a topic of its own.

use bytes::Bytes;

use super::json;
use crate::reading::{Reading, Sample, Value};

/// The value of the reading's point. Numbers and states as in JSON, text as it is; without a value nothing at all, which
/// clears a retained message: whoever comes next must not take the old value for the present one. Of several points
/// each has a line.
#[must_use]
pub fn encode(reading: &Reading) -> Bytes {
    let lines: Vec<String> = reading.samples.iter().map(text).collect();
    Bytes::from(lines.join("\n"))
}

pub(super) fn text(sample: &Sample) -> String {
    match &sample.value {
        None => String::new(),
        Some(Value::Text(text)) => text.clone(),
        Some(value) => {
            let mut text = String::new();
            json::value(&mut text, Some(value));
            text
        }
    }
}
