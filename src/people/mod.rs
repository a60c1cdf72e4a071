//! Who may use the page and its API: accounts and tokens, sessions, the first claim, and how often somebody may try.
//! Pure: time, random bytes and the interfaces of the machine are arguments; hashing a password, which takes long, is the
//! password thread's; the file is the shell's.
//!
//! Users of the broker are somebody else: [`crate::auth`].

pub mod claim;
mod common;
pub mod origin;
pub mod roll;
mod sessions;
#[cfg(test)]
mod tests;
mod tries;

use std::net::IpAddr;
use std::time::Duration;

use ring::digest;

use crate::auth::Hash;
use crate::said;
use crate::said::Said;
use crate::time::{Mono, Now};

use claim::Claim;
pub use roll::{Account, Roll, Token};
use sessions::Sessions;
pub use sessions::Who;
use tries::Tries;

/// What somebody may do. Each may what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look.
    Viewer,
    /// Switch outputs, poll, connect: what doesn't change the config.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// As files, the API and the page write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// The shortest password of an account, in characters (NIST SP 800-63B asks for 8, and for 15 where it is all there is).
pub const PASSWORD_CHARS_MIN: usize = 10;

/// The longest, in bytes: hashing must not be given a book.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// SHA-256 of a secret that is long and random: of those a fast hash is enough.
pub type Digest = [u8; 32];

/// The hash under which a session or a token is kept.
#[must_use]
pub fn digest_of(secret: &[u8]) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, secret).as_ref());
    bytes
}

/// What the config says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether there is a page at all.
    pub enabled: bool,
    /// A session that is not used for this long ends.
    pub session_idle: Duration,
    /// A session ends after this, used or not.
    pub session_max: Duration,
    /// For how long after the start the gateway may be claimed.
    pub claim_window: Duration,
}

/// Everybody.
#[derive(Debug)]
pub struct People {
    settings: Settings,
    roll: Roll,
    sessions: Sessions,
    claim: Option<Claim>,
    tries: Tries,
}

impl People {
    /// With the accounts of the file. Without any, the gateway can be claimed with `code` until the window closes; without
    /// a code it can't.
    #[must_use]
    pub fn new(settings: Settings, roll: Roll, code: Option<&str>, now: Mono) -> Self {
        let code = code.filter(|_| roll.accounts.is_empty() && settings.enabled);
        let claim = code.map(|code| Claim::new(code, now + settings.claim_window));
        let sessions = Sessions::new(settings.session_idle, settings.session_max);
        Self { settings, roll, sessions, claim, tries: Tries::default() }
    }

    /// Sessions last that long from now on, those too that have begun.
    pub const fn set_spans(&mut self, idle: Duration, max: Duration) {
        self.sessions.set_spans(idle, max);
    }

    /// Whether there is a page at all.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.settings.enabled
    }

    /// Whether nobody has claimed the gateway yet.
    #[must_use]
    pub const fn is_unclaimed(&self) -> bool {
        self.claim.is_some()
    }

    /// Whether the gateway can be claimed now.
    #[must_use]
    pub fn is_claim_open(&self, now: Mono) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.is_open(now))
    }

    /// Opens the window of the claim once more: the code, and for how long. `None`: somebody has an account.
    pub fn open_claim(&mut self, now: Mono) -> Option<(String, Duration)> {
        let claim = self.claim.as_mut()?;
        claim.open_until(now + self.settings.claim_window);
        Some((claim.code().to_owned(), self.settings.claim_window))
    }

    /// Whether the code is right. A wrong one counts as a try.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check_claim(&mut self, now: Mono, address: IpAddr, code: &str) -> Result<(), Refused> {
        let claim = self.claim.as_ref().filter(|claim| claim.is_open(now)).ok_or(Refused::Closed)?;
        self.tries.may(now, address).map_err(Refused::Later)?;
        if claim.is_right(code) {
            return Ok(());
        }
        self.tries.failed(now, address);
        Err(Refused::Wrong)
    }

    /// Whether somebody may try a password now; otherwise when. It counts as failed until [`Self::log_in`].
    ///
    /// # Errors
    /// How long to wait.
    pub fn may_try(&mut self, now: Mono, address: IpAddr) -> Result<(), Duration> {
        self.tries.may(now, address)?;
        self.tries.failed(now, address);
        Ok(())
    }

    /// What a password is held against: of nobody where there is no such account, so that it takes as long.
    #[must_use]
    pub fn hash_of(&self, name: &str) -> (Hash, bool) {
        let account = self.roll.accounts.iter().find(|account| account.name == name);
        account.map_or_else(|| (Hash::of_nobody(), false), |account| (account.hash.clone(), true))
    }

    /// Begins a session for who has shown the password that `hash` is of; it must still be his. `id` is random.
    pub fn log_in(
        &mut self,
        now: Mono,
        address: IpAddr,
        name: &str,
        hash: &Hash,
        id: &[u8; 32],
    ) -> Option<Who> {
        let account =
            self.roll.accounts.iter().find(|account| account.name == name && account.hash == *hash)?;
        self.tries.succeeded(address);
        Some(self.sessions.begin(now, account.name.clone(), account.role, id))
    }

    /// Who has the session of that id, which counts as used.
    pub fn session(&mut self, now: Mono, id: &[u8]) -> Option<Who> {
        self.sessions.of(now, &digest_of(id))
    }

    /// Whether there is still a session of that id; that doesn't count as using it.
    #[must_use]
    pub fn has_session(&self, now: Mono, id: &[u8]) -> bool {
        self.sessions.has(now, &digest_of(id))
    }

    /// Ends a session.
    pub fn log_out(&mut self, id: &[u8]) {
        self.sessions.end(&digest_of(id));
    }

    /// Who has the token. Says so in `used`, which is written now and then.
    pub fn token(&mut self, now: Now, token: &[u8]) -> Option<Who> {
        let digest = digest_of(token);
        let token = self.roll.tokens.iter_mut().find(|token| token.digest == digest)?;
        token.used = Some(now.wall);
        Some(Who { name: token.name.clone(), role: token.role, csrf: None })
    }

    /// Whether accounts and tokens are those, whenever a token was used.
    #[must_use]
    pub fn has_roll(&self, roll: &Roll) -> bool {
        let key = |token: &Token| (token.name.clone(), token.role, token.digest);
        self.roll.accounts == roll.accounts
            && self.roll.tokens.iter().map(key).eq(roll.tokens.iter().map(key))
    }

    /// Accounts and tokens, for the file.
    #[must_use]
    pub const fn roll(&self) -> &Roll {
        &self.roll
    }

    /// Puts other accounts and tokens in place of those that were. Sessions of who has another password or role, or is
    /// gone, end. With the first account the claim is over.
    pub fn set_roll(&mut self, mut roll: Roll) {
        roll.remember_uses(&self.roll);
        for old in &self.roll.accounts {
            if !roll.accounts.contains(old) {
                self.sessions.end_all_of(&old.name);
            }
        }
        if !roll.accounts.is_empty() {
            self.claim = None;
        }
        self.roll = roll;
    }

    /// How many sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

/// Why the gateway is not claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is claimed, or the window is over.
    Closed,
    /// The code is another.
    Wrong,
    /// Too many have tried: come back then.
    Later(Duration),
}

/// Whether a password is long enough, not too long, and none that everybody tries.
///
/// # Errors
/// In words.
pub fn check_password(password: &str, name: &str) -> Result<(), Said> {
    let characters = password.chars().count();
    if characters < PASSWORD_CHARS_MIN {
        return Err(said!(
            "password_short",
            "the password has {count} characters; at least {min} are wanted",
            count = characters,
            min = PASSWORD_CHARS_MIN
        ));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(said!(
            "password_long",
            "the password has {count} bytes; at most {max} are taken",
            count = password.len(),
            max = PASSWORD_BYTES_MAX
        ));
    }
    let mut different: Vec<char> = password.chars().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < 5 || password.eq_ignore_ascii_case(name) || common::is_common(password) {
        return Err(said!(
            "password_common",
            "the password is among the first that somebody would try, or made of one of those; choose another, such as four words that have nothing to do with each other"
        ));
    }
    Ok(())
}
