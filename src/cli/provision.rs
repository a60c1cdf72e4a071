//! `fieldgate provision`: takes over what stands in a provisioning file, once. Nothing is written unless all of it is
//! right. What came of it is noted in the data directory, for the gateway to tell.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ring::digest::{SHA256, digest};
use serde_json::json;

use super::{DEFAULT_CONFIG, complain, say};
use crate::config::provision::{Part, Present, Provision, SECRETS, read};
use crate::hex;
use crate::io::clock::Clock;
use crate::io::{files, provisioned};
use crate::limits::CONFIG_FILE_BYTES_MAX;

/// Where a boot partition has it. systemd's credential of that name comes first.
const PLACES: [&str; 3] = [
    "/boot/firmware/fieldgate-provision.toml",
    "/boot/efi/fieldgate-provision.toml",
    "/boot/fieldgate-provision.toml",
];
const CREDENTIAL: &str = "fieldgate.provision";

/// Where the unit takes the service's secrets from.
const SECRETS_FOLDER: &str = "/etc/credstore/fieldgate";

/// What the help shows.
const EXAMPLE: &str = r#"A provisioning file; each part may be absent:

  id = "barn-7"
  site = "North barn"
  claim = "ABCD-EFGH-IJKL-MNOP"     # or [admin] with name and password_hash
  config = '''
  ... the whole of fieldgate.toml ...
  '''

  [[file]]                          # beside fieldgate.toml: conf.d/..., profiles/..., tls/...
  path = "conf.d/10-upstream.toml"
  text = '''
  [[upstream]]
  host = "broker.example.com"
  '''

  [[file]]                          # for root alone; { credential = "secrets_password" } in the config
  path = "secrets/password"
  text = "..."

It is checked together with the config that is there. Nothing is written unless all of it is right; then it is overwritten and
removed. One that can't be removed is known by its hash and not taken over again."#;

/// Arguments of `fieldgate provision`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// The provisioning file.
    #[arg(value_name = "FILE", required_unless_present = "boot")]
    file: Option<PathBuf>,
    /// Look where a fresh box has it: systemd's credential fieldgate.provision, then fieldgate-provision.toml in
    /// /boot/firmware, /boot/efi and /boot; that there is none is no error.
    #[arg(long, conflicts_with = "file")]
    boot: bool,
    /// Only say whether it could be taken over.
    #[arg(long)]
    check: bool,
    /// The config file that it belongs to.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Where parts below secrets/ are put.
    #[arg(long, value_name = "FOLDER", default_value = SECRETS_FOLDER)]
    secrets: PathBuf,
}

/// Exit code 0 if it is taken over, or was already; 1 if it can't be written; 2 if something in it is wrong.
pub fn execute(args: &Args) -> ExitCode {
    let Some(file) = args.file.clone().or_else(found) else { return ExitCode::SUCCESS };
    let text = match files::read_limited(&file, CONFIG_FILE_BYTES_MAX).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => return refuse(args, &file, "", &["it is no UTF-8 text".to_owned()]),
        Err(error) => {
            complain(format_args!("can't read {}: {error}", file.display()));
            return ExitCode::FAILURE;
        }
    };
    let hash = hex::encode(digest(&SHA256, text.as_bytes()).as_ref());
    let present = match present(&args.config) {
        Ok(present) => present,
        Err(error) => return refuse(args, &file, &hash, &[error]),
    };
    match read(&text, &present, &files::facts()) {
        Ok(_) if args.check => {
            say(format_args!("{}: right", file.display()));
            ExitCode::SUCCESS
        }
        Ok(provision) => {
            let dir = provision.config.gateway.data_dir.clone();
            if provisioned::is_taken(&dir, &hash) {
                say(format_args!("{}: was taken over already", file.display()));
                return ExitCode::SUCCESS;
            }
            match take(args, &provision, &dir) {
                Ok(()) => done(&file, &hash, &dir, text.len()),
                Err(error) => {
                    complain(&error);
                    note(&dir, &file, &hash, Some(&error), false);
                    ExitCode::FAILURE
                }
            }
        }
        Err(mistakes) => refuse(args, &file, &hash, &mistakes),
    }
}

fn found() -> Option<PathBuf> {
    let credential =
        std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(CREDENTIAL));
    credential.into_iter().chain(PLACES.iter().map(PathBuf::from)).find(|place| place.is_file())
}

/// The config that is there. One that can't be read whole may be what is to be mended: its main file is replaced.
fn present(main: &Path) -> Result<Present, String> {
    let sources = if main.exists() { files::config_sources(main)? } else { Vec::new() };
    let profiles = files::profile_sources(&sources)?;
    Ok(Present { main: main.display().to_string(), sources, profiles })
}

fn refuse(args: &Args, file: &Path, hash: &str, mistakes: &[String]) -> ExitCode {
    for mistake in mistakes {
        complain(format_args!("{}: {mistake}", file.display()));
    }
    complain("nothing was written");
    if !args.check {
        let first = mistakes.first().map_or("", String::as_str);
        let error = match mistakes.len() {
            0 | 1 => first.to_owned(),
            count => format!("{first}; {} more mistakes", count - 1),
        };
        note(&data_dir(&args.config), file, hash, Some(&error), false);
    }
    ExitCode::from(2)
}

/// Where the result is told, with a config that may be broken.
fn data_dir(config: &Path) -> PathBuf {
    super::check::load(config)
        .map_or_else(|_| PathBuf::from("/var/lib/fieldgate"), |config| config.gateway.data_dir)
}

/// Writes all of it; what is there is put back where it can't be finished.
fn take(args: &Args, provision: &Provision, dir: &Path) -> Result<(), String> {
    let folder = args.config.parent().unwrap_or(Path::new("."));
    for part in &provision.parts {
        put_part(folder, &args.secrets, part)?;
    }
    let web = dir.join("web");
    if let Some(code) = &provision.claim {
        put(dir, &web, "claim-code", format!("{code}\n").as_bytes())?;
    }
    if let Some((name, hash)) = &provision.admin
        && !web.join("accounts.json").exists()
    {
        let accounts =
            json!({"layout": 1, "accounts": [{"name": name, "role": "admin", "hash": hash}], "tokens": []});
        put(dir, &web, "accounts.json", format!("{accounts:#}\n").as_bytes())?;
    }
    // Last: a config that names files finds them.
    match (&provision.main, args.config.file_name().and_then(|name| name.to_str())) {
        (Some(text), Some(name)) => put(folder, folder, name, text.as_bytes()),
        _ => Ok(()),
    }
}

fn put_part(folder: &Path, secrets: &Path, part: &Part) -> Result<(), String> {
    match part.path.split_once('/') {
        Some((SECRETS, name)) => put(secrets, secrets, name, part.text.as_bytes()),
        Some((below, name)) => put(folder, &folder.join(below), name, part.text.as_bytes()),
        None => put(folder, folder, &part.path, part.text.as_bytes()),
    }
}

/// Puts a file into a folder, for whoever owns `owner`, whole or not at all.
fn put(owner: &Path, folder: &Path, name: &str, content: &[u8]) -> Result<(), String> {
    let path = folder.join(name);
    let wrong = |error: io::Error| format!("can't write {}: {error}", path.display());
    if !folder.exists() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(wrong)?;
    }
    // A link there would have root write elsewhere.
    if !std::fs::symlink_metadata(folder).map_err(wrong)?.is_dir() {
        return Err(format!("{} is no folder", folder.display()));
    }
    files::rewrite(&path, |_| Ok((content.to_vec(), ())))?;
    let owner = std::fs::metadata(owner).map_err(wrong)?;
    for made in [folder, &path] {
        std::os::unix::fs::lchown(made, Some(owner.uid()), Some(owner.gid())).map_err(wrong)?;
    }
    Ok(())
}

fn done(file: &Path, hash: &str, dir: &Path, bytes: usize) -> ExitCode {
    // A credential is gone with the service that it was given to.
    let is_credential = file.file_name().is_some_and(|name| name == CREDENTIAL);
    let wiped = if is_credential { Ok(()) } else { wipe(file, bytes) };
    if let Err(error) = &wiped {
        complain(format_args!("{} is taken over, but can't be wiped: {error}", file.display()));
    }
    note(dir, file, hash, None, wiped.is_ok());
    say(format_args!("{}: taken over", file.display()));
    ExitCode::SUCCESS
}

/// Writes over the file and removes it, so that its secrets aren't on the card for whoever reads it next; what a card's
/// own controller keeps is beyond this.
fn wipe(file: &Path, bytes: usize) -> io::Result<()> {
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let mut open = OpenOptions::new().write(true).custom_flags(flags).open(file)?;
    open.write_all(&vec![b'#'; bytes])?;
    open.sync_all()?;
    drop(open);
    std::fs::remove_file(file)?;
    if let Some(folder) = file.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn note(dir: &Path, file: &Path, hash: &str, error: Option<&str>, wiped: bool) {
    let time = Clock::new(crate::config::TimeTrust::Auto).now().wall;
    let text = json!({
        "time": time.to_string(),
        "file": file.display().to_string(),
        "sha256": hash,
        "error": error,
        "wiped": wiped,
    });
    if let Err(error) = put(
        dir.parent().filter(|_| !dir.exists()).unwrap_or(dir),
        dir,
        provisioned::NAME,
        format!("{text:#}\n").as_bytes(),
    ) {
        complain(format_args!("what came of it can't be noted: {error}"));
    }
}
