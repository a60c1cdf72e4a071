//! A port whose devices speak only when asked: one request at a time, who is asked next, and what becomes of the answers.
//! Pure: no port, no clock. The shell in `io/bus` opens the line, empties its input, writes, and feeds what comes.
//!
//! ```text
//! turn ── whose cycle is due ─▶ slave ── next block ─▶ flight ── bytes ─▶ line
//!                                 ▲                      │ answer, exception, timeout
//!                                 └── raw values ◀───────┘          ▲ bytes
//!                     point ─ values ─▶ Reading, once a cycle       └───────── line
//! ```
//!
//! # What a sick device may cost the others
//!
//! - A device that doesn't answer goes behind all that do: whoever is well and due is asked first, so that nobody waits for
//!   two timeouts in a row (`turn`).
//! - Retries are for a device that answered last time. One that has failed is asked once a cycle, and once a backoff step
//!   when it is offline (`slave`).
//! - A deadline is absolute: noise and foreign frames don't prolong it (`flight`).
//! - After a timeout a device is asked nothing else until no late answer can come any more, so that a late answer
//!   is never taken for that to another question. Over TCP the transaction tells them apart.

pub mod config;

mod cycle;
mod flight;
mod late;
mod machine;
mod slave;
mod stats;
mod turn;

use std::fmt;
use std::sync::Arc;

use super::modbus::pdu::{Exception, Request, RequestError};
use super::port;
use crate::reading::Reading;
use crate::time::Mono;

pub use machine::Bus;
pub use stats::{BusStatus, SlaveStatus};

/// What the shell tells the machine.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The line is open, or the connection stands.
    Opened,
    /// It could not be opened.
    OpenFailed {
        /// Why, for people.
        error: &'a str,
    },
    /// Bytes that were read.
    Bytes(&'a [u8]),
    /// The line is gone.
    Lost {
        /// Why, for people.
        error: &'a str,
    },
    /// The deadline has passed.
    Tick,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open the line now; answer with `Opened` or `OpenFailed`.
    Open,
    /// Close it; no answer.
    Close,
    /// Throw away what the kernel has received and nobody read, then write this.
    Send(Vec<u8>),
    /// Pass it on.
    Reading(Reading),
    /// Log it, and publish health soon.
    Notice(Notice),
    /// What became of a write.
    Written {
        /// As in the order.
        token: u64,
        /// `Ok` when the device has confirmed it.
        result: Result<(), WriteError>,
    },
}

/// A change of state that people want to know of; one per episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// As of any port.
    Port(port::Notice),
    /// The device has not answered for several cycles and some time; from now on it is asked seldom.
    DeviceOffline {
        /// The device.
        device: Arc<str>,
        /// What came instead of its last answer.
        error: String,
        /// Cycles without a whole answer.
        failed_cycles: u32,
    },
    /// It answers again.
    DeviceOnline {
        /// The device.
        device: Arc<str>,
        /// Cycles that had failed.
        failed_cycles: u32,
    },
    /// The device refuses to tell these points. They read invalid, and are asked for seldom.
    PointsRefused {
        /// The device.
        device: Arc<str>,
        /// The points.
        points: Vec<Arc<str>>,
        /// Why.
        exception: Exception,
    },
    /// What is sent to this device comes back before its answer; it is taken out from now on.
    Echo {
        /// The device.
        device: Arc<str>,
    },
}

/// Something to write, absolute: done twice it is as done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOrder {
    /// The device.
    pub device: Arc<str>,
    /// What to write.
    pub request: Request,
    /// Comes back with the result.
    pub token: u64,
    /// From then on it is too late: it is not sent any more.
    pub until: Mono,
}

/// Why a write was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// No device of that name on this bus takes it.
    NoSuchDevice,
    /// It reads, or its items are out of bounds.
    BadRequest(Option<RequestError>),
    /// The line is down.
    PortDown,
    /// Too many wait already.
    Full {
        /// How many may.
        max: usize,
    },
    /// The bus had no time for it before it was too late.
    TooLate,
    /// The device did not answer. It may have been written all the same.
    NoAnswer,
    /// The device said no.
    Refused(Exception),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchDevice => f.write_str("no device of that name takes Modbus writes on this port"),
            Self::BadRequest(Some(error)) => error.fmt(f),
            Self::BadRequest(None) => f.write_str("it writes nothing"),
            Self::PortDown => f.write_str("the port is down"),
            Self::Full { max } => write!(f, "{max} writes wait already"),
            Self::TooLate => f.write_str("it was too late to send it"),
            Self::NoAnswer => f.write_str("the device did not confirm it"),
            Self::Refused(exception) => exception.fmt(f),
        }
    }
}

impl std::error::Error for WriteError {}

#[cfg(test)]
mod tests;
