//! The composition root: opens the store, makes the machines, starts the threads and tasks, stops them in order.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc as answers, oneshot, watch};
use tokio::task::{JoinHandle as Task, LocalSet, spawn_local};
use tracing::{error, info, warn};

use crate::bridge::{self, Backlog, Bridge};
use crate::broker::{self, Broker};
use crate::config::{Config, Upstream};
use crate::io::clock::{self, Clock};
use crate::io::control;
use crate::io::files;
use crate::io::listener::ListenerStatus;
use crate::io::mailbox::Mailbox;
use crate::io::pump::{self, Access};
use crate::io::reporter::{self, Reporter};
use crate::io::serial;
use crate::io::shard::{self, FromBroker, ToBroker};
use crate::io::store_task::{self, Answer, Job};
use crate::io::transport::Target;
use crate::io::upstream::{self, SharedBridge};
use crate::limits::{CONNECTIONS_REFUSED_AT_ONCE_MAX, HANDOVER_BYTES_MAX};
use crate::message::OutboxId;
use crate::reading::Run;
use crate::sensor::Port;
use crate::store::{self, OutboxState, Store, StoreError};
use crate::time::BootId;

/// Upstreams get this long to commit, say goodbye and disconnect.
const UPSTREAM_STOP_MAX: Duration = Duration::from_secs(8);
/// The store gets this long to close.
const STORE_STOP_MAX: Duration = Duration::from_secs(2);

/// Runs a gateway until `stop` completes; the calling thread becomes the service thread. A clean stop commits
/// what is in memory and publishes `offline`.
///
/// # Errors
/// In words: another gateway has the data directory, or a thread can't be started or has died.
pub fn run(config: Config, stop: impl Future<Output = ()>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("can't start: {error}"))?;
    // Name lookups are all that uses the pool of blocking threads; a hanging one must not hold up the end.
    let result = LocalSet::new().block_on(&runtime, async { Gateway::start(config)?.serve(stop).await });
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// A running gateway.
struct Gateway {
    config: Arc<Config>,
    reporter: Rc<Reporter>,
    pump: Task<()>,
    broker: Arc<Mailbox<ToBroker>>,
    from_broker: Arc<Mailbox<FromBroker>>,
    broker_thread: Watched,
    store_thread: Watched,
    jobs: mpsc::Sender<Job>,
    changed: Rc<Notify>,
    stop_sensors: watch::Sender<bool>,
    stop_upstreams: watch::Sender<bool>,
    sensors: Vec<Task<()>>,
    upstreams: Vec<Task<()>>,
}

/// A thread, and word of its end.
struct Watched {
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

/// What the start finds out before anything runs.
struct Ground {
    clock: Clock,
    boot: BootId,
    run: Run,
    instance: Arc<str>,
    store: Result<Store, String>,
    outboxes: Vec<OutboxState>,
    /// The broker's state as it was kept; `None` if it is not.
    state: Option<Vec<(Vec<u8>, Bytes)>>,
}

impl Gateway {
    fn start(config: Config) -> Result<Self, String> {
        let config = Arc::new(config);
        let mut ground = Ground::find(&config)?;
        let started = ground.clock.now();
        let (broker, from_broker) =
            (Arc::new(Mailbox::new(HANDOVER_BYTES_MAX)), Arc::new(Mailbox::new(HANDOVER_BYTES_MAX)));
        let forwards_dropped = Arc::new(AtomicU64::new(0));
        let listeners = Arc::new(Mutex::new(listener_statuses(&config)));
        let access = Access::open(&config, &ground.clock)?;
        let machine = make_broker(&config, &access, &mut ground);
        let (answer_senders, answer_receivers): (Vec<_>, Vec<_>) =
            config.upstreams.iter().map(|_| answers::unbounded_channel()).unzip();
        let store_error = ground.store.as_ref().err().cloned();
        let (stop_sensors, stopping_sensors) = watch::channel(false);
        let (stop_upstreams, stopping_upstreams) = watch::channel(false);
        let changed = Rc::new(Notify::new());
        let readings_dropped = Rc::new(Cell::new(0));
        let Ground { clock, boot, run, instance, store, outboxes, .. } = ground;
        let bridges = make_bridges(&config, &clock, boot, run, &instance, &outboxes);
        let (jobs, store_thread) = store_task::spawn(store, answer_senders, broker.clone(), clock.clone())
            .map_err(|error| format!("can't start the store thread: {error}"))?;
        let store_thread = watch_store(store_thread)?;
        let shared = BrokerShared { inbox: &broker, outbox: &from_broker, jobs: &jobs, clock: &clock };
        let broker_thread = start_broker(&config, machine, shared, &listeners, &forwards_dropped)?;
        let ports = make_ports(&config, &clock, boot, run);
        let sensors = config.ports.iter().zip(&ports).map(|(port, machine)| {
            spawn_local(serial::run(serial::Setup {
                config: port.clone(),
                machine: machine.clone(),
                base: config.gateway.base_topic.clone(),
                boot,
                broker: broker.clone(),
                clock: clock.clone(),
                changed: changed.clone(),
                stop: stopping_sensors.clone(),
                dropped: readings_dropped.clone(),
            }))
        });
        let sensors = sensors.collect();
        let upstreams = start_upstreams(
            &config,
            bridges.clone(),
            answer_receivers,
            &upstream_shared(&jobs, &broker, &clock, &changed, &stopping_upstreams),
        );
        let reporter = Rc::new(Reporter {
            gateway: config.gateway.id.clone(),
            site: config.gateway.site.clone(),
            base: config.gateway.base_topic.clone(),
            run: run.0,
            instance: instance.to_string(),
            started,
            ports,
            bridges: bridges.into_iter().map(|(bridge, _)| bridge).collect(),
            listeners,
            broker: broker.clone(),
            jobs: jobs.clone(),
            access_errors: access.errors.clone(),
            store_error,
            readings_dropped,
            forwards_dropped,
            data_dir: config.gateway.data_dir.clone(),
            clock,
        });
        let pump = start_pump(access, &from_broker, &reporter, &changed);
        Ok(Self {
            config,
            reporter,
            pump,
            broker,
            from_broker,
            broker_thread,
            store_thread,
            jobs,
            changed,
            stop_sensors,
            stop_upstreams,
            sensors,
            upstreams,
        })
    }

    async fn serve(mut self, stop: impl Future<Output = ()>) -> Result<(), String> {
        info!(
            gateway = self.config.gateway.id,
            version = env!("CARGO_PKG_VERSION"),
            run = self.reporter.run,
            base = %self.config.gateway.base_topic,
            "started"
        );
        let reporting = spawn_local(reporter::run(
            self.reporter.clone(),
            self.config.health.every,
            self.changed.clone(),
            self.stop_sensors.subscribe(),
        ));
        let control = match control::bind(&self.config.gateway.control_socket) {
            Ok(socket) => Some(spawn_local(control::serve(socket, self.reporter.clone()))),
            Err(error) => {
                error!(error, "no control socket; set gateway.control_socket to a path that can be written");
                None
            }
        };
        let result = tokio::select! {
            () = stop => Ok(()),
            _ = &mut self.broker_thread.ended => Err("the broker thread has died"),
            _ = &mut self.store_thread.ended => Err("the store thread has died"),
        };
        info!("stopping");
        if let Some(control) = control {
            control.abort();
        }
        self.stop().await;
        reporting.abort();
        result.map_err(str::to_owned)
    }

    /// Stops in the order of the data: sensors first, then what they fed.
    async fn stop(self) {
        self.stop_sensors.send_replace(true);
        for sensor in self.sensors {
            // A task that panicked has told so; the others still stop in order.
            let _ = sensor.await;
        }
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

impl Ground {
    /// Opens the store. Without one the gateway runs from memory and says so: it always starts.
    fn find(config: &Config) -> Result<Self, String> {
        let clock = Clock::new(config.time.trust);
        let now = clock.now().wall;
        let settings = store::Config { outbox_bytes_max: config.buffer.max_size };
        let opened = Store::open(&config.gateway.data_dir, settings, now);
        if let Err(error @ StoreError::Locked { .. }) = &opened {
            return Err(error.to_string());
        }
        let mut store = opened.map_err(|error| {
            error!(%error, "readings are kept in memory only until this is mended and the gateway restarted");
            error.to_string()
        });
        let mut outboxes = Vec::new();
        for (index, upstream) in config.upstreams.iter().enumerate() {
            let Ok(open) = &mut store else { break };
            match open.open_outbox(outbox_id(index), &upstream.name) {
                Ok(state) => outboxes.push(state),
                Err(error) => {
                    error!(upstream = %upstream.name, %error, "the outbox can't be opened; readings are kept in memory only");
                    store = Err(error.to_string());
                }
            }
        }
        if store.is_err() {
            outboxes.clear();
        }
        let (run, instance) = match &store {
            Ok(store) => (store.run(), Arc::from(store.instance())),
            // Seconds since 1970: larger than any count of starts, and never the same twice.
            Err(_) => (Run(u64::try_from(now.as_millis() / 1_000).unwrap_or(0)), Arc::from(random_id())),
        };
        outboxes.resize_with(config.upstreams.len(), OutboxState::default);
        let state = match &mut store {
            Ok(store) if config.broker.persistence => store.open_state().map_err(|error| {
                error!(%error, "sessions and retained messages are kept in memory only until this is mended and the gateway restarted");
            }).ok(),
            _ => None,
        };
        Ok(Self { clock, boot: clock::boot_id(), run, instance, store, outboxes, state })
    }
}

fn random_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

fn outbox_id(index: usize) -> OutboxId {
    OutboxId(u16::try_from(index).unwrap_or(u16::MAX))
}

fn listener_statuses(config: &Config) -> Vec<ListenerStatus> {
    let status = |listener: &crate::config::Listener| ListenerStatus {
        name: listener.name.clone(),
        address: listener.bind.clone(),
        error: None,
    };
    config.listeners.iter().map(status).collect()
}

/// The broker with the state that was kept; without a place to keep it, all of it stays in memory.
fn make_broker(config: &Config, access: &Access, ground: &mut Ground) -> Broker {
    let settings = broker::Config {
        acl: access.acl.clone(),
        persistence: ground.state.is_some(),
        ..config.broker.clone()
    };
    let mut broker = Broker::new(settings, fastrand::u64(..));
    if let Some(entries) = ground.state.take() {
        broker.restore(entries, ground.clock.now());
    }
    broker
}

/// What ties the broker thread to the others.
struct BrokerShared<'a> {
    inbox: &'a Arc<Mailbox<ToBroker>>,
    outbox: &'a Arc<Mailbox<FromBroker>>,
    jobs: &'a mpsc::Sender<Job>,
    clock: &'a Clock,
}

fn start_broker(
    config: &Config,
    broker: Broker,
    shared: BrokerShared<'_>,
    status: &Arc<Mutex<Vec<ListenerStatus>>>,
    forwards_dropped: &Arc<AtomicU64>,
) -> Result<Watched, String> {
    let setup = shard::Setup {
        broker,
        listeners: config.listeners.clone(),
        connections_max: config.broker.connections_max + CONNECTIONS_REFUSED_AT_ONCE_MAX,
        out_buffer_bytes_max: config.broker.out_buffer_bytes_max,
        sys_interval: config.broker.sys_interval,
        clock: shared.clock.clone(),
        inbox: shared.inbox.clone(),
        outbox: shared.outbox.clone(),
        store: Some(shared.jobs.clone()),
        status: status.clone(),
        forwards_dropped: forwards_dropped.clone(),
    };
    let (end, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("fg-broker".into())
        .spawn(move || {
            // Dropped at the end, also by a panic.
            let _end = end;
            if let Err(error) = shard::run(setup) {
                error!(%error, "the broker thread can't run");
            }
        })
        .map_err(|error| format!("can't start the broker thread: {error}"))?;
    Ok(Watched { thread, ended })
}

fn start_pump(
    access: Access,
    from_broker: &Arc<Mailbox<FromBroker>>,
    reporter: &Reporter,
    changed: &Rc<Notify>,
) -> Task<()> {
    spawn_local(pump::run(pump::Setup {
        from_broker: from_broker.clone(),
        broker: reporter.broker.clone(),
        bridges: reporter.bridges.clone(),
        clock: reporter.clock.clone(),
        access,
        changed: changed.clone(),
    }))
}

/// Word of the store thread's end, from a thread that does nothing but wait for it.
fn watch_store(thread: JoinHandle<()>) -> Result<Watched, String> {
    let (end, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("fg-store-watch".into())
        .stack_size(64 * 1024)
        .spawn(move || {
            let _end = end;
            // A panic has been printed by then.
            let _ = thread.join();
        })
        .map_err(|error| format!("can't start a thread: {error}"))?;
    Ok(Watched { thread, ended })
}

fn make_ports(config: &Config, clock: &Clock, boot: BootId, run: Run) -> Vec<Rc<RefCell<Port>>> {
    let port = |port: &crate::sensor::PortConfig| {
        let devices = config.devices.iter().filter(|device| device.port == port.name).cloned().collect();
        let machine = Port::new(port.clone(), devices, run, boot, fastrand::u64(..), clock.now());
        Rc::new(RefCell::new(machine))
    };
    config.ports.iter().map(port).collect()
}

fn make_bridges(
    config: &Config,
    clock: &Clock,
    boot: BootId,
    run: Run,
    instance: &Arc<str>,
    outboxes: &[OutboxState],
) -> Vec<(SharedBridge, Target)> {
    let bridge = |(upstream, outbox): (&Upstream, &OutboxState)| {
        let (password, secret_error) = match upstream.password.as_ref().map(files::secret) {
            Some(Ok(secret)) => (Some(secret), None),
            Some(Err(error)) => {
                error!(upstream = %upstream.name, error, "the upstream's password can't be read");
                (None, Some(format!("the password can't be read: {error}")))
            }
            None => (None, None),
        };
        let backlog = Backlog {
            acked: outbox.acked,
            last: outbox.last,
            records: outbox.records,
            bytes: outbox.bytes,
            oldest: outbox.oldest,
        };
        let settings = bridge::Config {
            name: upstream.name.clone(),
            base: config.gateway.base_topic.clone(),
            run,
            boot,
            instance: instance.clone(),
            client_id: upstream.client_id.clone(),
            version: upstream.version,
            user_name: upstream.user_name.clone(),
            password,
            keep_alive: upstream.keep_alive,
            connect_timeout: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(30),
            session_expiry: Duration::from_secs(3_600),
            inflight_max: upstream.inflight_max,
            backoff_min: upstream.backoff_min,
            backoff_max: upstream.backoff_max,
            backoff_refused_max: Duration::from_secs(15 * 60),
            stable_after: Duration::from_secs(60),
            maps: upstream.maps.clone(),
            commit_interval: config.buffer.commit_interval,
            memory_bytes_max: config.buffer.memory,
        };
        let machine = Bridge::new(settings, backlog, fastrand::u64(..), clock.now());
        let shared = SharedBridge { machine: Rc::new(RefCell::new(machine)), bell: Rc::new(Notify::new()) };
        let target = Target {
            host: upstream.host.clone(),
            port: upstream.port,
            tls: upstream.tls.clone(),
            secret_error,
        };
        (shared, target)
    };
    config.upstreams.iter().zip(outboxes).map(bridge).collect()
}

/// What all upstream tasks share.
struct UpstreamShared {
    jobs: mpsc::Sender<Job>,
    broker: Arc<Mailbox<ToBroker>>,
    clock: Clock,
    changed: Rc<Notify>,
    stop: watch::Receiver<bool>,
}

fn upstream_shared(
    jobs: &mpsc::Sender<Job>,
    broker: &Arc<Mailbox<ToBroker>>,
    clock: &Clock,
    changed: &Rc<Notify>,
    stop: &watch::Receiver<bool>,
) -> UpstreamShared {
    UpstreamShared {
        jobs: jobs.clone(),
        broker: broker.clone(),
        clock: clock.clone(),
        changed: changed.clone(),
        stop: stop.clone(),
    }
}

fn start_upstreams(
    config: &Config,
    bridges: Vec<(SharedBridge, Target)>,
    answers: Vec<answers::UnboundedReceiver<Answer>>,
    shared: &UpstreamShared,
) -> Vec<Task<()>> {
    let start = |(index, ((bridge, target), answers)): (usize, ((SharedBridge, Target), _))| {
        let name =
            config.upstreams.get(index).map_or_else(|| Arc::from(""), |upstream| upstream.name.clone());
        spawn_local(upstream::run(upstream::Setup {
            name,
            outbox: outbox_id(index),
            bridge,
            target,
            jobs: shared.jobs.clone(),
            answers,
            broker: shared.broker.clone(),
            clock: shared.clock.clone(),
            changed: shared.changed.clone(),
            stop: shared.stop.clone(),
        }))
    };
    bridges.into_iter().zip(answers).enumerate().map(start).collect()
}
