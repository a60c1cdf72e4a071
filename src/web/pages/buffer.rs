//! Buffer: what waits for each upstream, how fast it goes, what was lost and why; and what can be done with it.

use std::time::Duration;

use askama::Template;
use serde_json::Value as Json;

use super::sensors::bucket;
use super::status::{bytes, list, text};
use super::upstreams::{number, state_word};
use super::{Frame, in_address, rendered};
use crate::health::span;
use crate::history::Bucket;
use crate::io::operations::{Operation, Request};
use crate::web::call::Call;
use crate::web::chart;
use crate::web::reply::{Refusal, Reply};
use crate::web::texts::Catalogue;

#[derive(Template)]
#[template(path = "buffer.html", config = "src/web/askama.toml")]
struct Buffer {
    frame: Frame,
    is_admin: bool,
    may_pause: bool,
    boxes: Vec<Outbox>,
}

struct Outbox {
    name: String,
    link: String,
    place: usize,
    state: String,
    is_online: bool,
    /// Since when it is paused; empty: it isn't.
    paused: String,
    waiting: u64,
    figures: Vec<(String, String)>,
    in_memory: String,
    disk: Option<(u64, String)>,
    chart: String,
    lost: Vec<(String, u64)>,
    lost_chart: String,
    letters: u64,
    receipt: Vec<(String, String)>,
    streams: Vec<(String, String)>,
}

pub(in crate::web) async fn page(call: Call) -> Result<Reply, Refusal> {
    let health = call.web.asker.ask(Request::new(Operation::Health)).await?;
    let links = call.web.asker.ask(Request::new(Operation::Links)).await?;
    let frame = Frame::of(&call, "buffer.title");
    let upstreams = list(&health, "upstreams").iter().enumerate();
    let page = Buffer {
        is_admin: frame.may("admin"),
        may_pause: frame.may("operator"),
        boxes: upstreams.map(|(place, json)| outbox(place, json, &links, &call.texts)).collect(),
        frame,
    };
    rendered(&call, &page)
}

fn outbox(place: usize, json: &Json, links: &Json, t: &Catalogue) -> Outbox {
    let name = text(json, "name");
    let state = text(json, "state");
    let waiting = number(json, "/backlog/messages");
    let in_memory = number(json, "/backlog/in_memory_only");
    let bytes_max = number(json, "/outbox/bytes_max");
    let lost = lost(json, t);
    let bars: Vec<(&str, f64)> = lost
        .iter()
        .map(|(reason, count)| (reason.as_str(), f64::from(u32::try_from(*count).unwrap_or(u32::MAX))))
        .collect();
    Outbox {
        link: in_address(&name),
        place,
        is_online: state == "online",
        paused: text(json, "paused"),
        state: state_word(&state, t),
        figures: figures(json, &series(links, &name, "waiting"), &series(links, &name, "delivered"), t),
        in_memory: if in_memory == 0 {
            String::new()
        } else {
            t.fill("buffer.in_memory", &[("count", &in_memory.to_string())])
        },
        disk: (bytes_max > 0).then(|| {
            let used = number(json, "/outbox/disk_bytes");
            let words =
                t.fill("buffer.of", &[("used", &bytes(Some(used))), ("all", &bytes(Some(bytes_max)))]);
            (number(json, "/outbox/fill_percent").min(100), words)
        }),
        chart: chart::day(&buckets(links, &name), &t.fill("buffer.chart_label", &[("name", &name)])),
        lost_chart: chart::bars(&bars, t.say("buffer.lost")),
        lost,
        letters: number(json, "/refused_kept"),
        receipt: receipt(json.get("receipt").unwrap_or(&Json::Null), t),
        streams: list(json, "streams")
            .iter()
            .map(|stream| (text(stream, "name"), number(stream, "/backlog/messages").to_string()))
            .collect(),
        waiting,
        name,
    }
}

/// The last values of a link, oldest first, each with its age in seconds.
fn series(links: &Json, upstream: &str, what: &str) -> Vec<(f64, f64)> {
    let pairs = link(links, upstream, what).map(|entry| list(entry, "last")).unwrap_or_default();
    pairs.iter().filter_map(|pair| Some((pair.get(0)?.as_f64()?, pair.get(1)?.as_f64()?))).collect()
}

fn link<'j>(links: &'j Json, upstream: &str, what: &str) -> Option<&'j Json> {
    let is_it = |entry: &&Json| text(entry, "device") == upstream && text(entry, "point") == what;
    list(links, "points").iter().find(is_it)
}

fn buckets(links: &Json, upstream: &str) -> Vec<(Duration, Bucket)> {
    let entry = link(links, upstream, "waiting").map(|entry| list(entry, "buckets")).unwrap_or_default();
    entry.iter().filter_map(bucket).collect()
}

/// How much a count changed in a second, over the values that are known; of a count that began anew nothing.
fn pace(series: &[(f64, f64)]) -> Option<f64> {
    let ((then, before), (now, after)) = (series.first()?, series.last()?);
    let seconds = then - now;
    (seconds >= 1.0).then(|| (after - before) / seconds)
}

fn figures(
    json: &Json,
    waiting: &[(f64, f64)],
    delivered: &[(f64, f64)],
    t: &Catalogue,
) -> Vec<(String, String)> {
    let spoken = |seconds: f64| span(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
    let oldest = json.pointer("/backlog/oldest_s").and_then(Json::as_f64).map(spoken);
    let rate = pace(delivered)
        .filter(|pace| *pace >= 0.0)
        .map(|pace| t.fill("buffer.a_second", &[("count", &format!("{pace:.1}"))]));
    let left = json.pointer("/backlog/messages").and_then(Json::as_f64).unwrap_or_default();
    let drain = match pace(waiting) {
        _ if left < 1.0 || json.get("paused").is_some_and(Json::is_string) => None,
        Some(pace) if pace < -0.01 => Some(spoken(left / -pace)),
        Some(_) => Some(t.say("buffer.not_draining").to_owned()),
        None => None,
    };
    let size = Some(bytes(Some(number(json, "/backlog/bytes"))));
    let delivered = Some(number(json, "/delivered").to_string());
    [
        ("buffer.oldest", oldest),
        ("buffer.size", size),
        ("buffer.rate", rate),
        ("buffer.drain", drain),
        ("buffer.delivered", delivered),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((t.say(key).to_owned(), value?)))
    .collect()
}

/// What was lost, by reason in words; without what wasn't.
fn lost(json: &Json, t: &Catalogue) -> Vec<(String, u64)> {
    let reasons = [
        (t.say("buffer.disk_full"), "/drops/disk_full"),
        (t.say("buffer.memory_full"), "/drops/memory_full"),
        (t.say("buffer.refused"), "/drops/refused"),
        (t.say("buffer.too_large"), "/drops/too_large"),
        (t.say("buffer.damaged"), "/drops/damaged"),
        (t.say("buffer.expired"), "/drops/expired"),
        (t.say("buffer.purged"), "/drops/purged"),
        (t.say("buffer.unmapped"), "/drops/unmapped"),
    ];
    let counted = reasons.into_iter().map(|(reason, at)| (reason.to_owned(), number(json, at)));
    counted.filter(|(_, count)| *count > 0).collect()
}

/// The account of the last outage.
fn receipt(json: &Json, t: &Catalogue) -> Vec<(String, String)> {
    if json.is_null() {
        return Vec::new();
    }
    let count = |key: &str| number(json, &format!("/{key}")).to_string();
    [
        ("buffer.from", text(json, "from")),
        ("buffer.lasted", span(Duration::from_secs(number(json, "/duration_s")))),
        ("buffer.why", text(json, "why")),
        ("buffer.stored", count("stored")),
        ("buffer.sent", count("sent")),
        ("buffer.drained", text(json, "drained")),
    ]
    .into_iter()
    .map(|(key, value)| (t.say(key).to_owned(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_told_once_there_is_a_second_to_tell_it_over() {
        assert_eq!(pace(&[(10.0, 100.0), (4.0, 80.0), (0.0, 60.0)]), Some(-4.0));
        for nothing in [&[][..], &[(1.0, 5.0)], &[(0.5, 1.0), (0.0, 9.0)]] {
            assert_eq!(pace(nothing), None);
        }
    }
}
