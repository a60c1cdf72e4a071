//! What two configs differ in: key by key, with the values, and line by line. Secrets are never among the values.

use serde_json::{Value as Json, json};
use similar::TextDiff;

use super::Source;
use super::describe::json_of;
use super::mistake::masked;
use super::reload::{Settings, same_option, same_sections};
use super::schema::{Effect, Key, Kind, Table};
use super::section::{Section, Value};

/// Lines around a change that are shown with it.
const CONTEXT_LINES: usize = 3;

/// One key that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its name: `upstream.central.host`. A table that may stand several times goes by its name; one that has none is
    /// named as a whole, with all that stand there. Of a table that came or went, with `(new)` or `(removed)` behind it.
    pub path: String,
    /// The table at the top that it is in: `upstream`.
    pub root: &'static str,
    /// Which of those that may stand several times at the top: `central`.
    pub item: Option<String>,
    /// When it counts.
    pub effect: Effect,
    /// Whether it can keep out whoever made it.
    pub cuts_off: bool,
    /// Whether it is a secret: then its values are left out.
    pub secret: bool,
    /// What it was; `None` where it was not there.
    pub old: Option<Json>,
    /// What it is now.
    pub new: Option<Json>,
}

impl Change {
    /// Whether it must be confirmed to stay: it can keep people out, and does so now. What counts at the next start hasn't
    /// locked anybody out yet, and nobody could confirm it from there.
    #[must_use]
    pub fn must_be_confirmed(&self) -> bool {
        self.cuts_off && self.effect != Effect::Restart
    }

    /// As the API and the command line tell it.
    #[must_use]
    pub fn json(&self) -> Json {
        json!({
            "path": self.path,
            "table": self.root,
            "name": self.item,
            "effect": self.effect.word(),
            "cuts_off": self.cuts_off,
            "secret": self.secret,
            "old": self.old,
            "new": self.new,
        })
    }
}

/// Whose key it is, on the way down.
#[derive(Clone, Debug, Default)]
struct Place {
    path: String,
    root: &'static str,
    item: Option<String>,
    cuts_off: bool,
}

impl Place {
    fn key(&self, key: &'static Key) -> Self {
        let path =
            if self.path.is_empty() { key.name.to_owned() } else { format!("{}.{}", self.path, key.name) };
        let root = if self.root.is_empty() { key.name } else { self.root };
        Self { path, root, item: self.item.clone(), cuts_off: self.cuts_off || key.cuts_off }
    }

    fn named(&self, name: &str) -> Self {
        let mut place = Self { path: format!("{}.{name}", self.path), ..self.clone() };
        if self.path == self.root {
            place.item = Some(name.to_owned());
        }
        place
    }
}

/// Every key that differs, in the order of the schema.
#[must_use]
pub fn changes(old: &Settings, new: &Settings) -> Vec<Change> {
    let mut found = Vec::new();
    compare(&old.0, &new.0, &Place::default(), &mut found);
    found
}

fn compare(old: &Section, new: &Section, place: &Place, found: &mut Vec<Change>) {
    for key in new.table.keys {
        let place = place.key(key);
        match (old.value(key.name), new.value(key.name)) {
            (Some(Value::Table(old)), Some(Value::Table(new))) => compare(old, new, &place, found),
            (Some(Value::Tagged(was, old)), Some(Value::Tagged(is, new))) if was == is => {
                compare(old, new, &place, found);
            }
            (old, new) if is_list(old) || is_list(new) => {
                compare_lists(key, (old, new), &place, found);
            }
            (old, new) => {
                if !same_option(old, new) {
                    let is_secret = matches!(key.kind, Kind::Secret);
                    found.push(change(place, key, is_secret, old.map(json_of), new.map(json_of)));
                }
            }
        }
    }
}

fn change(place: Place, key: &Key, secret: bool, old: Option<Json>, new: Option<Json>) -> Change {
    let Place { path, root, item, cuts_off } = place;
    let shown = |value: Option<Json>| value.filter(|_| !secret);
    Change { path, root, item, effect: key.effect, cuts_off, secret, old: shown(old), new: shown(new) }
}

const fn is_list(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Tables(_)))
}

fn tables(value: Option<&Value>) -> &[Section] {
    match value {
        Some(Value::Tables(sections)) => sections,
        _ => &[],
    }
}

fn compare_lists(
    key: &'static Key,
    values: (Option<&Value>, Option<&Value>),
    place: &Place,
    found: &mut Vec<Change>,
) {
    let (old, new) = (tables(values.0), tables(values.1));
    let table = old.iter().chain(new).next().map(|section| section.table);
    if table.is_none_or(|table: &Table| table.key("name").is_none()) {
        if !same_sections(old, new) {
            let json = |value: Option<&Value>| value.map(json_of);
            found.push(change(place.clone(), key, false, json(values.0), json(values.1)));
        }
        return;
    }
    let whole = |place: Place, words: &str| Place { path: format!("{} {words}", place.path), ..place };
    for section in new {
        let name = name(section);
        match old.iter().find(|old| self::name(old) == name) {
            Some(old) => compare(old, section, &place.named(name), found),
            None => {
                let value = Some(super::describe::section(section));
                found.push(change(whole(place.named(name), "(new)"), key, false, None, value));
            }
        }
    }
    for section in old {
        let name = name(section);
        if !new.iter().any(|new| self::name(new) == name) {
            let value = Some(super::describe::section(section));
            found.push(change(whole(place.named(name), "(removed)"), key, false, value, None));
        }
    }
}

/// What a table of several goes by. An upstream without a name has its host's; of listeners one may have none.
pub(super) fn name(section: &Section) -> &str {
    section.text("name").or_else(|| section.text("host")).unwrap_or("mqtt")
}

/// The changes in a line, for a list: `device.boiler.unit, upstream.central.host and 3 more`.
#[must_use]
pub fn summary(changes: &[Change]) -> String {
    const NAMED_MAX: usize = 4;
    let named: Vec<&str> = changes.iter().take(NAMED_MAX).map(|change| change.path.as_str()).collect();
    match changes.len().saturating_sub(NAMED_MAX) {
        0 if named.is_empty() => "no setting".to_owned(),
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// What differs line by line, as `diff -u` writes it; empty if nothing does. What stands as a plain password is masked.
#[must_use]
pub fn unified(old: &[Source], new: &[Source]) -> String {
    let mut files: Vec<&str> = old.iter().chain(new).map(|source| source.file.as_str()).collect();
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|file| seen.insert(*file));
    let text = |sources: &[Source], file: &str| {
        let found = sources.iter().find(|source| source.file == file);
        found.map(|source| masked(&source.text)).unwrap_or_default()
    };
    let mut out = String::new();
    for file in files {
        let (old, new) = (text(old, file), text(new, file));
        if old != new {
            let diff = TextDiff::from_lines(&old, &new);
            let mut unified = diff.unified_diff();
            out.push_str(&unified.context_radius(CONTEXT_LINES).header(file, file).to_string());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Facts, parse};

    fn source(text: &str) -> Vec<Source> {
        vec![Source { file: "f.toml".into(), text: text.into() }]
    }

    fn good(text: &str) -> Config {
        parse(&source(text), &Facts { default_id: "gw".into(), ..Facts::default() }).unwrap()
    }

    fn told(old: &str, new: &str) -> Vec<Json> {
        changes(&good(old).settings, &good(new).settings).iter().map(Change::json).collect()
    }

    #[test]
    fn each_changed_key_is_told_with_both_values_and_its_effect() {
        let up = |host: &str| {
            format!(
                "[[upstream]]\nname = \"a.b\"\nhost = \"{host}\"\nuser_name = \"u\"\npassword = {{ env = \"{host}\" }}\n"
            )
        };
        let told = told(&format!("[health]\nevery = \"5s\"\n{}", up("one")), &up("two"));
        let keys: Vec<_> =
            told.iter().map(|change| (&change["path"], &change["old"], &change["new"])).collect();
        assert_eq!(
            keys,
            [
                (&json!("health.every"), &json!("5s"), &json!("30s")),
                (&json!("upstream.a.b.host"), &json!("one"), &json!("two")),
                (&json!("upstream.a.b.password"), &Json::Null, &Json::Null),
            ]
        );
        assert_eq!((&told[0]["effect"], &told[0]["name"]), (&json!("live"), &Json::Null));
        assert_eq!((&told[1]["table"], &told[1]["name"]), (&json!("upstream"), &json!("a.b")));
        assert_eq!((&told[2]["secret"], &told[1]["secret"]), (&json!(true), &json!(false)));
    }

    #[test]
    fn what_can_cut_somebody_off_is_marked_with_all_that_is_below_it() {
        let listener = "[[broker.listener]]\nname = \"lan\"\nbind = \"127.0.0.1:1884\"\n";
        for (new, cuts_off) in [
            ("[gateway]\nsite = \"x\"\n", false),
            ("[[broker.listener]]\nname = \"lan\"\nbind = \"127.0.0.1:1885\"\n", true),
            ("[[broker.user]]\nname = \"u\"\npassword = { env = \"P\" }\n", true),
            ("[broker]\nacl_file = \"/etc/acl\"\n", true),
        ] {
            let told = told(listener, &format!("{new}{}", if cuts_off { "" } else { listener }));
            assert!(!told.is_empty() && told.iter().any(|change| change["cuts_off"] == cuts_off), "{told:?}");
        }
    }

    #[test]
    fn tables_that_come_and_go_are_told_as_a_whole() {
        let port = "[[port]]\nname = \"p\"\npath = \"/dev/p\"\n";
        let told = self::told("", port);
        assert_eq!((&told[0]["path"], &told[0]["new"]["path"]), (&json!("port.p (new)"), &json!("/dev/p")));
        assert_eq!(self::told(port, "")[0]["path"], "port.p (removed)");
        assert_eq!(self::told(port, port), Vec::<Json>::new());
    }

    #[test]
    fn a_summary_names_some_and_counts_the_others() {
        assert_eq!(summary(&[]), "no setting");
        let ports: String =
            (0..6).map(|n| format!("[[port]]\nname = \"p{n}\"\npath = \"/dev/p{n}\"\n")).collect();
        let changes = changes(&good("").settings, &good(&ports).settings);
        assert_eq!(
            summary(&changes),
            "port.p0 (new), port.p1 (new), port.p2 (new), port.p3 (new) and 2 more"
        );
    }

    #[test]
    fn a_line_diff_shows_no_password() {
        let diff = unified(
            &source("a = 1\nb = 2\npassword = \"hunter1\"\n"),
            &source("a = 1\nb = 3\npassword = '''\nhunter2\n'''\n"),
        );
        assert!(diff.starts_with("--- f.toml\n+++ f.toml\n@@ "), "{diff}");
        assert!(diff.contains("-b = 2\n") && diff.contains("+b = 3\n"), "{diff}");
        assert!(!diff.contains("hunter"), "{diff}");
        assert_eq!(unified(&source("a = 1"), &source("a = 1")), "");
        assert!(unified(&[], &source("a = 1\n")).contains("+a = 1\n"));
    }
}
