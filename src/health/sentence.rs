//! The state in a sentence, for people who see one line of it: `systemctl status`.

use super::{Snapshot, span};
use crate::bridge::LinkState;

/// A supervisor's line holds about so much.
const CHARS_MAX: usize = 200;

impl Snapshot {
    /// How the gateway is: what is wrong first, else what it does.
    #[must_use]
    pub fn sentence(&self) -> String {
        let problems = self.problems();
        let Some(first) = problems.first() else { return self.all_is_well() };
        let more = match problems.len() - 1 {
            0 => String::new(),
            count => format!("; {count} more"),
        };
        let kept: String = first.chars().take(CHARS_MAX).collect();
        format!("degraded: {kept}{more}")
    }

    fn all_is_well(&self) -> String {
        let online = self.upstreams.iter().filter(|upstream| upstream.state == LinkState::Online).count();
        let clients = self.broker.as_ref().map_or(0, |broker| broker.clients_connected);
        format!(
            "ok for {}: devices: {}, LAN clients: {clients}, upstreams online: {online} of {}",
            span(self.uptime),
            self.devices().count(),
            self.upstreams.len(),
        )
    }
}
