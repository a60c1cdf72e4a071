//! What a conversation with a meter tells and is told: the same for IEC 62056-21 and M-Bus, so that whoever carries them
//! out needs to know neither.

use std::fmt;
use std::time::Duration;

/// What a conversation is told.
#[derive(Clone, Copy, Debug)]
pub enum SessionInput<'a> {
    /// Ask now. Ignored while a conversation is going on.
    Start,
    /// The last `Send` has left the port, to its last bit.
    Sent,
    /// Bytes that were read.
    Bytes(&'a [u8]),
    /// The deadline has passed.
    Tick,
}

/// What must be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOutput {
    /// Set this rate, bits per second. The character format stays.
    Baud(u32),
    /// Send these bytes, then say `Sent`.
    Send(Vec<u8>),
    /// What the meter said, checked: what the codec decodes. The conversation is over.
    Readout(Vec<u8>),
    /// The conversation ended without one.
    Failed(SessionError),
}

/// Why a conversation ended without a readout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// The meter didn't answer the sign-on.
    NoIdentification {
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The meter didn't answer.
    NoAnswer {
        /// What it was asked.
        to: &'static str,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// It fell silent in the middle of the readout, or the readout never ends.
    Incomplete {
        /// Bytes of the readout that came.
        bytes: usize,
    },
    /// The readout is damaged.
    Damaged {
        /// How.
        what: String,
    },
    /// Damaged bytes came, as they do where several answer at once.
    Collision {
        /// What is wrong with them.
        what: Option<String>,
    },
    /// Another meter answered.
    NotOurs {
        /// Which, for people.
        found: String,
    },
    /// The meter sends at a rate of its own that the line can't do.
    TooFast {
        /// Its rate.
        baud: u32,
        /// The fastest of the line.
        max: u32,
    },
}

impl SessionError {
    /// Whether a meter said something: it is there, and may be asked again at once.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        !matches!(self, Self::NoIdentification { .. } | Self::NoAnswer { .. } | Self::TooFast { .. })
    }

    /// Whether what came was damaged.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Collision { .. })
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIdentification { timeout } => {
                write!(f, "no identification within {timeout:?} of the sign-on")
            }
            Self::NoAnswer { to, timeout } => write!(f, "no answer to the {to} within {timeout:?}"),
            Self::Incomplete { bytes } => write!(f, "the readout stopped after {bytes} bytes"),
            Self::Damaged { what } => write!(f, "a damaged readout: {what}"),
            Self::Collision { what } => {
                f.write_str("a damaged answer, as when several meters answer at once")?;
                what.as_ref().map_or(Ok(()), |what| write!(f, " ({what})"))
            }
            Self::NotOurs { found } => write!(f, "another meter answered: {found}"),
            Self::TooFast { baud, max } => {
                write!(f, "the meter sends at {baud} baud, and baud_max is {max}")
            }
        }
    }
}
