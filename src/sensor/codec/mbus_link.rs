//! The link layer of wired M-Bus (EN 13757-2): frames in a stream, and the requests that a master sends.
//!
//! ```text
//! long    68 L L 68  C A CI data  sum 16      L counts from C to the data's end
//! short   10         C A          sum 16
//! single  E5
//! ```
//!
//! What stands in a long frame is `mbus`' business. Only answers are frames here: a converter may echo the request.

use super::Fault;
use super::stream::{self, Step};

/// The longest long frame: 6 bytes around 255.
pub(super) const FRAME_BYTES_MAX: usize = 261;

pub(super) const ACK: u8 = 0xe5;
const SHORT: u8 = 0x10;
pub(super) const LONG: u8 = 0x68;
const STOP: u8 = 0x16;

/// Answers have this in their control field, beside the bits for "access demand" and "data flow".
const RSP_UD: u8 = 0x08;
const RSP_UD_MASK: u8 = 0xcf;

/// Finds frames.
#[derive(Debug)]
pub(super) struct Scan;

impl stream::Scan for Scan {
    const BYTES_MAX: usize = FRAME_BYTES_MAX;

    fn scan(&mut self, bytes: &[u8]) -> Step {
        match bytes.first() {
            Some(&LONG) => long(bytes),
            Some(&SHORT) => match bytes.get(1..5) {
                Some(&[control, address, sum, STOP]) if sum == control.wrapping_add(address) => {
                    Step::Nothing { len: 5 }
                }
                Some(_) => Step::Skip(1),
                None => Step::Wait,
            },
            Some(&ACK) => Step::Nothing { len: 1 },
            _ => {
                let start = bytes.iter().position(|byte| matches!(byte, &LONG | &SHORT | &ACK));
                Step::Skip(start.unwrap_or(bytes.len()))
            }
        }
    }
}

fn long(bytes: &[u8]) -> Step {
    let Some(&[_, length, again, second]) = bytes.first_chunk::<4>() else { return Step::Wait };
    // A 68 within noise or data: not worth telling, unless the header is nearly right.
    if second != LONG {
        return Step::Skip(1);
    }
    if length != again || length < 3 {
        return Step::Bad {
            fault: Fault::Malformed { what: "two lengths that differ, or a length below 3" },
            len: 4,
        };
    }
    let end = usize::from(length).saturating_add(4);
    let len = end.saturating_add(2);
    let (Some(content), Some(&[sent, stop])) = (bytes.get(4..end), bytes.get(end..len)) else {
        return Step::Wait;
    };
    let found = content.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    if stop != STOP {
        return Step::Bad { fault: Fault::Malformed { what: "no stop byte at its end" }, len };
    }
    if sent != found {
        let fault = Fault::Check { what: "checksum", sent: u32::from(sent), found: u32::from(found) };
        return Step::Bad { fault, len };
    }
    match content.first() {
        Some(control) if control & RSP_UD_MASK == RSP_UD => Step::Frame { len, content: 4..end },
        _ => Step::Nothing { len },
    }
}

/// What a master asks of a slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Forget the state of the link; answered by E5. Sent before the first request.
    Reset,
    /// Send your values. `frame_count` alternates from one answered request to the next, so that a slave whose answer was
    /// lost sends it again.
    Values {
        /// The frame count bit.
        frame_count: bool,
    },
}

/// The bytes of a request to a primary address: 0 to 250, 253 for a slave that was selected, 254 for whoever is there.
#[must_use]
pub const fn request(address: u8, request: Request) -> [u8; 5] {
    let control: u8 = match request {
        Request::Reset => 0x40,
        Request::Values { frame_count: false } => 0x5b,
        Request::Values { frame_count: true } => 0x7b,
    };
    [SHORT, control, address, control.wrapping_add(address), STOP]
}

/// Sends data to a slave (the frame count bit clear); CI of a selection, low byte first.
const SND_UD: u8 = 0x53;
const SELECT: u8 = 0x52;

/// The address of whichever slave was selected.
pub(super) const SELECTED: u8 = 253;

/// The bytes that select the slaves with this secondary address: identification, maker, version and medium as they stand in
/// an answer. Answered by E5; whoever isn't meant is selected no more.
#[must_use]
pub fn select(secondary: [u8; 8]) -> Vec<u8> {
    let mut content = vec![SND_UD, SELECTED, SELECT];
    content.extend(secondary);
    long_frame(&content)
}

/// A long frame around control field, address and data. What is longer than 255 bytes has no frame: it is cut.
pub(in crate::sensor) fn long_frame(content: &[u8]) -> Vec<u8> {
    let content = content.get(..255).unwrap_or(content);
    let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
    let sum = content.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let mut frame = vec![LONG, length, length, LONG];
    frame.extend(content);
    frame.extend([sum, STOP]);
    frame
}

/// The contents of long frames that stand one after the other, each from its control field to its last data byte.
pub(super) fn contents(mut frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = usize::from(*frames.get(1)?);
        let content = frames.get(4..length.saturating_add(4))?;
        frames = frames.get(length.saturating_add(6)..).unwrap_or_default();
        Some(content)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_standard() {
        assert_eq!(request(1, Request::Reset), [0x10, 0x40, 0x01, 0x41, 0x16]);
        assert_eq!(request(254, Request::Values { frame_count: false }), [0x10, 0x5b, 0xfe, 0x59, 0x16]);
        assert_eq!(request(5, Request::Values { frame_count: true }), [0x10, 0x7b, 0x05, 0x80, 0x16]);
        // The example of EN 13757-3, 11.3: the slave with the number 12345678, whoever made it.
        let selection = select([0x78, 0x56, 0x34, 0x12, 0xff, 0xff, 0xff, 0xff]);
        let head = [0x68, 11, 11, 0x68, 0x53, 0xfd, 0x52, 0x78, 0x56, 0x34, 0x12];
        assert_eq!(selection[..11], head);
        assert_eq!(selection[15..], [0xb2, 0x16]);
    }
}
