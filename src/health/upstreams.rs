//! An upstream and its outbox: what is wrong with them, in words, and how they are, as JSON.

use serde_json::{Value as Json, json};

use super::Snapshot;
use crate::bridge::{self, LinkState};
use crate::hex;

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

impl Snapshot {
    /// What waits for each upstream.
    #[must_use]
    pub fn backlog(&self) -> Json {
        self.upstreams
            .iter()
            .map(|upstream| {
                let mut json = backlog_json(upstream);
                if let Json::Object(object) = &mut json {
                    object.insert("upstream".into(), json!(&*upstream.name));
                    let letters: Vec<Json> = upstream.dead_letters.iter().map(letter_json).collect();
                    object.insert("refused".into(), json!(letters));
                }
                json
            })
            .collect()
    }

    pub(super) fn upstreams_json(&self) -> Vec<Json> {
        let outboxes = self.outboxes.iter().copied().chain(std::iter::repeat(Outbox::default()));
        self.upstreams
            .iter()
            .zip(outboxes)
            .enumerate()
            .map(|(index, (upstream, outbox))| {
                let mut json = upstream_json(upstream, outbox);
                if let Json::Object(object) = &mut json
                    && upstream.streams.len() > 1
                {
                    object.insert("streams".into(), self.streams_json(index));
                }
                json
            })
            .collect()
    }

    /// An upstream's streams with their outboxes.
    pub(super) fn streams(&self, upstream: usize) -> impl Iterator<Item = (&bridge::StreamStatus, Outbox)> {
        let further = |status: &bridge::Status| status.streams.len().saturating_sub(1);
        let before: usize = self.upstreams.iter().take(upstream).map(further).sum();
        let first = self.outboxes.get(upstream);
        let others = self.outboxes.iter().skip(self.upstreams.len() + before);
        let outboxes = first.into_iter().chain(others).copied().chain(std::iter::repeat(Outbox::default()));
        self.upstreams.get(upstream).into_iter().flat_map(|status| &status.streams).zip(outboxes)
    }

    fn streams_json(&self, upstream: usize) -> Json {
        self.streams(upstream).map(|(stream, outbox)| stream_json(stream, outbox)).collect()
    }
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

fn upstream_json(upstream: &bridge::Status, outbox: Outbox) -> Json {
    json!({
        "name": &*upstream.name,
        "state": link_state(upstream.state),
        "address": &*upstream.place,
        "since": upstream.since.to_string(),
        "error": upstream.error,
        "retry_in_s": upstream.retry_in.map(|wait| wait.as_secs_f64()),
        "paused": upstream.paused.map(|since| since.to_string()),
        "connections": upstream.connections,
        "backlog": backlog_json(upstream),
        "outbox_disk_bytes": outbox.disk_bytes,
        "outbox": {
            "disk_bytes": outbox.disk_bytes,
            "bytes_max": outbox.bytes_max,
            "fill_percent": outbox.fill_percent,
            "quarantined": outbox.quarantined,
            "set_aside": outbox.set_aside,
            "damaged_segments": outbox.damaged_segments,
            "damaged_records": outbox.damaged_records,
        },
        "inflight": upstream.inflight,
        "delivered": upstream.delivered,
        "elided": upstream.elided,
        "resent": upstream.resent,
        "rival": upstream.rival,
        "traffic": {
            "sent_today": upstream.traffic.today.0,
            "received_today": upstream.traffic.today.1,
            "sent_yesterday": upstream.traffic.yesterday.0,
            "received_yesterday": upstream.traffic.yesterday.1,
        },
        "receipt": upstream.receipt.as_deref().and_then(|receipt| serde_json::from_str::<Json>(receipt).ok()),
        "refused_kept": upstream.dead_letters.len(),
        "status_repairs": upstream.status_repairs,
        "inward": {
            "received": upstream.inward.received,
            "delivered": upstream.inward.delivered,
            "drops": {
                "unmapped": upstream.inward.unmapped,
                "closed": upstream.inward.closed,
                "old_commands": upstream.inward.old_commands,
                "not_kept": upstream.inward.not_kept,
            },
            "not_subscribed": upstream.not_subscribed.iter().map(|(filter, reason)| {
                json!({"filter": filter, "reason": reason})
            }).collect::<Vec<_>>(),
        },
        "round_trip_ms": upstream.round_trip.map(|span| span.as_secs_f64() * 1_000.0),
        "drops": {
            "disk_full": upstream.drops.disk_full,
            "memory_full": upstream.drops.memory_full,
            "refused": upstream.drops.refused,
            "too_large": upstream.drops.too_large,
            "damaged": upstream.drops.damaged,
            "expired": upstream.drops.expired,
            "purged": upstream.drops.purged,
            "unmapped": upstream.drops.unmapped,
        },
    })
}

fn backlog_json(upstream: &bridge::Status) -> Json {
    json!({
        "messages": upstream.backlog_records,
        "bytes": upstream.backlog_bytes,
        "oldest_s": upstream.backlog_oldest.map(|age| age.as_secs_f64()),
        "in_memory_only": upstream.unsafe_records,
    })
}

/// The messages that an upstream refused for good.
#[must_use]
pub fn letters(upstream: &bridge::Status) -> Json {
    let letters: Vec<Json> = upstream.dead_letters.iter().map(letter_json).collect();
    json!({"upstream": &*upstream.name, "refused": letters})
}

/// Only for who asks on the machine itself: the payload is nobody else's business.
fn letter_json(letter: &bridge::DeadLetter) -> Json {
    json!({
        "time": letter.at.to_string(),
        "topic": letter.topic,
        "reason": letter.reason,
        "bytes": letter.bytes,
        "kept": !letter.record.is_empty(),
        "payload": String::from_utf8_lossy(&letter.payload),
        "payload_hex": std::str::from_utf8(&letter.payload).is_err().then(|| hex::encode(&letter.payload)),
    })
}
