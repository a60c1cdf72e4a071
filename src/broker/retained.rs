//! The retained messages, bounded in number and bytes, and the walk over those that a filter matches. Sending
//! them is the session's business.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::access::is_bridge_state;
use super::message::Kept;
use crate::mqtt::topic::TopicFilter;
use crate::time::Mono;

/// One message per topic, in the order of topics.
#[derive(Debug)]
pub(super) struct Retained {
    messages: BTreeMap<Arc<str>, Arc<Kept>>,
    /// Those of `$SYS`, which take no room from others: their names are fixed, so they are few.
    sys: usize,
    bytes: usize,
    messages_max: usize,
    bytes_max: usize,
    /// Which user has published what is there.
    owners: HashMap<Arc<str>, Arc<str>>,
    /// How many are whose.
    owned: HashMap<Arc<str>, usize>,
    /// Topics whose messages have expired and made room: to be taken by whoever keeps account.
    pub(super) dropped: Vec<Arc<str>>,
}

impl Retained {
    pub(super) fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            messages: BTreeMap::new(),
            sys: 0,
            bytes: 0,
            messages_max,
            bytes_max,
            owners: HashMap::new(),
            owned: HashMap::new(),
            dropped: Vec::new(),
        }
    }

    /// How many of a user there are.
    pub(super) fn owned_by(&self, user: &str) -> usize {
        self.owned.get(user).copied().unwrap_or(0)
    }

    /// The message that was just kept under this topic is this user's.
    pub(super) fn own(&mut self, topic: &Arc<str>, user: Arc<str>) {
        *self.owned.entry(Arc::clone(&user)).or_default() += 1;
        self.owners.insert(Arc::clone(topic), user);
    }

    fn disown(&mut self, topic: &str) {
        let Some(user) = self.owners.remove(topic) else { return };
        if let Some(count) = self.owned.get_mut(&user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.owned.remove(&user);
            }
        }
    }

    /// Other bounds from now on. What is kept stays.
    pub(super) const fn set_bounds(&mut self, messages_max: usize, bytes_max: usize) {
        self.messages_max = messages_max;
        self.bytes_max = bytes_max;
    }

    /// A topic's message.
    pub(super) fn get(&self, topic: &str) -> Option<&Arc<Kept>> {
        self.messages.get(topic)
    }

    /// All messages.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Kept>> {
        self.messages.values()
    }

    /// Those from a topic on.
    pub(super) fn range<'r>(
        &'r self,
        from: Bound<&'r str>,
    ) -> impl Iterator<Item = (&'r Arc<str>, &'r Arc<Kept>)> {
        self.messages.range::<str, _>((from, Bound::Unbounded))
    }

    /// All topics.
    pub(super) fn topics(&self) -> impl Iterator<Item = Arc<str>> {
        self.messages.keys().cloned()
    }

    /// Those that are not `$SYS`.
    pub(super) fn len(&self) -> usize {
        self.messages.len().saturating_sub(self.sys)
    }

    /// The bytes of those that are not `$SYS`.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a message in place of the one before. `false` if there is no room for it: then the one before is
    /// gone too, since it is no longer the last one.
    pub(super) fn set(&mut self, message: Arc<Kept>, now: Mono) -> bool {
        self.clear(&message.message.topic);
        let bytes = message.bytes();
        if is_sys(&message.message.topic) {
            self.sys += 1;
            self.messages.insert(Arc::clone(&message.message.topic), message);
            return true;
        }
        if !self.has_room_for(bytes) {
            self.drop_expired(now);
        }
        if !self.has_room_for(bytes) {
            return false;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.messages.insert(Arc::clone(&message.message.topic), message);
        true
    }

    /// An empty retained payload removes the topic's message (3.3.1-6, -7). Whether there was one.
    pub(super) fn clear(&mut self, topic: &str) -> bool {
        let Some(old) = self.messages.remove(topic) else { return false };
        self.disown(topic);
        if is_sys(topic) {
            self.sys = self.sys.saturating_sub(1);
        } else {
            self.bytes = self.bytes.saturating_sub(old.bytes());
        }
        true
    }

    fn has_room_for(&self, bytes: usize) -> bool {
        self.len() < self.messages_max && self.bytes.saturating_add(bytes) <= self.bytes_max
    }

    fn drop_expired(&mut self, now: Mono) {
        self.dropped.clear();
        for (topic, _) in self.messages.iter().filter(|(_, message)| message.is_expired(now)) {
            self.dropped.push(Arc::clone(topic));
        }
        for topic in self.dropped.clone() {
            self.messages.remove(&topic);
            self.disown(&topic);
        }
        let others = self.messages.iter().filter(|(topic, _)| !is_sys(topic));
        self.bytes = others.map(|(_, message)| message.bytes()).sum();
    }

    /// The first message after the topic `after` that the filter matches and that has not expired.
    pub(super) fn next_match(
        &self,
        filter: &TopicFilter,
        after: Option<&str>,
        now: Mono,
    ) -> Option<&Arc<Kept>> {
        let prefix = literal_prefix(filter.as_str());
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        self.messages
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(prefix))
            .find(|(topic, message)| filter.matches(topic) && !message.is_expired(now))
            .map(|(_, message)| message)
    }
}

/// Only the gateway itself publishes there, and never with an expiry.
pub(super) fn is_sys(topic: &str) -> bool {
    topic.starts_with("$SYS/") && !is_bridge_state(topic)
}

/// What every topic that the filter matches begins with: `a/#` matches `a` too, so its `/` is no part of it.
fn literal_prefix(filter: &str) -> &str {
    let end = filter.find(['+', '#']).unwrap_or(filter.len());
    let literal = filter.get(..end).unwrap_or_default();
    match filter.get(end..) {
        Some("#") => literal.strip_suffix('/').unwrap_or(literal),
        _ => literal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_a_filter_is_shared_by_all_that_it_matches() {
        for (filter, prefix) in [
            ("a/b", "a/b"),
            ("a/#", "a"),
            ("a/+/c", "a/"),
            ("#", ""),
            ("+/a", ""),
            ("a/+/#", "a/"),
            ("/#", ""),
        ] {
            assert_eq!(literal_prefix(filter), prefix, "{filter}");
        }
    }

    #[test]
    fn the_bounds_of_number_and_bytes_hold_and_expired_messages_make_room() {
        let kept =
            |topic: &str, bytes: usize, expires: Option<u64>| Arc::new(Kept::for_test(topic, bytes, expires));
        let mut retained = Retained::new(2, 100);
        assert!(retained.set(kept("a", 10, Some(5)), Mono::ZERO));
        assert!(retained.set(kept("b", 10, None), Mono::ZERO));
        assert!(!retained.set(kept("c", 10, None), Mono::from_nanos(4)), "two are allowed");
        assert!(retained.set(kept("c", 10, None), Mono::from_nanos(5)), "a has expired");
        assert!(retained.set(kept("b", 80, None), Mono::ZERO), "it replaces the smaller one");
        assert!(!retained.set(kept("b", 200, None), Mono::ZERO));
        assert!(retained.set(kept("$SYS/a", 500, None), Mono::ZERO), "it takes no room from others");
        assert!(retained.set(kept("$SYS/a", 600, None), Mono::ZERO));
        assert_eq!((retained.bytes(), retained.len()), (kept("c", 10, None).bytes(), 1));
        retained.clear("$SYS/a");
        assert_eq!(retained.len(), 1, "what could not be kept does not leave the outdated one behind");
    }
}
