//! Messages to clients: at once, or from the session's queue as the client's window and buffer allow; and the
//! client's answers to them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::alias::name;
use super::connection::Connection;
use super::memory::Shedding;
use super::message::{Kept, Outgoing, publish_len};
use super::rare::Rare;
use super::route::{Grant, Group, Route};
use super::session::{Exchange, Inflight, Outbound, SessionIdx};
use super::timer::Owner;
use super::{Broker, ConnId, Cx, Delivery, Sink, count};
use crate::mqtt::decode::SHORT_ACK_BYTES;
use crate::mqtt::{Ack, AckKind, PacketId, Properties, PropertiesBuf, QoS, ReasonCode, Version, encode};
use crate::state::Key;

/// Retained messages that go to one client before others have their turn: each costs a few microseconds.
const RETAINED_AT_ONCE_MAX: usize = 250;

impl Broker {
    /// Hands a message to all whom its route names.
    pub(super) fn distribute<S: Sink>(
        &mut self,
        message: &mut Outgoing<'_>,
        route: &Route,
        cx: &mut Cx<'_, S>,
    ) {
        cx.sink.begin();
        for receiver in &route.receivers {
            if let Some(grant) = receiver.grant(message.publisher) {
                self.deliver(message, receiver.session, grant, cx);
            }
        }
        for group in &route.groups {
            if let Some((session, grant)) = self.pick_member(group) {
                self.deliver(message, *session, grant, cx);
            }
        }
    }

    /// The next member of a shared subscription, first among those that are connected.
    fn pick_member<'a>(&self, group: &'a Group) -> Option<&'a (SessionIdx, Grant)> {
        let members = &group.members;
        let start = group.next_turn();
        let is_connected =
            |member: &&(SessionIdx, Grant)| self.sessions.get(member.0).is_some_and(|s| s.conn.is_some());
        let connected = members.iter().cycle().skip(start).take(members.len()).find(is_connected);
        connected.or_else(|| members.get(start))
    }

    fn deliver<S: Sink>(
        &mut self,
        message: &mut Outgoing<'_>,
        idx: SessionIdx,
        grant: &Grant,
        cx: &mut Cx<'_, S>,
    ) {
        let qos = message.qos.min(grant.qos);
        let retain = message.retain && grant.retain_as_published;
        let Some(session) = self.sessions.get_mut(idx) else { return };
        if qos == QoS::AtMostOnce {
            // Nobody is promised a QoS 0 message while away (4.3.1).
            if let Some(conn) = session.conn {
                self.deliver_unacknowledged(message, conn, retain, &grant.identifiers, cx);
            }
            return;
        }
        let kept = Arc::clone(message.kept());
        let mut outbound = Outbound::new(kept, qos, retain, grant.identifiers.clone());
        self.keep_outbound(idx, &mut outbound, Some(message));
        let Some(session) = self.sessions.get(idx) else { return };
        // Within one `distribute`, deliveries share what the sink has encoded; what waits in the queue doesn't.
        if session.queue.is_empty()
            && session.walks.is_empty()
            && session.may_send(&outbound)
            && self.has_room(idx)
        {
            self.transmit(idx, outbound, cx);
        } else {
            self.enqueue(idx, outbound);
        }
    }

    fn deliver_unacknowledged<S: Sink>(
        &mut self,
        message: &Outgoing<'_>,
        conn: ConnId,
        retain: bool,
        identifiers: &PropertiesBuf,
        cx: &mut Cx<'_, S>,
    ) {
        // Nobody is promised a QoS 0 message before CONNACK.
        let Some(c) = self.conns.get_mut(conn).filter(|c| c.is_welcomed()) else { return };
        let version = c.version;
        let mut len = 0;
        if let Some(max) = c.packet_bytes_max {
            let properties =
                message.properties.as_bytes().len() + identifiers.as_properties().as_bytes().len();
            let (topic, payload) = (message.topic.len(), message.payload.len());
            len = publish_len(version, QoS::AtMostOnce, topic, properties, payload);
            if len > max {
                self.stats.dropped_too_large += 1;
                return;
            }
        }
        let mark = self.config.out_buffer_bytes_max;
        let is_short = self.stats.shedding >= Shedding::Growth;
        if c.full_since.is_some() && (is_short || cx.sink.buffered(conn) >= mark.saturating_mul(2)) {
            self.stats.dropped_queue_full += 1;
            return;
        }
        let mut own = std::mem::take(&mut self.own_scratch);
        let (topic, own_properties) = name(c, message.topic, identifiers, len, &mut own);
        let buffered = self.put(
            conn,
            &Delivery {
                version,
                dup: false,
                qos: QoS::AtMostOnce,
                retain,
                packet_id: None,
                topic,
                properties: message.properties,
                own_properties,
                payload: message.payload,
            },
            cx,
        );
        self.own_scratch = own;
        if buffered > mark {
            self.now_full(conn, cx.now);
            if let Some(from) = message.from {
                self.hold_publisher(from, conn);
            }
        }
    }

    /// Whether the session's client can be sent one more message that it must acknowledge.
    fn has_room(&self, idx: SessionIdx) -> bool {
        self.has_room_for(idx, 0)
    }

    /// Whether it can when so many others go before.
    fn has_room_for(&self, idx: SessionIdx, others: usize) -> bool {
        let Some(session) = self.sessions.get(idx) else { return false };
        let Some(c) = session.conn.and_then(|conn| self.conns.get(conn)) else { return false };
        c.is_welcomed() && c.full_since.is_none() && session.inflight.len().saturating_add(others) < c.window
    }

    /// Sends a message with QoS 1 or 2 for the first time. What the client can't take is dropped, and takes no
    /// place in its window (3.1.2-25).
    fn transmit<S: Sink>(&mut self, idx: SessionIdx, outbound: Outbound, cx: &mut Cx<'_, S>) {
        if outbound.kept.is_expired(cx.now) {
            self.stats.dropped_expired += 1;
            return self.forget_outbound(idx, outbound.mark);
        }
        if !self.fits(idx, &outbound) {
            self.stats.dropped_too_large += 1;
            return self.forget_outbound(idx, outbound.mark);
        }
        let mark = outbound.mark;
        let Some(session) = self.sessions.get_mut(idx) else { return };
        let Some(packet_id) = session.packet_id_for(mark) else { return };
        session.sent = mark.number;
        let conn = session.conn;
        if let Some(conn) = conn {
            self.write(conn, &outbound, packet_id, false, cx);
        }
        let Some(session) = self.sessions.get_mut(idx) else { return };
        let exchange = Exchange::Published(outbound);
        session.inflight.push_back(Inflight { packet_id, exchange, sent: true, mark });
    }

    fn fits(&self, idx: SessionIdx, outbound: &Outbound) -> bool {
        let session = self.sessions.get(idx);
        let Some(c) = session.and_then(|session| self.conns.get(session.conn?)) else { return true };
        c.packet_bytes_max.is_none_or(|max| outbound.packet_len(c.version) <= max)
    }

    fn write<S: Sink>(
        &mut self,
        conn: ConnId,
        outbound: &Outbound,
        packet_id: PacketId,
        dup: bool,
        cx: &mut Cx<'_, S>,
    ) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        let message = &outbound.kept.message;
        let version = c.version;
        let len = c.packet_bytes_max.map_or(0, |_| outbound.packet_len(version));
        let mut own = std::mem::take(&mut self.own_scratch);
        let (topic, own_properties) = name(c, &message.topic, &outbound.identifiers, len, &mut own);
        let aged = if version == Version::V5 { outbound.kept.aged_properties(cx.now) } else { None };
        let properties = aged.as_ref().unwrap_or(&message.properties).as_properties();
        let delivery = Delivery {
            version,
            dup,
            qos: outbound.qos,
            retain: outbound.retain,
            packet_id: Some(packet_id),
            topic,
            properties,
            own_properties,
            payload: &message.payload,
        };
        let buffered = self.put(conn, &delivery, cx);
        self.own_scratch = own;
        if buffered > self.config.out_buffer_bytes_max {
            self.now_full(conn, cx.now);
        }
    }

    /// Hands a PUBLISH to the sink and counts it. Returns the buffer's bytes from now on.
    fn put<S: Sink>(&mut self, conn: ConnId, delivery: &Delivery<'_>, cx: &mut Cx<'_, S>) -> usize {
        debug!(conn = conn.0, packet = %delivery.packet().describe(), "sent");
        let before = cx.sink.buffered(conn);
        let buffered = cx.sink.publish(conn, delivery);
        self.stats.packets_sent += 1;
        self.stats.publish_sent += 1;
        self.stats.publish_bytes_sent += count(delivery.payload.len());
        self.stats.bytes_sent += count(buffered.saturating_sub(before));
        buffered
    }

    /// Sends what waits, in order: what was under way before a reconnect, then the queue, then retained messages
    /// of new subscriptions; as far as window and buffer allow.
    pub(super) fn pump<S: Sink>(&mut self, idx: SessionIdx, cx: &mut Cx<'_, S>) {
        let Some(session) = self.sessions.get(idx).filter(|session| session.has_waiting()) else { return };
        let conn = session.conn;
        if !conn.and_then(|conn| self.conns.get(conn)).is_some_and(Connection::is_welcomed)
            || !self.resend(idx, cx)
        {
            return;
        }
        while self.has_room(idx) {
            let Some(session) = self.sessions.get(idx) else { return };
            if !session.queue.front().is_some_and(|outbound| session.may_send(outbound)) {
                break;
            }
            let Some(outbound) = self.dequeue(idx) else { break };
            // It may have waited while rights were taken away.
            if !self.sessions.may_read(idx, &outbound.kept.message.topic) {
                self.stats.dropped_revoked += 1;
                self.forget_outbound(idx, outbound.mark);
                continue;
            }
            cx.sink.begin();
            self.transmit(idx, outbound, cx);
        }
        self.walk_retained(idx, cx);
    }

    /// Sends again what was under way when the last connection broke (4.4.0-1), as far as the window allows.
    /// Tells whether nothing is left of it.
    fn resend<S: Sink>(&mut self, idx: SessionIdx, cx: &mut Cx<'_, S>) -> bool {
        loop {
            let Some(session) = self.sessions.get_mut(idx) else { return false };
            let Some(conn) = session.conn else { return false };
            if !session.may_resend {
                return true;
            }
            let open = session.open();
            let Some(at) = session.inflight.iter().position(|i| !i.sent && i.is_ready()) else {
                session.may_resend = session.inflight.iter().any(|inflight| !inflight.sent);
                return true;
            };
            let Some(c) = self.conns.get(conn) else { return false };
            let Some(inflight) = session.inflight.get_mut(at) else { return true };
            let packet_id = inflight.packet_id;
            let full = c.full_since.is_some();
            match &inflight.exchange {
                Exchange::Released => {
                    inflight.sent = true;
                    self.acknowledge_with(conn, AckKind::PubRel, packet_id, ReasonCode::Success, cx);
                }
                Exchange::Published(outbound) if !session.rights.may_read(&outbound.kept.message.topic) => {
                    self.stats.dropped_revoked += 1;
                    self.finish_exchange(idx, packet_id);
                }
                Exchange::Published(_) if full || open >= c.window => return false,
                Exchange::Published(outbound) => {
                    let kept = Arc::clone(&outbound.kept);
                    let identifiers = outbound.identifiers.clone();
                    let outbound = Outbound::new(kept, outbound.qos, outbound.retain, identifiers);
                    inflight.sent = true;
                    // Expired messages under way are completed all the same; too large ones can't be.
                    if self.fits(idx, &outbound) {
                        cx.sink.begin();
                        self.write(conn, &outbound, packet_id, true, cx);
                    } else {
                        self.stats.dropped_too_large += 1;
                        self.finish_exchange(idx, packet_id);
                    }
                }
            }
        }
    }

    /// Goes on with the retained messages that new subscriptions still have to get, some at a time.
    fn walk_retained<S: Sink>(&mut self, idx: SessionIdx, cx: &mut Cx<'_, S>) {
        for _ in 0..RETAINED_AT_ONCE_MAX {
            let Some(session) = self.sessions.get_mut(idx) else { return };
            let Some(conn) = session.conn else { return };
            let Some(walk) = session.walks.there().and_then(VecDeque::front_mut) else { return };
            let next = self.retained.next_match(&walk.filter, walk.after.as_deref(), cx.now);
            let Some(kept) = next.map(Arc::clone) else {
                session.walks.pop_front();
                if session.walks.is_empty() {
                    // Idle sessions are many, and few subscribe again.
                    session.walks = Rare::default();
                }
                continue;
            };
            if !session.rights.may_read(&kept.message.topic) {
                walk.after = Some(Arc::clone(&kept.message.topic));
                continue;
            }
            let qos = walk.qos.min(kept.message.qos);
            let identifiers = walk.identifiers.clone();
            let full = self.conns.get(conn).is_none_or(|c| c.full_since.is_some());
            let waits = self.sessions.get(idx).map_or(0, |session| session.queue.len());
            // With QoS 2, a persistent session's messages go to the disk first: as many as may be sent together.
            let goes_first_to_disk = qos == QoS::ExactlyOnce && self.is_kept(idx);
            let blocked = match qos {
                QoS::AtMostOnce => full,
                _ if goes_first_to_disk => !self.has_room_for(idx, waits),
                _ => waits > 0 || !self.has_room(idx),
            };
            if blocked {
                return;
            }
            if let Some(walk) = self.sessions.get_mut(idx).and_then(|session| session.walks.front_mut()) {
                walk.after = Some(Arc::clone(&kept.message.topic));
            }
            cx.sink.begin();
            if qos == QoS::AtMostOnce {
                self.deliver_retained_once(conn, &kept, &identifiers, cx);
            } else {
                // Sent because of a subscription: RETAIN 1 (3.3.1-8), whatever Retain As Published says.
                let mut outbound = Outbound::new(kept, qos, true, identifiers);
                self.keep_outbound(idx, &mut outbound, None);
                if goes_first_to_disk {
                    self.enqueue(idx, outbound);
                } else {
                    self.transmit(idx, outbound, cx);
                }
            }
        }
        if let Some(session) = self.sessions.get_mut(idx) {
            // The rest has its turn after the others.
            let soon = cx.now + Duration::from_nanos(1);
            self.timers.arm_no_later_than(&mut session.armed, Owner::Session(idx), soon);
        }
    }

    fn deliver_retained_once<S: Sink>(
        &mut self,
        conn: ConnId,
        kept: &Arc<Kept>,
        identifiers: &PropertiesBuf,
        cx: &mut Cx<'_, S>,
    ) {
        let aged = kept.aged_properties(cx.now);
        let mut message = Outgoing::owned(kept, None, cx.now);
        if let Some(aged) = &aged {
            message.properties = aged.as_properties();
        }
        self.deliver_unacknowledged(&message, conn, true, identifiers, cx);
    }

    /// PUBACK, PUBREC or PUBCOMP of a client for a message that it got.
    pub(super) fn answer_in<S: Sink>(
        &mut self,
        conn: ConnId,
        kind: AckKind,
        id: PacketId,
        is_failure: bool,
        cx: &mut Cx<'_, S>,
    ) {
        let Some(idx) = self.conns.get(conn).and_then(|c| c.session) else { return };
        let Some(session) = self.sessions.get_mut(idx) else { return };
        let at = session.inflight_at(id);
        match (kind, at.and_then(|at| session.inflight.get_mut(at))) {
            // Unknown: PUBREL with Packet Identifier not found lets the client forget it too (3.6.2.1).
            (AckKind::PubRec, None) if !is_failure => {
                self.acknowledge_with(conn, AckKind::PubRel, id, ReasonCode::PacketIdentifierNotFound, cx);
            }
            (_, None) => {}
            (AckKind::PubRec, Some(inflight)) if !is_failure => {
                if matches!(&inflight.exchange, Exchange::Published(o) if o.qos == QoS::AtLeastOnce) {
                    return;
                }
                let is_new = matches!(inflight.exchange, Exchange::Published(_));
                inflight.exchange = Exchange::Released;
                if inflight.mark.is_kept && (is_new || !inflight.mark.is_current) {
                    // PUBREL goes when it is on disk that the client has the message: it will forget that it has.
                    inflight.sent = false;
                    session.may_resend = true;
                    inflight.mark.is_current = false;
                    let key = Key::Outbound(session.serial, inflight.mark.number);
                    let place = (session.serial, inflight.mark.number);
                    self.unshare(place);
                    let class = self.urgency(idx);
                    return self.journal.touch(key, class, None);
                }
                inflight.sent = true;
                self.acknowledge_with(conn, AckKind::PubRel, id, ReasonCode::Success, cx);
            }
            (_, Some(inflight)) => {
                let ends = match (&inflight.exchange, kind) {
                    (Exchange::Published(outbound), AckKind::PubAck) => outbound.qos == QoS::AtLeastOnce,
                    // A PUBREC that reports a failure ends the exchange (4.4.0-2).
                    (Exchange::Published(outbound), AckKind::PubRec) => outbound.qos == QoS::ExactlyOnce,
                    (Exchange::Released, AckKind::PubComp) => true,
                    _ => false,
                };
                if ends {
                    self.finish_at(idx, at);
                    self.pump(idx, cx);
                }
            }
        }
    }

    fn finish_exchange(&mut self, idx: SessionIdx, id: PacketId) {
        let at = self.sessions.get(idx).and_then(|session| session.inflight_at(id));
        self.finish_at(idx, at);
    }

    fn finish_at(&mut self, idx: SessionIdx, at: Option<usize>) {
        if let Some(session) = self.sessions.get_mut(idx)
            && let Some(at) = at
            // Mostly it is the oldest, and nothing has to move.
            && let Some(inflight) =
                if at == 0 { session.inflight.pop_front() } else { session.inflight.remove(at) }
        {
            self.forget_outbound(idx, inflight.mark);
        }
    }

    /// Writes a PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub(super) fn acknowledge_with<S: Sink>(
        &mut self,
        conn: ConnId,
        kind: AckKind,
        packet_id: PacketId,
        reason: ReasonCode,
        cx: &mut Cx<'_, S>,
    ) {
        let ack = Ack { packet_id, reason, properties: Properties::EMPTY };
        let Some(c) = self.conns.get(conn).filter(|c| !c.gone && !c.is_closing()) else { return };
        let says_no_more = reason == ReasonCode::Success || c.version != Version::V5;
        if !says_no_more || c.packet_bytes_max.is_some_and(|max| max < SHORT_ACK_BYTES) {
            return self.send(conn, &kind.packet(ack), cx);
        }
        debug!(conn = conn.0, packet = %kind.packet(ack).describe(), "sent");
        let buffered = cx.sink.raw(conn, &encode::short_ack(kind, packet_id));
        self.note_sent(conn, SHORT_ACK_BYTES, buffered, cx);
    }
}

impl Outbound {
    /// Bytes of its PUBLISH with the full topic.
    fn packet_len(&self, version: Version) -> usize {
        let message = &self.kept.message;
        let shared = message.properties.as_properties().as_bytes().len();
        let properties = shared + self.identifiers.as_properties().as_bytes().len();
        publish_len(version, self.qos, message.topic.len(), properties, message.payload.len())
    }
}
