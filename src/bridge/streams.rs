//! The streams of one upstream: each has a queue and an outbox of its own, so that what fills one never costs another's
//! records. Whose turn it is, is decided here; what a queue does, and how fast all of them drain, is not.
//!
//! ```text
//!  Append ─map─▶ stream "alarms"  (high)  ──┐
//!         ─map─▶ stream "default" (normal) ─┼─ by priority, then in turns ─▶ window
//!         ─map─▶ stream "bulk"    (low)   ──┘
//! ```

use std::sync::Arc;

use super::config::{Config, DrainOrder, Priority, StreamConfig};
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

impl Stream {
    fn new(config: &StreamConfig, queue: Queue) -> Self {
        Self {
            name: config.name.clone(),
            queue,
            drain: config.drain,
            live_share: config.live_share,
            priority: config.priority,
            owed: 0,
        }
    }

    fn settings(&self) -> StreamConfig {
        StreamConfig {
            name: self.name.clone(),
            drain: self.drain,
            live_share: self.live_share,
            priority: self.priority,
        }
    }
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
        let more = config.streams.iter().zip(queues).map(|(stream, queue)| Stream::new(stream, queue));
        let more = more.collect();
        Self { first, more, last: 0 }
    }

    /// Takes in the streams of other settings, and has the settings speak of all by the numbers that they have here: those
    /// that are known keep theirs, new ones get the next, and one that is gone keeps its own with nothing to take.
    pub(super) fn adopt(&mut self, config: &mut Config, backlogs: Vec<Backlog>) {
        let mut backlogs = backlogs.into_iter();
        for wanted in &config.streams {
            if self.number(&wanted.name).is_none() {
                let number = StreamNo::try_from(self.count()).unwrap_or(StreamNo::MAX);
                let backlog = backlogs.next().unwrap_or_default();
                self.more.push(Stream::new(wanted, Queue::new(number, 0, backlog)));
            }
        }
        let own = config.streams.iter().map(|stream| self.number(&stream.name).unwrap_or(0));
        let numbers: Vec<StreamNo> = std::iter::once(0).chain(own).collect();
        for map in &mut config.maps {
            map.stream = numbers.get(usize::from(map.stream)).copied().unwrap_or(0);
        }
        let settings = |stream: &Stream| {
            let wanted = config.streams.iter().find(|wanted| wanted.name == stream.name);
            wanted.cloned().unwrap_or_else(|| stream.settings())
        };
        config.streams = self.more.iter().map(settings).collect();
        self.share_memory(config.memory_bytes_max);
    }

    /// What a stream is called by its number.
    pub(super) fn number(&self, name: &str) -> Option<StreamNo> {
        self.numbers().find(|&number| *self.get(number).name == *name)
    }

    /// Goes by other settings, which speak of the streams by their numbers.
    pub(super) fn follow(&mut self, config: &Config) {
        (self.first.drain, self.first.live_share) = (config.drain, config.live_share);
        for (stream, wanted) in self.more.iter_mut().zip(&config.streams) {
            (stream.drain, stream.live_share) = (wanted.drain, wanted.live_share);
            stream.priority = wanted.priority;
        }
        self.share_memory(config.memory_bytes_max);
    }

    /// Memory is shared out evenly.
    pub(super) fn share_memory(&mut self, bytes_max: usize) {
        let share = bytes_max / self.count();
        self.queues_mut().for_each(|queue| queue.set_memory(share));
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
