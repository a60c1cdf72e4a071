//! Spans of time as a person writes them: a whole number and a unit, `"250ms"`, `"5s"`, `"10min"`, `"1h"`, `"7d"`.

use std::time::Duration;

/// Each unit with its other spellings; the first is the one that is printed. In milliseconds, smallest first.
const UNITS: &[(&[&str], u64)] =
    &[(&["ms"], 1), (&["s"], 1_000), (&["min", "m"], 60_000), (&["h"], 3_600_000), (&["d"], 86_400_000)];

/// Reads a duration. `None`: no whole number with a known unit, or longer than the type can hold.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim_start_matches(' ');
    let (_, millis) = UNITS.iter().find(|(names, _)| names.contains(&unit))?;
    number.parse::<u64>().ok()?.checked_mul(*millis).map(Duration::from_millis)
}

/// Prints it in the largest unit that leaves it whole: `90s`, `1h`. Parts of a millisecond are cut off.
pub(crate) fn print(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole = |unit: &u64| millis > 0 && millis.checked_rem(*unit) == Some(0);
    for (names, unit) in UNITS.iter().rev() {
        if whole(unit) {
            let count = millis.checked_div(*unit).unwrap_or(0);
            return format!("{count}{}", names.first().unwrap_or(&""));
        }
    }
    "0s".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_with_a_unit() {
        for (text, expected) in [
            ("250ms", Some(250)),
            ("5s", Some(5_000)),
            ("5 s", Some(5_000)),
            ("10min", Some(600_000)),
            ("10m", Some(600_000)),
            ("1h", Some(3_600_000)),
            ("7d", Some(604_800_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("1.5s", None),
            ("5 sec", None),
            ("5S", None),
            ("1h30min", None),
            (" 5s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("٣s", None),
        ] {
            assert_eq!(parse(text), expected.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn a_duration_prints_in_its_largest_whole_unit_and_reads_back() {
        for (millis, expected) in [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1500ms"),
            (5_000, "5s"),
            (90_000, "90s"),
            (3_600_000, "1h"),
            (86_400_000, "1d"),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(print(duration), expected);
            assert_eq!(parse(expected), Some(duration));
        }
    }
}
