//! What the gateway says of itself: one sentence, and the JSON of the health topic, the control socket and the
//! status command. Pure: snapshots in, values out.

mod buses;
mod certificates;
mod clock;
mod counters;
mod devices;
mod lines;
mod page;
mod sensors;
mod sentence;
mod upstreams;

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::bridge;
use crate::broker;
use crate::broker::memory::Shedding;
use crate::command;
use crate::expiry::Dated;
use crate::gpio;
use crate::sensor::bus::BusStatus;
use crate::sensor::{DeviceStatus, PortState, PortStatus};
use crate::time::{BootId, ClockSource, Now, Timestamp};
pub use certificates::UpstreamCertificate;
use clock::clock_json;
use counters::broker_json;
pub use devices::port_state;
pub(crate) use devices::value_json;
use devices::{device_json, port_json};
pub use page::Page;
pub use sensors::UnitOf;
pub use upstreams::{Outbox, letters, link_state};
use upstreams::{outbox_problems, upstream_problems};

/// Everything that is known at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub now: Now,
    /// Who vouches for its wall clock.
    pub clock_source: ClockSource,
    /// The gateway's id.
    pub gateway: String,
    /// For people.
    pub site: Option<String>,
    /// Since the gateway's start.
    pub uptime: Duration,
    /// This start's number.
    pub run: u64,
    /// The kernel's identifier of this boot; `None` where it doesn't tell.
    pub boot: Option<BootId>,
    /// The ports and their devices.
    pub ports: Vec<PortStatus>,
    /// What the polled ones cost, and how their devices answer.
    pub buses: Vec<BusStatus>,
    /// The GPIO lines.
    pub gpio: Vec<gpio::Status>,
    /// What became of commands.
    pub commands: command::Counts,
    /// The upstreams.
    pub upstreams: Vec<bridge::Status>,
    /// The outboxes on disk, as far as the store thread answered.
    pub outboxes: Vec<Outbox>,
    /// The broker's counters; `None` if it didn't answer.
    pub broker: Option<broker::Stats>,
    /// Listeners: name, address, error.
    pub listeners: Vec<(String, String, Option<String>)>,
    /// What ends one day, and for which listener.
    pub dates: Vec<(String, Dated)>,
    /// The certificates of connections to upstreams.
    pub upstream_certificates: Vec<UpstreamCertificate>,
    /// What is wrong with the files that say who may do what.
    pub access_errors: Vec<String>,
    /// Why the config on disk is not what runs.
    pub config_error: Option<String>,
    /// What of the config on disk counts at the next start.
    pub next_start: Vec<String>,
    /// What came of the provisioning file, in words.
    pub provisioned: Option<String>,
    /// The machine that the data directory was made on, if that was another one; known until the next start.
    pub moved_from: Option<String>,
    /// The change of the config that goes back unless it is confirmed.
    pub config_pending: Option<String>,
    /// Why nothing can be kept on disk.
    pub store_error: Option<String>,
    /// Why sessions and retained messages, which were to be on disk, are in memory only since the start.
    pub volatile_state: Option<String>,
    /// Why sessions and retained messages can't be written now.
    pub state_error: Option<String>,
    /// How long the store has been at its present job, if it is at one.
    pub disk_busy: Option<Duration>,
    /// Readings that found the way to the broker thread full.
    pub handover_dropped: u64,
    /// Panics that were caught since the start.
    pub panics: u64,
    /// The place of the last one in the program's text.
    pub last_panic: Option<String>,
    /// How the page does.
    pub page: Page,
    /// Resident memory.
    pub rss_bytes: Option<u64>,
    /// Free bytes where the store is.
    pub disk_free_bytes: Option<u64>,
}

/// A disk that is at one job for longer than this is in trouble: the worst cards take a second or two.
const DISK_BUSY_MAX: Duration = Duration::from_secs(10);
impl Snapshot {
    /// What is wrong, most important first; empty when all is well.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.problems_besides(None)
    }

    /// The same without an upstream's link: what its readers can't see by themselves.
    #[must_use]
    pub fn problems_besides(&self, link: Option<usize>) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(error) = &self.store_error {
            problems.push(format!("readings are kept in memory only: {error}"));
        }
        if let Some(error) = &self.volatile_state {
            problems.push(format!(
                "sessions and retained messages are kept in memory only, and what depends on them is acknowledged as \
                 with persistence = false: {error}"
            ));
        }
        if let Some(error) = &self.state_error {
            problems.push(format!(
                "sessions and retained messages can't be written, and what depends on them is not acknowledged: {error}"
            ));
        }
        if let Some(stalled) = self.disk_stalled() {
            problems.push(format!("the disk has not answered for {}", span(stalled)));
        }
        for (index, upstream) in self.upstreams.iter().enumerate() {
            let outbox = self.outboxes.get(index);
            upstream_problems(upstream, outbox, link == Some(index), &mut problems);
            for (stream, outbox) in self.streams(index).skip(1) {
                let name = format!("{}/{}", upstream.name, stream.name);
                outbox_problems(&name, &outbox, &mut problems);
            }
        }
        for port in &self.ports {
            if port.state == PortState::Down {
                let why = port.error.as_deref().unwrap_or("it can't be opened");
                problems.push(format!("port {} is down: {why}", port.name));
            }
            for device in port.devices.iter().filter(|device| is_missed(device, port)) {
                problems.push(match device.last_age {
                    Some(age) => format!("device {} is stale: last reading {} ago", device.name, span(age)),
                    None => format!("device {} has sent nothing that can be read", device.name),
                });
            }
        }
        problems.extend(self.gpio.iter().flat_map(lines::problems));
        for (name, _, error) in &self.listeners {
            if let Some(error) = error {
                problems.push(format!("listener {name}: {error}"));
            }
        }
        problems.extend(self.page.problem());
        for (listener, dated) in &self.dates {
            problems
                .extend(dated.warning(self.now.wall).map(|words| format!("listener {listener}: {words}")));
        }
        for certificate in &self.upstream_certificates {
            problems.extend(certificate.problem(self.now.wall));
        }
        problems.extend(self.access_errors.iter().cloned());
        problems.extend(self.provisioned.iter().filter(|words| words.contains(" failed: ")).cloned());
        if let Some(error) = &self.config_error {
            problems.push(format!("the config on disk is not what runs: {error}"));
        }
        if let Some(stats) = &self.broker
            && stats.shedding > Shedding::Nothing
        {
            problems.push(format!("memory runs short: the broker is {}", stats.shedding.words()));
        }
        if self.panics > 0 {
            let place = self.last_panic.as_deref().unwrap_or("an unknown place");
            problems.push(format!(
                "{} panics were caught since the start, the last at {place}: a fault of this program, please report it",
                self.panics
            ));
        }
        if self.handover_dropped > 0 {
            problems
                .push(format!("{} readings were dropped: the gateway was overloaded", self.handover_dropped));
        }
        problems
    }

    /// `ok` or `degraded`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.problems().is_empty() { "ok" } else { "degraded" }
    }

    /// The payload of `<base>/health`.
    #[must_use]
    pub fn health(&self) -> Json {
        json!({
            "time": self.now.wall.to_string(),
            "state": self.state(),
            "problems": self.problems(),
            "gateway": self.gateway,
            "site": self.site,
            "version": env!("CARGO_PKG_VERSION"),
            "run": self.run,
            "provisioning": self.provisioned,
            "moved_from": self.moved_from,
            "boot": self.boot.map(|boot| format!("{:032x}", u128::from_be_bytes(boot.0))),
            "uptime_s": self.uptime.as_secs(),
            "clock": self.now.trust.as_str(),
            "clock_source": clock_json(&self.clock_source),
            "upstreams": self.upstreams_json(),
            "ports": self.ports.iter().map(port_json).collect::<Vec<_>>(),
            "buses": self.buses.iter().map(buses::bus_json).collect::<Vec<_>>(),
            "devices": self.devices().map(device_json).collect::<Vec<_>>(),
            "gpio": self.gpio.iter().map(lines::line_json).collect::<Vec<_>>(),
            "commands": lines::commands_json(self.commands),
            "broker": self.broker.as_ref().map(broker_json),
            "listeners": self.listeners.iter().map(|(name, address, error)| {
                json!({"name": name, "address": address, "error": error})
            }).collect::<Vec<_>>(),
            "web": self.page.json(),
            "config": {
                "error": self.config_error,
                "next_start": self.next_start,
                "pending": self.config_pending,
            },
            "certificates": self.certificates_json(),
            "memory": self.broker.as_ref().map(|stats| json!({
                "state": stats.shedding.words(),
                "level": stats.shedding.level(),
                "bytes": stats.memory_used,
                "bytes_max": stats.memory_budget,
            })),
            "store": self.store_json(),
            "drops": {"handover_full": self.handover_dropped},
            "panics": {"total": self.panics, "last": self.last_panic},
            "rss_bytes": self.rss_bytes,
            "disk_free_bytes": self.disk_free_bytes,
        })
    }

    fn disk_stalled(&self) -> Option<Duration> {
        self.disk_busy.filter(|busy| *busy > DISK_BUSY_MAX)
    }

    fn store_json(&self) -> Json {
        let stalled = self.disk_stalled();
        let failed = self.store_error.as_ref().or(self.volatile_state.as_ref());
        let state = match (failed, &self.state_error, stalled) {
            (Some(_), _, _) => "failed",
            (None, Some(_), _) => "failing",
            (None, None, Some(_)) => "stalled",
            (None, None, None) => "ok",
        };
        json!({
            "state": state,
            "error": failed.or(self.state_error.as_ref()),
            "stalled_s": stalled.map(|span| span.as_secs()),
        })
    }

    fn devices(&self) -> impl Iterator<Item = &DeviceStatus> {
        self.ports.iter().flat_map(|port| &port.devices)
    }
}

/// A device that ought to have sent something by now.
fn is_missed(device: &DeviceStatus, port: &PortStatus) -> bool {
    device.stale && !device.waiting && port.state == PortState::Open
}

/// A span for people: "850 ms", "12 s", "3 min", "2 h", "5 d".
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The payload of `<base>/status` on the LAN, where no upstream's epoch applies.
#[must_use]
pub fn lan_status(online: bool, health: &str, run: u64, instance: &str, time: Timestamp) -> Json {
    json!({
        "state": if online { "online" } else { "offline" },
        "health": health,
        "epoch": format!("{run}-0"),
        "instance": instance,
        "version": env!("CARGO_PKG_VERSION"),
        "time": time.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_the_unit_that_people_would_use() {
        let cases =
            [(0, "0 ms"), (12_000, "12 s"), (180_000, "3 min"), (7_200_000, "2 h"), (432_000_000, "5 d")];
        for (millis, expected) in cases {
            assert_eq!(span(Duration::from_millis(millis)), expected);
        }
    }
}
