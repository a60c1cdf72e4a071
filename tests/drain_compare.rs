//! The same outage for this gateway and for a Mosquitto with a bridge, one after the other on the same machine: upstream
//! is away while a client on the LAN publishes, then comes back. What arrives, how fast, and what it costs the bridge.
//!
//! Upstream is a Mosquitto whose subscriber gets everything (what is lost?), a Mosquitto that only takes (then its own
//! reading of packets is most of the time), and a socket that acknowledges and no more (then it is the bridge alone).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use fieldgate::mqtt::{
    Connect, Packet, PacketId, Properties, Publish, QoS, Subscribe, SubscribeFilter, SubscribeOptions,
    Version, decode, encode, frame,
};
use support::{Gateway, Mosquitto, Pty, eventually, free_port, json_device};

/// Messages that wait when upstream comes back.
const MESSAGES: usize = 200_000;
/// Bytes of a payload.
const PAYLOAD: usize = 100;
/// Nothing more comes after this.
const IDLE: Duration = Duration::from_secs(8);

fn packet(packet: &Packet<'_>, out: &mut Vec<u8>) {
    encode(packet, Version::V311, out).unwrap();
}

fn client(port: u16, name: &str, clean_start: bool) -> TcpStream {
    let mut stream = eventually("a broker listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    stream.set_nodelay(true).unwrap();
    let connect = Connect {
        version: Version::V311,
        bridge: false,
        clean_start,
        keep_alive: 0,
        client_id: name,
        will: None,
        user_name: None,
        password: None,
        properties: Properties::EMPTY,
    };
    let mut bytes = Vec::new();
    packet(&Packet::Connect(connect), &mut bytes);
    stream.write_all(&bytes).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack[3], 0);
    stream
}

/// Publishes all, QoS 1; returns when all are acknowledged.
fn publish_all(port: u16) {
    let mut stream = client(port, "sensor", true);
    let mut answers = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut buffer, mut bytes) = ([0; 65_536], 0);
        while bytes < MESSAGES * 4 {
            bytes += answers.read(&mut buffer).unwrap();
        }
    });
    let mut out = Vec::new();
    for number in 0..MESSAGES {
        let payload = format!("{number:0PAYLOAD$}");
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: if number == 0 || number + 1 == MESSAGES { "plant/mark" } else { "plant/line/1" },
            packet_id: PacketId::new((number % 60_000) as u16 + 1),
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        };
        packet(&Packet::Publish(publish), &mut out);
        if out.len() > 32_768 {
            stream.write_all(&out).unwrap();
            out.clear();
        }
    }
    stream.write_all(&out).unwrap();
    reader.join().unwrap();
}

/// A subscription that is there before the first message can be.
fn subscribe(port: u16, filter: &str) {
    let mut stream = client(port, "watcher", false);
    let mut out = Vec::new();
    // With QoS 1, so that what comes before the watcher is back waits for it.
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    let filters = vec![SubscribeFilter { filter, options }];
    let packet_id = PacketId::new(1).unwrap();
    packet(&Packet::Subscribe(Subscribe { packet_id, properties: Properties::EMPTY, filters }), &mut out);
    stream.write_all(&out).unwrap();
    let mut suback = [0; 5];
    stream.read_exact(&mut suback).unwrap();
}

/// What arrived, and when.
struct Arrived {
    seen: Vec<bool>,
    different: usize,
    all: usize,
    first: Option<Instant>,
    last: Instant,
}

impl Arrived {
    fn new() -> Self {
        Self { seen: vec![false; MESSAGES], different: 0, all: 0, first: None, last: Instant::now() }
    }

    /// Reads what came, and writes the acknowledgements; false at the end of the stream or after long silence.
    fn read(&mut self, stream: &mut TcpStream, held: &mut Vec<u8>, buffer: &mut [u8]) -> bool {
        let Ok(read @ 1..) = stream.read(buffer) else { return false };
        held.extend_from_slice(&buffer[..read]);
        let (mut at, mut answers) = (0, Vec::new());
        while let Some(found) = frame(&held[at..], 1 << 20).unwrap() {
            at += found.len;
            match decode(found, Version::V311).unwrap() {
                Packet::Publish(publish) => self.publish(&publish, &mut answers),
                Packet::Connect(_) => answers.extend([0x20, 2, 0, 0]),
                Packet::PingReq => answers.extend([0xD0, 0]),
                Packet::Subscribe(subscribe) => {
                    let id = subscribe.packet_id.get().to_be_bytes();
                    answers.extend([0x90, 2 + subscribe.filters.len() as u8, id[0], id[1]]);
                    answers.extend(subscribe.filters.iter().map(|_| 1));
                }
                _ => {}
            }
        }
        held.drain(..at);
        stream.write_all(&answers).is_ok()
    }

    fn publish(&mut self, publish: &Publish<'_>, answers: &mut Vec<u8>) {
        if let Some(id) = publish.packet_id {
            answers.extend([0x40, 2]);
            answers.extend(id.get().to_be_bytes());
        }
        if !publish.topic.starts_with("plant/") {
            return;
        }
        let number: usize = std::str::from_utf8(publish.payload).unwrap().parse().unwrap();
        self.last = Instant::now();
        self.first.get_or_insert(self.last);
        self.all += 1;
        self.different += usize::from(!std::mem::replace(&mut self.seen[number], true));
    }

    fn seconds(&self) -> f64 {
        self.first.map_or(0.0, |first| (self.last - first).as_secs_f64())
    }
}

/// What is upstream.
#[derive(Clone, Copy, PartialEq)]
enum Receiver {
    /// A Mosquitto with a subscriber to everything.
    Delivers,
    /// A Mosquitto with a subscriber to the first and the last message.
    Takes,
    /// A socket that acknowledges.
    Acknowledges,
}

impl Receiver {
    const ALL: [Self; 3] = [Self::Delivers, Self::Takes, Self::Acknowledges];

    const fn words(self) -> &'static str {
        match self {
            Self::Delivers => "into a Mosquitto that delivers",
            Self::Takes => "into a Mosquitto that takes",
            Self::Acknowledges => "into a socket",
        }
    }

    const fn filter(self) -> &'static str {
        match self {
            Self::Delivers | Self::Acknowledges => "plant/#",
            Self::Takes => "plant/mark",
        }
    }

    /// Messages that are to be seen.
    const fn expected(self) -> usize {
        match self {
            Self::Delivers | Self::Acknowledges => MESSAGES,
            Self::Takes => 2,
        }
    }
}

/// How one outage ended.
struct Outcome {
    lost: usize,
    /// Messages a second, from the first to the last.
    rate: f64,
    /// CPU seconds of the bridge for a million messages.
    cpu: f64,
    /// The same of upstream, if it is a Mosquitto.
    upstream_cpu: Option<f64>,
}

/// CPU seconds that a process used, user and system.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

/// One outage: `lan` is where the client publishes, `port` where upstream will be, `pid` who bridges.
fn outage(
    name: &str,
    receiver: Receiver,
    upstream: &mut Option<Mosquitto>,
    (lan, port): (u16, u16),
    pid: u32,
) -> Outcome {
    if let Some(upstream) = upstream {
        subscribe(port, receiver.filter());
        upstream.stop();
    }
    let began = Instant::now();
    publish_all(lan);
    let taken_in = MESSAGES as f64 / began.elapsed().as_secs_f64();
    let cpu_before = cpu_seconds(pid);
    let mut stream = if let Some(upstream) = upstream {
        upstream.start_again();
        client(port, "watcher", false)
    } else {
        std::net::TcpListener::bind(("127.0.0.1", port)).unwrap().accept().unwrap().0
    };
    stream.set_read_timeout(Some(IDLE)).unwrap();
    let million = 1e6 / MESSAGES as f64;
    let (mut arrived, mut held, mut buffer) = (Arrived::new(), Vec::new(), vec![0; 1 << 18]);
    while arrived.different < receiver.expected() && arrived.read(&mut stream, &mut held, &mut buffer) {}
    let outcome = Outcome {
        lost: receiver.expected() - arrived.different,
        rate: MESSAGES as f64 / arrived.seconds(),
        cpu: (cpu_seconds(pid) - cpu_before) * million,
        // It was started for this.
        upstream_cpu: upstream.as_ref().map(|upstream| cpu_seconds(upstream.pid()) * million),
    };
    println!(
        "{name} {}: {taken_in:.0} messages/s taken in, {} of {} lost, {} came twice, drained at {:.0} messages/s with {:.2} CPU seconds a million{}",
        receiver.words(),
        outcome.lost,
        receiver.expected(),
        arrived.all - arrived.different,
        outcome.rate,
        outcome.cpu,
        outcome.upstream_cpu.map(|cpu| format!(" ({cpu:.2} of upstream)")).unwrap_or_default()
    );
    outcome
}

fn upstream(dir: &Path, receiver: Receiver, port: u16) -> Option<Mosquitto> {
    let text =
        format!("listener {port} 127.0.0.1\nallow_anonymous true\nlog_type none\nmax_inflight_messages 0\n");
    (receiver != Receiver::Acknowledges).then(|| Mosquitto::start_with(dir, port, &text))
}

fn mosquitto_bridge(name: &str, receiver: Receiver, settings: &str) -> Outcome {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (port, lan) = (free_port(), free_port());
    let mut upstream = upstream(dirs[0].path(), receiver, port);
    let bridge = Mosquitto::start_with(
        dirs[1].path(),
        lan,
        &format!(
            "listener {lan} 127.0.0.1\nallow_anonymous true\nlog_type none\n{settings}\nconnection up\naddress \
             127.0.0.1:{port}\ntopic plant/# out 1\ncleansession false\nremote_clientid b\nrestart_timeout 1\n",
        ),
    );
    outage(name, receiver, &mut upstream, (lan, port), bridge.pid())
}

fn gateway(name: &str, receiver: Receiver, settings: &str) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut upstream = upstream(dir.path(), receiver, port);
    // Each acknowledgement waits for the disk: so that it does not hold the one client up, much may be under way.
    let mut gateway = Gateway::start(&format!(
        "[broker]\nreceive_max = 10000\n\n[[upstream]]\nname = \"up\"\nhost = \"127.0.0.1\"\nport = {port}\n\
         backoff_min = \"100ms\"\nbackoff_max = \"500ms\"\n{settings}\n\n[[upstream.map]]\nfilter = \"plant/#\"\n"
    ));
    if upstream.is_some() {
        gateway.wait_online();
    }
    outage(name, receiver, &mut upstream, (gateway.lan_port, port), gateway.pid())
}

/// Readings of a sensor that share messages, into a Mosquitto that delivers: readings a second.
fn batched() -> f64 {
    const READINGS: usize = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut upstream = upstream(dir.path(), Receiver::Delivers, port).unwrap();
    let sensor = Pty::open();
    let data = Gateway::topic("data/#");
    let mut gateway = Gateway::start(&format!(
        "{}[[upstream]]\nname = \"up\"\nhost = \"127.0.0.1\"\nport = {port}\nbackoff_min = \"100ms\"\nbackoff_max = \"500ms\"\n\
         [[upstream.map]]\nfilter = \"{data}\"\nbatch = {{ max_messages = 100 }}\n",
        json_device("scale", sensor.path())
    ));
    gateway.wait_online();
    subscribe(port, &data);
    upstream.stop();
    sensor.play(READINGS, 20_000, |number| format!(r#"{{"n":{number}}}"#)).finish();
    gateway.wait("all wait", |status| {
        status["upstreams"][0]["backlog"]["messages"].as_u64() >= Some(READINGS as u64)
    });
    let before = cpu_seconds(gateway.pid());
    upstream.start_again();
    let mut stream = client(port, "watcher", false);
    stream.set_read_timeout(Some(IDLE)).unwrap();
    let (mut held, mut buffer, mut readings, mut first) = (Vec::new(), vec![0; 1 << 18], 0, None);
    while readings < READINGS {
        let Ok(read @ 1..) = stream.read(&mut buffer) else { break };
        held.extend_from_slice(&buffer[..read]);
        let (mut at, mut answers) = (0, Vec::new());
        while let Some(found) = frame(&held[at..], 1 << 20).unwrap() {
            at += found.len;
            let Packet::Publish(publish) = decode(found, Version::V311).unwrap() else { continue };
            first.get_or_insert_with(Instant::now);
            readings += publish.payload.windows(6).filter(|six| six == b"\"seq\":").count();
            if let Some(id) = publish.packet_id {
                answers.extend([0x40, 2]);
                answers.extend(id.get().to_be_bytes());
            }
        }
        held.drain(..at);
        stream.write_all(&answers).unwrap();
    }
    assert_eq!(readings, READINGS);
    let rate = READINGS as f64 / first.unwrap().elapsed().as_secs_f64();
    let cpu = (cpu_seconds(gateway.pid()) - before) * 1e6 / READINGS as f64;
    println!(
        "fieldgate, 100 readings to a message, into a Mosquitto that delivers: drained at {rate:.0} readings/s with {cpu:.2} CPU seconds a million"
    );
    rate
}

#[test]
#[ignore = "measures, so it wants the machine for itself; tests/heavy/run plays it"]
fn the_gateway_loses_nothing_and_its_drain_is_told_beside_a_mosquitto_bridges() {
    mosquitto_bridge("mosquitto as it comes", Receiver::Delivers, "max_queued_messages 1000");
    for receiver in Receiver::ALL {
        let theirs = mosquitto_bridge(
            "mosquitto without bounds",
            receiver,
            "max_inflight_messages 0\nmax_queued_messages 0",
        );
        for (name, settings) in [
            ("fieldgate with a window of 20", "inflight_max = 20"),
            ("fieldgate as it comes", ""),
            ("fieldgate with a window of 1000", "inflight_max = 1000"),
        ] {
            let ours = gateway(name, receiver, settings);
            assert_eq!(ours.lost, 0);
            println!(
                "  {:.2} times as fast, {:.2} of the CPU",
                ours.rate / theirs.rate,
                ours.cpu / theirs.cpu
            );
        }
    }
}

#[test]
#[ignore = "measures, so it wants the machine for itself; tests/heavy/run plays it"]
fn readings_that_share_messages_are_told_beside_a_mosquitto_bridges_messages() {
    let theirs = mosquitto_bridge(
        "mosquitto without bounds",
        Receiver::Delivers,
        "max_inflight_messages 0\nmax_queued_messages 0",
    );
    println!("  {:.2} times as fast", batched() / theirs.rate);
}
