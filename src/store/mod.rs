//! The durable store: outboxes of records, their cursors, the broker's state, the start counter. The only folder that names sled. It
//! blocks; one thread owns it. It reads no clock and starts no thread of its own (sled keeps a few for its files).
//!
//! # What survives
//!
//! | what | `kill -9` | power cut |
//! |---|---|---|
//! | records of a [`Store::commit`] that has returned | yes | yes |
//! | records of a commit that had not returned | some, in order, whole | some, in order, whole |
//! | [`Run`] and instance, once [`Store::open`] has returned | yes | yes |
//! | the cursor of [`Store::ack`] | as of the last second, or of the last `sync` | the same |
//! | changes of a [`Store::commit_state`] that has returned | yes | yes |
//! | changes of one that had not returned | all of them or none | the same |
//! | a deleted generation | stays deleted, and the cursor is behind it | the same |
//!
//! That the disk keeps what an fsync has written is the disk's part of the promise.
//!
//! # How
//!
//! ```text
//! <data_dir>/fieldgate.store                   "fieldgate store 1": this is ours, and in which layout
//!            lock                              flock: one process at a time
//!            meta                              instance and start counter, in two slots
//!            outbox-<name>/cursor              what upstream has acknowledged, in two slots
//!                          gen-<number>/       a sled database of segments; the newest is written, the oldest read
//!                          gen-<number>.summary   what is in it, once it is sealed
//!                          note-<name>      small facts that belong to it: see `note.rs`
//!                          quarantine-<time>-gen-<number>/   damaged, set aside
//!            state/                            the broker's sessions and retained messages: see `state.rs`
//! ```
//!
//! A commit packs its records into segments (`segment.rs`: checksum, compression, at most 7 KiB), puts them into the
//! newest generation, flushes it, and fdatasyncs its data file: sled's own flush is no fsync. Directories are synced
//! when something in them is made or removed. Records are never rewritten: a generation that is drained is deleted
//! as a directory, one that is too old for the outbox's bytes is dropped as a whole, and counted. Damage stays within
//! its generation: a bad segment is passed over, a database that can't be read is set aside, and both are counted.

mod database;
mod error;
mod generation;
mod lock;
mod meta;
mod note;
mod outbox;
mod segment;
mod slot;
mod state;
mod summary;
mod sync;
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
pub use error::StoreError;
pub use lock::CERTIFICATES;
use outbox::Outbox;
use state::StateStore;
pub use walk::Damage;

use crate::message::OutboxId;
use crate::reading::Run;
use crate::record::{RecordNo, StoredRecord};
use crate::state::Change;
use crate::time::Timestamp;

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes that one outbox may take on disk. Default 256 MiB; below 8 MiB there is no room for several
    /// generations, and most of the outbox goes at once. At the bound the oldest generation is dropped
    /// and what was unacknowledged in it is counted.
    pub outbox_bytes_max: u64,
}

/// What was found at opening an outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxState {
    /// Everything up to here is acknowledged upstream, or was dropped.
    pub acked: RecordNo,
    /// The last record on disk; `acked` if there is none behind it.
    pub last: RecordNo,
    /// Records behind `acked`.
    pub records: u64,
    /// Their bytes, as records.
    pub bytes: u64,
    /// When the oldest of them was committed.
    pub oldest: Option<Timestamp>,
    /// Segments that were damaged, and the records that were lost with them. Generations that are not read yet are
    /// not looked into: [`Store::damage`] tells what is found later.
    pub damaged_segments: u64,
    /// Records lost in damage, as far as can be told.
    pub damaged_records: u64,
}

/// What an append had to drop to stay within the outbox's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Everything up to here is gone.
    pub up_to: RecordNo,
    /// Records that had not been acknowledged.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What an outbox takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk, as files, with what was set aside.
    pub disk_bytes: u64,
    /// Generations.
    pub generations: u64,
}

/// The store of one data directory. All calls block; one thread owns it.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    config: Config,
    run: Run,
    instance: String,
    outboxes: BTreeMap<OutboxId, Outbox>,
    state: Option<StateStore>,
    /// The latest time that a call was given: names what is set aside.
    now: Timestamp,
    /// Dropped last, after the outboxes.
    _lock: lock::DirLock,
}

impl Store {
    /// Opens or creates the store in `dir`, takes its lock, and raises and syncs the start counter.
    ///
    /// # Errors
    /// See [`StoreError`]. A damaged store is set aside and a fresh one is opened: that is no error.
    pub fn open(dir: &Path, config: Config, now: Timestamp) -> Result<Self, StoreError> {
        let lock = lock::claim(dir)?;
        let used = sync::names(dir)?.iter().any(|name| name.starts_with(OUTBOX_PREFIX));
        let meta::Meta { run, instance } = meta::Meta::start(dir, used, now)?;
        Ok(Self {
            dir: dir.to_owned(),
            config,
            run,
            instance,
            outboxes: BTreeMap::new(),
            state: None,
            now,
            _lock: lock,
        })
    }

    /// This start's number.
    #[must_use]
    pub fn run(&self) -> Run {
        self.run
    }

    /// Random, made when the store was created: 16 hex digits.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Opens the outbox of the upstream called `name`. The number of the next record must be above both `acked` and
    /// `last` of what it returns. Opened again under the same id, it is closed first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open_outbox(&mut self, id: OutboxId, name: &str) -> Result<OutboxState, StoreError> {
        drop(self.outboxes.remove(&id));
        let dir = self.dir.join(directory_name(name));
        let (outbox, state) = Outbox::open(&dir, self.config.outbox_bytes_max, self.now)?;
        self.outboxes.insert(id, outbox);
        Ok(state)
    }

    /// Writes records and syncs them. When it returns, they survive a power cut. On error none of them is
    /// promised, and the same records may be given again. Their numbers ascend, with gaps where it pleases.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn commit(
        &mut self,
        id: OutboxId,
        records: &[StoredRecord],
        now: Timestamp,
    ) -> Result<Option<Dropped>, StoreError> {
        self.now = now;
        self.outbox(id)?.commit(records, now)
    }

    /// Records from `from` on, in order, about `bytes_max` bytes of them but at least one if there is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn read(
        &mut self,
        id: OutboxId,
        from: RecordNo,
        bytes_max: usize,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let now = self.now;
        self.outbox(id)?.read(from, bytes_max, now)
    }

    /// Everything up to here is acknowledged upstream and may go. Persisted at most once a second
    /// (`sync` forces it), and before a generation is removed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn ack(
        &mut self,
        id: OutboxId,
        up_to: RecordNo,
        now: Timestamp,
        sync: bool,
    ) -> Result<(), StoreError> {
        self.now = now;
        self.outbox(id)?.ack(up_to, now, sync)
    }

    /// Puts a small fact beside an outbox, synced; `name` becomes a part of a file's name.
    ///
    /// # Errors
    /// See [`StoreError`]: what was noted before stays.
    pub fn keep(&mut self, id: OutboxId, name: &'static str, content: &[u8]) -> Result<(), StoreError> {
        note::write(self.outbox(id)?.dir(), name, content)
    }

    /// What [`Self::keep`] put there; `None` if there is none or it is damaged.
    #[must_use]
    pub fn kept(&self, id: OutboxId, name: &'static str) -> Option<Vec<u8>> {
        note::read(self.outboxes.get(&id)?.dir(), name)
    }

    /// What an outbox takes; nothing if it is not open.
    #[must_use]
    pub fn usage(&self, id: OutboxId) -> Usage {
        self.outboxes.get(&id).map(Outbox::usage).unwrap_or_default()
    }

    /// What was found damaged in an outbox since it was opened, with what [`OutboxState`] told.
    #[must_use]
    pub fn damage(&self, id: OutboxId) -> Damage {
        self.outboxes.get(&id).map(Outbox::damage).unwrap_or_default()
    }

    /// Opens the broker's state and gives all that is in it.
    ///
    /// # Errors
    /// See [`StoreError`]. Damage is none: what can still be read is given.
    pub fn open_state(&mut self) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        self.state = None;
        let (state, entries) = StateStore::open(&self.dir, self.now)?;
        self.state = Some(state);
        Ok(entries)
    }

    /// Makes changes of the broker's state, all or none of them, and syncs them. When it returns, they survive a
    /// power cut.
    ///
    /// # Errors
    /// See [`StoreError`]: none of them is promised. After [`StoreError::Damaged`] nothing of the state is on disk
    /// any more, and all of it must be given again.
    pub fn commit_state(&mut self, changes: &[Change], now: Timestamp) -> Result<(), StoreError> {
        self.now = now;
        self.state.as_mut().ok_or(StoreError::StateNotOpen)?.commit(changes, now)
    }

    /// What the broker's state takes on disk; nothing if it is not open.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        self.state.as_ref().map_or(0, StateStore::disk_bytes)
    }

    fn outbox(&mut self, id: OutboxId) -> Result<&mut Outbox, StoreError> {
        self.outboxes.get_mut(&id).ok_or(StoreError::NotOpen { id })
    }
}

const OUTBOX_PREFIX: &str = "outbox-";

/// A file name is 255 bytes at most; what is longer is cut and told apart by a checksum.
const NAME_BYTES_MAX: usize = 150;

/// The directory of the outbox called `name`: letters, digits, `-` and `_` as they are, all else as `%XX`.
fn directory_name(name: &str) -> String {
    let mut encoded = String::from(OUTBOX_PREFIX);
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    if encoded.len() > NAME_BYTES_MAX {
        encoded.truncate(NAME_BYTES_MAX);
        encoded.push_str(&format!("%{:08x}", segment::crc32c(&[name.as_bytes()])));
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstreams_name_becomes_one_directory_of_its_own() {
        let check = |name: &str, expected: &str| assert_eq!(directory_name(name), expected);
        check("cloud", "outbox-cloud");
        check("my cloud/1", "outbox-my%20cloud%2F1");
        check("..", "outbox-%2E%2E");
        check("ü", "outbox-%C3%BC");
        let (long, longer) = ("a".repeat(300), "a".repeat(301));
        assert!(directory_name(&long).len() < 200);
        assert_ne!(directory_name(&long), directory_name(&longer));
    }
}
