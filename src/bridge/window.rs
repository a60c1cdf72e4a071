//! What was sent and is not acknowledged: packet identifiers, the order of sending, and the prefix of records that
//! are done. It spans at most the inflight limit, so that this is also the most that can arrive twice after a cut;
//! where readings share messages, so many times what may share one.

mod group;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::inbound::SUBSCRIBE_ID_FIRST;
use super::queue::{Since, Taken};
use super::slots::SlotKey;
use super::streams::{Place, StreamNo};
use crate::message::Message;
use crate::mqtt::PacketId;
use crate::time::Mono;

/// Whose packet identifier it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A record's.
    Record(Place),
    /// A latest-value slot's.
    Slot(SlotKey),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a message with others, which the first of them stands for.
    Grouped,
    /// To be sent, or sent again.
    Waiting,
    /// On its way since.
    Sent,
    /// Acknowledged, or given up; it stays until all before it are done.
    Done { delivered: bool },
}

/// One record between the queue and its acknowledgement.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    /// Its bytes as a record.
    pub(super) size: usize,
    message: Option<Message>,
    /// Since when it waits, or is on its way.
    since: Since,
    state: State,
    id: Option<PacketId>,
    /// Sent before under this identifier, in a session that upstream still has (3.3.1.1).
    dup: bool,
    /// Sent before its turn: it leaves as soon as it is done.
    ahead: bool,
    /// The order of sending, which is that of sending again (4.6).
    turn: u64,
}

impl Entry {
    fn told(&self) -> (u64, usize, bool) {
        (self.place.no, self.size, matches!(self.state, State::Done { .. }))
    }
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    owner: Owner,
    at: Mono,
    again: bool,
}

/// A record that left the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) place: Place,
    pub(super) size: usize,
    pub(super) delivered: bool,
    /// It was sent before its turn.
    pub(super) ahead: bool,
}

/// What must be written for a waiting entry.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) place: Place,
    pub(super) message: Message,
    pub(super) since: Since,
    pub(super) dup: bool,
    /// Before its turn.
    pub(super) ahead: bool,
}

/// The window of one upstream. It outlives connections.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// By stream and number.
    entries: VecDeque<Entry>,
    /// Done before their turn, and not popped yet.
    finished: Vec<Done>,
    turns: u64,
    /// The waiting entries' numbers, by turn: usually one, after a cut the whole window.
    waiting: BTreeMap<u64, Place>,
    /// Identifiers that waiting entries still have from the connection before.
    held_ids: HashSet<PacketId>,
    /// Bytes of entries that are not done.
    bytes: usize,
    flights: HashMap<PacketId, Flight>,
    /// Of these, the ones that aren't slots.
    publishes_in_flight: usize,
    /// The others that share a message with this one, which stands for all.
    groups: HashMap<Place, Vec<Place>>,
    /// In the order of sending, with the turn in which that was; finished ones are taken off when they come to the front.
    log: VecDeque<(PacketId, Mono, u64)>,
    last_id: u16,
    round_trip: Option<Duration>,
}

impl Window {
    /// Takes the next record.
    pub(super) fn push(&mut self, stream: StreamNo, taken: Taken) {
        let Taken { no, size, message, since, ahead } = taken;
        let place = Place { stream, no };
        self.bytes += size;
        self.turns += 1;
        self.waiting.insert(self.turns, place);
        let entry = Entry {
            place,
            size,
            message: Some(message),
            since,
            state: State::Waiting,
            id: None,
            dup: false,
            ahead,
            turn: self.turns,
        };
        if self.entries.back().is_none_or(|last| last.place < place) {
            self.entries.push_back(entry);
            return;
        }
        let at = self.entries.partition_point(|before| before.place < place);
        self.entries.insert(at, entry);
    }

    /// The first that must be sent (again).
    pub(super) fn due(&self) -> Option<Due> {
        let entry = self.find(*self.waiting.first_key_value()?.1)?;
        Some(Due {
            place: entry.place,
            message: entry.message.clone()?,
            since: entry.since,
            dup: entry.dup,
            ahead: entry.ahead,
        })
    }

    /// The identifier to send a record with: its own if upstream may know it, else a fresh one.
    pub(super) fn id_for(&mut self, place: Place) -> Option<PacketId> {
        if let Some(id) = self.entry(place)?.id {
            return Some(id);
        }
        let id = self.free_id()?;
        self.entry(place)?.id = Some(id);
        Some(id)
    }

    /// The record was written to the transport.
    pub(super) fn sent(&mut self, place: Place, at: Mono) {
        let Some(entry) = self.entry(place) else { return };
        let (Some(id), State::Waiting) = (entry.id, entry.state) else { return };
        entry.state = State::Sent;
        let (again, turn) = (entry.dup, entry.turn);
        self.waiting.remove(&turn);
        self.held_ids.remove(&id);
        self.publishes_in_flight += 1;
        self.fly(id, Flight { owner: Owner::Record(place), at, again });
    }

    /// A slot's value was written under this identifier.
    pub(super) fn slot_sent(&mut self, id: PacketId, key: SlotKey, at: Mono) {
        self.fly(id, Flight { owner: Owner::Slot(key), at, again: false });
    }

    /// The message of a record that is not done.
    pub(super) fn message(&mut self, place: Place) -> Option<Message> {
        self.entry(place)?.message.clone()
    }

    /// The local topic of a record that is not done.
    pub(super) fn topic(&self, place: Place) -> Option<&Arc<str>> {
        Some(&self.find(place)?.message.as_ref()?.topic)
    }

    fn fly(&mut self, id: PacketId, flight: Flight) {
        self.log.push_back((id, flight.at, self.turns));
        self.flights.insert(id, flight);
    }

    /// PUBACK: whose it was; `None` for an identifier that isn't on its way. The exchange is over.
    pub(super) fn answered(&mut self, id: PacketId, now: Mono) -> Option<Owner> {
        let flight = self.flights.remove(&id)?;
        if !flight.again {
            // As for TCP (RFC 6298), and as there without what was sent twice.
            let sample = now.since(flight.at);
            self.round_trip = Some(self.round_trip.map_or(sample, |smooth| (smooth * 7 + sample) / 8));
        }
        if let Owner::Record(place) = flight.owner {
            self.publishes_in_flight -= 1;
            if let Some(entry) = self.entry(place) {
                entry.id = None;
                entry.state = State::Waiting;
                entry.dup = false;
                let turn = entry.turn;
                self.waiting.insert(turn, place);
            }
        }
        self.sweep_log();
        Some(flight.owner)
    }

    /// A waiting record, or one that is grouped, is done: acknowledged, handed over at QoS 0, or given up.
    pub(super) fn done(&mut self, place: Place, delivered: bool) {
        let Some(entry) = self.entry(place) else { return };
        if !matches!(entry.state, State::Waiting | State::Grouped) {
            return;
        }
        entry.state = State::Done { delivered };
        entry.message = None;
        let id = entry.id.take();
        let (size, ahead, turn) = (entry.size, entry.ahead, entry.turn);
        self.waiting.remove(&turn);
        if let Some(id) = id {
            self.held_ids.remove(&id);
        }
        self.bytes -= size;
        if ahead {
            if let Some(at) = self.index(place) {
                self.entries.remove(at);
            }
            self.finished.push(Done { place, size, delivered, ahead });
        }
    }

    /// Takes off a record that is done: the first of a stream, or one that was sent before its turn.
    pub(super) fn pop(&mut self) -> Option<Done> {
        if let Some(done) = self.finished.pop() {
            return Some(done);
        }
        // The first of each stream.
        let mut at = 0;
        let delivered = loop {
            let entry = self.entries.get(at)?;
            if let State::Done { delivered } = entry.state {
                break delivered;
            }
            let stream = entry.place.stream;
            at = self.entries.partition_point(|entry| entry.place.stream <= stream);
        };
        let entry = self.entries.remove(at)?;
        Some(Done { place: entry.place, size: entry.size, delivered, ahead: false })
    }

    /// The connection is gone: everything not done waits, and keeps its identifier until we know whether
    /// upstream kept the session.
    pub(super) fn link_down(&mut self) {
        self.flights.clear();
        self.log.clear();
        self.publishes_in_flight = 0;
        for entry in &mut self.entries {
            if entry.state == State::Sent {
                entry.state = State::Waiting;
                entry.dup = true;
                self.waiting.insert(entry.turn, entry.place);
                self.held_ids.extend(entry.id);
            }
        }
    }

    /// A connection is there. With the session kept, the same identifiers and DUP (4.4); without, all is new.
    pub(super) fn link_up(&mut self, session_present: bool) {
        if session_present {
            return;
        }
        for entry in &mut self.entries {
            entry.id = None;
            entry.dup = false;
        }
        self.held_ids.clear();
    }

    /// When the oldest that is on its way was sent.
    pub(super) fn oldest_flight(&self) -> Option<Mono> {
        self.log.front().map(|&(_, at, _)| at)
    }

    fn sweep_log(&mut self) {
        while let Some(&(id, at, _)) = self.log.front() {
            if self.flights.get(&id).is_some_and(|flight| flight.at == at) {
                break;
            }
            self.log.pop_front();
        }
    }

    /// How many records were taken since the oldest that is on its way was sent.
    pub(super) fn lag(&self) -> u64 {
        self.log.front().map_or(0, |&(_, _, turn)| self.turns.saturating_sub(turn))
    }

    /// The numbers of a stream's that are not done.
    pub(super) fn open(&self, stream: StreamNo) -> impl Iterator<Item = u64> {
        self.of(stream).filter(|&(.., done)| !done).map(|(no, ..)| no)
    }

    /// The record on its way that was taken first.
    pub(super) fn first_in_flight(&self) -> Option<Place> {
        let sent = self.entries.iter().filter(|entry| entry.state == State::Sent);
        sent.min_by_key(|entry| entry.turn).map(|entry| entry.place)
    }

    /// The first record of a stream that is not done.
    pub(super) fn first(&self, stream: StreamNo) -> Option<u64> {
        self.of(stream).next().map(|(no, ..)| no)
    }

    /// Records from the first that is not done to the last that was sent.
    pub(super) fn span(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of records that are not done.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything on its way: records and slots.
    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Messages with records on their way.
    pub(super) const fn publishes_in_flight(&self) -> usize {
        self.publishes_in_flight
    }

    pub(super) fn slots_in_flight(&self) -> usize {
        self.flights.len() - self.publishes_in_flight
    }

    pub(super) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// The entries of one stream, with their number, bytes, and whether they are done.
    pub(super) fn of(&self, stream: StreamNo) -> impl Iterator<Item = (u64, usize, bool)> {
        let begin = self.entries.partition_point(|entry| entry.place.stream < stream);
        let rest = self.entries.range(begin..);
        rest.take_while(move |entry| entry.place.stream == stream).map(Entry::told)
    }

    fn entry(&mut self, place: Place) -> Option<&mut Entry> {
        let at = self.index(place)?;
        self.entries.get_mut(at)
    }

    fn find(&self, place: Place) -> Option<&Entry> {
        self.entries.get(self.index(place)?)
    }

    fn index(&self, place: Place) -> Option<usize> {
        self.entries.binary_search_by_key(&place, |entry| entry.place).ok()
    }

    /// The next identifier that nobody holds (2.2.1).
    pub(super) fn free_id(&mut self) -> Option<PacketId> {
        for _ in 0..=u16::MAX {
            self.last_id = (self.last_id + 1) % SUBSCRIBE_ID_FIRST;
            if self.last_id == 0 {
                continue;
            }
            let id = PacketId::new(self.last_id)?;
            if !self.flights.contains_key(&id) && !self.held_ids.contains(&id) {
                return Some(id);
            }
        }
        None
    }
}
