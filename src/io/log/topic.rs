//! Lines as messages of our own broker, with Mosquitto's topics: `$SYS/broker/log/E` and its neighbours. Each packet
//! is told at debug, and debug is never published, so a published line makes no other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::Level;

use super::line::{Line, Style};
use super::worker::Destination;
use crate::io::mailbox::Mailbox;
use crate::io::shard::ToBroker;
use crate::limits::HANDOVER_BYTES_MAX;
use crate::message::Message;
use crate::mqtt::{PropertiesBuf, QoS};

/// Lines published in a second, so that the log takes no room from what clients say; those beyond are counted and lost.
const PER_SECOND_MAX: u32 = 200;

/// Where the broker takes messages, once it runs.
#[derive(Debug, Default)]
pub(super) struct Post {
    broker: Mutex<Option<Arc<Mailbox<ToBroker>>>>,
}

impl Post {
    pub(super) fn attach(&self, broker: &Arc<Mailbox<ToBroker>>) {
        *self.broker.lock().unwrap_or_else(PoisonError::into_inner) = Some(broker.clone());
    }
}

/// The broker as a destination.
#[derive(Debug)]
pub(super) struct Topic {
    post: Arc<Post>,
    style: Style,
    second: Instant,
    sent: u32,
}

impl Topic {
    pub(super) fn new(post: Arc<Post>, style: Style) -> Self {
        Self { post, style, second: Instant::now(), sent: 0 }
    }
}

impl Destination for Topic {
    fn write(&mut self, line: &Line) -> Result<(), String> {
        let Some(topic) = topic(line) else { return Ok(()) };
        let broker = self.post.broker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Before the broker runs nobody has subscribed.
        let Some(broker) = broker else { return Ok(()) };
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.second = Instant::now();
            self.sent = 0;
        }
        if self.sent >= PER_SECOND_MAX {
            return Err(format!("more than {PER_SECOND_MAX} lines in a second"));
        }
        self.sent += 1;
        // Readings take the same way, and come first.
        if broker.weight() > HANDOVER_BYTES_MAX / 4 {
            return Err("the broker is busy".into());
        }
        let payload = line.render(&self.style, false);
        let weight = payload.len() + topic.len() + 128;
        let message = Message {
            topic: Arc::from(topic),
            payload: Bytes::from(payload),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: PropertiesBuf::new(),
            reading: None,
        };
        broker.push(ToBroker::Local(message), weight).map_err(|_| "the broker is busy".to_owned())
    }
}

/// Mosquitto's topic for a line; `None` for what is never published.
fn topic(line: &Line) -> Option<&'static str> {
    match (line.level, line.event) {
        (Level::DEBUG | Level::TRACE, _) => None,
        (_, Some("subscribe")) => Some("$SYS/broker/log/M/subscribe"),
        (_, Some("unsubscribe")) => Some("$SYS/broker/log/M/unsubscribe"),
        (_, Some("websockets")) => Some("$SYS/broker/log/WS"),
        (Level::ERROR, _) => Some("$SYS/broker/log/E"),
        (Level::WARN, _) => Some("$SYS/broker/log/W"),
        (Level::INFO, Some(_)) => Some("$SYS/broker/log/N"),
        (Level::INFO, None) => Some("$SYS/broker/log/I"),
    }
}
