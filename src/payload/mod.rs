//! Readings to payload bytes, with the time as known when they are made: one file for each form.

pub mod influx;
pub mod json;
pub mod plain;
pub mod senml;
pub mod template;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::mqtt::{PropertiesBuf, Property, PropertyId};
use crate::reading::Reading;
use crate::time::{BootId, ClockTrust, Mono, Now, Timestamp};

pub use template::{Template, TemplateError};

/// What is known about a reading's time when its payload is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentTime {
    /// The time to print.
    pub time: Timestamp,
    /// `None` when it is good; else the word for `time_quality`: `corrected` or `unsynced`.
    pub quality: Option<&'static str>,
    /// How long ago it was taken, if it was taken in this boot: known also where no clock is right.
    pub age: Option<Duration>,
}

/// The time to send for a reading, as known `now` in boot `boot`. A reading of this boot that was taken before
/// the clock was right is corrected once it is (`corrected`); what can't be corrected says `unsynced`.
#[must_use]
pub fn sent_time(reading: &Reading, boot: BootId, now: Now) -> SentTime {
    let age = (reading.boot == boot).then(|| now.mono.since(reading.mono));
    match (reading.trust, now.trust) {
        (ClockTrust::Synced, _) => SentTime { time: reading.wall, quality: None, age },
        (ClockTrust::Unsynced, ClockTrust::Synced) if reading.boot == boot => {
            SentTime { time: corrected(reading.mono, now), quality: Some("corrected"), age }
        }
        (ClockTrust::Unsynced, _) => SentTime { time: reading.wall, quality: Some("unsynced"), age },
    }
}

fn corrected(mono: Mono, now: Now) -> Timestamp {
    now.wall.minus(now.mono.since(mono))
}

/// How a reading is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One flat JSON object.
    #[default]
    Json,
    /// The value alone, for one point.
    Plain,
    /// RFC 8428, 5.
    SenmlJson,
    /// RFC 8428, 6.
    SenmlCbor,
    /// A line of the InfluxDB line protocol.
    Influx,
    /// The user's own.
    Template(Arc<Template>),
}

/// A format, and what a PUBLISH of MQTT 5 says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    format: Format,
    properties: PropertiesBuf,
}

impl Default for Form {
    fn default() -> Self {
        Self::new(Format::default())
    }
}

impl Form {
    /// The form of a format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let content_type = match &format {
            Format::Json => "application/json",
            Format::Plain | Format::Influx => "text/plain",
            Format::SenmlJson => "application/senml+json",
            Format::SenmlCbor => "application/senml+cbor",
            Format::Template(template) => template.content_type(),
        };
        let mut properties = PropertiesBuf::new();
        if format != Format::SenmlCbor {
            // UTF-8 (5.0, 3.3.2.3.2).
            properties.push(Property::U8(PropertyId::PayloadFormatIndicator, 1));
        }
        properties.push(Property::Str(PropertyId::ContentType, content_type));
        Self { format, properties }
    }

    /// The format.
    #[must_use]
    pub const fn format(&self) -> &Format {
        &self.format
    }

    /// Payload format and content type.
    #[must_use]
    pub const fn properties(&self) -> &PropertiesBuf {
        &self.properties
    }
}

/// What is known of a device and is not in its readings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// How its readings are written.
    pub form: Form,
    /// The units of its points.
    pub units: Vec<(Arc<str>, Arc<str>)>,
}

impl About {
    fn unit(&self, point: &str) -> Option<&str> {
        self.units.iter().find(|(name, _)| **name == *point).map(|(_, unit)| &**unit)
    }
}

/// How the readings of each device are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    /// The gateway's id.
    pub gateway: Arc<str>,
    /// Of devices that are not named in `devices`.
    pub default: About,
    /// Of these.
    pub devices: HashMap<Arc<str>, About>,
}

impl Forms {
    fn about(&self, device: &str) -> &About {
        self.devices.get(device).unwrap_or(&self.default)
    }

    /// The form of a device's readings.
    #[must_use]
    pub fn form(&self, device: &str) -> &Form {
        &self.about(device).form
    }

    /// The payload of a reading, in the form of its device or in `another`.
    #[must_use]
    pub fn encode(&self, another: Option<&Form>, reading: &Reading, time: SentTime) -> Bytes {
        let about = self.about(&reading.device);
        match another.unwrap_or(&about.form).format() {
            Format::Json => json::encode(reading, time),
            Format::Plain => plain::encode(reading),
            Format::SenmlJson => senml::encode_json(&self.gateway, about, reading, time),
            Format::SenmlCbor => senml::encode_cbor(&self.gateway, about, reading, time),
            Format::Influx => influx::encode(&self.gateway, reading, time),
            Format::Template(template) => template.encode(&self.gateway, about, reading, time),
        }
    }
}

#[cfg(test)]
mod tests;
