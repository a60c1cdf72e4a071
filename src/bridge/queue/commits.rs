//! When records are written and what follows: commits, what makes a token safe, acknowledgements towards the
//! store.

use std::time::Duration;

use super::{COMMIT_RETRY, Committing, FULL_LOOK, Queue, RECORD_OVERHEAD_BYTES};
use crate::bridge::backoff::doubled;
use crate::bridge::outputs::Outputs;
use crate::bridge::words::{Notice, Output};
use crate::message::SafeToken;
use crate::record::{self, RecordNo, StoredRecord};
use crate::time::{ClockTrust, Mono, Now};

impl Queue {
    pub(super) fn written(&self) -> u64 {
        self.committing.map_or(self.committed, |committing| committing.up_to)
    }

    /// When the next commit is due; `token_wait` is how long a waiting acknowledgement may take.
    pub(in crate::bridge) fn commit_due(&self, interval: Duration, token_wait: Duration) -> Option<Mono> {
        if self.committing.is_some() {
            return None;
        }
        let from = self.written() + 1;
        let oldest = self.memory.range(from..).next()?.1.appended + interval;
        let token = self.tokens.range(from..).next().and_then(|no| self.memory.get(no));
        let mut due = token.map_or(oldest, |held| oldest.min(held.appended + token_wait));
        if self.uncommitted_bytes > self.memory_bytes_max / 4 {
            due = Mono::ZERO;
        }
        Some(self.retry_at.map_or(due, |at| due.max(at)))
    }

    /// Everything uncommitted goes to the store.
    pub(in crate::bridge) fn commit(&mut self, now: Now) -> Option<Output> {
        let from = self.committed + 1;
        let mut batch = Vec::new();
        let mut bytes = 0;
        let synced = now.trust == ClockTrust::Synced;
        let ahead = &self.ahead;
        for (&no, held) in self.memory.range_mut(from..) {
            let at = synced.then(|| now.wall.minus(now.mono.since(held.appended)));
            let stored = record::encode_at(&held.message, at);
            // From here on the size is exact: the store's.
            let size = stored.len();
            self.memory_bytes = self.memory_bytes.saturating_sub(held.size) + size;
            if no >= self.send_next && !ahead.contains(no) {
                self.unsent.take(held.size);
                self.unsent.add(size);
            }
            held.size = size;
            bytes += size + RECORD_OVERHEAD_BYTES;
            if batch.is_empty() {
                self.ages.mark(no, held.appended);
            }
            batch.push(StoredRecord { no: RecordNo(no), bytes: stored });
        }
        let up_to = batch.last()?.no.0;
        self.committing =
            Some(Committing { since: now.mono, up_to, bytes, delivered: 0, told: self.done_log.mark() });
        self.uncommitted_bytes = 0;
        Some(Output::Commit(batch))
    }

    pub(in crate::bridge) fn committed(&mut self, up_to: RecordNo, out: &mut Outputs) {
        let Some(committing) = self.committing.take_if(|committing| committing.up_to == up_to.0) else {
            return;
        };
        self.ack_due |= self.acked > self.committed;
        self.done_log.told(committing.told);
        self.committed = committing.up_to;
        let waiting = self.tokens.split_off(&(committing.up_to + 1));
        for no in std::mem::replace(&mut self.tokens, waiting) {
            if let Some(token) = self.memory.get_mut(&no).and_then(|held| held.token.take()) {
                out.safe(token);
            }
        }
        self.retry_at = None;
        self.full_until = None;
        if self.failures > 0 {
            self.failures = 0;
            self.dropping = false;
            out.notice(Notice::StoreWorks);
        }
    }

    pub(in crate::bridge) fn commit_failed(&mut self, now: Mono, error: &str, out: &mut Outputs) {
        let Some(committing) = self.committing.take() else { return };
        self.elided += committing.delivered;
        self.done_log.not_written(self.committed);
        self.uncommitted_bytes += committing.bytes;
        self.retry_at = Some(now + doubled(COMMIT_RETRY.0, self.failures, COMMIT_RETRY.1));
        self.failures = self.failures.saturating_add(1);
        error.clone_into(&mut self.error);
        if self.failures == 1 {
            out.notice(Notice::StoreFailing { error: error.to_owned() });
        }
    }

    /// The outbox keeps what it has. What was to be written and is not in flight is refused, as is what comes within
    /// the next moment; then a commit asks again.
    pub(in crate::bridge) fn full(&mut self, now: Mono, out: &mut Outputs) {
        let Some(committing) = self.committing.take() else { return };
        self.elided += committing.delivered;
        self.done_log.not_written(self.committed);
        self.uncommitted_bytes += committing.bytes;
        self.full_until = Some(now + FULL_LOOK);
        // What is in flight stays to be written, unless upstream takes it meanwhile.
        self.retry_at = self.full_until;
        let from = self.send_next.max(self.committed + 1);
        // Nor is what is in flight before its turn.
        let ahead = &self.ahead;
        let all = self.memory.range(from..).map(|(&no, _)| no).filter(|&no| !ahead.contains(no));
        for no in all.collect::<Vec<_>>() {
            let token = self.forget(no).and_then(|held| held.token);
            self.refuse_new(token, out);
        }
    }

    /// Counts a new record that there is no room for.
    pub(super) fn refuse_new(&mut self, token: Option<SafeToken>, out: &mut Outputs) {
        if let Some(token) = token {
            out.refused(token);
        }
        self.drops.disk_full += 1;
        self.tell_dropping("disk_full", out);
    }

    pub(in crate::bridge) fn store_error(&self) -> Option<String> {
        self.store_fails().then(|| self.error.clone())
    }

    pub(in crate::bridge) const fn store_fails(&self) -> bool {
        self.failures > 0
    }

    /// The gateway stops: no time to wait for the store's recovery.
    pub(in crate::bridge) fn retry_soon(&mut self, now: Mono) {
        self.retry_at = self.retry_at.map(|at| at.min(now + COMMIT_RETRY.0 / 2));
    }

    /// The acknowledgement that is due towards the store, if any: at most one a second while draining, when
    /// nothing waits any more, and `at_once` before a commit, so that a drop that it causes counts right. With what is in
    /// the window.
    pub(in crate::bridge) fn ack(
        &mut self,
        now: Mono,
        at_once: bool,
        in_window: impl Iterator<Item = u64>,
    ) -> Option<Output> {
        let due = self.ack_at()?;
        if now < due && !at_once && self.acked + 1 < self.next {
            return None;
        }
        self.ack_due = false;
        self.beyond_due = false;
        self.told = self.acked;
        self.told_at = Some(now);
        // A full outbox may have room again.
        self.full_until = None;
        Some(Output::Ack { up_to: RecordNo(self.acked), beyond: self.beyond(in_window) })
    }

    pub(super) fn ack_at(&self) -> Option<Mono> {
        let due = self.ack_due && self.acked > self.told || self.beyond_due;
        due.then(|| self.told_at.map_or(Mono::ZERO, |at| at + Duration::from_secs(1)))
    }
}
