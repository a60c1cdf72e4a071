//! Check values of frames: sums, XORs and CRCs, in bytes or in hexadecimal digits. Where a frame begins and ends is
//! `framing`'s business.

use crc::{CRC_16_ARC, CRC_16_IBM_SDLC, CRC_16_MODBUS, Crc, Table};

use super::cell::Endian;

const MODBUS: Crc<u16, Table<1>> = Crc::<u16, Table<1>>::new(&CRC_16_MODBUS);
const ARC: Crc<u16, Table<1>> = Crc::<u16, Table<1>>::new(&CRC_16_ARC);
const X25: Crc<u16, Table<1>> = Crc::<u16, Table<1>>::new(&CRC_16_IBM_SDLC);

/// How a check value is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// The sum of the bytes, its low 8 bits.
    Sum8,
    /// What makes the low 8 bits of the sum zero.
    Sum8Neg,
    /// The low 8 bits of the sum, each inverted.
    Sum8Inverted,
    /// The sum of the bytes, its low 16 bits.
    Sum16,
    /// All bytes, XORed.
    Xor8,
    /// The block check character of ISO 1155: as `Xor8`, but without the first byte (STX or SOH).
    Bcc,
    /// CRC-16/MODBUS.
    Crc16Modbus,
    /// CRC-16/ARC.
    Crc16Arc,
    /// CRC-16/X-25 (IBM SDLC).
    Crc16X25,
}

/// Each kind with its name in the config.
const KINDS: [(CheckKind, &str); 9] = [
    (CheckKind::Sum8, "sum8"),
    (CheckKind::Sum8Neg, "sum8-neg"),
    (CheckKind::Sum8Inverted, "sum8-inverted"),
    (CheckKind::Sum16, "sum16"),
    (CheckKind::Xor8, "xor8"),
    (CheckKind::Bcc, "bcc"),
    (CheckKind::Crc16Modbus, "crc16-modbus"),
    (CheckKind::Crc16Arc, "crc16-arc"),
    (CheckKind::Crc16X25, "crc16-x25"),
];

impl CheckKind {
    /// The kind of that name in the config.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    /// Its name in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The bytes of its value.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Sum16 | Self::Crc16Modbus | Self::Crc16Arc | Self::Crc16X25 => 2,
            _ => 1,
        }
    }

    /// The byte of its value that comes first where the config doesn't say.
    #[must_use]
    pub fn usual_order(self) -> Endian {
        match self {
            Self::Crc16Modbus | Self::Crc16Arc | Self::Crc16X25 => Endian::Little,
            _ => Endian::Big,
        }
    }

    fn compute(self, bytes: &[u8]) -> u16 {
        let sum = || bytes.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
        let xor = |bytes: &[u8]| u16::from(bytes.iter().fold(0_u8, |xor, byte| xor ^ byte));
        match self {
            Self::Sum8 => sum() & 0xff,
            Self::Sum8Neg => sum().wrapping_neg() & 0xff,
            Self::Sum8Inverted => !sum() & 0xff,
            Self::Sum16 => sum(),
            Self::Xor8 | Self::Bcc => xor(bytes),
            Self::Crc16Modbus => MODBUS.checksum(bytes),
            Self::Crc16Arc => ARC.checksum(bytes),
            Self::Crc16X25 => X25.checksum(bytes),
        }
    }
}

/// A check and where it stands. Places count from 0, or from the frame's end where negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    /// How it is computed.
    pub kind: CheckKind,
    /// The first byte that it covers.
    pub from: i32,
    /// The byte after the last that it covers; `None`: up to the check itself.
    pub to: Option<i32>,
    /// Its first byte or digit.
    pub at: i32,
    /// Which of its bytes comes first.
    pub order: Endian,
    /// Whether it stands there in hexadecimal digits, two for each byte.
    pub hex: bool,
}

/// What was wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CheckFailure {
    pub(super) kind: CheckKind,
    pub(super) computed: u16,
    /// `None`: there is none, or it isn't made of digits.
    pub(super) found: Option<u16>,
}

impl CheckConfig {
    /// The bytes or digits that it takes in a frame.
    #[must_use]
    pub fn width(&self) -> usize {
        if self.hex { self.kind.bytes().saturating_mul(2) } else { self.kind.bytes() }
    }

    /// Whether a frame is as it was sent.
    pub(super) fn verify(&self, frame: &[u8]) -> Result<(), CheckFailure> {
        let at = place(self.at, frame.len());
        let value = at.and_then(|at| frame.get(at..at.checked_add(self.width())?));
        let found = value.and_then(|bytes| self.read(bytes));
        let covered = place(self.from, frame.len()).zip(self.to.map_or(at, |to| place(to, frame.len())));
        let covered = covered.and_then(|(from, to)| frame.get(from..to));
        match (covered.map(|bytes| self.kind.compute(bytes)), found) {
            (Some(computed), Some(found)) if computed == found => Ok(()),
            (Some(computed), found) => Err(CheckFailure { kind: self.kind, computed, found }),
            // The frame is too short for what the check covers.
            (None, _) => Err(CheckFailure { kind: self.kind, computed: 0, found: None }),
        }
    }

    /// Puts the right value into a frame; one that is too short stays as it is.
    pub(super) fn stamp(&self, frame: &mut [u8]) {
        let at = place(self.at, frame.len());
        let covered = place(self.from, frame.len()).zip(self.to.map_or(at, |to| place(to, frame.len())));
        let Some(computed) = covered.and_then(|(from, to)| Some(self.kind.compute(frame.get(from..to)?)))
        else {
            return;
        };
        let bytes = match (self.kind.bytes(), self.order) {
            (1, _) => computed.to_le_bytes().get(..1).unwrap_or_default().to_vec(),
            (_, Endian::Big) => computed.to_be_bytes().to_vec(),
            (_, Endian::Little) => computed.to_le_bytes().to_vec(),
        };
        let bytes = if self.hex {
            bytes.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect()
        } else {
            bytes
        };
        for (to, from) in frame.iter_mut().skip(at.unwrap_or(usize::MAX)).zip(bytes) {
            *to = from;
        }
    }

    fn read(&self, bytes: &[u8]) -> Option<u16> {
        let digits: Vec<u8>;
        let bytes = if self.hex {
            digits = bytes.chunks(2).map(hex_byte).collect::<Option<_>>()?;
            &digits
        } else {
            bytes
        };
        match (bytes, self.order) {
            ([only], _) => Some(u16::from(*only)),
            ([first, second], Endian::Big) => Some(u16::from_be_bytes([*first, *second])),
            ([first, second], Endian::Little) => Some(u16::from_le_bytes([*first, *second])),
            _ => None,
        }
    }
}

fn hex_byte(pair: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(pair).ok()?;
    // The parser would take a plus sign.
    if text.starts_with('+') { None } else { u8::from_str_radix(text, 16).ok() }
}

/// A place from either end; `None` where the frame is shorter.
pub(super) fn place(at: i32, len: usize) -> Option<usize> {
    let distance = usize::try_from(at.unsigned_abs()).ok()?;
    if at < 0 { len.checked_sub(distance) } else { (distance <= len).then_some(distance) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &[u8] = b"123456789";

    #[test]
    fn each_kind_gives_the_value_that_its_catalogue_names() {
        for (name, expected) in [
            ("sum8", 0xdd),
            ("sum8-neg", 0x23),
            ("sum8-inverted", 0x22),
            ("sum16", 0x01dd),
            ("xor8", 0x31),
            ("bcc", 0x31),
            ("crc16-modbus", 0x4b37),
            ("crc16-arc", 0xbb3d),
            ("crc16-x25", 0x906e),
        ] {
            let kind = CheckKind::named(name).unwrap();
            assert_eq!((kind.compute(DIGITS), kind.name()), (expected, name));
        }
    }

    #[test]
    fn a_value_is_found_from_either_end_in_either_order_in_bytes_or_digits() {
        let check = |kind: CheckKind, order: Endian, hex: bool, value: &[u8], expected: bool| {
            let width = if hex { kind.bytes() * 2 } else { kind.bytes() };
            let back = -i32::try_from(width).unwrap();
            for (at, to) in [(back, None), (9, None), (9, Some(9)), (back, Some(back))] {
                let check = CheckConfig { kind, from: 0, to, at, order, hex };
                let frame = [DIGITS, value].concat();
                assert_eq!(check.verify(&frame).is_ok(), expected, "{check:?} {value:02x?}");
            }
        };
        use CheckKind::{Crc16Modbus, Sum16, Xor8};
        check(Crc16Modbus, Endian::Little, false, &[0x37, 0x4b], true);
        check(Crc16Modbus, Endian::Big, false, &[0x37, 0x4b], false);
        check(Crc16Modbus, Endian::Big, true, b"4B37", true);
        check(Crc16Modbus, Endian::Big, true, b"4b37", true);
        check(Crc16Modbus, Endian::Little, true, b"374B", true);
        check(Sum16, Endian::Big, false, &[0x01, 0xdd], true);
        check(Xor8, Endian::Big, true, b"31", true);
        check(Xor8, Endian::Big, true, b"+1", false);
        check(Xor8, Endian::Big, true, b"zz", false);
    }

    #[test]
    fn a_frame_that_is_shorter_than_its_check_fails() {
        let check =
            CheckConfig { kind: CheckKind::Sum16, from: 0, to: None, at: -2, order: Endian::Big, hex: false };
        assert_eq!(
            check.verify(&[7]),
            Err(CheckFailure { kind: CheckKind::Sum16, computed: 0, found: None })
        );
        assert_eq!(check.verify(&[]).unwrap_err().found, None);
        assert_eq!(check.verify(&[0, 0]), Ok(()), "an empty frame sums to zero: framing sees to its length");
    }
}
