//! The GPIO lines' task: opens the lines, feeds their changes and commands to the machine, passes the readings on, keeps
//! what must outlive the process. One small interface (`Wire`), three ways to work a line: `cdev`, `pi`, [`sim`].

mod cdev;
mod change;
mod pi;
pub mod sim;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use change::Changing;
use tokio::sync::{Notify, mpsc, watch};
use tracing::{error, info, warn};

use super::clock::Clock;
use super::commands::CommandDesk;
use super::links::Links;
use super::readings::Readings;
use super::upstream::SharedBridge;
use crate::bridge::LinkState;
use crate::command::{Command, Outcome};
use crate::gpio::{BackendName, Bank, Cause, Edge, Found, GpioConfig, Input, Notice, Output};
use crate::store::{Kept, KeptValue};

pub use cdev::{ChipInfo, LineInfo, list};
pub use change::Change;
pub use sim::Sim;

/// Changes that wait to be taken. At the bound the kernel's own buffer fills, then loses the oldest, which its sequence
/// numbers tell.
const EDGES_WAITING_MAX: usize = 1_024;
/// How often the upstreams are looked at, for outputs with `on_disconnect`.
const LOOK_AT_UPSTREAMS: Duration = Duration::from_millis(500);
/// The end may wait for the disk this long.
const STOP_MAX: Duration = Duration::from_secs(2);

/// A line that is open. It is released when dropped.
trait Wire: std::fmt::Debug {
    /// Makes it an output with this level.
    fn set(&mut self, on: bool) -> Result<(), String>;
    /// Its level.
    fn read(&mut self) -> Result<bool, String>;
}

/// What opening a line gives.
struct Opened {
    wire: Box<dyn Wire>,
    /// Whether changes come debounced. If not, both kinds of change come where debouncing is wanted.
    debounced: bool,
    backend: &'static str,
}

/// What an open line reports.
#[derive(Debug)]
enum Event {
    Edge(Edge),
    Gone(String),
}

/// Where an open line reports to. A report of a line that was opened anew meanwhile is of no use.
#[derive(Clone, Debug)]
struct Reports {
    line: usize,
    generation: u64,
    to: mpsc::Sender<(usize, u64, Event)>,
}

/// What the task is started with.
#[derive(Debug)]
pub struct Setup {
    /// The lines, in the order of the machine's, with what each keeps on disk; `None` where it can't.
    pub lines: Vec<(GpioConfig, Option<Kept>)>,
    /// Where the store is.
    pub data_dir: PathBuf,
    /// The machine. Never borrowed across an await.
    pub bank: Rc<RefCell<Bank>>,
    /// The lines of the backend `sim`.
    pub sim: Rc<Sim>,
    /// Who hands commands in.
    pub desk: Rc<CommandDesk>,
    /// The commands.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// Other lines while the gateway runs.
    pub changes: mpsc::UnboundedReceiver<Change>,
    /// Where readings go.
    pub readings: Rc<Readings>,
    /// To see whether any is online.
    pub links: Rc<Links>,
    /// The clocks.
    pub clock: Clock,
    /// Rung when health should be published soon.
    pub changed: Rc<Notify>,
    /// Turns true when the gateway stops.
    pub stop: watch::Receiver<bool>,
}

/// Opens what a line keeps on disk. Blocks.
#[must_use]
pub fn open_kept(data_dir: &Path, config: &GpioConfig) -> (Option<Kept>, Found) {
    if !config.mode.is_kept() {
        return (None, Found::Nothing);
    }
    match Kept::open(data_dir, &config.name) {
        Ok((kept, KeptValue::Nothing)) => (Some(kept), Found::Nothing),
        Ok((kept, KeptValue::Value(value))) => (Some(kept), Found::Kept(value)),
        Ok((kept, KeptValue::Damaged)) => (Some(kept), Found::Damaged),
        Err(error) => (None, Found::Unavailable(error.to_string())),
    }
}

/// A value on its way back from the disk.
type Written = (usize, Kept, Result<(), String>);

/// A line as this task works it.
struct Place {
    config: GpioConfig,
    kept: Option<Kept>,
    /// What was last to be kept.
    last: Option<Vec<u8>>,
    wire: Option<Box<dyn Wire>>,
    generation: u64,
    /// It has done all that it does at its end.
    stopped: bool,
}

impl Place {
    const fn new(config: GpioConfig, kept: Option<Kept>) -> Self {
        Self { config, kept, last: None, wire: None, generation: 0, stopped: false }
    }
}

struct Task {
    setup: Setup,
    /// By their numbers.
    places: HashMap<usize, Place>,
    generation: u64,
    reports: mpsc::Sender<(usize, u64, Event)>,
    written: mpsc::UnboundedSender<Written>,
}

/// Runs until the gateway stops.
pub async fn run(mut setup: Setup) {
    let (reports, mut events) = mpsc::channel(EDGES_WAITING_MAX);
    let (written, mut writes) = mpsc::unbounded_channel();
    let mut stop = setup.stop.clone();
    let lines = std::mem::take(&mut setup.lines).into_iter();
    let places = lines.map(|(config, kept)| Place::new(config, kept)).enumerate().collect();
    let mut task = Task { places, generation: 0, reports, written, setup };
    let mut looks = tokio::time::interval(LOOK_AT_UPSTREAMS);
    let mut end = None;
    let mut changing: Option<Changing> = None;
    loop {
        task.carry_out();
        if end.is_some() && task.places.values().all(|place| place.stopped) {
            break;
        }
        if let Some(next) = changing.take() {
            changing = task.go_on(next);
        }
        let watches = task.setup.bank.borrow().watches_upstreams();
        let now = task.setup.clock.now().mono;
        let deadline = task.setup.bank.borrow().next_deadline().map(|deadline| deadline.since(now));
        // All branches are cancel safe: what was not received is there the next time.
        tokio::select! {
            Some((line, generation, event)) = events.recv() => task.event(line, generation, event),
            Some(command) = task.setup.commands.recv() => task.command(&command),
            Some((line, kept, result)) = writes.recv() => task.kept(line, kept, result),
            Some(change) = task.setup.changes.recv(), if changing.is_none() && end.is_none() => {
                changing = Some(task.begin(change));
            }
            () = change::progress(&mut changing) => {}
            () = tokio::time::sleep(deadline.unwrap_or_default()), if deadline.is_some() => {
                let now = task.setup.clock.now();
                task.setup.bank.borrow_mut().tick(now);
            }
            _ = looks.tick(), if watches => task.look_at_upstreams(),
            _ = stop.wait_for(|stop| *stop), if end.is_none() => {
                end = Some(tokio::time::Instant::now() + STOP_MAX);
                let now = task.setup.clock.now();
                task.setup.bank.borrow_mut().handle_all(now, || Input::Stop);
            }
            () = sleep_until(end) => {
                error!("stopped before all totals of counters were on disk");
                break;
            }
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Task {
    fn input(&self, line: usize, input: Input<'_>) {
        self.setup.bank.borrow_mut().handle(self.setup.clock.now(), line, input);
    }

    fn event(&mut self, line: usize, generation: u64, event: Event) {
        if self.places.get(&line).is_none_or(|place| place.generation != generation) {
            return;
        }
        match event {
            Event::Edge(edge) => self.input(line, Input::Edge(edge)),
            Event::Gone(error) => self.lose(line, &error),
        }
    }

    fn lose(&mut self, line: usize, error: &str) {
        if let Some(place) = self.places.get_mut(&line) {
            place.wire = None;
        }
        self.input(line, Input::Lost { error });
    }

    fn command(&mut self, command: &Command) {
        let line = self.setup.bank.borrow().find(&command.device);
        let Some(line) = line.filter(|_| self.setup.clock.now().mono < command.until) else {
            let why = "it came too late".to_owned();
            return self.setup.desk.ended(command.id, &Outcome::Refused(why));
        };
        let (id, point, value) = (command.id, command.point.as_deref(), &command.value);
        self.input(line, Input::Command { id, point, value });
    }

    fn kept(&mut self, line: usize, kept: Kept, result: Result<(), String>) {
        if let Some(place) = self.places.get_mut(&line) {
            place.kept = Some(kept);
        }
        self.input(line, Input::Persisted(result));
    }

    fn look_at_upstreams(&self) {
        let now = self.setup.clock.now();
        let is_online =
            |bridge: &SharedBridge| bridge.machine.borrow().status(now).state == LinkState::Online;
        let online = self.setup.links.all().iter().any(is_online);
        self.setup.bank.borrow_mut().handle_all(now, || Input::Online(online));
    }

    fn carry_out(&mut self) {
        loop {
            let output = self.setup.bank.borrow_mut().poll_output();
            let Some((line, output)) = output else { return };
            match output {
                Output::Open => self.open(line),
                Output::Look => {
                    let result = self.wire(line).and_then(|wire| wire.read());
                    self.input(line, Input::Looked(result.as_ref().copied().map_err(String::as_str)));
                }
                Output::Set { on, cause, command } => {
                    let result = self.wire(line).and_then(|wire| wire.set(on).and_then(|()| wire.read()));
                    let result = result.as_ref().copied().map_err(String::as_str);
                    self.input(line, Input::WasSet { on, cause, command, result });
                }
                Output::Persist(bytes) => self.persist(line, bytes),
                Output::Reading(reading) => self.setup.readings.take(reading),
                Output::Done { id, outcome } => self.setup.desk.ended(id, &outcome),
                Output::Notice(notice) => {
                    if let Some(place) = self.places.get(&line) {
                        log(&place.config, &notice);
                    }
                    self.setup.changed.notify_one();
                }
                Output::Stopped => {
                    if let Some(place) = self.places.get_mut(&line) {
                        place.stopped = true;
                    }
                }
            }
        }
    }

    fn wire(&mut self, line: usize) -> Result<&mut Box<dyn Wire>, String> {
        let wire = self.places.get_mut(&line).and_then(|place| place.wire.as_mut());
        wire.ok_or_else(|| "the line is not open".to_owned())
    }

    fn open(&mut self, line: usize) {
        let Some(place) = self.places.get_mut(&line) else { return };
        self.generation += 1;
        let (generation, to) = (self.generation, self.reports.clone());
        let opened =
            open(&place.config, Reports { line, generation, to }, &self.setup.sim).and_then(|mut opened| {
                let level = opened.wire.read()?;
                Ok((opened, level))
            });
        match opened {
            Ok((Opened { wire, debounced, backend }, level)) => {
                (place.wire, place.generation) = (Some(wire), generation);
                self.input(line, Input::Opened { level, debounced, backend });
            }
            Err(error) => self.lose(line, &error),
        }
    }

    /// Off this thread: a disk that stands still must not hold up the ports.
    fn persist(&mut self, line: usize, bytes: Vec<u8>) {
        let Some(place) = self.places.get_mut(&line) else { return };
        place.last = Some(bytes.clone());
        match place.kept.take() {
            Some(mut kept) => {
                let written = self.written.clone();
                tokio::task::spawn_blocking(move || {
                    let result = kept.write(&bytes).map_err(|error| error.to_string());
                    // The task may have given up waiting.
                    let _ = written.send((line, kept, result));
                });
            }
            None => {
                let error = "it could not be opened when the gateway started".to_owned();
                self.input(line, Input::Persisted(Err(error)));
            }
        }
    }
}

fn open(config: &GpioConfig, reports: Reports, sim: &Sim) -> Result<Opened, String> {
    match config.backend {
        BackendName::Sim => Ok(sim.open(config, reports)),
        BackendName::Gpiocdev => cdev::open(config, reports),
        BackendName::Rppal => pi::open(config, reports),
        BackendName::Auto => match cdev::is_there() {
            Ok(()) => cdev::open(config, reports),
            Err(_) if pi::is_there() => pi::open(config, reports),
            Err(why) => Err(format!("{why}; and this is no Raspberry Pi")),
        },
    }
}

fn log(config: &GpioConfig, notice: &Notice) {
    let (device, line) = (&*config.name, &config.line);
    match notice {
        Notice::Opened { backend } => {
            info!(device, %line, backend, mode = config.mode.as_str(), "GPIO line is open")
        }
        Notice::Down { error } => {
            warn!(device, %line, error, "GPIO line is down; trying again until it is there")
        }
        Notice::EdgesLost { lost, counted: true } => {
            warn!(device, %line, lost, "changes came too fast; their number is known, and in the total");
        }
        Notice::EdgesLost { lost, counted: false } => {
            warn!(device, %line, lost, "changes came too fast and were lost");
        }
        Notice::BeganAnew => error!(device, "what was kept of it is damaged; it begins anew"),
        Notice::NotKept { error } => {
            error!(device, error, "it can't be kept on disk: a power cut would take it")
        }
        Notice::Switched { on, cause } => {
            let state = if *on { "on" } else { "off" };
            match cause {
                Cause::MaxOn | Cause::Disconnect => {
                    warn!(device, state, cause = cause.as_str(), "output switched")
                }
                Cause::Start | Cause::Command | Cause::Exit => {
                    info!(device, state, cause = cause.as_str(), "output switched");
                }
            }
        }
        Notice::ReadsOther { set } => {
            let state = if *set { "on" } else { "off" };
            error!(device, %line, set_to = state, "output reads otherwise than it was set");
        }
    }
}
