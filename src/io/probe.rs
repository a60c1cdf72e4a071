//! Tries what a new config changes before it counts: each changed port reads a sample, each changed upstream lets a client
//! in, the disk has room, listeners can listen. Nothing is changed by it, and what is borrowed comes back.

mod place;
mod port;
mod upstream;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::change::{Draft, Progress};
use super::reporter::Reporter;
use crate::limits::PROBE_BORROW_MAX;

pub use upstream::{Teller, attempt};

/// Tries that are under way at once: each holds a line or a connection.
const AT_ONCE_MAX: usize = 8;

/// How often it is said what has come on a line: in the five seconds of a try ten times, with eight lines at once more than
/// an asker who takes nothing can have waiting.
const SAID_EVERY: Duration = Duration::from_millis(500);

/// What came of one try.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// `port`, `upstream`, `disk`, `listener`, …
    pub what: &'static str,
    /// Which.
    pub name: String,
    /// How it went.
    pub state: State,
    /// In words.
    pub words: String,
    /// What was read, for programs.
    pub details: Json,
}

/// How a try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It works.
    Good,
    /// It may work; a person must judge.
    Doubtful,
    /// It doesn't work.
    Wrong,
    /// It can't be tried.
    Skipped,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Wrong => "wrong",
            Self::Skipped => "skipped",
        }
    }
}

impl Found {
    fn new(what: &'static str, name: &str, state: State, words: impl Into<String>) -> Self {
        Self { what, name: name.to_owned(), state, words: words.into(), details: Json::Null }
    }

    /// Whether it doesn't work.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.state == State::Wrong
    }

    /// As the API and the command line tell it.
    #[must_use]
    pub fn json(&self) -> Json {
        json!({
            "what": self.what,
            "name": self.name,
            "state": self.state.word(),
            "words": self.words,
            "details": self.details,
        })
    }
}

/// Tries all that a draft changes, and tells of each as it ends. When it is dropped, all of it ends, and what was borrowed
/// is given back.
pub async fn run(draft: &Draft, reporter: &Rc<Reporter>, progress: &Progress) -> Vec<Found> {
    let mut tries = JoinSet::new();
    let mut names = Vec::new();
    let room = Rc::new(Semaphore::new(AT_ONCE_MAX));
    for (name, job) in jobs(draft, reporter, progress) {
        let mut piece = json!({"step": "probe", "what": name.0, "name": name.1});
        if let (Some(piece), "port") = (piece.as_object_mut(), name.0) {
            piece.insert("at_most_s".into(), json!(PROBE_BORROW_MAX.as_secs()));
        }
        let _ = progress.try_send(piece);
        let (room, told) = (room.clone(), progress.clone());
        let (what, called) = name.clone();
        let running = tries.spawn_local(async move {
            let _turn = room.acquire().await;
            let _ = told.try_send(json!({"step": "begun", "what": what, "name": called}));
            job.await
        });
        names.push((running.id(), name));
    }
    let mut all = place::look(draft, reporter);
    for found in &all {
        let _ = progress.try_send(found.json());
    }
    while let Some(ended) = tries.join_next_with_id().await {
        let found = ended.map(|(_, found)| found).unwrap_or_else(|error| {
            let name = names.iter().find(|(id, _)| *id == error.id()).map(|(_, name)| name.clone());
            let (what, name) = name.unwrap_or_default();
            Found::new(what, &name, State::Wrong, "the try was cut short by a fault of this program")
        });
        let _ = progress.try_send(found.json());
        all.push(found);
    }
    all
}

type Name = (&'static str, String);
type Job = std::pin::Pin<Box<dyn Future<Output = Found>>>;

/// Says what has come so far on a line that is tried: not too often, so that what came of it finds room.
struct LineTeller {
    progress: Progress,
    name: String,
    said: Cell<Option<Instant>>,
}

impl LineTeller {
    fn new(progress: &Progress, name: &str) -> Self {
        Self { progress: progress.clone(), name: name.to_owned(), said: Cell::default() }
    }

    /// `bytes` in all, and what was made of them.
    fn came(&self, bytes: u64, readings: usize) {
        if self.said.get().is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            self.said.set(Some(Instant::now()));
            let piece = json!({"step": "came", "what": "port", "name": self.name, "bytes": bytes, "readings": readings});
            // Whoever is slow is told less.
            let _ = self.progress.try_send(piece);
        }
    }
}

fn jobs(draft: &Draft, reporter: &Rc<Reporter>, progress: &Progress) -> Vec<(Name, Job)> {
    let mut jobs: Vec<(Name, Job)> = Vec::new();
    for attempt in port::attempts(draft, reporter) {
        let name = ("port", attempt.name());
        let teller = LineTeller::new(progress, &name.1);
        jobs.push((name, Box::pin(attempt.run(teller))));
    }
    for upstream in &draft.config.upstreams {
        if is_changed(draft, "upstream", &upstream.name) {
            let name = ("upstream", upstream.name.to_string());
            jobs.push((name, Box::pin(upstream::run(upstream.clone()))));
        }
    }
    let old = draft.old.as_ref().map(|old| old.listeners.clone()).unwrap_or_default();
    for listener in draft.config.listeners.iter().filter(|listener| !old.contains(listener)) {
        let name = ("listener", listener.name.to_string());
        jobs.push((name, Box::pin(place::listener(listener.clone(), old.clone()))));
    }
    let page = &draft.config.web;
    let before = draft.old.as_ref().map(|old| old.web.clone());
    if page.enabled && before.as_ref().is_some_and(|before| place::is_elsewhere(page, before)) {
        jobs.push((("page", String::new()), Box::pin(place::page(page.clone(), before))));
    }
    jobs
}

/// Whether anything of a table with a name differs, and it isn't gone.
fn is_changed(draft: &Draft, root: &str, name: &str) -> bool {
    draft.changes.iter().any(|change| change.root == root && change.item.as_deref() == Some(name))
}
