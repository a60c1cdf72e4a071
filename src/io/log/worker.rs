//! A destination and the thread that writes to it, so that a pipe or disk that stands still holds up nobody else.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::time::Instant;
use tracing::Level;

use super::line::Line;
use super::recorder::Hub;

/// Lines that wait for a destination, some 300 bytes each: 1 MB for one that hangs. Those beyond are counted and lost.
const QUEUE_MAX: usize = 4_096;

/// A destination that failed is tried again after this; lines until then are counted and lost.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Something that takes lines.
pub(super) trait Destination: Debug + Send {
    /// Writes one line, opening what is needed first.
    ///
    /// # Errors
    /// In words, naming the place.
    fn write(&mut self, line: &Line) -> Result<(), String>;

    /// Opens anew at the next line.
    fn reopen(&mut self) {}
}

/// What the thread is told.
#[derive(Debug)]
enum Job {
    Line(Arc<Line>),
    Flush(SyncSender<()>),
}

/// The near end of a destination.
#[derive(Debug)]
pub(super) struct Worker {
    name: &'static str,
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    lost: AtomicU64,
    /// Of the lost ones, those that found the queue full and aren't told yet.
    overflown: AtomicU64,
    reopen: AtomicBool,
    error: Mutex<Option<String>>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// In words.
    pub(super) fn spawn(
        name: &'static str,
        destination: Box<dyn Destination>,
        hub: &Arc<Hub>,
    ) -> Result<Self, String> {
        let (jobs, taken) = sync_channel(QUEUE_MAX);
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            name,
            destination,
            shared: shared.clone(),
            hub: Arc::downgrade(hub),
            failed_at: None,
            lost_since: 0,
        };
        std::thread::Builder::new()
            .name("fg-log".into())
            .spawn(move || writer.run(&taken))
            .map_err(|error| format!("can't start a thread for the log: {error}"))?;
        Ok(Self { name, jobs, shared })
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Puts a line into the queue; false if it is full.
    pub(super) fn put(&self, line: &Arc<Line>) -> bool {
        let put = self.jobs.try_send(Job::Line(line.clone())).is_ok();
        if !put {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            self.shared.overflown.fetch_add(1, Ordering::Relaxed);
        }
        put
    }

    /// Opens what it writes to anew, before the next line.
    pub(super) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
    }

    /// Answered when all before is written. `None`: the queue was full until the deadline.
    pub(super) fn flush(&self, deadline: Instant) -> Option<Receiver<()>> {
        let (done, wait) = sync_channel(1);
        let mut job = Job::Flush(done);
        loop {
            match self.jobs.try_send(job) {
                Ok(()) => return Some(wait),
                Err(TrySendError::Full(back)) if Instant::now() < deadline => job = back,
                Err(_) => return None,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// For people.
    pub(super) fn describe(&self) -> Json {
        let error = self.shared.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({
            "name": self.name,
            "written": self.shared.written.load(Ordering::Relaxed),
            "lost": self.shared.lost.load(Ordering::Relaxed),
            "error": error,
        })
    }
}

/// The far end: lives on the thread.
struct Writer {
    name: &'static str,
    destination: Box<dyn Destination>,
    shared: Arc<Shared>,
    hub: Weak<Hub>,
    failed_at: Option<Instant>,
    lost_since: u64,
}

impl Writer {
    /// Writes until nobody has lines any more.
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.destination.reopen();
                self.failed_at = None;
            }
            match job {
                Job::Line(line) => self.line(&line),
                // Whoever asked may have given up.
                Job::Flush(done) => drop(done.send(())),
            }
        }
    }

    fn line(&mut self, line: &Line) {
        if self.failed_at.is_some_and(|at| at.elapsed() < RETRY_AFTER) {
            return self.lose();
        }
        match self.destination.write(line) {
            Ok(()) => {
                self.shared.written.fetch_add(1, Ordering::Relaxed);
                if self.set_error(None).is_some() {
                    self.works_again();
                }
                self.failed_at = None;
                self.tell_overflow();
            }
            Err(error) => {
                self.lose();
                self.failed_at = Some(Instant::now());
                if self.set_error(Some(error.clone())).is_none() {
                    let line = Line::new(Level::ERROR, "a destination of the log fails; trying again".into());
                    self.elsewhere(line.with("destination", self.name).with("error", error));
                }
            }
        }
    }

    fn lose(&mut self) {
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
        self.lost_since = self.lost_since.saturating_add(1);
    }

    fn set_error(&self, error: Option<String>) -> Option<String> {
        let mut there = self.shared.error.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *there, error)
    }

    fn works_again(&mut self) {
        let lost = std::mem::take(&mut self.lost_since);
        let line = Line::new(Level::WARN, "a destination of the log works again".into())
            .with("destination", self.name)
            .with("lost", lost);
        // Its own readers see the gap as well. If it fails again just now, the next line tells.
        let _ = self.destination.write(&line);
        self.elsewhere(line);
    }

    fn tell_overflow(&mut self) {
        let lost = self.shared.overflown.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let line = Line::new(Level::WARN, "lines of the log were lost: too many at once".into());
            // As above.
            let _ = self.destination.write(&line.with("lost", lost));
        }
    }

    /// Tells the other destinations, or as the last resort stderr.
    fn elsewhere(&self, line: Line) {
        let line = Arc::new(line);
        let told = self.hub.upgrade().is_some_and(|hub| hub.tell(&line, Some(self.name)));
        if !told && self.name != "stderr" {
            crate::cli::complain(line.words());
        }
    }
}
