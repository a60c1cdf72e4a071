//! What goes to the outboxes: whatever a rule names, once; and once more what a client sends again after a crash, since
//! only the outbox knows whether it had it by then, or after an outbox has refused it.

use crc::{CRC_32_ISCSI, Crc, Table};

use super::access::Access;
use super::flow::{Exchange, Publisher};
use super::journal::Class;
use super::message::Outgoing;
use super::route::{Memo, Route};
use super::session::SessionIdx;
use super::{Broker, Event};
use crate::message::SafeToken;
use crate::mqtt::{Properties, Publish, QoS};
use crate::state::Key;
use crate::time::Mono;

/// Over topics and payloads of QoS 2 messages: CRC-32C.
static FINGERPRINT: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Tells a message from another one under the same identifier.
pub(super) fn fingerprint(topic: &str, payload: &[u8]) -> u32 {
    let mut digest = FINGERPRINT.digest();
    digest.update(topic.as_bytes());
    digest.update(&[0]);
    digest.update(payload);
    digest.finalize()
}

impl Broker {
    /// Hands a message to the outboxes of its route. Gives the token that its acknowledgement must wait for, if somebody
    /// wants one and an outbox or the disk is concerned.
    pub(super) fn forward(
        &mut self,
        message: &mut Outgoing<'_>,
        route: &Route,
        by: Option<Publisher>,
    ) -> Option<SafeToken> {
        if route.outboxes.is_empty() {
            return message.token;
        }
        // What came from an upstream never goes back there.
        let origin = message.origin;
        let outboxes = || route.outboxes.iter().filter(|outbox| Some(**outbox) != origin);
        if let Some(by) = by.filter(|_| outboxes().next().is_some()) {
            let token = *message.token.get_or_insert_with(|| self.tokens.make(by));
            self.tokens.expect_more(token, outboxes().count());
        }
        let token = message.token;
        for outbox in outboxes() {
            let message = message.kept().message.clone();
            self.events.push_back(Event::Forward { outbox: *outbox, message, token });
        }
        token
    }

    /// A PUBLISH whose identifier stands for a message that subscribers have, and the outboxes may not: its identifier was
    /// on disk when the process ended, and they are synced by themselves; or they refused it. Sent again it goes
    /// to them alone, with DUP (3.3.1-1) or without: 4.3.3 counts the identifier, and clients forget to set it after two
    /// attempts to connect (paho does); upstream it may come twice, as anything may over a crash. Another message under that
    /// identifier says that the client has ended the exchange: the old one is forgotten. Gives whether that was on disk.
    pub(super) fn take_up(
        &mut self,
        idx: SessionIdx,
        (publish, properties): (&Publish<'_>, Properties<'_>),
        memo: &Memo,
        now: Mono,
    ) -> bool {
        let (QoS::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id) else { return false };
        let Some(session) = self.sessions.get_mut(idx) else { return false };
        let serial = session.serial;
        let Some(incoming) = session.incoming.get_mut(&packet_id).filter(|incoming| incoming.unforwarded)
        else {
            return false;
        };
        let is_known = |known| known == fingerprint(&memo.topic, publish.payload);
        let is_same =
            incoming.fingerprint.map_or(publish.dup, is_known) && (publish.dup || !incoming.refused);
        if !is_same {
            let on_disk = incoming.on_disk;
            session.incoming.remove(&packet_id);
            self.journal.forget(Key::Incoming(serial, packet_id), on_disk, Class::Soon, None);
            return on_disk;
        }
        (incoming.unforwarded, incoming.refused) = (false, false);
        if memo.route.access != Access::Allowed || memo.may_write != Some(true) {
            return false;
        }
        let qos = (publish.qos, publish.retain);
        let mut message =
            Outgoing::borrowed(&memo.topic, publish.payload, properties, qos, (Some(idx), None), now);
        let by = Publisher::Client(Exchange { session: idx, serial, packet_id, qos: publish.qos });
        let token = self.forward(&mut message, &memo.route, Some(by));
        if let Some(incoming) = self.sessions.get_mut(idx).and_then(|s| s.incoming.get_mut(&packet_id)) {
            incoming.token = token;
        }
        false
    }
}
