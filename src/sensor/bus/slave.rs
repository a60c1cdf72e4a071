//! One polled device: when its cycle is due, what it is asked next, and whether it is well.
//!
//! ```text
//! well ── a cycle fails ──> failing ── 3 cycles and 10 s ──> offline ── any whole answer ──> well
//!   one cycle every `every`   one try a cycle     one try a step: every, 2 × every … 60 s
//! ```

use std::time::Duration;

use super::Notice;
use super::asked::{Polled, Waiting};
use super::config::{Ask, PollConfig};
use super::cycle::{Registers, Round};
use super::flight::Question;
use super::late::Late;
use super::stats::{Latencies, SlaveStatus};
use super::talk::Talk;
use super::turn::Candidate;
use crate::reading::{Reading, Run, Sample};
use crate::sensor::config::{DeviceConfig, PointConfig, Points, PortConfig};
use crate::sensor::device::{Beginning, Device};
use crate::sensor::exchange::CommandConfig;
use crate::sensor::fault::LineError;
use crate::sensor::framing::{Frame, Framer};
use crate::sensor::modbus::pdu::{Answer, Exception};
use crate::sensor::modbus::plan::{Block, Item, Limits};
use crate::time::{BootId, Mono, Now};

/// A device is offline after so many cycles without a whole answer …
const OFFLINE_CYCLES: u32 = 3;
/// … if they took this long. Somebody who restarts a device needn't hear of it.
const OFFLINE_AFTER: Duration = Duration::from_secs(10);
/// The longest step between two tries of a device that is offline, unless its own `every` is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// A device that is asked more seldom than this is asked again so soon after a cycle that failed, and then after twice as
/// long each time, up to its own pace.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What comes of an answer, or of its absence.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) reading: Option<Reading>,
    pub(super) notices: Vec<Notice>,
    /// For whoever has asked for it.
    pub(super) polled: Option<Polled>,
}

/// A polled device.
#[derive(Debug)]
pub(super) struct Slave {
    pub(super) device: Device,
    pub(super) poll: PollConfig,
    /// `None`: it is no Modbus device.
    registers: Option<Registers>,
    /// Of one that is no Modbus device.
    framer: Option<Framer>,
    commands: Vec<CommandConfig>,
    /// Of a meter that is asked in several steps.
    pub(super) talk: Option<Talk>,
    /// When the next cycle is due, or since when the one under way was.
    due: Mono,
    /// Where its cycles lie on the common grid, so that devices with the same pace don't crowd.
    phase: Duration,
    opened: Mono,
    cycle: Option<Cycle>,
    /// Somebody waits for the end of the cycle.
    pub(super) asked: Option<Waiting>,
    /// It answered in its last cycle.
    is_well: bool,
    failed_cycles: u32,
    failing_since: Option<Mono>,
    /// The step of one that is offline.
    backoff: Option<Duration>,
    /// The step of one that has failed, while that is shorter than its pace.
    again: Option<Duration>,
    pub(super) late: Late,
    /// Until then the line rests for it.
    pub(super) rests_until: Mono,
    pub(super) status: SlaveStatus,
    pub(super) latencies: Latencies,
}

#[derive(Debug, Default)]
struct Cycle {
    round: Round,
    /// What is asked now.
    block: Option<Block>,
    /// Tries of it that failed.
    failed_tries: u8,
}

impl Slave {
    pub(super) fn new(
        config: DeviceConfig,
        poll: PollConfig,
        line: &PortConfig,
        index: usize,
        run: Run,
        boot: BootId,
    ) -> Self {
        let (registers, unit_id) = match &poll.ask {
            Ask::Bytes(_) | Ask::Meter(_) | Ask::Mbus(_) => (None, None),
            Ask::Registers { unit_id, hole_max, registers_max } => {
                let limits = Limits { hole_max: *hole_max, registers_max: *registers_max };
                let points: &[_] = match &config.points {
                    Points::List(list) => list,
                    Points::All => &[],
                };
                (Some(Registers::new(points, limits)), Some(*unit_id))
            }
        };
        let commands = config.commands.clone();
        let talk = Talk::new(&poll.ask, poll.timeout, line);
        let is_framed = registers.is_none() && talk.is_none();
        let framer = is_framed.then(|| Framer::new(&config.framing, config.check));
        let status = SlaveStatus { device: config.name.clone(), unit_id, ..SlaveStatus::default() };
        Self {
            device: Device::new(config, index, run, boot),
            poll,
            registers,
            framer,
            commands,
            talk,
            due: Mono::ZERO,
            phase: Duration::ZERO,
            opened: Mono::ZERO,
            cycle: None,
            asked: None,
            is_well: false,
            failed_cycles: 0,
            failing_since: None,
            backoff: None,
            again: None,
            late: Late::default(),
            rests_until: Mono::ZERO,
            status,
            latencies: Latencies::default(),
        }
    }

    /// The line is open: everybody is asked at once, and from the second cycle on in its place of the grid.
    pub(super) fn opened(&mut self, now: Mono, index: usize, count: usize) {
        let share = |whole: u64| {
            let (index, count) =
                (u64::try_from(index).unwrap_or(0), u64::try_from(count.max(1)).unwrap_or(1));
            whole.checked_div(count).unwrap_or(0).saturating_mul(index)
        };
        let every = u64::try_from(self.poll.every.as_nanos()).unwrap_or(u64::MAX);
        self.phase = Duration::from_nanos(share(every));
        self.opened = now;
        self.due = now;
        // What failed before the line was opened says little about the device: one that is offline is asked at its own pace
        // at first, and one that isn't has failed nothing yet.
        self.failing_since = None;
        match &mut self.backoff {
            Some(step) => *step = self.poll.every,
            None => self.failed_cycles = 0,
        }
        self.device.opened(now);
        if let Some(registers) = &mut self.registers {
            registers.forget();
        }
    }

    /// The line is closed.
    pub(super) fn closed(&mut self) {
        self.cycle = None;
        self.is_well = false;
        self.talk.iter_mut().for_each(Talk::reset);
        self.late.clear();
        self.rests_until = Mono::ZERO;
    }

    /// What the choice of the next device goes by.
    pub(super) fn candidate(&self) -> Candidate {
        let held = self.late.holds(None, false);
        let held = if self.is_retry() { None } else { held };
        let ready = self.due.max(self.rests_until).max(held.unwrap_or_default());
        Candidate { due: self.due, ready, is_well: self.is_well && !self.is_retry() }
    }

    /// Whether its next question was asked already and not answered.
    fn is_retry(&self) -> bool {
        self.cycle.as_ref().is_some_and(|cycle| cycle.failed_tries > 0)
    }

    /// What it is asked now; `None` if its cycle has nothing to ask.
    pub(super) fn question(&mut self, now: Mono) -> Option<Question> {
        self.asked.iter_mut().for_each(|waiting| waiting.asks(now));
        let retries = u64::from(self.is_retry());
        let question = match &self.poll.ask {
            Ask::Bytes(bytes) => {
                // What came before the question is no answer to it.
                self.framer.iter_mut().for_each(Framer::reset);
                self.cycle.get_or_insert_default();
                Question::Bytes(bytes.clone())
            }
            Ask::Meter(_) | Ask::Mbus(_) => {
                self.talk.iter_mut().for_each(|talk| talk.start(now));
                self.cycle.get_or_insert_default();
                Question::Talk
            }
            Ask::Registers { unit_id, .. } => {
                let (registers, nominal) = (self.registers.as_mut()?, self.due);
                let cycle = self.cycle.get_or_insert_with(|| Cycle {
                    round: registers.begin(now, nominal),
                    ..Cycle::default()
                });
                if cycle.block.is_none() {
                    cycle.block = cycle.round.todo.pop_front();
                }
                let request = cycle.block.as_ref().and_then(Block::request)?;
                Question::Modbus { unit: *unit_id, request }
            }
        };
        self.status.requests = self.status.requests.saturating_add(1);
        self.status.retries = self.status.retries.saturating_add(retries);
        Some(question)
    }

    /// It has nothing to be asked in this cycle: all that is due is refused.
    pub(super) fn skip(&mut self, now: Mono) -> Option<Polled> {
        self.cycle = None;
        self.next_cycle(now);
        let why = "it refuses all of its points; they are asked for again ten minutes after it did";
        Some(self.asked.take()?.ended(now, Vec::new(), Some(why.to_owned())))
    }

    /// All of its points are due now, whatever their pace; whether a cycle is under way already.
    pub(super) fn all_at_once(&mut self, now: Mono) -> bool {
        let is_asking = self.cycle.is_some();
        if !is_asking {
            self.due = now;
            self.registers.iter_mut().for_each(Registers::all_due);
        }
        is_asking
    }

    /// It answered its question.
    pub(super) fn answered(&mut self, now: Now, answer: &Answer) -> Outcome {
        let mut outcome = Outcome::default();
        let (Some(cycle), Some(registers)) = (&mut self.cycle, &mut self.registers) else { return outcome };
        let Some(block) = cycle.block.take() else { return outcome };
        cycle.failed_tries = 0;
        match answer {
            Answer::Values(values) => registers.take(&mut cycle.round, &block, values),
            Answer::Written => {}
            Answer::Exception(exception) if exception.blames_request() => {
                let points = registers.refuse(now.mono, &mut cycle.round, &block, *exception);
                if !points.is_empty() {
                    let device = self.status.device.clone();
                    outcome.notices.push(Notice::PointsRefused { device, points, exception: *exception });
                }
            }
            Answer::Exception(exception) => {
                cycle.block = Some(block);
                return self.failed(now, exception.to_string(), !exception.is_silence());
            }
        }
        if cycle.round.todo.is_empty() {
            self.end(now, true, &mut outcome);
        }
        outcome
    }

    /// Bytes of a device that is no Modbus device, or `None`: the time has passed. `Some`: a frame that its decoder took stood
    /// in them, which is the answer.
    pub(super) fn hear(&mut self, now: Now, bytes: Option<&[u8]>) -> Option<Outcome> {
        let Self { framer, device, status, .. } = self;
        let (mut taken, mut error) = (None, None);
        let take = |frame: Frame<'_>| match frame {
            Frame::Line(bytes) | Frame::Packet(bytes) if taken.is_none() => {
                match device.offer(now, bytes, Beginning::Seen) {
                    Ok(reading) => taken = Some(reading),
                    Err(refusal) => error = Some(refusal.to_string()),
                }
            }
            Frame::BadCheck { failure, .. } => {
                status.crc_errors = status.crc_errors.saturating_add(1);
                error = Some(LineError::Check(failure).to_string());
            }
            _ => {}
        };
        match bytes {
            Some(bytes) => framer.as_mut()?.push(now.mono, bytes, take),
            None => framer.as_mut()?.tick(now.mono, take),
        }
        self.status.last_error = error.or_else(|| self.status.last_error.take());
        let reading = taken?;
        Some(self.read(now, reading))
    }

    /// What a meter said in the end.
    pub(super) fn told(&mut self, now: Now, readout: &[u8]) -> Outcome {
        match self.device.offer(now, readout, Beginning::Seen) {
            Ok(reading) => self.read(now, reading),
            Err(refusal) => self.failed(now, refusal.to_string(), true),
        }
    }

    /// A device that is no Modbus device has answered; `None`: none of its points was due.
    fn read(&mut self, now: Now, reading: Option<Reading>) -> Outcome {
        let samples = || reading.iter().flat_map(|reading| reading.samples.iter().cloned()).collect();
        let polled = self.asked.take().map(|waiting| waiting.ended(now.mono, samples(), None));
        let mut outcome = Outcome { reading, notices: Vec::new(), polled };
        outcome.notices.extend(self.device.freshen(now.mono).map(Notice::Port));
        self.status.answers = self.status.answers.saturating_add(1);
        self.cycle = None;
        self.recovered(&mut outcome);
        self.next_cycle(now.mono);
        outcome
    }

    /// When silence ends the answer of a device that is no Modbus device.
    pub(super) fn silence(&self) -> Option<Mono> {
        self.framer.as_ref().and_then(Framer::deadline)
    }

    /// It gave no answer, or one that leaves the question open (`is_alive`).
    pub(super) fn failed(&mut self, now: Now, error: String, is_alive: bool) -> Outcome {
        let mut outcome = Outcome::default();
        self.status.last_error = Some(error);
        let Some(cycle) = &mut self.cycle else { return outcome };
        cycle.failed_tries = cycle.failed_tries.saturating_add(1);
        let may_try_again = self.is_well || is_alive;
        if !may_try_again || cycle.failed_tries > self.poll.retries {
            self.end(now, false, &mut outcome);
        }
        outcome
    }

    /// The cycle is over. What came is told, also where not all came.
    fn end(&mut self, now: Now, is_whole: bool, outcome: &mut Outcome) {
        let cycle = self.cycle.take().unwrap_or_default();
        let error = self.status.last_error.clone().filter(|_| !is_whole);
        let mut told = Vec::new();
        if let Some(registers) = &mut self.registers {
            let samples = registers.samples(&cycle.round);
            if !is_whole {
                registers.again(&cycle.round);
            }
            if self.asked.is_some() {
                told.clone_from(&samples);
            }
            if !samples.is_empty() {
                outcome.reading = Some(self.device.reading(now, samples));
                outcome.notices.extend(self.device.freshen(now.mono).map(Notice::Port));
            }
        }
        outcome.polled = self.asked.take().map(|waiting| waiting.ended(now.mono, told, error));
        if is_whole {
            self.recovered(outcome);
        } else {
            self.failed_cycle(now.mono, outcome);
        }
        self.next_cycle(now.mono);
    }

    fn recovered(&mut self, outcome: &mut Outcome) {
        if self.backoff.take().is_some() {
            let (device, failed_cycles) = (self.status.device.clone(), self.failed_cycles);
            outcome.notices.push(Notice::DeviceOnline { device, failed_cycles });
        }
        self.is_well = true;
        self.again = None;
        self.failed_cycles = 0;
        self.failing_since = None;
    }

    fn failed_cycle(&mut self, now: Mono, outcome: &mut Outcome) {
        self.is_well = false;
        self.failed_cycles = self.failed_cycles.saturating_add(1);
        let step = AGAIN_AFTER.saturating_mul(1 << (self.failed_cycles - 1).min(16));
        self.again = Some(step).filter(|step| *step < self.poll.every);
        let since = *self.failing_since.get_or_insert(self.due);
        if let Some(step) = &mut self.backoff {
            *step = step.saturating_mul(2).min(BACKOFF_MAX.max(self.poll.every));
        } else if self.failed_cycles >= OFFLINE_CYCLES && now.since(since) >= OFFLINE_AFTER {
            self.backoff = Some(self.poll.every);
            let (device, failed_cycles) = (self.status.device.clone(), self.failed_cycles);
            let error = self.status.last_error.clone().unwrap_or_default();
            outcome.notices.push(Notice::DeviceOffline { device, error, failed_cycles });
        }
    }

    /// When the next cycle is due: on the grid, or a step later.
    fn next_cycle(&mut self, now: Mono) {
        if let Some(step) = self.again {
            self.due = now + step;
            return;
        }
        if let Some(step) = self.backoff {
            let next = self.due + step;
            self.due = if next > now { next } else { now + step };
            return;
        }
        let every = u64::try_from(self.poll.every.as_nanos()).unwrap_or(u64::MAX).max(1);
        let origin = self.opened + self.phase;
        // The grid begins within the first `every`; what lies closer than half of one to the first cycle is left out.
        let passed = u64::try_from(now.since(origin).as_nanos()).unwrap_or(u64::MAX);
        let on_grid = |count: u64| origin + Duration::from_nanos(every.saturating_mul(count));
        let count = if now < origin { 0 } else { passed / every + 1 };
        let is_close = self.due == self.opened && on_grid(count).since(now) < self.poll.every / 2;
        let next = on_grid(count + u64::from(is_close));
        let gap = u64::try_from(next.since(self.due).as_nanos()).unwrap_or(u64::MAX);
        if self.due > self.opened {
            let skipped = (gap / every).saturating_sub(1);
            self.status.skipped_cycles = self.status.skipped_cycles.saturating_add(skipped);
        }
        self.due = next;
    }

    /// What it can be told in its own protocol.
    pub(super) fn commands(&self) -> &[CommandConfig] {
        &self.commands
    }

    /// Its point of that name that can be written.
    pub(super) fn target(&self, name: &str) -> Option<(&PointConfig, Item)> {
        self.registers.as_ref()?.target(name)
    }

    /// The names of the points that can be written.
    pub(super) fn writable(&self) -> impl Iterator<Item = &str> {
        self.registers.iter().flat_map(Registers::writable).map(|point| &*point.name)
    }

    /// A value that was read beside the cycle.
    pub(super) fn tell(&mut self, now: Now, sample: Sample) -> Outcome {
        let reading = Some(self.device.reading(now, vec![sample]));
        let notices = self.device.freshen(now.mono).map(Notice::Port).into_iter().collect();
        Outcome { reading, notices, polled: None }
    }

    /// It was told something: what it says now is asked at once.
    pub(super) fn ask_soon(&mut self, now: Mono) {
        if self.cycle.is_none() && self.backoff.is_none() {
            self.due = now;
        }
    }

    /// It has not answered for long, and is asked seldom.
    pub(super) const fn is_offline(&self) -> bool {
        self.backoff.is_some()
    }

    /// It answered in its last cycle.
    pub(super) const fn is_well(&self) -> bool {
        self.is_well
    }

    /// A snapshot.
    pub(super) fn snapshot(&self, now: Mono) -> SlaveStatus {
        let registers = self.registers.iter();
        SlaveStatus {
            offline: self.backoff.is_some(),
            failed_cycles: self.failed_cycles,
            refused: registers.flat_map(Registers::refused).map(|point| point.name.clone()).collect(),
            latency_p50: self.latencies.median(),
            latency_max: self.latencies.max(),
            every: self.poll.every,
            next_in: if self.cycle.is_some() { Duration::ZERO } else { self.candidate().ready.since(now) },
            ..self.status.clone()
        }
    }
}

/// Whether an exception is as good as silence for the counters.
pub(super) const fn is_silence(answer: &Answer) -> bool {
    matches!(answer, Answer::Exception(Exception::GatewayPathUnavailable | Exception::GatewayTargetSilent))
}
