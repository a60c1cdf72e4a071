//! `fieldgate demo`: the whole gateway on a bare machine in one command. This file has the arguments, the plan
//! made of them, and the summary; the parts are in the folder beside it.
//!
//! ```text
//!  sensors ──pty──▶ gateway ──TCP──▶ link ──TCP──▶ upstream broker ──TCP──▶ subscriber
//!  fixtures,        app::run,        a proxy that  our broker,              counts what arrives,
//!  simulators       own thread       can be cut    own thread               by (device, run, seq)
//! ```
//!
//! Everything between the sensors and the subscriber is what runs in the field: a config file read from disk, real
//! ports, sockets, threads and store. The outage is made on the link: its listening socket is closed, so that the
//! gateway's attempts are refused, and its connections are dropped with whatever was in flight. The subscriber sits
//! behind the link, at the upstream broker itself, so an outage hides nothing from it. What is lost is computed
//! from the lines that were played and the numbers that arrived, never from the gateway's own counters. What the gateway
//! itself asks or counts (Modbus, GPIO) nobody plays: there a gap in the numbers is a loss.

mod gateway;
mod ledger;
mod link;
mod outage;
mod pulses;
mod screen;
mod sensors;
mod show;
mod signals;
mod subscriber;
mod terminal;
mod upstream;
mod workspace;

use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use tokio::task::LocalSet;

use super::{complain, say};
use crate::config;
use workspace::Workspace;

/// A shorter demo would end before the first readings are through.
const LASTS_MIN: Duration = Duration::from_secs(2);

/// A shorter outage is over before anybody notices.
const OUTAGE_MIN: Duration = Duration::from_secs(1);

/// When the outage begins, unless the demo is too short for it.
const OUTAGE_AFTER: Duration = Duration::from_secs(5);

/// Arguments of `fieldgate demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End after this long ("30s", "5min"); without it, at q or Ctrl-C.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: Option<Duration>,
    /// Take the upstream down once, for this long.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    outage: Option<Duration>,
    /// Print the summary alone, as one JSON object.
    #[arg(long)]
    json: bool,
    /// Keep the folder with the config, the log and the store.
    #[arg(long)]
    keep: bool,
}

/// Exit code 0 if every reading arrived, 1 if one was lost or the demo can't run, 2 for wrong arguments.
pub fn execute(args: &Args) -> ExitCode {
    let plan = match Plan::new(args.lasts, args.outage) {
        Ok(plan) => plan,
        Err(text) => {
            complain(text);
            return ExitCode::from(2);
        }
    };
    match perform(&plan, args) {
        Ok(summary) => {
            match serde_json::to_string(&summary) {
                Ok(json) if args.json => say(json),
                _ => say(summary),
            }
            ExitCode::from(u8::from(summary.lost > 0))
        }
        Err(text) => {
            complain(text);
            ExitCode::FAILURE
        }
    }
}

fn perform(plan: &Plan, args: &Args) -> Result<Summary, String> {
    let mut workspace = Workspace::create(args.keep)?;
    workspace.start_log()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("can't start: {error}"))?;
    let result = LocalSet::new().block_on(&runtime, show::run(plan, args.json, &workspace));
    // Questions to the control socket run on the pool of blocking threads; one may still wait for its answer.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let path = workspace.path().display().to_string();
    match result {
        Ok(summary) => {
            if summary.lost > 0 {
                workspace.keep();
                complain(format_args!(
                    "{} readings were lost; config, log and store are kept in {path}",
                    summary.lost
                ));
            } else if args.keep && !args.json {
                say(format_args!("config, log and store are kept in {path}"));
            }
            Ok(summary)
        }
        Err(error) => {
            workspace.keep();
            Err(format!("{error}\nconfig, log and store are kept in {path}"))
        }
    }
}

/// When what happens, counted from the first line played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    /// When the demo ends by itself.
    lasts: Option<Duration>,
    /// When the outage begins, and how long it lasts.
    outage: Option<(Duration, Duration)>,
}

impl Plan {
    fn new(lasts: Option<Duration>, outage: Option<Duration>) -> Result<Self, String> {
        if lasts.is_some_and(|lasts| lasts < LASTS_MIN) {
            return Err("--for: at least 2s, so that readings can arrive".into());
        }
        if outage.is_some_and(|outage| outage < OUTAGE_MIN) {
            return Err("--outage: at least 1s, so that readings can pile up".into());
        }
        let start = match (lasts, outage) {
            (Some(lasts), Some(outage)) if outage >= lasts => {
                return Err(format!(
                    "--outage {} must be shorter than --for {}: the upstream comes back before the end",
                    config::duration::print(outage),
                    config::duration::print(lasts)
                ));
            }
            // Late enough that readings flow before, early enough that all of it fits.
            (Some(lasts), Some(outage)) => {
                (lasts.checked_div(3).unwrap_or_default()).min(lasts.saturating_sub(outage))
            }
            _ => OUTAGE_AFTER,
        };
        Ok(Self { lasts, outage: outage.map(|outage| (start, outage)) })
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Summary {
    /// Lines that the sensors sent while the gateway listened, and numbers of what it asked and counted itself.
    readings: u64,
    /// Of these, how many reached the subscriber at the upstream broker.
    delivered: u64,
    /// The rest, and every gap in a device's numbers.
    lost: u64,
    /// Deliveries beyond the first of a reading.
    duplicates: u64,
    /// Times that the upstream was taken down.
    outages: u64,
    /// How long it was down in all.
    outage_seconds: f64,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "readings taken       {:>8}", self.readings)?;
        writeln!(f, "delivered upstream   {:>8}   seen by an independent subscriber there", self.delivered)?;
        writeln!(f, "lost                 {:>8}", self.lost)?;
        writeln!(f, "duplicates           {:>8}", self.duplicates)?;
        write!(f, "outages              {:>8}   {:.1} s in all", self.outages, self.outage_seconds)
    }
}

/// A duration as in the config: a whole number and a unit.
fn duration(text: &str) -> Result<Duration, String> {
    config::duration::parse(text)
        .ok_or_else(|| "write a whole number and a unit, such as 500ms, 30s, 5min, 1h".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn the_outage_begins_early_enough_to_fit_and_late_enough_to_be_seen() {
        for (lasts, outage, expected_start) in
            [(None, seconds(20), 5_000), (seconds(30), seconds(10), 10_000), (seconds(6), seconds(5), 1_000)]
        {
            let plan = Plan::new(lasts, outage).unwrap();
            assert_eq!(plan.outage.unwrap().0, Duration::from_millis(expected_start), "{lasts:?} {outage:?}");
        }
        assert_eq!(Plan::new(seconds(5), None).unwrap(), Plan { lasts: seconds(5), outage: None });
    }

    #[test]
    fn a_plan_that_cannot_be_shown_is_refused_in_words() {
        for (lasts, outage, expected) in [
            (seconds(1), None, "--for: at least 2s"),
            (None, seconds(0), "--outage: at least 1s"),
            (seconds(10), seconds(10), "--outage 10s must be shorter than --for 10s"),
            (seconds(60), seconds(61), "--outage 61s must be shorter than --for 1min"),
        ] {
            let text = Plan::new(lasts, outage).unwrap_err();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn the_summary_has_these_keys_and_no_other() {
        let summary =
            Summary { readings: 3, delivered: 2, lost: 1, duplicates: 4, outages: 1, outage_seconds: 5.5 };
        assert_eq!(
            serde_json::to_string(&summary).unwrap(),
            r#"{"readings":3,"delivered":2,"lost":1,"duplicates":4,"outages":1,"outage_seconds":5.5}"#
        );
    }
}
