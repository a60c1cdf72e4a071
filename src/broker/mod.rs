//! The embedded MQTT broker as a pure machine: connections in, packets out through a [`Sink`]. It has no socket
//! and no clock; what is not a packet (close, authenticate, forward) comes out of [`Broker::poll_event`].

mod access;
pub mod acl;
mod alias;
mod bodies;
pub mod broken;
mod command;
pub mod config;
mod connect;
mod connection;
mod deadline;
mod delivery;
pub mod doorman;
mod filters;
mod flow;
mod forward;
pub mod home;
mod intake;
mod journal;
mod keep;
mod leave;
mod logins;
pub mod look;
pub mod memory;
mod message;
mod publish;
mod queues;
mod rare;
pub mod rate;
mod reconfigure;
mod restore;
mod retained;
mod route;
mod session;
mod stats;
mod subscribe;
pub mod sys;
mod throttle;
mod timer;
pub mod watch;
mod welcome;
mod will;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use crate::message::{Message, OutboxId, SafeToken, Ticket};
use crate::mqtt::{Packet, PacketId, Properties, PropertiesBuf, Publish, QoS, ReasonCode, Version};
use crate::secret::Secret;
use crate::state::Change;
use crate::time::{Mono, Now};
use bodies::Bodies;
use broken::Work;
use connection::Connections;
use doorman::{Doorman, Knock};
use flow::Tokens;
use home::Rules;
use journal::{Journal, Pace};
use logins::FailedLogins;
use memory::Slack;
use queues::Queued;
use retained::Retained;
use route::{Memo, Routes};
use session::Sessions;
use throttle::Throttles;
use timer::Timers;
use tracing::warn;
use watch::Watch;

pub use command::CommandBy;
pub use config::{Arrivals, Config, ForwardRule, ListenerPolicy, PublishRate, QueueFull};
pub use reconfigure::Reconfigure;
pub use stats::Stats;

/// A connection, as the shell numbers them. A number may be used again after `Closed` was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

/// A listener's place in [`Config::listeners`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u16);

/// What the shell tells the broker.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client connected.
    Open {
        /// Its number from now on.
        conn: ConnId,
        /// Where it came in.
        listener: ListenerId,
        /// Its address, for logs.
        peer: &'a str,
        /// The user name that its certificate has proved. Such a client is asked for no password.
        certified: Option<&'a str>,
        /// The address that [`Broker::knock`] was asked about, if it was.
        from: Option<IpAddr>,
    },
    /// Bytes from a client, in order, cut anywhere.
    Bytes {
        /// Whose.
        conn: ConnId,
        /// The bytes; what belongs to an unfinished packet is copied and kept.
        bytes: &'a [u8],
    },
    /// The connection is gone: end of file, reset, or closed after [`Event::Close`].
    Closed {
        /// Whose.
        conn: ConnId,
    },
    /// The connection's out buffer fell below half of its high-water mark.
    Drained {
        /// Whose.
        conn: ConnId,
    },
    /// One outbox has what the token stands for: on disk and synced, or acknowledged upstream.
    Safe {
        /// From [`Event::Forward`].
        token: SafeToken,
    },
    /// One outbox will never have it (full, and told to reject).
    Refused {
        /// From [`Event::Forward`].
        token: SafeToken,
    },
    /// A batch is on disk and synced, whole.
    Persisted {
        /// From [`Event::Persist`].
        number: u64,
    },
    /// A batch is not on disk. It comes again, with what has changed by then.
    PersistFailed {
        /// From [`Event::Persist`].
        number: u64,
        /// Nothing of what was persisted before is on disk any more: all of it comes again.
        lost: bool,
    },
    /// The answer to [`Event::Authenticate`].
    Authenticated {
        /// Whose.
        conn: ConnId,
        /// Whether name and password are right.
        accepted: bool,
    },
    /// The other answer to [`Event::Authenticate`]: it can't be said now. The client is told that the server is
    /// busy (5.0: 0x89, 3.x: 3).
    NotJudged {
        /// Whose.
        conn: ConnId,
    },
    /// What let a client in counts no longer, its certificate say: it is told (5.0: 0x87) and closed. Its session stays.
    TurnOut {
        /// Whose.
        conn: ConnId,
    },
    /// People want it to go: it is told (5.0: 0x98) and closed. Its session stays, and it may come back.
    Kick {
        /// Whose.
        conn: ConnId,
    },
    /// The rules from now on, for everything that is not sent yet. Nobody is disconnected.
    Access(Rules),
    /// Other settings from now on. Who would not be let in with them is disconnected, nobody else.
    Reconfigure(Box<Reconfigure>),
    /// A message of the gateway itself: a reading, status, health. Routed like any PUBLISH, but may use the
    /// gateway's own topics; retained if it says so.
    Local(Message),
    /// How much memory this process takes, in bytes; once a second.
    Memory {
        /// What only this process can give back.
        used: u64,
        /// How much it should take at most, if nobody has configured that.
        budget: Option<u64>,
    },
    /// A message of an upstream: routed like any PUBLISH, but never to that upstream's outbox.
    Bridged {
        /// Which upstream.
        from: OutboxId,
        /// What.
        message: Message,
        /// To be handed back with [`Event::Accepted`]; `None` where nobody waits (QoS 0).
        ticket: Option<Ticket>,
    },
    /// The gateway stops: every client is told (5.0: 0x8B) and closed, sessions stay.
    Shutdown,
    /// The deadline has passed.
    Tick,
}

/// What the shell must do, apart from writing bytes.
#[derive(Debug)]
pub enum Event {
    /// Write what is in the connection's buffer, then close it. Answer with [`Input::Closed`].
    Close {
        /// Whose.
        conn: ConnId,
    },
    /// Stop reading from this connection: its receivers are full, or it has too much unacknowledged.
    Pause {
        /// Whose.
        conn: ConnId,
    },
    /// Read on.
    Resume {
        /// Whose.
        conn: ConnId,
    },
    /// Check a name and password off this thread; answer with [`Input::Authenticated`].
    Authenticate {
        /// Whose.
        conn: ConnId,
        /// The listener whose own users are asked; `None`: the broker's.
        users: Option<Arc<str>>,
        /// Its address, as in [`Input::Open`].
        peer: Box<str>,
        /// The user name.
        user_name: String,
        /// The password, empty if none was sent.
        password: Secret,
    },
    /// Put into an outbox.
    Forward {
        /// Which.
        outbox: OutboxId,
        /// What.
        message: Message,
        /// To be handed back when it is safe; `None` where nobody waits (QoS 0, readings).
        token: Option<SafeToken>,
    },
    /// What must be safe before an upstream's message is acknowledged is.
    Accepted {
        /// Which upstream.
        from: OutboxId,
        /// From [`Input::Bridged`].
        ticket: Ticket,
        /// False if it never will be.
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
    /// Write these changes, whole or not at all, sync them, and answer with [`Input::Persisted`]. One batch at a
    /// time.
    Persist {
        /// Which batch.
        number: u64,
        /// One for each key.
        changes: Vec<Change>,
    },
}

/// A PUBLISH on its way to one receiver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Delivery<'a> {
    /// The receiver's protocol version.
    pub version: Version,
    /// Re-delivery.
    pub dup: bool,
    /// As granted.
    pub qos: QoS,
    /// As the subscription wants it.
    pub retain: bool,
    /// Present exactly when `qos` > 0.
    pub packet_id: Option<PacketId>,
    /// The full topic; empty where `own_properties` has an alias that the receiver knows.
    pub topic: &'a str,
    /// The properties that travel with the message. Ignored before 5.0.
    pub properties: Properties<'a>,
    /// Properties of this receiver's copy alone (subscription identifiers, topic alias). Ignored before 5.0.
    pub own_properties: Properties<'a>,
    /// The application message.
    pub payload: &'a [u8],
}

impl<'a> Delivery<'a> {
    /// The packet that it becomes, without the properties of this copy alone.
    const fn packet(&self) -> Packet<'a> {
        Packet::Publish(Publish {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic,
            packet_id: self.packet_id,
            properties: self.properties,
            payload: self.payload,
        })
    }
}

/// Where packets go: the shell's out buffers, or a test's record. Nothing here blocks or fails; what doesn't fit
/// on the socket waits in the connection's buffer.
pub trait Sink {
    /// A new message is about to be delivered: what was encoded for the one before is of no more use. Between
    /// two calls, deliveries differ only in version, dup, QoS, retain, packet id, own properties and, where
    /// there are own properties, in whether the topic is left out.
    fn begin(&mut self);

    /// Appends a PUBLISH to a connection's buffer. Returns the buffer's bytes from now on.
    fn publish(&mut self, to: ConnId, delivery: &Delivery<'_>) -> usize;

    /// Appends an encoded packet to a connection's buffer. Returns the buffer's bytes from now on.
    fn raw(&mut self, to: ConnId, packet: &[u8]) -> usize;

    /// The bytes that wait in a connection's buffer.
    fn buffered(&self, conn: ConnId) -> usize;
}

/// What every step is given: the time, and where packets go.
struct Cx<'a, S> {
    now: Mono,
    sink: &'a mut S,
}

/// The broker.
#[derive(Debug)]
pub struct Broker {
    config: Arc<Config>,
    rng: fastrand::Rng,
    conns: Connections,
    sessions: Sessions,
    routes: Routes,
    retained: Retained,
    queued: Queued,
    tokens: Tokens,
    timers: Timers,
    journal: Journal,
    bodies: Bodies,
    events: VecDeque<Event>,
    /// Whose work is under way.
    at_work: Option<Work>,
    /// Connections to look at when the input is done: something that held them is gone.
    resumable: Vec<ConnId>,
    /// Sessions to end when the input is done, by number: their queues are full.
    overflowing: Vec<u64>,
    doorman: Doorman,
    slack: Slack,
    watch: Watch,
    throttles: Throttles,
    local_memo: Option<Memo>,
    failed_logins: FailedLogins,
    /// For packets other than PUBLISH.
    scratch: Vec<u8>,
    /// For the properties of one receiver's copy.
    own_scratch: PropertiesBuf,
    stats: Stats,
}

impl Broker {
    /// A broker without clients. `seed` makes assigned client identifiers.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let config = Arc::new(config.usable());
        Self {
            rng: fastrand::Rng::with_seed(seed),
            conns: Connections::default(),
            sessions: Sessions::new(config.rules()),
            routes: Routes::new(Arc::clone(&config)),
            retained: Retained::new(config.retained_max, config.retained_bytes_max),
            queued: Queued::default(),
            tokens: Tokens::default(),
            timers: Timers::default(),
            journal: Journal::new(config.persistence, Pace::of(&config)),
            bodies: Bodies::default(),
            events: VecDeque::new(),
            at_work: None,
            resumable: Vec::new(),
            overflowing: Vec::new(),
            doorman: Doorman::default(),
            slack: Slack::default(),
            watch: Watch::default(),
            throttles: Throttles::default(),
            failed_logins: FailedLogins::default(),
            local_memo: None,
            scratch: Vec::new(),
            own_scratch: PropertiesBuf::new(),
            stats: Stats::default(),
            config,
        }
    }

    /// Takes one input; packets go to the sink, the rest to [`Broker::poll_event`].
    pub fn handle<S: Sink>(&mut self, now: Now, input: Input<'_>, sink: &mut S) {
        self.journal.now = now;
        self.at_work = Some(Work::of(&input));
        let cx = &mut Cx { now: now.mono, sink };
        match input {
            Input::Open { conn, listener, peer, certified, from } => {
                self.open(conn, listener, (peer, from), certified, cx);
            }
            Input::Bytes { conn, bytes } => self.bytes(conn, bytes, cx),
            Input::Closed { conn } => self.closed(conn, cx),
            Input::Drained { conn } => self.drained(conn, cx),
            Input::Safe { token } => self.settle(token, true, cx),
            Input::Refused { token } => self.settle(token, false, cx),
            Input::Persisted { number } => self.persisted(number, cx),
            Input::PersistFailed { number, lost } => self.persist_failed(number, lost),
            Input::Authenticated { conn, accepted } => self.authenticated(conn, accepted, cx),
            Input::NotJudged { conn } => self.not_judged(conn, cx),
            Input::TurnOut { conn } => self.close(conn, Some(ReasonCode::NotAuthorized), cx),
            Input::Kick { conn } => self.close(conn, Some(ReasonCode::AdministrativeAction), cx),
            Input::Access(rules) => self.set_access(rules),
            Input::Reconfigure(new) => self.reconfigure(*new, cx),
            Input::Local(message) => self.publish_local(message, cx),
            Input::Memory { used, budget } => self.look_at_memory(used, budget, cx),
            Input::Bridged { from, message, ticket } => self.publish_bridged(from, message, ticket, cx),
            Input::Shutdown => self.shutdown(cx),
            Input::Tick => self.tick(cx),
        }
        self.end_overflowing(cx);
        self.answer_released(cx);
        self.resume_ready(cx);
        self.end_overflowing(cx);
        // What could be read again may have done more.
        self.answer_released(cx);
        self.at_work = None;
    }

    /// A connection comes from an address (`None` for Unix sockets): whether it may come in. If it may, either
    /// [`Input::Open`] follows with the same address, or [`Broker::gone_before_open`].
    pub fn knock(&mut self, now: Mono, from: Option<IpAddr>) -> Knock {
        let knock = self.doorman.knock(now, from, &self.config.arrivals);
        let (counter, words) = match knock {
            Knock::Enter => return knock,
            Knock::Wait(_) => {
                self.stats.arrivals_delayed += 1;
                return knock;
            }
            Knock::TooManyHalfOpen => {
                (&mut self.stats.arrivals_half_open, "too many connections of an address are not let in yet")
            }
            Knock::TooFast => (&mut self.stats.arrivals_too_fast, "connections come too fast"),
        };
        *counter += 1;
        if let Some(more) = self.throttles.arrivals.is_due(now) {
            warn!(address = from.map(tracing::field::display), more, "connection closed: {words}");
        }
        knock
    }

    /// A connection that was to come in has gone before.
    pub fn gone_before_open(&mut self, from: Option<IpAddr>) {
        self.doorman.leave(from, false);
    }

    /// New rules hold for what is routed, taken from a queue or sent again from now on. Subscriptions stay.
    fn set_access(&mut self, rules: Rules) {
        self.sessions.set_rules(rules);
        self.routes.forget_routes();
    }

    /// The retained messages, in the order of their topics.
    pub fn retained(&self) -> impl Iterator<Item = &Message> {
        self.retained.all().map(|kept| &kept.message)
    }

    /// The next thing to do, until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When `Tick` is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let timer = self.timers.next();
        match self.journal.deadline() {
            Some(journal) => Some(timer.map_or(journal, |timer| timer.min(journal))),
            None => timer,
        }
    }
}

/// A length as a counter.
fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
