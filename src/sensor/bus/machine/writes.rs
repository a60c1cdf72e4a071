//! The commands of a bus: they go before the polls, in their order as far as their devices allow, and never late.
//!
//! What was not confirmed is sent again only where that does no harm: the value of a register is absolute, so the same write
//! may come twice. What a device makes of a command in its own protocol nobody knows: that is sent once.

use super::super::flight::{Purpose, Question};
use super::super::write::{End, Step, Write};
use super::super::{Output, Slave};
use super::Bus;
use crate::command::{Command, CommandId, Outcome};
use crate::sensor::exchange::Exchange;
use crate::sensor::modbus::pdu::Answer;
use crate::time::{Mono, Now};

use std::time::Duration;

/// Commands to one device that wait, some 500 bytes each. A further one is refused in words: what comes faster than a device
/// takes it would come late.
const DEVICE_WRITES_MAX: usize = 8;
/// Commands that wait on a bus, 32 KB at worst. A further one is refused in words.
const WRITES_MAX: usize = 64;
/// Requests of commands in a row while a poll is due: one command with reading before and after. Then a poll goes, so that
/// nobody who commands all the time can blind the gateway.
pub(super) const IN_A_ROW_MAX: u32 = 3;
/// A value that was written is read back within this of the end of the command's time, or given up: others wait.
const CHECK_MAX: Duration = Duration::from_secs(5);

/// A command in the queue; the first may be under way.
#[derive(Debug)]
pub(super) struct Waiting {
    id: CommandId,
    slave: usize,
    until: Mono,
    job: Job,
    failed_tries: u8,
}

#[derive(Debug)]
enum Job {
    Write(Box<Write>),
    Exchange(Box<Exchange>),
}

impl Waiting {
    /// From then on it is too late for its next step.
    pub(super) fn expires(&self) -> Mono {
        match &self.job {
            Job::Write(write) if write.step == Step::Check => self.until + CHECK_MAX,
            _ => self.until,
        }
    }

    fn expired(&self) -> Outcome {
        match &self.job {
            Job::Write(write) if write.step == Step::Check || self.failed_tries > 0 => write.unanswered(),
            _ => Outcome::Refused("it came too late: the bus had no time for it".to_owned()),
        }
    }
}

impl Bus {
    /// Carries out a command, before the polls. What came of it comes as [`Output::Done`].
    pub fn command(&mut self, now: Now, command: &Command) {
        match self.judge(now.mono, command) {
            Ok(waiting) => {
                self.writes.push_back(waiting);
                self.launch(now.mono);
            }
            Err(why) => {
                self.outputs.push_back(Output::Done { id: command.id, outcome: Outcome::Refused(why) });
            }
        }
    }

    fn judge(&self, now: Mono, command: &Command) -> Result<Waiting, String> {
        let index = self.slaves.iter().position(|slave| slave.status.device == command.device);
        let found = index.and_then(|index| Some((index, self.slaves.get(index)?)));
        let (index, slave) = found.ok_or("there is no such device on this port")?;
        let job = job(slave, command)?;
        if now >= command.until {
            return Err("it came too late".to_owned());
        }
        if !self.line.is_open() {
            let why = self.line.error().unwrap_or_else(|| "it is not open yet".to_owned());
            return Err(format!("the port is down: {why}"));
        }
        if slave.is_offline() {
            let why = slave.status.last_error.as_deref().unwrap_or("it does not answer");
            return Err(format!("the device is offline: {why}"));
        }
        let of_device = self.writes.iter().filter(|waiting| waiting.slave == index).count();
        if of_device >= DEVICE_WRITES_MAX || self.writes.len() >= WRITES_MAX {
            return Err(format!(
                "too many commands wait already: {of_device} of this device ({DEVICE_WRITES_MAX} may), {} of this port \
                 ({WRITES_MAX} may)",
                self.writes.len()
            ));
        }
        Ok(Waiting { id: command.id, slave: index, until: command.until, job, failed_tries: 0 })
    }

    fn end_write(&mut self, now: Now, (outcome, sample): End) {
        let Some(waiting) = self.writes.pop_front() else { return };
        if let (Some(sample), Some(slave)) = (sample, self.slaves.get_mut(waiting.slave)) {
            let told = slave.tell(now, sample);
            self.tell(told);
        }
        self.outputs.push_back(Output::Done { id: waiting.id, outcome });
    }

    /// Gives up what has become too late.
    pub(super) fn expire_writes(&mut self, now: Mono) {
        let flying = self.is_writing();
        let (mut index, mut late) = (0_usize, Vec::new());
        self.writes.retain(|waiting| {
            let keeps = waiting.expires() > now || (index == 0 && flying);
            index = index.saturating_add(1);
            if !keeps {
                late.push(Output::Done { id: waiting.id, outcome: waiting.expired() });
            }
            keeps
        });
        self.outputs.extend(late);
    }

    /// Whether what is under way is a command's, the first in the queue.
    pub(super) fn is_writing(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.purpose == Purpose::Write)
    }

    /// Each command that is the first of its device, with when it may go.
    pub(super) fn ready_writes(&self) -> impl Iterator<Item = (usize, Mono)> {
        let is_first = |index: usize, waiting: &Waiting| {
            !self.writes.iter().take(index).any(|before| before.slave == waiting.slave)
        };
        let first = self.writes.iter().enumerate().filter(move |(index, waiting)| is_first(*index, waiting));
        first.filter_map(|(index, waiting)| Some((index, self.write_ready(waiting)?)))
    }

    fn write_ready(&self, waiting: &Waiting) -> Option<Mono> {
        let slave = self.slaves.get(waiting.slave)?;
        let request = match &waiting.job {
            Job::Write(write) => Some(write.request()),
            Job::Exchange(_) => None,
        };
        let held = slave.late.holds(request.as_ref(), waiting.failed_tries > 0);
        Some(slave.rests_until.max(held.unwrap_or_default()))
    }

    /// The Modbus request that was under way got this answer.
    pub(super) fn write_answered(&mut self, now: Now, answer: &Answer) {
        let Some(Waiting { job: Job::Write(write), failed_tries, .. }) = self.writes.front_mut() else {
            return;
        };
        *failed_tries = 0;
        if let Some(end) = write.answered(answer) {
            self.end_write(now, end);
        }
    }

    /// Bytes came while a command in the device's own protocol was under way.
    pub(super) fn write_heard(&mut self, now: Now, bytes: &[u8]) {
        let Some(Waiting { job: Job::Exchange(exchange), slave, .. }) = self.writes.front_mut() else {
            return;
        };
        let index = *slave;
        if let Some(outcome) = exchange.hear(bytes) {
            self.land(now, true);
            self.end_exchange(now, index, outcome);
        }
    }

    fn end_exchange(&mut self, now: Now, index: usize, outcome: Outcome) {
        if let Some(slave) = self.slaves.get_mut(index) {
            slave.ask_soon(now.mono);
        }
        self.end_write(now, (outcome, None));
    }

    /// What was under way got no answer in its time.
    pub(super) fn write_unanswered(&mut self, now: Now) {
        let Some(waiting) = self.writes.front_mut() else { return };
        waiting.failed_tries = waiting.failed_tries.saturating_add(1);
        let (index, tries) = (waiting.slave, waiting.failed_tries);
        match &mut waiting.job {
            Job::Exchange(exchange) => {
                let outcome = if exchange.is_answered() { exchange.timed_out() } else { Exchange::sent() };
                self.end_exchange(now, index, outcome);
            }
            Job::Write(write) => {
                let outcome = write.unanswered();
                let slave = self.slaves.get(index);
                let retries = slave.map_or(0, |slave| if slave.is_well() { slave.poll.retries } else { 0 });
                if tries > retries {
                    self.end_write(now, (outcome, None));
                }
            }
        }
    }

    /// Whether what is under way was sent without an answer to wait for.
    pub(super) fn is_one_way(&self) -> bool {
        let first = self.writes.front().filter(|_| self.is_writing());
        matches!(first, Some(Waiting { job: Job::Exchange(exchange), .. }) if !exchange.is_answered())
    }

    /// The line is gone: whoever waits is told.
    pub(super) fn drop_writes(&mut self) {
        let under_way = self.is_writing();
        for (index, waiting) in self.writes.drain(..).enumerate() {
            let was_sent = index == 0 && under_way || waiting.failed_tries > 0;
            let outcome = match &waiting.job {
                Job::Write(write) if write.step == Step::Check || was_sent => write.unanswered(),
                Job::Exchange(_) if was_sent => {
                    Outcome::Unknown("sent, but not confirmed: the port went down".to_owned())
                }
                _ => Outcome::Refused("the port went down".to_owned()),
            };
            self.outputs.push_back(Output::Done { id: waiting.id, outcome });
        }
    }

    pub(super) fn launch_write(&mut self, now: Mono, index: usize) {
        // The one under way is the first.
        let Some(waiting) = self.writes.remove(index) else { return };
        let slave = waiting.slave;
        let timeout = self.slaves.get(slave).map(|slave| slave.poll.timeout).unwrap_or_default();
        let unit = self.slaves.get(slave).and_then(|slave| slave.status.unit_id);
        let (question, timeout) = match &waiting.job {
            Job::Exchange(exchange) => {
                let wait = if exchange.is_answered() { exchange.timeout } else { self.wire.gap() };
                (Question::Bytes(exchange.bytes.clone()), wait)
            }
            Job::Write(write) => {
                (Question::Modbus { unit: unit.unwrap_or_default(), request: write.request() }, timeout)
            }
        };
        self.writes.push_front(waiting);
        self.send(now, slave, Purpose::Write, question, timeout);
    }
}

/// What a command means to a device.
fn job(slave: &Slave, command: &Command) -> Result<Job, String> {
    if slave.status.unit_id.is_none() {
        return Ok(Job::Exchange(Box::new(Exchange::new(slave.commands(), command)?)));
    }
    let names = || slave.writable().collect::<Vec<_>>().join(", ");
    let name =
        command.point.as_deref().ok_or_else(|| format!("the topic names no point; it has {}", names()))?;
    let target = slave.target(name);
    let (point, item) =
        target.ok_or_else(|| format!("it has no {name:?} that can be set; it has {}", names()))?;
    Write::new(point, item, &command.value).map(|write| Job::Write(Box::new(write)))
}
