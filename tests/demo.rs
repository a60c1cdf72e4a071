//! `fieldgate demo` as a person runs it: the built program, an outage, and what its summary says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// Longer than any demo here, drain included.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `fieldgate demo` with these arguments; kills it when it takes too long. TMPDIR is a folder of its own, with
/// a name that must be quoted in a config.
fn demo(arguments: &str) -> (Output, tempfile::TempDir) {
    let folder = tempfile::Builder::new().prefix("fg \"t").tempdir_in("/tmp").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fieldgate"))
        .arg("demo")
        .args(arguments.split_whitespace())
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= deadline {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("demo {arguments} takes too long: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    (child.wait_with_output().unwrap(), folder)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn names(folder: &std::path::Path) -> Vec<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn an_outage_loses_nothing_and_the_summary_is_one_json_object() {
    let (output, folder) = demo("--for 12s --outage 5s --json");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let summary: Json =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout:?} {stderr}"));
    let number = |key: &str| summary[key].as_u64().unwrap_or_else(|| panic!("{key} in {summary}"));
    assert_eq!(number("lost"), 0, "{summary}");
    // The sensors alone send 8 lines a second; a busy machine may be slower, but not by half.
    assert!(number("readings") >= 48, "{summary}");
    assert_eq!(number("delivered"), number("readings"), "{summary}");
    assert_eq!(number("outages"), 1, "{summary}");
    let seconds = summary["outage_seconds"].as_f64().unwrap();
    assert!((4.0..=8.0).contains(&seconds), "{summary}");
    // What was in flight at the cut comes twice: at most the window.
    assert!(number("duplicates") <= 20, "{summary}");
    assert_eq!(summary.as_object().unwrap().len(), 6, "{summary}");
    assert_eq!(stdout.lines().count(), 1, "{stdout:?}");
    assert_eq!(stderr, "");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(names(folder.path()), Vec::<String>::new(), "nothing is left behind");
}

#[test]
fn people_get_what_to_try_a_table_and_a_summary_and_may_keep_the_folder() {
    let (output, folder) = demo("--for 3s --keep");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout} {stderr}");
    for expected in [
        "mosquitto_sub -h 127.0.0.1 -p ",
        "fieldgate status --socket ",
        "  link       online\n",
        "  backlog    ",
        "  weather ",
        "temperature=",
        "  scale ",
        "weight=",
        "  arduino ",
        "door=",
        "  meter ",
        "power_import=",
        "  heat-pump ",
        "frequency=",
        "  water ",
        "total=0.",
        "readings taken ",
        "lost                        0\n",
        "are kept in ",
    ] {
        assert!(stdout.contains(expected), "{expected:?} is not in\n{stdout}");
    }
    assert_eq!(stderr, "");
    let kept = folder.path().join(names(folder.path()).pop().unwrap());
    let found = names(&kept);
    for expected in ["fieldgate.toml", "fieldgate.log", "data"] {
        assert!(found.iter().any(|name| name == expected), "{expected} is not in {found:?}");
    }
    assert!(!found.iter().any(|name| name == "control.sock"), "the gateway has stopped cleanly");
    let log = std::fs::read_to_string(kept.join("fieldgate.log")).unwrap();
    assert!(log.contains("stopped") && !log.contains("ERROR"), "{log}");
}

/// Whether the gateway of the demo in this folder answers and has taken readings from every sensor.
fn has_readings(folder: &std::path::Path) -> bool {
    let Some(name) = names(folder).pop() else { return false };
    let status = Command::new(env!("CARGO_BIN_EXE_fieldgate"))
        .args(["status", "readings", "--json", "--socket"])
        .arg(folder.join(name).join("control.sock"))
        .output()
        .unwrap();
    let devices: Option<Vec<Json>> = serde_json::from_slice(&status.stdout).ok();
    let device_has = |device: &Json| device["readings"].as_u64().is_some_and(|count| count > 0);
    devices.is_some_and(|devices| devices.len() == 6 && devices.iter().all(device_has))
}

#[test]
fn a_signal_ends_it_with_a_summary() {
    let folder = tempfile::Builder::new().prefix("fg \"t").tempdir_in("/tmp").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fieldgate"))
        .args(["demo", "--json", "--for", "100s"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !has_readings(folder.path()) {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "it doesn't start");
        std::thread::sleep(Duration::from_millis(50));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it doesn't end");
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().unwrap();
    let summary: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &summary["lost"]), (Some(0), &Json::from(0)), "{summary}");
    assert!(summary["readings"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(names(folder.path()), Vec::<String>::new(), "nothing is left behind");
}

#[test]
fn wrong_arguments_are_told_in_words_with_exit_code_2() {
    for (arguments, expected) in [
        ("--for 10s --outage 10s", "--outage 10s must be shorter than --for 10s"),
        ("--for 1s", "--for: at least 2s"),
        ("--for 10s --outage 500ms", "--outage: at least 1s"),
        ("--for 10", "write a whole number and a unit"),
        ("--for soon", "write a whole number and a unit"),
        ("--outage", "--outage <DURATION>"),
        ("--until 5s", "--until"),
    ] {
        let (output, folder) = demo(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        assert!(stderr.contains(expected), "{arguments}: {stderr}");
        assert_eq!(text(&output.stdout), "", "{arguments}");
        assert_eq!(names(folder.path()), Vec::<String>::new(), "{arguments}");
    }
}
