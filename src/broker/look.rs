//! What people who look at the broker are shown: its clients, who gets what is published to a topic, what is retained,
//! the rules, and how near the bounds are. Each answer is bounded, and goes on where the one before has ended: nothing
//! here takes the broker longer than a few milliseconds.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::access::Access;
use super::acl::{Acl, Rule, Who};
use super::message::Kept;
use super::session::{Session, SessionIdx};
use super::{Broker, ConnId, ListenerId, count};
use crate::message::{OutboxId, own_level};
use crate::mqtt::{QoS, Version};
use crate::time::Mono;

/// Clients in one answer: some 200 bytes each.
pub const CLIENTS_AT_ONCE_MAX: usize = 500;
/// Consumers of a topic in one answer; how many more there are is told.
pub const CONSUMERS_MAX: usize = 500;
/// Retained messages in one answer.
pub const RETAINED_AT_ONCE_MAX: usize = 200;
/// Retained messages that are looked at for one answer: those that have expired are passed over.
const RETAINED_LOOKED_AT_MAX: usize = 2_000;
/// Rules in one answer, of all listeners together.
const RULES_MAX: usize = 500;
/// Bytes of a payload that a list shows.
pub const PREVIEW_BYTES_MAX: usize = 256;

/// A session, and its client if that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its client identifier.
    pub client_id: Arc<str>,
    /// Its user name.
    pub user_name: Option<Arc<str>>,
    /// The connection, if there is one.
    pub connected: Option<Connected>,
    /// How long it has been away.
    pub away: Option<Duration>,
    /// Messages that wait, and their bytes.
    pub queued: (usize, usize),
    /// Messages under way: sent and not acknowledged.
    pub inflight: usize,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// Whether it outlives its connection.
    pub is_persistent: bool,
}

/// What is known of a client that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Where from.
    pub address: Box<str>,
    /// Where it came in.
    pub listener: ListenerId,
    /// Its protocol version.
    pub version: Version,
    /// For how long.
    pub since: Duration,
    /// How long ago its last packet came.
    pub seen: Duration,
}

/// Some of the clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// These.
    pub clients: Vec<Client>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<u32>,
}

/// Somebody who gets what is published to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its client identifier.
    pub client_id: Arc<str>,
    /// Its user name.
    pub user_name: Option<Arc<str>>,
    /// Whether it is there; otherwise messages wait for it.
    pub is_connected: bool,
    /// With which QoS at most.
    pub qos: QoS,
    /// The shared subscription that it takes turns in, as a number.
    pub share: Option<usize>,
}

/// Where what is published to a topic goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumers {
    /// The clients, at most [`CONSUMERS_MAX`].
    pub clients: Vec<Consumer>,
    /// How many more there are.
    pub more: usize,
    /// The outboxes of upstreams.
    pub outboxes: Vec<OutboxId>,
    /// Whether it is a command to one of the gateway's devices.
    pub is_command: bool,
    /// Why no client may publish there, if none may.
    pub closed: Option<&'static str>,
}

/// A retained message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its topic.
    pub topic: Arc<str>,
    /// Of the payload as much as was asked for.
    pub payload: Vec<u8>,
    /// The whole payload's bytes.
    pub bytes: usize,
    /// As it was published.
    pub qos: QoS,
    /// When it goes by itself.
    pub expires: Option<Duration>,
    /// Whether the gateway keeps it there: nobody may have it forgotten.
    pub is_own: bool,
}

/// Some of the retained messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldPage {
    /// In the order of their topics.
    pub messages: Vec<Held>,
    /// The topic to go on after; `None`: there are no more.
    pub next: Option<Arc<str>>,
}

/// A bound and how near it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near {
    /// Its name in the config.
    pub name: &'static str,
    /// How much there is.
    pub used: u64,
    /// How much there may be.
    pub max: u64,
}

/// A rule in words that programs may read, and whose list it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleLook {
    /// The listener with rules of its own; `None`: the broker's.
    pub listener: Option<Arc<str>>,
    /// The rule.
    pub rule: Rule,
}

/// Who gets in at a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Its name.
    pub name: Arc<str>,
    /// Clients that came in there.
    pub clients: usize,
    /// Whether clients without a name get in.
    pub allow_anonymous: bool,
    /// Whether name and password are checked.
    pub check_users: bool,
    /// Whether it has users of its own.
    pub own_users: bool,
}

/// Doors, rules, bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct House {
    /// In the order of listeners.
    pub doors: Vec<Door>,
    /// The rules; none at all: everything is allowed.
    pub rules: Vec<RuleLook>,
    /// How many more rules there are.
    pub rules_more: usize,
    /// Whether there are no rules, which allows everything.
    pub is_open: bool,
    /// The bounds.
    pub bounds: Vec<Near>,
}

impl Broker {
    /// The sessions from a place on, in the order of places: a session keeps its place for as long as it is there.
    #[must_use]
    pub fn clients(&self, now: Mono, from: u32, max: usize) -> Clients {
        let max = max.clamp(1, CLIENTS_AT_ONCE_MAX);
        let mut found = Clients::default();
        for (place, session) in self.sessions.from(from) {
            if found.clients.len() >= max {
                found.next = Some(place);
                break;
            }
            found.clients.push(self.client(session, now));
        }
        found
    }

    /// The connection of a client.
    #[must_use]
    pub fn connection_of(&self, client_id: &str) -> Option<ConnId> {
        self.sessions.get(self.sessions.find(client_id)?)?.conn
    }

    fn client(&self, session: &Session, now: Mono) -> Client {
        let connection = session.conn.and_then(|conn| self.conns.get(conn));
        Client {
            client_id: Arc::clone(&session.client_id),
            user_name: session.user_name.clone(),
            connected: connection.map(|c| Connected {
                address: c.peer.clone(),
                listener: c.listener,
                version: c.version,
                since: now.since(c.opened),
                seen: now.since(c.last_seen),
            }),
            away: connection.is_none().then(|| now.since(session.offline_since)),
            queued: (session.queue.len(), session.queue_bytes()),
            inflight: session.inflight.len(),
            subscriptions: session.filters.len(),
            is_persistent: session.is_persistent(),
        }
    }

    /// Who gets what is published to a valid topic name.
    #[must_use]
    pub fn consumers(&self, topic: &str) -> Consumers {
        let route = self.routes.walk(topic, &self.sessions);
        let plain = route
            .receivers
            .iter()
            .filter_map(|receiver| receiver.grant(None).map(|grant| (receiver.session, grant.qos, None)));
        let shared = route.groups.iter().enumerate().flat_map(|(number, group)| {
            group.members.iter().map(move |(session, grant)| (*session, grant.qos, Some(number)))
        });
        let mut all = plain.chain(shared);
        let clients = all.by_ref().take(CONSUMERS_MAX).filter_map(|one| self.consumer(one)).collect();
        Consumers {
            clients,
            more: all.count(),
            closed: closed(route.access),
            is_command: route.command,
            outboxes: route.outboxes,
        }
    }

    fn consumer(&self, (idx, qos, share): (SessionIdx, QoS, Option<usize>)) -> Option<Consumer> {
        let session = self.sessions.get(idx)?;
        Some(Consumer {
            client_id: Arc::clone(&session.client_id),
            user_name: session.user_name.clone(),
            is_connected: session.conn.is_some(),
            qos,
            share,
        })
    }

    /// The retained messages whose topics begin with `prefix`, from behind a topic on, with the first `payload_max` bytes
    /// of their payloads. `$SYS` only where the prefix asks for it.
    #[must_use]
    pub fn held(
        &self,
        now: Mono,
        prefix: &str,
        after: Option<&str>,
        max: usize,
        payload_max: usize,
    ) -> HeldPage {
        let max = max.clamp(1, RETAINED_AT_ONCE_MAX);
        let mut page = HeldPage::default();
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut last = None;
        let below = self.retained.range(from).take_while(|(topic, _)| topic.starts_with(prefix));
        for (looked_at, (topic, kept)) in below.enumerate() {
            if page.messages.len() >= max || looked_at >= RETAINED_LOOKED_AT_MAX {
                page.next = last;
                break;
            }
            last = Some(Arc::clone(topic));
            let is_hidden = topic.starts_with("$SYS/") && !prefix.starts_with('$');
            if !is_hidden && !kept.is_expired(now) {
                page.messages.push(held(kept, now, payload_max, &self.config.base));
            }
        }
        page
    }

    /// The retained message of a topic, whole: how large one can be, the config says.
    #[must_use]
    pub fn held_at(&self, now: Mono, topic: &str) -> Option<Held> {
        let kept = self.retained.get(topic).filter(|kept| !kept.is_expired(now))?;
        Some(held(kept, now, usize::MAX, &self.config.base))
    }

    /// Doors, rules, bounds.
    #[must_use]
    pub fn house(&self) -> House {
        let places = (0u16..).map(ListenerId).zip(&self.config.listeners);
        let doors = places.map(|(id, policy)| Door {
            name: Arc::clone(&policy.name),
            clients: self.conns.ready_of(id),
            allow_anonymous: policy.allow_anonymous,
            check_users: policy.check_users,
            own_users: policy.own_users,
        });
        let rules = self.sessions.rules();
        let of = |listener: Option<&Arc<str>>, acl: &Acl| -> Vec<RuleLook> {
            let rules = acl.rules().unwrap_or_default().iter().take(RULES_MAX);
            rules.map(|rule| RuleLook { listener: listener.cloned(), rule: rule.clone() }).collect()
        };
        let mut all = of(None, &rules.common);
        for (listener, acl) in &rules.own {
            all.extend(of(Some(listener), acl));
        }
        let lists = || std::iter::once(&rules.common).chain(rules.own.values());
        let total: usize = lists().map(|acl| acl.rules().map_or(0, <[Rule]>::len)).sum();
        all.truncate(RULES_MAX);
        House {
            doors: doors.collect(),
            rules_more: total.saturating_sub(all.len()),
            rules: all,
            is_open: lists().all(|acl| acl.rules().is_none()),
            bounds: self.bounds(),
        }
    }

    fn bounds(&self) -> Vec<Near> {
        let config = &self.config;
        let near = |name, used: usize, max: usize| Near { name, used: count(used), max: count(max) };
        let mut bounds = vec![
            near("connections_max", self.conns.ready, config.connections_max),
            near("sessions_max", self.sessions.offline(), config.sessions_max),
            near("subscriptions_total_max", self.routes.len(), config.subscriptions_total_max),
            near("retained_max", self.retained.len(), config.retained_max),
            near("retained_bytes_max", self.retained.bytes(), config.retained_bytes_max),
            near("queues_bytes_max", self.queued.bytes(), config.queues_bytes_max),
        ];
        if self.stats.memory_budget > 0 {
            let (used, max) = (self.stats.memory_used, self.stats.memory_budget);
            bounds.push(Near { name: "memory_bytes_max", used, max });
        }
        bounds
    }
}

fn held(kept: &Kept, now: Mono, payload_max: usize, base: &str) -> Held {
    let message = &kept.message;
    Held {
        topic: Arc::clone(&message.topic),
        payload: message.payload.iter().take(payload_max).copied().collect(),
        bytes: message.payload.len(),
        qos: message.qos,
        expires: kept.expires.map(|at| at.since(now)),
        is_own: keeps(&message.topic, base),
    }
}

/// Whether the gateway keeps what is retained at a topic; readings and what describes a device may be of one that is gone.
fn keeps(topic: &str, base: &str) -> bool {
    topic.starts_with("$SYS/") || matches!(own_level(topic, base), Some("status" | "health" | "receipt"))
}

const fn closed(access: Access) -> Option<&'static str> {
    match access {
        Access::Allowed => None,
        Access::NotAuthorized => Some("only the gateway itself publishes there"),
        Access::TopicNameInvalid => Some("the topic is longer or deeper than the config allows"),
    }
}

impl Who {
    /// For people, as a kind and a name.
    #[must_use]
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Everyone => ("everyone", ""),
            Self::Anonymous => ("anonymous", ""),
            Self::User(name) => ("user", name),
            Self::ClientId(pattern) => ("client", pattern),
        }
    }
}
