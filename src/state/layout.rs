//! The bytes of keys and values, and a value of its bytes, as the layouts in the module above say.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Home, Key, Outbound, Span, Stored, StoredSession, Value};
use crate::message::Message;
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{PacketId, QoS, RetainHandling, SubscribeOptions};
use crate::record::{self, Cursor, RecordError, put_bytes, put_len, put_signed, put_varint};
use crate::time::{ClockTrust, Timestamp};

/// Topics up to here stand in the key as they are; of longer ones, a hash stands for the rest.
pub(super) const KEY_TEXT_BYTES_MAX: usize = 200;

const VERSION: u8 = 1;
const VERSION_SHARED: u8 = 2;

const KIND_RETAINED: u8 = 1;
const KIND_SESSION: u8 = 2;
const KIND_SUBSCRIPTION: u8 = 3;
const KIND_OUTBOUND: u8 = 4;
const KIND_INCOMING: u8 = 5;
const KIND_BODY: u8 = 6;

const FLAG_USER: u8 = 1;
const FLAG_EXPIRES: u8 = 2;
const FLAG_CONNECTED: u8 = 4;
const FLAG_WILL: u8 = 8;
const FLAG_ENDS: u8 = 16;
const FLAG_HOME: u8 = 32;
const FLAG_OWN_USERS: u8 = 64;
const FLAG_UNKNOWN: u8 = 128;

const FLAG_RETAIN: u8 = 0b100;

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
            Self::Body(number) => {
                out.push(KIND_BODY);
                out.extend(number.to_be_bytes());
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
            Self::Outbound {
                serial,
                number,
                outbound: Outbound::Shared { body, qos, retain, identifiers },
            } => {
                out = vec![VERSION_SHARED, KIND_OUTBOUND];
                put_varint(&mut out, *serial);
                put_varint(&mut out, *number);
                put_grant(&mut out, *qos, *retain, identifiers);
                put_varint(&mut out, *body);
            }
            Self::Body { number, stored } => {
                out = vec![VERSION_SHARED, KIND_BODY];
                put_varint(&mut out, *number);
                put_stored(&mut out, stored);
            }
            Self::Outbound { serial, number, outbound } => {
                out.push(KIND_OUTBOUND);
                put_varint(&mut out, *serial);
                put_varint(&mut out, *number);
                put_outbound(&mut out, outbound);
            }
            Self::Incoming { serial, packet_id, fingerprint } => {
                out = vec![if fingerprint.is_some() { VERSION_SHARED } else { VERSION }, KIND_INCOMING];
                put_varint(&mut out, *serial);
                put_varint(&mut out, packet_id.0.get().into());
                if let Some(fingerprint) = fingerprint {
                    put_varint(&mut out, u64::from(*fingerprint));
                }
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
        let version = cursor.u8()?;
        match version {
            VERSION | VERSION_SHARED => {}
            0 => return Err(RecordError::Damaged("layout 0")),
            later => return Err(RecordError::UnknownVersion(later)),
        }
        let value = match cursor.u8()? {
            kind if version == VERSION_SHARED => shared(kind, &mut cursor, bytes)?,
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
            KIND_INCOMING => Self::Incoming {
                serial: cursor.varint()?,
                packet_id: packet_id(&mut cursor)?,
                fingerprint: None,
            },
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
            | flag(session.ends.is_some(), FLAG_ENDS)
            | flag(session.home.is_some(), FLAG_HOME)
            | flag(session.home.as_ref().is_some_and(|home| home.own_users), FLAG_OWN_USERS),
    );
    if let Some(user_name) = &session.user_name {
        put_bytes(out, user_name.as_bytes());
    }
    if let Some(home) = &session.home {
        put_bytes(out, home.listener.as_bytes());
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
            put_grant(out, *qos, *retain, identifiers);
            put_stored(out, stored);
        }
        // It has a layout of its own.
        Outbound::Shared { .. } => {}
    }
}

fn put_grant(out: &mut Vec<u8>, qos: QoS, retain: bool, identifiers: &[u32]) {
    out.push(qos.as_u8() | if retain { FLAG_RETAIN } else { 0 });
    put_len(out, identifiers.len());
    for id in identifiers {
        put_varint(out, (*id).into());
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
    if flags & FLAG_UNKNOWN != 0 {
        return Err(RecordError::Damaged("unknown flags"));
    }
    let has = |flag: u8| flags & flag != 0;
    let user_name = if has(FLAG_USER) { Some(Arc::from(cursor.text()?)) } else { None };
    let home = if has(FLAG_HOME) {
        Some(Home { listener: Arc::from(cursor.text()?), own_users: has(FLAG_OWN_USERS) })
    } else {
        None
    };
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
    Ok(StoredSession { serial, client_id, user_name, home, expiry, connected, ends, sent, will })
}

fn outbound(cursor: &mut Cursor<'_>, whole: &Bytes) -> Result<Outbound, RecordError> {
    if cursor.u8()? == 1 {
        return Ok(Outbound::Released);
    }
    let (qos, retain, identifiers) = grant(cursor)?;
    Ok(Outbound::Message { stored: stored(cursor, whole)?, qos, retain, identifiers })
}

/// What layout 2 has.
fn shared(kind: u8, cursor: &mut Cursor<'_>, whole: &Bytes) -> Result<Value, RecordError> {
    match kind {
        KIND_OUTBOUND => {
            let (serial, number) = (cursor.varint()?, cursor.varint()?);
            let (qos, retain, identifiers) = grant(cursor)?;
            let outbound = Outbound::Shared { body: cursor.varint()?, qos, retain, identifiers };
            Ok(Value::Outbound { serial, number, outbound })
        }
        KIND_INCOMING => Ok(Value::Incoming {
            serial: cursor.varint()?,
            packet_id: packet_id(cursor)?,
            fingerprint: Some(number(cursor)?),
        }),
        KIND_BODY => Ok(Value::Body { number: cursor.varint()?, stored: stored(cursor, whole)? }),
        _ => Err(RecordError::Damaged("an unknown kind")),
    }
}

fn grant(cursor: &mut Cursor<'_>) -> Result<(QoS, bool, Vec<u32>), RecordError> {
    let flags = cursor.u8()?;
    let qos = QoS::from_u8(flags & 0b11)
        .filter(|_| flags & !(0b11 | FLAG_RETAIN) == 0)
        .ok_or(RecordError::Damaged("bad flags of a message"))?;
    let mut identifiers = Vec::new();
    for _ in 0..cursor.len()? {
        identifiers.push(number(cursor)?);
    }
    Ok((qos, flags & FLAG_RETAIN != 0, identifiers))
}

fn number(cursor: &mut Cursor<'_>) -> Result<u32, RecordError> {
    u32::try_from(cursor.varint()?).map_err(|_| RecordError::Damaged("a number is too large"))
}

fn packet_id(cursor: &mut Cursor<'_>) -> Result<PacketId, RecordError> {
    let id = u16::try_from(cursor.varint()?).ok().and_then(PacketId::new);
    id.ok_or(RecordError::Damaged("no packet identifier"))
}
