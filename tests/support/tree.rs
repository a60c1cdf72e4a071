//! Adapters that are plugged in and out: a folder in the places of /sys and /dev.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::Pty;

/// A tree as /sys and /dev, with pseudo-terminals as adapters.
pub struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["dev/serial/by-id", "dev/serial/by-path", "sys/class/tty", "sys/drivers/ftdi_sio"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        Self { dir }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn plug(&self, name: &str, serial: &str, pty: &Pty) -> PathBuf {
        let device = self.root().join(format!("sys/devices/usb1/1-{name}"));
        let interface = device.join("1-1:1.0");
        let tty = interface.join(name).join("tty").join(name);
        fs::create_dir_all(&tty).unwrap();
        let facts = [
            ("idVendor", "0403"),
            ("idProduct", "6001"),
            ("serial", serial),
            ("manufacturer", "FTDI"),
            ("product", "FT232R USB UART"),
        ];
        for (fact, text) in facts {
            fs::write(device.join(fact), format!("{text}\n")).unwrap();
        }
        fs::write(interface.join("bInterfaceNumber"), "00\n").unwrap();
        symlink(self.root().join("sys/drivers/ftdi_sio"), interface.join(name).join("driver")).unwrap();
        symlink(interface.join(name), tty.join("device")).unwrap();
        symlink(pty.path(), self.root().join("dev").join(name)).unwrap();
        symlink(&tty, self.root().join("sys/class/tty").join(name)).unwrap();
        let by_id = self.root().join(format!("dev/serial/by-id/usb-FTDI_{serial}-if00"));
        symlink(self.root().join("dev").join(name), by_id).unwrap();
        self.root().join("dev").join(name)
    }

    pub fn unplug(&self, name: &str, serial: &str) {
        fs::remove_file(self.root().join("sys/class/tty").join(name)).unwrap();
        fs::remove_dir_all(self.root().join(format!("sys/devices/usb1/1-{name}"))).unwrap();
        fs::remove_file(self.root().join(format!("dev/serial/by-id/usb-FTDI_{serial}-if00"))).unwrap();
        fs::remove_file(self.root().join("dev").join(name)).unwrap();
    }
}
