//! What has arrived of what was sent: loss, duplicates, order and latencies. Each message is looked at, none is sampled.

use hdrhistogram::Histogram;

use super::packet::Stamp;
use crate::ranges::Ranges;

/// Latencies are told apart from a tenth of a microsecond up to ten minutes.
const LATENCY_NS: (u64, u64) = (100, 600_000_000_000);

/// Which publishers a subscriber gets messages of: so many from the first on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sources {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// One publisher's messages at one subscriber.
#[derive(Debug, Default)]
struct Line {
    next: u64,
    /// Numbers that others have overtaken.
    missing: Ranges,
}

/// One subscriber.
#[derive(Debug)]
struct Tracker {
    first: u32,
    lines: Vec<Line>,
}

/// The counts of a run.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    /// Acknowledgements that tell a failure.
    pub(super) refused: u64,
    /// All deliveries, duplicates included.
    pub(super) received: u64,
    pub(super) duplicates: u64,
    pub(super) disordered: u64,
    /// Whether latencies are noted.
    pub(super) measures: bool,
    /// From when a message was due until it arrived.
    pub(super) latency: Option<Histogram<u64>>,
    trackers: Vec<Tracker>,
}

impl Tally {
    /// For these subscribers.
    pub(super) fn new(subscribers: &[Sources]) -> Self {
        let tracker = |sources: &Sources| Tracker {
            first: sources.first,
            lines: (0..sources.count).map(|_| Line::default()).collect(),
        };
        Self {
            published: 0,
            acknowledged: 0,
            refused: 0,
            received: 0,
            duplicates: 0,
            disordered: 0,
            measures: false,
            // Without it there are no latencies to tell; the bounds are constants that it takes.
            latency: Histogram::new_with_bounds(LATENCY_NS.0, LATENCY_NS.1, 3).ok(),
            trackers: subscribers.iter().map(tracker).collect(),
        }
    }

    /// Counts a delivery. `None` if it is none of ours, else whether it is its first.
    pub(super) fn deliver(&mut self, subscriber: usize, stamp: Stamp, now: u64) -> Option<bool> {
        let tracker = self.trackers.get_mut(subscriber)?;
        let at = usize::try_from(stamp.publisher.checked_sub(tracker.first)?).ok()?;
        let line = tracker.lines.get_mut(at)?;
        self.received += 1;
        if self.measures
            && let Some(latency) = &mut self.latency
        {
            latency.saturating_record(now.saturating_sub(stamp.nanos));
        }
        let number = u64::from(stamp.number);
        if number == line.next {
            line.next += 1;
            return Some(true);
        }
        if number > line.next {
            line.missing.insert(line.next, number - 1);
            line.next = number + 1;
            return Some(true);
        }
        if line.missing.contains(number) {
            line.missing.remove(number);
            self.disordered += 1;
            return Some(true);
        }
        self.duplicates += 1;
        Some(false)
    }

    /// First deliveries.
    pub(super) const fn unique(&self) -> u64 {
        self.received - self.duplicates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_duplicates_and_disorder_are_told_apart() {
        let mut tally = Tally::new(&[Sources { first: 3, count: 2 }]);
        let mut arrive = |publisher, number| tally.deliver(0, Stamp { nanos: 0, publisher, number }, 1);
        assert_eq!(arrive(2, 0), None, "of another subscriber");
        assert_eq!(arrive(5, 0), None);
        for (publisher, number, is_first) in [
            (3, 0, true),
            (4, 0, true),
            (3, 1, true),
            (3, 4, true),
            (3, 2, true),
            (3, 2, false),
            (3, 1, false),
        ] {
            assert_eq!(arrive(publisher, number), Some(is_first), "{publisher} {number}");
        }
        assert_eq!((tally.received, tally.unique()), (7, 5));
        assert_eq!((tally.duplicates, tally.disordered), (2, 1), "3 never came: it is lost");
    }
}
