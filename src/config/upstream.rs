//! `[[upstream]]` and `[[upstream.map]]`: the brokers that readings go to, and how topics are named there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::mistake::{Mistakes, Span, quoted};
use super::names::unique_texts;
use super::schema::Effect::Reconnect;
use super::schema::{self, Kind, Table, computed, key, optional, required, several};
use super::section::{Section, Value};
use super::{Gateway, Upstream, UpstreamTls, duration};
use crate::bridge::{Mapping, RetainRule};
use crate::broker::ForwardRule;
use crate::message::OutboxId;
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{QoS, Version};

/// The port of MQTT without and with TLS (IANA: mqtt, secure-mqtt).
const PORT_PLAIN: u16 = 1883;
const PORT_TLS: u16 = 8883;

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
            "1883, with TLS 8883",
            Reconnect,
            "Port, 1 to 65535.",
        ),
        key(
            "tls",
            Kind::OneOf(&[Kind::Bool, Kind::Table(&TLS)]),
            "false",
            Reconnect,
            "true: TLS with the system's certificate authorities; or [upstream.tls].",
        ),
        computed(
            "client_id",
            Kind::Text { bytes_max: 256 },
            "the gateway's id",
            Reconnect,
            "MQTT client identifier.",
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
            "20",
            Reconnect,
            "Unacknowledged messages, unless upstream allows fewer; 2 to 1000.",
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
        several("map", &MAP, 64, Reconnect),
    ],
};

/// `[upstream.tls]`
pub static TLS: Table = Table {
    name: "[upstream.tls]",
    doc: "TLS towards this upstream.",
    keys: &[
        computed(
            "ca",
            Kind::Path,
            "the system's authorities",
            Reconnect,
            "PEM file of the authority that signed the upstream's certificate.",
        ),
        computed("server_name", Kind::Host, "the host", Reconnect, "The name in the upstream's certificate."),
        optional(
            "cert",
            Kind::Path,
            Reconnect,
            "PEM file of our certificate chain, for an upstream that wants one.",
        ),
        optional("key", Kind::Path, Reconnect, "PEM file of its key."),
    ],
};

/// `[[upstream.map]]`
pub static MAP: Table = Table {
    name: "[[upstream.map]]",
    doc: "Topics that go to this upstream; without any, <base>/data/# as it is. The first that matches counts.",
    keys: &[
        required("filter", Kind::Filter, "\"fieldgate/gw/data/#\"", Reconnect, "Local topics."),
        key("local_prefix", Kind::TopicPrefix, "\"\"", Reconnect, "Taken off the front of the topic."),
        key("remote_prefix", Kind::TopicPrefix, "\"\"", Reconnect, "Put in front instead."),
        key("qos", Kind::Integer { min: 0, max: 1 }, "1", Reconnect, "QoS towards upstream at most, 0 or 1."),
        key(
            "retain",
            Kind::Words(&["keep", "never"]),
            "\"keep\"",
            Reconnect,
            "\"keep\": as published; \"never\": for clouds that refuse RETAIN.",
        ),
    ],
};

pub(super) fn upstreams(
    sections: &[Section],
    gateway: &Gateway,
    mistakes: &mut Mistakes<'_>,
) -> Vec<Upstream> {
    let named = sections.iter().filter(|section| !section.is_mistaken("name"));
    let names = named.filter_map(|section| {
        let key = if section.is_given("name") { "name" } else { "host" };
        section.text(key).map(|name| (name, section.span(key)))
    });
    unique_texts(mistakes, "[[upstream]]", "name", names);
    let mut clients: BTreeMap<(String, u16, String), Span> = BTreeMap::new();
    let mut upstreams = Vec::new();
    for section in sections {
        let upstream = upstream(section, gateway, mistakes);
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
        rules.extend(upstream.maps.iter().map(|map| ForwardRule { filter: map.filter.clone(), outbox }));
    }
    rules
}

fn upstream(section: &Section, gateway: &Gateway, mistakes: &mut Mistakes<'_>) -> Upstream {
    let host = section.string("host");
    let tls = tls(section, mistakes);
    let default_port = if tls.is_some() { PORT_TLS } else { PORT_PLAIN };
    let version = match section.word("version") {
        "5" => Version::V5,
        _ => Version::V311,
    };
    check_login(section, version, mistakes);
    check_times(section, mistakes);
    Upstream {
        name: Arc::from(section.text("name").unwrap_or(&host)),
        port: if section.is_given("port") { section.integer("port") } else { default_port },
        tls,
        client_id: section.text("client_id").unwrap_or(&gateway.id).to_owned(),
        version,
        user_name: section.text("user_name").map(str::to_owned),
        password: section.secret("password").cloned(),
        keep_alive: section.duration("keep_alive"),
        inflight_max: section.integer("inflight_max"),
        backoff_min: section.duration("backoff_min"),
        backoff_max: section.duration("backoff_max"),
        maps: maps(section, gateway, mistakes),
        host,
    }
}

fn tls(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<UpstreamTls> {
    let Some(table) = section.table("tls") else {
        return section.bool("tls").unwrap_or(false).then(UpstreamTls::default);
    };
    for (has, lacks) in [("cert", "key"), ("key", "cert")] {
        if table.is_given(has) && !table.is_given(lacks) {
            let message = format!("{has}: without {lacks} it is of no use");
            mistakes.add_with_help(
                table.key_span(has),
                message,
                format!("add {lacks} = \"/etc/fieldgate/….pem\""),
            );
        }
    }
    let path = |key| table.text(key).map(PathBuf::from);
    let server_name = table.text("server_name").map(str::to_owned);
    Some(UpstreamTls { ca: path("ca"), server_name, cert: path("cert"), key: path("key") })
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

fn maps(section: &Section, gateway: &Gateway, mistakes: &mut Mistakes<'_>) -> Vec<Mapping> {
    let sections = section.tables("map");
    let filters = sections.iter().filter_map(|map| match map.value("filter") {
        Some(Value::Filter(filter)) => Some((filter.as_str(), map.span("filter"))),
        _ => None,
    });
    unique_texts(mistakes, "[[upstream.map]]", "filter", filters);
    if sections.is_empty() {
        return readings(gateway).into_iter().collect();
    }
    sections.iter().filter_map(map).collect()
}

fn map(section: &Section) -> Option<Mapping> {
    let Some(Value::Filter(filter)) = section.value("filter") else { return None };
    Some(Mapping {
        filter: filter.clone(),
        local_prefix: section.string("local_prefix"),
        remote_prefix: section.string("remote_prefix"),
        qos_max: QoS::from_u8(section.integer("qos")).unwrap_or_default(),
        retain: match section.word("retain") {
            "never" => RetainRule::Never,
            _ => RetainRule::Keep,
        },
    })
}

/// Without a map: the readings, as they are. `None` only if the base topic is a mistake.
fn readings(gateway: &Gateway) -> Option<Mapping> {
    let filter = TopicFilter::parse(&format!("{}/data/#", gateway.base_topic)).ok()?;
    Some(Mapping {
        filter,
        local_prefix: String::new(),
        remote_prefix: String::new(),
        qos_max: QoS::AtLeastOnce,
        retain: RetainRule::Keep,
    })
}
