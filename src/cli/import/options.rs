//! Every option of mosquitto.conf(5), versions 2.0 and 2.1, and what becomes of it: one table, which the reader of the
//! file, the translation and `fieldgate import --options` share.

mod bridge;
mod general;
mod listener;

use super::values::Converted;

/// Where an option belongs, and so which block of the file it is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The whole broker, wherever it stands.
    Global,
    /// The whole broker, or the listener above it with `per_listener_settings true`.
    Security,
    /// The listener above it in the same file; without one, the default listener.
    Listener,
    /// The default listener, wherever it stands.
    DefaultListener,
    /// The bridge above it in the same file.
    Bridge,
    /// Begins a listener.
    NewListener,
    /// Begins a bridge.
    NewBridge,
    /// Begins a plugin, which `plugin_opt_…` below it belongs to.
    Plugin,
}

/// What its value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// true or false; the last one counts.
    Flag,
    /// A whole number; the last one counts.
    Number,
    /// A text that may stand once.
    Text,
    /// A text that may stand several times.
    List,
}

/// What is lost with an option that isn't carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Nothing that a client would notice.
    Minor,
    /// Messages go other ways, or other clients get in touch.
    Delivery,
    /// Who gets in, or who may do what.
    Security,
}

/// What becomes of an option.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// It becomes this key of `[broker]`, by this rule.
    Key(&'static str, fn(&str) -> Result<Converted, String>),
    /// It becomes what this says; `translate` and its neighbours know how.
    Carried(&'static str),
    /// Nothing need become of it: why.
    NotNeeded(&'static str),
    /// It can't be carried over.
    Refused {
        /// What is lost.
        weight: Weight,
        /// Values that ask for nothing that fieldgate doesn't do anyway.
        harmless: &'static [&'static str],
        /// Why, and what to do instead.
        why: &'static str,
    },
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Its name; `*` at the end stands for any ending.
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) scope: Scope,
    pub(super) fate: Fate,
}

/// The whole table.
pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    general::ROWS.iter().chain(listener::ROWS).chain(bridge::ROWS)
}

/// The row of an option, by its name.
pub(super) fn row(name: &str) -> Option<&'static Row> {
    rows().find(|row| match row.name.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => row.name == name,
    })
}

impl Row {
    /// What becomes of it, in words.
    pub(super) fn fate_in_words(&self) -> String {
        match self.fate {
            Fate::Key(key, _) => format!("carried over to broker.{key}"),
            Fate::Carried(what) => format!("carried over: {what}"),
            Fate::NotNeeded(why) => format!("not needed: {why}"),
            Fate::Refused { why, harmless: [], .. } => format!("refused: {why}"),
            Fate::Refused { why, harmless, .. } => {
                format!("refused, unless it is {}: {why}", harmless.join(" or "))
            }
        }
    }
}

/// The table for people, in Markdown.
pub(super) fn table() -> String {
    let mut rows: Vec<&Row> = rows().collect();
    rows.sort_by_key(|row| row.name);
    let mut text = String::from("| option of mosquitto.conf | what becomes of it |\n|---|---|\n");
    for row in rows {
        text.push_str(&format!("| `{}` | {} |\n", row.name, row.fate_in_words()));
    }
    text
}

const fn new(name: &'static str, shape: Shape, scope: Scope, fate: Fate) -> Row {
    Row { name, shape, scope, fate }
}

const fn refused(weight: Weight, harmless: &'static [&'static str], why: &'static str) -> Fate {
    Fate::Refused { weight, harmless, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_has_one_row_that_says_something() {
        let mut names: Vec<&str> = rows().map(|row| row.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "an option has two rows");
        for row in rows() {
            assert!(std::ptr::eq(self::row(row.name).unwrap(), row), "{} hides behind another row", row.name);
            let words = row.fate_in_words();
            assert!(
                words.len() > 15 && !words.contains('|') && !words.ends_with('.'),
                "{}: {words}",
                row.name
            );
        }
    }
}
