//! What is sent for a value: text or bytes, with a place for the value.

use std::fmt;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::sensor::cell::{Cell, CellType, EncodeError, Endian, WordOrder};
use crate::sensor::decode::Raw;

/// The widest number, in characters.
const WIDTH_MAX: usize = 32;
/// The most digits behind the point.
const DIGITS_MAX: u32 = 12;

/// The places of a value in bytes, by name.
const CELLS: [(&str, CellType, Endian); 20] = [
    ("u8", CellType::U8, Endian::Big),
    ("i8", CellType::I8, Endian::Big),
    ("u16be", CellType::U16, Endian::Big),
    ("u16le", CellType::U16, Endian::Little),
    ("i16be", CellType::I16, Endian::Big),
    ("i16le", CellType::I16, Endian::Little),
    ("u24be", CellType::U24, Endian::Big),
    ("u24le", CellType::U24, Endian::Little),
    ("u32be", CellType::U32, Endian::Big),
    ("u32le", CellType::U32, Endian::Little),
    ("i32be", CellType::I32, Endian::Big),
    ("i32le", CellType::I32, Endian::Little),
    ("u64be", CellType::U64, Endian::Big),
    ("u64le", CellType::U64, Endian::Little),
    ("i64be", CellType::I64, Endian::Big),
    ("i64le", CellType::I64, Endian::Little),
    ("f32be", CellType::F32, Endian::Big),
    ("f32le", CellType::F32, Endian::Little),
    ("f64be", CellType::F64, Endian::Big),
    ("f64le", CellType::F64, Endian::Little),
];

/// What is sent for a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendTemplate {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Bytes(Vec<u8>),
    Text(Format),
    Cell(Cell),
}

/// How a value stands in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Format {
    /// Filled up on the left, with zeros or spaces.
    width: usize,
    zeros: bool,
    digits: Option<u32>,
    hex: bool,
}

/// What is wrong with a template, or with a value in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// A place that nobody can fill.
    BadPlace {
        /// As it is written.
        written: String,
    },
    /// A piece that is no hexadecimal digits.
    NoHex {
        /// As it is written.
        written: String,
    },
    /// It has more digits behind the point than are sent.
    Digits {
        /// The number.
        value: String,
        /// How many are sent.
        digits: u32,
    },
    /// It is longer than its place.
    TooWide {
        /// As it would be sent.
        text: String,
        /// The width of its place.
        width: usize,
    },
    /// It is no number, and its place is one's.
    NoNumber,
    /// Hexadecimal digits are for whole numbers from 0.
    NoHexNumber {
        /// The number.
        value: String,
    },
    /// It doesn't fit its bytes.
    Encode(EncodeError),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadPlace { written } => write!(f, "{written:?} stands for nothing here"),
            Self::NoHex { written } => write!(f, "{written:?} is no byte in hexadecimal digits"),
            Self::Digits { value, digits } => {
                write!(f, "{value} has more digits behind the point than the {digits} that are sent")
            }
            Self::TooWide { text, width } => {
                write!(f, "{text} is longer than the {width} characters of its place")
            }
            Self::NoNumber => f.write_str("expected a number"),
            Self::NoHexNumber { value } => write!(f, "{value} is not a whole number from 0"),
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TemplateError {}

impl SendTemplate {
    /// A text with `{value}` or `{value:06.2}` in it. Other braces are braces.
    ///
    /// # Errors
    /// A place that can't be filled.
    pub fn text(text: &str) -> Result<Self, TemplateError> {
        let plain = |text: &str| Ok(text.as_bytes().to_vec());
        Self::of(text, plain, |format| Format::parse(format).map(Piece::Text))
    }

    /// Bytes in hexadecimal digits, with `{value:u16be}` among them.
    ///
    /// # Errors
    /// A place that can't be filled, or what is no byte.
    pub fn hex(text: &str) -> Result<Self, TemplateError> {
        Self::of(text, hex, |format| {
            let (_, kind, endian) = CELLS.iter().find(|(name, ..)| *name == format)?;
            let is_big = *endian == Endian::Big;
            let word_order = if is_big { WordOrder::HighFirst } else { WordOrder::LowFirst };
            Some(Piece::Cell(Cell { endian: *endian, word_order, ..Cell::of(*kind) }))
        })
    }

    /// What may stand behind the colon of `{value:…}` in bytes.
    pub fn cells() -> impl Iterator<Item = &'static str> {
        CELLS.iter().map(|(name, ..)| *name)
    }

    fn of(
        text: &str,
        plain: impl Fn(&str) -> Result<Vec<u8>, TemplateError>,
        place: impl Fn(&str) -> Option<Piece>,
    ) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("{value") {
            let (inside, tail) = behind.split_once('}').unwrap_or((behind, ""));
            let is_closed = behind.contains('}');
            let format = if inside.is_empty() { Some("") } else { inside.strip_prefix(':') };
            let end = if is_closed { "}" } else { "" };
            let bad = || TemplateError::BadPlace { written: format!("{{value{inside}{end}") };
            pieces.push(Piece::Bytes(plain(before)?));
            pieces.push(format.filter(|_| is_closed).and_then(&place).ok_or_else(bad)?);
            rest = tail;
        }
        pieces.push(Piece::Bytes(plain(rest)?));
        Ok(Self { pieces })
    }

    /// Whether it has a place for a value.
    #[must_use]
    pub fn has_value(&self) -> bool {
        self.pieces.iter().any(|piece| !matches!(piece, Piece::Bytes(_)))
    }

    /// Its bytes with a value.
    pub(in crate::sensor) fn bytes(&self, raw: &Raw<'_>) -> Result<Vec<u8>, TemplateError> {
        let mut bytes = Vec::new();
        for piece in &self.pieces {
            match (piece, raw) {
                (Piece::Bytes(plain), _) => bytes.extend_from_slice(plain),
                (Piece::Text(format), _) => bytes.extend(format.print(raw)?.into_bytes()),
                (Piece::Cell(cell), Raw::Bool(flag)) => {
                    let number = Raw::Decimal(u8::from(*flag).into());
                    bytes.extend(cell.encode(&number).map_err(TemplateError::Encode)?);
                }
                (Piece::Cell(cell), _) => bytes.extend(cell.encode(raw).map_err(TemplateError::Encode)?),
            }
        }
        Ok(bytes)
    }
}

fn hex(text: &str) -> Result<Vec<u8>, TemplateError> {
    let digits: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    let byte = |pair: &[u8]| {
        let text = String::from_utf8_lossy(pair);
        let is_hex = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
        let byte = u8::from_str_radix(&text, 16).ok().filter(|_| is_hex);
        byte.ok_or_else(|| TemplateError::NoHex { written: text.into_owned() })
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

impl Format {
    /// `[0][width][.digits][X]`
    fn parse(text: &str) -> Option<Self> {
        let (text, hex) = match text.strip_suffix('X') {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let (width, digits) = match text.split_once('.') {
            Some((width, digits)) => {
                (width, Some(digits.parse().ok().filter(|digits| *digits <= DIGITS_MAX)?))
            }
            None => (text, None),
        };
        let zeros = width.starts_with('0');
        let width = if width.is_empty() { 0 } else { width.parse().ok()? };
        let is_possible = is_plain && width <= WIDTH_MAX && !(hex && digits.is_some());
        is_possible.then_some(Self { width, zeros, digits, hex })
    }

    fn print(self, raw: &Raw<'_>) -> Result<String, TemplateError> {
        let number = match raw {
            Raw::Decimal(number) => Some(*number),
            Raw::Bool(flag) => Some(Decimal::from(u8::from(*flag))),
            _ => None,
        };
        let text = match (raw, number) {
            (_, Some(number)) if self.hex => hex_digits(number)?,
            (_, Some(number)) => self.decimal(number)?,
            (Raw::String(text), None) if self.digits.is_none() && !self.hex => text.to_string(),
            _ => return Err(TemplateError::NoNumber),
        };
        let length = text.chars().count();
        if self.width > 0 && length > self.width {
            return Err(TemplateError::TooWide { text, width: self.width });
        }
        let fill = if self.zeros { "0" } else { " " }.repeat(self.width.saturating_sub(length));
        // Zeros stand behind the sign.
        match text.strip_prefix('-').filter(|_| self.zeros) {
            Some(digits) => Ok(format!("-{fill}{digits}")),
            None => Ok(fill + &text),
        }
    }

    fn decimal(self, number: Decimal) -> Result<String, TemplateError> {
        let number = number.normalize();
        match self.digits {
            None => Ok(number.to_string()),
            Some(digits) if number.scale() > digits => {
                Err(TemplateError::Digits { value: number.to_string(), digits })
            }
            Some(digits) => Ok(format!("{number:.*}", usize::try_from(digits).unwrap_or_default())),
        }
    }
}

fn hex_digits(number: Decimal) -> Result<String, TemplateError> {
    let whole = number.to_u64().filter(|_| number.fract().is_zero());
    let whole = whole.ok_or_else(|| TemplateError::NoHexNumber { value: number.normalize().to_string() })?;
    Ok(format!("{whole:X}"))
}
