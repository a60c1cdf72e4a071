//! Asks one M-Bus address after the other whether somebody is there, and whoever is for his values.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::hearing::Hearing;
use super::{Candidate, Event, Input, Output, Scan, Settings};
use crate::sensor::codec::{Request, request};
use crate::time::Mono;

/// What a meter says to a reset.
const ACKNOWLEDGED: u8 = 0xe5;
/// From the end of a request to the beginning of its answer: 330 bit times and 50 ms (EN 13757-2, 5.5.2), some more.
const BIT_TIMES: u32 = 330;
const MARGIN: Duration = Duration::from_millis(100);
/// An answer of 261 bytes at the rate takes this many bit times.
const ANSWER_BITS: u32 = 261 * 11;

/// What to try.
#[derive(Clone, Debug)]
pub struct MbusConfig {
    /// At which rates.
    pub settings: Vec<Settings>,
    /// Which primary addresses, 250 at most.
    pub addresses: RangeInclusive<u8>,
    /// Profiles that may read what comes.
    pub candidates: Vec<Candidate>,
}

/// The machine.
///
/// ```text
/// opening ─> reset address ── silence ──> the next address, the next rate, the end
///              └── E5 ──> values ── answer, silence ──┘
/// ```
#[derive(Debug)]
pub struct MbusScan {
    config: MbusConfig,
    rates: VecDeque<Settings>,
    rate: Settings,
    next_address: u16,
    flight: Option<Flight>,
    done: usize,
    total: usize,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Flight {
    address: u8,
    sent: Mono,
    deadline: Mono,
    /// The answer to the second question.
    values: Option<Hearing>,
}

impl MbusScan {
    /// A scan that wants to begin at once.
    #[must_use]
    pub fn new(config: MbusConfig) -> Self {
        let rates: VecDeque<Settings> = config.settings.iter().copied().collect();
        let addresses =
            usize::from(config.addresses.end().saturating_sub(*config.addresses.start())).saturating_add(1);
        let mut scan = Self {
            total: addresses.saturating_mul(rates.len()),
            rates,
            rate: Settings::plain(2400),
            next_address: 0,
            flight: None,
            done: 0,
            outputs: VecDeque::new(),
            config,
        };
        scan.next_rate();
        scan
    }

    fn next_rate(&mut self) {
        self.flight = None;
        self.next_address = u16::from(*self.config.addresses.start());
        match self.rates.pop_front() {
            Some(rate) => {
                self.rate = rate;
                self.outputs.push_back(Output::Open(rate));
            }
            None => self.outputs.push_back(Output::End),
        }
    }

    fn next(&mut self, now: Mono) {
        let address = u8::try_from(self.next_address).ok();
        let Some(address) = address.filter(|address| self.config.addresses.contains(address)) else {
            self.next_rate();
            return;
        };
        self.next_address = self.next_address.saturating_add(1);
        let what = format!("asking address {address} at {}", self.rate);
        let event = Event::Progress { what, done: self.done, total: self.total, left: self.estimate() };
        self.outputs.push_back(Output::Tell(event));
        self.done = self.done.saturating_add(1);
        self.send(now, address, Request::Reset);
    }

    fn send(&mut self, now: Mono, address: u8, question: Request) {
        let bytes = request(address, question);
        let sent = now + self.rate.line_rate().time_of(bytes.len());
        let (values, wait) = match question {
            Request::Reset => (None, self.patience()),
            Request::Values { .. } => {
                let hearing = Hearing::new(self.rate, true, &self.config.candidates, |_, _| true);
                (Some(hearing), self.patience() + self.bits(ANSWER_BITS))
            }
        };
        self.flight = Some(Flight { address, sent, deadline: sent + wait, values });
        self.outputs.push_back(Output::Send(bytes.to_vec()));
    }

    fn bits(&self, bits: u32) -> Duration {
        Duration::from_secs(1).saturating_mul(bits) / self.rate.baud.max(1)
    }

    fn patience(&self) -> Duration {
        self.bits(BIT_TIMES) + MARGIN
    }

    fn hear(&mut self, now: Mono, bytes: &[u8], errors: usize) {
        let Some(flight) = &mut self.flight else { return };
        let (address, sent) = (flight.address, flight.sent);
        match &mut flight.values {
            Some(hearing) => {
                hearing.push(now, bytes, errors);
                if hearing.is_answered() {
                    self.conclude(now);
                }
            }
            None if bytes.contains(&ACKNOWLEDGED) => {
                self.outputs.push_back(Output::Tell(Event::Unit {
                    settings: Some(self.rate),
                    unit: address,
                    answer: "acknowledged".to_owned(),
                    latency: now.since(sent),
                    is_late: false,
                }));
                self.send(now, address, Request::Values { frame_count: false });
            }
            None => {}
        }
    }

    fn conclude(&mut self, now: Mono) {
        let hearing = self.flight.take().and_then(|flight| flight.values);
        if let Some(hearing) = hearing {
            let verdict = hearing.verdict(&self.config.candidates);
            if verdict.bytes > 0 {
                self.outputs.push_back(Output::Tell(Event::Heard(verdict)));
            }
        }
        self.next(now);
    }
}

impl Scan for MbusScan {
    fn handle(&mut self, now: Mono, input: Input<'_>) {
        match input {
            Input::Opened => self.next(now),
            Input::Failed { error } => {
                self.outputs.push_back(Output::Tell(Event::Failed { error: error.to_owned() }));
                self.next_rate();
            }
            Input::Bytes { bytes, errors } => self.hear(now, bytes, errors),
            Input::Tick => {
                if self.flight.as_ref().is_some_and(|flight| flight.deadline <= now) {
                    self.conclude(now);
                }
            }
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Mono> {
        self.flight.as_ref().map(|flight| flight.deadline)
    }

    fn estimate(&self) -> Duration {
        self.patience()
            .saturating_mul(u32::try_from(self.total.saturating_sub(self.done)).unwrap_or(u32::MAX))
    }
}
