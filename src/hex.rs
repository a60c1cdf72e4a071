//! Bytes as pairs of hexadecimal digits, and back.

use std::fmt::Write;

/// `00ff`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    joined(bytes, "")
}

/// `00 ff`, as people read them.
#[must_use]
pub fn spaced(bytes: &[u8]) -> String {
    joined(bytes, " ")
}

fn joined(bytes: &[u8], between: &str) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2 + between.len()));
    for (place, byte) in bytes.iter().enumerate() {
        // Writing into a text can't fail.
        let _ = write!(text, "{}{byte:02x}", if place == 0 { "" } else { between });
    }
    text
}

/// Bytes from pairs of digits with nothing between them; `None` where it is anything else.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_pairs_of_digits_and_back() {
        assert_eq!(encode(&[0, 0xff, 0x7b]), "00ff7b");
        assert_eq!(spaced(&[0, 0xff, 0x7b]), "00 ff 7b");
        assert_eq!((encode(&[]), spaced(&[])), (String::new(), String::new()));
        assert_eq!(decode("00fF7b"), Some(vec![0, 0xff, 0x7b]));
        assert_eq!(decode(""), Some(vec![]));
        for wrong in ["0", "0g", "+1", "ä", "00 1", "00 11"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
