//! The command line: one file per subcommand.

pub mod check;
mod client;
pub mod demo;
pub mod passwd;
pub mod publish;
pub mod run;
pub mod status;
pub mod subscribe;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The config file that is used when none is named.
pub const DEFAULT_CONFIG: &str = "/etc/fieldgate/fieldgate.toml";

/// Field gateway: sensors on serial lines to MQTT, with a broker for the LAN and an upstream that misses nothing.
#[derive(Debug, Parser)]
#[command(name = "fieldgate", version, about, long_about = None, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Run(run::Args),
    /// Check a config file and print every mistake in it.
    Check(check::Args),
    /// Show what a running gateway is doing.
    Status(status::Args),
    /// Publish messages to an MQTT broker.
    Pub(Box<publish::Args>),
    /// Print the messages of an MQTT broker.
    Sub(Box<subscribe::Args>),
    /// Make and change a file of users and passwords.
    Passwd(passwd::Args),
    /// Try the whole gateway on this machine: simulated sensors, an upstream broker, an outage.
    Demo(demo::Args),
}

impl Cli {
    /// Does what was asked. Exit codes: 0 done, 1 failed, 2 wrong arguments or config; `sub` has one of its
    /// own.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        match self.command {
            Command::Run(args) => run::execute(&args),
            Command::Check(args) => check::execute(&args),
            Command::Status(args) => status::execute(&args),
            Command::Pub(args) => publish::execute(&args),
            Command::Sub(args) => subscribe::execute(&args),
            Command::Passwd(args) => passwd::execute(&args),
            Command::Demo(args) => demo::execute(&args),
        }
    }
}

/// Prints a line for people on standard output. A reader that went away (`| head`) is no error.
pub(crate) fn say(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints an error for people.
pub(crate) fn complain(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "fieldgate: {text}");
}
