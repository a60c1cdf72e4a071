//! What went over each map since the start, for people who want to know what uses the line.

use super::Bridge;
use super::config::{Direction, Mapping};

/// What went over one map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Messages that were sent, each once however often it had to be sent again.
    pub sent: u64,
    /// Bytes of their packets, those that were sent again with them.
    pub sent_bytes: u64,
    /// Messages that came in and were handed to the LAN.
    pub received: u64,
    /// Bytes of their payloads.
    pub received_bytes: u64,
    /// Too old when their turn came.
    pub expired: u64,
    /// What upstream doesn't take: refused, or too large for it.
    pub refused: u64,
}

/// A map with what went over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapStatus {
    /// Local topics.
    pub filter: String,
    /// Which way.
    pub direction: Direction,
    /// What is taken off the front of a local topic.
    pub local_prefix: String,
    /// What is put there.
    pub remote_prefix: String,
    /// What went over it.
    pub passed: Passed,
}

/// All maps, by their places in the config.
#[derive(Debug, Default)]
pub(super) struct MapCounts(Vec<Passed>);

impl MapCounts {
    pub(super) fn new(maps: &[Mapping]) -> Self {
        Self(vec![Passed::default(); maps.len()])
    }

    /// Goes on with other maps: one that was there before keeps its counts.
    pub(super) fn follow(&mut self, before: &[Mapping], maps: &[Mapping]) {
        let same = |one: &Mapping, other: &Mapping| {
            one.filter == other.filter
                && one.direction == other.direction
                && one.local_prefix == other.local_prefix
                && one.remote_prefix == other.remote_prefix
        };
        let known = |map: &Mapping| before.iter().position(|known| same(known, map));
        let counts =
            maps.iter().map(|map| known(map).and_then(|at| self.0.get(at)).copied().unwrap_or_default());
        self.0 = counts.collect();
    }

    fn of(&mut self, map: usize, count: impl FnOnce(&mut Passed)) {
        if let Some(passed) = self.0.get_mut(map) {
            count(passed);
        }
    }

    pub(super) fn sent(&mut self, map: usize, messages: usize, bytes: usize) {
        self.of(map, |passed| {
            passed.sent += number(messages);
            passed.sent_bytes += number(bytes);
        });
    }

    pub(super) fn received(&mut self, map: usize, bytes: usize) {
        self.of(map, |passed| {
            passed.received += 1;
            passed.received_bytes += number(bytes);
        });
    }

    pub(super) fn expired(&mut self, map: usize) {
        self.of(map, |passed| passed.expired += 1);
    }

    pub(super) fn refused(&mut self, map: usize) {
        self.of(map, |passed| passed.refused += 1);
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Bridge {
    /// The maps with what went over each, in the order of the config.
    #[must_use]
    pub fn maps(&self) -> Vec<MapStatus> {
        let passed = self.counts.0.iter().copied().chain(std::iter::repeat(Passed::default()));
        let one = |(map, passed): (&Mapping, Passed)| MapStatus {
            filter: map.filter.as_str().to_owned(),
            direction: map.direction,
            local_prefix: map.local_prefix.clone(),
            remote_prefix: map.remote_prefix.clone(),
            passed,
        };
        self.config.maps.iter().zip(passed).map(one).collect()
    }
}
