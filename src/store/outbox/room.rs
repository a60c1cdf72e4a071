//! What an outbox deletes: generations that are drained, and the oldest ones where it is full.

use super::limits::Why;
use super::{Outbox, sync};
use crate::record::RecordNo;
use crate::store::bounds::Full;
use crate::store::error::{StoreError, Trouble};
use crate::store::generation::Backlog;
use crate::time::Timestamp;

/// sled's files grow in steps of this size. An outbox below the second number may exceed its bytes by one step where
/// it refuses rather than drops: a share of it that is worth more than the exactness.
const STEP_BYTES: u64 = 512 * 1024;
const STEPS_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// A drained generation larger than this is deleted even while it is the newest.
const KEPT_DRAINED_BYTES_MAX: u64 = 1024 * 1024;

impl Outbox {
    /// Deletes generations that hold nothing behind the cursor; the newest one only if it is worth it.
    pub(super) fn remove_drained(&mut self, now: Timestamp) -> Result<(), StoreError> {
        while let Some(oldest) = self.generations.front() {
            let newest_kept = self.generations.len() == 1
                && !oldest.sealed
                && oldest.disk_bytes() <= KEPT_DRAINED_BYTES_MAX;
            if oldest.tally.last > self.done.acked || newest_kept {
                break;
            }
            self.remove_oldest(now)?;
        }
        self.remove_done_beyond(now)
    }

    /// Deletes the oldest generation. The cursor is persisted before: it must never point into what is gone.
    pub(super) fn remove_oldest(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let last = self.generations.front().map_or(RecordNo(0), |oldest| oldest.tally.last);
        if self.cursor.persisted.acked < last {
            self.write_cursor(now)?;
        }
        if let Some(oldest) = self.generations.front_mut() {
            oldest.remove()?;
        }
        self.generations.pop_front();
        Ok(())
    }

    /// Keeps the outbox within its bytes with `coming` more of them: deletes what was set aside, then the oldest
    /// generations. If the newest is the only one, it goes too once a commit wants to write to it.
    pub(super) fn make_room(&mut self, coming: u64, now: Timestamp) -> Result<(), StoreError> {
        // Where nothing is dropped afterwards, a commit must not grow a file beyond the bound.
        let refuses = coming > 0 && self.bounds.full == Full::Refuse;
        let step = if refuses && self.bytes_max >= STEPS_BYTES_MIN { STEP_BYTES } else { 0 };
        while self.disk_bytes().saturating_add(coming).saturating_add(step) > self.bytes_max {
            if let Some((path, _)) = self.quarantined.front() {
                sync::remove(path)?;
                self.quarantined.pop_front();
                continue;
            }
            let only = self.generations.len() == 1;
            let Some(oldest) = self.generations.front_mut() else { break };
            // Until it takes half of the outbox, the only generation isn't what is too large.
            if only && (coming == 0 || oldest.disk_bytes() < self.bytes_max / 2) {
                break;
            }
            let is_drained = oldest.tally.last <= self.done.acked;
            if self.bounds.full == Full::Refuse && !is_drained {
                if coming == 0 {
                    break;
                }
                return Err(StoreError::Full {
                    holds: self.disk_bytes(),
                    max: self.bytes_max,
                    unit: "bytes",
                });
            }
            self.drop_oldest(now)?;
        }
        Ok(())
    }

    pub(super) fn drop_oldest(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let Some(oldest) = self.generations.front_mut() else { return Ok(()) };
        if !oldest.sealed {
            oldest.seal()?;
        }
        let up_to = oldest.tally.last;
        let lost = match oldest.behind(&self.done) {
            Ok(backlog) => backlog,
            Err(Trouble::Unavailable(error)) => return Err(error),
            Err(Trouble::Damaged(_)) => {
                Backlog { records: oldest.whole(&self.done).records, ..Backlog::default() }
            }
        };
        // What is gone needs no acknowledgement: the cursor passes it.
        self.done.up_to(up_to);
        self.remove_oldest(now)?;
        self.note_dropped(up_to, lost, Why::Full);
        Ok(())
    }
}
