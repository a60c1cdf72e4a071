//! Wills: taken from CONNECT, kept while the connection lives or their delay runs, published when it ends without
//! a normal DISCONNECT (3.1.2.5). When that is, `connect` decides.

use std::sync::Arc;
use std::time::Duration;

use super::message::{Kept, Outgoing};
use super::session::SessionIdx;
use super::{Broker, Cx, Sink};
use crate::message::Message;
use crate::mqtt::{self, PropertiesBuf, PropertyId};

/// A client's will.
#[derive(Debug)]
pub(super) struct Will {
    pub(super) message: Message,
    /// Will Delay Interval (5.0, 3.1.3.2.2).
    pub(super) delay: Duration,
}

impl Will {
    pub(super) fn from_connect(will: &mqtt::Will<'_>) -> Self {
        let mut properties = PropertiesBuf::new();
        properties.push_forwardable(will.properties);
        let delay = will.properties.number(PropertyId::WillDelayInterval).unwrap_or(0);
        Self {
            message: Message {
                topic: will.topic.into(),
                payload: will.payload.to_vec().into(),
                qos: will.qos,
                retain: will.retain,
                properties,
                reading: None,
            },
            delay: Duration::from_secs(u64::from(delay)),
        }
    }

    /// What it takes: topic, payload, properties.
    pub(super) fn bytes(&self) -> usize {
        let Message { topic, payload, properties, .. } = &self.message;
        topic.len() + payload.len() + properties.as_properties().as_bytes().len()
    }
}

impl Broker {
    /// Publishes a will, if its client may still publish there; nobody waits for an acknowledgement.
    pub(super) fn publish_will<S: Sink>(&mut self, will: Will, publisher: SessionIdx, cx: &mut Cx<'_, S>) {
        let kept = Arc::new(Kept::new(will.message, cx.now));
        if !self.sessions.may_write(publisher, &kept.message.topic) {
            self.stats.publish_denied += 1;
            return;
        }
        let memo = self.routes.resolve(None, &kept.message.topic, &self.sessions);
        let mut message = Outgoing::owned(&kept, Some(publisher), cx.now);
        self.publish(&mut message, &memo.route, None, cx);
    }
}
