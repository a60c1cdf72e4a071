//! Bytes to and from upstream, by day, for links that are paid by the byte. They are those of the MQTT stream (and of
//! TLS nothing): what the machine hands out and gets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::words::{Notice, Output};
use super::{Bridge, notes};
use crate::time::{Mono, Now};

/// How often the counts are noted: a crash forgets at most the bytes of this span.
const NOTE_EVERY: Duration = Duration::from_secs(600);
const DAY_MS: i64 = 86_400_000;

/// The counts of a day (UTC) and the day before.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counts {
    day: i64,
    sent: u64,
    received: u64,
    sent_yesterday: u64,
    received_yesterday: u64,
}

/// What went over the line.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    counts: Counts,
    note_at: Option<Mono>,
    told: bool,
}

/// Bytes of a day and the day before, by UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Sent and received today.
    pub today: (u64, u64),
    /// Sent and received yesterday.
    pub yesterday: (u64, u64),
    /// Whether the day's allowance is used up, so that only status and health go.
    pub used_up: bool,
}

/// An acknowledgement without properties.
const PUBACK_BYTES: usize = 4;

impl Traffic {
    pub(super) fn restore(&mut self, note: &[u8]) {
        if let Ok(counts) = serde_json::from_slice(note) {
            self.counts = counts;
        }
    }

    /// Whichever day it is. A clock that is set back doesn't bring an earlier day again.
    pub(super) fn is_day_of(&mut self, now: Now) {
        let day = now.wall.as_millis().div_euclid(DAY_MS);
        if day <= self.counts.day {
            return;
        }
        let before = std::mem::replace(&mut self.counts, Counts { day, ..Counts::default() });
        if before.day + 1 == day {
            self.counts.sent_yesterday = before.sent;
            self.counts.received_yesterday = before.received;
        }
        self.told = false;
    }

    pub(super) fn received(&mut self, now: Now, bytes: usize) {
        self.counts.received += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.note_at.get_or_insert(now.mono + NOTE_EVERY);
    }

    pub(super) fn sent(&mut self, now: Now, bytes: usize) {
        self.counts.sent += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.note_at.get_or_insert(now.mono + NOTE_EVERY);
    }

    /// `coming` are bytes that are certain and not counted yet.
    const fn is_used_up(&self, max: Option<u64>, coming: u64) -> bool {
        match max {
            Some(max) => self.counts.sent.saturating_add(self.counts.received).saturating_add(coming) >= max,
            None => false,
        }
    }

    pub(super) const fn note_at(&self) -> Option<Mono> {
        self.note_at
    }

    pub(super) const fn bytes(&self, max: Option<u64>) -> Bytes {
        Bytes {
            today: (self.counts.sent, self.counts.received),
            yesterday: (self.counts.sent_yesterday, self.counts.received_yesterday),
            used_up: self.is_used_up(max, 0),
        }
    }
}

impl Bridge {
    /// Whether records must wait for the next day. Told once a day.
    pub(super) fn is_rationed(&mut self) -> bool {
        // What was written in this turn, and the acknowledgements of all that is on its way.
        let coming = self.out.tx.len() + self.window.in_flight() * PUBACK_BYTES;
        let coming = u64::try_from(coming).unwrap_or(u64::MAX);
        let used_up = self.traffic.is_used_up(self.config.bytes_per_day_max, coming);
        if used_up && !std::mem::replace(&mut self.traffic.told, true) {
            self.out.notice(Notice::BytesUsedUp);
        }
        used_up
    }

    pub(super) fn keep_traffic(&mut self, now: Now, at_once: bool) {
        if self.traffic.note_at.take_if(|at| at_once || now.mono >= *at).is_some() {
            let content = serde_json::to_vec(&self.traffic.counts).unwrap_or_default();
            self.out.push(Output::Keep { name: notes::TRAFFIC, content });
        }
    }
}
