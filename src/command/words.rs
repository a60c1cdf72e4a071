//! What devices, askers and the audit log exchange with [`super::Commands`].

use std::sync::Arc;

use crate::reading::Value;
use crate::time::Mono;

/// Tells commands apart while they are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// What a device is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// To be handed back with [`super::Commands::ended`].
    pub id: CommandId,
    /// Which device.
    pub device: Arc<str>,
    /// Which of its points; `None` where the topic names none.
    pub point: Option<Arc<str>>,
    /// The value that it is to have.
    pub value: Value,
    /// From then on it must not be begun.
    pub until: Mono,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Done; with the value that was read back, if there is one.
    Done(Option<Value>),
    /// Nothing was done, and why.
    Refused(String),
    /// It was tried, and why it failed.
    Failed(String),
    /// It was sent, and nobody knows what came of it: why.
    Unknown(String),
}

impl Outcome {
    /// The word for logs and answers.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Done(_) => "done",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Why it isn't done.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Done(_) => None,
            Self::Refused(why) | Self::Failed(why) | Self::Unknown(why) => Some(why),
        }
    }
}

/// Who wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A client of the LAN broker.
    Client {
        /// Its client identifier.
        client_id: Arc<str>,
        /// Its user name.
        user_name: Option<Arc<str>>,
        /// Whether it may subscribe to the response topic: an answer goes nowhere else.
        may_read_reply: bool,
    },
    /// A client's will: nobody knows when it was meant.
    Will {
        /// Whose.
        client_id: Arc<str>,
    },
    /// An upstream; its maps have let the command in.
    Upstream(Arc<str>),
    /// A person on this machine, by the control socket.
    Local,
}

impl std::fmt::Display for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client { client_id, user_name: Some(user), .. } => write!(f, "client {client_id} ({user})"),
            Self::Client { client_id, user_name: None, .. } => write!(f, "client {client_id}"),
            Self::Will { client_id } => write!(f, "will of {client_id}"),
            Self::Upstream(name) => write!(f, "upstream {name}"),
            Self::Local => f.write_str("this machine"),
        }
    }
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// Which device.
    pub device: Arc<str>,
    /// Which point.
    pub point: Option<Arc<str>>,
    /// What was wanted, as far as it could be read.
    pub value: Option<Value>,
    /// Who wanted it.
    pub by: Asker,
    /// What came of it.
    pub outcome: Outcome,
    /// It had been carried out before, and was not again.
    pub duplicate: bool,
}
