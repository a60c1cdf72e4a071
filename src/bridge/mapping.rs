//! Which messages go up, and how they are named there: the first mapping whose filter matches counts.

use super::config::{Mapping, RetainRule};
use crate::message::Message;
use crate::mqtt::QoS;

/// How one message goes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

/// `None` if no mapping matches: the message is not for this upstream.
pub(super) fn map(maps: &[Mapping], message: &Message) -> Option<Mapped> {
    let mapping = find(maps, &message.topic)?;
    Some(Mapped {
        topic: remote(mapping, &message.topic),
        // Towards upstream QoS 2 is at least once.
        qos: message.qos.min(mapping.qos_max).min(QoS::AtLeastOnce),
        retain: message.retain && mapping.retain == RetainRule::Keep,
    })
}

/// Whether any mapping takes this local topic.
pub(super) fn takes(maps: &[Mapping], topic: &str) -> bool {
    find(maps, topic).is_some()
}

/// Where one of the gateway's own topics (status, health) goes: mapped like others, as it is without a mapping.
pub(super) fn own_topic(maps: &[Mapping], topic: &str) -> String {
    find(maps, topic).map_or_else(|| topic.to_owned(), |mapping| remote(mapping, topic))
}

fn find<'a>(maps: &'a [Mapping], topic: &str) -> Option<&'a Mapping> {
    maps.iter().find(|mapping| mapping.filter.matches(topic))
}

fn remote(mapping: &Mapping, local: &str) -> String {
    let rest = local.strip_prefix(mapping.local_prefix.as_str()).unwrap_or(local);
    format!("{}{rest}", mapping.remote_prefix)
}
