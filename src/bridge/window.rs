//! What was sent and is not acknowledged: packet identifiers, the order of sending, and the prefix of records that
//! are done. It spans at most the inflight limit, so that this is also the most that can arrive twice after a cut.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::inbound::SUBSCRIBE_ID_FIRST;
use super::queue::Taken;
use super::slots::SlotKey;
use crate::message::Message;
use crate::mqtt::PacketId;
use crate::time::Mono;

/// Whose packet identifier it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A record's, by number.
    Record(u64),
    /// A latest-value slot's.
    Slot(SlotKey),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
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
    pub(super) no: u64,
    /// Its bytes as a record.
    pub(super) size: usize,
    message: Option<Message>,
    state: State,
    id: Option<PacketId>,
    /// Sent before under this identifier, in a session that upstream still has (3.3.1.1).
    dup: bool,
    /// Sent before its turn: it leaves as soon as it is done.
    ahead: bool,
    /// The order of sending, which is that of sending again (4.6).
    turn: u64,
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
    pub(super) no: u64,
    pub(super) size: usize,
    pub(super) delivered: bool,
    /// It was sent before its turn.
    pub(super) ahead: bool,
}

/// What must be written for a waiting entry.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) no: u64,
    pub(super) message: Message,
    pub(super) dup: bool,
    /// Before its turn.
    pub(super) ahead: bool,
}

/// The window of one upstream. It outlives connections.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// By number.
    entries: VecDeque<Entry>,
    /// Done before their turn, and not popped yet.
    finished: Vec<Done>,
    turns: u64,
    waiting: usize,
    /// Bytes of entries that are not done.
    bytes: usize,
    flights: HashMap<PacketId, Flight>,
    records_in_flight: usize,
    /// In the order of sending; finished ones are taken off when they come to the front.
    log: VecDeque<(PacketId, Mono)>,
    last_id: u16,
    round_trip: Option<Duration>,
}

impl Window {
    /// Takes the next record.
    pub(super) fn push(&mut self, taken: Taken) {
        let Taken { no, size, message, ahead, .. } = taken;
        self.waiting += 1;
        self.bytes += size;
        self.turns += 1;
        let entry = Entry {
            no,
            size,
            message: Some(message),
            state: State::Waiting,
            id: None,
            dup: false,
            ahead,
            turn: self.turns,
        };
        let at = self.entries.partition_point(|before| before.no < no);
        self.entries.insert(at, entry);
    }

    /// The first that must be sent (again).
    pub(super) fn due(&self) -> Option<Due> {
        if self.waiting == 0 {
            return None;
        }
        let waiting = self.entries.iter().filter(|entry| entry.state == State::Waiting);
        let entry = waiting.min_by_key(|entry| entry.turn)?;
        Some(Due { no: entry.no, message: entry.message.clone()?, dup: entry.dup, ahead: entry.ahead })
    }

    /// The identifier to send a record with: its own if upstream may know it, else a fresh one.
    pub(super) fn id_for(&mut self, no: u64) -> Option<PacketId> {
        if let Some(id) = self.entry(no)?.id {
            return Some(id);
        }
        let id = self.free_id()?;
        self.entry(no)?.id = Some(id);
        Some(id)
    }

    /// The record was written to the transport.
    pub(super) fn sent(&mut self, no: u64, at: Mono) {
        let Some(entry) = self.entry(no) else { return };
        let (Some(id), State::Waiting) = (entry.id, entry.state) else { return };
        entry.state = State::Sent;
        let again = entry.dup;
        self.waiting -= 1;
        self.records_in_flight += 1;
        self.fly(id, Flight { owner: Owner::Record(no), at, again });
    }

    /// A slot's value was written under this identifier.
    pub(super) fn slot_sent(&mut self, id: PacketId, key: SlotKey, at: Mono) {
        self.fly(id, Flight { owner: Owner::Slot(key), at, again: false });
    }

    /// The message of a record that is not done.
    pub(super) fn message(&mut self, no: u64) -> Option<Message> {
        self.entry(no)?.message.clone()
    }

    fn fly(&mut self, id: PacketId, flight: Flight) {
        self.log.push_back((id, flight.at));
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
        if let Owner::Record(no) = flight.owner {
            self.records_in_flight -= 1;
            if let Some(entry) = self.entry(no) {
                entry.id = None;
                entry.state = State::Waiting;
                entry.dup = false;
                self.waiting += 1;
            }
        }
        self.sweep_log();
        Some(flight.owner)
    }

    /// A waiting record is done: acknowledged, handed over at QoS 0, or given up.
    pub(super) fn done(&mut self, no: u64, delivered: bool) {
        let Some(entry) = self.entry(no) else { return };
        if entry.state != State::Waiting {
            return;
        }
        entry.state = State::Done { delivered };
        entry.message = None;
        entry.id = None;
        let (size, ahead) = (entry.size, entry.ahead);
        self.waiting -= 1;
        self.bytes -= size;
        if ahead {
            self.entries.retain(|entry| entry.no != no);
            self.finished.push(Done { no, size, delivered, ahead });
        }
    }

    /// Takes off a record that is done: the first, or one that was sent before its turn.
    pub(super) fn pop(&mut self) -> Option<Done> {
        if let Some(done) = self.finished.pop() {
            return Some(done);
        }
        let State::Done { delivered } = self.entries.front()?.state else { return None };
        let entry = self.entries.pop_front()?;
        Some(Done { no: entry.no, size: entry.size, delivered, ahead: false })
    }

    /// The connection is gone: everything not done waits, and keeps its identifier until we know whether
    /// upstream kept the session.
    pub(super) fn link_down(&mut self) {
        self.flights.clear();
        self.log.clear();
        self.records_in_flight = 0;
        self.waiting = 0;
        for entry in &mut self.entries {
            if entry.state == State::Sent {
                entry.state = State::Waiting;
                entry.dup = true;
            }
            self.waiting += usize::from(entry.state == State::Waiting);
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
    }

    /// When the oldest that is on its way was sent.
    pub(super) fn oldest_flight(&self) -> Option<Mono> {
        self.log.front().map(|&(_, at)| at)
    }

    fn sweep_log(&mut self) {
        while let Some(&(id, at)) = self.log.front() {
            if self.flights.get(&id).is_some_and(|flight| flight.at == at) {
                break;
            }
            self.log.pop_front();
        }
    }

    /// The oldest record on its way.
    pub(super) fn first_in_flight(&self) -> Option<u64> {
        self.entries.iter().find(|entry| entry.state == State::Sent).map(|entry| entry.no)
    }

    /// The first record that is not done.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.no)
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

    pub(super) const fn records_in_flight(&self) -> usize {
        self.records_in_flight
    }

    pub(super) fn slots_in_flight(&self) -> usize {
        self.flights.len() - self.records_in_flight
    }

    pub(super) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Entries with their number, bytes, and whether they are done.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, usize, bool)> {
        self.entries.iter().map(|entry| (entry.no, entry.size, matches!(entry.state, State::Done { .. })))
    }

    fn entry(&mut self, no: u64) -> Option<&mut Entry> {
        let at = self.entries.binary_search_by_key(&no, |entry| entry.no).ok()?;
        self.entries.get_mut(at)
    }

    /// The next identifier that nobody holds (2.2.1).
    pub(super) fn free_id(&mut self) -> Option<PacketId> {
        for _ in 0..=u16::MAX {
            self.last_id = (self.last_id + 1) % SUBSCRIBE_ID_FIRST;
            if self.last_id == 0 {
                continue;
            }
            let id = PacketId::new(self.last_id)?;
            if !self.flights.contains_key(&id) && !self.is_held(id) {
                return Some(id);
            }
        }
        None
    }

    /// Whether a waiting record still has this identifier from the connection before.
    fn is_held(&self, id: PacketId) -> bool {
        self.waiting > 0 && self.entries.iter().any(|entry| entry.id == Some(id))
    }
}
