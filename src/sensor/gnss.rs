//! The time of day from a satellite receiver: which of its sentences say it, and when enough of them agree that they can
//! be believed. Pure: the moment at which bytes came is an argument.
//!
//! RMC with status A tells date and time; ZDA does where a fix was told of a moment before. What a receiver says without a
//! fix, reckons by dead reckoning or makes up is passed over. One that came up with old almanac data may be 1,024 weeks
//! back, or off by leap seconds until it knows better: so dates before this program's release are refused, and what was
//! believed is held on to until the new time has stood as long as any other.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::codec::{Codec, CodecKind};
use crate::time::{Mono, Timestamp};

/// The month of the last release, 2026-11-01: no receiver that is right says anything earlier. Raised with each release.
const EARLIEST: i64 = 1_793_491_200_000;

/// The span of the week number that receivers go by: whatever is later is a rollover in the other direction.
const ROLLOVER: Duration = Duration::from_secs(1_024 * 7 * 86_400);

/// Sentences that are looked at together, 16 bytes each.
const SAMPLES: usize = 16;

/// So many of them must agree …
const AGREEING_MIN: usize = 5;

/// … over this time …
const SPAN_MIN: Duration = Duration::from_secs(2);

/// … to within this: receivers send some tenths of a second after the moment that they tell, and a busy machine reads later.
const TOLERANCE_MS: i64 = 500;

/// What is older says nothing about the present.
const AGE_MAX: Duration = Duration::from_secs(60);

/// A ZDA counts so long after a sentence that told a fix.
const FIX_AGE_MAX: Duration = Duration::from_secs(3);

/// The machine of one receiver.
#[derive(Debug)]
pub struct Gnss {
    codec: Codec,
    /// From the moment that a sentence tells to its end on the line.
    latency: Duration,
    /// When each came, and which civil time the zero of the monotonic clock would have by it.
    samples: VecDeque<(Mono, i64)>,
    /// The time that was told last: further sentences of the same moment came later.
    told: Option<i64>,
    fix_at: Option<Mono>,
    refused: u64,
}

impl Gnss {
    /// A receiver whose sentences end so long after the moment that they tell.
    #[must_use]
    pub fn new(latency: Duration) -> Self {
        Self {
            codec: Codec::new(CodecKind::Nmea { bare: false }),
            latency,
            samples: VecDeque::new(),
            told: None,
            fix_at: None,
            refused: 0,
        }
    }

    /// Takes bytes. `Some`: by what agrees, this is the civil time of [`Mono::ZERO`].
    pub fn hear(&mut self, now: Mono, bytes: &[u8]) -> Option<Timestamp> {
        let Self { codec, told, fix_at, refused, samples, latency } = self;
        let mut is_new = false;
        codec.push(bytes, |frame| {
            let Some(said) = frame.ok().and_then(|frame| said(frame, now, fix_at)) else { return };
            if !is_plausible(said) {
                *refused = refused.saturating_add(1);
                return;
            }
            if told.replace(said) == Some(said) {
                return;
            }
            let zero = said.saturating_add(millis(*latency)).saturating_sub(millis(now.since(Mono::ZERO)));
            samples.push_back((now, zero));
            if samples.len() > SAMPLES {
                samples.pop_front();
            }
            is_new = true;
        });
        samples.retain(|(came, _)| now.since(*came) < AGE_MAX);
        is_new.then(|| self.agreed()).flatten()
    }

    /// Sentences with a fix whose date can't be.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    fn agreed(&self) -> Option<Timestamp> {
        let mut zeros: Vec<i64> = self.samples.iter().map(|(_, zero)| *zero).collect();
        zeros.sort_unstable();
        let median = *zeros.get(zeros.len() / 2)?;
        let agree = |zero: i64| (zero - median).abs() <= TOLERANCE_MS;
        let agreeing = || self.samples.iter().filter(|(_, zero)| agree(*zero));
        let span = agreeing().next_back()?.0.since(agreeing().next()?.0);
        if agreeing().count() < AGREEING_MIN || span < SPAN_MIN {
            return None;
        }
        // The last one is of the majority, or the time has just changed.
        let latest = self.samples.back().is_some_and(|(_, zero)| agree(*zero));
        // The least delayed is the nearest to the truth.
        let zero = agreeing().map(|(_, zero)| *zero).max().filter(|_| latest)?;
        Some(Timestamp::from_millis(zero))
    }
}

/// The civil time that a sentence tells, in milliseconds.
fn said(sentence: &[u8], now: Mono, fix_at: &mut Option<Mono>) -> Option<i64> {
    let text = std::str::from_utf8(sentence).ok()?;
    let columns: Vec<&str> = text.split(',').map(str::trim).collect();
    let column = |index: usize| columns.get(index).copied().unwrap_or_default();
    let kind = column(0).split_at_checked(2)?.1;
    match kind {
        "RMC" => {
            // Mode E is reckoned, M and S are made up, N has no fix; old receivers have no such column.
            let has_fix = column(2) == "A" && !matches!(column(12), "E" | "M" | "S" | "N");
            *fix_at = has_fix.then_some(now);
            let (day, month, year) = (pair(column(9), 0)?, pair(column(9), 2)?, pair(column(9), 4)?);
            at(2_000_i16.checked_add(i16::from(year))?, month, day, column(1)).filter(|_| has_fix)
        }
        "GGA" => {
            *fix_at = matches!(column(6), "1" | "2" | "3" | "4" | "5").then_some(now);
            None
        }
        "ZDA" => {
            let has_fix = fix_at.is_some_and(|at| now.since(at) < FIX_AGE_MAX);
            let (day, month) = (column(2).parse().ok()?, column(3).parse().ok()?);
            at(column(4).parse().ok()?, month, day, column(1)).filter(|_| has_fix)
        }
        _ => None,
    }
}

fn at(year: i16, month: i8, day: i8, time: &str) -> Option<i64> {
    let date = Date::new(year, month, day).ok()?;
    let (whole, part) = time.split_once('.').unwrap_or((time, ""));
    if whole.len() != 6 || !part.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    let nanos = part.parse::<i32>().ok()?.checked_mul(1_000_000)?;
    let time = Time::new(pair(whole, 0)?, pair(whole, 2)?, pair(whole, 4)?, nanos).ok()?;
    Some(date.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// Two digits.
fn pair(text: &str, at: usize) -> Option<i8> {
    let pair = text.get(at..at.checked_add(2)?)?;
    pair.bytes().all(|digit| digit.is_ascii_digit()).then(|| pair.parse().ok()).flatten()
}

fn is_plausible(millis: i64) -> bool {
    (EARLIEST..EARLIEST.saturating_add(self::millis(ROLLOVER))).contains(&millis)
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T20:00:00Z
    const BASE: i64 = 1_795_291_200_000;

    fn sentence(body: &str) -> Vec<u8> {
        let sum = body.bytes().fold(0_u8, |sum, byte| sum ^ byte);
        format!("${body}*{sum:02X}\r\n").into_bytes()
    }

    fn rmc(second: u32, status: char, date: &str, mode: &str) -> Vec<u8> {
        let (minute, second) = (second / 60, second % 60);
        sentence(&format!(
            "GPRMC,20{minute:02}{second:02}.00,{status},4916.45,N,12311.12,W,0.0,0.0,{date},,,{mode}"
        ))
    }

    fn at(ms: u64) -> Mono {
        Mono::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn five_sentences_that_agree_are_believed_and_the_least_delayed_counts() {
        let mut gnss = Gnss::new(Duration::from_millis(100));
        let delays = [300, 250, 400, 280, 310, 290];
        let mut found = Vec::new();
        for (second, delay) in (0..).zip(delays) {
            let came = at(50_000 + u64::from(second) * 1_000 + delay);
            found.push(gnss.hear(came, &rmc(second, 'A', "211126", "A")));
            // The same moment again, later: it says nothing new.
            let again = gnss.hear(came + Duration::from_millis(200), &rmc(second, 'A', "211126", "A"));
            assert_eq!(again, None);
        }
        assert_eq!(found[..4], [None; 4]);
        // 250 ms of delay, of which 100 are known.
        let zero = Timestamp::from_millis(BASE - 50_250 + 100);
        assert_eq!(found[4..], [Some(zero); 2]);
    }

    #[test]
    fn what_has_no_fix_is_reckoned_made_up_or_from_another_decade_is_passed_over() {
        for (status, date, mode) in [
            ('V', "211126", "N"),
            ('A', "211126", "E"),
            ('A', "211126", "S"),
            ('A', "070407", "A"),
            ('A', "", "A"),
        ] {
            let mut gnss = Gnss::new(Duration::ZERO);
            let heard = (0..20).find_map(|second| {
                gnss.hear(at(u64::from(second) * 1_000), &rmc(second, status, date, mode))
            });
            assert_eq!(heard, None, "{status} {date} {mode}");
            assert_eq!(gnss.refused() > 0, date == "070407", "1,024 weeks back");
        }
        let mut damaged = rmc(1, 'A', "211126", "A");
        damaged[10] ^= 1;
        let mut gnss = Gnss::new(Duration::ZERO);
        assert!((0..20).all(|second| gnss.hear(at(second * 1_000), &damaged).is_none()));
    }

    #[test]
    fn a_time_that_jumps_is_believed_only_when_it_has_stood_and_zda_needs_a_fix() {
        let mut gnss = Gnss::new(Duration::ZERO);
        let mut tell = |second: u32, ahead: u32| {
            gnss.hear(at(u64::from(second) * 1_000), &rmc(second + ahead, 'A', "211126", "A"))
        };
        let first: Vec<bool> = (0..16).map(|second| tell(second, 0).is_some()).collect();
        assert_eq!(first.iter().filter(|known| **known).count(), 12);
        // Leap seconds that it didn't know of.
        let after: Vec<Option<Timestamp>> = (16..32).map(|second| tell(second, 18)).collect();
        let changed = after.iter().position(Option::is_some).unwrap();
        assert!(changed >= 5, "{after:?}");
        assert_eq!(after[changed], Some(Timestamp::from_millis(BASE + 18_000)));

        let mut gnss = Gnss::new(Duration::ZERO);
        let zda = |second: u32| sentence(&format!("GPZDA,2000{second:02}.00,21,11,2026,00,00"));
        assert!((0..10).all(|second| gnss.hear(at(u64::from(second) * 1_000), &zda(second)).is_none()));
        let gga = sentence("GPGGA,200010.00,4916.45,N,12311.12,W,1,08,0.9,5.0,M,46.9,M,,");
        let known = (10..16).filter_map(|second| {
            gnss.hear(at(u64::from(second) * 1_000), &gga);
            gnss.hear(at(u64::from(second) * 1_000), &zda(second))
        });
        assert_eq!(known.last(), Some(Timestamp::from_millis(BASE)));
    }
}
