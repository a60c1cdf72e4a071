//! Packets to bytes: the exact length first, then the bytes, appended to a buffer.

use super::packet::{
    Ack, AckKind, ConnAck, Connect, Packet, PacketId, Publish, QoS, RetainHandling, SubAck, SubscribeFilter,
    SubscribeOptions, Version,
};
use super::property::Properties;
use super::reason::ReasonCode;
use super::wire::{Count, Out, VARINT_MAX, kind, varint_len};

/// Why a packet can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// A string or binary field longer than 65,535 bytes.
    FieldTooLong,
    /// More than 268,435,455 bytes after the fixed header (2.1.4).
    PacketTooLong,
    /// The version doesn't have this packet (AUTH before 5.0), or no code for this refusal (CONNACK before 5.0:
    /// [`ReasonCode::to_connack_v3`]).
    NotInThisVersion,
}

impl std::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::FieldTooLong => "a field is longer than 65,535 bytes",
            Self::PacketTooLong => "the packet is longer than 268,435,455 bytes",
            Self::NotInThisVersion => "this protocol version has no such packet or return code",
        })
    }
}

impl std::error::Error for EncodeError {}

/// The bytes of the whole packet, fixed header included.
///
/// # Errors
/// If it can't be written: [`EncodeError`].
pub fn encoded_len(packet: &Packet<'_>, version: Version) -> Result<usize, EncodeError> {
    let body_len = body_len(|count| body(packet, version, count))?;
    Ok(1 + varint_len(body_len) + body_len)
}

/// Appends the packet to `out`; nothing is appended on error. `version` is the connection's; for CONNECT, which
/// has its own, it is ignored. Fields that the version doesn't have are left out.
///
/// # Errors
/// If it can't be written: [`EncodeError`].
pub fn encode(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if let Packet::Publish(packet) = packet {
        return publish(packet, version, out).map(drop);
    }
    if let Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) = packet
        && (version != Version::V5 || (ack.reason == ReasonCode::Success && ack.properties.is_empty()))
    {
        // Nearly all that a broker says besides.
        let [high, low] = ack.packet_id.get().to_be_bytes();
        out.bytes(&[first_byte(packet), 2, high, low]);
        return Ok(());
    }
    let body_len = body_len(|count| body(packet, version, count))?;
    out.reserve(1 + varint_len(body_len) + body_len);
    out.u8(first_byte(packet));
    out.varint(body_len)?;
    body(packet, version, out)
}

/// An acknowledgement that says success and nothing else, as all versions write it: nearly all that a broker says besides
/// PUBLISH.
#[must_use]
pub const fn short_ack(kind: AckKind, packet_id: PacketId) -> [u8; 4] {
    let [high, low] = packet_id.get().to_be_bytes();
    let first = match kind {
        AckKind::PubAck => kind::PUBACK << 4,
        AckKind::PubRec => kind::PUBREC << 4,
        AckKind::PubRel => kind::PUBREL << 4 | 0b0010,
        AckKind::PubComp => kind::PUBCOMP << 4,
    };
    [first, 2, high, low]
}

/// Where in an encoded PUBLISH the packet identifier stands, so that one encoding serves many receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishLayout {
    /// Bytes of the whole packet.
    pub len: usize,
    /// Offset of the two bytes of the packet identifier from the packet's start; `None` at QoS 0.
    pub packet_id_at: Option<usize>,
}

/// Appends a PUBLISH to `out` and tells where its packet identifier stands. Above QoS 0, without an identifier,
/// two zero bytes stand there, to be filled in.
///
/// # Errors
/// If it can't be written: [`EncodeError`].
pub fn publish(
    publish: &Publish<'_>,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<PublishLayout, EncodeError> {
    publish_with(publish, Properties::EMPTY, version, out)
}

/// As [`publish`](fn@publish), with more properties behind the packet's own: what belongs to one receiver's copy
/// alone, such as subscription identifiers. They are left out before 5.0.
///
/// # Errors
/// If it can't be written: [`EncodeError`].
pub fn publish_with(
    publish: &Publish<'_>,
    more: Properties<'_>,
    version: Version,
    out: &mut Vec<u8>,
) -> Result<PublishLayout, EncodeError> {
    let (own, more) = if version == Version::V5 {
        (publish.properties.as_bytes(), more.as_bytes())
    } else {
        (&[][..], &[][..])
    };
    let topic_len = u16::try_from(publish.topic.len()).map_err(|_| EncodeError::FieldTooLong)?;
    let properties_len = own.len().saturating_add(more.len());
    let mut body_len = 2_usize.saturating_add(publish.topic.len()).saturating_add(publish.payload.len());
    if publish.qos != QoS::AtMostOnce {
        body_len = body_len.saturating_add(2);
    }
    if version == Version::V5 {
        body_len = body_len.saturating_add(varint_len(properties_len)).saturating_add(properties_len);
    }
    u32::try_from(body_len).ok().filter(|len| *len <= VARINT_MAX).ok_or(EncodeError::PacketTooLong)?;
    let header_len = 1 + varint_len(body_len);
    let len = header_len + body_len;
    // This is what a broker writes most: as few appends as can be.
    out.reserve(len);
    publish_header(publish_first_byte(publish), body_len, topic_len, out)?;
    out.bytes(publish.topic.as_bytes());
    if publish.qos != QoS::AtMostOnce {
        out.u16(publish.packet_id.map_or(0, PacketId::get));
    }
    if version == Version::V5 {
        out.varint(properties_len)?;
        out.bytes(own);
        out.bytes(more);
    }
    out.bytes(publish.payload);
    let packet_id_at = (publish.qos != QoS::AtMostOnce).then_some(header_len + 2 + publish.topic.len());
    Ok(PublishLayout { len, packet_id_at })
}

/// Fixed header and length of the topic, for the usual lengths in one piece.
fn publish_header(first: u8, body_len: usize, topic_len: u16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let [high, low] = topic_len.to_be_bytes();
    let [_, _, hundreds, ones] = u32::try_from(body_len).unwrap_or(u32::MAX).to_be_bytes();
    match body_len {
        0..=0x7F => out.bytes(&[first, ones, high, low]),
        0x80..=0x3FFF => {
            let more = hundreds << 1 | ones >> 7;
            out.bytes(&[first, ones | 0x80, more, high, low]);
        }
        _ => {
            out.u8(first);
            out.varint(body_len)?;
            out.u16(topic_len);
        }
    }
    Ok(())
}

/// Counts what `write` writes, and holds it against the largest remaining length (2.1.4).
fn body_len(write: impl FnOnce(&mut Count) -> Result<(), EncodeError>) -> Result<usize, EncodeError> {
    let mut count = Count::default();
    write(&mut count)?;
    match u32::try_from(count.0) {
        Ok(len) if len <= VARINT_MAX => Ok(count.0),
        _ => Err(EncodeError::PacketTooLong),
    }
}

/// Packet type and flags (2.1.2, 2.1.3).
fn first_byte(packet: &Packet<'_>) -> u8 {
    match packet {
        Packet::Connect(_) => kind::CONNECT << 4,
        Packet::ConnAck(_) => kind::CONNACK << 4,
        Packet::Publish(publish) => publish_first_byte(publish),
        Packet::PubAck(_) => kind::PUBACK << 4,
        Packet::PubRec(_) => kind::PUBREC << 4,
        Packet::PubRel(_) => kind::PUBREL << 4 | 0b0010,
        Packet::PubComp(_) => kind::PUBCOMP << 4,
        Packet::Subscribe(_) => kind::SUBSCRIBE << 4 | 0b0010,
        Packet::SubAck(_) => kind::SUBACK << 4,
        Packet::Unsubscribe(_) => kind::UNSUBSCRIBE << 4 | 0b0010,
        Packet::UnsubAck(_) => kind::UNSUBACK << 4,
        Packet::PingReq => kind::PINGREQ << 4,
        Packet::PingResp => kind::PINGRESP << 4,
        Packet::Disconnect(_) => kind::DISCONNECT << 4,
        Packet::Auth(_) => kind::AUTH << 4,
    }
}

fn publish_first_byte(publish: &Publish<'_>) -> u8 {
    let dup = publish.dup && publish.qos != QoS::AtMostOnce; // 3.3.1-2
    kind::PUBLISH << 4 | u8::from(dup) << 3 | publish.qos.as_u8() << 1 | u8::from(publish.retain)
}

/// Everything behind the fixed header.
fn body(packet: &Packet<'_>, version: Version, out: &mut impl Out) -> Result<(), EncodeError> {
    match packet {
        Packet::Connect(packet) => connect(packet, out),
        Packet::ConnAck(packet) => connack(packet, version, out),
        Packet::Publish(packet) => publish_body(packet, Properties::EMPTY, version, out),
        Packet::PubAck(packet)
        | Packet::PubRec(packet)
        | Packet::PubRel(packet)
        | Packet::PubComp(packet) => ack(packet, version, out),
        Packet::Subscribe(packet) => {
            start(packet.packet_id, packet.properties, version, out)?;
            packet.filters.iter().try_for_each(|filter| subscribe_filter(filter, version, out))
        }
        Packet::SubAck(packet) => suback(packet, version, out),
        Packet::Unsubscribe(packet) => {
            start(packet.packet_id, packet.properties, version, out)?;
            packet.filters.iter().try_for_each(|filter| out.binary(filter.as_bytes()))
        }
        Packet::UnsubAck(packet) => {
            start(packet.packet_id, packet.properties, version, out)?;
            if version == Version::V5 {
                out.bytes(packet.codes);
            }
            Ok(())
        }
        Packet::PingReq | Packet::PingResp => Ok(()),
        Packet::Disconnect(packet) => short(packet.reason, packet.properties, version, out),
        Packet::Auth(_) if version != Version::V5 => Err(EncodeError::NotInThisVersion),
        Packet::Auth(packet) if packet.reason == ReasonCode::Success && packet.properties.is_empty() => {
            Ok(())
        }
        Packet::Auth(packet) => {
            out.u8(packet.reason.as_u8());
            properties(packet.properties, version, out)
        }
    }
}

fn properties(properties: Properties<'_>, version: Version, out: &mut impl Out) -> Result<(), EncodeError> {
    if version == Version::V5 {
        out.varint(properties.as_bytes().len())?;
        out.bytes(properties.as_bytes());
    }
    Ok(())
}

/// What SUBSCRIBE, UNSUBSCRIBE and their answers start with.
fn start(
    id: PacketId,
    props: Properties<'_>,
    version: Version,
    out: &mut impl Out,
) -> Result<(), EncodeError> {
    out.u16(id.get());
    properties(props, version, out)
}

fn publish_body(
    publish: &Publish<'_>,
    more: Properties<'_>,
    version: Version,
    out: &mut impl Out,
) -> Result<(), EncodeError> {
    out.binary(publish.topic.as_bytes())?;
    if publish.qos != QoS::AtMostOnce {
        out.u16(publish.packet_id.map_or(0, PacketId::get));
    }
    if version == Version::V5 {
        let own = publish.properties.as_bytes();
        let more = more.as_bytes();
        out.varint(own.len().saturating_add(more.len()))?;
        out.bytes(own);
        out.bytes(more);
    }
    out.bytes(publish.payload);
    Ok(())
}

fn connect(packet: &Connect<'_>, out: &mut impl Out) -> Result<(), EncodeError> {
    let version = packet.version;
    let (name, level): (&[u8], u8) = match version {
        Version::V31 => (b"MQIsdp", 3),
        Version::V311 => (b"MQTT", 4),
        Version::V5 => (b"MQTT", 5),
    };
    out.binary(name)?;
    out.u8(if packet.bridge && version != Version::V5 { level | 0x80 } else { level });
    let will_flags = packet
        .will
        .as_ref()
        .map_or(0, |will| u8::from(will.retain) << 5 | will.qos.as_u8() << 3 | 0b0000_0100);
    out.u8(u8::from(packet.user_name.is_some()) << 7
        | u8::from(packet.password.is_some()) << 6
        | will_flags
        | u8::from(packet.clean_start) << 1);
    out.u16(packet.keep_alive);
    properties(packet.properties, version, out)?;
    out.binary(packet.client_id.as_bytes())?;
    if let Some(will) = &packet.will {
        properties(will.properties, version, out)?;
        out.binary(will.topic.as_bytes())?;
        out.binary(will.payload)?;
    }
    if let Some(user_name) = packet.user_name {
        out.binary(user_name.as_bytes())?;
    }
    if let Some(password) = packet.password {
        out.binary(password)?;
    }
    Ok(())
}

fn connack(packet: &ConnAck<'_>, version: Version, out: &mut impl Out) -> Result<(), EncodeError> {
    let code = match version {
        Version::V5 => packet.reason.as_u8(),
        Version::V31 | Version::V311 => packet.reason.to_connack_v3().ok_or(EncodeError::NotInThisVersion)?,
    };
    // A refusal has no session (3.2.2-6), and 3.1 no such flag.
    let session_present = packet.session_present && code == 0 && version != Version::V31;
    out.u8(u8::from(session_present));
    out.u8(code);
    properties(packet.properties, version, out)
}

fn ack(packet: &Ack<'_>, version: Version, out: &mut impl Out) -> Result<(), EncodeError> {
    out.u16(packet.packet_id.get());
    short(packet.reason, packet.properties, version, out)
}

/// Reason and properties in the shortest form: without what is empty (3.4.2.1, 3.14.2.1).
fn short(
    reason: ReasonCode,
    props: Properties<'_>,
    version: Version,
    out: &mut impl Out,
) -> Result<(), EncodeError> {
    if version != Version::V5 || (reason == ReasonCode::Success && props.is_empty()) {
        return Ok(());
    }
    out.u8(reason.as_u8());
    if props.is_empty() { Ok(()) } else { properties(props, version, out) }
}

fn subscribe_filter(
    filter: &SubscribeFilter<'_>,
    version: Version,
    out: &mut impl Out,
) -> Result<(), EncodeError> {
    out.binary(filter.filter.as_bytes())?;
    out.u8(subscribe_options(filter.options, version));
    Ok(())
}

fn subscribe_options(options: SubscribeOptions, version: Version) -> u8 {
    let qos = options.qos.as_u8();
    if version != Version::V5 {
        return qos;
    }
    let retain_handling = match options.retain_handling {
        RetainHandling::Always => 0,
        RetainHandling::IfNew => 1,
        RetainHandling::Never => 2,
    };
    retain_handling << 4 | u8::from(options.retain_as_published) << 3 | u8::from(options.no_local) << 2 | qos
}

fn suback(packet: &SubAck<'_>, version: Version, out: &mut impl Out) -> Result<(), EncodeError> {
    start(packet.packet_id, packet.properties, version, out)?;
    match version {
        Version::V5 => out.bytes(packet.codes),
        // Before 5.0 there is one code for all refusals (3.1.1, 3.9.3-2).
        Version::V31 | Version::V311 => packet.codes.iter().for_each(|&code| out.u8(code.min(0x80))),
    }
    Ok(())
}
