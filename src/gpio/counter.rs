//! A pulse counter: its total, exact and never smaller than one that was told, and its rate.
//!
//! What is told of the total is what is on disk, so that a crash or a power cut takes back nothing that anybody has
//! seen. Only while the disk refuses is the total in memory told, and people are.

use std::time::Duration;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::config::CounterConfig;
use super::pace::Pace;
use super::{Found, decimal};
use crate::reading::{Quality, Sample, Value};
use crate::time::Mono;

/// The layout of what is kept: version, total, pulses.
const VERSION: u8 = 1;

/// A counter.
#[derive(Debug)]
pub(super) struct Counter {
    config: CounterConfig,
    total: Decimal,
    /// Since the counter was first started.
    pulses: u64,
    /// What is on disk, as far as is known.
    on_disk: Decimal,
    disk: Disk,
    /// When the last write was begun.
    written: Option<Mono>,
    pace: Pace,
    /// The next reading says that the total began anew.
    reset: bool,
    /// The next reading says that changes were lost.
    overrun: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Disk {
    Idle,
    /// This total is being written.
    Writing(Decimal),
    /// Why nothing can be kept.
    Failing(String),
}

impl Counter {
    /// A counter that goes on from what was found.
    pub(super) fn new(config: CounterConfig, found: &Found) -> Self {
        let mut counter = Self {
            config,
            total: Decimal::ZERO,
            pulses: 0,
            on_disk: Decimal::ZERO,
            disk: Disk::Idle,
            written: None,
            pace: Pace::default(),
            reset: false,
            overrun: false,
        };
        match found {
            Found::Nothing => {}
            Found::Kept(bytes) => match decode(bytes) {
                Some((total, pulses)) => {
                    (counter.total, counter.pulses, counter.on_disk) = (total, pulses, total);
                }
                None => counter.reset = true,
            },
            // It counts from 0 again, and says so.
            Found::Damaged => counter.reset = true,
            Found::Unavailable(error) => {
                counter.disk = Disk::Failing(error.clone());
                counter.reset = true;
            }
        }
        counter
    }

    /// A pulse came, and so many before it were lost that the backend knows of.
    pub(super) fn pulse(&mut self, at: Mono, lost: u64) {
        let pulses = lost.saturating_add(1);
        self.overrun |= lost > 0;
        self.pulses = self.pulses.saturating_add(pulses);
        let more = Decimal::from(pulses).checked_mul(self.config.per_pulse);
        // A total of 28 digits stays where it is.
        self.total = more.and_then(|more| self.total.checked_add(more)).unwrap_or(self.total);
        self.pace.add(at, pulses);
    }

    /// Changes were lost, nobody knows how many pulses.
    pub(super) fn lose(&mut self) {
        self.overrun = true;
    }

    /// Sets the total to what the meter shows; it is told once it is on disk.
    pub(super) fn set_total(&mut self, total: Decimal) {
        self.reset |= total < self.total.max(self.on_disk);
        self.total = total;
        self.written = None;
    }

    pub(super) const fn takes(&self, active: bool) -> bool {
        self.config.edge.takes(active)
    }

    /// What must be written now, if anything; one write at a time.
    pub(super) fn write(&mut self, now: Mono, at_once: bool) -> Option<Vec<u8>> {
        let is_due = at_once || self.deadline().is_some_and(|due| due <= now);
        if !is_due || self.total == self.on_disk || matches!(self.disk, Disk::Writing(_)) {
            return None;
        }
        self.written = Some(now);
        self.disk = Disk::Writing(self.total);
        Some(encode(self.total, self.pulses))
    }

    /// When a write is due.
    pub(super) fn deadline(&self) -> Option<Mono> {
        if self.total == self.on_disk || matches!(self.disk, Disk::Writing(_)) {
            return None;
        }
        Some(self.written.map_or(Mono::ZERO, |written| written + self.config.persist_every))
    }

    /// The disk has answered. True if what is told of the total has changed by that.
    pub(super) fn wrote(&mut self, result: Result<(), String>) -> bool {
        let Disk::Writing(total) = std::mem::replace(&mut self.disk, Disk::Idle) else { return false };
        match result {
            Ok(()) => {
                self.on_disk = total;
                true
            }
            Err(error) => {
                self.disk = Disk::Failing(error);
                true
            }
        }
    }

    /// Whether the next reading says that the total began anew.
    pub(super) const fn is_reset(&self) -> bool {
        self.reset
    }

    pub(super) const fn is_writing(&self) -> bool {
        matches!(self.disk, Disk::Writing(_))
    }

    /// Why the total can't be kept.
    pub(super) fn error(&self) -> Option<&str> {
        match &self.disk {
            Disk::Failing(error) => Some(error),
            Disk::Idle | Disk::Writing(_) => None,
        }
    }

    /// What a reading says now: `total`, `rate`, and `reset` where the total is smaller than before.
    pub(super) fn samples(&mut self, now: Mono) -> Vec<Sample> {
        let quality = if std::mem::take(&mut self.overrun) { Quality::Overrun } else { Quality::Good };
        let told = if self.error().is_some() { self.total } else { self.on_disk };
        let per = self.config.rate_per.as_secs_f64() * self.config.per_pulse.to_f64().unwrap_or(0.0);
        let rate = self.pace.read(now, self.config.timeout) * per;
        let sample = |point: &str, value| Sample { point: point.into(), value: Some(value), quality };
        let mut samples =
            vec![sample("total", Value::Number(decimal(told))), sample("rate", Value::Number(rounded(rate)))];
        // Only with the total that is smaller, which may still be on its way to the disk.
        if self.reset && told == self.total {
            self.reset = false;
            samples.push(sample("reset", Value::Bool(true)));
        }
        samples
    }

    /// The total in memory, and the pulses since the counter was first started.
    pub(super) fn live(&self) -> (f64, u64) {
        (decimal(self.total), self.pulses)
    }

    /// How often the total goes to disk.
    pub(super) const fn persist_every(&self) -> Duration {
        self.config.persist_every
    }
}

/// A rate to nine digits: more would be noise of the clock.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.8e}").parse().unwrap_or(rate)
}

fn encode(total: Decimal, pulses: u64) -> Vec<u8> {
    [&[VERSION][..], &total.serialize(), &pulses.to_be_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<(Decimal, u64)> {
    let (version, rest) = bytes.split_first()?;
    let (total, rest) = rest.split_first_chunk::<16>()?;
    let (pulses, rest) = rest.split_first_chunk::<8>()?;
    (*version == VERSION && rest.is_empty())
        .then(|| (Decimal::deserialize(*total), u64::from_be_bytes(*pulses)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpio::config::EdgeKind;

    fn config(per_pulse: &str) -> CounterConfig {
        CounterConfig {
            edge: EdgeKind::Rising,
            per_pulse: per_pulse.parse().unwrap(),
            rate_per: Duration::from_secs(3_600),
            timeout: Duration::from_secs(300),
            persist_every: Duration::from_secs(60),
        }
    }

    fn s(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    fn told(counter: &mut Counter, now: Mono) -> (f64, f64, Quality, bool) {
        let samples = counter.samples(now);
        let number = |at: usize| match samples[at].value {
            Some(Value::Number(number)) => number,
            _ => panic!("no number"),
        };
        (number(0), number(1), samples[0].quality, samples.len() == 3)
    }

    #[test]
    fn pulses_add_up_exactly_and_are_told_once_they_are_on_disk() {
        let mut counter = Counter::new(config("0.1"), &Found::Nothing);
        counter.pulse(s(10), 0);
        let bytes = counter.write(s(10), false).expect("the first pulse is written at once");
        assert_eq!(told(&mut counter, s(10)), (0.0, 0.0, Quality::Good, false));
        assert!(counter.wrote(Ok(())));
        assert_eq!(told(&mut counter, s(10)).0, 0.1);
        counter.pulse(s(20), 0);
        counter.pulse(s(30), 0);
        assert_eq!((counter.write(s(69), false), counter.deadline()), (None, Some(s(70))));
        // 0.1 per 10 s is 36 per hour; the total waits for the disk.
        assert_eq!(told(&mut counter, s(30)), (0.1, 36.0, Quality::Good, false));
        assert!(counter.write(s(70), false).is_some());
        assert_eq!(counter.write(s(70), true), None, "one write at a time");
        assert!(counter.wrote(Ok(())));
        assert_eq!(told(&mut counter, s(70)).0, 0.3, "exactly, and not 0.30000000000000004");
        assert_eq!(counter.live(), (0.3, 3));
        // After a power cut it goes on from what was written before.
        assert_eq!(Counter::new(config("0.1"), &Found::Kept(bytes)).live(), (0.1, 1));
    }

    #[test]
    fn lost_pulses_are_counted_and_told() {
        let mut counter = Counter::new(config("1"), &Found::Nothing);
        counter.pulse(s(1), 0);
        counter.pulse(s(2), 3);
        assert_eq!(counter.live(), (5.0, 5));
        counter.write(s(2), true).unwrap();
        counter.wrote(Ok(()));
        assert_eq!(told(&mut counter, s(2)), (5.0, 4.0 * 3_600.0, Quality::Overrun, false));
        assert_eq!(told(&mut counter, s(2)).2, Quality::Good, "once");
        counter.lose();
        assert_eq!(told(&mut counter, s(2)).2, Quality::Overrun);
    }

    #[test]
    fn a_total_that_is_set_lower_says_so_once_it_is_told() {
        let mut counter = Counter::new(config("1"), &Found::Nothing);
        counter.set_total("100.5".parse().unwrap());
        counter.write(s(0), false).expect("at once");
        counter.wrote(Ok(()));
        assert_eq!(told(&mut counter, s(0)), (100.5, 0.0, Quality::Good, false));
        counter.set_total("7".parse().unwrap());
        assert_eq!(told(&mut counter, s(1)), (100.5, 0.0, Quality::Good, false), "not on disk yet");
        counter.write(s(1), false).expect("at once");
        counter.wrote(Ok(()));
        assert_eq!(told(&mut counter, s(1)), (7.0, 0.0, Quality::Good, true));
        assert_eq!(told(&mut counter, s(2)), (7.0, 0.0, Quality::Good, false));
    }

    #[test]
    fn a_disk_that_refuses_stops_no_counter_and_is_tried_again() {
        let mut counter = Counter::new(config("1"), &Found::Nothing);
        counter.pulse(s(1), 0);
        counter.write(s(1), false).unwrap();
        assert!(counter.wrote(Err("no space left".into())));
        assert_eq!(counter.error(), Some("no space left"));
        assert_eq!(told(&mut counter, s(1)).0, 1.0, "from memory");
        assert_eq!(counter.write(s(60), false), None);
        assert!(counter.write(s(61), false).is_some());
        counter.wrote(Ok(()));
        assert_eq!(told(&mut counter, s(61)).0, 1.0);
        assert_eq!(counter.error(), None);
    }

    #[test]
    fn what_is_damaged_begins_anew_and_says_so() {
        for found in [Found::Damaged, Found::Kept(vec![1, 2, 3]), Found::Kept(vec![9; 25])] {
            let mut counter = Counter::new(config("1"), &found);
            assert_eq!(told(&mut counter, s(0)), (0.0, 0.0, Quality::Good, true), "{found:?}");
        }
        let mut counter = Counter::new(config("1"), &Found::Unavailable("read-only".into()));
        counter.pulse(s(1), 0);
        assert_eq!(told(&mut counter, s(1)), (1.0, 0.0, Quality::Good, true));
        assert_eq!(counter.error(), Some("read-only"));
    }

    /// Pulses, writes that fail or take long, kills at any moment: what was told never shrinks, and what is lost is no
    /// more than came since the last write was due.
    #[test]
    fn whatever_happens_a_total_that_was_told_is_never_taken_back() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut disk: Option<Vec<u8>> = None;
            let mut counter = Counter::new(config("0.001"), &Found::Nothing);
            let (mut now, mut last_told, mut writing) = (0, 0.0, None);
            let (mut since_write, mut pulses) = (0_u64, 0_u64);
            for _ in 0..400 {
                now += random.u64(0..20);
                match random.u8(0..10) {
                    0 if random.u8(0..4) == 0 => {
                        // Killed: what is being written is there or isn't.
                        if random.bool() {
                            disk = writing.take().or(disk);
                        }
                        writing = None;
                        let found = disk.clone().map_or(Found::Nothing, Found::Kept);
                        counter = Counter::new(config("0.001"), &found);
                        let missing = pulses - counter.live().1;
                        assert!(missing <= since_write, "seed {seed}: {missing} of {since_write}");
                        pulses = counter.live().1;
                        since_write = 0;
                    }
                    1..=6 => {
                        counter.pulse(s(now), 0);
                        pulses += 1;
                        since_write += 1;
                    }
                    7 if writing.is_some() => {
                        disk = writing.take();
                        counter.wrote(Ok(()));
                    }
                    _ => {}
                }
                if let Some(bytes) = counter.write(s(now), false) {
                    assert_eq!(writing.replace(bytes), None);
                    since_write = since_write.min(60);
                }
                let (total, ..) = told(&mut counter, s(now));
                assert!(total >= last_told, "seed {seed}: {total} after {last_told}");
                last_told = total;
            }
        }
    }
}
