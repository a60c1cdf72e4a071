//! How a backlog drains: how fast, and which share what comes meanwhile has of the line; and what is too old to go.

use std::time::Duration;

use super::config::{Config, DrainOrder};
use super::queue::{Since, Taken};
use super::window::Due;
use super::{Bridge, mapping};
use crate::message::Message;
use crate::time::{ClockTrust, Mono, Now};

/// The pace is kept over this span: shorter bursts go as they are.
const BURST: Duration = Duration::from_millis(100);

/// The pace of a backlog, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// When the backlog would be level with its pace, if it has been ahead of it.
    level_at: Mono,
    /// Held back until then.
    held: Option<Mono>,
    /// What the live records are owed, in percents of a record.
    owed: u32,
}

impl Drain {
    /// Whether a live record goes before the backlog's next; asked once per record, if both are there.
    fn is_lives_turn(&self, share: u8) -> bool {
        self.owed + u32::from(share) >= 100
    }

    fn sent(&mut self, live: bool, share: u8) {
        if live {
            self.owed = self.owed.saturating_sub(100 - u32::from(share).min(100));
        } else {
            self.owed = (self.owed + u32::from(share)).min(100);
        }
    }

    /// Whether the backlog may go on.
    fn may_go(&mut self, now: Mono) -> bool {
        let wait = self.level_at.since(now).saturating_sub(BURST);
        self.held = (!wait.is_zero()).then(|| now + wait);
        self.held.is_none()
    }

    fn went(&mut self, now: Mono, bytes: usize, config: &Config) {
        let per = |amount: usize, max: u32| {
            let nanos = u64::try_from(amount).unwrap_or(u64::MAX).saturating_mul(1_000_000_000);
            Duration::from_nanos(nanos / u64::from(max.max(1)))
        };
        let by_count = config.drain_messages_max.map(|max| per(1, max));
        let by_bytes = config.drain_bytes_max.map(|max| per(bytes, max));
        let cost = by_count.max(by_bytes).unwrap_or_default();
        self.level_at = self.level_at.max(now) + cost;
    }

    /// When a backlog that is held back may go on.
    pub(super) const fn deadline(&self) -> Option<Mono> {
        self.held
    }
}

impl Bridge {
    /// The next record of the queue: of high priority, of the backlog, or live. Where the day's bytes are used up, only
    /// the first.
    pub(super) fn next_taken(&mut self, now: Now) -> Option<Taken> {
        if let Some(taken) = self.queue.take_high() {
            return Some(taken);
        }
        if self.is_rationed() {
            return None;
        }
        let share = self.config.live_share;
        let lives_turn = self.drain.is_lives_turn(share);
        let may_go = !self.queue.is_draining() || self.drain.may_go(now.mono);
        if !self.queue.is_draining() {
            self.drain.held = None;
        }
        let first = if lives_turn || !may_go { self.queue.take_live() } else { None };
        let taken = match first {
            Some(taken) => taken,
            None if !may_go => return None,
            None => match self.queue.take() {
                Some(taken) => taken,
                None => self.queue.take_live()?,
            },
        };
        self.drain.sent(taken.ahead, share);
        if self.queue.is_backlog(taken.no) {
            self.drain.went(now.mono, taken.size, &self.config);
        }
        Some(taken)
    }

    /// Whether a map says that this is too old by now. What has no time that can be trusted is not.
    pub(super) fn is_expired(&self, now: Now, taken: &Taken) -> bool {
        let Some(expiry) = mapping::expiry(&self.config.maps, &taken.message.topic) else { return false };
        self.age(now, &taken.message, taken.since).is_some_and(|age| age > expiry)
    }

    fn age(&self, now: Now, message: &Message, since: Since) -> Option<Duration> {
        if let Some(reading) = &message.reading {
            if reading.boot == self.config.boot {
                return Some(now.mono.since(reading.mono));
            }
            if reading.trust != ClockTrust::Synced {
                return None;
            }
        }
        match since {
            Since::Mono(since) => Some(now.mono.since(since)),
            Since::Wall(_) if now.trust != ClockTrust::Synced => None,
            Since::Wall(since) => {
                let millis = now.wall.as_millis().saturating_sub(since.as_millis());
                Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
            }
            Since::Unknown => None,
        }
    }

    /// Whether a record may set what is retained upstream: an old one must not overwrite what came since.
    pub(super) fn may_retain(&self, due: &Due, high: bool) -> bool {
        let overtaken = high || self.config.drain == DrainOrder::Interleave;
        due.ahead || !overtaken || !self.queue.is_backlog(due.no)
    }
}
