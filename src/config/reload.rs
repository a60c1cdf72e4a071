//! A config that takes the place of another while the gateway runs: what changes, key by key, and when each change
//! counts, as the schema says. Pure: who carries it out is `app`'s business.

use super::schema::Effect;
use super::section::{Scalar, Section, Value};
use super::{Config, Facts, Mistake, Source, diff};

/// The keys of a config with their values, as the files give them. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct Settings(pub(super) Section);

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}

/// What a new config changes, by the names of its keys: `broker.queue_max`, `upstream.central.host`. A table that
/// may stand several times goes by its name; one that has none is named as a whole, with all that stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Changes that count at once.
    pub live: Vec<String>,
    /// Changes for which something is opened anew: a listener, a port, a connection to an upstream.
    pub reconnect: Vec<String>,
    /// What differs from what the gateway was started with, and counts at the next start.
    pub next_start: Vec<String>,
}

impl Plan {
    /// Everything that counts without a new start, in one list.
    #[must_use]
    pub fn applied(&self) -> Vec<String> {
        self.live.iter().chain(&self.reconnect).cloned().collect()
    }
}

/// Compares a new config with the one that the gateway was started with and the one that was read last.
#[must_use]
pub fn plan(started: &Settings, running: &Settings, new: &Settings) -> Plan {
    let mut plan = Plan::default();
    for (path, effect) in changes(running, new) {
        match effect {
            Effect::Live => plan.live.push(path),
            Effect::Reconnect => plan.reconnect.push(path),
            Effect::Restart => {}
        }
    }
    let since_start = changes(started, new).into_iter();
    plan.next_start =
        since_start.filter(|(_, effect)| *effect == Effect::Restart).map(|(path, _)| path).collect();
    plan
}

/// The config that runs from now on: the new one, but for what counts at the next start. That may be asked of many others, as
/// the gateway's id is of the topics, so where it differs all is made once more, with what it was at the start.
///
/// # Errors
/// Mistakes that there are only as long as the gateway isn't started anew.
pub fn effective(
    started: &Config,
    new: Config,
    sources: &[Source],
    profiles: &[Source],
    facts: &Facts,
) -> Result<Config, Vec<Mistake>> {
    let changes = changes(&started.settings, &new.settings);
    if changes.iter().all(|(_, effect)| *effect != Effect::Restart) {
        return Ok(new);
    }
    let kept = |root: &mut Section| keep(&started.settings.0, root);
    let config = super::parse_amended(sources, profiles, facts, kept)?;
    // What stands on disk is what later changes are compared with.
    Ok(Config { settings: new.settings, ..config })
}

/// Puts the values from the start in the places of those that count at the next one.
fn keep(started: &Section, new: &mut Section) {
    for key in new.table.keys {
        if let (Some(Value::Table(old)), Some(entry)) =
            (started.value(key.name), new.entries.get_mut(key.name))
            && let Value::Table(new) = &mut entry.value
        {
            keep(old, new);
        } else if key.effect == Effect::Restart {
            match started.entries.get(key.name) {
                Some(entry) => new.entries.insert(key.name, entry.clone()),
                None => new.entries.remove(key.name),
            };
        }
    }
}

type Found = Vec<(String, Effect)>;

fn changes(old: &Settings, new: &Settings) -> Found {
    diff::changes(old, new).into_iter().map(|change| (change.path, change.effect)).collect()
}

pub(super) fn same_sections(one: &[Section], other: &[Section]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_section(one, other))
}

fn same_section(one: &Section, other: &Section) -> bool {
    one.table.keys.iter().all(|key| same_option(one.value(key.name), other.value(key.name)))
}

pub(super) fn same_option(one: Option<&Value>, other: Option<&Value>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => same(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Whether two values mean the same, wherever they stand.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Text(one), Value::Text(other)) => one == other,
        (Value::Integer(one), Value::Integer(other)) => one == other,
        (Value::Number(one), Value::Number(other)) => one.to_bits() == other.to_bits(),
        (Value::Decimal(one), Value::Decimal(other)) => one == other,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Duration(one), Value::Duration(other)) => one == other,
        (Value::Size(one), Value::Size(other)) => one == other,
        (Value::Word(one), Value::Word(other)) => one == other,
        (Value::Char(one), Value::Char(other)) => one == other,
        (Value::Filter(one), Value::Filter(other)) => one == other,
        (Value::Bind(one), Value::Bind(other)) => one == other,
        (Value::Pattern(one), Value::Pattern(other)) => one.as_str() == other.as_str(),
        (Value::Secret(one), Value::Secret(other)) => one == other,
        (Value::Bytes(one), Value::Bytes(other)) => one == other,
        (Value::Scalars(one), Value::Scalars(other)) => {
            one.iter().map(|(scalar, _)| scalar).eq(other.iter().map(|(scalar, _)| scalar))
        }
        (Value::Map(one), Value::Map(other)) => {
            let entry = |(key, scalar, _): &(String, Scalar, _)| (key.clone(), scalar.clone());
            one.iter().map(entry).eq(other.iter().map(entry))
        }
        (Value::Texts(one), Value::Texts(other)) => {
            one.iter().map(|(text, _)| text).eq(other.iter().map(|(text, _)| text))
        }
        (Value::Table(one), Value::Table(other)) => same_section(one, other),
        (Value::Tables(one), Value::Tables(other)) => same_sections(one, other),
        (Value::Tagged(was, one), Value::Tagged(is, other)) => was == is && same_section(one, other),
        // Values of two kinds; a mistake never gets this far.
        _ => false,
    }
}
