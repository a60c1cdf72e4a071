//! The config as JSON, with its defaults, and its schema as a JSON Schema: for editors, forms and other programs.

use serde_json::{Map, Value as Json, json};

use super::reload::Settings;
use super::schema::{Absent, Effect, Key, Kind, ROOT, TAG, Table};
use super::section::{Scalar, Section, Value};
use super::{Mistake, diff, duration, size};
use crate::hex;
use crate::secret::SecretRef;

impl Effect {
    /// The word for it, in the annotated file and in every API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Reconnect => "reconnect",
            Self::Restart => "restart",
        }
    }
}

impl Mistake {
    /// As the API tells it; `key` is what it is about, as far as its place tells.
    #[must_use]
    pub fn json(&self, path: Option<&str>) -> Json {
        json!({
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "length": self.len,
            "path": path,
            "message": self.message,
            "help": self.help,
            "text": self.to_string(),
        })
    }
}

impl Settings {
    /// Every key with its value, given or by default, in the form of the file. Of secrets it shows where they are kept.
    #[must_use]
    pub fn json(&self) -> Json {
        section(&self.0)
    }

    /// The value at a path such as `upstream.central.host`.
    #[must_use]
    pub fn at(&self, path: &[String]) -> Option<Json> {
        at(&self.0, path)
    }
}

fn at(section: &Section, path: &[String]) -> Option<Json> {
    let Some((first, rest)) = path.split_first() else { return Some(self::section(section)) };
    match section.value(first)? {
        Value::Table(below) => at(below, rest),
        Value::Tagged(tag, below) => match rest {
            [word] if word == TAG => Some(json!(tag)),
            _ if rest.is_empty() => section.value(first).map(json_of),
            _ => at(below, rest),
        },
        Value::Tables(below) if !rest.is_empty() => {
            // A name may have points of its own: the longest that is there is meant.
            (1..=rest.len()).rev().find_map(|length| {
                let (name, rest) = rest.split_at_checked(length)?;
                let name = name.join(".");
                let named = below
                    .iter()
                    .find(|section| section.table.key("name").is_some() && diff::name(section) == name);
                let numbered = || below.get(name.parse::<usize>().ok()?);
                at(named.or_else(numbered)?, rest)
            })
        }
        Value::Map(entries) if !rest.is_empty() => {
            let name = rest.join(".");
            entries.iter().find(|(key, ..)| *key == name).map(|(_, value, _)| scalar(value))
        }
        value if rest.is_empty() => Some(json_of(value)),
        _ => None,
    }
}

pub(super) fn section(section: &Section) -> Json {
    let mut object = Map::new();
    for key in section.table.keys {
        if let Some(value) = section.value(key.name) {
            object.insert(key.name.to_owned(), json_of(value));
        }
    }
    Json::Object(object)
}

/// A value as a person would write it, in JSON.
pub(super) fn json_of(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Number(number) => json!(number),
        Value::Decimal(number) => number.to_string().parse().unwrap_or(Json::Null),
        Value::Bool(flag) => json!(flag),
        Value::Duration(span) => json!(duration::print(*span)),
        Value::Size(bytes) => json!(size::print(*bytes)),
        Value::Word(word) => json!(word),
        Value::Char(c) => json!(c.to_string()),
        Value::Filter(filter) => json!(filter.as_str()),
        Value::Bind(bind) => json!(bind.to_string()),
        Value::Pattern(pattern) => json!(pattern.as_str()),
        Value::Secret(SecretRef::File(path)) => json!({ "file": path }),
        Value::Secret(SecretRef::Env(name)) => json!({ "env": name }),
        Value::Secret(SecretRef::Credential(name)) => json!({ "credential": name }),
        Value::Texts(texts) => texts.iter().map(|(text, _)| json!(text)).collect(),
        Value::Bytes(bytes) => json!(hex::spaced(bytes)),
        Value::Scalars(scalars) => scalars.iter().map(|(value, _)| scalar(value)).collect(),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|(key, value, _)| (key.clone(), scalar(value))).collect())
        }
        Value::Table(below) => section(below),
        Value::Tables(below) => below.iter().map(section).collect(),
        Value::Tagged(tag, below) => {
            let mut object = section(below);
            if let Json::Object(object) = &mut object {
                object.insert(TAG.to_owned(), json!(tag));
            }
            object
        }
        Value::Mistaken => Json::Null,
    }
}

fn scalar(value: &Scalar) -> Json {
    match value {
        Scalar::Number(number) => number.to_string().parse().unwrap_or(Json::Null),
        Scalar::Text(text) => json!(text),
        Scalar::Bool(flag) => json!(flag),
    }
}

/// The JSON Schema (2020-12) of the config, with what each key means, its default, and under `x-effect` when a change of
/// it counts.
#[must_use]
pub fn schema() -> Json {
    let mut schema = table(&ROOT);
    if let Json::Object(object) = &mut schema {
        object.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        object.insert("title".into(), json!("fieldgate"));
    }
    schema
}

fn table(table: &Table) -> Json {
    let properties: Map<String, Json> =
        table.keys.iter().map(|key| (key.name.to_owned(), self::key(key))).collect();
    let required: Vec<&str> = table
        .keys
        .iter()
        .filter(|key| matches!(key.absent, Absent::Required(_)))
        .map(|key| key.name)
        .collect();
    let mut object = json!({
        "type": "object",
        "description": table.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if let (false, Json::Object(object)) = (required.is_empty(), &mut object) {
        object.insert("required".into(), json!(required));
    }
    object
}

fn key(key: &Key) -> Json {
    let mut schema = kind(&key.kind);
    if let Json::Object(object) = &mut schema {
        object.insert("description".into(), json!(key.doc));
        object.insert("x-effect".into(), json!(key.effect.word()));
        if key.cuts_off {
            object.insert("x-confirm".into(), json!(true));
        }
        match key.absent {
            Absent::Required(example) => {
                object.extend(literal(example).map(|value| ("examples".to_owned(), json!([value]))));
            }
            Absent::Default(text) => object.extend(literal(text).map(|value| ("default".to_owned(), value))),
            Absent::Computed(words) => {
                object.insert("x-default".into(), json!(words));
            }
            Absent::None => {}
        }
    }
    schema
}

/// A value of TOML as JSON.
fn literal(text: &str) -> Option<Json> {
    let document: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    serde_json::to_value(document.get("value")?).ok()
}

fn kind(kind: &Kind) -> Json {
    match kind {
        Kind::Text { bytes_max } => json!({"type": "string", "minLength": 1, "maxLength": bytes_max}),
        Kind::Raw { bytes_max } => json!({"type": "string", "minLength": 1, "maxLength": bytes_max}),
        Kind::Id { bytes_max } => {
            json!({"type": "string", "pattern": "^[A-Za-z0-9_.-]+$", "maxLength": bytes_max})
        }
        Kind::Level { bytes_max } => {
            json!({"type": "string", "pattern": "^[^/+#]+$", "maxLength": bytes_max})
        }
        Kind::Expression => json!({"type": "string", "format": "regex"}),
        Kind::Path => json!({"type": "string", "pattern": "^/", "format": "path"}),
        Kind::Integer { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Number => json!({"type": "number"}),
        Kind::Decimal => json!({"type": ["number", "string"]}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Duration { min, max } => json!({
            "type": "string",
            "format": "duration with unit",
            "pattern": "^[0-9]+ ?(ms|s|min|m|h|d)$",
            "x-minimum": duration::print(*min),
            "x-maximum": duration::print(*max),
        }),
        Kind::Size { min, max } => json!({
            "type": "string",
            "format": "size with unit",
            "pattern": "^[0-9]+ ?(B|KiB|MiB|GiB|TiB)$",
            "x-minimum": size::print(*min),
            "x-maximum": size::print(*max),
        }),
        Kind::Words(words) => json!({"type": "string", "enum": words}),
        Kind::Char => json!({"type": "string", "minLength": 1, "maxLength": 1}),
        Kind::Topic => json!({"type": "string", "format": "topic"}),
        Kind::TopicPrefix => json!({"type": "string", "format": "topic prefix"}),
        Kind::Filter => json!({"type": "string", "format": "topic filter"}),
        Kind::Bind => json!({"type": "string", "format": "address and port, or unix:/path"}),
        Kind::Host => json!({"type": "string", "format": "hostname"}),
        Kind::Pattern => json!({"type": "string", "format": "regex"}),
        Kind::Secret => json!({
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": false,
            "properties": {
                "file": {"type": "string", "pattern": "^/"},
                "env": {"type": "string"},
                "credential": {"type": "string"},
            },
            "x-secret": true,
        }),
        Kind::Texts { count_max } => {
            json!({"type": "array", "items": {"type": "string"}, "maxItems": count_max})
        }
        Kind::Hex { bytes_max } => {
            json!({"type": "string", "format": "bytes in hexadecimal digits", "x-maximum": bytes_max})
        }
        Kind::Scalars { count_max } => json!({
            "type": "array",
            "items": {"type": ["number", "string", "boolean"]},
            "maxItems": count_max,
        }),
        Kind::Map { count_max } => json!({
            "type": "object",
            "additionalProperties": {"type": ["number", "string", "boolean"]},
            "maxProperties": count_max,
        }),
        Kind::Table(below) => table(below),
        Kind::Tables { table: below, count_max } => {
            json!({"type": "array", "items": table(below), "maxItems": count_max})
        }
        Kind::Tagged(variants) => json!({"anyOf": variants.iter().flat_map(variant).collect::<Vec<_>>()}),
        Kind::OneOf(kinds) => json!({"anyOf": kinds.iter().map(self::kind).collect::<Vec<_>>()}),
    }
}

/// A tagged table, and the word that stands for it where nothing in it is required.
fn variant((word, below): &(&'static str, &'static Table)) -> Vec<Json> {
    let mut schema = table(below);
    if let Json::Object(object) = &mut schema {
        if let Some(Json::Object(properties)) = object.get_mut("properties") {
            properties.insert(TAG.to_owned(), json!({"const": word}));
        }
        let mut required = vec![json!(TAG)];
        if let Some(Json::Array(others)) = object.get("required") {
            required.extend(others.iter().filter(|name| **name != TAG).cloned());
        }
        object.insert("required".into(), Json::Array(required));
    }
    let needs_more =
        below.keys.iter().any(|key| matches!(key.absent, Absent::Required(_)) && key.name != TAG);
    if needs_more { vec![schema] } else { vec![json!({"const": word}), schema] }
}

/// Every key by its path, with its table: `device[].points[].unit`. For people who look for one.
#[must_use]
pub fn keys() -> Vec<(String, &'static Key)> {
    let mut found = Vec::new();
    below("", &ROOT, &mut found);
    found
}

fn below(path: &str, table: &'static Table, found: &mut Vec<(String, &'static Key)>) {
    for key in table.keys {
        let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        found.push((path.clone(), key));
        of_kind(&path, &key.kind, found);
    }
}

fn of_kind(path: &str, kind: &'static Kind, found: &mut Vec<(String, &'static Key)>) {
    match kind {
        Kind::Table(table) => below(path, table, found),
        Kind::Tables { table, .. } => below(&format!("{path}[]"), table, found),
        Kind::Tagged(variants) => {
            for (word, table) in *variants {
                below(&format!("{path}({word})"), table, found);
            }
        }
        Kind::OneOf(kinds) => kinds.iter().for_each(|kind| of_kind(path, kind, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Facts, Source, parse};

    #[test]
    fn the_config_shows_as_it_would_be_written_with_its_defaults() {
        let text = "[health]\nevery = \"90s\"\n[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[[device]]\nname = \"d.e\"\n\
                    port = \"p\"\ndecode = \"json\"\npoints = \"*\"\n[[upstream]]\nhost = \"up.example\"\n\
                    user_name = \"u\"\npassword = { file = \"/s\" }\n";
        let source = Source { file: "f".into(), text: text.into() };
        let config = parse(&[source], &Facts { default_id: "gw".into(), ..Facts::default() }).unwrap();
        let all = config.settings.json();
        assert_eq!(all["health"]["every"], "90s");
        assert_eq!(all["buffer"]["memory"], "4 MiB");
        assert_eq!(all["upstream"][0]["password"], json!({"file": "/s"}));
        for (path, expected) in [
            ("health.every", json!("90s")),
            ("device.d.e.port", json!("p")),
            ("device.d.e.decode.kind", json!("json")),
            ("upstream.up.example.host", json!("up.example")),
            ("upstream.0.host", json!("up.example")),
            ("port.p.baud", json!(9600)),
        ] {
            let path: Vec<String> = path.split('.').map(str::to_owned).collect();
            assert_eq!(config.settings.at(&path), Some(expected), "{path:?}");
        }
        let nowhere = ["health".to_owned(), "nowhere".to_owned()];
        assert_eq!(config.settings.at(&nowhere), None);
    }

    #[test]
    fn the_schema_tells_of_each_key_what_it_means_and_when_it_counts() {
        let schema = schema();
        let every = &schema["properties"]["health"]["properties"]["every"];
        assert_eq!((&every["default"], &every["x-effect"]), (&json!("30s"), &json!("live")));
        let port = &schema["properties"]["port"]["items"];
        assert!(port["required"].as_array().unwrap().contains(&json!("name")));
        assert_eq!(schema["properties"]["broker"]["properties"]["listener"]["x-confirm"], true);
        let mut count = 0;
        for (path, key) in keys() {
            assert!(!key.doc.is_empty(), "{path} has no explanation");
            if let Absent::Default(text) | Absent::Required(text) = key.absent {
                assert!(literal(text).is_some(), "{path}: {text} is no TOML");
            }
            count += 1;
        }
        assert!(count > 200, "only {count} keys");
    }
}
