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
//! kind 2, session:      serial, client, flags (1 user, 2 expires, 4 connected, 8 will, 16 ends), [user],
//!                       [expiry ms], [ends: span], sent, [will: span, message]
//! kind 3, subscription: serial, filter, options (as on the wire), identifier or 0
//! kind 4, outbound:     serial, number, 0 or 1 released, and where it is not: flags (bits 0-1 QoS, 2 RETAIN),
//!                       identifiers: count, each; message
//! kind 5, incoming:     serial, packet identifier
//!
//! message: flags (1 expires), [left: span], bytes as `record` has them
//! span:    ms left, wall ms (signed), 1 if the wall clock was right
//! ```
//!
//! A layout, once released, is read for ever: a change makes version 2.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::message::Message;
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{PacketId, QoS, RetainHandling, SubscribeOptions};
use crate::record::{self, Cursor, RecordError, put_bytes, put_len, put_signed, put_varint};
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
}

/// Topics up to here stand in the key as they are; of longer ones, a hash stands for the rest.
const KEY_TEXT_BYTES_MAX: usize = 200;

impl Key {
    /// The key's bytes: at most 225.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Retained(topic) => {
                out.push(KIND_RETAINED);
                put_key_text(&mut out, topic);
            }
            Self::Session(serial) => {
                out.push(KIND_SESSION);
                out.extend(serial.to_be_bytes());
            }
            Self::Subscription(serial, filter) => {
                out.push(KIND_SUBSCRIPTION);
                out.extend(serial.to_be_bytes());
                put_key_text(&mut out, filter);
            }
            Self::Outbound(serial, number) => {
                out.push(KIND_OUTBOUND);
                out.extend(serial.to_be_bytes());
                out.extend(number.to_be_bytes());
            }
            Self::Incoming(serial, packet_id) => {
                out.push(KIND_INCOMING);
                out.extend(serial.to_be_bytes());
                out.extend(packet_id.0.get().to_be_bytes());
            }
        }
        out
    }
}

fn put_key_text(out: &mut Vec<u8>, text: &str) {
    match text.as_bytes().split_at_checked(KEY_TEXT_BYTES_MAX) {
        Some((head, rest)) if !rest.is_empty() => {
            out.extend_from_slice(head);
            // FNV-1a, 128 bits. No topic has a zero byte, so that this is no other topic's key.
            let hash = rest.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
                (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B)
            });
            out.push(0);
            out.extend(hash.to_be_bytes());
        }
        _ => out.extend_from_slice(text.as_bytes()),
    }
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

/// A session.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSession {
    /// Its number, which no other session ever has.
    pub serial: u64,
    /// The client identifier.
    pub client_id: Arc<str>,
    /// Who owns it.
    pub user_name: Option<Arc<str>>,
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
    },
}

const VERSION: u8 = 1;

const KIND_RETAINED: u8 = 1;
const KIND_SESSION: u8 = 2;
const KIND_SUBSCRIPTION: u8 = 3;
const KIND_OUTBOUND: u8 = 4;
const KIND_INCOMING: u8 = 5;

const FLAG_USER: u8 = 1;
const FLAG_EXPIRES: u8 = 2;
const FLAG_CONNECTED: u8 = 4;
const FLAG_WILL: u8 = 8;
const FLAG_ENDS: u8 = 16;

const FLAG_RETAIN: u8 = 0b100;

impl Value {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        match self {
            Self::Retained(stored) => {
                out.push(KIND_RETAINED);
                put_stored(&mut out, stored);
            }
            Self::Session(session) => put_session(&mut out, session),
            Self::Subscription { serial, filter, options, id } => {
                out.push(KIND_SUBSCRIPTION);
                put_varint(&mut out, *serial);
                put_bytes(&mut out, filter.to_string().as_bytes());
                out.push(options_byte(*options));
                put_varint(&mut out, id.map_or(0, |id| id.get().into()));
            }
            Self::Outbound { serial, number, outbound } => {
                out.push(KIND_OUTBOUND);
                put_varint(&mut out, *serial);
                put_varint(&mut out, *number);
                put_outbound(&mut out, outbound);
            }
            Self::Incoming { serial, packet_id } => {
                out.push(KIND_INCOMING);
                put_varint(&mut out, *serial);
                put_varint(&mut out, packet_id.0.get().into());
            }
        }
        Bytes::from(out)
    }

    /// What the bytes say.
    ///
    /// # Errors
    /// [`RecordError`]: not of ours, or of a later layout.
    pub fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        let mut cursor = Cursor(bytes);
        match cursor.u8()? {
            VERSION => {}
            0 => return Err(RecordError::Damaged("layout 0")),
            later => return Err(RecordError::UnknownVersion(later)),
        }
        let value = match cursor.u8()? {
            KIND_RETAINED => Self::Retained(stored(&mut cursor, bytes)?),
            KIND_SESSION => Self::Session(Box::new(session(&mut cursor, bytes)?)),
            KIND_SUBSCRIPTION => Self::Subscription {
                serial: cursor.varint()?,
                filter: TopicFilter::parse(cursor.text()?)
                    .map_err(|_| RecordError::Damaged("the filter is no topic filter"))?,
                options: options(cursor.u8()?)?,
                id: NonZeroU32::new(number(&mut cursor)?),
            },
            KIND_OUTBOUND => Self::Outbound {
                serial: cursor.varint()?,
                number: cursor.varint()?,
                outbound: outbound(&mut cursor, bytes)?,
            },
            KIND_INCOMING => Self::Incoming { serial: cursor.varint()?, packet_id: packet_id(&mut cursor)? },
            _ => return Err(RecordError::Damaged("an unknown kind")),
        };
        if cursor.0.is_empty() { Ok(value) } else { Err(RecordError::Damaged("bytes behind the last field")) }
    }
}

fn put_span(out: &mut Vec<u8>, span: Span) {
    put_varint(out, u64::try_from(span.left.as_millis()).unwrap_or(u64::MAX));
    put_signed(out, span.wall.as_millis());
    out.push(u8::from(span.trust == ClockTrust::Synced));
}

fn put_stored(out: &mut Vec<u8>, stored: &Stored) {
    out.push(u8::from(stored.expires.is_some()));
    if let Some(span) = stored.expires {
        put_span(out, span);
    }
    put_message(out, &stored.message);
}

fn put_message(out: &mut Vec<u8>, message: &Message) {
    // Its payload is what subscribers were promised, not the reading that it was made of.
    let bytes = match &message.reading {
        None => record::encode(message),
        Some(_) => record::encode(&Message { reading: None, ..message.clone() }),
    };
    put_bytes(out, &bytes);
}

fn put_session(out: &mut Vec<u8>, session: &StoredSession) {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    out.push(KIND_SESSION);
    put_varint(out, session.serial);
    put_bytes(out, session.client_id.as_bytes());
    out.push(
        flag(session.user_name.is_some(), FLAG_USER)
            | flag(session.expiry.is_some(), FLAG_EXPIRES)
            | flag(session.connected, FLAG_CONNECTED)
            | flag(session.will.is_some(), FLAG_WILL)
            | flag(session.ends.is_some(), FLAG_ENDS),
    );
    if let Some(user_name) = &session.user_name {
        put_bytes(out, user_name.as_bytes());
    }
    if let Some(expiry) = session.expiry {
        put_varint(out, u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX));
    }
    if let Some(ends) = session.ends {
        put_span(out, ends);
    }
    put_varint(out, session.sent);
    if let Some((message, delay)) = &session.will {
        put_span(out, *delay);
        put_message(out, message);
    }
}

fn put_outbound(out: &mut Vec<u8>, outbound: &Outbound) {
    match outbound {
        Outbound::Released => out.push(1),
        Outbound::Message { stored, qos, retain, identifiers } => {
            out.push(0);
            out.push(qos.as_u8() | if *retain { FLAG_RETAIN } else { 0 });
            put_len(out, identifiers.len());
            for id in identifiers {
                put_varint(out, (*id).into());
            }
            put_stored(out, stored);
        }
    }
}

/// As in SUBSCRIBE (5.0, 3.8.3.1).
fn options_byte(options: SubscribeOptions) -> u8 {
    let handling = match options.retain_handling {
        RetainHandling::Always => 0,
        RetainHandling::IfNew => 1,
        RetainHandling::Never => 2,
    };
    options.qos.as_u8()
        | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | handling << 4
}

fn options(byte: u8) -> Result<SubscribeOptions, RecordError> {
    const BAD: RecordError = RecordError::Damaged("bad subscription options");
    let retain_handling = match byte >> 4 {
        0 => RetainHandling::Always,
        1 => RetainHandling::IfNew,
        2 => RetainHandling::Never,
        _ => return Err(BAD),
    };
    Ok(SubscribeOptions {
        qos: QoS::from_u8(byte & 0b11).ok_or(BAD)?,
        no_local: byte & 0b100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling,
    })
}

fn span(cursor: &mut Cursor<'_>) -> Result<Span, RecordError> {
    let left = Duration::from_millis(cursor.varint()?);
    let wall = Timestamp::from_millis(cursor.signed()?);
    let trust = if cursor.u8()? == 1 { ClockTrust::Synced } else { ClockTrust::Unsynced };
    Ok(Span { left, wall, trust })
}

fn stored(cursor: &mut Cursor<'_>, whole: &Bytes) -> Result<Stored, RecordError> {
    let expires = if cursor.u8()? == 1 { Some(span(cursor)?) } else { None };
    Ok(Stored { message: message(cursor, whole)?, expires })
}

fn message(cursor: &mut Cursor<'_>, whole: &Bytes) -> Result<Message, RecordError> {
    record::decode(&cursor.shared(whole)?)
}

fn session(cursor: &mut Cursor<'_>, whole: &Bytes) -> Result<StoredSession, RecordError> {
    let serial = cursor.varint()?;
    let client_id = Arc::from(cursor.text()?);
    let flags = cursor.u8()?;
    if flags & !(FLAG_USER | FLAG_EXPIRES | FLAG_CONNECTED | FLAG_WILL | FLAG_ENDS) != 0 {
        return Err(RecordError::Damaged("unknown flags"));
    }
    let has = |flag: u8| flags & flag != 0;
    let user_name = if has(FLAG_USER) { Some(Arc::from(cursor.text()?)) } else { None };
    let expiry = if has(FLAG_EXPIRES) { Some(Duration::from_millis(cursor.varint()?)) } else { None };
    let ends = if has(FLAG_ENDS) { Some(span(cursor)?) } else { None };
    let sent = cursor.varint()?;
    let will = if has(FLAG_WILL) {
        let delay = span(cursor)?;
        Some((message(cursor, whole)?, delay))
    } else {
        None
    };
    let connected = has(FLAG_CONNECTED);
    Ok(StoredSession { serial, client_id, user_name, expiry, connected, ends, sent, will })
}

fn outbound(cursor: &mut Cursor<'_>, whole: &Bytes) -> Result<Outbound, RecordError> {
    if cursor.u8()? == 1 {
        return Ok(Outbound::Released);
    }
    let flags = cursor.u8()?;
    let qos = QoS::from_u8(flags & 0b11)
        .filter(|_| flags & !(0b11 | FLAG_RETAIN) == 0)
        .ok_or(RecordError::Damaged("bad flags of a message"))?;
    let mut identifiers = Vec::new();
    for _ in 0..cursor.len()? {
        identifiers.push(number(cursor)?);
    }
    let stored = stored(cursor, whole)?;
    Ok(Outbound::Message { stored, qos, retain: flags & FLAG_RETAIN != 0, identifiers })
}

fn number(cursor: &mut Cursor<'_>) -> Result<u32, RecordError> {
    u32::try_from(cursor.varint()?).map_err(|_| RecordError::Damaged("a number is too large"))
}

fn packet_id(cursor: &mut Cursor<'_>) -> Result<PacketId, RecordError> {
    let id = u16::try_from(cursor.varint()?).ok().and_then(PacketId::new);
    id.ok_or(RecordError::Damaged("no packet identifier"))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
