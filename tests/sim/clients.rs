//! The model of a LAN client as the standard wants one: it keeps what is open over connections, and sends again what was
//! not acknowledged, in order.

use std::collections::BTreeSet;

use fieldgate::broker::{ConnId, Input, ListenerId};
use fieldgate::mqtt::{
    Ack, Connect, Packet, PacketId, Properties, PropertiesBuf, Property, PropertyId, Publish, QoS,
    ReasonCode, Subscribe, SubscribeFilter, SubscribeOptions, Version, decode, encode, frame,
};

use super::truth::{Id, id_of};
use super::world::{Event, World};

/// A message that is not at its end.
#[derive(Clone, Debug)]
struct Sending {
    packet_id: u16,
    topic: String,
    qos: QoS,
    id: Id,
    payload: String,
    /// It has PUBREC.
    received: bool,
}

#[derive(Debug)]
pub struct Client {
    pub name: &'static str,
    version: Version,
    /// What it subscribes to.
    filters: &'static [&'static str],
    pub qos: u8,
    /// Its connection, if it believes to have one.
    pub conn: Option<u32>,
    ready: bool,
    has_session: bool,
    subscribed: bool,
    sending: Vec<Sending>,
    next_id: u16,
    open: BTreeSet<u16>,
    pub got: Vec<Id>,
    rest: Vec<u8>,
}

impl Client {
    pub fn new(name: &'static str, version: Version, filters: &'static [&'static str], qos: u8) -> Self {
        Self {
            name,
            version,
            filters,
            qos,
            conn: None,
            ready: false,
            has_session: false,
            subscribed: false,
            sending: Vec::new(),
            next_id: 0,
            open: BTreeSet::new(),
            got: Vec::new(),
            rest: Vec::new(),
        }
    }

    pub fn subscribes(&self) -> bool {
        !self.filters.is_empty()
    }

    /// Nothing is under way.
    pub fn is_at_rest(&self) -> bool {
        self.ready && self.sending.is_empty() && self.open.is_empty()
    }

    /// All that has to be there before anything is published.
    pub fn is_prepared(&self) -> bool {
        self.ready && (self.subscribed || self.filters.is_empty())
    }
}

fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, version, &mut bytes).unwrap();
    bytes
}

fn ack(id: u16) -> Ack<'static> {
    let packet_id = PacketId::new(id).unwrap();
    Ack { packet_id, reason: ReasonCode::Success, properties: Properties::EMPTY }
}

fn publish(sending: &Sending, dup: bool) -> Packet<'_> {
    Packet::Publish(Publish {
        dup,
        qos: sending.qos,
        retain: false,
        topic: &sending.topic,
        packet_id: PacketId::new(sending.packet_id),
        properties: Properties::EMPTY,
        payload: sending.payload.as_bytes(),
    })
}

impl World {
    fn send(&mut self, c: usize, packet: &Packet<'_>) {
        let client = &self.clients[c];
        let Some(conn) = client.conn else { return };
        let bytes = encoded(packet, client.version);
        let micros = self.random.u64(50..5_000);
        let at = (self.time + micros).max(self.conns[&conn].last_in + 1);
        self.conns.get_mut(&conn).unwrap().last_in = at;
        self.at(at, Event::FromClient(conn, bytes));
    }

    /// The client opens a connection. The broker may not know yet that the last one is gone.
    pub fn client_connects(&mut self, c: usize) {
        if self.clients[c].conn.is_some() {
            return;
        }
        let conn = self.open_conn(c);
        let input = Input::Open {
            conn: ConnId(conn),
            listener: ListenerId(0),
            peer: "10.0.0.7:1",
            certified: None,
            from: None,
        };
        self.tell_broker(input);
        let client = &mut self.clients[c];
        client.conn = Some(conn);
        client.ready = false;
        client.rest.clear();
        let version = client.version;
        let mut properties = PropertiesBuf::new();
        if version == Version::V5 {
            properties.push(Property::U32(PropertyId::SessionExpiryInterval, u32::MAX));
        }
        let connect = Connect {
            version,
            bridge: false,
            clean_start: false,
            keep_alive: 0,
            client_id: client.name,
            will: None,
            user_name: None,
            password: None,
            properties: properties.as_properties(),
        };
        self.send(c, &Packet::Connect(connect));
        if self.plan.lan_cuts && self.chance(2) {
            let micros = self.random.u64(0..4_000_000);
            self.after(micros, Event::ClientCut(conn));
        }
    }

    /// The client's connection is gone for the client.
    pub fn client_lost(&mut self, c: usize) {
        let client = &mut self.clients[c];
        client.conn = None;
        client.ready = false;
        let micros = self.random.u64(1_000..800_000);
        self.after(micros, Event::ClientConnects(c));
    }

    /// A publisher publishes, if it may.
    pub fn client_publishes(&mut self, c: usize) {
        let client = &self.clients[c];
        if !client.ready || client.sending.len() >= 8 {
            return;
        }
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][self.random.usize(0..3)];
        let kind = ["zero", "one", "two"][usize::from(qos.as_u8())];
        let topic = format!("lan/{}/{kind}{}", client.name, self.random.u8(0..2));
        let id = self.truth.publish(&topic, qos.as_u8(), self.time);
        let payload = format!("{id} {}", "x".repeat(self.random.usize(0..200)));
        let client = &mut self.clients[c];
        let mut packet_id = 0;
        if qos != QoS::AtMostOnce {
            packet_id = loop {
                client.next_id = client.next_id % 12 + 1;
                if client.sending.iter().all(|sending| sending.packet_id != client.next_id) {
                    break client.next_id;
                }
            };
        }
        let sending = Sending { packet_id, topic, qos, id, payload, received: false };
        if qos != QoS::AtMostOnce {
            client.sending.push(sending.clone());
        }
        self.send(c, &publish(&sending, false));
    }

    /// Bytes from the broker.
    pub fn client_reads(&mut self, c: usize, bytes: &[u8]) {
        let client = &mut self.clients[c];
        client.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut client.rest);
        let mut at = 0;
        while let Some(frame) = frame(&rest[at..], 1 << 20).unwrap() {
            at += frame.len;
            self.client_takes(c, decode(frame, self.clients[c].version).unwrap());
        }
        self.clients[c].rest = rest[at..].to_vec();
    }

    fn client_takes(&mut self, c: usize, packet: Packet<'_>) {
        let client = &mut self.clients[c];
        match packet {
            Packet::ConnAck(connack) => {
                assert_eq!(connack.reason, ReasonCode::Success);
                assert!(
                    connack.session_present || !client.has_session,
                    "the session of {} is gone",
                    client.name
                );
                client.has_session = true;
                client.ready = true;
                self.client_resumes(c);
            }
            Packet::SubAck(suback) => {
                assert!(suback.codes.iter().all(|code| *code <= 2), "a subscription is refused");
                client.subscribed = true;
            }
            Packet::Publish(publish) => {
                let id = id_of(publish.topic, publish.payload);
                let packet_id = publish.packet_id.map(PacketId::get);
                match (publish.qos, packet_id) {
                    (QoS::AtLeastOnce, Some(packet_id)) => {
                        client.got.push(id);
                        self.send(c, &Packet::PubAck(ack(packet_id)));
                    }
                    (QoS::ExactlyOnce, Some(packet_id)) => {
                        if client.open.insert(packet_id) {
                            client.got.push(id);
                        }
                        self.send(c, &Packet::PubRec(ack(packet_id)));
                    }
                    _ => client.got.push(id),
                }
            }
            Packet::PubRel(rel) => {
                client.open.remove(&rel.packet_id.get());
                self.send(c, &Packet::PubComp(ack(rel.packet_id.get())));
            }
            Packet::PubAck(got) | Packet::PubComp(got) => {
                let Some(at) = client.sending.iter().position(|one| one.packet_id == got.packet_id.get())
                else {
                    panic!("{} is acknowledged, and nothing is under way", got.packet_id.get());
                };
                let sending = client.sending.remove(at);
                if got.reason.is_error() {
                    self.truth.rejected(&sending.id);
                } else {
                    self.truth.acknowledged(&sending.id);
                }
            }
            Packet::PubRec(got) => {
                let Some(at) = client.sending.iter().position(|one| one.packet_id == got.packet_id.get())
                else {
                    return;
                };
                if got.reason.is_error() {
                    let sending = client.sending.remove(at);
                    self.truth.rejected(&sending.id);
                } else {
                    client.sending[at].received = true;
                    let id = client.sending[at].id.clone();
                    self.truth.acknowledged(&id);
                    self.send(c, &Packet::PubRel(ack(got.packet_id.get())));
                }
            }
            Packet::Disconnect(_) => {}
            other => panic!("the broker sent {other:?}"),
        }
    }

    /// Subscribes if it has to, and sends again what was not acknowledged.
    fn client_resumes(&mut self, c: usize) {
        let client = &self.clients[c];
        if client.subscribes() && !client.subscribed {
            let options =
                SubscribeOptions { qos: QoS::from_u8(client.qos).unwrap(), ..SubscribeOptions::default() };
            let filters = client.filters.iter().map(|&filter| SubscribeFilter { filter, options }).collect();
            let packet_id = PacketId::new(100).unwrap();
            let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters };
            self.send(c, &Packet::Subscribe(subscribe));
        }
        for sending in self.clients[c].sending.clone() {
            if sending.received {
                self.send(c, &Packet::PubRel(ack(sending.packet_id)));
            } else {
                self.truth.resent(&sending.id);
                self.send(c, &publish(&sending, true));
            }
        }
    }
}
