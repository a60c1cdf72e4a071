//! How the store was left: cleanly, or by a crash, a power cut, a hang. After the latter, what was open is suspect, and
//! is looked at from outside before this process touches it. Who looks, and how, is not its concern.

use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::{inspect, state, sync};
use crate::time::Timestamp;

/// There while the store is open.
const RUNNING: &str = "running";

/// There after the store has hung.
const SUSPECT: &str = "suspect";

/// A database that was open when the store was left uncleanly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suspect {
    /// A generation of an outbox.
    Generation(PathBuf),
    /// The broker's state.
    State(PathBuf),
}

impl Suspect {
    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Generation(path) | Self::State(path) => path,
        }
    }
}

/// Says that the store is open, until it is dropped: a process that dies leaves the word behind.
#[derive(Debug)]
pub(super) struct Running {
    dir: PathBuf,
    /// Whether the word was there already.
    pub unclean: bool,
}

impl Running {
    /// Says it, so that a power cut doesn't take it back.
    pub(super) fn begin(dir: &Path) -> Result<Self, StoreError> {
        let unclean = dir.join(RUNNING).exists() || dir.join(SUSPECT).exists();
        sync::replace_file(dir, RUNNING, b"")?;
        sync::sync(dir)?;
        Ok(Self { dir: dir.to_owned(), unclean })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What stays costs a look at the next start.
        let _ = sync::remove(&self.dir.join(RUNNING));
        let _ = sync::sync(&self.dir);
    }
}

/// Notes beside the store that it has hung. Takes no lock: the process that holds it is about to end.
pub fn mark_suspect(dir: &Path, why: &str) {
    let _ = std::fs::write(dir.join(SUSPECT), why);
}

/// What the note says, if there is one.
pub(super) fn why_suspect(dir: &Path) -> Option<String> {
    std::fs::read_to_string(dir.join(SUSPECT)).ok()
}

pub(super) fn clear_suspect(dir: &Path) {
    let _ = sync::remove(&dir.join(SUSPECT));
}

/// What may have been open: of each outbox the generation that was written and those that may have been read, and the
/// state. Read is the oldest, or, where the newest go first, what stands before something that is done.
pub(super) fn suspects(dir: &Path) -> Result<Vec<Suspect>, StoreError> {
    let mut suspects = Vec::new();
    for (_, outbox) in inspect::outboxes(dir)? {
        let generations = inspect::generations(&outbox)?;
        let oldest = generations.first().filter(|_| generations.len() > 1);
        let mut open: Vec<PathBuf> = oldest.into_iter().chain(generations.last()).cloned().collect();
        for path in inspect::before_done(&outbox)? {
            if !open.contains(&path) {
                open.push(path);
            }
        }
        suspects.extend(open.into_iter().map(Suspect::Generation));
    }
    suspects.extend(state::current(dir).map(Suspect::State));
    Ok(suspects)
}

/// Where the copy of what can be read of a database is to be made. Nothing is there.
pub(super) fn salvage_place(suspect: &Path) -> Result<PathBuf, StoreError> {
    let place = suspect.with_file_name(format!("trash-salvage-{}", name(suspect)));
    sync::remove(&place)?;
    Ok(place)
}

/// Sets a database aside and puts the copy in its place. Gives where it is now.
pub(super) fn replace(suspect: &Path, copy: &Path, now: Timestamp) -> Result<PathBuf, StoreError> {
    let name = name(suspect);
    let aside = suspect.with_file_name(format!("quarantine-{}-{name}", now.as_millis() / 1000));
    sync::remove(&aside)?;
    std::fs::rename(suspect, &aside).map_err(StoreError::io("set aside", suspect))?;
    let summary = format!("{name}.summary");
    let _ = std::fs::copy(suspect.with_file_name(&summary), aside.join(&summary));
    std::fs::rename(copy, suspect).map_err(StoreError::io("replace", suspect))?;
    if let Some(parent) = suspect.parent() {
        sync::sync(parent)?;
    }
    Ok(aside)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
