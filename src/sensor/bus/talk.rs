//! A conversation with a meter, which has the line for itself until it is over: several requests, and changes of the rate.
//! What is said is the business of the protocol's session; here is what the bus needs to know of it.

use std::time::Duration;

use super::config::Ask;
use crate::sensor::codec::{MbusSession, Session, SessionInput, SessionOutput};
use crate::sensor::config::PortConfig;
use crate::time::Mono;

/// What one meter is asked, and how far that is.
#[derive(Debug)]
pub(super) struct Talk {
    protocol: Protocol,
    /// When what was sent last has left the port; until then nobody answers.
    sent: Option<Mono>,
}

#[derive(Debug)]
enum Protocol {
    Iec62056(Box<Session>),
    Mbus(Box<MbusSession>),
}

impl Talk {
    /// `None`: such a device is asked with one request.
    pub(super) fn new(ask: &Ask, timeout: Duration, line: &PortConfig) -> Option<Self> {
        let protocol = match ask {
            Ask::Meter(ask) => Protocol::Iec62056(Box::new(Session::new(ask.clone(), line.baud, timeout))),
            Ask::Mbus(address) => Protocol::Mbus(Box::new(MbusSession::new(*address, line.baud, timeout))),
            Ask::Registers { .. } | Ask::Bytes(_) => return None,
        };
        Some(Self { protocol, sent: None })
    }

    /// Begins.
    pub(super) fn start(&mut self, now: Mono) {
        self.sent = None;
        self.handle(now, SessionInput::Start);
    }

    /// Takes what came.
    pub(super) fn hear(&mut self, now: Mono, bytes: &[u8]) {
        self.end_of_sending(now);
        self.handle(now, SessionInput::Bytes(bytes));
    }

    /// Looks at the time.
    pub(super) fn tick(&mut self, now: Mono) {
        self.end_of_sending(now);
        self.handle(now, SessionInput::Tick);
    }

    /// An echo comes while the end is still being sent: only the time says when that is over.
    fn end_of_sending(&mut self, now: Mono) {
        if self.sent.is_some_and(|sent| sent <= now) {
            self.sent = None;
            self.handle(now, SessionInput::Sent);
        }
    }

    fn handle(&mut self, now: Mono, input: SessionInput<'_>) {
        match &mut self.protocol {
            Protocol::Iec62056(session) => session.handle(now, input),
            Protocol::Mbus(session) => session.handle(now, input),
        }
    }

    /// The next thing to do, until `None`.
    pub(super) fn poll_output(&mut self) -> Option<SessionOutput> {
        match &mut self.protocol {
            Protocol::Iec62056(session) => session.poll_output(),
            Protocol::Mbus(session) => session.poll_output(),
        }
    }

    /// What was sent will have left the port then.
    pub(super) fn sending_until(&mut self, sent: Mono) {
        self.sent = Some(sent);
    }

    /// When to look at the time.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let own = match &self.protocol {
            Protocol::Iec62056(session) => session.next_deadline(),
            Protocol::Mbus(session) => session.next_deadline(),
        };
        // A long message may take longer than the answer may.
        self.sent.or(own)
    }

    /// The line was closed.
    pub(super) fn reset(&mut self) {
        self.sent = None;
        match &mut self.protocol {
            Protocol::Iec62056(session) => session.reset(),
            Protocol::Mbus(session) => session.reset(),
        }
    }
}
