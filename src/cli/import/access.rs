//! Who gets in, and by which files. Mosquitto may have a password file and an ACL file for each listener, fieldgate has
//! one of each: the listeners that agree with the first one that has any are carried over, the others are left out,
//! so that nobody gets in who couldn't before.

use super::conf::{Block, Conf, Entry};
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
    /// Whether clients without a name, whom the ACL file doesn't concern in Mosquitto, may do everything.
    anonymous_may_all: bool,
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
    let password_file = owns.iter().find_map(|(_, own)| own.password_file.clone());
    let acl_file = owns.iter().find_map(|(_, own)| own.acl_file.clone());
    let is_foreign = global.foreign || owns.iter().any(|(_, own)| own.foreign);
    let opened = owns.iter().filter(|(place, _)| place.is_some()).map(|(_, own)| own);
    let (ruled, open): (Vec<&Own>, Vec<&Own>) = opened.partition(|own| own.acl_file.is_some());
    let anonymous = |own: &&Own| own.allow_anonymous.as_ref().is_some_and(|(allow, _)| *allow);
    Plan {
        unknown_rules: acl_file.is_none() && is_foreign,
        anonymous_may_all: acl_file.is_some()
            && !open.is_empty()
            && open.iter().all(anonymous)
            && !ruled.iter().any(anonymous),
        password_file,
        acl_file,
        owns,
        global,
    }
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
        if self.anonymous_may_all {
            section.comment(
                "In Mosquitto the ACL file doesn't concern the listeners that take clients without a name.",
            );
            section.set("anonymous", "true", None);
            section.set("allow", "[{ topic = \"#\" }, { topic = \"$SYS/#\", access = \"read\" }]", None);
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
        };
        let differs = |own: &Option<(String, Place)>, all: &Option<(String, Place)>| match (own, all) {
            (Some((own, _)), Some((all, _))) => own != all,
            _ => false,
        };
        if differs(&own.password_file, &self.password_file) {
            return Err("its password file is another than the first listener's, and fieldgate has one for all; join both files".into());
        }
        if differs(&own.acl_file, &self.acl_file) {
            return Err("its ACL file is another than the first listener's, and fieldgate has one for all; join both files".into());
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
        if own.acl_file.is_none()
            && self.acl_file.is_some()
            && !self.anonymous_may_all
            && let Some(head) = head
        {
            translation.tell(head, Kind::Refused(Weight::Delivery), "its clients may do everything in Mosquitto, as it has no acl_file; fieldgate has one for all listeners, and it binds them too. Add what they need to the file");
        }
        Ok(door)
    }
}
