//! What a line is doing, whatever hangs on it: open, down until it is tried again, or lent to somebody else. One idea of
//! it for ports that are listened to, ports that are asked, and programs.

use super::port::{Input, Notice, PortState};
use super::reopen::Reopen;
use crate::time::{Mono, Now, Timestamp};

/// The machine of a line.
///
/// ```text
///            ┌──────────── Borrowed, from anywhere ──────────> Lent
/// Opening ── Opened ──> Open ── Lost ──┐                        │
///    ^ └──── OpenFailed ──────────> Down <──── Lost ────────────┤
///    ├── Tick at the deadline, Appeared ┘                       │
///    └────────────────────── Returned ──────────────────────────┘
/// ```
#[derive(Debug)]
pub(super) struct Line {
    state: State,
    /// Since when it is open, or is not.
    since: Mono,
    error: Option<String>,
    reopen: Reopen,
    lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Opening,
    Open,
    Down { until: Mono },
    Lent,
}

/// What an input has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// It is to be opened now.
    Open,
    /// It is open.
    Opened,
    /// It is not open, and wasn't, or isn't any more. The notice is for people, once an episode.
    Closed(Option<Notice>),
}

impl Line {
    /// A line that is to be opened at once. `seed` spreads the further attempts.
    pub(super) fn new(seed: u64, now: Mono) -> Self {
        Self { state: State::Opening, since: now, error: None, reopen: Reopen::new(seed), lost: 0 }
    }

    /// Takes an input. What doesn't fit the state changes nothing.
    pub(super) fn handle(&mut self, now: Mono, input: &Input<'_>) -> Change {
        match (self.state, input) {
            (State::Opening, Input::Opened) => {
                self.state = State::Open;
                self.since = now;
                self.error = None;
                Change::Opened
            }
            (State::Opening, Input::OpenFailed { error } | Input::Lost { error }) => self.down(now, error),
            (State::Open, Input::Lost { error }) => {
                self.lost = self.lost.saturating_add(1);
                self.was_open(now);
                self.down(now, error)
            }
            (State::Lent, Input::Lost { error }) => self.down(now, error),
            (State::Down { until }, Input::Tick) if until <= now => self.open(),
            // What kept it from opening before says nothing about now.
            (State::Down { .. }, Input::Appeared) | (State::Lent, Input::Returned) => {
                self.reopen.begin_anew();
                self.open()
            }
            (state, Input::Borrowed { by }) if state != State::Lent => {
                if state == State::Open {
                    self.was_open(now);
                }
                self.state = State::Lent;
                self.error = Some(format!("borrowed by {by}"));
                Change::Closed(Some(Notice::PortLent { by: (*by).to_owned() }))
            }
            _ => Change::None,
        }
    }

    fn open(&mut self) -> Change {
        if self.state == State::Lent {
            self.error = None;
        }
        self.state = State::Opening;
        Change::Open
    }

    fn was_open(&mut self, now: Mono) {
        self.reopen.was_open(now.since(self.since));
        self.since = now;
    }

    fn down(&mut self, now: Mono, error: &str) -> Change {
        let is_told = self.error.is_some() && self.state != State::Lent;
        self.state = State::Down { until: now + self.reopen.wait() };
        self.error = Some(error.to_owned());
        Change::Closed((!is_told).then(|| Notice::PortDown { error: error.to_owned() }))
    }

    /// When `Tick` is due for its sake.
    pub(super) const fn deadline(&self) -> Option<Mono> {
        match self.state {
            State::Down { until } => Some(until),
            State::Opening | State::Open | State::Lent => None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Since when it is open, or is not.
    pub(super) const fn since(&self) -> Mono {
        self.since
    }

    /// The same for people: from the monotonic clock, so right also where the wall clock stepped since.
    pub(super) fn since_wall(&self, now: Now) -> Timestamp {
        now.wall.minus(now.mono.since(self.since))
    }

    pub(super) const fn state(&self) -> PortState {
        match self.state {
            State::Opening => PortState::Opening,
            State::Open => PortState::Open,
            State::Down { .. } => PortState::Down,
            State::Lent => PortState::Lent,
        }
    }

    /// Why it is not open.
    pub(super) fn error(&self) -> Option<String> {
        self.error.clone()
    }

    /// Times that it was lost.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_line_that_is_lent_is_left_alone_until_it_is_given_back() {
        let mut line = Line::new(1, at(0));
        assert_eq!(line.handle(at(0), &Input::Opened), Change::Opened);
        let lent = Change::Closed(Some(Notice::PortLent { by: "a scan".to_owned() }));
        assert_eq!(line.handle(at(1), &Input::Borrowed { by: "a scan" }), lent);
        assert_eq!((line.state(), line.error().as_deref()), (PortState::Lent, Some("borrowed by a scan")));
        for input in [Input::Appeared, Input::Tick, Input::Opened, Input::Borrowed { by: "another" }] {
            assert_eq!(line.handle(at(900), &input), Change::None, "{input:?}");
        }
        assert_eq!((line.deadline(), line.lost()), (None, 0));
        assert_eq!(line.handle(at(901), &Input::Returned), Change::Open);
        assert_eq!((line.state(), line.error()), (PortState::Opening, None));
        // What goes wrong then is told, although it was not open before either.
        let told = line.handle(at(902), &Input::OpenFailed { error: "busy" });
        assert_eq!(told, Change::Closed(Some(Notice::PortDown { error: "busy".to_owned() })));
        assert_eq!(line.handle(at(903), &Input::Appeared), Change::Open);
        assert_eq!(line.handle(at(904), &Input::OpenFailed { error: "busy" }), Change::Closed(None));
    }

    #[test]
    fn a_port_that_is_down_can_be_lent_and_a_fault_of_the_task_ends_it() {
        let mut line = Line::new(1, at(0));
        line.handle(at(0), &Input::OpenFailed { error: "gone" });
        assert!(matches!(line.handle(at(0), &Input::Borrowed { by: "x" }), Change::Closed(Some(_))));
        assert!(matches!(line.handle(at(1), &Input::Lost { error: "a fault" }), Change::Closed(Some(_))));
        assert_eq!(line.state(), PortState::Down);
        assert!(line.deadline().is_some());
    }
}
