//! What is linked into the program: from where, under which licences, and the account of it that is shipped. What is known
//! against it needs a database from the network: `tests/heavy/run advisories`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use support::checker;

const TARGET: &str = "aarch64-unknown-linux-gnu";

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `cargo deny check`, with the config of a folder.
fn deny(config: &Path) -> (bool, String) {
    let output = Command::new(checker("cargo-deny"))
        .current_dir(project())
        .args(["--locked", "--color", "never", "--config"])
        .arg(config)
        .args(["check", "bans", "licenses", "sources"])
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn every_library_has_a_licence_and_a_place_that_are_allowed() {
    let config = project().join(".cargo/deny.toml");
    let (passed, said) = deny(&config);
    assert!(passed, "{said}");
    // A licence that is in use and not allowed is found.
    let dir = tempfile::tempdir().unwrap();
    let stricter = dir.path().join("deny.toml");
    let text = std::fs::read_to_string(config).unwrap();
    std::fs::write(&stricter, text.replace("\"ISC\", ", "")).unwrap();
    let (passed, said) = deny(&stricter);
    assert!(!passed && said.contains("ISC"), "{said}");
}

fn bill(into: &Path) -> String {
    let output = Command::new(project().join("systemd/debian/sbom.py"))
        .current_dir(project())
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(TARGET)
        .arg(into)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read_to_string(into).unwrap()
}

#[test]
fn the_bill_of_materials_has_each_library_and_is_as_cyclonedx_wants_it() {
    const VALIDATE: &str = r#"
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
wrong = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
sys.exit(f"{wrong.data}" if wrong else 0)
"#;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bom.json");
    let text = bill(&file);
    assert_eq!(text, bill(&dir.path().join("again.json")), "the same sources make the same bill");
    let validate = |file: &Path| Command::new(checker("python")).args(["-c", VALIDATE]).arg(file).output();
    let valid = validate(&file).unwrap();
    assert!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stderr));
    std::fs::write(&file, text.replace("\"library\"", "\"book\"")).unwrap();
    assert!(!validate(&file).unwrap().status.success(), "a wrong one is found");

    let bom: Json = serde_json::from_str(&text).unwrap();
    let components: BTreeMap<&str, &Json> = bom["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|component| (component["purl"].as_str().unwrap(), component))
        .collect();
    // What cargo says that is linked, in its own words.
    let output = Command::new(env!("CARGO"))
        .current_dir(project())
        .args(["tree", "--locked", "--target", TARGET, "--edges", "normal,no-proc-macro", "--prefix", "none"])
        .args(["--format", "{p}"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let linked: BTreeSet<String> = tree
        .lines()
        .filter(|line| !line.starts_with("fieldgate "))
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| format!("pkg:cargo/{name}@{}", rest.split(' ').next().unwrap()))
        .collect();
    assert!(linked.len() > 100);
    let listed: BTreeSet<String> = components.keys().map(|purl| (*purl).to_owned()).collect();
    let missing: Vec<_> = linked.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for (purl, component) in components {
        assert_eq!(component["hashes"][0]["content"].as_str().unwrap().len(), 64, "{purl}");
        assert!(component["licenses"][0]["expression"].is_string(), "{purl}");
    }
}
