//! The whole config in one file: its own files, device profiles, and the files that it names. Secrets are in it only where
//! a passphrase seals it; else they are left out, and that is said. All of it blocks.

mod seal;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Serialize};

use super::clock::wall;
use super::{config_files, files};
use crate::config::named_files::{Holds, named};
use crate::config::{self, Config, Source, profile};
use crate::limits::CONFIG_FILE_BYTES_MAX;
use crate::secret::Secret;

/// Files of the data directory that belong to the config.
const DATA_FILES: [&str; 1] = ["web/accounts.json"];

/// What a backup holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// The version of this form.
    fieldgate_backup: u32,
    /// When it was made.
    pub time: String,
    /// Of which gateway.
    pub gateway: String,
    /// The config's own files, the main one first: the name and the text.
    config: Vec<(String, String)>,
    /// The others.
    files: Vec<Kept>,
    /// What it should have and hasn't, and why.
    pub left_out: Vec<String>,
}

/// A file beside the config. Its `Debug` doesn't show what is in it.
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
pub struct Kept {
    path: PathBuf,
    mode: u32,
    /// In Base64.
    content: String,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A file that a backup brings, and whether it is another than is there.
pub type Brought = (PathBuf, bool);

/// What a file was before a backup was restored, so that it can be so again.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Before {
    path: PathBuf,
    /// None: it wasn't there.
    file: Option<Kept>,
}

impl Before {
    /// As it is now.
    ///
    /// # Errors
    /// In words: what can't be read can't be put back.
    fn of(path: &Path) -> Result<Self, String> {
        let file = if path.exists() {
            Some(keep(path).map_err(|error| format!("{}: {error}", path.display()))?)
        } else {
            None
        };
        Ok(Self { path: path.to_owned(), file })
    }

    fn put_back(&self) -> Result<(), String> {
        match &self.file {
            Some(file) => file.write(),
            None => match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(format!("can't remove {}: {error}", self.path.display()))
                }
                _ => Ok(()),
            },
        }
    }
}

/// Puts files back as they were before; all that can be.
///
/// # Errors
/// The first that can't, in words.
pub fn put_back(files: &[Before]) -> Result<(), String> {
    files.iter().map(Before::put_back).fold(Ok(()), Result::and)
}

/// The shortest passphrase: a shorter one is found by trying.
pub const PASSPHRASE_BYTES_MIN: usize = 8;

/// A passphrase that is long enough.
///
/// # Errors
/// In words.
pub fn passphrase(secret: Secret) -> Result<Secret, String> {
    match secret.expose().len() {
        PASSPHRASE_BYTES_MIN.. => Ok(secret),
        bytes => Err(format!("the passphrase has {bytes} bytes; it needs {PASSPHRASE_BYTES_MIN}")),
    }
}

/// Makes a backup of the config at `main`; with a passphrase secrets are in it.
///
/// # Errors
/// In words. A config that is broken has no backup: nobody knows what belongs to it.
pub fn make(main: &Path, passphrase: Option<&Secret>) -> Result<(String, Backup), String> {
    let sources = files::config_sources(main)?;
    let config = config_files::parse(&sources).map_err(|mistakes| config::render(&mistakes))?;
    let mut left_out = Vec::new();
    let mut kept = Vec::new();
    for (path, holds) in wanted(&config, &sources) {
        if holds == Holds::Secret && passphrase.is_none() {
            left_out
                .push(format!("{}: a secret; give a passphrase to have it in the backup", path.display()));
            continue;
        }
        match keep(&path) {
            Ok(file) => kept.push(file),
            Err(error) => left_out.push(format!("{}: {error}", path.display())),
        }
    }
    left_out.extend(
        named(&config.settings).elsewhere.iter().map(|place| format!("{place}: it is not in a file")),
    );
    let backup = Backup {
        fieldgate_backup: 1,
        time: wall().to_string(),
        gateway: config.gateway.id,
        config: sources.into_iter().map(|source| (source.file, source.text)).collect(),
        files: kept,
        left_out,
    };
    let text = serde_json::to_string_pretty(&backup).map_err(|error| error.to_string())?;
    let text = match passphrase {
        Some(passphrase) => seal::seal(&text, passphrase)?,
        None => text + "\n",
    };
    Ok((text, backup))
}

/// The files beside the config that belong to it.
fn wanted(config: &Config, sources: &[Source]) -> Vec<(PathBuf, Holds)> {
    let mut all = named(&config.settings).files;
    let folder = profile::folder(sources);
    let profiles = files::profile_sources(sources).unwrap_or_default();
    all.extend(profiles.into_iter().map(|source| (folder.join(source.file), Holds::Open)));
    let data = DATA_FILES.iter().map(|name| config.gateway.data_dir.join(name));
    all.extend(data.filter(|path| path.exists()).map(|path| (path, Holds::Secret)));
    all
}

fn keep(path: &Path) -> Result<Kept, String> {
    let content = files::read_limited(path, CONFIG_FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    let mode = std::fs::metadata(path).map_err(|error| error.to_string())?.permissions().mode();
    Ok(Kept { path: path.to_owned(), mode: mode & 0o777, content: Base64::encode_string(&content) })
}

/// Whether a passphrase is needed to read it.
#[must_use]
pub fn is_sealed(text: &str) -> bool {
    seal::is_sealed(text)
}

/// Reads a backup.
///
/// # Errors
/// In words.
pub fn open(text: &str, passphrase: Option<&Secret>) -> Result<Backup, String> {
    let opened;
    let text = match (seal::is_sealed(text), passphrase) {
        (true, Some(passphrase)) => {
            opened = seal::open(text, passphrase)?;
            &opened
        }
        (true, None) => return Err("the backup is encrypted; give its passphrase".to_owned()),
        (false, _) => text,
    };
    let backup: Backup =
        serde_json::from_str(text).map_err(|error| format!("this is no backup of fieldgate: {error}"))?;
    match backup.fieldgate_backup {
        1 => Ok(backup),
        other => Err(format!("the backup has version {other}; this program reads version 1")),
    }
}

impl Backup {
    /// The config's files, as they would be beside `main`.
    #[must_use]
    pub fn sources(&self, main: &Path) -> Vec<Source> {
        let parts = main.parent().unwrap_or(Path::new("")).join("conf.d");
        let placed = |(place, (file, text)): (usize, &(String, String))| {
            let path = match (place, Path::new(file).file_name()) {
                (0, _) | (_, None) => main.to_owned(),
                (_, Some(name)) => parts.join(name),
            };
            Source { file: path.display().to_string(), text: text.clone() }
        };
        self.config.iter().enumerate().map(placed).collect()
    }

    /// Writes the files beside the config that `wanted` names. Returns what was written and what wasn't.
    ///
    /// # Errors
    /// In words, if its config is broken, or a file can't be written.
    pub fn restore_files(&self, main: &Path, outside: bool) -> Result<(Vec<PathBuf>, Vec<String>), String> {
        let (files, not) = self.wanted(main, outside)?;
        files.iter().try_for_each(|file| file.write())?;
        Ok((files.iter().map(|file| file.path.clone()).collect(), not))
    }

    /// What those files are now.
    ///
    /// # Errors
    /// In words.
    pub fn before(&self, main: &Path) -> Result<Vec<Before>, String> {
        let (files, _) = self.wanted(main, false)?;
        files.iter().map(|file| Before::of(&file.path)).collect()
    }

    /// The files beside the config that are to be written, each with whether it is another than is there, and why others
    /// aren't.
    ///
    /// # Errors
    /// In words, if its config is broken.
    pub fn files(&self, main: &Path) -> Result<(Vec<Brought>, Vec<String>), String> {
        let (files, not) = self.wanted(main, false)?;
        let is_other = |file: &Kept| keep(&file.path).map_or(true, |now| now.content != file.content);
        Ok((files.iter().map(|file| (file.path.clone(), is_other(file))).collect(), not))
    }

    /// Those that its config doesn't name are none of ours; those outside of the folder of `main` and of the data directory
    /// are written only with `outside`: who restores as root a backup that somebody else has made must not write wherever
    /// that says.
    fn wanted(&self, main: &Path, outside: bool) -> Result<(Vec<&Kept>, Vec<String>), String> {
        let sources = self.sources(main);
        let config = config_files::parse(&sources).map_err(|mistakes| config::render(&mistakes))?;
        let named = named(&config.settings).files;
        let profiles = profile::folder(&sources);
        let data = DATA_FILES.map(|name| config.gateway.data_dir.join(name));
        let (mut wanted, mut not) = (Vec::new(), Vec::new());
        for file in &self.files {
            let is_ours = named.iter().any(|(path, _)| *path == file.path)
                || data.contains(&file.path)
                || (file.path.parent() == Some(&profiles)
                    && file.path.extension().is_some_and(|end| end == "toml"));
            let is_plain = !file.path.components().any(|part| part == std::path::Component::ParentDir);
            let folder = main.parent().unwrap_or(Path::new("/"));
            let is_near = [folder, &config.gateway.data_dir].iter().any(|near| file.path.starts_with(near));
            if !is_ours || !is_plain {
                not.push(format!("{}: the config doesn't name it", file.path.display()));
            } else if !is_near && !outside {
                not.push(format!("{}: it is outside of {}", file.path.display(), folder.display()));
            } else {
                wanted.push(file);
            }
        }
        Ok((wanted, not))
    }
}

impl Kept {
    fn write(&self) -> Result<(), String> {
        let wrong = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let content = Base64::decode_vec(&self.content)
            .map_err(|_| format!("{}: the backup is damaged", self.path.display()))?;
        let is_new = !self.path.exists();
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(wrong)?;
        }
        files::rewrite(&self.path, |_| Ok((content, ())))?;
        if is_new && let Some(Ok(folder)) = self.path.parent().map(std::fs::metadata) {
            // As whom the gateway runs can read what is in its folder; who isn't root can't give files away.
            let _ = std::os::unix::fs::chown(&self.path, Some(folder.uid()), Some(folder.gid()));
        }
        let mode = std::fs::Permissions::from_mode(self.mode & 0o777);
        std::fs::set_permissions(&self.path, mode).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_writes_only_what_its_config_names_and_only_near_it() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("fieldgate.toml");
        let far = tempfile::tempdir().unwrap();
        let (near, outside) = (folder.path().join("acl"), far.path().join("users"));
        let text = format!("[broker]\nacl_file = {near:?}\npassword_file = {outside:?}\n");
        let kept =
            |path: &Path| Kept { path: path.to_owned(), mode: 0o640, content: Base64::encode_string(b"x") };
        let backup = Backup {
            fieldgate_backup: 1,
            time: String::new(),
            gateway: "gw".into(),
            config: vec![("/elsewhere/main.toml".into(), text)],
            files: vec![kept(&near), kept(&outside), kept(&folder.path().join("cron"))],
            left_out: Vec::new(),
        };
        let (written, not) = backup.restore_files(&main, false).unwrap();
        assert_eq!(written, std::slice::from_ref(&near));
        assert_eq!(std::fs::metadata(&near).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(not.len(), 2, "{not:?}");
        assert!(!outside.exists() && !folder.path().join("cron").exists());
        let (written, _) = backup.restore_files(&main, true).unwrap();
        assert_eq!(written, [near, outside]);
        assert_eq!(backup.sources(&main)[0].file, main.display().to_string());
    }
}
