//! `fieldgate simulate`: a pseudo-terminal that behaves like a device, to try a config without one.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, QueueSelector, ioctl_tiocnxcl, tcflush, tcgetattr, tcsetattr};

use super::{complain, decode, say};
use crate::sensor::Simulator;

/// Bytes of a capture that are written in one go.
const PIECE_BYTES: usize = 64;

/// The largest capture that is played.
const CAPTURE_BYTES_MAX: u64 = 64 * 1024 * 1024;

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
    #[arg(long, value_name = "FILE", conflicts_with_all = ["profile", "device"])]
    capture: Option<PathBuf>,
    /// How fast a capture is played, in bits a second of which ten make a byte.
    #[arg(long, value_name = "BAUD", default_value_t = 9_600, value_parser = clap::value_parser!(u32).range(50..=4_000_000))]
    baud: u32,
    /// From frame to frame, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    every: u64,
    /// End after so many frames, or plays of the capture.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Make this a link to the pseudo-terminal, so that a config can name it; it is removed at the end.
    #[arg(long, value_name = "PATH")]
    link: Option<PathBuf>,
}

/// Exit code 0 at the end, 1 if there can be no pseudo-terminal, 2 if the device can't be simulated.
pub fn execute(args: &Args) -> ExitCode {
    let mut source = match source(args) {
        Ok(source) => source,
        Err(error) => {
            complain(error);
            return ExitCode::from(2);
        }
    };
    match Line::open(args.link.clone()).and_then(|line| play(args, &mut source, &line)) {
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
    Capture(Vec<u8>),
}

fn source(args: &Args) -> Result<Source, String> {
    if let Some(path) = &args.capture {
        let wrong = |error: std::io::Error| format!("{}: {error}", path.display());
        let bytes = std::fs::metadata(path).map_err(wrong)?.len();
        if bytes == 0 || bytes > CAPTURE_BYTES_MAX {
            return Err(format!("{}: it has {bytes} bytes, not 1 to {CAPTURE_BYTES_MAX}", path.display()));
        }
        return Ok(Source::Capture(std::fs::read(path).map_err(wrong)?));
    }
    let device = decode::device(args.device.as_deref(), args.name.as_deref(), args.profile.as_deref())?;
    Ok(Source::Made(Box::new(Simulator::new(device).map_err(|error| error.to_string())?)))
}

fn play(args: &Args, source: &mut Source, line: &Line) -> Result<(), String> {
    say(line.link.as_ref().map_or_else(|| line.path.clone(), |link| link.display().to_string()));
    let every = Duration::from_millis(args.every);
    let mut due = Instant::now();
    let mut played = 0_u64;
    while args.count.is_none_or(|count| played < count) {
        match source {
            Source::Made(simulator) => {
                line.send(&simulator.frame())?;
                due += every;
                wait_until(&mut due);
            }
            Source::Capture(bytes) => {
                for piece in bytes.chunks(PIECE_BYTES) {
                    line.send(piece)?;
                    let bits = u32::try_from(piece.len()).unwrap_or(0).saturating_mul(10);
                    due += Duration::from_secs(bits.into()) / args.baud;
                    wait_until(&mut due);
                }
            }
        }
        played = played.saturating_add(1);
    }
    line.read_out()
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

/// The pseudo-terminal.
struct Line {
    path: String,
    link: Option<PathBuf>,
    device: OwnedFd,
    /// Held, or writing would fail while no gateway has it open.
    gateway: OwnedFd,
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            // Whoever has put something else there keeps it.
            if std::fs::read_link(link).is_ok_and(|target| target.as_os_str() == self.path.as_str()) {
                let _ = std::fs::remove_file(link);
            }
        }
    }
}

impl Line {
    fn open(link: Option<PathBuf>) -> Result<Self, String> {
        let wrong = |error: Errno| format!("can't open a pseudo-terminal: {error}");
        let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(wrong)?;
        grantpt(&device).map_err(wrong)?;
        unlockpt(&device).map_err(wrong)?;
        fcntl_setfl(&device, OFlags::RDWR | OFlags::NONBLOCK).map_err(wrong)?;
        let path = ptsname(&device, Vec::new()).map_err(wrong)?.to_string_lossy().into_owned();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let gateway = rustix::fs::open(path.as_str(), flags, Mode::empty()).map_err(wrong)?;
        let mut settings = tcgetattr(&gateway).map_err(wrong)?;
        settings.make_raw();
        tcsetattr(&gateway, OptionalActions::Now, &settings).map_err(wrong)?;
        if let Some(link) = &link {
            // A link of before that leads nowhere any more, or by chance to us, is no loss.
            let leads_to = std::fs::read_link(link).ok();
            if leads_to.is_some_and(|target| target.as_os_str() == path.as_str() || !link.exists()) {
                let _ = std::fs::remove_file(link);
            }
            std::os::unix::fs::symlink(&path, link)
                .map_err(|error| format!("can't make the link {}: {error}", link.display()))?;
        }
        Ok(Self { path, link, device, gateway })
    }

    /// Sends bytes as a device does, whether anybody reads them or not: what nobody has read is gone.
    fn send(&self, mut bytes: &[u8]) -> Result<(), String> {
        // A gateway that was killed couldn't give up its exclusive use; a real line forgets it.
        let _ = ioctl_tiocnxcl(&self.gateway);
        while !bytes.is_empty() {
            match rustix::io::write(&self.device, bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let _ = tcflush(&self.gateway, QueueSelector::IFlush);
                }
                Err(error) => return Err(format!("can't send to {}: {error}", self.path)),
            }
        }
        Ok(())
    }

    /// Waits until the last frame has been read, for a second at most: with the line its bytes would go.
    fn read_out(&self) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            match rustix::io::ioctl_fionread(&self.gateway) {
                Ok(0) => return Ok(()),
                Ok(_) => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(format!("{}: {error}", self.path)),
            }
        }
        Ok(())
    }
}
