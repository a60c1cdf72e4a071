//! CONNECT and CONNACK: what is asked of an upstream, and what it allows.

use std::time::Duration;

use super::failure::{Failure, needs_people, with_reason};
use super::{Event, Link, PACKET_BYTES_MAX, State};
use crate::bridge::inbound::RECEIVE_MAX;
use crate::bridge::outputs::Outputs;
use crate::bridge::{birth, mapping};
use crate::mqtt::{
    self, ConnAck, Connect, Packet, Properties, PropertiesBuf, Property, PropertyId, QoS, ReasonCode,
    Version, Will,
};
use crate::secret::Secret;
use crate::time::Now;

/// What this upstream allows, as CONNACK says (5.0, 3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bridge) struct Limits {
    pub(in crate::bridge) receive_max: u16,
    pub(in crate::bridge) packet_bytes_max: usize,
    pub(in crate::bridge) qos_max: QoS,
    pub(in crate::bridge) retain: bool,
    pub(in crate::bridge) topic_alias_max: u16,
}

impl Limits {
    pub(super) const NONE: Self = Self {
        receive_max: u16::MAX,
        packet_bytes_max: usize::MAX,
        qos_max: QoS::ExactlyOnce,
        retain: true,
        topic_alias_max: 0,
    };
}

impl Link {
    pub(super) fn connect_packet(
        &self,
        clean_start: bool,
        out: &mut Outputs,
    ) -> Result<(), mqtt::EncodeError> {
        let config = &self.config;
        let topic = mapping::own_topic(&config.maps, &birth::topic(config));
        let payload = birth::will(config, self.connections);
        let mut properties = PropertiesBuf::new();
        if config.version == Version::V5 {
            let expiry = u32::try_from(config.session_expiry.as_secs()).unwrap_or(u32::MAX);
            properties.push(Property::U32(PropertyId::SessionExpiryInterval, expiry));
            let max = u32::try_from(PACKET_BYTES_MAX).unwrap_or(u32::MAX);
            properties.push(Property::U32(PropertyId::MaximumPacketSize, max));
            properties.push(Property::U16(PropertyId::ReceiveMaximum, RECEIVE_MAX));
        }
        let connect = Connect {
            version: config.version,
            bridge: self.as_bridge(),
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

    pub(super) fn connack(
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
                reason @ (ReasonCode::UseAnotherServer | ReasonCode::ServerMoved) => {
                    return Err(self.sent_elsewhere(reason, properties));
                }
                reason => {
                    if reason == ReasonCode::UnsupportedProtocolVersion && self.as_bridge() {
                        self.doubt_bridge(true);
                        return Err(Failure::ours("upstream doesn't know bridges; it is asked as a client"));
                    }
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
            // 5.0, 3.2.2.3.8: without it, none.
            topic_alias_max: small(number(PropertyId::TopicAliasMaximum)).unwrap_or(0),
        };
        // 5.0, 3.1.2-21: the server's keep alive replaces ours.
        self.keep_alive = small(number(PropertyId::ServerKeepAlive))
            .map_or(self.config.keep_alive, |seconds| Duration::from_secs(seconds.into()));
        self.state = State::Online { since: now.mono };
        self.since = now.wall;
        self.error = None;
        self.told.clear();
        self.backoff.accepted();
        if !self.is_elsewhere() {
            self.route.online(now.mono);
        }
        // A session after a clean start is none of ours (3.2.2-2): nothing is resumed from it.
        events.push(Event::Online { session_present: connack.session_present && !clean });
        Ok(())
    }

    /// Whether this attempt says that we are a bridge: an upstream that knows the flag sends none of our messages back, and
    /// RETAIN as published. 5.0 has options of a subscription for both.
    fn as_bridge(&self) -> bool {
        self.wants_bridge && !self.plain && !matches!(self.config.version, Version::V5)
    }

    /// Upstream may not know the flag: some answer with the return code for it, some close without a word.
    pub(super) fn doubt_bridge(&mut self, plain_is_sure: bool) {
        if self.wants_bridge && !matches!(self.config.version, Version::V5) {
            self.plain = plain_is_sure || !self.plain;
        }
    }
}
