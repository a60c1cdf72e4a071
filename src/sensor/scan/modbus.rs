//! Asks one address after the other for a register, which harms nobody, and whoever answers for who he is.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::recognise::Recognition;
use super::{Candidate, Event, Input, Output, Scan, Settings};
use crate::sensor::modbus::identify;
use crate::sensor::modbus::pdu::{Answer, Exception, ReadFunction, Request};
use crate::sensor::modbus::{rtu, tcp};
use crate::time::Mono;

/// How often people are told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// A question to somebody who is there: some devices take their time.
const TIMEOUT_OF_KNOWN_MIN: Duration = Duration::from_millis(500);
/// Registers that are asked for in one go where all of them are looked through.
const BLOCK: u16 = 16;
/// The longest answer (MTCP: 260 bytes) with an echo of the question and some noise.
const HEARD_BYTES_MAX: usize = 1_024;

/// What to try.
#[derive(Clone, Debug)]
pub struct ModbusConfig {
    /// At which rates; `None`: over TCP.
    pub settings: Option<Vec<Settings>>,
    /// Which addresses.
    pub units: RangeInclusive<u8>,
    /// From the end of a request to the beginning of its answer.
    pub timeout: Duration,
    /// Registers that each device is asked for besides.
    pub registers: Option<RangeInclusive<u16>>,
    /// Profiles of which one may be that of a device.
    pub candidates: Vec<Candidate>,
}

/// The machine.
///
/// ```text
/// opening ─> probe unit ── silence ──> the next unit, the next rate, the end
///              └── answer ──> identification ─> profiles ─> registers ──┘
/// ```
#[derive(Debug)]
pub struct ModbusScan {
    config: ModbusConfig,
    rates: VecDeque<Option<Settings>>,
    rate: Option<Settings>,
    /// The next address; beyond the last: none.
    next_unit: u16,
    /// What else the device that was found is asked.
    device: Option<Device>,
    transaction: tcp::Transaction,
    flight: Option<Flight>,
    /// The line must be silent until then; `Some` while nothing is under way and the line is open.
    quiet: Option<Mono>,
    found: Vec<u8>,
    done: usize,
    total: usize,
    told: Option<Mono>,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Device {
    unit: u8,
    is_identified: bool,
    recognition: Option<Recognition>,
    /// Blocks of registers that are still to be read.
    registers: VecDeque<(ReadFunction, u16, u16)>,
}

#[derive(Clone, Debug)]
enum Purpose {
    Probe,
    Identify,
    Recognise,
    Registers,
}

#[derive(Debug)]
struct Flight {
    unit: u8,
    purpose: Purpose,
    /// `None`: it asks for the identification.
    request: Option<Request>,
    bytes: Vec<u8>,
    sent: Mono,
    deadline: Mono,
    heard: Vec<u8>,
    is_second_try: bool,
}

/// What came of a question.
enum Said {
    Answer(Answer),
    Identification(Vec<u8>),
}

const PROBE: Request = Request::Read { function: ReadFunction::HoldingRegisters, address: 0, count: 1 };

impl ModbusScan {
    /// A scan that wants to begin at once.
    #[must_use]
    pub fn new(config: ModbusConfig) -> Self {
        let rates: VecDeque<Option<Settings>> = match &config.settings {
            Some(settings) => settings.iter().copied().map(Some).collect(),
            None => VecDeque::from([None]),
        };
        let units = usize::from(config.units.end().saturating_sub(*config.units.start())).saturating_add(1);
        let mut scan = Self {
            total: units.saturating_mul(rates.len()),
            rates,
            rate: None,
            next_unit: u16::from(*config.units.start()),
            device: None,
            transaction: tcp::Transaction::default(),
            flight: None,
            quiet: None,
            found: Vec::new(),
            done: 0,
            told: None,
            outputs: VecDeque::new(),
            config,
        };
        scan.next_rate();
        scan
    }

    fn next_rate(&mut self) {
        (self.flight, self.quiet, self.device) = (None, None, None);
        self.next_unit = u16::from(*self.config.units.start());
        self.found.clear();
        match self.rates.pop_front() {
            Some(rate) => {
                self.rate = rate;
                // What is no serial line takes no rate.
                self.outputs.push_back(Output::Open(rate.unwrap_or(Settings::plain(9600))));
            }
            None => self.outputs.push_back(Output::End),
        }
    }

    /// Asks the next question.
    fn launch(&mut self, now: Mono) {
        while let Some(device) = &mut self.device {
            let unit = device.unit;
            if !device.is_identified {
                device.is_identified = true;
                self.send(now, unit, Purpose::Identify, None, false);
                return;
            }
            if let Some(recognition) = &mut device.recognition {
                if let Some(request) = recognition.next(&self.config.candidates) {
                    self.send(now, unit, Purpose::Recognise, Some(request), false);
                    return;
                }
                let found = device.recognition.take().and_then(Recognition::found);
                let event = found.map(|(profiles, values)| Event::Profiles { unit, profiles, values });
                self.outputs.extend(event.map(Output::Tell));
            } else if let Some((function, address, count)) = device.registers.pop_front() {
                let request = Request::Read { function, address, count };
                self.send(now, unit, Purpose::Registers, Some(request), false);
                return;
            } else {
                self.device = None;
            }
        }
        let unit = u8::try_from(self.next_unit).ok().filter(|unit| self.config.units.contains(unit));
        let Some(unit) = unit else {
            self.next_rate();
            return;
        };
        self.next_unit = self.next_unit.saturating_add(1);
        self.tell_progress(now, unit);
        self.done = self.done.saturating_add(1);
        if self.found.contains(&unit) {
            self.launch(now);
            return;
        }
        self.send(now, unit, Purpose::Probe, Some(PROBE), false);
    }

    fn tell_progress(&mut self, now: Mono, unit: u8) {
        if self.told.is_some_and(|told| now.since(told) < PROGRESS_EVERY) {
            return;
        }
        self.told = Some(now);
        let at = self.rate.map_or_else(String::new, |rate| format!(" at {rate}"));
        let what = format!("asking unit {unit}{at}");
        let event = Event::Progress { what, done: self.done, total: self.total, left: self.estimate() };
        self.outputs.push_back(Output::Tell(event));
    }

    fn send(&mut self, now: Mono, unit: u8, purpose: Purpose, request: Option<Request>, is_second_try: bool) {
        let pdu = request
            .as_ref()
            .map_or_else(|| identify::REQUEST.to_vec(), |request| request.encode().unwrap_or_default());
        let (bytes, answer_len) =
            (pdu.len().saturating_add(3), request.as_ref().map_or(64, Request::answer_len));
        let (bytes, sent, answer_time) = match self.rate {
            Some(settings) => {
                let rate = settings.line_rate();
                (
                    rtu::frame(unit, &pdu),
                    now + rate.time_of(bytes),
                    rate.time_of(answer_len.saturating_add(3)),
                )
            }
            None => {
                self.transaction = self.transaction.next();
                (tcp::frame(self.transaction, unit, &pdu), now, Duration::ZERO)
            }
        };
        let timeout = match purpose {
            Purpose::Probe => self.config.timeout,
            _ => self.config.timeout.max(TIMEOUT_OF_KNOWN_MIN),
        };
        let deadline = sent + timeout + answer_time;
        self.outputs.push_back(Output::Send(bytes.clone()));
        let heard = Vec::new();
        self.flight = Some(Flight { unit, purpose, request, bytes, sent, deadline, heard, is_second_try });
        self.quiet = None;
    }

    fn hear(&mut self, now: Mono, bytes: &[u8]) {
        let (transaction, is_serial) = (self.transaction, self.rate.is_some());
        let Some(flight) = &mut self.flight else { return };
        flight.heard.extend_from_slice(bytes);
        let surplus = flight.heard.len().saturating_sub(HEARD_BYTES_MAX);
        flight.heard.drain(..surplus);
        let said = if is_serial { flight.search_rtu() } else { flight.search_tcp(transaction) };
        if let Some(said) = said {
            self.land(now, Some(said));
        }
    }

    fn land(&mut self, now: Mono, said: Option<Said>) {
        let Some(flight) = self.flight.take() else { return };
        let gap = self.rate.map_or(Duration::ZERO, |rate| rate.line_rate().silence());
        self.quiet = Some(now + gap);
        if said.is_none() {
            self.look_for_late(&flight);
        }
        let Flight { unit, purpose, request, sent, heard, is_second_try, .. } = flight;
        match (purpose, said) {
            (Purpose::Probe, Some(Said::Answer(answer))) => {
                let is_silence = matches!(answer, Answer::Exception(exception) if exception.is_silence());
                if !is_silence {
                    self.found(unit, &answer, now.since(sent), false);
                }
            }
            // Somebody or something spoke: asked again it may be clear who.
            (Purpose::Probe, _) if !is_second_try && self.is_damaged(unit, &heard) => {
                self.send(now, unit, Purpose::Probe, request, true);
            }
            (Purpose::Identify, Some(Said::Identification(pdu))) => {
                if let Some(facts) = identify::facts(&pdu).filter(|facts| !facts.is_empty()) {
                    self.outputs.push_back(Output::Tell(Event::Identity { unit, facts }));
                }
            }
            (Purpose::Recognise, said) => {
                let answer = said.and_then(|said| match said {
                    Said::Answer(answer) => Some(answer),
                    Said::Identification(_) => None,
                });
                if let Some(recognition) = self.device.as_mut().and_then(|device| device.recognition.as_mut())
                {
                    recognition.answered(answer.as_ref());
                }
            }
            (Purpose::Registers, Some(Said::Answer(answer))) => self.registers(unit, request, &answer),
            _ => {}
        }
    }

    fn is_damaged(&self, unit: u8, heard: &[u8]) -> bool {
        self.rate.is_some() && rtu::has_damaged_answer(&PROBE, unit, heard)
    }

    /// Answers of those who were asked before, and are slow.
    fn look_for_late(&mut self, flight: &Flight) {
        if self.rate.is_none() {
            return;
        }
        for unit in *self.config.units.start()..flight.unit {
            if self.found.contains(&unit) {
                continue;
            }
            let sent = rtu::frame(unit, &PROBE.encode().unwrap_or_default());
            if let rtu::Search::Found { answer, .. } = rtu::search(&PROBE, unit, &sent, false, &flight.heard)
            {
                self.found(unit, &answer, self.config.timeout, true);
            }
        }
    }

    fn found(&mut self, unit: u8, answer: &Answer, latency: Duration, is_late: bool) {
        self.found.push(unit);
        let answer = match answer {
            Answer::Values(values) => {
                let value = values.first_chunk::<2>().map_or(0, |bytes| u16::from_be_bytes(*bytes));
                format!("holding register 0 is {value}")
            }
            Answer::Exception(exception) => exception.to_string(),
            Answer::Written => String::new(),
        };
        self.outputs.push_back(Output::Tell(Event::Unit {
            settings: self.rate,
            unit,
            answer,
            latency,
            is_late,
        }));
        // One that is slow is told; to ask it more would mix up its answers with those of others.
        if !is_late {
            let blocks = self.config.registers.iter().flat_map(blocks).collect();
            let recognition = Some(Recognition::new(&self.config.candidates));
            self.device = Some(Device { unit, is_identified: false, recognition, registers: blocks });
        }
    }

    fn registers(&mut self, unit: u8, request: Option<Request>, answer: &Answer) {
        let Some(Request::Read { function, address, count }) = request else { return };
        match answer {
            Answer::Values(bytes) => {
                let values = bytes.chunks_exact(2).filter_map(|pair| pair.first_chunk::<2>());
                let values = values.map(|pair| u16::from_be_bytes(*pair)).collect();
                let event = Event::Registers { unit, function: function.code(), address, values };
                self.outputs.push_back(Output::Tell(event));
            }
            Answer::Exception(Exception::IllegalFunction) => {
                // It knows none of this table.
                if let Some(device) = &mut self.device {
                    device.registers.retain(|(other, ..)| *other != function);
                }
            }
            Answer::Exception(_) if count > 1 => {
                let first = count / 2;
                if let Some(device) = &mut self.device {
                    let second = (function, address.saturating_add(first), count.saturating_sub(first));
                    device.registers.push_front(second);
                    device.registers.push_front((function, address, first));
                }
            }
            _ => {}
        }
    }
}

impl Flight {
    fn search_rtu(&self) -> Option<Said> {
        if let Some(request) = &self.request {
            return match rtu::search(request, self.unit, &self.bytes, false, &self.heard) {
                rtu::Search::Found { answer, .. } => Some(Said::Answer(answer)),
                rtu::Search::Nothing => None,
            };
        }
        (0..self.heard.len()).find_map(|at| {
            let (unit, pdu) = self.heard.get(at..)?.split_first()?;
            // On a line that echoes the question comes back; it says nothing of itself.
            if *unit != self.unit || !identify::is_answer_start(pdu) {
                return None;
            }
            let len = identify::answer_len(pdu)?;
            let frame = self.heard.get(at..at.saturating_add(len).saturating_add(3))?;
            let pdu = pdu.get(..len)?;
            rtu::is_intact(frame).then(|| Said::Identification(pdu.to_vec()))
        })
    }

    fn search_tcp(&mut self, transaction: tcp::Transaction) -> Option<Said> {
        loop {
            let (pdu, end) = tcp::first(transaction, self.unit, &self.heard)?;
            self.heard.drain(..end.min(self.heard.len()));
            let said = match &self.request {
                Some(request) => pdu.and_then(|pdu| request.answer(&pdu)).map(Said::Answer),
                None => pdu.map(Said::Identification),
            };
            if said.is_some() {
                return said;
            }
        }
    }
}

/// The blocks of both tables of registers.
fn blocks(range: &RangeInclusive<u16>) -> Vec<(ReadFunction, u16, u16)> {
    let (first, last) = (*range.start(), *range.end());
    let of = |function: ReadFunction| {
        (first..=last).step_by(usize::from(BLOCK)).map(move |address| {
            (function, address, last.saturating_sub(address).saturating_add(1).min(BLOCK))
        })
    };
    of(ReadFunction::HoldingRegisters).chain(of(ReadFunction::InputRegisters)).collect()
}

impl Scan for ModbusScan {
    fn handle(&mut self, now: Mono, input: Input<'_>) {
        match input {
            Input::Opened => {
                let gap = self.rate.map_or(Duration::ZERO, |rate| rate.line_rate().silence());
                self.quiet = Some(now + gap);
            }
            Input::Failed { error } => {
                self.outputs.push_back(Output::Tell(Event::Failed { error: error.to_owned() }));
                self.next_rate();
            }
            Input::Bytes { bytes, .. } => self.hear(now, bytes),
            Input::Tick => {
                if self.flight.as_ref().is_some_and(|flight| flight.deadline <= now) {
                    self.land(now, None);
                }
            }
        }
        if self.quiet.is_some_and(|quiet| quiet <= now) {
            self.launch(now);
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn next_deadline(&self) -> Option<Mono> {
        self.flight.as_ref().map(|flight| flight.deadline).or(self.quiet)
    }

    fn estimate(&self) -> Duration {
        let left = u32::try_from(self.total.saturating_sub(self.done)).unwrap_or(u32::MAX);
        let slowest = self.config.settings.iter().flatten().map(|settings| settings.baud).min();
        let rate = slowest.map(|baud| Settings::plain(baud).line_rate());
        // A request of eight bytes, the room for an answer of seven, the silence between.
        let wire = rate.map_or(Duration::ZERO, |rate| rate.time_of(15) + rate.silence());
        (self.config.timeout + wire).saturating_mul(left)
    }
}
