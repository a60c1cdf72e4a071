//! Accounts, tokens and sessions: the file, and the API. Passwords are hashed on the password thread, a few at a time;
//! whoever comes when those wait is told to come back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderValue, StatusCode, header};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

use super::Web;
use super::call::{Call, cookie_name};
use super::reply::{Refusal, Reply, done, json_reply};
use crate::auth::Hash;
use crate::events::Event;
use crate::hex;
use crate::io::files;
use crate::io::lock::Locked;
use crate::io::passwords::{Order, random};
use crate::people::roll::digest;
use crate::people::{Account, PASSWORD_BYTES_MAX, Role, Roll, Token, check_password, digest_of};
use crate::said;
use crate::said::Said;

/// Passwords that wait for the one that is being hashed, each for some 30 ms and more on a small board. Further ones are
/// told to come back.
pub(super) const HASHING_MAX: usize = 4;

/// How often the file is looked at: `fieldgate passwd --admin` writes it too.
const LOOK: Duration = Duration::from_secs(2);

/// How often it is written when tokens were used: flash wears.
const USES_EVERY: Duration = Duration::from_secs(3_600);

/// The largest file.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Where accounts are kept.
#[must_use]
pub fn file(folder: &Path) -> PathBuf {
    folder.join("accounts.json")
}

/// Reads them; `None`: there is no file yet.
///
/// # Errors
/// In words, naming the file.
pub fn read(folder: &Path) -> Result<Option<Roll>, String> {
    let file = file(folder);
    match files::read_limited(&file, FILE_BYTES_MAX) {
        Ok(bytes) => Roll::parse(&bytes).map(Some).map_err(|error| format!("{}: {error}", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("can't read {}: {error}", file.display())),
    }
}

/// Changes the file, and what counts.
fn change<T>(web: &Web, change: impl FnOnce(&mut Roll) -> Result<T, Said>) -> Result<T, Said> {
    let before = web.people.locked().roll().clone();
    let mut refused = None;
    let written = files::rewrite(&file(&web.folder), |old| {
        // As it is now: a command may have written it meanwhile.
        let mut roll = old.map_or_else(|| Ok(before.clone()), |bytes| Roll::parse(&bytes))?;
        roll.remember_uses(&before);
        let result = change(&mut roll).map_err(|said| {
            let words = said.to_string();
            refused = Some(said);
            words
        })?;
        Ok((roll.to_bytes(), (roll, result)))
    });
    let (roll, result) = written.map_err(|error| refused.unwrap_or_else(|| error.into()))?;
    web.people.locked().set_roll(roll);
    web.page.locked().unclaimed = web.people.locked().is_unclaimed();
    Ok(result)
}

/// Takes what a command has written into the file, as long as the task lives.
pub(super) async fn watch(web: Arc<Web>) {
    let stamp = |web: &Web| -> Option<(SystemTime, u64)> {
        let found = std::fs::metadata(file(&web.folder)).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    let mut seen = stamp(&web);
    let mut written = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        if written.elapsed() > USES_EVERY {
            written = Instant::now();
            write_uses(&web);
        }
        let now = stamp(&web);
        if now == seen {
            continue;
        }
        seen = now;
        match read(&web.folder) {
            Ok(Some(roll)) => {
                let mut people = web.people.locked();
                if !people.has_roll(&roll) {
                    people.set_roll(roll);
                    drop(people);
                    super::claim::forget(&web);
                    web.page.locked().unclaimed = web.people.locked().is_unclaimed();
                    web.note(Event {
                        kind: "accounts_changed",
                        detail: "by a command on the gateway".into(),
                        ..Event::default()
                    });
                }
            }
            // Without it, and with a damaged one, those stay that were: nobody gets in by removing it.
            Ok(None) => warn!("the file of accounts is gone; it is written again with the next change"),
            Err(error) => warn!(error, "the file of accounts can't be used; what was read before stays"),
        }
    }
}

/// Writes when tokens were last used, if that isn't what the file says.
fn write_uses(web: &Web) {
    let is_known = match read(&web.folder) {
        Ok(Some(roll)) => roll == *web.people.locked().roll(),
        // Nothing to write it to, or nothing that may be overwritten.
        Ok(None) | Err(_) => true,
    };
    if !is_known && let Err(error) = change(web, |_| Ok(())) {
        warn!(%error, "when tokens were used can't be written");
    }
}

/// An event of who asks.
fn event(call: &Call, kind: &'static str, detail: String) -> Event {
    Event { kind, who: Some(call.name()), address: Some(call.peer.address.to_string()), detail }
}

/// Has the password thread do something, if it has room.
async fn hashed<T>(web: &Web, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Result<T, Refusal> {
    let busy = || {
        Refusal::too_many(said!("others_log_in", "others log in just now; try again"), Duration::from_secs(2))
    };
    let _place = web.hashing.try_acquire().map_err(|_| busy())?;
    let (answer, answered) = oneshot::channel();
    web.orders
        .send(order(answer))
        .map_err(|_| Refusal::busy(said!("stopping", "the gateway is stopping")))?;
    answered.await.map_err(|_| Refusal::busy(said!("stopping", "the gateway is stopping")))
}

/// The hash of a new password.
pub(super) async fn new_hash(web: &Web, password: &str, name: &str) -> Result<Hash, Refusal> {
    check_password(password, name).map_err(|error| Refusal::field("password", error))?;
    let password = crate::secret::Secret::new(password.as_bytes().to_vec());
    let made = hashed(web, |answer| Order::Make { password, answer }).await?;
    made.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error))
}

/// Adds the first account.
pub(super) fn add_first(web: &Web, name: &str, hash: Hash) -> Result<(), Refusal> {
    let added = change(web, |roll| {
        if !roll.accounts.is_empty() {
            return Err(said!("claimed", "this gateway has been claimed"));
        }
        roll.set(name, Role::Admin, hash)
    });
    added.map(drop).map_err(|error| Refusal::new(StatusCode::CONFLICT, "refused", error))
}

/// Whether a password is an account's; says when to come back where there were too many wrong ones.
async fn is_right(call: &Call, name: &str, password: &str) -> Result<Option<Hash>, Refusal> {
    let web = &call.web;
    let now = web.clock.now().mono;
    web.people.locked().may_try(now, call.peer.address).map_err(|wait| {
        Refusal::too_many(
            said!(
                "too_many_passwords",
                "too many wrong passwords; try again in {seconds} s",
                seconds = wait.as_secs().max(1)
            ),
            wait,
        )
    })?;
    if password.len() > PASSWORD_BYTES_MAX {
        return Ok(None);
    }
    let (hash, exists) = web.people.locked().hash_of(name);
    let held = hash.clone();
    let password = crate::secret::Secret::new(password.as_bytes().to_vec());
    let matches = hashed(web, |answer| Order::Compare { password, hash: held, answer }).await?;
    Ok((matches && exists).then_some(hash))
}

/// Begins a session.
pub(super) async fn login(call: Call) -> Result<Reply, Refusal> {
    let (name, password) = (call.text("name")?.to_owned(), call.text("password")?.to_owned());
    let web = call.web.clone();
    let wrong =
        || Refusal::new(StatusCode::UNAUTHORIZED, "wrong", said!("wrong_login", "name or password is wrong"));
    let address = Some(call.peer.address.to_string());
    let Some(hash) = is_right(&call, &name, &password).await? else {
        web.note(Event { kind: "login_failed", who: Some(name), address, detail: String::new() });
        return Err(wrong());
    };
    // The session before it ends: nobody keeps an id that was known before the login.
    if let Some(id) = call.cookie(cookie_name(call.peer.is_secure)).and_then(digest) {
        web.people.locked().log_out(&id);
    }
    begin(&call, &name, &hash)?.ok_or_else(wrong)
}

/// A session for an account, and the cookie.
pub(super) fn begin(call: &Call, name: &str, hash: &Hash) -> Result<Option<Reply>, Refusal> {
    let web = &call.web;
    let id: [u8; 32] = random().map_err(Refusal::busy)?;
    let now = web.clock.now().mono;
    let Some(who) = web.people.locked().log_in(now, call.peer.address, name, hash, &id) else {
        return Ok(None);
    };
    let address = Some(call.peer.address.to_string());
    web.note(Event {
        kind: "login",
        who: Some(name.to_owned()),
        address,
        detail: who.role.name().to_owned(),
    });
    let mut reply = json_reply(&json!({"name": who.name, "role": who.role.name(), "csrf": who.csrf}));
    set_cookie(call, &mut reply, &hex::encode(&id), "");
    Ok(Some(reply))
}

fn set_cookie(call: &Call, reply: &mut Reply, value: &str, more: &str) {
    let secure = if call.peer.is_secure { "; Secure" } else { "" };
    let name = cookie_name(call.peer.is_secure);
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{more}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        reply.headers_mut().append(header::SET_COOKIE, cookie);
    }
}

/// Ends the session.
pub(super) async fn logout(call: Call) -> Result<Reply, Refusal> {
    if let Some(id) = call.cookie(cookie_name(call.peer.is_secure)).and_then(digest) {
        call.web.people.locked().log_out(&id);
    }
    call.web.note(event(&call, "logout", String::new()));
    let mut reply = done();
    set_cookie(&call, &mut reply, "", "; Max-Age=0");
    Ok(reply)
}

/// Gives whoever asks another password.
pub(super) async fn change_password(call: Call) -> Result<Reply, Refusal> {
    let (old, password) = (call.text("old")?.to_owned(), call.text("password")?.to_owned());
    let (web, name) = (call.web.clone(), call.name());
    let Some(before) = is_right(&call, &name, &old).await? else {
        return Err(Refusal::field("old", said!("wrong_old", "old: this isn't the password")));
    };
    let hash = new_hash(&web, &password, &name).await?;
    let changed = change(&web, |roll| {
        let account = roll.accounts.iter_mut().find(|account| account.name == name && account.hash == before);
        account.ok_or_else(|| said!("account_changed", "the account has changed meanwhile"))?.hash = hash;
        Ok(())
    });
    changed.map_err(|error| Refusal::new(StatusCode::CONFLICT, "refused", error))?;
    web.note(event(&call, "password_changed", String::new()));
    Ok(done())
}

pub(super) async fn list(call: Call) -> Result<Reply, Refusal> {
    let people = call.web.people.locked();
    let account = |account: &Account| json!({"name": account.name, "role": account.role.name()});
    let accounts: Json = people.roll().accounts.iter().map(account).collect();
    Ok(json_reply(&accounts))
}

fn role(call: &Call) -> Result<Role, Refusal> {
    let name = call.text("role")?;
    Role::named(name)
        .ok_or_else(|| Refusal::field("role", said!("role", "role: expected viewer, operator or admin")))
}

/// Somebody must be able to change things.
fn has_admin(roll: &Roll) -> Result<(), Said> {
    let has = roll.accounts.iter().any(|account| account.role == Role::Admin);
    if has { Ok(()) } else { Err(said!("last_admin", "the last administrator stays one")) }
}

/// Makes or changes an account.
pub(super) async fn set(call: Call) -> Result<Reply, Refusal> {
    let (name, role) = (call.text("name")?.to_owned(), role(&call)?);
    let hash = new_hash(&call.web, call.text("password")?, &name).await?;
    let changed = change(&call.web, |roll| {
        let existed = roll.set(&name, role, hash)?;
        has_admin(roll)?;
        Ok(existed)
    });
    let existed = changed.map_err(|error| Refusal::field("name", error))?;
    let kind = if existed { "account_changed" } else { "account_made" };
    call.web.note(event(&call, kind, format!("{name}, {}", role.name())));
    Ok(done())
}

/// Removes an account.
pub(super) async fn remove(call: Call) -> Result<Reply, Refusal> {
    let name = call.argument("name").unwrap_or_default().to_owned();
    let removed = change(&call.web, |roll| {
        let before = roll.accounts.len();
        roll.accounts.retain(|account| account.name != name);
        has_admin(roll)?;
        Ok(roll.accounts.len() < before)
    });
    if !removed.map_err(|error| Refusal::new(StatusCode::CONFLICT, "refused", error))? {
        return Err(Refusal::not_found());
    }
    call.web.note(event(&call, "account_removed", name));
    Ok(done())
}

pub(super) async fn tokens(call: Call) -> Result<Reply, Refusal> {
    let people = call.web.people.locked();
    let token = |token: &Token| {
        json!({
            "name": token.name,
            "role": token.role.name(),
            "made": token.made.to_string(),
            "used": token.used.map(|used| used.to_string()),
        })
    };
    let tokens: Json = people.roll().tokens.iter().map(token).collect();
    Ok(json_reply(&tokens))
}

/// Makes a token.
pub(super) async fn make_token(call: Call) -> Result<Reply, Refusal> {
    let (name, role) = (call.text("name")?.to_owned(), role(&call)?);
    let bytes: [u8; 32] = random().map_err(Refusal::busy)?;
    let secret = format!("fg_{}", Base64UrlUnpadded::encode_string(&bytes));
    let token = Token {
        name: name.clone(),
        role,
        digest: digest_of(secret.as_bytes()),
        made: call.web.clock.now().wall,
        used: None,
    };
    change(&call.web, |roll| roll.add_token(token)).map_err(|error| Refusal::field("name", error))?;
    call.web.note(event(&call, "token_made", format!("{name}, {}", role.name())));
    Ok(json_reply(&json!({"name": name, "role": role.name(), "token": secret})))
}

/// Removes a token.
pub(super) async fn remove_token(call: Call) -> Result<Reply, Refusal> {
    let name = call.argument("name").unwrap_or_default().to_owned();
    let removed = change(&call.web, |roll| {
        let before = roll.tokens.len();
        roll.tokens.retain(|token| token.name != name);
        Ok(roll.tokens.len() < before)
    });
    if !removed.map_err(Refusal::busy)? {
        return Err(Refusal::not_found());
    }
    call.web.note(event(&call, "token_removed", name));
    Ok(done())
}
