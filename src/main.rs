//! The `fieldgate` command.

use std::process::ExitCode;

use fieldgate::cli::Cli;

fn main() -> ExitCode {
    Cli::read().execute()
}
