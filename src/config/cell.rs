//! The keys of a point that say how its value stands in bytes: type, length, order, mask, bit. One reader for
//! whatever has cells: binary frames and registers.

use super::mistake::{Mistakes, quoted};
use super::section::Section;
use crate::sensor::{Cell, CellType, Endian, PointType, WordOrder};

/// The most digits that a BCD number has in bytes: all of them fit a decimal.
const BCD_BYTES_MAX: usize = crate::sensor::BCD_BYTES_MAX;

/// Keys that only a cell has.
const CELL_KEYS: [&str; 7] = ["at", "length", "endian", "word_order", "mask", "shift", "bit"];

/// What the points of a device stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// Fields of text.
    Text,
    /// A frame of bytes.
    Frame {
        /// Of numbers that don't say their own.
        endian: Endian,
    },
    /// Registers of 16 bits.
    Registers,
}

impl Home {
    /// The least bytes of a bit or bool.
    const fn unit(self) -> usize {
        match self {
            Self::Text | Self::Frame { .. } => 1,
            Self::Registers => 2,
        }
    }
}

/// The cell of a point. `None` in a text, and where it is a mistake that is noted.
pub(super) fn cell(section: &Section, home: Home, mistakes: &mut Mistakes<'_>) -> Option<Cell> {
    let word = section.word("type");
    if home == Home::Text {
        no_cell(section, word, mistakes);
        return None;
    }
    let kind = match CellType::named(word) {
        Some(kind) => kind,
        None if section.is_mistaken("type") => return None,
        None if section.is_given("type") => {
            let message = format!("type: {} doesn't say how the value stands in bytes", quoted(word));
            let help = match word {
                "text" => "write \"string\", and its length in bytes: length = 8",
                _ => "write \"u8\", \"u16\", \"i16\", \"u32\", \"f32\" or another type of binary values",
            };
            mistakes.add_with_help(section.span("type"), message, help);
            return None;
        }
        None => {
            mistakes.add_with_help(section.span, "[[device.points]] has no \"type\"", "add type = \"u16\"");
            return None;
        }
    };
    let bytes = length(section, home, kind, mistakes)?;
    let (endian, word_order) = order(section, home, kind, bytes, mistakes);
    let (mask, shift) = bits(section, kind, bytes, mistakes);
    let bit = bit(section, kind, bytes, mistakes);
    Some(Cell { kind, bytes, endian, word_order, mask, shift, bit })
}

/// What a point of this cell reads.
pub(super) fn point_type(cell: &Cell, is_scaled: bool) -> PointType {
    match cell.kind {
        CellType::Bit | CellType::Bool => PointType::Bool,
        CellType::String => PointType::Text,
        // Beyond 2^53 only whole numbers keep each digit.
        CellType::U64 | CellType::I64 if !is_scaled => PointType::Integer,
        _ => PointType::Number,
    }
}

/// Notes what only binary values have.
fn no_cell(section: &Section, word: &str, mistakes: &mut Mistakes<'_>) {
    if CellType::named(word).is_some() && word != "bool" {
        let message = format!("type: {} is a type of binary values, and these frames are text", quoted(word));
        let help = match word {
            "string" => "write \"text\"",
            "bit" => "write \"bool\"",
            _ => "write \"number\", or \"integer\" where each digit counts",
        };
        mistakes.add_with_help(section.span("type"), message, help);
    }
    for key in CELL_KEYS {
        if section.is_given(key) {
            let message = format!("{key} has no meaning in text frames");
            mistakes.add_with_help(
                section.key_span(key),
                message,
                "from says where a value stands in a text",
            );
        }
    }
}

fn length(section: &Section, home: Home, kind: CellType, mistakes: &mut Mistakes<'_>) -> Option<usize> {
    let given = section.is_given("length");
    if !matches!(kind, CellType::Bcd | CellType::String) {
        if given {
            let message = format!("length has no meaning for type {}", quoted(kind.name()));
            mistakes.add(section.key_span("length"), message);
        }
        let bytes = kind.fixed_bytes().unwrap_or(home.unit());
        if bytes.checked_rem(home.unit()) != Some(0) {
            let message = format!("type: a {} is no whole number of registers", kind.name());
            let help = "write \"u16\" or \"u32\", with mask = 0xff for the low byte";
            mistakes.add_with_help(section.span("type"), message, help);
            return None;
        }
        return Some(bytes);
    }
    if !given {
        let message = format!("a point of type {} has no \"length\"", quoted(kind.name()));
        mistakes.add_with_help(section.span, message, "add length = 4, its bytes");
        return None;
    }
    let bytes: usize = section.integer("length");
    if kind == CellType::Bcd && bytes > BCD_BYTES_MAX {
        let message = format!("length: a bcd number has at most {BCD_BYTES_MAX} bytes");
        mistakes.add(section.span("length"), message);
        return None;
    }
    if bytes.checked_rem(home.unit()) != Some(0) {
        let message = format!("length: {bytes} bytes are no whole registers; each has two");
        mistakes.add(section.span("length"), message);
        return None;
    }
    (bytes > 0).then_some(bytes)
}

fn order(
    section: &Section,
    home: Home,
    kind: CellType,
    bytes: usize,
    mistakes: &mut Mistakes<'_>,
) -> (Endian, WordOrder) {
    let name = quoted(kind.name());
    let has_order = kind.is_number() && bytes > 1;
    if section.is_given("endian") && !has_order && kind != CellType::Bit {
        let message = format!("endian has no meaning for type {name}");
        mistakes.add_with_help(section.key_span("endian"), message, "leave it out");
    }
    let has_words = has_order && bytes >= 4 && bytes.checked_rem(2) == Some(0);
    if section.is_given("word_order") && !has_words {
        let message = match bytes {
            _ if !kind.is_number() => format!("word_order has no meaning for type {name}"),
            0..=2 => format!("word_order has no meaning for type {name}, which has a single word"),
            _ => format!("word_order has no meaning for type {name}, which is no whole number of words"),
        };
        let help =
            if has_order { "leave it out; endian = \"little\" swaps the bytes" } else { "leave it out" };
        mistakes.add_with_help(section.key_span("word_order"), message, help);
    }
    let default = match home {
        Home::Frame { endian } => endian,
        Home::Text | Home::Registers => Endian::Big,
    };
    let endian = match section.word("endian") {
        "big" => Endian::Big,
        "little" => Endian::Little,
        _ => default,
    };
    // In a frame, a number is one piece: its words follow its bytes. Registers are words, high first.
    let follows = if home == Home::Registers && has_words { Endian::Big } else { endian };
    let word_order = match (section.word("word_order"), follows) {
        ("high-word-first", _) => WordOrder::HighFirst,
        ("low-word-first", _) | (_, Endian::Little) => WordOrder::LowFirst,
        (_, Endian::Big) => WordOrder::HighFirst,
    };
    (endian, word_order)
}

fn bits(section: &Section, kind: CellType, bytes: usize, mistakes: &mut Mistakes<'_>) -> (Option<u64>, u8) {
    if !kind.is_unsigned() {
        for key in ["mask", "shift"] {
            if section.is_given(key) {
                let message = format!("{key} has no meaning for type {}", quoted(kind.name()));
                let help = "bits are taken of \"u8\", \"u16\", \"u24\", \"u32\" and \"u64\"";
                mistakes.add_with_help(section.key_span(key), message, help);
            }
        }
        return (None, 0);
    }
    let width = u32::try_from(bytes.saturating_mul(8)).unwrap_or(64);
    let mask: Option<u64> = section.is_given("mask").then(|| section.integer("mask"));
    if let Some(mask) = mask {
        let beyond = mask.checked_shr(width).unwrap_or(0);
        if mask == 0 && !section.is_mistaken("mask") {
            mistakes.add(section.span("mask"), "mask: 0 leaves no bit");
        } else if beyond != 0 {
            let message = format!("mask: {mask:#x} has bits that no {} has", kind.name());
            mistakes.add(section.span("mask"), message);
        }
    }
    let shift: u8 = section.integer("shift");
    if u32::from(shift) >= width {
        let message = format!("shift: a {} has {width} bits, so {shift} leaves none", kind.name());
        mistakes.add(section.span("shift"), message);
    }
    (mask, shift)
}

fn bit(section: &Section, kind: CellType, bytes: usize, mistakes: &mut Mistakes<'_>) -> u8 {
    let given = section.is_given("bit");
    if kind != CellType::Bit {
        if given {
            let message = format!("bit has no meaning for type {}", quoted(kind.name()));
            mistakes.add_with_help(section.key_span("bit"), message, "write type = \"bit\"");
        }
        return 0;
    }
    if !given {
        let message = "a point of type \"bit\" has no \"bit\"";
        mistakes.add_with_help(section.span, message, "add bit = 0, the lowest");
        return 0;
    }
    let bit: u8 = section.integer("bit");
    let highest = bytes.saturating_mul(8).saturating_sub(1);
    if usize::from(bit) > highest {
        mistakes.add(section.span("bit"), format!("bit: {bit} is not between 0 and {highest}"));
    }
    bit
}
