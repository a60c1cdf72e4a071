//! A Modbus TCP server with one simulated device.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::io::clock::Clock;
use crate::sensor::Asked;

/// Clients at a time; a further one is refused.
const CLIENTS_MAX: usize = 16;

/// How long a client may take to take its answer.
const SEND_MAX: Duration = Duration::from_secs(1);

/// How often it is looked whether it has said enough.
const LOOK: Duration = Duration::from_millis(500);

/// The server.
pub(super) struct Server {
    listener: TcpListener,
    clients: BTreeMap<u64, TcpStream>,
    next: u64,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// In words.
    pub(super) fn listen(address: SocketAddr) -> Result<Self, String> {
        let wrong = |error: std::io::Error| format!("can't listen on {address}: {error}");
        let listener = TcpListener::bind(address).map_err(wrong)?;
        listener.set_nonblocking(true).map_err(wrong)?;
        Ok(Self { listener, clients: BTreeMap::new(), next: 0 })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// In words.
    pub(super) fn address(&self) -> Result<SocketAddr, String> {
        self.listener.local_addr().map_err(|error| format!("can't listen: {error}"))
    }

    /// Answers until it has answered so often.
    ///
    /// # Errors
    /// In words.
    pub(super) fn serve(
        &mut self,
        clock: &Clock,
        asked: &mut Asked,
        count: Option<u64>,
    ) -> Result<(), String> {
        loop {
            let now = clock.now();
            while let Some((line, bytes)) = asked.poll(now.mono) {
                let sent = self.clients.get_mut(&line).map(|client| client.write_all(&bytes));
                if sent.is_some_and(|sent| sent.is_err()) {
                    self.close(line, asked);
                }
            }
            if count.is_some_and(|count| asked.answers() >= count) && asked.deadline().is_none() {
                return Ok(());
            }
            let patience = asked.deadline().map_or(LOOK, |due| due.since(now.mono).min(LOOK));
            for line in self.ready(patience)? {
                self.read(line, clock, asked)?;
            }
            self.accept();
        }
    }

    /// Those clients that have said something, or are gone.
    fn ready(&self, patience: Duration) -> Result<Vec<u64>, String> {
        let patience = Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut fds: Vec<PollFd<'_>> =
            self.clients.values().map(|client| PollFd::new(client, PollFlags::IN)).collect();
        fds.push(PollFd::new(&self.listener, PollFlags::IN));
        match poll(&mut fds, Some(&patience)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(format!("can't wait for requests: {error}")),
        }
        let ready = self.clients.keys().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|(line, _)| *line).collect())
    }

    fn read(&mut self, line: u64, clock: &Clock, asked: &mut Asked) -> Result<(), String> {
        let Some(client) = self.clients.get_mut(&line) else { return Ok(()) };
        let mut bytes = [0; 512];
        match client.read(&mut bytes) {
            Ok(0) => self.close(line, asked),
            Ok(read) => {
                let bytes = bytes.get(..read).unwrap_or_default();
                asked.push(clock.now(), line, bytes).map_err(|error| error.to_string())?;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.close(line, asked),
        }
        Ok(())
    }

    fn accept(&mut self) {
        while let Ok((client, _)) = self.listener.accept() {
            // Who can't be told apart from a dead one is none.
            let is_ready = client.set_nonblocking(false).is_ok()
                && client.set_write_timeout(Some(SEND_MAX)).is_ok()
                && client.set_nodelay(true).is_ok();
            if is_ready && self.clients.len() < CLIENTS_MAX {
                self.clients.insert(self.next, client);
                self.next = self.next.wrapping_add(1);
            }
        }
    }

    fn close(&mut self, line: u64, asked: &mut Asked) {
        self.clients.remove(&line);
        asked.closed(line);
    }
}
