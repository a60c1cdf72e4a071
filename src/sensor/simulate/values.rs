//! The values of a simulated device: how each moves, and between which bounds. What a frame makes of them is the business of
//! its makers.

use std::fmt;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::reading::Value;
use crate::sensor::cell::{Cell, CellType};
use crate::sensor::config::{DecodeConfig, PointConfig, PointType, RawValue};
use crate::sensor::decode::Raw;

/// Frames after which a value begins anew.
const PERIOD: u64 = 60;

/// Digits behind the point of what a device measures.
const PLACES: u32 = 3;

/// And of what was said.
const SAID_PLACES: u32 = 12;

/// What is usual in a unit, from the least to the most, in thousandths. Of other units: 20 to 50.
const USUAL: [(&str, i64, i64); 25] = [
    ("V", 226_000, 234_000),
    ("A", 500, 12_000),
    ("W", 120_000, 2_400_000),
    ("VA", 130_000, 2_500_000),
    ("var", 10_000, 300_000),
    ("Hz", 49_900, 50_100),
    ("/", 850, 990),
    ("Cel", 18_000, 24_000),
    ("%RH", 40_000, 60_000),
    ("%", 40_000, 60_000),
    ("hPa", 990_000, 1_030_000),
    ("ppm", 420_000, 1_200_000),
    ("ug/m3", 2_000, 35_000),
    ("pH", 6_000, 8_000),
    ("lat", 52_512, 52_520),
    ("lon", 13_399, 13_409),
    ("m/s", 0, 14_000),
    ("deg", 0, 359_000),
    ("m", 30_000, 40_000),
    ("m3/h", 100, 900),
    ("K", 8_000, 20_000),
    ("Ah", -20_000, 0),
    ("min", 300_000, 900_000),
    ("count", 6_000, 12_000),
    ("kg", 0, 150_000),
];

/// What only grows: where it begins, and by how much a frame adds to it, in thousandths.
const GROWING: [(&str, i64, i64); 7] = [
    ("kWh", 1_204_000, 1),
    ("Wh", 1_204_000_000, 1_000),
    ("MJ", 4_334_000, 4),
    ("kvarh", 87_000, 1),
    ("kVAh", 1_402_000, 1),
    ("varh", 87_000_000, 1_000),
    ("m3", 321_000, 1),
];

/// How a value moves.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Up and down in straight lines.
    Ramp,
    /// Up and down as a wave.
    Sine,
    /// Anywhere between the bounds.
    Noise,
    /// It doesn't: this, in the words of the point.
    Fixed(String),
}

/// How one point is simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Motion {
    /// How it moves.
    pub shape: Shape,
    /// Between these two; `None`: between the point's `min` and `max`, or what is usual in its unit.
    pub bounds: Option<(Decimal, Decimal)>,
}

impl Motion {
    /// `21.5`, `sine`, `ramp`, `noise`, and with bounds `sine:18..24`.
    ///
    /// # Errors
    /// Bounds that are none.
    pub fn parse(text: &str) -> Result<Self, MotionError> {
        let (word, bounds) = text.split_once(':').map_or((text, None), |(word, rest)| (word, Some(rest)));
        let shape = match word {
            "ramp" => Shape::Ramp,
            "sine" => Shape::Sine,
            "noise" => Shape::Noise,
            _ => return Ok(Self { shape: Shape::Fixed(text.to_owned()), bounds: None }),
        };
        let Some(bounds) = bounds else { return Ok(Self { shape, bounds: None }) };
        let wrong = || MotionError { bounds: bounds.to_owned() };
        let (low, high) = bounds.split_once("..").ok_or_else(wrong)?;
        let number = |text: &str| text.parse::<Decimal>().map_err(|_| wrong());
        let (low, high) = (number(low)?, number(high)?);
        if low > high {
            return Err(wrong());
        }
        Ok(Self { shape, bounds: Some((low, high)) })
    }
}

/// Bounds that are no two numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MotionError {
    /// What stands there.
    bounds: String,
}

impl fmt::Display for MotionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not two numbers, the lesser one first, such as 18..24", self.bounds)
    }
}

impl std::error::Error for MotionError {}

/// A point with how it moves.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) point: PointConfig,
    pub(super) motion: Motion,
    /// Its place among the points, by which they don't all move alike.
    index: u64,
    /// Whether a protocol's name of it is a word: it is told by what the protocol makes of it.
    is_guessed: bool,
}

impl Actor {
    pub(super) fn new(point: PointConfig, index: usize, decode: &DecodeConfig) -> Self {
        let index = u64::try_from(index).unwrap_or(0);
        let is_guessed = matches!(decode, DecodeConfig::Regex(_) | DecodeConfig::Codec(_));
        Self { point, motion: Motion { shape: Shape::Sine, bounds: None }, index, is_guessed }
    }

    /// Whether it was said what it is.
    pub(super) fn fixed(&self) -> Option<&str> {
        match &self.motion.shape {
            Shape::Fixed(text) => Some(text),
            _ => None,
        }
    }

    /// As the device sends it in its frame of that number: before `scale` and `map`.
    pub(super) fn raw(&self, number: u64) -> Raw<'static> {
        let point = &self.point;
        if let Some(text) = self.fixed() {
            return self.said(text);
        }
        if !point.map.is_empty() {
            let step = usize::try_from(number).unwrap_or(0);
            let known = point.map.get(step % point.map.len()).map(|(raw, _)| raw);
            return known.map_or(Raw::Missing, sent);
        }
        let is_word = point.cell.is_none_or(|cell| cell.kind == CellType::String);
        match point.kind {
            PointType::Bool => return Raw::Bool(number % 2 == 1),
            PointType::Text if is_word => return Raw::String("simulated".into()),
            _ => {}
        }
        Raw::Decimal(self.in_steps(self.measured(number)))
    }

    /// The number in the point's own unit.
    pub(super) fn measured(&self, number: u64) -> Decimal {
        if let Some(text) = self.fixed() {
            return text.parse().unwrap_or_default();
        }
        let unit = self.point.unit.as_deref().unwrap_or_default();
        let is_bound = self.motion.bounds.is_some() || self.point.min.is_some() || self.point.max.is_some();
        if let Some((_, begin, step)) = GROWING.iter().find(|(known, ..)| *known == unit && !is_bound) {
            let grown = i64::try_from(number).unwrap_or(i64::MAX).saturating_mul(*step);
            return Decimal::new(begin.saturating_add(grown), PLACES).normalize();
        }
        let (low, high) = self.bounds(unit);
        (low + (high - low) * self.height(number)).round_dp(self.places())
    }

    /// Digits behind the point: a place on earth has more, and what was said has all that were said.
    fn places(&self) -> u32 {
        let is_place = matches!(self.point.unit.as_deref(), Some("lat" | "lon"));
        match self.motion.shape {
            Shape::Fixed(_) => SAID_PLACES,
            _ if is_place => 2 * PLACES,
            _ => PLACES,
        }
    }

    fn bounds(&self, unit: &str) -> (Decimal, Decimal) {
        let of = |bound: Option<f64>| bound.and_then(|bound| Decimal::try_from(bound).ok());
        let thirty = Decimal::from(30);
        let usual = USUAL.iter().find(|(known, ..)| *known == unit);
        let usual = usual.map(|(_, low, high)| (Decimal::new(*low, PLACES), Decimal::new(*high, PLACES)));
        match (self.motion.bounds, of(self.point.min), of(self.point.max), usual) {
            (Some(bounds), ..) => bounds,
            (_, min, max, Some((low, high)))
                if min.is_none_or(|min| low >= min) && max.is_none_or(|max| high <= max) =>
            {
                (low, high)
            }
            (_, Some(min), Some(max), _) => (min, max.min(min + thirty)),
            (_, Some(min), None, _) => (min, min + thirty),
            (_, None, Some(max), _) => (max - thirty, max),
            _ => (Decimal::from(20), Decimal::from(50)),
        }
    }

    /// From 0 to 1.
    fn height(&self, number: u64) -> Decimal {
        let moved = number.wrapping_add(self.index.wrapping_mul(7));
        let phase = u32::try_from(moved % PERIOD).unwrap_or(0);
        let half = u32::try_from(PERIOD / 2).unwrap_or(1);
        match self.motion.shape {
            Shape::Sine => {
                let angle = f64::from(phase) / f64::from(half) * std::f64::consts::PI;
                Decimal::try_from((1.0 - angle.cos()) / 2.0).unwrap_or_default()
            }
            Shape::Noise => {
                let seed = moved.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.index;
                Decimal::new(fastrand::Rng::with_seed(seed).i64(0..=1_000_000), 6)
            }
            _ => Decimal::from(phase.min(half.saturating_mul(2).saturating_sub(phase))) / Decimal::from(half),
        }
    }

    /// What the device sends for a number of the point's unit.
    fn in_steps(&self, value: Decimal) -> Decimal {
        let point = &self.point;
        let unscaled = (value - point.offset).checked_div(point.scale).unwrap_or_default();
        let is_whole = point.kind == PointType::Integer
            || point.cell.is_some_and(|cell| !matches!(cell.kind, CellType::F32 | CellType::F64));
        let unscaled = if is_whole { unscaled.round() } else { unscaled.round_dp(self.places()) };
        let is_invalid = point.invalid.contains(&RawValue::Number(unscaled));
        if is_invalid && self.fixed().is_none() { unscaled + Decimal::ONE } else { unscaled }
    }

    /// A value in the words of the point: what a map turns into it, a bit, a number, or a text.
    fn said(&self, text: &str) -> Raw<'static> {
        let point = &self.point;
        let number = text.parse::<Decimal>().ok();
        let is_meant = |value: &Value| match value {
            Value::Number(known) => {
                number.is_some_and(|number| Decimal::try_from(*known).is_ok_and(|k| k == number))
            }
            Value::Bool(flag) => word(text) == Some(*flag),
            Value::Text(known) => known == text,
            Value::Integer(known) => number == Some(Decimal::from(*known)),
        };
        if let Some((raw, _)) = point.map.iter().find(|(_, value)| is_meant(value)) {
            return sent(raw);
        }
        let is_bit = point.cell.is_some_and(|cell| matches!(cell.kind, CellType::Bit | CellType::Bool));
        if (point.kind == PointType::Bool || is_bit || (self.is_guessed && number.is_none()))
            && let Some(flag) = word(text)
        {
            return Raw::Bool(flag);
        }
        match number {
            Some(number) if point.kind != PointType::Text && point.map.is_empty() => {
                Raw::Decimal(self.in_steps(number))
            }
            Some(number) if point.kind != PointType::Text => Raw::Decimal(number),
            _ => Raw::String(text.to_owned().into()),
        }
    }

    /// Whether the bit or coil that it is, is set.
    pub(super) fn is_on(&self, number: u64) -> bool {
        match self.raw(number) {
            Raw::Bool(flag) => flag,
            Raw::Decimal(number) => !number.is_zero(),
            _ => false,
        }
    }

    /// In a format of words.
    pub(super) fn text(&self, number: u64, json: bool) -> String {
        match self.raw(number) {
            Raw::Decimal(number) => number.normalize().to_string(),
            Raw::Bool(flag) => flag.to_string(),
            Raw::String(word) if json => serde_json::Value::from(word.into_owned()).to_string(),
            Raw::String(word) => word.into_owned(),
            _ => String::new(),
        }
    }

    /// The bytes of its cell, with those bits set that are its own; and which bits those are.
    pub(super) fn bytes(&self, cell: &Cell, number: u64) -> (Vec<u8>, Vec<u8>) {
        let raw = self.raw(number);
        let whole = Cell { mask: None, shift: 0, kind: cell.kind, ..*cell };
        let of_bits = |bits: u64| {
            let kind = match cell.bytes {
                1 => CellType::U8,
                2 => CellType::U16,
                3 => CellType::U24,
                4 => CellType::U32,
                _ => CellType::U64,
            };
            Cell { kind, ..whole }.encode(&Raw::Decimal(bits.into())).unwrap_or_default()
        };
        let on = match &raw {
            Raw::Bool(flag) => u64::from(*flag),
            Raw::Decimal(number) => number.to_u64().unwrap_or(0),
            _ => 0,
        };
        if cell.kind == CellType::Bit {
            let bit = 1_u64 << cell.bit.min(63);
            return (of_bits(if on == 0 { 0 } else { bit }), of_bits(bit));
        }
        if cell.mask.is_some() || cell.shift > 0 {
            let own = cell.mask.unwrap_or(u64::MAX << cell.shift.min(63));
            let moved = on.checked_shl(cell.shift.into()).unwrap_or(0);
            let own = own & u64::MAX.checked_shr(64_u32.saturating_sub(bits_of(cell))).unwrap_or(0);
            return (of_bits(moved & own), of_bits(own));
        }
        let bytes = whole.encode(&raw).unwrap_or_default();
        let own = vec![0xff; bytes.len()];
        (bytes, own)
    }
}

fn bits_of(cell: &Cell) -> u32 {
    u32::try_from(cell.bytes.saturating_mul(8)).unwrap_or(64).clamp(1, 64)
}

fn sent(raw: &RawValue) -> Raw<'static> {
    match raw {
        RawValue::Number(number) => Raw::Decimal(*number),
        RawValue::Word(word) => match word.as_str() {
            "true" => Raw::Bool(true),
            "false" => Raw::Bool(false),
            word => Raw::String(word.to_owned().into()),
        },
    }
}

fn word(text: &str) -> Option<bool> {
    match text {
        "true" | "on" | "1" => Some(true),
        "false" | "off" | "0" => Some(false),
        _ => None,
    }
}
