//! What users may do: rules of the config and of an ACL file, and the rights of one client that follow from them.
//! Pure matching; when it is asked is decided where messages pass. The gateway's own topics are closed whatever
//! stands here, see `access`.
//!
//! Without any rule everything is allowed. Once there is one, what no rule allows is denied; a rule that denies
//! wins over any that allows.

mod file;
mod overlap;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::mqtt::topic::TopicFilter;
pub use file::{AclMistake, parse_file};
use overlap::{covers, intersection};

/// For whom a rule holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// For every client.
    Everyone,
    /// For clients without a user name.
    Anonymous,
    /// For this user.
    User(String),
    /// For client identifiers like this; `*` stands for any characters.
    ClientId(String),
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Messages to the client.
    pub read: bool,
    /// Messages and wills of the client.
    pub write: bool,
    /// SUBSCRIBE alone. Who may read may also subscribe.
    pub subscribe: bool,
}

impl Access {
    /// Messages to the client.
    pub const READ: Self = Self { read: true, write: false, subscribe: false };
    /// Messages of the client.
    pub const WRITE: Self = Self { read: false, write: true, subscribe: false };
    /// Both.
    pub const READ_WRITE: Self = Self { read: true, write: true, subscribe: false };
    /// Subscriptions that are granted although nothing may come of them.
    pub const SUBSCRIBE: Self = Self { read: false, write: false, subscribe: true };
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// For whom.
    pub who: Who,
    /// Allowed, or denied.
    pub allow: bool,
    /// What.
    pub access: Access,
    /// Where. May contain `%u` and `%c` if `substitutes`.
    pub filter: TopicFilter,
    /// Whether `%u` and `%c` stand for the client's user name and client identifier.
    pub substitutes: bool,
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// `None`: no rule is configured, everything is allowed.
    rules: Option<Vec<Rule>>,
}

impl Acl {
    /// No rule is configured: everything is allowed.
    #[must_use]
    pub const fn open() -> Self {
        Self { rules: None }
    }

    /// These rules; what none of them allows is denied, so without any everything is.
    #[must_use]
    pub const fn of(rules: Vec<Rule>) -> Self {
        Self { rules: Some(rules) }
    }

    /// The rules, if any are configured.
    #[must_use]
    pub fn rules(&self) -> Option<&[Rule]> {
        self.rules.as_deref()
    }

    /// What one client may do. Rules whose `%u` or `%c` stands for nothing, or for something with a wildcard or a
    /// level separator in it, match nothing (CVE-2017-7650).
    pub(super) fn rights(&self, client_id: &str, user_name: Option<&str>) -> Rights {
        let Some(rules) = &self.rules else { return Rights::default() };
        let (mut allow, mut deny) = (Vec::new(), Vec::new());
        for rule in rules.iter().filter(|rule| rule.who.is(client_id, user_name)) {
            let Some(filter) = rule.filter_for(client_id, user_name) else { continue };
            let list = if rule.allow { &mut allow } else { &mut deny };
            list.push((rule.access, filter));
        }
        Rights(Some(Arc::new(Compiled { allow, deny })))
    }
}

impl Who {
    fn is(&self, client_id: &str, user_name: Option<&str>) -> bool {
        match self {
            Self::Everyone => true,
            Self::Anonymous => user_name.is_none(),
            Self::User(name) => user_name == Some(name),
            Self::ClientId(pattern) => is_like(client_id, pattern),
        }
    }
}

impl Rule {
    /// The filter with what `%u` and `%c` stand for. `None`: it matches nothing.
    fn filter_for(&self, client_id: &str, user_name: Option<&str>) -> Option<TopicFilter> {
        let template = self.filter.as_str();
        if !self.substitutes || !template.contains("%u") && !template.contains("%c") {
            return Some(self.filter.clone());
        }
        let mut out = String::with_capacity(template.len() + client_id.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            // In one pass: what was put in is not looked at again.
            rest = if let Some(after) = after.strip_prefix('u') {
                out.push_str(user_name.filter(|name| may_stand_in_topic(name))?);
                after
            } else if let Some(after) = after.strip_prefix('c') {
                out.push_str(Some(client_id).filter(|id| may_stand_in_topic(id))?);
                after
            } else {
                out.push('%');
                after
            };
        }
        out.push_str(rest);
        TopicFilter::parse(&out).ok().filter(|filter| filter.share().is_none())
    }
}

fn may_stand_in_topic(value: &str) -> bool {
    !value.is_empty() && !value.contains(['+', '#', '/']) && !value.contains(char::is_control)
}

/// Whether a text is as the pattern says, in which `*` stands for any characters. Takes at most their lengths'
/// product.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part).and_then(|at| text.get(at + part.len()..)) {
            Some(behind) => text = behind,
            None => return false,
        }
    }
    text.ends_with(last)
}

/// What one client may do. Without rules it costs a look at a null pointer.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights(Option<Arc<Compiled>>);

#[derive(Debug)]
struct Compiled {
    allow: Vec<(Access, TopicFilter)>,
    deny: Vec<(Access, TopicFilter)>,
}

impl Rights {
    /// Whether messages with this topic name may go to the client.
    pub(super) fn may_read(&self, topic: &str) -> bool {
        self.allows(topic, |access| access.read)
    }

    /// Whether the client may publish to this topic name.
    pub(super) fn may_write(&self, topic: &str) -> bool {
        self.allows(topic, |access| access.write)
    }

    fn allows(&self, topic: &str, wanted: impl Fn(&Access) -> bool) -> bool {
        let Some(rules) = &self.0 else { return true };
        let matches = |list: &[(Access, TopicFilter)]| {
            list.iter().any(|(access, filter)| wanted(access) && filter.matches(topic))
        };
        matches(&rules.allow) && !matches(&rules.deny)
    }

    /// Whether a SUBSCRIBE with this filter (without `$share/<name>/`) is granted: some topic that it matches may
    /// be read. Each delivery is judged for itself.
    pub(super) fn may_subscribe(&self, filter: &str) -> bool {
        let Some(rules) = &self.0 else { return true };
        let wanted = |access: &Access| access.read || access.subscribe;
        let allowed = rules.allow.iter().filter(|(access, _)| wanted(access));
        allowed.filter_map(|(_, allowed)| intersection(filter, allowed.as_str())).any(|common| {
            !rules.deny.iter().any(|(access, denied)| wanted(access) && covers(denied.as_str(), &common))
        })
    }
}
