//! What somebody asks who sets a gateway up: which devices it knows, and what hangs on a line that no config names yet.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::ports::{meant, real};
use super::{Failure, Request, called_off};
use crate::io::reporter::Reporter;
use crate::io::scan::{self, Arguments, Kind};
use crate::io::scan_control::{self, Scanning, Wanted};
use crate::said;
use crate::sensor::bus::config::Ask;
use crate::sensor::scan::{Candidate, Settings};
use crate::sensor::{CodecKind, DecodeConfig, PortKind};

/// Somebody listens to one line at a time.
static TURN: Semaphore = Semaphore::const_new(1);

/// It ends within this: less than a page waits.
const LISTEN_MAX: Duration = Duration::from_secs(55);

/// What is found on one line; the rest is left out, and that is told.
const FOUND_MAX: usize = 64;

/// The devices that are known, by the names of their profiles, with what a config must say besides.
pub(super) async fn profiles() -> Result<Json, Failure> {
    let read = spawn_blocking(|| {
        let profiles = scan::profiles(&[])?;
        let maker = |name: &str| {
            let found = profiles.iter().find(|profile| profile.name == name);
            found.map(|profile| profile.about().maker).unwrap_or_default()
        };
        let all = scan::candidates(&profiles);
        Ok::<_, String>(
            all.iter().map(|candidate| profile_json(candidate, &maker(&candidate.profile))).collect(),
        )
    });
    read.await
        .map_err(|_| Failure::busy(said!("stopping", "the gateway is stopping")))?
        .map_err(Failure::refused)
}

fn profile_json(candidate: &Candidate, maker: &str) -> Json {
    let Candidate { profile, title, settings, device } = candidate;
    let address = device.poll.as_ref().map(|poll| match poll.ask {
        Ask::Registers { .. } => "unit_id",
        Ask::Bytes(_) | Ask::Meter(_) | Ask::Mbus(_) => "",
    });
    json!({
        "profile": profile,
        "title": title,
        "maker": maker,
        // A satellite receiver, whose time `[time.gnss]` may take.
        "tells_time": matches!(device.decode, DecodeConfig::Codec(CodecKind::Nmea { .. })),
        "baud": settings.baud,
        "frame": Settings::frame(*settings),
        "asked": address.is_some(),
        "address": address.filter(|key| !key.is_empty()),
    })
}

/// Finds out what hangs on a line, and tells what is found as it is found. The line of a port that runs is borrowed.
pub(super) async fn listen(request: Request, reporter: &Reporter) -> Result<Json, Failure> {
    let Request { port, scan, progress, .. } = request;
    let Some(path) = port.filter(|path| !path.is_empty()) else {
        return Err(Failure::field(
            "path",
            said!("listen_path", "path: expected a device file, or host:port of a Modbus TCP server"),
        ));
    };
    let arguments = scan.unwrap_or_else(|| plain(Kind::Serial));
    let line = scan::unnamed_port(&path);
    let owner = match line.kind {
        PortKind::Tcp => None,
        PortKind::Serial => owner(&path, reporter).await?,
    };
    let Ok(_turn) = TURN.try_acquire() else {
        return Err(Failure::busy(said!(
            "listening",
            "somebody listens to a line already; try again when that has ended"
        )));
    };
    let until = Instant::now() + LISTEN_MAX;
    let Scanning { about, mut events } = match owner {
        Some(port) => scan_control::start(Wanted { port, arguments }, reporter).await,
        None => scan_control::start_unnamed(line, arguments).await,
    }
    .map_err(|error| Failure::field("path", error))?;
    tell(progress.as_ref(), about);
    let (mut found, mut more, mut is_whole) = (Vec::new(), 0_u64, false);
    while let Ok(Some(event)) = timeout_at(until, events.recv()).await {
        match event.get("event").and_then(Json::as_str) {
            Some("end") => {
                is_whole = true;
                break;
            }
            Some("progress") => {}
            _ if found.len() < FOUND_MAX => found.push(event.clone()),
            _ => more = more.saturating_add(1),
        }
        tell(progress.as_ref(), event);
        if progress.as_ref().is_some_and(mpsc::Sender::is_closed) {
            return Err(called_off());
        }
    }
    Ok(json!({"path": path, "found": found, "more": more, "whole": is_whole}))
}

fn tell(progress: Option<&mpsc::Sender<Json>>, event: Json) {
    if let Some(progress) = progress {
        let _ = progress.try_send(event);
    }
}

/// A scan with nothing said about it.
pub const fn plain(kind: Kind) -> Arguments {
    Arguments {
        kind,
        baud: Vec::new(),
        frames: Vec::new(),
        units: None,
        registers: None,
        span_ms: None,
        all: false,
        ask: false,
    }
}

/// The port that has the line of this device file.
async fn owner(path: &str, reporter: &Reporter) -> Result<Option<String>, Failure> {
    let names: Vec<_> = reporter.lines().iter().map(|line| line.name.clone()).collect();
    let ports: Vec<_> = names.iter().filter_map(|name| reporter.sources.loans.config(name)).collect();
    let path = PathBuf::from(path);
    let look = spawn_blocking(move || {
        is_line(&path)?;
        let file = real(&path);
        Ok(ports.iter().filter_map(meant).find(|(_, other)| *other == file).map(|(name, _)| name))
    });
    let looked: Result<_, String> =
        look.await.map_err(|_| Failure::busy(said!("stopping", "the gateway is stopping")))?;
    looked.map_err(|error| Failure::field("path", error))
}

/// Whether a file is a terminal, which may be opened: opening some other devices does something.
fn is_line(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let found = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?;
    let number = found.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let subsystem = std::fs::read_link(format!("/sys/dev/char/{major}:{minor}/subsystem")).ok();
    let is_terminal = subsystem.is_some_and(|link| link.file_name().is_some_and(|name| name == "tty"));
    // Pseudo-terminals, which the kernel's folder leaves out (admin-guide/devices.txt).
    let is_pseudo = (136..=143).contains(&major);
    match found.file_type().is_char_device() && (is_terminal || is_pseudo) {
        true => Ok(()),
        false => Err(format!("{shown} is no serial line")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_serial_line_is_opened() {
        for (path, expected) in [
            ("/dev/null", "no serial line"),
            ("/etc/passwd", "no serial line"),
            ("/dev", "no serial line"),
            ("/dev/nowhere", "No such file"),
        ] {
            let error = is_line(Path::new(path)).unwrap_err();
            assert!(error.contains(expected), "{path}: {error}");
        }
    }

    #[tokio::test]
    async fn every_device_that_is_known_says_how_it_is_reached() {
        let all = profiles().await.unwrap();
        let of = |name: &str| {
            let found = all.as_array().unwrap().iter().find(|one| one["profile"] == name);
            found.unwrap_or_else(|| panic!("{name}: {all}")).clone()
        };
        let meter = of("eastron-sdm630");
        assert_eq!((&meter["address"], &meter["asked"]), (&json!("unit_id"), &json!(true)));
        let dust = of("pms5003");
        assert_eq!(
            (&dust["baud"], &dust["frame"], &dust["asked"]),
            (&json!(9600), &json!("8N1"), &json!(false))
        );
        assert!(!dust["title"].as_str().unwrap().is_empty());
    }
}
