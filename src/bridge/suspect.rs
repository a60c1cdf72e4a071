//! A message that upstream answers by closing the connection would be sent first on every connection and stop
//! everything behind it. It is found here, sent alone to be sure, and at last given up.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::link::Cut;
use super::streams::Place;
use crate::time::Mono;

/// From so many connections that ended at the same record on, it is sent alone.
const ALONE_FROM: u32 = 2;
/// After so many it is given up, if upstream doesn't say why it closes, and took no message of its topic yet. With the
/// backoff that is about an hour: an upstream whose rights are being mended must not cost readings, a message that it can't
/// stomach must not block for ever.
const GIVE_UP_AT: u32 = 100;
/// Where upstream took a message of this topic since the last that was given up, the rights are there, and trials tell:
/// after so many of them in a row it is this message. With the backoff that is some minutes. Should the rights have been
/// taken away meanwhile, it costs one message of the topic, which is a dead letter that can be sent again.
const TRIALS: u32 = 5;
/// Each other connection is a trial: it must live for so long before the message is sent, and die within as long after it.
/// A network that cuts has no reason to wait for the message. The connections between send at once, since some live for
/// less than this.
const QUIET: Duration = Duration::from_secs(5);
/// Topics that upstream took a message of. With more, they are learned anew: then it takes longer to give up. Worst memory:
/// the names, which others hold as well.
const TAKEN_MAX: usize = 1_024;

/// How a connection ended.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    pub(super) cut: Cut,
    /// The oldest record that was on its way, and its topic.
    pub(super) first: Option<(Place, &'a Arc<str>)>,
    /// Records that were on their way.
    pub(super) in_flight: usize,
}

/// What the connections so far say about the first record.
#[derive(Debug, Default)]
pub(super) struct Suspect {
    place: Option<Place>,
    times: u32,
    /// In this connection upstream acknowledged a slot, so it took packets; and no record so far.
    slot_acked: bool,
    record_acked: bool,
    /// Until when this connection, which is a trial, is quiet.
    quiet_until: Option<Mono>,
    /// Trials in a row that spoke against the record.
    against: u32,
    /// Topics that upstream took a message of, since the last one of them that was given up.
    taken: HashSet<Arc<str>>,
}

impl Suspect {
    pub(super) fn online(&mut self, now: Mono) {
        let was_trial = self.quiet_until.is_some();
        self.quiet_until = (self.alone() && !was_trial).then(|| now + QUIET);
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
        self.against = 0;
    }

    /// Upstream took a message of this topic.
    pub(super) fn took(&mut self, topic: &Arc<str>) {
        if !self.taken.contains(topic) {
            if self.taken.len() >= TAKEN_MAX {
                self.taken.clear();
            }
            self.taken.insert(topic.clone());
        }
    }

    /// The connection ended; whether the record that was on its way is to be given up.
    pub(super) fn ended(&mut self, now: Mono, end: &Ended<'_>) -> bool {
        let about_message = end.cut == Cut::Refused;
        let Some((first, topic)) = end.first else {
            if self.quiet_until.is_some() {
                // It died of something else.
                self.against = 0;
            }
            return false;
        };
        // A connection that was never good says nothing about a record, nor does one that we closed.
        if end.cut == Cut::Ours || self.record_acked || !(self.slot_acked || about_message) {
            return false;
        }
        if self.place != Some(first) {
            (self.place, self.times, self.against) = (Some(first), 0, 0);
        }
        self.times = self.times.saturating_add(1);
        let alone = end.in_flight == 1;
        if about_message && !alone {
            self.times = self.times.max(ALONE_FROM);
        }
        if let Some(quiet_until) = self.quiet_until {
            self.against = if now.since(quiet_until) < QUIET { self.against + 1 } else { 0 };
        }
        let proven = self.against >= TRIALS && self.taken.contains(topic);
        let give_up = alone && (about_message || proven || self.times >= GIVE_UP_AT);
        if give_up {
            (self.times, self.against) = (0, 0);
            self.taken.remove(topic);
        }
        give_up
    }

    /// Whether this connection is a trial, and records must wait.
    pub(super) fn is_quiet(&self, now: Mono) -> bool {
        self.quiet_until.is_some_and(|until| now < until)
    }

    /// When that is over.
    pub(super) fn deadline(&self, now: Mono) -> Option<Mono> {
        self.quiet_until.filter(|_| self.is_quiet(now))
    }

    /// Whether the next record is to be sent alone.
    pub(super) const fn alone(&self) -> bool {
        self.times >= ALONE_FROM
    }
}
