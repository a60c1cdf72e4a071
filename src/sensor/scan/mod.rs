//! What hangs on a line that nobody knows: at which rate somebody speaks and what it looks like ([`SerialScan`]), which
//! Modbus devices answer ([`ModbusScan`]), which M-Bus meters ([`MbusScan`]). Pure: no port, no clock. The shell in `io/scan` opens the
//! line as it is told, writes, and feeds what comes.
//!
//! Nothing is written to a device: questions are reads, or those that profiles ask.

mod hearing;
mod marks;
mod mbus;
mod modbus;
mod recognise;
mod serial;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use super::config::{DataBits, DeviceConfig, Parity, PortConfig, StopBits};
use super::modbus::rtu::LineRate;
use crate::reading::Sample;
use crate::time::Mono;

pub use hearing::{Match, Verdict};
pub use marks::Marks;
pub use mbus::{MbusConfig, MbusScan};
pub use modbus::{ModbusConfig, ModbusScan};
pub use serial::{RATES, SerialConfig, SerialScan};

/// Rate, data bits, parity and stop bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bits per second.
    pub baud: u32,
    /// Data bits.
    pub data_bits: DataBits,
    /// Parity.
    pub parity: Parity,
    /// Stop bits.
    pub stop_bits: StopBits,
}

impl Settings {
    /// 8N1, the frame of most devices.
    #[must_use]
    pub const fn plain(baud: u32) -> Self {
        Self { baud, data_bits: DataBits::Eight, parity: Parity::None, stop_bits: StopBits::One }
    }

    /// Those of a port.
    #[must_use]
    pub const fn of(port: &PortConfig) -> Self {
        let PortConfig { baud, data_bits, parity, stop_bits, .. } = port;
        Self { baud: *baud, data_bits: *data_bits, parity: *parity, stop_bits: *stop_bits }
    }

    /// A port with these.
    #[must_use]
    pub fn applied(self, port: &PortConfig) -> PortConfig {
        let Self { baud, data_bits, parity, stop_bits } = self;
        PortConfig { baud, data_bits, parity, stop_bits, ..port.clone() }
    }

    /// The same rate with the frame that a word such as "8E1" says; `None`: it says none.
    #[must_use]
    pub fn framed(self, word: &str) -> Option<Self> {
        let [data, parity, stop] = *word.as_bytes().first_chunk::<3>().filter(|_| word.len() == 3)?;
        let data_bits = match data {
            b'5' => DataBits::Five,
            b'6' => DataBits::Six,
            b'7' => DataBits::Seven,
            b'8' => DataBits::Eight,
            _ => return None,
        };
        let parity = match parity.to_ascii_uppercase() {
            b'N' => Parity::None,
            b'E' => Parity::Even,
            b'O' => Parity::Odd,
            _ => return None,
        };
        let stop_bits = match stop {
            b'1' => StopBits::One,
            b'2' => StopBits::Two,
            _ => return None,
        };
        Some(Self { baud: self.baud, data_bits, parity, stop_bits })
    }

    /// "8N1".
    #[must_use]
    pub fn frame(self) -> String {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Odd => 'O',
            Parity::Even => 'E',
        };
        let stop = if self.stop_bits == StopBits::Two { 2 } else { 1 };
        format!("{}{parity}{stop}", self.data_bits.count())
    }

    fn line_rate(self) -> LineRate {
        let parity = u32::from(self.parity != Parity::None);
        let stop = if self.stop_bits == StopBits::Two { 2 } else { 1 };
        LineRate { baud: self.baud, character_bits: 1 + self.data_bits.count() + parity + stop }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.baud, self.frame())
    }
}

/// A profile whose device may be the one.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The profile's name.
    pub profile: String,
    /// What the device is.
    pub title: String,
    /// What the profile makes of a port.
    pub settings: Settings,
    /// A device of the profile.
    pub device: DeviceConfig,
}

/// What the shell tells a scan.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The line is open as it was wanted.
    Opened,
    /// It can't be opened, or was lost, or takes nothing.
    Failed {
        /// Why, for people.
        error: &'a str,
    },
    /// Bytes that were read.
    Bytes {
        /// The bytes, those that came damaged included.
        bytes: &'a [u8],
        /// How many of them had a wrong parity or stop bit.
        errors: usize,
    },
    /// The deadline has passed.
    Tick,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Close the line if it is open, and open it so; answer with `Opened` or `Failed`.
    Open(Settings),
    /// Throw away what was received and nobody read, then write this.
    Send(Vec<u8>),
    /// Show it.
    Tell(Event),
    /// Close the line; that was all.
    End,
}

/// What is told while a scan goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// How far it is.
    Progress {
        /// What is tried now, for people.
        what: String,
        /// Steps that are done.
        done: usize,
        /// All steps.
        total: usize,
        /// How long the others take if nobody answers.
        left: Duration,
    },
    /// The line can't be used.
    Failed {
        /// Why.
        error: String,
    },
    /// What was heard at one rate.
    Heard(Verdict),
    /// Of all that was heard, the most likely. Told once, at the end, if there is any.
    Best(Verdict),
    /// Somebody answers.
    Unit {
        /// At this rate; `None` over TCP.
        settings: Option<Settings>,
        /// The address.
        unit: u8,
        /// What it said.
        answer: String,
        /// From the end of the request to its answer.
        latency: Duration,
        /// It answered when the next one was being asked already.
        is_late: bool,
    },
    /// What a device says of itself.
    Identity {
        /// The address.
        unit: u8,
        /// Name and text.
        facts: Vec<(&'static str, String)>,
    },
    /// The profiles by which a device reads well: all of their points are there, and what can be judged is plausible.
    Profiles {
        /// The address.
        unit: u8,
        /// Their names; several where their registers are the same.
        profiles: Vec<String>,
        /// What was read by the first.
        values: Vec<Sample>,
    },
    /// Registers that can be read.
    Registers {
        /// The address.
        unit: u8,
        /// The function that reads them.
        function: u8,
        /// The first.
        address: u16,
        /// Their contents.
        values: Vec<u16>,
    },
}

/// A scan of any kind.
pub trait Scan: fmt::Debug + Send {
    /// Takes one input. What doesn't fit is ignored.
    fn handle(&mut self, now: Mono, input: Input<'_>);

    /// The next thing to do, until `None`.
    fn poll_output(&mut self) -> Option<Output>;

    /// When `Tick` is due.
    fn next_deadline(&self) -> Option<Mono>;

    /// How long it takes if nobody answers.
    fn estimate(&self) -> Duration;
}
