//! The short ways of reading and writing what comes most say what the long ones do, or nothing.

use super::decode::{publish_again, short_ack};
use super::*;

const KINDS: [AckKind; 4] = [AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp];

fn success(kind: AckKind, packet_id: PacketId) -> Packet<'static> {
    kind.packet(Ack { packet_id, reason: ReasonCode::Success, properties: Properties::EMPTY })
}

#[test]
fn an_acknowledgement_that_is_read_the_short_way_is_the_same_in_every_version() {
    let mut found = 0;
    for first in 0..=u8::MAX {
        for len in 0..=4 {
            for [high, low] in [[0, 0], [0, 1], [1, 0], [0xFF, 0xFF]] {
                let bytes = [first, len, high, low, 0, 0];
                let Some((kind, packet_id)) = short_ack(&bytes) else { continue };
                found += 1;
                for version in VERSIONS {
                    assert_eq!(read(&bytes[..4], version), Ok(success(kind, packet_id)), "{bytes:?}");
                }
            }
        }
    }
    assert_eq!(found, 4 * 3, "each of the four, under each identifier but 0");
}

#[test]
fn a_short_acknowledgement_is_written_as_it_is_read() {
    for kind in KINDS {
        for packet_id in [id(1), id(0x1234), id(u16::MAX)] {
            let bytes = encode::short_ack(kind, packet_id);
            assert_eq!(short_ack(&bytes), Some((kind, packet_id)));
            assert_eq!(short_ack(&bytes[..3]), None, "not whole");
            for version in VERSIONS {
                assert_eq!(write(&success(kind, packet_id), version), bytes);
            }
        }
    }
}

#[test]
fn a_publish_to_the_known_topic_is_read_as_any_other() {
    for version in VERSIONS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for (dup, retain, payload) in
                [(false, false, &b""[..]), (true, false, b"7"), (true, true, b"1.5")]
            {
                let is_repeated = dup && qos != QoS::AtMostOnce;
                let packet_id = (qos != QoS::AtMostOnce).then(|| id(7));
                let properties = Properties::EMPTY;
                let whole =
                    Publish { dup: is_repeated, qos, retain, topic: "a/b", packet_id, properties, payload };
                let bytes = write(&Packet::Publish(whole.clone()), version);
                let again = |known| publish_again(frame(&bytes, ANY_SIZE).unwrap().unwrap(), version, known);
                assert_eq!(again("a/b"), Some(Publish { topic: "", ..whole }));
                for other in ["a/c", "a", "a/b/c", ""] {
                    assert_eq!(again(other), None, "{other}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_publish_to_the_known_topic_is_left_to_the_long_way() {
    let topic = field(b"a/b");
    let alias = props(&[Property::U16(PropertyId::TopicAlias, 1)]);
    let with_alias = [&[u8::try_from(alias.as_bytes().len()).unwrap()], alias.as_bytes()].concat();
    for (why, version, bytes) in [
        ("QoS 3", Version::V311, packet(0x36, &[&topic, &[0, 1]])),
        ("DUP at QoS 0", Version::V311, packet(0x38, &[&topic])),
        ("packet identifier 0", Version::V311, packet(0x32, &[&topic, &[0, 0]])),
        ("half a packet identifier", Version::V311, packet(0x32, &[&topic, &[1]])),
        ("no properties", Version::V5, packet(0x30, &[&topic])),
        ("an alias is set", Version::V5, packet(0x30, &[&topic, &with_alias])),
        ("a padded length", Version::V5, [&[0x30, 0x86, 0x00][..], &topic, &[0]].concat()),
        ("half a topic", Version::V311, packet(0x30, &[&[0, 3, b'a']])),
        ("another packet", Version::V311, packet(0x82, &[&topic])),
    ] {
        let frame = frame(&bytes, ANY_SIZE).unwrap().unwrap();
        assert_eq!(publish_again(frame, version, "a/b"), None, "{why}");
    }
}
