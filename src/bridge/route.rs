//! Which of an upstream's addresses is tried next, and when it is time to go back to the first. Opening and closing
//! connections is the link's business.
//!
//! ```text
//!  in order:  0 ─failed─▶ 1 ─failed─▶ 2 ─failed─▶ (a round is over: back off) ─▶ 0
//!             ▲           │ online: the first is probed every PROBE_EVERY
//!             └───────────┘ it answered for `return_after`
//! ```

use std::time::Duration;

use crate::time::Mono;

/// While a later address is used, the first is tried this often: its port is opened, for TLS with the handshake, and
/// closed again. It costs a connection, so not more often; a return is announced well before `return_after` is over.
const PROBE_EVERY: Duration = Duration::from_secs(30);

/// In which order the addresses are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failover {
    /// As configured, each round from the first; and back to the first when it is there again.
    #[default]
    InOrder,
    /// Each round in a new random order, so that a fleet spreads over a cluster.
    Shuffle,
}

/// The addresses of one upstream, by number.
#[derive(Debug)]
pub(super) struct Route {
    failover: Failover,
    return_after: Duration,
    /// This round's order.
    order: Vec<usize>,
    /// Which of them is in use or tried next.
    at: usize,
    random: fastrand::Rng,
    probe: Option<Probe>,
}

/// How the first address looks from afar.
#[derive(Debug)]
struct Probe {
    due: Mono,
    under_way: bool,
    /// It has answered each time since.
    good_since: Option<Mono>,
}

impl Route {
    pub(super) fn new(count: usize, failover: Failover, return_after: Duration, seed: u64) -> Self {
        let mut route = Self {
            failover,
            return_after,
            order: (0..count.max(1)).collect(),
            at: 0,
            random: fastrand::Rng::with_seed(seed),
            probe: None,
        };
        route.begin_round();
        route
    }

    /// The address that is in use or tried next.
    pub(super) fn address(&self) -> usize {
        self.order.get(self.at).copied().unwrap_or_default()
    }

    /// It did not let us in. Returns whether that was the last of this round: time to back off.
    pub(super) fn failed(&mut self) -> bool {
        self.probe = None;
        self.at += 1;
        let over = self.at >= self.order.len();
        if over {
            self.begin_round();
        }
        over
    }

    /// It let us in.
    pub(super) fn online(&mut self, now: Mono) {
        let watches = self.failover == Failover::InOrder && self.address() != 0;
        let probe = Probe { due: now + self.probe_every(), under_way: false, good_since: None };
        self.probe = watches.then_some(probe);
    }

    /// A connection was lost that had been let in: a new round.
    pub(super) fn lost(&mut self) {
        self.probe = None;
        self.begin_round();
    }

    /// When [`Route::probe`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.probe.as_ref().filter(|probe| !probe.under_way).map(|probe| probe.due)
    }

    /// The address to probe, if it is time; answered with [`Route::probed`].
    pub(super) fn probe(&mut self, now: Mono) -> Option<usize> {
        let probe = self.probe.as_mut().filter(|probe| !probe.under_way && now >= probe.due)?;
        probe.under_way = true;
        Some(0)
    }

    /// Whether the first address answered. Returns whether to go back to it now.
    pub(super) fn probed(&mut self, now: Mono, answered: bool) -> bool {
        let every = self.probe_every();
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.under_way) else { return false };
        probe.under_way = false;
        probe.due = now + every;
        if !answered {
            probe.good_since = None;
            return false;
        }
        let since = *probe.good_since.get_or_insert(now);
        now.since(since) >= self.return_after
    }

    fn probe_every(&self) -> Duration {
        (self.return_after / 4).clamp(Duration::from_secs(1), PROBE_EVERY)
    }

    fn begin_round(&mut self) {
        self.at = 0;
        if self.failover == Failover::Shuffle {
            self.random.shuffle(&mut self.order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_round_tries_each_address_once_in_order_and_then_backs_off() {
        let mut route = Route::new(3, Failover::InOrder, Duration::from_secs(60), 1);
        let mut tried = Vec::new();
        for _ in 0..6 {
            tried.push((route.address(), route.failed()));
        }
        assert_eq!(tried, [(0, false), (1, false), (2, true), (0, false), (1, false), (2, true)]);
    }

    #[test]
    fn a_shuffled_round_tries_each_address_once_and_rounds_differ() {
        let mut route = Route::new(5, Failover::Shuffle, Duration::from_secs(60), 3);
        let mut rounds = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let mut round = Vec::new();
            loop {
                round.push(route.address());
                if route.failed() {
                    break;
                }
            }
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
            rounds.insert(round);
        }
        assert!(rounds.len() > 5, "{rounds:?}");
    }

    #[test]
    fn one_address_backs_off_after_each_failure_and_is_never_probed() {
        let mut route = Route::new(1, Failover::InOrder, Duration::from_secs(60), 1);
        assert!(route.failed());
        route.online(at(1));
        assert_eq!((route.address(), route.deadline()), (0, None));
    }

    #[test]
    fn the_first_address_is_gone_back_to_when_it_answered_for_the_whole_time() {
        let mut route = Route::new(2, Failover::InOrder, Duration::from_secs(60), 1);
        route.failed();
        route.online(at(0));
        let mut now = 0;
        // It comes back, goes once more, and comes back for good.
        for (answered, goes_back) in [
            (false, false),
            (true, false),
            (false, false),
            (true, false),
            (true, false),
            (true, false),
            (true, false),
        ] {
            now += 15;
            assert_eq!(route.deadline(), Some(at(now)));
            assert_eq!(route.probe(at(now)), Some(0));
            assert_eq!(route.probe(at(now)), None, "one at a time");
            assert_eq!(route.probed(at(now), answered), goes_back, "{now} s");
        }
        now += 15;
        route.probe(at(now));
        assert!(route.probed(at(now), true));
    }

    #[test]
    fn a_lost_connection_begins_a_round_at_the_first_address() {
        let mut route = Route::new(3, Failover::InOrder, Duration::from_secs(60), 1);
        route.failed();
        route.online(at(0));
        assert_eq!(route.address(), 1);
        route.lost();
        assert_eq!((route.address(), route.deadline()), (0, None));
    }
}
