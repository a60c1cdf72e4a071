//! A config that takes the place of another while the gateway runs: what changes, key by key, and when each change
//! counts, as the schema says. Pure: who carries it out is `app`'s business.

use super::schema::{Effect, Key, Table};
use super::section::{Scalar, Section, Value};
use super::{Config, Gateway};
use crate::broker;

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
    /// Changes for which a listener is opened anew.
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
pub fn plan(started: &Config, running: &Config, new: &Config) -> Plan {
    let mut plan = Plan::default();
    for (path, effect) in changes(&running.settings, &new.settings) {
        match effect {
            Effect::Live => plan.live.push(path),
            Effect::Reconnect => plan.reconnect.push(path),
            Effect::Restart => {}
        }
    }
    let since_start = changes(&started.settings, &new.settings).into_iter();
    plan.next_start =
        since_start.filter(|(_, effect)| *effect == Effect::Restart).map(|(path, _)| path).collect();
    plan
}

/// The config that runs from now on: the new one, but for what counts at the next start.
#[must_use]
pub fn effective(started: &Config, new: Config) -> Config {
    // Named one by one, so that a new section can't be forgotten here.
    let Config {
        gateway: Gateway { site, .. },
        time,
        log,
        health,
        buffer: _,
        ports: _,
        devices: _,
        publish: _,
        gpio: _,
        execs: _,
        files: _,
        broker,
        listeners,
        users,
        password_file,
        acl_file,
        own_access,
        upstreams: _,
        settings,
    } = new;
    let kept = &started.broker;
    Config {
        gateway: Gateway { site, ..started.gateway.clone() },
        time,
        log,
        health,
        buffer: started.buffer,
        ports: started.ports.clone(),
        devices: started.devices.clone(),
        publish: started.publish.clone(),
        gpio: started.gpio.clone(),
        execs: started.execs.clone(),
        files: started.files.clone(),
        broker: broker::Config {
            base: kept.base.clone(),
            forward: kept.forward.clone(),
            commands: kept.commands.clone(),
            persistence: kept.persistence,
            ..broker
        },
        listeners,
        users,
        password_file,
        acl_file,
        own_access,
        upstreams: started.upstreams.clone(),
        settings,
    }
}

type Found = Vec<(String, Effect)>;

fn changes(old: &Settings, new: &Settings) -> Found {
    let mut found = Vec::new();
    compare(&old.0, &new.0, "", &mut found);
    found
}

fn compare(old: &Section, new: &Section, path: &str, found: &mut Found) {
    for key in new.table.keys {
        let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        match (old.value(key.name), new.value(key.name)) {
            (Some(Value::Table(old)), Some(Value::Table(new))) => compare(old, new, &path, found),
            (Some(Value::Tagged(was, old)), Some(Value::Tagged(is, new))) if was == is => {
                compare(old, new, &path, found);
            }
            (old, new) if is_list(old) || is_list(new) => {
                compare_lists(key, tables(old), tables(new), &path, found);
            }
            (old, new) => {
                if !same_option(old, new) {
                    found.push((path, key.effect));
                }
            }
        }
    }
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

fn compare_lists(key: &Key, old: &[Section], new: &[Section], path: &str, found: &mut Found) {
    let table = old.iter().chain(new).next().map(|section| section.table);
    if table.is_none_or(|table: &Table| table.key("name").is_none()) {
        if !same_sections(old, new) {
            found.push((path.to_owned(), key.effect));
        }
        return;
    }
    for section in new {
        let name = name(section);
        match old.iter().find(|old| self::name(old) == name) {
            Some(old) => compare(old, section, &format!("{path}.{name}"), found),
            None => found.push((format!("{path}.{name} (new)"), key.effect)),
        }
    }
    for section in old {
        let name = name(section);
        if !new.iter().any(|new| self::name(new) == name) {
            found.push((format!("{path}.{name} (removed)"), key.effect));
        }
    }
}

/// What a table of several goes by. An upstream without a name has its host's; of listeners one may have none.
fn name(section: &Section) -> &str {
    section.text("name").or_else(|| section.text("host")).unwrap_or("mqtt")
}

fn same_sections(one: &[Section], other: &[Section]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_section(one, other))
}

fn same_section(one: &Section, other: &Section) -> bool {
    one.table.keys.iter().all(|key| same_option(one.value(key.name), other.value(key.name)))
}

fn same_option(one: Option<&Value>, other: Option<&Value>) -> bool {
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
