//! `[[upstream.stream]]`: outboxes of an upstream beside the default one, each with bounds, a drain and a priority of its
//! own. Which messages go into one, a map says.

use std::sync::Arc;
use std::time::Duration;

use super::FullRule;
use super::gateway::YEAR_MS;
use super::mistake::Mistakes;
use super::names::unique_texts;
use super::schema::Effect::Reconnect;
use super::schema::{self, Kind, Table, key, optional, required};
use super::section::Section;
use crate::bridge::{DEFAULT_STREAM, DrainOrder, Priority, StreamConfig};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Streams of one upstream beside the default one: each may have two databases open, with 2 MiB of cache each.
pub(super) const STREAMS_MAX: usize = 8;

/// `[[upstream.stream]]`
pub static STREAM: Table = Table {
    name: "[[upstream.stream]]",
    doc: "An outbox of its own for some of what goes to this upstream, so that no other fills it; maps name it.",
    keys: &[
        required(
            "name",
            Kind::Level { bytes_max: 64 },
            "\"bulk\"",
            Reconnect,
            "Unique among the upstream's.",
        ),
        optional(
            "max_size",
            Kind::Size { min: MIB, max: TIB },
            Reconnect,
            "Disk that it may take, 1 MiB to 1 TiB; default as [buffer] says.",
        ),
        optional(
            "max_age",
            schema::duration(1_000, 10 * YEAR_MS),
            Reconnect,
            "What was written longer ago is dropped, 1s to 3650d; default as [buffer] says.",
        ),
        optional(
            "max_records",
            Kind::Integer { min: 1, max: 1_000_000_000_000 },
            Reconnect,
            "Messages that may wait in it, 1 to 1000000000000; default as [buffer] says.",
        ),
        optional(
            "full",
            Kind::Words(&["drop-oldest", "drop-newest", "reject"]),
            Reconnect,
            "What goes when it is full; default as [buffer] says.",
        ),
        key(
            "drain",
            Kind::Words(&["oldest-first", "newest-first", "interleave"]),
            "\"oldest-first\"",
            Reconnect,
            "How its backlog goes out, as an upstream's drain.",
        ),
        key(
            "live_share",
            Kind::Integer { min: 1, max: 99 },
            "50",
            Reconnect,
            "With interleave, the percentage of its messages that are live while its backlog drains; 1 to 99.",
        ),
        key(
            "priority",
            Kind::Words(&["normal", "high", "low"]),
            "\"normal\"",
            Reconnect,
            "\"high\": before all other streams; \"low\": while no other has anything to send.",
        ),
    ],
};

/// A stream's settings: those of the bridge, and the bounds that it doesn't share with the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Name, drain, priority.
    pub machine: StreamConfig,
    /// Default `buffer.max_size`.
    pub max_size: Option<u64>,
    /// Default `buffer.max_age`.
    pub max_age: Option<Duration>,
    /// Default `buffer.max_records`.
    pub max_records: Option<u64>,
    /// Default `buffer.full`.
    pub full: Option<FullRule>,
}

pub(super) fn streams(section: &Section, mistakes: &mut Mistakes<'_>) -> Vec<Stream> {
    let sections = section.tables("stream");
    let named = sections.iter().filter_map(|one| Some((one.text("name")?, one.span("name"))));
    unique_texts(mistakes, "[[upstream.stream]]", "name", named);
    for one in sections.iter().filter(|one| one.text("name") == Some(DEFAULT_STREAM)) {
        let message = format!("name: {DEFAULT_STREAM:?} is the stream of all maps that name none");
        mistakes.add(one.span("name"), message);
    }
    sections.iter().map(stream).collect()
}

fn stream(section: &Section) -> Stream {
    Stream {
        machine: StreamConfig {
            name: Arc::from(section.string("name")),
            drain: drain(section),
            live_share: section.integer("live_share"),
            priority: match section.word("priority") {
                "high" => Priority::High,
                "low" => Priority::Low,
                _ => Priority::Normal,
            },
        },
        max_size: section.is_given("max_size").then(|| section.size("max_size")),
        max_age: section.optional_duration("max_age"),
        max_records: section.is_given("max_records").then(|| section.integer("max_records")),
        full: section.is_given("full").then(|| full(section)),
    }
}

/// What goes when an outbox is full.
pub(super) fn full(section: &Section) -> FullRule {
    match section.word("full") {
        "drop-newest" | "reject" => FullRule::Refuse,
        _ => FullRule::DropOldest,
    }
}

/// How a backlog goes out.
pub(super) fn drain(section: &Section) -> DrainOrder {
    match section.word("drain") {
        "newest-first" => DrainOrder::NewestFirst,
        "interleave" => DrainOrder::Interleave,
        _ => DrainOrder::OldestFirst,
    }
}
