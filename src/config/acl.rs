//! `[[broker.acl]]`: who may publish and subscribe to what. The ACL file is the shell's to read.

use super::mistake::Mistakes;
use super::schema::Effect::Live;
use super::schema::{Key, Kind, Table, key, optional, required, several};
use super::section::{Section, Value};
use crate::broker::acl::{Access, Acl, Rule, Who};

/// `[[broker.acl]]`
pub static ACL: Table = Table {
    name: "[[broker.acl]]",
    doc: "Who may publish and subscribe to what; without any, and without acl_file, everyone everything.",
    keys: KEYS,
};

pub(super) const KEYS: &[Key] = &[
    optional("user", Kind::Text { bytes_max: 128 }, Live, "For this user."),
    optional(
        "client_id",
        Kind::Text { bytes_max: 128 },
        Live,
        "For client identifiers like this; * stands for any characters.",
    ),
    key("anonymous", Kind::Bool, "false", Live, "For clients without a user name."),
    several("allow", &ALLOW, 1_000, Live),
    several("deny", &DENY, 1_000, Live),
];

/// `[[broker.acl.allow]]`
pub static ALLOW: Table = Table {
    name: "[[broker.acl.allow]]",
    doc: "What is allowed; everything else is denied once there is a rule.",
    keys: RULE,
};

/// `[[broker.acl.deny]]`
pub static DENY: Table =
    Table { name: "[[broker.acl.deny]]", doc: "What is denied, whatever else allows it.", keys: RULE };

const RULE: &[Key] = &[
    required(
        "topic",
        Kind::Filter,
        "\"sensors/%u/#\"",
        Live,
        "The topics; %u stands for the user name, %c for the client identifier.",
    ),
    key(
        "access",
        Kind::Words(&["read", "write", "readwrite", "subscribe"]),
        "\"readwrite\"",
        Live,
        "read: messages to the client; write: its own messages and will; subscribe: the subscription alone.",
    ),
];

/// The rules of all tables.
pub(super) fn acl(sections: &[Section], mistakes: &mut Mistakes<'_>) -> Acl {
    if sections.is_empty() {
        return Acl::open();
    }
    let mut rules = Vec::new();
    for section in sections {
        let who = who(section, mistakes);
        for (list, allow) in [("allow", true), ("deny", false)] {
            for entry in section.tables(list) {
                let Some(Value::Filter(filter)) = entry.value("topic") else { continue };
                let access = match entry.word("access") {
                    "read" => Access::READ,
                    "write" => Access::WRITE,
                    "subscribe" => Access::SUBSCRIBE,
                    _ => Access::READ_WRITE,
                };
                rules.push(Rule {
                    who: who.clone(),
                    allow,
                    access,
                    filter: filter.clone(),
                    substitutes: true,
                });
            }
        }
    }
    Acl::of(rules)
}

fn who(section: &Section, mistakes: &mut Mistakes<'_>) -> Who {
    let anonymous = section.bool("anonymous").unwrap_or(false);
    match (section.text("user"), section.text("client_id"), anonymous) {
        (None, None, false) => Who::Everyone,
        (Some(user), None, false) => Who::User(user.to_owned()),
        (None, Some(pattern), false) => Who::ClientId(pattern.to_owned()),
        (None, None, true) => Who::Anonymous,
        _ => {
            let message =
                format!("{} has more than one of user, client_id and anonymous", section.table.name);
            mistakes.add_with_help(
                section.span,
                message,
                "write one table for each, or none of them for everyone",
            );
            Who::Everyone
        }
    }
}
