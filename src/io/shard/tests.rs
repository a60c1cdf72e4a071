//! What a panic harms, from outside: a broker thread with real sockets, in which some words panic that no other build
//! knows (see [`stub`]).

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use super::*;
use crate::broker::broken::stub;
use crate::broker::{Config, ListenerPolicy};
use crate::config::{Bind, TimeTrust, WebSocket};
use crate::limits::{HANDOVER_BYTES_MAX, PANICS_MAX};

const DEADLINE: Duration = Duration::from_secs(20);

struct Gateway {
    tcp: SocketAddr,
    websocket: SocketAddr,
    inbox: Arc<Mailbox<ToBroker>>,
    panics: Arc<Panics>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Gateway {
    fn start() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let policy = ListenerPolicy { allow_anonymous: true, ..ListenerPolicy::default() };
        let config = Config {
            base: Arc::from("base"),
            listeners: vec![policy.clone(), policy],
            persistence: false,
            ..Config::default()
        };
        let websocket = WebSocket { path: "/mqtt".to_owned(), origins: Vec::new(), hosts: Vec::new() };
        let plain = Listener::plain(Arc::from("a"), any);
        let listeners =
            vec![plain.clone(), Listener { name: Arc::from("b"), websocket: Some(websocket), ..plain }];
        let status = |listener: &Listener| ListenerStatus {
            name: listener.name.clone(),
            address: listener.bind.clone(),
            transport: listener.transport(),
            error: None,
            dates: Vec::new(),
        };
        let status = Arc::new(Mutex::new(listeners.iter().map(status).collect::<Vec<_>>()));
        let inbox = Arc::new(Mailbox::new(HANDOVER_BYTES_MAX));
        let panics = Arc::new(Panics::new());
        let setup = Setup {
            connections_max: 1_000,
            out_buffer_bytes_max: config.out_buffer_bytes_max,
            sys_interval: Duration::from_millis(50),
            broker: Broker::new(config, 1),
            listeners,
            clock: Clock::new(TimeTrust::Auto),
            inbox: inbox.clone(),
            outbox: Arc::new(Mailbox::new(HANDOVER_BYTES_MAX)),
            store: None,
            status: status.clone(),
            forwards_dropped: Arc::new(AtomicU64::new(0)),
            panics: panics.clone(),
            beat: crate::io::supervisor::Beat::unwatched("test"),
        };
        let thread = std::thread::spawn(move || run(setup).unwrap());
        let bound = |at: usize| {
            let begun = Instant::now();
            loop {
                match status.lock().unwrap()[at].address {
                    Bind::Tcp(address) if address.port() != 0 => return address,
                    _ => assert!(begun.elapsed() < DEADLINE, "it doesn't listen"),
                }
                std::thread::yield_now();
            }
        };
        Self { tcp: bound(0), websocket: bound(1), inbox, panics, thread: Some(thread) }
    }

    fn connect(&self, connect: &[u8]) -> Client {
        let mut client = Client::to(self.tcp);
        client.send(connect);
        assert_eq!(client.packet().unwrap()[0], 0x20, "a CONNACK");
        client
    }

    fn subscriber(&self, id: &str, filter: &str) -> Client {
        let mut client = self.connect(&connect(4, id, &[], None));
        let mut body = vec![0, 1];
        body.extend(text(filter));
        body.push(0);
        client.send(&packet(0x82, &body));
        assert_eq!(client.packet().unwrap()[0], 0x90, "a SUBACK");
        client
    }

    /// Whether everything still works for others.
    fn is_well(&self) {
        let mut receiver = self.subscriber("receiver", "well");
        let mut publisher = self.connect(&connect(4, "publisher", &[], None));
        publisher.send(&publish("well", b"yes"));
        assert!(receiver.message("well").ends_with(b"yes"));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.inbox.force(ToBroker::Stop);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the broker thread itself has panicked");
    }
}

struct Client(TcpStream);

impl Client {
    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next packet; `None` if the connection has ended.
    fn packet(&mut self) -> Option<Vec<u8>> {
        let mut head = [0; 2];
        if let Err(error) = self.0.read_exact(&mut head) {
            assert!(error.kind() != ErrorKind::WouldBlock, "neither a packet nor an end");
            return None;
        }
        assert!(head[1] < 0x80, "a packet longer than any here");
        let mut packet = head.to_vec();
        packet.resize(2 + usize::from(head[1]), 0);
        self.0.read_exact(&mut packet[2..]).unwrap();
        Some(packet)
    }

    /// The next message with this topic.
    fn message(&mut self, topic: &str) -> Vec<u8> {
        loop {
            let packet = self.packet().expect("still connected");
            if packet.windows(topic.len()).any(|part| part == topic.as_bytes()) {
                return packet;
            }
        }
    }

    fn is_closed(&mut self) -> bool {
        loop {
            match self.packet() {
                None => return true,
                Some(packet) => assert_ne!(packet[0], 0x20, "{packet:?}"),
            }
        }
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 0x80);
    let mut packet = vec![first, u8::try_from(body.len()).unwrap()];
    packet.extend(body);
    packet
}

fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    body.extend(payload);
    packet(0x30, &body)
}

/// CONNECT of a clean session, with properties for 5.0, and a will: its properties, its topic.
fn connect(version: u8, id: &str, properties: &[u8], will: Option<(&[u8], &str)>) -> Vec<u8> {
    let counted = |properties: &[u8]| {
        let mut bytes = vec![u8::try_from(properties.len()).unwrap()];
        bytes.extend(properties);
        if version == 5 { bytes } else { Vec::new() }
    };
    let mut body = text("MQTT");
    body.extend([version, if will.is_some() { 0x06 } else { 0x02 }, 0, 0]);
    body.extend(counted(properties));
    body.extend(text(id));
    if let Some((properties, topic)) = will {
        body.extend(counted(properties));
        body.extend(text(topic));
        body.extend(text("gone"));
    }
    packet(0x10, &body)
}

#[test]
fn fault_26_a_panic_in_a_connections_work_ends_that_connection_alone_as_if_it_were_cut() {
    let gateway = Gateway::start();
    let mut wills = gateway.subscriber("wills", "will/+");
    let mut counters = gateway.subscriber("counters", "$SYS/fieldgate/panics_total");
    assert!(counters.message("panics_total").ends_with(b"total0"));
    let mut victim = gateway.connect(&connect(4, "victim", &[], Some((&[], "will/victim"))));
    victim.send(&publish(stub::AT_ONCE, b"x"));
    assert!(victim.is_closed());
    assert!(wills.message("will/victim").ends_with(b"gone"));
    assert!(counters.message("panics_total").ends_with(b"total1"));
    assert!(gateway.panics.last().unwrap().contains("broken.rs"), "{:?}", gateway.panics.last());
    gateway.is_well();
    gateway.connect(&connect(4, "victim", &[], None));
    assert_eq!(gateway.panics.total(), 1);
}

#[test]
fn fault_26_a_connection_whose_end_panics_too_is_forgotten_and_its_will_goes_out() {
    let gateway = Gateway::start();
    let mut wills = gateway.subscriber("wills", "will/+");
    let id = format!("{}-1", stub::AT_THE_END);
    let mut victim = gateway.connect(&connect(4, &id, &[], Some((&[], "will/victim"))));
    victim.send(&publish(stub::AT_ONCE, b"x"));
    assert!(victim.is_closed());
    assert!(wills.message("will/victim").ends_with(b"gone"));
    assert_eq!(gateway.panics.total(), 2, "one for its message, one for its end");
    gateway.is_well();
    let connected = || {
        let (answer, stats) = tokio::sync::oneshot::channel();
        gateway.inbox.force(ToBroker::Stats(answer));
        stats.blocking_recv().unwrap().clients_connected
    };
    let begun = Instant::now();
    while connected() != 1 {
        assert!(begun.elapsed() < DEADLINE, "more than the one that waits for wills counts as connected");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn fault_26_a_session_whose_expiry_panics_does_not_keep_the_others_from_expiring() {
    let gateway = Gateway::start();
    let mut wills = gateway.subscriber("wills", "will/+");
    // Expiry 1 s; the will waits for longer, so it goes out when the session ends.
    let (expiry, delay) = ([0x11, 0, 0, 0, 1], [0x18, 0, 0, 0, 60]);
    for id in [stub::WHEN_DUE, "other"] {
        let will: (&[u8], &str) = (&delay, "will/expired");
        // Dropped at once: the connection is cut.
        gateway.connect(&connect(5, id, &expiry, Some(will)));
    }
    assert!(wills.message("will/expired").ends_with(b"gone"));
    assert_eq!(gateway.panics.total(), 1);
    gateway.is_well();
}

#[test]
fn fault_32_a_panic_between_the_socket_and_mqtt_ends_that_connection_alone() {
    let gateway = Gateway::start();
    let mut victim = Client::to(gateway.websocket);
    victim.send(
        b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Protocol: mqtt\r\n\r\n",
    );
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        victim.0.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    victim.send(stub::IN_CODEC.as_bytes());
    assert!(victim.is_closed());
    assert_eq!(gateway.panics.total(), 1);
    gateway.is_well();
}

#[test]
fn panics_without_end_have_the_gateway_stop_in_order() {
    let gateway = Gateway::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let is_to_stop = |wait| {
        runtime.block_on(async { tokio::time::timeout(wait, gateway.panics.too_many()).await.is_ok() })
    };
    for _ in 0..PANICS_MAX {
        let mut client = gateway.connect(&connect(4, "again", &[], None));
        client.send(&publish(stub::AT_ONCE, b"x"));
        assert!(client.is_closed());
    }
    assert!(!is_to_stop(Duration::from_millis(1)));
    let mut client = gateway.connect(&connect(4, "again", &[], None));
    client.send(&publish(stub::AT_ONCE, b"x"));
    assert!(client.is_closed());
    assert!(is_to_stop(DEADLINE));
}
