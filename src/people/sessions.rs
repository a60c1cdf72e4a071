//! Sessions of the page: in memory, kept under the hash of their id.

use std::time::Duration;

use super::{Digest, Role, digest_of};
use crate::hex;
use crate::time::Mono;

/// Sessions, each of some 300 bytes. At the bound the one that has not been used for longest ends.
const SESSIONS_MAX: usize = 16;

/// Somebody who is logged in, or whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The account or the token.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// What the page must say with each change: no other page knows it. None of a token, which no browser sends by
    /// itself.
    pub csrf: Option<String>,
}

#[derive(Debug)]
struct Session {
    digest: Digest,
    who: Who,
    begun: Mono,
    used: Mono,
}

#[derive(Debug)]
pub(super) struct Sessions {
    idle: Duration,
    max: Duration,
    list: Vec<Session>,
}

impl Sessions {
    pub(super) const fn new(idle: Duration, max: Duration) -> Self {
        Self { idle, max, list: Vec::new() }
    }

    pub(super) const fn set_spans(&mut self, idle: Duration, max: Duration) {
        (self.idle, self.max) = (idle, max);
    }

    pub(super) fn begin(&mut self, now: Mono, name: String, role: Role, id: &[u8; 32]) -> Who {
        self.forget_old(now);
        if self.list.len() >= SESSIONS_MAX {
            let oldest =
                self.list.iter().enumerate().min_by_key(|(_, session)| session.used).map(|(place, _)| place);
            oldest.map(|place| self.list.remove(place));
        }
        let csrf = [b"csrf of ".as_slice(), id].concat();
        let who = Who { name, role, csrf: Some(hex::encode(&digest_of(&csrf))) };
        self.list.push(Session { digest: digest_of(id), who: who.clone(), begun: now, used: now });
        who
    }

    pub(super) fn of(&mut self, now: Mono, digest: &Digest) -> Option<Who> {
        self.forget_old(now);
        let session = self.list.iter_mut().find(|session| session.digest == *digest)?;
        session.used = now;
        Some(session.who.clone())
    }

    pub(super) fn has(&self, now: Mono, digest: &Digest) -> bool {
        self.list.iter().any(|session| session.digest == *digest && self.is_alive(now, session))
    }

    pub(super) fn end(&mut self, digest: &Digest) {
        self.list.retain(|session| session.digest != *digest);
    }

    pub(super) fn end_all_of(&mut self, name: &str) {
        self.list.retain(|session| session.who.name != name);
    }

    pub(super) const fn len(&self) -> usize {
        self.list.len()
    }

    fn forget_old(&mut self, now: Mono) {
        let mut list = std::mem::take(&mut self.list);
        list.retain(|session| self.is_alive(now, session));
        self.list = list;
    }

    fn is_alive(&self, now: Mono, session: &Session) -> bool {
        now.since(session.used) < self.idle && now.since(session.begun) < self.max
    }
}
