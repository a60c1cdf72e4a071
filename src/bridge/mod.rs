//! One upstream as a pure machine: the queue of what waits for it, the link that sends it, the acknowledgements
//! that come back. It has no socket, no disk and no clock; `io/upstream` and `io/store_task` carry out what
//! [`Bridge::poll_output`] says.
//!
//! ```text
//!  Append ──▶ queue of its stream ──▶ sender (mapping, payload) ──▶ window ──▶ link ──▶ upstream
//!               ▲ Commit, Read, Ack                                   │ PUBACK: contiguous prefix, ranges behind it
//!               └─────────────────────────────────────────────────────┘
//! ```
//! What is absent: nothing here decides about LAN clients; it only says when a token is safe.

mod ages;
mod alias;
mod answer;
mod backoff;
mod batch;
mod birth;
pub mod config;
mod dead;
mod disk;
mod drain;
mod due;
mod inbound;
mod link;
mod mapping;
pub mod notes;
mod outage;
mod outputs;
mod pace;
mod pausing;
mod probe;
mod queue;
mod reconfigure;
pub mod redirect;
mod renew;
mod route;
mod sender;
mod slots;
mod snapshot;
mod start;
mod stop;
mod streams;
mod suspect;
mod tally;
#[cfg(test)]
mod tests;
mod traffic;
mod vitals;
mod watch;
mod window;
mod words;

use std::sync::Arc;

use bytes::Bytes;

use crate::message::{Message, SafeToken};
use crate::time::{Mono, Now};
use alias::Aliases;
use batch::Batches;
use dead::DeadLetters;
use drain::Drain;
use inbound::Inbound;
use link::{Event, Link};
use outage::Outages;
use outputs::Outputs;
use pace::Pace;
use pausing::Pause;
use queue::{Queue, Said, Tally};
use sender::{Fence, Quota};
use slots::Slots;
use start::Want;
use stop::Stopping;
use streams::Streams;
use suspect::Suspect;
use tally::MapCounts;
use traffic::Traffic;
use vitals::Vitals;
use watch::Watch;
use window::Window;

pub use config::{Batch, Config, Direction, DrainOrder, Mapping, Priority, RetainRule, StreamConfig};
pub use dead::{DeadLetter, Handling};
pub use mapping::DEVICE;
pub use notes::Notes;
pub use probe::{Login, Probe, Verdict};
pub use route::Failover;
pub use start::Start;
pub use streams::{DEFAULT_STREAM, StreamNo};
pub use tally::{MapStatus, Passed};
pub use traffic::Bytes as TrafficBytes;
pub use words::{Backlog, Drops, Input, Inward, LinkState, Notice, Output, Status, StreamStatus};

/// The machine of one upstream.
#[derive(Debug)]
pub struct Bridge {
    config: Arc<Config>,
    link: Link,
    streams: Streams,
    window: Window,
    pace: Pace,
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
    aliases: Aliases,
    batches: Batches,
    counts: MapCounts,
    pause: Pause,
    want: Want,
    /// The connection is to be made anew, at the latest then.
    renewing: Option<Mono>,
    /// The settings that hold from the next connection on; messages are taken by them already.
    coming: Option<Arc<Config>>,
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
        Self::with_streams(config, vec![backlog], seed, now)
    }

    /// The same with what each stream's outbox held, the default one's first.
    #[must_use]
    pub fn with_streams(config: Config, backlogs: Vec<Backlog>, seed: u64, now: Now) -> Self {
        let config = Arc::new(config);
        let mut bridge = Self {
            link: Link::new(config.clone(), seed, now),
            streams: Streams::new(&config, backlogs),
            window: Window::default(),
            pace: Pace::default(),
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
            aliases: Aliases::default(),
            batches: Batches::new(&config),
            counts: MapCounts::new(&config.maps),
            pause: Pause::default(),
            want: Want::default(),
            renewing: None,
            coming: None,
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

    /// Takes one input; what the store says is about the default stream.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.handle_of(now, 0, input);
    }

    /// The same, where what the store says is about this stream.
    pub fn handle_of(&mut self, now: Now, stream: StreamNo, input: Input<'_>) {
        let mut events = Vec::new();
        self.traffic.is_day_of(now);
        self.now = now;
        match input {
            Input::Append { message, token } => self.append(now, message, token),
            Input::Accepted { ticket, safe } => self.accepted(now, ticket, safe, &mut events),
            Input::Slot { topic, payload } => self.set_slot(&topic, payload),
            Input::Letters(handling) => self.handle_letters(now, handling),
            Input::Health { degraded } => self.degraded = degraded,
            Input::Renew => self.renew(now),
            Input::Reconfigure { config, backlogs } => self.reconfigure(now, *config, backlogs),
            Input::Adjust { forms, commit_interval, memory_bytes_max } => {
                self.adjust(&forms, commit_interval, memory_bytes_max);
            }
            Input::ConnectNow => self.connect_now(now),
            Input::Pause { paused } => self.pause(now, paused),
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
            Input::Committed { up_to } => self.streams.queue(stream).committed(up_to, &mut self.out),
            Input::CommitFailed { error } => {
                self.streams.queue(stream).commit_failed(now.mono, error, &mut self.out)
            }
            Input::Read { from, records } => self.streams.queue(stream).read_answer(now.mono, from, records),
            Input::ReadBack { before, records } => {
                self.streams.queue(stream).read_back_answer(now.mono, before, records)
            }
            Input::Full => self.streams.queue(stream).full(now.mono, &mut self.out),
            Input::Purge { before } => {
                self.streams.queue(stream).purge(now.mono, before, self.window.open(stream), &mut self.out);
            }
            Input::Purged => self.streams.queue(stream).purged(),
            Input::Dropped { up_to, records, bytes, expired, purged } => {
                let before = self.streams.queue(stream).dropped_to();
                let mut in_window = Tally::default();
                for (_, size, _) in self.window.of(stream).filter(|&(no, ..)| no <= up_to.0 && no > before) {
                    in_window.add(size);
                }
                let said = Said { all: Tally { records, bytes }, expired, purged };
                self.streams.queue(stream).dropped(up_to, said, in_window, &mut self.out);
            }
            Input::Stop => self.stop(now),
            Input::Tick => {}
        }
        self.turn(now, events);
    }

    /// The next thing to do, until `None`. With several streams [`Self::poll_output_of`] tells of which it is.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.poll_output_of().map(|(_, output)| output)
    }

    /// The same, and for what the store is to do the stream whose outbox is meant.
    pub fn poll_output_of(&mut self) -> Option<(StreamNo, Output)> {
        let output = self.out.pop();
        if let Some((_, Output::Send(bytes))) = &output {
            self.traffic.sent(self.now, bytes.len());
        }
        output
    }

    fn append(&mut self, now: Now, message: Message, token: Option<SafeToken>) {
        if self.is_stopped() {
            // Too late: its token stays, so nobody is told that it is safe.
            return;
        }
        let config = self.coming.as_ref().unwrap_or(&self.config);
        if let Some((high, stream)) = mapping::takes(&config.maps, &message.topic) {
            if !self.streams.get(stream).queue.is_full(now.mono) {
                self.outage_keeps(&message);
            }
            self.streams.queue(stream).append(now.mono, message, token, high, &mut self.out);
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
        self.mind_start(now);
        self.mind_renewal(now);
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
        let online = self.link.is_online();
        for queue in self.streams.queues_mut() {
            queue.trim(now.mono, online, &mut self.out);
        }
        self.settle();
        if self.end_outage(now) {
            self.pump(now);
        }
        for stream in self.streams.numbers() {
            self.use_store(now, stream);
        }
        self.keep_notes(now, false);
        self.finish_stop(now);
    }

    fn take_events(&mut self, now: Now, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Online { session_present } => self.online(now, session_present),
                Event::PubAck { id, reason } => self.puback(now, id, reason),
                Event::Publish(arrived) => {
                    self.is_busy(now);
                    self.arrived(now, arrived);
                }
                Event::Unusable { id, qos } => self.unusable(now, id, qos),
                Event::PubRel(id) => self.released(now, id),
                Event::SubAck { id, codes } => self.subscribed(id, &codes),
                Event::Pong => self.fence.open(),
                Event::Down(cut) => {
                    let in_flight = self.window.records_in_flight();
                    let first = self.window.first_in_flight();
                    let of_topic = first.and_then(|first| Some((first, self.window.topic(first)?)));
                    let ended = suspect::Ended { cut, first: of_topic, in_flight };
                    let given_up = self.suspect.ended(now.mono, &ended);
                    self.announce(false);
                    let why = self.link.error().unwrap_or_default();
                    self.begin_outage(now, now.wall, why, in_flight);
                    self.link_gone();
                    if let Some(first) = first.filter(|_| given_up) {
                        let words = if cut == link::Cut::Refused {
                            "upstream closes the connection at it"
                        } else {
                            "upstream closes the connection each time that it is sent, without a word"
                        };
                        self.refuse(now, first, words);
                    }
                }
            }
        }
    }

    fn link_gone(&mut self) {
        self.window.link_down();
        self.pace.link_down();
        self.inbound.link_down();
        self.watch.link_down();
        self.quota = Quota::default();
        self.fence.open();
    }

    /// Tells the LAN whether the link is there, if it wants to know.
    fn announce(&mut self, online: bool) {
        if let Some(message) = birth::notification(&self.config, online) {
            self.out.push(Output::Announce(message));
        }
    }

    fn online(&mut self, now: Now, session_present: bool) {
        self.want_met(now);
        self.announce(true);
        let away = self.link.was_online().then(|| self.link.away(now));
        let backlog = self.backlog().records;
        self.out.notice(Notice::Online { session_present, backlog, away });
        self.told_refused.clear();
        self.begin_drains();
        self.outage_drains(now);
        self.suspect.online(now.mono);
        self.reset_aliases();
        self.window.link_up(session_present);
        self.slots.all_due();
        self.said_degraded = self.is_degraded();
        self.watch_status(now);
        self.slots.set_first(&self.status_topic, self.birth(now));
        self.pump(now);
        self.inbound.link_up(now.mono, session_present);
        // Behind the birth.
        self.subscribe(now, session_present);
    }

    /// What waits is a backlog from here on.
    fn begin_drains(&mut self) {
        for stream in self.streams.numbers() {
            let stream = self.streams.get_mut(stream);
            stream.queue.begin_drain(stream.drain);
            stream.owed = 0;
        }
        self.drain = Drain::default();
    }

    /// What the status topic says while the link is there.
    fn birth(&self, now: Now) -> Bytes {
        let (degraded, paused) = (self.said_degraded, self.pause.holds());
        birth::online(&self.config, self.link.connections(), (degraded, paused), now)
    }

    /// Has the status topic say how it is now.
    fn tell_status(&mut self, now: Now) {
        let status = self.birth(now);
        self.slots.set(&self.status_topic, status);
    }

    fn is_degraded(&self) -> bool {
        self.degraded || self.streams.queues().any(Queue::store_fails)
    }

    /// The status topic says whether all is well.
    fn tell_health(&mut self, now: Now) {
        let degraded = self.is_degraded();
        if degraded != self.said_degraded && self.link.is_online() && self.stopping.is_none() {
            self.said_degraded = degraded;
            self.tell_status(now);
        }
    }

    /// Records that are done leave from the front: what was never written is forgotten, the rest is acknowledged
    /// towards the store.
    fn settle(&mut self) {
        while let Some(done) = self.window.pop() {
            let queue = self.streams.queue(done.place.stream);
            if done.ahead {
                queue.done_ahead(done.place.no, done.size, done.delivered);
            } else {
                queue.count_done(done.place.no, done.size, done.delivered);
            }
        }
        for stream in self.streams.numbers() {
            let queue = self.streams.queue(stream);
            queue.advance(self.window.first(stream));
            if queue.is_empty() {
                queue.end_episode();
            }
        }
    }
}
