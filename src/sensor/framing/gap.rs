//! Frames that silence ends.

use std::time::Duration;

use super::Frame;
use crate::time::Mono;

/// Collects bytes until none came for a while. Keeps at most `bytes_max` of them.
#[derive(Debug)]
pub(super) struct Gap {
    idle: Duration,
    bytes_max: usize,
    kept: Vec<u8>,
    /// When the last byte came, since the last silence.
    last: Option<Mono>,
    /// The frame is too long, was told, and is skipped up to the silence.
    skipping: bool,
}

impl Gap {
    pub(super) fn new(idle: Duration, bytes_max: usize) -> Self {
        Self { idle, bytes_max, kept: Vec::new(), last: None, skipping: false }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(super) fn reset(&mut self) {
        self.kept.clear();
        self.last = None;
        self.skipping = false;
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.last.map(|last| last + self.idle)
    }

    pub(super) fn tick(&mut self, now: Mono, mut take: impl FnMut(Frame<'_>)) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if !self.skipping && !self.kept.is_empty() {
            take(Frame::Packet(&self.kept));
        }
        self.reset();
    }

    pub(super) fn push(&mut self, now: Mono, input: &[u8], mut take: impl FnMut(Frame<'_>)) {
        self.tick(now, &mut take);
        if input.is_empty() {
            return;
        }
        self.last = Some(now);
        if self.skipping {
            return;
        }
        let room = self.bytes_max.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(input.get(..room).unwrap_or(input));
        if input.len() > room {
            take(Frame::TooLong { start: &self.kept });
            self.skipping = true;
            self.kept.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_ends_a_frame_and_a_longer_one_is_told_once() {
        let mut gap = Gap::new(Duration::from_millis(20), 4);
        let at = |ms: u64| Mono::ZERO + Duration::from_millis(ms);
        let mut found = Vec::new();
        let mut take = |frame: Frame<'_>| {
            found.push(match frame {
                Frame::Packet(bytes) => bytes.to_vec(),
                Frame::TooLong { start } => [b"!", start].concat(),
                other => panic!("{other:?}"),
            });
        };
        assert_eq!(gap.deadline(), None);
        gap.push(at(0), b"ab", &mut take);
        gap.push(at(19), b"c", &mut take);
        assert_eq!(gap.deadline(), Some(at(39)));
        gap.tick(at(38), &mut take);
        gap.tick(at(39), &mut take);
        assert_eq!(gap.deadline(), None);
        // The timer came late: the next bytes see the silence too.
        gap.push(at(100), b"de", &mut take);
        gap.push(at(120), b"f", &mut take);
        gap.push(at(121), b"ghijk", &mut take);
        gap.push(at(122), b"lmnop", &mut take);
        gap.push(at(142), b"q", &mut take);
        gap.tick(at(200), &mut take);
        gap.push(at(201), b"r", &mut take);
        gap.reset();
        gap.tick(at(300), &mut take);
        let expected: [&[u8]; 4] = [b"abc", b"de", b"!fghi", b"q"];
        assert_eq!(found, expected);
    }
}
