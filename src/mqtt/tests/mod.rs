//! Tests of the codec as a whole, and what they share: bytes written by hand, and a look at what a packet borrows.

mod hostile;
mod malformed;
mod properties;
mod roundtrip;
mod short;
mod topics;
mod vectors;

use super::*;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const ANY_SIZE: usize = usize::MAX;

/// Bytes from hexadecimal digits; spaces are for the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    assert_eq!(digits.len() % 2, 0, "{text}");
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// A packet of these parts; the remaining length is added.
fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = vec![first];
    let mut len = body.len();
    loop {
        let low = u8::try_from(len % 128).unwrap();
        len /= 128;
        bytes.push(if len > 0 { low | 0x80 } else { low });
        if len == 0 {
            return [bytes, body].concat();
        }
    }
}

/// A field behind its two bytes of length.
fn field(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// Properties that live as long as the tests.
fn props(list: &[Property<'_>]) -> Properties<'static> {
    let mut buf = PropertiesBuf::new();
    for property in list {
        assert!(buf.push(*property), "{property:?}");
    }
    let buf: &'static PropertiesBuf = Box::leak(Box::new(buf));
    buf.as_properties()
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

/// The one packet that `bytes` are.
fn read(bytes: &[u8], version: Version) -> Result<Packet<'_>, DecodeError> {
    let frame = frame(bytes, ANY_SIZE)?.expect("a whole packet");
    assert_eq!(frame.len, bytes.len());
    decode(frame, version)
}

fn write(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = b"before".to_vec();
    encode(packet, version, &mut bytes).unwrap();
    let bytes = bytes.strip_prefix(b"before").expect("encoding appends").to_vec();
    assert_eq!(encoded_len(packet, version), Ok(bytes.len()));
    bytes
}

/// Everything that a packet borrows.
fn borrowed<'a>(packet: &Packet<'a>) -> Vec<&'a [u8]> {
    let mut all = match packet {
        Packet::Connect(p) => {
            let will = p.will.iter().flat_map(|will| {
                [vec![will.topic.as_bytes(), will.payload], property_slices(will.properties)].concat()
            });
            let user_name = p.user_name.map(str::as_bytes);
            [p.client_id.as_bytes()].into_iter().chain(will).chain(user_name).chain(p.password).collect()
        }
        Packet::Publish(p) => vec![p.topic.as_bytes(), p.payload],
        Packet::Subscribe(p) => p.filters.iter().map(|filter| filter.filter.as_bytes()).collect(),
        Packet::SubAck(p) => vec![p.codes],
        Packet::Unsubscribe(p) => p.filters.iter().map(|filter| filter.as_bytes()).collect(),
        Packet::UnsubAck(p) => vec![p.codes],
        _ => Vec::new(),
    };
    all.extend(property_slices(properties_of(packet)));
    all
}

fn property_slices(properties: Properties<'_>) -> Vec<&[u8]> {
    let mut all = vec![properties.as_bytes()];
    for property in properties.iter() {
        match property {
            Property::Str(_, text) => all.push(text.as_bytes()),
            Property::Bin(_, bytes) => all.push(bytes),
            Property::User(name, value) => all.extend([name.as_bytes(), value.as_bytes()]),
            _ => {}
        }
    }
    all
}

fn properties_of<'a>(packet: &Packet<'a>) -> Properties<'a> {
    match packet {
        Packet::Connect(p) => p.properties,
        Packet::ConnAck(p) => p.properties,
        Packet::Publish(p) => p.properties,
        Packet::PubAck(p) | Packet::PubRec(p) | Packet::PubRel(p) | Packet::PubComp(p) => p.properties,
        Packet::Subscribe(p) => p.properties,
        Packet::SubAck(p) => p.properties,
        Packet::Unsubscribe(p) => p.properties,
        Packet::UnsubAck(p) => p.properties,
        Packet::Disconnect(p) => p.properties,
        Packet::Auth(p) => p.properties,
        Packet::PingReq | Packet::PingResp => Properties::EMPTY,
    }
}
