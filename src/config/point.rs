//! `[[device.points]]`: the values of a device, and whether its frames can have them.

use std::sync::Arc;

use rust_decimal::Decimal;

use super::cell::{self, Home};
use super::command;
use super::decimal;
use super::device::COLUMNS_MAX;
use super::mistake::{Mistakes, quoted};
use super::names::{refers, unique};
use super::poll;
use super::publish;
use super::schema::Effect::{Live, Reconnect};
use super::schema::{Kind, Table, computed, duration, key, optional, required};
use super::section::{Scalar, Section, Value};
use crate::reading as value;
use crate::sensor::modbus::pdu::ReadFunction;
use crate::sensor::{Cell, DecodeConfig, PointConfig, PointType, Points, RawValue, is_obis_code};
use crate::unit;

/// `[[device.points]]`
pub static POINT: Table = Table {
    name: "[[device.points]]",
    doc: "One value of a device.",
    keys: &[
        required(
            "name",
            Kind::Level { bytes_max: 64 },
            "\"temperature\"",
            Reconnect,
            "What the value is called; unique within the device.",
        ),
        computed(
            "from",
            Kind::OneOf(&[Kind::Text { bytes_max: 256 }, Kind::Integer { min: 1, max: 256 }]),
            "the name",
            Reconnect,
            "Where it stands in a text: a key, JSON pointer, column name or number, group or OBIS code.",
        ),
        optional(
            "at",
            Kind::Integer { min: -16_384, max: 16_383 },
            Reconnect,
            "Where it stands in a binary frame: its first byte, from 0; from the end where negative.",
        ),
        key(
            "type",
            Kind::Words(&[
                "number", "integer", "bool", "text", "u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32",
                "u64", "i64", "f32", "f64", "bcd", "bit", "string",
            ]),
            "\"number\"",
            Reconnect,
            "What it is; in a text \"number\", \"integer\", \"bool\" or \"text\", else how it stands in bytes.",
        ),
        optional(
            "length",
            Kind::Integer { min: 1, max: 250 },
            Reconnect,
            "The bytes of a \"bcd\" or \"string\".",
        ),
        computed(
            "endian",
            Kind::Words(&["big", "little"]),
            "the decoder's",
            Reconnect,
            "Which byte of a binary number comes first.",
        ),
        computed(
            "word_order",
            Kind::Words(&["high-word-first", "low-word-first"]),
            "high-word-first in registers, as endian says in a frame",
            Reconnect,
            "Which of the 16-bit words of a number comes first.",
        ),
        optional(
            "mask",
            Kind::Integer { min: 0, max: i64::MAX },
            Reconnect,
            "Only these bits of an unsigned number count.",
        ),
        key(
            "shift",
            Kind::Integer { min: 0, max: 63 },
            "0",
            Reconnect,
            "Bits to move to the right, after the mask.",
        ),
        optional(
            "bit",
            Kind::Integer { min: 0, max: 15 },
            Reconnect,
            "Which bit a \"bit\" is; 0 is the lowest.",
        ),
        key("scale", Kind::Decimal, "1", Reconnect, "Multiplies the number, exactly as it is written here."),
        key("offset", Kind::Decimal, "0", Reconnect, "Added after scaling, exactly as it is written here."),
        optional(
            "precision",
            Kind::Integer { min: 0, max: 12 },
            Reconnect,
            "Digits behind the point that are left, after scaling.",
        ),
        optional(
            "unit",
            Kind::OneOf(&[Kind::Text { bytes_max: 32 }, Kind::Table(&OTHER_UNIT)]),
            Reconnect,
            "Unit, by its SenML name: Cel, %RH, hPa, kg; or { other = \"…\" }.",
        ),
        optional(
            "map",
            Kind::Map { count_max: 256 },
            Reconnect,
            "What raw values mean, as { ST = true, US = false } or { 0 = \"off\", 1 = \"on\" }.",
        ),
        key(
            "invalid",
            Kind::Scalars { count_max: 64 },
            "[]",
            Reconnect,
            "Raw values, before scaling, that say that there is no value.",
        ),
        optional(
            "every",
            duration(100, 30 * 86_400_000),
            Reconnect,
            "The point takes part in a reading only this often; 100ms to 30d.",
        ),
        optional(
            "deadband",
            publish::DEADBAND,
            Live,
            "How far the value must go to be published again, in its unit or as \"2 %\" of itself.",
        ),
        optional("min", Kind::Number, Reconnect, "Below it, after scaling, the value is out of range."),
        optional("max", Kind::Number, Reconnect, "Above it, after scaling, the value is out of range."),
        key("optional", Kind::Bool, "false", Reconnect, "A missing value is no fault."),
        poll::FUNCTION,
        poll::ADDRESS,
        command::WRITABLE,
        command::WRITE_FUNCTION,
        command::VERIFY,
    ],
};

/// `unit = { other = "…" }`
pub static OTHER_UNIT: Table = Table {
    name: "[device.points.unit]",
    doc: "A unit that SenML doesn't know.",
    keys: &[required(
        "other",
        Kind::Text { bytes_max: 32 },
        "\"furlong\"",
        Reconnect,
        "As it shall stand, unchecked.",
    )],
};

/// The points of a device. `decode` is `None` if it is a mistake.
pub(super) fn points(device: &Section, decode: Option<&DecodeConfig>, mistakes: &mut Mistakes<'_>) -> Points {
    let Some(Value::Tables(sections)) = device.value("points") else {
        return Points::All;
    };
    if sections.is_empty() && !device.is_mistaken("points") {
        mistakes.add_with_help(
            device.span("points"),
            "points: the list is empty",
            "write points = \"*\" for whatever the frame has",
        );
    }
    unique(mistakes, "[[device.points]]", "name", sections);
    Points::List(sections.iter().map(|section| point(section, decode, mistakes)).collect())
}

fn point(section: &Section, decode: Option<&DecodeConfig>, mistakes: &mut Mistakes<'_>) -> PointConfig {
    let name = section.string("name");
    let from = match section.value("from") {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Integer(number)) => number.to_string(),
        _ => name.clone(),
    };
    let home = decode.map(home);
    // A coil is a bit whatever it holds.
    let is_coil = home == Some(Home::Registers) && poll::function(section).is_some_and(ReadFunction::is_bits);
    let cell = home.filter(|_| !is_coil).and_then(|home| cell::cell(section, home, mistakes));
    let register = match home {
        Some(Home::Registers) => poll::register(section, cell.as_ref(), mistakes),
        Some(Home::Text | Home::Frame { .. }) => {
            poll::no_register(section, mistakes);
            command::no_write(section, mistakes);
            None
        }
        None => None,
    };
    match home {
        Some(Home::Text) => {
            let source = if section.is_given("from") { "from" } else { "name" };
            if let (Some(decode), true) = (decode, section.is_given(source) && !section.is_mistaken(source)) {
                check_from(section, source, &from, decode, mistakes);
            }
        }
        Some(Home::Frame { .. }) => check_at(section, cell.as_ref(), mistakes),
        Some(Home::Registers) | None => {}
    }
    let is_scaled = section.is_given("scale") || section.is_given("offset");
    let kind = match (cell, section.word("type")) {
        (None, _) if is_coil => PointType::Bool,
        (Some(cell), _) => cell::point_type(&cell, is_scaled),
        (None, "integer") => PointType::Integer,
        (None, "bool" | "bit") => PointType::Bool,
        (None, "text" | "string") => PointType::Text,
        (None, _) => PointType::Number,
    };
    let map = map(section, mistakes);
    check_numbers(section, kind, &map, mistakes);
    PointConfig {
        name: Arc::from(name),
        from,
        kind,
        cell,
        at: section.integer("at"),
        register,
        scale: section.decimal("scale"),
        offset: section.decimal("offset"),
        precision: section.is_given("precision").then(|| section.integer("precision")),
        map,
        invalid: section.scalars("invalid").iter().map(|(scalar, _)| raw_value(scalar)).collect(),
        every: section.optional_duration("every"),
        unit: unit(section, mistakes),
        min: section.number("min"),
        max: section.number("max"),
        optional: section.bool("optional").unwrap_or(false),
        write: register.and_then(|register| command::write(section, register, cell.as_ref(), mistakes)),
    }
}

/// What the points of a device stand in.
const fn home(decode: &DecodeConfig) -> Home {
    match decode {
        DecodeConfig::Binary { endian } => Home::Frame { endian: *endian },
        DecodeConfig::Registers => Home::Registers,
        DecodeConfig::Json
        | DecodeConfig::KeyValue { .. }
        | DecodeConfig::Csv { .. }
        | DecodeConfig::Regex(_)
        | DecodeConfig::Obis
        | DecodeConfig::Codec(_) => Home::Text,
    }
}

/// Notes what a point of a binary frame lacks, or has and should not.
fn check_at(section: &Section, cell: Option<&Cell>, mistakes: &mut Mistakes<'_>) {
    if section.is_given("from") {
        let message = "from has no meaning in a binary frame";
        mistakes.add_with_help(
            section.key_span("from"),
            message,
            "write at = 4 for the byte at which it begins",
        );
    }
    if !section.is_given("at") {
        let help = "add at = 4, the byte at which the value begins, from 0";
        mistakes.add_with_help(section.span, "[[device.points]] has no \"at\"", help);
        return;
    }
    let at: i32 = section.integer("at");
    let behind = usize::try_from(at.saturating_neg()).unwrap_or_default();
    if let Some(cell) = cell
        && (1..cell.bytes).contains(&behind)
    {
        let message = format!("at: the value has {} bytes, and from {at} there are {behind}", cell.bytes);
        mistakes.add(section.span("at"), message);
    }
}

/// The unit by its name, or one that is unknown on purpose.
pub(super) fn unit(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<Arc<str>> {
    if let Some(other) = section.table("unit") {
        return other.text("other").map(Arc::from);
    }
    let name = section.text("unit")?;
    if unit::known(name).is_none() {
        let message = format!("unit: {} is no unit of SenML or UCUM that is known here", quoted(name));
        let help = match unit::suggest(name) {
            Some(meant) => format!("did you mean {}?", quoted(meant.name)),
            None => format!("write unit = {{ other = {} }} if it shall stand so", quoted(name)),
        };
        mistakes.add_with_help(section.span("unit"), message, help);
    }
    Some(Arc::from(name))
}

/// What raw values mean. Notes values of several types, of which no receiver could make sense.
pub(super) fn map(section: &Section, mistakes: &mut Mistakes<'_>) -> Vec<(RawValue, value::Value)> {
    let entries = section.map("map");
    let kind = |scalar: &Scalar| match scalar {
        Scalar::Number(_) => "number",
        Scalar::Text(_) => "text",
        Scalar::Bool(_) => "boolean",
    };
    let odd = entries.iter().zip(entries.iter().skip(1));
    if let Some(((_, before, _), (_, here, span))) = odd.into_iter().find(|(a, b)| kind(&a.1) != kind(&b.1)) {
        let message = format!("map: here is a {}, and another value is a {}", kind(here), kind(before));
        mistakes.add_with_help(*span, message, "write values of one type");
    }
    let value = |scalar: &Scalar| match scalar {
        Scalar::Number(number) => value::Value::Number(number.to_string().parse().unwrap_or_default()),
        Scalar::Text(text) => value::Value::Text(text.clone()),
        Scalar::Bool(flag) => value::Value::Bool(*flag),
    };
    let raw = |key: &str| match decimal::parse(key) {
        Some(number) => RawValue::Number(number),
        None => RawValue::Word(key.to_owned()),
    };
    entries.iter().map(|(key, scalar, _)| (raw(key), value(scalar))).collect()
}

pub(super) fn raw_value(scalar: &Scalar) -> RawValue {
    match scalar {
        Scalar::Number(number) => RawValue::Number(*number),
        Scalar::Text(text) => RawValue::Word(text.clone()),
        Scalar::Bool(flag) => RawValue::Word(flag.to_string()),
    }
}

/// Notes a `from` that no frame can have.
fn check_from(section: &Section, key: &str, from: &str, decode: &DecodeConfig, mistakes: &mut Mistakes<'_>) {
    let span = section.span(key);
    match decode {
        DecodeConfig::Json => {
            if from.starts_with('/') && has_bad_escape(from) {
                let message = format!("{key}: {} is no JSON pointer: after ~ comes 0 or 1", quoted(from));
                mistakes.add(span, message);
            }
        }
        DecodeConfig::KeyValue { .. } | DecodeConfig::Binary { .. } | DecodeConfig::Registers => {}
        DecodeConfig::Codec(codec) => super::codec::check_from(section, key, from, *codec, mistakes),
        DecodeConfig::Obis => {
            if !is_obis_code(from) {
                let message = format!("{key}: {} is no OBIS code", quoted(from));
                mistakes.add_with_help(span, message, "write one such as \"1-0:1.8.0\" or \"1.8.0\"");
            }
        }
        DecodeConfig::Csv { columns, .. } => {
            let is_number = from.parse::<usize>().is_ok_and(|number| (1..=COLUMNS_MAX).contains(&number));
            let names: Vec<&str> = columns.iter().map(String::as_str).collect();
            if !is_number && !names.contains(&from) {
                let message = format!("{key}: there is no column {}", quoted(from));
                if names.is_empty() {
                    let help = "name the columns in decode, or write from = 1 for the first column";
                    mistakes.add_with_help(span, message, help);
                } else {
                    refers(mistakes, span, message, from, &names);
                }
            }
        }
        DecodeConfig::Regex(regex) => {
            let groups: Vec<&str> = regex.0.capture_names().flatten().collect();
            if !groups.contains(&from) {
                let message = format!("{key}: the pattern has no group {}", quoted(from));
                refers(mistakes, span, message, from, &groups);
            }
        }
    }
}

/// RFC 6901, 3: `~` is only ever followed by 0 or 1.
fn has_bad_escape(pointer: &str) -> bool {
    pointer.split('~').skip(1).any(|after| !after.starts_with(['0', '1']))
}

/// Notes what only numbers have on a point that is none, and bounds that contradict each other.
pub(super) fn check_numbers(
    section: &Section,
    kind: PointType,
    map: &[(RawValue, value::Value)],
    mistakes: &mut Mistakes<'_>,
) {
    let word = section.word("type");
    let (meaningless, what): (&[&str], String) = match (map.first(), kind) {
        (Some((_, value::Value::Number(_))), _) => {
            (&["scale", "offset", "precision"], "with map, which takes raw values".to_owned())
        }
        (Some(_), _) => (
            &["scale", "offset", "precision", "unit", "min", "max", "deadband"],
            "with map, which takes raw values and gives no numbers".to_owned(),
        ),
        (None, PointType::Bool | PointType::Text) => (
            &["scale", "offset", "precision", "unit", "min", "max", "deadband"],
            format!("for a point of type {}", quoted(word)),
        ),
        (None, PointType::Integer | PointType::Number) => (&[], String::new()),
    };
    for key in meaningless.iter().filter(|key| section.is_given(key)) {
        mistakes.add(section.key_span(key), format!("{key} has no meaning {what}"));
    }
    if !meaningless.is_empty() {
        return;
    }
    if matches!(section.value("scale"), Some(Value::Decimal(scale)) if *scale == Decimal::ZERO) {
        mistakes.add(section.span("scale"), "scale: 0 would make every value the same");
    }
    if let (Some(min), Some(max)) = (section.number("min"), section.number("max"))
        && min > max
    {
        mistakes.add(section.span("max"), format!("max: {max} is below min, {min}"));
    }
}
