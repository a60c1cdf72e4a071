//! A value that somebody wants a point to have, to what its device must get: type, range, map, scale and offset the other
//! way round. How it is sent is not its business.

use std::borrow::Cow;
use std::fmt;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

use super::cell::{CellType, EncodeError};
use super::config::{PointConfig, PointType};
use super::decode::Raw;
use super::point::{raw_of, sample};
use crate::reading::Value;

/// Why a point can't have a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValueError {
    /// It is of another type.
    NotThisType {
        /// What it may be.
        expected: String,
    },
    /// It is below `min`, or above `max`.
    OutOfRange {
        /// What was wanted.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// It lies between two of the device's steps.
    Steps {
        /// What was wanted.
        value: String,
        /// From one to the next.
        step: String,
    },
    /// The device takes it for none.
    MeansNone {
        /// What was wanted.
        value: String,
    },
    /// It doesn't fit the device's bytes.
    Encode(EncodeError),
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThisType { expected } => write!(f, "expected {expected}"),
            Self::OutOfRange { value, allowed } => write!(f, "{value} is not {allowed}"),
            Self::Steps { value, step } => write!(f, "{value} lies between two steps of {step}"),
            Self::MeansNone { value } => write!(f, "{value} stands for \"no value\" with this device"),
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ValueError {}

/// What the device must get so that the point reads `value`; and the value as the point reads it.
pub(super) fn wanted(point: &PointConfig, value: &Value) -> Result<(Raw<'static>, Value), ValueError> {
    let value = typed(point, value)?;
    check_range(point, &value)?;
    let not_this_type = || ValueError::NotThisType { expected: expected(point) };
    let raw = as_cell(point, raw_of(point, &value).ok_or_else(not_this_type)?);
    let reads = sample(&PointConfig { optional: false, ..point.clone() }, &raw);
    if !point.invalid.is_empty() && reads.is_none_or(|sample| sample.value.is_none()) {
        return Err(ValueError::MeansNone { value: shown(&value) });
    }
    Ok((raw, value))
}

/// What doesn't fit the device's bytes, in the words of the point.
pub(super) fn explain(point: &PointConfig, value: &Value, error: EncodeError) -> ValueError {
    let scaled = |raw: &str| {
        let raw: Decimal = raw.parse().ok()?;
        Some(raw.checked_mul(point.scale)?.checked_add(point.offset)?.normalize().to_string())
    };
    match &error {
        EncodeError::Fraction { .. } => {
            ValueError::Steps { value: shown(value), step: point.scale.normalize().to_string() }
        }
        EncodeError::OutOfRange { min, max, .. } => match (scaled(min), scaled(max)) {
            (Some(one), Some(other)) => {
                let (low, high) = if point.scale.is_sign_negative() { (other, one) } else { (one, other) };
                let allowed = format!("between {low} and {high}, which the device can hold");
                ValueError::OutOfRange { value: shown(value), allowed }
            }
            _ => ValueError::Encode(error),
        },
        _ => ValueError::Encode(error),
    }
}

/// The value as this point would read it.
fn typed(point: &PointConfig, value: &Value) -> Result<Value, ValueError> {
    let wrong = || ValueError::NotThisType { expected: expected(point) };
    if !point.map.is_empty() {
        let meanings = point.map.iter().map(|(_, meaning)| meaning);
        let found = meanings.into_iter().find(|meaning| means(meaning, value));
        return found.cloned().ok_or_else(wrong);
    }
    let typed = match (point.kind, value) {
        (PointType::Number | PointType::Integer, Value::Number(number)) if !number.is_finite() => None,
        (PointType::Number | PointType::Integer, Value::Number(_) | Value::Integer(_)) => Some(value.clone()),
        (PointType::Bool, _) => state(value).map(Value::Bool),
        (PointType::Text, Value::Text(_)) => Some(value.clone()),
        // Its digits are what was written; those of 1.50 are not.
        (PointType::Text, Value::Integer(number)) => Some(Value::Text(number.to_string())),
        _ => None,
    };
    let typed = typed.ok_or_else(wrong)?;
    match &typed {
        Value::Text(text) if text.chars().any(char::is_control) => Err(wrong()),
        _ => Ok(typed),
    }
}

/// on, off, true, false, 1 and 0. Only absolute values: a toggle that comes twice would do the opposite.
pub(super) fn state(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(state) => Some(*state),
        Value::Integer(1) => Some(true),
        Value::Integer(0) => Some(false),
        Value::Text(text) if text.eq_ignore_ascii_case("on") => Some(true),
        Value::Text(text) if text.eq_ignore_ascii_case("off") => Some(false),
        Value::Number(_) | Value::Integer(_) | Value::Text(_) => None,
    }
}

fn means(meaning: &Value, value: &Value) -> bool {
    match (meaning, value) {
        (Value::Text(meaning), Value::Text(text)) => meaning == text,
        // A state may be named on in a map, and off, and come as true and false.
        (Value::Bool(meaning), value) => state(value) == Some(*meaning),
        (Value::Number(meaning), Value::Number(number)) => meaning == number,
        (Value::Number(meaning), Value::Integer(number)) => {
            Decimal::from_f64(*meaning) == Some(Decimal::from(*number))
        }
        (Value::Integer(meaning), Value::Integer(number)) => meaning == number,
        _ => false,
    }
}

fn expected(point: &PointConfig) -> String {
    if !point.map.is_empty() {
        let names: Vec<String> = point.map.iter().map(|(_, meaning)| shown(meaning)).collect();
        return format!("one of {}", names.join(", "));
    }
    match point.kind {
        PointType::Number | PointType::Integer => match allowed(point) {
            Some(allowed) => format!("a number {allowed}"),
            None => "a number".to_owned(),
        },
        PointType::Bool => "on, off, true, false, 1 or 0".to_owned(),
        PointType::Text => "a text without control characters, such as \"1.50\", in quotes".to_owned(),
    }
}

fn allowed(point: &PointConfig) -> Option<String> {
    match (point.min, point.max) {
        (Some(min), Some(max)) => Some(format!("between {min} and {max}")),
        (Some(min), None) => Some(format!("{min} or above")),
        (None, Some(max)) => Some(format!("{max} or below")),
        (None, None) => None,
    }
}

fn check_range(point: &PointConfig, value: &Value) -> Result<(), ValueError> {
    let number = match value {
        Value::Number(number) => *number,
        Value::Integer(number) => number.to_string().parse().unwrap_or_default(),
        Value::Bool(_) | Value::Text(_) => return Ok(()),
    };
    let is_out = point.min.is_some_and(|min| number < min) || point.max.is_some_and(|max| number > max);
    match allowed(point).filter(|_| is_out) {
        Some(allowed) => Err(ValueError::OutOfRange { value: shown(value), allowed }),
        None => Ok(()),
    }
}

/// A map's raw value in the form that its cell, or its coil, takes.
fn as_cell(point: &PointConfig, raw: Raw<'static>) -> Raw<'static> {
    let is_bit = match &point.cell {
        Some(cell) => matches!(cell.kind, CellType::Bit | CellType::Bool),
        None => point.register.is_some(),
    };
    let is_text = point.cell.is_some_and(|cell| cell.kind == CellType::String);
    match raw {
        Raw::Decimal(number) if is_bit => Raw::Bool(!number.is_zero()),
        Raw::String(word) if is_bit => Raw::Bool(word == "true"),
        Raw::Decimal(number) if is_text => Raw::String(Cow::Owned(number.to_string())),
        other => other,
    }
}

/// As people write it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Bool(state) => state.to_string(),
        Value::Text(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::{Cell, RawValue};

    fn check(point: &PointConfig, value: Value, expected: Result<Raw<'_>, &str>) {
        let got = wanted(point, &value).map(|(raw, _)| raw).map_err(|error| error.to_string());
        assert_eq!(got, expected.map_err(str::to_owned), "{value:?}");
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn a_number_is_taken_within_its_bounds_without_offset_and_scale() {
        let point = PointConfig {
            scale: "0.1".parse().unwrap(),
            offset: "-40".parse().unwrap(),
            min: Some(5.0),
            max: Some(30.0),
            ..PointConfig::named("setpoint")
        };
        check(&point, Value::Number(21.5), Ok(Raw::Decimal(Decimal::from(615))));
        check(&point, Value::Integer(30), Ok(Raw::Decimal(Decimal::from(700))));
        check(&point, Value::Number(30.1), Err("30.1 is not between 5 and 30"));
        check(&point, Value::Integer(4), Err("4 is not between 5 and 30"));
        check(&point, text("warm"), Err("expected a number between 5 and 30"));
        check(&point, Value::Bool(true), Err("expected a number between 5 and 30"));
        check(&point, Value::Number(f64::NAN), Err("expected a number between 5 and 30"));
        let open = PointConfig { max: None, ..point };
        check(&open, Value::Number(1.0), Err("1 is not 5 or above"));
    }

    #[test]
    fn what_does_not_fit_the_device_is_told_in_the_values_of_the_point() {
        let point = PointConfig {
            scale: "0.5".parse().unwrap(),
            cell: Some(Cell::of(CellType::U8)),
            ..PointConfig::named("p")
        };
        let fails = |value: Value| {
            let (raw, value) = wanted(&point, &value).unwrap();
            let error = point.cell.unwrap().encode(&raw).unwrap_err();
            explain(&point, &value, error).to_string()
        };
        assert_eq!(fails(Value::Number(1.2)), "1.2 lies between two steps of 0.5");
        let expected = "128 is not between 0 and 127.5, which the device can hold";
        assert_eq!(fails(Value::Integer(128)), expected);
    }

    #[test]
    fn a_mapped_point_takes_the_names_of_its_map() {
        let meaning = |raw: i64, meaning: Value| (RawValue::Number(Decimal::from(raw)), meaning);
        let modes = PointConfig {
            map: vec![meaning(0, text("off")), meaning(2, text("auto"))],
            ..PointConfig::named("mode")
        };
        check(&modes, text("auto"), Ok(Raw::Decimal(Decimal::from(2))));
        check(&modes, Value::Integer(2), Err("expected one of off, auto"));
        let states = PointConfig {
            map: vec![meaning(1, Value::Bool(true))],
            cell: Some(Cell::of(CellType::Bit)),
            ..modes
        };
        check(&states, text("ON"), Ok(Raw::Bool(true)));
        check(&states, Value::Bool(false), Err("expected one of true"));
        let numbers = PointConfig { map: vec![meaning(1, Value::Number(300.0))], cell: None, ..states };
        check(&numbers, Value::Integer(300), Ok(Raw::Decimal(Decimal::ONE)));
        check(&numbers, Value::Integer(1), Err("expected one of 300"));
    }

    #[test]
    fn states_and_texts_are_absolute_and_harmless() {
        let state = PointConfig { kind: PointType::Bool, ..PointConfig::named("relay") };
        for (value, expected) in [(text("Off"), false), (Value::Integer(1), true), (Value::Bool(true), true)]
        {
            check(&state, value, Ok(Raw::Bool(expected)));
        }
        check(&state, text("toggle"), Err("expected on, off, true, false, 1 or 0"));
        check(&state, Value::Integer(2), Err("expected on, off, true, false, 1 or 0"));
        let words = PointConfig { kind: PointType::Text, ..PointConfig::named("line") };
        check(&words, text("Hello"), Ok(Raw::String("Hello".into())));
        check(&words, Value::Integer(7), Ok(Raw::String("7".into())));
        let refused = Err("expected a text without control characters, such as \"1.50\", in quotes");
        check(&words, text("a\r\nRESET"), refused.clone());
        check(&words, Value::Number(1.5), refused);
        let odd = PointConfig {
            invalid: vec![RawValue::Number(Decimal::from(9999))],
            ..PointConfig::named("level")
        };
        check(&odd, Value::Integer(9999), Err("9999 stands for \"no value\" with this device"));
    }
}
