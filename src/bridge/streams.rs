//! The streams of one upstream: each has a queue and an outbox of its own, so that what fills one never costs another's
//! records. Whose turn it is, is decided here; what a queue does, and how fast all of them drain, is not.
//!
//! ```text
//!  Append ─map─▶ stream "alarms"  (high)  ──┐
//!         ─map─▶ stream "default" (normal) ─┼─ by priority, then in turns ─▶ window
//!         ─map─▶ stream "bulk"    (low)   ──┘
//! ```

use std::sync::Arc;

use super::config::{Config, DrainOrder, Priority};
use super::queue::Queue;
use super::words::{Backlog, Drops};

/// Which of an upstream's streams: 0 is the default one, the others follow in the order of the config.
pub type StreamNo = u16;

/// The default stream's name.
pub const DEFAULT_STREAM: &str = "default";

/// A record's place: numbers are each stream's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) stream: StreamNo,
    pub(super) no: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: Arc<str>,
    pub(super) queue: Queue,
    pub(super) drain: DrainOrder,
    pub(super) live_share: u8,
    pub(super) priority: Priority,
    /// What the live records are owed, in percents of a record.
    pub(super) owed: u32,
}

/// All of them; at least one.
#[derive(Debug)]
pub(super) struct Streams {
    first: Stream,
    more: Vec<Stream>,
    /// The one after which it is the next one's turn.
    last: usize,
}

impl Streams {
    /// Memory is shared out evenly. What was found on disk comes in the order of the streams.
    pub(super) fn new(config: &Config, mut backlogs: Vec<Backlog>) -> Self {
        backlogs.resize_with(config.streams.len() + 1, Backlog::default);
        let memory = config.memory_bytes_max / backlogs.len();
        let mut queues = (0..).zip(backlogs).map(|(stream, backlog)| Queue::new(stream, memory, backlog));
        let first = queues.next().unwrap_or_else(|| Queue::new(0, memory, Backlog::default()));
        let first = Stream {
            name: Arc::from(DEFAULT_STREAM),
            queue: first,
            drain: config.drain,
            live_share: config.live_share,
            priority: Priority::Normal,
            owed: 0,
        };
        let more = config.streams.iter().zip(queues).map(|(stream, queue)| Stream {
            name: stream.name.clone(),
            queue,
            drain: stream.drain,
            live_share: stream.live_share,
            priority: stream.priority,
            owed: 0,
        });
        let more = more.collect();
        Self { first, more, last: 0 }
    }

    pub(super) fn count(&self) -> usize {
        self.more.len() + 1
    }

    /// The numbers of all of them.
    pub(super) fn numbers(&self) -> impl Iterator<Item = StreamNo> + use<> {
        (0..=StreamNo::MAX).take(self.count())
    }

    /// One of them; the default one for a number that none has.
    pub(super) fn get(&self, stream: StreamNo) -> &Stream {
        usize::from(stream).checked_sub(1).and_then(|at| self.more.get(at)).unwrap_or(&self.first)
    }

    pub(super) fn get_mut(&mut self, stream: StreamNo) -> &mut Stream {
        let Self { first, more, .. } = self;
        usize::from(stream).checked_sub(1).and_then(|at| more.get_mut(at)).unwrap_or(first)
    }

    pub(super) fn queue(&mut self, stream: StreamNo) -> &mut Queue {
        &mut self.get_mut(stream).queue
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        std::iter::once(&self.first).chain(&self.more)
    }

    pub(super) fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.iter().map(|stream| &stream.queue)
    }

    pub(super) fn queues_mut(&mut self) -> impl Iterator<Item = &mut Queue> {
        let Self { first, more, .. } = self;
        std::iter::once(first).chain(more).map(|stream| &mut stream.queue)
    }

    /// Whose turn it is so many steps behind the one that had it last.
    pub(super) fn turn(&self, steps: usize) -> Option<StreamNo> {
        StreamNo::try_from((self.last + steps) % self.count()).ok()
    }

    /// This one had its turn.
    pub(super) fn had_turn(&mut self, stream: StreamNo) {
        self.last = usize::from(stream);
    }

    /// What all of them lost.
    pub(super) fn drops(&self) -> Drops {
        self.queues().fold(Drops::default(), |sum, queue| sum.plus(queue.drops))
    }
}
