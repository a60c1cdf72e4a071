//! One serial port's task: opens the line, feeds its bytes to the port machine, passes the readings on.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::MissedTickBehavior;
use tokio_serial::{SerialPort, SerialPortBuilderExt, SerialStream};
use tracing::{info, warn};

use super::plugged::{self, Identity};
use super::source::Common;
use super::trace::Direction;
use crate::sensor::{DataBits, FlowControl, Input, Notice, Output, Parity, Port, PortConfig, StopBits};

/// A serial line gives at most this much in one read; more takes another turn.
const READ_BYTES: usize = 4 * 1024;

/// How often a look is taken whether the port is still there, or again: so it is closed and opened within a second.
const LOOK: Duration = Duration::from_millis(500);

/// What the task is started with.
#[derive(Debug)]
pub struct Setup {
    /// The line.
    pub config: PortConfig,
    /// The machine. Never borrowed across an await.
    pub machine: Rc<RefCell<Port>>,
    /// What the task of each source has.
    pub common: Common,
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
    let mut seen: Option<Identity> = None;
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        carry_out(setup, &mut stream, &mut seen);
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
            _ = look.tick() => look_around(setup, &mut stream, &mut seen),
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Looks whether the port is still what was opened, or is there again. `seen` is what was opened, or was there at the last
/// look.
fn look_around(setup: &Setup, stream: &mut Option<SerialStream>, seen: &mut Option<Identity>) {
    let here = match plugged::resolve(&setup.config) {
        Ok(path) => plugged::identity(&path),
        // A second one that matches says nothing about the first, which is open.
        Err(_) if stream.is_some() && seen.as_ref().is_some_and(Identity::is_still_there) => return,
        Err(_) => None,
    };
    let is_as_before = match (&here, &*seen) {
        (Some(here), Some(opened)) if stream.is_some() => here.is_same_device(opened),
        (here, seen) => here == seen,
    };
    if is_as_before {
        return;
    }
    *seen = here;
    match (stream.is_some(), seen.is_some()) {
        (true, true) => lose(setup, stream, "the port is gone: another has its name"),
        (true, false) => lose(setup, stream, "the port is gone"),
        (false, _) => {}
    }
    if seen.is_some() {
        input(setup, Input::Appeared);
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
    let now = setup.common.clock.now();
    let (traces, port) = (&setup.common.traces, &*setup.config.name);
    match input {
        Input::Bytes(bytes) => traces.bytes(port, now.wall, Direction::In, bytes),
        Input::Opened => traces.opened(port, now.wall),
        Input::Lost { error } | Input::OpenFailed { error } => traces.down(port, now.wall, error),
        Input::Appeared | Input::Tick => {}
    }
    setup.machine.borrow_mut().handle(now, input);
}

fn lose(setup: &Setup, stream: &mut Option<SerialStream>, error: &str) {
    // Closed at once, so that the adapter can come back under its own name.
    *stream = None;
    input(setup, Input::Lost { error });
}

fn carry_out(setup: &Setup, stream: &mut Option<SerialStream>, seen: &mut Option<Identity>) {
    loop {
        let output = setup.machine.borrow_mut().poll_output();
        match output {
            None => return,
            Some(Output::Open) => match open(&setup.config) {
                Ok((opened, identity)) => {
                    *seen = identity;
                    *stream = Some(opened);
                    input(setup, Input::Opened);
                }
                Err(error) => input(setup, Input::OpenFailed { error: &error }),
            },
            Some(Output::Reading(reading)) => setup.common.give(reading),
            Some(Output::Notice(notice)) => {
                if let Notice::DeviceStale { device } = &notice {
                    setup.common.readings.stale(device);
                }
                log(&setup.config, &notice);
                setup.common.changed.notify_one();
            }
        }
    }
}

/// Opens the port; tells what stood under its name just before.
pub(super) fn open(config: &PortConfig) -> Result<(SerialStream, Option<Identity>), String> {
    let path = plugged::resolve(config)?;
    let identity = plugged::identity(&path);
    let path = path.display().to_string();
    let mut stream = tokio_serial::new(&path, config.baud)
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
        .map_err(|error| open_words(&path, &error))?;
    if let Some(level) = config.dtr {
        stream.write_data_terminal_ready(level).map_err(|error| format!("{path}: can't set DTR: {error}"))?;
    }
    if let Some(level) = config.rts {
        stream.write_request_to_send(level).map_err(|error| format!("{path}: can't set RTS: {error}"))?;
    }
    Ok((stream, identity))
}

fn open_words(path: &str, error: &tokio_serial::Error) -> String {
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
