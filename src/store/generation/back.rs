//! A generation that is read from its end: segment by segment backwards, each of them unpacked forwards.

use std::ops::ControlFlow;

use super::Generation;
use crate::record::{RecordNo, StoredRecord};
use crate::store::done::Done;
use crate::store::error::Trouble;
use crate::store::segment;
use crate::store::walk::Walk;

impl Generation {
    /// Reads records below `before` into `out`, the newest first, until `room` bytes are used up or it comes to one that
    /// is done. Gives the number below which there may be more.
    ///
    /// # Errors
    /// [`Trouble`]: what was read so far is in `out`, and is good.
    pub(in crate::store) fn read_back(
        &mut self,
        before: RecordNo,
        done: &Done,
        room: &mut usize,
        out: &mut Vec<StoredRecord>,
    ) -> Result<RecordNo, Trouble> {
        let mut segment = match self.back_hint.take() {
            Some((no, segment)) if no == before => segment,
            _ => self.seek(before)?,
        };
        let mut before = before.min(self.end);
        while let Some(start) = self.begin_of(segment)? {
            let mut found = Vec::new();
            let mut walk = Walk::from_segment(start);
            self.db()?.for_each_from(start, |key, stored| {
                if key > segment {
                    return ControlFlow::Break(());
                }
                walk.segment(key, stored, &mut |walked| {
                    if walked.record.no < before {
                        found.push(walked.record);
                    }
                    ControlFlow::Continue(())
                })
            })?;
            for record in found.into_iter().rev() {
                if done.contains(record.no) {
                    return Ok(record.no.next());
                }
                before = record.no;
                *room = room.saturating_sub(record.bytes.len().max(1));
                out.push(record);
                if *room == 0 {
                    self.back_hint = Some((before, segment));
                    return Ok(before);
                }
            }
            segment = start.saturating_sub(1);
        }
        Ok(self.tally.first)
    }

    /// Where the record begins that ends in this segment or in the last good one before it; a segment of several
    /// records is a beginning itself.
    fn begin_of(&mut self, segment: u64) -> Result<Option<u64>, Trouble> {
        let mut begin = None;
        self.db()?.for_each_back(segment, |key, stored| match segment::head(stored) {
            Ok(head) => {
                begin = Some(key.saturating_sub(u64::from(head.chunk)).max(1));
                ControlFlow::Break(())
            }
            Err(_) => ControlFlow::Continue(()),
        })?;
        Ok(begin)
    }
}
