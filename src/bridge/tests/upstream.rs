//! A model of an upstream broker: one client, one session, sequential acknowledgements that may be delayed,
//! refused, or overtaken.

use std::collections::HashMap;

use crate::mqtt::{
    self, ConnAck, Packet, PacketId, PropertiesBuf, Property, PropertyId, QoS, ReasonCode, Version,
};

/// What the model saw of one PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) id: Option<u16>,
    pub(super) dup: bool,
    pub(super) retain: bool,
    /// What is left of its time to live.
    pub(super) expiry: Option<u32>,
}

/// What the model read from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Connect { clean: bool, will: (String, String) },
    Publish(Seen),
    Ping,
    Disconnect(ReasonCode),
    Other(String),
}

/// Splits what the client sent into packets; whole packets only.
pub(super) fn read(bytes: &[u8], version: Version) -> Vec<Got> {
    let mut rest = bytes;
    let mut got = Vec::new();
    while !rest.is_empty() {
        let frame = mqtt::frame(rest, usize::MAX).unwrap().expect("the machine writes whole packets");
        rest = &rest[frame.len..];
        got.push(match mqtt::decode(frame, version).unwrap() {
            Packet::Connect(connect) => {
                let will = connect.will.expect("a will");
                assert!(will.retain && will.qos == QoS::AtLeastOnce || version == Version::V5);
                let payload = String::from_utf8(will.payload.to_vec()).unwrap();
                Got::Connect { clean: connect.clean_start, will: (will.topic.to_owned(), payload) }
            }
            Packet::Publish(publish) => Got::Publish(Seen {
                topic: publish.topic.to_owned(),
                payload: String::from_utf8(publish.payload.to_vec()).unwrap(),
                id: publish.packet_id.map(PacketId::get),
                dup: publish.dup,
                retain: publish.retain,
                expiry: publish.properties.number(PropertyId::MessageExpiryInterval),
            }),
            Packet::PingReq => Got::Ping,
            Packet::Disconnect(disconnect) => Got::Disconnect(disconnect.reason),
            other => Got::Other(format!("{other:?}")),
        });
    }
    got
}

pub(super) fn write(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    mqtt::encode(packet, version, &mut bytes).unwrap();
    bytes
}

pub(super) fn connack(
    version: Version,
    session_present: bool,
    reason: ReasonCode,
    limits: &[Property<'_>],
) -> Vec<u8> {
    let mut properties = PropertiesBuf::new();
    for property in limits {
        properties.push(*property);
    }
    write(
        &Packet::ConnAck(ConnAck { session_present, reason, properties: properties.as_properties() }),
        version,
    )
}

/// Any reason, also those that the standard doesn't give to PUBACK: brokers send them.
pub(super) fn puback(version: Version, id: u16, reason: ReasonCode) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    match version {
        Version::V5 if reason != ReasonCode::Success => vec![0x40, 3, high, low, reason.as_u8()],
        _ => vec![0x40, 2, high, low],
    }
}

pub(super) fn pingresp(version: Version) -> Vec<u8> {
    write(&Packet::PingResp, version)
}

pub(super) fn receive_maximum(n: u16) -> Property<'static> {
    Property::U16(PropertyId::ReceiveMaximum, n)
}

/// What upstream holds, over all connections.
#[derive(Debug, Default)]
pub(super) struct Broker {
    pub(super) session: bool,
    /// Everything that was taken, in order: topic, payload.
    pub(super) taken: Vec<(String, String)>,
    pub(super) times: HashMap<(String, String), usize>,
    pub(super) retained: HashMap<String, String>,
    /// While set, everything is refused with 0x97 until this payload comes again.
    pub(super) quota: Option<(String, u32)>,
}

impl Broker {
    pub(super) fn take(&mut self, seen: &Seen) {
        if seen.retain {
            self.retained.insert(seen.topic.clone(), seen.payload.clone());
        }
        let key = (seen.topic.clone(), seen.payload.clone());
        *self.times.entry(key.clone()).or_default() += 1;
        self.taken.push(key);
    }
}
