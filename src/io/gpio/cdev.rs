//! Lines by the kernel's character device, version 2 (Linux 5.10): any board, debouncing, times and sequence numbers by
//! the kernel. A line is held for as long as the gateway runs.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gpiocdev::line::{Bias as CdevBias, EdgeDetection, EdgeKind as CdevEdge, Offset, Value};
use gpiocdev::{AbiVersion, Chip, Request};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value as Json, json};

use super::super::clock::mono;
use super::{Event, Opened, Reports, Wire};
use crate::gpio::{Bias, Edge, EdgeKind, GpioConfig, LineName, Mode};
use crate::time::Mono;

/// Changes that the kernel keeps for a line until they are read; the most that it allows.
const KERNEL_BUFFER: u32 = 1_024;
/// Changes that are read at once.
const EDGES_PER_READ: usize = 64;
/// What the thread of a line needs, generously.
const STACK_BYTES: usize = 128 * 1024;
/// What other programs see as the user of a line.
const CONSUMER: &str = "fieldgate";

/// Whether the kernel has version 2 of the interface, and a chip.
pub(super) fn is_there() -> Result<(), String> {
    if gpiocdev::chip::chips().is_ok_and(|chips| chips.is_empty()) {
        return Err("there is no GPIO chip (/dev/gpiochip0)".to_owned());
    }
    gpiocdev::supports_abi_version(AbiVersion::V2)
        .map_err(|error| format!("the kernel's GPIO interface can't be used: {error}"))
}

pub(super) fn open(config: &GpioConfig, reports: Reports) -> Result<Opened, String> {
    let (chip, offset) = find(&config.line)?;
    let mut builder = Request::builder();
    builder.on_chip(&chip).with_consumer(CONSUMER).with_line(offset);
    if config.active_low {
        builder.as_active_low();
    }
    let bias = match config.bias {
        Bias::AsIs => None,
        Bias::PullUp => Some(CdevBias::PullUp),
        Bias::PullDown => Some(CdevBias::PullDown),
        Bias::Disabled => Some(CdevBias::Disabled),
    };
    let edges = match &config.mode {
        // As it is, until it is set: the first level comes together with the direction.
        Mode::Output(_) => {
            let request =
                builder.as_is().request().map_err(|error| refused(config, &chip, offset, &error))?;
            let wire = OutputWire { request, offset, bias, is_output: false };
            return Ok(Opened { wire: Box::new(wire), debounced: true, backend: "gpiocdev" });
        }
        Mode::Input { .. } => EdgeKind::Both,
        Mode::Counter(counter) => counter.edge,
        Mode::Frequency { edge, .. } => *edge,
    };
    builder.as_input().with_bias(bias).with_kernel_event_buffer_size(KERNEL_BUFFER);
    builder.with_edge_detection(match edges {
        EdgeKind::Rising => EdgeDetection::RisingEdge,
        EdgeKind::Falling => EdgeDetection::FallingEdge,
        EdgeKind::Both => EdgeDetection::BothEdges,
    });
    if !config.debounce.is_zero() {
        builder.with_debounce_period(config.debounce);
    }
    let request = builder.request().map_err(|error| refused(config, &chip, offset, &error))?;
    let wire =
        watched(Arc::new(request), offset, reports).map_err(|error| format!("{}: {error}", config.line))?;
    Ok(Opened { wire: Box::new(wire), debounced: true, backend: "gpiocdev" })
}

/// An input with a thread of its own that waits for its changes: tokio can wait for a file only in ways that this
/// crate's rule against `unsafe` forbids.
fn watched(request: Arc<Request>, offset: Offset, reports: Reports) -> std::io::Result<InputWire> {
    let (end, ended) = UnixStream::pair()?;
    let watched = request.clone();
    std::thread::Builder::new().name("fg-gpio".into()).stack_size(STACK_BYTES).spawn(move || {
        if let Err(error) = watch(&watched, &ended, &reports) {
            tell(&reports, Event::Gone(format!("the line is gone: {error}")));
        }
    })?;
    Ok(InputWire { request, offset, _end: end })
}

/// Passes on the changes of a line until the other end of `ended` is dropped. Where they aren't taken as fast the
/// kernel's buffer fills, and its sequence numbers tell what was lost.
fn watch(request: &Request, ended: &UnixStream, reports: &Reports) -> Result<(), String> {
    // Not `read_edge_event`: built for version 2 alone, gpiocdev 0.8 reads up to eight changes there and gives the first.
    let event_words = request.edge_event_u64_size().max(1);
    let mut buffer = vec![0_u64; event_words * EDGES_PER_READ];
    loop {
        let mut files = [PollFd::new(request, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
        match poll(&mut files, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.to_string()),
        }
        if files.last().is_some_and(|end| !end.revents().is_empty()) {
            return Ok(());
        }
        if files.first().is_some_and(|line| line.revents().is_empty()) {
            continue;
        }
        let words = request.read_edge_events_into_slice(&mut buffer).map_err(|error| error.to_string())?;
        if words == 0 {
            return Err("no changes come any more".to_owned());
        }
        for event in buffer.get(..words).unwrap_or_default().chunks_exact(event_words) {
            let event = request.edge_event_from_slice(event).map_err(|error| error.to_string())?;
            let edge = Edge {
                at: boot_time(event.timestamp_ns),
                active: event.kind == CdevEdge::Rising,
                seqno: event.line_seqno,
            };
            if !tell(reports, Event::Edge(edge)) {
                return Ok(());
            }
        }
    }
}

/// False once nobody listens any more.
fn tell(reports: &Reports, event: Event) -> bool {
    reports.to.blocking_send((reports.line, reports.generation, event)).is_ok()
}

/// A point on CLOCK_MONOTONIC, on which the kernel stamps changes, as one on CLOCK_BOOTTIME, which goes on in sleep.
pub(super) fn boot_time(monotonic_ns: u64) -> Mono {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let now = seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0));
    let age = now.saturating_sub(monotonic_ns);
    Mono::from_nanos(mono().as_nanos().saturating_sub(age))
}

#[derive(Debug)]
struct InputWire {
    request: Arc<Request>,
    offset: Offset,
    /// Its thread ends when this is dropped.
    _end: UnixStream,
}

impl Wire for InputWire {
    fn set(&mut self, _: bool) -> Result<(), String> {
        Err("the line is an input".to_owned())
    }

    fn read(&mut self) -> Result<bool, String> {
        read(&self.request, self.offset)
    }
}

#[derive(Debug)]
struct OutputWire {
    request: Request,
    offset: Offset,
    bias: Option<CdevBias>,
    is_output: bool,
}

impl Wire for OutputWire {
    fn set(&mut self, on: bool) -> Result<(), String> {
        let value = Value::from(on);
        if self.is_output {
            return self.request.set_value(self.offset, value).map_err(|error| error.to_string());
        }
        let mut config = self.request.config();
        config.as_output(value).with_bias(self.bias);
        self.request.reconfigure(&config).map_err(|error| error.to_string())?;
        self.is_output = true;
        Ok(())
    }

    fn read(&mut self) -> Result<bool, String> {
        read(&self.request, self.offset)
    }
}

fn read(request: &Request, offset: Offset) -> Result<bool, String> {
    request
        .value(offset)
        .map(|value| value == Value::Active)
        .map_err(|error| format!("it can't be read: {error}"))
}

/// The chip and the number of a line.
fn find(line: &LineName) -> Result<(PathBuf, Offset), String> {
    let mut denied = None;
    let mut found = Vec::new();
    for path in gpiocdev::chip::chips().map_err(|error| error.to_string())? {
        let chip = match open_chip(&path) {
            Ok(chip) => chip,
            Err(error) => {
                denied.get_or_insert(error);
                continue;
            }
        };
        let Ok(info) = chip.info() else { continue };
        match line {
            LineName::At { chip, offset } => {
                let is_meant = *chip == info.name || *chip == info.label || Path::new(chip) == path;
                if is_meant && *offset >= info.num_lines {
                    return Err(format!("{} has {} lines, numbered from 0", info.name, info.num_lines));
                }
                if is_meant {
                    found.push((path, *offset));
                }
            }
            LineName::Name(name) => {
                let lines = (0..info.num_lines).filter_map(|offset| chip.line_info(offset).ok());
                found.extend(lines.filter(|line| line.name == *name).map(|line| (path.clone(), line.offset)));
            }
        }
    }
    match (found.as_slice(), denied) {
        ([(path, offset)], _) => Ok((path.clone(), *offset)),
        ([], Some(error)) => Err(error),
        ([], None) => Err(format!("there is no line {line}; fieldgate gpio list shows those that are there")),
        (several, _) => {
            let places: Vec<String> =
                several.iter().map(|(path, offset)| format!("{} {offset}", path.display())).collect();
            Err(format!(
                "several lines are called {line}: {}; write line = {{ chip = …, offset = … }}",
                places.join(", ")
            ))
        }
    }
}

fn open_chip(path: &Path) -> Result<Chip, String> {
    Chip::from_path(path).map_err(|error| match std::fs::File::open(path).map_err(|error| error.kind()) {
        Err(ErrorKind::PermissionDenied) => {
            format!("{}: permission denied; add the service's user to the group gpio", path.display())
        }
        _ => format!("{}: {error}", path.display()),
    })
}

/// Why a line could not be had, naming who has it.
fn refused(config: &GpioConfig, chip: &Path, offset: Offset, error: &gpiocdev::Error) -> String {
    let info = Chip::from_path(chip).and_then(|chip| chip.line_info(offset));
    match info {
        Ok(info) if info.used => {
            let by = if info.consumer.is_empty() { "the kernel" } else { &info.consumer };
            format!(
                "{} is used by {by}: a driver, a device tree overlay or another program has it",
                config.line
            )
        }
        _ => format!("{}: {error}", config.line),
    }
}

/// A chip with its lines, as `fieldgate gpio list` shows it.
#[derive(Clone, Debug)]
pub struct ChipInfo {
    /// `gpiochip0`.
    pub name: String,
    /// What drives it.
    pub label: String,
    /// Its lines, by number.
    pub lines: Vec<LineInfo>,
    /// Why it can't be looked into.
    pub error: Option<String>,
}

/// A line of a chip.
#[derive(Clone, Debug)]
pub struct LineInfo {
    /// Its number.
    pub offset: u32,
    /// Its name; empty if it has none.
    pub name: String,
    /// `input` or `output`.
    pub direction: &'static str,
    /// Who uses it.
    pub user: Option<String>,
}

impl ChipInfo {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Json {
        let line = |line: &LineInfo| json!({ "offset": line.offset, "name": line.name, "direction": line.direction, "user": line.user });
        json!({
            "chip": self.name,
            "label": self.label,
            "error": self.error,
            "lines": self.lines.iter().map(line).collect::<Vec<_>>(),
        })
    }
}

/// All chips and their lines.
///
/// # Errors
/// In words, if the system can't be asked.
pub fn list() -> Result<Vec<ChipInfo>, String> {
    let paths = gpiocdev::chip::chips().map_err(|error| format!("the chips can't be listed: {error}"))?;
    Ok(paths.iter().map(|path| chip(path)).collect())
}

fn chip(path: &Path) -> ChipInfo {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let failed =
        |error| ChipInfo { name: name.clone(), label: String::new(), lines: Vec::new(), error: Some(error) };
    let chip = match open_chip(path) {
        Ok(chip) => chip,
        Err(error) => return failed(error),
    };
    let info = match chip.info() {
        Ok(info) => info,
        Err(error) => return failed(error.to_string()),
    };
    let line = |info: gpiocdev::line::Info| LineInfo {
        offset: info.offset,
        name: info.name,
        direction: match info.direction {
            gpiocdev::line::Direction::Input => "input",
            gpiocdev::line::Direction::Output => "output",
        },
        user: info.used.then_some(info.consumer),
    };
    let lines = (0..info.num_lines).filter_map(|offset| chip.line_info(offset).ok()).map(line);
    ChipInfo { name: info.name, label: info.label, lines: lines.collect(), error: None }
}
