//! What of a device's readings is published: the change filter, the pace, and statistics over a window. Between
//! [`sensor`](crate::sensor) and [`ingest`](crate::ingest): readings in, readings out, numbered as they leave, so that
//! a receiver who misses a number has lost something.
//!
//! ```text
//! reading ─ window ─ change ─ pace ─ reading
//! ```
//!
//! Spans are measured on the monotonic clock: a step of the wall clock moves nothing.

mod change;
mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::reading::{Quality, Reading, Run, Sample, Seq};
use crate::time::{BootId, Mono, Now};
use window::Window;

pub use change::Deadband;

/// What is published of a device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterConfig {
    /// Only readings in which a value or its quality is another one. Default false.
    pub on_change: bool,
    /// How far a number must be from the one that was published, to be another one. Default: any difference.
    pub deadband: Option<Deadband>,
    /// The same for single points.
    pub deadbands: HashMap<Arc<str>, Deadband>,
    /// The shortest time between two readings; the newest of those that came meanwhile is sent when it is over.
    pub min_interval: Option<Duration>,
    /// With `on_change`: after this long a reading is published although nothing has changed.
    pub max_interval: Option<Duration>,
    /// One reading for all of a window. Default: each.
    pub window: Option<(Duration, Statistic)>,
    /// A device that goes stale publishes so, once. Default false here; the config's default is true.
    pub tell_stale: bool,
}

/// What becomes of the readings of a window. Numbers that are good take part; of other points the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// The last value.
    Last,
    /// The mean.
    Mean,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// All four: points `x`, the last, and `x_mean`, `x_min` and `x_max`.
    All,
}

/// What the points are called that [`Statistic::All`] adds.
pub const SUFFIXES: [&str; 3] = ["_mean", "_min", "_max"];

/// Points of a device that are remembered, at most: a device with `points = "*"` may send others each time. What comes
/// beyond them counts as changed. A name and a value each, some 100 bytes: 100 KB for a device.
const REMEMBERED_MAX: usize = 1_024;

/// One device's filter.
#[derive(Debug)]
pub struct Filter {
    config: FilterConfig,
    seq: Seq,
    window: Window,
    /// When the last one was published, and what each point was then.
    published: Option<Mono>,
    values: HashMap<Arc<str>, Sample>,
    /// The newest that came since, kept back.
    kept: Option<Reading>,
    /// The names of all points that are known.
    points: Vec<Arc<str>>,
    device: Arc<str>,
    boot: BootId,
    is_stale: bool,
}

impl Filter {
    /// `points` are those that are known before any reading comes.
    #[must_use]
    pub fn new(
        device: Arc<str>,
        config: FilterConfig,
        points: Vec<Arc<str>>,
        run: Run,
        boot: BootId,
    ) -> Self {
        Self {
            window: Window::new(config.window),
            config,
            seq: Seq { run, number: 0 },
            published: None,
            values: HashMap::new(),
            kept: None,
            points,
            device,
            boot,
            is_stale: false,
        }
    }

    /// The same, where so many were published before.
    #[must_use]
    pub const fn behind(mut self, published: u64) -> Self {
        self.seq.number = published;
        self
    }

    /// Takes a reading; what is published goes to `out`.
    pub fn take(&mut self, now: Mono, reading: Reading, out: &mut Vec<Reading>) {
        self.is_stale = false;
        self.tick(now, out);
        if let Some(reading) = self.window.take(now, reading) {
            self.pass(now, reading, out);
        }
    }

    /// Looks at the time.
    pub fn tick(&mut self, now: Mono, out: &mut Vec<Reading>) {
        if let Some(reading) = self.window.tick(now) {
            self.pass(now, reading, out);
        }
        let is_due = self.kept_deadline().is_some_and(|deadline| deadline <= now);
        if is_due && let Some(reading) = self.kept.take() {
            self.pass(now, reading, out);
        }
    }

    /// The device is stale. What was kept back goes first: it was measured.
    pub fn stale(&mut self, now: Now, out: &mut Vec<Reading>) {
        if std::mem::replace(&mut self.is_stale, true) {
            return;
        }
        self.flush(now.mono, out);
        if !self.config.tell_stale || self.points.is_empty() {
            return;
        }
        let nobody_knows =
            |point: &Arc<str>| Sample { point: point.clone(), value: None, quality: Quality::Stale };
        let reading = Reading {
            device: self.device.clone(),
            seq: Seq::default(),
            boot: self.boot,
            mono: now.mono,
            wall: now.wall,
            trust: now.trust,
            samples: self.points.iter().map(nobody_knows).collect(),
        };
        self.publish(now.mono, reading, out);
    }

    /// No more will come: a window is over, and what changed and was kept back for the pace goes.
    pub fn flush(&mut self, now: Mono, out: &mut Vec<Reading>) {
        let reading = match (self.kept.take(), self.window.flush()) {
            (Some(older), Some(newer)) => merge(older, newer),
            (Some(reading), None) | (None, Some(reading)) => reading,
            (None, None) => return,
        };
        if self.has_changed(&reading) {
            self.publish(now, reading, out);
        }
    }

    /// When [`Self::tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        self.window.deadline().into_iter().chain(self.kept_deadline()).min()
    }

    /// How many were published.
    #[must_use]
    pub const fn published(&self) -> u64 {
        self.seq.number
    }

    /// The names of all points that are known, in the order in which they became so.
    #[must_use]
    pub fn points(&self) -> &[Arc<str>] {
        &self.points
    }

    fn learn(&mut self, reading: &Reading) {
        for sample in &reading.samples {
            let is_known = self.points.contains(&sample.point);
            if !is_known && self.points.len() < REMEMBERED_MAX {
                self.points.push(sample.point.clone());
            }
        }
    }

    /// Publishes it, or keeps it back.
    fn pass(&mut self, now: Mono, reading: Reading, out: &mut Vec<Reading>) {
        let waits =
            |span: Option<Duration>| self.published.zip(span).is_some_and(|(last, span)| now < last + span);
        let too_early = waits(self.config.min_interval);
        let overdue = self.config.max_interval.is_some() && !waits(self.config.max_interval);
        if !too_early && (overdue || self.has_changed(&reading)) {
            let reading = match self.kept.take() {
                Some(older) => merge(older, reading),
                None => reading,
            };
            self.publish(now, reading, out);
        } else {
            self.keep(reading);
        }
    }

    fn has_changed(&self, reading: &Reading) -> bool {
        !self.config.on_change || reading.samples.iter().any(|sample| self.is_other(sample))
    }

    fn is_other(&self, sample: &Sample) -> bool {
        let deadband = self.config.deadbands.get(&sample.point).or(self.config.deadband.as_ref());
        match self.values.get(&sample.point) {
            Some(before) => change::is_other(before, sample, deadband),
            None => true,
        }
    }

    fn keep(&mut self, reading: Reading) {
        // Where no time is coming at which it would be sent, there is nothing to keep.
        let is_awaited = self.config.min_interval.is_some() || self.config.max_interval.is_some();
        if !is_awaited {
            return;
        }
        self.kept = Some(match self.kept.take() {
            Some(older) => merge(older, reading),
            None => reading,
        });
    }

    /// When what is kept back is looked at again: as soon as the pace allows it if it has changed, else when it is
    /// time for a sign of life.
    fn kept_deadline(&self) -> Option<Mono> {
        let (kept, last) = (self.kept.as_ref()?, self.published?);
        let pace = self.config.min_interval.filter(|_| self.has_changed(kept));
        let life = self.config.max_interval.map(|max| max.max(self.config.min_interval.unwrap_or_default()));
        [pace, life].into_iter().flatten().map(|span| last + span).min()
    }

    fn publish(&mut self, now: Mono, mut reading: Reading, out: &mut Vec<Reading>) {
        self.published = Some(now);
        self.learn(&reading);
        if self.config.on_change {
            for sample in &reading.samples {
                if self.values.len() < REMEMBERED_MAX || self.values.contains_key(&sample.point) {
                    self.values.insert(sample.point.clone(), sample.clone());
                }
            }
        }
        self.seq.number = self.seq.number.saturating_add(1);
        reading.seq = self.seq;
        out.push(reading);
    }
}

/// The newer one, with the points that only the older one has: a slow point doesn't take part in each reading.
fn merge(older: Reading, mut newer: Reading) -> Reading {
    for sample in older.samples {
        if newer.samples.iter().all(|known| known.point != sample.point) {
            newer.samples.push(sample);
        }
    }
    newer
}

#[cfg(test)]
mod tests;
