//! What each point was like lately, in memory: its last values, and for a day minimum, mean, maximum and last value of each
//! five minutes. For charts; nothing here is safe from a restart. By the monotonic clock, so that a clock that is set
//! while the gateway runs moves nothing.

mod series;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::reading::{Reading, Value};
use crate::time::{Mono, Now};

pub use series::Bucket;
use series::Series;

/// The span of a bucket.
pub const BUCKET: Duration = Duration::from_secs(300);

/// Buckets of a point: a day.
const BUCKETS_MAX: u32 = 288;

/// What all series may take, in bytes. At the bound the oldest five minutes of all points go: the day gets shorter for
/// everybody, which `kept_s` of the answer tells.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Points with a history. Of a further one the point that has been silent for longest is forgotten, and counted.
const POINTS_MAX: usize = 2_000;

/// Of which point: device, point.
type Name = (Arc<str>, Arc<str>);

/// The series of all points.
#[derive(Debug)]
pub struct History {
    series: BTreeMap<Name, Series>,
    /// Buckets before this one are gone.
    first: u32,
    bytes: usize,
    bytes_max: usize,
    points_forgotten: u64,
}

impl Default for History {
    fn default() -> Self {
        Self::new(BYTES_MAX)
    }
}

impl History {
    /// An empty one that never takes more than about `bytes_max`.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { series: BTreeMap::new(), first: 0, bytes: 0, bytes_max, points_forgotten: 0 }
    }

    /// Takes the numbers of a reading; text has no curve.
    pub fn take(&mut self, reading: &Reading) {
        for sample in &reading.samples {
            let Some(number) = sample.value.as_ref().and_then(number) else { continue };
            self.add(&reading.device, &sample.point, reading.mono, number);
        }
    }

    /// Takes a number that is no reading's.
    pub fn note(&mut self, whose: &Arc<str>, what: &Arc<str>, at: Mono, number: f64) {
        if number.is_finite() {
            self.add(whose, what, at, number);
        }
    }

    fn add(&mut self, device: &Arc<str>, point: &Arc<str>, at: Mono, number: f64) {
        let slot = slot(at);
        let name = (device.clone(), point.clone());
        if !self.series.contains_key(&name) {
            if self.series.len() >= POINTS_MAX {
                self.forget_a_point();
            }
            self.bytes += Series::BYTES;
        }
        let series = self.series.entry(name).or_insert_with(|| Series::new(number));
        let before = series.bytes();
        series.add(at, slot, number);
        let gained = series.bytes().saturating_sub(before);
        self.bytes += gained;
        self.shorten(slot.saturating_sub(BUCKETS_MAX - 1).max(self.first));
        while self.bytes > self.bytes_max && self.first < slot {
            self.shorten(self.first + 1);
        }
    }

    /// Gives up the buckets before `first`.
    fn shorten(&mut self, first: u32) {
        if first <= self.first {
            return;
        }
        self.first = first;
        for series in self.series.values_mut() {
            let before = series.bytes();
            series.shorten(first);
            self.bytes -= before - series.bytes();
        }
    }

    fn forget_a_point(&mut self) {
        let silent =
            self.series.iter().min_by_key(|(_, series)| series.last_at()).map(|(name, _)| name.clone());
        if let Some(gone) = silent.and_then(|name| self.series.remove(&name)) {
            self.bytes -= Series::BYTES + gone.bytes();
            self.points_forgotten += 1;
        }
    }

    /// The buckets of a point, oldest first, with the age of each one's beginning.
    #[must_use]
    pub fn buckets(&self, now: Mono, device: &str, point: &str) -> Vec<(Duration, Bucket)> {
        let name = (Arc::from(device), Arc::from(point));
        let series = self.series.get(&name);
        series
            .map(|series| series.buckets().map(|(slot, bucket)| (age(now, slot), bucket)).collect())
            .unwrap_or_default()
    }

    /// The points that there are, of a device or of all: the last values, and, where one device is asked for, its
    /// buckets too. `None` where nothing is known of the device or the point.
    #[must_use]
    pub fn json(&self, now: Now, device: Option<&str>, point: Option<&str>) -> Option<Json> {
        let wanted = |(name, _): &(&Name, &Series)| {
            device.is_none_or(|device| *name.0 == *device) && point.is_none_or(|point| *name.1 == *point)
        };
        let points: Vec<Json> = self
            .series
            .iter()
            .filter(wanted)
            .map(|(name, series)| point_json(now.mono, name, series, device.is_some()))
            .collect();
        if points.is_empty() && device.is_some() {
            return None;
        }
        Some(self.told(now, points))
    }

    /// All points with their last values and their buckets: for a history that has few.
    #[must_use]
    pub fn json_with_buckets(&self, now: Now) -> Json {
        let all = self.series.iter().map(|(name, series)| point_json(now.mono, name, series, true));
        self.told(now, all.collect())
    }

    fn told(&self, now: Now, points: Vec<Json>) -> Json {
        json!({
            "time": now.wall.to_string(),
            "bucket_s": BUCKET.as_secs(),
            "kept_s": u64::from(slot(now.mono).saturating_sub(self.first).min(BUCKETS_MAX)) * BUCKET.as_secs(),
            "points_forgotten": self.points_forgotten,
            "points": points,
        })
    }
}

fn point_json(now: Mono, name: &Name, series: &Series, with_buckets: bool) -> Json {
    let last: Vec<Json> =
        series.last().map(|(at, value)| json!([now.since(at).as_secs_f64(), value])).collect();
    let mut json = json!({ "device": &*name.0, "point": &*name.1, "last": last });
    if let (true, Json::Object(object)) = (with_buckets, &mut json) {
        let bucket = |(slot, bucket): (u32, Bucket)| {
            json!({
                "age_s": age(now, slot).as_secs(),
                "min": bucket.min,
                "mean": bucket.mean,
                "max": bucket.max,
                "last": bucket.last,
                "count": bucket.count,
            })
        };
        object.insert("buckets".into(), series.buckets().map(bucket).collect());
    }
    json
}

/// A value as a point of a curve.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number).filter(|number| number.is_finite()),
        #[expect(clippy::as_conversions, reason = "a curve has no use for the digits beyond a double's")]
        Value::Integer(number) => Some(*number as f64),
        Value::Bool(state) => Some(if *state { 1.0 } else { 0.0 }),
        Value::Text(_) => None,
    }
}

/// The number of a bucket since the kernel started.
fn slot(at: Mono) -> u32 {
    u32::try_from(at.since(Mono::ZERO).as_secs() / BUCKET.as_secs()).unwrap_or(u32::MAX)
}

fn age(now: Mono, slot: u32) -> Duration {
    now.since(Mono::ZERO + BUCKET * slot)
}
