//! What an upstream can be told, apart from how to reach it.

use std::sync::Arc;
use std::time::Duration;

use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{QoS, Version};
use crate::reading::Run;
use crate::secret::Secret;
use crate::time::BootId;

/// One upstream's settings.
#[derive(Clone, Debug)]
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
    /// Unacknowledged messages, unless upstream allows fewer. Default 20; one slot is reserved for status and
    /// health.
    pub inflight_max: u16,
    /// The first wait before a new attempt. Default 1 s; full jitter: a random share of it.
    pub backoff_min: Duration,
    /// The longest wait. Default 60 s.
    pub backoff_max: Duration,
    /// The longest wait after a refusal that only people can mend (password, certificate). Default 15 min.
    pub backoff_refused_max: Duration,
    /// The backoff starts anew after being online for this long. Default 60 s.
    pub stable_after: Duration,
    /// What goes out, and how it is named there; the first that matches counts.
    pub maps: Vec<Mapping>,
    /// Readings are committed at least this often while nothing waits for an acknowledgement. Default 1 s.
    pub commit_interval: Duration,
    /// Bytes of records kept in memory, written or not. Default 4 MiB. When the disk doesn't take them, the
    /// oldest are dropped at this bound. A burst may take twice as much while its commit is under way.
    pub memory_bytes_max: usize,
}

/// Local topics that go to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Local topics.
    pub filter: TopicFilter,
    /// Taken off the front of the local topic, if it stands there.
    pub local_prefix: String,
    /// Put in front.
    pub remote_prefix: String,
    /// The QoS towards upstream is at most this. Default 1. QoS 2 goes as 1: at least once.
    pub qos_max: QoS,
    /// What becomes of RETAIN.
    pub retain: RetainRule,
}

/// What becomes of RETAIN on the way up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainRule {
    /// As published on the LAN.
    #[default]
    Keep,
    /// Never set: some clouds close the connection at a RETAIN.
    Never,
}
