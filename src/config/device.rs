//! `[[device]]`: what hangs on a port, how its bytes become frames, and its frames values. Its points are
//! `point`'s business.

use std::sync::Arc;

use super::mistake::{Mistakes, quoted};
use super::names::{refers, unique};
use super::point::{self, POINT};
use super::schema::Effect::Restart;
use super::schema::{Kind, Table, computed, duration, key, optional, required};
use super::section::{Section, Value};
use crate::sensor::{DecodeConfig, DeviceConfig, FramingConfig, LineEnd};

/// The most columns of a CSV line, and the largest column number.
pub(super) const COLUMNS_MAX: usize = 256;

/// `[[device]]`
pub static DEVICE: Table = Table {
    name: "[[device]]",
    doc: "What hangs on a port.",
    keys: &[
        required(
            "name",
            Kind::Level { bytes_max: 64 },
            "\"weather\"",
            Restart,
            "Stands in the topic; unique among the devices.",
        ),
        required("port", Kind::Level { bytes_max: 64 }, "\"usb0\"", Restart, "The name of its [[port]]."),
        key(
            "framing",
            Kind::Tagged(&[("line", &LINE)]),
            "{ kind = \"line\" }",
            Restart,
            "How bytes become frames.",
        ),
        required(
            "decode",
            Kind::Tagged(&[("json", &JSON), ("key-value", &KEY_VALUE), ("csv", &CSV), ("regex", &REGEX)]),
            "\"json\"",
            Restart,
            "How a frame becomes values: \"json\", \"key-value\", or a table with kind and more.",
        ),
        required(
            "points",
            Kind::OneOf(&[Kind::Words(&["*"]), Kind::Tables { table: &POINT, count_max: 1_024 }]),
            "\"*\"",
            Restart,
            "\"*\": whatever the frame has; or [[device.points]], one table for each value.",
        ),
        key(
            "stale_after",
            duration(100, 30 * 86_400_000),
            "\"60s\"",
            Restart,
            "Without a good frame for this long the device is stale; 100ms to 30d.",
        ),
    ],
};

/// `framing = { kind = "line" }`
pub static LINE: Table = Table {
    name: "[device.framing] of kind \"line\"",
    doc: "Text lines.",
    keys: &[
        optional("kind", Kind::Words(&["line"]), Restart, "\"line\""),
        computed(
            "end",
            Kind::Raw { bytes_max: 16 },
            "LF, CR LF or CR, whatever comes",
            Restart,
            "Exactly what ends a line, such as \"\\r\\n\"; 1 to 16 bytes.",
        ),
        key(
            "max",
            Kind::Size { min: 16, max: 64 * 1024 },
            "\"4 KiB\"",
            Restart,
            "The longest line; a longer one is counted as bad. 16 B to 64 KiB.",
        ),
    ],
};

/// `decode = { kind = "json" }`
pub static JSON: Table = Table {
    name: "[device.decode] of kind \"json\"",
    doc: "One JSON object per line; a point's from is a key or a JSON pointer such as /bme/t.",
    keys: &[optional("kind", Kind::Words(&["json"]), Restart, "\"json\"")],
};

/// `decode = { kind = "key-value" }`
pub static KEY_VALUE: Table = Table {
    name: "[device.decode] of kind \"key-value\"",
    doc: "Pairs such as t=21.5; a point's from is a key.",
    keys: &[
        optional("kind", Kind::Words(&["key-value"]), Restart, "\"key-value\""),
        key("pair", Kind::Char, "\"=\"", Restart, "Between key and value."),
        computed(
            "separator",
            Kind::Char,
            "any run of spaces, tabs, commas or semicolons",
            Restart,
            "Between pairs; one character.",
        ),
    ],
};

/// `decode = { kind = "csv" }`
pub static CSV: Table = Table {
    name: "[device.decode] of kind \"csv\"",
    doc: "Columns; a point's from is the name of a column or its number from 1.",
    keys: &[
        optional("kind", Kind::Words(&["csv"]), Restart, "\"csv\""),
        key("separator", Kind::Char, "\",\"", Restart, "Between columns; one character."),
        key(
            "columns",
            Kind::Texts { count_max: COLUMNS_MAX },
            "[]",
            Restart,
            "Names of the columns in their order; may be left out where points use numbers.",
        ),
    ],
};

/// `decode = { kind = "regex" }`
pub static REGEX: Table = Table {
    name: "[device.decode] of kind \"regex\"",
    doc: "A regular expression; a point's from is a named group. A line that doesn't match is a bad line.",
    keys: &[
        optional("kind", Kind::Words(&["regex"]), Restart, "\"regex\""),
        required(
            "pattern",
            Kind::Pattern,
            "'(?<weight>[0-9.]+) kg'",
            Restart,
            "With a named group (?<name>…) for each value; single quotes keep backslashes as they are.",
        ),
    ],
};

pub(super) fn devices(
    sections: &[Section],
    ports: Option<&[Section]>,
    mistakes: &mut Mistakes<'_>,
) -> Vec<DeviceConfig> {
    unique(mistakes, "[[device]]", "name", sections);
    // A port whose name is a mistake may be the one that is meant.
    let names: Option<Vec<&str>> =
        ports.and_then(|ports| ports.iter().map(|port| port.text("name")).collect());
    sections.iter().map(|section| device(section, names.as_deref(), mistakes)).collect()
}

fn device(section: &Section, ports: Option<&[&str]>, mistakes: &mut Mistakes<'_>) -> DeviceConfig {
    if let (Some(port), Some(ports)) = (section.text("port"), ports)
        && !ports.contains(&port)
    {
        let message = format!("port: there is no [[port]] with the name {}", quoted(port));
        refers(mistakes, section.span("port"), message, port, ports);
    }
    let decode = decode(section, mistakes);
    DeviceConfig {
        name: Arc::from(section.string("name")),
        port: Arc::from(section.string("port")),
        framing: framing(section),
        points: point::points(section, decode.as_ref(), mistakes),
        decode: decode.unwrap_or(DecodeConfig::Json),
        stale_after: section.duration("stale_after"),
    }
}

fn framing(section: &Section) -> FramingConfig {
    let Some((_, line)) = section.tagged("framing") else {
        return FramingConfig::Line { end: LineEnd::Any, bytes_max: 0 };
    };
    let end = line.text("end").map_or(LineEnd::Any, |end| LineEnd::Exact(end.as_bytes().to_vec()));
    FramingConfig::Line { end, bytes_max: line.memory_size("max") }
}

/// `None`: it is a mistake, so that nothing can be said about the points.
fn decode(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<DecodeConfig> {
    let (kind, table) = section.tagged("decode")?;
    match kind {
        "json" => Some(DecodeConfig::Json),
        "key-value" => {
            let (pair, separator) = (table.char("pair")?, table.char("separator"));
            if separator == Some(pair) {
                let message =
                    format!("separator: {} already stands between key and value", quoted(&pair.to_string()));
                mistakes.add(table.span("separator"), message);
            }
            Some(DecodeConfig::KeyValue { pair, separator })
        }
        "csv" => {
            let columns = match table.value("columns") {
                Some(Value::Texts(texts)) => {
                    let named = texts.iter().map(|(text, span)| (text.as_str(), *span));
                    super::names::unique_texts(mistakes, "column", "columns", named);
                    texts.iter().map(|(text, _)| text.clone()).collect()
                }
                _ => return None,
            };
            Some(DecodeConfig::Csv { separator: table.char("separator")?, columns })
        }
        _ => match table.value("pattern") {
            Some(Value::Pattern(regex)) => Some(DecodeConfig::Regex(regex.clone())),
            _ => None,
        },
    }
}
