//! Victron VE.Direct (text protocol 3.33, HEX protocol): blocks of fields, and HEX messages anywhere between.
//!
//! ```text
//! CR LF key TAB value … CR LF "Checksum" TAB byte        the sum of all of it is 0 modulo 256
//! ":" command digits LF                                  the sum of command and bytes is 0x55
//! ```
//!
//! The checksum byte may be any, CR, LF and `:` too. HEX messages stand between blocks, right behind the checksum byte and
//! within blocks, and don't count for a block's sum. A battery monitor sends two blocks a second, each a frame here.
//!
//! A sum says little: one in 256 damaged blocks has a right one. So a block begins where the one before ended, or at a
//! key that good blocks begin with; the first after opening counts only if it begins with PID or H1. And each line
//! of it must be a key, a TAB and a value.

use std::borrow::Cow;

use super::super::decode::Raw;
use super::{Fault, Fields, Role, Take, vedirect_names};

/// The longest blocks of the protocol have 22 fields of at most 44 bytes.
const BLOCK_BYTES_MAX: usize = 1_024;

/// History registers have up to 34 bytes, each two digits, in the HEX messages that were seen.
const HEX_BYTES_MAX: usize = 256;

/// Before the checksum byte.
const CHECKSUM: &[u8] = b"\r\nChecksum\t";

/// What the first block after opening must begin with.
const FIRST_KEYS: [&[u8]; 2] = [b"\r\nPID\t", b"\r\nH1\t"];

/// Kinds of blocks that one device sends; two are known.
const KINDS_MAX: usize = 4;

/// Finds blocks and HEX messages.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The block so far, without the HEX messages in it.
    block: Vec<u8>,
    /// The HEX message so far, from its colon.
    hex: Option<Vec<u8>>,
    /// What good blocks begin with: CR, LF, key, TAB.
    heads: Vec<Vec<u8>>,
    /// The block began where another ended.
    is_whole: bool,
}

impl Blocks {
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Memory held for what is unfinished.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.block.capacity().saturating_add(self.hex.as_ref().map_or(0, Vec::capacity))
    }

    pub(super) fn push(&mut self, bytes: &[u8], take: &mut Take<'_>) {
        for &byte in bytes {
            if self.hex.is_some() {
                self.hex_byte(byte, take);
            } else if byte == b':' && !self.block.ends_with(CHECKSUM) {
                self.hex = Some(vec![byte]);
            } else {
                self.text_byte(byte, take);
            }
        }
    }

    fn hex_byte(&mut self, byte: u8, take: &mut Take<'_>) {
        let Some(hex) = &mut self.hex else { return };
        match byte {
            b'\n' => {
                let hex = self.hex.take().unwrap_or_default();
                match hex_check(&hex) {
                    Ok(_) => take(Ok(&hex)),
                    Err(fault) => take(Err((fault, &hex))),
                }
            }
            b'0'..=b'9' | b'A'..=b'F' | b'a'..=b'f' if hex.len() < HEX_BYTES_MAX => hex.push(byte),
            _ => {
                // No HEX message: a damaged byte of the text, which its sum will tell.
                let hex = self.hex.take().unwrap_or_default();
                for byte in hex.into_iter().chain([byte]) {
                    self.text_byte(byte, take);
                }
            }
        }
    }

    fn text_byte(&mut self, byte: u8, take: &mut Take<'_>) {
        let is_end = self.block.ends_with(CHECKSUM);
        self.block.push(byte);
        if is_end {
            let block = std::mem::take(&mut self.block);
            self.finish(&block, take);
            self.is_whole = true;
        } else if self.block.len() >= BLOCK_BYTES_MAX {
            let block = std::mem::take(&mut self.block);
            take(Err((Fault::TooLong { max: BLOCK_BYTES_MAX }, &block)));
            self.is_whole = false;
            // What follows the next head may be a good block.
            let rest = self.head_in(&block, 1).and_then(|at| block.get(at..)).unwrap_or_default();
            self.block = rest.to_vec();
        }
    }

    /// A block with its checksum byte. If it is damaged, a good one may begin in it: where the byte before a
    /// `Checksum` was damaged, two blocks stand here.
    fn finish(&mut self, block: &[u8], take: &mut Take<'_>) {
        let mut at = 0_usize;
        let mut first_fault = None;
        loop {
            let rest = block.get(at..).unwrap_or_default();
            match self.check(rest, self.is_whole && at == 0) {
                Ok(head) => {
                    if !self.heads.iter().any(|known| known == head) && self.heads.len() < KINDS_MAX {
                        self.heads.push(head.to_vec());
                    }
                    if let Some(fault) = first_fault {
                        take(Err((fault, block.get(..at).unwrap_or_default())));
                    }
                    take(Ok(rest));
                    return;
                }
                Err(fault) => {
                    first_fault.get_or_insert(fault);
                }
            }
            match self.head_in(block, at.saturating_add(1)) {
                Some(next) => at = next,
                None => break,
            }
        }
        // The first block after opening is most often a part of one.
        if let Some(fault) = first_fault.filter(|_| self.is_whole) {
            take(Err((fault, block)));
        }
    }

    /// Where the next head stands in the block, from `from` on.
    fn head_in(&self, block: &[u8], from: usize) -> Option<usize> {
        let heads = || self.heads.iter().map(Vec::as_slice).chain(FIRST_KEYS);
        (from..block.len())
            .find(|&at| block.get(at..).is_some_and(|rest| heads().any(|head| rest.starts_with(head))))
    }

    /// The head of a good block.
    fn check<'b>(&self, block: &'b [u8], is_whole: bool) -> Result<&'b [u8], Fault> {
        let found = block.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        if found != 0 {
            let sent = block.last().copied().unwrap_or_default();
            let found = sent.wrapping_sub(found);
            return Err(Fault::Check { what: "checksum", sent: u32::from(sent), found: u32::from(found) });
        }
        let text = text_of(block).ok_or(Fault::Malformed { what: "no text" })?;
        let mut pairs = pairs(text);
        let (key, _) =
            pairs.next().flatten().ok_or(Fault::Malformed { what: "a line without key and value" })?;
        if !pairs.all(|pair| pair.is_some()) {
            return Err(Fault::Malformed { what: "a line without key and value" });
        }
        let head = block.get(..key.len().saturating_add(3)).unwrap_or_default();
        let is_known = self.heads.iter().any(|known| known == head) || FIRST_KEYS.contains(&head);
        if is_whole || is_known { Ok(head) } else { Err(Fault::Cut) }
    }
}

/// The lines of a block, before its checksum.
fn text_of(block: &[u8]) -> Option<&str> {
    let (_, block) = block.split_last()?;
    std::str::from_utf8(block.strip_suffix(CHECKSUM)?).ok()?.strip_prefix("\r\n")
}

/// Keys and values; `None` where a line is none.
fn pairs(text: &str) -> impl Iterator<Item = Option<(&str, &str)>> {
    text.split("\r\n").map(|line| {
        let (key, value) = line.split_once('\t')?;
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        let is_value = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        (is_key && is_value).then_some((key, value))
    })
}

/// The command and the bytes of a HEX message with a right sum.
fn hex_check(hex: &[u8]) -> Result<(u8, Vec<u8>), Fault> {
    let malformed = Fault::Malformed { what: "a HEX message without command and sum" };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Option<Vec<u8>> = hex.iter().skip(1).map(digit).collect();
    let Some((&command, digits)) = digits.as_deref().and_then(<[u8]>::split_first) else {
        return Err(malformed);
    };
    if digits.len() < 2 || !digits.len().is_multiple_of(2) {
        return Err(malformed);
    }
    let byte = |pair: &[u8]| pair.iter().fold(0_u8, |byte, digit| byte.wrapping_mul(16).wrapping_add(*digit));
    let mut bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    let sent = bytes.pop().unwrap_or_default();
    let sum = bytes.iter().fold(command, |sum, byte| sum.wrapping_add(*byte));
    let found = 0x55_u8.wrapping_sub(sum);
    if sent == found {
        Ok((command, bytes))
    } else {
        Err(Fault::Check { what: "HEX checksum", sent: u32::from(sent), found: u32::from(found) })
    }
}

/// The fields of a block or of a HEX message.
pub(super) fn decode<'a>(frame: &'a [u8], fields: &mut Fields<'a>) -> Result<(), Fault> {
    if frame.starts_with(b":") {
        let (command, bytes) = hex_check(frame)?;
        hex_fields(command, &bytes, fields);
        return Ok(());
    }
    let text = text_of(frame).ok_or(Fault::Malformed { what: "no text" })?;
    for (key, value) in pairs(text).flatten() {
        vedirect_names::put(key, value, fields);
    }
    Ok(())
}

/// Answers to get and set (7, 8) and asynchronous messages (A) have a register, flags and its value, low byte first:
/// `hex_0x1000`, a number without sign up to 8 bytes, else hexadecimal digits.
fn hex_fields(command: u8, bytes: &[u8], fields: &mut Fields<'_>) {
    let has_register = matches!(command, 0x7 | 0x8 | 0xA);
    let (true, &[low, high, flags, ref value @ ..]) = (has_register, bytes) else { return };
    let name = format!("hex_0x{:04X}", u16::from_le_bytes([low, high]));
    let number = value.iter().rev().try_fold(0_u64, |number, byte| {
        number.checked_mul(256).map(|number| number.saturating_add(u64::from(*byte)))
    });
    let raw = match number {
        // An unknown register, one that isn't supported, or a request that is echoed.
        _ if flags != 0 || value.is_empty() => return,
        Some(number) => Raw::Decimal(number.into()),
        None => Raw::String(Cow::Owned(value.iter().map(|byte| format!("{byte:02X}")).collect())),
    };
    fields.put(Role::Detail, name, raw, None);
}
