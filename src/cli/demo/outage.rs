//! When the upstream is down: by plan, by key, and for how long in all. What "down" means is the link's business.

use std::time::{Duration, Instant};

/// The outages of one demo.
#[derive(Debug, Default)]
pub(super) struct Outages {
    planned: Option<Planned>,
    since: Option<Instant>,
    count: u64,
    total: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Planned {
    Begin { at: Instant, lasts: Duration },
    End { at: Instant },
}

impl Outages {
    /// `plan`: when the one outage begins and how long it lasts.
    pub(super) fn new(start: Instant, plan: Option<(Duration, Duration)>) -> Self {
        let planned = plan.map(|(after, lasts)| Planned::Begin { at: start + after, lasts });
        Self { planned, ..Self::default() }
    }

    /// Does what is planned for now; true if the upstream went down or up.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        match self.planned {
            Some(Planned::Begin { at, lasts }) if now >= at => {
                self.planned = Some(Planned::End { at: at + lasts });
                // Someone may have begun it by hand; then it ends as planned.
                !self.is_on() && self.switch(now)
            }
            Some(Planned::End { at }) if now >= at => {
                self.planned = None;
                self.is_on() && self.switch(now)
            }
            _ => false,
        }
    }

    /// A person takes the upstream down or up; an outage ended by hand doesn't end again by plan.
    pub(super) fn toggle(&mut self, now: Instant) {
        if self.is_on() && matches!(self.planned, Some(Planned::End { .. })) {
            self.planned = None;
        }
        self.switch(now);
    }

    /// The end: no more outages; true if one was still on.
    pub(super) fn end(&mut self, now: Instant) -> bool {
        self.planned = None;
        self.is_on() && self.switch(now)
    }

    /// Whether the upstream is down.
    pub(super) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// For how long it has been down.
    pub(super) fn lasting(&self, now: Instant) -> Option<Duration> {
        self.since.map(|since| now.saturating_duration_since(since))
    }

    /// How many outages began.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// How long they lasted in all.
    pub(super) fn total(&self) -> Duration {
        self.total
    }

    fn switch(&mut self, now: Instant) -> bool {
        match self.since.take() {
            Some(since) => self.total += now.saturating_duration_since(since),
            None => {
                self.since = Some(now);
                self.count += 1;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks once a second, toggles at `keys`, ends at 20 s; expects the count and the seconds in all.
    fn check(plan: Option<(u64, u64)>, keys: &[u64], expected: (u64, u64)) {
        let start = Instant::now();
        let seconds = Duration::from_secs;
        let mut outages = Outages::new(start, plan.map(|(after, lasts)| (seconds(after), seconds(lasts))));
        for second in 0..20 {
            let now = start + seconds(second);
            if keys.contains(&second) {
                outages.toggle(now);
            }
            outages.tick(now);
        }
        outages.end(start + seconds(20));
        assert!(!outages.is_on());
        assert_eq!((outages.count(), outages.total().as_secs()), expected, "{plan:?} {keys:?}");
    }

    #[test]
    fn outages_come_by_plan_and_by_key_and_all_are_over_at_the_end() {
        check(None, &[], (0, 0));
        check(Some((5, 4)), &[], (1, 4));
        check(Some((5, 40)), &[], (1, 15));
        check(None, &[3, 6], (1, 3));
        check(None, &[3, 6, 18], (2, 5));
    }

    #[test]
    fn a_key_and_the_plan_do_not_count_one_outage_twice() {
        check(Some((5, 4)), &[3], (1, 6));
        check(Some((5, 4)), &[7], (1, 2));
        check(Some((5, 10)), &[7, 9], (2, 13));
    }
}
