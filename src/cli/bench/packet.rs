//! The packets of the load: a PUBLISH that is encoded once and stamped for each message, and the little that must be
//! read of a received one. Everything else goes through the codec.

use crate::mqtt::{EncodeError, Frame, PacketId, Properties, Publish, QoS, Version, encode};

/// Bytes at the start of each payload: when it was due, who has published it, its number.
pub(super) const STAMP_BYTES: usize = 16;

/// The types of the packets that a load consists of (2.1.2).
pub(super) const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
pub(super) const PUBREC: u8 = 5;
pub(super) const PUBREL: u8 = 6;
pub(super) const PUBCOMP: u8 = 7;

/// What a message says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Nanoseconds of this process's clock.
    pub(super) nanos: u64,
    pub(super) publisher: u32,
    pub(super) number: u32,
}

impl Stamp {
    const fn encode(self) -> [u8; STAMP_BYTES] {
        let [a, b, c, d, e, f, g, h] = self.nanos.to_le_bytes();
        let [i, j, k, l] = self.publisher.to_le_bytes();
        let [m, n, o, p] = self.number.to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    /// `None` where the payload is too short to have one.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let (nanos, rest) = payload.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (number, _) = rest.split_first_chunk()?;
        Some(Self {
            nanos: u64::from_le_bytes(*nanos),
            publisher: u32::from_le_bytes(*publisher),
            number: u32::from_le_bytes(*number),
        })
    }
}

/// A PUBLISH whose copies differ in packet identifier and stamp alone.
#[derive(Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    packet_id_at: Option<usize>,
    stamp_at: usize,
}

impl Template {
    /// One whose payload has room for the stamp, whatever was asked for.
    pub(super) fn new(
        topic: &str,
        qos: QoS,
        payload_bytes: usize,
        version: Version,
    ) -> Result<Self, EncodeError> {
        let payload: Vec<u8> = (b'a'..=b'z').cycle().take(payload_bytes.max(STAMP_BYTES)).collect();
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id: None,
            properties: Properties::EMPTY,
            payload: &payload,
        };
        let mut bytes = Vec::new();
        let layout = encode::publish(&publish, version, &mut bytes)?;
        Ok(Self { stamp_at: bytes.len() - payload.len(), packet_id_at: layout.packet_id_at, bytes })
    }

    /// Appends a copy.
    pub(super) fn append(&self, out: &mut Vec<u8>, packet_id: u16, stamp: Stamp) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let Some(copy) = out.get_mut(start..) else { return };
        if let Some(field) = self.packet_id_at.and_then(|at| copy.get_mut(at..at + 2)) {
            field.copy_from_slice(&packet_id.to_be_bytes());
        }
        if let Some(field) = copy.get_mut(self.stamp_at..self.stamp_at + STAMP_BYTES) {
            field.copy_from_slice(&stamp.encode());
        }
    }
}

/// A received PUBLISH, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    pub(super) qos: QoS,
    /// Zero at QoS 0.
    pub(super) packet_id: [u8; 2],
    pub(super) payload: &'a [u8],
}

/// Reads a PUBLISH without looking at its topic; `None` if it is malformed.
pub(super) fn received<'a>(frame: &Frame<'a>, version: Version) -> Option<Received<'a>> {
    let qos = QoS::from_u8(frame.first >> 1 & 3)?;
    let (topic_len, rest) = frame.body.split_first_chunk()?;
    let mut rest = rest.get(usize::from(u16::from_be_bytes(*topic_len))..)?;
    let mut packet_id = [0; 2];
    if qos != QoS::AtMostOnce {
        let (id, tail) = rest.split_first_chunk()?;
        (packet_id, rest) = (*id, tail);
    }
    if version == Version::V5 {
        rest = behind_properties(rest)?;
    }
    Some(Received { qos, packet_id, payload: rest })
}

fn behind_properties(bytes: &[u8]) -> Option<&[u8]> {
    let mut len = 0_usize;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        len |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1 + len..);
        }
    }
    None
}

/// The packet identifier of an acknowledgement, and whether it tells a failure (MQTT 5).
pub(super) fn acknowledged(frame: &Frame<'_>) -> Option<(PacketId, bool)> {
    let (id, rest) = frame.body.split_first_chunk()?;
    let failed = rest.first().is_some_and(|reason| *reason >= 0x80);
    Some((PacketId::new(u16::from_be_bytes(*id))?, failed))
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP all have this shape where all is well.
pub(super) const fn answer(kind: u8, packet_id: [u8; 2]) -> [u8; 4] {
    let flags = if kind == PUBREL { 0b0010 } else { 0 };
    let [high, low] = packet_id;
    [kind << 4 | flags, 2, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{Packet, decode, frame};

    #[test]
    fn what_is_stamped_is_read_again_and_is_valid_for_the_codec() {
        for version in [Version::V311, Version::V5] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                for bytes in [0, 16, 100, 20_000] {
                    let template = Template::new("a/b", qos, bytes, version).unwrap();
                    let stamp = Stamp { nanos: 7, publisher: 8, number: 9 };
                    let mut out = b"before".to_vec();
                    template.append(&mut out, 0x1234, stamp);
                    let frame = frame(&out[6..], usize::MAX).unwrap().unwrap();
                    let found = received(&frame, version).unwrap();
                    assert_eq!(Stamp::decode(found.payload), Some(stamp));
                    let Packet::Publish(publish) = decode(frame, version).unwrap() else {
                        panic!("{frame:?}")
                    };
                    assert_eq!((publish.qos, publish.topic), (qos, "a/b"));
                    assert_eq!(publish.payload, found.payload);
                    assert_eq!(publish.payload.len(), bytes.max(STAMP_BYTES));
                    let id = if qos == QoS::AtMostOnce { [0, 0] } else { [0x12, 0x34] };
                    assert_eq!(found.packet_id, id);
                }
            }
        }
        assert_eq!(Stamp::decode(&[0; 15]), None);
    }

    #[test]
    fn answers_are_valid_for_the_codec() {
        for kind in [PUBACK, PUBREC, PUBREL, PUBCOMP] {
            let bytes = answer(kind, [0, 5]);
            let frame = frame(&bytes, 100).unwrap().unwrap();
            assert!(decode(frame, Version::V5).is_ok(), "{kind}");
            assert_eq!(acknowledged(&frame), Some((PacketId::new(5).unwrap(), false)));
        }
        let refused = [PUBACK << 4, 3, 0, 6, 0x97];
        let frame = frame(&refused, 100).unwrap().unwrap();
        assert_eq!(acknowledged(&frame), Some((PacketId::new(6).unwrap(), true)));
    }
}
