//! SUBSCRIBE and UNSUBSCRIBE.

use std::num::NonZeroU32;
use std::sync::Arc;

use tracing::info;

use super::access::within_limits;
use super::journal::Waiter;
use super::route::Subscription;
use super::session::{RetainedWalk, SessionIdx};
use super::{Broker, ConnId, Cx, Sink};
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{
    Packet, Properties, PropertiesBuf, Property, PropertyId, ReasonCode, RetainHandling, SubAck, Subscribe,
    SubscribeFilter, UnsubAck, Unsubscribe, Version,
};
use crate::state::Key;

impl Broker {
    /// A client's SUBSCRIBE: one code per filter, in order (3.8.4-6).
    pub(super) fn subscribe_in<S: Sink>(
        &mut self,
        conn: ConnId,
        subscribe: &Subscribe<'_>,
        cx: &mut Cx<'_, S>,
    ) {
        let Some(c) = self.conns.get(conn) else { return };
        let (version, is_bridge, Some(idx)) = (c.version, c.is_bridge, c.session) else { return };
        let qos_max = c.told.qos_max;
        let id = subscribe.properties.number(PropertyId::SubscriptionIdentifier);
        let wrong =
            |filter: &SubscribeFilter<'_>| filter.options.no_local && filter.filter.starts_with("$share/");
        if id == Some(0) || subscribe.filters.iter().any(wrong) {
            // 3.8.2.1.2: identifier 0. 3.8.3-4: No Local on a shared subscription.
            return self.fail(conn, ReasonCode::ProtocolError, cx);
        }
        let id = id.and_then(NonZeroU32::new);
        let is_kept = self.is_kept(idx);
        let mut changed = None;
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        let mut why = None;
        let granted_max = self.config.filters_per_packet_max;
        for (n, filter) in subscribe.filters.iter().enumerate() {
            let mut wanted = *filter;
            // 3.2.2-9: any may be asked for, not any is granted.
            wanted.options.qos = qos_max.map_or(wanted.options.qos, |max| wanted.options.qos.min(max));
            if is_bridge && !filter.filter.starts_with("$share/") {
                wanted.options.no_local = true;
                wanted.options.retain_as_published = true;
            }
            let result = if n < granted_max {
                self.subscribe(idx, &wanted, id)
            } else {
                self.stats.subscriptions_refused += 1;
                Err(ReasonCode::QuotaExceeded)
            };
            codes.push(match result {
                Ok(granted) => {
                    self.tell_subscribed(conn, idx, filter.filter, granted);
                    if is_kept {
                        changed = self.keep_subscription(idx, filter.filter, changed);
                    }
                    granted
                }
                Err(reason) => {
                    why = why.or(Some(reason.words()));
                    if version == Version::V5 { reason.as_u8() } else { 0x80 }
                }
            });
        }
        let packet_id = subscribe.packet_id;
        if let (Some(key), Some(visitor)) = (&changed, self.visitor(idx)) {
            // A subscription that is acknowledged survives a crash.
            return self.journal.when_safe(key, Waiter::SubAck(visitor, packet_id, codes.into(), why));
        }
        let suback = Packet::SubAck(SubAck { packet_id, properties: Properties::EMPTY, codes: &codes });
        self.send_with_words(conn, &suback, why, cx);
        self.pump(idx, cx);
    }

    fn tell_subscribed(&self, conn: ConnId, idx: SessionIdx, filter: &str, qos: u8) {
        let client_id = self.sessions.get(idx).map(|session| &*session.client_id);
        info!(target: "fieldgate::event::subscribe", conn = conn.0, client_id, filter, qos, "client subscribed");
    }

    fn tell_unsubscribed(&self, conn: ConnId, idx: SessionIdx, filters: &[&str]) {
        let client_id = self.sessions.get(idx).map(|session| &*session.client_id);
        for &filter in filters {
            info!(target: "fieldgate::event::unsubscribe", conn = conn.0, client_id, filter, "client unsubscribed");
        }
    }

    /// A subscription of a persistent session was made or changed. Gives a key to wait for, which is in the same batch
    /// as `before`.
    fn keep_subscription(&mut self, idx: SessionIdx, filter: &str, before: Option<Key>) -> Option<Key> {
        let serial = self.sessions.get(idx)?.serial;
        let key = Key::Subscription(serial, filter.into());
        if before.is_none() {
            // The session must not come after its subscriptions.
            self.keep_session(idx);
        }
        let class = self.urgency(idx);
        self.journal.touch(key.clone(), class, None);
        Some(key)
    }

    fn subscribe(
        &mut self,
        idx: SessionIdx,
        wanted: &SubscribeFilter<'_>,
        id: Option<NonZeroU32>,
    ) -> Result<u8, ReasonCode> {
        let config = &self.config;
        let filter = TopicFilter::parse(wanted.filter).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        if !within_limits(wanted.filter, config.topic_bytes_max, config.topic_levels_max) {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        let session = self.sessions.get_mut(idx).ok_or(ReasonCode::UnspecifiedError)?;
        if !session.rights.may_subscribe(filter.as_str()) {
            return Err(ReasonCode::NotAuthorized);
        }
        if session.filters.len() >= config.subscriptions_max && !session.filters.contains(&filter) {
            return Err(ReasonCode::QuotaExceeded);
        }
        if self.routes.len() >= config.subscriptions_total_max && !session.filters.contains(&filter) {
            self.stats.subscriptions_refused += 1;
            return Err(ReasonCode::QuotaExceeded);
        }
        let options = wanted.options;
        let share = filter.share().map(Arc::from);
        let is_shared = share.is_some();
        let subscription = Subscription { session: idx, share, options, id };
        let existed = self.routes.insert(&filter, subscription).ok_or(ReasonCode::QuotaExceeded)?;
        session.filters.insert(filter.clone());
        session.forget_walk(&filter);
        let wants_retained = match options.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => !existed,
            RetainHandling::Never => false,
        };
        // A shared subscription gets no retained messages (4.8.2).
        if wants_retained && !is_shared {
            let mut identifiers = PropertiesBuf::new();
            if let Some(id) = id {
                identifiers.push(Property::Varint(PropertyId::SubscriptionIdentifier, id.get()));
            }
            session.walks.push_back(RetainedWalk { filter, after: None, qos: options.qos, identifiers });
        }
        Ok(options.qos.as_u8())
    }

    /// A client's UNSUBSCRIBE. Messages that are under way or queued stay so (3.10.4-3).
    pub(super) fn unsubscribe_in<S: Sink>(
        &mut self,
        conn: ConnId,
        unsubscribe: &Unsubscribe<'_>,
        cx: &mut Cx<'_, S>,
    ) {
        let Some(c) = self.conns.get(conn) else { return };
        let (version, Some(idx)) = (c.version, c.session) else { return };
        let codes: Vec<u8> =
            unsubscribe.filters.iter().map(|filter| self.unsubscribe(idx, filter).as_u8()).collect();
        self.tell_unsubscribed(conn, idx, &unsubscribe.filters);
        let packet_id = unsubscribe.packet_id;
        if self.is_kept(idx)
            && let (Some(serial), Some(visitor)) =
                (self.sessions.get(idx).map(|s| s.serial), self.visitor(idx))
        {
            let waiter = Waiter::UnsubAck(visitor, packet_id, codes.into());
            let keys = unsubscribe.filters.iter().map(|filter| Key::Subscription(serial, (*filter).into()));
            let mut last = None;
            let class = self.urgency(idx);
            for key in keys {
                self.journal.touch(key.clone(), class, None);
                last = Some(key);
            }
            let last = last.unwrap_or(Key::Session(serial));
            return self.journal.when_safe(&last, waiter);
        }
        let codes: &[u8] = if version == Version::V5 { &codes } else { &[] };
        self.send(conn, &Packet::UnsubAck(UnsubAck { packet_id, properties: Properties::EMPTY, codes }), cx);
    }

    fn unsubscribe(&mut self, idx: SessionIdx, filter: &str) -> ReasonCode {
        let Ok(filter) = TopicFilter::parse(filter) else { return ReasonCode::TopicFilterInvalid };
        if !self.routes.remove(&filter, idx) {
            return ReasonCode::NoSubscriptionExisted;
        }
        if let Some(session) = self.sessions.get_mut(idx) {
            session.filters.remove(&filter);
            session.forget_walk(&filter);
        }
        ReasonCode::Success
    }
}
