//! What the tasks of all sources of readings have in common: the way on, the clocks, the end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::clock::Clock;
use super::panics::Panics;
use super::readings::Readings;
use super::trace::Traces;
use crate::reading::Reading;
use crate::sensor::{FileSource, Notice, Port};

/// What readings come from besides ports, and who looks on at lines.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The machines of programs, which are as those of ports.
    pub execs: Vec<Rc<RefCell<Port>>>,
    /// The file machines.
    pub files: Vec<Rc<RefCell<FileSource>>>,
    /// Who looks on at ports and programs.
    pub traces: Rc<Traces>,
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
    /// Turns true when the gateway stops.
    pub stop: watch::Receiver<bool>,
    /// Who catches panics.
    pub panics: Arc<Panics>,
    /// Who looks on.
    pub traces: Rc<Traces>,
}

impl Common {
    /// Passes a reading on.
    pub fn give(&self, reading: Reading) {
        self.readings.take(reading);
    }

    /// Logs a notice of a source that is no serial line.
    pub fn tell(&self, source: &str, notice: &Notice) {
        if let Notice::DeviceStale { device } = notice {
            self.readings.stale(device);
        }
        match notice {
            Notice::PortOpened => info!(port = source, "source is there"),
            Notice::PortDown { error } => {
                warn!(port = source, error, "source is down; trying again until it is back");
            }
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
