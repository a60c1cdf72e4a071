//! `fieldgate upstream`: tells a running gateway what to do with the connection to an upstream.

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value as Json, json};

use super::running::Running;
use super::{complain, say};
use crate::io::control;

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
}

/// Exit code 0 if the gateway was told; 1 if no gateway answered, or there is no such upstream.
pub fn execute(args: &Args) -> ExitCode {
    let What::Connect = args.what;
    let request = json!({"op": "upstream-connect", "upstream": args.name});
    let socket = args.running.control_socket();
    let answer = match socket.and_then(|socket| control::request(&socket, &request)) {
        Ok(answer) => answer,
        Err(error) => {
            complain(error);
            return ExitCode::FAILURE;
        }
    };
    if let Some(error) = answer.get("error").and_then(Json::as_str) {
        complain(error);
        return ExitCode::FAILURE;
    }
    if args.running.json {
        say(format_args!("{answer:#}"));
    } else {
        say(format_args!("upstream {}: {}", args.name, super::status::word(&answer, "state")));
    }
    ExitCode::SUCCESS
}
