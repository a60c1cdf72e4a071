//! What the bridge remembers over a restart beside its records: the outage that is under way, the messages that were
//! refused for good, the bytes of the day, whether a person has paused it.

use super::Bridge;
use crate::time::{Mono, Now};

/// The outage that is under way, as JSON; empty if none is.
pub const OUTAGE: &str = "outage";
/// The messages that upstream refused for good.
pub const REFUSED: &str = "refused";
/// Bytes sent and received today, as JSON.
pub const TRAFFIC: &str = "traffic";
/// When it was paused, in milliseconds since 1970; empty if it isn't.
pub const PAUSED: &str = "paused";

/// What the store had noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// [`OUTAGE`]
    pub outage: Option<Vec<u8>>,
    /// [`REFUSED`]
    pub refused: Option<Vec<u8>>,
    /// [`TRAFFIC`]
    pub traffic: Option<Vec<u8>>,
    /// [`PAUSED`]
    pub paused: Option<Vec<u8>>,
}

impl Bridge {
    /// Goes on where the process before ended. To be called once, before any input.
    pub fn restore(&mut self, now: Now, notes: &Notes) {
        if let Some(note) = notes.outage.as_deref().filter(|note| !note.is_empty()) {
            self.restore_outage(now, note);
        }
        if let Some(note) = &notes.refused {
            self.restore_letters(now, note);
        }
        if let Some(note) = &notes.traffic {
            self.traffic.restore(note);
        }
        if let Some(note) = &notes.paused {
            self.pause.restore(note);
        }
    }

    /// Writes down what is due, or all that has changed.
    pub(super) fn keep_notes(&mut self, now: Now, at_once: bool) {
        self.keep_outage(now, at_once);
        self.keep_letters(now, at_once);
        self.keep_traffic(now, at_once);
    }

    pub(super) fn notes_due(&self) -> Option<Mono> {
        [self.outage_deadline(), self.dead.note_at(), self.traffic.note_at()].into_iter().flatten().min()
    }
}
