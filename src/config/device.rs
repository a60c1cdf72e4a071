//! `[[device]]`: what hangs on a port, how its bytes become frames, and its frames values. Its points are
//! `point`'s business.

use std::sync::Arc;

use super::codec;
use super::command;
use super::framing::{self, CHECKS};
use super::mistake::{Mistakes, quoted};
use super::names::{refers, unique};
use super::point::{self, POINT};
use super::poll;
use super::publish;
use super::schema::Effect::{Live, Reconnect};
use super::schema::{Kind, Table, computed, duration, key, optional, required};
use super::section::{Section, Value};
use crate::sensor::{DecodeConfig, DeviceConfig, Endian, FramingConfig, Pattern};

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
            Reconnect,
            "Stands in the topic; unique among the devices.",
        ),
        required(
            "port",
            Kind::Level { bytes_max: 64 },
            "\"usb0\"",
            Reconnect,
            "The name of its [[port]] or [[exec]].",
        ),
        optional(
            "profile",
            Kind::Text { bytes_max: 64 },
            Reconnect,
            "A known device: whatever isn't said here is as its profile says; `fieldgate profile list` shows them.",
        ),
        optional("only", Kind::Texts { count_max: 256 }, Reconnect, "Of the profile's points only these."),
        key(
            "framing",
            Kind::Tagged(&[
                ("line", &framing::LINE),
                ("packet", &framing::PACKET),
                ("gap", &framing::GAP),
                ("telegram", &framing::TELEGRAM),
                ("stuffed", &framing::STUFFED),
            ]),
            "{ kind = \"line\" }",
            Reconnect,
            "How bytes become frames.",
        ),
        key(
            "check",
            Kind::OneOf(&[Kind::Words(CHECKS), Kind::Table(&framing::CHECK)]),
            "\"none\"",
            Reconnect,
            "What proves that a frame is as it was sent: a kind, or a table with kind and more.",
        ),
        required(
            "decode",
            Kind::Tagged(&[
                ("json", &JSON),
                ("key-value", &KEY_VALUE),
                ("csv", &CSV),
                ("regex", &REGEX),
                ("obis", &OBIS),
                ("binary", &BINARY),
                ("registers", &REGISTERS),
                ("nmea", &codec::NMEA),
                ("dsmr", &codec::PROTOCOL),
                ("sml", &codec::PROTOCOL),
                ("ve-direct", &codec::PROTOCOL),
                ("iec62056-21", &codec::PROTOCOL),
                ("mbus", &codec::PROTOCOL),
            ]),
            "\"json\"",
            Reconnect,
            "How a frame becomes values: \"json\", \"key-value\", or a table with kind and more. Protocols such as \"nmea\" \
             find and check their frames by themselves.",
        ),
        required(
            "points",
            Kind::OneOf(&[Kind::Words(&["*"]), Kind::Tables { table: &POINT, count_max: 1_024 }]),
            "\"*\"",
            Reconnect,
            "\"*\": whatever the frame has; or [[device.points]], one table for each value.",
        ),
        key(
            "stale_after",
            duration(100, 30 * 86_400_000),
            "\"60s\"",
            Reconnect,
            "Without a good frame for this long the device is stale; 100ms to 30d.",
        ),
        poll::UNIT_ID,
        poll::EVERY,
        poll::TIMEOUT,
        poll::RETRIES,
        poll::PAUSE,
        poll::MAX_HOLE,
        poll::MAX_REGISTERS,
        poll::POLL,
        command::COMMANDS,
        optional(
            "publish",
            Kind::Table(&publish::DEVICE_PUBLISH),
            Live,
            "What of its readings is published, and in which form; what isn't said is as in [publish].",
        ),
    ],
};

/// `decode = { kind = "json" }`
pub static JSON: Table = Table {
    name: "[device.decode] of kind \"json\"",
    doc: "One JSON object per line; a point's from is a key or a JSON pointer such as /bme/t.",
    keys: &[optional("kind", Kind::Words(&["json"]), Reconnect, "\"json\"")],
};

/// `decode = { kind = "key-value" }`
pub static KEY_VALUE: Table = Table {
    name: "[device.decode] of kind \"key-value\"",
    doc: "Pairs such as t=21.5; a point's from is a key.",
    keys: &[
        optional("kind", Kind::Words(&["key-value"]), Reconnect, "\"key-value\""),
        key("pair", Kind::Char, "\"=\"", Reconnect, "Between key and value."),
        computed(
            "separator",
            Kind::Char,
            "any run of spaces, tabs, commas or semicolons",
            Reconnect,
            "Between pairs; one character.",
        ),
    ],
};

/// `decode = { kind = "csv" }`
pub static CSV: Table = Table {
    name: "[device.decode] of kind \"csv\"",
    doc: "Columns; a point's from is the name of a column or its number from 1.",
    keys: &[
        optional("kind", Kind::Words(&["csv"]), Reconnect, "\"csv\""),
        key("separator", Kind::Char, "\",\"", Reconnect, "Between columns; one character."),
        key(
            "columns",
            Kind::Texts { count_max: COLUMNS_MAX },
            "[]",
            Reconnect,
            "Names of the columns in their order; may be left out where points use numbers.",
        ),
    ],
};

/// `decode = { kind = "regex" }`
pub static REGEX: Table = Table {
    name: "[device.decode] of kind \"regex\"",
    doc: "A regular expression; a point's from is a named group. A line that doesn't match is a bad line.",
    keys: &[
        optional("kind", Kind::Words(&["regex"]), Reconnect, "\"regex\""),
        required(
            "pattern",
            Kind::Pattern,
            "'(?<weight>[0-9.]+) kg'",
            Reconnect,
            "With a named group (?<name>…) for each value; single quotes keep backslashes as they are.",
        ),
    ],
};

/// `decode = { kind = "obis" }`
pub static OBIS: Table = Table {
    name: "[device.decode] of kind \"obis\"",
    doc: "Lines such as 1-0:1.8.0(00123.456*kWh); a point's from is a code, with #2 behind it for the second bracket.",
    keys: &[optional("kind", Kind::Words(&["obis"]), Reconnect, "\"obis\"")],
};

/// `decode = { kind = "registers" }`
pub static REGISTERS: Table = Table {
    name: "[device.decode] of kind \"registers\"",
    doc: "Modbus registers and coils; a point says of which function and at which address.",
    keys: &[optional("kind", Kind::Words(&["registers"]), Reconnect, "\"registers\"")],
};

/// `decode = { kind = "binary" }`
pub static BINARY: Table = Table {
    name: "[device.decode] of kind \"binary\"",
    doc: "Bytes; a point says at which byte it begins and of which type it is.",
    keys: &[
        optional("kind", Kind::Words(&["binary"]), Reconnect, "\"binary\""),
        key(
            "endian",
            Kind::Words(&["big", "little"]),
            "\"big\"",
            Reconnect,
            "Which byte of a number comes first, where a point doesn't say.",
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
    let devices: Vec<DeviceConfig> =
        sections.iter().map(|section| device(section, names.as_deref(), mistakes)).collect();
    for (section, device) in sections.iter().zip(&devices) {
        command::check_port(section, device.poll.is_some(), ports, mistakes);
    }
    poll::check_ports(sections, &devices, ports.unwrap_or_default(), mistakes);
    devices
}

fn device(section: &Section, ports: Option<&[&str]>, mistakes: &mut Mistakes<'_>) -> DeviceConfig {
    if let (Some(port), Some(ports)) = (section.text("port"), ports)
        && !ports.contains(&port)
    {
        let message = format!("port: there is no [[port]] with the name {}", quoted(port));
        refers(mistakes, section.span("port"), message, port, ports);
    }
    let decode = decode(section, mistakes);
    let framing = match &decode {
        Some(DecodeConfig::Codec(kind)) => {
            codec::check_framing(section, *kind, mistakes);
            FramingConfig::Codec(*kind)
        }
        _ => framing::framing(section, mistakes),
    };
    let poll = poll::poll(section, decode.as_ref(), mistakes);
    let is_registers = matches!(decode, Some(DecodeConfig::Registers));
    let device = DeviceConfig {
        name: Arc::from(section.string("name")),
        port: Arc::from(section.string("port")),
        check: framing::check(section, &framing, mistakes),
        framing,
        points: point::points(section, decode.as_ref(), mistakes),
        decode: decode.unwrap_or(DecodeConfig::Json),
        stale_after: poll::stale_after(section, poll.as_ref()),
        poll,
        commands: command::commands(section, is_registers, mistakes),
    };
    poll::check_lengths(section, &device, mistakes);
    device
}

/// `None`: it is a mistake, so that nothing can be said about the points.
fn decode(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<DecodeConfig> {
    let (kind, table) = section.tagged("decode")?;
    match kind {
        "json" => Some(DecodeConfig::Json),
        "registers" => Some(DecodeConfig::Registers),
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
        "obis" => Some(DecodeConfig::Obis),
        "binary" => {
            let endian = if table.word("endian") == "little" { Endian::Little } else { Endian::Big };
            if matches!(section.value("points"), Some(Value::Word(_))) {
                let help = "write [[device.points]] with name, at and type for each value";
                mistakes.add_with_help(
                    section.span("points"),
                    "points: bytes don't say what they hold",
                    help,
                );
            }
            Some(DecodeConfig::Binary { endian })
        }
        "regex" => match table.value("pattern") {
            Some(Value::Pattern(regex)) => Some(DecodeConfig::Regex(Pattern(regex.clone()))),
            _ => None,
        },
        kind => codec::codec(kind, table).map(DecodeConfig::Codec),
    }
}
