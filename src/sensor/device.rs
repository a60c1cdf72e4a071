//! One device on a port: its lines to readings, its numbers, and whether it is stale.

use std::sync::Arc;
use std::time::Duration;

use super::config::{DeviceConfig, FramingConfig, Points};
use super::decode::{Decoder, Raw, Wholeness};
use super::fault::{Faults, LineError};
use super::point;
use super::port::{DeviceStatus, Notice};
use crate::reading::{Quality, Reading, Run, Sample, Seq};
use crate::time::{BootId, Mono, Now};

/// A device: what it is told, and what became of its lines.
#[derive(Debug)]
pub(super) struct Device {
    name: Arc<str>,
    port: Arc<str>,
    decoder: Decoder,
    points: Points,
    /// When each of the points is due that don't take part in every reading; `None` where it is now.
    due: Vec<Option<Mono>>,
    bytes_max: usize,
    /// A frame of this framing, or with this check, has its beginning.
    proves_whole: bool,
    stale_after: Duration,
    boot: BootId,
    /// Of the last reading; the count is also the number of readings.
    seq: Seq,
    last: Option<Reading>,
    freshness: Freshness,
    /// The bad lines of a device that has its port for itself.
    pub(super) faults: Faults,
    /// Which of the port's framings is its own.
    pub(super) lane: usize,
}

/// ```text
/// Waiting ── good line ──> Fresh ── stale_after, port down ──> Stale ── good line ──> Fresh
///    └────── stale_after with the port open ─────────────────────^
/// ```
/// Into `Stale` and out of it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    /// No line yet; since when the port is open for it.
    Waiting(Option<Mono>),
    /// The last good line.
    Fresh(Mono),
    Stale,
}

/// What is known about a line's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// The end of the line before it was seen, or the port was quiet before it.
    Seen,
    /// The first line after opening: a sensor may have been in the middle of it.
    Unseen,
}

impl Device {
    pub(super) fn new(config: DeviceConfig, lane: usize, run: Run, boot: BootId) -> Self {
        let proves_whole = config.check.is_some()
            || match &config.framing {
                FramingConfig::Line { .. } | FramingConfig::Gap { .. } => false,
                FramingConfig::Packet { .. }
                | FramingConfig::Telegram { .. }
                | FramingConfig::Stuffed { .. }
                | FramingConfig::Codec(_) => true,
            };
        Self {
            decoder: Decoder::new(&config.decode, &config.points),
            faults: Faults::new(config.name.clone()),
            name: config.name,
            port: config.port,
            due: match &config.points {
                Points::List(points) => vec![None; points.len()],
                Points::All => Vec::new(),
            },
            points: config.points,
            bytes_max: config.framing.bytes_max(),
            proves_whole,
            stale_after: config.stale_after,
            boot,
            seq: Seq { run, number: 0 },
            last: None,
            freshness: Freshness::Waiting(None),
            lane,
        }
    }

    /// Takes a line if it is this device's. `None`: none of its points is due.
    pub(super) fn offer(
        &mut self,
        now: Now,
        line: &[u8],
        beginning: Beginning,
    ) -> Result<Option<Reading>, LineError> {
        if line.len() > self.bytes_max {
            return Err(LineError::TooLong { max: self.bytes_max });
        }
        let known = self.last.as_ref().map(|reading| reading.samples.as_slice()).unwrap_or_default();
        let mut samples = samples(&self.decoder, &self.points, known, line)?;
        if beginning == Beginning::Unseen && !self.proves_whole {
            let is_whole = match self.decoder.wholeness(&self.points) {
                Wholeness::Certain => true,
                Wholeness::IfComplete => samples.iter().all(|sample| sample.quality != Quality::Invalid),
                Wholeness::Unknown => false,
            };
            if !is_whole {
                return Err(LineError::MaybeCut);
            }
        }
        self.keep_due(now.mono, &mut samples);
        Ok((!samples.is_empty()).then(|| self.reading(now, samples)))
    }

    /// The next reading, of these values.
    pub(super) fn reading(&mut self, now: Now, samples: Vec<Sample>) -> Reading {
        self.seq.number = self.seq.number.saturating_add(1);
        let reading = Reading {
            device: self.name.clone(),
            seq: self.seq,
            boot: self.boot,
            mono: now.mono,
            wall: now.wall,
            trust: now.trust,
            samples,
        };
        self.last = Some(reading.clone());
        reading
    }

    /// Leaves out the points that took part in a reading less than their `every` ago. The next time counts from
    /// when it was due, so that the pace holds however the frames fall.
    fn keep_due(&mut self, now: Mono, samples: &mut Vec<Sample>) {
        let Points::List(points) = &self.points else { return };
        if points.iter().all(|point| point.every.is_none()) {
            return;
        }
        samples.retain(|sample| {
            let Some(index) = points.iter().position(|point| point.name == sample.point) else { return true };
            let every = points.get(index).and_then(|point| point.every);
            let (Some(every), Some(due)) = (every, self.due.get_mut(index)) else { return true };
            if due.is_some_and(|due| now < due) {
                return false;
            }
            let next = due.map_or(now + every, |due| due + every);
            *due = Some(if next <= now { now + every } else { next });
            true
        });
    }

    /// The port opened: the wait for the first line begins.
    pub(super) fn opened(&mut self, now: Mono) {
        if let Freshness::Waiting(since) = &mut self.freshness {
            *since = Some(now);
        }
    }

    /// The port is down.
    pub(super) fn port_down(&mut self) -> Option<Notice> {
        match self.freshness {
            Freshness::Fresh(_) => Some(self.goes_stale()),
            Freshness::Waiting(_) => {
                self.freshness = Freshness::Waiting(None);
                None
            }
            Freshness::Stale => None,
        }
    }

    /// A good line came.
    pub(super) fn freshen(&mut self, now: Mono) -> Option<Notice> {
        let was = std::mem::replace(&mut self.freshness, Freshness::Fresh(now));
        (was == Freshness::Stale).then(|| Notice::DeviceFresh { device: self.name.clone() })
    }

    /// Looks at the time.
    pub(super) fn tick(&mut self, now: Mono) -> Option<Notice> {
        let is_due = self.deadline().is_some_and(|deadline| deadline <= now);
        is_due.then(|| self.goes_stale())
    }

    fn goes_stale(&mut self) -> Notice {
        self.freshness = Freshness::Stale;
        Notice::DeviceStale { device: self.name.clone() }
    }

    /// When it goes stale if no good line comes.
    pub(super) fn deadline(&self) -> Option<Mono> {
        match self.freshness {
            Freshness::Waiting(since) => since.map(|since| since + self.stale_after),
            Freshness::Fresh(last) => Some(last + self.stale_after),
            Freshness::Stale => None,
        }
    }

    pub(super) fn status(&self, now: Mono) -> DeviceStatus {
        let is_fresh = matches!(self.freshness, Freshness::Fresh(last) if now < last + self.stale_after);
        DeviceStatus {
            name: self.name.clone(),
            port: self.port.clone(),
            readings: self.seq.number,
            bad_lines: self.faults.total(),
            last_error: self.faults.last_error().map(str::to_owned),
            last: self.last.clone(),
            last_age: self.last.as_ref().map(|reading| now.since(reading.mono)),
            stale: !is_fresh,
            waiting: matches!(self.freshness, Freshness::Waiting(_)),
        }
    }
}

/// The values of a frame. `known` are those of the frame before, whose names are shared.
pub(super) fn samples(
    decoder: &Decoder,
    points: &Points,
    known: &[Sample],
    line: &[u8],
) -> Result<Vec<Sample>, LineError> {
    let Points::List(points) = points else { return all_samples(decoder, known, line) };
    let raws = decoder.pick(line)?;
    // An expression that matches has said whose line it is; its groups need not all take part.
    let is_claimed = matches!(decoder, Decoder::Regex(_));
    // One of several kinds of frames, each with some of the values: what isn't in it is no fault.
    let is_partial = decoder.is_partial();
    if !is_claimed && !is_partial && raws.iter().all(|raw| *raw == Raw::Missing) {
        return Err(LineError::NoPoint);
    }
    let present = points.iter().zip(&raws).filter(|(_, raw)| !is_partial || **raw != Raw::Missing);
    let read = present.filter_map(|(point, raw)| point::sample(point, raw));
    let samples: Vec<Sample> = read.collect();
    if !decoder.names_fields() && samples.iter().all(|sample| sample.value.is_none()) {
        return Err(LineError::NoValue);
    }
    Ok(samples)
}

fn all_samples(decoder: &Decoder, known: &[Sample], line: &[u8]) -> Result<Vec<Sample>, LineError> {
    let fields = decoder.all(line)?;
    if fields.is_empty() && !decoder.is_partial() {
        return Err(LineError::NoPoint);
    }
    let sample = |(index, (name, raw)): (usize, &(_, Raw<'_>))| {
        let name: &str = std::borrow::Cow::as_ref(name);
        // Most lines have the keys of the line before: share their names.
        let same = known.get(index).filter(|sample| *sample.point == *name);
        let name = same.map_or_else(|| Arc::from(name), |sample| sample.point.clone());
        point::guess(name, raw)
    };
    Ok(fields.iter().enumerate().map(sample).collect())
}
