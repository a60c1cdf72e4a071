//! What of the broker's state has changed since it was last on disk, who waits for it to be there, and when it is
//! due. What a key's value is, `keep` knows; here it is only a key, so that a state that changes ten times is written
//! once, and one that is gone again before it was due is never written.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::session::SessionIdx;
use crate::message::SafeToken;
use crate::mqtt::{PacketId, ReasonCode};
use crate::state::Key;
use crate::time::{Mono, Now};

/// How long a change may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Somebody waits, and nothing but the disk can help.
    Urgent,
    /// Somebody may wait, but what is to be kept is likely to be gone soon.
    Soon,
    /// Something on disk is out of date: were it to stay so, a message would come twice.
    Outdated,
    /// Nobody was promised anything.
    Whenever,
}

/// Changes that come together are committed together.
const URGENT_AFTER: Duration = Duration::from_millis(10);
/// A client that is there has acknowledged by then.
const SOON_AFTER: Duration = Duration::from_millis(250);
const OUTDATED_AFTER: Duration = Duration::from_secs(1);
const WHENEVER_AFTER: Duration = Duration::from_secs(10);
/// Commits are this far apart in the long run, to spare the flash…
const COMMIT_EVERY: Duration = Duration::from_millis(100);
/// … but for the first few after a rest.
const COMMIT_BURST: Duration = Duration::from_millis(1_000);
/// After a failure.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A connection of a session: a waiter's packet must not go to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visitor {
    pub(super) session: SessionIdx,
    pub(super) serial: u64,
    pub(super) visit: u64,
}

/// Who waits for a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Waiter {
    /// A publisher.
    Token(SafeToken),
    /// A client for its SUBACK, with the words for it.
    SubAck(Visitor, PacketId, Box<[u8]>, Option<&'static str>),
    /// A client for its UNSUBACK.
    UnsubAck(Visitor, PacketId, Box<[u8]>),
    /// A client for its PUBCOMP.
    PubComp(Visitor, PacketId, ReasonCode),
}

#[derive(Debug)]
struct Dirty {
    due: Mono,
    waiters: Vec<Waiter>,
}

/// A batch that the store has not answered.
#[derive(Debug)]
struct Writing {
    number: u64,
    items: BTreeMap<Key, Vec<Waiter>>,
}

/// The changes.
#[derive(Debug)]
pub(super) struct Journal {
    enabled: bool,
    dirty: BTreeMap<Key, Dirty>,
    /// No later than the earliest of `dirty`.
    due: Option<Mono>,
    writing: Option<Writing>,
    last_number: u64,
    /// Commits are paid for up to here.
    paid: Mono,
    /// Everything is due at once.
    flushing: bool,
    /// Nothing is due before: the disk has to come back first.
    retry_at: Mono,
    /// Those whose waiting is over.
    pub(super) released: Vec<Waiter>,
    /// The present time.
    pub(super) now: Now,
}

impl Journal {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            dirty: BTreeMap::new(),
            due: None,
            writing: None,
            last_number: 0,
            paid: Mono::ZERO,
            flushing: false,
            retry_at: Mono::ZERO,
            released: Vec::new(),
            now: Now::default(),
        }
    }

    pub(super) const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// A value has changed.
    pub(super) fn touch(&mut self, key: Key, class: Class, waiter: Option<Waiter>) {
        if !self.enabled {
            self.released.extend(waiter);
            return;
        }
        let now = self.now.mono;
        let due = match class {
            Class::Urgent => now + URGENT_AFTER,
            Class::Soon => now + SOON_AFTER,
            Class::Outdated => now + OUTDATED_AFTER,
            Class::Whenever => now + WHENEVER_AFTER,
        };
        let dirty = match self.dirty.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Dirty { due, waiters: Vec::new() }),
        };
        dirty.due = dirty.due.min(due);
        dirty.waiters.extend(waiter);
        self.due = Some(self.due.map_or(due, |at| at.min(due)));
    }

    /// A value is gone. If it never was on disk, nothing is to be done, and nobody need wait.
    pub(super) fn forget(&mut self, key: Key, on_disk: bool, class: Class, waiter: Option<Waiter>) {
        if on_disk {
            return self.touch(key, class, waiter);
        }
        if let Some(dirty) = self.dirty.remove(&key) {
            self.released.extend(dirty.waiters);
        }
        self.released.extend(waiter);
    }

    /// Waits for what is under way with a key, if anything is.
    pub(super) fn when_safe(&mut self, key: &Key, waiter: Waiter) {
        let writing = self.writing.as_mut().and_then(|writing| writing.items.get_mut(key));
        match (self.dirty.get_mut(key), writing) {
            (Some(dirty), _) => dirty.waiters.push(waiter),
            (None, Some(waiters)) => waiters.push(waiter),
            (None, None) => self.released.push(waiter),
        }
    }

    /// Whether a key's value has changed since the last batch was made.
    pub(super) fn is_dirty(&self, key: &Key) -> bool {
        self.dirty.contains_key(key)
    }

    /// When the next batch is to be made.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let due = self.due.filter(|_| self.writing.is_none())?;
        if self.flushing {
            return Some(self.now.mono.max(self.retry_at));
        }
        let credit = u64::try_from(COMMIT_BURST.as_nanos()).unwrap_or(0);
        let affordable = Mono::from_nanos(self.paid.as_nanos().saturating_sub(credit));
        Some(due.max(affordable).max(self.retry_at))
    }

    /// Makes a batch of all that has changed, if it is due: its number and keys.
    pub(super) fn start(&mut self) -> Option<(u64, Vec<Key>)> {
        if self.deadline()? > self.now.mono {
            return None;
        }
        // What was due first may have gone since.
        self.due = self.dirty.values().map(|dirty| dirty.due).min();
        if !self.flushing && self.due? > self.now.mono {
            return None;
        }
        self.due = None;
        let items: BTreeMap<Key, Vec<Waiter>> =
            std::mem::take(&mut self.dirty).into_iter().map(|(key, dirty)| (key, dirty.waiters)).collect();
        if items.is_empty() {
            return None;
        }
        self.last_number += 1;
        self.paid = self.paid.max(self.now.mono) + COMMIT_EVERY;
        let keys = items.keys().cloned().collect();
        self.writing = Some(Writing { number: self.last_number, items });
        Some((self.last_number, keys))
    }

    /// The batch is on disk. Gives its keys; its waiters are released.
    pub(super) fn finish(&mut self, number: u64) -> Vec<Key> {
        let Some(writing) = self.writing.take_if(|writing| writing.number == number) else {
            return Vec::new();
        };
        let mut keys = Vec::with_capacity(writing.items.len());
        for (key, waiters) in writing.items {
            self.released.extend(waiters);
            keys.push(key);
        }
        keys
    }

    /// The batch is not on disk: it is due again after a while.
    pub(super) fn fail(&mut self, number: u64) {
        let Some(writing) = self.writing.take_if(|writing| writing.number == number) else { return };
        let due = self.now.mono + RETRY_AFTER;
        for (key, mut waiters) in writing.items {
            let dirty = self.dirty.entry(key).or_insert(Dirty { due, waiters: Vec::new() });
            waiters.append(&mut dirty.waiters);
            dirty.waiters = waiters;
        }
        self.retry_at = due;
        self.due = Some(self.due.map_or(due, |at| at.min(due)));
    }

    /// Everything is due at once, from now on: the gateway stops.
    pub(super) const fn flush(&mut self) {
        self.flushing = true;
    }

    /// Whether all that has changed is on disk.
    pub(super) fn is_clean(&self) -> bool {
        self.dirty.is_empty() && self.writing.is_none()
    }
}
