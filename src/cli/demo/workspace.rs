//! The demo's own folder: the config, the log, the control socket and the store. Removed at the end.

use std::fmt::Write as _;
use std::fs::{DirBuilder, File};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing_subscriber::filter::LevelFilter;

use super::pulses;
use super::sensors::Line;

/// The longest path of the folder: what is left of the 108 bytes that a Unix socket's address has (unix(7)).
const PATH_BYTES_MAX: usize = 80;

/// A folder of our own.
#[derive(Debug)]
pub(super) struct Workspace {
    path: PathBuf,
    keep: bool,
}

impl Workspace {
    /// Makes a folder that only this user can read.
    ///
    /// # Errors
    /// In words.
    pub(super) fn create(keep: bool) -> Result<Self, String> {
        let mut parent = std::env::temp_dir();
        if parent.as_os_str().len() + 32 > PATH_BYTES_MAX {
            parent = PathBuf::from("/tmp");
        }
        let path = parent.join(format!("fieldgate-demo-{:08x}", fastrand::u32(..)));
        // Fails if it exists, be it as a link laid by someone else.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| format!("can't make a folder {}: {error}; set TMPDIR to one", path.display()))?;
        Ok(Self { path, keep })
    }

    /// Leaves it there at the end.
    pub(super) fn keep(&mut self) {
        self.keep = true;
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The log of gateway and upstream broker.
    pub(super) fn log_path(&self) -> PathBuf {
        self.path.join("fieldgate.log")
    }

    /// Where the gateway answers.
    pub(super) fn socket_path(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Sends the logs of this process to the file.
    ///
    /// # Errors
    /// In words.
    pub(super) fn start_log(&self) -> Result<(), String> {
        let path = self.log_path();
        let file = File::create(&path).map_err(|error| format!("can't write {}: {error}", path.display()))?;
        let log = tracing_subscriber::fmt().with_max_level(LevelFilter::INFO).with_target(false);
        log.with_ansi(false)
            .with_writer(Arc::new(file))
            .try_init()
            .map_err(|error| format!("can't start the log: {error}"))
    }

    /// Writes the config file for these lines and returns its path.
    ///
    /// # Errors
    /// In words.
    pub(super) fn write_config(
        &self,
        lines: &[Line],
        listener: SocketAddr,
        upstream: SocketAddr,
    ) -> Result<PathBuf, String> {
        let path = self.path.join("fieldgate.toml");
        let text = self.config(lines, listener, upstream);
        std::fs::write(&path, text).map_err(|error| format!("can't write {}: {error}", path.display()))?;
        Ok(path)
    }

    fn config(&self, lines: &[Line], listener: SocketAddr, upstream: SocketAddr) -> String {
        let data_dir = quoted(&self.path.join("data").to_string_lossy());
        let socket = quoted(&self.socket_path().to_string_lossy());
        let mut text = format!(
            "# Written by `fieldgate demo`.\n\n\
             [web]\nenabled = false\n\n[gateway]\nid = \"demo\"\nsite = \"fieldgate demo\"\ndata_dir = {data_dir}\ncontrol_socket = {socket}\n"
        );
        for line in lines {
            let name = quoted(line.sensor.name);
            // Writing to a String can't fail.
            let _ = write!(
                text,
                "\n# {what}\n[[port]]\nname = {name}\npath = {path}\nbaud = {baud}\n\n\
                 [[device]]\nname = {name}\nport = {name}\n{device}",
                what = line.sensor.what,
                path = quoted(&line.path),
                baud = line.sensor.baud,
                device = line.sensor.device,
            );
        }
        let _ = write!(text, "\n# {}\n[[gpio]]\n{}", pulses::WHAT, pulses::CONFIG);
        let _ = write!(
            text,
            "\n[[broker.listener]]\nbind = \"{listener}\"\n\n\
             [[upstream]]\nname = \"upstream\"\nhost = \"{}\"\nport = {}\n\
             # Shorter waits than in the field, so that a person sees the link come back.\n\
             backoff_min = \"250ms\"\nbackoff_max = \"2s\"\n",
            upstream.ip(),
            upstream.port()
        );
        text
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if !self.keep {
            // A folder that can't be removed is the temp cleaner's.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A TOML basic string: JSON's escapes are a subset of its own (TOML 1.0, String).
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
