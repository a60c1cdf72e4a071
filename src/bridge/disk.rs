//! What the machine wants of the store, and when: commits, reads, acknowledgements, for each stream.

use std::time::Duration;

use super::Bridge;
use super::queue::Queue;
use super::streams::StreamNo;
use crate::time::{Mono, Now};

/// How long an acknowledgement may wait for a commit before the round trip is known, and while upstream is away.
const TOKEN_WAIT: Duration = Duration::from_millis(250);
/// The longest that it may wait.
const TOKEN_WAIT_MAX: Duration = Duration::from_secs(1);
/// The shortest: on a fast link the jitter of a PUBACK is a multiple of the round trip, and each record that is
/// written for nothing wears the flash.
const TOKEN_WAIT_MIN: Duration = Duration::from_millis(10);
/// An outage that lasts this long is a long one: commits are spared.
const LONG_OUTAGE: Duration = Duration::from_secs(60);

impl Bridge {
    /// What one stream wants of the store.
    pub(super) fn use_store(&mut self, now: Now, stream: StreamNo) {
        let reads = self.link.is_online() && self.stopping.is_none();
        let commits = self.commit_due_of(&self.streams.get(stream).queue).is_some_and(|due| now.mono >= due);
        let queue = self.streams.queue(stream);
        if let Some(ack) = queue.ack(now.mono, commits, self.window.open(stream)) {
            self.out.push_of(stream, ack);
        }
        if commits && let Some(commit) = queue.commit(now) {
            self.out.push_of(stream, commit);
        }
        if reads && let Some(read) = queue.read(now.mono) {
            self.out.push_of(stream, read);
        }
    }

    pub(super) fn commit_due(&self) -> Option<Mono> {
        self.streams.queues().filter_map(|queue| self.commit_due_of(queue)).min()
    }

    fn commit_due_of(&self, queue: &Queue) -> Option<Mono> {
        if self.stopping.is_some() {
            return queue.commit_due(Duration::ZERO, Duration::ZERO);
        }
        let token_wait = if self.link.is_online() {
            let four = self.window.round_trip().map(|round_trip| round_trip * 4);
            four.map_or(TOKEN_WAIT, |wait| wait.clamp(TOKEN_WAIT_MIN, TOKEN_WAIT_MAX))
        } else {
            TOKEN_WAIT
        };
        let interval = self.config.commit_interval;
        let due = queue.commit_due(interval, token_wait)?;
        if self.link.is_online() {
            return Some(due);
        }
        // In an outage the wait depends on when the commit would be: short in the first minute, then long.
        let long = queue.commit_due(interval, TOKEN_WAIT_MAX)?;
        let first_minute_ends = self.link.away_since() + LONG_OUTAGE;
        Some(if due < first_minute_ends { due } else { long.max(due) })
    }
}
