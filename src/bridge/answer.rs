//! What upstream says to a message: taken, not now, or never.

use super::window::Owner;
use super::{Bridge, mapping};
use crate::mqtt::{PacketId, ReasonCode};
use crate::time::Now;

impl Bridge {
    pub(super) fn puback(&mut self, now: Now, id: PacketId, reason: ReasonCode) {
        // An identifier that isn't on its way: an answer from before, or a mistake; it changes nothing.
        let Some(owner) = self.window.answered(id, now.mono) else { return };
        self.pace.acknowledged(now.mono);
        if matches!(reason, ReasonCode::QuotaExceeded | ReasonCode::PacketIdentifierInUse) {
            // Not now, or not under this identifier: it stays the head, so that the order is kept.
            self.quota.refused(now.mono);
            if let Owner::Slot(key) = owner {
                self.slots.again(key);
            }
            return;
        }
        if !reason.is_error() {
            self.quota.accepted();
        }
        match owner {
            Owner::Slot(_) => self.suspect.slot_acked(),
            Owner::Record(_) => self.suspect.record_acked(),
        }
        match owner {
            Owner::Slot(key) => {
                if reason.is_error()
                    && let Some(slot) = self.slots.get(key)
                {
                    let topic = mapping::own_topic(&self.config.maps, &slot.topic);
                    self.tell_refused(topic, reason.words());
                }
                if self.slots.get(key).is_some_and(|slot| slot.topic == self.status_topic) {
                    self.watch.birth_acked();
                }
                self.stop_answered(id);
            }
            // One of them must not cost the others: each goes by itself, and has its own answer.
            Owner::Record(place) if reason.is_error() && self.window.is_group(place) => {
                self.window.send_singly(place);
            }
            Owner::Record(place) if reason.is_error() => self.refuse(now, place, reason.words()),
            Owner::Record(place) => {
                if let Some(topic) = self.window.topic(place) {
                    self.suspect.took(topic);
                }
                self.deliver(place);
            }
        }
    }
}
