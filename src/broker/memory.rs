//! What is given up when memory runs short, in which order. Pure: how much is taken comes in, once a second.

use std::sync::Arc;

use tracing::{info, warn};

use super::message::Kept;
use super::session::Session;
use super::{Broker, ConnId, Cx, Sink, count};
use crate::mqtt::ReasonCode;

/// A step is left only this many percent of the budget below where it was entered, so that it isn't entered and left
/// again with each message.
const HYSTERESIS: u64 = 5;

/// Below so many percent of the budget nothing is given up, so it isn't looked what takes how much: that is a walk over
/// all that waits.
const CLOSE_LOOK: u64 = 60;

/// Clients that are closed between two looks at most: the memory that they give back shows only in the next one.
const CLOSED_AT_ONCE_MAX: usize = 8;

/// A client that costs less than this isn't worth closing for memory.
const CLIENT_BYTES_MIN: usize = 16 * 1024;

/// What is given up at present; each step includes those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shedding {
    /// There is memory enough.
    #[default]
    Nothing,
    /// From 70 % on: no new sessions that outlive their connection, no retained messages for new topics; QoS 0 is
    /// dropped towards those that are slow.
    Growth,
    /// From 85 % on: no new clients; half of what is queued is dropped, from the largest queues.
    Newcomers,
    /// From 95 % on: those clients are closed that cost most.
    Clients,
}

impl Shedding {
    /// In the order of their marks, in percent of the budget.
    const STEPS: [(Self, u64); 3] = [(Self::Growth, 70), (Self::Newcomers, 85), (Self::Clients, 95)];

    /// What people read.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Nothing => "ok",
            Self::Growth => "taking nothing new",
            Self::Newcomers => "refusing clients",
            Self::Clients => "closing clients",
        }
    }

    /// The step as a number.
    #[must_use]
    pub const fn level(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Growth => 1,
            Self::Newcomers => 2,
            Self::Clients => 3,
        }
    }

    /// The step after a look.
    fn after(self, used: u64, budget: u64) -> Self {
        let percent = used.saturating_mul(100).checked_div(budget).unwrap_or(0);
        let holds = |(step, mark): &&(Self, u64)| {
            let mark = if self >= *step { mark.saturating_sub(HYSTERESIS) } else { *mark };
            percent >= mark
        };
        Self::STEPS.iter().rev().find(holds).map_or(Self::Nothing, |(step, _)| *step)
    }
}

/// What was given back and is still the process's: the system's allocator keeps much of it, and uses it again before the
/// process grows. It must not count as taken, or the broker would look full long after it has shed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slack {
    bytes: u64,
    /// What the process had, and what the broker knew of, at the last look; `None`: it didn't look.
    last: Option<(u64, u64)>,
}

impl Slack {
    /// What is really taken. `used`: what the process has; `held`: what the broker knows of, in bytes.
    fn without(&mut self, used: u64, held: u64) -> u64 {
        let (used_before, held_before) = self.last.replace((used, held)).unwrap_or((used, held));
        let given_back = held_before.saturating_sub(held);
        let taken_again = held.saturating_sub(held_before);
        let returned = used_before.saturating_sub(used);
        self.bytes =
            self.bytes.saturating_add(given_back).saturating_sub(taken_again).saturating_sub(returned);
        used.saturating_sub(self.bytes)
    }
}

impl Broker {
    /// So many bytes are taken by this process, of so many that it should take.
    pub(super) fn look_at_memory<S: Sink>(&mut self, used: u64, budget: Option<u64>, cx: &mut Cx<'_, S>) {
        // Once a second: what nobody watches any more is let go.
        self.watch.rest(cx.now);
        let Some(budget) = self.config.memory_bytes_max.or(budget) else { return };
        let used = if used.saturating_mul(100) < budget.saturating_mul(CLOSE_LOOK) {
            self.slack = Slack::default();
            used
        } else {
            let held = self.held_bytes(cx);
            self.slack.without(used, held)
        };
        let before = self.stats.shedding;
        let now = before.after(used, budget);
        self.stats.shedding = now;
        self.stats.memory_used = used;
        self.stats.memory_budget = budget;
        if now > before {
            warn!(bytes = used, bytes_max = budget, state = now.words(), "memory runs short");
        } else if now < before {
            info!(bytes = used, bytes_max = budget, state = now.words(), "less memory is taken");
        }
        if now >= Shedding::Newcomers {
            self.drop_half_of_queues();
        }
        if now >= Shedding::Clients {
            self.close_the_costliest(cx);
        }
    }

    fn close_the_costliest<S: Sink>(&mut self, cx: &mut Cx<'_, S>) {
        let mut costs: Vec<(usize, ConnId)> =
            self.conns.ids().into_iter().map(|conn| (self.cost(conn, cx), conn)).collect();
        costs.retain(|(bytes, _)| *bytes >= CLIENT_BYTES_MIN);
        costs.sort_unstable_by(|one, other| other.cmp(one));
        for (bytes, conn) in costs.into_iter().take(CLOSED_AT_ONCE_MAX) {
            let Some(c) = self.conns.get(conn).filter(|c| !c.is_closing()) else { continue };
            warn!(conn = conn.0, peer = &*c.peer, bytes, "client closed: memory runs short");
            self.stats.closed_for_memory += 1;
            self.close(conn, Some(ReasonCode::QuotaExceeded), cx);
        }
    }

    /// The bytes that would be free without this connection and its session's queue.
    fn cost<S: Sink>(&self, conn: ConnId, cx: &Cx<'_, S>) -> usize {
        let Some(c) = self.conns.get(conn) else { return 0 };
        let queued = c
            .session
            .and_then(|idx| self.sessions.get(idx))
            .map_or(0, |session| session.queue_bytes().saturating_add(session.inflight_bytes()));
        cx.sink.buffered(conn).saturating_add(c.held.as_slice().len()).saturating_add(queued)
    }

    /// All bytes that clients make the broker keep. What several sessions wait with is there once, so each has its share.
    fn held_bytes<S: Sink>(&self, cx: &Cx<'_, S>) -> u64 {
        let of_connection = |conn: ConnId| {
            let cut = self.conns.get(conn).map_or(0, |c| c.held.as_slice().len());
            cx.sink.buffered(conn).saturating_add(cut)
        };
        let of_connections: usize = self.conns.ids().into_iter().map(of_connection).sum();
        let messages = self.sessions.all().flat_map(Session::messages).chain(self.retained.all());
        let share = |kept: &Arc<Kept>| kept.bytes().checked_div(Arc::strong_count(kept)).unwrap_or(0);
        let of_messages: usize = messages.map(share).sum();
        count(of_connections.saturating_add(of_messages))
    }

    fn drop_half_of_queues(&mut self) {
        let dropped = self.drop_queued_down_to(self.queued.bytes() / 2);
        if dropped > 0 {
            self.stats.dropped_for_memory += count(dropped);
            warn!(messages = dropped, "messages in the largest queues dropped: memory runs short");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_not_taken_even_if_the_process_still_has_it() {
        let mut slack = Slack::default();
        for (used, held, taken) in [
            (100, 50, 100),
            (150, 100, 150),
            // Dropped, and the process keeps it.
            (150, 20, 70),
            (150, 20, 70),
            // Half of it is used again.
            (150, 60, 110),
            // The process has returned some.
            (130, 60, 110),
            (110, 60, 110),
            // And grows, for what the broker doesn't know of.
            (140, 60, 140),
        ] {
            assert_eq!(slack.without(used, held), taken, "{used} {held}");
        }
    }

    #[test]
    fn steps_are_entered_at_their_marks_and_left_below_them() {
        use Shedding::*;
        let mut step = Nothing;
        for (percent, expected) in [
            (0, Nothing),
            (69, Nothing),
            (70, Growth),
            (66, Growth),
            (64, Nothing),
            (69, Nothing),
            (84, Growth),
            (85, Newcomers),
            (80, Newcomers),
            (79, Growth),
            (95, Clients),
            (91, Clients),
            (89, Newcomers),
            (10, Nothing),
            (400, Clients),
            (66, Growth),
        ] {
            step = step.after(percent * 10, 1_000);
            assert_eq!(step, expected, "{percent} %");
        }
    }
}
