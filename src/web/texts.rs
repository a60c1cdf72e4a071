//! What the page says, in each language: one file of texts each, which are part of the program; further languages are
//! files in the folder that the config names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tracing::warn;

use crate::io::files::read_limited;
use crate::said::{Said, filled};

/// The language of whoever asks for none that there is; each of the others falls back to it, text by text.
const DEFAULT: &str = "en";

/// The languages that are part of the program.
const BUILT_IN: &[(&str, &str)] =
    &[("de", include_str!("texts/de.toml")), (DEFAULT, include_str!("texts/en.toml"))];

/// The largest file of texts, in bytes, and the most of them: 4 MiB at worst. Larger ones and further ones aren't read,
/// which is told.
const FILE_BYTES_MAX: u64 = 256 * 1024;
const FILES_MAX: usize = 16;

/// The table of the texts that the script needs.
const SCRIPT: &str = "script.";

/// The table of what is refused, by the codes of [`crate::said`]: English has none, its words stand where they are said.
const SAID: &str = "said.";

/// The texts of a language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// As `lang` of HTML names it.
    pub code: String,
    texts: BTreeMap<String, String>,
}

/// All languages.
#[derive(Clone, Debug)]
pub struct Texts {
    all: Vec<Arc<Catalogue>>,
}

impl Texts {
    /// Those that are part of the program, and those of a folder.
    #[must_use]
    pub fn load(folder: &Path) -> Self {
        let mut all: Vec<Catalogue> =
            BUILT_IN.iter().filter_map(|(code, text)| read(code, text).ok()).collect();
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        files.sort();
        for file in files.iter().take(FILES_MAX) {
            let code = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let text = read_limited(file, FILE_BYTES_MAX).map_err(|error| error.to_string());
            let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned()));
            match text.and_then(|text| read(&code, &text)) {
                Ok(catalogue) => {
                    all.retain(|known| known.code != catalogue.code);
                    all.push(catalogue);
                }
                Err(error) => warn!(file = %file.display(), error, "a language of the page can't be used"),
            }
        }
        if files.len() > FILES_MAX {
            warn!(files = files.len(), max = FILES_MAX, "not all languages of the page are used");
        }
        // What a language lacks is said in English.
        let english = all.iter().find(|known| known.code == DEFAULT).cloned().unwrap_or_default();
        for catalogue in &mut all {
            for (key, text) in &english.texts {
                catalogue.texts.entry(key.clone()).or_insert_with(|| text.clone());
            }
        }
        all.sort_by(|one, other| one.code.cmp(&other.code));
        Self { all: all.into_iter().map(Arc::new).collect() }
    }

    /// A language by its code.
    #[must_use]
    pub fn named(&self, code: &str) -> Option<Arc<Catalogue>> {
        self.all.iter().find(|known| known.code == code).cloned()
    }

    /// The one that an `Accept-Language` likes best of those that there are.
    #[must_use]
    pub fn liked(&self, accepted: &str) -> Arc<Catalogue> {
        let mut wanted: Vec<(f32, &str)> = accepted
            .split(',')
            .filter_map(|part| {
                let (range, weight) = part.split_once(';').unwrap_or((part, ""));
                let weight =
                    weight.trim().strip_prefix("q=").map_or(Some(1.0), |weight| weight.parse().ok())?;
                Some((weight, range.trim()))
            })
            .collect();
        wanted.sort_by(|one, other| other.0.total_cmp(&one.0));
        let of = |range: &str| {
            let primary = range.split('-').next().unwrap_or_default().to_ascii_lowercase();
            self.named(range).or_else(|| self.named(&primary))
        };
        let found = wanted.iter().filter(|(weight, _)| *weight > 0.0).find_map(|(_, range)| of(range));
        found.or_else(|| self.named(DEFAULT)).unwrap_or_default()
    }

    /// Code and own name of each.
    pub fn languages(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all.iter().map(|known| (known.code.as_str(), known.say("language.name")))
    }
}

impl Catalogue {
    /// A text; the key itself where there is none.
    #[must_use]
    pub fn say<'t>(&'t self, key: &'t str) -> &'t str {
        self.texts.get(key).map_or(key, String::as_str)
    }

    /// A text whose `{words}` are filled in.
    #[must_use]
    pub fn fill(&self, key: &str, words: &[(&str, &str)]) -> String {
        filled(self.say(key), words)
    }

    /// What somebody is told, in this language if it has words for that.
    #[must_use]
    pub fn tell(&self, said: &Said) -> String {
        let words = said.code().and_then(|code| self.texts.get(&format!("{SAID}{code}")));
        words.map_or_else(|| said.to_string(), |words| said.in_words(words))
    }

    /// What the script needs, as JSON.
    #[must_use]
    pub fn for_script(&self) -> String {
        let texts = self.texts.iter().filter_map(|(key, text)| Some((key.strip_prefix(SCRIPT)?, text)));
        let texts: serde_json::Map<String, Json> =
            texts.map(|(key, text)| (key.to_owned(), json!(text))).collect();
        Json::Object(texts).to_string()
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }
}

/// Reads a file of tables of texts.
fn read(code: &str, text: &str) -> Result<Catalogue, String> {
    let document: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let mut texts = BTreeMap::new();
    for (table, entries) in &document {
        let entries = entries.as_table().ok_or_else(|| format!("{table} is no table"))?;
        for (key, text) in entries {
            let text = text.as_str().ok_or_else(|| format!("{table}.{key} is no text"))?;
            texts.insert(format!("{table}.{key}"), text.to_owned());
        }
    }
    Ok(Catalogue { code: code.to_owned(), texts })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;

    fn built_in(code: &str) -> Catalogue {
        let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == code).unwrap();
        read(code, text).unwrap()
    }

    /// All sources in which texts of the page are used.
    fn sources() -> String {
        all_sources("src/web")
    }

    fn all_sources(folder: &str) -> String {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
        let mut all = String::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path: PathBuf = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.ends_with("src/said.rs") {
                    // It explains with examples.
                } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "html" || kind == "js")
                {
                    all += &std::fs::read_to_string(path).unwrap();
                }
            }
        }
        all
    }

    #[test]
    fn all_languages_have_the_same_texts_with_the_same_words_to_fill_in() {
        let words = |text: &str| {
            text.split('{')
                .skip(1)
                .filter_map(|rest| rest.split_once('}'))
                .map(|(word, _)| word.to_owned())
                .collect()
        };
        let english = built_in(DEFAULT);
        for (code, _) in BUILT_IN {
            let other = built_in(code);
            let keys = |catalogue: &Catalogue| catalogue.keys().map(str::to_owned).collect::<BTreeSet<_>>();
            let said = |key: &String| key.starts_with(SAID);
            assert_eq!(
                keys(&other).into_iter().filter(|key| !said(key)).collect::<BTreeSet<_>>(),
                keys(&english),
                "{code}"
            );
            for key in english.keys() {
                let (one, two): (BTreeSet<String>, BTreeSet<String>) =
                    (words(english.say(key)), words(other.say(key)));
                assert_eq!(one, two, "{code}: {key}");
                assert!(!other.say(key).trim().is_empty(), "{code}: {key}");
            }
        }
    }

    #[test]
    fn whatever_is_said_with_a_code_has_words_in_every_language_with_the_same_values() {
        let mut said: BTreeMap<String, String> = BTreeMap::new();
        for rest in all_sources("src").split("said!(").skip(1) {
            let mut texts = rest.trim_start().split('"');
            let (Some(""), Some(code)) = (texts.next(), texts.next()) else { continue };
            let rest = &rest[rest.find(code).unwrap() + code.len() + 1..];
            let Some(rest) = rest.trim_start().strip_prefix(',').map(str::trim_start) else { continue };
            let Some(english) = rest.strip_prefix('"') else { continue };
            let end = english.match_indices('"').find(|(at, _)| !english[..*at].ends_with('\\')).unwrap().0;
            let english = english[..end].replace("\\\"", "\"");
            let before = said.insert(code.to_owned(), english.clone());
            assert!(before.is_none_or(|before| before == english), "{code} is said in two ways");
        }
        assert!(said.len() > 50, "{said:?}");
        let values = |text: &str| -> BTreeSet<String> {
            let after = text.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
            after.map(|(name, _)| name.to_owned()).collect()
        };
        for (code, _) in BUILT_IN.iter().filter(|(code, _)| *code != DEFAULT) {
            let catalogue = built_in(code);
            let known: BTreeSet<&str> = catalogue.keys().filter_map(|key| key.strip_prefix(SAID)).collect();
            let all: BTreeSet<&str> = said.keys().map(String::as_str).collect();
            assert_eq!(known, all, "{code}");
            for (key, english) in &said {
                let words = &catalogue.texts[&format!("{SAID}{key}")];
                // What is told to programs need not be told to people: such as the name of the field that it stands at.
                assert!(values(words).is_subset(&values(english)), "{code}: {key}");
            }
        }
    }

    #[test]
    fn every_text_is_used_and_every_text_that_is_used_is_there() {
        let (english, sources) = (built_in(DEFAULT), sources());
        for key in english.keys() {
            let is_used = match key.strip_prefix(SCRIPT) {
                Some(key) => sources.contains(&format!("word(\"{key}\"")),
                None => sources.contains(&format!("\"{key}\"")),
            };
            assert!(is_used, "{key} is used nowhere");
        }
        for (before, prefix) in [("say(\"", ""), ("fill(\"", ""), ("title: \"", ""), ("word(\"", SCRIPT)] {
            for rest in sources.split(before).skip(1) {
                let key = rest.split('"').next().unwrap();
                // The pieces above, which stand in a source too.
                if !key.contains('\\') {
                    assert!(
                        english.texts.contains_key(&format!("{prefix}{key}")),
                        "{prefix}{key} is no text"
                    );
                }
            }
        }
    }

    #[test]
    fn the_browser_gets_the_language_that_it_likes_best() {
        let texts = Texts::load(Path::new("/nonexistent"));
        for (accepted, expected) in [
            ("", "en"),
            ("de", "de"),
            ("de-CH,de;q=0.9,en;q=0.8", "de"),
            ("fr,en;q=0.5,de;q=0.7", "de"),
            ("fr", "en"),
            ("de;q=0,en", "en"),
            ("de;q=x", "en"),
            ("*", "en"),
        ] {
            assert_eq!(texts.liked(accepted).code, expected, "{accepted}");
        }
    }

    #[test]
    fn a_further_language_says_in_english_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("fr.toml"), "[language]\nname = \"Français\"\n").unwrap();
        std::fs::write(folder.path().join("xx.toml"), "language = 1\n").unwrap();
        let texts = Texts::load(folder.path());
        assert_eq!(texts.languages().map(|(code, _)| code).collect::<Vec<_>>(), ["de", "en", "fr"]);
        let french = texts.named("fr").unwrap();
        assert_eq!(french.say("language.name"), "Français");
        assert_eq!(french.say("status.title"), built_in(DEFAULT).say("status.title"));
    }
}
