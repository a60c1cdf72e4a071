//! How a backlog drains: how fast, and which share what comes meanwhile has of the line; and what is too old to go.

use std::time::Duration;

use super::config::{Config, DrainOrder, Priority};
use super::queue::{Since, Taken};
use super::streams::{Stream, StreamNo};
use super::window::Due;
use super::{Bridge, mapping};
use crate::message::Message;
use crate::mqtt::PropertyId;
use crate::time::{ClockTrust, Mono, Now};

/// The pace is kept over this span: shorter bursts go as they are.
const BURST: Duration = Duration::from_millis(100);

/// The pace of all backlogs together.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// When the backlog would be level with its pace, if it has been ahead of it.
    level_at: Mono,
    /// Held back until then.
    held: Option<Mono>,
}

impl Stream {
    /// Whether a live record goes before the backlog's next; asked once per record, if both are there.
    fn is_lives_turn(&self) -> bool {
        self.owed + u32::from(self.live_share) >= 100
    }

    fn sent(&mut self, live: bool) {
        let share = u32::from(self.live_share).min(100);
        if live {
            self.owed = self.owed.saturating_sub(100 - share);
        } else {
            self.owed = (self.owed + share).min(100);
        }
    }

    /// The next record: of the backlog if that `may_go`, or live.
    fn take(&mut self, may_go: bool) -> Option<Taken> {
        let live_first = self.is_lives_turn() || self.drain == DrainOrder::NewestFirst || !may_go;
        let first = if live_first { self.queue.take_live() } else { None };
        let taken = match first {
            Some(taken) => taken,
            None if !may_go => return None,
            None => match self.queue.take_backlog() {
                Some(taken) => taken,
                None => self.queue.take_live()?,
            },
        };
        self.sent(taken.ahead);
        Some(taken)
    }
}

impl Drain {
    /// Whether the backlog may go on.
    fn may_go(&mut self, now: Mono) -> bool {
        let wait = self.level_at.since(now).saturating_sub(BURST);
        self.held = (!wait.is_zero()).then(|| now + wait);
        self.held.is_none()
    }

    /// Nothing is held back by the pace any more.
    pub(super) fn let_go(&mut self) {
        self.held = None;
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
    /// The next record: of high priority, or of the stream whose turn it is. Where the day's bytes are used up, only what
    /// has high priority.
    pub(super) fn next_taken(&mut self, now: Now) -> Option<(StreamNo, Taken)> {
        for stream in self.streams.numbers() {
            if let Some(taken) = self.streams.queue(stream).take_high() {
                return Some((stream, taken));
            }
        }
        self.drain.held = None;
        for priority in [Priority::High, Priority::Normal, Priority::Low] {
            if priority != Priority::High && self.is_rationed() {
                return None;
            }
            let Self { streams, drain, config, .. } = self;
            let mut taken = None;
            for at in 1..=streams.count() {
                let Some(stream) = streams.turn(at).filter(|&at| streams.get(at).priority == priority) else {
                    continue;
                };
                let one = streams.get_mut(stream);
                let may_go = !one.queue.is_draining() || drain.may_go(now.mono);
                if let Some(next) = one.take(may_go) {
                    if one.queue.is_backlog(next.no) {
                        drain.went(now.mono, next.size, config);
                    }
                    taken = Some((stream, next));
                    break;
                }
            }
            if let Some((stream, _)) = taken {
                streams.had_turn(stream);
                return taken;
            }
        }
        None
    }

    /// Whether a map, or its publisher, says that this is too old by now. What has no time that can be trusted is not.
    pub(super) fn is_expired(&self, now: Now, taken: &Taken) -> bool {
        let by_map = mapping::expiry(&self.config.maps, &taken.message.topic);
        if by_map.is_some()
            && self.age(now, &taken.message, taken.since).is_some_and(|age| Some(age) > by_map)
        {
            return true;
        }
        self.seconds_left(now, &taken.message, taken.since) == Some(0)
    }

    /// What is left of the time to live that its publisher gave it, in seconds, of which one that has begun counts (5.0,
    /// 3.3.2-5 and -6); `None` if it has none, or nobody knows for how long it has waited.
    pub(super) fn seconds_left(&self, now: Now, message: &Message, since: Since) -> Option<u32> {
        let given = message.properties.as_properties().number(PropertyId::MessageExpiryInterval)?;
        let left = Duration::from_secs(u64::from(given)).saturating_sub(self.age(now, message, since)?);
        u32::try_from(left.as_millis().div_ceil(1_000)).ok()
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
        let stream = self.streams.get(due.place.stream);
        let is_backlog = stream.queue.is_backlog(due.place.no);
        match stream.drain {
            DrainOrder::NewestFirst => !is_backlog,
            DrainOrder::Interleave => due.ahead || !is_backlog,
            DrainOrder::OldestFirst => due.ahead || !high || !is_backlog,
        }
    }
}
