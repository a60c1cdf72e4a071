//! Commands to a device in its own protocol: what is sent for a value, and what its answer must be. When it is sent, and
//! who waits for it, is the business of the port or the bus.

mod template;

use std::time::Duration;

use regex::Regex;

use super::check::CheckConfig;
use super::config::{DeviceConfig, Pattern, PointConfig, Points};
use super::decode::Raw;
use super::point::sample;
use super::wanted::{shown, state, wanted};
use crate::command::{Command, CommandId, Outcome};
use crate::reading::Value;
use crate::time::Mono;

pub use template::{SendTemplate, TemplateError};

/// Bytes of an answer that are kept; the oldest are dropped. No answer to a command is longer than a few lines.
const HEARD_BYTES_MAX: usize = 1_024;
/// What of an unexpected answer is told, in characters.
const TOLD_MAX: usize = 60;

/// Something that a device can be told.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandConfig {
    /// Its name, which is unique among the device's commands and writable points; what its value is, and what it means to
    /// the device.
    pub value: PointConfig,
    /// What is sent.
    pub send: SendTemplate,
    /// What proves that it arrived whole, appended to what is sent. Default none.
    pub check: Option<CheckConfig>,
    /// What the device answers. `None`: nothing that could be waited for.
    pub expect: Option<Expect>,
    /// From the sending to the answer. Default 1 s.
    pub timeout: Duration,
}

/// How a device says that it has done what it was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// With a line that matches; a group `value` is the value that it has then.
    Line(Pattern),
    /// With these bytes, wherever they stand.
    Bytes(Vec<u8>),
}

impl DeviceConfig {
    /// Whether it can be told anything.
    #[must_use]
    pub fn takes_commands(&self) -> bool {
        let has_writable =
            matches!(&self.points, Points::List(points) if points.iter().any(|point| point.write.is_some()));
        has_writable || !self.commands.is_empty()
    }
}

impl CommandConfig {
    /// The bytes for a value, and the value as the device will have it.
    ///
    /// # Errors
    /// Why it can't have that value.
    fn bytes(&self, value: &Value) -> Result<(Vec<u8>, Value), String> {
        let (raw, value) = if self.send.has_value() {
            wanted(&self.value, value).map_err(|error| error.to_string())?
        } else {
            // A button: there is nothing to choose.
            let is_pressed = state(value) == Some(true);
            (is_pressed.then_some((Raw::Bool(true), Value::Bool(true))))
                .ok_or("it takes no value: expected on, true or 1")?
        };
        let mut bytes = self.send.bytes(&raw).map_err(|error| error.to_string())?;
        if let Some(check) = self.check {
            bytes.resize(bytes.len().saturating_add(check.width()), 0);
            check.stamp(&mut bytes);
        }
        Ok((bytes, value))
    }
}

/// A command that waits for its turn, or for its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) id: CommandId,
    /// From then on it must not be begun.
    pub(super) until: Mono,
    pub(super) bytes: Vec<u8>,
    pub(super) timeout: Duration,
    expect: Option<Expect>,
    point: PointConfig,
    value: Value,
    heard: Vec<u8>,
}

impl Exchange {
    /// What a command means to a device with these.
    ///
    /// # Errors
    /// The device has no such command, or not with this value.
    pub(super) fn new(configs: &[CommandConfig], command: &Command) -> Result<Self, String> {
        let names = || configs.iter().map(|config| &*config.value.name).collect::<Vec<_>>().join(", ");
        let Some(name) = &command.point else {
            return Err(format!("the topic names no point; it has {}", names()));
        };
        let Some(config) = configs.iter().find(|config| config.value.name == *name) else {
            return Err(format!("it has no {name:?} that can be set; it has {}", names()));
        };
        let (bytes, value) = config.bytes(&command.value)?;
        Ok(Self {
            id: command.id,
            until: command.until,
            bytes,
            timeout: config.timeout,
            expect: config.expect.clone(),
            point: config.value.clone(),
            value,
            heard: Vec::new(),
        })
    }

    /// Whether an answer is waited for.
    pub(super) const fn is_answered(&self) -> bool {
        self.expect.is_some()
    }

    /// Takes what came. `Some`: it was the answer.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> Option<Outcome> {
        self.heard.extend_from_slice(bytes);
        let surplus = self.heard.len().saturating_sub(HEARD_BYTES_MAX);
        self.heard.drain(..surplus);
        match self.expect.as_ref()? {
            Expect::Bytes(expected) => {
                let is_there = self.heard.windows(expected.len().max(1)).any(|part| part == expected);
                is_there.then_some(Outcome::Done(None))
            }
            Expect::Line(regex) => {
                let end = self.heard.iter().rposition(|byte| is_line_end(*byte))?;
                let whole = self.heard.get(..end).unwrap_or_default();
                let mut lines = whole.split(|byte| is_line_end(*byte)).map(String::from_utf8_lossy);
                lines.find_map(|line| self.judge(&regex.0, &line))
            }
        }
    }

    /// The time has passed. A line whose end never came may have been the answer.
    pub(super) fn timed_out(&mut self) -> Outcome {
        if let Some(outcome) = self.hear(b"\n") {
            return outcome;
        }
        let heard = String::from_utf8_lossy(&self.heard);
        let last = heard.split(['\r', '\n']).rev().find(|line| !line.trim().is_empty());
        let said = match (&self.expect, last) {
            (Some(Expect::Line(_)), Some(line)) => {
                let line: String = line.chars().filter(|character| !character.is_control()).collect();
                format!("it said {:?}", line.chars().take(TOLD_MAX).collect::<String>())
            }
            (Some(Expect::Bytes(_)), Some(_)) => format!("{} other bytes came", self.heard.len()),
            _ => "it said nothing".to_owned(),
        };
        Outcome::Unknown(format!("sent, but not confirmed within {:?}: {said}", self.timeout))
    }

    /// What came of one that nobody confirms.
    pub(super) const fn sent() -> Outcome {
        Outcome::Done(None)
    }

    /// Whether a frame that no decoder takes belongs to this: the answer, or what was sent coming back.
    pub(super) fn owns(&self, frame: &[u8]) -> bool {
        let is_answer = match &self.expect {
            Some(Expect::Line(regex)) => regex.0.is_match(&String::from_utf8_lossy(frame)),
            Some(Expect::Bytes(expected)) => {
                frame.windows(expected.len().max(1)).any(|part| part == expected)
            }
            None => false,
        };
        is_answer || frame.trim_ascii() == self.bytes.trim_ascii()
    }

    fn judge(&self, regex: &Regex, line: &str) -> Option<Outcome> {
        let captures = regex.captures(line)?;
        let Some(found) = captures.name("value") else { return Some(Outcome::Done(None)) };
        let said = sample(&self.point, &Raw::Word(found.as_str().trim())).and_then(|sample| sample.value);
        Some(match said {
            Some(said) if is_same(&said, &self.value) => Outcome::Done(Some(said)),
            Some(said) => Outcome::Failed(format!("the device answers {}", shown(&said))),
            None => Outcome::Failed(format!("the device answers {:?}, which is no value", found.as_str())),
        })
    }
}

/// A number is the same whether it came as a whole one or not.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(_) | Value::Integer(_), Value::Number(_) | Value::Integer(_)) => {
            shown(one) == shown(other)
        }
        _ => one == other,
    }
}

const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests;
