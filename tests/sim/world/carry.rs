//! What carries values between the machines and their surroundings: mailboxes, the way to the store, the way to clients.

use std::collections::BTreeMap;

use fieldgate::bridge::{self, StreamNo};
use fieldgate::broker::{self, ConnId, Delivery, Sink};
use fieldgate::message::{Message, OutboxId, SafeToken, Ticket};
use fieldgate::mqtt::{Packet, PropertiesBuf, Publish, encode};
use fieldgate::record;

use super::super::disk::Op;
use super::super::plan::Fault;
use super::settings::broker_config;
use super::{Event, World};

/// From the broker thread to the bridge's.
#[derive(Debug)]
pub enum Up {
    Append(Message, Option<SafeToken>),
    Accepted(Ticket, bool),
}

/// And back.
#[derive(Debug)]
pub enum Down {
    Settled(SafeToken, bool),
    Bridged(Message, Option<Ticket>),
}

/// Where the broker's packets go: to be carried to the clients at the end of the turn.
#[derive(Debug, Default)]
pub struct Out {
    pub sent: BTreeMap<u32, Vec<u8>>,
    pub buffered: BTreeMap<u32, usize>,
}

impl Out {
    fn append(&mut self, to: ConnId, packet: &[u8]) -> usize {
        self.sent.entry(to.0).or_default().extend_from_slice(packet);
        let buffered = self.buffered.entry(to.0).or_default();
        *buffered += packet.len();
        *buffered
    }
}

impl Sink for Out {
    fn begin(&mut self) {}

    fn publish(&mut self, to: ConnId, delivery: &Delivery<'_>) -> usize {
        let mut properties = PropertiesBuf::new();
        properties.extend(delivery.properties);
        properties.extend(delivery.own_properties);
        let publish = Publish {
            dup: delivery.dup,
            qos: delivery.qos,
            retain: delivery.retain,
            topic: delivery.topic,
            packet_id: delivery.packet_id,
            properties: properties.as_properties(),
            payload: delivery.payload,
        };
        let mut bytes = Vec::new();
        encode(&Packet::Publish(publish), delivery.version, &mut bytes).unwrap();
        self.append(to, &bytes)
    }

    fn raw(&mut self, to: ConnId, packet: &[u8]) -> usize {
        self.append(to, packet)
    }

    fn buffered(&self, conn: ConnId) -> usize {
        self.buffered.get(&conn.0).copied().unwrap_or(0)
    }
}

impl World {
    // Between the machines.

    pub fn tell_bridge(&mut self, input: bridge::Input<'_>) {
        self.bridge.handle(self.now(), input);
    }

    /// What the disk says of one stream.
    pub fn tell_stream(&mut self, stream: StreamNo, input: bridge::Input<'_>) {
        self.bridge.handle_of(self.now(), stream, input);
    }

    /// One input, and what follows from it for connections; the rest is carried by [`Self::carry`].
    pub fn tell_broker(&mut self, input: broker::Input<'_>) {
        let now = self.now();
        self.broker.handle(now, input, &mut self.out);
    }

    pub fn deliver_up(&mut self) {
        match self.up.pop_front() {
            Some(Up::Append(message, token)) => self.tell_bridge(bridge::Input::Append { message, token }),
            Some(Up::Accepted(ticket, safe)) => self.tell_bridge(bridge::Input::Accepted { ticket, safe }),
            None => {}
        }
    }

    pub fn deliver_down(&mut self) {
        match self.down.pop_front() {
            Some(Down::Settled(token, true)) => self.tell_broker(broker::Input::Safe { token }),
            Some(Down::Settled(token, false)) => self.tell_broker(broker::Input::Refused { token }),
            Some(Down::Bridged(message, ticket)) => {
                self.tell_broker(broker::Input::Bridged { from: OutboxId(0), message, ticket });
            }
            None => {}
        }
    }

    pub fn push_up(&mut self, item: Up) {
        self.up.push_back(item);
        self.last_up = (self.time + self.random.u64(1..3_000)).max(self.last_up);
        self.at(self.last_up, Event::ToBridge(self.life));
    }

    pub fn push_down(&mut self, item: Down) {
        self.down.push_back(item);
        self.last_down = (self.time + self.random.u64(1..3_000)).max(self.last_down);
        self.at(self.last_down, Event::ToBroker(self.life));
    }

    /// Carries what the machines have said, until they say no more.
    pub fn carry(&mut self) {
        loop {
            if let Some(event) = self.broker.poll_event() {
                self.broker_says(event);
            } else if let Some((stream, output)) = self.bridge.poll_output_of() {
                self.bridge_says(stream, output);
            } else if self.out.sent.is_empty() {
                return;
            }
            self.carry_packets();
        }
    }

    fn carry_packets(&mut self) {
        for (conn, bytes) in std::mem::take(&mut self.out.sent) {
            let micros = self.random.u64(50..5_000);
            let Some(c) = self.conns.get_mut(&conn) else { continue };
            c.buffered += bytes.len();
            c.was_full |= c.buffered > broker_config().out_buffer_bytes_max;
            c.last_out = (self.time + micros).max(c.last_out + 1);
            let at = c.last_out;
            self.at(at, Event::ToClient(conn, bytes));
        }
    }

    fn broker_says(&mut self, event: broker::Event) {
        match event {
            broker::Event::Close { conn } => {
                self.after(0, Event::BrokerClosed(conn.0));
                if let Some(client) = self.conns.get(&conn.0).map(|conn| conn.client)
                    && self.clients[client].conn == Some(conn.0)
                {
                    self.client_lost(client);
                }
            }
            broker::Event::Pause { conn } => {
                if let Some(conn) = self.conns.get_mut(&conn.0) {
                    conn.paused = true;
                }
            }
            broker::Event::Resume { conn } => {
                let Some(c) = self.conns.get_mut(&conn.0) else { return };
                c.paused = false;
                while let Some(c) = self.conns.get_mut(&conn.0).filter(|conn| !conn.paused)
                    && let Some(bytes) = c.held.pop_front()
                {
                    self.tell_broker(broker::Input::Bytes { conn, bytes: &bytes });
                    // Its answer may be a pause, which counts before the next bytes.
                    while let Some(event) = self.broker.poll_event() {
                        self.broker_says(event);
                    }
                }
            }
            broker::Event::Authenticate { .. } => panic!("nobody has a password"),
            broker::Event::Command { .. } => panic!("no device takes commands"),
            broker::Event::Forward { message, token, .. } => self.forward(message, token),
            broker::Event::Accepted { ticket, safe, .. } => self.push_up(Up::Accepted(ticket, safe)),
            broker::Event::Persist { number, changes } => self.disk_op(Op::Persist(number, changes)),
        }
    }

    fn forward(&mut self, message: Message, token: Option<SafeToken>) {
        let fault = self.plan.fault;
        if fault == Fault::LosesForward && self.chance(50) {
            return;
        }
        if fault == Fault::RepeatsForwards && self.chance(5) {
            self.push_up(Up::Append(message.clone(), None));
        }
        self.push_up(Up::Append(message, token));
        let len = self.up.len();
        if len >= 2 && self.plan.fault == Fault::SwapsForwards && self.chance(20) {
            self.up.swap(len - 1, len - 2);
        }
    }

    fn bridge_says(&mut self, stream: StreamNo, output: bridge::Output) {
        match output {
            bridge::Output::ConnectTo(place) => panic!("nobody named {place}"),
            bridge::Output::Probe { .. } => panic!("there is only one address"),
            bridge::Output::Connect { .. } => {
                self.link.conn += 1;
                let ok = self.calm || self.random.u32(0..3) > 0;
                let micros = self.random.u64(100..100_000);
                self.after(micros, Event::Opened(self.link.conn, ok));
            }
            bridge::Output::Send(bytes) => {
                assert!(self.link.open, "bytes for a closed transport");
                let micros = self.random.u64(100..20_000);
                self.link.last_up = (self.time + micros).max(self.link.last_up + 1);
                self.at(self.link.last_up, Event::ToUpstream(self.link.conn, bytes));
            }
            bridge::Output::Close => self.end_link(),
            bridge::Output::Deliver { message, ticket } => self.push_down(Down::Bridged(message, ticket)),
            bridge::Output::Purge { .. } => panic!("nobody purges"),
            // What is noted beside the outbox has tests of its own.
            bridge::Output::Keep { .. } => {}
            bridge::Output::Announce(_) => panic!("nobody wants to know"),
            bridge::Output::Commit(records) => {
                assert!(!records.is_empty(), "an empty commit");
                for stored in &records {
                    record::decode(&stored.bytes).unwrap();
                }
                self.happened.streamed += u64::from(stream);
                self.disk_op(Op::Commit(stream, records));
            }
            bridge::Output::Read { from, bytes_max } => self.disk_op(Op::Read(stream, from, bytes_max)),
            bridge::Output::ReadBack { before, bytes_max } => {
                self.disk_op(Op::ReadBack(stream, before, bytes_max))
            }
            bridge::Output::Ack { up_to, beyond } => self.disk_op(Op::Ack(stream, up_to, beyond)),
            bridge::Output::Safe(tokens) => {
                self.happened.acknowledged += tokens.len() as u64;
                for token in tokens {
                    self.push_down(Down::Settled(token, true));
                }
            }
            bridge::Output::Refused(tokens) => {
                for token in tokens {
                    self.push_down(Down::Settled(token, false));
                }
            }
            bridge::Output::Notice(_) | bridge::Output::Stopped => {}
        }
    }
}
