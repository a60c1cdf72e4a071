//! The composition root: opens the store, makes the machines, starts the threads and tasks, stops them in order.

mod gpio;
mod ground;
mod readings;
mod reload;
mod sources;
#[cfg(test)]
mod tests;
mod threads;
mod upstreams;

use std::cell::{OnceCell, RefCell};
use std::future::Future;
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
use crate::io::admission::Access;
use crate::io::bus;
use crate::io::clock::Clock;
use crate::io::commands::CommandDesk;
use crate::io::control;
use crate::io::descriptors;
use crate::io::listener::ListenerStatus;
use crate::io::log::Logs;
use crate::io::mailbox::Mailbox;
use crate::io::panics::Panics;
use crate::io::pid_file::PidFile;
use crate::io::pump;
use crate::io::readings::Readings;
use crate::io::reporter::{self, Reporter};
use crate::io::serial;
use crate::io::shard::{FromBroker, ToBroker};
use crate::io::store_task::{Job, StoreHandle};
use crate::limits::HANDOVER_BYTES_MAX;
use crate::reading::Run;
use crate::sensor::{Bus, DeviceConfig, Port, PortConfig, PortKind};
use crate::time::BootId;

use gpio::{make_lines, start_lines};
use ground::Ground;
use reload::Reloader;
use threads::{BrokerShared, Watched, start_broker, start_store, watch_store};
use upstreams::{answer_channels, make_bridges, start_upstreams, upstream_shared};

pub use reload::Origin;

/// Upstreams get this long to commit, say goodbye and disconnect.
const UPSTREAM_STOP_MAX: Duration = Duration::from_secs(8);
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
) -> Result<(), String> {
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

/// A running gateway.
struct Gateway {
    config: Arc<Config>,
    reporter: Rc<Reporter>,
    pump: Task<()>,
    /// To the pump.
    changes: answers::UnboundedSender<pump::Change>,
    broker: Arc<Mailbox<ToBroker>>,
    from_broker: Arc<Mailbox<FromBroker>>,
    broker_thread: Watched,
    store_thread: Watched,
    jobs: mpsc::Sender<Job>,
    changed: Rc<Notify>,
    stop_sensors: watch::Sender<bool>,
    stop_upstreams: watch::Sender<bool>,
    sensors: Vec<Task<()>>,
    readings: Rc<Readings>,
    keeping: Task<()>,
    upstreams: Vec<Task<()>>,
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
        let left_behind = readings::left_behind(&config, &machine);
        let (answer_senders, answer_receivers) = answer_channels(&config);
        let (store_error, volatile_state) = ground.errors();
        let (stop_sensors, stopping_sensors) = watch::channel(false);
        let (stop_upstreams, stopping_upstreams) = watch::channel(false);
        let changed = Rc::new(Notify::new());
        let Ground { clock, boot, run, instance, store, outboxes, notes, .. } = ground;
        let bridges = make_bridges(&config, &clock, boot, run, &instance, &outboxes, &notes);
        let StoreHandle { jobs, thread, status: disk } = start_store(store, answer_senders, &broker, &clock)?;
        let store_thread = watch_store(thread)?;
        let shared = BrokerShared {
            inbox: &broker,
            outbox: &from_broker,
            jobs: &jobs,
            clock: &clock,
            panics: &panics,
        };
        let broker_thread = start_broker(&config, machine, shared, &listeners, &forwards_dropped)?;
        let (lines, kept) = make_lines(&config, &clock, boot, run);
        let base = config.gateway.base_topic.clone();
        let desk = CommandDesk::new(base, broker.clone(), clock.clone(), changed.clone());
        let sources = sources::make(&config, &clock, boot, run);
        let upstreams = start_upstreams(
            &config,
            bridges.clone(),
            answer_receivers,
            &upstream_shared(&jobs, &broker, &clock, &changed, &stopping_upstreams, &panics),
        );
        let reporter = Rc::new(Reporter {
            told_ends: RefCell::default(),
            gateway: config.gateway.id.clone(),
            site: RefCell::new(config.gateway.site.clone()),
            base: config.gateway.base_topic.clone(),
            run: run.0,
            instance: instance.to_string(),
            started,
            ports: make_ports(&config, &clock, boot, run),
            buses: make_buses(&config, &clock, boot, run),
            gpio: lines,
            sim: Rc::default(),
            desk: Rc::new(desk),
            sources,
            bridges: bridges.into_iter().map(|(bridge, _)| bridge).collect(),
            listeners,
            broker: broker.clone(),
            jobs: jobs.clone(),
            access_errors: access.errors.clone(),
            store_error,
            volatile_state,
            disk,
            readings: OnceCell::new(),
            readings_dropped: Rc::default(),
            forwards_dropped,
            data_dir: config.gateway.data_dir.clone(),
            reload: RefCell::default(),
            changed: changed.clone(),
            clock,
            logs,
            panics,
        });
        let readings = readings::make_readings(&config, left_behind, boot, &reporter);
        let _ = reporter.readings.set(readings.clone());
        let keeping = spawn_local(crate::io::readings::run(readings.clone(), stopping_sensors.clone()));
        let mut sensors = start_sensors(&config, &readings, &reporter, &stopping_sensors);
        sensors.push(start_lines(&config, &readings, kept, &reporter, &stopping_sensors));
        let (changes, new_configs) = answers::unbounded_channel();
        let pump = start_pump(access, new_configs, &from_broker, &reporter);
        Ok(Self {
            config,
            reporter,
            pump,
            changes,
            broker,
            from_broker,
            broker_thread,
            store_thread,
            jobs,
            changed,
            stop_sensors,
            stop_upstreams,
            sensors,
            readings,
            keeping,
            upstreams,
        })
    }

    async fn serve(
        mut self,
        origin: Option<(Origin, Option<Signal>)>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), String> {
        info!(
            gateway = self.config.gateway.id,
            version = env!("CARGO_PKG_VERSION"),
            run = self.reporter.run,
            base = %self.config.gateway.base_topic,
            "started"
        );
        let health_every = watch::Sender::new(self.config.health.every);
        let reporting = spawn_local({
            let reporter = self.reporter.clone();
            let (every, changed) = (health_every.subscribe(), self.changed.clone());
            let stop = self.stop_sensors.subscribe();
            let run = move |reporter| reporter::run(reporter, every.clone(), changed.clone(), stop.clone());
            async move { reporter.panics.keep("health", || run(reporter.clone())).await }
        });
        let (reload, requests) = answers::channel(RELOADS_WAITING_MAX);
        let reloading = origin.map(|(origin, hangup)| {
            let reloader = Reloader {
                origin,
                started: self.config.clone(),
                running: Config::clone(&self.config),
                reporter: self.reporter.clone(),
                changes: self.changes.clone(),
                health_every,
            };
            spawn_local(reloader.run(hangup, requests))
        });
        let logging = self.reporter.logs.clone().map(|logs| {
            logs.attach(&self.broker);
            spawn_local(logs.keep())
        });
        let control = match control::bind(&self.config.gateway.control_socket) {
            Ok(socket) => Some(spawn_local(control::serve(socket, self.reporter.clone(), reload))),
            Err(error) => {
                error!(error, "no control socket; set gateway.control_socket to a path that can be written");
                None
            }
        };
        let result = tokio::select! {
            () = stop => Ok(()),
            () = self.reporter.panics.too_many() => Err("it had to stop after panics; the log tells where"),
            _ = &mut self.broker_thread.ended => Err("the broker thread has died"),
            _ = &mut self.store_thread.ended => Err("the store thread has died"),
        };
        info!("stopping");
        for task in [control, reloading].into_iter().flatten() {
            task.abort();
        }
        self.stop().await;
        for task in [Some(reporting), logging].into_iter().flatten() {
            task.abort();
        }
        result.map_err(str::to_owned)
    }

    /// Stops in the order of the data: sensors first, then what they fed.
    async fn stop(self) {
        self.stop_sensors.send_replace(true);
        for sensor in self.sensors {
            // A task that panicked has told so; the others still stop in order.
            let _ = sensor.await;
        }
        let _ = self.keeping.await;
        self.readings.stop();
        // What the sensors had handed over is routed, then put into the outboxes.
        let (routed, wait) = oneshot::channel();
        self.broker.force(ToBroker::Sync(routed));
        let _ = tokio::time::timeout(UPSTREAM_STOP_MAX, wait).await;
        let _ = tokio::time::timeout(UPSTREAM_STOP_MAX, self.from_broker.emptied()).await;
        self.reporter.publish_lan_status(false, "stopped");
        self.stop_upstreams.send_replace(true);
        let all = async {
            for upstream in self.upstreams {
                let _ = upstream.await;
            }
        };
        if tokio::time::timeout(UPSTREAM_STOP_MAX, all).await.is_err() {
            warn!("an upstream or the store did not stop in time");
        }
        let at_risk: u64 = self
            .reporter
            .bridges
            .iter()
            .map(|bridge| bridge.machine.borrow().status(self.reporter.clock.now()).unsafe_records)
            .sum();
        if at_risk > 0 {
            error!(records = at_risk, "stopped with records that could not be written to the store");
        }
        self.broker.force(ToBroker::Stop);
        let _ = self.broker_thread.thread.join();
        self.pump.abort();
        drop(self.readings);
        drop(self.reporter);
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

/// The way between the broker thread and the service thread.
fn handover<T>() -> Arc<Mailbox<T>> {
    Arc::new(Mailbox::new(HANDOVER_BYTES_MAX))
}

fn listener_statuses(config: &Config) -> Vec<ListenerStatus> {
    let status = |listener: &crate::config::Listener| ListenerStatus {
        name: listener.name.clone(),
        address: listener.bind.clone(),
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
        bridges: reporter.bridges.clone(),
        desk: reporter.desk.clone(),
        clock: reporter.clock.clone(),
        access,
        changes,
        changed: reporter.changed.clone(),
        panics: reporter.panics.clone(),
    }))
}

/// The devices of a port, and whether they are asked. A port without devices is opened, and listened to.
fn devices_of(config: &Config, port: &PortConfig) -> (Vec<DeviceConfig>, bool) {
    let devices: Vec<_> = config.devices.iter().filter(|device| device.port == port.name).cloned().collect();
    let is_polled = port.kind == PortKind::Tcp || devices.iter().any(|device| device.poll.is_some());
    (devices, is_polled)
}

/// The machines of the ports whose devices send by themselves, each with its place in the config.
fn make_ports(config: &Config, clock: &Clock, boot: BootId, run: Run) -> Vec<(usize, Rc<RefCell<Port>>)> {
    let port = |(index, port): (usize, &PortConfig)| {
        let (devices, is_polled) = devices_of(config, port);
        let machine = || Port::new(port.clone(), devices, run, boot, fastrand::u64(..), clock.now());
        (!is_polled).then(|| (index, Rc::new(RefCell::new(machine()))))
    };
    config.ports.iter().enumerate().filter_map(port).collect()
}

/// The machines of the ports whose devices are asked.
fn make_buses(config: &Config, clock: &Clock, boot: BootId, run: Run) -> Vec<(usize, Rc<RefCell<Bus>>)> {
    let bus = |(index, port): (usize, &PortConfig)| {
        let (devices, is_polled) = devices_of(config, port);
        let machine = || Bus::new(port.clone(), devices, run, boot, fastrand::u64(..), clock.now());
        is_polled.then(|| (index, Rc::new(RefCell::new(machine()))))
    };
    config.ports.iter().enumerate().filter_map(bus).collect()
}

fn start_sensors(
    config: &Config,
    readings: &Rc<Readings>,
    reporter: &Reporter,
    stop: &watch::Receiver<bool>,
) -> Vec<Task<()>> {
    let common = sources::common(readings, reporter, stop);
    let port = |(index, machine): &(usize, Rc<RefCell<Port>>)| {
        let (machine, common) = (machine.clone(), common.clone());
        let config = config.ports.get(*index)?.clone();
        Some(spawn_local(serial::run(serial::Setup { config, machine, common })))
    };
    let bus = |(index, machine): &(usize, Rc<RefCell<Bus>>)| {
        let (machine, common) = (machine.clone(), common.clone());
        let config = config.ports.get(*index)?.clone();
        Some(spawn_local(bus::run(bus::Setup { config, machine, common })))
    };
    let ports = reporter.ports.iter().filter_map(port);
    let lines = ports.chain(reporter.buses.iter().filter_map(bus));
    lines.chain(sources::start(config, &common, reporter)).collect()
}
