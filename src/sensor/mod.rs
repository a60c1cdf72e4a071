//! Bytes of a sensor to readings: framing, decoding, scaling. Pure: no port, no clock, no message, no topic.
//! One [`Port`] machine per serial line; the shell in `io/serial` opens the line and feeds it.
//!
//! ```text
//! bytes ─ framing ─ line ─ intake ─┬─ device ─ decode ─ raw fields ─ point ─ values ─ Reading
//!                                  └─ device …          (a line that none takes: fault)
//! ```

pub mod config;
pub mod port;

mod decode;
mod device;
mod fault;
mod framing;
mod intake;
mod point;
mod reopen;

pub use config::{
    DataBits, DecodeConfig, DeviceConfig, FlowControl, FramingConfig, LineEnd, Parity, PointConfig,
    PointType, Points, PortConfig, StopBits,
};
pub use port::{DeviceStatus, Input, Notice, Output, Port, PortState, PortStatus};
