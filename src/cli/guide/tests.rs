//! What the pages and the README tell people to type and to write is what the program takes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests unwrap freely")]

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;
use crate::cli::Cli;
use crate::config::{Source, parse, provision};
use crate::io::files;

const README: &str = include_str!("../../../README.md");

/// What stands behind the opening of a fenced block, and its text.
fn fenced(text: &str) -> Vec<(&str, String)> {
    let mut out = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            out.push((kind, block.join("\n") + "\n"));
        }
    }
    out
}

/// Splits a line as a shell would: quotes, comments; a pipe, a semicolon or a redirection ends the command.
fn words(line: &str) -> Vec<String> {
    let (mut out, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (None, '#') if word.is_none() => break,
            (None, '|' | ';' | '>' | '<') => break,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == c => quote = None,
            (None, ' ') => out.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "a quote is open: {line}");
    out.extend(word);
    out
}

/// Every command of a page: those of its fenced blocks, which must be whole.
fn commands(text: &str) -> Vec<String> {
    let blocks = fenced(text).into_iter().filter(|(kind, _)| *kind == "sh");
    let lines = blocks.flat_map(|(_, block)| block.lines().map(str::to_owned).collect::<Vec<_>>());
    // In a loop or behind other commands too.
    lines.filter_map(|line| line.find("fieldgate ").map(|at| line[at..].to_owned())).collect()
}

/// The commands that are only named, in backquotes.
fn named(text: &str) -> Vec<&str> {
    let parts = text.split("```").step_by(2).flat_map(|text| text.split('`').skip(1).step_by(2));
    parts.filter(|part| part.starts_with("fieldgate ")).collect()
}

#[test]
fn every_command_is_one_that_the_program_takes() {
    let mut count = 0;
    for (name, text) in PAGES.iter().copied().chain([("README", README)]) {
        for line in commands(text) {
            // `systemctl reload fieldgate`, and prose in a comment.
            let words = words(&line);
            count += 1;
            let parsed = Cli::command().try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{name}: {line}: {}", parsed.unwrap_err());
        }
        for line in named(text) {
            count += 1;
            let Err(error) = Cli::command().try_get_matches_from(words(line)) else { continue };
            let incomplete = [
                ErrorKind::MissingRequiredArgument,
                ErrorKind::MissingSubcommand,
                ErrorKind::DisplayHelp,
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ];
            assert!(incomplete.contains(&error.kind()), "{name}: {line}: {error}");
        }
    }
    assert!(count > 60, "{count}");
}

#[test]
fn every_config_is_one_that_the_program_takes() {
    let mut count = 0;
    for (name, text) in PAGES {
        for (kind, block) in fenced(text) {
            let source = Source { file: format!("{name}.md"), text: block.clone() };
            match kind {
                "toml" => {
                    let mistakes = parse(&[source], &files::facts()).err();
                    assert!(mistakes.is_none(), "{}", crate::config::render(&mistakes.unwrap()));
                }
                "toml provisioning" => {
                    let present = provision::Present {
                        main: "fieldgate.toml".to_owned(),
                        sources: Vec::new(),
                        profiles: Vec::new(),
                    };
                    let taken = provision::read(&block, &present, &files::facts());
                    assert!(taken.is_ok(), "{name}: {:?}", taken.unwrap_err());
                }
                "sh" => continue,
                other => panic!("{name}: a fenced block of kind {other:?} isn't checked"),
            }
            count += 1;
        }
    }
    assert!(count >= 9, "{count}");
}

#[test]
fn every_page_is_embedded_and_begins_with_its_title() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/guide");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // A picture lies beside its page.
        .filter(|name| !name.ends_with(".svg"))
        .collect();
    let mut embedded: Vec<String> = PAGES.iter().map(|(name, _)| format!("{name}.md")).collect();
    files.sort();
    embedded.sort();
    assert_eq!(files, embedded);
    assert!(PAGES.iter().all(|(_, text)| text.starts_with("# ")));
}

#[test]
fn what_a_shell_takes_apart_is_taken_apart_here() {
    assert_eq!(words("fieldgate sub -t 'a b/#' -v   # all"), ["fieldgate", "sub", "-t", "a b/#", "-v"]);
    assert_eq!(words("fieldgate sub -F '' > out"), ["fieldgate", "sub", "-F", ""]);
    assert_eq!(
        named("`fieldgate a` b\n```sh\n`fieldgate c`\n```\n`fieldgate d`"),
        ["fieldgate a", "fieldgate d"]
    );
}
