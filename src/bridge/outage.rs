//! The account of one outage, from the moment the link went to the moment all that waited is done; told as a receipt
//! on `<base>/receipt`. Its begin is noted beside the outbox, so that a restart within it changes little.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::queue::Queue;
use super::streams::Place;
use super::words::{Drops, Output};
use super::{Bridge, notes};
use crate::message::Message;
use crate::time::{ClockTrust, Mono, Now, Timestamp};

/// Devices and runs in one receipt; further ones are sent and counted, but not listed.
const SPANS_MAX: usize = 1_024;
/// While it lasts, the note is renewed this often.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// The outage that is under way, if any, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Outages {
    current: Option<Outage>,
    count: u64,
    /// The last receipt.
    pub(super) last: Option<Arc<str>>,
}

#[derive(Debug)]
struct Outage {
    facts: Facts,
    /// Sequence numbers of what came or was sent: by device and run, first and last.
    spans: BTreeMap<(Arc<str>, u64), (u64, u64)>,
    /// What the counters said when it began, or this process did.
    drops_before: Drops,
    /// The same of each stream, where there are several.
    stream_drops_before: Vec<u64>,
    note_at: Mono,
}

/// What outlives the process.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Facts {
    number: String,
    from_ms: i64,
    why: String,
    to_ms: Option<i64>,
    stored: u64,
    sent: u64,
    /// Messages on their way when the link went; none if a crash of the gateway made it unknown.
    duplicates: Option<u64>,
    interruptions: u64,
    restarts: u64,
    dropped: BTreeMap<String, u64>,
    spans: Vec<(String, u64, u64, u64)>,
    /// By stream, where there are several: sent and dropped.
    #[serde(default)]
    streams: BTreeMap<String, (u64, u64)>,
}

impl Outage {
    fn saw(&mut self, message: &Message) {
        let Some(reading) = &message.reading else { return };
        let key = (reading.device.clone(), reading.seq.run.0);
        let number = reading.seq.number;
        if let Some((first, last)) = self.spans.get_mut(&key) {
            *first = number.min(*first);
            *last = number.max(*last);
        } else if self.spans.len() < SPANS_MAX {
            self.spans.insert(key, (number, number));
        }
    }

    fn dropped(&self, drops: &Drops) -> BTreeMap<String, u64> {
        let mut dropped = self.facts.dropped.clone();
        for ((reason, now), (_, before)) in drops.by_reason().into_iter().zip(self.drops_before.by_reason()) {
            let sum = dropped.entry(reason.to_owned()).or_default();
            *sum = sum.saturating_add(now.saturating_sub(before));
        }
        dropped
    }

    /// Sent and dropped, by stream.
    fn by_stream(&self, streams: &[(Arc<str>, u64)]) -> BTreeMap<String, (u64, u64)> {
        let mut sums = self.facts.streams.clone();
        for ((name, now), before) in streams.iter().zip(&self.stream_drops_before) {
            sums.entry(name.to_string()).or_default().1 += now.saturating_sub(*before);
        }
        sums
    }

    fn note(&self, drops: &Drops, streams: &[(Arc<str>, u64)]) -> Vec<u8> {
        let spans =
            self.spans.iter().map(|((device, run), (first, last))| (device.to_string(), *run, *first, *last));
        let facts = Facts {
            number: self.facts.number.clone(),
            why: self.facts.why.clone(),
            dropped: self.dropped(drops),
            spans: spans.collect(),
            streams: self.by_stream(streams),
            ..self.facts
        };
        serde_json::to_vec(&facts).unwrap_or_default()
    }
}

impl Bridge {
    /// What each stream has lost so far; nothing where there is only one.
    fn stream_drops(&self) -> Vec<(Arc<str>, u64)> {
        if self.streams.count() == 1 {
            return Vec::new();
        }
        self.streams.iter().map(|stream| (stream.name.clone(), stream.queue.drops.total())).collect()
    }

    /// The link went; or the gateway starts, and it isn't there.
    pub(super) fn begin_outage(&mut self, now: Now, from: Timestamp, why: String, in_flight: usize) {
        if !self.config.receipts {
            return;
        }
        let in_flight = u64::try_from(in_flight).unwrap_or(u64::MAX);
        if let Some(outage) = &mut self.outages.current {
            if outage.facts.to_ms.take().is_some() {
                // It came and went before all was sent: still the same.
                outage.facts.interruptions += 1;
                outage.facts.duplicates = outage.facts.duplicates.map(|sum| sum + in_flight);
                outage.note_at = now.mono;
            }
            return;
        }
        self.outages.count += 1;
        let facts = Facts {
            number: format!("{}-{}", self.config.run.0, self.outages.count),
            from_ms: from.as_millis(),
            why,
            duplicates: Some(in_flight),
            ..Facts::default()
        };
        let stream_drops_before = self.stream_drops().into_iter().map(|(_, lost)| lost).collect();
        let (drops_before, spans) = (self.streams.drops(), BTreeMap::new());
        self.outages.current =
            Some(Outage { facts, spans, drops_before, stream_drops_before, note_at: now.mono });
    }

    /// The link is not there, for whatever reason, since its start.
    pub(super) fn notice_absence(&mut self, now: Now) {
        if self.outages.current.is_none()
            && !self.link.is_online()
            && self.stopping.is_none()
            && let Some(why) = self.link.error()
        {
            self.begin_outage(now, self.link.since(), why, 0);
        }
    }

    /// The link is back; what waits now is what the outage cost.
    pub(super) fn outage_drains(&mut self, now: Now) {
        let backlog = self.backlog().records;
        if self.outages.current.is_none() && !self.link.was_online() && backlog > 0 && !self.is_lazy() {
            let from = self.oldest(now).map_or(now.wall, |age| now.wall.minus(age));
            self.begin_outage(now, from, "the gateway was not running".to_owned(), 0);
            if let Some(outage) = &mut self.outages.current {
                outage.facts.duplicates = None;
            }
        }
        if let Some(outage) = &mut self.outages.current {
            outage.facts.to_ms = Some(now.wall.as_millis());
            outage.facts.stored = outage.facts.sent + backlog;
        }
    }

    /// A message comes while the link isn't there.
    pub(super) fn outage_keeps(&mut self, message: &Message) {
        if let Some(outage) = &mut self.outages.current
            && outage.facts.to_ms.is_none()
        {
            outage.saw(message);
        }
    }

    /// A record of the backlog is sent.
    pub(super) fn outage_sends(&mut self, place: Place, message: &Message) {
        if let Some(outage) = &mut self.outages.current
            && self.streams.get(place.stream).queue.is_backlog(place.no)
        {
            outage.saw(message);
        }
    }

    /// A record was delivered.
    pub(super) fn outage_delivered(&mut self, place: Place) {
        if let Some(outage) = &mut self.outages.current
            && self.streams.get(place.stream).queue.is_backlog(place.no)
        {
            outage.facts.sent += 1;
            if self.streams.count() > 1 {
                let name = self.streams.get(place.stream).name.to_string();
                outage.facts.streams.entry(name).or_default().0 += 1;
            }
        }
    }

    /// The receipt, once all that waited is done; whether there is one to be sent.
    pub(super) fn end_outage(&mut self, now: Now) -> bool {
        let is_done = self.link.is_online() && self.streams.queues().all(Queue::is_backlog_done);
        let Some(outage) = self.outages.current.take_if(|outage| is_done && outage.facts.to_ms.is_some())
        else {
            return false;
        };
        let stream_drops = self.stream_drops();
        let facts = &outage.facts;
        let to_ms = facts.to_ms.unwrap_or(facts.from_ms);
        let devices = outage.spans.iter().map(|((device, run), (first, last))| {
            json!({"device": &**device, "run": run, "first": first, "last": last})
        });
        let receipt = json!({
            "upstream": &*self.config.name,
            "number": facts.number,
            "from": Timestamp::from_millis(facts.from_ms).to_string(),
            "to": Timestamp::from_millis(to_ms).to_string(),
            "drained": now.wall.to_string(),
            "duration_s": to_ms.saturating_sub(facts.from_ms).max(0) / 1_000,
            "time_quality": if now.trust == ClockTrust::Synced { "good" } else { "unsynced" },
            "why": facts.why,
            "stored": facts.stored,
            "sent": facts.sent,
            "dropped": outage.dropped(&self.streams.drops()),
            "duplicates_possible": facts.duplicates,
            "interruptions": facts.interruptions,
            "restarts": facts.restarts,
            "devices": devices.collect::<Vec<_>>(),
        });
        let mut receipt = receipt;
        let streams: serde_json::Map<String, serde_json::Value> = outage
            .by_stream(&stream_drops)
            .into_iter()
            .map(|(name, (sent, dropped))| (name, json!({"sent": sent, "dropped": dropped})))
            .collect();
        if !streams.is_empty()
            && let Some(fields) = receipt.as_object_mut()
        {
            fields.insert("streams".to_owned(), streams.into());
        }
        let receipt = receipt.to_string();
        let topic: Arc<str> = Arc::from(format!("{}/receipt", self.config.base));
        self.slots.set(&topic, Bytes::from(receipt.clone()));
        self.outages.last = Some(Arc::from(receipt));
        self.out.push(Output::Keep { name: notes::OUTAGE, content: Vec::new() });
        true
    }

    /// Notes the outage beside the outbox: at its begin, each minute, and at the end of the process.
    pub(super) fn keep_outage(&mut self, now: Now, at_once: bool) {
        let drops = self.streams.drops();
        let stream_drops = self.stream_drops();
        if let Some(outage) = &mut self.outages.current
            && (at_once || now.mono >= outage.note_at)
        {
            outage.note_at = now.mono + NOTE_EVERY;
            self.out.push(Output::Keep { name: notes::OUTAGE, content: outage.note(&drops, &stream_drops) });
        }
    }

    pub(super) fn outage_deadline(&self) -> Option<Mono> {
        self.outages.current.as_ref().map(|outage| outage.note_at)
    }

    /// Goes on with the outage that was under way when the last process ended.
    pub(super) fn restore_outage(&mut self, now: Now, note: &[u8]) {
        let Ok(mut facts) = serde_json::from_slice::<Facts>(note) else { return };
        if !self.config.receipts {
            return;
        }
        facts.to_ms = None;
        facts.restarts += 1;
        facts.duplicates = None;
        let spans = std::mem::take(&mut facts.spans).into_iter().take(SPANS_MAX);
        let spans =
            spans.map(|(device, run, first, last)| ((Arc::from(device), run), (first, last))).collect();
        let stream_drops_before = self.stream_drops().into_iter().map(|(_, lost)| lost).collect();
        self.outages.current = Some(Outage {
            facts,
            spans,
            drops_before: self.streams.drops(),
            stream_drops_before,
            note_at: now.mono + NOTE_EVERY,
        });
    }
}
