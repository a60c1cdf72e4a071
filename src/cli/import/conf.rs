//! mosquitto.conf: lines to blocks. As Mosquitto reads them: an option belongs to the listener or bridge above it in
//! the same file, each included file begins anew with the default listener, and only the main file includes others.

use std::sync::Arc;

use super::options::{self, Fate, Row, Scope, Shape};
use super::report::{Kind, Place, Remark};
use super::values;
use crate::config::Source;
use crate::config::suggest::nearest;

/// An option as it stands in a file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) row: &'static Row,
    /// Its whole name, where the row has only the beginning.
    pub(super) name: String,
    pub(super) value: String,
    pub(super) place: Place,
}

/// The options of the whole broker, of a listener, a bridge or a plugin.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// The line that began it.
    pub(super) head: Option<Entry>,
    pub(super) entries: Vec<Entry>,
    pub(super) plugins: Vec<Block>,
}

impl Block {
    fn begun_by(entry: Entry) -> Self {
        Self { head: Some(entry), ..Self::default() }
    }

    /// What counts of an option that may stand once: the last one.
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.all(name).last()
    }

    /// The value that counts.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.get(name).map(|entry| entry.value.as_str())
    }

    /// All of an option that may stand several times.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.row.name == name)
    }

    /// Whether it says true.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| values::truth(value) == Ok(true))
    }
}

/// A whole config of Mosquitto.
#[derive(Clone, Debug, Default)]
pub(super) struct Conf {
    pub(super) globals: Block,
    /// Options that stand above any listener.
    pub(super) default_listener: Block,
    pub(super) listeners: Vec<Block>,
    pub(super) bridges: Vec<Block>,
    /// `per_listener_settings true`
    pub(super) per_listener: bool,
    pub(super) remarks: Vec<Remark>,
}

/// The listener or bridge that the next line belongs to.
#[derive(Clone, Copy, Debug, Default)]
struct Current {
    /// `None`: the default listener.
    listener: Option<usize>,
    bridge: Option<usize>,
    /// Whether a plugin has begun in this block.
    plugin: bool,
}

/// Reads the main file; `include` finds the files of an include_dir, in their order.
pub(super) fn read(main: &Source, include: &dyn Fn(&str) -> Result<Vec<Source>, String>) -> Conf {
    let mut conf = Conf::default();
    conf.file(main, Some(include));
    conf
}

type Include<'a> = &'a dyn Fn(&str) -> Result<Vec<Source>, String>;

impl Conf {
    fn file(&mut self, source: &Source, include: Option<Include<'_>>) {
        let file: Arc<str> = Arc::from(source.file.as_str());
        let mut current = Current::default();
        for (number, line) in (1..).zip(source.text.split('\n')) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = Place { file: Arc::clone(&file), line: number };
            let (name, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            let Some(row) = options::row(name) else {
                let known = options::rows().map(|row| row.name);
                let help =
                    nearest(name, known).map_or_else(String::new, |name| format!("; did you mean {name}?"));
                self.remark(Some(place), name, Kind::Mistake, format!("Mosquitto has no such option{help}"));
                continue;
            };
            let entry = Entry { row, name: name.to_owned(), value: value.trim().to_owned(), place };
            if entry.name == "include_dir" {
                self.include(&entry, include);
            } else if self.is_well_formed(&entry) {
                self.take(entry, &mut current);
            }
        }
    }

    fn include(&mut self, entry: &Entry, include: Option<Include<'_>>) {
        let Some(include) = include else {
            let text = "Mosquitto reads it in the main file only, and so did this import";
            return self.remark(Some(entry.place.clone()), &entry.name, Kind::NotNeeded, text);
        };
        match include(&entry.value) {
            Ok(sources) => sources.iter().for_each(|source| self.file(source, None)),
            Err(error) => self.remark(Some(entry.place.clone()), &entry.name, Kind::Mistake, error),
        }
    }

    /// Tells of a value that Mosquitto wouldn't take.
    fn is_well_formed(&mut self, entry: &Entry) -> bool {
        let wrong = match entry.row.shape {
            _ if entry.value.is_empty() => Some("the value is missing".to_owned()),
            shape if entry.value.chars().any(|c| c.is_control() && (c != '\t' || shape == Shape::Text)) => {
                Some("there is a control character in it".to_owned())
            }
            Shape::Flag => values::truth(&entry.value).err(),
            Shape::Number => values::number(&entry.value).err(),
            Shape::Text | Shape::List => None,
        };
        let is_well_formed = wrong.is_none();
        if let Some(text) = wrong {
            self.remark(Some(entry.place.clone()), &entry.name, Kind::Mistake, text);
        }
        is_well_formed
    }

    /// Puts an option where it belongs.
    fn take(&mut self, entry: Entry, current: &mut Current) {
        match entry.row.scope {
            Scope::NewListener => {
                current.listener = Some(self.listeners.len());
                current.plugin = false;
                self.listeners.push(Block::begun_by(entry));
            }
            Scope::NewBridge => {
                current.bridge = Some(self.bridges.len());
                self.bridges.push(Block::begun_by(entry));
            }
            Scope::Bridge if current.bridge.is_none() => {
                let text = "stands above any connection";
                self.remark(Some(entry.place.clone()), &entry.name, Kind::Mistake, text);
            }
            Scope::Plugin => self.take_plugin(entry, current),
            Scope::Listener if entry.name == "mount_point" && current.listener.is_none() => {
                let text = "stands above any listener";
                self.remark(Some(entry.place.clone()), &entry.name, Kind::Mistake, text);
            }
            _ => {
                if entry.name == "per_listener_settings" {
                    self.per_listener = values::truth(&entry.value) == Ok(true);
                }
                self.add(entry, *current);
            }
        }
    }

    fn take_plugin(&mut self, entry: Entry, current: &mut Current) {
        let is_option = entry.row.name.ends_with('*');
        if is_option && !current.plugin {
            let text = "stands above any plugin";
            return self.remark(Some(entry.place.clone()), &entry.name, Kind::Mistake, text);
        }
        let block = match self.per_listener && entry.name != "global_plugin" {
            true => self.listener(*current),
            false => &mut self.globals,
        };
        match block.plugins.last_mut() {
            Some(plugin) if is_option => plugin.entries.push(entry),
            _ => {
                block.plugins.push(Block::begun_by(entry));
                current.plugin = true;
            }
        }
    }

    fn listener(&mut self, current: Current) -> &mut Block {
        match current.listener.and_then(|at| self.listeners.get_mut(at)) {
            Some(listener) => listener,
            None => &mut self.default_listener,
        }
    }

    fn add(&mut self, entry: Entry, current: Current) {
        let per_listener = self.per_listener;
        let block = match entry.row.scope {
            Scope::Bridge => match current.bridge.and_then(|at| self.bridges.get_mut(at)) {
                Some(bridge) => bridge,
                None => return,
            },
            Scope::Security if per_listener => self.listener(current),
            Scope::Listener => self.listener(current),
            Scope::DefaultListener => &mut self.default_listener,
            _ => &mut self.globals,
        };
        let again = entry.row.shape == Shape::Text && block.get(&entry.name).is_some();
        let (name, place) = (entry.name.clone(), entry.place.clone());
        block.entries.push(entry);
        if again {
            let text = "stands here a second time, which Mosquitto doesn't take; this one counts";
            self.remark(Some(place), &name, Kind::Mistake, text);
        }
    }

    fn remark(&mut self, place: Option<Place>, option: &str, kind: Kind, text: impl Into<String>) {
        self.remarks.push(Remark { place, option: option.to_owned(), kind, text: text.into() });
    }

    /// Every option that was put somewhere.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        fn of(block: &Block) -> impl Iterator<Item = &Entry> {
            let plugins = block.plugins.iter().flat_map(|plugin| plugin.head.iter().chain(&plugin.entries));
            block.head.iter().chain(&block.entries).chain(plugins)
        }
        let listeners = self.listeners.iter().chain([&self.globals, &self.default_listener]);
        listeners.chain(&self.bridges).flat_map(of)
    }

    /// What the table says at once of options that aren't carried over.
    pub(super) fn tell_fates(&self) -> Vec<Remark> {
        let remark = |entry: &Entry, kind, text: &str| Remark {
            place: Some(entry.place.clone()),
            option: entry.name.clone(),
            kind,
            text: text.to_owned(),
        };
        self.entries()
            .filter_map(|entry| match entry.row.fate {
                Fate::NotNeeded(why) => Some(remark(entry, Kind::NotNeeded, why)),
                Fate::Refused { weight, harmless, why } => {
                    let is_harmless = harmless.iter().any(|value| says_the_same(entry, value));
                    (!is_harmless).then(|| remark(entry, Kind::Refused(weight), why))
                }
                Fate::Key(..) | Fate::Carried(_) => None,
            })
            .collect()
    }
}

fn says_the_same(entry: &Entry, value: &str) -> bool {
    match entry.row.shape {
        Shape::Flag => values::truth(&entry.value) == values::truth(value),
        Shape::Number => values::number(&entry.value) == values::number(value),
        Shape::Text | Shape::List => entry.value == value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(text: &str) -> Conf {
        read(&Source { file: "m.conf".into(), text: text.into() }, &|folder| {
            assert_eq!(folder, "conf.d");
            let file = |name: &str, text: &str| Source { file: format!("conf.d/{name}"), text: text.into() };
            Ok(vec![
                file("1.conf", "listener 2000\r\nmax_connections 7\r\n"),
                file("2.conf", "max_connections 8\ninclude_dir conf.d\naddress x\n"),
            ])
        })
    }

    fn told(conf: &Conf) -> Vec<String> {
        conf.remarks.iter().map(Remark::to_string).collect()
    }

    #[test]
    fn an_option_belongs_to_the_listener_above_it_in_the_same_file() {
        let conf = conf(
            "max_connections 1\nlistener 1000\nmax_connections 2\ninclude_dir conf.d\nmax_connections 3\n",
        );
        assert_eq!(conf.default_listener.value("max_connections"), Some("8"), "a new file begins anew");
        let listeners: Vec<_> = conf.listeners.iter().map(|block| block.value("max_connections")).collect();
        assert_eq!(listeners, [Some("3"), Some("7")]);
        assert_eq!(
            told(&conf),
            [
                "conf.d/2.conf:2: include_dir: not needed: Mosquitto reads it in the main file only, and so did this import",
                "conf.d/2.conf:3: address: MISTAKE: stands above any connection",
            ]
        );
    }

    #[test]
    fn security_options_are_the_listeners_own_only_if_the_file_says_so_first() {
        let text = "listener 1\nallow_anonymous true\nlistener 2\npassword_file /p\n";
        let together = conf(text);
        assert_eq!(together.globals.value("password_file"), Some("/p"));
        assert!(together.globals.is_true("allow_anonymous"));
        let each = conf(&format!("per_listener_settings true\n{text}"));
        assert!(each.per_listener && each.globals.value("password_file").is_none());
        assert!(each.listeners[0].is_true("allow_anonymous"));
        assert_eq!(each.listeners[1].value("password_file"), Some("/p"));
    }

    #[test]
    fn comments_line_ends_and_spaces_are_taken_as_people_write_them() {
        let conf = conf("# a\r\n\r\n  # b\n  persistence   true  \r\npid_file /a b/c\n");
        assert_eq!(conf.globals.value("persistence"), Some("true"));
        assert_eq!(conf.globals.value("pid_file"), Some("/a b/c"));
        assert!(conf.remarks.is_empty());
    }

    #[test]
    fn what_mosquitto_would_not_take_is_told_with_its_line_and_the_rest_is_read() {
        let conf = conf(
            "persistance true\npersistence maybe\nsys_interval ten\npid_file\npid_file /a\npid_file /b\n\
             plugin_opt_x y\nqwertz 1\nmount_point x/\nlistener 1883\nuser a\u{7}b\n",
        );
        assert_eq!(
            told(&conf),
            [
                "m.conf:1: persistance: MISTAKE: Mosquitto has no such option; did you mean persistence?",
                "m.conf:2: persistence: MISTAKE: \"maybe\" is neither true nor false",
                "m.conf:3: sys_interval: MISTAKE: \"ten\" is no whole number",
                "m.conf:4: pid_file: MISTAKE: the value is missing",
                "m.conf:6: pid_file: MISTAKE: stands here a second time, which Mosquitto doesn't take; this one counts",
                "m.conf:7: plugin_opt_x: MISTAKE: stands above any plugin",
                "m.conf:8: qwertz: MISTAKE: Mosquitto has no such option",
                "m.conf:9: mount_point: MISTAKE: stands above any listener",
                "m.conf:11: user: MISTAKE: there is a control character in it",
            ]
        );
        assert_eq!(conf.listeners.len(), 1);
        assert_eq!(conf.globals.value("pid_file"), Some("/b"));
    }
}
