//! Topic aliases towards upstream (5.0, 3.3.2.3.4): a topic that was sent once in a connection is then a number of two
//! bytes. First come, first served: sensors send in turns, and where there are more topics than aliases each turn would
//! find that the least recently used alias, which is its own, was just given away.

use std::collections::HashMap;

use super::Bridge;
use crate::mqtt::{Properties, PropertiesBuf, Property, PropertyId};

/// A topic of no more bytes than the alias itself takes gains nothing by one.
const WORTHLESS_BYTES_MAX: usize = 3;
/// Longer topics get none, so that a thousand aliases are a megabyte at most.
const TOPIC_BYTES_MAX: usize = 1_024;

/// What a topic may be called in this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alias {
    /// Upstream knows it: the topic is left out.
    Known(u16),
    /// The packet that is written now makes it known.
    New(u16),
}

/// The aliases of one connection.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    max: u16,
    known: HashMap<String, u16>,
}

impl Aliases {
    /// A new connection, in which so many are allowed: none is known.
    pub(super) fn reset(&mut self, max: u16) {
        self.max = max;
        self.known.clear();
    }

    pub(super) fn get(&self, topic: &str) -> Option<Alias> {
        if self.max == 0 || !(WORTHLESS_BYTES_MAX + 1..=TOPIC_BYTES_MAX).contains(&topic.len()) {
            return None;
        }
        if let Some(&alias) = self.known.get(topic) {
            return Some(Alias::Known(alias));
        }
        let next = u16::try_from(self.known.len()).ok()?.checked_add(1)?;
        (next <= self.max).then_some(Alias::New(next))
    }

    /// The packet that sets it was written.
    pub(super) fn set(&mut self, topic: &str, alias: u16) {
        self.known.insert(topic.to_owned(), alias);
    }
}

impl Alias {
    /// The topic and the properties with which a message is written; `own` holds them.
    pub(super) fn name<'a>(
        self,
        topic: &'a str,
        properties: Properties<'_>,
        own: &'a mut PropertiesBuf,
    ) -> (&'a str, Properties<'a>) {
        let (topic, alias) = match self {
            Self::Known(alias) => ("", alias),
            Self::New(alias) => (topic, alias),
        };
        own.extend(properties);
        own.push(Property::U16(PropertyId::TopicAlias, alias));
        (topic, own.as_properties())
    }
}

impl Bridge {
    /// What this upstream takes, but not more than the config has.
    pub(super) fn reset_aliases(&mut self) {
        self.aliases.reset(self.config.topic_alias_max.min(self.link.limits().topic_alias_max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of topics and aliases on the wire, when `topics` are sent in turns, by a rule.
    fn bytes(topics: usize, turns: usize, mut rule: impl FnMut(&str) -> Option<Alias>) -> usize {
        let name = |n| format!("fieldgate/barn-7/data/sensor-{n:04}");
        let mut sum = 0;
        for topic in (0..turns).flat_map(|_| 0..topics).map(name) {
            sum += match rule(&topic) {
                None => topic.len(),
                Some(Alias::New(_)) => topic.len() + 3,
                Some(Alias::Known(_)) => 3,
            };
        }
        sum
    }

    fn first_come(topics: usize, max: u16) -> usize {
        let mut aliases = Aliases::default();
        aliases.reset(max);
        bytes(topics, 100, |topic| {
            let alias = aliases.get(topic);
            if let Some(Alias::New(alias)) = alias {
                aliases.set(topic, alias);
            }
            alias
        })
    }

    fn least_recently_used(topics: usize, max: u16) -> usize {
        let mut used: Vec<String> = Vec::new();
        bytes(topics, 100, |topic| {
            let at = used.iter().position(|one| one == topic);
            let known = at.is_some();
            if let Some(at) = at {
                used.remove(at);
            } else if used.len() >= usize::from(max) {
                used.remove(0);
            }
            used.push(topic.to_owned());
            Some(if known { Alias::Known(1) } else { Alias::New(1) })
        })
    }

    #[test]
    fn sensors_that_send_in_turns_gain_most_where_the_first_topics_keep_their_aliases() {
        for (topics, share) in [(10, 10..=11), (64, 10..=11), (80, 28..=29), (200, 70..=72)] {
            let plain = bytes(topics, 100, |_| None);
            let (first, recent) = (first_come(topics, 64), least_recently_used(topics, 64));
            assert!(share.contains(&(first * 100 / plain)), "{topics}: {first} of {plain}");
            if topics > 64 {
                assert!(recent > plain, "{topics}: none is ever found again, {recent} of {plain}");
            } else {
                assert_eq!(first, recent);
            }
        }
    }

    #[test]
    fn topics_get_aliases_in_turn_until_there_are_no_more() {
        let mut aliases = Aliases::default();
        assert_eq!(aliases.get("topic/a"), None);
        aliases.reset(2);
        let long = "x".repeat(TOPIC_BYTES_MAX + 1);
        for (topic, expected) in [
            ("topic/a", Some(Alias::New(1))),
            ("topic/a", Some(Alias::Known(1))),
            ("abc", None),
            (&long, None),
            ("topic/b", Some(Alias::New(2))),
            ("topic/c", None),
            ("topic/b", Some(Alias::Known(2))),
        ] {
            assert_eq!(aliases.get(topic), expected, "{topic}");
            if let Some(Alias::New(alias)) = expected {
                aliases.set(topic, alias);
            }
        }
    }
}
