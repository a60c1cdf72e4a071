//! Bad lines of one source (a device, or a port that several share): counted each, told once per episode.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::check::CheckFailure;
use super::codec::Fault;
use super::port::Notice;
use crate::time::Mono;

/// An episode is over with the first good line after this long without a bad one. A sensor that prints a debug
/// line between good ones is one episode, not two log lines a second.
const EPISODE_QUIET: Duration = Duration::from_secs(10);

/// Bytes of a bad line that are shown.
const SAMPLE_BYTES: usize = 48;

/// The bad lines of one source.
#[derive(Debug)]
pub(super) struct Faults {
    source: Arc<str>,
    total: u64,
    last_error: Option<String>,
    episode: Option<Episode>,
}

#[derive(Debug)]
struct Episode {
    bad: u64,
    last: Mono,
}

impl Faults {
    pub(super) fn new(source: Arc<str>) -> Self {
        Self { source, total: 0, last_error: None, episode: None }
    }

    /// Since start.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// What was wrong with the last.
    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// A bad line.
    pub(super) fn bad(&mut self, now: Mono, error: &LineError, line: &[u8]) -> Option<Notice> {
        self.total = self.total.saturating_add(1);
        let error = error.to_string();
        self.last_error = Some(error.clone());
        if let Some(episode) = &mut self.episode {
            episode.bad = episode.bad.saturating_add(1);
            episode.last = now;
            return None;
        }
        self.episode = Some(Episode { bad: 1, last: now });
        Some(Notice::BadLines { source: self.source.clone(), error, sample: printable(line) })
    }

    /// A good line.
    pub(super) fn good(&mut self, now: Mono) -> Option<Notice> {
        let over = self.episode.take_if(|episode| now.since(episode.last) >= EPISODE_QUIET)?;
        Some(Notice::GoodAgain { source: self.source.clone(), bad: over.bad })
    }
}

/// Why a line is no reading. The damage is that line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LineError {
    /// Longer than the bound.
    TooLong {
        /// The bound.
        max: usize,
    },
    /// Its check is wrong.
    Check(CheckFailure),
    /// What its protocol's codec finds wrong.
    Codec(Fault),
    /// Bytes that are no frame.
    NoFrame {
        /// How many.
        bytes: usize,
    },
    /// A NUL inside of it.
    Nul {
        /// Bytes before it.
        at: usize,
    },
    /// Bytes that are no UTF-8.
    NotUtf8 {
        /// Bytes before the first of them.
        at: usize,
    },
    /// No JSON.
    NotJson {
        /// What was wrong.
        what: &'static str,
        /// Bytes before it.
        at: usize,
    },
    /// JSON, but no object.
    NotAnObject,
    /// No key with a value in it.
    NoPair {
        /// What stands between key and value.
        pair: char,
    },
    /// The regular expression doesn't match.
    NoMatch,
    /// No line of it has an OBIS code and a value in brackets.
    NoObis,
    /// It could not be read at all.
    Unread {
        /// Why.
        why: String,
    },
    /// None of the device's points is in it.
    NoPoint,
    /// Columns, but none of the device's points has a value in them.
    NoValue,
    /// Several devices share the port, and none of them takes it.
    NoTaker,
    /// Its beginning may be missing: it is the first after opening. Never told.
    MaybeCut,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { max } => write!(f, "longer than {max} bytes (is the line end right?)"),
            Self::Check(CheckFailure { kind, computed, found: Some(found) }) => {
                write!(f, "check {}: computed {computed:x}, found {found:x}", kind.name())
            }
            Self::Check(CheckFailure { kind, found: None, .. }) => {
                write!(f, "check {}: it has none", kind.name())
            }
            Self::Codec(fault) => fault.fmt(f),
            Self::NoFrame { bytes } => {
                write!(f, "{bytes} bytes that are no frame (are baud rate, parity and framing right?)")
            }
            Self::Nul { at } => write!(f, "a NUL after {at} bytes"),
            Self::NotUtf8 { at } => {
                write!(f, "not text after {at} bytes (are baud rate and parity right?)")
            }
            Self::NotJson { what, at } => write!(f, "not JSON: {what} after {at} bytes"),
            Self::NotAnObject => f.write_str("JSON, but not an object"),
            Self::NoPair { pair } => write!(f, "no key and value with \"{pair}\" between them"),
            Self::NoMatch => f.write_str("the pattern doesn't match"),
            Self::NoObis => f.write_str("no line has an OBIS code and a value in brackets"),
            Self::Unread { why } => write!(f, "it can't be read: {why}"),
            Self::NoPoint => f.write_str("none of the device's points is in it"),
            Self::NoValue => f.write_str("none of the device's columns is a value"),
            Self::NoTaker => f.write_str("none of the port's devices takes it"),
            Self::MaybeCut => f.write_str("its beginning may be missing"),
        }
    }
}

/// The first bytes of a line for people: what is not printable ASCII stands as `\x1b`.
fn printable(line: &[u8]) -> String {
    let shown = line.get(..SAMPLE_BYTES).unwrap_or(line);
    let mut text = String::with_capacity(shown.len());
    for &byte in shown {
        match byte {
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    if line.len() > SAMPLE_BYTES {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn an_episode_is_told_at_its_begin_and_at_its_end_with_the_count() {
        let mut faults = Faults::new("scale".into());
        assert_eq!(faults.good(at(0)), None);
        let told = faults.bad(at(1), &LineError::NoMatch, b"a\x00\xffb~");
        let expected = Notice::BadLines {
            source: "scale".into(),
            error: "the pattern doesn't match".into(),
            sample: "a\\x00\\xffb~".into(),
        };
        assert_eq!(told, Some(expected));
        assert_eq!(faults.bad(at(2), &LineError::NotAnObject, b"b"), None);
        assert_eq!(faults.good(at(11)), None, "nine quiet seconds");
        assert_eq!(faults.good(at(12)), Some(Notice::GoodAgain { source: "scale".into(), bad: 2 }));
        assert_eq!(faults.good(at(13)), None);
        assert_eq!((faults.total(), faults.last_error()), (2, Some("JSON, but not an object")));
    }

    #[test]
    fn a_bad_line_between_good_ones_is_one_episode() {
        let mut faults = Faults::new("scale".into());
        let told = (0..100).filter(|&second| {
            let bad = faults.bad(at(second), &LineError::NoMatch, b"# debug").is_some();
            bad || faults.good(at(second)).is_some()
        });
        assert_eq!(told.count(), 1);
        assert_eq!(faults.good(at(110)), Some(Notice::GoodAgain { source: "scale".into(), bad: 100 }));
    }

    #[test]
    fn a_sample_is_short() {
        assert_eq!(printable(&[b'x'; 48]), "x".repeat(48));
        assert_eq!(printable(&[b'x'; 49]), "x".repeat(48) + "…");
    }
}
