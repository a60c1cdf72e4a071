//! Looks at a database in a child process: a damaged one may make sled panic, hang, or spoil what else is open, and a
//! child that does is ended at its deadline. What follows from it is the caller's.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;

use super::clock;
use crate::store::Damage;
use crate::store::inspect::Checked;

/// How often a child is looked at. Most are done within some ten milliseconds.
const LOOK: Duration = Duration::from_millis(2);

/// What a child is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Look at a generation.
    Generation(PathBuf),
    /// Look at the broker's state.
    State(PathBuf),
    /// Copy what can be read of a generation into a fresh one.
    Salvage(PathBuf, PathBuf),
    /// The same for the broker's state.
    SalvageState(PathBuf, PathBuf),
}

/// Has a child do it. One that can't be started, dies or hangs comes back as an error within: it is suspect.
#[must_use]
pub fn check(what: &What, deadline: Duration) -> Checked {
    run(what, deadline).unwrap_or_else(|error| Checked { error: Some(error), ..Checked::default() })
}

fn run(what: &What, deadline: Duration) -> Result<Checked, String> {
    let program = std::env::current_exe().map_err(|error| format!("can't start a check: {error}"))?;
    let mut command = Command::new(program);
    command.arg("store");
    match what {
        What::Generation(path) => command.args(["verify", "--generation"]).arg(path),
        What::State(path) => command.args(["verify", "--state"]).arg(path),
        What::Salvage(from, into) => command.arg("salvage").arg(from).arg(into),
        What::SalvageState(from, into) => command.args(["salvage", "--state"]).arg(from).arg(into),
    };
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|error| format!("can't start a check: {error}"))?;
    let ended = wait(&mut child, deadline);
    // A line at most: it fits into the pipe, so the child never waits for us.
    let mut text = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut text).map_err(|error| format!("the check said nothing: {error}"))?;
    }
    ended?;
    let said: Json = serde_json::from_str(text.trim()).map_err(|_| "the check failed".to_owned())?;
    let number = |key: &str| said.get(key).and_then(Json::as_u64).unwrap_or(0);
    Ok(Checked {
        segments: number("segments"),
        records: number("records"),
        damage: Damage { segments: number("damaged_segments"), records: number("damaged_records") },
        error: said.get("error").and_then(Json::as_str).map(str::to_owned),
    })
}

fn wait(child: &mut Child, deadline: Duration) -> Result<(), String> {
    let begun = clock::mono();
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return Ok(()),
            Ok(None) if clock::mono().since(begun) >= deadline => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it took longer than {} s to look at it", deadline.as_secs()));
            }
            Ok(None) => std::thread::sleep(LOOK),
            Err(error) => return Err(format!("the check was lost: {error}")),
        }
    }
}
