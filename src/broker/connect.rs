//! How connections begin: CONNECT with all its refusals, authentication and takeover. How they end, `leave` knows.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::access::may_publish;
use super::alias::OutAliases;
use super::connection::{Phase, Told};
use super::home::Standing;
use super::memory::Shedding;
use super::session::SessionIdx;
use super::timer::Owner;
use super::will::Will;
use super::{Broker, ConnId, Cx, Event, ListenerId, Sink, count};
use crate::mqtt::{
    ConnAck, Connect, Packet, Properties, PropertiesBuf, Property, PropertyId, QoS, ReasonCode, Version,
};
use crate::secret::Secret;

/// The largest Maximum Packet Size that is told: what a remaining length can say (2.1.4).
const PACKET_SIZE_TOLD_MAX: u32 = 268_435_455;

/// What a CONNECT asks for, kept while name and password are checked.
#[derive(Debug)]
pub(super) struct Request {
    clean_start: bool,
    keep_alive: u16,
    client_id: String,
    assigned: bool,
    user_name: Option<Arc<str>>,
    will: Option<Box<Will>>,
    /// `None`: for ever.
    expiry: Option<Duration>,
    /// Less than the client asked for.
    expiry_capped: bool,
    receive_max: Option<u32>,
    packet_bytes_max: Option<u32>,
    topic_alias_max: u16,
    wants_response_information: bool,
}

impl Request {
    pub(super) fn client_id(&self) -> &str {
        &self.client_id
    }
}

impl Broker {
    /// The first packet of a connection.
    pub(super) fn connect_in<S: Sink>(&mut self, conn: ConnId, connect: &Connect<'_>, cx: &mut Cx<'_, S>) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        self.stats.connects_received += 1;
        c.version = connect.version;
        c.is_bridge = connect.bridge;
        // What a CONNACK may say depends on them.
        c.problem_information = connect.properties.number(PropertyId::RequestProblemInformation) != Some(0);
        c.last_seen = cx.now;
        let certified = c.certified.clone();
        let config = Arc::clone(&self.config);
        let policy = config.listeners.get(usize::from(c.listener.0));
        if policy.is_some_and(|policy| !policy.versions.contains(&connect.version)) {
            return self.refuse(conn, ReasonCode::UnsupportedProtocolVersion, cx);
        }
        if self.stats.shedding >= Shedding::Newcomers {
            self.stats.refused_for_memory += 1;
            return self.refuse(conn, ReasonCode::QuotaExceeded, cx);
        }
        let allow_anonymous = policy.is_some_and(|policy| policy.allow_anonymous);
        // Whoever has proved a name by certificate can't call itself anything else.
        let named = certified.as_deref().or(connect.user_name);
        let is_checked = policy.is_none_or(|policy| policy.check_users);
        let named_by_user = policy.is_some_and(|policy| policy.client_id_from_user);
        if named_by_user && named.is_none() {
            return self.refuse(conn, ReasonCode::NotAuthorized, cx);
        }
        if let (Some(will), Some(policy)) = (&connect.will, policy) {
            // 3.2.2-12, 3.2.2-13
            if will.qos > policy.qos_max {
                return self.refuse(conn, ReasonCode::QoSNotSupported, cx);
            }
            if will.retain && !policy.retain_available {
                return self.refuse(conn, ReasonCode::RetainNotSupported, cx);
            }
        }
        let client_id = named.filter(|_| named_by_user).unwrap_or(connect.client_id);
        let request = match self.check(connect, client_id, named) {
            Ok(request) => request,
            Err(reason) => return self.refuse(conn, reason, cx),
        };
        match connect.user_name {
            _ if certified.is_some() => self.establish(conn, request, cx),
            None if allow_anonymous => self.establish(conn, request, cx),
            None => {
                self.login_failed(conn, None, cx.now);
                self.refuse(conn, ReasonCode::NotAuthorized, cx);
            }
            Some(_) if !is_checked && allow_anonymous => {
                if let Some(c) = self.conns.get_mut(conn) {
                    c.unchecked = true;
                }
                self.establish(conn, request, cx);
            }
            Some(user_name) => {
                let Some(c) = self.conns.get_mut(conn) else { return };
                c.phase = Phase::Authenticating(Box::new(request));
                c.pause.authenticating = true;
                let peer = c.peer.clone();
                self.arm_conn(conn);
                let users = policy.filter(|policy| policy.own_users).map(|policy| Arc::clone(&policy.name));
                self.events.push_back(Event::Authenticate {
                    conn,
                    users,
                    peer,
                    user_name: user_name.to_owned(),
                    password: Secret::new(connect.password.unwrap_or_default().to_vec()),
                });
                self.tell_pause(conn);
            }
        }
    }

    /// What can be judged without knowing who it is. Nothing is changed yet.
    fn check(
        &mut self,
        connect: &Connect<'_>,
        client_id: &str,
        user_name: Option<&str>,
    ) -> Result<Request, ReasonCode> {
        let config = Arc::clone(&self.config);
        let properties = connect.properties;
        if properties.string(PropertyId::AuthenticationMethod).is_some() {
            return Err(ReasonCode::BadAuthenticationMethod);
        }
        let receive_max = properties.number(PropertyId::ReceiveMaximum);
        let packet_bytes_max = properties.number(PropertyId::MaximumPacketSize);
        if receive_max == Some(0) || packet_bytes_max == Some(0) {
            return Err(ReasonCode::ProtocolError);
        }
        if client_id.len() > config.client_id_bytes_max {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if user_name.is_some_and(|name| name.len() > config.client_id_bytes_max) {
            return Err(ReasonCode::BadUserNameOrPassword);
        }
        if connect.version != Version::V5 && keep_alive(connect.keep_alive, config.keep_alive_max).1 {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        let assigned = client_id.is_empty();
        let may_assign = match connect.version {
            Version::V31 => false,
            // 3.1.3-8: without an identifier there is nothing to find a session by.
            Version::V311 => connect.clean_start,
            Version::V5 => true,
        };
        if assigned && !may_assign {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if let Some(will) = &connect.will {
            let access =
                may_publish(will.topic, &config.base, config.topic_bytes_max, config.topic_levels_max);
            if let Some(reason) = access.refusal() {
                return Err(reason);
            }
        }
        let will = connect.will.as_ref().map(Will::from_connect);
        if will.as_ref().is_some_and(|will| will.bytes() > config.will_bytes_max) {
            return Err(ReasonCode::PacketTooLarge);
        }
        let wanted = wanted_expiry(connect);
        let mut expiry = cap_expiry(wanted, config.session_expiry_max);
        if assigned || user_name.is_none() {
            expiry = cap_expiry(expiry, config.anonymous_session_expiry_max);
        }
        let client_id = if assigned { self.assign_client_id() } else { client_id.to_owned() };
        let prefixes = &config.client_id_prefixes;
        if !prefixes.is_empty() && !prefixes.iter().any(|prefix| client_id.starts_with(prefix.as_str())) {
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        Ok(Request {
            clean_start: connect.clean_start,
            keep_alive: connect.keep_alive,
            client_id,
            assigned,
            user_name: user_name.map(Arc::from),
            will: will.map(|mut will| {
                will.delay = will.delay.min(config.will_delay_max.unwrap_or(Duration::MAX));
                Box::new(will)
            }),
            expiry,
            expiry_capped: expiry != wanted,
            receive_max,
            packet_bytes_max,
            topic_alias_max: properties
                .number(PropertyId::TopicAliasMaximum)
                .and_then(|max| u16::try_from(max).ok())
                .unwrap_or(0)
                .min(config.topic_alias_max),
            wants_response_information: properties.number(PropertyId::RequestResponseInformation) == Some(1),
        })
    }

    fn assign_client_id(&mut self) -> String {
        loop {
            let id = format!("auto-{:016x}", self.rng.u64(..));
            if self.sessions.find(&id).is_none() {
                return id;
            }
        }
    }

    /// The answer to [`Event::Authenticate`].
    pub(super) fn authenticated<S: Sink>(&mut self, conn: ConnId, accepted: bool, cx: &mut Cx<'_, S>) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        if !matches!(c.phase, Phase::Authenticating(_)) {
            return;
        }
        let phase = std::mem::replace(&mut c.phase, Phase::Fresh);
        let Phase::Authenticating(request) = phase else { return };
        c.pause.authenticating = false;
        if accepted {
            self.establish(conn, *request, cx);
            self.resumable.push(conn);
        } else {
            self.login_failed(conn, request.user_name.as_deref(), cx.now);
            self.refuse(conn, ReasonCode::BadUserNameOrPassword, cx);
        }
    }

    /// Nobody can say now whether name and password are right.
    pub(super) fn not_judged<S: Sink>(&mut self, conn: ConnId, cx: &mut Cx<'_, S>) {
        let Some(c) = self.conns.get_mut(conn) else { return };
        if matches!(c.phase, Phase::Authenticating(_)) {
            c.phase = Phase::Fresh;
            c.pause.authenticating = false;
            self.refuse(conn, ReasonCode::ServerBusy, cx);
        }
    }

    /// The client is who it says: finds or makes its session, and takes it from an older connection.
    fn establish<S: Sink>(&mut self, conn: ConnId, request: Request, cx: &mut Cx<'_, S>) {
        let home = self.home_of(conn);
        if let Some(idx) = self.sessions.find(&request.client_id) {
            match self.standing(idx, conn) {
                Standing::Same => {}
                Standing::Foreign => return self.refuse(conn, ReasonCode::ClientIdentifierNotValid, cx),
                Standing::Nobodys => self.end_session(idx, cx),
            }
        }
        let existing = self.sessions.find(&request.client_id).and_then(|idx| self.sessions.get(idx));
        if existing.is_some_and(|session| session.user_name != request.user_name) {
            // Another user's session is not to be taken over, nor ended.
            return self.refuse(conn, ReasonCode::ClientIdentifierNotValid, cx);
        }
        if let Some(will) = &request.will {
            let user_name = request.user_name.as_deref();
            let rights = self.sessions.rights(&request.client_id, user_name, home.as_ref());
            if !rights.may_write(&will.message.topic) {
                return self.refuse(conn, ReasonCode::NotAuthorized, cx);
            }
        }
        let before = existing.map(|session| self.before(session));
        let taken_over = existing.and_then(|session| session.conn);
        if taken_over.is_none() && self.conns.ready >= self.config.connections_max {
            return self.refuse(conn, ReasonCode::QuotaExceeded, cx);
        }
        let taken_over_here = taken_over.is_some_and(|old| self.listener_of(old) == self.listener_of(conn));
        if !taken_over_here && self.is_listener_full(conn) {
            return self.refuse(conn, ReasonCode::QuotaExceeded, cx);
        }
        let from = self.conns.get(conn).and_then(|c| c.from);
        let old_from = taken_over.and_then(|old| self.conns.get(old)).and_then(|c| c.from);
        let has_place = self.doorman.inside(from) < self.config.arrivals.clients_per_address_max;
        if !has_place && (taken_over.is_none() || old_from != from) {
            self.stats.arrivals_address_full += 1;
            if let Some(more) = self.throttles.arrivals.is_due(cx.now) {
                let client_id = request.client_id;
                warn!(
                    address = from.map(display),
                    client_id, more, "client refused: too many of its address"
                );
            }
            return self.refuse(conn, ReasonCode::QuotaExceeded, cx);
        }
        if existing.is_none()
            && request.expiry != Some(Duration::ZERO)
            && self.stats.shedding >= Shedding::Growth
        {
            self.stats.refused_for_memory += 1;
            return self.refuse(conn, ReasonCode::QuotaExceeded, cx);
        }
        if let Some(old) = taken_over {
            self.close(old, Some(ReasonCode::SessionTakenOver), cx);
        }
        if let Some(idx) = self.sessions.find(&request.client_id) {
            // What is overdue happened before this CONNECT.
            self.session_due(idx, cx);
            if request.clean_start && self.sessions.get(idx).is_some() {
                self.end_session(idx, cx);
            }
        }
        let found = self.sessions.find(&request.client_id);
        let present = found.is_some();
        let idx = found.unwrap_or_else(|| {
            let client_id = Arc::from(request.client_id.as_str());
            self.sessions.create(client_id, request.user_name.clone(), home.clone())
        });
        self.come_home(idx, home);
        if let Some(session) = self.sessions.get_mut(idx) {
            session.conn = Some(conn);
            session.visit += 1;
            session.expiry = request.expiry;
            // 3.1.3-9: the client is back before its will was due.
            session.will = None;
            session.will_at = None;
            session.ends_at = None;
            self.timers.disarm(&mut session.armed, Owner::Session(idx));
        }
        let connack = self.begin(conn, idx, request, present, cx);
        self.keep_session(idx);
        let waits_for = self.waits_for(conn, idx, before, present);
        self.welcome_when_safe(conn, idx, connack, waits_for, cx);
    }

    fn listener_of(&self, conn: ConnId) -> Option<ListenerId> {
        self.conns.get(conn).map(|c| c.listener)
    }

    fn is_listener_full(&self, conn: ConnId) -> bool {
        let Some(listener) = self.listener_of(conn) else { return false };
        let policy = self.config.listeners.get(usize::from(listener.0));
        let max = policy.and_then(|policy| policy.connections_max);
        max.is_some_and(|max| self.conns.ready_of(listener) >= max)
    }

    /// The connection is its session's from now on. Gives what its CONNACK says.
    fn begin<S: Sink>(
        &mut self,
        conn: ConnId,
        idx: SessionIdx,
        request: Request,
        present: bool,
        cx: &Cx<'_, S>,
    ) -> (bool, PropertiesBuf) {
        let config = Arc::clone(&self.config);
        let policy =
            self.listener_of(conn).and_then(|listener| config.listeners.get(usize::from(listener.0)));
        let qos_max = policy.map(|policy| policy.qos_max).filter(|max| *max < QoS::ExactlyOnce);
        let no_retain = policy.is_some_and(|policy| !policy.retain_available);
        let mut properties = self.connack_properties(&request);
        if let Some(max) = qos_max {
            properties.push(Property::U8(PropertyId::MaximumQoS, max.as_u8()));
        }
        if no_retain {
            properties.push(Property::U8(PropertyId::RetainAvailable, 0));
        }
        let (keep_alive, _) = keep_alive(request.keep_alive, self.config.keep_alive_max);
        let Some(c) = self.conns.get_mut(conn) else { return (present, properties) };
        c.phase = Phase::Ready;
        c.session = Some(idx);
        c.was_let_in = true;
        self.doorman.let_in(c.from);
        c.last_seen = cx.now;
        c.silence_max = (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1_500));
        c.aliases_out = OutAliases::new(request.topic_alias_max).map(Box::new);
        c.packet_bytes_max = request.packet_bytes_max.and_then(|max| usize::try_from(max).ok());
        let wanted = request.receive_max.and_then(|max| u16::try_from(max).ok()).unwrap_or(u16::MAX);
        c.window = usize::from(config.inflight_max.min(wanted));
        c.told = Told {
            window: wanted,
            receive_max: config.receive_max,
            packet_bytes_max: config.packet_bytes_max,
            topic_alias_max: config.topic_alias_max,
            qos_max,
            no_retain,
        };
        c.will = request.will;
        let version = c.version;
        info!(
            target: "fieldgate::event::connection",
            conn = conn.0,
            peer = &*c.peer,
            client_id = request.client_id,
            user = request.user_name.as_deref(),
            version = version.name(),
            clean_start = request.clean_start,
            keep_alive,
            "client connected"
        );
        self.conns.ready += 1;
        self.stats.clients_maximum = self.stats.clients_maximum.max(count(self.conns.ready));
        // 3.1 has no session present flag.
        let session_present = present && version != Version::V31;
        let properties = if version == Version::V5 { properties } else { PropertiesBuf::new() };
        (session_present, properties)
    }

    fn connack_properties(&self, request: &Request) -> PropertiesBuf {
        let config = &self.config;
        let mut properties = PropertiesBuf::new();
        if request.expiry_capped {
            let seconds =
                request.expiry.and_then(|expiry| u32::try_from(expiry.as_secs()).ok()).unwrap_or(u32::MAX);
            properties.push(Property::U32(PropertyId::SessionExpiryInterval, seconds));
        }
        properties.push(Property::U16(PropertyId::ReceiveMaximum, config.receive_max));
        // Above what a remaining length can say there is no bound to tell, and clients exist that take a larger number for
        // malformed.
        if let Some(max) =
            u32::try_from(config.packet_bytes_max).ok().filter(|max| *max <= PACKET_SIZE_TOLD_MAX)
        {
            properties.push(Property::U32(PropertyId::MaximumPacketSize, max));
        }
        if request.assigned {
            properties.push(Property::Str(PropertyId::AssignedClientIdentifier, &request.client_id));
        }
        if let Some(told) =
            config.response_information.as_ref().filter(|_| request.wants_response_information)
        {
            let user = request.user_name.as_deref().unwrap_or_default();
            let told = told.replace("%c", &request.client_id).replace("%u", user);
            properties.push(Property::Str(PropertyId::ResponseInformation, &told));
        }
        let (keep_alive, is_ours) = keep_alive(request.keep_alive, config.keep_alive_max);
        if is_ours {
            // The client must use it instead of its own (3.2.2-21).
            properties.push(Property::U16(PropertyId::ServerKeepAlive, keep_alive));
        }
        if config.topic_alias_max > 0 {
            properties.push(Property::U16(PropertyId::TopicAliasMaximum, config.topic_alias_max));
        }
        properties
    }

    /// CONNACK with a failure, then the end. A 3.x client that has no code for the reason is only closed.
    pub(super) fn refuse<S: Sink>(&mut self, conn: ConnId, reason: ReasonCode, cx: &mut Cx<'_, S>) {
        let Some(c) = self.conns.get(conn) else { return };
        info!(
            target: "fieldgate::event::connection",
            conn = conn.0, peer = &*c.peer, reason = reason.words(), "client refused"
        );
        self.stats.connects_refused += 1;
        let reason = match (c.version, reason) {
            (Version::V31 | Version::V311, ReasonCode::QuotaExceeded) => ReasonCode::ServerUnavailable,
            _ => reason,
        };
        if c.version == Version::V5 || reason.to_connack_v3().is_some() {
            let connack = ConnAck { session_present: false, reason, properties: Properties::EMPTY };
            self.send(conn, &Packet::ConnAck(connack), cx);
        }
        self.close(conn, None, cx);
    }

    /// CONNECT of a protocol version that doesn't exist (3.1.2-2): the answer that the oldest clients understand.
    pub(super) fn refuse_version<S: Sink>(&mut self, conn: ConnId, cx: &mut Cx<'_, S>) {
        self.stats.connects_refused += 1;
        let connack = [0x20, 0x02, 0x00, 0x01];
        cx.sink.raw(conn, &connack);
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += count(connack.len());
        self.close(conn, None, cx);
    }
}

/// The session expiry that a CONNECT asks for. 5.0: absent means 0 (3.1.2.11.2). 3.x: a clean session ends with
/// its connection, any other stays.
fn wanted_expiry(connect: &Connect<'_>) -> Option<Duration> {
    match connect.version {
        Version::V5 => {
            expiry_from_wire(connect.properties.number(PropertyId::SessionExpiryInterval).unwrap_or(0))
        }
        _ if connect.clean_start => Some(Duration::ZERO),
        _ => None,
    }
}

/// The keep alive that holds, in seconds, and whether it is ours instead of the client's.
fn keep_alive(wanted: u16, max: Option<Duration>) -> (u16, bool) {
    let max = max.map(|max| u16::try_from(max.as_secs()).unwrap_or(u16::MAX).max(1));
    match max {
        Some(max) if wanted == 0 || wanted > max => (max, true),
        _ => (wanted, false),
    }
}

pub(super) fn expiry_from_wire(seconds: u32) -> Option<Duration> {
    (seconds != u32::MAX).then(|| Duration::from_secs(u64::from(seconds)))
}

pub(super) fn cap_expiry(wanted: Option<Duration>, max: Option<Duration>) -> Option<Duration> {
    match (wanted, max) {
        (Some(wanted), Some(max)) => Some(wanted.min(max)),
        (wanted, max) => wanted.or(max),
    }
}
