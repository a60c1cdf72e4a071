//! `fieldgate simulate`: a pseudo-terminal, or a Modbus TCP server, that behaves like a device, to try a config without one.

mod line;
mod tcp;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::{complain, decode, say};
use crate::config::{TimeTrust, duration};
use crate::io::clock::Clock;
use crate::sensor::{Asked, DecodeConfig, Faults, MeterSimulator, Motion, Simulator, Slave, Transport};
use line::Line;

/// Bytes of a capture that are written in one go.
const PIECE_BYTES: usize = 64;

/// The largest capture that is played.
const CAPTURE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A meter of IEC 62056-21 is signed on to at this rate, whatever comes then.
const SIGN_ON_BAUD: u32 = 300;

/// How often it is looked whether a device that is asked has answered often enough.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `fieldgate simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The profile of the device.
    #[arg(value_name = "PROFILE", required_unless_present_any = ["device", "capture"])]
    profile: Option<String>,
    /// A file with the [[device]] instead, as a config has it or as a profile is.
    #[arg(short, long, value_name = "FILE", conflicts_with = "profile")]
    device: Option<PathBuf>,
    /// The name of the device, where the file has several.
    #[arg(short, long, value_name = "NAME", requires = "device")]
    name: Option<String>,
    /// Play the bytes of a real device instead, over and over, at the pace of --baud.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["profile", "device", "set", "listen"])]
    capture: Option<PathBuf>,
    /// How fast a capture is played, in bits a second of which ten make a byte.
    #[arg(long, value_name = "BAUD", default_value_t = 9_600, value_parser = clap::value_parser!(u32).range(50..=4_000_000))]
    baud: u32,
    /// From frame to frame, in milliseconds; of a device that is asked, from value to value.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    every: u64,
    /// The same as frames a second, such as 10 or 0.2.
    #[arg(long, value_name = "HZ", conflicts_with = "every", value_parser = rate)]
    rate: Option<Duration>,
    /// A value: voltage=231.5; or how it moves: voltage=sine, ramp, or noise, also within bounds: voltage=sine:225..235.
    /// Without it: a sine within the point's min and max, or what is usual in its unit.
    #[arg(long, value_name = "POINT=VALUE", value_parser = setting)]
    set: Vec<(String, Motion)>,
    /// What is wrong with it: dead, noise=1% (of its bytes); of a device that is asked also slow=800ms, late (it answers into
    /// the next request), echo.
    #[arg(long, value_name = "FAULT", value_parser = fault)]
    fault: Vec<Fault>,
    /// A Modbus TCP server here, instead of a pseudo-terminal.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "link")]
    listen: Option<SocketAddr>,
    /// End after so many frames, answers, or plays of the capture.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Make this a link to the pseudo-terminal, so that a config can name it; it is removed at the end.
    #[arg(long, value_name = "PATH")]
    link: Option<PathBuf>,
}

/// One thing that is wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Dead,
    Slow(Duration),
    Noise(f64),
    Echo,
    Late,
}

/// Exit code 0 at the end, 1 if there can be no pseudo-terminal, 2 if the device can't be simulated.
pub fn execute(args: &Args) -> ExitCode {
    let source = match source(args) {
        Ok(source) => source,
        Err(error) => {
            complain(error);
            return ExitCode::from(2);
        }
    };
    match perform(args, source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

/// What is played.
enum Source {
    Made(Box<Simulator>),
    Asked(Box<Asked>),
    Capture(Vec<u8>),
    Meter(Box<MeterSimulator>),
}

fn source(args: &Args) -> Result<Source, String> {
    let faults = faults(&args.fault);
    let needs_request = faults.echoes || faults.is_late || !faults.slow.is_zero();
    let sends = "--fault slow, late and echo are of devices that are asked; this one sends by itself";
    if let Some(path) = &args.capture {
        let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
        let bytes = std::fs::metadata(path).map_err(wrong)?.len();
        if bytes == 0 || bytes > CAPTURE_BYTES_MAX {
            return Err(format!("{}: it has {bytes} bytes, not 1 to {CAPTURE_BYTES_MAX}", path.display()));
        }
        if needs_request {
            return Err(sends.to_owned());
        }
        return Ok(Source::Capture(std::fs::read(path).map_err(wrong)?));
    }
    let device = decode::device(args.device.as_deref(), args.name.as_deref(), args.profile.as_deref())?;
    if let Some(meter) = MeterSimulator::new(&device, SIGN_ON_BAUD) {
        return match args.set.is_empty() && args.fault.is_empty() && args.listen.is_none() {
            true => Ok(Source::Meter(Box::new(meter))),
            false => {
                Err("--set, --fault and --listen aren't for meters with a protocol of several steps"
                    .to_owned())
            }
        };
    }
    let seed = fastrand::u64(..);
    if args.listen.is_some() || matches!(device.decode, DecodeConfig::Registers) {
        let mut slave = Slave::new(&device, every(args)).map_err(|error| error.to_string())?;
        for (point, motion) in &args.set {
            slave.set(point, motion.clone()).map_err(|error| error.to_string())?;
        }
        let transport = if args.listen.is_some() { Transport::Tcp } else { Transport::Rtu };
        return Ok(Source::Asked(Box::new(Asked::slave(slave, transport, faults, seed))));
    }
    let mut simulator = Simulator::new(device).map_err(|error| error.to_string())?;
    for (point, motion) in &args.set {
        simulator.set(point, motion.clone()).map_err(|error| error.to_string())?;
    }
    if simulator.request().is_none() {
        return if needs_request { Err(sends.to_owned()) } else { Ok(Source::Made(Box::new(simulator))) };
    }
    let asked = Asked::frames(simulator, faults, seed);
    asked.map(|asked| Source::Asked(Box::new(asked))).ok_or_else(|| sends.to_owned())
}

fn perform(args: &Args, source: Source) -> Result<(), String> {
    let clock = Clock::new(TimeTrust::Always);
    match (source, args.listen) {
        (Source::Asked(mut asked), Some(address)) => {
            let mut server = tcp::Server::listen(address)?;
            say(server.address()?);
            server.serve(&clock, &mut asked, args.count)
        }
        (Source::Asked(mut asked), None) => {
            let line = Line::open(args.link.clone())?;
            say(line.name());
            answer(&clock, &mut asked, &line, args.count)
        }
        (Source::Made(mut simulator), _) => {
            let line = Line::open(args.link.clone())?;
            say(line.name());
            send(args, &clock, &mut simulator, &line)
        }
        (Source::Meter(mut meter), _) => {
            let line = Line::open(args.link.clone())?;
            say(line.name());
            converse(&mut meter, &line, args.count)
        }
        (Source::Capture(bytes), _) => {
            let line = Line::open(args.link.clone())?;
            say(line.name());
            play(args, &bytes, &line)
        }
    }
}

/// Answers whoever asks on the line.
fn answer(clock: &Clock, asked: &mut Asked, line: &Line, count: Option<u64>) -> Result<(), String> {
    loop {
        let now = clock.now();
        while let Some((_, bytes)) = asked.poll(now.mono) {
            line.send(&bytes)?;
        }
        if count.is_some_and(|count| asked.answers() >= count) && asked.deadline().is_none() {
            return line.read_out();
        }
        let patience = asked.deadline().map_or(LOOK, |due| due.since(now.mono).min(LOOK));
        let heard = line.heard(patience)?;
        if !heard.is_empty() {
            asked.push(clock.now(), 0, &heard).map_err(|error| error.to_string())?;
        }
    }
}

/// Answers whoever talks to the meter, for ever or until so many answers were given.
fn converse(meter: &mut MeterSimulator, line: &Line, count: Option<u64>) -> Result<(), String> {
    let mut answered = 0_u64;
    while count.is_none_or(|count| answered < count) {
        let heard = line.heard(LOOK)?;
        for answer in meter.hear(line.baud()?, &heard) {
            std::thread::sleep(answer.after);
            line.send(&answer.read_at(line.baud()?))?;
            answered = answered.saturating_add(1);
        }
    }
    line.read_out()
}

/// Sends a frame at each turn.
fn send(args: &Args, clock: &Clock, simulator: &mut Simulator, line: &Line) -> Result<(), String> {
    let faults = faults(&args.fault);
    let mut rng = fastrand::Rng::new();
    let mut due = Instant::now();
    let mut sent = 0_u64;
    while args.count.is_none_or(|count| sent < count) {
        let mut frame = simulator.frame(clock.now().wall).map_err(|error| error.to_string())?;
        if !faults.is_dead {
            faults.damage(&mut frame, &mut rng);
            line.send(&frame)?;
        }
        due += every(args);
        wait_until(&mut due);
        sent = sent.saturating_add(1);
    }
    line.read_out()
}

/// Plays a capture at the pace of its line.
fn play(args: &Args, bytes: &[u8], line: &Line) -> Result<(), String> {
    let faults = faults(&args.fault);
    let mut rng = fastrand::Rng::new();
    let mut due = Instant::now();
    let mut played = 0_u64;
    while args.count.is_none_or(|count| played < count) {
        for piece in bytes.chunks(PIECE_BYTES) {
            let mut piece = piece.to_vec();
            if !faults.is_dead {
                faults.damage(&mut piece, &mut rng);
                line.send(&piece)?;
            }
            let bits = u32::try_from(piece.len()).unwrap_or(0).saturating_mul(10);
            due += Duration::from_secs(bits.into()) / args.baud;
            wait_until(&mut due);
        }
        played = played.saturating_add(1);
    }
    line.read_out()
}

fn every(args: &Args) -> Duration {
    args.rate.unwrap_or(Duration::from_millis(args.every))
}

/// Sleeps; who is late doesn't hurry to catch up.
fn wait_until(due: &mut Instant) {
    let now = Instant::now();
    if *due > now {
        std::thread::sleep(*due - now);
    } else {
        *due = now;
    }
}

fn faults(list: &[Fault]) -> Faults {
    list.iter().fold(Faults::default(), |faults, fault| match fault {
        Fault::Dead => Faults { is_dead: true, ..faults },
        Fault::Slow(slow) => Faults { slow: *slow, ..faults },
        Fault::Noise(noise) => Faults { noise: *noise, ..faults },
        Fault::Echo => Faults { echoes: true, ..faults },
        Fault::Late => Faults { is_late: true, ..faults },
    })
}

fn fault(text: &str) -> Result<Fault, String> {
    let (word, value) = text.split_once('=').map_or((text, None), |(word, value)| (word, Some(value)));
    match (word, value) {
        ("dead", None) => Ok(Fault::Dead),
        ("echo", None) => Ok(Fault::Echo),
        ("late", None) => Ok(Fault::Late),
        ("slow", Some(value)) => {
            duration::parse(value).map(Fault::Slow).ok_or_else(|| "write slow=800ms or slow=2s".to_owned())
        }
        ("noise", Some(value)) => {
            let percent = value.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
            let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
            percent.map(|percent| Fault::Noise(percent / 100.0)).ok_or_else(|| "write noise=1%".to_owned())
        }
        _ => Err("write dead, echo, late, slow=800ms, or noise=1%".to_owned()),
    }
}

fn setting(text: &str) -> Result<(String, Motion), String> {
    let (point, value) = text.split_once('=').ok_or("write POINT=VALUE")?;
    Ok((point.to_owned(), Motion::parse(value).map_err(|error| error.to_string())?))
}

fn rate(text: &str) -> Result<Duration, String> {
    let hertz = text.parse::<f64>().ok().filter(|hertz| (0.000_1..=1_000.0).contains(hertz));
    let wrong = || "write frames a second, 0.0001 to 1000".to_owned();
    hertz.map(|hertz| Duration::from_secs_f64(1.0 / hertz)).ok_or_else(wrong)
}
