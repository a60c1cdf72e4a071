//! Sources of readings that are no serial lines: their machines and their tasks.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle as Task, spawn_local};

use crate::config::Config;
use crate::io::clock::Clock;
use crate::io::readings::Readings;
use crate::io::reporter::Reporter;
use crate::io::source::{Common, Sources};
use crate::io::{exec, file_source};
use crate::limits::FILE_READS_MAX;
use crate::reading::Run;
use crate::sensor::{ExecConfig, FileConfig, FileSource, Port};
use crate::time::BootId;

pub(super) fn make(config: &Config, clock: &Clock, boot: BootId, run: Run) -> Sources {
    let exec = |exec: &ExecConfig| {
        let devices = config.devices.iter().filter(|device| device.port == exec.name).cloned().collect();
        let machine = Port::of_program(exec, devices, run, boot, fastrand::u64(..), clock.now());
        Rc::new(RefCell::new(machine))
    };
    let file =
        |file: &FileConfig| Rc::new(RefCell::new(FileSource::new(file.clone(), run, boot, clock.now())));
    Sources {
        execs: config.execs.iter().map(exec).collect(),
        files: config.files.iter().map(file).collect(),
        ..Sources::default()
    }
}

pub(super) fn start(config: &Config, common: &Common, reporter: &Reporter) -> Vec<Task<()>> {
    let room = Arc::new(Semaphore::new(FILE_READS_MAX));
    let exec = |(config, machine): (&ExecConfig, &Rc<RefCell<Port>>)| {
        let (config, machine, common) = (config.clone(), machine.clone(), common.clone());
        spawn_local(exec::run(exec::Setup { config, machine, common }))
    };
    let file = |machine: &Rc<RefCell<FileSource>>| {
        let (machine, common, room) = (machine.clone(), common.clone(), room.clone());
        spawn_local(file_source::run(file_source::Setup { machine, common, room }))
    };
    let execs = config.execs.iter().zip(&reporter.sources.execs).map(exec);
    execs.chain(reporter.sources.files.iter().map(file)).collect()
}

/// What the tasks of all sources have in common.
pub(super) fn common(readings: &Rc<Readings>, reporter: &Reporter, stop: &watch::Receiver<bool>) -> Common {
    Common {
        readings: readings.clone(),
        clock: reporter.clock.clone(),
        changed: reporter.changed.clone(),
        stop: stop.clone(),
        panics: reporter.panics.clone(),
        traces: reporter.sources.traces.clone(),
    }
}
