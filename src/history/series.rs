//! One point's last values and buckets. Values are kept as distances from the first one, in single precision: a curve is
//! exact to a ten-millionth of its range, also that of a meter at 123456.789 kWh.

use std::collections::VecDeque;

use crate::time::Mono;

/// Last values of a point: a sparkline's width.
const LAST_MAX: usize = 60;

/// Five minutes of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the usual names")]
pub struct Bucket {
    pub min: f64,
    pub mean: f64,
    pub max: f64,
    pub last: f64,
    /// Values in it.
    pub count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Packed {
    slot: u32,
    count: u32,
    min: f32,
    mean: f32,
    max: f32,
    last: f32,
}

#[derive(Debug)]
pub(super) struct Series {
    origin: f64,
    last: VecDeque<(Mono, f32)>,
    buckets: VecDeque<Packed>,
}

impl Series {
    /// Bytes of one without buckets: its name, its places in the map, its last values.
    pub(super) const BYTES: usize = 256 + (LAST_MAX + 1) * size_of::<(Mono, f32)>();

    pub(super) const fn new(origin: f64) -> Self {
        Self { origin, last: VecDeque::new(), buckets: VecDeque::new() }
    }

    /// What the buckets take.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Packed>()
    }

    pub(super) fn add(&mut self, at: Mono, slot: u32, number: f64) {
        let distance = self.distance(number);
        if self.last.len() >= LAST_MAX {
            self.last.pop_front();
        }
        self.last.push_back((at, distance));
        match self.buckets.back_mut() {
            // A reading may be older than the one before it: it counts where the series is.
            Some(bucket) if bucket.slot >= slot => bucket.add(distance),
            _ => {
                // By a few at a time: doubling would cost every point half a day that isn't there.
                if self.buckets.len() == self.buckets.capacity() {
                    self.buckets.reserve_exact(12);
                }
                let (min, mean, max) = (distance, distance, distance);
                self.buckets.push_back(Packed { slot, count: 1, min, mean, max, last: distance });
            }
        }
    }

    /// Gives up the buckets before `first`.
    pub(super) fn shorten(&mut self, first: u32) {
        while self.buckets.front().is_some_and(|bucket| bucket.slot < first) {
            self.buckets.pop_front();
        }
        if self.buckets.capacity() > self.buckets.len() + 24 {
            self.buckets.shrink_to(self.buckets.len() + 12);
        }
    }

    pub(super) fn last_at(&self) -> Mono {
        self.last.back().map_or(Mono::ZERO, |(at, _)| *at)
    }

    pub(super) fn last(&self) -> impl Iterator<Item = (Mono, f64)> {
        self.last.iter().map(|(at, distance)| (*at, self.value(*distance)))
    }

    pub(super) fn buckets(&self) -> impl Iterator<Item = (u32, Bucket)> {
        self.buckets.iter().map(|packed| {
            let value = |distance| self.value(distance);
            let Packed { slot, count, min, mean, max, last } = *packed;
            let bucket =
                Bucket { min: value(min), mean: value(mean), max: value(max), last: value(last), count };
            (slot, bucket)
        })
    }

    #[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "single precision is meant")]
    fn distance(&self, number: f64) -> f32 {
        (number - self.origin) as f32
    }

    /// Rounded to the seven digits that a distance has, so that 0.1 comes back as 0.1.
    fn value(&self, distance: f32) -> f64 {
        if distance == 0.0 || !distance.is_finite() {
            return self.origin;
        }
        let distance = f64::from(distance);
        let value = self.origin + distance;
        let digits =
            (6.0 - distance.abs().log10().floor()).min(14.0 - value.abs().max(1e-300).log10().floor());
        let unit = 10_f64.powf(digits.clamp(-300.0, 300.0));
        (value * unit).round() / unit
    }
}

impl Packed {
    fn add(&mut self, distance: f32) {
        self.count = self.count.saturating_add(1);
        self.min = self.min.min(distance);
        self.max = self.max.max(distance);
        self.last = distance;
        #[expect(
            clippy::as_conversions,
            clippy::cast_possible_truncation,
            reason = "single precision is meant"
        )]
        let mean = (f64::from(self.mean)
            + (f64::from(distance) - f64::from(self.mean)) / f64::from(self.count)) as f32;
        self.mean = mean;
    }
}
