//! `[[gpio]]`: lines of a GPIO chip, and what each is for.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;

use super::mistake::{Mistakes, quoted};
use super::names::{refers, unique};
use super::publish;
use super::schema::Effect::{Live, Reconnect};
use super::schema::{Kind, Table, duration, key, optional, required};
use super::section::{Section, Value};
use crate::gpio::{
    BackendName, Bias, CounterConfig, EdgeKind, GpioConfig, LineName, Mode, OutputConfig, Startup,
};

/// The most lines that one output may exclude.
const INTERLOCK_MAX: usize = 16;

const EDGES: Kind = Kind::Words(&["rising", "falling", "both"]);

/// `[[gpio]]`
pub static GPIO: Table = Table {
    name: "[[gpio]]",
    doc: "A GPIO line.",
    keys: &[
        required(
            "name",
            Kind::Level { bytes_max: 64 },
            "\"water\"",
            Reconnect,
            "Stands in the topic; unique among lines and devices.",
        ),
        required(
            "line",
            Kind::OneOf(&[Kind::Text { bytes_max: 32 }, Kind::Table(&LINE)]),
            "\"GPIO17\"",
            Reconnect,
            "Its name on the board, as `fieldgate gpio list` shows it; or a table with chip and offset.",
        ),
        required(
            "mode",
            Kind::Tagged(&[
                ("input", &INPUT),
                ("counter", &COUNTER),
                ("frequency", &FREQUENCY),
                ("output", &OUTPUT),
            ]),
            "\"input\"",
            Reconnect,
            "What it is for: \"input\", \"counter\", \"frequency\", \"output\", or a table with kind and more.",
        ),
        key(
            "backend",
            Kind::Words(&["auto", "gpiocdev", "rppal", "sim"]),
            "\"auto\"",
            Reconnect,
            "Who works it: the kernel's \"gpiocdev\", \"rppal\", \"sim\"; \"auto\" takes what is there.",
        ),
        key("active_low", Kind::Bool, "false", Reconnect, "Low means on."),
        key(
            "bias",
            Kind::Words(&["as-is", "pull-up", "pull-down", "disabled"]),
            "\"as-is\"",
            Reconnect,
            "Its pull resistor: \"as-is\", \"pull-up\", \"pull-down\" or \"disabled\".",
        ),
        key(
            "debounce",
            duration(0, 10_000),
            "\"0ms\"",
            Reconnect,
            "A level counts once it was steady for this long; 0ms to 10s.",
        ),
        key(
            "every",
            duration(100, 86_400_000),
            "\"30s\"",
            Reconnect,
            "A reading at least this often; 100ms to 1d.",
        ),
        optional(
            "publish",
            Kind::Table(&publish::DEVICE_PUBLISH),
            Live,
            "What of its readings is published, and in which form; what isn't said is as in [publish].",
        ),
    ],
};

/// `line = { chip = "gpiochip0", offset = 17 }`
pub static LINE: Table = Table {
    name: "[gpio.line]",
    doc: "A line by its place, where it has no name of its own.",
    keys: &[
        required(
            "chip",
            Kind::Text { bytes_max: 64 },
            "\"gpiochip0\"",
            Reconnect,
            "The chip's name or label; a label stays when chips are numbered anew.",
        ),
        required("offset", Kind::Integer { min: 0, max: 65_535 }, "17", Reconnect, "Its number on the chip."),
    ],
};

/// `mode = "input"`
pub static INPUT: Table = Table {
    name: "[gpio.mode] of kind \"input\"",
    doc: "The level is a reading: the point state.",
    keys: &[
        optional("kind", Kind::Words(&["input"]), Reconnect, "\"input\""),
        key("edge", EDGES, "\"both\"", Reconnect, "Which changes make a reading at once."),
    ],
};

/// `mode = "counter"`
pub static COUNTER: Table = Table {
    name: "[gpio.mode] of kind \"counter\"",
    doc: "Pulses are counted: the points total and rate.",
    keys: &[
        optional("kind", Kind::Words(&["counter"]), Reconnect, "\"counter\""),
        key("edge", EDGES, "\"rising\"", Reconnect, "Which changes are pulses."),
        key("per_pulse", Kind::Decimal, "1", Reconnect, "What one pulse adds to the total, exactly."),
        optional("unit", Kind::Text { bytes_max: 32 }, Reconnect, "Unit of the total: m3, kWh, mm."),
        key(
            "rate_per",
            Kind::Words(&["s", "min", "h"]),
            "\"h\"",
            Reconnect,
            "The rate is the unit per \"s\", \"min\" or \"h\".",
        ),
        key(
            "timeout",
            duration(100, 86_400_000),
            "\"5min\"",
            Reconnect,
            "Without a pulse for this long the rate is 0; 100ms to 1d.",
        ),
        key(
            "persist_every",
            duration(1_000, 3_600_000),
            "\"60s\"",
            Reconnect,
            "The total goes to disk this often while it changes, and is published from there; 1s to 1h.",
        ),
    ],
};

/// `mode = "frequency"`
pub static FREQUENCY: Table = Table {
    name: "[gpio.mode] of kind \"frequency\"",
    doc: "Changes per second are a reading: the point frequency.",
    keys: &[
        optional("kind", Kind::Words(&["frequency"]), Reconnect, "\"frequency\""),
        key("edge", EDGES, "\"rising\"", Reconnect, "Which changes end a period."),
        key("scale", Kind::Decimal, "1", Reconnect, "Multiplies the changes per second: 1 gives Hz."),
        optional(
            "unit",
            Kind::Text { bytes_max: 32 },
            Reconnect,
            "Unit of the scaled value: Hz, 1/min, m/s.",
        ),
        key(
            "timeout",
            duration(100, 86_400_000),
            "\"10s\"",
            Reconnect,
            "Without a change for this long the value is 0; 100ms to 1d.",
        ),
    ],
};

/// `mode = "output"`
pub static OUTPUT: Table = Table {
    name: "[gpio.mode] of kind \"output\"",
    doc: "Commands set it; what is read back is a reading: the point state.",
    keys: &[
        optional("kind", Kind::Words(&["output"]), Reconnect, "\"output\""),
        key(
            "startup",
            Kind::Words(&["off", "on", "keep", "last"]),
            "\"off\"",
            Reconnect,
            "At the start: \"off\", \"on\", \"keep\" it as it is, or as it was \"last\".",
        ),
        key(
            "on_exit",
            Kind::Words(&["off", "on", "keep"]),
            "\"off\"",
            Reconnect,
            "When the gateway stops: \"off\", \"on\" or \"keep\".",
        ),
        optional(
            "on_disconnect",
            Kind::Table(&ON_DISCONNECT),
            Reconnect,
            "What it is set to when no upstream was online for so long.",
        ),
        optional(
            "max_on",
            duration(100, 7 * 86_400_000),
            Reconnect,
            "It is switched off after this long; each command to be on begins the time anew. 100ms to 7d.",
        ),
        key(
            "interlock",
            Kind::Texts { count_max: INTERLOCK_MAX },
            "[]",
            Reconnect,
            "Outputs that are never on together with this one.",
        ),
    ],
};

/// `on_disconnect = { state = "off", after = "60s" }`
pub static ON_DISCONNECT: Table = Table {
    name: "[gpio.mode.on_disconnect]",
    doc: "What an output is set to without an upstream.",
    keys: &[
        required("state", Kind::Words(&["off", "on"]), "\"off\"", Reconnect, "\"off\" or \"on\"."),
        required(
            "after",
            duration(1_000, 30 * 86_400_000),
            "\"60s\"",
            Reconnect,
            "After this long; 1s to 30d.",
        ),
    ],
};

/// The lines. `devices` have their topics beside them.
pub(super) fn gpio(
    sections: &[Section],
    devices: &[Section],
    has_upstream: bool,
    mistakes: &mut Mistakes<'_>,
) -> Vec<GpioConfig> {
    unique(mistakes, "[[gpio]]", "name", sections);
    unique(mistakes, "[[gpio]]", "line", sections);
    for section in sections {
        let name = section.text("name");
        if let Some(device) = devices.iter().find(|device| name.is_some() && device.text("name") == name) {
            let place = mistakes.place(device.span("name"));
            let message =
                format!("name: {} is taken by the [[device]] at {place}", quoted(name.unwrap_or_default()));
            mistakes.add(section.span("name"), message);
        }
    }
    let lines: Vec<GpioConfig> =
        sections.iter().map(|section| line(section, has_upstream, mistakes)).collect();
    for (section, line) in sections.iter().zip(&lines) {
        interlocks(section, line, &lines, mistakes);
    }
    lines
}

fn line(section: &Section, has_upstream: bool, mistakes: &mut Mistakes<'_>) -> GpioConfig {
    let (mode, unit) = match section.tagged("mode") {
        Some(("counter", table)) => (Mode::Counter(counter(table, mistakes)), table.text("unit")),
        Some(("frequency", table)) => {
            let mode = Mode::Frequency {
                edge: edge(table),
                scale: positive(table, "scale", mistakes),
                timeout: table.duration("timeout"),
            };
            (mode, table.text("unit"))
        }
        Some(("output", table)) => (Mode::Output(output(table, has_upstream, mistakes)), None),
        Some((_, table)) => (Mode::Input { edge: edge(table) }, None),
        None => (Mode::Input { edge: EdgeKind::Both }, None),
    };
    if matches!(mode, Mode::Output(_)) && section.is_given("debounce") {
        mistakes.add(section.key_span("debounce"), "debounce has no meaning for an output");
    }
    GpioConfig {
        name: Arc::from(section.string("name")),
        line: match section.value("line") {
            Some(Value::Table(place)) => {
                LineName::At { chip: place.string("chip"), offset: place.integer("offset") }
            }
            _ => LineName::Name(section.string("line")),
        },
        backend: match section.word("backend") {
            "gpiocdev" => BackendName::Gpiocdev,
            "rppal" => BackendName::Rppal,
            "sim" => BackendName::Sim,
            _ => BackendName::Auto,
        },
        active_low: section.bool("active_low").unwrap_or(false),
        bias: match section.word("bias") {
            "pull-up" => Bias::PullUp,
            "pull-down" => Bias::PullDown,
            "disabled" => Bias::Disabled,
            _ => Bias::AsIs,
        },
        debounce: section.duration("debounce"),
        every: section.duration("every"),
        unit: unit.map(Arc::from),
        mode,
    }
}

fn edge(table: &Section) -> EdgeKind {
    match table.word("edge") {
        "falling" => EdgeKind::Falling,
        "both" => EdgeKind::Both,
        _ => EdgeKind::Rising,
    }
}

/// A factor above 0: anything else would make a total that stands still or shrinks.
fn positive(table: &Section, key: &str, mistakes: &mut Mistakes<'_>) -> Decimal {
    let value = table.decimal(key);
    if matches!(table.value(key), Some(Value::Decimal(_))) && value <= Decimal::ZERO {
        mistakes.add(table.span(key), format!("{key}: {value} is not above 0"));
    }
    value
}

fn counter(table: &Section, mistakes: &mut Mistakes<'_>) -> CounterConfig {
    CounterConfig {
        edge: edge(table),
        per_pulse: positive(table, "per_pulse", mistakes),
        rate_per: Duration::from_secs(match table.word("rate_per") {
            "s" => 1,
            "min" => 60,
            _ => 3_600,
        }),
        timeout: table.duration("timeout"),
        persist_every: table.duration("persist_every"),
    }
}

fn output(table: &Section, has_upstream: bool, mistakes: &mut Mistakes<'_>) -> OutputConfig {
    let on_disconnect = table.table("on_disconnect");
    if on_disconnect.is_some() && !has_upstream {
        let message = "on_disconnect: there is no [[upstream]] that could be away";
        mistakes.add_with_help(
            table.key_span("on_disconnect"),
            message,
            "leave it out, or add an [[upstream]]",
        );
    }
    OutputConfig {
        startup: match table.word("startup") {
            "on" => Startup::On,
            "keep" => Startup::Keep,
            "last" => Startup::Last,
            _ => Startup::Off,
        },
        on_exit: match table.word("on_exit") {
            "keep" => None,
            word => Some(word == "on"),
        },
        on_disconnect: on_disconnect.map(|rule| (rule.word("state") == "on", rule.duration("after"))),
        max_on: table.optional_duration("max_on"),
        interlock: table.texts("interlock").iter().map(|(name, _)| Arc::from(name.as_str())).collect(),
    }
}

/// Notes interlocks with what is no other output, and outputs that would both be on from the start.
fn interlocks(section: &Section, line: &GpioConfig, lines: &[GpioConfig], mistakes: &mut Mistakes<'_>) {
    let (Mode::Output(own), Some((_, table))) = (&line.mode, section.tagged("mode")) else { return };
    let outputs: Vec<&str> = lines
        .iter()
        .filter(|other| matches!(other.mode, Mode::Output(_)) && other.name != line.name)
        .map(|other| &*other.name)
        .collect();
    for (name, span) in table.texts("interlock") {
        if **name == *line.name {
            mistakes.add(*span, format!("interlock: {} is this output itself", quoted(name)));
        } else if !outputs.contains(&name.as_str()) {
            let message =
                format!("interlock: there is no [[gpio]] of mode \"output\" with the name {}", quoted(name));
            refers(mistakes, *span, message, name, &outputs);
        }
        let on_too = lines.iter().any(|other| {
            *other.name == **name
                && matches!(&other.mode, Mode::Output(other) if other.startup == Startup::On)
        });
        if own.startup == Startup::On && on_too && **name != *line.name {
            let message =
                format!("interlock: both outputs are on at the start, this one and {}", quoted(name));
            mistakes.add(*span, message);
        }
    }
}
