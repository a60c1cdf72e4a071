//! What a bus and its devices cost and how they do: counters, latencies, load.

use std::sync::Arc;
use std::time::Duration;

use crate::time::Mono;

/// Latencies of which the median is taken: the last ones of each device, 8 bytes each.
const LATENCIES: usize = 64;

/// The load is that of the current window and the one before.
const WINDOW: Duration = Duration::from_secs(10);

/// Of one device, since start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlaveStatus {
    /// The device's name.
    pub device: Arc<str>,
    /// Its address; `None` if it has none.
    pub unit_id: Option<u8>,
    /// It has not answered for several cycles and some time.
    pub offline: bool,
    /// Cycles since its last whole answer.
    pub failed_cycles: u32,
    /// Cycles that it was asked too late for: the bus had no time.
    pub skipped_cycles: u64,
    /// Points that it refuses to tell.
    pub refused: Vec<Arc<str>>,
    /// What is sent to it comes back.
    pub echoes: bool,
    /// Requests sent.
    pub requests: u64,
    /// Of these, further tries.
    pub retries: u64,
    /// Answers, exceptions among them.
    pub answers: u64,
    /// Answers that say no.
    pub exceptions: u64,
    /// Requests without an answer.
    pub timeouts: u64,
    /// Of these, such where a damaged answer came.
    pub crc_errors: u64,
    /// Answers that came when nobody waited for them any more, and were dropped.
    pub late_answers: u64,
    /// How long the bus was occupied by it: requests, waits and answers.
    pub air_time: Duration,
    /// From the end of a request to the end of its answer: the median of the last 64.
    pub latency_p50: Option<Duration>,
    /// The longest.
    pub latency_max: Option<Duration>,
    /// From one cycle to the next, while it is well.
    pub every: Duration,
    /// When it is asked next; zero while it is being asked.
    pub next_in: Duration,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// Of a bus.
#[derive(Clone, Debug, PartialEq)]
pub struct BusStatus {
    /// The port's name.
    pub port: Arc<str>,
    /// How much of the last 10 to 20 s the bus was occupied, in percent.
    pub load_percent: u8,
    /// Requests sent since start.
    pub requests: u64,
    /// Bytes that belonged to no answer.
    pub foreign_bytes: u64,
    /// Writes that wait.
    pub writes_waiting: usize,
    /// Its devices.
    pub slaves: Vec<SlaveStatus>,
}

/// The last latencies.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    last: Vec<Duration>,
    next: usize,
    max: Option<Duration>,
}

impl Latencies {
    pub(super) fn add(&mut self, latency: Duration) {
        self.max = self.max.max(Some(latency));
        match self.last.get_mut(self.next) {
            Some(place) => *place = latency,
            None => self.last.push(latency),
        }
        self.next = self.next.saturating_add(1) % LATENCIES;
    }

    pub(super) fn median(&self) -> Option<Duration> {
        let mut sorted = self.last.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    pub(super) const fn max(&self) -> Option<Duration> {
        self.max
    }
}

/// How much of the time the bus is occupied.
#[derive(Debug)]
pub(super) struct Load {
    window: Mono,
    busy: Duration,
    before: Option<Duration>,
}

impl Load {
    pub(super) const fn new(now: Mono) -> Self {
        Self { window: now, busy: Duration::ZERO, before: None }
    }

    /// It was occupied for `busy` until now.
    pub(super) fn add(&mut self, now: Mono, busy: Duration) {
        let age = now.since(self.window);
        if age >= WINDOW {
            self.before = Some(if age < WINDOW * 2 { self.busy } else { Duration::ZERO });
            self.busy = Duration::ZERO;
            self.window = now;
        }
        self.busy = self.busy.saturating_add(busy);
    }

    pub(super) fn percent(&self, now: Mono) -> u8 {
        let age = now.since(self.window);
        let (busy, span) = match self.before {
            _ if age >= WINDOW * 2 => (Duration::ZERO, age),
            Some(before) => (self.busy.saturating_add(before), age.saturating_add(WINDOW)),
            None => (self.busy, age),
        };
        let percent = busy.as_millis().saturating_mul(100) / span.as_millis().max(1);
        u8::try_from(percent.min(100)).unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_the_last_64_and_the_maximum_of_all() {
        let mut latencies = Latencies::default();
        assert_eq!((latencies.median(), latencies.max()), (None, None));
        latencies.add(Duration::from_secs(9));
        (0..64).for_each(|ms| latencies.add(Duration::from_millis(ms)));
        assert_eq!(latencies.median(), Some(Duration::from_millis(32)));
        assert_eq!(latencies.max(), Some(Duration::from_secs(9)));
        assert_eq!(latencies.last.len(), LATENCIES);
    }

    #[test]
    fn the_load_is_of_the_last_two_windows() {
        let at = |seconds: u64| Mono::ZERO + Duration::from_secs(seconds);
        let mut load = Load::new(at(0));
        for second in 1..=10 {
            load.add(at(second), Duration::from_millis(400));
        }
        assert_eq!(load.percent(at(10)), 40);
        assert_eq!(load.percent(at(15)), 26);
        assert_eq!(load.percent(at(30)), 0, "nothing was asked for long");
    }
}
