//! One polled port's task: opens the line or the connection, sends what the bus machine wants sent, feeds what comes.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::borrow::Event;
use super::line::Line;
use super::plugged::{Look, Lookout};
use super::serial;
use super::source::Common;
use super::trace::Direction;
use crate::command::Command;
use crate::sensor::bus::{Bus, Input, Notice, Output};
use crate::sensor::{self, PortConfig, PortKind};

/// An answer has at most 260 bytes; what is more takes another turn.
const READ_BYTES: usize = 1_024;

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

/// Runs until the gateway stops. `commands` are those to its devices.
pub async fn run(setup: Setup, mut commands: mpsc::UnboundedReceiver<Command>) {
    let serve = async || serve(&setup, &mut commands).await;
    setup.common.keep("bus", serve, |lost| input(&setup, lost)).await;
    hand_over(&setup);
}

/// The end came while a request was being written: what had been read before it goes all the same.
fn hand_over(setup: &Setup) {
    loop {
        let output = setup.machine.borrow_mut().poll_output();
        match output {
            None => return,
            Some(Output::Reading(reading)) => setup.common.give(reading),
            Some(Output::Polled(polled)) => setup.common.polls.ended(polled),
            Some(Output::Done { id, outcome }) => setup.common.desk.ended(id, &outcome),
            Some(_) => {}
        }
    }
}

async fn serve(setup: &Setup, commands: &mut mpsc::UnboundedReceiver<Command>) {
    let mut stop = setup.common.stop.clone();
    let mut line: Option<Line> = None;
    let mut scratch = [0; READ_BYTES];
    let mut lookout = Lookout::default();
    let mut desk = setup.common.loans.desk(&setup.config);
    let bell = setup.common.polls.bell(&setup.config.name);
    let mut look = serial::look_interval();
    let is_serial = setup.config.kind == PortKind::Serial;
    loop {
        // A request that is being written when the gateway stops need not be finished.
        tokio::select! {
            () = carry_out(setup, &mut line, &mut lookout) => {}
            _ = stop.wait_for(|stop| *stop) => return,
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
            _ = look.tick(), if is_serial && !desk.is_lent() => {
                let Look { lost, appeared } = lookout.look(&setup.config, line.is_some());
                if let Some(error) = lost {
                    lose(setup, &mut line, error);
                }
                if appeared {
                    input(setup, Input::Appeared);
                }
            }
            event = desk.next() => match event {
                Event::Wanted(asker) => {
                    line = None;
                    input(setup, Input::Borrowed { by: asker.name() });
                    desk.lend(asker);
                }
                Event::Returned => input(setup, Input::Returned),
            },
            () = bell.notified() => input(setup, Input::Tick),
            Some(command) = commands.recv() => {
                setup.machine.borrow_mut().command(setup.common.clock.now(), &command);
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn read(line: Option<&mut Line>, scratch: &mut [u8]) -> std::io::Result<usize> {
    match line {
        Some(line) => line.read(scratch).await,
        None => std::future::pending().await,
    }
}

fn input(setup: &Setup, input: Input<'_>) {
    let now = setup.common.clock.now();
    setup.common.show(&setup.config.name, now, &input);
    setup.machine.borrow_mut().handle(now, input);
}

fn lose(setup: &Setup, line: &mut Option<Line>, error: &str) {
    // Closed at once, so that the adapter can come back under its own name.
    *line = None;
    input(setup, Input::Lost { error });
}

async fn carry_out(setup: &Setup, line: &mut Option<Line>, lookout: &mut Lookout) {
    loop {
        let output = setup.machine.borrow_mut().poll_output();
        match output {
            None => return,
            Some(Output::Open) => match Line::open(&setup.config).await {
                Ok((opened, identity)) => {
                    lookout.opened(identity);
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
                    Some(line) => line.send(&setup.config, &bytes).await,
                    None => Ok(()),
                };
                if let Err(error) = sent {
                    lose(setup, line, &error);
                }
            }
            Some(Output::Rate(baud)) => {
                let set = match line.as_mut() {
                    Some(line) => line.set_rate(baud).await,
                    None => Ok(()),
                };
                if let Err(error) = set {
                    lose(setup, line, &format!("can't set {baud} baud: {error}"));
                }
            }
            Some(Output::Reading(reading)) => setup.common.give(reading),
            Some(Output::Polled(polled)) => setup.common.polls.ended(polled),
            Some(Output::Notice(notice)) => {
                if let Notice::Port(sensor::Notice::DeviceStale { device }) = &notice {
                    setup.common.readings.stale(device);
                }
                if let Notice::Port(notice) = &notice {
                    setup.common.journal.hear(&setup.config.name, notice);
                }
                log(&setup.config, &notice);
                setup.common.changed.notify_one();
            }
            Some(Output::Done { id, outcome }) => setup.common.desk.ended(id, &outcome),
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
