//! `fieldgate check`: every mistake in a config, with its place.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{DEFAULT_CONFIG, complain, say};
use crate::config::{self, Config};
use crate::io::{admission, files};

/// Arguments of `fieldgate check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file; the *.toml files of conf.d beside it are read as well.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The same, without --config.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

/// Exit code 0 if the config is right, 2 if it isn't.
pub fn execute(args: &Args) -> ExitCode {
    let path = args.file.as_ref().unwrap_or(&args.config);
    match load(path).and_then(with_access_files) {
        Ok(config) => {
            say(format_args!("{}: right: {}", path.display(), summary(&config)));
            ExitCode::SUCCESS
        }
        Err(text) => {
            complain(text);
            ExitCode::from(2)
        }
    }
}

/// Reads and checks a config.
///
/// # Errors
/// The full text for people: all mistakes, or why the file can't be read.
pub fn load(path: &Path) -> Result<Config, String> {
    let sources = files::config_sources(path)?;
    let profiles = files::profile_sources(&sources)?;
    config::parse_with(&sources, &profiles, &files::facts()).map_err(|mistakes| config::render(&mistakes))
}

/// Reads the password files and the ACL files too: what is wrong in them closes the broker.
fn with_access_files(config: Config) -> Result<Config, String> {
    let mistakes = admission::mistakes(&config);
    if mistakes.is_empty() { Ok(config) } else { Err(mistakes.join("\nfieldgate: ")) }
}

fn summary(config: &Config) -> String {
    let counts = [
        (config.ports.len(), "port"),
        (config.devices.len(), "device"),
        (config.gpio.len(), "GPIO line"),
        (config.listeners.len(), "listener"),
        (config.upstreams.len(), "upstream"),
    ];
    let counts: Vec<String> = counts.iter().map(|(count, what)| counted(*count, what)).collect();
    format!("gateway {}, {}", config.gateway.id, counts.join(", "))
}

/// "1 port", "2 ports".
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
