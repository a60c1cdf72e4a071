//! The `fieldgate` command.

use std::process::ExitCode;

use clap::Parser;
use fieldgate::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().execute()
}
