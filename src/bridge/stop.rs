//! The clean stop: offline status, DISCONNECT, everything on disk, the last Ack. It ends within its own deadlines
//! also when link or store are dead; what is then not written stays visible in the status.

use std::time::Duration;

use super::queue::Queue;
use super::words::Output;
use super::{Bridge, birth};
use crate::mqtt::PacketId;
use crate::time::{Mono, Now};

/// How long the offline status may take to be acknowledged.
const FAREWELL_WAIT: Duration = Duration::from_secs(2);
/// How long all of it may take: below systemd's and a user's patience.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// How far the stop is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    since: Mono,
    farewell: Farewell,
    left: bool,
    stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    Waiting,
    Sent(PacketId),
    Done,
}

impl Bridge {
    pub(super) fn stop(&mut self, now: Now) {
        if self.stopping.is_some() {
            return;
        }
        let stopping = Stopping { since: now.mono, farewell: Farewell::Waiting, left: false, stopped: false };
        self.stopping = Some(stopping);
        for queue in self.streams.queues_mut() {
            queue.retry_soon(now.mono);
        }
        if self.link.is_online() {
            let payload = birth::offline(&self.config, self.link.connections(), "stopped", now);
            self.slots.set_first(&self.status_topic, payload);
        }
    }

    /// The offline status was written, with an identifier unless upstream has only QoS 0.
    pub(super) fn stop_sent(&mut self, id: Option<PacketId>) {
        if let Some(stopping) = &mut self.stopping {
            stopping.farewell = id.map_or(Farewell::Done, Farewell::Sent);
        }
    }

    /// A slot's value was acknowledged.
    pub(super) fn stop_answered(&mut self, id: PacketId) {
        if let Some(stopping) = &mut self.stopping
            && stopping.farewell == Farewell::Sent(id)
        {
            stopping.farewell = Farewell::Done;
        }
    }

    pub(super) fn finish_stop(&mut self, now: Now) {
        let Some(mut stopping) = self.stopping else { return };
        let patient = now.mono < stopping.since + FAREWELL_WAIT && self.link.is_online();
        if !stopping.left && (stopping.farewell == Farewell::Done || !patient) {
            self.announce(false);
            self.link.leave(now, stopping.farewell == Farewell::Done, &mut self.out);
            stopping.left = true;
        }
        let all_written = self.streams.queues().all(Queue::all_written);
        if stopping.left && (all_written || now.mono >= stopping.since + STOP_WAIT) {
            for stream in self.streams.numbers() {
                let in_window = self.window.open(stream);
                if let Some(ack) = self.streams.queue(stream).ack(now.mono, true, in_window) {
                    self.out.push_of(stream, ack);
                }
            }
            self.keep_notes(now, true);
            self.out.flush();
            self.out.push(Output::Stopped);
            stopping.stopped = true;
        }
        self.stopping = Some(stopping);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopping.is_some_and(|stopping| stopping.stopped)
    }

    pub(super) fn stop_deadline(&self) -> Option<Mono> {
        let stopping = self.stopping?;
        Some(stopping.since + if stopping.left { STOP_WAIT } else { FAREWELL_WAIT })
    }
}
