//! The same outage for this gateway and for a Mosquitto with a bridge, one after the other on the same machine: upstream
//! is away while a client on the LAN publishes, then comes back. What arrives, and how fast.

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
use support::{Gateway, Mosquitto, eventually, free_port};

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
            topic: "plant/line/1",
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
fn subscribe(port: u16) {
    let mut stream = client(port, "watcher", false);
    let mut out = Vec::new();
    // With QoS 1, so that what comes before the watcher is back waits for it.
    let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
    let filters = vec![SubscribeFilter { filter: "plant/#", options }];
    let packet_id = PacketId::new(1).unwrap();
    packet(&Packet::Subscribe(Subscribe { packet_id, properties: Properties::EMPTY, filters }), &mut out);
    stream.write_all(&out).unwrap();
    let mut suback = [0; 5];
    stream.read_exact(&mut suback).unwrap();
}

/// What a subscriber upstream gets: how many different ones, how many in all, and how long from first to last.
fn receive_all(port: u16) -> (usize, usize, f64) {
    let mut stream = client(port, "watcher", false);
    stream.set_read_timeout(Some(IDLE)).unwrap();
    let (mut seen, mut different, mut all) = (vec![false; MESSAGES], 0, 0);
    let (mut held, mut buffer, mut acks) = (Vec::new(), vec![0; 1 << 18], Vec::new());
    let (mut first, mut last) = (None, Instant::now());
    while different < MESSAGES {
        let Ok(read @ 1..) = stream.read(&mut buffer) else { break };
        held.extend_from_slice(&buffer[..read]);
        let mut at = 0;
        while let Some(found) = frame(&held[at..], 1 << 20).unwrap() {
            at += found.len;
            let Packet::Publish(publish) = decode(found, Version::V311).unwrap() else { continue };
            let number: usize = std::str::from_utf8(publish.payload).unwrap().parse().unwrap();
            first.get_or_insert_with(Instant::now);
            last = Instant::now();
            all += 1;
            if let Some(id) = publish.packet_id {
                acks.extend([0x40, 2]);
                acks.extend(id.get().to_be_bytes());
            }
            different += usize::from(!std::mem::replace(&mut seen[number], true));
        }
        held.drain(..at);
        stream.write_all(&acks).unwrap();
        acks.clear();
    }
    (different, all, first.map_or(0.0, |first| (last - first).as_secs_f64()))
}

/// One outage: `lan` is where the client publishes. Gives how many were lost, and messages a second.
fn outage(name: &str, upstream: &mut Mosquitto, lan: u16) -> (usize, f64) {
    subscribe(upstream.port);
    upstream.stop();
    let began = Instant::now();
    publish_all(lan);
    let taken_in = MESSAGES as f64 / began.elapsed().as_secs_f64();
    upstream.start_again();
    let (different, all, seconds) = receive_all(upstream.port);
    let rate = different as f64 / seconds;
    println!(
        "{name}: {taken_in:.0} messages/s taken in, {} of {MESSAGES} lost, {} came twice, drained at {rate:.0} messages/s",
        MESSAGES - different,
        all - different
    );
    (MESSAGES - different, rate)
}

fn upstream(dir: &Path, name: &str) -> Mosquitto {
    let dir = dir.join(name);
    std::fs::create_dir(&dir).unwrap();
    let port = free_port();
    let text =
        format!("listener {port} 127.0.0.1\nallow_anonymous true\nlog_type none\nmax_inflight_messages 0\n");
    Mosquitto::start_with(&dir, port, &text)
}

fn mosquitto_bridge(dir: &Path, name: &str, settings: &str) -> (usize, f64) {
    let mut upstream = upstream(dir, &name.replace(' ', "-"));
    let port = free_port();
    let bridge = Mosquitto::start_with(
        dir,
        port,
        &format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nlog_type none\n{settings}\nconnection up\naddress \
             127.0.0.1:{}\ntopic plant/# out 1\ncleansession false\nremote_clientid b\nrestart_timeout 1\n",
            upstream.port
        ),
    );
    outage(name, &mut upstream, bridge.port)
}

fn gateway(dir: &Path, name: &str, settings: &str) -> (usize, f64) {
    let mut upstream = upstream(dir, &name.replace(' ', "-"));
    // Each acknowledgement waits for the disk: so that it does not hold the one client up, much may be under way.
    let mut gateway = Gateway::start(&format!(
        "[broker]\nreceive_max = 10000\n\n[[upstream]]\nname = \"up\"\nhost = \"127.0.0.1\"\nport = {}\nbackoff_min = \"100ms\"\nbackoff_max = \"500ms\"\n\
         {settings}\n\n[[upstream.map]]\nfilter = \"plant/#\"\n",
        upstream.port
    ));
    gateway.wait_online();
    outage(name, &mut upstream, gateway.lan_port)
}

#[test]
#[ignore = "measures, so it wants the machine for itself; tests/heavy/run plays it"]
fn the_gateway_loses_nothing_and_its_drain_is_told_beside_a_mosquitto_bridges() {
    let dir = tempfile::tempdir().unwrap();
    mosquitto_bridge(dir.path(), "mosquitto as it comes", "max_queued_messages 1000");
    let (_, theirs) = mosquitto_bridge(dir.path(), "mosquitto without bounds", "max_inflight_messages 0");
    let (lost, _) = gateway(dir.path(), "fieldgate as it comes", "");
    assert_eq!(lost, 0);
    let (lost, ours) = gateway(dir.path(), "fieldgate with a window of 1000", "inflight_max = 1000");
    assert_eq!(lost, 0);
    println!("{:.2} times as fast", ours / theirs);
}
