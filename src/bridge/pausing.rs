//! A person has paused what goes out. The link stays, what comes in does, and status and health are told; what waits, and
//! what comes meanwhile, stays in the queue by its bounds. It is remembered over a restart: a power cut is no reason to send
//! what somebody has held back.

use super::Bridge;
use super::notes;
use super::words::Output;
use crate::time::{Now, Timestamp};

/// Whether it is so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pause {
    since: Option<Timestamp>,
}

impl Pause {
    /// Goes on where the process before ended. A note that can't be read holds nothing back.
    pub(super) fn restore(&mut self, note: &[u8]) {
        let millis = std::str::from_utf8(note).ok().and_then(|text| text.parse().ok());
        self.since = millis.map(Timestamp::from_millis);
    }

    /// Since when; `None`: it isn't.
    pub(super) const fn since(self) -> Option<Timestamp> {
        self.since
    }

    pub(super) const fn holds(self) -> bool {
        self.since.is_some()
    }
}

impl Bridge {
    /// A person pauses it, or has it go on.
    pub(super) fn pause(&mut self, now: Now, paused: bool) {
        if self.pause.holds() == paused || self.stopping.is_some() {
            return;
        }
        self.pause.since = paused.then_some(now.wall);
        let content = if paused { now.wall.as_millis().to_string().into_bytes() } else { Vec::new() };
        self.out.push(Output::Keep { name: notes::PAUSED, content });
        if !self.link.is_online() {
            return;
        }
        self.tell_status(now);
        if !paused {
            // What came meanwhile is a part of the backlog, as after an outage.
            self.begin_drains();
        }
    }
}
