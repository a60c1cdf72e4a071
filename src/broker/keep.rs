//! What of the broker's state outlives the process: sessions that outlive their connections with all that is in
//! them, clients' retained messages, and wills. Makes values of state and state of values; when they are written,
//! `journal` decides.
//!
//! What makes QoS 2 exactly once over a crash: a message is sent to a persistent session only when it is on disk, under
//! a packet identifier that follows from its number; PUBREL only when it is on disk that the client has it; PUBREC
//! only when the client's identifier is on disk, together with what became of the message; PUBCOMP only when
//! that identifier is gone from the disk.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::{error, info};

use super::access::may_publish;
use super::flow::Publisher;
use super::journal::{Class, Visitor, Waiter};
use super::message::{Kept, Outgoing};
use super::retained::is_sys;
use super::route::Subscription;
use super::session::{Exchange, Incoming, Inflight, Mark, Outbound, Session, SessionIdx};
use super::will::Will;
use super::{Broker, ConnId, Cx, Event, Sink};
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{Packet, Properties, PropertiesBuf, Property, PropertyId, QoS, SubAck, UnsubAck, Version};
use crate::state::{self, Change, Key, Span, Stored, StoredSession, Value};
use crate::time::{Mono, Now};

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
        // The gateway's own are made anew at each start.
        if message.publisher.is_none() {
            return;
        }
        let key = Key::Retained(Arc::clone(message.topic));
        let waiter = self.promise(message);
        match waiter {
            Some(waiter) if changed => self.journal.touch(key, Class::Urgent, Some(waiter)),
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
        if by.qos == QoS::ExactlyOnce && self.is_kept(by.session) {
            let waiter = self.promise(message);
            self.journal.touch(Key::Incoming(by.serial, by.packet_id), Class::Urgent, waiter);
        }
    }

    /// Gives a message its number in its session, and has it kept. Whoever published it waits until it is, or until
    /// the client has acknowledged it.
    pub(super) fn keep_outbound(
        &mut self,
        idx: SessionIdx,
        outbound: &mut Outbound,
        message: Option<&mut Outgoing<'_>>,
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
        let waiter = message.and_then(|message| self.promise(message));
        let only_disk_helps = outbound.qos == QoS::ExactlyOnce || (is_away && waiter.is_some());
        self.journal.touch(key, if only_disk_helps { Class::Urgent } else { Class::Soon }, waiter);
    }

    /// A message has left its session.
    pub(super) fn forget_outbound(&mut self, idx: SessionIdx, mark: Mark) {
        if let Some(session) = self.sessions.get(idx).filter(|_| mark.is_kept) {
            let key = Key::Outbound(session.serial, mark.number);
            self.journal.forget(key, mark.on_disk, Class::Outdated, None);
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
        }
        for (packet_id, incoming) in &session.incoming {
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
        let config = &self.config;
        let is_clients = |topic: &Arc<str>| {
            let access = may_publish(topic, &config.base, config.topic_bytes_max, config.topic_levels_max);
            access.refusal().is_none() && !is_sys(topic)
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
                            let properties = Properties::EMPTY;
                            let suback = Packet::SubAck(SubAck { packet_id, properties, codes: &codes });
                            self.send_with_words(conn, &suback, why, cx);
                            self.pump(visitor.session, cx);
                        }
                    }
                    Waiter::UnsubAck(visitor, packet_id, codes) => {
                        if let Some((conn, version)) = self.still_there(visitor) {
                            let codes: &[u8] = if version == Version::V5 { &codes } else { &[] };
                            let properties = Properties::EMPTY;
                            self.send(conn, &Packet::UnsubAck(UnsubAck { packet_id, properties, codes }), cx);
                        }
                    }
                    Waiter::PubComp(visitor, packet_id, reason) => {
                        if let Some((conn, _)) = self.still_there(visitor) {
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
                    Some(outbound) => self.outbound_value(outbound),
                    None => state::Outbound::Released,
                };
                Some(Value::Outbound { serial: *serial, number: *number, outbound })
            }
            Key::Incoming(serial, packet_id) => {
                session_of(serial)?.1.incoming.get(packet_id)?;
                Some(Value::Incoming { serial: *serial, packet_id: *packet_id })
            }
        }
    }

    fn stored(&self, kept: &Kept) -> Stored {
        let now = self.journal.now;
        let expires = kept.expires.map(|at| Span::new(at.since(now.mono), now));
        Stored { message: kept.message.clone(), expires }
    }

    fn outbound_value(&self, outbound: &Outbound) -> state::Outbound {
        let identifiers = outbound.identifiers.as_properties().iter().filter_map(|property| match property {
            Property::Varint(PropertyId::SubscriptionIdentifier, id) => Some(id),
            _ => None,
        });
        state::Outbound::Message {
            stored: self.stored(&outbound.kept),
            qos: outbound.qos,
            retain: outbound.retain,
            identifiers: identifiers.collect(),
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
            expiry: session.expiry,
            connected: connection.is_some(),
            ends: if connection.is_some() { None } else { left(session.ends_at) },
            sent: session.sent,
            will,
        })
    }

    /// Takes up what was kept when the process before this one ended, however it did. To be called once, before
    /// anything else. Clients that were connected count as cut off now: their wills are due.
    pub fn restore(&mut self, entries: Vec<(Vec<u8>, Bytes)>, now: Now) {
        self.journal.now = now;
        let mut sessions = HashMap::new();
        let mut values = Vec::new();
        let mut damaged = 0_u64;
        for (_, bytes) in entries {
            match Value::decode(&bytes) {
                Ok(Value::Session(session)) => {
                    let serial = session.serial;
                    let idx = self.restore_session(&session, now);
                    sessions.insert(serial, (idx, *session));
                }
                Ok(value) => values.push(value),
                Err(error) => {
                    error!(%error, "something of a session or a retained message can't be read");
                    damaged = damaged.saturating_add(1);
                }
            }
        }
        for value in values {
            match value {
                Value::Retained(stored) => self.restore_retained(stored, now),
                Value::Subscription { serial, filter, options, id } => {
                    let key = Key::Subscription(serial, filter.to_string().into());
                    let found = sessions.get(&serial).map(|(idx, _)| *idx);
                    let share = filter.share().map(Arc::from);
                    let taken = found.and_then(|session| {
                        self.routes.insert(&filter, Subscription { session, share, options, id })?;
                        self.sessions.get_mut(session)?.filters.insert(filter);
                        Some(())
                    });
                    self.drop_unless(taken.is_some(), key);
                }
                Value::Outbound { serial, number, outbound } => {
                    let taken = sessions
                        .get(&serial)
                        .is_some_and(|(idx, was)| self.restore_outbound(*idx, was, number, outbound, now));
                    self.drop_unless(taken, Key::Outbound(serial, number));
                }
                Value::Incoming { serial, packet_id } => {
                    let found = sessions.get(&serial).and_then(|(idx, _)| self.sessions.get_mut(*idx));
                    let incoming = Incoming { on_disk: true, ..Incoming::default() };
                    let taken = found.map(|session| session.incoming.insert(packet_id, incoming));
                    self.drop_unless(taken.is_some(), Key::Incoming(serial, packet_id));
                }
                Value::Session(_) => {}
            }
        }
        let retained = self.retained.len();
        info!(sessions = sessions.len(), retained, damaged, "sessions and retained messages taken up");
    }

    /// What belongs to nothing any more goes from the disk.
    fn drop_unless(&mut self, is_taken: bool, key: Key) {
        if !is_taken {
            self.journal.forget(key, true, Class::Whenever, None);
        }
    }

    fn restore_session(&mut self, was: &StoredSession, now: Now) -> SessionIdx {
        let idx = self.sessions.restore(was.serial, Arc::clone(&was.client_id), was.user_name.clone());
        let Some(session) = self.sessions.get_mut(idx) else { return idx };
        session.expiry = was.expiry;
        session.sent = was.sent;
        session.skip_numbers_to(was.sent);
        session.on_disk = true;
        session.offline_since = now.mono;
        // What was connected is cut off now; for the others, time went on.
        let left = |span: &Span| if was.connected { span.left } else { span.left_at(now) };
        let ends = was.ends.as_ref().map(left).or(was.expiry);
        session.ends_at = ends.map(|ends| now.mono + ends);
        if let Some((message, delay)) = &was.will {
            session.will = Some(Box::new(Will { message: message.clone(), delay: delay.left }));
            session.will_at = Some(now.mono + left(delay));
        }
        self.journal.touch(Key::Session(was.serial), Class::Soon, None);
        self.arm_session(idx);
        idx
    }

    fn restore_retained(&mut self, stored: Stored, now: Now) {
        let topic = Arc::clone(&stored.message.topic);
        let kept = restored(stored, now);
        let taken = !kept.is_expired(now.mono) && self.retained.set(Arc::new(kept), now.mono);
        self.drop_unless(taken, Key::Retained(topic));
    }

    fn restore_outbound(
        &mut self,
        idx: SessionIdx,
        was: &StoredSession,
        number: u64,
        outbound: state::Outbound,
        now: Now,
    ) -> bool {
        let window = usize::from(self.config.inflight_max);
        let Some(session) = self.sessions.get_mut(idx).filter(|session| session.is_persistent()) else {
            return false;
        };
        session.skip_numbers_to(number);
        let mark = Mark { number, is_kept: true, on_disk: true, is_current: true };
        let Some(packet_id) = mark.packet_id() else { return false };
        let (exchange, may_be_known) = match outbound {
            state::Outbound::Released => (Exchange::Released, true),
            state::Outbound::Message { stored, qos, retain, identifiers } => {
                let mut properties = PropertiesBuf::new();
                for id in identifiers {
                    properties.push(Property::Varint(PropertyId::SubscriptionIdentifier, id));
                }
                let kept = Arc::new(restored(stored, now));
                let outbound = Outbound { mark, ..Outbound::new(kept, qos, retain, properties) };
                // They are sent in the order of numbers, no more than the window at a time.
                let was_sent = number <= was.sent || was.connected && session.inflight.len() < window;
                (Exchange::Published(outbound), was_sent)
            }
        };
        match exchange {
            Exchange::Published(outbound) if !may_be_known || session.inflight_at(packet_id).is_some() => {
                self.requeue(idx, outbound);
            }
            exchange => session.inflight.push_back(Inflight { packet_id, exchange, sent: false, mark }),
        }
        true
    }

    /// Whether all that must outlive the process is on disk.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.journal.is_clean()
    }
}

fn restored(stored: Stored, now: Now) -> Kept {
    let expires = stored.expires.map(|span| now.mono + span.left_at(now));
    Kept { message: stored.message, expires }
}
