//! `code(group)(group)…` lines, as DSMR and IEC 62056-21 telegrams have them, to fields.
//!
//! A field is called by its code, without `*255` at its end: `1-0:1.8.1`, `1.8.0`, `F.F`. Of a value with a time the time
//! is `<code>/time`. What `obis_names` knows stands under its name too, in the name's unit.

use std::borrow::Cow;
use std::str::FromStr;

use rust_decimal::Decimal;

use super::super::decode::Raw;
use super::obis_names::{self, Code, Kind};
use super::quantity;
use super::{Fault, Fields, Role};

/// Groups of one object; a power failure log of ten entries has 22. More are refused.
const GROUPS_MAX: usize = 64;

/// One object of a telegram.
#[derive(Debug)]
pub(super) struct Object<'a> {
    /// Without `*255`.
    pub(super) code: &'a str,
    /// What stands in the brackets.
    groups: Vec<&'a str>,
}

/// The objects of a telegram's text. Lines that begin with a bracket belong to the object before them.
pub(super) fn objects(text: &str) -> Result<Vec<Object<'_>>, Fault> {
    let malformed = |what: &'static str| Fault::Malformed { what };
    let mut objects: Vec<Object<'_>> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (code, mut rest) = line
            .split_at_checked(line.find('(').ok_or(malformed("a line without brackets"))?)
            .ok_or(malformed("a line without brackets"))?;
        if code.is_empty() && objects.is_empty() {
            return Err(malformed("brackets without a code"));
        }
        if !code.is_empty() {
            if !code.bytes().all(is_code) {
                return Err(malformed("a code with a strange character"));
            }
            objects.push(Object { code: code.strip_suffix("*255").unwrap_or(code), groups: Vec::new() });
        }
        let Some(object) = objects.last_mut() else { continue };
        while let Some(group) = rest.strip_prefix('(') {
            let (group, after) = group.split_once(')').ok_or(malformed("a bracket that isn't closed"))?;
            if group.contains('(') || object.groups.len() >= GROUPS_MAX {
                return Err(malformed("brackets within brackets, or too many"));
            }
            object.groups.push(group);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(malformed("text behind the brackets"));
        }
    }
    Ok(objects)
}

fn is_code(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.' | b'*' | b'&')
}

/// The value and the time in an object's brackets.
struct Content<'a> {
    value: &'a str,
    unit: Option<&'a str>,
    time: Option<&'a str>,
}

impl<'a> Object<'a> {
    fn content(&self) -> Option<Content<'a>> {
        let split = |group: &'a str| match group.split_once('*') {
            Some((value, unit)) => (value, Some(unit)),
            None => (group, None),
        };
        match self.groups.as_slice() {
            [group] => {
                let (value, unit) = split(group);
                Some(Content { value, unit, time: None })
            }
            [time, group] if is_time(time) => {
                let (value, unit) = split(group);
                Some(Content { value, unit, time: Some(time) })
            }
            // DSMR 2 and 3: time, three that aren't of interest, code, unit, and the value on a line of its own.
            [time, _, _, _, _, unit, value] if is_time(time) => {
                Some(Content { value, unit: Some(unit), time: Some(time) })
            }
            _ => None,
        }
    }

    fn is_blank(&self) -> bool {
        self.content().is_none_or(|content| {
            // What a meter that was never read says: 1970.
            content.value.is_empty() || content.time.is_some_and(|time| time.starts_with("700101"))
        })
    }
}

/// Puts the fields of all objects.
pub(super) fn put_all<'a>(objects: &[Object<'a>], fields: &mut Fields<'a>) {
    let media = Media::new(objects);
    for object in objects {
        put(object, &media, fields);
    }
}

/// What the devices on a meter's M-Bus channels measure (`0-n:24.1.0`).
struct Media(Vec<(u8, &'static str)>);

impl Media {
    /// A channel that was never read has no name: of two gas meters the one that was replaced is such a channel.
    fn new(objects: &[Object<'_>]) -> Self {
        let mut named: Vec<(u8, &'static str)> = Vec::new();
        for object in objects.iter().filter(|object| !object.is_blank()) {
            let Some(code) = Code::parse(object.code).filter(|code| code.is_channel_reading()) else {
                continue;
            };
            let kind = objects.iter().find_map(|other| {
                let is_type = Code::parse(other.code)?.is_type_of(code.b);
                is_type.then(|| other.groups.first()?.parse::<u8>().ok())?
            });
            if let Some(name) = kind.and_then(obis_names::medium)
                && !named.iter().any(|(channel, _)| *channel == code.b)
            {
                named.push((code.b, name));
            }
        }
        Self(named)
    }

    /// `gas`; of a second gas meter `gas_2`, by its channel.
    fn name(&self, channel: u8) -> Option<String> {
        let (_, name) = self.0.iter().find(|(known, _)| *known == channel)?;
        let first = self.0.iter().find(|(_, other)| other == name)?;
        Some(if first.0 == channel { (*name).to_owned() } else { format!("{name}_{channel}") })
    }
}

fn put<'a>(object: &Object<'a>, media: &Media, fields: &mut Fields<'a>) {
    let Some(content) = object.content() else {
        // A log of power failures or of monthly peaks: as text, for those who ask for it.
        let text = object.groups.iter().map(|group| format!("({group})")).collect();
        fields.detail(object.code, Raw::String(Cow::Owned(text)));
        return;
    };
    let code = Code::parse(object.code);
    let channel = code.filter(Code::is_channel_reading);
    // A blank channel must not look like a meter that stands at zero.
    let is_blank = channel.is_some() && object.is_blank();
    let sent = if is_blank { Raw::Null } else { sent(&content) };
    let named = match (channel, code) {
        (Some(code), _) => media.name(code.b).and_then(|name| {
            let kind = content.unit.and_then(medium_unit).map_or(Kind::Plain, Kind::Unit);
            Some((name, named(&content, kind, &sent)?))
        }),
        (None, Some(code)) => obis_names::find(code)
            .find_map(|known| Some((known.name.to_owned(), named(&content, known.kind, &sent)?))),
        (None, None) => None,
    };
    if let Some(time) = content.time {
        let time = instant(time);
        if let Some((name, _)) = &named {
            fields.put(Role::Main, format!("{name}_time"), time.clone(), None);
        }
        fields.put(Role::Detail, format!("{}/time", object.code), time, None);
    }
    let unit = content.unit.map(|unit| match quantity::known(unit) {
        Some(known) => Cow::Borrowed(known.name),
        None => Cow::Borrowed(unit),
    });
    let role = if named.is_some() { Role::Detail } else { Role::Main };
    fields.put(role, object.code, sent, unit);
    if let Some((name, (raw, unit))) = named {
        fields.put(Role::Main, name, raw, unit.map(Cow::Borrowed));
    }
}

fn medium_unit(unit: &str) -> Option<&'static str> {
    quantity::known(unit).map(|unit| unit.name)
}

/// The value as it was sent: what has a unit is a number, else text that may be one.
fn sent<'a>(content: &Content<'a>) -> Raw<'a> {
    let value = content.value.trim();
    match (content.unit, decimal(value)) {
        (Some(_), Some(number)) => Raw::Decimal(number),
        _ if value.is_empty() => Raw::Null,
        // More digits than a number has are an identifier.
        _ if value.len() > 15 => Raw::String(Cow::Borrowed(value)),
        _ => Raw::Word(value),
    }
}

/// The value under its name. `None`: it isn't what the name stands for.
fn named<'a>(content: &Content<'a>, kind: Kind, sent: &Raw<'a>) -> Option<(Raw<'a>, Option<&'static str>)> {
    let value = content.value.trim();
    match kind {
        Kind::Plain => Some((sent.clone(), None)),
        Kind::Unit(to) => {
            let (from, to) = (quantity::known(content.unit?)?, quantity::known(to)?);
            let Raw::Decimal(number) = sent else { return Some((Raw::Null, Some(to.name))) };
            let number = quantity::convert(*number, from, to)?;
            Some((Raw::Decimal(number.normalize()), Some(to.name)))
        }
        Kind::Count(unit) => Some((decimal(value).map_or(Raw::Null, Raw::Decimal), unit)),
        Kind::Time => Some((instant(value), None)),
        Kind::Text => {
            Some((if value.is_empty() { Raw::Null } else { Raw::String(Cow::Borrowed(value)) }, None))
        }
        Kind::HexText => Some((hex_text(value), None)),
    }
}

/// Digits and one point.
pub(super) fn decimal(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = !digits.is_empty()
        && digits.len() <= 28
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && digits.bytes().any(|byte| byte.is_ascii_digit());
    if is_number { Decimal::from_str(text).ok() } else { None }
}

/// Text that a meter sends as hexadecimal digits; what is none stands as it was sent.
fn hex_text(value: &str) -> Raw<'_> {
    if value.is_empty() {
        return Raw::Null;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = value.as_bytes().chunks(2).map(byte).collect();
    let is_hex = value.len().is_multiple_of(2) && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let printable = bytes.filter(|bytes| is_hex && bytes.iter().all(|byte| matches!(byte, b' '..=b'~')));
    let text = printable.and_then(|bytes| String::from_utf8(bytes).ok());
    Raw::String(text.map_or(Cow::Borrowed(value), Cow::Owned))
}

/// `yymmddhhmmss`, with S or W behind it in DSMR.
fn is_time(text: &str) -> bool {
    let digits = text.strip_suffix(['S', 'W']).unwrap_or(text);
    digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// RFC 3339. S is summer time and W winter time of Central Europe, where all meters with such a time are; without a mark
/// the zone is not known and not written.
fn instant(text: &str) -> Raw<'static> {
    let zone = match text.as_bytes().last() {
        Some(b'S') => "+02:00",
        Some(b'W') => "+01:00",
        _ => "",
    };
    let pair = |at: usize| text.get(at..at.saturating_add(2)).unwrap_or_default();
    if !is_time(text) || text.starts_with("700101") {
        return Raw::Null;
    }
    let (date, clock) =
        (format!("20{}-{}-{}", pair(0), pair(2), pair(4)), [pair(6), pair(8), pair(10)].join(":"));
    let text = format!("{date}T{clock}");
    match jiff::civil::DateTime::from_str(&text) {
        Ok(_) => Raw::String(Cow::Owned(format!("{text}{zone}"))),
        Err(_) => Raw::Null,
    }
}
