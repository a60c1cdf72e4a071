//! Who gets in, and by which files. Where all listeners agree, the files stand in `[broker]`; where they differ, each
//! listener names its own, and those without go on without.

use super::conf::{Block, Conf, Entry};
use super::listeners::is_default_open;
use super::options::Weight;
use super::output::Section;
use super::report::{Kind, Place};
use super::translate::Translation;
use super::values;
use super::values::quoted;

/// What is to be done about all listeners.
#[derive(Debug, Default)]
pub(super) struct Plan {
    password_file: Option<(String, Place)>,
    acl_file: Option<(String, Place)>,
    /// Whether rules are unknown that a plugin has.
    unknown_rules: bool,
    /// Whether the listeners differ, so that each has its own.
    is_split: bool,
    /// What holds for the listeners, by the line that begins each; `None`: the default listener.
    owns: Vec<(Option<Place>, Own)>,
    global: Own,
}

/// What holds for one listener in Mosquitto.
#[derive(Clone, Debug, Default)]
struct Own {
    allow_anonymous: Option<(bool, Place)>,
    password_file: Option<(String, Place)>,
    acl_file: Option<(String, Place)>,
    /// A plugin that isn't known: what it would say can't be said.
    foreign: bool,
}

/// How a listener lets clients in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) allow_anonymous: bool,
    /// Where the file says so.
    pub(super) because: Option<Place>,
    /// Whether a user name must be right; else any will do.
    pub(super) check_users: bool,
    /// Its own, where the listeners differ.
    pub(super) password_file: Option<(String, Place)>,
    pub(super) acl_file: Option<(String, Place)>,
    /// Whether a plugin has rules for it that are unknown.
    pub(super) unknown_rules: bool,
}

impl Door {
    /// Writes its own files into the listener.
    pub(super) fn set_files(&self, listener: &mut Section) {
        for (key, file) in [("password_file", &self.password_file), ("acl_file", &self.acl_file)] {
            if let Some((path, place)) = file {
                listener.set(key, quoted(path), Some(place));
            }
        }
    }

    /// Rules besides those of its ACL file.
    pub(super) fn rules(&self) -> Option<Section> {
        self.unknown_rules.then(|| {
            let mut section = Section::new("[[broker.listener.acl]]");
            section
                .comment("The rules of the plugin aren't known: with this empty table everything is denied.");
            section
        })
    }
}

/// Looks through the whole config.
pub(super) fn plan(translation: &mut Translation<'_>, conf: &Conf) -> Plan {
    let global = own(translation, &conf.globals);
    let blocks = conf.listeners.iter().chain([&conf.default_listener]);
    let owns: Vec<(Option<Place>, Own)> = blocks
        .map(|block| {
            let own = if conf.per_listener { own(translation, block) } else { global.clone() };
            (block.head.as_ref().map(|head| head.place.clone()), own)
        })
        .collect();
    let counts = |place: &Option<Place>| place.is_some() || is_default_open(conf);
    let mut opened = owns.iter().filter(|(place, _)| counts(place)).map(|(_, own)| own.files());
    let first = opened.next();
    let is_split = opened.any(|files| Some(files) != first);
    let password_file = owns.iter().find_map(|(_, own)| own.password_file.clone());
    let acl_file = owns.iter().find_map(|(_, own)| own.acl_file.clone());
    let is_foreign = global.foreign || owns.iter().any(|(_, own)| own.foreign);
    Plan {
        unknown_rules: !is_split && acl_file.is_none() && is_foreign,
        is_split,
        password_file,
        acl_file,
        owns,
        global,
    }
}

impl Own {
    /// What makes a listener's users and rules others than another's.
    fn files(&self) -> (Option<&str>, Option<&str>, bool) {
        (path(&self.password_file), path(&self.acl_file), self.foreign)
    }
}

fn path(file: &Option<(String, Place)>) -> Option<&str> {
    file.as_ref().map(|(path, _)| path.as_str())
}

/// What a block says of itself.
fn own(translation: &mut Translation<'_>, block: &Block) -> Own {
    let mut own = Own {
        allow_anonymous: block
            .get("allow_anonymous")
            .and_then(|entry| Some((values::truth(&entry.value).ok()?, entry.place.clone()))),
        ..Own::default()
    };
    let mut file = |entry: Option<&Entry>| entry.map(|entry| (translation.path(entry), entry.place.clone()));
    own.password_file = file(block.get("password_file"));
    own.acl_file = file(block.get("acl_file"));
    for plugin in &block.plugins {
        let Some(head) = plugin.head.as_ref() else { continue };
        let library = head.value.rsplit('/').next().unwrap_or_default();
        let named = |key: &str| plugin.entries.iter().find(|entry| entry.name.ends_with(key));
        if library.starts_with("mosquitto_password_file") && own.password_file.is_none() {
            own.password_file =
                named("_opt_password_file").map(|entry| (translation.path(entry), entry.place.clone()));
        } else if library.starts_with("mosquitto_acl_file") && own.acl_file.is_none() {
            own.acl_file = named("_opt_acl_file").map(|entry| (translation.path(entry), entry.place.clone()));
        } else {
            foreign(translation, head, library);
            own.foreign = true;
            for option in &plugin.entries {
                translation.refuse(option, Weight::Minor, "belongs to the plugin above it");
            }
        }
    }
    own
}

fn foreign(translation: &mut Translation<'_>, head: &Entry, library: &str) {
    // The table has said it already of the others.
    if !matches!(head.name.as_str(), "plugin" | "auth_plugin" | "global_plugin") {
        return;
    }
    let text = match library.starts_with("mosquitto_dynamic_security") {
        true => {
            "users, groups and roles of the dynamic security plugin aren't read; write its clients into a password \
                 file with fieldgate passwd, and its roles as [[broker.acl]] rules. Until then, what it allowed is denied"
        }
        false => {
            "plugins can't be loaded; use password_file, [[broker.user]] and [[broker.acl]]. Until then, what it \
                  allowed is denied"
        }
    };
    translation.refuse(head, Weight::Security, text);
}

impl Plan {
    /// Writes the files into `[broker]`.
    pub(super) fn set_files(&self, broker: &mut Section) {
        if self.is_split {
            return;
        }
        for (key, file) in [("password_file", &self.password_file), ("acl_file", &self.acl_file)] {
            if let Some((path, place)) = file {
                broker.set(key, quoted(path), Some(place));
            }
        }
    }

    /// Rules besides those of the ACL file.
    pub(super) fn rules(&self) -> Option<Section> {
        let mut section = Section::new("[[broker.acl]]");
        if self.unknown_rules {
            section
                .comment("The rules of the plugin aren't known: with this empty table everything is denied.");
            return Some(section);
        }
        None
    }

    /// How a listener lets clients in; in words, why it must be left out. `is_only` is a Mosquitto without any
    /// listener: it lets this machine in without a name. `is_named` is one whose clients are named by certificates.
    pub(super) fn door(
        &self,
        translation: &mut Translation<'_>,
        block: &Block,
        is_only: bool,
        is_named: bool,
    ) -> Result<Door, String> {
        let line = block.head.as_ref().map(|head| &head.place);
        let own = self.owns.iter().find(|(place, _)| place.as_ref() == line);
        let mut own = own.map(|(_, own)| own.clone()).unwrap_or_default();
        if let Some(entry) = block.get("listener_allow_anonymous") {
            own.allow_anonymous = values::truth(&entry.value).ok().map(|allow| (allow, entry.place.clone()));
        }
        let (allow_anonymous, because) = match own.allow_anonymous.clone() {
            Some((allow, place)) => (allow, Some(place)),
            None => (is_only, None),
        };
        let foreign = own.foreign || self.global.foreign;
        let door = Door {
            allow_anonymous,
            because,
            check_users: !allow_anonymous || own.password_file.is_some() || foreign,
            password_file: own.password_file.clone().filter(|_| self.is_split),
            acl_file: own.acl_file.clone().filter(|_| self.is_split),
            unknown_rules: self.is_split && own.acl_file.is_none() && foreign,
        };
        if self.is_split && own.foreign && !allow_anonymous && own.password_file.is_none() && !is_named {
            return Err("its users are those of a plugin, which aren't known".into());
        }
        let nobody = !allow_anonymous && own.password_file.is_none() && !is_named && !foreign;
        if nobody && self.password_file.is_some() {
            return Err(
                "it has no password file of its own, so nobody gets in there in Mosquitto either".into()
            );
        }
        let head = block.head.as_ref();
        if nobody && let Some(head) = head {
            translation.tell(head, Kind::Refused(Weight::Security), "nobody gets in there: Mosquitto 2 refuses clients without a name unless allow_anonymous is true, and there is no password_file; fieldgate check will ask for one of them");
        }
        Ok(door)
    }
}
