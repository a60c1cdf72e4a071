//! What the store knows apart from records: its instance, the start counter, and each outbox's cursor. Small values
//! in slot files; records are not here.

use std::path::Path;

use super::error::StoreError;
use super::segment::Reader;
use super::slot::{SlotFile, VALUE_BYTES_MAX};
use super::sync;
use crate::reading::Run;
use crate::record::RecordNo;
use crate::time::Timestamp;

const META: &str = "meta";
const CURSOR: &str = "cursor";

const _: () = assert!(Cursor::BYTES <= VALUE_BYTES_MAX, "a cursor fits into a slot");

/// Which store this is, and which start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// This start's number.
    pub run: Run,
    /// 16 hex digits.
    pub instance: String,
}

impl Meta {
    /// Raises the start counter and syncs it, in both slots: whichever of them is damaged later, the other one has
    /// this number, so that no number is given twice.
    ///
    /// `used` tells whether the directory has held records before. If it has and the counter is lost, it goes on
    /// from the wall clock's seconds, which are above any count of starts, under a new instance.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn start(dir: &Path, used: bool, now: Timestamp) -> Result<Self, StoreError> {
        let found = SlotFile::open(dir, META)?.and_then(|(file, value)| {
            let mut reader = Reader(&value);
            Some((file, reader.u64()?, reader.u64()?))
        });
        let value = |instance: u64, run: u64| [instance.to_be_bytes(), run.to_be_bytes()].concat();
        let (instance, run) = if let Some((mut file, instance, last)) = found {
            let run = last.saturating_add(1);
            file.write(&value(instance, run))?;
            file.write(&value(instance, run))?;
            (instance, run)
        } else {
            let instance = fastrand::u64(..);
            let lost = used || dir.join(META).exists();
            let run = if lost { u64::try_from(now.as_millis() / 1000).unwrap_or(0).max(1) } else { 1 };
            if lost {
                tracing::error!(run, "the start counter was damaged; it goes on from the clock");
            }
            SlotFile::create(dir, META, &value(instance, run))?;
            (instance, run)
        };
        Ok(Self { run: Run(run), instance: format!("{instance:016x}") })
    }
}

/// Gives the store a new instance, on disk in both slots; the start counter goes on.
///
/// # Errors
/// [`StoreError::Io`]: the old one stays.
pub(super) fn renew(dir: &Path, run: Run) -> Result<String, StoreError> {
    let instance = fastrand::u64(..);
    SlotFile::create(dir, META, &[instance.to_be_bytes(), run.0.to_be_bytes()].concat())?;
    Ok(format!("{instance:016x}"))
}

/// How far an outbox is, as persisted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Everything up to here may go.
    pub acked: RecordNo,
    /// What was known to be on disk when the cursor was written: the generation that is written to…
    pub generation: u64,
    /// … its last record…
    pub last: RecordNo,
    /// … the records it had…
    pub records: u64,
    /// … and its segments. A truncated database opens without a word; these tell.
    pub segments: u64,
}

impl Cursor {
    const BYTES: usize = 5 * 8;

    fn encode(&self) -> Vec<u8> {
        [self.acked.0, self.generation, self.last.0, self.records, self.segments]
            .into_iter()
            .flat_map(u64::to_be_bytes)
            .collect()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        Some(Self {
            acked: RecordNo(reader.u64()?),
            generation: reader.u64()?,
            last: RecordNo(reader.u64()?),
            records: reader.u64()?,
            segments: reader.u64()?,
        })
    }
}

/// An outbox's cursor on disk.
#[derive(Debug)]
pub(super) struct CursorFile {
    file: SlotFile,
    /// As persisted.
    pub persisted: Cursor,
}

impl CursorFile {
    /// Where the cursor of the outbox in `dir` stands; zero if it is lost.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn peek(dir: &Path) -> Result<RecordNo, StoreError> {
        let found = SlotFile::open(dir, CURSOR)?;
        Ok(found.and_then(|(_, value)| Cursor::decode(&value)).unwrap_or_default().acked)
    }

    /// Opens or makes the cursor of the outbox in `dir`. A lost one starts at zero: everything on disk is sent again.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        if let Some((file, value)) = SlotFile::open(dir, CURSOR)?
            && let Some(persisted) = Cursor::decode(&value)
        {
            return Ok(Self { file, persisted });
        }
        if dir.join(CURSOR).exists() {
            tracing::error!(dir = %dir.display(), "the outbox's cursor was damaged; all that is stored is sent again");
        }
        let persisted = Cursor::default();
        Ok(Self { file: SlotFile::create(dir, CURSOR, &persisted.encode())?, persisted })
    }

    /// Persists it, synced.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the old one stays.
    pub(super) fn write(&mut self, cursor: Cursor) -> Result<(), StoreError> {
        if cursor != self.persisted {
            self.file.write(&cursor.encode())?;
            self.persisted = cursor;
        }
        Ok(())
    }

    /// What the file takes on disk.
    pub(super) fn disk_bytes(dir: &Path) -> u64 {
        sync::disk_bytes(&dir.join(CURSOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_186_265_123);

    #[test]
    fn the_start_counter_rises_by_one_and_the_instance_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = Meta::start(dir.path(), false, NOW).unwrap();
        assert_eq!(first.run, Run(1));
        assert_eq!(first.instance.len(), 16);
        assert!(first.instance.bytes().all(|byte| byte.is_ascii_hexdigit()));
        for run in 2..6 {
            let meta = Meta::start(dir.path(), true, NOW).unwrap();
            assert_eq!(meta, Meta { run: Run(run), instance: first.instance.clone() });
        }
    }

    #[test]
    fn no_start_number_is_given_twice_whichever_byte_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            Meta::start(dir.path(), false, NOW).unwrap();
        }
        let path = dir.path().join(META);
        let good = std::fs::read(&path).unwrap();
        for at in (0..512).chain(4096..4608) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert_eq!(Meta::start(dir.path(), true, NOW).unwrap().run, Run(4), "byte {at}");
        }
        for lost in [vec![], vec![0; 8192]] {
            std::fs::write(&path, lost).unwrap();
            assert_eq!(Meta::start(dir.path(), true, NOW).unwrap().run, Run(1_795_186_265));
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Meta::start(dir.path(), true, NOW).unwrap().run, Run(1_795_186_265));
    }

    #[test]
    fn a_cursor_comes_back_and_a_damaged_one_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let cursor = Cursor { acked: RecordNo(7), generation: 2, last: RecordNo(9), records: 3, segments: 1 };
        CursorFile::open(dir.path()).unwrap().write(cursor).unwrap();
        assert_eq!(CursorFile::open(dir.path()).unwrap().persisted, cursor);
        std::fs::write(dir.path().join(CURSOR), [0; 8192]).unwrap();
        assert_eq!(CursorFile::open(dir.path()).unwrap().persisted, Cursor::default());
        CursorFile::open(dir.path()).unwrap().write(cursor).unwrap();
        assert_eq!(CursorFile::open(dir.path()).unwrap().persisted, cursor);
    }
}
