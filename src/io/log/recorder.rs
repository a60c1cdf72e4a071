//! Between `tracing` and the destinations: makes lines of events, holds storms back, hands each line to all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::time::Instant;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::damper::Damper;
use super::line::Line;
use super::recent::Recent;
use super::worker::Worker;

/// The layer that takes events.
#[derive(Debug)]
pub(super) struct Recorder {
    hub: Arc<Hub>,
}

impl Recorder {
    pub(super) const fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }
}

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.hub.take(Line::of(event));
    }
}

/// Where all lines pass. Nothing in here logs by `tracing`, so no line makes another.
#[derive(Debug)]
pub(super) struct Hub {
    started: Instant,
    damper: Mutex<Damper>,
    workers: Mutex<Vec<Worker>>,
    recent: Mutex<Recent>,
}

impl Hub {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            damper: Mutex::default(),
            workers: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// Replaces all destinations. Those before write what they have, then end.
    pub(super) fn set_workers(&self, workers: Vec<Worker>) {
        *self.workers() = workers;
    }

    fn take(&self, line: Line) {
        let line = match line.event {
            // Outsiders cause these, as many as they like.
            Some(_) => match self.damper().admit(self.started.elapsed(), &key(&line)) {
                None => return,
                Some(0) => line,
                Some(more) => line.with("more", more),
            },
            None => line,
        };
        self.tell(&Arc::new(line), None);
    }

    /// Hands a line to all destinations, or to all but one; false if there was none.
    pub(super) fn tell(&self, line: &Arc<Line>, but: Option<&str>) -> bool {
        self.recent().add(line);
        let mut told = false;
        for worker in self.workers().iter().filter(|worker| Some(worker.name()) != but) {
            told |= worker.put(line);
        }
        told
    }

    /// Tells what was held back.
    pub(super) fn tick(&self) {
        self.tell_held(false);
    }

    fn tell_held(&self, all: bool) {
        let due = self.damper().due(self.started.elapsed(), all);
        for (like, more) in due {
            let mut line = Line::new(Level::INFO, "lines like this were left out".into());
            line.subsystem = "broker";
            let like = if like.is_empty() { "of many clients".to_owned() } else { like };
            self.tell(&Arc::new(line.with("more", more).with("like", like)), None);
        }
    }

    pub(super) fn reopen(&self) {
        for worker in self.workers().iter() {
            worker.reopen();
        }
    }

    /// Tells what was held back, and waits until everything is written or the time is over.
    pub(super) fn flush(&self, limit: Duration) {
        self.tell_held(true);
        let deadline = Instant::now() + limit;
        let waits: Vec<_> = self.workers().iter().map(|worker| worker.flush(deadline)).collect();
        for wait in waits.into_iter().flatten() {
            // Whoever isn't ready by then has a destination that hangs.
            let _ = wait.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// The last lines.
    pub(super) fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn describe(&self) -> Json {
        Json::Array(self.workers().iter().map(Worker::describe).collect())
    }

    fn damper(&self) -> MutexGuard<'_, Damper> {
        self.damper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn workers(&self) -> MutexGuard<'_, Vec<Worker>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What makes two lines alike: what they say, and of whom. Who has no name yet counts by its address, without the port.
fn key(line: &Line) -> String {
    let mut key = line.message.clone();
    for name in ["client_id", "filter", "listener"] {
        if let Some(text) = line.text(name) {
            key.push(' ');
            key.push_str(text);
        }
    }
    if line.text("client_id").is_none()
        && let Some(peer) = line.text("peer")
    {
        key.push(' ');
        key.push_str(peer.rsplit_once(':').map_or(peer, |(address, _)| address));
    }
    key
}
