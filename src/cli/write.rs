//! `fieldgate write`: a command to a device of a running gateway, and what came of it.

use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::running::Running;
use super::{asked, tell};

/// Arguments of `fieldgate write`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of its [[device]].
    device: String,
    /// The writable point, or the command.
    point: String,
    /// A number, on, off, or a word. A text that looks like a number stands in quotes: '"1.50"'.
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Which gateway.
    #[command(flatten)]
    running: Running,
}

/// Exit code 0 if it is done, 1 if not.
pub fn execute(args: &Args) -> ExitCode {
    tell(ask(args))
}

fn ask(args: &Args) -> Result<String, String> {
    let Args { device, point, value, running } = args;
    let json =
        value.parse::<Json>().ok().filter(|json| !json.is_array() && !json.is_object() && !json.is_null());
    let value = json.unwrap_or_else(|| json!(value));
    let request = json!({ "op": "write", "write": { "device": device, "point": point, "value": value } });
    let answer = asked(running, &request)?;
    if running.json {
        return Ok(format!("{answer:#}"));
    }
    Ok(match answer.get("value") {
        Some(value) => format!("{device}/{point}: {value}"),
        None => format!("{device}/{point}: done; the device tells no value"),
    })
}
