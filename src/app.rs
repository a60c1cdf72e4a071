//! The composition root: opens the store, makes the machines, starts the threads and tasks, stops them in order.

mod discovery;
mod gpio;
mod ground;
mod lineup;
mod readings;
mod registry;
mod reload;
mod supervised;
#[cfg(test)]
mod tests;
mod threads;
mod upstreams;
mod wanted;
mod web;

use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc as answers, oneshot, watch};
use tokio::task::{JoinHandle as Task, LocalSet, spawn_local};
use tracing::{error, info, warn};

use crate::broker::{self, Broker};
use crate::config::Config;
use crate::events::Events;
use crate::io::admission::Access;
use crate::io::commands::CommandDesk;
use crate::io::config_mqtt::{self, RemoteDesk};
use crate::io::control;
use crate::io::descriptors;
use crate::io::journal::Journal;
use crate::io::listener::ListenerStatus;
use crate::io::live::Live;
use crate::io::log::Logs;
use crate::io::mailbox::Mailbox;
use crate::io::operations::Desk;
use crate::io::page_orders::PageOrders;
use crate::io::panics::Panics;
use crate::io::passwords::Order;
use crate::io::pid_file::PidFile;
use crate::io::provisioned;
use crate::io::pump;
use crate::io::reporter::{self, Reporter};
use crate::io::shard::{FromBroker, ToBroker};
use crate::io::source::Sources;
use crate::io::store_task::{Job, StoreHandle};
use crate::io::supervisor;
use crate::limits::HANDOVER_BYTES_MAX;

use gpio::{LinesTask, make_lines};
use ground::Ground;
use lineup::Constants;
use registry::Registry;
use reload::Reloader;
use supervised::Supervised;
use threads::{BrokerShared, Watched, start_broker, start_store, watch_store};
use upstreams::Upstreams;

pub use reload::Origin;

/// Upstreams get this long to commit, say goodbye and disconnect.
const UPSTREAM_STOP_MAX: Duration = Duration::from_secs(8);
/// A change of the config that is under way gets this long.
const RELOAD_STOP_MAX: Duration = Duration::from_secs(10);
/// The store gets this long to close.
const STORE_STOP_MAX: Duration = Duration::from_secs(2);
/// Requests to read the config again that wait for one that is under way; further ones are told to come back.
const RELOADS_WAITING_MAX: usize = 4;

/// Runs a gateway until `stop` completes; the calling thread becomes the service thread. A clean stop commits
/// what is in memory and publishes `offline`. With an `origin` the config is read again at SIGHUP and on request; `logs`
/// is what the control socket shows and changes.
///
/// # Errors
/// In words: another gateway has the data directory, or a thread can't be started or has died.
pub fn run(
    config: Config,
    origin: Option<Origin>,
    logs: Option<Logs>,
    stop: impl Future<Output = ()>,
) -> Result<End, String> {
    descriptors::raise_limit();
    // Removed at the very end.
    let mut pid_file = config.gateway.pid_file.as_deref().map(PidFile::take).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("can't start: {error}"))?;
    // Name lookups and files of drivers are all that uses the pool of blocking threads; a hanging one must not hold up
    // the end.
    let result = LocalSet::new().block_on(&runtime, async {
        // From here on a signal waits for the gateway instead of ending it.
        let hangup = origin.as_ref().and_then(|_| signal(SignalKind::hangup()).ok());
        let gateway = Gateway::start(config, logs)?;
        if let Some(Err(error)) = pid_file.as_mut().map(PidFile::fill) {
            error!(error, "the pid file stays empty");
        }
        gateway.serve(origin.zip(Some(hangup)), stop).await
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// Why a gateway has ended that did as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Whoever started it wanted so.
    Asked,
    /// Somebody wants it to be started again.
    Restart,
}

/// A running gateway.
struct Gateway {
    /// What it was started with.
    config: Arc<Config>,
    registry: Rc<Registry>,
    pump: Task<()>,
    /// To the pump.
    changes: answers::UnboundedSender<pump::Change>,
    broker: Arc<Mailbox<ToBroker>>,
    broker_thread: Watched,
    store_thread: Watched,
    jobs: mpsc::Sender<Job>,
    changed: Rc<Notify>,
    stop_sensors: watch::Sender<bool>,
    keeping: Task<()>,
    supervised: Supervised,
    /// To the password thread, for the page.
    orders: mpsc::Sender<Order>,
    claim_file: Option<PathBuf>,
}

impl Gateway {
    #[expect(clippy::too_many_lines, reason = "a list of what is made, in the order in which it is needed")]
    fn start(config: Config, logs: Option<Logs>) -> Result<Self, String> {
        let config = Arc::new(config);
        let mut ground = Ground::find(&config)?;
        let started = ground.clock.now();
        let (broker, from_broker) = (handover(), handover());
        let (panics, forwards_dropped) = (Arc::new(Panics::new()), Arc::new(AtomicU64::new(0)));
        let listeners = Arc::new(Mutex::new(listener_statuses(&config)));
        let access = Access::open(&config, &ground.clock)?;
        let machine = make_broker(&config, &access, &mut ground);
        let orders = access.orders();
        let (people, page, claim_file) = web::people(&config, &ground.clock);
        let left_behind = readings::left_behind(&config, &machine);
        let (channels, answers) = upstreams::channels(&config);
        let (store_error, volatile_state) = ground.errors();
        let Ground { clock, boot, run, instance, store, outboxes, notes, moved_from, .. } = ground;
        let supervised = Supervised::new();
        let StoreHandle { jobs, thread, status: disk } =
            start_store(store, answers, &broker, &clock, &supervised.store)?;
        let store_thread = watch_store(thread)?;
        let shared = BrokerShared {
            inbox: &broker,
            outbox: &from_broker,
            jobs: &jobs,
            clock: &clock,
            panics: &panics,
            beat: &supervised.broker,
        };
        let broker_thread = start_broker(&config, machine, shared, &listeners, &forwards_dropped)?;
        let constants = Constants { clock: clock.clone(), boot, run, instance };
        let (lines, kept) = make_lines(&config, &constants);
        let changed = Rc::new(Notify::new());
        let base = config.gateway.base_topic.clone();
        let events = Arc::new(Mutex::new(Events::default()));
        let journal = Journal::new(events.clone(), clock.clone());
        let desk = CommandDesk::new(base, broker.clone(), clock.clone(), changed.clone(), journal);
        let (remote, remote_requests) =
            RemoteDesk::new(config.gateway.base_topic.clone(), broker.clone(), clock.clone());
        remote.allow(&config.changes.mqtt_upstreams);
        let reporter = Rc::new(Reporter {
            told_ends: RefCell::default(),
            gateway: config.gateway.id.clone(),
            site: RefCell::new(config.gateway.site.clone()),
            base: config.gateway.base_topic.clone(),
            run: run.0,
            boot,
            instance: constants.instance.to_string(),
            started,
            sources: Sources::default(),
            scans: Rc::default(),
            gpio: lines,
            sim: Rc::default(),
            desk: Rc::new(desk),
            links: Rc::default(),
            listeners,
            broker: broker.clone(),
            jobs: jobs.clone(),
            access_errors: access.errors.clone(),
            lan_users: access.users.clone(),
            store_error,
            provisioned: provisioned::note(&config.gateway.data_dir).as_ref().map(provisioned::words),
            moved_from,
            volatile_state,
            disk,
            readings: OnceCell::new(),
            readings_dropped: Rc::default(),
            forwards_dropped,
            data_dir: config.gateway.data_dir.clone(),
            reload: RefCell::default(),
            changes: OnceCell::new(),
            changed: changed.clone(),
            clock,
            logs,
            panics,
            live: Rc::new(Live::new(config.web.enabled)),
            events,
            people,
            page,
            remote: Rc::new(remote),
            page_orders: PageOrders::default(),
            restart: Rc::default(),
        });
        let upstreams = Upstreams::new(constants.clone(), upstreams::shared(&reporter), outboxes.len());
        upstreams.start(&config, channels, (&outboxes, &notes));
        let readings = readings::make_readings(&config, left_behind, boot, &reporter);
        let (stop_sensors, stopping) = watch::channel(false);
        let keeping = spawn_local(crate::io::readings::run(readings.clone(), stopping.clone()));
        let (changes, new_configs) = answers::unbounded_channel();
        let pump = start_pump(access, new_configs, &from_broker, &reporter);
        spawn_local(config_mqtt::run(remote_requests, Rc::downgrade(&reporter)));
        let lines = LinesTask::start(&config, kept, &readings, &reporter, &stopping);
        let fed = (reporter, from_broker);
        let registry = Rc::new(Registry::start(&config, constants, upstreams, (lines, readings), fed));
        Ok(Self {
            config,
            registry,
            pump,
            changes,
            broker,
            broker_thread,
            store_thread,
            jobs,
            changed,
            stop_sensors,
            keeping,
            supervised,
            orders,
            claim_file,
        })
    }

    /// Tells that it runs: in the log, and among the events.
    fn tell_start(&self, reporter: &Reporter) {
        info!(
            gateway = self.config.gateway.id,
            version = env!("CARGO_PKG_VERSION"),
            run = reporter.run,
            base = %self.config.gateway.base_topic,
            "started"
        );
        reporter.journal().note(
            "started",
            None,
            format!("fieldgate {}, run {}", env!("CARGO_PKG_VERSION"), reporter.run),
        );
    }

    async fn serve(
        mut self,
        origin: Option<(Origin, Option<Signal>)>,
        stop: impl Future<Output = ()>,
    ) -> Result<End, String> {
        let reporter = self.registry.reporter.clone();
        self.tell_start(&reporter);
        let health_every = watch::Sender::new(self.config.health.every);
        let reporting = spawn_local({
            let reporter = reporter.clone();
            let (every, changed) = (health_every.subscribe(), self.changed.clone());
            let stop = self.stop_sensors.subscribe();
            let run = move |reporter| reporter::run(reporter, every.clone(), changed.clone(), stop.clone());
            async move { reporter.panics.keep("health", || run(reporter.clone())).await }
        });
        let (reload, requests) = answers::channel(RELOADS_WAITING_MAX);
        let (stop_reloading, stopping) = watch::channel(false);
        let reloading = origin.map(|(origin, hangup)| {
            reporter.begin_changes(&origin.file, origin.error.clone(), reload.clone());
            let reloader = Reloader {
                origin,
                started: self.config.clone(),
                running: Config::clone(&self.config),
                registry: self.registry.clone(),
                reporter: reporter.clone(),
                changes: self.changes.clone(),
                health_every,
                announced: discovery::begin(&self.config, &reporter),
            };
            spawn_local(reloader.run(hangup, requests, stopping))
        });
        let logging = reporter.logs.clone().map(|logs| {
            logs.attach(&self.broker);
            spawn_local(logs.keep())
        });
        let desk = Desk::new(reporter.clone(), reload);
        let (stop_page, page_stops) = watch::channel(false);
        let page = web::start(
            &self.config,
            desk.clone(),
            &reporter,
            self.orders.clone(),
            self.claim_file.take(),
            page_stops,
            self.supervised.web.clone(),
        );
        let control = start_control(&self.config, desk);
        let supervised = spawn_local(self.supervised.clone().run(self.broker.clone(), self.jobs.clone()));
        let result = tokio::select! {
            () = stop => Ok(End::Asked),
            () = reporter.restart.notified() => Ok(End::Restart),
            () = reporter.panics.too_many() => Err("it had to stop after panics; the log tells where"),
            _ = &mut self.broker_thread.ended => Err("the broker thread has died"),
            _ = &mut self.store_thread.ended => Err("the store thread has died"),
        };
        info!("stopping");
        supervisor::stopping();
        stop_page.send_replace(true);
        for task in [control, Some(supervised)].into_iter().flatten() {
            task.abort();
        }
        stop_reloading.send_replace(true);
        end_reloading(reloading).await;
        drop(reporter);
        self.stop().await;
        if let Some(page) = page {
            // It has ended long since; a panic in it has been told.
            let _ = page.join();
        }
        for task in [Some(reporting), logging].into_iter().flatten() {
            task.abort();
        }
        result.map_err(str::to_owned)
    }

    /// Stops in the order of the data: sensors first, then what they fed.
    async fn stop(self) {
        let registry = self.registry;
        self.stop_sensors.send_replace(true);
        registry.lineup.end(&[]).await;
        registry.lines.end().await;
        let _ = self.keeping.await;
        registry.readings.stop();
        // What the sensors had handed over is routed, then put into the outboxes.
        let (routed, wait) = oneshot::channel();
        self.broker.force(ToBroker::Sync(routed));
        let _ = tokio::time::timeout(UPSTREAM_STOP_MAX, wait).await;
        let _ = tokio::time::timeout(UPSTREAM_STOP_MAX, registry.from_broker.emptied()).await;
        registry.reporter.publish_lan_status(false, "stopped");
        if tokio::time::timeout(UPSTREAM_STOP_MAX, registry.upstreams.end_all()).await.is_err() {
            warn!("an upstream or the store did not stop in time");
        }
        self.broker.force(ToBroker::Stop);
        let _ = self.broker_thread.thread.join();
        self.pump.abort();
        drop(registry);
        drop(self.jobs);
        // The last batch of the broker's state is on its way, or was given up.
        let closed = async {
            while !self.store_thread.thread.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(STORE_STOP_MAX, closed).await.is_err() {
            warn!("the store did not close in time");
        }
        info!("stopped");
    }
}

/// Answers at the control socket, where there can be one.
fn start_control(config: &Config, desk: Desk) -> Option<Task<()>> {
    match control::bind(&config.gateway.control_socket) {
        Ok(socket) => Some(spawn_local(control::serve(socket, desk))),
        Err(error) => {
            error!(error, "no control socket; set gateway.control_socket to a path that can be written");
            None
        }
    }
}

/// A change that is under way is carried through: what it has taken apart is then put together, and stopped in order.
async fn end_reloading(reloading: Option<Task<()>>) {
    if let Some(mut reloading) = reloading
        && tokio::time::timeout(RELOAD_STOP_MAX, &mut reloading).await.is_err()
    {
        warn!("a change of the config was cut short");
        reloading.abort();
    }
}

/// The way between the broker thread and the service thread.
fn handover<T>() -> Arc<Mailbox<T>> {
    Arc::new(Mailbox::new(HANDOVER_BYTES_MAX))
}

fn listener_statuses(config: &Config) -> Vec<ListenerStatus> {
    let status = |listener: &crate::config::Listener| ListenerStatus {
        name: listener.name.clone(),
        address: listener.bind.clone(),
        transport: listener.transport(),
        error: None,
        dates: Vec::new(),
    };
    config.listeners.iter().map(status).collect()
}

/// The broker with the state that was kept; without a place to keep it, all of it stays in memory.
fn make_broker(config: &Config, access: &Access, ground: &mut Ground) -> Broker {
    let settings = broker::Config {
        acl: access.rules.common.clone(),
        own_rules: access.rules.own.clone(),
        persistence: ground.state.is_some(),
        ..config.broker.clone()
    };
    let mut broker = Broker::new(settings, fastrand::u64(..));
    if let Some(entries) = ground.state.take() {
        broker.restore(entries, ground.clock.now());
    }
    broker
}

fn start_pump(
    access: Access,
    changes: answers::UnboundedReceiver<pump::Change>,
    from_broker: &Arc<Mailbox<FromBroker>>,
    reporter: &Reporter,
) -> Task<()> {
    spawn_local(pump::run(pump::Setup {
        from_broker: from_broker.clone(),
        broker: reporter.broker.clone(),
        links: reporter.links.clone(),
        desk: reporter.desk.clone(),
        remote: reporter.remote.clone(),
        clock: reporter.clock.clone(),
        access,
        changes,
        changed: reporter.changed.clone(),
        panics: reporter.panics.clone(),
    }))
}
