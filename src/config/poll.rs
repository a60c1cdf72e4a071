//! The keys of `[[device]]` and `[[device.points]]` that say how a device is asked, and what fits together on a polled port.

use std::collections::BTreeMap;
use std::time::Duration;

use super::meter;
use super::mistake::{Mistakes, Span, quoted};
use super::schema::Effect::Reconnect;
use super::schema::{Key, Kind, Table, duration, key, optional};
use super::section::{Section, Value};
use crate::sensor::modbus::pdu::{READ_REGISTERS_MAX, ReadFunction};
use crate::sensor::{Ask, Cell, DecodeConfig, DeviceConfig, PollConfig, Register};

/// The highest address on a serial bus (MSL 2.2); those behind it are reserved, and makers use some for "any device".
const UNIT_ID_MAX: i64 = 255;

/// A polled device is stale after so many cycles, if that is longer than what holds for any.
const STALE_CYCLES: u32 = 3;

pub(super) const UNIT_ID: Key = optional(
    "unit_id",
    Kind::Integer { min: 0, max: UNIT_ID_MAX },
    Reconnect,
    "Its Modbus address, 1 to 247; 248 to 255 where the maker says so. Needed by decode = \"registers\".",
);
pub(super) const POLL: Key = optional(
    "poll",
    Kind::Table(&meter::ASK),
    Reconnect,
    "What a device is asked that has a protocol of its own.",
);
pub(super) const EVERY: Key = key(
    "every",
    duration(100, 86_400_000),
    "\"10s\"",
    Reconnect,
    "How often a device is asked; 100ms to 24h. Meters of iec62056-21 and mbus every 15min unless they say it.",
);
pub(super) const TIMEOUT: Key = key(
    "timeout",
    duration(10, 60_000),
    "\"500ms\"",
    Reconnect,
    "From the end of a request to the beginning of its answer; 10ms to 60s. An iec62056-21 meter has 2500ms unless it says so.",
);
pub(super) const RETRIES: Key = key(
    "retries",
    Kind::Integer { min: 0, max: 10 },
    "1",
    Reconnect,
    "Further tries of a request, of a device that answered last time.",
);
pub(super) const PAUSE: Key = key(
    "pause",
    duration(0, 10_000),
    "\"0ms\"",
    Reconnect,
    "Rest before each further request to this device; 0ms to 10s.",
);
pub(super) const MAX_HOLE: Key = key(
    "max_hole",
    Kind::Integer { min: 0, max: 124 },
    "0",
    Reconnect,
    "Registers between two points that are read along with them.",
);
pub(super) const MAX_REGISTERS: Key = key(
    "max_registers",
    Kind::Integer { min: 1, max: 125 },
    "60",
    Reconnect,
    "Registers of one request; of coils sixteen times as many.",
);

pub(super) const FUNCTION: Key = optional(
    "function",
    Kind::Integer { min: 1, max: 4 },
    Reconnect,
    "Of a register: 3 holding, 4 input; of a bit: 1 coil, 2 discrete input.",
);
pub(super) const ADDRESS: Key = optional(
    "address",
    Kind::OneOf(&ADDRESSES),
    Reconnect,
    "The register or coil as it is sent, from 0; or { exact = 40001 } for one that looks like a table's number.",
);

static ADDRESSES: [Kind; 2] = [Kind::Integer { min: 0, max: 465_536 }, Kind::Table(&EXACT)];

/// `address = { exact = 40001 }`
pub static EXACT: Table = Table {
    name: "[device.points.address]",
    doc: "An address on the wire, whatever it looks like.",
    keys: &[super::schema::required(
        "exact",
        Kind::Integer { min: 0, max: 65_535 },
        "40001",
        Reconnect,
        "The register or coil as it is sent, from 0.",
    )],
};

/// How a device is asked; `None` of one that sends by itself.
pub(super) fn poll(
    section: &Section,
    decode: Option<&DecodeConfig>,
    mistakes: &mut Mistakes<'_>,
) -> Option<PollConfig> {
    let is_registers = matches!(decode, Some(DecodeConfig::Registers));
    if is_registers {
        for (key, why) in
            [("poll", "what is asked follows from the points"), ("framing", "answers have a length")]
        {
            if section.is_given(key) {
                let message = format!("{key} has no meaning with decode = {}", quoted("registers"));
                mistakes.add_with_help(section.key_span(key), message, format!("leave it out: {why}"));
            }
        }
    } else if decode.is_some() {
        let polled: &[&str] =
            if section.is_given("poll") { &[] } else { &["every", "timeout", "retries", "pause"] };
        for key in ["unit_id", "max_hole", "max_registers"].iter().chain(polled) {
            if section.is_given(key) {
                let message = format!("{key} has no meaning for a device that is not asked for registers");
                let message = if polled.contains(key) {
                    format!("{key} has no meaning for a device that sends by itself")
                } else {
                    message
                };
                let help = "write decode = \"registers\" for a Modbus device";
                mistakes.add_with_help(section.key_span(key), message, help);
            }
        }
    }
    let ask =
        if is_registers { registers(section, mistakes) } else { meter::ask(section, decode, mistakes)? };
    let (every, timeout) = meter::pace(&ask);
    let unless_given = |key, of_meters: Option<Duration>| match of_meters {
        Some(span) if !section.is_given(key) => span,
        _ => section.duration(key),
    };
    Some(PollConfig {
        every: unless_given("every", every),
        timeout: unless_given("timeout", timeout),
        retries: section.integer("retries"),
        pause: section.duration("pause"),
        ask,
    })
}

fn registers(section: &Section, mistakes: &mut Mistakes<'_>) -> Ask {
    if !section.is_given("unit_id") {
        let message = "a device with decode = \"registers\" has no \"unit_id\"";
        mistakes.add_with_help(section.span, message, "add unit_id = 1, its address on the bus");
    }
    if section.word("points") == "*" {
        let message = "points: registers have no names, so each needs a [[device.points]]";
        let help = "write name, function, address and type of each";
        mistakes.add_with_help(section.span("points"), message, help);
    }
    Ask::Registers {
        unit_id: section.integer("unit_id"),
        hole_max: section.integer("max_hole"),
        registers_max: section.integer("max_registers"),
    }
}

/// When a device is stale that doesn't say so.
pub(super) fn stale_after(section: &Section, poll: Option<&PollConfig>) -> Duration {
    let span = section.duration("stale_after");
    match poll {
        Some(poll) if !section.is_given("stale_after") => span.max(poll.every.saturating_mul(STALE_CYCLES)),
        _ => span,
    }
}

/// Which table a point of registers is of.
pub(super) fn function(section: &Section) -> Option<ReadFunction> {
    section.is_given("function").then(|| ReadFunction::from_code(section.integer("function"))).flatten()
}

/// Where a point of registers stands. Notes what it lacks, or has and should not.
pub(super) fn register(
    section: &Section,
    cell: Option<&Cell>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Register> {
    for key in ["from", "at"].iter().filter(|key| section.is_given(key)) {
        let message = format!("{key} has no meaning for a register");
        mistakes.add_with_help(section.key_span(key), message, "write function and address");
    }
    for (key, help) in [
        ("function", "add function = 3 for a holding register, 4 for an input register"),
        ("address", "add address = 0, the first register"),
    ] {
        if !section.is_given(key) {
            let message = format!("a point of registers has no {}", quoted(key));
            mistakes.add_with_help(section.span, message, help);
        }
    }
    let function = function(section)?;
    if function.is_bits() && section.is_given("type") && !matches!(section.word("type"), "bool" | "bit") {
        let message = format!("type: function {} reads bits", function.code());
        mistakes.add_with_help(section.span("type"), message, "leave it out: the value is true or false");
    }
    let address = address(section, function, mistakes)?;
    let count = match cell {
        Some(cell) if !function.is_bits() => u32::try_from(cell.bytes.div_ceil(2)).unwrap_or(u32::MAX),
        _ => 1,
    };
    if u32::from(address).saturating_add(count) > 65_536 {
        let message = format!("address: {count} registers from {address} end beyond 65535");
        mistakes.add(section.span("address"), message);
    }
    Some(Register { function, address })
}

/// The address as it is sent. Tables number registers from 1, with the kind of register as first digit: 40001 is register
/// 0 of function 3. Whoever writes this means the table, unless the device really counts so.
fn address(section: &Section, function: ReadFunction, mistakes: &mut Mistakes<'_>) -> Option<u16> {
    if let Some(exact) = section.table("address") {
        return Some(exact.integer("exact"));
    }
    if !section.is_given("address") || section.is_mistaken("address") {
        return None;
    }
    let written: i64 = section.integer("address");
    let tables = [
        (400_001..=465_536, 3, true),
        (300_001..=365_536, 4, true),
        (100_001..=165_536, 2, true),
        (
            40_001..=49_999,
            3,
            matches!(function, ReadFunction::HoldingRegisters | ReadFunction::InputRegisters),
        ),
        (30_001..=39_999, 4, function == ReadFunction::InputRegisters),
        (10_001..=19_999, 2, function == ReadFunction::DiscreteInputs),
    ];
    let table = tables.into_iter().find(|(range, _, means)| *means && range.contains(&written));
    let Some((range, code, _)) = table else {
        let address = u16::try_from(written).ok();
        if address.is_none() {
            mistakes.add(section.span("address"), format!("address: {written} is not between 0 and 65535"));
        }
        return address;
    };
    let address = written.saturating_sub(*range.start());
    let message = format!("address: {written} is the number of a register in a table, not its address");
    let exact = if written <= 65_535 {
        format!("; or address = {{ exact = {written} }} if it is sent so")
    } else {
        String::new()
    };
    let help = format!("write address = {address}, function = {code}{exact}");
    mistakes.add_with_help(section.span("address"), message, &help);
    None
}

/// Notes what only registers have on a point of something else.
pub(super) fn no_register(section: &Section, mistakes: &mut Mistakes<'_>) {
    for key in ["function", "address"] {
        if section.is_given(key) {
            let message = format!("{key} has a meaning for registers only");
            let help = "write decode = \"registers\" for a Modbus device";
            mistakes.add_with_help(section.key_span(key), message, help);
        }
    }
}

/// Notes values that are longer than one request of their device.
pub(super) fn check_lengths(section: &Section, device: &DeviceConfig, mistakes: &mut Mistakes<'_>) {
    let Some(PollConfig { ask: Ask::Registers { registers_max, .. }, .. }) = &device.poll else { return };
    let Some(Value::Tables(sections)) = section.value("points") else { return };
    let crate::sensor::Points::List(points) = &device.points else { return };
    for (section, point) in sections.iter().zip(points) {
        let registers = point.cell.map_or(1, |cell| cell.bytes.div_ceil(2));
        if *registers_max > 0 && registers > usize::from(*registers_max) {
            let message = format!(
                "length: the value has {registers} registers, and one request reads {registers_max} at most"
            );
            let help = if registers <= usize::from(READ_REGISTERS_MAX) {
                format!("write max_registers = {registers} in [[device]]")
            } else {
                "split it into several points".to_owned()
            };
            mistakes.add_with_help(section.span("length"), message, &help);
        }
    }
}

/// Notes devices that can't share their port: some that send by themselves with some that are asked, two with one address.
pub(super) fn check_ports(
    sections: &[Section],
    devices: &[DeviceConfig],
    ports: &[Section],
    mistakes: &mut Mistakes<'_>,
) {
    let is_tcp = |port: &str| {
        ports.iter().any(|section| section.text("name") == Some(port) && section.word("kind") == "tcp")
    };
    let mut first: BTreeMap<&str, (bool, Span)> = BTreeMap::new();
    let mut units: BTreeMap<(&str, u8), Span> = BTreeMap::new();
    let mut talkers = meter::Talkers::default();
    for (section, device) in sections.iter().zip(devices) {
        let port = &*device.port;
        if section.is_mistaken("decode") || port.is_empty() {
            continue;
        }
        // What it is asked may be a mistake; that it is asked is none.
        let (is_polled, span) = (device.poll.is_some() || section.is_given("poll"), section.span("port"));
        let (others, place) = *first.entry(port).or_insert((is_polled, span));
        if others != is_polled {
            let place = mistakes.place(place);
            let (this, that) =
                if is_polled { ("is asked", "sends by itself") } else { ("sends by itself", "is asked") };
            let message = format!("port: this device {this}, and the one at {place} on the same port {that}");
            mistakes.add_with_help(span, message, "give each kind a port of its own");
        }
        talkers.add(section, device, mistakes);
        let ask = device.poll.as_ref().map(|poll| &poll.ask);
        match ask {
            Some(Ask::Registers { unit_id, .. }) if section.is_given("unit_id") => {
                unit_id_fits(section, (port, *unit_id), is_tcp(port), &mut units, mistakes);
            }
            Some(Ask::Registers { .. }) => {}
            Some(Ask::Bytes(_) | Ask::Meter(_) | Ask::Mbus(_)) | None if is_tcp(port) => {
                let message = "port: a port of kind \"tcp\" speaks Modbus alone";
                mistakes.add_with_help(span, message, "write decode = \"registers\"");
            }
            Some(Ask::Bytes(_) | Ask::Meter(_) | Ask::Mbus(_)) | None => {}
        }
    }
}

fn unit_id_fits<'p>(
    section: &Section,
    (port, unit_id): (&'p str, u8),
    is_tcp: bool,
    units: &mut BTreeMap<(&'p str, u8), Span>,
    mistakes: &mut Mistakes<'_>,
) {
    // Where the profile says it, the place to change is the device.
    let span = match section.span("unit_id") {
        span if span.source == section.span.source => span,
        _ => section.span("profile"),
    };
    if unit_id == 0 && !is_tcp && !section.is_mistaken("unit_id") {
        let message = "unit_id: 0 speaks to all devices at once, and none of them answers";
        mistakes.add_with_help(span, message, "write the device's own address, 1 to 247");
        return;
    }
    if let Some(other) = units.insert((port, unit_id), span) {
        let place = mistakes.place(other);
        let message = format!("unit_id: {unit_id} is taken on this port by the [[device]] at {place}");
        let help = "give each device its own; all points of one device stand in one [[device]]";
        mistakes.add_with_help(span, message, help);
    }
}
