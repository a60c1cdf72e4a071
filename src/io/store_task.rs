//! The store thread: takes jobs, blocks on the disk, answers. A disk that stalls for seconds delays
//! acknowledgements, and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use tokio::sync::{mpsc as answers, oneshot};
use tracing::{error, info, warn};

use super::clock::Clock;
use super::mailbox::Mailbox;
use super::shard::{PersistError, ToBroker, update};
use super::store_watch::{self, Busy};
use super::supervisor::Beat;
use crate::bridge::{Notes, notes};
use crate::message::OutboxId;
use crate::ranges::Ranges;
use crate::record::{RecordNo, StoredRecord};
use crate::state::Change;
use crate::store::inspect::{Checked, Report};
use crate::store::{Bounds, Dropped, OutboxState, Store, StoreError, Usage};
use crate::time::{ClockTrust, Mono, Timestamp};

/// How the store thread is getting on, for whoever must not wait for it.
#[derive(Clone, Debug, Default)]
pub struct DiskStatus {
    /// Why sessions and retained messages could not be written the last time.
    pub state_error: Option<String>,
    /// Since when it has been at its present job.
    pub busy_since: Option<Mono>,
}

/// What the store thread does. Each outbox has at most one commit and one read under way and sends one
/// acknowledgement a second, so the channel needs no bound of its own.
#[derive(Debug)]
pub enum Job {
    /// Write and sync.
    Commit {
        /// Where.
        outbox: OutboxId,
        /// What.
        records: Vec<StoredRecord>,
    },
    /// Read.
    Read {
        /// Where.
        outbox: OutboxId,
        /// From which on.
        from: RecordNo,
        /// About how many bytes.
        bytes_max: usize,
    },
    /// Read backwards.
    ReadBack {
        /// Where.
        outbox: OutboxId,
        /// Below which.
        before: RecordNo,
        /// About how many bytes.
        bytes_max: usize,
    },
    /// Forget.
    Ack {
        /// Where.
        outbox: OutboxId,
        /// Up to which.
        up_to: RecordNo,
        /// And which behind that.
        beyond: Ranges,
        /// Whether it must be on disk at once.
        sync: bool,
    },
    /// Write and sync a small fact beside the outbox. No answer.
    Keep {
        /// Where.
        outbox: OutboxId,
        /// What it is called.
        name: &'static str,
        /// What.
        content: Vec<u8>,
    },
    /// Write and sync changes of the broker's state.
    CommitState {
        /// Which batch.
        number: u64,
        /// What.
        changes: Vec<Change>,
    },
    /// Give up records, as a person wants it.
    Purge {
        /// Where.
        outbox: OutboxId,
        /// Those that were committed before; `None`: all.
        before: Option<Timestamp>,
        /// Who asked.
        answer: Option<super::upstream::Purge>,
    },
    /// Tell what an outbox holds.
    Report {
        /// Which one.
        outbox: OutboxId,
        /// Its upstream's name.
        name: String,
        /// Who asked.
        answer: oneshot::Sender<Result<Report, String>>,
    },
    /// Look at every byte of the next generation.
    Verify {
        /// Where.
        outbox: OutboxId,
        /// The generation before it.
        after: u64,
        /// Who asked.
        answer: oneshot::Sender<Result<Option<(u64, Checked)>, String>>,
    },
    /// Read for somebody else than the upstream.
    Export {
        /// Where.
        outbox: OutboxId,
        /// From which on.
        from: RecordNo,
        /// About how many bytes.
        bytes_max: usize,
        /// Who asked.
        answer: oneshot::Sender<Result<Vec<StoredRecord>, String>>,
    },
    /// Open an outbox, whose answers go to its upstream from then on.
    Open {
        /// Where.
        outbox: OutboxId,
        /// Its name.
        name: String,
        /// What it may hold.
        bounds: Bounds,
        /// To its upstream.
        answers: Answers,
        /// Who asked: what is in it, and what was noted beside it.
        answer: oneshot::Sender<Result<Opened, String>>,
    },
    /// Close an outbox. What is in it stays on disk.
    Close {
        /// Where.
        outbox: OutboxId,
    },
    /// Go by other bounds.
    Bounds {
        /// Where.
        outbox: OutboxId,
        /// Which.
        bounds: Bounds,
    },
    /// Leave so many bytes of the disk free; `None` as where nobody has said.
    Reserve(Option<u64>),
    /// Tell what the broker's state takes on disk.
    StateBytes(oneshot::Sender<u64>),
    /// Tell what the outboxes take.
    Usage(oneshot::Sender<BTreeMap<OutboxId, Usage>>),
    /// Nothing, but for showing that the thread gets on.
    Beat,
    /// Answer when all before it is done.
    Sync(oneshot::Sender<()>),
}

/// To an upstream, about its outboxes.
pub type Answers = answers::UnboundedSender<(OutboxId, Answer)>;

/// What an outbox held when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// Its records.
    pub state: OutboxState,
    /// What was noted beside it.
    pub notes: Notes,
}

/// What the store thread tells an upstream.
#[derive(Debug)]
pub enum Answer {
    /// On disk, synced.
    Committed {
        /// The last of the job.
        up_to: RecordNo,
        /// What had to go to make room.
        dropped: Option<Dropped>,
    },
    /// Not on disk.
    CommitFailed {
        /// In words.
        error: String,
    },
    /// Not on disk: the outbox keeps what it has.
    Full,
    /// What was to be given up is gone.
    Purged {
        /// What that was.
        dropped: Option<Dropped>,
    },
    /// What was read.
    Read {
        /// As asked.
        from: RecordNo,
        /// In order.
        records: Vec<StoredRecord>,
    },
    /// What was read backwards.
    ReadBack {
        /// As asked.
        before: RecordNo,
        /// Newest first.
        records: Vec<StoredRecord>,
    },
    /// It could not be read now; asking again may help.
    ReadFailed(Job),
}

/// What is held of the store thread.
#[derive(Debug)]
pub struct StoreHandle {
    /// Takes jobs.
    pub jobs: mpsc::Sender<Job>,
    /// The thread.
    pub thread: JoinHandle<()>,
    /// How it is getting on.
    pub status: Arc<Mutex<DiskStatus>>,
}

/// The store thread's state.
struct StoreThread {
    /// Or why there is none: then nothing can be kept, and every commit says so.
    store: Result<Store, String>,
    answers: BTreeMap<OutboxId, Answers>,
    broker: Arc<Mailbox<ToBroker>>,
    clock: Clock,
    read_failing: bool,
    state_failing: bool,
    status: Arc<Mutex<DiskStatus>>,
}

/// Starts the thread. It ends when the job channel closes.
///
/// # Errors
/// If the thread can't be started.
pub fn spawn(
    store: Result<Store, String>,
    answers: BTreeMap<OutboxId, Answers>,
    broker: Arc<Mailbox<ToBroker>>,
    clock: Clock,
    beat: Beat,
) -> std::io::Result<StoreHandle> {
    let shared = Arc::<Mutex<DiskStatus>>::default();
    let status = Arc::clone(&shared);
    let (sender, jobs) = mpsc::channel();
    let busy = Busy::default();
    if let Ok(store) = &store {
        store_watch::spawn(busy.clone(), store.dir().to_owned())?;
    }
    let (read_failing, state_failing) = (false, false);
    let mut thread = StoreThread { store, answers, broker, clock, read_failing, state_failing, status };
    let handle = std::thread::Builder::new().name("fg-store".into()).spawn(move || {
        for job in jobs {
            let now = thread.clock.now().mono;
            update(&thread.status, |status| status.busy_since = Some(now));
            busy.begin();
            // The store's own watch knows a disk that stalls from a hang.
            beat.excuse();
            thread.work(job);
            busy.end();
            beat.beat();
            update(&thread.status, |status| status.busy_since = None);
        }
        beat.excuse();
    })?;
    Ok(StoreHandle { jobs: sender, thread: handle, status: shared })
}

impl StoreThread {
    fn work(&mut self, job: Job) {
        match job {
            Job::Commit { outbox, records } => {
                let answer = self.commit(outbox, &records);
                self.answer(outbox, answer);
            }
            Job::Read { outbox, from, bytes_max } => {
                let answer = self.read(outbox, from, bytes_max);
                self.answer(outbox, answer);
            }
            Job::ReadBack { outbox, before, bytes_max } => {
                let answer = self.read_back(outbox, before, bytes_max);
                self.answer(outbox, answer);
            }
            Job::Ack { outbox, up_to, beyond, sync } => {
                let now = self.clock.now().wall;
                if let Ok(store) = &mut self.store
                    && let Err(error) = store.ack_beyond(outbox, up_to, &beyond, now, sync)
                {
                    // Only duplicates after a crash can come of it; the next acknowledgement tries again.
                    error!(%error, "can't note what upstream acknowledged");
                }
            }
            Job::Keep { outbox, name, content } => {
                if let Ok(store) = &mut self.store
                    && let Err(error) = store.keep(outbox, name, &content)
                {
                    error!(%error, name, "can't note what belongs to the outbox; after a restart it is missing");
                }
            }
            Job::CommitState { number, changes } => {
                let result = self.commit_state(&changes);
                self.broker.force(ToBroker::Persisted { number, result });
            }
            // Whoever asked may have given up.
            Job::Report { outbox, name, answer } => {
                drop(answer.send(self.with_store(|store| store.report(outbox, &name))));
            }
            Job::Verify { outbox, after, answer } => {
                drop(answer.send(self.with_store(|store| store.verify_after(outbox, after))));
            }
            Job::Export { outbox, from, bytes_max, answer } => {
                let read = |store: &mut Store| store.read_behind(outbox, from, bytes_max);
                drop(answer.send(self.with_store(read)));
            }
            Job::StateBytes(answer) => {
                let _ = answer.send(self.store.as_ref().map_or(0, Store::state_bytes));
            }
            Job::Purge { outbox, before, answer } => {
                let now = self.clock.now().wall;
                let done = self.with_store(|store| store.purge(outbox, before, now));
                if let Ok(Some(dropped)) = &done {
                    warn!(records = dropped.purged, bytes = dropped.bytes, "stored records were purged");
                }
                self.answer(outbox, Answer::Purged { dropped: done.as_ref().ok().copied().flatten() });
                if let Some(asker) = answer {
                    drop(asker.send(done.map(Option::unwrap_or_default)));
                }
            }
            Job::Usage(answer) => {
                let usage = |outbox: &OutboxId| {
                    (*outbox, self.store.as_ref().map(|store| store.usage(*outbox)).unwrap_or_default())
                };
                drop(answer.send(self.answers.keys().map(usage).collect()));
            }
            Job::Beat => {}
            Job::Sync(answer) => drop(answer.send(())),
            Job::Open { .. } | Job::Close { .. } | Job::Bounds { .. } | Job::Reserve(_) => self.arrange(job),
        }
    }

    /// Outboxes come, go, and may hold more or less.
    fn arrange(&mut self, job: Job) {
        match job {
            Job::Open { outbox, name, bounds, answers, answer } => {
                let opened = self.with_store(|store| open(store, outbox, &name, bounds));
                self.answers.insert(outbox, answers);
                drop(answer.send(opened));
            }
            Job::Close { outbox } => {
                self.answers.remove(&outbox);
                if let Ok(store) = &mut self.store {
                    store.close_outbox(outbox);
                }
            }
            Job::Bounds { outbox, bounds } => {
                if let Err(error) = self.with_store(|store| store.set_bounds(outbox, bounds)) {
                    error!(error, "the outbox keeps its bounds");
                }
            }
            Job::Reserve(reserve) => {
                if let Ok(store) = &mut self.store {
                    store.leave_free(reserve);
                }
            }
            // No other is given.
            _ => {}
        }
    }

    /// Does something for people.
    fn with_store<T>(&mut self, f: impl FnOnce(&mut Store) -> Result<T, StoreError>) -> Result<T, String> {
        match &mut self.store {
            Ok(store) => f(store).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        }
    }

    fn commit(&mut self, outbox: OutboxId, records: &[StoredRecord]) -> Answer {
        let now = self.clock.now();
        let up_to = records.last().map(|record| record.no).unwrap_or_default();
        match &mut self.store {
            Ok(store) => {
                store.vouch_for_clock(now.trust == ClockTrust::Synced);
                match store.commit(outbox, records, now.wall) {
                    Ok(dropped) => Answer::Committed { up_to, dropped },
                    Err(StoreError::Full { .. }) => Answer::Full,
                    Err(error) => Answer::CommitFailed { error: error.to_string() },
                }
            }
            Err(error) => Answer::CommitFailed { error: error.clone() },
        }
    }

    fn commit_state(&mut self, changes: &[Change]) -> Result<(), PersistError> {
        let now = self.clock.now().wall;
        let Ok(store) = &mut self.store else { return Err(PersistError::Failed) };
        let Err(error) = store.commit_state(changes, now) else {
            if std::mem::take(&mut self.state_failing) {
                update(&self.status, |status| status.state_error = None);
                info!("sessions and retained messages are on disk again");
            }
            return Ok(());
        };
        update(&self.status, |status| status.state_error = Some(error.to_string()));
        if !std::mem::replace(&mut self.state_failing, true) {
            error!(%error, "can't write sessions and retained messages; what depends on them is not acknowledged");
        }
        match error {
            StoreError::Damaged { .. } => Err(PersistError::Lost),
            _ => Err(PersistError::Failed),
        }
    }

    fn read(&mut self, outbox: OutboxId, from: RecordNo, bytes_max: usize) -> Answer {
        let Ok(store) = &mut self.store else { return Answer::Read { from, records: Vec::new() } };
        let read = store.read(outbox, from, bytes_max);
        match self.readable(read) {
            Some(records) => Answer::Read { from, records },
            None => Answer::ReadFailed(Job::Read { outbox, from, bytes_max }),
        }
    }

    fn read_back(&mut self, outbox: OutboxId, before: RecordNo, bytes_max: usize) -> Answer {
        let Ok(store) = &mut self.store else { return Answer::ReadBack { before, records: Vec::new() } };
        let read = store.read_back(outbox, before, bytes_max);
        match self.readable(read) {
            Some(records) => Answer::ReadBack { before, records },
            None => Answer::ReadFailed(Job::ReadBack { outbox, before, bytes_max }),
        }
    }

    /// What a read came to; `None` if asking again may help.
    fn readable(&mut self, read: Result<Vec<StoredRecord>, StoreError>) -> Option<Vec<StoredRecord>> {
        match read {
            Ok(records) => {
                self.read_failing = false;
                Some(records)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.read_failing, true) {
                    error!(%error, "can't read the outbox");
                }
                // What was damaged is set aside and counted: there is nothing to ask for again.
                matches!(error, StoreError::Damaged { .. }).then(Vec::new)
            }
        }
    }

    fn answer(&self, outbox: OutboxId, answer: Answer) {
        if let Some(sender) = self.answers.get(&outbox) {
            // An upstream that has stopped wants no answer.
            let _ = sender.send((outbox, answer));
        }
    }
}

/// Opens an outbox, with what was noted beside it.
fn open(store: &mut Store, outbox: OutboxId, name: &str, bounds: Bounds) -> Result<Opened, StoreError> {
    let state = store.open_outbox_within(outbox, name, bounds)?;
    let kept = |name| store.kept(outbox, name);
    let notes = Notes {
        outage: kept(notes::OUTAGE),
        refused: kept(notes::REFUSED),
        traffic: kept(notes::TRAFFIC),
        paused: kept(notes::PAUSED),
    };
    Ok(Opened { state, notes })
}
