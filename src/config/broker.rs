//! `[broker]`, `[[broker.listener]]` and `[[broker.user]]`: the broker for the LAN, and who gets in.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::gateway::YEAR_MS;
use super::mistake::{Mistakes, Span, quoted};
use super::names::{unique, unique_texts};
use super::schema::Effect::{Live, Reconnect};
use super::schema::{Kind, Table, computed, duration, key, required, several};
use super::section::{Section, Value};
use super::{Listener, User};
use crate::broker::{Config, ListenerPolicy};
use crate::secret::SecretRef;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Where the broker listens if the file says nothing: for this machine alone.
const DEFAULT_BIND: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1883);

/// The name of a listener that has none.
const DEFAULT_NAME: &str = "mqtt";

/// `[broker]`
pub static BROKER: Table = Table {
    name: "[broker]",
    doc: "The MQTT broker for the LAN: its bounds.",
    keys: &[
        several("listener", &LISTENER, 16, Reconnect),
        several("user", &USER, 1_000, Live),
        key(
            "packet_max",
            Kind::Size { min: KIB, max: 16 * MIB },
            "\"256 KiB\"",
            Live,
            "The largest packet taken in; 1 KiB to 16 MiB.",
        ),
        key(
            "first_packet_max",
            Kind::Size { min: 256, max: MIB },
            "\"16 KiB\"",
            Live,
            "The largest first packet, from someone who isn't known yet; 256 B to 1 MiB.",
        ),
        key(
            "connect_timeout",
            duration(100, 60_000),
            "\"5s\"",
            Live,
            "A connection without CONNECT is closed after this; 100ms to 60s.",
        ),
        key(
            "connections_max",
            Kind::Integer { min: 1, max: 65_000 },
            "500",
            Live,
            "Connections in all; 1 to 65000.",
        ),
        key(
            "inflight_max",
            Kind::Integer { min: 1, max: 65_535 },
            "20",
            Live,
            "Unacknowledged messages towards a client; 1 to 65535.",
        ),
        key(
            "receive_max",
            Kind::Integer { min: 1, max: 65_535 },
            "32",
            Live,
            "Unacknowledged messages from a client; 1 to 65535.",
        ),
        key(
            "queue_messages_max",
            Kind::Integer { min: 1, max: 1_000_000 },
            "1000",
            Live,
            "Messages that wait for a client; 1 to 1000000.",
        ),
        key(
            "queue_max",
            Kind::Size { min: KIB, max: 1 << 30 },
            "\"1 MiB\"",
            Live,
            "Their bytes, topic and payload; 1 KiB to 1 GiB.",
        ),
        key(
            "out_buffer_max",
            Kind::Size { min: 4 * KIB, max: 64 * MIB },
            "\"256 KiB\"",
            Live,
            "Unsent bytes of a connection above which its publishers wait; 4 KiB to 64 MiB.",
        ),
        key(
            "out_buffer_stall_max",
            duration(100, 600_000),
            "\"10s\"",
            Live,
            "A connection that stays above it for this long is closed; 100ms to 10min.",
        ),
        key(
            "client_id_max",
            Kind::Size { min: 23, max: 65_535 },
            "\"128 B\"",
            Live,
            "The longest client identifier and user name; 23 B to 65535 B.",
        ),
        key(
            "topic_max",
            Kind::Size { min: 16, max: 65_535 },
            "\"1 KiB\"",
            Live,
            "The longest topic; 16 B to 65535 B.",
        ),
        key(
            "topic_levels_max",
            Kind::Integer { min: 1, max: 1_024 },
            "128",
            Live,
            "Levels of a topic; 1 to 1024.",
        ),
        key(
            "subscriptions_max",
            Kind::Integer { min: 1, max: 100_000 },
            "128",
            Live,
            "Subscriptions of a client; 1 to 100000.",
        ),
        key(
            "topic_alias_max",
            Kind::Integer { min: 0, max: 65_535 },
            "16",
            Live,
            "Topic aliases that a client may set (MQTT 5); 0 to 65535.",
        ),
        key(
            "retained_messages_max",
            Kind::Integer { min: 0, max: 1_000_000 },
            "10000",
            Live,
            "Retained messages; 0 to 1000000.",
        ),
        key(
            "retained_max",
            Kind::Size { min: 0, max: 1 << 30 },
            "\"16 MiB\"",
            Live,
            "Their bytes; 0 B to 1 GiB.",
        ),
        key(
            "sessions_max",
            Kind::Integer { min: 1, max: 100_000 },
            "2000",
            Live,
            "Sessions kept; 1 to 100000.",
        ),
        computed(
            "session_expiry_max",
            duration(1_000, 10 * YEAR_MS),
            "no cap; sessions of MQTT 3 clients stay for ever",
            Live,
            "How long the session of an absent client is kept at most; 1s to 3650d.",
        ),
    ],
};

/// `[[broker.listener]]`
pub static LISTENER: Table = Table {
    name: "[[broker.listener]]",
    doc: "Where the broker listens; without any, 127.0.0.1:1883 for this machine alone.",
    keys: &[
        computed(
            "name",
            Kind::Id { bytes_max: 64 },
            "mqtt",
            Reconnect,
            "What logs call it; unique among the listeners.",
        ),
        key(
            "bind",
            Kind::Address,
            "\"127.0.0.1:1883\"",
            Reconnect,
            "Address and port; 0.0.0.0 is every IPv4 interface.",
        ),
        computed(
            "allow_anonymous",
            Kind::Bool,
            "true on loopback, else false",
            Live,
            "Whether a client without user name gets in.",
        ),
    ],
};

/// `[[broker.user]]`
pub static USER: Table = Table {
    name: "[[broker.user]]",
    doc: "Who gets in.",
    keys: &[
        required("name", Kind::Text { bytes_max: 128 }, "\"plc\"", Live, "The MQTT user name."),
        required(
            "password",
            Kind::Secret,
            "{ file = \"/etc/fieldgate/secrets/plc\" }",
            Live,
            "Where the password is kept.",
        ),
    ],
};

/// The broker's own settings, apart from `forward`; the listeners; the users.
pub(super) fn broker(
    section: &Section,
    base: &Arc<str>,
    mistakes: &mut Mistakes<'_>,
) -> (Config, Vec<Listener>, Vec<User>) {
    let users = section.tables("user");
    unique(mistakes, "[[broker.user]]", "name", users);
    let (policies, listeners) =
        listeners(section, !users.is_empty() || section.is_mistaken("user"), mistakes);
    let config = limits(section, base, policies);
    if config.first_packet_bytes_max > config.packet_bytes_max && section.is_given("first_packet_max") {
        let sizes_read = !section.is_mistaken("packet_max") && !section.is_mistaken("first_packet_max");
        if sizes_read {
            mistakes.add(section.span("first_packet_max"), "first_packet_max: is more than packet_max");
        }
    }
    (config, listeners, users.iter().map(user).collect())
}

fn limits(section: &Section, base: &Arc<str>, listeners: Vec<ListenerPolicy>) -> Config {
    let packet_bytes_max = section.memory_size("packet_max");
    let first = section.memory_size("first_packet_max");
    Config {
        base: Arc::clone(base),
        listeners,
        forward: Vec::new(),
        packet_bytes_max,
        // A default that is larger than what was asked for all packets gives way.
        first_packet_bytes_max: if section.is_given("first_packet_max") {
            first
        } else {
            first.min(packet_bytes_max)
        },
        connect_timeout: section.duration("connect_timeout"),
        connections_max: section.integer("connections_max"),
        inflight_max: section.integer("inflight_max"),
        receive_max: section.integer("receive_max"),
        queue_messages_max: section.integer("queue_messages_max"),
        queue_bytes_max: section.memory_size("queue_max"),
        out_buffer_bytes_max: section.memory_size("out_buffer_max"),
        out_buffer_stall_max: section.duration("out_buffer_stall_max"),
        client_id_bytes_max: section.memory_size("client_id_max"),
        topic_bytes_max: section.memory_size("topic_max"),
        topic_levels_max: section.integer("topic_levels_max"),
        subscriptions_max: section.integer("subscriptions_max"),
        topic_alias_max: section.integer("topic_alias_max"),
        retained_max: section.integer("retained_messages_max"),
        retained_bytes_max: section.memory_size("retained_max"),
        sessions_max: section.integer("sessions_max"),
        session_expiry_max: section.optional_duration("session_expiry_max"),
    }
}

fn user(section: &Section) -> User {
    let nowhere = || SecretRef::Env(String::new());
    User {
        name: section.string("name"),
        password: section.secret("password").cloned().unwrap_or_else(nowhere),
    }
}

fn listeners(
    broker: &Section,
    has_users: bool,
    mistakes: &mut Mistakes<'_>,
) -> (Vec<ListenerPolicy>, Vec<Listener>) {
    let sections = broker.tables("listener");
    if sections.is_empty() {
        let name: Arc<str> = Arc::from(DEFAULT_NAME);
        let policy = ListenerPolicy { name: Arc::clone(&name), allow_anonymous: true };
        return (vec![policy], vec![Listener { name, bind: DEFAULT_BIND }]);
    }
    let named = sections.iter().filter(|section| !section.is_mistaken("name"));
    let names = named.map(|section| (section.text("name").unwrap_or(DEFAULT_NAME), section.span("name")));
    unique_texts(mistakes, "[[broker.listener]]", "name", names);
    let mut bound: Vec<(SocketAddr, Span)> = Vec::new();
    let mut policies = Vec::new();
    let mut listeners = Vec::new();
    for section in sections {
        let name: Arc<str> = Arc::from(section.text("name").unwrap_or(DEFAULT_NAME));
        let bind = match section.value("bind") {
            Some(Value::Address(bind)) => Some(*bind),
            _ => None,
        };
        let is_loopback = bind.is_none_or(|bind| bind.ip().to_canonical().is_loopback());
        let allow_anonymous = section.bool("allow_anonymous").unwrap_or(is_loopback);
        if let Some(bind) = bind {
            clash(section, bind, &bound, mistakes);
            bound.push((bind, section.span("bind")));
            if !has_users && !allow_anonymous && !section.is_mistaken("allow_anonymous") {
                nobody_gets_in(section, bind, is_loopback, mistakes);
            }
        }
        policies.push(ListenerPolicy { name: Arc::clone(&name), allow_anonymous });
        listeners.push(Listener { name, bind: bind.unwrap_or(DEFAULT_BIND) });
    }
    (policies, listeners)
}

/// Notes a listener that faces the LAN, or refuses the nameless, while there are no users.
fn nobody_gets_in(section: &Section, bind: SocketAddr, is_loopback: bool, mistakes: &mut Mistakes<'_>) {
    const HELP: &str = "add [[broker.user]] with name = \"…\" and password = { file = \"/etc/fieldgate/secrets/…\" }, \
                        or write allow_anonymous = true here to let everyone in";
    if is_loopback {
        let message = "allow_anonymous: without a [[broker.user]] nobody could get in";
        mistakes.add_with_help(section.span("allow_anonymous"), message, HELP);
    } else {
        let message = format!("bind: {bind} faces the network, but there is no [[broker.user]] to let in");
        mistakes.add_with_help(section.span("bind"), message, HELP);
    }
}

/// Notes an address that another listener holds. Port 0 lets the system choose, so it never clashes.
fn clash(section: &Section, bind: SocketAddr, bound: &[(SocketAddr, Span)], mistakes: &mut Mistakes<'_>) {
    let holds = |other: &SocketAddr| {
        let everywhere =
            |a: &SocketAddr, b: &SocketAddr| a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4());
        other.port() == bind.port()
            && bind.port() != 0
            && (other.ip() == bind.ip() || everywhere(other, &bind) || everywhere(&bind, other))
    };
    if let Some((other, span)) = bound.iter().find(|(other, _)| holds(other)) {
        let place = mistakes.place(*span);
        let message = match *other == bind {
            true => format!("bind: {bind} is taken by the [[broker.listener]] at {place}"),
            false => format!("bind: {bind} is covered by {} at {place}", quoted(&other.to_string())),
        };
        mistakes.add(section.span("bind"), message);
    }
}
