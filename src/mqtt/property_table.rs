//! What MQTT 5 properties exist, each with its name, its type and range, and where it may stand (2.2.2.2). Nothing
//! here reads or writes one.

use super::property::PropertyId;
use super::wire::{Kinds, VARINT_MAX, kind};

/// How a property's value stands on the wire (2.2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// A byte, two or four bytes or a variable byte integer: at least, at most.
    U8(u32, u32),
    U16(u32, u32),
    U32(u32, u32),
    Varint(u32, u32),
    Str,
    Bin,
    /// Two strings.
    Pair,
}

/// A row of table 2-4.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) id: PropertyId,
    pub(super) name: &'static str,
    pub(super) wire: Wire,
    /// Where it may stand.
    pub(super) packets: Kinds,
    /// Where it may stand more than once.
    pub(super) repeats: Kinds,
}

const fn row(id: PropertyId, name: &'static str, wire: Wire, packets: &[u8], repeats: &[u8]) -> Row {
    Row { id, name, wire, packets: Kinds::of(packets), repeats: Kinds::of(repeats) }
}

const BOOL: Wire = Wire::U8(0, 1);
const ANY_U16: Wire = Wire::U16(0, 0xFFFF);
const ANY_U32: Wire = Wire::U32(0, u32::MAX);
const MESSAGE: &[u8] = &[kind::PUBLISH, kind::WILL];
const REASONED: &[u8] = &[
    kind::CONNACK,
    kind::PUBACK,
    kind::PUBREC,
    kind::PUBREL,
    kind::PUBCOMP,
    kind::SUBACK,
    kind::UNSUBACK,
    kind::DISCONNECT,
    kind::AUTH,
];
const USER: &[u8] = &[
    kind::WILL,
    kind::CONNECT,
    kind::CONNACK,
    kind::PUBLISH,
    kind::PUBACK,
    kind::PUBREC,
    kind::PUBREL,
    kind::PUBCOMP,
    kind::SUBSCRIBE,
    kind::SUBACK,
    kind::UNSUBSCRIBE,
    kind::UNSUBACK,
    kind::DISCONNECT,
    kind::AUTH,
];

/// Table 2-4, with the ranges from the sections of the packets. Topic alias 0 is not refused here: it has a
/// reason code of its own (3.3.2-8: 0x94), which is the receiver's to send.
#[rustfmt::skip]
const TABLE: [Row; 27] = {
    use PropertyId as P;
    use kind::{AUTH, CONNACK, CONNECT, DISCONNECT, PUBLISH, SUBSCRIBE, WILL};
    [
        row(P::PayloadFormatIndicator, "payload format indicator", BOOL, MESSAGE, &[]),
        row(P::MessageExpiryInterval, "message expiry interval", ANY_U32, MESSAGE, &[]),
        row(P::ContentType, "content type", Wire::Str, MESSAGE, &[]),
        row(P::ResponseTopic, "response topic", Wire::Str, MESSAGE, &[]),
        row(P::CorrelationData, "correlation data", Wire::Bin, MESSAGE, &[]),
        row(P::SubscriptionIdentifier, "subscription identifier", Wire::Varint(1, VARINT_MAX), &[PUBLISH, SUBSCRIBE], &[PUBLISH]),
        row(P::SessionExpiryInterval, "session expiry interval", ANY_U32, &[CONNECT, CONNACK, DISCONNECT], &[]),
        row(P::AssignedClientIdentifier, "assigned client identifier", Wire::Str, &[CONNACK], &[]),
        row(P::ServerKeepAlive, "server keep alive", ANY_U16, &[CONNACK], &[]),
        row(P::AuthenticationMethod, "authentication method", Wire::Str, &[CONNECT, CONNACK, AUTH], &[]),
        row(P::AuthenticationData, "authentication data", Wire::Bin, &[CONNECT, CONNACK, AUTH], &[]),
        row(P::RequestProblemInformation, "request problem information", BOOL, &[CONNECT], &[]),
        row(P::WillDelayInterval, "will delay interval", ANY_U32, &[WILL], &[]),
        row(P::RequestResponseInformation, "request response information", BOOL, &[CONNECT], &[]),
        row(P::ResponseInformation, "response information", Wire::Str, &[CONNACK], &[]),
        row(P::ServerReference, "server reference", Wire::Str, &[CONNACK, DISCONNECT], &[]),
        row(P::ReasonString, "reason string", Wire::Str, REASONED, &[]),
        row(P::ReceiveMaximum, "receive maximum", Wire::U16(1, 0xFFFF), &[CONNECT, CONNACK], &[]),
        row(P::TopicAliasMaximum, "topic alias maximum", ANY_U16, &[CONNECT, CONNACK], &[]),
        row(P::TopicAlias, "topic alias", ANY_U16, &[PUBLISH], &[]),
        row(P::MaximumQoS, "maximum QoS", BOOL, &[CONNACK], &[]),
        row(P::RetainAvailable, "retain available", BOOL, &[CONNACK], &[]),
        row(P::UserProperty, "user property", Wire::Pair, USER, USER),
        row(P::MaximumPacketSize, "maximum packet size", Wire::U32(1, u32::MAX), &[CONNECT, CONNACK], &[]),
        row(P::WildcardSubscriptionAvailable, "wildcard subscription available", BOOL, &[CONNACK], &[]),
        row(P::SubscriptionIdentifierAvailable, "subscription identifier available", BOOL, &[CONNACK], &[]),
        row(P::SharedSubscriptionAvailable, "shared subscription available", BOOL, &[CONNACK], &[]),
    ]
};

/// The table by identifier, so that the hot path doesn't search.
static BY_ID: [Option<Row>; 64] = {
    let mut by_id = [None; 64];
    let mut rest: &[Row] = &TABLE;
    while let [row, tail @ ..] = rest {
        #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses a bad index")]
        #[expect(clippy::as_conversions, reason = "a byte fits")]
        {
            by_id[row.id.as_u8() as usize] = Some(*row);
        }
        rest = tail;
    }
    by_id
};

/// The row of an identifier; `None` if MQTT 5 doesn't define it.
pub(super) fn row_of(id: u8) -> Option<&'static Row> {
    BY_ID.get(usize::from(id))?.as_ref()
}
