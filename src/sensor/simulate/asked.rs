//! A device that answers when it is asked, and what may be wrong with it: it is dead, slow, noisy, late, or hears itself.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::slave::{Slave, Transport};
use super::{SimulateError, Simulator};
use crate::time::{Mono, Now};

/// What was heard and is no request after this much silence is none.
const FORGET_AFTER: Duration = Duration::from_millis(100);

/// Bytes of a line that are kept while no request is found in them; twice the longest of Modbus.
const HEARD_BYTES_MAX: usize = 1_024;

/// What is wrong with a device.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// It says nothing.
    pub is_dead: bool,
    /// Each answer takes so much longer.
    pub slow: Duration,
    /// How likely each byte is another one, 0 to 1.
    pub noise: f64,
    /// What it is asked comes back first, as on two wires whose receiver isn't switched off.
    pub echoes: bool,
    /// Its answer comes only when it is asked again.
    pub is_late: bool,
}

impl Faults {
    /// Bytes as they come out on the line.
    pub fn damage(&self, bytes: &mut [u8], rng: &mut fastrand::Rng) {
        if self.noise > 0.0 {
            for byte in bytes {
                if rng.f64() < self.noise {
                    *byte ^= rng.u8(1..);
                }
            }
        }
    }
}

/// The device, on a line or on several (connections).
#[derive(Debug)]
pub struct Asked {
    who: Who,
    faults: Faults,
    rng: fastrand::Rng,
    heard: BTreeMap<u64, Heard>,
    coming: VecDeque<Coming>,
    /// The answer that comes with the next request.
    held: Option<Vec<u8>>,
    answers: u64,
}

#[derive(Debug)]
enum Who {
    Slave(Slave, Transport),
    Frames(Box<Simulator>, Vec<u8>),
}

#[derive(Debug)]
struct Heard {
    bytes: Vec<u8>,
    last: Mono,
}

#[derive(Debug)]
struct Coming {
    due: Mono,
    line: u64,
    bytes: Vec<u8>,
}

impl Asked {
    /// A Modbus slave.
    #[must_use]
    pub fn slave(slave: Slave, transport: Transport, faults: Faults, seed: u64) -> Self {
        Self::new(Who::Slave(slave, transport), faults, seed)
    }

    /// A device that sends a frame when it is asked by the bytes of its config; `None` if it sends by itself.
    #[must_use]
    pub fn frames(simulator: Simulator, faults: Faults, seed: u64) -> Option<Self> {
        let request = simulator.request()?.to_vec();
        Some(Self::new(Who::Frames(Box::new(simulator), request), faults, seed))
    }

    fn new(who: Who, faults: Faults, seed: u64) -> Self {
        Self {
            who,
            faults,
            rng: fastrand::Rng::with_seed(seed),
            heard: BTreeMap::new(),
            coming: VecDeque::new(),
            held: None,
            answers: 0,
        }
    }

    /// Takes bytes that came on a line.
    ///
    /// # Errors
    /// A value was set that the device can't say.
    pub fn push(&mut self, now: Now, line: u64, bytes: &[u8]) -> Result<(), SimulateError> {
        if self.faults.echoes {
            self.say(now.mono, line, bytes.to_vec());
        }
        let heard = self.heard.entry(line).or_insert_with(|| Heard { bytes: Vec::new(), last: now.mono });
        if now.mono.since(heard.last) >= FORGET_AFTER || heard.bytes.len() > HEARD_BYTES_MAX {
            heard.bytes.clear();
        }
        heard.last = now.mono;
        heard.bytes.extend_from_slice(bytes);
        let mut heard = std::mem::take(&mut heard.bytes);
        while let Some(answer) = self.who.take(now, &mut heard)? {
            self.answer(now.mono, line, answer);
        }
        if let Some(entry) = self.heard.get_mut(&line) {
            entry.bytes = heard;
        }
        Ok(())
    }

    /// A line is gone.
    pub fn closed(&mut self, line: u64) {
        self.heard.remove(&line);
        self.coming.retain(|coming| coming.line != line);
    }

    /// What it says now.
    pub fn poll(&mut self, now: Mono) -> Option<(u64, Vec<u8>)> {
        let place = self.coming.iter().position(|coming| coming.due <= now)?;
        let coming = self.coming.remove(place)?;
        Some((coming.line, coming.bytes))
    }

    /// When it says the next.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        self.coming.iter().map(|coming| coming.due).min()
    }

    /// Answers that it has given, or would have if it weren't dead.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers
    }

    fn answer(&mut self, now: Mono, line: u64, answer: Vec<u8>) {
        if answer.is_empty() {
            return;
        }
        self.answers = self.answers.saturating_add(1);
        if self.faults.is_dead {
            return;
        }
        let answer = if self.faults.is_late { self.held.replace(answer) } else { Some(answer) };
        if let Some(answer) = answer {
            self.say(now + self.faults.slow, line, answer);
        }
    }

    fn say(&mut self, due: Mono, line: u64, mut bytes: Vec<u8>) {
        self.faults.damage(&mut bytes, &mut self.rng);
        self.coming.push_back(Coming { due, line, bytes });
    }
}

impl Who {
    /// The answer to the first request that was heard: empty where it isn't to be answered, `None` where there is no request.
    fn take(&mut self, now: Now, heard: &mut Vec<u8>) -> Result<Option<Vec<u8>>, SimulateError> {
        match self {
            Self::Slave(slave, transport) => Ok(slave.take(*transport, now.mono, heard)),
            Self::Frames(simulator, request) => {
                let Some(place) = heard.windows(request.len().max(1)).position(|window| window == request)
                else {
                    return Ok(None);
                };
                heard.drain(..place.saturating_add(request.len()));
                simulator.frame(now.wall).map(Some)
            }
        }
    }
}
