//! A reading: the points of one device at one time, as they come from a sensor and as they are kept until sent.

use std::fmt;
use std::sync::Arc;

use crate::time::{BootId, ClockTrust, Mono, Timestamp};

/// Which start of the gateway a number belongs to: a counter in the store, raised and synced once per start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run(pub u64);

/// Identifies a reading of a device for ever: the start counter and the device's own count within that start,
/// from 1 without gaps. A receiver that sees 17-1841 and then 17-1843 knows that one is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq {
    /// The start of the gateway.
    pub run: Run,
    /// The count within the run, per device.
    pub number: u64,
}

/// `17-1842`.
impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run.0, self.number)
    }
}

/// One decoded value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A measured number; finite. Printed with the shortest digits that give it back.
    Number(f64),
    /// A count or a raw integer that must keep every digit.
    Integer(i64),
    /// A state.
    Bool(bool),
    /// A word from the device.
    Text(String),
}

/// Whether a value can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quality {
    /// As measured.
    #[default]
    Good,
    /// The device sent something that is not a value of this point (text for a number, an error code).
    Invalid,
    /// Outside of the point's `min` … `max`.
    OutOfRange,
    /// The device has been silent for too long, or its port is down: nobody knows the value.
    Stale,
    /// Changes of a line were lost because they came too fast; what is known of them is in the value.
    Overrun,
}

impl Quality {
    /// The word for payloads and health.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Invalid => "invalid",
            Self::OutOfRange => "out_of_range",
            Self::Stale => "stale",
            Self::Overrun => "overrun",
        }
    }
}

/// One point of a reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The point's name within its device.
    pub point: Arc<str>,
    /// `None` where the quality leaves no value.
    pub value: Option<Value>,
    /// Whether the value can be used.
    pub quality: Quality,
}

/// The points of one device at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The device's name.
    pub device: Arc<str>,
    /// Its identity for ever.
    pub seq: Seq,
    /// The boot that `mono` belongs to.
    pub boot: BootId,
    /// When the last byte of its frame was read.
    pub mono: Mono,
    /// What the wall clock said then.
    pub wall: Timestamp,
    /// Whether that clock was right then.
    pub trust: ClockTrust,
    /// The values, in the order of the device's points.
    pub samples: Vec<Sample>,
}
