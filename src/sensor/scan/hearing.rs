//! What was heard at one rate, and whether it makes sense: by the profiles' own framings, checks and decoders, by the CRC of
//! Modbus frames that others exchange, by damaged bytes and by how much of it can be printed.

use std::collections::BTreeSet;

use super::{Candidate, Settings};
use crate::sensor::config::{DataBits, DeviceConfig, FramingConfig, Parity};
use crate::sensor::modbus::rtu;
use crate::sensor::trial::{Piece, Trial};
use crate::time::Mono;

/// Bytes that are kept to look for Modbus frames and to show.
const KEPT_BYTES_MAX: usize = 8 * 1024;
/// Bytes that are shown.
const SAMPLE_BYTES_MAX: usize = 96;
/// So many frames, and nobody needs to listen any longer.
const ENOUGH_FRAMES: usize = 12;
/// Fewer bytes say nothing about their bits.
const BYTES_MIN: usize = 16;

/// What was heard at one rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The rate.
    pub settings: Settings,
    /// Bytes that came.
    pub bytes: usize,
    /// Of these, with a wrong parity or stop bit.
    pub errors: usize,
    /// Of these, how many can be printed, in percent.
    pub printable_percent: u8,
    /// Profiles that can read it, the best ones: they are equal.
    pub matches: Vec<Match>,
    /// Addresses in Modbus frames that others exchange.
    pub modbus_units: Vec<u8>,
    /// Whole lines, where it is text.
    pub text_lines: usize,
    /// A piece of it.
    pub sample: Vec<u8>,
    /// It was asked for.
    pub is_asked: bool,
}

/// A profile that can read what was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The profile.
    pub profile: String,
    /// What the device is.
    pub title: String,
    /// Frames that it has read.
    pub good: usize,
    /// Frames that it could not, without the first, which may be cut.
    pub bad: usize,
    /// Its frames have a check, so that they don't fit by chance.
    pub is_proven: bool,
}

impl Verdict {
    /// How much sense it makes; larger is more. 0: none.
    #[must_use]
    pub fn weight(&self) -> (u8, usize) {
        let good = self.matches.first().map_or(0, |found| found.good);
        if self.matches.iter().any(|found| found.is_proven) {
            (4, good)
        } else if !self.modbus_units.is_empty() {
            (3, self.modbus_units.len())
        } else if !self.matches.is_empty() {
            (2, good)
        } else if self.text_lines > 1 && self.printable_percent >= 95 && self.errors * 50 < self.bytes {
            (1, self.text_lines)
        } else {
            (0, 0)
        }
    }

    /// Nobody needs to listen at another rate.
    pub(super) fn is_sure(&self) -> bool {
        let is_clean = self.matches.first().is_some_and(|Match { good, bad, is_proven, .. }| {
            if *is_proven { *good > bad * 2 } else { *bad == 0 && *good > 2 }
        });
        is_clean || self.weight().0 == 3
    }
}

/// Listens.
#[derive(Debug)]
pub(super) struct Hearing {
    settings: Settings,
    is_asked: bool,
    trials: Vec<Tally>,
    bytes: usize,
    errors: usize,
    printable: usize,
    /// Bytes with an even number of ones; with the eighth bit set.
    even: usize,
    high: usize,
    /// Bytes that are printable without their eighth bit.
    printable_seven: usize,
    kept: Vec<u8>,
}

#[derive(Debug)]
struct Tally {
    candidate: usize,
    trial: Trial,
    is_proven: bool,
    good: usize,
    bad: usize,
    /// Something has come already.
    has_begun: bool,
}

impl Tally {
    fn count(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Frame { values: Ok(values), .. } if !values.is_empty() => {
                self.good = self.good.saturating_add(1);
            }
            // Its check holds, so it speaks for the profile as much as against it: a sentence of the maker's own.
            Piece::Frame { values: Ok(_), .. } if self.is_proven => {}
            // The first may be cut.
            Piece::Frame { .. } | Piece::Bad { .. } if self.has_begun => {
                self.bad = self.bad.saturating_add(1)
            }
            _ => {}
        }
        self.has_begun = true;
    }

    const fn fits(&self) -> bool {
        if self.is_proven { self.good > self.bad } else { self.good > 1 && self.bad * 9 <= self.good }
    }
}

impl Hearing {
    /// `among`: which of the candidates may be the one.
    pub(super) fn new(
        settings: Settings,
        is_asked: bool,
        candidates: &[Candidate],
        among: impl Fn(usize, &Candidate) -> bool,
    ) -> Self {
        let trials = candidates.iter().enumerate().filter(|(index, candidate)| among(*index, candidate)).map(
            |(index, candidate)| Tally {
                candidate: index,
                trial: Trial::new(&candidate.device),
                is_proven: is_proven(&candidate.device),
                good: 0,
                bad: 0,
                has_begun: false,
            },
        );
        Self {
            settings,
            is_asked,
            trials: trials.collect(),
            bytes: 0,
            errors: 0,
            printable: 0,
            even: 0,
            high: 0,
            printable_seven: 0,
            kept: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, now: Mono, bytes: &[u8], errors: usize) {
        let seven = self.settings.data_bits == DataBits::Seven;
        let bytes: Vec<u8> = bytes.iter().map(|byte| if seven { byte & 0x7f } else { *byte }).collect();
        let count = |is: fn(u8) -> bool| bytes.iter().filter(|byte| is(**byte)).count();
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.errors = self.errors.saturating_add(errors);
        self.printable = self.printable.saturating_add(count(is_printable));
        self.printable_seven = self.printable_seven.saturating_add(count(|byte| is_printable(byte & 0x7f)));
        self.even = self.even.saturating_add(count(|byte| byte.count_ones() % 2 == 0));
        self.high = self.high.saturating_add(count(|byte| byte > 0x7f));
        let room = KEPT_BYTES_MAX.saturating_sub(self.kept.len());
        self.kept.extend(bytes.iter().take(room));
        for tally in &mut self.trials {
            let Tally { trial, .. } = tally;
            let mut pieces = Vec::new();
            trial.push(now, &bytes, |piece| pieces.push(owned(&piece)));
            pieces.iter().for_each(|piece| tally.count(piece));
        }
    }

    /// Enough has come to be sure.
    pub(super) fn is_enough(&self) -> bool {
        self.trials.iter().any(|tally| tally.fits() && tally.good >= ENOUGH_FRAMES)
    }

    pub(super) const fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// An answer has come.
    pub(super) fn is_answered(&self) -> bool {
        self.trials.iter().any(|tally| tally.good > 0)
    }

    /// It is over.
    pub(super) fn verdict(mut self, candidates: &[Candidate]) -> Verdict {
        for tally in &mut self.trials {
            let mut pieces = Vec::new();
            tally.trial.finish(|piece| pieces.push(owned(&piece)));
            pieces.iter().for_each(|piece| tally.count(piece));
        }
        let rank = |tally: &Tally| (tally.is_proven, tally.good);
        let fitting =
            || self.trials.iter().filter(|tally| tally.fits() && (!self.is_asked || tally.good > 0));
        let best = fitting().map(rank).max();
        let matches = fitting().filter(|tally| Some(rank(tally)) == best).filter_map(|tally| {
            let candidate = candidates.get(tally.candidate)?;
            Some(Match {
                profile: candidate.profile.clone(),
                title: candidate.title.clone(),
                good: tally.good,
                bad: tally.bad,
                is_proven: tally.is_proven,
            })
        });
        let percent = self.printable.saturating_mul(100).checked_div(self.bytes).unwrap_or(0);
        Verdict {
            settings: self.settings,
            bytes: self.bytes,
            errors: self.errors,
            printable_percent: u8::try_from(percent).unwrap_or(100),
            matches: matches.collect(),
            modbus_units: modbus_units(&self.kept),
            text_lines: self.kept.split(|byte| *byte == b'\n').count().saturating_sub(1),
            sample: self.sample(percent),
            is_asked: self.is_asked,
        }
    }

    /// Other frames at the same rate that would explain what came: 7E1 and 7O1 look like text with an eighth bit, and with
    /// 8E1 and 8O1 half of the stop bits are wrong.
    pub(super) fn explanations(&self) -> Vec<Settings> {
        if self.bytes < BYTES_MIN || self.settings.frame() != "8N1" {
            return Vec::new();
        }
        let with = |data_bits, parity| Settings { data_bits, parity, ..self.settings };
        if self.high.saturating_mul(8) > self.bytes && self.printable_seven == self.bytes {
            if self.even == self.bytes {
                return vec![with(DataBits::Seven, Parity::Even)];
            }
            if self.even == 0 {
                return vec![with(DataBits::Seven, Parity::Odd)];
            }
        }
        if self.errors.saturating_mul(10) > self.bytes {
            return vec![with(DataBits::Eight, Parity::Even), with(DataBits::Eight, Parity::Odd)];
        }
        Vec::new()
    }

    /// Of text the second line, since the first may be cut.
    fn sample(&self, printable_percent: usize) -> Vec<u8> {
        let mut sample: Vec<u8> = self.kept.clone();
        if printable_percent >= 90 {
            let mut lines =
                self.kept.split(|byte| matches!(byte, b'\r' | b'\n')).filter(|line| !line.is_empty());
            let first = lines.next();
            sample = lines.next().or(first).unwrap_or_default().to_vec();
        }
        sample.truncate(SAMPLE_BYTES_MAX);
        sample
    }
}

/// A piece that outlives the trial's buffer; of its content only what is counted.
fn owned(piece: &Piece<'_>) -> Piece<'static> {
    match piece {
        Piece::Frame { values, .. } => Piece::Frame { bytes: &[], values: values.clone() },
        Piece::Bad { error, .. } => Piece::Bad { bytes: &[], error: error.clone() },
        Piece::Skipped(_) => Piece::Skipped(&[]),
    }
}

const fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t')
}

/// Whether a frame of the device can hardly be right by chance.
fn is_proven(device: &DeviceConfig) -> bool {
    device.check.is_some() || matches!(device.framing, FramingConfig::Codec(_))
}

/// The addresses in frames whose CRC is right; none where there are fewer than two frames.
fn modbus_units(bytes: &[u8]) -> Vec<u8> {
    let (mut units, mut frames, mut at) = (BTreeSet::new(), 0_usize, 0_usize);
    while let Some(&[unit, function, count]) = bytes.get(at..).and_then(|rest| rest.first_chunk::<3>()) {
        let answer = usize::from(count).saturating_add(5);
        let lengths: &[usize] = match (unit, function) {
            (0 | 248.., _) => &[],
            (_, 1..=4) => &[8, answer],
            (_, 5 | 6 | 15 | 16) => &[8],
            (_, 0x81..=0x90) => &[5],
            _ => &[],
        };
        let is_frame = |len: &&usize| {
            let end = at.saturating_add(**len);
            bytes.get(at..end).is_some_and(rtu::is_intact)
        };
        let found = lengths.iter().find(is_frame);
        if found.is_some() {
            units.insert(unit);
            frames = frames.saturating_add(1);
        }
        at = at.saturating_add(found.copied().unwrap_or(1));
    }
    if frames < 2 { Vec::new() } else { units.into_iter().collect() }
}
