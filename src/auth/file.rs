//! A password file: `user:hash` lines as Mosquitto has them. Text to users and back; comments, empty lines and the
//! order of lines survive a change.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::hash::Hash;

/// The longest user name, in bytes: MQTT's own bound for a string.
const USER_BYTES_MAX: usize = 65_535;

/// What is wrong with a line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMistake {
    /// Counted from 1.
    pub line: usize,
    /// In words.
    pub cause: String,
}

impl fmt::Display for FileMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.cause)
    }
}

/// The users of a file.
#[derive(Clone, Debug, Default)]
pub struct PasswordFile {
    lines: Vec<Line>,
    users: HashMap<String, Arc<Hash>>,
}

#[derive(Clone, Debug)]
enum Line {
    /// A comment or an empty line, as it stands.
    Other(String),
    /// A user; the hash is in `users`.
    User(String),
}

impl PasswordFile {
    /// Reads a whole file.
    ///
    /// # Errors
    /// The first line that is neither empty, nor a comment, nor `user:hash`.
    pub fn parse(bytes: &[u8]) -> Result<Self, FileMistake> {
        Self::read(bytes, |hash| Hash::parse(hash).map_err(|error| error.to_string()))
    }

    /// Reads a file of `user:password` lines, and has each password hashed by `hash`.
    ///
    /// # Errors
    /// The first line that is neither empty, nor a comment, nor `user:password`, or what `hash` said of it.
    pub fn convert(
        bytes: &[u8],
        mut hash: impl FnMut(&str) -> Result<Hash, String>,
    ) -> Result<Self, FileMistake> {
        Self::read(bytes, |password| match Hash::parse(password) {
            // A file that was half converted is finished.
            Ok(hash) => Ok(hash),
            Err(_) => hash(password),
        })
    }

    fn read(bytes: &[u8], mut hash: impl FnMut(&str) -> Result<Hash, String>) -> Result<Self, FileMistake> {
        let mut file = Self::default();
        if bytes.is_empty() {
            return Ok(file);
        }
        let content = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        for (at, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let wrong = |cause: String| FileMistake { line: at + 1, cause };
            let line = std::str::from_utf8(line).map_err(|_| wrong("is not UTF-8 text".into()))?;
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.trim().is_empty() || line.starts_with('#') {
                file.lines.push(Line::Other(line.to_owned()));
                continue;
            }
            let Some((user, rest)) = line.split_once(':') else {
                return Err(wrong("has no ':' between a user name and a password hash".into()));
            };
            check_user_name(user).map_err(wrong)?;
            if file.users.contains_key(user) {
                return Err(wrong(format!("user {user:?} stands in the file twice")));
            }
            let hash = hash(rest.trim_end()).map_err(wrong)?;
            file.lines.push(Line::User(user.to_owned()));
            file.users.insert(user.to_owned(), Arc::new(hash));
        }
        Ok(file)
    }

    /// The hash of a user.
    #[must_use]
    pub fn hash(&self, user: &str) -> Option<&Arc<Hash>> {
        self.users.get(user)
    }

    /// The names of all users, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(String::as_str)
    }

    /// Adds a user, or gives him another hash. Tells whether he was there.
    pub fn set(&mut self, user: &str, hash: Hash) -> bool {
        let existed = self.users.insert(user.to_owned(), Arc::new(hash)).is_some();
        if !existed {
            self.lines.push(Line::User(user.to_owned()));
        }
        existed
    }

    /// Gives a user another hash if he still has this one. Tells whether he had.
    pub fn replace(&mut self, user: &str, old: &Hash, new: Hash) -> bool {
        let same = self.users.get(user).is_some_and(|hash| **hash == *old);
        if same {
            self.set(user, new);
        }
        same
    }

    /// Takes a user out. Tells whether he was there.
    pub fn remove(&mut self, user: &str) -> bool {
        self.lines.retain(|line| !matches!(line, Line::User(name) if name == user));
        self.users.remove(user).is_some()
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Users whose hash is weak.
    #[must_use]
    pub fn weak(&self) -> usize {
        self.users.values().filter(|hash| hash.is_weak()).count()
    }
}

/// The whole file.
impl fmt::Display for PasswordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Other(text) => writeln!(f, "{text}")?,
                Line::User(user) => {
                    if let Some(hash) = self.users.get(user) {
                        writeln!(f, "{user}:{hash}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Checks that a user name can stand in a password file.
///
/// # Errors
/// In words.
pub fn check_user_name(user: &str) -> Result<(), String> {
    if user.is_empty() {
        Err("the user name is empty".into())
    } else if user.len() > USER_BYTES_MAX {
        Err(format!("the user name has more than {USER_BYTES_MAX} bytes"))
    } else if user.starts_with('#') {
        Err("a user name can't start with '#': the line would be a comment".into())
    } else if user.contains(':') {
        Err("a user name can't contain ':', which ends it".into())
    } else if user.contains(char::is_control) {
        Err("the user name contains a control character".into())
    } else {
        Ok(())
    }
}
