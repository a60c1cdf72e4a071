//! Bytes of a sensor to readings: framing, decoding, scaling. Pure: no port, no clock, no message, no topic.
//! One [`Port`] machine per line whose devices send by themselves, one [`Bus`] machine per line whose devices are asked; the
//! shells in `io/serial` and `io/bus` open the line and feed it.
//!
//! ```text
//! bytes ─ framing, check ─ frame ─ intake ─┬─ device ─ decode ─ raw fields ─ point ─ values ─ Reading
//!                                          └─ device …         (a frame that none takes: fault)
//! ```

pub mod adapter;
pub mod bus;
pub mod cell;
pub mod check;
pub mod codec;
pub mod config;
pub mod file;
pub mod modbus;
pub mod port;
pub mod simulate;

mod decode;
mod device;
mod fault;
mod framing;
mod intake;
mod point;
mod reopen;
mod trial;

pub use adapter::{Adapter, FindError, UsbFacts, UsbMatch};
pub use bus::Bus;
pub use bus::config::{Ask, PollConfig, Register};
pub use cell::{BCD_BYTES_MAX, CELL_BYTES_MAX, Cell, CellType, EncodeError, Endian, WordOrder};
pub use check::{CheckConfig, CheckKind};
pub use codec::CodecKind;
pub use config::{
    DataBits, DecodeConfig, DeviceConfig, ExecConfig, FlowControl, FramingConfig, LineEnd, PacketLength,
    Parity, PointConfig, PointType, Points, PortConfig, PortKind, RawValue, Rs485, StopBits,
};
pub use decode::is_obis_code;
pub use file::{FileConfig, FileInput, FileOutput, FileSource, FoundFile};
pub use port::{DeviceStatus, Input, Notice, Output, Port, PortState, PortStatus};
pub use simulate::{SimulateError, Simulator};
pub use trial::{Piece, Trial};
