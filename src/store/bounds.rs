//! How much an outbox may hold, what it does at its bound, and when people are told that it fills up. Values and
//! their arithmetic; the outbox carries them out.

use std::time::Duration;

/// An outbox takes this much of the disk where nothing else is said, or a quarter of what is free, whichever is less.
pub const BYTES_DEFAULT: u64 = 256 * 1024 * 1024;

/// Less than this holds no generation at all, however small the disk is.
const BYTES_LEAST: u64 = 1024 * 1024;

/// Left to the system where nothing else is said: this much, or a twentieth of a small disk.
pub const RESERVE_DEFAULT: u64 = 64 * 1024 * 1024;

/// The bounds of one outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes on disk. `None`: [`BYTES_DEFAULT`] or a quarter of the disk that was free when the outbox was first
    /// opened; what that came to is kept, since a disk that others fill is no reason to drop records.
    pub bytes_max: Option<u64>,
    /// Records that wait. `None`: as many as there is room for.
    pub records_max: Option<u64>,
    /// Records that were committed longer ago are dropped, whatever `full` says. Looked at with each commit, at most
    /// every [`AGE_CHECK_MS_MAX`], and only while the clock is known to be right.
    pub age_max: Option<Duration>,
    /// What goes at the bound of bytes or of records.
    pub full: Full,
}

/// The longest time between two looks at the records' age, in milliseconds.
pub const AGE_CHECK_MS_MAX: u64 = 60_000;

/// What goes when an outbox is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Full {
    /// The oldest records.
    #[default]
    DropOldest,
    /// The new ones are refused.
    Refuse,
}

/// How full an outbox is, in the steps that people are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// Below 80 %.
    #[default]
    None,
    /// From 80 % on.
    High,
    /// From 95 % on.
    Critical,
}

/// Where the steps begin, in percent.
const HIGH: u64 = 80;
const CRITICAL: u64 = 95;
/// A step is left this far below its beginning: at the bound the oldest generation, a sixteenth, goes again and again.
const SLACK: u64 = 8;

impl Alarm {
    /// The step after a look that found so many percent.
    #[must_use]
    pub fn step(self, percent: u64) -> Self {
        let stays = |begin: u64| percent >= begin - SLACK;
        match self {
            _ if percent >= CRITICAL => Self::Critical,
            Self::Critical if stays(CRITICAL) => Self::Critical,
            _ if percent >= HIGH => Self::High,
            Self::High | Self::Critical if stays(HIGH) => Self::High,
            _ => Self::None,
        }
    }
}

/// What `bytes_max: None` comes to with so many bytes free.
pub(super) fn default_bytes(most: u64, free: u64) -> u64 {
    most.min(free / 4).max(BYTES_LEAST)
}

/// So many percent of a bound.
pub(super) fn percent(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_begins_at_its_step_and_ends_well_below_it() {
        let mut alarm = Alarm::None;
        for (percent, expected) in [
            (79, Alarm::None),
            (80, Alarm::High),
            (94, Alarm::High),
            (95, Alarm::Critical),
            (88, Alarm::Critical),
            (100, Alarm::Critical),
            (86, Alarm::High),
            (72, Alarm::High),
            (71, Alarm::None),
            (79, Alarm::None),
            (250, Alarm::Critical),
            (0, Alarm::None),
        ] {
            alarm = alarm.step(percent);
            assert_eq!(alarm, expected, "{percent}");
        }
    }

    #[test]
    fn a_small_disk_gives_a_quarter_of_what_is_free() {
        const MIB: u64 = 1024 * 1024;
        for (free, expected) in [(u64::MAX, 256), (1024, 256), (1000, 250), (40, 10), (2, 1), (0, 1)] {
            let free = if free == u64::MAX { free } else { free * MIB };
            assert_eq!(default_bytes(BYTES_DEFAULT, free), expected * MIB);
        }
    }
}
