//! What `fieldgate config` shows: settings, keys, versions.

use std::process::ExitCode;

use serde_json::Value as Json;

use super::Outcome;
use crate::cli::running::Running;
use crate::cli::status::{list, word};
use crate::cli::{check, say};
use crate::config::schema::{Absent, Kind};
use crate::config::{describe, edit};
use crate::time::Timestamp;

/// Every setting, a line each.
pub(super) fn show(running: &Running) -> Outcome {
    let config = check::load(&running.config_file())?;
    let all = config.settings.json();
    if running.json {
        say(format_args!("{all:#}"));
    } else {
        lines("", &all);
    }
    Ok(ExitCode::SUCCESS)
}

/// One setting or table.
pub(super) fn get(path: &str, running: &Running) -> Outcome {
    let config = check::load(&running.config_file())?;
    let Some(value) = config.settings.at(&edit::split(path)) else {
        return Err(format!("{path} has no value; fieldgate config schema lists the keys"));
    };
    match &value {
        _ if running.json => say(format_args!("{value:#}")),
        Json::String(text) => say(text),
        Json::Object(_) | Json::Array(_) => lines(path, &value),
        value => say(value),
    }
    Ok(ExitCode::SUCCESS)
}

/// `health.every = "30s"`, below each other.
fn lines(path: &str, value: &Json) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Json::Object(entries) => entries.iter().for_each(|(key, value)| lines(&below(key), value)),
        Json::Array(items) if items.iter().any(Json::is_object) => {
            for (place, item) in items.iter().enumerate() {
                let name = item.get("name").or_else(|| item.get("host")).and_then(Json::as_str);
                lines(&below(name.unwrap_or(&place.to_string())), item);
            }
        }
        value => say(format_args!("{path} = {value}")),
    }
}

/// Every key that there is.
pub(super) fn schema(as_json: bool) -> Outcome {
    if as_json {
        say(format_args!("{:#}", describe::schema()));
        return Ok(ExitCode::SUCCESS);
    }
    for (path, key) in describe::keys() {
        if matches!(key.kind, Kind::Table(_)) {
            continue;
        }
        let default = match key.absent {
            Absent::Required(example) => format!("required, such as {example}"),
            Absent::Default(text) => format!("default {text}"),
            Absent::Computed(words) => format!("default: {words}"),
            Absent::None => "optional".to_owned(),
        };
        let confirm = if key.cuts_off { ", to be confirmed" } else { "" };
        say(format_args!("{path} [{}{confirm}] ({default})\n    {}", key.effect.word(), key.doc));
    }
    Ok(ExitCode::SUCCESS)
}

/// The files of a version.
pub(super) fn version(version: &Json) {
    line(version);
    for file in list(version, "files") {
        say(format_args!("\n# {}\n{}", word(file, "file"), word(file, "text").trim_end()));
    }
}

/// One version in a line.
pub(super) fn line(version: &Json) {
    let number = |key: &str| version.get(key).and_then(Json::as_i64).unwrap_or(0);
    let time = Timestamp::from_millis(number("time_ms"));
    let note = match word(version, "note") {
        "" => String::new(),
        note => format!(" \u{2013} {note}"),
    };
    say(format_args!(
        "{:>4}  {time}  {}  {}{note}",
        number("number"),
        word(version, "who"),
        word(version, "summary")
    ));
}
