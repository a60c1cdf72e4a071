//! Which profile a Modbus device reads well by. Registers don't say what they mean, so little is sure: a profile is named
//! only if it has a mains voltage and a mains frequency, all of them are what a mains has, and the device refuses none of
//! the profile's points. Of those the ones with the most such values are named. Profiles without both are never named.

use std::collections::VecDeque;

use super::Candidate;
use crate::reading::{Quality, Sample, Value};
use crate::sensor::bus::config::Ask;
use crate::sensor::bus::cycle::{Registers, Round};
use crate::sensor::config::{PointConfig, Points};
use crate::sensor::modbus::pdu::{Answer, Request};
use crate::sensor::modbus::plan::{Block, Limits};
use crate::time::Mono;

/// Units, and what they read on a mains.
const MAINS: [(&str, std::ops::RangeInclusive<f64>); 2] = [("V", 80.0..=500.0), ("Hz", 45.0..=65.0)];

/// Profiles that are tried on one device, one after the other.
#[derive(Debug)]
pub(super) struct Recognition {
    /// Candidates that are still to be tried.
    todo: VecDeque<usize>,
    attempt: Option<Attempt>,
    /// Each with how many values speak for it.
    found: Vec<(usize, String, Vec<Sample>)>,
}

#[derive(Debug)]
struct Attempt {
    candidate: usize,
    /// Only the mains' points are read at first.
    is_first: bool,
    registers: Registers,
    round: Round,
    block: Option<Block>,
}

impl Recognition {
    pub(super) fn new(candidates: &[Candidate]) -> Self {
        let has_mains = |candidate: &&(usize, &Candidate)| mains(candidate.1).is_some();
        let todo = candidates.iter().enumerate().collect::<Vec<_>>();
        Self {
            todo: todo.iter().filter(has_mains).map(|(index, _)| *index).collect(),
            attempt: None,
            found: Vec::new(),
        }
    }

    /// What is asked next; `None`: it is over.
    pub(super) fn next(&mut self, candidates: &[Candidate]) -> Option<Request> {
        loop {
            if self.attempt.is_none() {
                let candidate = self.todo.pop_front()?;
                self.attempt = candidates.get(candidate).and_then(|found| {
                    let points = mains(found)?;
                    Some(Attempt::new(candidate, true, &points, limits(found)))
                });
            }
            let Some(attempt) = &mut self.attempt else { continue };
            attempt.block = attempt.round.todo.pop_front();
            match &attempt.block {
                Some(block) => return block.request(),
                None => self.conclude(candidates),
            }
        }
    }

    /// What came; `None`: nothing.
    pub(super) fn answered(&mut self, answer: Option<&Answer>) {
        let Some(attempt) = &mut self.attempt else { return };
        match (answer, attempt.block.take()) {
            (Some(Answer::Values(values)), Some(block)) => {
                attempt.registers.take(&mut attempt.round, &block, values);
            }
            // A device without one of the points is another one.
            _ => self.attempt = None,
        }
    }

    fn conclude(&mut self, candidates: &[Candidate]) {
        let Some(attempt) = self.attempt.take() else { return };
        let Some(candidate) = candidates.get(attempt.candidate) else { return };
        let samples = attempt.registers.samples(&attempt.round);
        let Some(evidence) = evidence(candidate, &samples) else { return };
        if attempt.is_first {
            self.attempt = Some(Attempt::new(attempt.candidate, false, points(candidate), limits(candidate)));
        } else {
            self.found.push((evidence, candidate.profile.clone(), samples));
        }
    }

    /// The profiles by which it reads well, and the values by the first.
    pub(super) fn found(self) -> Option<(Vec<String>, Vec<Sample>)> {
        let most = self.found.iter().map(|(evidence, ..)| *evidence).max()?;
        let mut best: Vec<_> = self.found.into_iter().filter(|(evidence, ..)| *evidence == most).collect();
        let names = best.iter().map(|(_, name, _)| name.clone()).collect();
        let (.., values) = best.drain(..).next()?;
        Some((names, values))
    }
}

impl Attempt {
    fn new(candidate: usize, is_first: bool, points: &[PointConfig], limits: Limits) -> Self {
        let mut registers = Registers::new(points, limits);
        let round = registers.begin(Mono::ZERO, Mono::ZERO);
        Self { candidate, is_first, registers, round, block: None }
    }
}

fn points(candidate: &Candidate) -> &[PointConfig] {
    match &candidate.device.points {
        Points::List(points) => points,
        Points::All => &[],
    }
}

fn limits(candidate: &Candidate) -> Limits {
    match candidate.device.poll.as_ref().map(|poll| &poll.ask) {
        Some(Ask::Registers { hole_max, registers_max, .. }) => {
            Limits { hole_max: *hole_max, registers_max: *registers_max }
        }
        _ => Limits { hole_max: 0, registers_max: 60 },
    }
}

/// The first point of each of the mains' units; `None` without both.
fn mains(candidate: &Candidate) -> Option<Vec<PointConfig>> {
    let of = |unit: &str| {
        let mut points = points(candidate).iter();
        points.find(|point| point.register.is_some() && point.unit.as_deref() == Some(unit)).cloned()
    };
    MAINS.iter().map(|(unit, _)| of(unit)).collect()
}

/// How many values are those of a mains; `None`: one isn't.
fn evidence(candidate: &Candidate, samples: &[Sample]) -> Option<usize> {
    let mut evidence = 0_usize;
    for sample in samples {
        let point = points(candidate).iter().find(|point| point.name == sample.point)?;
        let Some((_, range)) = MAINS.iter().find(|(unit, _)| point.unit.as_deref() == Some(*unit)) else {
            continue;
        };
        let is_right = matches!(&sample.value, Some(Value::Number(number)) if range.contains(number));
        if !is_right || sample.quality != Quality::Good {
            return None;
        }
        evidence = evidence.saturating_add(1);
    }
    (evidence >= MAINS.len()).then_some(evidence)
}
