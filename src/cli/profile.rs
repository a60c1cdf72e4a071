//! `fieldgate profile`: the device profiles that there are, and what one says.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::style::{Style, Tone};
use super::{DEFAULT_CONFIG, complain, say};
use crate::config::profile::{Profile, profiles};
use crate::io::files;

/// Arguments of `fieldgate profile`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Name each profile with its device.
    List(Which),
    /// Print a profile: as it stands it can go into the folder of your own, and be changed there.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The config file that says where your own profiles are; it may be broken.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Exit code 0, or 1 if there is no such profile or your own can't be read.
pub fn execute(args: &Args) -> ExitCode {
    let done = match &args.command {
        Command::List(which) => load(which.config.as_deref()).map(|all| list(&all)),
        Command::Show { name, which } => load(which.config.as_deref()).and_then(|all| show(name, &all)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

/// All profiles, with the user's own in their places.
pub(super) fn load(config: Option<&Path>) -> Result<Vec<Profile>, String> {
    let sources = match config {
        Some(config) => files::config_sources(config)?,
        None => files::config_sources(Path::new(DEFAULT_CONFIG)).unwrap_or_default(),
    };
    Ok(profiles(&files::profile_sources(&sources)?))
}

fn list(all: &[Profile]) {
    let style = Style::of_stdout();
    let width = |text: fn(&Profile) -> String| all.iter().map(|p| text(p).chars().count()).max().unwrap_or(0);
    let (names, makers) = (width(|profile| profile.name.clone()), width(|profile| profile.about().maker));
    for profile in all {
        let about = profile.about();
        let name = style.paint(Tone::Strong, &format!("{:names$}", profile.name));
        let own = if profile.is_built_in { String::new() } else { style.paint(Tone::Good, "  (your own)") };
        say(format_args!("{name}  {:makers$}  {}{own}", about.maker, about.title));
    }
}

fn show(name: &str, all: &[Profile]) -> Result<(), String> {
    let Some(profile) = all.iter().find(|profile| profile.name == name) else {
        let names = all.iter().map(|profile| profile.name.as_str());
        let meant = crate::config::suggest::nearest(name, names);
        let help = match meant {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => "`fieldgate profile list` shows those that there are".to_owned(),
        };
        return Err(format!("there is no profile {name:?}; {help}"));
    };
    let style = Style::of_stdout();
    for line in profile.source.text.lines() {
        match line.trim_start().chars().next() {
            Some('#') => say(style.paint(Tone::Faint, line)),
            Some('[') => say(style.paint(Tone::Strong, line)),
            _ => say(line),
        }
    }
    Ok(())
}
