//! The wire's own types: integers, strings, binary data, variable byte integers; a cursor that never over-reads,
//! and the two ends of writing: one that counts and one that appends. It knows no packet.

use super::decode::DecodeError;
use super::encode::EncodeError;
use super::property::PropertyLimits;

/// The numbers of the packet types (2.1.2). They also stand for bits in the tables of properties and reasons.
pub(super) mod kind {
    /// Not a packet: the place of the will's properties within CONNECT, in the number that is reserved.
    pub(in super::super) const WILL: u8 = 0;
    pub(in super::super) const CONNECT: u8 = 1;
    pub(in super::super) const CONNACK: u8 = 2;
    pub(in super::super) const PUBLISH: u8 = 3;
    pub(in super::super) const PUBACK: u8 = 4;
    pub(in super::super) const PUBREC: u8 = 5;
    pub(in super::super) const PUBREL: u8 = 6;
    pub(in super::super) const PUBCOMP: u8 = 7;
    pub(in super::super) const SUBSCRIBE: u8 = 8;
    pub(in super::super) const SUBACK: u8 = 9;
    pub(in super::super) const UNSUBSCRIBE: u8 = 10;
    pub(in super::super) const UNSUBACK: u8 = 11;
    pub(in super::super) const PINGREQ: u8 = 12;
    pub(in super::super) const PINGRESP: u8 = 13;
    pub(in super::super) const DISCONNECT: u8 = 14;
    pub(in super::super) const AUTH: u8 = 15;
}

/// A set of packet types, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u16);

impl Kinds {
    /// The set of these types.
    pub(super) const fn of(kinds: &[u8]) -> Self {
        let mut bits = 0;
        let mut rest = kinds;
        while let [kind, tail @ ..] = rest {
            bits |= 1 << *kind;
            rest = tail;
        }
        Self(bits)
    }

    /// Whether it has this type; false for a number that is none.
    pub(super) const fn has(self, kind: u8) -> bool {
        kind < 16 && self.0 & (1 << kind) != 0
    }
}

/// The largest variable byte integer, and with it the largest remaining length (1.5.5, 2.1.4).
pub(super) const VARINT_MAX: u32 = 268_435_455;

/// How many bytes the shortest variable byte integer for `value` takes.
pub(super) const fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Reads a variable byte integer off the front: its value and its bytes; `None` while it is incomplete.
/// Refuses a fifth byte, accepts a longer form than needed.
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 {
        return Err(DecodeError::Malformed("a variable byte integer is longer than four bytes"));
    }
    Ok(None)
}

/// What is left to read of a packet's body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    /// How much of properties is taken.
    pub(super) limits: PropertyLimits,
}

const SHORT: DecodeError = DecodeError::Malformed("the packet ends inside a field");

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, limits: PropertyLimits::NONE }
    }

    pub(super) const fn with_limits(bytes: &'a [u8], limits: PropertyLimits) -> Self {
        Self { rest: bytes, limits }
    }

    pub(super) const fn is_empty(self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Refuses bytes behind the last field.
    pub(super) const fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Malformed("bytes behind the last field")) }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (field, rest) = self.rest.split_at_checked(len).ok_or(SHORT)?;
        self.rest = rest;
        Ok(field)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*field)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A variable byte integer, which must be as short as it can be (5.0, 1.5.5-1).
    pub(super) fn varint(&mut self) -> Result<usize, DecodeError> {
        let (value, len) = varint(self.rest)?.ok_or(SHORT)?;
        if len != varint_len(value) {
            return Err(DecodeError::Malformed("a variable byte integer is longer than needed"));
        }
        self.take(len)?;
        Ok(value)
    }

    /// Binary data: two bytes of length, then the data (1.5.6).
    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 string without U+0000 (1.5.4).
    pub(super) fn string(&mut self) -> Result<&'a str, DecodeError> {
        string(self.binary()?)
    }
}

/// Checks a string's bytes. Rust's rules for UTF-8 are the standard's: no surrogates, nothing over-long, nothing
/// above U+10FFFF (1.5.4-1). U+FEFF stays (1.5.4-3), control characters and non-characters are let through
/// (1.5.4: SHOULD NOT).
pub(super) fn string(bytes: &[u8]) -> Result<&str, DecodeError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| DecodeError::Malformed("a string is not well-formed UTF-8"))?;
    if bytes.contains(&0) {
        return Err(DecodeError::Malformed("a string contains U+0000")); // 1.5.4-2
    }
    Ok(text)
}

/// Where encoding writes: the same code first counts, then appends, so that the two can't differ.
pub(super) trait Out {
    fn bytes(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// A variable byte integer in its shortest form.
    fn varint(&mut self, value: usize) -> Result<(), EncodeError> {
        let value = u32::try_from(value).ok().filter(|&value| value <= VARINT_MAX);
        let mut rest = value.ok_or(EncodeError::PacketTooLong)?;
        loop {
            let [.., low] = rest.to_be_bytes();
            rest >>= 7;
            if rest == 0 {
                self.u8(low & 0x7F);
                return Ok(());
            }
            self.u8(low | 0x80);
        }
    }

    /// Binary data, or a string's bytes, behind their length.
    fn binary(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.u16(u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong)?);
        self.bytes(bytes);
        Ok(())
    }
}

/// Counts what would be written.
#[derive(Debug, Default)]
pub(super) struct Count(pub(super) usize);

impl Out for Count {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

impl Out for Vec<u8> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
