//! Single values: from what TOML has (strings, numbers, booleans) to what a key means (durations, sizes, topics).
//! Each mistake says what was expected and what was found.

use std::net::{IpAddr, SocketAddr};

use toml::de::{DeInteger, DeValue};

use super::listener::Bind;
use super::mistake::{Mistakes, Span, quoted};
use super::schema::{Key, Kind};
use super::section::Value;
use super::suggest::nearest;
use super::walk::{Spanned, Walker};
use super::{decimal, duration, pattern, scalars, secret, size, text};

/// Why a value can't be taken: what is wrong, and perhaps what to write instead.
pub(super) type Refusal = (String, Option<String>);

/// Reads a value that is no table.
pub(super) fn scalar(
    walker: &mut Walker<'_, '_>,
    key: &'static Key,
    kind: &'static Kind,
    spanned: &Spanned<DeValue<'_>>,
) -> Value {
    let found = spanned.get_ref();
    if !has_type(kind, found) {
        return mismatch(walker, key, kind, spanned);
    }
    let span = walker.span(spanned);
    let read = match (kind, found) {
        (_, DeValue::String(string)) => from_string(walker, key, kind, string, span),
        (_, DeValue::Integer(integer)) => from_integer(kind, integer),
        (_, DeValue::Float(float)) => from_float(kind, float.as_str()),
        (_, DeValue::Boolean(flag)) => Ok(Value::Bool(*flag)),
        (Kind::Texts { count_max }, DeValue::Array(items)) => {
            return texts(walker, key, *count_max, items, span);
        }
        (Kind::Scalars { count_max }, DeValue::Array(items)) => {
            return scalars::list(walker, key, *count_max, items, span);
        }
        (Kind::Map { count_max }, DeValue::Table(table)) => {
            return scalars::map(walker, key, *count_max, table, span);
        }
        (Kind::Secret, DeValue::Table(table)) => return secret::reference(walker, key, table, span),
        _ => return mismatch(walker, key, kind, spanned),
    };
    match read {
        Ok(value) => value,
        Err((message, help)) => {
            if !message.is_empty() {
                walker.mistakes.note(span, format!("{}: {message}", key.name), help);
            }
            Value::Mistaken
        }
    }
}

/// Whether a value has the type that a kind is written in; its content may still be wrong.
pub(super) fn has_type(kind: &Kind, value: &DeValue<'_>) -> bool {
    match kind {
        Kind::Integer { .. } => matches!(value, DeValue::Integer(_)),
        Kind::Number => matches!(value, DeValue::Integer(_) | DeValue::Float(_)),
        Kind::Decimal => matches!(value, DeValue::Integer(_) | DeValue::Float(_) | DeValue::String(_)),
        Kind::Bool => matches!(value, DeValue::Boolean(_)),
        Kind::Texts { .. } | Kind::Scalars { .. } | Kind::Tables { .. } => matches!(value, DeValue::Array(_)),
        Kind::Table(_) | Kind::Map { .. } | Kind::Secret => matches!(value, DeValue::Table(_)),
        Kind::Tagged(_) => matches!(value, DeValue::Table(_) | DeValue::String(_)),
        Kind::OneOf(kinds) => kinds.iter().any(|kind| has_type(kind, value)),
        _ => matches!(value, DeValue::String(_)),
    }
}

/// Notes a value of the wrong type.
pub(super) fn mismatch(
    walker: &mut Walker<'_, '_>,
    key: &Key,
    kind: &Kind,
    spanned: &Spanned<DeValue<'_>>,
) -> Value {
    let span = walker.span(spanned);
    if matches!(kind, Kind::Secret) {
        secret::plain(walker.mistakes, span, key);
        return Value::Mistaken;
    }
    let value = spanned.get_ref();
    let message = format!("{}: expected {}, found {}", key.name, expected(kind), found(value));
    let help = match (kind, value) {
        (Kind::Duration { .. }, DeValue::Integer(n)) => Some(format!(
            "a duration carries its unit: \"{0}ms\", \"{0}s\", \"{0}min\", \"{0}h\" or \"{0}d\"",
            n.as_str()
        )),
        (Kind::Size { .. }, DeValue::Integer(n)) => {
            Some(format!("a size carries its unit: \"{0} B\", \"{0} KiB\" or \"{0} MiB\"", n.as_str()))
        }
        (Kind::Integer { .. } | Kind::Number, DeValue::String(text)) if text.parse::<f64>().is_ok() => {
            Some(format!("write {text} without quotes"))
        }
        (Kind::Bool, DeValue::String(text)) if matches!(text.as_ref(), "true" | "false") => {
            Some(format!("write {text} without quotes"))
        }
        (Kind::Text { .. } | Kind::Id { .. } | Kind::Level { .. } | Kind::Words(_), DeValue::Integer(n)) => {
            Some(format!("write \"{}\"", n.as_str()))
        }
        _ => None,
    };
    walker.mistakes.note(span, message, help);
    Value::Mistaken
}

fn from_string(
    walker: &mut Walker<'_, '_>,
    key: &Key,
    kind: &Kind,
    string: &str,
    span: Span,
) -> Result<Value, Refusal> {
    let owned = || Value::Text(string.to_owned());
    match kind {
        Kind::Text { bytes_max } => {
            text::plain(string, *bytes_max).map(|()| Value::Text(string.trim().to_owned()))
        }
        Kind::Hex { bytes_max } => scalars::hex(string, *bytes_max).map(Value::Bytes),
        Kind::Raw { bytes_max } => text::raw(string, *bytes_max).map(|()| owned()),
        Kind::Id { bytes_max } => text::id(string, *bytes_max).map(|()| owned()),
        Kind::Level { bytes_max } => text::level(string, *bytes_max).map(|()| owned()),
        Kind::Path => text::path(string).map(|()| owned()),
        Kind::Host => text::host(string).map(|()| owned()),
        Kind::Topic => text::topic(string).map(|()| owned()),
        Kind::TopicPrefix => text::topic_prefix(string).map(|()| owned()),
        Kind::Filter => text::filter(string).map(Value::Filter),
        Kind::Duration { min, max } => {
            let value = duration::parse(string).ok_or_else(|| {
                let message = format!("{} is no duration", quoted(string));
                (message, Some("write a whole number and ms, s, min, h or d, such as \"5s\"".to_owned()))
            })?;
            within(&value, min, max, |value| format!("{:?}", duration::print(*value)))
                .map(|()| Value::Duration(value))
        }
        Kind::Size { min, max } => {
            let value = size::parse(string).ok_or_else(|| {
                let help = match size::guess(string) {
                    Some(guess) => format!("write {guess:?}"),
                    None => "write a whole number and B, KiB, MiB, GiB or TiB, such as \"64 KiB\"".to_owned(),
                };
                (format!("{} is no size", quoted(string)), Some(help))
            })?;
            within(&value, min, max, |bytes| format!("{:?}", size::print(*bytes)))
                .map(|()| Value::Size(value))
        }
        Kind::Words(words) => match words.iter().find(|word| **word == string) {
            Some(word) => Ok(Value::Word(word)),
            None => {
                not_one_of(walker.mistakes, span, key.name, string, words);
                Ok(Value::Mistaken)
            }
        },
        Kind::Char => {
            let mut chars = string.chars();
            match (chars.next(), chars.next()) {
                (Some(only), None) => Ok(Value::Char(only)),
                _ => Err((format!("{} is not exactly one character", quoted(string)), None)),
            }
        }
        Kind::Decimal => decimal(string),
        Kind::Bind => bind(string).map(Value::Bind),
        Kind::Pattern => Ok(pattern::compile(walker, key, string, span, true)),
        Kind::Expression => Ok(pattern::compile(walker, key, string, span, false)),
        _ => Err((format!("expected {}, found string {}", expected(kind), quoted(string)), None)),
    }
}

fn from_integer(kind: &Kind, integer: &DeInteger<'_>) -> Result<Value, Refusal> {
    let number = i64::from_str_radix(integer.as_str(), integer.radix());
    match kind {
        Kind::Integer { min, max } => match number {
            Ok(number) => within(&number, min, max, i64::to_string).map(|()| Value::Integer(number)),
            Err(_) => Err((format!("{integer} is not between {min} and {max}"), None)),
        },
        Kind::Number => from_float(kind, integer.as_str()),
        _ => match number {
            Ok(number) => Ok(Value::Decimal(number.into())),
            Err(_) => decimal(integer.as_str()),
        },
    }
}

fn from_float(kind: &Kind, written: &str) -> Result<Value, Refusal> {
    match kind {
        Kind::Number => match written.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Number(number)),
            _ => Err((format!("{written} is no finite number"), None)),
        },
        _ => decimal(written),
    }
}

pub(super) fn decimal(written: &str) -> Result<Value, Refusal> {
    decimal::parse(written).map(Value::Decimal).ok_or_else(|| {
        let message = format!("{} is no decimal number of at most 28 digits", quoted(written));
        (message, written.contains(',').then(|| "the decimal sign is a point: 0.1".to_owned()))
    })
}

fn within<T: PartialOrd>(value: &T, min: &T, max: &T, print: impl Fn(&T) -> String) -> Result<(), Refusal> {
    if value < min || value > max {
        return Err((format!("{} is not between {} and {}", print(value), print(min), print(max)), None));
    }
    Ok(())
}

fn bind(written: &str) -> Result<Bind, Refusal> {
    match written.strip_prefix("unix:") {
        Some(path) => text::path(path).map(|()| Bind::Unix(path.into())),
        None => address(written).map(Bind::Tcp),
    }
}

fn address(written: &str) -> Result<SocketAddr, Refusal> {
    written.parse::<SocketAddr>().map_err(|_| {
        let help = match written.parse::<IpAddr>() {
            Ok(ip) => format!("add the port: \"{}\"", SocketAddr::new(ip, 1883)),
            Err(_) => "write one such as \"127.0.0.1:1883\", \"0.0.0.0:1883\" or \"[::1]:1883\"".to_owned(),
        };
        (format!("{} is no address with a port", quoted(written)), Some(help))
    })
}

fn texts(
    walker: &mut Walker<'_, '_>,
    key: &Key,
    count_max: usize,
    items: &toml::de::DeArray<'_>,
    span: Span,
) -> Value {
    const BYTES_MAX: usize = 128;
    if items.len() > count_max {
        let message = format!("{}: {} entries, but at most {count_max} may be", key.name, items.len());
        walker.mistakes.add(span, message);
    }
    let mut texts = Vec::new();
    for item in items.iter().take(count_max) {
        let span = walker.span(item);
        match item.get_ref() {
            DeValue::String(string) => match text::plain(string, BYTES_MAX) {
                Ok(()) => texts.push((string.trim().to_owned(), span)),
                Err((message, help)) => walker.mistakes.note(span, format!("{}: {message}", key.name), help),
            },
            other => {
                let message = format!("{}: expected a text in quotes, found {}", key.name, found(other));
                walker.mistakes.add(span, message);
            }
        }
    }
    Value::Texts(texts)
}

/// Notes a word that isn't one of those that are known.
pub(super) fn not_one_of(mistakes: &mut Mistakes<'_>, span: Span, name: &str, written: &str, words: &[&str]) {
    let message = format!("{name}: expected {}, found string {}", alternatives(words), quoted(written));
    let help = nearest(written, words.iter().copied()).map(|word| format!("did you mean {word:?}?"));
    mistakes.note(span, message, help);
}

/// `"none", "odd" or "even"`.
pub(super) fn alternatives(words: &[&str]) -> String {
    joined(words.iter().map(|word| format!("{word:?}")).collect())
}

fn joined(mut words: Vec<String>) -> String {
    let last = words.pop().unwrap_or_default();
    if words.is_empty() { last } else { format!("{} or {last}", words.join(", ")) }
}

/// What was found, with its type.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("string {}", quoted(text)),
        DeValue::Integer(integer) => format!("integer {integer}"),
        DeValue::Float(float) => format!("float {float}"),
        DeValue::Boolean(flag) => format!("boolean {flag}"),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// What a kind is written as.
fn expected(kind: &Kind) -> String {
    let fixed = match kind {
        Kind::Text { .. } | Kind::Raw { .. } => "a text in quotes",
        Kind::Id { .. } | Kind::Level { .. } => "a name in quotes",
        Kind::Path => "a path in quotes",
        Kind::Integer { min, max } => return format!("a whole number from {min} to {max}"),
        Kind::Number | Kind::Decimal => "a number",
        Kind::Bool => "true or false",
        Kind::Duration { .. } => "a duration such as \"5s\"",
        Kind::Size { .. } => "a size such as \"64 KiB\"",
        Kind::Words(words) => return alternatives(words),
        Kind::Char => "one character in quotes",
        Kind::Topic | Kind::TopicPrefix => "a topic in quotes",
        Kind::Filter => "a topic filter in quotes",
        Kind::Bind => "an address such as \"127.0.0.1:1883\"",
        Kind::Host => "a host name in quotes",
        Kind::Pattern | Kind::Expression => "a regular expression in quotes",
        Kind::Secret => "a reference to a secret",
        Kind::Texts { .. } => "an array of texts",
        Kind::Hex { .. } => "bytes in hexadecimal digits such as \"42 4d\"",
        Kind::Scalars { .. } => "an array of numbers and texts",
        Kind::Map { .. } => "a table such as { 0 = \"off\", 1 = \"on\" }",
        Kind::Table(table) => return format!("the table {}", table.name),
        Kind::Tables { table, .. } => return format!("the tables {}", table.name),
        Kind::Tagged(variants) => {
            let words: Vec<&str> = variants.iter().map(|(word, _)| *word).collect();
            return format!("{} or a table with this kind", alternatives(&words));
        }
        Kind::OneOf(kinds) => return joined(kinds.iter().map(expected).collect()),
    };
    fixed.to_owned()
}
