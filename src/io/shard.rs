//! The broker thread: the broker machine, its connections' buffers, and the turn.
//!
//! A turn: the ready connections are read, each batch goes straight into the machine, what it has to say lands in
//! the out buffers; the first dirty one wakes the flusher, which runs after the ready readers and writes each
//! dirty buffer once. What doesn't fit on a socket waits for that connection's own task. No borrow of the core
//! lives across an await.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use super::clock::Clock;
use super::listener::{self, ListenerStatus};
use super::mailbox::Mailbox;
use super::sink::OutBuffers;
use crate::broker::{Broker, ConnId, Event, Input, ListenerId, Sink, Stats};
use crate::config::Listener;
use crate::limits::READ_SCRATCH_BYTES;
use crate::message::{Message, OutboxId, SafeToken};
use crate::secret::Secret;
use crate::time::Mono;

/// Clients get this long to take their last packets when the gateway stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// From the service thread to the broker thread.
#[derive(Debug)]
pub enum ToBroker {
    /// A message of the gateway itself.
    Local(Message),
    /// One outbox has what the token stands for.
    Safe(Vec<SafeToken>),
    /// One outbox will never have what the token stands for.
    Refused(Vec<SafeToken>),
    /// The verdict on a name and password.
    Authenticated {
        /// Whose.
        conn: ConnId,
        /// Which use of that number.
        generation: u32,
        /// Whether they are right.
        accepted: bool,
    },
    /// Asks for the broker's counters.
    Stats(oneshot::Sender<Stats>),
    /// Answered when everything before it was handled.
    Sync(oneshot::Sender<()>),
    /// Tell every client, close, end the thread.
    Stop,
}

/// From the broker thread to the service thread.
#[derive(Debug)]
pub enum FromBroker {
    /// Put into an outbox.
    Forward {
        /// Which.
        outbox: OutboxId,
        /// What.
        message: Message,
        /// Who waits for it.
        token: Option<SafeToken>,
    },
    /// Check a name and password.
    Authenticate {
        /// Whose.
        conn: ConnId,
        /// Which use of that number.
        generation: u32,
        /// The name.
        user_name: String,
        /// The password.
        password: Secret,
    },
}

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
    /// The clocks.
    pub clock: Clock,
    /// From the service thread.
    pub inbox: Arc<Mailbox<ToBroker>>,
    /// To the service thread.
    pub outbox: Arc<Mailbox<FromBroker>>,
    /// What becomes of the listeners.
    pub status: Arc<Mutex<Vec<ListenerStatus>>>,
    /// Forwards that the service thread had no room for.
    pub forwards_dropped: Arc<std::sync::atomic::AtomicU64>,
}

/// The broker thread's state, shared by its tasks.
#[derive(Debug)]
pub(super) struct Shard {
    core: RefCell<Core>,
    flush: Notify,
    timer: Notify,
    closed: Notify,
    outbox: Arc<Mailbox<FromBroker>>,
    forwards_dropped: Arc<std::sync::atomic::AtomicU64>,
    drained_below: usize,
    connections_max: usize,
}

#[derive(Debug)]
struct Core {
    broker: Broker,
    out: OutBuffers,
    slots: Vec<Slot>,
    free: Vec<ConnId>,
    scratch: Box<[u8]>,
    dirty: Vec<ConnId>,
    clock: Clock,
    armed: Option<Mono>,
}

/// One connection number and who has it.
#[derive(Debug, Default)]
struct Slot {
    stream: Option<Rc<TcpStream>>,
    wake: Rc<Notify>,
    /// Raised at each use, so that a late verdict can't hit the next client.
    generation: u32,
    paused: bool,
    blocked: bool,
    closing: bool,
}

/// What a connection's task must wait for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wants {
    pub read: bool,
    pub write: bool,
    pub close: bool,
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
}

/// Runs the broker thread until [`ToBroker::Stop`].
///
/// # Errors
/// If the thread's runtime can't be made.
pub fn run(setup: Setup) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(setup));
    Ok(())
}

async fn serve(setup: Setup) {
    let shard = Rc::new(Shard {
        core: RefCell::new(Core {
            broker: setup.broker,
            out: OutBuffers::default(),
            slots: Vec::new(),
            free: Vec::new(),
            scratch: vec![0; READ_SCRATCH_BYTES].into_boxed_slice(),
            dirty: Vec::new(),
            clock: setup.clock,
            armed: None,
        }),
        flush: Notify::new(),
        timer: Notify::new(),
        closed: Notify::new(),
        outbox: setup.outbox,
        forwards_dropped: setup.forwards_dropped,
        drained_below: setup.out_buffer_bytes_max / 2,
        connections_max: setup.connections_max,
    });
    let mut listeners = Vec::new();
    for (index, listener) in setup.listeners.into_iter().enumerate() {
        let id = ListenerId(u16::try_from(index).unwrap_or(u16::MAX));
        let task = listener::serve(shard.clone(), id, listener, setup.status.clone());
        listeners.push(tokio::task::spawn_local(task));
    }
    tokio::task::spawn_local(flush_turns(shard.clone()));
    tokio::task::spawn_local(timer(shard.clone()));
    take_inbox(&shard, &setup.inbox).await;
    for listener in listeners {
        listener.abort();
    }
    shard.input(Input::Shutdown);
    let all_closed = async {
        while shard.connections() > 0 {
            shard.closed.notified().await;
        }
    };
    // A client that doesn't take its last packet in time is cut off: the gateway stops.
    let _ = tokio::time::timeout(STOP_GRACE, all_closed).await;
}

/// Hands the service thread's batches to the machine until it says stop.
async fn take_inbox(shard: &Shard, inbox: &Mailbox<ToBroker>) {
    let mut batch = Vec::new();
    while inbox.take(&mut batch).await {
        for item in batch.drain(..) {
            match item {
                ToBroker::Local(message) => shard.input(Input::Local(message)),
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
                ToBroker::Authenticated { conn, generation, accepted } => {
                    if shard.generation(conn) == Some(generation) {
                        shard.input(Input::Authenticated { conn, accepted });
                    }
                }
                // Whoever asked may have given up: then nobody wants the answer.
                ToBroker::Stats(answer) => drop(answer.send(shard.core.borrow().broker.stats())),
                ToBroker::Sync(answer) => drop(answer.send(())),
                ToBroker::Stop => return,
            }
        }
    }
}

async fn flush_turns(shard: Rc<Shard>) {
    loop {
        shard.flush.notified().await;
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
        tokio::select! {
            () = tokio::time::sleep(deadline.since(now)) => shard.input(Input::Tick),
            () = shard.timer.notified() => {}
        }
    }
}

impl Shard {
    /// Gives the machine one input and carries out what it says.
    pub(super) fn input(&self, input: Input<'_>) {
        let mut core = self.core.borrow_mut();
        let now = core.clock.now();
        let Core { broker, out, .. } = &mut *core;
        broker.handle(now, input, out);
        self.after_input(&mut core);
    }

    /// Takes a new client in; `None` if there is no room for it at all.
    pub(super) fn open(
        &self,
        listener: ListenerId,
        stream: Rc<TcpStream>,
        peer: &str,
    ) -> Option<(ConnId, Rc<Notify>)> {
        let (conn, wake) = {
            let mut core = self.core.borrow_mut();
            if core.slots.len() - core.free.len() >= self.connections_max {
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
            let wake = Rc::new(Notify::new());
            *slot = Slot {
                stream: Some(stream),
                wake: wake.clone(),
                generation: slot.generation.wrapping_add(1),
                ..Slot::default()
            };
            (conn, wake)
        };
        self.input(Input::Open { conn, listener, peer });
        Some((conn, wake))
    }

    /// The connection's task has ended: its number is free from now on.
    pub(super) fn closed(&self, conn: ConnId) {
        self.input(Input::Closed { conn });
        let mut core = self.core.borrow_mut();
        core.out.release(conn);
        if let Some(slot) = core.slots.get_mut(index(conn)) {
            slot.stream = None;
            core.free.push(conn);
        }
        self.closed.notify_one();
    }

    /// What the connection's task must wait for now.
    pub(super) fn wants(&self, conn: ConnId) -> Wants {
        let core = self.core.borrow();
        core.slots.get(index(conn)).map_or(Wants { read: false, write: false, close: true }, |slot| Wants {
            read: !slot.paused,
            write: slot.blocked,
            close: slot.closing,
        })
    }

    /// Reads once into the shared scratch buffer and hands it to the machine.
    pub(super) fn read(&self, conn: ConnId, stream: &TcpStream) -> Read {
        let mut core = self.core.borrow_mut();
        let now = core.clock.now();
        let Core { broker, out, scratch, .. } = &mut *core;
        let outcome = match stream.try_read(scratch) {
            Ok(0) => Read::Gone,
            Ok(bytes) => {
                let outcome = if bytes == scratch.len() { Read::Full } else { Read::Short };
                let bytes = scratch.get(..bytes).unwrap_or_default();
                broker.handle(now, Input::Bytes { conn, bytes }, out);
                outcome
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Read::Short,
            Err(_) => Read::Gone,
        };
        self.after_input(&mut core);
        outcome
    }

    /// Writes what waits for one connection, as far as the socket takes it. False if the client is gone.
    pub(super) fn flush(&self, conn: ConnId) -> bool {
        let mut core = self.core.borrow_mut();
        let (alive, drained) = self.write(&mut core, conn);
        drop(core);
        if drained {
            self.input(Input::Drained { conn });
        }
        alive
    }

    /// Whether nothing waits to be written to the connection.
    pub(super) fn is_flushed(&self, conn: ConnId) -> bool {
        self.core.borrow().out.pending(conn).is_empty()
    }

    fn flush_dirty(&self) {
        let mut drained = Vec::new();
        {
            let mut core = self.core.borrow_mut();
            let mut dirty = std::mem::take(&mut core.dirty);
            core.out.take_dirty(&mut dirty);
            for conn in dirty.drain(..) {
                if self.write(&mut core, conn).1 {
                    drained.push(conn);
                }
            }
            core.dirty = dirty;
        }
        for conn in drained {
            self.input(Input::Drained { conn });
        }
    }

    /// One `try_write`. Returns whether the client is alive, and whether its buffer fell below half of its mark.
    fn write(&self, core: &mut Core, conn: ConnId) -> (bool, bool) {
        let Core { out, slots, .. } = core;
        let Some(slot) = slots.get_mut(index(conn)) else { return (false, false) };
        let Some(stream) = slot.stream.clone() else { return (false, false) };
        let before = out.buffered(conn);
        let mut alive = true;
        while !out.pending(conn).is_empty() {
            match stream.try_write(out.pending(conn)) {
                Ok(bytes) => out.advance(conn, bytes),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    // The reader sees the reset as well and ends the connection; what waited goes nowhere.
                    out.release(conn);
                    alive = false;
                    break;
                }
            }
        }
        let after = out.buffered(conn);
        let blocked = after > 0;
        if blocked != slot.blocked {
            slot.blocked = blocked;
            slot.wake.notify_one();
        }
        if slot.closing {
            slot.wake.notify_one();
        }
        (alive, before > self.drained_below && after <= self.drained_below)
    }

    fn after_input(&self, core: &mut Core) {
        while let Some(event) = core.broker.poll_event() {
            self.carry_out(core, event);
        }
        if core.out.has_dirty() {
            self.flush.notify_one();
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
            Event::Authenticate { conn, user_name, password } => {
                let generation = core.slots.get(index(conn)).map_or(0, |slot| slot.generation);
                // Bounded by the connections: one at a time for each.
                self.outbox.force(FromBroker::Authenticate { conn, generation, user_name, password });
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
        core.slots.get(index(conn)).filter(|slot| slot.stream.is_some()).map(|slot| slot.generation)
    }

    fn connections(&self) -> usize {
        let core = self.core.borrow();
        core.slots.len() - core.free.len()
    }
}

fn change(core: &mut Core, conn: ConnId, change: impl FnOnce(&mut Slot)) {
    if let Some(slot) = core.slots.get_mut(index(conn)) {
        change(slot);
        slot.wake.notify_one();
    }
}

fn index(conn: ConnId) -> usize {
    usize::try_from(conn.0).unwrap_or(usize::MAX)
}

/// Changes a snapshot that another thread reads.
pub(super) fn update<T>(shared: &Mutex<T>, change: impl FnOnce(&mut T)) {
    change(&mut shared.lock().unwrap_or_else(PoisonError::into_inner));
}
