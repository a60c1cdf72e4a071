//! `fieldgate upstream`: tells a running gateway what to do with the connection to an upstream.

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value as Json, json};

use super::running::Running;
use super::{asked, tell};

/// Arguments of `fieldgate upstream`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which upstream.
    name: String,
    /// What to do.
    #[arg(value_enum)]
    what: What,
    /// Which gateway.
    #[command(flatten)]
    running: Running,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Connect now: where start is once or lazy, or without waiting for the next attempt.
    Connect,
    /// Hold back what waits and what comes for it, also over a restart: the connection stays, and says so upstream.
    Pause,
    /// Have it go on.
    Resume,
}

/// Exit code 0 if the gateway was told; 1 if no gateway answered, or there is no such upstream.
pub fn execute(args: &Args) -> ExitCode {
    let op = match args.what {
        What::Connect => "upstream-connect",
        What::Pause => "upstream-pause",
        What::Resume => "upstream-resume",
    };
    let request = json!({"op": op, "upstream": args.name});
    tell(asked(&args.running, &request).map(|answer| match args.running.json {
        true => format!("{answer:#}"),
        false => {
            let paused = if answer.get("paused").is_some_and(Json::is_string) { ", paused" } else { "" };
            format!("upstream {}: {}{paused}", args.name, super::status::word(&answer, "state"))
        }
    }))
}
