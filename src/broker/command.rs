//! Commands to the gateway's own devices: which topics they are, and who published one. Whether one is carried out is
//! not decided here.

use std::sync::Arc;

use super::message::Outgoing;
use super::{Broker, Event};
use crate::command::target;
use crate::message::OutboxId;
use crate::mqtt::PropertyId;
use crate::time::Mono;

/// Who has published a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandBy {
    /// A client.
    Client {
        /// Its client identifier.
        client_id: Arc<str>,
        /// Its user name.
        user_name: Option<Arc<str>>,
        /// Whether it may subscribe to the response topic.
        may_read_reply: bool,
    },
    /// The will of a client.
    Will {
        /// Whose.
        client_id: Arc<str>,
    },
    /// An upstream.
    Upstream(OutboxId),
}

/// Whether a topic names one of these devices.
pub(super) fn is_command(topic: &str, base: &str, devices: &[Arc<str>]) -> bool {
    !devices.is_empty()
        && target(topic, base).is_some_and(|(device, _)| devices.iter().any(|known| **known == *device))
}

impl Broker {
    /// Hands a message that was published on a command's topic to whoever carries it out. The gateway itself has no
    /// commands for its devices.
    pub(super) fn hand_over_command(&mut self, message: &mut Outgoing<'_>, now: Mono) {
        let by =
            match (message.origin, message.publisher.and_then(|idx| Some((idx, self.sessions.get(idx)?)))) {
                (Some(outbox), _) => CommandBy::Upstream(outbox),
                (None, None) => return,
                (None, Some((_, session))) if message.from.is_none() => {
                    CommandBy::Will { client_id: session.client_id.clone() }
                }
                (None, Some((idx, session))) => {
                    let reply = message.properties.string(PropertyId::ResponseTopic);
                    CommandBy::Client {
                        client_id: session.client_id.clone(),
                        user_name: session.user_name.clone(),
                        may_read_reply: reply.is_some_and(|topic| self.sessions.may_read(idx, topic)),
                    }
                }
            };
        let message = message.kept().message.clone();
        self.events.push_back(Event::Command { message, by, at: now });
    }
}
