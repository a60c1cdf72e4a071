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

    /// Leaves a connection that works for a new one.
    pub(in crate::bridge) fn renew(&mut self, now: Now, out: &mut Outputs, events: &mut Vec<Event>) {
        // Should the next one fail, the will has to say that we are away.
        let farewell = Some(ReasonCode::DisconnectWithWillMessage);
        let words = "our certificate is about to end: connecting with its successor";
        self.fail(now, Failure { moves: true, farewell, ..Failure::ours(words) }, out, events);
    }

    /// How long to wait before the next attempt. A round of all addresses is tried without waiting; two rounds begin
    /// `backoff_min` apart at least, whatever share of a wait was drawn.
    pub(super) fn wait_after(&mut self, now: Now, failure: &Failure, was_online: bool) -> Duration {
        if failure.moves {
            self.route.lost();
            return WAIT_MIN;
        }
        if failure.redirected {
            // Of a whole fleet that is sent away, not all come at once.
            return if was_online { self.backoff.failed() } else { WAIT_MIN };
        }
        let was_elsewhere = self.leaves_elsewhere(was_online);
        if was_online {
            self.route.lost();
            self.tries_elsewhere_again();
        } else if was_elsewhere {
            self.route.lost();
        } else if !self.route.failed() {
            return WAIT_MIN;
        } else {
            self.tries_elsewhere_again();
        }
        let wait = if failure.refused { self.backoff.refused() } else { self.backoff.failed() };
        let earliest = self.attempted_at.map(|at| at + self.config.backoff_min);
        wait.max(earliest.map_or(Duration::ZERO, |earliest| earliest.since(now.mono)))
    }

    /// The address that is in use or tried next.
    pub(in crate::bridge) fn place(&self) -> Arc<str> {
        if let Some(place) = self.elsewhere() {
            return Arc::from(place.to_string());
        }
        self.config.places.get(self.route.address()).cloned().unwrap_or_else(|| Arc::from(""))
    }
}
