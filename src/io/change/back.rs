//! A change that waits to be confirmed, and the ways back.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::task::{spawn_blocking, spawn_local};
use tracing::{error, info, warn};

use super::{CONFIRM_WITHIN, Desk, Draft, How, Origin, Progress, Proposal, Standing, busy, worded};
use crate::io::config_history::{Unconfirmed, sources};
use crate::io::config_start::SELF;
use crate::io::{backup, config_files};
use crate::said;
use crate::said::Said;

impl Desk {
    /// Has the change go back by itself; for how long it stands.
    pub(super) fn stand(
        self: &Rc<Self>,
        change: Unconfirmed,
        version: Option<u64>,
        draft: &Draft,
    ) -> Duration {
        // As long as people had agreed on before: a slip in this very key must not make it an hour.
        let within = draft.old.as_ref().map_or(CONFIRM_WITHIN, |old| old.changes.confirm_within);
        let deadline = tokio::time::Instant::now() + within;
        let desk = Rc::downgrade(self);
        let timer = spawn_local(async move {
            tokio::time::sleep_until(deadline).await;
            if let Some(desk) = desk.upgrade() {
                desk.time_is_over().await;
            }
        });
        warn!(who = change.who, within_s = within.as_secs(), "the change goes back unless it is confirmed");
        let words = format!("a change by {} goes back unless it is confirmed", change.who);
        self.standing.replace(Some(Standing { change, version, deadline, timer }));
        self.tell_pending(Some(words));
        within
    }

    fn tell_pending(&self, words: Option<String>) {
        if let Some(reporter) = self.reporter.upgrade() {
            reporter.reload.borrow_mut().pending = words;
            reporter.changed.notify_one();
        }
    }

    async fn time_is_over(&self) {
        let _turn = self.turn.lock().await;
        let Some(standing) = self.standing.take() else { return };
        let outcome = self.go_back(&standing.change, SELF, "not confirmed in time").await;
        match outcome.get("error").and_then(Json::as_str) {
            None => {
                warn!(
                    who = standing.change.who,
                    "a change of the config was not confirmed and has gone back"
                );
                self.note("config_back", None, Some(went_back(&standing, &outcome)));
            }
            Some(error) => {
                error!(who = standing.change.who, error, "an unconfirmed change could not go back")
            }
        }
    }

    /// Keeps the change that waits.
    pub async fn confirm(&self, by: &Origin) -> Json {
        let Ok(_turn) = self.turn.try_lock() else { return busy() };
        let Some(standing) = self.standing.take() else {
            return said!("none_waits", "no change waits to be confirmed").put_into(json!({}));
        };
        let history = self.history.clone();
        let forgotten = spawn_blocking(move || history.forget_unconfirmed()).await;
        if let Err(error) = forgotten.unwrap_or_else(|error| Err(error.to_string())) {
            self.standing.replace(Some(standing));
            return json!({ "error": error });
        }
        standing.timer.abort();
        self.tell_pending(None);
        self.settle_page();
        info!(who = by.words(), "the change of the config is confirmed");
        let version = standing.version.map(|number| format!("version {number}, by {}", standing.change.who));
        self.note("config_confirmed", Some(by), version);
        json!({"outcome": "confirmed"})
    }

    /// Puts back the change that waits; else the version that is named, or the one before. What is put back is a change
    /// like any other.
    pub async fn revert(self: Rc<Self>, version: Option<u64>, how: How, progress: Progress) -> Json {
        if version.is_none() {
            let Ok(_turn) = self.turn.try_lock() else { return busy() };
            let standing = self.standing.take();
            if let Some(standing) = standing {
                standing.timer.abort();
                let outcome = self.go_back(&standing.change, &how.origin.words(), "put back").await;
                if outcome.get("error").is_none() {
                    self.note("config_back", Some(&how.origin), Some(went_back(&standing, &outcome)));
                }
                return outcome;
            }
        }
        let history = self.history.clone();
        let found = spawn_blocking(move || {
            let versions = history.versions();
            let before = versions.len().checked_sub(2);
            match version {
                Some(number) => versions.into_iter().find(|version| version.number == number),
                None => before.and_then(|place| versions.into_iter().nth(place)),
            }
        });
        let Ok(Some(found)) = found.await else {
            return match version {
                Some(number) => said!("no_version", "there is no version {number}", number = number),
                None => said!("none_before", "there is no version before this one"),
            }
            .put_into(json!({}));
        };
        let how = How { note: how.note.or_else(|| Some(format!("back to version {}", found.number))), ..how };
        let proposal = Proposal { files: Some(found.files), ..Proposal::default() };
        self.apply(proposal, how, progress).await
    }

    /// The files as before a change that was not confirmed, read again. What somebody has edited since stays.
    async fn go_back(&self, change: &Unconfirmed, who: &str, note: &str) -> Json {
        let (before, after) = (sources(&change.before), sources(&change.after));
        let (file, history, target) = (self.file.clone(), self.history.clone(), before.clone());
        let files = change.files.clone();
        let written = spawn_blocking(move || {
            let found = config_files::read(&file)?;
            if !config_files::is_between(&found, &target, &after) {
                history.forget_unconfirmed()?;
                return Err(said!("edited_since", "the files were edited since; they stay as they are"));
            }
            config_files::write(&found, &target)?;
            backup::put_back(&files).map_err(Said::from)
        });
        if let Err(error) = written.await.unwrap_or_else(|error| Err(error.to_string().into())) {
            self.tell_pending(None);
            self.settle_page();
            return error.put_into(json!({}));
        }
        let outcome = self.read_ours().await;
        self.settle_page();
        let summary = format!("as before the change by {}", change.who);
        let version = self.keep(&before, who, Some(note.to_owned()), summary).await;
        // Last: a gateway that ends before this does it again.
        let history = self.history.clone();
        let _ = spawn_blocking(move || history.forget_unconfirmed()).await;
        self.tell_pending(None);
        let mut answer = outcome.json();
        if let Json::Object(answer) = &mut answer {
            answer.insert("version".into(), json!(version));
            if !outcome.mistakes.is_empty() {
                answer.insert("error".into(), json!(outcome.mistakes.join("; ")));
            }
        }
        answer
    }
}

/// What went back, for the events.
fn went_back(standing: &Standing, outcome: &Json) -> String {
    let version = outcome.get("version").and_then(Json::as_u64);
    worded(version, &format!("as before the change by {}", standing.change.who))
}
