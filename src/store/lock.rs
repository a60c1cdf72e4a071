//! The data directory: makes it, tells whether it is ours, and takes its lock. What is in it is not its concern.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;
use super::sync;

/// The layout of the data directory that this release writes.
pub(super) const LAYOUT: u32 = 1;

/// What turns a layout into the next one, by the layout that it begins with: the first turns 1 into 2. A step may be cut
/// short and is then done again, so it must take what it has left half done. Each comes with a store of the old layout
/// under `fixtures/store`.
type Step = fn(&Path) -> Result<(), StoreError>;
const STEPS: &[Step] = &[];

const MARKER: &str = "fieldgate.store";
const MARKER_WORDS: &str = "fieldgate store ";
const LOCK: &str = "lock";

/// The folder in the data directory that `fieldgate cert` keeps the authority in.
pub const CERTIFICATES: &str = "tls";

/// The folder in the data directory that earlier configs are kept in.
pub const CONFIG_HISTORY: &str = "config-history";

/// Names that may lie in a directory that has no marker yet: a creation that was cut short, what ext4 puts into the
/// root of a file system, and the authority and what was provisioned, which may be there before the gateway first runs.
const NOT_FOREIGN: [&str; 6] =
    ["fieldgate.store.new", "lost+found", CERTIFICATES, CONFIG_HISTORY, "web", "provisioned.json"];

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
    let found = match std::fs::read(dir.join(MARKER)) {
        Ok(marker) => check_marker(dir, &marker, LAYOUT)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            check_empty(dir)?;
            sync::replace_file(dir, MARKER, format!("{MARKER_WORDS}{LAYOUT}\n").as_bytes())?;
            sync::sync(dir)?;
            LAYOUT
        }
        Err(error) => return Err(StoreError::io("read", &dir.join(MARKER))(error)),
    };
    let lock = take(dir)?;
    migrate(dir, found, STEPS)?;
    Ok(lock)
}

/// Turns a store of an earlier layout into one of this release's, step by step; the marker is raised after each.
fn migrate(dir: &Path, found: u32, steps: &[Step]) -> Result<(), StoreError> {
    for (layout, step) in (1_u32..).zip(steps) {
        if layout >= found {
            step(dir)?;
            let next = layout.saturating_add(1);
            sync::replace_file(dir, MARKER, format!("{MARKER_WORDS}{next}\n").as_bytes())?;
            sync::sync(dir)?;
            tracing::info!(layout = next, "the store was brought to a later layout");
        }
    }
    Ok(())
}

fn take(dir: &Path) -> Result<DirLock, StoreError> {
    let path = dir.join(LOCK);
    let file = sync::open_file(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(DirLock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked { dir: dir.to_owned() }),
        Err(errno) => Err(StoreError::io("lock", &path)(errno.into())),
    }
}

/// Locks a directory that holds a store already. Makes nothing but the lock's file.
///
/// # Errors
/// As [`claim`]'s; [`StoreError::Io`], "find", where there is no store.
pub(super) fn claim_existing(dir: &Path) -> Result<DirLock, StoreError> {
    is_ours(dir)?;
    take(dir)
}

/// Whether a directory holds a store of a layout that we know.
///
/// # Errors
/// As [`claim_existing`]'s, but for the lock.
pub(super) fn is_ours(dir: &Path) -> Result<(), StoreError> {
    let marker = dir.join(MARKER);
    check_marker(dir, &std::fs::read(&marker).map_err(StoreError::io("find", &marker))?, LAYOUT).map(drop)
}

/// Whether a directory has another program's files: then nothing is to be put among them.
#[must_use]
pub fn is_foreign(dir: &Path) -> bool {
    !dir.join(MARKER).exists() && matches!(check_empty(dir), Err(StoreError::Foreign { .. }))
}

/// Which layout it is.
fn check_marker(dir: &Path, marker: &[u8], known: u32) -> Result<u32, StoreError> {
    let layout = std::str::from_utf8(marker)
        .ok()
        .and_then(|text| text.trim_end().strip_prefix(MARKER_WORDS))
        .and_then(|number| number.parse::<u32>().ok());
    match layout {
        Some(found) if (1..=known).contains(&found) => Ok(found),
        Some(found) => Err(StoreError::UnknownLayout { found, known }),
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
    fn an_earlier_layout_goes_through_each_step_once() {
        fn note(dir: &Path, word: &str) -> Result<(), StoreError> {
            let path = dir.join("steps");
            let steps = std::fs::read_to_string(&path).unwrap_or_default() + word;
            std::fs::write(&path, steps).map_err(StoreError::io("write", &path))
        }
        let steps: [Step; 2] = [|dir| note(dir, "1-2 "), |dir| note(dir, "2-3 ")];
        for (found, expected) in [(1, "1-2 2-3 "), (2, "2-3 "), (3, "")] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(MARKER), format!("{MARKER_WORDS}{found}\n")).unwrap();
            migrate(dir.path(), found, &steps).unwrap();
            assert_eq!(std::fs::read_to_string(dir.path().join("steps")).unwrap_or_default(), expected);
            let marker = std::fs::read(dir.path().join(MARKER)).unwrap();
            assert_eq!(check_marker(dir.path(), &marker, 3).unwrap(), 3);
            assert!(matches!(check_marker(dir.path(), &marker, 2), Err(StoreError::UnknownLayout { .. })));
        }
        // One that fails is done again.
        let dir = tempfile::tempdir().unwrap();
        let fails: [Step; 2] = [|dir| note(dir, "1-2 "), |_| Err(StoreError::StateNotOpen)];
        assert!(migrate(dir.path(), 1, &fails).is_err());
        let marker = std::fs::read(dir.path().join(MARKER)).unwrap();
        assert_eq!(check_marker(dir.path(), &marker, 3).unwrap(), 2);
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
