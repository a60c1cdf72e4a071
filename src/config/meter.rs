//! `poll` of a device: what it is sent, or which meter is asked for its values, and what fits together on the port of meters.

use std::collections::BTreeMap;
use std::time::Duration;

use super::mistake::{Mistakes, Span, quoted};
use super::schema::Effect::Reconnect;
use super::schema::{Kind, Table, computed, key, optional};
use super::section::{Section, Value};
use crate::sensor::codec::METER_ADDRESS_BYTES_MAX;
use crate::sensor::{Ask, CodecKind, DecodeConfig, DeviceConfig, MbusAddress, MeterAsk};

/// A meter's values change slowly, asking takes long, and some that run on a battery count how often they are asked.
const EVERY: Duration = Duration::from_secs(15 * 60);

/// An IEC 62056-21 meter has 1.5 s for the beginning of an answer (6.3.14), and a USB adapter and a busy machine add to it.
const TIMEOUT_IEC62056: Duration = Duration::from_millis(2_500);

/// The highest primary address of a slave (EN 13757-2); 251 to 253 and 255 mean something else.
const PRIMARY_MAX: u8 = 250;

/// The largest number that some makers print on a meter, written without quotes.
const NUMBER_MAX: i64 = 9_999_999_999;

/// `poll = { send = "…" }`, `poll = { address = 5 }`
pub static ASK: Table = Table {
    name: "[device.poll]",
    doc: "What is sent, and framing, check and decode say what comes back; or which meter is asked, by a protocol that knows how.",
    keys: &[
        optional(
            "send",
            Kind::Hex { bytes_max: 256 },
            Reconnect,
            "The bytes of the request, in hexadecimal digits; of any device but such a meter.",
        ),
        optional(
            "address",
            Kind::OneOf(&[Kind::Integer { min: 0, max: NUMBER_MAX }, Kind::Text { bytes_max: 32 }]),
            Reconnect,
            "mbus: 0 to 250, 254 for a meter that is alone, or its number of 8 digits, F for any. iec62056-21: the meter's \
             number, needed where several share the line.",
        ),
        optional(
            "manufacturer",
            Kind::Text { bytes_max: 3 },
            Reconnect,
            "mbus, beside a number: the maker's three letters.",
        ),
        optional(
            "version",
            Kind::Integer { min: 0, max: 254 },
            Reconnect,
            "mbus, beside a number: the meter's version.",
        ),
        optional(
            "medium",
            Kind::Integer { min: 0, max: 254 },
            Reconnect,
            "mbus, beside a number: what it measures; 2 electricity, 3 gas, 4 heat, 6 warm water, 7 water.",
        ),
        computed(
            "baud_max",
            Kind::Integer { min: 300, max: 19_200 },
            "19200",
            Reconnect,
            "iec62056-21: the fastest rate that the optical head can do.",
        ),
        key(
            "wake_up",
            Kind::Bool,
            "false",
            Reconnect,
            "iec62056-21: whether the meter sleeps until it is woken up.",
        ),
    ],
};

/// Keys of `poll`, each with the protocols that they are for.
const KEYS: [(&str, &[CodecKind]); 6] = [
    ("address", &[CodecKind::Iec62056, CodecKind::Mbus]),
    ("manufacturer", &[CodecKind::Mbus]),
    ("version", &[CodecKind::Mbus]),
    ("medium", &[CodecKind::Mbus]),
    ("baud_max", &[CodecKind::Iec62056]),
    ("wake_up", &[CodecKind::Iec62056]),
];

/// What a device with `poll` is asked; `None` without, or after a mistake.
pub(super) fn ask(
    section: &Section,
    decode: Option<&DecodeConfig>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Ask> {
    let poll = section.table("poll")?;
    let codec = match decode? {
        DecodeConfig::Codec(kind) => Some(*kind),
        _ => None,
    };
    let is_sent = poll.is_given("send");
    for (key, codecs) in KEYS {
        if poll.is_given(key) && (is_sent || codec.is_none_or(|codec| !codecs.contains(&codec))) {
            let words: Vec<String> = codecs.iter().map(|codec| quoted(codec.word())).collect();
            let message = format!("{key} has a meaning with decode = {} only", words.join(" or "));
            let help = if is_sent { "leave it out: send says it all" } else { "leave it out" };
            mistakes.add_with_help(poll.key_span(key), message, help);
        }
    }
    match codec {
        _ if is_sent => Some(Ask::Bytes(poll.bytes("send").to_vec())),
        Some(CodecKind::Iec62056) => Some(Ask::Meter(meter(poll, mistakes))),
        Some(CodecKind::Mbus) => mbus(poll, mistakes).map(Ask::Mbus),
        _ => {
            let message = "[device.poll] has no \"send\"";
            mistakes.add_with_help(poll.span, message, "add send = \"ff 01 86 00 00 00 00 00 79\"");
            None
        }
    }
}

/// How often such a device is asked, and how long it has, where the config doesn't say.
pub(super) const fn pace(ask: &Ask) -> (Option<Duration>, Option<Duration>) {
    match ask {
        Ask::Registers { .. } | Ask::Bytes(_) => (None, None),
        Ask::Meter(_) => (Some(EVERY), Some(TIMEOUT_IEC62056)),
        Ask::Mbus(_) => (Some(EVERY), None),
    }
}

fn meter(poll: &Section, mistakes: &mut Mistakes<'_>) -> MeterAsk {
    let address = match poll.value("address") {
        Some(Value::Integer(number)) => number.to_string(),
        _ => poll.string("address"),
    };
    if !MeterAsk::is_address(&address) {
        let message = format!("address: {} is none of an IEC 62056-21 meter", quoted(&address));
        let help = format!("it has up to {METER_ADDRESS_BYTES_MAX} letters, digits and spaces");
        mistakes.add_with_help(poll.span("address"), message, help);
    }
    let baud_max = if poll.is_given("baud_max") { poll.integer("baud_max") } else { 19_200 };
    MeterAsk { address, baud_max, wake_up: poll.bool("wake_up").unwrap_or(false) }
}

fn mbus(poll: &Section, mistakes: &mut Mistakes<'_>) -> Option<MbusAddress> {
    if !poll.is_given("address") {
        let message = "[device.poll] of an M-Bus meter has no \"address\"";
        let help = "add address = 1, or its number: address = \"12345678\"; 254 asks whoever is there, if it is alone";
        mistakes.add_with_help(poll.span, message, help);
        return None;
    }
    if let Some(Value::Integer(_)) = poll.value("address") {
        for key in ["manufacturer", "version", "medium"].iter().filter(|key| poll.is_given(key)) {
            let message = format!("{key} stands beside the meter's number only");
            let help = "leave it out, or write address = \"12345678\"";
            mistakes.add_with_help(poll.key_span(key), message, help);
        }
        let written: i64 = poll.integer("address");
        let address = u8::try_from(written).ok();
        let address = address.filter(|address| *address <= PRIMARY_MAX || *address == MbusAddress::ANY);
        if address.is_none() {
            let message = format!("address: {written} is no address on an M-Bus");
            let help = match written {
                0..256 => "write one from 0 to 250; 254 asks whoever is there".to_owned(),
                _ => format!("write one from 0 to 250, or the meter's number in quotes: \"{written:08}\""),
            };
            mistakes.add_with_help(poll.span("address"), message, &help);
        }
        return address.map(MbusAddress::Primary);
    }
    let text = poll.text("address")?;
    let digits: Vec<u8> = text.chars().filter_map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    let is_number = text.len() == 8 && digits.len() == 8;
    let &[a, b, c, d, e, f, g, h] = digits.first_chunk::<8>().filter(|_| is_number).unwrap_or(&[0; 8]);
    if !is_number {
        let message = format!("address: {} is no number of an M-Bus meter", quoted(text));
        mistakes.add_with_help(
            poll.span("address"),
            message,
            "write its 8 digits, with F for any: \"1234FFFF\"",
        );
    }
    let any = |key| if poll.is_given(key) { poll.integer(key) } else { 0xff };
    let [low, high] = manufacturer(poll, mistakes).map_or([0xff; 2], u16::to_le_bytes);
    let pair = |high: u8, low: u8| high << 4 | low;
    let (version, medium) = (any("version"), any("medium"));
    Some(MbusAddress::Secondary([pair(g, h), pair(e, f), pair(c, d), pair(a, b), low, high, version, medium]))
}

/// Three letters as a number of five bits each (EN 13757-3).
fn manufacturer(poll: &Section, mistakes: &mut Mistakes<'_>) -> Option<u16> {
    let text = poll.text("manufacturer")?;
    let letters = text.bytes().map(|letter| letter.is_ascii_uppercase().then(|| u16::from(letter - b'@')));
    let code = letters.collect::<Option<Vec<u16>>>().filter(|letters| letters.len() == 3);
    if code.is_none() {
        let message = format!("manufacturer: {} is not three letters from A to Z", quoted(text));
        mistakes.add_with_help(poll.span("manufacturer"), message, "write such as \"KAM\"");
    }
    Some(code?.into_iter().fold(0, |code, letter| code << 5 | letter))
}

/// What the devices of a port that hold a conversation must agree on.
#[derive(Default)]
pub(super) struct Talkers<'p> {
    /// The protocol of a port, and the first device that said so.
    protocols: BTreeMap<&'p str, (u8, Span)>,
    addresses: BTreeMap<(&'p str, String), Span>,
}

impl<'p> Talkers<'p> {
    /// Notes a device that can't share its port with those before: of another protocol, or with an address that is taken.
    pub(super) fn add(&mut self, section: &Section, device: &'p DeviceConfig, mistakes: &mut Mistakes<'_>) {
        if section.table("poll").is_some_and(|poll| poll.is_mistaken("address")) {
            return;
        }
        let Some(ask) = device.poll.as_ref().map(|poll| &poll.ask) else { return };
        let (protocol, address) = match ask {
            Ask::Registers { .. } | Ask::Bytes(_) => (0, None),
            Ask::Meter(ask) => (1, Some(ask.address.clone())),
            Ask::Mbus(MbusAddress::Primary(MbusAddress::ANY)) => (2, Some(String::new())),
            Ask::Mbus(address) => (2, Some(format!("{address:?}"))),
        };
        let port = &*device.port;
        let span = section.span("port");
        let (others, first) = *self.protocols.entry(port).or_insert((protocol, span));
        if others != protocol {
            let place = mistakes.place(first);
            let message =
                format!("port: the device at {place} on the same port is asked by another protocol");
            mistakes.add_with_help(span, message, "give meters of each protocol a port of their own");
            return;
        }
        let Some(address) = address else { return };
        let is_anybody = |known: &str| known.is_empty() || address.is_empty();
        let clash = self
            .addresses
            .iter()
            .find(|((known, taken), _)| *known == port && (*taken == address || is_anybody(taken)));
        if let Some((_, other)) = clash {
            let place = mistakes.place(*other);
            let message = format!("poll: the [[device]] at {place} on this port may be the same meter");
            mistakes.add_with_help(span, message, "give each meter of a port its own address");
            return;
        }
        self.addresses.insert((port, address), span);
    }
}
