//! What the service thread and the broker thread say to each other.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::look::Look;
use crate::broker::home::Rules;
use crate::broker::{CommandBy, ConnId, Reconfigure, Stats};
use crate::config::Listener;
use crate::io::doors::Wanted;
use crate::io::server_tls::Keys;
use crate::message::{Message, OutboxId, SafeToken, Ticket};
use crate::secret::Secret;
use crate::time::Mono;

/// From the service thread to the broker thread.
#[derive(Debug)]
pub enum ToBroker {
    /// A message of the gateway itself.
    Local(Message),
    /// A message of an upstream.
    Bridged {
        /// Which upstream.
        from: OutboxId,
        /// What.
        message: Message,
        /// Who waits for it.
        ticket: Option<Ticket>,
    },
    /// One outbox has what the token stands for.
    Safe(Vec<SafeToken>),
    /// One outbox will never have what the token stands for.
    Refused(Vec<SafeToken>),
    /// The store has a batch of the broker's state, or has not.
    Persisted {
        /// Which.
        number: u64,
        /// Whether it is on disk.
        result: Result<(), PersistError>,
    },
    /// The verdict on a name and password.
    Authenticated {
        /// Whose.
        conn: ConnId,
        /// Which use of that number.
        generation: u32,
        /// Whether they are right.
        accepted: bool,
    },
    /// Nobody can say now whether a name and password are right.
    NotJudged {
        /// Whose.
        conn: ConnId,
        /// Which use of that number.
        generation: u32,
    },
    /// The rules from now on.
    Access(Rules),
    /// Bind these addresses, for a [`ToBroker::Reconfigure`] that may follow; nothing else changes.
    Bind {
        /// What is to be bound.
        wanted: Vec<Wanted>,
        /// The places of the listeners that will be closed: their sockets may be taken over.
        closing: Vec<usize>,
        /// Whether all of it could be bound; if not, none is.
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// Have listeners read their certificates again.
    ReadCertificates,
    /// Another config.
    Reconfigure(Box<Reconfiguration>),
    /// Asks for the broker's counters.
    Stats(oneshot::Sender<Stats>),
    /// Somebody looks at the broker.
    Look(Look),
    /// Nothing, but for showing that the thread gets on.
    Beat,
    /// Answered when everything before it was handled.
    Sync(oneshot::Sender<()>),
    /// Tell every client, close, end the thread.
    Stop,
}

/// What another config means for the broker thread. Nothing of it can fail.
#[derive(Debug)]
pub struct Reconfiguration {
    /// For the machine.
    pub broker: Reconfigure,
    /// Where it listens from now on; keys where a listener with TLS is opened anew.
    pub listeners: Vec<(Listener, Option<Keys>)>,
    /// How many clients had to go.
    pub done: oneshot::Sender<u64>,
}

/// Why a batch of the broker's state is not on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersistError {
    /// It can't be written now.
    Failed,
    /// What was there before is gone as well.
    Lost,
}

/// From the broker thread to the service thread.
#[derive(Debug)]
pub enum FromBroker {
    /// Put into an outbox.
    Forward {
        /// Which.
        outbox: OutboxId,
        /// What.
        message: Message,
        /// Who waits for it.
        token: Option<SafeToken>,
    },
    /// An upstream's message may be acknowledged, or never will.
    Accepted {
        /// Which upstream.
        from: OutboxId,
        /// Its ticket.
        ticket: Ticket,
        /// Whether what must be safe is.
        safe: bool,
    },
    /// A command to one of the gateway's devices.
    Command {
        /// As it was published.
        message: Message,
        /// Who has published it.
        by: CommandBy,
        /// When the broker had it.
        at: Mono,
    },
    /// Check a name and password.
    Authenticate {
        /// Whose.
        conn: ConnId,
        /// Which use of that number.
        generation: u32,
        /// The listener whose own users are asked; `None`: the broker's.
        users: Option<Arc<str>>,
        /// Its address.
        peer: Box<str>,
        /// The name.
        user_name: String,
        /// The password.
        password: Secret,
    },
}
