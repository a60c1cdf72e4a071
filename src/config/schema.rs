//! The shape of the config as data: tables, keys, kinds, defaults, and how a change takes effect. One walker
//! reads it; the annotated file is checked against it. What a key means for a machine is no business of this file:
//! the tables themselves stand beside the code that uses their values.

use std::time::Duration;

use super::{
    broker, changes, device, discovery, exec, file, gateway, gpio, log, port, publish, upstream, web,
};

/// One table of the file.
#[derive(Debug)]
pub struct Table {
    /// As it is written: `[gateway]`, `[[port]]`, `[[upstream.map]]`.
    pub name: &'static str,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys, in the order in which they are explained.
    pub keys: &'static [Key],
}

impl Table {
    /// The key of that name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// `upstream.map` of `[[upstream.map]]`; empty for the top level.
    #[must_use]
    pub fn path(&self) -> &'static str {
        self.name.trim_matches(['[', ']'])
    }
}

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// What holds if it is absent.
    pub absent: Absent,
    /// How a change takes effect.
    pub effect: Effect,
    /// What it means, in a line.
    pub doc: &'static str,
    /// Whether a change of it, or of anything below it, can keep out whoever made it: such a change goes back by itself
    /// unless it is confirmed.
    pub cuts_off: bool,
}

impl Key {
    /// The same key, whose change can keep out whoever made it.
    pub(super) const fn cutting_off(mut self) -> Self {
        self.cuts_off = true;
        self
    }
}

/// What holds if a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// A mistake. Holds an example of the value, in TOML.
    Required(&'static str),
    /// This value, in TOML.
    Default(&'static str),
    /// Something that is computed; in words.
    Computed(&'static str),
    /// Nothing.
    None,
}

/// How a change of a key takes effect when a running gateway reads its config again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At once.
    Live,
    /// At once, and what it belongs to is opened anew: a listener, whose clients are disconnected; a port, a program, files or
    /// a GPIO line; the connection to an upstream.
    Reconnect,
    /// At the next start.
    Restart,
}

/// What may stand as a value.
#[derive(Debug)]
pub enum Kind {
    /// A text for people or for another program: not empty, no control characters.
    Text {
        /// Its longest form, in bytes.
        bytes_max: usize,
    },
    /// Any characters, but at least one.
    Raw {
        /// Its longest form, in bytes.
        bytes_max: usize,
    },
    /// A name of `A-Z a-z 0-9 _ . -`.
    Id {
        /// Its longest form, in bytes.
        bytes_max: usize,
    },
    /// A name that may stand as one level of a topic: no `/`, `+`, `#`, no control characters.
    Level {
        /// Its longest form, in bytes.
        bytes_max: usize,
    },
    /// An absolute path.
    Path,
    /// A whole number, bounds included.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// A finite number.
    Number,
    /// A number that is kept digit for digit; in quotes or not.
    Decimal,
    /// `true` or `false`.
    Bool,
    /// A duration with its unit, bounds included.
    Duration {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// A size with its unit, bounds in bytes and included.
    Size {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// One of these.
    Words(&'static [&'static str]),
    /// One character.
    Char,
    /// A topic without wildcards that neither starts nor ends with `/`.
    Topic,
    /// The beginning of a topic: may be empty, may end with `/`, has no wildcards.
    TopicPrefix,
    /// A topic filter, not of a shared subscription.
    Filter,
    /// An IP address and a port, or `unix:` and an absolute path.
    Bind,
    /// A host name or an IP address, without port.
    Host,
    /// A regular expression with named groups.
    Pattern,
    /// A regular expression.
    Expression,
    /// Where a secret is kept.
    Secret,
    /// An array of texts.
    Texts {
        /// The most of them.
        count_max: usize,
    },
    /// Bytes in hexadecimal digits, such as `42 4d`.
    Hex {
        /// The most bytes.
        bytes_max: usize,
    },
    /// An array of numbers, texts and booleans.
    Scalars {
        /// The most of them.
        count_max: usize,
    },
    /// A table with any keys, each with a number, a text or a boolean.
    Map {
        /// The most of them.
        count_max: usize,
    },
    /// A table that stands once.
    Table(&'static Table),
    /// A table that may stand several times.
    Tables {
        /// Its shape.
        table: &'static Table,
        /// The most of them.
        count_max: usize,
    },
    /// A table whose key `kind` tells the other keys; that word alone stands for the table with nothing else.
    Tagged(&'static [(&'static str, &'static Table)]),
    /// What fits the first of these that has the type of the value.
    OneOf(&'static [Kind]),
}

/// The key that tells the shape of a [`Kind::Tagged`] table.
pub const TAG: &str = "kind";

/// The whole file.
pub static ROOT: Table = Table {
    name: "",
    doc: "The top level.",
    keys: &[
        single("gateway", &gateway::GATEWAY, Effect::Restart),
        single("time", &gateway::TIME, Effect::Live),
        single("log", &log::LOG, Effect::Live),
        single("health", &gateway::HEALTH, Effect::Live),
        single("web", &web::WEB, Effect::Reconnect).cutting_off(),
        single("discovery", &discovery::DISCOVERY, Effect::Live),
        single("buffer", &gateway::BUFFER, Effect::Live),
        several("port", &port::PORT, 64, Effect::Reconnect),
        several("device", &device::DEVICE, 1_024, Effect::Reconnect),
        single("publish", &publish::PUBLISH, Effect::Live),
        single("home_assistant", &publish::HOME_ASSISTANT, Effect::Live),
        several("gpio", &gpio::GPIO, 256, Effect::Reconnect),
        several("exec", &exec::EXEC, 64, Effect::Reconnect),
        several("file", &file::FILE, 64, Effect::Reconnect),
        single("broker", &broker::BROKER, Effect::Live),
        several("upstream", &upstream::UPSTREAM, 16, Effect::Reconnect),
        single("config", &changes::CONFIG, Effect::Live),
    ],
};

const fn single(name: &'static str, table: &'static Table, effect: Effect) -> Key {
    Key {
        name,
        kind: Kind::Table(table),
        absent: Absent::Default("{}"),
        effect,
        doc: table.doc,
        cuts_off: false,
    }
}

/// A key that holds tables, none by default.
pub(super) const fn several(
    name: &'static str,
    table: &'static Table,
    count_max: usize,
    effect: Effect,
) -> Key {
    let kind = Kind::Tables { table, count_max };
    Key { name, kind, absent: Absent::None, effect, doc: table.doc, cuts_off: false }
}

/// A key that must be there.
pub(super) const fn required(
    name: &'static str,
    kind: Kind,
    example: &'static str,
    effect: Effect,
    doc: &'static str,
) -> Key {
    Key { name, kind, absent: Absent::Required(example), effect, doc, cuts_off: false }
}

/// A key with a default.
pub(super) const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    effect: Effect,
    doc: &'static str,
) -> Key {
    Key { name, kind, absent: Absent::Default(default), effect, doc, cuts_off: false }
}

/// A key whose default is computed; `what` says how.
pub(super) const fn computed(
    name: &'static str,
    kind: Kind,
    what: &'static str,
    effect: Effect,
    doc: &'static str,
) -> Key {
    Key { name, kind, absent: Absent::Computed(what), effect, doc, cuts_off: false }
}

/// A key that may be absent.
pub(super) const fn optional(name: &'static str, kind: Kind, effect: Effect, doc: &'static str) -> Key {
    Key { name, kind, absent: Absent::None, effect, doc, cuts_off: false }
}

/// A duration between two bounds in milliseconds.
pub(super) const fn duration(min_ms: u64, max_ms: u64) -> Kind {
    Kind::Duration { min: Duration::from_millis(min_ms), max: Duration::from_millis(max_ms) }
}

/// Calls `visit` with each table of the schema, the top level first.
pub fn each_table(visit: &mut dyn FnMut(&'static Table)) {
    visit_table(&ROOT, visit);
}

fn visit_table(table: &'static Table, visit: &mut dyn FnMut(&'static Table)) {
    visit(table);
    for key in table.keys {
        visit_kind(&key.kind, visit);
    }
}

fn visit_kind(kind: &'static Kind, visit: &mut dyn FnMut(&'static Table)) {
    match kind {
        Kind::Table(table) | Kind::Tables { table, .. } => visit_table(table, visit),
        Kind::Tagged(variants) => variants.iter().for_each(|(_, table)| visit_table(table, visit)),
        Kind::OneOf(kinds) => kinds.iter().for_each(|kind| visit_kind(kind, visit)),
        _ => {}
    }
}
