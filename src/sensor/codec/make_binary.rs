//! Files of SML and telegrams of M-Bus, made from values.

use crc::{CRC_16_IBM_SDLC, Crc};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::super::decode::Raw;
use super::make::Item;
use super::obis_names::{self, Kind};
use super::quantity::{self, shift};

const X25: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_SDLC);

/// A server's identification, of the ten bytes that they have.
const SERVER: [u8; 10] = [0x0a, 0x01, b'S', b'I', b'M', 0, 0, 0, 0, 1];

/// An empty, optional field.
const NONE: u8 = 0x01;

/// A file (BSI TR-03109-1 annex IV): open, a list of values, close, in its transport.
pub(super) fn sml(items: &[Item]) -> Option<Vec<u8>> {
    let mut entries = vec![entry([1, 0, 96, 50, 1, 1], None, &octets(b"SIM"))];
    entries.extend(items.iter().filter_map(value));
    if items.iter().all(|item| item.name != "meter_id") && entries.len() == 1 {
        return None;
    }
    let open = [&[0x76, NONE, NONE][..], &octets(&[1]), &octets(&SERVER), &[NONE, NONE]].concat();
    let mut list = [&[0x77, NONE][..], &octets(&SERVER), &[NONE, NONE]].concat();
    list.extend(list_head(entries.len()));
    list.extend(entries.concat());
    list.extend([NONE, NONE]);
    let messages = [message(1, 0x0101, &open), message(2, 0x0701, &list), message(3, 0x0201, &[0x71, NONE])];
    let mut body = messages.concat();
    let fill = body.len().next_multiple_of(4).saturating_sub(body.len());
    body.resize(body.len().saturating_add(fill), 0);
    let mut file = vec![0x1b, 0x1b, 0x1b, 0x1b, 1, 1, 1, 1];
    // Aligned to words, as the transport escapes: an escape within stands twice.
    for word in body.chunks(4) {
        file.extend_from_slice(word);
        if word == [0x1b; 4] {
            file.extend_from_slice(word);
        }
    }
    file.extend([0x1b, 0x1b, 0x1b, 0x1b, 0x1a, u8::try_from(fill).unwrap_or(0)]);
    let crc = X25.checksum(&file);
    file.extend(crc.to_le_bytes());
    Some(file)
}

fn message(number: u8, tag: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        [&[0x76][..], &octets(&[number]), &[0x62, 0, 0x62, 0, 0x72, 0x63], &tag.to_be_bytes(), body].concat();
    let crc = X25.checksum(&bytes);
    bytes.push(0x63);
    bytes.extend(crc.to_le_bytes());
    bytes.push(0);
    bytes
}

fn value(item: &Item) -> Option<Vec<u8>> {
    let (code, Kind::Unit(unit)) = obis_names::bytes_of(&item.name)? else { return None };
    // The list of DLMS has no multiples.
    let base = unit.strip_prefix('k').unwrap_or(unit);
    let dlms = (0..=u8::MAX).find(|code| quantity::dlms(*code).is_some_and(|known| known.name == base))?;
    let number = quantity::convert(item.number_in(unit)?, quantity::known(unit)?, quantity::known(base)?)?;
    let places: i8 = if base == "A" { 2 } else { 1 };
    let steps = shift(number, places.into())?.round().to_i64()?;
    let content = [&[0x52, places.checked_neg()?.cast_unsigned(), 0x59][..], &steps.to_be_bytes()].concat();
    Some(entry(code, Some(dlms), &content))
}

/// An entry of the list; of a number scaler and value, of a text the value alone.
fn entry(code: [u8; 6], unit: Option<u8>, content: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0x77][..], &octets(&code), &[NONE, NONE]].concat();
    match unit {
        Some(unit) => bytes.extend([0x62, unit]),
        None => bytes.extend([NONE, NONE]),
    }
    bytes.extend_from_slice(content);
    bytes.push(NONE);
    bytes
}

/// At most 14 bytes, whose length stands in one byte.
fn octets(bytes: &[u8]) -> Vec<u8> {
    let mut all = vec![u8::try_from(bytes.len().saturating_add(1)).unwrap_or(NONE)];
    all.extend_from_slice(bytes);
    all
}

fn list_head(len: usize) -> Vec<u8> {
    let len = u8::try_from(len).unwrap_or(u8::MAX);
    if len < 16 { vec![0x70 | len] } else { vec![0xf0 | (len >> 4), len & 0x0f] }
}

/// A value of M-Bus: its name, its value information (EN 13757-3, tables 10, 12, 14), its unit, and the power of ten of it
/// that the telegram counts in.
const RECORDS: [(&str, &[u8], &str, i32); 12] = [
    ("energy", &[0x03], "Wh", 0),
    ("volume", &[0x13], "m3", -3),
    ("power", &[0x2a], "W", -1),
    ("volume_flow", &[0x3b], "m3/h", -3),
    ("flow_temperature", &[0x59], "Cel", -2),
    ("return_temperature", &[0x5d], "Cel", -2),
    ("temperature_difference", &[0x61], "K", -2),
    ("temperature", &[0x65], "Cel", -2),
    ("humidity", &[0xfb, 0x1a], "%", -1),
    ("pressure", &[0x68], "bar", -3),
    ("voltage", &[0xfd, 0x48], "V", -1),
    ("current", &[0xfd, 0x59], "A", -3),
];

/// A present value of 32 bits.
const INTEGER_32: u8 = 0x04;

/// A long frame of EN 13757-2 with a header of 12 bytes and the values; it answers to address 1.
pub(super) fn mbus(items: &[Item]) -> Option<Vec<u8>> {
    let said = |name: &str| items.iter().find(|item| item.name == name);
    let id = said("meter_id").map_or_else(|| "12345678".to_owned(), |item| item.text_or("12345678"));
    let id = u32::from_str_radix(&id, 16).ok()?;
    // "SIM", five bits a letter; heat.
    let mut body = vec![0x08, 0x01, 0x72];
    body.extend(id.to_le_bytes());
    body.extend([0x2d, 0x4d, 0x01, 0x04, 0x00, 0x00, 0x00, 0x00]);
    let records: Vec<u8> = items.iter().filter_map(record).flatten().collect();
    if records.is_empty() && said("meter_id").is_none() {
        return None;
    }
    body.extend(records);
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let len = u8::try_from(body.len()).ok()?;
    Some([&[0x68, len, len, 0x68][..], &body, &[sum, 0x16]].concat())
}

fn record(item: &Item) -> Option<Vec<u8>> {
    let (_, information, unit, power) = RECORDS.iter().find(|(name, ..)| *name == item.name)?;
    let Raw::Decimal(_) = &item.raw else { return None };
    let steps: Decimal = shift(item.number_in(unit)?, power.checked_neg()?)?;
    let steps = steps.round().to_i32()?;
    Some([&[INTEGER_32][..], information, &steps.to_le_bytes()].concat())
}
