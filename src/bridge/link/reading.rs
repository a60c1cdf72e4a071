//! What upstream says: bytes to packets, and what each means for the link.

use super::failure::{Failure, about_message, needs_people, with_reason, wrong};
use super::{Cut, Event, Link, PACKET_BYTES_MAX, State};
use crate::bridge::inbound::Arrived;
use crate::bridge::outputs::Outputs;
use crate::mqtt::{self, Packet, ReasonCode, Version};
use crate::time::Now;

impl Link {
    pub(in crate::bridge) fn bytes(
        &mut self,
        now: Now,
        bytes: &[u8],
        out: &mut Outputs,
        events: &mut Vec<Event>,
    ) {
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
                        && let Some(refusal) = self.odd_refusal(frame).or_else(|| self.bad_topic(frame))
                    {
                        events.push(refusal);
                        continue;
                    }
                    packet
                }
                Err(error) => Err(error),
            };
            let failure = match packet {
                Ok(packet) => self.packet(now, packet, events),
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

    fn packet(&mut self, now: Now, packet: Packet<'_>, events: &mut Vec<Event>) -> Result<(), Failure> {
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
            Packet::Publish(publish) => events.push(Event::Publish(Arrived::new(&publish))),
            Packet::PubRel(ack) => events.push(Event::PubRel(ack.packet_id)),
            Packet::SubAck(suback) => {
                events.push(Event::SubAck { id: suback.packet_id, codes: suback.codes.to_vec() });
            }
            // A leftover of another client's session under our identifier.
            Packet::UnsubAck(_) => {}
            Packet::Disconnect(disconnect)
                if matches!(disconnect.reason, ReasonCode::UseAnotherServer | ReasonCode::ServerMoved) =>
            {
                return Err(self.sent_elsewhere(disconnect.reason, disconnect.properties));
            }
            Packet::Disconnect(disconnect) if self.config.version == Version::V5 => {
                return Err(Failure {
                    words: with_reason("upstream disconnects", disconnect.reason, disconnect.properties),
                    refused: needs_people(disconnect.reason) && !about_message(disconnect.reason),
                    cut: if about_message(disconnect.reason) { Cut::Refused } else { Cut::Closed },
                    taken_over: disconnect.reason == ReasonCode::SessionTakenOver,
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
}
