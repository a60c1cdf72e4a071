//! `[[port]]`: serial lines.

use std::sync::Arc;

use super::mistake::{Mistakes, quoted};
use super::names::unique;
use super::schema::Effect::Restart;
use super::schema::{Kind, Table, key, optional, required};
use super::section::Section;
use crate::sensor::{DataBits, FlowControl, Parity, PortConfig, StopBits};

/// `[[port]]`
pub static PORT: Table = Table {
    name: "[[port]]",
    doc: "A serial line.",
    keys: &[
        required(
            "name",
            Kind::Level { bytes_max: 64 },
            "\"usb0\"",
            Restart,
            "What devices call it; unique among the ports.",
        ),
        required(
            "path",
            Kind::Path,
            "\"/dev/ttyUSB0\"",
            Restart,
            "Its device file; one under /dev/serial/by-id stays the same after replugging.",
        ),
        key(
            "baud",
            Kind::Integer { min: 50, max: 4_000_000 },
            "9600",
            Restart,
            "Bits per second, 50 to 4000000.",
        ),
        key("data_bits", Kind::Integer { min: 5, max: 8 }, "8", Restart, "Data bits per character, 5 to 8."),
        key(
            "parity",
            Kind::Words(&["none", "odd", "even"]),
            "\"none\"",
            Restart,
            "Parity bit: \"none\", \"odd\" or \"even\".",
        ),
        key("stop_bits", Kind::Integer { min: 1, max: 2 }, "1", Restart, "Stop bits, 1 or 2."),
        key(
            "flow_control",
            Kind::Words(&["none", "software", "hardware"]),
            "\"none\"",
            Restart,
            "\"none\", \"software\" (XON/XOFF) or \"hardware\" (RTS/CTS).",
        ),
        optional(
            "dtr",
            Kind::Bool,
            Restart,
            "Level of DTR after opening; without it as the driver sets it. An Arduino restarts when DTR rises.",
        ),
        optional("rts", Kind::Bool, Restart, "Level of RTS after opening; without it as the driver sets it."),
    ],
};

pub(super) fn ports(sections: &[Section], mistakes: &mut Mistakes<'_>) -> Vec<PortConfig> {
    unique(mistakes, "[[port]]", "name", sections);
    unique(mistakes, "[[port]]", "path", sections);
    sections.iter().map(|section| port(section, mistakes)).collect()
}

fn port(section: &Section, mistakes: &mut Mistakes<'_>) -> PortConfig {
    let flow_control = match section.word("flow_control") {
        "software" => FlowControl::Software,
        "hardware" => FlowControl::Hardware,
        _ => FlowControl::None,
    };
    if flow_control == FlowControl::Hardware && section.bool("rts").is_some() {
        let message = format!("rts: with flow_control = {} the driver moves RTS", quoted("hardware"));
        mistakes.add_with_help(section.key_span("rts"), message, "leave rts out");
    }
    PortConfig {
        name: Arc::from(section.string("name")),
        path: section.string("path"),
        baud: section.integer("baud"),
        data_bits: match section.integer::<u8>("data_bits") {
            5 => DataBits::Five,
            6 => DataBits::Six,
            7 => DataBits::Seven,
            _ => DataBits::Eight,
        },
        parity: match section.word("parity") {
            "odd" => Parity::Odd,
            "even" => Parity::Even,
            _ => Parity::None,
        },
        stop_bits: match section.integer::<u8>("stop_bits") {
            2 => StopBits::Two,
            _ => StopBits::One,
        },
        flow_control,
        dtr: section.bool("dtr"),
        rts: section.bool("rts"),
    }
}
