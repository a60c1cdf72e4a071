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
//! | the cursor of [`Store::ack`], and what is acknowledged behind it | as of the last second, or of the last `sync` | the same |
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
//!            running, suspect                  how the last run ended: see `unclean.rs`
//!            ballast                           given up where the disk is full: see `space.rs`
//!            meta                              instance and start counter, in two slots
//!            note-machine                      where it was made: see `Store::settle_on`
//!            outbox-<upstream>/…                the default stream's; outbox-<upstream>%2F<stream>/… another one's:
//!            outbox-<name>/cursor              what upstream has acknowledged, in two slots
//!                          beyond              what it has acknowledged out of turn behind that, in two slots
//!                          size                what it may take where nobody said, in two slots
//!                          gen-<number>/       a sled database of segments; the newest is written, the oldest read
//!                          gen-<number>.summary   what is in it, once it is sealed
//!                          note-<name>      small facts that belong to it: see `note.rs`
//!                          quarantine-<time>-gen-<number>/   damaged, set aside
//!            gpio/<name>                       a counter's total, an output's last state, in two slots: see `kept.rs`
//!            state/                            the broker's sessions and retained messages: see `state.rs`
//! ```
//!
//! A commit packs its records into segments (`segment.rs`: checksum, compression, at most 7 KiB), puts them into the
//! newest generation, flushes it, and fdatasyncs its data file: sled's own flush is no fsync. Directories are synced
//! when something in them is made or removed. Records are never rewritten: a generation that is drained is deleted
//! as a directory, one that is too old for the outbox's bytes is dropped as a whole, and counted. Damage stays within
//! its generation: a bad segment is passed over, a database that can't be read is set aside, and both are counted.

pub mod bounds;
mod database;
mod done;
mod error;
mod generation;
pub mod inspect;
mod kept;
mod lock;
mod meta;
mod names;
mod note;
mod outbox;
mod segment;
mod slot;
mod space;
mod state;
mod summary;
mod sync;
mod told;
mod unclean;
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use bounds::{Alarm, Bounds, Full};
use bytes::Bytes;
pub use error::StoreError;
pub use kept::{KEPT_BYTES_MAX, Kept, KeptValue};
pub use lock::{CERTIFICATES, CONFIG_HISTORY, is_foreign};
use names::{OUTBOX_PREFIX, directory_name};
use outbox::Outbox;
use space::Room;
use state::StateStore;
pub use told::{Dropped, OutboxState, Usage};
use unclean::Running;
pub use unclean::{Suspect, mark_suspect};
pub use walk::Damage;

use crate::message::OutboxId;
use crate::ranges::Ranges;
use crate::reading::Run;
use crate::record::{RecordNo, StoredRecord};
use crate::state::Change;
use crate::time::Timestamp;

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes that one outbox may take on disk where its [`Bounds`] say nothing: these, or fewer on a small disk. Below 8 MiB there is no room for several
    /// generations, and most of the outbox goes at once. At the bound the oldest generation is dropped
    /// and what was unacknowledged in it is counted.
    pub outbox_bytes_max: u64,
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
    room: Room,
    /// What was set aside at this start.
    replaced: Vec<PathBuf>,
    /// Whether the wall clock is known to be right.
    vouched: bool,
    /// When the ballast was last seen to.
    ballast_at: Timestamp,
    /// The latest time that a call was given: names what is set aside.
    now: Timestamp,
    /// Dropped after the outboxes.
    running: Running,
    /// Dropped last.
    _lock: lock::DirLock,
}

impl Store {
    /// Opens or creates the store in `dir`, takes its lock, and raises and syncs the start counter.
    ///
    /// # Errors
    /// See [`StoreError`]. A damaged store is set aside and a fresh one is opened: that is no error.
    pub fn open(dir: &Path, config: Config, now: Timestamp) -> Result<Self, StoreError> {
        match Self::open_once(dir, config.clone(), now) {
            Err(error) if error.is_disk_full() && Room::new(dir).drop_ballast() => {
                Self::open_once(dir, config, now)
            }
            result => result,
        }
    }

    fn open_once(dir: &Path, config: Config, now: Timestamp) -> Result<Self, StoreError> {
        let lock = lock::claim(dir)?;
        let used = sync::names(dir)?.iter().any(|name| name.starts_with(OUTBOX_PREFIX));
        let meta::Meta { run, instance } = meta::Meta::start(dir, used, now)?;
        let running = Running::begin(dir)?;
        let room = Room::new(dir);
        Ok(Self {
            dir: dir.to_owned(),
            room,
            replaced: Vec::new(),
            vouched: false,
            ballast_at: Timestamp::default(),
            config,
            run,
            instance,
            outboxes: BTreeMap::new(),
            state: None,
            now,
            running,
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

    /// Tells the store on which machine it is. One that was made on another, as on a copied card, gets an instance of its
    /// own, so that receivers don't take two gateways for one; it returns what that machine was called.
    ///
    /// # Errors
    /// [`StoreError::Io`]: it is told again at the next start.
    pub fn settle_on(&mut self, machine: &str) -> Result<Option<String>, StoreError> {
        let before = note::read(&self.dir, MACHINE).and_then(|name| String::from_utf8(name).ok());
        if before.as_deref() == Some(machine) {
            return Ok(None);
        }
        if before.is_some() {
            self.instance = meta::renew(&self.dir, self.run)?;
        }
        note::write(&self.dir, MACHINE, machine.as_bytes())?;
        Ok(before)
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
        let bounds = Bounds { bytes_max: Some(self.config.outbox_bytes_max), ..Bounds::default() };
        self.open_outbox_within(id, name, bounds)
    }

    /// The same with bounds of its own.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open_outbox_within(
        &mut self,
        id: OutboxId,
        name: &str,
        bounds: Bounds,
    ) -> Result<OutboxState, StoreError> {
        drop(self.outboxes.remove(&id));
        let dir = self.dir.join(directory_name(name));
        let most = self.config.outbox_bytes_max;
        let now = self.now;
        let (mut outbox, state) = self.with_ballast(|_| Outbox::open(&dir, bounds, most, now))?;
        let replaced = self.replaced.iter().filter(|path| path.starts_with(&dir)).count();
        outbox.note_set_aside(u64::try_from(replaced).unwrap_or(u64::MAX));
        self.outboxes.insert(id, outbox);
        self.make_ballast();
        Ok(state)
    }

    /// Closes an outbox; what is in it stays on disk.
    pub fn close_outbox(&mut self, id: OutboxId) {
        drop(self.outboxes.remove(&id));
    }

    /// Gives an open outbox other bounds. They hold from the next commit on.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn set_bounds(&mut self, id: OutboxId, bounds: Bounds) -> Result<(), StoreError> {
        let most = self.config.outbox_bytes_max;
        self.with_ballast(|store| store.outbox(id)?.set_bounds(bounds, most))
    }

    /// What was open when the last run ended without closing the store; nothing after a clean stop. It should be looked
    /// at from another process before it is opened here.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn suspects(&self) -> Result<Vec<Suspect>, StoreError> {
        if let Some(why) = unclean::why_suspect(&self.dir) {
            tracing::warn!(why = why.trim(), "the store has hung in the last run");
        }
        if self.running.unclean { unclean::suspects(&self.dir) } else { Ok(Vec::new()) }
    }

    /// The suspects have been looked at.
    pub fn cleared(&mut self) {
        self.running.unclean = false;
        unclean::clear_suspect(&self.dir);
    }

    /// Where a copy of what can be read of a suspect is to be made: nothing is there.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn salvage_place(&mut self, suspect: &Suspect) -> Result<PathBuf, StoreError> {
        self.with_ballast(|_| unclean::salvage_place(suspect.path()))
    }

    /// Sets a suspect aside, and puts the copy in its place. Gives where it is now. What the copy lacks counts as
    /// damaged once it is opened.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn replace_suspect(&mut self, suspect: &Suspect, copy: &Path) -> Result<PathBuf, StoreError> {
        let aside = unclean::replace(suspect.path(), copy, self.now)?;
        self.replaced.push(aside.clone());
        Ok(aside)
    }

    /// Leaves so many bytes of the disk free: below them no records are written. `None`: 64 MiB, or a twentieth of a
    /// small disk.
    pub fn leave_free(&mut self, reserve: Option<u64>) {
        self.room.reserve = reserve;
    }

    /// From now on the wall clock is known to be right, or isn't: only a right one gives records an age.
    pub fn vouch_for_clock(&mut self, vouched: bool) {
        self.vouched = vouched;
    }

    /// Gives up all records of an outbox, or those that were committed before a point in time. They count as dropped.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn purge(
        &mut self,
        id: OutboxId,
        before: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<Dropped>, StoreError> {
        self.now = now;
        self.with_ballast(|store| store.outbox(id)?.purge(before, now))
    }

    /// What an outbox holds.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn report(&mut self, id: OutboxId, name: &str) -> Result<inspect::Report, StoreError> {
        let now = self.now;
        self.outbox(id)?.report(name, now)
    }

    /// Looks at every byte of the first generation after the one with this number, and gives its number and what was
    /// found; `None` when there is no further one. What is found is counted like any other damage.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn verify_after(
        &mut self,
        id: OutboxId,
        number: u64,
    ) -> Result<Option<(u64, inspect::Checked)>, StoreError> {
        let now = self.now;
        self.outbox(id)?.verify_after(number, now)
    }

    /// Calls `f`; where the disk is full, once more without the ballast.
    fn with_ballast<T>(
        &mut self,
        mut f: impl FnMut(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match f(self) {
            Err(error) if error.is_disk_full() && self.room.drop_ballast() => f(self),
            result => result,
        }
    }

    /// Puts the ballast there where it is missing and there is room for it; looks once a minute.
    fn make_ballast(&mut self) {
        if self.now.as_millis().abs_diff(self.ballast_at.as_millis()) >= BALLAST_EVERY_MS {
            self.ballast_at = self.now;
            self.room.make_ballast();
        }
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
        let vouched = self.vouched;
        let outbox = self.outboxes.get_mut(&id).ok_or(StoreError::NotOpen { id })?;
        if !records.is_empty() {
            self.room.check()?;
        }
        let dropped = outbox.commit(records, now, vouched)?;
        self.make_ballast();
        Ok(dropped)
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
        self.with_ballast(|store| store.outbox(id)?.read(from, bytes_max, now))
    }

    /// Records below `before` that are not acknowledged, the newest first, about `bytes_max` bytes of them but at least one
    /// if there is one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn read_back(
        &mut self,
        id: OutboxId,
        before: RecordNo,
        bytes_max: usize,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let now = self.now;
        self.with_ballast(|store| store.outbox(id)?.read_back(before, bytes_max, now))
    }

    /// The same as [`Self::read`] without what is acknowledged already.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn read_behind(
        &mut self,
        id: OutboxId,
        from: RecordNo,
        bytes_max: usize,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let acked = self.outbox(id)?.acked();
        self.read(id, from.max(acked.next()), bytes_max)
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
        self.ack_beyond(id, up_to, &Ranges::default(), now, sync)
    }

    /// The same, and what is acknowledged out of turn behind it. Of this the largest ranges are persisted, as many as
    /// [`crate::ranges::STORED_RANGES_MAX`].
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn ack_beyond(
        &mut self,
        id: OutboxId,
        up_to: RecordNo,
        beyond: &Ranges,
        now: Timestamp,
        sync: bool,
    ) -> Result<(), StoreError> {
        self.now = now;
        self.with_ballast(|store| store.outbox(id)?.ack(up_to, beyond, now, sync))
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
        let (dir, now) = (self.dir.clone(), self.now);
        let (state, entries) = self.with_ballast(|_| StateStore::open(&dir, now))?;
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

/// The note that names the machine.
const MACHINE: &str = "machine";

/// How often it is seen to that there is ballast, in milliseconds.
const BALLAST_EVERY_MS: u64 = 60_000;
