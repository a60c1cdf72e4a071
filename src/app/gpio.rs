//! What the GPIO lines need: their machine with what was kept of them, the task that serves it, and the way to have others
//! while the gateway runs.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle as Task, spawn_local};

use super::lineup::Constants;
use crate::command::Command;
use crate::config::Config;
use crate::gpio::{Bank, GpioConfig};
use crate::io::gpio::{self, Change, open_kept};
use crate::io::readings::Readings;
use crate::io::reporter::Reporter;
use crate::store::Kept;

/// The machine of all lines, and what each of them keeps on disk.
pub(super) type Lines = (Rc<RefCell<Bank>>, Vec<(GpioConfig, Option<Kept>)>);

pub(super) fn make_lines(config: &Config, constants: &Constants) -> Lines {
    let open = |line: &GpioConfig| {
        let (kept, found) = open_kept(&config.gateway.data_dir, line);
        ((line.clone(), kept), (line.clone(), found))
    };
    let (kept, lines) = config.gpio.iter().map(open).unzip();
    let Constants { clock, boot, run, .. } = constants;
    (Rc::new(RefCell::new(Bank::new(lines, *run, *boot, clock.now()))), kept)
}

/// The task, and the way to it.
#[derive(Debug)]
pub(super) struct LinesTask {
    reporter: Rc<Reporter>,
    orders: mpsc::UnboundedSender<Command>,
    changes: mpsc::UnboundedSender<Change>,
    /// What it works now.
    configs: RefCell<Vec<GpioConfig>>,
    task: RefCell<Option<Task<()>>>,
}

impl LinesTask {
    pub(super) fn start(
        config: &Config,
        lines: Vec<(GpioConfig, Option<Kept>)>,
        readings: &Rc<Readings>,
        reporter: &Rc<Reporter>,
        stop: &watch::Receiver<bool>,
    ) -> Self {
        let (orders, commands) = mpsc::unbounded_channel();
        let (changes, changing) = mpsc::unbounded_channel();
        let task = spawn_local(gpio::run(gpio::Setup {
            lines,
            data_dir: config.gateway.data_dir.clone(),
            bank: reporter.gpio.clone(),
            sim: reporter.sim.clone(),
            desk: reporter.desk.clone(),
            commands,
            changes: changing,
            readings: readings.clone(),
            links: reporter.links.clone(),
            clock: reporter.clock.clone(),
            changed: reporter.changed.clone(),
            stop: stop.clone(),
        }));
        let this = Self {
            reporter: reporter.clone(),
            orders,
            changes,
            configs: RefCell::default(),
            task: RefCell::new(Some(task)),
        };
        this.register(&config.gpio);
        this
    }

    /// Has the desk hand over the commands of these lines, and of no others.
    fn register(&self, configs: &[GpioConfig]) {
        for gone in &*self.configs.borrow() {
            self.reporter.desk.unregister(&gone.name);
        }
        for line in configs.iter().filter(|line| line.mode.takes_commands()) {
            self.reporter.desk.register(line.name.clone(), self.orders.clone());
        }
        self.configs.replace(configs.to_vec());
    }

    /// Other lines from now on. Gives the names of those that come, go or are opened anew, and the devices that are gone.
    pub(super) async fn change(&self, configs: &[GpioConfig]) -> (Vec<String>, Vec<Arc<str>>) {
        let before = self.configs.borrow().clone();
        if before == configs {
            return Default::default();
        }
        let (done, changed) = oneshot::channel();
        self.register(configs);
        if self.changes.send(Change { configs: configs.to_vec(), done }).is_ok() {
            // The gateway may be stopping.
            let _ = changed.await;
        }
        let comes = configs.iter().filter(|line| !before.contains(line));
        let goes = before.iter().filter(|line| !configs.contains(line));
        let mut names: Vec<String> =
            comes.chain(goes).map(|line| format!("GPIO line {}", line.name)).collect();
        names.sort();
        names.dedup();
        let is_gone = |line: &&GpioConfig| !configs.iter().any(|other| other.name == line.name);
        let gone = before.iter().filter(is_gone).map(|line| line.name.clone()).collect();
        (names, gone)
    }

    /// Waits for its end; whoever stops it has said so.
    pub(super) async fn end(&self) {
        let task = self.task.take();
        if let Some(task) = task {
            // A task that panicked has told so.
            let _ = task.await;
        }
    }
}
