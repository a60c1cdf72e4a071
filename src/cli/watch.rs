//! `fieldgate watch`: the values of all points of a running gateway as they change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value as Json;

use super::running::Running;
use super::status::word;
use super::style::{Style, Tone};
use super::{complain, say};
use crate::health::span;
use crate::io::control;

/// Arguments of `fieldgate watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these devices.
    #[arg(value_name = "DEVICE")]
    devices: Vec<String>,
    /// How often to look, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(50..))]
    every: u64,
    /// End after so many looks.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Which gateway.
    #[command(flatten)]
    running: Running,
}

/// What was there at the last look: of each device the reading's number, and the text of each value.
#[derive(Debug, Default)]
struct Before {
    seqs: BTreeMap<String, String>,
    values: BTreeMap<(String, String), String>,
}

/// Exit code 0 at the end, 1 if the gateway doesn't answer.
pub fn execute(args: &Args) -> ExitCode {
    let done = args.running.control_socket().and_then(|socket| watch(args, &socket));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn watch(args: &Args, socket: &Path) -> Result<(), String> {
    let redraws = std::io::stdout().is_terminal() && !args.running.json;
    let style = Style::of_stdout();
    let mut before = Before::default();
    let mut looks = 0_u64;
    loop {
        let mut readings = control::ask(socket, "readings")?;
        if let Json::Array(readings) = &mut readings {
            readings.retain(|reading| {
                args.devices.is_empty() || args.devices.iter().any(|name| name == word(reading, "device"))
            });
        }
        if args.running.json {
            say(&readings);
        } else if redraws {
            // Home, and each line cleared behind its text: nothing flickers.
            let table = table(&readings, &mut before, style).replace('\n', "\x1b[K\n");
            let clear = if looks == 0 { "\x1b[2J" } else { "" };
            say(format_args!("{clear}\x1b[H{table}\x1b[J"));
        } else {
            for line in lines(&readings, &mut before) {
                say(line);
            }
        }
        looks = looks.saturating_add(1);
        if args.count.is_some_and(|count| looks >= count) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(args.every));
    }
}

/// The points of a reading with their texts.
fn values(reading: &Json) -> impl Iterator<Item = (&str, String)> {
    let values = reading.get("values").and_then(Json::as_object);
    values.into_iter().flatten().map(|(point, value)| {
        let text = match value {
            Json::Null => "-".to_owned(),
            Json::String(text) => text.escape_debug().to_string(),
            value => value.to_string(),
        };
        (point.as_str(), text)
    })
}

fn age(reading: &Json) -> String {
    let seconds = reading.get("age_s").and_then(Json::as_f64);
    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map_or("never".into(), span)
}

/// The whole screen. What has changed since the last look stands out.
fn table(readings: &Json, before: &mut Before, style: Style) -> String {
    let mut out =
        style.paint(Tone::Strong, &format!("{:<24} {:<20} {:>16}  {:>8}", "device", "point", "value", "age"));
    out.push('\n');
    for reading in readings.as_array().into_iter().flatten() {
        let device = word(reading, "device");
        let is_stale = reading.get("stale").and_then(Json::as_bool) == Some(true);
        let (mut name, age) = (device, age(reading));
        if reading.get("values").and_then(Json::as_object).is_none_or(serde_json::Map::is_empty) {
            let text = format!("{device:<24} {:<20} {:>16}  {age:>8}", "", "");
            let _ = writeln!(out, "{}", style.paint(Tone::Doubtful, &text));
        }
        for (point, value) in values(reading) {
            let key = (device.to_owned(), point.to_owned());
            let changed = before.values.insert(key, value.clone()).is_some_and(|was| was != value);
            let text = format!("{name:<24} {point:<20} {value:>16}  {age:>8}");
            let tone = match (is_stale, value == "-", changed) {
                (true, ..) => Some(Tone::Doubtful),
                (_, true, _) => Some(Tone::Bad),
                (.., true) => Some(Tone::Good),
                _ => None,
            };
            let _ = writeln!(out, "{}", tone.map_or_else(|| text.clone(), |tone| style.paint(tone, &text)));
            name = "";
        }
    }
    out
}

/// A line for each device that has sent something since the last look.
fn lines(readings: &Json, before: &mut Before) -> Vec<String> {
    let mut out = Vec::new();
    for reading in readings.as_array().into_iter().flatten() {
        let (device, seq) = (word(reading, "device"), word(reading, "seq"));
        if seq == "-" || before.seqs.insert(device.to_owned(), seq.to_owned()).as_deref() == Some(seq) {
            continue;
        }
        let values: Vec<String> = values(reading).map(|(point, value)| format!("{point}={value}")).collect();
        out.push(format!("{device} {seq} {}", values.join(" ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_told_once_and_a_table_has_every_point() {
        let readings = json!([
            {"device": "air", "seq": "1-2", "stale": false, "age_s": 0.4, "values": {"pm25": 7.5, "state": "on\u{1b}"}},
            {"device": "co2", "seq": null, "stale": true, "age_s": null, "values": {}},
        ]);
        let mut before = Before::default();
        assert_eq!(lines(&readings, &mut before), ["air 1-2 pm25=7.5 state=on\\u{1b}"]);
        assert_eq!(lines(&readings, &mut before), Vec::<String>::new());
        let table = table(&readings, &mut before, Style::of_stdout());
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["air", "pm25", "7.5", "400", "ms"]);
        assert_eq!(rows[2][0], "state");
        assert_eq!(rows[3], ["co2", "never"]);
    }
}
