//! One serial port's task: opens the line, feeds its bytes to the port machine, passes the readings on.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_serial::{SerialPort, SerialPortBuilderExt, SerialStream};
use tracing::{info, warn};

use super::borrow::Event;
use super::plugged::{self, Identity, Look, Lookout};
use super::source::Common;
use super::trace::Direction;
use crate::command::Command;
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

/// Runs until the gateway stops. `commands` are those to its devices.
pub async fn run(setup: Setup, mut commands: mpsc::UnboundedReceiver<Command>) {
    let serve = async || serve(&setup, &mut commands).await;
    setup.common.keep("port", serve, |lost| input(&setup, lost)).await;
}

async fn serve(setup: &Setup, commands: &mut mpsc::UnboundedReceiver<Command>) {
    let mut stop = setup.common.stop.clone();
    let mut stream: Option<SerialStream> = None;
    let mut scratch = [0; READ_BYTES];
    let mut lookout = Lookout::default();
    let mut desk = setup.common.loans.desk(&setup.config);
    let mut look = look_interval();
    loop {
        carry_out(setup, &mut stream, &mut lookout);
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
            Some(command) = commands.recv() => {
                setup.machine.borrow_mut().command(setup.common.clock.now(), &command);
            }
            _ = look.tick(), if !desk.is_lent() => {
                let Look { lost, appeared } = lookout.look(&setup.config, stream.is_some());
                if let Some(error) = lost {
                    lose(setup, &mut stream, error);
                }
                if appeared {
                    input(setup, Input::Appeared);
                }
            }
            event = desk.next() => match event {
                Event::Wanted(asker) => {
                    stream = None;
                    input(setup, Input::Borrowed { by: asker.name() });
                    desk.lend(asker);
                }
                Event::Returned => input(setup, Input::Returned),
            },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// When a look is taken whether the port is there.
pub(super) fn look_interval() -> Interval {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look
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
    setup.common.show(&setup.config.name, now, &input);
    setup.machine.borrow_mut().handle(now, input);
    if let (Input::Bytes(bytes), Some(gnss)) = (input, &setup.common.gnss) {
        gnss.hear(&setup.config.name, now.mono, bytes);
    }
}

fn lose(setup: &Setup, stream: &mut Option<SerialStream>, error: &str) {
    // Closed at once, so that the adapter can come back under its own name.
    *stream = None;
    input(setup, Input::Lost { error });
}

fn carry_out(setup: &Setup, stream: &mut Option<SerialStream>, lookout: &mut Lookout) {
    loop {
        let output = setup.machine.borrow_mut().poll_output();
        match output {
            None => return,
            Some(Output::Open) => match open(&setup.config) {
                Ok((opened, identity)) => {
                    lookout.opened(identity);
                    *stream = Some(opened);
                    input(setup, Input::Opened);
                }
                Err(error) => input(setup, Input::OpenFailed { error: &error }),
            },
            Some(Output::Send(bytes)) => send(setup, stream, &bytes),
            Some(Output::Done { id, outcome }) => setup.common.desk.ended(id, &outcome),
            Some(Output::Reading(reading)) => setup.common.give(reading),
            Some(Output::Notice(notice)) => {
                if let Notice::DeviceStale { device } = &notice {
                    setup.common.readings.stale(device);
                }
                setup.common.journal.hear(&setup.config.name, &notice);
                log(&setup.config, &notice);
                setup.common.changed.notify_one();
            }
        }
    }
}

/// A command fits the buffer of a line that isn't held up.
fn send(setup: &Setup, stream: &mut Option<SerialStream>, bytes: &[u8]) {
    let now = setup.common.clock.now().wall;
    setup.common.traces.bytes(&setup.config.name, now, Direction::Out, bytes);
    match stream.as_mut().map(|stream| stream.try_write(bytes)) {
        Some(Err(error)) if error.kind() != ErrorKind::WouldBlock => {
            lose(setup, stream, &format!("can't write: {error}"));
        }
        Some(Ok(written)) if written == bytes.len() => {}
        Some(_) => lose(setup, stream, "can't write: it is not taken"),
        None => {}
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
        Notice::PortLent { by } => info!(port, by, "port is lent; it is opened when it is given back"),
        Notice::BadLines { source, error, sample } => {
            warn!(port, device = %source, error, sample, "a line can't be decoded; more are counted, not logged");
        }
        Notice::GoodAgain { source, bad } => info!(port, device = %source, bad, "lines are good again"),
        Notice::DeviceStale { device } => warn!(port, device = %device, "device is stale: no good line came"),
        Notice::DeviceFresh { device } => info!(port, device = %device, "device is back"),
    }
}
