//! A byte stream to frames: where one begins and ends, whether its check is right, and how long it may be. What a
//! frame means is not its business.
//!
//! What is no frame is looked through again from its second byte on, so that no good frame behind a damaged one is
//! lost. Lines and gaps need no such care: their ends can't be mistaken.

mod gap;
mod line;
mod shape;
mod window;

use super::check::{CheckConfig, CheckFailure};
use super::codec::{self, Codec, Fault};
use super::config::FramingConfig;
use crate::time::Mono;

use gap::Gap;
use line::Lines;
use window::Window;

/// Cuts one port's bytes into frames. Holds at most one unfinished frame.
#[derive(Debug)]
pub(super) struct Framer {
    rule: Rule,
    /// What it was made from, for [`Framer::widen`].
    config: FramingConfig,
    check: Option<CheckConfig>,
}

#[derive(Debug)]
enum Rule {
    Lines(Lines),
    Gap(Gap),
    Window(Box<Window>),
    Codec(Box<Codec>),
}

/// What the framer finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A line without its end; never empty, since an empty line is no line.
    Line(&'a [u8]),
    /// Any other frame, whole, with what marks its beginning and end; without flags and escapes where it is stuffed.
    Packet(&'a [u8]),
    /// A frame that is longer than the bound, told once, when that is known; with its beginning.
    TooLong {
        /// Its first bytes, at most the bound.
        start: &'a [u8],
    },
    /// A frame whose check is wrong.
    BadCheck {
        /// The frame.
        frame: &'a [u8],
        /// What was wrong.
        failure: CheckFailure,
    },
    /// What a protocol's codec tells as bad.
    Fault {
        /// The bytes.
        bytes: &'a [u8],
        /// What is wrong with them.
        fault: Fault,
    },
    /// Bytes that belong to no frame.
    Skipped {
        /// The bytes.
        bytes: &'a [u8],
        /// They are the rest of a frame that was told as bad, or of the one that was under way when the port opened.
        expected: bool,
    },
}

impl Framer {
    pub(super) fn new(config: &FramingConfig, check: Option<CheckConfig>) -> Self {
        let rule = match config {
            FramingConfig::Line { end, bytes_max } => Rule::Lines(Lines::new(end.clone(), *bytes_max)),
            FramingConfig::Gap { idle, bytes_max } => Rule::Gap(Gap::new(*idle, *bytes_max)),
            FramingConfig::Codec(kind) => Rule::Codec(Box::new(Codec::new(*kind))),
            other => Rule::Window(Box::new(Window::new(other, check))),
        };
        Self { rule, config: config.clone(), check }
    }

    /// The longest frame that passes.
    pub(super) fn bytes_max(&self) -> usize {
        match &self.rule {
            Rule::Lines(lines) => lines.bytes_max(),
            Rule::Gap(gap) => gap.bytes_max(),
            Rule::Window(window) => window.bytes_max(),
            Rule::Codec(_) => codec::FRAME_BYTES_MAX,
        }
    }

    /// Takes frames of another device too, if they are cut alike. Of lines the longer bound holds here, each device
    /// minds its own.
    pub(super) fn widen(&mut self, config: &FramingConfig, check: Option<CheckConfig>) -> bool {
        if self.check != check {
            return false;
        }
        match (&mut self.rule, config) {
            (Rule::Lines(lines), FramingConfig::Line { end, bytes_max }) => lines.widen(end, *bytes_max),
            _ => self.config == *config,
        }
    }

    /// Forgets what is unfinished: the port was opened anew.
    pub(super) fn reset(&mut self) {
        match &mut self.rule {
            Rule::Lines(lines) => lines.reset(),
            Rule::Gap(gap) => gap.reset(),
            Rule::Window(window) => window.reset(),
            Rule::Codec(codec) => codec.reset(),
        }
    }

    /// Takes bytes and hands out each frame that they complete. But for gaps, how the stream is cut into inputs makes
    /// no difference to the frames.
    pub(super) fn push(&mut self, now: Mono, input: &[u8], mut take: impl FnMut(Frame<'_>)) {
        let check = self.check;
        match &mut self.rule {
            Rule::Lines(lines) => lines.push(input, |frame| take(checked(check.as_ref(), frame))),
            Rule::Gap(gap) => gap.push(now, input, |frame| take(checked(check.as_ref(), frame))),
            Rule::Window(window) => window.push(input, take),
            Rule::Codec(codec) => codec.push(input, |found| {
                take(match found {
                    Ok(frame) => Frame::Packet(frame),
                    Err((fault, bytes)) => Frame::Fault { bytes, fault },
                });
            }),
        }
    }

    /// Hands out the frame that the silence up to now has ended.
    pub(super) fn tick(&mut self, now: Mono, mut take: impl FnMut(Frame<'_>)) {
        let check = self.check;
        if let Rule::Gap(gap) = &mut self.rule {
            gap.tick(now, |frame| take(checked(check.as_ref(), frame)));
        }
    }

    /// Memory held for the unfinished frame.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        match &self.rule {
            Rule::Lines(lines) => lines.capacity(),
            Rule::Gap(gap) => gap.bytes_max(),
            Rule::Window(window) => window.capacity(),
            Rule::Codec(_) => codec::FRAME_BYTES_MAX,
        }
    }

    /// When silence ends a frame.
    pub(super) fn deadline(&self) -> Option<Mono> {
        match &self.rule {
            Rule::Gap(gap) => gap.deadline(),
            Rule::Lines(_) | Rule::Window(_) | Rule::Codec(_) => None,
        }
    }
}

fn checked<'a>(check: Option<&CheckConfig>, found: Frame<'a>) -> Frame<'a> {
    match (check, found) {
        (Some(check), Frame::Line(frame) | Frame::Packet(frame)) => match check.verify(frame) {
            Ok(()) => found,
            Err(failure) => Frame::BadCheck { frame, failure },
        },
        _ => found,
    }
}
