//! What the end-to-end tests are built from: real brokers, pseudo-terminals, certificates, clients, and the built
//! gateway, each ended when its value is dropped, also by a panic. Nothing here knows what is being tested.

#![allow(dead_code, unused_imports, reason = "each test binary uses its part of the harness")]

pub mod browser;
mod bus_line;
mod certificates;
mod cgroup;
mod gateway;
pub mod http;
mod mosquitto;
mod process;
mod proxy;
mod pty;
mod python;
mod relay;
mod tls_server;
mod tree;
mod wire;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub use bus_line::{BusLine, Habit, slaves};
pub use certificates::{Certificates, Issued};
pub use cgroup::Cgroup;
pub use gateway::{Gateway, fieldgate, find, json_device, sensors_of_files, upstream};
pub use mosquitto::{Mosquitto, Received, Tap, client, program, publish, publish_with, received};
pub use process::Process;
pub use proxy::{Cut, Proxy, Weather};
pub use pty::{Player, Pty};
pub use python::{Python, checker};
pub use relay::Relay;
pub use tls_server::TlsServer;
pub use tree::Tree;
pub use wire::{Hello, Wire};

/// What must happen soon has this long on a slow, busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
pub const LOOK: Duration = Duration::from_millis(20);

/// Waits until `look` finds something; panics with `what` after [`PATIENCE`].
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// Waits until `look` finds something; panics with `what` after `limit`.
pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "did not happen within {limit:?}: {what}");
        std::thread::sleep(LOOK);
    }
}

/// A port on 127.0.0.1 that nobody listens on, and that no other call of this process gets. It lies below the
/// range from which the system takes the ports of outgoing connections, so that it stays free while its broker is
/// stopped, and no client can ever be connected to itself.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    for _ in 0..COUNT {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free between {FIRST} and {}", FIRST + COUNT);
}
