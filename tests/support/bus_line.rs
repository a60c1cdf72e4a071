//! Two wires between a gateway and slaves: a pseudo-terminal at each end, and between them whatever real lines do, by the
//! address of the slave: silence, slowness, an echo.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::{Process, Pty, Python, eventually};

/// How often both ends are looked at.
const LOOK: Duration = Duration::from_millis(1);

/// How a slave behaves on this line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habit {
    /// Its requests don't reach it.
    pub is_dead: bool,
    /// Its answers take so much longer.
    pub delay: Duration,
    /// Its transceiver sends back what the gateway sends.
    pub echoes: bool,
}

/// A request that the gateway sent.
#[derive(Clone, Debug)]
pub struct Request {
    pub at: Instant,
    pub bytes: Vec<u8>,
}

/// The line; cut when dropped.
pub struct BusLine {
    gateway: Pty,
    slaves: Pty,
    requests: Arc<Mutex<Vec<Request>>>,
    habits: Arc<Mutex<BTreeMap<u8, Habit>>>,
    stop: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
}

impl BusLine {
    /// A line on which slaves that aren't named behave well.
    pub fn open(habits: impl IntoIterator<Item = (u8, Habit)>) -> Self {
        let (gateway, slaves) = (Pty::open(), Pty::open());
        // Nobody has spoken yet.
        gateway.forget();
        slaves.forget();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let habits = Arc::new(Mutex::new(habits.into_iter().collect()));
        let stop = Arc::new(AtomicBool::new(false));
        let carrier = Carrier {
            gateway: gateway.clone(),
            slaves: slaves.clone(),
            requests: requests.clone(),
            habits: habits.clone(),
        };
        let stopping = stop.clone();
        let carrier = std::thread::spawn(move || carrier.run(&stopping));
        Self { gateway, slaves, requests, habits, stop, carrier: Some(carrier) }
    }

    /// What the gateway opens.
    pub fn gateway_path(&self) -> &Path {
        self.gateway.path()
    }

    /// What the slaves open.
    pub fn slaves_path(&self) -> &Path {
        self.slaves.path()
    }

    /// Changes how a slave behaves.
    pub fn set(&self, unit: u8, habit: Habit) {
        self.habits.lock().unwrap().insert(unit, habit);
    }

    /// What the gateway has sent so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for BusLine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
    }
}

struct Carrier {
    gateway: Pty,
    slaves: Pty,
    requests: Arc<Mutex<Vec<Request>>>,
    habits: Arc<Mutex<BTreeMap<u8, Habit>>>,
}

impl Carrier {
    fn run(self, stop: &AtomicBool) {
        let mut heard: Vec<u8> = Vec::new();
        let mut asked = Habit::default();
        let mut coming: Vec<(Instant, Vec<u8>)> = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            heard.extend(self.gateway.taken());
            while let Some(len) = request_len(&heard).filter(|len| heard.len() >= *len) {
                let bytes: Vec<u8> = heard.drain(..len).collect();
                asked = self.habits.lock().unwrap().get(&bytes[0]).copied().unwrap_or_default();
                if asked.echoes {
                    self.gateway.write(&bytes);
                }
                if !asked.is_dead {
                    self.slaves.write(&bytes);
                }
                self.requests.lock().unwrap().push(Request { at: Instant::now(), bytes });
            }
            let answer = self.slaves.taken();
            if let Some(unit) = answer.first() {
                // An answer may come in pieces: those behind the first belong to whoever was asked.
                let habit = self.habits.lock().unwrap().get(unit).copied().unwrap_or(asked);
                coming.push((Instant::now() + habit.delay, answer));
            }
            coming.retain(|(due, bytes)| {
                let is_due = *due <= Instant::now();
                if is_due {
                    self.gateway.write(bytes);
                }
                !is_due
            });
            std::thread::sleep(LOOK);
        }
    }
}

/// The length of the request that begins here, once that is known.
fn request_len(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1)? {
        1..=6 => Some(8),
        0x2b => Some(7),
        _ => bytes.get(6).map(|count| 9 + usize::from(*count)),
    }
}

/// Starts slaves with these values, and waits until they listen.
pub fn slaves(dir: &Path, kind: &str, place: &str, spec: &Json) -> Process {
    let file = dir.join(format!("slaves-{kind}.json"));
    std::fs::write(&file, spec.to_string()).unwrap();
    let process = Python::Pymodbus.start("slaves.py", &[kind, place, file.to_str().unwrap()]);
    eventually("pymodbus listens", || process.text().contains("ready").then_some(()));
    process
}
