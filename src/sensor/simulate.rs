//! Devices made up from their config alone: the other way round of framing, check and decoder. [`Simulator`] makes the frames
//! of devices that send by themselves, [`Asked`] answers in the place of those that are asked. Values move between
//! bounds, or are what they are said to be. Pure: time is an argument, nothing is sent.

mod asked;
mod lines;
mod matching;
mod packet;
mod slave;
mod values;

use std::fmt;

use super::bus::config::Ask;
use super::codec::make::{self, Item, MakeError};
use super::config::{DecodeConfig, DeviceConfig, FramingConfig, PointConfig, Points};
use super::trial::{Piece, Trial};
use crate::reading::{Quality, Sample};
use crate::time::{Mono, Timestamp};
use values::Actor;

pub use asked::{Asked, Faults};
pub use slave::{Slave, Transport};
pub use values::{Motion, MotionError, Shape};

/// Values of a device that takes whatever a frame has.
const ANY: [&str; 3] = ["temperature", "humidity", "count"];

/// When the first frame is tried: a time that a meter may tell.
const TRIED_AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// A device that is simulated.
#[derive(Debug)]
pub struct Simulator {
    config: DeviceConfig,
    actors: Vec<Actor>,
    frames: u64,
}

/// Why a device can't be simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimulateError {
    /// Nobody can say what such a frame looks like.
    NotFromConfig {
        /// What it is made of.
        what: &'static str,
    },
    /// It answers requests for registers, and sends nothing by itself: [`Slave`] does.
    Registers,
    /// It has no registers: [`Slave`] is none.
    NoRegisters,
    /// It has no such point.
    NoPoint {
        /// What was said.
        name: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// The frame that was made isn't read as one.
    NotRead {
        /// Why.
        error: String,
    },
}

impl fmt::Display for SimulateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFromConfig { what } => {
                write!(f, "{what} can't be made up; give bytes of a real device: --capture FILE")
            }
            Self::Registers => f.write_str("a device that is asked for registers sends nothing by itself"),
            Self::NoRegisters => f.write_str("only a device with registers can be simulated in TCP"),
            Self::NoPoint { name, known } => {
                write!(f, "the device has no point {name:?}, but {}", known.join(", "))
            }
            Self::NotRead { error } => write!(f, "a frame made from this config is not read by it: {error}"),
        }
    }
}

impl std::error::Error for SimulateError {}

impl Simulator {
    /// A device of this config. Its first frame is tried: the config reads what it makes.
    ///
    /// # Errors
    /// Such a device can't be simulated.
    pub fn new(config: DeviceConfig) -> Result<Self, SimulateError> {
        if matches!(config.decode, DecodeConfig::Registers) {
            return Err(SimulateError::Registers);
        }
        let simulator = Self { actors: actors(&config), config, frames: 0 };
        simulator.try_one()?;
        Ok(simulator)
    }

    /// How a point moves from now on.
    ///
    /// # Errors
    /// There is no such point.
    pub fn set(&mut self, point: &str, motion: Motion) -> Result<(), SimulateError> {
        set(&mut self.actors, point, motion)
    }

    /// The next frame, as it stands on the wire; of a protocol with several kinds of frames, one of each. `now` is for those
    /// that tell the time.
    ///
    /// # Errors
    /// A value was set that the protocol can't say.
    pub fn frame(&mut self, now: Timestamp) -> Result<Vec<u8>, SimulateError> {
        let frame = self.make(self.frames, now)?;
        self.frames = self.frames.wrapping_add(1);
        Ok(frame)
    }

    /// What it is asked before it sends a frame; `None` of one that sends by itself.
    #[must_use]
    pub fn request(&self) -> Option<&[u8]> {
        match &self.config.poll.as_ref()?.ask {
            Ask::Bytes(bytes) => Some(bytes),
            Ask::Registers { .. } | Ask::Meter(_) | Ask::Mbus(_) => None,
        }
    }

    fn try_one(&self) -> Result<(), SimulateError> {
        let mut trial = Trial::new(&self.config);
        let mut result = Err("it has no end".to_owned());
        let mut take = |piece: Piece<'_>| match piece {
            Piece::Frame { values, .. } => result = values.and_then(|values| all_good(&values)),
            Piece::Bad { error, .. } => result = Err(error),
            Piece::Skipped(bytes) => result = Err(format!("{} bytes are no frame", bytes.len())),
        };
        trial.push(Mono::ZERO, &self.make(0, TRIED_AT)?, &mut take);
        trial.finish(&mut take);
        result.map_err(|error| SimulateError::NotRead { error })
    }

    fn make(&self, number: u64, now: Timestamp) -> Result<Vec<u8>, SimulateError> {
        let body = match &self.config.decode {
            DecodeConfig::Binary { .. } => return Ok(self.packet(number)),
            DecodeConfig::KeyValue { pair, separator } => self.pairs(number, *pair, *separator),
            DecodeConfig::Csv { separator, columns } => self.columns(number, *separator, columns),
            DecodeConfig::Regex(regex) => matching::line(&regex.0, &self.actors, number)?,
            DecodeConfig::Obis => make::obis_lines(&self.items(number)),
            DecodeConfig::Codec(kind) => {
                let made = make::frame(*kind, &self.items(number), now);
                return made.map_err(|MakeError { what }| SimulateError::NotFromConfig { what });
            }
            DecodeConfig::Json | DecodeConfig::Registers => self.object(number),
        };
        Ok(self.wrap(body.into_bytes()))
    }

    /// The points as a protocol's fields.
    fn items(&self, number: u64) -> Vec<Item> {
        let item = |actor: &Actor| Item {
            name: actor.point.from.clone(),
            unit: actor.point.unit.as_deref().map(str::to_owned),
            raw: actor.raw(number),
            is_said: actor.fixed().is_some(),
        };
        self.actors.iter().map(item).collect()
    }

    fn stamp(&self, frame: &mut [u8]) {
        if let Some(check) = &self.config.check {
            check.stamp(frame);
        }
    }
}

/// The points of a device, those that it must have made up.
fn actors(config: &DeviceConfig) -> Vec<Actor> {
    let made_up: Vec<String> = match &config.decode {
        DecodeConfig::Regex(regex) => regex.0.capture_names().flatten().map(str::to_owned).collect(),
        DecodeConfig::Codec(kind) => make::usual(*kind).iter().map(|name| (*name).to_owned()).collect(),
        _ => ANY.iter().map(|name| (*name).to_owned()).collect(),
    };
    let points = match &config.points {
        Points::List(points) => points.clone(),
        Points::All => made_up.iter().map(|name| PointConfig::named(name)).collect(),
    };
    let points = points.into_iter().enumerate();
    points.map(|(index, point)| Actor::new(point, index, &config.decode)).collect()
}

fn set(actors: &mut [Actor], name: &str, motion: Motion) -> Result<(), SimulateError> {
    let known = || actors.iter().map(|actor| actor.point.name.to_string()).collect();
    let Some(place) = actors.iter().position(|actor| &*actor.point.name == name) else {
        return Err(SimulateError::NoPoint { name: name.to_owned(), known: known() });
    };
    if let Some(actor) = actors.get_mut(place) {
        actor.motion = motion;
    }
    Ok(())
}

fn all_good(values: &[Sample]) -> Result<(), String> {
    match values.iter().find(|sample| sample.quality == Quality::Invalid) {
        Some(sample) => Err(format!("{} is invalid", sample.point)),
        None => Ok(()),
    }
}
