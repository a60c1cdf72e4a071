//! Messages from clients and from the gateway itself: alias, topic, access, receive window, then retained store,
//! subscribers and outboxes. The acknowledgement is `flow`'s.

use std::sync::Arc;

use tracing::warn;

use super::access::Access;
use super::config::PublishRate;
use super::flow::{Exchange, Publisher};
use super::forward::fingerprint;
use super::journal::{Class, Waiter};
use super::memory::Shedding;
use super::message::{Kept, Outgoing};
use super::rate::Pace;
use super::route::{Memo, Route};
use super::session::{Incoming, SessionIdx};
use super::{Broker, ConnId, Cx, Event, Sink, count};
use crate::message::{Message, OutboxId, SafeToken, Ticket};
use crate::mqtt::{
    AckKind, Packet, PacketId, Properties, PropertiesBuf, PropertyId, Publish, QoS, ReasonCode, Version,
};
use crate::state::Key;
use crate::time::Mono;

/// QoS 2 exchanges that a 3.x client may have open: those versions have no Receive Maximum, and holding such a
/// client's reads would hold its PUBRELs too. 64 KiB of memory; more: closed.
const QOS2_OPEN_MAX: usize = 4_096;

/// Room for so many identifiers isn't given back between one batch and the next; 1.5 KiB.
const INCOMING_KEPT: usize = 32;

impl Broker {
    /// A client's PUBLISH; `again`: to the topic of its last one, which is left out.
    pub(super) fn publish_in<S: Sink>(
        &mut self,
        conn: ConnId,
        publish: &Publish<'_>,
        again: bool,
        cx: &mut Cx<'_, S>,
    ) {
        self.stats.publish_received += 1;
        self.stats.publish_bytes_received += count(publish.payload.len());
        let Some(c) = self.conns.get(conn) else { return };
        let Some(idx) = c.session else { return };
        if c.told.qos_max.is_some_and(|max| publish.qos > max) {
            // 3.2.2-11
            return self.fail(conn, ReasonCode::QoSNotSupported, cx);
        }
        if publish.retain && c.told.no_retain {
            // 3.2.2-14
            return self.fail(conn, ReasonCode::RetainNotSupported, cx);
        }
        let topic_len =
            c.memo.as_ref().filter(|_| again).map_or(publish.topic.len(), |memo| memo.topic.len());
        if !self.keeps_pace(conn, topic_len.saturating_add(publish.payload.len()), cx) {
            return;
        }
        let mut own = PropertiesBuf::new();
        let mut properties = publish.properties;
        let mut alias = None;
        if !properties.is_empty() {
            if properties.number(PropertyId::SubscriptionIdentifier).is_some() {
                // Only the server's copies carry it (3.3.4-6).
                let why = "a subscription identifier in a client's PUBLISH";
                return self.fail_for(conn, ReasonCode::ProtocolError, why, cx);
            }
            alias = properties.number(PropertyId::TopicAlias);
            if alias.is_some() {
                // The alias is between this client and us (3.3.2.3.4).
                own.push_forwardable(properties);
                properties = own.as_properties();
            }
        }
        let known = self.conns.get_mut(conn).and_then(|c| c.memo.take());
        let found = match known {
            Some(memo) if again => Ok(self.routes.resolve_again(memo, &self.sessions)),
            memo => self.topic_of(conn, publish.topic, alias, memo),
        };
        let mut memo = match found {
            Ok(memo) => memo,
            Err(reason) => return self.fail(conn, reason, cx),
        };
        if memo.may_write.is_none() {
            // On the topic that was meant, behind the alias.
            memo.may_write = Some(self.sessions.may_write(idx, &memo.topic));
        }
        self.accept(conn, idx, publish, properties, &memo, cx);
        if let Some(c) = self.conns.get_mut(conn)
            && memo.route.access != Access::TopicNameInvalid
        {
            c.memo = Some(memo);
        }
    }

    /// Whether a client may go on publishing; if it is too fast, it is not read from for a while, or closed.
    fn keeps_pace<S: Sink>(&mut self, conn: ConnId, bytes: usize, cx: &mut Cx<'_, S>) -> bool {
        let limits = self.config.publish_rate;
        if limits == PublishRate::default() {
            return true;
        }
        let Some(c) = self.conns.get_mut(conn) else { return false };
        match c.rate.take(cx.now, bytes, limits) {
            Pace::Fine => true,
            Pace::RestUntil(at) => {
                c.pause.rate = Some(at);
                self.stats.publishers_held += 1;
                if let Some(more) = self.throttles.rates.is_due(cx.now) {
                    warn!(
                        conn = conn.0,
                        peer = &*c.peer,
                        more,
                        "a client publishes too fast and has to wait"
                    );
                }
                self.arm_conn(conn);
                self.tell_pause(conn);
                true
            }
            Pace::TooFast => {
                warn!(conn = conn.0, peer = &*c.peer, "client closed: it published too fast for too long");
                self.stats.publishers_closed += 1;
                self.close(conn, Some(ReasonCode::MessageRateTooHigh), cx);
                false
            }
        }
    }

    /// The topic that a PUBLISH names, by itself or by an alias, which it may set (3.3.2.3.4).
    fn topic_of(
        &mut self,
        conn: ConnId,
        topic: &str,
        alias: Option<u32>,
        memo: Option<Memo>,
    ) -> Result<Memo, ReasonCode> {
        let Some(c) = self.conns.get_mut(conn) else { return Err(ReasonCode::UnspecifiedError) };
        let Some(alias) = alias else {
            if topic.is_empty() {
                return Err(ReasonCode::ProtocolError);
            }
            return Ok(self.routes.resolve(memo, topic, &self.sessions));
        };
        let alias = usize::try_from(alias).unwrap_or(usize::MAX);
        if alias == 0 || alias > usize::from(c.told.topic_alias_max) {
            return Err(ReasonCode::TopicAliasInvalid);
        }
        if topic.is_empty() {
            let known = c.aliases.get(alias - 1).and_then(Clone::clone);
            let known = known.ok_or(ReasonCode::ProtocolError)?;
            return Ok(self.routes.resolve(memo, &known, &self.sessions));
        }
        let memo = self.routes.resolve(memo, topic, &self.sessions);
        if memo.route.access != Access::TopicNameInvalid {
            if c.aliases.len() < alias {
                c.aliases.resize(alias, None);
            }
            if let Some(slot) = c.aliases.get_mut(alias - 1) {
                *slot = Some(Arc::clone(&memo.topic));
            }
        }
        Ok(memo)
    }

    fn accept<S: Sink>(
        &mut self,
        conn: ConnId,
        idx: SessionIdx,
        publish: &Publish<'_>,
        properties: Properties<'_>,
        memo: &Memo,
        cx: &mut Cx<'_, S>,
    ) {
        if let Some(id) = publish.packet_id {
            let open = if publish.qos == QoS::ExactlyOnce { self.incoming(idx, id) } else { None };
            let on_disk = open.is_some_and(|incoming| incoming.unforwarded)
                && self.take_up(idx, (publish, properties), memo, cx.now);
            let known = Incoming { seen: true, on_disk, ..Incoming::default() };
            if !self.admit(conn, idx, (publish.qos, id), (open.is_some(), known), cx) {
                return;
            }
        }
        if let Some(reason) = memo.route.access.refusal() {
            return self.deny(conn, idx, publish, reason, cx);
        }
        if memo.may_write != Some(true) {
            return self.deny(conn, idx, publish, ReasonCode::NotAuthorized, cx);
        }
        let by = publish.packet_id.and_then(|packet_id| {
            let serial = self.sessions.get(idx)?.serial;
            Some(Publisher::Client(Exchange { session: idx, serial, packet_id, qos: publish.qos }))
        });
        let mut message = Outgoing::borrowed(
            &memo.topic,
            publish.payload,
            properties,
            (publish.qos, publish.retain),
            (Some(idx), Some(conn)),
            cx.now,
        );
        let token = self.publish(&mut message, &memo.route, by, cx);
        if let Some(id) = publish.packet_id {
            // Without a token nothing of it is on disk, and no outbox has it: nobody will ask which message it was.
            if publish.qos == QoS::ExactlyOnce
                && token.is_some()
                && let Some(incoming) = self.sessions.get_mut(idx).and_then(|s| s.incoming.get_mut(&id))
            {
                incoming.token = token;
                incoming.fingerprint = Some(fingerprint(&memo.topic, publish.payload));
            }
            let is_v5 = self.conns.get(conn).is_some_and(|c| c.version == Version::V5);
            let reason = if message.not_retained && is_v5 && publish.qos == QoS::AtLeastOnce {
                // Whoever sends it again does so with QoS 1, which may come twice; a QoS 2 message must not.
                ReasonCode::QuotaExceeded
            } else if memo.route.is_deaf() {
                ReasonCode::NoMatchingSubscribers
            } else {
                ReasonCode::Success
            };
            self.acknowledge(conn, ack_kind(publish.qos), id, token, reason, cx);
        }
    }

    /// What is open under a client's QoS 2 identifier.
    fn incoming(&self, idx: SessionIdx, id: PacketId) -> Option<Incoming> {
        self.sessions.get(idx)?.incoming.get(&id).copied()
    }

    /// Whether a message with QoS 1 or 2 is new and within the client's window. If not, all is done already.
    fn admit<S: Sink>(
        &mut self,
        conn: ConnId,
        idx: SessionIdx,
        (qos, id): (QoS, PacketId),
        (may_be_open, known): (bool, Incoming),
        cx: &mut Cx<'_, S>,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(idx) else { return false };
        let Some(c) = self.conns.get(conn) else { return false };
        let receive_max = usize::from(c.told.receive_max);
        if may_be_open && let Some(incoming) = session.incoming.get_mut(&id) {
            // Sent again before PUBREL: the message is known (4.3.3-10), only the answer was lost.
            incoming.seen = true;
            let token = incoming.token;
            if c.pubrecs.iter().all(|pending| pending.packet_id != id) {
                self.acknowledge(conn, AckKind::PubRec, id, token, ReasonCode::Success, cx);
            }
            return false;
        }
        if c.version == Version::V5 {
            let is_seen = |incoming: &&Incoming| incoming.seen;
            let may_be_too_many = c.pubacks.len() + session.incoming.len() >= receive_max;
            if may_be_too_many
                && c.pubacks.len() + session.incoming.values().filter(is_seen).count() >= receive_max
            {
                self.fail(conn, ReasonCode::ReceiveMaximumExceeded, cx);
                return false;
            }
            if session.incoming.len() >= receive_max.saturating_mul(2) {
                // What the client did not take up after a reconnect, it has forgotten.
                let serial = session.serial;
                for (id, incoming) in session.incoming.extract_if(|_, incoming| !incoming.seen) {
                    self.journal.forget(Key::Incoming(serial, id), incoming.on_disk, Class::Soon, None);
                }
            }
        } else if qos == QoS::ExactlyOnce && session.incoming.len() >= QOS2_OPEN_MAX {
            self.fail(conn, ReasonCode::ReceiveMaximumExceeded, cx);
            return false;
        }
        if qos == QoS::ExactlyOnce {
            session.incoming.insert(id, known);
        }
        true
    }

    /// Refuses a message: 5.0 is told; 3.x, which can't be told, gets its acknowledgement.
    fn deny<S: Sink>(
        &mut self,
        conn: ConnId,
        idx: SessionIdx,
        publish: &Publish<'_>,
        reason: ReasonCode,
        cx: &mut Cx<'_, S>,
    ) {
        self.stats.publish_denied += 1;
        let version = self.conns.get(conn).map_or(Version::V5, |c| c.version);
        if version != Version::V5 && reason == ReasonCode::TopicNameInvalid {
            return self.fail(conn, reason, cx);
        }
        let Some(id) = publish.packet_id else { return };
        let reason = if version == Version::V5 { reason } else { ReasonCode::Success };
        if reason.is_error()
            && let Some(session) = self.sessions.get_mut(idx)
        {
            // A PUBREC with a failure ends the exchange.
            session.incoming.remove(&id);
        }
        self.acknowledge(conn, ack_kind(publish.qos), id, None, reason, cx);
    }

    /// A client's PUBREL: its packet identifier is free again (4.3.3-11).
    pub(super) fn release_in<S: Sink>(&mut self, conn: ConnId, id: PacketId, cx: &mut Cx<'_, S>) {
        let idx = self.conns.get(conn).and_then(|c| c.session);
        let Some(idx) = idx else { return };
        let visitor = if self.is_kept(idx) { self.visitor(idx) } else { None };
        let Some(session) = self.sessions.get_mut(idx) else { return };
        let removed = session.incoming.remove(&id);
        let reason = match removed {
            Some(_) => ReasonCode::Success,
            None => ReasonCode::PacketIdentifierNotFound,
        };
        if session.incoming.is_empty() && session.incoming.capacity() > INCOMING_KEPT {
            session.incoming.shrink_to_fit();
        }
        let key = Key::Incoming(session.serial, id);
        let Some(visitor) = visitor else { return self.complete(conn, id, reason, cx) };
        // Once the client has PUBCOMP it may use the identifier for another message.
        let waiter = Waiter::PubComp(visitor, id, reason);
        match removed {
            Some(incoming) => {
                let class = self.urgency(idx);
                self.journal.forget(key, incoming.on_disk, class, Some(waiter));
            }
            None => self.journal.when_safe(&key, waiter),
        }
    }

    pub(super) fn complete<S: Sink>(
        &mut self,
        conn: ConnId,
        id: PacketId,
        reason: ReasonCode,
        cx: &mut Cx<'_, S>,
    ) {
        self.acknowledge_with(conn, AckKind::PubComp, id, reason, cx);
    }

    /// A message of the gateway itself.
    pub(super) fn publish_local<S: Sink>(&mut self, message: Message, cx: &mut Cx<'_, S>) {
        let kept = Arc::new(Kept::new(message, cx.now));
        let memo = self.routes.resolve(self.local_memo.take(), &kept.message.topic, &self.sessions);
        let mut message = Outgoing::owned(&kept, None, cx.now);
        self.publish(&mut message, &memo.route, None, cx);
        self.local_memo = Some(memo);
    }

    /// A message from an upstream. It needs no rights: the map that let it in is the gateway's own config; but neither
    /// the gateway's own topics nor `$` topics are open to it.
    pub(super) fn publish_bridged<S: Sink>(
        &mut self,
        from: OutboxId,
        message: Message,
        ticket: Option<Ticket>,
        cx: &mut Cx<'_, S>,
    ) {
        let kept = Arc::new(Kept::new(message, cx.now));
        let memo = self.routes.resolve(self.local_memo.take(), &kept.message.topic, &self.sessions);
        let token = if memo.route.access == Access::Allowed {
            let mut message = Outgoing::owned(&kept, None, cx.now);
            message.origin = Some(from);
            let by = ticket.map(|ticket| Publisher::Upstream(from, ticket));
            self.publish(&mut message, &memo.route, by, cx)
        } else {
            self.stats.publish_denied += 1;
            None
        };
        // With a token the answer follows when it is settled.
        if let (Some(ticket), None) = (ticket, token) {
            self.events.push_back(Event::Accepted { from, ticket, safe: true });
        }
        self.local_memo = Some(memo);
    }

    /// Keeps, delivers and forwards a message. Gives the token that its acknowledgement must wait for, if
    /// somebody wants one and an outbox or the disk is concerned.
    pub(super) fn publish<S: Sink>(
        &mut self,
        message: &mut Outgoing<'_>,
        route: &Route,
        by: Option<Publisher>,
        cx: &mut Cx<'_, S>,
    ) -> Option<SafeToken> {
        message.by = by;
        if let Some(by) = by {
            self.keep_incoming(message, by);
        }
        if message.retain {
            self.retain(message, cx);
        }
        self.watch.note(message.topic, message.payload, (message.qos, message.retain), cx.now);
        self.distribute(message, route, cx);
        if route.command {
            self.hand_over_command(message, cx.now);
        }
        self.forward(message, route, by)
    }

    fn retain<S: Sink>(&mut self, message: &mut Outgoing<'_>, cx: &Cx<'_, S>) {
        let changed = if message.payload.is_empty() {
            // It clears, and is not kept itself (3.3.1-6, -7).
            self.retained.clear(message.topic)
        } else {
            self.keep_as_retained(message, cx.now);
            true
        };
        self.keep_retained(message, changed);
    }

    /// Keeps a message as the retained one of its topic, or at least not the one before.
    fn keep_as_retained(&mut self, message: &mut Outgoing<'_>, now: Mono) {
        let publisher = message.publisher.and_then(|idx| self.sessions.get(idx));
        let user = publisher.and_then(|session| session.user_name.clone());
        // The gateway's own are few, and bounded by its config.
        let refusal = message.publisher.and_then(|_| self.retained_refusal(message, user.as_deref()));
        if refusal.is_some() {
            self.retained.clear(message.topic);
        } else if self.retained.set(Arc::clone(message.kept()), now) {
            if let Some(user) = user {
                self.retained.own(message.topic, user);
            }
            return;
        }
        self.stats.retained_refused += 1;
        message.not_retained = true;
        if let Some(more) = self.throttles.retained.is_due(now) {
            let reason = refusal.unwrap_or("there are too many");
            warn!(topic = &**message.topic, reason, more, "a message was not retained");
        }
    }

    /// Why a client's message can't be retained, whatever room there is.
    fn retained_refusal(&mut self, message: &Outgoing<'_>, user: Option<&str>) -> Option<&'static str> {
        let config = &self.config;
        let before = self.retained.get(message.topic).is_some();
        if message.bytes() > config.retained_message_bytes_max {
            return Some("it is too large");
        }
        if !before && self.stats.shedding >= Shedding::Growth {
            self.stats.refused_for_memory += 1;
            return Some("memory runs short");
        }
        let owned = user.map_or(0, |user| self.retained.owned_by(user));
        (!before && owned >= config.retained_per_user_max).then_some("its user has too many")
    }

    /// Everything that a connected client may send.
    pub(super) fn packet_in<S: Sink>(&mut self, conn: ConnId, packet: &Packet<'_>, cx: &mut Cx<'_, S>) {
        match packet {
            Packet::Publish(publish) => self.publish_in(conn, publish, false, cx),
            Packet::PubAck(ack) => {
                self.answer_in(conn, AckKind::PubAck, ack.packet_id, ack.reason.is_error(), cx)
            }
            Packet::PubRec(ack) => {
                self.answer_in(conn, AckKind::PubRec, ack.packet_id, ack.reason.is_error(), cx)
            }
            Packet::PubComp(ack) => {
                self.answer_in(conn, AckKind::PubComp, ack.packet_id, ack.reason.is_error(), cx)
            }
            Packet::PubRel(ack) => self.release_in(conn, ack.packet_id, cx),
            Packet::Subscribe(subscribe) => self.subscribe_in(conn, subscribe, cx),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe_in(conn, unsubscribe, cx),
            Packet::PingReq => self.send(conn, &Packet::PingResp, cx),
            Packet::Disconnect(disconnect) => self.disconnect_in(conn, disconnect, cx),
            // A second CONNECT (3.1.0-2), AUTH without an authentication method (4.12.0-6), and what only
            // servers send.
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Auth(_) => self.fail(conn, ReasonCode::ProtocolError, cx),
        }
    }
}

const fn ack_kind(qos: QoS) -> AckKind {
    match qos {
        QoS::ExactlyOnce => AckKind::PubRec,
        _ => AckKind::PubAck,
    }
}
