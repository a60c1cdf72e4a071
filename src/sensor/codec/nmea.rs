//! NMEA 0183: `$` talker and type, fields between commas, `*` and the XOR of all between, CR LF.
//!
//! The standard allows 82 characters; receivers send longer ones, so 1,024 are taken here. Which field means what is
//! `nmea_sentences`' business.

use super::stream::{self, Step};
use super::{Fault, Fields, nmea_sentences};

/// Longer than any that was seen (203 bytes), as short as a bound can be.
const SENTENCE_BYTES_MAX: usize = 1_024;

/// Finds sentences.
#[derive(Debug)]
pub(super) struct Scan {
    /// Takes sentences without a checksum.
    pub(super) bare: bool,
}

impl stream::Scan for Scan {
    const BYTES_MAX: usize = SENTENCE_BYTES_MAX;

    fn scan(&mut self, bytes: &[u8]) -> Step {
        match bytes.iter().position(|&byte| byte == b'$') {
            None => return Step::Skip(bytes.len()),
            Some(0) => {}
            Some(start) => return Step::Skip(start),
        }
        let body = bytes.get(1..).unwrap_or_default();
        let Some(end) = body.iter().position(|&byte| matches!(byte, b'\r' | b'\n' | b'$')) else {
            return Step::Wait;
        };
        let len = end.saturating_add(1);
        if body.get(end) == Some(&b'$') {
            return Step::Bad { fault: Fault::Cut, len };
        }
        match check(body.get(..end).unwrap_or_default(), self.bare) {
            // Without the end of line: an LF behind the CR is skipped as noise.
            Ok(content) => Step::Frame { len: len.saturating_add(1), content: 1..content.saturating_add(1) },
            Err(fault) => Step::Bad { fault, len },
        }
    }
}

/// The length of the sentence in front of its checksum.
fn check(body: &[u8], bare: bool) -> Result<usize, Fault> {
    let what = "checksum";
    if !body.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(Fault::Malformed { what: "not ASCII" });
    }
    let Some(star) = body.iter().rposition(|&byte| byte == b'*') else {
        return if bare { Ok(body.len()) } else { Err(Fault::NoCheck { what }) };
    };
    let (sentence, digits) = body.split_at_checked(star).unwrap_or((body, &[]));
    let digits = digits.get(1..).unwrap_or_default();
    let sent = std::str::from_utf8(digits).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
    let Some(sent) = sent.filter(|_| digits.len() == 2 && !digits.starts_with(b"+")) else {
        return Err(Fault::Malformed { what: "the checksum is not two hexadecimal digits" });
    };
    let found = sentence.iter().fold(0, |sum, byte| sum ^ byte);
    if sent == found {
        Ok(star)
    } else {
        Err(Fault::Check { what, sent: u32::from(sent), found: u32::from(found) })
    }
}

/// The fields of a sentence without `$` and checksum. A sentence that isn't known has none.
pub(super) fn decode<'a>(frame: &'a [u8], fields: &mut Fields<'a>) -> Result<(), Fault> {
    let text = std::str::from_utf8(frame).map_err(|_| Fault::Malformed { what: "not ASCII" })?;
    let mut columns = text.split(',');
    let address = columns.next().unwrap_or_default();
    let columns: Vec<&str> = columns.map(str::trim).collect();
    // A proprietary address begins with P and the maker's code.
    let (talker, kind) = match address.strip_prefix('P') {
        Some(_) => ("P", address),
        None => address.split_at_checked(2).unwrap_or(("", address)),
    };
    nmea_sentences::decode(talker, kind, &nmea_sentences::Columns(&columns), fields);
    Ok(())
}
