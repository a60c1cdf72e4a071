//! Operations on ports: what is plugged in, who has it open, what passes over a line, what a scan finds on it.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Failure, Request};
use crate::health;
use crate::io::holders::{self, Holder};
use crate::io::plugged;
use crate::io::reporter::Reporter;
use crate::io::scan_control::{self, Wanted};
use crate::said;
use crate::sensor::{Adapter, PortConfig, PortKind};

/// Pieces on the way from the service thread to whoever looks on, besides those that wait there. At the bound those are
/// left out and counted.
const PIECES_WAITING_MAX: usize = 8;

/// The serial lines that are plugged in, each with the ports that mean it and what to write into the config.
pub(super) async fn plugged(reporter: &Reporter) -> Result<Json, Failure> {
    let ports = configs(reporter);
    // Reads folders of the kernel: not on this thread.
    let look = move || {
        let adapters = plugged::plugged();
        let meant: Vec<(String, PathBuf)> = ports.iter().filter_map(meant).collect();
        let all: Vec<Json> =
            adapters.iter().map(|adapter| adapter_json(adapter, &adapters, &meant)).collect();
        Json::Array(all)
    };
    spawn_blocking(look).await.map_err(|_| Failure::busy(said!("stopping", "the gateway is stopping")))
}

/// The ports whose lines can be borrowed.
fn configs(reporter: &Reporter) -> Vec<PortConfig> {
    let lines = reporter.lines();
    lines.iter().filter_map(|line| reporter.sources.loans.config(&line.name)).collect()
}

/// Which programs have the lines open: those of ports, and what else is plugged in.
pub(super) async fn holders(reporter: &Reporter) -> Result<Json, Failure> {
    let ports = configs(reporter);
    // Reads folders of the kernel: not on this thread.
    let look = move || {
        let meant: Vec<(String, PathBuf)> = ports.iter().filter_map(meant).collect();
        let mut paths: Vec<PathBuf> = meant.iter().map(|(_, path)| path.clone()).collect();
        paths.extend(plugged::plugged().iter().map(|adapter| real(Path::new(&adapter.path))));
        paths.sort();
        paths.dedup();
        let all = holders::of(&paths);
        paths.iter().map(|path| held(path, &meant, &all)).collect()
    };
    spawn_blocking(look).await.map_err(|_| Failure::busy(said!("stopping", "the gateway is stopping")))
}

fn held(path: &Path, meant: &[(String, PathBuf)], all: &[Holder]) -> Json {
    let own = std::process::id();
    let ports = meant.iter().filter(|(_, other)| other == path).map(|(name, _)| name.as_str());
    let holders = all.iter().filter(|holder| holder.path == path);
    let holders =
        holders.map(|holder| json!({"pid": holder.pid, "name": holder.name, "own": holder.pid == own}));
    json!({
        "path": path.display().to_string(),
        "ports": ports.collect::<Vec<_>>(),
        "open_in": holders.collect::<Vec<_>>(),
    })
}

/// What passes over a line, for whoever looks on.
#[derive(Debug)]
pub struct Looking {
    /// The port, its path and state.
    pub about: Json,
    /// What happens on it, until whoever looks on has gone.
    pub pieces: mpsc::Receiver<Json>,
}

/// Begins to look on at a port.
pub(in crate::io) fn look_on(port: &str, reporter: &Reporter) -> Result<Looking, Failure> {
    let lines = reporter.lines();
    let Some(line) = lines.iter().find(|line| *line.name == *port) else {
        return Err(unknown(port, reporter));
    };
    let mut trace = reporter
        .sources
        .traces
        .look_on(port)
        .ok_or_else(|| Failure::busy(said!("too_many_ports", "too many look on at ports already")))?;
    let about = json!({"port": port, "path": line.path, "state": health::port_state(line.state)});
    let (to, pieces) = mpsc::channel(PIECES_WAITING_MAX);
    tokio::task::spawn_local(async move {
        loop {
            tokio::select! {
                Some(piece) = trace.next() => if to.send(piece).await.is_err() { return },
                () = to.closed() => return,
            }
        }
    });
    Ok(Looking { about, pieces })
}

fn unknown(port: &str, reporter: &Reporter) -> Failure {
    let lines = reporter.lines();
    let names: Vec<&str> = lines.iter().map(|line| &*line.name).collect();
    Failure::field(
        "port",
        said!(
            "no_port",
            "there is no port \"{port}\"; known are {known}",
            port = port,
            known = names.join(", ")
        ),
    )
}

/// Begins a scan of a line, which goes on until its end.
pub(super) async fn scan(request: Request, by: &str, reporter: &Reporter) -> Result<Json, Failure> {
    let (Some(port), Some(arguments)) = (request.port, request.scan) else {
        return Err(Failure::field("port", "scan-start needs port and scan"));
    };
    let full = |full: crate::io::scans::Full| Failure::busy(full.said());
    reporter.scans.has_room(&port).map_err(full)?;
    let wanted = Wanted { port: port.clone(), arguments };
    let scanning = scan_control::start(wanted, reporter).await.map_err(Failure::refused)?;
    // Somebody else may have been quicker; then this one is over before it has begun.
    reporter.scans.has_room(&port).map_err(full)?;
    reporter.scans.keep(&port, by, reporter.clock.now().wall, scanning);
    Ok(reporter.scans.json(&port))
}

/// How the scan of a line gets on, and what may be scanned for there.
pub(super) async fn scanned(request: &Request, reporter: &Reporter) -> Result<Json, Failure> {
    let port = needed(request)?;
    let kinds: &[&str] = match reporter.sources.loans.config(port).map(|config| config.kind) {
        Some(PortKind::Tcp) => &["modbus"],
        Some(PortKind::Serial) => &["serial", "modbus", "mbus"],
        // A program has no line.
        None if reporter.lines().iter().any(|line| *line.name == **port) => &[],
        None => {
            let wanted = port.to_owned();
            let look = move || plugged::plugged().iter().any(|adapter| adapter.path == wanted);
            if !spawn_blocking(look).await.unwrap_or_default() {
                return Err(unknown(port, reporter));
            }
            &["serial", "modbus", "mbus"]
        }
    };
    Ok(json!({"port": port, "kinds": kinds, "scan": reporter.scans.json(port)}))
}

/// Ends the scan of a line; what was found stays.
pub(super) fn end_scan(request: &Request, reporter: &Reporter) -> Result<Json, Failure> {
    let port = needed(request)?;
    if reporter.scans.stop(port) {
        Ok(json!({"port": port, "stopped": true}))
    } else {
        Err(Failure::field("port", said!("no_scan", "no scan of \"{port}\" is under way", port = port)))
    }
}

fn needed(request: &Request) -> Result<&String, Failure> {
    request
        .port
        .as_ref()
        .ok_or_else(|| Failure::field("port", said!("missing", "{field} is missing", field = "port")))
}

/// A port, and the device file that it means now.
pub(super) fn meant(port: &PortConfig) -> Option<(String, PathBuf)> {
    if port.kind != PortKind::Serial {
        return None;
    }
    Some((port.name.to_string(), real(&plugged::resolve(port).ok()?)))
}

pub(super) fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn adapter_json(adapter: &Adapter, all: &[Adapter], meant: &[(String, PathBuf)]) -> Json {
    let usb = adapter.usb.as_ref();
    let path = real(Path::new(&adapter.path));
    let users = meant.iter().filter(|(_, other)| *other == path).map(|(name, _)| name.as_str());
    json!({
        "path": adapter.path,
        "driver": adapter.driver,
        "by_id": adapter.by_id,
        "vid_pid": usb.map(|usb| &usb.vid_pid),
        "serial": usb.and_then(|usb| usb.serial.as_ref()),
        "maker": usb.and_then(|usb| usb.maker.as_ref()),
        "product": usb.and_then(|usb| usb.product.as_ref()),
        "used_by": users.collect::<Vec<_>>(),
        "config": adapter.config_line(all),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_told_with_the_ports_that_mean_it() {
        let adapter = Adapter {
            path: "/dev/null".into(),
            driver: Some("ftdi_sio".into()),
            usb: None,
            by_id: None,
            by_path: None,
        };
        let meant = [("a".to_owned(), "/dev/null".into()), ("b".to_owned(), "/dev/zero".into())];
        let told = adapter_json(&adapter, std::slice::from_ref(&adapter), &meant);
        assert_eq!((&told["used_by"], &told["driver"]), (&json!(["a"]), &json!("ftdi_sio")));
        assert!(told["config"].as_str().unwrap().contains("/dev/null"), "{told}");
    }
}
