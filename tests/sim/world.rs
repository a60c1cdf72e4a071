//! Time, the machines, and what carries values between them: what `io` and `app` are for a real gateway.

mod carry;
mod happened;
mod network;
mod settings;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

use fieldgate::bridge::{self, Backlog, Bridge};
use fieldgate::broker::{self, Broker, ConnId};
use fieldgate::ingest;
use fieldgate::mqtt::Version;
use fieldgate::reading::{Quality, Reading, Run, Sample, Seq, Value};
use fieldgate::time::{BootId, ClockTrust, Mono, Now, Timestamp};

use super::clients::Client;
use super::disk::Disk;
use super::plan::Plan;
use super::truth::Truth;
use super::upstream::Upstream;
use carry::{Down, Out, Up};
use network::{Conn, LinkModel};
use settings::{bridge_config, broker_config};

pub use happened::Happened;

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
            bridge: Bridge::new(bridge_config(&plan, 0), Backlog::default(), seed, now),
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
        bridge_config(&self.plan, self.life)
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
            self.tell_broker(broker::Input::Tick);
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
                self.tell_bridge(bridge::Input::Bytes(head));
                self.tell_bridge(bridge::Input::Bytes(tail));
            }
            Event::Cut(conn) if conn == self.link.conn && self.link.open && !self.calm => {
                self.happened.cuts += 1;
                self.end_link();
                self.tell_bridge(bridge::Input::Closed { error: "connection reset" });
            }
            Event::FromClient(conn, bytes) => self.client_sent(conn, bytes),
            Event::ToClient(conn, bytes) => self.client_gets(conn, &bytes),
            Event::ClientCut(conn) if !self.calm => self.cut_client(conn),
            Event::ClientConnects(client) => self.client_connects(client),
            Event::BrokerClosed(conn) if self.conns.remove(&conn).is_some() => {
                self.tell_broker(broker::Input::Closed { conn: ConnId(conn) });
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
        self.tell_broker(broker::Input::Local(message));
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
        self.bridge = Bridge::with_streams(self.bridge_config(), backlog, self.seed + self.life, now);
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
