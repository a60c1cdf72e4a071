//! Conversations with meters: carries out what they want, and gives the line back when they are over.

use super::super::Output;
use super::super::flight::Question;
use super::super::slave::Slave;
use super::super::talk::Talk;
use super::Bus;
use crate::sensor::codec::SessionOutput;
use crate::time::Now;

impl Bus {
    /// Whether a conversation has the line.
    pub(super) fn is_talking(&self) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.question == Question::Talk)
    }

    /// Bytes came while it has the line.
    pub(super) fn overheard_by_talk(&mut self, now: Now, bytes: &[u8]) {
        if let Some(talk) = self.talker().and_then(|slave| slave.talk.as_mut()) {
            talk.hear(now.mono, bytes);
        }
        self.converse(now);
    }

    /// Lets it look at the time.
    pub(super) fn tick_talk(&mut self, now: Now) {
        if let Some(talk) = self.talker().and_then(|slave| slave.talk.as_mut()) {
            talk.tick(now.mono);
        }
        self.converse(now);
    }

    /// Carries out what it wants.
    pub(super) fn converse(&mut self, now: Now) {
        while let Some(output) = self.talker().and_then(|slave| slave.talk.as_mut()?.poll_output()) {
            match output {
                SessionOutput::Baud(baud) => self.set_rate(baud),
                SessionOutput::Send(bytes) => {
                    let sent = now.mono + self.wire.time_of(bytes.len());
                    if let Some(flight) = &mut self.flight {
                        flight.sent = sent;
                    }
                    if let Some(talk) = self.talker().and_then(|slave| slave.talk.as_mut()) {
                        talk.sending_until(sent);
                    }
                    self.outputs.push_back(Output::Send(bytes));
                }
                SessionOutput::Readout(readout) => {
                    let outcome = self.talker().map(|slave| slave.told(now, &readout));
                    self.end_talk(now, true);
                    outcome.into_iter().for_each(|outcome| self.tell(outcome));
                }
                SessionOutput::Failed(error) => {
                    let outcome = self.talker().map(|slave| {
                        let silent = u64::from(!error.is_alive());
                        slave.status.timeouts = slave.status.timeouts.saturating_add(silent);
                        let damaged = u64::from(error.is_damage());
                        slave.status.crc_errors = slave.status.crc_errors.saturating_add(damaged);
                        slave.failed(now, error.to_string(), error.is_alive())
                    });
                    self.end_talk(now, false);
                    outcome.into_iter().for_each(|outcome| self.tell(outcome));
                }
            }
        }
        let deadline = self.talker().and_then(|slave| slave.talk.as_ref().and_then(Talk::deadline));
        if let (Some(flight), Some(deadline)) = (&mut self.flight, deadline) {
            flight.deadline = deadline;
        }
    }

    /// Who has the line.
    fn talker(&mut self) -> Option<&mut Slave> {
        let index = self.flight.as_ref().filter(|flight| flight.question == Question::Talk)?.slave;
        self.slaves.get_mut(index)
    }

    /// The line is anybody's again, at its own rate.
    fn end_talk(&mut self, now: Now, is_answered: bool) {
        self.land(now, is_answered);
        self.set_rate(self.config.baud);
    }

    fn set_rate(&mut self, baud: u32) {
        if self.wire.baud().is_some_and(|now| now != baud) {
            self.wire.set_baud(baud);
            self.outputs.push_back(Output::Rate(baud));
        }
    }
}
