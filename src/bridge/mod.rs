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
mod answer;
mod backoff;
mod birth;
pub mod config;
mod dead;
mod drain;
mod inbound;
mod link;
mod mapping;
pub mod notes;
mod outage;
mod outputs;
mod queue;
mod route;
mod sender;
mod slots;
mod snapshot;
mod stop;
mod suspect;
#[cfg(test)]
mod tests;
mod traffic;
mod vitals;
mod watch;
mod window;
mod words;

use std::sync::Arc;
use std::time::Duration;

use crate::message::{Message, SafeToken};
use crate::time::{Mono, Now};
use dead::DeadLetters;
use drain::Drain;
use inbound::Inbound;
use link::{Event, Link};
use outage::Outages;
use outputs::Outputs;
use queue::{Queue, Said, Tally};
use sender::{Fence, Quota};
use slots::Slots;
use stop::Stopping;
use suspect::Suspect;
use traffic::Traffic;
use vitals::Vitals;
use watch::Watch;
use window::Window;

pub use config::{Config, Direction, DrainOrder, Mapping, RetainRule};
pub use dead::{DeadLetter, Handling};
pub use mapping::DEVICE;
pub use notes::Notes;
pub use route::Failover;
pub use traffic::Bytes as TrafficBytes;
pub use words::{Backlog, Drops, Input, Inward, LinkState, Notice, Output, Status};

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
    inbound: Inbound,
    watch: Watch,
    dead: DeadLetters,
    out: Outputs,
    quota: Quota,
    fence: Fence,
    drain: Drain,
    outages: Outages,
    traffic: Traffic,
    vitals: Vitals,
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
    /// When the last input came: what is sent is counted when it is handed out.
    now: Now,
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
            inbound: Inbound::default(),
            watch: Watch::default(),
            dead: DeadLetters::default(),
            out: Outputs::default(),
            quota: Quota::default(),
            fence: Fence::default(),
            drain: Drain::default(),
            outages: Outages::default(),
            traffic: Traffic::default(),
            vitals: Vitals::default(),
            suspect: Suspect::default(),
            told_refused: Vec::new(),
            status_topic: Arc::from(birth::topic(&config)),
            degraded: false,
            said_degraded: false,
            stopping: None,
            delivered: 0,
            resent: 0,
            now,
            config,
        };
        bridge.announce(false);
        bridge.turn(now, Vec::new());
        bridge
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        let mut events = Vec::new();
        self.traffic.is_day_of(now);
        self.now = now;
        match input {
            Input::Append { message, token } => self.append(now, message, token),
            Input::Accepted { ticket, safe } => self.accepted(now, ticket, safe, &mut events),
            Input::Slot { topic, payload } => self.set_slot(&topic, payload),
            Input::Letters(handling) => self.handle_letters(now, handling),
            Input::Health { degraded } => self.degraded = degraded,
            Input::Probed { answered } => self.link.probed(now, answered, &mut self.out, &mut events),
            Input::Connected => self.link.connected(now, &mut self.out, &mut events),
            Input::ConnectFailed { error, permanent } => {
                self.link.connect_failed(now, error, permanent, &mut self.out);
            }
            Input::Bytes(bytes) => {
                self.traffic.received(now, bytes.len());
                self.link.bytes(now, bytes, &mut self.out, &mut events);
            }
            Input::Closed { error } => self.link.closed(now, error, &mut self.out, &mut events),
            Input::Committed { up_to } => self.queue.committed(up_to, &mut self.out),
            Input::CommitFailed { error } => self.queue.commit_failed(now.mono, error, &mut self.out),
            Input::Read { from, records } => self.queue.read_answer(now.mono, from, records),
            Input::Full => self.queue.full(now.mono, &mut self.out),
            Input::Purge { before } => self.queue.purge(now.mono, before, &mut self.out),
            Input::Purged => self.queue.purged(),
            Input::Dropped { up_to, records, bytes, expired, purged } => {
                let before = self.queue.dropped_to();
                let mut in_window = Tally::default();
                for (_, size, _) in self.window.iter().filter(|&(no, ..)| no <= up_to.0 && no > before) {
                    in_window.add(size);
                }
                let said = Said { all: Tally { records, bytes }, expired, purged };
                self.queue.dropped(up_to, said, in_window, &mut self.out);
            }
            Input::Stop => self.stop(now),
            Input::Tick => {}
        }
        self.turn(now, events);
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.out.pop();
        if let Some(Output::Send(bytes)) = &output {
            self.traffic.sent(self.now, bytes.len());
        }
        output
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
            self.suback_due().filter(|_| online),
            self.quota.deadline().filter(|_| online),
            self.drain.deadline().filter(|_| online),
            self.commit_due(),
            self.notes_due(),
            self.vitals.deadline(),
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
        if let Some(high) = mapping::takes(&self.config.maps, &message.topic) {
            if !self.queue.is_full(now.mono) {
                self.outage_keeps(&message);
            }
            self.queue.append(now.mono, message, token, high, &mut self.out);
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
        if self.suback_due().is_some_and(|due| now.mono >= due) {
            self.miss_subacks();
        }
        self.notice_absence(now);
        self.tell_health(now);
        self.tell_vitals(now);
        self.settle();
        self.pump(now);
        self.queue.trim(now.mono, self.link.is_online(), &mut self.out);
        self.settle();
        if self.end_outage(now) {
            self.pump(now);
        }
        let commits = self.commit_due().is_some_and(|due| now.mono >= due);
        if let Some(ack) = self.queue.ack(now.mono, commits) {
            self.out.push(ack);
        }
        if commits && let Some(commit) = self.queue.commit(now) {
            self.out.push(commit);
        }
        if self.link.is_online()
            && self.stopping.is_none()
            && let Some(read) = self.queue.read(now.mono)
        {
            self.out.push(read);
        }
        self.keep_notes(now, false);
        self.finish_stop(now);
    }

    fn take_events(&mut self, now: Now, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Online { session_present } => self.online(now, session_present),
                Event::PubAck { id, reason } => self.puback(now, id, reason),
                Event::Publish(arrived) => self.arrived(now, arrived),
                Event::Unusable { id, qos } => self.unusable(now, id, qos),
                Event::PubRel(id) => self.released(now, id),
                Event::SubAck { id, codes } => self.subscribed(id, &codes),
                Event::Pong => self.fence.open(),
                Event::Down(cut) => {
                    let in_flight = self.window.records_in_flight();
                    let first = self.window.first_in_flight();
                    let first = first.filter(|&first| self.suspect.ended(cut, first, in_flight));
                    self.announce(false);
                    let why = self.link.error().unwrap_or_default();
                    self.begin_outage(now, now.wall, why, in_flight);
                    self.window.link_down();
                    self.inbound.link_down();
                    self.watch.link_down();
                    if let Some(first) = first {
                        self.refuse(now, first, "upstream closes the connection at it");
                    }
                    self.quota = Quota::default();
                    self.fence.open();
                }
            }
        }
    }

    /// Tells the LAN whether the link is there, if it wants to know.
    fn announce(&mut self, online: bool) {
        if let Some(message) = birth::notification(&self.config, online) {
            self.out.push(Output::Announce(message));
        }
    }

    fn online(&mut self, now: Now, session_present: bool) {
        self.announce(true);
        let away = self.link.was_online().then(|| self.link.away(now));
        let backlog = self.backlog().records;
        self.out.notice(Notice::Online { session_present, backlog, away });
        self.told_refused.clear();
        self.queue.begin_drain(self.config.drain == DrainOrder::Interleave);
        self.drain = Drain::default();
        self.outage_drains(now);
        self.suspect.online();
        self.window.link_up(session_present);
        self.slots.all_due();
        self.said_degraded = self.is_degraded();
        self.watch_status(now);
        let birth = birth::online(&self.config, self.link.connections(), self.said_degraded, now);
        self.slots.set_first(&self.status_topic, birth);
        self.pump(now);
        self.inbound.link_up(session_present);
        // Behind the birth.
        self.subscribe(now, session_present);
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

    /// Records that are done leave from the front: what was never written is forgotten, the rest is acknowledged
    /// towards the store.
    fn settle(&mut self) {
        while let Some(done) = self.window.pop() {
            if done.ahead {
                self.queue.live_done(done.no, done.size, done.delivered);
            } else {
                self.queue.count_done(done.no, done.size, done.delivered);
            }
        }
        self.queue.advance(self.window.first());
        if self.queue.is_empty() {
            self.queue.end_episode();
        }
    }

    fn puback_due(&self) -> Option<Mono> {
        self.window.oldest_flight().map(|at| at + self.config.ack_timeout)
    }

    fn suback_due(&self) -> Option<Mono> {
        self.inbound.suback_due(self.config.ack_timeout)
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
}
