//! The gateway's own retained topics (status, health, info): one newest value each, sent again on every connection.
//! They bypass the outbox: an old health value is worth nothing.

use std::sync::Arc;

use bytes::Bytes;

/// Topics at most: one per device and a few of the gateway's own, with room. Worst memory: this times the size of
/// a payload, a few KB each. A further topic replaces the one that was set longest ago.
pub(super) const SLOTS_MAX: usize = 1024;

/// Names a slot towards the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotKey(u64);

/// One topic's newest value.
#[derive(Debug)]
pub(super) struct Slot {
    key: SlotKey,
    /// The local topic.
    pub(super) topic: Arc<str>,
    pub(super) payload: Bytes,
    /// The turn in which it wants to be sent; `None` if it was sent.
    due: Option<u64>,
    set: u64,
}

/// All slots.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    keys: u64,
    clock: u64,
}

impl Slots {
    /// Sets a topic's value. Returns false if another topic had to give way.
    pub(super) fn set(&mut self, topic: &Arc<str>, payload: Bytes) -> bool {
        self.clock += 1;
        let clock = self.clock;
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.topic == *topic) {
            slot.payload = payload;
            slot.set = clock;
            slot.due.get_or_insert(clock);
            return true;
        }
        let room = self.slots.len() < SLOTS_MAX;
        if !room && let Some(oldest) = (0..self.slots.len()).min_by_key(|&i| self.slots.get(i).map(|s| s.set))
        {
            self.slots.remove(oldest);
        }
        self.keys += 1;
        let key = SlotKey(self.keys);
        self.slots.push(Slot { key, topic: topic.clone(), payload, due: Some(clock), set: clock });
        room
    }

    /// Sets a topic's value and puts it before all others.
    pub(super) fn set_first(&mut self, topic: &Arc<str>, payload: Bytes) {
        self.set(topic, payload);
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.topic == *topic) {
            slot.due = Some(0);
        }
    }

    /// A new connection: the upstream may have lost everything, so all values are sent again.
    pub(super) fn all_due(&mut self) {
        for slot in &mut self.slots {
            slot.due = Some(slot.set);
        }
    }

    /// The one that waits longest.
    pub(super) fn next(&self) -> Option<&Slot> {
        self.slots.iter().filter(|slot| slot.due.is_some()).min_by_key(|slot| slot.due)
    }

    /// Whether a topic's value is to be sent.
    pub(super) fn is_due(&self, topic: &str) -> bool {
        self.slots.iter().any(|slot| *slot.topic == *topic && slot.due.is_some())
    }

    /// It was sent, or can't be sent.
    pub(super) fn done(&mut self, key: SlotKey) {
        if let Some(slot) = self.get_mut(key) {
            slot.due = None;
        }
    }

    /// It must be sent again, unless a newer value already waits.
    pub(super) fn again(&mut self, key: SlotKey) {
        self.clock += 1;
        let clock = self.clock;
        if let Some(slot) = self.get_mut(key) {
            slot.due.get_or_insert(clock);
        }
    }

    pub(super) fn get(&self, key: SlotKey) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.key == key)
    }

    fn get_mut(&mut self, key: SlotKey) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.key == key)
    }
}

impl Slot {
    pub(super) const fn key(&self) -> SlotKey {
        self.key
    }
}
