//! `fieldgate decode`: what a device's config makes of captured bytes, without a gateway.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::style::{Style, Tone};
use super::{complain, say};
use crate::config::{self, Source};
use crate::hex;
use crate::io::files;
use crate::reading::{Quality, Sample, Value};
use crate::sensor::{DeviceConfig, Piece, Points, Trial};
use crate::time::Mono;

/// Bytes of a frame that are shown.
const SHOWN_BYTES: usize = 24;

/// Arguments of `fieldgate decode`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file with the [[device]], as a config has it or as a profile is; a [[port]] isn't needed.
    #[arg(short, long, value_name = "FILE", required_unless_present = "profile")]
    device: Option<PathBuf>,
    /// The name of the device, where the file has several.
    #[arg(short, long, value_name = "NAME", requires = "device")]
    name: Option<String>,
    /// A device of this profile instead of a file.
    #[arg(short, long, value_name = "NAME", conflicts_with = "device")]
    profile: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// The bytes; - is standard input.
    #[arg(value_name = "CAPTURE", default_value = "-")]
    capture: PathBuf,
}

/// Exit code 0 if there were values, 1 if the capture can't be read, 2 if the config is wrong, 3 if there were none.
pub fn execute(args: &Args) -> ExitCode {
    let named = (args.device.as_deref(), args.name.as_deref(), args.profile.as_deref());
    let device = match device(named.0, named.1, named.2) {
        Ok(device) => device,
        Err(error) => {
            complain(error);
            return ExitCode::from(2);
        }
    };
    let mut show =
        Show { device: &device, json: args.json, style: Style::of_stdout(), counts: Counts::default() };
    if let Err(error) = read(args, &device, &mut show) {
        complain(error);
        return ExitCode::FAILURE;
    }
    show.end();
    if show.counts.frames == 0 { ExitCode::from(3) } else { ExitCode::SUCCESS }
}

fn read(args: &Args, device: &DeviceConfig, show: &mut Show<'_>) -> Result<(), String> {
    let is_stdin = args.capture.as_os_str() == "-";
    let mut input: Box<dyn std::io::Read> = if is_stdin {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(&args.capture);
        Box::new(file.map_err(|error| format!("{}: {error}", args.capture.display()))?)
    };
    let mut trial = Trial::new(device);
    let mut scratch = vec![0; 64 * 1024];
    loop {
        let bytes = match input.read(&mut scratch) {
            Ok(0) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("can't read the capture: {error}")),
        };
        trial.push(Mono::ZERO, scratch.get(..bytes).unwrap_or_default(), |piece| show.piece(&piece));
    }
    trial.finish(|piece| show.piece(&piece));
    Ok(())
}

/// The device that is meant, from a file or from a profile.
pub(super) fn device(
    file: Option<&Path>,
    name: Option<&str>,
    profile: Option<&str>,
) -> Result<DeviceConfig, String> {
    let library = super::profile::load(None)?;
    let mut own: Vec<Source> = library.into_iter().filter(|p| !p.is_built_in).map(|p| p.source).collect();
    let text = |profile: &str| {
        let text = format!("[[device]]\nname = {profile:?}\nport = \"capture\"\nprofile = {profile:?}\n");
        Source { file: "--profile".to_owned(), text }
    };
    let source = match (file, profile) {
        (Some(file), _) => {
            let source = files::source(file)?;
            let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("device").to_owned();
            if is_profile(&source.text) {
                own.push(source);
                text(&stem)
            } else {
                source
            }
        }
        (None, profile) => text(profile.unwrap_or_default()),
    };
    let ports = missing_ports(&source.text);
    let sources = [source, Source { file: "ports".to_owned(), text: ports }];
    let config = config::parse_with(&sources, &own, &files::facts())
        .map_err(|mistakes| config::render(&mistakes).trim_end().to_owned())?;
    let names: Vec<String> = config.devices.iter().map(|device| device.name.to_string()).collect();
    let mut devices = config.devices.into_iter();
    match (name, names.as_slice()) {
        (_, []) => Err("the file has no [[device]]".to_owned()),
        (None, [_]) => devices.next().ok_or_else(|| "the file has no [[device]]".to_owned()),
        (None, _) => {
            Err(format!("the file has several devices; say which: --name {}", names.join(" or --name ")))
        }
        (Some(name), _) => devices
            .find(|device| &*device.name == name)
            .ok_or_else(|| format!("the file has no device {name:?}, but {}", names.join(", "))),
    }
}

/// Whether a file is a profile: it has one `[device]`, or says what it is.
fn is_profile(text: &str) -> bool {
    let (document, _) = toml::de::DeTable::parse_recoverable(text);
    let table = document.get_ref();
    table.get("profile").is_some() || table.get("device").is_some_and(|device| device.get_ref().is_table())
}

/// The ports that the devices of a text name and that it hasn't, so that a lone device is a good config.
fn missing_ports(text: &str) -> String {
    let (document, _) = toml::de::DeTable::parse_recoverable(text);
    let names = |list: &str, key: &str| -> Vec<String> {
        let items = document.get_ref().get(list).and_then(|list| list.get_ref().as_array());
        let name = |item: &toml::Spanned<toml::de::DeValue<'_>>| {
            Some(item.get_ref().as_table()?.get(key)?.get_ref().as_str()?.to_owned())
        };
        items.into_iter().flat_map(|items| items.iter()).filter_map(name).collect()
    };
    let known = names("port", "name");
    let mut wanted = names("device", "port");
    wanted.sort();
    wanted.dedup();
    let mut ports = String::new();
    for name in wanted.iter().filter(|name| !known.contains(name)) {
        let _ = writeln!(ports, "[[port]]\nname = {name:?}\npath = \"/dev/null\"");
    }
    ports
}

/// What was found.
#[derive(Debug, Default)]
struct Counts {
    frames: u64,
    without_values: u64,
    bad: u64,
    skipped_bytes: u64,
}

/// Prints what is found.
struct Show<'a> {
    device: &'a DeviceConfig,
    json: bool,
    style: Style,
    counts: Counts,
}

impl Show<'_> {
    fn piece(&mut self, piece: &Piece<'_>) {
        let count = match piece {
            Piece::Frame { values: Ok(_), .. } => &mut self.counts.frames,
            Piece::Frame { .. } => &mut self.counts.without_values,
            Piece::Bad { .. } => &mut self.counts.bad,
            Piece::Skipped(_) => &mut self.counts.skipped_bytes,
        };
        let more = if let Piece::Skipped(bytes) = piece { bytes.len() } else { 1 };
        *count = count.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        if self.json {
            say(json_of(piece));
        } else {
            self.people(piece);
        }
    }

    fn people(&self, piece: &Piece<'_>) {
        let line = |tone: Tone, word: &str, bytes: &[u8], rest: &str| {
            let word = self.style.paint(tone, &format!("{word:8}"));
            let shown = self.style.paint(Tone::Faint, &shown(bytes));
            say(format_args!("{word}{:>5} bytes  {shown}{rest}", bytes.len()));
        };
        match piece {
            Piece::Frame { bytes, values: Ok(samples) } => {
                line(Tone::Good, "frame", bytes, "");
                for sample in samples {
                    self.sample(sample);
                }
            }
            Piece::Frame { bytes, values: Err(error) } => {
                line(Tone::Doubtful, "no value", bytes, &format!("  {error}"));
            }
            Piece::Bad { bytes, error } => line(Tone::Bad, "bad", bytes, &format!("  {error}")),
            Piece::Skipped(bytes) => line(Tone::Doubtful, "skipped", bytes, ""),
        }
    }

    fn sample(&self, sample: &Sample) {
        let (tone, quality) = match sample.quality {
            Quality::Good => (Tone::Good, String::new()),
            other => (Tone::Doubtful, format!("  ({})", other.as_str())),
        };
        let value = sample.value.as_ref().map_or_else(|| "-".to_owned(), words);
        let unit = self.unit(&sample.point).map(|unit| format!(" {unit}")).unwrap_or_default();
        let value = self.style.paint(tone, &format!("{value}{unit}"));
        say(format_args!("          {} = {value}{quality}", sample.point));
    }

    fn unit(&self, name: &str) -> Option<&str> {
        let Points::List(points) = &self.device.points else { return None };
        points.iter().find(|point| *point.name == *name)?.unit.as_deref()
    }

    fn end(&self) {
        let Counts { frames, without_values, bad, skipped_bytes } = self.counts;
        if self.json {
            say(
                json!({ "frames": frames, "without_values": without_values, "bad": bad, "skipped_bytes": skipped_bytes }),
            );
            return;
        }
        let words = format!(
            "{frames} frames with values, {without_values} without, {bad} bad, {skipped_bytes} bytes skipped"
        );
        say(self.style.paint(Tone::Strong, &words));
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Text(text) => format!("{text:?}"),
    }
}

fn json_of(piece: &Piece<'_>) -> Json {
    match piece {
        Piece::Frame { bytes, values: Ok(samples) } => {
            let value = |sample: &Sample| match &sample.value {
                None => Json::Null,
                Some(Value::Number(number)) => json!(number),
                Some(Value::Integer(number)) => json!(number),
                Some(Value::Bool(flag)) => json!(flag),
                Some(Value::Text(text)) => json!(text),
            };
            let values: serde_json::Map<String, Json> =
                samples.iter().map(|sample| (sample.point.to_string(), value(sample))).collect();
            let doubtful = samples.iter().filter(|sample| sample.quality != Quality::Good);
            let quality: serde_json::Map<String, Json> =
                doubtful.map(|sample| (sample.point.to_string(), json!(sample.quality.as_str()))).collect();
            if quality.is_empty() {
                json!({ "frame": hex::encode(bytes), "values": values })
            } else {
                json!({ "frame": hex::encode(bytes), "values": values, "quality": quality })
            }
        }
        Piece::Frame { bytes, values: Err(error) } => json!({ "frame": hex::encode(bytes), "error": error }),
        Piece::Bad { bytes, error } => json!({ "bad": hex::encode(bytes), "error": error }),
        Piece::Skipped(bytes) => json!({ "skipped": hex::encode(bytes) }),
    }
}

/// The first bytes for people: text as text, anything else in hexadecimal digits.
fn shown(bytes: &[u8]) -> String {
    let start = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
    let more = if bytes.len() > SHOWN_BYTES { " …" } else { "" };
    let is_text = start.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t'));
    if is_text {
        return format!("{:?}{more}", String::from_utf8_lossy(start));
    }
    format!("{}{more}", hex::spaced(start))
}
