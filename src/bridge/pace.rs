//! How fast upstream acknowledges, and what follows from that while a backlog drains: how many messages may be on their
//! way, and whether acknowledgements may lie unread for a moment.
//!
//! An acknowledgement that wakes this gateway costs both sides more than the acknowledgement itself. So where upstream is
//! quick, more may be on their way than what it acknowledges in a few milliseconds, and what it says is read a
//! millisecond's worth at a time. Where it is slow, nothing of this happens, and after a cut little comes twice.

use std::time::Duration;

use crate::time::Mono;

/// Messages on their way, however slow upstream is.
const WINDOW_MIN: usize = 100;
/// The window holds what upstream acknowledges in this many milliseconds.
const WINDOW_MS: usize = 8;
/// Acknowledgements lie unread only while what upstream needs for this many milliseconds is on its way.
const AHEAD_MS: usize = 5;
/// Fewer a millisecond aren't worth it.
const WORTH_IT: usize = 20;
/// Measured over no less than this.
const SPAN: Duration = Duration::from_millis(4);
/// After so long without one, upstream isn't what it was.
const STALE: Duration = Duration::from_millis(500);

/// The pace of acknowledgements.
#[derive(Debug, Default)]
pub(super) struct Pace {
    since: Option<Mono>,
    count: usize,
    per_ms: usize,
}

impl Pace {
    /// A message was acknowledged.
    pub(super) fn acknowledged(&mut self, now: Mono) {
        let since = *self.since.get_or_insert(now);
        let passed = now.since(since);
        if passed >= SPAN {
            let micros = usize::try_from(passed.as_micros()).unwrap_or(usize::MAX).max(1);
            self.per_ms = if passed > STALE { 0 } else { self.count * 1_000 / micros };
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
    }

    /// Messages that may be on their way, where up to `max` are allowed.
    pub(super) fn window(&self, max: usize) -> usize {
        (self.per_ms * WINDOW_MS).max(WINDOW_MIN).min(max)
    }

    /// Whether acknowledgements may lie unread for a millisecond while so many messages are on their way.
    pub(super) const fn may_lie(&self, in_flight: usize) -> bool {
        self.per_ms >= WORTH_IT && in_flight >= self.per_ms * AHEAD_MS
    }

    /// The connection is gone: the next may be another.
    pub(super) fn link_down(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Mono {
        Mono::from_nanos((1_000_000 + micros) * 1_000)
    }

    fn acknowledged(every: u64, messages: u64) -> Pace {
        let mut pace = Pace::default();
        for no in 0..messages {
            pace.acknowledged(at(no * every));
        }
        pace
    }

    #[test]
    fn a_quick_upstream_gets_a_large_window_within_what_is_allowed() {
        // 100 a millisecond.
        let pace = acknowledged(10, 1_000);
        assert_eq!(pace.window(1_000), 800);
        assert_eq!(pace.window(300), 300);
        assert!(pace.may_lie(500));
        assert!(!pace.may_lie(499));
    }

    #[test]
    fn a_slow_upstream_gets_the_small_one_and_is_heard_at_once() {
        let pace = acknowledged(1_000, 1_000);
        assert_eq!(pace.window(1_000), WINDOW_MIN);
        assert_eq!(pace.window(20), 20);
        assert!(!pace.may_lie(1_000));
    }

    #[test]
    fn after_a_pause_and_after_a_cut_it_begins_anew() {
        let mut pace = acknowledged(10, 1_000);
        pace.acknowledged(at(10_000_000));
        assert_eq!(pace.window(1_000), WINDOW_MIN);
        let mut pace = acknowledged(10, 1_000);
        pace.link_down();
        assert_eq!(pace.window(1_000), WINDOW_MIN);
    }
}
