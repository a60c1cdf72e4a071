//! Other settings while clients are connected: who may stay stays, and each bound holds from its next use.
//!
//! What CONNACK told a client (Receive Maximum, Maximum Packet Size, Topic Alias Maximum) and what was agreed with it
//! then (keep alive, session expiry) holds for as long as it is connected: it can't be told anew. Everything else is
//! as if it had always been so, but for messages that are retained or under way already.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tracing::info;

use super::connection::Phase;
use super::journal::Pace;
use super::{Broker, Config, ConnId, Cx, ListenerId, ListenerPolicy, Sink};
use crate::mqtt::{ReasonCode, Version};

/// Other settings.
#[derive(Clone, Debug)]
pub struct Reconfigure {
    /// What holds from now on, but for `base` and `persistence`, which hold from start to end.
    pub config: Config,
    /// For each listener until now: its place in `config.listeners`, or `None` where it is gone, with all who came in
    /// there.
    pub moved: Vec<Option<ListenerId>>,
    /// The users who may stay; all others are out, unless a certificate has proved their name.
    pub users: HashSet<String>,
    /// The same for listeners with users of their own, by name.
    pub own_users: BTreeMap<Arc<str>, HashSet<String>>,
}

/// The users who may stay.
struct Stay {
    common: HashSet<String>,
    own: BTreeMap<Arc<str>, HashSet<String>>,
}

impl Stay {
    fn has(&self, policy: &ListenerPolicy, user: &str) -> bool {
        match policy.own_users {
            true => self.own.get(&policy.name).is_some_and(|users| users.contains(user)),
            false => self.common.contains(user),
        }
    }
}

/// Why a client has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    ListenerGone,
    Version,
    Anonymous,
    User,
    Prefix,
}

impl Out {
    const fn words(self) -> &'static str {
        match self {
            Self::ListenerGone => "listener removed or opened anew",
            Self::Version => "this MQTT version is no longer let in",
            Self::Anonymous => "a user name is needed now",
            Self::User => "this user is gone or has another password",
            Self::Prefix => "this client identifier is no longer allowed",
        }
    }

    /// As far as DISCONNECT has a code for it (3.14.2.1).
    const fn reason(self) -> ReasonCode {
        match self {
            Self::ListenerGone | Self::Version => ReasonCode::AdministrativeAction,
            Self::Anonymous | Self::User | Self::Prefix => ReasonCode::NotAuthorized,
        }
    }
}

impl Config {
    /// The same without bounds that nobody could work with: a window of nothing could never be used, and CONNACK
    /// must not say 0 (3.2.2.3.3, 3.2.2.3.6).
    pub(super) fn usable(mut self) -> Self {
        self.receive_max = self.receive_max.max(1);
        self.inflight_max = self.inflight_max.max(1);
        self.packet_bytes_max = self.packet_bytes_max.max(1);
        self.first_packet_bytes_max = self.first_packet_bytes_max.min(self.packet_bytes_max);
        self
    }
}

impl Broker {
    /// Takes other settings, and parts with those who would not be let in with them.
    pub(super) fn reconfigure<S: Sink>(&mut self, new: Reconfigure, cx: &mut Cx<'_, S>) {
        let Reconfigure { config, moved, users, own_users } = new;
        let users = Stay { common: users, own: own_users };
        let config =
            Config { base: Arc::clone(&self.config.base), persistence: self.config.persistence, ..config };
        let before = std::mem::replace(&mut self.config, Arc::new(config.usable()));
        self.routes.set_config(Arc::clone(&self.config));
        self.journal.set_pace(Pace::of(&self.config));
        self.retained.set_bounds(self.config.retained_max, self.config.retained_bytes_max);
        self.set_access(self.config.rules());
        for conn in self.conns.ids() {
            let place = self.conns.get(conn).and_then(|c| moved.get(usize::from(c.listener.0)).copied());
            match place.flatten() {
                Some(listener) => {
                    self.doubt_verdict(conn, &before, listener, cx);
                    self.move_to(conn, listener, &users, cx);
                }
                None => self.show_out(conn, Out::ListenerGone, cx),
            }
        }
        self.hold_queues();
        while self.sessions.offline() > self.config.sessions_max {
            let Some(oldest) = self.sessions.oldest_offline() else { break };
            self.end_session(oldest, cx);
        }
        for idx in self.sessions.indexes() {
            // A window may have grown.
            self.pump(idx, cx);
        }
    }

    /// Who is being judged by the listener's own users while it has none any more, or the other way round, must come
    /// again: the verdict would be about somebody else.
    fn doubt_verdict<S: Sink>(
        &mut self,
        conn: ConnId,
        before: &Config,
        listener: ListenerId,
        cx: &mut Cx<'_, S>,
    ) {
        let Some(c) = self.conns.get(conn) else { return };
        let has_own = |config: &Config, id: ListenerId| {
            config.listeners.get(usize::from(id.0)).is_some_and(|policy| policy.own_users)
        };
        let is_other = has_own(before, c.listener) != has_own(&self.config, listener);
        if is_other && matches!(c.phase, Phase::Authenticating(_)) {
            self.refuse(conn, ReasonCode::ServerBusy, cx);
        }
    }

    /// The connection's listener has another place now, and perhaps other rules.
    fn move_to<S: Sink>(&mut self, conn: ConnId, listener: ListenerId, users: &Stay, cx: &mut Cx<'_, S>) {
        let inflight_max = self.config.inflight_max;
        if let Some(c) = self.conns.get_mut(conn) {
            c.listener = listener;
            c.window = usize::from(c.told.window.min(inflight_max));
        }
        if let Some(out) = self.must_go(conn, users) {
            return self.show_out(conn, out, cx);
        }
        if let Some(idx) = self.conns.get(conn).and_then(|c| c.session) {
            // It may have users or rules of its own now.
            let home = self.home_of(conn);
            self.come_home(idx, home);
            self.keep_session(idx);
        }
        // Its times may be shorter now; and what was a full buffer may be half of one.
        self.arm_conn(conn);
        let is_full = self.conns.get(conn).is_some_and(|c| c.full_since.is_some());
        if is_full && cx.sink.buffered(conn) <= self.config.out_buffer_bytes_max / 2 {
            self.drained(conn, cx);
        }
    }

    fn must_go(&self, conn: ConnId, users: &Stay) -> Option<Out> {
        let c = self.conns.get(conn)?;
        let (client_id, user_name, is_judged) = match &c.phase {
            Phase::Ready => {
                let session = self.sessions.get(c.session?)?;
                (&*session.client_id, session.user_name.as_deref(), true)
            }
            // Name and password are under check: that judges the user.
            Phase::Authenticating(request) => (request.client_id(), None, false),
            Phase::Fresh | Phase::Closing => return None,
        };
        let policy = self.config.listeners.get(usize::from(c.listener.0))?;
        let prefixes = &self.config.client_id_prefixes;
        if !policy.versions.contains(&c.version) {
            return Some(Out::Version);
        }
        if is_judged && c.certified.is_none() {
            match user_name {
                None if !policy.allow_anonymous => return Some(Out::Anonymous),
                // Where any name will do, none is gone; where none did before, each has to prove itself.
                Some(user) if policy.check_users && (c.unchecked || !users.has(policy, user)) => {
                    return Some(Out::User);
                }
                _ => {}
            }
        }
        let fits = prefixes.is_empty() || prefixes.iter().any(|prefix| client_id.starts_with(&**prefix));
        (!fits).then_some(Out::Prefix)
    }

    /// Ends a connection that the new settings don't allow. One without CONNACK is refused or, where it has said
    /// nothing yet, closed.
    fn show_out<S: Sink>(&mut self, conn: ConnId, out: Out, cx: &mut Cx<'_, S>) {
        let Some(c) = self.conns.get(conn) else { return };
        match c.phase {
            Phase::Closing => {}
            Phase::Fresh => self.close(conn, None, cx),
            Phase::Authenticating(_) => {
                let reason = match (c.version, out) {
                    (Version::V5, Out::ListenerGone) => ReasonCode::ServerShuttingDown,
                    (Version::V5, _) => ReasonCode::NotAuthorized,
                    _ => ReasonCode::ServerUnavailable,
                };
                self.refuse(conn, reason, cx);
            }
            Phase::Ready => {
                info!(
                    conn = conn.0,
                    peer = &*c.peer,
                    reason = out.words(),
                    "the new config ends this connection"
                );
                self.stats.disconnected_by_reload += 1;
                self.say_goodbye(conn, out.reason(), out.words(), cx);
                self.close(conn, None, cx);
            }
        }
    }
}
