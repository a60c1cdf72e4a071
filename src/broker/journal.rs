//! What of the broker's state has changed since it was last on disk, who waits for it to be there, and when it is
//! due. What a key's value is, `keep` knows; here it is only a key, so that a state that changes ten times is written
//! once, and one that is gone again before it was due is never written.
//!
//! How often: a client that sends the next message as soon as the last one is acknowledged is held up by nothing but
//! the disk: one batch is under way, the next one collects. Everybody else's batches are [`Pace::interval`] apart in
//! the long run, since on flash each of them costs far more than its bytes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::config::Config;
use super::session::SessionIdx;
use crate::message::SafeToken;
use crate::mqtt::{PacketId, ReasonCode};
use crate::state::Key;
use crate::time::{Mono, Now};

/// How long a change may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Somebody waits who was held up by the disk only a moment ago, and nothing but the disk can help.
    Pressed,
    /// Somebody waits, and nothing but the disk can help.
    Urgent,
    /// As [`Class::Soon`], and nothing else need be on disk together with it: batches before it is due leave it out.
    Lazy,
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
/// So many batches after a rest need not be [`Pace::interval`] apart: what wears flash is the long run, and clients
/// that come back one after the other should not wait.
const BURST: u32 = 300;
/// After a failure.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How far apart batches are, at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// In the long run, but for those that somebody presses for.
    pub(super) interval: Duration,
    /// Also those that somebody presses for.
    pub(super) pressed_interval: Duration,
}

impl Pace {
    pub(super) const fn of(config: &Config) -> Self {
        Self { interval: config.commit_interval, pressed_interval: config.commit_interval_pressed }
    }
}

/// What became of the batches so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// On disk.
    pub(super) commits: u64,
    /// Not on disk.
    pub(super) failures: u64,
    /// From the last one's start until it was on disk.
    pub(super) last: Duration,
}

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
    /// A client for its CONNACK.
    ConnAck(Visitor),
    /// A client for its PUBCOMP.
    PubComp(Visitor, PacketId, ReasonCode),
}

#[derive(Debug)]
struct Dirty {
    due: Mono,
    pressed: bool,
    lazy: bool,
    waiters: Vec<Waiter>,
}

impl Dirty {
    /// Whether a batch that is made now takes it along.
    fn goes_along(&self, now: Mono) -> bool {
        !self.lazy || self.due <= now
    }
}

/// A batch that the store has not answered.
#[derive(Debug)]
struct Writing {
    number: u64,
    started: Mono,
    items: BTreeMap<Key, Vec<Waiter>>,
}

/// The changes.
#[derive(Debug)]
pub(super) struct Journal {
    enabled: bool,
    dirty: BTreeMap<Key, Dirty>,
    /// No later than the earliest of `dirty`.
    due: Option<Mono>,
    /// Somebody presses, or did when it was last looked.
    pressed: bool,
    writing: Option<Writing>,
    last_number: u64,
    pace: Pace,
    /// Batches are paid for up to here.
    paid: Mono,
    /// No batch starts before.
    rests_until: Mono,
    pub(super) tally: Tally,
    /// Everything is due at once.
    flushing: bool,
    /// Nothing is due before: the disk has to come back first.
    retry_at: Mono,
    /// The last batch is not on disk.
    failing: bool,
    /// Those whose waiting is over.
    pub(super) released: Vec<Waiter>,
    /// The present time.
    pub(super) now: Now,
}

impl Journal {
    pub(super) fn new(enabled: bool, pace: Pace) -> Self {
        Self {
            enabled,
            dirty: BTreeMap::new(),
            due: None,
            pressed: false,
            writing: None,
            last_number: 0,
            pace,
            paid: Mono::ZERO,
            rests_until: Mono::ZERO,
            tally: Tally::default(),
            flushing: false,
            retry_at: Mono::ZERO,
            failing: false,
            released: Vec::new(),
            now: Now::default(),
        }
    }

    /// Another pace from the next batch on; what was due stays due, and nobody waits for what the old one had put off.
    pub(super) fn set_pace(&mut self, pace: Pace) {
        if self.pace != pace {
            (self.pace, self.paid, self.rests_until) = (pace, Mono::ZERO, Mono::ZERO);
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
            Class::Pressed => now,
            Class::Urgent => now + URGENT_AFTER,
            Class::Soon | Class::Lazy => now + SOON_AFTER,
            Class::Outdated => now + OUTDATED_AFTER,
            Class::Whenever => now + WHENEVER_AFTER,
        };
        let lazy = class == Class::Lazy;
        let pressed = class == Class::Pressed;
        let dirty = match self.dirty.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Dirty { due, pressed, lazy, waiters: Vec::new() }),
        };
        dirty.due = dirty.due.min(due);
        dirty.pressed |= pressed;
        dirty.lazy &= lazy;
        self.pressed |= pressed;
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

    /// Whether the disk did not take the last batch.
    pub(super) const fn is_failing(&self) -> bool {
        self.failing
    }

    /// Whether a key is in the batch that the store has not answered.
    pub(super) fn is_under_way(&self, key: &Key) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.items.contains_key(key))
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
        let affordable = Mono::from_nanos(self.paid.as_nanos().saturating_sub(nanos(self.credit())));
        let ordinary = due.max(affordable);
        let at = if self.pressed { ordinary.min(due) } else { ordinary };
        Some(at.max(self.rests_until).max(self.retry_at))
    }

    /// Makes a batch of what has changed, if it is due: its number and keys.
    pub(super) fn start(&mut self) -> Option<(u64, Vec<Key>)> {
        let now = self.now.mono;
        if self.deadline()? > now {
            return None;
        }
        // What was due first may have gone since.
        self.due = self.dirty.values().map(|dirty| dirty.due).min();
        self.pressed = self.dirty.values().any(|dirty| dirty.pressed);
        if self.deadline()? > now {
            return None;
        }
        let (due, later): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.dirty)
            .into_iter()
            .partition(|(_, dirty)| self.flushing || dirty.goes_along(now));
        self.dirty = later;
        self.due = self.dirty.values().map(|dirty| dirty.due).min();
        let items: BTreeMap<Key, Vec<Waiter>> =
            due.into_iter().map(|(key, dirty)| (key, dirty.waiters)).collect();
        if items.is_empty() {
            return None;
        }
        self.last_number += 1;
        // Those that somebody pressed for are not all to be paid off afterwards: the others have what they would have.
        let paid = self.paid.min(now + self.credit()).max(now);
        self.paid = paid + self.pace.interval;
        self.pressed = false;
        self.rests_until = now + self.pace.pressed_interval;
        let keys = items.keys().cloned().collect();
        self.writing = Some(Writing { number: self.last_number, started: now, items });
        Some((self.last_number, keys))
    }

    fn credit(&self) -> Duration {
        self.pace.interval.saturating_mul(BURST)
    }

    /// The batch is on disk. Gives its keys; its waiters are released.
    pub(super) fn finish(&mut self, number: u64) -> Vec<Key> {
        let Some(writing) = self.writing.take_if(|writing| writing.number == number) else {
            return Vec::new();
        };
        self.tally.commits += 1;
        self.failing = false;
        self.tally.last = self.now.mono.since(writing.started);
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
        self.tally.failures += 1;
        self.failing = true;
        let due = self.now.mono + RETRY_AFTER;
        for (key, mut waiters) in writing.items {
            let new = Dirty { due, pressed: false, lazy: false, waiters: Vec::new() };
            let dirty = self.dirty.entry(key).or_insert(new);
            // They may be promised together with what is given again beside them.
            dirty.lazy = false;
            waiters.append(&mut dirty.waiters);
            // Nobody is kept out for that.
            let welcome = |waiter: &mut Waiter| matches!(waiter, Waiter::ConnAck(_));
            self.released.extend(waiters.extract_if(.., welcome));
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

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
