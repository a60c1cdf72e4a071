//! What runs on the board while its power is cut, and what was promised meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value as Json;

use crate::client::Client;
use crate::raw::{Publish, V};

/// Messages on their way at once.
const INFLIGHT: u16 = 5;

/// What was seen and promised, in all runs.
#[derive(Default)]
pub struct Shared {
    known: Mutex<Known>,
    paused: AtomicBool,
}

#[derive(Default)]
struct Known {
    promised: Promised,
    /// The next message's number.
    next: u64,
    /// What the session that comes back has got.
    arrived: BTreeSet<u64>,
    /// The newest reading that was seen, by its run and number.
    seen: (u64, u64),
    readings_of_run: u64,
    totals_of_run: u64,
}

/// What the gateway has promised to keep.
#[derive(Clone, Default)]
pub struct Promised {
    /// Messages that were acknowledged.
    pub messages: Vec<u64>,
    /// The newest retained message that was acknowledged.
    pub retained: Option<u64>,
    /// Of each run the last reading before a message that was acknowledged: what waits for the upstream is written in its
    /// order, so that reading is on disk too.
    pub readings: BTreeMap<u64, u64>,
    /// The highest total that anybody has seen.
    pub total: u64,
}

impl Shared {
    pub fn promised(&self) -> Promised {
        self.known.lock().unwrap().promised.clone()
    }

    pub fn acknowledged(&self) -> usize {
        self.known.lock().unwrap().promised.messages.len()
    }

    pub fn is_all_there(&self, promised: &Promised) -> bool {
        let known = self.known.lock().unwrap();
        promised.messages.iter().all(|number| known.arrived.contains(number))
    }

    pub fn totals_of_run(&self) -> u64 {
        self.known.lock().unwrap().totals_of_run
    }

    pub fn readings_of_run(&self) -> u64 {
        self.known.lock().unwrap().readings_of_run
    }

    pub fn next_run(&self) {
        let mut known = self.known.lock().unwrap();
        (known.seen, known.readings_of_run, known.totals_of_run) = ((0, 0), 0, 0);
    }

    /// Nothing more is published.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }
}

/// Clients of one run of the board.
pub struct Load {
    port: u16,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Has the session's client, and one that looks on, listen.
    pub fn start(port: u16, mut worker: Client, shared: &Arc<Shared>) -> Self {
        let mut load = Self { port, shared: shared.clone(), threads: Vec::new() };
        let working = shared.clone();
        load.threads.push(std::thread::spawn(move || {
            while let Ok(message) = worker.message() {
                working.known.lock().unwrap().arrived.insert(number(&message.payload));
            }
        }));
        load.run("looking", look_on);
        load
    }

    /// Publishes from now on.
    pub fn go(&mut self) {
        self.run("publisher", publish);
    }

    fn run(&mut self, id: &'static str, what: fn(Client, &Shared) -> Result<()>) {
        let (port, shared) = (self.port, self.shared.clone());
        self.threads.push(std::thread::spawn(move || {
            // It ends with the board.
            let _ = Client::connect(port, id, true).and_then(|client| what(client, &shared));
        }));
    }

    /// The board is gone: what has come over its connections is seen to the end.
    pub fn end(self) {
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Publishes, a few at a time, and notes what is acknowledged, until the power is cut.
fn publish(mut client: Client, shared: &Shared) -> Result<()> {
    while !shared.paused.load(Ordering::SeqCst) {
        let (first, seen) = {
            let mut known = shared.known.lock().unwrap();
            known.next += u64::from(INFLIGHT);
            (known.next - u64::from(INFLIGHT), known.seen)
        };
        for id in 1..=INFLIGHT {
            let filling: String = (0..fastrand::usize(0..3_000)).map(|_| fastrand::alphanumeric()).collect();
            let text = format!("{} {filling}", first + u64::from(id));
            let is_retained = id == INFLIGHT;
            let publish = Publish::new(if is_retained { "load/state" } else { "load/x" }, text).qos(1, id);
            client.send(&if is_retained { publish.retain() } else { publish }.bytes(V::V311))?;
        }
        for _ in 0..INFLIGHT {
            let (kind, body) = client.packet()?;
            assert_eq!(kind, 0x40, "PUBACK");
            let id = u16::from_be_bytes([body[0], body[1]]);
            let number = first + u64::from(id);
            let mut known = shared.known.lock().unwrap();
            if id == INFLIGHT {
                known.promised.retained = Some(number);
            } else {
                known.promised.messages.push(number);
            }
            if seen.0 > 0 {
                let promised = known.promised.readings.entry(seen.0).or_default();
                *promised = seen.1.max(*promised);
            }
        }
    }
    Ok(())
}

/// Notes readings and totals as a subscriber sees them.
fn look_on(mut client: Client, shared: &Shared) -> Result<()> {
    client.subscribe("fieldgate/board/data/+", 0)?;
    loop {
        let message = client.message()?;
        let json: Json = serde_json::from_slice(&message.payload).unwrap();
        let mut known = shared.known.lock().unwrap();
        if message.topic.ends_with("/probe") {
            known.seen = sequence(&json);
            known.readings_of_run += 1;
        } else if let Some(total) = total(&json) {
            assert!(total >= known.promised.total, "{} was seen, now it is {total}", known.promised.total);
            known.promised.total = total;
            known.totals_of_run += 1;
        }
    }
}

/// The number that a message of the load begins with.
pub fn number(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// The run and the number of a reading.
pub fn sequence(reading: &Json) -> (u64, u64) {
    let (run, number) = reading["seq"].as_str().unwrap().split_once('-').unwrap();
    (run.parse().unwrap(), number.parse().unwrap())
}

/// The counter's total.
pub fn total(reading: &Json) -> Option<u64> {
    let total = &reading["values"]["total"];
    total.is_number().then(|| total.to_string().split('.').next().unwrap().parse().unwrap())
}
