//! How fast changes come: from the time between them, which is far finer at low rates than counting them in a window.

use std::time::Duration;

use crate::time::Mono;

/// Changes per second, up to the last change, decaying when the next one stays away.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The change that the next measurement begins with.
    from: Option<Mono>,
    last: Option<Mono>,
    /// Changes since `from`.
    changes: u64,
    rate: f64,
}

impl Pace {
    /// So many changes, the last of them at this time.
    pub(super) fn add(&mut self, at: Mono, changes: u64) {
        match self.from {
            None => self.from = Some(at),
            Some(_) => self.changes = self.changes.saturating_add(changes),
        }
        self.last = Some(at);
    }

    /// Changes per second as known now. A new measurement begins with the last change.
    pub(super) fn read(&mut self, now: Mono, timeout: Duration) -> f64 {
        let (Some(from), Some(last)) = (self.from, self.last) else { return 0.0 };
        let silence = now.since(last);
        if silence >= timeout {
            *self = Self::default();
            return 0.0;
        }
        let span = last.since(from).as_secs_f64();
        if self.changes > 0 && span > 0.0 {
            #[expect(
                clippy::as_conversions,
                clippy::cast_precision_loss,
                reason = "changes within seconds, far below 2^53"
            )]
            let changes = self.changes as f64;
            self.rate = changes / span;
            (self.from, self.changes) = (Some(last), 0);
        }
        // The next change would have come by now if the rate were higher than this.
        let most = 1.0 / silence.as_secs_f64().max(f64::MIN_POSITIVE);
        self.rate.min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(100);

    fn s(seconds: f64) -> Mono {
        Mono::ZERO + Duration::from_secs_f64(seconds)
    }

    fn near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-6 * expected.max(1.0), "{value}, not {expected}");
    }

    #[test]
    fn the_rate_is_that_between_the_changes_whenever_one_looks() {
        let mut pace = Pace::default();
        near(pace.read(s(0.0), TIMEOUT), 0.0);
        pace.add(s(1.0), 1);
        near(pace.read(s(2.0), TIMEOUT), 0.0);
        pace.add(s(8.5), 1);
        near(pace.read(s(9.0), TIMEOUT), 1.0 / 7.5);
        near(pace.read(s(15.9), TIMEOUT), 1.0 / 7.5);
        // Nothing came for longer than that: it decays, and ends.
        near(pace.read(s(18.5), TIMEOUT), 0.1);
        near(pace.read(s(58.5), TIMEOUT), 0.02);
        near(pace.read(s(108.5), TIMEOUT), 0.0);
        near(pace.read(s(109.0), TIMEOUT), 0.0);
        // One change says nothing about the rate; two do.
        pace.add(s(200.0), 1);
        near(pace.read(s(200.1), TIMEOUT), 0.0);
        pace.add(s(200.25), 1);
        near(pace.read(s(200.3), TIMEOUT), 4.0);
    }

    #[test]
    fn at_any_speed_the_rate_is_right_to_a_part_in_a_million() {
        for seed in 0..100 {
            let mut random = fastrand::Rng::with_seed(seed);
            let hertz = 10f64.powf(random.f64() * 5.0 - 1.0);
            let (mut pace, mut at, mut look) = (Pace::default(), 0.0, 0.0);
            for _ in 0..20 {
                look += 10.0 + random.f64();
                while at + 1.0 / hertz < look {
                    at += 1.0 / hertz;
                    pace.add(s(at), 1);
                }
                let rate = pace.read(s(look), Duration::from_secs(100));
                if at > 3.0 / hertz {
                    assert!((rate / hertz - 1.0).abs() < 1e-6, "seed {seed}: {rate} at {hertz}");
                }
            }
        }
    }
}
