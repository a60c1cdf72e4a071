//! Users and rules of one listener, which hold there instead of the broker's: `password_file`, `acl_file`,
//! `[[broker.listener.user]]`, `[[broker.listener.acl]]`.

use std::path::PathBuf;
use std::sync::Arc;

use super::User;
use super::acl::{KEYS, acl};
use super::broker::user;
use super::listener::DEFAULT_NAME;
use super::mistake::Mistakes;
use super::names::unique;
use super::schema::Effect::Live;
use super::schema::{Kind, Table, required};
use super::section::Section;
use crate::broker::acl::Acl;

/// What a listener has of its own; at least one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAccess {
    /// The listener's name.
    pub listener: Arc<str>,
    /// Its users, instead of the broker's.
    pub users: Option<OwnUsers>,
    /// Its rules, instead of the broker's.
    pub rules: Option<OwnRules>,
}

/// Users of one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnUsers {
    /// `[[broker.listener.user]]`
    pub list: Vec<User>,
    /// `password_file`: more of them.
    pub file: Option<PathBuf>,
}

/// Rules of one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnRules {
    /// `[[broker.listener.acl]]`
    pub acl: Arc<Acl>,
    /// `acl_file`: more of them.
    pub file: Option<PathBuf>,
}

/// `[[broker.listener.user]]`
pub static LISTENER_USER: Table = Table {
    name: "[[broker.listener.user]]",
    doc: "Who gets in at this listener, instead of those of [[broker.user]].",
    keys: &[
        required("name", Kind::Text { bytes_max: 128 }, "\"plc\"", Live, "The MQTT user name."),
        required(
            "password",
            Kind::Secret,
            "{ file = \"/etc/fieldgate/secrets/plc\" }",
            Live,
            "Where the password is kept.",
        ),
    ],
};

/// `[[broker.listener.acl]]`
pub static LISTENER_ACL: Table = Table {
    name: "[[broker.listener.acl]]",
    doc: "Who may publish and subscribe to what, for clients of this listener, instead of [[broker.acl]].",
    keys: KEYS,
};

/// Whether a listener has users of its own.
pub(super) fn has_own_users(listener: &Section) -> bool {
    !listener.tables("user").is_empty() || listener.is_mistaken("user") || listener.is_given("password_file")
}

/// What the listeners have of their own.
pub(super) fn own_access(broker: &Section, mistakes: &mut Mistakes<'_>) -> Vec<OwnAccess> {
    let mut all = Vec::new();
    for section in broker.tables("listener") {
        let file = |key: &str| section.text(key).map(PathBuf::from);
        let (users, rules) = (section.tables("user"), section.tables("acl"));
        unique(mistakes, "[[broker.listener.user]]", "name", users);
        let users = has_own_users(section)
            .then(|| OwnUsers { list: users.iter().map(user).collect(), file: file("password_file") });
        let has_rules = !rules.is_empty() || section.is_given("acl_file");
        let rules =
            has_rules.then(|| OwnRules { acl: Arc::new(acl(rules, mistakes)), file: file("acl_file") });
        if users.is_some() || rules.is_some() {
            let listener = Arc::from(section.text("name").unwrap_or(DEFAULT_NAME));
            all.push(OwnAccess { listener, users, rules });
        }
    }
    all
}
