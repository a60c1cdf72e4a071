//! The serial lines that are plugged in, as /sys and /dev tell; and the device file that a port means now.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::glob;
use crate::sensor::{Adapter, PortConfig, PortKind, UsbFacts, UsbMatch};

/// Set, it is taken for the root of /sys and /dev: a tree made by hand, with pseudo-terminals in it.
const ROOT: &str = "FIELDGATE_SYS_ROOT";

/// What was seen is good for this long: many ports look, and looking takes a millisecond.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// The most of a file of /sys that is read.
const FACT_BYTES_MAX: usize = 256;

thread_local! {
    static SEEN: RefCell<Option<(Instant, Vec<Adapter>)>> = const { RefCell::new(None) };
}

/// What a port's device file is at the moment. Two that are equal are one device that stayed, with the rights that it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    path: PathBuf,
    inode: (u64, u64),
    device: u64,
    /// When its rights last changed, or it was made: numbers are used again.
    changed: (i64, i64),
}

impl Identity {
    /// Whether it is as it was.
    #[must_use]
    pub fn is_still_there(&self) -> bool {
        identity(&self.path).is_some_and(|now| now.is_same_device(self))
    }

    /// Whether both are one device, whatever rights it has meanwhile.
    #[must_use]
    pub fn is_same_device(&self, other: &Self) -> bool {
        (&self.path, self.inode, self.device) == (&other.path, other.inode, other.device)
    }
}

/// A look around, taken again and again: whether a port is still what was opened, or is there again.
#[derive(Debug, Default)]
pub struct Lookout {
    /// What was opened, or was there at the last look.
    seen: Option<Identity>,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What is open is not the port any more: it must be closed, for this reason.
    pub lost: Option<&'static str>,
    /// It is there, and wasn't before, or is another.
    pub appeared: bool,
}

impl Lookout {
    /// The port was opened; this stood under its name just before.
    pub fn opened(&mut self, identity: Option<Identity>) {
        self.seen = identity;
    }

    /// Takes a look.
    pub fn look(&mut self, config: &PortConfig, is_open: bool) -> Look {
        let here = match resolve(config) {
            Ok(path) => identity(&path),
            // A second one that matches says nothing about the first, which is open.
            Err(_) if is_open && self.seen.as_ref().is_some_and(Identity::is_still_there) => {
                return Look::default();
            }
            Err(_) => None,
        };
        let is_as_before = match (&here, &self.seen) {
            (Some(here), Some(opened)) if is_open => here.is_same_device(opened),
            (here, seen) => here == seen,
        };
        if is_as_before {
            return Look::default();
        }
        let appeared = here.is_some();
        self.seen = here;
        let gone = if appeared { "the port is gone: another has its name" } else { "the port is gone" };
        Look { lost: is_open.then_some(gone), appeared }
    }
}

/// Whether a port means this device file, under whatever name.
#[must_use]
pub fn means(port: &PortConfig, path: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    port.kind == PortKind::Serial && resolve(port).is_ok_and(|found| real(&found) == real(path))
}

/// The device file that a port means.
///
/// # Errors
/// In words: there is none, or several match.
pub fn resolve(config: &PortConfig) -> Result<PathBuf, String> {
    if let Some(wanted) = &config.usb {
        return by_usb(wanted);
    }
    if !config.path.contains(['*', '?']) {
        return Ok(PathBuf::from(&config.path));
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for file in glob::find(&config.path, 64)? {
        // Several links to one device are one.
        let real = fs::canonicalize(&file.path).unwrap_or_else(|_| PathBuf::from(&file.path));
        if !found.contains(&real) {
            found.push(real);
        }
    }
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            Err(format!("{}: no such port; is it plugged in? `fieldgate ports` shows what is", config.path))
        }
        several => {
            let names: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
            Err(format!(
                "{}: {} ports match: {}; `fieldgate ports` shows how they differ",
                config.path,
                several.len(),
                names.join(", ")
            ))
        }
    }
}

fn by_usb(wanted: &UsbMatch) -> Result<PathBuf, String> {
    SEEN.with_borrow_mut(|seen| {
        if seen.as_ref().is_none_or(|(when, _)| when.elapsed() >= LOOK_AGAIN) {
            *seen = Some((Instant::now(), plugged()));
        }
        let adapters = seen.as_ref().map(|(_, adapters)| adapters.as_slice()).unwrap_or_default();
        wanted.find(adapters).map(|adapter| PathBuf::from(&adapter.path)).map_err(|error| error.to_string())
    })
}

/// What stands under this path now; `None`: nothing.
#[must_use]
pub fn identity(path: &Path) -> Option<Identity> {
    let path = fs::canonicalize(path).ok()?;
    let facts = fs::metadata(&path).ok()?;
    Some(Identity {
        path,
        inode: (facts.dev(), facts.ino()),
        device: facts.rdev(),
        changed: (facts.ctime(), facts.ctime_nsec()),
    })
}

/// All serial lines that are there, in the order of their names.
#[must_use]
pub fn plugged() -> Vec<Adapter> {
    let root = std::env::var_os(ROOT).map_or_else(|| PathBuf::from("/"), PathBuf::from);
    plugged_below(&root)
}

fn plugged_below(root: &Path) -> Vec<Adapter> {
    let (by_id, by_path) = (links(&root.join("dev/serial/by-id")), links(&root.join("dev/serial/by-path")));
    let link = |links: &[(PathBuf, PathBuf)], device: &Path| {
        let found = links.iter().find(|(_, target)| target == device);
        found.map(|(link, _)| link.display().to_string())
    };
    let entries = fs::read_dir(root.join("sys/class/tty")).into_iter().flatten().flatten();
    let mut adapters: Vec<Adapter> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            // Terminals without hardware have none.
            let device = fs::canonicalize(entry.path().join("device")).ok()?;
            // A UART that the kernel made room for and that isn't there has the type 0.
            if fact(&entry.path().join("type")).is_some_and(|kind| kind == "0") {
                return None;
            }
            let path = root.join("dev").join(&name);
            let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
            let driver = fs::read_link(device.join("driver")).ok();
            let driver = driver.and_then(|driver| Some(driver.file_name()?.to_str()?.to_owned()));
            Some(Adapter {
                usb: usb(&device, root),
                by_id: link(&by_id, &real),
                by_path: link(&by_path, &real),
                path: path.display().to_string(),
                driver,
            })
        })
        .collect();
    adapters.sort_by(|one, other| (one.path.len(), &one.path).cmp(&(other.path.len(), &other.path)));
    adapters
}

/// The links of a folder, with what each leads to.
fn links(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut links: Vec<(PathBuf, PathBuf)> =
        entries.filter_map(|entry| Some((entry.path(), fs::canonicalize(entry.path()).ok()?))).collect();
    links.sort();
    links
}

/// What the USB device says to which this one belongs: it is a folder above.
fn usb(device: &Path, root: &Path) -> Option<UsbFacts> {
    let mut interface = None;
    for folder in device.ancestors().take_while(|folder| *folder != root) {
        if interface.is_none() {
            interface =
                fact(&folder.join("bInterfaceNumber")).and_then(|text| u8::from_str_radix(&text, 16).ok());
        }
        if let (Some(vendor), Some(product)) =
            (fact(&folder.join("idVendor")), fact(&folder.join("idProduct")))
        {
            return Some(UsbFacts {
                vid_pid: format!("{vendor}:{product}"),
                interface,
                serial: fact(&folder.join("serial")),
                maker: fact(&folder.join("manufacturer")),
                product: fact(&folder.join("product")),
            });
        }
    }
    None
}

/// What a file of /sys says.
fn fact(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(bytes.get(..FACT_BYTES_MAX).unwrap_or(&bytes)).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
