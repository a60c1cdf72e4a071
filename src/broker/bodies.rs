//! Messages on disk that several sessions share: each lies there once, and goes with the last session that has it.
//! Small ones lie in each session by themselves: a second key costs more than they do.

use std::collections::HashMap;
use std::sync::Arc;

use super::Broker;
use super::journal::Class;
use super::message::{Kept, Outgoing};
use crate::state::Key;

/// Topic, payload and properties from which on it pays.
const SHARED_BYTES_MIN: usize = 128;

/// A message in a session: the session's serial number, and the message's number there.
pub(super) type Place = (u64, u64);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    last: u64,
    bodies: HashMap<u64, Body>,
    of: HashMap<Place, u64>,
}

#[derive(Debug)]
struct Body {
    kept: Arc<Kept>,
    places: usize,
    on_disk: bool,
}

impl Bodies {
    fn make(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn add(&mut self, number: u64, kept: &Arc<Kept>, place: Place, on_disk: bool) {
        self.last = self.last.max(number);
        let new = || Body { kept: Arc::clone(kept), places: 0, on_disk };
        if self.of.insert(place, number).is_none() {
            self.bodies.entry(number).or_insert_with(new).places += 1;
        }
    }

    /// The body of a message in a session, if it is shared.
    pub(super) fn of(&self, place: Place) -> Option<u64> {
        self.of.get(&place).copied()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Arc<Kept>> {
        self.bodies.get(&number).map(|body| &body.kept)
    }

    pub(super) fn note_on_disk(&mut self, number: u64) {
        if let Some(body) = self.bodies.get_mut(&number) {
            body.on_disk = true;
        }
    }

    /// A message is in a session as it was before a restart.
    pub(super) fn restore(&mut self, number: u64, kept: &Arc<Kept>, place: Place) {
        self.add(number, kept, place, true);
    }

    /// Numbers up to here are not given any more.
    pub(super) fn skip_to(&mut self, number: u64) {
        self.last = self.last.max(number);
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.bodies.keys().copied()
    }
}

impl Broker {
    /// A message has come to one more session that is kept. From the second on they share it.
    pub(super) fn share(&mut self, message: &mut Outgoing<'_>, kept: &Arc<Kept>, place: Place) {
        if kept.bytes() < SHARED_BYTES_MIN {
            return;
        }
        let Some(first) = message.first else {
            message.first = Some(place);
            return;
        };
        let number = match message.body.filter(|number| self.bodies.get(*number).is_some()) {
            Some(number) => number,
            None => {
                let number = self.bodies.make();
                // It may have been dropped in the meantime. If not, it is not written yet, and will be as shared.
                let (serial, at) = first;
                let session = self.sessions.find_serial(serial).and_then(|idx| self.sessions.get(idx));
                if session.is_some_and(|session| session.message(at).is_some()) {
                    self.bodies.add(number, kept, first, false);
                }
                message.body = Some(number);
                number
            }
        };
        self.bodies.add(number, kept, place, false);
        // In the same batch as the first of them that is written.
        self.journal.touch(Key::Body(number), Class::Soon, None);
    }

    /// A session does not need its message any more.
    pub(super) fn unshare(&mut self, place: Place) {
        let Some(number) = self.bodies.of.remove(&place) else { return };
        let Some(body) = self.bodies.bodies.get_mut(&number) else { return };
        body.places = body.places.saturating_sub(1);
        if body.places == 0 {
            let on_disk = body.on_disk;
            self.bodies.bodies.remove(&number);
            self.journal.forget(Key::Body(number), on_disk, Class::Outdated, None);
        }
    }
}
