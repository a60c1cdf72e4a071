//! The password file and the ACL file: read, and read again when they have changed. What a line means is `auth`'s
//! and `broker::acl`'s to say; who is let in meanwhile, the pump's.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files;
use crate::auth::PasswordFile;
use crate::broker::acl::{Acl, Rule, parse_file};
use crate::limits::CONFIG_FILE_BYTES_MAX;

/// Whose users or rules something is: a listener's own, by its name, or the broker's.
pub type Whose = Option<Arc<str>>;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// A password file.
    Passwords,
    /// An ACL file.
    Acl,
}

/// What is wrong with each file, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessErrors(BTreeMap<(Which, Whose), String>);

impl AccessErrors {
    /// A file can't be used.
    pub fn set(&mut self, which: Which, whose: Whose, words: String) {
        self.0.insert((which, whose), words);
    }

    /// A file can be used.
    pub fn clear(&mut self, which: Which, whose: Whose) {
        self.0.remove(&(which, whose));
    }

    /// For status and health.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let words = |((_, whose), words): (&(Which, Whose), &String)| match whose {
            Some(listener) => format!("listener {listener}: {words}"),
            None => words.clone(),
        };
        self.0.iter().map(words).collect()
    }
}

/// The users of a listener of its own, or of the broker: their names alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownUsers {
    /// Whose they are.
    pub whose: Whose,
    /// Those of the config.
    pub configured: Vec<String>,
    /// Those of the password file.
    pub of_file: Vec<String>,
}

/// A file that may change at any time.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    seen: Stamp,
}

/// What tells one version of a file from another: device, inode, length, and both times. `None`: there is no file.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

impl Watched {
    /// A file that was not read yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, seen: None }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it whatever happened to it.
    ///
    /// # Errors
    /// In words.
    pub fn read<T>(&mut self, read: impl FnOnce(&Path) -> Result<T, String>) -> Result<T, String> {
        // Taken first: what is written meanwhile is found the next time.
        self.seen = stamp(&self.path);
        read(&self.path)
    }

    /// Reads it if it isn't what it was the last time.
    pub fn read_if_changed<T>(
        &mut self,
        read: impl FnOnce(&Path) -> Result<T, String>,
    ) -> Option<Result<T, String>> {
        (stamp(&self.path) != self.seen).then(|| self.read(read))
    }
}

fn stamp(path: &Path) -> Stamp {
    let data = std::fs::metadata(path).ok()?;
    Some((
        data.dev(),
        data.ino(),
        data.size(),
        (data.mtime(), data.mtime_nsec()),
        (data.ctime(), data.ctime_nsec()),
    ))
}

/// Reads a password file.
///
/// # Errors
/// In words, naming the file and, where a line is wrong, its number.
pub fn read_users(path: &Path) -> Result<PasswordFile, String> {
    let bytes = read(path, "password file")?;
    PasswordFile::parse(&bytes).map_err(|mistake| format!("password file {}, {mistake}", path.display()))
}

/// Reads an ACL file.
///
/// # Errors
/// In words, naming the file and, where a line is wrong, its number.
pub fn read_rules(path: &Path) -> Result<Vec<Rule>, String> {
    let bytes = read(path, "ACL file")?;
    parse_file(&bytes).map_err(|mistake| format!("ACL file {}, {mistake}", path.display()))
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, String> {
    files::read_limited(path, CONFIG_FILE_BYTES_MAX)
        .map_err(|error| format!("can't read the {what} {}: {error}", path.display()))
}

/// The rules of the config and those of the file together. If the file could not be read, everything is denied.
#[must_use]
pub fn together(config: &Acl, file: Option<Result<Vec<Rule>, String>>) -> Arc<Acl> {
    Arc::new(match file {
        None => config.clone(),
        Some(Err(_)) => Acl::of(Vec::new()),
        Some(Ok(rules)) => Acl::of(config.rules().unwrap_or_default().iter().cloned().chain(rules).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_only_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acl");
        let text = |path: &Path| std::fs::read_to_string(path).map_err(|error| error.to_string());
        let mut file = Watched::new(path.clone());
        assert_eq!(file.read_if_changed(text), None, "it isn't there, as before");
        for content in ["a", "b", ""] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(file.read_if_changed(text), Some(Ok(content.to_owned())));
            assert_eq!(file.read_if_changed(text), None);
        }
        std::fs::remove_file(&path).unwrap();
        assert!(file.read_if_changed(text).unwrap().is_err(), "it is gone");
        assert_eq!(file.read_if_changed(text), None);
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(
            read_users(&path)
                .unwrap_err()
                .starts_with(&format!("can't read the password file {}: No such file", path.display()))
        );
        assert!(read_rules(&path).unwrap_err().contains("can't read the ACL file"));
        std::fs::write(&path, "# x\nplain:secret\n").unwrap();
        let error = read_users(&path).unwrap_err();
        assert!(error.contains("/file, line 2: what follows the user name is no password hash"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        assert!(read_rules(&path).unwrap_err().contains("/file, line 2: \"plain:secret\" is none of"));
    }

    #[test]
    fn a_file_that_cannot_be_read_denies_everything() {
        let rule = || parse_file(b"topic a").unwrap();
        let (open, config) = (Acl::open(), Acl::of(rule()));
        assert_eq!(*together(&open, None), open);
        assert_eq!(*together(&open, Some(Ok(rule()))), config);
        assert_eq!(together(&config, Some(Ok(rule()))).rules().map(<[Rule]>::len), Some(2));
        assert_eq!(*together(&config, Some(Err("gone".into()))), Acl::of(Vec::new()));
        assert_eq!(*together(&open, Some(Ok(Vec::new()))), Acl::of(Vec::new()));
    }
}
