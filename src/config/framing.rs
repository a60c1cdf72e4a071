//! `framing` and `check` of a device: how its bytes become frames, and what proves that one is whole.

use super::mistake::Mistakes;
use super::schema::Effect::Reconnect;
use super::schema::{Kind, Table, computed, duration, key, optional, required};
use super::section::{Scalar, Section, Value};
use crate::sensor::{CheckConfig, CheckKind, Endian, FramingConfig, LineEnd, PacketLength};

/// Every kind of check.
pub(super) const CHECKS: &[&str] = &[
    "none",
    "sum8",
    "sum8-neg",
    "sum8-inverted",
    "sum16",
    "xor8",
    "bcc",
    "crc16-modbus",
    "crc16-arc",
    "crc16-x25",
];

/// The longest frame of each kind that is looked for byte by byte: what damaged bytes cost grows with its square.
const LOOKED_FOR_MAX: u64 = 16 * 1024;

/// `framing = { kind = "line" }`
pub static LINE: Table = Table {
    name: "[device.framing] of kind \"line\"",
    doc: "Text lines.",
    keys: &[
        optional("kind", Kind::Words(&["line"]), Reconnect, "\"line\""),
        computed(
            "end",
            Kind::Raw { bytes_max: 16 },
            "LF, CR LF or CR, whatever comes",
            Reconnect,
            "Exactly what ends a line, such as \"\\r\\n\"; 1 to 16 bytes.",
        ),
        key(
            "max",
            Kind::Size { min: 16, max: 64 * 1024 },
            "\"4 KiB\"",
            Reconnect,
            "The longest line; a longer one is counted as bad. 16 B to 64 KiB.",
        ),
    ],
};

/// `framing = { kind = "packet" }`
pub static PACKET: Table = Table {
    name: "[device.framing] of kind \"packet\"",
    doc: "Bytes with a fixed beginning, and a length that is known or that they say themselves.",
    keys: &[
        optional("kind", Kind::Words(&["packet"]), Reconnect, "\"packet\""),
        required(
            "sync",
            Kind::Hex { bytes_max: 16 },
            "\"42 4d\"",
            Reconnect,
            "The first bytes of each packet.",
        ),
        required(
            "length",
            Kind::OneOf(&[Kind::Integer { min: 1, max: 16 * 1024 }, Kind::Table(&LENGTH)]),
            "32",
            Reconnect,
            "Its bytes, from the first to the last; or a table that says where the packet has it.",
        ),
        optional("end", Kind::Hex { bytes_max: 16 }, Reconnect, "The last bytes of each packet."),
        key(
            "max",
            Kind::Size { min: 1, max: LOOKED_FOR_MAX },
            "\"1 KiB\"",
            Reconnect,
            "The longest packet; what says that it is longer is none. 1 B to 16 KiB.",
        ),
    ],
};

/// `length = { at = 2 }` of a packet.
pub static LENGTH: Table = Table {
    name: "[device.framing.length]",
    doc: "Where a packet says its length.",
    keys: &[
        required(
            "at",
            Kind::Integer { min: 0, max: 255 },
            "2",
            Reconnect,
            "The first byte of the field, from 0.",
        ),
        key("type", Kind::Words(&["u8", "u16"]), "\"u8\"", Reconnect, "How the length stands there."),
        key(
            "endian",
            Kind::Words(&["big", "little"]),
            "\"big\"",
            Reconnect,
            "Which of two bytes comes first.",
        ),
        key(
            "add",
            Kind::Integer { min: -1_024, max: 1_024 },
            "0",
            Reconnect,
            "Bytes of the packet that the field doesn't count.",
        ),
    ],
};

/// `framing = { kind = "gap" }`
pub static GAP: Table = Table {
    name: "[device.framing] of kind \"gap\"",
    doc: "Bytes that silence ends.",
    keys: &[
        optional("kind", Kind::Words(&["gap"]), Reconnect, "\"gap\""),
        key(
            "idle",
            duration(5, 60_000),
            "\"50ms\"",
            Reconnect,
            "How much silence ends a frame; a USB adapter alone holds bytes back for 16ms. 5ms to 1min.",
        ),
        key(
            "max",
            Kind::Size { min: 1, max: 64 * 1024 },
            "\"4 KiB\"",
            Reconnect,
            "The longest frame; a longer one is counted as bad. 1 B to 64 KiB.",
        ),
    ],
};

/// `framing = { kind = "telegram" }`
pub static TELEGRAM: Table = Table {
    name: "[device.framing] of kind \"telegram\"",
    doc: "What stands between two marks, and some bytes behind the second.",
    keys: &[
        optional("kind", Kind::Words(&["telegram"]), Reconnect, "\"telegram\""),
        required("start", Kind::Raw { bytes_max: 16 }, "\"/\"", Reconnect, "What each begins with."),
        required("end", Kind::Raw { bytes_max: 16 }, "\"!\"", Reconnect, "What ends it."),
        key(
            "tail",
            Kind::Integer { min: 0, max: 64 },
            "0",
            Reconnect,
            "Bytes behind the end that belong to it, such as a check.",
        ),
        key(
            "max",
            Kind::Size { min: 16, max: LOOKED_FOR_MAX },
            "\"8 KiB\"",
            Reconnect,
            "The longest telegram; what is longer is none. 16 B to 16 KiB.",
        ),
    ],
};

/// `framing = { kind = "stuffed" }`
pub static STUFFED: Table = Table {
    name: "[device.framing] of kind \"stuffed\"",
    doc: "Bytes between two flags, with flags and escapes within escaped, as HDLC and SHDLC do.",
    keys: &[
        optional("kind", Kind::Words(&["stuffed"]), Reconnect, "\"stuffed\""),
        key(
            "flag",
            Kind::Hex { bytes_max: 1 },
            "\"7e\"",
            Reconnect,
            "The byte before and behind each frame.",
        ),
        key("escape", Kind::Hex { bytes_max: 1 }, "\"7d\"", Reconnect, "The byte before an escaped one."),
        key("xor", Kind::Hex { bytes_max: 1 }, "\"20\"", Reconnect, "What an escaped byte is XORed with."),
        optional(
            "length",
            Kind::Integer { min: 1, max: 16 * 1024 },
            Reconnect,
            "The bytes of each frame, without flags and escapes; what has others is none. Without it: any.",
        ),
        key(
            "max",
            Kind::Size { min: 1, max: LOOKED_FOR_MAX },
            "\"1 KiB\"",
            Reconnect,
            "The longest frame, without its flags and escapes; what is longer is none. 1 B to 16 KiB.",
        ),
    ],
};

/// `check = { kind = "sum16" }`
pub static CHECK: Table = Table {
    name: "[device.check]",
    doc: "What proves that a frame is as it was sent.",
    keys: &[
        required("kind", Kind::Words(CHECKS), "\"sum16\"", Reconnect, "How it is computed."),
        computed(
            "over",
            Kind::Scalars { count_max: 2 },
            "from the first byte up to the check",
            Reconnect,
            "The bytes that it covers: the first, and the one after the last; from the end where negative.",
        ),
        computed(
            "at",
            Kind::Integer { min: -16_384, max: 16_383 },
            "the frame's last bytes",
            Reconnect,
            "Its first byte, from 0; from the end of the frame where negative.",
        ),
        computed(
            "order",
            Kind::Words(&["big", "little"]),
            "little for a CRC in bytes, else big",
            Reconnect,
            "Which of its two bytes comes first.",
        ),
        key("hex", Kind::Bool, "false", Reconnect, "It stands there in hexadecimal digits."),
    ],
};

/// How a device's bytes become frames.
pub(super) fn framing(section: &Section, mistakes: &mut Mistakes<'_>) -> FramingConfig {
    let Some((kind, table)) = section.tagged("framing") else {
        return FramingConfig::Line { end: LineEnd::Any, bytes_max: 0 };
    };
    let bytes_max = table.memory_size("max");
    match kind {
        "packet" => packet(table, bytes_max, mistakes),
        "gap" => FramingConfig::Gap { idle: table.duration("idle"), bytes_max },
        "telegram" => FramingConfig::Telegram {
            start: table.string("start").into_bytes(),
            end: table.string("end").into_bytes(),
            tail: table.integer("tail"),
            bytes_max,
        },
        "stuffed" => stuffed(table, bytes_max, mistakes),
        _ => {
            let end = table.text("end").map_or(LineEnd::Any, |end| LineEnd::Exact(end.as_bytes().to_vec()));
            FramingConfig::Line { end, bytes_max }
        }
    }
}

fn packet(table: &Section, bytes_max: usize, mistakes: &mut Mistakes<'_>) -> FramingConfig {
    let (sync, end) = (table.bytes("sync").to_vec(), table.bytes("end").to_vec());
    let marks = sync.len().saturating_add(end.len());
    let length = match table.table("length") {
        Some(field) => PacketLength::Field {
            at: field.integer("at"),
            bytes: if field.word("type") == "u16" { 2 } else { 1 },
            endian: endian(field.word("endian")).unwrap_or_default(),
            add: field.integer("add"),
        },
        None => PacketLength::Fixed(table.integer("length")),
    };
    if let PacketLength::Fixed(bytes) = length
        && table.is_given("length")
        && !table.is_mistaken("length")
    {
        if bytes < marks {
            let message = format!("length: {bytes} bytes have no room for sync and end, which have {marks}");
            mistakes.add(table.span("length"), message);
        } else if bytes > bytes_max && !table.is_mistaken("max") {
            let message = format!("length: {bytes} bytes are more than max, {bytes_max}");
            mistakes.add_with_help(table.span("length"), message, format!("add max = \"{bytes} B\""));
        }
    }
    FramingConfig::Packet { sync, length, end, bytes_max }
}

fn stuffed(table: &Section, bytes_max: usize, mistakes: &mut Mistakes<'_>) -> FramingConfig {
    let byte = |key: &str| table.bytes(key).first().copied().unwrap_or_default();
    let (flag, escape, xor) = (byte("flag"), byte("escape"), byte("xor"));
    let known = ["flag", "escape", "xor"].iter().all(|key| !table.is_mistaken(key));
    if known && flag == escape {
        mistakes.add(table.span("escape"), format!("escape: {escape:02x} is already the flag"));
    } else if known && [flag, escape].contains(&(flag ^ xor)) {
        let message = format!("xor: with {xor:02x} an escaped flag stands as {:02x}", flag ^ xor);
        mistakes.add(table.span("xor"), message);
    }
    let length = table.is_given("length").then(|| table.integer("length"));
    if let Some(bytes) = length.filter(|bytes| *bytes > bytes_max)
        && !table.is_mistaken("length")
        && !table.is_mistaken("max")
    {
        let message = format!("length: {bytes} bytes are more than max, {bytes_max}");
        mistakes.add_with_help(table.span("length"), message, format!("add max = \"{bytes} B\""));
    }
    FramingConfig::Stuffed { flag, escape, xor, length, bytes_max }
}

fn endian(word: &str) -> Option<Endian> {
    match word {
        "big" => Some(Endian::Big),
        "little" => Some(Endian::Little),
        _ => None,
    }
}

/// What proves that a frame is whole.
pub(super) fn check(
    section: &Section,
    framing: &FramingConfig,
    mistakes: &mut Mistakes<'_>,
) -> Option<CheckConfig> {
    let check = match section.value("check")? {
        Value::Word(word) => placed(None, CheckKind::named(word)?),
        Value::Table(table) => placed(Some(table), CheckKind::named(table.word("kind"))?),
        _ => return None,
    };
    let width = i32::try_from(check.width()).unwrap_or_default();
    let table = section.table("check");
    let given = |key: &str| table.filter(|table| table.is_given(key) && !table.is_mistaken(key));
    let check =
        CheckConfig { at: if given("at").is_some() { check.at } else { width.saturating_neg() }, ..check };
    if let Some(table) = given("at")
        && (1_i32.saturating_sub(width)..0).contains(&check.at)
    {
        let message = format!("at: the check has {width} bytes, and from {} there are fewer", check.at);
        mistakes.add(table.span("at"), message);
    }
    let check = match given("over") {
        Some(table) => over(table, check, mistakes),
        None => check,
    };
    if let FramingConfig::Packet { length: PacketLength::Fixed(bytes), .. } = framing
        && given("at").is_some()
        && !fits(&check, *bytes)
    {
        let span = table.map_or(section.span, |table| table.span("at"));
        mistakes.add(span, format!("at: there is no room for the check in {bytes} bytes"));
    }
    Some(check)
}

fn placed(table: Option<&Section>, kind: CheckKind) -> CheckConfig {
    let hex = table.and_then(|table| table.bool("hex")).unwrap_or(false);
    let usual = if hex { Endian::Big } else { kind.usual_order() };
    CheckConfig {
        kind,
        from: i32::from(kind == CheckKind::Bcc),
        to: None,
        at: table.map_or(0, |table| table.integer("at")),
        order: table.and_then(|table| endian(table.word("order"))).unwrap_or(usual),
        hex,
    }
}

/// The bytes that a check covers, as the file says.
fn over(table: &Section, check: CheckConfig, mistakes: &mut Mistakes<'_>) -> CheckConfig {
    let whole = |scalar: &Scalar| match scalar {
        Scalar::Number(number) => i32::try_from(*number).ok().filter(|_| number.fract().is_zero()),
        _ => None,
    };
    let bounds: Vec<Option<i32>> = table.scalars("over").iter().map(|(scalar, _)| whole(scalar)).collect();
    let [Some(from), Some(to)] = bounds.as_slice() else {
        let help = "write over = [0, -2] for all but the last two";
        mistakes.add_with_help(table.span("over"), "over: expected two whole numbers", help);
        return check;
    };
    if (*from < 0) == (*to < 0) && to <= from {
        let message = format!("over: from {from} to {to} there is nothing");
        mistakes.add_with_help(
            table.span("over"),
            message,
            "write the first byte and the one after the last",
        );
    } else if *to == 0 {
        let help = "write over = [0, -2] for all but the last two";
        mistakes.add_with_help(table.span("over"), "over: the first byte comes before byte 0", help);
    }
    CheckConfig { from: *from, to: Some(*to), ..check }
}

fn fits(check: &CheckConfig, bytes: usize) -> bool {
    let distance = usize::try_from(check.at.unsigned_abs()).unwrap_or(usize::MAX);
    match check.at {
        ..0 => distance <= bytes,
        _ => distance.saturating_add(check.width()) <= bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_but_none_is_known_to_the_sensor() {
        for name in CHECKS {
            assert_eq!(CheckKind::named(name).map(CheckKind::name), (*name != "none").then_some(*name));
        }
    }
}
