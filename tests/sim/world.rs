//! Time, the machines, and what carries values between them: what `io` and `app` are for a real gateway.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fieldgate::bridge::{self, Backlog, Bridge, Direction, Mapping, RetainRule};
use fieldgate::broker::{self, Broker, ConnId, Delivery, ForwardRule, ListenerPolicy, Sink};
use fieldgate::message::{Message, OutboxId, SafeToken, Ticket};
use fieldgate::mqtt::topic::TopicFilter;
use fieldgate::mqtt::{Packet, PropertiesBuf, Publish, QoS, Version, encode};
use fieldgate::reading::{Quality, Reading, Run, Sample, Seq, Value};
use fieldgate::time::{BootId, ClockTrust, Mono, Now, Timestamp};
use fieldgate::{ingest, record};

use super::clients::Client;
use super::disk::{Disk, Op};
use super::plan::{Fault, Plan};
use super::truth::Truth;
use super::upstream::Upstream;

/// How long things fail, in µs; after that all is well until everything is at rest.
const CHAOS: u64 = 8_000_000;
/// Everything must be at rest so long after that.
const CALM: u64 = 300_000_000;
/// Messages of a LAN client that wait in its session, as configured.
const QUEUE_MAX: usize = 5_000;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Opened(u64, bool),
    ToUpstream(u64, Vec<u8>),
    ToGateway(u64, Vec<u8>),
    Cut(u64),
    FromClient(u32, Vec<u8>),
    ToClient(u32, Vec<u8>),
    ClientCut(u32),
    ClientConnects(usize),
    /// The broker learns that a connection is gone.
    BrokerClosed(u32),
    ToBridge(u64),
    ToBroker(u64),
    Disk(u64),
    DiskFull(bool),
    Publish,
    Read,
    Order,
    Clock,
    Crash,
}

/// The network between the gateway and its upstream.
#[derive(Debug, Default)]
pub struct LinkModel {
    pub conn: u64,
    pub open: bool,
    last_up: u64,
    pub last_down: u64,
}

/// A LAN connection.
#[derive(Debug)]
pub struct Conn {
    client: usize,
    pub last_in: u64,
    last_out: u64,
    paused: bool,
    held: VecDeque<Vec<u8>>,
    buffered: usize,
    was_full: bool,
}

/// From the broker thread to the bridge's.
#[derive(Debug)]
enum Up {
    Append(Message, Option<SafeToken>),
    Accepted(Ticket, bool),
}

/// And back.
#[derive(Debug)]
enum Down {
    Settled(SafeToken, bool),
    Bridged(Message, Option<Ticket>),
}

/// What came to pass, so that a test can tell whether everything was tried.
#[derive(Clone, Debug, Default)]
pub struct Happened {
    pub acknowledged: u64,
    pub cuts: u64,
    pub takeovers: u64,
    pub crashes: u64,
    pub shut: u64,
    pub quota: u64,
    pub refused: u64,
    pub withheld: u64,
    pub stalls: u64,
    pub commits_failed: u64,
    pub dropped: u64,
    pub read_back: u64,
    pub resent: u64,
    pub elided: u64,
    pub orders: u64,
    pub steps: u64,
}

impl Happened {
    pub fn all(&self) -> [u64; 16] {
        [
            self.acknowledged,
            self.cuts,
            self.takeovers,
            self.crashes,
            self.shut,
            self.quota,
            self.refused,
            self.withheld,
            self.stalls,
            self.commits_failed,
            self.dropped,
            self.read_back,
            self.resent,
            self.elided,
            self.orders,
            self.steps,
        ]
    }

    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.cuts += other.cuts;
        self.takeovers += other.takeovers;
        self.crashes += other.crashes;
        self.shut += other.shut;
        self.quota += other.quota;
        self.refused += other.refused;
        self.withheld += other.withheld;
        self.stalls += other.stalls;
        self.commits_failed += other.commits_failed;
        self.dropped += other.dropped;
        self.read_back += other.read_back;
        self.resent += other.resent;
        self.elided += other.elided;
        self.orders += other.orders;
        self.steps += other.steps;
    }
}

/// Where the broker's packets go: to be carried to the clients at the end of the turn.
#[derive(Debug, Default)]
struct Out {
    sent: BTreeMap<u32, Vec<u8>>,
    buffered: BTreeMap<u32, usize>,
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

pub struct World {
    pub seed: u64,
    pub random: fastrand::Rng,
    pub plan: Plan,
    calm: bool,
    pub time: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    order: u64,
    broker: Broker,
    out: Out,
    bridge: Bridge,
    pub disk: Disk,
    pub link: LinkModel,
    pub upstream: Upstream,
    pub clients: Vec<Client>,
    pub conns: BTreeMap<u32, Conn>,
    next_conn: u32,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    last_up: u64,
    last_down: u64,
    pub truth: Truth,
    pub happened: Happened,
    life: u64,
    readings: u64,
    /// Where the monotonic clock of this boot began, and how far the wall clock is off.
    boot_at: u64,
    wall_off: i64,
    memory_full_before: u64,
}

fn mapping(filter: &str, direction: Direction) -> Mapping {
    let filter = TopicFilter::parse(filter).unwrap();
    Mapping {
        remote_filter: direction.comes_in().then(|| filter.clone()),
        filter,
        direction,
        local_prefix: String::new(),
        remote_prefix: String::new(),
        device_behind: None,
        qos_max: QoS::ExactlyOnce,
        retain: RetainRule::Keep,
    }
}

fn broker_config() -> broker::Config {
    let forward =
        |filter: &str| ForwardRule { filter: TopicFilter::parse(filter).unwrap(), outbox: OutboxId(0) };
    let listener = ListenerPolicy { name: "lan".into(), allow_anonymous: true, ..ListenerPolicy::default() };
    broker::Config {
        base: "gw".into(),
        listeners: vec![listener],
        forward: vec![forward("gw/data/#"), forward("lan/#")],
        queue_messages_max: QUEUE_MAX,
        queue_bytes_max: 16 * 1024 * 1024,
        inflight_max: 5,
        out_buffer_bytes_max: 1024,
        // Time may stand still for a client that does not read.
        out_buffer_stall_max: Duration::from_secs(3600),
        sys_interval: Duration::ZERO,
        ..broker::Config::default()
    }
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let clients = vec![
            Client::new("sub2", Version::V311, &["lan/#", "order/#"], 2),
            Client::new("sub1", Version::V5, &["lan/#", "order/#"], 1),
            Client::new("pub3", Version::V311, &[], 0),
            Client::new("pub5", Version::V5, &[], 0),
        ];
        let now = Now { mono: Mono::from_nanos(10_000_000_000), ..Now::default() };
        let mut world = Self {
            seed,
            random: fastrand::Rng::with_seed(seed),
            calm: false,
            time: 0,
            events: BinaryHeap::new(),
            order: 0,
            broker: Broker::new(broker_config(), seed),
            out: Out::default(),
            bridge: Bridge::new(bridge_config(plan.version, 0), Backlog::default(), seed, now),
            plan,
            disk: Disk::default(),
            link: LinkModel::default(),
            upstream: Upstream::default(),
            clients,
            conns: BTreeMap::new(),
            next_conn: 0,
            up: VecDeque::new(),
            down: VecDeque::new(),
            last_up: 0,
            last_down: 0,
            truth: Truth::default(),
            happened: Happened::default(),
            life: 0,
            readings: 0,
            boot_at: 0,
            wall_off: 0,
            memory_full_before: 0,
        };
        world.schedule();
        world
    }

    pub fn bridge_config(&self) -> bridge::Config {
        bridge_config(self.plan.version, self.life)
    }

    pub fn now(&self) -> Now {
        let wall = 1_795_186_265_000 + (self.time / 1000) as i64 + self.wall_off;
        let trust = if self.wall_off == 0 { ClockTrust::Synced } else { ClockTrust::Unsynced };
        let mono = Mono::from_nanos((self.time - self.boot_at) * 1000 + 10_000_000_000);
        Now { mono, wall: Timestamp::from_millis(wall), trust }
    }

    pub fn after(&mut self, micros: u64, event: Event) {
        self.at(self.time + micros, event);
    }

    pub fn at(&mut self, micros: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((micros, self.order, event)));
    }

    pub fn chance(&mut self, one_in: u32) -> bool {
        !self.calm && self.random.u32(0..one_in) == 0
    }

    /// What will happen, as far as it does not follow from something else.
    fn schedule(&mut self) {
        for client in 0..self.clients.len() {
            let micros = self.random.u64(1..50_000);
            self.at(micros, Event::ClientConnects(client));
        }
        let spread = |world: &mut Self, from: u64, step: u64, event: fn() -> Event| {
            let mut when = from;
            while when < CHAOS {
                when += world.random.u64(1..step);
                world.at(when, event());
            }
        };
        spread(self, 1_000_000, 60_000, || Event::Publish);
        spread(self, 200_000, 200_000, || Event::Read);
        if self.plan.orders {
            spread(self, 1_000_000, 300_000, || Event::Order);
        }
        if self.plan.clock_steps {
            spread(self, 500_000, 2_000_000, || Event::Clock);
        }
        for _ in 0..self.plan.crashes {
            let when = self.random.u64(1_500_000..CHAOS);
            self.at(when, Event::Crash);
        }
        if self.plan.disk_full {
            let begins = self.random.u64(1_500_000..CHAOS);
            self.at(begins, Event::DiskFull(true));
            let lasts = self.random.u64(0..CHAOS / 2);
            self.at(begins + lasts, Event::DiskFull(false));
        }
    }

    /// The whole run.
    pub fn play(&mut self) {
        self.run(CHAOS);
        self.calm = true;
        self.disk.full = false;
        self.wall_off = 0;
        self.run(CHAOS + CALM);
        let status = self.bridge.status(self.now());
        assert!(self.is_at_rest(), "not at rest: {status:?} {:?} {:?}", self.clients, self.upstream);
        assert_eq!(status.inflight, 0);
        self.truth.memory_full = self.memory_full_before + status.drops.memory_full;
        self.happened.resent += status.resent;
        self.happened.elided += status.elided;
        self.happened.orders = self.truth.orders.len() as u64;
        self.check_end();
    }

    pub fn happened(&self) -> Happened {
        self.happened.clone()
    }

    fn is_at_rest(&self) -> bool {
        let status = self.bridge.status(self.now());
        status.backlog_records == 0
            && status.unsafe_records == 0
            && self.clients.iter().all(Client::is_at_rest)
            && self.upstream.is_at_rest()
            && self.disk.ops.is_empty()
            && self.up.is_empty()
            && self.down.is_empty()
            && self.broker.is_saved()
            && self.broker.stats().stored_messages == 0
    }

    /// Plays until `end` (µs), or until nothing is under way where all is calm.
    fn run(&mut self, end: u64) {
        let mut still = 0;
        loop {
            self.carry();
            if self.calm && self.is_at_rest() {
                return;
            }
            let event_at = self.events.peek().map(|Reverse((time, ..))| *time);
            let dues = [self.bridge.next_deadline(), self.broker.next_deadline()];
            let due = dues.into_iter().flatten().min().map(|mono| self.micros_at(mono));
            let Some(next) = [event_at, due].into_iter().flatten().min() else { return };
            if next > end {
                return;
            }
            still = if next <= self.time { still + 1 } else { 0 };
            assert!(still < 5_000, "time stands still at {} µs", self.time);
            self.time = self.time.max(next);
            if event_at.is_some_and(|time| time <= self.time) {
                let Some(Reverse((_, _, event))) = self.events.pop() else { return };
                self.event(event);
            } else {
                self.tick();
            }
            self.check_bounds();
        }
    }

    fn micros_at(&self, mono: Mono) -> u64 {
        mono.as_nanos().saturating_sub(10_000_000_000).div_ceil(1000) + self.boot_at
    }

    fn tick(&mut self) {
        let now = self.now();
        if self.bridge.next_deadline().is_some_and(|due| due <= now.mono) {
            self.bridge.handle(now, bridge::Input::Tick);
            let due = self.bridge.next_deadline();
            assert!(due.is_none_or(|due| due > now.mono), "the bridge's deadline does not move: {due:?}");
        }
        if self.broker.next_deadline().is_some_and(|due| due <= now.mono) {
            self.to_broker_now(broker::Input::Tick);
            let due = self.broker.next_deadline();
            assert!(due.is_none_or(|due| due > now.mono), "the broker's deadline does not move: {due:?}");
        }
    }

    fn check_bounds(&self) {
        let stats = self.broker.stats();
        assert!(stats.stored_messages <= 2 * QUEUE_MAX as u64);
        assert_eq!(stats.dropped_queue_full, 0, "a queue was full");
        assert!(self.disk.ops.len() <= 16, "operations pile up: {}", self.disk.ops.len());
        assert!(self.bridge.status(self.now()).inflight <= u64::from(self.bridge_config().inflight_max));
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Opened(conn, ok) if conn == self.link.conn => self.opened(ok),
            Event::ToUpstream(conn, bytes) if conn == self.link.conn && self.link.open => {
                self.upstream_reads(&bytes);
            }
            Event::ToGateway(conn, bytes) if conn == self.link.conn && self.link.open => {
                self.note_puback(&bytes);
                // Any split must do.
                let (head, tail) = bytes.split_at(self.random.usize(0..=bytes.len()));
                self.to_bridge_now(bridge::Input::Bytes(head));
                self.to_bridge_now(bridge::Input::Bytes(tail));
            }
            Event::Cut(conn) if conn == self.link.conn && self.link.open && !self.calm => {
                self.happened.cuts += 1;
                self.end_link();
                self.to_bridge_now(bridge::Input::Closed { error: "connection reset" });
            }
            Event::FromClient(conn, bytes) => self.from_client(conn, bytes),
            Event::ToClient(conn, bytes) => self.to_client(conn, &bytes),
            Event::ClientCut(conn) if !self.calm => self.cut_client(conn),
            Event::ClientConnects(client) => self.client_connects(client),
            Event::BrokerClosed(conn) if self.conns.remove(&conn).is_some() => {
                self.to_broker_now(broker::Input::Closed { conn: ConnId(conn) });
                self.out.buffered.remove(&conn);
            }
            Event::ToBridge(life) if life == self.life => self.deliver_up(),
            Event::ToBroker(life) if life == self.life => self.deliver_down(),
            Event::Disk(no) => self.disk_done(no),
            Event::DiskFull(full) => self.disk.full = full && !self.calm,
            Event::Publish => {
                let burst = if self.random.u32(0..20) == 0 { 6 } else { 1 };
                // All must be subscribed before there is something to miss.
                if self.clients.iter().all(Client::is_prepared) || self.time > 2_000_000 {
                    for _ in 0..burst {
                        let client = self.random.usize(2..4);
                        self.client_publishes(client);
                    }
                }
            }
            Event::Read => self.read_sensor(),
            Event::Order => self.make_order(),
            Event::Clock => self.step_clock(),
            Event::Crash => self.crash(),
            _ => {}
        }
    }

    fn step_clock(&mut self) {
        self.happened.steps += 1;
        let year = 31_536_000_000;
        self.wall_off = match self.random.u8(0..4) {
            0 => 0,
            1 => self.random.i64(-100_000..100_000),
            2 => -50 * year,
            _ => self.random.i64(-year..year),
        };
    }

    fn read_sensor(&mut self) {
        self.readings += 1;
        let now = self.now();
        let device: Arc<str> = Arc::from(if self.random.bool() { "scale" } else { "wind" });
        let seq = Seq { run: Run(self.life + 1), number: self.readings };
        let value = Some(Value::Integer(self.random.i64(0..1000)));
        let samples = vec![Sample { point: "n".into(), value, quality: Quality::Good }];
        let boot = BootId([self.life as u8; 16]);
        let reading =
            Reading { device, seq, boot, mono: now.mono, wall: now.wall, trust: now.trust, samples };
        let message = ingest::message("gw", reading, boot, now);
        self.truth.reading(&message.topic.clone(), format!("{}:{seq}", message.topic), self.time);
        self.to_broker_now(broker::Input::Local(message));
    }

    // The link.

    fn opened(&mut self, ok: bool) {
        if !ok {
            let failed = bridge::Input::ConnectFailed { error: "connection refused", permanent: false };
            return self.to_bridge_now(failed);
        }
        self.link.open = true;
        self.link.last_up = self.time;
        self.link.last_down = self.time;
        self.to_bridge_now(bridge::Input::Connected);
        if self.plan.cuts && self.chance(2) {
            let micros = self.random.u64(0..3_000_000);
            self.after(micros, Event::Cut(self.link.conn));
        }
    }

    fn end_link(&mut self) {
        if self.link.open {
            self.truth.duplicates_allowed += u64::from(self.bridge_config().inflight_max);
        }
        self.link.open = false;
        self.link.conn += 1;
        let forgets = self.plan.session_loss && self.chance(3);
        self.upstream.connection_ends(forgets);
    }

    // LAN connections.

    pub fn open_conn(&mut self, client: usize) -> u32 {
        self.next_conn += 1;
        let conn = Conn {
            client,
            last_in: self.time,
            last_out: self.time,
            paused: false,
            held: VecDeque::new(),
            buffered: 0,
            was_full: false,
        };
        self.conns.insert(self.next_conn, conn);
        self.next_conn
    }

    fn from_client(&mut self, conn: u32, bytes: Vec<u8>) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        if c.paused || !c.held.is_empty() {
            return c.held.push_back(bytes);
        }
        let (head, tail) = bytes.split_at(self.random.usize(0..=bytes.len()));
        self.to_broker_now(broker::Input::Bytes { conn: ConnId(conn), bytes: head });
        // What is read may be what makes the broker pause: then the rest waits.
        match self.conns.get_mut(&conn) {
            Some(c) if c.paused => c.held.push_front(tail.to_vec()),
            Some(_) => self.to_broker_now(broker::Input::Bytes { conn: ConnId(conn), bytes: tail }),
            None => {}
        }
    }

    fn to_client(&mut self, conn: u32, bytes: &[u8]) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.buffered -= bytes.len();
        let client = c.client;
        let buffered = c.buffered;
        let drained = c.was_full && buffered < broker_config().out_buffer_bytes_max / 2;
        c.was_full &= !drained;
        self.out.buffered.insert(conn, buffered);
        if drained {
            self.to_broker_now(broker::Input::Drained { conn: ConnId(conn) });
        }
        if self.clients[client].conn == Some(conn) {
            self.client_reads(client, bytes);
        }
    }

    fn cut_client(&mut self, conn: u32) {
        let Some(client) = self.conns.get(&conn).map(|conn| conn.client) else { return };
        if self.clients[client].conn != Some(conn) {
            return;
        }
        self.client_lost(client);
        // The broker learns of it at once, or so late that the client is back before.
        let micros = if self.random.bool() { 0 } else { self.random.u64(0..2_000_000) };
        self.happened.takeovers += u64::from(micros > 800_000);
        self.after(micros, Event::BrokerClosed(conn));
    }

    // Between the machines.

    pub fn to_bridge_now(&mut self, input: bridge::Input<'_>) {
        if std::env::var("TRACE").is_ok() {
            let s = format!("{input:?}");
            eprintln!("TR {} in {}", self.time, &s[..s.len().min(160)]);
        }
        self.bridge.handle(self.now(), input);
    }

    /// One input, and what follows from it for connections; the rest is carried by [`Self::carry`].
    pub fn to_broker_now(&mut self, input: broker::Input<'_>) {
        let now = self.now();
        self.broker.handle(now, input, &mut self.out);
    }

    fn deliver_up(&mut self) {
        match self.up.pop_front() {
            Some(Up::Append(message, token)) => self.to_bridge_now(bridge::Input::Append { message, token }),
            Some(Up::Accepted(ticket, safe)) => self.to_bridge_now(bridge::Input::Accepted { ticket, safe }),
            None => {}
        }
    }

    fn deliver_down(&mut self) {
        match self.down.pop_front() {
            Some(Down::Settled(token, true)) => self.to_broker_now(broker::Input::Safe { token }),
            Some(Down::Settled(token, false)) => self.to_broker_now(broker::Input::Refused { token }),
            Some(Down::Bridged(message, ticket)) => {
                self.to_broker_now(broker::Input::Bridged { from: OutboxId(0), message, ticket });
            }
            None => {}
        }
    }

    fn push_up(&mut self, item: Up) {
        self.up.push_back(item);
        self.last_up = (self.time + self.random.u64(1..3_000)).max(self.last_up);
        self.at(self.last_up, Event::ToBridge(self.life));
    }

    fn push_down(&mut self, item: Down) {
        self.down.push_back(item);
        self.last_down = (self.time + self.random.u64(1..3_000)).max(self.last_down);
        self.at(self.last_down, Event::ToBroker(self.life));
    }

    /// Carries what the machines have said, until they say no more.
    fn carry(&mut self) {
        loop {
            if let Some(event) = self.broker.poll_event() {
                self.broker_says(event);
            } else if let Some(output) = self.bridge.poll_output() {
                self.bridge_says(output);
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
        if std::env::var("TRACE").is_ok() {
            if let broker::Event::Forward { message, .. } = &event {
                eprintln!("TR {} forward {}", self.time, super::truth::id_of_message(message));
            } else {
                let s = format!("{event:?}");
                eprintln!("TR {} broker {}", self.time, &s[..s.len().min(60000)])
            }
        }
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
                    self.to_broker_now(broker::Input::Bytes { conn, bytes: &bytes });
                    // Its answer may be a pause, which counts before the next bytes.
                    while let Some(event) = self.broker.poll_event() {
                        self.broker_says(event);
                    }
                }
            }
            broker::Event::Authenticate { .. } => panic!("nobody has a password"),
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

    fn bridge_says(&mut self, output: bridge::Output) {
        if std::env::var("TRACE").is_ok() {
            match &output {
                bridge::Output::Commit(r) => {
                    for x in r {
                        let m = record::decode(&x.bytes).unwrap();
                        eprintln!("TR {} commit {} {}", self.time, x.no.0, super::truth::id_of_message(&m));
                    }
                }
                o => {
                    let s = format!("{o:?}");
                    eprintln!("TR {} out {}", self.time, &s[..s.len().min(160)])
                }
            }
        }
        match output {
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
            bridge::Output::Announce(_) => panic!("nobody wants to know"),
            bridge::Output::Commit(records) => {
                assert!(!records.is_empty(), "an empty commit");
                for stored in &records {
                    record::decode(&stored.bytes).unwrap();
                }
                self.disk_op(Op::Commit(records));
            }
            bridge::Output::Read { from, bytes_max } => self.disk_op(Op::Read(from, bytes_max)),
            bridge::Output::Ack { up_to } => self.disk_op(Op::Ack(up_to)),
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

    /// The process dies, with all that is not on disk, and starts again.
    fn crash(&mut self) {
        if self.calm {
            return;
        }
        self.happened.crashes += 1;
        let status = self.bridge.status(self.now());
        self.memory_full_before += status.drops.memory_full;
        self.happened.resent += status.resent;
        self.happened.elided += status.elided;
        self.life += 1;
        self.up.clear();
        self.down.clear();
        self.out = Out::default();
        self.end_link();
        let backlog = self.disk_after_crash();
        self.note_died();
        if self.plan.power {
            self.boot_at = self.time;
        }
        let now = self.now();
        self.bridge = Bridge::new(self.bridge_config(), backlog, self.seed + self.life, now);
        self.broker = Broker::new(broker_config(), self.seed + self.life);
        self.broker.restore(self.disk.state.clone().into_iter().collect(), now);
        self.conns.clear();
        for client in 0..self.clients.len() {
            if self.clients[client].conn.is_some() {
                self.client_lost(client);
            }
        }
    }
}

fn bridge_config(version: Version, life: u64) -> bridge::Config {
    bridge::Config {
        name: Arc::from("cloud"),
        base: Arc::from("gw"),
        run: Run(life + 1),
        boot: BootId([life as u8; 16]),
        instance: Arc::from("abcd"),
        places: vec![Arc::from("up:1883")],
        failover: bridge::Failover::InOrder,
        return_after: Duration::from_secs(300),
        client_id: "gw".into(),
        version,
        user_name: None,
        password: None,
        keep_alive: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        ack_timeout: Duration::from_secs(3),
        session_expiry: Duration::from_secs(3600),
        clean_session: false,
        watch_status: false,
        notification_topic: None,
        inflight_max: 8,
        backoff_min: Duration::from_millis(200),
        backoff_max: Duration::from_secs(2),
        backoff_refused_max: Duration::from_secs(5),
        stable_after: Duration::from_secs(60),
        maps: vec![
            mapping("gw/data/#", Direction::Out),
            mapping("lan/#", Direction::Out),
            mapping("order/#", Direction::In),
        ],
        commit_interval: Duration::from_millis(300),
        memory_bytes_max: 16 * 1024,
    }
}
