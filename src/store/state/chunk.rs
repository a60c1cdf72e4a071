//! How a value lies in the database: in chunks small enough for sled's log, each under its key and two bytes more:
//! version 1, chunk, chunks (two bytes each), crc32c over key, head and bytes, the bytes. All numbers are big-endian.

use crate::store::database::Database;
use crate::store::error::Trouble;
use crate::store::segment::crc32c;

/// Bytes of one chunk, at most: what sled puts into files of its own, it never syncs (see `segment.rs`).
const CHUNK_BYTES: usize = 6 * 1024;
const HEAD_BYTES: usize = 9;
const VERSION: u8 = 1;

/// A place in the database and what is there from then on; `None`: nothing.
pub(super) type Put = (Vec<u8>, Option<Vec<u8>>);

/// Where a chunk lies.
pub(super) fn place(key: &[u8], chunk: u16) -> Vec<u8> {
    [key, &chunk.to_be_bytes()].concat()
}

/// Cuts a value into chunks; how many.
pub(super) fn put_chunks(key: &[u8], value: &[u8], into: &mut Vec<Put>) -> u16 {
    let count = u16::try_from(value.len().div_ceil(CHUNK_BYTES).max(1)).unwrap_or(u16::MAX);
    for at in 0..count {
        let start = usize::from(at).saturating_mul(CHUNK_BYTES);
        let end = start.saturating_add(CHUNK_BYTES).min(value.len());
        let bytes = value.get(start..end).unwrap_or_default();
        let head = head(at, count);
        let mut stored = head.to_vec();
        stored.extend(crc32c(&[key, &head, bytes]).to_be_bytes());
        stored.extend_from_slice(bytes);
        into.push((place(key, at), Some(stored)));
    }
    count
}

fn head(at: u16, of: u16) -> [u8; HEAD_BYTES - 4] {
    let ([a, b], [c, d]) = (at.to_be_bytes(), of.to_be_bytes());
    [VERSION, a, b, c, d]
}

/// Key, chunk, chunks and bytes of a stored chunk; `None` if it is not what was written.
pub(super) fn read<'a>(place: &'a [u8], stored: &'a [u8]) -> Option<(&'a [u8], u16, u16, &'a [u8])> {
    let (key, at) = place.split_last_chunk::<2>()?;
    let (start, rest) = stored.split_first_chunk::<{ HEAD_BYTES - 4 }>()?;
    let (crc, bytes) = rest.split_first_chunk::<4>()?;
    let [version, a, b, c, d] = *start;
    let (number, of) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let is_right = version == VERSION
        && number == u16::from_be_bytes(*at)
        && number < of
        && crc32c(&[key, start, bytes]) == u32::from_be_bytes(*crc);
    is_right.then_some((key, number, of, bytes))
}

/// Whether a stored chunk is what was written.
pub(in crate::store) fn is_right(place: &[u8], stored: &[u8]) -> bool {
    read(place, stored).is_some()
}

/// How many chunks a key has in the database, and the bytes of its value. Of one whose first chunk is damaged nothing is
/// known: what is left of it stays until the state is copied, and is left out at each start.
pub(super) fn held(db: &mut Database, key: &[u8]) -> Result<(u16, u64), Trouble> {
    let at = |db: &mut Database, chunk: u16| {
        let place = place(key, chunk);
        let found =
            db.get(&place, |stored| read(&place, stored).map(|(_, _, of, bytes)| (of, bytes.len())))?;
        Ok::<_, Trouble>(found.flatten())
    };
    let Some((of, first)) = at(db, 0)? else { return Ok((0, 0)) };
    let last = if of > 1 { at(db, of.saturating_sub(1))?.map_or(0, |(_, bytes)| bytes) } else { 0 };
    let whole = usize::from(of.saturating_sub(1)).saturating_mul(CHUNK_BYTES);
    let bytes = if of > 1 { whole.saturating_add(last) } else { first };
    Ok((of, u64::try_from(bytes).unwrap_or(u64::MAX)))
}
