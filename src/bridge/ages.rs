//! How old the oldest waiting record is, without keeping a time per record: a mark per commit, thinned out when
//! there are many.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::{Mono, Now, Timestamp};

/// Marks at most, 16 bytes each. Beyond, every second one goes, and the age gets coarser by that.
const MARKS_MAX: usize = 512;

/// When records were appended.
#[derive(Debug)]
pub(super) struct Ages {
    /// The last record of an earlier start, and when the oldest of those was written.
    earlier: u64,
    earlier_oldest: Option<Timestamp>,
    /// From this record on, appended at this time or later; ascending.
    marks: VecDeque<(u64, Mono)>,
}

impl Ages {
    pub(super) const fn new(earlier: u64, earlier_oldest: Option<Timestamp>) -> Self {
        Self { earlier, earlier_oldest, marks: VecDeque::new() }
    }

    pub(super) fn mark(&mut self, no: u64, appended: Mono) {
        if self.marks.back().is_some_and(|&(last, _)| last >= no) {
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.marks.push_back((no, appended));
    }

    /// Everything up to `acked` is done.
    pub(super) fn advance(&mut self, acked: u64) {
        while self.marks.get(1).is_some_and(|&(no, _)| no <= acked + 1) {
            self.marks.pop_front();
        }
    }

    /// Age of a record that is not in memory any more.
    pub(super) fn of(&self, no: u64, now: Now) -> Option<Duration> {
        if no <= self.earlier {
            let millis = now.wall.as_millis().saturating_sub(self.earlier_oldest?.as_millis());
            return Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
        }
        let before = self.marks.iter().rev().find(|&&(from, _)| from <= no);
        before.or(self.marks.front()).map(|&(_, appended)| now.mono.since(appended))
    }
}
