//! One upstream's task: carries out what its bridge machine says, with a transport, the store and a timer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tokio::sync::{Notify, mpsc as answers, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{debug, error};

use super::certificate_dates::Identity;
use super::clock::Clock;
use super::dial::{self, ConnectError, Target};
use super::journal::Journal;
use super::mailbox::Mailbox;
use super::own_certificate::OwnCertificate;
use super::panics::Panics;
use super::shard::ToBroker;
use super::store_task::{Answer, Job};
use super::transport::{self, OutQueue, Transport};
use super::upstream_log;
use crate::bridge::redirect::Place;
use crate::bridge::{Bridge, Input, Output, StreamNo};
use crate::expiry;
use crate::limits::{HANDOVER_BYTES_MAX, READ_SCRATCH_BYTES};
use crate::message::OutboxId;
use crate::store::Dropped;
use crate::time::Now;

/// What was sent before a close gets this long to leave.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// An outbox that can't be read is asked again after this.
const READ_RETRY: Duration = Duration::from_secs(2);

/// Where nothing waits for what upstream says, it is read this much later, all at once.
const READING_RESTS: Duration = Duration::from_millis(1);

/// After a rest it is read so often: the first reading tells the other kernel that its bytes have arrived, whereupon it
/// sends what it held back meanwhile (Nagle's rule, RFC 896, which Mosquitto leaves on); the second takes that.
const READS_BETWEEN_RESTS: u32 = 2;

/// A certificate that is about to end is looked for anew this often.
const LOOK: Duration = Duration::from_secs(10);

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
    /// The certificates of the connection.
    pub certificates: Rc<RefCell<Certificates>>,
    /// The outbox of each stream, the default one's first.
    pub outboxes: Rc<RefCell<Vec<OutboxId>>>,
    /// Where it is to be found.
    pub destination: Rc<RefCell<Destination>>,
}

/// Where an upstream is, and what is shown there; looked at for each connection.
#[derive(Debug, Default)]
pub struct Destination {
    /// Its addresses.
    pub targets: Vec<Target>,
    /// The certificate that is shown there.
    pub own: Option<OwnCertificate>,
}

/// The certificates of a connection to an upstream, as they were last seen.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    /// The upstream's.
    pub server: Option<Identity>,
    /// Ours, and where it is.
    pub client: Option<(Identity, String)>,
    /// Why ours isn't the one on disk.
    pub client_error: Option<String>,
}

/// What the task is started with.
#[derive(Debug)]
pub struct Setup {
    /// For logs.
    pub name: Arc<str>,
    /// The machine, and all that others may change of it.
    pub bridge: SharedBridge,
    /// To the store thread.
    pub jobs: mpsc::Sender<Job>,
    /// From the store thread.
    pub answers: answers::UnboundedReceiver<(OutboxId, Answer)>,
    /// To the broker thread, for acknowledgements.
    pub broker: Arc<Mailbox<ToBroker>>,
    /// The clocks.
    pub clock: Clock,
    /// Rung when health should be published soon.
    pub changed: Rc<Notify>,
    /// What people look at.
    pub journal: Journal,
    /// Turns true when the gateway stops, or the upstream is no more.
    pub stop: watch::Receiver<bool>,
    /// Who catches panics.
    pub panics: Arc<Panics>,
}

struct Upstream {
    setup: Setup,
    transport: Option<Transport>,
    connecting: Option<Connecting>,
    /// Another address that is tried beside.
    probing: Option<Connecting>,
    /// Ours, as this connection began with it.
    shown: Option<Identity>,
    /// When it is looked for its successor.
    look_at: tokio::time::Instant,
    closing: Option<JoinHandle<()>>,
    out: OutQueue,
    /// Nothing is read before.
    read_at: Option<tokio::time::Instant>,
    /// How often it was read since reading rested.
    reads: u32,
    /// Reads that failed: one per stream at most, in the order of their time.
    retry_reads: VecDeque<(tokio::time::Instant, Job)>,
    /// The machine has been told to stop.
    stopping: bool,
    stopped: bool,
}

enum Woken {
    Bell,
    Answer(OutboxId, Answer),
    Connected(Result<Transport, ConnectError>),
    Probed(Result<Transport, ConnectError>),
    Read(std::io::Result<usize>),
    ReadAgain,
    Deadline,
    Room,
    RetryRead,
    Look,
    Stop,
}

/// Runs until the machine has stopped.
pub async fn run(setup: Setup) {
    let mut upstream = Upstream {
        setup,
        transport: None,
        connecting: None,
        probing: None,
        shown: None,
        look_at: tokio::time::Instant::now(),
        closing: None,
        out: OutQueue::default(),
        read_at: None,
        reads: 0,
        retry_reads: VecDeque::new(),
        stopping: false,
        stopped: false,
    };
    let panics = upstream.setup.panics.clone();
    while panics.catch_async("upstream", pin!(turns(&mut upstream))).await.is_none() {
        // The other side repeats what was not acknowledged, and so do we.
        panics.catch("upstream", || upstream.cut_short());
        panics.pause().await;
    }
    if let Some(closing) = upstream.closing.take() {
        // Ends by itself within its grace.
        let _ = closing.await;
    }
}

/// Carries out and takes in, until the machine has stopped.
async fn turns(upstream: &mut Upstream) {
    let mut scratch = vec![0; READ_SCRATCH_BYTES / 4].into_boxed_slice();
    loop {
        upstream.carry_out();
        if upstream.stopped {
            break;
        }
        match upstream.wait(&mut scratch).await {
            Woken::Bell | Woken::Room => {}
            Woken::Answer(outbox, answer) => upstream.answer(outbox, answer),
            Woken::Connected(result) => upstream.connected(result),
            Woken::Probed(result) => upstream.probed(&result),
            Woken::Read(result) => {
                upstream.read(result, &scratch);
                upstream.rest_reading();
            }
            Woken::ReadAgain => upstream.read_again(),
            Woken::Deadline => upstream.input(Input::Tick),
            Woken::RetryRead => {
                if let Some((_, job)) = upstream.retry_reads.pop_front() {
                    upstream.job(job);
                }
            }
            Woken::Look => upstream.look(),
            Woken::Stop => {
                upstream.stopping = true;
                upstream.input(Input::Stop);
            }
        }
    }
}

impl Upstream {
    /// Waits for whatever comes first. Every branch is cancel safe: progress is kept in `self`.
    async fn wait(&mut self, scratch: &mut [u8]) -> Woken {
        let now = self.setup.clock.now().mono;
        let deadline = self.setup.bridge.machine.borrow().next_deadline().map(|deadline| deadline.since(now));
        let stopping = self.stopping;
        let looks = self.transport.is_some() && self.is_shown_too_long(self.setup.clock.now());
        let Self { setup, transport, connecting, probing, out, read_at, retry_reads, look_at, .. } = self;
        let Setup { bridge, answers, stop, broker, .. } = setup;
        // A broker thread that is behind must not be buried: upstream waits.
        let room = broker.weight() < HANDOVER_BYTES_MAX / 2;
        let retry_at = retry_reads.front().map(|(at, _)| *at);
        tokio::select! {
            () = bridge.bell.notified() => Woken::Bell,
            Some((outbox, answer)) = answers.recv() => Woken::Answer(outbox, answer),
            result = maybe(connecting.as_mut()), if connecting.is_some() => Woken::Connected(result),
            result = maybe(probing.as_mut()), if probing.is_some() => Woken::Probed(result),
            result = turn(transport.as_mut(), out, scratch), if transport.is_some() && room => Woken::Read(result),
            () = sleep_until(*read_at), if read_at.is_some() => Woken::ReadAgain,
            () = broker.emptied(), if !room => Woken::Room,
            () = tokio::time::sleep(deadline.unwrap_or_default()), if deadline.is_some() => Woken::Deadline,
            () = sleep_until(retry_at), if retry_at.is_some() => Woken::RetryRead,
            () = tokio::time::sleep_until(*look_at), if looks => Woken::Look,
            _ = stop.wait_for(|stop| *stop), if !stopping => Woken::Stop,
        }
    }

    fn input(&self, input: Input<'_>) {
        self.setup.bridge.machine.borrow_mut().handle(self.setup.clock.now(), input);
    }

    fn input_of(&self, stream: StreamNo, input: Input<'_>) {
        self.setup.bridge.machine.borrow_mut().handle_of(self.setup.clock.now(), stream, input);
    }

    fn answer(&mut self, outbox: OutboxId, answer: Answer) {
        let at = self.setup.bridge.outboxes.borrow().iter().position(|one| *one == outbox);
        let of = at.and_then(|at| StreamNo::try_from(at).ok());
        let Some(stream) = of else { return };
        match answer {
            Answer::Committed { up_to, dropped } => {
                self.input_of(stream, Input::Committed { up_to });
                self.dropped(stream, dropped);
            }
            Answer::Full => self.input_of(stream, Input::Full),
            Answer::Purged { dropped } => {
                self.input_of(stream, Input::Purged);
                self.dropped(stream, dropped);
            }
            Answer::CommitFailed { error } => self.input_of(stream, Input::CommitFailed { error: &error }),
            Answer::Read { from, records } => self.input_of(stream, Input::Read { from, records }),
            Answer::ReadBack { before, records } => {
                self.input_of(stream, Input::ReadBack { before, records })
            }
            Answer::ReadFailed(job) => {
                self.retry_reads.push_back((tokio::time::Instant::now() + READ_RETRY, job));
            }
        }
    }

    fn dropped(&self, stream: StreamNo, dropped: Option<Dropped>) {
        if let Some(Dropped { up_to, records, bytes, expired, purged }) = dropped {
            self.input_of(stream, Input::Dropped { up_to, records, bytes, expired, purged });
        }
    }

    fn connected(&mut self, result: Result<Transport, ConnectError>) {
        self.connecting = None;
        match result {
            Ok(transport) => {
                self.bridge_certificates(|certificates| certificates.server.clone_from(&transport.server));
                let destination = self.setup.bridge.destination.borrow();
                self.shown = destination.own.as_ref().and_then(|own| own.identity().cloned());
                drop(destination);
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
    fn opening(&mut self, address: usize) -> Option<Connecting> {
        let target = self.setup.bridge.destination.borrow().targets.get(address)?.clone();
        Some(self.dial(target))
    }

    fn dial(&mut self, target: Target) -> Connecting {
        match self.read_own() {
            Ok(own) => Box::pin(async move { dial::connect(&target, own).await }),
            Err(error) => Box::pin(async move { Err(ConnectError::permanent(error)) }),
        }
    }

    fn read_own(&mut self) -> Result<Option<Arc<CertifiedKey>>, String> {
        let mut destination = self.setup.bridge.destination.borrow_mut();
        let Some(own) = &mut destination.own else {
            drop(destination);
            self.bridge_certificates(|seen| (seen.client, seen.client_error) = (None, None));
            return Ok(None);
        };
        let read = own.read();
        let client = own.identity().cloned().map(|identity| (identity, own.file()));
        let client_error = own.error().cloned();
        drop(destination);
        self.bridge_certificates(|certificates| {
            (certificates.client, certificates.client_error) = (client, client_error);
        });
        read.map(Some)
    }

    fn bridge_certificates(&self, change: impl FnOnce(&mut Certificates)) {
        change(&mut self.setup.bridge.certificates.borrow_mut());
    }

    fn is_shown_too_long(&self, now: Now) -> bool {
        self.shown.as_ref().is_some_and(|shown| expiry::is_renewal_due(shown.begins, shown.ends, now.wall))
    }

    /// Our certificate is about to end: whether there is another by now.
    fn look(&mut self) {
        self.look_at = tokio::time::Instant::now() + LOOK;
        // While it can't be read, there is none.
        if self.read_own().is_err() {
            return;
        }
        let ends = |identity: Option<&Identity>| identity.map(|identity| identity.ends);
        let destination = self.setup.bridge.destination.borrow();
        let is_later =
            ends(destination.own.as_ref().and_then(OwnCertificate::identity)) > ends(self.shown.as_ref());
        drop(destination);
        if is_later {
            self.input(Input::Renew);
        }
    }

    /// A connection to a server that upstream has named: all but the place as for the first address, so that the
    /// transport is never a weaker one.
    fn opening_to(&mut self, place: Place) -> Option<Connecting> {
        let first = self.setup.bridge.destination.borrow().targets.first()?.clone();
        let target = Target { host: place.host, port: place.port, ..first };
        Some(self.dial(target))
    }

    fn read(&mut self, result: std::io::Result<usize>, scratch: &[u8]) {
        #[cfg(test)]
        if let Ok(bytes) = &result {
            let bytes = scratch.get(..*bytes).unwrap_or_default();
            crate::broker::broken::stub::strike(bytes, crate::broker::broken::stub::IN_LINK);
        }
        match result {
            Ok(0) => self.lost("the upstream closed the connection"),
            Ok(bytes) => self.input(Input::Bytes(scratch.get(..bytes).unwrap_or_default())),
            Err(error) => self.lost(&transport::io_words(&error)),
        }
    }

    /// Leaves unread what comes, for as long as nothing waits for it; what waits to be written is written all the same.
    fn rest_reading(&mut self) {
        self.reads = self.reads.saturating_add(1);
        let Some(transport) = &mut self.transport else { return };
        if self.reads < READS_BETWEEN_RESTS || !transport.can_rest() {
            return;
        }
        if self.setup.bridge.machine.borrow().may_rest_reading() && transport.rest(true).is_ok() {
            self.read_at = Some(tokio::time::Instant::now() + READING_RESTS);
            self.reads = 0;
        }
    }

    fn read_again(&mut self) {
        self.read_at = None;
        let resumed = self.transport.as_mut().map(|transport| transport.rest(false));
        if let Some(Err(error)) = resumed {
            self.lost(&transport::io_words(&error));
        }
    }

    fn lost(&mut self, error: &str) {
        self.transport = None;
        self.read_at = None;
        self.probing = None;
        self.out.clear();
        self.input(Input::Closed { error });
    }

    /// A panic has ended what was under way.
    fn cut_short(&mut self) {
        let error = "the link's work was cut short by a fault of this program";
        match self.connecting.take() {
            Some(_) => self.input(Input::ConnectFailed { error, permanent: false }),
            None => self.lost(error),
        }
    }

    fn carry_out(&mut self) {
        loop {
            let output = self.setup.bridge.machine.borrow_mut().poll_output_of();
            let Some((stream, output)) = output else { return };
            let outbox = self.setup.bridge.outboxes.borrow().get(usize::from(stream)).copied();
            let Some(outbox) = outbox else { continue };
            match output {
                Output::Connect { address } => self.connecting = self.opening(address),
                Output::ConnectTo(place) => self.connecting = self.opening_to(place),
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
                Output::ReadBack { before, bytes_max } => {
                    self.job(Job::ReadBack { outbox, before, bytes_max });
                }
                Output::Ack { up_to, beyond } => {
                    let sync = *self.setup.stop.borrow();
                    self.job(Job::Ack { outbox, up_to, beyond, sync });
                }
                Output::Keep { name, content } => self.job(Job::Keep { outbox, name, content }),
                Output::Purge { before } => {
                    let answer = self.setup.bridge.purges.borrow_mut().pop_front();
                    self.job(Job::Purge { outbox, before, answer });
                }
                Output::Safe(tokens) => self.setup.broker.force(ToBroker::Safe(tokens)),
                Output::Refused(tokens) => self.setup.broker.force(ToBroker::Refused(tokens)),
                Output::Notice(notice) => {
                    upstream_log::tell(&self.setup.name, &notice);
                    self.setup.journal.upstream(&self.setup.name, &notice);
                    self.setup.changed.notify_one();
                }
                Output::Stopped => self.stopped = true,
            }
        }
    }

    fn close(&mut self) {
        self.connecting = None;
        self.probing = None;
        self.read_again();
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
