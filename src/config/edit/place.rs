//! Where in a document a path leads, as the schema says.

use toml_edit::{Array, Item, TableLike};

use crate::config::schema::{Kind, TAG, Table};

/// How many parts of a path a document has.
pub(super) fn depth(table: &dyn TableLike, schema: &'static Table, path: &[String]) -> usize {
    let Some((first, rest)) = path.split_first() else { return 0 };
    let (Some(item), Some(key)) = (table.get(first), schema.key(first)) else { return 0 };
    let deeper = match below(&key.kind, item) {
        Below::One(schema) => item.as_table_like().map_or(0, |table| depth(table, schema, rest)),
        Below::Several(schema) => match find(item, schema, rest) {
            Some((place, used)) => {
                let rest = rest.get(used..).unwrap_or_default();
                used.saturating_add(nth(item, place).map_or(0, |table| depth(table, schema, rest)))
            }
            None => 0,
        },
        Below::Free | Below::Nothing => 0,
    };
    deeper.saturating_add(1)
}

/// What a key may hold.
pub(super) enum Below {
    One(&'static Table),
    Several(&'static Table),
    /// A table with any keys.
    Free,
    Nothing,
}

pub(super) fn below(kind: &'static Kind, item: &Item) -> Below {
    match kind {
        Kind::Table(table) => Below::One(table),
        Kind::Tables { table, .. } => Below::Several(table),
        Kind::Map { .. } | Kind::Secret => Below::Free,
        Kind::Tagged(variants) => {
            let word = match item.as_str() {
                Some(word) => Some(word),
                None => item.as_table_like().and_then(|table| table.get(TAG)).and_then(Item::as_str),
            };
            let variant = variants.iter().find(|(name, _)| Some(*name) == word);
            variant.map_or(Below::Free, |(_, table)| Below::One(table))
        }
        Kind::OneOf(kinds) => {
            let mut found = kinds.iter().map(|kind| below(kind, item));
            found.rfind(|found| !matches!(found, Below::Nothing)).unwrap_or(Below::Nothing)
        }
        _ => Below::Nothing,
    }
}

/// Which of several tables a path means, and how many of its parts say so: the longest name that is there, else a place.
pub(super) fn find(item: &Item, schema: &Table, path: &[String]) -> Option<(usize, usize)> {
    (1..=path.len()).rev().find_map(|used| {
        let name = path.get(..used)?.join(".");
        let named = schema.key("name").and_then(|_| {
            (0..count(item)).find(|place| nth(item, *place).and_then(name_of) == Some(name.as_str()))
        });
        let numbered = || name.parse::<usize>().ok().filter(|place| *place < count(item));
        named.or_else(numbered).map(|place| (place, used))
    })
}

fn name_of(table: &dyn TableLike) -> Option<&str> {
    table.get("name").or_else(|| table.get("host")).and_then(Item::as_str)
}

pub(super) fn count(item: &Item) -> usize {
    match item {
        Item::ArrayOfTables(tables) => tables.len(),
        item => item.as_array().map_or(0, Array::len),
    }
}

fn nth(item: &Item, place: usize) -> Option<&dyn TableLike> {
    match item {
        Item::ArrayOfTables(tables) => tables.get(place).map(|table| -> &dyn TableLike { table }),
        item => Some(item.as_array()?.get(place)?.as_inline_table()?),
    }
}
