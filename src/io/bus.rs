//! One polled port's task: opens the line or the connection, sends what the bus machine wants sent, feeds what comes.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};
use tracing::{info, warn};

use super::rs485::{self, Switch};
use super::serial;
use super::source::Common;
use super::trace::Direction;
use crate::sensor::bus::{Bus, Input, Notice, Output};
use crate::sensor::{self, PortConfig, PortKind};

/// An answer has at most 260 bytes; what is more takes another turn.
const READ_BYTES: usize = 1_024;

/// A connection must stand within this.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A request of some bytes must be taken within this: a line that takes none is broken (flow control, a peer that hangs).
const WRITE_MAX: Duration = Duration::from_secs(1);

/// What the task is started with.
#[derive(Debug)]
pub struct Setup {
    /// The line.
    pub config: PortConfig,
    /// The machine. Never borrowed across an await.
    pub machine: Rc<RefCell<Bus>>,
    /// What each sensor's task has.
    pub common: Common,
}

/// What the bytes go through.
#[derive(Debug)]
enum Line {
    Serial(SerialStream, Switch),
    Tcp(TcpStream),
}

/// Runs until the gateway stops.
pub async fn run(setup: Setup) {
    let panics = &setup.common.panics;
    while panics.catch_async("bus", pin!(serve(&setup))).await.is_none() {
        // The line was closed by it. The machine hears so, and opens it again.
        let lost = Input::Lost { error: "its work was cut short by a fault of this program" };
        panics.catch("bus", || input(&setup, lost));
        panics.pause().await;
    }
}

async fn serve(setup: &Setup) {
    let mut stop = setup.common.stop.clone();
    let mut line: Option<Line> = None;
    let mut scratch = [0; READ_BYTES];
    loop {
        // A request that is being written when the gateway stops need not be finished.
        tokio::select! {
            () = carry_out(setup, &mut line) => {}
            () = stopped(&mut stop) => return,
        }
        let now = setup.common.clock.now().mono;
        let deadline = setup.machine.borrow().next_deadline().map(|deadline| deadline.since(now));
        // All branches are cancel safe: a read that is dropped has read nothing.
        tokio::select! {
            result = read(line.as_mut(), &mut scratch), if line.is_some() => match result {
                // A line that was unplugged reads as an end of file, for ever.
                Ok(0) => lose(setup, &mut line, "the port is gone (end of file)"),
                Ok(bytes) => input(setup, Input::Bytes(scratch.get(..bytes).unwrap_or_default())),
                Err(error) => lose(setup, &mut line, &error.to_string()),
            },
            () = tokio::time::sleep(deadline.unwrap_or_default()), if deadline.is_some() => {
                input(setup, Input::Tick);
            }
            () = stopped(&mut stop) => return,
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone has nothing more to say: the gateway is ending.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn read(line: Option<&mut Line>, scratch: &mut [u8]) -> std::io::Result<usize> {
    match line {
        Some(Line::Serial(stream, _)) => stream.read(scratch).await,
        Some(Line::Tcp(stream)) => stream.read(scratch).await,
        None => std::future::pending().await,
    }
}

fn input(setup: &Setup, input: Input<'_>) {
    let now = setup.common.clock.now();
    let (traces, port) = (&setup.common.traces, &*setup.config.name);
    match input {
        Input::Bytes(bytes) => traces.bytes(port, now.wall, Direction::In, bytes),
        Input::Opened => traces.opened(port, now.wall),
        Input::Lost { error } | Input::OpenFailed { error } => traces.down(port, now.wall, error),
        Input::Tick => {}
    }
    setup.machine.borrow_mut().handle(now, input);
}

fn lose(setup: &Setup, line: &mut Option<Line>, error: &str) {
    // Closed at once, so that the adapter can come back under its own name.
    *line = None;
    input(setup, Input::Lost { error });
}

async fn carry_out(setup: &Setup, line: &mut Option<Line>) {
    loop {
        let output = setup.machine.borrow_mut().poll_output();
        match output {
            None => return,
            Some(Output::Open) => match open(&setup.config).await {
                Ok(opened) => {
                    *line = Some(opened);
                    input(setup, Input::Opened);
                }
                Err(error) => input(setup, Input::OpenFailed { error: &error }),
            },
            Some(Output::Close) => *line = None,
            Some(Output::Send(bytes)) => {
                let now = setup.common.clock.now().wall;
                setup.common.traces.bytes(&setup.config.name, now, Direction::Out, &bytes);
                let sent = match line.as_mut() {
                    Some(line) => tokio::time::timeout(WRITE_MAX, send(&setup.config, line, &bytes)).await,
                    None => Ok(Ok(())),
                };
                match sent {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => lose(setup, line, &format!("can't write: {error}")),
                    Err(_) => lose(setup, line, "can't write: nothing is taken"),
                }
            }
            Some(Output::Reading(reading)) => setup.common.readings.take(reading),
            Some(Output::Notice(notice)) => {
                if let Notice::Port(sensor::Notice::DeviceStale { device }) = &notice {
                    setup.common.readings.stale(device);
                }
                log(&setup.config, &notice);
                setup.common.changed.notify_one();
            }
            Some(Output::Written { token, result }) => match result {
                Ok(()) => info!(port = %setup.config.name, token, "written"),
                Err(error) => warn!(port = %setup.config.name, token, %error, "not written"),
            },
        }
    }
}

async fn open(config: &PortConfig) -> Result<Line, String> {
    if config.kind == PortKind::Tcp {
        let address = &config.path;
        let connecting = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address));
        let stream = match connecting.await {
            Ok(connected) => connected.map_err(|error| format!("{address}: {error}"))?,
            Err(_) => return Err(format!("{address}: no connection within {CONNECT_MAX:?}")),
        };
        // A request is one small write, and the next one waits for its answer.
        stream.set_nodelay(true).map_err(|error| format!("{address}: {error}"))?;
        return Ok(Line::Tcp(stream));
    }
    let (switch, _held) = rs485::prepare(config)?;
    let (stream, _) = serial::open(config)?;
    Ok(Line::Serial(stream, switch))
}

async fn send(config: &PortConfig, line: &mut Line, bytes: &[u8]) -> std::io::Result<()> {
    match line {
        Line::Tcp(stream) => stream.write_all(bytes).await,
        Line::Serial(stream, switch) => {
            // What the kernel has received and nobody read is no answer to what is asked now.
            stream.clear(ClearBuffer::Input)?;
            switch.send(config, stream, bytes).await
        }
    }
}

fn log(config: &PortConfig, notice: &Notice) {
    let port = &*config.name;
    match notice {
        Notice::Port(notice) => serial::log(config, notice),
        Notice::DeviceOffline { device, error, failed_cycles } => {
            warn!(port, device = %device, error, failed_cycles, "device is offline; it is asked seldom until it answers");
        }
        Notice::DeviceOnline { device, failed_cycles } => {
            info!(port, device = %device, failed_cycles, "device answers again");
        }
        Notice::PointsRefused { device, points, exception } => {
            let points = points.join(", ");
            warn!(port, device = %device, points, %exception, "the device refuses points; they read invalid");
        }
        Notice::Echo { device } => {
            info!(port, device = %device, "what is sent comes back before the answer; it is taken out");
        }
    }
}
