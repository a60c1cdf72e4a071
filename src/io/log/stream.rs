//! stderr and stdout as destinations.

use std::io::{IsTerminal, Write};

use super::line::{Line, Style};
use super::worker::Destination;
use crate::config::{LogFormat, LogTime};

/// A standard stream.
#[derive(Debug)]
pub(super) struct Stream {
    is_stderr: bool,
    colour: bool,
    style: Style,
}

impl Stream {
    /// Without time where journald, which reads it, adds its own.
    pub(super) fn stderr(mut style: Style) -> Self {
        if style.format == LogFormat::Text && std::env::var_os("JOURNAL_STREAM").is_some() {
            style.time = LogTime::None;
        }
        Self { is_stderr: true, colour: std::io::stderr().is_terminal(), style }
    }

    pub(super) fn stdout(style: Style) -> Self {
        Self { is_stderr: false, colour: std::io::stdout().is_terminal(), style }
    }
}

impl Destination for Stream {
    fn write(&mut self, line: &Line) -> Result<(), String> {
        let mut text = line.render(&self.style, self.colour);
        text.push('\n');
        let written = if self.is_stderr {
            std::io::stderr().write_all(text.as_bytes())
        } else {
            let mut stdout = std::io::stdout();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        };
        written.map_err(|error| error.to_string())
    }
}
