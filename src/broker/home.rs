//! Listeners with users or rules of their own: whose session a client may continue, and which rules hold for it.
//!
//! Two listeners with users of their own may both know an `ann`, who are two people: a session belongs to a user of one
//! list of users. One whose list is no longer in use belongs to nobody; who comes with its client identifier begins
//! anew. Rules are those of the listener that a client came in by the last time, also while it is away.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::acl::Acl;
use super::session::SessionIdx;
use super::{Broker, Config, ConnId, ListenerId};
use crate::state::Home;

/// The rules of the broker, and those of listeners that have their own instead, by the listener's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// For all others.
    pub common: Arc<Acl>,
    /// By name of the listener.
    pub own: BTreeMap<Arc<str>, Arc<Acl>>,
}

impl Rules {
    /// Those that hold for whoever came in there.
    pub(super) fn of(&self, home: Option<&Home>) -> &Acl {
        home.and_then(|home| self.own.get(&home.listener)).unwrap_or(&self.common)
    }
}

impl From<Arc<Acl>> for Rules {
    fn from(common: Arc<Acl>) -> Self {
        Self { common, own: BTreeMap::new() }
    }
}

/// A list of users.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Users {
    Common,
    Of(Arc<str>),
    /// In use no longer.
    Gone,
}

/// Whether a session may be continued, as far as its list of users goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is of the same list.
    Same,
    /// It is somebody else's.
    Foreign,
    /// It is nobody's any more.
    Nobodys,
}

impl Config {
    /// All rules.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules { common: Arc::clone(&self.acl), own: self.own_rules.clone() }
    }

    /// What a session has to remember of a listener: nothing where all is the broker's.
    pub(super) fn home(&self, listener: ListenerId) -> Option<Home> {
        let policy = self.listeners.get(usize::from(listener.0))?;
        let is_own = policy.own_users || self.own_rules.contains_key(&policy.name);
        is_own.then(|| Home { listener: Arc::clone(&policy.name), own_users: policy.own_users })
    }

    fn users_of(&self, home: Option<&Home>) -> Users {
        let is_in_use = match home {
            Some(home) if home.own_users => {
                let is_his = |name: &Arc<str>| *name == home.listener;
                let found = self.listeners.iter().any(|policy| policy.own_users && is_his(&policy.name));
                return if found { Users::Of(Arc::clone(&home.listener)) } else { Users::Gone };
            }
            _ => self.listeners.iter().any(|policy| !policy.own_users),
        };
        if is_in_use { Users::Common } else { Users::Gone }
    }
}

impl Broker {
    /// What a session has to remember of the listener of a connection.
    pub(super) fn home_of(&self, conn: ConnId) -> Option<Home> {
        self.config.home(self.conns.get(conn)?.listener)
    }

    /// A session's client is at a listener: its rules hold.
    pub(super) fn come_home(&mut self, idx: SessionIdx, home: Option<Home>) {
        if self.sessions.set_home(idx, home) {
            self.routes.forget_routes();
        }
    }

    /// Whether the user of a connection, if he has the same name, is the one whom a session belongs to.
    pub(super) fn standing(&self, idx: SessionIdx, conn: ConnId) -> Standing {
        let Some(session) = self.sessions.get(idx) else { return Standing::Nobodys };
        let newcomer = self.config.users_of(self.home_of(conn).as_ref());
        match self.config.users_of(session.home.as_deref()) {
            Users::Gone => Standing::Nobodys,
            owner if owner == newcomer => Standing::Same,
            _ => Standing::Foreign,
        }
    }
}
