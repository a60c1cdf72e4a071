//! The scenarios, as a table: who publishes what to whom, and what holds the publishers back.

use crate::mqtt::QoS;

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// In words, for people.
    pub(super) about: &'static str,
    pub(super) work: Work,
    /// Belongs to what is run where no scenario is named.
    pub(super) is_usual: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// Messages from publishers to subscribers.
    Load(Load),
    /// Messages for sessions whose clients are away, who then come for them.
    Offline(Load),
    /// Clients that connect and go.
    Connects,
    /// Clients that do nothing, with a subscription each.
    Idle,
}

/// A load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) shape: Shape,
    pub(super) publishers: u32,
    pub(super) subscribers: u32,
    pub(super) qos: QoS,
    pub(super) payload_bytes: usize,
    pub(super) held_by: HeldBy,
    /// The subscribers' sessions outlive their connections.
    pub(super) keeps_sessions: bool,
    pub(super) beside: Beside,
    /// Subscriptions of others that nothing matches.
    pub(super) filters: u32,
}

/// Whose messages go to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Each publisher has a subscriber of its own.
    Pairs,
    /// All publish to one topic, with one subscriber.
    FanIn,
    /// One publisher, all get everything.
    FanOut,
    /// A topic for each publisher; each subscriber gets all through a wildcard.
    Wildcard,
}

/// What holds the publishers back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldBy {
    /// So many messages of each that are not acknowledged.
    Unacknowledged(u32),
    /// So many messages of each that are not delivered: the highest rate without loss at QoS 0.
    Undelivered(u32),
    /// So many messages a second of all together, on a fixed schedule. Latencies count from the schedule, so that a broker
    /// that falls behind can't hide it.
    PerSecond(u32),
    /// TCP alone.
    Nothing,
}

/// Who else bothers the broker meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    Nobody,
    /// One who has subscribed to everything and reads nothing.
    DeadReader,
    /// One who reads 4 KiB every 20 ms.
    SlowReader,
    /// Ten who have sent half a message each.
    DeadPublishers,
    /// One who connects and goes, again and again.
    Connects,
    /// One who subscribes to many retained messages, again and again.
    Retained,
}

const BASE: Load = Load {
    shape: Shape::Pairs,
    publishers: 10,
    subscribers: 10,
    qos: QoS::AtMostOnce,
    payload_bytes: 64,
    held_by: HeldBy::Unacknowledged(20),
    keeps_sessions: false,
    beside: Beside::Nobody,
    filters: 0,
};

const fn pairs(count: u32, qos: QoS) -> Load {
    Load { publishers: count, subscribers: count, qos, ..BASE }
}

/// QoS 0, where only what is undelivered can hold a publisher back: 8,000 messages in all.
const fn unacknowledged(shape: Shape, publishers: u32, subscribers: u32) -> Load {
    let each = 8_000 / if publishers > subscribers { publishers } else { subscribers };
    let held_by = HeldBy::Undelivered(if each < 2 { 2 } else { each });
    Load { shape, publishers, subscribers, held_by, ..BASE }
}

const fn at_rate(per_second: u32, payload_bytes: usize, beside: Beside) -> Load {
    Load { qos: QoS::AtLeastOnce, held_by: HeldBy::PerSecond(per_second), payload_bytes, beside, ..BASE }
}

const fn usual(name: &'static str, about: &'static str, load: Load) -> Scenario {
    Scenario { name, about, work: Work::Load(load), is_usual: true }
}

const fn growing(name: &'static str, about: &'static str, load: Load) -> Scenario {
    Scenario { name, about, work: Work::Load(load), is_usual: false }
}

use QoS::{AtLeastOnce, ExactlyOnce};

/// All of them, in the order in which they run.
pub(super) const SCENARIOS: &[Scenario] = &[
    usual("qos0-1", "QoS 0, 1 → 1", unacknowledged(Shape::Pairs, 1, 1)),
    usual("qos0-10", "QoS 0, 10 pairs", unacknowledged(Shape::Pairs, 10, 10)),
    usual("qos0-fan-in", "QoS 0, fan-in 10 → 1", unacknowledged(Shape::FanIn, 10, 1)),
    usual("qos0-fan-out", "QoS 0, fan-out 1 → 50", unacknowledged(Shape::FanOut, 1, 50)),
    usual("qos0-wildcard", "QoS 0, 10 → 5 with a wildcard", unacknowledged(Shape::Wildcard, 10, 5)),
    usual(
        "qos0-flood",
        "QoS 0, 1 → 1, held by TCP alone",
        Load { held_by: HeldBy::Nothing, ..pairs(1, QoS::AtMostOnce) },
    ),
    usual("qos1-1", "QoS 1, 1 pair, window 20", pairs(1, AtLeastOnce)),
    usual("qos1-10", "QoS 1, 10 pairs, window 20", pairs(10, AtLeastOnce)),
    usual("qos1-100", "QoS 1, 100 pairs, window 20", pairs(100, AtLeastOnce)),
    usual(
        "qos1-1024b",
        "QoS 1, 10 pairs, window 20, 1,024 bytes",
        Load { payload_bytes: 1_024, ..pairs(10, AtLeastOnce) },
    ),
    usual("qos2-10", "QoS 2, 10 pairs, window 20", pairs(10, ExactlyOnce)),
    usual("qos2-100", "QoS 2, 100 pairs, window 20", pairs(100, ExactlyOnce)),
    usual(
        "qos2-1024b",
        "QoS 2, 10 pairs, window 20, 1,024 bytes",
        Load { payload_bytes: 1_024, ..pairs(10, ExactlyOnce) },
    ),
    usual("rate-5k", "QoS 1, 10 pairs, 5,000/s", at_rate(5_000, 64, Beside::Nobody)),
    usual("rate-50k", "QoS 1, 10 pairs, 50,000/s", at_rate(50_000, 64, Beside::Nobody)),
    usual(
        "ping-pong",
        "QoS 1, 1 pair, one message at a time",
        Load { held_by: HeldBy::Undelivered(1), ..pairs(1, AtLeastOnce) },
    ),
    usual(
        "kept",
        "QoS 1, 10 pairs, window 20, sessions that are kept",
        Load { keeps_sessions: true, ..pairs(10, AtLeastOnce) },
    ),
    Scenario {
        name: "offline",
        about: "QoS 1, window 20, for sessions whose clients are away; then drained",
        work: Work::Offline(Load { keeps_sessions: true, ..pairs(10, AtLeastOnce) }),
        is_usual: true,
    },
    usual(
        "beside-dead-reader",
        "5,000/s beside one who reads nothing",
        at_rate(5_000, 1_024, Beside::DeadReader),
    ),
    usual(
        "beside-slow-reader",
        "5,000/s beside one who reads slowly",
        at_rate(5_000, 1_024, Beside::SlowReader),
    ),
    usual(
        "beside-dead-publishers",
        "5,000/s beside ten halves of a message",
        at_rate(5_000, 64, Beside::DeadPublishers),
    ),
    usual(
        "beside-connects",
        "5,000/s beside one who connects without end",
        at_rate(5_000, 64, Beside::Connects),
    ),
    usual(
        "beside-retained",
        "5,000/s beside one who gets all retained messages",
        at_rate(5_000, 64, Beside::Retained),
    ),
    Scenario { name: "connects", about: "clients that connect and go", work: Work::Connects, is_usual: true },
    Scenario {
        name: "idle",
        about: "clients with a subscription that do nothing",
        work: Work::Idle,
        is_usual: true,
    },
    growing("clients-1", "QoS 0, 1 pair", unacknowledged(Shape::Pairs, 1, 1)),
    growing("clients-10", "QoS 0, 10 pairs", unacknowledged(Shape::Pairs, 10, 10)),
    growing("clients-100", "QoS 0, 100 pairs", unacknowledged(Shape::Pairs, 100, 100)),
    growing("clients-1000", "QoS 0, 1,000 pairs", unacknowledged(Shape::Pairs, 1_000, 1_000)),
    growing("clients-5000", "QoS 0, 5,000 pairs", unacknowledged(Shape::Pairs, 5_000, 5_000)),
    growing(
        "filters-10",
        "QoS 0, 10 pairs, 10 other subscriptions",
        Load { filters: 10, ..unacknowledged(Shape::Pairs, 10, 10) },
    ),
    growing(
        "filters-1000",
        "QoS 0, 10 pairs, 1,000 other subscriptions",
        Load { filters: 1_000, ..unacknowledged(Shape::Pairs, 10, 10) },
    ),
    growing(
        "filters-100000",
        "QoS 0, 10 pairs, 100,000 other subscriptions",
        Load { filters: 100_000, ..unacknowledged(Shape::Pairs, 10, 10) },
    ),
];

/// Those that a word means: one by its name, or all that begin with it and a dash; `all`.
pub(super) fn named(word: &str) -> Vec<&'static Scenario> {
    let is_meant = |scenario: &&Scenario| {
        let rest = scenario.name.strip_prefix(word);
        word == "all" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    SCENARIOS.iter().filter(is_meant).collect()
}

impl Load {
    /// How many deliveries a message causes.
    pub(super) const fn copies(&self) -> u32 {
        match self.shape {
            Shape::Pairs | Shape::FanIn => 1,
            Shape::FanOut | Shape::Wildcard => self.subscribers,
        }
    }

    /// Where a publisher publishes.
    pub(super) fn topic(&self, prefix: &str, publisher: u32) -> String {
        match self.shape {
            Shape::FanIn | Shape::FanOut => format!("{prefix}/all/data"),
            Shape::Pairs | Shape::Wildcard => format!("{prefix}/{publisher}/data"),
        }
    }

    /// What a subscriber subscribes to.
    pub(super) fn filter(&self, prefix: &str, subscriber: u32) -> String {
        match self.shape {
            Shape::Wildcard => format!("{prefix}/+/data"),
            _ => self.topic(prefix, subscriber),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_words_find_them() {
        let names: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        let check = |word: &str, expected: &[&str]| {
            let found: Vec<&str> = named(word).iter().map(|scenario| scenario.name).collect();
            assert_eq!(found, expected, "{word}");
        };
        check("qos1-1", &["qos1-1"]);
        check("qos2", &["qos2-10", "qos2-100", "qos2-1024b"]);
        check("qos", &[]);
        assert_eq!(named("all").len(), SCENARIOS.len());
    }

    #[test]
    fn each_subscriber_is_counted_where_its_messages_come_from() {
        for scenario in SCENARIOS {
            let Work::Load(load) = scenario.work else { continue };
            match load.shape {
                Shape::Pairs => assert_eq!(load.publishers, load.subscribers, "{}", scenario.name),
                Shape::FanIn => assert_eq!(load.subscribers, 1, "{}", scenario.name),
                Shape::FanOut => assert_eq!(load.publishers, 1, "{}", scenario.name),
                Shape::Wildcard => assert!(load.subscribers > 1, "{}", scenario.name),
            }
        }
    }
}
