//! An MQTT client as a pure machine: bytes and messages in, bytes and events out. No socket, no clock; what is
//! under way survives a lost connection.
//!
//! ```text
//!  Away ──open──▶ Connecting ──CONNACK──▶ Ready ──disconnect──▶ Left
//!   ▲                  │                    │
//!   └──────lost────────┴────────────────────┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::message::{Event, Message, Settings};
use crate::mqtt::{
    self, Ack, ConnAck, Connect, Disconnect, Packet, PacketId, Properties, PropertyId, Publish, QoS,
    ReasonCode, Subscribe, SubscribeFilter, Unsubscribe, Will,
};
use crate::time::Mono;

/// The broker must answer CONNECT within this.
const CONNACK_MAX: Duration = Duration::from_secs(20);

/// The first byte of CONNACK (3.2.1).
const CONNACK_FIRST_BYTE: u8 = 0x20;

/// The largest packet that MQTT can say: it came from a broker of the user's choice.
const PACKET_BYTES_MAX: usize = 268_435_455 + 5;

/// Messages that may wait to be sent; a caller that reads a stream stops reading above it.
pub(in crate::cli) const BACKLOG_MAX: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Away,
    Connecting,
    Ready,
    Left,
}

/// How far a message of ours with QoS 1 or 2 is.
#[derive(Debug)]
enum Stage {
    Published(Message),
    Released,
}

/// A client.
#[derive(Debug)]
pub(in crate::cli) struct Session {
    settings: Settings,
    phase: Phase,
    input: Vec<u8>,
    output: Vec<u8>,
    events: VecDeque<Event>,
    queue: VecDeque<Message>,
    inflight: VecDeque<(PacketId, Stage)>,
    /// QoS 2 messages until their PUBREL.
    incoming: HashMap<PacketId, Message>,
    /// Topics by alias, as many as CONNECT allowed.
    aliases: HashMap<u32, String>,
    last_packet_id: u16,
    keep_alive: Duration,
    /// Messages that the broker takes unacknowledged, its largest packet, its highest QoS, its word on RETAIN.
    window: usize,
    packet_bytes_max: usize,
    qos_max: QoS,
    retain_available: bool,
    sent_at: Mono,
    got_at: Mono,
    /// Since when a PINGREQ waits for its answer.
    pinged: Option<Mono>,
}

impl Session {
    pub(in crate::cli) fn new(settings: Settings) -> Self {
        Self {
            phase: Phase::Away,
            input: Vec::new(),
            output: Vec::new(),
            events: VecDeque::new(),
            queue: VecDeque::new(),
            inflight: VecDeque::new(),
            incoming: HashMap::new(),
            aliases: HashMap::new(),
            last_packet_id: 0,
            keep_alive: Duration::ZERO,
            window: settings.inflight_max,
            packet_bytes_max: usize::MAX,
            qos_max: QoS::ExactlyOnce,
            retain_available: true,
            sent_at: Mono::ZERO,
            got_at: Mono::ZERO,
            pinged: None,
            settings,
        }
    }

    /// A transport is open: says CONNECT.
    pub(in crate::cli) fn open(&mut self, now: Mono) {
        self.phase = Phase::Connecting;
        (self.sent_at, self.got_at, self.pinged) = (now, now, None);
        self.input.clear();
        self.output.clear();
        self.aliases.clear();
        let settings = self.settings.clone();
        let will = settings.will.as_ref().map(|will| Will {
            topic: &will.topic,
            payload: &will.payload,
            qos: will.qos,
            retain: will.retain,
            properties: will.properties.as_properties(),
        });
        self.send(&Packet::Connect(Connect {
            version: settings.version,
            bridge: false,
            clean_start: settings.clean_start,
            keep_alive: settings.keep_alive,
            client_id: &settings.client_id,
            will,
            user_name: settings.user_name.as_deref(),
            password: settings.password.as_ref().map(|password| password.expose()),
            properties: settings.connect_properties.as_properties(),
        }));
    }

    /// The transport is gone. What is under way stays so.
    pub(in crate::cli) fn lost(&mut self) {
        if self.phase != Phase::Left {
            self.phase = Phase::Away;
        }
        self.output.clear();
    }

    /// Bytes from the broker.
    ///
    /// # Errors
    /// In words, if they are no MQTT: the connection is of no more use.
    pub(in crate::cli) fn bytes(&mut self, now: Mono, bytes: &[u8]) -> Result<(), String> {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        // Another protocol's answer is known by its first byte, and may never make up a packet (3.2.0-1).
        if self.phase == Phase::Connecting && input.first().is_some_and(|byte| *byte != CONNACK_FIRST_BYTE) {
            return Err("what answers there is no MQTT broker; is it the right port?".into());
        }
        let mut rest: &[u8] = &input;
        while let Some(frame) = mqtt::frame(rest, PACKET_BYTES_MAX).map_err(no_mqtt)? {
            let packet = mqtt::decode(frame, self.settings.version).map_err(no_mqtt)?;
            self.got_at = now;
            self.trace("<", &packet);
            self.packet(now, &packet)?;
            rest = rest.get(frame.len..).unwrap_or_default();
        }
        let used = input.len().saturating_sub(rest.len());
        input.drain(..used);
        self.input = input;
        Ok(())
    }

    /// Sends a message, as soon as connection and window allow.
    pub(in crate::cli) fn publish(&mut self, now: Mono, message: Message) {
        self.queue.push_back(message);
        self.pump(now);
    }

    /// Whether all messages are sent, and acknowledged if they ask for it.
    pub(in crate::cli) fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.inflight.is_empty()
    }

    /// Messages that wait to be sent.
    pub(in crate::cli) fn backlog(&self) -> usize {
        self.queue.len()
    }

    /// Whether CONNACK has come.
    pub(in crate::cli) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether DISCONNECT was said.
    pub(in crate::cli) fn has_left(&self) -> bool {
        self.phase == Phase::Left
    }

    /// Says DISCONNECT, unless nobody listens.
    pub(in crate::cli) fn disconnect(&mut self, reason: ReasonCode) {
        if self.phase == Phase::Ready {
            let properties = self.settings.disconnect_properties.clone();
            let properties = properties.as_properties();
            self.send(&Packet::Disconnect(Disconnect { reason, properties }));
        }
        self.phase = Phase::Left;
    }

    /// Bytes for the broker.
    pub(in crate::cli) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// The next event, until `None`.
    pub(in crate::cli) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Session::tick`] is due.
    pub(in crate::cli) fn next_deadline(&self) -> Option<Mono> {
        match self.phase {
            Phase::Away | Phase::Left => None,
            Phase::Connecting => Some(self.got_at + CONNACK_MAX),
            Phase::Ready if self.keep_alive.is_zero() => None,
            Phase::Ready => Some(self.pinged.unwrap_or(self.sent_at.min(self.got_at)) + self.keep_alive),
        }
    }

    /// Says PINGREQ when it is time (3.1.2-22).
    ///
    /// # Errors
    /// In words, if the broker is silent.
    pub(in crate::cli) fn tick(&mut self, now: Mono) -> Result<(), String> {
        if self.next_deadline().is_none_or(|deadline| deadline > now) {
            return Ok(());
        }
        if self.phase == Phase::Connecting {
            return Err("the broker doesn't answer CONNECT".into());
        }
        if self.pinged.is_some() {
            return Err("the broker doesn't answer any more".into());
        }
        self.sent_at = now;
        self.pinged = Some(now);
        self.send(&Packet::PingReq);
        Ok(())
    }

    fn packet(&mut self, now: Mono, packet: &Packet<'_>) -> Result<(), String> {
        match (self.phase, packet) {
            (Phase::Connecting, Packet::ConnAck(connack)) => self.welcome(now, connack),
            (Phase::Ready, packet) => return self.ready(now, packet),
            (Phase::Away | Phase::Connecting | Phase::Left, _) => {}
        }
        Ok(())
    }

    fn welcome(&mut self, now: Mono, connack: &ConnAck<'_>) {
        let properties = connack.properties;
        if connack.reason != ReasonCode::Success {
            let words = properties.string(PropertyId::ReasonString).map(str::to_owned);
            self.events.push_back(Event::Refused { reason: connack.reason, words });
            return;
        }
        self.phase = Phase::Ready;
        let number = |id| properties.number(id);
        let seconds = number(PropertyId::ServerKeepAlive).unwrap_or(self.settings.keep_alive.into());
        self.keep_alive = Duration::from_secs(seconds.into());
        let size = |id, none| number(id).and_then(|n| usize::try_from(n).ok()).unwrap_or(none);
        self.window = self.settings.inflight_max.min(size(PropertyId::ReceiveMaximum, 65_535));
        self.packet_bytes_max = size(PropertyId::MaximumPacketSize, usize::MAX);
        self.retain_available = number(PropertyId::RetainAvailable) != Some(0);
        let qos_max = number(PropertyId::MaximumQoS).and_then(|qos| u8::try_from(qos).ok());
        self.qos_max = qos_max.and_then(QoS::from_u8).unwrap_or(QoS::ExactlyOnce);
        self.events.push_back(Event::Connected);
        self.subscribe();
        self.resend(connack.session_present);
        self.pump(now);
    }

    fn subscribe(&mut self) {
        let settings = self.settings.clone();
        if !settings.subscribe.is_empty()
            && let Some(packet_id) = self.next_packet_id()
        {
            let filters = settings
                .subscribe
                .iter()
                .map(|(filter, options)| SubscribeFilter { filter, options: *options });
            let properties = settings.subscribe_properties.as_properties();
            self.send(&Packet::Subscribe(Subscribe { packet_id, properties, filters: filters.collect() }));
        }
        if !settings.unsubscribe.is_empty()
            && let Some(packet_id) = self.next_packet_id()
        {
            let filters = settings.unsubscribe.iter().map(String::as_str).collect();
            let properties = settings.unsubscribe_properties.as_properties();
            self.send(&Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters }));
        }
    }

    /// Sends again what was under way when the last connection broke (4.4.0-1). A broker that has forgotten the
    /// session gets it as new; what it had confirmed with PUBREC it has.
    fn resend(&mut self, session_present: bool) {
        if !session_present {
            self.incoming.clear();
            self.inflight.retain(|(_, stage)| matches!(stage, Stage::Published(_)));
        }
        let inflight = std::mem::take(&mut self.inflight);
        for (packet_id, stage) in &inflight {
            match stage {
                Stage::Published(message) => self.send_publish(message, Some(*packet_id), session_present),
                Stage::Released => self.send(&Packet::PubRel(success(*packet_id))),
            }
        }
        self.inflight = inflight;
    }

    fn ready(&mut self, now: Mono, packet: &Packet<'_>) -> Result<(), String> {
        match packet {
            Packet::Publish(publish) => self.message(publish)?,
            Packet::PubAck(ack) | Packet::PubComp(ack) => self.finished(ack),
            Packet::PubRec(ack) if ack.reason.is_error() => self.finished(ack),
            Packet::PubRec(ack) => {
                if let Some(at) = self.inflight.iter().position(|(id, _)| *id == ack.packet_id)
                    && let Some((_, stage)) = self.inflight.get_mut(at)
                {
                    *stage = Stage::Released;
                }
                self.send(&Packet::PubRel(success(ack.packet_id)));
            }
            Packet::PubRel(ack) => {
                if let Some(message) = self.incoming.remove(&ack.packet_id) {
                    self.events.push_back(Event::Message(message));
                }
                self.send(&Packet::PubComp(success(ack.packet_id)));
            }
            Packet::SubAck(answer) => {
                self.events.push_back(Event::Subscribed { codes: answer.codes.to_vec() });
            }
            Packet::UnsubAck(_) => self.events.push_back(Event::Unsubscribed),
            Packet::PingResp => self.pinged = None,
            Packet::Disconnect(disconnect) => {
                let words = disconnect.properties.string(PropertyId::ReasonString).map(str::to_owned);
                self.events.push_back(Event::Ended { reason: disconnect.reason, words });
            }
            _ => return Err("the broker sent a packet that is not for clients".into()),
        }
        self.pump(now);
        Ok(())
    }

    fn message(&mut self, publish: &Publish<'_>) -> Result<(), String> {
        let message = Message {
            topic: self.topic(publish)?,
            payload: Bytes::copy_from_slice(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.properties.to_buf(),
            packet_id: publish.packet_id,
        };
        match (publish.qos, publish.packet_id) {
            (QoS::ExactlyOnce, Some(packet_id)) => {
                // Handed on at PUBREL: a repeated PUBLISH before it is the same message (4.3.3-10).
                self.incoming.insert(packet_id, message);
                self.send(&Packet::PubRec(success(packet_id)));
            }
            (_, packet_id) => {
                self.events.push_back(Event::Message(message));
                if let Some(packet_id) = packet_id {
                    self.send(&Packet::PubAck(success(packet_id)));
                }
            }
        }
        Ok(())
    }

    /// The topic that a PUBLISH names, by itself or by an alias (3.3.2.3.4).
    fn topic(&mut self, publish: &Publish<'_>) -> Result<String, String> {
        let Some(alias) = publish.properties.number(PropertyId::TopicAlias) else {
            return Ok(publish.topic.to_owned());
        };
        let allowed = self.settings.connect_properties.as_properties().number(PropertyId::TopicAliasMaximum);
        if alias == 0 || alias > allowed.unwrap_or(0) {
            return Err("the broker uses a topic alias that it was not allowed".into());
        }
        if publish.topic.is_empty() {
            return self.aliases.get(&alias).cloned().ok_or_else(|| "an unknown topic alias".into());
        }
        self.aliases.insert(alias, publish.topic.to_owned());
        Ok(publish.topic.to_owned())
    }

    /// PUBACK, PUBCOMP, or a PUBREC that reports a failure: the exchange is over.
    fn finished(&mut self, ack: &Ack<'_>) {
        let Some(at) = self.inflight.iter().position(|(id, _)| *id == ack.packet_id) else { return };
        let Some((_, stage)) = self.inflight.remove(at) else { return };
        if let (Stage::Published(message), true) = (stage, ack.reason.is_error()) {
            // Many brokers send the words that the code has anyway.
            let words = ack.properties.string(PropertyId::ReasonString);
            let words = words.filter(|words| *words != ack.reason.words());
            let why =
                words.map_or_else(|| ack.reason.to_string(), |words| format!("{}: {words}", ack.reason));
            self.events.push_back(Event::Undelivered { topic: message.topic, why });
        }
    }

    /// Sends what waits, in order.
    fn pump(&mut self, now: Mono) {
        while self.phase == Phase::Ready {
            let Some(front) = self.queue.front() else { return };
            let acknowledged = front.qos != QoS::AtMostOnce;
            if acknowledged && self.inflight.len() >= self.window {
                return;
            }
            let Some(message) = self.queue.pop_front() else { return };
            if let Some(why) = self.impossible(&message) {
                self.events.push_back(Event::Undelivered { topic: message.topic, why });
                continue;
            }
            self.sent_at = now;
            if !acknowledged {
                self.send_publish(&message, None, false);
            } else if let Some(packet_id) = self.next_packet_id() {
                self.send_publish(&message, Some(packet_id), false);
                self.inflight.push_back((packet_id, Stage::Published(message)));
            }
        }
    }

    /// Why the broker would close the connection over this message (3.2.2-11, -14, -15).
    fn impossible(&self, message: &Message) -> Option<String> {
        if message.qos > self.qos_max {
            return Some(format!("this broker takes QoS {} at most", self.qos_max.as_u8()));
        }
        if message.retain && !self.retain_available {
            return Some("this broker keeps no retained messages".into());
        }
        let len = mqtt::encoded_len(&publish_packet(message, PacketId::new(1), false), self.settings.version);
        match len {
            Ok(len) if len > self.packet_bytes_max => {
                Some(format!("this broker takes packets of {} bytes at most", self.packet_bytes_max))
            }
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        }
    }

    fn send_publish(&mut self, message: &Message, packet_id: Option<PacketId>, dup: bool) {
        self.send(&publish_packet(message, packet_id, dup));
    }

    fn send(&mut self, packet: &Packet<'_>) {
        self.trace(">", packet);
        // What can't be encoded was refused where it came from: options and messages are checked.
        let _ = mqtt::encode(packet, self.settings.version, &mut self.output);
    }

    fn trace(&mut self, direction: &str, packet: &Packet<'_>) {
        if self.settings.traced {
            self.events.push_back(Event::Trace(format!("{direction} {}", packet.describe())));
        }
    }

    fn next_packet_id(&mut self) -> Option<PacketId> {
        for _ in 0..=self.inflight.len() {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            let id = PacketId::new(self.last_packet_id)?;
            if self.inflight.iter().all(|(used, _)| *used != id) {
                return Some(id);
            }
        }
        None
    }

    #[cfg(test)]
    pub(in crate::cli) const fn version(&self) -> mqtt::Version {
        self.settings.version
    }
}

fn publish_packet(message: &Message, packet_id: Option<PacketId>, dup: bool) -> Packet<'_> {
    Packet::Publish(Publish {
        dup,
        qos: message.qos,
        retain: message.retain,
        topic: &message.topic,
        packet_id: packet_id.filter(|_| message.qos != QoS::AtMostOnce),
        properties: message.properties.as_properties(),
        payload: &message.payload,
    })
}

const fn success(packet_id: PacketId) -> Ack<'static> {
    Ack { packet_id, reason: ReasonCode::Success, properties: Properties::EMPTY }
}

fn no_mqtt(error: mqtt::DecodeError) -> String {
    format!("what the broker sent is no MQTT: {error}")
}
