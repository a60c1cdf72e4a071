//! A frame to raw fields, one file per format. What a field means (type, scale, range) is `point`'s business.

mod binary;
mod codec;
mod csv;
mod json;
mod json_text;
mod keyvalue;
mod obis;
mod regex;

use std::borrow::Cow;
use std::str;

use rust_decimal::Decimal;

use super::config::{DecodeConfig, Points};
use super::fault::LineError;

/// Points that `points = "*"` takes from one line; what comes after them is ignored.
pub(super) const ALL_POINTS_MAX: usize = 64;

pub use obis::is_obis_code;

/// One field as it stands in the line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw<'a> {
    /// Not in the line, or empty.
    Missing,
    /// JSON null: the device knows the field, and has no value.
    Null,
    /// JSON true or false.
    Bool(bool),
    /// A JSON number's text.
    Number(&'a str),
    /// A JSON string.
    String(Cow<'a, str>),
    /// Text of a format without types, trimmed, not empty.
    Word(&'a str),
    /// A JSON object or array where a value was asked for.
    Nested,
    /// An exact number of a binary format or a codec, already scaled by what the format itself says.
    Decimal(Decimal),
    /// An IEEE 754 number of a binary format; NaN and the infinities read invalid.
    Float(f64),
}

impl<'a> Raw<'a> {
    /// A field of a format without types.
    fn word(text: &'a str) -> Self {
        match text.trim() {
            "" => Self::Missing,
            word => Self::Word(word),
        }
    }
}

/// How sure it is that a line which decodes had its beginning, when it is the first after opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wholeness {
    /// A line without its beginning doesn't decode.
    Certain,
    /// A line without its beginning lacks a point.
    IfComplete,
    /// `21.5,61` without its beginning is `5,61`.
    Unknown,
}

/// A format with the places of a device's points, resolved once.
#[derive(Debug)]
pub(super) enum Decoder {
    Json(json::Json),
    KeyValue(keyvalue::KeyValue),
    Csv(csv::Csv),
    Regex(regex::Groups),
    Obis(obis::Obis),
    Binary(binary::Binary),
    Codec(codec::Named),
}

impl Decoder {
    pub(super) fn new(config: &DecodeConfig, points: &Points) -> Self {
        let froms: Vec<&str> = match points {
            Points::All => Vec::new(),
            Points::List(list) => list.iter().map(|point| point.from.as_str()).collect(),
        };
        match config {
            DecodeConfig::Json => Self::Json(json::Json::new(&froms)),
            DecodeConfig::KeyValue { pair, separator } => {
                Self::KeyValue(keyvalue::KeyValue::new(*pair, *separator, &froms))
            }
            DecodeConfig::Csv { separator, columns } => {
                Self::Csv(csv::Csv::new(*separator, columns.clone(), &froms))
            }
            DecodeConfig::Regex(regex) => Self::Regex(regex::Groups::new(regex.0.clone(), &froms)),
            DecodeConfig::Obis => Self::Obis(obis::Obis::new(&froms)),
            DecodeConfig::Codec(kind) => Self::Codec(codec::Named::new(*kind, points)),
            // Registers come in answers, of which the bus knows the places: no frame is decoded.
            DecodeConfig::Registers => Self::Binary(binary::Binary::new(&[])),
            DecodeConfig::Binary { .. } => Self::Binary(binary::Binary::new(match points {
                Points::All => &[],
                Points::List(list) => list,
            })),
        }
    }

    /// The raw value of each listed point, in the order of the list.
    pub(super) fn pick<'a>(&self, frame: &'a [u8]) -> Result<Vec<Raw<'a>>, LineError> {
        match self {
            Self::Binary(decoder) => return Ok(decoder.pick(frame)),
            Self::Codec(decoder) => return decoder.pick(frame),
            _ => {}
        }
        let line = text(frame)?;
        match self {
            Self::Json(decoder) => decoder.pick(line),
            Self::KeyValue(decoder) => decoder.pick(line),
            Self::Csv(decoder) => Ok(decoder.pick(line)),
            Self::Regex(decoder) => decoder.pick(line),
            Self::Obis(decoder) => decoder.pick(line),
            Self::Binary(_) | Self::Codec(_) => Ok(Vec::new()),
        }
    }

    /// Every field that the frame has, by name, at most [`ALL_POINTS_MAX`]; of equal names the last stands. Bytes
    /// have no names.
    pub(super) fn all<'a>(&'a self, frame: &'a [u8]) -> Result<Vec<(Cow<'a, str>, Raw<'a>)>, LineError> {
        match self {
            Self::Binary(_) => return Ok(Vec::new()),
            Self::Codec(decoder) => return decoder.all(frame),
            _ => {}
        }
        let line = text(frame)?;
        let mut fields = Fields::default();
        match self {
            Self::Json(_) => json::all(line, &mut fields)?,
            Self::KeyValue(decoder) => decoder.all(line, &mut fields)?,
            Self::Csv(decoder) => decoder.all(line, &mut fields),
            Self::Regex(decoder) => decoder.all(line, &mut fields)?,
            Self::Obis(decoder) => decoder.all(line, &mut fields)?,
            Self::Binary(_) | Self::Codec(_) => {}
        }
        Ok(fields.0)
    }

    /// See [`Wholeness`].
    pub(super) fn wholeness(&self, points: &Points) -> Wholeness {
        match (self, points) {
            (Self::Json(_), _) => Wholeness::Certain,
            (Self::Regex(decoder), _) if decoder.is_anchored() => Wholeness::Certain,
            (Self::KeyValue(_), Points::List(_)) => Wholeness::IfComplete,
            _ => Wholeness::Unknown,
        }
    }

    /// Whether a frame carries only some of the values, so that a point which isn't in it is no fault.
    pub(super) fn is_partial(&self) -> bool {
        matches!(self, Self::Codec(decoder) if decoder.is_partial())
    }

    /// Whether the format itself says whose value is whose. Columns don't: any text is a first column.
    pub(super) fn names_fields(&self) -> bool {
        !matches!(self, Self::Csv(_))
    }
}

/// A frame as text, without the NULs around it: noise at switch-on reads so.
fn text(frame: &[u8]) -> Result<&str, LineError> {
    let bytes = trim_nuls(frame);
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Err(LineError::Nul { at });
    }
    str::from_utf8(bytes).map_err(|error| LineError::NotUtf8 { at: error.valid_up_to() })
}

/// What is left without the NULs at both ends.
pub(super) fn trim_nuls(bytes: &[u8]) -> &[u8] {
    let Some(start) = bytes.iter().position(|&byte| byte != 0) else { return &[] };
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last.saturating_add(1));
    bytes.get(start..end).unwrap_or_default()
}

/// Collects named fields up to the bound.
#[derive(Debug, Default)]
struct Fields<'a>(Vec<(Cow<'a, str>, Raw<'a>)>);

impl<'a> Fields<'a> {
    fn put(&mut self, name: Cow<'a, str>, raw: Raw<'a>) {
        if name.is_empty() || raw == Raw::Missing {
            return;
        }
        if let Some((_, value)) = self.0.iter_mut().find(|(known, _)| *known == name) {
            *value = raw;
        } else if self.0.len() < ALL_POINTS_MAX {
            self.0.push((name, raw));
        }
    }
}
