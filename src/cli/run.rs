//! `fieldgate run`: the gateway itself.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;

use super::{DEFAULT_CONFIG, check, complain};
use crate::app;
use crate::config::LogLevel;

/// Arguments of `fieldgate run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config file; the *.toml files of conf.d beside it are read as well.
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// How much is logged, whatever the config says.
    #[arg(long, value_enum, value_name = "LEVEL")]
    log: Option<Level>,
    /// Log each packet of the broker's clients, without payloads; the same as --log debug.
    #[arg(short, long, conflicts_with = "log")]
    verbose: bool,
}

/// The levels by the names that the config uses.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Runs until SIGTERM or SIGINT.
pub fn execute(args: &Args) -> ExitCode {
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(text) => {
            complain(text);
            return ExitCode::from(2);
        }
    };
    let level = if args.verbose { Some(Level::Debug) } else { args.log };
    start_log(level.map_or_else(|| filter(config.log.level), Level::filter));
    match app::run(config, stop_signal()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

/// Lines for people on a terminal; without time and colour where another program (journald) adds its own.
fn start_log(level: LevelFilter) {
    use std::io::IsTerminal;
    let terminal = std::io::stderr().is_terminal();
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(terminal);
    // Only the first start in a process can set it; in a demo that is enough.
    let _ = if journal { log.without_time().try_init() } else { log.try_init() };
}

async fn stop_signal() {
    // SIGHUP makes listeners read their certificates again; without a handler it would end the process.
    let _hangup = signal(SignalKind::hangup());
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process at once: nothing to wait for.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

impl Level {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
