//! What leaves an outbox from its old end without having been acknowledged: too many, too old, purged by a person.
//! Each is counted, record by record; whole generations that must go for their bytes are the outbox's own concern.

use std::ops::ControlFlow;

use super::{Outbox, first_size};
use crate::record::RecordNo;
use crate::store::Dropped;
use crate::store::bounds::{AGE_CHECK_MS_MAX, Alarm, Bounds, Full, percent};
use crate::store::error::{StoreError, Trouble};
use crate::store::generation::Backlog;
use crate::store::walk::Walked;
use crate::time::Timestamp;

/// Why records were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// There was no room for them.
    Full,
    /// They were too old.
    Expired,
    /// A person wanted it.
    Purged,
}

impl Outbox {
    /// Goes by other bounds from the next commit on. `bytes_default`: what they come to where they say nothing of bytes.
    pub(in crate::store) fn set_bounds(
        &mut self,
        bounds: Bounds,
        bytes_default: u64,
    ) -> Result<(), StoreError> {
        self.bytes_max = match bounds.bytes_max {
            Some(bytes) => bytes,
            None => first_size(&self.dir, bytes_default)?,
        };
        self.bounds = bounds;
        // Age is looked at once more, by the new bound.
        self.aged_at = None;
        self.look_at_alarm();
        Ok(())
    }

    /// Refuses a commit where the bound of records is reached and the old ones are to be kept. The commit that reaches
    /// it is taken whole.
    pub(super) fn refuse_records(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let max = self.bounds.records_max.filter(|_| self.bounds.full == Full::Refuse);
        match max {
            Some(max) if self.count_near(max, now)? >= max => {
                Err(StoreError::Full { holds: self.waiting, max, unit: "records" })
            }
            _ => Ok(()),
        }
    }

    /// Drops the oldest records beyond the bound.
    pub(super) fn limit_records(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let Some(max) = self.bounds.records_max.filter(|_| self.bounds.full == Full::DropOldest) else {
            return Ok(());
        };
        let mut left = self.count_near(max, now)?.saturating_sub(max);
        if left == 0 {
            return Ok(());
        }
        let gone = self.pass(now, |_| {
            let takes = left > 0;
            left = left.saturating_sub(1);
            takes
        })?;
        self.waiting = self.waiting.saturating_sub(gone.records);
        self.drop_noted(gone, Why::Full);
        Ok(())
    }

    /// Records behind the cursor; a few more than there are, as long as that is below `max`. Only near the bound it is
    /// worth a look at how much of the oldest generation is done already.
    fn count_near(&mut self, max: u64, now: Timestamp) -> Result<u64, StoreError> {
        let live = self.generations.iter().filter(|generation| generation.tally.last > self.done.acked);
        self.waiting = live.fold(0, |sum: u64, generation| sum.saturating_add(generation.records()));
        if self.waiting >= max {
            self.waiting = self.count_waiting(now)?;
        }
        Ok(self.waiting)
    }

    /// Records behind the cursor, as far as damage allows to tell.
    fn count_waiting(&mut self, now: Timestamp) -> Result<u64, StoreError> {
        let (mut sum, mut index) = (0_u64, 0);
        while let Some(generation) = self.generations.get_mut(index) {
            match generation.waiting(&self.done) {
                Ok(waiting) => sum = sum.saturating_add(waiting),
                Err(Trouble::Unavailable(error)) => return Err(error),
                Err(Trouble::Damaged(what)) => {
                    self.lose(index, &what, now);
                    continue;
                }
            }
            index += 1;
        }
        Ok(sum)
    }

    /// After an acknowledgement: what waits, where that has a bound, and what people are to know of it.
    pub(super) fn count_again(&mut self, now: Timestamp) {
        if self.bounds.records_max.is_some()
            && let Ok(waiting) = self.count_waiting(now)
        {
            self.waiting = waiting;
        }
        self.look_at_alarm();
    }

    /// Drops what is older than it may be. Records that were committed while nobody vouched for the clock have no age
    /// of their own; they go with the first later one that has.
    pub(super) fn expire(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let Some(age_max) = self.bounds.age_max else { return Ok(()) };
        let every = u64::try_from(age_max.as_millis() / 10).unwrap_or(u64::MAX).min(AGE_CHECK_MS_MAX);
        if self.aged_at.is_some_and(|at| now.as_millis().abs_diff(at.as_millis()) < every) {
            return Ok(());
        }
        self.aged_at = Some(now);
        let cutoff = now.minus(age_max);
        let mut limit = None;
        let mut index = 0;
        while let Some(generation) = self.generations.get_mut(index) {
            if generation.tally.last <= self.done.acked {
                index += 1;
                continue;
            }
            match generation.last_before(self.done.acked.next(), cutoff) {
                Ok((last, more)) => {
                    limit = limit.max(last);
                    index += 1;
                    if !more {
                        break;
                    }
                }
                Err(Trouble::Unavailable(error)) => return Err(error),
                Err(Trouble::Damaged(what)) => self.lose(index, &what, now),
            }
        }
        if let Some(limit) = limit {
            let gone = self.pass(now, |walked| walked.record.no <= limit)?;
            self.drop_noted(gone, Why::Expired);
        }
        Ok(())
    }

    /// Gives up all records, or those that were committed before a point in time, up to the first that wasn't.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(in crate::store) fn purge(
        &mut self,
        before: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<Dropped>, StoreError> {
        let gone = match before {
            Some(before) => self.pass(now, |walked| walked.committed_at < before)?,
            None => {
                let backlog = self.backlog(now)?;
                if let Some(newest) = self.generations.back() {
                    self.done.up_to(newest.tally.last);
                }
                self.write_cursor(now)?;
                self.remove_drained(now)?;
                backlog
            }
        };
        self.drop_noted(gone, Why::Purged);
        self.count_again(now);
        Ok(self.dropped.take())
    }

    /// Moves the cursor over the records behind it, as long as `takes` says so. Gives what was passed.
    fn pass(
        &mut self,
        now: Timestamp,
        mut takes: impl FnMut(&Walked) -> bool,
    ) -> Result<Backlog, StoreError> {
        let mut passed = Backlog::default();
        let mut up_to = self.done.acked;
        let done_before = self.done.clone();
        let mut index = 0;
        let mut done = false;
        while let Some(generation) = self.generations.get_mut(index).filter(|_| !done) {
            if generation.tally.last <= up_to {
                index += 1;
                continue;
            }
            let opened = generation.open();
            let walked = opened.and_then(|damage| {
                generation.walk(up_to.next(), |walked| {
                    if done_before.contains(walked.record.no) {
                        up_to = walked.record.no;
                        return ControlFlow::Continue(());
                    }
                    if !takes(walked) {
                        done = true;
                        return ControlFlow::Break(());
                    }
                    passed.count(walked.record.bytes.len(), walked.committed_at);
                    up_to = walked.record.no;
                    ControlFlow::Continue(())
                })?;
                Ok(damage)
            });
            match walked {
                Ok(damage) => {
                    self.note_at(damage, index);
                    index += 1;
                }
                Err(Trouble::Unavailable(error)) if passed.records == 0 => return Err(error),
                Err(Trouble::Unavailable(_)) => break,
                Err(Trouble::Damaged(what)) => self.lose(index, &what, now),
            }
        }
        if passed.records > 0 {
            self.done.up_to(up_to);
            self.write_cursor(now)?;
            self.remove_drained(now)?;
        }
        self.close_unused();
        Ok(passed)
    }

    fn drop_noted(&mut self, gone: Backlog, why: Why) {
        self.note_dropped(self.done.acked, gone, why);
    }

    /// Counts what was dropped, to be told with the next answer.
    pub(super) fn note_dropped(&mut self, up_to: RecordNo, gone: Backlog, why: Why) {
        if gone.records == 0 {
            return;
        }
        let dropped = self.dropped.get_or_insert_default();
        dropped.up_to = dropped.up_to.max(up_to);
        dropped.records = dropped.records.saturating_add(gone.records);
        dropped.bytes = dropped.bytes.saturating_add(gone.bytes);
        match why {
            Why::Full => {}
            Why::Expired => dropped.expired = dropped.expired.saturating_add(gone.records),
            Why::Purged => dropped.purged = dropped.purged.saturating_add(gone.records),
        }
    }

    /// Tells people when the outbox has become so full that they might want to do something, and when it no longer is.
    pub(super) fn look_at_alarm(&mut self) {
        let alarm = self.alarm.step(self.fill_percent());
        let before = std::mem::replace(&mut self.alarm, alarm);
        let percent = self.fill_percent();
        let outbox = self.dir.display();
        match alarm {
            _ if alarm == before => {}
            Alarm::None => tracing::info!(percent, %outbox, "the outbox has room again"),
            _ if alarm < before => tracing::info!(percent, %outbox, "the outbox is less full"),
            Alarm::High | Alarm::Critical => tracing::warn!(percent, %outbox, "the outbox is getting full"),
        }
    }

    /// How full it is: of its bytes or of its records, whichever is more.
    pub(super) fn fill_percent(&self) -> u64 {
        let bytes = percent(self.disk_bytes(), self.bytes_max);
        let records = self.bounds.records_max.map_or(0, |max| percent(self.waiting, max));
        bytes.max(records)
    }
}
