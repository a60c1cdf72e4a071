//! What health says of GPIO lines and commands.

use serde_json::{Value as Json, json};

use super::devices::{value_json, values};
use crate::command::Counts;
use crate::gpio::Status;

/// What is wrong with a line.
pub(super) fn problems(line: &Status) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(error) = &line.error {
        problems.push(format!("GPIO {} is down: {error}", line.name));
    }
    if let Some(error) = &line.keep_error {
        problems.push(format!(
            "the total of GPIO {} can't be kept on disk, a power cut would take it: {error}",
            line.name
        ));
    }
    if let Some((Some(wanted), Some(actual))) = line.output
        && wanted != actual
    {
        problems.push(format!("GPIO {} was set to {} and reads {}", line.name, word(wanted), word(actual)));
    }
    problems
}

const fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// The entry of a line.
pub(super) fn line_json(line: &Status) -> Json {
    let state = match (line.open, &line.error) {
        (true, _) => "open",
        (false, Some(_)) => "down",
        (false, None) => "opening",
    };
    let mut entry = json!({
        "name": &*line.name,
        "line": line.line,
        "mode": line.mode,
        "backend": line.backend,
        "state": state,
        "error": line.error,
        "unit": line.unit.as_deref(),
        "rate_unit": line.unit_of("rate").as_deref(),
        "edges": line.edges,
        "lost_edges": line.lost_edges,
        "readings": line.readings,
        "last_reading_s": line.last_age.map(|age| age.as_secs_f64()),
    });
    if let Json::Object(entry) = &mut entry {
        if let Some((total, pulses)) = line.live {
            entry.insert("total".into(), value_json(Some(&crate::reading::Value::Number(total))));
            entry.insert("pulses".into(), json!(pulses));
            entry
                .insert("persist_every_s".into(), json!(line.persist_every.map(|every| every.as_secs_f64())));
            entry.insert("keep_error".into(), json!(line.keep_error));
        }
        if let Some((wanted, actual)) = line.output {
            entry.insert("wanted".into(), json!(wanted));
            entry.insert("actual".into(), json!(actual));
        }
    }
    entry
}

/// The last reading of a line, as that of a device.
pub(super) fn reading_json(line: &Status) -> Json {
    json!({
        "device": &*line.name,
        "port": line.line,
        "stale": !line.open,
        "readings": line.readings,
        "age_s": line.last_age.map(|age| age.as_secs_f64()),
        "seq": line.last.as_ref().map(|reading| reading.seq.to_string()),
        "values": values(line.last.as_ref()),
    })
}

/// What became of commands.
pub(super) fn commands_json(counts: Counts) -> Json {
    json!({
        "done": counts.done,
        "failed": counts.failed,
        "unknown": counts.unknown,
        "refused": counts.refused,
        "stale": counts.stale,
        "duplicates": counts.duplicates,
    })
}
