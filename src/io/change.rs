//! A change of the config while the gateway runs: looked at, tried, written, taken over, and, where it could lock people
//! out, put back unless somebody confirms it. What a config means and what differs decides [`crate::config`]; who takes
//! it over is `app`'s business.
//!
//! ```text
//! draft ─▶ probe ─▶ write ─▶ reload ──▶ in use, a version of the history
//!            │        ▲         │ refused        │ could lock people out
//!            ▼        └─────────┘                ▼
//!         refused     files as before      unconfirmed ── confirm ─▶ stays
//!                                                └── time over, start of the gateway ─▶ files as before, reload
//! ```

mod back;
mod draft;
mod keep;
mod origin;

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};
use tracing::{error, info, warn};

use super::clock::wall as now;
use super::config_history::{History, Unconfirmed, sources, texts};
use super::operations::{Reload, Reloaded};
use super::probe::{self, Found};
use super::reporter::Reporter;
use super::{backup, config_files};
use crate::config::{Source, diff};
use crate::events::Event;
use crate::said;
use crate::said::Said;

pub use draft::{Draft, Proposal};
pub use keep::Restore;
pub use origin::{How, Origin};

/// What a change stands for without a config that says otherwise.
const CONFIRM_WITHIN: Duration = Duration::from_secs(90);

/// Pieces of progress that wait for a slow asker; who is slower is told less.
pub const PROGRESS_MAX: usize = 64;

/// Where the asker hears how it goes on. One that is closed calls a try off.
pub type Progress = mpsc::Sender<Json>;

/// Where the config is changed. Lives on the service thread.
#[derive(Debug)]
pub struct Desk {
    file: PathBuf,
    history: History,
    reload: mpsc::Sender<Reload>,
    reporter: Weak<Reporter>,
    /// One change at a time.
    turn: Mutex<()>,
    /// What is read again is a change of ours.
    ours: Cell<bool>,
    standing: RefCell<Option<Standing>>,
    /// Held as long as we run.
    _held: Option<File>,
}

/// A change that waits to be confirmed.
#[derive(Debug)]
struct Standing {
    change: Unconfirmed,
    /// Which version it is, if it could be kept.
    version: Option<u64>,
    deadline: tokio::time::Instant,
    timer: JoinHandle<()>,
}

impl Reporter {
    /// Has the config changed here from now on. `error` is why what runs isn't what is on disk.
    pub fn begin_changes(self: &Rc<Self>, file: &Path, error: Option<String>, reload: mpsc::Sender<Reload>) {
        self.reload.borrow_mut().error.clone_from(&error);
        let history = History::of(&self.data_dir);
        if let Err(error) = history.make() {
            error!(error, "the config has no history");
        }
        let held = history.hold();
        let desk = Rc::new(Desk {
            file: file.to_owned(),
            history,
            reload,
            reporter: Rc::downgrade(self),
            turn: Mutex::default(),
            ours: Cell::default(),
            standing: RefCell::default(),
            _held: held,
        });
        let _ = self.changes.set(desk.clone());
        if error.is_none() {
            spawn_local(async move { drop(desk.record("start", None).await) });
        }
    }
}

impl Desk {
    /// What was in use, the config in use as the newest.
    #[must_use]
    pub fn versions(&self) -> History {
        self.history.clone()
    }

    /// The config was read again, by whomever: what is in use is a version of the history.
    pub async fn read_again(&self) {
        if !self.ours.get() {
            if self.standing.borrow().is_none() {
                self.settle_page();
            }
            let version = self.record("reload", None).await;
            self.note("config_read", None, version.map(|(number, summary)| worded(Some(number), &summary)));
        }
    }

    /// Adds what is on disk to the history; which version it is then, and what differs in it.
    async fn record(&self, who: &str, note: Option<String>) -> Option<(u64, String)> {
        let (file, history, who) = (self.file.clone(), self.history.clone(), who.to_owned());
        let added = spawn_blocking(move || {
            let found = config_files::read(&file)?;
            let before =
                history.newest().and_then(|newest| config_files::parse(&sources(&newest.files)).ok());
            let summary = match (before, config_files::parse(&found)) {
                (Some(before), Ok(now)) => diff::summary(&diff::changes(&before.settings, &now.settings)),
                _ => "the first".to_owned(),
            };
            history.add(&found, now(), &who, note, summary.clone()).map(|number| (number, summary))
        });
        let added = added.await.unwrap_or_else(|error| Err(error.to_string()));
        added.inspect_err(|error| warn!(error, "the config in use could not be put into the history")).ok()
    }

    /// What is on disk, what runs, and what waits to be confirmed.
    pub async fn state(&self) -> Json {
        let (file, history) = (self.file.clone(), self.history.clone());
        let read = spawn_blocking(move || {
            let found = config_files::read(&file);
            let meant = found.as_ref().ok().map(|found| draft::meaning(found));
            (found, history.newest(), meant)
        });
        let Ok((found, newest, meant)) = read.await else {
            return json!({"error": "the config can't be read"});
        };
        let (files, hash, error) = match found {
            Ok(found) => (texts(&found), Some(config_files::hash(&found)), None),
            Err(error) => (Vec::new(), None, Some(error)),
        };
        let runs = newest.as_ref().map(|newest| config_files::hash(&sources(&newest.files)));
        let (settings, mistakes) = meant.unwrap_or_default();
        json!({
            "file": self.file,
            "files": files,
            "settings": settings,
            "mistakes": mistakes,
            "base": hash,
            "read_error": error,
            "version": newest.map(|newest| newest.number),
            "is_running": hash.is_some() && hash == runs,
            "pending": self.pending(),
        })
    }

    /// The change that waits to be confirmed; null if there is none.
    #[must_use]
    pub fn pending(&self) -> Json {
        self.standing.borrow().as_ref().map_or(Json::Null, |standing| {
            let left = standing.deadline.saturating_duration_since(tokio::time::Instant::now());
            json!({"who": standing.change.who, "time_ms": standing.change.time_ms, "seconds_left": left.as_secs()})
        })
    }

    /// The versions that are kept, the oldest first, or one of them with its text.
    pub async fn history(&self, version: Option<u64>) -> Json {
        let history = self.history.clone();
        let read = spawn_blocking(move || match version {
            Some(number) => match history.version(number) {
                Some(version) => json!(version),
                None => json!({"error": format!("there is no version {number}")}),
            },
            None => {
                let short = |version: &super::config_history::Version| {
                    json!({
                        "number": version.number,
                        "time_ms": version.time_ms,
                        "who": version.who,
                        "note": version.note,
                        "summary": version.summary,
                    })
                };
                history.versions().iter().map(short).collect()
            }
        });
        read.await.unwrap_or_else(|error| json!({"error": error.to_string()}))
    }

    /// What a proposal would do: its mistakes, or what differs.
    pub async fn look(&self, proposal: Proposal) -> Json {
        match self.draft(proposal).await {
            Ok(draft) => draft.json(),
            Err(refused) => refused,
        }
    }

    /// What a proposal would be, without trying or making it.
    ///
    /// # Errors
    /// As the asker is told it.
    pub async fn draft(&self, proposal: Proposal) -> Result<Draft, Json> {
        let (file, history) = (self.file.clone(), self.history.clone());
        let made = spawn_blocking(move || Draft::make(&file, &history, &proposal)).await;
        made.unwrap_or_else(|error| Err(json!({"error": error.to_string()})))
    }

    /// Tries what a proposal changes, without changing anything.
    pub async fn probe(&self, proposal: Proposal, progress: &Progress) -> Json {
        let Ok(_turn) = self.turn.try_lock() else { return busy() };
        let draft = match self.draft(proposal).await {
            Ok(draft) => draft,
            Err(refused) => return refused,
        };
        match self.try_out(&draft, progress).await {
            Ok(found) => {
                let outcome = if found.iter().any(Found::is_wrong) { "wrong" } else { "right" };
                let mut answer = draft.json();
                if let Json::Object(answer) = &mut answer {
                    answer.insert("outcome".into(), json!(outcome));
                    answer.insert("probe".into(), found.iter().map(Found::json).collect());
                }
                answer
            }
            Err(error) => error.put_into(json!({})),
        }
    }

    /// Whoever goes away calls it off: what was borrowed is given back when the future is dropped.
    async fn try_out(&self, draft: &Draft, progress: &Progress) -> Result<Vec<Found>, Said> {
        let reporter = self.reporter.upgrade().ok_or_else(|| said!("stopping", "the gateway is stopping"))?;
        tokio::select! {
            found = probe::run(draft, &reporter, progress) => Ok(found),
            () = progress.closed() => Err(said!("called_off", "nobody listens any more; it was called off")),
        }
    }

    /// Makes a change: from the proposal to what is in use.
    pub async fn apply(self: Rc<Self>, proposal: Proposal, how: How, progress: Progress) -> Json {
        let Ok(_turn) = self.turn.try_lock() else { return busy() };
        if let Some(refused) = self.waits() {
            return refused;
        }
        let draft = match self.draft(proposal).await {
            Ok(draft) => draft,
            Err(refused) => return refused,
        };
        let mut probed = Json::Null;
        if how.probe {
            let found = match self.try_out(&draft, &progress).await {
                Ok(found) => found,
                Err(error) => return refused(error),
            };
            probed = found.iter().map(Found::json).collect();
            if !how.force && found.iter().any(Found::is_wrong) {
                let why = said!("probe_failed", "what was tried doesn't work; nothing has changed");
                return why.put_into(json!({"outcome": "probe-failed", "probe": probed}));
            }
        }
        let _ = progress.try_send(json!({"step": "apply"}));
        let mut answer = match self.take(&draft, &how).await {
            Ok(answer) => answer,
            Err(refused) => refused,
        };
        if let Json::Object(answer) = &mut answer {
            answer.insert("probe".into(), probed);
        }
        answer
    }

    /// What is said to whoever wants another change while one waits.
    fn waits(&self) -> Option<Json> {
        let standing = self.standing.borrow();
        let who = &standing.as_ref()?.change.who;
        let why = said!(
            "change_waits",
            "a change by {who} waits to be confirmed; confirm it or put it back first",
            who = who
        );
        Some(why.put_into(json!({"outcome": "refused", "pending": true})))
    }

    /// Writes, has it read, and puts everything back if it is refused.
    async fn take(self: &Rc<Self>, draft: &Draft, how: &How) -> Result<Json, Json> {
        let cuts_off = draft.must_be_confirmed();
        let change = Unconfirmed {
            who: how.origin.words(),
            time_ms: now().as_millis(),
            before: texts(&draft.found),
            after: texts(&draft.new),
            files: draft.files.clone(),
        };
        let (file, history) = (self.file.clone(), self.history.clone());
        let (found, new, noted) = (draft.found.clone(), draft.new.clone(), cuts_off.then(|| change.clone()));
        let written = spawn_blocking(move || {
            if config_files::read(&file)? != found {
                return Err(said!(
                    "changed_meanwhile",
                    "the config on disk was changed meanwhile; nothing was written"
                ));
            }
            // First the note: what is interrupted from here on goes back at the next start.
            if let Some(change) = &noted {
                history.note_unconfirmed(change)?;
            }
            let written = config_files::write(&found, &new).inspect_err(|_| {
                let _ = config_files::write(&new, &found).and_then(|()| history.forget_unconfirmed());
            });
            written.map_err(Said::from)
        });
        written.await.unwrap_or_else(|error| Err(error.to_string().into())).map_err(refused)?;
        let outcome = self.read_ours().await;
        if !outcome.mistakes.is_empty() {
            self.undo(draft).await.map_err(refused)?;
            let why = said!("not_taken_over", "the running gateway can't take it over; nothing has changed");
            return Err(why.put_into(json!({
                "outcome": "refused",
                "mistakes": outcome.mistakes.iter().map(|message| json!({"message": message, "text": message})).collect::<Vec<_>>(),
            })));
        }
        let summary = diff::summary(&draft.changes);
        let who = how.origin.words();
        let version = self.keep(&draft.new, &who, how.note.clone(), summary.clone()).await;
        info!(who, changed = summary, version, "config changed");
        self.note("config_changed", Some(&how.origin), Some(worded(version, &summary)));
        let within = cuts_off.then(|| self.stand(change, version, draft));
        if within.is_none() {
            self.settle_page();
        }
        let mut answer = outcome.json();
        if let Json::Object(answer) = &mut answer {
            answer.insert("version".into(), json!(version));
            answer.insert("changes".into(), draft.changes.iter().map(diff::Change::json).collect());
            answer.insert("confirm_within_s".into(), json!(within.map(|within| within.as_secs())));
        }
        Ok(answer)
    }

    /// Addresses of the page that the config doesn't name any more are closed.
    fn settle_page(&self) {
        if let Some(reporter) = self.reporter.upgrade() {
            reporter.page_orders.settle();
        }
    }

    /// For people who look at the page.
    fn note(&self, kind: &'static str, by: Option<&Origin>, detail: Option<String>) {
        if let Some(reporter) = self.reporter.upgrade() {
            let (who, address) = (by.and_then(|by| by.who.clone()), by.map(|by| by.address.clone()));
            reporter.journal().add(Event { kind, who, address, detail: detail.unwrap_or_default() });
        }
    }

    /// Has the running gateway read what was written.
    async fn read_ours(&self) -> Reloaded {
        self.ours.set(true);
        let (answer, outcome) = oneshot::channel();
        let stopping =
            || Reloaded { mistakes: vec!["the gateway is stopping".to_owned()], ..Reloaded::default() };
        let outcome = match self.reload.send(answer).await {
            Ok(()) => outcome.await.unwrap_or_else(|_| stopping()),
            Err(_) => stopping(),
        };
        self.ours.set(false);
        outcome
    }

    /// The files as they were before a change that was refused.
    async fn undo(&self, draft: &Draft) -> Result<(), String> {
        let (found, new, files) = (draft.found.clone(), draft.new.clone(), draft.files.clone());
        let history = self.history.clone();
        let undone = spawn_blocking(move || {
            config_files::write(&new, &found)
                .and_then(|()| backup::put_back(&files))
                .and_then(|()| history.forget_unconfirmed())
        });
        undone.await.unwrap_or_else(|error| Err(error.to_string()))?;
        // What runs is on disk again: status says so when it was read.
        self.read_ours().await;
        Ok(())
    }

    async fn keep(&self, new: &[Source], who: &str, note: Option<String>, summary: String) -> Option<u64> {
        let (new, who, history) = (new.to_vec(), who.to_owned(), self.history.clone());
        let kept = spawn_blocking(move || history.add(&new, now(), &who, note, summary));
        match kept.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(number) => Some(number),
            Err(error) => {
                warn!(error, "the config in use could not be put into the history");
                None
            }
        }
    }
}

/// A version and what differs in it, for the events.
fn worded(version: Option<u64>, summary: &str) -> String {
    version.map_or_else(|| summary.to_owned(), |number| format!("version {number}: {summary}"))
}

fn busy() -> Json {
    refused(said!("change_under_way", "another change is under way"))
}

/// What is answered when nothing has changed, and why.
fn refused(why: impl Into<Said>) -> Json {
    why.into().put_into(json!({"outcome": "refused"}))
}
