//! Modbus as bytes: requests and answers ([`pdu`]), their frames on a serial line ([`rtu`]) and in TCP ([`tcp`]), and which
//! registers one request reads together ([`plan`]). When to ask, and whom, is `bus`'s business.
//!
//! Sources: Modbus Application Protocol V1.1b3 ("MAP"), Modbus over Serial Line V1.02 ("MSL"), Modbus Messaging on TCP/IP
//! V1.0b ("MTCP").

pub mod identify;
pub mod pdu;
pub mod plan;
pub mod rtu;
pub mod tcp;
