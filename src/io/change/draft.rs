//! A change that is proposed: what the files would be then, whether that is a config, and what differs.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::refused;
use crate::config::edit::{self, Edit};
use crate::config::{Config, Mistake, Source, diff, path_of};
use crate::io::backup::Before;
use crate::io::config_history::{History, Text, sources};
use crate::io::{admission, config_files};
use crate::said;
use crate::said::Said;

/// A change that somebody proposes: one of `edits`, `text` and `files`. Without any, it is what is on disk.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Proposal {
    /// What the files were when the change was thought up, as `config-get` tells it: others may have changed them since.
    pub base: Option<String>,
    /// Keys to change.
    pub edits: Option<Vec<Edit>>,
    /// The main file's whole text.
    pub text: Option<String>,
    /// All files: those of `conf.d` that aren't there go.
    pub files: Option<Vec<Text>>,
}

/// A proposal that is a config.
#[derive(Debug)]
pub struct Draft {
    /// What is on disk.
    pub found: Vec<Source>,
    /// What would be there.
    pub new: Vec<Source>,
    /// What runs, if that is known.
    pub old: Option<Config>,
    /// What would run.
    pub config: Config,
    /// What differs between the two.
    pub changes: Vec<diff::Change>,
    /// What other files were before, where a backup is restored.
    pub files: Vec<Before>,
}

impl Draft {
    /// Reads what is there, and what the proposal makes of it. Blocks.
    ///
    /// # Errors
    /// As the asker is told it: `{"outcome": "refused", "error": …, "mistakes": […]}`.
    pub fn make(main: &Path, history: &History, proposal: &Proposal) -> Result<Self, Json> {
        let draft = Self::meant(main, history, proposal)?;
        let wrong = admission::mistakes(&draft.config);
        if !wrong.is_empty() {
            let mistakes: Vec<Json> =
                wrong.iter().map(|text| json!({"message": text, "text": text})).collect();
            return Err(counted(mistakes.len()).put_into(json!({"outcome": "refused", "mistakes": mistakes})));
        }
        Ok(draft)
    }

    /// As [`Self::make`], whatever the files are like that the config names: they may come with it. Blocks.
    ///
    /// # Errors
    /// As `make`.
    pub fn meant(main: &Path, history: &History, proposal: &Proposal) -> Result<Self, Json> {
        let found = config_files::read(main).map_err(refused)?;
        let hash = config_files::hash(&found);
        if proposal.base.as_ref().is_some_and(|base| *base != hash) {
            let why = said!(
                "stale",
                "the config on disk was changed since it was read for this change; read it again"
            );
            return Err(why.put_into(json!({"outcome": "refused", "base": hash, "stale": true})));
        }
        let new = proposal.apply(main, &found)?;
        let config = config_files::parse(&new).map_err(|mistakes| refused_for(&mistakes, &new))?;
        let runs = history.newest().map(|newest| sources(&newest.files));
        let old = config_files::parse(runs.as_ref().unwrap_or(&found)).ok();
        let nothing = || config_files::parse(&[]).ok();
        let before = old.as_ref().map(|old| old.settings.clone()).or_else(|| Some(nothing()?.settings));
        let changes = before.map(|before| diff::changes(&before, &config.settings)).unwrap_or_default();
        Ok(Self { found, new, old, config, changes, files: Vec::new() })
    }

    /// Whether it could lock people out.
    #[must_use]
    pub fn must_be_confirmed(&self) -> bool {
        !self.files.is_empty() || self.changes.iter().any(diff::Change::must_be_confirmed)
    }

    /// What it would do.
    #[must_use]
    pub fn json(&self) -> Json {
        json!({
            "outcome": "right",
            "base": config_files::hash(&self.found),
            "changes": self.changes.iter().map(diff::Change::json).collect::<Vec<_>>(),
            "diff": diff::unified(&self.found, &self.new),
            "needs_confirmation": self.must_be_confirmed(),
        })
    }
}

impl Proposal {
    fn apply(&self, main: &Path, found: &[Source]) -> Result<Vec<Source>, Json> {
        let kinds = [self.edits.is_some(), self.text.is_some(), self.files.is_some()];
        if kinds.iter().filter(|given| **given).count() > 1 {
            return Err(refused("edits, text and files exclude each other"));
        }
        if let Some(edits) = &self.edits {
            return edit::edit(found, edits).map_err(|error| refused(error.to_string()));
        }
        if let Some(text) = &self.text {
            let mut new = found.to_vec();
            if let Some(first) = new.first_mut() {
                first.text.clone_from(text);
            }
            return Ok(new);
        }
        match &self.files {
            None => Ok(found.to_vec()),
            Some(files) => {
                let parts = main.parent().unwrap_or(Path::new("")).join("conf.d");
                for (place, file) in files.iter().enumerate() {
                    let path = Path::new(&file.file);
                    let is_part = path.parent() == Some(&parts)
                        && path.extension().is_some_and(|extension| extension == "toml");
                    // Nobody writes elsewhere through this.
                    if (place == 0 && path != main) || (place > 0 && !is_part) {
                        return Err(refused(said!(
                            "no_file",
                            "{file} is no file of this config",
                            file = file.file
                        )));
                    }
                }
                if files.is_empty() {
                    return Err(refused("there is no file"));
                }
                Ok(sources(files))
            }
        }
    }
}

/// What files mean: every key with its value, given or by default, or the mistakes in them.
pub(super) fn meaning(found: &[Source]) -> (Json, Vec<Json>) {
    match config_files::parse(found) {
        Ok(config) => (config.settings.json(), Vec::new()),
        Err(mistakes) => (Json::Null, told(&mistakes, found)),
    }
}

fn told(mistakes: &[Mistake], new: &[Source]) -> Vec<Json> {
    mistakes.iter().map(|mistake| mistake.json(path_of(mistake, new).as_deref())).collect()
}

fn refused_for(mistakes: &[Mistake], new: &[Source]) -> Json {
    counted(mistakes.len()).put_into(json!({"outcome": "refused", "mistakes": told(mistakes, new)}))
}

fn counted(mistakes: usize) -> Said {
    match mistakes {
        1 => said!("one_mistake", "there is 1 mistake; nothing has changed"),
        count => said!("mistakes", "there are {count} mistakes; nothing has changed", count = count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_part_of_the_config_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("fieldgate.toml");
        std::fs::write(&main, "").unwrap();
        let history = History::of(&folder.path().join("data"));
        let text = |path: &Path| Text { file: path.display().to_string(), text: String::new() };
        let make = |files: Vec<Text>| {
            let proposal = Proposal { files: Some(files), ..Proposal::default() };
            Draft::make(&main, &history, &proposal).map(|draft| draft.new.len())
        };
        let part = folder.path().join("conf.d").join("a.toml");
        assert_eq!(make(vec![text(&main), text(&part)]), Ok(2));
        for bad in [
            vec![text(Path::new("/etc/passwd"))],
            vec![text(&main), text(&folder.path().join("conf.d/../x.toml"))],
            vec![text(&main), text(&folder.path().join("conf.d/x.conf"))],
            vec![text(&main), text(Path::new("/etc/cron.d/x.toml"))],
            vec![],
        ] {
            assert_eq!(make(bad).unwrap_err()["outcome"], "refused");
        }
    }
}
