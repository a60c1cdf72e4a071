//! Carries the client machine's bytes: connects, reads, writes, waits, and connects again. What is published or
//! printed decides the [`Task`].

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::message::Event;
use super::options::Endpoint;
use super::session::Session;
use crate::io::transport::{OutQueue, Transport, io_words};
use crate::limits::READ_SCRATCH_BYTES;
use crate::mqtt::ReasonCode;
use crate::time::Mono;

/// A lost connection is made again after this, then after twice as long, and so on.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The broker gets this long to close after our DISCONNECT.
const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// Above this many unsent bytes nothing more is published.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// What a command does with a connection.
pub(in crate::cli) trait Task {
    /// Looks at an event; may publish or disconnect.
    ///
    /// # Errors
    /// In words: the command ends with them.
    fn event(&mut self, session: &mut Session, now: Mono, event: Event) -> Result<(), String>;

    /// Called after all events that there were.
    ///
    /// # Errors
    /// In words: the command ends with them.
    fn settle(&mut self, session: &mut Session) -> Result<(), String>;

    /// Waits for something to do, as long as [`Task::wants_work`]; must be cancel safe.
    ///
    /// # Errors
    /// In words: the command ends with them.
    async fn work(&mut self, session: &mut Session, clock: Clock) -> Result<(), String>;

    /// Whether there may be something to do.
    fn wants_work(&self, session: &Session) -> bool;

    /// Whether a lost connection is made again.
    fn reconnects(&self) -> bool;

    /// Told of a lost connection that will be made again.
    fn lost(&self, why: &str);
}

/// Time as the machine wants it.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Clock {
    start: Instant,
}

impl Clock {
    pub(in crate::cli) fn now(self) -> Mono {
        Mono::ZERO + self.start.elapsed()
    }

    fn instant(self, at: Mono) -> Instant {
        self.start + at.since(Mono::ZERO)
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Outcome {
    /// All is done.
    Done,
    /// The time of -W is over.
    TimedOut,
    /// SIGINT or SIGTERM.
    Interrupted,
}

/// Why a connection ended, unless the command did.
enum Broken {
    /// Another may do better.
    Lost(String),
    /// No other would.
    Fatal(String),
}

/// Runs a client until its task is done, the time is over, or a signal ends it.
///
/// # Errors
/// In words.
pub(in crate::cli) fn run(
    endpoint: &Endpoint,
    session: &mut Session,
    task: &mut impl Task,
    time_max: Option<Duration>,
) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("can't start: {error}"))?;
    let result = runtime.block_on(async {
        let mut stop = pin!(stop(time_max));
        let clock = Clock { start: Instant::now() };
        connections(endpoint, session, task, clock, stop.as_mut()).await
    });
    // A hanging name server must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn stop(time_max: Option<Duration>) -> Outcome {
    let time = async {
        match time_max {
            Some(time_max) => sleep(time_max).await,
            None => std::future::pending().await,
        }
    };
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process by themselves.
        time.await;
        return Outcome::TimedOut;
    };
    tokio::select! {
        () = time => Outcome::TimedOut,
        _ = terminate.recv() => Outcome::Interrupted,
        _ = interrupt.recv() => Outcome::Interrupted,
    }
}

async fn connections(
    endpoint: &Endpoint,
    session: &mut Session,
    task: &mut impl Task,
    clock: Clock,
    mut stop: Pin<&mut impl Future<Output = Outcome>>,
) -> Result<Outcome, String> {
    let mut retry = RETRY_MIN;
    let mut was_ready = false;
    loop {
        let opened = tokio::select! {
            opened = endpoint.connect() => opened,
            outcome = stop.as_mut() => return Ok(outcome),
        };
        let broken = match opened {
            Ok(transport) => {
                let mut link = Link { transport, out: OutQueue::default(), clock };
                let result = link.drive(session, task, stop.as_mut()).await;
                if session.is_ready() {
                    (was_ready, retry) = (true, RETRY_MIN);
                }
                session.lost();
                match result {
                    Ok(outcome) => return Ok(outcome),
                    Err(broken) => broken,
                }
            }
            Err(error) if error.permanent => Broken::Fatal(error.words),
            Err(error) => Broken::Lost(error.words),
        };
        match broken {
            Broken::Lost(words) if was_ready && task.reconnects() => {
                task.lost(&words);
            }
            Broken::Lost(words) | Broken::Fatal(words) => return Err(words),
        }
        tokio::select! {
            () = sleep(retry) => {}
            outcome = stop.as_mut() => return Ok(outcome),
        }
        retry = (retry * 2).min(RETRY_MAX);
    }
}

/// One connection.
struct Link {
    transport: Transport,
    out: OutQueue,
    clock: Clock,
}

impl Link {
    async fn drive(
        &mut self,
        session: &mut Session,
        task: &mut impl Task,
        mut stop: Pin<&mut impl Future<Output = Outcome>>,
    ) -> Result<Outcome, Broken> {
        let mut scratch = vec![0; READ_SCRATCH_BYTES];
        session.open(self.clock.now());
        loop {
            self.events(session, task)?;
            if session.has_left() {
                self.farewell(&mut scratch).await;
                return Ok(Outcome::Done);
            }
            let wants_work =
                session.is_ready() && self.out.len() <= UNSENT_BYTES_MAX && task.wants_work(session);
            let deadline = session.next_deadline().map(|at| self.clock.instant(at));
            tokio::select! {
                read = self.transport.turn_to(&mut self.out, &mut scratch, UNSENT_BYTES_MAX) => match read {
                    Ok(None) => {}
                    Ok(Some(0)) => return Err(Broken::Lost("the broker closed the connection".into())),
                    Ok(Some(count)) => {
                        let bytes = scratch.get(..count).unwrap_or_default();
                        session.bytes(self.clock.now(), bytes).map_err(Broken::Lost)?;
                    }
                    Err(error) => return Err(Broken::Lost(io_words(&error))),
                },
                done = task.work(session, self.clock), if wants_work => done.map_err(Broken::Fatal)?,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    session.tick(self.clock.now()).map_err(Broken::Lost)?;
                }
                outcome = stop.as_mut() => {
                    // As mosquitto_sub does: whoever is stopped from outside has not said goodbye (3.14.2.1).
                    session.disconnect(ReasonCode::DisconnectWithWillMessage);
                    self.out.push(&session.take_output());
                    self.farewell(&mut scratch).await;
                    return Ok(outcome);
                }
            }
        }
    }

    /// Hands the machine's events to the task, then takes its bytes: what must be acknowledged is handled before
    /// the acknowledgement leaves.
    fn events(&mut self, session: &mut Session, task: &mut impl Task) -> Result<(), Broken> {
        while let Some(event) = session.poll_event() {
            let event = judge(event, task.reconnects())?;
            task.event(session, self.clock.now(), event).map_err(Broken::Fatal)?;
        }
        task.settle(session).map_err(Broken::Fatal)?;
        // `settle` may have disconnected, and that is traced too.
        while let Some(event) = session.poll_event() {
            task.event(session, self.clock.now(), event).map_err(Broken::Fatal)?;
        }
        self.out.push(&session.take_output());
        Ok(())
    }

    /// Writes what is left, then waits until the broker closes: closing first, with something unread, would reset
    /// the connection and take away what the broker has not read yet.
    async fn farewell(&mut self, scratch: &mut [u8]) {
        // A peer that takes nothing is noticed by the transport itself.
        while !self.out.is_empty() {
            if !goes_on(self.transport.turn_to(&mut self.out, scratch, 0).await) {
                return;
            }
        }
        let closed = async { while goes_on(self.transport.turn_to(&mut self.out, scratch, 0).await) {} };
        // A broker that doesn't close has had its time; everything is written.
        let _ = timeout(FAREWELL_MAX, closed).await;
    }
}

/// Whether the connection is still open after a turn.
fn goes_on(turn: std::io::Result<Option<usize>>) -> bool {
    turn.is_ok_and(|read| read != Some(0))
}

/// Refusals and ends that no reconnect mends are told apart from those that pass.
fn judge(event: Event, reconnects: bool) -> Result<Event, Broken> {
    let sentence = |start: &str, reason: ReasonCode, words: Option<String>| match words {
        // Many brokers send the words that the code has anyway.
        Some(words) if words != reason.words() => format!("{start}: {reason}: {words}"),
        _ => format!("{start}: {reason}"),
    };
    match event {
        Event::Refused { reason, words } => {
            let sentence = sentence("the broker refused the connection", reason, words);
            Err(if passes(reason) { Broken::Lost(sentence) } else { Broken::Fatal(sentence) })
        }
        Event::Ended { reason, words } => {
            let sentence = sentence("the broker ended the connection", reason, words);
            let again = reconnects && passes(reason);
            Err(if again { Broken::Lost(sentence) } else { Broken::Fatal(sentence) })
        }
        event => Ok(event),
    }
}

/// Whether the broker may be of another mind a little later.
const fn passes(reason: ReasonCode) -> bool {
    matches!(
        reason,
        ReasonCode::Success
            | ReasonCode::ServerUnavailable
            | ReasonCode::ServerBusy
            | ReasonCode::ServerShuttingDown
            | ReasonCode::KeepAliveTimeout
            | ReasonCode::QuotaExceeded
            | ReasonCode::UnspecifiedError
            | ReasonCode::ConnectionRateExceeded
            | ReasonCode::MessageRateTooHigh
    )
}
