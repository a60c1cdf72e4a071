//! The search for frames in a stream: a buffer, and a scan that looks at its beginning again and again. What a frame
//! looks like is the scan's business.

use std::ops::Range;

use super::{Fault, Take};

/// What stands at the beginning of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes, at least one, that belong to no frame.
    Skip(usize),
    /// Perhaps a frame; more bytes will tell.
    Wait,
    /// A frame whose check is right.
    Frame {
        /// All of its bytes.
        len: usize,
        /// What of it is handed out.
        content: Range<usize>,
    },
    /// A good frame that carries nothing, such as an acknowledgement.
    Nothing {
        /// All of its bytes.
        len: usize,
    },
    /// What looked like a frame is none: told, and searched again from its second byte.
    Bad {
        /// Why.
        fault: Fault,
        /// The bytes that are shown.
        len: usize,
    },
}

/// Looks for a protocol's frame.
pub(super) trait Scan {
    /// The longest frame. Also the memory that a stream needs, beside one input.
    const BYTES_MAX: usize;

    /// Looks at the beginning of `bytes`, which is not empty.
    fn scan(&mut self, bytes: &[u8]) -> Step;

    /// The port was opened anew.
    fn reset(&mut self) {}
}

/// The bytes from which no frame was cut yet.
#[derive(Debug)]
pub(super) struct Stream<S> {
    scan: S,
    kept: Vec<u8>,
    /// Bytes without a frame since the last one.
    noise: usize,
}

impl<S: Scan> Stream<S> {
    pub(super) fn new(scan: S) -> Self {
        Self { scan, kept: Vec::new(), noise: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.kept = Vec::new();
        self.noise = 0;
        self.scan.reset();
    }

    /// Memory held for what is unfinished.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.kept.capacity()
    }

    pub(super) fn push(&mut self, bytes: &[u8], take: &mut Take<'_>) {
        // In pieces, so that the buffer never holds more than two of the longest frames.
        for piece in bytes.chunks(S::BYTES_MAX.max(1)) {
            self.kept.extend_from_slice(piece);
            self.search(take);
        }
    }

    fn search(&mut self, take: &mut Take<'_>) {
        let mut at = 0_usize;
        while let Some(rest) = self.kept.get(at..).filter(|rest| !rest.is_empty()) {
            let step = match self.scan.scan(rest) {
                Step::Wait if rest.len() >= S::BYTES_MAX => {
                    Step::Bad { fault: Fault::TooLong { max: S::BYTES_MAX }, len: rest.len() }
                }
                step => step,
            };
            let used = match step {
                Step::Wait => break,
                Step::Skip(len) => {
                    self.noise = self.noise.saturating_add(len);
                    if self.noise >= S::BYTES_MAX {
                        take(Err((Fault::NoFrame { bytes: self.noise }, rest)));
                        self.noise = 0;
                    }
                    len
                }
                Step::Frame { len, content } => {
                    self.noise = 0;
                    take(Ok(rest.get(content).unwrap_or_default()));
                    len
                }
                Step::Nothing { len } => {
                    self.noise = 0;
                    len
                }
                Step::Bad { fault, len } => {
                    self.noise = 0;
                    take(Err((fault, rest.get(..len).unwrap_or(rest))));
                    1
                }
            };
            at = at.saturating_add(used.max(1));
        }
        self.kept.drain(..at.min(self.kept.len()));
        if self.kept.is_empty() && self.kept.capacity() > S::BYTES_MAX {
            self.kept = Vec::new();
        }
    }
}
