//! What comes from upstream: mapped, handed to the LAN, and acknowledged once it is safe there; QoS 2 exactly once for
//! as long as upstream keeps our session.
//!
//! ```text
//!  PUBLISH QoS 1 ──▶ Deliver ──▶ Accepted ──▶ PUBACK
//!  PUBLISH QoS 2 ──▶ Deliver ──▶ Accepted ──▶ PUBREC ──▶ PUBREL: forgotten, PUBCOMP
//!     └─ the same identifier before PUBREL: PUBREC again, nothing is delivered
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Bridge;
use super::link::{Event, Link};
use super::mapping::{self, Stray};
use super::outputs::Outputs;
use super::words::{Inward, Notice, Output};
use crate::message::{Message, Ticket};
use crate::mqtt::{
    Ack, Packet, PacketId, Properties, PropertiesBuf, Publish, QoS, ReasonCode, RetainHandling, Subscribe,
    SubscribeFilter, SubscribeOptions, Version,
};
use crate::time::{Mono, Now};

/// Messages that upstream may have unacknowledged (5.0, 3.1.2.11.3; before, it decides for itself). Each holds an
/// identifier here and what it weighs on its way to the LAN.
pub(super) const RECEIVE_MAX: u16 = 100;

/// Upstream keeps commands like anything else while we are away, and hands them over when the session is taken up: those
/// are late. They come without a break; so the first span of this length without any message from upstream is their end.
const KEPT_COMMANDS_QUIET: Duration = Duration::from_secs(1);

/// A stream of messages that never breaks doesn't keep commands out for longer than this.
const KEPT_COMMANDS_MAX: Duration = Duration::from_secs(10);

/// Filters in one SUBSCRIBE: brokers bound them (AWS takes eight).
const FILTERS_PER_PACKET: usize = 8;

/// The first identifier that stands for a SUBSCRIBE; the window takes those below. Maps are bounded far below what fits.
pub(super) const SUBSCRIBE_ID_FIRST: u16 = 0xFF00;

/// A PUBLISH from upstream, owned.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Arrived {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) properties: PropertiesBuf,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) id: Option<PacketId>,
}

impl Arrived {
    pub(super) fn new(publish: &Publish<'_>) -> Self {
        let mut properties = PropertiesBuf::new();
        properties.push_forwardable(publish.properties);
        Self {
            topic: publish.topic.to_owned(),
            payload: Bytes::copy_from_slice(publish.payload),
            properties,
            qos: publish.qos,
            retain: publish.retain,
            id: publish.packet_id,
        }
    }
}

/// An acknowledgement that is owed, in the order of arrival (4.6).
#[derive(Debug)]
struct Owed {
    id: PacketId,
    qos: QoS,
    /// Who must say that it is safe; `None` once it is.
    ticket: Option<Ticket>,
}

/// What is known of upstream's messages.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    last_ticket: u64,
    owed: VecDeque<Owed>,
    /// QoS 2 identifiers before PUBREL, over connections; with a ticket as long as the message isn't safe.
    open: HashMap<PacketId, Option<Ticket>>,
    /// Filters that SUBACK has not answered, by packet.
    asked: Vec<(PacketId, Vec<String>)>,
    asked_at: Mono,
    /// Filters that upstream refuses, and why; of this connection.
    pub(super) refused: Vec<(String, &'static str)>,
    pub(super) counts: Inward,
    /// While commands may be those that upstream has kept: since when the session is taken up, and when the last message
    /// came.
    catching_up: Option<(Mono, Mono)>,
}

impl Inbound {
    /// The connection is gone: upstream sends again what was not acknowledged.
    pub(super) fn link_down(&mut self) {
        self.owed.clear();
        self.asked.clear();
    }

    pub(super) fn link_up(&mut self, now: Mono, session_present: bool) {
        self.refused.clear();
        self.catching_up = session_present.then_some((now, now));
        if !session_present {
            self.open.clear();
        }
    }

    /// Upstream may be another one: its QoS 2 identifiers mean nothing to us.
    pub(super) fn forget_session(&mut self) {
        self.open.clear();
    }

    /// Whether a command that comes now may have been kept while we were away.
    fn may_be_old(&mut self, now: Mono) -> bool {
        let Some((since, last)) = self.catching_up else { return false };
        let over = now.since(last) >= KEPT_COMMANDS_QUIET || now.since(since) >= KEPT_COMMANDS_MAX;
        self.catching_up = (!over).then_some((since, now));
        !over
    }

    /// When SUBACK is overdue.
    pub(super) fn suback_due(&self, patience: Duration) -> Option<Mono> {
        (!self.asked.is_empty()).then(|| self.asked_at + patience)
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// Something is safe: its acknowledgement may go, and those behind it.
    fn accepted(&mut self, ticket: Ticket) {
        for open in self.open.values_mut() {
            if *open == Some(ticket) {
                *open = None;
            }
        }
        if let Some(owed) = self.owed.iter_mut().find(|owed| owed.ticket == Some(ticket)) {
            owed.ticket = None;
        }
    }

    fn is_owed(&self, ticket: Ticket) -> bool {
        self.owed.iter().any(|owed| owed.ticket == Some(ticket))
    }

    /// It will never be safe: if upstream sends it again, that is a new message.
    fn forget(&mut self, ticket: Ticket) {
        self.open.retain(|_, open| *open != Some(ticket));
    }

    fn acknowledge(&mut self, link: &mut Link, now: Now, out: &mut Outputs) {
        while self.owed.front().is_some_and(|owed| owed.ticket.is_none()) {
            let Some(owed) = self.owed.pop_front() else { return };
            let ack = ack(owed.id, ReasonCode::Success);
            let packet = if owed.qos == QoS::ExactlyOnce { Packet::PubRec(ack) } else { Packet::PubAck(ack) };
            link.send(now, packet, out);
        }
    }
}

const fn ack(packet_id: PacketId, reason: ReasonCode) -> Ack<'static> {
    Ack { packet_id, reason, properties: Properties::EMPTY }
}

impl Bridge {
    /// A PUBLISH came.
    pub(super) fn arrived(&mut self, now: Now, arrived: Arrived) {
        self.inbound.counts.received += 1;
        let may_be_old = self.inbound.may_be_old(now.mono);
        let Arrived { qos, retain, id, .. } = arrived;
        if let Some(id) = id.filter(|_| qos == QoS::ExactlyOnce)
            && let Some(ticket) = self.inbound.open.get(&id)
        {
            // The answer was lost, not the message (4.3.3).
            let ticket = *ticket;
            self.owe(now, id, qos, ticket);
            return;
        }
        if self.is_own_status(now, &arrived.topic, &arrived.payload) {
            if let Some(id) = id {
                if qos == QoS::ExactlyOnce {
                    self.inbound.open.insert(id, None);
                }
                self.owe(now, id, qos, None);
            }
            return;
        }
        let mapped = mapping::inward(&self.config.maps, &self.config.base, (&arrived.topic, qos, retain));
        let mapped = mapped.and_then(|mapped| {
            let is_old = may_be_old && mapping::is_command(&mapped.topic, &self.config.base);
            if is_old { Err(Stray::OldCommand) } else { Ok(mapped) }
        });
        let ticket = match mapped {
            Ok(mapped) => {
                let ticket = id.map(|_| self.inbound.ticket());
                self.inbound.counts.delivered += 1;
                self.counts.received(mapped.map, arrived.payload.len());
                let message = Message {
                    topic: Arc::from(mapped.topic),
                    payload: arrived.payload,
                    qos: mapped.qos,
                    retain: mapped.retain,
                    properties: arrived.properties,
                    reading: None,
                };
                self.out.push(Output::Deliver { message, ticket });
                ticket
            }
            Err(stray) => {
                self.stray(stray, arrived.topic);
                None
            }
        };
        let Some(id) = id else { return };
        if qos == QoS::ExactlyOnce {
            self.inbound.open.insert(id, ticket);
        }
        self.owe(now, id, qos, ticket);
    }

    /// A PUBLISH whose topic is none came: it goes nowhere, and is acknowledged so that it stops coming.
    pub(super) fn unusable(&mut self, now: Now, id: Option<PacketId>, qos: QoS) {
        self.inbound.counts.received += 1;
        self.stray(Stray::Unmapped, String::new());
        let Some(id) = id else { return };
        if qos == QoS::ExactlyOnce {
            self.inbound.open.insert(id, None);
        }
        self.owe(now, id, qos, None);
    }

    fn stray(&mut self, stray: Stray, topic: String) {
        let (count, reason) = match stray {
            Stray::Unmapped => (&mut self.inbound.counts.unmapped, "no map asks for this topic"),
            Stray::Closed => (&mut self.inbound.counts.closed, "only the gateway itself publishes there"),
            Stray::OldCommand => {
                (&mut self.inbound.counts.old_commands, "a command that was retained or kept may be old")
            }
        };
        *count += 1;
        if *count == 1 {
            self.out.notice(Notice::Stray { topic, reason });
        }
    }

    fn owe(&mut self, now: Now, id: PacketId, qos: QoS, ticket: Option<Ticket>) {
        self.inbound.owed.push_back(Owed { id, qos, ticket });
        self.inbound.acknowledge(&mut self.link, now, &mut self.out);
    }

    /// The LAN has answered.
    pub(super) fn accepted(&mut self, now: Now, ticket: Ticket, safe: bool, events: &mut Vec<Event>) {
        if safe {
            self.inbound.accepted(ticket);
            if self.link.is_online() {
                self.inbound.acknowledge(&mut self.link, now, &mut self.out);
            }
            return;
        }
        self.inbound.counts.not_kept += 1;
        let is_owed = self.inbound.is_owed(ticket);
        self.inbound.forget(ticket);
        if is_owed && self.link.is_online() {
            // What isn't kept is never acknowledged. Upstream sends it again on the next connection, and by the backoff
            // not at once.
            let words = "a message from upstream can't be kept".to_owned();
            self.link.give_up(now, words, &mut self.out, events);
        }
    }

    /// PUBREL: the identifier is free again (4.3.3).
    pub(super) fn released(&mut self, now: Now, id: PacketId) {
        let known = self.inbound.open.remove(&id).is_some();
        let unknown = self.config.version == Version::V5 && !known;
        let reason = if unknown { ReasonCode::PacketIdentifierNotFound } else { ReasonCode::Success };
        self.link.send(now, Packet::PubComp(ack(id, reason)), &mut self.out);
    }

    /// Asks for what the maps take in. With the session kept the subscriptions are there already, but the maps may have
    /// changed; then 5.0 sends no retained messages again for those that are.
    pub(super) fn subscribe(&mut self, now: Now, session_present: bool) {
        let is_v5 = self.config.version == Version::V5;
        let retain_handling =
            if is_v5 && session_present { RetainHandling::IfNew } else { RetainHandling::Always };
        let wanted = mapping::subscriptions(&self.config.maps);
        let ids = (SUBSCRIBE_ID_FIRST..=u16::MAX).filter_map(PacketId::new);
        for (filters, packet_id) in wanted.chunks(FILTERS_PER_PACKET).zip(ids) {
            let one = |(filter, qos): &'_ (String, QoS)| SubscribeOptions {
                qos: *qos,
                no_local: is_v5 && !filter.starts_with("$share/"),
                retain_as_published: is_v5,
                retain_handling,
            };
            let list =
                filters.iter().map(|wanted| SubscribeFilter { filter: &wanted.0, options: one(wanted) });
            let filters = list.collect();
            let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters };
            self.link.send(now, Packet::Subscribe(subscribe), &mut self.out);
        }
        let ids = (SUBSCRIBE_ID_FIRST..=u16::MAX).filter_map(PacketId::new);
        let names = |chunk: &[(String, QoS)]| chunk.iter().map(|(filter, _)| filter.clone()).collect();
        let asked = wanted.chunks(FILTERS_PER_PACKET).zip(ids).map(|(chunk, id)| (id, names(chunk)));
        self.inbound.asked = asked.collect();
        self.inbound.asked_at = now.mono;
    }

    /// SUBACK is overdue. What goes up still does, so the link stays.
    pub(super) fn miss_subacks(&mut self) {
        for (_, filters) in std::mem::take(&mut self.inbound.asked) {
            filters.into_iter().for_each(|filter| self.not_subscribed(filter, "no SUBACK came"));
        }
    }

    fn not_subscribed(&mut self, filter: String, reason: &'static str) {
        self.inbound.refused.push((filter.clone(), reason));
        self.out.notice(Notice::NotSubscribed { filter, reason });
    }

    /// SUBACK: what was refused is told, and the link stays for the rest.
    pub(super) fn subscribed(&mut self, id: PacketId, codes: &[u8]) {
        if self.watch_answered(id) {
            return;
        }
        let Some(at) = self.inbound.asked.iter().position(|(asked, _)| *asked == id) else { return };
        let (_, filters) = self.inbound.asked.swap_remove(at);
        let codes = codes.iter().copied().map(Some).chain(std::iter::repeat(None));
        for (filter, code) in filters.into_iter().zip(codes) {
            let reason = match code {
                Some(0..=2) => continue,
                Some(code) => ReasonCode::from_u8(code).map_or("an unknown reason", ReasonCode::words),
                None => "SUBACK has no answer for it",
            };
            self.not_subscribed(filter, reason);
        }
    }
}
