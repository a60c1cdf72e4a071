//! What stands on `<base>/status`: will, birth and farewell. All three of one connection carry the same epoch and
//! instance, so that a reader can tell a late will from the truth.

use bytes::Bytes;
use serde::Serialize;

use super::config::Config;
use crate::message::Message;
use crate::mqtt::{PropertiesBuf, QoS};
use crate::time::{ClockTrust, Now};

#[derive(Serialize)]
struct StatusPayload<'a> {
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    epoch: String,
    instance: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_quality: Option<&'a str>,
}

/// The local topic: `<base>/status`.
pub(super) fn topic(config: &Config) -> String {
    format!("{}/status", config.base)
}

/// `<run>-<connections>`: which connection of which start speaks.
pub(super) fn epoch(config: &Config, connections: u64) -> String {
    format!("{}-{connections}", config.run.0)
}

/// What the upstream publishes when the connection is lost. It carries no time: nobody knows it beforehand.
pub(super) fn will(config: &Config, connections: u64) -> Bytes {
    payload(&StatusPayload { reason: Some("connection lost"), ..base(config, connections, "offline") })
}

/// Sent first on every connection, and when the health changes, or readings are held back by a person.
pub(super) fn online(config: &Config, connections: u64, (degraded, paused): (bool, bool), now: Now) -> Bytes {
    let health = if degraded { "degraded" } else { "ok" };
    let paused = paused.then_some(true);
    payload(&StatusPayload {
        health: Some(health),
        paused,
        ..timed(base(config, connections, "online"), now)
    })
}

/// Sent before we leave, with the reason.
pub(super) fn offline(config: &Config, connections: u64, reason: &str, now: Now) -> Bytes {
    payload(&StatusPayload { reason: Some(reason), ..timed(base(config, connections, "offline"), now) })
}

/// What the LAN is told of the link, as other bridges tell it: `1` or `0`. `None` if it isn't to be told.
pub(super) fn notification(config: &Config, online: bool) -> Option<Message> {
    Some(Message {
        topic: config.notification_topic.clone()?,
        payload: Bytes::from_static(if online { b"1" } else { b"0" }),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: PropertiesBuf::new(),
        reading: None,
    })
}

fn base<'a>(config: &'a Config, connections: u64, state: &'a str) -> StatusPayload<'a> {
    StatusPayload {
        state,
        health: None,
        paused: None,
        reason: None,
        epoch: epoch(config, connections),
        instance: &config.instance,
        version: env!("CARGO_PKG_VERSION"),
        time: None,
        time_quality: None,
    }
}

fn timed(status: StatusPayload<'_>, now: Now) -> StatusPayload<'_> {
    let time_quality = (now.trust == ClockTrust::Unsynced).then_some(now.trust.as_str());
    StatusPayload { time: Some(now.wall.to_string()), time_quality, ..status }
}

/// Strings and options can't fail to serialize; should they, an empty payload is still no lie.
fn payload(status: &StatusPayload<'_>) -> Bytes {
    serde_json::to_vec(status).unwrap_or_default().into()
}
