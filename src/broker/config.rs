//! What the broker can be told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::acl::Acl;
use crate::message::OutboxId;
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{PropertyLimits, QoS, Version};

/// The broker's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The gateway's base topic; LAN clients can't publish to `<base>/data|status|health|receipt|info`.
    pub base: Arc<str>,
    /// In the order of [`super::ListenerId`].
    pub listeners: Vec<ListenerPolicy>,
    /// Who may publish and subscribe to what, at the start; later [`super::Input::Access`] says. Default:
    /// everyone everything.
    pub acl: Arc<Acl>,
    /// What holds instead for those who came in by listeners with rules of their own, by the listener's name. Default
    /// none.
    pub own_rules: BTreeMap<Arc<str>, Arc<Acl>>,
    /// A client identifier must begin with one of these; also one that the broker assigned (`auto-…`). Others:
    /// 0x85 / 2. Default none: any will do.
    pub client_id_prefixes: Vec<String>,
    /// What goes to an outbox.
    pub forward: Vec<ForwardRule>,
    /// The devices of the gateway that take commands: what is published to `<base>/cmd/<device>` and below becomes an
    /// [`super::Event::Command`], besides being routed like any message. Default none.
    pub commands: Vec<Arc<str>>,
    /// Whether what is published to `<base>/config/<operation>` becomes an event as well. Default false.
    pub config_requests: bool,
    /// The largest packet taken in. Default 256 KiB; up to what the protocol can say. 5.0: told in CONNACK, DISCONNECT 0x95.
    pub packet_bytes_max: usize,
    /// The largest first packet. Default 16 KiB; larger: closed.
    pub first_packet_bytes_max: usize,
    /// A connection without CONNECT is closed after this. Default 5 s.
    pub connect_timeout: Duration,
    /// Connections in all. Default 500; more: CONNACK server unavailable / 0x97.
    pub connections_max: usize,
    /// Who may connect how often.
    pub arrivals: Arrivals,
    /// How fast a client may publish.
    pub publish_rate: PublishRate,
    /// Unacknowledged QoS 1 and 2 messages towards a client, unless it asks for fewer. Default 20.
    pub inflight_max: u16,
    /// Unacknowledged QoS 1 and 2 messages from a client. Default 32. 5.0: told as Receive Maximum, 0x93 above.
    /// 3.x: reading stops.
    pub receive_max: u16,
    /// Messages with QoS 1 and 2 that wait for a client. Default 1,000; at the bound [`Config::queue_full`] says who
    /// pays. QoS 0 never waits: it goes out at once, or is dropped.
    pub queue_messages_max: usize,
    /// Their bytes (topic and payload). Default 1 MiB.
    pub queue_bytes_max: usize,
    /// What happens where a queue is full. Default: the oldest message is dropped. Mosquitto drops the newest; but what
    /// waits here is telemetry, of which the latest counts most.
    pub queue_full: QueueFull,
    /// The same for the sessions of these users.
    pub queue_full_of: BTreeMap<Arc<str>, QueueFull>,
    /// The bytes of all such queues together. Default 32 MiB; above it the session with the largest queue pays: its
    /// oldest messages are dropped and counted.
    pub queues_bytes_max: usize,
    /// Bytes in a connection's out buffer above which its QoS 0 publishers are paused and QoS 1 and 2 wait in the
    /// session. At twice that, QoS 0 towards it is dropped and counted. Default 256 KiB.
    pub out_buffer_bytes_max: usize,
    /// A connection that was above it and does not get below half of it within this time is closed (5.0: 0x97),
    /// so that nobody is paused for longer. Default 10 s.
    pub out_buffer_stall_max: Duration,
    /// Client identifier, user name: bytes. Default 128.
    pub client_id_bytes_max: usize,
    /// Topic bytes. Default 1,024.
    pub topic_bytes_max: usize,
    /// Topic levels. Default 128.
    pub topic_levels_max: usize,
    /// Subscriptions of a session. Default 128; more: SUBACK 0x97 / 0x80.
    pub subscriptions_max: usize,
    /// Subscriptions of all sessions. Default 10,000; more: SUBACK 0x97 / 0x80.
    pub subscriptions_total_max: usize,
    /// Topic filters of one SUBSCRIBE: each of them costs a walk and a line in the log, whatever comes of it. Default
    /// 128, so that a client can make all its subscriptions at once; the filters above it get SUBACK 0x97 / 0x80.
    pub filters_per_packet_max: usize,
    /// Topic aliases that a client may set, and that we set towards a client that allows more. Default 16.
    /// 0: none in either direction.
    pub topic_alias_max: u16,
    /// User properties and bytes of properties in a packet of 5.0. Default 32 and 8 KiB; more: 0x97.
    pub properties: PropertyLimits,
    /// The longest keep alive (3.1.2.10). A 5.0 client that asks for more, or for none, is told ours; a 3.x client,
    /// which can't be told, is refused with return code 2. `None`: whatever the client says. Default none.
    pub keep_alive_max: Option<Duration>,
    /// Retained messages. Default 10,000; more are delivered but not kept.
    pub retained_max: usize,
    /// Their bytes. Default 16 MiB.
    pub retained_bytes_max: usize,
    /// The largest retained message: topic, payload, properties. Default 64 KiB; a larger one is delivered but not kept.
    pub retained_message_bytes_max: usize,
    /// Retained messages that were published by one user. Default 1,000; more are delivered but not kept. Those without
    /// a user name aren't told apart, and what was there before a restart is nobody's.
    pub retained_per_user_max: usize,
    /// Stored sessions. Default 2,000; above it the one that is offline for longest ends.
    pub sessions_max: usize,
    /// Caps the session expiry that a client asks for; also what a persistent 3.x session gets. `None`: no cap,
    /// and 3.x sessions stay for ever. Default none.
    pub session_expiry_max: Option<Duration>,
    /// The same for clients without a user name and for those whose identifier the broker made up. Default none.
    pub anonymous_session_expiry_max: Option<Duration>,
    /// The longest will delay; longer ones are cut to it. Default none.
    pub will_delay_max: Option<Duration>,
    /// The largest will: topic, payload, properties. It is kept in memory, and on disk, for as long as its client is
    /// there. Default 64 KiB; larger: CONNACK 0x95, 3.x: closed.
    pub will_bytes_max: usize,
    /// What a 5.0 client that asks for response information is told (3.1.2.11.6, 3.2.2.3.15); `%c` stands for its
    /// identifier, `%u` for its user name. Default: nothing.
    pub response_information: Option<String>,
    /// Memory that this process should take at most, in bytes; see [`super::memory`]. Default: what the shell has found
    /// out about this machine.
    pub memory_bytes_max: Option<u64>,
    /// How often the `$SYS` topics that have changed are published. Default 10 s; 0: never.
    pub sys_interval: Duration,
    /// Whether sessions, their messages and retained messages outlive the process: changes come as
    /// [`super::Event::Persist`], and acknowledgements wait for them. Default true.
    pub persistence: bool,
    /// How far apart such batches of changes are in the long run, where nobody presses. Default 100 ms, the first
    /// 300 after a rest excepted: on flash each costs far more than its bytes.
    pub commit_interval: Duration,
    /// How far apart they are where a client sends as soon as it is acknowledged, and so is held up by the disk.
    /// Default 0: as fast as the disk takes them, one after the other.
    pub commit_interval_pressed: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base: Arc::from("fieldgate/gateway"),
            listeners: Vec::new(),
            acl: Arc::new(Acl::open()),
            own_rules: BTreeMap::new(),
            client_id_prefixes: Vec::new(),
            forward: Vec::new(),
            commands: Vec::new(),
            config_requests: false,
            packet_bytes_max: 256 * 1024,
            first_packet_bytes_max: 16 * 1024,
            connect_timeout: Duration::from_secs(5),
            connections_max: 500,
            arrivals: Arrivals::default(),
            publish_rate: PublishRate::default(),
            inflight_max: 20,
            receive_max: 32,
            queue_messages_max: 1_000,
            queue_bytes_max: 1024 * 1024,
            queue_full: QueueFull::DropOldest,
            queue_full_of: BTreeMap::new(),
            queues_bytes_max: 32 * 1024 * 1024,
            out_buffer_bytes_max: 256 * 1024,
            out_buffer_stall_max: Duration::from_secs(10),
            client_id_bytes_max: 128,
            topic_bytes_max: 1_024,
            topic_levels_max: 128,
            subscriptions_max: 128,
            subscriptions_total_max: 10_000,
            filters_per_packet_max: 128,
            topic_alias_max: 16,
            properties: PropertyLimits { user_max: 32, bytes_max: 8 * 1024 },
            keep_alive_max: None,
            retained_max: 10_000,
            retained_bytes_max: 16 * 1024 * 1024,
            retained_message_bytes_max: 64 * 1024,
            retained_per_user_max: 1_000,
            sessions_max: 2_000,
            session_expiry_max: None,
            anonymous_session_expiry_max: None,
            will_delay_max: None,
            will_bytes_max: 64 * 1024,
            response_information: None,
            memory_bytes_max: None,
            sys_interval: Duration::from_secs(10),
            persistence: true,
            commit_interval: Duration::from_millis(100),
            commit_interval_pressed: Duration::ZERO,
        }
    }
}

/// Who may connect how often. Clients of this machine (loopback, Unix sockets) are exempt from all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// Clients of one address. Default 50; more: CONNACK server unavailable / 0x97.
    pub clients_per_address_max: usize,
    /// Connections of one address that have not got their CONNACK yet. Default 20; more: closed.
    pub half_open_per_address_max: usize,
    /// Connections of one address in a second. Default 20. Above it they wait, at most [`super::doorman::WAIT_MAX`],
    /// then they are closed.
    pub rate_per_address_max: u32,
    /// How many may come at once before that counts. Default 50.
    pub burst_per_address_max: u32,
    /// The same for all addresses together, in a second and at once. Default 100.
    pub rate_max: u32,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            clients_per_address_max: 50,
            half_open_per_address_max: 20,
            rate_per_address_max: 20,
            burst_per_address_max: 50,
            rate_max: 100,
        }
    }
}

/// How fast one client may publish. At the bound it isn't read from for a while; if it stays there for
/// [`super::rate::PATIENCE`], it is closed (5.0: 0x96). Default: as fast as it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishRate {
    /// Messages in a second.
    pub messages_max: Option<u32>,
    /// Bytes of PUBLISH packets' topics and payloads in a second.
    pub bytes_max: Option<u32>,
}

/// What happens where a session's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueFull {
    /// The oldest message in it is dropped and counted.
    #[default]
    DropOldest,
    /// The message that doesn't fit is dropped and counted.
    DropNewest,
    /// The session ends, and its client is disconnected (5.0: 0x97): when it comes back it learns by session present 0
    /// that something is missing, instead of not at all.
    Disconnect,
}

/// What a listener lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPolicy {
    /// For logs.
    pub name: Arc<str>,
    /// Whether a client without user name gets in.
    pub allow_anonymous: bool,
    /// Whether a user name must be right. Default true; else any name and password is taken, so this needs
    /// `allow_anonymous`.
    pub check_users: bool,
    /// Whether it has users of its own, instead of the broker's. Default false.
    pub own_users: bool,
    /// Whether the user name takes the place of the client identifier; who has none doesn't get in. Default false.
    pub client_id_from_user: bool,
    /// The protocol versions that get in. Default all.
    pub versions: Vec<Version>,
    /// The highest QoS of messages that its clients may send, and of what they are granted. Default 2.
    pub qos_max: QoS,
    /// Whether its clients may have messages retained. Default true.
    pub retain_available: bool,
    /// Clients that come in here, at most; also bounded by [`Config::connections_max`]. Default none.
    pub connections_max: Option<usize>,
}

impl Default for ListenerPolicy {
    fn default() -> Self {
        Self {
            name: Arc::from(""),
            allow_anonymous: false,
            check_users: true,
            own_users: false,
            client_id_from_user: false,
            versions: vec![Version::V31, Version::V311, Version::V5],
            qos_max: QoS::ExactlyOnce,
            retain_available: true,
            connections_max: None,
        }
    }
}

/// Messages whose topic matches go to an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardRule {
    /// Local topics.
    pub filter: TopicFilter,
    /// Where they go.
    pub outbox: OutboxId,
}
