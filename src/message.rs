//! What broker and bridge exchange: one application message, owned, cheap to clone.

use std::sync::Arc;

use bytes::Bytes;

use crate::mqtt::{PropertiesBuf, QoS};
use crate::reading::Reading;

/// One application message. Cloning it copies no payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// A valid topic name.
    pub topic: Arc<str>,
    /// The bytes that LAN subscribers get. For a reading: encoded with the time as known at intake.
    pub payload: Bytes,
    /// The quality of service that it was published with.
    pub qos: QoS,
    /// Whether it was published with RETAIN.
    pub retain: bool,
    /// The MQTT 5 properties that travel with it (payload format, expiry, content type, response topic,
    /// correlation data, user properties): never topic alias nor subscription identifier.
    pub properties: PropertiesBuf,
    /// The reading that this message carries. The outbox keeps it typed, so that its time can still be
    /// corrected when it is sent.
    pub reading: Option<Arc<Reading>>,
}

/// Ties an acknowledgement to what must be safe before it: given out by the broker with a forwarded message,
/// handed back once per outbox when that outbox has it on disk or upstream has acknowledged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SafeToken(pub u64);

/// Ties an upstream's message to its acknowledgement: given out by the bridge, handed back by the broker when what has to
/// be safe on this side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The levels under the base topic that only the gateway itself publishes to: neither LAN clients nor upstreams.
const OWN_LEVELS: [&str; 5] = ["data", "status", "health", "receipt", "info"];

/// The level behind the base topic, if only the gateway itself publishes there.
#[must_use]
pub fn own_level<'a>(topic: &'a str, base: &str) -> Option<&'a str> {
    let level = topic.strip_prefix(base)?.strip_prefix('/')?.split('/').next()?;
    OWN_LEVELS.contains(&level).then_some(level)
}

/// One outbox of an upstream. No two have the same while the gateway runs, whoever comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId(pub u16);
