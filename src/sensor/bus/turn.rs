//! Whose turn it is. Whoever answered last time and is due goes first, the one that waits longest before the others. A device
//! that failed, or was never heard, comes when none of these waits; or, on a bus that is busy all the time, after each of
//! them had a turn: it costs a timeout, and no two of these stand one after the other while somebody else waits.

use crate::time::Mono;

/// What is known of a device when the next request is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Since when it waits for its turn.
    pub(super) due: Mono,
    /// When it may be asked: its cycle is due, its pause is over, no late answer is awaited.
    pub(super) ready: Mono,
    /// It answered last time.
    pub(super) is_well: bool,
}

/// How many requests went to devices that are well while one waits that isn't.
#[derive(Debug, Default)]
pub(super) struct Fairness {
    well: usize,
}

impl Fairness {
    /// Who is asked now.
    pub(super) fn choose(&self, now: Mono, candidates: &[Candidate]) -> Option<usize> {
        let count = candidates.iter().filter(|candidate| candidate.is_well).count();
        match (first(now, candidates, true), first(now, candidates, false)) {
            (Some(_), Some(sick)) if self.well >= count => Some(sick),
            (well, sick) => well.or(sick),
        }
    }

    /// One was asked.
    pub(super) fn asked(&mut self, now: Mono, candidates: &[Candidate], chosen: usize) {
        let is_well = candidates.get(chosen).is_some_and(|candidate| candidate.is_well);
        let counts = is_well && first(now, candidates, false).is_some();
        self.well = if counts { self.well.saturating_add(1) } else { 0 };
    }
}

/// Who waits longest of those who are well, or of the others.
fn first(now: Mono, candidates: &[Candidate], is_well: bool) -> Option<usize> {
    let ready = |(_, candidate): &(usize, &Candidate)| {
        candidate.is_well == is_well && candidate.ready <= now && candidate.due <= now
    };
    let waiting = candidates.iter().enumerate().filter(ready);
    waiting.min_by_key(|(_, candidate)| candidate.due).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(ms: u64) -> Mono {
        Mono::ZERO + Duration::from_millis(ms)
    }

    const fn candidate(due: Mono, is_well: bool) -> Candidate {
        Candidate { due, ready: due, is_well }
    }

    #[test]
    fn who_is_well_goes_first_and_who_waits_longest_before_the_others() {
        let fairness = Fairness::default();
        let list = [candidate(at(5), false), candidate(at(9), true), candidate(at(7), true)];
        assert_eq!(fairness.choose(at(4), &list), None);
        assert_eq!(fairness.choose(at(6), &list), Some(0));
        assert_eq!(fairness.choose(at(8), &list), Some(2));
        assert_eq!(fairness.choose(at(9), &list), Some(2));
    }

    #[test]
    fn on_a_busy_bus_a_sick_one_gets_a_turn_after_all_the_others() {
        let mut fairness = Fairness::default();
        let list = [candidate(at(0), false), candidate(at(0), true), candidate(at(0), true)];
        let mut order = Vec::new();
        for _ in 0..6 {
            let next = fairness.choose(at(1), &list).unwrap();
            fairness.asked(at(1), &list, next);
            order.push(list[next].is_well);
        }
        assert_eq!(order, [true, true, false, true, true, false]);
    }

    #[test]
    fn who_is_due_but_held_back_is_passed_over() {
        let held = Candidate { due: at(0), ready: at(50), is_well: true };
        let list = [held, candidate(at(3), true)];
        let fairness = Fairness::default();
        assert_eq!(fairness.choose(at(10), &list), Some(1));
        assert_eq!(fairness.choose(at(50), &list), Some(0));
    }
}
