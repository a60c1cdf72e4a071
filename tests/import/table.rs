//! The table of options against lists of names that others made.

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::fieldgate;

/// Options of mosquitto.conf(5) as Mosquitto 2.1 has it, and those of its commented example that the page leaves out.
const NAMES_OF_2_1: &str = include_str!("../../fixtures/mosquitto/options-2.1.txt");

fn table() -> BTreeSet<String> {
    let output = fieldgate().args(["import", "--options"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().skip(2).map(|line| line.split('`').nth(1).unwrap().to_owned()).collect();
    for line in text.lines().skip(2) {
        let fate = line.split('|').nth(2).unwrap().trim();
        let known = ["carried over", "not needed: ", "refused"];
        assert!(known.iter().any(|word| fate.starts_with(word)), "{line}");
    }
    names
}

#[test]
fn each_option_of_mosquitto_2_1_stands_in_the_table() {
    let names: BTreeSet<&str> = NAMES_OF_2_1
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert!(names.len() > 130, "{}", names.len());
    let table = table();
    let missing: Vec<_> = names.iter().filter(|name| !table.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let foreign: Vec<_> = table.iter().filter(|name| !names.contains(name.as_str())).collect();
    assert!(foreign.is_empty(), "not in the list: {foreign:?}");
}

#[test]
fn each_option_of_the_installed_manual_page_stands_in_the_table() {
    let page = Command::new("sh").args(["-c", "zcat -f \"$(man -w 5 mosquitto.conf)\""]).output();
    let page = page.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    // The page is part of Debian's package; a machine may be set up to leave documentation out.
    let Some(page) = page.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|page| !page.is_empty())
    else {
        let found = std::path::Path::new("/usr/share/man/man5/mosquitto.conf.5.gz").exists();
        assert!(!found, "the page is there and can't be read");
        return;
    };
    // An option begins a paragraph: its name in bold, and then an indented text.
    let mut names = BTreeSet::new();
    let lines: Vec<&str> = page.lines().collect();
    for pair in lines.windows(2) {
        if !pair[1].starts_with(".RS") || !pair[0].starts_with("\\fB") {
            continue;
        }
        for part in pair[0].split("\\fB").skip(1) {
            let name = part.split("\\fR").next().unwrap().replace("\\&", "").replace("\\-", "-");
            if name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '*')) {
                names.insert(name);
            }
        }
    }
    assert!(names.len() >= 100 && names.contains("acl_file") && names.contains("try_private"), "{names:?}");
    let table = table();
    let missing: Vec<_> = names.iter().filter(|name| !table.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
