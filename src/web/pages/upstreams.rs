//! Upstreams: where readings go, how each connection does, and what can be done about one that doesn't stand.

use std::time::Duration;

use askama::Template;
use serde_json::Value as Json;

use super::status::{bytes, list, text};
use super::{Frame, in_address, rendered};
use crate::health::span;
use crate::io::operations::{Operation, Request};
use crate::web::call::Call;
use crate::web::reply::{Refusal, Reply};
use crate::web::texts::Catalogue;

#[derive(Template)]
#[template(path = "upstreams.html", config = "src/web/askama.toml")]
struct Upstreams {
    frame: Frame,
    may_connect: bool,
    may_test: bool,
    upstreams: Vec<Upstream>,
}

struct Upstream {
    name: String,
    link: String,
    /// Where its form is.
    edit: String,
    state: String,
    word: String,
    since: String,
    error: String,
    problems: Vec<String>,
    figures: Vec<(String, String)>,
    inward: Vec<(String, String)>,
    maps: Vec<Map>,
    paused: String,
    certificates: Vec<Certificate>,
}

/// A map, and what went over it.
struct Map {
    topics: String,
    way: String,
    names: String,
    out: String,
    inward: String,
    dropped: u64,
    dropped_words: String,
}

struct Certificate {
    what: String,
    subject: String,
    expires: String,
    left: String,
    is_urgent: bool,
}

/// A certificate that ends within so many days is shown as a problem.
const URGENT_DAYS: i64 = 30;

pub(in crate::web) async fn page(call: Call) -> Result<Reply, Refusal> {
    let health = call.web.asker.ask(Request::new(Operation::Health)).await?;
    let certificates = list(&health, "certificates");
    let maps = call.web.asker.ask(Request::new(Operation::Maps)).await?;
    let maps = maps.as_array().map(Vec::as_slice).unwrap_or_default();
    let frame = Frame::of(&call, "upstreams.title");
    let upstreams = list(&health, "upstreams").iter();
    let page = Upstreams {
        may_connect: frame.may("operator"),
        may_test: frame.may("admin"),
        upstreams: upstreams.map(|json| upstream(json, certificates, maps, &call.texts)).collect(),
        frame,
    };
    rendered(&call, &page)
}

fn upstream(json: &Json, certificates: &[Json], maps: &[Json], t: &Catalogue) -> Upstream {
    let name = text(json, "name");
    let state = text(json, "state");
    let refused = json.pointer("/inward/not_subscribed").and_then(Json::as_array);
    let refused = refused.into_iter().flatten().map(|one| {
        t.fill(
            "upstreams.not_subscribed",
            &[("filter", &text(one, "filter")), ("reason", &text(one, "reason"))],
        )
    });
    let rival = json.get("rival").and_then(Json::as_str).map(str::to_owned);
    let is_its = |one: &&Json| text(one, "upstream") == name;
    Upstream {
        link: in_address(&name),
        edit: super::config::link(&format!("upstream.{name}")),
        word: state_word(&state, t),
        since: text(json, "since"),
        error: text(json, "error"),
        problems: rival.into_iter().chain(refused).collect(),
        figures: figures(json, t),
        inward: inward(json, t),
        maps: maps
            .iter()
            .filter(|one| text(one, "name") == name)
            .flat_map(|one| list(one, "maps"))
            .map(|one| map(one, t))
            .collect(),
        paused: text(json, "paused"),
        certificates: certificates.iter().filter(is_its).map(|one| certificate(one, t)).collect(),
        name,
        state,
    }
}

/// A link's state in the reader's words.
pub(super) fn state_word(state: &str, t: &Catalogue) -> String {
    match state {
        "online" => t.say("upstreams.online"),
        "connecting" => t.say("upstreams.connecting"),
        "offline" => t.say("upstreams.offline"),
        "idle" => t.say("upstreams.idle"),
        "ended" => t.say("upstreams.ended"),
        "stopped" => t.say("upstreams.stopped"),
        other => other,
    }
    .to_owned()
}

/// A whole number at a place of the answer; 0 where there is none.
pub(super) fn number(json: &Json, at: &str) -> u64 {
    json.pointer(at).and_then(Json::as_u64).unwrap_or_default()
}

fn figures(json: &Json, t: &Catalogue) -> Vec<(String, String)> {
    let ms = json.pointer("/round_trip_ms").and_then(Json::as_f64).map(|ms| format!("{ms:.1} ms"));
    let retry = json.pointer("/retry_in_s").and_then(Json::as_f64);
    let retry = retry.map(|seconds| span(Duration::from_secs_f64(seconds.clamp(0.0, 1e9))));
    let traffic = |day: &str| {
        let size = |way: &str| bytes(Some(number(json, &format!("/traffic/{way}_{day}"))));
        t.fill("upstreams.both_ways", &[("sent", &size("sent")), ("received", &size("received"))])
    };
    let always = |key: &str, at: &str| Some((t.say(key).to_owned(), number(json, at).to_string()));
    let maybe = |key: &str, value: Option<String>| value.map(|value| (t.say(key).to_owned(), value));
    [
        maybe("upstreams.address", Some(text(json, "address"))),
        maybe("upstreams.retry", retry),
        maybe("upstreams.round_trip", ms),
        always("upstreams.waiting", "/backlog/messages"),
        always("upstreams.inflight", "/inflight"),
        always("upstreams.delivered", "/delivered"),
        always("upstreams.resent", "/resent"),
        always("upstreams.connections", "/connections"),
        maybe("upstreams.today", Some(traffic("today"))),
        maybe("upstreams.yesterday", Some(traffic("yesterday"))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What came from there, where anything did.
fn inward(json: &Json, t: &Catalogue) -> Vec<(String, String)> {
    if number(json, "/inward/received") == 0 {
        return Vec::new();
    }
    let counts = [
        ("upstreams.received", "/inward/received"),
        ("upstreams.passed_on", "/inward/delivered"),
        ("upstreams.unmapped", "/inward/drops/unmapped"),
        ("upstreams.old_commands", "/inward/drops/old_commands"),
        ("upstreams.not_kept", "/inward/drops/not_kept"),
    ];
    counts.into_iter().map(|(key, at)| (t.say(key).to_owned(), number(json, at).to_string())).collect()
}

fn map(json: &Json, t: &Catalogue) -> Map {
    let direction = text(json, "direction");
    let (local, remote) = (text(json, "local_prefix"), text(json, "remote_prefix"));
    let went = |count: &str, size: &str| {
        let (count, size) = (number(json, count), bytes(Some(number(json, size))));
        if count == 0 { "–".to_owned() } else { format!("{count} ({size})") }
    };
    let (expired, refused) = (number(json, "/drops/expired"), number(json, "/drops/refused"));
    let words = [("buffer.expired", expired), ("buffer.refused", refused)];
    let words = words.into_iter().filter(|(_, count)| *count > 0);
    let words: Vec<String> = words.map(|(key, count)| format!("{} {count}", t.say(key))).collect();
    Map {
        topics: text(json, "topics"),
        way: match direction.as_str() {
            "in" => t.say("upstreams.map_in"),
            "both" => t.say("upstreams.map_both"),
            _ => t.say("upstreams.map_out"),
        }
        .to_owned(),
        names: if local == remote {
            String::new()
        } else {
            let shown = |prefix: String| if prefix.is_empty() { "∅".to_owned() } else { prefix };
            format!("{} → {}", shown(local), shown(remote))
        },
        out: if direction == "in" { String::new() } else { went("/sent", "/sent_bytes") },
        inward: if direction == "out" { String::new() } else { went("/received", "/received_bytes") },
        dropped: expired.saturating_add(refused),
        dropped_words: words.join(", "),
    }
}

fn certificate(json: &Json, t: &Catalogue) -> Certificate {
    let days = json.get("days").and_then(Json::as_i64).unwrap_or_default();
    let error = text(json, "error");
    Certificate {
        what: match json.get("file").is_some_and(Json::is_string) {
            true => t.say("upstreams.own_certificate"),
            false => t.say("upstreams.their_certificate"),
        }
        .to_owned(),
        subject: text(json, "subject"),
        expires: text(json, "expires").chars().take(10).collect(),
        left: match (error.is_empty(), days < 0) {
            (false, _) => error,
            (true, true) => t.say("upstreams.is_over").to_owned(),
            (true, false) => t.fill("upstreams.days", &[("count", &days.to_string())]),
        },
        is_urgent: days < URGENT_DAYS,
    }
}
