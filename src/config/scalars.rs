//! Values of more than one kind: lists and tables of numbers, texts and booleans, and bytes in hexadecimal digits.

use toml::de::{DeArray, DeTable, DeValue};

use super::mistake::{Span, quoted};
use super::schema::Key;
use super::section::{Scalar, Value};
use super::value::{Refusal, decimal, found};
use super::walk::{Spanned, Walker};
use crate::hex;

/// The longest text in such a list or table, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// An array of numbers, texts and booleans.
pub(super) fn list(
    walker: &mut Walker<'_, '_>,
    key: &Key,
    count_max: usize,
    items: &DeArray<'_>,
    span: Span,
) -> Value {
    bounded(walker, key, items.len(), count_max, span);
    let mut scalars = Vec::new();
    for item in items.iter().take(count_max) {
        if let Some(scalar) = scalar(walker, key, item) {
            scalars.push((scalar, walker.span(item)));
        }
    }
    Value::Scalars(scalars)
}

/// A table with any keys.
pub(super) fn map(
    walker: &mut Walker<'_, '_>,
    key: &Key,
    count_max: usize,
    table: &DeTable<'_>,
    span: Span,
) -> Value {
    bounded(walker, key, table.len(), count_max, span);
    let mut entries = Vec::new();
    for (name, item) in table.iter().take(count_max) {
        if let Some(scalar) = scalar(walker, key, item) {
            let name: &str = name.get_ref();
            entries.push((name.to_owned(), scalar, walker.span(item)));
        }
    }
    Value::Map(entries)
}

fn bounded(walker: &mut Walker<'_, '_>, key: &Key, count: usize, max: usize, span: Span) {
    if count > max {
        walker.mistakes.add(span, format!("{}: {count} entries, but at most {max} may be", key.name));
    }
}

fn scalar(walker: &mut Walker<'_, '_>, key: &Key, item: &Spanned<DeValue<'_>>) -> Option<Scalar> {
    let read = match item.get_ref() {
        DeValue::String(text) if text.len() > TEXT_BYTES_MAX => {
            Err((format!("a text has {} bytes, at most {TEXT_BYTES_MAX} may be", text.len()), None))
        }
        DeValue::String(text) => Ok(Scalar::Text(text.to_string())),
        DeValue::Boolean(flag) => Ok(Scalar::Bool(*flag)),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Ok(Scalar::Number(number.into())),
            Err(_) => number_of(number.as_str()),
        },
        DeValue::Float(number) => number_of(number.as_str()),
        other => Err((format!("expected a number or a text in quotes, found {}", found(other)), None)),
    };
    match read {
        Ok(scalar) => Some(scalar),
        Err((message, help)) => {
            let span = walker.span(item);
            walker.mistakes.note(span, format!("{}: {message}", key.name), help);
            None
        }
    }
}

fn number_of(written: &str) -> Result<Scalar, Refusal> {
    match decimal(written)? {
        Value::Decimal(number) => Ok(Scalar::Number(number)),
        _ => Err((format!("{} is no number", quoted(written)), None)),
    }
}

/// Bytes in pairs of hexadecimal digits, with or without spaces between them.
pub(super) fn hex(written: &str, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
    let digits: String = written.chars().filter(|c| !matches!(c, ' ' | ':' | '-')).collect();
    if digits.is_empty() {
        return Err(("is empty".to_owned(), None));
    }
    let Some(bytes) = hex::decode(&digits) else {
        let message = format!("{} is not made of pairs of hexadecimal digits", quoted(written));
        return Err((message, Some("write one such as \"42 4d\"".to_owned())));
    };
    if bytes.len() > bytes_max {
        return Err((format!("{} bytes, at most {bytes_max} may be", bytes.len()), None));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_pairs_of_digits_however_they_are_spaced() {
        let check = |written: &str, expected: Option<&[u8]>| {
            assert_eq!(hex(written, 4).ok().as_deref(), expected, "{written}");
        };
        check("42 4d", Some(&[0x42, 0x4d]));
        check("424D", Some(&[0x42, 0x4d]));
        check("aa:c0", Some(&[0xaa, 0xc0]));
        check("0", None);
        check("0x42", None);
        check("", None);
        check("00 11 22 33 44", None);
    }
}
