//! A thousand gateways lose one upstream together and come back: the machines of the bridge in one process, with invented
//! time, against an upstream that is away, refuses, or kicks. How many connect in each second is asserted, and drawn to
//! `target/storm/*.svg`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "tests and their helpers"
)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fieldgate::bridge::{
    Backlog, Bridge, Config, Direction, DrainOrder, Failover, Input, LinkState, Mapping, Output, RetainRule,
    Start,
};
use fieldgate::message::Message;
use fieldgate::mqtt::topic::TopicFilter;
use fieldgate::mqtt::{
    self, Ack, ConnAck, Disconnect, Packet, Properties, PropertiesBuf, QoS, ReasonCode, Version,
};
use fieldgate::reading::Run;
use fieldgate::time::{BootId, ClockTrust, Mono, Now, Timestamp};

const GATEWAYS: usize = 1_000;
/// A round trip to the upstream.
const RTT_MS: u64 = 40;
const V5: Version = Version::V5;

/// What the upstream does for a while after it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Nobody listens.
    Away,
    /// CONNACK 0x88, server unavailable.
    Refuses,
    /// CONNACK, and at once DISCONNECT 0x89, server busy.
    Kicks,
}

fn at(millis: u64) -> Now {
    Now {
        mono: Mono::from_nanos(millis * 1_000_000),
        wall: Timestamp::from_millis(1_795_186_265_000 + millis as i64),
        trust: ClockTrust::Synced,
    }
}

fn config(number: usize) -> Config {
    Config {
        name: Arc::from("cloud"),
        base: Arc::from(format!("fieldgate/gw-{number}")),
        run: Run(1),
        boot: BootId::default(),
        instance: Arc::from(format!("{number}")),
        places: vec![Arc::from("up:1883")],
        port: 1883,
        redirects: Vec::new(),
        start: Start::Automatic,
        failover: Failover::InOrder,
        return_after: Duration::from_secs(300),
        client_id: format!("gw-{number}"),
        version: V5,
        user_name: None,
        password: None,
        keep_alive: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        ack_timeout: Duration::from_secs(30),
        session_expiry: Duration::from_secs(3_600),
        clean_session: false,
        watch_status: false,
        notification_topic: None,
        inflight_max: 20,
        topic_alias_max: 0,
        backoff_min: Duration::from_secs(1),
        backoff_max: Duration::from_secs(60),
        backoff_refused_max: Duration::from_secs(900),
        stable_after: Duration::from_secs(60),
        receipts: false,
        health_every: None,
        bytes_per_day_max: None,
        drain: DrainOrder::OldestFirst,
        live_share: 50,
        drain_messages_max: None,
        drain_bytes_max: None,
        streams: Vec::new(),
        forms: Arc::default(),
        maps: vec![Mapping {
            filter: TopicFilter::parse("data/#").unwrap(),
            direction: Direction::Out,
            remote_filter: None,
            device_behind: None,
            local_prefix: String::new(),
            remote_prefix: String::new(),
            qos_max: QoS::AtLeastOnce,
            retain: RetainRule::Keep,
            expiry: None,
            high: false,
            stream: 0,
            batch: None,
            form: None,
        }],
        commit_interval: Duration::from_secs(1),
        memory_bytes_max: 64 * 1024,
    }
}

fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    mqtt::encode(packet, V5, &mut bytes).unwrap();
    bytes
}

fn connack(reason: ReasonCode) -> Vec<u8> {
    bytes(&Packet::ConnAck(ConnAck { session_present: false, reason, properties: Properties::EMPTY }))
}

/// What reaches a gateway.
enum News {
    Connected,
    Refused,
    Bytes(Vec<u8>),
    Closed,
}

struct Gateway {
    bridge: Bridge,
    /// Counts connections, so that news of an old one isn't taken for the present one's.
    connection: u64,
    attempts: Vec<u64>,
    /// The next attempt as announced, at the upstream's return.
    due: Option<u64>,
    first_message: Option<u64>,
}

/// A thousand gateways, one upstream, and the time.
struct World {
    now: u64,
    trouble: Option<Trouble>,
    gateways: Vec<Gateway>,
    /// When, in which order, to whom, of which connection.
    news: BinaryHeap<Reverse<(u64, u64, usize, u64)>>,
    letters: Vec<Option<News>>,
    deadlines: BinaryHeap<Reverse<(u64, usize)>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let gateway = |number| Gateway {
            bridge: Bridge::new(config(number), Backlog::default(), seed * 10_000 + number as u64, at(0)),
            connection: 0,
            attempts: Vec::new(),
            due: None,
            first_message: None,
        };
        let gateways = (0..GATEWAYS).map(gateway).collect();
        let (news, deadlines) = (BinaryHeap::new(), BinaryHeap::new());
        let mut world = Self { now: 0, trouble: None, gateways, news, letters: Vec::new(), deadlines };
        for number in 0..GATEWAYS {
            world.carry_out(number);
        }
        world
    }

    fn send(&mut self, number: usize, news: News) {
        let (order, connection) = (self.letters.len() as u64, self.gateways[number].connection);
        self.letters.push(Some(news));
        self.news.push(Reverse((self.now + RTT_MS / 2, order, number, connection)));
    }

    fn input(&mut self, number: usize, input: Input<'_>) {
        self.gateways[number].bridge.handle(at(self.now), input);
        self.carry_out(number);
    }

    fn carry_out(&mut self, number: usize) {
        while let Some(output) = self.gateways[number].bridge.poll_output() {
            match output {
                Output::Connect { .. } => {
                    let gateway = &mut self.gateways[number];
                    gateway.attempts.push(self.now);
                    gateway.connection += 1;
                    let away = self.trouble == Some(Trouble::Away);
                    self.send(number, if away { News::Refused } else { News::Connected });
                }
                Output::Send(bytes) => self.upstream(number, &bytes),
                Output::Close => self.gateways[number].connection += 1,
                Output::Commit(records) => {
                    let up_to = records.last().unwrap().no;
                    self.input(number, Input::Committed { up_to });
                }
                Output::Read { from, .. } => panic!("all of it is in memory: {from:?}"),
                _ => {}
            }
        }
        if let Some(due) = self.gateways[number].bridge.next_deadline() {
            self.deadlines.push(Reverse((due.as_nanos().div_ceil(1_000_000), number)));
        }
    }

    /// What the upstream answers.
    fn upstream(&mut self, number: usize, mut sent: &[u8]) {
        while let Some(frame) = mqtt::frame(sent, usize::MAX).unwrap() {
            sent = &sent[frame.len..];
            match (mqtt::decode(frame, V5).unwrap(), self.trouble) {
                (Packet::Connect(_), Some(Trouble::Refuses)) => {
                    self.send(number, News::Bytes(connack(ReasonCode::ServerUnavailable)));
                }
                (Packet::Connect(_), Some(Trouble::Kicks)) => {
                    let busy = Disconnect { reason: ReasonCode::ServerBusy, properties: Properties::EMPTY };
                    let mut both = connack(ReasonCode::Success);
                    both.extend(bytes(&Packet::Disconnect(busy)));
                    self.send(number, News::Bytes(both));
                }
                (Packet::Connect(_), _) => self.send(number, News::Bytes(connack(ReasonCode::Success))),
                (Packet::Publish(publish), None) => {
                    if publish.topic.starts_with("data/") {
                        self.gateways[number].first_message.get_or_insert(self.now);
                    }
                    if let Some(packet_id) = publish.packet_id {
                        let reason = ReasonCode::Success;
                        let ack = Ack { packet_id, reason, properties: Properties::EMPTY };
                        self.send(number, News::Bytes(bytes(&Packet::PubAck(ack))));
                    }
                }
                (Packet::PingReq, None) => self.send(number, News::Bytes(bytes(&Packet::PingResp))),
                _ => {}
            }
        }
    }

    /// Everything that happens until then.
    fn pass_to(&mut self, end: u64) {
        loop {
            let news = self.news.peek().map_or(u64::MAX, |Reverse((when, ..))| *when);
            let deadline = self.deadlines.peek().map_or(u64::MAX, |Reverse((when, _))| *when);
            let next = news.min(deadline);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if news <= deadline {
                let Reverse((_, order, number, connection)) = self.news.pop().unwrap();
                let letter = self.letters[order as usize].take().unwrap();
                if self.gateways[number].connection != connection {
                    continue;
                }
                match letter {
                    News::Connected => self.input(number, Input::Connected),
                    News::Refused => {
                        let error = "connection refused";
                        self.input(number, Input::ConnectFailed { error, permanent: false });
                    }
                    News::Bytes(bytes) => self.input(number, Input::Bytes(&bytes)),
                    News::Closed => self.input(number, Input::Closed { error: "reset" }),
                }
            } else {
                let Reverse((_, number)) = self.deadlines.pop().unwrap();
                let due = self.gateways[number].bridge.next_deadline();
                if due.is_some_and(|due| due <= at(self.now).mono) {
                    self.input(number, Input::Tick);
                }
            }
        }
        self.now = end;
    }

    fn online(&self) -> usize {
        let is_online = |gateway: &&Gateway| gateway.bridge.status(at(self.now)).state == LinkState::Online;
        self.gateways.iter().filter(is_online).count()
    }

    /// Attempts in each second from `from` on.
    fn rate(&self, from: u64, to: u64) -> Vec<usize> {
        let mut rate = vec![0; ((to - from) / 1_000) as usize];
        for &when in self.gateways.iter().flat_map(|gateway| &gateway.attempts) {
            if (from..to).contains(&when) {
                rate[((when - from) / 1_000) as usize] += 1;
            }
        }
        rate
    }
}

/// Bars, one a second.
fn draw(name: &str, title: &str, rate: &[usize], back: u64) {
    let (width, height, most) = (rate.len() * 4, 200, rate.iter().max().copied().unwrap_or(1).max(1));
    let mut svg = String::new();
    write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-50 -30 {} {}\" font-family=\"sans-serif\" \
         font-size=\"11\"><rect x=\"-50\" y=\"-30\" width=\"100%\" height=\"100%\" fill=\"#fff\"/>\
         <text y=\"-12\">{title}</text>",
        width + 70,
        height + 70
    )
    .unwrap();
    for (second, &count) in rate.iter().enumerate() {
        let bar = count * height / most;
        let color = if second as u64 >= back { "#2a7" } else { "#c33" };
        write!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"3\" height=\"{bar}\" fill=\"{color}\"><title>{count}</title></rect>",
            second * 4,
            height - bar
        )
        .unwrap();
    }
    for second in (0..=rate.len()).step_by(30) {
        write!(svg, "<text x=\"{}\" y=\"{}\">{second} s</text>", second * 4, height + 16).unwrap();
    }
    write!(svg, "<text x=\"-46\" y=\"8\">{most}/s</text><path d=\"M0 0V{height}H{width}\" fill=\"none\" stroke=\"#333\"/></svg>")
        .unwrap();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("storm");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("{name}.svg")), svg).unwrap();
}

/// All are online for two minutes, the upstream drops them all at once, is in trouble for two minutes, and is well again.
fn check(trouble: Trouble, name: &str) {
    const LOST: u64 = 120_000;
    const BACK: u64 = 240_000;
    const END: u64 = 420_000;
    let mut world = World::new(7);
    world.pass_to(LOST);
    assert_eq!(world.online(), GATEWAYS);
    world.trouble = Some(trouble);
    for number in 0..GATEWAYS {
        world.send(number, News::Closed);
        let message = Message {
            topic: Arc::from("data/a"),
            payload: Bytes::from_static(b"1"),
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: PropertiesBuf::new(),
            reading: None,
        };
        world.pass_to(LOST + RTT_MS / 2);
        world.input(number, Input::Append { message, token: None });
    }
    world.pass_to(BACK);
    world.trouble = None;
    for number in 0..GATEWAYS {
        let gateway = &mut world.gateways[number];
        gateway.first_message = None;
        let wait = gateway.bridge.status(at(BACK)).retry_in;
        gateway.due = wait.map(|wait| BACK + wait.as_millis() as u64);
    }
    world.pass_to(END);
    assert_eq!(world.online(), GATEWAYS);

    let rate = world.rate(LOST, END);
    let after_ten = rate[10..].iter().max().copied().unwrap();
    let at_return = rate[120..].iter().max().copied().unwrap();
    let (peak, total) = (rate.iter().max().copied().unwrap(), rate.iter().sum::<usize>());
    draw(name, &format!("1000 gateways, upstream {name} for 120 s: connects per second"), &rate, 120);
    let all_online = world.gateways.iter().filter_map(|gateway| gateway.first_message).max().unwrap() - BACK;
    println!(
        "{name}: at most {peak} in a second, after 10 s {after_ten}, when it is back {at_return}; {total} connects in 300 s; \
         all are online {all_online} ms after its return"
    );
    assert!(peak <= GATEWAYS, "{name}: {peak} in one second: {rate:?}");
    assert!(after_ten <= GATEWAYS / 5, "{name}: {after_ten} in one second, ten seconds on: {rate:?}");
    assert!(at_return <= GATEWAYS / 16, "{name}: {at_return} in one second, at its return: {rate:?}");
    assert!(all_online <= 61_000, "{name}: the last was online after {all_online} ms");
    for (number, gateway) in world.gateways.iter().enumerate() {
        for pair in gateway.attempts.windows(2).filter(|pair| pair[0] >= LOST) {
            assert!(pair[1] - pair[0] >= 1_000, "{number}: two attempts within {} ms", pair[1] - pair[0]);
        }
        let Some(due) = gateway.due else { continue };
        let first = gateway.first_message.unwrap_or_else(|| panic!("{number} sent nothing"));
        assert!(first <= due + 200, "{number}: due at {due}, first message at {first}");
    }
}

#[test]
fn a_thousand_gateways_come_back_without_a_storm_after_an_upstream_that_was_away() {
    check(Trouble::Away, "away");
}

#[test]
fn a_thousand_gateways_come_back_without_a_storm_after_an_upstream_that_refused() {
    check(Trouble::Refuses, "refusing");
}

#[test]
fn a_thousand_gateways_come_back_without_a_storm_after_an_upstream_that_kicked_after_connack() {
    check(Trouble::Kicks, "kicking");
}
