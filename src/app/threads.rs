//! The threads besides the service thread: their start, and word of their end.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tracing::error;

use crate::broker::Broker;
use crate::config::Config;
use crate::io::clock::Clock;
use crate::io::listener::ListenerStatus;
use crate::io::mailbox::Mailbox;
use crate::io::panics::Panics;
use crate::io::shard::{self, FromBroker, ToBroker};
use crate::io::store_task::{self, Answers, Job, StoreHandle};
use crate::io::supervisor::Beat;
use crate::limits::CONNECTIONS_REFUSED_AT_ONCE_MAX;
use crate::message::OutboxId;
use crate::store::Store;

/// A thread, and word of its end.
pub(super) struct Watched {
    pub(super) thread: JoinHandle<()>,
    pub(super) ended: oneshot::Receiver<()>,
}

/// What ties the broker thread to the others.
pub(super) struct BrokerShared<'a> {
    pub(super) inbox: &'a Arc<Mailbox<ToBroker>>,
    pub(super) outbox: &'a Arc<Mailbox<FromBroker>>,
    pub(super) jobs: &'a mpsc::Sender<Job>,
    pub(super) clock: &'a Clock,
    pub(super) panics: &'a Arc<Panics>,
    pub(super) beat: &'a Beat,
}

pub(super) fn start_broker(
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
        panics: shared.panics.clone(),
        beat: shared.beat.clone(),
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

/// Starts the store thread, on a store or on what is told instead.
pub(super) fn start_store(
    store: Result<Store, String>,
    answers: BTreeMap<OutboxId, Answers>,
    broker: &Arc<Mailbox<ToBroker>>,
    clock: &Clock,
    beat: &Beat,
) -> Result<StoreHandle, String> {
    store_task::spawn(store, answers, Arc::clone(broker), clock.clone(), beat.clone())
        .map_err(|error| format!("can't start the store thread: {error}"))
}

/// Word of the store thread's end, from a thread that does nothing but wait for it.
pub(super) fn watch_store(thread: JoinHandle<()>) -> Result<Watched, String> {
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
