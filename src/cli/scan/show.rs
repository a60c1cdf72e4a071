//! What a scan finds, for people or as JSON lines.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde_json::Value as Json;

use crate::cli::say;
use crate::cli::style::{Style, Tone};
use crate::health::span;
use crate::hex;
use crate::io::scan::Kind;

/// Prints what is told.
pub(super) struct Show {
    kind: Kind,
    json: bool,
    style: Style,
    /// Progress stands in one line that is written over; only at a terminal.
    redraws: bool,
    found: u64,
    heard_bytes: u64,
    error: Option<String>,
    has_worked: bool,
}

fn text<'a>(event: &'a Json, key: &str) -> &'a str {
    event.get(key).and_then(Json::as_str).unwrap_or_default()
}

fn number(event: &Json, key: &str) -> u64 {
    event.get(key).and_then(Json::as_u64).unwrap_or_default()
}

fn list<'a>(event: &'a Json, key: &str) -> impl Iterator<Item = &'a Json> {
    event.get(key).and_then(Json::as_array).into_iter().flatten()
}

impl Show {
    pub(super) fn new(kind: Kind, json: bool) -> Self {
        let redraws = std::io::stderr().is_terminal() && !json;
        let style = Style::of_stdout();
        Self { kind, json, style, redraws, found: 0, heard_bytes: 0, error: None, has_worked: false }
    }

    pub(super) const fn has_found(&self) -> bool {
        self.found > 0
    }

    /// The line could not be used at all.
    pub(super) const fn has_failed(&self) -> bool {
        self.error.is_some() && !self.has_worked
    }

    /// What is scanned, through which port of a running gateway, and how long it takes at most.
    pub(super) fn begin(&self, path: &str, port: Option<&str>, about_s: f64) {
        if self.json {
            return;
        }
        let whose = port.map(|port| format!(", borrowed from the running gateway's port {port}"));
        let about = span(Duration::try_from_secs_f64(about_s).unwrap_or_default());
        let words = format!(
            "{path}{}: {about} at most; Ctrl-C ends it with what was found",
            whose.unwrap_or_default()
        );
        say(self.style.paint(Tone::Faint, &words));
    }

    pub(super) fn event(&mut self, event: &Json) {
        let kind = text(event, "event");
        match kind {
            "failed" => self.error = Some(text(event, "error").to_owned()),
            "progress" => {}
            _ => self.has_worked = true,
        }
        match kind {
            "best" | "unit" => self.found = self.found.saturating_add(1),
            "heard" => self.heard_bytes = self.heard_bytes.saturating_add(number(event, "bytes")),
            _ => {}
        }
        if self.json {
            say(event);
            return;
        }
        self.wipe();
        match kind {
            "progress" => self.progress(event),
            "failed" => say(self.style.paint(Tone::Bad, text(event, "error"))),
            "heard" => self.heard(event),
            "best" => self.best(event),
            "unit" => self.unit(event),
            "identity" => {
                let facts = event.get("facts").and_then(Json::as_object).into_iter().flatten();
                let facts: Vec<String> = facts
                    .map(|(name, fact)| format!("{name} {}", fact.as_str().unwrap_or_default()))
                    .collect();
                say(format_args!("  says of itself: {}", facts.join(", ")));
            }
            "profiles" => self.profiles(event),
            "registers" => registers(event),
            _ => {}
        }
    }

    fn wipe(&self) {
        if self.redraws {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn progress(&self, event: &Json) {
        if self.redraws {
            let left = event.get("left_s").and_then(Json::as_f64).unwrap_or_default();
            let left = span(Duration::try_from_secs_f64(left).unwrap_or_default());
            let (done, total, what) = (number(event, "done"), number(event, "total"), text(event, "what"));
            let _ = write!(std::io::stderr(), "{done} of {total}: {what}, {left} left at most");
            let _ = std::io::stderr().flush();
        }
    }

    fn heard(&self, event: &Json) {
        let (tone, words) = words(event);
        say(format_args!("{}: {}", settings(event), self.style.paint(tone, &words)));
        let sample = sample(text(event, "sample"));
        if !sample.is_empty() {
            say(format_args!("  {}", self.style.paint(Tone::Faint, &sample)));
        }
    }

    fn best(&self, event: &Json) {
        let frame = text(event, "frame");
        let parity = match frame.as_bytes().get(1) {
            Some(b'E') => "\nparity = \"even\"",
            Some(b'O') => "\nparity = \"odd\"",
            _ => "",
        };
        let bits = if frame.starts_with('7') { "\ndata_bits = 7" } else { "" };
        say(self.style.paint(Tone::Strong, "most likely, in a [[port]]:"));
        say(format_args!("baud = {}{bits}{parity}", number(event, "baud")));
        let profiles: Vec<&str> = list(event, "matches").map(|found| text(found, "profile")).collect();
        match profiles.as_slice() {
            [] => {}
            [profile] => say(format_args!("and in its [[device]]:\nprofile = {profile:?}")),
            [first, others @ ..] => say(format_args!(
                "and in its [[device]]:\nprofile = {first:?}    # or {}, which read the same",
                others.join(", ")
            )),
        }
    }

    fn unit(&self, event: &Json) {
        let what = if self.kind == Kind::Mbus { "address" } else { "unit" };
        let at = if event.get("baud").is_some_and(Json::is_u64) {
            format!(" at {}", settings(event))
        } else {
            String::new()
        };
        let name = self.style.paint(Tone::Good, &format!("{what} {}{at}", number(event, "unit_id")));
        let late = event.get("late").and_then(Json::as_bool).unwrap_or_default();
        let latency = event.get("latency_ms").and_then(Json::as_f64).unwrap_or_default();
        let latency = if late {
            format!("after more than {latency:.0} ms: give it a longer timeout")
        } else {
            format!("after {latency:.0} ms")
        };
        say(format_args!("{name} answers {latency}: {}", text(event, "answer")));
    }

    fn profiles(&self, event: &Json) {
        let profiles: Vec<&str> = list(event, "profiles").filter_map(Json::as_str).collect();
        let profiles = self.style.paint(Tone::Strong, &profiles.join(" or "));
        say(format_args!("  reads well by the profile {profiles}:"));
        let values = event.get("values").and_then(Json::as_object).into_iter().flatten();
        let values: Vec<String> = values.map(|(name, value)| format!("{name} {value}")).collect();
        say(format_args!("  {}", values.join(", ")));
    }

    /// Sums up.
    pub(super) fn end(&self) {
        if self.json {
            return;
        }
        self.wipe();
        if self.has_found() {
            if self.kind != Kind::Serial {
                say(format_args!("{} found", self.found));
            }
        } else if self.has_failed() {
            // It was told.
        } else if self.kind != Kind::Serial {
            say("nobody answers; are rate, frame and the two wires right?");
        } else if self.heard_bytes > 0 {
            say("nothing that came made sense at any of these rates");
        } else {
            say(
                "nothing came at any of these rates; a device may speak only when it is asked: try --ask, or scan modbus",
            );
        }
    }
}

fn settings(event: &Json) -> String {
    format!("{} {}", number(event, "baud"), text(event, "frame"))
}

/// What was heard at one rate, in words.
fn words(event: &Json) -> (Tone, String) {
    let (bytes, errors) = (number(event, "bytes"), number(event, "errors"));
    let damaged = if errors > 0 { format!(", {errors} of {bytes} bytes damaged") } else { String::new() };
    if let Some(found) = list(event, "matches").next() {
        let profiles: Vec<&str> = list(event, "matches").map(|found| text(found, "profile")).collect();
        let good = number(found, "good");
        let all = good.saturating_add(number(found, "bad"));
        let (profiles, title) = (profiles.join(" or "), text(found, "title"));
        return (
            Tone::Good,
            format!("{good} of {all} frames read well ({title}): try profile {profiles}{damaged}"),
        );
    }
    let units: Vec<String> = list(event, "modbus_units").map(ToString::to_string).collect();
    if !units.is_empty() {
        let units = units.join(", ");
        return (Tone::Good, format!("Modbus RTU of somebody else, units {units}{damaged}"));
    }
    let printable = number(event, "printable_percent");
    if number(event, "sense") > 0 {
        let lines = number(event, "text_lines");
        return (Tone::Doubtful, format!("{lines} lines of text that no profile knows{damaged}"));
    }
    (Tone::Faint, format!("{bytes} bytes without sense, {printable} % printable{damaged}"))
}

/// Text as text, anything else in hexadecimal digits.
fn sample(digits: &str) -> String {
    let bytes = hex::decode(digits).unwrap_or_default();
    if !bytes.is_empty() && bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    let shown = bytes.get(..24).unwrap_or(&bytes);
    format!("{}{}", hex::spaced(shown), if bytes.len() > shown.len() { " …" } else { "" })
}

fn registers(event: &Json) {
    let function = number(event, "function");
    let table = if function == 3 { "holding" } else { "input" };
    let address = number(event, "address");
    let values: Vec<String> = list(event, "values").map(ToString::to_string).collect();
    say(format_args!("  {table} {address}: {}", values.join(" ")));
}
