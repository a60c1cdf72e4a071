//! `[gateway]`, `[time]`, `[health]` and `[buffer]`: the gateway as a whole.

use std::path::PathBuf;
use std::sync::Arc;

use super::mistake::Mistakes;
use super::schema::Effect::{Live, Restart};
use super::schema::{Kind, Table, computed, duration, key, optional};
use super::section::Section;
use super::{Buffer, Facts, Gateway, Health, Time, TimeTrust, stream, text};

/// The longest gateway id, in bytes: it stands in every topic and in client identifiers.
const ID_BYTES_MAX: usize = 64;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const DAY_MS: u64 = 24 * HOUR_MS;
const HOUR_MS: u64 = 3_600_000;

/// `[gateway]`
pub static GATEWAY: Table = Table {
    name: "[gateway]",
    doc: "Who this gateway is, and where it keeps its things.",
    keys: &[
        computed(
            "id",
            Kind::Id { bytes_max: ID_BYTES_MAX },
            "made from the machine's id",
            Restart,
            "Stands in topics and client identifiers; 1 to 64 of A-Z a-z 0-9 _ . -",
        ),
        optional("site", Kind::Text { bytes_max: 256 }, Live, "Where it stands, for people."),
        computed(
            "base_topic",
            Kind::Topic,
            "fieldgate/<id>",
            Restart,
            "Starts every topic of the gateway's own.",
        ),
        key("data_dir", Kind::Path, "\"/var/lib/fieldgate\"", Restart, "Where the store is."),
        key(
            "control_socket",
            Kind::Path,
            "\"/run/fieldgate/control.sock\"",
            Restart,
            "Where the command line talks to the running gateway.",
        ),
        key(
            "profiles_dir",
            Kind::Path,
            "\"/etc/fieldgate/profiles\"",
            Restart,
            "Your own device profiles, one *.toml each; one takes the place of a built-in one of its name.",
        ),
        optional(
            "pid_file",
            Kind::Path,
            Restart,
            "Holds the number of the running process; locked, so that no second gateway takes it.",
        ),
    ],
};

/// `[time]`
pub static TIME: Table = Table {
    name: "[time]",
    doc: "Who vouches for the clock.",
    keys: &[key(
        "trust",
        Kind::Words(&["auto", "always"]),
        "\"auto\"",
        Live,
        "\"auto\": the kernel's word on synchronisation; \"always\": the clock is right (a good RTC).",
    )],
};

/// `[health]`
pub static HEALTH: Table = Table {
    name: "[health]",
    doc: "The health message.",
    keys: &[key(
        "every",
        duration(1_000, HOUR_MS),
        "\"30s\"",
        Live,
        "How often <base>/health is published, besides on changes; 1s to 1h.",
    )],
};

/// `[buffer]`
pub static BUFFER: Table = Table {
    name: "[buffer]",
    doc: "What waits for an upstream.",
    keys: &[
        computed(
            "max_size",
            Kind::Size { min: MIB, max: TIB },
            "256 MiB, or a quarter of the disk that is free at first",
            Restart,
            "Disk that one upstream's outbox may take; 1 MiB to 1 TiB.",
        ),
        optional(
            "max_age",
            duration(1_000, 10 * YEAR_MS),
            Restart,
            "What was written longer ago is dropped, once the clock is known to be right; 1s to 3650d.",
        ),
        optional(
            "max_records",
            Kind::Integer { min: 1, max: 1_000_000_000_000 },
            Restart,
            "Messages that may wait for one upstream; 1 to 1000000000000.",
        ),
        key(
            "full",
            Kind::Words(&["drop-oldest", "drop-newest", "reject"]),
            "\"drop-oldest\"",
            Restart,
            "What goes when an outbox is full: \"drop-oldest\", or the new ones, \"drop-newest\" or \"reject\".",
        ),
        computed(
            "reserve",
            Kind::Size { min: 0, max: TIB },
            "64 MiB, or a twentieth of a small disk",
            Restart,
            "Disk that is left free: below it messages are kept in memory only; 0 B to 1 TiB.",
        ),
        key(
            "commit_interval",
            duration(10, 60_000),
            "\"1s\"",
            Restart,
            "Readings are on disk at most this long after they were taken; 10ms to 60s. 10s is kinder to flash.",
        ),
        key(
            "memory",
            Kind::Size { min: 64 * KIB, max: 256 * MIB },
            "\"4 MiB\"",
            Restart,
            "Memory for messages per upstream, written or not; 64 KiB to 256 MiB.",
        ),
    ],
};

/// The longest time that some keys allow.
pub(super) const YEAR_MS: u64 = 365 * DAY_MS;

pub(super) fn gateway(section: &Section, facts: &Facts) -> Gateway {
    let id = section.text("id").map_or_else(|| usable_id(&facts.default_id), str::to_owned);
    let base_topic = section.text("base_topic").map_or_else(|| format!("fieldgate/{id}"), str::to_owned);
    Gateway {
        id,
        site: section.text("site").map(str::to_owned),
        base_topic: Arc::from(base_topic),
        data_dir: PathBuf::from(section.string("data_dir")),
        control_socket: PathBuf::from(section.string("control_socket")),
        pid_file: section.path("pid_file"),
    }
}

/// The machine's word for itself, made fit for topics.
fn usable_id(machine: &str) -> String {
    let id = text::as_id(machine, ID_BYTES_MAX);
    if id.is_empty() { "gateway".to_owned() } else { id }
}

pub(super) fn time(section: &Section) -> Time {
    let trust = match section.word("trust") {
        "always" => TimeTrust::Always,
        _ => TimeTrust::Auto,
    };
    Time { trust }
}

pub(super) fn health(section: &Section) -> Health {
    Health { every: section.duration("every") }
}

pub(super) fn buffer(section: &Section, mistakes: &mut Mistakes<'_>) -> Buffer {
    let size = |key| section.is_given(key).then(|| section.size(key));
    let buffer = Buffer {
        max_size: size("max_size"),
        max_age: section.optional_duration("max_age"),
        max_records: section.is_given("max_records").then(|| section.integer("max_records")),
        full: stream::full(section),
        reserve: size("reserve"),
        commit_interval: section.duration("commit_interval"),
        memory: section.memory_size("memory"),
    };
    let in_memory = u64::try_from(buffer.memory).unwrap_or(u64::MAX);
    let both_read = !section.is_mistaken("memory") && !section.is_mistaken("max_size");
    if both_read && buffer.max_size.is_some_and(|max_size| in_memory > max_size) {
        let key = if section.is_given("memory") { "memory" } else { "max_size" };
        mistakes.add(section.span(key), "memory is more than max_size, what may wait in all");
    }
    buffer
}
