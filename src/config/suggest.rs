//! The nearest known word: what a person probably meant.

/// The known word that is nearest to `written`, if any is near enough to be worth a guess: at most one slip in
/// three characters (a wrong, missing, additional or swapped character each), or one a beginning of the other
/// (`baudrate`, `user`).
pub(crate) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let written = normal(written);
    let mut best: Option<(usize, &str)> = None;
    for word in known {
        let candidate = normal(word);
        let longer = written.len().max(candidate.len());
        let mut distance = distance(&written, &candidate);
        if distance > longer.div_euclid(3).max(1) {
            if !is_beginning(&written, &candidate) {
                continue;
            }
            // A shared beginning is a weaker hint than any near miss.
            distance = distance.saturating_add(CHARS_MAX);
        }
        // A word as short as the slip itself shares nothing with it.
        let shares_something = distance < longer || distance > CHARS_MAX;
        if shares_something && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, word));
        }
    }
    best.map(|(_, word)| word)
}

/// Longer words are compared by their beginning alone: names are short, and this bounds the work.
const CHARS_MAX: usize = 64;

/// Lower case, `-` and space as `_`: spelling habits that count as equal.
fn normal(word: &str) -> Vec<char> {
    let same = |c| if matches!(c, '-' | ' ') { '_' } else { c };
    word.chars().take(CHARS_MAX).flat_map(char::to_lowercase).map(same).collect()
}

fn is_beginning(a: &[char], b: &[char]) -> bool {
    a.len().min(b.len()) >= 3 && (a.starts_with(b) || b.starts_with(a))
}

/// Damerau-Levenshtein distance, in its form where no part is edited twice (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_a = None;
    for (row, &from) in a.iter().enumerate() {
        let mut current = Vec::with_capacity(last.len());
        let mut left = row.saturating_add(1);
        current.push(left);
        let mut previous_b = None;
        for (column, &to) in b.iter().enumerate() {
            let diagonal = last.get(column).copied().unwrap_or(usize::MAX);
            let above = last.get(column.saturating_add(1)).copied().unwrap_or(usize::MAX);
            let replaced = diagonal.saturating_add(usize::from(from != to));
            let mut least = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            if previous_a == Some(to) && previous_b == Some(from) {
                let swapped = column.checked_sub(1).and_then(|at| before_last.get(at)).copied();
                least = least.min(swapped.unwrap_or(usize::MAX).saturating_add(1));
            }
            current.push(least);
            left = least;
            previous_b = Some(to);
        }
        before_last = std::mem::replace(&mut last, current);
        previous_a = Some(from);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_each_slip_once() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("baud", "baud", 0),
            ("bauds", "baud", 1),
            ("buad", "baud", 1),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
        ] {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            assert_eq!(distance(&chars(a), &chars(b)), expected, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_word_is_suggested_only_if_it_is_near() {
        let keys = ["name", "path", "baud", "data_bits", "parity", "stop_bits", "user_name", "user"];
        for (written, expected) in [
            ("bauds", Some("baud")),
            ("baudrate", Some("baud")),
            ("baud_rate", Some("baud")),
            ("nmae", Some("name")),
            ("Parity", Some("parity")),
            ("databits", Some("data_bits")),
            ("stop-bits", Some("stop_bits")),
            ("username", Some("user_name")),
            ("use", Some("user")),
            ("colour", None),
            ("x", None),
            ("", None),
            ("ba", None),
        ] {
            assert_eq!(nearest(written, keys), expected, "{written}");
        }
    }
}
