//! What is known of each sensor and its points, for people who look at one after the other.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Snapshot, device_json, value_json};
use crate::gpio;
use crate::reading::Reading;
use crate::sensor::bus::SlaveStatus;

/// A point's unit, by the names of device and point.
pub type UnitOf<'a> = &'a dyn Fn(&str, &str) -> Option<Arc<str>>;

impl Snapshot {
    /// The sensors, in the order of the config, GPIO lines behind the others; all, or the one of that name.
    #[must_use]
    pub fn sensors(&self, unit_of: UnitOf<'_>, wanted: Option<&str>) -> Vec<Json> {
        let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted == name);
        let devices = self.devices().filter(|device| is_wanted(&device.name)).map(|device| {
            let mut json = device_json(device);
            let slave = self.buses.iter().flat_map(|bus| &bus.slaves).find(|one| one.device == device.name);
            if let Json::Object(json) = &mut json {
                json.insert("points".into(), points(device.last.as_ref(), unit_of).into());
                json.insert("time".into(), time(device.last.as_ref()));
                json.insert("poll".into(), slave.map_or(Json::Null, poll));
            }
            json
        });
        let lines =
            self.gpio.iter().filter(|line| is_wanted(&line.name)).map(|line| line_json(line, unit_of));
        devices.chain(lines).collect()
    }
}

fn time(last: Option<&Reading>) -> Json {
    last.map_or(Json::Null, |reading| json!(reading.wall.to_string()))
}

fn points(last: Option<&Reading>, unit_of: UnitOf<'_>) -> Vec<Json> {
    let Some(reading) = last else { return Vec::new() };
    let point = |sample: &crate::reading::Sample| {
        json!({
            "point": &*sample.point,
            "value": value_json(sample.value.as_ref()),
            "unit": unit_of(&reading.device, &sample.point).as_deref(),
            "quality": sample.quality.as_str(),
        })
    };
    reading.samples.iter().map(point).collect()
}

/// How a polled device is asked, and how it answers.
fn poll(slave: &SlaveStatus) -> Json {
    let ms = |span: Option<Duration>| span.map(|span| span.as_secs_f64() * 1_000.0);
    json!({
        "every_s": slave.every.as_secs_f64(),
        "next_in_s": slave.next_in.as_secs_f64(),
        "offline": slave.offline,
        "requests": slave.requests,
        "timeouts": slave.timeouts,
        "crc_errors": slave.crc_errors,
        "exceptions": slave.exceptions,
        "latency_p50_ms": ms(slave.latency_p50),
        "latency_max_ms": ms(slave.latency_max),
    })
}

fn line_json(line: &gpio::Status, unit_of: UnitOf<'_>) -> Json {
    let own = |device: &str, point: &str| unit_of(device, point).or_else(|| line.unit_of(point));
    json!({
        "name": &*line.name,
        "port": line.line,
        "state": if line.open { "ok" } else { "stale" },
        "readings": line.readings,
        "last_reading_s": line.last_age.map(|age| age.as_secs_f64()),
        "bad_lines": line.lost_edges,
        "last_error": line.error,
        "points": points(line.last.as_ref(), &own),
        "time": time(line.last.as_ref()),
        "poll": null,
    })
}
