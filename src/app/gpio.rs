//! What the GPIO lines need: their machine with what was kept of them, and the task that serves it.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle as Task, spawn_local};

use crate::config::Config;
use crate::gpio::Bank;
use crate::io::clock::Clock;
use crate::io::gpio::{self, open_kept};
use crate::io::readings::Readings;
use crate::io::reporter::Reporter;
use crate::reading::Run;
use crate::store::Kept;
use crate::time::BootId;

/// The machine of all lines, and what each of them keeps on disk.
pub(super) type Lines = (Rc<RefCell<Bank>>, Vec<Option<Kept>>);

pub(super) fn make_lines(config: &Config, clock: &Clock, boot: BootId, run: Run) -> Lines {
    let open = |line: &crate::gpio::GpioConfig| {
        let (kept, found) = open_kept(&config.gateway.data_dir, line);
        (kept, (line.clone(), found))
    };
    let (kept, lines) = config.gpio.iter().map(open).unzip();
    (Rc::new(RefCell::new(Bank::new(lines, run, boot, clock.now()))), kept)
}

pub(super) fn start_lines(
    config: &Config,
    readings: &Rc<Readings>,
    kept: Vec<Option<Kept>>,
    reporter: &Reporter,
    stop: &watch::Receiver<bool>,
) -> Task<()> {
    let (orders, commands) = mpsc::unbounded_channel();
    for line in config.gpio.iter().filter(|line| line.mode.takes_commands()) {
        reporter.desk.register(line.name.clone(), orders.clone());
    }
    spawn_local(gpio::run(gpio::Setup {
        configs: config.gpio.clone(),
        kept,
        bank: reporter.gpio.clone(),
        sim: reporter.sim.clone(),
        desk: reporter.desk.clone(),
        commands,
        readings: readings.clone(),
        bridges: reporter.bridges.clone(),
        clock: reporter.clock.clone(),
        changed: reporter.changed.clone(),
        stop: stop.clone(),
    }))
}
