//! What requests go over: a serial line, or a connection to a Modbus TCP server.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};

use super::plugged::Identity;
use super::rs485::{self, Switch};
use super::serial;
use crate::sensor::{PortConfig, PortKind};

/// A connection must stand within this.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A request of some bytes must be taken within this: a line that takes none is broken (flow control, a peer that hangs).
const WRITE_MAX: Duration = Duration::from_secs(1);

/// How often the driver is asked whether it has sent all.
const DRAIN_LOOK: Duration = Duration::from_millis(1);

/// What the bytes go through. Closed when dropped.
#[derive(Debug)]
pub(super) enum Line {
    /// A serial line, and who switches its transceiver.
    Serial(SerialStream, Switch),
    /// A connection.
    Tcp(TcpStream),
}

impl Line {
    /// Opens what a port means; tells of a serial line what stood under its name just before.
    pub(super) async fn open(config: &PortConfig) -> Result<(Self, Option<Identity>), String> {
        if config.kind == PortKind::Tcp {
            let address = &config.path;
            let connecting = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address));
            let stream = match connecting.await {
                Ok(connected) => connected.map_err(|error| format!("{address}: {error}"))?,
                Err(_) => return Err(format!("{address}: no connection within {CONNECT_MAX:?}")),
            };
            // A request is one small write, and the next one waits for its answer.
            stream.set_nodelay(true).map_err(|error| format!("{address}: {error}"))?;
            return Ok((Self::Tcp(stream), None));
        }
        let (switch, _held) = rs485::prepare(config)?;
        let (stream, identity) = serial::open(config)?;
        Ok((Self::Serial(stream, switch), identity))
    }

    /// Cancel safe: a read that is dropped has read nothing.
    pub(super) async fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Serial(stream, _) => stream.read(scratch).await,
            Self::Tcp(stream) => stream.read(scratch).await,
        }
    }

    /// Throws away what was received and nobody read, then writes a request.
    pub(super) async fn send(&mut self, config: &PortConfig, bytes: &[u8]) -> Result<(), String> {
        match tokio::time::timeout(WRITE_MAX, self.write(config, bytes)).await {
            Ok(written) => written.map_err(|error| format!("can't write: {error}")),
            Err(_) => Err("can't write: nothing is taken".to_owned()),
        }
    }

    /// Sets another rate, once the driver has sent what it was given: the machine has waited for as long as that takes, so
    /// there is hardly anything left to wait for.
    pub(super) async fn set_rate(&mut self, baud: u32) -> io::Result<()> {
        let Self::Serial(stream, _) = self else { return Ok(()) };
        let drained = async {
            while stream.bytes_to_write()? > 0 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
            io::Result::Ok(())
        };
        tokio::time::timeout(WRITE_MAX, drained).await??;
        Ok(stream.set_baud_rate(baud)?)
    }

    async fn write(&mut self, config: &PortConfig, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Serial(stream, switch) => {
                // What the kernel has received and nobody read is no answer to what is asked now.
                stream.clear(ClearBuffer::Input)?;
                switch.send(config, stream, bytes).await
            }
        }
    }
}
