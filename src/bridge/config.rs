//! What an upstream can be told, apart from how to reach it.

use std::sync::Arc;
use std::time::Duration;

use super::redirect::Allowed;
use super::route::Failover;
use super::start::Start;
use super::streams::StreamNo;
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{QoS, Version};
use crate::payload::{Form, Forms};
use crate::reading::Run;
use crate::secret::Secret;
use crate::time::BootId;

/// One upstream's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Unique among the upstreams.
    pub name: Arc<str>,
    /// The gateway's base topic: status goes to `<base>/status`.
    pub base: Arc<str>,
    /// This start of the gateway; the first part of the epoch.
    pub run: Run,
    /// This boot, for time correction.
    pub boot: BootId,
    /// Random, made once per store: tells two gateways under one id apart.
    pub instance: Arc<str>,
    /// Its addresses for people, `host:port`; at least one.
    pub places: Vec<Arc<str>>,
    /// The port of the first, for servers that upstream names without one.
    pub port: u16,
    /// Servers to which upstream may send us (5.0, 4.11). Default none.
    pub redirects: Vec<Allowed>,
    /// When it is connected. Default always.
    pub start: Start,
    /// In which order they are tried.
    pub failover: Failover,
    /// On a later address, the first must have answered for so long before it is gone back to. Default 5 min.
    pub return_after: Duration,
    /// MQTT client identifier.
    pub client_id: String,
    /// 3.1.1 or 5.0. Default 3.1.1, which every broker speaks.
    pub version: Version,
    /// MQTT user name.
    pub user_name: Option<String>,
    /// MQTT password.
    pub password: Option<Secret>,
    /// Default 30 s; a link that is silent for 1.5 times as long is dead.
    pub keep_alive: Duration,
    /// CONNACK must come within this. Default 10 s.
    pub connect_timeout: Duration,
    /// A PUBACK must come within this, or the link is made anew. Default 30 s.
    pub ack_timeout: Duration,
    /// How long the upstream shall keep our session (5.0). Default 1 h.
    pub session_expiry: Duration,
    /// Unacknowledged messages, unless upstream allows fewer. Default 1000, of which more than 100 are used only while
    /// upstream acknowledges so many within 8 ms; one slot is reserved for status and health.
    pub inflight_max: u16,
    /// Topics that get an alias in a connection, unless upstream allows fewer (5.0). Default 64.
    pub topic_alias_max: u16,
    /// The first wait before a new attempt. Default 1 s; full jitter: a random share of it.
    pub backoff_min: Duration,
    /// The longest wait. Default 60 s.
    pub backoff_max: Duration,
    /// The longest wait after a refusal that only people can mend (password, certificate). Default 15 min.
    pub backoff_refused_max: Duration,
    /// The backoff starts anew after being online for this long. Default 60 s.
    pub stable_after: Duration,
    /// Whether upstream forgets at each connect what it had for us. Default false: what comes in with QoS ≥ 1 while we are
    /// away waits there, and what was under way is not sent as new.
    pub clean_session: bool,
    /// Whether the own status is looked at upstream, and put right. Default true.
    pub watch_status: bool,
    /// Where the LAN is told, retained, whether the link is there: `1` or `0`. Default nowhere.
    pub notification_topic: Option<Arc<str>>,
    /// Whether each outage is accounted for on `<base>/receipt`. Default true.
    pub receipts: bool,
    /// Health goes at most this often. Default as often as there is news.
    pub health_every: Option<Duration>,
    /// Bytes to and from upstream per day (UTC), at most; beyond, only status and health go. Default none.
    pub bytes_per_day_max: Option<u64>,
    /// In which order a backlog goes out, and what comes meanwhile. Default oldest first.
    pub drain: DrainOrder,
    /// Percent of the messages that are live while a backlog drains interleaved, 1 to 99. Default 50.
    pub live_share: u8,
    /// Messages of a backlog per second, at most. Default as many as upstream takes.
    pub drain_messages_max: Option<u32>,
    /// Bytes of a backlog per second, at most, counted as records. Default as many as upstream takes.
    pub drain_bytes_max: Option<u32>,
    /// Streams beside the default one, which `drain` and `live_share` are for. Default none.
    pub streams: Vec<StreamConfig>,
    /// How the readings of each device are written.
    pub forms: Arc<Forms>,
    /// What goes out and comes in, and how it is named there; the first that matches counts.
    pub maps: Vec<Mapping>,
    /// Readings are committed at least this often while nothing waits for an acknowledgement. Default 1 s.
    pub commit_interval: Duration,
    /// Bytes of records kept in memory, written or not. Default 4 MiB. When the disk doesn't take them, the
    /// oldest are dropped at this bound. A burst may take twice as much while its commit is under way.
    pub memory_bytes_max: usize,
}

/// Topics that go to the upstream, come from there, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Local topics, whichever the direction.
    pub filter: TopicFilter,
    /// Which way they go.
    pub direction: Direction,
    /// Taken off the front of the local topic, if it stands there. Inwards: put in front.
    pub local_prefix: String,
    /// Put in front. Inwards: taken off, and what hasn't it doesn't come in.
    pub remote_prefix: String,
    /// What is subscribed to upstream: `filter` with the other prefix. Present exactly for what comes in.
    pub remote_filter: Option<TopicFilter>,
    /// Where a prefix has `{device}`, that is the level behind this beginning of a local topic. Only outwards.
    pub device_behind: Option<Arc<str>>,
    /// The QoS is at most this. Default 1. Towards upstream QoS 2 goes as 1: at least once.
    pub qos_max: QoS,
    /// What becomes of RETAIN.
    pub retain: RetainRule,
    /// What is older when it is to be sent is dropped and counted. Only outwards. Default never.
    pub expiry: Option<Duration>,
    /// These go before all others, a backlog included, and also when the day's bytes are used up. Only outwards.
    /// Default false.
    pub high: bool,
    /// The stream that it goes into: 0 is the default one. Only outwards.
    pub stream: StreamNo,
    /// Readings of a topic go several in a message, as a JSON array. Only outwards, and not with high priority. Default
    /// each by itself, as an object.
    pub batch: Option<Batch>,
    /// How readings are written, if not as on the LAN. Only outwards.
    pub form: Option<Form>,
}

/// How many readings of a topic share a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// So many at most.
    pub messages_max: u16,
    /// Its payload has so many bytes at most, but for a single reading that is larger by itself.
    pub bytes_max: usize,
    /// What is live waits for others until it is so old. What waits already, in a backlog, only for what is being read.
    pub wait_max: Duration,
}

/// A stream beside the default one: it has an outbox of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Unique among the upstream's.
    pub name: Arc<str>,
    /// In which order its backlog goes out.
    pub drain: DrainOrder,
    /// Percent of its messages that are live while its backlog drains interleaved, 1 to 99.
    pub live_share: u8,
    /// Before which others it goes.
    pub priority: Priority,
}

/// Of the streams that have something to send, those of the highest priority go, in turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Also when the day's bytes are used up.
    High,
    /// As the default stream.
    #[default]
    Normal,
    /// While no other has anything.
    Low,
}

/// In which order a backlog goes out, and what comes while it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrainOrder {
    /// All in the order in which it came.
    #[default]
    OldestFirst,
    /// What comes goes at once, then the newest of what waits, and so back to the oldest: the order of a topic is
    /// reversed within the backlog.
    NewestFirst,
    /// What comes has its share; the order holds within the backlog, and within what comes.
    Interleave,
}

/// Which way a mapping goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// To the upstream.
    #[default]
    Out,
    /// From the upstream.
    In,
    /// Each way.
    Both,
}

impl Direction {
    /// Whether messages go to the upstream.
    #[must_use]
    pub const fn goes_out(self) -> bool {
        matches!(self, Self::Out | Self::Both)
    }

    /// Whether messages come from the upstream.
    #[must_use]
    pub const fn comes_in(self) -> bool {
        matches!(self, Self::In | Self::Both)
    }
}

/// What becomes of RETAIN on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainRule {
    /// As published.
    #[default]
    Keep,
    /// Never set: some clouds close the connection at a RETAIN.
    Never,
    /// Always set.
    Always,
}
