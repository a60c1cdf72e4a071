//! Values of the client machine: its settings, a message, and what it tells. Nothing here decides.

use bytes::Bytes;

use crate::mqtt::{PacketId, PropertiesBuf, QoS, ReasonCode, SubscribeOptions, Version};
use crate::secret::Secret;

/// What a client says about itself, and what it wants.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Settings {
    pub(in crate::cli) version: Version,
    pub(in crate::cli) client_id: String,
    pub(in crate::cli) clean_start: bool,
    /// Seconds; 0: none.
    pub(in crate::cli) keep_alive: u16,
    pub(in crate::cli) user_name: Option<String>,
    pub(in crate::cli) password: Option<Secret>,
    pub(in crate::cli) will: Option<Message>,
    /// The most messages that may be under way unacknowledged.
    pub(in crate::cli) inflight_max: usize,
    /// Filters, all in one SUBSCRIBE.
    pub(in crate::cli) subscribe: Vec<(String, SubscribeOptions)>,
    /// Filters to give up.
    pub(in crate::cli) unsubscribe: Vec<String>,
    pub(in crate::cli) connect_properties: PropertiesBuf,
    pub(in crate::cli) subscribe_properties: PropertiesBuf,
    pub(in crate::cli) unsubscribe_properties: PropertiesBuf,
    pub(in crate::cli) disconnect_properties: PropertiesBuf,
    /// Tell of each packet.
    pub(in crate::cli) traced: bool,
}

/// An application message, either way.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) struct Message {
    pub(in crate::cli) topic: String,
    pub(in crate::cli) payload: Bytes,
    pub(in crate::cli) qos: QoS,
    pub(in crate::cli) retain: bool,
    pub(in crate::cli) properties: PropertiesBuf,
    /// As it stood in the packet; of no meaning on the way out.
    pub(in crate::cli) packet_id: Option<PacketId>,
}

/// What the machine tells.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cli) enum Event {
    /// CONNACK: welcome.
    Connected,
    /// CONNACK: not welcome, and what the broker says about it.
    Refused { reason: ReasonCode, words: Option<String> },
    /// SUBACK, a code for each filter.
    Subscribed { codes: Vec<u8> },
    /// UNSUBACK.
    Unsubscribed,
    /// A message for us, once.
    Message(Message),
    /// A message of ours that the broker didn't take.
    Undelivered { topic: String, why: String },
    /// DISCONNECT of the broker.
    Ended { reason: ReasonCode, words: Option<String> },
    /// A packet went or came.
    Trace(String),
}
