//! The delay after failed logins, for each address and user.

use std::collections::HashMap;
use std::time::Duration;

use crate::time::Mono;

/// After the first failure.
const DELAY_MIN: Duration = Duration::from_secs(1);
/// However often it failed.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// A pair that has been quiet for this long starts anew.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Pairs of address and user: some 300 bytes each at worst, so 1.2 MB. Above it the one that failed longest ago is
/// forgotten.
const PAIRS_MAX: usize = 4_096;

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Mono,
}

/// Who failed lately.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    pairs: HashMap<(String, String), Failures>,
}

impl Throttle {
    /// From when on the next attempt is looked at.
    pub(super) fn open_at(&self, address: &str, user: &str) -> Mono {
        let failures = self.pairs.get(&(address.to_owned(), user.to_owned()));
        failures.map_or(Mono::ZERO, |failures| failures.last + delay(failures.count))
    }

    pub(super) fn failed(&mut self, now: Mono, address: &str, user: &str) {
        if self.pairs.len() >= PAIRS_MAX {
            self.make_room(now);
        }
        let failures = self
            .pairs
            .entry((address.to_owned(), user.to_owned()))
            .or_insert(Failures { count: 0, last: now });
        if now.since(failures.last) > FORGET_AFTER {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    pub(super) fn succeeded(&mut self, address: &str, user: &str) {
        if !self.pairs.is_empty() {
            self.pairs.remove(&(address.to_owned(), user.to_owned()));
        }
    }

    fn make_room(&mut self, now: Mono) {
        self.pairs.retain(|_, failures| now.since(failures.last) <= FORGET_AFTER);
        if self.pairs.len() < PAIRS_MAX {
            return;
        }
        let oldest = self.pairs.iter().min_by_key(|(_, failures)| failures.last);
        if let Some(pair) = oldest.map(|(pair, _)| pair.clone()) {
            self.pairs.remove(&pair);
        }
    }
}

/// 1 s, 2 s, 4 s … 30 s.
fn delay(failures: u32) -> Duration {
    let doubled = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    DELAY_MIN.saturating_mul(doubled).min(DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_from_one_second_to_thirty() {
        for (failures, seconds) in
            [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30), (40, 30), (u32::MAX, 30)]
        {
            assert_eq!(delay(failures), Duration::from_secs(seconds), "{failures}");
        }
    }

    #[test]
    fn the_pairs_are_bounded_and_the_oldest_goes() {
        let mut throttle = Throttle::default();
        for number in 0..=PAIRS_MAX {
            let now = Mono::from_nanos(u64::try_from(number).unwrap() + 1);
            throttle.failed(now, "10.0.0.1", &number.to_string());
        }
        assert_eq!(throttle.pairs.len(), PAIRS_MAX);
        assert_eq!(throttle.open_at("10.0.0.1", "0"), Mono::ZERO, "the oldest is forgotten");
        assert!(throttle.open_at("10.0.0.1", "1") > Mono::ZERO);
    }
}
