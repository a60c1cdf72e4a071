//! The connection to one upstream as an MQTT client: connect, CONNACK, keep alive, refusals, the wait before the
//! next attempt. It reads packets and says what they mean; records, slots and packet identifiers are not its
//! business.
//!
//! ```text
//!             due            Connected             CONNACK 0
//!  Waiting ─────────▶ Opening ─────────▶ Greeting ───────────▶ Online
//!     ▲                  │ failed           │ refused, late       │ closed, silent, kicked, PUBACK late,
//!     └──────────────────┴──────────────────┴─────────────────────┘ what no server may send
//!  any ──leave──▶ Stopped
//! ```

mod failure;

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::config::Config;
use super::outputs::Outputs;
use super::words::{LinkState, Notice, Output};
use super::{birth, mapping};
use crate::mqtt::{
    self, Ack, ConnAck, Connect, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property,
    PropertyId, Publish, QoS, ReasonCode, Version, Will,
};
use crate::secret::Secret;
use crate::time::{Mono, Now, Timestamp};
use failure::{Failure, about_message, needs_people, with_reason, wrong};

/// The longest packet that is taken from upstream. The gateway asks for nothing large; a longer one ends the
/// connection, and the next asks for a clean session, so that it isn't sent again. Worst memory: this once.
const PACKET_BYTES_MAX: usize = 1024 * 1024;
/// Distinct errors that are remembered as told while the upstream is away. Further ones are not told.
const TOLD_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { until: Mono },
    Opening { until: Mono },
    Greeting { until: Mono, clean: bool },
    Online { since: Mono },
    Stopped,
}

/// What happened, for the rest of the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// CONNACK came.
    Online { session_present: bool },
    /// PUBACK came.
    PubAck { id: PacketId, reason: ReasonCode },
    /// PINGRESP came.
    Pong,
    /// It was online and isn't any more.
    Down(Cut),
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// This side: silence, or what no server may send.
    Ours,
    /// The other side or the network, without a word about what was sent.
    Closed,
    /// The other side, saying that it can't take a message.
    Refused,
}

/// What this upstream allows, as CONNACK says (5.0, 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) receive_max: u16,
    pub(super) packet_bytes_max: usize,
    pub(super) qos_max: QoS,
    pub(super) retain: bool,
}

impl Limits {
    const NONE: Self =
        Self { receive_max: u16::MAX, packet_bytes_max: usize::MAX, qos_max: QoS::ExactlyOnce, retain: true };
}

/// The link's state.
#[derive(Debug)]
pub(super) struct Link {
    config: Arc<Config>,
    state: State,
    backoff: Backoff,
    limits: Limits,
    keep_alive: Duration,
    received: Vec<u8>,
    last_sent: Mono,
    last_received: Mono,
    ping: Option<Mono>,
    clean_next: bool,
    connections: u64,
    since: Timestamp,
    away_since: Mono,
    was_online: bool,
    error: Option<String>,
    told: Vec<String>,
}

impl Link {
    pub(super) fn new(config: Arc<Config>, seed: u64, now: Now) -> Self {
        Self {
            backoff: Backoff::new(&config, seed),
            keep_alive: config.keep_alive,
            config,
            state: State::Waiting { until: now.mono },
            limits: Limits::NONE,
            received: Vec::new(),
            last_sent: now.mono,
            last_received: now.mono,
            ping: None,
            clean_next: false,
            connections: 0,
            since: now.wall,
            away_since: now.mono,
            was_online: false,
            error: None,
            told: Vec::new(),
        }
    }

    // What the transport says.

    pub(super) fn connected(&mut self, now: Now, out: &mut Outputs, events: &mut Vec<Event>) {
        if !matches!(self.state, State::Opening { .. }) {
            // An attempt that was given up before.
            if !matches!(self.state, State::Greeting { .. } | State::Online { .. }) {
                out.close();
            }
            return;
        }
        self.connections += 1;
        self.received.clear();
        out.forget_bytes();
        let clean = std::mem::take(&mut self.clean_next);
        match self.connect_packet(clean, out) {
            Ok(()) => {
                self.state = State::Greeting { until: now.mono + self.config.connect_timeout, clean };
                self.last_sent = now.mono;
                self.last_received = now.mono;
                self.ping = None;
            }
            Err(error) => {
                let words = format!("CONNECT can't be written: {error}");
                self.fail(now, Failure { refused: true, ..Failure::ours(words) }, out, events);
            }
        }
    }

    fn connect_packet(&self, clean_start: bool, out: &mut Outputs) -> Result<(), mqtt::EncodeError> {
        let config = &self.config;
        let topic = mapping::own_topic(&config.maps, &birth::topic(config));
        let payload = birth::will(config, self.connections);
        let mut properties = PropertiesBuf::new();
        if config.version == Version::V5 {
            let expiry = u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX);
            properties.push(Property::U32(PropertyId::SessionExpiryInterval, expiry));
            let max = u32::try_from(PACKET_BYTES_MAX).unwrap_or(u32::MAX);
            properties.push(Property::U32(PropertyId::MaximumPacketSize, max));
        }
        let connect = Connect {
            version: config.version,
            clean_start,
            keep_alive: u16::try_from(config.keep_alive.as_secs()).unwrap_or(u16::MAX),
            client_id: &config.client_id,
            will: Some(Will {
                topic: &topic,
                payload: &payload,
                // 5.0, 3.2.2-12, 3.2.2-13: not more than an earlier CONNACK said is understood.
                qos: QoS::AtLeastOnce.min(self.limits.qos_max),
                retain: self.limits.retain,
                properties: Properties::EMPTY,
            }),
            user_name: config.user_name.as_deref(),
            password: config.password.as_ref().map(Secret::expose),
            properties: properties.as_properties(),
        };
        mqtt::encode(&Packet::Connect(connect), config.version, &mut out.tx)
    }

    pub(super) fn connect_failed(&mut self, now: Now, error: &str, permanent: bool, out: &mut Outputs) {
        if matches!(self.state, State::Opening { .. }) {
            let failure = Failure { refused: permanent, ..Failure::gone(error) };
            self.fail(now, failure, out, &mut Vec::new());
        }
    }

    pub(super) fn closed(&mut self, now: Now, error: &str, out: &mut Outputs, events: &mut Vec<Event>) {
        let words = match self.state {
            State::Greeting { .. } => format!("closed before CONNACK: {error}"),
            State::Online { .. } | State::Opening { .. } => error.to_owned(),
            State::Waiting { .. } | State::Stopped => return,
        };
        out.forget_bytes();
        self.fail(now, Failure::gone(words), out, events);
    }

    // What upstream says.

    pub(super) fn bytes(&mut self, now: Now, bytes: &[u8], out: &mut Outputs, events: &mut Vec<Event>) {
        if !matches!(self.state, State::Greeting { .. } | State::Online { .. }) {
            return;
        }
        self.last_received = now.mono;
        let mut buffer = std::mem::take(&mut self.received);
        buffer.extend_from_slice(bytes);
        let mut used = 0;
        loop {
            let rest = buffer.get(used..).unwrap_or_default();
            let packet = match mqtt::frame(rest, PACKET_BYTES_MAX) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    used += frame.len;
                    let packet = mqtt::decode(frame, self.config.version);
                    if packet.is_err()
                        && let Some(refusal) = self.odd_refusal(frame)
                    {
                        events.push(refusal);
                        continue;
                    }
                    packet
                }
                Err(error) => Err(error),
            };
            let failure = match packet {
                Ok(packet) => self.packet(now, packet, out, events),
                Err(error) => Err(Failure::theirs(format!("upstream sent a {error}"), error.reason())),
            };
            if let Err(failure) = failure {
                self.fail(now, failure, out, events);
                return;
            }
        }
        buffer.drain(..used);
        self.received = buffer;
    }

    /// Brokers refuse with reasons that the standard's table doesn't give to PUBACK (Mosquitto: 0x95). To close
    /// for that would send the same message again and again.
    fn odd_refusal(&self, frame: mqtt::Frame<'_>) -> Option<Event> {
        let online = matches!(self.state, State::Online { .. }) && self.config.version == Version::V5;
        let &[high, low, reason, ..] = frame.body else { return None };
        let id = PacketId::new(u16::from_be_bytes([high, low]))?;
        let reason = ReasonCode::from_u8(reason).filter(|reason| reason.is_error())?;
        (online && frame.first == 0x40).then_some(Event::PubAck { id, reason })
    }

    fn packet(
        &mut self,
        now: Now,
        packet: Packet<'_>,
        out: &mut Outputs,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        if let State::Greeting { clean, .. } = self.state {
            return match packet {
                Packet::ConnAck(connack) => self.connack(now, &connack, clean, events),
                _ => Err(wrong("upstream sent another packet before CONNACK")),
            };
        }
        match packet {
            Packet::PubAck(ack) => events.push(Event::PubAck { id: ack.packet_id, reason: ack.reason }),
            Packet::PingResp => {
                self.ping = None;
                events.push(Event::Pong);
            }
            Packet::Publish(publish) => self.answer(publish, out)?,
            Packet::PubRel(ack) => self.reply(Packet::PubComp(ack_of(ack.packet_id)), out),
            // Leftovers of another client's session under our identifier.
            Packet::SubAck(_) | Packet::UnsubAck(_) => {}
            Packet::Disconnect(disconnect) if self.config.version == Version::V5 => {
                return Err(Failure {
                    words: with_reason("upstream disconnects", disconnect.reason, disconnect.properties),
                    refused: needs_people(disconnect.reason) && !about_message(disconnect.reason),
                    cut: if about_message(disconnect.reason) { Cut::Refused } else { Cut::Closed },
                    ..Failure::ours("")
                });
            }
            Packet::PubRec(_) | Packet::PubComp(_) => {
                return Err(wrong("upstream answered QoS 1 with an acknowledgement of QoS 2"));
            }
            Packet::ConnAck(_) => return Err(wrong("upstream sent a second CONNACK")),
            Packet::Auth(_) => return Err(wrong("upstream asks for an authentication that was not offered")),
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Disconnect(_) => return Err(wrong("upstream sent a packet that only clients send")),
        }
        Ok(())
    }

    fn connack(
        &mut self,
        now: Now,
        connack: &ConnAck<'_>,
        clean: bool,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let properties = connack.properties;
        if connack.reason.is_error() {
            match connack.reason {
                // The will asked for more than this upstream has: the next one asks for less.
                ReasonCode::RetainNotSupported if self.limits.retain => self.limits.retain = false,
                ReasonCode::QoSNotSupported if self.limits.qos_max > QoS::AtMostOnce => {
                    self.limits.qos_max = QoS::AtMostOnce;
                }
                reason => {
                    let mut words = with_reason("upstream refuses the connection", reason, properties);
                    // Many brokers answer a wrong password with this code, too.
                    if reason == ReasonCode::NotAuthorized {
                        words += "; check user_name, password and the rights of this client there";
                    }
                    return Err(Failure { refused: needs_people(reason), ..Failure::ours(words) });
                }
            }
            let words = with_reason("upstream refuses the will", connack.reason, properties);
            return Err(Failure::ours(words));
        }
        let number = |id| properties.number(id);
        let small = |n: Option<u32>| n.and_then(|n| u16::try_from(n).ok());
        self.limits = Limits {
            receive_max: small(number(PropertyId::ReceiveMaximum)).unwrap_or(u16::MAX),
            packet_bytes_max: number(PropertyId::MaximumPacketSize)
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(usize::MAX),
            qos_max: match number(PropertyId::MaximumQoS) {
                Some(0) => QoS::AtMostOnce,
                Some(_) => QoS::AtLeastOnce,
                None => QoS::ExactlyOnce,
            },
            retain: number(PropertyId::RetainAvailable) != Some(0),
        };
        // 5.0, 3.1.2-21: the server's keep alive replaces ours.
        self.keep_alive = small(number(PropertyId::ServerKeepAlive))
            .map_or(self.config.keep_alive, |seconds| Duration::from_secs(seconds.into()));
        self.state = State::Online { since: now.mono };
        self.since = now.wall;
        self.error = None;
        self.told.clear();
        self.backoff.accepted();
        // A session after a clean start is none of ours (3.2.2-2): nothing is resumed from it.
        events.push(Event::Online { session_present: connack.session_present && !clean });
        Ok(())
    }

    /// Nothing was subscribed; what comes nevertheless is acknowledged, so that it stops coming.
    fn answer(&mut self, publish: Publish<'_>, out: &mut Outputs) -> Result<(), Failure> {
        let reply = match (publish.qos, publish.packet_id) {
            (QoS::AtMostOnce, _) => return Ok(()),
            (QoS::AtLeastOnce, Some(id)) => Packet::PubAck(ack_of(id)),
            (QoS::ExactlyOnce, Some(id)) => Packet::PubRec(ack_of(id)),
            (_, None) => return Err(wrong("upstream sent a PUBLISH without an identifier")),
        };
        self.reply(reply, out);
        Ok(())
    }

    fn reply(&mut self, packet: Packet<'_>, out: &mut Outputs) {
        // A packet of a few bytes can't be too long; should it fail, upstream asks again.
        let _ = mqtt::encode(&packet, self.config.version, &mut out.tx);
    }

    // What time says.

    pub(super) fn tick(&mut self, now: Now, out: &mut Outputs, events: &mut Vec<Event>) {
        match self.state {
            State::Waiting { until } if now.mono >= until => {
                self.state = State::Opening { until: now.mono + self.config.connect_timeout };
                out.push(Output::Connect);
            }
            State::Opening { until } if now.mono >= until => {
                self.fail(now, Failure::ours("no connection in time"), out, events);
            }
            State::Greeting { until, .. } if now.mono >= until => {
                self.fail(now, Failure::ours("no CONNACK in time"), out, events);
            }
            State::Online { .. } => self.keep_alive(now, out, events),
            _ => {}
        }
    }

    fn keep_alive(&mut self, now: Now, out: &mut Outputs, events: &mut Vec<Event>) {
        if self.dead_at().is_some_and(|at| now.mono >= at) {
            let words = format!("silent for {} s", now.mono.since(self.last_received).as_secs());
            self.fail(now, Failure::ours(words), out, events);
        } else if self.ping_at().is_some_and(|at| now.mono >= at) {
            self.send_ping(now, out);
        }
    }

    /// Asks whether upstream still takes what is sent, unless that is asked already.
    pub(super) fn fence_ping(&mut self, now: Now, out: &mut Outputs) {
        if self.ping.is_none() {
            self.send_ping(now, out);
        }
    }

    fn send_ping(&mut self, now: Now, out: &mut Outputs) {
        self.reply(Packet::PingReq, out);
        self.last_sent = now.mono;
        self.ping.get_or_insert(now.mono);
    }

    /// Due after a keep alive without sending (3.1.2-22), or without hearing: else a link that only sends at
    /// QoS 0 would never be found dead.
    fn ping_at(&self) -> Option<Mono> {
        if self.keep_alive.is_zero() {
            return None;
        }
        let since = if self.ping.is_some() { self.last_sent } else { self.last_sent.min(self.last_received) };
        Some(since + self.keep_alive)
    }

    fn dead_at(&self) -> Option<Mono> {
        let ping = self.ping?;
        // Without a keep alive only the fence of QoS 0 pings; the configured span judges it.
        let span = if self.keep_alive.is_zero() { self.config.ack_timeout } else { self.keep_alive };
        Some((self.last_received + span * 3 / 2).max(ping + span / 2))
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        match self.state {
            State::Waiting { until } | State::Opening { until } | State::Greeting { until, .. } => {
                Some(until)
            }
            State::Online { .. } => [self.ping_at(), self.dead_at()].into_iter().flatten().min(),
            State::Stopped => None,
        }
    }

    // What the rest of the bridge says.

    /// Something was written.
    pub(super) fn wrote(&mut self, now: Now) {
        self.last_sent = now.mono;
    }

    /// A PUBACK did not come, or never will.
    pub(super) fn give_up(&mut self, now: Now, words: String, out: &mut Outputs, events: &mut Vec<Event>) {
        self.fail(now, Failure::ours(words), out, events);
    }

    /// Ends the link for good. `farewell_done`: the offline status was acknowledged, so the will must not follow;
    /// else it must (5.0, 3.14.2.1: 0x04; before, by closing without DISCONNECT).
    pub(super) fn leave(&mut self, now: Now, farewell_done: bool, out: &mut Outputs) {
        match self.state {
            State::Online { .. } => {
                let reason = match (farewell_done, self.config.version) {
                    (true, _) => Some(ReasonCode::Success),
                    (false, Version::V5) => Some(ReasonCode::DisconnectWithWillMessage),
                    (false, _) => None,
                };
                if let Some(reason) = reason {
                    self.disconnect(reason, out);
                }
                self.since = now.wall;
                out.close();
            }
            State::Opening { .. } | State::Greeting { .. } => out.close(),
            State::Waiting { .. } | State::Stopped => {}
        }
        self.state = State::Stopped;
        self.error = None;
        self.received.clear();
    }

    fn disconnect(&mut self, reason: ReasonCode, out: &mut Outputs) {
        let disconnect = Disconnect { reason, properties: Properties::EMPTY };
        self.reply(Packet::Disconnect(disconnect), out);
    }

    fn fail(&mut self, now: Now, failure: Failure, out: &mut Outputs, events: &mut Vec<Event>) {
        let online_since = match self.state {
            State::Online { since } => Some(since),
            _ => None,
        };
        if online_since.is_some_and(|since| now.mono.since(since) >= self.config.stable_after) {
            self.backoff.stable();
        }
        if failure.close {
            let greeted = self.config.version == Version::V5 && online_since.is_some();
            if let Some(reason) = failure.farewell.filter(|_| greeted) {
                self.disconnect(reason, out);
            }
            out.close();
        }
        // A clean start that got no answer is still owed.
        self.clean_next |= failure.clean || matches!(self.state, State::Greeting { clean: true, .. });
        let wait = if failure.refused { self.backoff.refused() } else { self.backoff.failed() };
        self.state = State::Waiting { until: now.mono + wait };
        self.received.clear();
        self.ping = None;
        self.error = Some(failure.words.clone());
        if online_since.is_some() {
            self.since = now.wall;
            self.away_since = now.mono;
            self.was_online = true;
            events.push(Event::Down(failure.cut));
            out.notice(Notice::Offline { error: failure.words });
        } else if !self.told.contains(&failure.words) && self.told.len() < TOLD_MAX {
            self.told.push(failure.words.clone());
            out.notice(Notice::Refused { error: failure.words, retry_in: wait });
        }
    }

    // What it is.

    pub(super) const fn is_online(&self) -> bool {
        matches!(self.state, State::Online { .. })
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) const fn connections(&self) -> u64 {
        self.connections
    }

    /// How long it is, or was, away; since the start before the first connect.
    pub(super) fn away(&self, now: Now) -> Duration {
        now.mono.since(self.away_since)
    }

    /// When it went away; the start before the first connect.
    pub(super) const fn away_since(&self) -> Mono {
        self.away_since
    }

    pub(super) const fn was_online(&self) -> bool {
        self.was_online
    }

    pub(super) const fn since(&self) -> Timestamp {
        self.since
    }

    pub(super) fn error(&self) -> Option<String> {
        self.error.clone()
    }

    pub(super) fn retry_in(&self, now: Now) -> Option<Duration> {
        match self.state {
            State::Waiting { until } => Some(until.since(now.mono)),
            _ => None,
        }
    }

    pub(super) const fn state(&self) -> LinkState {
        match self.state {
            State::Waiting { .. } => LinkState::Waiting,
            State::Opening { .. } | State::Greeting { .. } => LinkState::Connecting,
            State::Online { .. } => LinkState::Online,
            State::Stopped => LinkState::Stopped,
        }
    }
}

fn ack_of(packet_id: PacketId) -> Ack<'static> {
    Ack { packet_id, reason: ReasonCode::Success, properties: Properties::EMPTY }
}
