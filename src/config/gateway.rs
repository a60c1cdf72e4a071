//! `[gateway]`, `[time]`, `[health]` and `[buffer]`: the gateway as a whole.

use std::path::PathBuf;
use std::sync::Arc;

use super::mistake::{Mistakes, quoted};
use super::names::refers;
use super::schema::Effect::{Live, Restart};
use super::schema::{Kind, Table, computed, duration, key, optional, required};
use super::section::Section;
use super::template::{Becomes, Names, expand};
use super::{Buffer, Facts, Gateway, Health, Time, TimeGnss, TimeTrust, stream, text};
use crate::sensor::{CodecKind, DecodeConfig, DeviceConfig};

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
            "Starts every topic of the gateway's own; {gateway}, {hostname}, {machine} are put in.",
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
            Live,
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
    keys: &[
        key(
            "trust",
            Kind::Words(&["auto", "always"]),
            "\"auto\"",
            Live,
            "\"auto\": the kernel's word on synchronisation; \"always\": the clock is right (a good RTC).",
        ),
        optional("gnss", Kind::Table(&GNSS), Restart, GNSS.doc),
    ],
};

/// `[time.gnss]`
pub static GNSS: Table = Table {
    name: "[time.gnss]",
    doc: "A satellite receiver whose time is taken where the kernel's clock isn't synchronised; the system's clock stays.",
    keys: &[
        required(
            "device",
            Kind::Level { bytes_max: 64 },
            "\"gps1\"",
            Restart,
            "A [[device]] with decode = \"nmea\" on a serial port.",
        ),
        key(
            "latency",
            duration(0, 2_000),
            "\"0ms\"",
            Restart,
            "From the moment that a sentence tells to its end on the line, as the receiver's manual says; 0ms to 2s.",
        ),
        key(
            "hold",
            duration(10_000, DAY_MS),
            "\"4h\"",
            Restart,
            "So long after its last fix it is believed: a clock without help drifts by up to 0.4 s an hour; 10s to 24h.",
        ),
        key(
            "prefer",
            Kind::Words(&["kernel", "gnss"]),
            "\"kernel\"",
            Restart,
            "Whose time is taken where both say that theirs is right.",
        ),
    ],
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
            Live,
            "Disk that one upstream's outbox may take; 1 MiB to 1 TiB.",
        ),
        optional(
            "max_age",
            duration(1_000, 10 * YEAR_MS),
            Live,
            "What was written longer ago is dropped, once the clock is known to be right; 1s to 3650d.",
        ),
        optional(
            "max_records",
            Kind::Integer { min: 1, max: 1_000_000_000_000 },
            Live,
            "Messages that may wait for one upstream; 1 to 1000000000000.",
        ),
        key(
            "full",
            Kind::Words(&["drop-oldest", "drop-newest", "reject"]),
            "\"drop-oldest\"",
            Live,
            "What goes when an outbox is full: \"drop-oldest\", or the new ones, \"drop-newest\" or \"reject\".",
        ),
        computed(
            "reserve",
            Kind::Size { min: 0, max: TIB },
            "64 MiB, or a twentieth of a small disk",
            Live,
            "Disk that is left free: below it messages are kept in memory only; 0 B to 1 TiB.",
        ),
        key(
            "commit_interval",
            duration(10, 60_000),
            "\"1s\"",
            Live,
            "Readings are on disk at most this long after they were taken; 10ms to 60s. 10s is kinder to flash.",
        ),
        key(
            "memory",
            Kind::Size { min: 64 * KIB, max: 256 * MIB },
            "\"4 MiB\"",
            Live,
            "Memory for messages per upstream, written or not; 64 KiB to 256 MiB.",
        ),
    ],
};

/// The longest time that some keys allow.
pub(super) const YEAR_MS: u64 = 365 * DAY_MS;

pub(super) fn gateway(section: &Section, facts: &Facts, mistakes: &mut Mistakes<'_>) -> Gateway {
    let id = section.text("id").map_or_else(|| usable_id(&facts.default_id), str::to_owned);
    let usual = format!("fieldgate/{id}");
    let mut gateway = Gateway {
        id,
        site: section.text("site").map(str::to_owned),
        base_topic: Arc::from(usual),
        data_dir: PathBuf::from(section.string("data_dir")),
        control_socket: PathBuf::from(section.string("control_socket")),
        pid_file: section.path("pid_file"),
    };
    if let Some(written) = section.text("base_topic") {
        let names = Names { gateway: &gateway, facts };
        if let Some(base) = expand(section, "base_topic", written, Becomes::Base, names, mistakes) {
            gateway.base_topic = Arc::from(base);
        }
    }
    gateway
}

/// The machine's word for itself, made fit for topics.
fn usable_id(machine: &str) -> String {
    let id = text::as_id(machine, ID_BYTES_MAX);
    if id.is_empty() { "gateway".to_owned() } else { id }
}

pub(super) fn time(
    section: &Section,
    devices: &[DeviceConfig],
    ports: &[Section],
    mistakes: &mut Mistakes<'_>,
) -> Time {
    let trust = match section.word("trust") {
        "always" => TimeTrust::Always,
        _ => TimeTrust::Auto,
    };
    let gnss = section.table("gnss").and_then(|table| gnss(table, devices, ports, mistakes));
    if let (Some(table), TimeTrust::Always) = (section.table("gnss"), trust) {
        let message = "[time.gnss] has no meaning with trust = \"always\"";
        mistakes.add_with_help(table.span, message, "leave one of them out");
    }
    Time { trust, gnss }
}

fn gnss(
    table: &Section,
    devices: &[DeviceConfig],
    ports: &[Section],
    mistakes: &mut Mistakes<'_>,
) -> Option<TimeGnss> {
    let name = table.text("device")?;
    let Some(device) = devices.iter().find(|device| *device.name == *name) else {
        let message = format!("device: there is no [[device]] with the name {}", quoted(name));
        let names: Vec<&str> = devices.iter().map(|device| &*device.name).collect();
        refers(mistakes, table.span("device"), message, name, &names);
        return None;
    };
    let is_nmea = matches!(device.decode, DecodeConfig::Codec(CodecKind::Nmea { .. }));
    let is_on_port = ports.iter().any(|port| port.text("name") == Some(&*device.port));
    if !is_nmea || !is_on_port || device.poll.is_some() {
        let message = format!("device: {} is no satellite receiver on a serial port", quoted(name));
        mistakes.add_with_help(table.span("device"), message, "name one with decode = \"nmea\"");
        return None;
    }
    Some(TimeGnss {
        device: device.name.clone(),
        port: device.port.clone(),
        latency: table.duration("latency"),
        hold: table.duration("hold"),
        is_preferred: table.word("prefer") == "gnss",
    })
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
