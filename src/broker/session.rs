//! What outlives a connection: subscriptions, messages on their way to the client, packet identifiers. How
//! messages get in is `publish`, how they leave is `delivery`.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::ConnId;
use super::acl::Rights;
use super::filters::Filters;
use super::home::Rules;
use super::message::Kept;
use super::rare::Rare;
use super::will::Will;
use crate::message::SafeToken;
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{PacketId, PropertiesBuf, QoS};
use crate::state::Home;
use crate::time::Mono;

/// A session's place. Used again after the session's end; see [`Session::serial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SessionIdx(pub(super) u32);

/// A message that waits for, or is in, its exchange with the client.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) kept: Arc<Kept>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) identifiers: PropertiesBuf,
    pub(super) mark: Mark,
}

impl Outbound {
    pub(super) fn new(kept: Arc<Kept>, qos: QoS, retain: bool, identifiers: PropertiesBuf) -> Self {
        Self { kept, qos, retain, identifiers, mark: Mark::default() }
    }

    /// Whether it must be on disk before it is sent: else a crash could make two of it.
    pub(super) fn is_held(&self) -> bool {
        self.qos == QoS::ExactlyOnce && self.mark.is_kept && !self.mark.is_current
    }
}

/// A message's number in its session, and what of it is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Ascends within the session.
    pub(super) number: u64,
    /// It must be on disk.
    pub(super) is_kept: bool,
    /// It is on disk, or will be soon, perhaps in an earlier state.
    pub(super) on_disk: bool,
    /// It is on disk as it is.
    pub(super) is_current: bool,
}

impl Mark {
    /// The packet identifier that a kept message is sent with, before and after a restart.
    pub(super) fn packet_id(self) -> Option<PacketId> {
        let id = self.number.wrapping_sub(1) % u64::from(u16::MAX) + 1;
        u16::try_from(id).ok().and_then(PacketId::new)
    }
}

/// How far an exchange is.
#[derive(Debug)]
pub(super) enum Exchange {
    /// PUBLISH was sent; waits for PUBACK or PUBREC.
    Published(Outbound),
    /// PUBREL was sent; waits for PUBCOMP. The message is never sent again (4.3.3-6).
    Released,
}

/// A message under way.
#[derive(Debug)]
pub(super) struct Inflight {
    pub(super) packet_id: PacketId,
    pub(super) exchange: Exchange,
    /// Sent on the present connection; `false` after a reconnect until it was sent again.
    pub(super) sent: bool,
    pub(super) mark: Mark,
}

impl Inflight {
    /// Whether it may be sent again: PUBREL only once it is on disk that the client has the message.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.exchange, Exchange::Published(_)) || !self.mark.is_kept || self.mark.is_current
    }
}

/// A QoS 2 packet identifier of the client, from its PUBLISH until its PUBREL.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Incoming {
    /// Used on the present connection: it takes a place in the client's window.
    pub(super) seen: bool,
    /// The outboxes have not all answered.
    pub(super) token: Option<SafeToken>,
    /// It is on disk, or will be soon.
    pub(super) on_disk: bool,
    /// The outboxes may not have the message, since the identifier comes from before the start, or they have refused
    /// it: if it is sent again, they get it; if another message comes, the client has ended this exchange.
    pub(super) unforwarded: bool,
    /// They have refused it, and the client was told: only with DUP it sends that message again.
    pub(super) refused: bool,
    /// Tells its message from another one under the same identifier.
    pub(super) fingerprint: Option<u32>,
}

/// Spreads packet identifiers. A client chooses them, but there are so few that not even chosen ones crowd in one place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u16(u16::from(*byte));
        }
    }

    fn write_u16(&mut self, id: u16) {
        // The upper bits tell places apart as well as the lower ones; 2^64 by the golden ratio.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// Retained messages that a new subscription still has to get, as a place in the walk over them: that costs
/// nothing however many match.
#[derive(Debug)]
pub(super) struct RetainedWalk {
    pub(super) filter: TopicFilter,
    pub(super) after: Option<Arc<str>>,
    pub(super) qos: QoS,
    pub(super) identifiers: PropertiesBuf,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    /// Never used twice.
    pub(super) serial: u64,
    pub(super) client_id: Arc<str>,
    /// Who owns it: another user can't take it over.
    pub(super) user_name: Option<Arc<str>>,
    /// Where its client came in the last time, if that listener has users or rules of its own.
    pub(super) home: Option<Box<Home>>,
    /// What its client may do.
    pub(super) rights: Rights,
    pub(super) conn: Option<ConnId>,
    /// How long it outlives its connection; `None`: for ever.
    pub(super) expiry: Option<Duration>,
    pub(super) filters: Filters,
    pub(super) inflight: Rare<VecDeque<Inflight>>,
    /// There may be messages under way that were not sent on the present connection.
    pub(super) may_resend: bool,
    last_packet_id: u16,
    /// So many packet identifiers behind the last one are free.
    free_packet_ids: u16,
    last_number: u64,
    /// The number of the last message that was sent.
    pub(super) sent: u64,
    /// Raised at each connection.
    pub(super) visit: u64,
    /// It is on disk, or will be soon.
    pub(super) on_disk: bool,
    /// When its client last got something that had waited for the disk.
    pub(super) released_at: Option<Mono>,
    pub(super) queue: Rare<VecDeque<Outbound>>,
    queue_bytes: usize,
    pub(super) walks: Rare<VecDeque<RetainedWalk>>,
    pub(super) incoming: Rare<HashMap<PacketId, Incoming, BuildHasherDefault<IdHasher>>>,
    pub(super) offline_since: Mono,
    /// The will that waits for its delay.
    pub(super) will: Option<Box<Will>>,
    pub(super) will_at: Option<Mono>,
    pub(super) ends_at: Option<Mono>,
    /// The armed deadline.
    pub(super) armed: Option<Mono>,
}

impl Session {
    /// Whether it outlives its connection.
    pub(super) fn is_persistent(&self) -> bool {
        self.expiry != Some(Duration::ZERO)
    }

    /// Puts a message at the end of the queue. Above the bounds the oldest go; tells which.
    pub(super) fn enqueue(&mut self, message: Outbound, messages_max: usize, bytes_max: usize) -> Vec<Mark> {
        self.requeue(message);
        self.trim(messages_max, bytes_max)
    }

    /// Takes the oldest messages out of the queue as long as it is above its bounds; tells which.
    pub(super) fn trim(&mut self, messages_max: usize, bytes_max: usize) -> Vec<Mark> {
        let mut dropped = Vec::new();
        while self.queue.len() > messages_max || self.queue_bytes > bytes_max {
            let Some(oldest) = self.dequeue() else { break };
            dropped.push(oldest.mark);
        }
        dropped
    }

    /// Whether there may be anything to send.
    pub(super) fn has_waiting(&self) -> bool {
        self.may_resend || !self.queue.is_empty() || !self.walks.is_empty()
    }

    /// Topic, payload and properties of all that is queued.
    pub(super) const fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// The same of all that is under way.
    pub(super) fn inflight_bytes(&self) -> usize {
        self.under_way().map(|kept| kept.bytes()).sum()
    }

    /// All messages that wait or are under way.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Arc<Kept>> {
        self.queue.iter().map(|outbound| &outbound.kept).chain(self.under_way())
    }

    fn under_way(&self) -> impl Iterator<Item = &Arc<Kept>> {
        self.inflight.iter().filter_map(|inflight| match &inflight.exchange {
            Exchange::Published(outbound) => Some(&outbound.kept),
            Exchange::Released => None,
        })
    }

    /// Puts a message that was in the queue before a restart at its end.
    pub(super) fn requeue(&mut self, message: Outbound) {
        self.queue_bytes = self.queue_bytes.saturating_add(message.kept.bytes());
        self.queue.push_back(message);
    }

    /// The number of the next message.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Numbers up to here are not given any more.
    pub(super) fn skip_numbers_to(&mut self, number: u64) {
        self.last_number = self.last_number.max(number);
    }

    /// Where the message with this number is: in the queue, which is in the order of numbers, or under way.
    pub(super) fn mark_mut(&mut self, number: u64) -> Option<&mut Mark> {
        if let Some(at) = self.inflight.iter().position(|inflight| inflight.mark.number == number) {
            return self.inflight.get_mut(at).map(|inflight| &mut inflight.mark);
        }
        let at = self.queue.binary_search_by_key(&number, |outbound| outbound.mark.number).ok()?;
        self.queue.get_mut(at).map(|outbound| &mut outbound.mark)
    }

    /// The message with this number: `Some(None)` where the client has it already.
    pub(super) fn message(&self, number: u64) -> Option<Option<&Outbound>> {
        match self.inflight.iter().find(|inflight| inflight.mark.number == number) {
            Some(Inflight { exchange: Exchange::Published(outbound), .. }) => Some(Some(outbound)),
            Some(_) => Some(None),
            None => {
                let at = self.queue.binary_search_by_key(&number, |outbound| outbound.mark.number).ok()?;
                self.queue.get(at).map(Some)
            }
        }
    }

    /// The packet identifier that a message is to be sent with; `None` while it is taken.
    pub(super) fn packet_id_for(&mut self, mark: Mark) -> Option<PacketId> {
        if mark.is_kept {
            // It may be one of those that were found free.
            self.free_packet_ids = 0;
            return mark.packet_id().filter(|id| self.inflight_at(*id).is_none());
        }
        self.next_packet_id()
    }

    /// Whether the message may be sent as far as the disk and packet identifiers are concerned.
    pub(super) fn may_send(&self, outbound: &Outbound) -> bool {
        let is_free = |id: PacketId| self.inflight_at(id).is_none();
        !outbound.is_held() && (!outbound.mark.is_kept || outbound.mark.packet_id().is_some_and(is_free))
    }

    /// Takes the oldest message of the queue.
    pub(super) fn dequeue(&mut self) -> Option<Outbound> {
        let message = self.queue.there()?.pop_front()?;
        self.queue_bytes = self.queue_bytes.saturating_sub(message.kept.bytes());
        if self.queue.is_empty() {
            // A long outage must not keep its memory.
            self.queue.shrink_to(16);
        }
        Some(message)
    }

    /// A packet identifier that no message under way uses (2.2.1-3).
    pub(super) fn next_packet_id(&mut self) -> Option<PacketId> {
        if self.inflight.len() >= usize::from(u16::MAX) {
            return None;
        }
        loop {
            if self.last_packet_id == u16::MAX {
                // 0 is no identifier.
                self.last_packet_id = 0;
                self.free_packet_ids = self.free_packet_ids.saturating_sub(1);
            }
            if self.free_packet_ids == 0 {
                // Those under way follow one another, so that the next that is taken is seldom looked for.
                let next = self.last_packet_id + 1;
                let ahead = |inflight: &Inflight| inflight.packet_id.get().wrapping_sub(next);
                self.free_packet_ids = self.inflight.iter().map(ahead).min().unwrap_or(u16::MAX);
            }
            self.last_packet_id += 1;
            if self.free_packet_ids > 0 {
                self.free_packet_ids -= 1;
                return PacketId::new(self.last_packet_id);
            }
        }
    }

    /// Where the exchange with this identifier stands.
    pub(super) fn inflight_at(&self, id: PacketId) -> Option<usize> {
        // Identifiers mostly follow one another, so its distance from the first one's is its place.
        let guess = usize::from(id.get().wrapping_sub(self.inflight.front()?.packet_id.get()));
        if self.inflight.get(guess).is_some_and(|inflight| inflight.packet_id == id) {
            return Some(guess);
        }
        self.inflight.iter().position(|inflight| inflight.packet_id == id)
    }

    /// Places taken in the client's window.
    pub(super) fn open(&self) -> usize {
        let takes = |inflight: &&Inflight| inflight.sent || !inflight.is_ready();
        self.inflight.iter().filter(takes).count()
    }

    /// The retained messages of a filter need not be sent any more.
    pub(super) fn forget_walk(&mut self, filter: &TopicFilter) {
        if let Some(walks) = self.walks.there() {
            walks.retain(|walk| walk.filter != *filter);
        }
    }

    /// The connection is gone: everything under way must be sent again on the next one.
    pub(super) fn forget_connection(&mut self, now: Mono) {
        self.conn = None;
        self.offline_since = now;
        self.may_resend = !self.inflight.is_empty();
        self.inflight.there().into_iter().flatten().for_each(|inflight| inflight.sent = false);
        let incoming = self.incoming.there().into_iter().flat_map(HashMap::values_mut);
        incoming.for_each(|incoming| incoming.seen = false);
    }

    fn find_rights(&mut self, rules: &Rules) {
        self.rights = rules.of(self.home.as_deref()).rights(&self.client_id, self.user_name.as_deref());
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Mono> {
        match (self.will_at, self.ends_at) {
            (Some(will), Some(end)) => Some(will.min(end)),
            (will, end) => will.or(end),
        }
    }
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    rules: Rules,
    slots: Vec<Option<Box<Session>>>,
    free: Vec<u32>,
    by_client_id: HashMap<Arc<str>, SessionIdx>,
    by_serial: HashMap<u64, SessionIdx>,
    last_serial: u64,
}

impl Sessions {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            slots: Vec::new(),
            free: Vec::new(),
            by_client_id: HashMap::new(),
            by_serial: HashMap::new(),
            last_serial: 0,
        }
    }

    /// What a client may do, with or without a session.
    pub(super) fn rights(&self, client_id: &str, user_name: Option<&str>, home: Option<&Home>) -> Rights {
        self.rules.of(home).rights(client_id, user_name)
    }

    /// A session's client came in there the last time. True if that is news.
    pub(super) fn set_home(&mut self, idx: SessionIdx, home: Option<Home>) -> bool {
        let Self { rules, slots, .. } = self;
        let slot = usize::try_from(idx.0).ok().and_then(|at| slots.get_mut(at)).and_then(Option::as_mut);
        let Some(session) = slot.filter(|session| session.home.as_deref() != home.as_ref()) else {
            return false;
        };
        session.home = home.map(Box::new);
        session.find_rights(rules);
        true
    }

    /// New rules for all sessions.
    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        for session in self.slots.iter_mut().flatten() {
            session.find_rights(&self.rules);
        }
    }

    /// Whether a session's client may read a topic.
    pub(super) fn may_read(&self, idx: SessionIdx, topic: &str) -> bool {
        self.get(idx).is_some_and(|session| session.rights.may_read(topic))
    }

    /// Whether a session's client may publish to a topic.
    pub(super) fn may_write(&self, idx: SessionIdx, topic: &str) -> bool {
        self.get(idx).is_some_and(|session| session.rights.may_write(topic))
    }

    /// A new session of `client_id`, which has none.
    pub(super) fn create(
        &mut self,
        client_id: Arc<str>,
        user_name: Option<Arc<str>>,
        home: Option<Home>,
    ) -> SessionIdx {
        self.restore(self.last_serial + 1, client_id, user_name, home)
    }

    /// A session that was there before a restart.
    pub(super) fn restore(
        &mut self,
        serial: u64,
        client_id: Arc<str>,
        user_name: Option<Arc<str>>,
        home: Option<Home>,
    ) -> SessionIdx {
        self.last_serial = self.last_serial.max(serial);
        let session = Session {
            serial,
            client_id: Arc::clone(&client_id),
            rights: self.rights(&client_id, user_name.as_deref(), home.as_ref()),
            user_name,
            home: home.map(Box::new),
            conn: None,
            expiry: Some(Duration::ZERO),
            filters: Filters::default(),
            inflight: Rare::default(),
            last_packet_id: 0,
            last_number: 0,
            may_resend: false,
            free_packet_ids: 0,
            sent: 0,
            visit: 0,
            on_disk: false,
            released_at: None,
            queue: Rare::default(),
            queue_bytes: 0,
            walks: Rare::default(),
            incoming: Rare::default(),
            offline_since: Mono::ZERO,
            will: None,
            will_at: None,
            ends_at: None,
            armed: None,
        };
        let session = Some(Box::new(session));
        let at = self.free.pop().unwrap_or_else(|| u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        match usize::try_from(at).ok().and_then(|at| self.slots.get_mut(at)) {
            Some(slot) => *slot = session,
            None => self.slots.push(session),
        }
        self.by_client_id.insert(client_id, SessionIdx(at));
        self.by_serial.insert(serial, SessionIdx(at));
        SessionIdx(at)
    }

    /// Takes a session out.
    pub(super) fn remove(&mut self, idx: SessionIdx) -> Option<Box<Session>> {
        let session = self.slots.get_mut(usize::try_from(idx.0).ok()?)?.take()?;
        self.by_client_id.remove(&session.client_id);
        self.by_serial.remove(&session.serial);
        self.free.push(idx.0);
        Some(session)
    }

    pub(super) fn find(&self, client_id: &str) -> Option<SessionIdx> {
        self.by_client_id.get(client_id).copied()
    }

    pub(super) fn find_serial(&self, serial: u64) -> Option<SessionIdx> {
        self.by_serial.get(&serial).copied()
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Session> {
        self.slots.iter().flatten().map(|session| &**session)
    }

    /// Those from a place on, with their places.
    pub(super) fn from(&self, place: u32) -> impl Iterator<Item = (u32, &Session)> {
        let slots = (0u32..).zip(&self.slots).skip(usize::try_from(place).unwrap_or(usize::MAX));
        slots.filter_map(|(at, slot)| slot.as_deref().map(|session| (at, session)))
    }

    /// What all may do.
    pub(super) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The places of all of them.
    pub(super) fn indexes(&self) -> Vec<SessionIdx> {
        (0u32..).zip(&self.slots).filter(|(_, slot)| slot.is_some()).map(|(at, _)| SessionIdx(at)).collect()
    }

    pub(super) fn get(&self, idx: SessionIdx) -> Option<&Session> {
        self.slots.get(usize::try_from(idx.0).ok()?)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, idx: SessionIdx) -> Option<&mut Session> {
        self.slots.get_mut(usize::try_from(idx.0).ok()?)?.as_deref_mut()
    }

    /// Messages that are queued or under way in all sessions, and the bytes of the queued ones.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let sessions = self.slots.iter().flatten();
        sessions.fold((0, 0), |(messages, bytes), session| {
            let under_way = session.inflight.len().saturating_add(session.queue.len());
            (messages.saturating_add(under_way), bytes.saturating_add(session.queue_bytes))
        })
    }

    /// Those without a connection.
    pub(super) fn offline(&self) -> usize {
        self.slots.iter().flatten().filter(|session| session.conn.is_none()).count()
    }

    /// The one with the most bytes in its queue, if there is any.
    pub(super) fn largest_queue(&self) -> Option<(SessionIdx, usize)> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(at, slot)| Some((SessionIdx(at), slot.as_deref()?.queue_bytes())))
            .filter(|(_, bytes)| *bytes > 0)
            .max_by_key(|(_, bytes)| *bytes)
    }

    /// The one that is offline for longest.
    pub(super) fn oldest_offline(&self) -> Option<SessionIdx> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(at, slot)| slot.as_deref().map(|session| (at, session)))
            .filter(|(_, session)| session.conn.is_none())
            .min_by_key(|(_, session)| (session.offline_since, session.serial))
            .map(|(at, _)| SessionIdx(at))
    }
}
