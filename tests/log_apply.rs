//! A changed config counts for the log at once. A process of its own: it has one log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;

use fieldgate::config::{Facts, Log, Source, parse, render};
use fieldgate::io::log::Logs;

fn config(path: &Path, rest: &str) -> Log {
    let text = format!("[log]\nto = [\"file\"]\ntimestamp = \"none\"\nfile.path = {path:?}\n{rest}");
    let sources = [Source { file: "test".into(), text }];
    parse(&sources, &Facts { default_id: "gw".into(), ..Facts::default() })
        .unwrap_or_else(|mistakes| panic!("{}", render(&mistakes)))
        .log
}

#[test]
fn a_changed_config_moves_the_log_and_changes_levels_and_what_was_set_for_a_time_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let logs = Logs::start(&config(&first, ""), None).unwrap();
    let say = |text: &str| {
        tracing::info!(target: "fieldgate::store::test", "{text}");
        tracing::debug!(target: "fieldgate::bridge::test", "{text} in detail");
        logs.finish();
    };
    say("one");
    logs.set(&[("bridge".to_owned(), "debug".to_owned())], None).unwrap();
    say("two");
    logs.apply(&config(&first, "level = \"warn\"\n")).unwrap();
    say("three");
    logs.apply(&config(&second, "levels.store = \"info\"\n")).unwrap();
    say("four");
    assert!(Logs::start(&config(&first, ""), None).is_err(), "a process has one log");
    let read = |path| std::fs::read_to_string(path).unwrap();
    assert_eq!(
        read(&first),
        " INFO one\n INFO log levels were set levels=\"bridge=debug\"\n INFO two\nDEBUG two in detail\n\
         DEBUG three in detail\n"
    );
    assert_eq!(read(&second), " INFO four\nDEBUG four in detail\n");
}
