//! The steps from a new gateway to its first reading: name, time, ports, a device, an upstream, and what will be written. What
//! is chosen is kept by the browser until the last step, which changes the config as the page Config would.

use askama::Template;
use serde_json::Value as Json;

use super::config::{has, text};
use super::status::list;
use super::{Frame, rendered};
use crate::io::operations::{Operation, Request};
use crate::web::call::Call;
use crate::web::config_api::ask;
use crate::web::reply::{Refusal, Reply};

/// The steps in their order, each with its title.
const STEPS: [(&str, &str); 6] = [
    ("name", "start.name"),
    ("time", "start.time"),
    ("port", "start.port"),
    ("device", "start.device"),
    ("upstream", "start.upstream"),
    ("summary", "start.summary"),
];

#[derive(Template)]
#[template(path = "start.html", config = "src/web/askama.toml")]
struct Start {
    frame: Frame,
    step: &'static str,
    number: usize,
    count: usize,
    steps: Vec<Step>,
    before: &'static str,
    next: &'static str,
    /// Why the config on disk can't be changed here.
    broken: bool,
    base: String,
    id: String,
    site: String,
    trust: String,
    /// The satellite receiver whose time is taken; empty without one.
    gnss: String,
    /// Those that the config has.
    receivers: Vec<String>,
    now: String,
    is_synced: bool,
    source: String,
    adapters: Vec<Adapter>,
    /// Ports, devices and upstreams that the config has.
    ports: Vec<Named>,
    devices: Vec<Named>,
    upstreams: Vec<Named>,
    profiles: Vec<Profile>,
    supervised: bool,
}

struct Step {
    name: &'static str,
    title: String,
    here: bool,
}

struct Adapter {
    path: String,
    about: String,
    users: String,
}

/// Something that the config has, and where its form is.
struct Named {
    name: String,
    path: String,
    link: String,
}

struct Profile {
    name: String,
    title: String,
    baud: u64,
    frame: String,
    address: String,
    tells_time: bool,
}

pub(in crate::web) async fn page(call: Call) -> Result<Reply, Refusal> {
    let wanted = call.argument("step").unwrap_or("name");
    let at = STEPS.iter().position(|(name, _)| *name == wanted).ok_or_else(Refusal::not_found)?;
    let state = call.ask(ask(Operation::ConfigGet, serde_json::json!({}))).await?;
    let settings = state.get("settings").cloned().unwrap_or_default();
    let system = call.ask(Request::new(Operation::System)).await?;
    let (step, title) = STEPS.get(at).copied().unwrap_or(("name", "start.name"));
    let name_of = |at: Option<usize>| at.and_then(|at| STEPS.get(at)).map_or("", |(name, _)| *name);
    let setting = |at: &str| settings.pointer(at).and_then(Json::as_str).unwrap_or_default().to_owned();
    let adapters = match step {
        "port" => call.ask(Request::new(Operation::Plugged)).await?,
        _ => Json::Null,
    };
    let profiles = match step {
        "device" | "time" => call.ask(Request::new(Operation::Profiles)).await?,
        _ => Json::Null,
    };
    let profiles: Vec<Profile> = profiles.as_array().into_iter().flatten().map(profile).collect();
    let t = &call.texts;
    let mut frame = Frame::of(&call, "nav.setup");
    frame.title = t.say(title).to_owned();
    let page = Start {
        step,
        number: at + 1,
        count: STEPS.len(),
        steps: STEPS
            .iter()
            .map(|(name, title)| Step { name, title: t.say(title).to_owned(), here: *name == step })
            .collect(),
        before: name_of(at.checked_sub(1)),
        next: name_of(Some(at + 1)),
        broken: settings.is_null(),
        base: text(&state, "base"),
        id: setting("/gateway/id"),
        site: setting("/gateway/site"),
        trust: setting("/time/trust"),
        gnss: setting("/time/gnss/device"),
        receivers: receivers(&settings, &profiles),
        now: text(&system, "time"),
        is_synced: text(&system, "clock") == "synced",
        source: system.pointer("/clock_source/text").and_then(Json::as_str).unwrap_or_default().to_owned(),
        adapters: adapters.as_array().into_iter().flatten().map(adapter).collect(),
        ports: named(&settings, "port"),
        devices: named(&settings, "device"),
        upstreams: named(&settings, "upstream"),
        profiles,
        supervised: system.get("supervised").and_then(Json::as_bool).unwrap_or_default(),
        frame,
    };
    rendered(&call, &page)
}

fn adapter(json: &Json) -> Adapter {
    let words = ["maker", "product", "serial", "driver"].map(|key| text(json, key));
    let users: Vec<&str> = list(json, "used_by").iter().filter_map(Json::as_str).collect();
    let by_id = text(json, "by_id");
    Adapter {
        // That name stays the same after replugging.
        path: if by_id.is_empty() { text(json, "path") } else { by_id },
        about: words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", "),
        users: users.join(", "),
    }
}

/// The devices of a config that tell the time.
fn receivers(settings: &Json, profiles: &[Profile]) -> Vec<String> {
    let tells_time = |device: &&Json| {
        let known = text(device, "profile");
        text(device, "decode") == "nmea"
            || profiles.iter().any(|profile| profile.tells_time && profile.name == known)
    };
    list(settings, "device").iter().filter(tells_time).map(|device| text(device, "name")).collect()
}

fn named(settings: &Json, kind: &str) -> Vec<Named> {
    let all = list(settings, kind).iter();
    let one = |item: &Json| {
        let name = match text(item, "name") {
            name if name.is_empty() => text(item, "host"),
            name => name,
        };
        let link = super::config::link(&format!("{kind}.{name}"));
        let path = if has(item, "address") { text(item, "address") } else { text(item, "path") };
        Named { link, path, name }
    };
    all.map(one).collect()
}

fn profile(json: &Json) -> Profile {
    let (title, maker) = (text(json, "title"), text(json, "maker"));
    let is_named = maker.is_empty() || title.contains(&maker);
    Profile {
        name: text(json, "profile"),
        title: if is_named { title } else { format!("{maker}: {title}") },
        baud: json.get("baud").and_then(Json::as_u64).unwrap_or_default(),
        frame: text(json, "frame"),
        address: text(json, "address"),
        tells_time: json.get("tells_time").and_then(Json::as_bool).unwrap_or_default(),
    }
}
