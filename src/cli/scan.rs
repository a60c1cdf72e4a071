//! `fieldgate scan`: what hangs on a line, asked of the line itself, or through the gateway that has it.

mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::complain;
use super::running::Running;
use crate::config;
use crate::io::scan::{self, Arguments, Kind};
use crate::io::{control, files, plugged};
use crate::sensor::PortConfig;
use show::Show;

/// Arguments of `fieldgate scan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Listen at the usual rates until what comes makes sense, and say which profile reads it.
    Serial {
        #[command(flatten)]
        line: Line,
        /// For how long, at each rate.
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60), default_value_t = 4)]
        listen: u64,
        /// Also ask what the profiles of devices with protocols of their own ask.
        #[arg(long)]
        ask: bool,
        /// Go on when it is clear what it is.
        #[arg(long)]
        all: bool,
    },
    /// Ask each address for a register, and whoever answers for who he is.
    Modbus {
        #[command(flatten)]
        line: Line,
        /// Which addresses.
        #[arg(long, value_name = "FIRST-LAST", default_value = "1-247", value_parser = range::<u8>)]
        units: (u8, u8),
        /// How long an answer may take, in milliseconds; 200, over TCP 500.
        #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=60_000))]
        timeout: Option<u64>,
        /// Show these registers of each device, as far as it has them.
        #[arg(long, value_name = "FIRST-LAST", value_parser = range::<u16>)]
        registers: Option<(u16, u16)>,
    },
    /// Ask each primary address whether a meter is there, and for its values.
    Mbus {
        #[command(flatten)]
        line: Line,
        /// Which addresses.
        #[arg(long, value_name = "FIRST-LAST", default_value = "0-250", value_parser = range::<u8>)]
        units: (u8, u8),
    },
}

#[derive(Debug, clap::Args)]
struct Line {
    /// A device file, the name of a [[port]], or HOST:PORT of a Modbus TCP server. A line of the running gateway is borrowed.
    port: String,
    /// At these rates.
    #[arg(long, value_name = "BAUD", value_delimiter = ',')]
    baud: Vec<u32>,
    /// With these frames: data bits, parity, stop bits, such as 8N1 or 7E1.
    #[arg(long, value_name = "FRAME", value_delimiter = ',')]
    frame: Vec<String>,
    /// Which gateway may have it.
    #[command(flatten)]
    running: Running,
}

fn range<T: std::str::FromStr + PartialOrd>(text: &str) -> Result<(T, T), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse::<T>(), last.trim().parse::<T>()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err("expected FIRST-LAST, such as 1-32".to_owned()),
    }
}

impl What {
    fn line(&self) -> &Line {
        match self {
            Self::Serial { line, .. } | Self::Modbus { line, .. } | Self::Mbus { line, .. } => line,
        }
    }

    fn arguments(&self) -> Arguments {
        let Line { baud, frame, .. } = self.line();
        let (baud, frames) = (baud.clone(), frame.clone());
        let plain = |kind| Arguments {
            kind,
            baud,
            frames,
            units: None,
            registers: None,
            span_ms: None,
            all: false,
            ask: false,
        };
        match self {
            Self::Serial { listen, ask, all, .. } => {
                Arguments { span_ms: Some(listen * 1_000), ask: *ask, all: *all, ..plain(Kind::Serial) }
            }
            Self::Modbus { units, timeout, registers, .. } => Arguments {
                units: Some(*units),
                span_ms: *timeout,
                registers: *registers,
                ..plain(Kind::Modbus)
            },
            Self::Mbus { units, .. } => Arguments { units: Some(*units), ..plain(Kind::Mbus) },
        }
    }
}

/// Exit code 0 if somebody was found, 1 if the line or the gateway can't be used, 2 if what is asked for is wrong, 3 if
/// nobody was found.
pub fn execute(args: &Args) -> ExitCode {
    let line = args.what.line();
    let arguments = args.what.arguments();
    let mut show = Show::new(arguments.kind, line.running.json);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(|error| format!("can't start: {error}")).and_then(|runtime| {
        runtime.block_on(async {
            let interrupted = tokio::signal::ctrl_c();
            tokio::select! {
                done = scan(line, &arguments, &mut show) => done,
                _ = interrupted => Ok(()),
            }
        })
    });
    show.end();
    match done {
        Ok(()) if show.has_failed() => ExitCode::FAILURE,
        Ok(()) if show.has_found() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(3),
        Err(error) => {
            complain(error);
            ExitCode::from(2)
        }
    }
}

/// Where the line is to be had.
enum Place {
    /// From the gateway that answers on this socket, by this name.
    Gateway(PathBuf, String),
    /// From the system.
    Free(Box<PortConfig>),
}

async fn scan(line: &Line, arguments: &Arguments, show: &mut Show) -> Result<(), String> {
    match find(line)? {
        Place::Gateway(socket, name) => borrowed(&socket, &name, arguments, show).await,
        Place::Free(port) => {
            let profiles = scan::profiles(&line.running.sources()?)?;
            let machine = scan::machine(arguments, &port, &profiles)?;
            show.begin(&port.path, None, machine.estimate().as_secs_f64());
            let (events, mut told) = mpsc::channel(scan::EVENTS_WAITING_MAX);
            let showing = async {
                while let Some(event) = told.recv().await {
                    show.event(&event);
                }
            };
            tokio::join!(scan::run(&port, machine, events), showing);
            Ok(())
        }
    }
}

/// A port of the running gateway, by its name or its device; else one of the config, else what the name says.
fn find(line: &Line) -> Result<Place, String> {
    let wanted = &line.port;
    let sources = line.running.sources()?;
    let configured = config::parse_with(&sources, &files::profile_sources(&sources)?, &files::facts())
        .map(|config| config.ports)
        .unwrap_or_default();
    let real = std::fs::canonicalize(wanted).ok();
    let is_it = |port: &&PortConfig| {
        let found = plugged::resolve(port).ok().and_then(|path| std::fs::canonicalize(path).ok());
        *port.name == **wanted || port.path == *wanted || (real.is_some() && found == real)
    };
    let port = configured.iter().find(is_it);
    let name = port.map_or(&**wanted, |port| &*port.name);
    let socket = line.running.control_socket()?;
    if let Ok(status) = control::ask(&socket, "status") {
        let ports = status.get("ports").and_then(Json::as_array);
        let text =
            |port: &Json, key: &str| port.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let is_its = |port: &&Json| {
            let path = text(port, "path");
            text(port, "name") == name
                || path == *wanted
                || (real.is_some() && std::fs::canonicalize(Path::new(&path)).ok() == real)
        };
        if let Some(port) = ports.into_iter().flatten().find(is_its) {
            return Ok(Place::Gateway(socket, text(port, "name")));
        }
    }
    match port {
        Some(port) => Ok(Place::Free(Box::new(port.clone()))),
        None if wanted.contains(['/', ':']) => Ok(Place::Free(Box::new(scan::unnamed_port(wanted)))),
        None => Err(format!(
            "{wanted}: no [[port]] of that name; name one of the config, a device file, or HOST:PORT"
        )),
    }
}

/// Has the running gateway scan.
async fn borrowed(socket: &Path, name: &str, arguments: &Arguments, show: &mut Show) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", socket.display());
    let mut stream = UnixStream::connect(socket).await.map_err(wrong)?;
    let request = json!({"op": "scan", "port": name, "scan": arguments});
    stream.write_all(format!("{request}\n").as_bytes()).await.map_err(wrong)?;
    let mut lines = BufReader::new(stream).lines();
    let mut is_first = true;
    while let Some(line) = lines.next_line().await.map_err(wrong)? {
        let event: Json =
            serde_json::from_str(&line).map_err(|error| format!("the answer is no JSON: {error}"))?;
        if is_first {
            if let Some(error) = event.get("error").and_then(Json::as_str) {
                return Err(error.to_owned());
            }
            let path = event.get("path").and_then(Json::as_str).unwrap_or_default();
            show.begin(path, Some(name), event.get("about_s").and_then(Json::as_f64).unwrap_or_default());
            is_first = false;
        } else if event.get("event").and_then(Json::as_str) == Some("end") {
            return Ok(());
        } else {
            show.event(&event);
        }
    }
    Err("the gateway has ended the scan".to_owned())
}
