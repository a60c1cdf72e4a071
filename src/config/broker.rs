//! `[broker]` and `[[broker.user]]`: the broker for the LAN, its bounds, and who gets in. Where it listens is read in
//! `listener`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::User;
use super::acl::ACL;
use super::gateway::YEAR_MS;
use super::listener::{LISTENER, Listener, listeners};
use super::mistake::Mistakes;
use super::names::unique;
use super::schema::Effect::{Live, Reconnect, Restart};
use super::schema::{Kind, Table, computed, duration, key, optional, required, several};
use super::section::{Section, Value};
use crate::broker::{Arrivals, Config, ListenerPolicy, PublishRate, QueueFull};
use crate::mqtt::PropertyLimits;
use crate::secret::SecretRef;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// The largest packet that MQTT can say (2.1.4), with its header of five bytes.
const PACKET_BYTES_MAX: u64 = 268_435_455 + 5;
/// The words of `queue_full`.
const QUEUE_FULL: Kind = Kind::Words(&["drop-oldest", "drop-newest", "disconnect"]);

/// `[broker]`
pub static BROKER: Table = Table {
    name: "[broker]",
    doc: "The MQTT broker for the LAN: its bounds.",
    keys: &[
        several("listener", &LISTENER, 16, Reconnect).cutting_off(),
        several("user", &USER, 1_000, Live).cutting_off(),
        several("acl", &ACL, 1_000, Live).cutting_off(),
        optional(
            "password_file",
            Kind::Path,
            Live,
            "More users, in Mosquitto's format; made with fieldgate passwd. Changes count at once.",
        )
        .cutting_off(),
        optional("acl_file", Kind::Path, Live, "More rules, in Mosquitto's format. Changes count at once.")
            .cutting_off(),
        optional(
            "client_id_prefixes",
            Kind::Texts { count_max: 64 },
            Live,
            "What client identifiers must begin with, one of these.",
        )
        .cutting_off(),
        key(
            "packet_max",
            Kind::Size { min: KIB, max: PACKET_BYTES_MAX },
            "\"256 KiB\"",
            Live,
            "The largest packet taken in; 1 KiB to 268435460 B, MQTT's own bound.",
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
            "connections_per_address_max",
            Kind::Integer { min: 1, max: 65_000 },
            "50",
            Live,
            "Clients of one address, this machine's own exempt; 1 to 65000.",
        ),
        key(
            "half_open_per_address_max",
            Kind::Integer { min: 1, max: 65_000 },
            "20",
            Live,
            "Connections of one address that are not let in yet; 1 to 65000.",
        ),
        key(
            "connect_rate_per_address_max",
            Kind::Integer { min: 1, max: 100_000 },
            "20",
            Live,
            "New connections of one address per second; 1 to 100000.",
        ),
        key(
            "connect_burst_per_address_max",
            Kind::Integer { min: 1, max: 100_000 },
            "50",
            Live,
            "How many of them may come at once; 1 to 100000.",
        ),
        key(
            "connect_rate_max",
            Kind::Integer { min: 1, max: 100_000 },
            "100",
            Live,
            "New connections of all addresses per second; 1 to 100000.",
        ),
        optional(
            "publish_rate_max",
            Kind::Integer { min: 1, max: 1_000_000 },
            Live,
            "Messages that a client may publish per second; 1 to 1000000.",
        ),
        optional(
            "publish_bytes_rate_max",
            Kind::Size { min: KIB, max: 1 << 30 },
            Live,
            "Their bytes per second, topic and payload; 1 KiB to 1 GiB.",
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
        key("queue_full", QUEUE_FULL, "\"drop-oldest\"", Live, "What happens when they are too many."),
        key(
            "queues_max",
            Kind::Size { min: KIB, max: 1 << 30 },
            "\"32 MiB\"",
            Live,
            "Bytes that wait for all clients together; 1 KiB to 1 GiB.",
        ),
        key(
            "out_buffer_max",
            Kind::Size { min: 4 * KIB, max: 64 * MIB },
            "\"256 KiB\"",
            Live,
            "Unsent bytes of a connection above which its publishers wait for up to 40 ms; above twice that, QoS 0 to it is dropped; 4 KiB to 64 MiB.",
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
            "subscriptions_total_max",
            Kind::Integer { min: 1, max: 1_000_000 },
            "10000",
            Live,
            "Subscriptions of all clients; 1 to 1000000.",
        ),
        key(
            "filters_per_packet_max",
            Kind::Integer { min: 1, max: 100_000 },
            "128",
            Live,
            "Topic filters of a SUBSCRIBE; 1 to 100000.",
        ),
        key(
            "topic_alias_max",
            Kind::Integer { min: 0, max: 65_535 },
            "16",
            Live,
            "Topic aliases per client, in each direction (MQTT 5); 0 to 65535.",
        ),
        key(
            "user_properties_max",
            Kind::Integer { min: 0, max: 10_000 },
            "32",
            Live,
            "User properties of a packet (MQTT 5); 0 to 10000.",
        ),
        key(
            "properties_max",
            Kind::Size { min: 256, max: MIB },
            "\"8 KiB\"",
            Live,
            "Bytes of all properties of a packet (MQTT 5); 256 B to 1 MiB.",
        ),
        computed(
            "keep_alive_max",
            duration(1_000, 65_535_000),
            "whatever the client says",
            Live,
            "The longest keep alive; 1s to 65535s.",
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
            "retained_message_max",
            Kind::Size { min: 0, max: 1 << 30 },
            "\"64 KiB\"",
            Live,
            "The largest of them; 0 B to 1 GiB.",
        ),
        key(
            "retained_per_user_max",
            Kind::Integer { min: 0, max: 1_000_000 },
            "1000",
            Live,
            "Those of one user; 0 to 1000000.",
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
        computed(
            "anonymous_session_expiry_max",
            duration(1_000, 10 * YEAR_MS),
            "as session_expiry_max",
            Live,
            "The same for clients without a user name or an identifier of their own; 1s to 3650d.",
        ),
        computed(
            "will_delay_max",
            duration(1_000, 10 * YEAR_MS),
            "whatever the client says",
            Live,
            "The longest delay of a will (MQTT 5); 1s to 3650d.",
        ),
        key(
            "will_max",
            Kind::Size { min: 0, max: MIB },
            "\"64 KiB\"",
            Live,
            "The largest will; 0 B to 1 MiB.",
        ),
        optional(
            "response_information",
            Kind::Text { bytes_max: 256 },
            Live,
            "What an MQTT 5 client is told that asks where its responses go; %c is its identifier, %u its user name.",
        ),
        computed(
            "memory_max",
            Kind::Size { min: 16 * MIB, max: 1 << 40 },
            "half of the memory, or the control group's limit if that is less",
            Live,
            "Memory that the gateway should take at most; 16 MiB to 1 TiB.",
        ),
        key(
            "persistence",
            Kind::Bool,
            "true",
            Restart,
            "Whether sessions, their messages and retained messages survive a restart, a crash and a power cut.",
        ),
        key(
            "commit_interval",
            duration(0, 10_000),
            "\"100ms\"",
            Live,
            "How far apart writes of what persistence keeps are in the long run; 0s to 10s. Larger spares flash.",
        ),
        key(
            "commit_interval_pressed",
            duration(0, 10_000),
            "\"0s\"",
            Live,
            "The same while clients send as fast as they are acknowledged; 0s (as fast as the disk) to 10s.",
        ),
        key(
            "sys_interval",
            duration(0, 86_400_000),
            "\"10s\"",
            Live,
            "How often $SYS topics are published; 0s (never) to 1d.",
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
        optional(
            "queue_full",
            QUEUE_FULL,
            Live,
            "What happens when too many messages wait for this user's clients.",
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
    let has_users = !users.is_empty() || section.is_mistaken("user") || section.is_given("password_file");
    let (policies, listeners) = listeners(section, has_users, mistakes);
    let mut config = limits(section, base, policies);
    config.queue_full_of = users
        .iter()
        .filter(|user| user.is_given("queue_full"))
        .map(|user| (Arc::from(user.string("name")), queue_full(user)))
        .collect();
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
    let prefixes = match section.value("client_id_prefixes") {
        Some(Value::Texts(texts)) => texts.iter().map(|(text, _)| text.clone()).collect(),
        _ => Vec::new(),
    };
    Config {
        base: Arc::clone(base),
        listeners,
        acl: Arc::default(),
        own_rules: BTreeMap::new(),
        client_id_prefixes: prefixes,
        commands: Vec::new(),
        config_requests: false,
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
        arrivals: Arrivals {
            clients_per_address_max: section.integer("connections_per_address_max"),
            half_open_per_address_max: section.integer("half_open_per_address_max"),
            rate_per_address_max: section.integer("connect_rate_per_address_max"),
            burst_per_address_max: section.integer("connect_burst_per_address_max"),
            rate_max: section.integer("connect_rate_max"),
        },
        publish_rate: PublishRate {
            messages_max: section.value("publish_rate_max").map(|_| section.integer("publish_rate_max")),
            bytes_max: section
                .value("publish_bytes_rate_max")
                .map(|_| u32::try_from(section.size("publish_bytes_rate_max")).unwrap_or(u32::MAX)),
        },
        inflight_max: section.integer("inflight_max"),
        receive_max: section.integer("receive_max"),
        queue_messages_max: section.integer("queue_messages_max"),
        queue_bytes_max: section.memory_size("queue_max"),
        queue_full: queue_full(section),
        queue_full_of: BTreeMap::new(),
        queues_bytes_max: section.memory_size("queues_max"),
        out_buffer_bytes_max: section.memory_size("out_buffer_max"),
        out_buffer_stall_max: section.duration("out_buffer_stall_max"),
        client_id_bytes_max: section.memory_size("client_id_max"),
        topic_bytes_max: section.memory_size("topic_max"),
        topic_levels_max: section.integer("topic_levels_max"),
        subscriptions_max: section.integer("subscriptions_max"),
        subscriptions_total_max: section.integer("subscriptions_total_max"),
        filters_per_packet_max: section.integer("filters_per_packet_max"),
        topic_alias_max: section.integer("topic_alias_max"),
        properties: PropertyLimits {
            user_max: section.integer("user_properties_max"),
            bytes_max: section.memory_size("properties_max"),
        },
        keep_alive_max: section.optional_duration("keep_alive_max"),
        retained_max: section.integer("retained_messages_max"),
        retained_bytes_max: section.memory_size("retained_max"),
        retained_message_bytes_max: section.memory_size("retained_message_max"),
        retained_per_user_max: section.integer("retained_per_user_max"),
        sessions_max: section.integer("sessions_max"),
        session_expiry_max: section.optional_duration("session_expiry_max"),
        anonymous_session_expiry_max: section.optional_duration("anonymous_session_expiry_max"),
        will_delay_max: section.optional_duration("will_delay_max"),
        will_bytes_max: section.memory_size("will_max"),
        response_information: section.text("response_information").map(str::to_owned),
        memory_bytes_max: section.value("memory_max").map(|_| section.size("memory_max")),
        sys_interval: section.duration("sys_interval"),
        persistence: section.bool("persistence").unwrap_or(true),
        commit_interval: section.duration("commit_interval"),
        commit_interval_pressed: section.duration("commit_interval_pressed"),
    }
}

fn queue_full(section: &Section) -> QueueFull {
    match section.word("queue_full") {
        "drop-newest" => QueueFull::DropNewest,
        "disconnect" => QueueFull::Disconnect,
        _ => QueueFull::DropOldest,
    }
}

pub(super) fn user(section: &Section) -> User {
    let nowhere = || SecretRef::Env(String::new());
    User {
        name: section.string("name"),
        password: section.secret("password").cloned().unwrap_or_else(nowhere),
    }
}
