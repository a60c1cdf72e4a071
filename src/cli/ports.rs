//! `fieldgate ports`: the serial lines that are plugged in, who uses them, and what to write into the config.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

use super::style::{Style, Tone};
use super::{DEFAULT_CONFIG, check, complain, say};
use crate::io::plugged;
use crate::sensor::{Adapter, PortConfig};

/// Arguments of `fieldgate ports`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config whose ports are looked for.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Exit code 0; 2 if the config that is named is wrong; 3 if one of its ports isn't there, or several match.
pub fn execute(args: &Args) -> ExitCode {
    let ports = match configured(args.config.as_deref()) {
        Ok(ports) => ports,
        Err(error) => {
            complain(error);
            return ExitCode::from(2);
        }
    };
    let adapters = plugged::plugged();
    let found: Vec<(&PortConfig, Result<PathBuf, String>)> =
        ports.iter().map(|port| (port, there(port))).collect();
    if args.json {
        say(format_args!("{:#}", as_json(&adapters, &found)));
    } else {
        show(&adapters, &found);
    }
    if found.iter().any(|(_, found)| found.is_err()) { ExitCode::from(3) } else { ExitCode::SUCCESS }
}

/// The ports of the config; none where there is none in the usual place.
fn configured(config: Option<&Path>) -> Result<Vec<PortConfig>, String> {
    match config {
        Some(config) => Ok(check::load(config)?.ports),
        None if !Path::new(DEFAULT_CONFIG).exists() => Ok(Vec::new()),
        None => Ok(check::load(Path::new(DEFAULT_CONFIG))?.ports),
    }
}

/// The device file that a port means, if it is there.
fn there(port: &PortConfig) -> Result<PathBuf, String> {
    let path = plugged::resolve(port)?;
    std::fs::canonicalize(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The ports that use an adapter.
fn users<'a>(adapter: &Adapter, found: &[(&'a PortConfig, Result<PathBuf, String>)]) -> Vec<&'a str> {
    let real = std::fs::canonicalize(&adapter.path).unwrap_or_else(|_| PathBuf::from(&adapter.path));
    let uses = |found: &Result<PathBuf, String>| found.as_ref().is_ok_and(|path| *path == real);
    found.iter().filter(|(_, found)| uses(found)).map(|(port, _)| &*port.name).collect()
}

fn as_json(adapters: &[Adapter], found: &[(&PortConfig, Result<PathBuf, String>)]) -> serde_json::Value {
    let plugged: Vec<_> = adapters
        .iter()
        .map(|adapter| {
            let usb = adapter.usb.as_ref();
            json!({
                "path": adapter.path,
                "driver": adapter.driver,
                "by_id": adapter.by_id,
                "by_path": adapter.by_path,
                "vid_pid": usb.map(|usb| &usb.vid_pid),
                "interface": usb.and_then(|usb| usb.interface),
                "serial": usb.and_then(|usb| usb.serial.as_ref()),
                "maker": usb.and_then(|usb| usb.maker.as_ref()),
                "product": usb.and_then(|usb| usb.product.as_ref()),
                "used_by": users(adapter, found),
                "config": adapter.config_line(adapters),
            })
        })
        .collect();
    let ports: Vec<_> = found
        .iter()
        .map(|(port, found)| {
            json!({
                "name": &*port.name,
                "wanted": port.path,
                "path": found.as_ref().ok().map(|path| path.display().to_string()),
                "error": found.as_ref().err(),
            })
        })
        .collect();
    json!({ "plugged": plugged, "ports": ports })
}

fn show(adapters: &[Adapter], found: &[(&PortConfig, Result<PathBuf, String>)]) {
    let style = Style::of_stdout();
    if adapters.is_empty() {
        say("no serial line is plugged in");
    }
    for adapter in adapters {
        let used = match users(adapter, found).as_slice() {
            [] => style.paint(Tone::Doubtful, "used by no port"),
            names => style.paint(Tone::Good, &format!("used by {}", names.join(", "))),
        };
        let driver = adapter.driver.as_deref().unwrap_or("no driver");
        say(format_args!("{}  {driver}  {used}", style.paint(Tone::Strong, &adapter.path)));
        if let Some(usb) = &adapter.usb {
            let words = [usb.maker.as_deref(), usb.product.as_deref()];
            let words: Vec<&str> = words.into_iter().flatten().collect();
            let interface = usb.interface.map(|number| format!("  interface {number}")).unwrap_or_default();
            let serial = usb
                .serial
                .as_deref()
                .map_or_else(|| "  no serial number".to_owned(), |serial| format!("  serial {serial}"));
            say(format_args!("  usb {}{interface}{serial}  {}", usb.vid_pid, words.join(" ")));
        }
        for link in [&adapter.by_id, &adapter.by_path].into_iter().flatten() {
            say(format_args!("  {}", style.paint(Tone::Faint, link)));
        }
        say(format_args!("  [[port]]  {}", adapter.config_line(adapters)));
    }
    for (port, found) in found {
        if let Err(error) = found {
            say(format_args!("{} {}", style.paint(Tone::Bad, &format!("port {}:", port.name)), error));
        }
    }
}
