//! For machines that watch: alive, ready, and metrics as Prometheus reads them.

use std::fmt::Write;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::call::Call;
use super::reply::{Refusal, Reply, json_reply, typed};
use crate::io::lock::Locked;
use crate::io::operations::{Operation, Request};

/// Everybody may ask whether the gateway is ready, as often as he likes; the gateway itself is asked no more often.
const READY_FOR: Duration = Duration::from_secs(1);

pub(super) async fn alive(_: Call) -> Result<Reply, Refusal> {
    Ok(json_reply(&json!({"state": "alive"})))
}

/// Whether the service thread answers. Nothing of how it does: everybody may ask.
pub(super) async fn ready(call: Call) -> Result<Reply, Refusal> {
    let known = *call.web.readiness.locked();
    let is_kept = match known.filter(|(at, _)| at.elapsed() < READY_FOR) {
        Some((_, is_kept)) => is_kept,
        None => {
            let health = call.web.asker.ask(Request::new(Operation::Health)).await?;
            let is_kept = health.pointer("/store/state").and_then(Json::as_str) == Some("ok");
            *call.web.readiness.locked() = Some((Instant::now(), is_kept));
            is_kept
        }
    };
    let mut reply = json_reply(&json!({"state": if is_kept { "ready" } else { "not ready" }}));
    if !is_kept {
        *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(reply)
}

pub(super) async fn metrics(call: Call) -> Result<Reply, Refusal> {
    let status = call.web.asker.ask(Request::new(Operation::Status)).await?;
    let upstreams = call.web.asker.ask(Request::new(Operation::Maps)).await?;
    let mut text = text(&status);
    maps(&upstreams, &mut text);
    Ok(typed("text/plain; version=0.0.4; charset=utf-8", text))
}

/// Maps of one upstream that are told: a config may have thousands, and a collector has better things to keep.
const MAPS_MAX: usize = 64;

/// A family: name, type, meaning, and where its values are.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    of: Of,
}

/// Where values are in the status.
enum Of {
    /// One, at a pointer.
    One(&'static str),
    /// One for each entry of a list: the list, the name of the label, and the pointer inside of the entry.
    Each(&'static str, &'static str, &'static str),
    /// One for each counter of an object: the object and the name of the label.
    Counters(&'static str, &'static str),
}

const fn gauge(name: &'static str, help: &'static str, of: Of) -> Family {
    Family { name, kind: "gauge", help, of }
}

const fn counter(name: &'static str, help: &'static str, of: Of) -> Family {
    Family { name, kind: "counter", help, of }
}

const FAMILIES: &[Family] = &[
    gauge("fieldgate_uptime_seconds", "Since the start.", Of::One("/uptime_s")),
    gauge("fieldgate_resident_memory_bytes", "Resident memory.", Of::One("/rss_bytes")),
    gauge("fieldgate_disk_free_bytes", "Free where the store is.", Of::One("/disk_free_bytes")),
    counter("fieldgate_panics_total", "Faults of the program that were caught.", Of::One("/panics/total")),
    counter(
        "fieldgate_handover_dropped_total",
        "Readings dropped by overload.",
        Of::One("/drops/handover_full"),
    ),
    counter(
        "fieldgate_device_readings_total",
        "Readings taken.",
        Of::Each("/devices", "device", "/readings"),
    ),
    counter(
        "fieldgate_device_bad_lines_total",
        "What could not be read.",
        Of::Each("/devices", "device", "/bad_lines"),
    ),
    gauge(
        "fieldgate_device_age_seconds",
        "Since the last reading.",
        Of::Each("/devices", "device", "/last_reading_s"),
    ),
    counter("fieldgate_port_bytes_total", "Bytes that came in.", Of::Each("/ports", "port", "/bytes")),
    gauge(
        "fieldgate_backlog_messages",
        "Waiting for an upstream.",
        Of::Each("/upstreams", "upstream", "/backlog/messages"),
    ),
    gauge(
        "fieldgate_backlog_bytes",
        "Waiting for an upstream.",
        Of::Each("/upstreams", "upstream", "/backlog/bytes"),
    ),
    gauge(
        "fieldgate_backlog_oldest_seconds",
        "Age of the oldest that waits.",
        Of::Each("/upstreams", "upstream", "/backlog/oldest_s"),
    ),
    counter(
        "fieldgate_delivered_total",
        "Acknowledged by an upstream.",
        Of::Each("/upstreams", "upstream", "/delivered"),
    ),
    counter("fieldgate_resent_total", "Sent once more.", Of::Each("/upstreams", "upstream", "/resent")),
    gauge(
        "fieldgate_outbox_disk_bytes",
        "Taken by an outbox.",
        Of::Each("/upstreams", "upstream", "/outbox/disk_bytes"),
    ),
    gauge(
        "fieldgate_round_trip_milliseconds",
        "To an upstream and back.",
        Of::Each("/upstreams", "upstream", "/round_trip_ms"),
    ),
    gauge("fieldgate_broker_clients", "Connected.", Of::One("/broker/clients")),
    gauge("fieldgate_broker_subscriptions", "Subscriptions.", Of::One("/broker/subscriptions")),
    gauge("fieldgate_broker_retained", "Retained messages.", Of::One("/broker/retained")),
    counter("fieldgate_broker_received_total", "Messages from clients.", Of::One("/broker/received")),
    counter("fieldgate_broker_sent_total", "Messages to clients.", Of::One("/broker/sent")),
    counter("fieldgate_broker_logins_failed_total", "Wrong passwords.", Of::One("/broker/logins_failed")),
    counter("fieldgate_broker_protocol_errors_total", "Broken packets.", Of::One("/broker/protocol_errors")),
    counter("fieldgate_broker_dropped_total", "Messages dropped.", Of::Counters("/broker/drops", "reason")),
    counter("fieldgate_broker_limited_total", "What a limit met.", Of::Counters("/broker/limits", "limit")),
];

fn text(status: &Json) -> String {
    let mut text = String::new();
    let version = status.get("version").and_then(Json::as_str).unwrap_or_default();
    let _ =
        writeln!(text, "# TYPE fieldgate_info gauge\nfieldgate_info{{version=\"{}\"}} 1", escaped(version));
    let is_ok = status.get("state").and_then(Json::as_str) == Some("ok");
    let _ = writeln!(
        text,
        "# HELP fieldgate_ok Whether nothing is wrong.\n# TYPE fieldgate_ok gauge\nfieldgate_ok {}",
        u8::from(is_ok)
    );
    for family in FAMILIES {
        let lines = lines(family, status);
        if !lines.is_empty() {
            let Family { name, kind, help, .. } = family;
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            text.push_str(&lines);
        }
    }
    states(status, &mut text);
    paused(status, &mut text);
    values(status, &mut text);
    text
}

fn lines(family: &Family, status: &Json) -> String {
    let mut text = String::new();
    let name = family.name;
    let mut line = |labels: &str, value: &Json| {
        if value.is_number() {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    match family.of {
        Of::One(at) => line("", status.pointer(at).unwrap_or(&Json::Null)),
        Of::Each(list, label, at) => {
            for entry in status.pointer(list).and_then(Json::as_array).into_iter().flatten() {
                let of = escaped(entry.get("name").and_then(Json::as_str).unwrap_or_default());
                line(&format!("{{{label}=\"{of}\"}}"), entry.pointer(at).unwrap_or(&Json::Null));
            }
        }
        Of::Counters(object, label) => {
            for (key, value) in status.pointer(object).and_then(Json::as_object).into_iter().flatten() {
                line(&format!("{{{label}=\"{}\"}}", escaped(key)), value);
            }
        }
    }
    text
}

/// Whether each upstream is online, and each port is open.
fn states(status: &Json, text: &mut String) {
    let all = [
        ("fieldgate_upstream_online", "/upstreams", "upstream", "online"),
        ("fieldgate_port_open", "/ports", "port", "open"),
        ("fieldgate_device_fresh", "/devices", "device", "ok"),
    ];
    for (name, list, label, good) in all {
        let entries = status.pointer(list).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        if !entries.is_empty() {
            let _ = writeln!(text, "# TYPE {name} gauge");
        }
        for entry in entries {
            let of = escaped(entry.get("name").and_then(Json::as_str).unwrap_or_default());
            let is_good = entry.get("state").and_then(Json::as_str) == Some(good);
            let _ = writeln!(text, "{name}{{{label}=\"{of}\"}} {}", u8::from(is_good));
        }
    }
}

/// Whether a person holds back what is for an upstream.
fn paused(status: &Json, text: &mut String) {
    let upstreams = status.get("upstreams").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    if !upstreams.is_empty() {
        text.push_str("# HELP fieldgate_upstream_paused Held back by a person.\n# TYPE fieldgate_upstream_paused gauge\n");
    }
    for upstream in upstreams {
        let of = escaped(upstream.get("name").and_then(Json::as_str).unwrap_or_default());
        let is_paused = upstream.get("paused").is_some_and(Json::is_string);
        let _ = writeln!(text, "fieldgate_upstream_paused{{upstream=\"{of}\"}} {}", u8::from(is_paused));
    }
}

/// What went over each map, by its place in the config and its topics.
fn maps(upstreams: &Json, text: &mut String) {
    let families = [
        ("fieldgate_map_sent_total", "Messages sent upstream.", "/sent"),
        ("fieldgate_map_sent_bytes_total", "Bytes of their packets.", "/sent_bytes"),
        ("fieldgate_map_received_total", "Messages that came in.", "/received"),
        ("fieldgate_map_received_bytes_total", "Bytes of their payloads.", "/received_bytes"),
        ("fieldgate_map_expired_total", "Too old to be sent.", "/drops/expired"),
        ("fieldgate_map_refused_total", "Refused upstream.", "/drops/refused"),
    ];
    let upstreams = upstreams.as_array().map(Vec::as_slice).unwrap_or_default();
    for (name, help, at) in families {
        let mut lines = String::new();
        for upstream in upstreams {
            let of = escaped(upstream.get("name").and_then(Json::as_str).unwrap_or_default());
            let maps = upstream.get("maps").and_then(Json::as_array).into_iter().flatten();
            for (place, map) in maps.take(MAPS_MAX).enumerate() {
                let topics = escaped(map.get("topics").and_then(Json::as_str).unwrap_or_default());
                if let Some(value) = map.pointer(at).and_then(Json::as_u64) {
                    let _ = writeln!(
                        lines,
                        "{name}{{upstream=\"{of}\",map=\"{place}\",topics=\"{topics}\"}} {value}"
                    );
                }
            }
        }
        if !lines.is_empty() {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{lines}");
        }
    }
}

/// The last value of each point; of a device that is silent none.
fn values(status: &Json, text: &mut String) {
    text.push_str("# HELP fieldgate_reading The last value of a point.\n# TYPE fieldgate_reading gauge\n");
    for reading in status.get("readings").and_then(Json::as_array).into_iter().flatten() {
        let device = escaped(reading.get("device").and_then(Json::as_str).unwrap_or_default());
        if reading.get("stale").and_then(Json::as_bool) == Some(true) {
            continue;
        }
        for (point, value) in reading.get("values").and_then(Json::as_object).into_iter().flatten() {
            let value = match value {
                Json::Number(number) => number.to_string(),
                Json::Bool(state) => u8::from(*state).to_string(),
                _ => continue,
            };
            let point = escaped(point);
            let _ = writeln!(text, "fieldgate_reading{{device=\"{device}\",point=\"{point}\"}} {value}");
        }
    }
}

/// As the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_becomes_lines_that_prometheus_reads() {
        let status = json!({
            "state": "ok", "version": "1", "uptime_s": 7, "rss_bytes": null,
            "devices": [{"name": "a\"b", "readings": 3, "bad_lines": 0, "last_reading_s": 0.5, "state": "ok"}],
            "upstreams": [{"name": "up", "state": "offline", "backlog": {"messages": 5}}],
            "broker": {"clients": 2, "drops": {"queue_full": 1}},
            "readings": [
                {"device": "a\"b", "stale": false, "values": {"t": 21.5, "on": true, "name": "x"}},
                {"device": "old", "stale": true, "values": {"t": 1}},
            ],
        });
        let text = text(&status);
        for line in [
            "fieldgate_ok 1",
            "fieldgate_uptime_seconds 7",
            "fieldgate_device_readings_total{device=\"a\\\"b\"} 3",
            "fieldgate_backlog_messages{upstream=\"up\"} 5",
            "fieldgate_upstream_online{upstream=\"up\"} 0",
            "fieldgate_broker_dropped_total{reason=\"queue_full\"} 1",
            "fieldgate_reading{device=\"a\\\"b\",point=\"t\"} 21.5",
            "fieldgate_reading{device=\"a\\\"b\",point=\"on\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        for absent in ["old", "name\"", "resident"] {
            assert!(!text.contains(absent), "{absent} stands in\n{text}");
        }
        let types = text.lines().filter(|line| line.starts_with("# TYPE"));
        let mut names: Vec<_> = types.collect();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "each family once");
    }
}
