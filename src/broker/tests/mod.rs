//! Scripts against the broker: a bench with invented time and a recording sink, whose packets are real bytes.
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "tests"
)]
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod access;
mod acknowledgement;
mod aliases;
mod bridging;
mod chaos;
mod commanding;
mod connection;
mod counting;
mod crashes;
mod exactly_once;
mod flow_control;
mod homes;
mod hostile;
mod keeping;
mod limits;
mod looking;
mod offers;
mod pace;
mod persistence;
mod publishing;
mod reconfiguring;
mod retaining;
mod sessions;
mod sharing;
mod subscribing;
mod welcoming;
mod wills;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::*;
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{
    Ack, ConnAck, Connect, Disconnect, Packet, Property, PropertyId, Publish, ReasonCode, RetainHandling,
    SubAck, Subscribe, SubscribeFilter, SubscribeOptions, UnsubAck, Unsubscribe, Will, decode, encode, frame,
};

pub(super) use Version::{V5, V31, V311};

pub(super) const Q0: QoS = QoS::AtMostOnce;
pub(super) const Q1: QoS = QoS::AtLeastOnce;
pub(super) const Q2: QoS = QoS::ExactlyOnce;

/// Topic, payload and properties that all copies of one message share.
type Common = (String, (Vec<u8>, Vec<u8>));

/// Out buffers as the shell would have them, and all that ever went into them.
#[derive(Default)]
pub(super) struct Record {
    sent: BTreeMap<ConnId, Vec<u8>>,
    pending: BTreeMap<ConnId, usize>,
    /// What all deliveries since `begin` have in common.
    common: Option<Common>,
}

impl Record {
    fn append(&mut self, to: ConnId, bytes: &[u8]) -> usize {
        self.sent.entry(to).or_default().extend_from_slice(bytes);
        let pending = self.pending.entry(to).or_default();
        *pending += bytes.len();
        *pending
    }
}

impl Sink for Record {
    fn begin(&mut self) {
        self.common = None;
    }

    fn publish(&mut self, to: ConnId, d: &Delivery<'_>) -> usize {
        let common = (d.properties.as_bytes().to_vec(), d.payload.to_vec());
        let (topic, rest) = self.common.get_or_insert_with(|| (d.topic.to_owned(), common.clone()));
        assert_eq!(*rest, common, "a message without begin()");
        if d.topic.is_empty() {
            assert!(d.own_properties.number(PropertyId::TopicAlias).is_some(), "neither topic nor alias");
        } else if topic.is_empty() {
            *topic = d.topic.to_owned();
        } else {
            assert_eq!(topic, d.topic, "a message without begin()");
        }
        assert_eq!(d.packet_id.is_some(), d.qos > Q0);
        let mut properties = crate::mqtt::PropertiesBuf::new();
        for property in d.properties.iter().chain(d.own_properties.iter()) {
            properties.push(property);
        }
        let publish = Publish {
            dup: d.dup,
            qos: d.qos,
            retain: d.retain,
            topic: d.topic,
            packet_id: d.packet_id,
            properties: properties.as_properties(),
            payload: d.payload,
        };
        let mut bytes = Vec::new();
        encode(&Packet::Publish(publish), d.version, &mut bytes).unwrap();
        self.append(to, &bytes)
    }

    fn raw(&mut self, to: ConnId, packet: &[u8]) -> usize {
        self.append(to, packet)
    }

    fn buffered(&self, conn: ConnId) -> usize {
        self.pending.get(&conn).copied().unwrap_or(0)
    }
}

pub(super) struct Bench {
    pub(super) broker: Broker,
    pub(super) now: Now,
    pub(super) sink: Record,
    /// Connections whose clients do not read.
    pub(super) stuck: BTreeSet<u32>,
    versions: BTreeMap<u32, Version>,
    pub(super) closed: BTreeSet<u32>,
    pub(super) paused: BTreeSet<u32>,
    pub(super) forwards: VecDeque<(OutboxId, Message, Option<SafeToken>)>,
    /// Tickets of upstreams: answered, and whether they are safe.
    pub(super) accepted: Vec<(u64, bool)>,
    pub(super) batches: VecDeque<(u64, Vec<Change>)>,
    pub(super) authentications: Vec<(u32, String, Vec<u8>)>,
    pub(super) commands: Vec<(Message, CommandBy)>,
    pub(super) mark: usize,
}

pub(super) fn config() -> Config {
    let listener = |name: &str, allow_anonymous| ListenerPolicy {
        name: name.into(),
        allow_anonymous,
        ..ListenerPolicy::default()
    };
    Config {
        base: "gw".into(),
        listeners: vec![listener("open", true), listener("users", false)],
        persistence: false,
        ..Config::default()
    }
}

pub(super) fn forwarding(filters: &[(&str, u16)]) -> Config {
    let rule = |(filter, outbox): &(&str, u16)| ForwardRule {
        filter: TopicFilter::parse(filter).unwrap(),
        outbox: OutboxId(*outbox),
    };
    Config { forward: filters.iter().map(rule).collect(), ..config() }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(config())
    }

    pub(super) fn with(config: Config) -> Self {
        let mark = config.out_buffer_bytes_max;
        Self {
            broker: Broker::new(config, 7),
            now: Now { mono: Mono::from_nanos(1_000_000_000_000), ..Now::default() },
            sink: Record::default(),
            stuck: BTreeSet::new(),
            versions: BTreeMap::new(),
            closed: BTreeSet::new(),
            paused: BTreeSet::new(),
            forwards: VecDeque::new(),
            accepted: Vec::new(),
            batches: VecDeque::new(),
            authentications: Vec::new(),
            commands: Vec::new(),
            mark,
        }
    }

    /// One input, then the end of the turn: events are noted, buffers of clients that read are written out.
    pub(super) fn handle(&mut self, input: Input<'_>) {
        self.broker.handle(self.now, input, &mut self.sink);
        self.note_events();
        let full: Vec<ConnId> = self
            .sink
            .pending
            .iter_mut()
            .filter(|(conn, _)| !self.stuck.contains(&conn.0))
            .filter_map(|(conn, pending)| (std::mem::take(pending) > self.mark).then_some(*conn))
            .collect();
        for conn in full {
            self.handle(Input::Drained { conn });
        }
    }

    fn note_events(&mut self) {
        while let Some(event) = self.broker.poll_event() {
            match event {
                Event::Close { conn } => assert!(self.closed.insert(conn.0), "closed twice"),
                Event::Pause { conn } => assert!(self.paused.insert(conn.0), "paused twice"),
                Event::Resume { conn } => assert!(self.paused.remove(&conn.0), "resumed, but not paused"),
                Event::Authenticate { conn, user_name, password, .. } => {
                    self.authentications.push((conn.0, user_name, password.expose().to_vec()));
                }
                Event::Forward { outbox, message, token } => {
                    self.forwards.push_back((outbox, message, token))
                }
                Event::Accepted { ticket, safe, .. } => self.accepted.push((ticket.0, safe)),
                Event::Command { message, by, at } => {
                    assert_eq!(at, self.now.mono);
                    self.commands.push((message, by));
                }
                Event::Persist { number, changes } => self.batches.push_back((number, changes)),
            }
        }
    }

    pub(super) fn open_at(&mut self, c: u32, listener: u16) {
        self.closed.remove(&c);
        self.paused.remove(&c);
        self.sink.sent.remove(&ConnId(c));
        self.sink.pending.remove(&ConnId(c));
        self.handle(Input::Open {
            conn: ConnId(c),
            listener: ListenerId(listener),
            peer: "10.0.0.7:1",
            certified: None,
            from: None,
        });
    }

    pub(super) fn open(&mut self, c: u32) {
        self.open_at(c, 0);
    }

    pub(super) fn bytes(&mut self, c: u32, bytes: &[u8]) {
        self.handle(Input::Bytes { conn: ConnId(c), bytes });
    }

    pub(super) fn send(&mut self, c: u32, packet: Packet<'_>) {
        if let Packet::Connect(connect) = &packet {
            self.versions.insert(c, connect.version);
        }
        let bytes = encoded(&packet, self.versions[&c]);
        self.bytes(c, &bytes);
    }

    /// Opens, connects, and checks that it is let in. Gives session present.
    pub(super) fn join(&mut self, c: u32, connect: Connect<'_>) -> bool {
        self.open(c);
        self.send(c, Packet::Connect(connect));
        self.welcomed(c)
    }

    pub(super) fn welcomed(&mut self, c: u32) -> bool {
        let version = self.versions[&c];
        let bytes = self.next(c).expect("a CONNACK");
        match decode(frame(&bytes, 1 << 20).unwrap().unwrap(), version).unwrap() {
            Packet::ConnAck(ConnAck { session_present, reason: ReasonCode::Success, .. }) => session_present,
            other => panic!("{other:?}"),
        }
    }

    /// The bytes of the next packet that went to a client.
    pub(super) fn next(&mut self, c: u32) -> Option<Vec<u8>> {
        let sent = self.sink.sent.get_mut(&ConnId(c))?;
        let len = frame(sent, 1 << 28).unwrap()?.len;
        Some(sent.drain(..len).collect())
    }

    #[track_caller]
    pub(super) fn expect(&mut self, c: u32, packet: Packet<'_>) {
        let version = self.versions[&c];
        let wanted = encoded(&packet, version);
        let got = self.next(c);
        let plain = got.as_deref().map(|got| plain(got, version));
        if plain.as_ref() != Some(&wanted) {
            match got {
                Some(got) => panic!(
                    "client {c} got {:?}, not {packet:?}",
                    decode(frame(&got, 1 << 28).unwrap().unwrap(), version)
                ),
                None => panic!("client {c} got nothing, not {packet:?}"),
            }
        }
    }

    #[track_caller]
    pub(super) fn nothing(&mut self, c: u32) {
        let version = self.versions.get(&c).copied().unwrap_or(V311);
        if let Some(got) = self.next(c) {
            panic!("client {c} got {:?}", decode(frame(&got, 1 << 28).unwrap().unwrap(), version));
        }
    }

    #[track_caller]
    pub(super) fn expect_closed(&mut self, c: u32) {
        self.nothing(c);
        assert!(self.closed.contains(&c), "client {c} is still connected");
    }

    /// DISCONNECT in 5.0, and closed.
    #[track_caller]
    pub(super) fn expect_disconnect(&mut self, c: u32, reason: ReasonCode) {
        self.expect(c, Packet::Disconnect(Disconnect { reason, properties: Properties::EMPTY }));
        self.expect_closed(c);
    }

    /// The shell closes, or the network breaks.
    pub(super) fn cut(&mut self, c: u32) {
        self.handle(Input::Closed { conn: ConnId(c) });
        self.paused.remove(&c);
    }

    pub(super) fn disconnect(&mut self, c: u32) {
        self.send(
            c,
            Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: Properties::EMPTY }),
        );
        self.expect_closed(c);
        self.cut(c);
    }

    /// Lets time pass, with every deadline on its time.
    pub(super) fn wait(&mut self, span: Duration) {
        let end = self.now.mono + span;
        while let Some(at) = self.broker.next_deadline().filter(|at| *at <= end) {
            self.now.mono = at.max(self.now.mono);
            self.handle(Input::Tick);
            assert!(
                self.broker.next_deadline() > Some(at) || self.broker.next_deadline().is_none(),
                "a tick that does nothing"
            );
        }
        self.now.mono = end;
    }

    #[track_caller]
    pub(super) fn subscribe(&mut self, c: u32, filter: &str, qos: QoS) {
        self.send(c, subscribe(1, &[(filter, qos)]));
        self.expect(c, suback(1, &[qos.as_u8()]));
    }

    #[track_caller]
    pub(super) fn subscribe_with(
        &mut self,
        c: u32,
        filter: &str,
        options: SubscribeOptions,
        id: Option<u32>,
    ) {
        let properties = id.map_or(Properties::EMPTY, |id| {
            properties(&[Property::Varint(PropertyId::SubscriptionIdentifier, id)])
        });
        let filters = vec![SubscribeFilter { filter, options }];
        self.send(c, Packet::Subscribe(Subscribe { packet_id: pid(1), properties, filters }));
        self.expect(c, suback(1, &[options.qos.as_u8()]));
    }

    /// Answers the oldest forward that was not answered.
    pub(super) fn answer(&mut self, safe: bool) {
        let (_, _, token) = self.forwards.pop_front().expect("a forward");
        self.answer_token(token.expect("a token"), safe);
    }

    pub(super) fn answer_token(&mut self, token: SafeToken, safe: bool) {
        self.handle(if safe { Input::Safe { token } } else { Input::Refused { token } });
    }
}

/// The packet without its reason string, and without the hint that nobody was concerned: what most tests are not
/// about.
fn plain(bytes: &[u8], version: Version) -> Vec<u8> {
    let mut packet = decode(frame(bytes, 1 << 28).unwrap().unwrap(), version).unwrap();
    let told = match &mut packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) => {
            if ack.reason == ReasonCode::NoMatchingSubscribers {
                ack.reason = ReasonCode::Success;
            }
            &mut ack.properties
        }
        Packet::PubRel(ack) | Packet::PubComp(ack) => &mut ack.properties,
        Packet::ConnAck(connack) => &mut connack.properties,
        Packet::SubAck(suback) => &mut suback.properties,
        Packet::Disconnect(disconnect) => &mut disconnect.properties,
        _ => return bytes.to_vec(),
    };
    if told.string(PropertyId::ReasonString).is_some() {
        *told = Properties::EMPTY;
    }
    encoded(&packet, version)
}

pub(super) fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(packet, version, &mut bytes).unwrap();
    bytes
}

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn pid(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

pub(super) fn properties(list: &[Property<'_>]) -> Properties<'static> {
    let mut properties = crate::mqtt::PropertiesBuf::new();
    for property in list {
        properties.push(*property);
    }
    Box::leak(Box::new(properties)).as_properties()
}

/// A CONNECT that starts clean, without keep alive.
pub(super) fn connect(version: Version, client_id: &str) -> Connect<'_> {
    Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive: 0,
        client_id,
        will: None,
        user_name: None,
        password: None,
        properties: Properties::EMPTY,
    }
}

/// A CONNECT that goes on with its session, which stays for ever.
pub(super) fn resume(version: Version, client_id: &str) -> Connect<'_> {
    resume_for(version, client_id, u32::MAX)
}

pub(super) fn resume_for(version: Version, client_id: &str, expiry: u32) -> Connect<'_> {
    let properties = match version {
        V5 => properties(&[Property::U32(PropertyId::SessionExpiryInterval, expiry)]),
        _ => Properties::EMPTY,
    };
    Connect { clean_start: false, properties, ..connect(version, client_id) }
}

pub(super) fn will(topic: &'static str, payload: &'static str) -> Option<Will<'static>> {
    let payload = payload.as_bytes();
    Some(Will { topic, payload, qos: Q0, retain: false, properties: Properties::EMPTY })
}

/// A PUBLISH; `id` 0 for none.
pub(super) fn publish<'a>(topic: &'a str, qos: QoS, id: u16, payload: &'a str) -> Publish<'a> {
    let payload = payload.as_bytes();
    let packet_id = PacketId::new(id);
    Publish { dup: false, qos, retain: false, topic, packet_id, properties: Properties::EMPTY, payload }
}

pub(super) fn message<'a>(topic: &'a str, qos: QoS, id: u16, payload: &'a str) -> Packet<'a> {
    Packet::Publish(publish(topic, qos, id, payload))
}

pub(super) fn retained<'a>(topic: &'a str, qos: QoS, id: u16, payload: &'a str) -> Packet<'a> {
    Packet::Publish(Publish { retain: true, ..publish(topic, qos, id, payload) })
}

pub(super) fn dup<'a>(topic: &'a str, qos: QoS, id: u16, payload: &'a str) -> Packet<'a> {
    Packet::Publish(Publish { dup: true, ..publish(topic, qos, id, payload) })
}

pub(super) fn ack(id: u16, reason: ReasonCode) -> Ack<'static> {
    Ack { packet_id: pid(id), reason, properties: Properties::EMPTY }
}

pub(super) fn puback(id: u16) -> Packet<'static> {
    Packet::PubAck(ack(id, ReasonCode::Success))
}

pub(super) fn pubrec(id: u16) -> Packet<'static> {
    Packet::PubRec(ack(id, ReasonCode::Success))
}

pub(super) fn pubrel(id: u16) -> Packet<'static> {
    Packet::PubRel(ack(id, ReasonCode::Success))
}

pub(super) fn pubcomp(id: u16) -> Packet<'static> {
    Packet::PubComp(ack(id, ReasonCode::Success))
}

pub(super) fn subscribe<'a>(id: u16, filters: &[(&'a str, QoS)]) -> Packet<'a> {
    let filter = |(filter, qos): &(&'a str, QoS)| SubscribeFilter {
        filter,
        options: SubscribeOptions { qos: *qos, ..SubscribeOptions::default() },
    };
    let filters = filters.iter().map(filter).collect();
    Packet::Subscribe(Subscribe { packet_id: pid(id), properties: Properties::EMPTY, filters })
}

pub(super) fn suback(id: u16, codes: &[u8]) -> Packet<'_> {
    Packet::SubAck(SubAck { packet_id: pid(id), properties: Properties::EMPTY, codes })
}

pub(super) fn unsubscribe<'a>(id: u16, filters: &[&'a str]) -> Packet<'a> {
    let filters = filters.to_vec();
    Packet::Unsubscribe(Unsubscribe { packet_id: pid(id), properties: Properties::EMPTY, filters })
}

pub(super) fn unsuback(id: u16, codes: &[u8]) -> Packet<'_> {
    Packet::UnsubAck(UnsubAck { packet_id: pid(id), properties: Properties::EMPTY, codes })
}

pub(super) fn options(qos: QoS) -> SubscribeOptions {
    SubscribeOptions { qos, ..SubscribeOptions::default() }
}

pub(super) fn local(topic: &str, qos: QoS, retain: bool, payload: &str) -> Message {
    Message {
        topic: topic.into(),
        payload: payload.as_bytes().to_vec().into(),
        qos,
        retain,
        properties: crate::mqtt::PropertiesBuf::new(),
        reading: None,
    }
}
