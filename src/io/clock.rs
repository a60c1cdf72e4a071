//! The only place that reads a clock, and the boot's identity.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::config::{TimeGnss, TimeTrust};
use crate::time::{BootId, ClockSource, ClockTrust, Mono, Now, Timestamp};

/// How often the kernel is asked whether its clock is still synchronised, and whether it is at last: what is sent in
/// between has times that could have been corrected.
const TRUST_INTERVAL: Duration = Duration::from_secs(5);
const DISTRUST_INTERVAL: Duration = Duration::from_secs(1);

/// Reads both clocks. Clones share what is known about trust.
#[derive(Clone, Debug)]
pub struct Clock {
    /// `trust = "always"`.
    always: Arc<AtomicBool>,
    /// The kernel's word, or the config's.
    synced: Arc<AtomicBool>,
    /// What was told last when the trust was looked at.
    trusted: Arc<AtomicBool>,
    /// A satellite receiver that vouches for a time of its own.
    gnss: Option<Arc<Receiver>>,
}

/// What a satellite receiver has vouched for.
#[derive(Debug)]
struct Receiver {
    device: Arc<str>,
    /// It is believed so long after its last word.
    hold: Duration,
    /// Its word goes before the kernel's.
    is_preferred: bool,
    /// The civil time of the monotonic clock's zero, milliseconds.
    zero: AtomicI64,
    /// When it was sure last; 0: never. Written after `zero`.
    sure: AtomicU64,
}

impl Receiver {
    /// The civil time by it, and how long ago it was sure; `None` where that is too long.
    fn time(&self, now: Mono) -> Option<(Timestamp, Duration)> {
        let sure = self.sure.load(Ordering::Acquire);
        let age = now.since(Mono::from_nanos(sure));
        let zero = Timestamp::from_millis(self.zero.load(Ordering::Relaxed));
        (sure > 0 && age <= self.hold).then(|| (zero.plus(now.since(Mono::ZERO)), age))
    }
}

impl Clock {
    /// A clock that has asked the kernel once.
    #[must_use]
    pub fn new(policy: TimeTrust) -> Self {
        Self::with_gnss(policy, None)
    }

    /// The same, with a satellite receiver.
    #[must_use]
    pub fn with_gnss(policy: TimeTrust, gnss: Option<&TimeGnss>) -> Self {
        let receiver = |gnss: &TimeGnss| {
            Arc::new(Receiver {
                device: gnss.device.clone(),
                hold: gnss.hold,
                is_preferred: gnss.is_preferred,
                zero: AtomicI64::default(),
                sure: AtomicU64::default(),
            })
        };
        let clock = Self {
            always: Arc::default(),
            synced: Arc::default(),
            trusted: Arc::default(),
            gnss: gnss.map(receiver),
        };
        clock.set_trust(policy);
        clock
    }

    /// The receiver is sure that the monotonic clock's zero was at this time.
    pub(super) fn vouch(&self, now: Mono, zero: Timestamp) {
        if let Some(gnss) = &self.gnss {
            gnss.zero.store(zero.as_millis(), Ordering::Relaxed);
            gnss.sure.store(now.as_nanos(), Ordering::Release);
        }
    }

    /// The time by the receiver, where it counts.
    fn gnss_time(&self, now: Mono) -> Option<(&Receiver, Timestamp, Duration)> {
        let is_synced = self.synced.load(Ordering::Relaxed);
        let gnss = self.gnss.as_deref().filter(|gnss| gnss.is_preferred || !is_synced)?;
        gnss.time(now).map(|(time, age)| (gnss, time, age))
    }

    /// Who vouches for the clock.
    #[must_use]
    pub fn source(&self) -> ClockSource {
        let now = mono();
        match self.gnss_time(now) {
            Some((gnss, time, age)) => ClockSource::Gnss {
                device: gnss.device.clone(),
                age,
                ahead_ms: time.as_millis().saturating_sub(wall().as_millis()),
                holds: gnss.hold.saturating_sub(age),
            },
            None if self.always.load(Ordering::Relaxed) => ClockSource::Config,
            None if self.synced.load(Ordering::Relaxed) => ClockSource::Kernel,
            None => ClockSource::Nobody,
        }
    }

    /// Another word on who vouches for the clock; true if the answer changed.
    pub fn set_trust(&self, policy: TimeTrust) -> bool {
        self.always.store(policy == TimeTrust::Always, Ordering::Relaxed);
        self.refresh_trust()
    }

    /// Both clocks, now.
    #[must_use]
    pub fn now(&self) -> Now {
        let mono = mono();
        if let Some((_, wall, _)) = self.gnss_time(mono) {
            return Now { mono, wall, trust: ClockTrust::Synced };
        }
        let trust =
            if self.synced.load(Ordering::Relaxed) { ClockTrust::Synced } else { ClockTrust::Unsynced };
        Now { mono, wall: wall(), trust }
    }

    /// When the kernel is to be asked again.
    #[must_use]
    pub fn trust_interval(&self) -> Duration {
        if self.trusted.load(Ordering::Relaxed) { TRUST_INTERVAL } else { DISTRUST_INTERVAL }
    }

    /// Asks the kernel again; true if the answer changed.
    pub fn refresh_trust(&self) -> bool {
        let synced = self.always.load(Ordering::Relaxed) || kernel_clock_is_synced();
        self.synced.store(synced, Ordering::Relaxed);
        let trusted = synced || self.gnss_time(mono()).is_some();
        self.trusted.swap(trusted, Ordering::Relaxed) != trusted
    }
}

pub(super) fn mono() -> Mono {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Mono::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Through the C library, as the log has its time: both are the same, whatever clock the process was given.
pub(super) fn wall() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

/// adjtimex(2) without modes only reads; it returns TIME_ERROR (5) while STA_UNSYNC is set.
#[cfg(target_pointer_width = "64")]
fn kernel_clock_is_synced() -> bool {
    const TIME_ERROR: i32 = 5;
    match rtime_clock::adjtime::adjtimex(&mut rtime_clock::adjtime::Timex::new()) {
        Ok(state) => state != TIME_ERROR,
        Err(error) => {
            static TOLD: std::sync::Once = std::sync::Once::new();
            TOLD.call_once(|| {
                tracing::warn!(%error, "the kernel doesn't tell whether its clock is right: it counts as not synchronised");
            });
            false
        }
    }
}

/// The library that asks the kernel is for 64 bits alone. systemd-timesyncd touches this file when it has set the clock, once a
/// boot (systemd-timesyncd.service(8)); with another time service, `[time] trust` has to vouch.
#[cfg(not(target_pointer_width = "64"))]
fn kernel_clock_is_synced() -> bool {
    std::path::Path::new("/run/systemd/timesync/synchronized").exists()
}

/// The kernel's identifier of this boot; zeros where /proc doesn't tell.
#[must_use]
pub fn boot_id() -> BootId {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    BootId(u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_run_and_the_boot_has_an_identity() {
        let clock = Clock::new(TimeTrust::Always);
        let first = clock.now();
        let second = clock.now();
        assert!(second.mono >= first.mono);
        assert!(first.mono > Mono::ZERO);
        assert!(first.wall.as_millis() > 0);
        assert_eq!(first.trust, ClockTrust::Synced);
        assert_ne!(boot_id(), BootId::default());
    }
}
