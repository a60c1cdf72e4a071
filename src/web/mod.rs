//! The page that people look at and set the gateway up with, and its API under `/api/v1`. A thread of its own with a
//! runtime of its own, so that neither a TLS handshake nor a large table delays a sensor or the broker. It knows the
//! gateway only by what it is given: operations are asked for through a bounded channel ([`crate::io::operations`]), live
//! values come through another ([`crate::io::live`]), accounts and sessions are a machine behind a lock
//! ([`crate::people`]).
//!
//! Every request passes [`guard`](self) in one order: host, session or token, claim and role, the own page, size; then
//! its route answers. [`routes::all`] is the one table of routes: router, description and tests come from it.
//!
//! # How to add …
//!
//! - **an operation** of the gateway: a variant of [`crate::io::operations::Operation`], a row in `OPERATIONS` (name, role,
//!   arguments it takes), an arm in `Desk::answer`; what it does goes in a file of `io/operations/`. A new argument is a
//!   field of `Request` and stands in `Request::given`. The control socket and the web have it then.
//! - **a route**: a row in the table of its subject, a file of `routes/`. `Answer::Operation` for what an operation answers as it is; `Answer::Own` for
//!   a function `async fn(Call) -> Result<Reply, Refusal>` of your file. `query` and `body` name what it takes. The tests
//!   of who may what walk the table: nothing else is to be done for them.
//! - **a page**: a row with `Answer::Page`, a row in [`pages::PAGES`] (the menu shows it as soon as the route is there), a
//!   file in `pages/` with a `#[derive(Template)]` struct that has `frame: Frame`, a template in `templates/` that begins
//!   with `{% extends "base.html" %}` and fills `content`. [`pages::Frame::of`] makes the frame from the call. A form that
//!   posts JSON needs no script: see `data-post` in `assets/app.js`.
//! - **a text**: a line in each file of `texts/`, under the page's table; `{{ frame.t.say("status.title") }}` in templates,
//!   `fill` where it has `{words}` to fill in. Texts for the script stand under `[script]`, and are what `word` gives there. A
//!   test compares languages and looks for keys that nobody uses, so keys stand in the code as whole literals.
//! - **a refusal**: `said!` ([`mod@crate::said`]) with a code and English words where it is said, in the gateway's operations too, and
//!   the other languages' words in their table `[said]`. The API tells code and values beside the words. Words that come from
//!   elsewhere (the system, a library, mistakes in the config) stay as they are: so they are the same in form, text and log.
//! - **an operation that takes a while**: [`progress::told`](self) answers whoever wants lines with each step; the script
//!   asks with `steps` of `app.js`, and shows with `patience` how long it takes and how it is stopped.
//! - **a live value**: `data-live="device/point"` shows a point's value, `data-status="a.0.b"` a value of the summary
//!   (`health/page.rs`), `data-at="<time>"` how long ago that was.
//! - **a script of a page**: a file in `assets/` and a row in [`assets`](self)' table; it imports `./app.js`. Put
//!   `{% block script %}` into the template.
//! - **a chart**: [`chart`] draws SVG from numbers; styles are classes in `app.css`, since nothing may stand inline.
//! - **a browser test**: a script in `tests/web/`, started by a test of `tests/page.rs` through its harness.

mod accounts;
mod api;
mod assets;
mod broker;
mod call;
mod certificate;
pub mod chart;
pub mod claim;
mod config_api;
mod doors;
mod events;
mod form;
mod guard;
mod lines;
mod machine;
mod metrics;
pub mod openapi;
pub mod pages;
mod patient;
mod plant;
mod progress;
mod reply;
pub mod routes;
mod send_on;
mod server;
pub mod texts;
mod topics;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, broadcast, mpsc, watch};
use tokio::time::Instant;
use tracing::error;

use crate::config;
use crate::events::{Event, Events};
use crate::health::Page;
use crate::io::clock::Clock;
use crate::io::live;
use crate::io::lock::Locked;
use crate::io::operations::Asker;
use crate::io::own_names;
use crate::io::page_orders::PageOrder;
use crate::io::panics::Panics;
use crate::io::passwords::Order;
use crate::io::supervisor::Beat;
use crate::people::People;
use crate::people::claim::Own;
use crate::people::origin::Names;
use doors::{DoorId, Unsettled};
use texts::Texts;

pub use accounts::{file as accounts_file, read as read_accounts};

/// The stack of the thread: templates and TLS are deep.
const STACK_BYTES: usize = 1024 * 1024;

/// The addresses of this machine are looked up again after this.
const ADDRESSES_FOR: Duration = Duration::from_secs(5);

/// What the page is given, and all requests share.
#[derive(Debug)]
pub struct Given {
    /// The gateway's id.
    pub gateway: String,
    /// The folder of accounts and certificate, inside of the data directory.
    pub folder: PathBuf,
    /// Where the file with the claim code is, if there is one.
    pub claim_file: Option<PathBuf>,
    /// To the service thread.
    pub asker: Asker,
    /// What changes.
    pub live: broadcast::Sender<live::Event>,
    /// Who may.
    pub people: Arc<Mutex<People>>,
    /// What has happened.
    pub events: Arc<Mutex<Events>>,
    /// How the page does.
    pub page: Arc<Mutex<Page>>,
    /// To the password thread.
    pub orders: std::sync::mpsc::Sender<Order>,
    /// The clocks.
    pub clock: Clock,
    /// Who catches panics.
    pub panics: Arc<Panics>,
}

/// What the config says, as it is now.
#[derive(Debug)]
struct Current {
    config: config::Web,
    names: Names,
    texts: Texts,
}

impl Current {
    fn of(config: config::Web) -> Self {
        let host = Some(own_names::host_name().to_ascii_lowercase()).filter(|name| !name.is_empty());
        let names = Names { host, listed: config.hosts.clone() };
        Self { texts: Texts::load(&config.texts_dir), names, config }
    }
}

/// What all requests share: what the page was given, and what it has come to since.
#[derive(Debug)]
pub struct Web {
    given: Given,
    current: Mutex<Arc<Current>>,
    /// A change of the page's addresses that may be taken back, and what counted before it.
    unsettled: Mutex<Option<(Unsettled, Arc<Current>)>>,
    /// Says that the config has other names.
    renamed: Notify,
    /// The doors by which somebody may be in.
    doors: watch::Sender<Vec<DoorId>>,
    addresses: Mutex<(Option<Instant>, Arc<[Own]>)>,
    /// Passwords that are being hashed or wait for it.
    hashing: Semaphore,
    /// Whether the gateway was ready, and when that was asked.
    readiness: Mutex<Option<(Instant, bool)>>,
    /// Streams of events, by who looks on.
    streams: Mutex<BTreeMap<String, usize>>,
}

impl Deref for Web {
    type Target = Given;

    fn deref(&self) -> &Given {
        &self.given
    }
}

impl Web {
    fn new(given: Given, config: config::Web) -> Self {
        Self {
            given,
            current: Mutex::new(Arc::new(Current::of(config))),
            unsettled: Mutex::default(),
            renamed: Notify::new(),
            doors: watch::Sender::default(),
            addresses: Mutex::new((None, Arc::from([]))),
            hashing: Semaphore::new(accounts::HASHING_MAX),
            readiness: Mutex::default(),
            streams: Mutex::default(),
        }
    }

    /// What the config says now.
    fn current(&self) -> Arc<Current> {
        self.current.locked().clone()
    }

    /// Another config counts from now on.
    fn use_config(&self, config: config::Web, unsettled: Option<Unsettled>) {
        let next = Arc::new(Current::of(config));
        let before = std::mem::replace(&mut *self.current.locked(), next);
        *self.unsettled.locked() = unsettled.map(|unsettled| (unsettled, before));
        self.renamed.notify_waiters();
    }

    /// Nothing is taken back any more.
    fn settled(&self) {
        *self.unsettled.locked() = None;
    }

    /// Whether a `Host` is this gateway: by the names that count, and those that did before a change that isn't settled.
    fn is_called(&self, host: &str, own: &[IpAddr]) -> bool {
        let before = self.unsettled.locked().as_ref().map(|(_, before)| before.clone());
        self.current().names.has(host, own) || before.is_some_and(|before| before.names.has(host, own))
    }

    /// Whether whoever asks so would still be there if the change stayed; else where he has to come from.
    fn may_confirm(&self, door: DoorId, host: &str) -> Result<(), Option<SocketAddr>> {
        let Some((unsettled, _)) = self.unsettled.locked().clone() else { return Ok(()) };
        let own: Vec<_> = self.addresses().iter().map(|(address, _)| *address).collect();
        if unsettled.may_confirm(door) && self.current().names.has(host, &own) {
            return Ok(());
        }
        Err(unsettled.new.map(|(_, address)| address))
    }

    /// When that door is closed; where the page is then.
    async fn closes(&self, door: DoorId) -> SocketAddr {
        let mut doors = self.doors.subscribe();
        // It ends only with the page, and with that whoever waits.
        let _ = doors.wait_for(|open| !open.contains(&door)).await;
        self.current().config.bind
    }

    /// The addresses of this machine, as they were a few seconds ago at most.
    fn addresses(&self) -> Arc<[Own]> {
        let mut known = self.addresses.locked();
        if known.0.is_none_or(|at| at.elapsed() > ADDRESSES_FOR) {
            *known = (Some(Instant::now()), Arc::from(own_names::addresses()));
        }
        known.1.clone()
    }

    /// Tells people what has happened: in the log, and on the page.
    fn note(&self, mut event: Event) {
        event.cut();
        let Event { kind, who, address, detail } = &event;
        let (who, address) = (who.as_deref().unwrap_or_default(), address.as_deref().unwrap_or_default());
        tracing::info!(kind, who, address, detail, "page");
        self.events.locked().add(self.clock.now(), event);
    }
}

/// Starts the page's thread, which ends at `stop`. `orders` are what the service thread says when another config counts.
///
/// # Errors
/// If the thread can't be started.
pub fn start(
    given: Given,
    config: config::Web,
    orders: mpsc::UnboundedReceiver<PageOrder>,
    stop: watch::Receiver<bool>,
    beat: Beat,
) -> std::io::Result<JoinHandle<()>> {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Files of certificates are read by it, nothing else.
            .max_blocking_threads(1)
            .thread_stack_size(128 * 1024)
            .build();
        match runtime {
            Ok(runtime) => {
                let serve = server::serve(Arc::new(Web::new(given, config)), orders, stop);
                runtime.block_on(async {
                    tokio::select! {
                        () = serve => {}
                        () = beat.steadily() => {}
                    }
                });
                runtime.shutdown_timeout(Duration::from_millis(100));
            }
            Err(error) => error!(%error, "there is no page: it can't be started"),
        }
    };
    std::thread::Builder::new().name("fg-web".into()).stack_size(STACK_BYTES).spawn(run)
}

/// An address of the page as its script takes it: one that is every interface is null.
fn place(at: SocketAddr) -> serde_json::Value {
    let address = Some(at.ip()).filter(|ip| !ip.is_unspecified());
    serde_json::json!({"port": at.port(), "address": address})
}

/// Whether two secrets are the same, in a time that doesn't tell where they differ.
fn same(one: &str, other: &str) -> bool {
    use subtle::ConstantTimeEq;
    one.as_bytes().ct_eq(other.as_bytes()).into()
}
