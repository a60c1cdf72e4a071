//! `fieldgate config`: looks at the config, changes a running gateway's, keeps or takes back what was changed. Exit codes:
//! 0 done, 1 failed or no gateway answered, 2 refused for what it says, 3 refused because a try of it failed.

mod keep;
mod make;
mod show;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::running::Running;
use make::{change, finish, how, progress, refused, set, tell_changes};

use super::status::{list, word};

use super::{complain, say};

use crate::io::{control, files};

/// Arguments of `fieldgate config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

/// How a change is made.
#[derive(Debug, clap::Args)]
struct Making {
    /// Don't try ports and upstreams first.
    #[arg(long)]
    no_probe: bool,
    /// Don't ask, and make the change even if a try fails.
    #[arg(short, long)]
    yes: bool,
    /// Why, for the history.
    #[arg(short, long)]
    note: Option<String>,
    /// Which gateway.
    #[command(flatten)]
    running: Running,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show every setting with its value, given or by default, as the files have it. Needs no running gateway.
    Show(Running),
    /// Show one setting or table: health.every, device.boiler, upstream.central.map.0. Needs no running gateway.
    Get {
        /// Which.
        path: String,
        /// Which config.
        #[command(flatten)]
        running: Running,
    },
    /// Change settings of a running gateway: PATH VALUE, PATH VALUE … Comments in the file stay.
    Set {
        /// Which, and what: health.every 10s
        #[arg(required = true, num_args = 2.., value_names = ["PATH", "VALUE"])]
        pairs: Vec<String>,
        #[command(flatten)]
        making: Making,
    },
    /// Take settings out, so that their defaults hold, or tables: device.boiler.
    Unset {
        /// Which.
        #[arg(required = true)]
        paths: Vec<String>,
        #[command(flatten)]
        making: Making,
    },
    /// Have a running gateway take over a whole config file; - is standard input.
    Apply {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        making: Making,
    },
    /// Try what a config file would change, without changing anything.
    Probe {
        /// The file; - is standard input.
        file: PathBuf,
        /// Which gateway.
        #[command(flatten)]
        running: Running,
    },
    /// Show what a file or a version of the history would change; without any, what on disk isn't in use yet.
    Diff {
        /// A file, - for standard input, or the number of a version.
        other: Option<String>,
        /// Which gateway.
        #[command(flatten)]
        running: Running,
    },
    /// Keep the change that goes back by itself otherwise.
    Confirm(Running),
    /// Put back the change that isn't confirmed, else the version before, or the one that is named.
    Revert {
        /// Its number in the history.
        version: Option<u64>,
        #[command(flatten)]
        making: Making,
    },
    /// List the configs that were in use, or show the text of one.
    History {
        /// Its number.
        version: Option<u64>,
        /// Which gateway.
        #[command(flatten)]
        running: Running,
    },
    /// Write the whole config, with the files that it names, into one file. Needs no running gateway.
    Backup {
        /// The file; it is for its owner alone.
        file: PathBuf,
        /// A file with a passphrase: then secrets are in the backup, and it is encrypted. Without it they are left out.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Which config.
        #[command(flatten)]
        running: Running,
    },
    /// Put back what a backup has; a running gateway takes it over.
    Restore {
        /// The file.
        file: PathBuf,
        /// A file with the passphrase of an encrypted one.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Write files outside of the config's folder and the data directory too, where the config names them.
        #[arg(long)]
        outside: bool,
        /// Which config.
        #[command(flatten)]
        running: Running,
    },
    /// Show every key that there is: what it means, its default, when a change of it counts. With --json as JSON Schema.
    Schema {
        /// Print a JSON Schema.
        #[arg(long)]
        json: bool,
    },
}

/// What a command came to: its exit code, or why it failed.
type Outcome = Result<ExitCode, String>;

/// Exit codes as told at the top.
pub fn execute(args: &Args) -> ExitCode {
    let outcome = match &args.action {
        Action::Show(running) => show::show(running),
        Action::Get { path, running } => show::get(path, running),
        Action::Schema { json } => show::schema(*json),
        Action::Set { pairs, making } => set(pairs, making),
        Action::Unset { paths, making } => {
            let edits: Vec<Json> = paths.iter().map(|path| json!({"path": path, "value": null})).collect();
            change(json!({ "edits": edits }), making)
        }
        Action::Apply { file, making } => read(file).and_then(|text| change(json!({ "text": text }), making)),
        Action::Probe { file, running } => read(file).and_then(|text| probe(&text, running)),
        Action::Diff { other, running } => diff(other.as_deref(), running),
        Action::Confirm(running) => confirm(running),
        Action::Revert { version, making } => revert(*version, making),
        Action::Backup { file, passphrase_file, running } => {
            keep::backup(file, passphrase_file.as_deref(), running)
        }
        Action::Restore { file, passphrase_file, outside, running } => {
            keep::restore(file, passphrase_file.as_deref(), *outside, running)
        }
        Action::History { version, running } => history(*version, running),
    };
    outcome.unwrap_or_else(|error| {
        complain(error);
        ExitCode::FAILURE
    })
}

fn read(file: &Path) -> Result<String, String> {
    if file != Path::new("-") {
        return files::source(file).map(|source| source.text);
    }
    let mut text = String::new();
    let limited = std::io::stdin().take(crate::limits::CONFIG_FILE_BYTES_MAX);
    { limited }.read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
    Ok(text)
}

/// The operation first: so a long request is known by its beginning.
fn request(op: &str, arguments: Json) -> String {
    format!("{{\"op\":\"config-{op}\",\"config\":{arguments}}}")
}

fn ask(running: &Running, op: &str, arguments: Json) -> Result<Json, String> {
    control::converse_with(&running.control_socket()?, &request(op, arguments), |_| {})
}

fn probe(text: &str, running: &Running) -> Outcome {
    let request = request("probe", json!({ "text": text }));
    let answer = control::converse_with(&running.control_socket()?, &request, progress(running.json))?;
    match word(&answer, "outcome") {
        "right" | "wrong" => {}
        _ => return Ok(refused(&answer, running.json)),
    }
    if running.json {
        say(format_args!("{answer:#}"));
    } else if list(&answer, "probe").next().is_none() {
        say("nothing that changes can be tried");
    }
    Ok(if word(&answer, "outcome") == "right" { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

fn diff(other: Option<&str>, running: &Running) -> Outcome {
    let proposal = match other {
        None => json!({}),
        Some(number) if number.parse::<u64>().is_ok() => {
            let version = ask(running, "history", json!({"version": number.parse::<u64>().unwrap_or(0)}))?;
            match version.get("error").and_then(Json::as_str) {
                Some(error) => return Err(error.to_owned()),
                None => json!({"files": version.get("files")}),
            }
        }
        Some(file) => json!({"text": read(Path::new(file))?}),
    };
    let looked = ask(running, "look", proposal)?;
    if word(&looked, "outcome") != "right" {
        return Ok(refused(&looked, running.json));
    }
    if running.json {
        say(format_args!("{looked:#}"));
    } else {
        let text = word(&looked, "diff");
        if !text.is_empty() {
            say(text.trim_end());
        }
        tell_changes(&looked);
    }
    Ok(ExitCode::SUCCESS)
}

fn confirm(running: &Running) -> Outcome {
    let answer = ask(running, "confirm", json!({"who": std::env::var("USER").ok()}))?;
    match answer.get("error").and_then(Json::as_str) {
        Some(error) => Err(error.to_owned()),
        None => {
            say("confirmed; it stays");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn revert(version: Option<u64>, making: &Making) -> Outcome {
    let mut arguments = how(making);
    arguments.insert("version".into(), json!(version));
    let request = request("revert", Json::Object(arguments));
    let running = &making.running;
    let answer = control::converse_with(&running.control_socket()?, &request, progress(running.json))?;
    match answer.get("error").and_then(Json::as_str) {
        Some(error)
            if word(&answer, "outcome") != "refused" && word(&answer, "outcome") != "probe-failed" =>
        {
            Err(error.to_owned())
        }
        _ => finish(&answer, making, false),
    }
}

fn history(version: Option<u64>, running: &Running) -> Outcome {
    let answer = ask(running, "history", json!({ "version": version }))?;
    if let Some(error) = answer.get("error").and_then(Json::as_str) {
        return Err(error.to_owned());
    }
    if running.json {
        say(format_args!("{answer:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    match version {
        Some(_) => show::version(&answer),
        None => answer.as_array().into_iter().flatten().for_each(show::line),
    }
    Ok(ExitCode::SUCCESS)
}
