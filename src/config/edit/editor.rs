//! One edit, carried out in a document: the path is followed, and at its end something is put or taken out.

use toml_edit::{ArrayOfTables, InlineTable, Item, Table as TomlTable, TableLike, Value};

use super::place::{Below, below, count, find};
use super::{EditError, split};
use crate::config::schema::{TAG, Table};
use crate::config::suggest::nearest;

/// One edit under way.
pub(super) struct Editor<'e> {
    pub(super) path: &'e str,
    /// What is put there; `None`: what is there is taken out.
    pub(super) new: &'e Option<Value>,
}

impl Editor<'_> {
    fn not_there(&self) -> EditError {
        EditError::NotThere { path: self.path.to_owned() }
    }

    /// Follows the path from a table on.
    pub(super) fn table(
        &self,
        table: &mut dyn TableLike,
        schema: &'static Table,
        path: &[String],
    ) -> Result<(), EditError> {
        let Some((first, rest)) = path.split_first() else { return Ok(()) };
        let Some(key) = schema.key(first) else {
            if first == TAG && rest.is_empty() {
                return self.put(table, first);
            }
            let meant = nearest(first, schema.keys.iter().map(|key| key.name));
            return Err(EditError::UnknownKey { key: first.clone(), table: schema.name, meant });
        };
        let below = below(&key.kind, table.get(first).unwrap_or(&Item::None));
        match (below, rest.is_empty()) {
            (Below::Several(schema), false) => self.several(table, first, schema, rest),
            (Below::Several(schema), true) if self.new.is_some() => self.replace_all(table, first, schema),
            (Below::One(schema), true) if self.new.as_ref().is_some_and(Value::is_inline_table) => {
                self.each_key(self.below(table, first)?, schema)
            }
            (_, true) => self.put(table, first),
            (Below::One(schema), false) => self.table(self.below(table, first)?, schema, rest),
            (Below::Free, false) => {
                let name = rest.join(".");
                self.put(self.below(table, first)?, &name)
            }
            (Below::Nothing, false) => Err(EditError::NoTableThere { path: self.upto(rest) }),
        }
    }

    /// The path without these parts at its end.
    fn upto(&self, rest: &[String]) -> String {
        let parts = split(self.path);
        let kept = parts.len().saturating_sub(rest.len());
        parts.get(..kept).unwrap_or_default().join(".")
    }

    /// The table under a key; a new one where there is none yet.
    fn below<'t>(&self, table: &'t mut dyn TableLike, key: &str) -> Result<&'t mut dyn TableLike, EditError> {
        let is_inline = table.get(key).is_some_and(Item::is_str);
        if is_inline || !table.contains_key(key) {
            if self.new.is_none() {
                return Err(self.not_there());
            }
            // The word alone stands for the table with nothing else.
            let word = table.get(key).and_then(Item::as_str).map(str::to_owned);
            let new = match word {
                Some(word) => {
                    let mut inline = InlineTable::new();
                    inline.insert(TAG, word.into());
                    Item::Value(Value::InlineTable(inline))
                }
                None => {
                    let mut new = TomlTable::new();
                    new.decor_mut().set_prefix("\n");
                    Item::Table(new)
                }
            };
            table.insert(key, new);
        }
        let item = table.get_mut(key).and_then(Item::as_table_like_mut);
        item.ok_or_else(|| EditError::NoTableThere { path: self.path.to_owned() })
    }

    /// Sets each key of a table that is given as a value.
    fn each_key(&self, table: &mut dyn TableLike, schema: &'static Table) -> Result<(), EditError> {
        let Some(Value::InlineTable(entries)) = self.new else { return Ok(()) };
        let mut entries: Vec<(&str, &Value)> = entries.iter().collect();
        // As they are explained, not as JSON happened to have them.
        entries.sort_by_key(|(name, _)| schema.keys.iter().position(|key| key.name == *name));
        for (key, value) in entries {
            let new = Some(value.clone());
            let editor = Editor { path: self.path, new: &new };
            editor.table(table, schema, &[key.to_owned()])?;
        }
        Ok(())
    }

    /// One of several tables.
    fn several(
        &self,
        table: &mut dyn TableLike,
        key: &str,
        schema: &'static Table,
        path: &[String],
    ) -> Result<(), EditError> {
        let found = table.get(key).and_then(|item| find(item, schema, path));
        let Some((place, used)) = found else {
            let name = path.join(".");
            return match self.new {
                Some(Value::InlineTable(_)) if schema.key("name").is_some() => {
                    self.add(table, key, schema, &name)
                }
                _ => Err(EditError::NoTable { table: schema.name, name }),
            };
        };
        let rest = path.get(used..).unwrap_or_default();
        let item = table.get_mut(key).ok_or_else(|| self.not_there())?;
        if rest.is_empty() && self.new.is_none() {
            if let Item::ArrayOfTables(tables) = &mut *item {
                tables.remove(place);
            } else if let Some(array) = item.as_array_mut() {
                array.remove(place);
            }
            if count(item) == 0 {
                table.remove(key);
            }
            return Ok(());
        }
        let one: Option<&mut dyn TableLike> = match item {
            Item::ArrayOfTables(tables) => tables.get_mut(place).map(|table| -> &mut dyn TableLike { table }),
            item => item
                .as_array_mut()
                .and_then(|array| array.get_mut(place)?.as_inline_table_mut())
                .map(|table| -> &mut dyn TableLike { table }),
        };
        let one = one.ok_or_else(|| self.not_there())?;
        match rest.is_empty() {
            true => self.each_key(one, schema),
            false => self.table(one, schema, rest),
        }
    }

    /// A new table behind the others.
    fn add(
        &self,
        table: &mut dyn TableLike,
        key: &str,
        schema: &'static Table,
        name: &str,
    ) -> Result<(), EditError> {
        let mut new = TomlTable::new();
        let goes_by_host = self
            .new
            .as_ref()
            .and_then(Value::as_inline_table)
            .is_some_and(|given| given.get("host").and_then(Value::as_str) == Some(name));
        if !goes_by_host {
            new.insert("name", toml_edit::value(name));
        }
        self.each_key(&mut new, schema)?;
        push(table, key, new);
        Ok(())
    }

    /// All of several tables at once, given as an array.
    fn replace_all(
        &self,
        table: &mut dyn TableLike,
        key: &str,
        schema: &'static Table,
    ) -> Result<(), EditError> {
        let Some(Value::Array(items)) = self.new else { return self.put(table, key) };
        let tables: Vec<&InlineTable> = items.iter().filter_map(Value::as_inline_table).collect();
        if tables.len() < items.len() || table.get(key).is_some_and(Item::is_value) {
            return self.put(table, key);
        }
        table.remove(key);
        for given in tables {
            let mut new = TomlTable::new();
            let value = Some(Value::InlineTable(given.clone()));
            Editor { path: self.path, new: &value }.each_key(&mut new, schema)?;
            push(table, key, new);
        }
        Ok(())
    }

    /// Sets a plain value, or takes out whatever is there. What stood around it, such as a comment, stays.
    fn put(&self, table: &mut dyn TableLike, key: &str) -> Result<(), EditError> {
        let Some(new) = self.new else {
            return table.remove(key).map(|_| ()).ok_or_else(|| self.not_there());
        };
        let mut new = new.clone();
        match table.get_mut(key) {
            Some(Item::Value(old)) => {
                *new.decor_mut() = old.decor().clone();
                *old = new;
            }
            _ => {
                table.insert(key, Item::Value(new));
            }
        }
        Ok(())
    }
}

/// Puts a table behind the others of its list, in the form that they have.
fn push(table: &mut dyn TableLike, key: &str, mut new: TomlTable) {
    match table.get_mut(key) {
        Some(Item::ArrayOfTables(tables)) => {
            new.decor_mut().set_prefix("\n");
            tables.push(new);
        }
        Some(Item::Value(Value::Array(array))) => array.push(new.into_inline_table()),
        _ => {
            new.decor_mut().set_prefix("\n");
            let mut tables = ArrayOfTables::new();
            tables.push(new);
            table.insert(key, Item::ArrayOfTables(tables));
        }
    }
}
