//! `fieldgate guide`: the pages that take a person through a job, in the terminal; and as man pages for `fieldgate man`.

mod page;

use std::process::ExitCode;

use super::style::Style;
use super::{complain, say};

/// Name and text of each page, in the order in which they are needed.
pub(super) const PAGES: &[(&str, &str)] = &[
    ("first-modbus-meter", include_str!("../../config/guide/first-modbus-meter.md")),
    ("replace-mosquitto", include_str!("../../config/guide/replace-mosquitto.md")),
    ("upstream", include_str!("../../config/guide/upstream.md")),
    ("fleet", include_str!("../../config/guide/fleet.md")),
    ("config-over-mqtt", include_str!("../../config/guide/config-over-mqtt.md")),
    ("recover-access", include_str!("../../config/guide/recover-access.md")),
    ("what-survives", include_str!("../../config/guide/what-survives.md")),
    ("benchmark", include_str!("../../config/guide/benchmark.md")),
];

/// Arguments of `fieldgate guide`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The page; without it, all are listed.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Exit code 0, or 1 if there is no such page.
pub fn execute(args: &Args) -> ExitCode {
    let Some(name) = &args.name else {
        let width = PAGES.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, text) in PAGES {
            say(format_args!("{name:width$}  {}", page::title(text)));
        }
        return ExitCode::SUCCESS;
    };
    if let Some((_, text)) = PAGES.iter().find(|(known, _)| known == name) {
        say(page::terminal(text, Style::of_stdout()));
        return ExitCode::SUCCESS;
    }
    let meant = crate::config::suggest::nearest(name, PAGES.iter().map(|(name, _)| *name));
    let help = match meant {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => "`fieldgate guide` lists those that there are".to_owned(),
    };
    complain(format_args!("there is no page {name:?}; {help}"));
    ExitCode::FAILURE
}

/// The file name and the text of each man page.
pub(super) fn man_pages() -> impl Iterator<Item = (String, String)> {
    PAGES.iter().map(|(name, text)| (format!("fieldgate-guide-{name}.7"), page::man(name, text)))
}

#[cfg(test)]
mod tests;
