//! An outbox whose newest records go first: read from its end, its generations deleted as they are done, wherever they
//! stand in the series.

use super::Outbox;
use crate::record::{RecordNo, StoredRecord};
use crate::store::error::{StoreError, Trouble};
use crate::time::Timestamp;

impl Outbox {
    /// Records below `before` that are not done, the newest first, about `bytes_max` bytes of them.
    ///
    /// # Errors
    /// [`StoreError::Io`]. What is damaged is set aside, counted, and passed over.
    pub(in crate::store) fn read_back(
        &mut self,
        mut before: RecordNo,
        bytes_max: usize,
        now: Timestamp,
    ) -> Result<Vec<StoredRecord>, StoreError> {
        let (mut out, mut room) = (Vec::new(), bytes_max.max(1));
        while room > 0 && before.0 > self.done.acked.next().0 {
            if let Some((first, _)) = self.done.beyond.around(before.0 - 1) {
                before = RecordNo(first);
                continue;
            }
            let below = |generation: &super::Generation| {
                generation.tally.records > 0 && generation.tally.first < before
            };
            let Some(index) = self.generations.iter().rposition(below) else { break };
            let Some(generation) = self.generations.get_mut(index) else { break };
            let number = generation.number;
            let opened = generation.open();
            let read = opened.and_then(|damage| {
                let rest = generation.read_back(before, &self.done, &mut room, &mut out)?;
                Ok((damage, rest))
            });
            match read {
                Ok((damage, rest)) => {
                    before = rest.max(RecordNo(1));
                    self.reading = Some(number);
                    self.note_at(damage, index);
                }
                Err(Trouble::Unavailable(error)) if out.is_empty() => return Err(error),
                Err(Trouble::Unavailable(_)) => break,
                Err(Trouble::Damaged(what)) => {
                    before = out.last().map_or(before, |record: &StoredRecord| record.no);
                    self.lose(index, &what, now);
                }
            }
        }
        self.close_unused();
        Ok(out)
    }

    /// Deletes generations behind the cursor whose records are all done; the newest, which may be written to, stays.
    pub(super) fn remove_done_beyond(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.done.beyond.is_empty() {
            return Ok(());
        }
        let mut index = 0;
        while index + 1 < self.generations.len() {
            let Some(generation) = self.generations.get_mut(index) else { break };
            let (first, last) = (generation.tally.first, generation.tally.last);
            if generation.tally.records == 0 || !self.done.covers(first, last) {
                index += 1;
                continue;
            }
            if !self.beyond.persisted.covers(first.0, last.0) {
                self.write_cursor(now)?;
            }
            if let Some(generation) = self.generations.get_mut(index) {
                generation.remove()?;
            }
            self.generations.remove(index);
        }
        Ok(())
    }
}
