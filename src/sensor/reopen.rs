//! How long to wait before a port is opened again.

use std::time::Duration;

/// The first wait, and the shortest.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait: a cable that is plugged back in is seen within this.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A port that was open for this long was well: the waits begin anew.
const OPEN_LONG_ENOUGH: Duration = Duration::from_secs(30);

/// Doubling waits from 1 s to 30 s, each spread by a quarter to both sides, so that the ports of one hub don't
/// all knock at once.
#[derive(Debug)]
pub(super) struct Reopen {
    next: Duration,
    random: fastrand::Rng,
}

impl Reopen {
    pub(super) fn new(seed: u64) -> Self {
        Self { next: WAIT_MIN, random: fastrand::Rng::with_seed(seed) }
    }

    /// The wait before the next attempt.
    pub(super) fn wait(&mut self) -> Duration {
        let spread = self.next.mul_f64(0.75 + 0.5 * self.random.f64());
        self.next = self.next.saturating_mul(2).min(WAIT_MAX);
        spread.clamp(WAIT_MIN, WAIT_MAX)
    }

    /// It is there again: whatever kept it from opening before says nothing about now.
    pub(super) fn begin_anew(&mut self) {
        self.next = WAIT_MIN;
    }

    /// The port was open for this long.
    pub(super) fn was_open(&mut self, span: Duration) {
        if span >= OPEN_LONG_ENOUGH {
            self.next = WAIT_MIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_one_second_to_thirty_and_differ_by_seed() {
        let waits = |seed| -> Vec<Duration> {
            let mut reopen = Reopen::new(seed);
            (0..8).map(|_| reopen.wait()).collect()
        };
        for seed in 0..200 {
            for (wait, base) in waits(seed).into_iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]) {
                let seconds = wait.as_secs_f64();
                assert!((1.0..=30.0).contains(&seconds), "{seconds}");
                assert!((base * 0.75..=base * 1.25).contains(&seconds), "{seconds} for {base}");
            }
        }
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(3), waits(3));
    }

    #[test]
    fn only_a_port_that_stayed_open_begins_anew() {
        let mut reopen = Reopen::new(0);
        for _ in 0..6 {
            reopen.wait();
        }
        reopen.was_open(Duration::from_secs(29));
        assert!(reopen.wait() > Duration::from_secs(20));
        reopen.was_open(Duration::from_secs(30));
        assert!(reopen.wait() < Duration::from_secs(2));
    }
}
