//! `fieldgate reload`: has a running gateway read its config again, and tells what came of it.

use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::running::Running;
use super::status::{list, number};
use super::{asked, complain, say};

/// Arguments of `fieldgate reload`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which gateway.
    #[command(flatten)]
    running: Running,
}

/// Exit code 0 if the config is in use now, but for what it says counts at the next start; 1 if no gateway answered;
/// 2 if the config was refused and nothing has changed.
pub fn execute(args: &Args) -> ExitCode {
    let answer = match asked(&args.running, &json!({"op": "reload"})) {
        Ok(answer) => answer,
        error => return super::tell(error),
    };
    let refused = answer.get("outcome").and_then(Json::as_str) != Some("applied");
    if args.running.json {
        say(format_args!("{answer:#}"));
    } else if refused {
        for mistake in list(&answer, "mistakes") {
            complain(mistake.as_str().unwrap_or_default());
        }
        complain("the config was refused; nothing has changed");
    } else {
        tell(&answer);
    }
    if refused { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

fn tell(answer: &Json) {
    let keys = |key: &str| list(answer, key).filter_map(Json::as_str).collect::<Vec<_>>().join(", ");
    let (applied, reopened, next_start) = (keys("applied"), keys("reopened"), keys("next_start"));
    if applied.is_empty() {
        say("config read again; no setting that counts at once has changed");
    } else {
        say(format_args!("config read again; changed: {applied}"));
    }
    if !reopened.is_empty() {
        say(format_args!("opened anew, added or ended: {reopened}"));
    }
    match number(answer, "disconnected") {
        0 => {}
        1 => say("1 client had to go"),
        count => say(format_args!("{count} clients had to go")),
    }
    if !next_start.is_empty() {
        say(format_args!("takes effect at the next start: {next_start}"));
    }
}
