//! Another config while the gateway runs, at SIGHUP or when the control socket asks: read, checked and prepared as a
//! whole before anything of it counts. What counts when is decided in [`crate::config::reload`].

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::registry::Registry;
use super::upstreams;
use crate::broker::{self, ListenerId, Reconfigure};
use crate::config::reload::{Plan, effective, plan};
use crate::config::{self, Config, Listener, Mistake};
use crate::io::admission::NewAccess;
use crate::io::discovery::Discovery;
use crate::io::doors::Wanted;
use crate::io::files;
use crate::io::lock::Locked;
use crate::io::operations::{Reload, Reloaded};
use crate::io::pump::Change;
use crate::io::reporter::Reporter;
use crate::io::server_tls::Keys;
use crate::io::shard::{Reconfiguration, ToBroker};
use crate::io::supervisor;

/// Mistakes of a broken config that are logged; `fieldgate check` tells all.
const MISTAKES_LOGGED_MAX: usize = 20;

/// Where the config came from, so that it can be read again.
pub struct Origin {
    /// The main file.
    pub file: PathBuf,
    /// Why what runs isn't what is there.
    pub error: Option<String>,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Carries other configs to those whom they concern.
#[derive(Debug)]
pub(super) struct Reloader {
    pub(super) origin: Origin,
    /// What the gateway was started with.
    pub(super) started: Arc<Config>,
    /// What runs.
    pub(super) running: Config,
    pub(super) registry: Rc<Registry>,
    pub(super) reporter: Rc<Reporter>,
    /// To the pump.
    pub(super) changes: mpsc::UnboundedSender<Change>,
    /// To the reporter's task.
    pub(super) health_every: watch::Sender<Duration>,
    /// What neighbours are told.
    pub(super) announced: Discovery,
}

/// A config that only needs to be put to use.
struct Prepared {
    config: Config,
    plan: Plan,
    access: NewAccess,
    upstreams: upstreams::Prepared,
    listeners: Vec<(Listener, Option<Keys>)>,
    moved: Vec<Option<ListenerId>>,
    /// Whether the page has something to use.
    web: bool,
}

impl Reloader {
    /// Reads the config again at each signal and each request, one after the other.
    /// A change that is under way when the gateway stops is carried through.
    pub(super) async fn run(
        mut self,
        mut hangup: Option<Signal>,
        mut requests: mpsc::Receiver<Reload>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            let request = tokio::select! {
                () = hung_up(&mut hangup) => None,
                Some(request) = requests.recv() => Some(request),
                _ = stop.wait_for(|stop| *stop) => return,
            };
            if request.is_some() {
                // At the signal listeners do so by themselves.
                self.reporter.broker.force(ToBroker::ReadCertificates);
            }
            let outcome = self.reload().await;
            if let Some(request) = request {
                // Whoever asked may have gone.
                let _ = request.send(outcome);
            }
        }
    }

    async fn reload(&mut self) -> Reloaded {
        supervisor::reloading();
        let outcome = match self.prepare().await {
            Ok(prepared) => self.apply(prepared).await,
            Err(mistakes) => refused(mistakes),
        };
        self.reporter.note_reload(&outcome);
        if let (true, Some(desk)) = (outcome.mistakes.is_empty(), self.reporter.changes.get()) {
            desk.read_again().await;
        }
        supervisor::ready();
        outcome
    }

    /// Everything that can fail. Nothing is in use until it has all gone well.
    async fn prepare(&self) -> Result<Prepared, Vec<String>> {
        let file = self.origin.file.clone();
        let (started, running) = (self.started.clone(), self.running.settings.clone());
        let read = spawn_blocking(move || {
            let sources = files::config_sources(&file).map_err(|error| vec![error])?;
            let profiles = files::profile_sources(&sources).map_err(|error| vec![error])?;
            let words = |mistakes: Vec<Mistake>| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>();
            let facts = files::facts();
            let config = config::parse_with(&sources, &profiles, &facts).map_err(words)?;
            let plan = plan(&started.settings, &running, &config.settings);
            let config = effective(&started, config, &sources, &profiles, &facts).map_err(words)?;
            let access = NewAccess::read(&config)?;
            Ok((config, plan, access))
        });
        let (config, plan, access) =
            read.await.unwrap_or_else(|error| Err(vec![format!("the config can't be read: {error}")]))?;
        let moved = moved(&self.running.listeners, &config.listeners);
        let is_new = |place: usize| !moved.iter().flatten().any(|moved| usize::from(moved.0) == place);
        let mut listeners = Vec::new();
        let mut wanted = Vec::new();
        for (place, listener) in config.listeners.iter().enumerate() {
            let mut keys = None;
            if is_new(place) {
                wanted.push(Wanted { name: listener.name.clone(), bind: listener.bind.clone() });
                if let Some(tls) = &listener.tls {
                    let open = Keys::open(tls).await;
                    keys = Some(open.map_err(|error| vec![format!("listener {}: {error}", listener.name)])?);
                }
            }
            listeners.push((listener.clone(), keys));
        }
        let web = config.web != self.running.web;
        if web {
            self.reporter.page_orders.prepare(&config.web).await.map_err(|error| vec![error])?;
        }
        let upstreams =
            self.registry.prepare(&config).await.inspect_err(|_| self.reporter.page_orders.abandon())?;
        // The last thing that can fail: from here on the sockets are there.
        if let Err(error) = self.bind(wanted, &moved).await {
            self.registry.upstreams.abandon(upstreams);
            self.reporter.page_orders.abandon();
            return Err(vec![error]);
        }
        Ok(Prepared { config, plan, access, upstreams, listeners, moved, web })
    }

    async fn bind(&self, wanted: Vec<Wanted>, moved: &[Option<ListenerId>]) -> Result<(), String> {
        let closing = moved.iter().enumerate().filter(|(_, to)| to.is_none()).map(|(place, _)| place);
        let (answer, bound) = oneshot::channel();
        self.reporter.broker.force(ToBroker::Bind { wanted, closing: closing.collect(), answer });
        bound.await.unwrap_or_else(|_| Err("the gateway is stopping".to_owned()))
    }

    async fn apply(&mut self, prepared: Prepared) -> Reloaded {
        let Prepared { config, plan, access, upstreams, listeners, moved, web } = prepared;
        let begun = self.registry.begin(&config, upstreams);
        let (done, disconnected) = oneshot::channel();
        let reconfiguration = Box::new(Reconfiguration {
            // The users come from `access`, at the moment when they count.
            broker: Reconfigure {
                config: broker::Config { forward: begun.forward.clone(), ..config.broker.clone() },
                moved,
                users: Default::default(),
                own_users: Default::default(),
            },
            listeners,
            done,
        });
        if self.changes.send(Change { access, reconfiguration }).is_err() {
            return refused(vec!["the gateway is stopping".to_owned()]);
        }
        let disconnected = disconnected.await.unwrap_or_default();
        let reopened = self.registry.finish(&config, begun).await;
        // Named one by one, so that a new section can't be forgotten here.
        let Config {
            gateway,
            time,
            log,
            health,
            broker: _,
            listeners: _,
            users: _,
            password_file: _,
            acl_file: _,
            own_access: _,
            web: page,
            // Told below, with the listeners.
            discovery: _,
            // See `registry`.
            buffer: _,
            ports: _,
            devices: _,
            publish: _,
            gpio: _,
            execs: _,
            files: _,
            upstreams: _,
            changes,
            settings: _,
        } = &config;
        self.reporter.site.replace(gateway.site.clone());
        self.reporter.clock.set_trust(time.trust);
        self.reporter.remote.allow(&changes.mqtt_upstreams);
        self.reporter.people.locked().set_spans(page.session_idle, page.session_max);
        if web {
            self.reporter.page_orders.use_prepared();
        }
        // Unchanged, it leaves alone what was set while the gateway runs.
        if plan.live.iter().any(|path| path.starts_with("log."))
            && let Some(logs) = &self.reporter.logs
            && let Err(error) = logs.apply(log)
        {
            error!(error, "the log stays as it was");
        }
        self.health_every.send_replace(health.every);
        self.announced.tell(super::discovery::wanted(&config));
        self.running = config;
        let outcome = Reloaded {
            applied: plan.applied(),
            reopened,
            next_start: plan.next_start,
            disconnected,
            mistakes: Vec::new(),
        };
        let (changed, reopened) = (outcome.applied.join(", "), outcome.reopened.join(", "));
        info!(changed, reopened, disconnected, "config read again");
        if !outcome.next_start.is_empty() {
            warn!(changed = outcome.next_start.join(", "), "takes effect at the next start");
        }
        outcome
    }
}

fn refused(mistakes: Vec<String>) -> Reloaded {
    for mistake in mistakes.iter().take(MISTAKES_LOGGED_MAX) {
        error!(mistake, "the config on disk can't be used");
    }
    let more = mistakes.len().saturating_sub(MISTAKES_LOGGED_MAX);
    error!(
        mistakes = mistakes.len(),
        not_shown = more,
        "nothing was changed; the config read before it stays"
    );
    Reloaded { mistakes, ..Reloaded::default() }
}

/// For each listener until now its new place, if it is the same in all that the shell does; its policy may differ.
fn moved(old: &[Listener], new: &[Listener]) -> Vec<Option<ListenerId>> {
    let place = |listener: &Listener| {
        let place = new.iter().position(|other| other == listener)?;
        u16::try_from(place).ok().map(ListenerId)
    };
    old.iter().map(place).collect()
}

async fn hung_up(signal: &mut Option<Signal>) {
    if let Some(hangup) = signal
        && hangup.recv().await.is_some()
    {
        return;
    }
    // There will be no more.
    *signal = None;
    std::future::pending().await
}
