//! The machine of one serial line: its state, when to reopen it, and the devices that hang on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::config::{DeviceConfig, ExecConfig, PortConfig};
use super::device::{Beginning, Device};
use super::framing::Framer;
use super::intake::{Intake, Place};
use super::line::{Change, Line};
use crate::command::{Command, CommandId, Outcome};
use crate::reading::{Reading, Run};
use crate::time::{BootId, Mono, Now, Timestamp};

/// A port that was silent for this long after opening was between two lines: the first one is whole. Longer than
/// a USB adapter holds bytes back (16 ms) and than a character lasts at 300 baud (37 ms).
const QUIET_BEFORE_LINE: Duration = Duration::from_millis(100);

/// What the shell tells the machine.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The port is open.
    Opened,
    /// The port could not be opened.
    OpenFailed {
        /// Why, for people.
        error: &'a str,
    },
    /// The port is there now, and wasn't before: whatever it still had to wait for is over.
    Appeared,
    /// Bytes that were read.
    Bytes(&'a [u8]),
    /// The port is gone (end of file, EIO).
    Lost {
        /// Why, for people.
        error: &'a str,
    },
    /// Somebody else needs the line; the port is closed.
    Borrowed {
        /// Who, for people: "a scan".
        by: &'a str,
    },
    /// Whoever had borrowed it has given it back.
    Returned,
    /// The deadline has passed.
    Tick,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Open the port now; answer with `Opened` or `OpenFailed`.
    Open,
    /// Pass it on.
    Reading(Reading),
    /// Log it, and publish health soon: a state changed.
    Notice(Notice),
    /// Write this.
    Send(Vec<u8>),
    /// What came of a command.
    Done {
        /// Which.
        id: CommandId,
        /// What came of it.
        outcome: Outcome,
    },
}

/// A change of state that people want to know of; one per episode, not one per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The port opened.
    PortOpened,
    /// The port could not be opened, or was lost. Told once until it opens again.
    PortDown {
        /// Why.
        error: String,
    },
    /// Somebody has borrowed the line; the port opens when it is given back.
    PortLent {
        /// Who.
        by: String,
    },
    /// A device sends lines that can't be decoded. Told once per episode, which lasts until a good one comes 10 s
    /// or more after the last bad one.
    BadLines {
        /// The device, or the port where several devices share it and none took the line.
        source: Arc<str>,
        /// What was wrong with the first.
        error: String,
        /// Its first bytes, printable.
        sample: String,
    },
    /// Good lines again.
    GoodAgain {
        /// As in `BadLines`.
        source: Arc<str>,
        /// How many were bad in this episode.
        bad: u64,
    },
    /// No good line for `stale_after`, or its port is down. Of a device that never sent a line, it is told when the
    /// port was open for `stale_after`.
    DeviceStale {
        /// The device.
        device: Arc<str>,
    },
    /// A good line after `DeviceStale` (not told for a very first line that came in time).
    DeviceFresh {
        /// The device.
        device: Arc<str>,
    },
}

/// What a port is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Being opened for the first time or again.
    Opening,
    /// Open.
    Open,
    /// Down; the next attempt is due at the machine's deadline.
    Down,
    /// Closed, since somebody else has borrowed the line.
    Lent,
}

/// A snapshot for health and status.
#[derive(Clone, Debug, PartialEq)]
pub struct PortStatus {
    /// The port's name.
    pub name: Arc<str>,
    /// Its path.
    pub path: String,
    /// What it is doing.
    pub state: PortState,
    /// Since when it is open, or since when it is not.
    pub since: Timestamp,
    /// The last error while it is down; who has it while it is lent.
    pub error: Option<String>,
    /// Bytes read since start.
    pub bytes: u64,
    /// Lines that no device could decode, where several share the port.
    pub bad_lines: u64,
    /// Times that the port was lost since start.
    pub lost: u64,
    /// Its devices.
    pub devices: Vec<DeviceStatus>,
}

/// A snapshot of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceStatus {
    /// The device's name.
    pub name: Arc<str>,
    /// Its port.
    pub port: Arc<str>,
    /// Readings since start.
    pub readings: u64,
    /// Lines that could not be decoded since start.
    pub bad_lines: u64,
    /// What was wrong with the last bad line.
    pub last_error: Option<String>,
    /// The last reading.
    pub last: Option<Reading>,
    /// How long ago that was.
    pub last_age: Option<Duration>,
    /// No good line for `stale_after`, or the port is down.
    pub stale: bool,
    /// Stale only because nothing came yet: the port has not been open for `stale_after`.
    pub waiting: bool,
}

/// The machine of one serial line.
#[derive(Debug)]
pub struct Port {
    name: Arc<str>,
    path: String,
    /// The first line after opening has its beginning.
    begins_whole: bool,
    intake: Intake,
    lanes: Vec<Lane>,
    line: Line,
    bytes: u64,
    /// Drained after each input; what one input's lines make.
    outputs: VecDeque<Output>,
}

/// The devices of a port that agree on what ends a line.
#[derive(Debug)]
struct Lane {
    framer: Framer,
    /// Where the next line stands; `None` after opening, until bytes come.
    place: Option<Place>,
}

impl Port {
    /// A port that wants to be opened at once. `seed` spreads the reopen attempts.
    #[must_use]
    pub fn new(
        config: PortConfig,
        devices: Vec<DeviceConfig>,
        run: Run,
        boot: BootId,
        seed: u64,
        now: Now,
    ) -> Self {
        Self::of(config.name, config.path, devices, run, boot, seed, now)
    }

    /// The same for a program that prints what a port would send. Its first line is whole.
    #[must_use]
    pub fn of_program(
        config: &ExecConfig,
        devices: Vec<DeviceConfig>,
        run: Run,
        boot: BootId,
        seed: u64,
        now: Now,
    ) -> Self {
        // Without its arguments: a secret may be among them, and this is shown and logged.
        let port = Self::of(
            config.name.clone(),
            config.command.first().cloned().unwrap_or_default(),
            devices,
            run,
            boot,
            seed,
            now,
        );
        Self { begins_whole: true, ..port }
    }

    fn of(
        name: Arc<str>,
        path: String,
        devices: Vec<DeviceConfig>,
        run: Run,
        boot: BootId,
        seed: u64,
        now: Now,
    ) -> Self {
        let (intake, framers) = Intake::new(name.clone(), devices, run, boot);
        Self {
            name,
            path,
            begins_whole: false,
            intake,
            lanes: framers.into_iter().map(|framer| Lane { framer, place: None }).collect(),
            line: Line::new(seed, now.mono),
            bytes: 0,
            outputs: VecDeque::from([Output::Open]),
        }
    }

    /// Takes one input. What doesn't fit the state (bytes of a port that is not open) is ignored. The outputs are to be
    /// taken before the next input.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.silence(now);
        self.intake.tick(now.mono, &mut self.outputs);
        match self.line.handle(now.mono, &input) {
            Change::None => {}
            Change::Open => self.outputs.push_back(Output::Open),
            Change::Opened => self.opened(now.mono),
            Change::Closed(notice) => {
                self.outputs.extend(notice.map(Output::Notice));
                self.intake.port_down(&mut self.outputs);
            }
        }
        if let Input::Bytes(bytes) = input
            && self.line.is_open()
        {
            self.read(now, bytes);
        }
    }

    /// Carries out a command. What came of it comes as [`Output::Done`].
    pub fn command(&mut self, now: Now, command: &Command) {
        let why = || self.line.error().unwrap_or_else(|| "it is not open yet".to_owned());
        let down = (!self.line.is_open()).then(why);
        self.intake.exchanges.command(now.mono, command, down.as_deref(), &mut self.outputs);
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `Tick` is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let reopen = self.line.deadline();
        let silence = self.lanes.iter().filter_map(|lane| lane.framer.deadline());
        let exchange = self.intake.exchanges.deadline();
        let devices = self.intake.devices().iter().filter_map(Device::deadline);
        devices.chain(reopen).chain(silence).chain(exchange).min()
    }

    /// A snapshot.
    #[must_use]
    pub fn status(&self, now: Now) -> PortStatus {
        PortStatus {
            name: self.name.clone(),
            path: self.path.clone(),
            state: self.line.state(),
            since: self.line.since_wall(now),
            error: self.line.error(),
            bytes: self.bytes,
            bad_lines: self.intake.bad_lines(),
            lost: self.line.lost(),
            devices: self.intake.devices().iter().map(|device| device.status(now.mono)).collect(),
        }
    }

    fn opened(&mut self, now: Mono) {
        for lane in &mut self.lanes {
            lane.framer.reset();
            lane.place = None;
        }
        for device in self.intake.devices_mut() {
            device.opened(now);
        }
        self.outputs.push_back(Output::Notice(Notice::PortOpened));
    }

    fn read(&mut self, now: Now, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if bytes.is_empty() {
            return;
        }
        self.intake.exchanges.heard(now.mono, bytes, &mut self.outputs);
        let quiet = self.begins_whole || now.mono.since(self.line.since()) >= QUIET_BEFORE_LINE;
        let beginning = if quiet { Beginning::Seen } else { Beginning::Unseen };
        let Self { intake, lanes, outputs, .. } = self;
        for (index, Lane { framer, place }) in lanes.iter_mut().enumerate() {
            let place = place.get_or_insert(Place::First(beginning));
            let bytes_max = framer.bytes_max();
            framer.push(now.mono, bytes, |frame| {
                if intake.frame(now, index, frame, *place, bytes_max, outputs) {
                    *place = Place::Later;
                }
            });
        }
    }

    /// Takes the frames that silence has ended.
    fn silence(&mut self, now: Now) {
        let Self { intake, lanes, outputs, .. } = self;
        for (index, Lane { framer, place }) in lanes.iter_mut().enumerate() {
            let Some(place) = place else { continue };
            let bytes_max = framer.bytes_max();
            framer.tick(now.mono, |frame| {
                if intake.frame(now, index, frame, *place, bytes_max, outputs) {
                    *place = Place::Later;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
