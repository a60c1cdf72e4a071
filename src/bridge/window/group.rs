//! Records that share a message: the first stands for all. It has the packet identifier, is sent and answered; the others
//! are done with it, or part from it and go by themselves.

use super::{Owner, Place, State, Window};
use crate::message::Message;

impl Window {
    /// A record that was just taken waits for others.
    pub(in crate::bridge) fn set_aside(&mut self, place: Place) {
        let Some(entry) = self.entry(place).filter(|entry| entry.state == State::Waiting) else { return };
        entry.state = State::Grouped;
        let turn = entry.turn;
        self.waiting.remove(&turn);
    }

    /// Records that were set aside are to be sent in one message. It is their turn now, behind what was sent meanwhile.
    pub(in crate::bridge) fn join(&mut self, first: Place, others: Vec<Place>) {
        for place in std::iter::once(&first).chain(&others) {
            self.turns += 1;
            let turn = self.turns;
            if let Some(entry) = self.entry(*place) {
                entry.turn = turn;
            }
        }
        self.wait(first);
        if !others.is_empty() {
            self.groups.insert(first, others);
        }
    }

    fn wait(&mut self, place: Place) {
        let Some(entry) = self.entry(place).filter(|entry| entry.state == State::Grouped) else { return };
        entry.state = State::Waiting;
        let turn = entry.turn;
        self.waiting.insert(turn, place);
    }

    /// The messages of those that share one with this record, itself the first.
    pub(in crate::bridge) fn messages(&self, first: Place) -> impl Iterator<Item = (Place, &Message)> {
        let others = self.groups.get(&first).into_iter().flatten().copied();
        let places = std::iter::once(first).chain(others);
        places.filter_map(|place| Some((place, self.find(place)?.message.as_ref()?)))
    }

    /// Takes a message apart that is not on its way: those that share it with this record.
    pub(in crate::bridge) fn part(&mut self, first: Place) -> Vec<Place> {
        if self.groups.is_empty() { Vec::new() } else { self.groups.remove(&first).unwrap_or_default() }
    }

    /// Whether a record stands for others as well.
    pub(in crate::bridge) fn is_group(&self, first: Place) -> bool {
        !self.groups.is_empty() && self.groups.contains_key(&first)
    }

    /// Those that share a message with this record, which is not on its way, are sent each by itself. It keeps its
    /// identifier, if upstream may know that.
    pub(in crate::bridge) fn send_singly(&mut self, first: Place) {
        for place in self.part(first) {
            self.wait(place);
        }
    }

    /// The same for all that are not on their way.
    pub(in crate::bridge) fn send_all_singly(&mut self) {
        let waits = |first: &Place| self.find(*first).is_some_and(|entry| entry.state != State::Sent);
        let firsts: Vec<Place> = self.groups.keys().copied().filter(waits).collect();
        for first in firsts {
            self.send_singly(first);
        }
    }

    /// Records on their way.
    pub(in crate::bridge) fn records_in_flight(&self) -> usize {
        if self.groups.is_empty() {
            return self.publishes_in_flight;
        }
        let owners = self.flights.values().map(|flight| match flight.owner {
            Owner::Record(first) => 1 + self.groups.get(&first).map_or(0, Vec::len),
            Owner::Slot(_) => 0,
        });
        owners.sum()
    }
}
