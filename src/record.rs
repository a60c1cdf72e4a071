//! What may be stored: typed, versioned bytes. A reading keeps its values and its clocks, so that its time can
//! be corrected when it is sent; a LAN message keeps its bytes. It knows nothing of where they are stored, and
//! has no checksum: the store's segments have one.
//!
//! Layout 1. Integers are varints (LEB128: seven bits a byte, low ones first, at most ten bytes), signed ones
//! zigzag; a string or a payload is its length, then its bytes.
//!
//! ```text
//! version = 1, kind, flags (bits 0-1 QoS, 2 RETAIN, 3 clock synced)
//! kind 1, reading: wall ms (signed), topic, device, run, number, boot (16 bytes), mono ns,
//!                  samples: count, then each: point, tag (bits 0-1 and 5 quality, 2-4 type of the value), value
//! kind 2, message: topic, MQTT 5 properties as on the wire, payload
//! kind 3, message: wall ms (signed) of its arrival by a clock that was right, then as kind 2
//! ```
//!
//! A layout, once released, is read for ever: a change makes version 2.

use std::sync::Arc;

use bytes::Bytes;

use crate::message::Message;
use crate::mqtt::{PropertiesBuf, QoS, topic};
use crate::reading::{Quality, Reading, Run, Sample, Seq, Value};
use crate::time::{BootId, ClockTrust, Mono, Timestamp};

/// A record's place in one outbox: dense while it is handed out, with gaps on disk where upstream acknowledged
/// before the commit was due. The first is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordNo(pub u64);

impl RecordNo {
    /// The next one; the last one has itself as its next, since there are more numbers than a flash can hold.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// One record as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its place.
    pub no: RecordNo,
    /// [`encode`]'s result.
    pub bytes: Bytes,
}

/// Why stored bytes are no record of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The layout is a later one.
    UnknownVersion(u8),
    /// The bytes end early, or a field is not what it must be.
    Damaged(&'static str),
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownVersion(version) => {
                write!(f, "record layout {version} is not known to this release")
            }
            Self::Damaged(what) => write!(f, "damaged record: {what}"),
        }
    }
}

impl std::error::Error for RecordError {}

const VERSION: u8 = 1;

const KIND_READING: u8 = 1;
const KIND_MESSAGE: u8 = 2;
const KIND_DATED: u8 = 3;

const FLAG_RETAIN: u8 = 0b0100;
const FLAG_SYNCED: u8 = 0b1000;

/// Types of a sample's value, in the tag's bits 2 to 4.
mod value_type {
    pub(super) const NONE: u8 = 0;
    pub(super) const NUMBER: u8 = 1;
    pub(super) const INTEGER: u8 = 2;
    pub(super) const FALSE: u8 = 3;
    pub(super) const TRUE: u8 = 4;
    pub(super) const TEXT: u8 = 5;
}

/// The bytes of a message for the store. A message with a reading keeps the reading (and topic, QoS, RETAIN),
/// not the payload nor the properties.
#[must_use]
pub fn encode(message: &Message) -> Bytes {
    encode_at(message, None)
}

/// The same with the time of a LAN message's arrival, if it is known; a reading has a time of its own.
#[must_use]
pub fn encode_at(message: &Message, arrived: Option<Timestamp>) -> Bytes {
    let flags = message.qos.as_u8() | if message.retain { FLAG_RETAIN } else { 0 };
    let mut out = Vec::with_capacity(estimate(message));
    match &message.reading {
        Some(reading) => {
            let synced = if reading.trust == ClockTrust::Synced { FLAG_SYNCED } else { 0 };
            out.extend_from_slice(&[VERSION, KIND_READING, flags | synced]);
            put_signed(&mut out, reading.wall.as_millis());
            put_bytes(&mut out, message.topic.as_bytes());
            put_reading(&mut out, reading);
        }
        None => {
            match arrived {
                Some(at) => {
                    out.extend_from_slice(&[VERSION, KIND_DATED, flags]);
                    put_signed(&mut out, at.as_millis());
                }
                None => out.extend_from_slice(&[VERSION, KIND_MESSAGE, flags]),
            }
            put_bytes(&mut out, message.topic.as_bytes());
            put_bytes(&mut out, message.properties.as_properties().as_bytes());
            put_bytes(&mut out, &message.payload);
        }
    }
    Bytes::from(out)
}

/// About how many bytes a message takes: enough that the buffer rarely grows.
fn estimate(message: &Message) -> usize {
    let content = match &message.reading {
        Some(reading) => {
            let points = reading.samples.iter().map(|sample| sample.point.len() + 12);
            reading.device.len() + 48 + points.sum::<usize>()
        }
        None => message.properties.as_properties().as_bytes().len() + message.payload.len(),
    };
    16 + message.topic.len() + content
}

fn put_reading(out: &mut Vec<u8>, reading: &Reading) {
    put_bytes(out, reading.device.as_bytes());
    put_varint(out, reading.seq.run.0);
    put_varint(out, reading.seq.number);
    out.extend_from_slice(&reading.boot.0);
    put_varint(out, reading.mono.as_nanos());
    put_len(out, reading.samples.len());
    for sample in &reading.samples {
        put_bytes(out, sample.point.as_bytes());
        put_value(out, sample);
    }
}

/// The third bit of a quality: the two beside the type of the value were all that the first layouts had.
const QUALITY_HIGH: u8 = 0b0010_0000;

fn put_value(out: &mut Vec<u8>, sample: &Sample) {
    let quality = match sample.quality {
        Quality::Good => 0,
        Quality::Invalid => 1,
        Quality::OutOfRange => 2,
        Quality::Stale => 3,
        Quality::Overrun => QUALITY_HIGH,
    };
    let tag = |value_type: u8| value_type << 2 | quality;
    match &sample.value {
        None => out.push(tag(value_type::NONE)),
        // Numbers are finite by their type's promise. Should one not be, its reading must not be lost with it.
        Some(Value::Number(number)) if !number.is_finite() => out.push(value_type::NONE << 2 | 1),
        Some(Value::Number(number)) => {
            out.push(tag(value_type::NUMBER));
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        Some(Value::Integer(integer)) => {
            out.push(tag(value_type::INTEGER));
            put_signed(out, *integer);
        }
        Some(Value::Bool(state)) => {
            out.push(tag(if *state { value_type::TRUE } else { value_type::FALSE }));
        }
        Some(Value::Text(text)) => {
            out.push(tag(value_type::TEXT));
            put_bytes(out, text.as_bytes());
        }
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7F);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Zigzag: small negative numbers stay short.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, (value << 1 ^ value >> 63).cast_unsigned());
}

pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    // A usize has at most 64 bits on every target that Rust knows.
    put_varint(out, u64::try_from(len).unwrap_or(u64::MAX));
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// The message in stored bytes. One that carries a reading comes back with an empty payload: its payload is
/// made when it is sent. The payload of another one is a part of `bytes`, not a copy.
///
/// # Errors
/// [`RecordError`]: not a record, or of a later layout.
pub fn decode(bytes: &Bytes) -> Result<Message, RecordError> {
    let (head, mut cursor) = head(bytes)?;
    let message = match head.kind {
        Kind::Reading { wall } => {
            let topic = topic_name(&mut cursor)?;
            let reading = reading(&mut cursor, wall, head.trust)?;
            Message {
                topic,
                payload: Bytes::new(),
                qos: head.qos,
                retain: head.retain,
                properties: PropertiesBuf::new(),
                reading: Some(Arc::new(reading)),
            }
        }
        Kind::Message { .. } => {
            let topic = topic_name(&mut cursor)?;
            let properties = PropertiesBuf::from_stored(cursor.bytes()?)
                .ok_or(RecordError::Damaged("the properties are not those of a PUBLISH"))?;
            let payload = cursor.shared(bytes)?;
            Message { topic, payload, qos: head.qos, retain: head.retain, properties, reading: None }
        }
    };
    if cursor.0.is_empty() { Ok(message) } else { Err(RecordError::Damaged("bytes behind the last field")) }
}

/// What the wall clock said when the reading in stored bytes was taken, or the LAN message came, without reading the
/// rest; `None` where that is not known and for bytes that are no record.
#[must_use]
pub fn wall_of(bytes: &[u8]) -> Option<Timestamp> {
    match head(bytes).ok()?.0.kind {
        Kind::Reading { wall } => Some(wall),
        Kind::Message { arrived } => arrived,
    }
}

enum Kind {
    Reading { wall: Timestamp },
    Message { arrived: Option<Timestamp> },
}

struct Head {
    kind: Kind,
    qos: QoS,
    retain: bool,
    trust: ClockTrust,
}

fn head(bytes: &[u8]) -> Result<(Head, Cursor<'_>), RecordError> {
    let mut cursor = Cursor(bytes);
    let version = cursor.u8()?;
    if version != VERSION {
        return Err(match version {
            0 => RecordError::Damaged("layout 0"),
            later => RecordError::UnknownVersion(later),
        });
    }
    let kind = cursor.u8()?;
    let flags = cursor.u8()?;
    let qos = QoS::from_u8(flags & 0b11).ok_or(RecordError::Damaged("QoS 3"))?;
    let (kind, known) = match kind {
        KIND_READING => (
            Kind::Reading { wall: Timestamp::from_millis(cursor.signed()?) },
            0b11 | FLAG_RETAIN | FLAG_SYNCED,
        ),
        KIND_MESSAGE => (Kind::Message { arrived: None }, 0b11 | FLAG_RETAIN),
        KIND_DATED => {
            let arrived = Some(Timestamp::from_millis(cursor.signed()?));
            (Kind::Message { arrived }, 0b11 | FLAG_RETAIN)
        }
        _ => return Err(RecordError::Damaged("neither a reading nor a message")),
    };
    if flags & !known != 0 {
        return Err(RecordError::Damaged("unknown flags"));
    }
    let trust = if flags & FLAG_SYNCED != 0 { ClockTrust::Synced } else { ClockTrust::Unsynced };
    Ok((Head { kind, qos, retain: flags & FLAG_RETAIN != 0, trust }, cursor))
}

fn topic_name(cursor: &mut Cursor<'_>) -> Result<Arc<str>, RecordError> {
    let name = cursor.text()?;
    topic::check_name(name).map_err(|_| RecordError::Damaged("the topic is no topic name"))?;
    Ok(name.into())
}

fn reading(cursor: &mut Cursor<'_>, wall: Timestamp, trust: ClockTrust) -> Result<Reading, RecordError> {
    let device = cursor.text()?.into();
    let seq = Seq { run: Run(cursor.varint()?), number: cursor.varint()? };
    let boot = BootId(cursor.array()?);
    let mono = Mono::from_nanos(cursor.varint()?);
    let count = cursor.len()?;
    // The shortest sample takes two bytes, so a wrong count can't ask for much more than the record's own size.
    let mut samples = Vec::with_capacity(count.min(cursor.0.len() / 2));
    for _ in 0..count {
        samples.push(sample(cursor)?);
    }
    Ok(Reading { device, seq, boot, mono, wall, trust, samples })
}

fn sample(cursor: &mut Cursor<'_>) -> Result<Sample, RecordError> {
    let point = cursor.text()?.into();
    let tag = cursor.u8()?;
    let quality = match tag & (0b11 | QUALITY_HIGH) {
        0 => Quality::Good,
        1 => Quality::Invalid,
        2 => Quality::OutOfRange,
        3 => Quality::Stale,
        QUALITY_HIGH => Quality::Overrun,
        _ => return Err(RecordError::Damaged("an unknown quality")),
    };
    let value = match (tag & !QUALITY_HIGH) >> 2 {
        value_type::NONE => None,
        value_type::NUMBER => Some(Value::Number(f64::from_bits(u64::from_le_bytes(cursor.array()?)))),
        value_type::INTEGER => Some(Value::Integer(cursor.signed()?)),
        value_type::FALSE => Some(Value::Bool(false)),
        value_type::TRUE => Some(Value::Bool(true)),
        value_type::TEXT => Some(Value::Text(cursor.text()?.to_owned())),
        _ => return Err(RecordError::Damaged("an unknown type of value")),
    };
    if matches!(value, Some(Value::Number(number)) if !number.is_finite()) {
        return Err(RecordError::Damaged("a number that is not finite"));
    }
    Ok(Sample { point, value, quality })
}

/// What is left to read.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

const SHORT: RecordError = RecordError::Damaged("it ends inside a field");

impl<'a> Cursor<'a> {
    pub(crate) fn u8(&mut self) -> Result<u8, RecordError> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, RecordError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::Damaged("an integer of more than 64 bits"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, RecordError> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    pub(crate) fn len(&mut self) -> Result<usize, RecordError> {
        usize::try_from(self.varint()?).map_err(|_| SHORT)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let len = self.len()?;
        let (field, rest) = self.0.split_at_checked(len).ok_or(SHORT)?;
        self.0 = rest;
        Ok(field)
    }

    /// As [`Self::bytes`], as a share of `whole`, of which this cursor walks the tail.
    pub(crate) fn shared(&mut self, whole: &Bytes) -> Result<Bytes, RecordError> {
        let len = self.bytes()?.len();
        let end = whole.len().checked_sub(self.0.len()).ok_or(SHORT)?;
        let start = end.checked_sub(len).ok_or(SHORT)?;
        Ok(whole.slice(start..end))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RecordError::Damaged("a text is not UTF-8"))
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
