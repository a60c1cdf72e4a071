//! What keeps a storm out of the log: each kind of line at most once a second, with the number of those left out.

use std::time::Duration;

use crate::time::Mono;

/// Lines of one kind are this far apart at least.
const APART: Duration = Duration::from_secs(1);

/// One kind of line.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    last: Option<Mono>,
    unsaid: u64,
}

impl Throttle {
    /// How many lines were left out, if it is time for one.
    pub(super) fn is_due(&mut self, now: Mono) -> Option<u64> {
        if self.last.is_some_and(|last| now.since(last) < APART) {
            self.unsaid = self.unsaid.saturating_add(1);
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// The kinds.
#[derive(Debug, Default)]
pub(super) struct Throttles {
    pub(super) arrivals: Throttle,
    pub(super) queues: Throttle,
    pub(super) rates: Throttle,
    pub(super) retained: Throttle,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_second_tells_of_those_left_out() {
        let mut throttle = Throttle::default();
        let mut due = |millis| throttle.is_due(Mono::ZERO + Duration::from_millis(millis));
        let said = [0, 1, 999, 1_000, 1_500, 9_000].map(&mut due);
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
