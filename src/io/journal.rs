//! Writes into the ring of what has happened ([`crate::events`]), from the service thread.

use std::sync::{Arc, Mutex};

use super::clock::Clock;
use super::lock::Locked;
use crate::bridge::Notice;
use crate::command::{Asker, Audit, Outcome};
use crate::events::{Event, Events};

/// The ring and the clock. Clones write into the same.
#[derive(Clone, Debug)]
pub struct Journal {
    events: Arc<Mutex<Events>>,
    clock: Clock,
}

impl Journal {
    /// One that writes into `events`.
    #[must_use]
    pub const fn new(events: Arc<Mutex<Events>>, clock: Clock) -> Self {
        Self { events, clock }
    }

    /// Something has happened; the log has been told by whoever calls.
    pub fn note(&self, kind: &'static str, who: Option<&str>, detail: impl Into<String>) {
        let event = Event { kind, who: who.map(str::to_owned), address: None, detail: detail.into() };
        self.add(event);
    }

    /// The same with the address of who did it.
    pub fn add(&self, event: Event) {
        self.events.locked().add(self.clock.now(), event);
    }

    /// A command that came by MQTT. What people on this machine and on the page ask for is noted where they ask.
    pub(super) fn command(&self, audit: &Audit) {
        if matches!(audit.by, Asker::Local) {
            return;
        }
        let point = audit.point.as_deref().map(|point| format!("/{point}")).unwrap_or_default();
        let (kind, why) = match &audit.outcome {
            Outcome::Done(_) => ("command", String::new()),
            Outcome::Refused(why) | Outcome::Failed(why) | Outcome::Unknown(why) => {
                ("command_failed", format!(": {why}"))
            }
        };
        let words = format!("{}{point}: {}{why}", audit.device, audit.outcome.as_str());
        self.note(kind, Some(&audit.by.to_string()), words);
    }

    /// What changes about an upstream, as far as people should know.
    pub(super) fn upstream(&self, name: &str, notice: &Notice) {
        let (kind, words) = match notice {
            Notice::Online { backlog, away, .. } => {
                let away = away.map(|away| format!(", away for {}", crate::health::span(away)));
                ("upstream_online", format!("{backlog} waiting{}", away.unwrap_or_default()))
            }
            Notice::Offline { error } => ("upstream_offline", error.to_string()),
            Notice::Refused { error, .. } => ("upstream_refused", error.to_string()),
            Notice::StoreFailing { error } => ("store_failing", error.to_string()),
            Notice::StoreWorks => ("store_works", String::new()),
            Notice::BytesUsedUp => ("bytes_used_up", String::new()),
            Notice::Rival { instance } => ("rival", instance.to_string()),
            Notice::Dropping { reason } => ("dropping", reason.to_string()),
            // Single messages and subscriptions are for the log.
            _ => return,
        };
        let detail = if words.is_empty() { name.to_owned() } else { format!("{name}: {words}") };
        self.note(kind, None, detail);
    }
}
