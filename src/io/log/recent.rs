//! The last lines of the log in memory, for whoever looks at the page.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use tracing::Level;

use super::line::{Line, Value};
use crate::config::LogLevel;

/// Lines that are kept, and their bytes (512 KiB at worst, besides some 100 KiB of their frames). At either bound the oldest
/// go; `first` of the answer tells from where on they are there.
const LINES_MAX: usize = 1_000;
const BYTES_MAX: usize = 512 * 1024;

/// Lines of one answer, the newest: making more would keep others waiting.
const ANSWERED_MAX: usize = 300;

/// Which lines are wanted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    /// Those after this number.
    pub after: u64,
    /// Those of this level and worse: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Option<String>,
    /// Those of this part of the gateway.
    pub subsystem: Option<String>,
    /// Those that contain this text, whatever its case.
    pub contains: Option<String>,
}

/// The ring.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ring: VecDeque<(usize, Arc<Line>)>,
    bytes: usize,
    last: u64,
}

impl Recent {
    pub(super) fn add(&mut self, line: &Arc<Line>) {
        let bytes = weight(line);
        self.bytes += bytes;
        self.last += 1;
        self.ring.push_back((bytes, line.clone()));
        while self.ring.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some((bytes, _)) = self.ring.pop_front() else { return };
            self.bytes -= bytes;
        }
    }

    /// A copy of all lines with their numbers: what is made of them is made without the lock that everybody who logs wants.
    pub(super) fn all(&self) -> Vec<(u64, Arc<Line>)> {
        let first = self.last - u64::try_from(self.ring.len()).unwrap_or_default();
        (first + 1..).zip(self.ring.iter().map(|(_, line)| line.clone())).collect()
    }
}

/// The lines that are wanted, the oldest first.
pub(super) fn json(all: &[(u64, Arc<Line>)], wanted: &Wanted, max: usize) -> Json {
    let text = wanted.contains.as_deref().map(str::to_lowercase);
    let level = wanted.level.as_deref().and_then(level);
    let is_wanted = |line: &Line| {
        level.is_none_or(|level| line.level <= level)
            && wanted.subsystem.as_deref().is_none_or(|subsystem| line.subsystem == subsystem)
            && text.as_deref().is_none_or(|text| line.words().to_lowercase().contains(text))
    };
    let newest = all.iter().rev().take_while(|(number, _)| *number > wanted.after);
    let mut lines: Vec<Json> = newest
        .filter(|(_, line)| is_wanted(line))
        .take(max)
        .map(|(number, line)| one(*number, line))
        .collect();
    lines.reverse();
    json!({
        "first": all.first().map(|(number, _)| *number),
        "last": all.last().map(|(number, _)| *number),
        "max": max,
        "lines": lines,
    })
}

/// As [`json`] has them for a page.
pub(super) fn answer(all: &[(u64, Arc<Line>)], wanted: &Wanted) -> Json {
    json(all, wanted, ANSWERED_MAX)
}

/// All that are kept, as text.
pub(super) fn everything(all: &[(u64, Arc<Line>)]) -> Json {
    json(all, &Wanted::default(), LINES_MAX)
}

fn one(number: u64, line: &Line) -> Json {
    json!({
        "number": number,
        "time": crate::time::Timestamp::from_millis(line.at.as_millisecond()).to_string(),
        "level": line.level.as_str().to_ascii_lowercase(),
        "subsystem": line.subsystem,
        "text": line.words(),
    })
}

/// A level by its name.
fn level(name: &str) -> Option<Level> {
    LogLevel::named(name)?;
    name.parse().ok()
}

fn weight(line: &Line) -> usize {
    let of = |value: &Value| match value {
        Value::Text(text) | Value::Shown(text) => text.len(),
        Value::Plain(_) => 16,
    };
    line.message.len() + line.fields.iter().map(|(name, value)| name.len() + 8 + of(value)).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: Level, message: &str) -> Arc<Line> {
        Arc::new(Line::new(level, message.to_owned()))
    }

    fn texts(json: &Json) -> Vec<&str> {
        json["lines"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect()
    }

    #[test]
    fn the_oldest_lines_go_by_number_and_by_bytes() {
        let mut recent = Recent::default();
        for number in 0..LINES_MAX + 5 {
            recent.add(&line(Level::INFO, &number.to_string()));
        }
        let all = everything(&recent.all());
        assert_eq!((&all["first"], &all["last"]), (&json!(6), &json!(LINES_MAX + 5)));
        assert_eq!(texts(&all)[0], "5");
        assert_eq!(texts(&answer(&recent.all(), &Wanted::default())).len(), ANSWERED_MAX);
        recent.add(&line(Level::INFO, &"x".repeat(BYTES_MAX - 100)));
        assert!(recent.bytes <= BYTES_MAX && recent.ring.len() < 100, "{}", recent.ring.len());
        assert_eq!(recent.bytes, recent.ring.iter().map(|(bytes, _)| bytes).sum::<usize>());
    }

    #[test]
    fn lines_are_chosen_by_number_level_part_and_text() {
        let mut recent = Recent::default();
        recent.add(&line(Level::ERROR, "Disk FULL"));
        recent.add(&line(Level::WARN, "a client is slow"));
        recent.add(&line(Level::INFO, "disk is fine"));
        let all = recent.all();
        for (wanted, expected) in [
            (Wanted::default(), vec!["Disk FULL", "a client is slow", "disk is fine"]),
            (Wanted { after: 2, ..Wanted::default() }, vec!["disk is fine"]),
            (
                Wanted { level: Some("warn".into()), ..Wanted::default() },
                vec!["Disk FULL", "a client is slow"],
            ),
            (
                Wanted { contains: Some("disk".into()), ..Wanted::default() },
                vec!["Disk FULL", "disk is fine"],
            ),
            (Wanted { subsystem: Some("bridge".into()), ..Wanted::default() }, vec![]),
        ] {
            assert_eq!(texts(&answer(&all, &wanted)), expected, "{wanted:?}");
        }
    }
}
