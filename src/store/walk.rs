//! Walks over a generation's segments in order: gives their records, puts cut records together again, and counts
//! what is missing. Pure: segments are shown to it, wherever they come from.

use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};

use super::segment::Segment;
use crate::record::{RecordNo, StoredRecord};
use crate::time::Timestamp;

/// What damage took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Segments that are gone or unreadable.
    pub segments: u64,
    /// Records that were lost with them, as far as can be told.
    pub records: u64,
}

impl Damage {
    /// Adds another's counts to these.
    pub(super) fn add(&mut self, other: Self) {
        self.segments = self.segments.saturating_add(other.segments);
        self.records = self.records.saturating_add(other.records);
    }

    /// Whether nothing was lost.
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A record on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walked {
    /// The record.
    pub record: StoredRecord,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// The segment that it begins in: where to look for it again.
    pub segment_no: u64,
}

/// The state of a walk.
#[derive(Debug)]
pub(super) struct Walk {
    /// The segment that should come next.
    pub next_segment: u64,
    /// Records that the segments so far say there were, up to here. `None` until the first good one of a walk that
    /// begins in the middle.
    pub seen: Option<u64>,
    /// What is missing so far.
    pub damage: Damage,
    partial: Option<Partial>,
}

/// The chunks of a record whose end is still to come.
#[derive(Debug)]
struct Partial {
    no: RecordNo,
    first_segment: u64,
    next_chunk: u32,
    chunks: u32,
    bytes: BytesMut,
}

impl Walk {
    /// A walk from a generation's beginning.
    pub(super) fn from_start() -> Self {
        Self { next_segment: 1, seen: Some(0), damage: Damage::default(), partial: None }
    }

    /// A walk from the middle: what is missing before is not its concern.
    pub(super) fn from_segment(segment_no: u64) -> Self {
        Self { next_segment: segment_no, seen: None, damage: Damage::default(), partial: None }
    }

    /// Shows it the next segment that there is. `out` gets each record that ends in it and may break off, which
    /// ends the walk.
    pub(super) fn segment(
        &mut self,
        key: u64,
        stored: &[u8],
        out: &mut impl FnMut(Walked) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if key > self.next_segment {
            self.damage.segments = self.damage.segments.saturating_add(key - self.next_segment);
            self.partial = None;
        }
        self.next_segment = key.saturating_add(1);
        let decoded = Segment::decode(stored)
            .ok()
            .filter(|segment| segment.head.segment_no == key)
            .and_then(|segment| segment.records().ok().map(|records| (segment, records)));
        let Some((segment, records)) = decoded else {
            self.damage.segments = self.damage.segments.saturating_add(1);
            self.partial = None;
            return ControlFlow::Continue(());
        };
        let head = segment.head;
        let seen = self.seen.unwrap_or(head.before);
        self.damage.records = self.damage.records.saturating_add(head.before.saturating_sub(seen));
        self.seen = Some(seen.max(head.before).saturating_add(u64::from(head.count)));
        let committed_at = head.committed_at;
        if let Some(records) = records {
            self.partial = None;
            for record in records {
                out(Walked { record, committed_at, segment_no: key })?;
            }
            return ControlFlow::Continue(());
        }
        match self.chunk(key, &segment) {
            Some((record, segment_no)) => out(Walked { record, committed_at, segment_no }),
            None => ControlFlow::Continue(()),
        }
    }

    /// Takes a chunk; gives the record if it was the last one and none is missing.
    fn chunk(&mut self, key: u64, segment: &Segment) -> Option<(StoredRecord, u64)> {
        let head = segment.head;
        if head.chunk == 0 {
            self.partial = Some(Partial {
                no: head.first,
                first_segment: key,
                next_chunk: 0,
                chunks: head.chunks,
                bytes: BytesMut::new(),
            });
        }
        let fits = self.partial.as_ref().is_some_and(|partial| {
            partial.no == head.first && partial.next_chunk == head.chunk && partial.chunks == head.chunks
        });
        let is_last = head.chunk.checked_add(1) == Some(head.chunks);
        let Some(mut partial) = self.partial.take().filter(|_| fits) else {
            // The record counts where it ends; its end is here and its beginning is not.
            self.damage.records = self.damage.records.saturating_add(u64::from(is_last));
            return None;
        };
        partial.bytes.extend_from_slice(&segment.body);
        partial.next_chunk = partial.next_chunk.saturating_add(1);
        if is_last {
            let bytes: Bytes = partial.bytes.freeze();
            return Some((StoredRecord { no: partial.no, bytes }, partial.first_segment));
        }
        self.partial = Some(partial);
        None
    }

    /// Where a record begins whose end never came: a commit that was cut short, which nobody was told of.
    pub(super) fn open_end(&self) -> Option<u64> {
        self.partial.as_ref().map(|partial| partial.first_segment)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::as_conversions, reason = "tests")]

    use super::super::segment::{Packed, Packer};
    use super::*;

    /// 40 records of noise, every tenth of them cut over several segments.
    fn records() -> Vec<StoredRecord> {
        let mut rng = fastrand::Rng::with_seed(5);
        (1..=40_u64)
            .map(|no| {
                let len = if no.is_multiple_of(10) { 20_000 } else { 1000 };
                let bytes: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
                StoredRecord { no: RecordNo(no * 2), bytes: bytes.into() }
            })
            .collect()
    }

    fn walk<'a>(segments: impl Iterator<Item = (u64, &'a [u8])>) -> (Vec<StoredRecord>, Walk) {
        let mut walk = Walk::from_start();
        let mut out = Vec::new();
        for (key, stored) in segments {
            let _ = walk.segment(key, stored, &mut |walked| {
                out.push(walked.record);
                ControlFlow::Continue(())
            });
        }
        (out, walk)
    }

    fn packed(records: &[StoredRecord]) -> Vec<Packed> {
        Packer::new(records, 1, 0, Timestamp::default()).collect()
    }

    #[test]
    fn nothing_is_missing_from_what_is_whole() {
        let records = records();
        let packed = packed(&records);
        let (out, walk) = walk(packed.iter().map(|one| (one.segment_no, one.stored.as_slice())));
        assert_eq!(out, records);
        assert!(walk.damage.is_none());
        assert_eq!((walk.seen, walk.open_end()), (Some(40), None));
    }

    #[test]
    fn whichever_segments_are_lost_what_is_left_and_what_is_counted_make_the_whole() {
        let records = records();
        let packed = packed(&records);
        let mut rng = fastrand::Rng::with_seed(9);
        for _ in 0..500 {
            let lost: Vec<u64> = (0..rng.usize(1..6)).map(|_| rng.u64(1..packed.len() as u64)).collect();
            let torn: Vec<u64> = (0..rng.usize(0..3)).map(|_| rng.u64(1..packed.len() as u64)).collect();
            let mut kept = packed.clone();
            kept.retain(|one| !lost.contains(&one.segment_no));
            for one in &mut kept {
                if torn.contains(&one.segment_no) {
                    one.stored[70] ^= 1;
                }
            }
            let (out, walk) = walk(kept.iter().map(|one| (one.segment_no, one.stored.as_slice())));
            assert!(out.iter().all(|record| records.contains(record)));
            assert!(out.is_sorted_by(|a, b| a.no < b.no));
            assert_eq!(out.len() as u64 + walk.damage.records, 40, "lost {lost:?}, torn {torn:?}");
            let mut bad: Vec<u64> = lost.iter().chain(&torn).copied().collect();
            bad.sort_unstable();
            bad.dedup();
            assert_eq!(walk.damage.segments, bad.len() as u64);
        }
    }

    #[test]
    fn a_commit_that_was_cut_short_is_told_from_damage() {
        let records = records();
        let packed = packed(&records[..10]);
        let cut = &packed[..packed.len() - 1];
        let (out, walk) = walk(cut.iter().map(|one| (one.segment_no, one.stored.as_slice())));
        assert_eq!(out, records[..9]);
        assert!(walk.damage.is_none());
        // 20,000 bytes are three chunks, of which two are there.
        assert_eq!(walk.open_end(), Some(packed.len() as u64 - 2));
    }
}
