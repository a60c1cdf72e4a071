//! Bytes to packets: strict, borrowing, in two steps. [`frame`] splits one packet off the front of a buffer,
//! [`decode`] reads it.

use super::packet::{
    Ack, AckKind, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, Publish, QoS, RetainHandling, SubAck,
    Subscribe, SubscribeFilter, SubscribeOptions, UnsubAck, Unsubscribe, Version, Will,
};
use super::property::{Properties, PropertyId, PropertyLimits};
use super::reason::ReasonCode;
use super::topic;
use super::wire::{self, Cursor, kind, varint_len};

/// One whole control packet, still encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The first byte: type and flags.
    pub first: u8,
    /// What follows the remaining length.
    pub body: &'a [u8],
    /// Bytes of the whole packet, fixed header included.
    pub len: usize,
}

/// Why bytes are not a packet. The connection ends with [`DecodeError::reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Not by the standard's layout (1.2: Malformed Packet); also a property in the wrong packet (5.0, 2.2.2.2).
    Malformed(&'static str),
    /// Well-formed, but not allowed (1.2: Protocol Error): a property twice or out of its range, packet
    /// identifier 0, a reason code that the packet can't carry.
    Protocol(&'static str),
    /// A wildcard in the topic name of a PUBLISH or of a will (3.3.2-2; 5.0: 0x90).
    TopicNameInvalid,
    /// The packet is longer than this side accepts (5.0, 3.14.2.1: 0x95). Told by the fixed header alone.
    PacketTooLarge {
        /// The whole packet.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// More user properties than this side accepts (0x97).
    TooManyUserProperties {
        /// What is allowed.
        max: usize,
    },
    /// More bytes of properties than this side accepts (0x97).
    PropertiesTooLong {
        /// All properties of the packet, or of its will.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// CONNECT names a protocol or level that doesn't exist (5.0: 0x84; 3.x: return code 1).
    UnsupportedVersion,
}

impl DecodeError {
    /// The reason code to close with.
    #[must_use]
    pub const fn reason(self) -> ReasonCode {
        match self {
            Self::Malformed(_) => ReasonCode::MalformedPacket,
            Self::Protocol(_) => ReasonCode::ProtocolError,
            Self::TopicNameInvalid => ReasonCode::TopicNameInvalid,
            Self::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::TooManyUserProperties { .. } | Self::PropertiesTooLong { .. } => ReasonCode::QuotaExceeded,
            Self::UnsupportedVersion => ReasonCode::UnsupportedProtocolVersion,
        }
    }
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed packet: {what}"),
            Self::Protocol(what) => write!(f, "protocol error: {what}"),
            Self::TopicNameInvalid => write!(f, "topic name with a wildcard"),
            Self::PacketTooLarge { bytes, max } => write!(f, "packet of {bytes} bytes, {max} are allowed"),
            Self::TooManyUserProperties { max } => write!(f, "more than {max} user properties"),
            Self::PropertiesTooLong { bytes, max } => {
                write!(f, "properties of {bytes} bytes, {max} are allowed")
            }
            Self::UnsupportedVersion => write!(f, "unsupported protocol version"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Splits one packet off the front of `buf`; `None` while it is incomplete. A packet longer than
/// `packet_bytes_max` is refused as soon as its length is known.
///
/// # Errors
/// [`DecodeError::PacketTooLarge`], or `Malformed` for a remaining length of more than four bytes.
pub fn frame(buf: &[u8], packet_bytes_max: usize) -> Result<Option<Frame<'_>>, DecodeError> {
    let Some((&first, rest)) = buf.split_first() else { return Ok(None) };
    let Some((body_len, len_len)) = wire::varint(rest)? else { return Ok(None) };
    let header = 1 + len_len;
    let len = header + body_len;
    if len > packet_bytes_max {
        return Err(DecodeError::PacketTooLarge { bytes: len, max: packet_bytes_max });
    }
    Ok(buf.get(header..len).map(|body| Frame { first, body, len }))
}

/// The bytes of an acknowledgement that says success and nothing else.
pub const SHORT_ACK_BYTES: usize = 4;

/// Takes a PUBACK, PUBREC, PUBREL or PUBCOMP that says success and nothing else off the front of `buf`: nearly all are
/// so, in all versions, and they are half of what a broker reads. `None` for all else, whether it is a packet or not: that
/// is for [`frame`] and [`decode`].
#[must_use]
pub fn short_ack(buf: &[u8]) -> Option<(AckKind, PacketId)> {
    const PUBACK: u8 = kind::PUBACK << 4;
    const PUBREC: u8 = kind::PUBREC << 4;
    const PUBREL: u8 = kind::PUBREL << 4 | 0b0010;
    const PUBCOMP: u8 = kind::PUBCOMP << 4;
    let &[first, 2, high, low] = buf.first_chunk::<SHORT_ACK_BYTES>()? else { return None };
    let kind = match first {
        PUBACK => AckKind::PubAck,
        PUBREC => AckKind::PubRec,
        PUBREL => AckKind::PubRel,
        PUBCOMP => AckKind::PubComp,
        _ => return None,
    };
    PacketId::new(u16::from_be_bytes([high, low])).map(|id| (kind, id))
}

/// Reads a packet. `version` is the connection's; for CONNECT, which tells its own, it is ignored.
///
/// # Errors
/// Whatever breaks the standard's rules for a single packet, in either direction. What depends on the direction,
/// on the session or on limits is the caller's: a subscription identifier in a client's PUBLISH, topic alias 0,
/// a filter that is no valid filter, the length of a client identifier.
pub fn decode<'a>(frame: Frame<'a>, version: Version) -> Result<Packet<'a>, DecodeError> {
    decode_within(frame, version, PropertyLimits::NONE)
}

/// As [`decode`], with a bound on properties.
///
/// # Errors
/// As [`decode`]; `TooManyUserProperties` and `PropertiesTooLong` at the bound, before what lies behind it is
/// looked at.
pub fn decode_within<'a>(
    frame: Frame<'a>,
    version: Version,
    limits: PropertyLimits,
) -> Result<Packet<'a>, DecodeError> {
    let mut cursor = Cursor::with_limits(frame.body, limits);
    let c = &mut cursor;
    let packet_kind = frame.first >> 4;
    if packet_kind == kind::PUBLISH {
        check_length_form(frame, version)?;
        return publish(c, frame.first, version).map(Packet::Publish);
    }
    check_flags(frame.first, version)?;
    let packet = match packet_kind {
        kind::CONNECT => Packet::Connect(connect(c)?),
        kind::CONNACK => Packet::ConnAck(connack(c, version)?),
        kind::PUBACK => Packet::PubAck(ack(c, version, packet_kind)?),
        kind::PUBREC => Packet::PubRec(ack(c, version, packet_kind)?),
        kind::PUBREL => Packet::PubRel(ack(c, version, packet_kind)?),
        kind::PUBCOMP => Packet::PubComp(ack(c, version, packet_kind)?),
        kind::SUBSCRIBE => Packet::Subscribe(subscribe(c, version)?),
        kind::SUBACK => Packet::SubAck(suback(c, version)?),
        kind::UNSUBSCRIBE => Packet::Unsubscribe(unsubscribe(c, version)?),
        kind::UNSUBACK => Packet::UnsubAck(unsuback(c, version)?),
        kind::PINGREQ => Packet::PingReq,
        kind::PINGRESP => Packet::PingResp,
        kind::DISCONNECT => Packet::Disconnect(disconnect(c, version)?),
        kind::AUTH if version == Version::V5 => Packet::Auth(auth(c)?),
        _ => return Err(DecodeError::Malformed("a packet type that doesn't exist")),
    };
    cursor.finish()?;
    let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
    check_length_form(frame, version)?;
    Ok(packet)
}

/// The flags of all packets but PUBLISH are fixed (2.1.3-1). In 3.1, DUP stands on repeated PUBREL, SUBSCRIBE and
/// UNSUBSCRIBE (3.1, 2.1).
fn check_flags(first: u8, version: Version) -> Result<(), DecodeError> {
    let allowed = match (first >> 4, first & 0x0F) {
        (kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE, flags) => {
            flags == 0b0010 || (flags == 0b1010 && version == Version::V31)
        }
        (_, flags) => flags == 0,
    };
    if allowed { Ok(()) } else { Err(DecodeError::Malformed("reserved flags of the fixed header")) }
}

/// In 5.0 the remaining length, too, must be as short as it can be (1.5.5-1); 3.x doesn't say so, and there are
/// clients that pad it.
fn check_length_form(frame: Frame<'_>, version: Version) -> Result<(), DecodeError> {
    let header = frame.len.saturating_sub(frame.body.len());
    if version == Version::V5 && header > 1 + varint_len(frame.body.len()) {
        return Err(DecodeError::Malformed("the remaining length is longer than needed"));
    }
    Ok(())
}

fn properties<'a>(c: &mut Cursor<'a>, version: Version, kind: u8) -> Result<Properties<'a>, DecodeError> {
    if version == Version::V5 { Properties::read(c, kind) } else { Ok(Properties::EMPTY) }
}

fn packet_id(c: &mut Cursor<'_>) -> Result<PacketId, DecodeError> {
    PacketId::new(c.u16()?).ok_or(DecodeError::Protocol("packet identifier 0")) // 2.2.1-3
}

fn reason(c: &mut Cursor<'_>, kind: u8) -> Result<ReasonCode, DecodeError> {
    check_reason(c.u8()?, kind)
}

fn check_reason(code: u8, kind: u8) -> Result<ReasonCode, DecodeError> {
    ReasonCode::in_packet(code, kind)
        .ok_or(DecodeError::Protocol("a reason code that this packet can't carry"))
}

/// A topic name; an empty one is passed on as such.
fn topic_name<'a>(c: &mut Cursor<'a>) -> Result<&'a str, DecodeError> {
    let name = std::str::from_utf8(c.binary()?)
        .map_err(|_| DecodeError::Malformed("a topic name is not well-formed UTF-8"))?;
    match topic::check_characters(name) {
        Ok(()) => Ok(name),
        Err(topic::TopicError::Nul) => Err(DecodeError::Malformed("a string contains U+0000")), // 1.5.4-2
        Err(_) => Err(DecodeError::TopicNameInvalid),                                           // 3.3.2-2
    }
}

fn publish<'a>(c: &mut Cursor<'a>, first: u8, version: Version) -> Result<Publish<'a>, DecodeError> {
    let flags = publish_flags(first)?;
    let topic = topic_name(c)?;
    let publish = publish_behind(c, flags, topic, version)?;
    if topic.is_empty() {
        if version != Version::V5 {
            return Err(DecodeError::Malformed("an empty topic name")); // 4.7.3-1
        }
        if publish.properties.number(PropertyId::TopicAlias).is_none() {
            return Err(DecodeError::Protocol("neither a topic name nor a topic alias")); // 3.3.2.1
        }
    }
    Ok(publish)
}

/// DUP, QoS and RETAIN.
fn publish_flags(first: u8) -> Result<(bool, QoS, bool), DecodeError> {
    let dup = first & 0b1000 != 0;
    let retain = first & 0b0001 != 0;
    let qos = QoS::from_u8(first >> 1 & 0b11).ok_or(DecodeError::Malformed("QoS 3"))?; // 3.3.1-4
    if dup && qos == QoS::AtMostOnce {
        return Err(DecodeError::Malformed("DUP at QoS 0")); // 3.3.1-2
    }
    Ok((dup, qos, retain))
}

/// What follows the topic.
fn publish_behind<'a>(
    c: &mut Cursor<'a>,
    (dup, qos, retain): (bool, QoS, bool),
    topic: &'a str,
    version: Version,
) -> Result<Publish<'a>, DecodeError> {
    let packet_id = if qos == QoS::AtMostOnce { None } else { Some(packet_id(c)?) };
    let properties = properties(c, version, kind::PUBLISH)?;
    Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload: c.rest() })
}

/// Reads a PUBLISH whose topic is `known`, which was found valid before and is not looked at again; `topic` is empty then.
/// `None` for one with another topic or with properties, for other packets, and for what is none: that is for
/// [`decode_within`].
#[must_use]
pub fn publish_again<'a>(frame: Frame<'a>, version: Version, known: &str) -> Option<Publish<'a>> {
    if frame.first >> 4 != kind::PUBLISH {
        return None;
    }
    let mut cursor = Cursor::new(frame.body);
    if cursor.binary().ok()? != known.as_bytes() {
        return None;
    }
    check_length_form(frame, version).ok()?;
    let publish = publish_behind(&mut cursor, publish_flags(frame.first).ok()?, "", version).ok()?;
    publish.properties.is_empty().then_some(publish)
}

/// The flags of a CONNECT (3.1.2.3).
struct ConnectFlags {
    user_name: bool,
    password: bool,
    will_retain: bool,
    will_qos: QoS,
    will: bool,
    clean_start: bool,
}

impl ConnectFlags {
    fn read(flags: u8, version: Version) -> Result<Self, DecodeError> {
        let bit = |n: u8| flags >> n & 1 != 0;
        let will_qos = QoS::from_u8(flags >> 3 & 0b11);
        let this = Self {
            user_name: bit(7),
            password: bit(6),
            will_retain: bit(5),
            will_qos: will_qos.ok_or(DecodeError::Malformed("will QoS 3"))?, // 3.1.2-12
            will: bit(2),
            clean_start: bit(1),
        };
        if bit(0) {
            return Err(DecodeError::Malformed("the reserved flag of CONNECT")); // 3.1.2-3
        }
        if !this.will && (this.will_retain || this.will_qos != QoS::AtMostOnce) {
            return Err(DecodeError::Malformed("will QoS or will retain without a will")); // 3.1.2-11, -13
        }
        if this.password && !this.user_name && version != Version::V5 {
            return Err(DecodeError::Malformed("a password without a user name")); // 3.1.1, 3.1.2-22
        }
        Ok(this)
    }
}

/// The version, and whether the client says that it is a bridge.
fn protocol(c: &mut Cursor<'_>) -> Result<(Version, bool), DecodeError> {
    let name = c.binary()?;
    let level = c.u8()?;
    match (name, level) {
        (b"MQTT", 5) => Ok((Version::V5, false)),
        (b"MQTT", 4) => Ok((Version::V311, false)),
        (b"MQTT", 0x84) => Ok((Version::V311, true)),
        (b"MQIsdp", 3) => Ok((Version::V31, false)),
        (b"MQIsdp", 0x83) => Ok((Version::V31, true)),
        (b"MQTT" | b"MQIsdp", _) => Err(DecodeError::UnsupportedVersion), // 3.1.2-2
        _ => Err(DecodeError::Malformed("not the protocol name of MQTT")),
    }
}

fn connect<'a>(c: &mut Cursor<'a>) -> Result<Connect<'a>, DecodeError> {
    let (version, bridge) = protocol(c)?;
    let flags = ConnectFlags::read(c.u8()?, version)?;
    let keep_alive = c.u16()?;
    let properties = properties(c, version, kind::CONNECT)?;
    if properties.binary(PropertyId::AuthenticationData).is_some()
        && properties.string(PropertyId::AuthenticationMethod).is_none()
    {
        return Err(DecodeError::Protocol("authentication data without a method")); // 3.1.2.11.10
    }
    let client_id = c.string()?;
    let will = if flags.will { Some(will(c, &flags, version)?) } else { None };
    // In 3.1 the flags promise nothing: where the packet ends, there is no user name and no password (3.1, 3.1).
    let ends = |c: &Cursor<'_>| version == Version::V31 && c.is_empty();
    let user_name = if flags.user_name && !ends(c) { Some(c.string()?) } else { None };
    let password = if flags.password && !ends(c) { Some(c.binary()?) } else { None };
    Ok(Connect {
        version,
        bridge,
        clean_start: flags.clean_start,
        keep_alive,
        client_id,
        will,
        user_name,
        password,
        properties,
    })
}

fn will<'a>(c: &mut Cursor<'a>, flags: &ConnectFlags, version: Version) -> Result<Will<'a>, DecodeError> {
    let properties = properties(c, version, kind::WILL)?;
    let topic = topic_name(c)?;
    if topic.is_empty() {
        return Err(DecodeError::Malformed("an empty will topic")); // 4.7.3-1
    }
    let payload = c.binary()?;
    Ok(Will { topic, payload, qos: flags.will_qos, retain: flags.will_retain, properties })
}

fn connack<'a>(c: &mut Cursor<'a>, version: Version) -> Result<ConnAck<'a>, DecodeError> {
    // A server that doesn't know 5.0 answers in the form that it knows: return code 1, no properties.
    if version == Version::V5 && c.rest() == [0, 1] {
        return Err(DecodeError::UnsupportedVersion);
    }
    let flags = c.u8()?;
    let code = c.u8()?;
    if flags > 1 && version != Version::V31 {
        return Err(DecodeError::Malformed("reserved flags of CONNACK")); // 3.2.2-1
    }
    let reason = if version == Version::V5 {
        check_reason(code, kind::CONNACK)?
    } else {
        ReasonCode::from_connack_v3(code).ok_or(DecodeError::Malformed("a return code above 5"))?
    };
    let session_present = flags == 1 && version != Version::V31; // 3.1 has a reserved byte there
    if session_present && reason != ReasonCode::Success {
        return Err(DecodeError::Protocol("session present in a refusal")); // 3.2.2-6
    }
    Ok(ConnAck { session_present, reason, properties: properties(c, version, kind::CONNACK)? })
}

/// In 5.0 the properties may be left out, and the reason code if it is Success (3.4.2.1).
fn ack<'a>(c: &mut Cursor<'a>, version: Version, kind: u8) -> Result<Ack<'a>, DecodeError> {
    let packet_id = packet_id(c)?;
    let (reason, properties) = reason_and_properties(c, version, kind)?;
    Ok(Ack { packet_id, reason, properties })
}

fn reason_and_properties<'a>(
    c: &mut Cursor<'a>,
    version: Version,
    kind: u8,
) -> Result<(ReasonCode, Properties<'a>), DecodeError> {
    if version != Version::V5 || c.is_empty() {
        return Ok((ReasonCode::Success, Properties::EMPTY));
    }
    let reason = reason(c, kind)?;
    let properties = if c.is_empty() { Properties::EMPTY } else { Properties::read(c, kind)? };
    Ok((reason, properties))
}

fn filter<'a>(c: &mut Cursor<'a>) -> Result<&'a str, DecodeError> {
    let filter = c.string()?;
    if filter.is_empty() {
        return Err(DecodeError::Malformed("an empty topic filter")); // 4.7.3-1
    }
    Ok(filter)
}

fn subscribe<'a>(c: &mut Cursor<'a>, version: Version) -> Result<Subscribe<'a>, DecodeError> {
    let packet_id = packet_id(c)?;
    let properties = properties(c, version, kind::SUBSCRIBE)?;
    let mut filters = Vec::new();
    while !c.is_empty() {
        let filter = filter(c)?;
        let options = subscribe_options(c.u8()?, version)?;
        if options.no_local && filter.starts_with("$share/") {
            return Err(DecodeError::Protocol("no local on a shared subscription")); // 3.8.3-4
        }
        filters.push(SubscribeFilter { filter, options });
    }
    if filters.is_empty() {
        return Err(DecodeError::Protocol("no topic filter")); // 3.8.3-2
    }
    Ok(Subscribe { packet_id, properties, filters })
}

fn subscribe_options(options: u8, version: Version) -> Result<SubscribeOptions, DecodeError> {
    let reserved = if version == Version::V5 { 0b1100_0000 } else { 0b1111_1100 };
    if options & reserved != 0 {
        return Err(DecodeError::Malformed("reserved subscription options")); // 3.8.3-5
    }
    let retain_handling = match options >> 4 {
        0 => RetainHandling::Always,
        1 => RetainHandling::IfNew,
        2 => RetainHandling::Never,
        _ => return Err(DecodeError::Protocol("retain handling 3")), // 3.8.3.1
    };
    let qos = QoS::from_u8(options & 0b11).ok_or(match version {
        Version::V5 => DecodeError::Protocol("QoS 3"), // 3.8.3.1
        Version::V31 | Version::V311 => DecodeError::Malformed("QoS 3"), // 3.1.1, 3.8.3-4
    })?;
    Ok(SubscribeOptions {
        qos,
        no_local: options & 0b0100 != 0,
        retain_as_published: options & 0b1000 != 0,
        retain_handling,
    })
}

/// All that is left, as reason codes.
fn codes<'a>(c: &mut Cursor<'a>, is_valid: impl Fn(u8) -> bool) -> Result<&'a [u8], DecodeError> {
    let codes = c.take(c.rest().len())?;
    if codes.is_empty() {
        return Err(DecodeError::Malformed("no reason code"));
    }
    if !codes.iter().all(|&code| is_valid(code)) {
        return Err(DecodeError::Protocol("a reason code that this packet can't carry"));
    }
    Ok(codes)
}

fn suback<'a>(c: &mut Cursor<'a>, version: Version) -> Result<SubAck<'a>, DecodeError> {
    let packet_id = packet_id(c)?;
    let properties = properties(c, version, kind::SUBACK)?;
    let codes = codes(c, |code| match version {
        Version::V5 => ReasonCode::in_packet(code, kind::SUBACK).is_some(),
        Version::V31 | Version::V311 => matches!(code, 0 | 1 | 2 | 0x80), // 3.1.1, 3.9.3-2
    })?;
    Ok(SubAck { packet_id, properties, codes })
}

fn unsubscribe<'a>(c: &mut Cursor<'a>, version: Version) -> Result<Unsubscribe<'a>, DecodeError> {
    let packet_id = packet_id(c)?;
    let properties = properties(c, version, kind::UNSUBSCRIBE)?;
    let mut filters = Vec::new();
    while !c.is_empty() {
        filters.push(filter(c)?);
    }
    if filters.is_empty() {
        return Err(DecodeError::Protocol("no topic filter")); // 3.10.3-2
    }
    Ok(Unsubscribe { packet_id, properties, filters })
}

fn unsuback<'a>(c: &mut Cursor<'a>, version: Version) -> Result<UnsubAck<'a>, DecodeError> {
    let packet_id = packet_id(c)?;
    let properties = properties(c, version, kind::UNSUBACK)?;
    let codes = match version {
        Version::V5 => codes(c, |code| ReasonCode::in_packet(code, kind::UNSUBACK).is_some())?,
        Version::V31 | Version::V311 => &[],
    };
    Ok(UnsubAck { packet_id, properties, codes })
}

fn disconnect<'a>(c: &mut Cursor<'a>, version: Version) -> Result<Disconnect<'a>, DecodeError> {
    let (reason, properties) = reason_and_properties(c, version, kind::DISCONNECT)?;
    Ok(Disconnect { reason, properties })
}

/// Only a success without properties may be left out, and then as a whole (3.15.2.1).
fn auth<'a>(c: &mut Cursor<'a>) -> Result<Auth<'a>, DecodeError> {
    if c.is_empty() {
        return Ok(Auth { reason: ReasonCode::Success, properties: Properties::EMPTY });
    }
    let reason = reason(c, kind::AUTH)?;
    let properties = Properties::read(c, kind::AUTH)?;
    let is_empty_success = reason == ReasonCode::Success && properties.is_empty();
    if !is_empty_success && properties.string(PropertyId::AuthenticationMethod).is_none() {
        return Err(DecodeError::Protocol("AUTH without an authentication method")); // 3.15.2.2.2
    }
    Ok(Auth { reason, properties })
}
