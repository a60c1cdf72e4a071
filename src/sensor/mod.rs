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
pub mod gnss;
pub mod meter;
pub mod modbus;
pub mod port;
pub mod scan;
pub mod simulate;

mod decode;
mod device;
mod exchange;
mod exchanges;
mod fault;
mod framing;
mod intake;
mod line;
mod point;
mod reopen;
mod trial;
mod wanted;

pub use adapter::{Adapter, FindError, UsbFacts, UsbMatch};
pub use bus::Bus;
pub use bus::config::{Ask, PollConfig, Register, WriteConfig};
pub use cell::{BCD_BYTES_MAX, CELL_BYTES_MAX, Cell, CellType, EncodeError, Endian, WordOrder};
pub use check::{CheckConfig, CheckKind};
pub use codec::{CodecKind, MbusAddress, MeterAsk};
pub use config::{
    DataBits, DecodeConfig, DeviceConfig, ExecConfig, FlowControl, FramingConfig, LineEnd, PacketLength,
    Parity, Pattern, PointConfig, PointType, Points, PortConfig, PortKind, RawValue, Rs485, StopBits,
};
pub use decode::is_obis_code;
pub use exchange::{CommandConfig, Expect, SendTemplate, TemplateError};
pub use file::{FileConfig, FileInput, FileOutput, FileSource, FoundFile};
pub use gnss::Gnss;
pub use meter::{MeterAnswer, MeterSimulator};
pub use port::{DeviceStatus, Input, Notice, Output, Port, PortState, PortStatus};
pub use simulate::{Asked, Faults, Motion, MotionError, Shape, SimulateError, Simulator, Slave, Transport};
pub use trial::{Piece, Trial};
