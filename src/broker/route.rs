//! Which sessions and outboxes a topic goes to: the subscriptions as a trie of levels, and a cache of resolved
//! topics that every change of a subscription empties. Nothing here delivers.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::access::{Access, bypasses_outbox, may_publish};
use super::command::is_command;
use super::config::Config;
use super::session::{SessionIdx, Sessions};
use crate::command::remote::operation;
use crate::message::OutboxId;
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{PropertiesBuf, Property, PropertyId, QoS, SubscribeOptions};

/// Levels of all filters together: about 120 bytes each, so 24 MB. More: SUBACK 0x97.
const NODES_MAX: usize = 200_000;
/// Bytes of cached routes, roughly. Above it the cache starts anew: that costs one walk per topic.
const CACHE_BYTES_MAX: usize = 2 * 1024 * 1024;

const ROOT: u32 = 0;

/// One subscription, at the node of its filter's last level.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) session: SessionIdx,
    pub(super) share: Option<Arc<str>>,
    pub(super) options: SubscribeOptions,
    pub(super) id: Option<NonZeroU32>,
}

/// How a session gets a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    /// The highest of the matching subscriptions (3.3.4-2).
    pub(super) qos: QoS,
    pub(super) retain_as_published: bool,
    /// The identifiers of the matching subscriptions, encoded (3.3.4-3 … -5).
    pub(super) identifiers: PropertiesBuf,
}

/// How a session gets its own message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnGrant {
    /// Like any other.
    Same,
    /// All its matching subscriptions say No Local.
    Nothing,
    /// Only those without No Local count.
    Other(Box<Grant>),
}

/// One session that gets a message, once, whatever number of its subscriptions match.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    pub(super) session: SessionIdx,
    grant: Grant,
    own: OwnGrant,
}

impl Receiver {
    /// The grant for a message of `publisher`; `None` if No Local keeps it back (3.8.3-3).
    pub(super) fn grant(&self, publisher: Option<SessionIdx>) -> Option<&Grant> {
        if publisher != Some(self.session) {
            return Some(&self.grant);
        }
        match &self.own {
            OwnGrant::Same => Some(&self.grant),
            OwnGrant::Nothing => None,
            OwnGrant::Other(grant) => Some(grant),
        }
    }
}

/// The members of one shared subscription: one of them gets each message (4.8.2).
#[derive(Debug)]
pub(super) struct Group {
    pub(super) members: Vec<(SessionIdx, Grant)>,
    turn: AtomicUsize,
}

impl Group {
    /// Whose turn it is: members take turns until a subscription changes.
    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(self.members.len()).unwrap_or(0)
    }
}

/// A topic, resolved.
#[derive(Debug)]
pub(super) struct Route {
    /// For LAN clients; the gateway itself may publish anywhere.
    pub(super) access: Access,
    pub(super) receivers: Vec<Receiver>,
    /// Shared subscriptions.
    pub(super) groups: Vec<Group>,
    pub(super) outboxes: Vec<OutboxId>,
    /// It is a command to one of the gateway's devices.
    pub(super) command: bool,
}

impl Route {
    /// Whether nobody gets what is published there.
    pub(super) const fn is_deaf(&self) -> bool {
        self.receivers.is_empty() && self.groups.is_empty() && self.outboxes.is_empty() && !self.command
    }
}

/// A connection's last topic with its route.
#[derive(Clone, Debug)]
pub(super) struct Memo {
    generation: u64,
    pub(super) topic: Arc<str>,
    pub(super) route: Arc<Route>,
    /// Whether the connection's client may publish there, once that was asked.
    pub(super) may_write: Option<bool>,
}

#[derive(Debug, Default)]
struct Node {
    /// In the order of names; `+` and `#` are names like others.
    children: Vec<(Box<str>, u32)>,
    subscriptions: Vec<Subscription>,
}

impl Node {
    fn child(&self, level: &str) -> Option<u32> {
        let at = self.children.binary_search_by(|(name, _)| (**name).cmp(level)).ok()?;
        self.children.get(at).map(|(_, node)| *node)
    }
}

/// All subscriptions.
#[derive(Debug)]
pub(super) struct Routes {
    config: Arc<Config>,
    nodes: Vec<Node>,
    free: Vec<u32>,
    len: usize,
    /// Those of them that are shared.
    shared: usize,
    generation: u64,
    cache: HashMap<Arc<str>, Arc<Route>>,
    cache_bytes: usize,
}

impl Routes {
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            nodes: vec![Node::default()],
            free: Vec::new(),
            len: 0,
            shared: 0,
            generation: 0,
            cache: HashMap::new(),
            cache_bytes: 0,
        }
    }

    /// Other bounds from now on.
    pub(super) fn set_config(&mut self, config: Arc<Config>) {
        self.config = config;
        self.forget_routes();
    }

    /// Subscriptions in all.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Shared subscriptions.
    pub(super) const fn shared(&self) -> usize {
        self.shared
    }

    /// Adds a subscription or replaces the session's one with the same filter (3.8.4-3). Tells whether there
    /// was one; `None` if there is no room.
    pub(super) fn insert(&mut self, filter: &TopicFilter, subscription: Subscription) -> Option<bool> {
        let mut path = vec![(ROOT, "")];
        let mut at = ROOT;
        for level in filter.as_str().split('/') {
            let child = self.node(at)?.child(level).or_else(|| self.add_child(at, level));
            let Some(child) = child else {
                self.prune(&path);
                return None;
            };
            at = child;
            path.push((at, level));
        }
        self.forget_routes();
        let subscriptions = &mut self.node_mut(at)?.subscriptions;
        let same = |s: &&mut Subscription| s.session == subscription.session && s.share == subscription.share;
        if let Some(old) = subscriptions.iter_mut().find(same) {
            *old = subscription;
            return Some(true);
        }
        if subscriptions.is_empty() {
            // Most filters are one client's own.
            subscriptions.reserve_exact(1);
        }
        subscriptions.push(subscription);
        self.len += 1;
        self.shared += usize::from(filter.share().is_some());
        Some(false)
    }

    /// Removes the session's subscription with exactly this filter (3.10.4-1). Tells whether there was one.
    pub(super) fn remove(&mut self, filter: &TopicFilter, session: SessionIdx) -> bool {
        let mut path = vec![(ROOT, "")];
        let mut at = ROOT;
        for level in filter.as_str().split('/') {
            let Some(child) = self.node(at).and_then(|node| node.child(level)) else { return false };
            at = child;
            path.push((at, level));
        }
        let Some(node) = self.node_mut(at) else { return false };
        let before = node.subscriptions.len();
        node.subscriptions.retain(|s| s.session != session || s.share.as_deref() != filter.share());
        if node.subscriptions.len() == before {
            return false;
        }
        self.len -= 1;
        self.shared -= usize::from(filter.share().is_some());
        self.prune(&path);
        self.forget_routes();
        true
    }

    /// The session's subscription with exactly this filter.
    pub(super) fn get(&self, filter: &TopicFilter, session: SessionIdx) -> Option<&Subscription> {
        let mut levels = filter.as_str().split('/');
        let at = levels.try_fold(ROOT, |at, level| self.node(at)?.child(level))?;
        let same = |s: &&Subscription| s.session == session && s.share.as_deref() == filter.share();
        self.node(at)?.subscriptions.iter().find(same)
    }

    /// The route of a topic name; `memo` is used if it is still right. Only sessions that may read the topic are
    /// in it, so that rights cost nothing per message.
    pub(super) fn resolve(&mut self, memo: Option<Memo>, topic: &str, sessions: &Sessions) -> Memo {
        if let Some(memo) = memo
            && memo.generation == self.generation
            && *memo.topic == *topic
        {
            return memo;
        }
        let generation = self.generation;
        if let Some((topic, route)) = self.cache.get_key_value(topic) {
            let (topic, route) = (Arc::clone(topic), Arc::clone(route));
            return Memo { generation, topic, route, may_write: None };
        }
        let topic: Arc<str> = Arc::from(topic);
        let route = Arc::new(self.walk(&topic, sessions));
        if route.access != Access::TopicNameInvalid {
            self.remember(&topic, &route);
        }
        Memo { generation, topic, route, may_write: None }
    }

    /// The same for the topic of the memo itself.
    pub(super) fn resolve_again(&mut self, memo: Memo, sessions: &Sessions) -> Memo {
        if memo.generation == self.generation { memo } else { self.resolve(None, &memo.topic, sessions) }
    }

    fn remember(&mut self, topic: &Arc<str>, route: &Arc<Route>) {
        let members: usize = route.groups.iter().map(|group| group.members.len()).sum();
        let receivers = route.receivers.len() + members;
        self.cache_bytes += topic.len() + 160 + receivers * size_of::<Receiver>();
        if self.cache_bytes > CACHE_BYTES_MAX {
            self.cache.clear();
            self.cache_bytes = 0;
        }
        self.cache.insert(Arc::clone(topic), Arc::clone(route));
    }

    /// Every route is found anew, and every memo is out of date.
    pub(super) fn forget_routes(&mut self) {
        self.generation += 1;
        self.cache.clear();
        self.cache_bytes = 0;
    }

    /// The same without a memory of it: for people who look.
    pub(super) fn walk(&self, topic: &str, sessions: &Sessions) -> Route {
        let config = &self.config;
        let mut found = self.matching(topic);
        found.retain(|(_, subscription)| sessions.may_read(subscription.session, topic));
        found.sort_by(|(a_node, a), (b_node, b)| {
            (&a.share, a_node, a.session).cmp(&(&b.share, b_node, b.session))
        });
        let (mut plain, shared): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, s)| s.share.is_none());
        plain.sort_by_key(|(_, s)| s.session);
        let rules = config.forward.iter().filter(|rule| rule.filter.matches(topic));
        let mut outboxes: Vec<OutboxId> = if bypasses_outbox(topic, &config.base) {
            Vec::new()
        } else {
            rules.map(|rule| rule.outbox).collect()
        };
        outboxes.sort_unstable();
        outboxes.dedup();
        Route {
            access: may_publish(topic, &config.base, config.topic_bytes_max, config.topic_levels_max),
            receivers: plain.chunk_by(|(_, a), (_, b)| a.session == b.session).filter_map(receiver).collect(),
            groups: groups(&shared),
            outboxes,
            command: is_command(topic, &config.base, &config.commands)
                || (config.config_requests && operation(topic, &config.base).is_some()),
        }
    }

    /// All subscriptions whose filter matches. Each node is visited at most once, without recursion.
    fn matching(&self, topic: &str) -> Vec<(u32, &Subscription)> {
        let mut found = Vec::new();
        let mut stack = vec![(ROOT, Some(topic))];
        while let Some((at, rest)) = stack.pop() {
            let Some(node) = self.node(at) else { continue };
            // A wildcard in the first level matches no name that starts with `$` (4.7.2-1).
            let wild = at != ROOT || !topic.starts_with('$');
            // `#` also matches its parent level (4.7.1.2).
            if wild
                && let Some(child) = node.child("#")
                && let Some(all) = self.node(child)
            {
                found.extend(all.subscriptions.iter().map(|s| (child, s)));
            }
            let Some(rest) = rest else {
                found.extend(node.subscriptions.iter().map(|s| (at, s)));
                continue;
            };
            let (level, tail) =
                rest.split_once('/').map_or((rest, None), |(level, tail)| (level, Some(tail)));
            stack.extend(node.child(level).map(|child| (child, tail)));
            if wild {
                stack.extend(node.child("+").map(|child| (child, tail)));
            }
        }
        found
    }

    fn add_child(&mut self, parent: u32, level: &str) -> Option<u32> {
        let child = match self.free.pop() {
            Some(free) => free,
            None if self.nodes.len() >= NODES_MAX => return None,
            None => {
                self.nodes.push(Node::default());
                u32::try_from(self.nodes.len() - 1).ok()?
            }
        };
        let children = &mut self.node_mut(parent)?.children;
        let at = children.partition_point(|(name, _)| **name < *level);
        if children.is_empty() {
            // Most levels of a deep filter have one child.
            children.reserve_exact(1);
        }
        children.insert(at, (level.into(), child));
        Some(child)
    }

    /// Takes away the nodes at the end of a path that hold nothing any more.
    fn prune(&mut self, path: &[(u32, &str)]) {
        for pair in path.windows(2).rev() {
            let &[(parent, _), (at, level)] = pair else { return };
            if self.node(at).is_some_and(|n| !n.children.is_empty() || !n.subscriptions.is_empty()) {
                return;
            }
            if let Some(node) = self.node_mut(at) {
                *node = Node::default();
            }
            if let Some(parent) = self.node_mut(parent) {
                parent.children.retain(|(name, _)| **name != *level);
            }
            self.free.push(at);
        }
    }

    #[cfg(test)]
    pub(super) fn nodes_in_use(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    fn node(&self, at: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(at).ok()?)
    }

    fn node_mut(&mut self, at: u32) -> Option<&mut Node> {
        self.nodes.get_mut(usize::try_from(at).ok()?)
    }
}

fn receiver(subscriptions: &[(u32, &Subscription)]) -> Option<Receiver> {
    let all: Vec<&Subscription> = subscriptions.iter().map(|(_, subscription)| *subscription).collect();
    let session = all.first()?.session;
    let not_local: Vec<&Subscription> = all.iter().copied().filter(|s| !s.options.no_local).collect();
    let own = if not_local.len() == all.len() {
        OwnGrant::Same
    } else if not_local.is_empty() {
        OwnGrant::Nothing
    } else {
        OwnGrant::Other(Box::new(merge(&not_local)))
    };
    Some(Receiver { session, grant: merge(&all), own })
}

/// One group per share name and filter; `shared` is in that order.
fn groups(shared: &[(u32, &Subscription)]) -> Vec<Group> {
    shared
        .chunk_by(|(a_node, a), (b_node, b)| a.share == b.share && a_node == b_node)
        .map(|group| Group {
            members: group.iter().map(|(_, s)| (s.session, merge(&[*s]))).collect(),
            turn: AtomicUsize::new(0),
        })
        .collect()
}

/// Overlapping subscriptions of one session as one copy (3.3.4-2).
fn merge(subscriptions: &[&Subscription]) -> Grant {
    let mut grant = Grant::default();
    let mut ids: Vec<NonZeroU32> = subscriptions.iter().filter_map(|s| s.id).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        grant.identifiers.push(Property::Varint(PropertyId::SubscriptionIdentifier, id.get()));
    }
    for subscription in subscriptions {
        grant.qos = grant.qos.max(subscription.options.qos);
        grant.retain_as_published |= subscription.options.retain_as_published;
    }
    grant
}
