//! Which running gateway a command asks, and how its answer is to be printed.

use std::path::{Path, PathBuf};

use super::DEFAULT_CONFIG;
use crate::config::{self, Source};
use crate::io::files;

/// Where a gateway is asked whose config says nothing else.
pub(super) const DEFAULT_SOCKET: &str = "/run/fieldgate/control.sock";

/// The arguments that all commands have in common which ask a running gateway.
#[derive(Debug, clap::Args)]
pub struct Running {
    /// The config file that names the control socket; it may be broken.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The control socket itself.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long)]
    pub(super) json: bool,
}

impl Running {
    /// The config file.
    pub(super) fn config_file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_CONFIG))
    }

    /// The control socket that is named, or that of the config.
    ///
    /// # Errors
    /// In words, if the config that is named can't be read.
    pub(super) fn control_socket(&self) -> Result<PathBuf, String> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        // A gateway that runs must be reached with a broken config too.
        let sources = self.sources()?;
        Ok(config::control_socket(&sources).unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET)))
    }

    /// The files of the config that is named, or of the usual one; none without either.
    ///
    /// # Errors
    /// As above.
    pub(super) fn sources(&self) -> Result<Vec<Source>, String> {
        match &self.config {
            Some(config) => files::config_sources(config),
            None => Ok(files::config_sources(Path::new(DEFAULT_CONFIG)).unwrap_or_default()),
        }
    }

    /// The config that is named.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}
