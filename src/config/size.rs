//! Sizes as a person writes them: a whole number and a unit of 1024s, `"256 MiB"`, `"64 KiB"`, `"4096 B"`.

/// The units in bytes, smallest first.
const UNITS: &[(&str, u64)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads a size in bytes. `None`: no whole number with a known unit, or more than 64 bits.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

/// What was probably meant by a unit that isn't one: `256 MB`, `64k`, `10 mib` or a bare number.
pub(super) fn guess(text: &str) -> Option<String> {
    let (number, unit) = split(text)?;
    number.parse::<u64>().ok()?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => "B",
        "k" | "kb" | "ki" | "kib" => "KiB",
        "m" | "mb" | "mi" | "mib" => "MiB",
        "g" | "gb" | "gi" | "gib" => "GiB",
        "t" | "tb" | "ti" | "tib" => "TiB",
        _ => return None,
    };
    Some(format!("{number} {unit}"))
}

/// Prints it in the largest unit that leaves it whole: `256 MiB`, `1000 B`.
pub(super) fn print(bytes: u64) -> String {
    for (name, unit) in UNITS.iter().rev() {
        if bytes > 0 && bytes.checked_rem(*unit) == Some(0) {
            return format!("{} {name}", bytes.checked_div(*unit).unwrap_or(0));
        }
    }
    "0 B".to_owned()
}

fn split(text: &str) -> Option<(&str, &str)> {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    (!number.is_empty()).then_some((number, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_whole_number_with_a_unit() {
        for (text, expected) in [
            ("256 MiB", Some(268_435_456)),
            ("64KiB", Some(65_536)),
            ("4096 B", Some(4_096)),
            ("1 GiB", Some(1 << 30)),
            ("1 TiB", Some(1 << 40)),
            ("0 B", Some(0)),
            ("", None),
            ("MiB", None),
            ("4096", None),
            ("256 MB", None),
            ("1.5 MiB", None),
            ("-1 B", None),
            ("99999999 TiB", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_wrong_unit_is_guessed_and_the_guess_is_a_size() {
        for (text, expected) in [
            ("256 MB", Some("256 MiB")),
            ("64k", Some("64 KiB")),
            ("10 gib", Some("10 GiB")),
            ("4096", Some("4096 B")),
            ("1.5 MB", None),
            ("many", None),
            ("5 parsec", None),
        ] {
            let guessed = guess(text);
            assert_eq!(guessed.as_deref(), expected, "{text:?}");
            assert!(guessed.is_none_or(|size| parse(&size).is_some()));
        }
    }

    #[test]
    fn a_size_prints_in_its_largest_whole_unit_and_reads_back() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1, "1 B"),
            (1_000, "1000 B"),
            (4_096, "4 KiB"),
            (1 << 28, "256 MiB"),
            (3 << 30, "3 GiB"),
        ] {
            assert_eq!(print(bytes), expected);
            assert_eq!(parse(expected), Some(bytes));
        }
    }
}
