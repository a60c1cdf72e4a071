//! `fieldgate run`: the gateway itself. Exit codes: 0 stopped as asked, 1 failed, 2 wrong arguments or config, 74 the
//! store hung (`io::store_watch`): a supervisor should start it again, whatever the code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use super::{DEFAULT_CONFIG, check, complain};
use crate::app;
use crate::config::LogLevel;
use crate::io::allocator;
use crate::io::log::Logs;

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
    allocator::settle();
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(text) => {
            complain(text);
            return ExitCode::from(2);
        }
    };
    let level = if args.verbose { Some(Level::Debug) } else { args.log };
    let logs = match Logs::start(&config.log, level.map(Level::level)) {
        Ok(logs) => Some(logs),
        Err(error) => {
            // What the gateway does matters more than what it says.
            complain(error);
            None
        }
    };
    let origin = app::Origin { file: args.config.clone() };
    let result = app::run(config, Some(origin), logs.clone(), stop_signal(logs.clone()));
    if let Some(logs) = logs {
        logs.finish();
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

/// Waits for SIGTERM or SIGINT.
async fn stop_signal(logs: Option<Logs>) {
    let (Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::hangup()), signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process at once: nothing to wait for.
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => return,
            _ = interrupt.recv() => return,
            // Listeners read their certificates again by handlers of their own.
            Some(()) = hangup.recv() => {
                if let Some(logs) = &logs {
                    logs.reopen();
                }
            }
        }
    }
}

impl Level {
    const fn level(self) -> LogLevel {
        match self {
            Self::Error => LogLevel::Error,
            Self::Warn => LogLevel::Warn,
            Self::Info => LogLevel::Info,
            Self::Debug => LogLevel::Debug,
            Self::Trace => LogLevel::Trace,
        }
    }
}
