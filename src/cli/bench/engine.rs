//! The load itself: one thread, one event loop, every client. Events are edge-triggered, a client is looked at only when
//! something has happened to it, so that ten thousand of them cost no more than ten.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::link::{Identity, Link};
use super::packet::{self, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Stamp, Template};
use super::process::{self, Cpu};
use super::publisher::Publisher;
use super::scenario::{HeldBy, Load, Shape};
use super::tally::{Sources, Tally};
use super::target::Target;
use crate::mqtt::{Frame, Version};

/// A read takes up to this.
const SCRATCH_BYTES: usize = 512 * 1024;

/// Events that are taken at once.
const EVENTS_MAX: usize = 4_096;

/// Where nothing is ready, the clock is looked at again after this.
const IDLE_TURN: Duration = Duration::from_millis(5);

/// Without any progress for so long, what is not delivered yet is taken for lost: it would hold its publisher for ever.
const STALL_NS: u64 = 500_000_000;

/// Who takes part, and until when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) load: Load,
    /// Who is connected.
    pub(super) publishers: u32,
    pub(super) subscribers: u32,
    /// Deliveries of what was published before, for sessions that are taken up again.
    pub(super) owed_before: u64,
    /// Messages that are published at most.
    pub(super) messages_max: u64,
    pub(super) spans: Spans,
}

/// How long what takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spans {
    /// Before anything is measured.
    pub(super) warmup: Duration,
    /// While it is.
    pub(super) measure: Duration,
    /// Without any progress, what is missing then is lost.
    pub(super) patience: Duration,
}

/// What stood where at one edge of the measured span.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Edge {
    pub(super) at: u64,
    pub(super) received: u64,
    pub(super) broker: Cpu,
    pub(super) own: Cpu,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) from: Edge,
    pub(super) to: Edge,
    pub(super) tally: Tally,
    /// Deliveries that never came.
    pub(super) lost: u64,
    /// Times that nothing moved although something was under way.
    pub(super) stalls: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Warmup,
    Measure,
    Drain,
}

/// Nanoseconds since the load began.
#[derive(Clone, Copy, Debug)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> u64 {
        nanos(self.0.elapsed())
    }
}

fn nanos(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(span.subsec_nanos()))
}

/// Everyone who takes part. Subscribers come first in the numbering of clients, publishers behind them.
pub(super) struct Engine<'a> {
    plan: Plan,
    target: &'a Target,
    clock: Clock,
    poll: Poll,
    subscribers: Vec<Link>,
    publishers: Vec<Publisher>,
    tally: Tally,
    scratch: Vec<u8>,
    /// Clients to look at, each once.
    ready: Vec<usize>,
    queued: Vec<bool>,
    phase: Phase,
    phase_end: u64,
    /// When something last moved, and what had moved by then.
    progress: (u64, u64),
    stalls: u64,
    /// Messages of the schedule that were handed to their publishers.
    scheduled: u64,
}

impl<'a> Engine<'a> {
    /// Connects everyone. `prefix` begins all topics and client identifiers.
    pub(super) fn connect(target: &'a Target, plan: Plan, prefix: &str) -> Result<Self, String> {
        let load = plan.load;
        let cannot = |error: io::Error| format!("can't wait for events: {error}");
        let poll = Poll::new().map_err(cannot)?;
        let mut engine = Self {
            plan,
            target,
            clock: Clock(Instant::now()),
            poll,
            subscribers: Vec::new(),
            publishers: Vec::new(),
            tally: Tally::new(&(0..plan.subscribers).map(|at| sources(&load, at)).collect::<Vec<_>>()),
            scratch: vec![0; SCRATCH_BYTES],
            ready: Vec::new(),
            queued: Vec::new(),
            phase: Phase::Warmup,
            phase_end: 0,
            progress: (0, 0),
            stalls: 0,
            scheduled: 0,
        };
        for at in 0..plan.subscribers {
            let client_id = format!("{prefix}-s{at}");
            let who = Identity { client_id: &client_id, clean: !load.keeps_sessions };
            let filter = load.filter(prefix, at);
            let filters = if plan.owed_before == 0 { std::slice::from_ref(&filter) } else { &[] };
            let mut link = Link::open(target, who, filters, load.qos)?;
            engine.register(&mut link).map_err(cannot)?;
            engine.subscribers.push(link);
        }
        for at in 0..plan.publishers {
            let client_id = format!("{prefix}-p{at}");
            let who = Identity { client_id: &client_id, clean: true };
            let mut link = Link::open(target, who, &[], load.qos)?;
            engine.register(&mut link).map_err(cannot)?;
            let topic = load.topic(prefix, at);
            let template = Template::new(&topic, load.qos, load.payload_bytes, target.version)
                .map_err(|error| error.to_string())?;
            engine.publishers.push(Publisher::new(at, link, template, &load));
        }
        Ok(engine)
    }

    fn register(&mut self, link: &mut Link) -> io::Result<()> {
        let token = Token(self.queued.len());
        self.ready.push(self.queued.len());
        self.queued.push(true);
        self.poll.registry().register(&mut link.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Does it all.
    pub(super) fn run(mut self) -> Result<Outcome, String> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let (mut from, mut to) = (Edge::default(), Edge::default());
        self.clock = Clock(Instant::now());
        self.phase_end = nanos(self.plan.spans.warmup);
        loop {
            let now = self.clock.now();
            self.note_progress(now);
            if self.phase == Phase::Warmup && now >= self.phase_end {
                self.phase = Phase::Measure;
                self.phase_end = now.saturating_add(nanos(self.plan.spans.measure));
                self.tally.measures = true;
                from = self.edge()?;
            }
            if self.phase == Phase::Measure && (now >= self.phase_end || self.is_done() || self.is_quiet(now))
            {
                to = self.edge()?;
                if self.is_quiet(now) {
                    // Only until something last moved.
                    to.at = self.progress.0;
                }
                self.phase = Phase::Drain;
                self.tally.measures = false;
            }
            if self.phase == Phase::Drain && (self.is_done() || self.is_quiet(now)) {
                break;
            }
            self.keep_schedule(now);
            self.wait(&mut events)?;
            for at in std::mem::take(&mut self.ready) {
                self.turn(at)?;
            }
        }
        let lost = self.expected().saturating_sub(self.tally.unique());
        for link in
            self.subscribers.drain(..).chain(self.publishers.drain(..).map(|publisher| publisher.link))
        {
            link.disconnect();
        }
        Ok(Outcome { from, to, tally: self.tally, lost, stalls: self.stalls })
    }

    fn publishes(&self) -> bool {
        self.phase != Phase::Drain && self.tally.published < self.plan.messages_max
    }

    /// Deliveries that there must be in the end.
    fn expected(&self) -> u64 {
        let copies = if self.subscribers.is_empty() { 0 } else { u64::from(self.plan.load.copies()) };
        self.tally.published.saturating_mul(copies).saturating_add(self.plan.owed_before)
    }

    /// Whether nothing more is to come.
    fn is_done(&self) -> bool {
        !self.publishes()
            && self.tally.unique() >= self.expected()
            && self.publishers.iter().all(|publisher| publisher.is_done())
    }

    fn is_quiet(&self, now: u64) -> bool {
        !self.publishes() && now.saturating_sub(self.progress.0) > nanos(self.plan.spans.patience)
    }

    fn note_progress(&mut self, now: u64) {
        let moved = self.tally.published + self.tally.acknowledged + self.tally.received;
        if moved != self.progress.1 {
            self.progress = (now, moved);
        } else if self.publishes()
            && matches!(self.plan.load.held_by, HeldBy::Undelivered(_))
            && now.saturating_sub(self.progress.0) > STALL_NS
        {
            self.progress.0 = now;
            self.stalls += 1;
            for at in 0..self.publishers.len() {
                if let Some(publisher) = self.publishers.get_mut(at) {
                    publisher.forget_owed();
                }
                self.enqueue(self.subscribers.len() + at);
            }
        }
    }

    fn edge(&self) -> Result<Edge, String> {
        let cpu =
            |pid: u32| process::cpu(pid).map_err(|error| format!("can't look at process {pid}: {error}"));
        Ok(Edge {
            broker: self.target.pid.map(cpu).transpose()?.unwrap_or_default(),
            own: cpu(std::process::id())?,
            at: self.clock.now(),
            received: self.tally.received,
        })
    }

    /// Hands what is due to the publishers, one after the other.
    fn keep_schedule(&mut self, now: u64) {
        let HeldBy::PerSecond(rate) = self.plan.load.held_by else { return };
        if !self.publishes() || self.publishers.is_empty() {
            return;
        }
        let interval = 1_000_000_000 / u64::from(rate.max(1));
        while self.scheduled.saturating_mul(interval) <= now && self.scheduled < self.plan.messages_max {
            let due = self.scheduled * interval;
            let turn = usize::try_from(self.scheduled).unwrap_or(0) % self.publishers.len();
            if let Some(publisher) = self.publishers.get_mut(turn) {
                publisher.due.push_back(due);
            }
            self.scheduled += 1;
            self.enqueue(self.subscribers.len() + turn);
        }
    }

    fn enqueue(&mut self, at: usize) {
        enqueue(&mut self.ready, &mut self.queued, at);
    }

    fn wait(&mut self, events: &mut Events) -> Result<(), String> {
        // A schedule is kept to the microsecond, which no sleep is.
        let is_scheduled = matches!(self.plan.load.held_by, HeldBy::PerSecond(_)) && self.publishes();
        let timeout = if self.ready.is_empty() && !is_scheduled { IDLE_TURN } else { Duration::ZERO };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(format!("can't wait for events: {error}"));
            }
            _ => {}
        }
        for event in events.iter() {
            let Token(at) = event.token();
            let Some(link) = link_mut(&mut self.subscribers, &mut self.publishers, at) else { continue };
            link.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            link.writable |= event.is_writable();
            enqueue(&mut self.ready, &mut self.queued, at);
        }
        Ok(())
    }

    /// Looks at one client.
    fn turn(&mut self, at: usize) -> Result<(), String> {
        if let Some(queued) = self.queued.get_mut(at) {
            *queued = false;
        }
        match at.checked_sub(self.subscribers.len()) {
            None => self.subscriber_turn(at),
            Some(publisher) => self.publisher_turn(publisher),
        }
    }

    fn subscriber_turn(&mut self, at: usize) -> Result<(), String> {
        let first_publisher = self.subscribers.len();
        let Self { subscribers, publishers, tally, scratch, clock, ready, queued, .. } = self;
        let Some(link) = subscribers.get_mut(at) else { return Ok(()) };
        let (version, mut now) = (link.version, None);
        if link.readable {
            link.read(scratch, |frame, out| {
                let now = *now.get_or_insert_with(|| clock.now());
                let Some(publisher) = take(frame, out, (at, version), tally, now)? else { return Ok(()) };
                let publisher = usize::try_from(publisher).unwrap_or(usize::MAX);
                if publishers.get_mut(publisher).is_some_and(Publisher::delivered) {
                    enqueue(ready, queued, first_publisher + publisher);
                }
                Ok(())
            })?;
        }
        link.flush().map_err(|error| format!("the broker is gone: {error}"))?;
        if link.readable {
            enqueue(ready, queued, at);
        }
        Ok(())
    }

    fn publisher_turn(&mut self, at: usize) -> Result<(), String> {
        let publishes = self.publishes();
        let Self { publishers, tally, scratch, clock, ready, queued, subscribers, plan, .. } = self;
        let Some(publisher) = publishers.get_mut(at) else { return Ok(()) };
        if publisher.link.readable {
            publisher.read(scratch, tally)?;
        }
        if publishes {
            publisher.fill(clock.now(), plan.messages_max, tally);
        }
        publisher.link.flush().map_err(|error| format!("the broker is gone: {error}"))?;
        let goes_on = publishes && publisher.link.is_flushed() && publisher.may_send();
        if publisher.link.readable || goes_on {
            enqueue(ready, queued, subscribers.len() + at);
        }
        Ok(())
    }
}

fn enqueue(ready: &mut Vec<usize>, queued: &mut [bool], at: usize) {
    if let Some(queued) = queued.get_mut(at)
        && !*queued
    {
        *queued = true;
        ready.push(at);
    }
}

fn link_mut<'l>(
    subscribers: &'l mut [Link],
    publishers: &'l mut [Publisher],
    at: usize,
) -> Option<&'l mut Link> {
    match at.checked_sub(subscribers.len()) {
        None => subscribers.get_mut(at),
        Some(at) => publishers.get_mut(at).map(|publisher| &mut publisher.link),
    }
}

/// Whose messages a subscriber gets.
const fn sources(load: &Load, subscriber: u32) -> Sources {
    match load.shape {
        Shape::Pairs => Sources { first: subscriber, count: 1 },
        Shape::FanIn | Shape::FanOut | Shape::Wildcard => Sources { first: 0, count: load.publishers },
    }
}

/// Takes a subscriber's packet and answers it. Gives the publisher whose message it is, if it is there for the first time.
fn take(
    frame: &Frame<'_>,
    out: &mut Vec<u8>,
    (subscriber, version): (usize, Version),
    tally: &mut Tally,
    now: u64,
) -> Result<Option<u32>, String> {
    match frame.first >> 4 {
        PUBLISH => {
            let message = packet::received(frame, version).ok_or("a malformed PUBLISH")?;
            let stamp = Stamp::decode(message.payload).ok_or("a message that is none of ours")?;
            let is_first = tally.deliver(subscriber, stamp, now).ok_or("a message that is none of ours")?;
            match message.qos.as_u8() {
                1 => out.extend_from_slice(&packet::answer(PUBACK, message.packet_id)),
                2 => out.extend_from_slice(&packet::answer(PUBREC, message.packet_id)),
                _ => {}
            }
            Ok(is_first.then_some(stamp.publisher))
        }
        PUBREL => {
            let (id, _) = packet::acknowledged(frame).ok_or("a malformed PUBREL")?;
            out.extend_from_slice(&packet::answer(PUBCOMP, id.get().to_be_bytes()));
            Ok(None)
        }
        _ => Ok(None),
    }
}
