//! One line of the log, and how it looks.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value as Json, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::levels;
use crate::config::{LogFormat, LogTime};

/// The longest text of one field, in bytes: a topic filter of the greatest length fits. What is longer is cut, with a
/// mark. With at most 32 fields a line stays below 200 KB, which a local datagram takes.
const VALUE_BYTES_MAX: usize = 4 * 1024;

/// What one place of the program said.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) level: Level,
    pub(super) subsystem: &'static str,
    pub(super) event: Option<&'static str>,
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value)>,
}

/// The value of a field.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Quoted where it is shown.
    Text(String),
    /// Something that shows itself: an address, an error.
    Shown(String),
    /// A number or a flag.
    Plain(Json),
}

/// How lines look at a destination.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub(super) format: LogFormat,
    pub(super) time: LogTime,
}

impl Line {
    /// What an event says.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut line = Self::new(*metadata.level(), String::new());
        line.subsystem = levels::subsystem(metadata.target());
        line.event = levels::event(metadata.target());
        event.record(&mut line);
        line
    }

    /// A line of the log about itself.
    pub(super) fn new(level: Level, message: String) -> Self {
        Self { at: Timestamp::now(), level, subsystem: "gateway", event: None, message, fields: Vec::new() }
    }

    /// The same with one more field.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Json>) -> Self {
        let value = match value.into() {
            Json::String(text) => Value::Text(text),
            value => Value::Plain(value),
        };
        self.fields.push((name, value));
        self
    }

    /// The text of a field.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| *field == name).and_then(|(_, value)| match value {
            Value::Text(text) | Value::Shown(text) => Some(text.as_str()),
            Value::Plain(_) => None,
        })
    }

    /// Message and fields, without control characters: `client connected client_id="a" keep_alive=60`.
    pub(super) fn words(&self) -> String {
        let mut out = String::new();
        printable(&mut out, &self.message);
        for (name, value) in &self.fields {
            // Writing to a String can't fail.
            let _ = match value {
                Value::Text(text) => write!(out, " {name}={text:?}"),
                Value::Shown(text) => {
                    let _ = write!(out, " {name}=");
                    printable(&mut out, text);
                    Ok(())
                }
                Value::Plain(value) => write!(out, " {name}={value}"),
            };
        }
        out
    }

    /// The whole line, without its end.
    pub(super) fn render(&self, style: &Style, colour: bool) -> String {
        match style.format {
            LogFormat::Json => self.json(&style.time).to_string(),
            LogFormat::Text => {
                let time = time(self.at, &style.time).map(|time| format!("{time} ")).unwrap_or_default();
                let (code, name) = match self.level {
                    Level::ERROR => (31, "ERROR"),
                    Level::WARN => (33, " WARN"),
                    Level::INFO => (32, " INFO"),
                    Level::DEBUG => (34, "DEBUG"),
                    Level::TRACE => (35, "TRACE"),
                };
                let words = self.words();
                if colour {
                    format!("\x1b[2m{time}\x1b[0m\x1b[{code}m{name}\x1b[0m {words}")
                } else {
                    format!("{time}{name} {words}")
                }
            }
        }
    }

    fn json(&self, style: &LogTime) -> Json {
        let mut object = Map::new();
        if let Some(time) = time(self.at, style) {
            object.insert("time".into(), Json::String(time));
        }
        object.insert("level".into(), json!(self.level.as_str().to_ascii_lowercase()));
        object.insert("subsystem".into(), json!(self.subsystem));
        if let Some(event) = self.event {
            object.insert("event".into(), json!(event));
        }
        object.insert("message".into(), json!(self.message));
        for (name, value) in &self.fields {
            object.entry((*name).to_owned()).or_insert_with(|| match value {
                Value::Text(text) | Value::Shown(text) => json!(text),
                Value::Plain(value) => value.clone(),
            });
        }
        Json::Object(object)
    }

    /// The severity of RFC 5424, 6.2.1. What clients do is a notice, as it is to Mosquitto.
    pub(super) const fn severity(&self) -> u8 {
        match (self.level, self.event) {
            (Level::ERROR, _) => 3,
            (Level::WARN, _) => 4,
            (Level::INFO, Some(_)) => 5,
            (Level::INFO, None) => 6,
            _ => 7,
        }
    }

    fn push(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text) | Value::Shown(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, Value::Shown(cut(format!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, Value::Text(cut(value.to_owned())));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::Plain(value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::Plain(value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::Plain(value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, Value::Plain(value.into()));
    }
}

fn cut(mut text: String) -> String {
    if text.len() > VALUE_BYTES_MAX {
        let end = (0..=VALUE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A line end or an escape sequence in what others sent must not forge a line or paint the terminal.
fn printable(out: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
}

/// A time as it is written; `None` for none.
fn time(at: Timestamp, style: &LogTime) -> Option<String> {
    let local = || at.to_zoned(TimeZone::system());
    match style {
        LogTime::Utc => Some(format!("{at:.6}")),
        LogTime::Local => {
            let local = local();
            Some(format!("{:.6}{}", local.datetime(), local.strftime("%:z")))
        }
        LogTime::Epoch => Some(at.as_second().to_string()),
        LogTime::None => None,
        // The config refuses patterns that can't be written.
        LogTime::Pattern(pattern) => Some(jiff::fmt::strtime::format(pattern, &local()).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let mut line = Line::new(Level::INFO, "client connected".into());
        line.at = Timestamp::new(1_700_000_000, 123_456_789).unwrap();
        line.event = Some("connection");
        line.fields.push(("client_id", Value::Text("a\n\u{1b}[31m\"b".into())));
        line.fields.push(("error", Value::Shown("no\nway".into())));
        line.with("keep_alive", 60)
    }

    fn rendered(format: LogFormat, time: LogTime) -> String {
        line().render(&Style { format, time }, false)
    }

    #[test]
    fn a_line_has_its_time_and_no_control_character() {
        let words = r#" INFO client connected client_id="a\n\u{1b}[31m\"b" error=no\nway keep_alive=60"#;
        for (time, expected) in [
            (LogTime::Utc, "2023-11-14T22:13:20.123456Z "),
            (LogTime::Epoch, "1700000000 "),
            (LogTime::None, ""),
            (LogTime::Pattern("%s|%Y".into()), "1700000000|2023 "),
        ] {
            assert_eq!(rendered(LogFormat::Text, time), format!("{expected}{words}"));
        }
        let local = rendered(LogFormat::Text, LogTime::Local);
        let written: Timestamp = local.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(written.as_second(), 1_700_000_000, "{local}");
    }

    #[test]
    fn a_line_of_json_keeps_types_and_texts() {
        let json: Json = serde_json::from_str(&rendered(LogFormat::Json, LogTime::Utc)).unwrap();
        let expected = json!({
            "time": "2023-11-14T22:13:20.123456Z", "level": "info", "subsystem": "gateway", "event": "connection",
            "message": "client connected", "client_id": "a\n\u{1b}[31m\"b", "error": "no\nway", "keep_alive": 60
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_long_text_is_cut_with_a_mark() {
        let text = cut("ü".repeat(VALUE_BYTES_MAX));
        assert!(text.ends_with("ü…") && text.len() <= VALUE_BYTES_MAX + 3);
    }
}
