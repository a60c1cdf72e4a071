//! A message that upstream answers by closing the connection would be sent first on every connection and stop
//! everything behind it. It is found here, sent alone to be sure, and at last given up.

use super::link::Cut;

/// From so many connections that ended at the same record on, it is sent alone.
const ALONE_FROM: u32 = 2;
/// After so many it is given up, if upstream doesn't say why it closes. With the backoff that is about an hour: an
/// upstream whose rights are being mended must not cost readings, a message that it can't stomach must not block
/// for ever.
const GIVE_UP_AT: u32 = 100;

/// What the connections so far say about the first record.
#[derive(Debug, Default)]
pub(super) struct Suspect {
    no: u64,
    times: u32,
    /// In this connection upstream acknowledged a slot, so it took packets; and no record so far.
    slot_acked: bool,
    record_acked: bool,
}

impl Suspect {
    pub(super) fn online(&mut self) {
        self.slot_acked = false;
        self.record_acked = false;
    }

    pub(super) fn slot_acked(&mut self) {
        self.slot_acked = true;
    }

    /// A record was answered: whatever ended connections before, it was none of the records.
    pub(super) fn record_acked(&mut self) {
        self.record_acked = true;
        self.times = 0;
    }

    /// The connection ended while `first` was the oldest of `in_flight` records; whether that record is to be
    /// given up.
    pub(super) fn ended(&mut self, cut: Cut, first: u64, in_flight: usize) -> bool {
        let about_message = cut == Cut::Refused;
        // A connection that was never good says nothing about a record, nor does one that we closed.
        if cut == Cut::Ours || self.record_acked || !(self.slot_acked || about_message) {
            return false;
        }
        self.times = if self.no == first { self.times.saturating_add(1) } else { 1 };
        self.no = first;
        let alone = in_flight == 1;
        if about_message && !alone {
            self.times = self.times.max(ALONE_FROM);
        }
        let give_up = alone && (about_message || self.times >= GIVE_UP_AT);
        if give_up {
            self.times = 0;
        }
        give_up
    }

    /// Whether the next record is to be sent alone.
    pub(super) const fn alone(&self) -> bool {
        self.times >= ALONE_FROM
    }
}
