//! GPIO lines to readings, and commands to levels: inputs, pulse counters, frequencies, outputs. Pure: no line, no
//! clock, no disk, no message. The shell in `io/gpio` opens the lines, and carries out what this says.
//!
//! ```text
//! edges ─ debounce ─ line ─┬─ input      level                      ─▶ Reading
//!                          ├─ counter    total ─▶ Persist, rate     ─▶ Reading
//!                          ├─ pace       changes per second         ─▶ Reading
//!          command ────────┴─ switch     ─▶ Set ─▶ read back        ─▶ Done, Reading
//! ```

pub mod config;
mod counter;
mod debounce;
mod line;
mod pace;
mod switch;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;

use crate::command::{CommandId, Outcome};
use crate::reading::{Reading, Run, Value};
use crate::time::{BootId, Mono, Now};
pub use config::{
    BackendName, Bias, CounterConfig, EdgeKind, GpioConfig, LineName, Mode, OutputConfig, Startup,
};
use line::Line;
pub use switch::Cause;

/// A change of a line, after `active_low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// When the kernel saw it.
    pub at: Mono,
    /// The level from then on.
    pub active: bool,
    /// Counts the changes of this line since it was opened, from 1: a gap tells how many were lost.
    pub seqno: u32,
}

/// What the disk had of a line at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The line is new.
    Nothing,
    /// As it was written last.
    Kept(Vec<u8>),
    /// Something that can't be read.
    Damaged,
    /// The disk can't be used, and why.
    Unavailable(String),
}

/// What the shell tells a line's machine.
#[derive(Debug)]
pub enum Input<'a> {
    /// The line is open.
    Opened {
        /// Its level.
        level: bool,
        /// Whether changes are debounced already. If not, and debouncing is wanted, both kinds of change come.
        debounced: bool,
        /// Who works it.
        backend: &'static str,
    },
    /// The line could not be opened, or is gone.
    Lost {
        /// Why, and what to do.
        error: &'a str,
    },
    /// It has changed.
    Edge(Edge),
    /// The answer to [`Output::Look`].
    Looked(Result<bool, &'a str>),
    /// The answer to [`Output::Set`]: what was read back.
    WasSet {
        /// To what.
        on: bool,
        /// Why.
        cause: Cause,
        /// Whose command it was.
        command: Option<CommandId>,
        /// What the line reads now, or why it can't be set or read.
        result: Result<bool, &'a str>,
    },
    /// Somebody wants a value to be set.
    Command {
        /// To be handed back with [`Output::Done`].
        id: CommandId,
        /// `state`, `total`; may be left out where there is only one.
        point: Option<&'a str>,
        /// What.
        value: &'a Value,
    },
    /// The answer to [`Output::Persist`].
    Persisted(Result<(), String>),
    /// Whether any upstream is online.
    Online(bool),
    /// The deadline has passed.
    Tick,
    /// The gateway stops: [`Output::Stopped`] follows.
    Stop,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open the line now; answer with `Opened` or `Lost`.
    Open,
    /// Read the level; answer with `Looked`.
    Look,
    /// Set the line, read it back, and answer with `WasSet`.
    Set {
        /// To what.
        on: bool,
        /// Why.
        cause: Cause,
        /// Whose command it is.
        command: Option<CommandId>,
    },
    /// Keep these bytes, synced; answer with `Persisted`. One at a time.
    Persist(Vec<u8>),
    /// Pass it on.
    Reading(Reading),
    /// A command has ended.
    Done {
        /// Which.
        id: CommandId,
        /// How.
        outcome: Outcome,
    },
    /// Log it, and publish health soon.
    Notice(Notice),
    /// Everything is done: the line may be closed.
    Stopped,
}

/// A change that people want to know of; one per episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The line is open.
    Opened {
        /// Who works it.
        backend: &'static str,
    },
    /// It can't be opened, or is gone. Told once until it is open again.
    Down {
        /// Why, and what to do.
        error: String,
    },
    /// Changes came faster than they were taken: so many were lost. Told once a minute at most, with the sum.
    EdgesLost {
        /// How many since it was told last.
        lost: u64,
        /// Whether they are in the total all the same.
        counted: bool,
    },
    /// What was kept of it can't be read.
    BeganAnew,
    /// It can't be kept now. Told once until it can.
    NotKept {
        /// Why.
        error: String,
    },
    /// An output was set by a rule.
    Switched {
        /// To what.
        on: bool,
        /// By which.
        cause: Cause,
    },
    /// An output doesn't read as it was set.
    ReadsOther {
        /// What it was set to.
        set: bool,
    },
}

/// How a line is doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its name.
    pub name: Arc<str>,
    /// Which line it is.
    pub line: String,
    /// What it is for.
    pub mode: &'static str,
    /// Who works it, once it is open.
    pub backend: Option<&'static str>,
    /// Why it isn't open.
    pub error: Option<String>,
    /// Whether it is open.
    pub open: bool,
    /// The unit of its total or frequency.
    pub unit: Option<Arc<str>>,
    /// Of a counter: its rate is the unit per this span.
    pub rate_per: Option<Duration>,
    /// Changes that were seen.
    pub edges: u64,
    /// Changes that were lost.
    pub lost_edges: u64,
    /// Readings.
    pub readings: u64,
    /// The last of them.
    pub last: Option<Reading>,
    /// Its age.
    pub last_age: Option<Duration>,
    /// Of a counter: the total in memory, and the pulses since it was first started.
    pub live: Option<(f64, u64)>,
    /// How often that goes to disk.
    pub persist_every: Option<Duration>,
    /// Why it can't be kept on disk.
    pub keep_error: Option<String>,
    /// Of an output: what it is to be, and what it reads.
    pub output: Option<(Option<bool>, Option<bool>)>,
}

impl Status {
    /// The unit of one of its points.
    #[must_use]
    pub fn unit_of(&self, point: &str) -> Option<Arc<str>> {
        match (point, &self.unit, self.rate_per) {
            ("rate", Some(unit), Some(per)) => {
                let per = match per.as_secs() {
                    1 => "s",
                    60 => "min",
                    _ => "h",
                };
                Some(Arc::from(format!("{unit}/{per}")))
            }
            ("rate" | "state", ..) => None,
            _ => self.unit.clone(),
        }
    }
}

/// All the lines, and what they have to do with each other. Each has a number, which no other gets.
#[derive(Debug)]
pub struct Bank {
    /// In the order of the config.
    lines: Vec<(usize, Line)>,
    next: usize,
    run: Run,
    boot: BootId,
    out: VecDeque<(usize, Output)>,
}

impl Bank {
    /// Lines that are to be opened; they have the numbers from 0 on.
    #[must_use]
    pub fn new(lines: Vec<(GpioConfig, Found)>, run: Run, boot: BootId, now: Now) -> Self {
        let mut bank = Self { lines: Vec::new(), next: 0, run, boot, out: VecDeque::new() };
        for (config, found) in lines {
            bank.add(now, config, &found);
        }
        bank
    }

    /// A further line that is to be opened; its number.
    pub fn add(&mut self, now: Now, config: GpioConfig, found: &Found) -> usize {
        let number = self.next;
        self.next += 1;
        self.lines.push((number, Line::new(config, found, self.run, self.boot, now)));
        self.collect();
        number
    }

    /// Takes a line out, which was stopped before.
    pub fn remove(&mut self, number: usize) {
        self.lines.retain(|(other, _)| *other != number);
        self.out.retain(|(other, _)| *other != number);
    }

    /// Tells of the lines in this order from now on.
    pub fn order(&mut self, names: &[Arc<str>]) {
        let place = |line: &Line| names.iter().position(|name| name == line.name());
        self.lines.sort_by_key(|(_, line)| place(line).unwrap_or(usize::MAX));
    }

    /// Takes one input of one line.
    pub fn handle(&mut self, now: Now, index: usize, input: Input<'_>) {
        let held_by = match input {
            Input::Opened { .. } | Input::Command { .. } => self.held_by(index),
            _ => None,
        };
        let Some((_, line)) = self.lines.iter_mut().find(|(number, _)| *number == index) else { return };
        line.handle(now, input, held_by.as_deref());
        self.collect();
    }

    /// The same input for all.
    pub fn handle_all(&mut self, now: Now, input: impl Fn() -> Input<'static>) {
        let numbers: Vec<usize> = self.lines.iter().map(|(number, _)| *number).collect();
        for number in numbers {
            self.handle(now, number, input());
        }
    }

    /// The next thing to do, with the number of its line.
    pub fn poll_output(&mut self) -> Option<(usize, Output)> {
        self.out.pop_front()
    }

    /// When `Tick` is due for any line.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        self.lines.iter().filter_map(|(_, line)| line.next_deadline()).min()
    }

    /// Gives `Tick` to each line that it is due for.
    pub fn tick(&mut self, now: Now) {
        for (_, line) in &mut self.lines {
            if line.next_deadline().is_some_and(|due| due <= now.mono) {
                line.handle(now, Input::Tick, None);
            }
        }
        self.collect();
    }

    /// How the lines are doing.
    #[must_use]
    pub fn status(&self, now: Mono) -> Vec<Status> {
        self.lines.iter().map(|(_, line)| line.status(now)).collect()
    }

    /// The number of a line.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.lines.iter().find(|(_, line)| **line.name() == *name).map(|(number, _)| *number)
    }

    /// Whether any output wants to know of upstreams.
    #[must_use]
    pub fn watches_upstreams(&self) -> bool {
        self.lines.iter().any(|(_, line)| line.watches_upstreams())
    }

    /// The other output that is on and keeps this one off; either of the two may say so.
    fn held_by(&self, index: usize) -> Option<Arc<str>> {
        let (_, this) = self.lines.iter().find(|(number, _)| *number == index)?;
        let others = self.lines.iter().filter(|(other, _)| *other != index);
        let mut excluded = others.filter(|(_, other)| {
            other.is_on() && (this.excludes(other.name()) || other.excludes(this.name()))
        });
        excluded.next().map(|(_, other)| other.name().clone())
    }

    fn collect(&mut self) {
        for (number, line) in &mut self.lines {
            self.out.extend(line.drain().map(|output| (*number, output)));
        }
    }
}

/// A decimal as the nearest number, which prints as the decimal was.
fn decimal(value: Decimal) -> f64 {
    value.to_string().parse().unwrap_or(0.0)
}
