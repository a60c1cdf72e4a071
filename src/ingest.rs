//! Reading to message: the only place that knows both. Here a reading goes through the filter of its device, gets its
//! form, and becomes one message, or one for each point. What is known of the devices themselves (`info`, Home
//! Assistant's discovery) is published from here too, since here it is known which points there are.

mod facts;
mod home_assistant;
mod reconfigure;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::filter::{Filter, FilterConfig};
use crate::message::Message;
use crate::mqtt::{PropertiesBuf, QoS};
use crate::payload::{self, Form, Forms};
use crate::reading::{Reading, Run};
use crate::time::{BootId, Mono, Now};
use reconfigure::Numbers;

pub use facts::announced;
pub use facts::{DeviceFacts, PointFacts, PointKind};
pub use reconfigure::Settings;

/// What of a device's readings is published, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publishing {
    /// Which of them.
    pub filter: FilterConfig,
    /// How they are written.
    pub form: Form,
    /// A message for each point, on a topic of its own.
    pub split: bool,
    /// Whether the last one stays with the broker.
    pub retain: bool,
}

/// What the machine is told at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The gateway's id.
    pub gateway: String,
    /// Starts all topics.
    pub base: Arc<str>,
    /// This boot.
    pub boot: BootId,
    /// This start.
    pub run: Run,
    /// The devices that the config names.
    pub devices: Vec<(DeviceFacts, Publishing)>,
    /// Of devices that it doesn't name.
    pub default: Publishing,
    /// The prefix of Home Assistant's discovery, if devices are announced.
    pub home_assistant: Option<String>,
    /// Topics of retained messages of an earlier start: `info` and announcements.
    pub retained: Vec<Arc<str>>,
    /// When it starts.
    pub now: Now,
}

/// What the shell does.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Hand it to the broker.
    Message(Message),
    /// The same, and the newest value of its topic to each upstream.
    Info(Message),
    /// Tell people.
    Notice(Notice),
}

/// What people want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Home Assistant can't read the form of this device's readings.
    NotAnnounced {
        /// The device.
        device: Arc<str>,
    },
}

/// One device.
#[derive(Debug)]
struct Outlet {
    facts: DeviceFacts,
    publishing: Arc<Publishing>,
    filter: Filter,
    topic: Arc<str>,
    /// How many points its facts were published with.
    told: Option<usize>,
    /// The topics of all that was told of it.
    topics: Vec<Arc<str>>,
    /// Whether the config names it.
    is_named: bool,
}

/// A LAN client that was connected before the start is back by then: it is told once more what is gone.
const CLEARED_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Devices that no config names, at most: they come from the gateway's own inputs, so there are few.
const UNNAMED_MAX: usize = 1_024;

/// The machine.
#[derive(Debug)]
pub struct Ingest {
    gateway: String,
    base: Arc<str>,
    boot: BootId,
    run: Run,
    default: Arc<Publishing>,
    home_assistant: Option<String>,
    forms: Arc<Forms>,
    outlets: HashMap<Arc<str>, Outlet>,
    named: usize,
    numbers: Numbers,
    /// What is cleared once more, and when.
    gone: Option<(Mono, Vec<Arc<str>>)>,
    outputs: VecDeque<Output>,
}

/// The gateway's topic for a device's readings: `<base>/data/<device>`.
#[must_use]
pub fn data_topic(base: &str, device: &str) -> String {
    format!("{base}/data/{device}")
}

/// The message of a reading as all are published where the config says nothing: each, whole, as JSON.
#[must_use]
pub fn message(base: &str, reading: Reading, boot: BootId, now: Now) -> Message {
    let topic = Arc::from(data_topic(base, &reading.device));
    message_in(&Forms::default(), topic, &Publishing::default(), reading, boot, now)
}

/// The message that carries a reading: QoS 1, with the payload as LAN subscribers get it now.
fn message_in(
    forms: &Forms,
    topic: Arc<str>,
    publishing: &Publishing,
    reading: Reading,
    boot: BootId,
    now: Now,
) -> Message {
    Message {
        topic,
        payload: forms.encode(None, &reading, payload::sent_time(&reading, boot, now)),
        qos: QoS::AtLeastOnce,
        retain: publishing.retain,
        properties: publishing.form.properties().clone(),
        reading: Some(Arc::new(reading)),
    }
}

/// How the readings of each device are written, as the upstreams need to know too.
#[must_use]
pub fn forms(gateway: &str, devices: &[(DeviceFacts, Publishing)], default: &Publishing) -> Forms {
    let about = |facts: &DeviceFacts, publishing: &Publishing| payload::About {
        form: publishing.form.clone(),
        units: facts.units(&publishing.filter),
    };
    Forms {
        gateway: Arc::from(gateway),
        default: payload::About { form: default.form.clone(), units: Vec::new() },
        devices: devices
            .iter()
            .map(|(facts, publishing)| (facts.name.clone(), about(facts, publishing)))
            .collect(),
    }
}

impl Ingest {
    /// A machine that at once tells what is known of the devices, and clears what an earlier start told of others.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let forms = Arc::new(forms(&config.gateway, &config.devices, &config.default));
        let mut ingest = Self {
            gateway: config.gateway,
            base: config.base,
            boot: config.boot,
            run: config.run,
            default: Arc::new(config.default),
            home_assistant: config.home_assistant,
            forms,
            outlets: HashMap::new(),
            named: config.devices.len(),
            numbers: Numbers::default(),
            gone: None,
            outputs: VecDeque::new(),
        };
        let names: Vec<Arc<str>> = config.devices.iter().map(|(facts, _)| facts.name.clone()).collect();
        for (facts, publishing) in config.devices {
            ingest.add(facts, Arc::new(publishing), true, Vec::new());
        }
        let mut told = BTreeSet::new();
        for name in names {
            told.extend(ingest.tell(&name));
        }
        let earlier = config.retained.into_iter().filter(|topic| !told.contains(topic));
        let gone: Vec<Arc<str>> = earlier.filter(|topic| !ingest.may_come(topic)).collect();
        ingest.clear(&gone);
        ingest.gone = (!gone.is_empty()).then(|| (config.now.mono + CLEARED_AGAIN_AFTER, gone));
        ingest
    }

    /// Clears retained messages.
    fn clear(&mut self, topics: &[Arc<str>]) {
        let info = format!("{}/info/", self.base);
        for topic in topics {
            let nothing = retained(topic.clone(), Bytes::new());
            let is_info = topic.starts_with(&info);
            self.outputs.push_back(if is_info { Output::Info(nothing) } else { Output::Message(nothing) });
        }
    }

    /// How the readings of each device are written.
    #[must_use]
    pub const fn forms(&self) -> &Arc<Forms> {
        &self.forms
    }

    /// Takes a reading from a sensor.
    pub fn take(&mut self, now: Now, reading: Reading) {
        if !self.outlets.contains_key(&reading.device) {
            let is_full = self.outlets.len() >= self.named.saturating_add(UNNAMED_MAX);
            if is_full {
                // Unfiltered rather than lost.
                self.publish(now, &self.default.clone(), reading);
                return;
            }
            self.add(DeviceFacts::named(reading.device.clone()), self.default.clone(), false, Vec::new());
        }
        let device = reading.device.clone();
        self.with(now, &device, |filter, out| filter.take(now.mono, reading, out));
        let is_new =
            self.outlets.get(&device).is_some_and(|outlet| outlet.told != Some(outlet.filter.points().len()));
        if is_new {
            self.tell(&device);
        }
    }

    /// A device has gone stale.
    pub fn stale(&mut self, now: Now, device: &str) {
        self.with(now, device, |filter, out| filter.stale(now, out));
    }

    /// Looks at the time.
    pub fn tick(&mut self, now: Now) {
        if let Some((_, gone)) = self.gone.take_if(|(at, _)| *at <= now.mono) {
            self.clear(&gone);
        }
        let due = |outlet: &&Outlet| outlet.filter.deadline().is_some_and(|deadline| deadline <= now.mono);
        let due: Vec<Arc<str>> =
            self.outlets.values().filter(due).map(|outlet| outlet.facts.name.clone()).collect();
        for device in due {
            self.with(now, &device, |filter, out| filter.tick(now.mono, out));
        }
    }

    /// The gateway stops: what windows hold and what was kept back goes.
    pub fn stop(&mut self, now: Now) {
        let devices: Vec<Arc<str>> = self.outlets.keys().cloned().collect();
        for device in devices {
            self.with(now, &device, |filter, out| filter.flush(now.mono, out));
        }
    }

    /// When [`Self::tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let gone = self.gone.as_ref().map(|(at, _)| *at);
        self.outlets.values().filter_map(|outlet| outlet.filter.deadline()).chain(gone).min()
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How many readings of a device were published.
    #[must_use]
    pub fn published(&self, device: &str) -> u64 {
        self.outlets.get(device).map_or(0, |outlet| outlet.filter.published())
    }

    /// The unit of a device's point, where the config has one.
    #[must_use]
    pub fn unit(&self, device: &str, point: &str) -> Option<Arc<str>> {
        let points = self.outlets.get(device)?.facts.points.iter().flatten();
        points.filter(|known| *known.name == *point).find_map(|known| known.unit.clone())
    }

    /// `seen`: points that are known beside those of the facts.
    fn add(&mut self, facts: DeviceFacts, publishing: Arc<Publishing>, is_named: bool, seen: Vec<Arc<str>>) {
        let points = facts.points.iter().flatten().map(|point| point.name.clone()).chain(seen).collect();
        let name = facts.name.clone();
        let published = self.numbers.take(&name);
        let filter = Filter::new(name.clone(), publishing.filter.clone(), points, self.run, self.boot);
        let filter = filter.behind(published);
        let topic = Arc::from(data_topic(&self.base, &name));
        let (told, topics) = (None, Vec::new());
        self.outlets.insert(name, Outlet { facts, publishing, filter, topic, told, topics, is_named });
    }

    fn with(&mut self, now: Now, device: &str, act: impl FnOnce(&mut Filter, &mut Vec<Reading>)) {
        let Some(outlet) = self.outlets.get_mut(device) else { return };
        let mut readings = Vec::new();
        act(&mut outlet.filter, &mut readings);
        if readings.is_empty() {
            return;
        }
        let publishing = outlet.publishing.clone();
        for reading in readings {
            self.publish(now, &publishing, reading);
        }
    }

    fn publish(&mut self, now: Now, publishing: &Publishing, reading: Reading) {
        let topic = match self.outlets.get(&reading.device) {
            Some(outlet) => outlet.topic.clone(),
            None => Arc::from(data_topic(&self.base, &reading.device)),
        };
        if !publishing.split {
            let message = self.message(now, topic, publishing, reading);
            self.outputs.push_back(Output::Message(message));
            return;
        }
        let Reading { samples, .. } = reading.clone();
        for sample in samples {
            // Names of points in JSON with points = "*" may be anything; a topic may not.
            let level = sample.point.replace(['+', '#', '\0'], "_");
            let topic = Arc::from(format!("{topic}/{level}"));
            let one = Reading { samples: vec![sample], ..reading.clone() };
            let message = self.message(now, topic, publishing, one);
            self.outputs.push_back(Output::Message(message));
        }
    }

    fn message(&self, now: Now, topic: Arc<str>, publishing: &Publishing, reading: Reading) -> Message {
        message_in(&self.forms, topic, publishing, reading, self.boot, now)
    }

    /// Publishes what is known of a device; the topics.
    fn tell(&mut self, device: &str) -> Vec<Arc<str>> {
        let Some(outlet) = self.outlets.get_mut(device) else { return Vec::new() };
        let is_first = outlet.told.replace(outlet.filter.points().len()).is_none();
        let before = std::mem::take(&mut outlet.topics);
        let Some(outlet) = self.outlets.get(device) else { return Vec::new() };
        let (info, announcements) = self.about(outlet);
        if announcements.is_none() && is_first {
            let device = outlet.facts.name.clone();
            self.outputs.push_back(Output::Notice(Notice::NotAnnounced { device }));
        }
        let announcements = announcements.unwrap_or_default();
        let told = announcements.iter().chain([&info]);
        let topics: Vec<Arc<str>> = told.map(|message| message.topic.clone()).collect();
        // First what was announced is known, then it is announced: nothing stays behind that nobody knows of.
        self.outputs.push_back(Output::Info(info));
        self.outputs.extend(announcements.into_iter().map(Output::Message));
        self.take_back(&before, &topics);
        if let Some(outlet) = self.outlets.get_mut(device) {
            outlet.topics.clone_from(&topics);
        }
        topics
    }

    /// What is known of a device, and its announcements: none where nobody wants them, `None` where they can't be made.
    fn about(&self, outlet: &Outlet) -> (Message, Option<Vec<Message>>) {
        let points = outlet.facts.published(&outlet.publishing.filter, outlet.filter.points());
        let announcer = self.home_assistant.as_ref().map(|prefix| home_assistant::Announcer {
            prefix,
            gateway: &self.gateway,
            base: &self.base,
        });
        let announcements = match &announcer {
            None => Some(Vec::new()),
            Some(announcer) => announcer.announce(&outlet.facts, &outlet.publishing, &outlet.topic, &points),
        };
        let message = |(topic, payload): (String, serde_json::Value)| {
            retained(Arc::from(topic), Bytes::from(payload.to_string()))
        };
        let announcements =
            announcements.map(|announcements| announcements.into_iter().map(message).collect::<Vec<_>>());
        let topics: Vec<Arc<str>> =
            announcements.iter().flatten().map(|message| message.topic.clone()).collect();
        let info = outlet.facts.info(&points, &topics);
        let topic: Arc<str> = Arc::from(format!("{}/info/{}", self.base, outlet.facts.name));
        (retained(topic, Bytes::from(info.to_string())), announcements)
    }

    /// Whether this retained topic is of a device whose points are known only when they come.
    fn may_come(&self, topic: &str) -> bool {
        let is_open = |outlet: &&Outlet| outlet.facts.points.is_none() && self.home_assistant.is_some();
        let prefix = self.home_assistant.as_deref().unwrap_or_default();
        let announcer = home_assistant::Announcer { prefix, gateway: &self.gateway, base: &self.base };
        self.outlets.values().filter(is_open).any(|outlet| announcer.is_of(topic, &outlet.facts.name))
    }
}

fn retained(topic: Arc<str>, payload: Bytes) -> Message {
    let mut properties = PropertiesBuf::new();
    if !payload.is_empty() {
        properties.extend(Form::default().properties().as_properties());
    }
    Message { topic, payload, qos: QoS::AtLeastOnce, retain: true, properties, reading: None }
}

#[cfg(test)]
mod tests;
