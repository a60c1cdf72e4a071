//! Makes the broker's state of what an earlier process has kept: the way back of `keep`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tracing::{error, info};

use super::Broker;
use super::journal::Class;
use super::message::Kept;
use super::route::Subscription;
use super::session::{Exchange, Incoming, Inflight, Mark, Outbound, SessionIdx};
use super::will::Will;
use crate::mqtt::{PropertiesBuf, Property, PropertyId};
use crate::state::{self, Key, Span, Stored, StoredSession, Value};
use crate::time::Now;

impl Broker {
    /// Takes up what was kept when the process before this one ended, however it did. To be called once, before
    /// anything else. Clients that were connected count as cut off now: their wills are due.
    pub fn restore(&mut self, entries: Vec<(Vec<u8>, Bytes)>, now: Now) {
        self.journal.now = now;
        let mut sessions = HashMap::new();
        let mut values = Vec::new();
        let mut bodies = HashMap::new();
        let mut damaged = 0_u64;
        for (_, bytes) in entries {
            match Value::decode(&bytes) {
                Ok(Value::Session(session)) => {
                    let serial = session.serial;
                    let idx = self.restore_session(&session, now);
                    sessions.insert(serial, (idx, *session));
                }
                Ok(Value::Body { number, stored }) => {
                    bodies.insert(number, Arc::new(restored(stored, now)));
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
                    let taken = sessions.get(&serial).is_some_and(|(idx, was)| {
                        self.restore_outbound(*idx, was, number, outbound, &bodies, now)
                    });
                    self.drop_unless(taken, Key::Outbound(serial, number));
                }
                Value::Incoming { serial, packet_id, fingerprint } => {
                    let found = sessions.get(&serial).and_then(|(idx, _)| self.sessions.get_mut(*idx));
                    let known = Incoming { fingerprint, ..Incoming::default() };
                    let incoming = Incoming { on_disk: true, unforwarded: true, ..known };
                    let taken = found.map(|session| session.incoming.insert(packet_id, incoming));
                    self.drop_unless(taken.is_some(), Key::Incoming(serial, packet_id));
                }
                Value::Session(_) | Value::Body { .. } => {}
            }
        }
        for number in bodies.into_keys() {
            self.bodies.skip_to(number);
            self.drop_unless(self.bodies.get(number).is_some(), Key::Body(number));
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
        let idx = self.sessions.restore(
            was.serial,
            Arc::clone(&was.client_id),
            was.user_name.clone(),
            was.home.clone(),
        );
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
        bodies: &HashMap<u64, Arc<Kept>>,
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
            message => {
                let (kept, qos, retain, identifiers) = match message {
                    state::Outbound::Message { stored, qos, retain, identifiers } => {
                        (Arc::new(restored(stored, now)), qos, retain, identifiers)
                    }
                    state::Outbound::Shared { body, qos, retain, identifiers } => {
                        let Some(kept) = bodies.get(&body) else { return false };
                        self.bodies.restore(body, kept, (was.serial, number));
                        (Arc::clone(kept), qos, retain, identifiers)
                    }
                    state::Outbound::Released => return false,
                };
                let mut properties = PropertiesBuf::new();
                for id in identifiers {
                    properties.push(Property::Varint(PropertyId::SubscriptionIdentifier, id));
                }
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
            exchange => {
                session.may_resend = true;
                session.inflight.push_back(Inflight { packet_id, exchange, sent: false, mark });
            }
        }
        true
    }
}

fn restored(stored: Stored, now: Now) -> Kept {
    let expires = stored.expires.map(|span| now.mono + span.left_at(now));
    Kept { message: stored.message, expires }
}
