//! A mistake in a config file: where it stands, what is wrong, what to write instead. Showing it to a person is
//! `render`'s business.

use super::Source;
use super::secret::FORMS;

/// The most mistakes that one check reports; the last one then says how many more there are. Worst memory: 500
/// excerpts of at most 160 characters.
const MISTAKES_MAX: usize = 500;

/// The longest excerpt, in characters; a longer line is cut around the offending text.
const EXCERPT_CHARS_MAX: usize = 160;

/// Of a longer line nothing is shown: no hand wrote it, and looking it through for each mistake takes long.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// How many characters stand before the offending text in a cut excerpt.
const EXCERPT_CHARS_BEFORE: usize = 60;

/// One mistake in a config file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters are wrong, at least 1; never beyond the line.
    pub len: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
    /// The text at that place, for the caret display: one line, without control characters and without anything
    /// that stands after `password =`. A long line is cut around the place.
    pub excerpt: String,
    /// Where the offending text starts in `excerpt`, from 0, in characters.
    pub caret: usize,
}

/// `fieldgate.toml:12:3: unknown key "bauds" in [[port]]; did you mean "baud"?`
impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// A piece of one source: bytes `start..end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// Its place in the list of sources.
    pub(super) source: usize,
    /// The first byte.
    pub(super) start: usize,
    /// The byte after the last.
    pub(super) end: usize,
}

/// Collects the mistakes of one check.
pub(super) struct Mistakes<'a> {
    sources: &'a [Source],
    /// Per source, the byte at which each line starts.
    line_starts: Vec<Vec<usize>>,
    found: Vec<(usize, Mistake)>,
    more: usize,
}

impl<'a> Mistakes<'a> {
    pub(super) fn new(sources: &'a [Source]) -> Self {
        let line_starts = sources.iter().map(|source| line_starts(&source.text)).collect();
        Self { sources, line_starts, found: Vec::new(), more: 0 }
    }

    /// Notes a mistake without advice.
    pub(super) fn add(&mut self, span: Span, message: impl Into<String>) {
        self.note(span, message.into(), None);
    }

    /// Notes a mistake and what to write instead.
    pub(super) fn add_with_help(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.note(span, message.into(), Some(help.into()));
    }

    /// Notes a mistake, perhaps with advice.
    pub(super) fn note(&mut self, span: Span, message: String, help: Option<String>) {
        if self.is_full() {
            self.more = self.more.saturating_add(1);
            return;
        }
        let mistake = self.locate(span, message, help);
        self.found.push((span.source, mistake));
    }

    /// As `note`, but of the line nothing is shown that comes after the offending text: it may be a secret.
    pub(super) fn note_before_secret(&mut self, span: Span, message: String, help: Option<String>) {
        let noted = self.found.len();
        self.note(span, message, help);
        if let Some((_, mistake)) = self.found.get_mut(noted) {
            let shown = mistake.caret.saturating_add(mistake.len);
            if mistake.excerpt.chars().nth(shown).is_some() {
                mistake.excerpt = mistake.excerpt.chars().take(shown).chain(" ***".chars()).collect();
            }
        }
    }

    /// Whether further mistakes are only counted, so that nobody need find words for them.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MISTAKES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// `fieldgate.toml:12`, for messages that name a second place.
    pub(super) fn place(&self, span: Span) -> String {
        let file = self.sources.get(span.source).map_or("", |source| source.file.as_str());
        format!("{file}:{}", self.line_of(span).0)
    }

    /// The line of a span, from 1, and the byte at which that line starts.
    pub(super) fn line_of(&self, span: Span) -> (usize, usize) {
        let starts = self.line_starts.get(span.source).map_or(&[][..], Vec::as_slice);
        let line = starts.partition_point(|start| *start <= span.start).max(1);
        (line, line.checked_sub(1).and_then(|index| starts.get(index)).copied().unwrap_or(0))
    }

    /// Drops what was noted for a source from its line `line` on.
    pub(super) fn forget_from(&mut self, source: usize, line: usize) {
        self.found.retain(|(of, mistake)| *of != source || mistake.line < line);
    }

    /// All mistakes, in the order of files, lines and columns, each once.
    pub(super) fn into_sorted(mut self) -> Vec<Mistake> {
        self.found.sort_by_key(|(source, mistake)| (*source, mistake.line, mistake.column));
        let mut sorted: Vec<Mistake> = self.found.into_iter().map(|(_, mistake)| mistake).collect();
        sorted.dedup();
        if let (1.., Some(last)) = (self.more, sorted.last()) {
            let message = format!("{} more mistakes are not listed", self.more);
            sorted.push(Mistake { message, help: None, ..last.clone() });
        }
        sorted
    }

    fn locate(&self, span: Span, message: String, help: Option<String>) -> Mistake {
        let (line, line_start) = self.line_of(span);
        let source = self.sources.get(span.source);
        let rest = source.and_then(|source| source.text.get(line_start..)).unwrap_or_default();
        let text = rest.split('\n').next().unwrap_or_default();
        let text = text.strip_suffix('\r').unwrap_or(text);
        let (text, bom) = match text.strip_prefix('\u{feff}') {
            Some(stripped) => (stripped, '\u{feff}'.len_utf8()),
            None => (text, 0),
        };
        let secret = source.and_then(|source| source.text.get(..line_start)).is_some_and(ends_in_password);
        let first = span.start.saturating_sub(line_start).saturating_sub(bom);
        let last = span.end.saturating_sub(line_start).saturating_sub(bom);
        let (first, last) = (boundary(text, first), boundary(text, last));
        let count = |range| text.get(range).map_or(0, |part: &str| part.chars().count());
        let (before, len) = (count(0..first), count(first..last).max(1));
        let (excerpt, caret) = match (secret, text.len() > LINE_BYTES_MAX) {
            (true, _) => ("***".to_owned(), 0),
            (false, true) => ("…".to_owned(), 0),
            (false, false) => excerpt(text, before),
        };
        Mistake {
            file: source.map(|source| source.file.clone()).unwrap_or_default(),
            line,
            column: before.saturating_add(1),
            len,
            message,
            help,
            excerpt,
            caret,
        }
    }
}

/// The last start of a character at or before a byte.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at.saturating_add(1))).collect()
}

/// The line as it may be shown, and where its character `column` (from 0) stands in it.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    let masked = without_passwords(line);
    let shown = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    if masked.chars().nth(EXCERPT_CHARS_MAX).is_none() {
        return (masked.chars().map(shown).collect(), column);
    }
    let skipped = column.saturating_sub(EXCERPT_CHARS_BEFORE);
    let window = masked.chars().skip(skipped).take(EXCERPT_CHARS_MAX.saturating_sub(2)).map(shown);
    let cut: String = std::iter::once('…').chain(window).chain(std::iter::once('…')).collect();
    (cut, column.saturating_sub(skipped).saturating_add(1))
}

/// Takes out what a person may have written as a plain password: everything after `password =` unless a table
/// follows, for mistakes are shown, logged and mailed.
fn without_passwords(line: &str) -> String {
    const KEY: &str = "password";
    for (at, _) in line.match_indices(KEY) {
        let after_key = line.get(at.saturating_add(KEY.len())..).unwrap_or_default();
        let after_key = after_key.trim_start_matches(['"', '\'', ' ', '\t']);
        let Some(value) = after_key.strip_prefix('=') else { continue };
        let value = value.trim_start();
        if value.is_empty() || value.strip_prefix('{').is_some_and(is_reference) {
            continue;
        }
        let kept = line.len().saturating_sub(value.len());
        return format!("{}***", line.get(..kept).unwrap_or_default());
    }
    line.to_owned()
}

/// A text without what stands as a plain password in it, line for line.
pub(super) fn masked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    // What ends the password of several lines that is open.
    let mut closing: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        let (content, end) = line.strip_suffix('\n').map_or((line, ""), |content| (content, "\n"));
        match closing {
            Some(quotes) => {
                shown.push_str("***");
                closing = closing.filter(|_| !content.contains(quotes));
            }
            None => {
                shown.push_str(&without_passwords(content));
                closing = ["\"\"\"", "'''"].into_iter().find(|quotes| {
                    content.contains("password") && content.contains(quotes) && ends_in_password(content)
                });
            }
        }
        shown.push_str(end);
    }
    shown
}

/// Whether a text of several lines that stands as a plain password is still open at the end of `before`.
fn ends_in_password(before: &str) -> bool {
    for (at, key) in before.rmatch_indices("password") {
        let after_key = before.get(at.saturating_add(key.len())..).unwrap_or_default();
        let after_key = after_key.trim_start_matches(['"', '\'', ' ', '\t']);
        let value = after_key.strip_prefix('=').map(str::trim_start).unwrap_or_default();
        for quotes in ["\"\"\"", "'''"] {
            if let Some(content) = value.strip_prefix(quotes) {
                return !content.contains(quotes);
            }
        }
    }
    false
}

/// Whether what follows the brace is a reference, or nothing yet.
fn is_reference(inside: &str) -> bool {
    let inside = inside.trim_start().trim_start_matches(['"', '\'']);
    inside.is_empty() || inside.starts_with('}') || FORMS.iter().any(|form| inside.starts_with(form))
}

/// A text in quotes as a message shows it: escaped, and cut at 60 characters.
pub(super) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    if text.chars().nth(CHARS_MAX).is_none() {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(CHARS_MAX).collect();
    format!("{:?}", format!("{start}…"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Vec<Source> {
        vec![Source { file: "f.toml".into(), text: text.into() }]
    }

    fn at(text: &str, start: usize, end: usize) -> Mistake {
        let sources = sources(text);
        let mut mistakes = Mistakes::new(&sources);
        mistakes.add(Span { source: 0, start, end }, "m");
        mistakes.into_sorted().remove(0)
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        for (text, start, end, line, column, len, excerpt) in [
            ("abc", 0, 1, 1, 1, 1, "abc"),
            ("abc\ndef\n", 4, 7, 2, 1, 3, "def"),
            ("abc\r\ndef\r\n", 7, 8, 2, 3, 1, "def"),
            ("ä = 'ö'\n", 5, 9, 1, 5, 3, "ä = 'ö'"),
            ("\u{feff}abc", 3, 6, 1, 1, 3, "abc"),
            ("a\n\"\"\"x\ny\"\"\"", 2, 11, 2, 1, 4, "\"\"\"x"),
            ("abc", 3, 3, 1, 4, 1, "abc"),
            ("abc\n", 400, 500, 2, 1, 1, ""),
            ("a\tb\u{1b}c", 2, 3, 1, 3, 1, "a b\u{fffd}c"),
            ("", 0, 0, 1, 1, 1, ""),
        ] {
            let mistake = at(text, start, end);
            assert_eq!(
                (mistake.line, mistake.column, mistake.len, mistake.excerpt.as_str()),
                (line, column, len, excerpt),
                "{text:?} {start}..{end}"
            );
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}HERE{}", "x".repeat(1000), "y".repeat(1000));
        let mistake = at(&text, 1000, 1004);
        assert_eq!(mistake.column, 1001);
        assert_eq!(mistake.excerpt.chars().count(), EXCERPT_CHARS_MAX);
        let shown: String = mistake.excerpt.chars().skip(mistake.caret).take(mistake.len).collect();
        assert_eq!(shown, "HERE");
    }

    #[test]
    fn of_a_line_that_no_hand_wrote_nothing_is_shown() {
        let text = "é".repeat(LINE_BYTES_MAX);
        let mistake = at(&text, 2 * 1000, 2 * 1002);
        assert_eq!((mistake.column, mistake.len, mistake.excerpt.as_str(), mistake.caret), (1001, 2, "…", 0));
    }

    #[test]
    fn an_excerpt_never_shows_a_password() {
        for (line, shown) in [
            ("password = \"hunter2\"", "password = ***"),
            ("  password='hunter2' # x", "  password=***"),
            ("\"password\" = hunter2", "\"password\" = ***"),
            ("user = { name = \"a\", password = \"hunter2\" }", "user = { name = \"a\", password = ***"),
            ("password = { env = \"P\" }", "password = { env = \"P\" }"),
            ("# the password is elsewhere", "# the password is elsewhere"),
            ("password = { env = \"P\" }, password = hunter2", "password = { env = \"P\" }, password = ***"),
            ("password =", "password ="),
            ("password = { plain = \"hunter2\" }", "password = ***"),
            ("password = {}", "password = {}"),
        ] {
            assert_eq!(at(line, 0, 1).excerpt, shown);
        }
    }

    #[test]
    fn a_password_of_several_lines_is_not_shown_either() {
        for (before, shown) in [
            ("password = \"\"\"\n", "***"),
            ("password = '''\npassword\n", "***"),
            ("password = \"\"\"a\"\"\"\n", "line"),
            ("site = \"\"\"\n", "line"),
        ] {
            let text = format!("{before}line");
            assert_eq!(at(&text, before.len(), text.len()).excerpt, shown, "{before:?}");
        }
    }

    #[test]
    fn mistakes_come_sorted_once_each_and_bounded() {
        let sources = sources("a\nb\nc\n");
        let mut mistakes = Mistakes::new(&sources);
        mistakes.add(Span { source: 0, start: 4, end: 5 }, "third");
        mistakes.add(Span { source: 0, start: 0, end: 1 }, "first");
        mistakes.add(Span { source: 0, start: 0, end: 1 }, "first");
        let messages: Vec<_> = mistakes.into_sorted().into_iter().map(|m| (m.line, m.message)).collect();
        assert_eq!(messages, [(1, "first".to_owned()), (3, "third".to_owned())]);

        let mut mistakes = Mistakes::new(&sources);
        for n in 0..MISTAKES_MAX + 7 {
            mistakes.add(Span { source: 0, start: 0, end: 1 }, n.to_string());
        }
        let all = mistakes.into_sorted();
        assert_eq!(all.len(), MISTAKES_MAX + 1);
        assert_eq!(all.last().unwrap().message, "7 more mistakes are not listed");
    }

    #[test]
    fn the_place_of_a_quoted_text_is_bounded_and_escaped() {
        assert_eq!(quoted("a\"b\n"), r#""a\"b\n""#);
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 63);
    }
}
