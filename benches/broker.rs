//! What the broker's parts cost, one by one: decoding, encoding, routing among 1 to 100,000 subscriptions, a session's queue,
//! and whole batches through the machine, from the bytes that come in to those that go out. Run with:
//!
//! ```text
//! cargo bench --bench broker                     all
//! cargo bench --bench broker -- route            those whose names have it
//! ```
//! Where the machine is busy, instructions are the better measure; they are the same each time. The difference of two runs
//! leaves out what is done once:
//!
//! ```text
//! for n in 1000 2000; do
//!   valgrind --tool=callgrind target/release/deps/broker-… --bench --exact qos1 --sample-count 1 --sample-size $n
//! done
//! ```
#![allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark"
)]

use std::time::Duration;

use divan::{Bencher, black_box};
use fieldgate::broker::{Broker, Config, ConnId, Input, ListenerId, ListenerPolicy};
use fieldgate::io::sink::OutBuffers;
use fieldgate::mqtt::{
    Ack, Connect, Packet, PacketId, Properties, Publish, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscribeOptions, Version, decode, encode, frame,
};
use fieldgate::time::{ClockTrust, Mono, Now, Timestamp};

/// Messages that come with one read.
const BATCH: u64 = 20;

fn main() {
    divan::main();
}

fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(packet, Version::V311, &mut out).unwrap();
    out
}

fn publish(topic: &str, qos: QoS, id: u16) -> Vec<u8> {
    bytes(&Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: PacketId::new(id),
        properties: Properties::EMPTY,
        payload: &[b'p'; 64],
    }))
}

fn ack(kind: fn(Ack<'static>) -> Packet<'static>, id: u16) -> Vec<u8> {
    let packet_id = PacketId::new(id).unwrap();
    bytes(&kind(Ack { packet_id, reason: ReasonCode::Success, properties: Properties::EMPTY }))
}

/// A broker, its out buffers, and clients that answer as they should.
struct World {
    broker: Broker,
    out: OutBuffers,
    dirty: Vec<ConnId>,
    answers: Vec<u8>,
    received: u64,
}

impl World {
    fn new() -> Self {
        let config = Config {
            listeners: vec![ListenerPolicy { allow_anonymous: true, ..ListenerPolicy::default() }],
            persistence: false,
            connections_max: 2_000,
            sessions_max: 2_000,
            subscriptions_max: 100_000,
            subscriptions_total_max: 200_000,
            queue_messages_max: 1_000,
            inflight_max: 100,
            ..Config::default()
        };
        Self {
            broker: Broker::new(config, 1),
            out: OutBuffers::default(),
            dirty: Vec::new(),
            answers: Vec::new(),
            received: 0,
        }
    }

    fn input(&mut self, input: Input<'_>) {
        let wall = Timestamp::from_millis(1_700_000_000_000);
        let now = Now { mono: Mono::ZERO + Duration::from_secs(1), wall, trust: ClockTrust::Synced };
        self.broker.handle(now, input, &mut self.out);
    }

    fn bytes(&mut self, conn: u32, bytes: &[u8]) {
        self.input(Input::Bytes { conn: ConnId(conn), bytes });
    }

    fn connect(&mut self, conn: u32, clean_start: bool) {
        self.out.open(ConnId(conn));
        self.input(Input::Open {
            conn: ConnId(conn),
            listener: ListenerId(0),
            peer: "bench",
            certified: None,
            from: None,
        });
        let client_id = format!("client-{conn}");
        self.bytes(
            conn,
            &bytes(&Packet::Connect(Connect {
                version: Version::V311,
                bridge: false,
                clean_start,
                keep_alive: 0,
                client_id: &client_id,
                will: None,
                user_name: None,
                password: None,
                properties: Properties::EMPTY,
            })),
        );
        self.turn();
    }

    fn subscribe(&mut self, conn: u32, filters: &[String], qos: QoS) {
        let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
        for some in filters.chunks(100) {
            let filters = some.iter().map(|filter| SubscribeFilter { filter, options }).collect();
            let packet_id = PacketId::new(1).unwrap();
            let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters };
            self.bytes(conn, &bytes(&Packet::Subscribe(subscribe)));
            self.turn();
        }
    }

    /// Takes what goes out and answers it, until nothing more goes out.
    fn turn(&mut self) {
        while self.out.has_dirty() {
            let mut dirty = std::mem::take(&mut self.dirty);
            self.out.take_dirty(&mut dirty);
            for conn in dirty.drain(..) {
                let mut answers = std::mem::take(&mut self.answers);
                answers.clear();
                let sent = self.out.pending(conn).len();
                let mut rest = self.out.pending(conn);
                while let Some(frame) = frame(rest, usize::MAX).unwrap() {
                    self.received += u64::from(frame.first >> 4 == 3);
                    match (frame.first >> 4, frame.first >> 1 & 3) {
                        (3, qos @ 1..) => {
                            let at = 2 + usize::from(frame.body[0]) * 256 + usize::from(frame.body[1]);
                            let kind = if qos == 1 { 0x40 } else { 0x50 };
                            answers.extend_from_slice(&[kind, 2, frame.body[at], frame.body[at + 1]]);
                        }
                        (5, _) => answers.extend_from_slice(&[0x62, 2, frame.body[0], frame.body[1]]),
                        (6, _) => answers.extend_from_slice(&[0x70, 2, frame.body[0], frame.body[1]]),
                        _ => {}
                    }
                    rest = &rest[frame.len..];
                }
                self.out.advance(conn, sent);
                if !answers.is_empty() {
                    self.input(Input::Bytes { conn, bytes: &answers });
                }
                self.answers = answers;
            }
            self.dirty = dirty;
        }
        while self.broker.poll_event().is_some() {}
    }
}

/// A publisher (0) and a subscriber (1), and a batch of messages from one to the other.
fn whole(bencher: Bencher<'_, '_>, qos: QoS) {
    let mut world = World::new();
    world.connect(0, true);
    world.connect(1, true);
    world.subscribe(1, &["site/meter-7/power".to_owned()], qos);
    let batch: Vec<u8> = (1..=BATCH as u16)
        .flat_map(|id| publish("site/meter-7/power", qos, if qos == QoS::AtMostOnce { 0 } else { id }))
        .collect();
    world.bytes(0, &batch);
    world.turn();
    assert_eq!(world.received, BATCH, "what is measured works");
    bencher.counter(BATCH).bench_local(move || {
        world.bytes(0, &batch);
        world.turn();
        world.received
    });
}

#[divan::bench]
fn qos0(bencher: Bencher<'_, '_>) {
    whole(bencher, QoS::AtMostOnce);
}

#[divan::bench]
fn qos1(bencher: Bencher<'_, '_>) {
    whole(bencher, QoS::AtLeastOnce);
}

#[divan::bench]
fn qos2(bencher: Bencher<'_, '_>) {
    whole(bencher, QoS::ExactlyOnce);
}

/// One message to fifty.
#[divan::bench]
fn fan_out(bencher: Bencher<'_, '_>) {
    let mut world = World::new();
    world.connect(0, true);
    for conn in 1..=50 {
        world.connect(conn, true);
        world.subscribe(conn, &["site/meter-7/power".to_owned()], QoS::AtMostOnce);
    }
    let batch = publish("site/meter-7/power", QoS::AtMostOnce, 0).repeat(BATCH as usize);
    bencher.counter(50 * BATCH).bench_local(move || {
        world.bytes(0, &batch);
        world.turn();
        world.received
    });
}

#[divan::bench(args = ["publish", "publish with QoS 1", "puback", "pingreq"])]
fn decoding(bencher: Bencher<'_, '_>, what: &str) {
    let packet = match what {
        "publish" => publish("site/meter-7/power", QoS::AtMostOnce, 0),
        "publish with QoS 1" => publish("site/meter-7/power", QoS::AtLeastOnce, 7),
        "puback" => ack(Packet::PubAck, 7),
        _ => bytes(&Packet::PingReq),
    };
    bencher.counter(1_u64).bench_local(|| {
        let frame = frame(black_box(&packet), usize::MAX).unwrap().unwrap();
        black_box(decode(frame, Version::V311).unwrap());
    });
}

#[divan::bench(args = ["publish", "publish with QoS 1", "puback"])]
fn encoding(bencher: Bencher<'_, '_>, what: &str) {
    let packet = match what {
        "publish" => publish("site/meter-7/power", QoS::AtMostOnce, 0),
        "publish with QoS 1" => publish("site/meter-7/power", QoS::AtLeastOnce, 7),
        _ => ack(Packet::PubAck, 7),
    };
    let packet = decode(frame(&packet, usize::MAX).unwrap().unwrap(), Version::V311).unwrap();
    let mut out = Vec::new();
    bencher.counter(1_u64).bench_local(|| {
        out.clear();
        encode(black_box(&packet), Version::V311, &mut out).unwrap();
        out.len()
    });
}

/// Other subscriptions than those that match.
const OTHERS: [usize; 4] = [1, 100, 10_000, 100_000];

/// A publisher, a subscriber to `filter`, and `others` subscriptions to other topics of the same shape.
fn subscribed(filter: &str, others: usize) -> World {
    let mut world = World::new();
    world.connect(0, true);
    world.connect(1, true);
    world.subscribe(1, &[filter.to_owned()], QoS::AtMostOnce);
    world.connect(2, true);
    let filters: Vec<String> = (0..others).map(|at| format!("other/meter-{at}/power")).collect();
    world.subscribe(2, &filters, QoS::AtMostOnce);
    world
}

/// So many topics in turn are more than what is remembered of resolved ones: each is looked for anew.
fn topics(count: usize) -> Vec<Vec<u8>> {
    let topic = |at: usize| format!("site/meter-{at}/power");
    (0..count).map(|at| publish(&topic(at), QoS::AtMostOnce, 0)).collect()
}

fn route(bencher: Bencher<'_, '_>, filter: &str, others: usize, topic_count: usize) {
    let mut world = subscribed(filter, others);
    let packets = topics(topic_count);
    let mut next = 0;
    bencher.counter(1_u64).bench_local(move || {
        next = (next + 1) % packets.len();
        world.bytes(0, &packets[next]);
        world.turn();
        world.received
    });
}

/// The topic of the message before.
#[divan::bench(args = OTHERS)]
fn route_same_topic(bencher: Bencher<'_, '_>, others: usize) {
    route(bencher, "site/meter-0/power", others, 1);
}

/// One of a hundred topics that have come before.
#[divan::bench(args = OTHERS)]
fn route_known_topic(bencher: Bencher<'_, '_>, others: usize) {
    route(bencher, "site/+/power", others, 100);
}

/// A topic that is looked for anew, matched by `+`.
#[divan::bench(args = OTHERS)]
fn route_new_topic_wildcard(bencher: Bencher<'_, '_>, others: usize) {
    route(bencher, "site/+/power", others, 50_000);
}

/// A topic that is looked for anew and that nobody wants.
#[divan::bench(args = OTHERS)]
fn route_new_topic_no_match(bencher: Bencher<'_, '_>, others: usize) {
    route(bencher, "nobody/publishes/this", others, 50_000);
}

/// Messages for a session whose client is away; its queue is full, so that each drops the oldest.
#[divan::bench]
fn queue_full(bencher: Bencher<'_, '_>) {
    let mut world = World::new();
    world.connect(0, true);
    world.connect(1, false);
    world.subscribe(1, &["site/meter-7/power".to_owned()], QoS::AtLeastOnce);
    world.input(Input::Closed { conn: ConnId(1) });
    let batch: Vec<u8> =
        (1..=BATCH as u16).flat_map(|id| publish("site/meter-7/power", QoS::AtLeastOnce, id)).collect();
    bencher.counter(BATCH).bench_local(move || {
        world.bytes(0, &batch);
        world.turn();
    });
}

/// 500 messages wait, then their client comes and takes them.
#[divan::bench]
fn queue_filled_and_drained(bencher: Bencher<'_, '_>) {
    let mut world = World::new();
    world.connect(0, true);
    world.connect(1, false);
    world.subscribe(1, &["site/meter-7/power".to_owned()], QoS::AtLeastOnce);
    let batch: Vec<u8> =
        (1..=BATCH as u16).flat_map(|id| publish("site/meter-7/power", QoS::AtLeastOnce, id)).collect();
    bencher.counter(500_u64).bench_local(move || {
        world.input(Input::Closed { conn: ConnId(1) });
        for _ in 0..25 {
            world.bytes(0, &batch);
            world.turn();
        }
        world.connect(1, false);
        world.received
    });
}
