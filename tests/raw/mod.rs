//! MQTT as bytes on a TCP socket, written and read by hand. It shares nothing with the gateway's own codec, which it
//! is there to catch out; what is expected stands in the tests, as bytes.

#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]

mod client;
mod packets;

pub use client::{Client, Message};
pub use packets::{Connect, Publish, V, Will, ack, packet, subscribe, text, unsubscribe, varint};

use crate::support::{Gateway, eventually};

/// Versions of which 3.1.1 stands for 3.1 too.
pub const BOTH: [V; 2] = [V::V311, V::V5];

/// A running gateway with its LAN port.
pub struct Lan {
    pub gateway: Gateway,
    pub port: u16,
}

impl Lan {
    /// A gateway with these keys under `[broker]`, and what may follow them.
    pub fn start(broker: &str) -> Self {
        let gateway = Gateway::start(&format!("[broker]\n{broker}\n"));
        let port = gateway.lan_port;
        // It answers on its control socket before it listens.
        eventually("the gateway listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Self { port, gateway }
    }

    /// A connection on which nothing was sent.
    pub fn open(&self, v: V) -> Client {
        Client::open(self.port, v)
    }

    /// A client that was let in.
    pub fn connect(&self, connect: &Connect) -> Client {
        Client::connect(self.port, connect)
    }

    /// A client with a clean session and no keep alive.
    pub fn join(&self, v: V, id: &str) -> Client {
        self.connect(&Connect::new(v, id))
    }

    /// A client that was let in, and whether it had a session.
    pub fn resume(&self, v: V, id: &str) -> (Client, bool) {
        let client = self.connect(&Connect::new(v, id).resume());
        let present = client.connack[2] & 1 == 1;
        (client, present)
    }

    /// What the gateway answers to these first bytes: all of it, up to the end of the connection.
    pub fn answer(&self, bytes: &[u8]) -> Vec<u8> {
        let mut client = self.open(V::V311);
        client.send(bytes);
        client.rest()
    }
}

/// What the gateway's process takes.
impl Lan {
    /// Bytes of memory that are in RAM.
    pub fn rss(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.gateway.pid())).unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * u64::try_from(rustix::param::page_size()).unwrap()
    }

    /// Processor time that was used, in clock ticks (hundredths of a second).
    pub fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.gateway.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Open file descriptors.
    pub fn fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.gateway.pid())).unwrap().count()
    }

    /// A number of the broker's part of the health report.
    pub fn count(&self, name: &str) -> u64 {
        let status = self.gateway.ask("status");
        status["broker"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {:#}", status["broker"]))
    }
}
