//! When what is due: the next moment at which the machine wants to be called. How long a commit may wait, `disk` says.

use super::Bridge;
use crate::time::Mono;

impl Bridge {
    /// When `Tick` is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        if self.is_stopped() {
            return None;
        }
        let online = self.link.is_online();
        [
            self.link.deadline(),
            self.puback_due(),
            self.suback_due().filter(|_| online),
            self.quota.deadline().filter(|_| online),
            self.suspect.deadline(self.now.mono).filter(|_| online),
            self.drain.deadline().filter(|_| online),
            self.batches.wake.filter(|_| online),
            self.commit_due(),
            self.notes_due(),
            self.vitals.deadline(),
            self.start_deadline(),
            self.renewal_deadline(),
            self.streams.queues().filter_map(|queue| queue.deadline(online && self.stopping.is_none())).min(),
            self.stop_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn puback_due(&self) -> Option<Mono> {
        self.window.oldest_flight().map(|at| at + self.config.ack_timeout)
    }

    pub(super) fn suback_due(&self) -> Option<Mono> {
        self.inbound.suback_due(self.config.ack_timeout)
    }
}
