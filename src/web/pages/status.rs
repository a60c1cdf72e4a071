//! Status: one sentence, problems first, then tiles of upstreams, buffer, sensors and system.

use askama::Template;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::time::Duration;

use super::sensors::unit_word;
use super::{Frame, rendered};
use crate::health::span;
use crate::io::operations::{Operation, Request};
use crate::web::call::Call;
use crate::web::chart;
use crate::web::reply::{Refusal, Reply};

/// Points that have a line of their own; the page of sensors has all.
const POINTS_MAX: usize = 48;

#[derive(Template)]
#[template(path = "status.html", config = "src/web/askama.toml")]
struct Status {
    frame: Frame,
    is_ok: bool,
    sentence: String,
    problems: Vec<String>,
    upstreams: Vec<Upstream>,
    points: Vec<Point>,
    points_more: String,
    devices: usize,
    rss: String,
    disk: String,
    uptime: String,
    clock: String,
    version: String,
    clients: String,
}

struct Upstream {
    name: String,
    state: String,
    is_online: bool,
    error: String,
    messages: String,
    oldest: String,
}

struct Point {
    key: String,
    device: String,
    point: String,
    value: String,
    unit: String,
    stale: bool,
    chart: String,
}

pub(in crate::web) async fn page(call: Call) -> Result<Reply, Refusal> {
    let status = call.web.asker.ask(Request::new(Operation::Status)).await?;
    let history = call.web.asker.ask(Request::new(Operation::History)).await?;
    let sensors = call.web.asker.ask(Request::new(Operation::Sensors)).await?;
    let t = &call.texts;
    let problems: Vec<String> =
        list(&status, "problems").iter().filter_map(Json::as_str).map(str::to_owned).collect();
    let sentence = match problems.len() {
        0 => t.say("status.well").to_owned(),
        1 => t.say("status.one_problem").to_owned(),
        count => t.fill("status.problems", &[("count", &count.to_string())]),
    };
    let mut points = points(&status, &history, &units(&sensors));
    let more = points.len().saturating_sub(POINTS_MAX);
    points.truncate(POINTS_MAX);
    let points_more =
        if more > 0 { t.fill("status.more_points", &[("count", &more.to_string())]) } else { String::new() };
    let number = |at: &str| status.pointer(at).and_then(Json::as_u64);
    let page = Status {
        frame: Frame::of(&call, "status.title"),
        is_ok: problems.is_empty(),
        sentence,
        problems,
        upstreams: list(&status, "upstreams").iter().map(upstream).collect(),
        points,
        points_more,
        devices: list(&status, "devices").len(),
        rss: bytes(number("/rss_bytes")),
        disk: bytes(number("/disk_free_bytes")),
        uptime: span(Duration::from_secs(number("/uptime_s").unwrap_or_default())),
        clock: t
            .say(if text(&status, "clock") == "synced" { "system.synced" } else { "system.unsynced" })
            .to_owned(),
        version: text(&status, "version"),
        clients: number("/broker/clients").map(|clients| clients.to_string()).unwrap_or_default(),
    };
    rendered(&call, &page)
}

pub(super) fn list<'j>(json: &'j Json, key: &str) -> &'j [Json] {
    json.get(key).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn text(json: &Json, key: &str) -> String {
    json.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn upstream(json: &Json) -> Upstream {
    let state = text(json, "state");
    let oldest = json.pointer("/backlog/oldest_s").and_then(Json::as_f64);
    Upstream {
        name: text(json, "name"),
        is_online: state == "online",
        state,
        error: text(json, "error"),
        messages: json.pointer("/backlog/messages").and_then(Json::as_u64).unwrap_or_default().to_string(),
        oldest: oldest.map(|seconds| span(Duration::from_secs_f64(seconds.max(0.0)))).unwrap_or_default(),
    }
}

/// The unit of each point, as people write it, by device and point.
fn units(sensors: &Json) -> BTreeMap<(String, String), String> {
    let sensors = sensors.as_array().map(Vec::as_slice).unwrap_or_default();
    let all = sensors.iter().flat_map(|sensor| {
        let device = text(sensor, "name");
        list(sensor, "points")
            .iter()
            .map(move |point| ((device.clone(), text(point, "point")), unit_word(&text(point, "unit"))))
    });
    all.collect()
}

fn points(status: &Json, history: &Json, units: &BTreeMap<(String, String), String>) -> Vec<Point> {
    let mut points = Vec::new();
    for reading in list(status, "readings") {
        let (device, stale) =
            (text(reading, "device"), reading.get("stale").and_then(Json::as_bool).unwrap_or_default());
        for (point, value) in reading.get("values").and_then(Json::as_object).into_iter().flatten() {
            let value = match value {
                Json::String(text) => text.clone(),
                Json::Null => "–".to_owned(),
                other => other.to_string(),
            };
            points.push(Point {
                key: format!("{device}/{point}"),
                chart: chart::sparkline(&last(history, &device, point), &format!("{device} {point}")),
                device: device.clone(),
                point: point.clone(),
                value,
                unit: units.get(&(device.clone(), point.clone())).cloned().unwrap_or_default(),
                stale,
            });
        }
    }
    points
}

/// The last values of a point.
pub(super) fn last(history: &Json, device: &str, point: &str) -> Vec<f64> {
    let is_it = |entry: &&Json| {
        entry.get("device").and_then(Json::as_str) == Some(device)
            && entry.get("point").and_then(Json::as_str) == Some(point)
    };
    let entry = list(history, "points").iter().find(is_it);
    let pairs = entry.map(|entry| list(entry, "last")).unwrap_or_default();
    pairs.iter().filter_map(|pair| pair.get(1).and_then(Json::as_f64)).collect()
}

/// A size for people.
pub(super) fn bytes(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return String::new() };
    match bytes {
        0..=1_023 => format!("{bytes} B"),
        1_024..=1_048_575 => format!("{} KiB", bytes / 1_024),
        1_048_576..=1_073_741_823 => format!("{}.{} MiB", bytes >> 20, (bytes >> 10) % 1_024 * 10 / 1_024),
        _ => format!("{}.{} GiB", bytes >> 30, (bytes >> 20) % 1_024 * 10 / 1_024),
    }
}
