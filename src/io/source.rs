//! What the tasks of all sources of readings have in common: the way on, the clocks, the end.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot, watch};
use tracing::{info, warn};

use super::borrow::Loans;
use super::clock::Clock;
use super::commands::CommandDesk;
use super::gnss::GnssClock;
use super::journal::LineJournal;
use super::panics::Panics;
use super::polls::Polls;
use super::readings::Readings;
use super::trace::{Direction, Traces};
use crate::reading::Reading;
use crate::sensor::bus::{BusStatus, Polled};
use crate::sensor::{Bus, FileSource, Input, Notice, Port, PortStatus};
use crate::time::Now;

/// The machine of one source of readings.
#[derive(Clone, Debug)]
pub enum Machine {
    /// Of a port whose devices send by themselves.
    Port(Rc<RefCell<Port>>),
    /// Of a port whose devices are asked.
    Bus(Rc<RefCell<Bus>>),
    /// Of a program, which is as a port.
    Program(Rc<RefCell<Port>>),
    /// Of files.
    Files(Rc<RefCell<FileSource>>),
}

impl Machine {
    /// How the source is doing.
    #[must_use]
    pub fn status(&self, now: Now) -> PortStatus {
        match self {
            Self::Port(port) | Self::Program(port) => port.borrow().status(now),
            Self::Bus(bus) => bus.borrow().status(now),
            Self::Files(files) => files.borrow().status(now),
        }
    }
}

/// What readings come from, and who looks on at lines. Lives on the service thread.
#[derive(Debug, Default)]
pub struct Sources {
    /// Ports in the order of the config, then programs, then files.
    all: RefCell<Vec<Machine>>,
    /// Who looks on at ports and programs.
    pub traces: Rc<Traces>,
    /// Who lends which port.
    pub loans: Rc<Loans>,
    /// Who waits for a poll out of turn.
    pub polls: Rc<Polls>,
}

impl Sources {
    /// Has a device polled out of turn, once its line is free; its number, and where its end is told. Whoever doesn't wait for
    /// it any more says so ([`Polls::forget`]).
    ///
    /// # Errors
    /// In words: it can't be asked, or not now. `None`: there is no such device.
    pub fn poll(&self, now: Now, device: &str) -> Result<(u64, oneshot::Receiver<Polled>), Option<String>> {
        let all = self.all.borrow();
        let has =
            |machine: &&Machine| machine.status(now).devices.iter().any(|status| *status.name == *device);
        match all.iter().find(has).ok_or(None)? {
            Machine::Bus(bus) => {
                let (id, end) = self.polls.begin();
                let (asked, port) = {
                    let mut bus = bus.borrow_mut();
                    (bus.ask(now, device, id), bus.status(now).name)
                };
                if let Err(error) = asked {
                    self.polls.forget(id);
                    return Err(Some(format!("{device} can't be polled now: {error}")));
                }
                self.polls.bell(&port).notify_one();
                Ok((id, end))
            }
            Machine::Port(_) | Machine::Program(_) => {
                Err(Some(format!("{device} sends by itself, whenever it likes: it can't be asked")))
            }
            Machine::Files(_) => Err(Some(format!(
                "{device} is read from a file of the kernel's at its own pace: it can't be asked out of turn"
            ))),
        }
    }

    /// Others from now on.
    pub fn set(&self, machines: Vec<Machine>) {
        self.all.replace(machines);
    }

    /// How all of them are doing.
    #[must_use]
    pub fn status(&self, now: Now) -> Vec<PortStatus> {
        self.all.borrow().iter().map(|machine| machine.status(now)).collect()
    }

    /// The same of those that bytes come over: ports and programs.
    #[must_use]
    pub fn lines(&self, now: Now) -> Vec<PortStatus> {
        let all = self.all.borrow();
        let lines = all.iter().filter(|machine| !matches!(machine, Machine::Files(_)));
        lines.map(|machine| machine.status(now)).collect()
    }

    /// The units of the values in files, by the names of the sources; where the config says one.
    #[must_use]
    pub fn file_units(&self) -> HashMap<Arc<str>, Arc<str>> {
        let all = self.all.borrow();
        let unit = |machine: &Machine| match machine {
            Machine::Files(files) => files.borrow().unit(),
            _ => None,
        };
        all.iter().filter_map(unit).collect()
    }

    /// What else is known of ports whose devices are asked.
    #[must_use]
    pub fn buses(&self, now: Now) -> Vec<BusStatus> {
        let all = self.all.borrow();
        let bus = |machine: &Machine| match machine {
            Machine::Bus(bus) => Some(bus.borrow().bus_status(now)),
            _ => None,
        };
        all.iter().filter_map(bus).collect()
    }
}

/// What the task of a source is started with.
#[derive(Clone, Debug)]
pub struct Common {
    /// Where readings go.
    pub readings: Rc<Readings>,
    /// The clocks.
    pub clock: Clock,
    /// Rung when health should be published soon.
    pub changed: Rc<Notify>,
    /// Turns true when the source is no more, or the gateway stops.
    pub stop: watch::Receiver<bool>,
    /// Who catches panics.
    pub panics: Arc<Panics>,
    /// Who looks on.
    pub traces: Rc<Traces>,
    /// Who lends which port.
    pub loans: Rc<Loans>,
    /// Where it is noted that the line goes and comes.
    pub journal: LineJournal,
    /// Who waits for a poll out of turn.
    pub polls: Rc<Polls>,
    /// Who is told what came of commands.
    pub desk: Rc<CommandDesk>,
    /// Who tells the time by a receiver's sentences.
    pub gnss: Option<Rc<GnssClock>>,
}

impl Common {
    /// Does the work of a source's task until the gateway stops. A panic has closed its line: the machine hears so through
    /// `tell`, and opens it again.
    pub async fn keep(&self, what: &'static str, mut serve: impl AsyncFnMut(), tell: impl Fn(Input<'_>)) {
        while self.panics.catch_async(what, pin!(serve())).await.is_none() {
            let lost = Input::Lost { error: "its work was cut short by a fault of this program" };
            self.panics.catch(what, || tell(lost));
            self.panics.pause().await;
        }
    }

    /// Shows whoever looks on what a port's machine hears.
    pub fn show(&self, port: &str, now: Now, input: &Input<'_>) {
        match input {
            Input::Bytes(bytes) => self.traces.bytes(port, now.wall, Direction::In, bytes),
            Input::Opened => self.traces.opened(port, now.wall),
            Input::Lost { error } | Input::OpenFailed { error } => self.traces.down(port, now.wall, error),
            Input::Borrowed { by } => self.traces.down(port, now.wall, &format!("borrowed by {by}")),
            Input::Appeared | Input::Returned | Input::Tick => {}
        }
    }

    /// Passes a reading on.
    pub fn give(&self, reading: Reading) {
        self.readings.take(reading);
    }

    /// Logs a notice of a source that is no serial line.
    pub fn tell(&self, source: &str, notice: &Notice) {
        self.journal.hear(source, notice);
        if let Notice::DeviceStale { device } = notice {
            self.readings.stale(device);
        }
        match notice {
            Notice::PortOpened => info!(port = source, "source is there"),
            Notice::PortDown { error } => {
                warn!(port = source, error, "source is down; trying again until it is back");
            }
            Notice::PortLent { by } => info!(port = source, by, "source is lent"),
            Notice::BadLines { source: device, error, sample } => {
                warn!(port = source, device = %device, error, sample, "a value can't be had; more are counted, not logged");
            }
            Notice::GoodAgain { source: device, bad } => {
                info!(port = source, device = %device, bad, "values are good again");
            }
            Notice::DeviceStale { device } => {
                warn!(port = source, device = %device, "device is stale: no good value came");
            }
            Notice::DeviceFresh { device } => info!(port = source, device = %device, "device is back"),
        }
        self.changed.notify_one();
    }
}
