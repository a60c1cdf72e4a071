//! A batch that is too large to be put into the database in one go, in a file beside it: synced before the first of it
//! is put, and gone once the last is. So a crash in between leaves a batch that is put anew, whole.
//!
//! ```text
//! version = 1, the database's number, how many follow (eight bytes each), crc32c over that
//! then each: bytes of the place, bytes there and 1, or 0 where nothing is (four bytes each), place, bytes,
//!            crc32c over all that
//! ```
//! All numbers are big-endian.

use std::io::Write;
use std::path::Path;

use super::chunk::Put;
use crate::store::error::StoreError;
use crate::store::segment::{Reader, crc32c};
use crate::store::sync;

const NAME: &str = "batch";
const VERSION: u8 = 1;

/// Writes the file. When it returns, it survives a power cut.
///
/// # Errors
/// [`StoreError::Io`]: it may be there or not.
pub(super) fn write(dir: &Path, number: u64, puts: &[Put]) -> Result<(), StoreError> {
    sync::replace_file_by(dir, NAME, |file| {
        let count = u64::try_from(puts.len()).unwrap_or(u64::MAX);
        let head = [&[VERSION][..], &number.to_be_bytes(), &count.to_be_bytes()].concat();
        file.write_all(&head)?;
        file.write_all(&crc32c(&[&head]).to_be_bytes())?;
        for (place, bytes) in puts {
            // Chunks are short.
            let place_len = u32::try_from(place.len()).unwrap_or(u32::MAX).to_be_bytes();
            let len = bytes.as_ref().map_or(0, |bytes| u32::try_from(bytes.len() + 1).unwrap_or(u32::MAX));
            let len = len.to_be_bytes();
            let bytes = bytes.as_deref().unwrap_or_default();
            for part in [&place_len, &len, place.as_slice(), bytes] {
                file.write_all(part)?;
            }
            file.write_all(&crc32c(&[&place_len, &len, place, bytes]).to_be_bytes())?;
        }
        Ok(())
    })?;
    sync::sync(dir)
}

/// What a batch has begun in the database of this number, if there is one.
///
/// # Errors
/// [`StoreError::Io`].
pub(super) fn read(dir: &Path, number: u64) -> Result<Option<Vec<Put>>, StoreError> {
    let path = dir.join(NAME);
    if !path.exists() {
        return Ok(None);
    }
    let content = std::fs::read(&path).map_err(StoreError::io("read", &path))?;
    match parse(&content) {
        // One of a database that was set aside.
        Some((of, _)) if of != number => Ok(None),
        Some((_, puts)) => Ok(Some(puts)),
        None => {
            // It was synced before it got its name: the disk has spoilt it.
            tracing::error!(path = %path.display(), "a batch that was begun is damaged and left out");
            Ok(None)
        }
    }
}

/// The file is not wanted any more.
///
/// # Errors
/// [`StoreError::Io`]: it may be there again after a power cut.
pub(super) fn remove(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(NAME);
    if path.exists() {
        sync::remove(&path)?;
        sync::sync(dir)?;
    }
    Ok(())
}

fn parse(content: &[u8]) -> Option<(u64, Vec<Put>)> {
    let (head, rest) = content.split_first_chunk::<17>()?;
    let mut reader = Reader(rest);
    let (version, mut numbers) = head.split_first().map(|(version, rest)| (*version, Reader(rest)))?;
    let (number, count) = (numbers.u64()?, numbers.u64()?);
    if version != VERSION || reader.u32()? != crc32c(&[head]) {
        return None;
    }
    let mut puts = Vec::new();
    for _ in 0..count {
        let (lengths, rest) = reader.0.split_first_chunk::<8>()?;
        let mut numbers = Reader(lengths);
        let (place_len, len) = (usize::try_from(numbers.u32()?).ok()?, usize::try_from(numbers.u32()?).ok()?);
        let (place, rest) = rest.split_at_checked(place_len)?;
        let (bytes, rest) = rest.split_at_checked(len.saturating_sub(1))?;
        reader = Reader(rest);
        if reader.u32()? != crc32c(&[lengths, place, bytes]) {
            return None;
        }
        puts.push((place.to_vec(), (len > 0).then(|| bytes.to_vec())));
    }
    Some((number, puts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_as_it_was_written_and_a_damaged_one_or_anothers_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let puts: Vec<Put> = vec![
            (b"gone".to_vec(), None),
            (b"empty".to_vec(), Some(Vec::new())),
            (Vec::new(), Some(vec![7; 7_000])),
        ];
        assert_eq!(read(dir.path(), 3).unwrap(), None);
        write(dir.path(), 3, &puts).unwrap();
        assert_eq!(read(dir.path(), 3).unwrap(), Some(puts));
        assert_eq!(read(dir.path(), 4).unwrap(), None);
        let path = dir.path().join(NAME);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(parse(&bad), None, "byte {at}");
            assert_eq!(parse(&good[..at]), None, "cut at {at}");
        }
        remove(dir.path()).unwrap();
        assert_eq!(read(dir.path(), 3).unwrap(), None);
    }
}
