//! The bus: opens its line, lets one request fly at a time, and carries what comes to its device.

mod snapshot;
mod talking;
mod writes;

use std::collections::VecDeque;
use std::time::Duration;

use writes::{IN_A_ROW_MAX, Waiting};

use super::flight::{Flight, Heard, Purpose, Question, Wire};
use super::slave::{Outcome, Slave, is_silence};
use super::stats::Load;
use super::turn::{Candidate, Fairness};
use super::{Input, Notice, Output};
use crate::reading::Run;
use crate::sensor::config::{DeviceConfig, PortConfig};
use crate::sensor::line::{Change, Line};
use crate::sensor::modbus::pdu::Answer;
use crate::sensor::modbus::rtu;
use crate::sensor::port;
use crate::time::{BootId, Mono, Now};

/// A line that is never silent is spoken into after this long: somebody else on it never ends.
const NOISE_WAIT_MAX: Duration = Duration::from_millis(500);
/// Bytes between two requests that are kept to know late answers by: of one frame.
const IDLE_BYTES_MAX: usize = rtu::FRAME_BYTES_MAX;

/// The machine of one polled port.
#[derive(Debug)]
pub struct Bus {
    config: PortConfig,
    wire: Wire,
    slaves: Vec<Slave>,
    line: Line,
    flight: Option<Flight>,
    fairness: Fairness,
    writes: VecDeque<Waiting>,
    /// Requests of commands since the last poll.
    writes_in_a_row: u32,
    /// The line is silent from then on, if nothing more comes.
    silent: Mono,
    /// Since when a request waits for silence.
    waiting_since: Option<Mono>,
    /// What came while no request was under way.
    idle: Vec<u8>,
    load: Load,
    bytes: u64,
    foreign: u64,
    outputs: VecDeque<Output>,
}

impl Bus {
    /// A bus that wants to be opened at once. Devices without `poll` are left out: they have no place here. `seed` spreads
    /// the reopen attempts.
    #[must_use]
    pub fn new(
        config: PortConfig,
        devices: Vec<DeviceConfig>,
        run: Run,
        boot: BootId,
        seed: u64,
        now: Now,
    ) -> Self {
        let slave = |(index, device): (usize, DeviceConfig)| {
            let poll = device.poll.clone()?;
            Some(Slave::new(device, poll, &config, index, run, boot))
        };
        let mut slaves: Vec<Slave> = devices.into_iter().enumerate().filter_map(slave).collect();
        for slave in &mut slaves {
            slave.status.echoes = config.echo;
        }
        Self {
            wire: Wire::new(&config),
            config,
            slaves,
            line: Line::new(seed, now.mono),
            flight: None,
            fairness: Fairness::default(),
            writes: VecDeque::new(),
            writes_in_a_row: 0,
            silent: Mono::ZERO,
            waiting_since: None,
            idle: Vec::new(),
            load: Load::new(now.mono),
            bytes: 0,
            foreign: 0,
            outputs: VecDeque::from([Output::Open]),
        }
    }

    /// Takes one input. What doesn't fit the state is ignored. The outputs are to be taken before the next input.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        for slave in &mut self.slaves {
            slave.late.tick(now.mono);
            let stale = slave.device.tick(now.mono).map(|notice| Output::Notice(Notice::Port(notice)));
            self.outputs.extend(stale);
        }
        match self.line.handle(now.mono, &input) {
            Change::None => {}
            Change::Open => self.outputs.push_back(Output::Open),
            Change::Opened => self.opened(now.mono),
            Change::Closed(notice) => self.closed(now.mono, notice),
        }
        if let Input::Bytes(bytes) = input
            && self.line.is_open()
        {
            self.read(now, bytes);
        }
        if self.line.is_open() {
            self.look_at_silence(now);
            self.look_at_deadline(now);
            self.expire_writes(now.mono);
            self.launch(now.mono);
            // A conversation that has just begun wants to say something.
            if self.is_talking() {
                self.converse(now);
            }
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `Tick` is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let own = match &self.flight {
            _ if !self.line.is_open() => self.line.deadline(),
            Some(flight) if flight.purpose == Purpose::Write => Some(flight.deadline),
            Some(flight) => {
                let slave = self.slaves.get(flight.slave);
                slave.and_then(Slave::silence).into_iter().chain([flight.deadline]).min()
            }
            None => self.next_launch(),
        };
        let stale = self.slaves.iter().filter_map(|slave| slave.device.deadline());
        stale.chain(own).min()
    }

    /// When the next request may go, or a write expires.
    fn next_launch(&self) -> Option<Mono> {
        let polls = self.slaves.iter().map(|slave| slave.candidate().ready);
        let writes = self.ready_writes().map(|(_, ready)| ready);
        let expiry = self.writes.iter().map(Waiting::expires).min();
        let wanted = polls.chain(writes).min()?;
        let latest = self.waiting_since.map(|since| since + NOISE_WAIT_MAX);
        let launch = latest.map_or(wanted.max(self.silent), |latest| wanted.max(self.silent).min(latest));
        Some(expiry.map_or(launch, |expiry| launch.min(expiry)))
    }

    fn opened(&mut self, now: Mono) {
        self.wire.set_baud(self.config.baud);
        self.silent = now + self.wire.gap();
        self.waiting_since = None;
        self.idle.clear();
        let count = self.slaves.len();
        for (index, slave) in self.slaves.iter_mut().enumerate() {
            slave.opened(now, index, count);
        }
        self.outputs.push_back(Output::Notice(Notice::Port(port::Notice::PortOpened)));
    }

    /// Whether the line is open.
    pub(super) fn is_open(&self) -> bool {
        self.line.is_open()
    }

    /// Why it isn't.
    pub(super) fn line_error(&self) -> Option<String> {
        self.line.error()
    }

    pub(super) fn slave_named(&mut self, name: &str) -> Option<&mut Slave> {
        self.slaves.iter_mut().find(|slave| *slave.status.device == *name)
    }

    pub(super) fn slaves_mut(&mut self) -> &mut [Slave] {
        &mut self.slaves
    }

    pub(super) fn push(&mut self, outputs: impl Iterator<Item = Output>) {
        self.outputs.extend(outputs);
    }

    /// What was under way has failed: whoever waits is told.
    fn closed(&mut self, now: Mono, notice: Option<port::Notice>) {
        let error = self.line.error();
        self.drop_asked(now, error.as_deref());
        self.outputs.extend(notice.map(|notice| Output::Notice(Notice::Port(notice))));
        self.drop_writes();
        self.flight = None;
        for slave in &mut self.slaves {
            slave.closed();
            let notice = slave.device.port_down();
            self.outputs.extend(notice.map(|notice| Output::Notice(Notice::Port(notice))));
        }
    }

    fn read(&mut self, now: Now, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(count(bytes.len()));
        self.silent = self.silent.max(now.mono + self.wire.gap());
        let Some(flight) = &mut self.flight else {
            self.overhear(bytes);
            return;
        };
        let is_bytes = matches!(flight.question, Question::Bytes(_));
        if is_bytes && flight.purpose == Purpose::Write {
            self.write_heard(now, bytes);
            return;
        }
        let Some(slave) = self.slaves.get_mut(flight.slave) else { return };
        if flight.question == Question::Talk {
            self.overheard_by_talk(now, bytes);
            return;
        }
        if is_bytes {
            let outcome = slave.hear(now, Some(bytes));
            self.hear(now, outcome);
            return;
        }
        match flight.hear(&self.wire, slave.status.echoes, bytes) {
            Heard::Waiting => {}
            Heard::Answer { answer, echoed } => self.answer(now, &answer, echoed),
            Heard::NotModbus => {
                self.outputs.push_back(Output::Close);
                let lost = Input::Lost { error: "the other end speaks no Modbus TCP" };
                if let Change::Closed(notice) = self.line.handle(now.mono, &lost) {
                    self.closed(now.mono, notice);
                }
            }
        }
    }

    /// A device that is no Modbus device has said something, or has fallen silent.
    fn hear(&mut self, now: Now, outcome: Option<Outcome>) {
        if let Some(outcome) = outcome {
            self.land(now, true);
            self.tell(outcome);
        }
    }

    /// Bytes that nobody asked for: a late answer, somebody else, noise.
    fn overhear(&mut self, bytes: &[u8]) {
        self.foreign = self.foreign.saturating_add(count(bytes.len()));
        if !self.wire.is_serial() {
            return;
        }
        self.idle.extend_from_slice(bytes);
        let surplus = self.idle.len().saturating_sub(IDLE_BYTES_MAX);
        self.idle.drain(..surplus);
        if let Some(end) = late_answer(&mut self.slaves, &self.idle) {
            self.idle.drain(..end.min(self.idle.len()));
        }
    }

    fn answer(&mut self, now: Now, answer: &Answer, echoed: bool) {
        let Some(flight) = &self.flight else { return };
        let (index, purpose, sent) = (flight.slave, flight.purpose, flight.sent);
        let question = flight.question.clone();
        let Some(slave) = self.slaves.get_mut(index) else { return };
        if let Some(request) = question.request() {
            slave.late.answered(request, sent, slave.poll.timeout);
        }
        slave.status.answers = slave.status.answers.saturating_add(1);
        let is_exception = matches!(answer, Answer::Exception(_));
        slave.status.exceptions = slave.status.exceptions.saturating_add(u64::from(is_exception));
        if echoed && !slave.status.echoes {
            slave.status.echoes = true;
            let notice = Notice::Echo { device: slave.status.device.clone() };
            self.outputs.push_back(Output::Notice(notice));
        }
        let outcome = match purpose {
            Purpose::Poll => slave.answered(now, answer),
            Purpose::Write => Outcome::default(),
        };
        self.land(now, !is_silence(answer));
        if purpose == Purpose::Write {
            self.write_answered(now, answer);
        }
        self.tell(outcome);
    }

    /// The request is over; the bus is free after a silence.
    fn land(&mut self, now: Now, is_answered: bool) {
        let Some(flight) = self.flight.take() else { return };
        let busy = now.mono.since(flight.started);
        self.load.add(now.mono, busy);
        self.silent = self.silent.max(now.mono + self.wire.gap());
        let left = flight.left();
        self.foreign = self.foreign.saturating_add(flight.foreign).saturating_add(count(left.len()));
        if let Some(slave) = self.slaves.get_mut(flight.slave) {
            slave.status.air_time = slave.status.air_time.saturating_add(busy);
            slave.rests_until = now.mono + slave.poll.pause;
            if is_answered {
                slave.latencies.add(now.mono.since(flight.sent));
            }
        }
        if self.wire.is_serial() {
            late_answer(&mut self.slaves, left);
        }
    }

    fn look_at_silence(&mut self, now: Now) {
        let polled = self.flight.as_ref().filter(|flight| flight.purpose == Purpose::Poll);
        let index = polled.map(|flight| flight.slave);
        let slave = index.and_then(|index| self.slaves.get_mut(index));
        if let Some(slave) = slave.filter(|slave| slave.silence().is_some_and(|ends| ends <= now.mono)) {
            let outcome = slave.hear(now, None);
            self.hear(now, outcome);
        }
    }

    fn look_at_deadline(&mut self, now: Now) {
        if self.is_talking() {
            self.tick_talk(now);
            return;
        }
        let Some(flight) = self.flight.as_ref().filter(|flight| flight.deadline <= now.mono) else { return };
        if self.is_one_way() {
            self.land(now, false);
            self.write_unanswered(now);
            return;
        }
        let (purpose, sent, index) = (flight.purpose, flight.sent, flight.slave);
        let question = flight.question.clone();
        let Some(slave) = self.slaves.get_mut(index) else { return };
        let (error, is_damaged) = flight.failure(slave.poll.timeout);
        slave.status.timeouts = slave.status.timeouts.saturating_add(1);
        slave.status.crc_errors = slave.status.crc_errors.saturating_add(u64::from(is_damaged));
        if let Some(request) = question.request().filter(|_| self.wire.is_serial()) {
            slave.late.timed_out(request, sent, slave.poll.timeout);
        }
        let outcome = match purpose {
            Purpose::Poll => slave.failed(now, error, is_damaged),
            Purpose::Write => {
                slave.status.last_error = Some(error);
                Outcome::default()
            }
        };
        self.land(now, false);
        if purpose == Purpose::Write {
            self.write_unanswered(now);
        }
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        self.outputs.extend(outcome.notices.into_iter().map(Output::Notice));
        self.outputs.extend(outcome.reading.map(Output::Reading));
        self.outputs.extend(outcome.polled.map(Output::Polled));
    }

    /// Sends the next request if one is due and the line is silent.
    fn launch(&mut self, now: Mono) {
        while self.flight.is_none() {
            let write = self.ready_writes().find(|(_, ready)| *ready <= now).map(|(index, _)| index);
            let candidates: Vec<Candidate> = self.slaves.iter().map(Slave::candidate).collect();
            let poll = self.fairness.choose(now, &candidates);
            let write = write.filter(|_| poll.is_none() || self.writes_in_a_row < IN_A_ROW_MAX);
            if write.is_none() && poll.is_none() {
                self.waiting_since = None;
                return;
            }
            if now < self.silent {
                let since = *self.waiting_since.get_or_insert(now);
                if now.since(since) < NOISE_WAIT_MAX {
                    return;
                }
            }
            if let Some(write) = write {
                self.writes_in_a_row = self.writes_in_a_row.saturating_add(1);
                self.launch_write(now, write);
                return;
            }
            let Some(index) = poll else { return };
            let Some(slave) = self.slaves.get_mut(index) else { return };
            match slave.question(now) {
                Some(question) => {
                    self.fairness.asked(now, &candidates, index);
                    self.writes_in_a_row = 0;
                    let timeout = slave.poll.timeout;
                    self.send(now, index, Purpose::Poll, question, timeout);
                }
                None => self.outputs.extend(slave.skip(now).map(Output::Polled)),
            }
        }
    }

    fn send(&mut self, now: Mono, index: usize, purpose: Purpose, question: Question, timeout: Duration) {
        let Some(slave) = self.slaves.get_mut(index) else { return };
        if purpose == Purpose::Write {
            slave.status.requests = slave.status.requests.saturating_add(1);
        }
        let (flight, bytes) = Flight::new(&mut self.wire, index, purpose, question, timeout, now);
        self.flight = Some(flight);
        self.waiting_since = None;
        self.idle.clear();
        if !bytes.is_empty() {
            self.outputs.push_back(Output::Send(bytes));
        }
    }
}

/// Counts a late answer among bytes that nobody asked for; where it ends.
fn late_answer(slaves: &mut [Slave], bytes: &[u8]) -> Option<usize> {
    slaves.iter_mut().find_map(|slave| {
        let (request, unit) = (slave.late.request()?, slave.status.unit_id?);
        let sent = rtu::frame(unit, &request.encode().unwrap_or_default());
        match rtu::search(request, unit, &sent, false, bytes) {
            rtu::Search::Found { end, .. } => {
                slave.status.late_answers = slave.status.late_answers.saturating_add(1);
                slave.status.last_error = Some("it answers, but after its timeout: give it more".to_owned());
                Some(end)
            }
            rtu::Search::Nothing => None,
        }
    })
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
