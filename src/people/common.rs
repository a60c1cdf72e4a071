//! Passwords that somebody would try first: the 10,000 that people use most, also with digits and signs around them, twice
//! in a row, and those that belong to a gateway such as this one.

use super::digest_of;

/// The first 32 bits of the SHA-256 of each, sorted, the distances between them in LEB128: 30 KB. Another password is taken
/// for one of them once in 400,000 times. `tests/py/web/common_passwords.py` makes it of the list that zxcvbn (MIT licence)
/// carries.
static MOST_USED: &[u8] = include_bytes!("common_passwords.bin");

/// What somebody would try on a gateway in particular.
const OF_GATEWAYS: &[&str] = &[
    "fieldgate",
    "gateway",
    "raspberry",
    "raspberrypi",
    "administrator",
    "passwort",
    "willkommen",
    "mosquitto",
    "technician",
    "techniker",
    "installer",
    "changeme",
    "abcdefghij",
    "abcdefghijkl",
    "qwertzuiop",
];

/// The shortest word that counts with something around it: of shorter ones the rest is the password.
const CORE_CHARS_MIN: usize = 4;

/// Whether somebody would try it among the first.
pub(super) fn is_common(password: &str) -> bool {
    let lower = password.to_lowercase();
    let core = lower.trim_matches(|c: char| !c.is_alphabetic());
    let has_core = core.chars().count() >= CORE_CHARS_MIN;
    let mut tried = vec![lower.as_str(), half(&lower).unwrap_or(&lower)];
    if has_core {
        tried.extend([core, half(core).unwrap_or(core)]);
    }
    tried.iter().any(|word| OF_GATEWAYS.contains(word)) || are_listed(&tried)
}

/// The half of what is the same twice in a row.
fn half(text: &str) -> Option<&str> {
    let (first, second) = text.split_at_checked(text.len() / 2)?;
    (first == second).then_some(first)
}

fn are_listed(words: &[&str]) -> bool {
    let wanted: Vec<u32> = words
        .iter()
        .filter_map(|word| Some(u32::from_be_bytes(*digest_of(word.as_bytes()).first_chunk()?)))
        .collect();
    let (mut value, mut distance, mut shift) = (0_u32, 0_u32, 0_u32);
    for byte in MOST_USED {
        distance |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or_default();
        shift += 7;
        if byte & 0x80 == 0 {
            value = value.wrapping_add(distance);
            if wanted.contains(&value) {
                return true;
            }
            (distance, shift) = (0, 0);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_first_is_known_also_dressed_up() {
        // The first, one from the middle, and the last of ten characters or more of the list among them.
        for common in [
            "123456",
            "password",
            "Password",
            "1234567890",
            "qwertyuiop",
            "manchester",
            "password123",
            "Sunshine2026!",
            "!!dragon!!",
            "passwordpassword",
            "12341234",
            "dragondragon1",
            "fieldgate2026",
            "Raspberry#1",
            "WILLKOMMEN",
            "7ugd5hip2j",
        ] {
            assert!(is_common(common), "{common}");
        }
        for other in [
            "correct horse battery",
            "a-longer-one",
            "pa55-ladder-pump",
            "abc-9183-7746",
            "größer als das Übliche",
            "4271-8813-0956",
            "xkq7 lantern",
            "",
        ] {
            assert!(!is_common(other), "{other}");
        }
    }

    #[test]
    fn the_list_is_whole() {
        assert!(MOST_USED.len() < 40_000, "{} bytes", MOST_USED.len());
        assert_eq!(MOST_USED.iter().filter(|byte| **byte < 0x80).count(), 10_000);
        let sum = MOST_USED.split_inclusive(|byte| *byte < 0x80).fold(0_u64, |sum, bytes| {
            sum + bytes.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f))
        });
        assert!(sum <= u64::from(u32::MAX) && sum > u64::from(u32::MAX / 1_000 * 999), "{sum}");
    }
}
