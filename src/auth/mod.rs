//! Whether a user name and password are right: the users of the config and of the password file, a cache of those
//! that were right lately, and the delay after those that were not. Pure: the hashing itself, which takes long, is
//! handed out as a [`Check`] and comes back as an [`Outcome`]; files, threads and randomness are the shell's.
//!
//! What a user may do once he is in is the broker's business.

mod cache;
mod file;
mod hash;
mod throttle;

#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::secret::Secret;
use crate::time::Mono;
use cache::Cache;
use throttle::Throttle;

pub use file::{FileMistake, PasswordFile, check_user_name};
pub use hash::{Hash, HashError, SALT_BYTES};

/// Checks handed out and not answered: one is being hashed, the others wait. 64 KiB of password each at worst, so
/// 2 MiB. More: the client is told that the server is busy.
const CHECKS_MAX: usize = 32;

/// Attempts that wait for the delay after a failure, or for another attempt of the same user from the same
/// address. 64 KiB each at worst, so 16 MiB; in practice some hundred bytes. More: the server is busy.
const HELD_MAX: usize = 256;
/// Of these, attempts of one user from one address, so that nobody takes all places.
const HELD_OF_ONE_MAX: usize = 128;
/// A client gets its answer after this at the latest; its broker doesn't wait longer.
const HELD_FOR: Duration = Duration::from_secs(35);

/// Whose attempt it is; the shell's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A user name and a password that somebody came with.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Whose.
    pub ticket: Ticket,
    /// Where it comes from, without the port.
    pub address: String,
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

impl Attempt {
    /// Whether it is of the same user from the same address.
    fn is_like(&self, other: &Self) -> bool {
        self.user == other.user && self.address == other.address
    }
}

/// The answer to an [`Attempt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Name and password are right.
    Right,
    /// They are not.
    Wrong,
    /// It can't be said now: too many wait, or the password file can't be read.
    Unknown,
}

/// A password to be held against a hash, which takes long.
#[derive(Clone, Debug)]
pub struct Check {
    /// Whose.
    pub ticket: Ticket,
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// What to hold it against. For a user who doesn't exist a hash that nothing matches, so that it takes as
    /// long as for one who does.
    pub hash: Arc<Hash>,
}

/// What came of a [`Check`].
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whose.
    pub ticket: Ticket,
    /// Whether the password is the hash's.
    pub matches: bool,
    /// The argon2id hash that the file now has for this user, where it had a weaker one.
    pub renewed: Option<Hash>,
}

/// What the machine wants done.
#[derive(Debug)]
pub enum Output {
    /// Tell the verdict.
    Answer(Ticket, Verdict),
    /// Do the check, answer with [`Authenticator::checked`].
    Check(Check),
}

/// A user of the password file.
#[derive(Clone, Debug)]
enum Users {
    /// None is configured.
    None,
    /// Could not be read at the start: nobody can be let in.
    Unreadable,
    /// As last read.
    Read(PasswordFile),
}

/// Judges attempts.
#[derive(Debug)]
pub struct Authenticator {
    configured: Vec<(String, Option<Secret>)>,
    users: Users,
    cache: Cache,
    throttle: Throttle,
    checking: Vec<Checking>,
    held: VecDeque<Held>,
    outputs: VecDeque<Output>,
    nobody: Arc<Hash>,
}

/// A check that is under way.
#[derive(Debug)]
struct Checking {
    attempt: Attempt,
    hash: Arc<Hash>,
}

/// An attempt that waits.
#[derive(Debug)]
struct Held {
    attempt: Attempt,
    since: Mono,
}

impl Authenticator {
    /// One that knows the users of the config; those whose password can't be read are refused. `boot_key` is
    /// random and used for nothing else.
    #[must_use]
    pub fn new(configured: Vec<(String, Option<Secret>)>, boot_key: &[u8; 32]) -> Self {
        Self {
            configured,
            users: Users::None,
            cache: Cache::new(boot_key),
            throttle: Throttle::default(),
            checking: Vec::new(),
            held: VecDeque::new(),
            outputs: VecDeque::new(),
            nobody: Arc::new(Hash::of_nobody()),
        }
    }

    /// The password file as it now is. Who is let in already stays.
    pub fn set_users(&mut self, users: PasswordFile) {
        self.users = Users::Read(users);
    }

    /// The password file can't be read. At the start nobody of it is let in; later the users read before stay.
    pub fn users_unreadable(&mut self) {
        if !matches!(self.users, Users::Read(_)) {
            self.users = Users::Unreadable;
        }
    }

    /// Other users: those of the config, and those of the password file, if there is one. Tells who of them may stay
    /// where he is in already: whoever isn't new and, if the config had his password, still has the same. (A
    /// password of the file may have another hash just because it was renewed.)
    pub fn reconfigure(
        &mut self,
        configured: Vec<(String, Option<Secret>)>,
        users: Option<PasswordFile>,
    ) -> HashSet<String> {
        let before = std::mem::replace(&mut self.configured, configured);
        self.users = users.map_or(Users::None, Users::Read);
        let unchanged = |name: &str| {
            let secret_of = |list: &[(String, Option<Secret>)]| {
                list.iter().find(|(user, _)| user == name).and_then(|(_, secret)| secret.clone())
            };
            let before = secret_of(&before);
            before.is_none() || before == secret_of(&self.configured)
        };
        let names = self.configured.iter().map(|(name, _)| name.as_str());
        let of_file = match &self.users {
            Users::Read(users) => users.names().collect(),
            _ => Vec::new(),
        };
        names.chain(of_file).filter(|name| unchanged(name)).map(str::to_owned).collect()
    }

    /// These users are asked no more: whoever waits hears that nobody can say now.
    pub fn close(&mut self) {
        let checking = self.checking.drain(..).map(|checking| checking.attempt.ticket);
        let held = self.held.drain(..).map(|held| held.attempt.ticket);
        self.outputs.extend(checking.chain(held).map(|ticket| Output::Answer(ticket, Verdict::Unknown)));
    }

    /// Judges an attempt, now or later.
    pub fn attempt(&mut self, now: Mono, attempt: Attempt) {
        self.judge_or_hold(now, Held { attempt, since: now });
    }

    /// A check is done.
    pub fn checked(&mut self, now: Mono, outcome: Outcome) {
        let Some(at) = self.checking.iter().position(|c| c.attempt.ticket == outcome.ticket) else { return };
        let Checking { attempt, hash } = self.checking.swap_remove(at);
        if outcome.matches && !self.is_current(&attempt, &hash, outcome.renewed.as_ref()) {
            // The users have changed meanwhile: what was right says nothing any more.
            self.judge(now, attempt);
            return self.tick(now);
        }
        if outcome.matches {
            let hash = match (outcome.renewed, &mut self.users) {
                (Some(renewed), Users::Read(users)) => {
                    users.replace(&attempt.user, &hash, renewed.clone());
                    Arc::new(renewed)
                }
                _ => hash,
            };
            self.cache.remember(now, &attempt.user, attempt.password.expose(), &hash);
        }
        let verdict = if outcome.matches { Verdict::Right } else { Verdict::Wrong };
        self.answer(now, &attempt, verdict);
        self.tick(now);
    }

    /// Goes on with the attempts that had to wait.
    pub fn tick(&mut self, now: Mono) {
        for _ in 0..self.held.len() {
            let Some(held) = self.held.pop_front() else { return };
            if now.since(held.since) >= HELD_FOR {
                self.answer(now, &held.attempt, Verdict::Unknown);
            } else {
                self.judge_or_hold(now, held);
            }
        }
    }

    /// When [`Self::tick`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let due = |held: &Held| {
            let end = held.since + HELD_FOR;
            let Attempt { address, user, .. } = &held.attempt;
            // Who waits for a check goes on when that is done.
            if self.is_checking(&held.attempt) { end } else { end.min(self.throttle.open_at(address, user)) }
        };
        self.held.iter().map(due).min()
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The names of the users: those of the config, and those of the password file.
    pub fn names(&self) -> (impl Iterator<Item = &str>, impl Iterator<Item = &str>) {
        let of_file = match &self.users {
            Users::Read(users) => Some(users.names()),
            _ => None,
        };
        (self.configured.iter().map(|(name, _)| name.as_str()), of_file.into_iter().flatten())
    }

    /// Whether a password file was ever read.
    #[must_use]
    pub const fn has_users(&self) -> bool {
        matches!(self.users, Users::Read(_))
    }

    /// Compares with the config's users in the same time whether or not the user exists.
    fn is_configured(&self, attempt: &Attempt) -> bool {
        let found = self.configured.iter().find(|(name, _)| *name == attempt.user);
        let secret = found.and_then(|(_, secret)| secret.as_ref());
        let expected = secret.map_or(&[][..], Secret::expose);
        bool::from(expected.ct_eq(attempt.password.expose())) && secret.is_some()
    }

    /// Whether the password was right within the last minutes, and the user's hash is still the same.
    fn cached(&self, now: Mono, attempt: &Attempt) -> bool {
        let Users::Read(users) = &self.users else { return false };
        let Some(hash) = users.hash(&attempt.user) else { return false };
        self.cache.knows(now, &attempt.user, attempt.password.expose(), hash)
    }

    /// Whether the user still has the hash that was checked, or the one that has taken its place.
    fn is_current(&self, attempt: &Attempt, hash: &Hash, renewed: Option<&Hash>) -> bool {
        let Users::Read(users) = &self.users else { return false };
        let now = users.hash(&attempt.user).map(|hash| &**hash);
        now == Some(hash) || (renewed.is_some() && now == renewed)
    }

    fn is_checking(&self, attempt: &Attempt) -> bool {
        self.checking.iter().any(|checking| checking.attempt.is_like(attempt))
    }

    fn judge_or_hold(&mut self, now: Mono, held: Held) {
        let attempt = &held.attempt;
        // Whoever failed waits before anything is looked at: an answer that comes sooner for the right password
        // would let others be tried at any rate.
        let must_wait = self.throttle.open_at(&attempt.address, &attempt.user) > now;
        if !must_wait && !self.is_checking(attempt) {
            return self.judge(now, held.attempt);
        }
        let same = |other: &&Held| other.attempt.is_like(attempt);
        if self.held.len() < HELD_MAX && self.held.iter().filter(same).count() < HELD_OF_ONE_MAX {
            self.held.push_back(held);
        } else {
            self.answer(now, &held.attempt, Verdict::Unknown);
        }
    }

    fn judge(&mut self, now: Mono, attempt: Attempt) {
        if self.is_configured(&attempt) || self.cached(now, &attempt) {
            return self.answer(now, &attempt, Verdict::Right);
        }
        let hash = match &self.users {
            Users::None => return self.answer(now, &attempt, Verdict::Wrong),
            // A user of the config is known to be wrong; of the others nobody knows.
            Users::Unreadable => {
                let is_known = self.configured.iter().any(|(name, _)| *name == attempt.user);
                let verdict = if is_known { Verdict::Wrong } else { Verdict::Unknown };
                return self.answer(now, &attempt, verdict);
            }
            Users::Read(users) => Arc::clone(users.hash(&attempt.user).unwrap_or(&self.nobody)),
        };
        if self.checking.len() >= CHECKS_MAX {
            return self.answer(now, &attempt, Verdict::Unknown);
        }
        self.outputs.push_back(Output::Check(Check {
            ticket: attempt.ticket,
            user: attempt.user.clone(),
            password: attempt.password.clone(),
            hash: Arc::clone(&hash),
        }));
        self.checking.push(Checking { attempt, hash });
    }

    fn answer(&mut self, now: Mono, attempt: &Attempt, verdict: Verdict) {
        match verdict {
            Verdict::Right => self.throttle.succeeded(&attempt.address, &attempt.user),
            Verdict::Wrong => self.throttle.failed(now, &attempt.address, &attempt.user),
            Verdict::Unknown => {}
        }
        self.outputs.push_back(Output::Answer(attempt.ticket, verdict));
    }
}
