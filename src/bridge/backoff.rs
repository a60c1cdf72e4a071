//! How long to wait before the next attempt: exponential with full jitter, so that a thousand gateways that lost
//! one broker do not return in step; slower where only people can mend the cause.

use std::time::Duration;

use super::config::Config;

/// The shortest wait: full jitter may draw zero, and a broker that kicks at once must not spin us.
pub(super) const WAIT_MIN: Duration = Duration::from_millis(50);

/// Waits between attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    refused_max: Duration,
    failures: u32,
    refusals: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(super) fn new(config: &Config, seed: u64) -> Self {
        Self {
            min: config.backoff_min,
            max: config.backoff_max,
            refused_max: config.backoff_refused_max,
            failures: 0,
            refusals: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// After a failure that may pass by itself: a random share of min × 2ⁿ, at most max.
    pub(super) fn failed(&mut self) -> Duration {
        let ceiling = doubled(self.min, self.failures, self.max);
        self.failures = self.failures.saturating_add(1);
        self.share(Duration::ZERO, ceiling)
    }

    /// After a refusal that only people can mend: between half and whole of max × 2ⁿ, at most the refused max.
    pub(super) fn refused(&mut self) -> Duration {
        let ceiling = doubled(self.max, self.refusals, self.refused_max);
        self.refusals = self.refusals.saturating_add(1);
        self.share(ceiling / 2, ceiling)
    }

    /// The upstream took us: what people had to mend is mended.
    pub(super) fn accepted(&mut self) {
        self.refusals = 0;
    }

    /// It was online for long enough: the next failure is a new story.
    pub(super) fn stable(&mut self) {
        self.failures = 0;
    }

    /// A seed for another one.
    pub(super) fn seed(&mut self) -> u64 {
        self.random.u64(..)
    }

    fn share(&mut self, from: Duration, to: Duration) -> Duration {
        Duration::from_nanos(self.random.u64(nanos(from)..=nanos(to))).max(WAIT_MIN)
    }
}

/// `base` × 2^`times`, at most `max`.
pub(super) fn doubled(base: Duration, times: u32, max: Duration) -> Duration {
    base.saturating_mul(2_u32.saturating_pow(times.min(31))).min(max)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
