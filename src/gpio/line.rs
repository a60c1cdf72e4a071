//! One line: whether it is open, what its changes mean, when a reading is due.

mod orders;
mod report;

use std::collections::VecDeque;
use std::collections::vec_deque::Drain;
use std::sync::Arc;
use std::time::Duration;

use super::config::{EdgeKind, GpioConfig, Mode};
use super::counter::Counter;
use super::debounce::Debounce;
use super::pace::Pace;
use super::switch::{Cause, Switch};
use super::{Edge, Found, Input, Notice, Output, decimal};
use crate::command::{CommandId, Outcome};
use crate::reading::{Reading, Run, Seq, Value};
use crate::time::{BootId, Mono, Now};

/// A line that is away is looked for this often: the request costs nothing.
const REOPEN_AFTER: Duration = Duration::from_secs(2);
/// Lost changes are told this often at most.
const LOST_TOLD_EVERY: Duration = Duration::from_secs(60);

/// ```text
/// Opening ── Opened ──> Open ── Lost ──> Down ── 2 s ──> Opening
///    └────── Lost ───────────────────────^
/// ```
#[derive(Debug, PartialEq, Eq)]
enum State {
    Opening,
    Open,
    Down { again: Mono },
}

#[derive(Debug)]
enum Kind {
    Input { edge: EdgeKind, level: Option<bool>, overrun: bool },
    Counter(Counter),
    Frequency { edge: EdgeKind, scale: f64, timeout: Duration, pace: Pace, overrun: bool },
    Output(Switch),
}

/// One line.
#[derive(Debug)]
pub(super) struct Line {
    config: GpioConfig,
    kind: Kind,
    state: State,
    error: Option<String>,
    backend: Option<&'static str>,
    debounce: Option<Debounce>,
    /// The number of the last change.
    seqno: u32,
    edges: u64,
    lost: u64,
    lost_untold: u64,
    lost_told: Option<Mono>,
    not_kept_told: bool,
    seq: Seq,
    boot: BootId,
    last: Option<Reading>,
    due: Mono,
    stopping: Option<Stopping>,
    out: VecDeque<Output>,
}

/// How far the end has come.
#[derive(Debug, PartialEq, Eq)]
enum Stopping {
    /// The output is being set to what it is to be at the end.
    Setting,
    Begun,
    Done,
}

impl Line {
    pub(super) fn new(config: GpioConfig, found: &Found, run: Run, boot: BootId, now: Now) -> Self {
        let kind = match &config.mode {
            Mode::Input { edge } => Kind::Input { edge: *edge, level: None, overrun: false },
            Mode::Counter(counter) => Kind::Counter(Counter::new(counter.clone(), found)),
            Mode::Frequency { edge, scale, timeout } => Kind::Frequency {
                edge: *edge,
                scale: decimal(*scale),
                timeout: *timeout,
                pace: Pace::default(),
                overrun: false,
            },
            Mode::Output(output) => Kind::Output(Switch::new(output.clone(), found, now.mono)),
        };
        let mut line = Self {
            due: now.mono + config.every,
            config,
            kind,
            state: State::Opening,
            error: None,
            backend: None,
            debounce: None,
            seqno: 0,
            edges: 0,
            lost: 0,
            lost_untold: 0,
            lost_told: None,
            not_kept_told: false,
            seq: Seq { run, number: 0 },
            boot,
            last: None,
            stopping: None,
            out: VecDeque::from([Output::Open]),
        };
        match found {
            Found::Damaged => line.out.push_back(Output::Notice(Notice::BeganAnew)),
            Found::Unavailable(error) => line.not_kept(error.clone()),
            Found::Nothing | Found::Kept(_) => {}
        }
        line
    }

    pub(super) const fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    pub(super) fn drain(&mut self) -> Drain<'_, Output> {
        self.out.drain(..)
    }

    /// `held_by`: the output that keeps this one off.
    pub(super) fn handle(&mut self, now: Now, input: Input<'_>, held_by: Option<&str>) {
        if self.stopping == Some(Stopping::Done) {
            return;
        }
        match input {
            Input::Opened { level, debounced, backend } => {
                self.opened(now, level, debounced, backend, held_by.is_some());
            }
            Input::Lost { error } => self.lost(now, error),
            Input::Edge(edge) => self.edge(now, edge),
            Input::Looked(Ok(level)) => self.looked(now, level),
            Input::Looked(Err(error)) => self.lost(now, error),
            Input::WasSet { on, cause, command, result } => self.was_set(now, on, cause, command, result),
            Input::Command { id, point, value } => self.command(now, id, point, value, held_by),
            Input::Persisted(result) => self.persisted(now, result),
            Input::Online(online) => {
                if let Kind::Output(switch) = &mut self.kind {
                    switch.online(online, now.mono);
                }
            }
            Input::Tick => {}
            Input::Stop => self.stop(),
        }
        self.pass_time(now);
    }

    fn opened(&mut self, now: Now, level: bool, debounced: bool, backend: &'static str, held: bool) {
        (self.state, self.error, self.backend, self.seqno) = (State::Open, None, Some(backend), 0);
        self.out.push_back(Output::Notice(Notice::Opened { backend }));
        let own = !debounced && !self.config.debounce.is_zero();
        self.debounce = own.then(|| Debounce::new(self.config.debounce, level));
        match &mut self.kind {
            Kind::Input { level: known, .. } => {
                *known = Some(level);
                self.publish(now);
            }
            Kind::Output(switch) => match switch.opened(level, held) {
                Some(on) => {
                    switch.aim(on);
                    self.out.push_back(Output::Set { on, cause: Cause::Start, command: None });
                }
                None => {
                    switch.left(level, now.mono);
                    self.publish(now);
                }
            },
            Kind::Counter(_) | Kind::Frequency { .. } => {}
        }
    }

    fn lost(&mut self, now: Now, error: &str) {
        if self.error.as_deref() != Some(error) {
            self.out.push_back(Output::Notice(Notice::Down { error: error.to_owned() }));
        }
        self.state = State::Down { again: now.mono + REOPEN_AFTER };
        self.error = Some(error.to_owned());
        self.debounce = None;
        if let Kind::Output(switch) = &mut self.kind {
            switch.actual = None;
        }
    }

    fn edge(&mut self, now: Now, edge: Edge) {
        if self.state != State::Open {
            return;
        }
        let gap = u64::from(edge.seqno.wrapping_sub(self.seqno).saturating_sub(1));
        self.seqno = edge.seqno;
        self.edges = self.edges.saturating_add(1);
        if gap > 0 {
            self.overrun(now, gap);
        }
        match &mut self.debounce {
            Some(debounce) => {
                if let Some(settled) = debounce.feed(edge) {
                    self.change(now, settled, 0);
                }
            }
            None => self.change(now, edge, gap),
        }
    }

    /// Changes were lost. Where the kernel debounces, each of them was a change that counts.
    fn overrun(&mut self, now: Now, lost: u64) {
        self.lost = self.lost.saturating_add(lost);
        self.lost_untold = self.lost_untold.saturating_add(lost);
        match &mut self.kind {
            Kind::Input { overrun, .. } | Kind::Frequency { overrun, .. } => *overrun = true,
            Kind::Counter(counter) if self.debounce.is_some() => counter.lose(),
            Kind::Counter(_) | Kind::Output(_) => {}
        }
        if matches!(self.kind, Kind::Input { .. }) {
            self.out.push_back(Output::Look);
        }
        if self.lost_told.is_none_or(|told| now.mono.since(told) >= LOST_TOLD_EVERY) {
            self.lost_told = Some(now.mono);
            let lost = std::mem::take(&mut self.lost_untold);
            let counted = self.debounce.is_none() && matches!(self.kind, Kind::Counter(_));
            self.out.push_back(Output::Notice(Notice::EdgesLost { lost, counted }));
        }
    }

    /// A debounced change, and how many before it were lost.
    fn change(&mut self, now: Now, edge: Edge, lost: u64) {
        match &mut self.kind {
            Kind::Input { edge: wanted, level, .. } => {
                let changed = level.replace(edge.active) != Some(edge.active) || lost > 0;
                if changed && wanted.takes(edge.active) {
                    self.publish(now);
                }
            }
            Kind::Counter(counter) if counter.takes(edge.active) => counter.pulse(edge.at, lost),
            Kind::Frequency { edge: wanted, pace, .. } if wanted.takes(edge.active) => {
                pace.add(edge.at, lost.saturating_add(1));
            }
            Kind::Counter(_) | Kind::Frequency { .. } | Kind::Output(_) => {}
        }
    }

    fn looked(&mut self, now: Now, found: bool) {
        if let Kind::Input { level, .. } = &mut self.kind
            && level.replace(found) != Some(found)
        {
            self.publish(now);
        }
    }

    fn was_set(
        &mut self,
        now: Now,
        on: bool,
        cause: Cause,
        command: Option<CommandId>,
        result: Result<bool, &str>,
    ) {
        let Kind::Output(switch) = &mut self.kind else { return };
        if cause == Cause::Exit {
            self.stopping = Some(Stopping::Begun);
        }
        let before = (switch.desired, switch.actual);
        switch.set(on, result.ok(), now.mono);
        if cause != Cause::Command && before.0 != Some(on) && (cause != Cause::Start || on) {
            self.out.push_back(Output::Notice(Notice::Switched { on, cause }));
        }
        let outcome = match result {
            Ok(actual) if actual == on => Outcome::Done(Some(Value::Bool(actual))),
            Ok(_) => {
                self.out.push_back(Output::Notice(Notice::ReadsOther { set: on }));
                let words = format!("it was set to {} and reads {}", word(on), word(!on));
                Outcome::Failed(words)
            }
            Err(error) => Outcome::Failed(error.to_owned()),
        };
        if let Some(id) = command {
            self.out.push_back(Output::Done { id, outcome });
        }
        match result {
            Ok(_) => self.publish(now),
            Err(error) => self.lost(now, error),
        }
    }

    fn persisted(&mut self, now: Now, result: Result<(), String>) {
        match &result {
            Ok(()) => self.not_kept_told = false,
            Err(error) => self.not_kept(error.clone()),
        }
        match &mut self.kind {
            Kind::Counter(counter) => {
                // The first total, one that was set lower, and the last one are told at once; others with the next
                // reading.
                let first = self.last.is_none();
                if counter.wrote(result) && (first || self.stopping.is_some() || counter.is_reset()) {
                    self.publish(now);
                }
            }
            Kind::Output(switch) => switch.wrote(&result),
            Kind::Input { .. } | Kind::Frequency { .. } => {}
        }
    }

    fn not_kept(&mut self, error: String) {
        if !std::mem::replace(&mut self.not_kept_told, true) {
            self.out.push_back(Output::Notice(Notice::NotKept { error }));
        }
    }

    fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Stopping::Begun);
        if let Kind::Output(switch) = &self.kind
            && self.state == State::Open
            && let Some(on) = switch.exit()
        {
            self.stopping = Some(Stopping::Setting);
            self.out.push_back(Output::Set { on, cause: Cause::Exit, command: None });
        }
    }

    /// Whatever is due by now.
    fn pass_time(&mut self, now: Now) {
        if let Some(settled) = self.debounce.as_mut().and_then(|debounce| debounce.settle(now.mono)) {
            self.change(now, settled, 0);
        }
        let open = self.state == State::Open;
        if matches!(self.state, State::Down { again } if again <= now.mono) && self.stopping.is_none() {
            self.state = State::Opening;
            self.out.push_back(Output::Open);
        }
        let stopping = self.stopping.is_some();
        match &mut self.kind {
            Kind::Output(switch) => {
                if open
                    && !stopping
                    && let Some((on, cause)) = switch.due(now.mono)
                {
                    self.out.push_back(Output::Set { on, cause, command: None });
                }
                // What the end sets is not what it was last.
                if !stopping && let Some(bytes) = switch.write() {
                    self.out.push_back(Output::Persist(bytes));
                }
            }
            Kind::Counter(counter) => {
                if let Some(bytes) = counter.write(now.mono, stopping) {
                    self.out.push_back(Output::Persist(bytes));
                }
            }
            Kind::Input { .. } | Kind::Frequency { .. } => {}
        }
        if self.due <= now.mono && open {
            self.publish(now);
        }
        let busy = match &self.kind {
            Kind::Counter(counter) => counter.is_writing(),
            Kind::Output(switch) => switch.is_writing(),
            Kind::Input { .. } | Kind::Frequency { .. } => false,
        };
        if self.stopping == Some(Stopping::Begun) && !busy {
            self.stopping = Some(Stopping::Done);
            self.out.push_back(Output::Stopped);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let (own, open) = match &self.kind {
            Kind::Counter(counter) => (counter.deadline(), true),
            Kind::Output(switch) => (switch.deadline(), self.state == State::Open),
            Kind::Input { .. } | Kind::Frequency { .. } => (None, false),
        };
        let again = match self.state {
            State::Down { again } => Some(again),
            State::Open => Some(self.due),
            State::Opening => None,
        };
        let debounce = self.debounce.as_ref().and_then(Debounce::deadline);
        [own.filter(|_| open), again, debounce].into_iter().flatten().min()
    }
}

const fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
