//! A Modbus slave with the registers of a device's points: reads and writes, and the exceptions that a real one has.
//!
//! It has the registers of its points, and those between two of them that the config says may be read along (`max_hole`);
//! anything else is exception 2. More registers at once than the config says that the device bears are exception 3.
//! What is written stays as written.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::config::DeviceConfig;
use super::super::modbus::pdu::{READ_BITS_MAX, READ_REGISTERS_MAX, ReadFunction};
use super::super::modbus::rtu;
use super::values::{Actor, Motion};
use super::{SimulateError, actors, set};
use crate::sensor::bus::config::Ask;
use crate::time::Mono;

const ILLEGAL_FUNCTION: u8 = 1;
const ILLEGAL_ADDRESS: u8 = 2;
const ILLEGAL_VALUE: u8 = 3;
/// The device behind a gateway from TCP to a line is silent.
const TARGET_SILENT: u8 = 11;

/// A header of Modbus TCP up to its unit (MTCP 3.1.3).
const TCP_HEADER_BYTES: usize = 7;

/// What carries the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Modbus RTU: unit, request, CRC.
    Rtu,
    /// Modbus TCP: a header with a length.
    Tcp,
}

/// The slave.
#[derive(Debug)]
pub struct Slave {
    unit: u8,
    actors: Vec<Actor>,
    /// First and last register of what it has without a hole that is too wide.
    spans: Vec<(ReadFunction, u32, u32)>,
    registers_max: u16,
    step: Duration,
    written: BTreeMap<(ReadFunction, u16), u16>,
}

/// Register or coil, and what it holds.
type Image = BTreeMap<(ReadFunction, u16), u16>;

impl Slave {
    /// The slave of a device whose values move on after each `step`.
    ///
    /// # Errors
    /// The device has no registers.
    pub fn new(config: &DeviceConfig, step: Duration) -> Result<Self, SimulateError> {
        let Some(Ask::Registers { unit_id, hole_max, registers_max }) =
            config.poll.as_ref().map(|poll| &poll.ask)
        else {
            return Err(SimulateError::NoRegisters);
        };
        let mut slave = Self {
            unit: *unit_id,
            actors: actors(config),
            spans: Vec::new(),
            registers_max: *registers_max,
            step,
            written: BTreeMap::new(),
        };
        for (function, address) in slave.image(Mono::ZERO).into_keys() {
            let address = u32::from(address);
            match slave.spans.last_mut() {
                Some((known, _, last))
                    if *known == function && address <= last.saturating_add(1 + u32::from(*hole_max)) =>
                {
                    *last = address;
                }
                _ => slave.spans.push((function, address, address)),
            }
        }
        Ok(slave)
    }

    /// How a point moves from now on.
    ///
    /// # Errors
    /// There is no such point.
    pub fn set(&mut self, point: &str, motion: Motion) -> Result<(), SimulateError> {
        set(&mut self.actors, point, motion)
    }

    /// Takes the first request off the bytes that were heard. `None`: there is no whole one yet. The answer is empty where
    /// another unit was asked, or all of them.
    pub(super) fn take(&mut self, transport: Transport, now: Mono, heard: &mut Vec<u8>) -> Option<Vec<u8>> {
        match transport {
            Transport::Rtu => self.take_rtu(now, heard),
            Transport::Tcp => self.take_tcp(now, heard),
        }
    }

    fn take_rtu(&mut self, now: Mono, heard: &mut Vec<u8>) -> Option<Vec<u8>> {
        loop {
            let len = match heard.get(1)? {
                15 | 16 => usize::from(*heard.get(6)?).saturating_add(9),
                _ => 8,
            };
            let frame = heard.get(..len)?.to_vec();
            if !rtu::is_intact(&frame) {
                // Not where a request begins.
                heard.remove(0);
                continue;
            }
            heard.drain(..len);
            let (unit, pdu) = frame.split_first()?;
            let pdu = pdu.get(..pdu.len().saturating_sub(2)).unwrap_or_default();
            // 0 is for all: each writes, none answers.
            let answer = if *unit == self.unit || *unit == 0 { self.answer(now, pdu) } else { Vec::new() };
            let is_ours = *unit == self.unit;
            return Some(if is_ours { rtu::frame(self.unit, &answer) } else { Vec::new() });
        }
    }

    fn take_tcp(&mut self, now: Mono, heard: &mut Vec<u8>) -> Option<Vec<u8>> {
        let &[a, b, _, _, high, low, unit] = heard.first_chunk::<TCP_HEADER_BYTES>()?;
        let len = usize::from(u16::from_be_bytes([high, low])).saturating_add(6);
        let frame = heard.get(..len)?.to_vec();
        heard.drain(..len);
        let pdu = frame.get(TCP_HEADER_BYTES..).unwrap_or_default();
        let function = pdu.first().copied().unwrap_or(0);
        let answer =
            if unit == self.unit { self.answer(now, pdu) } else { vec![function | 0x80, TARGET_SILENT] };
        let len = u16::try_from(answer.len().saturating_add(1)).unwrap_or(u16::MAX).to_be_bytes();
        Some([&[a, b, 0, 0][..], &len, &[unit], &answer].concat())
    }

    /// The answer to a request, both without unit and check.
    fn answer(&mut self, now: Mono, pdu: &[u8]) -> Vec<u8> {
        let function = pdu.first().copied().unwrap_or(0);
        let done = match (function, pdu.get(1..).unwrap_or_default()) {
            (1..=4, &[a, b, c, d]) => {
                self.read(now, function, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
            }
            (5, &[a, b, 0xff, 0]) => self.write(ReadFunction::Coils, [a, b], &[1], pdu),
            (5, &[a, b, 0, 0]) => self.write(ReadFunction::Coils, [a, b], &[0], pdu),
            (6, &[a, b, c, d]) => {
                self.write(ReadFunction::HoldingRegisters, [a, b], &[u16::from_be_bytes([c, d])], pdu)
            }
            (15, &[a, b, c, d, _, ref bits @ ..]) => {
                let count = usize::from(u16::from_be_bytes([c, d]));
                let bit = |index: usize| bits.get(index / 8).map(|byte| u16::from(byte >> (index % 8) & 1));
                let values: Option<Vec<u16>> = (0..count).map(bit).collect();
                let values = values.ok_or(ILLEGAL_VALUE);
                values.and_then(|values| self.write(ReadFunction::Coils, [a, b], &values, &[15, a, b, c, d]))
            }
            (16, &[a, b, c, d, _, ref words @ ..])
                if words.len() == 2 * usize::from(u16::from_be_bytes([c, d])) =>
            {
                let values: Vec<u16> =
                    words.as_chunks::<2>().0.iter().copied().map(u16::from_be_bytes).collect();
                self.write(ReadFunction::HoldingRegisters, [a, b], &values, &[16, a, b, c, d])
            }
            (1..=6 | 15 | 16, _) => Err(ILLEGAL_VALUE),
            _ => Err(ILLEGAL_FUNCTION),
        };
        done.unwrap_or_else(|exception| vec![function | 0x80, exception])
    }

    fn read(&self, now: Mono, code: u8, address: u16, count: u16) -> Result<Vec<u8>, u8> {
        let function = ReadFunction::from_code(code).ok_or(ILLEGAL_FUNCTION)?;
        let max = match function.is_bits() {
            true => self.registers_max.saturating_mul(16).min(READ_BITS_MAX),
            false => self.registers_max.min(READ_REGISTERS_MAX),
        };
        if count == 0 || count > max {
            return Err(ILLEGAL_VALUE);
        }
        self.has(function, address, count)?;
        let image = self.image(now);
        let held = |address: u32| {
            let address = u16::try_from(address).unwrap_or(u16::MAX);
            image.get(&(function, address)).copied().unwrap_or(0)
        };
        let addresses = u32::from(address)..u32::from(address).saturating_add(count.into());
        let values: Vec<u8> = if function.is_bits() {
            let bits: Vec<u16> = addresses.map(held).collect();
            let byte =
                |bits: &[u16]| bits.iter().rev().fold(0_u8, |byte, bit| (byte << 1) | u8::from(*bit != 0));
            bits.chunks(8).map(byte).collect()
        } else {
            addresses.flat_map(|address| held(address).to_be_bytes()).collect()
        };
        Ok([&[code, u8::try_from(values.len()).unwrap_or(0)][..], &values].concat())
    }

    fn write(
        &mut self,
        table: ReadFunction,
        at: [u8; 2],
        values: &[u16],
        answer: &[u8],
    ) -> Result<Vec<u8>, u8> {
        let address = u16::from_be_bytes(at);
        let count = u16::try_from(values.len()).map_err(|_| ILLEGAL_VALUE)?;
        if count == 0 {
            return Err(ILLEGAL_VALUE);
        }
        self.has(table, address, count)?;
        for (place, value) in (address..=u16::MAX).zip(values) {
            self.written.insert((table, place), *value);
        }
        Ok(answer.to_vec())
    }

    fn has(&self, function: ReadFunction, address: u16, count: u16) -> Result<(), u8> {
        let first = u32::from(address);
        let last = first.saturating_add(count.into()).saturating_sub(1);
        let is_within = |(known, begin, end): &(ReadFunction, u32, u32)| {
            *known == function && *begin <= first && last <= *end
        };
        if self.spans.iter().any(is_within) { Ok(()) } else { Err(ILLEGAL_ADDRESS) }
    }

    /// All that it holds.
    fn image(&self, now: Mono) -> Image {
        let steps = now.since(Mono::ZERO).as_millis() / self.step.as_millis().max(1);
        let number = u64::try_from(steps).unwrap_or(0);
        let mut image = Image::new();
        for actor in &self.actors {
            let Some(register) = actor.point.register else { continue };
            let words: Vec<u16> = match actor.point.cell {
                // A register's bytes; a text may end within one, and a bool is as wide as its register.
                Some(cell) if !register.function.is_bits() => {
                    let (mut bytes, _) = actor.bytes(&cell, number);
                    bytes.resize(bytes.len().next_multiple_of(2).max(2), 0);
                    bytes.as_chunks::<2>().0.iter().copied().map(u16::from_be_bytes).collect()
                }
                _ => vec![u16::from(actor.is_on(number))],
            };
            for (address, word) in (register.address..=u16::MAX).zip(words) {
                // Several points may be parts of one register.
                *image.entry((register.function, address)).or_insert(0) |= word;
            }
        }
        image.extend(self.written.iter().map(|(place, value)| (*place, *value)));
        image
    }
}
