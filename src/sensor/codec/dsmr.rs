//! DSMR P1 telegrams: `/` identification, an empty line, objects, `!` and the CRC, CR LF.
//!
//! Version 4 and later end with CRC-16/ARC of everything from `/` to `!`; some meters leave its leading zeros out.
//! Versions 2 and 3 have none. So a telegram without CRC is taken only if it doesn't say that it is of a later version,
//! if no telegram with a right CRC ever came from this port, and if each of its lines is an object.
//! Fields: see `obis` and `obis_names`; `identification` is the first line.

use std::borrow::Cow;

use crc::{CRC_16_ARC, Crc};

use super::super::decode::Raw;
use super::stream::{self, Step};
use super::{Fault, Fields, obis};

/// Telegrams of today have up to 2 kB; those with a log of monthly peaks some more.
const TELEGRAM_BYTES_MAX: usize = super::FRAME_BYTES_MAX;

const ARC: Crc<u16> = Crc::<u16>::new(&CRC_16_ARC);

/// The lines of version 4 and later that say so.
const LATER: [&str; 2] = ["1-3:0.2.8(", "0-0:96.1.4("];

/// Finds telegrams.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// A telegram with a right CRC came: those without are damaged.
    has_crc: bool,
}

impl stream::Scan for Scan {
    const BYTES_MAX: usize = TELEGRAM_BYTES_MAX;

    fn reset(&mut self) {
        self.has_crc = false;
    }

    fn scan(&mut self, bytes: &[u8]) -> Step {
        let end = match ends(bytes) {
            Ok(end) => end,
            Err(step) => return step,
        };
        let (text, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        let digits = rest.iter().take(4).take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits < 4 && !matches!(rest.get(digits), Some(b'\r' | b'\n')) {
            if rest.len() <= digits {
                return Step::Wait;
            }
            return Step::Bad { fault: Fault::Malformed { what: "no CRC behind the !" }, len: end };
        }
        let step = Step::Frame { len: end.saturating_add(digits), content: 0..end };
        let sent = rest.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok());
        let fault = match sent.filter(|sent| !sent.is_empty()) {
            Some(sent) => {
                let (sent, found) = (u16::from_str_radix(sent, 16).unwrap_or_default(), ARC.checksum(text));
                if sent == found {
                    self.has_crc = true;
                    return step;
                }
                Fault::Check { what: "CRC", sent: u32::from(sent), found: u32::from(found) }
            }
            None => match unchecked(text) {
                Ok(()) if !self.has_crc => return step,
                Ok(()) => Fault::NoCheck { what: "CRC" },
                Err(fault) => fault,
            },
        };
        Step::Bad { fault, len: end }
    }
}

/// The length of what begins with `/` and ends with `!`, both at the beginning of a line.
pub(super) fn ends(bytes: &[u8]) -> Result<usize, Step> {
    match bytes.iter().position(|&byte| byte == b'/') {
        None => return Err(Step::Skip(bytes.len())),
        Some(0) => {}
        Some(start) => return Err(Step::Skip(start)),
    }
    // The maker's three letters come first.
    let maker = bytes.get(1..4).unwrap_or(bytes.get(1..).unwrap_or_default());
    if !maker.iter().all(u8::is_ascii_alphanumeric) {
        return Err(Step::Skip(1));
    }
    let is_start = |pair: &[u8]| matches!(pair, [b'\r' | b'\n', b'/' | b'!']);
    let Some(at) = bytes.windows(2).position(is_start) else { return Err(Step::Wait) };
    let at = at.saturating_add(1);
    if bytes.get(at) == Some(&b'/') {
        return Err(Step::Bad { fault: Fault::Cut, len: at });
    }
    Ok(at.saturating_add(1))
}

/// A telegram that has no CRC must be right in every line.
fn unchecked(telegram: &[u8]) -> Result<(), Fault> {
    let (_, body) = parts(telegram)?;
    if LATER.iter().any(|line| body.contains(line)) {
        return Err(Fault::NoCheck { what: "CRC" });
    }
    let objects = obis::objects(body)?;
    if objects.is_empty() { Err(Fault::Malformed { what: "no objects" }) } else { Ok(()) }
}

/// The identification and the objects' lines.
fn parts(telegram: &[u8]) -> Result<(&str, &str), Fault> {
    let text = std::str::from_utf8(telegram).ok().filter(|text| text.is_ascii());
    let text = text.ok_or(Fault::Malformed { what: "not ASCII" })?;
    let body = text.strip_prefix('/').and_then(|text| text.strip_suffix('!'));
    let split = body.and_then(|body| body.split_once(['\r', '\n']));
    split.ok_or(Fault::Malformed { what: "no identification" })
}

/// The fields of a telegram from `/` to `!`.
pub(super) fn decode<'a>(frame: &'a [u8], fields: &mut Fields<'a>) -> Result<(), Fault> {
    let (identification, body) = parts(frame)?;
    fields.detail("identification", Raw::String(Cow::Borrowed(identification)));
    obis::put_all(&obis::objects(body)?, fields);
    Ok(())
}
