//! What a port, a device and a point can be told. Reading the text is `config`'s business.

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use rust_decimal::Decimal;

/// A serial line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Unique among the ports.
    pub name: Arc<str>,
    /// Device file; a stable one under /dev/serial/by-id is best.
    pub path: String,
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
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// Unique among the devices; stands in the topic, so it has no `/`, `+`, `#` and no control character.
    pub name: Arc<str>,
    /// The port's name.
    pub port: Arc<str>,
    /// How bytes become frames. Default: lines ended by LF or CR LF, 4 KiB at most.
    pub framing: FramingConfig,
    /// How a frame becomes values.
    pub decode: DecodeConfig,
    /// What to take from it.
    pub points: Points,
    /// Without a good frame for this long the device is stale. Default 60 s.
    pub stale_after: Duration,
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

/// How a frame becomes values. What a point's `from` means depends on it.
#[derive(Clone, Debug)]
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
    Regex(Regex),
}

/// Which values of a frame become points.
#[derive(Clone, Debug)]
pub enum Points {
    /// `points = "*"`: each key, column or group that the frame has, numbers as numbers, without unit; 64 at most.
    /// What is nested in JSON is named by its path, joined by `_`.
    All,
    /// These.
    List(Vec<PointConfig>),
}

/// One value of a device.
#[derive(Clone, Debug)]
pub struct PointConfig {
    /// Unique within the device.
    pub name: Arc<str>,
    /// Where it stands in the frame (see [`DecodeConfig`]); the name by default.
    pub from: String,
    /// What it is. Default number.
    pub kind: PointType,
    /// Multiplies a number, exactly (decimal). Default 1.
    pub scale: Decimal,
    /// Added after scaling, exactly (decimal). Default 0.
    pub offset: Decimal,
    /// The unit by its SenML name: "Cel", "%RH", "hPa", "kg". For people and for discovery.
    pub unit: Option<Arc<str>>,
    /// Below it the quality is out_of_range. After scaling.
    pub min: Option<f64>,
    /// Above it the quality is out_of_range. After scaling.
    pub max: Option<f64>,
    /// A missing value is no fault of the line. Default false: the point then reads invalid.
    pub optional: bool,
}

impl PointConfig {
    /// A point with every default.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: Arc::from(name),
            from: name.to_owned(),
            kind: PointType::default(),
            scale: Decimal::ONE,
            offset: Decimal::ZERO,
            unit: None,
            min: None,
            max: None,
            optional: false,
        }
    }
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
