//! What the gateway says of itself: from `tracing` to all destinations of `[log]`. Whoever logs waits for nothing: a
//! line is put into the bounded queue of each destination, whose own thread writes it. A destination that fails is
//! counted, told at the others, and tried again.

mod damper;
mod datagram;
mod file;
mod levels;
mod line;
mod recent;
mod recorder;
mod stream;
mod topic;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::Instant;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, registry};

use self::levels::Levels;
use self::line::Style;
use self::recorder::{Hub, Recorder};
use self::topic::Post;
use self::worker::{Destination, Worker};
use super::mailbox::Mailbox;
use super::shard::ToBroker;
use crate::config::{Log, LogLevel, LogTo};

pub use recent::Wanted;

/// The last lines get this long to be written when the gateway stops.
const FINISH_MAX: Duration = Duration::from_secs(1);

/// The log of this process. Clones are the same log.
#[derive(Clone, Debug)]
pub struct Logs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hub: Arc<Hub>,
    filter: reload::Handle<Targets, Registry>,
    post: Arc<Post>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Log,
    levels: Levels,
}

impl Logs {
    /// Starts the log of this process; `level` holds instead of the config's. The first in a process counts.
    ///
    /// # Errors
    /// In words: there is one already, or a thread can't be started.
    pub fn start(config: &Log, level: Option<LogLevel>) -> Result<Self, String> {
        let levels = Levels::new(config, level);
        let (filter, handle) = reload::Layer::new(levels.targets());
        let hub = Arc::new(Hub::new());
        let logs = Self {
            shared: Arc::new(Shared {
                hub: hub.clone(),
                filter: handle,
                post: Arc::default(),
                state: Mutex::new(State { config: config.clone(), levels }),
            }),
        };
        hub.set_workers(logs.workers(config)?);
        registry()
            .with(filter)
            .with(Recorder::new(hub))
            .try_init()
            .map_err(|error| format!("can't start the log: {error}"))?;
        Ok(logs)
    }

    /// Does what a changed config says. Levels that were set by [`Logs::set`] stay until their time is over.
    ///
    /// # Errors
    /// In words, if a thread can't be started; then all is as before.
    pub fn apply(&self, config: &Log) -> Result<(), String> {
        let mut state = self.state();
        let destinations_before = Log {
            level: config.level,
            levels: config.levels.clone(),
            events: config.events.clone(),
            ..state.config.clone()
        };
        // A file that stays isn't opened anew, and no counter starts again, for a changed level.
        if *config != destinations_before {
            self.shared.hub.set_workers(self.workers(config)?);
        }
        state.levels.configure(config);
        state.config = config.clone();
        self.filter(&state);
        Ok(())
    }

    /// Sets levels of subsystems by name until they are set again, or for a time.
    ///
    /// # Errors
    /// In words, naming what isn't known; then nothing is changed.
    pub fn set(&self, wanted: &[(String, String)], for_time: Option<Duration>) -> Result<(), String> {
        let mut state = self.state();
        state.levels.set(wanted, for_time.map(|time| Instant::now() + time))?;
        self.filter(&state);
        drop(state);
        let names: Vec<String> = wanted.iter().map(|(name, level)| format!("{name}={level}")).collect();
        let for_s = for_time.map(|time| time.as_secs());
        tracing::info!(levels = names.join(" "), for_s, "log levels were set");
        Ok(())
    }

    /// Takes back all that [`Logs::set`] has set.
    pub fn reset(&self) {
        let mut state = self.state();
        state.levels.reset();
        self.filter(&state);
        drop(state);
        tracing::info!("log levels are as configured again");
    }

    /// Does what is due: levels whose time is over, and what was held back in a storm.
    pub fn tick(&self) {
        let mut state = self.state();
        let over = state.levels.expire(Instant::now());
        if over {
            self.filter(&state);
        }
        drop(state);
        if over {
            tracing::info!("log levels are as before: their time is over");
        }
        self.shared.hub.tick();
    }

    /// Ticks every second, until dropped.
    pub async fn keep(self) {
        let mut turn = tokio::time::interval(Duration::from_secs(1));
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            self.tick();
        }
    }

    /// Opens the file anew, for a program that has put it aside.
    pub fn reopen(&self) {
        self.shared.hub.reopen();
    }

    /// Where lines go that are to be published.
    pub fn attach(&self, broker: &Arc<Mailbox<ToBroker>>) {
        self.shared.post.attach(broker);
    }

    /// Levels and destinations, for people.
    #[must_use]
    pub fn describe(&self) -> Json {
        let state = self.state();
        json!({ "levels": state.levels.describe(Instant::now()), "destinations": self.shared.hub.describe() })
    }

    /// The last lines that are wanted, the oldest first.
    #[must_use]
    pub fn recent(&self, wanted: &Wanted) -> Json {
        let all = self.shared.hub.recent().all();
        recent::answer(&all, wanted)
    }

    /// All lines that are kept.
    #[must_use]
    pub fn everything(&self) -> Json {
        let all = self.shared.hub.recent().all();
        recent::everything(&all)
    }

    /// Waits a little until everything is written.
    pub fn finish(&self) {
        self.shared.hub.tick();
        self.shared.hub.flush(FINISH_MAX);
    }

    fn filter(&self, state: &State) {
        // Fails only if the subscriber is gone, and then nobody logs.
        let _ = self.shared.filter.reload(state.levels.targets());
    }

    fn workers(&self, config: &Log) -> Result<Vec<Worker>, String> {
        let style = Style { format: config.format, time: config.timestamp.clone() };
        let worker = |to: &LogTo| {
            let style = style.clone();
            let destination: Box<dyn Destination> = match to {
                LogTo::Stderr => Box::new(stream::Stream::stderr(style)),
                LogTo::Stdout => Box::new(stream::Stream::stdout(style)),
                LogTo::Journald => Box::new(datagram::Journal::new(&config.journal_socket)),
                LogTo::Syslog => Box::new(datagram::Syslog::new(&config.syslog)),
                LogTo::File => Box::new(file::File::new(&config.file, style)),
                LogTo::Topic => Box::new(topic::Topic::new(self.shared.post.clone(), style)),
            };
            Worker::spawn(to.name(), destination, &self.shared.hub)
        };
        config.to.iter().map(worker).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
