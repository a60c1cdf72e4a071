//! `fieldgate store`: what the store holds, whether it is whole, its records as lines of JSON, and giving them up. On a
//! stopped gateway it works on the data directory, under its lock; a running one is asked over the control socket.

mod child;
mod direct;
mod running;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::Value as Json;

use super::running::DEFAULT_SOCKET;
use super::status::{bytes, list, number, word};
use super::{DEFAULT_CONFIG, check, complain, say};
use crate::store::StoreError;
use crate::store::inspect::Inspection;
use crate::time::Timestamp;

/// Exit code for damage that was found.
const DAMAGED: u8 = 3;

/// Arguments of `fieldgate store`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// Where the store is.
#[derive(Debug, clap::Args)]
struct Place {
    /// The config file that names the data directory and the control socket.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The data directory of a gateway that doesn't run, without a config.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what is stored: records, bytes, age, damage, per upstream.
    Stat {
        #[command(flatten)]
        place: Place,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Look at every stored byte. Exit code 3 if something is damaged.
    Verify {
        #[command(flatten)]
        place: Place,
        /// One generation's directory, in this process: what a start does after a crash.
        #[arg(long, hide = true, value_name = "DIR", conflicts_with_all = ["config", "data_dir"])]
        generation: Option<PathBuf>,
        /// The same for a database of sessions and retained messages.
        #[arg(long, hide = true, value_name = "DIR", conflicts_with_all = ["config", "data_dir", "generation"])]
        state: Option<PathBuf>,
    },
    /// Copy what can be read of a damaged generation into a fresh one: what a start does after a crash.
    #[command(hide = true)]
    Salvage {
        /// The generation's directory.
        generation: PathBuf,
        /// The directory to make.
        into: PathBuf,
        /// It is a database of sessions and retained messages.
        #[arg(long)]
        state: bool,
    },
    /// Print the records that wait, oldest first, one JSON object a line.
    Export {
        #[command(flatten)]
        place: Place,
        /// Only this upstream's.
        #[arg(long, value_name = "NAME")]
        upstream: Option<String>,
        /// What was set aside as damaged, as far as it can be read, acknowledged or not.
        #[arg(long)]
        quarantine: bool,
        /// Write to a file, which must not exist, instead of standard output.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Give up records that wait for an upstream. They are gone.
    Purge {
        #[command(flatten)]
        place: Place,
        /// Whose.
        #[arg(long, value_name = "NAME")]
        upstream: String,
        /// Those that were written before, such as 2026-11-20T14:00:00Z.
        #[arg(long, value_name = "TIME", value_parser = point_in_time, conflicts_with = "all")]
        before: Option<Timestamp>,
        /// All of them.
        #[arg(long, required_unless_present = "before")]
        all: bool,
        /// Do it; without this word it is only said what waits.
        #[arg(long)]
        yes: bool,
    },
}

fn point_in_time(text: &str) -> Result<Timestamp, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "expected a time such as 2026-11-20T14:00:00Z".to_owned())?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

/// The store, as it can be reached.
enum Store {
    /// The gateway doesn't run, and can't be started for now.
    Stopped(Inspection),
    /// It runs, and answers here.
    Running(PathBuf),
}

/// Exit code 0 if it is done, 1 if it failed, 2 for wrong arguments, 3 if damage was found.
pub fn execute(args: &Args) -> ExitCode {
    let result = match &args.command {
        Command::Stat { place, json } => stat(place, *json),
        Command::Verify { generation: Some(path), .. } => child::verify_generation(path),
        Command::Verify { state: Some(path), .. } => child::verify_state(path),
        Command::Verify { place, .. } => verify(place),
        Command::Salvage { generation, into, state: false } => child::salvage(generation, into),
        Command::Salvage { generation, into, state: true } => child::salvage_state(generation, into),
        Command::Export { place, upstream, quarantine, output } => {
            export(place, upstream.as_deref(), *quarantine, output.as_deref())
        }
        Command::Purge { place, upstream, before, yes, .. } => purge(place, upstream, *before, *yes),
    };
    result.unwrap_or_else(|error| {
        complain(error);
        ExitCode::FAILURE
    })
}

/// Where the data directory and the control socket are.
fn whereabouts(place: &Place) -> Result<(PathBuf, Option<PathBuf>), String> {
    if let Some(dir) = &place.data_dir {
        return Ok((dir.clone(), None));
    }
    let config = check::load(&place.config)?;
    Ok((config.gateway.data_dir, Some(config.gateway.control_socket)))
}

fn reach(place: &Place) -> Result<Store, String> {
    let (dir, socket) = whereabouts(place)?;
    match Inspection::open(&dir) {
        Ok(inspection) => Ok(Store::Stopped(inspection)),
        Err(StoreError::Locked { .. }) => {
            Ok(Store::Running(socket.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn stat(place: &Place, json: bool) -> Result<ExitCode, String> {
    let stat = match reach(place)? {
        Store::Stopped(inspection) => direct::stat(&inspection)?,
        Store::Running(socket) => running::stat(&socket)?,
    };
    if json {
        say(format_args!("{stat:#}"));
        return Ok(ExitCode::SUCCESS);
    }
    for outbox in list(&stat, "outboxes") {
        tell(outbox);
    }
    let state = stat.get("state").map_or(0, |state| number(state, "disk_bytes"));
    say(format_args!("sessions and retained messages: {} on disk", bytes(state)));
    Ok(ExitCode::SUCCESS)
}

fn tell(outbox: &Json) {
    let waits = match outbox.get("oldest").and_then(Json::as_str) {
        Some(oldest) => format!("{}, the oldest of {oldest}", bytes(number(outbox, "bytes"))),
        None => "nothing waits".to_owned(),
    };
    say(format_args!(
        "upstream {}: {} records ({waits}); {} on disk in {} generations",
        word(outbox, "upstream"),
        number(outbox, "records"),
        bytes(number(outbox, "disk_bytes")),
        number(outbox, "generations"),
    ));
    if number(outbox, "quarantined") > 0 {
        let (count, size) = (number(outbox, "quarantined"), bytes(number(outbox, "quarantined_bytes")));
        say(format_args!("  {count} damaged generations were set aside ({size}); see export --quarantine"));
    }
    if number(outbox, "damaged_segments") > 0 {
        say(format_args!("  damaged: {} records are lost", number(outbox, "damaged_records")));
    }
}

fn verify(place: &Place) -> Result<ExitCode, String> {
    let whole = match reach(place)? {
        Store::Stopped(inspection) => direct::verify(&inspection)?,
        Store::Running(socket) => running::verify(&socket)?,
    };
    say(if whole { "all is whole" } else { "something is damaged" });
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

/// A line for each thing that was looked at.
fn tell_checked(what: &str, checked: &Json) {
    let (segments, records) = (number(checked, "segments"), number(checked, "records"));
    let (damaged, lost) = (number(checked, "damaged_segments"), number(checked, "damaged_records"));
    match checked.get("error").and_then(Json::as_str) {
        Some(error) => say(format_args!("{what}: can't be read: {error}")),
        None if damaged > 0 => {
            say(format_args!(
                "{what}: {damaged} of {} parts damaged, {lost} records lost",
                segments + damaged
            ));
        }
        None => say(format_args!("{what}: {segments} parts, {records} records, whole")),
    }
}

fn export(
    place: &Place,
    upstream: Option<&str>,
    quarantine: bool,
    output: Option<&std::path::Path>,
) -> Result<ExitCode, String> {
    let mut out: Box<dyn Write> = match output {
        Some(path) => {
            let file =
                std::fs::File::create_new(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Box::new(std::io::BufWriter::new(file))
        }
        None => Box::new(std::io::BufWriter::new(std::io::stdout())),
    };
    if quarantine {
        // What was set aside is in nobody's hands, whether the gateway runs or not.
        let (dir, _) = whereabouts(place)?;
        direct::export_quarantine(&dir, upstream, &mut out)?;
    } else {
        match reach(place)? {
            Store::Stopped(inspection) => direct::export(&inspection, upstream, &mut out)?,
            Store::Running(socket) => running::export(&socket, upstream, &mut out)?,
        }
    }
    written(out.flush())?;
    Ok(ExitCode::SUCCESS)
}

/// A reader that went away (`| head`) is no error, but there is nothing more to do.
fn written(result: std::io::Result<()>) -> Result<(), String> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|error| format!("can't write: {error}")),
    }
}

fn purge(place: &Place, upstream: &str, before: Option<Timestamp>, yes: bool) -> Result<ExitCode, String> {
    if !yes {
        let stat = match reach(place)? {
            Store::Stopped(inspection) => direct::stat(&inspection)?,
            Store::Running(socket) => running::stat(&socket)?,
        };
        let found = list(&stat, "outboxes").find(|outbox| word(outbox, "upstream") == upstream);
        tell(found.ok_or_else(|| format!("there is no upstream {upstream}"))?);
        complain("nothing was given up; add --yes to do it");
        return Ok(ExitCode::from(2));
    }
    let (records, size) = match reach(place)? {
        Store::Stopped(inspection) => direct::purge(inspection, upstream, before)?,
        Store::Running(socket) => running::purge(&socket, upstream, before)?,
    };
    say(format_args!("{records} records ({}) were given up", bytes(size)));
    Ok(ExitCode::SUCCESS)
}

/// How long a child may look at one database.
const CHILD_MAX: Duration = Duration::from_secs(60);
