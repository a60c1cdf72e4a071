//! From one address of the upstream to another.

use std::sync::Arc;
use std::time::Duration;

use super::super::backoff::WAIT_MIN;
use super::super::outputs::Outputs;
use super::failure::Failure;
use super::{Event, Link};
use crate::mqtt::ReasonCode;
use crate::time::Now;

impl Link {
    /// Whether the address that was probed has answered.
    pub(in crate::bridge) fn probed(
        &mut self,
        now: Now,
        answered: bool,
        out: &mut Outputs,
        events: &mut Vec<Event>,
    ) {
        if self.is_online() && self.route.probed(now.mono, answered) {
            // Another broker may be behind the first address, so the will has to say on this one that we left.
            let farewell = Some(ReasonCode::DisconnectWithWillMessage);
            let words = "its first address is back: going there";
            self.fail(now, Failure { moves: true, farewell, ..Failure::ours(words) }, out, events);
        }
    }

    /// How long to wait before the next attempt. A round of all addresses is tried without waiting.
    pub(super) fn wait_after(&mut self, failure: &Failure, was_online: bool) -> Duration {
        if failure.moves {
            self.route.lost();
            return WAIT_MIN;
        }
        if was_online {
            self.route.lost();
        } else if !self.route.failed() {
            return WAIT_MIN;
        }
        if failure.refused { self.backoff.refused() } else { self.backoff.failed() }
    }

    /// The address that is in use or tried next.
    pub(in crate::bridge) fn place(&self) -> Arc<str> {
        self.config.places.get(self.route.address()).cloned().unwrap_or_else(|| Arc::from(""))
    }
}
