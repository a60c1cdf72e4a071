//! What a generation holds, without changing it: counted, searched and read from its begin.

use std::ops::ControlFlow;

use super::Generation;
use crate::ranges::Ranges;
use crate::record::{RecordNo, StoredRecord};
use crate::store::done::Done;
use crate::store::error::Trouble;
use crate::store::segment;
use crate::store::walk::{Damage, Walk, Walked};
use crate::time::Timestamp;

impl Generation {
    /// How many records it holds that are not done; where none is done out of turn, without unpacking more than one
    /// segment.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(in crate::store) fn waiting(&mut self, done: &Done) -> Result<u64, Trouble> {
        let acked = done.acked;
        if done.beyond.overlaps(self.tally.first.0, self.tally.last.0) {
            return self.behind(done).map(|backlog| backlog.records);
        }
        if self.tally.last <= acked {
            return Ok(0);
        }
        if self.tally.first > acked {
            return Ok(self.live.records);
        }
        self.open()?;
        let start = self.seek(acked.next())?;
        let mut done = 0;
        let mut walk = Walk::from_segment(start);
        self.db()?.for_each_from(start, |key, stored| {
            if let Ok(head) = segment::head(stored) {
                done = head.before;
                let _ = walk.segment(key, stored, &mut |walked| {
                    done = done.saturating_add(u64::from(walked.record.no <= acked));
                    ControlFlow::Continue(())
                });
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(self.live.records.saturating_sub(done))
    }

    /// The last record from `from` on that was surely committed before `cutoff`, and whether those behind it may have
    /// been as well.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(in crate::store) fn last_before(
        &mut self,
        from: RecordNo,
        cutoff: Timestamp,
    ) -> Result<(Option<RecordNo>, bool), Trouble> {
        self.open()?;
        let start = self.seek(from)?;
        let (mut last, mut more) = (None, true);
        let end = self.end;
        self.db()?.for_each_from(start, |_, stored| {
            let Ok(head) = segment::head(stored) else { return ControlFlow::Continue(()) };
            if head.last >= end || head.vouched && head.committed_at >= cutoff {
                more = false;
                return ControlFlow::Break(());
            }
            if head.vouched {
                last = Some(head.last);
            }
            ControlFlow::Continue(())
        })?;
        Ok((last, more))
    }

    /// Shows its records from `from` on, in order, until `visit` breaks.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(in crate::store) fn walk(
        &mut self,
        from: RecordNo,
        mut visit: impl FnMut(&Walked) -> ControlFlow<()>,
    ) -> Result<(), Trouble> {
        let start = self.seek(from)?;
        let end = self.end;
        let mut walk = Walk::from_segment(start);
        self.db()?.for_each_from(start, |key, stored| {
            walk.segment(key, stored, &mut |walked| {
                if walked.record.no < from || walked.record.no >= end {
                    return ControlFlow::Continue(());
                }
                visit(&walked)
            })
        })
    }

    /// What damage would take if it took the whole generation: records that are not done, as far as can be told
    /// without looking.
    pub(in crate::store) fn whole(&self, done: &Done) -> Damage {
        let behind = done.open_within(self.tally.first, self.tally.last);
        Damage {
            segments: self.tally.segments.saturating_sub(self.known.segments).max(1),
            records: self.live.records.max(self.tally.records.saturating_sub(self.known.records)).min(behind),
        }
    }

    /// Reads records from `from` on into `out`, until `room` bytes are used up, or it comes to some that are done out of
    /// turn: then it tells what follows them.
    ///
    /// # Errors
    /// [`Trouble`]: what was read so far is in `out`, and is good.
    pub(in crate::store) fn read(
        &mut self,
        from: RecordNo,
        beyond: &Ranges,
        room: &mut usize,
        out: &mut Vec<StoredRecord>,
    ) -> Result<Option<RecordNo>, Trouble> {
        let start = match self.hint {
            Some((no, segment_no)) if no.next() == from => segment_no,
            _ => self.seek(from)?,
        };
        let (mut next, end) = (from, self.end);
        let mut hint = self.hint;
        let mut skip = None;
        let mut walk = Walk::from_segment(start);
        let walked = self.db()?.for_each_from(start, |key, stored| {
            walk.segment(key, stored, &mut |walked| {
                let no = walked.record.no;
                if no < next || no >= end {
                    return ControlFlow::Continue(());
                }
                if let Some((_, last)) = beyond.around(no.0) {
                    skip = Some(RecordNo(last).next());
                    return ControlFlow::Break(());
                }
                next = no.next();
                hint = Some((no, walked.segment_no));
                *room = room.saturating_sub(walked.record.bytes.len().max(1));
                out.push(walked.record);
                if *room == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        });
        self.hint = hint;
        walked.map(|()| skip)
    }

    /// The first segment that may hold `from` or a later record.
    pub(super) fn seek(&mut self, from: RecordNo) -> Result<u64, Trouble> {
        let (mut low, mut high) = (1, self.next_segment);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut found = None;
            self.db()?.for_each_from(middle, |key, stored| match segment::head(stored) {
                Ok(head) => {
                    found = Some((key, head.last));
                    ControlFlow::Break(())
                }
                Err(_) => ControlFlow::Continue(()),
            })?;
            match found {
                Some((key, last)) if last < from => low = key.saturating_add(1),
                _ => high = middle,
            }
        }
        Ok(low)
    }
}
