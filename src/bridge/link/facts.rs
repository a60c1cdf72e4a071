//! What is told about a link.

use std::time::Duration;

use super::{Limits, Link, State};
use crate::bridge::words::LinkState;
use crate::time::{Mono, Now, Timestamp};

impl Link {
    pub(in crate::bridge) const fn is_online(&self) -> bool {
        matches!(self.state, State::Online { .. })
    }

    pub(in crate::bridge) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(in crate::bridge) const fn connections(&self) -> u64 {
        self.connections
    }

    /// How long it is, or was, away; since the start before the first connect.
    pub(in crate::bridge) fn away(&self, now: Now) -> Duration {
        now.mono.since(self.away_since)
    }

    /// When it went away; the start before the first connect.
    pub(in crate::bridge) const fn away_since(&self) -> Mono {
        self.away_since
    }

    pub(in crate::bridge) const fn was_online(&self) -> bool {
        self.was_online
    }

    pub(in crate::bridge) const fn since(&self) -> Timestamp {
        self.since
    }

    pub(in crate::bridge) fn error(&self) -> Option<String> {
        self.error.clone()
    }

    pub(in crate::bridge) fn retry_in(&self, now: Now) -> Option<Duration> {
        match self.state {
            State::Waiting { until } => Some(until.since(now.mono)),
            _ => None,
        }
    }

    pub(in crate::bridge) const fn state(&self) -> LinkState {
        match self.state {
            State::Waiting { .. } => LinkState::Waiting,
            State::Opening { .. } | State::Greeting { .. } => LinkState::Connecting,
            State::Online { .. } => LinkState::Online,
            State::Idle => LinkState::Idle,
            State::Ended => LinkState::Ended,
            State::Stopped => LinkState::Stopped,
        }
    }

    /// Another client with our identifier, in words; until we have been online for long.
    pub(in crate::bridge) fn rival(&self, now: Now) -> Option<String> {
        let stable = match self.state {
            State::Online { since } => now.mono.since(since) >= self.config.stable_after,
            _ => false,
        };
        (self.rival.is_known() && !stable)
            .then(|| format!("another gateway uses the client id {:?}", self.config.client_id))
    }
}
