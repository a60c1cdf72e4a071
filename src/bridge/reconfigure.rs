//! Other settings while the gateway runs. What waits stays where it is; what is taken is so by the new maps at once; the
//! connection is left as for any better one (see `renew`), and the next is made with the new settings. What waits is sent
//! by the rules of the moment when it is sent, as after a restart.

use std::sync::Arc;
use std::time::Duration;

use super::config::Config;
use super::link::Event;
use super::start::Want;
use super::watch::Watch;
use super::words::Backlog;
use super::{Batches, Bridge};
use crate::payload::Forms;
use crate::time::Now;

impl Bridge {
    /// The streams that other settings have and this bridge hasn't, in the order in which their backlogs are to be given.
    #[must_use]
    pub fn new_streams(&self, config: &Config) -> Vec<Arc<str>> {
        let names = config.streams.iter().map(|stream| stream.name.clone());
        names.filter(|name| self.streams.number(name).is_none()).collect()
    }

    /// How many streams it has, with those that the config has no longer.
    #[must_use]
    pub fn streams_count(&self) -> usize {
        self.streams.count()
    }

    /// What its outboxes are called on disk, in the order of its streams.
    #[must_use]
    pub fn outbox_names(&self) -> Vec<String> {
        let further =
            self.streams.iter().skip(1).map(|stream| format!("{}/{}", self.config.name, stream.name));
        std::iter::once(self.config.name.to_string()).chain(further).collect()
    }

    /// Other settings; `backlogs` are those of its new streams. A stream that is taken out takes nothing new, and what waits
    /// in it goes out as before.
    pub(super) fn reconfigure(&mut self, now: Now, mut config: Config, backlogs: Vec<Backlog>) {
        if self.stopping.is_some() {
            return;
        }
        self.streams.adopt(&mut config, backlogs);
        self.coming = Some(Arc::new(config));
        if self.link.is_online() {
            self.leave_soon(now);
        } else {
            self.begin_with_coming(now);
        }
    }

    /// Settings that no connection depends on.
    pub(super) fn adjust(&mut self, forms: &Arc<Forms>, commit_interval: Duration, memory_bytes_max: usize) {
        let adjusted = |config: &Config| {
            let forms = forms.clone();
            Arc::new(Config { forms, commit_interval, memory_bytes_max, ..config.clone() })
        };
        self.config = adjusted(&self.config);
        self.coming = self.coming.take().map(|coming| adjusted(&coming));
        self.link.set_config(self.config.clone());
        self.streams.share_memory(memory_bytes_max);
    }

    /// Goes on with the settings that are to come, if there are any; the connection of before ends with it.
    pub(super) fn begin_with_coming(&mut self, now: Now) -> bool {
        let Some(config) = self.coming.take() else { return false };
        let mut events: Vec<Event> = Vec::new();
        self.link.leave_for_others(now, &mut self.out, &mut events);
        self.take_events(now, &mut events);
        // What shares a message does so by the maps of before.
        self.part_all();
        let is_other_session =
            config.client_id != self.config.client_id || config.places != self.config.places;
        if is_other_session {
            // Identifiers of an exchange with somebody else say nothing here.
            self.window.link_up(false);
            self.inbound.forget_session();
        }
        self.streams.follow(&config);
        self.batches = Batches::new(&config);
        self.counts.follow(&self.config.maps, &config.maps);
        self.watch = Watch::default();
        self.want = Want::default();
        self.told_refused.clear();
        self.link.begin_with(config.clone(), now);
        self.config = config;
        self.announce(false);
        true
    }
}
