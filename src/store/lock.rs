//! The data directory: makes it, tells whether it is ours, and takes its lock. What is in it is not its concern.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;
use super::sync;

/// The layout of the data directory that this release writes.
pub(super) const LAYOUT: u32 = 1;

const MARKER: &str = "fieldgate.store";
const MARKER_WORDS: &str = "fieldgate store ";
const LOCK: &str = "lock";

/// The folder in the data directory that `fieldgate cert` keeps the authority in.
pub const CERTIFICATES: &str = "tls";

/// Names that may lie in a directory that has no marker yet: a creation that was cut short, what ext4 puts into the
/// root of a file system, and the authority, which may be made before the gateway first runs.
const NOT_FOREIGN: [&str; 3] = ["fieldgate.store.new", "lost+found", CERTIFICATES];

/// How many foreign names an error tells.
const NAMES_TOLD: usize = 3;

/// The lock of a data directory, held until dropped (or until the process ends, however it ends).
#[derive(Debug)]
pub(super) struct DirLock {
    /// The lock is the open file's.
    _file: File,
}

/// Makes the directory if it is missing, checks that it is ours and of a layout that we know, and locks it.
///
/// # Errors
/// [`StoreError::Foreign`], [`StoreError::UnknownLayout`], [`StoreError::Locked`], [`StoreError::Io`].
pub(super) fn claim(dir: &Path) -> Result<DirLock, StoreError> {
    if dir.exists() && !dir.is_dir() {
        return Err(StoreError::Foreign { dir: dir.to_owned(), found: "a file, not a directory".to_owned() });
    }
    sync::create_dir(dir)?;
    match std::fs::read(dir.join(MARKER)) {
        Ok(marker) => check_marker(dir, &marker)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            check_empty(dir)?;
            sync::replace_file(dir, MARKER, format!("{MARKER_WORDS}{LAYOUT}\n").as_bytes())?;
            sync::sync(dir)?;
        }
        Err(error) => return Err(StoreError::io("read", &dir.join(MARKER))(error)),
    }
    let path = dir.join(LOCK);
    let file = sync::open_file(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(DirLock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked { dir: dir.to_owned() }),
        Err(errno) => Err(StoreError::io("lock", &path)(errno.into())),
    }
}

fn check_marker(dir: &Path, marker: &[u8]) -> Result<(), StoreError> {
    let layout = std::str::from_utf8(marker)
        .ok()
        .and_then(|text| text.trim_end().strip_prefix(MARKER_WORDS))
        .and_then(|number| number.parse::<u32>().ok());
    match layout {
        Some(LAYOUT) => Ok(()),
        Some(found) => Err(StoreError::UnknownLayout { found, known: LAYOUT }),
        None => Err(StoreError::Foreign {
            dir: dir.to_owned(),
            found: format!("a {MARKER} that fieldgate didn't write"),
        }),
    }
}

fn check_empty(dir: &Path) -> Result<(), StoreError> {
    let names: Vec<String> =
        sync::names(dir)?.into_iter().filter(|name| !NOT_FOREIGN.contains(&name.as_str())).collect();
    if names.is_empty() {
        return Ok(());
    }
    let told = names.iter().take(NAMES_TOLD).cloned().collect::<Vec<_>>().join(", ");
    let found = match names.len().saturating_sub(NAMES_TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    };
    Err(StoreError::Foreign { dir: dir.to_owned(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_ours_or_refused_in_words() {
        let check = |files: &[(&str, &str)], expected: &str| {
            let dir = tempfile::tempdir().unwrap();
            for (name, content) in files {
                std::fs::write(dir.path().join(name), content).unwrap();
            }
            let got = match claim(dir.path()) {
                Ok(_) => "ours".to_owned(),
                Err(error) => error.to_string().replace(&dir.path().display().to_string(), "DIR"),
            };
            assert!(got.contains(expected), "{files:?}: {got}");
        };
        check(&[], "ours");
        check(&[("lost+found", "")], "ours");
        check(&[("tls", "")], "ours");
        check(&[("fieldgate.store.new", "fieldg")], "ours");
        check(&[("fieldgate.store", "fieldgate store 1\n"), ("meta", "")], "ours");
        check(&[("fieldgate.store", "fieldgate store 2\n")], "has layout 2 and this release knows up to 1");
        check(&[("fieldgate.store", "")], "it holds a fieldgate.store that fieldgate didn't write");
        check(
            &[("mosquitto.db", "")],
            "DIR is not a data directory of fieldgate: it holds mosquitto.db; set data_dir",
        );
        check(&[("a", ""), ("b", ""), ("c", ""), ("d", "")], "it holds a, b, c and 1 more");
    }

    #[test]
    fn the_directory_is_for_the_services_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        let _lock = claim(&deep).unwrap();
        assert_eq!(std::fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::metadata(deep.join(LOCK)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_lock_is_free_again_when_its_holder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let lock = claim(dir.path()).unwrap();
        assert!(matches!(claim(dir.path()), Err(StoreError::Locked { .. })));
        drop(lock);
        claim(dir.path()).unwrap();
    }
}
