//! The packets of all three versions as one type. Fields borrow from the read buffer; what a version does not
//! have (properties before 5.0) is empty.

use std::num::NonZeroU16;

use super::property::Properties;
use super::reason::ReasonCode;

/// The protocol version of a connection, told by CONNECT (3.1.2.1, 3.1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1: `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1: `MQTT`, level 4.
    V311,
    /// MQTT 5.0: `MQTT`, level 5.
    V5,
}

impl Version {
    /// As the config writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        }
    }
}

/// Quality of service (4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QoS {
    /// 0
    #[default]
    AtMostOnce,
    /// 1
    AtLeastOnce,
    /// 2
    ExactlyOnce,
}

impl QoS {
    /// 0, 1 or 2 as on the wire; `None` for 3 and above.
    #[must_use]
    pub const fn from_u8(level: u8) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

/// A packet identifier: 1 … 65,535 (2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub NonZeroU16);

impl PacketId {
    /// `None` for 0, which is no identifier.
    #[must_use]
    pub fn new(id: u16) -> Option<Self> {
        NonZeroU16::new(id).map(Self)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// Any control packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet<'a> {
    /// 1
    Connect(Connect<'a>),
    /// 2
    ConnAck(ConnAck<'a>),
    /// 3
    Publish(Publish<'a>),
    /// 4
    PubAck(Ack<'a>),
    /// 5
    PubRec(Ack<'a>),
    /// 6
    PubRel(Ack<'a>),
    /// 7
    PubComp(Ack<'a>),
    /// 8
    Subscribe(Subscribe<'a>),
    /// 9
    SubAck(SubAck<'a>),
    /// 10
    Unsubscribe(Unsubscribe<'a>),
    /// 11
    UnsubAck(UnsubAck<'a>),
    /// 12
    PingReq,
    /// 13
    PingResp,
    /// 14
    Disconnect(Disconnect<'a>),
    /// 15, MQTT 5 only
    Auth(Auth<'a>),
}

/// CONNECT (3.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Connect<'a> {
    /// The version that the client speaks.
    pub version: Version,
    /// The client is a bridge: it wants none of its own messages back, and RETAIN as published. Before 5.0, whose
    /// subscription options can say so, brokers take the highest bit of the protocol level for it; the standard
    /// doesn't know it.
    pub bridge: bool,
    /// Clean Start (5.0) or Clean Session (3.x).
    pub clean_start: bool,
    /// Seconds; 0 turns the keep alive off.
    pub keep_alive: u16,
    /// May be empty.
    pub client_id: &'a str,
    /// The will, if the will flag is set.
    pub will: Option<Will<'a>>,
    /// The user name, if its flag is set.
    pub user_name: Option<&'a str>,
    /// The password, if its flag is set.
    pub password: Option<&'a [u8]>,
    /// Empty before 5.0.
    pub properties: Properties<'a>,
}

/// The will in a CONNECT (3.1.2.5, 3.1.3.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Will<'a> {
    /// A valid topic name.
    pub topic: &'a str,
    /// The will payload.
    pub payload: &'a [u8],
    /// The will QoS.
    pub qos: QoS,
    /// The will RETAIN.
    pub retain: bool,
    /// The will properties; empty before 5.0.
    pub properties: Properties<'a>,
}

/// CONNACK (3.2). Before 5.0 the reason is mapped to return codes 0 … 5 ([`ReasonCode::to_connack_v3`]).
#[derive(Clone, Debug, PartialEq)]
pub struct ConnAck<'a> {
    /// Always false in 3.1.
    pub session_present: bool,
    /// Success or why not.
    pub reason: ReasonCode,
    /// Empty before 5.0.
    pub properties: Properties<'a>,
}

/// PUBLISH (3.3).
#[derive(Clone, Debug, PartialEq)]
pub struct Publish<'a> {
    /// A re-delivery, perhaps.
    pub dup: bool,
    /// The quality of service.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// A valid topic name; empty only in 5.0 with a topic alias.
    pub topic: &'a str,
    /// Present exactly when `qos` > 0.
    pub packet_id: Option<PacketId>,
    /// Empty before 5.0.
    pub properties: Properties<'a>,
    /// The application message.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP (3.4 … 3.7).
#[derive(Clone, Debug, PartialEq)]
pub struct Ack<'a> {
    /// The exchange that it belongs to.
    pub packet_id: PacketId,
    /// Always `Success` before 5.0.
    pub reason: ReasonCode,
    /// Empty before 5.0.
    pub properties: Properties<'a>,
}

/// The four packets that acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckKind {
    /// QoS 1, its only answer.
    PubAck,
    /// QoS 2, first part.
    PubRec,
    /// QoS 2, second part.
    PubRel,
    /// QoS 2, third part.
    PubComp,
}

impl AckKind {
    /// The packet of this kind.
    #[must_use]
    pub const fn packet(self, ack: Ack<'_>) -> Packet<'_> {
        match self {
            Self::PubAck => Packet::PubAck(ack),
            Self::PubRec => Packet::PubRec(ack),
            Self::PubRel => Packet::PubRel(ack),
            Self::PubComp => Packet::PubComp(ack),
        }
    }
}

/// SUBSCRIBE (3.8).
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    /// The exchange.
    pub packet_id: PacketId,
    /// Empty before 5.0.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: Vec<SubscribeFilter<'a>>,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// A string that is not empty; whether it is a valid filter is the receiver's business, since a
    /// bad one is refused in SUBACK, not with the connection's end.
    pub filter: &'a str,
    /// QoS and, in 5.0, the other options.
    pub options: SubscribeOptions,
}

/// Subscription options (5.0, 3.8.3.1). Before 5.0 only `qos` is on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// The most that the client wants.
    pub qos: QoS,
    /// Don't return own messages.
    pub no_local: bool,
    /// Keep RETAIN as published.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When a subscription gets retained messages (5.0, 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// 0: at each SUBSCRIBE.
    #[default]
    Always,
    /// 1: only if the subscription is new.
    IfNew,
    /// 2: never.
    Never,
}

/// SUBACK (3.9).
#[derive(Clone, Debug, PartialEq)]
pub struct SubAck<'a> {
    /// The exchange.
    pub packet_id: PacketId,
    /// Empty before 5.0.
    pub properties: Properties<'a>,
    /// One per filter, in order: 0, 1, 2 granted; ≥ 0x80 refused (3.x: 0x80).
    pub codes: &'a [u8],
}

/// UNSUBSCRIBE (3.10).
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    /// The exchange.
    pub packet_id: PacketId,
    /// Empty before 5.0.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: Vec<&'a str>,
}

/// UNSUBACK (3.11).
#[derive(Clone, Debug, PartialEq)]
pub struct UnsubAck<'a> {
    /// The exchange.
    pub packet_id: PacketId,
    /// Empty before 5.0.
    pub properties: Properties<'a>,
    /// One per filter in 5.0; empty before.
    pub codes: &'a [u8],
}

/// DISCONNECT (3.14). Before 5.0 only from client to server, and empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Disconnect<'a> {
    /// `Success` (normal disconnection) before 5.0.
    pub reason: ReasonCode,
    /// Empty before 5.0.
    pub properties: Properties<'a>,
}

/// AUTH (5.0, 3.15).
#[derive(Clone, Debug, PartialEq)]
pub struct Auth<'a> {
    /// Success, continue or re-authenticate.
    pub reason: ReasonCode,
    /// Carries the method and its data.
    pub properties: Properties<'a>,
}
