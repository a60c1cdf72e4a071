//! What devices can be told: `writable` points of Modbus devices, and `[[device.commands]]` of those with a protocol of
//! their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::framing::{self, CHECKS};
use super::mistake::{Mistakes, quoted};
use super::names::unique;
use super::point;
use super::schema::Effect::Reconnect;
use super::schema::{Key, Kind, Table, computed, duration, key, optional, required};
use super::section::Section;
use crate::sensor::modbus::pdu::{ReadFunction, WRITE_REGISTERS_MAX};
use crate::sensor::{
    Cell, CheckConfig, CommandConfig, Expect, FramingConfig, Pattern, PointConfig, PointType, Register,
    SendTemplate, TemplateError, WriteConfig,
};

/// The longest command, in bytes: as much as a request has.
const SEND_BYTES_MAX: usize = 256;

pub(super) const WRITABLE: Key = key(
    "writable",
    Kind::Bool,
    "false",
    Reconnect,
    "Commands may set it: <base>/cmd/<device>/<point>. Of a coil or a holding register.",
);
pub(super) const WRITE_FUNCTION: Key = computed(
    "write_function",
    Kind::Integer { min: 5, max: 16 },
    "5 for a coil, 6 for one register, 16 for several",
    Reconnect,
    "By which function it is written; 15 or 16 for a device that knows no other.",
);
pub(super) const VERIFY: Key = key(
    "verify_write",
    Kind::Bool,
    "true",
    Reconnect,
    "Whether a write has failed if the point doesn't read then what was written.",
);

/// `[[device.commands]]`
pub static COMMAND: Table = Table {
    name: "[[device.commands]]",
    doc: "Something that a device can be told in its own protocol.",
    keys: &[
        required(
            "name",
            Kind::Level { bytes_max: 64 },
            "\"setpoint\"",
            Reconnect,
            "Stands in the topic <base>/cmd/<device>/<name>; unique among the device's commands.",
        ),
        key(
            "type",
            Kind::Words(&["number", "integer", "bool", "text"]),
            "\"number\"",
            Reconnect,
            "What its value is.",
        ),
        key(
            "scale",
            Kind::Decimal,
            "1",
            Reconnect,
            "The number that is sent is multiplied by it to be the value.",
        ),
        key("offset", Kind::Decimal, "0", Reconnect, "Added after scaling, to be the value."),
        optional(
            "map",
            Kind::Map { count_max: 256 },
            Reconnect,
            "What is sent, and what it means: { 0 = \"off\", 1 = \"on\" }.",
        ),
        optional("min", Kind::Number, Reconnect, "A value below it is refused."),
        optional("max", Kind::Number, Reconnect, "A value above it is refused."),
        optional(
            "send",
            Kind::Raw { bytes_max: SEND_BYTES_MAX },
            Reconnect,
            "The text that is sent, with {value} or {value:06.2} in it.",
        ),
        optional(
            "send_hex",
            Kind::Text { bytes_max: 1_024 },
            Reconnect,
            "The bytes that are sent, in hexadecimal digits, with {value:u16be} among them.",
        ),
        key(
            "check",
            Kind::OneOf(&[Kind::Words(CHECKS), Kind::Table(&framing::CHECK)]),
            "\"none\"",
            Reconnect,
            "What is put behind these bytes, or at its place among them: as in [[device]].",
        ),
        optional(
            "expect",
            Kind::Expression,
            Reconnect,
            "The line that says that it is done; a group (?<value>…) is the value that the device has then.",
        ),
        optional(
            "expect_hex",
            Kind::Hex { bytes_max: 64 },
            Reconnect,
            "The bytes that say that it is done, in hexadecimal digits.",
        ),
        key("timeout", duration(10, 60_000), "\"1s\"", Reconnect, "From sending to the answer; 10ms to 60s."),
    ],
};

pub(super) const COMMANDS: Key = super::schema::several("commands", &COMMAND, 64, Reconnect);

/// How a point of registers is written; `None`: it isn't.
pub(super) fn write(
    section: &Section,
    register: Register,
    cell: Option<&Cell>,
    mistakes: &mut Mistakes<'_>,
) -> Option<WriteConfig> {
    let is_writable = section.bool("writable").unwrap_or(false);
    if !is_writable {
        for key in ["write_function", "verify_write"].iter().filter(|key| section.is_given(key)) {
            let message = format!("{key} has no meaning for a point that is not writable");
            mistakes.add_with_help(section.key_span(key), message, "add writable = true");
        }
        return None;
    }
    let function = register.function;
    let (kind, instead) = match function {
        ReadFunction::InputRegisters => {
            ("input registers", "3 if the device has it as a holding register too")
        }
        ReadFunction::DiscreteInputs => ("discrete inputs", "1 if the device has it as a coil too"),
        ReadFunction::HoldingRegisters | ReadFunction::Coils => {
            let count = if function.is_bits() { 1 } else { cell?.bytes.div_ceil(2) };
            check_inverse(section, mistakes);
            return Some(WriteConfig {
                by_several: by_several(section, function, count, mistakes),
                verify: section.bool("verify_write").unwrap_or(true),
            });
        }
    };
    let message = format!("writable: function {} reads {kind}, which nobody can write", function.code());
    let help = format!("write function = {instead}, or leave writable out");
    mistakes.add_with_help(section.span("writable"), message, &help);
    None
}

/// Notes what only points of registers have on another one.
pub(super) fn no_write(section: &Section, mistakes: &mut Mistakes<'_>) {
    for key in ["writable", "write_function", "verify_write"].iter().filter(|key| section.is_given(key)) {
        let message = format!("{key} has a meaning for registers only");
        let help = "write [[device.commands]] for what the device can be told in its own protocol";
        mistakes.add_with_help(section.key_span(key), message, help);
    }
}

fn by_several(section: &Section, function: ReadFunction, count: usize, mistakes: &mut Mistakes<'_>) -> bool {
    if count > usize::from(WRITE_REGISTERS_MAX) {
        let message = format!(
            "writable: the value has {count} registers, and one request writes {WRITE_REGISTERS_MAX} at most"
        );
        mistakes.add(section.span("writable"), message);
    }
    if !section.is_given("write_function") || section.is_mistaken("write_function") {
        return false;
    }
    let code: i64 = section.integer("write_function");
    let (several, help) = match (function.is_bits(), count) {
        (true, _) => (15, "5 or 15 writes a coil"),
        (false, 0..=1) => (16, "6 or 16 writes a register"),
        (false, _) => (16, "16 writes several registers at once"),
    };
    let single = if function.is_bits() { 5 } else { 6 };
    if code != several && (code != single || count > 1) {
        let message = format!("write_function: {code} does not write this");
        mistakes.add_with_help(section.span("write_function"), message, help);
    }
    code == several
}

/// Notes a map of which a value could be sent in two ways.
fn check_inverse(section: &Section, mistakes: &mut Mistakes<'_>) {
    let mut first = BTreeMap::new();
    for (raw, meaning, span) in section.map("map") {
        if let Some(other) = first.insert(format!("{meaning:?}"), raw) {
            let message = format!(
                "map: {} means the same as {}, so that nobody knows which to write",
                quoted(raw),
                quoted(other)
            );
            mistakes.add_with_help(*span, message, "give each its own meaning, or leave writable out");
        }
    }
}

/// What a device can be told. `is_registers`: it is a Modbus device.
pub(super) fn commands(
    device: &Section,
    is_registers: bool,
    mistakes: &mut Mistakes<'_>,
) -> Vec<CommandConfig> {
    let sections = device.tables("commands");
    if is_registers && device.is_given("commands") {
        let message = format!("commands has no meaning with decode = {}", quoted("registers"));
        let help = "write writable = true in [[device.points]]";
        mistakes.add_with_help(device.key_span("commands"), message, help);
    }
    unique(mistakes, "[[device.commands]]", "name", sections);
    sections.iter().filter_map(|section| command(section, mistakes)).collect()
}

fn command(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<CommandConfig> {
    let kind = match section.word("type") {
        "integer" => PointType::Integer,
        "bool" => PointType::Bool,
        "text" => PointType::Text,
        _ => PointType::Number,
    };
    let map = point::map(section, mistakes);
    point::check_numbers(section, kind, &map, mistakes);
    check_inverse(section, mistakes);
    let value = PointConfig {
        kind,
        map,
        scale: section.decimal("scale"),
        offset: section.decimal("offset"),
        min: section.number("min"),
        max: section.number("max"),
        ..PointConfig::named(&section.string("name"))
    };
    let expect = expect(section, mistakes);
    let check = check(section, mistakes);
    let send = send(section, mistakes)?;
    if !send.has_value() {
        for key in ["type", "scale", "offset", "map", "min", "max"].iter().filter(|key| section.is_given(key))
        {
            let message = format!("{key} has no meaning for a command without {{value}}");
            let help = "it is given by on, true or 1; write {value} where the value stands";
            mistakes.add_with_help(section.key_span(key), message, help);
        }
    } else if section.is_given("send_hex") && kind == PointType::Text && value.map.is_empty() {
        let message = "type: a text can't stand among bytes";
        mistakes.add_with_help(section.span("type"), message, "write send instead of send_hex, or a map");
    }
    Some(CommandConfig { value, send, check, expect, timeout: section.duration("timeout") })
}

fn send(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<SendTemplate> {
    let (key, template) = match (section.text("send"), section.text("send_hex")) {
        (Some(_), Some(_)) => {
            let message = "send_hex has no meaning beside send";
            mistakes.add_with_help(section.key_span("send_hex"), message, "leave one of them out");
            return None;
        }
        (Some(text), None) => ("send", SendTemplate::text(text)),
        (None, Some(text)) => ("send_hex", SendTemplate::hex(text)),
        (None, None) => {
            if !section.is_mistaken("send") && !section.is_mistaken("send_hex") {
                let help = "add send = \"SP{value}\\r\\n\", or send_hex = \"fe 06 {value:u16be}\"";
                mistakes.add_with_help(section.span, "[[device.commands]] has no \"send\"", help);
            }
            return None;
        }
    };
    template
        .map_err(|error| {
            let help = match (&error, key) {
                (TemplateError::BadPlace { .. }, "send") => {
                    "write {value}; or {value:06.2}: 6 characters at least, zeros in front, 2 digits behind the point"
                        .to_owned()
                }
                (TemplateError::BadPlace { .. }, _) => {
                    let cells: Vec<&str> = SendTemplate::cells().collect();
                    format!("write {{value:…}} with one of {}", cells.join(", "))
                }
                _ => "write two digits for each byte".to_owned(),
            };
            mistakes.add_with_help(section.span(key), format!("{key}: {error}"), &help);
        })
        .ok()
}

fn check(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<CheckConfig> {
    if section.is_given("check") && section.is_given("send") {
        let message = "check has no meaning with send, which is text";
        mistakes.add_with_help(section.key_span("check"), message, "write send_hex for bytes");
        return None;
    }
    // The bytes have no framing of their own that could contradict it.
    let any = FramingConfig::Gap { idle: std::time::Duration::ZERO, bytes_max: SEND_BYTES_MAX };
    framing::check(section, &any, mistakes)
}

fn expect(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<Expect> {
    let line = match section.value("expect") {
        Some(super::section::Value::Pattern(regex)) => Some(Expect::Line(Pattern(regex.clone()))),
        _ => None,
    };
    let is_hex = section.is_given("expect_hex");
    if section.is_given("expect") && is_hex {
        let message = "expect_hex has no meaning beside expect";
        mistakes.add_with_help(section.key_span("expect_hex"), message, "leave one of them out");
    }
    if section.is_given("timeout") && !section.is_given("expect") && !is_hex {
        let message = "timeout has no meaning without an answer to wait for";
        mistakes.add_with_help(section.key_span("timeout"), message, "add expect = \"^OK\"");
    }
    line.or_else(|| is_hex.then(|| Expect::Bytes(section.bytes("expect_hex").to_vec())))
}

/// Notes commands to what can't be told anything. `ports` are the `[[port]]` and `[[exec]]` tables.
pub(super) fn check_port(
    device: &Section,
    is_polled: bool,
    ports: Option<&[Section]>,
    mistakes: &mut Mistakes<'_>,
) {
    let name = device.text("port");
    let port = ports.unwrap_or_default().iter().find(|port| port.text("name") == name && name.is_some());
    let Some(port) = port.filter(|_| device.is_given("commands")) else { return };
    let span = device.key_span("commands");
    if port.table.name == "[[exec]]" {
        let message = "commands has no meaning for what a program prints";
        mistakes.add_with_help(span, message, "leave it out: nothing is written to a program");
    } else if port.is_given("rs485") && !is_polled {
        let message =
            "commands can't be sent on rs485 to a device that sends by itself: it may be sending then";
        mistakes.add_with_help(span, message, "write poll for a device that is asked, or leave it out");
    }
}

/// The name of each device that takes commands.
pub(super) fn names(devices: &[crate::sensor::DeviceConfig]) -> impl Iterator<Item = Arc<str>> {
    devices.iter().filter(|device| device.takes_commands()).map(|device| device.name.clone())
}
