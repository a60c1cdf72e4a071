//! How the page does, and the little that those who look at it are told again and again.

use serde_json::{Value as Json, json};

use super::{Snapshot, link_state};
use crate::expiry::Dated;
use crate::sensor::PortState;

/// The page's server, as status tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Where it is; none where there is no page.
    pub address: Option<String>,
    /// Why it isn't there, or what else is wrong with it.
    pub error: Option<String>,
    /// Nobody has claimed the gateway yet.
    pub unclaimed: bool,
    /// The name by which neighbours find the gateway, such as `gw-7.local`; none where it isn't announced.
    pub local_name: Option<String>,
    /// When its certificate ends.
    pub dates: Vec<Dated>,
}

impl Page {
    pub(super) fn problem(&self) -> Option<String> {
        self.error.as_ref().map(|error| format!("the page: {error}"))
    }

    pub(super) fn json(&self) -> Json {
        json!({
            "address": self.address,
            "error": self.error,
            "unclaimed": self.unclaimed,
            "local_name": self.local_name,
        })
    }
}

impl Snapshot {
    /// What changes while one looks on: state, problems, links, backlogs, counts.
    #[must_use]
    pub fn summary(&self) -> Json {
        let upstream = |upstream: &crate::bridge::Status| {
            json!({
                "name": &*upstream.name,
                "state": link_state(upstream.state),
                "error": upstream.error,
                "paused": upstream.paused.is_some(),
                "messages": upstream.backlog_records,
                "bytes": upstream.backlog_bytes,
                "oldest_s": upstream.backlog_oldest.map(|age| age.as_secs()),
                "delivered": upstream.delivered,
            })
        };
        let devices: Vec<_> = self.devices().collect();
        json!({
            "time": self.now.wall.to_string(),
            "clock": self.now.trust.as_str(),
            "state": self.state(),
            "problems": self.problems(),
            "uptime_s": self.uptime.as_secs(),
            "config": {"pending": self.config_pending, "error": self.config_error},
            "upstreams": self.upstreams.iter().map(upstream).collect::<Vec<_>>(),
            "sensors": {
                "count": devices.len(),
                "stale": devices.iter().filter(|device| device.stale && !device.waiting).count(),
            },
            "ports": {
                "count": self.ports.len(),
                "down": self.ports.iter().filter(|port| port.state == PortState::Down).count(),
            },
            "clients": self.broker.as_ref().map(|stats| stats.clients_connected),
            "rss_bytes": self.rss_bytes,
            "disk_free_bytes": self.disk_free_bytes,
        })
    }
}
