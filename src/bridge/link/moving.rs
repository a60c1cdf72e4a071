//! From one address of the upstream to another.

use std::sync::Arc;
use std::time::Duration;

use super::super::backoff::WAIT_MIN;
use super::super::config::Config;
use super::super::outputs::Outputs;
use super::failure::Failure;
use super::{Event, Link, State};
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

    /// Ends whatever there is, for a connection with other settings.
    pub(in crate::bridge) fn leave_for_others(
        &mut self,
        now: Now,
        out: &mut Outputs,
        events: &mut Vec<Event>,
    ) {
        match self.state {
            State::Online { .. } => {
                // The next one may be to another broker, so the will has to say on this one that we left.
                let farewell = Some(ReasonCode::DisconnectWithWillMessage);
                let words = "its settings have changed: connecting with the new ones";
                self.fail(now, Failure { moves: true, farewell, ..Failure::ours(words) }, out, events);
            }
            State::Opening { .. } | State::Greeting { .. } => {
                self.clean_next |= matches!(self.state, State::Greeting { clean: true, .. });
                out.forget_bytes();
                out.close();
            }
            State::Waiting { .. } | State::Idle | State::Ended | State::Stopped => {}
        }
    }

    /// Begins with other settings: what was learnt of upstream is forgotten, since it may be another one.
    pub(in crate::bridge) fn begin_with(&mut self, config: Arc<Config>, now: Now) {
        let seed = self.backoff.seed();
        *self = Self {
            connections: self.connections,
            since: self.since,
            away_since: self.away_since,
            was_online: self.was_online,
            clean_next: self.clean_next,
            error: self.error.take(),
            ..Self::new(config, seed, now)
        };
    }

    /// Takes settings that no connection depends on.
    pub(in crate::bridge) fn set_config(&mut self, config: Arc<Config>) {
        self.config = config;
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
