//! System: clock, machine, flash wear, certificates, versions; the support bundle and a start anew.

use askama::Template;
use serde_json::Value as Json;
use std::time::Duration;

use super::status::{bytes, list, text};
use super::{Frame, rendered};
use crate::health::span;
use crate::io::operations::{Operation, Request};
use crate::web::call::Call;
use crate::web::reply::{Refusal, Reply};
use crate::web::texts::Catalogue;

/// From this on a processor is told to be hot: boards slow down from 80 °C on.
const HOT_CELSIUS: f64 = 80.0;
/// From this on flash should be replaced.
const WORN_PERCENT: u64 = 80;
/// Certificates that end within this many days stand out.
const SOON_DAYS: i64 = 30;

/// What firmware says of power and heat, and what it means.
const THROTTLED: &[(&str, &str)] = &[
    ("under_voltage", "system.under_voltage"),
    ("frequency_capped", "system.frequency_capped"),
    ("throttled", "system.throttled"),
    ("hot", "system.hot"),
    ("under_voltage_before", "system.under_voltage_before"),
    ("frequency_capped_before", "system.frequency_capped_before"),
    ("throttled_before", "system.throttled_before"),
    ("hot_before", "system.hot_before"),
];

#[derive(Template)]
#[template(path = "system.html", config = "src/web/askama.toml")]
struct System {
    frame: Frame,
    cards: Vec<Card>,
    certificates: Vec<Certificate>,
    can_restart: bool,
    supervised: bool,
    question: String,
}

struct Card {
    id: &'static str,
    title: String,
    facts: Vec<Fact>,
    none: String,
}

struct Fact {
    name: String,
    value: String,
    bad: bool,
    /// A percentage to draw.
    meter: Option<u64>,
}

struct Certificate {
    place: String,
    what: String,
    expires: String,
    days: String,
    bad: bool,
}

pub(in crate::web) async fn page(call: Call) -> Result<Reply, Refusal> {
    let system = call.ask(Request::new(Operation::System)).await?;
    let t = &call.texts;
    let card = |id, title: &str, facts: Vec<Fact>, none: &str| Card {
        id,
        title: t.say(title).to_owned(),
        facts,
        none: t.say(none).to_owned(),
    };
    let frame = Frame::of(&call, "nav.system");
    let page = System {
        cards: vec![
            card("clock", "system.clock", clock(&system, t), "system.nothing"),
            card("machine", "system.machine", machine(&system, t), "system.nothing"),
            card("power", "system.power", power(&system, t), "system.no_power"),
            card("disks", "system.disks", disks(&system, t), "system.no_disk"),
            card("versions", "system.versions", versions(&system, t), "system.nothing"),
        ],
        certificates: list(&system, "certificates").iter().map(|one| certificate(one, t)).collect(),
        can_restart: frame.may("admin"),
        supervised: system.get("supervised").and_then(Json::as_bool).unwrap_or_default(),
        question: t.say("system.restart_question").to_owned(),
        frame,
    };
    rendered(&call, &page)
}

fn fact(name: &str, value: String) -> Option<Fact> {
    (!value.is_empty()).then(|| Fact { name: name.to_owned(), value, bad: false, meter: None })
}

fn seconds(json: &Json, at: &str) -> String {
    let seconds = json.pointer(at).and_then(Json::as_u64);
    seconds.map(|seconds| span(Duration::from_secs(seconds))).unwrap_or_default()
}

fn words(json: &Json, at: &str) -> String {
    json.pointer(at).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn clock(system: &Json, t: &Catalogue) -> Vec<Fact> {
    let trust = words(system, "/clock");
    let is_synced = trust == "synced";
    let said = if is_synced { t.say("system.synced") } else { t.say("system.unsynced") };
    let state =
        Fact { name: t.say("system.trust").to_owned(), value: said.to_owned(), bad: !is_synced, meter: None };
    let time = fact(t.say("system.time"), words(system, "/time"));
    let source = fact(t.say("system.source"), words(system, "/clock_source/text"));
    time.into_iter().chain([state]).chain(source).collect()
}

fn machine(system: &Json, t: &Catalogue) -> Vec<Fact> {
    let number = |at: &str| system.pointer(at).and_then(Json::as_u64);
    let memory = || {
        let (free, all) = (number("/machine/memory_free_bytes")?, number("/machine/memory_bytes")?);
        let used = all.saturating_sub(free).saturating_mul(100).checked_div(all)?;
        let value = t.fill("system.free_of", &[("free", &bytes(Some(free))), ("all", &bytes(Some(all)))]);
        Some(Fact { name: t.say("system.memory").to_owned(), value, bad: used >= 95, meter: Some(used) })
    };
    let load = system.pointer("/machine/load").and_then(Json::as_f64).map(|load| load.to_string());
    let facts = [
        fact(t.say("system.model"), words(system, "/machine/model")),
        memory(),
        fact(t.say("system.own_memory"), bytes(number("/rss_bytes"))),
        fact(t.say("system.free_disk"), bytes(number("/disk_free_bytes"))),
        fact(t.say("system.load"), load.unwrap_or_default()),
        fact(t.say("system.up"), seconds(system, "/machine/machine_up_s")),
    ];
    facts.into_iter().flatten().collect()
}

fn power(system: &Json, t: &Catalogue) -> Vec<Fact> {
    let temperatures = system.pointer("/machine/temperatures").and_then(Json::as_array).into_iter().flatten();
    let mut facts: Vec<Fact> = temperatures
        .filter_map(|zone| {
            let celsius = zone.get("celsius")?.as_f64()?;
            Some(Fact {
                name: text(zone, "name"),
                value: format!("{celsius:.1} °C"),
                bad: celsius >= HOT_CELSIUS,
                meter: None,
            })
        })
        .collect();
    if let Some(flags) = system.pointer("/machine/throttled").and_then(Json::as_array) {
        let said = |flag: &Json| {
            THROTTLED.iter().find(|(known, _)| Some(*known) == flag.as_str()).map(|(_, key)| t.say(key))
        };
        let all: Vec<&str> = flags.iter().filter_map(said).collect();
        let value = if all.is_empty() { t.say("system.power_fine").to_owned() } else { all.join("; ") };
        facts.push(Fact {
            name: t.say("system.supply").to_owned(),
            value,
            bad: !all.is_empty(),
            meter: None,
        });
    }
    facts
}

fn disks(system: &Json, t: &Catalogue) -> Vec<Fact> {
    let disks = system.pointer("/machine/disks").and_then(Json::as_array).into_iter().flatten();
    let one = |disk: &Json| {
        let worn = disk.get("worn_percent").and_then(Json::as_u64);
        let spare = text(disk, "spare");
        let mut parts = vec![text(disk, "model"), bytes(disk.get("bytes").and_then(Json::as_u64))];
        parts.push(match worn {
            Some(worn) => t.fill("system.worn", &[("percent", &worn.to_string())]),
            None => t.say("system.worn_unknown").to_owned(),
        });
        let is_short = spare == "warning" || spare == "urgent";
        if is_short {
            parts.push(t.say("system.spare_low").to_owned());
        }
        parts.retain(|part| !part.is_empty());
        let bad = is_short || worn.is_some_and(|worn| worn >= WORN_PERCENT);
        Fact { name: text(disk, "name"), value: parts.join(", "), bad, meter: worn }
    };
    disks.map(one).collect()
}

fn versions(system: &Json, t: &Catalogue) -> Vec<Fact> {
    let own = format!("{} ({})", words(system, "/version"), words(system, "/architecture"));
    let facts = [
        fact("fieldgate", own),
        fact(t.say("system.supported"), t.say("system.supported_until").to_owned()),
        fact(t.say("system.running"), seconds(system, "/uptime_s")),
        fact(t.say("system.kernel"), words(system, "/machine/kernel")),
        fact(t.say("system.system"), words(system, "/machine/system")),
    ];
    facts.into_iter().flatten().collect()
}

fn certificate(json: &Json, t: &Catalogue) -> Certificate {
    let days = json.get("days").and_then(Json::as_i64);
    let place = [text(json, "listener"), text(json, "upstream")].concat();
    Certificate {
        place,
        what: text(json, "what"),
        expires: text(json, "expires").split('T').next().unwrap_or_default().to_owned(),
        days: days.map(|days| t.fill("system.days", &[("count", &days.to_string())])).unwrap_or_default(),
        bad: days.is_none_or(|days| days < SOON_DAYS),
    }
}
