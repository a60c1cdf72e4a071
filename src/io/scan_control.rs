//! Scans of lines by the running gateway. A port's line is borrowed, and given back when the scan has ended, the asker goes,
//! or the loan's time is over; one that is plugged in and that no port means is there for whoever asks. Through the control
//! socket what is found is told a line each; what the page asked for is kept by [`super::scans`].

use std::io;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::borrow::Loan;
use super::control::tell;
use super::plugged;
use super::reporter::Reporter;
use super::scan::{self, Arguments, Kind};
use crate::limits::LOAN_MAX;
use crate::sensor::PortConfig;
use crate::sensor::scan::Scan;

/// A scan that somebody asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The port's name.
    pub(super) port: String,
    /// What is scanned for.
    pub(super) arguments: Arguments,
}

/// A scan that is under way; it ends, and the line is given back, when this is dropped.
#[derive(Debug)]
pub(super) struct Scanning {
    /// What is scanned, and how long it takes if nobody answers.
    pub(super) about: Json,
    /// What is found; the last one is `{"event":"end"}`.
    pub(super) events: mpsc::Receiver<Json>,
}

/// The line of a scan.
enum Line {
    /// A port's.
    Lent(Loan),
    /// One that no port means.
    Free(Box<PortConfig>),
}

impl Line {
    const fn config(&self) -> &PortConfig {
        match self {
            Self::Lent(loan) => loan.config(),
            Self::Free(config) => config,
        }
    }

    /// Until the gateway wants no more of it.
    async fn over(&self) {
        match self {
            Self::Lent(loan) => loan.over().await,
            Self::Free(_) => tokio::time::sleep(LOAN_MAX).await,
        }
    }
}

/// Starts a scan of a port of the running gateway, or of a line that is plugged in, by its path.
///
/// # Errors
/// In words: there is no such port, it is borrowed already, or what is asked for is wrong.
pub(super) async fn start(wanted: Wanted, reporter: &Reporter) -> Result<Scanning, String> {
    let Wanted { port, arguments } = wanted;
    let loans = reporter.sources.loans.clone();
    let (config, is_free) = match loans.config(&port) {
        Some(config) => (config, false),
        None => (free(&port, reporter).await?, true),
    };
    let (kind, machine) = (arguments.kind, machine(arguments, config.clone()).await?);
    let line = if is_free {
        Line::Free(Box::new(config))
    } else {
        Line::Lent(loans.borrow(&port, "a scan", LOAN_MAX).await?)
    };
    Ok(begin(line, machine, Some(&port), kind))
}

/// Starts a scan of a line that no port of the running gateway has.
///
/// # Errors
/// In words: what is asked for is wrong.
pub(super) async fn start_unnamed(config: PortConfig, arguments: Arguments) -> Result<Scanning, String> {
    let (kind, machine) = (arguments.kind, machine(arguments, config.clone()).await?);
    Ok(begin(Line::Free(Box::new(config)), machine, None, kind))
}

/// Profiles are read and taken apart beside this thread: other ports go on.
async fn machine(arguments: Arguments, config: PortConfig) -> Result<Box<dyn Scan>, String> {
    let make = move || scan::profiles(&[]).and_then(|profiles| scan::machine(&arguments, &config, &profiles));
    let made = tokio::task::spawn_blocking(make).await;
    made.unwrap_or_else(|_| Err("the gateway is stopping".to_owned()))
}

fn begin(line: Line, machine: Box<dyn Scan>, port: Option<&str>, kind: Kind) -> Scanning {
    let about_s = machine.estimate().as_secs_f64();
    let about = json!({"port": port, "path": line.config().path, "kind": kind, "about_s": about_s});
    let (tell, events) = mpsc::channel(scan::EVENTS_WAITING_MAX);
    tokio::task::spawn_local(async move {
        let end = tokio::select! {
            () = scan::run(line.config(), machine, tell.clone()) => json!({"event": "end"}),
            () = tell.closed() => return,
            () = line.over() => {
                let error = format!("it took longer than {} s: the gateway takes the line back", LOAN_MAX.as_secs());
                json!({"event": "failed", "error": error})
            }
        };
        // The line is closed by now.
        drop(line);
        let _ = tell.send(end).await;
    });
    Scanning { about, events }
}

/// A line that is plugged in and that no port means, by its path.
async fn free(path: &str, reporter: &Reporter) -> Result<PortConfig, String> {
    let names: Vec<String> = reporter.lines().iter().map(|line| line.name.to_string()).collect();
    let loans = &reporter.sources.loans;
    let ports: Vec<PortConfig> = names.iter().filter_map(|name| loans.config(name)).collect();
    let wanted = path.to_owned();
    // Reads folders of the kernel: not on this thread.
    let look = move || {
        let is_there = plugged::plugged().iter().any(|adapter| adapter.path == wanted);
        let meant = ports.iter().find(|port| plugged::means(port, std::path::Path::new(&wanted)));
        (is_there, meant.map(|port| port.name.clone()))
    };
    let looked = tokio::task::spawn_blocking(look).await;
    match looked.map_err(|_| "the gateway is stopping".to_owned())? {
        (true, None) => Ok(scan::unnamed_port(path)),
        (true, Some(port)) => Err(format!("port {port:?} uses {path}; scan that port")),
        (false, _) => {
            Err(format!("there is no port {path:?} that can be scanned; known are {}", names.join(", ")))
        }
    }
}

/// The first line says what is scanned, or what is wrong; one line for each event follows, until the end or until the asker
/// goes or says anything more.
pub(super) async fn serve(
    wanted: Wanted,
    reporter: &Reporter,
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let Scanning { about, mut events } = match start(wanted, reporter).await {
        Ok(scanning) => scanning,
        Err(error) => return tell(write, &json!({ "error": error })).await,
    };
    tell(write, &about).await?;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => tell(write, &event).await?,
                None => return Ok(()),
            },
            _ = read.read_u8() => return Ok(()),
        }
    }
}
