//! `fieldgate completions`: what has a shell complete the commands, made from the commands themselves.

use std::process::ExitCode;

use clap::{CommandFactory, ValueEnum};

use super::{Cli, say};

/// Arguments of `fieldgate completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// The shells by the names that people use.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Always exit code 0.
pub fn execute(args: &Args) -> ExitCode {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "fieldgate", &mut script);
    say(String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}
