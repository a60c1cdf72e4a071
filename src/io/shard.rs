//! The broker thread: the broker machine, its connections' buffers, and the turn.
//!
//! A turn: the ready connections are read, each batch goes straight into the machine, what it has to say lands in
//! the out buffers; the first dirty one wakes the flusher, which runs after the ready readers and writes each
//! dirty buffer once. What doesn't fit on a socket waits for that connection's own task. No borrow of the core
//! lives across an await. Messages are written before answers: who waits for a message waits for no acknowledgement to
//! somebody else.

mod guarded;
mod look;
mod messages;
mod revoked;
#[cfg(test)]
mod tests;
mod traffic;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, Semaphore, watch};

use super::clock::Clock;
use super::doors::Doors;
use super::listener::ListenerStatus;
use super::mailbox::Mailbox;
use super::memory;
use super::panics::Panics;
use super::sink::OutBuffers;
use super::store_task::Job;
use super::stream::{Bell, Link};
use super::supervisor::Beat;
use super::sys;
use crate::broker::doorman::Knock;
use crate::broker::{Broker, ConnId, Event, Input, ListenerId, Stats};
use crate::config::Listener;
use crate::limits::{CONNECTIONS_REFUSED_AT_ONCE_MAX, HANDSHAKE_STEPS_AT_ONCE_MAX, READ_SCRATCH_BYTES};
use crate::time::{Mono, Now};

pub use look::Look;
pub use messages::{FromBroker, PersistError, Reconfiguration, ToBroker};

/// Clients get this long to take their last packets when the gateway stops.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// The disk gets this long to take the rest of the broker's state when the gateway stops.
const SAVE_GRACE: Duration = Duration::from_secs(8);

/// What the broker thread is started with.
#[derive(Debug)]
pub struct Setup {
    /// The machine.
    pub broker: Broker,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Connections that are accepted at all; the machine refuses earlier, in words.
    pub connections_max: usize,
    /// The mark that [`Input::Drained`] belongs to.
    pub out_buffer_bytes_max: usize,
    /// How often `$SYS` is published; 0: never.
    pub sys_interval: Duration,
    /// The clocks.
    pub clock: Clock,
    /// From the service thread.
    pub inbox: Arc<Mailbox<ToBroker>>,
    /// To the service thread.
    pub outbox: Arc<Mailbox<FromBroker>>,
    /// To the store thread, where the broker's state is kept.
    pub store: Option<mpsc::Sender<Job>>,
    /// What becomes of the listeners.
    pub status: Arc<Mutex<Vec<ListenerStatus>>>,
    /// Forwards that the service thread had no room for.
    pub forwards_dropped: Arc<std::sync::atomic::AtomicU64>,
    /// Who catches panics.
    pub panics: Arc<Panics>,
    /// Where the thread tells that it gets on.
    pub beat: Beat,
}

/// The broker thread's state, shared by its tasks.
#[derive(Debug)]
pub(super) struct Shard {
    core: RefCell<Core>,
    flush: Bell,
    timer: Notify,
    closed: Notify,
    outbox: Arc<Mailbox<FromBroker>>,
    store: Option<mpsc::Sender<Job>>,
    forwards_dropped: Arc<std::sync::atomic::AtomicU64>,
    panics: Arc<Panics>,
    beat: Beat,
    drained_below: Cell<usize>,
    connections_max: Cell<usize>,
    sys_interval: watch::Sender<Duration>,
    /// Clients dropped while they were greeted, and times that no client was accepted.
    pub(super) greetings_dropped: Cell<u64>,
    pub(super) accepts_paused: Cell<u64>,
    /// Rung for each [`memory::LOOK_BYTES`] that clients have sent, and how much it was then.
    pub(super) much_came: Notify,
    told_of: Cell<u64>,
    /// Rung for all listeners at once.
    pub(super) read_certificates: Notify,
    /// Turns of TLS handshakes, see [`super::greet::greet`].
    pub(super) handshakes: Semaphore,
}

#[derive(Debug)]
struct Core {
    broker: Broker,
    out: OutBuffers,
    slots: Vec<Slot>,
    free: Vec<ConnId>,
    /// Numbers that are not used again.
    lost: usize,
    scratch: Box<[u8]>,
    /// What a codec has made of the scratch buffer.
    plain: Vec<u8>,
    dirty: Vec<ConnId>,
    clock: Clock,
    armed: Option<Mono>,
}

/// One connection number and who has it.
#[derive(Debug, Default)]
struct Slot {
    link: Option<Rc<Link>>,
    /// Where it came in.
    listener: Option<ListenerId>,
    /// Raised at each use, so that a late verdict can't hit the next client.
    generation: u32,
    paused: bool,
    blocked: bool,
    closing: bool,
    /// A panic has cut its work short.
    broken: bool,
}

impl Slot {
    /// The connection's task has something else to wait for.
    fn ring(&self) {
        if let Some(link) = &self.link {
            link.bell.ring();
        }
    }
}

/// What a connection's task must wait for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wants {
    pub read: bool,
    pub write: bool,
    pub close: bool,
    /// To be dropped as it is.
    pub broken: bool,
}

/// What became of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// There may be more.
    Full,
    /// Nothing more for now.
    Short,
    /// The client is gone.
    Gone,
    /// The client has broken what lies between the socket and MQTT, or said goodbye there. It is answered.
    Ended,
}

/// Runs the broker thread until [`ToBroker::Stop`].
///
/// # Errors
/// If the thread's runtime can't be made.
pub fn run(setup: Setup) -> std::io::Result<()> {
    // The one blocking thread reads certificates.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    // One whose tasks never leave their thread: a set of such tasks within another runtime is one more thing to be woken, and
    // polled, for each message.
    let runtime = builder.enable_all().max_blocking_threads(1).build_local(LocalOptions::default())?;
    runtime.block_on(serve(setup));
    // It may hang on a disk that has stalled; that must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(())
}

async fn serve(setup: Setup) {
    let shard = Rc::new(Shard {
        core: RefCell::new(Core {
            broker: setup.broker,
            out: OutBuffers::default(),
            slots: Vec::new(),
            free: Vec::new(),
            lost: 0,
            scratch: vec![0; READ_SCRATCH_BYTES].into_boxed_slice(),
            plain: Vec::new(),
            dirty: Vec::new(),
            clock: setup.clock,
            armed: None,
        }),
        much_came: Notify::new(),
        told_of: Cell::new(0),
        flush: Bell::default(),
        timer: Notify::new(),
        closed: Notify::new(),
        outbox: setup.outbox,
        store: setup.store,
        forwards_dropped: setup.forwards_dropped,
        panics: setup.panics,
        beat: setup.beat,
        drained_below: Cell::new(setup.out_buffer_bytes_max / 2),
        connections_max: Cell::new(setup.connections_max),
        sys_interval: watch::Sender::new(setup.sys_interval),
        greetings_dropped: Cell::new(0),
        accepts_paused: Cell::new(0),
        read_certificates: Notify::new(),
        handshakes: Semaphore::new(HANDSHAKE_STEPS_AT_ONCE_MAX),
    });
    let mut doors = Doors::open(shard.clone(), setup.listeners, setup.status.clone());
    start_turns(&shard);
    // Whoever gets an answer from the broker finds it listening.
    tokio::task::yield_now().await;
    take_inbox(&shard, &mut doors, &setup.inbox).await;
    shard.beat.excuse();
    doors.close();
    shard.input(Input::Shutdown);
    let all_closed = async {
        while shard.connections() > 0 {
            shard.closed.notified().await;
        }
    };
    // A client that doesn't take its last packet in time is cut off: the gateway stops.
    let _ = tokio::time::timeout(STOP_GRACE, all_closed).await;
    let all_saved = async {
        while !shard.core.borrow().broker.is_saved() {
            let mut batch = Vec::new();
            if !setup.inbox.take(&mut batch).await {
                return;
            }
            for item in batch {
                take_item(&shard, &mut doors, item);
            }
        }
    };
    if tokio::time::timeout(SAVE_GRACE, all_saved).await.is_err() {
        tracing::error!("stopped before all sessions and retained messages were on disk");
    }
}

/// Starts what must go on for as long as the thread does, whatever panics in it.
fn start_turns(shard: &Rc<Shard>) {
    let flush = shard.clone();
    tokio::task::spawn_local(async move { flush.panics.keep("flush", || flush_turns(flush.clone())).await });
    let timed = shard.clone();
    tokio::task::spawn_local(async move { timed.panics.keep("timer", || timer(timed.clone())).await });
    let told = shard.clone();
    tokio::task::spawn_local(async move {
        told.panics.keep("$SYS", || sys::turns(told.clone(), told.sys_interval.subscribe())).await;
    });
    let looked = shard.clone();
    tokio::task::spawn_local(async move {
        looked.panics.keep("memory", || memory::turns(looked.clone())).await;
    });
}

/// Hands the service thread's batches to the machine until it says stop.
async fn take_inbox(shard: &Shard, doors: &mut Doors, inbox: &Mailbox<ToBroker>) {
    let mut batch = Vec::new();
    while inbox.take(&mut batch).await {
        for item in batch.drain(..) {
            if take_item(shard, doors, item) == Taken::Stop {
                return;
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    GoOn,
    Stop,
}

fn take_item(shard: &Shard, doors: &mut Doors, item: ToBroker) -> Taken {
    match item {
        ToBroker::Local(message) => drop(shard.input(Input::Local(message))),
        ToBroker::Bridged { from, message, ticket } => {
            if !shard.input(Input::Bridged { from, message, ticket })
                && let Some(ticket) = ticket
            {
                // Nobody else answers any more; a second answer finds nobody who waits.
                shard.outbox.force(FromBroker::Accepted { from, ticket, safe: false });
            }
        }
        ToBroker::Safe(tokens) => {
            for token in tokens {
                shard.input(Input::Safe { token });
            }
        }
        ToBroker::Refused(tokens) => {
            for token in tokens {
                shard.input(Input::Refused { token });
            }
        }
        ToBroker::Persisted { number, result: Ok(()) } => drop(shard.input(Input::Persisted { number })),
        ToBroker::Persisted { number, result: Err(error) } => {
            shard.input(Input::PersistFailed { number, lost: error == PersistError::Lost });
        }
        ToBroker::Authenticated { conn, generation, accepted } => {
            if shard.generation(conn) == Some(generation) {
                shard.input(Input::Authenticated { conn, accepted });
            }
        }
        ToBroker::NotJudged { conn, generation } => {
            if shard.generation(conn) == Some(generation) {
                shard.input(Input::NotJudged { conn });
            }
        }
        ToBroker::Access(rules) => drop(shard.input(Input::Access(rules))),
        ToBroker::Bind { wanted, closing, answer } => drop(answer.send(doors.bind(&wanted, &closing))),
        ToBroker::ReadCertificates => shard.read_certificates.notify_waiters(),
        ToBroker::Reconfigure(new) => shard.reconfigure(doors, *new),
        // Whoever asked may have given up: then nobody wants the answer.
        ToBroker::Stats(answer) => drop(answer.send(shard.stats().1)),
        ToBroker::Look(look) => shard.look(look),
        ToBroker::Beat => shard.beat.beat(),
        ToBroker::Sync(answer) => drop(answer.send(())),
        ToBroker::Stop => return Taken::Stop,
    }
    Taken::GoOn
}

async fn flush_turns(shard: Rc<Shard>) {
    loop {
        poll_fn(|context| shard.flush.poll(context)).await;
        shard.flush_dirty();
    }
}

async fn timer(shard: Rc<Shard>) {
    loop {
        let (now, deadline) = {
            let mut core = shard.core.borrow_mut();
            core.armed = core.broker.next_deadline();
            (core.clock.now().mono, core.armed)
        };
        let Some(deadline) = deadline else {
            shard.timer.notified().await;
            continue;
        };
        if deadline <= now {
            // At once, but after all that is ready to be read: what comes together is committed together.
            tokio::task::yield_now().await;
            shard.input(Input::Tick);
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(deadline.since(now)) => drop(shard.input(Input::Tick)),
            () = shard.timer.notified() => {}
        }
    }
}

impl Shard {
    fn reconfigure(&self, doors: &mut Doors, new: Reconfiguration) {
        let Reconfiguration { broker, listeners, done } = new;
        let config = &broker.config;
        self.drained_below.set(config.out_buffer_bytes_max / 2);
        self.connections_max.set(config.connections_max + CONNECTIONS_REFUSED_AT_ONCE_MAX);
        self.sys_interval.send_if_modified(|interval| {
            std::mem::replace(interval, config.sys_interval) != config.sys_interval
        });
        let moved = broker.moved.clone();
        let before = self.stats().1.disconnected_by_reload;
        // Nobody comes in by a door that is to be closed after those who are in were judged.
        let closing = doors.change(&moved, listeners);
        for slot in &mut self.core.borrow_mut().slots {
            slot.listener =
                slot.listener.and_then(|before| moved.get(usize::from(before.0)).copied().flatten());
        }
        self.input(Input::Reconfigure(Box::new(broker)));
        let disconnected = self.stats().1.disconnected_by_reload - before;
        tokio::task::spawn_local(async move {
            // Whoever connects after the answer comes to a listener that stays.
            for listener in closing {
                let _ = listener.await;
            }
            // Whoever asked may have given up.
            let _ = done.send(disconnected);
        });
    }

    /// What the clocks say.
    pub(super) fn now(&self) -> Now {
        self.core.borrow().clock.now()
    }

    /// The broker's counters, and when they were read.
    pub(super) fn stats(&self) -> (Mono, Stats) {
        let core = self.core.borrow();
        let stats = Stats {
            greetings_dropped: self.greetings_dropped.get(),
            accepts_paused: self.accepts_paused.get(),
            panics: self.panics.total(),
            ..core.broker.stats()
        };
        (core.clock.now().mono, stats)
    }

    /// Asks whether a connection may come in; see [`Broker::knock`].
    pub(super) fn knock(&self, from: Option<IpAddr>) -> Knock {
        let mut core = self.core.borrow_mut();
        let now = core.clock.now().mono;
        // Nobody is let in by a panic.
        self.panics.catch("doorman", || core.broker.knock(now, from)).unwrap_or(Knock::TooFast)
    }

    /// A connection that might have come in has gone before it was opened.
    pub(super) fn gone_before_open(&self, from: Option<IpAddr>) {
        let mut core = self.core.borrow_mut();
        self.panics.catch("doorman", || core.broker.gone_before_open(from));
    }

    /// Takes a new client in; `None` if there is no room for it at all.
    pub(super) fn open(
        &self,
        listener: ListenerId,
        link: Rc<Link>,
        peer: &str,
        certified: Option<&str>,
        from: Option<IpAddr>,
    ) -> Option<ConnId> {
        let conn = {
            let mut core = self.core.borrow_mut();
            if core.slots.len() - core.free.len() - core.lost >= self.connections_max.get() {
                return None;
            }
            let conn = match core.free.pop() {
                Some(conn) => conn,
                None => {
                    core.slots.push(Slot::default());
                    ConnId(u32::try_from(core.slots.len() - 1).ok()?)
                }
            };
            core.out.open(conn);
            let slot = core.slots.get_mut(index(conn))?;
            *slot = Slot {
                link: Some(link),
                listener: Some(listener),
                generation: slot.generation.wrapping_add(1),
                ..Slot::default()
            };
            conn
        };
        self.input(Input::Open { conn, listener, peer, certified, from });
        Some(conn)
    }

    /// What the connection's task must wait for now.
    pub(super) fn wants(&self, conn: ConnId) -> Wants {
        let core = self.core.borrow();
        core.slots.get(index(conn)).map_or(
            Wants { read: false, write: false, close: true, broken: false },
            |slot| Wants {
                read: !slot.paused,
                write: slot.blocked,
                close: slot.closing,
                broken: slot.broken,
            },
        )
    }

    fn after_input(&self, core: &mut Core) {
        while let Some(event) = core.broker.poll_event() {
            self.carry_out(core, event);
        }
        if core.out.has_dirty() {
            self.flush.ring();
        }
        let deadline = core.broker.next_deadline();
        if deadline.is_some_and(|deadline| core.armed.is_none_or(|armed| deadline < armed)) {
            self.timer.notify_one();
        }
    }

    fn carry_out(&self, core: &mut Core, event: Event) {
        match event {
            Event::Close { conn } => change(core, conn, |slot| slot.closing = true),
            Event::Pause { conn } => change(core, conn, |slot| slot.paused = true),
            Event::Resume { conn } => change(core, conn, |slot| slot.paused = false),
            Event::Authenticate { conn, users, peer, user_name, password } => {
                let generation = core.slots.get(index(conn)).map_or(0, |slot| slot.generation);
                // Bounded by the connections: one at a time for each.
                self.outbox.force(FromBroker::Authenticate {
                    conn,
                    generation,
                    users,
                    peer,
                    user_name,
                    password,
                });
            }
            // Bounded by the identifiers that an upstream may have open.
            Event::Accepted { from, ticket, safe } => {
                self.outbox.force(FromBroker::Accepted { from, ticket, safe });
            }
            Event::Persist { number, changes } => {
                // One batch at a time, so it needs no bound of its own. Without a store thread no answer comes,
                // and nothing that must be safe is acknowledged.
                if let Some(store) = &self.store
                    && store.send(Job::CommitState { number, changes }).is_err()
                {
                    tracing::error!("the store thread is gone");
                }
            }
            Event::Command { message, by, at } => {
                let weight = message.payload.len() + message.topic.len() + 128;
                // A service thread that is behind would carry it out late: it is dropped and counted.
                if self.outbox.push(FromBroker::Command { message, by, at }, weight).is_err() {
                    self.forwards_dropped.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
            Event::Forward { outbox, message, token } => {
                let weight = message.payload.len() + message.topic.len() + 128;
                let waits = token.is_some();
                let item = FromBroker::Forward { outbox, message, token };
                if waits {
                    // Bounded by what each client may have unacknowledged.
                    self.outbox.force(item);
                } else if self.outbox.push(item, weight).is_err() {
                    self.forwards_dropped.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
    }

    fn generation(&self, conn: ConnId) -> Option<u32> {
        let core = self.core.borrow();
        core.slots.get(index(conn)).filter(|slot| slot.link.is_some()).map(|slot| slot.generation)
    }

    fn connections(&self) -> usize {
        let core = self.core.borrow();
        core.slots.len() - core.free.len() - core.lost
    }
}

fn change(core: &mut Core, conn: ConnId, change: impl FnOnce(&mut Slot)) {
    if let Some(slot) = core.slots.get_mut(index(conn)) {
        change(slot);
        slot.ring();
    }
}

fn index(conn: ConnId) -> usize {
    usize::try_from(conn.0).unwrap_or(usize::MAX)
}

/// Changes a snapshot that another thread reads.
pub(super) fn update<T>(shared: &Mutex<T>, change: impl FnOnce(&mut T)) {
    change(&mut shared.lock().unwrap_or_else(PoisonError::into_inner));
}
