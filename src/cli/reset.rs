//! `fieldgate reset --factory`: removes all that the gateway keeps: readings, history, users, certificates, secrets, and its
//! config. The next start makes a new store, new certificates and a new claim code.

use std::fs::File;
use std::io::{self, BufRead, ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{DEFAULT_CONFIG, check, complain, say};
use crate::store::{StoreError, inspect::Inspection};

/// The config as it is delivered.
const DELIVERED: &str = include_str!("../../systemd/debian/fieldgate.toml");

/// Where the unit takes the service's secrets from.
const SECRETS: &str = "/etc/credstore/fieldgate";

/// What tells a data directory goes last: a reset that is cut short can be done again.
const MARKER: &str = "fieldgate.store";

/// Arguments of `fieldgate reset`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove everything. There is no other reset yet, and none without the word.
    #[arg(long, required = true)]
    factory: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    /// The config file that names the data directory. It is reset as well if it is /etc/fieldgate/fieldgate.toml;
    /// another one, and what lies beside it, is left alone.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

/// Exit code 0 if nothing is left, 1 if something is, or if the gateway runs, 2 if it was not confirmed.
pub fn execute(args: &Args) -> ExitCode {
    let data_dir = match check::load(&args.config) {
        Ok(config) => config.gateway.data_dir,
        Err(_) if args.config == Path::new(DEFAULT_CONFIG) => PathBuf::from("/var/lib/fieldgate"),
        Err(error) => {
            complain(error);
            return ExitCode::FAILURE;
        }
    };
    if !args.yes && !confirmed(&data_dir) {
        complain("nothing was removed");
        return ExitCode::from(2);
    }
    match reset(&data_dir, &args.config) {
        Ok(()) => {
            say(
                "reset: nothing is left; the next start makes a new store, new certificates and a new claim code",
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn confirmed(data_dir: &Path) -> bool {
    if !io::stdin().is_terminal() {
        complain("add --yes to do it without being asked");
        return false;
    }
    say(format_args!(
        "All readings, history, users, certificates and the config of this gateway ({}) will be removed.\nType reset to do it:",
        data_dir.display()
    ));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).is_ok() && line.trim() == "reset"
}

fn reset(data_dir: &Path, config: &Path) -> Result<(), String> {
    // Held until all is gone, so that no gateway starts meanwhile.
    let _lock = match Inspection::open(data_dir) {
        Ok(inspection) => Some(inspection),
        Err(StoreError::Locked { .. }) => {
            return Err("the gateway runs; stop it first: systemctl stop fieldgate".to_owned());
        }
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            // No store yet, or one whose removal was cut short after its last name.
            is_harmless(data_dir)?;
            None
        }
        // A store of another version is a store.
        Err(StoreError::UnknownLayout { .. }) => None,
        Err(error) => return Err(format!("it is left alone: {error}")),
    };
    let is_delivered = config == Path::new(DEFAULT_CONFIG);
    if is_delivered {
        empty(Path::new(SECRETS), None)?;
        let folder = config.parent().unwrap_or(Path::new("/etc/fieldgate"));
        empty(folder, config.file_name().and_then(|name| name.to_str()))?;
        crate::io::files::rewrite(config, |_| Ok((DELIVERED.as_bytes().to_vec(), ())))?;
    }
    empty(data_dir, Some(MARKER))?;
    let marker = data_dir.join(MARKER);
    match std::fs::remove_file(&marker) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(format!("can't remove {}: {error}", marker.display()));
        }
        _ => {}
    }
    if !is_delivered {
        say(format_args!("{} is no config of the package's and stays as it is", config.display()));
    }
    Ok(())
}

/// A directory without a store's marker must hold nothing but what fieldgate puts there before the first start.
fn is_harmless(dir: &Path) -> Result<(), String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    let known = ["web", "tls", "provisioned.json", "lost+found", "lock"];
    let foreign = entries
        .flatten()
        .map(|entry| entry.file_name())
        .find(|name| !known.iter().any(|known| name == known));
    match foreign {
        Some(name) => Err(format!(
            "{} is left alone: it is no data directory of fieldgate's, it holds {}",
            dir.display(),
            name.display()
        )),
        None => Ok(()),
    }
}

/// Removes all that is in a folder but one name, and sees to it that it stays removed. Links are removed, not followed.
fn empty(dir: &Path, but: Option<&str>) -> Result<(), String> {
    let wrong = |path: &Path, error: &io::Error| format!("can't remove {}: {error}", path.display());
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(wrong(dir, &error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| wrong(dir, &error))?;
        let path = entry.path();
        if but.is_some_and(|but| entry.file_name() == but) {
            continue;
        }
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_dir { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(|error| wrong(&path, &error))?;
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| wrong(dir, &error))
}
