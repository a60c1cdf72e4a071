//! A change that waits to be confirmed, and the ways back.

use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::task::{spawn_blocking, spawn_local};
use tracing::{error, info, warn};

use super::{CONFIRM_WITHIN, Desk, Draft, How, Progress, Proposal, Standing, busy};
use crate::io::config_history::{Unconfirmed, sources};
use crate::io::config_start::SELF;
use crate::io::{backup, config_files};

impl Desk {
    /// Has the change go back by itself; for how long it stands.
    pub(super) fn stand(self: &Rc<Self>, change: Unconfirmed, draft: &Draft) -> Duration {
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
        self.standing.replace(Some(Standing { change, deadline, timer }));
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
                self.note("config_back", None, format!("the change by {}", standing.change.who));
            }
            Some(error) => {
                error!(who = standing.change.who, error, "an unconfirmed change could not go back")
            }
        }
    }

    /// Keeps the change that waits.
    pub async fn confirm(&self, who: &str) -> Json {
        let Ok(_turn) = self.turn.try_lock() else { return busy() };
        let Some(standing) = self.standing.take() else {
            return json!({"error": "no change waits to be confirmed"});
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
        info!(who, "the change of the config is confirmed");
        self.note("config_confirmed", Some(who), String::new());
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
                let outcome = self.go_back(&standing.change, &how.who, "put back").await;
                if outcome.get("error").is_none() {
                    self.note(
                        "config_back",
                        Some(&how.who),
                        format!("the change by {}", standing.change.who),
                    );
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
                Some(number) => json!({"error": format!("there is no version {number}")}),
                None => json!({"error": "there is no version before this one"}),
            };
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
                return Err("the files were edited since; they stay as they are".to_owned());
            }
            config_files::write(&found, &target)?;
            backup::put_back(&files)
        });
        if let Err(error) = written.await.unwrap_or_else(|error| Err(error.to_string())) {
            self.tell_pending(None);
            self.settle_page();
            return json!({ "error": error });
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
