//! Accounts and API tokens, and the file that they are kept in: JSON with a layout number.

use serde_json::{Value as Json, json};

use super::{Digest, Role};
use crate::auth::Hash;
use crate::hex;
use crate::said;
use crate::said::Said;
use crate::time::Timestamp;

/// The layout of the file.
const LAYOUT: u64 = 1;

/// The most accounts, some 300 bytes each. A further one is refused.
pub const ACCOUNTS_MAX: usize = 32;

/// The most tokens, some 300 bytes each. A further one is refused.
pub const TOKENS_MAX: usize = 32;

/// The longest name of an account or a token, in characters.
pub const NAME_CHARS_MAX: usize = 64;

/// Somebody with a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Unique.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// Of his password.
    pub hash: Hash,
}

/// A program.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Of the token, which nobody knows but who was shown it.
    pub digest: Digest,
    /// When it was made.
    pub made: Timestamp,
    /// When it was last used, as far as it was written.
    pub used: Option<Timestamp>,
}

/// All of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Roll {
    /// In the order in which they were made.
    pub accounts: Vec<Account>,
    /// In the order in which they were made.
    pub tokens: Vec<Token>,
}

impl std::fmt::Debug for Roll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Roll({} accounts, {} tokens)", self.accounts.len(), self.tokens.len())
    }
}

impl Roll {
    /// Reads the file.
    ///
    /// # Errors
    /// In words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let json: Json = serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON: {error}"))?;
        if json.get("layout").and_then(Json::as_u64) != Some(LAYOUT) {
            return Err(format!("it has another layout than {LAYOUT}"));
        }
        let list = |key: &str| json.get(key).and_then(Json::as_array).cloned().unwrap_or_default();
        let accounts = list("accounts").iter().map(account).collect::<Option<Vec<_>>>();
        let tokens = list("tokens").iter().map(token).collect::<Option<Vec<_>>>();
        match (accounts, tokens) {
            (Some(accounts), Some(tokens))
                if accounts.len() <= ACCOUNTS_MAX && tokens.len() <= TOKENS_MAX =>
            {
                Ok(Self { accounts, tokens })
            }
            (Some(_), Some(_)) => {
                Err(format!("it has more than {ACCOUNTS_MAX} accounts or {TOKENS_MAX} tokens"))
            }
            _ => Err("an account or a token in it is damaged".to_owned()),
        }
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let account = |account: &Account| json!({"name": account.name, "role": account.role.name(), "hash": account.hash.to_string()});
        let token = |token: &Token| {
            json!({
                "name": token.name,
                "role": token.role.name(),
                "sha256": hex::encode(&token.digest),
                "made": token.made.as_millis(),
                "used": token.used.map(Timestamp::as_millis),
            })
        };
        let file = json!({
            "layout": LAYOUT,
            "accounts": self.accounts.iter().map(account).collect::<Vec<_>>(),
            "tokens": self.tokens.iter().map(token).collect::<Vec<_>>(),
        });
        format!("{file:#}\n").into_bytes()
    }

    /// Gives an account another password, or makes it.
    ///
    /// # Errors
    /// In words: the name can't be one, or there are too many.
    pub fn set(&mut self, name: &str, role: Role, hash: Hash) -> Result<bool, Said> {
        if let Some(account) = self.accounts.iter_mut().find(|account| account.name == name) {
            (account.role, account.hash) = (role, hash);
            return Ok(true);
        }
        check_name(name)?;
        if self.accounts.len() >= ACCOUNTS_MAX {
            return Err(said!("accounts_full", "there are {max} accounts already", max = ACCOUNTS_MAX));
        }
        self.accounts.push(Account { name: name.to_owned(), role, hash });
        Ok(false)
    }

    /// Takes over when tokens were last used, as far as `known` knows better.
    pub fn remember_uses(&mut self, known: &Self) {
        for token in &mut self.tokens {
            let same = known.tokens.iter().find(|known| known.digest == token.digest);
            token.used = token.used.max(same.and_then(|same| same.used));
        }
    }

    /// Makes a token.
    ///
    /// # Errors
    /// In words: the name can't be one or is taken, or there are too many.
    pub fn add_token(&mut self, token: Token) -> Result<(), Said> {
        check_name(&token.name)?;
        if self.tokens.iter().any(|other| other.name == token.name) {
            return Err(said!("token_exists", "there is a token \"{token}\" already", token = token.name));
        }
        if self.tokens.len() >= TOKENS_MAX {
            return Err(said!("tokens_full", "there are {max} tokens already", max = TOKENS_MAX));
        }
        self.tokens.push(token);
        Ok(())
    }
}

/// Whether an account or a token may be called that.
///
/// # Errors
/// In words.
pub fn check_name(name: &str) -> Result<(), Said> {
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
        return Err(said!("name_length", "a name has 1 to {max} characters", max = NAME_CHARS_MAX));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(said!(
            "name_spaces",
            "a name neither begins nor ends with a space, and has no control characters"
        ));
    }
    Ok(())
}

fn account(json: &Json) -> Option<Account> {
    Some(Account {
        name: json.get("name")?.as_str()?.to_owned(),
        role: Role::named(json.get("role")?.as_str()?)?,
        hash: Hash::parse(json.get("hash")?.as_str()?).ok()?,
    })
}

fn token(json: &Json) -> Option<Token> {
    let used = json.get("used").filter(|used| !used.is_null());
    Some(Token {
        name: json.get("name")?.as_str()?.to_owned(),
        role: Role::named(json.get("role")?.as_str()?)?,
        digest: digest(json.get("sha256")?.as_str()?)?,
        made: Timestamp::from_millis(json.get("made")?.as_i64()?),
        used: match used {
            None => None,
            Some(used) => Some(Timestamp::from_millis(used.as_i64()?)),
        },
    })
}

/// A digest from its digits.
#[must_use]
pub fn digest(text: &str) -> Option<Digest> {
    hex::decode(text)?.try_into().ok()
}
