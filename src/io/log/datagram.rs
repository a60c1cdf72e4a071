//! syslog and journald as destinations: one datagram a line, to a socket of this machine.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::line::{Line, Value};
use super::worker::Destination;
use crate::config::LogSyslog;

/// How both know us.
const IDENTIFIER: &str = "fieldgate";

/// A socket that is connected when it is needed.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    open: Option<UnixDatagram>,
}

impl Socket {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None }
    }

    /// Sends; a daemon that was restarted has a new socket, so the second try is on a new one.
    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        if let Some(socket) = &self.open
            && socket.send(bytes).is_ok()
        {
            return Ok(());
        }
        self.open = None;
        let socket = self.connected().and_then(|socket| socket.send(bytes).map(|_| socket));
        let socket = socket.map_err(|error| format!("{}: {error}", self.path.display()))?;
        self.open = Some(socket);
        Ok(())
    }

    fn connected(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.path)?;
        // A daemon that doesn't read must not hold up the end of the gateway.
        socket.set_write_timeout(Some(std::time::Duration::from_millis(500)))?;
        Ok(socket)
    }
}

/// The local syslog daemon, as RFC 3164 has it: priority, local time, tag. The daemon adds the host.
#[derive(Debug)]
pub(super) struct Syslog {
    socket: Socket,
    facility: u8,
}

impl Syslog {
    pub(super) fn new(config: &LogSyslog) -> Self {
        Self { socket: Socket::new(&config.socket), facility: config.facility }
    }
}

impl Destination for Syslog {
    fn write(&mut self, line: &Line) -> Result<(), String> {
        let priority = u16::from(self.facility) * 8 + u16::from(line.severity());
        // RFC 3164, 4.1.2: the day is padded with a space.
        let time = line.at.to_zoned(TimeZone::system()).strftime("%b %e %H:%M:%S");
        let text = format!("<{priority}>{time} {IDENTIFIER}[{}]: {}", std::process::id(), line.words());
        self.socket.send(text.as_bytes())
    }

    fn reopen(&mut self) {
        self.socket.open = None;
    }
}

/// journald by its native protocol: each field of a line is a field of the journal, `FIELDGATE_CLIENT_ID` and so on.
#[derive(Debug)]
pub(super) struct Journal {
    socket: Socket,
}

impl Journal {
    pub(super) fn new(path: &Path) -> Self {
        Self { socket: Socket::new(path) }
    }
}

impl Destination for Journal {
    fn write(&mut self, line: &Line) -> Result<(), String> {
        let mut bytes = Vec::new();
        field(&mut bytes, "MESSAGE", &line.words());
        field(&mut bytes, "PRIORITY", &line.severity().to_string());
        field(&mut bytes, "SYSLOG_IDENTIFIER", IDENTIFIER);
        field(&mut bytes, "FIELDGATE_SUBSYSTEM", line.subsystem);
        if let Some(event) = line.event {
            field(&mut bytes, "FIELDGATE_EVENT", event);
        }
        for (name, value) in &line.fields {
            let text = match value {
                Value::Text(text) | Value::Shown(text) => text.clone(),
                Value::Plain(value) => value.to_string(),
            };
            // Names are ours: letters, digits and underscores.
            field(&mut bytes, &format!("FIELDGATE_{}", name.to_ascii_uppercase()), &text);
        }
        self.socket.send(&bytes)
    }

    fn reopen(&mut self) {
        self.socket.open = None;
    }
}

/// `NAME=value`, or with a length where the value has more than one line.
fn field(bytes: &mut Vec<u8>, name: &str, value: &str) {
    bytes.extend(name.as_bytes());
    if value.contains('\n') {
        bytes.push(b'\n');
        bytes.extend(u64::try_from(value.len()).unwrap_or(0).to_le_bytes());
    } else {
        bytes.push(b'=');
    }
    bytes.extend(value.as_bytes());
    bytes.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_several_lines_carries_its_length() {
        let mut bytes = Vec::new();
        field(&mut bytes, "A", "x=y");
        field(&mut bytes, "B", "1\n2");
        assert_eq!(bytes, b"A=x=y\nB\n\x03\0\0\0\0\0\0\x001\n2\n");
    }
}
