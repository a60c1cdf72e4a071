//! Frames as a device would send them, made from its config alone: the other way round of framing, check and cells. What
//! only a program could know (regular expressions, protocols of their own) can't be made, and is refused.

use std::fmt;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::cell::{Cell, CellType};
use super::config::{
    DecodeConfig, DeviceConfig, FramingConfig, LineEnd, PacketLength, PointConfig, PointType, Points,
    RawValue,
};
use super::decode::Raw;
use super::trial::{Piece, Trial};
use crate::reading::{Quality, Sample};
use crate::time::Mono;

/// Frames after which a value begins anew.
const PERIOD: u64 = 60;

/// Values of a device that takes whatever a frame has.
const ANY: [&str; 3] = ["temperature", "humidity", "count"];

/// A device that is simulated.
#[derive(Debug)]
pub struct Simulator {
    config: DeviceConfig,
    points: Vec<PointConfig>,
    frames: u64,
}

/// Why a device can't be simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimulateError {
    /// Nobody can say what such a frame looks like.
    NotFromConfig {
        /// What it is made of.
        what: &'static str,
    },
    /// It speaks only when asked for registers, and nobody here asks.
    Registers,
    /// The frame that was made isn't read as one.
    NotRead {
        /// Why.
        error: String,
    },
}

impl fmt::Display for SimulateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFromConfig { what } => {
                write!(f, "{what} can't be made up; give bytes of a real device: --capture FILE")
            }
            Self::Registers => f.write_str(
                "a device that is asked for registers can't be simulated; a Modbus simulator on the line can",
            ),
            Self::NotRead { error } => write!(f, "a frame made from this config is not read by it: {error}"),
        }
    }
}

impl std::error::Error for SimulateError {}

impl Simulator {
    /// A device of this config. Its first frame is tried: the config reads what it makes.
    ///
    /// # Errors
    /// Such a device can't be simulated.
    pub fn new(config: DeviceConfig) -> Result<Self, SimulateError> {
        let what = match &config.decode {
            DecodeConfig::Registers => return Err(SimulateError::Registers),
            DecodeConfig::Regex(_) => Some("what a regular expression matches"),
            DecodeConfig::Obis => Some("a meter's telegram"),
            DecodeConfig::Codec(_) => Some("a frame of this protocol"),
            _ => None,
        };
        if let Some(what) = what {
            return Err(SimulateError::NotFromConfig { what });
        }
        let points = match &config.points {
            Points::List(points) => points.clone(),
            Points::All => ANY.iter().map(|name| PointConfig::named(name)).collect(),
        };
        let simulator = Self { config, points, frames: 0 };
        simulator.try_one()?;
        Ok(simulator)
    }

    /// The next frame, as it stands on the wire.
    pub fn frame(&mut self) -> Vec<u8> {
        let frame = self.make(self.frames);
        self.frames = self.frames.wrapping_add(1);
        frame
    }

    fn try_one(&self) -> Result<(), SimulateError> {
        let mut trial = Trial::new(&self.config);
        let mut result = Err("it has no end".to_owned());
        let mut take = |piece: Piece<'_>| match piece {
            Piece::Frame { values, .. } => result = values.and_then(|values| all_good(&values)),
            Piece::Bad { error, .. } => result = Err(error),
            Piece::Skipped(bytes) => result = Err(format!("{} bytes are no frame", bytes.len())),
        };
        trial.push(Mono::ZERO, &self.make(0), &mut take);
        trial.finish(&mut take);
        result.map_err(|error| SimulateError::NotRead { error })
    }

    fn make(&self, number: u64) -> Vec<u8> {
        let body = match &self.config.decode {
            DecodeConfig::Binary { .. } => return self.packet(number),
            DecodeConfig::KeyValue { pair, separator } => {
                let pairs = self.points.iter().enumerate().map(|(index, point)| {
                    format!("{}{pair}{}", point.from, text(point, number, index, false))
                });
                pairs.collect::<Vec<_>>().join(&separator.unwrap_or(' ').to_string())
            }
            DecodeConfig::Csv { separator, columns } => self.columns(number, *separator, columns),
            _ => self.object(number),
        };
        self.wrap(body.into_bytes())
    }

    fn columns(&self, number: u64, separator: char, columns: &[String]) -> String {
        let place = |point: &PointConfig| {
            let named = columns.iter().position(|column| *column == point.from);
            named.or_else(|| point.from.parse::<usize>().ok()?.checked_sub(1))
        };
        let last = self.points.iter().filter_map(place).max().unwrap_or(0);
        let count = columns.len().max(last.saturating_add(1));
        let column = |column: usize| {
            let found = self.points.iter().enumerate().find(|(_, point)| place(point) == Some(column));
            found.map_or_else(|| "0".to_owned(), |(index, point)| text(point, number, index, false))
        };
        (0..count).map(column).collect::<Vec<_>>().join(&separator.to_string())
    }

    /// A JSON object in which each pointer leads to its value.
    fn object(&self, number: u64) -> String {
        let mut object = serde_json::Map::new();
        for (index, point) in self.points.iter().enumerate() {
            let value = serde_json::from_str(&text(point, number, index, true)).unwrap_or_default();
            let keys: Vec<String> = match point.from.strip_prefix('/') {
                Some(pointer) => {
                    pointer.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect()
                }
                None => vec![point.from.clone()],
            };
            put(&mut object, &keys, value);
        }
        serde_json::Value::Object(object).to_string()
    }

    /// Puts what frames a text around it.
    fn wrap(&self, mut body: Vec<u8>) -> Vec<u8> {
        match &self.config.framing {
            FramingConfig::Line { end: LineEnd::Exact(end), .. } => body.extend_from_slice(end),
            FramingConfig::Line { end: LineEnd::Any, .. } => body.extend_from_slice(b"\r\n"),
            FramingConfig::Telegram { start, end, tail, .. } => {
                body = [start.as_slice(), &body, end, &vec![0; *tail]].concat();
                self.stamp(&mut body);
            }
            _ => {}
        }
        body
    }

    fn packet(&self, number: u64) -> Vec<u8> {
        let mut frame = vec![0; self.packet_bytes()];
        for (index, point) in self.points.iter().enumerate() {
            let Some(cell) = point.cell else { continue };
            let Some(start) = super::check::place(point.at, frame.len()) else { continue };
            let bytes = encode(point, &cell, number, index);
            // Several points may be parts of one byte.
            for (to, from) in frame.iter_mut().skip(start).zip(bytes) {
                *to |= from;
            }
        }
        match &self.config.framing {
            FramingConfig::Packet { sync, length, end, .. } => {
                put_bytes(&mut frame, 0, sync);
                let tail = frame.len().saturating_sub(end.len());
                put_bytes(&mut frame, tail, end);
                if let PacketLength::Field { at, bytes, endian, add } = length {
                    let told = i64::try_from(frame.len()).unwrap_or(0).saturating_sub((*add).into());
                    let told = u16::try_from(told).unwrap_or(0);
                    let field = match (bytes, endian) {
                        (1, _) => told.to_le_bytes().get(..1).unwrap_or_default().to_vec(),
                        (_, super::Endian::Big) => told.to_be_bytes().to_vec(),
                        (_, super::Endian::Little) => told.to_le_bytes().to_vec(),
                    };
                    put_bytes(&mut frame, *at, &field);
                }
            }
            FramingConfig::Telegram { start, end, tail, .. } => {
                put_bytes(&mut frame, 0, start);
                let at = frame.len().saturating_sub(end.len().saturating_add(*tail));
                put_bytes(&mut frame, at, end);
            }
            _ => {}
        }
        self.stamp(&mut frame);
        match &self.config.framing {
            FramingConfig::Stuffed { flag, escape, xor, .. } => stuff(&frame, *flag, *escape, *xor),
            FramingConfig::Line { .. } => self.wrap(frame),
            _ => frame,
        }
    }

    /// As long as it is told to be, or as its values, its check and its end want.
    fn packet_bytes(&self) -> usize {
        let end_of = |point: &PointConfig| {
            let bytes = point.cell.map_or(0, |cell| cell.bytes);
            usize::try_from(point.at).map_or(bytes, |at| at.saturating_add(bytes))
        };
        let values = self.points.iter().map(end_of).max().unwrap_or(0);
        let check = self.config.check.map_or(0, |check| match usize::try_from(check.at) {
            Ok(_) => 0,
            Err(_) => usize::try_from(check.at.unsigned_abs()).unwrap_or(0),
        });
        match &self.config.framing {
            FramingConfig::Packet { length: PacketLength::Fixed(bytes), .. } => *bytes,
            FramingConfig::Packet { sync, length: PacketLength::Field { at, bytes, .. }, end, .. } => {
                let head = at.saturating_add(*bytes).max(sync.len());
                values.max(head).saturating_add(check.max(end.len()))
            }
            FramingConfig::Telegram { end, tail, .. } => {
                values.saturating_add(end.len()).saturating_add(*tail).max(check)
            }
            _ => values.saturating_add(check).max(1),
        }
    }

    fn stamp(&self, frame: &mut [u8]) {
        if let Some(check) = &self.config.check {
            check.stamp(frame);
        }
    }
}

fn all_good(values: &[Sample]) -> Result<(), String> {
    match values.iter().find(|sample| sample.quality == Quality::Invalid) {
        Some(sample) => Err(format!("{} is invalid", sample.point)),
        None => Ok(()),
    }
}

fn put(object: &mut serde_json::Map<String, serde_json::Value>, keys: &[String], value: serde_json::Value) {
    match keys {
        [] => {}
        [last] => {
            object.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = object.entry(first.clone()).or_insert_with(|| serde_json::Map::new().into());
            if let serde_json::Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

fn put_bytes(frame: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in frame.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn stuff(frame: &[u8], flag: u8, escape: u8, xor: u8) -> Vec<u8> {
    let mut out = vec![flag];
    for byte in frame {
        // XON and XOFF are escaped as well, which is never wrong.
        if [flag, escape, 0x11, 0x13].contains(byte) {
            out.extend([escape, byte ^ xor]);
        } else {
            out.push(*byte);
        }
    }
    out.push(flag);
    out
}

/// A raw value: the first one that a map knows, or a number that goes up and down, within the point's bounds.
fn raw(point: &PointConfig, number: u64, index: usize) -> Raw<'static> {
    if !point.map.is_empty() {
        let step = usize::try_from(number).unwrap_or(0);
        let known = point.map.get(step % point.map.len()).map(|(raw, _)| raw);
        return match known {
            Some(RawValue::Number(number)) => Raw::Decimal(*number),
            Some(RawValue::Word(word)) => Raw::String(word.clone().into()),
            None => Raw::Missing,
        };
    }
    let is_word = point.cell.is_none_or(|cell| cell.kind == CellType::String);
    match point.kind {
        PointType::Bool => return Raw::Bool(number % 2 == 1),
        PointType::Text if is_word => return Raw::String("simulated".into()),
        _ => {}
    }
    let phase = number.wrapping_add(u64::try_from(index).unwrap_or(0).wrapping_mul(7)) % PERIOD;
    let height = phase.min(PERIOD.saturating_sub(phase));
    let of = |bound: Option<f64>| bound.and_then(|bound| Decimal::try_from(bound).ok());
    // In the point's own unit: from 20 to 50, or within its bounds.
    let (low, high) = match (of(point.min), of(point.max)) {
        (Some(min), Some(max)) => (min, max.min(min + Decimal::from(30))),
        (Some(min), None) => (min, min + Decimal::from(30)),
        (None, Some(max)) => (max - Decimal::from(30), max),
        (None, None) => (Decimal::from(20), Decimal::from(50)),
    };
    let value = low + (high - low) * Decimal::from(height) / Decimal::from(PERIOD / 2);
    let unscaled = (value - point.offset).checked_div(point.scale).unwrap_or_default();
    let is_whole = point.kind == PointType::Integer
        || point.cell.is_some_and(|cell| !matches!(cell.kind, CellType::F32 | CellType::F64));
    let unscaled = if is_whole { unscaled.round() } else { unscaled.round_dp(3) };
    let is_invalid = point.invalid.contains(&RawValue::Number(unscaled));
    Raw::Decimal(if is_invalid { unscaled + Decimal::ONE } else { unscaled })
}

fn text(point: &PointConfig, number: u64, index: usize, json: bool) -> String {
    match raw(point, number, index) {
        Raw::Decimal(number) => number.normalize().to_string(),
        Raw::Bool(flag) => flag.to_string(),
        Raw::String(word) if json => serde_json::Value::from(word.into_owned()).to_string(),
        Raw::String(word) => word.into_owned(),
        _ => String::new(),
    }
}

/// The bytes of a point, with those bits set that are its own.
fn encode(point: &PointConfig, cell: &Cell, number: u64, index: usize) -> Vec<u8> {
    let raw = raw(point, number, index);
    let whole = Cell { mask: None, shift: 0, kind: cell.kind, ..*cell };
    let bits = match (&raw, cell.kind) {
        (Raw::Bool(flag), CellType::Bit) => Some(u64::from(*flag) << cell.bit.min(63)),
        (Raw::Decimal(number), CellType::Bit) => {
            Some(number.to_u64().unwrap_or(0).min(1) << cell.bit.min(63))
        }
        (Raw::Decimal(number), _) if cell.mask.is_some() || cell.shift > 0 => {
            let moved = number.to_u64().unwrap_or(0).checked_shl(cell.shift.into()).unwrap_or(0);
            Some(moved & cell.mask.unwrap_or(u64::MAX))
        }
        _ => None,
    };
    let Some(bits) = bits else { return whole.encode(&raw).unwrap_or_default() };
    let kind = if cell.bytes == 1 { CellType::U8 } else { CellType::U64 };
    let plain = Cell { kind, ..whole };
    plain.encode(&Raw::Decimal(bits.into())).unwrap_or_default()
}
