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
//! - A meter that is asked in several steps (`talk`) has the line until it is done, or fails; a dead one costs one timeout.
//! - A deadline is absolute: noise and foreign frames don't prolong it (`flight`).
//! - After a timeout a device is asked nothing else until no late answer can come any more, so that a late answer
//!   is never taken for that to another question. Over TCP the transaction tells them apart.

pub mod config;

mod asked;
pub(in crate::sensor) mod cycle;
mod flight;
mod late;
mod machine;
mod slave;
mod stats;
mod talk;
mod turn;
mod write;

use std::sync::Arc;

use super::modbus::pdu::Exception;
use super::port;
use crate::command::{self, CommandId};
use crate::reading::Reading;
use slave::Slave;

pub use super::port::Input;
pub use asked::{AskError, Polled};
pub use machine::Bus;
pub use stats::{BusStatus, SlaveStatus};

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open the line now; answer with `Opened` or `OpenFailed`.
    Open,
    /// Close it; no answer.
    Close,
    /// Throw away what the kernel has received and nobody read, then write this.
    Send(Vec<u8>),
    /// Once all that was written has left, set the line to this rate, bits per second.
    Rate(u32),
    /// Pass it on.
    Reading(Reading),
    /// Log it, and publish health soon.
    Notice(Notice),
    /// What came of a poll that somebody asked for.
    Polled(Polled),
    /// What came of a command.
    Done {
        /// Which.
        id: CommandId,
        /// What came of it.
        outcome: command::Outcome,
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

#[cfg(test)]
mod tests;
