//! `[[port]]`: serial lines, and connections to Modbus TCP servers.

use std::sync::Arc;

use super::mistake::{Mistakes, quoted};
use super::names::unique;
use super::schema::Effect::Reconnect;
use super::schema::{Kind, Table, computed, duration, key, optional, required};
use super::section::Section;
use crate::sensor::{DataBits, FlowControl, Parity, PortConfig, PortKind, Rs485, StopBits, UsbMatch};

/// `[[port]]`
pub static PORT: Table = Table {
    name: "[[port]]",
    doc: "A serial line, or a connection to a Modbus TCP server.",
    keys: &[
        required(
            "name",
            Kind::Level { bytes_max: 64 },
            "\"usb0\"",
            Reconnect,
            "What devices call it; unique among the ports.",
        ),
        key(
            "kind",
            Kind::Words(&["serial", "tcp"]),
            "\"serial\"",
            Reconnect,
            "\"serial\", or \"tcp\" for Modbus TCP.",
        ),
        optional(
            "path",
            Kind::Path,
            Reconnect,
            "Device file of a serial line; one under /dev/serial/by-id stays the same after replugging. * and ? match \
             within a level.",
        ),
        optional(
            "address",
            Kind::Text { bytes_max: 261 },
            Reconnect,
            "Host and port of a Modbus TCP server; without port 502.",
        ),
        optional(
            "usb",
            Kind::Table(&USB),
            Reconnect,
            "Its USB adapter, under whatever name, instead of path.",
        ),
        key(
            "baud",
            Kind::Integer { min: 50, max: 4_000_000 },
            "9600",
            Reconnect,
            "Bits per second, 50 to 4000000.",
        ),
        key(
            "data_bits",
            Kind::Integer { min: 5, max: 8 },
            "8",
            Reconnect,
            "Data bits per character, 5 to 8.",
        ),
        key(
            "parity",
            Kind::Words(&["none", "odd", "even"]),
            "\"none\"",
            Reconnect,
            "Parity bit: \"none\", \"odd\" or \"even\".",
        ),
        key("stop_bits", Kind::Integer { min: 1, max: 2 }, "1", Reconnect, "Stop bits, 1 or 2."),
        key(
            "flow_control",
            Kind::Words(&["none", "software", "hardware"]),
            "\"none\"",
            Reconnect,
            "\"none\", \"software\" (XON/XOFF) or \"hardware\" (RTS/CTS).",
        ),
        optional(
            "dtr",
            Kind::Bool,
            Reconnect,
            "Level of DTR after opening; without it as the driver sets it. An Arduino restarts when DTR rises.",
        ),
        optional(
            "rts",
            Kind::Bool,
            Reconnect,
            "Level of RTS after opening; without it as the driver sets it.",
        ),
        key(
            "echo",
            Kind::Bool,
            "false",
            Reconnect,
            "What is sent to polled devices comes back, as on two wires with an open receiver.",
        ),
        computed(
            "gap",
            duration(0, 1_000),
            "3.5 characters, 1.75ms above 19200 baud",
            Reconnect,
            "Silence before each request to polled devices; 0ms to 1s.",
        ),
        optional(
            "rs485",
            Kind::Table(&RS485),
            Reconnect,
            "RTS switches the transceiver; without it the adapter does so by itself.",
        ),
    ],
};

/// `rs485 = { rts = "on-send" }`
pub static RS485: Table = Table {
    name: "[port.rs485]",
    doc: "How the kernel's driver switches an RS-485 transceiver by RTS.",
    keys: &[
        key(
            "rts",
            Kind::Words(&["on-send", "after-send"]),
            "\"on-send\"",
            Reconnect,
            "RTS is active while sending (\"on-send\"), or while not sending (\"after-send\").",
        ),
        key(
            "delay_before",
            duration(0, 1_000),
            "\"0ms\"",
            Reconnect,
            "From RTS to the first bit; 0ms to 1s.",
        ),
        key("delay_after", duration(0, 1_000), "\"0ms\"", Reconnect, "From the last bit to RTS; 0ms to 1s."),
    ],
};

/// Keys that only a serial line has.
const SERIAL_KEYS: [&str; 11] =
    ["path", "usb", "baud", "data_bits", "parity", "stop_bits", "flow_control", "dtr", "rts", "gap", "rs485"];

/// The port of Modbus TCP servers.
const MODBUS_PORT: u16 = 502;

/// `usb = { serial = "A50285BI" }`
pub static USB: Table = Table {
    name: "[port.usb]",
    doc: "An adapter by what it says of itself; `fieldgate ports` shows it.",
    keys: &[
        optional("serial", Kind::Text { bytes_max: 128 }, Reconnect, "Its serial number."),
        optional(
            "vid_pid",
            Kind::Text { bytes_max: 9 },
            Reconnect,
            "Its vendor and product, as \"0403:6001\"; if there is only one of the kind.",
        ),
        optional(
            "interface",
            Kind::Integer { min: 0, max: 255 },
            Reconnect,
            "Which of the adapter's interfaces, where it has several lines.",
        ),
    ],
};

fn usb(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<UsbMatch> {
    let table = section.table("usb")?;
    if section.is_given("path") {
        let message = "usb: path says already which port it is";
        mistakes.add_with_help(section.key_span("usb"), message, "leave one of them out");
    }
    if !table.is_given("serial") && !table.is_given("vid_pid") {
        let message = "usb: any adapter would do";
        let help = "write serial = \"…\" or vid_pid = \"0403:6001\"; `fieldgate ports` shows both";
        mistakes.add_with_help(section.span("usb"), message, help);
    }
    if let Some(text) = table.text("vid_pid") {
        let is_hex = |part: &str| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !text.split_once(':').is_some_and(|(vendor, product)| is_hex(vendor) && is_hex(product)) {
            let message = format!("vid_pid: {} is no vendor and product", quoted(text));
            mistakes.add_with_help(table.span("vid_pid"), message, "write \"0403:6001\"");
        }
    }
    Some(UsbMatch {
        serial: table.text("serial").map(str::to_owned),
        vid_pid: table.text("vid_pid").map(str::to_owned),
        interface: table.is_given("interface").then(|| table.integer("interface")),
    })
}

pub(super) fn ports(sections: &[Section], mistakes: &mut Mistakes<'_>) -> Vec<PortConfig> {
    unique(mistakes, "[[port]]", "name", sections);
    unique(mistakes, "[[port]]", "path", sections);
    unique(mistakes, "[[port]]", "address", sections);
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
    let kind = if section.word("kind") == "tcp" { PortKind::Tcp } else { PortKind::Serial };
    let rs485 = section.table("rs485").map(|table| Rs485 {
        rts_on_send: table.word("rts") != "after-send",
        delay_before: table.duration("delay_before"),
        delay_after: table.duration("delay_after"),
    });
    if rs485.is_some() && (flow_control == FlowControl::Hardware || section.bool("rts").is_some()) {
        let message = "rs485: RTS switches the transceiver, so it can't serve another purpose";
        mistakes.add_with_help(section.key_span("rs485"), message, "leave rts and flow_control out");
    }
    let usb = usb(section, mistakes);
    PortConfig {
        name: Arc::from(section.string("name")),
        kind,
        path: match kind {
            PortKind::Serial => serial_path(section, usb.as_ref(), mistakes),
            PortKind::Tcp => tcp_address(section, mistakes),
        },
        usb,
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
        echo: section.bool("echo").unwrap_or(false),
        gap: section.optional_duration("gap"),
        rs485,
    }
}

fn serial_path(section: &Section, usb: Option<&UsbMatch>, mistakes: &mut Mistakes<'_>) -> String {
    if section.is_given("address") {
        let message = "address has no meaning for a serial port";
        let help = "write kind = \"tcp\" for a Modbus TCP server";
        mistakes.add_with_help(section.key_span("address"), message, help);
    } else if let Some(usb) = usb {
        // What people see instead.
        return usb.to_string();
    } else if !section.is_given("path") && !section.is_given("usb") && !section.is_mistaken("kind") {
        let help = "add path = \"/dev/ttyUSB0\"";
        mistakes.add_with_help(section.span, "[[port]] has no \"path\"", help);
    }
    section.string("path")
}

/// Host and port, as it can be connected to.
fn tcp_address(section: &Section, mistakes: &mut Mistakes<'_>) -> String {
    for key in SERIAL_KEYS.iter().chain(&["echo"]).filter(|key| section.is_given(key)) {
        let message = format!("{key} has no meaning for a port of kind {}", quoted("tcp"));
        mistakes.add_with_help(section.key_span(key), message, "leave it out");
    }
    let Some(address) = section.text("address") else {
        if !section.is_mistaken("address") {
            let help = "add address = \"192.168.1.20:502\"";
            mistakes.add_with_help(section.span, "a [[port]] of kind \"tcp\" has no \"address\"", help);
        }
        return String::new();
    };
    let (host, port) = match address.rsplit_once(':') {
        // An IPv6 address has colons of its own.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    let is_host = !host.is_empty() && !host.contains([' ', '/', '@']);
    match port.map_or(Ok(MODBUS_PORT), str::parse::<u16>) {
        Ok(port) if is_host && port != 0 => {
            let bare = host.contains(':') && !host.starts_with('[');
            if bare { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        }
        _ => {
            let message = format!("address: {} is no host with a port", quoted(address));
            mistakes.add_with_help(section.span("address"), message, "write \"192.168.1.20:502\"");
            String::new()
        }
    }
}
