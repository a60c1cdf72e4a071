//! `fieldgate ports`: the serial lines that are plugged in, who uses them, and what to write into the config.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::running::Running;
use super::status::word;
use super::style::{Style, Tone};
use super::{DEFAULT_CONFIG, check, complain, say};
use crate::io::holders::{self, Holder};
use crate::io::{control, plugged};
use crate::sensor::{Adapter, PortConfig, PortKind};

/// Arguments of `fieldgate ports`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The config whose ports are looked for, and the gateway that may run with it.
    #[command(flatten)]
    running: Running,
}

/// A port of the config, with the device file that it means.
type Found<'a> = (&'a PortConfig, Result<PathBuf, String>);

/// What is known.
struct Known<'a> {
    adapters: Vec<Adapter>,
    found: Vec<Found<'a>>,
    /// The ports of the running gateway; `None`: none answers.
    gateway: Option<Vec<Json>>,
    /// Who has the adapters open, as far as this user may know.
    holders: Vec<Holder>,
}

/// Exit code 0; 2 if the config that is named is wrong; 3 if one of its ports isn't there, or several match.
pub fn execute(args: &Args) -> ExitCode {
    let ports = match configured(args.running.config()) {
        Ok(ports) => ports,
        Err(error) => {
            complain(error);
            return ExitCode::from(2);
        }
    };
    let status = args.running.control_socket().and_then(|socket| control::ask(&socket, "status")).ok();
    let list = |status: &Json| status.get("ports").and_then(Json::as_array).cloned().unwrap_or_default();
    let adapters = plugged::plugged();
    let holders = holders::of(&adapters.iter().map(real).collect::<Vec<_>>());
    let known = Known {
        found: ports.iter().map(|port| (port, there(port))).collect(),
        gateway: status.as_ref().map(list),
        holders,
        adapters,
    };
    if args.running.json {
        say(format_args!("{:#}", known.as_json()));
    } else {
        known.show();
    }
    if known.found.iter().any(|(_, found)| found.is_err()) { ExitCode::from(3) } else { ExitCode::SUCCESS }
}

/// The ports of the config; none where there is none in the usual place.
fn configured(config: Option<&Path>) -> Result<Vec<PortConfig>, String> {
    match config {
        Some(config) => Ok(check::load(config)?.ports),
        None if !Path::new(DEFAULT_CONFIG).exists() => Ok(Vec::new()),
        None => Ok(check::load(Path::new(DEFAULT_CONFIG))?.ports),
    }
}

/// The device file that a port means, if it is there. Over TCP there is none.
fn there(port: &PortConfig) -> Result<PathBuf, String> {
    if port.kind == PortKind::Tcp {
        return Ok(PathBuf::from(&port.path));
    }
    let path = plugged::resolve(port)?;
    std::fs::canonicalize(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn real(adapter: &Adapter) -> PathBuf {
    std::fs::canonicalize(&adapter.path).unwrap_or_else(|_| PathBuf::from(&adapter.path))
}

impl Known<'_> {
    /// The ports that use an adapter.
    fn users(&self, adapter: &Adapter) -> Vec<&str> {
        let real = real(adapter);
        let uses = |found: &Result<PathBuf, String>| found.as_ref().is_ok_and(|path| *path == real);
        self.found.iter().filter(|(_, found)| uses(found)).map(|(port, _)| &*port.name).collect()
    }

    fn held_by(&self, adapter: &Adapter) -> impl Iterator<Item = &Holder> {
        let real = real(adapter);
        self.holders.iter().filter(move |holder| holder.path == real)
    }

    /// What the running gateway does with a port: "open", "down", "borrowed by a scan".
    fn state(&self, port: &str) -> Option<String> {
        let port = self.gateway.iter().flatten().find(|found| word(found, "name") == port)?;
        let (state, error) = (word(port, "state"), word(port, "error"));
        Some(match state {
            "borrowed" => error.to_owned(),
            "down" => format!("down: {error}"),
            _ => state.to_owned(),
        })
    }

    fn as_json(&self) -> Json {
        let plugged: Vec<_> = self
            .adapters
            .iter()
            .map(|adapter| {
                let usb = adapter.usb.as_ref();
                let holders = self.held_by(adapter);
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
                    "used_by": self.users(adapter),
                    "open_in": holders.map(|holder| json!({"pid": holder.pid, "name": holder.name})).collect::<Vec<_>>(),
                    "config": adapter.config_line(&self.adapters),
                })
            })
            .collect();
        let ports: Vec<_> = self
            .found
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
        json!({ "plugged": plugged, "ports": ports, "gateway": self.gateway })
    }

    fn show(&self) {
        let style = Style::of_stdout();
        if self.adapters.is_empty() {
            say("no serial line is plugged in");
        }
        for adapter in &self.adapters {
            let used = match self.users(adapter).as_slice() {
                [] => style.paint(Tone::Doubtful, "used by no port"),
                names => style.paint(Tone::Good, &format!("used by {}", names.join(", "))),
            };
            let driver = adapter.driver.as_deref().unwrap_or("no driver");
            say(format_args!("{}  {driver}  {used}", style.paint(Tone::Strong, &adapter.path)));
            for Holder { pid, name, .. } in self.held_by(adapter) {
                say(style.paint(Tone::Doubtful, &format!("  open in {name}, process {pid}")));
            }
            show_usb(adapter, style);
            say(format_args!("  [[port]]  {}", adapter.config_line(&self.adapters)));
        }
        for (port, found) in &self.found {
            let name = format!("port {}:", port.name);
            match (found, self.state(&port.name)) {
                (Err(error), _) => say(format_args!("{} {error}", style.paint(Tone::Bad, &name))),
                (Ok(path), Some(state)) => {
                    let tone = if state == "open" { Tone::Good } else { Tone::Doubtful };
                    let name = style.paint(tone, &name);
                    say(format_args!("{name} {}, {state} in the running gateway", path.display()));
                }
                // Nobody has it; where it is stands above.
                (Ok(_), None) => {}
            }
        }
    }
}

fn show_usb(adapter: &Adapter, style: Style) {
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
}
