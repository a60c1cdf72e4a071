//! Listens at one rate after the other until what comes makes sense; where it is allowed to, it also asks what profiles ask.

use std::collections::VecDeque;
use std::time::Duration;

use super::hearing::{Hearing, Verdict};
use super::{Candidate, Event, Input, Output, Scan, Settings};
use crate::sensor::bus::config::Ask;
use crate::time::Mono;

/// The rates in the order in which devices have them.
pub const RATES: [u32; 11] = [9600, 115_200, 19_200, 4800, 2400, 38_400, 57_600, 1200, 300, 230_400, 460_800];

/// An answer to a question that is asked has this long at least: some devices measure first.
const ANSWER_MIN: Duration = Duration::from_millis(1_500);

/// So many failures in a row end the scan: the port is not there.
const FAILURES_MAX: u8 = 2;

/// What to try.
#[derive(Clone, Debug)]
pub struct SerialConfig {
    /// At which rates somebody is listened to.
    pub settings: Vec<Settings>,
    /// For how long, at each.
    pub listen: Duration,
    /// Go on when it is clear what it is.
    pub all: bool,
    /// Also ask what the polled candidates ask, each at its profile's rate.
    pub ask: bool,
    /// Who may be there.
    pub candidates: Vec<Candidate>,
}

/// The machine.
///
/// ```text
/// opening ── Opened ──> hearing ── time over, enough ──> verdict ──┬─> opening (the next rate)
///    └── Failed ──> the next rate                                  └─> best, end
/// ```
#[derive(Debug)]
pub struct SerialScan {
    config: SerialConfig,
    todo: VecDeque<Step>,
    step: Option<Step>,
    hearing: Option<(Hearing, Mono)>,
    best: Option<Verdict>,
    done: usize,
    failures: u8,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Debug)]
enum Step {
    Listen(Settings),
    /// Which candidate's question.
    Ask(usize),
}

impl SerialScan {
    /// A scan that wants to begin at once.
    #[must_use]
    pub fn new(config: SerialConfig) -> Self {
        let asks =
            config.candidates.iter().enumerate().filter(|(_, candidate)| question(candidate).is_some());
        let asks: Vec<Step> =
            if config.ask { asks.map(|(index, _)| Step::Ask(index)).collect() } else { Vec::new() };
        let listens = config.settings.iter().map(|settings| Step::Listen(*settings));
        let mut scan = Self {
            todo: listens.chain(asks).collect(),
            config,
            step: None,
            hearing: None,
            best: None,
            done: 0,
            failures: 0,
            outputs: VecDeque::new(),
        };
        scan.next();
        scan
    }

    fn settings(&self, step: &Step) -> Option<Settings> {
        match step {
            Step::Listen(settings) => Some(*settings),
            Step::Ask(index) => Some(self.config.candidates.get(*index)?.settings),
        }
    }

    fn time_of(&self, step: &Step) -> Duration {
        match step {
            Step::Listen(_) => self.config.listen,
            Step::Ask(index) => {
                let poll = self.config.candidates.get(*index).and_then(|found| found.device.poll.as_ref());
                poll.map_or(ANSWER_MIN, |poll| poll.timeout.max(ANSWER_MIN))
            }
        }
    }

    fn next(&mut self) {
        self.hearing = None;
        let Some(step) = self.todo.pop_front() else {
            self.end();
            return;
        };
        let Some(settings) = self.settings(&step) else { return };
        let what = match &step {
            Step::Listen(settings) => format!("listening at {settings}"),
            Step::Ask(index) => {
                let profile = self.config.candidates.get(*index).map_or("", |found| found.profile.as_str());
                format!("asking at {settings} as the profile {profile} does")
            }
        };
        let total = self.done.saturating_add(self.todo.len()).saturating_add(1);
        let left = self.estimate().saturating_add(self.time_of(&step));
        self.outputs.push_back(Output::Tell(Event::Progress { what, done: self.done, total, left }));
        self.outputs.push_back(Output::Open(settings));
        self.step = Some(step);
        self.done = self.done.saturating_add(1);
    }

    fn opened(&mut self, now: Mono) {
        let Some(step) = self.step.take() else { return };
        let (Some(settings), time) = (self.settings(&step), self.time_of(&step)) else { return };
        self.failures = 0;
        let candidates = &self.config.candidates;
        let hearing = match step {
            Step::Listen(_) => {
                Hearing::new(settings, false, candidates, |_, candidate| candidate.device.poll.is_none())
            }
            Step::Ask(asked) => {
                let bytes = candidates.get(asked).and_then(question);
                self.outputs.extend(bytes.map(|bytes| Output::Send(bytes.to_vec())));
                Hearing::new(settings, true, candidates, |index, _| index == asked)
            }
        };
        self.hearing = Some((hearing, now + time));
    }

    fn conclude(&mut self) {
        let Some((hearing, _)) = self.hearing.take() else { return };
        let further = hearing.explanations();
        let verdict = hearing.verdict(&self.config.candidates);
        let is_sure = verdict.is_sure();
        if verdict.bytes > 0 && (!verdict.is_asked || !verdict.matches.is_empty()) {
            self.outputs.push_back(Output::Tell(Event::Heard(verdict.clone())));
        }
        let best = self.best.as_ref().map(Verdict::weight).unwrap_or_default();
        if verdict.weight() > best {
            self.best = Some(verdict);
        }
        if is_sure && !self.config.all {
            self.end();
            return;
        }
        for settings in further.into_iter().rev() {
            self.todo.push_front(Step::Listen(settings));
        }
        self.next();
    }

    fn end(&mut self) {
        self.todo.clear();
        self.outputs.extend(self.best.take().map(|best| Output::Tell(Event::Best(best))));
        self.outputs.push_back(Output::End);
    }
}

impl Scan for SerialScan {
    fn handle(&mut self, now: Mono, input: Input<'_>) {
        match (input, &mut self.hearing) {
            (Input::Opened, None) => self.opened(now),
            (Input::Failed { error }, _) => {
                self.failures = self.failures.saturating_add(1);
                self.outputs.push_back(Output::Tell(Event::Failed { error: error.to_owned() }));
                if self.failures >= FAILURES_MAX { self.end() } else { self.next() }
            }
            (Input::Bytes { bytes, errors }, Some((hearing, _))) => {
                hearing.push(now, bytes, errors);
                let is_asked = hearing.is_asked();
                if hearing.is_enough() || (is_asked && hearing.is_answered()) {
                    self.conclude();
                }
            }
            (Input::Tick, Some((_, until))) if *until <= now => self.conclude(),
            _ => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Mono> {
        self.hearing.as_ref().map(|(_, until)| *until)
    }

    fn estimate(&self) -> Duration {
        self.todo.iter().map(|step| self.time_of(step)).sum()
    }
}

/// What a candidate is asked, if it is asked in bytes of its own.
fn question(candidate: &Candidate) -> Option<&[u8]> {
    match &candidate.device.poll.as_ref()?.ask {
        Ask::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}
