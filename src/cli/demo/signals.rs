//! The signals that end the demo, or wake it.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ends the demo from outside, and what wakes it.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    continued: Signal,
}

impl Signals {
    /// From now on they are caught.
    ///
    /// # Errors
    /// In words.
    pub(super) fn new() -> Result<Self, String> {
        let open = |kind| signal(kind).map_err(|error| format!("can't wait for signals: {error}"));
        Ok(Self {
            interrupt: open(SignalKind::interrupt())?,
            terminate: open(SignalKind::terminate())?,
            hangup: open(SignalKind::hangup())?,
            continued: open(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?,
        })
    }

    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.interrupt.recv() => Event::End,
            _ = self.terminate.recv() => Event::End,
            _ = self.hangup.recv() => Event::End,
            _ = self.continued.recv() => Event::Continued,
        }
    }
}

/// What a signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The demo ends.
    End,
    /// The job was stopped and goes on; the shell had the terminal meanwhile.
    Continued,
}
