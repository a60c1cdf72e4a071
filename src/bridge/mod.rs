//! One upstream as a pure machine: the queue of what waits for it, the link that sends it, the acknowledgements
//! that come back. It has no socket, no disk and no clock; `io/upstream` and `io/store_task` carry out what
//! [`Bridge::poll_output`] says.
//!
//! ```text
//!  Append ──▶ queue ──▶ sender (mapping, payload) ──▶ window ──▶ link ──▶ upstream
//!               ▲ Commit, Read, Ack                     │ PUBACK: contiguous prefix
//!               └───────────────────────────────────────┘
//! ```
//! What is absent: nothing here decides about LAN clients; it only says when a token is safe.

mod ages;
mod backoff;
mod birth;
pub mod config;
mod link;
mod mapping;
mod outputs;
mod queue;
mod sender;
mod slots;
mod stop;
mod suspect;
#[cfg(test)]
mod tests;
mod window;
mod words;

use std::sync::Arc;
use std::time::Duration;

use crate::message::{Message, SafeToken};
use crate::mqtt::{PacketId, ReasonCode};
use crate::time::{Mono, Now};
use link::{Event, Link};
use outputs::Outputs;
use queue::{Queue, Tally};
use sender::{Fence, Quota};
use slots::Slots;
use stop::Stopping;
use suspect::Suspect;
use window::{Owner, Window};

pub use config::{Config, Mapping, RetainRule};
pub use words::{Backlog, Drops, Input, LinkState, Notice, Output, Status};

/// How long an acknowledgement may wait for a commit before the round trip is known, and while upstream is away.
const TOKEN_WAIT: Duration = Duration::from_millis(250);
/// The longest that it may wait.
const TOKEN_WAIT_MAX: Duration = Duration::from_secs(1);
/// The shortest: on a fast link the jitter of a PUBACK is a multiple of the round trip, and each record that is
/// written for nothing wears the flash.
const TOKEN_WAIT_MIN: Duration = Duration::from_millis(10);
/// An outage that lasts this long is a long one: commits are spared.
const LONG_OUTAGE: Duration = Duration::from_secs(60);

/// The machine of one upstream.
#[derive(Debug)]
pub struct Bridge {
    config: Arc<Config>,
    link: Link,
    queue: Queue,
    window: Window,
    slots: Slots,
    out: Outputs,
    quota: Quota,
    fence: Fence,
    suspect: Suspect,
    told_refused: Vec<(String, &'static str)>,
    status_topic: Arc<str>,
    /// What the shell last said about the gateway's health.
    degraded: bool,
    /// What the status topic last said about it.
    said_degraded: bool,
    stopping: Option<Stopping>,
    delivered: u64,
    resent: u64,
}

impl Bridge {
    /// A bridge that wants to connect at once. `seed` spreads its reconnects.
    #[must_use]
    pub fn new(config: Config, backlog: Backlog, seed: u64, now: Now) -> Self {
        let config = Arc::new(config);
        let mut bridge = Self {
            link: Link::new(config.clone(), seed, now),
            queue: Queue::new(config.memory_bytes_max, backlog),
            window: Window::default(),
            slots: Slots::default(),
            out: Outputs::default(),
            quota: Quota::default(),
            fence: Fence::default(),
            suspect: Suspect::default(),
            told_refused: Vec::new(),
            status_topic: Arc::from(birth::topic(&config)),
            degraded: false,
            said_degraded: false,
            stopping: None,
            delivered: 0,
            resent: 0,
            config,
        };
        bridge.turn(now, Vec::new());
        bridge
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        let mut events = Vec::new();
        match input {
            Input::Append { message, token } => self.append(now, message, token),
            Input::Slot { topic, payload } => {
                if !self.slots.set(&topic, payload) {
                    self.out.notice(Notice::Dropping { reason: "slots" });
                }
            }
            Input::Health { degraded } => self.degraded = degraded,
            Input::Connected => self.link.connected(now, &mut self.out, &mut events),
            Input::ConnectFailed { error, permanent } => {
                self.link.connect_failed(now, error, permanent, &mut self.out);
            }
            Input::Bytes(bytes) => self.link.bytes(now, bytes, &mut self.out, &mut events),
            Input::Closed { error } => self.link.closed(now, error, &mut self.out, &mut events),
            Input::Committed { up_to } => self.queue.committed(up_to, &mut self.out),
            Input::CommitFailed { error } => self.queue.commit_failed(now.mono, error, &mut self.out),
            Input::Read { from, records } => self.queue.read_answer(now.mono, from, records),
            Input::Dropped { up_to, records, bytes } => {
                let before = self.queue.dropped_to();
                let mut in_window = Tally::default();
                for (_, size, _) in self.window.iter().filter(|&(no, ..)| no <= up_to.0 && no > before) {
                    in_window.add(size);
                }
                self.queue.dropped(up_to, Tally { records, bytes }, in_window, &mut self.out);
            }
            Input::Stop => self.stop(now),
            Input::Tick => {}
        }
        self.turn(now, events);
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

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
            self.quota.deadline().filter(|_| online),
            self.commit_due(),
            self.queue.deadline(online && self.stopping.is_none()),
            self.stop_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn append(&mut self, now: Now, message: Message, token: Option<SafeToken>) {
        if self.is_stopped() {
            // Too late: its token stays, so nobody is told that it is safe.
            return;
        }
        if mapping::takes(&self.config.maps, &message.topic) {
            self.queue.append(now.mono, message, token);
        } else if let Some(token) = token {
            // It is not for this upstream, so nothing here has to be safe.
            self.out.safe(token);
        }
    }

    /// What follows from any input: events of the link, what is due, what may be sent, written, forgotten.
    fn turn(&mut self, now: Now, mut events: Vec<Event>) {
        if self.is_stopped() {
            return;
        }
        self.take_events(now, &mut events);
        self.link.tick(now, &mut self.out, &mut events);
        if let Some(due) = self.puback_due().filter(|&due| now.mono >= due) {
            let waited = self.config.ack_timeout + now.mono.since(due);
            let words = format!("no PUBACK for {} s", waited.as_secs());
            self.link.give_up(now, words, &mut self.out, &mut events);
        }
        self.take_events(now, &mut events);
        self.tell_health(now);
        self.settle();
        self.pump(now);
        self.queue.trim(now.mono, self.link.is_online(), &mut self.out);
        self.settle();
        let commits = self.commit_due().is_some_and(|due| now.mono >= due);
        if let Some(ack) = self.queue.ack(now.mono, commits) {
            self.out.push(ack);
        }
        if commits && let Some(commit) = self.queue.commit(now.mono) {
            self.out.push(commit);
        }
        if self.link.is_online()
            && self.stopping.is_none()
            && let Some(read) = self.queue.read(now.mono)
        {
            self.out.push(read);
        }
        self.finish_stop(now);
    }

    fn take_events(&mut self, now: Now, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Online { session_present } => self.online(now, session_present),
                Event::PubAck { id, reason } => self.puback(now, id, reason),
                Event::Pong => self.fence.open(),
                Event::Down(cut) => {
                    let in_flight = self.window.records_in_flight();
                    let first = self.window.first_in_flight();
                    let first = first.filter(|&first| self.suspect.ended(cut, first, in_flight));
                    self.window.link_down();
                    if let Some(first) = first {
                        self.refuse(first, "upstream closes the connection at it");
                    }
                    self.quota = Quota::default();
                    self.fence.open();
                }
            }
        }
    }

    fn online(&mut self, now: Now, session_present: bool) {
        let away = self.link.was_online().then(|| self.link.away(now));
        let backlog = self.backlog().records;
        self.out.notice(Notice::Online { session_present, backlog, away });
        self.told_refused.clear();
        self.suspect.online();
        self.window.link_up(session_present);
        self.slots.all_due();
        self.said_degraded = self.is_degraded();
        let birth = birth::online(&self.config, self.link.connections(), self.said_degraded, now);
        self.slots.set_first(&self.status_topic, birth);
    }

    fn is_degraded(&self) -> bool {
        self.degraded || self.queue.store_fails()
    }

    /// The status topic says whether all is well.
    fn tell_health(&mut self, now: Now) {
        let degraded = self.is_degraded();
        if degraded != self.said_degraded && self.link.is_online() && self.stopping.is_none() {
            self.said_degraded = degraded;
            let status = birth::online(&self.config, self.link.connections(), degraded, now);
            self.slots.set(&self.status_topic, status);
        }
    }

    fn puback(&mut self, now: Now, id: PacketId, reason: ReasonCode) {
        // An identifier that isn't on its way: an answer from before, or a mistake; it changes nothing.
        let Some(owner) = self.window.answered(id, now.mono) else { return };
        if matches!(reason, ReasonCode::QuotaExceeded | ReasonCode::PacketIdentifierInUse) {
            // Not now, or not under this identifier: it stays the head, so that the order is kept.
            self.quota.refused(now.mono);
            if let Owner::Slot(key) = owner {
                self.slots.again(key);
            }
            return;
        }
        if !reason.is_error() {
            self.quota.accepted();
        }
        match owner {
            Owner::Slot(_) => self.suspect.slot_acked(),
            Owner::Record(_) => self.suspect.record_acked(),
        }
        match owner {
            Owner::Slot(key) => {
                if reason.is_error()
                    && let Some(slot) = self.slots.get(key)
                {
                    let topic = mapping::own_topic(&self.config.maps, &slot.topic);
                    self.tell_refused(topic, reason.words());
                }
                self.stop_answered(id);
            }
            Owner::Record(no) if reason.is_error() => self.refuse(no, reason.words()),
            Owner::Record(no) => {
                self.delivered += 1;
                self.finish(no, true);
            }
        }
    }

    /// Records that are done leave from the front: what was never written is forgotten, the rest is acknowledged
    /// towards the store.
    fn settle(&mut self) {
        while let Some(done) = self.window.pop() {
            self.queue.count_done(done.no, done.size, done.delivered);
        }
        self.queue.advance(self.window.first());
        if self.queue.is_empty() {
            self.queue.end_episode();
        }
    }

    fn puback_due(&self) -> Option<Mono> {
        self.window.oldest_flight().map(|at| at + self.config.ack_timeout)
    }

    fn commit_due(&self) -> Option<Mono> {
        if self.stopping.is_some() {
            return self.queue.commit_due(Duration::ZERO, Duration::ZERO);
        }
        let token_wait = if self.link.is_online() {
            let four = self.window.round_trip().map(|round_trip| round_trip * 4);
            four.map_or(TOKEN_WAIT, |wait| wait.clamp(TOKEN_WAIT_MIN, TOKEN_WAIT_MAX))
        } else {
            TOKEN_WAIT
        };
        let interval = self.config.commit_interval;
        let due = self.queue.commit_due(interval, token_wait)?;
        if self.link.is_online() {
            return Some(due);
        }
        // In an outage the wait depends on when the commit would be: short in the first minute, then long.
        let long = self.queue.commit_due(interval, TOKEN_WAIT_MAX)?;
        let first_minute_ends = self.link.away_since() + LONG_OUTAGE;
        Some(if due < first_minute_ends { due } else { long.max(due) })
    }

    fn backlog(&self) -> Tally {
        let mut tally = self.queue.waiting();
        for (_, size, _) in self.window.iter().filter(|&(.., done)| !done) {
            tally.add(size);
        }
        tally
    }

    /// A snapshot.
    #[must_use]
    pub fn status(&self, now: Now) -> Status {
        let backlog = self.backlog();
        let committed = self.queue.committed_to();
        let done = self.window.iter().filter(|&(no, _, done)| done && no > committed).count();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Status {
            name: self.config.name.clone(),
            state: self.link.state(),
            since: self.link.since(),
            error: self.link.error(),
            retry_in: self.link.retry_in(now),
            connections: self.link.connections(),
            backlog_records: backlog.records,
            backlog_bytes: backlog.bytes,
            backlog_oldest: self.queue.oldest(now).filter(|_| backlog.records > 0),
            unsafe_records: self.queue.uncommitted().saturating_sub(count(done)),
            inflight: count(self.window.records_in_flight()),
            delivered: self.delivered,
            elided: self.queue.elided,
            resent: self.resent,
            round_trip: self.window.round_trip(),
            drops: self.queue.drops,
        }
    }
}
