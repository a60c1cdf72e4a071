//! A port's lines to its devices: who takes a line, and whose fault a bad one is.

use std::collections::VecDeque;
use std::sync::Arc;

use super::config::DeviceConfig;
use super::decode::trim_nuls;
use super::device::{Beginning, Device};
use super::exchanges::Exchanges;
use super::fault::{Faults, LineError};
use super::framing::{Frame, Framer};
use super::port::Output;
use crate::reading::Run;
use crate::time::{BootId, Mono, Now};

/// The devices of a port, and the bad lines that none of several takes.
#[derive(Debug)]
pub(super) struct Intake {
    devices: Vec<Device>,
    /// Of a port that several devices share.
    faults: Faults,
    /// What the devices are told.
    pub(super) exchanges: Exchanges,
}

/// Where a line stands after the opening of its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It follows another line.
    Later,
    /// It is the first after opening: dropped in silence when it doesn't decode, since a sensor may have been in
    /// the middle of it.
    First(Beginning),
}

impl Intake {
    /// The devices, and one framer for each kind of line end among them.
    pub(super) fn new(
        port: Arc<str>,
        configs: Vec<DeviceConfig>,
        run: Run,
        boot: BootId,
    ) -> (Self, Vec<Framer>) {
        let exchanges = Exchanges::new(&configs);
        let mut framers: Vec<Framer> = Vec::new();
        let mut devices = Vec::with_capacity(configs.len());
        for config in configs {
            let lane = framers.iter_mut().position(|framer| framer.widen(&config.framing, config.check));
            let lane = lane.unwrap_or_else(|| {
                framers.push(Framer::new(&config.framing, config.check));
                framers.len().saturating_sub(1)
            });
            devices.push(Device::new(config, lane, run, boot));
        }
        (Self { devices, faults: Faults::new(port), exchanges }, framers)
    }

    pub(super) fn devices(&self) -> &[Device] {
        &self.devices
    }

    pub(super) fn devices_mut(&mut self) -> &mut [Device] {
        &mut self.devices
    }

    /// Lines that none of several devices took.
    pub(super) fn bad_lines(&self) -> u64 {
        self.faults.total()
    }

    /// Takes what a framer found. False if it was an empty line, which is no line, or what was under way when the port
    /// opened.
    pub(super) fn frame(
        &mut self,
        now: Now,
        lane: usize,
        frame: Frame<'_>,
        place: Place,
        bytes_max: usize,
        outputs: &mut VecDeque<Output>,
    ) -> bool {
        let (bytes, error) = match frame {
            Frame::Line(bytes) => match trim_nuls(bytes) {
                line if line.trim_ascii().is_empty() => return false,
                line => (line, self.offer(now, lane, line, place, outputs)),
            },
            Frame::Packet(bytes) => (bytes, self.offer(now, lane, bytes, place, outputs)),
            Frame::BadCheck { frame, failure } => (frame, Err(LineError::Check(failure))),
            Frame::Fault { bytes, fault } => (bytes, Err(LineError::Codec(fault))),
            Frame::Skipped { expected: true, .. } => return false,
            Frame::Skipped { bytes, .. } if self.exchanges.owns(now.mono, bytes) => return true,
            Frame::Skipped { bytes, expected: false } => {
                self.blame(now.mono, &LineError::NoFrame { bytes: bytes.len() }, bytes, outputs);
                return true;
            }
            Frame::TooLong { start } => {
                self.blame(now.mono, &LineError::TooLong { max: bytes_max }, start, outputs);
                return true;
            }
        };
        if let (Err(error), Place::Later) = (error, place)
            && !self.exchanges.owns(now.mono, bytes)
        {
            self.blame(now.mono, &error, bytes, outputs);
        }
        true
    }

    /// Offers a line to each device of the lane; an error if none takes it.
    fn offer(
        &mut self,
        now: Now,
        lane: usize,
        line: &[u8],
        place: Place,
        outputs: &mut VecDeque<Output>,
    ) -> Result<(), LineError> {
        let beginning = match place {
            Place::Later => Beginning::Seen,
            Place::First(beginning) => beginning,
        };
        let mut first_error = None;
        let mut taken = false;
        for device in self.devices.iter_mut().filter(|device| device.lane == lane) {
            match device.offer(now, line, beginning) {
                Ok(reading) => {
                    taken = true;
                    let notices = [device.faults.good(now.mono), device.freshen(now.mono)];
                    outputs.extend(notices.into_iter().flatten().map(Output::Notice));
                    outputs.extend(reading.map(Output::Reading));
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if taken {
            outputs.extend(self.faults.good(now.mono).map(Output::Notice));
            return Ok(());
        }
        first_error.map_or(Ok(()), Err)
    }

    fn blame(&mut self, now: Mono, error: &LineError, line: &[u8], outputs: &mut VecDeque<Output>) {
        let notice = match self.devices.as_mut_slice() {
            [only] => only.faults.bad(now, error, line),
            _ => {
                // What the first of several missed in it would mislead.
                let told = match error {
                    LineError::TooLong { .. }
                    | LineError::Check(_)
                    | LineError::Codec(_)
                    | LineError::NoFrame { .. }
                    | LineError::Nul { .. }
                    | LineError::NotUtf8 { .. } => error,
                    _ => &LineError::NoTaker,
                };
                self.faults.bad(now, told, line)
            }
        };
        outputs.extend(notice.map(Output::Notice));
    }

    /// Every device is told that the port is down.
    pub(super) fn port_down(&mut self, outputs: &mut VecDeque<Output>) {
        for device in &mut self.devices {
            outputs.extend(device.port_down().map(Output::Notice));
        }
        self.exchanges.port_down(outputs);
    }

    /// Looks at the time.
    pub(super) fn tick(&mut self, now: Mono, outputs: &mut VecDeque<Output>) {
        for device in &mut self.devices {
            outputs.extend(device.tick(now).map(Output::Notice));
        }
        self.exchanges.tick(now, outputs);
    }
}
