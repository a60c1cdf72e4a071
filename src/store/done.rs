//! What of an outbox is done: everything up to the cursor, and what upstream acknowledged out of turn behind it. The
//! latter is kept beside the cursor, so that a crash while the newest go first doesn't bring it all again.

use std::path::Path;

use super::error::StoreError;
use super::segment::Reader;
use super::slot::{BLOCK_VALUE_BYTES_MAX, SlotFile};
use super::sync;
use crate::ranges::{Ranges, STORED_RANGES_MAX};
use crate::record::RecordNo;

const BEYOND: &str = "beyond";

const _: () = assert!(STORED_RANGES_MAX * 16 <= BLOCK_VALUE_BYTES_MAX, "the ranges fit into a slot");

/// What is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Everything up to here.
    pub acked: RecordNo,
    /// And these behind it.
    pub beyond: Ranges,
}

impl Done {
    /// Everything up to here is done, and what follows without a gap.
    pub(super) fn up_to(&mut self, no: RecordNo) {
        self.acked = self.acked.max(no);
        self.settle();
    }

    /// These are done as well.
    pub(super) fn add(&mut self, beyond: &Ranges) {
        self.beyond.add(beyond);
        self.settle();
    }

    fn settle(&mut self) {
        if self.beyond.is_empty() {
            return;
        }
        self.beyond.remove_up_to(self.acked.0);
        if let Some((_, last)) = self.beyond.around(self.acked.next().0) {
            self.acked = RecordNo(last);
            self.beyond.remove_up_to(last);
        }
    }

    /// Whether a record is done.
    pub(super) fn contains(&self, no: RecordNo) -> bool {
        no <= self.acked || self.beyond.contains(no.0)
    }

    /// Whether all of these are.
    pub(super) fn covers(&self, first: RecordNo, last: RecordNo) -> bool {
        last <= self.acked || self.beyond.covers(first.max(self.acked.next()).0, last.0)
    }

    /// Whether any of these is.
    pub(super) fn touches(&self, first: RecordNo, last: RecordNo) -> bool {
        first <= self.acked || self.beyond.overlaps(first.0, last.0)
    }

    /// How many of these numbers are not done, whether there are such records or not.
    pub(super) fn open_within(&self, first: RecordNo, last: RecordNo) -> u64 {
        let first = first.max(self.acked.next());
        let all = last.next().0.saturating_sub(first.0);
        all.saturating_sub(self.beyond.count_within(first.0, last.0))
    }
}

/// What is done behind the cursor, as persisted: at most [`STORED_RANGES_MAX`] ranges, the largest.
#[derive(Debug)]
pub(super) struct BeyondFile {
    file: Option<SlotFile>,
    /// As persisted.
    pub persisted: Ranges,
}

impl BeyondFile {
    /// What the file in `dir` says; nothing if there is none.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        if let Some((file, value)) = SlotFile::open_block(dir, BEYOND)? {
            return Ok(Self { file: Some(file), persisted: decode(&value) });
        }
        if dir.join(BEYOND).exists() {
            tracing::error!(dir = %dir.display(), "what was acknowledged out of turn is damaged; it is sent again");
        }
        Ok(Self { file: None, persisted: Ranges::default() })
    }

    /// Persists it, synced.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the old ones stay.
    pub(super) fn write(&mut self, dir: &Path, beyond: &Ranges) -> Result<(), StoreError> {
        let kept = beyond.largest(STORED_RANGES_MAX);
        if kept == self.persisted {
            return Ok(());
        }
        match &mut self.file {
            Some(file) => file.write(&encode(&kept))?,
            None => self.file = Some(SlotFile::create_block(dir, BEYOND, &encode(&kept))?),
        }
        self.persisted = kept;
        Ok(())
    }

    /// What the file takes on disk.
    pub(super) fn disk_bytes(dir: &Path) -> u64 {
        sync::disk_bytes(&dir.join(BEYOND))
    }
}

fn encode(ranges: &Ranges) -> Vec<u8> {
    ranges.iter().flat_map(|(first, last)| [first.to_be_bytes(), last.to_be_bytes()].concat()).collect()
}

fn decode(bytes: &[u8]) -> Ranges {
    let mut reader = Reader(bytes);
    let mut ranges = Ranges::default();
    while let (Some(first), Some(last)) = (reader.u64(), reader.u64()) {
        ranges.insert(first, last);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_cursor_without_a_gap_becomes_a_part_of_it() {
        let mut done = Done::default();
        done.add(&[(5, 9), (20, 30)].into_iter().collect());
        assert_eq!(done.acked, RecordNo(0));
        done.up_to(RecordNo(4));
        assert_eq!((done.acked, done.beyond.len()), (RecordNo(9), 1));
        assert!(done.contains(RecordNo(3)) && !done.contains(RecordNo(10)) && done.contains(RecordNo(25)));
        assert!(done.covers(RecordNo(1), RecordNo(9)) && done.covers(RecordNo(21), RecordNo(30)));
        assert!(!done.covers(RecordNo(9), RecordNo(20)) && !done.touches(RecordNo(10), RecordNo(19)));
        assert_eq!(done.open_within(RecordNo(1), RecordNo(40)), 10 + 10);
        done.add(&[(10, 19)].into_iter().collect());
        assert_eq!((done.acked, done.beyond.is_empty()), (RecordNo(30), true));
    }

    #[test]
    fn what_is_done_out_of_turn_comes_back_and_a_damaged_file_tells_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ranges: Ranges = (1..=300).map(|n| (n * 100, n * 100 + n)).collect();
        let mut file = BeyondFile::open(dir.path()).unwrap();
        assert!(file.persisted.is_empty());
        file.write(dir.path(), &Ranges::default()).unwrap();
        assert!(!dir.path().join(BEYOND).exists(), "who has none needs no file");
        file.write(dir.path(), &ranges).unwrap();
        let kept = BeyondFile::open(dir.path()).unwrap().persisted;
        assert_eq!(kept, ranges.largest(STORED_RANGES_MAX));
        file.write(dir.path(), &[(7, 8)].into_iter().collect()).unwrap();
        file.write(dir.path(), &[(7, 9)].into_iter().collect()).unwrap();
        assert_eq!(BeyondFile::open(dir.path()).unwrap().persisted, [(7, 9)].into_iter().collect());
        std::fs::write(dir.path().join(BEYOND), [0; 8192]).unwrap();
        let mut file = BeyondFile::open(dir.path()).unwrap();
        assert!(file.persisted.is_empty());
        file.write(dir.path(), &[(1, 2)].into_iter().collect()).unwrap();
        assert_eq!(BeyondFile::open(dir.path()).unwrap().persisted, [(1, 2)].into_iter().collect());
    }
}
