//! Commands: what somebody wants one of the gateway's devices to do. Decides which messages are commands, which of them
//! must not be acted on (retained, late, seen before), and who is told what came of them. What a command does is its
//! device's business.
//!
//! ```text
//! <base>/cmd/<device>[/<point>] ─▶ Arrived ─▶ judged ─┬─▶ Execute ─▶ (device) ─▶ Ended ─┬─▶ Audit
//!                                                     └─▶ refused ──────────────────────┴─▶ Reply, if asked for
//! ```
//!
//! A command is carried out at once or never. It is not kept over an outage, nor over a restart; its value is absolute;
//! the same correlation data for the same point within [`SAME_WITHIN`] act once, and the second asker gets the answer of
//! the first.

mod payload;
pub mod remote;
mod words;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::message::{Message, own_level};
use crate::mqtt::{PropertiesBuf, Property, PropertyId, QoS};
use crate::reading::Value;
use crate::time::{Mono, Now};
use payload::{answer, value};
pub use payload::{scalar, value_json};
pub use words::{Asker, Audit, Command, CommandId, Outcome};

/// The same correlation data within this span are the same command.
pub const SAME_WITHIN: Duration = Duration::from_secs(60);

/// A command that was on its way through the gateway for longer than this isn't carried out: whoever sent it has moved
/// on.
pub const LATE_AFTER: Duration = Duration::from_secs(5);

/// Commands with correlation data that are remembered, some 500 bytes each, so 0.5 MB at worst. At the bound further
/// ones with correlation data are refused: forgetting one might let it act twice.
pub const REMEMBERED_MAX: usize = 1_024;

/// Commands that are being carried out. At the bound further ones are refused.
pub const PENDING_MAX: usize = 256;

/// The longest correlation data, in bytes.
const CORRELATION_BYTES_MAX: usize = 128;
/// Askers that wait for one and the same command.
const ASKERS_MAX: usize = 8;

/// What is to be done about commands.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Have the device do it, and say what came of it.
    Execute(Command),
    /// Publish the answer.
    Reply(Message),
    /// Write it down.
    Audit(Audit),
    /// Tell the person on this machine who asked with this number.
    Answer(u64, Outcome),
}

/// What became of commands so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Carried out.
    pub done: u64,
    /// Tried, without success.
    pub failed: u64,
    /// Sent, and not confirmed.
    pub unknown: u64,
    /// Not tried.
    pub refused: u64,
    /// Of these, since they were retained, late or expired.
    pub stale: u64,
    /// Seen before, and not carried out again.
    pub duplicates: u64,
}

/// Where an answer goes.
#[derive(Clone, Debug, PartialEq)]
enum ReplyTo {
    Topic { topic: Arc<str>, correlation: Option<Vec<u8>>, qos: QoS },
    Local(u64),
    Nobody,
}

#[derive(Debug)]
struct Pending {
    device: Arc<str>,
    point: Option<Arc<str>>,
    value: Value,
    key: Option<Key>,
    askers: Vec<(Asker, ReplyTo)>,
}

/// What makes two commands the same.
type Key = (Arc<str>, Vec<u8>);

#[derive(Debug)]
enum Known {
    Pending(CommandId),
    Ended(Outcome),
}

/// The machine.
#[derive(Debug)]
pub struct Commands {
    base: Arc<str>,
    last_id: u64,
    pending: HashMap<CommandId, Pending>,
    known: HashMap<Key, Known>,
    /// In the order of arrival.
    forget: VecDeque<(Mono, Key)>,
    counts: Counts,
    out: VecDeque<Output>,
}

impl Commands {
    /// No commands yet.
    #[must_use]
    pub fn new(base: Arc<str>) -> Self {
        Self {
            base,
            last_id: 0,
            pending: HashMap::new(),
            known: HashMap::new(),
            forget: VecDeque::new(),
            counts: Counts::default(),
            out: VecDeque::new(),
        }
    }

    /// A message came on a topic that [`target`] takes for a command; `at` is when the broker had it.
    pub fn arrived(&mut self, now: Now, at: Mono, message: &Message, by: Asker) {
        self.forget_old(now.mono);
        let Some((device, point)) = target(&message.topic, &self.base) else { return };
        let (device, point): (Arc<str>, Option<Arc<str>>) = (device.into(), point.map(Arc::from));
        let value = value(&message.payload);
        let reply = self.reply_to(message, &by);
        let correlation = message.properties.as_properties().binary(PropertyId::CorrelationData);
        let until = until(message, at);
        let stale = stale(message, &by, now.mono, at, until);
        let key = correlation.map(|correlation| (message.topic.clone(), correlation.to_vec()));
        let audit = |by, outcome, duplicate| Audit {
            device: device.clone(),
            point: point.clone(),
            value: value.clone().ok(),
            by,
            outcome,
            duplicate,
        };
        if let Some(why) = stale {
            self.counts.stale += 1;
            return self.end((audit(by, Outcome::Refused(why), false), reply));
        }
        match key.as_ref().and_then(|key| self.known.get(key)) {
            Some(Known::Ended(outcome)) => {
                let outcome = outcome.clone();
                self.counts.duplicates += 1;
                let audit = audit(by, outcome, true);
                self.tell(&audit, reply);
                return self.out.push_back(Output::Audit(audit));
            }
            Some(Known::Pending(id)) => {
                self.counts.duplicates += 1;
                if let Some(pending) = self.pending.get_mut(id).filter(|one| one.askers.len() < ASKERS_MAX) {
                    pending.askers.push((by, reply));
                }
                return;
            }
            None => {}
        }
        let refused = match &value {
            Err(why) => Some(why.clone()),
            Ok(_) => self.no_room(key.as_ref()),
        };
        let (Ok(value), None) = (value.clone(), refused.clone()) else {
            let why = refused.unwrap_or_default();
            return self.end((audit(by, Outcome::Refused(why), false), reply));
        };
        self.begin(now.mono, (device, point, value), key, (by, reply), until);
    }

    /// A person on this machine wants something; the answer comes with the same number.
    pub fn asked(&mut self, now: Now, number: u64, device: &str, point: Option<&str>, value: Value) {
        self.forget_old(now.mono);
        let what = (device.into(), point.map(Arc::from), value);
        self.begin(now.mono, what, None, (Asker::Local, ReplyTo::Local(number)), now.mono + LATE_AFTER);
    }

    /// A command has ended.
    pub fn ended(&mut self, id: CommandId, outcome: &Outcome) {
        let Some(pending) = self.pending.remove(&id) else { return };
        if let Some(key) = pending.key
            && let Some(known) = self.known.get_mut(&key)
        {
            *known = Known::Ended(outcome.clone());
        }
        for (index, (by, reply)) in pending.askers.into_iter().enumerate() {
            let audit = Audit {
                device: pending.device.clone(),
                point: pending.point.clone(),
                value: Some(pending.value.clone()),
                by,
                outcome: outcome.clone(),
                duplicate: index > 0,
            };
            if index == 0 {
                self.end((audit, reply));
            } else {
                self.tell(&audit, reply);
                self.out.push_back(Output::Audit(audit));
            }
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// What became of commands so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    fn begin(
        &mut self,
        now: Mono,
        (device, point, value): (Arc<str>, Option<Arc<str>>, Value),
        key: Option<Key>,
        asker: (Asker, ReplyTo),
        until: Mono,
    ) {
        self.last_id += 1;
        let id = CommandId(self.last_id);
        if let Some(key) = &key {
            self.known.insert(key.clone(), Known::Pending(id));
            self.forget.push_back((now, key.clone()));
        }
        let pending = Pending {
            device: device.clone(),
            point: point.clone(),
            value: value.clone(),
            key,
            askers: vec![asker],
        };
        self.pending.insert(id, pending);
        self.out.push_back(Output::Execute(Command { id, device, point, value, until }));
    }

    fn no_room(&self, key: Option<&Key>) -> Option<String> {
        if key.is_some_and(|(_, correlation)| correlation.len() > CORRELATION_BYTES_MAX) {
            return Some(format!("the correlation data are longer than {CORRELATION_BYTES_MAX} bytes"));
        }
        if self.pending.len() >= PENDING_MAX || (key.is_some() && self.forget.len() >= REMEMBERED_MAX) {
            return Some("too many commands within a minute".to_owned());
        }
        None
    }

    fn forget_old(&mut self, now: Mono) {
        while self.forget.front().is_some_and(|(at, _)| *at + SAME_WITHIN <= now) {
            if let Some((_, key)) = self.forget.pop_front() {
                self.known.remove(&key);
            }
        }
    }

    /// A command that was tried or refused for the first time.
    fn end(&mut self, (audit, reply): (Audit, ReplyTo)) {
        let count = match audit.outcome {
            Outcome::Done(_) => &mut self.counts.done,
            Outcome::Failed(_) => &mut self.counts.failed,
            Outcome::Unknown(_) => &mut self.counts.unknown,
            Outcome::Refused(_) => &mut self.counts.refused,
        };
        *count += 1;
        self.tell(&audit, reply);
        self.out.push_back(Output::Audit(audit));
    }

    fn tell(&mut self, audit: &Audit, reply: ReplyTo) {
        match reply {
            ReplyTo::Nobody => {}
            ReplyTo::Local(number) => self.out.push_back(Output::Answer(number, audit.outcome.clone())),
            ReplyTo::Topic { topic, correlation, qos } => {
                let mut properties = PropertiesBuf::new();
                properties.push(Property::U8(PropertyId::PayloadFormatIndicator, 1));
                if let Some(correlation) = &correlation {
                    properties.push(Property::Bin(PropertyId::CorrelationData, correlation));
                }
                let payload = Bytes::from(answer(audit).to_string());
                let message = Message { topic, payload, qos, retain: false, properties, reading: None };
                self.out.push_back(Output::Reply(message));
            }
        }
    }

    /// Where the answer goes. Not to the gateway's own topics, nor where it would be a command again, nor where the asker
    /// could not have subscribed: it must not reach through the gateway what it can't reach itself.
    fn reply_to(&self, message: &Message, by: &Asker) -> ReplyTo {
        let properties = message.properties.as_properties();
        let Some(topic) = properties.string(PropertyId::ResponseTopic) else { return ReplyTo::Nobody };
        let forbidden = topic.starts_with('$')
            || own_level(topic, &self.base).is_some()
            || target(topic, &self.base).is_some()
            || matches!(by, Asker::Client { may_read_reply: false, .. } | Asker::Will { .. });
        if forbidden {
            return ReplyTo::Nobody;
        }
        let correlation = properties.binary(PropertyId::CorrelationData).map(<[u8]>::to_vec);
        let qos = message.qos.min(QoS::AtLeastOnce);
        ReplyTo::Topic { topic: topic.into(), correlation, qos }
    }
}

/// Device and point of `<base>/cmd/<device>[/<point>]`; `None` for any other topic.
#[must_use]
pub fn target<'a>(topic: &'a str, base: &str) -> Option<(&'a str, Option<&'a str>)> {
    let rest = topic.strip_prefix(base)?.strip_prefix("/cmd/")?;
    match rest.split_once('/') {
        _ if rest.is_empty() => None,
        None => Some((rest, None)),
        Some((device, point)) if !device.is_empty() && !point.is_empty() => Some((device, Some(point))),
        Some(_) => None,
    }
}

/// From when on it must not be begun: it expires (MQTT 5, 3.3.2.3.3), or is late.
fn until(message: &Message, at: Mono) -> Mono {
    let late = at + LATE_AFTER;
    match message.properties.as_properties().number(PropertyId::MessageExpiryInterval) {
        Some(seconds) => late.min(at + Duration::from_secs(u64::from(seconds))),
        None => late,
    }
}

/// Why it must not be acted on, if so.
fn stale(message: &Message, by: &Asker, now: Mono, at: Mono, until: Mono) -> Option<String> {
    if message.retain {
        return Some("it is retained: nobody knows how old it is".to_owned());
    }
    if matches!(by, Asker::Will { .. }) {
        return Some("it is a will: nobody knows when it was meant".to_owned());
    }
    if now < until {
        return None;
    }
    if now.since(at) >= LATE_AFTER {
        Some("it came too late".to_owned())
    } else {
        Some("it has expired".to_owned())
    }
}

#[cfg(test)]
mod tests;
