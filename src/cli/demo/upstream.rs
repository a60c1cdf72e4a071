//! The upstream broker: our own broker on a thread of its own, without outboxes and without users.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::task::{JoinHandle as Task, spawn_local};

use crate::broker::{Broker, Config, ListenerPolicy};
use crate::config::{Bind, Listener, TimeTrust};
use crate::io::clock::Clock;
use crate::io::listener::ListenerStatus;
use crate::io::mailbox::Mailbox;
use crate::io::panics::Panics;
use crate::io::shard::{self, FromBroker, ToBroker};
use crate::io::supervisor::Beat;
use crate::limits::{CONNECTIONS_REFUSED_AT_ONCE_MAX, HANDOVER_BYTES_MAX};

/// The thread must listen within this.
const START_MAX: Duration = Duration::from_secs(5);

/// Messages and bytes that may wait for the subscriber should it be away: hours of the demo's sensors. Worst
/// memory: these bytes, for each of the few clients.
const QUEUE_MESSAGES_MAX: usize = 500_000;
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The running broker; stopped when dropped.
#[derive(Debug)]
pub(super) struct Upstream {
    address: SocketAddr,
    inbox: Arc<Mailbox<ToBroker>>,
    answering: Task<()>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    /// Starts it on a free loopback port.
    ///
    /// # Errors
    /// In words.
    pub(super) async fn start() -> Result<Self, String> {
        let name: Arc<str> = Arc::from("demo-upstream");
        let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config {
            // Its own topics are not those of any gateway.
            base: Arc::from("demo-upstream"),
            listeners: vec![ListenerPolicy {
                name: name.clone(),
                allow_anonymous: true,
                ..ListenerPolicy::default()
            }],
            queue_messages_max: QUEUE_MESSAGES_MAX,
            queue_bytes_max: QUEUE_BYTES_MAX,
            persistence: false,
            ..Config::default()
        };
        let (inbox, outbox) =
            (Arc::new(Mailbox::new(HANDOVER_BYTES_MAX)), Arc::new(Mailbox::new(HANDOVER_BYTES_MAX)));
        let listening = ListenerStatus {
            name: name.clone(),
            address: Bind::Tcp(bind),
            transport: "TCP",
            error: None,
            dates: Vec::new(),
        };
        let status = Arc::new(Mutex::new(vec![listening]));
        let setup = shard::Setup {
            panics: Arc::new(Panics::new()),
            beat: Beat::unwatched("demo"),
            connections_max: config.connections_max + CONNECTIONS_REFUSED_AT_ONCE_MAX,
            out_buffer_bytes_max: config.out_buffer_bytes_max,
            sys_interval: Duration::ZERO,
            broker: Broker::new(config, fastrand::u64(..)),
            listeners: vec![Listener::plain(name, bind)],
            clock: Clock::new(TimeTrust::Auto),
            inbox: inbox.clone(),
            outbox: outbox.clone(),
            store: None,
            status: status.clone(),
            forwards_dropped: Arc::new(AtomicU64::new(0)),
        };
        let thread = std::thread::Builder::new()
            .name("demo-upstream".into())
            .spawn(move || {
                if let Err(error) = shard::run(setup) {
                    tracing::error!(%error, "the upstream broker can't run");
                }
            })
            .map_err(|error| format!("can't start the upstream broker: {error}"))?;
        let answering = spawn_local(refuse_logins(outbox, inbox.clone()));
        let mut upstream = Self { address: bind, inbox, answering, thread: Some(thread) };
        let listening = tokio::time::timeout(START_MAX, bound(&status)).await;
        upstream.address =
            listening.map_err(|_| "the upstream broker doesn't listen; its log says why".to_owned())??;
        Ok(upstream)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.inbox.force(ToBroker::Stop);
        self.answering.abort();
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by then.
            let _ = thread.join();
        }
    }
}

/// Waits for the port that the system chose.
async fn bound(status: &Mutex<Vec<ListenerStatus>>) -> Result<SocketAddr, String> {
    loop {
        let listener = status.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
        match listener {
            Some(ListenerStatus { error: Some(error), .. }) => {
                return Err(format!("the upstream broker: {error}"));
            }
            Some(ListenerStatus { address: Bind::Tcp(address), .. }) if address.port() != 0 => {
                return Ok(address);
            }
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// There are no users here: whoever names one is refused at once instead of waiting.
async fn refuse_logins(questions: Arc<Mailbox<FromBroker>>, answers: Arc<Mailbox<ToBroker>>) {
    let mut batch = Vec::new();
    while questions.take(&mut batch).await {
        for question in batch.drain(..) {
            if let FromBroker::Authenticate { conn, generation, .. } = question {
                answers.force(ToBroker::Authenticated { conn, generation, accepted: false });
            }
        }
    }
}
