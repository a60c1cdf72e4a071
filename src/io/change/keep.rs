//! Backups while the gateway runs: made, looked at, and restored as a change like any other: what it brings goes back, the
//! files beside the config too, unless somebody confirms it.

use std::rc::Rc;

use serde_json::{Value as Json, json};
use tokio::task::spawn_blocking;

use super::{Desk, Draft, How, Origin, Proposal, busy};
use crate::io::backup::{self, Backup, Before, Brought};
use crate::io::clock::wall as now;
use crate::io::config_history::{Unconfirmed, texts};
use crate::secret::Secret;

fn refused(error: impl Into<String>) -> Json {
    json!({"outcome": "refused", "error": error.into()})
}

/// Whether files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// Only told what would be.
    Look,
    /// Done.
    Apply,
}

impl Desk {
    /// The whole config in one text; with a passphrase secrets are in it.
    pub async fn backup(&self, passphrase: Option<Secret>, by: &Origin) -> Json {
        let file = self.file.clone();
        let made = spawn_blocking(move || {
            let passphrase = passphrase.map(backup::passphrase).transpose()?;
            let is_sealed = passphrase.is_some();
            backup::make(&file, passphrase.as_ref()).map(|(text, backup)| (text, backup, is_sealed))
        });
        match made.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok((text, backup, is_sealed)) => {
                let what = if is_sealed { "with secrets" } else { "without secrets" };
                self.note("backup_made", Some(by), Some(what.to_owned()));
                json!({
                    "gateway": backup.gateway,
                    "time": backup.time,
                    "encrypted": is_sealed,
                    "left_out": backup.left_out,
                    "content": text,
                })
            }
            Err(error) => refused(error),
        }
    }

    /// Puts back what a backup has, or says what that would change.
    pub async fn restore(
        self: Rc<Self>,
        text: String,
        passphrase: Option<Secret>,
        restore: Restore,
        how: How,
    ) -> Json {
        let Ok(_turn) = self.turn.try_lock() else { return busy() };
        if restore == Restore::Apply
            && let Some(refused) = self.waits()
        {
            return refused;
        }
        let (file, history) = (self.file.clone(), self.history.clone());
        let opened = spawn_blocking(move || {
            let backup = backup::open(&text, passphrase.as_ref()).map_err(refused)?;
            let proposal = Proposal { files: Some(texts(&backup.sources(&file))), ..Proposal::default() };
            let draft = Draft::meant(&file, &history, &proposal)?;
            let (files, not) = backup.files(&file).map_err(refused)?;
            Ok(Opened { backup, proposal, draft, files, not })
        });
        let opened = match opened.await.unwrap_or_else(|error| Err(refused(error.to_string()))) {
            Ok(opened) => opened,
            Err(refused) => return refused,
        };
        match restore {
            Restore::Look => opened.json(),
            Restore::Apply => self.put_in_place(opened, how).await.unwrap_or_else(|refused| refused),
        }
    }

    /// First the note, so that a crash from here on takes everything back; then the files; then the config, as any other
    /// change.
    async fn put_in_place(self: &Rc<Self>, opened: Opened, how: How) -> Result<Json, Json> {
        let told = opened.told();
        let note = how.note.or_else(|| Some(format!("restored from the backup of {}", opened.backup.time)));
        let how = How { note, ..how };
        let (file, history, who) = (self.file.clone(), self.history.clone(), how.origin.words());
        let written = spawn_blocking(move || {
            let before = opened.backup.before(&file).map_err(refused)?;
            let change = Unconfirmed {
                who,
                time_ms: now().as_millis(),
                before: texts(&opened.draft.found),
                after: texts(&opened.draft.new),
                files: before.clone(),
            };
            if !before.is_empty() {
                history.note_unconfirmed(&change).map_err(refused)?;
            }
            let undone = |error: Json| {
                let _ = backup::put_back(&before).and_then(|()| history.forget_unconfirmed());
                error
            };
            opened.backup.restore_files(&file, false).map_err(|error| undone(refused(error)))?;
            let draft = Draft::make(&file, &history, &opened.proposal).map_err(undone)?;
            Ok(Draft { files: before, ..draft })
        });
        let draft = written.await.unwrap_or_else(|error| Err(refused(error.to_string())))?;
        let taken = self.take(&draft, &how).await;
        if taken.is_err() {
            // Whatever it had come to: with the config of before belong the files of before.
            self.forget_restored(draft.files).await;
        }
        let mut answer = taken?;
        if let (Json::Object(answer), Json::Object(told)) = (&mut answer, told) {
            answer.extend(told);
        }
        Ok(answer)
    }

    async fn forget_restored(&self, files: Vec<Before>) {
        let history = self.history.clone();
        let put = move || backup::put_back(&files).and_then(|()| history.forget_unconfirmed());
        if let Err(error) = spawn_blocking(put).await.unwrap_or_else(|error| Err(error.to_string())) {
            tracing::error!(error, "files of a backup that was refused could not be put back");
        }
    }
}

/// A backup that was read.
struct Opened {
    backup: Backup,
    proposal: Proposal,
    draft: Draft,
    /// The files beside the config, each with whether it is another than is there.
    files: Vec<Brought>,
    /// What isn't restored, and why.
    not: Vec<String>,
}

impl Opened {
    fn told(&self) -> Json {
        let files: Vec<Json> =
            self.files.iter().map(|(path, is_other)| json!({"file": path, "differs": is_other})).collect();
        let not: Vec<&String> = self.not.iter().chain(&self.backup.left_out).collect();
        json!({
            "gateway": self.backup.gateway,
            "time": self.backup.time,
            "restores": files,
            "not_restored": not,
        })
    }

    fn json(&self) -> Json {
        let mut answer = self.draft.json();
        if let (Json::Object(answer), Json::Object(told)) = (&mut answer, self.told()) {
            answer.extend(told);
            let is_more = !self.files.is_empty();
            answer.entry("needs_confirmation").and_modify(|needs| {
                *needs = json!(needs.as_bool() == Some(true) || is_more);
            });
        }
        answer
    }
}
