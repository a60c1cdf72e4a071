//! Bytes of connections to whole packets, in order, as far as the connection may be read; packets other than
//! PUBLISH back. What a packet means is decided elsewhere.

use std::net::IpAddr;
use std::sync::Arc;

use tracing::debug;

use super::connection::{Connection, Held, Phase};
use super::{Broker, ConnId, Cx, Event, ListenerId, Sink, count};
use crate::limits::READ_SCRATCH_BYTES;
use crate::mqtt::decode::{SHORT_ACK_BYTES, publish_again, short_ack};
use crate::mqtt::{
    Ack, AckKind, ConnAck, DecodeError, Disconnect, Frame, Packet, PacketId, Properties, PropertiesBuf,
    Property, PropertyId, Publish, ReasonCode, SubAck, Version, decode_within, encode, frame,
};

/// The first byte of CONNECT (3.1.1).
const CONNECT_FIRST_BYTE: u8 = 0x10;
impl Broker {
    pub(super) fn open<S: Sink>(
        &mut self,
        conn: ConnId,
        listener: ListenerId,
        (peer, from): (&str, Option<IpAddr>),
        certified: Option<&str>,
        cx: &mut Cx<'_, S>,
    ) {
        if self.conns.get(conn).is_some() {
            self.closed(conn, cx);
        }
        self.stats.sockets_opened += 1;
        let connection = Connection {
            certified: certified.map(Arc::from),
            from,
            ..Connection::new(listener, peer, cx.now)
        };
        if self.conns.insert(conn, connection) {
            self.arm_conn(conn);
        } else {
            self.doorman.leave(from, false);
            self.events.push_back(Event::Close { conn });
        }
    }

    pub(super) fn bytes<S: Sink>(&mut self, conn: ConnId, bytes: &[u8], cx: &mut Cx<'_, S>) {
        let Some(c) = self.conns.get(conn) else { return };
        self.stats.bytes_received += count(bytes.len());
        #[cfg(test)]
        super::broken::stub::strike(bytes, super::broken::stub::AT_ONCE);
        let rest =
            if c.held.is_empty() || !c.takes_packets() { bytes } else { self.complete_cut(conn, bytes, cx) };
        let used = self.feed(conn, rest, cx);
        self.hold(conn, rest.get(used..).unwrap_or_default(), cx);
    }

    /// Completes the packet whose beginning came before; gives back the bytes behind it.
    fn complete_cut<'b, S: Sink>(&mut self, conn: ConnId, bytes: &'b [u8], cx: &mut Cx<'_, S>) -> &'b [u8] {
        let Some(c) = self.conns.get_mut(conn) else { return bytes };
        let mut held = std::mem::take(&mut c.held);
        let mut rest = bytes;
        while !held.is_empty() {
            let (part, tail) = rest.split_at(held.missing().min(rest.len()));
            if part.is_empty() {
                break;
            }
            rest = tail;
            held.extend(part);
            let used = self.feed(conn, held.as_slice(), cx);
            held.consume(used);
            if !self.conns.get(conn).is_some_and(Connection::takes_packets) {
                break;
            }
        }
        self.put_back(conn, held);
        rest
    }

    fn put_back(&mut self, conn: ConnId, held: Held) {
        if let Some(c) = self.conns.get_mut(conn)
            && !c.is_closing()
        {
            c.held = held;
        }
    }

    /// Keeps what can't be taken yet. The shell reads no more once it was told to pause, so this is bounded by a
    /// packet and what was read before.
    fn hold<S: Sink>(&mut self, conn: ConnId, bytes: &[u8], cx: &mut Cx<'_, S>) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        let packet_bytes_max = self.config.packet_bytes_max.max(c.told.packet_bytes_max);
        let held_max = packet_bytes_max.saturating_add(2 * READ_SCRATCH_BYTES);
        if bytes.is_empty() || c.is_closing() {
            return;
        }
        if c.held.as_slice().len().saturating_add(bytes.len()) > held_max {
            return self.fail(conn, ReasonCode::QuotaExceeded, cx);
        }
        c.held.extend(bytes);
    }

    /// Takes in what was held.
    pub(super) fn feed_held<S: Sink>(&mut self, conn: ConnId, cx: &mut Cx<'_, S>) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        let mut held = std::mem::take(&mut c.held);
        let used = self.feed(conn, held.as_slice(), cx);
        held.consume(used);
        self.put_back(conn, held);
    }

    /// Takes whole packets off the front of `bytes` as long as the connection may be read; tells how many bytes.
    fn feed<S: Sink>(&mut self, conn: ConnId, bytes: &[u8], cx: &mut Cx<'_, S>) -> usize {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let Some(c) = self.conns.get_mut(conn).filter(|c| c.takes_packets()) else { break };
            if let Some((kind, id)) = short_ack(rest)
                && matches!(c.phase, Phase::Ready)
                && SHORT_ACK_BYTES <= c.told.packet_bytes_max
            {
                self.stats.packets_received += 1;
                c.last_seen = cx.now;
                self.short_ack_in(conn, kind, id, cx);
                used += SHORT_ACK_BYTES;
                continue;
            }
            let is_first = matches!(c.phase, Phase::Fresh);
            // Whatever is no CONNECT is refused on its first byte, whatever length it claims (3.1.0-1).
            if is_first && rest.first() != Some(&CONNECT_FIRST_BYTE) {
                self.fail(conn, ReasonCode::ProtocolError, cx);
                break;
            }
            let max = if is_first { self.config.first_packet_bytes_max } else { c.told.packet_bytes_max };
            match frame(rest, max) {
                Ok(Some(frame)) => {
                    self.packet(conn, frame, cx);
                    used += frame.len;
                }
                Ok(None) => break,
                Err(error) => {
                    self.fail_for(conn, error.reason(), &error.to_string(), cx);
                    break;
                }
            }
        }
        used
    }

    fn short_ack_in<S: Sink>(&mut self, conn: ConnId, kind: AckKind, id: PacketId, cx: &mut Cx<'_, S>) {
        let ack = Ack { packet_id: id, reason: ReasonCode::Success, properties: Properties::EMPTY };
        debug!(conn = conn.0, packet = %kind.packet(ack).describe(), "received");
        match kind {
            AckKind::PubRel => self.release_in(conn, id, cx),
            kind => self.answer_in(conn, kind, id, false, cx),
        }
    }

    fn packet<S: Sink>(&mut self, conn: ConnId, frame: Frame<'_>, cx: &mut Cx<'_, S>) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        self.stats.packets_received += 1;
        if let Some(memo) = &c.memo
            && let Some(publish) = publish_again(frame, c.version, &memo.topic)
        {
            let topic = &*memo.topic;
            debug!(conn = conn.0, packet = %Packet::Publish(Publish { topic, ..publish }).describe(), "received");
            c.last_seen = cx.now;
            return self.publish_in(conn, &publish, true, cx);
        }
        let is_first = matches!(c.phase, Phase::Fresh);
        let packet = match decode_within(frame, c.version, self.config.properties) {
            Ok(packet) => packet,
            Err(DecodeError::UnsupportedVersion) if is_first => return self.refuse_version(conn, cx),
            Err(error) => return self.fail_for(conn, error.reason(), &error.to_string(), cx),
        };
        debug!(conn = conn.0, packet = %packet.describe(), "received");
        // Any whole packet shows that the client lives (3.1.2-22); its deadline moves when it is reached.
        c.last_seen = cx.now;
        match &packet {
            Packet::Connect(connect) if is_first => self.connect_in(conn, connect, cx),
            _ if is_first => self.fail(conn, ReasonCode::ProtocolError, cx),
            packet => self.packet_in(conn, packet, cx),
        }
    }

    /// The connection is gone. What it sent before still counts, even if it had to wait: a PUBLISH followed by
    /// the end is kept, a DISCONNECT takes the will back.
    pub(super) fn closed<S: Sink>(&mut self, conn: ConnId, cx: &mut Cx<'_, S>) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        c.gone = true;
        if matches!(c.phase, Phase::Ready) && !c.held.is_empty() {
            if let Some(session) = c.session.and_then(|idx| self.sessions.get_mut(idx)) {
                session.conn = None;
            }
            self.feed_held(conn, cx);
        }
        #[cfg(test)]
        if let Some(session) = self.conns.get(conn).and_then(|c| self.sessions.get(c.session?)) {
            super::broken::stub::strike(session.client_id.as_bytes(), super::broken::stub::AT_THE_END);
        }
        self.close(conn, None, cx);
        if let Some(c) = self.conns.remove(conn) {
            self.doorman.leave(c.from, c.was_let_in);
        }
    }

    /// Writes a packet other than PUBLISH.
    pub(super) fn send<S: Sink>(&mut self, conn: ConnId, packet: &Packet<'_>, cx: &mut Cx<'_, S>) {
        let why = refusal(packet).map(ReasonCode::words);
        self.send_with_words(conn, packet, why, cx);
    }

    /// Writes a packet other than PUBLISH; `why` goes along as its reason string where the client wants to know and
    /// has room for it (3.1.2-29, 3.4.2-2). A packet that the client is too small for is not sent (3.1.2-24).
    pub(super) fn send_with_words<S: Sink>(
        &mut self,
        conn: ConnId,
        packet: &Packet<'_>,
        why: Option<&str>,
        cx: &mut Cx<'_, S>,
    ) {
        let Some(c) = self.conns.get(conn) else { return };
        if c.gone || c.is_closing() {
            return;
        }
        let max = c.packet_bytes_max.unwrap_or(usize::MAX);
        let why = why.filter(|_| c.version == Version::V5 && c.problem_information);
        self.scratch.clear();
        let told = why.is_some_and(|why| {
            let mut properties = PropertiesBuf::new();
            properties.push(Property::Str(PropertyId::ReasonString, why));
            with_properties(packet, properties.as_properties())
                .is_some_and(|packet| encode(&packet, c.version, &mut self.scratch).is_ok())
        });
        if !told || self.scratch.len() > max {
            self.scratch.clear();
            if encode(packet, c.version, &mut self.scratch).is_err() {
                return;
            }
        }
        if self.scratch.len() > max {
            self.stats.dropped_too_large += 1;
            return;
        }
        debug!(conn = conn.0, packet = %packet.describe(), "sent");
        let buffered = cx.sink.raw(conn, &self.scratch);
        let is_last = matches!(packet, Packet::Disconnect(_));
        self.note_sent(conn, self.scratch.len(), if is_last { 0 } else { buffered }, cx);
    }

    /// So much was written, and so much waits now.
    pub(super) fn note_sent<S: Sink>(&mut self, conn: ConnId, bytes: usize, buffered: usize, cx: &Cx<'_, S>) {
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += count(bytes);
        if buffered > self.config.out_buffer_bytes_max {
            // It asks without reading the answers.
            self.now_full(conn, cx.now);
            self.hold_publisher(conn, conn);
        }
    }
}

/// The failure that a packet tells.
fn refusal(packet: &Packet<'_>) -> Option<ReasonCode> {
    let reason = match packet {
        Packet::ConnAck(packet) => packet.reason,
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => ack.reason,
        Packet::Disconnect(packet) => packet.reason,
        _ => return None,
    };
    reason.is_error().then_some(reason)
}

/// The packet with these properties instead of its own; `None` where a reason string has no place.
fn with_properties<'a>(packet: &Packet<'a>, properties: Properties<'a>) -> Option<Packet<'a>> {
    Some(match packet {
        Packet::ConnAck(packet) => Packet::ConnAck(ConnAck { properties, ..packet.clone() }),
        Packet::PubAck(ack) => Packet::PubAck(Ack { properties, ..*ack }),
        Packet::PubRec(ack) => Packet::PubRec(Ack { properties, ..*ack }),
        Packet::PubRel(ack) => Packet::PubRel(Ack { properties, ..*ack }),
        Packet::PubComp(ack) => Packet::PubComp(Ack { properties, ..*ack }),
        Packet::SubAck(packet) => Packet::SubAck(SubAck { properties, ..packet.clone() }),
        Packet::Disconnect(packet) => Packet::Disconnect(Disconnect { properties, ..packet.clone() }),
        _ => return None,
    })
}
