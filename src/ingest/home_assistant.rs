//! Home Assistant's MQTT discovery: each point of a device is announced once, retained, on
//! `<prefix>/sensor/<gateway>_<device>/<point>/config`, so that it appears there by itself.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::Publishing;
use super::facts::{DeviceFacts, PointFacts, PointKind};
use crate::filter::FilterConfig;
use crate::payload::Format;
use crate::unit;

/// Who announces.
pub(super) struct Announcer<'a> {
    pub(super) prefix: &'a str,
    pub(super) gateway: &'a str,
    pub(super) base: &'a str,
}

/// What a unit is to Home Assistant: the SenML name, its device class (empty: none), its own name of the unit, and
/// whether the values are a meter's count, which only grows. From the table of sensor device classes in its developer
/// documentation.
const UNITS: &[(&str, &str, &str, bool)] = &[
    ("Cel", "temperature", "°C", false),
    ("K", "temperature", "K", false),
    ("[degF]", "temperature", "°F", false),
    ("%RH", "humidity", "%", false),
    ("%", "", "%", false),
    ("ppm", "", "ppm", false),
    ("ppb", "", "ppb", false),
    ("Pa", "pressure", "Pa", false),
    ("hPa", "pressure", "hPa", false),
    ("kPa", "pressure", "kPa", false),
    ("bar", "pressure", "bar", false),
    ("[psi]", "pressure", "psi", false),
    ("m", "distance", "m", false),
    ("mm", "distance", "mm", false),
    ("cm", "distance", "cm", false),
    ("km", "distance", "km", false),
    ("m3", "volume", "m³", true),
    ("l", "volume", "L", true),
    ("ml", "volume", "mL", true),
    ("m3/h", "volume_flow_rate", "m³/h", false),
    ("m3/s", "volume_flow_rate", "m³/s", false),
    ("l/min", "volume_flow_rate", "L/min", false),
    ("l/s", "volume_flow_rate", "L/s", false),
    ("l/h", "volume_flow_rate", "L/h", false),
    ("m/s", "speed", "m/s", false),
    ("km/h", "speed", "km/h", false),
    ("[kn_i]", "speed", "kn", false),
    ("mm/h", "precipitation_intensity", "mm/h", false),
    ("kg", "weight", "kg", false),
    ("g", "weight", "g", false),
    ("mg", "weight", "mg", false),
    ("s", "duration", "s", false),
    ("ms", "duration", "ms", false),
    ("min", "duration", "min", false),
    ("h", "duration", "h", false),
    ("Hz", "frequency", "Hz", false),
    ("V", "voltage", "V", false),
    ("mV", "voltage", "mV", false),
    ("A", "current", "A", false),
    ("mA", "current", "mA", false),
    ("W", "power", "W", false),
    ("mW", "power", "mW", false),
    ("kW", "power", "kW", false),
    ("MW", "power", "MW", false),
    ("VA", "apparent_power", "VA", false),
    ("kVA", "apparent_power", "kVA", false),
    ("var", "reactive_power", "var", false),
    ("kvar", "reactive_power", "kvar", false),
    ("Wh", "energy", "Wh", true),
    ("kWh", "energy", "kWh", true),
    ("MWh", "energy", "MWh", true),
    ("MJ", "energy", "MJ", true),
    ("GJ", "energy", "GJ", true),
    ("varh", "reactive_energy", "varh", true),
    ("kvarh", "reactive_energy", "kvarh", true),
    ("lx", "illuminance", "lx", false),
    ("W/m2", "irradiance", "W/m²", false),
    ("dB", "sound_pressure", "dB", false),
    ("dBm", "signal_strength", "dBm", false),
    ("uS/cm", "conductivity", "μS/cm", false),
    ("pH", "ph", "", false),
    ("B", "data_size", "B", false),
    ("KiB", "data_size", "KiB", false),
    ("MiB", "data_size", "MiB", false),
    ("bit/s", "data_rate", "bit/s", false),
];

impl Announcer<'_> {
    /// The announcements of a device: topic and payload. `None`: Home Assistant can't read the form of its readings.
    pub(super) fn announce(
        &self,
        facts: &DeviceFacts,
        publishing: &Publishing,
        data_topic: &str,
        points: &[PointFacts],
    ) -> Option<Vec<(String, Json)>> {
        let is_json = match publishing.form.format() {
            Format::Json => true,
            Format::Plain => false,
            Format::SenmlJson | Format::SenmlCbor | Format::Influx | Format::Template(_) => return None,
        };
        let announce = |point: &PointFacts| {
            let mut payload = self.sensor(facts, publishing, point);
            let topic =
                if publishing.split { format!("{data_topic}/{}", point.name) } else { data_topic.to_owned() };
            put(&mut payload, "state_topic", json!(topic));
            if is_json {
                put(&mut payload, "value_template", json!(json_template(&point.name)));
            }
            (self.topic(facts, point), payload)
        };
        Some(points.iter().map(announce).collect())
    }

    /// Whether an announcement is of this device.
    pub(super) fn is_of(&self, topic: &str, device: &str) -> bool {
        let node = self.node(device);
        ["sensor", "binary_sensor"].iter().any(|component| {
            topic
                .strip_prefix(&format!("{}/{component}/{node}/", self.prefix))
                .is_some_and(is_config_of_point)
        })
    }

    fn topic(&self, facts: &DeviceFacts, point: &PointFacts) -> String {
        let component = if is_binary(point) { "binary_sensor" } else { "sensor" };
        format!("{}/{component}/{}/{}/config", self.prefix, self.node(&facts.name), usable(&point.name))
    }

    fn node(&self, device: &str) -> String {
        format!("{}_{}", usable(self.gateway), usable(device))
    }

    /// What doesn't depend on the form of the readings.
    fn sensor(&self, facts: &DeviceFacts, publishing: &Publishing, point: &PointFacts) -> Json {
        let node = self.node(&facts.name);
        let mut device = json!({
            "identifiers": [node.clone()],
            "name": &*facts.name,
            "via_device": usable(self.gateway),
        });
        for (key, value) in [("manufacturer", &facts.maker), ("model", &facts.profile)] {
            if let Some(value) = value {
                put(&mut device, key, json!(value));
            }
        }
        let mut payload = json!({
            "name": &*point.name,
            "unique_id": format!("{node}_{}", usable(&point.name)),
            "availability_topic": format!("{}/status", self.base),
            "availability_template": "{{ value_json.state }}",
            "device": device,
            "origin": { "name": ORIGIN, "sw_version": env!("CARGO_PKG_VERSION") },
        });
        if let Some(span) = expire_after(facts, &publishing.filter, point) {
            // A whole second more: what comes exactly in time must not be late.
            put(&mut payload, "expire_after", json!(span.as_secs().saturating_add(1)));
        }
        if is_binary(point) {
            let is_json = *publishing.form.format() == Format::Json;
            // What a template makes of true is Python's word for it.
            let (on, off) = if is_json { ("True", "False") } else { ("true", "false") };
            put(&mut payload, "payload_on", json!(on));
            put(&mut payload, "payload_off", json!(off));
        } else {
            describe(&mut payload, point);
        }
        payload
    }
}

/// The origin that an announcement names.
const ORIGIN: &str = env!("CARGO_PKG_NAME");

/// `<point>/config`.
fn is_config_of_point(rest: &str) -> bool {
    rest.strip_suffix("/config").is_some_and(|point| !point.is_empty() && !point.contains('/'))
}

/// A point that this reading hasn't got leaves the state as it was: Home Assistant ignores an empty one.
fn json_template(point: &str) -> String {
    let name = json!(point).to_string();
    format!("{{% if {name} in value_json['values'] %}}{{{{ value_json['values'][{name}] }}}}{{% endif %}}")
}

fn is_binary(point: &PointFacts) -> bool {
    point.kind == Some(PointKind::Bool)
}

/// Unit, device class and state class of a number.
fn describe(payload: &mut Json, point: &PointFacts) {
    let is_number = point.kind.is_some_and(PointKind::is_number);
    let Some(name) = &point.unit else {
        if is_number {
            put(payload, "state_class", json!("measurement"));
        }
        return;
    };
    let Some((_, class, own, grows)) = UNITS.iter().find(|(known, ..)| **known == **name) else {
        let symbol = unit::known(name).map_or(&**name, |unit| unit.symbol);
        if !symbol.is_empty() {
            put(payload, "unit_of_measurement", json!(symbol));
        }
        put(payload, "state_class", json!("measurement"));
        return;
    };
    if !class.is_empty() {
        put(payload, "device_class", json!(class));
    }
    if !own.is_empty() {
        put(payload, "unit_of_measurement", json!(own));
    }
    put(payload, "state_class", json!(if *grows { "total_increasing" } else { "measurement" }));
}

/// Without a message for so long the value is not known any more. `None`: a value may stay for ever without a change, and
/// a device that goes stale says so.
fn expire_after(facts: &DeviceFacts, filter: &FilterConfig, point: &PointFacts) -> Option<Duration> {
    let stale_after = facts.stale_after?;
    if filter.on_change && filter.max_interval.is_none() {
        return None;
    }
    let window = filter.window.map(|(span, _)| span);
    let pace = filter.max_interval.max(filter.min_interval);
    let waits = [Some(stale_after), window, pace, point.every];
    Some(waits.into_iter().flatten().fold(Duration::ZERO, Duration::saturating_add))
}

/// Home Assistant takes letters, digits, `_` and `-` in these levels.
fn usable(word: &str) -> String {
    let mut out = String::new();
    for character in word.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, '_' | '-') {
            out.push(character);
        } else {
            out.push_str(&format!("_{:x}_", u32::from(character)));
        }
    }
    out
}

fn put(object: &mut Json, key: &str, value: Json) {
    if let Json::Object(fields) = object {
        fields.insert(key.to_owned(), value);
    }
}
