//! `[[exec]]`: programs whose lines are taken as those of a port.

use std::sync::Arc;

use super::mistake::{Mistakes, quoted};
use super::names::unique;
use super::schema::Effect::Reconnect;
use super::schema::{Kind, Table, optional, required};
use super::section::{Scalar, Section};
use crate::sensor::ExecConfig;

/// `[[exec]]`
pub static EXEC: Table = Table {
    name: "[[exec]]",
    doc: "A program that is kept running; what it prints is taken as the bytes of a port.",
    keys: &[
        required(
            "name",
            Kind::Level { bytes_max: 64 },
            "\"inverter\"",
            Reconnect,
            "What devices call it, as their port; unique among the sources.",
        ),
        required(
            "command",
            Kind::Texts { count_max: 64 },
            "[\"/usr/local/bin/read-inverter\", \"--json\"]",
            Reconnect,
            "The program, by its absolute path, and its arguments; no shell is involved.",
        ),
        optional(
            "user",
            Kind::Text { bytes_max: 32 },
            Reconnect,
            "Whom it runs as; only a gateway that runs as root can say so. Default: as the gateway.",
        ),
        optional("cwd", Kind::Path, Reconnect, "The folder that it runs in. Default: /."),
        optional(
            "env",
            Kind::Map { count_max: 64 },
            Reconnect,
            "Its environment, besides PATH, LANG and TZ of the gateway.",
        ),
    ],
};

/// The `[[exec]]` tables. `ports` are those of the config, whose names are taken.
pub(super) fn execs(sections: &[Section], ports: &[Section], mistakes: &mut Mistakes<'_>) -> Vec<ExecConfig> {
    unique(mistakes, "[[exec]]", "name", sections);
    taken(sections, "[[port]]", ports, mistakes);
    sections.iter().map(|section| exec(section, mistakes)).collect()
}

/// Notes each section with the name of one of these, which is a source as well.
pub(super) fn taken(sections: &[Section], table: &str, others: &[Section], mistakes: &mut Mistakes<'_>) {
    for section in sections {
        let Some(name) = section.text("name") else { continue };
        if let Some(other) = others.iter().find(|other| other.text("name") == Some(name)) {
            let place = mistakes.place(other.span("name"));
            let message = format!("name: {} is taken by the {table} at {place}", quoted(name));
            mistakes.add(section.span("name"), message);
        }
    }
}

fn exec(section: &Section, mistakes: &mut Mistakes<'_>) -> ExecConfig {
    let command: Vec<String> = section.texts("command").iter().map(|(text, _)| text.clone()).collect();
    match section.texts("command").first() {
        Some((program, span)) if !program.starts_with('/') => {
            let message = format!("command: {} is no absolute path", quoted(program));
            let help = "write the program and each of its arguments as a text of its own: [\"/usr/bin/sh\", \"-c\", \"…\"]";
            mistakes.add_with_help(*span, message, help);
        }
        None if section.is_given("command") && !section.is_mistaken("command") => {
            let message = "command: it names no program";
            let help = "write [\"/usr/local/bin/read-inverter\", \"--json\"]";
            mistakes.add_with_help(section.span("command"), message, help);
        }
        _ => {}
    }
    let mut env = Vec::new();
    for (name, scalar, span) in section.map("env") {
        if name.is_empty() || name.contains('=') {
            mistakes.add(*span, format!("env: {} can't be the name of a variable", quoted(name)));
        }
        let value = match scalar {
            Scalar::Number(number) => number.to_string(),
            Scalar::Text(text) => text.clone(),
            Scalar::Bool(flag) => flag.to_string(),
        };
        env.push((name.clone(), value));
    }
    ExecConfig {
        name: Arc::from(section.string("name")),
        command,
        user: section.text("user").map(str::to_owned),
        cwd: section.path("cwd"),
        env,
    }
}
