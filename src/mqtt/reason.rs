//! Reason codes (5.0, 2.4): one table of what exists, in words, and in which packets; and their 3.x return codes.

use super::wire::{Kinds, kind};

/// A reason code. Which ones a packet may carry is checked when it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum ReasonCode {
    /// Also: normal disconnection, granted QoS 0.
    Success = 0x00,
    GrantedQoS1 = 0x01,
    GrantedQoS2 = 0x02,
    DisconnectWithWillMessage = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    ReAuthenticate = 0x19,
    UnspecifiedError = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecificError = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8A,
    ServerShuttingDown = 0x8B,
    BadAuthenticationMethod = 0x8C,
    KeepAliveTimeout = 0x8D,
    SessionTakenOver = 0x8E,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    PacketIdentifierInUse = 0x91,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    RetainNotSupported = 0x9A,
    QoSNotSupported = 0x9B,
    UseAnotherServer = 0x9C,
    ServerMoved = 0x9D,
    SharedSubscriptionsNotSupported = 0x9E,
    ConnectionRateExceeded = 0x9F,
    MaximumConnectTime = 0xA0,
    SubscriptionIdentifiersNotSupported = 0xA1,
    WildcardSubscriptionsNotSupported = 0xA2,
}

impl ReasonCode {
    /// The number on the wire.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        #[allow(clippy::as_conversions, reason = "the enum is repr(u8)")]
        {
            self as u8
        }
    }

    /// From the wire; `None` for a number that MQTT 5 doesn't define.
    #[must_use]
    pub fn from_u8(code: u8) -> Option<Self> {
        TABLE.iter().find(|row| row.code.as_u8() == code).map(|row| row.code)
    }

    /// From the wire, in a packet of type `kind`; `None` if that packet can't carry it.
    pub(super) fn in_packet(code: u8, kind: u8) -> Option<Self> {
        TABLE.iter().find(|row| row.code.as_u8() == code && row.packets.has(kind)).map(|row| row.code)
    }

    /// Whether it reports a failure (≥ 0x80).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// The CONNACK return code of 3.1 and 3.1.1 (3.1.1, table 3.1): 0 … 5. `None` where those versions close
    /// the connection without a CONNACK.
    #[must_use]
    pub fn to_connack_v3(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::ServerShuttingDown
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::QuotaExceeded
            | Self::ConnectionRateExceeded
            | Self::UnspecifiedError
            | Self::ImplementationSpecificError => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized | Self::Banned => Some(5),
            _ => None,
        }
    }

    /// From a CONNACK return code of 3.1 and 3.1.1; `None` above 5.
    #[must_use]
    pub fn from_connack_v3(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// In words for logs, health and pages, lower case: "bad user name or password".
    #[must_use]
    pub fn words(self) -> &'static str {
        TABLE.iter().find(|row| row.code == self).map_or("", |row| row.words)
    }
}

/// As in logs: words and number, `not authorized (0x87)`.
impl std::fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (0x{:02X})", self.words(), self.as_u8())
    }
}

struct Row {
    code: ReasonCode,
    words: &'static str,
    /// The packets that may carry it.
    packets: Kinds,
}

const fn row(code: ReasonCode, words: &'static str, packets: &[u8]) -> Row {
    Row { code, words, packets: Kinds::of(packets) }
}

/// Table 2-6, with DISCONNECT for "normal disconnection" and SUBACK for "granted QoS 0" in the row of 0x00.
#[rustfmt::skip]
static TABLE: [Row; 43] = {
    use ReasonCode as R;
    use kind::{AUTH, CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBREC, PUBREL, SUBACK, UNSUBACK};
    [
        row(R::Success, "success", &[CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH]),
        row(R::GrantedQoS1, "granted QoS 1", &[SUBACK]),
        row(R::GrantedQoS2, "granted QoS 2", &[SUBACK]),
        row(R::DisconnectWithWillMessage, "disconnect with will message", &[DISCONNECT]),
        row(R::NoMatchingSubscribers, "no matching subscribers", &[PUBACK, PUBREC]),
        row(R::NoSubscriptionExisted, "no subscription existed", &[UNSUBACK]),
        row(R::ContinueAuthentication, "continue authentication", &[AUTH]),
        row(R::ReAuthenticate, "re-authenticate", &[AUTH]),
        row(R::UnspecifiedError, "unspecified error", &[CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT]),
        row(R::MalformedPacket, "malformed packet", &[CONNACK, DISCONNECT]),
        row(R::ProtocolError, "protocol error", &[CONNACK, DISCONNECT]),
        row(R::ImplementationSpecificError, "implementation specific error", &[CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT]),
        row(R::UnsupportedProtocolVersion, "unsupported protocol version", &[CONNACK]),
        row(R::ClientIdentifierNotValid, "client identifier not valid", &[CONNACK]),
        row(R::BadUserNameOrPassword, "bad user name or password", &[CONNACK]),
        row(R::NotAuthorized, "not authorized", &[CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT]),
        row(R::ServerUnavailable, "server unavailable", &[CONNACK]),
        row(R::ServerBusy, "server busy", &[CONNACK, DISCONNECT]),
        row(R::Banned, "banned", &[CONNACK]),
        row(R::ServerShuttingDown, "server shutting down", &[DISCONNECT]),
        row(R::BadAuthenticationMethod, "bad authentication method", &[CONNACK, DISCONNECT]),
        row(R::KeepAliveTimeout, "keep alive timeout", &[DISCONNECT]),
        row(R::SessionTakenOver, "session taken over", &[DISCONNECT]),
        row(R::TopicFilterInvalid, "topic filter invalid", &[SUBACK, UNSUBACK, DISCONNECT]),
        row(R::TopicNameInvalid, "topic name invalid", &[CONNACK, PUBACK, PUBREC, DISCONNECT]),
        row(R::PacketIdentifierInUse, "packet identifier in use", &[PUBACK, PUBREC, SUBACK, UNSUBACK]),
        row(R::PacketIdentifierNotFound, "packet identifier not found", &[PUBREL, PUBCOMP]),
        row(R::ReceiveMaximumExceeded, "receive maximum exceeded", &[DISCONNECT]),
        row(R::TopicAliasInvalid, "topic alias invalid", &[DISCONNECT]),
        row(R::PacketTooLarge, "packet too large", &[CONNACK, DISCONNECT]),
        row(R::MessageRateTooHigh, "message rate too high", &[DISCONNECT]),
        row(R::QuotaExceeded, "quota exceeded", &[CONNACK, PUBACK, PUBREC, SUBACK, DISCONNECT]),
        row(R::AdministrativeAction, "administrative action", &[DISCONNECT]),
        row(R::PayloadFormatInvalid, "payload format invalid", &[CONNACK, PUBACK, PUBREC, DISCONNECT]),
        row(R::RetainNotSupported, "retain not supported", &[CONNACK, DISCONNECT]),
        row(R::QoSNotSupported, "QoS not supported", &[CONNACK, DISCONNECT]),
        row(R::UseAnotherServer, "use another server", &[CONNACK, DISCONNECT]),
        row(R::ServerMoved, "server moved", &[CONNACK, DISCONNECT]),
        row(R::SharedSubscriptionsNotSupported, "shared subscriptions not supported", &[SUBACK, DISCONNECT]),
        row(R::ConnectionRateExceeded, "connection rate exceeded", &[CONNACK, DISCONNECT]),
        row(R::MaximumConnectTime, "maximum connect time", &[DISCONNECT]),
        row(R::SubscriptionIdentifiersNotSupported, "subscription identifiers not supported", &[SUBACK, DISCONNECT]),
        row(R::WildcardSubscriptionsNotSupported, "wildcard subscriptions not supported", &[SUBACK, DISCONNECT]),
    ]
};
