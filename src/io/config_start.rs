//! The config at the start: a change that nobody confirmed goes back first; where the config on disk can't be used, the
//! gateway runs with the last one that could, and says so.

use std::path::{Path, PathBuf};

use super::clock::wall as now;
use super::config_history::{History, Version, sources};
use super::{backup, config_files};
use crate::config::{self, Config, Source};
use crate::time::Timestamp;

/// Where the data are if nothing says otherwise.
const DATA_DIR: &str = "/var/lib/fieldgate";

/// Who puts back what nobody confirmed.
pub(super) const SELF: &str = "the gateway";

/// What the gateway starts with.
#[derive(Debug)]
pub struct Beginning {
    /// The config.
    pub config: Config,
    /// Why it isn't the one on disk.
    pub error: Option<String>,
    /// For the log, once there is one.
    pub news: Vec<String>,
}

/// Reads the config to start with. A broken or missing one is replaced by the last good one, unless `strict` says no or
/// there is none.
///
/// # Errors
/// The full text for people: all mistakes, or why the file can't be read.
pub fn load(main: &Path, strict: bool) -> Result<Beginning, String> {
    let history = History::of(&data_dir(main));
    let mut news = Vec::new();
    let mut forced = None;
    match put_back(main, &history) {
        Ok(told) => news.extend(told),
        Err((told, version)) => {
            news.push(told);
            forced = version;
        }
    }
    if let Some(files) = forced
        && let Ok(config) = config_files::parse(&files)
    {
        let error = news.last().cloned();
        return Ok(Beginning { config, error, news });
    }
    let problem = match read(main) {
        Ok(config) => return Ok(Beginning { config, error: None, news }),
        Err(problem) => problem,
    };
    let good = |version: Version| {
        let config = config_files::parse(&sources(&version.files)).ok()?;
        Some((config, version))
    };
    let last = if strict { None } else { history.versions().into_iter().rev().find_map(good) };
    let Some((config, version)) = last else { return Err(problem.full) };
    let since = Timestamp::from_millis(version.time_ms);
    let error =
        format!("{}; it runs with version {} of {since}, the last good one", problem.short, version.number);
    news.push(format!("the config on disk can't be used: {error}"));
    Ok(Beginning { config, error: Some(error), news })
}

/// Why a config can't be used.
struct Problem {
    full: String,
    short: String,
}

fn read(main: &Path) -> Result<Config, Problem> {
    let unreadable = |error: String| Problem { full: error.clone(), short: error };
    let sources = super::files::config_sources(main).map_err(unreadable)?;
    config_files::parse(&sources).map_err(|mistakes| {
        let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
        let more = match mistakes.len() {
            0 | 1 => String::new(),
            count => format!("; {} more mistakes", count.saturating_sub(1)),
        };
        Problem { full: config::render(&mistakes), short: first + &more }
    })
}

/// Where the data are, as far as a config says so that may be broken or missing.
fn data_dir(main: &Path) -> PathBuf {
    let said = config_files::read(main).ok().and_then(|sources| config::data_dir(&sources));
    // systemd names all StateDirectory=, the first of them is ours.
    let given = || std::env::var("STATE_DIRECTORY").ok()?.split(':').next().map(PathBuf::from);
    said.or_else(given).unwrap_or_else(|| DATA_DIR.into())
}

/// A change that nobody has confirmed goes back: whoever it locked out has perhaps cut the power for that. Says what was
/// done.
///
/// # Errors
/// What is wrong, and the files that should be there.
fn put_back(main: &Path, history: &History) -> Result<Option<String>, (String, Option<Vec<Source>>)> {
    let Some(_held) = history.hold() else { return Ok(None) };
    let change = match history.unconfirmed() {
        Ok(None) => return Ok(None),
        Ok(Some(change)) => change,
        Err(error) => return Err((format!("what is to be confirmed can't be read: {error}"), None)),
    };
    let (before, after) = (sources(&change.before), sources(&change.after));
    let found = config_files::read(main).unwrap_or_default();
    let told = if config_files::is_between(&found, &before, &after) {
        let failed = |error: String| {
            let words = format!(
                "a change of the config by {} was not confirmed, and can't be put back: {error}",
                change.who
            );
            (words, Some(before.clone()))
        };
        config_files::write(&found, &before)
            .and_then(|()| backup::put_back(&change.files))
            .map_err(failed)?;
        let note = "not confirmed before the gateway was started again".to_owned();
        // Without it the history has a gap; the config is right all the same.
        let _ =
            history.add(&before, now(), SELF, Some(note), format!("as before the change by {}", change.who));
        format!(
            "a change of the config by {} was not confirmed before the gateway was started again; it was put back",
            change.who
        )
    } else {
        format!(
            "a change of the config by {} was not confirmed; its files were edited since, so nothing was put back",
            change.who
        )
    };
    history.forget_unconfirmed().map_err(|error| (error, None))?;
    Ok(Some(told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::config_history::{Unconfirmed, texts};

    struct Box {
        folder: tempfile::TempDir,
    }

    impl Box {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn main(&self) -> PathBuf {
            self.folder.path().join("fieldgate.toml")
        }

        fn history(&self) -> History {
            let data = self.folder.path().join("data");
            std::fs::create_dir_all(data.join("config-history")).unwrap();
            History::of(&data)
        }

        fn document(&self, site: &str) -> Vec<Source> {
            let data = self.folder.path().join("data");
            let text = format!("[gateway]\nsite = \"{site}\"\ndata_dir = {data:?}\n");
            vec![Source { file: self.main().display().to_string(), text }]
        }

        fn write(&self, documents: &[Source]) {
            for source in documents {
                std::fs::write(&source.file, &source.text).unwrap();
            }
        }

        fn site(&self) -> Result<(String, Option<String>), String> {
            let beginning = load(&self.main(), false)?;
            Ok((beginning.config.gateway.site.unwrap(), beginning.error))
        }
    }

    #[test]
    fn a_broken_config_gives_way_to_the_last_good_one_unless_told_otherwise() {
        let place = Box::new();
        place.write(&place.document("one"));
        assert_eq!(place.site(), Ok(("one".into(), None)));
        let history = place.history();
        history.add(&place.document("good"), now(), "a", None, "s".into()).unwrap();
        let mut newer = place.document("newer");
        newer[0].text += "[[prt]]\n";
        history.add(&newer, now(), "a", None, "s".into()).unwrap();
        place.write(&newer);
        let (site, error) = place.site().unwrap();
        let error = error.unwrap();
        assert_eq!(site, "good", "a version that can't be used any more is passed over");
        assert!(error.contains("unknown table [[prt]]") && error.contains("version 1 of "), "{error}");
        assert!(load(&place.main(), true).unwrap_err().contains("1 mistake"));
    }

    #[test]
    fn an_unconfirmed_change_goes_back_and_one_that_was_edited_since_stays() {
        for (found, expected) in [("after", "before"), ("before", "before"), ("mine", "mine")] {
            let place = Box::new();
            let (before, after) = (place.document("before"), place.document("after"));
            let change = Unconfirmed {
                who: "ann".into(),
                time_ms: 0,
                before: texts(&before),
                after: texts(&after),
                files: Vec::new(),
            };
            place.history().note_unconfirmed(&change).unwrap();
            place.write(&place.document(found));
            let beginning = load(&place.main(), false).unwrap();
            assert_eq!(beginning.config.gateway.site.as_deref(), Some(expected));
            assert!(beginning.news[0].contains("by ann was not confirmed"), "{:?}", beginning.news);
            assert_eq!(load(&place.main(), false).unwrap().news, Vec::<String>::new());
        }
    }
}
