//! Files that the gateway reads at start: config, secrets, the machine's identity; and how a file is replaced.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::{Facts, Source, profile};
use crate::limits::{CONFIG_FILE_BYTES_MAX, PROFILES_MAX};
use crate::secret::{Secret, SecretRef};

/// The longest secret: a password, not a file named by mistake.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Symbolic links that lead to one another: what leads on after so many leads nowhere.
const LINKS_MAX: usize = 16;

/// The config file and the `conf.d/*.toml` beside it, in the order of their names.
///
/// # Errors
/// In words, naming the file and what to do.
pub fn config_sources(path: &Path) -> Result<Vec<Source>, String> {
    if path.is_dir() {
        return Err(format!(
            "{} is a folder; name the file, such as {}/fieldgate.toml",
            path.display(),
            path.display()
        ));
    }
    let mut sources = vec![source(path)?];
    sources.extend(config_parts(path)?);
    Ok(sources)
}

/// The `conf.d/*.toml` beside a config file, in the order of their names.
///
/// # Errors
/// As `config_sources`.
pub fn config_parts(path: &Path) -> Result<Vec<Source>, String> {
    let folder = path.parent().unwrap_or(Path::new(".")).join("conf.d");
    let mut parts: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(format!("can't read {}: {error}", folder.display())),
    };
    parts.retain(|part| part.extension().is_some_and(|extension| extension == "toml"));
    parts.sort();
    parts.iter().map(|part| source(part)).collect()
}

/// The user's own device profiles, where the config says that they are: each *.toml of the folder. None if there is no
/// such folder.
///
/// # Errors
/// As `config_sources`.
pub fn profile_sources(config: &[Source]) -> Result<Vec<Source>, String> {
    let folder = profile::folder(config);
    let mut files: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(format!("can't read {}: {error}", folder.display())),
    };
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files.truncate(PROFILES_MAX);
    files.iter().map(|file| source(file)).collect()
}

/// One file as a source of a config.
///
/// # Errors
/// As `config_sources`.
pub fn source(path: &Path) -> Result<Source, String> {
    let file = path.display().to_string();
    let bytes = read_limited(path, CONFIG_FILE_BYTES_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{file}: no such file; write one, or name another with --config"),
        io::ErrorKind::PermissionDenied => {
            format!("{file}: permission denied; it must be readable for this user")
        }
        _ => format!("{file}: {error}"),
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { file, text }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            Err(format!("{file}: is not UTF-8 text (byte {at}); save it as UTF-8"))
        }
    }
}

/// What a secret reference stands for.
///
/// # Errors
/// In words, naming the reference, never the secret.
pub fn secret(reference: &SecretRef) -> Result<Secret, String> {
    match reference {
        SecretRef::File(path) => secret_file(path),
        SecretRef::Env(name) => std::env::var(name)
            .map(|value| Secret::new(value.into_bytes()))
            .map_err(|_| format!("the environment variable {name} is not set")),
        SecretRef::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(folder) => secret_file(&Path::new(&folder).join(name)),
            None => Err(format!(
                "credential {name}: systemd passed none; add LoadCredential={name}:/path to the unit"
            )),
        },
    }
}

fn secret_file(path: &Path) -> Result<Secret, String> {
    let mut bytes = read_limited(path, SECRET_BYTES_MAX)
        .map_err(|error| format!("can't read the secret {}: {error}", path.display()))?;
    // One line end is the editor's, not the secret's.
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(format!("the secret {} is empty", path.display()));
    }
    Ok(Secret::new(bytes))
}

/// A whole file of at most `bytes_max` bytes.
///
/// # Errors
/// Whatever the system says, or that it is larger.
pub fn read_limited(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    whole(File::open(path)?, bytes_max)
}

fn whole(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("is larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Reads a file, changes what it says, and puts the result in its place, so that whoever reads it, and whatever
/// happens, finds it as it was or as it is to be. The new file is for its owner alone (0600). Two that do this to
/// files of the same folder wait for each other. A symbolic link stays one, and is followed where it is root's or
/// this user's own: root, who changes a file in the folder of the user as whom the gateway runs, must not read and
/// write wherever that user's links lead.
///
/// # Errors
/// In words: what `change` said, or what the system did. The file is then as it was.
pub fn rewrite<T>(
    path: &Path,
    change: impl FnOnce(Option<Vec<u8>>) -> Result<(Vec<u8>, T), String>,
) -> Result<T, String> {
    put(path, Rights::Private, change)
}

/// As [`rewrite`], for files without secrets: the new file has the rights of the old one; where there was none, all may
/// read it.
///
/// # Errors
/// As `rewrite`.
pub fn rewrite_open<T>(
    path: &Path,
    change: impl FnOnce(Option<Vec<u8>>) -> Result<(Vec<u8>, T), String>,
) -> Result<T, String> {
    put(path, Rights::AsBefore, change)
}

/// Who may read a new file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rights {
    /// Its owner.
    Private,
    /// Whoever could read the one before.
    AsBefore,
}

fn put<T>(
    path: &Path,
    rights: Rights,
    change: impl FnOnce(Option<Vec<u8>>) -> Result<(Vec<u8>, T), String>,
) -> Result<T, String> {
    let target = followed(path)?;
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(format!("{} names no file", path.display()));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let in_words = |error: io::Error| format!("can't write {}: {error}", path.display());
    let lock = File::open(folder).map_err(in_words)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| in_words(error.into()))?;
    let (old, owner) = match read_no_link(&target) {
        Ok((bytes, owner)) => (Some(bytes), Some(owner)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (None, None),
        Err(error) => return Err(format!("can't read {}: {error}", path.display())),
    };
    let (new, result) = change(old)?;
    let temporary = folder.join(format!(".{}.new", name.to_string_lossy()));
    let write = || {
        // Left over from a crash: nobody else writes it while we have the lock.
        let _ = std::fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        if let Some(owner) = &owner {
            // Root changes the file of the user as whom the gateway runs: it must stay readable for him.
            let _ = std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()));
        }
        if rights == Rights::AsBefore {
            let mode = owner.as_ref().map_or(0o644, |owner| owner.mode() & 0o777);
            file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        }
        file.write_all(&new)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &target)?;
        lock.sync_all()
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        in_words(error)
    })?;
    Ok(result)
}

/// Where the symbolic links lead that a path may be.
fn followed(path: &Path) -> Result<PathBuf, String> {
    let mut target = path.to_owned();
    for _ in 0..LINKS_MAX {
        let link = match std::fs::symlink_metadata(&target) {
            Ok(found) if found.is_symlink() => found,
            // A file, or none; or what is wrong will be told where it is read.
            _ => return Ok(target),
        };
        if link.uid() != 0 && link.uid() != rustix::process::geteuid().as_raw() {
            return Err(format!(
                "{} is a symbolic link that belongs to another user (uid {}); it is followed only if it is root's \
                 or your own",
                target.display(),
                link.uid()
            ));
        }
        let next = std::fs::read_link(&target)
            .map_err(|error| format!("can't read {}: {error}", target.display()))?;
        target = target.parent().unwrap_or(Path::new("")).join(next);
    }
    Err(format!("{} leads through more than {LINKS_MAX} symbolic links", path.display()))
}

/// A whole file, and whose it is. What has become a symbolic link since it was looked at isn't followed, and what
/// is no file, such as a pipe, isn't waited for.
fn read_no_link(path: &Path) -> io::Result<(Vec<u8>, std::fs::Metadata)> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(i32::MAX);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    Ok((whole(file, CONFIG_FILE_BYTES_MAX)?, metadata))
}

/// What the machine says about itself. The default id is made from /etc/machine-id, so that a cloned card with a
/// new machine-id gets its own; the id itself never leaves the box.
#[must_use]
pub fn facts() -> Facts {
    let text = std::fs::read_to_string("/etc/machine-id")
        .or_else(|_| std::fs::read_to_string("/var/lib/dbus/machine-id"))
        .unwrap_or_default();
    let machine = text.trim();
    let machine = (!machine.is_empty()).then(|| {
        let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
        let mut digest = crc.digest();
        // machine-id(5) asks that the id be hashed with a key of the application before it is shown.
        digest.update(b"fieldgate gateway id\0");
        digest.update(machine.as_bytes());
        format!("{:08x}", digest.finalize())
    });
    let default_id = machine.as_ref().map_or_else(|| "gateway".to_owned(), |machine| format!("fg-{machine}"));
    let host_name = rustix::system::uname().nodename().to_str().ok().map(str::to_owned);
    Facts { default_id, host_name: host_name.filter(|name| !name.is_empty()), machine }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<T>(result: Result<T, String>) -> String {
        result.err().unwrap_or_else(|| "no error".into())
    }

    #[test]
    fn a_config_that_cannot_be_read_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(words(config_sources(path)).contains("is a folder; name the file"));
        assert!(words(config_sources(&path.join("none.toml"))).contains("no such file; write one"));
        let binary = path.join("binary.toml");
        std::fs::write(&binary, b"a = \"\xff\"").unwrap();
        assert!(words(config_sources(&binary)).contains("is not UTF-8 text (byte 5)"));
    }

    #[test]
    fn conf_d_files_follow_the_main_file_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("main.toml");
        std::fs::write(&main, "").unwrap();
        std::fs::create_dir(folder.path().join("conf.d")).unwrap();
        for name in ["20-b.toml", "10-a.toml", "notes.txt"] {
            std::fs::write(folder.path().join("conf.d").join(name), "").unwrap();
        }
        let files: Vec<String> =
            config_sources(&main).unwrap().into_iter().map(|source| source.file).collect();
        assert!(files[1].ends_with("10-a.toml") && files[2].ends_with("20-b.toml"));
        assert_eq!(files.len(), 3);
    }

    #[test]
    fn a_file_is_rewritten_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let created = rewrite(&path, |old| Ok((b"one".to_vec(), old)));
        assert_eq!(created, Ok(None));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let changed = rewrite(&link, |old| Ok((b"two".to_vec(), old)));
        assert_eq!(changed, Ok(Some(b"one".to_vec())));
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(rewrite::<()>(&path, |_| Err("no".into())), Err("no".to_owned()));
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left over");
        assert!(
            words(rewrite(&folder.path().join("none/file"), |_| Ok((vec![], ())))).contains("can't write")
        );
    }

    #[test]
    fn a_file_without_secrets_keeps_its_rights() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        rewrite_open(&path, |_| Ok((b"one".to_vec(), ()))).unwrap();
        assert_eq!(mode(), 0o644);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        rewrite_open(&path, |_| Ok((b"two".to_vec(), ()))).unwrap();
        assert_eq!((mode(), std::fs::read(&path).unwrap()), (0o640, b"two".to_vec()));
    }

    #[test]
    fn a_link_of_another_user_and_what_is_no_file_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "old").unwrap();
        std::os::unix::fs::symlink("file", path("near")).unwrap();
        std::os::unix::fs::symlink(path("near"), path("far")).unwrap();
        assert_eq!(rewrite(&path("far"), |old| Ok((b"new".to_vec(), old))), Ok(Some(b"old".to_vec())));
        assert_eq!(std::fs::read(path("file")).unwrap(), b"new");
        for (from, to) in [("ping", "pong"), ("pong", "ping")] {
            std::os::unix::fs::symlink(to, path(from)).unwrap();
        }
        assert!(words(rewrite(&path("ping"), |_| Ok((vec![], ())))).contains("more than 16"));
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::RUSR).unwrap();
        assert!(words(rewrite(&path("pipe"), |_| Ok((vec![], ())))).contains("it is no file"));
        // Only root can make another's link; the rule is for root.
        if rustix::process::geteuid().is_root() {
            for (name, to) in [("theirs", "file"), ("dangling", "none")] {
                std::os::unix::fs::symlink(to, path(name)).unwrap();
                std::os::unix::fs::lchown(path(name), Some(12_345), None).unwrap();
                let error = words(rewrite(&path(name), |_| Ok((b"bad".to_vec(), ()))));
                assert!(error.contains("belongs to another user (uid 12345)"), "{error}");
                assert!(path(name).is_symlink());
            }
            assert_eq!(std::fs::read(path("file")).unwrap(), b"new");
            assert!(!path("none").exists());
        }
    }

    #[test]
    fn a_secret_loses_its_last_line_end_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, " pass word\n\r\n").unwrap();
        assert_eq!(secret(&SecretRef::File(path.clone())).unwrap().expose(), b" pass word\n");
        std::fs::write(&path, "\n").unwrap();
        assert!(words(secret(&SecretRef::File(path))).contains("is empty"));
        assert!(words(secret(&SecretRef::Env("FIELDGATE_NO_SUCH".into()))).contains("is not set"));
    }
}
