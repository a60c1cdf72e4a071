//! What people who look at the broker ask: handed to the machine, whose answers are bounded.

use tokio::sync::oneshot;

use super::Shard;
use crate::broker::Input;
use crate::broker::look::{Clients, Consumers, Held, HeldPage, House};
use crate::broker::watch::Changes;

/// A question, with the place for its answer.
#[derive(Debug)]
pub enum Look {
    /// The clients from a place on.
    Clients {
        /// The place.
        from: u32,
        /// How many.
        max: usize,
        /// The answer.
        answer: oneshot::Sender<Clients>,
    },
    /// Who gets what is published to a topic.
    Consumers {
        /// A valid topic name.
        topic: String,
        /// The answer.
        answer: oneshot::Sender<Consumers>,
    },
    /// The retained messages behind a topic.
    Held {
        /// What their topics begin with.
        prefix: String,
        /// The topic.
        after: Option<String>,
        /// How many.
        max: usize,
        /// Bytes of each payload.
        payload_max: usize,
        /// The answer.
        answer: oneshot::Sender<HeldPage>,
    },
    /// One retained message.
    HeldAt {
        /// Its topic.
        topic: String,
        /// The answer.
        answer: oneshot::Sender<Option<Held>>,
    },
    /// Doors, rules, bounds.
    House(oneshot::Sender<House>),
    /// The topics that have changed.
    Topics {
        /// What they begin with.
        prefix: String,
        /// After which change.
        after: u64,
        /// The answer.
        answer: oneshot::Sender<Changes>,
    },
    /// Has a client's connection closed.
    Kick {
        /// Its identifier.
        client_id: String,
        /// The answer: whether it was there.
        answer: oneshot::Sender<bool>,
    },
}

impl Shard {
    /// Answers; whoever asked may have given up: then nobody wants the answer.
    pub(super) fn look(&self, look: Look) {
        if let Look::Kick { client_id, answer } = look {
            let conn = self.core.borrow().broker.connection_of(&client_id);
            if let Some(conn) = conn {
                self.input(Input::Kick { conn });
            }
            let _ = answer.send(conn.is_some());
            return;
        }
        let mut core = self.core.borrow_mut();
        let now = core.clock.now().mono;
        let broker = &mut core.broker;
        // A question that can't be answered costs nobody else anything.
        self.panics.catch("look", || match look {
            Look::Clients { from, max, answer } => drop(answer.send(broker.clients(now, from, max))),
            Look::Consumers { topic, answer } => drop(answer.send(broker.consumers(&topic))),
            Look::Held { prefix, after, max, payload_max, answer } => {
                drop(answer.send(broker.held(now, &prefix, after.as_deref(), max, payload_max)));
            }
            Look::HeldAt { topic, answer } => drop(answer.send(broker.held_at(now, &topic))),
            Look::House(answer) => drop(answer.send(broker.house())),
            Look::Topics { prefix, after, answer } => {
                drop(answer.send(broker.look_at_topics(now, &prefix, after)));
            }
            Look::Kick { .. } => {}
        });
    }
}
