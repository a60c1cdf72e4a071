//! Decimal numbers, digit for digit as they are written: `0.1` is one tenth, not its nearest binary neighbour.

use rust_decimal::Decimal;

/// The most digits, and the most after the point, that a [`Decimal`] keeps for certain.
const DIGITS_MAX: u32 = 28;

/// Reads `21`, `-0.1`, `+1.5`, `1e-3`; exactly or not at all.
pub(super) fn parse(text: &str) -> Option<Decimal> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return Decimal::from_str_exact(text).ok();
    };
    let mut number = Decimal::from_str_exact(mantissa).ok()?;
    let exponent = exponent.parse::<i32>().ok()?;
    let shift = exponent.unsigned_abs();
    if shift > DIGITS_MAX {
        return None;
    }
    if exponent < 0 {
        number.set_scale(number.scale().checked_add(shift)?).ok()?;
        return Some(number);
    }
    let taken = shift.min(number.scale());
    number.set_scale(number.scale().checked_sub(taken)?).ok()?;
    for _ in taken..shift {
        number = number.checked_mul(Decimal::TEN)?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_keeps_every_digit_or_is_refused() {
        for (text, expected) in [
            ("0.1", Some("0.1")),
            ("-0.01", Some("-0.01")),
            ("+2", Some("2")),
            ("21", Some("21")),
            ("1e-3", Some("0.001")),
            ("1.5E2", Some("150")),
            ("1.25e1", Some("12.5")),
            ("1e20", Some("100000000000000000000")),
            ("0.0000000000000000000000000001", Some("0.0000000000000000000000000001")),
            ("0.00000000000000000000000000001", None),
            ("1e-29", None),
            ("1e29", None),
            ("9e28", None),
            ("1e999999999999", None),
            ("", None),
            ("abc", None),
            ("1,5", None),
            ("nan", None),
        ] {
            assert_eq!(parse(text).map(|number| number.to_string()).as_deref(), expected, "{text:?}");
        }
    }
}
