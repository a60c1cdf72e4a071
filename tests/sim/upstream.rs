//! The model of the upstream: one session, acknowledgements that may be withheld, refused, or overtaken; orders for the
//! LAN, each sent until it is acknowledged as its QoS wants.

use std::collections::VecDeque;

use fieldgate::mqtt::{
    Ack, ConnAck, Packet, PacketId, Properties, PropertiesBuf, Property, PropertyId, Publish, QoS,
    ReasonCode, SubAck, Version, decode, encode, frame,
};

use super::truth::{Id, Order, ids_of};
use super::world::{Event, World};

/// What the upstream lets a 5.0 client have unacknowledged.
pub const RECEIVE_MAXIMUM: u16 = 5;

#[derive(Debug)]
struct Sent {
    packet_id: u16,
    id: Id,
    qos: QoS,
    /// It has PUBREC.
    received: bool,
    /// On this connection.
    sent: bool,
}

#[derive(Debug, Default)]
pub struct Upstream {
    greeted: bool,
    session: bool,
    subscribed: bool,
    /// Nothing but this is taken until it came so often; and since when.
    quota: Option<(Id, u32, u64)>,
    orders: VecDeque<Sent>,
    next_id: u16,
    numbers: u64,
    /// Identifiers of the gateway that are not acknowledged.
    unacknowledged: usize,
}

fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, version, &mut bytes).unwrap();
    bytes
}

fn ack(packet_id: PacketId, reason: ReasonCode) -> Ack<'static> {
    Ack { packet_id, reason, properties: Properties::EMPTY }
}

/// Any reason, also those that the standard doesn't give to PUBACK: brokers send them.
fn puback(version: Version, id: PacketId, reason: ReasonCode) -> Vec<u8> {
    let [high, low] = id.get().to_be_bytes();
    match version {
        Version::V5 if reason != ReasonCode::Success => vec![0x40, 3, high, low, reason.as_u8()],
        _ => vec![0x40, 2, high, low],
    }
}

impl Upstream {
    pub fn is_at_rest(&self) -> bool {
        self.orders.is_empty()
    }

    /// A connection ends, and the session perhaps with it.
    pub fn connection_ends(&mut self, forgets: bool) {
        self.greeted = false;
        self.quota = None;
        self.unacknowledged = 0;
        if forgets {
            self.session = false;
            self.subscribed = false;
            self.orders.clear();
        }
        for order in &mut self.orders {
            order.sent = false;
        }
    }
}

impl World {
    fn reply(&mut self, bytes: Vec<u8>, may_overtake: bool) {
        let arrives = self.time + self.random.u64(100..30_000);
        if may_overtake && self.plan.reorder && self.random.bool() {
            return self.at(arrives, Event::ToGateway(self.link.conn, bytes));
        }
        self.link.last_down = arrives.max(self.link.last_down + 1);
        self.at(self.link.last_down, Event::ToGateway(self.link.conn, bytes));
    }

    fn answer(&mut self, packet: &Packet<'_>) {
        self.reply(encoded(packet, self.plan.version), false);
    }

    /// Bytes from the gateway: whole packets, as the machine writes them.
    pub fn upstream_reads(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let frame = frame(rest, usize::MAX).unwrap().expect("the machine writes whole packets");
            rest = &rest[frame.len..];
            self.upstream_takes(decode(frame, self.plan.version).unwrap());
        }
    }

    fn upstream_takes(&mut self, packet: Packet<'_>) {
        assert!(self.upstream.greeted || matches!(packet, Packet::Connect(_)), "{packet:?} before CONNECT");
        match packet {
            Packet::Connect(connect) => {
                self.upstream.greeted = true;
                let refused = self.plan.shut && self.chance(3);
                self.happened.shut += u64::from(refused);
                let present = self.upstream.session && !connect.clean_start && !refused;
                let mut properties = PropertiesBuf::new();
                if self.plan.version == Version::V5 {
                    properties.push(Property::U16(PropertyId::ReceiveMaximum, RECEIVE_MAXIMUM));
                }
                let reason = if refused { ReasonCode::ServerUnavailable } else { ReasonCode::Success };
                let properties = properties.as_properties();
                self.answer(&Packet::ConnAck(ConnAck { session_present: present, reason, properties }));
                if !refused {
                    self.upstream.session = true;
                    self.link.last_down += 1;
                    self.send_orders();
                }
            }
            Packet::Publish(publish) => self.upstream_publish(&publish),
            Packet::Subscribe(subscribe) => {
                self.upstream.subscribed = true;
                let codes: Vec<u8> = subscribe.filters.iter().map(|one| one.options.qos.as_u8()).collect();
                let properties = Properties::EMPTY;
                self.answer(&Packet::SubAck(SubAck {
                    packet_id: subscribe.packet_id,
                    properties,
                    codes: &codes,
                }));
            }
            Packet::PubAck(got) => self.order_done(got.packet_id.get()),
            Packet::PubRec(got) => {
                let id = got.packet_id;
                if let Some(order) = self.upstream.orders.iter_mut().find(|one| one.packet_id == id.get()) {
                    order.received = true;
                    self.truth.orders.get_mut(&order.id).unwrap().acknowledged = true;
                }
                self.answer(&Packet::PubRel(ack(id, ReasonCode::Success)));
            }
            Packet::PubComp(got) => self.order_done(got.packet_id.get()),
            Packet::PingReq => self.answer(&Packet::PingResp),
            Packet::Disconnect(_) => {}
            other => panic!("the gateway sent {other:?}"),
        }
    }

    fn upstream_publish(&mut self, publish: &Publish<'_>) {
        let Some(packet_id) = publish.packet_id else {
            assert_eq!(publish.qos, QoS::AtMostOnce);
            return self.take(ids_of(publish.topic, publish.payload));
        };
        self.upstream.unacknowledged += 1;
        let window = match self.plan.version {
            Version::V5 => RECEIVE_MAXIMUM,
            _ => self.bridge_config().inflight_max,
        };
        assert!(self.upstream.unacknowledged <= usize::from(window), "more in flight than allowed");
        if publish.topic == "gw/status" || publish.topic == "gw/health" {
            return self.acknowledge(packet_id, ReasonCode::Success);
        }
        let ids = ids_of(publish.topic, publish.payload);
        let id = ids[0].clone();
        if let Some((head, times, since)) = &mut self.upstream.quota {
            // Readings that were refused together come again singly, before it: then any message will do, once what was
            // on its way has been answered.
            let long_since = self.plan.batch && self.plan.refuses && self.time > *since + 60_000_000;
            if long_since || (*head == id && *times == 0) {
                self.upstream.quota = None;
            } else {
                *times = times.saturating_sub(u32::from(*head == id));
                return self.acknowledge(packet_id, ReasonCode::QuotaExceeded);
            }
        } else if self.plan.quota && self.chance(60) {
            self.upstream.quota = Some((id, self.random.u32(0..3), self.time));
            self.happened.quota += 1;
            return self.acknowledge(packet_id, ReasonCode::QuotaExceeded);
        }
        // Whether it is refused is the message's fate, also when it comes twice.
        if self.plan.refuses && ids.iter().any(|id| id.ends_with("13")) {
            if ids.len() == 1 {
                self.truth.refused(&id);
                self.happened.refused += 1;
            }
            return self.acknowledge(packet_id, ReasonCode::NotAuthorized);
        }
        self.take(ids);
        if self.plan.withholds && self.chance(150) {
            self.happened.withheld += 1;
            return;
        }
        self.acknowledge(packet_id, ReasonCode::Success);
    }

    fn take(&mut self, ids: Vec<Id>) {
        self.happened.shared += u64::from(ids.len() > 1);
        for id in ids {
            self.truth.taken(id);
        }
    }

    fn acknowledge(&mut self, packet_id: PacketId, reason: ReasonCode) {
        self.reply(puback(self.plan.version, packet_id, reason), true);
    }

    /// A PUBACK has arrived at the gateway: the identifier is free.
    pub fn note_puback(&mut self, bytes: &[u8]) {
        if bytes[0] == 0x40 {
            self.upstream.unacknowledged -= 1;
        }
    }

    // Orders: upstream to LAN.

    pub fn make_order(&mut self) {
        if !self.upstream.subscribed || self.upstream.orders.len() >= 10 {
            return;
        }
        let upstream = &mut self.upstream;
        upstream.numbers += 1;
        let qos = if self.random.bool() { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let id = format!("order/{}:{}", qos.as_u8(), upstream.numbers);
        upstream.next_id = upstream.next_id % 60_000 + 1;
        let packet_id = upstream.next_id;
        upstream.orders.push_back(Sent { packet_id, id: id.clone(), qos, received: false, sent: false });
        let order = Order { qos: qos.as_u8(), acknowledged: false, crashes: 0 };
        self.truth.orders.insert(id, order);
        self.send_orders();
    }

    fn send_orders(&mut self) {
        if !self.upstream.greeted || !self.link.open {
            return;
        }
        let mut packets = Vec::new();
        for order in self.upstream.orders.iter_mut().filter(|order| !order.sent) {
            order.sent = true;
            let packet_id = PacketId::new(order.packet_id).unwrap();
            let packet = if order.received {
                Packet::PubRel(ack(packet_id, ReasonCode::Success))
            } else {
                Packet::Publish(Publish {
                    dup: false,
                    qos: order.qos,
                    retain: false,
                    topic: "order/x",
                    packet_id: Some(packet_id),
                    properties: Properties::EMPTY,
                    payload: order.id.as_bytes(),
                })
            };
            packets.push(encoded(&packet, self.plan.version));
        }
        for bytes in packets {
            self.reply(bytes, false);
        }
    }

    fn order_done(&mut self, packet_id: u16) {
        let Some(at) = self.upstream.orders.iter().position(|one| one.packet_id == packet_id) else { return };
        if let Some(order) = self.upstream.orders.remove(at) {
            self.truth.orders.get_mut(&order.id).unwrap().acknowledged = true;
        }
    }
}
