//! A link that is not wanted: it neither connects nor is at fault.

use super::{Link, State};
use crate::bridge::outputs::Outputs;
use crate::bridge::start::Start;
use crate::mqtt::ReasonCode;
use crate::time::Now;

impl Link {
    /// What a link of that kind does first.
    pub(super) const fn first_state(start: Start, now: Now) -> State {
        match start {
            Start::Lazy { .. } => State::Idle,
            Start::Automatic | Start::Once => State::Waiting { until: now.mono },
        }
    }

    /// The next attempt is due now. Returns whether there will be one.
    pub(in crate::bridge) fn connect_now(&mut self, now: Now) -> bool {
        let rests = matches!(self.state, State::Idle | State::Ended | State::Waiting { .. });
        if rests {
            self.state = State::Waiting { until: now.mono };
        }
        rests
    }

    /// Nothing waits any more: no further attempt.
    pub(in crate::bridge) fn rest(&mut self, now: Now) {
        self.state = State::Idle;
        self.since = now.wall;
        self.error = None;
    }

    /// Ends the connection, which may come again. What the will would say is said already.
    pub(in crate::bridge) fn leave_for_now(&mut self, now: Now, out: &mut Outputs) {
        self.disconnect(ReasonCode::Success, out);
        out.close();
        self.rest(now);
        self.away_since = now.mono;
        self.was_online = true;
        self.received.clear();
        self.ping = None;
        self.route.lost();
        self.leaves_elsewhere(true);
    }
}
