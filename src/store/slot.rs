//! A small value that is overwritten in place and survives a power cut: two slots in one file, each with a counter
//! and a checksum; a write goes to the older one. Doesn't know what the value means.
//!
//! Overwriting blocks that exist already costs the flash one block and works on a full disk; a torn write leaves
//! the other slot as it was.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::segment::{Reader, crc32c};
use super::sync;

/// Slots lie in blocks of their own, so that tearing one can't touch the other.
const SLOT_STEP: u64 = 4096;

/// A slot is one sector, at most.
const SLOT_BYTES: usize = 512;

/// What magic, counter, length and checksum take of a slot.
const FRAME_BYTES: usize = 24;

/// The value, at most: what a sector leaves.
pub(super) const VALUE_BYTES_MAX: usize = SLOT_BYTES - FRAME_BYTES;

/// A larger slot is a whole block. A torn write of it is noticed by its checksum.
const BLOCK_BYTES: usize = 4096;

/// The value of a larger slot, at most.
pub(super) const BLOCK_VALUE_BYTES_MAX: usize = BLOCK_BYTES - FRAME_BYTES;

const MAGIC: u32 = 0x4647_5331;

/// A file of two slots.
#[derive(Debug)]
pub(super) struct SlotFile {
    path: PathBuf,
    file: File,
    slot_bytes: usize,
    /// The counter of the newest slot; even ones lie in the first slot.
    counter: u64,
}

impl SlotFile {
    /// Puts a file with `value` in both slots at `dir/name` and syncs it with its directory.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn create(dir: &Path, name: &str, value: &[u8]) -> Result<Self, StoreError> {
        Self::create_sized(dir, name, value, SLOT_BYTES)
    }

    /// The same with slots of a block each.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn create_block(dir: &Path, name: &str, value: &[u8]) -> Result<Self, StoreError> {
        Self::create_sized(dir, name, value, BLOCK_BYTES)
    }

    fn create_sized(dir: &Path, name: &str, value: &[u8], slot_bytes: usize) -> Result<Self, StoreError> {
        let path = dir.join(name);
        let step = usize::try_from(SLOT_STEP).unwrap_or(usize::MAX);
        let mut content = slot(0, value, slot_bytes);
        content.resize(step, 0);
        content.extend(slot(1, value, slot_bytes));
        content.resize(step.saturating_mul(2), 0);
        sync::replace_file(dir, name, &content)?;
        sync::sync(dir)?;
        Ok(Self { file: sync::open_file(&path)?, path, slot_bytes, counter: 1 })
    }

    /// The file at `dir/name` and its value; `None` if there is no such file or both slots are damaged.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn open(dir: &Path, name: &str) -> Result<Option<(Self, Vec<u8>)>, StoreError> {
        Self::open_sized(dir, name, SLOT_BYTES)
    }

    /// The same with slots of a block each.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn open_block(dir: &Path, name: &str) -> Result<Option<(Self, Vec<u8>)>, StoreError> {
        Self::open_sized(dir, name, BLOCK_BYTES)
    }

    fn open_sized(dir: &Path, name: &str, slot_bytes: usize) -> Result<Option<(Self, Vec<u8>)>, StoreError> {
        let path = dir.join(name);
        if !path.exists() {
            return Ok(None);
        }
        let file = sync::open_file(&path)?;
        let newest = [0, SLOT_STEP]
            .into_iter()
            .filter_map(|at| {
                let mut bytes = vec![0; slot_bytes];
                file.read_exact_at(&mut bytes, at).ok()?;
                parse(&bytes)
            })
            .max_by_key(|(counter, _)| *counter);
        Ok(newest.map(|(counter, value)| (Self { path, file, slot_bytes, counter }, value)))
    }

    /// Overwrites the older slot, and syncs it.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the old value stays.
    pub(super) fn write(&mut self, value: &[u8]) -> Result<(), StoreError> {
        let counter = self.counter.wrapping_add(1);
        let at = if counter.is_multiple_of(2) { 0 } else { SLOT_STEP };
        self.file
            .write_all_at(&slot(counter, value, self.slot_bytes), at)
            .and_then(|()| self.file.sync_data())
            .map_err(StoreError::io("write", &self.path))?;
        self.counter = counter;
        Ok(())
    }
}

/// One slot: magic, length, counter, value, zeros, checksum over all before.
fn slot(counter: u64, value: &[u8], slot_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(slot_bytes);
    bytes.extend_from_slice(&MAGIC.to_be_bytes());
    bytes.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&counter.to_be_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(slot_bytes - 4, 0);
    let crc = crc32c(&[&bytes]);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

fn parse(bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c(&[content]) != u32::from_be_bytes(*crc) {
        return None;
    }
    let mut reader = Reader(content);
    if reader.u32()? != MAGIC {
        return None;
    }
    let len = usize::try_from(reader.u32()?).ok()?;
    let counter = reader.u64()?;
    Some((counter, reader.0.get(..len)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_is_found_and_a_damaged_one_gives_way_to_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        assert!(SlotFile::open(dir.path(), "cursor").unwrap().is_none());
        let mut file = SlotFile::create(dir.path(), "cursor", b"zero").unwrap();
        for round in 1..10_u8 {
            file.write(&[round; 10]).unwrap();
            let (_, value) = SlotFile::open(dir.path(), "cursor").unwrap().unwrap();
            assert_eq!(value, [round; 10]);
        }
        let path = dir.path().join("cursor");
        let good = std::fs::read(&path).unwrap();
        assert_eq!(good.len(), 8192, "it never grows");
        // Round 9 has counter 10: the first slot.
        for at in 0..SLOT_BYTES {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let (_, value) = SlotFile::open(dir.path(), "cursor").unwrap().unwrap();
            assert_eq!(value, [8; 10], "byte {at}");
        }
        std::fs::write(&path, &good[..100]).unwrap();
        assert!(SlotFile::open(dir.path(), "cursor").unwrap().is_none());
        std::fs::write(&path, vec![0; 8192]).unwrap();
        assert!(SlotFile::open(dir.path(), "cursor").unwrap().is_none());
    }

    #[test]
    fn a_write_after_a_torn_one_spares_the_good_slot() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = SlotFile::create(dir.path(), "cursor", b"a").unwrap();
        file.write(b"b").unwrap();
        let path = dir.path().join("cursor");
        let mut torn = std::fs::read(&path).unwrap();
        torn[4100] ^= 1;
        std::fs::write(&path, &torn).unwrap();
        let (mut file, value) = SlotFile::open(dir.path(), "cursor").unwrap().unwrap();
        assert_eq!(value, b"b");
        file.write(b"c").unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[..512], torn[..512], "the slot with b is untouched");
        let (_, value) = SlotFile::open(dir.path(), "cursor").unwrap().unwrap();
        assert_eq!(value, b"c");
    }
}
