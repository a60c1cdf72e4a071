//! What is known of a generation without opening it: counted while it is written, kept beside it in a small file
//! once it is sealed, so that a truncated one is noticed. Doesn't look into databases.

use std::path::Path;

use super::error::StoreError;
use super::segment::{Reader, crc32c};
use super::sync;
use crate::record::RecordNo;
use crate::time::Timestamp;

const MAGIC_OPEN: u32 = 0x4647_474f;
const MAGIC_SEALED: u32 = 0x4647_4753;

/// What a generation holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Its first record.
    pub first: RecordNo,
    /// Its last record.
    pub last: RecordNo,
    /// Records.
    pub records: u64,
    /// Their bytes, as records.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Their bytes, as stored.
    pub stored: u64,
    /// When the first of them was committed.
    pub oldest: Timestamp,
}

impl Tally {
    /// Counts one record more.
    pub(super) fn count(&mut self, no: RecordNo, len: usize, committed_at: Timestamp) {
        if self.records == 0 {
            self.first = no;
            self.oldest = committed_at;
        }
        self.last = no;
        self.records = self.records.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }
}

/// What the file beside a generation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Summary {
    /// There is none: its creation was cut short, or the file was lost.
    Missing,
    /// It was being written to, or the file is damaged: only looking into the generation tells.
    Open,
    /// It is complete, and this is in it.
    Sealed(Tally),
}

/// The summary's file name for the generation called `name`.
pub(super) fn file_name(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

/// How summaries' names end.
pub(super) const SUFFIX: &str = ".summary";

/// Reads the summary of the generation `name` in `dir`.
pub(super) fn read(dir: &Path, name: &str) -> Summary {
    match std::fs::read(dir.join(file_name(name))) {
        Ok(bytes) => decode(&bytes).map_or(Summary::Open, Summary::Sealed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Summary::Missing,
        Err(_) => Summary::Open,
    }
}

/// Writes the summary of the generation `name` in `dir`; `None` while it is open. It stays once `dir` is synced.
///
/// # Errors
/// [`StoreError::Io`].
pub(super) fn write(dir: &Path, name: &str, tally: Option<&Tally>) -> Result<(), StoreError> {
    let content = tally.map_or_else(|| MAGIC_OPEN.to_be_bytes().to_vec(), encode);
    sync::replace_file(dir, &file_name(name), &content)
}

fn encode(tally: &Tally) -> Vec<u8> {
    let mut bytes = MAGIC_SEALED.to_be_bytes().to_vec();
    for number in [tally.first.0, tally.last.0, tally.records, tally.bytes, tally.segments, tally.stored] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(&tally.oldest.as_millis().to_be_bytes());
    let crc = crc32c(&[&bytes]);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Tally> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    let mut reader = Reader(content);
    if crc32c(&[content]) != u32::from_be_bytes(*crc) || reader.u32()? != MAGIC_SEALED {
        return None;
    }
    Some(Tally {
        first: RecordNo(reader.u64()?),
        last: RecordNo(reader.u64()?),
        records: reader.u64()?,
        bytes: reader.u64()?,
        segments: reader.u64()?,
        stored: reader.u64()?,
        oldest: Timestamp::from_millis(reader.i64()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_comes_back_and_a_damaged_one_tells_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut tally = Tally { segments: 2, stored: 300, ..Tally::default() };
        tally.count(RecordNo(4), 10, Timestamp::from_millis(70));
        tally.count(RecordNo(9), 20, Timestamp::from_millis(80));
        assert_eq!((tally.first, tally.last, tally.records, tally.bytes), (RecordNo(4), RecordNo(9), 2, 30));
        assert_eq!(tally.oldest, Timestamp::from_millis(70));
        assert_eq!(read(dir.path(), "g"), Summary::Missing);
        write(dir.path(), "g", None).unwrap();
        assert_eq!(read(dir.path(), "g"), Summary::Open);
        write(dir.path(), "g", Some(&tally)).unwrap();
        assert_eq!(read(dir.path(), "g"), Summary::Sealed(tally));
        let path = dir.path().join(file_name("g"));
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, bad).unwrap();
            assert_eq!(read(dir.path(), "g"), Summary::Open);
            std::fs::write(&path, &good[..at]).unwrap();
            assert_eq!(read(dir.path(), "g"), Summary::Open);
        }
    }
}
