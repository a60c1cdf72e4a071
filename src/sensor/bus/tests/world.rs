//! A line at 9600 baud with modelled slaves, and a clock that only moves from event to event.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::command::{Command, CommandId, Outcome};
use crate::reading::{Reading, Run, Value};
use crate::sensor::bus::config::{Ask, PollConfig, Register};
use crate::sensor::bus::{AskError, Bus, Input, Notice, Output, Polled};
use crate::sensor::config::*;
use crate::sensor::modbus::pdu::{Exception, ReadFunction};
use crate::sensor::modbus::rtu;
use crate::sensor::{Cell, CellType};
use crate::time::{BootId, Mono, Now};

pub fn span(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(ms) => Duration::from_millis(ms.parse().unwrap()),
        None => Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap()),
    }
}

pub fn point(name: &str, function: ReadFunction, address: u16, kind: CellType) -> PointConfig {
    let mut cell = Cell::of(kind);
    if matches!(kind, CellType::Bool | CellType::Bit) {
        cell.bytes = 2;
    }
    let kind = if kind == CellType::Bool { PointType::Bool } else { PointType::Number };
    let register = Some(Register { function, address });
    PointConfig { cell: Some(cell), kind, register, ..PointConfig::named(name) }
}

/// A device with one input register at address 0, a timeout of 500 ms and one retry.
pub fn device(name: &str, unit_id: u8, every: &str) -> DeviceConfig {
    DeviceConfig {
        name: name.into(),
        port: "bus".into(),
        framing: FramingConfig::Line { end: LineEnd::Any, bytes_max: 64 },
        check: None,
        decode: DecodeConfig::Registers,
        points: Points::List(vec![point("x", ReadFunction::InputRegisters, 0, CellType::U16)]),
        stale_after: Duration::from_secs(60),
        poll: Some(PollConfig {
            every: span(every),
            timeout: Duration::from_millis(500),
            retries: 1,
            pause: Duration::ZERO,
            ask: Ask::Registers { unit_id, hole_max: 0, registers_max: 60 },
        }),
        commands: Vec::new(),
    }
}

/// The bytes of a read.
pub fn reads(unit: u8, function: ReadFunction, address: u16, count: u16) -> Vec<u8> {
    let request = crate::sensor::modbus::pdu::Request::Read { function, address, count };
    rtu::frame(unit, &request.encode().unwrap())
}

/// A slave.
#[derive(Clone, Debug)]
pub struct Model {
    pub unit: u8,
    pub delay: Duration,
    pub is_dead: bool,
    /// What is written arrives, and its answers don't.
    pub hides_writes: bool,
    /// It confirms what is written, and stays as it is.
    pub is_stubborn: bool,
    /// It refuses what is written.
    pub refuses_writes: Option<u8>,
    pub echoes: bool,
    pub refuses: Vec<(ReadFunction, u16, Exception)>,
    pub registers: BTreeMap<(u8, u16), u16>,
    /// What it answers to bytes that are no Modbus.
    pub says: Option<(Vec<u8>, Vec<u8>)>,
    /// Each register tells its own address and the unit, so that a wrong one shows.
    pub tells_address: bool,
}

impl Model {
    pub fn new(unit: u8) -> Self {
        Self {
            unit,
            delay: Duration::from_millis(20),
            is_dead: false,
            hides_writes: false,
            is_stubborn: false,
            refuses_writes: None,
            echoes: false,
            refuses: Vec::new(),
            registers: BTreeMap::new(),
            says: None,
            tells_address: false,
        }
    }

    pub fn put(&mut self, function: ReadFunction, address: u16, values: &[u16]) {
        for (at, value) in (address..).zip(values) {
            self.registers.insert((function.code(), at), *value);
        }
    }

    fn get(&self, function: u8, address: u16) -> u16 {
        if self.tells_address {
            return u16::from(self.unit) << 8 | address & 0xff;
        }
        self.registers.get(&(function, address)).copied().unwrap_or(0)
    }

    /// The answer to a frame.
    pub fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        if let Some((question, answer)) = &self.says {
            return (frame == question).then(|| answer.clone());
        }
        if !rtu::is_intact(frame) || frame[0] != self.unit || self.is_dead {
            return None;
        }
        let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let (function, address) = (frame[1], word(2));
        if let Some(read) = ReadFunction::from_code(function) {
            let count = word(4);
            let range = address..address + count;
            let is_refused = |(f, at, exception): &&(ReadFunction, u16, Exception)| {
                *f == read && (range.contains(at) || *exception == Exception::IllegalFunction)
            };
            if let Some((.., exception)) = self.refuses.iter().find(is_refused) {
                let code = (1..=11).find(|code| Exception::from_code(*code) == Some(*exception)).unwrap();
                return Some(rtu::frame(self.unit, &[function | 0x80, code]));
            }
            let mut pdu = vec![function];
            if read.is_bits() {
                let mut bytes = vec![0_u8; usize::from(count.div_ceil(8))];
                for at in 0..count {
                    let bit = self.get(function, address + at) != 0;
                    bytes[usize::from(at / 8)] |= u8::from(bit) << (at % 8);
                }
                pdu.push(u8::try_from(bytes.len()).unwrap());
                pdu.extend(bytes);
            } else {
                pdu.push(u8::try_from(count * 2).unwrap());
                pdu.extend(range.flat_map(|at| self.get(function, at).to_be_bytes()));
            }
            return Some(rtu::frame(self.unit, &pdu));
        }
        if let Some(code) = self.refuses_writes {
            return Some(rtu::frame(self.unit, &[function | 0x80, code]));
        }
        let confirmation = (!self.hides_writes).then(|| rtu::frame(self.unit, &frame[1..6]));
        match function {
            _ if self.is_stubborn => {}
            5 => self.put(ReadFunction::Coils, address, &[u16::from(word(4) == 0xFF00)]),
            6 => self.put(ReadFunction::HoldingRegisters, address, &[word(4)]),
            16 => {
                let values: Vec<u16> = (0..usize::from(word(4))).map(|at| word(7 + at * 2)).collect();
                self.put(ReadFunction::HoldingRegisters, address, &values);
            }
            15 => {
                let bit = |at: usize| u16::from(frame[7 + at / 8] >> (at % 8) & 1);
                let values: Vec<u16> = (0..usize::from(word(4))).map(bit).collect();
                self.put(ReadFunction::Coils, address, &values);
            }
            _ => return None,
        }
        confirmation
    }
}

/// A part of an answer, so much later than the one before.
pub type Piece = (Duration, Vec<u8>);

pub struct World {
    pub bus: Bus,
    pub models: Vec<Model>,
    pub clock: Mono,
    /// Bytes on their way to the master, by the time of their last bit.
    coming: Vec<(Mono, Vec<u8>)>,
    pub sent: Vec<(Mono, Vec<u8>)>,
    pub heard: Vec<Mono>,
    pub readings: Vec<(Mono, Reading)>,
    pub notices: Vec<Notice>,
    pub done: Vec<(u64, Outcome)>,
    /// What came of polls that somebody asked for.
    pub polled: Vec<Polled>,
    /// What the line does to an answer: the pieces, each with its delay.
    pub line: Box<dyn FnMut(Vec<u8>) -> Vec<Piece>>,
}

pub fn port() -> PortConfig {
    PortConfig {
        usb: None,
        name: "bus".into(),
        kind: PortKind::Serial,
        path: "/dev/bus".into(),
        baud: 9_600,
        data_bits: DataBits::Eight,
        parity: Parity::None,
        stop_bits: StopBits::One,
        flow_control: FlowControl::None,
        dtr: None,
        rts: None,
        echo: false,
        gap: None,
        rs485: None,
    }
}

impl World {
    pub fn new(devices: Vec<DeviceConfig>, models: Vec<Model>) -> Self {
        Self::on(port(), devices, models)
    }

    pub fn on(port: PortConfig, devices: Vec<DeviceConfig>, models: Vec<Model>) -> Self {
        let bus = Bus::new(port, devices, Run(1), BootId([1; 16]), 1, Now::default());
        let mut world = Self {
            bus,
            models,
            clock: Mono::ZERO,
            coming: Vec::new(),
            sent: Vec::new(),
            heard: Vec::new(),
            readings: Vec::new(),
            notices: Vec::new(),
            done: Vec::new(),
            polled: Vec::new(),
            line: Box::new(|answer| vec![(Duration::ZERO, answer)]),
        };
        world.outputs();
        world
    }

    pub fn now(&self) -> Now {
        Now { mono: self.clock, ..Now::default() }
    }

    /// A byte of noise at this interval until then.
    pub fn noise_every(&mut self, interval: &str, until: &str) {
        let mut at = self.clock + span(interval);
        while at < Mono::ZERO + span(until) {
            self.coming.push((at, vec![0xEE]));
            at = at + span(interval);
        }
    }

    /// Runs until that time.
    pub fn run(&mut self, until: &str) {
        let end = Mono::ZERO + span(until);
        for _ in 0..5_000_000 {
            let comes = self.coming.iter().map(|(at, _)| *at).min();
            let deadline = self.bus.next_deadline().map(|deadline| deadline.max(self.clock));
            let Some(next) = comes.into_iter().chain(deadline).min().filter(|next| *next <= end) else {
                self.clock = end;
                return;
            };
            self.clock = next;
            let earliest = self.coming.iter().enumerate().min_by_key(|(_, (at, _))| *at);
            match earliest.filter(|(_, (at, _))| *at <= next).map(|(index, _)| index) {
                Some(index) => {
                    let (_, bytes) = self.coming.remove(index);
                    self.heard.push(next);
                    self.bus.handle(self.now(), Input::Bytes(&bytes));
                }
                None => self.bus.handle(self.now(), Input::Tick),
            }
            self.outputs();
        }
        panic!("the bus never rests");
    }

    /// Gives a command that must begin within 5 s; it is told by its number.
    pub fn command(&mut self, number: u64, device: &str, point: &str, value: Value) {
        self.command_until(number, device, point, value, self.clock + span("5s"));
    }

    pub fn command_until(&mut self, number: u64, device: &str, point: &str, value: Value, until: Mono) {
        let (device, point) = (device.into(), Some(point.into()));
        let command = Command { id: CommandId(number), device, point, value, until };
        self.bus.command(self.now(), &command);
        self.outputs();
    }

    /// Asks for a poll out of turn.
    pub fn ask(&mut self, number: u64, device: &str) -> Result<(), AskError> {
        let asked = self.bus.ask(self.now(), device, number);
        self.bus.handle(self.now(), Input::Tick);
        self.outputs();
        asked
    }

    /// What came of a command.
    pub fn outcome(&self, number: u64) -> &Outcome {
        let mut ended = self.done.iter().filter(|(id, _)| *id == number).map(|(_, outcome)| outcome);
        let outcome = ended.next().unwrap_or_else(|| panic!("{number} has not ended: {:?}", self.done));
        assert!(ended.next().is_none(), "{number} has ended twice");
        outcome
    }

    pub fn outputs(&mut self) {
        while let Some(output) = self.bus.poll_output() {
            match output {
                Output::Open => self.bus.handle(self.now(), Input::Opened),
                Output::Close => {}
                Output::Send(bytes) => self.carry(bytes),
                Output::Reading(reading) => self.readings.push((self.clock, reading)),
                Output::Notice(notice) => self.notices.push(notice),
                Output::Polled(polled) => self.polled.push(polled),
                Output::Done { id, outcome } => self.done.push((id.0, outcome)),
                Output::Rate(baud) => panic!("a Modbus line keeps its rate, not {baud}"),
            }
        }
    }

    fn carry(&mut self, bytes: Vec<u8>) {
        let byte = Duration::from_nanos(1_041_667);
        let time_of = |bytes: &[u8]| byte * u32::try_from(bytes.len()).unwrap();
        self.sent.push((self.clock, bytes.clone()));
        let ends = self.clock + time_of(&bytes);
        for model in &mut self.models {
            let Some(answer) = model.answer(&bytes) else { continue };
            if model.echoes {
                self.coming.push((ends, bytes.clone()));
            }
            let mut at = ends + model.delay;
            for (delay, piece) in (self.line)(answer) {
                at = at + delay;
                // As an adapter hands them on.
                for bytes in piece.chunks(2) {
                    at = at + time_of(bytes);
                    self.coming.push((at, bytes.to_vec()));
                }
            }
        }
    }
}
