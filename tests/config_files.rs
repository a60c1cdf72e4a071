//! The config files that the project ships: all of them are good, and the annotated one tells every key.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fieldgate::config::schema::{Absent, Kind, ROOT, Table, each_table};
use fieldgate::config::{Config, Facts, Source, parse, profile, render};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn annotated() -> String {
    fs::read_to_string(shipped().join("fieldgate.toml")).unwrap()
}

/// The file with every setting taken out of its comment: "#key" is a setting, "# text" is not.
fn uncommented(text: &str) -> String {
    let mut settings = String::new();
    for line in text.lines() {
        let setting = line.strip_prefix('#').filter(|rest| !rest.starts_with([' ', '#']));
        settings.push_str(setting.unwrap_or(line));
        settings.push('\n');
    }
    settings
}

fn good(file: &str, text: &str) -> Config {
    let sources = [Source { file: file.into(), text: text.into() }];
    parse(&sources, &Facts { default_id: "gw".into(), ..Facts::default() })
        .unwrap_or_else(|m| panic!("{file}\n{}", render(&m)))
}

#[test]
fn every_file_under_config_is_a_good_config() {
    let mut folders = vec![shipped()];
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("profiles") {
                // These are no configs; each is used in one below.
            } else if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                good(&path.display().to_string(), &fs::read_to_string(&path).unwrap());
                names.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    for name in [
        "fieldgate.toml",
        "weather-station.toml",
        "scale-regex.toml",
        "csv-logger.toml",
        "two-ports.toml",
        "upstream-tls.toml",
        "lan-broker-only.toml",
    ] {
        assert!(names.contains(name), "{name} is missing");
    }
}

#[test]
fn every_profile_makes_a_good_device_from_two_lines() {
    let all = profile::profiles(&[]);
    for profile in &all {
        let name = &profile.name;
        let text = if profile.source.text.contains("\n[file]\n") {
            format!("[[file]]\nname = \"f\"\nprofile = \"{name}\"\n")
        } else {
            format!(
                "[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[[device]]\nname = \"d\"\nport = \"p\"\nprofile = \"{name}\"\n"
            )
        };
        let config = good(name, &text);
        assert_eq!(config.devices.len() + config.files.len(), 1);
        let about = profile.about();
        assert!(!about.title.is_empty() && about.source.len() > 8, "{name}: {about:?}");
    }
    let files = fs::read_dir(shipped().join("profiles")).unwrap();
    let files: BTreeSet<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(files, all.into_iter().map(|profile| profile.name).collect());
}

#[test]
fn the_annotated_file_says_nothing_until_a_setting_is_taken_out_of_its_comment() {
    let bare = format!("{:?}", good("empty", ""));
    assert_eq!(format!("{:?}", good("fieldgate.toml", &annotated())), bare);
    let all = good("fieldgate.toml, uncommented", &uncommented(&annotated()));
    assert_eq!((all.ports.len(), all.devices.len(), all.upstreams.len()), (6, 18, 1));
    assert_eq!((all.execs.len(), all.files.len()), (1, 2));
    assert_eq!((all.listeners.len(), all.users.len(), all.upstreams[0].maps.len()), (1, 1, 1));
}

#[test]
fn the_annotated_file_has_every_key_in_its_table_and_each_default_as_it_is() {
    let text = uncommented(&annotated());
    let document: toml::Table = text.parse().unwrap();
    let mut keys = 0;
    let mut missing = Vec::new();
    let mut shown = BTreeSet::new();
    check_table(&ROOT, &[&document], &mut keys, &mut missing, &mut shown);
    // A table that may stand in several places is explained in one of them.
    missing.retain(|key| !shown.contains(key));
    assert_eq!(missing, Vec::<String>::new());
    assert!(keys > 80, "only {keys} keys were looked at");
    each_table(&mut |table| {
        for key in table.keys {
            if let Absent::Default(default) = key.absent
                && !matches!(
                    key.kind,
                    Kind::Table(_) | Kind::Tagged(_) | Kind::Texts { .. } | Kind::TopicPrefix
                )
                && !matches!(&key.kind, Kind::OneOf(_))
            {
                let line = format!("{} = {default}", key.name);
                let stands = text.lines().any(|l| l == line)
                    || ["{", ","].iter().any(|before| text.contains(&format!("{before} {line}")));
                assert!(stands, "{} isn't shown with its default: {line}", table.name);
            }
        }
    });
}

fn check_table(
    table: &'static Table,
    places: &[&toml::Table],
    keys: &mut usize,
    missing: &mut Vec<String>,
    shown: &mut BTreeSet<String>,
) {
    for key in table.keys {
        *keys += 1;
        let values: Vec<&toml::Value> = places.iter().filter_map(|place| place.get(key.name)).collect();
        if values.is_empty() {
            missing.push(format!("{} {}", table.name, key.name));
        } else {
            shown.insert(format!("{} {}", table.name, key.name));
        }
        check_kind(&key.kind, &values, keys, missing, shown);
    }
}

fn check_kind(
    kind: &'static Kind,
    values: &[&toml::Value],
    keys: &mut usize,
    missing: &mut Vec<String>,
    shown: &mut BTreeSet<String>,
) {
    let tables: Vec<&toml::Table> = values
        .iter()
        .flat_map(|value| match value {
            toml::Value::Array(items) => items.iter().filter_map(toml::Value::as_table).collect(),
            value => Vec::from_iter(value.as_table()),
        })
        .collect();
    match kind {
        Kind::Table(table) | Kind::Tables { table, .. } => check_table(table, &tables, keys, missing, shown),
        Kind::OneOf(kinds) => {
            for kind in *kinds {
                check_kind(kind, values, keys, missing, shown);
            }
        }
        Kind::Tagged(variants) => {
            for (_, table) in *variants {
                // Kinds that share a table are shown by one of them.
                let tags: Vec<&str> = variants
                    .iter()
                    .filter(|(_, other)| std::ptr::eq(*other, *table))
                    .map(|(tag, _)| *tag)
                    .collect();
                let of_kind = |place: &&&toml::Table| {
                    place.get("kind").and_then(toml::Value::as_str).is_some_and(|kind| tags.contains(&kind))
                };
                let places: Vec<&toml::Table> = tables.iter().filter(of_kind).copied().collect();
                check_table(table, &places, keys, missing, shown);
            }
        }
        _ => {}
    }
}

#[test]
fn every_key_has_a_line_of_its_own_words_and_a_good_default() {
    each_table(&mut |table| {
        let mut names = BTreeSet::new();
        for key in table.keys {
            assert!(names.insert(key.name), "{} has {} twice", table.name, key.name);
            assert!(!key.doc.is_empty(), "{} {}", table.name, key.name);
            let (Absent::Default(text) | Absent::Required(text)) = key.absent else { continue };
            let line = format!("{} = {text}", key.name);
            assert!(line.parse::<toml::Table>().is_ok(), "{} {line}", table.name);
        }
    });
}
