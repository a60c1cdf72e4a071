//! The config as a form: from its JSON Schema and its values to the fields of one table, and to the lists in it. Knows
//! nothing of HTML.

use serde_json::{Map, Value as Json};

use crate::config::edit::split;

/// How a field is filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A line of text.
    Text,
    /// A number.
    Number,
    /// Yes or no.
    Flag,
    /// One of these words.
    Words(Vec<String>),
    /// Whatever TOML has: lists, tables, one of several things.
    Toml,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its path from the top on: `device.boiler.stale_after`.
    pub path: String,
    /// Its last part.
    pub name: String,
    /// How it is filled in.
    pub input: Input,
    /// What it is; empty where it is as it is by itself.
    pub value: String,
    /// What it is by itself; empty: nothing.
    pub default: String,
    /// What it means.
    pub doc: String,
    /// What may stand there: unit and bounds.
    pub bounds: String,
    /// `live`, `reconnect` or `restart`.
    pub effect: String,
    /// Whether a change of it has to be confirmed.
    pub confirm: bool,
    /// Whether it must be there.
    pub required: bool,
    /// Whether it is a text for TOML too, whatever is written.
    pub is_text: bool,
}

/// The fields of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its path.
    pub path: String,
    /// What it is for.
    pub doc: String,
    /// Its keys.
    pub fields: Vec<Field>,
}

/// Tables of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Its path: `device`.
    pub path: String,
    /// What it is for.
    pub doc: String,
    /// The names of what stands in it; a number where there is none.
    pub names: Vec<String>,
    /// Whether one can be added by its name.
    pub can_add: bool,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A table, with the tables in it, and the lists.
    Table {
        /// The tables: this one, then those in it.
        groups: Vec<Group>,
        /// The lists in them.
        lists: Vec<List>,
        /// Whether it is one of several, so that it can be removed.
        is_item: bool,
    },
    /// A list.
    List(List),
}

/// What is at a path; `None`: nothing.
#[must_use]
pub fn place(schema: &Json, settings: &Json, path: &str) -> Option<Place> {
    let parts = split(path);
    let (found, value, is_item) = walk(schema, settings, &parts, false)?;
    match items(found, value) {
        Some(_) => Some(Place::List(list(path, found, value))),
        None => table(variant(found, value)?, value, path).map(|(groups, lists)| Place::Table {
            groups,
            lists,
            is_item,
        }),
    }
}

/// The form of a new one in a list; its paths begin with the list's, and `*` for the name. `None`: it is no list, or what
/// stands there has no names.
#[must_use]
pub fn new_item(schema: &Json, settings: &Json, path: &str) -> Option<Vec<Group>> {
    let (found, value, _) = walk(schema, settings, &split(path), false)?;
    let of_item = items(found, value)?;
    of_item.pointer("/properties/name")?;
    table(of_item, &Json::Null, &format!("{path}.*")).map(|(groups, _)| groups)
}

/// The tables at the top: those that stand once, and the lists.
#[must_use]
pub fn top(schema: &Json, settings: &Json) -> (Vec<Group>, Vec<List>) {
    let (groups, lists) = table(schema, settings, "").unwrap_or_default();
    let is_top = |path: &str| !path.is_empty() && !path.contains('.');
    (
        groups.into_iter().filter(|group| is_top(&group.path)).collect(),
        lists.into_iter().filter(|list| is_top(&list.path)).collect(),
    )
}

/// Makes a table one of another kind, as far as what it has fits that: `path` leads to its `kind`. Returns what doesn't fit,
/// each with its path, and its value, which is empty where it is as it is by itself. `None`: there is no such table or kind.
pub fn change_kind(
    schema: &Json,
    settings: &mut Json,
    path: &str,
    kind: &str,
) -> Option<Vec<(String, String)>> {
    let mut parts = split(path);
    if parts.pop()? != "kind" {
        return None;
    }
    let (found, value, _) = walk(schema, settings, &parts, false)?;
    // Only a table that may be of several kinds can become another.
    found.get("anyOf")?;
    let was = variant(found, value)?.get("properties")?.as_object()?;
    let mut new = Map::from_iter([("kind".to_owned(), Json::from(kind))]);
    let is = variant(found, &Json::Object(new.clone()))?.get("properties")?.as_object()?;
    let parent = parts.join(".");
    let mut unfit = Vec::new();
    for (key, value) in value.as_object()?.iter().filter(|(key, _)| *key != "kind") {
        if is.contains_key(key) {
            new.insert(key.clone(), value.clone());
        } else if !value.is_null() {
            let is_default = was.get(key).and_then(|of_key| of_key.get("default")) == Some(value);
            let told = if is_default { String::new() } else { written(value) };
            unfit.push((format!("{parent}.{key}"), told));
        }
    }
    let keys: Vec<&String> = was.keys().filter(|key| *key != "kind" && !is.contains_key(*key)).collect();
    for key in keys {
        let path = format!("{parent}.{key}");
        if !unfit.iter().any(|(known, _)| *known == path) {
            unfit.push((path, String::new()));
        }
    }
    let pointer = pointer(schema, settings, &parts)?;
    *settings.pointer_mut(&pointer)? = Json::Object(new);
    Some(unfit)
}

/// The JSON pointer to what is at a path.
fn pointer(schema: &Json, value: &Json, parts: &[String]) -> Option<String> {
    let Some((first, rest)) = parts.split_first() else { return Some(String::new()) };
    if let Some(of_item) = items(schema, value) {
        return (1..=parts.len()).rev().find_map(|length| {
            let (name, rest) = parts.split_at_checked(length)?;
            let name = name.join(".");
            let all = value.as_array()?;
            let at = all.iter().enumerate().position(|(at, item)| self::name(item, at) == name)?;
            Some(format!("/{at}{}", pointer(of_item, all.get(at)?, rest)?))
        });
    }
    let below = variant(schema, value)?.get("properties")?.get(first)?;
    Some(format!("/{first}{}", pointer(below, value.get(first).unwrap_or(&Json::Null), rest)?))
}

type At<'j> = (&'j Json, &'j Json, bool);

fn walk<'j>(schema: &'j Json, value: &'j Json, parts: &[String], is_item: bool) -> Option<At<'j>> {
    let Some((first, rest)) = parts.split_first() else { return Some((schema, value, is_item)) };
    if let Some(of_item) = items(schema, value) {
        // A name may have points of its own: the longest that is there is meant.
        return (1..=parts.len()).rev().find_map(|length| {
            let (name, rest) = parts.split_at_checked(length)?;
            let name = name.join(".");
            let all = value.as_array()?;
            let at = all.iter().enumerate().position(|(at, item)| self::name(item, at) == name)?;
            walk(of_item, all.get(at)?, rest, true)
        });
    }
    let below = variant(schema, value)?.get("properties")?.get(first)?;
    walk(below, value.get(first).unwrap_or(&Json::Null), rest, false)
}

/// The schema of what stands in a list of tables; `None` where there is none.
fn items<'j>(schema: &'j Json, value: &Json) -> Option<&'j Json> {
    let of = |schema: &'j Json| schema.get("items").filter(|items| items.get("properties").is_some());
    match of(schema) {
        Some(items) => Some(items),
        None if value.is_array() => schema.get("anyOf")?.as_array()?.iter().find_map(of),
        None => None,
    }
}

/// The schema of a table: of several kinds that one which stands there.
fn variant<'j>(schema: &'j Json, value: &Json) -> Option<&'j Json> {
    if schema.get("properties").is_some() && schema.get("x-secret").is_none() {
        return Some(schema);
    }
    let kind = value.get("kind")?;
    let is_it = |variant: &&Json| variant.pointer("/properties/kind/const") == Some(kind);
    schema.get("anyOf")?.as_array()?.iter().find(is_it)
}

fn name(item: &Json, at: usize) -> String {
    let text = |key: &str| item.get(key).and_then(Json::as_str);
    text("name").or_else(|| text("host")).map_or_else(|| at.to_string(), str::to_owned)
}

fn text(json: &Json, key: &str) -> String {
    json.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn list(path: &str, schema: &Json, value: &Json) -> List {
    let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
    List {
        path: path.to_owned(),
        doc: text(schema, "description"),
        names: all.iter().enumerate().map(|(at, item)| name(item, at)).collect(),
        can_add: items(schema, value).is_some_and(|items| items.pointer("/properties/name").is_some()),
    }
}

fn table(schema: &Json, value: &Json, path: &str) -> Option<(Vec<Group>, Vec<List>)> {
    let mut own = Group { path: path.to_owned(), doc: text(schema, "description"), fields: Vec::new() };
    let (mut below, mut lists) = (Vec::new(), Vec::new());
    let required = schema.get("required").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    for (key, of_key) in schema.get("properties")?.as_object()? {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let value = value.get(key).unwrap_or(&Json::Null);
        if items(of_key, value).is_some() {
            lists.push(list(&path, of_key, value));
        } else if let Some(of_table) = variant(of_key, value) {
            let (mut groups, more) = table(of_table, value, &path)?;
            if let Some(first) = groups.first_mut().filter(|_| of_key.get("anyOf").is_some()) {
                first.doc = text(of_key, "description");
                first.fields.iter_mut().for_each(|field| if_kind(field, of_key));
            }
            below.append(&mut groups);
            lists.extend(more);
        } else {
            let is_required = required.iter().any(|name| name == key);
            own.fields.push(field(path, key, of_key, value, is_required));
        }
    }
    // What must be there stands first.
    own.fields.sort_by_key(|field| !field.required);
    below.insert(0, own);
    Some((below, lists))
}

/// The field that says of which kind a table is: it may become another.
fn if_kind(field: &mut Field, schema: &Json) {
    if field.name != "kind" {
        return;
    }
    let variants = schema.get("anyOf").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let kinds = variants.iter().filter_map(|variant| variant.pointer("/properties/kind/const"));
    field.input = Input::Words(kinds.map(written).collect());
    field.effect = text(schema, "x-effect");
}

fn field(path: String, key: &str, schema: &Json, value: &Json, required: bool) -> Field {
    let kind = schema.get("type");
    let words = schema.get("enum").and_then(Json::as_array);
    let fixed = schema.get("const").map(std::slice::from_ref);
    let input = match (words.map(Vec::as_slice).or(fixed), kind.and_then(Json::as_str)) {
        (Some(words), _) => Input::Words(words.iter().map(written).collect()),
        (None, Some("boolean")) => Input::Flag,
        (None, Some("integer" | "number")) => Input::Number,
        (None, Some("string")) => Input::Text,
        (None, _) if kind.is_some_and(Json::is_array) => Input::Text,
        _ => Input::Toml,
    };
    let default = schema.get("default").map(written).unwrap_or_default();
    let value = if value.is_null() { String::new() } else { written(value) };
    Field {
        path,
        name: key.to_owned(),
        input,
        value: if value == default { String::new() } else { value },
        default: if default.is_empty() { text(schema, "x-default") } else { default },
        doc: text(schema, "description"),
        bounds: bounds(schema),
        effect: text(schema, "x-effect"),
        confirm: schema.get("x-confirm").is_some(),
        required,
        is_text: kind.and_then(Json::as_str) == Some("string"),
    }
}

/// What may stand there: `duration with unit, 1s … 1h`.
fn bounds(schema: &Json) -> String {
    let limit = |one: &str, other: &str| {
        schema.get(one).or_else(|| schema.get(other)).filter(|limit| !limit.is_null()).map(written)
    };
    let span = match (limit("minimum", "x-minimum"), limit("maximum", "x-maximum")) {
        (Some(min), Some(max)) => format!("{min} … {max}"),
        (Some(min), None) => format!("≥ {min}"),
        (None, Some(max)) => format!("≤ {max}"),
        (None, None) => String::new(),
    };
    let format = text(schema, "format");
    if format.is_empty() || span.is_empty() { format + &span } else { format!("{format}, {span}") }
}

/// A value as a person writes it: a text as it is, everything else in TOML.
fn written(value: &Json) -> String {
    value.as_str().map_or_else(|| toml_of(value), str::to_owned)
}

fn toml_of(value: &Json) -> String {
    match value {
        Json::String(text) => quoted(text),
        Json::Array(items) => {
            format!("[{}]", items.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        Json::Object(entries) => {
            let is_plain = |key: &str| {
                !key.is_empty()
                    && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            };
            let entry = |(key, value): (&String, &Json)| {
                let key = if is_plain(key) { key.clone() } else { quoted(key) };
                format!("{key} = {}", toml_of(value))
            };
            let entries = entries.iter().filter(|(_, value)| !value.is_null()).map(entry);
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Facts, Source, describe, parse};

    const TEXT: &str = "[health]\nevery = \"90s\"\n[[port]]\nname = \"p\"\npath = \"/dev/p\"\n\
        [[device]]\nname = \"d.e\"\nport = \"p\"\ndecode = { kind = \"regex\", pattern = '(?<t>\\d+)' }\n\
        [[device.points]]\nname = \"t\"\nunit = \"Cel\"\n\
        [[device]]\nname = \"d\"\nport = \"p\"\ndecode = \"json\"\npoints = \"*\"\n";

    fn settings() -> Json {
        let source = Source { file: "f".into(), text: TEXT.into() };
        let facts = Facts { default_id: "gw".into(), ..Facts::default() };
        parse(&[source], &facts).unwrap().settings.json()
    }

    fn groups(path: &str) -> Vec<Group> {
        match place(&describe::schema(), &settings(), path) {
            Some(Place::Table { groups, .. }) => groups,
            other => panic!("{path}: {other:?}"),
        }
    }

    fn field(path: &str, name: &str) -> Field {
        let groups = groups(path);
        let mut fields = groups.iter().flat_map(|group| &group.fields);
        fields.find(|field| field.name == name).unwrap_or_else(|| panic!("{path} {name}: {groups:?}")).clone()
    }

    #[test]
    fn a_key_is_a_field_with_its_value_default_bounds_and_meaning() {
        let every = field("health", "every");
        assert_eq!((every.value.as_str(), every.default.as_str()), ("90s", "30s"));
        assert_eq!((every.effect.as_str(), &every.input, every.is_text), ("live", &Input::Text, true));
        assert!(every.bounds.contains("duration") && !every.doc.is_empty(), "{every:?}");
        let baud = field("port.p", "baud");
        assert_eq!((baud.value.as_str(), baud.default.as_str(), baud.input), ("", "9600", Input::Number));
        assert!(field("port.p", "name").required);
    }

    #[test]
    fn a_name_with_points_is_found_and_so_are_its_points() {
        assert_eq!(field("device.d.e", "port").value, "p");
        assert_eq!(field("device.d", "port").value, "p");
        assert_eq!(field("device.d.e.points.t", "unit").value, "Cel");
        let pattern = field("device.d.e", "pattern");
        assert_eq!(
            (pattern.path.as_str(), pattern.value.as_str()),
            ("device.d.e.decode.pattern", "(?<t>\\d+)")
        );
        let kind = field("device.d.e", "kind");
        assert!(matches!(&kind.input, Input::Words(words) if words.contains(&"json".to_owned())), "{kind:?}");
        assert_eq!((kind.value.as_str(), kind.effect.as_str()), ("regex", "reconnect"));
        // Whatever the frame has: no list then.
        assert_eq!(
            (field("device.d", "points").value.as_str(), field("device.d", "points").input),
            ("*", Input::Toml)
        );
        let schema = describe::schema();
        for nowhere in
            ["device.x", "helth", "health.every", "device.d.e.points.u", "device.d.e.points.t.unit.x"]
        {
            assert_eq!(place(&schema, &settings(), nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn lists_name_what_stands_in_them_and_say_whether_one_can_be_added() {
        let (schema, settings) = (describe::schema(), settings());
        let Some(Place::List(devices)) = place(&schema, &settings, "device") else { panic!("no list") };
        assert_eq!((devices.names, devices.can_add), (vec!["d.e".to_owned(), "d".to_owned()], true));
        let new = new_item(&schema, &settings, "device").unwrap();
        assert!(new[0].fields.iter().any(|field| field.path == "device.*.name" && field.required));
        assert_eq!(new_item(&schema, &settings, "health"), None);
        let (groups, lists) = top(&schema, &settings);
        assert!(groups.iter().any(|group| group.path == "health"));
        assert!(lists.iter().any(|list| list.path == "upstream" && list.names.is_empty()));
    }

    #[test]
    fn a_table_of_another_kind_has_the_fields_of_that_and_what_does_not_fit_is_told() {
        let (schema, mut settings) = (describe::schema(), settings());
        let path = "device.d.e.decode.kind";
        let unfit = change_kind(&schema, &mut settings, path, "key-value").unwrap();
        let told = |path: &str| unfit.iter().find(|(known, _)| known == path).map(|(_, value)| value.clone());
        assert_eq!(told("device.d.e.decode.pattern").as_deref(), Some("(?<t>\\d+)"), "{unfit:?}");
        let Some(Place::Table { groups, .. }) = place(&schema, &settings, "device.d.e") else {
            panic!("no table")
        };
        let mut fields = groups.iter().flat_map(|group| &group.fields);
        let kind = fields.find(|field| field.path == path).unwrap();
        assert_eq!(kind.value, "key-value");
        assert!(groups.iter().flat_map(|group| &group.fields).all(|field| field.name != "pattern"));
        for (path, kind) in [("device.d.e.decode.kind", "nonsense"), ("device.d.e.port", "x"), ("kind", "x")]
        {
            assert_eq!(change_kind(&schema, &mut settings, path, kind), None, "{path}");
        }
    }

    #[test]
    fn every_table_of_the_schema_has_a_form_whose_fields_say_what_they_mean() {
        let (schema, settings) = (describe::schema(), settings());
        let (groups, lists) = top(&schema, &settings);
        let mut count = 0;
        let of_lists = lists.iter().filter_map(|list| new_item(&schema, &settings, &list.path)).flatten();
        for group in groups.into_iter().chain(of_lists) {
            for field in group.fields {
                assert!(!field.doc.is_empty() && !field.effect.is_empty(), "{field:?}");
                count += 1;
            }
        }
        assert!(count > 100, "only {count} fields");
    }

    #[test]
    fn a_value_is_written_as_in_the_file() {
        for (value, expected) in [
            (serde_json::json!("a \"b\""), "a \"b\""),
            (serde_json::json!([1, "a"]), "[1, \"a\"]"),
            (serde_json::json!({"file": "/s", "a b": 1}), "{ \"a b\" = 1, file = \"/s\" }"),
            (serde_json::json!(0.5), "0.5"),
        ] {
            assert_eq!(written(&value), expected);
        }
    }
}
