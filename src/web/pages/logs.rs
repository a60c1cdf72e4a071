//! Logs: the last lines that the gateway said of itself, and how much it says.

use askama::Template;
use serde_json::Value as Json;
use std::time::Duration;

use super::status::{list, text};
use super::{Frame, rendered};
use crate::health::span;
use crate::web::call::Call;
use crate::web::machine;
use crate::web::reply::{Refusal, Reply};

/// Levels that one can choose.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

#[derive(Template)]
#[template(path = "logs.html", config = "src/web/askama.toml")]
struct Logs {
    frame: Frame,
    level: String,
    contains: String,
    subsystem: String,
    levels: [&'static str; 5],
    parts: Vec<String>,
    /// Levels that were set for a time, in words.
    set: Vec<String>,
    lines: Vec<Line>,
    full: String,
    can_set: bool,
}

struct Line {
    time: String,
    level: String,
    bad: bool,
    subsystem: String,
    text: String,
}

pub(in crate::web) async fn page(call: Call) -> Result<Reply, Refusal> {
    let answer = call.ask(machine::log_lines(&call)?).await?;
    let t = &call.texts;
    let mut lines: Vec<Line> = list(&answer, "lines").iter().map(line).collect();
    lines.reverse();
    let max = answer.get("max").and_then(Json::as_u64).unwrap_or_default();
    let is_full = u64::try_from(lines.len()).is_ok_and(|count| count >= max);
    let known = answer.get("levels").and_then(Json::as_object).cloned().unwrap_or_default();
    let set = known.iter().filter_map(|(name, level)| {
        let left = Duration::from_secs_f64(level.get("for_s")?.as_f64()?.max(0.0));
        Some(t.fill("logs.set", &[("name", name), ("level", &text(level, "level")), ("time", &span(left))]))
    });
    let given = |name: &str| call.argument(name).unwrap_or_default().to_owned();
    let frame = Frame::of(&call, "nav.logs");
    let page = Logs {
        level: given("level"),
        contains: given("text"),
        subsystem: given("subsystem"),
        levels: LEVELS,
        set: set.collect(),
        parts: known.keys().filter(|name| *name != "default").cloned().collect(),
        lines,
        full: if is_full { t.fill("logs.full", &[("count", &max.to_string())]) } else { String::new() },
        can_set: frame.may("admin"),
        frame,
    };
    rendered(&call, &page)
}

fn line(line: &Json) -> Line {
    let level = text(line, "level");
    Line {
        time: text(line, "time"),
        bad: level == "error" || level == "warn",
        level,
        subsystem: text(line, "subsystem"),
        text: text(line, "text"),
    }
}
