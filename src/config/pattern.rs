//! Regular expressions in the config: compiled under a size bound, with their errors put at the right column.

use regex::RegexBuilder;

use super::mistake::{Span, quoted};
use super::schema::Key;
use super::section::Value;
use super::walk::Walker;

/// The largest compiled pattern, in bytes: one per device is held, and matching takes about as much again.
const COMPILED_BYTES_MAX: usize = 256 * 1024;

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 4096;

/// Compiles a pattern, which must have a named group if so; mistakes are noted at their place in the pattern.
pub(super) fn compile(
    walker: &mut Walker<'_, '_>,
    key: &Key,
    pattern: &str,
    span: Span,
    with_groups: bool,
) -> Value {
    if pattern.len() > PATTERN_BYTES_MAX {
        let message = format!("{}: {} bytes, at most {PATTERN_BYTES_MAX} may be", key.name, pattern.len());
        walker.mistakes.add(span, message);
        return Value::Mistaken;
    }
    match RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).build() {
        Ok(regex) if !with_groups || regex.capture_names().flatten().next().is_some() => {
            Value::Pattern(regex)
        }
        Ok(_) => {
            walker.mistakes.add_with_help(
                span,
                format!("{}: {} has no named group", key.name, quoted(pattern)),
                "write a group such as (?<weight>[0-9.]+) for each value",
            );
            Value::Mistaken
        }
        Err(regex::Error::Syntax(report)) => {
            let (why, first, len) = read_report(&report);
            let raw = walker.text.get(span.start..span.end).unwrap_or_default();
            let at = place(raw, span, first, len);
            walker.mistakes.add(at, format!("{}: no regular expression: {why}", key.name));
            Value::Mistaken
        }
        Err(regex::Error::CompiledTooBig(bytes)) => {
            let message = format!("{}: the pattern takes more than {bytes} bytes when compiled", key.name);
            walker.mistakes.add_with_help(span, message, "use smaller repetition counts");
            Value::Mistaken
        }
        Err(error) => {
            walker.mistakes.add(span, format!("{}: no regular expression: {error}", key.name));
            Value::Mistaken
        }
    }
}

/// Takes the report of the regex crate apart: what is wrong, the character at which it starts, how many. The
/// report shows a one-line pattern indented by four, with carets below.
fn read_report(report: &str) -> (String, usize, usize) {
    const INDENT: usize = 4;
    let why = report.lines().rev().find_map(|line| line.strip_prefix("error: "));
    let carets =
        report.lines().find(|line| line.contains('^') && line.chars().all(|c| matches!(c, ' ' | '^')));
    // Where there are two places, such as a name that is taken, the second is the one to change.
    let before = carets.map_or("", |line| line.trim_end_matches('^'));
    let len = carets.map_or(1, |line| line.len().saturating_sub(before.len()));
    let first = before.len().saturating_sub(INDENT);
    (why.unwrap_or("it can't be read").to_owned(), first, len)
}

/// Where character `first` of a string's content stands in its source, quotes and escapes counted.
fn place(raw: &str, span: Span, first: usize, len: usize) -> Span {
    let opening = ["\"\"\"", "'''", "\"", "'"].iter().find(|quotes| raw.starts_with(**quotes));
    let Some(opening) = opening else { return span };
    let content = raw.get(opening.len()..raw.len().saturating_sub(opening.len())).unwrap_or_default();
    let starts: Vec<usize> = char_starts(content, opening.starts_with('"'));
    let end_of_content = content.len();
    let byte_of = |character: usize| starts.get(character).copied().unwrap_or(end_of_content);
    let start = span.start.saturating_add(opening.len());
    Span {
        source: span.source,
        start: start.saturating_add(byte_of(first)),
        end: start.saturating_add(byte_of(first.saturating_add(len))),
    }
}

/// The byte at which each character of a string's content starts as it is written.
fn char_starts(content: &str, escapes: bool) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut chars = content.char_indices();
    while let Some((at, c)) = chars.next() {
        starts.push(at);
        if escapes && c == '\\' {
            let digits = match chars.next() {
                Some((_, 'x')) => 2,
                Some((_, 'u')) => 4,
                Some((_, 'U')) => 8,
                _ => 0,
            };
            for _ in 0..digits {
                chars.next();
            }
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_the_regex_crate_gives_reason_and_place() {
        for (pattern, why, first, len) in [
            ("abc(", "unclosed group", 3, 1),
            ("a**b", "", 0, 0),
            ("é[z-a]", "invalid character class range, the start must be <= the end", 2, 3),
            ("(?<a>.)(?<a>.)", "duplicate capture group name", 10, 1),
            ("x{5,2}", "invalid repetition count range, the start must be <= the end", 1, 5),
        ] {
            match regex::Regex::new(pattern) {
                Err(regex::Error::Syntax(report)) => {
                    assert_eq!(read_report(&report), (why.to_owned(), first, len), "{report}");
                }
                other => assert!(why.is_empty() && other.is_ok(), "{pattern}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_character_of_the_content_is_found_behind_quotes_and_escapes() {
        for (raw, first, expected) in [
            ("'abc('", 3, 4),
            ("\"abc(\"", 3, 4),
            ("\"\\\\d(\"", 2, 4),
            ("\"\\u0041(\"", 1, 7),
            ("\"\\x41(\"", 1, 5),
            ("'''ab('''", 2, 5),
            ("'é('", 1, 3),
            ("'a'", 9, 2),
            ("", 0, 0),
        ] {
            let span = Span { source: 0, start: 0, end: raw.len() };
            assert_eq!(place(raw, span, first, 1).start, expected, "{raw}");
        }
    }
}
