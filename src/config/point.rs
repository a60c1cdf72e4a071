//! `[[device.points]]`: the values of a device, and whether its frames can have them.

use std::sync::Arc;

use rust_decimal::Decimal;

use super::device::COLUMNS_MAX;
use super::mistake::{Mistakes, quoted};
use super::names::{refers, unique};
use super::schema::Effect::Restart;
use super::schema::{Kind, Table, computed, key, optional, required};
use super::section::{Section, Value};
use crate::sensor::{DecodeConfig, PointConfig, PointType, Points};

/// `[[device.points]]`
pub static POINT: Table = Table {
    name: "[[device.points]]",
    doc: "One value of a device.",
    keys: &[
        required(
            "name",
            Kind::Level { bytes_max: 64 },
            "\"temperature\"",
            Restart,
            "What the value is called; unique within the device.",
        ),
        computed(
            "from",
            Kind::OneOf(&[Kind::Text { bytes_max: 256 }, Kind::Integer { min: 1, max: 256 }]),
            "the name",
            Restart,
            "Where it stands in the frame: a key, JSON pointer, column name or number, or group.",
        ),
        key(
            "type",
            Kind::Words(&["number", "integer", "bool", "text"]),
            "\"number\"",
            Restart,
            "What it is: \"number\", \"integer\", \"bool\" or \"text\".",
        ),
        key("scale", Kind::Decimal, "1", Restart, "Multiplies the number, exactly as it is written here."),
        key("offset", Kind::Decimal, "0", Restart, "Added after scaling, exactly as it is written here."),
        optional(
            "unit",
            Kind::Text { bytes_max: 32 },
            Restart,
            "Unit, by its SenML name: Cel, %RH, hPa, kg.",
        ),
        optional("min", Kind::Number, Restart, "Below it, after scaling, the value is out of range."),
        optional("max", Kind::Number, Restart, "Above it, after scaling, the value is out of range."),
        key("optional", Kind::Bool, "false", Restart, "A missing value is no fault."),
    ],
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
    let source = if section.is_given("from") { "from" } else { "name" };
    if let (Some(decode), true) = (decode, section.is_given(source) && !section.is_mistaken(source)) {
        check_from(section, source, &from, decode, mistakes);
    }
    let kind = match section.word("type") {
        "integer" => PointType::Integer,
        "bool" => PointType::Bool,
        "text" => PointType::Text,
        _ => PointType::Number,
    };
    check_numbers(section, kind, mistakes);
    PointConfig {
        name: Arc::from(name),
        from,
        kind,
        scale: section.decimal("scale"),
        offset: section.decimal("offset"),
        unit: section.text("unit").map(Arc::from),
        min: section.number("min"),
        max: section.number("max"),
        optional: section.bool("optional").unwrap_or(false),
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
        DecodeConfig::KeyValue { .. } => {}
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
            let groups: Vec<&str> = regex.capture_names().flatten().collect();
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
fn check_numbers(section: &Section, kind: PointType, mistakes: &mut Mistakes<'_>) {
    let word = section.word("type");
    if matches!(kind, PointType::Bool | PointType::Text) {
        for key in ["scale", "offset", "unit", "min", "max"] {
            if section.is_given(key) {
                let message = format!("{key} has no meaning for a point of type {}", quoted(word));
                mistakes.add(section.key_span(key), message);
            }
        }
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
