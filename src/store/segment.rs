//! The bytes of one segment: what a commit leaves in the database, small enough that sled keeps it in its log.
//! Pure: packs records into segments and takes them apart; where they lie is not its concern.
//!
//! ```text
//!  0  version 1
//!  1  codec          0 as they are, 1 lz4 block
//!  2  flags          bit 0: the wall clock was known to be right
//!  3  reserved       a zero byte
//!  4  crc32c         over all other bytes
//!  8  segment_no     dense within its generation, from 1
//! 16  first, last    record numbers
//! 32  before         records that this generation got before this segment: tells what a gap has lost
//! 40  committed_at   wall clock, milliseconds
//! 48  count          records that end in this segment
//! 52  chunk, chunks  0 of 1 for whole records; a record that doesn't fit is cut over several segments
//! 60  body_len       before compression
//! 64  body           whole records: (number - previous) and length as LEB128, bytes; a chunk: its bytes
//! ```
//! All numbers are big-endian.

use bytes::Bytes;
use crc::{CRC_32_ISCSI, Crc, Table};

use crate::record::{RecordNo, StoredRecord};
use crate::time::Timestamp;

/// A segment as stored, at most. sled puts a page above 128 KiB into a file of its own that it never syncs; a page
/// holds up to 17 values, so that 7 KiB keep it well below.
pub(super) const STORED_BYTES_MAX: usize = 7 * 1024;

/// A segment before compression, at most: bounds what a damaged length can make us allocate.
pub(super) const BODY_BYTES_MAX: usize = 48 * 1024;

const HEADER_BYTES: usize = 64;
const CHUNK_BYTES: usize = STORED_BYTES_MAX - HEADER_BYTES;
const VERSION: u8 = 1;
const FLAG_VOUCHED: u8 = 1;
const CODEC_PLAIN: u8 = 0;
const CODEC_LZ4: u8 = 1;

static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// CRC-32C of the parts, one after the other.
pub(super) fn crc32c(parts: &[&[u8]]) -> u32 {
    let mut digest = CRC32C.digest();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its key in the database.
    pub segment_no: u64,
    /// The first record in it.
    pub first: RecordNo,
    /// The last record in it.
    pub last: RecordNo,
    /// Records in the generation before it.
    pub before: u64,
    /// When it was committed, by the wall clock.
    pub committed_at: Timestamp,
    /// Whether that clock was known to be right.
    pub vouched: bool,
    /// Records that end in it.
    pub count: u32,
    /// Which chunk of a record it is.
    pub chunk: u32,
    /// Of how many; 1 for whole records.
    pub chunks: u32,
}

/// A segment, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// What it says about itself.
    pub head: Head,
    /// Its body, decompressed.
    pub body: Bytes,
}

/// Why bytes are no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentError {
    /// A later layout.
    UnknownVersion(u8),
    /// Changed, cut or never ours.
    Damaged(&'static str),
}

impl std::fmt::Display for SegmentError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownVersion(version) => {
                write!(f, "segment layout {version} is not known to this release")
            }
            Self::Damaged(what) => write!(f, "damaged segment: {what}"),
        }
    }
}

/// The stored bytes of a segment; lz4 where it makes it shorter.
fn encode(head: &Head, body: &[u8]) -> Vec<u8> {
    let packed = lz4_flex::block::compress(body);
    let (codec, kept) =
        if packed.len() < body.len() { (CODEC_LZ4, packed.as_slice()) } else { (CODEC_PLAIN, body) };
    let start = [VERSION, codec, if head.vouched { FLAG_VOUCHED } else { 0 }, 0];
    let mut rest = Vec::with_capacity(HEADER_BYTES + kept.len());
    rest.extend_from_slice(&head.segment_no.to_be_bytes());
    rest.extend_from_slice(&head.first.0.to_be_bytes());
    rest.extend_from_slice(&head.last.0.to_be_bytes());
    rest.extend_from_slice(&head.before.to_be_bytes());
    rest.extend_from_slice(&head.committed_at.as_millis().to_be_bytes());
    rest.extend_from_slice(&head.count.to_be_bytes());
    rest.extend_from_slice(&head.chunk.to_be_bytes());
    rest.extend_from_slice(&head.chunks.to_be_bytes());
    rest.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    rest.extend_from_slice(kept);
    let crc = crc32c(&[&start, &rest]);
    let mut stored = Vec::with_capacity(8 + rest.len());
    stored.extend_from_slice(&start);
    stored.extend_from_slice(&crc.to_be_bytes());
    stored.extend_from_slice(&rest);
    stored
}

impl Segment {
    /// Checks and unpacks stored bytes.
    ///
    /// # Errors
    /// [`SegmentError`]: any changed or missing byte is noticed.
    pub(super) fn decode(stored: &[u8]) -> Result<Self, SegmentError> {
        let (head, codec, body_len, kept) = check(stored)?;
        let body = if codec == CODEC_LZ4 {
            let body = lz4_flex::block::decompress(kept, body_len)
                .map_err(|_| SegmentError::Damaged("it cannot be decompressed"))?;
            Bytes::from(body)
        } else {
            Bytes::copy_from_slice(kept)
        };
        if body.len() == body_len {
            Ok(Self { head, body })
        } else {
            Err(SegmentError::Damaged("its length is wrong"))
        }
    }

    /// The whole records in it, in order. They share one allocation. `None` for a chunk.
    ///
    /// # Errors
    /// [`SegmentError::Damaged`]: the body is not what its head says.
    pub(super) fn records(&self) -> Result<Option<Vec<StoredRecord>>, SegmentError> {
        const ENDS_EARLY: SegmentError = SegmentError::Damaged("a record ends early");
        if self.head.chunks != 1 {
            return Ok(None);
        }
        let mut records = Vec::new();
        let mut no = self.head.first.0;
        let mut at = 0;
        while at < self.body.len() {
            let (step, next) = varint(&self.body, at).ok_or(ENDS_EARLY)?;
            let (len, start) = varint(&self.body, next).ok_or(ENDS_EARLY)?;
            let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len)).ok_or(ENDS_EARLY)?;
            if end > self.body.len() {
                return Err(ENDS_EARLY);
            }
            no = no.checked_add(step).ok_or(SegmentError::Damaged("a record number is too large"))?;
            records.push(StoredRecord { no: RecordNo(no), bytes: self.body.slice(start..end) });
            at = end;
        }
        let ascending = records.is_sorted_by(|a, b| a.no < b.no);
        let as_told = u32::try_from(records.len()) == Ok(self.head.count)
            && records.first().map(|record| record.no) == Some(self.head.first)
            && records.last().map(|record| record.no) == Some(self.head.last);
        if ascending && as_told {
            Ok(Some(records))
        } else {
            Err(SegmentError::Damaged("its records are not as told"))
        }
    }
}

/// The head of stored bytes, checked, without unpacking the body.
///
/// # Errors
/// [`SegmentError`]: any changed or missing byte is noticed.
pub(super) fn head(stored: &[u8]) -> Result<Head, SegmentError> {
    check(stored).map(|(head, ..)| head)
}

/// Head, codec, length of the unpacked body, body as kept.
fn check(stored: &[u8]) -> Result<(Head, u8, usize, &[u8]), SegmentError> {
    const SHORT: SegmentError = SegmentError::Damaged("it is too short");
    let (start, rest) = stored.split_first_chunk::<4>().ok_or(SHORT)?;
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    if stored.len() > STORED_BYTES_MAX {
        return Err(SegmentError::Damaged("it is too long"));
    }
    if crc32c(&[start, rest]) != u32::from_be_bytes(*crc) {
        return Err(SegmentError::Damaged("its checksum is wrong"));
    }
    let [version, codec, flags, _] = *start;
    if version != VERSION || codec > CODEC_LZ4 {
        return Err(SegmentError::UnknownVersion(version));
    }
    let mut reader = Reader(rest);
    let head = Head {
        segment_no: reader.u64().ok_or(SHORT)?,
        first: RecordNo(reader.u64().ok_or(SHORT)?),
        last: RecordNo(reader.u64().ok_or(SHORT)?),
        before: reader.u64().ok_or(SHORT)?,
        committed_at: Timestamp::from_millis(reader.i64().ok_or(SHORT)?),
        vouched: flags & FLAG_VOUCHED != 0,
        count: reader.u32().ok_or(SHORT)?,
        chunk: reader.u32().ok_or(SHORT)?,
        chunks: reader.u32().ok_or(SHORT)?,
    };
    let body_len = reader.u32().and_then(|len| usize::try_from(len).ok()).ok_or(SHORT)?;
    if body_len > BODY_BYTES_MAX || head.chunk >= head.chunks || head.first > head.last {
        return Err(SegmentError::Damaged("its head makes no sense"));
    }
    Ok((head, codec, body_len, reader.0))
}

/// Takes big-endian numbers from the front of bytes.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    /// The next eight bytes.
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    /// The next eight bytes, signed.
    pub(super) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    /// The next four bytes.
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }
}

/// Cuts a commit's records into segments, in order: what `next` gives is one segment, ready to be stored.
#[derive(Debug)]
pub(super) struct Packer<'a> {
    rest: &'a [StoredRecord],
    /// Chunks of the first of `rest` that are out already, and how many it has.
    chunks: Option<(u32, u32)>,
    segment_no: u64,
    before: u64,
    at: Timestamp,
    vouched: bool,
    /// Records that fitted into the last segment: where the search for the next one starts.
    fitted: usize,
}

/// One segment, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    /// Its key.
    pub segment_no: u64,
    /// Its bytes.
    pub stored: Vec<u8>,
}

impl<'a> Packer<'a> {
    /// `records` in ascending order; the first segment gets `segment_no`, and `before` records came before it.
    pub(super) fn new(records: &'a [StoredRecord], segment_no: u64, before: u64, at: Timestamp) -> Self {
        Self { rest: records, chunks: None, segment_no, before, at, vouched: false, fitted: usize::MAX }
    }

    /// Notes whether the clock that `at` was read from is known to be right.
    pub(super) fn vouched(self, vouched: bool) -> Self {
        Self { vouched, ..self }
    }

    fn head(&self, first: RecordNo, last: RecordNo, count: usize) -> Head {
        Head {
            segment_no: self.segment_no,
            first,
            last,
            before: self.before,
            committed_at: self.at,
            vouched: self.vouched,
            count: u32::try_from(count).unwrap_or(u32::MAX),
            chunk: 0,
            chunks: 1,
        }
    }

    /// As many whole records as fit: how many, and the segment. `None` if not even one fits.
    fn whole(&self) -> Option<(usize, Vec<u8>)> {
        let mut count = self.rest.len().min(self.fitted.saturating_add(self.fitted / 4).saturating_add(1));
        loop {
            let (body, taken) = body(self.rest.get(..count)?)?;
            count = taken;
            let (first, last) = (self.rest.first()?.no, self.rest.get(count.checked_sub(1)?)?.no);
            let stored = encode(&self.head(first, last, count), &body);
            if stored.len() <= STORED_BYTES_MAX {
                return Some((count, stored));
            }
            if count == 1 {
                return None;
            }
            // Next try: by proportion, a little less, and at least one less.
            let fitting = count.saturating_mul(STORED_BYTES_MAX) / stored.len();
            count = (fitting - fitting / 16).clamp(1, count - 1);
        }
    }

    /// The next chunk of the first record.
    fn chunk(&mut self, chunk: u32, chunks: u32) -> Option<Vec<u8>> {
        let record = self.rest.first()?;
        let start = usize::try_from(chunk).ok()?.checked_mul(CHUNK_BYTES)?.min(record.bytes.len());
        let end = start.saturating_add(CHUNK_BYTES).min(record.bytes.len());
        let is_last = chunk.checked_add(1)? == chunks;
        let mut head = self.head(record.no, record.no, usize::from(is_last));
        head.chunk = chunk;
        head.chunks = chunks;
        let stored = encode(&head, record.bytes.get(start..end)?);
        if is_last {
            self.chunks = None;
            self.rest = self.rest.get(1..)?;
            self.before += 1;
        } else {
            self.chunks = Some((chunk + 1, chunks));
        }
        Some(stored)
    }
}

impl Iterator for Packer<'_> {
    type Item = Packed;

    fn next(&mut self) -> Option<Packed> {
        let segment_no = self.segment_no;
        let stored = if let Some((chunk, chunks)) = self.chunks {
            self.chunk(chunk, chunks)?
        } else if let Some((count, stored)) = self.whole() {
            self.rest = self.rest.get(count..)?;
            self.before = self.before.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            self.fitted = count;
            stored
        } else {
            // One that almost fits has an empty second chunk: a segment "0 of 1" holds whole records.
            let chunks = self.rest.first()?.bytes.len().div_ceil(CHUNK_BYTES).max(2);
            self.chunk(0, u32::try_from(chunks).ok()?)?
        };
        self.segment_no += 1;
        Some(Packed { segment_no, stored })
    }
}

/// The body of as many of these records as may stand in one segment before compression, and their number. `None`
/// if the first alone is too long, or there is none.
fn body(records: &[StoredRecord]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut taken = 0;
    let mut previous = records.first()?.no.0;
    for record in records {
        // Two LEB128 numbers take 20 bytes at most.
        if body.len() + 20 + record.bytes.len() > BODY_BYTES_MAX {
            break;
        }
        push_varint(&mut body, record.no.0.saturating_sub(previous));
        push_varint(&mut body, u64::try_from(record.bytes.len()).unwrap_or(u64::MAX));
        body.extend_from_slice(&record.bytes);
        previous = record.no.0;
        taken += 1;
    }
    (taken > 0).then_some((body, taken))
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// The LEB128 number at `at`, and where the next byte is.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().enumerate().skip(at).take(10) {
        let shift = u32::try_from(index - at).ok()?.checked_mul(7)?;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
