//! The levels of `src/lib.rs` as a table: where something must not occur, and what to use instead.
#![allow(clippy::unwrap_used, reason = "tests unwrap freely")]

use std::fs;
use std::path::{Path, PathBuf};

/// `what` must not occur in the code (comments and text in quotes aside) of the files under `places`.
struct Rule {
    places: &'static [&'static str],
    what: &'static [&'static str],
    instead: &'static str,
}

const WORDS: &[&str] =
    &["time.rs", "reading.rs", "said.rs", "secret.rs", "unit.rs", "limits.rs", "hex.rs", "version.rs"];
const FORMATS: &[&str] = &[
    "mqtt",
    "message.rs",
    "ranges.rs",
    "record.rs",
    "record_tests.rs",
    "state.rs",
    "state",
    "state_tests.rs",
    "payload",
];
const MACHINES: &[&str] = &[
    "sensor",
    "gpio",
    "command.rs",
    "command",
    "ingest.rs",
    "ingest",
    "auth",
    "broker",
    "bridge",
    "config",
    "discovery",
    "expiry.rs",
    "filter.rs",
    "filter",
    "health",
    "health.rs",
    "history.rs",
    "history",
    "events.rs",
    "people",
];
const SHELLS: &[&str] = &["crate::io", "crate::app", "crate::cli", "crate::web"];

const RULES: &[Rule] = &[
    Rule {
        places: WORDS,
        what: &["crate::mqtt", "crate::message", "crate::record", "crate::payload"],
        instead: "a word knows no format: level 1 may use it, not the other way round",
    },
    Rule {
        places: WORDS,
        what: &[
            "crate::sensor",
            "crate::ingest",
            "crate::broker",
            "crate::bridge",
            "crate::config",
            "crate::health",
            "crate::store",
        ],
        instead: "a word knows no machine",
    },
    Rule {
        places: FORMATS,
        what: &[
            "crate::sensor",
            "crate::ingest",
            "crate::broker",
            "crate::bridge",
            "crate::config",
            "crate::health",
            "crate::store",
        ],
        instead: "a format decides nothing: the machine calls it",
    },
    Rule { places: WORDS, what: SHELLS, instead: "imports point downward" },
    Rule { places: FORMATS, what: SHELLS, instead: "imports point downward" },
    Rule { places: MACHINES, what: SHELLS, instead: "an output that the shell carries out" },
    Rule {
        places: MACHINES,
        what: &["crate::store"],
        instead: "an output such as Commit, an input such as Committed",
    },
    Rule { places: &["store"], what: SHELLS, instead: "imports point downward" },
    Rule {
        places: &["store"],
        what: &["crate::sensor", "crate::broker", "crate::bridge", "crate::config"],
        instead: "records: the store doesn't know what they mean",
    },
    Rule {
        places: &["sensor"],
        what: &[
            "crate::broker",
            "crate::bridge",
            "crate::config",
            "crate::message",
            "crate::mqtt",
            "crate::ingest",
        ],
        instead: "a Reading: ingest makes the message",
    },
    Rule {
        places: &["gpio"],
        what: &[
            "crate::sensor",
            "crate::broker",
            "crate::bridge",
            "crate::config",
            "crate::message",
            "crate::mqtt",
            "crate::ingest",
        ],
        instead: "a Reading, an Outcome: io carries them",
    },
    Rule {
        places: &["command.rs", "command"],
        what: &["crate::sensor", "crate::gpio", "crate::broker", "crate::bridge", "crate::config"],
        instead: "a Command, an Outcome: io carries them",
    },
    Rule {
        places: &["auth"],
        what: &[
            "crate::sensor",
            "crate::broker",
            "crate::bridge",
            "crate::config",
            "crate::ingest",
            "crate::mqtt",
            "crate::message",
        ],
        instead: "an attempt that io carries",
    },
    Rule {
        places: &["broker"],
        what: &["crate::auth", "crate::sensor", "crate::bridge", "crate::config", "crate::ingest"],
        instead: "an event that io carries",
    },
    Rule {
        places: &["bridge"],
        what: &["crate::sensor", "crate::broker", "crate::config", "crate::ingest"],
        instead: "a message that io carries",
    },
    Rule {
        places: WORDS,
        what: &["tokio", "std::net::Tcp", "std::fs", "std::thread", "Instant", "SystemTime"],
        instead: "a value passed in",
    },
    Rule {
        places: FORMATS,
        what: &["tokio", "std::net", "std::fs", "std::thread", "Instant", "SystemTime", "rustix"],
        instead: "bytes passed in",
    },
    Rule {
        places: MACHINES,
        what: &[
            "tokio",
            "std::net::Tcp",
            "std::fs",
            "std::thread",
            "Instant",
            "SystemTime",
            "rustix",
            "std::env::var",
        ],
        instead: "Now passed in, an output for the shell",
    },
    Rule {
        places: &["store"],
        what: &["tokio", "std::net", "Instant", "SystemTime"],
        instead: "a Timestamp passed in",
    },
    Rule { places: WORDS, what: &["sled"], instead: "crate::store" },
    Rule { places: FORMATS, what: &["sled"], instead: "crate::store" },
    Rule { places: MACHINES, what: &["sled"], instead: "crate::store" },
    Rule { places: &["io", "cli", "app.rs", "app", "main.rs"], what: &["sled"], instead: "crate::store" },
    Rule {
        places: &["io"],
        what: &["std::time::Instant", "SystemTime"],
        instead: "io::clock, or tokio's Instant for a sleep",
    },
];

#[test]
fn imports_point_downward_and_machines_stay_pure() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for rule in RULES {
        for place in rule.places {
            for file in rust_files(&src.join(place)) {
                let text = fs::read_to_string(&file).unwrap();
                for (number, line) in code(&text).lines().enumerate() {
                    for what in rule.what.iter().filter(|what| names(line, what)) {
                        let file = file.strip_prefix(&src).unwrap().display();
                        broken.push(format!("src/{file}:{}: {what}; instead: {}", number + 1, rule.instead));
                    }
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_file_of_src_belongs_to_a_level_and_opens_with_what_it_is_for() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let known: Vec<&str> =
        [WORDS, FORMATS, MACHINES, &["store", "io", "cli", "app.rs", "app", "main.rs", "lib.rs", "web"]]
            .concat();
    for entry in fs::read_dir(&src).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            known.contains(&name.as_str()),
            "src/{name} has no level: add it to this table and to src/lib.rs"
        );
    }
    for file in rust_files(&src) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} must open with a //! sentence", file.display());
    }
}

#[test]
fn the_rule_finds_what_it_looks_for() {
    assert!(names("use tokio::net;", "tokio"));
    assert!(names("    std::time::Instant::now()", "Instant"));
    assert!(!names("let tokioish = 1;", "tokio"));
    assert!(!names("let settled = 1;", "sled"));
    assert_eq!(code("a // tokio\n/* sled */ b \"tokio\" c"), "a \n b  c");
}

/// Whether `what` stands in the line as a word (or path) of its own.
fn names(line: &str, what: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(what).any(|(at, _)| {
        !is_word(line[..at].chars().next_back()) && !is_word(line[at + what.len()..].chars().next())
            // `std::net::Tcp` stands for all that starts so.
            || what.ends_with("Tcp")
    })
}

/// The text without comments and string contents, line for line.
fn code(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('/', Some('/')) => {
                while rest.peek().is_some_and(|c| *c != '\n') {
                    rest.next();
                }
            }
            ('/', Some('*')) => {
                let mut last = ' ';
                for c in rest.by_ref() {
                    if c == '\n' {
                        out.push(c);
                    }
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
            }
            ('"', _) => {
                while let Some(c) = rest.next() {
                    // An escaped quote doesn't end the string; an escaped line end is still a line.
                    let c = if c == '\\' { rest.next().filter(|c| *c == '\n').unwrap_or(' ') } else { c };
                    match c {
                        '"' => break,
                        '\n' => out.push('\n'),
                        _ => {}
                    }
                }
            }
            // A character literal such as '"' must not open a string.
            ('\'', Some('"')) => {
                rest.next();
                rest.next();
            }
            _ => out.push(c),
        }
    }
    out
}

fn rust_files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return if path.extension().is_some_and(|extension| extension == "rs") {
            vec![path.to_owned()]
        } else {
            Vec::new()
        };
    }
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries.flat_map(|entry| rust_files(&entry.unwrap().path())).collect()
}
