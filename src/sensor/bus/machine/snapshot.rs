//! What a bus tells of itself.

use super::super::stats::BusStatus;
use super::Bus;
use crate::sensor::port::{DeviceStatus, PortStatus};
use crate::time::Now;

impl Bus {
    /// A snapshot, as of any port.
    #[must_use]
    pub fn status(&self, now: Now) -> PortStatus {
        PortStatus {
            name: self.config.name.clone(),
            path: self.config.path.clone(),
            state: self.line.state(),
            since: self.line.since_wall(now),
            error: self.line.error(),
            bytes: self.bytes,
            bad_lines: 0,
            lost: self.line.lost(),
            devices: self
                .slaves
                .iter()
                .map(|slave| {
                    let status = slave.device.status(now.mono);
                    let error = slave.status.last_error.clone().filter(|_| !slave.is_well());
                    DeviceStatus { last_error: error.or(status.last_error), ..status }
                })
                .collect(),
        }
    }

    /// A snapshot of what is a bus's own.
    #[must_use]
    pub fn bus_status(&self, now: Now) -> BusStatus {
        let requests = self.slaves.iter().map(|slave| slave.status.requests);
        BusStatus {
            port: self.config.name.clone(),
            load_percent: self.load.percent(now.mono),
            requests: requests.fold(0, u64::saturating_add),
            foreign_bytes: self.foreign,
            writes_waiting: self.writes.len(),
            slaves: self.slaves.iter().map(|slave| slave.snapshot(now.mono)).collect(),
        }
    }
}
