//! `[[upstream]]`: the brokers that readings go to. What goes there and comes from there, `map` knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::map::{self, MAP};
use super::mistake::{Mistakes, Span, quoted};
use super::names::unique_texts;
use super::schema::Effect::Reconnect;
use super::schema::{self, Kind, Table, computed, key, optional, required, several};
use super::section::Section;
use super::stream::{self, STREAM, STREAMS_MAX};
use super::template::{Becomes, Names, expand};
use super::upstream_tls::{TLS, tls};
use super::{Upstream, duration, reach};
use crate::broker::ForwardRule;
use crate::message::OutboxId;
use crate::mqtt::Version;

/// The port of MQTT without and with TLS (IANA: mqtt, secure-mqtt).
const PORT_PLAIN: u16 = 1883;
const PORT_TLS: u16 = 8883;
/// Within WebSocket, those of HTTP.
const PORT_WS: u16 = 80;
const PORT_WSS: u16 = 443;

/// The longest client identifier, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 256;

/// `[[upstream]]`
pub static UPSTREAM: Table = Table {
    name: "[[upstream]]",
    doc: "A broker that readings go to.",
    keys: &[
        computed("name", Kind::Level { bytes_max: 64 }, "the host", Reconnect, "Unique among the upstreams."),
        required("host", Kind::Host, "\"mqtt.example.com\"", Reconnect, "Host name or IP address."),
        computed(
            "port",
            Kind::Integer { min: 1, max: 65_535 },
            "1883, with TLS 8883, with websocket 80 and 443",
            Reconnect,
            "Port, 1 to 65535.",
        ),
        reach::FALLBACK,
        reach::FAILOVER,
        reach::RETURN_AFTER,
        reach::REDIRECT_HOSTS,
        reach::START,
        reach::THRESHOLD,
        reach::IDLE_TIMEOUT,
        reach::WEBSOCKET,
        reach::PROXY_KEY,
        reach::BIND,
        key(
            "tls",
            Kind::OneOf(&[Kind::Bool, Kind::Table(&TLS)]),
            "false",
            Reconnect,
            "true: TLS with the system's certificate authorities; or [upstream.tls].",
        ),
        computed(
            "client_id",
            Kind::Text { bytes_max: CLIENT_ID_BYTES_MAX },
            "the gateway's id",
            Reconnect,
            "MQTT client identifier; {gateway}, {site}, {hostname} and {machine} stand for those.",
        ),
        key(
            "version",
            Kind::Words(&["3.1.1", "5"]),
            "\"3.1.1\"",
            Reconnect,
            "MQTT version, \"3.1.1\" or \"5\"; every broker speaks 3.1.1.",
        ),
        optional("user_name", Kind::Text { bytes_max: 1_024 }, Reconnect, "MQTT user name."),
        optional("password", Kind::Secret, Reconnect, "Where the MQTT password is kept."),
        key(
            "keep_alive",
            schema::duration(2_000, 65_535_000),
            "\"30s\"",
            Reconnect,
            "A link that is silent for 1.5 times this is dead; 2s to 65535s, whole seconds.",
        ),
        key(
            "inflight_max",
            Kind::Integer { min: 2, max: 1_000 },
            "1000",
            Reconnect,
            "Unacknowledged messages, unless upstream allows fewer; 2 to 1000. At most so many come twice after a cut. \
             It begins with 100 at most, and has more only while upstream acknowledges so many within 8 ms.",
        ),
        key(
            "topic_alias_max",
            Kind::Integer { min: 0, max: 1_000 },
            "64",
            Reconnect,
            "Topics that a version 5 upstream gets by number once it knows them, unless it allows fewer; 0 to 1000.",
        ),
        key(
            "backoff_min",
            schema::duration(100, 3_600_000),
            "\"1s\"",
            Reconnect,
            "The first wait before a new attempt; 100ms to 1h.",
        ),
        key(
            "backoff_max",
            schema::duration(100, 86_400_000),
            "\"60s\"",
            Reconnect,
            "The longest wait; 100ms to 1d.",
        ),
        key(
            "ack_timeout",
            schema::duration(1_000, 600_000),
            "\"30s\"",
            Reconnect,
            "A message that is not acknowledged within this ends the connection, and goes again; 1s to 10min.",
        ),
        key(
            "clean_session",
            Kind::Bool,
            "false",
            Reconnect,
            "true: upstream forgets at each connect what it had for us, also messages that come in.",
        ),
        key(
            "session_expiry",
            schema::duration(0, 2_592_000_000),
            "\"1h\"",
            Reconnect,
            "How long a version 5 upstream keeps for us what comes in while we are away; 0s to 30d.",
        ),
        key(
            "watch_status",
            Kind::Bool,
            "true",
            Reconnect,
            "The gateway subscribes to its own status and puts right what a late will says.",
        ),
        optional(
            "notification_topic",
            Kind::TopicPrefix,
            Reconnect,
            "Where the LAN is told, retained, whether this upstream is there: 1 or 0.",
        ),
        key(
            "receipts",
            Kind::Bool,
            "true",
            Reconnect,
            "Each outage is accounted for on <base>/receipt, when all that waited is sent.",
        ),
        optional(
            "health_every",
            schema::duration(1_000, 604_800_000),
            Reconnect,
            "Health goes to this upstream at most this often; 1s to 7d.",
        ),
        optional(
            "bytes_per_day_max",
            Kind::Size { min: 1_024, max: 1 << 40 },
            Reconnect,
            "Bytes to and from this upstream per day (UTC); beyond, only status, health and high priority go; 1 KiB to 1 TiB.",
        ),
        key(
            "drain",
            Kind::Words(&["oldest-first", "newest-first", "interleave"]),
            "\"oldest-first\"",
            Reconnect,
            "How a backlog goes out: \"oldest-first\", all in order; \"newest-first\": what comes at once, then backwards; \"interleave\": what comes has its share.",
        ),
        key(
            "live_share",
            Kind::Integer { min: 1, max: 99 },
            "50",
            Reconnect,
            "With interleave, the percentage of messages that are live while a backlog drains; 1 to 99.",
        ),
        optional(
            "drain_messages_max",
            Kind::Integer { min: 1, max: 1_000_000 },
            Reconnect,
            "Messages of a backlog per second, at most; 1 to 1000000.",
        ),
        optional(
            "drain_bytes_max",
            Kind::Size { min: 64, max: 1 << 30 },
            Reconnect,
            "Bytes of a backlog per second, at most; 64 B to 1 GiB.",
        ),
        several("stream", &STREAM, STREAMS_MAX, Reconnect),
        several("map", &MAP, 64, Reconnect),
    ],
};

pub(super) fn upstreams(
    sections: &[Section],
    names: Names<'_>,
    mistakes: &mut Mistakes<'_>,
) -> Vec<Upstream> {
    let named = sections.iter().filter(|section| !section.is_mistaken("name"));
    let own_names = named.filter_map(|section| {
        let key = if section.is_given("name") { "name" } else { "host" };
        section.text(key).map(|name| (name, section.span(key)))
    });
    unique_texts(mistakes, "[[upstream]]", "name", own_names);
    let mut clients: BTreeMap<(String, u16, String), Span> = BTreeMap::new();
    let mut upstreams = Vec::new();
    for section in sections {
        let upstream = upstream(section, names, mistakes);
        if section.text("host").is_some() {
            let client = (upstream.host.clone(), upstream.port, upstream.client_id.clone());
            match clients.get(&client) {
                Some(first) => same_client(section, *first, &upstream, mistakes),
                None => {
                    clients.insert(client, section.span("host"));
                }
            }
        }
        upstreams.push(upstream);
    }
    upstreams
}

/// Notes two connections to one broker under one client identifier: each would throw the other out
/// (MQTT 3.1.1, 3.1.4-2).
fn same_client(section: &Section, first: Span, upstream: &Upstream, mistakes: &mut Mistakes<'_>) {
    let place = mistakes.place(first);
    let message = format!(
        "client_id: {} is also used at {}:{} by the [[upstream]] at {place}; each would throw the other out",
        quoted(&upstream.client_id),
        upstream.host,
        upstream.port
    );
    mistakes.add_with_help(section.span("client_id"), message, "give each a client_id of its own");
}

/// What goes to which outbox: one rule per map.
pub(super) fn forward(upstreams: &[Upstream]) -> Vec<ForwardRule> {
    let mut rules = Vec::new();
    for (outbox, upstream) in (0..=u16::MAX).map(OutboxId).zip(upstreams) {
        let outward = upstream.maps.iter().filter(|map| map.direction.goes_out());
        rules.extend(outward.map(|map| ForwardRule { filter: map.filter.clone(), outbox }));
    }
    rules
}

fn upstream(section: &Section, names: Names<'_>, mistakes: &mut Mistakes<'_>) -> Upstream {
    let host = section.string("host");
    let tls = tls(section, mistakes);
    let default_port = match (tls.is_some(), reach::websocket(section).is_some()) {
        (false, false) => PORT_PLAIN,
        (true, false) => PORT_TLS,
        (false, true) => PORT_WS,
        (true, true) => PORT_WSS,
    };
    let version = match section.word("version") {
        "5" => Version::V5,
        _ => Version::V311,
    };
    if section.text("notification_topic") == Some("") {
        mistakes.add(section.span("notification_topic"), "notification_topic: is empty");
    }
    check_login(section, version, mistakes);
    check_times(section, mistakes);
    let port = if section.is_given("port") { section.integer("port") } else { default_port };
    Upstream {
        name: Arc::from(section.text("name").unwrap_or(&host)),
        port,
        reach: reach::reach(section, port, mistakes),
        start: reach::start(section),
        tls,
        client_id: client_id(section, names, mistakes),
        version,
        user_name: section.text("user_name").map(str::to_owned),
        password: section.secret("password").cloned(),
        keep_alive: section.duration("keep_alive"),
        inflight_max: section.integer("inflight_max"),
        topic_alias_max: section.integer("topic_alias_max"),
        backoff_min: section.duration("backoff_min"),
        backoff_max: section.duration("backoff_max"),
        ack_timeout: section.duration("ack_timeout"),
        clean_session: section.bool("clean_session").unwrap_or(false),
        notification_topic: section.text("notification_topic").map(Arc::from),
        watch_status: section.bool("watch_status").unwrap_or(true),
        session_expiry: section.duration("session_expiry"),
        receipts: section.bool("receipts").unwrap_or(true),
        health_every: section.optional_duration("health_every"),
        bytes_per_day_max: section.is_given("bytes_per_day_max").then(|| section.size("bytes_per_day_max")),
        drain: stream::drain(section),
        live_share: section.integer("live_share"),
        drain_messages_max: section
            .is_given("drain_messages_max")
            .then(|| section.integer("drain_messages_max")),
        drain_bytes_max: section
            .is_given("drain_bytes_max")
            .then(|| u32::try_from(section.size("drain_bytes_max")).unwrap_or(u32::MAX)),
        maps: map::maps(section, names, mistakes),
        streams: stream::streams(section, mistakes),
        host,
    }
}

fn client_id(section: &Section, names: Names<'_>, mistakes: &mut Mistakes<'_>) -> String {
    let Some(text) = section.text("client_id") else { return names.gateway.id.clone() };
    let id = expand(section, "client_id", text, Becomes::Text, names, mistakes);
    let id = id.unwrap_or_else(|| text.to_owned());
    if id.len() > CLIENT_ID_BYTES_MAX {
        let message =
            format!("client_id: {} has {} bytes, {CLIENT_ID_BYTES_MAX} at most", quoted(&id), id.len());
        mistakes.add(section.span("client_id"), message);
    }
    id
}

fn check_login(section: &Section, version: Version, mistakes: &mut Mistakes<'_>) {
    // MQTT 3.1.1, 3.1.2-22; 5.0 has no such rule.
    let is_v311 = version == Version::V311 && !section.is_mistaken("version");
    if is_v311 && section.secret("password").is_some() && !section.is_given("user_name") {
        let message = "password: MQTT 3.1.1 has no password without a user name";
        mistakes.add_with_help(section.key_span("password"), message, "add user_name");
    }
}

fn check_times(section: &Section, mistakes: &mut Mistakes<'_>) {
    let wait = |key| section.optional_duration(key);
    if let (Some(min), Some(max)) = (wait("backoff_min"), wait("backoff_max"))
        && min > max
    {
        let (min, max) = (duration::print(min), duration::print(max));
        if section.is_given("backoff_max") {
            let message = format!("backoff_max: {max:?} is shorter than backoff_min, {min:?}");
            mistakes.add(section.span("backoff_max"), message);
        } else {
            let message = format!("backoff_min: {min:?} is longer than backoff_max, {max:?}");
            mistakes.add(section.span("backoff_min"), message);
        }
    }
    if section.duration("keep_alive").subsec_nanos() != 0 {
        mistakes.add(section.span("keep_alive"), "keep_alive: MQTT counts it in whole seconds");
    }
}
