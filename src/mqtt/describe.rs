//! A packet in one line, for logs: type, identifiers, flags and sizes; never a payload, a password or a property's
//! value.

use std::fmt::{self, Display, Formatter};

use super::{Ack, ConnAck, Connect, Packet, Publish, QoS, ReasonCode, Version};

/// See [`Packet::describe`].
struct Described<'p, 'a>(&'p Packet<'a>);

impl Packet<'_> {
    /// The packet in one line without payload and secrets: `PUBLISH "a/b" m7 q1 r0 d0, 12 bytes`.
    #[must_use]
    pub fn describe(&self) -> impl Display + '_ {
        Described(self)
    }
}

impl Display for Described<'_, '_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Packet::Connect(connect) => describe_connect(connect, f),
            Packet::ConnAck(ConnAck { session_present, reason, .. }) => {
                write!(f, "CONNACK {reason}, session present {}", u8::from(*session_present))
            }
            Packet::Publish(publish) => describe_publish(publish, f),
            Packet::PubAck(ack) => describe_ack("PUBACK", ack, f),
            Packet::PubRec(ack) => describe_ack("PUBREC", ack, f),
            Packet::PubRel(ack) => describe_ack("PUBREL", ack, f),
            Packet::PubComp(ack) => describe_ack("PUBCOMP", ack, f),
            Packet::Subscribe(subscribe) => {
                write!(f, "SUBSCRIBE m{}", subscribe.packet_id.get())?;
                for filter in &subscribe.filters {
                    write!(f, ", {:?} q{}", filter.filter, filter.options.qos.as_u8())?;
                }
                Ok(())
            }
            Packet::SubAck(answer) => {
                write!(f, "SUBACK m{}", answer.packet_id.get())?;
                describe_codes(answer.codes, f)
            }
            Packet::Unsubscribe(unsubscribe) => {
                write!(f, "UNSUBSCRIBE m{}", unsubscribe.packet_id.get())?;
                unsubscribe.filters.iter().try_for_each(|filter| write!(f, ", {filter:?}"))
            }
            Packet::UnsubAck(answer) => {
                write!(f, "UNSUBACK m{}", answer.packet_id.get())?;
                describe_codes(answer.codes, f)
            }
            Packet::PingReq => f.write_str("PINGREQ"),
            Packet::PingResp => f.write_str("PINGRESP"),
            Packet::Disconnect(disconnect) => describe_reason("DISCONNECT", disconnect.reason, f),
            Packet::Auth(auth) => describe_reason("AUTH", auth.reason, f),
        }
    }
}

fn describe_connect(connect: &Connect<'_>, f: &mut Formatter<'_>) -> fmt::Result {
    let version = match connect.version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    };
    write!(f, "CONNECT {version} {:?}", connect.client_id)?;
    write!(f, ", clean {}, keep alive {}", u8::from(connect.clean_start), connect.keep_alive)?;
    if let Some(user_name) = connect.user_name {
        write!(f, ", user {user_name:?}")?;
    }
    if let Some(will) = &connect.will {
        let (qos, retain) = (will.qos.as_u8(), u8::from(will.retain));
        write!(f, ", will {:?} q{qos} r{retain}, {} bytes", will.topic, will.payload.len())?;
    }
    Ok(())
}

fn describe_publish(publish: &Publish<'_>, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "PUBLISH {:?}", publish.topic)?;
    if let (Some(id), true) = (publish.packet_id, publish.qos != QoS::AtMostOnce) {
        write!(f, " m{}", id.get())?;
    }
    let (qos, retain, dup) = (publish.qos.as_u8(), u8::from(publish.retain), u8::from(publish.dup));
    write!(f, " q{qos} r{retain} d{dup}, {} bytes", publish.payload.len())
}

fn describe_ack(name: &str, ack: &Ack<'_>, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "{name} m{}", ack.packet_id.get())?;
    if ack.reason == ReasonCode::Success { Ok(()) } else { write!(f, ", {}", ack.reason) }
}

fn describe_reason(name: &str, reason: ReasonCode, f: &mut Formatter<'_>) -> fmt::Result {
    if reason == ReasonCode::Success { f.write_str(name) } else { write!(f, "{name} {reason}") }
}

fn describe_codes(codes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    codes.iter().try_for_each(|code| write!(f, ", {code}"))
}

#[cfg(test)]
mod tests {
    use super::super::{PacketId, Properties, SubAck, Will};
    use super::*;

    #[test]
    fn a_line_tells_what_a_packet_is_and_hides_payload_and_password() {
        let properties = Properties::EMPTY;
        let id = PacketId::new(7).unwrap();
        let will = Will { topic: "w", payload: b"bye", qos: QoS::AtLeastOnce, retain: true, properties };
        let connect = Connect {
            version: Version::V311,
            bridge: false,
            clean_start: true,
            keep_alive: 60,
            client_id: "me\n",
            will: Some(will),
            user_name: Some("u"),
            password: Some(b"secret"),
            properties,
        };
        let publish = Publish {
            dup: true,
            qos: QoS::ExactlyOnce,
            retain: false,
            topic: "a/b",
            packet_id: Some(id),
            properties,
            payload: b"payload",
        };
        let ack = |reason| Ack { packet_id: id, reason, properties };
        for (packet, expected) in [
            (
                Packet::Connect(connect),
                r#"CONNECT 3.1.1 "me\n", clean 1, keep alive 60, user "u", will "w" q1 r1, 3 bytes"#,
            ),
            (Packet::Publish(publish), r#"PUBLISH "a/b" m7 q2 r0 d1, 7 bytes"#),
            (Packet::PubAck(ack(ReasonCode::Success)), "PUBACK m7"),
            (Packet::PubAck(ack(ReasonCode::NotAuthorized)), "PUBACK m7, not authorized (0x87)"),
            (Packet::SubAck(SubAck { packet_id: id, properties, codes: &[1, 128] }), "SUBACK m7, 1, 128"),
            (Packet::PingReq, "PINGREQ"),
        ] {
            assert_eq!(packet.describe().to_string(), expected);
        }
    }
}
