//! Carries out a scan: opens the line as the machine says, writes, feeds what comes, hands on what is told, as JSON, since
//! that is what the control socket, the page and the command line show.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::termios::{InputModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::files;
use super::line::Line;
use super::plugged;
use crate::config::profile::{self, Profile};
use crate::config::{self, Source};
use crate::hex;
use crate::reading::{Sample, Value};
use crate::sensor::scan::{
    Candidate, Event, Input, Marks, Match, MbusConfig, MbusScan, ModbusConfig, ModbusScan, Output, RATES,
    Scan, SerialConfig, SerialScan, Settings, Verdict,
};
use crate::sensor::{CodecKind, DataBits, DecodeConfig, FlowControl, Parity, PortConfig, PortKind, StopBits};
use crate::time::Mono;

/// More takes another turn.
const READ_BYTES: usize = 4 * 1024;
/// What is told waits for whoever reads it; then the scan waits.
pub const EVENTS_WAITING_MAX: usize = 64;
/// Rates, and frames, of one scan.
const LIST_MAX: usize = 16;
/// The rates that a serial line may have.
const BAUD: std::ops::RangeInclusive<u32> = 50..=4_000_000;
/// How long somebody is listened to at one rate, unless it is said: meters speak once a second, some every ten.
const LISTEN: Duration = Duration::from_secs(4);
/// How long an answer may take, unless it is said.
const TIMEOUT_SERIAL: Duration = Duration::from_millis(200);
/// Over TCP there may be a radio on the way.
const TIMEOUT_TCP: Duration = Duration::from_millis(500);
/// The bounds of both.
const SPAN_MS: std::ops::RangeInclusive<u64> = 10..=60_000;

/// A port that no config names: a device file, or host and port of a Modbus TCP server.
#[must_use]
pub fn unnamed_port(path: &str) -> PortConfig {
    let is_tcp = !path.starts_with('/')
        && path.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    PortConfig {
        name: Arc::from(path),
        kind: if is_tcp { PortKind::Tcp } else { PortKind::Serial },
        path: path.to_owned(),
        usb: None,
        baud: 9600,
        data_bits: DataBits::default(),
        parity: Parity::default(),
        stop_bits: StopBits::default(),
        flow_control: FlowControl::default(),
        dtr: None,
        rts: None,
        echo: false,
        gap: None,
        rs485: None,
    }
}

/// What is scanned for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Rate, frame and protocol.
    Serial,
    /// Modbus devices.
    Modbus,
    /// M-Bus meters.
    Mbus,
}

/// A scan as it is asked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// What is scanned for.
    pub kind: Kind,
    /// At which rates; without it, the usual ones (serial), those of the port, or 2400 (M-Bus).
    #[serde(default)]
    pub baud: Vec<u32>,
    /// With which frames, such as "8E1"; without it, 8N1 (serial), those of the port, or 8E1 (M-Bus).
    #[serde(default)]
    pub frames: Vec<String>,
    /// First and last address.
    pub units: Option<(u8, u8)>,
    /// First and last register that each Modbus device is asked for.
    pub registers: Option<(u16, u16)>,
    /// How long somebody is listened to at each rate, or how long an answer may take.
    pub span_ms: Option<u64>,
    /// Listen at all rates, also when it is clear which it is.
    #[serde(default)]
    pub all: bool,
    /// Also ask what the profiles of devices with protocols of their own ask.
    #[serde(default)]
    pub ask: bool,
}

/// The machine of a scan.
///
/// # Errors
/// In words: what is asked for is out of bounds, or doesn't go with the port.
pub fn machine(wanted: &Arguments, port: &PortConfig, profiles: &[Profile]) -> Result<Box<dyn Scan>, String> {
    let is_tcp = port.kind == PortKind::Tcp;
    if wanted.baud.len() > LIST_MAX || wanted.frames.len() > LIST_MAX {
        return Err(format!("at most {LIST_MAX} rates and {LIST_MAX} frames"));
    }
    if is_tcp && (wanted.kind != Kind::Modbus || !wanted.baud.is_empty() || !wanted.frames.is_empty()) {
        return Err("over TCP only Modbus is scanned for, and there are no rates".to_owned());
    }
    let span = match wanted.span_ms {
        Some(span) if !SPAN_MS.contains(&span) => {
            return Err(format!(
                "the time is {span} ms; {} to {} ms are allowed",
                SPAN_MS.start(),
                SPAN_MS.end()
            ));
        }
        span => span.map(Duration::from_millis),
    };
    let all = candidates(profiles);
    Ok(match wanted.kind {
        Kind::Serial => {
            let settings = settings(wanted, &RATES, &["8N1".to_owned()])?;
            let candidates = all;
            let listen = span.unwrap_or(LISTEN);
            let (all, ask) = (wanted.all, wanted.ask);
            Box::new(SerialScan::new(SerialConfig { settings, listen, all, ask, candidates }))
        }
        Kind::Modbus => {
            let own = Settings::of(port);
            let settings = settings(wanted, &[own.baud], &[own.frame()])?;
            let registers = wanted.registers.map(|(first, last)| first..=last);
            if registers.as_ref().is_some_and(std::ops::RangeInclusive::is_empty) {
                return Err("registers: the first is larger than the last".to_owned());
            }
            Box::new(ModbusScan::new(ModbusConfig {
                settings: (!is_tcp).then_some(settings),
                units: units(wanted, (1, 247))?,
                timeout: span.unwrap_or(if is_tcp { TIMEOUT_TCP } else { TIMEOUT_SERIAL }),
                registers,
                candidates: all,
            }))
        }
        Kind::Mbus => {
            let settings = settings(wanted, &[2400], &["8E1".to_owned()])?;
            let reads = |candidate: &Candidate| {
                matches!(candidate.device.decode, DecodeConfig::Codec(CodecKind::Mbus))
            };
            let candidates = all.into_iter().filter(reads).collect();
            let addresses = units(wanted, (0, 250))?;
            Box::new(MbusScan::new(MbusConfig { settings, addresses, candidates }))
        }
    })
}

fn units(wanted: &Arguments, (min, max): (u8, u8)) -> Result<std::ops::RangeInclusive<u8>, String> {
    let (first, last) = wanted.units.unwrap_or((min, max));
    if first < min || last > max || first > last {
        return Err(format!("addresses {first}-{last}: {min} to {max} are allowed, the first one first"));
    }
    Ok(first..=last)
}

fn settings(wanted: &Arguments, rates: &[u32], frames: &[String]) -> Result<Vec<Settings>, String> {
    let rates = if wanted.baud.is_empty() { rates } else { &wanted.baud };
    let frames = if wanted.frames.is_empty() { frames } else { &wanted.frames };
    let both = rates.iter().flat_map(|baud| frames.iter().map(move |frame| (*baud, frame)));
    both.map(|(baud, frame)| {
        let wrong = || format!("{baud} {frame}: a rate of 50 to 4000000 and a frame such as 8N1, 8E1 or 7E1");
        let settings = Settings::plain(baud).framed(frame).ok_or_else(wrong)?;
        if BAUD.contains(&baud) { Ok(settings) } else { Err(wrong()) }
    })
    .collect()
}

/// A device of each profile that is for one. One whose profile is wrong is left out: `fieldgate check` tells why.
pub fn candidates(profiles: &[Profile]) -> Vec<Candidate> {
    let own: Vec<Source> = profiles
        .iter()
        .filter(|profile| !profile.is_built_in)
        .map(|profile| profile.source.clone())
        .collect();
    let facts = files::facts();
    let candidate = |profile: &Profile| {
        let name = &profile.name;
        let text = format!(
            "[[port]]\nname = \"scan\"\npath = \"/dev/null\"\n[[device]]\nname = \"scan\"\nport = \"scan\"\nprofile = {name:?}\n"
        );
        let source = Source { file: "scan".to_owned(), text };
        let mut config = config::parse_with(&[source], &own, &facts).ok()?;
        let (device, port) = (config.devices.pop()?, config.ports.pop()?);
        Some(Candidate {
            profile: name.clone(),
            title: profile.about().title,
            settings: Settings::of(&port),
            device,
        })
    };
    profiles.iter().filter_map(candidate).collect()
}

/// The profiles of this machine: those that come with fieldgate, and the user's.
///
/// # Errors
/// In words: a file can't be read.
pub fn profiles(config: &[Source]) -> Result<Vec<Profile>, String> {
    Ok(profile::profiles(&files::profile_sources(config)?))
}

/// Carries it out to its end, or until nobody listens any more. The line is closed when this returns, or is dropped.
pub async fn run(port: &PortConfig, mut machine: Box<dyn Scan>, tell: mpsc::Sender<Json>) {
    let started = Instant::now();
    let now = || Mono::ZERO + started.elapsed();
    let mut open: Option<Open> = None;
    let mut scratch = [0; READ_BYTES];
    loop {
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Open(settings) => {
                    // Nobody can open it twice.
                    open = None;
                    match Open::open(settings.applied(port)).await {
                        Ok(opened) => {
                            open = Some(opened);
                            machine.handle(now(), Input::Opened);
                        }
                        Err(error) => machine.handle(now(), Input::Failed { error: &error }),
                    }
                }
                Output::Send(bytes) => {
                    let Some(line) = &mut open else { continue };
                    if let Err(error) = line.line.send(&line.config, &bytes).await {
                        open = None;
                        machine.handle(now(), Input::Failed { error: &error });
                    }
                }
                Output::Tell(event) => {
                    if tell.send(event_json(&event)).await.is_err() {
                        return;
                    }
                }
                Output::End => return,
            }
        }
        let deadline = machine.next_deadline().map(|deadline| deadline.since(now()));
        tokio::select! {
            result = read(open.as_mut(), &mut scratch), if open.is_some() => {
                let heard = match result {
                    Ok(0) => Err("the port is gone (end of file)".to_owned()),
                    Ok(bytes) => Ok(bytes),
                    Err(error) => Err(error.to_string()),
                };
                match (heard, &mut open) {
                    (Ok(bytes), Some(open)) => {
                        let (bytes, errors) = open.unmark(scratch.get(..bytes).unwrap_or_default());
                        machine.handle(now(), Input::Bytes { bytes: &bytes, errors });
                    }
                    (Ok(_), None) => {}
                    (Err(error), _) => {
                        open = None;
                        machine.handle(now(), Input::Failed { error: &error });
                    }
                }
            }
            () = tokio::time::sleep(deadline.unwrap_or_default()), if deadline.is_some() => {
                machine.handle(now(), Input::Tick);
            }
            // A machine that waits for nothing has ended.
            else => return,
        }
    }
}

async fn read(open: Option<&mut Open>, scratch: &mut [u8]) -> std::io::Result<usize> {
    match open {
        Some(open) => open.line.read(scratch).await,
        None => std::future::pending().await,
    }
}

/// A line that is open for a scan.
struct Open {
    line: Line,
    config: PortConfig,
    /// Where the terminal marks bytes that came damaged.
    marks: Option<Marks>,
}

impl Open {
    async fn open(config: PortConfig) -> Result<Self, String> {
        // It must be there before the line, which nobody else can open then.
        let handle = match config.kind {
            PortKind::Serial => plugged::resolve(&config).ok().and_then(|path| handle(&path)),
            PortKind::Tcp => None,
        };
        let (line, _) = Line::open(&config).await?;
        let marks = handle.and_then(|handle| mark_errors(&handle)).map(|()| Marks::default());
        Ok(Self { line, config, marks })
    }

    fn unmark(&mut self, bytes: &[u8]) -> (Vec<u8>, usize) {
        match &mut self.marks {
            Some(marks) => marks.take(bytes),
            None => (bytes.to_vec(), 0),
        }
    }
}

fn handle(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

/// Has the terminal mark bytes whose parity or stop bit is wrong; what is set counts for the device, whoever has it open.
/// What came before is forgotten: it came at another rate.
fn mark_errors(handle: &OwnedFd) -> Option<()> {
    let mut termios = tcgetattr(handle).ok()?;
    termios.input_modes |= InputModes::INPCK | InputModes::PARMRK;
    termios.input_modes -= InputModes::IGNPAR | InputModes::ISTRIP;
    tcsetattr(handle, OptionalActions::Now, &termios).ok()?;
    tcflush(handle, QueueSelector::IFlush).ok()
}

fn event_json(event: &Event) -> Json {
    match event {
        Event::Progress { what, done, total, left } => {
            json!({"event": "progress", "what": what, "done": done, "total": total, "left_s": left.as_secs_f64()})
        }
        Event::Failed { error } => json!({"event": "failed", "error": error}),
        Event::Heard(verdict) => verdict_json("heard", verdict),
        Event::Best(verdict) => verdict_json("best", verdict),
        Event::Unit { settings, unit, answer, latency, is_late } => json!({
            "event": "unit",
            "unit_id": unit,
            "baud": settings.map(|settings| settings.baud),
            "frame": settings.map(Settings::frame),
            "answer": answer,
            "latency_ms": latency.as_secs_f64() * 1_000.0,
            "late": is_late,
        }),
        Event::Identity { unit, facts } => {
            let facts: serde_json::Map<String, Json> =
                facts.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
            json!({"event": "identity", "unit_id": unit, "facts": facts})
        }
        Event::Profiles { unit, profiles, values } => {
            let values: serde_json::Map<String, Json> = values.iter().filter_map(sample_json).collect();
            json!({"event": "profiles", "unit_id": unit, "profiles": profiles, "values": values})
        }
        Event::Registers { unit, function, address, values } => json!({
            "event": "registers", "unit_id": unit, "function": function, "address": address, "values": values,
        }),
    }
}

fn sample_json(sample: &Sample) -> Option<(String, Json)> {
    let value = match sample.value.as_ref()? {
        Value::Number(number) => json!(number),
        Value::Integer(number) => json!(number),
        Value::Bool(flag) => json!(flag),
        Value::Text(text) => json!(text),
    };
    Some((sample.point.to_string(), value))
}

fn verdict_json(event: &str, verdict: &Verdict) -> Json {
    let matches = verdict.matches.iter().map(|Match { profile, title, good, bad, is_proven }| {
        json!({"profile": profile, "title": title, "good": good, "bad": bad, "proven": is_proven})
    });
    json!({
        "event": event,
        "baud": verdict.settings.baud,
        "frame": verdict.settings.frame(),
        "bytes": verdict.bytes,
        "errors": verdict.errors,
        "printable_percent": verdict.printable_percent,
        "matches": matches.collect::<Vec<_>>(),
        "modbus_units": verdict.modbus_units,
        "text_lines": verdict.text_lines,
        "sense": verdict.weight().0,
        "sample": hex::encode(&verdict.sample),
        "asked": verdict.is_asked,
    })
}
