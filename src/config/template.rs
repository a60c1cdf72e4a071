//! Placeholders in texts, such as `{gateway}`: what they stand for, and which are known where.

use super::mistake::{Mistakes, quoted};
use super::section::Section;
use super::{Facts, Gateway};
use crate::bridge::DEVICE;

/// What placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) facts: &'a Facts,
}

/// What a text becomes, which decides what may be put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// A filter, or the part of a topic. What is put in is one level of it.
    Topic,
    /// The beginning of a topic. `{device}` stays, since each message has its own.
    Prefix,
    /// What all topics begin with: nothing that may change while the gateway runs, as the site may.
    Base,
    /// Any text.
    Text,
}

impl Becomes {
    const fn known(self) -> &'static str {
        match self {
            Self::Prefix => "{gateway}, {site}, {hostname}, {machine}, {device}",
            Self::Base => "{gateway}, {hostname}, {machine}",
            Self::Topic | Self::Text => "{gateway}, {site}, {hostname}, {machine}",
        }
    }
}

/// Puts in what the placeholders of a key's text stand for. `None` after a mistake.
pub(super) fn expand(
    section: &Section,
    key: &str,
    text: &str,
    becomes: Becomes,
    names: Names<'_>,
    mistakes: &mut Mistakes<'_>,
) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        out.push_str(before);
        let Some((word, tail)) = behind.split_once('}') else {
            out.push('{');
            rest = behind;
            continue;
        };
        match stands_for(word, becomes, names) {
            Ok(value) => out.push_str(value),
            Err(None) => {
                let message = format!("{key}: {} stands for nothing here", quoted(&format!("{{{word}}}")));
                let help = format!("known are {}", becomes.known());
                mistakes.add_with_help(section.span(key), message, help);
                return None;
            }
            Err(Some(why)) => {
                mistakes.add(section.span(key), format!("{key}: {why}"));
                return None;
            }
        }
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

/// The value of a placeholder; else why it has none, or nothing if there is no such placeholder.
fn stands_for<'a>(word: &str, becomes: Becomes, names: Names<'a>) -> Result<&'a str, Option<String>> {
    let (what, value, missing) = match word {
        "gateway" => return Ok(&names.gateway.id),
        "device" if becomes == Becomes::Prefix => return Ok(DEVICE),
        "site" if becomes != Becomes::Base => {
            ("the site", names.gateway.site.as_deref(), "gateway.site, which is not set")
        }
        "hostname" => {
            ("the host name", names.facts.host_name.as_deref(), "the name of this machine, which has none")
        }
        "machine" => (
            "the machine's id",
            names.facts.machine.as_deref(),
            "what is made of /etc/machine-id, and this machine has none",
        ),
        _ => return Err(None),
    };
    match value {
        None => Err(Some(format!("{{{word}}} stands for {missing}"))),
        Some(value) if becomes != Becomes::Text && value.contains(['+', '#', '/']) => {
            Err(Some(format!("{what}, {}, can't be one level of a topic", quoted(value))))
        }
        Some(value) => Ok(value),
    }
}
