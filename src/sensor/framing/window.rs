//! Frames that are found by looking: the bytes at hand are held until it is plain what they are, and what is no frame
//! is looked through again from its second byte on.

use super::Frame;
use super::shape::{Look, Shape};
use crate::sensor::check::CheckConfig;
use crate::sensor::config::FramingConfig;

/// Bytes that are taken in at once: they come on top of what is held.
const PIECE_BYTES: usize = 1024;

/// The bytes that may become a frame. Holds at most twice the longest frame (where each byte may be escaped) and a
/// piece of input.
#[derive(Debug)]
pub(super) struct Window {
    shape: Shape,
    bytes_max: usize,
    check: Option<CheckConfig>,
    kept: Vec<u8>,
    /// A frame without its escapes.
    body: Vec<u8>,
    /// How many of the bytes kept belong to a frame that was told as bad.
    told: usize,
    /// Bytes that may still be skipped as the rest of the frame that was under way when the port opened.
    grace: usize,
}

impl Window {
    pub(super) fn new(config: &FramingConfig, check: Option<CheckConfig>) -> Self {
        // Lines and gaps have framers of their own; nothing is ever looked for here in their name.
        let nothing = || (Shape::Stuffed { flag: 0, escape: 0, xor: 0, length: None }, 0);
        let (shape, bytes_max) = Shape::new(config).unwrap_or_else(nothing);
        let (kept, body) = (Vec::new(), Vec::new());
        Self { shape, bytes_max, check, kept, body, told: 0, grace: bytes_max }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(super) fn reset(&mut self) {
        self.kept.clear();
        self.told = 0;
        self.grace = self.bytes_max;
    }

    pub(super) fn push(&mut self, input: &[u8], mut take: impl FnMut(Frame<'_>)) {
        for piece in input.chunks(PIECE_BYTES) {
            self.kept.extend_from_slice(piece);
            self.scan(&mut take);
        }
    }

    fn scan(&mut self, take: &mut impl FnMut(Frame<'_>)) {
        // Bytes before `noise` are done with; those from there to `at` belong to no frame.
        let (mut noise, mut at) = (0_usize, 0_usize);
        while let Some(rest) = self.kept.get(at..).filter(|rest| !rest.is_empty()) {
            match self.shape.look(rest, self.bytes_max) {
                Look::More => break,
                Look::Skip(bytes) => at = at.saturating_add(bytes),
                Look::Pass(bytes) => {
                    self.skipped(noise, at, take);
                    at = at.saturating_add(bytes);
                    noise = at;
                }
                Look::Frame(bytes) => {
                    let end = at.saturating_add(bytes);
                    if self.finish(noise, at, end, take) {
                        at = end;
                        noise = end;
                    } else {
                        at = at.saturating_add(1);
                    }
                }
            }
        }
        self.skipped(noise, at, take);
        self.kept.drain(..at.min(self.kept.len()));
        self.told = self.told.saturating_sub(at);
    }

    /// Hands out the frame from `at` to `end` if it is one.
    fn finish(&mut self, noise: usize, at: usize, end: usize, take: &mut impl FnMut(Frame<'_>)) -> bool {
        let raw = self.kept.get(at..end).unwrap_or_default();
        let is_frame = self.shape.unescape(raw, &mut self.body) && self.body.len() <= self.bytes_max;
        let failure = self.check.and_then(|check| check.verify(self.frame(at, end)).err());
        match failure {
            _ if !is_frame => return false,
            None => {
                self.skipped(noise, at, take);
                self.grace = 0;
                take(Frame::Packet(self.frame(at, end)));
                return true;
            }
            // What begins within a frame that was told as bad is a part of it, unless it turns out good.
            Some(_) if at < self.told => {}
            Some(failure) => take(Frame::BadCheck { frame: self.frame(at, end), failure }),
        }
        self.told = self.told.max(end);
        false
    }

    fn frame(&self, at: usize, end: usize) -> &[u8] {
        match self.shape {
            Shape::Stuffed { .. } => &self.body,
            _ => self.kept.get(at..end).unwrap_or_default(),
        }
    }

    fn skipped(&mut self, from: usize, to: usize, take: &mut impl FnMut(Frame<'_>)) {
        let Some(bytes) = self.kept.get(from..to).filter(|bytes| !bytes.is_empty()) else { return };
        // Line ends between telegrams are nothing that was lost.
        if matches!(self.shape, Shape::Telegram { .. }) && bytes.trim_ascii().is_empty() {
            return;
        }
        let expected = to <= self.told || bytes.len() <= self.grace;
        self.grace = self.grace.saturating_sub(bytes.len());
        take(Frame::Skipped { bytes, expected });
    }

    /// Memory held for the unfinished frame.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.kept.capacity().max(self.body.capacity())
    }
}

#[cfg(test)]
mod tests;
