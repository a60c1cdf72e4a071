//! Points in time and how far they can be trusted. Values only: nothing here reads a clock, `io/clock` does.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

/// A point on this boot's monotonic clock (CLOCK_BOOTTIME): nanoseconds since the kernel started. Never steps.
///
/// One more than that is what it is made of: a point that may be absent then takes no more room than one that is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(NonZeroU64);

impl Mono {
    /// The moment the kernel started.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// From nanoseconds since the kernel started.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the kernel started.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// The span from `earlier` to this point; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Default for Mono {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mono").field(&self.as_nanos()).finish()
    }
}

impl Add<Duration> for Mono {
    type Output = Self;

    /// Saturates: a deadline that can't be reached is never reached.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A point in civil time: milliseconds since 1970-01-01T00:00:00Z, as the wall clock showed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This point moved back by `span`; saturates.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This point moved on by `span`; saturates.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-20T14:51:05.123Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// Whether the wall clock is known to be right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClockTrust {
    /// The kernel says that the clock is disciplined (`STA_UNSYNC` is clear), or the config says to trust it.
    Synced,
    /// Nobody vouches for the clock: after a power cut it may say 1970.
    #[default]
    Unsynced,
}

impl ClockTrust {
    /// The word for config, health and payloads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Unsynced => "unsynced",
        }
    }
}

/// Who vouches for the wall clock at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClockSource {
    /// Nobody.
    #[default]
    Nobody,
    /// The config says that it is right.
    Config,
    /// The kernel says that it is synchronised.
    Kernel,
    /// A satellite receiver.
    Gnss {
        /// The device.
        device: Arc<str>,
        /// How long ago it was sure.
        age: Duration,
        /// How far its time is ahead of the system's clock, milliseconds.
        ahead_ms: i64,
        /// How much longer it is believed if it falls silent.
        holds: Duration,
    },
}

/// For people: "kernel", "gnss gps1, 3 s ago, offset -0.12 s".
impl fmt::Display for ClockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("nobody"),
            Self::Config => f.write_str("config"),
            Self::Kernel => f.write_str("kernel"),
            Self::Gnss { device, age, ahead_ms, .. } => {
                let sign = if *ahead_ms < 0 { '-' } else { '+' };
                let (whole, part) = (ahead_ms.unsigned_abs() / 1_000, ahead_ms.unsigned_abs() % 1_000 / 10);
                write!(f, "gnss {device}, {} s ago, offset {sign}{whole}.{part:02} s", age.as_secs())
            }
        }
    }
}

/// One look at both clocks. Intervals use `mono`; people and records use `wall`, with its trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub mono: Mono,
    /// The wall clock.
    pub wall: Timestamp,
    /// Whether `wall` is known to be right.
    pub trust: ClockTrust,
}

/// Which boot a [`Mono`] belongs to: the kernel's `boot_id`, 128 random bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BootId(pub [u8; 16]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_prints_as_rfc3339_with_milliseconds() {
        assert_eq!(Timestamp::from_millis(1_795_186_265_123).to_string(), "2026-11-20T14:51:05.123Z");
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_source_is_told_in_words() {
        let gnss = |ahead_ms| ClockSource::Gnss {
            device: "gps1".into(),
            age: Duration::from_millis(3_400),
            ahead_ms,
            holds: Duration::ZERO,
        };
        assert_eq!(gnss(-120).to_string(), "gnss gps1, 3 s ago, offset -0.12 s");
        assert_eq!(gnss(1_795_186_265_009).to_string(), "gnss gps1, 3 s ago, offset +1795186265.00 s");
        assert_eq!(ClockSource::default().to_string(), "nobody");
    }

    #[test]
    fn spans_saturate_instead_of_wrapping() {
        assert_eq!(Mono::ZERO.since(Mono::from_nanos(5)), Duration::ZERO);
        assert_eq!(Mono::from_nanos(u64::MAX) + Duration::from_secs(1), Mono::from_nanos(u64::MAX));
    }
}
