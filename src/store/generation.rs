//! One generation of an outbox: a small database of segments and a summary beside it. Appends, reads, checks itself.
//! Which generation is written, read or dropped is the outbox's decision.

mod back;
mod look;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::database::Database;
use super::done::Done;
use super::error::{StoreError, Trouble};
use super::segment::Packer;
use super::summary::{self, Summary, Tally};
use super::sync;
use super::walk::{Damage, Walk};
use crate::record::{RecordNo, StoredRecord};
use crate::time::Timestamp;

const PREFIX: &str = "gen-";
const TRASH_PREFIX: &str = "trash-";
const QUARANTINE_PREFIX: &str = "quarantine-";

/// A generation, open or not.
#[derive(Debug)]
pub(super) struct Generation {
    /// Its place in the series.
    pub number: u64,
    /// What it should hold: as its summary says, or as counted while writing.
    pub tally: Tally,
    /// Nothing more is written to it.
    pub sealed: bool,
    /// Its summary was there, or it was made by this process: `tally` is what it should hold.
    told: bool,
    /// Records from here on are superseded by a later generation, or were never promised.
    end: RecordNo,
    /// What it does hold: less than `tally` after damage.
    live: Backlog,
    /// What was found damaged so far.
    known: Damage,
    /// It has been checked since it was last opened.
    checked: bool,
    outbox_dir: PathBuf,
    next_segment: u64,
    db: Option<Database>,
    /// What it took on disk when last looked at.
    disk_bytes: u64,
    /// The last record that was read, and the segment that it begins in: reading goes on there.
    hint: Option<(RecordNo, u64)>,
    /// Where reading backwards goes on: below this record, in this segment or one before.
    back_hint: Option<(RecordNo, u64)>,
}

/// Records that wait, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backlog {
    /// Records.
    pub records: u64,
    /// Their bytes, as records.
    pub bytes: u64,
    /// When the oldest of them was committed.
    pub oldest: Option<Timestamp>,
}

impl Backlog {
    /// Counts one record more.
    pub(super) fn count(&mut self, len: usize, committed_at: Timestamp) {
        self.oldest.get_or_insert(committed_at);
        self.records = self.records.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }

    /// Adds a later generation's.
    pub(super) fn add(&mut self, later: Self) {
        self.oldest = self.oldest.or(later.oldest);
        self.records = self.records.saturating_add(later.records);
        self.bytes = self.bytes.saturating_add(later.bytes);
    }
}

impl Generation {
    /// Makes an empty one in the outbox's directory, so that it stays.
    ///
    /// # Errors
    /// [`Trouble`]: nothing is left of it.
    pub(super) fn create(outbox_dir: &Path, number: u64) -> Result<Self, Trouble> {
        let name = name(number);
        let dir = outbox_dir.join(&name);
        sync::remove(&dir)?;
        // sled would make the directories above as well, should they have gone away; ours must not.
        std::fs::create_dir(&dir).map_err(StoreError::io("create", &dir))?;
        let made = Database::open(&dir).and_then(|mut db| {
            db.sync_creation()?;
            summary::write(outbox_dir, &name, None)?;
            sync::sync(outbox_dir)?;
            Ok(db)
        });
        match made {
            Ok(db) => {
                let mut generation = Self::new(outbox_dir, number);
                generation.told = true;
                generation.checked = true;
                generation.disk_bytes = db.disk_bytes();
                generation.db = Some(db);
                Ok(generation)
            }
            Err(trouble) => {
                // It may be what filled the disk. What stays is found empty at the next start.
                let _ = sync::remove(&dir);
                let _ = sync::remove(&outbox_dir.join(summary::file_name(&name)));
                Err(trouble)
            }
        }
    }

    /// One that was found on disk, not opened yet.
    pub(super) fn found(outbox_dir: &Path, number: u64) -> (Self, Summary) {
        let summary = summary::read(outbox_dir, &name(number));
        let mut generation = Self::new(outbox_dir, number);
        generation.disk_bytes = sync::disk_bytes(&generation.path());
        if let Summary::Sealed(tally) = summary {
            generation.sealed = true;
            generation.told = true;
            generation.tally = tally;
            generation.end = tally.last.next();
            let oldest = (tally.records > 0).then_some(tally.oldest);
            generation.live = Backlog { records: tally.records, bytes: tally.bytes, oldest };
        }
        (generation, summary)
    }

    fn new(outbox_dir: &Path, number: u64) -> Self {
        Self {
            number,
            tally: Tally::default(),
            sealed: false,
            told: false,
            end: RecordNo(u64::MAX),
            live: Backlog::default(),
            known: Damage::default(),
            checked: false,
            outbox_dir: outbox_dir.to_owned(),
            next_segment: 1,
            db: None,
            disk_bytes: 0,
            hint: None,
            back_hint: None,
        }
    }

    /// Its directory.
    pub(super) fn path(&self) -> PathBuf {
        self.outbox_dir.join(name(self.number))
    }

    /// Records from `end` on are not to be taken from this one.
    pub(super) fn end_at(&mut self, end: RecordNo) {
        self.end = self.end.min(end);
    }

    /// What it must hold at least, though it has no summary.
    pub(super) fn told_at_least(&mut self, last: RecordNo, records: u64, segments: u64) {
        if !self.told {
            self.tally = Tally { last, records, segments, ..Tally::default() };
        }
    }

    /// Opens it, and after an opening looks at every segment once. Gives what is found damaged beyond what was
    /// known.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn open(&mut self) -> Result<Damage, Trouble> {
        if self.db.is_none() {
            self.db = Some(Database::open(&self.path())?);
            self.checked = false;
        }
        if self.checked {
            return Ok(Damage::default());
        }
        self.check()
    }

    /// Looks at every segment, whether it was looked at before or not. Gives what is damaged beyond what was known, and
    /// all that is.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn check_again(&mut self) -> Result<(Damage, Damage), Trouble> {
        self.checked = false;
        let fresh = self.open()?;
        Ok((fresh, self.known))
    }

    fn check(&mut self) -> Result<Damage, Trouble> {
        let (end, told) = (self.end, self.tally);
        let (mut found, mut live) = (Tally::default(), Backlog::default());
        let mut walk = Walk::from_start();
        let mut stored_bytes = 0_u64;
        self.db()?.for_each_from(1, |key, stored| {
            stored_bytes = stored_bytes.saturating_add(u64::try_from(stored.len()).unwrap_or(u64::MAX));
            walk.segment(key, stored, &mut |walked| {
                if walked.record.no < end && walked.record.no > found.last {
                    found.count(walked.record.no, walked.record.bytes.len(), walked.committed_at);
                    live.count(walked.record.bytes.len(), walked.committed_at);
                }
                ControlFlow::Continue(())
            })
        })?;
        found.segments = walk.next_segment.saturating_sub(1);
        found.stored = stored_bytes;
        let mut total = walk.damage;
        total.segments = total.segments.saturating_add(told.segments.saturating_sub(found.segments));
        if self.told {
            total.records = told.records.saturating_sub(live.records);
        } else {
            let all = live.records.saturating_add(total.records).max(told.records);
            total.records = all.saturating_sub(live.records);
            self.tally = Tally { records: all, last: found.last.max(told.last), ..found };
            self.told = true;
        }
        self.next_segment = walk.next_segment;
        if let Some(open_end) = walk.open_end().filter(|_| !self.sealed) {
            for segment_no in open_end..walk.next_segment {
                self.db()?.remove(segment_no)?;
            }
            self.next_segment = open_end;
        }
        let fresh = Damage {
            segments: total.segments.saturating_sub(self.known.segments),
            records: total.records.saturating_sub(self.known.records),
        };
        self.known = total;
        self.live = live;
        self.checked = true;
        Ok(fresh)
    }

    /// Writes records behind those that are there, and makes them survive a power cut.
    ///
    /// # Errors
    /// [`Trouble`]: none of them is promised; [`Self::abandon`] it.
    pub(super) fn append(
        &mut self,
        records: &[StoredRecord],
        at: Timestamp,
        vouched: bool,
    ) -> Result<(), Trouble> {
        let mut tally = self.tally;
        let mut next_segment = self.next_segment;
        let packer = Packer::new(records, next_segment, tally.records, at).vouched(vouched);
        let db = self.db()?;
        for packed in packer {
            db.insert(packed.segment_no, &packed.stored)?;
            next_segment = packed.segment_no.saturating_add(1);
            tally.stored =
                tally.stored.saturating_add(u64::try_from(packed.stored.len()).unwrap_or(u64::MAX));
        }
        db.commit()?;
        self.disk_bytes = db.disk_bytes();
        for record in records {
            tally.count(record.no, record.bytes.len(), at);
            self.live.count(record.bytes.len(), at);
        }
        tally.segments = next_segment.saturating_sub(1);
        self.tally = tally;
        self.next_segment = next_segment;
        Ok(())
    }

    /// Writes no more to it, and says beside it what is in it.
    ///
    /// # Errors
    /// [`StoreError::Io`]: it is complete all the same, only nobody would notice its truncation.
    pub(super) fn seal(&mut self) -> Result<(), StoreError> {
        self.sealed = true;
        self.end_at(self.tally.last.next());
        summary::write(&self.outbox_dir, &name(self.number), Some(&self.tally))
    }

    /// Seals it after a failed write: what the write may have left in it is not part of it.
    pub(super) fn abandon(&mut self) {
        self.close();
        if let Err(error) = self.seal() {
            tracing::warn!(%error, "a generation has no summary");
        }
    }

    /// Closes its database.
    pub(super) fn close(&mut self) {
        if let Some(db) = self.db.take() {
            self.disk_bytes = db.disk_bytes();
        }
        self.checked = false;
    }

    /// Whether its database is open.
    pub(super) fn is_open(&self) -> bool {
        self.db.is_some()
    }

    /// What it holds that is not done.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) fn behind(&mut self, done: &Done) -> Result<Backlog, Trouble> {
        if done.covers(self.tally.first, self.tally.last) {
            return Ok(Backlog::default());
        }
        if !done.touches(self.tally.first, self.tally.last) {
            return Ok(self.live);
        }
        let acked = done.acked;
        self.open()?;
        let mut backlog = Backlog::default();
        let end = self.end;
        let start = self.seek(acked.next())?;
        let mut walk = Walk::from_segment(start);
        self.db()?.for_each_from(start, |key, stored| {
            walk.segment(key, stored, &mut |walked| {
                if !done.contains(walked.record.no) && walked.record.no < end {
                    backlog.count(walked.record.bytes.len(), walked.committed_at);
                }
                ControlFlow::Continue(())
            })
        })?;
        Ok(backlog)
    }

    /// Whether nothing damaged was found in it.
    pub(super) fn is_sound(&self) -> bool {
        self.known.is_none()
    }

    /// Records that can be read, whether they are acknowledged or not.
    pub(super) fn records(&self) -> u64 {
        self.live.records
    }

    /// What it takes on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes.saturating_add(sync::file_bytes(1))
    }

    /// Deletes it from the disk: first its name, synced, so that a half-deleted one never looks like a damaged one.
    ///
    /// # Errors
    /// [`StoreError::Io`]: it is still there.
    pub(super) fn remove(&mut self) -> Result<(), StoreError> {
        self.close();
        let name = name(self.number);
        let trash = self.outbox_dir.join(format!("{TRASH_PREFIX}{name}"));
        let path = self.path();
        sync::remove(&trash)?;
        std::fs::rename(&path, &trash).map_err(StoreError::io("remove", &path))?;
        sync::sync(&self.outbox_dir)?;
        sync::remove(&self.outbox_dir.join(summary::file_name(&name)))?;
        sync::remove(&trash)
    }

    /// Sets it aside under a name of its own, which is given.
    ///
    /// # Errors
    /// [`StoreError::Io`]: it is still where it was.
    pub(super) fn quarantine(&mut self, now: Timestamp) -> Result<PathBuf, StoreError> {
        self.close();
        let name = name(self.number);
        let seconds = now.as_millis() / 1000;
        let free = (0_u32..)
            .map(|again| match again {
                0 => self.outbox_dir.join(format!("{QUARANTINE_PREFIX}{seconds}-{name}")),
                _ => self.outbox_dir.join(format!("{QUARANTINE_PREFIX}{seconds}.{again}-{name}")),
            })
            .find(|path| !path.exists())
            .unwrap_or_default();
        let path = self.path();
        std::fs::rename(&path, &free).map_err(StoreError::io("set aside", &path))?;
        // Its summary goes with it: whoever salvages it wants to know what should be there.
        let summary = summary::file_name(&name);
        let _ = std::fs::rename(self.outbox_dir.join(&summary), free.join(&summary));
        sync::sync(&self.outbox_dir)?;
        Ok(free)
    }

    fn db(&mut self) -> Result<&mut Database, Trouble> {
        self.db.as_mut().ok_or_else(|| Trouble::Damaged("it is not open".to_owned()))
    }
}

/// What a name in an outbox's directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The generation of this number.
    Generation(u64),
    /// What a deletion that was cut short has left.
    Trash,
    /// Set aside.
    Quarantine,
    /// The summary of the generation of this number.
    Summary(u64),
    /// Not a generation's.
    Other,
}

/// What a name in an outbox's directory is.
pub(super) fn parse_name(text: &str) -> Named {
    let number = |text: &str| {
        text.strip_prefix(PREFIX)
            .and_then(|number| number.parse().ok())
            .filter(|number| name(*number) == text)
    };
    if text.starts_with(TRASH_PREFIX) || text.ends_with(sync::NEW_SUFFIX) {
        return Named::Trash;
    }
    if text.starts_with(QUARANTINE_PREFIX) {
        return Named::Quarantine;
    }
    let summary = text.strip_suffix(summary::SUFFIX).and_then(number).map(Named::Summary);
    summary.or_else(|| number(text).map(Named::Generation)).unwrap_or(Named::Other)
}

fn name(number: u64) -> String {
    format!("{PREFIX}{number:012}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_lies_in_an_outbox() {
        let check = |text: &str, expected: Named| assert_eq!(parse_name(text), expected, "{text}");
        check("gen-000000000017", Named::Generation(17));
        check("gen-000000000017.summary", Named::Summary(17));
        check("gen-000000000017.summary.new", Named::Trash);
        check("trash-gen-000000000017", Named::Trash);
        check("quarantine-1795186265-gen-000000000017", Named::Quarantine);
        check("gen-17", Named::Other);
        check("gen-", Named::Other);
        check("cursor", Named::Other);
        check(&name(u64::MAX), Named::Generation(u64::MAX));
    }
}
