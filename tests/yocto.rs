//! The Yocto layer: its recipes are as oelint-adv wants them, its kas files as kas wants them, and what it fetches and installs is
//! what Cargo.lock, the licence and the unit files say. BitBake isn't there to parse it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::checker;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command that must succeed; returns what it printed.
fn well(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    said
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let name = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &name);
        } else {
            fs::copy(entry.path(), name).unwrap();
        }
    }
}

/// A copy of the layer with the list of libraries as it is made now; returns the folder, and the list.
fn layer() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    copy(&project().join("yocto/meta-fieldgate"), dir.path());
    let list = dir.path().join("recipes-connectivity/fieldgate/fieldgate-crates.inc");
    well(Command::new("python3").arg(project().join("yocto/crates")).arg(&list));
    let text = fs::read_to_string(list).unwrap();
    (dir, text)
}

fn read(path: &str) -> String {
    fs::read_to_string(project().join(path)).unwrap()
}

#[test]
fn the_recipe_fetches_each_library_of_the_lock_file_with_its_checksum() {
    let (_dir, list) = layer();
    let lock: toml::Table = toml::from_str(&read("Cargo.lock")).unwrap();
    let mut expected = BTreeSet::new();
    for package in lock["package"].as_array().unwrap() {
        let text = |key| package.get(key).and_then(toml::Value::as_str);
        let Some(sum) = text("checksum") else {
            assert_eq!(text("name"), Some("fieldgate"));
            continue;
        };
        let (name, version) = (text("name").unwrap(), text("version").unwrap());
        expected.insert(format!("    crate://crates.io/{name}/{version} \\"));
        expected.insert(format!("SRC_URI[{name}-{version}.sha256sum] = \"{sum}\""));
    }
    assert!(expected.len() > 200);
    let has = |line: &&str| line.contains("crate://") || line.starts_with("SRC_URI[");
    let fetched: BTreeSet<String> = list.lines().filter(has).map(str::to_owned).collect();
    assert_eq!(fetched, expected);
}

#[test]
fn oelint_finds_nothing_in_the_recipes() {
    let (dir, _) = layer();
    let recipes =
        ["recipes-connectivity/fieldgate/fieldgate_0.1.0.bb", "recipes-core/images/fieldgate-image.bb"];
    let mut lint = Command::new(checker("oelint-adv"));
    lint.current_dir(&dir).env("HOME", dir.path()).args(["--quiet", "--release", "wrynose"]);
    // One asks the homepage over the network; the other wants a recipe for the machine that builds, which nobody runs.
    lint.args(["--suppress", "oelint.vars.homepageping", "--suppress", "oelint.var.bbclassextend"]);
    assert_eq!(well(lint.args(recipes).arg("conf/layer.conf")), "");
    // It does look: a mistake is found.
    let recipe = dir.path().join(recipes[0]);
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, text.replace("SUMMARY = ", "SUMARY =")).unwrap();
    assert!(!lint.output().unwrap().status.success());
}

#[test]
fn the_recipe_is_of_this_version_and_installs_what_is_there() {
    let recipe = read(&format!(
        "yocto/meta-fieldgate/recipes-connectivity/fieldgate/fieldgate_{}.bb",
        env!("CARGO_PKG_VERSION")
    ));
    let sum = well(Command::new("md5sum").arg(project().join("LICENSE")));
    let sum = sum.split_whitespace().next().unwrap();
    assert!(recipe.contains(&format!("file://LICENSE;md5={sum}\"")), "{sum}");
    let mut installed = 0;
    for word in recipe.split_whitespace() {
        let Some(path) = word.strip_prefix("${S}/") else { continue };
        // Globs and the loop's variable name several.
        let path = path.split(['*', '$']).next().unwrap();
        assert!(project().join(path).exists(), "{path}");
        installed += 1;
    }
    assert_eq!(installed, 6);
    // All units of the package are enabled.
    let services = recipe.lines().find(|line| line.starts_with("SYSTEMD_SERVICE")).unwrap();
    for entry in fs::read_dir(project().join("systemd")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".service") || name.ends_with(".path") {
            assert!(services.contains(&name), "{name}");
            assert!(recipe.contains(&format!("{name} ")) || recipe.contains(&format!("{name};")), "{name}");
        }
    }
}

#[test]
fn the_kas_files_are_as_kas_reads_them_and_include_what_is_there() {
    const CHECK: &str = r#"
import json, pathlib, sys
import jsonschema, kas, yaml
schema = json.loads((pathlib.Path(kas.__file__).parent / "schema-kas.json").read_text())
for name in sys.argv[2:]:
    config = yaml.safe_load(pathlib.Path(sys.argv[1], name).read_text())
    jsonschema.validate(config, schema)
    for include in config["header"].get("includes", []):
        assert pathlib.Path(sys.argv[1], include).exists(), include
    for layer in config.get("repos", {}).get("fieldgate", {}).get("layers", {}):
        assert pathlib.Path(sys.argv[1], layer, "conf/layer.conf").exists(), layer
    print(name)
"#;
    let mut files: Vec<String> = fs::read_dir(project().join("yocto"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yml"))
        .map(|name| format!("yocto/{name}"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 3);
    let said = well(Command::new(checker("python")).args(["-c", CHECK]).arg(project()).args(&files));
    assert_eq!(said.lines().collect::<Vec<_>>(), files);
}
