//! Topic aliases towards a client (5.0, 3.3.2.3.4): which topics have one, and which gives way when all are taken.
//! An alias is known to the client once the PUBLISH that sets it was written, so only writing may ask for one.

use std::sync::Arc;

use super::connection::Connection;
use crate::mqtt::{Properties, PropertiesBuf, Property, PropertyId};

/// Bytes that setting an alias adds to a packet at most: the property, and a longer form of the two lengths.
const SETTING_BYTES: usize = 3 + 2;

/// A topic of no more bytes than the alias itself takes gains nothing by one.
const WORTHLESS_BYTES_MAX: usize = 3;

/// The aliases of one connection.
#[derive(Debug)]
pub(super) struct OutAliases {
    /// Alias 1 and on.
    slots: Vec<Slot>,
    /// At least 1.
    max: usize,
    /// Where a topic must give way next.
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    topic: Arc<str>,
    /// Used since the hand was here.
    used: bool,
}

/// What a topic may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alias {
    /// The client knows it: the topic may be left out.
    Known(u16),
    /// Set by this packet.
    New(u16),
}

impl OutAliases {
    /// `None` if there can't be any.
    pub(super) fn new(max: u16) -> Option<Self> {
        (max > 0).then(|| Self { slots: Vec::new(), max: usize::from(max), hand: 0 })
    }

    /// The alias of a topic. A topic without one gets one if `may_set`; while all are taken, it must find one
    /// that was not used since it was last asked for, so that many topics don't drive out the busy ones.
    fn get(&mut self, topic: &Arc<str>, may_set: bool) -> Option<Alias> {
        if topic.len() <= WORTHLESS_BYTES_MAX {
            return None;
        }
        let is_it = |slot: &Slot| Arc::ptr_eq(&slot.topic, topic) || slot.topic == *topic;
        if let Some(at) = self.slots.iter().position(is_it) {
            self.slots.get_mut(at)?.used = true;
            return number(at).map(Alias::Known);
        }
        if !may_set {
            return None;
        }
        let new = Slot { topic: Arc::clone(topic), used: false };
        if self.slots.len() < self.max {
            self.slots.push(new);
            return number(self.slots.len() - 1).map(Alias::New);
        }
        let at = self.hand;
        self.hand = (at + 1).checked_rem(self.max).unwrap_or(0);
        let slot = self.slots.get_mut(at)?;
        if std::mem::take(&mut slot.used) {
            return None;
        }
        *slot = new;
        number(at).map(Alias::New)
    }
}

fn number(at: usize) -> Option<u16> {
    u16::try_from(at + 1).ok()
}

/// What a PUBLISH of `len` bytes with its full topic (only looked at if the client has a maximum) must be written with: the topic, empty where an alias stands
/// for it, and the properties of this copy alone, built in `own` where there is an alias.
pub(super) fn name<'a>(
    c: &mut Connection,
    topic: &'a Arc<str>,
    identifiers: &'a PropertiesBuf,
    len: usize,
    own: &'a mut PropertiesBuf,
) -> (&'a str, Properties<'a>) {
    let plain = (&**topic, identifiers.as_properties());
    let Some(aliases) = &mut c.aliases_out else { return plain };
    let may_set = c.packet_bytes_max.is_none_or(|max| len.saturating_add(SETTING_BYTES) <= max);
    let (alias, topic) = match aliases.get(topic, may_set) {
        None => return plain,
        Some(Alias::Known(alias)) => (alias, ""),
        Some(Alias::New(alias)) => (alias, &**topic),
    };
    own.clear();
    own.extend(identifiers.as_properties());
    own.push(Property::U16(PropertyId::TopicAlias, alias));
    (topic, own.as_properties())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_keeps_its_alias_while_it_is_used_and_others_must_wait_for_a_free_one() {
        let topic = |name: &str| -> Arc<str> { Arc::from(name) };
        let mut aliases = OutAliases::new(2).unwrap();
        for (name, may_set, expected) in [
            ("topic/a", false, None),
            ("topic/a", true, Some(Alias::New(1))),
            ("topic/a", false, Some(Alias::Known(1))),
            ("abc", true, None),
            ("topic/b", true, Some(Alias::New(2))),
            ("topic/c", true, None), // 1 was used
            ("topic/a", true, Some(Alias::Known(1))),
            ("topic/c", true, Some(Alias::New(2))), // 2 was not
            ("topic/b", true, None),
            ("topic/c", true, Some(Alias::Known(2))),
            ("topic/b", true, None),
            ("topic/b", true, Some(Alias::New(1))),
            ("topic/a", true, Some(Alias::New(2))),
        ] {
            assert_eq!(aliases.get(&topic(name), may_set), expected, "{name}");
        }
        assert!(OutAliases::new(0).is_none());
    }
}
