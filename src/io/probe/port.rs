//! Whether the devices of a port can be read as a new config says: bytes are listened to, or each device is asked once. A
//! port that runs with the same line settings is looked on at, so that nothing is lost; one whose settings change is
//! borrowed from its task; one that nobody has is opened.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until};
use tokio_serial::SerialStream;

use super::{Found, LineTeller, State};
use crate::config::Config;
use crate::hex;
use crate::io::borrow::Loans;
use crate::io::change::Draft;
use crate::io::clock::{Clock, boot_id};
use crate::io::line::Line;
use crate::io::reporter::Reporter;
use crate::io::trace::{Trace, Traces};
use crate::io::{plugged, serial};
use crate::limits::PROBE_BORROW_MAX;
use crate::reading::{Reading, Run, Value};
use crate::sensor::bus::{Bus, Input as BusInput, Output as BusOutput};
use crate::sensor::{DeviceConfig, DeviceStatus, Input, Output, Points, Port, PortConfig, PortKind};
use crate::unit::known;

/// A try ends after this: before the port is taken back.
const LISTEN_MAX: Duration = Duration::from_millis(4_500);

/// The first bytes that are shown where nothing could be made of them.
const SHOWN_BYTES: usize = 32;

/// One port that is to be tried.
pub(super) struct Attempt {
    config: PortConfig,
    devices: Vec<DeviceConfig>,
    /// The port that has the line now.
    owner: Option<PortConfig>,
    is_polled: bool,
    was_polled: bool,
    loans: Rc<Loans>,
    traces: Rc<Traces>,
    clock: Clock,
}

/// The ports that a draft changes, or whose devices it changes.
pub(super) fn attempts(draft: &Draft, reporter: &Reporter) -> Vec<Attempt> {
    let config = &draft.config;
    let is_touched = |port: &PortConfig| {
        let device = |name: &str| {
            let found = config.devices.iter().find(|device| &*device.name == name);
            found.is_some_and(|device| device.port == port.name)
        };
        draft.changes.iter().any(|change| match (change.root, change.item.as_deref()) {
            ("port", Some(name)) => *port.name == *name,
            ("device", Some(name)) => device(name),
            _ => false,
        })
    };
    let attempt = |port: &PortConfig| {
        let devices = config.devices_of(&port.name);
        let owner = draft.old.as_ref().and_then(|old| Some((old, owner(old, port)?)));
        Attempt {
            was_polled: owner
                .as_ref()
                .is_some_and(|(old, owner)| owner.is_asked(&old.devices_of(&owner.name))),
            owner: owner.map(|(_, owner)| owner.clone()),
            config: port.clone(),
            is_polled: port.is_asked(&devices),
            devices,
            loans: reporter.sources.loans.clone(),
            traces: reporter.sources.traces.clone(),
            clock: reporter.clock.clone(),
        }
    };
    config.ports.iter().filter(|port| is_touched(port)).map(attempt).collect()
}

/// The port of the old config that has the same line.
fn owner<'c>(old: &'c Config, new: &PortConfig) -> Option<&'c PortConfig> {
    let line = |port: &PortConfig| -> Option<PathBuf> {
        match port.kind {
            PortKind::Tcp => Some(PathBuf::from(&port.path)),
            PortKind::Serial => std::fs::canonicalize(plugged::resolve(port).ok()?).ok(),
        }
    };
    let wanted = line(new)?;
    old.ports.iter().find(|port| port.kind == new.kind && line(port).as_ref() == Some(&wanted))
}

impl Attempt {
    pub(super) fn name(&self) -> String {
        self.config.name.to_string()
    }

    fn found(&self, state: State, words: impl Into<String>) -> Found {
        Found::new("port", &self.config.name, state, words)
    }

    /// Tries it. What was borrowed comes back when this ends, or is dropped.
    pub(super) async fn run(self, teller: LineTeller) -> Found {
        let runs_alike = self.owner.as_ref() == Some(&self.config) && !self.is_polled && !self.was_polled;
        if runs_alike && let Some(trace) = self.traces.look_on(&self.config.name) {
            return self.listen(Ear::Trace(trace), &teller).await;
        }
        let loan = match &self.owner {
            // One that can't be had is tried all the same: opening it says why.
            Some(owner) => {
                self.loans.borrow(&owner.name, "a try of another config", PROBE_BORROW_MAX).await.ok()
            }
            None => None,
        };
        let found = if self.is_polled {
            self.ask(&teller).await
        } else {
            match serial::open(&self.config) {
                Ok((line, _)) => self.listen(Ear::Line(line), &teller).await,
                Err(error) => self.found(State::Wrong, error),
            }
        };
        drop(loan);
        found
    }

    /// Listens to what comes by itself.
    async fn listen(&self, mut ear: Ear, teller: &LineTeller) -> Found {
        let now = || self.clock.now();
        let (config, devices) = (self.config.clone(), self.devices.clone());
        let mut machine = Port::new(config, devices, Run(0), boot_id(), fastrand::u64(..), now());
        let (mut readings, mut first) = (Vec::new(), Vec::new());
        let over = Instant::now() + LISTEN_MAX;
        machine.handle(now(), Input::Opened);
        loop {
            while let Some(output) = machine.poll_output() {
                if let Output::Reading(reading) = output {
                    keep(&mut readings, reading);
                }
            }
            if !self.devices.is_empty() && readings.len() == self.devices.len() {
                break;
            }
            let tick = machine.next_deadline().map(|deadline| Instant::now() + deadline.since(now().mono));
            tokio::select! {
                bytes = ear.bytes() => match bytes {
                    Some(bytes) => {
                        first.extend(bytes.iter().take(SHOWN_BYTES.saturating_sub(first.len())));
                        machine.handle(now(), Input::Bytes(&bytes));
                        teller.came(machine.status(now()).bytes, readings.len());
                    }
                    None => break,
                },
                () = sleep_until(tick.unwrap_or(over).min(over)) => {
                    if Instant::now() >= over {
                        break;
                    }
                    machine.handle(now(), Input::Tick);
                }
            }
        }
        let status = machine.status(now());
        let lost = status.bad_lines;
        self.judge(&readings, &status.devices, Heard { bytes: status.bytes, lost, first })
    }

    fn judge(&self, readings: &[Reading], devices: &[DeviceStatus], heard: Heard) -> Found {
        let details = json!({
            "bytes": heard.bytes,
            "bad_lines": devices.iter().map(|device| device.bad_lines).sum::<u64>().saturating_add(heard.lost),
            "devices": devices.iter().map(|device| device_json(device, readings, &self.devices)).collect::<Vec<_>>(),
        });
        let error = devices.iter().find_map(|device| device.last_error.clone());
        let told: Vec<String> = readings.iter().map(in_words).collect();
        let (state, words) = if self.devices.is_empty() {
            match heard.bytes {
                0 => {
                    (State::Doubtful, format!("nothing came within {} s; no device is configured", seconds()))
                }
                bytes => (State::Good, format!("{bytes} bytes came; no device is configured")),
            }
        } else if readings.len() == self.devices.len() {
            (State::Good, told.join("; "))
        } else if heard.bytes == 0 {
            let rate = self.config.baud;
            (
                State::Doubtful,
                format!("nothing came within {} s at {rate} baud; it may send more seldom", seconds()),
            )
        } else if readings.is_empty() {
            let shown = hex::spaced(&heard.first);
            let why = error.unwrap_or_else(|| "no whole frame was among them".to_owned());
            let words = format!("{} bytes came, but no value: {why}; the first are {}", heard.bytes, shown);
            (State::Wrong, words)
        } else {
            (
                State::Doubtful,
                format!("{}; the other devices sent nothing within {} s", told.join("; "), seconds()),
            )
        };
        Found { details, ..self.found(state, words) }
    }

    /// Asks each device once.
    async fn ask(&self, teller: &LineTeller) -> Found {
        let mut line = match Line::open(&self.config).await {
            Ok((line, _)) => Some(line),
            Err(error) => return self.found(State::Wrong, error),
        };
        let now = || self.clock.now();
        let (config, devices) = (self.config.clone(), self.devices.clone());
        let mut machine = Bus::new(config, devices, Run(0), boot_id(), fastrand::u64(..), now());
        let (mut readings, mut scratch, mut received) = (Vec::new(), [0; 1_024], 0_u64);
        let over = Instant::now() + LISTEN_MAX;
        machine.handle(now(), BusInput::Opened);
        let broken = loop {
            while let Some(output) = machine.poll_output() {
                match (output, line.as_mut()) {
                    (BusOutput::Reading(reading), _) => keep(&mut readings, reading),
                    (BusOutput::Send(bytes), Some(line)) => {
                        if let Err(error) = line.send(&self.config, &bytes).await {
                            machine.handle(now(), BusInput::Lost { error: &error });
                        }
                    }
                    (BusOutput::Rate(baud), Some(line)) => {
                        if let Err(error) = line.set_rate(baud).await {
                            let error = format!("can't set {baud} baud: {error}");
                            machine.handle(now(), BusInput::Lost { error: &error });
                        }
                    }
                    (BusOutput::Close, _) => line = None,
                    _ => {}
                }
            }
            if line.is_none() {
                break Some("the connection ended".to_owned());
            }
            if readings.len() == self.devices.len() {
                break None;
            }
            let tick = machine.next_deadline().map(|deadline| Instant::now() + deadline.since(now().mono));
            tokio::select! {
                result = read(line.as_mut(), &mut scratch) => match result {
                    Ok(0) => break Some("the port is gone (end of file)".to_owned()),
                    Ok(bytes) => {
                        received = received.saturating_add(u64::try_from(bytes).unwrap_or(0));
                        machine.handle(now(), BusInput::Bytes(scratch.get(..bytes).unwrap_or_default()));
                        teller.came(received, readings.len());
                    }
                    Err(error) => break Some(error.to_string()),
                },
                () = sleep_until(tick.unwrap_or(over).min(over)) => {
                    if Instant::now() >= over {
                        break None;
                    }
                    machine.handle(now(), BusInput::Tick);
                }
            }
        };
        self.judge_answers(&readings, &machine.status(now()).devices, received, broken)
    }

    fn judge_answers(
        &self,
        readings: &[Reading],
        devices: &[DeviceStatus],
        received: u64,
        broken: Option<String>,
    ) -> Found {
        let details = json!({
            "bytes": received,
            "devices": devices.iter().map(|device| device_json(device, readings, &self.devices)).collect::<Vec<_>>(),
        });
        let answers = |device: &&DeviceConfig| {
            let reading = readings.iter().find(|reading| reading.device == device.name);
            reading.is_some_and(|reading| reading.samples.iter().any(|sample| sample.value.is_some()))
        };
        let silent: Vec<&DeviceConfig> = self.devices.iter().filter(|device| !answers(device)).collect();
        let told: Vec<String> = readings.iter().map(in_words).collect();
        let (state, words) = match (broken, silent.as_slice()) {
            (Some(error), _) => (State::Wrong, error),
            (None, []) if self.devices.is_empty() => {
                (State::Good, "it is open; no device is configured".to_owned())
            }
            (None, []) => (State::Good, told.join("; ")),
            (None, silent) => {
                let names: Vec<&str> = silent.iter().map(|device| &*device.name).collect();
                let error = |device: &&DeviceConfig| {
                    let status = devices.iter().find(|status| status.name == device.name)?;
                    status.last_error.clone()
                };
                let why = silent.iter().find_map(error).unwrap_or_else(|| format!("{received} bytes came"));
                (State::Wrong, format!("no answer of {} within {} s: {why}", names.join(", "), seconds()))
            }
        };
        Found { details, ..self.found(state, words) }
    }
}

/// What was heard of a line.
struct Heard {
    bytes: u64,
    lost: u64,
    first: Vec<u8>,
}

/// Where bytes come from.
enum Ear {
    Line(SerialStream),
    Trace(Trace),
}

impl Ear {
    /// The next bytes; `None` where there will be no more. Cancel safe.
    async fn bytes(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Trace(trace) => trace.received().await,
            Self::Line(line) => {
                let mut scratch = [0; 1_024];
                let bytes = line.read(&mut scratch).await.ok().filter(|bytes| *bytes > 0)?;
                scratch.get(..bytes).map(<[u8]>::to_vec)
            }
        }
    }
}

fn seconds() -> f64 {
    LISTEN_MAX.as_secs_f64()
}

/// The last reading of each device.
fn keep(readings: &mut Vec<Reading>, reading: Reading) {
    readings.retain(|other| other.device != reading.device);
    readings.push(reading);
}

/// `boiler: temp = 21.5, on = true`.
fn in_words(reading: &Reading) -> String {
    const SHOWN_MAX: usize = 8;
    let value = |value: &Value| match value {
        Value::Number(number) => number.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Text(text) => format!("{text:?}"),
    };
    let sample = |sample: &crate::reading::Sample| {
        let value = sample.value.as_ref().map_or_else(|| sample.quality.as_str().to_owned(), value);
        format!("{} = {value}", sample.point)
    };
    let mut shown: Vec<String> = reading.samples.iter().take(SHOWN_MAX).map(sample).collect();
    if reading.samples.len() > SHOWN_MAX {
        shown.push("…".to_owned());
    }
    format!("{}: {}", reading.device, shown.join(", "))
}

fn device_json(device: &DeviceStatus, readings: &[Reading], configs: &[DeviceConfig]) -> Json {
    let last = readings.iter().find(|reading| reading.device == device.name);
    let value = |value: Option<&Value>| match value {
        None => Json::Null,
        Some(Value::Number(number)) => json!(number),
        Some(Value::Integer(number)) => json!(number),
        Some(Value::Bool(flag)) => json!(flag),
        Some(Value::Text(text)) => json!(text),
    };
    let values = last.map(|reading| {
        let samples = reading.samples.iter();
        samples.map(|sample| (sample.point.to_string(), value(sample.value.as_ref()))).collect::<Map<_, _>>()
    });
    json!({
        "device": &*device.name,
        "frames": device.readings,
        "bad_lines": device.bad_lines,
        "error": device.last_error,
        "values": values,
        "units": units(configs.iter().find(|config| config.name == device.name)),
    })
}

/// The symbols of the units of a device's points.
fn units(config: Option<&DeviceConfig>) -> Json {
    let Some(Points::List(points)) = config.map(|config| &config.points) else { return json!({}) };
    let symbol = |unit: &str| known(unit).map_or_else(|| unit.to_owned(), |known| known.symbol.to_owned());
    let units = points
        .iter()
        .filter_map(|point| Some((point.name.to_string(), json!(symbol(point.unit.as_deref()?)))));
    Json::Object(units.collect())
}

async fn read(line: Option<&mut Line>, scratch: &mut [u8]) -> std::io::Result<usize> {
    match line {
        Some(line) => line.read(scratch).await,
        None => std::future::pending().await,
    }
}
