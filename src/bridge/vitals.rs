//! How often health goes to this upstream: where each byte costs, not at each change.

use std::sync::Arc;

use bytes::Bytes;

use super::Bridge;
use super::words::Notice;
use crate::time::{Mono, Now};

/// The newest health that has not been handed on, and when the next may be.
#[derive(Debug, Default)]
pub(super) struct Vitals {
    waiting: Option<(Arc<str>, Bytes)>,
    next_at: Option<Mono>,
}

impl Vitals {
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.next_at.filter(|_| self.waiting.is_some())
    }
}

impl Bridge {
    pub(super) fn set_slot(&mut self, topic: &Arc<str>, payload: Bytes) {
        let is_health = topic.strip_prefix(&*self.config.base) == Some("/health");
        if self.config.health_every.is_some() && is_health {
            self.vitals.waiting = Some((topic.clone(), payload));
        } else if !self.slots.set(topic, payload) {
            self.out.notice(Notice::Dropping { reason: "slots" });
        }
    }

    /// Hands the newest health on, if it is time.
    pub(super) fn tell_vitals(&mut self, now: Now) {
        let Some(every) = self.config.health_every else { return };
        if self.vitals.next_at.is_none_or(|at| now.mono >= at)
            && let Some((topic, payload)) = self.vitals.waiting.take()
        {
            self.vitals.next_at = Some(now.mono + every);
            self.slots.set(&topic, payload);
        }
    }
}
