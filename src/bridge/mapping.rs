//! Which messages go up and down, and how they are named there: the first mapping of a direction whose filter matches
//! counts.

use std::time::Duration;

use super::config::{Batch, Mapping, RetainRule};
use super::streams::StreamNo;
use crate::message::{Message, own_level};
use crate::mqtt::{QoS, topic};
use crate::payload::Form;

/// How one message goes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    /// Which map says so, by its place in the config.
    pub(super) map: usize,
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// It goes before others.
    pub(super) high: bool,
    /// Readings go as arrays.
    pub(super) arrays: bool,
    /// How a reading is written, if not as on the LAN.
    pub(super) form: Option<Form>,
}

/// `None` if no mapping matches: the message is not for this upstream.
pub(super) fn map(maps: &[Mapping], message: &Message) -> Option<Mapped> {
    let (map, mapping, topic) = outward(maps, &message.topic)?;
    Some(Mapped {
        map,
        topic,
        // Towards upstream QoS 2 is at least once.
        qos: message.qos.min(mapping.qos_max).min(QoS::AtLeastOnce),
        retain: mapping.retain.apply(message.retain),
        high: mapping.high,
        arrays: mapping.batch.is_some(),
        // An array is one of JSON objects.
        form: if mapping.batch.is_some() { Some(Form::default()) } else { mapping.form.clone() },
    })
}

/// Whether any mapping takes this local topic up; and if so, whether with high priority, and into which stream.
pub(super) fn takes(maps: &[Mapping], topic: &str) -> Option<(bool, StreamNo)> {
    outward(maps, topic).map(|(_, mapping, _)| (mapping.high, mapping.stream))
}

/// Where one of the gateway's own topics (status, health) goes: mapped like others, as it is without a mapping.
pub(super) fn own_topic(maps: &[Mapping], topic: &str) -> String {
    outward(maps, topic).map_or_else(|| topic.to_owned(), |(_, _, remote)| remote)
}

/// How old a message on this local topic may be when it goes up.
pub(super) fn expiry(maps: &[Mapping], topic: &str) -> Option<Duration> {
    // Most upstreams have no such map: then no topic needs a look.
    if maps.iter().all(|mapping| mapping.expiry.is_none()) {
        return None;
    }
    outward(maps, topic)?.1.expiry
}

/// How many readings of this local topic share a message, and how long the topic is upstream.
pub(super) fn batch(maps: &[Mapping], topic: &str) -> Option<(Batch, usize)> {
    let (_, mapping, remote) = outward(maps, topic)?;
    // What has high priority waits for nothing.
    Some((mapping.batch.filter(|_| !mapping.high)?, remote.len()))
}

/// The place of the map that takes this local topic up.
pub(super) fn place(maps: &[Mapping], topic: &str) -> Option<usize> {
    outward(maps, topic).map(|(place, ..)| place)
}

fn outward<'a>(maps: &'a [Mapping], topic: &str) -> Option<(usize, &'a Mapping, String)> {
    maps.iter()
        .enumerate()
        .filter(|(_, mapping)| mapping.direction.goes_out() && mapping.filter.matches(topic))
        .find_map(|(place, mapping)| Some((place, mapping, remote(mapping, topic)?)))
}

/// `None` where a prefix names the device and the topic has none.
fn remote(mapping: &Mapping, local: &str) -> Option<String> {
    let Some(before) = &mapping.device_behind else {
        let rest = local.strip_prefix(mapping.local_prefix.as_str()).unwrap_or(local);
        return Some(format!("{}{rest}", mapping.remote_prefix));
    };
    let device =
        local.strip_prefix(before.as_ref())?.split('/').next().filter(|device| !device.is_empty())?;
    let local_prefix = mapping.local_prefix.replace(DEVICE, device);
    let rest = local.strip_prefix(local_prefix.as_str()).unwrap_or(local);
    Some(format!("{}{rest}", mapping.remote_prefix.replace(DEVICE, device)))
}

/// Stands in a prefix for the device's name.
pub const DEVICE: &str = "{device}";

/// Why a message from upstream goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stray {
    /// No mapping asked for it.
    Unmapped,
    /// It would land on a topic that only the gateway itself publishes to, or on a `$` topic.
    Closed,
    /// A command that was retained, or kept while we were away: nobody knows how old it is.
    OldCommand,
}

/// What becomes of a message from upstream on the LAN.
pub(super) fn inward(
    maps: &[Mapping],
    base: &str,
    (remote, qos, retain): (&str, QoS, bool),
) -> Result<Mapped, Stray> {
    let landed = maps.iter().enumerate().find_map(|(map, mapping)| Some((map, landing(mapping, remote)?)));
    let (map, (local, mapping)) = landed.ok_or(Stray::Unmapped)?;
    if local.starts_with('$') || own_level(&local, base).is_some() {
        return Err(Stray::Closed);
    }
    if is_command(&local, base) {
        // Commands come in only where a map says so in words: a wildcard for all of the tree is none.
        if !is_command(mapping.filter.as_str(), base) {
            return Err(Stray::Closed);
        }
        if retain {
            return Err(Stray::OldCommand);
        }
        return Ok(Mapped {
            map,
            topic: local,
            qos: qos.min(mapping.qos_max),
            retain: false,
            high: false,
            arrays: false,
            form: None,
        });
    }
    let retain = mapping.retain.apply(retain);
    Ok(Mapped {
        map,
        topic: local,
        qos: qos.min(mapping.qos_max),
        retain,
        high: false,
        arrays: false,
        form: None,
    })
}

/// The local topic, if the mapping takes this one in.
fn landing<'a>(mapping: &'a Mapping, remote: &str) -> Option<(String, &'a Mapping)> {
    let filter = mapping.remote_filter.as_ref()?;
    let rest = remote.strip_prefix(mapping.remote_prefix.as_str()).filter(|_| filter.matches(remote))?;
    let local = format!("{}{rest}", mapping.local_prefix);
    topic::check_name(&local).is_ok().then_some((local, mapping))
}

/// Whether a local topic is one for commands.
pub(super) fn is_command(topic: &str, base: &str) -> bool {
    let rest = topic.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
    rest.is_some_and(|rest| rest.split('/').next() == Some("cmd"))
}

/// What is subscribed to upstream: each filter once, with the highest QoS that a mapping wants of it.
pub(super) fn subscriptions(maps: &[Mapping]) -> Vec<(String, QoS)> {
    let mut wanted: Vec<(String, QoS)> = Vec::new();
    for mapping in maps {
        let Some(filter) = &mapping.remote_filter else { continue };
        match wanted.iter_mut().find(|(known, _)| known == filter.as_str()) {
            Some((_, qos)) => *qos = (*qos).max(mapping.qos_max),
            None => wanted.push((filter.as_str().to_owned(), mapping.qos_max)),
        }
    }
    wanted
}

impl RetainRule {
    const fn apply(self, retain: bool) -> bool {
        match self {
            Self::Keep => retain,
            Self::Never => false,
            Self::Always => true,
        }
    }
}
