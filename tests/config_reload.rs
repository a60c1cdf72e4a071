//! When a change of each key counts: the schema says, and plan, config and annotated file agree with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use fieldgate::config::reload::{Plan, effective, plan};
use fieldgate::config::schema::{Effect, Key, Kind, ROOT, Table};
use fieldgate::config::{Config, Facts, Source, parse, render};
use toml::de::{DeTable, DeValue};

fn annotated() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/fieldgate.toml")).unwrap()
}

/// The file with every setting taken out of its comment.
fn uncommented(text: &str) -> String {
    let mut settings = String::new();
    for line in text.lines() {
        let setting = line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#']));
        settings.push_str(setting.unwrap_or(line));
        settings.push('\n');
    }
    settings
}

fn sources(text: &str) -> [Source; 1] {
    [Source { file: "fieldgate.toml".into(), text: text.into() }]
}

fn facts() -> Facts {
    Facts { default_id: "gw".into(), ..Facts::default() }
}

fn read(text: &str) -> Result<Config, String> {
    parse(&sources(text), &facts()).map_err(|mistakes| render(&mistakes))
}

/// What runs after a gateway with the first has read the second.
fn runs(started: &Config, text: &str) -> Config {
    effective(started, good(text), &sources(text), &[], &facts())
        .unwrap_or_else(|mistakes| panic!("{}", render(&mistakes)))
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
}

/// Where the value of a key stands, for each place in the file where it does.
struct Place {
    key: &'static Key,
    table: &'static Table,
    at: Range<usize>,
}

fn places(table: &'static Table, document: &DeTable<'_>, found: &mut Vec<Place>) {
    for key in table.keys {
        let value = document.iter().find(|(name, _)| name.get_ref() == key.name).map(|(_, value)| value);
        let Some(value) = value else { continue };
        found.push(Place { key, table, at: value.span() });
        below(&key.kind, value.get_ref(), found);
    }
}

fn below(kind: &'static Kind, value: &DeValue<'_>, found: &mut Vec<Place>) {
    match (kind, value) {
        (Kind::Table(table), DeValue::Table(document)) => places(table, document, found),
        (Kind::Tables { table, .. }, DeValue::Array(items)) => {
            for item in items.iter() {
                if let DeValue::Table(document) = item.get_ref() {
                    places(table, document, found);
                }
            }
        }
        (Kind::Tagged(variants), DeValue::Table(document)) => {
            let tag = document.iter().find(|(name, _)| name.get_ref() == "kind").unwrap().1.get_ref();
            let variant = variants.iter().find(|(name, _)| tag.as_str() == Some(name)).unwrap();
            places(variant.1, document, found);
        }
        (Kind::OneOf(kinds), value) => kinds.iter().for_each(|kind| below(kind, value, found)),
        _ => {}
    }
}

/// Values that may stand for a kind; one of them is another one than what stands there.
fn others(kind: &'static Kind) -> Vec<String> {
    let number = |n: i64| n.to_string();
    match kind {
        Kind::Text { .. } | Kind::Raw { .. } | Kind::Id { .. } | Kind::Level { .. } => {
            ["other", "x:1", "/other", "epoch", "kg", "01 {value:u8}", "SP{value}"]
                .map(|text| format!("\"{text}\""))
                .to_vec()
        }
        Kind::Path => vec!["\"/some/other\"".into()],
        Kind::Integer { min, max } => {
            vec![number(*min), number(*max), number(min + 1), number(min + 2), number(min + 8)]
        }
        Kind::Number | Kind::Decimal => vec!["7".into()],
        Kind::Bool => vec!["true".into(), "false".into()],
        Kind::Duration { min, max } => {
            let spans = [min.as_secs().max(1), max.as_secs(), 2];
            spans.map(|seconds| format!("\"{seconds}s\"")).to_vec()
        }
        Kind::Size { min, max } => {
            vec![format!("\"{min} B\""), format!("\"{max} B\""), format!("\"{} B\"", min * 2)]
        }
        Kind::Words(words) => words.iter().map(|word| format!("\"{word}\"")).collect(),
        Kind::Char => vec!["\"|\"".into()],
        Kind::Topic | Kind::TopicPrefix | Kind::Filter => {
            vec!["\"other\"".into(), "\"fieldgate/barn-7/other\"".into(), "\"fieldgate/barn-7/\"".into()]
        }
        Kind::Bind => vec!["\"127.0.0.1:1\"".into()],
        Kind::Host => vec!["\"other.example\"".into()],
        Kind::Pattern | Kind::Expression => vec!["'^(?<status>x)(?<weight>y)$'".into()],
        Kind::Secret => vec!["{ env = \"OTHER\" }".into()],
        Kind::Texts { .. } => {
            let texts =
                ["\"5\"", "\"https://other.example\"", "\"level\", \"other\"", "\"subscribe\"", "\"stdout\""];
            texts.map(|texts| format!("[{texts}]")).to_vec()
        }
        Kind::Hex { .. } => vec!["\"5b\"".into(), "\"01 02\"".into()],
        Kind::Scalars { .. } => vec!["[1, 3]".into(), "[7]".into()],
        Kind::Map { .. } => vec!["{ a = true }".into()],
        Kind::OneOf(kinds) => kinds.iter().flat_map(others).collect(),
        Kind::Table(_) | Kind::Tables { .. } | Kind::Tagged(_) => Vec::new(),
    }
}

/// These can't be changed alone in the annotated file: another key names the same thing or must go with them, they have a
/// header of their own there, or nothing depends on them.
const NOT_ALONE: [(&str, &str); 34] = [
    ("[gateway]", "profiles_dir"),
    ("[time]", "trust"),
    ("[time.gnss]", "device"),
    ("[[port]]", "name"),
    ("[port.usb]", "vid_pid"),
    ("[[device]]", "port"),
    ("[[device]]", "points"),
    ("[device.publish]", "on_change"),
    ("[[device]]", "profile"),
    ("[[device]]", "only"),
    ("[device.poll]", "manufacturer"),
    ("[publish]", "window"),
    ("[home_assistant]", "prefix"),
    ("[gpio.mode] of kind \"output\"", "interlock"),
    ("[[exec]]", "name"),
    ("[[exec]]", "command"),
    ("[[file]]", "profile"),
    ("[[file]]", "path"),
    ("[[file]]", "device"),
    ("[[file]]", "pattern"),
    ("[[broker.listener]]", "check_users"),
    ("[[broker.listener.acl]]", "anonymous"),
    ("[[broker.listener]]", "websocket"),
    ("[[broker.acl]]", "anonymous"),
    ("[[upstream]]", "name"),
    ("[[upstream]]", "threshold"),
    ("[[upstream]]", "idle_timeout"),
    ("[[upstream]]", "tls"),
    ("[upstream.tls]", "pin"),
    ("[[upstream.stream]]", "name"),
    ("[[upstream.map]]", "priority"),
    ("[[upstream.map]]", "stream"),
    ("[[upstream.map]]", "payload"),
    ("[config]", "mqtt_upstreams"),
];

fn all(plan: &Plan, effect: Effect) -> &[String] {
    match effect {
        Effect::Live => &plan.live,
        Effect::Reconnect => &plan.reconnect,
        Effect::Restart => &plan.next_start,
    }
}

#[test]
fn a_change_of_each_key_counts_when_the_schema_says_and_only_then() {
    let text = uncommented(&annotated());
    let base = good(&text);
    let started = format!("{base:?}");
    let mut found = Vec::new();
    places(&ROOT, DeTable::parse(&text).unwrap().get_ref(), &mut found);
    let mut seen = BTreeSet::new();
    let mut unchanged = Vec::new();
    for Place { key, table, at } in found {
        let is_leaf = !matches!(key.kind, Kind::Table(_) | Kind::Tables { .. } | Kind::Tagged(_));
        if !is_leaf || !seen.insert((table.name, key.name)) || key.name == "kind" {
            continue;
        }
        let try_other = |other: String| {
            let mut text = text.clone();
            text.replace_range(at.clone(), &other);
            let new = read(&text).ok()?;
            (format!("{new:?}") != started).then_some((new, text))
        };
        let Some((new, text)) = others(&key.kind).into_iter().find_map(try_other) else {
            unchanged.push((table.name, key.name));
            continue;
        };
        let plan = plan(&base.settings, &base.settings, &new.settings);
        let what = format!("{} {}: {plan:?}", table.name, key.name);
        let is_named = |path: &String| {
            // Tables without a name are told as a whole.
            let last = path.rsplit('.').next().unwrap();
            let whole_table = table.path().split('.').any(|part| part == last);
            path.contains(&format!(".{}", key.name)) || whole_table || key.name == "name"
        };
        assert!(all(&plan, key.effect).iter().any(is_named), "it is not told: {what}");
        for other in [Effect::Live, Effect::Reconnect, Effect::Restart] {
            assert!(other == key.effect || all(&plan, other).is_empty(), "told as something else: {what}");
        }
        let wanted = format!("{new:?}");
        let runs = format!("{:?}", runs(&base, &text));
        match key.effect {
            Effect::Restart => assert!(runs == started, "it counts before the next start: {what}"),
            Effect::Live | Effect::Reconnect => assert!(runs == wanted, "it doesn't count: {what}"),
        }
    }
    assert_eq!(unchanged, NOT_ALONE, "no other value was found for these");
    assert!(seen.len() > 100, "only {} keys were looked at", seen.len());
}

/// What is behind a key's explanation, `[live]` and so on.
fn mark(effect: Effect) -> &'static str {
    match effect {
        Effect::Live => MARKS[0],
        Effect::Reconnect => MARKS[1],
        Effect::Restart => MARKS[2],
    }
}

const MARKS: [&str; 3] = ["[live]", "[reconnect]", "[restart]"];

#[test]
fn the_annotated_file_tells_of_each_key_when_its_change_counts() {
    let annotated = annotated();
    let text = uncommented(&annotated);
    let mut found = Vec::new();
    places(&ROOT, DeTable::parse(&text).unwrap().get_ref(), &mut found);
    // The lines of both texts are the same but for the #.
    let lines: Vec<&str> = annotated.lines().collect();
    let (mut seen, mut wrong, mut told) = (BTreeSet::new(), Vec::new(), 0);
    for Place { key, table, at } in found {
        let mut is_table = matches!(key.kind, Kind::Table(_) | Kind::Tables { .. });
        if let Kind::OneOf(kinds) = &key.kind {
            is_table |= kinds.iter().any(|kind| matches!(kind, Kind::Table(_) | Kind::Tables { .. }));
        }
        if is_table || !seen.insert((table.name, key.name)) {
            continue;
        }
        let number = text[..at.start].matches('\n').count();
        // A list that goes over lines, or a table in one line, has its explanation above it.
        let above = lines[..number].iter().rev();
        let mut explanation = above.skip_while(|line| !line.starts_with("# "));
        let marked = explanation.by_ref().take_while(|line| line.starts_with("# "));
        let marks: Vec<&str> =
            marked.flat_map(|line| MARKS.into_iter().filter(|mark| line.contains(mark))).collect();
        let expected = mark(key.effect);
        // Further examples of what was explained before have no marks.
        told += usize::from(!marks.is_empty());
        if !marks.is_empty() && !marks.contains(&expected) {
            wrong.push(format!("{} {} (line {}) should say {expected}", table.name, key.name, number + 1));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(told > 90, "only {told} keys of {} have a mark", seen.len());
}

#[test]
fn tables_that_come_and_go_are_told_by_name() {
    let up = |name: &str, host: &str| format!("[[upstream]]\nname = \"{name}\"\nhost = \"{host}\"\n");
    let listener = |name: &str, port: u16, more: &str| {
        format!("[[broker.listener]]\nname = \"{name}\"\nbind = \"127.0.0.1:{port}\"\n{more}\n")
    };
    let first =
        good(&[&*listener("a", 1, ""), &listener("b", 2, ""), &up("central", "one"), &up("x", "y")].concat());
    let second = good(
        &[
            "[gateway]\nid = \"other\"\nsite = \"barn\"\n",
            &*listener("c", 3, ""),
            &listener("a", 1, "allow_anonymous = true\nversions = [\"5\"]"),
            &up("central", "two"),
            "[[broker.acl]]\nallow = [{ topic = \"a\" }]\n",
        ]
        .concat(),
    );
    let plan = self::plan(&first.settings, &first.settings, &second.settings);
    assert_eq!(
        plan.live,
        ["gateway.site", "broker.listener.a.allow_anonymous", "broker.listener.a.versions", "broker.acl"]
    );
    let reconnect = [
        "broker.listener.c (new)",
        "broker.listener.b (removed)",
        "upstream.central.host",
        "upstream.x (removed)",
    ];
    assert_eq!(plan.reconnect, reconnect);
    assert_eq!(plan.next_start, ["gateway.id"]);
    // What counts at the next start stays to be told; what counts already doesn't.
    let again = self::plan(&first.settings, &second.settings, &second.settings);
    assert_eq!((again.applied(), again.next_start.len()), (Vec::new(), 1));
    let back = self::plan(&first.settings, &second.settings, &first.settings);
    assert_eq!(back.next_start, Vec::<String>::new());
}
