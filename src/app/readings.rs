//! What becomes of readings: the machine that filters and writes them, from the config.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::broker::Broker;
use crate::config::Config;
use crate::gpio::{GpioConfig, Mode};
use crate::ingest::{self, DeviceFacts, Ingest, PointFacts, PointKind, Publishing, Settings};
use crate::io::readings::Readings;
use crate::io::reporter::Reporter;
use crate::payload::Forms;
use crate::reading::{Run, Value};
use crate::sensor::{DeviceConfig, PointConfig, PointType, Points};
use crate::time::BootId;

/// How the readings of each device are written.
pub(super) fn forms(config: &Config) -> Arc<Forms> {
    Arc::new(ingest::forms(&config.gateway.id, &devices(config), &config.publish.defaults))
}

/// `retained`: topics that an earlier start may have left with the broker.
pub(super) fn make_readings(
    config: &Config,
    retained: Vec<Arc<str>>,
    boot: BootId,
    reporter: &Reporter,
) -> Rc<Readings> {
    let machine = Ingest::new(ingest::Config {
        gateway: config.gateway.id.clone(),
        base: config.gateway.base_topic.clone(),
        boot,
        run: Run(reporter.run),
        devices: devices(config),
        default: config.publish.defaults.clone(),
        home_assistant: config.publish.home_assistant.clone(),
        retained,
        now: reporter.clock.now(),
    });
    Rc::new(Readings {
        machine: RefCell::new(machine),
        broker: reporter.broker.clone(),
        links: reporter.links.clone(),
        clock: reporter.clock.clone(),
        changed: reporter.changed.clone(),
        dropped: reporter.readings_dropped.clone(),
        bell: Notify::new(),
        live: reporter.live.clone(),
    })
}

/// What may change of it while the gateway runs; `gone` are devices that no config names.
pub(super) fn settings(config: &Config, gone: Vec<Arc<str>>) -> Settings {
    Settings {
        devices: devices(config),
        default: config.publish.defaults.clone(),
        home_assistant: config.publish.home_assistant.clone(),
        gone,
    }
}

/// What an earlier start left with the broker: facts of devices, and what they say was announced to Home Assistant.
pub(super) fn left_behind(config: &Config, broker: &Broker) -> Vec<Arc<str>> {
    let info = format!("{}/info/", config.gateway.base_topic);
    let own = broker.retained().filter(|message| message.topic.starts_with(&info));
    own.flat_map(|message| {
        let announced = ingest::announced(&message.payload);
        announced.into_iter().chain([message.topic.clone()])
    })
    .collect()
}

fn devices(config: &Config) -> Vec<(DeviceFacts, Publishing)> {
    let published = config.publish.devices.iter().zip(&config.publish.profiles);
    let both = config.devices.iter().zip(published);
    let devices =
        both.map(|(device, (publishing, profile))| (facts(device, profile.as_ref()), publishing.clone()));
    let lines = config.gpio.iter().zip(&config.publish.lines);
    devices.chain(lines.map(|(line, publishing)| (line_facts(line), publishing.clone()))).collect()
}

/// What is known of a GPIO line.
fn line_facts(line: &GpioConfig) -> DeviceFacts {
    let point = |name: &str, kind: PointKind, unit: Option<Arc<str>>| PointFacts {
        name: Arc::from(name),
        unit,
        kind: Some(kind),
        every: None,
    };
    let points = match &line.mode {
        Mode::Input { .. } | Mode::Output(_) => vec![point("state", PointKind::Bool, None)],
        Mode::Frequency { .. } => vec![point("frequency", PointKind::Number, line.unit.clone())],
        Mode::Counter(counter) => {
            let span = match counter.rate_per.as_secs() {
                1 => "s",
                60 => "min",
                _ => "h",
            };
            let rate = line.unit.as_ref().map(|unit| Arc::from(format!("{unit}/{span}")));
            vec![point("total", PointKind::Number, line.unit.clone()), point("rate", PointKind::Number, rate)]
        }
    };
    DeviceFacts {
        name: line.name.clone(),
        port: Some(Arc::from(line.line.to_string())),
        points: Some(points),
        ..DeviceFacts::default()
    }
}

fn facts(device: &DeviceConfig, profile: Option<&(String, String)>) -> DeviceFacts {
    let maker = profile.map(|(_, maker)| maker.clone()).filter(|maker| !maker.is_empty());
    DeviceFacts {
        name: device.name.clone(),
        port: Some(device.port.clone()),
        maker,
        profile: profile.map(|(name, _)| name.clone()),
        points: match &device.points {
            Points::All => None,
            Points::List(points) => Some(points.iter().map(point).collect()),
        },
        stale_after: Some(device.stale_after),
    }
}

fn point(point: &PointConfig) -> PointFacts {
    let kind = match (point.map.first(), point.kind) {
        (Some((_, Value::Bool(_))), _) | (None, PointType::Bool) => PointKind::Bool,
        (Some((_, Value::Text(_))), _) | (None, PointType::Text) => PointKind::Text,
        (Some((_, Value::Integer(_))), _) | (None, PointType::Integer) => PointKind::Integer,
        (Some((_, Value::Number(_))), _) | (None, PointType::Number) => PointKind::Number,
    };
    PointFacts { name: point.name.clone(), unit: point.unit.clone(), kind: Some(kind), every: point.every }
}
