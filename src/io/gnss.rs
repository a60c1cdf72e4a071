//! Takes the sentences of a satellite receiver to the clock: what its line reads goes to the machine, and what that is sure of
//! to whoever asks for the time.

use std::cell::RefCell;
use std::sync::Arc;

use tracing::warn;

use super::clock::Clock;
use crate::config::TimeGnss;
use crate::sensor::Gnss;
use crate::time::Mono;

/// The receiver that the config names.
#[derive(Debug)]
pub struct GnssClock {
    port: Arc<str>,
    machine: RefCell<Gnss>,
    clock: Clock,
}

impl GnssClock {
    /// One whose word goes to this clock.
    #[must_use]
    pub fn new(config: &TimeGnss, clock: &Clock) -> Self {
        let machine = RefCell::new(Gnss::new(config.latency));
        Self { port: config.port.clone(), machine, clock: clock.clone() }
    }

    /// Bytes of a port, which may be the receiver's.
    pub(super) fn hear(&self, port: &str, now: Mono, bytes: &[u8]) {
        if *self.port != *port {
            return;
        }
        let mut machine = self.machine.borrow_mut();
        let before = machine.refused();
        if let Some(zero) = machine.hear(now, bytes) {
            self.clock.vouch(now, zero);
        }
        if before == 0 && machine.refused() > 0 {
            warn!(
                port,
                "a receiver with a fix tells a date that can't be; its time is not taken until that changes"
            );
        }
    }
}
