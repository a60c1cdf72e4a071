//! Readings of a topic that go as one message, for links that are paid by the byte. A batch is made of records that were
//! taken from their queues to be sent: in the queue, on disk and in all accounts each stays one by itself, so that what
//! waits for others is written as ever.
//!
//! ```text
//!  queue ──taken──▶ Gathering (one per stream and topic) ──full, old enough, or no more to come──▶ group in the window
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Bridge;
use super::config::{Config, DrainOrder};
use super::queue::{Since, Taken};
use super::streams::{Place, StreamNo};
use super::window::Due;
use crate::message::Message;
use crate::mqtt::{PropertyId, QoS};
use crate::payload;
use crate::time::{Mono, Now};

/// What a PUBLISH has beside its topic and payload, at most: header, lengths, identifier, an alias, the content's type.
const OVERHEAD_BYTES: usize = 64;
/// A comma; and what a reading's payload may grow by until it is sent, since `corrected` is longer than `unsynced`.
const PER_READING_BYTES: usize = 2;

/// Stream, topic, and whether it is a part of the backlog, where that goes out beside what is live.
type Key = (StreamNo, Arc<str>, bool);

/// Readings that wait for others of their topic.
#[derive(Debug)]
struct Gathering {
    /// They are sent in the order in which their first was taken.
    order: u64,
    first: Place,
    others: Vec<Place>,
    bytes: usize,
    /// All have the same.
    manner: (QoS, bool),
    due: Mono,
}

/// A reading that belongs in a batch.
#[derive(Debug)]
pub(super) struct Join {
    key: Key,
    bytes: usize,
    bytes_max: usize,
    messages_max: usize,
    manner: (QoS, bool),
    due: Mono,
}

/// The batches that are not complete.
#[derive(Debug)]
pub(super) struct Batches {
    open: HashMap<Key, Gathering>,
    begun: u64,
    messages_max: usize,
    /// When the next is old enough, if nothing else holds it back.
    pub(super) wake: Option<Mono>,
}

impl Batches {
    pub(super) fn new(config: &Config) -> Self {
        let most = config.maps.iter().filter_map(|map| map.batch).map(|batch| batch.messages_max).max();
        let messages_max = usize::from(most.unwrap_or(1)).max(1);
        Self { open: HashMap::new(), begun: 0, messages_max, wake: None }
    }

    /// Records in a message, at most.
    pub(super) const fn messages_max(&self) -> usize {
        self.messages_max
    }

    /// The first one that is so.
    fn first(&self, is_so: impl Fn(&Gathering) -> bool) -> Option<Key> {
        let such = self.open.iter().filter(|(_, batch)| is_so(batch));
        such.min_by_key(|(_, batch)| batch.order).map(|(key, _)| key.clone())
    }
}

impl Bridge {
    /// Whether a record that is about to enter the window belongs in a batch. If not, what waits of its topic doesn't wait
    /// any longer, so that it isn't overtaken.
    pub(super) fn joins(&mut self, now: Now, stream: StreamNo, taken: &Taken) -> Option<Join> {
        if self.batches.messages_max <= 1 {
            return None;
        }
        let join = self.join_of(now, stream, taken);
        if join.is_none() {
            for apart in [true, false] {
                self.complete(&(stream, taken.message.topic.clone(), apart));
            }
        }
        join
    }

    fn join_of(&self, now: Now, stream: StreamNo, taken: &Taken) -> Option<Join> {
        let message = &taken.message;
        let reading = message.reading.as_ref()?;
        let properties = message.properties.as_properties();
        // With a time to live of its own it goes by itself.
        if self.suspect.alone() || properties.number(PropertyId::MessageExpiryInterval).is_some() {
            return None;
        }
        let (batch, topic_len) = super::mapping::batch(&self.config.maps, &message.topic)?;
        let payload = payload::json::encode(reading, payload::sent_time(reading, self.config.boot, now));
        let room = self.link.limits().packet_bytes_max.saturating_sub(topic_len + OVERHEAD_BYTES);
        let since = if let Since::Mono(since) = taken.since { since } else { now.mono };
        let one = self.streams.get(stream);
        let apart = one.drain != DrainOrder::OldestFirst && one.queue.is_backlog(taken.no);
        Some(Join {
            key: (stream, message.topic.clone(), apart),
            bytes: payload.len() + PER_READING_BYTES,
            bytes_max: batch.bytes_max.min(room),
            messages_max: usize::from(batch.messages_max),
            manner: (message.qos, message.retain),
            due: since + batch.wait_max,
        })
    }

    /// Puts a record of the window into its batch.
    pub(super) fn gather(&mut self, place: Place, join: Join) {
        let Join { key, bytes, bytes_max, messages_max, manner, due } = join;
        let another = |batch: &Gathering| batch.bytes + bytes > bytes_max || batch.manner != manner;
        if self.batches.open.get(&key).is_some_and(another) {
            self.complete(&key);
        }
        self.window.set_aside(place);
        let batches = &mut self.batches;
        batches.begun += 1;
        let order = batches.begun;
        let batch = batches
            .open
            .entry(key.clone())
            .and_modify(|batch| {
                batch.others.push(place);
                batch.bytes += bytes;
            })
            .or_insert_with(|| Gathering {
                order,
                first: place,
                others: Vec::new(),
                bytes: 1 + bytes,
                manner,
                due,
            });
        if batch.others.len() + 1 >= messages_max || batch.bytes >= bytes_max {
            self.complete(&key);
        }
    }

    /// A batch is sent as it is.
    fn complete(&mut self, key: &Key) {
        if let Some(batch) = self.batches.open.remove(key) {
            self.window.join(batch.first, batch.others);
        }
    }

    /// The window has no room for more: whether there is a batch that is sent as it is, the oldest.
    pub(super) fn completes_oldest(&mut self) -> bool {
        let oldest = if self.batches.open.is_empty() || self.is_rationed() {
            None
        } else {
            self.batches.first(|_| true)
        };
        oldest.inspect(|key| self.complete(key)).is_some()
    }

    /// Nothing more is there to be taken: whether there is a batch that doesn't wait any longer.
    pub(super) fn completes_ripe(&mut self, now: Now) -> bool {
        if self.batches.open.is_empty() || self.is_rationed() {
            return false;
        }
        let is_ripe = |batch: &Gathering| {
            let queue = &self.streams.get(batch.first.stream).queue;
            now.mono >= batch.due || (queue.is_backlog(batch.first.no) && !queue.is_draining())
        };
        let ripe = self.batches.first(is_ripe);
        if ripe.is_none() {
            self.batches.wake = self.batches.open.values().map(|batch| batch.due).min();
        }
        ripe.inspect(|key| self.complete(key)).is_some()
    }

    /// How many records a message brings; those of a backlog are in the outage's account.
    pub(super) fn note_sending(&mut self, due: &Due) -> usize {
        if !self.window.is_group(due.place) {
            self.outage_sends(due.place, &due.message);
            return 1;
        }
        let together: Vec<(Place, Message)> =
            self.window.messages(due.place).map(|(place, message)| (place, message.clone())).collect();
        for (place, message) in &together {
            self.outage_sends(*place, message);
        }
        together.len()
    }

    /// The payload of all the readings that share a message.
    pub(super) fn encode_all(&self, now: Now, first: Place) -> Bytes {
        let messages = self.window.messages(first);
        let readings = messages.filter_map(|(_, message)| message.reading.as_deref());
        let time = |reading| payload::sent_time(reading, self.config.boot, now);
        payload::json::encode_all(readings.map(|reading| (reading, time(reading))))
    }

    /// To find out which record it is that upstream can't stomach, each goes by itself.
    pub(super) fn part_all(&mut self) {
        while let Some(key) = self.batches.first(|_| true) {
            self.complete(&key);
        }
        self.window.send_all_singly();
    }
}
