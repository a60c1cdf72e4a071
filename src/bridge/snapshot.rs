//! What a bridge tells of itself, for health and status.

use super::Bridge;
use super::queue::Tally;
use super::words::Status;
use crate::time::Now;

impl Bridge {
    pub(super) fn backlog(&self) -> Tally {
        let mut tally = self.queue.waiting();
        for (_, size, _) in self.window.iter().filter(|&(.., done)| !done) {
            tally.add(size);
        }
        tally
    }

    /// A snapshot.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        let backlog = self.backlog();
        let committed = self.queue.committed_to();
        let done = self.window.iter().filter(|&(no, _, done)| done && no > committed).count();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Status {
            name: self.config.name.clone(),
            state: self.link.state(),
            place: self.link.place(),
            since: self.link.since(),
            error: self.link.error(),
            retry_in: self.link.retry_in(now),
            connections: self.link.connections(),
            backlog_records: backlog.records,
            backlog_bytes: backlog.bytes,
            backlog_oldest: self.queue.oldest(now).filter(|_| backlog.records > 0),
            store_error: self.queue.store_error(),
            unsafe_records: self.queue.uncommitted().saturating_sub(count(done)),
            inflight: count(self.window.records_in_flight()),
            delivered: self.delivered,
            elided: self.queue.elided,
            resent: self.resent,
            round_trip: self.window.round_trip(),
            drops: self.queue.drops,
            inward: self.inbound.counts,
            rival: self.rival(now),
            dead_letters: self.dead.all(),
            receipt: self.outages.last.clone(),
            traffic: self.traffic.bytes(self.config.bytes_per_day_max),
            status_repairs: self.watch.repaired,
            not_subscribed: self.inbound.refused.clone(),
        }
    }
}
