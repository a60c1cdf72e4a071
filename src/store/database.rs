//! One sled database, of segments keyed by segment number or of whatever keys and values: the only file that calls
//! sled. Knows neither records nor state.
//!
//! sled's `flush` is not an fsync on Linux: it ends in `sync_file_range`, which neither orders a disk's cache nor
//! writes a file's length. So [`Database::commit`] follows it with an fdatasync of the data file, and
//! [`Database::sync_creation`] syncs what sled makes and never syncs. sled panics on some damaged files: every call
//! runs where a panic is caught, and a database that has panicked is never touched again.

use std::any::Any;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{StoreError, Trouble};
use super::sync;

/// sled's page cache per database: two are open at most, besides for a moment. Written pages leave it soon enough;
/// what is read is read once.
const CACHE_BYTES: u64 = 2 * 1024 * 1024;

/// A turn frees 512 pages and the like that were replaced; a change leaves some four of them.
const CHANGES_PER_TURN: usize = 64;
/// So many turns later what was replaced just now may be freed.
const EPOCHS: usize = 3;

/// How often, and how far apart, an open is tried again while sled's own threads still hold the file of a database
/// that was closed a moment ago.
const LOCK_TRIES: u32 = 300;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// An open database.
pub(super) struct Database {
    /// Taken at the end, so that dropping it can be caught.
    db: Option<sled::Db>,
    /// sled's data file, to sync it ourselves.
    data: File,
    dir: PathBuf,
    /// Bytes on disk of everything but the data file: it changes only when a database is opened.
    beside_bytes: u64,
    /// Changes since memory was given back.
    changed: usize,
    /// A call has panicked.
    broken: bool,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("dir", &self.dir)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the database in `dir`, or makes one.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn open(dir: &Path) -> Result<Self, Trouble> {
        remove_snapshots(dir, SNAPSHOT_UNFINISHED)?;
        let db = match Self::open_sled(dir) {
            // A snapshot only saves sled from reading its whole log; without it, it does.
            Err((Trouble::Damaged(what), false)) if remove_snapshots(dir, "")? => {
                tracing::warn!(dir = %dir.display(), error = what, "a database is read without its snapshot");
                Self::open_sled(dir)
            }
            opened => opened,
        }
        .map_err(|(trouble, _)| trouble)?;
        let path = dir.join(DATA_FILE);
        let data = File::open(&path).map_err(StoreError::io("open", &path))?;
        let beside_bytes = sync::disk_bytes(dir).saturating_sub(sync::disk_bytes(&path));
        Ok(Self { db: Some(db), data, dir: dir.to_owned(), beside_bytes, changed: 0, broken: false })
    }

    fn open_sled(dir: &Path) -> Result<sled::Db, (Trouble, bool)> {
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let mut tries = 0;
        loop {
            match caught("open", dir, || config.open()) {
                Err((Trouble::Damaged(what), false)) if what.contains(LOCKED_WORDS) && tries < LOCK_TRIES => {
                    tries += 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                opened => return opened,
            }
        }
    }

    /// Makes a database that was just made stay: sled syncs neither its `conf` nor any directory. The parent
    /// directory is the caller's.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn sync_creation(&mut self) -> Result<(), Trouble> {
        self.commit()?;
        sync::sync(&self.dir.join(CONFIG_FILE))?;
        sync::sync(&self.dir.join(DATA_FILE))?;
        sync::sync(&self.dir)?;
        Ok(())
    }

    /// Puts a segment. It is safe after [`Self::commit`].
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn insert(&mut self, segment_no: u64, stored: &[u8]) -> Result<(), Trouble> {
        self.changed = self.changed.saturating_add(1);
        self.call("write", |db| db.insert(segment_no.to_be_bytes(), stored).map(drop))
    }

    /// Takes a segment out. Gone for good after [`Self::commit`].
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn remove(&mut self, segment_no: u64) -> Result<(), Trouble> {
        self.changed = self.changed.saturating_add(1);
        self.call("write", |db| db.remove(segment_no.to_be_bytes()).map(drop))
    }

    /// Makes everything that was put before survive a power cut.
    ///
    /// # Errors
    /// [`Trouble`]: nothing that was put since the last commit is promised, and the database should not be written
    /// to any more.
    pub(super) fn commit(&mut self) -> Result<(), Trouble> {
        self.call("write", |db| db.flush().map(drop))?;
        self.give_back();
        // `flush` has only handed the data to the kernel. This line is the promise.
        self.data.sync_data().map_err(StoreError::io("sync", &self.dir.join(DATA_FILE)))?;
        Ok(())
    }

    /// Shows segments from this number on, in order, until `visit` breaks.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn for_each_from(
        &mut self,
        segment_no: u64,
        mut visit: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Trouble> {
        self.call("read", |db| {
            for entry in db.range(segment_no.to_be_bytes()..) {
                let (key, value) = entry?;
                // A key of another length is not ours; it can only come of damage.
                let Ok(key) = <[u8; 8]>::try_from(key.as_ref()) else { continue };
                if visit(u64::from_be_bytes(key), &value).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Shows segments from this number on downwards, until `visit` breaks.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn for_each_back(
        &mut self,
        segment_no: u64,
        mut visit: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Trouble> {
        self.call("read", |db| {
            for entry in db.range(..=segment_no.to_be_bytes()).rev() {
                let (key, value) = entry?;
                let Ok(key) = <[u8; 8]>::try_from(key.as_ref()) else { continue };
                if visit(u64::from_be_bytes(key), &value).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Shows what is under a key that is about to be written.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn get<T>(&mut self, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Trouble> {
        self.call("write", |db| Ok(db.get(key)?.map(|value| look(&value))))
    }

    /// Makes all of these changes or, should a crash come in between, none of them: keys with their values, or
    /// without one to be removed. They are safe after [`Self::commit`].
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn apply(&mut self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), Trouble> {
        self.changed = self.changed.saturating_add(changes.len());
        self.call("write", |db| {
            let mut batch = sled::Batch::default();
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            db.apply_batch(batch)
        })?;
        self.give_back();
        Ok(())
    }

    /// Shows all keys and values, in order.
    ///
    /// # Errors
    /// [`Trouble`]; what was shown before is good.
    pub(super) fn for_each(&mut self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<(), Trouble> {
        self.call("read", |db| {
            for entry in db.iter() {
                let (key, value) = entry?;
                visit(&key, &value);
            }
            Ok(())
        })
    }

    /// What it takes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        let data = self.data.metadata().map_or(0, |metadata| sync::file_bytes(metadata.len()));
        self.beside_bytes.saturating_add(data)
    }

    /// Frees the pages that were replaced by changed ones. sled leaves that to crossbeam, which frees a few of them now and
    /// then, too few for what a large batch leaves behind: 100,000 messages that came and went in batches took 250 MB.
    fn give_back(&mut self) {
        let turns = std::mem::take(&mut self.changed) / CHANGES_PER_TURN;
        for _ in 0..turns.saturating_add(EPOCHS) {
            crossbeam_epoch::pin().flush();
        }
    }

    fn call<T>(
        &mut self,
        doing: &'static str,
        f: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, Trouble> {
        match &self.db {
            Some(db) if !self.broken => caught(doing, &self.dir, || f(db)).map_err(|(trouble, panicked)| {
                self.broken |= panicked;
                trouble
            }),
            _ => Err(Trouble::Damaged("it has failed before".to_owned())),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        if self.broken {
            // sled flushes when it is dropped, and after a panic that may wait for ever: a leak is better.
            std::mem::forget(db);
        } else if let Err((trouble, _)) = caught("close", &self.dir, || {
            drop(db);
            Ok(())
        }) {
            tracing::error!(dir = %self.dir.display(), error = %trouble, "a database could not be closed");
        }
    }
}

/// sled's data file, within its directory.
pub(super) const DATA_FILE: &str = "db";
const CONFIG_FILE: &str = "conf";

/// How sled's snapshots are called, and one that it hasn't finished. sled takes an unfinished one that a crash has
/// left for the newest, and then refuses to open; so those go first.
const SNAPSHOT: &str = "snap.";
const SNAPSHOT_UNFINISHED: &str = ".generating";

/// Removes sled's snapshots whose names end so. Whether there were any.
fn remove_snapshots(dir: &Path, ending: &str) -> Result<bool, StoreError> {
    if !dir.exists() {
        return Ok(false);
    }
    let mut any = false;
    for name in sync::names(dir)? {
        if name.starts_with(SNAPSHOT) && name.ends_with(ending) {
            sync::remove(&dir.join(name))?;
            any = true;
        }
    }
    Ok(any)
}

/// How sled words that another holds the data file.
const LOCKED_WORDS: &str = "could not acquire lock";

/// Calls into sled; a panic is damage. Whether it was one comes with it.
fn caught<T>(
    doing: &'static str,
    dir: &Path,
    f: impl FnOnce() -> sled::Result<T>,
) -> Result<T, (Trouble, bool)> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => Ok(value),
        // A write that the system refuses says nothing about what is there already: it is never a reason to set that
        // aside. A read that it refuses is a part of the disk that is gone.
        Ok(Err(sled::Error::Io(source))) if doing == "write" || unavailable(&source) => {
            // sled hands on a copy that words the error for programmers; its kind is all that is left of it.
            let source = if source.raw_os_error().is_some() { source } else { source.kind().into() };
            Err((Trouble::Unavailable(StoreError::Io { doing, path: dir.to_owned(), source }), false))
        }
        Ok(Err(error)) => Err((Trouble::Damaged(error.to_string()), false)),
        Err(panic) => {
            Err((Trouble::Damaged(format!("the database engine failed: {}", words(&*panic))), true))
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it doesn't say why")
}

/// Whether an error says that the system can't now, rather than that the files are wrong.
fn unavailable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let by_number = error.raw_os_error().is_some_and(|number| {
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM].iter().any(|e| e.raw_os_error() == number)
    });
    by_number
        || matches!(
            error.kind(),
            io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::OutOfMemory
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(db: &mut Database) -> Vec<(u64, Vec<u8>)> {
        let mut out = Vec::new();
        db.for_each_from(0, |no, stored| {
            out.push((no, stored.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
        out
    }

    /// A database that was opened and closed often enough to have a snapshot.
    fn with_snapshot(dir: &Path) -> Vec<(u64, Vec<u8>)> {
        let segments: Vec<(u64, Vec<u8>)> = (1..=90_u8).map(|no| (u64::from(no), vec![no; 7000])).collect();
        for some in segments.chunks(30) {
            let mut db = Database::open(dir).unwrap();
            db.sync_creation().unwrap();
            for (no, stored) in some {
                db.insert(*no, stored).unwrap();
            }
            db.commit().unwrap();
        }
        segments
    }

    fn snapshots(dir: &Path) -> Vec<PathBuf> {
        let names = sync::names(dir).unwrap().into_iter().filter(|name| name.starts_with(SNAPSHOT));
        names.map(|name| dir.join(name)).collect()
    }

    #[test]
    fn a_crash_in_the_middle_of_an_opening_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let segments = with_snapshot(dir.path());
        for content in [vec![], vec![7; 5], vec![7; 500]] {
            let left = dir.path().join("snap.FFFFFFFFFFFFFFFF.generating");
            std::fs::write(&left, content).unwrap();
            assert!(read(&mut Database::open(dir.path()).unwrap()) == segments);
            assert!(!left.exists());
        }
    }

    #[test]
    fn a_damaged_snapshot_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let segments = with_snapshot(dir.path());
        let snapshot = snapshots(dir.path()).pop().unwrap();
        let good = std::fs::read(&snapshot).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            for old in snapshots(dir.path()) {
                std::fs::remove_file(old).unwrap();
            }
            std::fs::write(&snapshot, bad).unwrap();
            assert!(read(&mut Database::open(dir.path()).unwrap()) == segments, "byte {at}");
        }
    }

    #[test]
    fn many_segments_in_one_page_stay_out_of_files_that_are_never_synced() {
        let dir = tempfile::tempdir().unwrap();
        let mut db = Database::open(dir.path()).unwrap();
        let largest = vec![1; super::super::segment::STORED_BYTES_MAX];
        for no in 1..500 {
            db.insert(no, &largest).unwrap();
        }
        db.commit().unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);
    }
}
