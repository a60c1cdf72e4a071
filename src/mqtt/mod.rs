//! The MQTT codec for 3.1, 3.1.1 and 5.0: bytes to [`Packet`] and back. No state, no I/O, no policy.

pub mod decode;
mod describe;
pub mod encode;
pub mod packet;
pub mod property;
mod property_table;
pub mod reason;
pub mod topic;
mod wire;

pub use decode::{DecodeError, Frame, decode, decode_within, frame};
pub use encode::{EncodeError, encode, encoded_len};
pub use packet::{
    Ack, AckKind, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, Publish, QoS, RetainHandling, SubAck,
    Subscribe, SubscribeFilter, SubscribeOptions, UnsubAck, Unsubscribe, Version, Will,
};
pub use property::{Properties, PropertiesBuf, Property, PropertyId, PropertyLimits};
pub use reason::ReasonCode;

#[cfg(test)]
mod tests;
