//! What was done lately and is on disk. When the store drops records, it counts as lost what it had not been told was
//! done; this tells how much of that was.

use std::collections::VecDeque;

use super::Tally;

/// Entries at most, 24 bytes each: far more than are done while a commit is under way. Should it be more nevertheless, a
/// drop in that moment is counted too high by them.
const ENTRIES_MAX: usize = 16_384;

/// Records that are done and on disk, in the order in which they were done.
#[derive(Debug, Default)]
pub(super) struct DoneLog {
    entries: VecDeque<(u64, u64, usize)>,
    count: u64,
}

impl DoneLog {
    pub(super) fn push(&mut self, no: u64, size: usize) {
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back((self.count, no, size));
        self.count += 1;
    }

    /// This point in the order.
    pub(super) const fn mark(&self) -> u64 {
        self.count
    }

    /// What the store does from now on, it does in the knowledge of everything before this point.
    pub(super) fn told(&mut self, mark: u64) {
        while self.entries.front().is_some_and(|&(at, ..)| at < mark) {
            self.entries.pop_front();
        }
    }

    /// A commit failed: what it held is not on disk after all.
    pub(super) fn not_written(&mut self, committed: u64) {
        self.entries.retain(|&(_, no, _)| no <= committed);
    }

    /// The store has dropped everything up to here: how much of it was done, and it didn't know.
    pub(super) fn dropped(&mut self, up_to: u64) -> Tally {
        let mut tally = Tally::default();
        self.entries.retain(|&(_, no, size)| {
            if no <= up_to {
                tally.add(size);
            }
            no > up_to
        });
        tally
    }
}
