//! The configs that were in use, in a folder of the data directory: the last 20, each a file with its text, when, by whom
//! and why; and the note of a change that nobody has confirmed yet. All of it blocks.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::backup::Before;
use super::{config_files, files};
use crate::config::Source;
use crate::limits::{CONFIG_HISTORY_BYTES_MAX, CONFIG_VERSIONS_MAX};
use crate::store::{self, CONFIG_HISTORY};
use crate::time::Timestamp;

/// The note of a change that is to be confirmed, in the same folder.
const PENDING: &str = "unconfirmed.json";

/// The longest file of the history: two documents, escaped.
const FILE_BYTES_MAX: u64 = 4 * CONFIG_HISTORY_BYTES_MAX;

/// A config that was in use.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Version {
    /// Counts up from 1.
    pub number: u64,
    /// Since when, in milliseconds since 1970.
    pub time_ms: i64,
    /// Who made it so.
    pub who: String,
    /// Why, in that person's words.
    pub note: Option<String>,
    /// What differs from the one before.
    pub summary: String,
    /// Its files.
    pub files: Vec<Text>,
}

/// One file's name and text.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Text {
    /// The file.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// A change that goes back unless it is confirmed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Unconfirmed {
    /// Who made it.
    pub who: String,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// What was there before.
    pub before: Vec<Text>,
    /// What is there now.
    pub after: Vec<Text>,
    /// What other files were before, where a backup was restored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Before>,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct History {
    folder: PathBuf,
}

/// Files as a config's sources.
#[must_use]
pub fn sources(texts: &[Text]) -> Vec<Source> {
    texts.iter().map(|text| Source { file: text.file.clone(), text: text.text.clone() }).collect()
}

/// A config's sources as files.
#[must_use]
pub fn texts(sources: &[Source]) -> Vec<Text> {
    sources.iter().map(|source| Text { file: source.file.clone(), text: source.text.clone() }).collect()
}

impl History {
    /// That of a data directory.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        Self { folder: data_dir.join(CONFIG_HISTORY) }
    }

    /// All versions, the oldest first; what can't be read is left out.
    #[must_use]
    pub fn versions(&self) -> Vec<Version> {
        let read = |number: &u64| self.version(*number);
        self.numbers().iter().filter_map(read).collect()
    }

    /// The newest.
    #[must_use]
    pub fn newest(&self) -> Option<Version> {
        self.numbers().iter().rev().find_map(|number| self.version(*number))
    }

    /// One of them.
    #[must_use]
    pub fn version(&self, number: u64) -> Option<Version> {
        let bytes = files::read_limited(&self.path(number), FILE_BYTES_MAX).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Adds what is in use from now on, unless it is the same as before, and forgets what is too much. Returns its number.
    ///
    /// # Errors
    /// In words.
    pub fn add(
        &self,
        sources: &[Source],
        time: Timestamp,
        who: &str,
        note: Option<String>,
        summary: String,
    ) -> Result<u64, String> {
        let newest = self.newest();
        if let Some(newest) = &newest
            && config_files::hash(&self::sources(&newest.files)) == config_files::hash(sources)
        {
            return Ok(newest.number);
        }
        let number = self.numbers().last().map_or(1, |last| last.saturating_add(1));
        let version = Version {
            number,
            time_ms: time.as_millis(),
            who: who.to_owned(),
            note,
            summary,
            files: texts(sources),
        };
        self.put(&self.path(number), &version)?;
        self.forget();
        Ok(number)
    }

    /// Makes the folder.
    ///
    /// # Errors
    /// In words.
    pub fn make(&self) -> Result<(), String> {
        if let Some(data) = self.folder.parent().filter(|data| store::is_foreign(data)) {
            return Err(format!("{} has another program's files", data.display()));
        }
        std::fs::create_dir_all(&self.folder)
            .map_err(|error| format!("can't make the folder {}: {error}", self.folder.display()))
    }

    fn put(&self, path: &Path, content: &impl Serialize) -> Result<(), String> {
        self.make()?;
        let bytes = serde_json::to_vec(content).map_err(|error| error.to_string())?;
        files::rewrite(path, |_| Ok((bytes, ())))
    }

    /// The oldest go when there are too many, or when they take too much; the newest two stay.
    fn forget(&self) {
        let numbers = self.numbers();
        let mut bytes = 0_u64;
        for (place, number) in numbers.iter().rev().enumerate() {
            let path = self.path(*number);
            bytes = bytes.saturating_add(std::fs::metadata(&path).map_or(0, |file| file.len()));
            if place >= CONFIG_VERSIONS_MAX || (place >= 2 && bytes > CONFIG_HISTORY_BYTES_MAX) {
                // One that can't be removed is tried again with the next.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:08}.json"))
    }

    fn numbers(&self) -> Vec<u64> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let number = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.parse().ok()
        };
        let mut numbers: Vec<u64> = entries.filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    fn pending_path(&self) -> PathBuf {
        self.folder.join(PENDING)
    }

    /// Notes a change before it is made.
    ///
    /// # Errors
    /// In words.
    pub fn note_unconfirmed(&self, change: &Unconfirmed) -> Result<(), String> {
        self.put(&self.pending_path(), change)
    }

    /// The change that nobody has confirmed, if there is one.
    ///
    /// # Errors
    /// In words, if the note is there and can't be read.
    pub fn unconfirmed(&self) -> Result<Option<Unconfirmed>, String> {
        let path = self.pending_path();
        let wrong = |error: String| format!("{}: {error}", path.display());
        match files::read_limited(&path, FILE_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| wrong(error.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    /// The change is confirmed, or has gone back.
    ///
    /// # Errors
    /// In words.
    pub fn forget_unconfirmed(&self) -> Result<(), String> {
        let path = self.pending_path();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("can't remove {}: {error}", path.display()))
            }
            _ => {
                // A power cut right after it must not bring it back.
                let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
                Ok(())
            }
        }
    }

    /// Holds the folder as long as the gateway runs, so that a second one that is started by mistake doesn't take the first
    /// one's changes back. `None`: another has it, or there is none yet.
    #[must_use]
    pub fn hold(&self) -> Option<File> {
        let lock =
            File::options().write(true).create(true).truncate(false).open(self.folder.join("lock")).ok()?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Vec<Source> {
        vec![Source { file: "f".into(), text: text.into() }]
    }

    fn add(history: &History, text: &str) -> u64 {
        history.add(&document(text), Timestamp::from_millis(5), "ann", None, "x".into()).unwrap()
    }

    #[test]
    fn the_last_twenty_are_kept_and_what_is_the_same_is_no_version() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::of(folder.path());
        assert_eq!((history.newest(), history.versions().len()), (None, 0));
        for n in 0..30 {
            assert_eq!(add(&history, &n.to_string()), n + 1);
            assert_eq!(add(&history, &n.to_string()), n + 1);
        }
        let numbers: Vec<u64> = history.versions().iter().map(|version| version.number).collect();
        assert_eq!(numbers, (11..=30).collect::<Vec<_>>());
        assert_eq!(sources(&history.version(17).unwrap().files), document("16"));
        std::fs::write(history.path(30), "{").unwrap();
        assert_eq!(history.newest().unwrap().number, 29, "one that is damaged is passed over");
        assert_eq!(add(&history, "new"), 31);
    }

    #[test]
    fn large_ones_push_out_older_ones_but_two_stay() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::of(folder.path());
        let large = usize::try_from(CONFIG_HISTORY_BYTES_MAX / 2).unwrap();
        for n in 1..=4_u8 {
            add(&history, &char::from(b'a' + n).to_string().repeat(large * usize::from(n == 4) + 10));
        }
        assert_eq!(history.versions().len(), 4);
        add(&history, &"x".repeat(large));
        assert_eq!(history.versions().iter().map(|version| version.number).collect::<Vec<_>>(), [4, 5]);
    }

    #[test]
    fn an_unconfirmed_change_is_noted_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::of(folder.path());
        assert_eq!(history.unconfirmed(), Ok(None));
        let change = Unconfirmed {
            who: "ann".into(),
            time_ms: 1,
            before: texts(&document("a")),
            after: texts(&document("b")),
            files: Vec::new(),
        };
        history.note_unconfirmed(&change).unwrap();
        assert_eq!(history.unconfirmed(), Ok(Some(change)));
        assert_eq!(history.numbers(), Vec::<u64>::new());
        history.forget_unconfirmed().unwrap();
        assert_eq!(history.unconfirmed(), Ok(None));
        assert_eq!(history.forget_unconfirmed(), Ok(()));
        std::fs::write(history.pending_path(), "{").unwrap();
        assert!(history.unconfirmed().unwrap_err().contains("unconfirmed.json"));
    }

    #[test]
    fn only_one_gateway_holds_a_history() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::of(folder.path());
        assert!(history.hold().is_none(), "there is none yet");
        history.make().unwrap();
        let held = history.hold();
        assert!(held.is_some() && history.hold().is_none());
        drop(held);
        assert!(history.hold().is_some());
    }
}
