//! The records of one stream towards an upstream: which wait, which are written, which are in memory, what is safe. It decides when
//! to commit, to read and to forget; the sending order is the order of numbers, but for what goes [`ahead`] or [`back`].
//!
//! ```text
//!   acked │ in the window │ disk only (read back) │ loaded │   memory: committed │ committing │ uncommitted │ next
//!         └───────────────┴── send_next ──────────┴────────┴── mem_first ────────┴────────────┴─────────────┘
//! ```
//! Records from `mem_first` on are in memory or gone; older ones that are not done are in the window, loaded, or on
//! disk only. A record that is done before a commit took it is never written: it is *elided*.

mod ahead;
mod back;
mod commits;
mod disk;
mod told;
mod trim;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::ages::Ages;
use super::outputs::Outputs;
use super::streams::StreamNo;
use super::words::{Backlog, Drops};
use crate::message::{Message, SafeToken};
use crate::time::{Mono, Now, Timestamp};
use ahead::Ahead;
use back::Back;
use told::DoneLog;

/// About how much is read from disk in one go.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// What a record in memory costs beside its bytes: tree node, message struct, shared pointers.
pub(super) const RECORD_OVERHEAD_BYTES: usize = 256;
/// The first and the longest wait after a commit that failed.
const COMMIT_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A full outbox is asked again after this: until then what comes is refused at once.
const FULL_LOOK: Duration = Duration::from_secs(1);
/// A commit that takes longer counts as a store that doesn't take records.
const COMMIT_STALLS: Duration = Duration::from_secs(5);
/// A read that finds nothing where records should be is asked again, since it may have been the disk's hiccup; then
/// the records are given up, so that nothing stands still behind them.
const EMPTY_READS_MAX: u32 = 3;
const EMPTY_READ_RETRY: Duration = Duration::from_secs(1);

/// A record in memory.
#[derive(Debug)]
struct Held {
    message: Message,
    token: Option<SafeToken>,
    size: usize,
    appended: Mono,
}

impl Held {
    const fn since(&self) -> Since {
        Since::Mono(self.appended)
    }
}

/// Since when a record waits, as far as is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    /// In this process.
    Mono(Mono),
    /// By the clock of then, which was right.
    Wall(Timestamp),
    Unknown,
}

/// A record to be sent.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) no: u64,
    pub(super) size: usize,
    pub(super) message: Message,
    pub(super) since: Since,
    /// Before its turn.
    pub(super) ahead: bool,
}

/// A number of records and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, size: usize) {
        self.records += 1;
        self.bytes += u64::try_from(size).unwrap_or(u64::MAX);
    }

    fn take(&mut self, size: usize) {
        *self = self.minus(Self { records: 1, bytes: u64::try_from(size).unwrap_or(u64::MAX) });
    }

    fn minus(self, other: Self) -> Self {
        let records = self.records.saturating_sub(other.records);
        // Bytes of records that were not written yet are estimates: no rest of them may stay.
        let bytes = if records == 0 { 0 } else { self.bytes.saturating_sub(other.bytes) };
        Self { records, bytes }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { records: self.records + other.records, bytes: self.bytes + other.bytes }
    }
}

/// What the store says it has dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) all: Tally,
    /// Of these, the ones that were too old.
    pub(super) expired: u64,
    /// Of these, the ones that a person wanted gone.
    pub(super) purged: u64,
}

#[derive(Clone, Copy, Debug)]
struct Committing {
    since: Mono,
    up_to: u64,
    bytes: usize,
    /// Delivered while the commit is under way: elided only if it fails.
    delivered: u64,
    /// What the store had been told of what is done, when it was asked for.
    told: u64,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    from: u64,
    /// Where memory began when it was asked: the answer says nothing about records from there on.
    end: u64,
    /// Downwards, below `from`.
    back: bool,
    /// The answer is of no use any more.
    stale: bool,
}

/// What waits in one stream.
#[derive(Debug)]
pub(super) struct Queue {
    stream: StreamNo,
    memory_bytes_max: usize,
    next: u64,
    send_next: u64,
    acked: u64,

    memory: BTreeMap<u64, Held>,
    mem_first: u64,
    memory_bytes: usize,
    unsent: Tally,
    tokens: BTreeSet<u64>,

    committed: u64,
    committing: Option<Committing>,
    uncommitted_bytes: usize,
    failures: u32,
    error: String,
    retry_at: Option<Mono>,
    /// Until then the outbox counts as full, and what comes is refused.
    full_until: Option<Mono>,
    /// What the store had been told of what is done, when a purge was asked for.
    purging: Option<u64>,

    disk: Tally,
    loaded: VecDeque<Taken>,
    loaded_bytes: usize,
    read_next: u64,
    reading: Option<Reading>,
    empty_reads: u32,
    read_at: Option<Mono>,

    told: u64,
    told_at: Option<Mono>,
    ack_due: bool,
    /// Something on disk was done out of turn.
    beyond_due: bool,
    done_log: DoneLog,
    dropped_to: u64,

    /// What was sent before its turn.
    ahead: Ahead,
    /// While the newest go first: how far that is. `loaded` is in that order then.
    back: Option<Back>,
    /// The first record behind what waited when the link last came.
    backlog_end: u64,

    ages: Ages,
    dropping: bool,
    /// Delivered without having been written.
    pub(super) elided: u64,
    /// What was lost.
    pub(super) drops: Drops,
}

impl Queue {
    pub(super) fn new(stream: StreamNo, memory_bytes_max: usize, backlog: Backlog) -> Self {
        let acked = backlog.acked.0;
        let last = backlog.last.max(backlog.beyond.last().unwrap_or_default()).0.max(acked);
        Self {
            stream,
            memory_bytes_max,
            next: last + 1,
            send_next: acked + 1,
            acked,
            memory: BTreeMap::new(),
            mem_first: last + 1,
            memory_bytes: 0,
            unsent: Tally::default(),
            tokens: BTreeSet::new(),
            committed: last,
            committing: None,
            uncommitted_bytes: 0,
            failures: 0,
            error: String::new(),
            retry_at: None,
            full_until: None,
            purging: None,
            disk: Tally { records: backlog.records, bytes: backlog.bytes },
            loaded: VecDeque::new(),
            loaded_bytes: 0,
            read_next: acked + 1,
            reading: None,
            empty_reads: 0,
            read_at: None,
            told: acked,
            told_at: None,
            ack_due: false,
            beyond_due: false,
            done_log: DoneLog::default(),
            dropped_to: acked,
            ahead: Ahead { taken: backlog.beyond, ..Ahead::default() },
            back: None,
            backlog_end: last + 1,
            ages: Ages::new(last, backlog.oldest),
            dropping: false,
            elided: 0,
            drops: Drops::default(),
        }
    }

    /// Another bound of what is kept in memory; it holds from the next thing that happens.
    pub(super) const fn set_memory(&mut self, bytes_max: usize) {
        self.memory_bytes_max = bytes_max;
    }

    // What comes in.

    /// Whether the store takes nothing new.
    pub(super) fn is_full(&self, now: Mono) -> bool {
        self.full_until.is_some_and(|until| now < until)
    }

    pub(super) fn append(
        &mut self,
        now: Mono,
        mut message: Message,
        token: Option<SafeToken>,
        high: bool,
        out: &mut Outputs,
    ) {
        if self.is_full(now) {
            self.refuse_new(token, out);
            return;
        }
        if message.reading.is_some() {
            // It is made when it is sent.
            message.payload = bytes::Bytes::new();
        }
        let no = self.next;
        self.next += 1;
        let size = estimate(&message);
        self.memory_bytes += size + RECORD_OVERHEAD_BYTES;
        self.uncommitted_bytes += size + RECORD_OVERHEAD_BYTES;
        self.unsent.add(size);
        if token.is_some() {
            self.tokens.insert(no);
        }
        if high {
            self.ahead.high.insert(no);
        }
        self.memory.insert(no, Held { message, token, size, appended: now });
    }

    // What is sent.

    /// The next record to send; `None` if there is none, or it must be read first.
    pub(super) fn take(&mut self) -> Option<Taken> {
        if self.send_next < self.mem_first {
            if let Some(taken) = self.loaded.pop_front() {
                self.loaded_bytes -= taken.size;
                self.send_next = taken.no + 1;
                self.passed();
                return Some(taken);
            }
            if self.read_next.max(self.send_next) < self.mem_first {
                return None;
            }
            self.disk_is_exhausted();
        } else if self.disk.records > 0 {
            self.disk_is_exhausted();
        }
        let ahead = &self.ahead;
        let mut waiting = self.memory.range(self.send_next..).filter(|&(&no, _)| !ahead.contains(no));
        let Some((&no, held)) = waiting.next() else {
            self.send_next = self.next;
            self.passed();
            return None;
        };
        self.send_next = no + 1;
        self.ahead.high.remove(&no);
        self.unsent.take(held.size);
        let taken =
            Taken { no, size: held.size, message: held.message.clone(), since: held.since(), ahead: false };
        self.passed();
        Some(taken)
    }

    // What is done.

    /// The record needs no store any more: acknowledged, or given up for good. Its publisher may be told.
    pub(super) fn release(&mut self, no: u64, out: &mut Outputs) {
        if self.tokens.remove(&no)
            && let Some(token) = self.memory.get_mut(&no).and_then(|held| held.token.take())
        {
            out.safe(token);
        }
    }

    /// A record left the window.
    pub(super) fn count_done(&mut self, no: u64, size: usize, delivered: bool) {
        match &mut self.committing {
            // The store has dropped it already.
            _ if no <= self.dropped_to => {}
            _ if no <= self.committed => self.done_log.push(no, size),
            Some(committing) if no <= committing.up_to => {
                self.done_log.push(no, size);
                committing.delivered += u64::from(delivered);
            }
            _ => self.elided += u64::from(delivered),
        }
    }

    /// Forgets everything before the first record that is not done. `first` is the window's.
    pub(super) fn advance(&mut self, first: Option<u64>) {
        // What is in the window may all be live, with a backlog before it.
        let acked = first.map_or(self.send_next, |first| first.min(self.send_next)).saturating_sub(1);
        if acked <= self.acked {
            return;
        }
        // Only what is on disk needs an Ack: elided records leave no trace.
        self.ack_due |= self.acked < self.committed;
        self.acked = acked;
        self.ahead.taken.remove_up_to(acked);
        while let Some(entry) = self.memory.first_entry() {
            if *entry.key() > acked {
                break;
            }
            let no = *entry.key();
            self.forget(no);
        }
        self.ages.advance(acked);
    }

    /// Takes a record out of memory and out of all accounts of memory.
    fn forget(&mut self, no: u64) -> Option<Held> {
        let held = self.memory.remove(&no)?;
        let cost = held.size + RECORD_OVERHEAD_BYTES;
        self.memory_bytes -= cost;
        self.tokens.remove(&no);
        self.ahead.high.remove(&no);
        if !self.is_sent(no) {
            self.unsent.take(held.size);
        }
        match &mut self.committing {
            _ if no <= self.committed => {}
            Some(committing) if no <= committing.up_to => {
                committing.bytes = committing.bytes.saturating_sub(cost);
            }
            _ => self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(cost),
        }
        Some(held)
    }

    /// Nothing waits: an episode of dropping is over.
    pub(super) fn is_empty(&self) -> bool {
        self.acked + 1 == self.next
    }

    pub(super) fn end_episode(&mut self) {
        self.dropping &= self.store_fails();
    }

    // What is told.

    /// Whether everything is on disk or done.
    pub(super) fn all_written(&self) -> bool {
        self.committing.is_none() && self.memory.range(self.committed + 1..).next().is_none()
    }

    /// Records that are not yet given to the window.
    pub(super) fn waiting(&self) -> Tally {
        let loaded = Tally {
            records: u64::try_from(self.loaded.len()).unwrap_or(u64::MAX),
            bytes: u64::try_from(self.loaded_bytes).unwrap_or(u64::MAX),
        };
        self.disk.plus(loaded).plus(self.unsent)
    }

    /// Records in memory only, done or not.
    pub(super) fn uncommitted(&self) -> u64 {
        u64::try_from(self.memory.range(self.committed + 1..).count()).unwrap_or(u64::MAX)
    }

    pub(super) const fn committed_to(&self) -> u64 {
        self.committed
    }

    /// Age of the oldest record that is not done.
    pub(super) fn oldest(&self, now: Now) -> Option<Duration> {
        if self.is_empty() {
            return None;
        }
        let in_memory = self.memory.first_key_value().filter(|&(&no, _)| no == self.acked + 1);
        match in_memory {
            Some((_, held)) => Some(now.mono.since(held.appended)),
            None => self.ages.of(self.acked + 1, now),
        }
    }

    #[cfg(test)]
    pub(super) fn holds(&self, no: u64) -> bool {
        self.memory.contains_key(&no) || self.loaded.iter().any(|taken| taken.no == no)
    }

    #[cfg(test)]
    pub(super) const fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The next deadline of reading and acknowledging.
    pub(super) fn deadline(&self, online: bool) -> Option<Mono> {
        let read = self.read_at.filter(|_| online && self.wants_read());
        [read, self.ack_at()].into_iter().flatten().min()
    }
}

/// About how many bytes a message takes as a record, before it is encoded.
fn estimate(message: &Message) -> usize {
    let properties = if message.properties.as_properties().is_empty() { 0 } else { 64 };
    let reading = message.reading.as_ref().map_or(0, |reading| 64 + reading.samples.len() * 24);
    16 + message.topic.len() + message.payload.len() + properties + reading
}
