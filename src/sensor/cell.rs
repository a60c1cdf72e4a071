//! Typed cells: the bytes of one number, bit or text within a frame or a run of registers, to a raw value and back.
//! Where a cell stands is its point's business; what its value means (scale, unit, range) too.

mod part;

use std::borrow::Cow;
use std::fmt;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::decode::Raw;

/// The longest cell of variable length, in bytes: more than any text that is a value, and a Modbus answer's most.
pub const CELL_BYTES_MAX: usize = 250;

/// The most bytes of a BCD number: two digits each, so that every one fits a decimal of 28 digits.
pub const BCD_BYTES_MAX: usize = 14;

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CellType {
    U8,
    I8,
    U16,
    I16,
    U24,
    I24,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    /// Packed decimal digits, two in a byte, as many bytes as the cell has.
    Bcd,
    /// One bit of a byte or register.
    Bit,
    /// Zero is false, everything else true.
    Bool,
    /// ASCII or UTF-8, padded with NULs or spaces.
    String,
}

/// Every type with its name in the config, and its bytes where these are fixed.
const TYPES: [(CellType, &str, Option<usize>); 16] = [
    (CellType::U8, "u8", Some(1)),
    (CellType::I8, "i8", Some(1)),
    (CellType::U16, "u16", Some(2)),
    (CellType::I16, "i16", Some(2)),
    (CellType::U24, "u24", Some(3)),
    (CellType::I24, "i24", Some(3)),
    (CellType::U32, "u32", Some(4)),
    (CellType::I32, "i32", Some(4)),
    (CellType::U64, "u64", Some(8)),
    (CellType::I64, "i64", Some(8)),
    (CellType::F32, "f32", Some(4)),
    (CellType::F64, "f64", Some(8)),
    (CellType::Bcd, "bcd", None),
    (CellType::Bit, "bit", None),
    (CellType::Bool, "bool", None),
    (CellType::String, "string", None),
];

impl CellType {
    /// The type of that name in the config.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TYPES.iter().find(|(_, known, _)| *known == name).map(|(kind, ..)| *kind)
    }

    /// Its name in the config.
    #[must_use]
    pub fn name(self) -> &'static str {
        TYPES.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    /// Its bytes, where the type alone says so. A bit and a bool are as wide as what they stand in.
    #[must_use]
    pub fn fixed_bytes(self) -> Option<usize> {
        TYPES.iter().find(|(kind, ..)| *kind == self).and_then(|(.., bytes)| *bytes)
    }

    /// Whether it is a whole number without sign, of which bits may be taken.
    #[must_use]
    pub fn is_unsigned(self) -> bool {
        matches!(self, Self::U8 | Self::U16 | Self::U24 | Self::U32 | Self::U64)
    }

    /// Whether its value is a number.
    #[must_use]
    pub fn is_number(self) -> bool {
        !matches!(self, Self::Bit | Self::Bool | Self::String)
    }
}

/// The order of the bytes in a number, or in each of its words where `WordOrder` says otherwise of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Endian {
    /// The high byte first.
    #[default]
    Big,
    /// The low byte first.
    Little,
}

/// The order of the 16-bit words of a number that has several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WordOrder {
    /// As most devices send it.
    #[default]
    HighFirst,
    /// PZEM and others.
    LowFirst,
}

/// How one value stands in bytes.
///
/// | endian | word order | four bytes of 0xAABBCCDD |
/// |---|---|---|
/// | big | high word first | AA BB CC DD |
/// | big | low word first | CC DD AA BB |
/// | little | high word first | BB AA DD CC |
/// | little | low word first | DD CC BB AA |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What it holds.
    pub kind: CellType,
    /// Its bytes: those of the type, or what the config says of a `Bcd` and a `String`; of a `Bit` and a `Bool` those of
    /// what they stand in (1 in a frame, 2 in a register).
    pub bytes: usize,
    /// Of the bytes.
    pub endian: Endian,
    /// Of the words. A number of which the bytes are no whole words has the word order of its byte order.
    pub word_order: WordOrder,
    /// Only these bits of an unsigned number count.
    pub mask: Option<u64>,
    /// By how many bits an unsigned number is moved to the right, after the mask.
    pub shift: u8,
    /// Which bit, for [`CellType::Bit`]: 0 is the lowest.
    pub bit: u8,
}

impl Cell {
    /// A cell of a type, most significant byte first. One of variable length has one byte; a bit and a bool too.
    #[must_use]
    pub fn of(kind: CellType) -> Self {
        Self {
            kind,
            bytes: kind.fixed_bytes().unwrap_or(1),
            endian: Endian::Big,
            word_order: WordOrder::HighFirst,
            mask: None,
            shift: 0,
            bit: 0,
        }
    }

    /// The value in exactly `bytes` bytes; of another length it is missing.
    pub(in crate::sensor) fn decode(&self, bytes: &[u8]) -> Raw<'static> {
        if bytes.len() != self.bytes {
            return Raw::Missing;
        }
        match self.kind {
            CellType::String => text(bytes),
            CellType::Bcd => self.bcd(bytes),
            CellType::Bool => Raw::Bool(bytes.iter().any(|byte| *byte != 0)),
            CellType::Bit => {
                let bits = self.bits(bytes);
                Raw::Bool(bits.checked_shr(self.bit.into()).unwrap_or(0) & 1 == 1)
            }
            // The shortest decimal of the f32, as the device's maker means it: 230.2, not 230.1999969482422.
            CellType::F32 => {
                let bits = u32::try_from(self.bits(bytes)).unwrap_or_default();
                let number = f32::from_bits(bits);
                Raw::Float(if number.is_finite() {
                    number.to_string().parse().unwrap_or(f64::NAN)
                } else {
                    f64::from(number)
                })
            }
            CellType::F64 => Raw::Float(f64::from_bits(self.bits(bytes))),
            _ => Raw::Decimal(self.integer(bytes)),
        }
    }

    fn integer(&self, bytes: &[u8]) -> Decimal {
        let bits = self.bits(bytes);
        if self.kind.is_unsigned() {
            let masked = bits & self.mask.unwrap_or(u64::MAX);
            return Decimal::from(masked.checked_shr(self.shift.into()).unwrap_or(0));
        }
        // The sign bit is moved to the top of an i64 and back, which fills the bits above it.
        let above = 64_usize.saturating_sub(self.bytes.saturating_mul(8));
        let above = u32::try_from(above).unwrap_or_default();
        let signed = bits.checked_shl(above).unwrap_or(0).cast_signed().checked_shr(above).unwrap_or(0);
        Decimal::from(signed)
    }

    /// The bytes as a number, whatever their order; at most eight of them count.
    fn bits(&self, bytes: &[u8]) -> u64 {
        self.in_big_endian(bytes).iter().fold(0, |number: u64, byte| (number << 8) | u64::from(*byte))
    }

    /// The bytes with the most significant first; and the other way round, since it is its own inverse.
    fn in_big_endian<'b>(&self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<u8>>();
        match (self.endian, self.word_order) {
            _ if bytes.len() <= 1 => Cow::Borrowed(bytes),
            (Endian::Big, WordOrder::HighFirst) => Cow::Borrowed(bytes),
            (Endian::Little, WordOrder::LowFirst) => Cow::Owned(reversed(bytes)),
            (Endian::Little, WordOrder::HighFirst) => {
                Cow::Owned(bytes.chunks(2).flat_map(reversed).collect())
            }
            (Endian::Big, WordOrder::LowFirst) => {
                Cow::Owned(bytes.chunks(2).rev().flatten().copied().collect())
            }
        }
    }

    fn bcd(&self, bytes: &[u8]) -> Raw<'static> {
        let mut number: i128 = 0;
        for byte in self.in_big_endian(bytes).iter() {
            let (high, low) = (byte >> 4, byte & 0x0f);
            if high > 9 || low > 9 {
                // Makers fill with 0xF where there is no value.
                return Raw::Null;
            }
            number = number.saturating_mul(100).saturating_add(i128::from(high) * 10 + i128::from(low));
        }
        Decimal::try_from_i128_with_scale(number, 0).map_or(Raw::Null, Raw::Decimal)
    }

    /// The bytes that hold this value.
    ///
    /// # Errors
    /// The value doesn't fit the type, or the cell holds only a part of its bytes.
    pub(in crate::sensor) fn encode(&self, value: &Raw<'_>) -> Result<Vec<u8>, EncodeError> {
        if self.mask.is_some() || self.shift != 0 || self.kind == CellType::Bit {
            return Err(EncodeError::PartOfAWord);
        }
        let bits = match (self.kind, value) {
            (CellType::String, Raw::String(text)) => return self.padded(text),
            (CellType::Bool, Raw::Bool(flag)) => u64::from(*flag),
            (CellType::F32 | CellType::F64, Raw::Float(number)) => self.float_bits(*number)?,
            (CellType::F32 | CellType::F64, Raw::Decimal(number)) => {
                let text = number.normalize().to_string();
                self.float_bits(text.parse().map_err(|_| EncodeError::NotThisType)?)?
            }
            (CellType::Bcd, Raw::Decimal(number)) => return self.digits(*number),
            (kind, Raw::Decimal(number)) if kind.is_number() => self.integer_bits(*number)?,
            _ => return Err(EncodeError::NotThisType),
        };
        let bytes = bits.to_be_bytes();
        let low = bytes.get(bytes.len().saturating_sub(self.bytes)..).unwrap_or_default();
        Ok(self.in_big_endian(low).into_owned())
    }

    fn float_bits(&self, number: f64) -> Result<u64, EncodeError> {
        if self.kind == CellType::F64 {
            return Ok(number.to_bits());
        }
        // Through the text, which rounds once.
        let narrow: f32 = number.to_string().parse().map_err(|_| EncodeError::NotThisType)?;
        if number.is_finite() && !narrow.is_finite() {
            let (min, max) = (f64::from(f32::MIN).to_string(), f64::from(f32::MAX).to_string());
            return Err(EncodeError::OutOfRange { value: number.to_string(), min, max });
        }
        Ok(u64::from(narrow.to_bits()))
    }

    fn integer_bits(&self, number: Decimal) -> Result<u64, EncodeError> {
        if !number.fract().is_zero() {
            return Err(EncodeError::Fraction { value: number.normalize().to_string() });
        }
        let bits = u32::try_from(self.bytes.saturating_mul(8)).unwrap_or(64).min(64);
        let (min, max) = if self.kind.is_unsigned() {
            (0, (1_i128 << bits) - 1)
        } else {
            (-(1_i128 << (bits.saturating_sub(1))), (1_i128 << (bits.saturating_sub(1))) - 1)
        };
        let whole = number.to_i128().unwrap_or(i128::MAX);
        if !(min..=max).contains(&whole) {
            let value = number.normalize().to_string();
            return Err(EncodeError::OutOfRange { value, min: min.to_string(), max: max.to_string() });
        }
        let all = u64::try_from(whole).ok();
        Ok(all.or_else(|| i64::try_from(whole).ok().map(i64::cast_unsigned)).unwrap_or_default())
    }

    fn digits(&self, number: Decimal) -> Result<Vec<u8>, EncodeError> {
        if !number.fract().is_zero() {
            return Err(EncodeError::Fraction { value: number.normalize().to_string() });
        }
        let mut rest = number.to_i128().unwrap_or(-1);
        let mut bytes = vec![0; self.bytes];
        for byte in bytes.iter_mut().rev() {
            let pair = u8::try_from(rest.rem_euclid(100)).unwrap_or_default();
            *byte = ((pair / 10) << 4) | (pair % 10);
            rest = rest.div_euclid(100);
        }
        if rest != 0 {
            let (value, max) = (number.normalize().to_string(), "9".repeat(self.bytes.saturating_mul(2)));
            return Err(EncodeError::OutOfRange { value, min: "0".to_owned(), max });
        }
        Ok(self.in_big_endian(&bytes).into_owned())
    }

    fn padded(&self, text: &str) -> Result<Vec<u8>, EncodeError> {
        if text.len() > self.bytes {
            return Err(EncodeError::TooLong { bytes: text.len(), max: self.bytes });
        }
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(self.bytes, 0);
        Ok(bytes)
    }
}

fn text(bytes: &[u8]) -> Raw<'static> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = bytes.get(..end).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match text.map(str::trim) {
        Some("") => Raw::Missing,
        Some(text) => Raw::String(Cow::Owned(text.to_owned())),
        None => Raw::Null,
    }
}

/// Why a value can't stand in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The cell is some bits of a word; to write them, the others must be known.
    PartOfAWord,
    /// A text for a number, or the other way round.
    NotThisType,
    /// The cell holds whole numbers.
    Fraction {
        /// What was to be written.
        value: String,
    },
    /// The cell can't hold it.
    OutOfRange {
        /// What was to be written.
        value: String,
        /// The least that the cell can hold.
        min: String,
        /// The most.
        max: String,
    },
    /// The text is longer than the cell.
    TooLong {
        /// Its bytes.
        bytes: usize,
        /// Those of the cell.
        max: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PartOfAWord => f.write_str("it is a part of a word, which can't be written alone"),
            Self::NotThisType => f.write_str("the value isn't of the point's type"),
            Self::Fraction { value } => write!(f, "{value} is not whole in the device's steps"),
            Self::OutOfRange { value, min, max } => {
                write!(f, "{value} in the device's steps is not between {min} and {max}")
            }
            Self::TooLong { bytes, max } => write!(f, "the text has {bytes} bytes, the device takes {max}"),
        }
    }
}

impl std::error::Error for EncodeError {}

#[cfg(test)]
mod tests;
