//! Packets that break the standard, and are understood nevertheless, because closing for them would bring them again.

use super::{Event, Link, State};
use crate::mqtt::{self, PacketId, QoS, ReasonCode, Version, topic};

impl Link {
    /// Brokers refuse with reasons that the standard's table doesn't give to PUBACK (Mosquitto: 0x95). To close
    /// for that would send the same message again and again.
    pub(super) fn odd_refusal(&self, frame: mqtt::Frame<'_>) -> Option<Event> {
        let online = matches!(self.state, State::Online { .. }) && self.config.version == Version::V5;
        let &[high, low, reason, ..] = frame.body else { return None };
        let id = PacketId::new(u16::from_be_bytes([high, low]))?;
        let reason = ReasonCode::from_u8(reason).filter(|reason| reason.is_error())?;
        (online && frame.first == 0x40).then_some(Event::PubAck { id, reason })
    }

    /// A PUBLISH with a topic that is none. To close for that would bring the same message again and again.
    pub(super) fn bad_topic(&self, frame: mqtt::Frame<'_>) -> Option<Event> {
        let &[high, low, ref rest @ ..] = frame.body else { return None };
        let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        let name = std::str::from_utf8(topic).ok()?;
        let is_publish = frame.first >> 4 == 3 && matches!(self.state, State::Online { .. });
        if !is_publish || topic::check_name(name).is_ok() {
            return None;
        }
        let qos = QoS::from_u8(frame.first >> 1 & 0b11)?;
        let id = match (qos, rest) {
            (QoS::AtMostOnce, _) => None,
            (_, &[high, low, ..]) => Some(PacketId::new(u16::from_be_bytes([high, low]))?),
            _ => return None,
        };
        Some(Event::Unusable { id, qos })
    }
}
