//! Lines of pairs, of columns and of JSON, and what frames a text.

use super::super::config::LineEnd;
use super::*;

impl Simulator {
    pub(super) fn pairs(&self, number: u64, pair: char, separator: Option<char>) -> String {
        let pairs = self
            .actors
            .iter()
            .map(|actor| format!("{}{pair}{}", actor.point.from, actor.text(number, false)));
        pairs.collect::<Vec<_>>().join(&separator.unwrap_or(' ').to_string())
    }

    pub(super) fn columns(&self, number: u64, separator: char, columns: &[String]) -> String {
        let place = |actor: &Actor| {
            let from = &actor.point.from;
            let named = columns.iter().position(|column| column == from);
            named.or_else(|| from.parse::<usize>().ok()?.checked_sub(1))
        };
        let last = self.actors.iter().filter_map(place).max().unwrap_or(0);
        let count = columns.len().max(last.saturating_add(1));
        let column = |column: usize| {
            let found = self.actors.iter().find(|actor| place(actor) == Some(column));
            found.map_or_else(|| "0".to_owned(), |actor| actor.text(number, false))
        };
        (0..count).map(column).collect::<Vec<_>>().join(&separator.to_string())
    }

    /// A JSON object in which each pointer leads to its value.
    pub(super) fn object(&self, number: u64) -> String {
        let mut object = serde_json::Map::new();
        for actor in &self.actors {
            let value = serde_json::from_str(&actor.text(number, true)).unwrap_or_default();
            let from = &actor.point.from;
            let keys: Vec<String> = match from.strip_prefix('/') {
                Some(pointer) => {
                    pointer.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect()
                }
                None => vec![from.clone()],
            };
            put(&mut object, &keys, value);
        }
        serde_json::Value::Object(object).to_string()
    }

    /// Puts what frames a text around it.
    pub(super) fn wrap(&self, mut body: Vec<u8>) -> Vec<u8> {
        match &self.config.framing {
            FramingConfig::Line { end: LineEnd::Exact(end), .. } => {
                self.stamp(&mut body);
                body.extend_from_slice(end);
            }
            FramingConfig::Line { end: LineEnd::Any, .. } => {
                self.stamp(&mut body);
                body.extend_from_slice(b"\r\n");
            }
            FramingConfig::Telegram { start, end, tail, .. } => {
                body = [start.as_slice(), &body, end, &vec![0; *tail]].concat();
                self.stamp(&mut body);
            }
            _ => {}
        }
        body
    }
}

fn put(object: &mut serde_json::Map<String, serde_json::Value>, keys: &[String], value: serde_json::Value) {
    match keys {
        [] => {}
        [last] => {
            object.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = object.entry(first.clone()).or_insert_with(|| serde_json::Map::new().into());
            if let serde_json::Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}
