//! A change that a person makes on the command line: looked at, agreed to, tried, made, confirmed.

use std::io::IsTerminal;
use std::process::ExitCode;

use serde_json::{Map, Value as Json, json};

use super::{Making, Outcome, ask, confirm, request};
use crate::cli::status::{list, word};
use crate::cli::style::{Style, Tone};
use crate::cli::{complain, say};
use crate::config::edit;
use crate::io::control;

/// Changes settings: path, value, path, value, …
pub(super) fn set(pairs: &[String], making: &Making) -> Outcome {
    let mut edits = Vec::new();
    for pair in pairs.chunks(2) {
        let [path, value] = pair else {
            return Err(format!("{} has no value; write PATH VALUE", pair.concat()));
        };
        let edit = edit::written(path, value);
        edits.push(json!({"path": edit.path, "value": edit.value, "toml": edit.toml}));
    }
    change(json!({ "edits": edits }), making)
}

/// Looks what the change would be, asks, and makes it.
pub(super) fn change(proposal: Json, making: &Making) -> Outcome {
    let running = &making.running;
    let looked = ask(running, "look", proposal.clone())?;
    if word(&looked, "outcome") != "right" {
        return Ok(refused(&looked, running.json));
    }
    if list(&looked, "changes").next().is_none() && word(&looked, "diff").is_empty() {
        say("nothing would change");
        return Ok(ExitCode::SUCCESS);
    }
    let person = std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !running.json;
    if person {
        say(word(&looked, "diff").trim_end());
        tell_changes(&looked);
    }
    if person && !making.yes && !agrees("Make this change?") {
        say("nothing has changed");
        return Ok(ExitCode::SUCCESS);
    }
    let mut arguments = proposal;
    if let Json::Object(arguments) = &mut arguments {
        // What was looked at, and nothing else.
        arguments.insert("base".into(), looked.get("base").cloned().unwrap_or(Json::Null));
        arguments.extend(how(making));
    }
    let answer = control::converse_with(
        &running.control_socket()?,
        &request("apply", arguments),
        progress(running.json),
    )?;
    finish(&answer, making, person)
}

pub(super) fn how(making: &Making) -> Map<String, Json> {
    let how = json!({
        "probe": !making.no_probe,
        "force": making.yes,
        "note": making.note,
        "who": std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).ok(),
    });
    match how {
        Json::Object(how) => how,
        _ => Map::new(),
    }
}

/// Tells how it goes on, a line each.
pub(super) fn progress(as_json: bool) -> impl FnMut(&Json) {
    let style = Style::of_stdout();
    move |piece| {
        if !as_json && piece.get("state").is_some() {
            say(format_args!("  {}", tried(piece, style)));
        }
    }
}

/// `port usb0: works: boiler: temp = 21.5`
fn tried(found: &Json, style: Style) -> String {
    let (tone, state) = match word(found, "state") {
        "good" => (Tone::Good, "works"),
        "doubtful" => (Tone::Doubtful, "doubtful"),
        "wrong" => (Tone::Bad, "doesn't work"),
        _ => (Tone::Faint, "not tried"),
    };
    let name = match word(found, "name") {
        "" => String::new(),
        name => format!(" {name}"),
    };
    format!("{}{name}: {}: {}", word(found, "what"), style.paint(tone, state), word(found, "words"))
}

pub(super) fn tell_changes(answer: &Json) {
    for change in list(answer, "changes") {
        let shown = |key: &str| match change.get(key) {
            None | Some(Json::Null) => "(none)".to_owned(),
            Some(value) => value.to_string(),
        };
        let values = match change.get("secret") == Some(&json!(true)) {
            true => "changed".to_owned(),
            false => format!("{} -> {}", shown("old"), shown("new")),
        };
        say(format_args!("{} [{}]: {values}", word(change, "path"), word(change, "effect")));
    }
}

pub(super) fn finish(answer: &Json, making: &Making, person: bool) -> Outcome {
    let running = &making.running;
    if word(answer, "outcome") != "applied" {
        return Ok(refused(answer, running.json));
    }
    if running.json {
        say(format_args!("{answer:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    let keys = |key: &str| list(answer, key).filter_map(Json::as_str).collect::<Vec<_>>().join(", ");
    let version = answer.get("version").and_then(Json::as_u64).unwrap_or(0);
    match keys("applied") {
        applied if applied.is_empty() => say(format_args!("written; version {version}")),
        applied => say(format_args!("in use; version {version}; changed: {applied}")),
    }
    let next_start = keys("next_start");
    if !next_start.is_empty() {
        say(format_args!("takes effect at the next start: {next_start}"));
    }
    let Some(within) = answer.get("confirm_within_s").and_then(Json::as_u64) else {
        return Ok(ExitCode::SUCCESS);
    };
    if person && agrees(&format!("It goes back in {within} s. Keep it?")) {
        return confirm(running);
    }
    say(format_args!("it goes back in {within} s unless you confirm it: fieldgate config confirm"));
    Ok(ExitCode::SUCCESS)
}

/// Tells why nothing has changed; the exit code for it.
pub(super) fn refused(answer: &Json, as_json: bool) -> ExitCode {
    if as_json {
        say(format_args!("{answer:#}"));
    } else {
        for mistake in list(answer, "mistakes") {
            complain(word(mistake, "text"));
            let help = word(mistake, "path");
            if !help.is_empty() {
                complain(format_args!("  at {help}"));
            }
        }
        complain(word(answer, "error"));
    }
    match word(answer, "outcome") {
        "probe-failed" => {
            if !as_json {
                complain("--yes makes the change all the same, --no-probe tries nothing");
            }
            ExitCode::from(3)
        }
        "refused" => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

fn agrees(question: &str) -> bool {
    use std::io::Write;
    let mut out = std::io::stdout();
    let _ = write!(out, "{question} [y/N] ").and_then(|()| out.flush());
    let mut answer = String::new();
    // Who says nothing says no.
    let _ = std::io::stdin().read_line(&mut answer);
    matches!(answer.trim(), "y" | "Y" | "yes" | "j" | "ja")
}
