//! What a line says: its readings, and how it is doing.

use super::{Kind, Line, State};
use crate::gpio::counter::Counter;
use crate::gpio::{Mode, Output, Status};
use crate::reading::{Quality, Reading, Sample, Value};
use crate::time::{Mono, Now};

impl Line {
    pub(super) fn publish(&mut self, now: Now) {
        let taken = |overrun: &mut bool| match std::mem::take(overrun) {
            true => Quality::Overrun,
            false => Quality::Good,
        };
        let state = |value: Option<bool>, quality| Sample {
            point: "state".into(),
            value: value.map(Value::Bool),
            quality,
        };
        let samples = match &mut self.kind {
            Kind::Input { level, overrun, .. } => vec![state(*level, taken(overrun))],
            Kind::Output(switch) => {
                let quality = if switch.actual.is_some() { Quality::Good } else { Quality::Invalid };
                vec![state(switch.actual, quality)]
            }
            Kind::Counter(counter) => counter.samples(now.mono),
            Kind::Frequency { scale, timeout, pace, overrun, .. } => {
                let value = pace.read(now.mono, *timeout) * *scale;
                let value = format!("{value:.8e}").parse().unwrap_or(value);
                let quality = taken(overrun);
                vec![Sample { point: "frequency".into(), value: Some(Value::Number(value)), quality }]
            }
        };
        self.seq.number = self.seq.number.saturating_add(1);
        let reading = Reading {
            device: self.config.name.clone(),
            seq: self.seq,
            boot: self.boot,
            mono: now.mono,
            wall: now.wall,
            trust: now.trust,
            samples,
        };
        self.due = now.mono + self.config.every;
        self.last = Some(reading.clone());
        self.out.push_back(Output::Reading(reading));
    }

    pub(in crate::gpio) fn status(&self, now: Mono) -> Status {
        let counter = match &self.kind {
            Kind::Counter(counter) => Some(counter),
            _ => None,
        };
        Status {
            name: self.config.name.clone(),
            line: self.config.line.to_string(),
            mode: self.config.mode.as_str(),
            backend: self.backend,
            error: self.error.clone(),
            open: self.state == State::Open,
            unit: self.config.unit.clone(),
            rate_per: match &self.config.mode {
                Mode::Counter(counter) => Some(counter.rate_per),
                _ => None,
            },
            edges: self.edges,
            lost_edges: self.lost,
            readings: self.seq.number,
            last: self.last.clone(),
            last_age: self.last.as_ref().map(|reading| now.since(reading.mono)),
            live: counter.map(Counter::live),
            persist_every: counter.map(Counter::persist_every),
            keep_error: counter.and_then(Counter::error).map(str::to_owned),
            output: match &self.kind {
                Kind::Output(switch) => Some((switch.desired, switch.actual)),
                _ => None,
            },
        }
    }

    pub(in crate::gpio) fn is_on(&self) -> bool {
        matches!(&self.kind, Kind::Output(switch) if switch.is_on())
    }

    pub(in crate::gpio) fn excludes(&self, other: &str) -> bool {
        matches!(&self.kind, Kind::Output(switch) if switch.interlock().iter().any(|name| **name == *other))
    }

    pub(in crate::gpio) const fn watches_upstreams(&self) -> bool {
        matches!(&self.config.mode, Mode::Output(output) if output.on_disconnect.is_some())
    }
}
