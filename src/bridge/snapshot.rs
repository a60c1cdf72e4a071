//! What a bridge tells of itself, for health and status.

use std::sync::Arc;
use std::time::Duration;

use super::Bridge;
use super::queue::{Queue, Tally};
use super::streams::StreamNo;
use super::words::{Status, StreamStatus};
use crate::time::Now;

impl Bridge {
    pub(super) fn backlog(&self) -> Tally {
        self.streams.numbers().fold(Tally::default(), |sum, stream| sum.plus(self.backlog_of(stream)))
    }

    fn backlog_of(&self, stream: StreamNo) -> Tally {
        let mut tally = self.streams.get(stream).queue.waiting();
        for (_, size, _) in self.window.of(stream).filter(|&(.., done)| !done) {
            tally.add(size);
        }
        tally
    }

    /// The upstream's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// Age of the oldest record that waits.
    pub(super) fn oldest(&self, now: Now) -> Option<Duration> {
        self.streams.queues().filter_map(|queue| queue.oldest(now)).max()
    }

    fn stream_status(&self, stream: StreamNo, now: Now) -> StreamStatus {
        let backlog = self.backlog_of(stream);
        let one = self.streams.get(stream);
        let committed = one.queue.committed_to();
        let done = self.window.of(stream).filter(|&(no, _, done)| done && no > committed).count();
        StreamStatus {
            name: one.name.clone(),
            backlog_records: backlog.records,
            backlog_bytes: backlog.bytes,
            backlog_oldest: one.queue.oldest(now).filter(|_| backlog.records > 0),
            unsafe_records: one.queue.uncommitted().saturating_sub(u64::try_from(done).unwrap_or(u64::MAX)),
            drops: one.queue.drops,
        }
    }

    /// A snapshot.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        let streams: Vec<StreamStatus> =
            self.streams.numbers().map(|stream| self.stream_status(stream, now)).collect();
        let backlog = self.backlog();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Status {
            name: self.config.name.clone(),
            state: self.link.state(),
            place: self.link.place(),
            since: self.link.since(),
            error: self.link.error(),
            retry_in: self.link.retry_in(now),
            paused: self.pause.since(),
            connections: self.link.connections(),
            backlog_records: backlog.records,
            backlog_bytes: backlog.bytes,
            backlog_oldest: streams.iter().filter_map(|stream| stream.backlog_oldest).max(),
            store_error: self.streams.queues().find_map(Queue::store_error),
            unsafe_records: streams.iter().map(|stream| stream.unsafe_records).sum(),
            inflight: count(self.window.publishes_in_flight()),
            delivered: self.delivered,
            elided: self.streams.queues().map(|queue| queue.elided).sum(),
            resent: self.resent,
            round_trip: self.window.round_trip(),
            drops: self.streams.drops(),
            inward: self.inbound.counts,
            rival: self.rival(now),
            dead_letters: self.dead.all(),
            receipt: self.outages.last.clone(),
            traffic: self.traffic.bytes(self.config.bytes_per_day_max),
            status_repairs: self.watch.repaired,
            streams,
            not_subscribed: self.inbound.refused.clone(),
        }
    }
}
