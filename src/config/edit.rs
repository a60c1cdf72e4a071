//! Changes of a config's text key by key, so that comments and order stay: a value is set or taken out, a table added or
//! removed. What it then means, [`parse`](super::parse) says.

mod editor;
mod place;

use serde::Deserialize;
use serde_json::Value as Json;
use toml_edit::{Array, DocumentMut, InlineTable, Value};

use super::Source;
use super::schema::{Kind, ROOT, TAG, Table};
use editor::Editor;
use place::depth;

/// One change.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Which key, or which table: `device.boiler.points.temp.unit`. Of tables that may stand several times one goes by its
    /// name, or by its place from 0 on. A part that has points of its own may stand in double quotes.
    pub path: String,
    /// What to put there, in JSON; `null` takes it out. A table's keys are set one by one.
    #[serde(default)]
    pub value: Option<Json>,
    /// What to put there, in TOML, instead of `value`.
    #[serde(default)]
    pub toml: Option<String>,
    /// Whether taking out what isn't there is as good as done.
    #[serde(default)]
    pub if_there: bool,
}

/// Why an edit can't be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The file isn't TOML, so that nobody knows where the key belongs.
    Syntax {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
    },
    /// The path says nothing.
    EmptyPath,
    /// There is no such key in that table.
    UnknownKey {
        /// As written.
        key: String,
        /// Where: `[[device]]`.
        table: &'static str,
        /// Which was probably meant.
        meant: Option<&'static str>,
    },
    /// There is no table of that name.
    NoTable {
        /// Such as `[[device]]`.
        table: &'static str,
        /// The name that was looked for.
        name: String,
    },
    /// What is to be taken out isn't there.
    NotThere {
        /// The path.
        path: String,
    },
    /// The path goes on behind a plain value.
    NoTableThere {
        /// Up to where it leads.
        path: String,
    },
    /// The value is none that TOML has.
    BadValue {
        /// The path.
        path: String,
        /// Why.
        message: String,
    },
}

impl std::fmt::Display for EditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax { file, message } => write!(f, "{file} is not TOML: {message}; mend it as text"),
            Self::EmptyPath => write!(f, "the path is empty; write one such as health.every"),
            Self::UnknownKey { key, table, meant } => {
                match *table {
                    "" => write!(f, "unknown key {key:?} at the top level")?,
                    table => write!(f, "unknown key {key:?} in {table}")?,
                }
                meant.map_or(Ok(()), |meant| write!(f, "; did you mean {meant:?}?"))
            }
            Self::NoTable { table, name } => write!(f, "there is no {table} named {name:?}"),
            Self::NotThere { path } => write!(f, "{path} is not in the file, so it can't be taken out"),
            Self::NoTableThere { path } => write!(f, "{path} is a plain value and has no keys"),
            Self::BadValue { path, message } => write!(f, "{path}: {message}"),
        }
    }
}

/// Makes all edits, in their order, in copies of the files. A key that stands somewhere is changed there; a new one goes
/// where the most of its path is, else to the first file.
///
/// # Errors
/// The first edit that can't be made; then none is.
pub fn edit(sources: &[Source], edits: &[Edit]) -> Result<Vec<Source>, EditError> {
    let parse = |source: &Source| {
        let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
        text.parse::<DocumentMut>().map_err(|error| EditError::Syntax {
            file: source.file.clone(),
            message: error.message().to_owned(),
        })
    };
    let mut documents = sources.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    for edit in edits {
        let path = split(&edit.path);
        if path.is_empty() {
            return Err(EditError::EmptyPath);
        }
        let new = new_value(edit)?;
        let depths = documents.iter().map(|document| depth(document.as_table(), &ROOT, &path));
        // The first of those that are equally deep.
        let best = depths.enumerate().max_by_key(|(place, depth)| (*depth, std::cmp::Reverse(*place)));
        let Some(document) = best.and_then(|(place, _)| documents.get_mut(place)) else {
            return Err(EditError::NotThere { path: edit.path.clone() });
        };
        let (before, end) = (body(document), document.trailing().as_str().unwrap_or_default().to_owned());
        match (Editor { path: &edit.path, new: &new }).table(document.as_table_mut(), &ROOT, &path) {
            Err(EditError::NotThere { .. }) if edit.if_there => {}
            done => done?,
        }
        // Behind the comments at the end of the file, not before them: they belong to what stands above.
        let after = body(document);
        if let Some(added) = after.strip_prefix(&before).filter(|added| added.trim_start().starts_with('[')) {
            let line_end = if end.is_empty() || end.ends_with('\n') { "" } else { "\n" };
            if let Ok(moved) = format!("{before}{end}{line_end}{added}").parse::<DocumentMut>() {
                *document = moved;
            }
        }
    }
    Ok(sources
        .iter()
        .zip(documents)
        .map(|(source, document)| Source { file: source.file.clone(), text: document.to_string() })
        .collect())
}

/// The text without the comments at its end.
fn body(document: &DocumentMut) -> String {
    let mut document = document.clone();
    document.set_trailing("");
    document.to_string()
}

/// The parts of a path; one in double quotes may have points of its own.
#[must_use]
pub fn split(path: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    for c in path.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            c => part.push(c),
        }
    }
    parts.push(part);
    if parts.iter().all(String::is_empty) { Vec::new() } else { parts }
}

/// A value that a person wrote on a command line: TOML where it is, else a text.
#[must_use]
pub fn written(path: &str, text: &str) -> Edit {
    let is_text = matches!(
        kind_at(&ROOT, &split(path)),
        Some(
            Kind::Text { .. }
                | Kind::Raw { .. }
                | Kind::Id { .. }
                | Kind::Level { .. }
                | Kind::Host
                | Kind::Topic
                | Kind::TopicPrefix
                | Kind::Filter
                | Kind::Char
        )
    );
    let parsed = text.parse::<Value>();
    let as_it_is = match &parsed {
        Ok(Value::String(_)) => true,
        Ok(_) => !is_text,
        Err(_) => false,
    };
    let (value, toml) = match as_it_is {
        true => (None, Some(text.to_owned())),
        false => (Some(Json::from(text)), None),
    };
    Edit { path: path.to_owned(), value, toml, if_there: false }
}

/// What may stand at a path, whatever its tables are named.
fn kind_at(table: &'static Table, path: &[String]) -> Option<&'static Kind> {
    let (first, rest) = path.split_first()?;
    let key = table.key(first)?;
    if rest.is_empty() {
        return Some(&key.kind);
    }
    match &key.kind {
        Kind::Table(below) => kind_at(below, rest),
        Kind::Tables { table, .. } => {
            (1..rest.len()).find_map(|length| kind_at(table, rest.get(length..).unwrap_or_default()))
        }
        Kind::Tagged(variants) => variants.iter().find_map(|(_, below)| kind_at(below, rest)),
        _ => None,
    }
}

/// `None`: what is there is taken out.
fn new_value(edit: &Edit) -> Result<Option<Value>, EditError> {
    let bad = |message: String| EditError::BadValue { path: edit.path.clone(), message };
    match (&edit.toml, &edit.value) {
        (Some(_), Some(_)) => Err(bad("value and toml exclude each other".to_owned())),
        (Some(text), None) => match text.parse::<Value>() {
            Ok(mut value) => {
                value.decor_mut().clear();
                Ok(Some(value))
            }
            Err(error) => Err(bad(error.message().to_owned())),
        },
        (None, None | Some(Json::Null)) => Ok(None),
        (None, Some(json)) => {
            toml_of(json).map(Some).ok_or_else(|| bad(format!("{json} has no form in TOML")))
        }
    }
}

fn toml_of(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(flag) => (*flag).into(),
        Json::String(text) => text.as_str().into(),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            // As it was written: 0.1 stays 0.1.
            None => number.to_string().parse().ok()?,
        },
        Json::Array(items) => Value::Array(items.iter().map(toml_of).collect::<Option<Array>>()?),
        Json::Object(entries) => {
            let mut table = InlineTable::new();
            let mut entries: Vec<_> = entries.iter().filter(|(_, json)| !json.is_null()).collect();
            // What a table goes by stands first.
            entries.sort_by_key(|(key, _)| ![TAG, "name"].contains(&key.as_str()));
            for (key, json) in entries {
                table.insert(key, toml_of(json)?);
            }
            Value::InlineTable(table)
        }
    })
}

#[cfg(test)]
mod tests;
