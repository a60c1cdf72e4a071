//! Debouncing where the kernel doesn't: a level counts once it was steady for the period.

use std::time::Duration;

use super::Edge;
use crate::time::Mono;

/// The debounced level of a line.
#[derive(Debug)]
pub(super) struct Debounce {
    period: Duration,
    steady: bool,
    /// Another level, and since when.
    pending: Option<(bool, Mono)>,
}

impl Debounce {
    pub(super) const fn new(period: Duration, level: bool) -> Self {
        Self { period, steady: level, pending: None }
    }

    /// Takes a change; gives the one before it if that was steady for long enough by then. Its time is when the level
    /// began.
    pub(super) fn feed(&mut self, edge: Edge) -> Option<Edge> {
        let settled = self.settle(edge.at);
        self.pending = (edge.active != self.steady).then_some((edge.active, edge.at));
        settled
    }

    /// The change that is steady by now.
    pub(super) fn settle(&mut self, now: Mono) -> Option<Edge> {
        let (active, at) = self.pending.filter(|(_, at)| *at + self.period <= now)?;
        self.pending = None;
        self.steady = active;
        Some(Edge { at, active, seqno: 0 })
    }

    /// When a change may have become steady.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.pending.map(|(_, at)| at + self.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Mono {
        Mono::from_nanos(ms * 1_000_000)
    }

    fn edge(at: u64, active: bool) -> Edge {
        Edge { at: ms(at), active, seqno: 0 }
    }

    #[test]
    fn bounces_are_one_change_and_its_time_is_that_of_the_last_of_them() {
        let mut line = Debounce::new(Duration::from_millis(5), false);
        for (at, active) in [(0, true), (1, false), (2, true), (3, false), (4, true)] {
            assert_eq!(line.feed(edge(at, active)), None);
        }
        assert_eq!(line.deadline(), Some(ms(9)));
        assert_eq!(line.settle(ms(8)), None);
        assert_eq!(line.settle(ms(9)), Some(edge(4, true)));
        assert_eq!(line.settle(ms(20)), None);
        assert_eq!(line.feed(edge(100, false)), None);
        // Nobody looked in between: the next change does.
        assert_eq!(line.feed(edge(200, true)), Some(edge(100, false)));
        assert_eq!(line.settle(ms(205)), Some(edge(200, true)));
    }

    #[test]
    fn a_spike_is_no_change() {
        let mut line = Debounce::new(Duration::from_millis(5), true);
        assert_eq!(line.feed(edge(10, false)), None);
        assert_eq!(line.feed(edge(12, true)), None);
        assert_eq!((line.deadline(), line.settle(ms(1_000))), (None, None));
    }

    #[test]
    fn whatever_the_noise_the_changes_alternate_and_were_steady() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut line = Debounce::new(Duration::from_millis(5), false);
            let (mut at, mut level, mut raw, mut taken) = (0, false, Vec::new(), Vec::new());
            for _ in 0..200 {
                at += random.u64(1..12);
                level = !level;
                raw.push((at, level));
                taken.extend(line.feed(edge(at, level)));
            }
            taken.extend(line.settle(ms(at + 5)));
            let next = |at: u64| raw.iter().map(|(at, _)| *at).find(|next| *next > at).unwrap_or(u64::MAX);
            let mut steady = false;
            let expected: Vec<Edge> = raw
                .iter()
                .filter(|(at, level)| {
                    let counts = next(*at) >= at + 5 && *level != steady;
                    if counts {
                        steady = *level;
                    }
                    counts
                })
                .map(|(at, level)| edge(*at, *level))
                .collect();
            assert_eq!(taken, expected, "seed {seed}");
        }
    }
}
