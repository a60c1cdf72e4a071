//! A device is polled because somebody asks for it: its next cycle is due at once, reads all of its points, and what comes
//! is told to whoever asked, beside the reading that it makes as any other.

use std::time::Duration;

use super::Output;
use super::machine::Bus;
use super::slave::Slave;
use crate::reading::Sample;
use crate::time::{Mono, Now};

/// Why a device can't be polled now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// No device of the bus has this name.
    NoSuchDevice,
    /// The line is not open.
    Closed {
        /// Why, where that is known.
        error: Option<String>,
    },
    /// Somebody has asked already and waits.
    Asked,
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSuchDevice => f.write_str("no device of this port has this name"),
            Self::Closed { error: Some(error) } => write!(f, "its port is not open: {error}"),
            Self::Closed { error: None } => f.write_str("its port is not open"),
            Self::Asked => f.write_str("somebody has asked for it already, and waits for the answer"),
        }
    }
}

impl std::error::Error for AskError {}

/// What came of a poll that somebody asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Polled {
    /// As it was asked for.
    pub id: u64,
    /// From the first request to the end of the last answer.
    pub took: Duration,
    /// What it said; of one that failed what had come until then.
    pub samples: Vec<Sample>,
    /// Why not all came.
    pub error: Option<String>,
}

/// Somebody waits for the end of the next cycle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    id: u64,
    begun: Option<Mono>,
}

impl Waiting {
    /// A request of the cycle goes.
    pub(super) fn asks(&mut self, now: Mono) {
        self.begun.get_or_insert(now);
    }

    /// The cycle is over.
    pub(super) fn ended(self, now: Mono, samples: Vec<Sample>, error: Option<String>) -> Polled {
        Polled {
            id: self.id,
            took: self.begun.map_or(Duration::ZERO, |begun| now.since(begun)),
            samples,
            error,
        }
    }
}

impl Bus {
    /// Has a device polled as soon as the line is free. What comes of it comes as [`Output::Polled`] with this `id`. The next
    /// input makes it go: give a `Tick` at once.
    ///
    /// # Errors
    /// [`AskError`]
    pub fn ask(&mut self, now: Now, device: &str, id: u64) -> Result<(), AskError> {
        let error = (!self.is_open()).then(|| AskError::Closed { error: self.line_error() });
        let slave = self.slave_named(device).ok_or(AskError::NoSuchDevice)?;
        match error {
            Some(error) => Err(error),
            None => slave.ask(now.mono, id),
        }
    }

    /// The line is closed: whoever waits is told.
    pub(super) fn drop_asked(&mut self, now: Mono, error: Option<&str>) {
        let words =
            error.map_or("the line was closed".to_owned(), |error| format!("the line was closed: {error}"));
        let ended: Vec<Polled> = self
            .slaves_mut()
            .iter_mut()
            .filter_map(|slave| slave.asked.take())
            .map(|waiting| waiting.ended(now, Vec::new(), Some(words.clone())))
            .collect();
        self.push(ended.into_iter().map(Output::Polled));
    }
}

impl Slave {
    fn ask(&mut self, now: Mono, id: u64) -> Result<(), AskError> {
        if self.asked.is_some() {
            return Err(AskError::Asked);
        }
        // Where a cycle is under way, its end is the answer.
        let is_asking = self.all_at_once(now);
        self.asked = Some(Waiting { id, begun: is_asking.then_some(now) });
        Ok(())
    }
}
