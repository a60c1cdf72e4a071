//! Writes into the ring of what has happened ([`crate::events`]), from the service thread.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::clock::Clock;
use super::lock::Locked;
use crate::bridge::Notice;
use crate::command::{Asker, Audit, Outcome};
use crate::events::{Event, Events};
use crate::sensor;
use crate::time::Mono;

/// A line that comes and goes, such as with a loose plug, is noted once in this time: the ring has other things to keep.
const LINE_EVERY: Duration = Duration::from_secs(60);

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

    /// One for a line, or whatever else readings come from.
    #[must_use]
    pub fn of_line(&self) -> LineJournal {
        LineJournal { journal: self.clone(), down_at: Cell::default(), is_down: Cell::default() }
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

/// Notes when a line goes and is there again: unplugged and plugged in, as a rule.
#[derive(Clone, Debug)]
pub struct LineJournal {
    journal: Journal,
    /// When it was last noted as gone.
    down_at: Cell<Option<Mono>>,
    is_down: Cell<bool>,
}

impl LineJournal {
    /// What a source tells.
    pub(super) fn hear(&self, source: &str, notice: &sensor::Notice) {
        let now = self.journal.clock.now().mono;
        match notice {
            sensor::Notice::PortDown { error } if !self.is_down.get() => {
                if self.down_at.get().is_some_and(|at| now.since(at) < LINE_EVERY) {
                    return;
                }
                self.down_at.set(Some(now));
                self.is_down.set(true);
                self.journal.note("port_down", None, format!("{source}: {error}"));
            }
            sensor::Notice::PortOpened if self.is_down.replace(false) => {
                self.journal.note("port_open", None, source);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::lock::Locked;

    #[test]
    fn a_line_that_comes_and_goes_is_noted_once_a_minute() {
        let events = Arc::default();
        let line = Journal::new(Arc::clone(&events), Clock::new(crate::config::TimeTrust::Auto)).of_line();
        let down = sensor::Notice::PortDown { error: "gone".into() };
        line.hear("usb0", &sensor::Notice::PortOpened);
        for _ in 0..3 {
            line.hear("usb0", &down);
            line.hear("usb0", &sensor::Notice::PortOpened);
        }
        let told = events.locked().json(0);
        let kinds: Vec<&str> =
            told["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["port_down", "port_open"]);
        assert_eq!(told["events"][0]["detail"], "usb0: gone");
        line.down_at.set(None);
        line.hear("usb0", &down);
        assert_eq!(events.locked().json(0)["last"], 3);
    }
}
