//! The writes of a bus: they go before the polls, in their order as far as their devices allow, and never late.

use super::super::flight::{Purpose, Question};
use super::super::{Output, WriteError, WriteOrder};
use super::{Bus, State};
use crate::time::{Mono, Now};

/// Writes that wait for their turn, some 300 bytes each. A further one is refused in words.
const WRITES_MAX: usize = 64;

/// A write in the queue; the first may be under way.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) order: WriteOrder,
    pub(super) slave: usize,
    failed_tries: u8,
}

impl Bus {
    /// Queues a write; it goes before the polls. Its result comes as [`Output::Written`].
    ///
    /// # Errors
    /// Refused at once: nothing was sent, and no result will come.
    pub fn write(&mut self, now: Now, order: WriteOrder) -> Result<(), WriteError> {
        let slave = self
            .slaves
            .iter()
            .position(|slave| slave.status.device == order.device && slave.status.unit_id.is_some());
        let slave = slave.ok_or(WriteError::NoSuchDevice)?;
        if !order.request.is_write() {
            return Err(WriteError::BadRequest(None));
        }
        order.request.encode().map_err(|error| WriteError::BadRequest(Some(error)))?;
        if self.state != State::Open {
            return Err(WriteError::PortDown);
        }
        if self.writes.len() >= WRITES_MAX {
            return Err(WriteError::Full { max: WRITES_MAX });
        }
        self.writes.push_back(Waiting { order, slave, failed_tries: 0 });
        self.launch(now.mono);
        Ok(())
    }

    pub(super) fn end_write(&mut self, result: Result<(), WriteError>) {
        if let Some(waiting) = self.writes.pop_front() {
            self.outputs.push_back(Output::Written { token: waiting.order.token, result });
        }
    }

    /// Gives up the writes for which it is too late.
    pub(super) fn expire_writes(&mut self, now: Mono) {
        let flying = self.flight.as_ref().is_some_and(|flight| flight.purpose == Purpose::Write);
        let (mut index, mut late) = (0_usize, Vec::new());
        self.writes.retain(|waiting| {
            let keeps = waiting.order.until > now || (index == 0 && flying);
            index = index.saturating_add(1);
            if !keeps {
                let tried = waiting.failed_tries > 0;
                let error = if tried { WriteError::NoAnswer } else { WriteError::TooLate };
                late.push(Output::Written { token: waiting.order.token, result: Err(error) });
            }
            keeps
        });
        self.outputs.extend(late);
    }

    /// When a write may go.
    pub(super) fn write_ready(&self, waiting: &Waiting) -> Option<Mono> {
        let slave = self.slaves.get(waiting.slave)?;
        let held = slave.late.holds(Some(&waiting.order.request), waiting.failed_tries > 0);
        Some(slave.rests_until.max(held.unwrap_or_default()))
    }

    /// The write that was under way got no answer.
    pub(super) fn write_failed(&mut self, retries: u8) {
        let tries = self.writes.front_mut().map_or(u8::MAX, |waiting| {
            waiting.failed_tries = waiting.failed_tries.saturating_add(1);
            waiting.failed_tries
        });
        if tries > retries {
            self.end_write(Err(WriteError::NoAnswer));
        }
    }

    /// The line is gone: whoever waits is told.
    pub(super) fn drop_writes(&mut self) {
        let under_way = self.flight.as_ref().is_some_and(|flight| flight.purpose == Purpose::Write);
        for (index, waiting) in self.writes.drain(..).enumerate() {
            let error = if index == 0 && under_way { WriteError::NoAnswer } else { WriteError::PortDown };
            self.outputs.push_back(Output::Written { token: waiting.order.token, result: Err(error) });
        }
    }

    pub(super) fn launch_write(&mut self, now: Mono, index: usize) {
        // The one under way is the first.
        let Some(waiting) = self.writes.remove(index) else { return };
        let (slave, request) = (waiting.slave, waiting.order.request.clone());
        self.writes.push_front(waiting);
        if let Some(unit) = self.slaves.get(slave).and_then(|slave| slave.status.unit_id) {
            self.send(now, slave, Purpose::Write, Question::Modbus { unit, request });
        }
    }
}
