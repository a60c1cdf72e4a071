//! The upstreams that run: each with its bridge, its outboxes and its task. Which of them stay, come, go or connect anew
//! when the config changes is decided here. What waits in an outbox stays in it, whatever changes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, mpsc};

use tokio::sync::{Notify, mpsc as answers, oneshot, watch};
use tokio::task::{JoinHandle as Task, spawn_local};
use tracing::error;

use super::ground::{self, Place};
use super::lineup::Constants;
use super::wanted::Wanted;
use crate::bridge::{self, Backlog, Bridge, Input, Notes};
use crate::broker::ForwardRule;
use crate::config::Config;
use crate::io::journal::Journal;
use crate::io::links::Links;
use crate::io::mailbox::Mailbox;
use crate::io::panics::Panics;
use crate::io::reporter::Reporter;
use crate::io::shard::ToBroker;
use crate::io::store_task::{Answer, Answers, Job, Opened};
use crate::io::upstream::{self, SharedBridge};
use crate::limits::STREAMS_RUN_MAX;
use crate::message::OutboxId;
use crate::payload::Forms;
use crate::store::OutboxState;

/// What the store has to say to one upstream.
pub(super) type Channel = (Answers, answers::UnboundedReceiver<(OutboxId, Answer)>);

/// A channel for each upstream, and who is answered about which outbox.
pub(super) fn channels(config: &Config) -> (Vec<Channel>, BTreeMap<OutboxId, Answers>) {
    let channels: Vec<Channel> = config.upstreams.iter().map(|_| answers::unbounded_channel()).collect();
    let of = |place: &Place| Some((place.id, channels.get(place.upstream)?.0.clone()));
    let answers = ground::places(config).iter().filter_map(of).collect();
    (channels, answers)
}

/// What all upstreams share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) broker: Arc<Mailbox<ToBroker>>,
    pub(super) changed: Rc<Notify>,
    pub(super) panics: Arc<Panics>,
    pub(super) links: Rc<Links>,
    pub(super) journal: Journal,
    /// There is no store: what waits does so in memory.
    pub(super) memory_only: bool,
}

/// As the reporter has it.
pub(super) fn shared(reporter: &Reporter) -> Shared {
    Shared {
        jobs: reporter.jobs.clone(),
        broker: reporter.broker.clone(),
        changed: reporter.changed.clone(),
        panics: reporter.panics.clone(),
        links: reporter.links.clone(),
        journal: reporter.journal(),
        memory_only: reporter.store_error.is_some(),
    }
}

#[derive(Debug)]
struct Running {
    wanted: Wanted,
    bridge: SharedBridge,
    answers: Answers,
    stop: watch::Sender<bool>,
    task: Task<()>,
}

impl Running {
    fn name(&self) -> &str {
        &self.wanted.settings.name
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Upstreams {
    constants: Constants,
    shared: Shared,
    running: RefCell<Vec<Running>>,
    /// The next outbox's number: none is given twice.
    next: Cell<u16>,
}

/// An outbox that was opened for a change.
struct OpenedOutbox {
    id: OutboxId,
    backlog: Backlog,
    notes: Notes,
}

enum Step {
    /// It is as it was, but for what no connection depends on.
    Stay,
    /// It connects anew; the outboxes are those of its new streams.
    Change(Vec<OpenedOutbox>),
    New(Vec<OpenedOutbox>, Channel),
}

/// A change that only needs to be put to use.
#[derive(Default)]
pub(super) struct Prepared {
    steps: Vec<(Wanted, Step)>,
}

impl Upstreams {
    /// None yet. `outboxes`: how many there are already.
    pub(super) fn new(constants: Constants, shared: Shared, outboxes: usize) -> Self {
        let next = Cell::new(u16::try_from(outboxes).unwrap_or(u16::MAX));
        Self { constants, shared, running: RefCell::default(), next }
    }

    /// Starts those of the config, with what the store held.
    pub(super) fn start(&self, config: &Config, channels: Vec<Channel>, found: (&[OutboxState], &[Notes])) {
        let places = ground::places(config);
        let forms = super::readings::forms(config);
        let all = config.upstreams.iter().zip(channels).zip(found.1).enumerate();
        for (index, ((upstream, channel), notes)) in all {
            let wanted = Wanted::of(config, upstream, &forms, &self.constants);
            if let Some(error) = &wanted.secret_error {
                error!(upstream = %upstream.name, error, "it can't be connected");
            }
            let own = places.iter().zip(found.0).filter(|(place, _)| place.upstream == index);
            let (ids, backlogs) = own.map(|(place, outbox)| (place.id, backlog(outbox))).unzip();
            let running = self.run(wanted, (ids, backlogs), notes, channel);
            self.running.borrow_mut().push(running);
        }
        self.tell_links();
    }

    fn run(
        &self,
        wanted: Wanted,
        outboxes: (Vec<OutboxId>, Vec<Backlog>),
        notes: &Notes,
        (sender, answers): Channel,
    ) -> Running {
        let now = self.constants.clock.now();
        let (ids, backlogs) = outboxes;
        let mut machine = Bridge::with_streams(wanted.settings.clone(), backlogs, fastrand::u64(..), now);
        machine.restore(now, notes);
        let bridge = SharedBridge {
            machine: Rc::new(RefCell::new(machine)),
            bell: Rc::new(Notify::new()),
            purges: Rc::default(),
            certificates: Rc::default(),
            outboxes: Rc::new(RefCell::new(ids)),
            destination: Rc::new(RefCell::new(wanted.destination())),
        };
        let (stop, stopping) = watch::channel(false);
        let task = spawn_local(upstream::run(upstream::Setup {
            name: wanted.settings.name.clone(),
            bridge: bridge.clone(),
            jobs: self.shared.jobs.clone(),
            answers,
            broker: self.shared.broker.clone(),
            clock: self.constants.clock.clone(),
            changed: self.shared.changed.clone(),
            journal: self.shared.journal.clone(),
            stop: stopping,
            panics: self.shared.panics.clone(),
        }));
        Running { wanted, bridge, answers: sender, stop, task }
    }

    /// All that can fail, without anything being changed: passwords are read, outboxes of what is new are opened.
    pub(super) async fn prepare(&self, config: &Config, forms: &Arc<Forms>) -> Result<Prepared, Vec<String>> {
        let mut prepared = Prepared::default();
        for upstream in &config.upstreams {
            let wanted = Wanted::of(config, upstream, forms, &self.constants);
            // What was so at the start already is told by its status, and keeps nothing else from being changed.
            let step = match &wanted.secret_error {
                Some(error) if !self.has_secret_error(&wanted) => Err(error.clone()),
                _ => self.step(&wanted).await,
            };
            match step {
                Ok(step) => prepared.steps.push((wanted, step)),
                Err(error) => {
                    self.abandon(prepared);
                    return Err(vec![format!("upstream {}: {error}", upstream.name)]);
                }
            }
        }
        Ok(prepared)
    }

    fn has_secret_error(&self, wanted: &Wanted) -> bool {
        let running = self.running.borrow();
        let found = running.iter().find(|running| running.name() == &*wanted.settings.name);
        found.is_some_and(|running| running.wanted.secret_error == wanted.secret_error)
    }

    async fn step(&self, wanted: &Wanted) -> Result<Step, String> {
        let name = &wanted.settings.name;
        let known = {
            let running = self.running.borrow();
            let found = running.iter().find(|running| running.name() == &**name);
            found.map(|running| {
                let machine = running.bridge.machine.borrow();
                let new = machine.new_streams(&wanted.settings);
                let is_same = running.wanted.connects_as(wanted);
                (is_same, new, machine.streams_count(), running.answers.clone())
            })
        };
        match known {
            Some((true, ..)) => Ok(Step::Stay),
            Some((false, new, streams, _)) if streams + new.len() > STREAMS_RUN_MAX => Err(format!(
                "it has had {streams} streams since the start, and {STREAMS_RUN_MAX} at most may be until the next one"
            )),
            Some((false, new, _, answers)) => {
                let names: Vec<String> = new.iter().map(|stream| format!("{name}/{stream}")).collect();
                Ok(Step::Change(self.open(wanted, &names, &answers).await?))
            }
            None => {
                let channel = answers::unbounded_channel();
                let names: Vec<String> = wanted.outboxes.iter().map(|(name, _)| name.clone()).collect();
                let opened = self.open(wanted, &names, &channel.0).await?;
                Ok(Step::New(opened, channel))
            }
        }
    }

    /// Opens outboxes of these names, all or none.
    async fn open(
        &self,
        wanted: &Wanted,
        names: &[String],
        answers: &Answers,
    ) -> Result<Vec<OpenedOutbox>, String> {
        let mut opened = Vec::new();
        for (name, bounds) in wanted.outboxes.iter().filter(|(name, _)| names.contains(name)) {
            match self.open_one(name.clone(), *bounds, answers.clone()).await {
                Ok(outbox) => opened.push(outbox),
                Err(error) => {
                    self.close(opened.iter().map(|outbox| outbox.id));
                    return Err(format!("its outbox can't be opened: {error}"));
                }
            }
        }
        Ok(opened)
    }

    async fn open_one(
        &self,
        name: String,
        bounds: crate::store::Bounds,
        answers: Answers,
    ) -> Result<OpenedOutbox, String> {
        let id = OutboxId(self.next.get());
        let next = id.0.checked_add(1);
        self.next.set(next.ok_or("too many have come and gone since the start; restart the gateway")?);
        let (answer, opened) = oneshot::channel();
        let job = Job::Open { outbox: id, name, bounds, answers, answer };
        let gone = || "the store thread is gone".to_owned();
        self.shared.jobs.send(job).map_err(|_| gone())?;
        match opened.await.map_err(|_| gone())? {
            Ok(Opened { state, notes }) => Ok(OpenedOutbox { id, backlog: backlog(&state), notes }),
            // As at a start without a store.
            Err(_) if self.shared.memory_only => {
                Ok(OpenedOutbox { id, backlog: Backlog::default(), notes: Notes::default() })
            }
            Err(error) => Err(error),
        }
    }

    fn close(&self, outboxes: impl IntoIterator<Item = OutboxId>) {
        for outbox in outboxes {
            // Without a store thread there is nothing to close.
            let _ = self.shared.jobs.send(Job::Close { outbox });
        }
    }

    /// A change that is not put to use after all.
    pub(super) fn abandon(&self, prepared: Prepared) {
        for (_, step) in prepared.steps {
            match step {
                Step::Stay => {}
                Step::Change(opened) | Step::New(opened, _) => self.close(opened.iter().map(|one| one.id)),
            }
        }
    }

    /// Starts what is new and has what is changed connect anew; from now on each takes what it is to take. Those that are
    /// gone go on until [`Self::end_gone`]. Gives the names of all that is not as it was, and the bridges that are new.
    pub(super) fn begin(&self, prepared: Prepared) -> (Vec<String>, Vec<SharedBridge>) {
        let mut before = self.running.take();
        let mut running = Vec::new();
        let (mut reopened, mut new) = (Vec::new(), Vec::new());
        for (wanted, step) in prepared.steps {
            if !matches!(step, Step::Stay) {
                reopened.push(format!("upstream {}", wanted.settings.name));
            }
            let known = before.iter().position(|one| one.wanted.settings.name == wanted.settings.name);
            let known = known.map(|at| before.swap_remove(at));
            match (known, step) {
                (Some(one), Step::Change(opened)) => running.push(self.change(one, wanted, opened)),
                (Some(one), _) => running.push(self.adjust(one, wanted)),
                (None, Step::New(opened, channel)) => {
                    let notes = opened.first().map(|outbox| outbox.notes.clone()).unwrap_or_default();
                    let outboxes = opened.into_iter().map(|outbox| (outbox.id, outbox.backlog)).unzip();
                    let one = self.run(wanted, outboxes, &notes, channel);
                    new.push(one.bridge.clone());
                    running.push(one);
                }
                // Nobody else changes what runs while a change is under way.
                (None, _) => {}
            }
        }
        reopened.extend(before.iter().map(|gone| format!("upstream {}", gone.name())));
        running.append(&mut before);
        self.running.replace(running);
        self.tell_links();
        (reopened, new)
    }

    fn change(&self, mut running: Running, wanted: Wanted, opened: Vec<OpenedOutbox>) -> Running {
        let (ids, backlogs): (Vec<_>, Vec<_>) =
            opened.into_iter().map(|outbox| (outbox.id, outbox.backlog)).unzip();
        let bridge = &running.bridge;
        bridge.outboxes.borrow_mut().extend(ids);
        bridge.destination.replace(wanted.destination());
        let config = Box::new(wanted.settings.clone());
        let now = self.constants.clock.now();
        bridge.machine.borrow_mut().handle(now, Input::Reconfigure { config, backlogs });
        bridge.bell.notify_one();
        self.bind(&running, &wanted);
        running.wanted = wanted;
        running
    }

    fn adjust(&self, mut running: Running, wanted: Wanted) -> Running {
        let bridge::Config { forms, commit_interval, memory_bytes_max, .. } = &wanted.settings;
        let (forms, commit_interval, memory_bytes_max) = (forms.clone(), *commit_interval, *memory_bytes_max);
        let adjust = Input::Adjust { forms, commit_interval, memory_bytes_max };
        running.bridge.machine.borrow_mut().handle(self.constants.clock.now(), adjust);
        running.bridge.bell.notify_one();
        self.bind(&running, &wanted);
        running.wanted = wanted;
        running
    }

    /// Tells the store what the outboxes may hold, where that has changed.
    fn bind(&self, running: &Running, wanted: &Wanted) {
        let names = running.bridge.machine.borrow().outbox_names();
        for (name, outbox) in names.iter().zip(&*running.bridge.outboxes.borrow()) {
            let bounds = |wanted: &Wanted| {
                wanted.outboxes.iter().find(|(other, _)| other == name).map(|(_, bounds)| *bounds)
            };
            if let Some(bounds) = bounds(wanted).filter(|new| bounds(&running.wanted) != Some(*new)) {
                // Without a store thread nothing is kept anyway.
                let _ = self.shared.jobs.send(Job::Bounds { outbox: *outbox, bounds });
            }
        }
    }

    /// The broker's rules for what goes to which outbox, of those that the config has.
    pub(super) fn forward(&self, config: &Config) -> Vec<ForwardRule> {
        let mut rules = Vec::new();
        for running in self.running.borrow().iter().filter(|running| is_in(config, running)) {
            let Some(outbox) = running.bridge.outboxes.borrow().first().copied() else { continue };
            let outward = running.wanted.settings.maps.iter().filter(|map| map.direction.goes_out());
            rules.extend(outward.map(|map| ForwardRule { filter: map.filter.clone(), outbox }));
        }
        rules
    }

    /// Ends the upstreams that the config has no longer; nothing is forwarded to them any more. What waits for them stays
    /// on disk.
    pub(super) async fn end_gone(&self, config: &Config) {
        let stays = |running: &Running| is_in(config, running);
        let (stay, gone): (Vec<_>, Vec<_>) = self.running.take().into_iter().partition(stays);
        self.running.replace(stay);
        if gone.is_empty() {
            return;
        }
        self.tell_links();
        self.end(gone).await;
    }

    /// Ends all of them.
    pub(super) async fn end_all(&self) {
        let all = self.running.take();
        self.end(all).await;
    }

    async fn end(&self, gone: Vec<Running>) {
        for running in &gone {
            running.stop.send_replace(true);
        }
        for mut running in gone {
            // A task that panicked has told so.
            let _ = (&mut running.task).await;
            let now = self.constants.clock.now();
            let at_risk = running.bridge.machine.borrow().status(now).unsafe_records;
            if at_risk > 0 {
                let upstream = running.name();
                error!(
                    upstream,
                    records = at_risk,
                    "stopped with records that could not be written to the store"
                );
            }
            self.close(running.bridge.outboxes.borrow().iter().copied());
        }
    }

    fn tell_links(&self) {
        self.shared.links.set(self.running.borrow().iter().map(|running| running.bridge.clone()));
        self.shared.changed.notify_one();
    }
}

fn is_in(config: &Config, running: &Running) -> bool {
    config.upstreams.iter().any(|upstream| *upstream.name == *running.name())
}

fn backlog(outbox: &OutboxState) -> Backlog {
    Backlog {
        acked: outbox.acked,
        beyond: outbox.beyond.clone(),
        last: outbox.last,
        records: outbox.records,
        bytes: outbox.bytes,
        oldest: outbox.oldest,
    }
}
