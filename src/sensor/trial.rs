//! One device on its own, to try what its config makes of captured bytes: every frame, whatever becomes of it. The
//! same framer, decoder and points as in a running gateway, without a port around them.

use super::config::{DeviceConfig, Points};
use super::decode::Decoder;
use super::device;
use super::fault::LineError;
use super::framing::{Frame, Framer};
use crate::reading::Sample;
use crate::time::Mono;

/// What a piece of the capture is.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece<'a> {
    /// A frame whose check, if it has one, is right; with its values, or why it has none.
    Frame {
        /// The frame.
        bytes: &'a [u8],
        /// Its values in the order of the points, or what was wrong.
        values: Result<Vec<Sample>, String>,
    },
    /// A frame that is none: its check is wrong, or it is too long.
    Bad {
        /// Its bytes; of one that is too long the first.
        bytes: &'a [u8],
        /// What was wrong.
        error: String,
    },
    /// Bytes that belong to no frame.
    Skipped(&'a [u8]),
}

/// A device that is tried.
#[derive(Debug)]
pub struct Trial {
    framer: Framer,
    decoder: Decoder,
    points: Points,
}

impl Trial {
    /// A device of this config.
    #[must_use]
    pub fn new(config: &DeviceConfig) -> Self {
        Self {
            framer: Framer::new(&config.framing, config.check),
            decoder: Decoder::new(&config.decode, &config.points),
            points: config.points.clone(),
        }
    }

    /// Takes bytes that came at this time.
    pub fn push(&mut self, now: Mono, bytes: &[u8], mut take: impl FnMut(Piece<'_>)) {
        let Self { framer, decoder, points } = self;
        let max = framer.bytes_max();
        framer.push(now, bytes, |frame| take(piece(decoder, points, frame, max)));
    }

    /// The capture is over: so is the silence that may have ended a frame.
    pub fn finish(&mut self, mut take: impl FnMut(Piece<'_>)) {
        let Self { framer, decoder, points } = self;
        let max = framer.bytes_max();
        if let Some(deadline) = framer.deadline() {
            framer.tick(deadline, |frame| take(piece(decoder, points, frame, max)));
        }
    }
}

fn piece<'a>(decoder: &Decoder, points: &Points, frame: Frame<'a>, max: usize) -> Piece<'a> {
    match frame {
        Frame::Line(bytes) | Frame::Packet(bytes) => {
            let values = device::samples(decoder, points, &[], bytes).map_err(|error| error.to_string());
            Piece::Frame { bytes, values }
        }
        Frame::BadCheck { frame: bytes, failure } => {
            Piece::Bad { bytes, error: LineError::Check(failure).to_string() }
        }
        Frame::Fault { bytes, fault } => Piece::Bad { bytes, error: LineError::Codec(fault).to_string() },
        Frame::TooLong { start } => {
            Piece::Bad { bytes: start, error: LineError::TooLong { max }.to_string() }
        }
        Frame::Skipped { bytes, .. } => Piece::Skipped(bytes),
    }
}
