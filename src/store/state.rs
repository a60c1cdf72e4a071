//! The broker's state on disk: keys with values, changed in batches that survive whole or not at all. What they mean
//! is not its concern; that a value is what was written, is.
//!
//! ```text
//! <data_dir>/state/current          which database is the present one, in two slots
//!                  db-<number>/     a sled database
//!                  batch            a large batch, until all of it is in the database: see `batch.rs`
//!                  quarantine-<time>-db-<number>/   damaged, set aside
//! ```
//!
//! A value lies in chunks: see `chunk.rs`. Nothing is kept in memory of what is on disk but how much it is: a million
//! messages may wait there.
//!
//! A sled file never shrinks. When it is several times as large as what it holds, everything is copied into a
//! fresh database, and `current` moves there once that one is synced.

mod batch;
mod chunk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
pub(super) use chunk::is_right;
use chunk::{Put, place, put_chunks};

use super::database::Database;
use super::error::{StoreError, Trouble};
use super::segment::Reader;
use super::slot::SlotFile;
use super::sync;
use crate::state::Change;
use crate::time::Timestamp;

const DIR: &str = "state";
const CURRENT: &str = "current";
const PREFIX: &str = "db-";
const QUARANTINE_PREFIX: &str = "quarantine-";

/// The file may be this much and four times what is in it before it is copied.
const SLACK_BYTES: u64 = 16 * 1024 * 1024;

/// Chunks that are put or removed in one go. Until it is through, sled holds a copy of a whole page for each of them,
/// some 3 KB: 6 MB. A batch of more goes by way of a file.
const AT_ONCE_MAX: usize = 2_000;

/// Chunks of such a batch, and of a copy, that are put or removed in one go.
const SLICE: usize = 500;

/// The state.
#[derive(Debug)]
pub(super) struct StateStore {
    dir: PathBuf,
    current: SlotFile,
    number: u64,
    /// `None` after a failure that its replacement did not survive either; tried again at the next commit.
    db: Option<Database>,
    /// Bytes of all values.
    live_bytes: u64,
    /// The next copying is not tried below this size: the last one has failed.
    copy_above: u64,
    /// What was there is set aside, where and why, and nothing has taken its place yet.
    lost: Option<(PathBuf, String)>,
}

/// What a value is taken together from.
#[derive(Debug, Default)]
struct Parts {
    chunks: BTreeMap<u16, Vec<u8>>,
    of: u16,
}

type Entries = Vec<(Vec<u8>, Bytes)>;

impl StateStore {
    /// Opens or makes the state, and gives all that is in it, in the order of keys.
    ///
    /// # Errors
    /// [`StoreError::Io`]. Damage is none: what can be read is given, the rest is counted in the log.
    pub(super) fn open(data_dir: &Path, now: Timestamp) -> Result<(Self, Entries), StoreError> {
        let dir = data_dir.join(DIR);
        sync::create_dir(&dir)?;
        let found =
            SlotFile::open(&dir, CURRENT)?.and_then(|(file, value)| Some((file, Reader(&value).u64()?)));
        let (current, number) = match found {
            Some(found) => found,
            None => {
                // Without a word about which is the present one, the latest is.
                let latest = databases(&dir)?.last().copied().unwrap_or(0);
                (SlotFile::create(&dir, CURRENT, &latest.to_be_bytes())?, latest)
            }
        };
        for other in databases(&dir)?.into_iter().filter(|other| *other != number) {
            // A copy that was cut short, or the one that was copied.
            sync::remove(&dir.join(name(other)))?;
        }
        let (db, lost) = (None, None);
        let mut store = Self { dir, current, number, db, live_bytes: 0, copy_above: 0, lost };
        let entries = store.load(now)?;
        Ok((store, entries))
    }

    fn path(&self) -> PathBuf {
        self.dir.join(name(self.number))
    }

    fn load(&mut self, now: Timestamp) -> Result<Entries, StoreError> {
        if !self.path().is_dir() {
            self.replace(&[])?;
            return Ok(Vec::new());
        }
        let mut entries = Entries::new();
        let mut found: BTreeMap<Vec<u8>, Parts> = BTreeMap::new();
        let mut damaged = 0_u64;
        let read = self.open_database().and_then(|mut db| {
            db.for_each(|place, stored| match chunk::read(place, stored) {
                Some((key, 0, 1, bytes)) => entries.push((key.to_vec(), Bytes::copy_from_slice(bytes))),
                Some((key, at, of, bytes)) => {
                    let parts = found.entry(key.to_vec()).or_default();
                    parts.of = of;
                    parts.chunks.insert(at, bytes.to_vec());
                }
                None => damaged = damaged.saturating_add(1),
            })?;
            Ok(db)
        });
        for (key, parts) in found {
            if u16::try_from(parts.chunks.len()) == Ok(parts.of) {
                let value: Vec<u8> = parts.chunks.into_values().flatten().collect();
                entries.push((key, Bytes::from(value)));
            } else {
                damaged = damaged.saturating_add(1);
            }
        }
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.live_bytes = entries.iter().map(|(_, value)| len(value)).fold(0, u64::saturating_add);
        if damaged > 0 {
            tracing::error!(damaged, "parts of the sessions and retained messages are damaged and left out");
        }
        match read {
            Ok(db) => self.db = Some(db),
            Err(Trouble::Unavailable(error)) => return Err(error),
            Err(Trouble::Damaged(what)) => {
                tracing::error!(what, read = entries.len(), "the sessions' database is damaged");
                self.set_aside(now)?;
                self.replace(&entries)?;
            }
        }
        Ok(entries)
    }

    /// Opens the present database, and ends what a batch has begun in it.
    fn open_database(&self) -> Result<Database, Trouble> {
        let mut db = Database::open(&self.path())?;
        if let Some(begun) = batch::read(&self.dir, self.number)? {
            put_in_slices(&mut db, begun)?;
            db.commit()?;
        }
        batch::remove(&self.dir)?;
        Ok(db)
    }

    /// Makes changes and syncs them. When it returns, all of them survive a power cut.
    ///
    /// # Errors
    /// [`StoreError`]: none of them is promised, and they may be given again. After [`StoreError::Damaged`] nothing
    /// of the state is on disk any more: all of it must be given again.
    pub(super) fn commit(&mut self, changes: &[Change], now: Timestamp) -> Result<(), StoreError> {
        if self.lost.is_none() {
            // What sled makes of a failed write is not to be relied on: after one, the next commit opens it anew.
            let open = self.db.take().map_or_else(|| self.open_database(), Ok);
            let written = open.and_then(|mut db| {
                let live_bytes = self.write(&mut db, changes)?;
                Ok((db, live_bytes))
            });
            match written {
                Ok((db, live_bytes)) => {
                    self.db = Some(db);
                    self.live_bytes = live_bytes;
                    self.copy_if_due();
                    return Ok(());
                }
                Err(Trouble::Unavailable(error)) => return Err(error),
                Err(Trouble::Damaged(what)) => self.lost = Some((self.set_aside(now)?, what)),
            }
        }
        // A disk that is full as well may refuse that for a while; until then nobody is told that all is well.
        self.replace(&[])?;
        let (quarantine, what) = self.lost.take().unwrap_or_default();
        Err(StoreError::Damaged { quarantine, what })
    }

    /// Puts the changes into the database. Gives the bytes of all values from then on.
    fn write(&self, db: &mut Database, changes: &[Change]) -> Result<u64, Trouble> {
        let mut puts = Vec::new();
        let mut live_bytes = self.live_bytes;
        for change in changes {
            let (old_chunks, old_bytes) = chunk::held(db, &change.key)?;
            let new_chunks =
                change.value.as_ref().map_or(0, |value| put_chunks(&change.key, value, &mut puts));
            let left_over = (new_chunks..old_chunks).map(|chunk| (place(&change.key, chunk), None));
            puts.extend(left_over);
            let new_bytes = change.value.as_ref().map_or(0, len);
            live_bytes = live_bytes.saturating_sub(old_bytes).saturating_add(new_bytes);
        }
        if puts.len() <= AT_ONCE_MAX {
            db.apply(puts)?;
            db.commit()?;
        } else {
            batch::write(&self.dir, self.number, &puts)?;
            put_in_slices(db, puts)?;
            db.commit()?;
            batch::remove(&self.dir)?;
        }
        Ok(live_bytes)
    }

    /// Copies what is live into a fresh database where the present one has become too large for it.
    fn copy_if_due(&mut self) {
        let disk = self.disk_bytes();
        if disk <= self.live_bytes.saturating_mul(4).saturating_add(SLACK_BYTES).max(self.copy_above) {
            return;
        }
        let Some(mut old) = self.db.take() else { return };
        match self.move_to_fresh(|fresh| copy(&mut old, fresh)) {
            Ok(path) => {
                drop(old);
                remove_old(&path);
            }
            Err(error) => {
                self.db = Some(old);
                self.copy_above = disk.saturating_mul(2);
                tracing::warn!(%error, "the sessions' database can't be made smaller for now");
            }
        }
    }

    /// A fresh database that holds these entries and nothing else.
    fn replace(&mut self, entries: &[(Vec<u8>, Bytes)]) -> Result<(), StoreError> {
        self.db = None;
        let filled = self.move_to_fresh(|fresh| {
            for slice in entries.chunks(SLICE) {
                let mut puts = Vec::new();
                for (key, value) in slice {
                    put_chunks(key, value, &mut puts);
                }
                fresh.apply(puts)?;
            }
            Ok(())
        });
        let old = filled.map_err(|trouble| match trouble {
            Trouble::Unavailable(error) => error,
            Trouble::Damaged(what) => StoreError::Damaged { quarantine: self.path(), what },
        })?;
        self.live_bytes = entries.iter().map(|(_, value)| len(value)).fold(0, u64::saturating_add);
        remove_old(&old);
        Ok(())
    }

    /// Makes a fresh database the present one, once `fill` has put into it what it should hold. Gives where the old one
    /// is: it means nothing any more.
    fn move_to_fresh(
        &mut self,
        fill: impl FnOnce(&mut Database) -> Result<(), Trouble>,
    ) -> Result<PathBuf, Trouble> {
        let number = self.number.saturating_add(1);
        let path = self.dir.join(name(number));
        sync::remove(&path)?;
        std::fs::create_dir(&path).map_err(StoreError::io("create", &path))?;
        let mut db = Database::open(&path)?;
        fill(&mut db)?;
        db.sync_creation()?;
        sync::sync(&self.dir)?;
        self.current.write(&number.to_be_bytes())?;
        let old = self.path();
        self.number = number;
        self.db = Some(db);
        Ok(old)
    }

    fn set_aside(&mut self, now: Timestamp) -> Result<PathBuf, StoreError> {
        self.db = None;
        let path = self.path();
        let quarantine =
            self.dir.join(format!("{QUARANTINE_PREFIX}{}-{}", now.as_millis(), name(self.number)));
        if path.exists() {
            std::fs::rename(&path, &quarantine).map_err(StoreError::io("rename", &path))?;
            sync::sync(&self.dir)?;
        }
        Ok(quarantine)
    }

    /// What the database takes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.db.as_ref().map_or(0, Database::disk_bytes)
    }
}

/// The present database below a data directory, if there is one.
pub(super) fn current(data_dir: &Path) -> Option<PathBuf> {
    let dir = data_dir.join(DIR);
    let (_, value) = SlotFile::open(&dir, CURRENT).ok()??;
    Some(dir.join(name(Reader(&value).u64()?))).filter(|path| path.is_dir())
}

/// Puts so many that it would cost too much memory to do it in one go; a crash may come in between.
fn put_in_slices(db: &mut Database, puts: Vec<Put>) -> Result<(), Trouble> {
    let mut rest = puts.into_iter();
    loop {
        let slice: Vec<Put> = rest.by_ref().take(SLICE).collect();
        if slice.is_empty() {
            return Ok(());
        }
        db.apply(slice)?;
    }
}

/// Puts all that is in one database into another one.
fn copy(from: &mut Database, into: &mut Database) -> Result<(), Trouble> {
    let (mut slice, mut put) = (Vec::new(), Ok(()));
    from.for_each(|key, value| {
        slice.push((key.to_vec(), Some(value.to_vec())));
        if slice.len() >= SLICE && put.is_ok() {
            put = into.apply(std::mem::take(&mut slice));
        }
    })?;
    put?;
    into.apply(slice)
}

/// What stays of it is removed at the next start.
fn remove_old(path: &Path) {
    if let Err(error) = sync::remove(path) {
        tracing::warn!(%error, "the old database of the sessions stays for now");
    }
}

fn len(value: &Bytes) -> u64 {
    u64::try_from(value.len()).unwrap_or(u64::MAX)
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number:08}")
}

/// The numbers of the databases in the directory, ascending.
fn databases(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let numbers = sync::names(dir)?.into_iter().filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok());
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests;
