//! Modbus on a serial line: unit, PDU, CRC; how long the line is silent between frames; and an answer found among whatever
//! else stands on the line. Pure: bytes in, a verdict out.

use std::time::Duration;

use crc::{CRC_16_MODBUS, Crc};

use super::pdu::{Answer, Request};

/// The longest frame (MSL 2.5.1): unit, 253 bytes of PDU, CRC.
pub const FRAME_BYTES_MAX: usize = 256;

/// The shortest answer: unit, function, exception, CRC.
const EXCEPTION_BYTES: usize = 5;

/// Above this rate the silences are fixed (MSL 2.5.1.1).
const BAUD_OF_FIXED_SILENCE: u32 = 19_200;
/// The fixed silence between frames.
const FIXED_SILENCE: Duration = Duration::from_micros(1_750);

static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);

/// CRC-16/MODBUS as it is sent: low byte first.
#[must_use]
pub fn crc(bytes: &[u8]) -> [u8; 2] {
    CRC.checksum(bytes).to_le_bytes()
}

/// A frame: unit, PDU, CRC.
#[must_use]
pub fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(pdu.len().saturating_add(3));
    bytes.push(unit);
    bytes.extend_from_slice(pdu);
    let crc = crc(&bytes);
    bytes.extend_from_slice(&crc);
    bytes
}

/// Whether the last two bytes are the CRC of those before.
#[must_use]
pub fn is_intact(frame: &[u8]) -> bool {
    frame.split_last_chunk::<2>().is_some_and(|(body, sent)| crc(body) == *sent)
}

/// How fast a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRate {
    /// Bits per second.
    pub baud: u32,
    /// Bits of a character with start, parity and stop bits: 7 to 12.
    pub character_bits: u32,
}

impl LineRate {
    /// How long so many bytes are on the wire.
    #[must_use]
    pub fn time_of(self, bytes: usize) -> Duration {
        let bits = u64::from(self.character_bits).saturating_mul(u64::try_from(bytes).unwrap_or(u64::MAX));
        let nanos = u128::from(bits).saturating_mul(1_000_000_000) / u128::from(self.baud.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The silence before a frame: 3.5 characters, 1.75 ms above 19200 baud (MSL 2.5.1.1).
    #[must_use]
    pub fn silence(self) -> Duration {
        if self.baud > BAUD_OF_FIXED_SILENCE {
            FIXED_SILENCE
        } else {
            // 3.5 characters are 7 halves.
            self.time_of(7) / 2
        }
    }
}

/// What stands in the bytes that came after a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// Nothing yet that may be the answer, or only its beginning.
    Nothing,
    /// The answer.
    Found {
        /// The answer.
        answer: Answer,
        /// Whether what was sent stood before it: the line echoes.
        echoed: bool,
        /// Where it begins among the bytes.
        start: usize,
        /// Where it ends.
        end: usize,
    },
}

/// Looks for the answer to a request, at each byte anew, so that noise, an echo or a frame of somebody else before it costs
/// nothing but its time. `sent` is what was sent; with `echo` the line is known to repeat it.
#[must_use]
pub fn search(request: &Request, unit: u8, sent: &[u8], echo: bool, bytes: &[u8]) -> Search {
    let echoed = bytes.starts_with(sent);
    // A write's echo looks like its answer: where the line echoes, the first one is not.
    if echo && !echoed && sent.starts_with(bytes) {
        return Search::Nothing;
    }
    let from = if echo && echoed { sent.len() } else { 0 };
    for at in from..bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        if let Some((answer, len)) = answer_at(request, unit, rest) {
            // Coils may be asked for in words that read as an answer: of a read, its own echo is never taken for one.
            let is_own = !request.is_write() && rest.starts_with(sent);
            if !is_own {
                let echoed = echoed && at >= sent.len();
                return Search::Found { answer, echoed, start: at, end: at.saturating_add(len) };
            }
        }
    }
    Search::Nothing
}

/// The answer that begins with the first byte, and its length.
fn answer_at(request: &Request, unit: u8, bytes: &[u8]) -> Option<(Answer, usize)> {
    if bytes.first() != Some(&unit) {
        return None;
    }
    let function = *bytes.get(1)?;
    let is_exception = function != request.function();
    let len = if is_exception { EXCEPTION_BYTES } else { request.answer_len().saturating_add(3) };
    let frame = bytes.get(..len)?;
    let pdu = frame.get(1..len.saturating_sub(2))?;
    let answer = request.answer(pdu)?;
    is_intact(frame).then_some((answer, len))
}

/// Whether the bytes hold, at any place, what looks like the answer but for its CRC: then the line is disturbed, which is
/// another fault than silence.
#[must_use]
pub fn has_damaged_answer(request: &Request, unit: u8, bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| {
        let Some(rest) = bytes.get(at..) else { return false };
        let len = request.answer_len().saturating_add(3);
        rest.first() == Some(&unit)
            && rest.len() >= len
            && rest.get(1) == Some(&request.function())
            && rest.get(1..len).is_some_and(|pdu| request.is_answer_start(pdu))
    })
}

#[cfg(test)]
mod tests;
