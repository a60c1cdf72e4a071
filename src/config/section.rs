//! A table of the file after reading: typed values by key. Where a value is missing or was a mistake, the getters
//! give a harmless stand-in: the mistake is noted already, so nobody will see what is built from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;
use rust_decimal::Decimal;

use super::listener::Bind;
use super::mistake::Span;
use super::schema::Table;
use crate::mqtt::topic::TopicFilter;
use crate::secret::SecretRef;

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Number(f64),
    Decimal(Decimal),
    Bool(bool),
    Duration(Duration),
    Size(u64),
    Word(&'static str),
    Char(char),
    Filter(TopicFilter),
    Bind(Bind),
    Pattern(Regex),
    Secret(SecretRef),
    Texts(Vec<(String, Span)>),
    Bytes(Vec<u8>),
    Scalars(Vec<(Scalar, Span)>),
    Map(Vec<(String, Scalar, Span)>),
    Table(Section),
    Tables(Vec<Section>),
    Tagged(&'static str, Section),
    /// A mistake that is noted already.
    Mistaken,
}

/// A number, a text or a boolean, whichever stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Number(Decimal),
    Text(String),
    Bool(bool),
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Span,
    pub(super) span: Span,
    pub(super) value: Value,
    /// Whether the file says so; otherwise it is the default.
    pub(super) given: bool,
}

/// A table after reading.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) table: &'static Table,
    /// Its header, or the whole of an inline table.
    pub(super) span: Span,
    pub(super) entries: BTreeMap<&'static str, Entry>,
}

impl Section {
    pub(super) const fn new(table: &'static Table, span: Span) -> Self {
        Self { table, span, entries: BTreeMap::new() }
    }

    /// The value of a key, given or by default.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Where the value of a key stands; the table itself if it is absent.
    pub(super) fn span(&self, key: &str) -> Span {
        self.entries.get(key).map_or(self.span, |entry| entry.span)
    }

    /// Where the key itself stands; the table itself if it is absent.
    pub(super) fn key_span(&self, key: &str) -> Span {
        self.entries.get(key).map_or(self.span, |entry| entry.key)
    }

    /// Whether the file says something about this key.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.given)
    }

    /// Whether the key holds a mistake that is noted already.
    pub(super) fn is_mistaken(&self, key: &str) -> bool {
        matches!(self.value(key), Some(Value::Mistaken))
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.value(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A text that is there unless its absence is noted already.
    pub(super) fn string(&self, key: &str) -> String {
        self.text(key).unwrap_or_default().to_owned()
    }

    /// A whole number within the bounds of its key, which fit the type.
    pub(super) fn integer<T: TryFrom<i64> + Default>(&self, key: &str) -> T {
        match self.value(key) {
            Some(Value::Integer(number)) => T::try_from(*number).unwrap_or_default(),
            _ => T::default(),
        }
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        match self.value(key) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn decimal(&self, key: &str) -> Decimal {
        match self.value(key) {
            Some(Value::Decimal(number)) => *number,
            _ => Decimal::ZERO,
        }
    }

    pub(super) fn bool(&self, key: &str) -> Option<bool> {
        match self.value(key) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    pub(super) fn optional_duration(&self, key: &str) -> Option<Duration> {
        match self.value(key) {
            Some(Value::Duration(duration)) => Some(*duration),
            _ => None,
        }
    }

    pub(super) fn duration(&self, key: &str) -> Duration {
        self.optional_duration(key).unwrap_or_default()
    }

    pub(super) fn size(&self, key: &str) -> u64 {
        match self.value(key) {
            Some(Value::Size(bytes)) => *bytes,
            _ => 0,
        }
    }

    /// A size that is held in memory, so its bounds fit the machine.
    pub(super) fn memory_size(&self, key: &str) -> usize {
        usize::try_from(self.size(key)).unwrap_or(usize::MAX)
    }

    pub(super) fn word(&self, key: &str) -> &'static str {
        match self.value(key) {
            Some(Value::Word(word)) => word,
            _ => "",
        }
    }

    pub(super) fn char(&self, key: &str) -> Option<char> {
        match self.value(key) {
            Some(Value::Char(c)) => Some(*c),
            _ => None,
        }
    }

    pub(super) fn secret(&self, key: &str) -> Option<&SecretRef> {
        match self.value(key) {
            Some(Value::Secret(secret)) => Some(secret),
            _ => None,
        }
    }

    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// The texts of a list and where each stands.
    pub(super) fn texts(&self, key: &str) -> &[(String, Span)] {
        match self.value(key) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// The bytes of a key in hexadecimal digits.
    pub(super) fn bytes(&self, key: &str) -> &[u8] {
        match self.value(key) {
            Some(Value::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }

    /// The numbers, texts and booleans of a list, and where each stands.
    pub(super) fn scalars(&self, key: &str) -> &[(Scalar, Span)] {
        match self.value(key) {
            Some(Value::Scalars(scalars)) => scalars,
            _ => &[],
        }
    }

    /// The entries of a table with any keys, and where each value stands.
    pub(super) fn map(&self, key: &str) -> &[(String, Scalar, Span)] {
        match self.value(key) {
            Some(Value::Map(entries)) => entries,
            _ => &[],
        }
    }

    pub(super) fn table(&self, key: &str) -> Option<&Self> {
        match self.value(key) {
            Some(Value::Table(section)) => Some(section),
            _ => None,
        }
    }

    pub(super) fn tables(&self, key: &str) -> &[Self] {
        match self.value(key) {
            Some(Value::Tables(sections)) => sections,
            _ => &[],
        }
    }

    pub(super) fn tagged(&self, key: &str) -> Option<(&'static str, &Self)> {
        match self.value(key) {
            Some(Value::Tagged(tag, section)) => Some((tag, section)),
            _ => None,
        }
    }
}
