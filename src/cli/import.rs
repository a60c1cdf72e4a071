//! `fieldgate import`: a mosquitto.conf becomes a config. This file has the arguments and touches the files; what the
//! options become is decided in the folder beside it, by one table of all options.

mod access;
mod bridges;
mod conf;
mod listeners;
mod logging;
mod options;
mod output;
mod report;
mod topics;
mod translate;
mod values;

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{complain, say};
use crate::config::Source;
use crate::io::files;
use crate::limits::CONFIG_FILE_BYTES_MAX;
use report::{Kind, Outcome};
use translate::{Facts, Imported, SecretFile};

/// Something that matters for security or delivery was not carried over.
const INCOMPLETE: u8 = 3;

/// Where a password file is said to be if nothing is written.
const SECRETS_FOLDER: &str = "/etc/fieldgate/secrets/";

/// Arguments of `fieldgate import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 0: everything that matters is in the result. 3: something that matters for security or \
                        delivery isn't; read what standard error says. 2: the file has mistakes with which Mosquitto \
                        wouldn't start; the rest is in the result. 1: a file can't be read or written."
)]
pub struct Args {
    /// Mosquitto's config; files of its include_dir are read too.
    #[arg(value_name = "MOSQUITTO.CONF", required_unless_present = "options")]
    file: Option<PathBuf>,
    /// Write the config here, and each bridge's password into a file of its own beside it; without it the config
    /// goes to standard output, and no password anywhere.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace files that exist.
    #[arg(long, requires = "output")]
    force: bool,
    /// Print the table of all options of mosquitto.conf and what becomes of them.
    #[arg(long, conflicts_with_all = ["file", "output"])]
    options: bool,
}

/// Exit codes: see the help.
pub fn execute(args: &Args) -> ExitCode {
    if args.options {
        say(options::table().trim_end());
        return ExitCode::SUCCESS;
    }
    match args.file.as_deref().map(|file| run(file, args)) {
        Some(Ok(Outcome::Complete)) | None => ExitCode::SUCCESS,
        Some(Ok(Outcome::Incomplete)) => ExitCode::from(INCOMPLETE),
        Some(Ok(Outcome::Mistaken)) => ExitCode::from(2),
        Some(Err(error)) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn run(file: &Path, args: &Args) -> Result<Outcome, String> {
    let main = source(file)?;
    let folder =
        std::env::current_dir().map_err(|error| format!("there is no working directory: {error}"))?;
    let conf = conf::read(&main, &included);
    let facts = Facts {
        host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        has_ipv6: TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok(),
        folder: folder.display().to_string(),
        secrets: match &args.output {
            Some(output) => std::path::absolute(output.with_extension(""))
                .map(|path| format!("{}.", path.display()))
                .map_err(|error| format!("{}: {error}", output.display()))?,
            None => SECRETS_FOLDER.to_owned(),
        },
        resolve: &addresses,
    };
    let imported = translate::translate(conf, &facts, &main.file);
    match &args.output {
        Some(output) => write(output, &imported, args.force)?,
        None => say(imported.text.trim_end()),
    }
    tell(&imported, args.output.as_deref());
    Ok(report::outcome(&imported.remarks))
}

/// What a person must know, on standard error.
fn tell(imported: &Imported, output: Option<&Path>) {
    let mut err = std::io::stderr().lock();
    for remark in &imported.remarks {
        let _ = writeln!(err, "{remark}");
    }
    for SecretFile { path, from, .. } in &imported.secrets {
        let _ = match output {
            Some(_) => writeln!(
                err,
                "{from}: the password is in {path}, for its owner alone; that must be the gateway's user"
            ),
            None => writeln!(
                err,
                "{from}: the password is not printed; put it into {path}, for the gateway's user alone (0600), or use \
                 -o FILE, which does"
            ),
        };
    }
    let _ = writeln!(err, "{}", report::summary(imported.carried, &imported.remarks));
    let matters = |kind| matches!(kind, Kind::Mistake | Kind::Refused(options::Weight::Security));
    if imported.remarks.iter().any(|remark| matters(remark.kind)) {
        let _ = writeln!(
            err,
            "Read the lines in capitals before this config runs: who gets in may have changed."
        );
    }
}

/// A file of Mosquitto's.
fn source(path: &Path) -> Result<Source, String> {
    let file = path.display().to_string();
    let bytes =
        files::read_limited(path, CONFIG_FILE_BYTES_MAX).map_err(|error| format!("{file}: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("{file}: is not UTF-8 text (byte {at})")
    })?;
    Ok(Source { file, text })
}

/// The *.conf files of a folder, in Mosquitto's order: by name, an upper case letter before its lower case.
fn included(folder: &str) -> Result<Vec<Source>, String> {
    let entries =
        std::fs::read_dir(folder).map_err(|error| format!("can't read the folder {folder}: {error}"))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    // A hidden file is one too: Mosquitto looks at the ending alone.
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".conf")));
    paths.sort_by_key(|path| order(&path.file_name().unwrap_or_default().to_string_lossy()));
    paths.iter().map(|path| source(path)).collect()
}

/// Byte by byte by the alphabet, and of the same letter the upper case first.
fn order(name: &str) -> Vec<(u8, u8)> {
    name.bytes().map(|byte| (byte.to_ascii_uppercase(), byte)).collect()
}

fn addresses(host: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> =
        (host, 0).to_socket_addrs().map(|all| all.map(|address| address.ip()).collect()).unwrap_or_default();
    found.sort();
    found.dedup();
    // An address that this machine hasn't can't be bound: localhost has ::1 also where IPv6 is switched off.
    found.retain(|ip| TcpListener::bind((*ip, 0)).is_ok());
    found
}

/// Writes the config and the passwords; none of them if one exists already.
fn write(output: &Path, imported: &Imported, force: bool) -> Result<(), String> {
    let mut outputs: Vec<(&Path, &[u8])> =
        imported.secrets.iter().map(|secret| (Path::new(&secret.path), secret.secret.expose())).collect();
    outputs.push((output, imported.text.as_bytes()));
    if !force && let Some((path, _)) = outputs.iter().find(|(path, _)| path.symlink_metadata().is_ok()) {
        return Err(format!("{} exists; --force replaces it, -o names another", path.display()));
    }
    for (path, bytes) in outputs {
        let mode = if path == output { 0o644 } else { 0o600 };
        put(path, bytes, mode, force).map_err(|error| format!("can't write {}: {error}", path.display()))?;
    }
    Ok(())
}

/// Puts a file in its place as a whole.
fn put(path: &Path, bytes: &[u8], mode: u32, force: bool) -> std::io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    let new = path.with_file_name(name);
    // Left over from a crash.
    let _ = std::fs::remove_file(&new);
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        match force {
            true => std::fs::rename(&new, path),
            // A link fails where somebody was faster.
            false => std::fs::hard_link(&new, path),
        }
    };
    let written = write();
    let _ = std::fs::remove_file(&new);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn included_files_come_in_mosquittos_order() {
        let mut names =
            ["b.conf", "A.conf", "aA.conf", "01.conf", "a_.conf", "a.conf", "Ab.conf", "B.conf", "00.conf"];
        names.sort_by_key(|name| order(name));
        let expected =
            ["00.conf", "01.conf", "A.conf", "Ab.conf", "a.conf", "aA.conf", "a_.conf", "B.conf", "b.conf"];
        assert_eq!(names, expected);
    }
}
