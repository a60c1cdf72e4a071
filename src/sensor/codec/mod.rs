//! Protocols that are code rather than configuration: each finds its own frames in a byte stream, checks them, and
//! names their values. No port, no clock, no topic.
//!
//! ```text
//! bytes ─ push ─ frame whose check is right ─ decode ─ named fields
//!             └─ fault (what was wrong)
//! ```
//!
//! After a damaged frame the search goes on behind its first byte, so that a good frame which begins inside of a bad
//! one is found. How a stream is cut into inputs makes no difference to its frames.
//!
//! | codec | frames | check |
//! |---|---|---|
//! | `nmea` | `$…*hh`, up to 1,024 bytes | XOR of the sentence |
//! | `dsmr` | `/…!hhhh` | CRC-16/ARC; version 2 and 3 have none |
//! | `sml` | escape sequences of the transport, version 1 | CRC-16/X-25 of the file and of each message |
//! | `ve-direct` | fields up to `Checksum`, `:…` | sum of the block, sum of the HEX frame |
//! | `iec62056-21` | STX … ETX, or `/…!` (mode D) | XOR; mode D has none |
//! | `mbus` | `68 L L 68 … 16` | sum, and the length twice |
//!
//! A field has one name in field words where one is known, in one unit whatever the device sends (`energy_import_1` is
//! kWh though a meter sends Wh), and the protocol's own name beside it, with the value as it was sent
//! (`1-0:1.8.1`). Each codec's file has its table.

mod dsmr;
mod iec62056;
mod iec62056_session;
pub(in crate::sensor) mod make;
mod make_binary;
mod make_nmea;
mod mbus;
mod mbus_link;
mod mbus_session;
mod names;
mod nmea;
mod nmea_sea;
mod nmea_sentences;
mod obis;
mod obis_names;
mod quantity;
mod session;
mod sml;
mod stream;
mod vedirect;
mod vedirect_names;

use std::borrow::Cow;
use std::fmt;

pub use iec62056_session::{METER_ADDRESS_BYTES_MAX, MeterAsk, Session};
pub(in crate::sensor) use mbus_link::long_frame;
pub use mbus_link::{Request, request, select};
pub(in crate::sensor) use mbus_session::matches as is_selected_by;
pub use mbus_session::{MbusAddress, MbusSession};
pub use session::{SessionError, SessionInput, SessionOutput};

use super::decode::Raw;

/// Fields that are taken from one frame; what comes after them is ignored. The largest telegram of the fixtures has 45.
const FIELDS_MAX: usize = 256;

/// The longest frame of any codec.
pub(in crate::sensor) const FRAME_BYTES_MAX: usize = 8 * 1024;

/// A protocol with its own framing, check and names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodecKind {
    /// NMEA 0183: satellite receivers, wind, depth, heading.
    Nmea {
        /// Take sentences without a checksum too. One that has a checksum is always checked.
        bare: bool,
    },
    /// DSMR P1, versions 2 to 5, and its relatives in Belgium, Luxembourg, Austria, Hungary, Sweden.
    Dsmr,
    /// SML, as German electricity meters push it.
    Sml,
    /// Victron VE.Direct: text blocks, and the HEX messages between them.
    VeDirect,
    /// IEC 62056-21 readouts of modes C and D.
    Iec62056,
    /// Wired M-Bus (EN 13757-2 and -3).
    Mbus,
}

impl CodecKind {
    /// Every codec by its word in the configuration.
    pub const ALL: [(&'static str, Self); 6] = [
        ("nmea", Self::Nmea { bare: false }),
        ("dsmr", Self::Dsmr),
        ("sml", Self::Sml),
        ("ve-direct", Self::VeDirect),
        ("iec62056-21", Self::Iec62056),
        ("mbus", Self::Mbus),
    ];

    /// Its word in the configuration.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Nmea { .. } => "nmea",
            Self::Dsmr => "dsmr",
            Self::Sml => "sml",
            Self::VeDirect => "ve-direct",
            Self::Iec62056 => "iec62056-21",
            Self::Mbus => "mbus",
        }
    }

    /// Whether one frame carries only some of the device's values: a point that isn't in a frame is then no fault.
    #[must_use]
    pub(in crate::sensor) const fn is_partial(self) -> bool {
        matches!(self, Self::Nmea { .. } | Self::VeDirect)
    }

    /// The fields of a frame that [`Codec::push`] handed out.
    pub(in crate::sensor) fn decode<'a>(self, frame: &'a [u8]) -> Result<Vec<Field<'a>>, Fault> {
        let mut fields = Fields::default();
        match self {
            Self::Nmea { .. } => nmea::decode(frame, &mut fields)?,
            Self::Dsmr => dsmr::decode(frame, &mut fields)?,
            Self::Sml => sml::decode(frame, &mut fields)?,
            Self::VeDirect => vedirect::decode(frame, &mut fields)?,
            Self::Iec62056 => iec62056::decode(frame, &mut fields)?,
            Self::Mbus => mbus::decode(frame, &mut fields)?,
        }
        Ok(fields.0)
    }
}

/// No device sends more digits behind the point.
const EXACT_PLACES_MAX: u32 = 12;

/// Digits behind the point of a value that no decimal holds, such as a third: of a speed a micrometre per second.
const PLACES: u32 = 6;

/// The value of a field in another unit of the same quantity, exactly where a decimal can; as it is where there is none.
pub(in crate::sensor) fn in_unit<'a>(field: &Field<'a>, unit: Option<&str>) -> Raw<'a> {
    let turned = || {
        let (Raw::Decimal(number), from) = (&field.raw, field.unit.as_deref()?) else { return None };
        quantity::convert(*number, quantity::known(from)?, quantity::known(unit?)?)
    };
    match turned().map_or_else(|| field.raw.clone(), Raw::Decimal) {
        Raw::Decimal(number) if number.scale() > EXACT_PLACES_MAX => {
            Raw::Decimal(number.round_dp(PLACES).normalize())
        }
        Raw::Decimal(number) => Raw::Decimal(number.normalize()),
        raw => raw,
    }
}

/// Finds a protocol's frames in a byte stream. Keeps at most one unfinished frame, of a bounded length.
#[derive(Debug)]
pub(in crate::sensor) struct Codec(Framer);

#[derive(Debug)]
enum Framer {
    Nmea(stream::Stream<nmea::Scan>),
    Dsmr(stream::Stream<dsmr::Scan>),
    Sml(stream::Stream<sml::Scan>),
    VeDirect(vedirect::Blocks),
    Iec62056(stream::Stream<iec62056::Scan>),
    Mbus(stream::Stream<mbus_link::Scan>),
}

impl Codec {
    pub(in crate::sensor) fn new(kind: CodecKind) -> Self {
        Self(match kind {
            CodecKind::Nmea { bare } => Framer::Nmea(stream::Stream::new(nmea::Scan { bare })),
            CodecKind::Dsmr => Framer::Dsmr(stream::Stream::new(dsmr::Scan::default())),
            CodecKind::Sml => Framer::Sml(stream::Stream::new(sml::Scan)),
            CodecKind::VeDirect => Framer::VeDirect(vedirect::Blocks::default()),
            CodecKind::Iec62056 => Framer::Iec62056(stream::Stream::new(iec62056::Scan)),
            CodecKind::Mbus => Framer::Mbus(stream::Stream::new(mbus_link::Scan)),
        })
    }

    /// Takes bytes and hands out each frame whose check is right, and each fault.
    pub(in crate::sensor) fn push(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(Result<&[u8], (Fault, &[u8])>),
    ) {
        let take = &mut take;
        match &mut self.0 {
            Framer::Nmea(stream) => stream.push(bytes, take),
            Framer::Dsmr(stream) => stream.push(bytes, take),
            Framer::Sml(stream) => stream.push(bytes, take),
            Framer::VeDirect(blocks) => blocks.push(bytes, take),
            Framer::Iec62056(stream) => stream.push(bytes, take),
            Framer::Mbus(stream) => stream.push(bytes, take),
        }
    }

    /// Forgets what is unfinished: the port was opened anew.
    pub(in crate::sensor) fn reset(&mut self) {
        match &mut self.0 {
            Framer::Nmea(stream) => stream.reset(),
            Framer::Dsmr(stream) => stream.reset(),
            Framer::Sml(stream) => stream.reset(),
            Framer::VeDirect(blocks) => blocks.reset(),
            Framer::Iec62056(stream) => stream.reset(),
            Framer::Mbus(stream) => stream.reset(),
        }
    }
}

/// What a framer tells: a frame, or a fault and the bytes that it is about.
type Take<'t> = dyn FnMut(Result<&[u8], (Fault, &[u8])>) + 't;

/// One value of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sensor) struct Field<'a> {
    /// What a point's `from` says.
    pub(in crate::sensor) name: Cow<'a, str>,
    /// The value.
    pub(in crate::sensor) raw: Raw<'a>,
    /// Its unit where the protocol says it, by its SenML name where it has one.
    pub(in crate::sensor) unit: Option<Cow<'a, str>>,
    /// Whether `points = "*"` takes it.
    pub(in crate::sensor) role: Role,
}

/// Why a field stands in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sensor) enum Role {
    /// It is the value's one name, or its name in field words.
    Main,
    /// The protocol's own name for what has a better one too, or a detail that few want.
    Detail,
}

/// Collects fields up to the bound; of equal names the first stands.
#[derive(Debug, Default)]
struct Fields<'a>(Vec<Field<'a>>);

impl<'a> Fields<'a> {
    fn put(&mut self, role: Role, name: impl Into<Cow<'a, str>>, raw: Raw<'a>, unit: Option<Cow<'a, str>>) {
        let name = name.into();
        if self.0.len() < FIELDS_MAX && !self.has(&name) {
            self.0.push(Field { name, raw, unit, role });
        }
    }

    /// A value that has one name, in a unit of the protocol.
    fn main(&mut self, name: impl Into<Cow<'a, str>>, raw: Raw<'a>, unit: Option<&'static str>) {
        self.put(Role::Main, name, raw, unit.map(Cow::Borrowed));
    }

    /// A detail, without unit.
    fn detail(&mut self, name: impl Into<Cow<'a, str>>, raw: Raw<'a>) {
        self.put(Role::Detail, name, raw, None);
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|field| field.name == name)
    }
}

/// Text that may be a number.
fn word(text: &str) -> Raw<'_> {
    match text.trim() {
        "" => Raw::Null,
        word => Raw::Word(word),
    }
}

/// Why bytes are no frame, or a frame no values. The damage is that frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sensor) enum Fault {
    /// The check is wrong.
    Check {
        /// Which check.
        what: &'static str,
        /// What the frame says.
        sent: u32,
        /// What its bytes give.
        found: u32,
    },
    /// A frame without the check that it should have.
    NoCheck {
        /// Which check.
        what: &'static str,
    },
    /// Its end is missing: the next frame begins in it.
    Cut,
    /// No end within the longest frame.
    TooLong {
        /// The longest frame, in bytes.
        max: usize,
    },
    /// Many bytes, and no frame begins in them.
    NoFrame {
        /// How many.
        bytes: usize,
    },
    /// The check is right and the content is not what the protocol allows.
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// The device says that it has no values.
    Refused {
        /// What it says.
        what: &'static str,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Check { what, sent, found } => {
                write!(f, "wrong {what}: {sent:02x} sent, {found:02x} found")
            }
            Self::NoCheck { what } => write!(f, "no {what}"),
            Self::Cut => f.write_str("cut: the next frame begins before its end"),
            Self::TooLong { max } => write!(f, "no end within {max} bytes"),
            Self::NoFrame { bytes } => {
                write!(f, "{bytes} bytes, and no frame begins in them (are baud rate and parity right?)")
            }
            Self::Malformed { what } => write!(f, "malformed: {what}"),
            Self::Refused { what } => write!(f, "the device has no values: {what}"),
        }
    }
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod nmea_tests;
#[cfg(test)]
mod testing;
