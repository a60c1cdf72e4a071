//! What is wrong with an upstream and its outbox, in words.

use serde_json::{Value as Json, json};

use crate::bridge::{self, LinkState};

/// An upstream's outbox on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outbox {
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes that it may take.
    pub bytes_max: u64,
    /// How full it is, of its bytes or of its records.
    pub fill_percent: u64,
    /// Whether people should know: it has passed 80 % and hasn't come well below since.
    pub is_high: bool,
    /// Generations that were set aside as damaged.
    pub quarantined: u64,
    /// Of these, the ones since the start.
    pub set_aside: u64,
    /// Segments that were found damaged since the start.
    pub damaged_segments: u64,
    /// Records that were lost with them.
    pub damaged_records: u64,
}

/// What is wrong with one upstream; of its link nothing where that is known already.
pub(super) fn upstream_problems(
    upstream: &bridge::Status,
    outbox: Option<&Outbox>,
    link_is_known: bool,
    problems: &mut Vec<String>,
) {
    let why = upstream.error.as_deref().unwrap_or("connecting");
    match upstream.state {
        LinkState::Online | LinkState::Idle => {}
        _ if link_is_known => {}
        LinkState::Ended => problems.push(format!(
            "the only connection to upstream {0} has ended: {why}; fieldgate upstream {0} connect begins another",
            upstream.name
        )),
        _ => problems.push(format!("upstream {} is offline: {why}", upstream.name)),
    }
    if let (Some(since), false) = (upstream.paused, link_is_known) {
        problems.push(format!(
            "upstream {0} is paused since {since}: what is for it waits; fieldgate upstream {0} resume has it go on",
            upstream.name
        ));
    }
    if upstream.traffic.used_up {
        problems.push(format!(
            "upstream {}: the day's bytes are used up; readings wait until midnight UTC",
            upstream.name
        ));
    }
    if let Some(rival) = &upstream.rival {
        problems.push(format!("upstream {}: {rival}", upstream.name));
    }
    for (filter, reason) in &upstream.not_subscribed {
        problems.push(format!("upstream {} refuses the subscription {filter}: {reason}", upstream.name));
    }
    if let Some(error) = &upstream.store_error {
        let name = &upstream.name;
        problems.push(format!("messages for upstream {name} are kept in memory only: {error}"));
    }
    if let Some(outbox) = outbox {
        outbox_problems(&upstream.name, outbox, problems);
    }
    let lost = lost(&upstream.drops);
    if lost > 0 {
        problems.push(format!("{lost} messages for upstream {} were dropped", upstream.name));
    }
}

pub(super) fn outbox_problems(name: &str, outbox: &Outbox, problems: &mut Vec<String>) {
    if outbox.is_high {
        problems.push(format!("the outbox of upstream {name} is {} % full", outbox.fill_percent));
    }
    if outbox.set_aside > 0 {
        problems.push(format!(
            "a damaged part of the outbox of upstream {name} was set aside; fieldgate store export --quarantine tells what can be read of it"
        ));
    }
    if outbox.damaged_segments > 0 {
        let records = outbox.damaged_records;
        problems.push(format!("the outbox of upstream {name} was damaged: {records} messages are lost"));
    }
}

/// All messages that an upstream will never get, but for those that a person wanted gone.
#[must_use]
pub const fn lost(drops: &bridge::Drops) -> u64 {
    drops.disk_full + drops.memory_full + drops.refused + drops.too_large + drops.damaged + drops.expired
}

/// A link's state in one word.
#[must_use]
pub const fn link_state(state: LinkState) -> &'static str {
    match state {
        LinkState::Online => "online",
        LinkState::Connecting => "connecting",
        LinkState::Waiting => "offline",
        LinkState::Idle => "idle",
        LinkState::Ended => "ended",
        LinkState::Stopped => "stopped",
    }
}

/// One stream of an upstream that has several.
pub(super) fn stream_json(stream: &bridge::StreamStatus, outbox: Outbox) -> Json {
    let dropped: serde_json::Map<String, Json> = stream
        .drops
        .by_reason()
        .into_iter()
        .map(|(reason, count)| (reason.to_owned(), json!(count)))
        .collect();
    json!({
        "name": &*stream.name,
        "backlog": {
            "messages": stream.backlog_records,
            "bytes": stream.backlog_bytes,
            "oldest_s": stream.backlog_oldest.map(|age| age.as_secs_f64()),
            "in_memory_only": stream.unsafe_records,
        },
        "outbox": {
            "disk_bytes": outbox.disk_bytes,
            "bytes_max": outbox.bytes_max,
            "fill_percent": outbox.fill_percent,
        },
        "drops": dropped,
    })
}
