//! One upstream's task: carries out what its bridge machine says, with a transport, the store and a timer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::{Notify, mpsc as answers, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use super::clock::Clock;
use super::dial::{self, ConnectError, Target};
use super::mailbox::Mailbox;
use super::shard::ToBroker;
use super::store_task::{Answer, Job};
use super::transport::{self, OutQueue, Transport};
use crate::bridge::{Bridge, Input, Notice, Output};
use crate::limits::{HANDOVER_BYTES_MAX, READ_SCRATCH_BYTES};
use crate::message::OutboxId;
use crate::record::RecordNo;
use crate::store::Dropped;

/// What was sent before a close gets this long to leave.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// An outbox that can't be read is asked again after this.
const READ_RETRY: Duration = Duration::from_secs(2);

type Connecting = Pin<Box<dyn Future<Output = Result<Transport, ConnectError>>>>;

/// The place for what a purge came to.
pub type Purge = oneshot::Sender<Result<Dropped, String>>;

/// A bridge machine that others on the service thread may feed; they ring the bell after it.
#[derive(Clone, Debug)]
pub struct SharedBridge {
    /// The machine. Never borrowed across an await.
    pub machine: Rc<RefCell<Bridge>>,
    /// Rung when the machine was given something.
    pub bell: Rc<Notify>,
    /// Who wants to know what a purge came to, in the order in which the machine was told.
    pub purges: Rc<RefCell<VecDeque<Purge>>>,
}

/// What the task is started with.
#[derive(Debug)]
pub struct Setup {
    /// For logs.
    pub name: Arc<str>,
    /// Which outbox.
    pub outbox: OutboxId,
    /// The machine.
    pub bridge: SharedBridge,
    /// Where the upstream is: its addresses.
    pub targets: Vec<Target>,
    /// To the store thread.
    pub jobs: mpsc::Sender<Job>,
    /// From the store thread.
    pub answers: answers::UnboundedReceiver<Answer>,
    /// To the broker thread, for acknowledgements.
    pub broker: Arc<Mailbox<ToBroker>>,
    /// The clocks.
    pub clock: Clock,
    /// Rung when health should be published soon.
    pub changed: Rc<Notify>,
    /// Turns true when the gateway stops.
    pub stop: watch::Receiver<bool>,
}

struct Upstream {
    setup: Setup,
    transport: Option<Transport>,
    connecting: Option<Connecting>,
    /// Another address that is tried beside.
    probing: Option<Connecting>,
    closing: Option<JoinHandle<()>>,
    out: OutQueue,
    retry_read: Option<(tokio::time::Instant, RecordNo, usize)>,
    stopped: bool,
}

enum Woken {
    Bell,
    Answer(Answer),
    Connected(Result<Transport, ConnectError>),
    Probed(Result<Transport, ConnectError>),
    Read(std::io::Result<usize>),
    Deadline,
    Room,
    RetryRead,
    Stop,
}

/// Runs until the machine has stopped.
pub async fn run(setup: Setup) {
    let mut upstream = Upstream {
        setup,
        transport: None,
        connecting: None,
        probing: None,
        closing: None,
        out: OutQueue::default(),
        retry_read: None,
        stopped: false,
    };
    let mut scratch = vec![0; READ_SCRATCH_BYTES / 4].into_boxed_slice();
    let mut stopping = false;
    loop {
        upstream.carry_out();
        if upstream.stopped {
            break;
        }
        match upstream.wait(&mut scratch, stopping).await {
            Woken::Bell | Woken::Room => {}
            Woken::Answer(answer) => upstream.answer(answer),
            Woken::Connected(result) => upstream.connected(result),
            Woken::Probed(result) => upstream.probed(&result),
            Woken::Read(result) => upstream.read(result, &scratch),
            Woken::Deadline => upstream.input(Input::Tick),
            Woken::RetryRead => {
                if let Some((_, from, bytes_max)) = upstream.retry_read.take() {
                    upstream.job(Job::Read { outbox: upstream.setup.outbox, from, bytes_max });
                }
            }
            Woken::Stop => {
                stopping = true;
                upstream.input(Input::Stop);
            }
        }
    }
    if let Some(closing) = upstream.closing.take() {
        // Ends by itself within its grace.
        let _ = closing.await;
    }
}

impl Upstream {
    /// Waits for whatever comes first. Every branch is cancel safe: progress is kept in `self`.
    async fn wait(&mut self, scratch: &mut [u8], stopping: bool) -> Woken {
        let now = self.setup.clock.now().mono;
        let deadline = self.setup.bridge.machine.borrow().next_deadline().map(|deadline| deadline.since(now));
        let Self { setup, transport, connecting, probing, out, retry_read, .. } = self;
        let Setup { bridge, answers, stop, broker, .. } = setup;
        // A broker thread that is behind must not be buried: upstream waits.
        let room = broker.weight() < HANDOVER_BYTES_MAX / 2;
        let retry_at = retry_read.map(|(at, ..)| at);
        tokio::select! {
            () = bridge.bell.notified() => Woken::Bell,
            Some(answer) = answers.recv() => Woken::Answer(answer),
            result = maybe(connecting.as_mut()), if connecting.is_some() => Woken::Connected(result),
            result = maybe(probing.as_mut()), if probing.is_some() => Woken::Probed(result),
            result = turn(transport.as_mut(), out, scratch), if transport.is_some() && room => Woken::Read(result),
            () = broker.emptied(), if !room => Woken::Room,
            () = tokio::time::sleep(deadline.unwrap_or_default()), if deadline.is_some() => Woken::Deadline,
            () = sleep_until(retry_at), if retry_at.is_some() => Woken::RetryRead,
            _ = stop.wait_for(|stop| *stop), if !stopping => Woken::Stop,
        }
    }

    fn input(&self, input: Input<'_>) {
        self.setup.bridge.machine.borrow_mut().handle(self.setup.clock.now(), input);
    }

    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Committed { up_to, dropped } => {
                self.input(Input::Committed { up_to });
                self.dropped(dropped);
            }
            Answer::Full => self.input(Input::Full),
            Answer::Purged { dropped } => {
                self.input(Input::Purged);
                self.dropped(dropped);
            }
            Answer::CommitFailed { error } => self.input(Input::CommitFailed { error: &error }),
            Answer::Read { from, records } => self.input(Input::Read { from, records }),
            Answer::ReadFailed { from, bytes_max } => {
                self.retry_read = Some((tokio::time::Instant::now() + READ_RETRY, from, bytes_max));
            }
        }
    }

    fn dropped(&self, dropped: Option<Dropped>) {
        if let Some(Dropped { up_to, records, bytes, expired, purged }) = dropped {
            self.input(Input::Dropped { up_to, records, bytes, expired, purged });
        }
    }

    fn connected(&mut self, result: Result<Transport, ConnectError>) {
        self.connecting = None;
        match result {
            Ok(transport) => {
                self.out.clear();
                self.transport = Some(transport);
                self.input(Input::Connected);
            }
            Err(error) => {
                self.input(Input::ConnectFailed { error: &error.words, permanent: error.permanent });
            }
        }
    }

    fn probed(&mut self, result: &Result<Transport, ConnectError>) {
        self.probing = None;
        if let Err(error) = result {
            debug!(upstream = %self.setup.name, error = error.words, "the first address is still away");
        }
        self.input(Input::Probed { answered: result.is_ok() });
    }

    /// A connection to one of the addresses; the machine names none but those that it was told of.
    fn opening(&self, address: usize) -> Option<Connecting> {
        let target = self.setup.targets.get(address)?.clone();
        Some(Box::pin(async move { dial::connect(&target).await }))
    }

    fn read(&mut self, result: std::io::Result<usize>, scratch: &[u8]) {
        match result {
            Ok(0) => self.lost("the upstream closed the connection"),
            Ok(bytes) => self.input(Input::Bytes(scratch.get(..bytes).unwrap_or_default())),
            Err(error) => self.lost(&transport::io_words(&error)),
        }
    }

    fn lost(&mut self, error: &str) {
        self.transport = None;
        self.probing = None;
        self.out.clear();
        self.input(Input::Closed { error });
    }

    fn carry_out(&mut self) {
        loop {
            let output = self.setup.bridge.machine.borrow_mut().poll_output();
            let Some(output) = output else { return };
            let outbox = self.setup.outbox;
            match output {
                Output::Connect { address } => self.connecting = self.opening(address),
                Output::Probe { address } => self.probing = self.opening(address),
                Output::Send(bytes) => self.out.push(&bytes),
                Output::Announce(message) => self.setup.broker.force(ToBroker::Local(message)),
                Output::Deliver { message, ticket } => {
                    let weight = message.payload.len() + message.topic.len() + 128;
                    let item = ToBroker::Bridged { from: outbox, message, ticket };
                    // It is read on only while there is room.
                    self.setup.broker.force_weighed(item, weight);
                }
                Output::Close => self.close(),
                Output::Commit(records) => self.job(Job::Commit { outbox, records }),
                Output::Read { from, bytes_max } => self.job(Job::Read { outbox, from, bytes_max }),
                Output::Ack { up_to } => {
                    let sync = *self.setup.stop.borrow();
                    self.job(Job::Ack { outbox, up_to, sync });
                }
                Output::Keep { name, content } => self.job(Job::Keep { outbox, name, content }),
                Output::Purge { before } => {
                    let answer = self.setup.bridge.purges.borrow_mut().pop_front();
                    self.job(Job::Purge { outbox, before, answer });
                }
                Output::Safe(tokens) => self.setup.broker.force(ToBroker::Safe(tokens)),
                Output::Refused(tokens) => self.setup.broker.force(ToBroker::Refused(tokens)),
                Output::Notice(notice) => {
                    log(&self.setup.name, &notice);
                    self.setup.changed.notify_one();
                }
                Output::Stopped => self.stopped = true,
            }
        }
    }

    fn close(&mut self) {
        self.connecting = None;
        self.probing = None;
        if let Some(transport) = self.transport.take() {
            let out = std::mem::take(&mut self.out);
            self.closing = Some(tokio::task::spawn_local(transport.finish(out, CLOSE_GRACE)));
        }
    }

    fn job(&self, job: Job) {
        if self.setup.jobs.send(job).is_err() {
            error!(upstream = %self.setup.name, "the store thread is gone");
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn maybe(connecting: Option<&mut Connecting>) -> Result<Transport, ConnectError> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}

async fn turn(
    transport: Option<&mut Transport>,
    out: &mut OutQueue,
    scratch: &mut [u8],
) -> std::io::Result<usize> {
    match transport {
        Some(transport) => transport.turn(out, scratch).await,
        None => std::future::pending().await,
    }
}

fn log(name: &str, notice: &Notice) {
    match notice {
        Notice::Online { session_present, backlog, away } => {
            let away_ms = away.map(|away| u64::try_from(away.as_millis()).unwrap_or(u64::MAX));
            info!(upstream = name, session_present, backlog, away_ms, "upstream is online");
        }
        Notice::Offline { error } => warn!(upstream = name, error, "upstream is offline; readings are kept"),
        Notice::Refused { error, retry_in } => {
            let retry_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
            warn!(upstream = name, error, retry_ms, "no connection to upstream; readings are kept");
        }
        Notice::StoreFailing { error } => {
            error!(upstream = name, error, "can't write to the store; readings are kept in memory only");
        }
        Notice::Rival { instance } => {
            error!(
                upstream = name,
                instance, "another gateway publishes as this one; give each an id of its own"
            );
        }
        Notice::NotSubscribed { filter, reason } => {
            warn!(upstream = name, filter, reason, "upstream refuses a subscription");
        }
        Notice::Stray { topic, reason } => {
            warn!(upstream = name, topic, reason, "messages from upstream are dropped and counted");
        }
        Notice::BytesUsedUp => {
            error!(
                upstream = name,
                "the day's bytes are used up; until midnight UTC only status, health and what has high priority go"
            );
        }
        Notice::StoreWorks => info!(upstream = name, "the store works again"),
        Notice::Dropping { reason } => warn!(upstream = name, reason, "readings are being dropped"),
        Notice::MessageRefused { topic, reason } => {
            warn!(upstream = name, topic, reason, "upstream refused a message for good; it is dropped");
        }
    }
    debug!(upstream = name, ?notice, "notice");
}
