//! All readings of a window to one. The windows follow each other without gaps from the first reading on, so the pace
//! doesn't drift; a window without readings gives none.

use std::sync::Arc;
use std::time::Duration;

use super::change::number;
use super::{SUFFIXES, Statistic};
use crate::reading::{Quality, Reading, Sample, Value};
use crate::time::Mono;

#[derive(Debug)]
pub(super) struct Window {
    config: Option<(Duration, Statistic)>,
    /// The end of the window that is open, or of the last one.
    end: Option<Mono>,
    /// The last reading of the window that is open.
    last: Option<Reading>,
    points: Vec<Point>,
}

/// A point within a window.
#[derive(Debug)]
struct Point {
    last: Sample,
    count: f64,
    mean: f64,
    /// Whole values, so that they keep every digit.
    min: Option<Sample>,
    max: Option<Sample>,
    /// `x_mean`, `x_min`, `x_max`; made once.
    names: [Arc<str>; 3],
}

impl Window {
    pub(super) const fn new(config: Option<(Duration, Statistic)>) -> Self {
        Self { config, end: None, last: None, points: Vec::new() }
    }

    /// Puts a reading into the window; without windows it comes back at once.
    pub(super) fn take(&mut self, now: Mono, reading: Reading) -> Option<Reading> {
        let Some((span, _)) = self.config else { return Some(reading) };
        if self.last.is_none() {
            self.end = Some(match self.end {
                Some(end) if now >= end => end + periods(now.since(end), span) + span,
                Some(end) => end,
                None => now + span,
            });
        }
        for sample in &reading.samples {
            match self.points.iter_mut().find(|point| point.last.point == sample.point) {
                Some(point) => point.add(sample),
                None => self.points.push(Point::new(sample)),
            }
        }
        self.last = Some(reading);
        None
    }

    /// What a window gives that is over.
    pub(super) fn tick(&mut self, now: Mono) -> Option<Reading> {
        if self.deadline()? <= now { self.flush() } else { None }
    }

    /// What the window gives so far.
    pub(super) fn flush(&mut self) -> Option<Reading> {
        let (_, statistic) = self.config?;
        let last = self.last.take()?;
        let samples = self.points.drain(..).flat_map(|point| point.samples(statistic)).collect();
        Some(Reading { samples, ..last })
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.last.as_ref().and(self.end)
    }
}

/// The whole periods within a time.
fn periods(time: Duration, span: Duration) -> Duration {
    let (time, span) = (time.as_nanos(), span.as_nanos());
    let whole = time.checked_div(span).unwrap_or_default().saturating_mul(span);
    Duration::from_nanos(u64::try_from(whole).unwrap_or(u64::MAX))
}

impl Point {
    fn new(sample: &Sample) -> Self {
        let mut point = Self {
            last: sample.clone(),
            count: 0.0,
            mean: 0.0,
            min: None,
            max: None,
            names: SUFFIXES.map(|suffix| Arc::from(format!("{}{suffix}", sample.point))),
        };
        point.add(sample);
        point
    }

    fn add(&mut self, sample: &Sample) {
        self.last = sample.clone();
        let Some(value) = number(sample).filter(|_| sample.quality == Quality::Good) else { return };
        // Without a sum, which could grow beyond what a number holds.
        self.count += 1.0;
        self.mean += (value - self.mean) / self.count;
        let is_first_or =
            |held: &Option<Sample>, beyond: fn(f64, f64) -> bool| match held.as_ref().and_then(number) {
                Some(held) => beyond(value, held),
                None => true,
            };
        if is_first_or(&self.min, |value, held| value < held) {
            self.min = Some(sample.clone());
        }
        if is_first_or(&self.max, |value, held| value > held) {
            self.max = Some(sample.clone());
        }
    }

    fn samples(self, statistic: Statistic) -> Vec<Sample> {
        // A point that had no good number in the window is as it was last: a state, a word, or without value.
        let (Some(min), Some(max)) = (self.min, self.max) else { return vec![self.last] };
        let mean = Sample { value: Some(Value::Number(shortened(self.mean))), ..min.clone() };
        let [mean_name, min_name, max_name] = self.names;
        match statistic {
            Statistic::Last => vec![self.last],
            Statistic::Mean => vec![mean],
            Statistic::Min => vec![min],
            Statistic::Max => vec![max],
            Statistic::All => vec![
                self.last,
                Sample { point: mean_name, ..mean },
                Sample { point: min_name, ..min },
                Sample { point: max_name, ..max },
            ],
        }
    }
}

/// Without the digits that adding up has made: twelve say more than any sensor.
fn shortened(mean: f64) -> f64 {
    format!("{mean:.11e}").parse().unwrap_or(mean)
}
