//! Whether a value is another one than before.

use crate::reading::{Sample, Value};

/// How far a number must go to be another one: at least so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deadband {
    /// In the unit of the point.
    Absolute(f64),
    /// Of the size of the value before.
    Percent(f64),
}

impl Deadband {
    fn is_left(self, before: f64, now: f64) -> bool {
        let way = (now - before).abs();
        match self {
            // Some slack for the last digit: 21.3 is 0.1 away from 21.2, and in binary a little less.
            Self::Absolute(band) => way >= band * (1.0 - SLACK),
            Self::Percent(percent) => way > 0.0 && way >= before.abs() * percent / 100.0 * (1.0 - SLACK),
        }
    }
}

const SLACK: f64 = 1e-9;

pub(super) fn is_other(before: &Sample, now: &Sample, deadband: Option<&Deadband>) -> bool {
    if before.quality != now.quality {
        return true;
    }
    match (number(before), number(now), deadband) {
        (Some(before), Some(now), Some(deadband)) => deadband.is_left(before, now),
        _ => before.value != now.value,
    }
}

/// As a number that can be reckoned with; the last digits of huge integers are of no account here.
pub(super) fn number(sample: &Sample) -> Option<f64> {
    match &sample.value {
        Some(Value::Number(number)) => Some(*number),
        Some(Value::Integer(number)) => float(*number),
        Some(Value::Bool(_) | Value::Text(_)) | None => None,
    }
}

fn float(number: i64) -> Option<f64> {
    rust_decimal::prelude::ToPrimitive::to_f64(&number)
}
