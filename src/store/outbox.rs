//! One outbox: a series of generations, the newest written, the oldest read, and a cursor. Decides which generation
//! is made, opened, sealed, dropped, deleted or set aside. What a generation looks like is not its concern.

mod back;
mod damage;
mod limits;
mod look;
mod room;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::bounds::{self, Alarm, Bounds};
use super::done::{BeyondFile, Done};
use super::error::{StoreError, Trouble};
use super::generation::{Backlog, Generation, Named, parse_name};
use super::meta::{Cursor, CursorFile};
use super::segment::Reader;
use super::slot::SlotFile;
use super::space::Space;
use super::summary::Summary;
use super::sync;
use super::walk::Damage;
use super::{Dropped, OutboxState};
use crate::ranges::Ranges;
use crate::record::{RecordNo, StoredRecord};
use crate::time::Timestamp;

/// A generation's payload as stored: a sixteenth of the outbox, within these.
const PAYLOAD_BYTES_MIN: u64 = 1024 * 1024;
const PAYLOAD_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A generation is full as well when it takes this many times its payload on disk: many tiny commits do that.
const DISK_PER_PAYLOAD_MAX: u64 = 3;

/// The cursor is persisted at most this often, in milliseconds, unless something depends on it.
const CURSOR_EVERY_MS: u64 = 1000;

/// Where it is noted what an outbox may take, if nobody has said.
const SIZE: &str = "size";

/// An open outbox.
#[derive(Debug)]
pub(super) struct Outbox {
    dir: PathBuf,
    bounds: Bounds,
    bytes_max: u64,
    cursor: CursorFile,
    cursor_written: Timestamp,
    beyond: BeyondFile,
    done: Done,
    /// The last record that was given to it, ever, as far as is known.
    last: RecordNo,
    /// Oldest first. All but the last one are sealed.
    generations: VecDeque<Generation>,
    /// The number of the generation that is read from.
    reading: Option<u64>,
    next_number: u64,
    /// Set aside, oldest first, with the bytes on disk.
    quarantined: VecDeque<(PathBuf, u64)>,
    damage: Damage,
    /// Generations that were set aside since the start.
    set_aside: u64,
    /// Dropped and not told yet.
    dropped: Option<Dropped>,
    /// Records behind the cursor, or a few more; counted only where they have a bound.
    waiting: u64,
    /// When the records' age was last looked at.
    aged_at: Option<Timestamp>,
    alarm: Alarm,
}

impl Outbox {
    /// Opens or makes the outbox in `dir`.
    ///
    /// # Errors
    /// [`StoreError::Io`]. Damage is no error.
    pub(super) fn open(
        dir: &Path,
        bounds: Bounds,
        bytes_default: u64,
        now: Timestamp,
    ) -> Result<(Self, OutboxState), StoreError> {
        sync::create_dir(dir)?;
        let cursor = CursorFile::open(dir)?;
        let beyond = BeyondFile::open(dir)?;
        let mut done = Done { acked: cursor.persisted.acked, ..Done::default() };
        done.add(&beyond.persisted);
        // Numbers that were done out of turn must not be given again, even if no record had to be written under them.
        let last = beyond.persisted.last().unwrap_or_default().max(done.acked);
        let bytes_max = match bounds.bytes_max {
            Some(bytes) => bytes,
            None => first_size(dir, bytes_default)?,
        };
        let mut outbox = Self {
            dir: dir.to_owned(),
            bounds,
            bytes_max,
            cursor,
            cursor_written: now,
            beyond,
            done,
            last,
            generations: VecDeque::new(),
            reading: None,
            next_number: 1,
            quarantined: VecDeque::new(),
            damage: Damage::default(),
            set_aside: 0,
            dropped: None,
            waiting: 0,
            aged_at: None,
            alarm: Alarm::None,
        };
        outbox.find_generations(now)?;
        outbox.remove_drained(now)?;
        let backlog = outbox.backlog(now)?;
        outbox.waiting = backlog.records;
        outbox.close_unused();
        outbox.look_at_alarm();
        let state = OutboxState {
            acked: outbox.done.acked,
            beyond: outbox.done.beyond.clone(),
            last: outbox.last,
            records: backlog.records,
            bytes: backlog.bytes,
            oldest: backlog.oldest,
            damaged_segments: outbox.damage.segments,
            damaged_records: outbox.damage.records,
        };
        Ok((outbox, state))
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Looks at what is on disk, newest first: a later generation tells where an earlier one without a summary ends.
    fn find_generations(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let mut numbers = Vec::new();
        let mut summaries = Vec::new();
        for name in sync::names(&self.dir)? {
            let path = self.dir.join(&name);
            match parse_name(&name) {
                Named::Generation(number) => numbers.push(number),
                Named::Summary(number) => summaries.push((number, path)),
                Named::Trash => sync::remove(&path)?,
                Named::Quarantine => self.quarantined.push_back((path.clone(), sync::disk_bytes(&path))),
                Named::Other => {}
            }
        }
        for (number, path) in summaries {
            if !numbers.contains(&number) {
                self.note_missing(number);
                sync::remove(&path)?;
            }
        }
        numbers.sort_unstable();
        let watermark = self.cursor.persisted;
        // A number is not used again while the cursor still speaks of it.
        let used = numbers.last().copied().unwrap_or(0).max(watermark.generation);
        self.next_number = used.saturating_add(1);
        let mut newer_first = None;
        for (index, number) in numbers.iter().rev().enumerate() {
            let (mut generation, summary) = Generation::found(&self.dir, *number);
            if let Some(first) = newer_first {
                generation.end_at(first);
            }
            if watermark.generation == *number {
                generation.told_at_least(watermark.last, watermark.records, watermark.segments);
            }
            if !matches!(summary, Summary::Sealed(_))
                && !self.look_into(&mut generation, summary, index == 0, now)?
            {
                continue;
            }
            if generation.tally.first > RecordNo(0) {
                newer_first = Some(generation.tally.first);
            }
            self.last = self.last.max(generation.tally.last);
            self.generations.push_front(generation);
        }
        Ok(())
    }

    /// A summary whose generation is not there: it was being deleted, or it is lost.
    fn note_missing(&mut self, number: u64) {
        let (generation, _) = Generation::found(&self.dir, number);
        if !self.done.covers(generation.tally.first, generation.tally.last) {
            self.last = self.last.max(generation.tally.last);
            self.note(generation.whole(&self.done), &generation);
        }
    }

    /// Opens a generation that doesn't say what is in it. Whether it is to be used.
    fn look_into(
        &mut self,
        generation: &mut Generation,
        summary: Summary,
        newest: bool,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        match generation.open() {
            Ok(damage) => self.note(damage, generation),
            Err(Trouble::Unavailable(error)) => return Err(error),
            Err(Trouble::Damaged(what)) if summary == Summary::Missing => {
                // Most likely its creation was cut short; but what we don't know we don't delete.
                tracing::warn!(path = %generation.path().display(), what, "a generation of the outbox is incomplete");
                generation.quarantine(now)?;
                return Ok(false);
            }
            Err(Trouble::Damaged(what)) => {
                self.set_aside(generation, &what, now);
                return Ok(false);
            }
        }
        if generation.tally.records == 0 && summary == Summary::Missing {
            // Its creation was cut short: nobody was told that anything is in it.
            generation.remove()?;
            return Ok(false);
        }
        if !newest {
            generation.close();
            if let Err(error) = generation.seal() {
                tracing::warn!(%error, "a generation has no summary");
            }
        }
        Ok(true)
    }

    /// Writes records and syncs them.
    ///
    /// # Errors
    /// [`StoreError`]: none of them is promised.
    pub(super) fn commit(
        &mut self,
        records: &[StoredRecord],
        now: Timestamp,
        vouched: bool,
    ) -> Result<Option<Dropped>, StoreError> {
        let Some(newest_no) = records.last().map(|record| record.no) else { return Ok(self.dropped.take()) };
        let mut last =
            self.generations.iter().map(|generation| generation.tally.last).max().unwrap_or_default();
        for record in records {
            if record.no <= last {
                return Err(StoreError::OutOfOrder { given: record.no, last });
            }
            last = record.no;
        }
        let bytes: usize = records.iter().map(|record| record.bytes.len()).sum();
        if vouched {
            self.expire(now)?;
        }
        self.refuse_records(now)?;
        self.make_room(u64::try_from(bytes).unwrap_or(u64::MAX), now)?;
        self.ready_newest(now)?;
        let Some(newest) = self.generations.back_mut() else { return Ok(None) };
        match newest.append(records, now, vouched) {
            Ok(()) => {}
            Err(Trouble::Unavailable(error)) => {
                newest.abandon();
                return Err(error);
            }
            Err(Trouble::Damaged(what)) => return Err(self.lose_newest(what, now)),
        }
        self.last = self.last.max(newest_no);
        self.waiting = self.waiting.saturating_add(u64::try_from(records.len()).unwrap_or(u64::MAX));
        // The records are safe: what can't be dropped now is no reason to say otherwise.
        if let Err(error) = self.make_room(0, now).and_then(|()| self.limit_records(now)) {
            tracing::warn!(%error, "the outbox takes more than it may, and nothing can be dropped");
        }
        self.look_at_alarm();
        Ok(self.dropped.take())
    }

    /// Makes sure that the newest generation can be written to: there is one, it is open, and it isn't full.
    fn ready_newest(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let full = self.bytes_max.div_euclid(16).clamp(PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX);
        if let Some(newest) = self.generations.back_mut().filter(|newest| !newest.sealed) {
            if newest.tally.stored < full && newest.disk_bytes() < full.saturating_mul(DISK_PER_PAYLOAD_MAX) {
                let opened = newest.open();
                let is_sound = newest.is_sound();
                match opened {
                    Ok(damage) => self.note_newest(damage),
                    Err(Trouble::Unavailable(error)) => return Err(error),
                    Err(Trouble::Damaged(what)) => return Err(self.lose_newest(what, now)),
                }
                if is_sound {
                    return Ok(());
                }
            }
            // Full; or damaged: what sled makes of new records in a damaged database is not to be relied on.
            if let Some(newest) = self.generations.back_mut() {
                newest.seal()?;
            }
        }
        match Generation::create(&self.dir, self.next_number) {
            Ok(generation) => {
                self.next_number = self.next_number.saturating_add(1);
                self.generations.push_back(generation);
                self.close_unused();
                Ok(())
            }
            Err(Trouble::Unavailable(error)) => Err(error),
            Err(Trouble::Damaged(what)) => Err(StoreError::Io {
                doing: "create a database in",
                path: self.dir.clone(),
                source: std::io::Error::other(what),
            }),
        }
    }

    /// Records from `from` on, in order, about `bytes_max` bytes of them.
    ///
    /// # Errors
    /// [`StoreError::Io`]. What is damaged is set aside, counted, and passed over.
    pub(super) fn read(
        &mut self,
        from: RecordNo,
        bytes_max: usize,
        now: Timestamp,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let (mut out, mut next, mut room) = (Vec::new(), from, bytes_max.max(1));
        let mut index = 0;
        while room > 0 {
            if let Some((_, last)) = self.done.beyond.around(next.0) {
                next = RecordNo(last).next();
            }
            let Some(generation) = self.generations.get_mut(index) else { break };
            if generation.tally.records == 0 || generation.tally.last < next {
                index += 1;
                continue;
            }
            let number = generation.number;
            let opened = generation.open();
            let read = opened.and_then(|damage| {
                let skip = generation.read(next, &self.done.beyond, &mut room, &mut out)?;
                Ok((damage, skip))
            });
            next = out.last().map_or(next, |record: &StoredRecord| record.no.next().max(next));
            match read {
                Ok((damage, skip)) => {
                    self.reading = Some(number);
                    self.note_at(damage, index);
                    match skip {
                        Some(further) => next = next.max(further),
                        None => index += 1,
                    }
                }
                Err(Trouble::Unavailable(error)) if out.is_empty() => return Err(error),
                Err(Trouble::Unavailable(_)) => break,
                Err(Trouble::Damaged(what)) => self.lose(index, &what, now),
            }
        }
        self.close_unused();
        Ok(out)
    }

    /// Moves the cursor, and notes what is done behind it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn ack(
        &mut self,
        up_to: RecordNo,
        beyond: &Ranges,
        now: Timestamp,
        sync: bool,
    ) -> Result<(), StoreError> {
        self.done.up_to(up_to);
        self.done.add(beyond);
        let since = now.as_millis().abs_diff(self.cursor_written.as_millis());
        if sync || since >= CURSOR_EVERY_MS {
            self.write_cursor(now)?;
        }
        self.remove_drained(now)?;
        self.count_again(now);
        Ok(())
    }

    fn write_cursor(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let mut cursor = Cursor { acked: self.done.acked, ..Cursor::default() };
        if let Some(newest) = self.generations.back().filter(|newest| !newest.sealed) {
            cursor.generation = newest.number;
            cursor.last = newest.tally.last;
            cursor.records = newest.tally.records;
            cursor.segments = newest.tally.segments;
        }
        // In this order: what the cursor has come to cover leaves the other file after that.
        self.cursor.write(cursor)?;
        self.beyond.write(&self.dir, &self.done.beyond)?;
        self.cursor_written = now;
        Ok(())
    }

    /// Records behind the cursor.
    fn backlog(&mut self, now: Timestamp) -> Result<Backlog, StoreError> {
        let mut backlog = Backlog::default();
        let mut index = 0;
        while let Some(generation) = self.generations.get_mut(index) {
            let opened = if generation.tally.first <= self.done.acked {
                generation.open()
            } else {
                Ok(Damage::default())
            };
            match opened.and_then(|damage| generation.behind(&self.done).map(|behind| (damage, behind))) {
                Ok((damage, behind)) => {
                    self.note_at(damage, index);
                    backlog.add(behind);
                    index += 1;
                }
                Err(Trouble::Unavailable(error)) => return Err(error),
                Err(Trouble::Damaged(what)) => self.lose(index, &what, now),
            }
        }
        Ok(backlog)
    }

    /// Closes all but what is written and what is read.
    fn close_unused(&mut self) {
        let newest = self.generations.back().map(|newest| newest.number);
        for generation in &mut self.generations {
            let used = newest == Some(generation.number) || self.reading == Some(generation.number);
            if generation.is_open() && !used {
                generation.close();
            }
        }
    }
}

/// What an outbox may take whose config doesn't say: found when it is first opened, then kept.
fn first_size(dir: &Path, most: u64) -> Result<u64, StoreError> {
    if let Some((_, value)) = SlotFile::open(dir, SIZE)?
        && let Some(bytes) = Reader(&value).u64().filter(|bytes| *bytes > 0)
    {
        return Ok(bytes.min(most));
    }
    let free = Space::of(dir).map_or(u64::MAX, |space| space.free);
    let bytes = bounds::default_bytes(most, free);
    SlotFile::create(dir, SIZE, &bytes.to_be_bytes())?;
    Ok(bytes)
}

impl Drop for Outbox {
    /// A clean stop leaves an exact cursor; after any other end an older one is fine.
    fn drop(&mut self) {
        if let Err(error) = self.write_cursor(self.cursor_written) {
            tracing::warn!(%error, "the outbox's cursor could not be written at the end");
        }
    }
}
