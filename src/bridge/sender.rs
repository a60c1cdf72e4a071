//! What may be sent now, and how it looks: slots before records, records in order, within what upstream allows.

use std::time::Duration;

use super::alias::Alias;
use super::backoff::doubled;
use super::queue::Queue;
use super::streams::Place;
use super::window::Due;
use super::words::Notice;
use super::{Bridge, mapping};
use crate::mqtt::{self, PacketId, Properties, PropertiesBuf, Publish, QoS, Version, topic};
use crate::payload;
use crate::time::{Mono, Now};

/// The first and the longest wait after upstream said that our quota is used up.
const QUOTA_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// QoS 0 has no acknowledgements to pace it: after so many records or bytes a PINGRESP must show that upstream
/// still takes them. It is also the most that a cut can take of them, and what shares the last one's message.
const FENCE_RECORDS: usize = 100;
const FENCE_BYTES: usize = 128 * 1024;
/// Out of turn, no record is sent so many turns after one that is not acknowledged. Between these all gaps lie that
/// upstream leaves by acknowledging in another order; should the store have no room for them, no more comes twice.
const LAG_MAX: u64 = 4_096;
/// Refusals that are told, by topic and reason, per connection; all are counted.
const TOLD_REFUSED_MAX: usize = 64;

/// Upstream said 0x97: it wants to be left alone for a while.
#[derive(Debug, Default)]
pub(super) struct Quota {
    times: u32,
    until: Option<Mono>,
}

impl Quota {
    /// Refused; what was sent together with it is refused together, and counts once.
    pub(super) fn refused(&mut self, now: Mono) {
        if self.until.is_none() {
            self.until = Some(now + doubled(QUOTA_WAIT.0, self.times, QUOTA_WAIT.1));
            self.times = self.times.saturating_add(1);
        }
    }

    /// Taken: if it was the first after a wait, the wait is over for all.
    pub(super) fn accepted(&mut self) {
        if self.until.is_none() {
            self.times = 0;
        }
    }

    fn holds(&mut self, now: Mono) -> bool {
        self.until = self.until.filter(|&until| now < until);
        self.until.is_some()
    }

    /// After a wait one message alone asks whether the others may follow, so that none overtakes it.
    const fn probes(&self) -> bool {
        self.times > 0
    }

    pub(super) const fn deadline(&self) -> Option<Mono> {
        self.until
    }
}

/// Paces QoS 0.
#[derive(Debug, Default)]
pub(super) struct Fence {
    records: usize,
    bytes: usize,
}

impl Fence {
    fn sent(&mut self, records: usize, bytes: usize) {
        self.records += records;
        self.bytes += bytes;
    }

    fn is_shut(&self) -> bool {
        self.records >= FENCE_RECORDS || self.bytes >= FENCE_BYTES
    }

    /// PINGRESP came, or the connection is gone.
    pub(super) fn open(&mut self) {
        *self = Self::default();
    }
}

/// A message as it is sent.
struct Outgoing<'a> {
    topic: &'a str,
    retain: bool,
    dup: bool,
    payload: &'a [u8],
    properties: Properties<'a>,
    /// At QoS 1; without one it goes at QoS 0.
    id: Option<PacketId>,
    /// Whether its topic comes again and again, and is worth an alias.
    recurs: bool,
}

/// Why a message can't be sent to this upstream at all.
enum Unsendable {
    TooLarge,
    Refused(&'static str),
}

impl Bridge {
    /// Sends what may be sent.
    pub(super) fn pump(&mut self, now: Now) {
        if !self.link.is_online() {
            return;
        }
        self.batches.wake = None;
        let held = self.quota.holds(now.mono);
        let quiet = self.suspect.is_quiet(now.mono);
        if !held || self.stopping.is_some() {
            self.pump_slots(now);
        }
        if self.pause.holds() {
            self.drain.let_go();
            return;
        }
        if self.rests() {
            return;
        }
        while !held && !quiet && self.stopping.is_none() && self.may_send_record() {
            if self.fence.is_shut() {
                self.link.fence_ping(now, &mut self.out);
                return;
            }
            let Some(due) = self.next_record(now) else { return };
            self.send_record(now, due);
            // What is done at once (QoS 0, or can't be sent) leaves at once, and makes room.
            self.settle();
        }
    }

    /// Unacknowledged messages that upstream and config allow (5.0, 4.9), and that upstream is quick enough for.
    fn in_flight_max(&self) -> usize {
        let allowed = usize::from(self.config.inflight_max.min(self.link.limits().receive_max)).max(1);
        self.pace.window(allowed)
    }

    /// Whether what upstream says may lie unread for a millisecond, since nothing waits for it: a backlog drains, and
    /// enough is on its way.
    #[must_use]
    pub fn may_rest_reading(&self) -> bool {
        self.pace.may_lie(self.window.publishes_in_flight())
            && self.link.is_online()
            && self.stopping.is_none()
            && self.streams.queues().any(Queue::is_draining)
    }

    /// One place is kept for slots.
    fn records_max(&self) -> usize {
        (self.in_flight_max() - 1).max(1)
    }

    /// While a backlog drains, records go in groups: one write, one wake-up of upstream for many, not for each. It waits
    /// for a quarter of the window at most, and acknowledgements for the rest are on their way.
    fn rests(&self) -> bool {
        let (max, in_flight) = (self.records_max(), self.window.publishes_in_flight());
        self.streams.queues().any(Queue::is_draining) && in_flight > 0 && in_flight > max - max / 4
    }

    fn may_send_record(&self) -> bool {
        if self.renewing.is_some() {
            return false;
        }
        let max = if self.quota.probes() || self.suspect.alone() { 1 } else { self.records_max() };
        self.window.publishes_in_flight() < max && self.window.in_flight() < self.in_flight_max()
    }

    /// The first of the window that must be sent again, else the next of the queue. The window's span is bounded,
    /// not only its count: else one lost PUBACK would let any number behind it arrive twice after a restart.
    fn next_record(&mut self, now: Now) -> Option<Due> {
        if self.suspect.alone() {
            self.part_all();
        }
        let span_max = self.records_max() * self.batches.messages_max();
        loop {
            if let Some(due) = self.window.due() {
                return Some(due);
            }
            let room = self.window.span() < span_max && self.window.lag() < LAG_MAX;
            let full = self.window.bytes() >= self.config.memory_bytes_max / 2;
            if !room || full {
                if self.completes_oldest() {
                    continue;
                }
                return None;
            }
            let Some((stream, taken)) = self.next_taken(now) else {
                if self.completes_ripe(now) {
                    continue;
                }
                return None;
            };
            let (place, expired) = (Place { stream, no: taken.no }, self.is_expired(now, &taken));
            let join = if expired { None } else { self.joins(now, stream, &taken) };
            self.window.push(stream, taken);
            if expired {
                self.count_expired(place);
                self.finish(place, false);
                self.settle();
            } else if let Some(join) = join {
                self.gather(place, join);
            }
        }
    }

    fn send_record(&mut self, now: Now, due: Due) {
        let Some(mapped) = mapping::map(&self.config.maps, &due.message) else {
            // The map that led it here was taken out of the config since: not for this upstream any more.
            self.streams.queue(due.place.stream).drops.unmapped += 1;
            self.finish(due.place, false);
            return;
        };
        let left = self.seconds_left(now, &due.message, due.since);
        // What upstream may have had before is sent again whatever its age (5.0, 4.4-1).
        if left == Some(0) && !due.dup {
            self.count_expired(due.place);
            self.finish(due.place, false);
            return;
        }
        let aged = left.and_then(|left| due.message.properties.as_properties().with_seconds_left(left));
        let qos = mapped.qos.min(self.link.limits().qos_max);
        let id = if qos == QoS::AtMostOnce { None } else { self.window.id_for(due.place) };
        let records = self.note_sending(&due);
        let forms = self.config.forms.clone();
        let encoded = due.message.reading.as_ref().map(|reading| {
            let form = mapped.form.as_ref().unwrap_or_else(|| forms.form(&reading.device));
            if mapped.arrays {
                return (self.encode_all(now, due.place), form.properties());
            }
            let time = payload::sent_time(reading, self.config.boot, now);
            (forms.encode(mapped.form.as_ref(), reading, time), form.properties())
        });
        let (payload, properties) = match &encoded {
            Some((payload, properties)) => (payload, *properties),
            None => (&due.message.payload, &due.message.properties),
        };
        let outgoing = Outgoing {
            topic: &mapped.topic,
            retain: mapped.retain && self.may_retain(&due, mapped.high),
            dup: due.dup && id.is_some(),
            payload,
            properties: aged.as_ref().unwrap_or(properties).as_properties(),
            id,
            recurs: true,
        };
        match self.write(now, &outgoing) {
            Ok(bytes) if id.is_some() => {
                self.counts.sent(mapped.map, if outgoing.dup { 0 } else { records }, bytes);
                self.resent += if outgoing.dup { u64::try_from(records).unwrap_or(0) } else { 0 };
                self.window.sent(due.place, now.mono);
            }
            Ok(bytes) => {
                self.counts.sent(mapped.map, records, bytes);
                self.fence.sent(records, bytes);
                self.deliver(due.place);
            }
            // Fewer in a message may do; and a single one that doesn't is found.
            Err(_) if self.window.is_group(due.place) => self.window.send_singly(due.place),
            Err(Unsendable::TooLarge) => {
                self.streams.queue(due.place.stream).drops.too_large += 1;
                self.counts.refused(mapped.map);
                self.lay_aside(now, due.place, "larger than upstream accepts");
                self.finish(due.place, false);
            }
            Err(Unsendable::Refused(words)) => self.refuse(now, due.place, words),
        }
    }

    /// Slots go one at a time and in a place of their own, so that neither they nor the records starve.
    fn pump_slots(&mut self, now: Now) {
        while (self.window.slots_in_flight() == 0 || self.stopping.is_some())
            && self.window.in_flight() < self.in_flight_max()
        {
            let Some(slot) = self.slots.next() else { return };
            let farewell = self.stopping.is_some();
            if farewell && slot.topic != self.status_topic {
                return;
            }
            let (key, payload) = (slot.key(), slot.payload.clone());
            let topic = mapping::own_topic(&self.config.maps, &slot.topic);
            let unacknowledged = self.link.limits().qos_max == QoS::AtMostOnce;
            let id = if unacknowledged { None } else { self.window.free_id() };
            // The others go once in a connection.
            let recurs = slot.topic.strip_prefix(&*self.config.base) == Some("/health");
            let properties = Properties::EMPTY;
            let outgoing = Outgoing {
                topic: &topic,
                retain: true,
                dup: false,
                payload: &payload,
                properties,
                id,
                recurs,
            };
            let written = self.write(now, &outgoing);
            self.slots.done(key);
            match (written, id) {
                (Ok(_), Some(id)) => self.window.slot_sent(id, key, now.mono),
                (Ok(_), None) => {}
                (Err(Unsendable::TooLarge), _) => self.tell_refused(topic, "larger than upstream accepts"),
                (Err(Unsendable::Refused(words)), _) => self.tell_refused(topic, words),
            }
            if farewell {
                self.stop_sent(id);
            }
        }
    }

    /// Writes a PUBLISH; how many bytes it took.
    fn write(&mut self, now: Now, outgoing: &Outgoing<'_>) -> Result<usize, Unsendable> {
        topic::check_name(outgoing.topic).map_err(|_| Unsendable::Refused("topic name invalid"))?;
        let alias = if outgoing.recurs { self.aliases.get(outgoing.topic) } else { None };
        match self.write_with(now, outgoing, alias) {
            // Three bytes less may do.
            Err(Unsendable::TooLarge) if alias.is_some() => self.write_with(now, outgoing, None),
            result => result,
        }
    }

    fn write_with(
        &mut self,
        now: Now,
        outgoing: &Outgoing<'_>,
        alias: Option<Alias>,
    ) -> Result<usize, Unsendable> {
        let version = self.config.version;
        let mut own = PropertiesBuf::new();
        let (topic, properties) = match alias {
            Some(alias) => alias.name(outgoing.topic, outgoing.properties, &mut own),
            None if version == Version::V5 => (outgoing.topic, outgoing.properties),
            None => (outgoing.topic, Properties::EMPTY),
        };
        let publish = Publish {
            dup: outgoing.dup,
            qos: if outgoing.id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce },
            // 5.0, 3.2.2-14: RETAIN only where it is available.
            retain: outgoing.retain && self.link.limits().retain,
            topic,
            packet_id: outgoing.id,
            properties,
            payload: outgoing.payload,
        };
        let before = self.out.tx.len();
        let layout =
            mqtt::encode::publish(&publish, version, &mut self.out.tx).map_err(|_| Unsendable::TooLarge)?;
        // 5.0, 3.2.2-15: nothing larger than the upstream's maximum.
        if layout.len > self.link.limits().packet_bytes_max {
            self.out.tx.truncate(before);
            return Err(Unsendable::TooLarge);
        }
        if let Some(Alias::New(alias)) = alias {
            self.aliases.set(outgoing.topic, alias);
        }
        self.link.wrote(now);
        Ok(layout.len)
    }

    /// Upstream has a record, and all that shared its message.
    pub(super) fn deliver(&mut self, first: Place) {
        for place in self.window.part(first) {
            self.deliver_one(place);
        }
        self.deliver_one(first);
    }

    fn deliver_one(&mut self, place: Place) {
        self.delivered += 1;
        self.outage_delivered(place);
        self.finish(place, true);
    }

    /// A record is done, and its publisher may be told.
    pub(super) fn finish(&mut self, place: Place, delivered: bool) {
        self.streams.queue(place.stream).release(place.no, &mut self.out);
        self.window.done(place, delivered);
    }

    /// Upstream will never take this one. The others must not wait for it.
    pub(super) fn refuse(&mut self, now: Now, place: Place, words: &'static str) {
        self.streams.queue(place.stream).drops.refused += 1;
        if let Some(map) = self.map_of(place) {
            self.counts.refused(map);
        }
        self.lay_aside(now, place, words);
        self.finish(place, false);
    }

    /// A record was too old when its turn came.
    fn count_expired(&mut self, place: Place) {
        self.streams.queue(place.stream).drops.expired += 1;
        if let Some(map) = self.map_of(place) {
            self.counts.expired(map);
        }
    }

    /// The map by which a record of the window goes out.
    fn map_of(&self, place: Place) -> Option<usize> {
        mapping::place(&self.config.maps, self.window.topic(place)?)
    }

    /// Keeps a record that is given up for people to see.
    fn lay_aside(&mut self, now: Now, place: Place, reason: &'static str) {
        let Some(message) = self.window.message(place) else { return };
        let topic = mapping::own_topic(&self.config.maps, &message.topic);
        self.tell_refused(topic.clone(), reason);
        self.bury(now, topic, reason, &message);
    }

    /// Tells it once per topic and reason while online, for a bounded number of them.
    pub(super) fn tell_refused(&mut self, topic: String, reason: &'static str) {
        let told = self.told_refused.iter().any(|(t, r)| *t == topic && *r == reason);
        if !told && self.told_refused.len() < TOLD_REFUSED_MAX {
            self.told_refused.push((topic.clone(), reason));
            self.out.notice(Notice::MessageRefused { topic, reason });
        }
    }
}
