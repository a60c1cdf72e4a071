//! What of the broker's state outlives the process: sessions that outlive their connections with all that is in
//! them, clients' retained messages, and wills. Makes values of state; when they are written, `journal` decides, and
//! `restore` makes state of them again.
//!
//! What makes QoS 2 exactly once over a crash: a message is sent to a persistent session only when it is on disk, under
//! a packet identifier that follows from its number; PUBREL only when it is on disk that the client has it; PUBREC
//! only when the client's identifier is on disk, together with what became of the message; PUBCOMP only when
//! that identifier is gone from the disk.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::access::may_publish;
use super::flow::Publisher;
use super::journal::{Class, Visitor, Waiter};
use super::message::{Kept, Outgoing};
use super::session::{Mark, Outbound, Session, SessionIdx};
use super::{Broker, ConnId, Cx, Event, Sink};
use crate::message::own_level;
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{Packet, Properties, Property, PropertyId, QoS, SubAck, UnsubAck, Version};
use crate::state::{self, Change, Key, Span, Stored, StoredSession, Value};
use crate::time::Mono;

/// Whoever goes on within this time after it had to wait for the disk would have gone on at once.
const PRESSES_WITHIN: Duration = Duration::from_millis(25);

impl Broker {
    /// Whether what happens to a session must be on disk.
    pub(super) fn is_kept(&self, idx: SessionIdx) -> bool {
        self.journal.is_enabled() && self.sessions.get(idx).is_some_and(Session::is_persistent)
    }

    /// One more thing that must be safe before a message is acknowledged; `None` if nobody waits for that.
    pub(super) fn promise(&mut self, message: &mut Outgoing<'_>) -> Option<Waiter> {
        let by = message.by?;
        let token = *message.token.get_or_insert_with(|| self.tokens.make(by));
        self.tokens.expect_more(token, 1);
        Some(Waiter::Token(token))
    }

    /// How urgent it is that something is on disk that a session's client waits for. One that goes on as soon as it is
    /// let is held up by the disk.
    pub(super) fn urgency(&self, idx: SessionIdx) -> Class {
        let released_at = self.sessions.get(idx).and_then(|session| session.released_at);
        let now = self.journal.now.mono;
        if released_at.is_some_and(|at| now <= at + PRESSES_WITHIN) { Class::Pressed } else { Class::Urgent }
    }

    /// An upstream does other things while it waits.
    fn urgency_of(&self, by: Publisher) -> Class {
        match by {
            Publisher::Client(by) => self.urgency(by.session),
            Publisher::Upstream(..) => Class::Urgent,
        }
    }

    /// A session's client goes on now that something is on disk.
    pub(super) fn note_released(&mut self, idx: SessionIdx) {
        let now = self.journal.now.mono;
        if let Some(session) = self.sessions.get_mut(idx) {
            session.released_at = Some(now);
        }
    }

    /// The present connection of a session, as a waiter's packet needs it.
    pub(super) fn visitor(&self, idx: SessionIdx) -> Option<Visitor> {
        let session = self.sessions.get(idx)?;
        Some(Visitor { session: idx, serial: session.serial, visit: session.visit })
    }

    /// Something about a session has changed: it came, went, or has another will.
    pub(super) fn keep_session(&mut self, idx: SessionIdx) {
        let Some(session) = self.sessions.get(idx) else { return };
        let has_will = session.will.is_some()
            || session.conn.and_then(|conn| self.conns.get(conn)).is_some_and(|c| c.will.is_some());
        if session.is_persistent() || has_will || session.on_disk {
            self.journal.touch(Key::Session(session.serial), Class::Soon, None);
        }
    }

    /// A client's retained message has changed.
    pub(super) fn keep_retained(&mut self, message: &mut Outgoing<'_>, changed: bool) {
        if !self.journal.is_enabled() {
            return;
        }
        for topic in std::mem::take(&mut self.retained.dropped) {
            self.journal.forget(Key::Retained(topic), true, Class::Whenever, None);
        }
        // The gateway's own are made anew at each start. What it said of its devices it must find again, to take back what
        // is true no more.
        let own = message.publisher.is_none()
            && message.origin.is_none()
            && own_level(message.topic, &self.config.base) != Some("info");
        // Nor is what a bridge says of itself true after a start.
        if own || message.topic.starts_with("$SYS/") {
            return;
        }
        let key = Key::Retained(Arc::clone(message.topic));
        let waiter = self.promise(message);
        match waiter {
            Some(waiter) if changed => {
                let class = message.by.map_or(Class::Urgent, |by| self.urgency_of(by));
                self.journal.touch(key, class, Some(waiter));
            }
            Some(waiter) => self.journal.when_safe(&key, waiter),
            None if changed => {
                let class = if message.qos == QoS::AtMostOnce { Class::Whenever } else { Class::Soon };
                self.journal.touch(key, class, None);
            }
            None => {}
        }
    }

    /// A client's QoS 2 identifier is in use.
    pub(super) fn keep_incoming(&mut self, message: &mut Outgoing<'_>, by: Publisher) {
        // An upstream's identifiers are the bridge's.
        let Publisher::Client(by) = by else { return };
        if by.qos == QoS::ExactlyOnce && self.is_kept(by.session) {
            let waiter = self.promise(message);
            let class = self.urgency(by.session);
            self.journal.touch(Key::Incoming(by.serial, by.packet_id), class, waiter);
        }
    }

    /// Gives a message its number in its session, and has it kept. Whoever published it waits until it is, or until
    /// the client has acknowledged it.
    pub(super) fn keep_outbound(
        &mut self,
        idx: SessionIdx,
        outbound: &mut Outbound,
        mut message: Option<&mut Outgoing<'_>>,
    ) {
        let is_kept = self.is_kept(idx);
        let Some(session) = self.sessions.get_mut(idx) else { return };
        outbound.mark.number = session.next_number();
        if !is_kept {
            return;
        }
        outbound.mark.is_kept = true;
        let key = Key::Outbound(session.serial, outbound.mark.number);
        let is_away = session.conn.is_none();
        let place = (session.serial, outbound.mark.number);
        if let Some(message) = message.as_deref_mut() {
            self.share(message, &outbound.kept, place);
        }
        let by = message.as_ref().and_then(|message| message.by);
        let waiter = message.and_then(|message| self.promise(message));
        let only_disk_helps = outbound.qos == QoS::ExactlyOnce || (is_away && waiter.is_some());
        let class = match by {
            Some(by) if only_disk_helps => self.urgency_of(by),
            None if only_disk_helps => Class::Urgent,
            // Neither a will nor a QoS 2 identifier goes with it.
            Some(Publisher::Client(by)) if by.qos == QoS::AtLeastOnce => Class::Lazy,
            _ => Class::Soon,
        };
        self.journal.touch(key, class, waiter);
    }

    /// A message has left its session.
    pub(super) fn forget_outbound(&mut self, idx: SessionIdx, mark: Mark) {
        if let Some(session) = self.sessions.get(idx).filter(|_| mark.is_kept) {
            let place = (session.serial, mark.number);
            self.journal.forget(Key::Outbound(place.0, place.1), mark.on_disk, Class::Outdated, None);
            self.unshare(place);
        }
    }

    /// A session has ended, with these subscriptions.
    pub(super) fn forget_session(&mut self, session: &Session, filters: impl Iterator<Item = TopicFilter>) {
        if !self.journal.is_enabled() {
            return;
        }
        let serial = session.serial;
        let marks = session.inflight.iter().map(|inflight| inflight.mark);
        for mark in
            marks.chain(session.queue.iter().map(|outbound| outbound.mark)).filter(|mark| mark.is_kept)
        {
            self.journal.forget(Key::Outbound(serial, mark.number), mark.on_disk, Class::Soon, None);
            self.unshare((serial, mark.number));
        }
        for (packet_id, incoming) in session.incoming.iter() {
            self.journal.forget(Key::Incoming(serial, *packet_id), incoming.on_disk, Class::Soon, None);
        }
        if session.on_disk || session.is_persistent() {
            for filter in filters {
                let key = Key::Subscription(serial, filter.to_string().into());
                self.journal.forget(key, true, Class::Soon, None);
            }
        }
        self.journal.forget(Key::Session(serial), session.on_disk, Class::Soon, None);
    }

    /// Hands what has changed to the store, if it is due.
    pub(super) fn commit(&mut self) {
        let Some((number, keys)) = self.journal.start() else { return };
        let mut changes = Vec::with_capacity(keys.len());
        for key in keys {
            let value = self.value_of(&key);
            if value.is_some() {
                self.note_on_disk(&key);
            }
            changes.push(Change { key: key.encode(), value: value.map(|value| value.encode()) });
        }
        self.events.push_back(Event::Persist { number, changes });
    }

    fn note_on_disk(&mut self, key: &Key) {
        if let Key::Body(number) = key {
            self.bodies.note_on_disk(*number);
        }
        let (Key::Session(serial) | Key::Outbound(serial, _) | Key::Incoming(serial, _)) = key else {
            return;
        };
        let Some(session) = self.sessions.find_serial(*serial).and_then(|idx| self.sessions.get_mut(idx))
        else {
            return;
        };
        match key {
            Key::Outbound(_, number) => {
                if let Some(mark) = session.mark_mut(*number) {
                    mark.on_disk = true;
                }
            }
            Key::Incoming(_, packet_id) => {
                if let Some(incoming) = session.incoming.get_mut(packet_id) {
                    incoming.on_disk = true;
                }
            }
            _ => session.on_disk = true,
        }
    }

    /// A batch is on disk: what waited for that goes on.
    pub(super) fn persisted<S: Sink>(&mut self, number: u64, cx: &mut Cx<'_, S>) {
        let mut sessions = BTreeSet::new();
        for key in self.journal.finish(number) {
            if let Key::Outbound(serial, number) = key
                && !self.journal.is_dirty(&key)
                && let Some(idx) = self.sessions.find_serial(serial)
                && let Some(mark) = self.sessions.get_mut(idx).and_then(|session| session.mark_mut(number))
            {
                mark.is_current = true;
                sessions.insert(idx);
            }
        }
        for idx in sessions {
            self.note_released(idx);
            self.pump(idx, cx);
        }
    }

    /// A batch is not on disk. If nothing is any more, all of it is written again.
    pub(super) fn persist_failed(&mut self, number: u64, lost: bool) {
        self.journal.fail(number);
        if lost {
            for key in self.all_keys() {
                self.journal.touch(key, Class::Soon, None);
            }
        }
    }

    /// The keys of all that is kept.
    pub(super) fn all_keys(&self) -> Vec<Key> {
        let mut keys = Vec::new();
        for session in self.sessions.all() {
            let serial = session.serial;
            keys.push(Key::Session(serial));
            let filters = session.filters.iter();
            keys.extend(filters.map(|filter| Key::Subscription(serial, filter.to_string().into())));
            let marks = session.inflight.iter().map(|inflight| inflight.mark);
            let marks = marks.chain(session.queue.iter().map(|outbound| outbound.mark));
            keys.extend(marks.filter(|mark| mark.is_kept).map(|mark| Key::Outbound(serial, mark.number)));
            // The identifier of a message that was refused is open, but need not be kept.
            let incoming = session.incoming.iter().filter(|(_, incoming)| incoming.on_disk);
            keys.extend(incoming.map(|(packet_id, _)| Key::Incoming(serial, *packet_id)));
        }
        keys.extend(self.bodies.numbers().map(Key::Body));
        let config = &self.config;
        let is_clients = |topic: &Arc<str>| {
            let access = may_publish(topic, &config.base, config.topic_bytes_max, config.topic_levels_max);
            access.refusal().is_none() && !topic.starts_with("$SYS/")
        };
        keys.extend(self.retained.topics().filter(is_clients).map(Key::Retained));
        keys
    }

    /// Answers those whose waiting is over.
    pub(super) fn answer_released<S: Sink>(&mut self, cx: &mut Cx<'_, S>) {
        while !self.journal.released.is_empty() {
            for waiter in std::mem::take(&mut self.journal.released) {
                match waiter {
                    Waiter::Token(token) => self.settle(token, true, cx),
                    Waiter::SubAck(visitor, packet_id, codes, why) => {
                        if let Some((conn, _)) = self.still_there(visitor) {
                            self.note_released(visitor.session);
                            let properties = Properties::EMPTY;
                            let suback = Packet::SubAck(SubAck { packet_id, properties, codes: &codes });
                            self.send_with_words(conn, &suback, why, cx);
                            self.pump(visitor.session, cx);
                        }
                    }
                    Waiter::UnsubAck(visitor, packet_id, codes) => {
                        if let Some((conn, version)) = self.still_there(visitor) {
                            self.note_released(visitor.session);
                            let codes: &[u8] = if version == Version::V5 { &codes } else { &[] };
                            let properties = Properties::EMPTY;
                            self.send(conn, &Packet::UnsubAck(UnsubAck { packet_id, properties, codes }), cx);
                        }
                    }
                    Waiter::ConnAck(visitor) => {
                        if let Some((conn, _)) = self.still_there(visitor) {
                            self.note_released(visitor.session);
                            self.welcome(conn, cx);
                        }
                    }
                    Waiter::PubComp(visitor, packet_id, reason) => {
                        if let Some((conn, _)) = self.still_there(visitor) {
                            self.note_released(visitor.session);
                            self.complete(conn, packet_id, reason, cx);
                        }
                    }
                }
            }
        }
    }

    fn still_there(&self, visitor: Visitor) -> Option<(ConnId, Version)> {
        let session = self.sessions.get(visitor.session)?;
        let conn =
            session.conn.filter(|_| session.serial == visitor.serial && session.visit == visitor.visit)?;
        self.conns.get(conn).map(|c| (conn, c.version))
    }

    /// What is to be on disk under a key; `None`: nothing.
    pub(super) fn value_of(&self, key: &Key) -> Option<Value> {
        let session_of = |serial: &u64| {
            let idx = self.sessions.find_serial(*serial)?;
            Some((idx, self.sessions.get(idx)?))
        };
        match key {
            Key::Retained(topic) => Some(Value::Retained(self.stored(self.retained.get(topic)?))),
            Key::Session(serial) => {
                self.session_value(session_of(serial)?.1).map(|session| Value::Session(Box::new(session)))
            }
            Key::Subscription(serial, filter) => {
                let (idx, session) = session_of(serial)?;
                let filter = TopicFilter::parse(filter).ok().filter(|_| session.is_persistent())?;
                let subscription = self.routes.get(&filter, idx)?;
                let (options, id) = (subscription.options, subscription.id);
                Some(Value::Subscription { serial: *serial, filter, options, id })
            }
            Key::Outbound(serial, number) => {
                let outbound = match session_of(serial)?.1.message(*number)? {
                    Some(outbound) => self.outbound_value(outbound, self.bodies.of((*serial, *number))),
                    None => state::Outbound::Released,
                };
                Some(Value::Outbound { serial: *serial, number: *number, outbound })
            }
            Key::Incoming(serial, packet_id) => {
                let fingerprint = session_of(serial)?.1.incoming.get(packet_id)?.fingerprint;
                Some(Value::Incoming { serial: *serial, packet_id: *packet_id, fingerprint })
            }
            Key::Body(number) => {
                Some(Value::Body { number: *number, stored: self.stored(self.bodies.get(*number)?) })
            }
        }
    }

    fn stored(&self, kept: &Kept) -> Stored {
        let now = self.journal.now;
        let expires = kept.expires.map(|at| Span::new(at.since(now.mono), now));
        Stored { message: kept.message.clone(), expires }
    }

    fn outbound_value(&self, outbound: &Outbound, body: Option<u64>) -> state::Outbound {
        let identifiers = outbound.identifiers.as_properties().iter().filter_map(|property| match property {
            Property::Varint(PropertyId::SubscriptionIdentifier, id) => Some(id),
            _ => None,
        });
        let identifiers = identifiers.collect();
        let (qos, retain) = (outbound.qos, outbound.retain);
        match body {
            Some(body) => state::Outbound::Shared { body, qos, retain, identifiers },
            None => {
                let stored = self.stored(&outbound.kept);
                state::Outbound::Message { stored, qos, retain, identifiers }
            }
        }
    }

    fn session_value(&self, session: &Session) -> Option<StoredSession> {
        let now = self.journal.now;
        let left = |at: Option<Mono>| at.map(|at| Span::new(at.since(now.mono), now));
        let connection = session.conn.and_then(|conn| self.conns.get(conn));
        let will = match connection {
            Some(c) => c.will.as_ref().map(|will| (will.message.clone(), Span::new(will.delay, now))),
            None => {
                let delay = left(session.will_at).unwrap_or(Span::new(Duration::ZERO, now));
                session.will.as_ref().map(|will| (will.message.clone(), delay))
            }
        };
        (session.is_persistent() || will.is_some()).then(|| StoredSession {
            serial: session.serial,
            client_id: Arc::clone(&session.client_id),
            user_name: session.user_name.clone(),
            home: session.home.as_deref().cloned(),
            expiry: session.expiry,
            connected: connection.is_some(),
            ends: if connection.is_some() { None } else { left(session.ends_at) },
            sent: session.sent,
            will,
        })
    }

    /// Whether all that must outlive the process is on disk.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.journal.is_clean()
    }
}
