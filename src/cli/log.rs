//! `fieldgate log`: how much a running gateway logs, and changing it without a restart.

use std::process::ExitCode;

use serde_json::{Map, Value as Json, json};

use super::running::Running;
use super::status::{list, number, word};
use super::{complain, say};
use crate::config::duration;
use crate::io::control;

/// Arguments of `fieldgate log`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Levels to set, such as broker=debug; a level alone is for all that has none of its own. "reset" takes back what
    /// was set. Without any, levels and destinations are shown.
    #[arg(value_name = "NAME=LEVEL")]
    levels: Vec<String>,
    /// Take the levels back after this time, such as 10min.
    #[arg(long = "for", value_name = "TIME", requires = "levels")]
    for_time: Option<String>,
    /// Which gateway.
    #[command(flatten)]
    running: Running,
}

/// Exit code 0 if the gateway answered, 1 if not, 2 for what can't be meant.
pub fn execute(args: &Args) -> ExitCode {
    let request = match request(args) {
        Ok(request) => request,
        Err(error) => {
            complain(error);
            return ExitCode::from(2);
        }
    };
    let answer =
        args.running.control_socket().and_then(|socket| control::request(&socket, &request)).and_then(
            |answer| match answer.get("error").and_then(Json::as_str) {
                Some(error) => Err(error.to_owned()),
                None => Ok(answer),
            },
        );
    match answer {
        Ok(answer) => {
            say(if args.running.json { format!("{answer:#}") } else { render(&answer) });
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn request(args: &Args) -> Result<Json, String> {
    let mut request = Map::from_iter([("op".to_owned(), json!("log"))]);
    if args.levels.as_slice() == ["reset"] {
        if args.for_time.is_some() {
            return Err("reset takes levels back at once; --for goes with levels".to_owned());
        }
        request.insert("levels".into(), json!({}));
        return Ok(request.into());
    }
    if !args.levels.is_empty() {
        let levels = args.levels.iter().map(|text| {
            let (name, level) = text.split_once('=').unwrap_or(("default", text));
            (name.to_owned(), json!(level))
        });
        request.insert("levels".into(), Json::Object(levels.collect()));
    }
    if let Some(time) = &args.for_time {
        let span = duration::parse(time).filter(|span| span.as_secs() > 0);
        let span = span.ok_or_else(|| {
            format!("--for {time}: expected a whole number and a unit, at least a second, such as 30s, 10min or 2h")
        })?;
        request.insert("for_s".into(), json!(span.as_secs()));
    }
    Ok(request.into())
}

fn render(answer: &Json) -> String {
    let mut lines = Vec::new();
    for (name, entry) in answer.get("levels").and_then(Json::as_object).into_iter().flatten() {
        let left = entry.get("for_s").and_then(Json::as_f64).map(|left| format!("  for {left} s more"));
        lines.push(format!("{name:<12} {}{}", word(entry, "level"), left.unwrap_or_default()));
    }
    for destination in list(answer, "destinations") {
        let error = destination.get("error").and_then(Json::as_str).map(|error| format!("; {error}"));
        lines.push(format!(
            "to {:<9} {} lines, {} lost{}",
            word(destination, "name"),
            number(destination, "written"),
            number(destination, "lost"),
            error.unwrap_or_default()
        ));
    }
    lines.join("\n")
}
