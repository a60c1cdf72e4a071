//! A message on its way through the broker: borrowed from the read buffer as long as that will do, owned once it
//! must outlive the turn.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ConnId;
use super::bodies::Place;
use super::flow::Publisher;
use super::session::SessionIdx;
use crate::message::{Message, OutboxId, SafeToken};
use crate::mqtt::{Properties, PropertiesBuf, PropertyId, QoS, Version};
use crate::time::Mono;

/// An owned message, shared by all the sessions that wait with it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) message: Message,
    /// When it expires (5.0, 3.3.2.3.3).
    pub(super) expires: Option<Mono>,
}

impl Kept {
    pub(super) fn new(message: Message, now: Mono) -> Self {
        let expires = message
            .properties
            .as_properties()
            .number(PropertyId::MessageExpiryInterval)
            .map(|seconds| now + Duration::from_secs(u64::from(seconds)));
        Self { message, expires }
    }

    #[cfg(test)]
    pub(super) fn for_test(topic: &str, payload_bytes: usize, expires_ns: Option<u64>) -> Self {
        let message = Message {
            topic: topic.into(),
            payload: vec![0; payload_bytes].into(),
            qos: QoS::AtMostOnce,
            retain: true,
            properties: PropertiesBuf::new(),
            reading: None,
        };
        Self { message, expires: expires_ns.map(Mono::from_nanos) }
    }

    /// Topic, payload and properties: what bounds count.
    pub(super) fn bytes(&self) -> usize {
        let message = &self.message;
        message.topic.len() + message.payload.len() + message.properties.as_properties().as_bytes().len()
    }

    pub(super) fn is_expired(&self, now: Mono) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// The properties as they must be sent now: the expiry interval is what remains of it (3.3.2-6). `None` if
    /// they can go as they are.
    pub(super) fn aged_properties(&self, now: Mono) -> Option<PropertiesBuf> {
        let remaining = self.expires?.since(now);
        let seconds = u32::try_from(remaining.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        self.message.properties.as_properties().with_seconds_left(seconds)
    }
}

/// A message that is being routed.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a Arc<str>,
    pub(super) payload: &'a [u8],
    /// Only those that travel with the message.
    pub(super) properties: Properties<'a>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Whose message it is, for No Local.
    pub(super) publisher: Option<SessionIdx>,
    /// The upstream that it came from: it never goes back there.
    pub(super) origin: Option<OutboxId>,
    /// The connection to hold while a receiver is full; `None` for wills and the gateway itself.
    pub(super) from: Option<ConnId>,
    /// Who waits for its acknowledgement.
    pub(super) by: Option<Publisher>,
    /// What stands for that, once something must be safe before.
    pub(super) token: Option<SafeToken>,
    /// It was to be retained, and is not.
    pub(super) not_retained: bool,
    /// The first session that it must be on disk for.
    pub(super) first: Option<Place>,
    /// What it is on disk as, once it must be there for a second one.
    pub(super) body: Option<u64>,
    /// The owned form, once somebody needed it.
    kept: Option<Arc<Kept>>,
    now: Mono,
}

impl<'a> Outgoing<'a> {
    pub(super) const fn borrowed(
        topic: &'a Arc<str>,
        payload: &'a [u8],
        properties: Properties<'a>,
        (qos, retain): (QoS, bool),
        (publisher, from): (Option<SessionIdx>, Option<ConnId>),
        now: Mono,
    ) -> Self {
        Self {
            topic,
            payload,
            properties,
            qos,
            retain,
            publisher,
            origin: None,
            from,
            by: None,
            token: None,
            not_retained: false,
            first: None,
            body: None,
            kept: None,
            now,
        }
    }

    pub(super) fn owned(kept: &'a Arc<Kept>, publisher: Option<SessionIdx>, now: Mono) -> Self {
        let message = &kept.message;
        Self {
            topic: &message.topic,
            payload: &message.payload,
            properties: message.properties.as_properties(),
            qos: message.qos,
            retain: message.retain,
            publisher,
            origin: None,
            from: None,
            by: None,
            token: None,
            not_retained: false,
            first: None,
            body: None,
            kept: Some(Arc::clone(kept)),
            now,
        }
    }

    /// Topic, payload and properties: what bounds count.
    pub(super) fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.as_bytes().len()
    }

    /// The owned form: the payload is copied at most once per message, whoever asks.
    pub(super) fn kept(&mut self) -> &Arc<Kept> {
        self.kept.get_or_insert_with(|| {
            let message = Message {
                topic: Arc::clone(self.topic),
                payload: Bytes::copy_from_slice(self.payload),
                qos: self.qos,
                retain: self.retain,
                properties: self.properties.to_buf(),
                reading: None,
            };
            Arc::new(Kept::new(message, self.now))
        })
    }
}

/// Bytes of a PUBLISH as it goes to a client, to be held against its Maximum Packet Size (3.1.2-24).
pub(super) fn publish_len(
    version: Version,
    qos: QoS,
    topic: usize,
    properties: usize,
    payload: usize,
) -> usize {
    let properties = if version == Version::V5 { varint_len(properties) + properties } else { 0 };
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { 2 };
    let remaining = 2 + topic + packet_id + properties + payload;
    1 + varint_len(remaining) + remaining
}

const fn varint_len(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}
