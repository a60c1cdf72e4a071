//! Frames of the protocols, made from values: the other way round of the codecs beside it, for devices that are simulated.
//! A value that the protocol has no place for is left out; where none is left, there is no frame.

use std::fmt::Write as _;

use crc::{CRC_16_ARC, Crc};
use rust_decimal::Decimal;

use super::super::decode::Raw;
use super::obis_names::{self, Kind};
use super::quantity::{self, shift};
use super::{CodecKind, make_binary, vedirect_names};
use crate::time::Timestamp;

/// What a meter says of itself, where nobody said another.
const METER_ID: &str = "SIM0000000000001";

/// A block of VE.Direct has at most 22 fields (VE.Direct protocol 3.33); the checksum is one.
const BLOCK_FIELDS_MAX: usize = 20;

/// One value of a frame.
#[derive(Clone, Debug)]
pub(in crate::sensor) struct Item {
    /// What the point's `from` says.
    pub(in crate::sensor) name: String,
    /// The unit that its number is in.
    pub(in crate::sensor) unit: Option<String>,
    /// What it is.
    pub(in crate::sensor) raw: Raw<'static>,
    /// Whether somebody said what it is.
    pub(in crate::sensor) is_said: bool,
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sensor) struct MakeError {
    /// What can't be made.
    pub(in crate::sensor) what: &'static str,
}

/// What a device of the protocol usually tells.
pub(in crate::sensor) const fn usual(kind: CodecKind) -> &'static [&'static str] {
    match kind {
        CodecKind::Nmea { .. } => {
            &["utc", "valid", "latitude", "longitude", "speed", "altitude", "satellites"]
        }
        CodecKind::Dsmr => &["time", "meter_id", "energy_import_1", "energy_import_2", "power_import", "gas"],
        CodecKind::Sml => &["meter_id", "energy_import", "power"],
        CodecKind::VeDirect => &["product_id", "voltage", "current", "state_of_charge"],
        CodecKind::Iec62056 => &["energy_import", "power_import"],
        CodecKind::Mbus => &["meter_id", "energy", "volume", "power", "flow_temperature"],
    }
}

/// A frame of the protocol with these values, or one of each kind that it has.
pub(in crate::sensor) fn frame(
    kind: CodecKind,
    items: &[Item],
    now: Timestamp,
) -> Result<Vec<u8>, MakeError> {
    let made = match kind {
        CodecKind::Nmea { .. } => super::make_nmea::sentences(items, now),
        CodecKind::Dsmr => dsmr(items, now),
        CodecKind::Sml => make_binary::sml(items),
        CodecKind::VeDirect => blocks(items),
        CodecKind::Iec62056 => readout(items, now),
        CodecKind::Mbus => make_binary::mbus(items),
    };
    made.ok_or(MakeError { what: "a frame with none of the points that this protocol has" })
}

impl Item {
    /// The number in another unit of the same quantity; as it is where nobody said its unit.
    pub(super) fn number_in(&self, unit: &str) -> Option<Decimal> {
        let Raw::Decimal(number) = &self.raw else { return None };
        let units = self.unit.as_deref().and_then(quantity::known).zip(quantity::known(unit));
        match units {
            Some((from, to)) => quantity::convert(*number, from, to),
            None => Some(*number),
        }
    }

    /// The text, where somebody said it; else this.
    pub(super) fn text_or(&self, usual: &str) -> String {
        match &self.raw {
            Raw::String(text) if self.is_said => text.to_string(),
            Raw::Decimal(number) if self.is_said => number.normalize().to_string(),
            _ => usual.to_owned(),
        }
    }
}

/// Lines of codes and values, of the codes that the points name themselves.
pub(in crate::sensor) fn obis_lines(items: &[Item]) -> String {
    let line = |item: &Item| {
        let value = match &item.raw {
            Raw::Decimal(number) => format!("{number:010.3}"),
            Raw::String(text) => text.to_string(),
            Raw::Bool(flag) => u8::from(*flag).to_string(),
            _ => String::new(),
        };
        let unit = item.unit.as_deref().map(|unit| format!("*{unit}")).unwrap_or_default();
        format!("\r\n{}({value}{unit})", item.name)
    };
    items.iter().map(line).collect()
}

/// `yymmddhhmmss` of Central Europe's winter time, whatever the season: the W says so.
fn winter_time(now: Timestamp) -> String {
    let hour_ahead = jiff::Timestamp::from_millisecond(now.as_millis().saturating_add(3_600_000));
    let civil = jiff::tz::Offset::UTC.to_datetime(hour_ahead.unwrap_or_default());
    civil.strftime("%y%m%d%H%M%SW").to_string()
}

/// Codes and values of those items that have a code.
fn objects(items: &[Item], now: Timestamp) -> Option<String> {
    let mut text = String::new();
    let mut channel = 0_u8;
    for item in items {
        if let Some((code, kind)) = obis_names::of(&item.name) {
            if let Some(value) = object(item, kind, now) {
                let _ = write!(text, "{code}({value})\r\n");
            }
        } else if let Some(medium) = obis_names::medium_of(&item.name)
            && let Some(number) = item.number_in(if medium == 4 { "GJ" } else { "m3" })
        {
            channel = channel.saturating_add(1);
            let unit = if medium == 4 { "GJ" } else { "m3" };
            let (id, time) = (hexadecimal(METER_ID), winter_time(now));
            let _ = write!(text, "0-{channel}:24.1.0({medium:03})\r\n0-{channel}:96.1.0({id})\r\n");
            let _ = write!(text, "0-{channel}:24.2.1({time})({number:09.3}*{unit})\r\n");
        }
    }
    (!text.is_empty()).then_some(text)
}

fn object(item: &Item, kind: Kind, now: Timestamp) -> Option<String> {
    Some(match kind {
        Kind::Time => winter_time(now),
        Kind::Text => item.text_or("50"),
        Kind::HexText => hexadecimal(&item.text_or(METER_ID)),
        Kind::Count(_) | Kind::Plain => match &item.raw {
            Raw::Decimal(number) => format!("{:05}", number.round()),
            _ => return None,
        },
        // Powers stand in thousands.
        Kind::Unit(unit @ ("W" | "var")) => {
            let thousands = shift(item.number_in(unit)?, -3)?.round_dp(3);
            format!("{thousands:06.3}*k{unit}")
        }
        Kind::Unit("V") => format!("{:05.1}*V", item.number_in("V")?.round_dp(1)),
        Kind::Unit(unit @ ("A" | "Hz")) => format!("{:06.2}*{unit}", item.number_in(unit)?.round_dp(2)),
        Kind::Unit(unit) => format!("{:010.3}*{unit}", item.number_in(unit)?.round_dp(3)),
    })
}

fn hexadecimal(text: &str) -> String {
    text.bytes().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02X}");
        digits
    })
}

/// DSMR P1 companion standard 5.0.2, chapter 6.
fn dsmr(items: &[Item], now: Timestamp) -> Option<Vec<u8>> {
    let text = format!("/SIM5fieldgate\r\n\r\n1-3:0.2.8(50)\r\n{}!", objects(items, now)?);
    let crc = Crc::<u16>::new(&CRC_16_ARC).checksum(text.as_bytes());
    Some(format!("{text}{crc:04X}\r\n").into_bytes())
}

/// IEC 62056-21, mode D: pushed, without a check.
fn readout(items: &[Item], now: Timestamp) -> Option<Vec<u8>> {
    Some(format!("/SIM5fieldgate\r\n\r\n{}!\r\n", objects(items, now)?).into_bytes())
}

/// VE.Direct protocol 3.33: as many blocks as the values need, each with its product.
fn blocks(items: &[Item]) -> Option<Vec<u8>> {
    let field = |item: &Item| {
        let (key, form) = vedirect_names::of(&item.name)?;
        let value = match (form, &item.raw) {
            (vedirect_names::Form::Switch, Raw::Bool(flag)) => if *flag { "ON" } else { "OFF" }.to_owned(),
            (vedirect_names::Form::Number { power, unit }, Raw::Decimal(number)) => {
                let number = unit.map_or(Some(*number), |unit| item.number_in(unit))?;
                shift(number, power.checked_neg()?)?.round().normalize().to_string()
            }
            (vedirect_names::Form::Text, _) => match key {
                "PID" => item.text_or("0xA389"),
                "OR" => item.text_or("0x00000000"),
                _ => item.text_or("SIM"),
            },
            _ => return None,
        };
        Some((key, value))
    };
    let (products, fields): (Vec<_>, Vec<_>) =
        items.iter().filter_map(field).partition(|(key, _)| *key == "PID");
    let product = products.first().map_or("0xA389", |(_, value)| value.as_str());
    let chunks: Vec<_> =
        if fields.is_empty() { vec![&[][..]] } else { fields.chunks(BLOCK_FIELDS_MAX).collect() };
    let mut bytes = Vec::new();
    for chunk in chunks {
        let mut block = format!("\r\nPID\t{product}");
        for (key, value) in chunk {
            let _ = write!(block, "\r\n{key}\t{value}");
        }
        block.push_str("\r\nChecksum\t");
        let sum = block.bytes().fold(0_u8, |sum, byte| sum.wrapping_add(byte));
        bytes.extend(block.into_bytes());
        bytes.push(sum.wrapping_neg());
    }
    (!(products.is_empty() && fields.is_empty())).then_some(bytes)
}
