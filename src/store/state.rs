//! The broker's state on disk: keys with values, changed in batches that survive whole or not at all. What they mean
//! is not its concern; that a value is what was written, is.
//!
//! ```text
//! <data_dir>/state/current          which database is the present one, in two slots
//!                  db-<number>/     a sled database
//!                  quarantine-<time>-db-<number>/   damaged, set aside
//! ```
//!
//! A value lies in chunks small enough for sled's log, each under its key and two bytes more:
//! version 1, chunk, chunks (two bytes each), crc32c over key, head and bytes, the bytes. All numbers are big-endian.
//!
//! A sled file never shrinks. When it is several times as large as what it holds, everything is copied into a
//! fresh database, and `current` moves there once that one is synced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::database::Database;
use super::error::{StoreError, Trouble};
use super::segment::{Reader, crc32c};
use super::slot::SlotFile;
use super::sync;
use crate::state::Change;
use crate::time::Timestamp;

const DIR: &str = "state";
const CURRENT: &str = "current";
const PREFIX: &str = "db-";
const QUARANTINE_PREFIX: &str = "quarantine-";

/// Bytes of one chunk, at most: what sled puts into files of its own, it never syncs (see `segment.rs`).
const CHUNK_BYTES: usize = 6 * 1024;
const HEAD_BYTES: usize = 9;
const VERSION: u8 = 1;

/// The file may be this much and four times what is in it before it is copied.
const SLACK_BYTES: u64 = 16 * 1024 * 1024;

/// The state.
#[derive(Debug)]
pub(super) struct StateStore {
    dir: PathBuf,
    current: SlotFile,
    number: u64,
    /// `None` after a failure that its replacement did not survive either; tried again at the next commit.
    db: Option<Database>,
    /// How many chunks each key has, and their bytes.
    held: BTreeMap<Vec<u8>, Held>,
    live_bytes: u64,
    /// The next copying is not tried below this size: the last one has failed.
    copy_above: u64,
    /// What was there is set aside, where and why, and nothing has taken its place yet.
    lost: Option<(PathBuf, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    chunks: u16,
    bytes: u64,
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
        let mut store = Self {
            dir,
            current,
            number,
            db: None,
            held: BTreeMap::new(),
            live_bytes: 0,
            copy_above: 0,
            lost: None,
        };
        let entries = store.load(now)?;
        Ok((store, entries))
    }

    fn path(&self) -> PathBuf {
        self.dir.join(name(self.number))
    }

    fn load(&mut self, now: Timestamp) -> Result<Entries, StoreError> {
        if !self.path().is_dir() {
            self.replace(Vec::new())?;
            return Ok(Vec::new());
        }
        let mut found: BTreeMap<Vec<u8>, Parts> = BTreeMap::new();
        let mut damaged = 0_u64;
        let read = Database::open(&self.path()).and_then(|mut db| {
            db.for_each(|place, stored| match chunk(place, stored) {
                Some((key, at, of, bytes)) => {
                    let parts = found.entry(key.to_vec()).or_default();
                    parts.of = of;
                    parts.chunks.insert(at, bytes.to_vec());
                }
                None => damaged = damaged.saturating_add(1),
            })?;
            Ok(db)
        });
        let mut entries = Vec::with_capacity(found.len());
        for (key, parts) in found {
            let len = u64::try_from(parts.chunks.values().map(Vec::len).sum::<usize>()).unwrap_or(u64::MAX);
            let is_whole = u16::try_from(parts.chunks.len()) == Ok(parts.of);
            self.hold(&key, Some(Held { chunks: parts.of, bytes: len }));
            if is_whole {
                let value: Vec<u8> = parts.chunks.into_values().flatten().collect();
                entries.push((key, Bytes::from(value)));
            } else {
                damaged = damaged.saturating_add(1);
            }
        }
        if damaged > 0 {
            tracing::error!(damaged, "parts of the sessions and retained messages are damaged and left out");
        }
        match read {
            Ok(db) => self.db = Some(db),
            Err(Trouble::Unavailable(error)) => return Err(error),
            Err(Trouble::Damaged(what)) => {
                tracing::error!(what, read = entries.len(), "the sessions' database is damaged");
                self.set_aside(now)?;
                self.replace(entries.clone())?;
            }
        }
        Ok(entries)
    }

    /// Makes changes and syncs them. When it returns, all of them survive a power cut.
    ///
    /// # Errors
    /// [`StoreError`]: none of them is promised, and they may be given again. After [`StoreError::Damaged`] nothing
    /// of the state is on disk any more: all of it must be given again.
    pub(super) fn commit(&mut self, changes: &[Change], now: Timestamp) -> Result<(), StoreError> {
        if self.lost.is_none() {
            match self.try_commit(changes) {
                Ok(()) => {
                    self.copy_if_due();
                    return Ok(());
                }
                Err(Trouble::Unavailable(error)) => {
                    // What sled makes of a failed write is not to be relied on: the next commit opens it anew.
                    self.db = None;
                    return Err(error);
                }
                Err(Trouble::Damaged(what)) => self.lost = Some((self.set_aside(now)?, what)),
            }
        }
        // A disk that is full as well may refuse that for a while; until then nobody is told that all is well.
        self.replace(Vec::new())?;
        let (quarantine, what) = self.lost.take().unwrap_or_default();
        Err(StoreError::Damaged { quarantine, what })
    }

    fn try_commit(&mut self, changes: &[Change]) -> Result<(), Trouble> {
        let mut batch = Vec::new();
        let mut held = Vec::with_capacity(changes.len());
        for change in changes {
            let old = self.held.get(&change.key).map_or(0, |held| held.chunks);
            let new = change.value.as_ref().map(|value| put_chunks(&change.key, value, &mut batch));
            for chunk in new.unwrap_or(0)..old {
                batch.push((place(&change.key, chunk), None));
            }
            let bytes =
                change.value.as_ref().map_or(0, |value| u64::try_from(value.len()).unwrap_or(u64::MAX));
            held.push((&change.key, new.map(|chunks| Held { chunks, bytes })));
        }
        let path = self.path();
        let db = match &mut self.db {
            Some(db) => db,
            closed => closed.insert(Database::open(&path)?),
        };
        db.apply(batch)?;
        db.commit()?;
        for (key, held) in held {
            self.hold(key, held);
        }
        Ok(())
    }

    fn hold(&mut self, key: &[u8], held: Option<Held>) {
        let old = match held {
            Some(held) => self.held.insert(key.to_vec(), held),
            None => self.held.remove(key),
        };
        let added = held.map_or(0, |held| held.bytes);
        self.live_bytes =
            self.live_bytes.saturating_sub(old.map_or(0, |old| old.bytes)).saturating_add(added);
    }

    /// Copies what is live into a fresh database where the present one has become too large for it.
    fn copy_if_due(&mut self) {
        let disk = self.disk_bytes();
        if disk <= self.live_bytes.saturating_mul(4).saturating_add(SLACK_BYTES).max(self.copy_above) {
            return;
        }
        let mut all = Vec::new();
        let read = self
            .db
            .as_mut()
            .map(|db| db.for_each(|key, value| all.push((key.to_vec(), Some(value.to_vec())))));
        let copied = match read {
            Some(Ok(())) => self.replace_raw(all).map_err(|trouble| trouble.to_string()),
            Some(Err(trouble)) => Err(trouble.to_string()),
            None => Ok(()),
        };
        if let Err(error) = copied {
            self.copy_above = disk.saturating_mul(2);
            tracing::warn!(error, "the sessions' database can't be made smaller for now");
        }
    }

    /// A fresh database that holds these entries and nothing else.
    fn replace(&mut self, entries: Entries) -> Result<(), StoreError> {
        let mut batch = Vec::new();
        self.held.clear();
        self.live_bytes = 0;
        for (key, value) in entries {
            let chunks = put_chunks(&key, &value, &mut batch);
            let bytes = u64::try_from(value.len()).unwrap_or(u64::MAX);
            self.hold(&key, Some(Held { chunks, bytes }));
        }
        self.replace_raw(batch).map_err(|trouble| match trouble {
            Trouble::Unavailable(error) => error,
            Trouble::Damaged(what) => StoreError::Damaged { quarantine: self.path(), what },
        })
    }

    fn replace_raw(&mut self, batch: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), Trouble> {
        let number = self.number.saturating_add(1);
        let path = self.dir.join(name(number));
        sync::remove(&path)?;
        std::fs::create_dir(&path).map_err(StoreError::io("create", &path))?;
        let mut db = Database::open(&path)?;
        db.apply(batch)?;
        db.sync_creation()?;
        sync::sync(&self.dir)?;
        self.current.write(&number.to_be_bytes())?;
        let old = self.path();
        self.number = number;
        self.db = Some(db);
        // What stays of it is removed at the next start.
        if let Err(error) = sync::remove(&old) {
            tracing::warn!(%error, "the old database of the sessions stays for now");
        }
        Ok(())
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

/// Whether a stored chunk is what was written.
pub(super) fn is_right(place: &[u8], stored: &[u8]) -> bool {
    chunk(place, stored).is_some()
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

/// Where a chunk lies.
fn place(key: &[u8], chunk: u16) -> Vec<u8> {
    [key, &chunk.to_be_bytes()].concat()
}

/// Cuts a value into chunks; how many.
fn put_chunks(key: &[u8], value: &[u8], into: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) -> u16 {
    let count = u16::try_from(value.len().div_ceil(CHUNK_BYTES).max(1)).unwrap_or(u16::MAX);
    for at in 0..count {
        let start = usize::from(at).saturating_mul(CHUNK_BYTES);
        let end = start.saturating_add(CHUNK_BYTES).min(value.len());
        let bytes = value.get(start..end).unwrap_or_default();
        let head = head(at, count);
        let mut stored = head.to_vec();
        stored.extend(crc32c(&[key, &head, bytes]).to_be_bytes());
        stored.extend_from_slice(bytes);
        into.push((place(key, at), Some(stored)));
    }
    count
}

fn head(at: u16, of: u16) -> [u8; HEAD_BYTES - 4] {
    let ([a, b], [c, d]) = (at.to_be_bytes(), of.to_be_bytes());
    [VERSION, a, b, c, d]
}

/// Key, chunk, chunks and bytes of a stored chunk; `None` if it is not what was written.
fn chunk<'a>(place: &'a [u8], stored: &'a [u8]) -> Option<(&'a [u8], u16, u16, &'a [u8])> {
    let (key, at) = place.split_last_chunk::<2>()?;
    let (start, rest) = stored.split_first_chunk::<{ HEAD_BYTES - 4 }>()?;
    let (crc, bytes) = rest.split_first_chunk::<4>()?;
    let [version, a, b, c, d] = *start;
    let (number, of) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let is_right = version == VERSION
        && number == u16::from_be_bytes(*at)
        && number < of
        && crc32c(&[key, start, bytes]) == u32::from_be_bytes(*crc);
    is_right.then_some((key, number, of, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_123);

    fn change(key: &str, value: Option<Vec<u8>>) -> Change {
        Change { key: key.into(), value: value.map(Bytes::from) }
    }

    fn reopened(dir: &Path) -> BTreeMap<String, Vec<u8>> {
        let (_, entries) = StateStore::open(dir, NOW).unwrap();
        entries.into_iter().map(|(key, value)| (String::from_utf8(key).unwrap(), value.to_vec())).collect()
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart_whatever_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, entries) = StateStore::open(dir.path(), NOW).unwrap();
        assert_eq!(entries, []);
        let mut model = BTreeMap::new();
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..40 {
            let changes: BTreeMap<u8, Option<Vec<u8>>> = (0..rng.usize(1..20))
                .map(|_| {
                    let len = *rng.choice(&[0, 10, 6144, 6145, 40_000]).unwrap();
                    (rng.u8(..30), rng.bool().then(|| vec![rng.u8(..); len]))
                })
                .collect();
            let changes: Vec<Change> =
                changes.into_iter().map(|(key, value)| change(&format!("key {key}"), value)).collect();
            for Change { key, value } in &changes {
                let key = String::from_utf8(key.clone()).unwrap();
                match value {
                    Some(value) => drop(model.insert(key, value.to_vec())),
                    None => drop(model.remove(&key)),
                }
            }
            store.commit(&changes, NOW).unwrap();
        }
        drop(store);
        assert!(reopened(dir.path()) == model);
    }

    #[test]
    fn a_database_that_is_mostly_garbage_is_copied_and_the_old_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
        store.commit(&[change("kept", Some(vec![1; 10]))], NOW).unwrap();
        let first = store.number;
        let mut rng = fastrand::Rng::with_seed(3);
        for key in 0..24 {
            let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(1024 * 1024).collect();
            store.commit(&[change(&format!("noise {key}"), Some(noise))], NOW).unwrap();
        }
        let full = sync::disk_bytes(dir.path());
        for key in 0..24 {
            store.commit(&[change(&format!("noise {key}"), None)], NOW).unwrap();
        }
        assert!(store.number > first);
        let empty = sync::disk_bytes(dir.path());
        assert!(empty < full / 2, "{full}, then {empty}");
        drop(store);
        assert_eq!(databases(&dir.path().join(DIR)).unwrap().len(), 1);
        assert_eq!(reopened(dir.path()), BTreeMap::from([("kept".to_owned(), vec![1; 10])]));
    }

    #[test]
    fn a_batch_of_any_size_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
        let mut rng = fastrand::Rng::with_seed(3);
        let noise: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(8 * 1024 * 1024).collect();
        let model: BTreeMap<String, Vec<u8>> = (0..3000)
            .map(|at| (format!("key {at}"), noise[at..at + 3000].to_vec()))
            .chain([("large".to_owned(), noise.clone())])
            .collect();
        let changes: Vec<Change> =
            model.iter().map(|(key, value)| change(key, Some(value.clone()))).collect();
        store.commit(&changes, NOW).unwrap();
        drop(store);
        assert!(reopened(dir.path()) == model);
    }

    #[test]
    fn a_copy_that_was_cut_short_is_not_taken_for_the_state() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
        store.commit(&[change("kept", Some(vec![1; 10]))], NOW).unwrap();
        let next = dir.path().join(DIR).join(name(store.number + 1));
        drop(store);
        let mut cut_short = Database::open(&next).unwrap();
        cut_short.commit().unwrap();
        drop(cut_short);
        assert_eq!(reopened(dir.path()), BTreeMap::from([("kept".to_owned(), vec![1; 10])]));
        assert!(!next.exists());
    }

    #[test]
    fn a_database_of_other_bytes_is_set_aside_and_a_fresh_one_works() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
        store.commit(&[change("lost", Some(vec![1; 10]))], NOW).unwrap();
        let data = store.path().join(super::super::database::DATA_FILE);
        drop(store);
        std::fs::write(&data, [0xA5; 100_000]).unwrap();
        let (mut store, _) = StateStore::open(dir.path(), NOW).unwrap();
        store.commit(&[change("new", Some(vec![2; 10]))], NOW).unwrap();
        drop(store);
        assert_eq!(reopened(dir.path()).get("new"), Some(&vec![2; 10]));
    }
}
