//! The commands of a port whose devices send by themselves: one at a time, none late, none twice. What is sent and what
//! answers it is `exchange`'s business.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::config::DeviceConfig;
use super::exchange::{CommandConfig, Exchange};
use super::port::Output;
use crate::command::{Command, CommandId, Outcome};
use crate::time::Mono;

/// Commands that wait on a port, some 500 bytes each. A further one is refused in words: what comes faster than a device
/// takes it would come late.
const WAITING_MAX: usize = 8;
/// A command that nobody confirms is over after this: had its sending failed, the port would be down by then.
const SENDING: Duration = Duration::from_millis(50);
/// For so long a line behind a command may still belong to it: an answer whose end comes late, an echo.
const AFTER: Duration = Duration::from_secs(1);

/// The commands of a port.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    devices: Vec<(Arc<str>, Vec<CommandConfig>)>,
    waiting: VecDeque<Exchange>,
    /// The first one was sent; it ends at this time.
    deadline: Option<Mono>,
    /// What ended last, and until when lines may belong to it.
    last: Option<(Exchange, Mono)>,
}

impl Exchanges {
    pub(super) fn new(devices: &[DeviceConfig]) -> Self {
        let with_commands = devices.iter().filter(|device| !device.commands.is_empty());
        let devices = with_commands.map(|device| (device.name.clone(), device.commands.clone())).collect();
        Self { devices, ..Self::default() }
    }

    /// Takes a command; `down` is why the port isn't open.
    pub(super) fn command(
        &mut self,
        now: Mono,
        command: &Command,
        down: Option<&str>,
        outputs: &mut VecDeque<Output>,
    ) {
        match self.judge(now, command, down) {
            Ok(exchange) => {
                self.waiting.push_back(exchange);
                self.begin(now, outputs);
            }
            Err(why) => outputs.push_back(done(command.id, Outcome::Refused(why))),
        }
    }

    fn judge(&self, now: Mono, command: &Command, down: Option<&str>) -> Result<Exchange, String> {
        let configs = self.devices.iter().find(|(name, _)| *name == command.device);
        let (_, configs) = configs.ok_or("there is no such device on this port")?;
        let exchange = Exchange::new(configs, command)?;
        if now >= command.until {
            return Err("it came too late".to_owned());
        }
        if let Some(why) = down {
            return Err(format!("the port is down: {why}"));
        }
        if self.waiting.len() >= WAITING_MAX {
            return Err(format!("too many commands wait already: {WAITING_MAX} may on a port"));
        }
        Ok(exchange)
    }

    /// Bytes came.
    pub(super) fn heard(&mut self, now: Mono, bytes: &[u8], outputs: &mut VecDeque<Output>) {
        if self.deadline.is_some()
            && let Some(outcome) = self.waiting.front_mut().and_then(|exchange| exchange.hear(bytes))
        {
            self.end(now, outcome, outputs);
        }
    }

    /// Looks at the time.
    pub(super) fn tick(&mut self, now: Mono, outputs: &mut VecDeque<Output>) {
        if self.deadline.is_some_and(|deadline| deadline <= now)
            && let Some(exchange) = self.waiting.front_mut()
        {
            let outcome = if exchange.is_answered() { exchange.timed_out() } else { Exchange::sent() };
            self.end(now, outcome, outputs);
        }
    }

    /// When the one that was sent ends.
    pub(super) const fn deadline(&self) -> Option<Mono> {
        self.deadline
    }

    /// The port is gone: whoever waits is told.
    pub(super) fn port_down(&mut self, outputs: &mut VecDeque<Output>) {
        let was_sent = self.deadline.take().is_some();
        self.last = None;
        for (index, exchange) in self.waiting.drain(..).enumerate() {
            let outcome = if index == 0 && was_sent {
                Outcome::Unknown("sent, but not confirmed: the port went down".to_owned())
            } else {
                Outcome::Refused("the port went down".to_owned())
            };
            outputs.push_back(done(exchange.id, outcome));
        }
    }

    /// Whether a frame that no device takes belongs to a command.
    pub(super) fn owns(&self, now: Mono, frame: &[u8]) -> bool {
        let current = self.waiting.front().filter(|_| self.deadline.is_some());
        let last = self.last.as_ref().filter(|(_, until)| now < *until).map(|(exchange, _)| exchange);
        current.into_iter().chain(last).any(|exchange| exchange.owns(frame))
    }

    fn end(&mut self, now: Mono, outcome: Outcome, outputs: &mut VecDeque<Output>) {
        self.deadline = None;
        if let Some(exchange) = self.waiting.pop_front() {
            outputs.push_back(done(exchange.id, outcome));
            self.last = Some((exchange, now + AFTER));
        }
        self.begin(now, outputs);
    }

    /// Sends the first that is not too late, unless one is under way.
    fn begin(&mut self, now: Mono, outputs: &mut VecDeque<Output>) {
        while self.deadline.is_none()
            && let Some(first) = self.waiting.front()
        {
            if now < first.until {
                let wait = if first.is_answered() { first.timeout } else { SENDING };
                outputs.push_back(Output::Send(first.bytes.clone()));
                self.deadline = Some(now + wait);
                return;
            }
            if let Some(late) = self.waiting.pop_front() {
                let why = "it came too late: the one before took its time".to_owned();
                outputs.push_back(done(late.id, Outcome::Refused(why)));
            }
        }
    }
}

const fn done(id: CommandId, outcome: Outcome) -> Output {
    Output::Done { id, outcome }
}

#[cfg(test)]
mod tests;
