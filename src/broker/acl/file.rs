//! An ACL file in Mosquitto's format: text to rules.

use std::fmt;

use super::{Access, Rule, Who};
use crate::mqtt::topic::TopicFilter;

/// Rules of a file: some 200 bytes each, so 2 MB. More is a mistake.
const RULES_MAX: usize = 10_000;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclMistake {
    /// Counted from 1.
    pub line: usize,
    /// In words.
    pub cause: String,
}

impl fmt::Display for AclMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.cause)
    }
}

/// Reads a whole file: `user <name>`, `topic [read|write|readwrite|deny] <filter>` for the user above it or, above
/// the first user, for clients without a user name; `pattern …` for every client, with `%u` and `%c`. A user may
/// stand several times.
///
/// # Errors
/// The first line that is nothing of that.
pub fn parse_file(bytes: &[u8]) -> Result<Vec<Rule>, AclMistake> {
    let mut rules = Vec::new();
    let mut who = Who::Anonymous;
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let wrong = |cause: String| AclMistake { line: at + 1, cause };
        let line = std::str::from_utf8(line).map_err(|_| wrong("is not UTF-8 text".into()))?.trim();
        // A '#' further on is a wildcard: there are no comments behind a rule.
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        match word {
            "user" if rest.trim().is_empty() => return Err(wrong("user: the name is missing".into())),
            "user" => who = Who::User(rest.trim().to_owned()),
            "topic" => rules.push(rule(who.clone(), false, rest).map_err(|e| wrong(format!("topic: {e}")))?),
            "pattern" => {
                rules.push(rule(Who::Everyone, true, rest).map_err(|e| wrong(format!("pattern: {e}")))?);
            }
            other => {
                return Err(wrong(format!("{other:?} is none of user, topic, pattern")));
            }
        }
        if rules.len() > RULES_MAX {
            return Err(wrong(format!("there are more than {RULES_MAX} rules")));
        }
    }
    Ok(rules)
}

fn rule(who: Who, substitutes: bool, text: &str) -> Result<Rule, String> {
    let text = text.trim();
    let (allow, access, topic) = match text.split_once([' ', '\t']) {
        // A single word is the topic, whatever word it is.
        None => (true, Access::READ_WRITE, text),
        Some((word, topic)) => {
            let (allow, access) = match word {
                "read" => (true, Access::READ),
                "write" => (true, Access::WRITE),
                "readwrite" => (true, Access::READ_WRITE),
                "deny" => (false, Access::READ_WRITE),
                other => return Err(format!("{other:?} is none of read, write, readwrite, deny")),
            };
            (allow, access, topic.trim())
        }
    };
    if topic.is_empty() {
        return Err("the topic is missing".into());
    }
    let filter = TopicFilter::parse(topic).map_err(|error| format!("{topic:?} {error}"))?;
    if filter.share().is_some() {
        return Err(format!("{topic:?} is a shared subscription; write the filter behind $share/<name>/"));
    }
    Ok(Rule { who, allow, access, filter, substitutes })
}
