//! IEC 62056-21 readouts: mode C's data block (STX, objects, `!`, CR LF, ETX, BCC) and mode D's telegram (`/`
//! identification, objects, `!`), which has no check.
//!
//! The BCC is the XOR of everything behind STX up to ETX. It finds every change of one byte, and lets one in 256 of
//! heavier damages pass (one in 128 with 7 data bits); so each line must be an object too. How a readout is asked for is
//! `iec62056_session`'s business. Fields: see `obis` and `obis_names`.

use std::borrow::Cow;

use super::super::decode::Raw;
use super::stream::{self, Step};
use super::{Fault, Fields, dsmr, obis};

const STX: u8 = 0x02;
const ETX: u8 = 0x03;

/// Load profiles aside, a readout has some kilobytes; the slowest meter needs 27 s for one of these.
const READOUT_BYTES_MAX: usize = super::FRAME_BYTES_MAX;

/// Finds readouts.
#[derive(Debug)]
pub(super) struct Scan;

impl stream::Scan for Scan {
    const BYTES_MAX: usize = READOUT_BYTES_MAX;

    fn scan(&mut self, bytes: &[u8]) -> Step {
        match bytes.iter().position(|byte| matches!(byte, &STX | b'/')) {
            None => Step::Skip(bytes.len()),
            Some(0) if bytes.first() == Some(&STX) => block(bytes),
            Some(0) => telegram(bytes),
            Some(start) => Step::Skip(start),
        }
    }
}

/// Mode C.
fn block(bytes: &[u8]) -> Step {
    let body = bytes.get(1..).unwrap_or_default();
    let Some(end) = body.iter().position(|&byte| matches!(byte, STX | ETX)) else { return Step::Wait };
    let len = end.saturating_add(2);
    if body.get(end) == Some(&STX) {
        return Step::Bad { fault: Fault::Cut, len: len.saturating_sub(1) };
    }
    let Some(&sent) = bytes.get(len) else { return Step::Wait };
    let found = body.iter().take(end.saturating_add(1)).fold(0, |sum, byte| sum ^ byte);
    let fault = match body.get(..end).map(lines) {
        _ if sent != found => Fault::Check { what: "BCC", sent: u32::from(sent), found: u32::from(found) },
        Some(Err(fault)) => fault,
        _ => return Step::Frame { len: len.saturating_add(1), content: 1..end.saturating_add(1) },
    };
    Step::Bad { fault, len }
}

/// Mode D, or the identification before a block of mode C.
fn telegram(bytes: &[u8]) -> Step {
    // `/LGZ0ZCF100AC.MXX` CR LF STX: the block is what counts.
    if let Some(end) = bytes.iter().position(|&byte| matches!(byte, STX | b'!'))
        && bytes.get(end) == Some(&STX)
    {
        return Step::Skip(end);
    }
    let end = match dsmr::ends(bytes) {
        Ok(end) => end,
        Err(step) => return step,
    };
    match bytes.get(..end).map(lines) {
        Some(Err(fault)) => Step::Bad { fault, len: end },
        _ => Step::Frame { len: end, content: 0..end },
    }
}

/// The objects; each line must be one.
fn lines(readout: &[u8]) -> Result<(), Fault> {
    decode(readout, &mut Fields::default())
}

/// The fields of a readout: a block's text, or a telegram from `/` to `!`.
pub(super) fn decode<'a>(frame: &'a [u8], fields: &mut Fields<'a>) -> Result<(), Fault> {
    let text = std::str::from_utf8(frame).ok().filter(|text| text.is_ascii());
    let text = text.ok_or(Fault::Malformed { what: "not ASCII" })?;
    let text = text.trim_end().strip_suffix('!').ok_or(Fault::Malformed { what: "no ! at its end" })?;
    let body = match text.strip_prefix('/') {
        None => text,
        Some(text) => {
            let (identification, body) = text.split_once(['\r', '\n']).unwrap_or((text, ""));
            fields.detail("identification", Raw::String(Cow::Borrowed(identification)));
            body
        }
    };
    let objects = obis::objects(body)?;
    if objects.is_empty() {
        return Err(Fault::Malformed { what: "no objects" });
    }
    obis::put_all(&objects, fields);
    Ok(())
}
