//! What a port, a device and a point can be told. Reading the text is `config`'s business.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use rust_decimal::Decimal;

use super::adapter::UsbMatch;
use super::bus::config::{PollConfig, Register, WriteConfig};
use super::cell::{Cell, Endian};
use super::check::CheckConfig;
use super::codec::{self, CodecKind};
use super::exchange::CommandConfig;
use super::modbus::rtu::LineRate;
use crate::reading::Value;

/// A serial line, or a connection to a Modbus TCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Unique among the ports.
    pub name: Arc<str>,
    /// Default serial.
    pub kind: PortKind,
    /// Device file, in which `*` and `?` match within a level; a stable one under /dev/serial/by-id is best. With `usb` what
    /// people see instead. Of a TCP port its host and port.
    pub path: String,
    /// The USB adapter, where it isn't found by its device file.
    pub usb: Option<UsbMatch>,
    /// Bits per second, 50 … 4,000,000. Default 9600.
    pub baud: u32,
    /// Default 8.
    pub data_bits: DataBits,
    /// Default none.
    pub parity: Parity,
    /// Default 1.
    pub stop_bits: StopBits,
    /// Default none.
    pub flow_control: FlowControl,
    /// Level of DTR after opening; `None` leaves it as the driver sets it. An Arduino restarts when DTR rises.
    pub dtr: Option<bool>,
    /// Level of RTS after opening; `None` leaves it.
    pub rts: Option<bool>,
    /// What is sent comes back, as on two wires whose receiver isn't switched off. Default false.
    pub echo: bool,
    /// Silence before a request of a polled port. Default: 3.5 characters, 1.75 ms above 19200 baud.
    pub gap: Option<Duration>,
    /// RTS switches the transceiver. Default: the adapter does it by itself.
    pub rs485: Option<Rs485>,
}

impl PortConfig {
    /// How fast the line is.
    #[must_use]
    pub fn line_rate(&self) -> LineRate {
        let parity = u32::from(self.parity != Parity::None);
        let stop = if self.stop_bits == StopBits::Two { 2 } else { 1 };
        LineRate { baud: self.baud, character_bits: 1 + self.data_bits.count() + parity + stop }
    }

    /// Whether the devices on it are asked; otherwise they send by themselves.
    #[must_use]
    pub fn is_asked(&self, devices: &[DeviceConfig]) -> bool {
        self.kind == PortKind::Tcp || devices.iter().any(|device| device.poll.is_some())
    }
}

/// What a port is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortKind {
    /// A serial line.
    #[default]
    Serial,
    /// A connection to a Modbus TCP server.
    Tcp,
}

/// How RTS switches an RS-485 transceiver; the kernel's driver does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rs485 {
    /// RTS is active while sending; else while not sending.
    pub rts_on_send: bool,
    /// From RTS to the first bit, whole milliseconds.
    pub delay_before: Duration,
    /// From the last bit to RTS, whole milliseconds.
    pub delay_after: Duration,
}

/// A program whose lines are taken as those of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecConfig {
    /// Unique among the sources.
    pub name: Arc<str>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whom it runs as; `None`: as the gateway.
    pub user: Option<String>,
    /// The folder that it runs in. Default `/`.
    pub cwd: Option<PathBuf>,
    /// Its environment, besides what it has of the gateway.
    pub env: Vec<(String, String)>,
}

/// Data bits per character.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum DataBits {
    Five,
    Six,
    Seven,
    #[default]
    Eight,
}

impl DataBits {
    /// How many.
    #[must_use]
    pub const fn count(self) -> u32 {
        match self {
            Self::Five => 5,
            Self::Six => 6,
            Self::Seven => 7,
            Self::Eight => 8,
        }
    }
}

/// Parity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Parity {
    #[default]
    None,
    Odd,
    Even,
}

/// Stop bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum StopBits {
    #[default]
    One,
    Two,
}

/// Flow control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowControl {
    /// None.
    #[default]
    None,
    /// XON/XOFF.
    Software,
    /// RTS/CTS.
    Hardware,
}

/// What hangs on a port.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceConfig {
    /// Unique among the devices; stands in the topic, so it has no `/`, `+`, `#` and no control character.
    pub name: Arc<str>,
    /// The port's name.
    pub port: Arc<str>,
    /// How bytes become frames. Default: lines ended by LF or CR LF, 4 KiB at most.
    pub framing: FramingConfig,
    /// How a frame proves that it is whole. Default: it doesn't.
    pub check: Option<CheckConfig>,
    /// How a frame becomes values.
    pub decode: DecodeConfig,
    /// What to take from it.
    pub points: Points,
    /// Without a good frame for this long the device is stale. Default 60 s, of a polled device three cycles if longer.
    pub stale_after: Duration,
    /// How it is asked; `None` of a device that sends by itself.
    pub poll: Option<PollConfig>,
    /// What it can be told in its own protocol.
    pub commands: Vec<CommandConfig>,
}

/// How bytes become frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FramingConfig {
    /// Text lines.
    Line {
        /// What ends a line.
        end: LineEnd,
        /// The longest line, without its end; a longer one is counted as bad and skipped to the next end.
        bytes_max: usize,
    },
    /// A fixed beginning, and a length that is known or told.
    Packet {
        /// The first bytes of each.
        sync: Vec<u8>,
        /// Where it ends.
        length: PacketLength,
        /// The last bytes of each; may be empty.
        end: Vec<u8>,
        /// The longest; what says that it is longer is none.
        bytes_max: usize,
    },
    /// Bytes that silence ends.
    Gap {
        /// How much silence.
        idle: Duration,
        /// The longest frame; a longer one is counted as bad.
        bytes_max: usize,
    },
    /// Text or bytes between two marks.
    Telegram {
        /// The first bytes.
        start: Vec<u8>,
        /// What ends it.
        end: Vec<u8>,
        /// Bytes behind the end that belong to it: a check.
        tail: usize,
        /// The longest; what is longer is none.
        bytes_max: usize,
    },
    /// Between two flags, one of which may serve two frames; flags and escapes within are escaped.
    Stuffed {
        /// The flag.
        flag: u8,
        /// The escape.
        escape: u8,
        /// What the byte behind an escape is XORed with.
        xor: u8,
        /// The bytes of each frame, without flags and escapes; others are none. `None`: any.
        length: Option<usize>,
        /// The longest frame, without flags and escapes.
        bytes_max: usize,
    },
    /// What the codec finds by itself, its check included.
    Codec(CodecKind),
}

impl FramingConfig {
    /// The longest frame.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        match self {
            Self::Line { bytes_max, .. }
            | Self::Packet { bytes_max, .. }
            | Self::Gap { bytes_max, .. }
            | Self::Telegram { bytes_max, .. }
            | Self::Stuffed { bytes_max, .. } => *bytes_max,
            Self::Codec(_) => codec::FRAME_BYTES_MAX,
        }
    }
}

/// Where a packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketLength {
    /// All are of these many bytes.
    Fixed(usize),
    /// The packet says it.
    Field {
        /// The first byte of the field.
        at: usize,
        /// Its bytes, 1 or 2.
        bytes: usize,
        /// Which of them comes first.
        endian: Endian,
        /// Added to the field: the bytes of the packet that it doesn't count.
        add: i32,
    },
}

/// What ends a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LineEnd {
    /// LF, CR LF or CR alone: whatever comes. An empty line is no line.
    #[default]
    Any,
    /// Exactly these bytes, at least one.
    Exact(Vec<u8>),
}

/// A regular expression. Two are the same if they are written alike.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// How a frame becomes values. What a point's `from` means depends on it.
#[derive(Clone, Debug, PartialEq)]
pub enum DecodeConfig {
    /// One JSON object per line; `from` is a JSON pointer (RFC 6901) such as `/bme/t`, or a plain top-level key.
    Json,
    /// `key=value` pairs; `from` is a key.
    KeyValue {
        /// Between key and value, `=` by default.
        pair: char,
        /// Between pairs: `None` means any run of spaces, tabs, commas or semicolons.
        separator: Option<char>,
    },
    /// Separated columns; `from` is a column's name, or its number from 1.
    Csv {
        /// `,` by default.
        separator: char,
        /// Names of the columns in order; may be empty where points use numbers.
        columns: Vec<String>,
    },
    /// A regular expression with named groups; `from` is a group. A line that doesn't match is a bad line.
    Regex(Pattern),
    /// Modbus registers and coils: the points say which. They come in answers, not in frames.
    Registers,
    /// Lines of an OBIS code and values in brackets, as meters print them; `from` is a code.
    Obis,
    /// Bytes; a point says `at` and what its cell is.
    Binary {
        /// Of numbers that don't say their own.
        endian: Endian,
    },
    /// A protocol of its own; `from` is a field's name in field words, or the protocol's. The framing is
    /// [`FramingConfig::Codec`] of the same.
    Codec(CodecKind),
}

/// Which values of a frame become points.
#[derive(Clone, Debug, PartialEq)]
pub enum Points {
    /// `points = "*"`: each key, column or group that the frame has, numbers as numbers, without unit; 64 at most.
    /// What is nested in JSON is named by its path, joined by `_`.
    All,
    /// These.
    List(Vec<PointConfig>),
}

/// One value of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct PointConfig {
    /// Unique within the device.
    pub name: Arc<str>,
    /// Where it stands in the frame (see [`DecodeConfig`]); the name by default.
    pub from: String,
    /// What its value is, before `map`. Default number; of a cell what the cell holds.
    pub kind: PointType,
    /// How it stands in bytes, where the frame is binary.
    pub cell: Option<Cell>,
    /// The first byte of the cell: from 0, or from the frame's end where it is negative (-1 is the last byte).
    pub at: i32,
    /// Which Modbus register or coil it is.
    pub register: Option<Register>,
    /// Multiplies a number, exactly (decimal). Default 1.
    pub scale: Decimal,
    /// Added after scaling, exactly (decimal). Default 0.
    pub offset: Decimal,
    /// Digits behind the point that are left, after scaling; a half is rounded away from zero.
    pub precision: Option<u8>,
    /// Raw values, each with what it means. Without scale; a raw value that isn't here reads invalid. Empty: as it is.
    pub map: Vec<(RawValue, Value)>,
    /// Raw values that are none: the device's way to say that it can't measure. They read invalid.
    pub invalid: Vec<RawValue>,
    /// The point takes part in a reading only when this long has passed since it last did. Default: in each.
    pub every: Option<Duration>,
    /// The unit by its SenML name: "Cel", "%RH", "hPa", "kg". For people and for discovery.
    pub unit: Option<Arc<str>>,
    /// Below it the quality is out_of_range. After scaling.
    pub min: Option<f64>,
    /// Above it the quality is out_of_range. After scaling.
    pub max: Option<f64>,
    /// A missing value is no fault of the line. Default false: the point then reads invalid.
    pub optional: bool,
    /// How it is written; `None`: it isn't. Default none.
    pub write: Option<WriteConfig>,
}

impl PointConfig {
    /// A point with every default.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            from: name.to_owned(),
            kind: PointType::default(),
            cell: None,
            at: 0,
            register: None,
            scale: Decimal::ONE,
            offset: Decimal::ZERO,
            precision: None,
            map: Vec::new(),
            invalid: Vec::new(),
            every: None,
            unit: None,
            min: None,
            max: None,
            optional: false,
            write: None,
        }
    }
}

/// A value as the device sends it, before scaling.
#[derive(Clone, Debug, PartialEq)]
pub enum RawValue {
    /// A number, however it is written: 1 is 1.0 and 01, and a bit that is set.
    Number(Decimal),
    /// A word, exactly; `true` and `false` of a bit or of JSON too.
    Word(String),
}

/// What a point's value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PointType {
    /// A decimal number. Spaces within ("+  0.123") are taken out, a leading plus is fine.
    #[default]
    Number,
    /// A whole number that keeps every digit; `scale` and `offset` must leave it whole.
    Integer,
    /// true/false, on/off, yes/no, 1/0, high/low, open/closed (closed is true), in any case.
    Bool,
    /// As sent, trimmed, 256 bytes at most; a longer one reads invalid.
    Text,
}
