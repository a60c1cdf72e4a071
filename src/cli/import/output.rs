//! The config that comes out: sections with their keys, each with the line it came from.

use std::fmt::Write;

use super::report::Place;

/// A table of the config.
#[derive(Clone, Debug, Default)]
pub(super) struct Section {
    /// With its brackets.
    header: String,
    comments: Vec<String>,
    keys: Vec<(&'static str, String, String)>,
}

impl Section {
    pub(super) fn new(header: &str) -> Self {
        Self { header: header.to_owned(), ..Self::default() }
    }

    /// A sentence above it.
    pub(super) fn comment(&mut self, text: impl Into<String>) {
        self.comments.push(text.into());
    }

    /// A key with a value in TOML, and where it comes from.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<String>, from: Option<&Place>) {
        let from = from.map(Place::to_string).unwrap_or_default();
        self.set_because(key, value, from);
    }

    /// A key with a value in TOML, and why.
    pub(super) fn set_because(
        &mut self,
        key: &'static str,
        value: impl Into<String>,
        why: impl Into<String>,
    ) {
        self.keys.retain(|(known, ..)| *known != key);
        self.keys.push((key, value.into(), why.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|(known, ..)| *known == key)
    }

    fn write(&self, out: &mut String) {
        out.push('\n');
        for comment in &self.comments {
            let _ = writeln!(out, "# {comment}");
        }
        let _ = writeln!(out, "{}", self.header);
        for (key, value, why) in &self.keys {
            let _ = match why.is_empty() {
                true => writeln!(out, "{key} = {value}"),
                false => writeln!(out, "{key} = {value}  # {why}"),
            };
        }
    }
}

/// The whole file.
pub(super) fn render(heading: &[String], sections: &[Section]) -> String {
    let mut out = String::new();
    for line in heading {
        let _ = writeln!(out, "# {line}");
    }
    for section in sections {
        section.write(&mut out);
    }
    out
}
