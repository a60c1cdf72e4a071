//! What a GPIO line can be told. The text of it is `config/gpio.rs`'s business.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;

/// One `[[gpio]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GpioConfig {
    /// Stands in the topic; unique among lines and devices.
    pub name: Arc<str>,
    /// Which line.
    pub line: LineName,
    /// Who works it. Default auto.
    pub backend: BackendName,
    /// Whether low means on. Default false.
    pub active_low: bool,
    /// The pull resistor. Default as it is.
    pub bias: Bias,
    /// A level counts once it was steady for this long. Default 0: at once.
    pub debounce: Duration,
    /// A reading at least this often. Default 30 s.
    pub every: Duration,
    /// The unit of the total or the frequency, for people.
    pub unit: Option<Arc<str>>,
    /// What the line is for.
    pub mode: Mode,
}

/// How a line is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineName {
    /// By the name that the board gives it: `GPIO17`.
    Name(String),
    /// By its place on a chip, where it has no name.
    At {
        /// `gpiochip0`, or the chip's label.
        chip: String,
        /// From 0.
        offset: u32,
    },
}

impl std::fmt::Display for LineName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::At { chip, offset } => write!(f, "{chip} line {offset}"),
        }
    }
}

/// Who works a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendName {
    /// The character device where the kernel has its version 2, else rppal on a Raspberry Pi.
    #[default]
    Auto,
    /// The kernel's character device, version 2.
    Gpiocdev,
    /// The registers of a Raspberry Pi.
    Rppal,
    /// Nobody: levels are set by `fieldgate gpio set`.
    Sim,
}

impl BackendName {
    /// The word for config and health.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Gpiocdev => "gpiocdev",
            Self::Rppal => "rppal",
            Self::Sim => "sim",
        }
    }
}

/// The pull resistor of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bias {
    /// As the board has set it.
    #[default]
    AsIs,
    /// To the supply.
    PullUp,
    /// To ground.
    PullDown,
    /// None.
    Disabled,
}

/// Which changes of a line count, after `active_low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeKind {
    /// From off to on.
    Rising,
    /// From on to off.
    Falling,
    /// Both.
    Both,
}

impl EdgeKind {
    /// Whether a change to this level counts.
    #[must_use]
    pub const fn takes(self, active: bool) -> bool {
        match self {
            Self::Rising => active,
            Self::Falling => !active,
            Self::Both => true,
        }
    }
}

/// What a line is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// Its level is a reading.
    Input {
        /// The changes that make a reading at once. Default both.
        edge: EdgeKind,
    },
    /// Its pulses are counted.
    Counter(CounterConfig),
    /// How often it changes is a reading.
    Frequency {
        /// Which change ends a period. Default rising.
        edge: EdgeKind,
        /// Multiplies the changes per second, exactly. Default 1: hertz.
        scale: Decimal,
        /// Without a change for this long the value is 0. Default 10 s.
        timeout: Duration,
    },
    /// It is set by commands.
    Output(OutputConfig),
}

impl Mode {
    /// Whether something of it outlives the process.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        match self {
            Self::Counter(_) => true,
            Self::Output(output) => matches!(output.startup, Startup::Last),
            Self::Input { .. } | Self::Frequency { .. } => false,
        }
    }

    /// Whether something of it can be set.
    #[must_use]
    pub const fn takes_commands(&self) -> bool {
        matches!(self, Self::Counter(_) | Self::Output(_))
    }

    /// The word for config and health.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Counter(_) => "counter",
            Self::Frequency { .. } => "frequency",
            Self::Output(_) => "output",
        }
    }
}

/// A pulse counter.
#[derive(Clone, Debug, PartialEq)]
pub struct CounterConfig {
    /// Which change is a pulse. Default rising.
    pub edge: EdgeKind,
    /// What one pulse adds to the total, exactly. Default 1.
    pub per_pulse: Decimal,
    /// The rate is per this span. Default an hour.
    pub rate_per: Duration,
    /// Without a pulse for this long the rate is 0. Default 5 min.
    pub timeout: Duration,
    /// The total goes to disk this often while it changes, and is published from there: a power cut takes this much at
    /// most, and a total that was told is never taken back. Default 60 s.
    pub persist_every: Duration,
}

/// A switched output.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputConfig {
    /// What it is set to when the gateway starts. Default off.
    pub startup: Startup,
    /// What it is set to when the gateway stops; `None`: left as it is. Default off.
    pub on_exit: Option<bool>,
    /// What it is set to when no upstream was online for so long.
    pub on_disconnect: Option<(bool, Duration)>,
    /// It is switched off when it was on for so long; each further command to be on begins the time anew.
    pub max_on: Option<Duration>,
    /// Outputs that must be off before this one goes on.
    pub interlock: Vec<Arc<str>>,
}

/// What an output is set to when the gateway starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Startup {
    /// Off.
    #[default]
    Off,
    /// On.
    On,
    /// Left as it is found.
    Keep,
    /// As it last was, by command or rule.
    Last,
}
