//! A connection that is made anew while all is well: nothing more is sent, what is under way is waited for, then it is left.

use std::time::Duration;

use super::Bridge;
use crate::time::{Mono, Now};

/// What is under way gets so long to be acknowledged; what isn't goes again on the next connection.
const WAIT: Duration = Duration::from_secs(5);

impl Bridge {
    /// The shell has something better for a new connection.
    pub(super) fn renew(&mut self, now: Now) {
        if self.link.is_online() && self.stopping.is_none() {
            self.leave_soon(now);
        }
    }

    /// Nothing more is sent; what is under way has its time.
    pub(super) fn leave_soon(&mut self, now: Now) {
        self.renewing.get_or_insert(now.mono + WAIT);
    }

    /// Leaves the connection as soon as it may be.
    pub(super) fn mind_renewal(&mut self, now: Now) {
        let Some(until) = self.renewing else { return };
        let calm = self.window.records_in_flight() == 0 || now.mono >= until;
        if !self.link.is_online() || self.stopping.is_some() {
            self.renewing = None;
            self.begin_with_coming(now);
        } else if calm {
            self.renewing = None;
            if self.begin_with_coming(now) {
                return;
            }
            let mut events = Vec::new();
            self.link.renew(now, &mut self.out, &mut events);
            self.take_events(now, &mut events);
        }
    }

    pub(super) const fn renewal_deadline(&self) -> Option<Mono> {
        self.renewing
    }
}
