//! One serial port's task: opens the line, feeds its bytes to the port machine, passes the readings on.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, watch};
use tokio_serial::{SerialPort, SerialPortBuilderExt, SerialStream};
use tracing::{info, warn};

use super::clock::Clock;
use super::mailbox::Mailbox;
use super::panics::Panics;
use super::shard::ToBroker;
use crate::ingest;
use crate::reading::Reading;
use crate::sensor::{DataBits, FlowControl, Input, Notice, Output, Parity, Port, PortConfig, StopBits};
use crate::time::BootId;

/// A serial line gives at most this much in one read; more takes another turn.
const READ_BYTES: usize = 4 * 1024;

/// What the task is started with.
#[derive(Debug)]
pub struct Setup {
    /// The line.
    pub config: PortConfig,
    /// The machine. Never borrowed across an await.
    pub machine: Rc<RefCell<Port>>,
    /// What each sensor's task has.
    pub common: Common,
}

/// What each sensor's task has, whatever its line.
#[derive(Clone, Debug)]
pub struct Common {
    /// The gateway's base topic.
    pub base: Arc<str>,
    /// This boot.
    pub boot: BootId,
    /// To the broker thread.
    pub broker: Arc<Mailbox<ToBroker>>,
    /// The clocks.
    pub clock: Clock,
    /// Rung when health should be published soon.
    pub changed: Rc<Notify>,
    /// Turns true when the gateway stops.
    pub stop: watch::Receiver<bool>,
    /// Readings that the broker thread had no room for.
    pub dropped: Rc<std::cell::Cell<u64>>,
    /// Who catches panics.
    pub panics: Arc<Panics>,
}

impl Common {
    /// Hands a reading to the broker thread; counted if that has no room.
    pub(super) fn pass_on(&self, reading: Reading) {
        let message = ingest::message(&self.base, reading, self.boot, self.clock.now());
        let weight = message.payload.len() + message.topic.len() + 128;
        if self.broker.push(ToBroker::Local(message), weight).is_err() {
            self.dropped.set(self.dropped.get() + 1);
            self.changed.notify_one();
        }
    }
}

/// Runs until the gateway stops.
pub async fn run(setup: Setup) {
    while setup.common.panics.catch_async("port", pin!(serve(&setup))).await.is_none() {
        // The line was closed by it. The machine hears so, and opens it again.
        let lost = Input::Lost { error: "its work was cut short by a fault of this program" };
        setup.common.panics.catch("port", || input(&setup, lost));
        setup.common.panics.pause().await;
    }
}

async fn serve(setup: &Setup) {
    let mut stop = setup.common.stop.clone();
    let mut stream: Option<SerialStream> = None;
    let mut scratch = [0; READ_BYTES];
    loop {
        carry_out(setup, &mut stream);
        let now = setup.common.clock.now().mono;
        let deadline = setup.machine.borrow().next_deadline().map(|deadline| deadline.since(now));
        // All branches are cancel safe: a read that is dropped has read nothing.
        tokio::select! {
            result = read(stream.as_mut(), &mut scratch), if stream.is_some() => match result {
                // A line that was unplugged reads as an end of file, for ever.
                Ok(0) => lose(setup, &mut stream, "the port is gone (end of file)"),
                Ok(bytes) => input(setup, Input::Bytes(scratch.get(..bytes).unwrap_or_default())),
                Err(error) => lose(setup, &mut stream, &error.to_string()),
            },
            () = tokio::time::sleep(deadline.unwrap_or_default()), if deadline.is_some() => {
                input(setup, Input::Tick);
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn read(stream: Option<&mut SerialStream>, scratch: &mut [u8]) -> std::io::Result<usize> {
    match stream {
        Some(stream) => stream.read(scratch).await,
        None => std::future::pending().await,
    }
}

fn input(setup: &Setup, input: Input<'_>) {
    #[cfg(test)]
    if let Input::Bytes(bytes) = &input {
        crate::broker::broken::stub::strike(bytes, crate::broker::broken::stub::ON_LINE);
    }
    setup.machine.borrow_mut().handle(setup.common.clock.now(), input);
}

fn lose(setup: &Setup, stream: &mut Option<SerialStream>, error: &str) {
    // Closed at once, so that the adapter can come back under its own name.
    *stream = None;
    input(setup, Input::Lost { error });
}

fn carry_out(setup: &Setup, stream: &mut Option<SerialStream>) {
    loop {
        let output = setup.machine.borrow_mut().poll_output();
        match output {
            None => return,
            Some(Output::Open) => match open(&setup.config) {
                Ok(opened) => {
                    *stream = Some(opened);
                    input(setup, Input::Opened);
                }
                Err(error) => input(setup, Input::OpenFailed { error: &error }),
            },
            Some(Output::Reading(reading)) => setup.common.pass_on(reading),
            Some(Output::Notice(notice)) => {
                log(&setup.config, &notice);
                setup.common.changed.notify_one();
            }
        }
    }
}

pub(super) fn open(config: &PortConfig) -> Result<SerialStream, String> {
    let mut stream = tokio_serial::new(&config.path, config.baud)
        .data_bits(match config.data_bits {
            DataBits::Five => tokio_serial::DataBits::Five,
            DataBits::Six => tokio_serial::DataBits::Six,
            DataBits::Seven => tokio_serial::DataBits::Seven,
            DataBits::Eight => tokio_serial::DataBits::Eight,
        })
        .parity(match config.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Odd => tokio_serial::Parity::Odd,
            Parity::Even => tokio_serial::Parity::Even,
        })
        .stop_bits(match config.stop_bits {
            StopBits::One => tokio_serial::StopBits::One,
            StopBits::Two => tokio_serial::StopBits::Two,
        })
        .flow_control(match config.flow_control {
            FlowControl::None => tokio_serial::FlowControl::None,
            FlowControl::Software => tokio_serial::FlowControl::Software,
            FlowControl::Hardware => tokio_serial::FlowControl::Hardware,
        })
        .open_native_async()
        .map_err(|error| open_words(config, &error))?;
    let path = &config.path;
    if let Some(level) = config.dtr {
        stream.write_data_terminal_ready(level).map_err(|error| format!("{path}: can't set DTR: {error}"))?;
    }
    if let Some(level) = config.rts {
        stream.write_request_to_send(level).map_err(|error| format!("{path}: can't set RTS: {error}"))?;
    }
    Ok(stream)
}

fn open_words(config: &PortConfig, error: &tokio_serial::Error) -> String {
    let path = &config.path;
    match error.kind() {
        tokio_serial::ErrorKind::Io(std::io::ErrorKind::PermissionDenied) => {
            format!("{path}: permission denied; add the service's user to the port's group (dialout)")
        }
        tokio_serial::ErrorKind::NoDevice | tokio_serial::ErrorKind::Io(std::io::ErrorKind::NotFound) => {
            format!("{path}: no such port; is it plugged in? ls /dev/serial/by-id shows what is")
        }
        _ => format!("{path}: {error}"),
    }
}

pub(super) fn log(config: &PortConfig, notice: &Notice) {
    let port = &*config.name;
    match notice {
        Notice::PortOpened => info!(port, path = config.path, baud = config.baud, "port is open"),
        Notice::PortDown { error } => warn!(port, error, "port is down; trying again until it is back"),
        Notice::BadLines { source, error, sample } => {
            warn!(port, device = %source, error, sample, "a line can't be decoded; more are counted, not logged");
        }
        Notice::GoodAgain { source, bad } => info!(port, device = %source, bad, "lines are good again"),
        Notice::DeviceStale { device } => warn!(port, device = %device, "device is stale: no good line came"),
        Notice::DeviceFresh { device } => info!(port, device = %device, "device is back"),
    }
}
