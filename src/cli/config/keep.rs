//! `fieldgate config backup` and `restore`: the whole config in one file, and back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::make::refused;
use super::{Outcome, request};
use crate::cli::running::Running;
use crate::cli::status::word;
use crate::cli::{complain, say};
use crate::config;
use crate::io::{backup, config_files, control, files};
use crate::limits::CONFIG_REQUEST_BYTES_MAX;
use crate::secret::{Secret, SecretRef};

fn passphrase(file: Option<&Path>) -> Result<Option<Secret>, String> {
    let Some(file) = file else { return Ok(None) };
    backup::passphrase(files::secret(&SecretRef::File(file.to_owned()))?).map(Some)
}

/// Writes a backup; what isn't in it is told.
pub(super) fn backup(to: &Path, passphrase_file: Option<&Path>, running: &Running) -> Outcome {
    let passphrase = passphrase(passphrase_file)?;
    let (text, backup) = backup::make(&running.config_file(), passphrase.as_ref())?;
    files::rewrite(to, |_| Ok((text.into_bytes(), ())))?;
    if running.json {
        say(format_args!(
            "{:#}",
            json!({"file": to, "left_out": backup.left_out, "encrypted": passphrase.is_some()})
        ));
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("{}: backup of {}", to.display(), backup.gateway));
    for left_out in &backup.left_out {
        say(format_args!("not in it: {left_out}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts back what a backup has: files first, then the config, through the running gateway if there is one.
pub(super) fn restore(
    from: &Path,
    passphrase_file: Option<&Path>,
    outside: bool,
    running: &Running,
) -> Outcome {
    let bytes = files::read_limited(from, 4 * CONFIG_REQUEST_BYTES_MAX)
        .map_err(|error| format!("{}: {error}", from.display()))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is no backup", from.display()))?;
    let backup = backup::open(&text, passphrase(passphrase_file)?.as_ref())?;
    let main = running.config_file();
    let sources = backup.sources(&main);
    let parsed = config_files::parse(&sources).map_err(|mistakes| config::render(&mistakes))?;
    let (written, not) = backup.restore_files(&main, outside)?;
    for path in &written {
        say(format_args!("written: {}", path.display()));
    }
    for left_out in not.iter().chain(&backup.left_out) {
        say(format_args!("not restored: {left_out}"));
    }
    // Where the gateway runs now, which may be elsewhere than the restored config says.
    let socket: PathBuf = running.control_socket().unwrap_or_else(|_| parsed.gateway.control_socket.clone());
    let files: Vec<Json> =
        sources.iter().map(|source| json!({"file": source.file, "text": source.text})).collect();
    let note = format!("restored from the backup of {}", backup.time);
    let arguments = json!({"files": files, "probe": false, "note": note, "who": std::env::var("USER").ok()});
    match control::converse_with(&socket, &request("apply", arguments), |_| {}) {
        Ok(answer) if word(&answer, "outcome") == "applied" => {
            say("the running gateway has taken over the config");
            if let Some(within) = answer.get("confirm_within_s").and_then(Json::as_u64) {
                say(format_args!(
                    "it goes back in {within} s unless you confirm it: fieldgate config confirm"
                ));
            }
            Ok(ExitCode::SUCCESS)
        }
        Ok(answer) => Ok(refused(&answer, running.json)),
        Err(_) if std::os::unix::net::UnixStream::connect(&socket).is_err() => {
            let found = config_files::read(&main)?;
            config_files::write(&found, &sources)?;
            say(format_args!("written: {}; no gateway runs", main.display()));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            complain(error);
            Ok(ExitCode::FAILURE)
        }
    }
}
