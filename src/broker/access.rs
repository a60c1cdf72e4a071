//! Who may publish where: the gateway's own topics and `$` topics are closed to LAN clients. User rights are not
//! decided here.

use crate::command::remote::is_result;
use crate::message::own_level;
use crate::mqtt::ReasonCode;

/// What a client's PUBLISH to a topic may do; the same answer holds for its will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Routed.
    Allowed,
    /// The topic is the gateway's own, or a `$` topic.
    NotAuthorized,
    /// Longer or deeper than the config allows.
    TopicNameInvalid,
}

impl Access {
    /// The reason code to refuse with; `None` if allowed.
    pub(super) const fn refusal(self) -> Option<ReasonCode> {
        match self {
            Self::Allowed => None,
            Self::NotAuthorized => Some(ReasonCode::NotAuthorized),
            Self::TopicNameInvalid => Some(ReasonCode::TopicNameInvalid),
        }
    }
}

/// Judges a valid topic name that a LAN client wants to publish to.
pub(super) fn may_publish(topic: &str, base: &str, bytes_max: usize, levels_max: usize) -> Access {
    if !within_limits(topic, bytes_max, levels_max) {
        Access::TopicNameInvalid
    } else if (topic.starts_with('$') && !is_bridge_state(topic)) || is_own(topic, base) {
        Access::NotAuthorized
    } else {
        Access::Allowed
    }
}

/// Whether a topic name or filter keeps to the bounds of length and depth.
pub(super) fn within_limits(topic: &str, bytes_max: usize, levels_max: usize) -> bool {
    topic.len() <= bytes_max && topic.split('/').take(levels_max.saturating_add(1)).count() <= levels_max
}

/// Whether the topic is one of the gateway's own that go upstream by a slot of their own, newest value only, and
/// never through an outbox: a map of `#` must not put each health message into it.
pub(super) fn bypasses_outbox(topic: &str, base: &str) -> bool {
    own_level(topic, base).is_some_and(|level| level != "data")
}

/// Where a bridge says whether it is connected, as Mosquitto's do by default, in a will and in words: without it they
/// could not connect.
pub(super) fn is_bridge_state(topic: &str) -> bool {
    let name = topic.strip_prefix("$SYS/broker/connection/").and_then(|rest| rest.strip_suffix("/state"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

fn is_own(topic: &str, base: &str) -> bool {
    own_level(topic, base).is_some() || is_result(topic, base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_health_bypass_the_outbox_and_readings_do_not() {
        for (topic, expected) in [
            ("base/status", true),
            ("base/health", true),
            ("base/info/device", true),
            ("base/data/device", false),
            ("base/other", false),
            ("status", false),
            ("base2/health", false),
        ] {
            assert_eq!(bypasses_outbox(topic, "base"), expected, "{topic}");
        }
    }

    #[test]
    fn own_topics_dollar_topics_and_oversized_topics_are_refused() {
        let deep = "/".repeat(8);
        for (topic, expected) in [
            ("$SYS/broker/connection/b/state", Access::Allowed),
            ("$SYS/broker/connection/b/c/state", Access::NotAuthorized),
            ("$SYS/broker/connection//state", Access::NotAuthorized),
            ("$SYS/broker/connection/b/statex", Access::NotAuthorized),
            ("$SYS/broker/uptime", Access::NotAuthorized),
            ("fieldgate/g1/data", Access::NotAuthorized),
            ("fieldgate/g1/data/scale", Access::NotAuthorized),
            ("fieldgate/g1/status", Access::NotAuthorized),
            ("fieldgate/g1/health", Access::NotAuthorized),
            ("fieldgate/g1/receipt", Access::NotAuthorized),
            ("fieldgate/g1/info/scale", Access::NotAuthorized),
            ("fieldgate/g1/cmd/scale/tare", Access::Allowed),
            ("fieldgate/g1/database", Access::Allowed),
            ("fieldgate/g1/statusx/y", Access::Allowed),
            ("fieldgate/g1", Access::Allowed),
            ("fieldgate/g10/data", Access::Allowed),
            ("Fieldgate/g1/data", Access::Allowed),
            ("/fieldgate/g1/data", Access::Allowed),
            ("$SYS/x", Access::NotAuthorized),
            ("$", Access::NotAuthorized),
            ("a/b", Access::Allowed),
            ("1234567890123456789012345678901234567890x", Access::TopicNameInvalid),
            (&deep, Access::TopicNameInvalid),
        ] {
            assert_eq!(may_publish(topic, "fieldgate/g1", 40, 8), expected, "{topic}");
        }
    }
}
