//! When the link is wanted: always, once, or where messages wait. Connecting is the link's business.

use std::time::Duration;

use super::words::LinkState;
use super::{Bridge, birth};
use crate::time::{Mono, Now};

/// When an upstream is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the start, and again after each end.
    #[default]
    Automatic,
    /// When messages wait.
    Lazy {
        /// So many.
        threshold: u64,
        /// Without any message for so long it is left again.
        idle_timeout: Duration,
    },
    /// At the start; after the first connection has ended only when a person says so.
    Once,
}

/// What the bridge knows of it.
#[derive(Debug, Default)]
pub(super) struct Want {
    /// A message was last under way.
    busy_at: Mono,
    /// A person wants a connection, and there was none since.
    asked: bool,
    /// The status says that we leave; when that is acknowledged, we do.
    leaving: bool,
}

impl Bridge {
    /// A person wants a connection now.
    pub(super) fn connect_now(&mut self, now: Now) {
        if self.stopping.is_none() {
            self.want.asked = self.link.connect_now(now);
        }
    }

    /// A message came, or there is a connection.
    pub(super) fn is_busy(&mut self, now: Now) {
        self.want.busy_at = now.mono;
    }

    /// A connection is there.
    pub(super) fn want_met(&mut self, now: Now) {
        self.want = Want { busy_at: now.mono, ..Want::default() };
    }

    /// Begins and ends connections that are wanted only at times.
    pub(super) fn mind_start(&mut self, now: Now) {
        let Start::Lazy { threshold, .. } = self.config.start else { return };
        if self.stopping.is_some() {
            return;
        }
        // What a person holds back is no reason for a connection.
        let waiting = if self.pause.holds() { 0 } else { self.backlog().records };
        match self.link.state() {
            LinkState::Idle if waiting >= threshold => {
                self.link.connect_now(now);
            }
            LinkState::Waiting if waiting == 0 && !self.want.asked => self.link.rest(now),
            LinkState::Online => self.mind_idleness(now, waiting > 0),
            _ => {}
        }
    }

    /// Whether messages wait because nobody wanted a connection for them.
    pub(super) fn is_lazy(&self) -> bool {
        matches!(self.config.start, Start::Lazy { .. })
    }

    fn mind_idleness(&mut self, now: Now, busy: bool) {
        if busy {
            self.want.busy_at = now.mono;
            if std::mem::take(&mut self.want.leaving) {
                let status = self.birth(now);
                self.slots.set_first(&self.status_topic, status);
            }
            return;
        }
        if !self.want.leaving && self.idle_due().is_some_and(|due| now.mono >= due) {
            self.want.leaving = true;
            let status = birth::offline(&self.config, self.link.connections(), "idle", now);
            self.slots.set_first(&self.status_topic, status);
            self.pump(now);
        }
        if self.want.leaving && self.window.in_flight() == 0 && !self.slots.is_due(&self.status_topic) {
            self.announce(false);
            self.link.leave_for_now(now, &mut self.out);
            self.link_gone();
        }
    }

    fn idle_due(&self) -> Option<Mono> {
        match self.config.start {
            Start::Lazy { idle_timeout, .. } if !self.want.leaving => Some(self.want.busy_at + idle_timeout),
            _ => None,
        }
    }

    /// When [`Bridge::mind_start`] has something to do.
    pub(super) fn start_deadline(&self) -> Option<Mono> {
        self.idle_due().filter(|_| self.link.is_online() && self.stopping.is_none())
    }
}
