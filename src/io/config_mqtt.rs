//! The config over MQTT: requests on their way from the broker to the gateway's operations, one after the other, and the
//! answers back. What is a request decides [`crate::command::remote`].

use std::cell::RefCell;
use std::rc::Weak;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::change::Origin;
use super::change_control::{self, Asked};
use super::clock::Clock;
use super::mailbox::Mailbox;
use super::reporter::Reporter;
use super::shard::ToBroker;
use crate::command::Asker;
use crate::command::remote::{self, Reply, Wanted};
use crate::message::Message;
use crate::time::Mono;

/// Requests that wait for the one that is being carried out, each as large as a message may be. Further ones are refused.
const WAITING_MAX: usize = 4;

/// Where requests come in. Lives on the service thread.
#[derive(Debug)]
pub struct RemoteDesk {
    base: Arc<str>,
    /// The upstreams that may ask.
    upstreams: RefCell<Vec<Arc<str>>>,
    queue: mpsc::Sender<Wanted>,
    broker: Arc<Mailbox<ToBroker>>,
    clock: Clock,
}

impl RemoteDesk {
    /// A desk, and what is to be carried out.
    #[must_use]
    pub fn new(
        base: Arc<str>,
        broker: Arc<Mailbox<ToBroker>>,
        clock: Clock,
    ) -> (Self, mpsc::Receiver<Wanted>) {
        let (queue, wanted) = mpsc::channel(WAITING_MAX);
        (Self { base, upstreams: RefCell::default(), queue, broker, clock }, wanted)
    }

    /// These upstreams may ask from now on.
    pub fn allow(&self, upstreams: &[Arc<str>]) {
        self.upstreams.replace(upstreams.to_vec());
    }

    /// Whether a message is a request about the config.
    #[must_use]
    pub fn is_request(&self, message: &Message) -> bool {
        remote::operation(&message.topic, &self.base).is_some()
    }

    /// A request; `at` is when the broker had it.
    pub fn arrived(&self, message: &Message, by: &Asker, at: Mono) {
        let now = self.clock.now().mono;
        let judged = remote::judge(now, at, message, &self.base, by, &self.upstreams.borrow());
        let (why, reply) = match judged {
            Ok(wanted) => match self.queue.try_send(wanted) {
                Ok(()) => return,
                Err(full) => ("others are being carried out; ask again".to_owned(), full.into_inner().reply),
            },
            Err(refused) => refused,
        };
        let topic = &*message.topic;
        warn!(topic, %by, error = why, "a request about the config was refused");
        self.tell(reply, json!({"outcome": "refused", "error": why}));
    }

    fn tell(&self, reply: Option<Reply>, said: Json) {
        let Some(reply) = reply else { return };
        let message = remote::answer(reply, said);
        let weight = message.payload.len() + message.topic.len() + 128;
        if self.broker.push(ToBroker::Local(message), weight).is_err() {
            warn!("an answer about the config was dropped: the gateway is overloaded");
        }
    }
}

/// Carries out what comes, one after the other, until nobody can ask any more. It doesn't keep the gateway from stopping.
pub async fn run(mut wanted: mpsc::Receiver<Wanted>, reporter: Weak<Reporter>) {
    while let Some(Wanted { op, arguments, reply }) = wanted.recv().await {
        let Some(reporter) = reporter.upgrade() else { return };
        let by = arguments.get("who").and_then(Json::as_str).unwrap_or_default();
        info!(op, by, "a request about the config over MQTT");
        let (way, address) = ("MQTT".to_owned(), "MQTT".to_owned());
        let asked = Asked { by: Origin { who: None, way, address }, passphrase: None, progress: None };
        let said = change_control::answer(op, Some(arguments), asked, &reporter).await;
        reporter.remote.tell(reply, said);
    }
}
