//! What a frame looks like: whether bytes begin with one. Pure functions of the bytes at hand.

use crate::sensor::cell::Endian;
use crate::sensor::config::{FramingConfig, PacketLength};

/// How frames are marked.
#[derive(Debug)]
pub(super) enum Shape {
    /// A fixed beginning, and a length that is known or told.
    Packet { sync: Vec<u8>, length: PacketLength, end: Vec<u8> },
    /// A beginning and an end, and some bytes behind that.
    Telegram { start: Vec<u8>, end: Vec<u8>, tail: usize },
    /// Between two flags; a flag within is escaped.
    Stuffed { flag: u8, escape: u8, xor: u8, length: Option<usize> },
}

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It may be a frame: more bytes will tell.
    More,
    /// These many bytes belong to no frame.
    Skip(usize),
    /// These many bytes only stand between frames.
    Pass(usize),
    /// A frame of these many bytes.
    Frame(usize),
}

impl Shape {
    /// With its longest frame. `None` for framings that aren't found by looking.
    pub(super) fn new(config: &FramingConfig) -> Option<(Self, usize)> {
        match config {
            FramingConfig::Packet { sync, length, end, bytes_max } => {
                let shape = Self::Packet { sync: sync.clone(), length: *length, end: end.clone() };
                let longest = if let PacketLength::Fixed(bytes) = length { bytes } else { bytes_max };
                Some((shape, *longest))
            }
            FramingConfig::Telegram { start, end, tail, bytes_max } => {
                let shape = Self::Telegram { start: start.clone(), end: end.clone(), tail: *tail };
                Some((shape, *bytes_max))
            }
            FramingConfig::Stuffed { flag, escape, xor, length, bytes_max } => {
                Some((Self::Stuffed { flag: *flag, escape: *escape, xor: *xor, length: *length }, *bytes_max))
            }
            FramingConfig::Line { .. } | FramingConfig::Gap { .. } | FramingConfig::Codec(_) => None,
        }
    }

    /// What these bytes, which aren't empty, begin with.
    pub(super) fn look(&self, bytes: &[u8], bytes_max: usize) -> Look {
        match self {
            Self::Packet { sync, length, end } => packet(bytes, sync, *length, end, bytes_max),
            Self::Telegram { start, end, tail } => telegram(bytes, start, end, *tail, bytes_max),
            Self::Stuffed { flag, .. } => stuffed(bytes, *flag, bytes_max),
        }
    }

    /// The frame without flags and escapes. False if it is none after all.
    pub(super) fn unescape(&self, frame: &[u8], body: &mut Vec<u8>) -> bool {
        let Self::Stuffed { escape, xor, length, .. } = self else { return true };
        body.clear();
        let mut rest = frame.iter().skip(1);
        while let Some(byte) = rest.next() {
            if byte == escape {
                let Some(escaped) = rest.next() else { return false };
                body.push(escaped ^ xor);
            } else {
                body.push(*byte);
            }
        }
        !body.is_empty() && length.is_none_or(|length| body.len() == length)
    }
}

fn packet(bytes: &[u8], sync: &[u8], length: PacketLength, end: &[u8], bytes_max: usize) -> Look {
    match beginning(bytes, sync) {
        0 => {}
        skip => return Look::Skip(skip),
    }
    if bytes.len() < sync.len() {
        return Look::More;
    }
    let (len, least) = match length {
        PacketLength::Fixed(len) => (Some(len), sync.len()),
        PacketLength::Field { at, bytes: width, endian, add } => {
            let least = at.saturating_add(width).max(sync.len());
            let Some(field) = bytes.get(at..at.saturating_add(width)) else { return Look::More };
            let value = match endian {
                Endian::Big => field.iter().fold(0_i64, |value, byte| (value << 8) | i64::from(*byte)),
                Endian::Little => {
                    field.iter().rev().fold(0_i64, |value, byte| (value << 8) | i64::from(*byte))
                }
            };
            (usize::try_from(value.saturating_add(add.into())).ok(), least)
        }
    };
    // A length that can't be is noise that looks like a beginning.
    let Some(len) = len.filter(|len| (least.saturating_add(end.len())..=bytes_max).contains(len)) else {
        return Look::Skip(1);
    };
    match bytes.get(..len) {
        None => Look::More,
        Some(frame) if frame.ends_with(end) => Look::Frame(len),
        Some(_) => Look::Skip(1),
    }
}

fn telegram(bytes: &[u8], start: &[u8], end: &[u8], tail: usize, bytes_max: usize) -> Look {
    match beginning(bytes, start) {
        0 => {}
        skip => return Look::Skip(skip),
    }
    let Some(body) = bytes.get(start.len()..) else { return Look::More };
    let len = find(body, end).map(|at| [start.len(), at, end.len(), tail].iter().sum::<usize>());
    match len {
        Some(len) if len > bytes_max => Look::Skip(1),
        Some(len) if len <= bytes.len() => Look::Frame(len),
        Some(_) => Look::More,
        None if bytes.len() >= bytes_max => Look::Skip(1),
        None => Look::More,
    }
}

/// A frame ends before its second flag, which may be the first of the next.
fn stuffed(bytes: &[u8], flag: u8, bytes_max: usize) -> Look {
    let mut flags = bytes.iter().enumerate().filter(|(_, byte)| **byte == flag).map(|(at, _)| at);
    match (flags.next(), flags.next()) {
        (None, _) => Look::Skip(bytes.len()),
        (Some(1..), _) => Look::Skip(bytes.iter().position(|byte| *byte == flag).unwrap_or(bytes.len())),
        (Some(0), Some(1)) => Look::Pass(1),
        // Each byte may be escaped.
        (Some(0), Some(at)) if at <= bytes_max.saturating_mul(2) => Look::Frame(at),
        (Some(0), Some(at)) => Look::Skip(at),
        (Some(0), None) if bytes.len() > bytes_max.saturating_mul(2) => Look::Skip(bytes.len()),
        (Some(0), None) => Look::More,
    }
}

/// Where the first place is at which `mark` stands, or may stand when more bytes are there.
fn beginning(bytes: &[u8], mark: &[u8]) -> usize {
    let Some(first) = mark.first() else { return 0 };
    let mut at: usize = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(next) = rest.iter().position(|byte| byte == first) else { return bytes.len() };
        at = at.saturating_add(next);
        let rest = bytes.get(at..).unwrap_or_default();
        let seen = rest.len().min(mark.len());
        if rest.get(..seen) == mark.get(..seen) {
            return at;
        }
        at = at.saturating_add(1);
    }
    bytes.len()
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len().max(1)).position(|window| window == mark)
}
