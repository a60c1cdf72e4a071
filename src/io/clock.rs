//! The only place that reads a clock, and the boot's identity.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::config::TimeTrust;
use crate::time::{BootId, ClockTrust, Mono, Now, Timestamp};

/// How often the kernel is asked whether its clock is still synchronised, and whether it is at last: what is sent in
/// between has times that could have been corrected.
const TRUST_INTERVAL: Duration = Duration::from_secs(5);
const DISTRUST_INTERVAL: Duration = Duration::from_secs(1);

/// Reads both clocks. Clones share what is known about trust.
#[derive(Clone, Debug)]
pub struct Clock {
    /// `trust = "always"`.
    always: Arc<AtomicBool>,
    synced: Arc<AtomicBool>,
}

impl Clock {
    /// A clock that has asked the kernel once.
    #[must_use]
    pub fn new(policy: TimeTrust) -> Self {
        let clock = Self { always: Arc::default(), synced: Arc::default() };
        clock.set_trust(policy);
        clock
    }

    /// Another word on who vouches for the clock; true if the answer changed.
    pub fn set_trust(&self, policy: TimeTrust) -> bool {
        self.always.store(policy == TimeTrust::Always, Ordering::Relaxed);
        self.refresh_trust()
    }

    /// Both clocks, now.
    #[must_use]
    pub fn now(&self) -> Now {
        let trust =
            if self.synced.load(Ordering::Relaxed) { ClockTrust::Synced } else { ClockTrust::Unsynced };
        Now { mono: mono(), wall: wall(), trust }
    }

    /// When the kernel is to be asked again.
    #[must_use]
    pub fn trust_interval(&self) -> Duration {
        if self.synced.load(Ordering::Relaxed) { TRUST_INTERVAL } else { DISTRUST_INTERVAL }
    }

    /// Asks the kernel again; true if the answer changed.
    pub fn refresh_trust(&self) -> bool {
        let synced = self.always.load(Ordering::Relaxed) || kernel_clock_is_synced();
        self.synced.swap(synced, Ordering::Relaxed) != synced
    }
}

pub(super) fn mono() -> Mono {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Mono::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Through the C library, as the log has its time: both are the same, whatever clock the process was given.
fn wall() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

/// adjtimex(2) without modes only reads; it returns TIME_ERROR (5) while STA_UNSYNC is set.
fn kernel_clock_is_synced() -> bool {
    const TIME_ERROR: i32 = 5;
    rtime_clock::adjtime::adjtimex(&mut rtime_clock::adjtime::Timex::new())
        .is_ok_and(|state| state != TIME_ERROR)
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
