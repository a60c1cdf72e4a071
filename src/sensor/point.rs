//! A raw field to a point's value: type, exact scale and offset, range. Which field it is is `decode`'s business.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};

use super::config::{PointConfig, PointType, RawValue};
use super::decode::Raw;
use crate::reading::{Quality, Sample, Value};

/// The longest text that is a value, in bytes; a longer one reads invalid.
const TEXT_BYTES_MAX: usize = 256;

/// The longest number, in bytes and without its spaces. Every f64 can be written shorter.
const NUMBER_BYTES_MAX: usize = 64;

/// Up to here each whole number is an f64.
const WHOLE_IN_F64: u64 = 1 << f64::MANTISSA_DIGITS;

/// What programs print for a number that they don't have; `ovf` is an Arduino's.
const NO_NUMBERS: [&str; 8] = ["nan", "-nan", "inf", "+inf", "-inf", "infinity", "-infinity", "ovf"];

/// Words of a [`PointType::Bool`].
const BOOLS: [(&str, bool); 12] = [
    ("true", true),
    ("false", false),
    ("on", true),
    ("off", false),
    ("yes", true),
    ("no", false),
    ("1", true),
    ("0", false),
    ("high", true),
    ("low", false),
    ("closed", true),
    ("open", false),
];

/// What a point reads. `None`: an optional point that has no value, which is no fault.
pub(super) fn sample(point: &PointConfig, raw: &Raw<'_>) -> Option<Sample> {
    if point.optional && matches!(raw, Raw::Missing | Raw::Null) {
        return None;
    }
    let value = if point.invalid.iter().any(|known| is_same(known, raw)) {
        None
    } else if point.map.is_empty() {
        read(point, raw)
    } else {
        point.map.iter().find(|(known, _)| is_same(known, raw)).map(|(_, meaning)| meaning.clone())
    };
    let quality = quality(point, value.as_ref());
    Some(Sample { point: point.name.clone(), value, quality })
}

fn read(point: &PointConfig, raw: &Raw<'_>) -> Option<Value> {
    match point.kind {
        PointType::Number => text(raw).and_then(|text| number(&text, point)).map(Value::Number),
        PointType::Integer => text(raw).and_then(|text| integer(&text, point)).map(Value::Integer),
        PointType::Bool => boolean(raw).map(Value::Bool),
        PointType::Text => words(raw).map(Value::Text),
    }
}

/// Whether the device sent this.
fn is_same(known: &RawValue, raw: &Raw<'_>) -> bool {
    match (known, raw) {
        (RawValue::Number(number), Raw::Decimal(sent)) => number == sent,
        (RawValue::Number(number), Raw::Bool(sent)) => *number == Decimal::from(u8::from(*sent)),
        (RawValue::Number(number), _) => text(raw).and_then(|text| decimal(&text)) == Some(*number),
        (RawValue::Word(word), _) => words(raw).is_some_and(|sent| sent == *word),
    }
}

/// The value that a device must get so that the point reads `value`: without offset and scale. `None` where that
/// is no value of this point, or `map` has no raw value for it.
pub(super) fn raw_of(point: &PointConfig, value: &Value) -> Option<Raw<'static>> {
    if !point.map.is_empty() {
        let (raw, _) = point.map.iter().find(|(_, meaning)| meaning == value)?;
        return Some(match raw {
            RawValue::Number(number) => Raw::Decimal(*number),
            RawValue::Word(word) => Raw::String(Cow::Owned(word.clone())),
        });
    }
    let number = match value {
        Value::Bool(flag) => return Some(Raw::Bool(*flag)),
        Value::Text(text) => return Some(Raw::String(Cow::Owned(text.clone()))),
        Value::Number(number) if !number.is_finite() => return None,
        Value::Number(number) => decimal(&format!("{number:e}"))?,
        Value::Integer(number) => Decimal::from(*number),
    };
    Some(Raw::Decimal(number.checked_sub(point.offset)?.checked_div(point.scale)?))
}

/// A field of a device with `points = "*"`: what looks like a number is one.
pub(super) fn guess(name: Arc<str>, raw: &Raw<'_>) -> Sample {
    let value = match raw {
        Raw::Missing | Raw::Null | Raw::Nested => None,
        Raw::Bool(value) => Some(Value::Bool(*value)),
        Raw::Number(text) => plain_number(text),
        Raw::String(_) => words(raw).map(Value::Text),
        Raw::Word(word) if is_no_number(word) => None,
        Raw::Word(word) => plain_number(word).or_else(|| words(raw).map(Value::Text)),
        Raw::Decimal(_) | Raw::Float(_) => text(raw).and_then(|text| plain_number(&text)),
    };
    let quality = if value.is_some() { Quality::Good } else { Quality::Invalid };
    Sample { point: name, value, quality }
}

fn quality(point: &PointConfig, value: Option<&Value>) -> Quality {
    let number = match value {
        None => return Quality::Invalid,
        Some(Value::Number(number)) => *number,
        Some(Value::Integer(number)) => number.to_f64().unwrap_or_default(),
        Some(Value::Bool(_) | Value::Text(_)) => return Quality::Good,
    };
    let below = point.min.is_some_and(|min| number < min);
    let above = point.max.is_some_and(|max| number > max);
    if below || above { Quality::OutOfRange } else { Quality::Good }
}

/// The text that a number may stand in.
fn text<'a>(raw: &'a Raw<'_>) -> Option<Cow<'a, str>> {
    let text = match raw {
        Raw::Number(text) | Raw::Word(text) => text,
        Raw::String(text) => text.as_ref(),
        Raw::Decimal(number) => return Some(Cow::Owned(number.normalize().to_string())),
        // With an exponent: 1e300 has three hundred digits.
        Raw::Float(number) => return number.is_finite().then(|| Cow::Owned(format!("{number:e}"))),
        Raw::Missing | Raw::Null | Raw::Bool(_) | Raw::Nested => return None,
    };
    let text = if text.contains([' ', '\t']) {
        // A scale pads behind the sign: "+  0.123".
        Cow::Owned(text.chars().filter(|character| !matches!(character, ' ' | '\t')).collect())
    } else {
        Cow::Borrowed(text)
    };
    is_decimal(&text).then_some(text)
}

/// Digits with sign, point and exponent only: keeps "nan", "inf" and "1_000" from the parsers behind.
fn is_decimal(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    text.len() <= NUMBER_BYTES_MAX && text.bytes().all(allowed)
}

fn number(text: &str, point: &PointConfig) -> Option<f64> {
    let raw: f64 = text.parse().ok()?;
    if let Some(places) = point.precision
        && let Some(exact) = scaled(text, point)
    {
        let rounded = exact.round_dp_with_strategy(places.into(), RoundingStrategy::MidpointAwayFromZero);
        return Some(nearest(rounded)? + 0.0);
    }
    let number = if point.scale == Decimal::ONE && point.offset.is_zero() {
        raw
    } else {
        match scaled(text, point).and_then(nearest) {
            Some(exact) => exact,
            None => raw * nearest(point.scale)? + nearest(point.offset)?,
        }
    };
    // Adding zero turns -0 into 0: nobody reads "-0" as a measurement.
    number.is_finite().then_some(number + 0.0)
}

fn integer(text: &str, point: &PointConfig) -> Option<i64> {
    let is_plain = point.scale == Decimal::ONE && point.offset.is_zero();
    if is_plain && let Ok(number) = text.parse() {
        return Some(number);
    }
    let exact = scaled(text, point)?;
    if exact.fract().is_zero() { exact.to_i64() } else { None }
}

/// Exactly `text × scale + offset`; `None` where a decimal of 28 digits can't hold it well.
fn scaled(text: &str, point: &PointConfig) -> Option<Decimal> {
    let raw = decimal(text)?;
    let product = raw.checked_mul(point.scale)?;
    // 28 places leave such a small product few digits.
    let is_coarse = !raw.is_zero() && product.abs() < Decimal::new(1, 12);
    if is_coarse { None } else { product.checked_add(point.offset) }
}

fn decimal(text: &str) -> Option<Decimal> {
    if text.contains(['e', 'E']) { Decimal::from_scientific(text).ok() } else { Decimal::from_str(text).ok() }
}

/// The nearest f64: through its text, since the direct conversion may be a digit off.
fn nearest(number: Decimal) -> Option<f64> {
    number.normalize().to_string().parse().ok()
}

fn boolean(raw: &Raw<'_>) -> Option<bool> {
    let word = match raw {
        Raw::Bool(value) => return Some(*value),
        Raw::Number(text) | Raw::Word(text) => text.trim(),
        Raw::String(text) => text.trim(),
        Raw::Decimal(number) => {
            return if number.is_zero() { Some(false) } else { (*number == Decimal::ONE).then_some(true) };
        }
        Raw::Missing | Raw::Null | Raw::Nested | Raw::Float(_) => return None,
    };
    BOOLS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, value)| *value)
}

fn words(raw: &Raw<'_>) -> Option<String> {
    let text = match raw {
        Raw::Bool(true) => "true",
        Raw::Bool(false) => "false",
        Raw::Number(text) | Raw::Word(text) => text.trim(),
        Raw::String(text) => text.trim(),
        Raw::Decimal(_) | Raw::Float(_) => return text(raw).map(Cow::into_owned),
        Raw::Missing | Raw::Null | Raw::Nested => return None,
    };
    (text.len() <= TEXT_BYTES_MAX).then(|| text.to_owned())
}

fn is_no_number(word: &str) -> bool {
    NO_NUMBERS.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// A number without scale: an f64, or an integer where an f64 would lose digits.
fn plain_number(text: &str) -> Option<Value> {
    if !is_decimal(text) {
        return None;
    }
    if let Ok(integer) = text.parse::<i64>()
        && integer.unsigned_abs() > WHOLE_IN_F64
    {
        return Some(Value::Integer(integer));
    }
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(Value::Number(number + 0.0))
}

#[cfg(test)]
mod tests;
