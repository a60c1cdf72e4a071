//! `fieldgate run`: the gateway itself. Exit codes: 0 stopped as asked, 1 failed, 2 wrong arguments or config, 74 the
//! store hung (`io::store_watch`), 75 somebody asked on the page that it be started again: a supervisor should start it
//! again, whatever the code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use super::{DEFAULT_CONFIG, complain};
use crate::app::{self, End};
use crate::config::LogLevel;
use crate::io::allocator;
use crate::io::config_start::{self, Beginning};
use crate::io::log::Logs;

/// The exit code of a gateway that is to be started again (sysexits.h: EX_TEMPFAIL).
const RESTART: u8 = 75;

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
    /// Don't start with the last good config where the one on disk can't be used.
    #[arg(long)]
    strict: bool,
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
    let Beginning { config, error, news } = match config_start::load(&args.config, args.strict) {
        Ok(beginning) => beginning,
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
    for news in news {
        warn!(news, "config at the start");
    }
    let origin = app::Origin { file: args.config.clone(), error };
    let result = app::run(config, Some(origin), logs.clone(), stop_signal(logs.clone()));
    if let Some(logs) = logs {
        logs.finish();
    }
    match result {
        Ok(End::Asked) => ExitCode::SUCCESS,
        Ok(End::Restart) => ExitCode::from(RESTART),
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
