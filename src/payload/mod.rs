//! Readings to payload bytes, with the time as known when they are made.

pub mod json;

use crate::reading::Reading;
use crate::time::{BootId, ClockTrust, Mono, Now, Timestamp};

/// What is known about a reading's time when its payload is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentTime {
    /// The time to print.
    pub time: Timestamp,
    /// `None` when it is good; else the word for `time_quality`: `corrected` or `unsynced`.
    pub quality: Option<&'static str>,
}

/// The time to send for a reading, as known `now` in boot `boot`. A reading of this boot that was taken before
/// the clock was right is corrected once it is (`corrected`); what can't be corrected says `unsynced`.
#[must_use]
pub fn sent_time(reading: &Reading, boot: BootId, now: Now) -> SentTime {
    match (reading.trust, now.trust) {
        (ClockTrust::Synced, _) => SentTime { time: reading.wall, quality: None },
        (ClockTrust::Unsynced, ClockTrust::Synced) if reading.boot == boot => {
            SentTime { time: corrected(reading.mono, now), quality: Some("corrected") }
        }
        (ClockTrust::Unsynced, _) => SentTime { time: reading.wall, quality: Some("unsynced") },
    }
}

fn corrected(mono: Mono, now: Now) -> Timestamp {
    now.wall.minus(now.mono.since(mono))
}
