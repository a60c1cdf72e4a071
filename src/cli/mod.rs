//! The command line: one file per subcommand.

pub mod bench;
pub mod cert;
pub mod check;
pub mod claim;
mod client;
pub mod completions;
pub mod config;
pub mod deadletters;
pub mod decode;
pub mod demo;
pub mod gpio;
pub mod guide;
pub mod import;
pub mod ledger;
pub mod log;
pub mod man;
mod man_config;
pub mod passwd;
pub mod ports;
pub mod profile;
pub mod provision;
pub mod publish;
pub mod reload;
pub mod reset;
pub mod run;
mod running;
pub mod scan;
pub mod simulate;
pub mod status;
pub mod store;
mod style;
pub mod subscribe;
pub mod trace;
pub mod upstream;
pub mod watch;
pub mod write;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use client::options_file;

/// The config file that is used when none is named.
pub const DEFAULT_CONFIG: &str = "/etc/fieldgate/fieldgate.toml";

/// Field gateway: sensors on serial lines to MQTT, with a broker for the LAN and an upstream that misses nothing.
#[derive(Debug, Parser)]
#[command(name = "fieldgate", version, long_version = crate::version::LONG, about, long_about = None, arg_required_else_help = true)]
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
    /// Show the claim code of a running gateway that nobody has claimed, and let it be claimed again.
    Claim(claim::Args),
    /// Look at the config of a running gateway, change it, go back.
    Config(config::Args),
    /// Show what a running gateway is doing.
    Status(status::Args),
    /// List GPIO lines; set an output, a total or a simulated line of a running gateway.
    Gpio(gpio::Args),
    /// Set a writable point of a device of a running gateway; shows what it reads then.
    Write(write::Args),
    /// Have a running gateway read its config again; the same as SIGHUP, with an answer.
    Reload(reload::Args),
    /// Show and change how much a running gateway logs.
    Log(log::Args),
    /// Look into the store, export what waits, give it up; on a running or a stopped gateway.
    Store(store::Args),
    /// Publish messages to an MQTT broker.
    Pub(Box<publish::Args>),
    /// Print the messages of an MQTT broker.
    Sub(Box<subscribe::Args>),
    /// Make and change a file of users and passwords.
    Passwd(passwd::Args),
    /// Turn a config of Mosquitto into one of fieldgate, and say what couldn't be carried over.
    Import(import::Args),
    /// Show, export, retry or forget the messages that an upstream refused for good.
    Deadletters(deadletters::Args),
    /// Have a running gateway connect to an upstream now.
    Upstream(upstream::Args),
    /// Check what a subscriber has captured: gaps, duplicates, order.
    Ledger(ledger::Args),
    /// Issue and revoke certificates of devices and listeners.
    Cert(cert::Args),
    /// Show the bytes of a port of a running gateway as they pass.
    Trace(trace::Args),
    /// Show the values of a running gateway as they change.
    Watch(watch::Args),
    /// List the serial lines that are plugged in, who uses them, and what to write into the config.
    Ports(ports::Args),
    /// Find out what hangs on a line: rate and protocol, Modbus devices, M-Bus meters.
    Scan(scan::Args),
    /// List and show the device profiles.
    Profile(profile::Args),
    /// Show what a device's config makes of captured bytes: frames, checks, values and what is skipped.
    Decode(decode::Args),
    /// Open a pseudo-terminal that behaves like a device, and print its path.
    Simulate(simulate::Args),
    /// Try the whole gateway on this machine: simulated sensors, an upstream broker, an outage.
    Demo(demo::Args),
    /// Measure how fast an MQTT broker is and what it costs, or several in turn.
    Bench(Box<bench::Args>),
    /// Take over a provisioning file: identity, claim, certificates and config of a fresh box.
    Provision(provision::Args),
    /// Bring the gateway back to how it was delivered: all that it keeps is removed.
    Reset(reset::Args),
    /// Print a page that takes you through a job: the first meter, another broker's place, a fleet, lost access.
    Guide(guide::Args),
    /// Print what has a shell complete fieldgate's commands and options.
    Completions(completions::Args),
    /// Write the man pages into a folder.
    #[command(hide = true)]
    Man(man::Args),
}

/// `fieldgate run` alone.
#[derive(Debug, Parser)]
struct RunAlone {
    #[command(flatten)]
    args: run::Args,
}

impl RunAlone {
    /// Reads the arguments of a service, which stays: the options of forty other commands are neither built nor, with the
    /// code that builds them, in its memory. `None` where it is another command, or something is to be said.
    fn read(arguments: &[OsString]) -> Option<Self> {
        let (_, rest) = arguments.split_first()?;
        (rest.first()? == "run").then(|| Self::try_parse_from(rest).ok())?
    }
}

impl Cli {
    /// Reads the command line; ends the process with exit code 2 where it is wrong.
    #[must_use]
    pub fn read() -> Self {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        if let Some(RunAlone { args }) = RunAlone::read(&arguments) {
            return Self { command: Command::Run(args) };
        }
        match options_file::expand(arguments) {
            Ok(arguments) => Self::parse_from(arguments),
            Err(error) => {
                complain(error);
                std::process::exit(2);
            }
        }
    }

    /// Does what was asked. Exit codes: 0 done, 1 failed, 2 wrong arguments or config; `sub` and `import` have
    /// one of their own.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        match self.command {
            Command::Run(args) => run::execute(&args),
            Command::Check(args) => check::execute(&args),
            Command::Claim(args) => claim::execute(&args),
            Command::Config(args) => config::execute(&args),
            Command::Status(args) => status::execute(&args),
            Command::Gpio(args) => gpio::execute(&args),
            Command::Write(args) => write::execute(&args),
            Command::Reload(args) => reload::execute(&args),
            Command::Log(args) => log::execute(&args),
            Command::Store(args) => store::execute(&args),
            Command::Pub(args) => publish::execute(&args),
            Command::Sub(args) => subscribe::execute(&args),
            Command::Passwd(args) => passwd::execute(&args),
            Command::Import(args) => import::execute(&args),
            Command::Deadletters(args) => deadletters::execute(&args),
            Command::Upstream(args) => upstream::execute(&args),
            Command::Ledger(args) => ledger::execute(&args),
            Command::Cert(args) => cert::execute(&args),
            Command::Trace(args) => trace::execute(&args),
            Command::Watch(args) => watch::execute(&args),
            Command::Ports(args) => ports::execute(&args),
            Command::Scan(args) => scan::execute(&args),
            Command::Profile(args) => profile::execute(&args),
            Command::Decode(args) => decode::execute(&args),
            Command::Simulate(args) => simulate::execute(&args),
            Command::Demo(args) => demo::execute(&args),
            Command::Bench(args) => bench::execute(&args),
            Command::Provision(args) => provision::execute(&args),
            Command::Reset(args) => reset::execute(&args),
            Command::Guide(args) => guide::execute(&args),
            Command::Completions(args) => completions::execute(&args),
            Command::Man(args) => man::execute(&args),
        }
    }
}

/// Prints a line for people on standard output. A reader that went away (`| head`) is no error.
pub(crate) fn say(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints what a command came to, and gives its exit code: 0, or 1 with why it failed.
pub(crate) fn tell(outcome: Result<impl std::fmt::Display, String>) -> std::process::ExitCode {
    match outcome {
        Ok(text) => {
            say(text);
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            complain(error);
            std::process::ExitCode::FAILURE
        }
    }
}

/// Asks a running gateway; what it refuses is an error.
pub(crate) fn asked(
    running: &running::Running,
    request: &serde_json::Value,
) -> Result<serde_json::Value, String> {
    let answer = crate::io::control::request(&running.control_socket()?, request)?;
    match answer.get("error").and_then(serde_json::Value::as_str) {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer),
    }
}

/// Prints an error for people.
pub(crate) fn complain(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "fieldgate: {text}");
}
