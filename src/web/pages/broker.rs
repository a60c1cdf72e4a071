//! Broker: who is connected, who gets what is published to a topic, what is retained, who may what, and how near the
//! bounds are.

use std::time::Duration;

use askama::Template;
use serde_json::Value as Json;

use super::{Frame, rendered};
use crate::health::span;
use crate::io::operations::broker::Arguments;
use crate::io::operations::{Operation, Request};
use crate::people::Role;
use crate::web::broker::{number, request};
use crate::web::call::Call;
use crate::web::guard::encoded;
use crate::web::reply::{Refusal, Reply};
use crate::web::texts::Catalogue;

/// Clients on one page; the rest is on the next.
const CLIENTS_MAX: usize = 100;
/// Retained messages on one page.
const RETAINED_MAX: usize = 100;
/// Bytes of a payload that a line shows.
const SHOWN_CHARS_MAX: usize = 80;
/// From there on a bound is near, in percent.
const NEAR: u64 = 80;

#[derive(Template)]
#[template(path = "broker.html", config = "src/web/askama.toml")]
struct Page {
    frame: Frame,
    sentence: String,
    clients: Vec<Client>,
    /// Where the next page begins; empty: there is none.
    next_clients: String,
    is_first: bool,
    limits: Vec<Limit>,
    doors: Vec<Door>,
    topic: String,
    consumers: Option<Consumers>,
    topic_error: String,
    prefix: String,
    retained: Vec<Retained>,
    next_retained: String,
    users: Vec<User>,
    users_more: String,
    is_open: bool,
    rules: Vec<Rule>,
    rules_more: String,
}

struct Client {
    id: String,
    user: String,
    address: String,
    way: String,
    state: String,
    is_connected: bool,
    queue: String,
    is_queued: bool,
    subscriptions: String,
    confirm: String,
}

struct Limit {
    title: String,
    used: u64,
    max: u64,
    text: String,
    is_near: bool,
}

struct Door {
    name: String,
    transport: String,
    clients: String,
    who: String,
    error: String,
}

struct Consumers {
    sentence: String,
    clients: Vec<(String, String, String)>,
    more: String,
    upstreams: String,
    note: String,
}

struct Retained {
    topic: String,
    payload: String,
    size: String,
    expires: String,
}

struct User {
    name: String,
    whence: String,
    /// Where the config has him; empty: it hasn't.
    link: String,
    clients: String,
    is_connected: bool,
}

struct Rule {
    whom: String,
    what: String,
    is_allowed: bool,
    filter: String,
}

pub(in crate::web) async fn page(call: Call) -> Result<Reply, Refusal> {
    let t = call.texts.clone();
    let asker = &call.web.asker;
    let limits = asker.ask(Request::new(Operation::BrokerLimits)).await?;
    let from: Option<u32> = number(&call, "from")?;
    let arguments = Arguments { from, max: Some(CLIENTS_MAX), ..Arguments::default() };
    let clients = asker.ask(request(Operation::BrokerClients, arguments)).await?;
    let topic = call.argument("topic").unwrap_or_default().to_owned();
    let (consumers, topic_error) = match topic.is_empty() {
        true => (None, String::new()),
        false => {
            let arguments = Arguments { topic: Some(topic.clone()), ..Arguments::default() };
            match asker.ask(request(Operation::BrokerConsumers, arguments)).await {
                Ok(found) => (Some(consumers(&t, &found)), String::new()),
                Err(failure) => (None, t.tell(&failure.message)),
            }
        }
    };
    let frame = Frame::of(&call, "broker.title");
    let is_operator = call.who.as_ref().is_some_and(|who| who.role >= Role::Operator);
    let prefix = call.argument("prefix").unwrap_or_default().to_owned();
    let (mut retained, mut rules, mut users) = (Json::Null, Json::Null, Json::Null);
    if is_operator {
        let after = call.argument("after").map(str::to_owned);
        let arguments = Arguments {
            prefix: Some(prefix.clone()),
            after,
            max: Some(RETAINED_MAX),
            ..Arguments::default()
        };
        retained = asker.ask(request(Operation::BrokerRetained, arguments)).await?;
        rules = asker.ask(Request::new(Operation::BrokerRules)).await?;
        users = asker.ask(Request::new(Operation::BrokerUsers)).await?;
    }
    let rules_more = whole(&rules, "more");
    let mut list: Vec<&Json> = array(&clients, "clients").iter().collect();
    // What needs a look first: whose messages wait, then who is away.
    list.sort_by_key(|one| {
        (std::cmp::Reverse(whole(one, "queued_messages")), flag(one, "connected"), text(one, "client"))
    });
    let page = Page {
        sentence: sentence(&t, &limits),
        clients: list.into_iter().map(|one| client(&t, one)).collect(),
        next_clients: clients
            .get("next")
            .and_then(Json::as_u64)
            .map(|next| next.to_string())
            .unwrap_or_default(),
        is_first: from.unwrap_or(0) == 0,
        limits: array(&limits, "limits").iter().map(|one| limit(&t, one)).collect(),
        doors: array(&limits, "listeners").iter().map(|one| door(&t, one)).collect(),
        topic,
        consumers,
        topic_error,
        prefix,
        next_retained: text(&retained, "next"),
        retained: array(&retained, "messages").iter().map(self::retained).collect(),
        users: array(&users, "users").iter().map(|one| user(&t, one)).collect(),
        users_more: more(&t, whole(&users, "more")),
        is_open: flag(&rules, "open"),
        rules: array(&rules, "rules").iter().map(|one| rule(&t, one)).collect(),
        rules_more: more(&t, rules_more),
        frame,
    };
    rendered(&call, &page)
}

fn array<'j>(json: &'j Json, key: &str) -> &'j [Json] {
    json.get(key).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text(json: &Json, key: &str) -> String {
    json.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn whole(json: &Json, key: &str) -> u64 {
    json.get(key).and_then(Json::as_u64).unwrap_or_default()
}

fn flag(json: &Json, key: &str) -> bool {
    json.get(key).and_then(Json::as_bool).unwrap_or_default()
}

fn seconds(json: &Json, key: &str) -> String {
    span(Duration::from_secs(whole(json, key)))
}

fn sentence(t: &Catalogue, limits: &Json) -> String {
    let used = |name: &str| {
        let found = array(limits, "limits").iter().find(|one| text(one, "name") == name);
        found.map(|one| whole(one, "used")).unwrap_or_default().to_string()
    };
    let words = [("connected", &*used("connections_max")), ("away", &*used("sessions_max"))];
    t.fill("broker.sentence", &words)
}

fn client(t: &Catalogue, json: &Json) -> Client {
    let (id, is_connected) = (text(json, "client"), flag(json, "connected"));
    let messages = whole(json, "queued_messages");
    let state = match is_connected {
        true => t.fill(
            "broker.seen",
            &[("seen", &seconds(json, "seen_s")), ("since", &seconds(json, "connected_s"))],
        ),
        false => t.fill("broker.away", &[("span", &seconds(json, "away_s"))]),
    };
    let way = match is_connected {
        true => {
            format!("{}, {}, MQTT {}", text(json, "listener"), text(json, "transport"), text(json, "version"))
        }
        false => "–".to_owned(),
    };
    Client {
        user: or_dash(text(json, "user")),
        address: or_dash(text(json, "address")),
        way,
        state,
        is_connected,
        queue: format!("{messages} ({})", size(whole(json, "queued_bytes"))),
        is_queued: messages > 0,
        subscriptions: whole(json, "subscriptions").to_string(),
        confirm: t.fill("broker.kick_confirm", &[("client", &id)]),
        id,
    }
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "–".to_owned() } else { text }
}

fn limit(t: &Catalogue, json: &Json) -> Limit {
    let (name, used, max) = (text(json, "name"), whole(json, "used"), whole(json, "max"));
    let (title, is_bytes) = match name.as_str() {
        "connections_max" => (t.say("broker.limit_connections"), false),
        "sessions_max" => (t.say("broker.limit_sessions"), false),
        "subscriptions_total_max" => (t.say("broker.limit_subscriptions"), false),
        "retained_max" => (t.say("broker.limit_retained"), false),
        "retained_bytes_max" => (t.say("broker.limit_retained_bytes"), true),
        "queues_bytes_max" => (t.say("broker.limit_queues"), true),
        _ => (t.say("broker.limit_memory"), true),
    };
    let say = |number: u64| if is_bytes { size(number) } else { number.to_string() };
    Limit {
        title: title.to_owned(),
        used: used.min(max),
        max: max.max(1),
        text: t.fill("broker.of", &[("used", &say(used)), ("max", &say(max))]),
        is_near: used.saturating_mul(100) >= max.saturating_mul(NEAR),
    }
}

fn door(t: &Catalogue, json: &Json) -> Door {
    let who = match (flag(json, "allow_anonymous"), flag(json, "check_users"), flag(json, "own_users")) {
        (true, false, _) => t.say("broker.door_open"),
        (true, true, _) => t.say("broker.door_anonymous"),
        (false, _, true) => t.say("broker.door_own"),
        (false, _, false) => t.say("broker.door_users"),
    };
    Door {
        name: text(json, "name"),
        transport: text(json, "transport"),
        clients: whole(json, "clients").to_string(),
        who: who.to_owned(),
        error: text(json, "error"),
    }
}

fn consumers(t: &Catalogue, json: &Json) -> Consumers {
    let clients = array(json, "clients");
    let more = whole(json, "more");
    let upstreams: Vec<&str> = array(json, "upstreams").iter().filter_map(Json::as_str).collect();
    let sentence = match (clients.is_empty(), upstreams.is_empty()) {
        (true, true) => t.say("broker.nobody").to_owned(),
        _ => {
            let count = (clients.len().to_string(), upstreams.len().to_string());
            t.fill("broker.gets", &[("clients", &*count.0), ("upstreams", &*count.1)])
        }
    };
    let one = |json: &Json| {
        let how = match (json.get("share").and_then(Json::as_u64), flag(json, "connected")) {
            (Some(_), _) => t.say("broker.shared"),
            (None, true) => t.say("broker.connected"),
            (None, false) => t.say("broker.waits"),
        };
        (text(json, "client"), or_dash(text(json, "user")), format!("QoS {}, {how}", whole(json, "qos")))
    };
    let note = match (text(json, "closed").is_empty(), flag(json, "command")) {
        (false, _) => t.say("broker.topic_closed"),
        (true, true) => t.say("broker.topic_command"),
        (true, false) => "",
    };
    Consumers {
        sentence,
        clients: clients.iter().map(one).collect(),
        more: if more > 0 { t.fill("broker.more", &[("count", &more.to_string())]) } else { String::new() },
        upstreams: upstreams.join(", "),
        note: note.to_owned(),
    }
}

fn retained(json: &Json) -> Retained {
    let payload = match json.get("text").and_then(Json::as_str) {
        Some(text) => text.to_owned(),
        None => text(json, "hex"),
    };
    let mut shown: String = payload.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < payload.len() || flag(json, "cut") {
        shown.push('…');
    }
    Retained {
        topic: text(json, "topic"),
        payload: shown,
        size: size(whole(json, "bytes")),
        expires: json
            .get("expires_s")
            .and_then(Json::as_u64)
            .map(|_| seconds(json, "expires_s"))
            .unwrap_or_default(),
    }
}

fn more(t: &Catalogue, count: u64) -> String {
    if count == 0 { String::new() } else { t.fill("broker.more", &[("count", &count.to_string())]) }
}

fn user(t: &Catalogue, json: &Json) -> User {
    let (name, listener, source) = (text(json, "name"), text(json, "listener"), text(json, "source"));
    let whence = match source.as_str() {
        "config" => t.say("broker.of_config"),
        "file" => t.say("broker.of_file"),
        _ if name.is_empty() => t.say("broker.without_name"),
        _ => t.say("broker.not_listed"),
    };
    let whence = if listener.is_empty() { whence.to_owned() } else { format!("{whence}, {listener}") };
    let count = whole(json, "connected");
    let clients: Vec<&str> = array(json, "clients").iter().filter_map(Json::as_str).collect();
    let shown = clients.join(", ");
    let rest = count.saturating_sub(u64::try_from(clients.len()).unwrap_or(u64::MAX));
    let clients = match (count, rest) {
        (0, _) => t.say("broker.not_connected").to_owned(),
        (_, 0) => t.fill("broker.connected_as", &[("clients", &shown)]),
        _ => format!("{} {}", t.fill("broker.connected_as", &[("clients", &shown)]), more(t, rest)),
    };
    User {
        // Users of a listener have no page of their own in the form.
        link: if source == "config" && listener.is_empty() {
            format!("/config?path={}", encoded(&format!("broker.user.{name}")))
        } else {
            String::new()
        },
        name: or_dash(name),
        whence,
        clients,
        is_connected: count > 0,
    }
}

fn rule(t: &Catalogue, json: &Json) -> Rule {
    let name = text(json, "name");
    let whom = match text(json, "for").as_str() {
        "everyone" => t.say("broker.everyone").to_owned(),
        "anonymous" => t.say("broker.anonymous").to_owned(),
        "user" => t.fill("broker.user_named", &[("name", &name)]),
        _ => t.fill("broker.client_named", &[("name", &name)]),
    };
    let listener = text(json, "listener");
    let whom = if listener.is_empty() { whom } else { format!("{whom} ({listener})") };
    let rights = [("read", "broker.read"), ("write", "broker.write"), ("subscribe", "broker.subscribe")];
    let what: Vec<&str> =
        rights.into_iter().filter(|(key, _)| flag(json, key)).map(|(_, word)| t.say(word)).collect();
    Rule { whom, what: what.join(", "), is_allowed: flag(json, "allow"), filter: text(json, "filter") }
}

/// A size for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..=1_023 => format!("{bytes} B"),
        1_024..=1_048_575 => format!("{} KiB", bytes / 1_024),
        _ => format!("{}.{} MiB", bytes >> 20, (bytes >> 10) % 1_024 * 10 / 1_024),
    }
}
