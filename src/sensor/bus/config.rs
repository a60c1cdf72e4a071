//! What a polled device can be told. Reading the text is `config`'s business.

use std::time::Duration;

use crate::sensor::codec::{MbusAddress, MeterAsk};
use crate::sensor::modbus::pdu::ReadFunction;

/// How a device is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollConfig {
    /// From one cycle to the next. Default 10 s, of a meter 15 min.
    pub every: Duration,
    /// From the end of the request to the beginning of the answer. Default 500 ms, of an IEC 62056-21 meter 2.5 s.
    pub timeout: Duration,
    /// Further tries of a request within a cycle, of a device that answered last time. Default 1.
    pub retries: u8,
    /// From the end of one request to this device to its next. Default 0.
    pub pause: Duration,
    /// What it is asked.
    pub ask: Ask,
}

/// What a device is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Its points' registers and coils.
    Registers {
        /// Its address on the bus.
        unit_id: u8,
        /// Registers between two points that are read along with them. Default 0: some devices refuse such a read.
        hole_max: u16,
        /// Registers of one request, 1 to 125. Default 60.
        registers_max: u16,
    },
    /// These bytes; its framing, check and decoder know the answer.
    Bytes(Vec<u8>),
    /// The readout of an IEC 62056-21 meter (modes A, B and C).
    Meter(MeterAsk),
    /// The values of a slave of a wired M-Bus.
    Mbus(MbusAddress),
}

/// How a point of a Modbus device is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteConfig {
    /// By the functions that write several items (15, 16), also where it has one. Default false: 5 and 6 write one.
    pub by_several: bool,
    /// What the device holds afterwards must be what was written. Default true.
    pub verify: bool,
}

/// Where a point of a Modbus device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// Which table.
    pub function: ReadFunction,
    /// The first register or coil, from 0.
    pub address: u16,
}
