//! What can go wrong with the store, in words for people. Decides nothing about what to do next.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::message::OutboxId;
use crate::record::RecordNo;

/// What can go wrong with the store. None of it is a panic.
#[derive(Debug)]
pub enum StoreError {
    /// Another process has the data directory open.
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds something that is not ours.
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        found: String,
    },
    /// A layout of a later release.
    UnknownLayout {
        /// What was found.
        found: u32,
        /// What this release knows.
        known: u32,
    },
    /// The operating system says no: full, read-only, no permission.
    Io {
        /// What was being done: "create", "write", "sync".
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
    /// The database is damaged; it was set aside.
    Damaged {
        /// Where it is now.
        quarantine: PathBuf,
        /// What was seen.
        what: String,
    },
    /// The outbox holds as much as it may, and is told to keep that. Nothing was written.
    Full {
        /// What it holds.
        holds: u64,
        /// What it may hold.
        max: u64,
        /// Of what: "bytes", "records".
        unit: &'static str,
    },
    /// So little of the disk is free that it is left to the system. Nothing was written.
    Reserve {
        /// Free bytes.
        free: u64,
        /// Bytes that are left alone.
        reserve: u64,
    },
    /// Our bug: records came with numbers that are already on disk, or not in ascending order. Nothing was written.
    OutOfOrder {
        /// The number that was given.
        given: RecordNo,
        /// It had to be above this one.
        last: RecordNo,
    },
    /// Our bug: this outbox was not opened, or its opening failed.
    NotOpen {
        /// Which one.
        id: OutboxId,
    },
    /// Our bug: the broker's state was not opened, or its opening failed.
    StateNotOpen,
}

impl StoreError {
    /// Whether the disk is full to the last block.
    pub(super) fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// An [`StoreError::Io`] as `map_err` likes it.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { dir } => write!(
                f,
                "{} is in use by another fieldgate; stop that one, or give this one a data_dir of its own",
                dir.display()
            ),
            Self::Foreign { dir, found } => write!(
                f,
                "{} is not a data directory of fieldgate: it holds {found}; set data_dir to an empty or a new directory",
                dir.display()
            ),
            Self::UnknownLayout { found, known } => write!(
                f,
                "the data directory has layout {found} and this release knows up to {known}; \
                 run the later release that wrote it, or set data_dir to a new directory"
            ),
            Self::Io { doing, path, source } => {
                write!(f, "cannot {doing} {}: {}", path.display(), reason(source))?;
                match advice(source.kind()) {
                    "" => Ok(()),
                    advice => write!(f, "; {advice}"),
                }
            }
            Self::Damaged { quarantine, what } => write!(
                f,
                "a part of the store is damaged ({what}); it was set aside as {} and the rest is used",
                quarantine.display()
            ),
            Self::Full { holds, max, unit } => {
                write!(f, "the outbox is full: it holds {holds} {unit} of {max}, and keeps them")
            }
            Self::Reserve { free, reserve } => write!(
                f,
                "only {} MB of the disk are free, and {} MB are left to the system; make room",
                free / 1_000_000,
                reserve / 1_000_000
            ),
            Self::OutOfOrder { given, last } => {
                write!(f, "record {} was to be stored after record {}; this is a bug", given.0, last.0)
            }
            Self::NotOpen { id } => write!(f, "outbox {} is not open; this is a bug", id.0),
            Self::StateNotOpen => f.write_str("the broker's state is not open; this is a bug"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The system's words without its number: `Permission denied`.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// What a person can do about it.
fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => "make it writable for the service's user or set data_dir",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only: remount it or set data_dir",
        io::ErrorKind::StorageFull => "the disk is full: make room or lower the outbox's size",
        io::ErrorKind::QuotaExceeded => "the quota is used up: make room or lower the outbox's size",
        io::ErrorKind::NotADirectory | io::ErrorKind::NotFound => {
            "set data_dir to a directory that can be made"
        }
        _ => "",
    }
}

/// What a call into a database comes to when it fails, before anything was set aside.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The system says no, and may say yes later: full, read-only, too many files.
    Unavailable(StoreError),
    /// The database's files are not what they must be.
    Damaged(String),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(error) => error.fmt(f),
            Self::Damaged(what) => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &StoreError, expected: &str) {
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn every_error_names_the_thing_and_what_to_do() {
        let dir = PathBuf::from("/var/lib/fieldgate");
        check(
            &StoreError::Locked { dir: dir.clone() },
            "/var/lib/fieldgate is in use by another fieldgate; stop that one, or give this one a data_dir of its own",
        );
        check(
            &StoreError::Foreign { dir: dir.clone(), found: "mosquitto.db".to_owned() },
            "/var/lib/fieldgate is not a data directory of fieldgate: it holds mosquitto.db; \
             set data_dir to an empty or a new directory",
        );
        check(
            &StoreError::UnknownLayout { found: 7, known: 1 },
            "the data directory has layout 7 and this release knows up to 1; \
             run the later release that wrote it, or set data_dir to a new directory",
        );
        check(
            &StoreError::Io { doing: "create", path: dir.clone(), source: io::Error::from_raw_os_error(13) },
            "cannot create /var/lib/fieldgate: Permission denied; \
             make it writable for the service's user or set data_dir",
        );
        check(
            &StoreError::Io { doing: "write", path: dir.clone(), source: io::Error::from_raw_os_error(28) },
            "cannot write /var/lib/fieldgate: No space left on device; \
             the disk is full: make room or lower the outbox's size",
        );
        check(
            &StoreError::Io { doing: "sync", path: dir.clone(), source: io::Error::from_raw_os_error(5) },
            "cannot sync /var/lib/fieldgate: Input/output error",
        );
        check(
            &StoreError::Full { holds: 1000, max: 1000, unit: "records" },
            "the outbox is full: it holds 1000 records of 1000, and keeps them",
        );
        check(
            &StoreError::Reserve { free: 3_000_000, reserve: 67_108_864 },
            "only 3 MB of the disk are free, and 67 MB are left to the system; make room",
        );
        check(
            &StoreError::Damaged { quarantine: dir.join("q"), what: "bad page".to_owned() },
            "a part of the store is damaged (bad page); it was set aside as /var/lib/fieldgate/q and the rest is used",
        );
    }
}
