//! `[[upstream.map]]`: what goes to an upstream and comes from there, and how it is named on each side.

use std::sync::Arc;
use std::time::Duration;

use super::mistake::{Mistakes, quoted};
use super::names::{self, unique_texts};
use super::schema::Effect::Reconnect;
use super::schema::{self, Kind, Table, computed, key, optional, required};
use super::section::{Section, Value};
use super::template::{Becomes, Names, expand};
use super::{Gateway, publish};
use crate::bridge::{Batch, DEFAULT_STREAM, DEVICE, Direction, Mapping, RetainRule, StreamNo};
use crate::mqtt::QoS;
use crate::mqtt::topic::TopicFilter;
use crate::payload::{Form, Format};

/// `[[upstream.map]]`
pub static MAP: Table = Table {
    name: "[[upstream.map]]",
    doc: "Topics that go to this upstream or come from it; without any, <base>/data/# goes as it is. The first that matches counts.",
    keys: &[
        required(
            "filter",
            Kind::Filter,
            "\"fieldgate/gw/data/#\"",
            Reconnect,
            "Local topics, whichever the direction.",
        ),
        key(
            "direction",
            Kind::Words(&["out", "in", "both"]),
            "\"out\"",
            Reconnect,
            "\"out\": to the upstream; \"in\": from it; \"both\".",
        ),
        key(
            "local_prefix",
            Kind::TopicPrefix,
            "\"\"",
            Reconnect,
            "Taken off the front of the local topic; inwards put in front.",
        ),
        key(
            "remote_prefix",
            Kind::TopicPrefix,
            "\"\"",
            Reconnect,
            "Put in front instead; inwards taken off.",
        ),
        key(
            "qos",
            Kind::Integer { min: 0, max: 2 },
            "1",
            Reconnect,
            "QoS at most, 0 to 2; outwards 2 goes as 1.",
        ),
        key(
            "retain",
            Kind::Words(&["keep", "never", "always"]),
            "\"keep\"",
            Reconnect,
            "\"keep\": as published; \"never\": for clouds that refuse RETAIN; \"always\".",
        ),
        key(
            "priority",
            Kind::Words(&["normal", "high"]),
            "\"normal\"",
            Reconnect,
            "\"high\": goes before all others, a backlog included.",
        ),
        optional(
            "stream",
            Kind::Level { bytes_max: 64 },
            Reconnect,
            "The [[upstream.stream]] that it waits in; only outwards. Default: the upstream's own.",
        ),
        optional(
            "expiry",
            schema::duration(1_000, 31_536_000_000),
            Reconnect,
            "What is older when it is to be sent is dropped and counted; 1s to 365d.",
        ),
        optional("batch", Kind::Table(&BATCH), Reconnect, BATCH.doc),
        computed(
            "payload",
            Kind::OneOf(&[
                Kind::Words(&["json", "senml-json", "senml-cbor", "influx"]),
                Kind::Table(&publish::TEMPLATE),
            ]),
            "as on the LAN",
            Reconnect,
            "How readings are written: \"json\", \"senml-json\", \"senml-cbor\", \"influx\" or { template = \"…\" }.",
        ),
    ],
};

/// `batch = { max_messages = 50, max_bytes = "16 KiB", max_wait = "10s" }`
pub static BATCH: Table = Table {
    name: "[upstream.map.batch]",
    doc: "Readings of a topic share a message, as a JSON array; only outwards. Default: each is one, an object.",
    keys: &[
        key(
            "max_messages",
            Kind::Integer { min: 2, max: 1_000 },
            "50",
            Reconnect,
            "Readings in a message, 2 to 1000.",
        ),
        key(
            "max_bytes",
            Kind::Size { min: 1_024, max: 1_048_576 },
            "\"16 KiB\"",
            Reconnect,
            "Bytes of its payload, 1 KiB to 1 MiB, and never more than the upstream accepts.",
        ),
        key(
            "max_wait",
            schema::duration(100, 3_600_000),
            "\"10s\"",
            Reconnect,
            "What comes while the link is there waits this long for others, 100ms to 1h.",
        ),
    ],
};

/// An upstream's maps; without any, the readings.
pub(super) fn maps(section: &Section, names: Names<'_>, mistakes: &mut Mistakes<'_>) -> Vec<Mapping> {
    let sections = section.tables("map");
    if sections.is_empty() {
        return readings(names.gateway).into_iter().collect();
    }
    let streams: Vec<&str> =
        section.tables("stream").iter().map(|one| one.text("name").unwrap_or_default()).collect();
    let is_urgent = |one: &&Section| one.word("priority") == "high";
    let urgent: Vec<&str> =
        section.tables("stream").iter().filter(is_urgent).filter_map(|one| one.text("name")).collect();
    let mut maps = Vec::new();
    let (mut local, mut remote) = (Vec::new(), Vec::new());
    for section in sections {
        let stream = stream(section, &streams, mistakes);
        let Some(mut map) = map(section, stream, names, mistakes) else { continue };
        map.batch = batch(section, &map, &urgent, mistakes);
        if map.direction.goes_out() {
            local.push((map.filter.as_str().to_owned(), section.span("filter")));
        }
        if let Some(filter) = &map.remote_filter {
            remote.push((filter.as_str().to_owned(), section.span("filter")));
        }
        maps.push(map);
    }
    for (key, filters) in [("filter", &local), ("filter, as it is named upstream", &remote)] {
        let filters = filters.iter().map(|(filter, span)| (filter.as_str(), *span));
        unique_texts(mistakes, "[[upstream.map]]", key, filters);
    }
    maps
}

fn map(
    section: &Section,
    stream: StreamNo,
    names: Names<'_>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Mapping> {
    let Some(Value::Filter(filter)) = section.value("filter") else { return None };
    let direction = match section.word("direction") {
        "in" => Direction::In,
        "both" => Direction::Both,
        _ => Direction::Out,
    };
    let filter = expand(section, "filter", filter.as_str(), Becomes::Topic, names, mistakes)?;
    let mut prefix = |key| expand(section, key, &section.string(key), Becomes::Prefix, names, mistakes);
    let local_prefix = prefix("local_prefix")?;
    let remote_prefix = prefix("remote_prefix")?;
    let filter = match TopicFilter::parse(&filter) {
        Ok(filter) => filter,
        Err(error) => {
            mistakes.add(section.span("filter"), format!("filter: {} {error}", quoted(&filter)));
            return None;
        }
    };
    let names_device = local_prefix.contains(DEVICE) || remote_prefix.contains(DEVICE);
    let remote_filter = if direction.comes_in() {
        if names_device {
            let message = format!("direction: {DEVICE} is known of what goes out only");
            mistakes.add(section.span("direction"), message);
            return None;
        }
        Some(remote_filter(section, &filter, &local_prefix, &remote_prefix, mistakes)?)
    } else {
        None
    };
    Some(Mapping {
        filter,
        direction,
        local_prefix,
        remote_prefix,
        remote_filter,
        device_behind: names_device.then(|| Arc::from(format!("{}/data/", names.gateway.base_topic))),
        qos_max: QoS::from_u8(section.integer("qos")).unwrap_or_default(),
        retain: match section.word("retain") {
            "never" => RetainRule::Never,
            "always" => RetainRule::Always,
            _ => RetainRule::Keep,
        },
        expiry: expiry(section, direction, mistakes),
        high: section.word("priority") == "high",
        stream,
        batch: None,
        form: payload(section, direction, mistakes),
    })
}

/// The number of the stream that a map names.
fn stream(section: &Section, streams: &[&str], mistakes: &mut Mistakes<'_>) -> StreamNo {
    let Some(name) = section.text("stream") else { return 0 };
    if section.word("direction") == "in" {
        mistakes.add(section.key_span("stream"), "stream: counts for what goes out only");
    }
    if name == DEFAULT_STREAM {
        return 0;
    }
    let known = (1..).zip(streams).find(|(_, known)| **known == name);
    if known.is_none() {
        let message = format!("stream: {} is none of this upstream's", quoted(name));
        names::refers(mistakes, section.span("stream"), message, name, streams);
    }
    known.map_or(0, |(number, _)| number)
}

/// How readings are written for this upstream, if not as on the LAN.
fn payload(section: &Section, direction: Direction, mistakes: &mut Mistakes<'_>) -> Option<Form> {
    if direction == Direction::In && section.is_given("payload") {
        mistakes.add(section.key_span("payload"), "payload: counts for what goes out only");
    }
    publish::form(section, "payload", mistakes)
}

fn expiry(section: &Section, direction: Direction, mistakes: &mut Mistakes<'_>) -> Option<Duration> {
    let expiry = section.optional_duration("expiry")?;
    if direction == Direction::In && section.is_given("expiry") {
        mistakes.add(section.key_span("expiry"), "expiry: counts for what goes out only");
    }
    Some(expiry)
}

/// What has high priority waits for nothing, and nothing may be too old by the time its batch goes.
fn batch(section: &Section, map: &Mapping, urgent: &[&str], mistakes: &mut Mistakes<'_>) -> Option<Batch> {
    let table = section.table("batch")?;
    let span = section.key_span("batch");
    if map.direction == Direction::In {
        mistakes.add(span, "batch: counts for what goes out only");
    } else if section.word("priority") == "high"
        || section.text("stream").is_some_and(|name| urgent.contains(&name))
    {
        mistakes.add(span, "batch: what has high priority waits for no other");
    }
    if map.form.as_ref().is_some_and(|form| *form.format() != Format::Json) {
        let message = "payload: can only be \"json\" where there is batch, since that is a JSON array";
        mistakes.add(section.span("payload"), message);
    }
    let wait_max = table.duration("max_wait");
    if section.optional_duration("expiry").is_some_and(|expiry| expiry <= wait_max) {
        mistakes.add(section.span("expiry"), "expiry: must be longer than batch.max_wait");
    }
    Some(Batch {
        messages_max: table.integer("max_messages"),
        bytes_max: table.memory_size("max_bytes"),
        wait_max,
    })
}

/// What is subscribed to upstream.
fn remote_filter(
    section: &Section,
    filter: &TopicFilter,
    local_prefix: &str,
    remote_prefix: &str,
    mistakes: &mut Mistakes<'_>,
) -> Option<TopicFilter> {
    let Some(rest) = filter.as_str().strip_prefix(local_prefix) else {
        let message = format!(
            "local_prefix: {} is not how {} begins, so nothing could come in",
            quoted(local_prefix),
            quoted(filter.as_str())
        );
        mistakes.add(section.span("local_prefix"), message);
        return None;
    };
    let remote = format!("{remote_prefix}{rest}");
    match TopicFilter::parse(&remote) {
        Ok(filter) if filter.share().is_none() => Some(filter),
        Ok(_) => {
            let message = format!("remote_prefix: {} makes a shared subscription", quoted(remote_prefix));
            mistakes.add(section.span("remote_prefix"), message);
            None
        }
        Err(error) => {
            let message = format!("remote_prefix: the filter for upstream, {}, {error}", quoted(&remote));
            mistakes.add(section.span("remote_prefix"), message);
            None
        }
    }
}

/// Without a map: the readings, as they are. `None` only if the base topic is a mistake.
fn readings(gateway: &Gateway) -> Option<Mapping> {
    let filter = TopicFilter::parse(&format!("{}/data/#", gateway.base_topic)).ok()?;
    Some(Mapping {
        filter,
        direction: Direction::Out,
        local_prefix: String::new(),
        remote_prefix: String::new(),
        remote_filter: None,
        device_behind: None,
        qos_max: QoS::AtLeastOnce,
        retain: RetainRule::Keep,
        expiry: None,
        high: false,
        stream: 0,
        batch: None,
        form: None,
    })
}
