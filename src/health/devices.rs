//! The state of ports and devices, and a device's last values.

use serde_json::{Map, Value as Json, json};

use super::{Snapshot, lines};
use crate::reading::{Reading, Value};
use crate::sensor::{DeviceStatus, PortState, PortStatus};

impl Snapshot {
    /// The last reading of each device.
    #[must_use]
    pub fn readings(&self) -> Json {
        self.devices()
            .map(|device| {
                json!({
                    "device": &*device.name,
                    "port": &*device.port,
                    "stale": device.stale,
                    "readings": device.readings,
                    "age_s": device.last_age.map(|age| age.as_secs_f64()),
                    "seq": device.last.as_ref().map(|reading| reading.seq.to_string()),
                    "values": values(device.last.as_ref()),
                })
            })
            .chain(self.gpio.iter().map(lines::reading_json))
            .collect()
    }
}

/// The word for what a port is doing.
#[must_use]
pub const fn port_state(state: PortState) -> &'static str {
    match state {
        PortState::Opening => "opening",
        PortState::Open => "open",
        PortState::Down => "down",
        PortState::Lent => "borrowed",
    }
}

pub(super) fn port_json(port: &PortStatus) -> Json {
    json!({
        "name": &*port.name,
        "path": port.path,
        "state": port_state(port.state),
        "since": port.since.to_string(),
        "error": port.error,
        "bytes": port.bytes,
        "bad_lines": port.bad_lines,
        "lost": port.lost,
    })
}

pub(super) fn device_json(device: &DeviceStatus) -> Json {
    let state = match (device.stale, device.waiting) {
        (false, _) => "ok",
        (true, true) => "waiting",
        (true, false) => "stale",
    };
    json!({
        "name": &*device.name,
        "port": &*device.port,
        "state": state,
        "readings": device.readings,
        "last_reading_s": device.last_age.map(|age| age.as_secs_f64()),
        "bad_lines": device.bad_lines,
        "last_error": device.last_error,
    })
}

/// The values of a reading by their points; none where there is no reading.
pub(super) fn values(last: Option<&Reading>) -> Map<String, Json> {
    let samples = last.iter().flat_map(|reading| &reading.samples);
    samples.map(|sample| (sample.point.to_string(), value_json(sample.value.as_ref()))).collect()
}

pub(crate) fn value_json(value: Option<&Value>) -> Json {
    match value {
        None => Json::Null,
        // As the payload prints it: 61 rather than 61.0.
        Some(Value::Number(number)) => number.to_string().parse().unwrap_or(Json::Null),
        Some(Value::Integer(number)) => json!(number),
        Some(Value::Bool(state)) => json!(state),
        Some(Value::Text(text)) => json!(text),
    }
}
