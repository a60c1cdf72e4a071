//! What the broker keeps over a restart: one key and versioned bytes for each retained message, session,
//! subscription, message on its way to a client and QoS 2 identifier. It knows nothing of when they are written,
//! nor where, and has no checksum: the store has one.
//!
//! Layout 1, with the integers, strings and payloads of [`crate::record`]. Each value names itself, so that a key is
//! only a place.
//!
//! ```text
//! version = 1, kind, then
//! kind 1, retained:     message
//! kind 2, session:      serial, client, flags (1 user, 2 expires, 4 connected, 8 will, 16 ends, 32 home, 64 own users), [user], [home],
//!                       [expiry ms], [ends: span], sent, [will: span, message]
//! kind 3, subscription: serial, filter, options (as on the wire), identifier or 0
//! kind 4, outbound:     serial, number, 0 or 1 released, and where it is not: flags (bits 0-1 QoS, 2 RETAIN),
//!                       identifiers: count, each; message
//! kind 5, incoming:     serial, packet identifier
//!
//! Layout 2 is that of a message that several sessions share, and of an incoming identifier with a fingerprint;
//! everything else stays in layout 1.
//!
//! version = 2, kind, then
//! kind 4, outbound:     serial, number, flags, identifiers: count, each; the body's number
//! kind 5, incoming:     serial, packet identifier, the message's fingerprint
//! kind 6, body:         number, message
//!
//! message: flags (1 expires), [left: span], bytes as `record` has them
//! span:    ms left, wall ms (signed), 1 if the wall clock was right
//! ```
//!
//! A layout, once released, is read for ever: a change makes another version.

mod layout;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::message::Message;
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{PacketId, QoS, SubscribeOptions};
use crate::time::{ClockTrust, Now, Timestamp};

/// What a value is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The retained message of a topic.
    Retained(Arc<str>),
    /// A session, by its serial number.
    Session(u64),
    /// A session's subscription, by its filter as the client wrote it.
    Subscription(u64, Arc<str>),
    /// A session's message, by its number.
    Outbound(u64, u64),
    /// A client's QoS 2 packet identifier that is open.
    Incoming(u64, PacketId),
    /// A message that several sessions share, by a number of its own.
    Body(u64),
}

/// One change of what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// [`Key::encode`]'s result.
    pub key: Vec<u8>,
    /// What is there from now on ([`Value::encode`]); `None`: nothing.
    pub value: Option<Bytes>,
}

/// A span of which something is left, and when that was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What was left.
    pub left: Duration,
    /// When, by the wall clock.
    pub wall: Timestamp,
    /// Whether that clock was right.
    pub trust: ClockTrust,
}

impl Span {
    /// `left` as of now.
    #[must_use]
    pub const fn new(left: Duration, now: Now) -> Self {
        Self { left, wall: now.wall, trust: now.trust }
    }

    /// What is left of it now. Where either clock is not to be trusted, nothing has passed.
    #[must_use]
    pub fn left_at(&self, now: Now) -> Duration {
        if self.trust != ClockTrust::Synced || now.trust != ClockTrust::Synced {
            return self.left;
        }
        let passed = now.wall.as_millis().saturating_sub(self.wall.as_millis());
        self.left.saturating_sub(Duration::from_millis(u64::try_from(passed).unwrap_or(0)))
    }
}

/// A message with what is left of its expiry interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The message, without a reading.
    pub message: Message,
    /// Until it expires.
    pub expires: Option<Span>,
}

/// A listener with users or rules of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Its name.
    pub listener: Arc<str>,
    /// Whether the session belongs to one of the listener's own users, rather than to one of the broker's.
    pub own_users: bool,
}

/// A session.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSession {
    /// Its number, which no other session ever has.
    pub serial: u64,
    /// The client identifier.
    pub client_id: Arc<str>,
    /// Who owns it.
    pub user_name: Option<Arc<str>>,
    /// Where its client came in, if that listener has users or rules of its own.
    pub home: Option<Home>,
    /// How long it outlives a connection; `None`: for ever.
    pub expiry: Option<Duration>,
    /// It had a connection.
    pub connected: bool,
    /// It had none, and this was left of the session.
    pub ends: Option<Span>,
    /// The number of the last message that was sent to the client.
    pub sent: u64,
    /// The will, and what was left of its delay.
    pub will: Option<(Message, Span)>,
}

/// A message on its way to a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Outbound {
    /// The client has not confirmed it.
    Message {
        /// The message.
        stored: Stored,
        /// As granted.
        qos: QoS,
        /// As the subscription wants it.
        retain: bool,
        /// The identifiers of the subscriptions.
        identifiers: Vec<u32>,
    },
    /// The same, and what they share stands under [`Key::Body`].
    Shared {
        /// That key's number.
        body: u64,
        /// As granted.
        qos: QoS,
        /// As the subscription wants it.
        retain: bool,
        /// The identifiers of the subscriptions.
        identifiers: Vec<u32>,
    },
    /// The client has it (PUBREC), and waits for PUBREL.
    Released,
}

/// One thing that is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A retained message.
    Retained(Stored),
    /// A session.
    Session(Box<StoredSession>),
    /// A session's subscription.
    Subscription {
        /// Whose.
        serial: u64,
        /// To what.
        filter: TopicFilter,
        /// How.
        options: SubscribeOptions,
        /// The subscription identifier.
        id: Option<NonZeroU32>,
    },
    /// A session's message.
    Outbound {
        /// Whose.
        serial: u64,
        /// Its number.
        number: u64,
        /// How far it is.
        outbound: Outbound,
    },
    /// A QoS 2 identifier of a client.
    Incoming {
        /// Whose.
        serial: u64,
        /// Which.
        packet_id: PacketId,
        /// Tells its message from another one under the same identifier; `None` in layout 1.
        fingerprint: Option<u32>,
    },
    /// A message that several sessions share.
    Body {
        /// Its number.
        number: u64,
        /// The message.
        stored: Stored,
    },
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
