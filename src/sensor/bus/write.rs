//! One write to a point of a Modbus device, from the value that is wanted to the value that the device holds then.
//!
//! ```text
//! (a part of a register) Look ── values ──┐
//!                                         ▼
//! (anything else) ─────────────────────▶ Send ── confirmed ──▶ Check ── values ──▶ done, or it reads otherwise
//! ```

use crate::command::Outcome;
use crate::reading::{Sample, Value};
use crate::sensor::cell::Cell;
use crate::sensor::config::PointConfig;
use crate::sensor::decode::Raw;
use crate::sensor::modbus::pdu::{Answer, Request};
use crate::sensor::modbus::plan::Item;
use crate::sensor::point;
use crate::sensor::wanted::{explain, shown, wanted};

use super::cycle::raw;

/// What is asked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// What the register holds, of which a part is written.
    Look,
    /// The write.
    Send,
    /// What the device holds now.
    Check,
}

/// What came of a write, with the value that was read back.
pub(super) type End = (Outcome, Option<Sample>);

/// A write.
#[derive(Debug)]
pub(super) struct Write {
    point: PointConfig,
    item: Item,
    raw: Raw<'static>,
    value: Value,
    pub(super) step: Step,
    /// What the registers shall hold, or the coil in the lowest bit.
    bytes: Vec<u8>,
}

impl Write {
    /// # Errors
    /// Why the point can't have this value.
    pub(super) fn new(point: &PointConfig, item: Item, value: &Value) -> Result<Self, String> {
        let (raw, value) = wanted(point, value).map_err(|error| error.to_string())?;
        let part = point.cell.filter(Cell::is_part);
        let bytes = match &point.cell {
            None => vec![u8::from(raw == Raw::Bool(true))],
            // Of a part, this tells whether the value fits.
            Some(cell) => cell
                .encode_into(&vec![0; cell.bytes], &raw)
                .map_err(|error| explain(point, &value, error).to_string())?,
        };
        let step = if part.is_some() { Step::Look } else { Step::Send };
        Ok(Self { point: point.clone(), item, raw, value, step, bytes })
    }

    /// What is asked of the device now.
    pub(super) fn request(&self) -> Request {
        let Item { function, address, count, .. } = self.item;
        let by_several = self.point.write.is_some_and(|write| write.by_several);
        if self.step != Step::Send {
            return Request::Read { function, address, count };
        }
        if function.is_bits() {
            let on = self.bytes.first().is_some_and(|byte| *byte != 0);
            return if by_several {
                Request::WriteCoils { address, values: vec![on] }
            } else {
                Request::WriteCoil { address, on }
            };
        }
        let word = |pair: &[u8]| pair.iter().fold(0_u16, |word, byte| (word << 8) | u16::from(*byte));
        let values: Vec<u16> = self.bytes.chunks(2).map(word).collect();
        match values.as_slice() {
            [value] if !by_several => Request::WriteRegister { address, value: *value },
            _ => Request::WriteRegisters { address, values },
        }
    }

    /// The device answered. `None`: there is more to do.
    pub(super) fn answered(&mut self, answer: &Answer) -> Option<End> {
        match (self.step, answer) {
            (Step::Look, Answer::Values(before)) => {
                match self.point.cell.map(|cell| cell.encode_into(before, &self.raw)) {
                    Some(Ok(bytes)) => self.bytes = bytes,
                    Some(Err(error)) => return Some((Outcome::Refused(error.to_string()), None)),
                    None => {}
                }
                self.step = Step::Send;
                None
            }
            (Step::Send, Answer::Written) => {
                self.step = Step::Check;
                None
            }
            (Step::Check, Answer::Values(values)) => Some(self.compare(values)),
            (Step::Look, other) => {
                Some((Outcome::Failed(format!("nothing was written: {}", said(other))), None))
            }
            (Step::Send, Answer::Exception(exception)) if !exception.is_silence() => {
                Some((Outcome::Failed(exception.to_string()), None))
            }
            (Step::Send, other) => {
                Some((Outcome::Unknown(format!("sent, but not confirmed: {}", said(other))), None))
            }
            (Step::Check, other) => Some((self.unread(&said(other)), None)),
        }
    }

    /// The device did not answer, and is not asked again.
    pub(super) fn unanswered(&self) -> Outcome {
        match self.step {
            Step::Look => Outcome::Failed("the device did not answer; nothing was written".to_owned()),
            Step::Send => Outcome::Unknown("sent, but not confirmed: the device did not answer".to_owned()),
            Step::Check => self.unread("the device did not answer"),
        }
    }

    fn unread(&self, why: &str) -> Outcome {
        if self.verifies() {
            Outcome::Unknown(format!("confirmed, but not read back: {why}"))
        } else {
            Outcome::Done(None)
        }
    }

    fn verifies(&self) -> bool {
        self.point.write.is_some_and(|write| write.verify)
    }

    fn compare(&self, values: &[u8]) -> End {
        let (reads, written) = (self.read(values), self.read(&self.bytes));
        let sample = point::sample(&self.point, &reads);
        let value = sample.as_ref().and_then(|sample| sample.value.clone());
        let outcome = if reads == written || !self.verifies() {
            Outcome::Done(value)
        } else {
            let reads = value.as_ref().map_or_else(|| "no value".to_owned(), shown);
            Outcome::Failed(format!("it was set to {} and reads {reads}", shown(&self.value)))
        };
        (outcome, sample)
    }

    fn read(&self, bytes: &[u8]) -> Raw<'static> {
        raw(&self.point, self.item, 0, bytes)
    }
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Exception(exception) => exception.to_string(),
        Answer::Values(_) | Answer::Written => "the answer is another's".to_owned(),
    }
}
