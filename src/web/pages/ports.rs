//! Ports: what is plugged in and who uses it, how each line does, who takes the air time of a bus, and the GPIO lines.

use std::time::Duration;

use askama::Template;
use serde_json::Value as Json;

use super::sensors::value;
use super::status::{bytes, list, text};
use super::upstreams::number;
use super::{Frame, in_address, rendered};
use crate::health::span;
use crate::io::operations::{Operation, Request};
use crate::unit;
use crate::web::call::Call;
use crate::web::chart;
use crate::web::reply::{Refusal, Reply};
use crate::web::texts::Catalogue;

/// Bars of a bus that are drawn; the table has all devices.
const BARS_MAX: usize = 12;

#[derive(Template)]
#[template(path = "ports.html", config = "src/web/askama.toml")]
struct Ports {
    frame: Frame,
    may_switch: bool,
    ports: Vec<Port>,
    adapters: Vec<Adapter>,
    lines: Vec<Line>,
}

struct Port {
    name: String,
    link: String,
    path: String,
    word: String,
    is_good: bool,
    since: String,
    error: String,
    bytes: String,
    bad_lines: u64,
    lost: u64,
    bus: Option<Bus>,
}

/// The bus doctor's findings.
pub(super) struct Bus {
    pub(super) load: u64,
    pub(super) foreign: u64,
    pub(super) air: String,
    pub(super) devices: Vec<Device>,
}

/// How a device of a bus answers.
pub(super) struct Device {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) link: String,
    pub(super) is_offline: bool,
    pub(super) latency: String,
    pub(super) longest: String,
    pub(super) requests: u64,
    pub(super) timeouts: u64,
    pub(super) damaged: u64,
    pub(super) share: String,
    pub(super) error: String,
}

struct Adapter {
    path: String,
    link: String,
    about: String,
    users: String,
    config: String,
}

struct Line {
    name: String,
    link: String,
    place: String,
    mode: String,
    value: String,
    count: String,
    error: String,
    is_output: bool,
    is_counter: bool,
}

pub(in crate::web) async fn page(call: Call) -> Result<Reply, Refusal> {
    let status = call.web.asker.ask(Request::new(Operation::Status)).await?;
    let plugged = call.web.asker.ask(Request::new(Operation::Plugged)).await?;
    let t = &call.texts;
    let frame = Frame::of(&call, "ports.title");
    let mut ports: Vec<Port> =
        list(&status, "ports").iter().map(|json| port(json, list(&status, "buses"), t)).collect();
    // What needs somebody first; otherwise as in the config.
    ports.sort_by_key(|port| port.is_good);
    let page = Ports {
        may_switch: frame.may("operator"),
        ports,
        adapters: plugged.as_array().into_iter().flatten().map(|json| adapter(json, t)).collect(),
        lines: list(&status, "gpio").iter().map(|json| line(json, list(&status, "readings"), t)).collect(),
        frame,
    };
    rendered(&call, &page)
}

fn port(json: &Json, buses: &[Json], t: &Catalogue) -> Port {
    let name = text(json, "name");
    let (word, is_good) = state(json, t);
    Port {
        word,
        is_good,
        link: in_address(&name),
        path: text(json, "path"),
        since: text(json, "since"),
        error: text(json, "error"),
        bytes: bytes(Some(number(json, "/bytes"))),
        bad_lines: number(json, "/bad_lines"),
        lost: number(json, "/lost"),
        bus: buses.iter().find(|bus| text(bus, "port") == name).map(|json| bus(json, t)),
        name,
    }
}

/// How a port does, in a word, and whether that is well.
pub(super) fn state(json: &Json, t: &Catalogue) -> (String, bool) {
    let state = text(json, "state");
    let word = match state.as_str() {
        "open" => t.say("ports.open"),
        "opening" => t.say("ports.opening"),
        "borrowed" => t.say("ports.borrowed"),
        _ => t.say("ports.down"),
    };
    (word.to_owned(), state != "down")
}

pub(super) fn bus(json: &Json, t: &Catalogue) -> Bus {
    let slaves = list(json, "devices");
    let air = |slave: &Json| slave.get("air_time_s").and_then(Json::as_f64).unwrap_or_default();
    let all: f64 = slaves.iter().map(air).sum();
    let share = |slave: &Json| if all > 0.0 { air(slave) / all * 100.0 } else { 0.0 };
    let mut most: Vec<(String, f64)> =
        slaves.iter().map(|slave| (text(slave, "name"), share(slave))).collect();
    most.sort_by(|one, other| other.1.total_cmp(&one.1));
    let bars: Vec<(&str, f64)> =
        most.iter().take(BARS_MAX).map(|(name, share)| (name.as_str(), *share)).collect();
    Bus {
        load: number(json, "/load_percent"),
        foreign: number(json, "/foreign_bytes"),
        air: chart::bars(&bars, t.say("ports.air_time")),
        devices: slaves.iter().map(|slave| device(slave, share(slave))).collect(),
    }
}

fn device(json: &Json, share: f64) -> Device {
    let ms =
        |key: &str| json.get(key).and_then(Json::as_f64).map_or("–".to_owned(), |ms| format!("{ms:.0} ms"));
    let name = text(json, "name");
    Device {
        address: json.get("unit_id").and_then(Json::as_u64).map(|id| id.to_string()).unwrap_or_default(),
        link: in_address(&name),
        is_offline: json.get("offline").and_then(Json::as_bool).unwrap_or_default(),
        latency: ms("latency_p50_ms"),
        longest: ms("latency_max_ms"),
        requests: number(json, "/requests"),
        timeouts: number(json, "/timeouts"),
        damaged: number(json, "/crc_errors"),
        share: format!("{share:.0} %"),
        error: text(json, "last_error"),
        name,
    }
}

fn adapter(json: &Json, t: &Catalogue) -> Adapter {
    let words = ["maker", "product", "serial", "vid_pid", "driver"].map(|key| text(json, key));
    let users: Vec<&str> = list(json, "used_by").iter().filter_map(Json::as_str).collect();
    let path = text(json, "path");
    Adapter {
        link: in_address(&path),
        path,
        about: words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", "),
        users: if users.is_empty() {
            String::new()
        } else {
            t.fill("ports.used_by", &[("names", &users.join(", "))])
        },
        config: text(json, "config"),
    }
}

fn line(json: &Json, readings: &[Json], t: &Catalogue) -> Line {
    let name = text(json, "name");
    let mode = text(json, "mode");
    let reading = readings.iter().find(|reading| text(reading, "device") == name);
    let values = reading.and_then(|reading| reading.get("values")).and_then(Json::as_object);
    let symbol = |key: &str| {
        let unit = text(json, key);
        unit::known(&unit).map_or(unit, |known| known.symbol.to_owned())
    };
    let (unit, rate_unit) = (symbol("unit"), symbol("rate_unit"));
    let shown = |point: &String, one: &Json| match one {
        Json::Bool(true) => format!("{point}: {}", t.say("ports.on")),
        Json::Bool(false) => format!("{point}: {}", t.say("ports.off")),
        other => {
            let unit = if point == "rate" { &rate_unit } else { &unit };
            format!("{point}: {} {unit}", value(Some(other))).trim_end().to_owned()
        }
    };
    let values: Vec<String> = values.into_iter().flatten().map(|(point, one)| shown(point, one)).collect();
    let age = json.get("last_reading_s").and_then(Json::as_f64);
    let age = age.map(|age| span(Duration::from_secs_f64(age.clamp(0.0, 1e9)))).unwrap_or_default();
    Line {
        link: in_address(&name),
        place: text(json, "line"),
        mode: match mode.as_str() {
            "input" => t.say("ports.input"),
            "output" => t.say("ports.output"),
            "counter" => t.say("ports.counter"),
            other => other,
        }
        .to_owned(),
        value: if age.is_empty() { values.join(", ") } else { format!("{} ({age})", values.join(", ")) },
        count: t.fill(
            "ports.edges",
            &[
                ("count", &number(json, "/edges").to_string()),
                ("lost", &number(json, "/lost_edges").to_string()),
            ],
        ),
        error: text(json, "error"),
        is_output: mode == "output",
        is_counter: mode == "counter",
        name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::texts::Texts;

    #[test]
    fn a_rate_is_told_by_its_time_and_a_total_is_not() {
        let texts = Texts::load(std::path::Path::new("/nonexistent"));
        let told = line(
            &json!({"name": "gas", "mode": "counter", "unit": "m3", "rate_unit": "m3/h"}),
            &[json!({"device": "gas", "values": {"rate": 2.5, "total": 12}})],
            &texts.liked("en"),
        );
        assert_eq!(told.value, "rate: 2.5 m³/h, total: 12 m³");
    }

    #[test]
    fn the_bus_doctor_tells_whose_the_air_time_is() {
        let texts = Texts::load(std::path::Path::new("/nonexistent"));
        let slave = |name: &str, air: f64| json!({"name": name, "air_time_s": air, "timeouts": 3, "latency_p50_ms": 12.4});
        let told = bus(
            &json!({"load_percent": 40, "devices": [slave("a", 1.0), slave("b", 3.0)]}),
            &texts.liked("en"),
        );
        assert_eq!(
            (told.load, told.devices[0].share.as_str(), told.devices[1].share.as_str()),
            (40, "25 %", "75 %")
        );
        assert_eq!((told.devices[0].timeouts, told.devices[0].latency.as_str()), (3, "12 ms"));
        assert!(told.air.find(">b<") < told.air.find(">a<"), "the largest first: {}", told.air);
        assert_eq!(bus(&json!({}), &texts.liked("en")).air, "");
    }
}
