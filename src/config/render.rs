//! Mistakes as a person reads them: place, message, the line with carets under the offending text, advice. Text
//! only: no colour, no terminal.

use std::fmt::Write as _;

use super::Mistake;

/// All mistakes, each with the line it stands in, then a line that counts them. Empty for none.
///
/// ```text
/// error: unknown key "bauds" in [[port]]
///  --> fieldgate.toml:12:1
///    |
/// 12 | bauds = 9600
///    | ^^^^^
///    = help: did you mean "baud"?
/// ```
#[must_use]
pub fn render(mistakes: &[Mistake]) -> String {
    let mut text = String::new();
    for mistake in mistakes {
        one(&mut text, mistake);
        text.push('\n');
    }
    match mistakes.len() {
        0 => {}
        1 => text.push_str("1 mistake\n"),
        count => line(&mut text, format_args!("{count} mistakes")),
    }
    text
}

fn one(text: &mut String, mistake: &Mistake) {
    let number = mistake.line.to_string();
    let gutter = " ".repeat(number.len());
    let indent = " ".repeat(mistake.caret);
    let room = mistake.excerpt.chars().count().saturating_sub(mistake.caret).max(1);
    let carets = "^".repeat(mistake.len.min(room));
    line(text, format_args!("error: {}", mistake.message));
    line(text, format_args!("{gutter}--> {}:{}:{}", mistake.file, mistake.line, mistake.column));
    line(text, format_args!("{gutter} |"));
    line(text, format_args!("{number} | {}", mistake.excerpt));
    line(text, format_args!("{gutter} | {indent}{carets}"));
    if let Some(help) = &mistake.help {
        line(text, format_args!("{gutter} = help: {help}"));
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = writeln!(text, "{words}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(line: usize, column: usize, len: usize, excerpt: &str, help: Option<&str>) -> Mistake {
        Mistake {
            file: "fieldgate.toml".into(),
            line,
            column,
            len,
            message: "it is wrong".into(),
            help: help.map(str::to_owned),
            excerpt: excerpt.into(),
            caret: column - 1,
        }
    }

    #[test]
    fn a_mistake_is_shown_with_its_line_and_carets_under_the_text() {
        let shown = render(&[mistake(12, 3, 5, "  bauds = 9600", Some("write \"baud\""))]);
        assert_eq!(
            shown,
            "error: it is wrong\n  --> fieldgate.toml:12:3\n   |\n12 |   bauds = 9600\n   |   ^^^^^\n   = help: write \"baud\"\n\n1 mistake\n"
        );
    }

    #[test]
    fn carets_stay_within_a_cut_or_masked_line_and_none_means_silence() {
        let shown = render(&[mistake(1, 1, 500, "abc", None), mistake(2, 4, 1, "abc", None)]);
        assert!(shown.contains("1 | abc\n  | ^^^\n"), "{shown}");
        assert!(shown.contains("2 | abc\n  |    ^\n"), "{shown}");
        assert!(shown.ends_with("2 mistakes\n"), "{shown}");
        assert_eq!(render(&[]), "");
    }
}
