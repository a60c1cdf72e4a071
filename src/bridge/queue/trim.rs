//! Memory's share: what the disk has leaves memory, and what neither disk nor upstream takes is dropped in the end.

use super::{COMMIT_STALLS, Queue};
use crate::bridge::outputs::Outputs;
use crate::bridge::words::Notice;
use crate::time::Mono;

impl Queue {
    /// Keeps memory within its share: first the committed are left to the disk, then, if the disk doesn't take
    /// them, the oldest that are neither in flight nor being written are lost. While the disk works, a burst may
    /// take twice the share until its commit is through.
    pub(in crate::bridge) fn trim(&mut self, now: Mono, online: bool, out: &mut Outputs) {
        let cache_max = if online { self.memory_bytes_max } else { self.memory_bytes_max / 8 };
        loop {
            let under_way = self.committing.map_or(0, |committing| committing.bytes);
            let cached = self.memory_bytes.saturating_sub(self.uncommitted_bytes).saturating_sub(under_way);
            if self.memory_bytes <= self.memory_bytes_max && cached <= cache_max {
                return;
            }
            let Some(no) = self.memory.keys().next().copied().filter(|&no| no <= self.committed) else {
                break;
            };
            let sent = self.is_sent(no);
            let Some(held) = self.forget(no) else { break };
            self.mem_first = no + 1;
            if no < self.send_next {
                self.read_next = self.read_next.max(no + 1);
            } else if !sent {
                self.disk.add(held.size);
                // What is live and was not sent is a part of the backlog by now.
                self.ahead.next = self.ahead.next.map(|next| next.max(no + 1));
            }
        }
        let stalls = self.committing.is_some_and(|committing| now.since(committing.since) >= COMMIT_STALLS);
        let share = if self.store_fails() || stalls { 1 } else { 2 };
        while self.memory_bytes > self.memory_bytes_max.saturating_mul(share) {
            let from = self.send_next.max(self.written() + 1);
            let ahead = &self.ahead;
            let mut unsent = self.memory.range(from..).map(|(&no, _)| no).filter(|&no| !ahead.contains(no));
            let Some(no) = unsent.next() else { return };
            // What is neither written nor delivered is not acknowledged.
            if let Some(token) = self.forget(no).and_then(|held| held.token) {
                out.refused(token);
            }
            self.drops.memory_full += 1;
            self.tell_dropping("memory_full", out);
        }
    }

    pub(super) fn tell_dropping(&mut self, reason: &'static str, out: &mut Outputs) {
        if !std::mem::replace(&mut self.dropping, true) {
            out.notice(Notice::Dropping { reason });
        }
    }
}
