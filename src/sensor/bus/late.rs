//! Answers that are still to come although nobody waits for them any more. A serial answer doesn't say which question it
//! belongs to, so after a timeout its device is asked nothing else until none can come any more. That one came is no
//! reason to go on: there are converters that send a frame twice.

use std::time::Duration;

use crate::sensor::modbus::pdu::Request;
use crate::time::Mono;

/// The least time that a late answer is reckoned with.
const WINDOW_MIN: Duration = Duration::from_secs(1);

/// The last request to one device that timed out.
#[derive(Debug, Default)]
pub(super) struct Late {
    awaited: Option<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    request: Request,
    until: Mono,
}

impl Late {
    /// A request whose end was on the wire at `sent` got no answer within `timeout`. From twice the timeout on, a second at
    /// least, none is reckoned with.
    pub(super) fn timed_out(&mut self, request: &Request, sent: Mono, timeout: Duration) {
        self.awaited = Some(Awaited { request: request.clone(), until: sent + window(timeout) });
    }

    /// A request got an answer, which may have been that to an earlier try: then its own is still to come.
    pub(super) fn answered(&mut self, request: &Request, sent: Mono, timeout: Duration) {
        if let Some(awaited) = self.awaited.as_mut().filter(|awaited| awaited.request == *request) {
            awaited.until = sent + window(timeout);
        }
    }

    /// What is awaited.
    pub(super) fn request(&self) -> Option<&Request> {
        self.awaited.as_ref().map(|awaited| &awaited.request)
    }

    /// Until when a request must be held back. The same one need not be as long as it is a further try: its answer says the
    /// same, whichever try it belongs to.
    pub(super) fn holds(&self, request: Option<&Request>, is_retry: bool) -> Option<Mono> {
        let awaited = self.awaited.as_ref()?;
        let is_same = is_retry && request == Some(&awaited.request);
        (!is_same).then_some(awaited.until)
    }

    /// Forgets what can't come any more.
    pub(super) fn tick(&mut self, now: Mono) {
        if self.awaited.as_ref().is_some_and(|awaited| awaited.until <= now) {
            self.awaited = None;
        }
    }

    /// The line was closed.
    pub(super) fn clear(&mut self) {
        self.awaited = None;
    }
}

fn window(timeout: Duration) -> Duration {
    timeout.saturating_mul(2).max(WINDOW_MIN)
}
