//! SML (BSI TR-03109, annex): the transport of version 1 here, its messages by the crate sml-rs.
//!
//! A file is `1b1b1b1b 01010101`, messages, up to three bytes of zero, `1b1b1b1b 1a`, how many those were, and
//! CRC-16/X-25; four 1b among the messages stand twice. Each message has a CRC of its own. The meters that send Kermit's
//! CRC instead (some Holley DTZ541) are refused.
//! Fields are called by their OBIS code (`1-0:1.8.0`) and, where `obis_names` knows it, in field words; `meter_id`
//! is the server's, in hexadecimal digits. A value's status word is `<code>/status`.

use std::borrow::Cow;

use crc::{CRC_16_IBM_SDLC, Crc};
use rust_decimal::Decimal;
use sml_rs::parser::common::{ListEntry, ListType, Status, Time, Value};
use sml_rs::parser::streaming::{MessageBody, ParseEvent, Parser};

use super::super::decode::Raw;
use super::obis_names::{self, Code, Kind};
use super::quantity;
use super::stream::{self, Step};
use super::{Fault, Fields, Role};
use crate::hex;

/// Household meters send 200 to 700 bytes.
const FILE_BYTES_MAX: usize = 4 * 1024;

const ESCAPE: [u8; 4] = [0x1b; 4];
const START: [u8; 8] = [0x1b, 0x1b, 0x1b, 0x1b, 1, 1, 1, 1];

const X25: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_SDLC);

/// Finds files.
#[derive(Debug)]
pub(super) struct Scan;

impl stream::Scan for Scan {
    const BYTES_MAX: usize = FILE_BYTES_MAX;

    fn scan(&mut self, bytes: &[u8]) -> Step {
        let begins = |rest: &[u8]| START.starts_with(rest.get(..START.len()).unwrap_or(rest));
        match (0..bytes.len()).find(|&at| bytes.get(at..).is_some_and(begins)) {
            None => return Step::Skip(bytes.len()),
            Some(0) => {}
            Some(start) => return Step::Skip(start),
        }
        let mut at = START.len();
        while let Some((escape, after)) = bytes.get(at..).and_then(|rest| rest.split_first_chunk::<4>()) {
            if *escape != ESCAPE {
                at = at.saturating_add(1);
                continue;
            }
            let Some(word) = after.first_chunk::<4>() else { return Step::Wait };
            match word {
                [0x1b, 0x1b, 0x1b, 0x1b] => at = at.saturating_add(8),
                [1, 1, 1, 1] => return Step::Bad { fault: Fault::Cut, len: at },
                [0x1a, fill @ 0..=3, low, high] if at.is_multiple_of(4) => {
                    return end(bytes, at, usize::from(*fill), u16::from_le_bytes([*low, *high]));
                }
                _ => at = at.saturating_add(1),
            }
        }
        Step::Wait
    }
}

/// The end escape stands at `at`.
fn end(bytes: &[u8], at: usize, fill: usize, sent: u16) -> Step {
    let found = X25.checksum(bytes.get(..at.saturating_add(6)).unwrap_or_default());
    let len = at.saturating_add(8);
    if found == sent {
        return Step::Frame { len, content: START.len()..at.saturating_sub(fill).max(START.len()) };
    }
    Step::Bad { fault: Fault::Check { what: "CRC", sent: u32::from(sent), found: u32::from(found) }, len }
}

/// The messages without the doubled escapes.
fn unescape(frame: &[u8]) -> Cow<'_, [u8]> {
    if !frame.windows(8).any(|window| window == [0x1b; 8]) {
        return Cow::Borrowed(frame);
    }
    let mut bytes = Vec::with_capacity(frame.len());
    let mut rest = frame;
    while let Some((&first, after)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(&[0x1b; 8]) {
            bytes.extend_from_slice(&ESCAPE);
            rest = behind;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    Cow::Owned(bytes)
}

/// The fields of a file's messages.
pub(super) fn decode<'a>(frame: &'a [u8], fields: &mut Fields<'a>) -> Result<(), Fault> {
    let messages = unescape(frame);
    if !has_honest_lengths(&messages) {
        return Err(Fault::Malformed { what: "a list that is longer than its message" });
    }
    for event in Parser::new(&messages) {
        match event {
            Ok(ParseEvent::MessageStart(message)) => {
                if let MessageBody::GetListResponse(list) = message.message_body {
                    fields.put(Role::Main, "meter_id", hexadecimal(list.server_id), None);
                    if let Some(Time::SecIndex(seconds)) = list.act_sensor_time {
                        fields.put(
                            Role::Detail,
                            "seconds",
                            Raw::Decimal(Decimal::from(seconds)),
                            Some("s".into()),
                        );
                    }
                }
            }
            Ok(ParseEvent::ListEntry(entry)) => put(&entry, fields),
            Ok(ParseEvent::GetListResponseEnd(_)) => {}
            Err(_) => {
                return Err(Fault::Malformed { what: "a message that is no SML, or whose CRC is wrong" });
            }
        }
    }
    Ok(())
}

/// Whether no list says that it has more elements than bytes follow: the parser adds to that number and trusts it.
fn has_honest_lengths(mut bytes: &[u8]) -> bool {
    while let Some((&first, after)) = bytes.split_first() {
        bytes = after;
        // The end of a message.
        if first == 0 {
            continue;
        }
        let (mut byte, mut len, mut length_bytes) = (first, usize::from(first & 0x0f), 1_usize);
        while byte & 0x80 != 0 {
            let Some((&next, after)) = bytes.split_first() else { return false };
            let Some(longer) = len.checked_mul(16) else { return false };
            (byte, bytes) = (next, after);
            len = longer.saturating_add(usize::from(next & 0x0f));
            length_bytes = length_bytes.saturating_add(1);
        }
        if first & 0x70 == 0x70 {
            if len > bytes.len() {
                return false;
            }
        } else {
            let content = len.saturating_sub(length_bytes);
            let Some(after) = bytes.get(content..) else { return false };
            bytes = after;
        }
    }
    true
}

fn put<'a>(entry: &ListEntry<'_>, fields: &mut Fields<'a>) {
    let &[a, b, c, d, e, f] = entry.obj_name else { return };
    let name = match f {
        255 => format!("{a}-{b}:{c}.{d}.{e}"),
        f => format!("{a}-{b}:{c}.{d}.{e}*{f}"),
    };
    let unit = entry.unit.and_then(quantity::dlms);
    let raw = value(&entry.value, entry.scaler.unwrap_or_default());
    if let Some(status) = &entry.status {
        let number = match *status {
            Status::Status8(bits) => u64::from(bits),
            Status::Status16(bits) => u64::from(bits),
            Status::Status32(bits) => u64::from(bits),
            Status::Status64(bits) => bits,
        };
        fields.detail(format!("{name}/status"), Raw::Decimal(Decimal::from(number)));
    }
    let known = Code::from_bytes(entry.obj_name).filter(|_| f == 255).map(obis_names::find);
    let named = known.and_then(|mut known| {
        known.find_map(|known| {
            let Kind::Unit(to) = known.kind else { return None };
            let (Raw::Decimal(number), to) = (&raw, quantity::known(to)?) else { return None };
            let number = quantity::convert(*number, unit?, to)?;
            Some((known.name, Raw::Decimal(number.normalize()), to.name))
        })
    });
    // The server's id comes once more as a value.
    let is_id = matches!((c, d, e), (96, 1, 0) | (0, 0, 9));
    let role = if named.is_some() || is_id { Role::Detail } else { Role::Main };
    fields.put(role, name, raw, unit.map(|unit| Cow::Borrowed(unit.name)));
    if let Some((name, raw, unit)) = named {
        fields.main(name, raw, Some(unit));
    }
}

fn value(value: &Value<'_>, scaler: i8) -> Raw<'static> {
    let number = match *value {
        Value::Bool(value) => return Raw::Bool(value),
        Value::Bytes(bytes) => return words(bytes),
        Value::List(ListType::Time(Time::SecIndex(seconds))) => Decimal::from(seconds),
        Value::I8(number) => Decimal::from(number),
        Value::I16(number) => Decimal::from(number),
        Value::I32(number) => Decimal::from(number),
        Value::I64(number) => Decimal::from(number),
        Value::U8(number) => Decimal::from(number),
        Value::U16(number) => Decimal::from(number),
        Value::U32(number) => Decimal::from(number),
        Value::U64(number) => Decimal::from(number),
    };
    quantity::shift(number, i32::from(scaler)).map_or(Raw::Null, Raw::Decimal)
}

/// Text if it is, such as the maker's three letters; else hexadecimal digits.
fn words(bytes: &[u8]) -> Raw<'static> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
            Raw::String(Cow::Owned(text.to_owned()))
        }
        _ => hexadecimal(bytes),
    }
}

fn hexadecimal(bytes: &[u8]) -> Raw<'static> {
    Raw::String(Cow::Owned(hex::encode(bytes)))
}
