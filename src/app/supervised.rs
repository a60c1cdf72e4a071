//! What the supervisor is told while the gateway runs, and whose beats its watchdog waits for.

use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;
use tracing::error;

use crate::io::mailbox::Mailbox;
use crate::io::shard::ToBroker;
use crate::io::store_task::Job;
use crate::io::supervisor::{self, BEAT_INTERVAL, Beat, Progress};

/// The threads that the watchdog wants to see get on.
#[derive(Clone, Debug)]
pub(super) struct Supervised {
    progress: Progress,
    service: Beat,
    pub(super) broker: Beat,
    pub(super) store: Beat,
    /// Excused until its thread beats: there may be none.
    pub(super) web: Beat,
}

impl Supervised {
    pub(super) fn new() -> Self {
        let progress = Progress::default();
        let web = progress.join("web");
        web.excuse();
        Self {
            service: progress.join("service"),
            broker: progress.join("broker"),
            store: progress.join("store"),
            web,
            progress,
        }
    }

    /// Tells that the gateway is ready once the listeners are open or have said why not; the store is by then. From then on
    /// the watchdog is fed, if there is one, until this is dropped. A beat takes the way of the thread's work: through the
    /// broker's inbox, through the store's jobs, as a task of the service thread and of the page's.
    pub(super) async fn run(self, broker: Arc<Mailbox<ToBroker>>, jobs: mpsc::Sender<Job>) {
        let (answer, listening) = oneshot::channel();
        broker.force(ToBroker::Sync(answer));
        if listening.await.is_err() {
            // The broker thread has died, and the gateway stops for that.
            return;
        }
        self.service.beat();
        supervisor::ready();
        let feeder = match supervisor::feed(self.progress) {
            Ok(Some(feeder)) => feeder,
            Ok(None) => return,
            Err(error) => {
                error!(%error, "the watchdog can't be fed: the supervisor will start the gateway again");
                return;
            }
        };
        loop {
            tokio::time::sleep(BEAT_INTERVAL).await;
            self.service.beat();
            if self.broker.ask() {
                broker.force(ToBroker::Beat);
            }
            // A store thread that has ended is noticed elsewhere.
            if self.store.ask() && jobs.send(Job::Beat).is_err() {
                drop(feeder);
                return;
            }
        }
    }
}
