//! What readings come from: ports, programs, files, each with its machine and its task. Which of them stay, come, go or
//! are opened anew when the config changes is decided here, by comparing what each is told.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle as Task, spawn_local};

use crate::command::Command;
use crate::config::Config;
use crate::io::clock::Clock;
use crate::io::gnss::GnssClock;
use crate::io::readings::Readings;
use crate::io::reporter::Reporter;
use crate::io::source::{Common, Machine};
use crate::io::{bus, exec, file_source, serial};
use crate::limits::FILE_READS_MAX;
use crate::reading::Run;
use crate::sensor::{Bus, DeviceConfig, ExecConfig, FileConfig, FileSource, Port, PortConfig};
use crate::time::BootId;

/// What stays the same from the start to the end.
#[derive(Clone, Debug)]
pub(super) struct Constants {
    pub(super) clock: Clock,
    pub(super) boot: BootId,
    pub(super) run: Run,
    pub(super) instance: Arc<str>,
}

/// One source as the config wants it: all that its machine is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    Port(PortConfig, Vec<DeviceConfig>),
    Program(ExecConfig, Vec<DeviceConfig>),
    Files(FileConfig),
}

impl Wanted {
    /// All sources: ports, then programs, then files, each in the order of the config.
    pub(super) fn of(config: &Config) -> Vec<Self> {
        let ports = config.ports.iter().map(|port| Self::Port(port.clone(), config.devices_of(&port.name)));
        let programs =
            config.execs.iter().map(|exec| Self::Program(exec.clone(), config.devices_of(&exec.name)));
        let files = config.files.iter().map(|files| Self::Files(files.clone()));
        ports.chain(programs).chain(files).collect()
    }

    /// As people name it.
    fn words(&self) -> String {
        match self {
            Self::Port(port, _) => format!("port {}", port.name),
            Self::Program(exec, _) => format!("program {}", exec.name),
            Self::Files(files) => format!("files {}", files.name),
        }
    }

    /// Whether the files of both are devices of the same names.
    fn names_files_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Files(one), Self::Files(other)) => one.path == other.path && one.device == other.device,
            _ => false,
        }
    }

    /// A port without devices is opened, and listened to.
    fn machine(&self, constants: &Constants) -> Machine {
        let Constants { clock, boot, run, .. } = constants;
        let (boot, run, seed, now) = (*boot, *run, fastrand::u64(..), clock.now());
        match self.clone() {
            Self::Port(port, devices) => {
                if port.is_asked(&devices) {
                    Machine::Bus(Rc::new(RefCell::new(Bus::new(port, devices, run, boot, seed, now))))
                } else {
                    Machine::Port(Rc::new(RefCell::new(Port::new(port, devices, run, boot, seed, now))))
                }
            }
            Self::Program(exec, devices) => {
                let machine = Port::of_program(&exec, devices, run, boot, seed, now);
                Machine::Program(Rc::new(RefCell::new(machine)))
            }
            Self::Files(files) => {
                Machine::Files(Rc::new(RefCell::new(FileSource::new(files, run, boot, now))))
            }
        }
    }
}

/// A source that runs.
#[derive(Debug)]
struct Running {
    wanted: Wanted,
    machine: Machine,
    stop: watch::Sender<bool>,
    task: Task<()>,
}

/// What a change leaves behind.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Sources that come, go or are opened anew, by name.
    pub(super) reopened: Vec<String>,
    /// Devices that no config names and that are no more.
    pub(super) gone: Vec<Arc<str>>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Lineup {
    constants: Constants,
    reporter: Rc<Reporter>,
    readings: Rc<Readings>,
    running: RefCell<Vec<Running>>,
    /// For reads of files, of all sources together.
    room: Arc<Semaphore>,
    /// Who tells the time by a receiver's sentences, since the start.
    gnss: Option<Rc<GnssClock>>,
}

impl Lineup {
    /// Nothing runs yet.
    pub(super) fn new(
        config: &Config,
        constants: Constants,
        reporter: Rc<Reporter>,
        readings: Rc<Readings>,
    ) -> Self {
        let room = Arc::new(Semaphore::new(FILE_READS_MAX));
        let gnss = config.time.gnss.as_ref().map(|gnss| Rc::new(GnssClock::new(gnss, &constants.clock)));
        Self { constants, reporter, readings, running: RefCell::default(), room, gnss }
    }

    /// Ends what isn't wanted as it is, and waits until all that came of it is handed over and its line is closed.
    pub(super) async fn end(&self, wanted: &[Wanted]) -> Ended {
        let (stays, ends): (Vec<_>, Vec<_>) =
            self.running.take().into_iter().partition(|running| wanted.contains(&running.wanted));
        let known = |one: &&Wanted| stays.iter().chain(&ends).any(|running| running.wanted == **one);
        let comes = wanted.iter().filter(|one| !known(one));
        let mut reopened: Vec<String> =
            comes.map(Wanted::words).chain(ends.iter().map(|running| running.wanted.words())).collect();
        reopened.sort();
        reopened.dedup();
        self.running.replace(stays);
        let now = self.constants.clock.now();
        let mut gone = Vec::new();
        for Running { wanted: before, machine, .. } in &ends {
            let is_file = matches!(before, Wanted::Files(_));
            if is_file && !wanted.iter().any(|one| one.names_files_alike(before)) {
                gone.extend(machine.status(now).devices.into_iter().map(|device| device.name));
            }
        }
        for ending in &ends {
            if let Wanted::Port(_, devices) = &ending.wanted {
                for device in devices.iter().filter(|device| device.takes_commands()) {
                    self.reporter.desk.unregister(&device.name);
                }
            }
            ending.stop.send_replace(true);
        }
        for ending in ends {
            // A task that panicked has told so.
            let _ = ending.task.await;
        }
        Ended { reopened, gone }
    }

    /// Starts what is wanted and doesn't run.
    pub(super) fn start(&self, wanted: Vec<Wanted>) {
        let mut before = self.running.take();
        let mut running = Vec::new();
        for wanted in wanted {
            match before.iter().position(|one| one.wanted == wanted) {
                Some(at) => running.push(before.swap_remove(at)),
                None => running.push(self.run(wanted)),
            }
        }
        self.reporter.sources.set(running.iter().map(|running| running.machine.clone()).collect());
        self.running.replace(running);
        self.reporter.changed.notify_one();
    }

    /// Where the commands to the devices of a source come from now on.
    fn orders(&self, wanted: &Wanted) -> mpsc::UnboundedReceiver<Command> {
        let (orders, commands) = mpsc::unbounded_channel();
        if let Wanted::Port(_, devices) = wanted {
            for device in devices.iter().filter(|device| device.takes_commands()) {
                self.reporter.desk.register(device.name.clone(), orders.clone());
            }
        }
        commands
    }

    fn run(&self, wanted: Wanted) -> Running {
        let machine = wanted.machine(&self.constants);
        let (stop, stopping) = watch::channel(false);
        let common = Common {
            readings: self.readings.clone(),
            clock: self.constants.clock.clone(),
            changed: self.reporter.changed.clone(),
            stop: stopping,
            panics: self.reporter.panics.clone(),
            traces: self.reporter.sources.traces.clone(),
            loans: self.reporter.sources.loans.clone(),
            journal: self.reporter.journal().of_line(),
            polls: self.reporter.sources.polls.clone(),
            desk: self.reporter.desk.clone(),
            gnss: self.gnss.clone(),
        };
        let orders = self.orders(&wanted);
        let task = match (&machine, &wanted) {
            (Machine::Port(machine), Wanted::Port(config, _)) => {
                let (config, machine) = (config.clone(), machine.clone());
                spawn_local(serial::run(serial::Setup { config, machine, common }, orders))
            }
            (Machine::Bus(machine), Wanted::Port(config, _)) => {
                let (config, machine) = (config.clone(), machine.clone());
                spawn_local(bus::run(bus::Setup { config, machine, common }, orders))
            }
            (Machine::Program(machine), Wanted::Program(config, _)) => {
                let (config, machine) = (config.clone(), machine.clone());
                spawn_local(exec::run(exec::Setup { config, machine, common }))
            }
            (Machine::Files(machine), _) => {
                let (machine, room) = (machine.clone(), self.room.clone());
                spawn_local(file_source::run(file_source::Setup { machine, common, room }))
            }
            // Each kind has the machine of its kind.
            _ => spawn_local(async {}),
        };
        Running { wanted, machine, stop, task }
    }
}
