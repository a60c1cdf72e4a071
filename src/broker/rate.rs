//! How fast a client publishes, and when it has to rest. Pure bookkeeping of one connection.

use std::time::Duration;

use super::config::PublishRate;
use crate::time::Mono;

/// A client that is at its bound for so long is closed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What may come at once: as much as in this time.
const BURST: Duration = Duration::from_secs(1);

/// How much of its rates a client has used up.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// When nothing of it would be, for messages and for bytes.
    messages: Mono,
    bytes: Mono,
    /// Since when it is at the bound, without a rest in between.
    since: Option<Mono>,
}

/// What a message means for its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Fine,
    /// It is not read from until then.
    RestUntil(Mono),
    /// It has been too fast for too long.
    TooFast,
}

impl Rate {
    /// A message with so many bytes has come.
    pub(super) fn take(&mut self, now: Mono, bytes: usize, limits: PublishRate) -> Pace {
        if self.messages <= now && self.bytes <= now {
            self.since = None;
        }
        if let Some(max) = limits.messages_max {
            self.messages = self.messages.max(now) + share(1, max);
        }
        if let Some(max) = limits.bytes_max {
            self.bytes = self.bytes.max(now) + share(bytes, max);
        }
        let used_until = self.messages.max(self.bytes);
        if used_until.since(now) <= BURST {
            return Pace::Fine;
        }
        let since = *self.since.get_or_insert(now);
        if now.since(since) >= PATIENCE {
            return Pace::TooFast;
        }
        // Half a burst is free again by then, so that it doesn't stop and go at each message.
        Pace::RestUntil(now + used_until.since(now + BURST / 2))
    }
}

/// The time that so many take at a rate.
fn share(count: usize, rate: u32) -> Duration {
    let nanos =
        u128::try_from(count).unwrap_or(u128::MAX).saturating_mul(1_000_000_000) / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::ZERO + Duration::from_secs(50) + Duration::from_millis(millis)
    }

    const TEN: PublishRate = PublishRate { messages_max: Some(10), bytes_max: Some(1_000) };

    #[test]
    fn a_second_of_either_may_come_at_once_and_then_it_rests() {
        for (bytes, at_once) in [(1, 10), (500, 2)] {
            let mut rate = Rate::default();
            for _ in 0..at_once {
                assert_eq!(rate.take(at(0), bytes, TEN), Pace::Fine);
            }
            assert!(matches!(rate.take(at(0), bytes, TEN), Pace::RestUntil(until) if until > at(500)));
        }
        let mut unbounded = Rate::default();
        assert!((0..100_000).all(|_| unbounded.take(at(0), 9, PublishRate::default()) == Pace::Fine));
    }

    #[test]
    fn whoever_never_rests_is_closed_and_whoever_does_is_not() {
        let mut rate = Rate::default();
        let (mut now, mut taken) = (at(0), 0);
        let closed = loop {
            match rate.take(now, 1, TEN) {
                Pace::Fine => taken += 1,
                Pace::RestUntil(until) => {
                    taken += 1;
                    assert!(until > now);
                    now = until;
                }
                Pace::TooFast => break now,
            }
        };
        let span = closed.since(at(0));
        assert!((PATIENCE..PATIENCE + BURST).contains(&span), "{span:?}");
        assert!((290..=330).contains(&taken), "ten a second, and one burst: {taken}");
        let mut rate = Rate::default();
        for burst in 0..100 {
            for _ in 0..15 {
                assert_ne!(rate.take(at(burst * 2_000), 1, TEN), Pace::TooFast);
            }
        }
    }
}
