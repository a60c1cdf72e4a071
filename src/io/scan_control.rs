//! Scans of ports of the running gateway, through the control socket: the line is borrowed, what is found is told a line
//! each, and the line is given back when the scan has ended, the asker goes, or the loan's time is over.

use std::io;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::control::tell;
use super::reporter::Reporter;
use super::scan::{self, Arguments};
use crate::limits::LOAN_MAX;

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

/// Starts a scan of a port of the running gateway.
///
/// # Errors
/// In words: there is no such port, it is borrowed already, or what is asked for is wrong.
pub(super) async fn start(wanted: Wanted, reporter: &Reporter) -> Result<Scanning, String> {
    let Wanted { port, arguments } = wanted;
    let loans = reporter.sources.loans.clone();
    let config = loans.config(&port).ok_or_else(|| {
        let names: Vec<String> = reporter.lines().iter().map(|line| line.name.to_string()).collect();
        format!("there is no port {port:?} that can be scanned; known are {}", names.join(", "))
    })?;
    let kind = arguments.kind;
    // Profiles are read and taken apart meanwhile: other ports go on.
    let make = {
        let config = config.clone();
        move || scan::profiles(&[]).and_then(|profiles| scan::machine(&arguments, &config, &profiles))
    };
    let made = tokio::task::spawn_blocking(make).await;
    let machine = made.unwrap_or_else(|_| Err("the gateway is stopping".to_owned()))?;
    let loan = loans.borrow(&port, "a scan", LOAN_MAX).await?;
    let about_s = machine.estimate().as_secs_f64();
    let about = json!({"port": port, "path": config.path, "kind": kind, "about_s": about_s});
    let (tell, events) = mpsc::channel(scan::EVENTS_WAITING_MAX);
    tokio::task::spawn_local(async move {
        let end = tokio::select! {
            () = scan::run(loan.config(), machine, tell.clone()) => json!({"event": "end"}),
            () = tell.closed() => return,
            () = loan.over() => {
                let error = format!("it took longer than {} s: the gateway takes the line back", LOAN_MAX.as_secs());
                json!({"event": "failed", "error": error})
            }
        };
        // The line is closed by now.
        drop(loan);
        let _ = tell.send(end).await;
    });
    Ok(Scanning { about, events })
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
