//! The man page fieldgate.toml(5): the table of the config's keys as text for troff. So a key that there is stands in it,
//! with its default and how a change counts.

use std::fmt::Write;

use crate::config::schema::{self, Absent, Effect, Key, Kind, ROOT, Table};

/// The page.
pub(super) fn page() -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = page_into(&mut out);
    out
}

fn page_into(out: &mut String) -> std::fmt::Result {
    writeln!(out, ".TH FIELDGATE.TOML 5 \"\" \"fieldgate {}\" fieldgate", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, ".SH NAME\nfieldgate.toml \\- configuration of the field gateway")?;
    writeln!(out, ".SH SYNOPSIS\n/etc/fieldgate/fieldgate.toml\n.br\n/etc/fieldgate/conf.d/*.toml")?;
    writeln!(out, ".SH DESCRIPTION\n{}", escaped(INTRODUCTION))?;
    let mut tables = Vec::new();
    schema::each_table(&mut |table| tables.push(table));
    let mut told: Vec<&str> = Vec::new();
    for table in tables.iter().filter(|table| table.name != ROOT.name) {
        // A table that stands in several places is explained once.
        if told.contains(&table.name) {
            continue;
        }
        told.push(table.name);
        section(out, table)?;
    }
    writeln!(out, ".SH SEE ALSO\n.BR fieldgate (1),\n.BR fieldgate-check (1),\n.BR fieldgate-reload (1)")
}

fn section(out: &mut String, table: &Table) -> std::fmt::Result {
    writeln!(out, ".SH \"{}\"\n{}", escaped(table.name), escaped(table.doc))?;
    for key in table.keys {
        entry(out, key)?;
    }
    Ok(())
}

fn entry(out: &mut String, key: &Key) -> std::fmt::Result {
    if matches!(key.kind, Kind::Table(_) | Kind::Tables { .. }) {
        // It has a section of its own.
        return Ok(());
    }
    writeln!(out, ".TP\n.B {}\n{}", escaped(key.name), escaped(key.doc))?;
    match key.absent {
        Absent::Required(example) => writeln!(out, "Needed. Example: {}.", escaped(example))?,
        Absent::Default(value) => writeln!(out, "Default: {}.", escaped(value))?,
        Absent::Computed(how) => writeln!(out, "Default: {}.", escaped(how))?,
        Absent::None => {}
    }
    let effect = match key.effect {
        Effect::Live => "A change counts at once.",
        Effect::Reconnect => "A change closes the listener and opens it anew.",
        Effect::Restart => "A change counts at the next start.",
    };
    writeln!(out, "{effect}")
}

const INTRODUCTION: &str = "The file is TOML. Durations and sizes carry their unit: \"250ms\", \"5s\", \"10min\", \"1h\", \
    \"7d\"; \"64 KiB\", \"256 MiB\", \"1 GiB\". Further files (conf.d/*.toml beside it) are read after it: tables in double \
    brackets add up, any other key may stand in one file only. A key that nobody knows is a mistake; fieldgate check names \
    each with its line. An annotated example is /usr/share/doc/fieldgate/examples/fieldgate.toml.";

/// As troff prints it as it is.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq").replace('\'', "\\(aq");
    // A point at the start of a line would be a command.
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_config_stands_in_the_page() {
        let page = page();
        let mut keys = 0;
        schema::each_table(&mut |table| {
            for key in
                table.keys.iter().filter(|key| !matches!(key.kind, Kind::Table(_) | Kind::Tables { .. }))
            {
                keys += 1;
                let entry = format!(".B {}\n{}\n", escaped(key.name), escaped(key.doc));
                assert!(page.contains(&entry), "{} {}", table.name, key.name);
            }
        });
        assert!(keys > 100, "{keys}");
        let is_command =
            |line: &str| line.starts_with(".TP") || line.starts_with(".B") || line.starts_with(".SH");
        let others = page.lines().filter(|line| line.starts_with('.') && !is_command(line));
        assert_eq!(others.collect::<Vec<_>>().len(), 2, ".TH and .br alone");
    }
}
