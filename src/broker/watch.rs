//! The last message of each topic, for as long as somebody looks at topics: kept from the first look until
//! [`WATCHED_FOR`] after the last, bounded in topics and bytes, and told as what has changed since the look before.
//! A broker that nobody looks at pays one comparison for each message.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::Broker;
use super::retained::is_sys;
use crate::mqtt::QoS;
use crate::time::Mono;

/// Topics that are remembered; above it those that have changed the longest ago go. With their names some 300 KiB.
pub const TOPICS_MAX: usize = 2_000;
/// Bytes of all payloads together; above it the same go.
const BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one payload that are remembered: the rest is cut off, which is told by its length.
pub const PAYLOAD_BYTES_MAX: usize = 4 * 1024;
/// Changes in one answer; the rest follows in the next.
pub const CHANGES_MAX: usize = 250;
/// Bytes of payloads in one answer.
const CHANGES_BYTES_MAX: usize = 128 * 1024;
/// Nobody looks any more once nobody has asked for this long.
pub const WATCHED_FOR: Duration = Duration::from_secs(10);
/// Changes that are passed over for one answer because they are of other topics.
const LOOKED_AT_MAX: usize = TOPICS_MAX;

/// What a topic's last message was like.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Last {
    change: u64,
    at: Option<Mono>,
    payload: Arc<[u8]>,
    bytes: usize,
    qos: QoS,
    retain: bool,
    messages: u64,
}

/// A topic whose last message is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The topic.
    pub topic: Arc<str>,
    /// How long ago it came; `None`: before anybody looked, it was retained.
    pub ago: Option<Duration>,
    /// As much of it as is remembered.
    pub payload: Arc<[u8]>,
    /// The whole payload's bytes.
    pub bytes: usize,
    /// As it was published.
    pub qos: QoS,
    /// Whether it was published to be retained.
    pub retain: bool,
    /// Messages since somebody looks.
    pub messages: u64,
}

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The topics, those that changed first first.
    pub seen: Vec<Seen>,
    /// What to ask after the next time.
    pub change: u64,
    /// Whether more is there already.
    pub more: bool,
    /// Topics that are remembered.
    pub topics: usize,
    /// Topics that were forgotten since there are too many; since somebody looks.
    pub forgotten: u64,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Watch {
    until: Option<Mono>,
    last: HashMap<Arc<str>, Last>,
    order: BTreeMap<u64, Arc<str>>,
    change: u64,
    bytes: usize,
    forgotten: u64,
}

impl Watch {
    /// A message passes.
    pub(super) fn note(&mut self, topic: &Arc<str>, payload: &[u8], how: (QoS, bool), now: Mono) {
        if self.until.is_some() && !is_sys(topic) {
            self.put(topic, payload, how, Some(now));
        }
    }

    fn put(&mut self, topic: &Arc<str>, payload: &[u8], (qos, retain): (QoS, bool), at: Option<Mono>) {
        self.change += 1;
        let cut = payload.get(..PAYLOAD_BYTES_MAX).unwrap_or(payload);
        let before = self.forget(topic);
        let messages = before.map_or(0, |last| last.messages) + u64::from(at.is_some());
        let change = self.change;
        self.bytes += cut.len();
        let last = Last { change, at, payload: Arc::from(cut), bytes: payload.len(), qos, retain, messages };
        self.last.insert(Arc::clone(topic), last);
        self.order.insert(change, Arc::clone(topic));
        while self.last.len() > TOPICS_MAX || self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            let oldest = Arc::clone(oldest);
            self.forget(&oldest);
            self.forgotten += 1;
        }
    }

    fn forget(&mut self, topic: &str) -> Option<Last> {
        let last = self.last.remove(topic)?;
        self.order.remove(&last.change);
        self.bytes = self.bytes.saturating_sub(last.payload.len());
        Some(last)
    }

    /// Lets everything go once nobody looks.
    pub(super) fn rest(&mut self, now: Mono) {
        if self.until.is_some_and(|until| until <= now) {
            // Changes go on being counted: who comes back late is told everything anew, nothing twice.
            *self = Self { change: self.change, ..Self::default() };
        }
    }

    fn changes(&self, prefix: &str, after: u64, now: Mono) -> Changes {
        let mut found = Changes {
            change: self.change,
            topics: self.last.len(),
            forgotten: self.forgotten,
            ..Changes::default()
        };
        let mut bytes = 0;
        let mut passed = after;
        let newer = self.order.range(after.saturating_add(1)..).take(LOOKED_AT_MAX);
        for (change, topic) in newer {
            if !topic.starts_with(prefix) {
                passed = *change;
                continue;
            }
            let Some(last) = self.last.get(topic) else { continue };
            bytes += last.payload.len();
            if found.seen.len() >= CHANGES_MAX || bytes > CHANGES_BYTES_MAX && !found.seen.is_empty() {
                (found.change, found.more) = (passed, true);
                break;
            }
            passed = *change;
            found.seen.push(Seen {
                topic: Arc::clone(topic),
                ago: last.at.map(|at| now.since(at)),
                payload: Arc::clone(&last.payload),
                bytes: last.bytes,
                qos: last.qos,
                retain: last.retain,
                messages: last.messages,
            });
        }
        found
    }
}

impl Broker {
    /// The topics that begin with `prefix` and have changed after a change; 0: all that are remembered. The first look
    /// finds what is retained; from then on every message is seen, but for `$SYS`.
    pub fn look_at_topics(&mut self, now: Mono, prefix: &str, after: u64) -> Changes {
        if self.watch.until.is_none() {
            let retained = self.retained.all().filter(|kept| !is_sys(&kept.message.topic));
            // As many as are remembered, so that nothing counts as forgotten before it has begun.
            for kept in retained.filter(|kept| !kept.is_expired(now)).take(TOPICS_MAX) {
                let message = &kept.message;
                self.watch.put(&message.topic, &message.payload, (message.qos, message.retain), None);
            }
        }
        self.watch.until = Some(now + WATCHED_FOR);
        self.watch.changes(prefix, after, now)
    }
}
